/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How is a sender told that its packet goes no further? Builds the ICMP error in the packet's own buffer and turns it around.
 *
 * The quote is the packet as it was received, before any translation, so that the sender knows it (semantics 4.1).
 */
#pragma once

#include "packet.h"

enum icmp_error {
	ICMP_ERROR_PORT_UNREACHABLE,
	ICMP_ERROR_TIME_EXCEEDED,
	ICMP_ERROR_TOO_BIG,
};

/*
 * Bytes of the offending packet in the error, from its IP header on. RFC 792 wants the header and 8 bytes, RFC 1812 and
 * RFC 4443 as many as fit; a fixed few keep the checksum one call, and hold every header a stack looks at.
 */
#define QUOTE 96

struct icmp_message {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 rest0;
	__be16 rest1;
};

/* The sum of the 32-bit words, seed included. */
static __always_inline __u64 sum_words(const __be32 *word, const int words, __u64 seed)
{
#pragma unroll
	for (int i = 0; i < words; i++)
		seed += word[i];
	return seed;
}

/*
 * Replaces the packet by the ICMP error from `from` to its source. The link-layer header stays for the caller to swap.
 * mtu: for ICMP_ERROR_TOO_BIG. quote: room of QUOTE bytes. VERDICT_CONTINUE or DROP_NOT_WRITABLE.
 */
static __always_inline enum verdict build_icmp_error(ctx_t *ctx, const struct packet *p, enum icmp_error error, const struct address *from,
						     __u16 mtu, __be32 *quote, const int family)
{
	__u32 length = ctx_length(ctx) - p->l3;
	struct icmp_message icmp = {};
	__u64 sum;

	if (length > QUOTE)
		length = QUOTE;
	length &= ~3; /* checksummed in words; ours are longer than a header, so no more than 3 bytes of payload go */
	if (length < 20 + 8)
		return DROP_NOT_WRITABLE;
	if (ctx_load_words(ctx, p->l3, quote, length, QUOTE / 4))
		return DROP_NOT_WRITABLE;
	if (family == 4) {
		icmp.type = error == ICMP_ERROR_TIME_EXCEEDED ? 11 : 3;
		icmp.code = error == ICMP_ERROR_PORT_UNREACHABLE ? 3 : error == ICMP_ERROR_TOO_BIG ? 4 : 0;
	} else {
		icmp.type = error == ICMP_ERROR_PORT_UNREACHABLE ? 1 : error == ICMP_ERROR_TOO_BIG ? 2 : 3;
		icmp.code = error == ICMP_ERROR_PORT_UNREACHABLE ? 4 : 0;
	}
	if (error == ICMP_ERROR_TOO_BIG)
		icmp.rest1 = bpf_htons(mtu);
	sum = sum_words(quote, QUOTE / 4, 0);
	sum = sum_words((const __be32 *)&icmp, sizeof(icmp) / 4, sum);
	if (ctx_trim(ctx, p->l3 + length))
		return DROP_NOT_WRITABLE;
	if (family == 4) {
		struct {
			struct iphdr ip;
			struct icmp_message icmp;
		} head = {};

		icmp.checksum = ~fold16(sum);
		head.ip.version = 4;
		head.ip.ihl = 5;
		head.ip.tot_len = bpf_htons(sizeof(head) + length);
		head.ip.frag_off = bpf_htons(0x4000);
		head.ip.ttl = 64;
		head.ip.protocol = IPPROTO_ICMP;
		head.ip.saddr = from->word[0];
		head.ip.daddr = p->tuple.source.word[0];
		head.ip.check = ~fold16(sum_words((const __be32 *)&head.ip, sizeof(head.ip) / 4, 0));
		head.icmp = icmp;
		if (ctx_make_room(ctx, p->l3, sizeof(head)))
			return DROP_NOT_WRITABLE;
		if (ctx_store_new(ctx, p->l3, &head, sizeof(head)))
			return DROP_NOT_WRITABLE;
	} else {
		struct {
			struct ipv6hdr ip;
			struct icmp_message icmp;
		} head = {};
		/* pseudo header (RFC 4443 2.3) */
		sum = sum_words(from->word, 4, sum);
		sum = sum_words(p->tuple.source.word, 4, sum);
		sum += bpf_htonl(sizeof(icmp) + length) + (__u64)bpf_htonl(IPPROTO_ICMPV6);
		icmp.checksum = ~fold16(sum);
		head.ip.version = 6;
		head.ip.payload_len = bpf_htons(sizeof(icmp) + length);
		head.ip.nexthdr = IPPROTO_ICMPV6;
		head.ip.hop_limit = 64;
		__builtin_memcpy(&head.ip.saddr, from, 16);
		__builtin_memcpy(&head.ip.daddr, &p->tuple.source, 16);
		head.icmp = icmp;
		if (ctx_make_room(ctx, p->l3, sizeof(head)))
			return DROP_NOT_WRITABLE;
		if (ctx_store_new(ctx, p->l3, &head, sizeof(head)))
			return DROP_NOT_WRITABLE;
	}
	return VERDICT_CONTINUE;
}
