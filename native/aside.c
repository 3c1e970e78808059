// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* How does a call that the kernel takes its time for become a promise? A thread of the pool makes it, the main thread tells its outcome. */
#include "addon.h"

#include <stdlib.h>

static void make_call(napi_env env, void *data)
{
	struct aside *aside = data;

	aside->call(aside);
}

static void tell_outcome(napi_env env, napi_status status, void *data)
{
	struct aside *aside = data;
	napi_value result = aside->outcome(env, aside), error;

	if (result) {
		NAPI(napi_resolve_deferred(env, aside->deferred, result));
	} else {
		NAPI(napi_get_and_clear_last_exception(env, &error));
		NAPI(napi_reject_deferred(env, aside->deferred, error));
	}
	NAPI(napi_delete_async_work(env, aside->work));
	free(aside);
}

napi_value start_aside(napi_env env, const char *name, struct aside *aside)
{
	napi_value promise;

	NAPI(napi_create_promise(env, &aside->deferred, &promise));
	NAPI(napi_create_async_work(env, NULL, make_text(env, name), make_call, tell_outcome, aside, &aside->work));
	NAPI(napi_queue_async_work(env, aside->work));
	return promise;
}
