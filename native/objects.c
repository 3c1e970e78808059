// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * How does an ELF object become maps and programs in the kernel? Opened, fitted with the caller's maps, sizes and
 * constants, loaded, and reduced to descriptors: libbpf's own object is closed before the call returns.
 */
#define _GNU_SOURCE
#include "addon.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME = 256 };

struct descriptors {
	size_t count;
	int fds[];
};

/* A call on one named member of an option object; throws and returns false when it is wrong. */
typedef bool (*apply_option)(napi_env env, struct bpf_object *object, const char *name, napi_value value);

static bool refuse(napi_env env, int error, const char *detail)
{
	throw_errno(env, error, "bpf_object__open", detail);
	return false;
}

static struct bpf_map *find_map(napi_env env, struct bpf_object *object, const char *name)
{
	struct bpf_map *map;
	char detail[NAME + 32];

	bpf_object__for_each_map(map, object)
		if (strcmp(bpf_map__name(map), name) == 0)
			return map;
	snprintf(detail, sizeof(detail), "the object has no map %s", name);
	refuse(env, ENOENT, detail);
	return NULL;
}

/* libbpf takes whatever descriptor it is given, so a map of another shape is refused here. */
static bool use_map(napi_env env, struct bpf_object *object, const char *name, napi_value value)
{
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);
	struct bpf_map *map = find_map(env, object, name);
	char detail[NAME + 64];
	int fd;

	if (!map || !read_fd(env, value, name, &fd))
		return false;
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return refuse(env, errno, name);
	if (info.type != bpf_map__type(map) || info.key_size != bpf_map__key_size(map) ||
	    info.value_size != bpf_map__value_size(map)) {
		snprintf(detail, sizeof(detail), "map %s has another type, key or value size", name);
		return refuse(env, EINVAL, detail);
	}
	if (bpf_map__reuse_fd(map, fd))
		return refuse(env, errno, name);
	return true;
}

static bool size_map(napi_env env, struct bpf_object *object, const char *name, napi_value value)
{
	struct bpf_map *map = find_map(env, object, name);
	uint32_t entries;

	if (!map || !read_u32(env, value, name, &entries))
		return false;
	if (bpf_map__set_max_entries(map, entries))
		return refuse(env, errno, name);
	return true;
}

static bool fill_section(napi_env env, struct bpf_object *object, const char *name, napi_value value)
{
	struct bpf_map *map = find_map(env, object, name);
	struct bytes bytes;

	if (!map || !read_bytes(env, value, name, &bytes))
		return false;
	if (bpf_map__set_initial_value(map, bytes.at, bytes.length))
		return refuse(env, errno, name);
	return true;
}

static bool apply_options(napi_env env, struct bpf_object *object, napi_value options, apply_option apply)
{
	napi_value names, name, value;
	uint32_t count;
	char text[NAME];

	if (is_undefined(env, options))
		return true;
	if (napi_get_property_names(env, options, &names) != napi_ok)
		return throw_type(env, "options", "an object");
	NAPI(napi_get_array_length(env, names, &count));
	for (uint32_t i = 0; i < count; i++) {
		NAPI(napi_get_element(env, names, i, &name));
		if (!read_text(env, name, "name", text, sizeof(text)))
			return false;
		if (napi_get_property(env, options, name, &value) != napi_ok)
			return false;
		if (!is_undefined(env, value) && !apply(env, object, text, value))
			return false;
	}
	return true;
}

static bool choose_programs(napi_env env, struct bpf_object *object, napi_value names)
{
	struct bpf_program *program;
	char text[NAME], detail[NAME + 32];
	napi_value name;
	uint32_t count;

	if (is_undefined(env, names))
		return true;
	if (napi_get_array_length(env, names, &count) != napi_ok)
		return throw_type(env, "programs", "an array of names");
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, false);
	for (uint32_t i = 0; i < count; i++) {
		NAPI(napi_get_element(env, names, i, &name));
		if (!read_text(env, name, "program", text, sizeof(text)))
			return false;
		program = bpf_object__find_program_by_name(object, text);
		if (!program) {
			snprintf(detail, sizeof(detail), "the object has no program %s", text);
			return refuse(env, ENOENT, detail);
		}
		bpf_program__set_autoload(program, true);
	}
	return true;
}

static void close_all(struct descriptors *descriptors)
{
	while (descriptors->count)
		close(descriptors->fds[--descriptors->count]);
}

static napi_value object_close(napi_env env, napi_callback_info info)
{
	void *descriptors;

	NAPI(napi_get_cb_info(env, info, NULL, NULL, NULL, &descriptors));
	close_all(descriptors);
	return make_undefined(env);
}

/* Only the list: descriptors that were not closed may be in use by their numbers. */
static void free_descriptors(napi_env env, void *descriptors, void *hint)
{
	free(descriptors);
}

static bool own(napi_env env, struct descriptors *descriptors, napi_value record, const char *name, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0) {
		throw_errno(env, errno, "fcntl", name);
		return false;
	}
	descriptors->fds[descriptors->count++] = copy;
	set_number(env, record, name, copy);
	return true;
}

