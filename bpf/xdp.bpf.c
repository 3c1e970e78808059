// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The XDP door: NICs whose driver runs XDP natively. Gets ahead of tc for flows that are sent on, and for drops and rejects;
 * everything else goes to tc untouched, where the same path decides the same.
 */
#define CTX_XDP
#include "lb.h"

const volatile struct features features SEC(".rodata.features");

SEC("xdp")
int nic_xdp(ctx_t *ctx)
{
	struct ethhdr *ethernet = ctx_at(ctx, 0, ETH_HLEN);

	if (ethernet) {
		__be16 protocol = ethernet->h_proto;

		if (protocol == bpf_htons(ETH_P_IP))
			return serve(ctx, ETH_HLEN, HOOK_XDP, 4, XDP_PASS, XDP_DROP);
		if (protocol == bpf_htons(ETH_P_IPV6))
			return serve(ctx, ETH_HLEN, HOOK_XDP, 6, XDP_PASS, XDP_DROP);
	}
	count_verdict(PASS_NOT_IP, HOOK_XDP);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
