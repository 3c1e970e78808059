// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The standard load of a dataplane test, counting what success of TCP hides: slow connects (a lost SYN), resets, answers
 * of another backend, gaps, duplicates and reordering of datagrams. `failures` of the last line is the sum of all but the last,
 * which is no failure where packets of a flow may take two ways.
 */
#pragma once

#include "peer_stream.h"

#define SLOW_US 900000
#define PATIENCE_US 5000000
#define TARGETS 16

enum user_kind { USER_SHORT, USER_FIXED, USER_LONG, USER_COUNT };

/* One client of one kind. Its connection comes and goes; fd is -1 between two. */
struct user {
	enum user_kind kind;
	int fd;
	bool connected;
	bool waiting; /* for the connection, an answer or the end */
	bool answered; /* USER_FIXED: the server closes first, so that the port is free again at once */
	const struct endpoint *target;
	unsigned int source_port; /* USER_FIXED */
	int64_t taken; /* since when its port is not free again, 0: it is */
	uint64_t number; /* of the last line sent */
	int64_t since; /* of the connect or the line that is waited for */
	int64_t due; /* of the next line or connection */
	char backend[64];
	char line[ANSWER_TEXT];
	size_t used;
};

struct tally {
	uint64_t connections, answers, failed, slow, resets, wrong, moved;
};

static struct {
	int epoll;
	struct endpoint tcp[TARGETS], udp[TARGETS];
	unsigned int tcp_count, udp_count, short_count, long_count, rate, pace_us, interval_us, fixed_port;
	int64_t start, end;
	struct tally tally[USER_COUNT];
	struct user *users;
	unsigned int user_count;
	struct stream streams[TARGETS];
	unsigned int echoing; /* long-lived users with a first answer */
	char last_error[32];
} load;

static volatile sig_atomic_t load_stopped;

static void stop_load(int signal)
{
	(void)signal;
	load_stopped = 1;
}

static void end_connection(struct user *user)
{
	if (user->fd >= 0)
		close(user->fd);
	user->fd = -1;
	user->connected = user->waiting = user->answered = false;
	user->used = 0;
	user->backend[0] = 0;
	user->due = now_us() + load.pace_us;
}

static void fail_connection(struct user *user, int error)
{
	struct tally *tally = &load.tally[user->kind];

	tally->failed++;
	if (error == ECONNRESET || error == ECONNREFUSED)
		tally->resets++;
	snprintf(load.last_error, sizeof(load.last_error), "%s", error_name(error));
	end_connection(user);
}

/* Slow because a packet was lost, not because somebody had no CPU: something was sent again on this connection. */
static bool is_slow(const struct user *user, int64_t now)
{
	struct tcp_info state = { 0 };
	socklen_t length = sizeof(state);

	if (now - user->since < SLOW_US)
		return false;
	return !getsockopt(user->fd, IPPROTO_TCP, TCP_INFO, &state, &length) && state.tcpi_total_retrans > 0;
}

static void start_connection(struct user *user, int64_t now)
{
	struct endpoint source = make_endpoint(user->target->address.ss_family, NULL, user->source_port);
	struct epoll_event event = { .events = EPOLLOUT, .data.ptr = user };

	user->fd = open_socket(user->target->address.ss_family, SOCK_STREAM, user->source_port ? &source : NULL);
	user->since = now;
	user->waiting = true;
	load.tally[user->kind].connections++;
	if (connect(user->fd, (const struct sockaddr *)&user->target->address, user->target->length) && errno != EINPROGRESS) {
		int error = errno;

		/* The last acknowledgement of the connection before is still on its way */
		if (error == EADDRNOTAVAIL && user->source_port && (!user->taken || now - user->taken < SLOW_US)) {
			if (!user->taken)
				user->taken = now;
			load.tally[user->kind].connections--;
			end_connection(user);
			return;
		}
		fail_connection(user, error);
		return;
	}
	user->taken = 0;
	epoll_ctl(load.epoll, EPOLL_CTL_ADD, user->fd, &event);
}

