/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is an address? The only file that knows IPv4 from IPv6 in keys and values.
 *
 * The rest of the datapath handles `struct address` and passes `family` (4 or 6), always a constant at compile time:
 * each program holds one copy of the path per family and no branch on it, and no map pointer has two origins (costs.md).
 */
#pragma once

#include "abi.h"
#include <bpf/bpf_endian.h>
#include <stdbool.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* IPv4 in word[0], the rest zero. */
struct address {
	__be32 word[4];
};

/* Who talks to whom. Ports are 0 for protocols without. */
struct tuple {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
};

/* The fields before the addresses lie alike in flow4 and flow6; those are all that is used through this name. */
typedef struct flow4 flow_t;

#define FLOW_FIELD_ALIKE(field) \
	_Static_assert(__builtin_offsetof(struct flow4, field) == __builtin_offsetof(struct flow6, field), #field)
FLOW_FIELD_ALIKE(frontend);
FLOW_FIELD_ALIKE(backend);
FLOW_FIELD_ALIKE(generation);
FLOW_FIELD_ALIKE(seen);
FLOW_FIELD_ALIKE(ifindex);
FLOW_FIELD_ALIKE(route_generation);
FLOW_FIELD_ALIKE(mtu);
FLOW_FIELD_ALIKE(flags);
FLOW_FIELD_ALIKE(source_port);
FLOW_FIELD_ALIKE(destination_port);
FLOW_FIELD_ALIKE(resolved);
FLOW_FIELD_ALIKE(source_mac);
FLOW_FIELD_ALIKE(destination_mac);

/* Likewise next_hop4 and next_hop6. */
typedef struct next_hop4 next_hop_t;

_Static_assert(__builtin_offsetof(struct next_hop4, address) == __builtin_offsetof(struct next_hop6, address), "next_hop");

_Static_assert(__builtin_offsetof(struct tuple, destination) == 16, "source and destination as in an IPv6 header");

static __always_inline bool same_address(const struct address *a, const struct address *b, const int family)
{
	if (family == 4)
		return a->word[0] == b->word[0];
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] && a->word[3] == b->word[3];
}

static __always_inline bool is_unspecified(const struct address *a, const int family)
{
	const struct address none = {};

	return same_address(a, &none, family);
}

static __always_inline struct address address_of4(addr4 a)
{
	struct address result = { .word = { a, 0, 0, 0 } };
	return result;
}

static __always_inline struct address address_of6(const addr6 *a)
{
	struct address result = { .word = { a->word[0], a->word[1], a->word[2], a->word[3] } };
	return result;
}

static __always_inline addr6 addr6_of(const struct address *a)
{
	addr6 result = { .word = { a->word[0], a->word[1], a->word[2], a->word[3] } };
	return result;
}

/* As it stands in keys shared by both families: IPv4 mapped into IPv6 (RFC 4291 2.5.5.2). */
static __always_inline addr6 mapped_of(const struct address *a, const int family)
{
	if (family == 6)
		return addr6_of(a);
	addr6 result = { .word = { 0, 0, bpf_htonl(0xffff), a->word[0] } };
	return result;
}

static __always_inline struct tuple reversed(const struct tuple *t)
{
	struct tuple r = {
		.source = t->destination,
		.destination = t->source,
		.source_port = t->destination_port,
		.destination_port = t->source_port,
		.protocol = t->protocol,
	};
	return r;
}

/* ---- look-ups ---- */

/* enum address_flag, 0 for an address that is nothing to us. */
static __always_inline __u32 lookup_address(const struct address *a, const int family)
{
	__u32 *flags;

	if (family == 4) {
		addr4 key = a->word[0];
		flags = bpf_map_lookup_elem(&addresses4, &key);
	} else {
		addr6 key = addr6_of(a);
		flags = bpf_map_lookup_elem(&addresses6, &key);
	}
	return flags ? *flags : 0;
}

static __always_inline struct frontend *lookup_frontend(const struct address *a, __be16 port, __u8 protocol, const int family)
{
	if (family == 4) {
		struct frontend_key4 key = { .address = a->word[0], .port = port, .protocol = protocol };
		return bpf_map_lookup_elem(&frontends4, &key);
	}
	struct frontend_key6 key = { .address = addr6_of(a), .port = port, .protocol = protocol };
	return bpf_map_lookup_elem(&frontends6, &key);
}

static __always_inline bool lookup_source_range(__u32 frontend, const struct address *a, const int family)
{
	if (family == 4) {
		struct source_range_key4 key = { .prefix_length = 64, .frontend = bpf_htonl(frontend), .address = a->word[0] };
		return bpf_map_lookup_elem(&source_ranges4, &key);
	}
	struct source_range_key6 key = { .prefix_length = 160, .frontend = bpf_htonl(frontend), .address = addr6_of(a) };
	return bpf_map_lookup_elem(&source_ranges6, &key);
}

