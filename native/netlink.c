// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * How do netlink messages travel? Opening, one request with its answer, and the probe of the socket hook; what the
 * messages mean is control's business. Listening is in listen.c.
 */
#include "addon.h"
#include "netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	RECEIVE_BUFFER = 4 << 20, /* bytes the kernel may queue before it drops */
	FIRST_ROOM = 32768, /* the kernel packs dumps into what the reader offers */
	ANSWER_SECONDS = 10, /* longer means that the kernel will not answer */
	DUMP_TRIES = 5, /* the kernel marks a dump that saw changes on its way: asked again */
};

struct answer {
	uint8_t *at;
	size_t length;
	size_t room;
};

static napi_value netlink_open(napi_env env, napi_callback_info info)
{
	struct timeval patience = { .tv_sec = ANSWER_SECONDS };
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	uint32_t protocol, groups;
	napi_value arguments[2];
	int fd, size = RECEIVE_BUFFER, on = 1, error;

	read_arguments(env, info, 2, arguments);
	if (!read_u32(env, arguments[0], "protocol", &protocol) || !read_u32(env, arguments[1], "groups", &groups))
		return NULL;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, (int)protocol);
	if (fd < 0)
		return throw_errno(env, errno, "socket", NULL);
	address.nl_groups = groups;
	/* FORCE needs CAP_NET_ADMIN; without it the system's limit holds. */
	if ((setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) &&
	     setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size))) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		error = errno;
		close(fd);
		return throw_errno(env, error, "netlink", NULL);
	}
	return make_number(env, fd);
}

/* One datagram from the kernel into a buffer that grows; *length is its size. 0 or an errno. */
int receive_datagram(int fd, int flags, uint8_t **buffer, size_t *room, size_t *length)
{
	struct sockaddr_nl from;
	struct iovec vector;
	struct msghdr message = { .msg_name = &from, .msg_iov = &vector, .msg_iovlen = 1 };
	uint8_t *larger;
	ssize_t size;

	if (!*buffer) {
		*buffer = malloc(FIRST_ROOM);
		if (!*buffer)
			return ENOMEM;
		*room = FIRST_ROOM;
	}
	do {
		vector = (struct iovec){ .iov_base = *buffer, .iov_len = *room };
		message.msg_namelen = sizeof(from);
		size = recvmsg(fd, &message, flags | MSG_PEEK | MSG_TRUNC);
		if (size > 0 && (size_t)size > *room) {
			larger = realloc(*buffer, (size_t)size);
			if (!larger)
				return ENOMEM;
			*buffer = larger;
			*room = (size_t)size;
		}
		if (size >= 0) {
			vector = (struct iovec){ .iov_base = *buffer, .iov_len = *room };
			message.msg_namelen = sizeof(from);
			size = recvmsg(fd, &message, flags);
		}
	} while ((size < 0 && errno == EINTR) || (size >= 0 && from.nl_pid != 0)); /* only the kernel is believed */
	*length = size < 0 ? 0 : (size_t)size;
	return size < 0 ? errno : 0;
}

static bool append(struct answer *answer, const void *at, size_t length)
{
	size_t padded = NLMSG_ALIGN(length);

	if (answer->length + padded > answer->room) {
		size_t room = (answer->length + padded) * 2;
		uint8_t *larger = realloc(answer->at, room);

		if (!larger)
			return false;
		answer->at = larger;
		answer->room = room;
	}
	memset(answer->at + answer->length, 0, padded);
	memcpy(answer->at + answer->length, at, length);
	answer->length += padded;
	return true;
}

