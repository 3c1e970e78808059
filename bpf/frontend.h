/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which frontend is this for, and may this client use it? Which of its slices counts is decided here too (semantics 0.1, 0.3).
 *
 * Knows addresses and clients, not packets: the socket hook asks the same questions.
 */
#pragma once

#include "addr.h"

/* Who asks, as far as the policies care. */
enum client {
	CLIENT_OUTSIDE, /* not a pod of this node: other nodes, other nodes' pods, the world */
	CLIENT_POD, /* a pod on this node (14.2) */
	CLIENT_NODE, /* the node itself */
};

/*
 * Copies a frontend out of its map. false where the words do not belong together: the kernel gives a replaced element
 * of a preallocated hash map to the next update at once, so it may change under a reader (no grace period).
 */
static __always_inline bool load_frontend(const struct frontend *from, struct frontend *to)
{
	const volatile __u32 *word = (const volatile __u32 *)from;
	__u32 *copy = (__u32 *)to;
	__u32 check = 0;

#pragma unroll
	for (unsigned int i = 0; i < sizeof(*to) / sizeof(__u32); i++) {
		copy[i] = word[i];
		check ^= copy[i];
	}
	return check == 0;
}

/*
 * address_flags: lookup_address of the destination. false: there is none.
 * Exact first, then NodePort: a VIP:port always beats a NodePort (0.3).
 */
static __always_inline bool find_frontend(const struct address *destination, __be16 port, __u8 protocol, __u32 address_flags,
					  struct frontend *out, const int family)
{
	const struct address any = {};

	for (int attempt = 0; attempt < 3; attempt++) {
		struct frontend *frontend = 0;

		if (address_flags & ADDRESS_FRONTEND)
			frontend = lookup_frontend(destination, port, protocol, family);
		if (!frontend && address_flags & ADDRESS_NODE_PORT)
			frontend = lookup_frontend(&any, port, protocol, family);
		if (!frontend)
			return false;
		if (load_frontend(frontend, out))
			return true;
	}
	return false;
}

/* kube-proxy: source ranges come before everything, endpoints or not (nftables mode, 0.3). Only new clients are asked. */
static __always_inline bool source_allowed(const struct frontend *frontend, const struct tuple *t, const int family)
{
	if (!(frontend->flags & FRONTEND_SOURCE_RANGES))
		return true;
	if (frontend->flags & FRONTEND_SELF_ALLOWED && same_address(&t->source, &t->destination, family))
		return true; /* 7.2: the node talks to a VIP that it has itself */
	return lookup_source_range(frontend->id, &t->source, family);
}

/*
 * The slice and the Maglev table for this client. VERDICT_CONTINUE with a slice that is not empty, or why not.
 * local_policy tells the caller which of the two it got.
 */
static __always_inline enum verdict choose_slice(const struct frontend *frontend, enum client client, struct slice *slice, struct slice *table)
{
	bool local = frontend->flags & FRONTEND_LOCAL;

	if (!(frontend->flags & FRONTEND_HAS_ENDPOINTS))
		return REJECT_NO_ENDPOINTS;
	/* kube-proxy: from this node an external address means "out to the load balancer and back": neither policy counts */
	if (!(frontend->flags & FRONTEND_CLUSTER_IP) && client != CLIENT_OUTSIDE)
		local = false;
	*slice = local ? frontend->local : frontend->cluster;
	*table = local ? frontend->local_table : frontend->cluster_table;
	if (slice->count)
		return VERDICT_CONTINUE;
	/* Drop, not reject: the load balancer lags, and a reject would be reported as an outage (0.1) */
	return local ? DROP_NO_LOCAL_BACKEND : REJECT_NO_ENDPOINTS;
}