/* The fixed user asks the server to close first (`x`), so that its own port is free again at once. */
static void send_line(struct user *user, int64_t now)
{
	char line[32];
	int length = snprintf(line, sizeof(line), "%s%llu\n", user->kind == USER_FIXED ? "x" : "", (unsigned long long)++user->number);

	user->waiting = true;
	user->since = now;
	if (send(user->fd, line, (size_t)length, MSG_NOSIGNAL) != length)
		fail_connection(user, errno);
}

static void finish_connect(struct user *user, int64_t now)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = user };
	int error = 0;
	socklen_t length = sizeof(error);

	getsockopt(user->fd, SOL_SOCKET, SO_ERROR, &error, &length);
	if (error) {
		fail_connection(user, error);
		return;
	}
	if (is_slow(user, now))
		load.tally[user->kind].slow++;
	user->connected = true;
	epoll_ctl(load.epoll, EPOLL_CTL_MOD, user->fd, &event);
	send_line(user, now);
}

static void take_answer(struct user *user, const char *text, int64_t now)
{
	struct tally *tally = &load.tally[user->kind];
	struct answer answer;
	char expected[32];

	snprintf(expected, sizeof(expected), "%s%llu", user->kind == USER_FIXED ? "x" : "", (unsigned long long)user->number);
	if (!parse_answer(text, &answer) || strcmp(answer.line, expected)) {
		tally->wrong++;
		end_connection(user);
		return;
	}
	tally->answers++;
	user->waiting = false;
	if (is_slow(user, now))
		tally->slow++;
	if (user->kind == USER_FIXED) {
		user->answered = user->waiting = true;
		return;
	}
	if (user->kind == USER_SHORT) {
		end_connection(user);
		return;
	}
	if (!user->backend[0])
		load.echoing++;
	else if (strcmp(user->backend, answer.name))
		tally->wrong++;
	memcpy(user->backend, answer.name, sizeof(user->backend));
	user->due = user->due + load.interval_us > now ? user->due + load.interval_us : now + load.interval_us;
	if (answer.draining) { /* as a client does that reads `Connection: close` */
		tally->moved++;
		load.echoing--;
		end_connection(user);
	}
}

static void read_user(struct user *user, int64_t now)
{
	ssize_t got = recv(user->fd, user->line + user->used, sizeof(user->line) - 1 - user->used, 0);
	char *end;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got == 0 && user->answered) {
		end_connection(user);
		return;
	}
	if (got <= 0) {
		if (user->backend[0])
			load.echoing--;
		fail_connection(user, got < 0 ? errno : ENODATA);
		return;
	}
	user->used += (size_t)got;
	user->line[user->used] = 0;
	end = strchr(user->line, '\n');
	if (!end)
		return;
	*end = 0;
	user->used = 0; /* one line at a time is under way */
	take_answer(user, user->line, now);
}

static void turn_user(struct user *user, int64_t now)
{
	if (user->fd < 0) {
		if (now >= user->due)
			start_connection(user, now);
	} else if (user->waiting) {
		if (now - user->since >= PATIENCE_US) {
			if (user->backend[0])
				load.echoing--;
			fail_connection(user, ETIMEDOUT);
		}
	} else if (now >= user->due) {
		send_line(user, now);
	}
}

/* Segments this namespace sent again (Tcp RetransSegs of /proc/net/snmp). */
static uint64_t read_retransmits(void)
{
	FILE *file = fopen("/proc/thread-self/net/snmp", "r");
	char line[1024];
	unsigned long long value = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Tcp: %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %llu", &value) == 1)
			break;
	if (file)
		fclose(file);
	return value;
}

