// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What words does the page have? An object without programs: its BTF is what control/abi/generate reads. */
#include "abi.h"

const volatile struct features features SEC(".rodata.features");

/* BTF carries only enums that something uses; the flags are kept in integers. */
struct words {
	enum verdict verdict;
	enum frontend_flag frontend_flag;
	enum backend_flag backend_flag;
	enum address_flag address_flag;
	enum device_flag device_flag;
	enum setting_flag setting_flag;
	enum flow_flag flow_flag;
	enum client_kind client_kind;
	enum socket_direction socket_direction;
	enum hook hook;
};

struct words words SEC(".rodata.words");

char LICENSE[] SEC("license") = "Dual BSD/GPL";
