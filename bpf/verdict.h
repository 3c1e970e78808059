/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What becomes of it? Counts every outcome and turns it into the action of the hook. The only place that does either.
 *
 * Stages return enum verdict; VERDICT_CONTINUE is "not decided yet". A stage that sends the packet has already named the
 * device to the kernel (bpf_redirect…); the action here only lets it happen.
 */
#pragma once

#include "abi.h"

static __always_inline void count_verdict(enum verdict verdict, const enum hook hook)
{
	struct verdict_count *count = bpf_map_lookup_elem(&verdicts, &verdict);

	if (count)
		count->packets[hook]++; /* per CPU and hook: only a preempted socket call can lose one */
}

/*
 * The action of a verdict, given the hook's own words for the three things that can happen to a packet. sent: what the stage
 * that sent it was told by the kernel.
 */
static __always_inline int action_of(enum verdict verdict, int sent, const int pass, const int drop)
{
	switch (verdict) {
	case FORWARD_REQUEST:
	case FORWARD_REPLY:
	case FORWARD_HAIRPIN:
	case REJECT_NO_ENDPOINTS:
	case REJECT_UNOWNED_PORT:
	case REJECT_TTL_EXPIRED:
	case REJECT_TOO_BIG:
	case REJECT_GONE_BACKEND:
		return sent;
	case DROP_NO_LOCAL_BACKEND:
	case DROP_SOURCE_RANGE:
	case DROP_UNASSIGNED:
	case DROP_FRAGMENT:
	case DROP_ICMP_ERROR:
	case DROP_NO_SNAT_PORT:
	case DROP_NO_SNAT_ADDRESS:
	case DROP_TABLE_FULL:
	case DROP_NO_ROUTE:
	case DROP_STALE_SLOT:
	case DROP_NOT_WRITABLE:
		return drop;
	default:
		return pass;
	}
}
