// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What does the addon export? Each part adds its functions; the list with their types is control/kernel/native.ts. */
#include "addon.h"

void define(napi_env env, napi_value exports, const char *name, napi_callback function)
{
	napi_value value;

	NAPI(napi_create_function(env, name, NAPI_AUTO_LENGTH, function, NULL, &value));
	set_property(env, exports, name, value);
}

NAPI_MODULE_INIT()
{
	capture_log();
	define_objects(env, exports);
	define_maps(env, exports);
	define_files(env, exports);
	define_programs(env, exports);
	define_links(env, exports);
	define_filters(env, exports);
	define_netlink(env, exports);
	return exports;
}