/* A backend, copied out of its map. */
struct backend {
	struct address address;
	__be16 port; /* 0: there never was one with this id */
	__u8 flags; /* enum backend_flag, 0: dead */
	__u32 id;
	__u32 generation;
};

static __always_inline void load_backend(__u32 id, struct backend *out, const int family)
{
	out->id = id;
	out->port = 0;
	out->flags = 0;
	if (family == 4) {
		struct backend4 *b = bpf_map_lookup_elem(&backends4, &id);
		if (!b)
			return;
		out->address = address_of4(b->address);
		out->port = b->port;
		out->flags = b->flags;
		out->generation = b->generation;
	} else {
		struct backend6 *b = bpf_map_lookup_elem(&backends6, &id);
		if (!b)
			return;
		out->address = address_of6(&b->address);
		out->port = b->port;
		out->flags = b->flags;
		out->generation = b->generation;
	}
}

/* ---- flows ---- */

/* Key space for either family; which member is used is the family's choice. */
union flow_key {
	struct flow_key4 v4;
	struct flow_key6 v6;
};

union flow_value {
	struct flow4 v4;
	struct flow6 v6;
};

static __always_inline void flow_key_of(union flow_key *key, const struct tuple *t, const int family)
{
	if (family == 4) {
		key->v4.source = t->source.word[0];
		key->v4.destination = t->destination.word[0];
		key->v4.source_port = t->source_port;
		key->v4.destination_port = t->destination_port;
		key->v4.protocol = t->protocol;
		key->v4.pad[0] = key->v4.pad[1] = key->v4.pad[2] = 0;
	} else {
		key->v6.source = addr6_of(&t->source);
		key->v6.destination = addr6_of(&t->destination);
		key->v6.source_port = t->source_port;
		key->v6.destination_port = t->destination_port;
		key->v6.protocol = t->protocol;
		key->v6.pad[0] = key->v6.pad[1] = key->v6.pad[2] = 0;
	}
}

static __always_inline flow_t *lookup_flow(const union flow_key *key, const int family)
{
	if (family == 4)
		return bpf_map_lookup_elem(&flows4, key);
	return bpf_map_lookup_elem(&flows6, key);
}

static __always_inline flow_t *lookup_new_flow(const union flow_key *key, const int family)
{
	if (family == 4)
		return bpf_map_lookup_elem(&new_flows4, key);
	return bpf_map_lookup_elem(&new_flows6, key);
}

/* kernel 6.3 and before: the error is an int, and the upper half of what the helper returns is nothing. Hence int here and where it is compared. */
static __always_inline int insert_flow(const union flow_key *key, const void *value, __u64 flags, const int family)
{
	if (family == 4)
		return bpf_map_update_elem(&flows4, key, value, flags);
	return bpf_map_update_elem(&flows6, key, value, flags);
}

static __always_inline int insert_new_flow(const union flow_key *key, const void *value, __u64 flags, const int family)
{
	if (family == 4)
		return bpf_map_update_elem(&new_flows4, key, value, flags);
	return bpf_map_update_elem(&new_flows6, key, value, flags);
}

static __always_inline void delete_flow(const union flow_key *key, const int family)
{
	if (family == 4)
		bpf_map_delete_elem(&flows4, key);
	else
		bpf_map_delete_elem(&flows6, key);
}

static __always_inline void delete_new_flow(const union flow_key *key, const int family)
{
	if (family == 4)
		bpf_map_delete_elem(&new_flows4, key);
	else
		bpf_map_delete_elem(&new_flows6, key);
}

/* The tuple a flow entry rewrites to. */
static __always_inline struct tuple flow_tuple(const flow_t *flow, __u8 protocol, const int family)
{
	struct tuple t = {
		.source_port = flow->source_port,
		.destination_port = flow->destination_port,
		.protocol = protocol,
	};
	if (family == 4) {
		t.source = address_of4(flow->source);
		t.destination = address_of4(flow->destination);
	} else {
		const struct flow6 *f = (const struct flow6 *)flow;
		t.source = address_of6(&f->source);
		t.destination = address_of6(&f->destination);
	}
	return t;
}

static __always_inline void set_flow_tuple(flow_t *flow, const struct tuple *t, const int family)
{
	flow->source_port = t->source_port;
	flow->destination_port = t->destination_port;
	if (family == 4) {
		flow->source = t->source.word[0];
		flow->destination = t->destination.word[0];
	} else {
		struct flow6 *f = (struct flow6 *)flow;
		f->source = addr6_of(&t->source);
		f->destination = addr6_of(&t->destination);
	}
}

static __always_inline struct address flow_next_hop(const flow_t *flow, const int family)
{
	if (family == 4)
		return address_of4(flow->next_hop);
	return address_of6(&((const struct flow6 *)flow)->next_hop);
}

/* ---- next hops ---- */

union next_hop_value {
	struct next_hop4 v4;
	struct next_hop6 v6;
};

