// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The other end of a veth takes frames of XDP only where a program runs: this one, which lets everything through. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
