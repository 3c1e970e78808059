// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * How is a program attached so that it can be replaced in place? By links, spoken to the kernel directly:
 * hooks and members newer than the installed headers are laid out here as the kernel's bpf.h has them.
 */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	TCX_INGRESS = 46, /* kernel 6.6: from here on a query gives link ids */
	LINK_CGROUP = 3,
	LINK_XDP = 6,
	LINK_TCX = 11,
	LINK_NETKIT = 13,
};

/* kernel 6.6: the query member of union bpf_attr. */
struct query {
	uint32_t target;
	uint32_t attach_type;
	uint32_t query_flags;
	uint32_t attach_flags;
	uint64_t program_ids;
	uint32_t count;
	uint32_t pad;
	uint64_t program_flags;
	uint64_t link_ids;
	uint64_t link_flags;
	uint64_t revision;
};

/* kernel 6.6: the end of struct bpf_link_info, by link type. */
struct link_details {
	uint32_t type;
	uint32_t id;
	uint32_t program_id;
	uint32_t pad;
	union {
		struct {
			uint32_t ifindex;
			uint32_t attach_type;
		} device;
		struct {
			uint64_t id;
			uint32_t attach_type;
		} cgroup;
		uint8_t room[64];
	};
};

static int bpf_call(enum bpf_cmd command, void *attributes, size_t size)
{
	return (int)syscall(SYS_bpf, command, attributes, size);
}

/* The arguments of a new link as the kernel takes them. */
static bool read_link(napi_env env, napi_callback_info info, union bpf_attr *attr)
{
	uint32_t target, attach_type, flags;
	napi_value arguments[4];
	int program;

	read_arguments(env, info, 4, arguments);
	if (!read_fd(env, arguments[0], "program", &program) || !read_u32(env, arguments[1], "target", &target) ||
	    !read_u32(env, arguments[2], "attachType", &attach_type) || !read_u32(env, arguments[3], "flags", &flags))
		return false;
	memset(attr, 0, sizeof(*attr));
	attr->link_create.prog_fd = (uint32_t)program;
	attr->link_create.target_fd = target;
	attr->link_create.attach_type = attach_type;
	attr->link_create.flags = flags;
	return true;
}

static napi_value link_made(napi_env env, int fd, int error)
{
	return fd < 0 ? throw_errno(env, error, "BPF_LINK_CREATE", NULL) : make_number(env, fd);
}

static napi_value link_create(napi_env env, napi_callback_info info)
{
	union bpf_attr attr;
	int fd;

	if (!read_link(env, info, &attr))
		return NULL;
	fd = bpf_call(BPF_LINK_CREATE, &attr, sizeof(attr));
	return link_made(env, fd, errno);
}

/* A link that a thread of the pool makes. */
struct linking {
	struct aside aside;
	union bpf_attr attr;
	int fd, error;
};

static void link_in_pool(struct aside *aside)
{
	struct linking *linking = (struct linking *)aside;

	linking->fd = bpf_call(BPF_LINK_CREATE, &linking->attr, sizeof(linking->attr));
	linking->error = errno;
}

static napi_value link_outcome(napi_env env, struct aside *aside)
{
	const struct linking *linking = (const struct linking *)aside;

	return link_made(env, linking->fd, linking->error);
}

static napi_value link_create_aside(napi_env env, napi_callback_info info)
{
	struct linking *linking = calloc(1, sizeof(*linking));

	if (!linking)
		return throw_errno(env, ENOMEM, "calloc", NULL);
	if (!read_link(env, info, &linking->attr)) {
		free(linking);
		return NULL;
	}
	linking->aside = (struct aside){ .call = link_in_pool, .outcome = link_outcome };
	return start_aside(env, "BPF_LINK_CREATE", &linking->aside);
}

static napi_value link_update(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	napi_value arguments[2];
	int link, program;

	read_arguments(env, info, 2, arguments);
	if (!read_fd(env, arguments[0], "link", &link) || !read_fd(env, arguments[1], "program", &program))
		return NULL;
	attr.link_update.link_fd = (uint32_t)link;
	attr.link_update.new_prog_fd = (uint32_t)program;
	if (bpf_call(BPF_LINK_UPDATE, &attr, sizeof(attr)))
		return throw_errno(env, errno, "BPF_LINK_UPDATE", NULL);
	return make_undefined(env);
}