static uint64_t print_tally(const char *name, const struct tally *tally)
{
	printf(",\"%s\":{\"connections\":%llu,\"answers\":%llu,\"failed\":%llu,\"slow\":%llu,\"resets\":%llu,\"wrong\":%llu,\"moved\":%llu}",
	       name, (unsigned long long)tally->connections, (unsigned long long)tally->answers, (unsigned long long)tally->failed,
	       (unsigned long long)tally->slow, (unsigned long long)tally->resets, (unsigned long long)tally->wrong,
	       (unsigned long long)tally->moved);
	return tally->failed + tally->slow + tally->wrong;
}

/* settled: nothing is under way any more, so what was not answered is lost. */
static void print_load(const char *event, uint64_t retransmits, bool settled)
{
	uint64_t sent = 0, received = 0, duplicates = 0, reordered = 0, wrong = 0, moved = 0, errors = 0, refused = 0, gaps = 0, failures = 0;

	for (unsigned int i = 0; i < load.udp_count; i++) {
		const struct stream *stream = &load.streams[i];

		sent += stream->sent;
		received += stream->received;
		duplicates += stream->duplicates;
		reordered += stream->reordered;
		wrong += stream->wrong;
		moved += stream->moved;
		errors += stream->errors;
		refused += stream->refused;
		for (uint64_t number = 1; settled && number <= stream->sent; number++)
			gaps += !stream->seen[number];
	}
	printf("{\"event\":\"%s\",\"seconds\":%.1f", event, (double)(now_us() - load.start) / 1000000);
	failures += print_tally("short", &load.tally[USER_SHORT]);
	failures += print_tally("fixed", &load.tally[USER_FIXED]);
	failures += print_tally("long", &load.tally[USER_LONG]);
	printf(",\"udp\":{\"sent\":%llu,\"received\":%llu,\"gaps\":%llu,\"duplicates\":%llu,\"reordered\":%llu,\"wrong\":%llu,\"moved\":%llu,"
	       "\"errors\":%llu,\"refused\":%llu}",
	       (unsigned long long)sent, (unsigned long long)received, (unsigned long long)gaps, (unsigned long long)duplicates,
	       (unsigned long long)reordered, (unsigned long long)wrong, (unsigned long long)moved, (unsigned long long)errors,
	       (unsigned long long)refused);
	failures += gaps + duplicates + wrong + errors + refused;
	printf(",\"retransmits\":%llu,\"lastError\":\"%s\",\"failures\":%llu}\n", (unsigned long long)(read_retransmits() - retransmits),
	       load.last_error, (unsigned long long)failures);
	fflush(stdout);
}

static void add_target(struct endpoint *targets, unsigned int *count, char *text)
{
	char *at = strrchr(text, '@');

	if (!at || *count == TARGETS)
		fail("a target is ADDRESS@PORT, at most %d of a kind: %s", TARGETS, text);
	*at = 0;
	targets[(*count)++] = make_endpoint(AF_UNSPEC, text, parse_number(at + 1, 65535));
}

static void add_users(enum user_kind kind, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct user *user = &load.users[load.user_count++];

		user->kind = kind;
		user->fd = -1;
		user->target = &load.tcp[i % load.tcp_count];
		user->source_port = kind == USER_FIXED ? load.fixed_port : 0;
		user->due = load.start + (int64_t)i * (kind == USER_LONG ? load.interval_us : load.pace_us) / count;
	}
}

static void open_streams(void)
{
	for (unsigned int i = 0; i < load.udp_count; i++) {
		struct stream *stream = &load.streams[i];

		stream->target = &load.udp[i];
		stream->fd = open_socket(stream->target->address.ss_family, SOCK_DGRAM, NULL);
		stream->seen = calloc(SEQUENCES, 1);
		stream->due = load.start;
		set_option(stream->fd, SOL_SOCKET, SO_RCVBUF, 4 << 20);
		if (connect(stream->fd, (const struct sockaddr *)&stream->target->address, stream->target->length))
			fail("connect: %s", error_name(errno));
	}
}

