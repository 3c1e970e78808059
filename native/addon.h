/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What do the parts of the addon share? Reading arguments, making results and throwing errors.
 * The addon carries bytes and descriptors between Node and the kernel and knows no meaning of either;
 * its functions are described where they are called from, in control/kernel/native.ts.
 */
#pragma once

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A Node-API call that can fail only by a mistake of ours: the process ends there, its state is in the kernel. */
#define NAPI(call)                                                                                                     \
	do {                                                                                                           \
		if ((call) != napi_ok)                                                                                 \
			napi_fatal_error(__FILE__, NAPI_AUTO_LENGTH, #call, NAPI_AUTO_LENGTH);                         \
	} while (0)

struct bytes {
	uint8_t *at;
	size_t length;
};

/*
 * Arguments. Each reader throws a TypeError naming the argument and returns false when it is not what it must be.
 * Missing arguments are undefined.
 */
void read_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values);
bool is_undefined(napi_env env, napi_value value);
bool read_u32(napi_env env, napi_value value, const char *name, uint32_t *out);
bool read_fd(napi_env env, napi_value value, const char *name, int *out);
bool read_bytes(napi_env env, napi_value value, const char *name, struct bytes *out);
/* A string without NUL that fits size with its terminator. */
bool read_text(napi_env env, napi_value value, const char *name, char *out, size_t size);
/* A property, or undefined where the object itself is undefined. */
napi_value read_property(napi_env env, napi_value object, const char *name);

/* Results. */
napi_value make_undefined(napi_env env);
napi_value make_bool(napi_env env, bool value);
napi_value make_number(napi_env env, double value);
napi_value make_text(napi_env env, const char *value);
/* A copy as Uint8Array; NULL with an exception pending when there is no memory. */
napi_value make_bytes(napi_env env, const void *at, size_t length);
/* A Uint8Array of that length and its memory; NULL as above. */
napi_value make_buffer(napi_env env, size_t length, uint8_t **at);
/* The first bytes of such a buffer, not copied. */
napi_value make_view(napi_env env, napi_value buffer, size_t length);
void set_property(napi_env env, napi_value object, const char *name, napi_value value);
void set_number(napi_env env, napi_value object, const char *name, double value);

/* Throws Error("syscall: CODE, text[: detail]") with code and syscall; error is a positive errno. Returns NULL. */
napi_value throw_errno(napi_env env, int error, const char *syscall, const char *detail);
/* The same error as a value, for callers that add to it before they throw it. */
napi_value make_error(napi_env env, int error, const char *syscall, const char *detail);
/* Throws TypeError("name must be expected"), unless an exception is pending already. Returns false. */
bool throw_type(napi_env env, const char *name, const char *expected);

/* Linux's own number for "this map has no batches"; it has no name in errno.h. */
enum { KERNEL_ENOTSUPP = 524 };

/* What libbpf said since the last call of forget_log: warnings and the verifier's log, the last 16 KiB. */
void forget_log(void);
const char *recent_log(void);
void capture_log(void);

/*
 * A call that a thread of the pool makes: the first member of an allocation that has its arguments and what comes of them, and is freed at its
 * end. call: in that thread, without JavaScript. outcome: afterwards, in the main thread; its value resolves the promise, or it returns NULL
 * with an exception pending, which rejects it.
 */
struct aside {
	void (*call)(struct aside *aside);
	napi_value (*outcome)(napi_env env, struct aside *aside);
	napi_deferred deferred;
	napi_async_work work;
};

/* Returns the promise. */
napi_value start_aside(napi_env env, const char *name, struct aside *aside);

void define(napi_env env, napi_value exports, const char *name, napi_callback function);
void define_objects(napi_env env, napi_value exports);
void define_maps(napi_env env, napi_value exports);
void define_files(napi_env env, napi_value exports);
void define_programs(napi_env env, napi_value exports);
void define_links(napi_env env, napi_value exports);
void define_filters(napi_env env, napi_value exports);
void define_netlink(napi_env env, napi_value exports);
