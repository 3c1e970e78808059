// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* One question, one line of JSON: who answered, which source it saw, or the name of the error. */
#pragma once

#include <getopt.h>
#include <poll.h>

#include "peer_socket.h"

struct question {
	int type;
	struct endpoint target;
	struct endpoint source;
	bool bound;
	bool unconnected; /* UDP by sendto, so that the answer's source is seen as it is */
	int timeout_ms; /* of the connection and of the answer, each */
	unsigned int size; /* of the line that is sent */
	unsigned int count; /* lines on one socket */
};

static bool wait_for(int fd, short events, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	int64_t end = now_us() + (int64_t)timeout_ms * 1000;

	for (;;) {
		int64_t left = end - now_us();
		int ready = poll(&poll_fd, 1, left > 0 ? (int)(left / 1000) + 1 : 0);

		if (ready > 0)
			return true;
		if (ready == 0 || errno != EINTR)
			return false;
	}
}

static int connect_within(int fd, const struct endpoint *target, int timeout_ms)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (!connect(fd, (const struct sockaddr *)&target->address, target->length))
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (!wait_for(fd, POLLOUT, timeout_ms))
		return ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	return error;
}

/* Reads one line of an answer; returns 0 or an errno (ENODATA: the other side closed). */
static int read_line(int fd, const struct question *question, char *line, size_t size, struct endpoint *from)
{
	size_t used = 0;

	while (used < size - 1) {
		ssize_t got;

		if (!wait_for(fd, POLLIN, question->timeout_ms))
			return ETIMEDOUT;
		from->length = sizeof(from->address);
		got = recvfrom(fd, line + used, size - 1 - used, 0, (struct sockaddr *)&from->address, &from->length);
		if (got < 0 && errno == EAGAIN)
			continue;
		if (got < 0)
			return errno;
		if (got == 0)
			return ENODATA;
		used += (size_t)got;
		line[used] = 0;
		if (line[used - 1] == '\n')
			return 0;
	}
	return EMSGSIZE;
}

static void print_endpoint(const char *name, const struct endpoint *endpoint)
{
	char text[ADDRESS_TEXT];

	printf(",\"%s\":\"%s\",\"%sPort\":%u", name, endpoint_text(endpoint, text), name, endpoint_port(endpoint));
}

/* Segments that this connection sent more than once; 0 for UDP. */
static unsigned int sent_again(int fd)
{
	struct tcp_info state = { 0 };
	socklen_t length = sizeof(state);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &state, &length) ? 0 : state.tcpi_total_retrans;
}

static int ask(const struct question *question)
{
	static char line[65536], reply[65536 + ANSWER_TEXT];
	struct endpoint local = { .length = sizeof(local.address) }, from = { 0 }, peer = { .length = sizeof(peer.address) };
	int64_t start = now_us();
	int fd = open_socket(question->target.address.ss_family, question->type, question->bound ? &question->source : NULL);
	int error = question->unconnected ? 0 : connect_within(fd, &question->target, question->timeout_ms);
	int64_t connected = now_us();
	unsigned int again = sent_again(fd);
	struct answer answer;
	char *rest;

	memset(line, 'q', question->size);
	line[question->size - 1] = '\n';
	for (unsigned int i = 0; i < question->count && !error; i++) {
		ssize_t sent = question->unconnected ? sendto(fd, line, question->size, 0, (struct sockaddr *)&question->target.address,
							      question->target.length)
						     : send(fd, line, question->size, MSG_NOSIGNAL);

		error = sent == (ssize_t)question->size ? read_line(fd, question, reply, sizeof(reply), &from) : errno;
	}
	if (error) {
		printf("{\"error\":\"%s\",\"ms\":%.1f}\n", error_name(error), (double)(now_us() - start) / 1000);
		return 1;
	}
	rest = strchr(reply, ' ');
	if (rest && rest > reply + 1)
		memmove(reply + 1, rest, strlen(rest) + 1);
	if (!parse_answer(reply, &answer)) {
		printf("{\"error\":\"ANSWER\",\"ms\":%.1f}\n", (double)(now_us() - start) / 1000);
		return 1;
	}
	getsockname(fd, (struct sockaddr *)&local.address, &local.length);
	printf("{\"name\":\"%s\",\"port\":%u,\"seen\":\"%s\",\"seenPort\":%u", answer.name, answer.port, answer.client, answer.client_port);
	print_endpoint("local", &local);
	if (!question->unconnected) {
		getpeername(fd, (struct sockaddr *)&peer.address, &peer.length);
		print_endpoint("peer", &peer);
	}
	if (question->type == SOCK_DGRAM)
		print_endpoint("from", &from);
	printf(",\"connectMs\":%.1f,\"synsAgain\":%u,\"ms\":%.1f}\n", (double)(connected - start) / 1000, again, (double)(now_us() - start) / 1000);
	close(fd);
	return 0;
}

/* arguments: tcp|udp|sendto ADDRESS PORT [--source ADDRESS] [--source-port N] [--timeout MS] [--size BYTES] [--count N] [--times N] */
static int run_ask(int count, char **arguments)
{
	static const struct option options[] = { { "source", 1, 0, 's' }, { "source-port", 1, 0, 'p' }, { "timeout", 1, 0, 't' },
						 { "size", 1, 0, 'b' },   { "count", 1, 0, 'c' },	{ "times", 1, 0, 'n' },
						 { 0 } };
	struct question question = { .timeout_ms = 3000, .size = 2, .count = 1 };
	const char *source = NULL;
	unsigned int source_port = 0, times = 1;
	int option, result = 0;

	while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) {
		if (option == 's')
			source = optarg;
		else if (option == 'p')
			source_port = parse_number(optarg, 65535);
		else if (option == 't')
			question.timeout_ms = (int)parse_number(optarg, 600000);
		else if (option == 'b')
			question.size = parse_number(optarg, 65000);
		else if (option == 'c')
			question.count = parse_number(optarg, 1000000);
		else if (option == 'n')
			times = parse_number(optarg, 1000000);
		else
			return 2;
	}
	if (count - optind != 3 || question.size < 2)
		fail("ask tcp|udp|sendto ADDRESS PORT [--source ADDRESS] [--source-port N] [--timeout MS] [--size BYTES] [--count N] [--times N]");
	question.type = strcmp(arguments[optind], "tcp") ? SOCK_DGRAM : SOCK_STREAM;
	question.unconnected = !strcmp(arguments[optind], "sendto");
	question.target = make_endpoint(AF_UNSPEC, arguments[optind + 1], parse_number(arguments[optind + 2], 65535));
	question.bound = source || source_port;
	if (question.bound)
		question.source = make_endpoint(question.target.address.ss_family, source, source_port);
	for (unsigned int i = 0; i < times; i++)
		result |= ask(&question);
	return result;
}
