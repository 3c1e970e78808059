/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How does a packet get another tuple? Addresses, ports and every checksum with them; and which ports a masquerade may take.
 */
#pragma once

#include "packet.h"

#define TCP_CHECKSUM 16 /* offset in the header */
#define UDP_CHECKSUM 6
#define IPV4_CHECKSUM 10
#define IPV4_ADDRESSES 12
#define IPV6_ADDRESSES 8

#ifdef CTX_XDP

/*
 * Gives the packet its flow's tuple; sent: and takes one from its hop limit, for we are the router. VERDICT_CONTINUE or
 * DROP_NOT_WRITABLE, with nothing written. Each header is looked at once and written in whole words: what XDP sends has both
 * addresses changed, and byte by byte this was a third of the packet's cost.
 */
static __always_inline enum verdict rewrite_packet(ctx_t *ctx, const struct packet *p, const struct tuple *to, bool sent, const int family)
{
	const struct tuple *from = &p->tuple;
	const bool udp = from->protocol == IPPROTO_UDP;
	__u16 *checksum = ctx_reach(ctx, p->l4 + (udp ? UDP_CHECKSUM : TCP_CHECKSUM), 2);
	__be16 *ports = ctx_reach(ctx, p->l4, 4);
	__u64 difference;

	if (!ports || !checksum)
		return DROP_NOT_WRITABLE;
	if (family == 4) {
		struct iphdr *ip = ctx_reach(ctx, p->l3, sizeof(*ip));
		const __be32 before[2] = { from->source.word[0], from->destination.word[0] };
		const __be32 after[2] = { to->source.word[0], to->destination.word[0] };
		__u64 header;

		if (!ip)
			return DROP_NOT_WRITABLE;
		difference = checksum_difference(before, after, 2);
		header = difference;
		if (sent) {
			/* the hop limit is the first byte of its word: one less of it is this much more of the sum's complement */
			header += bpf_htons(0xfeff);
			ip->ttl--;
		}
		ip->check = ~fold16((__u64)(__u16)~ip->check + header);
		ip->saddr = after[0];
		ip->daddr = after[1];
	} else {
		struct ipv6hdr *ip = ctx_reach(ctx, p->l3, sizeof(*ip));
		__be32 *word;

		if (!ip)
			return DROP_NOT_WRITABLE;
		difference = checksum_difference(from->source.word, to->source.word, 8); /* the destination follows in the tuple */
		if (sent)
			ip->hop_limit--;
		word = (__be32 *)&ip->saddr;
#pragma unroll
		for (int i = 0; i < 8; i++)
			word[i] = to->source.word[i];
	}
	if (!udp || *checksum) { /* RFC 768: 0 is "no checksum" */
		__u16 sum;

		difference += (__u64)(__u16)~from->source_port + to->source_port;
		difference += (__u64)(__u16)~from->destination_port + to->destination_port;
		sum = ~fold16((__u64)(__u16)~*checksum + difference);
		*checksum = udp && !sum ? 0xffff : sum;
	}
	ports[0] = to->source_port;
	ports[1] = to->destination_port;
	return VERDICT_CONTINUE;
}

#else

static __always_inline enum verdict decrement_hop_limit(ctx_t *ctx, const struct packet *p, const int family)
{
	__u8 limit = p->hop_limit - 1;

	if (family == 4) {
		__be32 before = bpf_htonl((__u32)p->hop_limit << 24 | p->tuple.protocol << 16);
		__be32 after = bpf_htonl((__u32)limit << 24 | p->tuple.protocol << 16);

		if (ctx_change_l3_checksum(ctx, p->l3 + IPV4_CHECKSUM, checksum_difference(&before, &after, 1)))
			return DROP_NOT_WRITABLE;
	}
	if (ctx_store(ctx, p->l3 + (family == 4 ? 8 : 7), &limit, 1))
		return DROP_NOT_WRITABLE;
	return VERDICT_CONTINUE;
}

/*
 * Gives the packet its flow's tuple; sent: and takes one from its hop limit, for we are the router. VERDICT_CONTINUE or
 * DROP_NOT_WRITABLE. Ends all pointers into the packet.
 */
static __always_inline enum verdict rewrite_packet(ctx_t *ctx, const struct packet *p, const struct tuple *to, bool sent, const int family)
{
	const struct tuple *from = &p->tuple;
	__u32 checksum = p->l4 + (from->protocol == IPPROTO_UDP ? UDP_CHECKSUM : TCP_CHECKSUM);
	bool addresses = !same_address(&from->source, &to->source, family) || !same_address(&from->destination, &to->destination, family);
	bool ports = from->source_port != to->source_port || from->destination_port != to->destination_port;

	if (sent && decrement_hop_limit(ctx, p, family))
		return DROP_NOT_WRITABLE;
	if (addresses) {
		/* IPv6: source and destination lie in struct tuple as they do in the header */
		const __be32 pair4[2] = { to->source.word[0], to->destination.word[0] };
		__u32 difference;

		if (family == 4) {
			const __be32 before[2] = { from->source.word[0], from->destination.word[0] };

			difference = checksum_difference(before, pair4, 2);
		} else {
			difference = checksum_difference(from->source.word, to->source.word, 8);
		}
		if (ctx_change_l4_checksum(ctx, checksum, difference, true, from->protocol, family))
			return DROP_NOT_WRITABLE;
		if (family == 4 && ctx_change_l3_checksum(ctx, p->l3 + IPV4_CHECKSUM, difference))
			return DROP_NOT_WRITABLE;
		if (family == 4 ? ctx_store(ctx, p->l3 + IPV4_ADDRESSES, pair4, 8) : ctx_store(ctx, p->l3 + IPV6_ADDRESSES, &to->source, 32))
			return DROP_NOT_WRITABLE;
	}
	if (ports) {
		union {
			__be16 ports[2];
			__be32 word;
		} before = { .ports = { from->source_port, from->destination_port } }, after = { .ports = { to->source_port, to->destination_port } };

		if (ctx_change_l4_checksum(ctx, checksum, checksum_difference(&before.word, &after.word, 1), false, from->protocol, family))
			return DROP_NOT_WRITABLE;
		if (ctx_store(ctx, p->l4, &after, 4))
			return DROP_NOT_WRITABLE;
	}
	return VERDICT_CONTINUE;
}

#endif

/* Probes of the pool for one flow: at nine tenths of the pool in use one flow in 29 fails. */
#define SNAT_PROBES 32

/* May a masquerade use this port (host order)? */
static __always_inline bool snat_port_usable(__u32 port)
{
	__u32 index = (port & 0xffff) >> 6;
	__u64 *word = bpf_map_lookup_elem(&snat_ports, &index);

	return word && *word >> (port & 63) & 1;
}
