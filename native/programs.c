// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What is a loaded program, what does it do with a packet, and what may programs of its type call? */
#include "addon.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>

enum { PACKET_MOST = 1 << 20, GROWTH = 512 };

static napi_value program_info(napi_env env, napi_callback_info info)
{
	struct bpf_prog_info program = {};
	uint32_t size = sizeof(program);
	char tag[2 * BPF_TAG_SIZE + 1];
	napi_value argument, result;
	int fd;

	read_arguments(env, info, 1, &argument);
	if (!read_fd(env, argument, "fd", &fd))
		return NULL;
	if (bpf_obj_get_info_by_fd(fd, &program, &size))
		return throw_errno(env, errno, "bpf_obj_get_info_by_fd", NULL);
	for (int i = 0; i < BPF_TAG_SIZE; i++)
		snprintf(tag + 2 * i, 3, "%02x", program.tag[i]);
	NAPI(napi_create_object(env, &result));
	set_number(env, result, "id", program.id);
	set_property(env, result, "name", make_text(env, program.name));
	set_number(env, result, "type", program.type);
	set_property(env, result, "tag", make_text(env, tag));
	set_number(env, result, "verifiedInstructions", program.verified_insns); /* kernel 5.16; before: 0 */
	return result;
}

/* Reads an optional unsigned member. */
static bool read_option(napi_env env, napi_value options, const char *name, uint32_t absent, uint32_t *out)
{
	napi_value value = read_property(env, options, name);

	*out = absent;
	return is_undefined(env, value) || read_u32(env, value, name, out);
}

static napi_value test_run(napi_env env, napi_callback_info info)
{
	LIBBPF_OPTS(bpf_test_run_opts, run);
	napi_value arguments[3], ctx, packet_value, ctx_value, result;
	struct bytes packet, ctx_in = {};
	uint8_t *packet_out, *ctx_out = NULL;
	uint32_t repeat, room;
	int fd;

	read_arguments(env, info, 3, arguments);
	ctx = read_property(env, arguments[2], "ctx");
	if (!read_fd(env, arguments[0], "program", &fd) || !read_bytes(env, arguments[1], "packet", &packet) ||
	    (!is_undefined(env, ctx) && !read_bytes(env, ctx, "ctx", &ctx_in)) ||
	    !read_option(env, arguments[2], "repeat", 1, &repeat) ||
	    !read_option(env, arguments[2], "packetSize", (uint32_t)packet.length + GROWTH, &room))
		return NULL;
	if (packet.length > PACKET_MOST || room > PACKET_MOST || ctx_in.length > PACKET_MOST) {
		throw_type(env, "packet, ctx and packetSize", "at most 1 MiB");
		return NULL;
	}
	packet_value = make_buffer(env, room, &packet_out);
	ctx_value = packet_value ? make_buffer(env, ctx_in.length, &ctx_out) : NULL;
	if (!ctx_value)
		return NULL;

	run.data_in = packet.at;
	run.data_size_in = (uint32_t)packet.length;
	run.data_out = packet_out;
	run.data_size_out = room;
	run.repeat = (int)repeat;
	if (ctx_in.length) {
		run.ctx_in = ctx_in.at;
		run.ctx_size_in = (uint32_t)ctx_in.length;
		run.ctx_out = ctx_out;
		run.ctx_size_out = (uint32_t)ctx_in.length;
	}
	if (bpf_prog_test_run_opts(fd, &run))
		return throw_errno(env, errno, "bpf_prog_test_run", NULL);
	NAPI(napi_create_object(env, &result));
	set_number(env, result, "returnValue", (int32_t)run.retval);
	set_property(env, result, "packet", make_view(env, packet_value, run.data_size_out));
	set_number(env, result, "durationNs", run.duration);
	set_property(env, result, "ctx", ctx_in.length ? make_view(env, ctx_value, run.ctx_size_out) : make_undefined(env));
	return result;
}

static napi_value probe_helper(napi_env env, napi_callback_info info)
{
	uint32_t type, helper;
	napi_value arguments[2];
	int answer;

	read_arguments(env, info, 2, arguments);
	if (!read_u32(env, arguments[0], "programType", &type) || !read_u32(env, arguments[1], "helper", &helper))
		return NULL;
	answer = libbpf_probe_bpf_helper(type, helper, NULL);
	return answer < 0 ? throw_errno(env, -answer, "libbpf_probe_bpf_helper", NULL) : make_bool(env, answer == 1);
}

void define_programs(napi_env env, napi_value exports)
{
	define(env, exports, "programInfo", program_info);
	define(env, exports, "testRun", test_run);
	define(env, exports, "probeHelper", probe_helper);
}