static napi_value link_detach(napi_env env, napi_callback_info info)
{
	union bpf_attr attr = {};
	napi_value argument;
	int link;

	read_arguments(env, info, 1, &argument);
	if (!read_fd(env, argument, "link", &link))
		return NULL;
	attr.link_detach.link_fd = (uint32_t)link;
	if (bpf_call(BPF_LINK_DETACH, &attr, sizeof(attr)))
		return throw_errno(env, errno, "BPF_LINK_DETACH", NULL);
	return make_undefined(env);
}

static napi_value link_info(napi_env env, napi_callback_info info)
{
	uint32_t ifindex = 0, attach_type = 0;
	struct link_details link = {};
	napi_value argument, result, cgroup;
	union bpf_attr attr = {};
	uint64_t cgroup_id = 0;
	int fd;

	read_arguments(env, info, 1, &argument);
	if (!read_fd(env, argument, "link", &fd))
		return NULL;
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(link);
	attr.info.info = (uintptr_t)&link;
	if (bpf_call(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)))
		return throw_errno(env, errno, "BPF_OBJ_GET_INFO_BY_FD", NULL);
	if (link.type == LINK_CGROUP) {
		cgroup_id = link.cgroup.id;
		attach_type = link.cgroup.attach_type;
	} else if (link.type == LINK_XDP) {
		ifindex = link.device.ifindex;
		attach_type = BPF_XDP;
	} else if (link.type == LINK_TCX || link.type == LINK_NETKIT) {
		ifindex = link.device.ifindex;
		attach_type = link.device.attach_type;
	}
	NAPI(napi_create_bigint_uint64(env, cgroup_id, &cgroup));
	NAPI(napi_create_object(env, &result));
	set_number(env, result, "id", link.id);
	set_number(env, result, "type", link.type);
	set_number(env, result, "programId", link.program_id);
	set_number(env, result, "ifindex", ifindex);
	set_number(env, result, "attachType", attach_type);
	set_property(env, result, "cgroupId", cgroup);
	return result;
}

static napi_value make_ids(napi_env env, const uint32_t *ids, uint32_t count)
{
	napi_value result;

	NAPI(napi_create_array_with_length(env, count, &result));
	for (uint32_t i = 0; i < count; i++)
		NAPI(napi_set_element(env, result, i, make_number(env, ids[i])));
	return result;
}

/* Asks for the number of programs, then for them; again when some came in between. 0 or an errno. */
static int query_ids(struct query *query, uint32_t **ids)
{
	uint32_t target = query->target, attach_type = query->attach_type, room;

	for (;;) {
		*query = (struct query){ .target = target, .attach_type = attach_type };
		if (bpf_call(BPF_PROG_QUERY, query, sizeof(*query)))
			return errno == ENOENT ? 0 : errno; /* kernel 6.6: ENOENT where nothing was ever attached */
		room = query->count;
		if (room == 0)
			return 0;
		*ids = calloc(room, 2 * sizeof(**ids));
		if (!*ids)
			return ENOMEM;
		*query = (struct query){
			.target = target,
			.attach_type = attach_type,
			.program_ids = (uintptr_t)*ids,
			.count = room,
			.link_ids = attach_type >= TCX_INGRESS ? (uintptr_t)(*ids + room) : 0,
		};
		if (bpf_call(BPF_PROG_QUERY, query, sizeof(*query)) == 0) {
			if (query->count < room)
				memmove(*ids + query->count, *ids + room, query->count * sizeof(**ids));
			return 0;
		}
		free(*ids);
		*ids = NULL;
		if (errno != ENOSPC)
			return errno;
	}
}

static napi_value query(napi_env env, napi_callback_info info)
{
	napi_value arguments[2], result;
	struct query query = {};
	uint32_t *ids = NULL;
	int error;

	read_arguments(env, info, 2, arguments);
	if (!read_u32(env, arguments[0], "target", &query.target) ||
	    !read_u32(env, arguments[1], "attachType", &query.attach_type))
		return NULL;
	error = query_ids(&query, &ids);
	if (error)
		return throw_errno(env, error, "BPF_PROG_QUERY", NULL);
	NAPI(napi_create_object(env, &result));
	set_property(env, result, "programIds", make_ids(env, ids, ids ? query.count : 0));
	set_property(env, result, "linkIds",
		     ids && query.attach_type >= TCX_INGRESS ? make_ids(env, ids + query.count, query.count) : make_ids(env, NULL, 0));
	free(ids);
	return result;
}

void define_links(napi_env env, napi_value exports)
{
	define(env, exports, "linkCreate", link_create);
	define(env, exports, "linkCreateAside", link_create_aside);
	define(env, exports, "linkUpdate", link_update);
	define(env, exports, "linkDetach", link_detach);
	define(env, exports, "linkInfo", link_info);
	define(env, exports, "query", query);
}
