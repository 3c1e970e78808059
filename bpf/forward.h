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

/* Has the flow a way that is still good? */
static __always_inline bool is_resolved(const flow_t *flow, const struct settings *s, __u32 now)
{
	return flow->route_generation == s->route_generation && (__s32)(now - flow->resolved) <= (__s32)s->next_hop_age;
}

/*
 * Where does the way to `to` lead? Fills ifindex, mtu, next_hop and MACs of the entry unless it has them, young and of this
 * route generation: a look-up costs 94 ns (v6: 212), so a flow asks once, and again when the node's routes changed or its age
 * is reached. fib: room. VERDICT_CONTINUE or DROP_NO_ROUTE. A neighbour that is not resolved yet leaves the MACs zero: tc's sender
 * resolves it, and the look-up is repeated.
 */
static __always_inline enum verdict resolve_route(ctx_t *ctx, flow_t *flow, const struct address *from, const struct address *to,
						  const struct settings *s, __u32 now, struct bpf_fib_lookup *fib, const int family)
{
	const struct device *device;
	struct address next_hop;
	long rc;

	if (is_resolved(flow, s, now))
		return VERDICT_CONTINUE;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = ctx_ifindex(ctx);
	fib->tot_len = 1; /* or the helper compares the whole, unsegmented skb with the MTU */
	if (family == 4) {
		fib->family = AF_INET;
		fib->ipv4_src = from->word[0];
		fib->ipv4_dst = to->word[0];
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_src, from, 16);
		__builtin_memcpy(fib->ipv6_dst, to, 16);
	}
	rc = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP_NO_ROUTE;
	if (fib->family == AF_INET)
		next_hop = address_of4(fib->ipv4_dst);
	else
		next_hop = address_of6((addr6 *)fib->ipv6_dst);
	device = find_device(fib->ifindex);
	flow->ifindex = fib->ifindex;
	set_flow_next_hop(flow, &next_hop, family);
	/* kernel 5.12 gives the route's MTU in place of tot_len, and only with a neighbour */
	flow->mtu = fib->tot_len > 1 ? fib->tot_len : device ? device->mtu : 0;
	flow->resolved = now;
	if (rc == BPF_FIB_LKUP_RET_SUCCESS) {
		__builtin_memcpy(flow->source_mac, fib->smac, 6);
		__builtin_memcpy(flow->destination_mac, fib->dmac, 6);
		flow->route_generation = s->route_generation;
	} else {
		__builtin_memset(flow->destination_mac, 0, 6);
		flow->route_generation = 0;
	}
	return VERDICT_CONTINUE;
}

/* Too long for the way to the next hop? The headers of a GSO packet count once per segment. mtu 0: not known. */
static __always_inline bool exceeds_mtu(ctx_t *ctx, const struct packet *p, __u32 mtu)
{
	__u32 headers = p->l4 - p->l3 + (p->tuple.protocol == IPPROTO_TCP ? 20 : 8);

	return mtu && ctx_segment_length(ctx, p->l3, headers) > mtu;
}

#ifdef CTX_XDP

/* Can XDP send this packet of a flow by itself? A stale next hop goes the kernel's neighbour way, which keeps it alive. */
static __always_inline bool can_send(ctx_t *ctx, const struct packet *p, const flow_t *flow, const struct settings *s, __u32 now)
{
	if (!is_resolved(flow, s, now) || p->hop_limit <= 1 || exceeds_mtu(ctx, p, flow->mtu))
		return false;
	if (flow->ifindex != ctx_ifindex(ctx)) {
		const struct device *device = find_device(flow->ifindex);

		return device && device->flags & DEVICE_XDP;
	}
	return true;
}

_Static_assert(__builtin_offsetof(struct flow4, destination_mac) % 4 == 0, "three words");
_Static_assert(__builtin_offsetof(struct flow4, source_mac) == __builtin_offsetof(struct flow4, destination_mac) + 6, "as in a frame");

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

/* tc sends whatever has a route. */
static __always_inline bool can_send(ctx_t *ctx, const struct packet *p, const flow_t *flow, const struct settings *s, __u32 now)
{
	return true;
}

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
