/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How does a packet leave that we send ourselves? Route, limits, link-layer addresses, device.
 *
 * Whoever sends without the stack does what the stack would: it decrements the TTL and minds the MTU.
 */
#pragma once

#include "packet.h"

#ifndef AF_INET
#define AF_INET 2
#define AF_INET6 10
#endif

static __always_inline const struct device *find_device(__u32 ifindex)
{
	return bpf_map_lookup_elem(&devices, &ifindex);
}

/* Is a way that was looked up then still good? */
static __always_inline bool is_fresh(__u32 route_generation, __u32 resolved, const struct settings *s, __u32 now)
{
	return route_generation == s->route_generation && (__s32)(now - resolved) <= (__s32)s->next_hop_age;
}

/* Has the flow a way that is still good? */
static __always_inline bool is_resolved(const flow_t *flow, const struct settings *s, __u32 now)
{
	return is_fresh(flow->route_generation, flow->resolved, s, now);
}

/* Do requests of this flow go the one way that all flows from outside to its backend go? */
static __always_inline bool shares_way(__u16 flags)
{
	return (flags & (FLOW_SEND | FLOW_REPLY | FLOW_NODE)) == FLOW_SEND;
}

/* Gives a request that entered by a device the way that is remembered of its backend: hop has it afterwards. false: none, or none that is still good. */
static __always_inline bool recall_next_hop(flow_t *flow, __u32 entered, const struct settings *s, __u32 now, next_hop_t *hop, const int family)
{
	const next_hop_t *held = lookup_next_hop(flow->backend, family);

	if (!held || !copy_next_hop(hop, held, family))
		return false;
	if (hop->backend != flow->backend || hop->generation != flow->generation || hop->entered != entered ||
	    !is_fresh(hop->route_generation, hop->resolved, s, now))
		return false;
	set_flow_way(flow, hop, family);
	return true;
}

/* Too long for the way to the next hop? The headers of a GSO packet count once per segment. mtu 0: not known. */
static __always_inline bool exceeds_mtu(ctx_t *ctx, const struct packet *p, __u32 mtu)
{
	__u32 headers = p->l4 - p->l3 + (p->tuple.protocol == IPPROTO_TCP ? 20 : 8);

	return mtu && ctx_segment_length(ctx, p->l3, headers) > mtu;
}

/*
 * Can XDP send this packet of a flow by itself? It looks no route up: where none is remembered, or none that is still good,
 * the packet goes the kernel's neighbour way, which keeps the neighbour alive, and tc remembers what it found.
 */
static __always_inline bool can_send(ctx_t *ctx, const struct packet *p, flow_t *flow, __u16 flags, const struct settings *s, __u32 now,
				     next_hop_t *hop, const int family)
{
	if (!is_resolved(flow, s, now) && (!shares_way(flags) || !recall_next_hop(flow, ctx_ifindex(ctx), s, now, hop, family)))
		return false;
	if (p->hop_limit <= 1 || exceeds_mtu(ctx, p, flow->mtu))
		return false;
	if (flow->ifindex != ctx_ifindex(ctx)) {
		const struct device *device = find_device(flow->ifindex);

		return device && device->flags & DEVICE_XDP;
	}
	return true;
}

/*
 * Where does the way to `to` lead? Fills in the way of the entry unless it has one that is still good: a look-up costs 94 ns (v6:
 * 212), so a flow asks once, and again when the node's routes changed or its age is reached. Flows from outside share the ways
 * to backends: for them the route is asked without the client's address, and whoever asks remembers it for all.
 * hop: what was found where the entry had none. fib: room. VERDICT_CONTINUE or DROP_NO_ROUTE. A neighbour that is not
 * resolved yet leaves the MACs zero: the sender resolves it, and the look-up is repeated.
 */
static __always_inline enum verdict resolve_route(ctx_t *ctx, flow_t *flow, bool shared, const struct address *from, const struct address *to,
						  const struct settings *s, __u32 now, next_hop_t *hop, struct bpf_fib_lookup *fib,
						  const int family)
{
	const struct address none = {};
	struct address address, source = none;
	const struct device *device;
	const __u32 entered = ctx_ifindex(ctx);
	const __u32 generation = s->route_generation; /* before anything is asked: what changes meanwhile makes it old */
	next_hop_t *held;
	long rc;

	if (is_resolved(flow, s, now))
		return VERDICT_CONTINUE;
	if (shared && recall_next_hop(flow, entered, s, now, hop, family))
		return VERDICT_CONTINUE;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = entered;
	fib->tot_len = 1; /* or the helper compares the whole, unsegmented skb with the MTU */
	if (family == 4) {
		fib->family = AF_INET;
		fib->ipv4_src = shared ? 0 : from->word[0];
		fib->ipv4_dst = to->word[0];
	} else {
		fib->family = AF_INET6;
		if (!shared)
			__builtin_memcpy(fib->ipv6_src, from, 16);
		__builtin_memcpy(fib->ipv6_dst, to, 16);
	}
	rc = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP_NO_ROUTE;
	if (fib->family == AF_INET)
		address = address_of4(fib->ipv4_dst);
	else
		address = address_of6((addr6 *)fib->ipv6_dst);
	device = find_device(fib->ifindex);
	if (device)
		source = device_address(device, family);
	hop->backend = flow->backend;
	hop->generation = flow->generation;
	hop->entered = entered;
	hop->ifindex = fib->ifindex;
	/* kernel 5.12 gives the route's MTU in place of tot_len, and only with a neighbour */
	hop->mtu = fib->tot_len > 1 ? fib->tot_len : device ? device->mtu : 0;
	hop->pad = 0;
	hop->resolved = now;
	set_next_hop_addresses(hop, &address, &source, family);
	if (rc == BPF_FIB_LKUP_RET_SUCCESS) {
		__builtin_memcpy(hop->destination_mac, fib->dmac, 6);
		__builtin_memcpy(hop->source_mac, fib->smac, 6);
		hop->route_generation = generation;
	} else {
		__builtin_memset(hop->destination_mac, 0, 12);
		hop->route_generation = 0;
	}
	set_flow_way(flow, hop, family);
	held = shared && hop->route_generation ? lookup_next_hop(hop->backend, family) : 0;
	if (held) {
		hop->check = check_of(hop, family);
		copy_next_hop(held, hop, family);
	}
	return VERDICT_CONTINUE;
}

