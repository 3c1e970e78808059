// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The tc doors: NICs, tunnel devices and pod interfaces, both directions. Complete by themselves; XDP only gets ahead of them.
 */
#include "lb.h"

const volatile struct features features SEC(".rodata.features");

/* Pass is TC_ACT_UNSPEC, never TC_ACT_OK: the latter ends the chain for the programs after us. */
static __always_inline int enter(ctx_t *ctx, const __u32 l3, const enum hook hook)
{
	if (!ctx->vlan_present) { /* a tag: belongs to the VLAN's own device, where it shows up again */
		if (ctx->protocol == bpf_htons(ETH_P_IP))
			return serve(ctx, l3, hook, 4, TC_ACT_UNSPEC, TC_ACT_SHOT);
		if (ctx->protocol == bpf_htons(ETH_P_IPV6))
			return serve(ctx, l3, hook, 6, TC_ACT_UNSPEC, TC_ACT_SHOT);
	}
	count_verdict(PASS_NOT_IP, hook);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int nic_ingress(ctx_t *ctx)
{
	return enter(ctx, ETH_HLEN, HOOK_NIC_INGRESS);
}

SEC("tc")
int nic_egress(ctx_t *ctx)
{
	return enter(ctx, ETH_HLEN, HOOK_NIC_EGRESS);
}

/* "Ingress" of a pod's interface is what the pod sends: the hook is on its host side. */
SEC("tc")
int pod_ingress(ctx_t *ctx)
{
	return enter(ctx, ETH_HLEN, HOOK_POD_INGRESS);
}

SEC("tc")
int pod_egress(ctx_t *ctx)
{
	return enter(ctx, ETH_HLEN, HOOK_POD_EGRESS);
}

/* Tunnel devices without a link-layer header (ipip, wireguard). */
SEC("tc")
int l3_ingress(ctx_t *ctx)
{
	return enter(ctx, 0, HOOK_NIC_INGRESS);
}

SEC("tc")
int l3_egress(ctx_t *ctx)
{
	return enter(ctx, 0, HOOK_NIC_EGRESS);
}

/* Not attached: the agent runs it once to learn what a jiffy is. */
SEC("tc")
int probe_clock(ctx_t *ctx)
{
	__u32 zero = 0;
	struct self_test *test = bpf_map_lookup_elem(&self_tests, &zero);

	if (test) {
		test->runs++;
		test->netns_cookie = 0;
		test->jiffies = bpf_jiffies64();
		test->ktime_ns = bpf_ktime_get_ns();
	}
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
