// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * A backend that says who it is: every line or datagram is answered with `<line> <name> <port> <client> <client port>`.
 * SIGTERM drains as a well-behaved pod does: answers carry ` draining`, listeners close once no connection arrives any
 * more, open connections are served until their clients close them.
 */
#pragma once

#include "peer_socket.h"

enum served_kind { SERVED_LISTENER, SERVED_DATAGRAMS, SERVED_CONNECTION };

struct served {
	enum served_kind kind;
	int fd;
	unsigned int port;
	struct endpoint client;
	char line[4096];
	size_t used;
	struct served *next; /* of the listeners */
};

static struct {
	const char *name;
	int epoll;
	bool draining;
	int64_t last_use; /* of a listener or a datagram socket */
	unsigned int connections;
	struct served *listeners;
} server;

static volatile sig_atomic_t terminations;

static void count_termination(int signal)
{
	(void)signal;
	terminations++;
}

static void watch(struct served *served)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = served };

	if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, served->fd, &event))
		fail("epoll: %s", error_name(errno));
}

static void serve_port(int family, int type, unsigned int port)
{
	struct served *served = calloc(1, sizeof(*served));
	struct endpoint source = make_endpoint(family, NULL, port);

	served->kind = type == SOCK_STREAM ? SERVED_LISTENER : SERVED_DATAGRAMS;
	served->port = port;
	served->fd = open_socket(family, type, &source);
	if (type == SOCK_STREAM && listen(served->fd, 4096))
		fail("listen: %s", error_name(errno));
	/* A host has many addresses: the answer leaves from the one that was asked. */
	if (type == SOCK_DGRAM && family == AF_INET)
		set_option(served->fd, IPPROTO_IP, IP_PKTINFO, 1);
	if (type == SOCK_DGRAM && family == AF_INET6)
		set_option(served->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	if (type == SOCK_DGRAM)
		set_option(served->fd, SOL_SOCKET, SO_RCVBUF, 4 << 20);
	if (type == SOCK_STREAM) {
		served->next = server.listeners;
		server.listeners = served;
	}
	watch(served);
}

static int write_answer(char *text, size_t size, const char *line, int length, const struct served *served,
			const struct endpoint *client)
{
	char address[ADDRESS_TEXT];

	return snprintf(text, size, "%.*s %s %u %s %u%s\n", length, line, server.name, served->port,
			endpoint_text(client, address), endpoint_port(client), server.draining ? " draining" : "");
}

static void close_connection(struct served *connection)
{
	close(connection->fd);
	free(connection);
	server.connections--;
}

static void accept_connections(struct served *listener)
{
	for (;;) {
		struct served *connection = calloc(1, sizeof(*connection));

		connection->kind = SERVED_CONNECTION;
		connection->port = listener->port;
		connection->client.length = sizeof(connection->client.address);
		connection->fd = accept4(listener->fd, (struct sockaddr *)&connection->client.address,
					 &connection->client.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (connection->fd < 0) {
			free(connection);
			return;
		}
		set_option(connection->fd, IPPROTO_TCP, TCP_NODELAY, 1);
		server.last_use = now_us();
		server.connections++;
		watch(connection);
	}
}

/* Answers every whole line. A line that starts with `x` asks the server to close first. */
static void serve_connection(struct served *connection)
{
	ssize_t got = recv(connection->fd, connection->line + connection->used, sizeof(connection->line) - connection->used, 0);
	char *start = connection->line, *end;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		close_connection(connection);
		return;
	}
	connection->used += (size_t)got;
	while ((end = memchr(start, '\n', connection->used - (size_t)(start - connection->line)))) {
		char text[sizeof(connection->line) + ANSWER_TEXT];
		int length = write_answer(text, sizeof(text), start, (int)(end - start), connection, &connection->client);

		if (send(connection->fd, text, (size_t)length, MSG_NOSIGNAL) != length || *start == 'x') {
			close_connection(connection);
			return;
		}
		start = end + 1;
	}
	connection->used -= (size_t)(start - connection->line);
	memmove(connection->line, start, connection->used);
	if (connection->used == sizeof(connection->line))
		close_connection(connection);
}

static void serve_datagrams(struct served *served)
{
	static char line[65536], text[65536];

	for (int i = 0; i < 64; i++) {
		struct endpoint client = { .length = sizeof(client.address) };
		char control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
		struct iovec part = { .iov_base = line, .iov_len = sizeof(line) - ANSWER_TEXT };
		struct msghdr message = { .msg_name = &client.address, .msg_namelen = client.length, .msg_iov = &part,
					  .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
		ssize_t got = recvmsg(served->fd, &message, 0);

		if (got < 0)
			return;
		server.last_use = now_us();
		client.length = message.msg_namelen;
		if (got && line[got - 1] == '\n')
			got--;
		part.iov_base = text;
		part.iov_len = (size_t)write_answer(text, sizeof(text), line, (int)got, served, &client);
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
			if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
				struct in_pktinfo *to = (void *)CMSG_DATA(c);

				to->ipi_spec_dst = to->ipi_addr;
				to->ipi_ifindex = 0;
			} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
				((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
			}
		}
		sendmsg(served->fd, &message, MSG_NOSIGNAL); /* a lost answer is the client's to notice */
	}
}

static void stop_listening(void)
{
	while (server.listeners) {
		struct served *listener = server.listeners;

		server.listeners = listener->next;
		close(listener->fd);
		free(listener);
	}
}

/* arguments: NAME PORT/tcp|PORT/udp… */
static int run_serve(int count, char **arguments)
{
	struct sigaction action = { .sa_handler = count_termination };
	struct epoll_event events[256];

	if (count < 2)
		fail("serve NAME PORT/tcp|PORT/udp…");
	server.name = arguments[0];
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 1; i < count; i++) {
		char *slash = strchr(arguments[i], '/');
		bool stream = slash && !strcmp(slash, "/tcp");

		if (!slash || (!stream && strcmp(slash, "/udp")))
			fail("not PORT/tcp or PORT/udp: %s", arguments[i]);
		*slash = 0;
		serve_port(AF_INET, stream ? SOCK_STREAM : SOCK_DGRAM, parse_number(arguments[i], 65535));
		serve_port(AF_INET6, stream ? SOCK_STREAM : SOCK_DGRAM, parse_number(arguments[i], 65535));
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	printf("{\"event\":\"ready\",\"name\":\"%s\"}\n", server.name);
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(server.epoll, events, 256, server.draining ? 50 : -1);
		bool quiet;

		for (int i = 0; i < ready; i++) {
			struct served *served = events[i].data.ptr;

			if (served->kind == SERVED_LISTENER)
				accept_connections(served);
			else if (served->kind == SERVED_DATAGRAMS)
				serve_datagrams(served);
			else
				serve_connection(served);
		}
		if (terminations && !server.draining) {
			server.draining = true;
			server.last_use = now_us();
		}
		quiet = server.draining && now_us() - server.last_use > 500000;
		if (quiet && !ready)
			stop_listening();
		if (terminations > 1 || (quiet && !server.listeners && !server.connections))
			return 0;
	}
}