#ifdef CTX_XDP

/* Sends by the flow's next hop: back out of the device it came from, or by another that runs native XDP. */
static __always_inline enum verdict send(ctx_t *ctx, const flow_t *flow, const struct settings *s, int *action, const int family)
{
	const __be32 *macs = (const __be32 *)flow->destination_mac; /* and source_mac */
	__be32 *header = ctx_at(ctx, 0, 12);

	if (!header)
		return DROP_NOT_WRITABLE;
	header[0] = macs[0];
	header[1] = macs[1];
	header[2] = macs[2];
	*action = flow->ifindex == ctx_ifindex(ctx) ? XDP_TX : bpf_redirect(flow->ifindex, 0);
	return VERDICT_CONTINUE;
}

static __always_inline enum verdict turn_around(ctx_t *ctx, __u32 l3, const struct settings *s, __u64 flags, int *action)
{
	__u8 macs[12], swapped[12];

	if (ctx_load(ctx, 0, macs, sizeof(macs)))
		return DROP_NOT_WRITABLE;
	__builtin_memcpy(swapped, macs + 6, 6);
	__builtin_memcpy(swapped + 6, macs, 6);
	if (ctx_store(ctx, 0, swapped, sizeof(swapped)))
		return DROP_NOT_WRITABLE;
	*action = XDP_TX;
	return VERDICT_CONTINUE;
}

/* XDP leaves the flows that need this to tc. */
static __always_inline enum verdict enter_by(ctx_t *ctx, __u32 ifindex, __u32 l3, const struct settings *s, int *action)
{
	return DROP_NOT_WRITABLE;
}

#else

/* Sends by the flow's next hop. Our own egress hook will see the packet and know it by the mark. */
static __always_inline enum verdict send(ctx_t *ctx, const flow_t *flow, const struct settings *s, int *action, const int family)
{
	struct address to = flow_next_hop(flow, family);
	struct bpf_redir_neigh next_hop = { .nh_family = family == 4 ? AF_INET : AF_INET6 };

	if (family == 4)
		next_hop.ipv4_nh = to.word[0];
	else
		__builtin_memcpy(next_hop.ipv6_nh, &to, 16);
	ctx->mark |= s->mark;
	*action = bpf_redirect_neigh(flow->ifindex, &next_hop, sizeof(next_hop), 0);
	return VERDICT_CONTINUE;
}

/* Turns the packet around at the interface it came from. l3 0: there are no MACs to swap. */
static __always_inline enum verdict turn_around(ctx_t *ctx, __u32 l3, const struct settings *s, __u64 flags, int *action)
{
	if (l3) {
		__u8 macs[12], swapped[12];

		if (ctx_load(ctx, 0, macs, sizeof(macs)))
			return DROP_NOT_WRITABLE;
		__builtin_memcpy(swapped, macs + 6, 6);
		__builtin_memcpy(swapped + 6, macs, 6);
		if (ctx_store(ctx, 0, swapped, sizeof(swapped)))
			return DROP_NOT_WRITABLE;
	}
	ctx->mark |= s->mark;
	*action = bpf_redirect(ctx->ifindex, flags);
	return VERDICT_CONTINUE;
}

/* Gives the packet to the stack as if it had just entered that device (FLOW_NODE). */
static __always_inline enum verdict enter_by(ctx_t *ctx, __u32 ifindex, __u32 l3, const struct settings *s, int *action)
{
	const struct device *device = find_device(ifindex);

	if (l3 && device) {
		__u8 mac[6];

		__builtin_memcpy(mac, device->mac, 6);
		if (ctx_store(ctx, 0, mac, 6))
			return DROP_NOT_WRITABLE;
	}
	ctx->mark |= s->mark;
	*action = bpf_redirect(ifindex, BPF_F_INGRESS);
	return VERDICT_CONTINUE;
}

#endif
