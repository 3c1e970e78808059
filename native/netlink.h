/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What do the two netlink files share? */
#pragma once

#include "addon.h"

int receive_datagram(int fd, int flags, uint8_t **buffer, size_t *room, size_t *length);
napi_value netlink_listen(napi_env env, napi_callback_info info);
