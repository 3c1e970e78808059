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

/* VERDICT_CONTINUE or DROP_NOT_WRITABLE. Ends all pointers into the packet. */
static __always_inline enum verdict rewrite_tuple(ctx_t *ctx, const struct packet *p, const struct tuple *to, const int family)
{
	const struct tuple *from = &p->tuple;
	__u32 checksum = p->l4 + (from->protocol == IPPROTO_UDP ? UDP_CHECKSUM : TCP_CHECKSUM);
	bool addresses = !same_address(&from->source, &to->source, family) || !same_address(&from->destination, &to->destination, family);
	bool ports = from->source_port != to->source_port || from->destination_port != to->destination_port;

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

/* Probes of the pool for one flow: at nine tenths of the pool in use one flow in 29 fails. */
#define SNAT_PROBES 32

/* May a masquerade use this port (host order)? */
static __always_inline bool snat_port_usable(__u32 port)
{
	__u32 index = (port & 0xffff) >> 6;
	__u64 *word = bpf_map_lookup_elem(&snat_ports, &index);

	return word && *word >> (port & 63) & 1;
}
