// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What did libbpf say? Kept for the error that follows, never printed: standard error belongs to the agent's log. */
#define _GNU_SOURCE
#include "addon.h"

#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 16384 };

/* Per thread: an error is thrown in the thread that made the call. */
static _Thread_local char kept[KEPT];
static _Thread_local size_t length;

static void append(const char *text, size_t size)
{
	size_t room = KEPT - 1;

	if (size > room) {
		text += size - room;
		size = room;
	}
	if (length + size > room) {
		size_t surplus = length + size - room;

		memmove(kept, kept + surplus, length - surplus);
		length -= surplus;
	}
	memcpy(kept + length, text, size);
	length += size;
	kept[length] = '\0';
}

/* The verifier's log arrives as one message of up to 16 MB. */
static int keep(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char *text;
	int size;

	if (level == LIBBPF_DEBUG)
		return 0;
	size = vasprintf(&text, format, arguments);
	if (size < 0)
		return 0;
	append(text, (size_t)size);
	free(text);
	return size;
}

void capture_log(void)
{
	libbpf_set_print(keep);
}

void forget_log(void)
{
	length = 0;
	kept[0] = '\0';
}

const char *recent_log(void)
{
	return kept;
}
