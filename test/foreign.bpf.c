// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Somebody else's filters on our devices: one drops UDP over IPv4 to port 22, one ends the chain. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("drop")
int drop_port(struct __sk_buff *skb)
{
	__u8 protocol = 0;
	__be16 port = 0;

	if (skb->protocol != bpf_htons(0x0800))
		return TC_ACT_UNSPEC;
	bpf_skb_load_bytes(skb, 23, &protocol, 1);
	bpf_skb_load_bytes(skb, 36, &port, 2);
	return protocol == 17 && port == bpf_htons(22) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("end")
int end_chain(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
