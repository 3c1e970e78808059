// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What can this kernel do that only trying tells? Each program is loaded (and where it says so, run once) by itself before the others;
 * the answers become struct features. Not attached anywhere, and without maps: nothing of it stays.
 */
#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define F_IPV6 (1ULL << 7) /* BPF_F_IPV6: newer than the oldest headers we build with */

/* Loads where sock_addr programs may set the error of connect(2). */
SEC("cgroup/connect4")
int probe_set_retval(struct bpf_sock_addr *ctx)
{
	bpf_set_retval(-111 /* ECONNREFUSED */);
	return 0;
}

/* Run on 64 zero bytes returns 1 where bpf_l4_csum_replace knows BPF_F_IPV6; kernels without it refuse the flag. */
SEC("tc")
int probe_checksum(struct __sk_buff *ctx)
{
	return bpf_l4_csum_replace(ctx, 30, 0, 0, BPF_F_PSEUDO_HDR | F_IPV6) == 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
