// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Numbered datagrams, and what became of each of them. */
#pragma once

#include "peer_ask.h"

#define SEQUENCES (1u << 20)
#define ANSWERING 32

/* One backend of a stream. When a stream moves, the last answers of the old backend may come after the first of the new. */
struct answering {
	char name[64];
	uint64_t latest;
};

/* A stream of numbered datagrams from one connected socket. */
struct stream {
	int fd;
	const struct endpoint *target;
	uint64_t sent, received, duplicates, reordered, wrong, moved, errors, refused;
	uint8_t *seen; /* one byte a number */
	struct answering answering[ANSWERING];
	unsigned int answering_count;
	int64_t due;
};

/* NULL: more backends than there can be. */
static struct answering *find_answering(struct stream *stream, const char *name)
{
	unsigned int i = 0;

	while (i < stream->answering_count && strcmp(stream->answering[i].name, name))
		i++;
	if (i == ANSWERING)
		return NULL;
	if (i == stream->answering_count) {
		snprintf(stream->answering[i].name, sizeof(stream->answering[i].name), "%s", name);
		stream->answering_count++;
		stream->moved += i > 0;
	}
	return &stream->answering[i];
}

static void read_stream(struct stream *stream)
{
	char text[ANSWER_TEXT];
	struct answer answer;
	ssize_t got;

	while ((got = recv(stream->fd, text, sizeof(text) - 1, 0)) > 0) {
		struct answering *from;
		uint64_t number;

		text[got] = 0;
		if (!parse_answer(text, &answer) || (number = strtoull(answer.line, NULL, 10)) == 0 || number > stream->sent ||
		    !(from = find_answering(stream, answer.name))) {
			stream->wrong++;
			continue;
		}
		stream->received++;
		if (stream->seen[number % SEQUENCES]++)
			stream->duplicates++;
		if (number < from->latest)
			stream->reordered++;
		else
			from->latest = number;
	}
	if (got < 0 && errno != EAGAIN && errno != EINTR)
		stream->refused++;
}

/* Sends what is due at a rate a second. */
static void turn_stream(struct stream *stream, unsigned int rate, int64_t now)
{
	int64_t gap = 1000000 / rate;

	for (; stream->due <= now && stream->sent + 1 < SEQUENCES; stream->due += gap) {
		char line[32];
		int length = snprintf(line, sizeof(line), "%llu\n", (unsigned long long)stream->sent + 1);

		if (now - stream->due > 100000) /* we were not scheduled: no burst to make up for it */
			stream->due = now;
		if (send(stream->fd, line, (size_t)length, MSG_NOSIGNAL) == length)
			stream->sent++;
		else
			stream->errors++;
	}
}
