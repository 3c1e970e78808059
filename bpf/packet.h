/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is in these bytes? From an Ethernet or IP header to struct packet: tuple, offsets, and what the rest must know.
 *
 * VLAN tags, IP options, extension headers and fragments are decided here. It never writes to the packet.
 */
#pragma once

#include "addr.h"
#include "ctx.h"
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

enum fragment {
	FRAGMENT_NONE = 0,
	FRAGMENT_FIRST, /* has the ports */
	FRAGMENT_LATER, /* has none */
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct packet {
	struct tuple tuple; /* of an ICMP error after parse_quoted: that of a packet in the error's own direction */
	__u32 l3; /* offset of the IP header: 0 or 14 */
	__u32 l4; /* offset of the TCP, UDP, SCTP or ICMP header */
	__u16 mtu; /* of the way that was too narrow (REJECT_TOO_BIG) */
	__u8 tcp_flags;
	__u8 hop_limit; /* TTL or hop limit */
	__u8 fragment; /* enum fragment */
	bool icmp_error;
	bool has_ports; /* TCP, UDP or SCTP, and not a later fragment */
	bool may_fragment; /* IPv4 without DF */
};

/* Most extension headers that a packet of ours may carry; RFC 8200 4.1 lists six kinds before the payload. */
#define EXTENSION_HEADERS 6

/* Where are the ports? Walks IPv6 extension headers; protocol and l4 are those of the payload afterwards. */
static __always_inline enum verdict parse_extensions(ctx_t *ctx, struct packet *p, __u8 next)
{
	__u32 offset = p->l3 + sizeof(struct ipv6hdr);

	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		__u8 header[8];

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
			break;
		if (ctx_load(ctx, offset, header, sizeof(header)))
			return PASS_MALFORMED;
		if (next == IPPROTO_FRAGMENT) {
			__u16 field = header[2] << 8 | header[3];

			if (field & 0xfff8)
				p->fragment = FRAGMENT_LATER;
			else if (field & 1)
				p->fragment = FRAGMENT_FIRST;
			offset += 8;
		} else {
			offset += (header[1] + 1) * 8;
		}
		next = header[0];
		if (p->fragment == FRAGMENT_LATER)
			break;
	}
	p->tuple.protocol = next;
	p->l4 = offset;
	return VERDICT_CONTINUE;
}

static __always_inline bool is_icmp_error(__u8 protocol, __u8 type, const int family)
{
	if (family == 4) /* unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792) */
		return protocol == IPPROTO_ICMP && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
	/* RFC 4443: errors have the high bit clear; redirect (RFC 4861) quotes a packet too */
	return protocol == IPPROTO_ICMPV6 && (type < 128 || type == 137);
}

/*
 * Parses the headers. l3 is the length of the device's link-layer header.
 * VERDICT_CONTINUE, or PASS_MALFORMED where the headers do not hold what they promise.
 */
