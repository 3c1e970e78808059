// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* How do JavaScript values become C values and back? Every length and range is checked here, once. */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void read_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values)
{
	NAPI(napi_get_cb_info(env, info, &count, values, NULL, NULL));
}

bool is_undefined(napi_env env, napi_value value)
{
	napi_valuetype type;

	NAPI(napi_typeof(env, value, &type));
	return type == napi_undefined;
}

static bool read_integer(napi_env env, napi_value value, const char *name, double limit, double *out)
{
	if (napi_get_value_double(env, value, out) == napi_ok && *out >= 0 && *out <= limit && trunc(*out) == *out)
		return true;
	return throw_type(env, name, limit > INT32_MAX ? "an unsigned 32-bit integer" : "a descriptor");
}

bool read_u32(napi_env env, napi_value value, const char *name, uint32_t *out)
{
	double number;

	if (!read_integer(env, value, name, UINT32_MAX, &number))
		return false;
	*out = (uint32_t)number;
	return true;
}

bool read_fd(napi_env env, napi_value value, const char *name, int *out)
{
	double number;

	if (!read_integer(env, value, name, INT32_MAX, &number))
		return false;
	*out = (int)number;
	return true;
}

bool read_bytes(napi_env env, napi_value value, const char *name, struct bytes *out)
{
	napi_typedarray_type type;
	bool typed = false;
	void *at = NULL;

	NAPI(napi_is_typedarray(env, value, &typed));
	if (typed)
		NAPI(napi_get_typedarray_info(env, value, &type, &out->length, &at, NULL, NULL));
	if (!typed || type != napi_uint8_array)
		return throw_type(env, name, "a Uint8Array");
	out->at = at;
	return true;
}

bool read_text(napi_env env, napi_value value, const char *name, char *out, size_t size)
{
	size_t length = 0, copied = 0;

	if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok || length >= size)
		return throw_type(env, name, "a string that is not too long");
	NAPI(napi_get_value_string_utf8(env, value, out, size, &copied));
	if (strlen(out) != copied)
		return throw_type(env, name, "a string without NUL");
	return true;
}

napi_value read_property(napi_env env, napi_value object, const char *name)
{
	napi_value value;

	if (is_undefined(env, object) || napi_get_named_property(env, object, name, &value) != napi_ok)
		return make_undefined(env);
	return value;
}

napi_value make_undefined(napi_env env)
{
	napi_value value;

	NAPI(napi_get_undefined(env, &value));
	return value;
}

napi_value make_bool(napi_env env, bool truth)
{
	napi_value value;

	NAPI(napi_get_boolean(env, truth, &value));
	return value;
}

napi_value make_number(napi_env env, double number)
{
	napi_value value;

	NAPI(napi_create_double(env, number, &value));
	return value;
}

napi_value make_text(napi_env env, const char *text)
{
	napi_value value;

	NAPI(napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value));
	return value;
}

napi_value make_buffer(napi_env env, size_t length, uint8_t **at)
{
	napi_value memory, value;
	void *data;

	if (napi_create_arraybuffer(env, length, &data, &memory) != napi_ok ||
	    napi_create_typedarray(env, napi_uint8_array, length, memory, 0, &value) != napi_ok)
		return NULL;
	*at = data;
	return value;
}

napi_value make_bytes(napi_env env, const void *from, size_t length)
{
	uint8_t *at;
	napi_value value = make_buffer(env, length, &at);

	if (value && length)
		memcpy(at, from, length);
	return value;
}

napi_value make_view(napi_env env, napi_value buffer, size_t length)
{
	napi_value memory, value;

	NAPI(napi_get_typedarray_info(env, buffer, NULL, NULL, NULL, &memory, NULL));
	NAPI(napi_create_typedarray(env, napi_uint8_array, length, memory, 0, &value));
	return value;
}

void set_property(napi_env env, napi_value object, const char *name, napi_value value)
{
	NAPI(napi_set_named_property(env, object, name, value));
}

void set_number(napi_env env, napi_value object, const char *name, double value)
{
	set_property(env, object, name, make_number(env, value));
}

napi_value make_error(napi_env env, int error, const char *syscall, const char *detail)
{
	const char *code = error == KERNEL_ENOTSUPP ? "ENOTSUPP" : strerrorname_np(error);
	napi_value value;
	char text[1024];

	if (!code)
		code = "UNKNOWN";
	snprintf(text, sizeof(text), "%s: %s, %s%s%s", syscall, code,
		 error == KERNEL_ENOTSUPP ? "Operation not supported" : strerror(error), detail ? ": " : "", detail ?: "");
	NAPI(napi_create_error(env, make_text(env, code), make_text(env, text), &value));
	set_property(env, value, "syscall", make_text(env, syscall));
	return value;
}

napi_value throw_errno(napi_env env, int error, const char *syscall, const char *detail)
{
	NAPI(napi_throw(env, make_error(env, error, syscall, detail)));
	return NULL;
}

bool throw_type(napi_env env, const char *name, const char *expected)
{
	bool pending = false;
	char text[256];

	NAPI(napi_is_exception_pending(env, &pending));
	if (pending)
		return false;
	snprintf(text, sizeof(text), "%s must be %s", name, expected);
	NAPI(napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", text));
	return false;
}