static void turn_once(bool sending)
{
	struct epoll_event events[256];
	int ready = epoll_wait(load.epoll, events, 256, 1);
	int64_t now = now_us();

	for (int i = 0; i < ready; i++) {
		struct user *user = events[i].data.ptr;

		if (user->connected)
			read_user(user, now);
		else
			finish_connect(user, now);
	}
	for (unsigned int i = 0; i < load.user_count; i++)
		if (sending || load.users[i].waiting)
			turn_user(&load.users[i], now);
	for (unsigned int i = 0; i < load.udp_count; i++) {
		if (sending)
			turn_stream(&load.streams[i], load.rate, now);
		read_stream(&load.streams[i]);
	}
}

static bool under_way(void)
{
	for (unsigned int i = 0; i < load.user_count; i++)
		if (load.users[i].waiting)
			return true;
	for (unsigned int i = 0; i < load.udp_count; i++)
		if (load.streams[i].received < load.streams[i].sent)
			return true;
	return false;
}

/* arguments: [--tcp ADDRESS@PORT]… [--udp ADDRESS@PORT]… [--seconds N] [--short N] [--long N] [--rate N] [--pace MS] [--interval MS] [--fixed-port N] */
static int run_load(int count, char **arguments)
{
	static const struct option options[] = { { "tcp", 1, 0, 't' },	 { "udp", 1, 0, 'u' },	  { "seconds", 1, 0, 's' },
						 { "short", 1, 0, 'n' }, { "long", 1, 0, 'l' },	  { "rate", 1, 0, 'r' },
						 { "pace", 1, 0, 'p' },	 { "interval", 1, 0, 'i' }, { "fixed-port", 1, 0, 'f' },
						 { 0 } };
	struct sigaction action = { .sa_handler = stop_load };
	uint64_t retransmits = read_retransmits();
	unsigned int seconds = 10;
	int64_t next_print, settle;
	bool ready = false;
	int option;

	load.short_count = 16;
	load.long_count = 500;
	load.rate = 5000;
	load.pace_us = load.interval_us = 20000;
	load.fixed_port = 31999;
	while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) {
		if (option == 't')
			add_target(load.tcp, &load.tcp_count, optarg);
		else if (option == 'u')
			add_target(load.udp, &load.udp_count, optarg);
		else if (option == 's')
			seconds = parse_number(optarg, 3600);
		else if (option == 'n')
			load.short_count = parse_number(optarg, 1000);
		else if (option == 'l')
			load.long_count = parse_number(optarg, 20000);
		else if (option == 'r')
			load.rate = parse_number(optarg, 100000);
		else if (option == 'p')
			load.pace_us = parse_number(optarg, 60000) * 1000;
		else if (option == 'i')
			load.interval_us = parse_number(optarg, 60000) * 1000;
		else if (option == 'f')
			load.fixed_port = parse_number(optarg, 65535);
		else
			return 2;
	}
	if (!load.tcp_count && !load.udp_count)
		fail("load: no target");
	if (load.udp_count)
		load.rate = load.rate / load.udp_count ? load.rate / load.udp_count : 1;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	load.start = now_us();
	load.end = load.start + (int64_t)seconds * 1000000;
	load.users = calloc(load.short_count + load.long_count + TARGETS, sizeof(*load.users));
	if (load.tcp_count) {
		add_users(USER_SHORT, load.short_count);
		add_users(USER_FIXED, load.tcp_count);
		add_users(USER_LONG, load.long_count);
	}
	open_streams();
	next_print = load.start + 1000000;
	while (!load_stopped && now_us() < load.end) {
		turn_once(true);
		if (!ready && (!load.tcp_count || load.echoing == load.long_count)) {
			ready = true;
			print_load("ready", retransmits, false);
		}
		if (now_us() >= next_print) {
			print_load("progress", retransmits, false);
			next_print += 1000000;
		}
	}
	for (settle = now_us() + 1500000; under_way() && now_us() < settle;)
		turn_once(false);
	for (unsigned int i = 0; i < load.user_count; i++)
		if (load.users[i].waiting)
			fail_connection(&load.users[i], ETIMEDOUT);
	print_load("final", retransmits, true);
	return 0;
}
