// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What does a connection cost: connect, request, answer, close? Asks two addresses in turn, so that whatever else happens on the
 * machine happens to both. The server is its child, at the port of the first, on every address.
 *
 * connect ADDRESS PORT ADDRESS PORT PAIRS ROUNDS: a line a round, the median ns of a connection to the one and to the other.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char request[] = "request", answer[] = "answer";

static struct sockaddr_in endpoint(const char *address, const char *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };

	if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
		errx(2, "not an address: %s", address);
	return at;
}

static int listen_at(in_port_t port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = port };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) || bind(fd, (struct sockaddr *)&any, sizeof(any)) ||
	    listen(fd, 128))
		err(1, "listen");
	return fd;
}

/* Closes first, so that no port of the client has to wait. */
static void serve(int listener)
{
	char got[sizeof(request)];

	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			err(1, "accept");
		if (read(fd, got, sizeof(got)) != sizeof(got) || write(fd, answer, sizeof(answer)) != sizeof(answer))
			err(1, "serve");
		close(fd);
	}
}

static long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static long connect_once(const struct sockaddr_in *to)
{
	long start = now_ns();
	char got[sizeof(answer)];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		err(1, "connect %s", inet_ntoa(to->sin_addr));
	if (write(fd, request, sizeof(request)) != sizeof(request) || read(fd, got, sizeof(got)) != sizeof(got) ||
	    read(fd, got, 1) != 0)
		err(1, "request");
	close(fd);
	return now_ns() - start;
}

static int compare(const void *a, const void *b)
{
	long left = *(const long *)a, right = *(const long *)b;

	return (left > right) - (left < right);
}

/* Of `pairs` connections each way. Not the mean: one that was preempted costs as much as a hundred others. */
static void measure(const struct sockaddr_in to[2], size_t pairs, long *spent)
{
	for (size_t pair = 0; pair < pairs; pair++)
		for (int way = 0; way < 2; way++)
			spent[way * pairs + pair] = connect_once(&to[way]);
	qsort(spent, pairs, sizeof(long), compare);
	qsort(spent + pairs, pairs, sizeof(long), compare);
	printf("%ld %ld\n", spent[pairs / 2], spent[pairs + pairs / 2]);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to[2];
	size_t pairs;
	int listener;
	pid_t server;
	long *spent;

	if (argc != 7)
		errx(2, "usage: connect ADDRESS PORT ADDRESS PORT PAIRS ROUNDS");
	to[0] = endpoint(argv[1], argv[2]);
	to[1] = endpoint(argv[3], argv[4]);
	pairs = atol(argv[5]);
	listener = listen_at(to[0].sin_port);
	server = fork();
	if (server < 0)
		err(1, "fork");
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(listener);
	}
	spent = calloc(2 * pairs, sizeof(long));
	if (!spent)
		err(1, "calloc");
	for (int round = 0; round < atoi(argv[6]); round++)
		measure(to, pairs, spent);
	free(spent);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return 0;
}
