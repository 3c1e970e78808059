// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Addresses, clocks and names of errors: what every mode of the test peer needs of sockets. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ADDRESS_TEXT INET6_ADDRSTRLEN
#define ANSWER_TEXT 512

struct endpoint {
	struct sockaddr_storage address;
	socklen_t length;
};

/* What one line of an answer says: `<line> <name> <port> <client> <client port>[ draining]`. */
struct answer {
	char line[64];
	char name[64];
	unsigned int port;
	char client[ADDRESS_TEXT];
	unsigned int client_port;
	bool draining;
};

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("peer: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(2);
}

static int64_t now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static const char *error_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "UNKNOWN";
}

static unsigned int parse_number(const char *text, unsigned int largest)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (!*text || *end || number > largest)
		fail("not a number up to %u: %s", largest, text);
	return (unsigned int)number;
}

/* address: IPv4 or IPv6 text; NULL: unspecified of that family. */
static struct endpoint make_endpoint(int family, const char *address, unsigned int port)
{
	struct endpoint endpoint = { 0 };
	struct sockaddr_in *v4 = (void *)&endpoint.address;
	struct sockaddr_in6 *v6 = (void *)&endpoint.address;

	if (family == AF_UNSPEC)
		family = strchr(address, ':') ? AF_INET6 : AF_INET;
	endpoint.address.ss_family = family;
	endpoint.length = family == AF_INET ? sizeof(*v4) : sizeof(*v6);
	if (family == AF_INET)
		v4->sin_port = htons(port);
	else
		v6->sin6_port = htons(port);
	if (address && inet_pton(family, address, family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr) != 1)
		fail("not an address: %s", address);
	return endpoint;
}

static unsigned int endpoint_port(const struct endpoint *endpoint)
{
	if (endpoint->address.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&endpoint->address)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)&endpoint->address)->sin6_port);
}

static const char *endpoint_text(const struct endpoint *endpoint, char text[ADDRESS_TEXT])
{
	const void *address = endpoint->address.ss_family == AF_INET
				      ? (const void *)&((const struct sockaddr_in *)&endpoint->address)->sin_addr
				      : (const void *)&((const struct sockaddr_in6 *)&endpoint->address)->sin6_addr;

	if (!inet_ntop(endpoint->address.ss_family, address, text, ADDRESS_TEXT))
		strcpy(text, "?");
	return text;
}

static void set_option(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		fail("setsockopt %d/%d: %s", level, option, error_name(errno));
}

/* A non-blocking socket, bound to source where one is given. */
static int open_socket(int family, int type, const struct endpoint *source)
{
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket: %s", error_name(errno));
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (family == AF_INET6)
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (type == SOCK_STREAM)
		set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (source && bind(fd, (const struct sockaddr *)&source->address, source->length)) {
		char text[ADDRESS_TEXT];

		fail("bind %s %u: %s", endpoint_text(source, text), endpoint_port(source), error_name(errno));
	}
	return fd;
}

/* false: not an answer of a peer. */
static bool parse_answer(const char *text, struct answer *answer)
{
	char last[16] = "";

	memset(answer, 0, sizeof(*answer));
	if (sscanf(text, "%63s %63s %u %45s %u %15s", answer->line, answer->name, &answer->port, answer->client,
		   &answer->client_port, last) < 5)
		return false;
	answer->draining = !strcmp(last, "draining");
	return true;
}
