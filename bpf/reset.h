/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How is an end of a TCP connection told that the other is gone? Turns its segment into the RST that answers it.
 */
#pragma once

#include "packet.h"
#include <linux/tcp.h>

/*
 * Replaces a segment by the reset of RFC 9293 3.10.7.1: the sequence number that the segment acknowledges. Needs its ACK bit.
 * The link-layer header stays for the caller to swap. room: for 8 words. VERDICT_CONTINUE or DROP_NOT_WRITABLE.
 */
static __always_inline enum verdict build_reset(ctx_t *ctx, const struct packet *p, __be32 *room, const int family)
{
	struct tcphdr tcp;
	struct tcphdr reset = {};
	__be32 *addresses = room;
	__u64 sum = bpf_htonl(sizeof(reset)) + (__u64)bpf_htonl(IPPROTO_TCP); /* pseudo header (RFC 9293 3.1) */

	if (ctx_load(ctx, p->l4, &tcp, sizeof(tcp)))
		return DROP_NOT_WRITABLE;
	if (ctx_trim(ctx, p->l4 + sizeof(reset)))
		return DROP_NOT_WRITABLE;
	reset.source = tcp.dest;
	reset.dest = tcp.source;
	reset.seq = tcp.ack_seq;
	reset.doff = sizeof(reset) / 4;
	reset.rst = 1;
	if (family == 4) {
		/* length and TTL lie in words of their own: the checksum grows by what they change */
		__be16 length = bpf_htons(p->l4 - p->l3 + sizeof(reset));
		__be32 before[3] = {}, after[3] = {};
		__u8 ttl = 64;

		if (ctx_load(ctx, p->l3, before, 4))
			return DROP_NOT_WRITABLE;
		after[0] = before[0];
		__builtin_memcpy((__u8 *)after + 2, &length, 2);
		before[1] = bpf_htonl((__u32)p->hop_limit << 24);
		after[1] = bpf_htonl((__u32)ttl << 24);
		if (ctx_change_l3_checksum(ctx, p->l3 + 10, checksum_difference(before, after, 2)))
			return DROP_NOT_WRITABLE;
		if (ctx_store(ctx, p->l3 + 2, &length, 2) || ctx_store(ctx, p->l3 + 8, &ttl, 1))
			return DROP_NOT_WRITABLE;
		addresses[0] = p->tuple.destination.word[0];
		addresses[1] = p->tuple.source.word[0];
		sum += (__u64)addresses[0] + addresses[1];
		if (ctx_store(ctx, p->l3 + 12, addresses, 8))
			return DROP_NOT_WRITABLE;
	} else {
		__be16 length = bpf_htons(p->l4 - p->l3 - sizeof(struct ipv6hdr) + sizeof(reset));
		__u8 limit = 64;

		if (ctx_store_new(ctx, p->l3 + 4, &length, 2) || ctx_store_new(ctx, p->l3 + 7, &limit, 1))
			return DROP_NOT_WRITABLE;
		__builtin_memcpy(addresses, &p->tuple.destination, 16);
		__builtin_memcpy(addresses + 4, &p->tuple.source, 16);
#pragma unroll
		for (int i = 0; i < 8; i++)
			sum += addresses[i];
		if (ctx_store_new(ctx, p->l3 + 8, addresses, 32))
			return DROP_NOT_WRITABLE;
	}
#pragma unroll
	for (unsigned int i = 0; i < sizeof(reset) / 4; i++)
		sum += ((__be32 *)&reset)[i];
	reset.check = ~fold16(sum);
	return ctx_store_new(ctx, p->l4, &reset, sizeof(reset)) ? DROP_NOT_WRITABLE : VERDICT_CONTINUE;
}