/* The entry that a backend's way has, whosever way is in it. */
static __always_inline next_hop_t *lookup_next_hop(__u32 backend, const int family)
{
	__u32 index = backend & 0xffff;

	if (family == 4)
		return bpf_map_lookup_elem(&next_hops4, &index);
	return bpf_map_lookup_elem(&next_hops6, &index);
}

/* Copies an entry, in or out; its check word is the exclusive or of the others where nobody wrote to it meanwhile. */
static __always_inline bool copy_next_hop(next_hop_t *to, const next_hop_t *from, const int family)
{
	const int words = (family == 4 ? sizeof(struct next_hop4) : sizeof(struct next_hop6)) / sizeof(__u32);
	const volatile __u32 *word = (const volatile __u32 *)from;
	volatile __u32 *copy = (volatile __u32 *)to;
	__u32 check = 0;

#pragma unroll
	for (int i = 0; i < words; i++) {
		__u32 one = word[i];

		copy[i] = one;
		check ^= one;
	}
	return check == 0;
}

static __always_inline __u32 check_of(const next_hop_t *hop, const int family)
{
	const int words = (family == 4 ? sizeof(struct next_hop4) : sizeof(struct next_hop6)) / sizeof(__u32);
	const __u32 *word = (const __u32 *)hop;
	__u32 check = 0;

#pragma unroll
	for (int i = 1; i < words; i++) /* the first is the check itself */
		check ^= word[i];
	return check;
}

static __always_inline struct address next_hop_source(const next_hop_t *hop, const int family)
{
	if (family == 4)
		return address_of4(hop->source);
	return address_of6(&((const struct next_hop6 *)hop)->source);
}

static __always_inline void set_next_hop_addresses(next_hop_t *hop, const struct address *address, const struct address *source, const int family)
{
	if (family == 4) {
		hop->address = address->word[0];
		hop->source = source->word[0];
	} else {
		struct next_hop6 *h = (struct next_hop6 *)hop;

		h->address = addr6_of(address);
		h->source = addr6_of(source);
	}
}

/* The flow goes that way from now on. */
static __always_inline void set_flow_way(flow_t *flow, const next_hop_t *hop, const int family)
{
	const __u32 *macs = (const __u32 *)hop->destination_mac;
	__u32 *own = (__u32 *)flow->destination_mac;

	flow->ifindex = hop->ifindex;
	flow->mtu = hop->mtu;
	own[0] = macs[0];
	own[1] = macs[1];
	own[2] = macs[2];
	if (family == 4)
		flow->next_hop = hop->address;
	else
		((struct flow6 *)flow)->next_hop = ((const struct next_hop6 *)hop)->address;
	flow->resolved = hop->resolved;
	flow->route_generation = hop->route_generation;
}

_Static_assert(__builtin_offsetof(struct flow4, destination_mac) % 4 == 0, "words");
_Static_assert(__builtin_offsetof(struct flow4, source_mac) == __builtin_offsetof(struct flow4, destination_mac) + 6, "as in a frame");
_Static_assert(__builtin_offsetof(struct next_hop4, destination_mac) % 4 == 0, "words");
_Static_assert(__builtin_offsetof(struct next_hop4, source_mac) == __builtin_offsetof(struct next_hop4, destination_mac) + 6, "as in a frame");

/* The address of a device in that family, unspecified where it has none. */
static __always_inline struct address device_address(const struct device *device, const int family)
{
	return family == 4 ? address_of4(device->address4) : address_of6(&device->address6);
}

/* ---- prefixes of the settings ---- */

static __always_inline bool in_prefix6(const struct prefix6 *p, const struct address *a)
{
	return (a->word[0] & p->mask.word[0]) == p->network.word[0] && (a->word[1] & p->mask.word[1]) == p->network.word[1] &&
	       (a->word[2] & p->mask.word[2]) == p->network.word[2] && (a->word[3] & p->mask.word[3]) == p->network.word[3];
}

#define PREFIXES (sizeof(((struct settings *)0)->service4) / sizeof(struct prefix4))

/* Is the address in a ServiceCIDR? */
static __always_inline bool in_service_prefix(const struct settings *s, const struct address *a, const int family)
{
	__u32 count = family == 4 ? s->service_count4 : s->service_count6;

	for (__u32 i = 0; i < PREFIXES; i++) {
		if (i >= count)
			break;
		if (family == 4 ? (a->word[0] & s->service4[i].mask) == s->service4[i].network : in_prefix6(&s->service6[i], a))
			return true;
	}
	return false;
}

/* Is the address a local pod's, by detect-local prefixes (semantics 14.2)? */
static __always_inline bool in_local_prefix(const struct settings *s, const struct address *a, const int family)
{
	__u32 count = family == 4 ? s->local_count4 : s->local_count6;

	for (__u32 i = 0; i < PREFIXES; i++) {
		if (i >= count)
			break;
		if (family == 4 ? (a->word[0] & s->local4[i].mask) == s->local4[i].network : in_prefix6(&s->local6[i], a))
			return true;
	}
	return false;
}
