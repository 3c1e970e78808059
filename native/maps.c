// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * How are entries of a map read and written? One at a time, in batches, page by page, or as memory.
 * The kernel trusts the lengths of keys and values, so each call asks the map for them first.
 */
#include "addon.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct shape {
	struct bpf_map_info info;
	size_t key; /* bytes of a key */
	size_t value; /* bytes of a value as the kernel copies it: per-CPU maps have one for each possible CPU */
};

/* The most entries of one call: keeps every product of counts and sizes far from overflow. */
enum { MOST = 1 << 22 };

/* A cursor holds a key, or what the kernel gives in its place, and the addon pages no map of longer keys. */
enum { CURSOR = 512 };

static size_t round_up(size_t size, size_t to)
{
	return (size + to - 1) / to * to;
}

static bool is_per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

static bool read_map(napi_env env, napi_value value, int *fd, struct shape *shape)
{
	uint32_t size = sizeof(shape->info);
	int cpus;

	if (!read_fd(env, value, "fd", fd))
		return false;
	memset(shape, 0, sizeof(*shape));
	if (bpf_obj_get_info_by_fd(*fd, &shape->info, &size)) {
		throw_errno(env, errno, "bpf_obj_get_info_by_fd", NULL);
		return false;
	}
	shape->key = shape->info.key_size;
	shape->value = shape->info.value_size;
	if (is_per_cpu(shape->info.type)) {
		cpus = libbpf_num_possible_cpus();
		if (cpus < 0) {
			throw_errno(env, -cpus, "libbpf_num_possible_cpus", NULL);
			return false;
		}
		shape->value = round_up(shape->value, 8) * (size_t)cpus;
	}
	return true;
}

static bool read_sized(napi_env env, napi_value value, const char *name, size_t size, uint8_t **at)
{
	struct bytes bytes;
	char expected[64];

	if (!read_bytes(env, value, name, &bytes))
		return false;
	if (bytes.length != size) {
		snprintf(expected, sizeof(expected), "%zu bytes for this map, not %zu", size, bytes.length);
		return throw_type(env, name, expected);
	}
	*at = bytes.at;
	return true;
}

static bool read_count(napi_env env, napi_value value, const char *name, uint32_t *count)
{
	if (!read_u32(env, value, name, count))
		return false;
	if (*count <= MOST)
		return true;
	return throw_type(env, name, "at most 4194304");
}

static napi_value throw_done(napi_env env, int error, const char *syscall, const struct shape *shape, uint32_t done)
{
	napi_value value = make_error(env, error, syscall, shape->info.name);

	set_number(env, value, "done", done);
	NAPI(napi_throw(env, value));
	return NULL;
}

static napi_value map_create(napi_env env, napi_callback_info info)
{
	napi_value arguments[5];
	uint32_t type, key, value, entries;
	char name[BPF_OBJ_NAME_LEN];
	int fd;

	read_arguments(env, info, 5, arguments);
	if (!read_text(env, arguments[0], "name", name, sizeof(name)) || !read_u32(env, arguments[1], "type", &type) ||
	    !read_u32(env, arguments[2], "key size", &key) || !read_u32(env, arguments[3], "value size", &value) ||
	    !read_u32(env, arguments[4], "entries", &entries))
		return NULL;
	fd = bpf_map_create(type, name, key, value, entries, NULL);
	return fd >= 0 ? make_number(env, fd) : throw_errno(env, -fd, "bpf_map_create", name);
}

static napi_value map_info(napi_env env, napi_callback_info info)
{
	napi_value argument, result;
	struct shape shape;
	int fd;

	read_arguments(env, info, 1, &argument);
	if (!read_map(env, argument, &fd, &shape))
		return NULL;
	NAPI(napi_create_object(env, &result));
	set_property(env, result, "name", make_text(env, shape.info.name));
	set_number(env, result, "type", shape.info.type);
	set_number(env, result, "keySize", shape.info.key_size);
	set_number(env, result, "valueSize", shape.info.value_size);
	set_number(env, result, "maxEntries", shape.info.max_entries);
	set_number(env, result, "flags", shape.info.map_flags);
	set_number(env, result, "id", shape.info.id);
	return result;
}

static napi_value map_lookup(napi_env env, napi_callback_info info)
{
	napi_value arguments[2], result;
	struct shape shape;
	uint8_t *key, *value;
	int fd;

	read_arguments(env, info, 2, arguments);
	if (!read_map(env, arguments[0], &fd, &shape) || !read_sized(env, arguments[1], "key", shape.key, &key))
		return NULL;
	result = make_buffer(env, shape.value, &value);
	if (!result)
		return NULL;
	if (bpf_map_lookup_elem(fd, key, value) == 0)
		return result;
	return errno == ENOENT ? make_undefined(env) : throw_errno(env, errno, "bpf_map_lookup_elem", shape.info.name);
}