/* The kernel's own words about an error (NLMSGERR_ATTR_MSG), or NULL. */
static const char *error_text(const struct nlmsghdr *message)
{
	const struct nlmsgerr *error = NLMSG_DATA(message);
	size_t at = NLMSG_HDRLEN + sizeof(*error);

	if (!(message->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(message->nlmsg_flags & NLM_F_CAPPED))
		at += error->msg.nlmsg_len - NLMSG_HDRLEN;
	at = NLMSG_ALIGN(at);
	while (at + NLA_HDRLEN <= message->nlmsg_len) {
		const struct nlattr *attribute = (const void *)((const uint8_t *)message + at);
		const char *text = (const char *)attribute + NLA_HDRLEN;

		if (attribute->nla_len <= NLA_HDRLEN || at + attribute->nla_len > message->nlmsg_len)
			return NULL;
		if ((attribute->nla_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG)
			return text[attribute->nla_len - NLA_HDRLEN - 1] == '\0' ? text : NULL;
		at += NLA_ALIGN(attribute->nla_len);
	}
	return NULL;
}

enum progress { MORE, END, AGAIN, REFUSED };

/* What one message of the answer says about the rest of it. */
static enum progress take(struct nlmsghdr *message, bool acknowledged, struct answer *answer, bool *interrupted, int *error)
{
	*interrupted |= (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
	if (message->nlmsg_type == NLMSG_NOOP)
		return MORE;
	if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE) {
		bool has_code = message->nlmsg_len >= NLMSG_HDRLEN + sizeof(int);

		*error = has_code ? -*(int *)NLMSG_DATA(message) : 0;
		if (*error > 0)
			return REFUSED;
		*error = 0;
		return *interrupted ? AGAIN : END;
	}
	if (!append(answer, message, message->nlmsg_len)) {
		*error = ENOMEM;
		return REFUSED;
	}
	return acknowledged || message->nlmsg_flags & NLM_F_MULTI ? MORE : END;
}

/* Receives until the answer to this sequence number is complete. text: room for the kernel's words. */
static enum progress collect(int fd, uint32_t sequence, bool acknowledged, struct answer *answer, int *error, char text[256])
{
	bool interrupted = false;
	enum progress progress = MORE;
	uint8_t *buffer = NULL;
	size_t room = 0, length;

	while (progress == MORE) {
		*error = receive_datagram(fd, 0, &buffer, &room, &length);
		if (*error) {
			if (*error == EAGAIN)
				*error = ETIMEDOUT;
			progress = REFUSED;
		}
		for (struct nlmsghdr *message = (void *)buffer; progress == MORE && NLMSG_OK(message, length);
		     message = NLMSG_NEXT(message, length)) {
			if (message->nlmsg_seq != sequence)
				continue;
			progress = take(message, acknowledged, answer, &interrupted, error);
			if (progress == REFUSED && message->nlmsg_type == NLMSG_ERROR && error_text(message))
				strncpy(text, error_text(message), 255);
		}
	}
	free(buffer);
	return progress;
}

/* Several messages are one request, as a transaction of nftables is. Returns whether one of them asks for an acknowledgement. */
static bool number_messages(struct nlmsghdr *message, size_t length, uint32_t sequence)
{
	bool acknowledged = false;
	int left = (int)length;

	for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
		message->nlmsg_seq = sequence;
		message->nlmsg_pid = 0;
		acknowledged |= (message->nlmsg_flags & NLM_F_ACK) != 0;
	}
	return acknowledged;
}

static napi_value netlink_request(napi_env env, napi_callback_info info)
{
	static atomic_uint next = 1;
	napi_value arguments[2], result = NULL;
	enum progress progress = AGAIN;
	struct answer answer = {};
	struct nlmsghdr *request;
	struct bytes message;
	char text[256] = "";
	int fd, error = 0;

	read_arguments(env, info, 2, arguments);
	if (!read_fd(env, arguments[0], "fd", &fd) || !read_bytes(env, arguments[1], "message", &message))
		return NULL;
	if (message.length < NLMSG_HDRLEN) {
		throw_type(env, "message", "at least a netlink header");
		return NULL;
	}
	request = malloc(message.length);
	if (!request)
		return throw_errno(env, ENOMEM, "malloc", NULL);
	memcpy(request, message.at, message.length);
	for (int tries = 0; progress == AGAIN && tries < DUMP_TRIES; tries++) {
		uint32_t sequence = atomic_fetch_add(&next, 1);
		bool acknowledged = number_messages(request, message.length, sequence);

		answer.length = 0;
		if (send(fd, request, message.length, 0) < 0) {
			error = errno;
			progress = REFUSED;
		} else {
			progress = collect(fd, sequence, acknowledged, &answer, &error, text);
		}
	}
	if (progress == END)
		result = make_bytes(env, answer.at, answer.length);
	else
		throw_errno(env, progress == AGAIN ? EINTR : error, "netlink", text[0] ? text : NULL);
	free(answer.at);
	free(request);
	return result;
}

/* The probe's port and documentation addresses are those that bpf/abi.h gives for struct self_test. */
static napi_value probe_connect(napi_env env, napi_callback_info info)
{
	struct sockaddr_in to4 = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
	napi_value argument;
	uint32_t family;
	int fd;

	read_arguments(env, info, 1, &argument);
	if (!read_u32(env, argument, "family", &family))
		return NULL;
	inet_pton(AF_INET, "192.0.2.1", &to4.sin_addr);
	inet_pton(AF_INET6, "2001:db8::1", &to6.sin6_addr);
	fd = socket(family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return throw_errno(env, errno, "socket", NULL);
	/* Its result is no answer: the hook ran before any route was looked up, and what it saw is in its map. */
	(void)connect(fd, family == 6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to4, family == 6 ? sizeof(to6) : sizeof(to4));
	close(fd);
	return make_undefined(env);
}

/* What getsockopt answers on a fresh datagram socket; the buffer is the caller's question. */
static napi_value socket_option(napi_env env, napi_callback_info info)
{
	napi_value arguments[4], result;
	uint32_t family, level, name;
	struct bytes question;
	socklen_t length;
	uint8_t *answer;
	int fd, error;

	read_arguments(env, info, 4, arguments);
	if (!read_u32(env, arguments[0], "family", &family) || !read_u32(env, arguments[1], "level", &level) ||
	    !read_u32(env, arguments[2], "name", &name) || !read_bytes(env, arguments[3], "question", &question))
		return NULL;
	result = make_buffer(env, question.length, &answer);
	if (!result)
		return NULL;
	memcpy(answer, question.at, question.length);
	length = question.length;
	fd = socket((int)family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return throw_errno(env, errno, "socket", NULL);
	error = getsockopt(fd, (int)level, (int)name, answer, &length) ? errno : 0;
	close(fd);
	return error ? throw_errno(env, error, "getsockopt", NULL) : result;
}

void define_netlink(napi_env env, napi_value exports)
{
	define(env, exports, "netlinkOpen", netlink_open);
	define(env, exports, "netlinkRequest", netlink_request);
	define(env, exports, "netlinkListen", netlink_listen);
	define(env, exports, "probeConnect", probe_connect);
	define(env, exports, "socketOption", socket_option);
}
