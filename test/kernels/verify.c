// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * How many instructions does this kernel's verifier process for each program of an object? verify OBJECT FEATURES, the bytes of struct
 * features in hexadecimal, prints "PROGRAM COUNT" lines. The count is read from the verifier's log: kernel 5.10 tells it nowhere else.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG = 4096, LOG_STATISTICS = 4, FEATURES_MOST = 64 };

static int fill_features(struct bpf_object *object, const char *text)
{
	unsigned char bytes[FEATURES_MOST];
	size_t size = strlen(text) / 2;
	struct bpf_map *map;

	if (size > sizeof(bytes))
		return -1;
	for (size_t i = 0; i < size; i++)
		if (sscanf(text + 2 * i, "%2hhx", &bytes[i]) != 1)
			return -1;
	bpf_object__for_each_map(map, object)
		if (strcmp(bpf_map__name(map), ".rodata.features") == 0)
			return bpf_map__set_initial_value(map, bytes, size);
	return -1;
}

static int print_counts(struct bpf_object *object)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) {
		size_t size;
		const char *log = bpf_program__log_buf(program, &size), *line = strstr(log, "processed ");
		unsigned count;

		if (!line || sscanf(line, "processed %u insns", &count) != 1) {
			fprintf(stderr, "%s: the verifier's log does not tell the count: %s\n", bpf_program__name(program), log);
			return 1;
		}
		printf("%s %u\n", bpf_program__name(program), count);
	}
	return 0;
}

/* with_log: the verifier's statistics go to buffers of ours; without, a refusal's full log goes to standard error. */
static int load(const char *path, const char *features, int with_log)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;
	int failed = 1;

	if (!object || fill_features(object, features)) {
		fprintf(stderr, "%s: does not open, or has no such features\n", path);
		goto out;
	}
	if (with_log)
		bpf_object__for_each_program(program, object) {
			bpf_program__set_log_level(program, LOG_STATISTICS);
			if (bpf_program__set_log_buf(program, calloc(1, LOG), LOG))
				goto out;
		}
	failed = bpf_object__load(object) != 0;
	if (!failed && with_log)
		failed = print_counts(object);
out:
	bpf_object__close(object);
	return failed;
}

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return 0;
}

int main(int argc, char **argv)
{
	libbpf_print_fn_t print;

	if (argc != 3) {
		fprintf(stderr, "usage: verify OBJECT FEATURES\n");
		return 2;
	}
	print = libbpf_set_print(silent);
	if (!load(argv[1], argv[2], 1))
		return 0;
	libbpf_set_print(print);
	load(argv[1], argv[2], 0);
	return 1;
}