static napi_value map_update(napi_env env, napi_callback_info info)
{
	napi_value arguments[4];
	struct shape shape;
	uint8_t *key, *value;
	uint32_t flags;
	int fd;

	read_arguments(env, info, 4, arguments);
	if (!read_map(env, arguments[0], &fd, &shape) || !read_sized(env, arguments[1], "key", shape.key, &key) ||
	    !read_sized(env, arguments[2], "value", shape.value, &value) || !read_u32(env, arguments[3], "flags", &flags))
		return NULL;
	if (bpf_map_update_elem(fd, key, value, flags))
		return throw_errno(env, errno, "bpf_map_update_elem", shape.info.name);
	return make_undefined(env);
}

static napi_value map_delete(napi_env env, napi_callback_info info)
{
	napi_value arguments[2];
	struct shape shape;
	uint8_t *key;
	int fd;

	read_arguments(env, info, 2, arguments);
	if (!read_map(env, arguments[0], &fd, &shape) || !read_sized(env, arguments[1], "key", shape.key, &key))
		return NULL;
	if (bpf_map_delete_elem(fd, key) == 0)
		return make_bool(env, true);
	return errno == ENOENT ? make_bool(env, false) : throw_errno(env, errno, "bpf_map_delete_elem", shape.info.name);
}

static napi_value map_update_batch(napi_env env, napi_callback_info info)
{
	napi_value arguments[5];
	uint32_t count, flags, done;
	struct shape shape;
	uint8_t *keys, *values;
	int fd;

	read_arguments(env, info, 5, arguments);
	if (!read_map(env, arguments[0], &fd, &shape) || !read_count(env, arguments[3], "count", &count) ||
	    !read_sized(env, arguments[1], "keys", shape.key * count, &keys) ||
	    !read_sized(env, arguments[2], "values", shape.value * count, &values) ||
	    !read_u32(env, arguments[4], "flags", &flags))
		return NULL;
	if (count == 0)
		return make_number(env, 0);

	/* The kernel's batches know no NOEXIST or EXIST, and some map types no batches. */
	if (flags == 0) {
		done = count;
		if (bpf_map_update_batch(fd, keys, values, &done, NULL) == 0)
			return make_number(env, done);
		if (errno != KERNEL_ENOTSUPP)
			return throw_done(env, errno, "bpf_map_update_batch", &shape, done);
	}
	for (done = 0; done < count; done++)
		if (bpf_map_update_elem(fd, keys + done * shape.key, values + done * shape.value, flags))
			return throw_done(env, errno, "bpf_map_update_elem", &shape, done);
	return make_number(env, done);
}

/* Deletes from keys on; returns 0 or an errno. at: keys dealt with. deleted: entries that were there. */
static int delete_each(int fd, const uint8_t *keys, size_t size, uint32_t count, uint32_t *at, uint32_t *deleted)
{
	for (; *at < count; ++*at) {
		if (bpf_map_delete_elem(fd, keys + *at * size) == 0)
			++*deleted;
		else if (errno != ENOENT)
			return errno;
	}
	return 0;
}

static int delete_batch(int fd, const uint8_t *keys, size_t size, uint32_t count, uint32_t *at, uint32_t *deleted)
{
	while (*at < count) {
		uint32_t done = count - *at;
		int error = bpf_map_delete_batch(fd, keys + *at * size, &done, NULL) ? errno : 0;

		if (error == KERNEL_ENOTSUPP)
			return delete_each(fd, keys, size, count, at, deleted);
		*at += done;
		*deleted += done;
		/* The kernel stops at a key that is absent: step over it. */
		if (error == ENOENT)
			++*at;
		else if (error)
			return error;
	}
	return 0;
}

static napi_value map_delete_batch(napi_env env, napi_callback_info info)
{
	napi_value arguments[3];
	uint32_t count, at = 0, deleted = 0;
	struct shape shape;
	uint8_t *keys;
	int fd, error;

	read_arguments(env, info, 3, arguments);
	if (!read_map(env, arguments[0], &fd, &shape) || !read_count(env, arguments[2], "count", &count) ||
	    !read_sized(env, arguments[1], "keys", shape.key * count, &keys))
		return NULL;
	error = delete_batch(fd, keys, shape.key, count, &at, &deleted);
	return error ? throw_done(env, error, "bpf_map_delete_batch", &shape, at) : make_number(env, deleted);
}