static napi_value make_object(napi_env env, struct bpf_object *object)
{
	napi_value result, maps, programs, close_function;
	struct descriptors *descriptors;
	struct bpf_program *program;
	struct bpf_map *map;
	bool complete = true;
	size_t count = 0;

	bpf_object__for_each_map(map, object)
		count++;
	bpf_object__for_each_program(program, object)
		count++;
	descriptors = calloc(1, sizeof(*descriptors) + count * sizeof(int));
	if (!descriptors)
		return throw_errno(env, ENOMEM, "calloc", NULL);

	NAPI(napi_create_object(env, &result));
	NAPI(napi_create_object(env, &maps));
	NAPI(napi_create_object(env, &programs));
	bpf_object__for_each_map(map, object)
		if (complete && !bpf_map__is_internal(map))
			complete = own(env, descriptors, maps, bpf_map__name(map), bpf_map__fd(map));
	bpf_object__for_each_program(program, object)
		if (complete && bpf_program__autoload(program))
			complete = own(env, descriptors, programs, bpf_program__name(program), bpf_program__fd(program));
	if (!complete) {
		close_all(descriptors);
		free(descriptors);
		return NULL;
	}
	NAPI(napi_create_function(env, "close", NAPI_AUTO_LENGTH, object_close, descriptors, &close_function));
	NAPI(napi_add_finalizer(env, close_function, descriptors, free_descriptors, NULL, NULL));
	set_property(env, result, "maps", maps);
	set_property(env, result, "programs", programs);
	set_property(env, result, "close", close_function);
	return result;
}

static napi_value throw_with_log(napi_env env, int error, const char *syscall, const char *path, const char *log)
{
	napi_value value = make_error(env, error, syscall, path);

	set_property(env, value, "log", make_text(env, log));
	NAPI(napi_throw(env, value));
	return NULL;
}

/* Opened and fitted with its options, ready to be loaded; NULL with an exception pending. path: room for PATH_MAX bytes. */
static struct bpf_object *open_object(napi_env env, napi_callback_info info, char *path)
{
	napi_value arguments[2], options;
	struct bpf_object *object;

	read_arguments(env, info, 2, arguments);
	options = arguments[1];
	if (!read_text(env, arguments[0], "path", path, PATH_MAX))
		return NULL;
	forget_log();
	object = bpf_object__open_file(path, NULL);
	if (!object) {
		throw_with_log(env, errno, "bpf_object__open", path, recent_log());
		return NULL;
	}
	/* Sizes first: for a map that is reused the descriptor's own size holds. */
	if (apply_options(env, object, read_property(env, options, "mapSizes"), size_map) &&
	    apply_options(env, object, read_property(env, options, "maps"), use_map) &&
	    apply_options(env, object, read_property(env, options, "rodata"), fill_section) &&
	    choose_programs(env, object, read_property(env, options, "programs")))
		return object;
	bpf_object__close(object);
	return NULL;
}

/* What a load gave: descriptors, or its error thrown. Closes libbpf's object. */
static napi_value loaded(napi_env env, struct bpf_object *object, int error, const char *path, const char *log)
{
	napi_value result = error ? throw_with_log(env, -error, "bpf_object__load", path, log) : make_object(env, object);

	bpf_object__close(object);
	return result;
}

static napi_value load(napi_env env, napi_callback_info info)
{
	struct bpf_object *object;
	char path[PATH_MAX];
	int error;

	object = open_object(env, info, path);
	if (!object)
		return NULL;
	error = bpf_object__load(object);
	return loaded(env, object, error, path, recent_log());
}

/* A load that goes on in a thread of the pool. */
struct loading {
	struct aside aside;
	struct bpf_object *object;
	int error;
	char *log; /* what libbpf said in that thread, where it failed; NULL where there was no memory for it */
	char path[PATH_MAX];
};

static void load_in_pool(struct aside *aside)
{
	struct loading *loading = (struct loading *)aside;

	forget_log();
	loading->error = bpf_object__load(loading->object);
	if (loading->error)
		loading->log = strdup(recent_log());
}

static napi_value load_outcome(napi_env env, struct aside *aside)
{
	struct loading *loading = (struct loading *)aside;
	napi_value result = loaded(env, loading->object, loading->error, loading->path, loading->log ? loading->log : "");

	free(loading->log);
	return result;
}

static napi_value load_aside(napi_env env, napi_callback_info info)
{
	struct loading *loading = calloc(1, sizeof(*loading));

	if (!loading)
		return throw_errno(env, ENOMEM, "calloc", NULL);
	loading->object = open_object(env, info, loading->path);
	if (!loading->object) {
		free(loading);
		return NULL;
	}
	loading->aside = (struct aside){ .call = load_in_pool, .outcome = load_outcome };
	return start_aside(env, "bpf_object__load", &loading->aside);
}

void define_objects(napi_env env, napi_value exports)
{
	define(env, exports, "load", load);
	define(env, exports, "loadAside", load_aside);
}