static __always_inline enum verdict parse(ctx_t *ctx, struct packet *p, const __u32 l3, const int family)
{
	/* the smallest IP header and the first eight bytes behind it: ports, or an ICMP header */
	const __u32 least = (family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + 8;
	bool plain;
	__u8 l4[8] = {}; /* verifier: set on every path, also on those it cannot rule out */
	void *header = ctx_at(ctx, l3, least);

	if (!header) {
		ctx_pull(ctx, l3 + 128);
		header = ctx_at(ctx, l3, least);
		if (!header)
			return PASS_MALFORMED;
	}
	p->l3 = l3;
	p->fragment = FRAGMENT_NONE;
	p->icmp_error = false;
	p->has_ports = false;
	p->may_fragment = false;
	p->tcp_flags = 0;
	p->tuple.source_port = p->tuple.destination_port = 0;
	if (family == 4) {
		struct iphdr *ip = header;

		if (ip->version != 4 || ip->ihl < 5)
			return PASS_MALFORMED;
		p->tuple.source = address_of4(ip->saddr);
		p->tuple.destination = address_of4(ip->daddr);
		p->tuple.protocol = ip->protocol;
		p->hop_limit = ip->ttl;
		p->l4 = l3 + ip->ihl * 4;
		p->may_fragment = !(ip->frag_off & bpf_htons(0x4000));
		if (ip->frag_off & bpf_htons(0x1fff))
			p->fragment = FRAGMENT_LATER;
		else if (ip->frag_off & bpf_htons(0x2000))
			p->fragment = FRAGMENT_FIRST;
		plain = ip->ihl == 5;
		if (plain)
			__builtin_memcpy(l4, ip + 1, 8);
	} else {
		struct ipv6hdr *ip = header;
		__u8 next = ip->nexthdr;

		if (ip->version != 6)
			return PASS_MALFORMED;
		p->tuple.source = address_of6((addr6 *)&ip->saddr);
		p->tuple.destination = address_of6((addr6 *)&ip->daddr);
		p->hop_limit = ip->hop_limit;
		plain = next == IPPROTO_TCP || next == IPPROTO_UDP || next == IPPROTO_ICMPV6;
		if (plain) {
			p->tuple.protocol = next;
			p->l4 = l3 + sizeof(*ip);
			__builtin_memcpy(l4, ip + 1, 8);
		} else if (parse_extensions(ctx, p, next) != VERDICT_CONTINUE) {
			return PASS_MALFORMED;
		}
	}
	if (p->fragment == FRAGMENT_LATER)
		return VERDICT_CONTINUE;
	switch (p->tuple.protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		break;
	default:
		return VERDICT_CONTINUE;
	}
	if (!plain && ctx_load(ctx, p->l4, l4, 8))
		return PASS_MALFORMED;
	if (p->tuple.protocol == IPPROTO_ICMP || p->tuple.protocol == IPPROTO_ICMPV6) {
		p->icmp_error = is_icmp_error(p->tuple.protocol, l4[0], family);
		return VERDICT_CONTINUE;
	}
	p->has_ports = true;
	__builtin_memcpy(&p->tuple.source_port, l4, 2);
	__builtin_memcpy(&p->tuple.destination_port, l4 + 2, 2);
	if (p->tuple.protocol == IPPROTO_TCP) {
		__u8 *flags = plain ? ctx_at(ctx, l3 + least - 8 + 13, 1) : 0;

		if (flags)
			p->tcp_flags = *flags;
		else if (ctx_load(ctx, p->l4 + 13, &p->tcp_flags, 1))
			return PASS_MALFORMED;
	}
	return VERDICT_CONTINUE;
}

/*
 * Of which flow does this ICMP error speak? Replaces p->tuple by the quoted packet's tuple reversed: the error travels
 * as the quoted packet's answers do. false where the quote is no TCP or UDP packet.
 */
static __always_inline bool parse_quoted(ctx_t *ctx, struct packet *p, const int family)
{
	__u32 inner = p->l4 + 8;
	__u32 l4;
	__be16 ports[2];
	struct tuple quoted = {};

	if (family == 4) {
		struct iphdr ip;

		if (ctx_load(ctx, inner, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 || ip.frag_off & bpf_htons(0x1fff))
			return false;
		quoted.source = address_of4(ip.saddr);
		quoted.destination = address_of4(ip.daddr);
		quoted.protocol = ip.protocol;
		l4 = inner + ip.ihl * 4;
	} else {
		struct ipv6hdr ip;

		if (ctx_load(ctx, inner, &ip, sizeof(ip)) || ip.version != 6)
			return false;
		quoted.source = address_of6((addr6 *)&ip.saddr);
		quoted.destination = address_of6((addr6 *)&ip.daddr);
		quoted.protocol = ip.nexthdr;
		l4 = inner + sizeof(ip);
	}
	if (quoted.protocol != IPPROTO_TCP && quoted.protocol != IPPROTO_UDP)
		return false;
	if (ctx_load(ctx, l4, ports, sizeof(ports)))
		return false;
	quoted.source_port = ports[0];
	quoted.destination_port = ports[1];
	p->tuple = reversed(&quoted);
	return true;
}

/* A TCP segment that opens a connection. */
static __always_inline bool opens(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}
