// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What is the least that a packet can cost? The smallest programs that do one thing each, measured beside the real ones.
 *
 *   empty            nothing
 *   lookup           parse, one hash look-up of the destination
 *   conntrack_first  one look-up of the flow, DNAT
 *   service_first    look-up of the service, look-up of the flow, DNAT
 *   new_one          look-ups of the service and of the flow, a slot of a Maglev table, one insert, DNAT
 *   new_two          likewise, and an insert for the reply
 *
 * They know no options, fragments, closed connections, policies or timeouts, send nowhere, and fold checksums by hand.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define MAGLEV_SLOTS 65537
#define BACKENDS 16

/* Of IPv4 only the first word of an address is used, and keys are shorter. */
struct service_key4 {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct service_key6 {
	__be32 address[4];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct tuple4 {
	__be32 source;
	__be32 destination;
	__be32 ports;
	__u8 protocol;
	__u8 pad[3];
};

struct tuple6 {
	__be32 source[4];
	__be32 destination[4];
	__be32 ports;
	__u8 protocol;
	__u8 pad[3];
};

/* Where a flow goes. */
struct translation4 {
	__be32 address;
	__be16 port;
	__u16 pad;
};

struct translation6 {
	__be32 address[4];
	__be16 port;
	__u16 pad;
};

#define TABLES(family, entries)                                                                       \
	struct {                                                                                      \
		__uint(type, BPF_MAP_TYPE_HASH);                                                      \
		__uint(max_entries, 65536);                                                           \
		__type(key, struct service_key##family);                                              \
		__type(value, __u32); /* id */                                                        \
	} services##family SEC(".maps");                                                              \
	struct {                                                                                      \
		__uint(type, BPF_MAP_TYPE_LRU_HASH);                                                  \
		__uint(max_entries, entries);                                                         \
		__type(key, struct tuple##family);                                                    \
		__type(value, struct translation##family);                                            \
	} conntrack##family SEC(".maps"), fresh##family SEC(".maps");                                 \
	struct {                                                                                      \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                     \
		__uint(max_entries, BACKENDS);                                                        \
		__type(key, __u32);                                                                   \
		__type(value, struct translation##family);                                            \
	} targets##family SEC(".maps");

/* As many as the real ones have by default. */
TABLES(4, 131072)
TABLES(6, 65536)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAGLEV_SLOTS);
	__type(key, __u32);
	__type(value, __u32); /* index of targets */
} maglev SEC(".maps");

enum kind { LOOKUP, CONNTRACK_FIRST, SERVICE_FIRST, NEW_ONE, NEW_TWO };

static __always_inline __u16 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline void change(__u16 *checksum, __u64 difference)
{
	*checksum = ~folded((__u16)~*checksum + difference);
}

static __always_inline __u16 *checksum_at(void *l4, void *end, __u8 protocol)
{
	__u16 *checksum = l4 + (protocol == IPPROTO_TCP ? 16 : 6);

	return (void *)(checksum + 1) > end ? 0 : checksum;
}

/* murmur3's mixing of three words. */
static __always_inline __u32 hashed(__u32 a, __u32 b, __u32 c)
{
	__u32 hash = 0, words[3] = { a, b, c };

#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u32 word = words[i] * 0xcc9e2d51;

		word = (word << 15 | word >> 17) * 0x1b873593;
		hash ^= word;
		hash = (hash << 13 | hash >> 19) * 5 + 0xe6546b64;
	}
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	return hash ^ hash >> 13;
}

/* 1: translated; 0: not ours. */
static __always_inline int translate4(void *data, void *end, const enum kind kind)
{
	struct ethhdr *ethernet = data;
	struct iphdr *ip = data + sizeof(*ethernet);
	__be32 *ports = (void *)(ip + 1);
	struct translation4 *to;
	struct tuple4 tuple = {};
	__u16 *checksum;
	__u64 difference;

	if ((void *)(ports + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff))
		return 0;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return 0;
	tuple.source = ip->saddr;
	tuple.destination = ip->daddr;
	tuple.ports = *ports;
	tuple.protocol = ip->protocol;
	if (kind != CONNTRACK_FIRST) {
		struct service_key4 key = { .address = ip->daddr, .port = tuple.ports >> 16, .protocol = ip->protocol };

		if (!bpf_map_lookup_elem(&services4, &key))
			return 0;
	}
	if (kind == LOOKUP)
		return 1;
	to = kind == NEW_ONE || kind == NEW_TWO ? bpf_map_lookup_elem(&fresh4, &tuple) : bpf_map_lookup_elem(&conntrack4, &tuple);
	if (!to && (kind == NEW_ONE || kind == NEW_TWO)) {
		__u32 slot = hashed(tuple.source, tuple.ports, tuple.protocol) % MAGLEV_SLOTS;
		__u32 *index = bpf_map_lookup_elem(&maglev, &slot);

		to = index ? bpf_map_lookup_elem(&targets4, index) : 0;
		if (!to || bpf_map_update_elem(&fresh4, &tuple, to, BPF_ANY))
			return 0;
		if (kind == NEW_TWO) {
			struct translation4 back = { .address = tuple.destination, .port = tuple.ports >> 16 };
			struct tuple4 reply = {
				.source = to->address,
				.destination = tuple.source,
				.ports = to->port | tuple.ports << 16,
				.protocol = tuple.protocol,
			};

			if (bpf_map_update_elem(&fresh4, &reply, &back, BPF_ANY))
				return 0;
		}
	}
	checksum = checksum_at(ports, end, tuple.protocol);
	if (!to || !checksum)
		return 0;
	difference = (__u64)(__u32)~ip->daddr + to->address;
	change(&ip->check, difference);
	difference += (__u16)~(tuple.ports >> 16);
	difference += to->port;
	change(checksum, difference);
	ip->daddr = to->address;
	*((__be16 *)ports + 1) = to->port;
	return 1;
}

static __always_inline int translate6(void *data, void *end, const enum kind kind)
{
	struct ethhdr *ethernet = data;
	struct ipv6hdr *ip = data + sizeof(*ethernet);
	__be32 *ports = (void *)(ip + 1);
	struct translation6 *to;
	struct tuple6 tuple = {};
	__u64 difference = 0;
	__u16 *checksum;

	if ((void *)(ports + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IPV6))
		return 0;
	if (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP)
		return 0;
	__builtin_memcpy(tuple.source, &ip->saddr, 16);
	__builtin_memcpy(tuple.destination, &ip->daddr, 16);
	tuple.ports = *ports;
	tuple.protocol = ip->nexthdr;
	if (kind != CONNTRACK_FIRST) {
		struct service_key6 key = { .port = tuple.ports >> 16, .protocol = tuple.protocol };

		__builtin_memcpy(key.address, &ip->daddr, 16);
		if (!bpf_map_lookup_elem(&services6, &key))
			return 0;
	}
	if (kind == LOOKUP)
		return 1;
	to = kind == NEW_ONE || kind == NEW_TWO ? bpf_map_lookup_elem(&fresh6, &tuple) : bpf_map_lookup_elem(&conntrack6, &tuple);
	if (!to && (kind == NEW_ONE || kind == NEW_TWO)) {
		__u32 slot = hashed(tuple.source[3], tuple.ports, tuple.protocol) % MAGLEV_SLOTS;
		__u32 *index = bpf_map_lookup_elem(&maglev, &slot);

		to = index ? bpf_map_lookup_elem(&targets6, index) : 0;
		if (!to || bpf_map_update_elem(&fresh6, &tuple, to, BPF_ANY))
			return 0;
		if (kind == NEW_TWO) {
			struct translation6 back = { .port = tuple.ports >> 16 };
			struct tuple6 reply = { .ports = to->port | tuple.ports << 16, .protocol = tuple.protocol };

			__builtin_memcpy(back.address, tuple.destination, 16);
			__builtin_memcpy(reply.source, to->address, 16);
			__builtin_memcpy(reply.destination, tuple.source, 16);
			if (bpf_map_update_elem(&fresh6, &reply, &back, BPF_ANY))
				return 0;
		}
	}
	checksum = checksum_at(ports, end, tuple.protocol);
	if (!to || !checksum)
		return 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		difference += (__u64)(__u32)~tuple.destination[i] + to->address[i];
	difference += (__u16)~(tuple.ports >> 16);
	difference += to->port;
	change(checksum, difference);
	__builtin_memcpy(&ip->daddr, to->address, 16);
	*((__be16 *)ports + 1) = to->port;
	return 1;
}

#define AS_XDP(name, family, kind)                                                                                \
	SEC("xdp")                                                                                                \
	int xdp_##name##family(struct xdp_md *ctx)                                                                \
	{                                                                                                         \
		return translate##family((void *)(long)ctx->data, (void *)(long)ctx->data_end, kind) ? XDP_TX : XDP_PASS; \
	}
#define AS_TC(name, family, kind)                                                                                 \
	SEC("tc")                                                                                                 \
	int tc_##name##family(struct __sk_buff *ctx)                                                              \
	{                                                                                                         \
		return translate##family((void *)(long)ctx->data, (void *)(long)ctx->data_end, kind) ? 0 : -1;    \
	}
#define PROGRAM(name, kind) AS_XDP(name, 4, kind) AS_XDP(name, 6, kind) AS_TC(name, 4, kind) AS_TC(name, 6, kind)

PROGRAM(lookup, LOOKUP)
PROGRAM(conntrack_first, CONNTRACK_FIRST)
PROGRAM(service_first, SERVICE_FIRST)
PROGRAM(new_one, NEW_ONE)
PROGRAM(new_two, NEW_TWO)

SEC("xdp")
int xdp_empty(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("tc")
int tc_empty(struct __sk_buff *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