/* The same page without batches: the cursor is the last key. Entries that vanish on the way are left out. */
static int page_by_key(int fd, const struct shape *shape, uint8_t *cursor, bool *more, uint8_t *keys, uint8_t *values,
		       uint32_t *count)
{
	uint32_t limit = *count;
	const uint8_t *last = *more ? cursor : NULL;
	uint8_t next[CURSOR];

	if (shape->key > sizeof(next))
		return E2BIG;
	*count = 0;
	while (*count < limit) {
		if (bpf_map_get_next_key(fd, last, next)) {
			*more = false;
			return errno == ENOENT ? 0 : errno;
		}
		memcpy(cursor, next, shape->key);
		last = cursor;
		if (bpf_map_lookup_elem(fd, next, values + *count * shape->value) == 0)
			memcpy(keys + (*count)++ * shape->key, next, shape->key);
		else if (errno != ENOENT)
			return errno;
	}
	*more = true;
	return 0;
}

/* One page; returns 0 or an errno. more: whether cursor is one, before and after. count: room before, entries after. */
static int read_page(int fd, const struct shape *shape, uint8_t *cursor, bool *more, uint8_t *keys, uint8_t *values,
		     uint32_t *count)
{
	uint32_t room = *count;
	uint8_t in[CURSOR];
	int error;

	if (shape->key > sizeof(in))
		return E2BIG;
	memcpy(in, cursor, sizeof(in));
	error = bpf_map_lookup_batch(fd, *more ? in : NULL, cursor, keys, values, count, NULL) ? errno : 0;
	if (error == KERNEL_ENOTSUPP) {
		*count = room;
		memcpy(cursor, in, sizeof(in));
		return page_by_key(fd, shape, cursor, more, keys, values, count);
	}
	if (error && error != ENOENT)
		return error;
	*more = error == 0;
	return 0;
}

static napi_value make_page(napi_env env, int fd, const struct shape *shape, uint8_t *cursor, bool more, uint32_t limit)
{
	napi_value result, keys, values;
	uint8_t *key_memory, *value_memory;
	uint32_t count = limit;
	int error;

	keys = make_buffer(env, shape->key * limit, &key_memory);
	values = keys ? make_buffer(env, shape->value * limit, &value_memory) : NULL;
	if (!values)
		return NULL;
	error = read_page(fd, shape, cursor, &more, key_memory, value_memory, &count);
	/* One hash bucket holds more than the page: the kernel gives a bucket whole or not at all. */
	if (error == ENOSPC && limit < MOST)
		return make_page(env, fd, shape, cursor, more, limit * 2 > MOST ? MOST : limit * 2);
	if (error)
		return throw_errno(env, error, "bpf_map_lookup_batch", shape->info.name);
	NAPI(napi_create_object(env, &result));
	set_property(env, result, "keys", make_view(env, keys, count * shape->key));
	set_property(env, result, "values", make_view(env, values, count * shape->value));
	set_number(env, result, "count", count);
	set_property(env, result, "cursor", more ? make_bytes(env, cursor, CURSOR) : make_undefined(env));
	return result;
}

static napi_value map_page(napi_env env, napi_callback_info info)
{
	napi_value arguments[3];
	struct shape shape;
	uint8_t cursor[CURSOR] = {}, *given;
	uint32_t limit;
	bool more;
	int fd;

	read_arguments(env, info, 3, arguments);
	more = !is_undefined(env, arguments[1]);
	if (!read_map(env, arguments[0], &fd, &shape) || !read_count(env, arguments[2], "limit", &limit) ||
	    (more && !read_sized(env, arguments[1], "cursor", sizeof(cursor), &given)))
		return NULL;
	if (more)
		memcpy(cursor, given, sizeof(cursor));
	return make_page(env, fd, &shape, cursor, more, limit ? limit : 1);
}

static void unmap(napi_env env, void *memory, void *length)
{
	munmap(memory, (size_t)length);
}

static napi_value map_memory(napi_env env, napi_callback_info info)
{
	napi_value argument, result;
	struct shape shape;
	size_t length;
	void *memory;
	int fd;

	read_arguments(env, info, 1, &argument);
	if (!read_map(env, argument, &fd, &shape))
		return NULL;
	length = round_up(shape.value, 8) * shape.info.max_entries;
	memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return throw_errno(env, errno, "mmap", shape.info.name);
	if (napi_create_external_arraybuffer(env, memory, length, unmap, (void *)length, &result) != napi_ok) {
		munmap(memory, length);
		return throw_errno(env, EOPNOTSUPP, "napi_create_external_arraybuffer", shape.info.name);
	}
	return result;
}

void define_maps(napi_env env, napi_value exports)
{
	define(env, exports, "mapCreate", map_create);
	define(env, exports, "mapInfo", map_info);
	define(env, exports, "mapLookup", map_lookup);
	define(env, exports, "mapUpdate", map_update);
	define(env, exports, "mapDelete", map_delete);
	define(env, exports, "mapUpdateBatch", map_update_batch);
	define(env, exports, "mapDeleteBatch", map_delete_batch);
	define(env, exports, "mapPage", map_page);
	define(env, exports, "mapMemory", map_memory);
}
