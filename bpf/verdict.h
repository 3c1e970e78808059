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
 * Counts at the Service port what became of one that asked for it. Once a flow, so that an atomic is not dear.
 * verifier: a global function is checked once, not with every state of its callers; kernel 5.10: it may only get numbers.
 */
__noinline int count_service(__u32 frontend, __u32 verdict)
{
	struct service_count *count = bpf_map_lookup_elem(&service_counts, &frontend);

	if (verdict < TRANSLATE_REQUEST || verdict > REJECT_NO_ENDPOINTS) /* another hook's to finish, or no matter of the Service's */
		return 0;
	if (!count) {
		struct service_count none = {};

		bpf_map_update_elem(&service_counts, &frontend, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&service_counts, &frontend);
		if (!count)
			return 0;
	}
	if (verdict < DROP_NO_LOCAL_BACKEND)
		__sync_fetch_and_add(&count->flows, 1);
	else if (verdict == REJECT_NO_ENDPOINTS)
		__sync_fetch_and_add(&count->no_endpoints, 1);
	else if (verdict == DROP_NO_LOCAL_BACKEND)
		__sync_fetch_and_add(&count->no_local_backend, 1);
	else if (verdict == DROP_SOURCE_RANGE)
		__sync_fetch_and_add(&count->source_range, 1);
	else
		__sync_fetch_and_add(&count->others, 1);
	return 0;
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
