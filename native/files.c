// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What does the addon do with paths? Pins, locks, mounts: what Node's own fs module cannot. */
#include "addon.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

static napi_value pin(napi_env env, napi_callback_info info)
{
	napi_value arguments[2];
	char path[PATH_MAX];
	int fd;

	read_arguments(env, info, 2, arguments);
	if (!read_fd(env, arguments[0], "fd", &fd) || !read_text(env, arguments[1], "path", path, sizeof(path)))
		return NULL;
	if (bpf_obj_pin(fd, path))
		return throw_errno(env, errno, "bpf_obj_pin", path);
	return make_undefined(env);
}

static napi_value open_pin(napi_env env, napi_callback_info info)
{
	napi_value argument;
	char path[PATH_MAX];
	int fd;

	read_arguments(env, info, 1, &argument);
	if (!read_text(env, argument, "path", path, sizeof(path)))
		return NULL;
	fd = bpf_obj_get(path);
	if (fd >= 0)
		return make_number(env, fd);
	return errno == ENOENT ? make_undefined(env) : throw_errno(env, errno, "bpf_obj_get", path);
}

static napi_value close_fd(napi_env env, napi_callback_info info)
{
	napi_value argument;
	int fd;

	read_arguments(env, info, 1, &argument);
	if (!read_fd(env, argument, "fd", &fd))
		return NULL;
	if (close(fd))
		return throw_errno(env, errno, "close", NULL);
	return make_undefined(env);
}

static napi_value lock(napi_env env, napi_callback_info info)
{
	napi_value argument;
	char path[PATH_MAX];
	int fd, error;

	read_arguments(env, info, 1, &argument);
	if (!read_text(env, argument, "path", path, sizeof(path)))
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return throw_errno(env, errno, "open", path);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return make_number(env, fd);
	error = errno;
	close(fd);
	return error == EWOULDBLOCK ? make_undefined(env) : throw_errno(env, error, "flock", path);
}

static napi_value mount_file_system(napi_env env, napi_callback_info info)
{
	napi_value arguments[3];
	char source[PATH_MAX], target[PATH_MAX], type[64];

	read_arguments(env, info, 3, arguments);
	if (!read_text(env, arguments[0], "source", source, sizeof(source)) ||
	    !read_text(env, arguments[1], "target", target, sizeof(target)) ||
	    !read_text(env, arguments[2], "type", type, sizeof(type)))
		return NULL;
	if (mount(source, target, type, 0, NULL))
		return throw_errno(env, errno, "mount", target);
	return make_undefined(env);
}

static napi_value file_system_type(napi_env env, napi_callback_info info)
{
	napi_value argument;
	char path[PATH_MAX];
	struct statfs fs;

	read_arguments(env, info, 1, &argument);
	if (!read_text(env, argument, "path", path, sizeof(path)))
		return NULL;
	if (statfs(path, &fs))
		return throw_errno(env, errno, "statfs", path);
	return make_number(env, (double)(uint32_t)fs.f_type);
}

static napi_value open_directory(napi_env env, napi_callback_info info)
{
	napi_value argument;
	char path[PATH_MAX];
	int fd;

	read_arguments(env, info, 1, &argument);
	if (!read_text(env, argument, "path", path, sizeof(path)))
		return NULL;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? throw_errno(env, errno, "open", path) : make_number(env, fd);
}

void define_files(napi_env env, napi_value exports)
{
	define(env, exports, "pin", pin);
	define(env, exports, "openPin", open_pin);
	define(env, exports, "closeFd", close_fd);
	define(env, exports, "lock", lock);
	define(env, exports, "mount", mount_file_system);
	define(env, exports, "fileSystemType", file_system_type);
	define(env, exports, "openDirectory", open_directory);
}
