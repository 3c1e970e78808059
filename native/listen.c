// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * How do the kernel's notifications reach the event loop? A thread waits for them and hands each datagram to the main
 * thread by a thread-safe function: only Node-API, whose binary interface is the same in every Node.
 */
#include "netlink.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Datagrams that may wait for the main thread. Then the thread waits too, and the kernel says when it had to drop. */
enum { QUEUE = 256 };

struct listener {
	int fd;
	int stop_fd; /* readable when the thread must end */
	bool stopped;
	pthread_t thread;
	napi_threadsafe_function deliver;
};

/* One datagram on its way to the main thread; length 0: the kernel dropped some. */
struct datagram {
	size_t length;
	uint8_t bytes[];
};

static bool hand_over(struct listener *listener, const uint8_t *bytes, size_t length)
{
	struct datagram *datagram = malloc(sizeof(*datagram) + length);

	if (!datagram)
		abort();
	datagram->length = length;
	if (length)
		memcpy(datagram->bytes, bytes, length);
	if (napi_call_threadsafe_function(listener->deliver, datagram, napi_tsfn_blocking) == napi_ok)
		return true;
	free(datagram);
	return false;
}

static void *wait_for_datagrams(void *argument)
{
	struct listener *listener = argument;
	struct pollfd sources[2] = {
		{ .fd = listener->stop_fd, .events = POLLIN },
		{ .fd = listener->fd, .events = POLLIN },
	};
	uint8_t *buffer = NULL;
	size_t room = 0, length;
	bool running = true;
	int error;

	while (running) {
		if (poll(sources, 2, -1) < 0 && errno != EINTR)
			break;
		if (sources[0].revents)
			break;
		if (!sources[1].revents)
			continue;
		error = receive_datagram(listener->fd, MSG_DONTWAIT, &buffer, &room, &length);
		if (error == 0)
			running = hand_over(listener, buffer, length);
		else if (error == ENOBUFS)
			running = hand_over(listener, NULL, 0);
		else if (error != EAGAIN)
			running = false;
	}
	free(buffer);
	return NULL;
}

/* On the main thread. env is NULL when the function is being torn down. */
static void deliver(napi_env env, napi_value callback, void *context, void *item)
{
	struct datagram *datagram = item;
	napi_value argument, error;
	bool pending = false;

	if (env && callback) {
		argument = datagram->length ? make_bytes(env, datagram->bytes, datagram->length) : make_text(env, "overrun");
		if (argument)
			napi_call_function(env, make_undefined(env), callback, 1, &argument, NULL);
		/* An exception of the callback is an uncaught one. */
		if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
		    napi_get_and_clear_last_exception(env, &error) == napi_ok)
			napi_fatal_exception(env, error);
	}
	free(datagram);
}

static void stop(void *argument)
{
	struct listener *listener = argument;

	if (listener->stopped)
		return;
	listener->stopped = true;
	/* First the function: a thread that waits for room in its queue is woken by that. */
	napi_release_threadsafe_function(listener->deliver, napi_tsfn_abort);
	eventfd_write(listener->stop_fd, 1);
	pthread_join(listener->thread, NULL);
	close(listener->stop_fd);
}

static napi_value call_stop(napi_env env, napi_callback_info info)
{
	void *listener;

	NAPI(napi_get_cb_info(env, info, NULL, NULL, NULL, &listener));
	if (!((struct listener *)listener)->stopped) {
		NAPI(napi_remove_env_cleanup_hook(env, stop, listener));
		stop(listener);
	}
	return make_undefined(env);
}

/* The listener lives as long as its stop function, which keeps nothing alive: a listener may never be stopped. */
static void forget(napi_env env, void *listener, void *hint)
{
	if (((struct listener *)listener)->stopped)
		free(listener);
}

napi_value netlink_listen(napi_env env, napi_callback_info info)
{
	napi_value arguments[2], stop_function;
	struct listener *listener;
	napi_valuetype type;
	int fd, error;

	read_arguments(env, info, 2, arguments);
	if (!read_fd(env, arguments[0], "fd", &fd))
		return NULL;
	NAPI(napi_typeof(env, arguments[1], &type));
	if (type != napi_function) {
		throw_type(env, "callback", "a function");
		return NULL;
	}
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		return throw_errno(env, ENOMEM, "calloc", NULL);
	listener->fd = fd;
	listener->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (listener->stop_fd < 0) {
		error = errno;
		free(listener);
		return throw_errno(env, error, "eventfd", NULL);
	}
	NAPI(napi_create_threadsafe_function(env, arguments[1], NULL, make_text(env, "netlink"), QUEUE, 1, NULL, NULL, listener,
					     deliver, &listener->deliver));
	error = pthread_create(&listener->thread, NULL, wait_for_datagrams, listener);
	if (error) {
		NAPI(napi_release_threadsafe_function(listener->deliver, napi_tsfn_abort));
		close(listener->stop_fd);
		free(listener);
		return throw_errno(env, error, "pthread_create", NULL);
	}
	NAPI(napi_add_env_cleanup_hook(env, stop, listener));
	NAPI(napi_create_function(env, "stop", NAPI_AUTO_LENGTH, call_stop, listener, &stop_function));
	NAPI(napi_add_finalizer(env, stop_function, listener, forget, NULL, NULL));
	return stop_function;
}
