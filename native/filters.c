// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* How is a program attached where the kernel has no tcx? As a direct-action filter of clsact with a fixed place. */
#include "addon.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

struct place {
	struct bpf_tc_hook hook;
	uint32_t priority;
	uint32_t handle;
};

static bool read_place(napi_env env, napi_value ifindex, napi_value direction, napi_value priority, napi_value handle,
		       struct place *place)
{
	char text[8];
	int index;

	if (!read_fd(env, ifindex, "ifindex", &index) || !read_text(env, direction, "direction", text, sizeof(text)) ||
	    !read_u32(env, priority, "priority", &place->priority) || !read_u32(env, handle, "handle", &place->handle))
		return false;
	place->hook = (struct bpf_tc_hook){ .sz = sizeof(place->hook), .ifindex = index };
	if (strcmp(text, "ingress") == 0)
		place->hook.attach_point = BPF_TC_INGRESS;
	else if (strcmp(text, "egress") == 0)
		place->hook.attach_point = BPF_TC_EGRESS;
	else
		return throw_type(env, "direction", "'ingress' or 'egress'");
	return true;
}

static napi_value tc_attach(napi_env env, napi_callback_info info)
{
	napi_value arguments[5];
	struct bpf_tc_hook both;
	struct place place;
	int program, error;

	read_arguments(env, info, 5, arguments);
	if (!read_place(env, arguments[0], arguments[1], arguments[3], arguments[4], &place) ||
	    !read_fd(env, arguments[2], "program", &program))
		return NULL;
	forget_log();
	both = place.hook;
	both.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	error = bpf_tc_hook_create(&both);
	if (error && error != -EEXIST)
		return throw_errno(env, -error, "bpf_tc_hook_create", recent_log());
	LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = program, .flags = BPF_TC_F_REPLACE, .priority = place.priority,
		    .handle = place.handle);
	error = bpf_tc_attach(&place.hook, &filter);
	return error ? throw_errno(env, -error, "bpf_tc_attach", recent_log()) : make_undefined(env);
}

static napi_value tc_detach(napi_env env, napi_callback_info info)
{
	napi_value arguments[4];
	struct place place;
	int error;

	read_arguments(env, info, 4, arguments);
	if (!read_place(env, arguments[0], arguments[1], arguments[2], arguments[3], &place))
		return NULL;
	forget_log();
	LIBBPF_OPTS(bpf_tc_opts, filter, .priority = place.priority, .handle = place.handle);
	error = bpf_tc_detach(&place.hook, &filter);
	return error ? throw_errno(env, -error, "bpf_tc_detach", recent_log()) : make_undefined(env);
}

static napi_value tc_query(napi_env env, napi_callback_info info)
{
	napi_value arguments[4];
	struct place place;
	int error;

	read_arguments(env, info, 4, arguments);
	if (!read_place(env, arguments[0], arguments[1], arguments[2], arguments[3], &place))
		return NULL;
	forget_log();
	LIBBPF_OPTS(bpf_tc_opts, filter, .priority = place.priority, .handle = place.handle);
	error = bpf_tc_query(&place.hook, &filter);
	if (error == 0)
		return make_number(env, filter.prog_id);
	/* EINVAL: the device has no clsact. */
	return error == -ENOENT || error == -EINVAL ? make_undefined(env) :
						      throw_errno(env, -error, "bpf_tc_query", recent_log());
}

void define_filters(napi_env env, napi_value exports)
{
	define(env, exports, "tcAttach", tc_attach);
	define(env, exports, "tcDetach", tc_detach);
	define(env, exports, "tcQuery", tc_query);
}
