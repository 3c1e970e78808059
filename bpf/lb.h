/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The path of a packet: parse, recall, find, select, remember, rewrite, forward. Read this first.
 *
 * Must: netfilter sees both directions of a flow, translated consistently, or neither. A flow records its way when it is made:
 *   stack    a pod of this node or the node is at one end: translated at ingress, routed by the kernel, the reply
 *            translated back at the egress towards the client;
 *   bypass   masqueraded: translated and sent at ingress, in both directions;
 *   hairpin  client and backend are one pod: turned around at its interface, in both directions;
 *   node     the node's own packet that the socket hook left alone, seen at a NIC's egress: netfilter has seen it as
 *            node → frontend, so the reply is translated before netfilter sees it.
 */
#pragma once

#include "verdict.h"
#include "packet.h"
#include "frontend.h"
#include "backend.h"
#include "conntrack.h"
#include "nat.h"
#include "forward.h"
#include "icmp.h"
#include "reset.h"

/*
 * Working room of one packet, more than a stack holds. One per CPU: our tc programs run with softirqs off and are not nested.
 */
struct scratch {
	struct packet packet;
	struct frontend frontend;
	struct backend backend;
	struct affinity_key affine;
	struct tuple to; /* the packet's tuple after the rewrite */
	struct tuple back; /* of the packet that comes back */
	union flow_key key; /* of the packet */
	union flow_key reply_key;
	union flow_key space; /* for the key of whichever entry is looked at in passing */
	union flow_value request;
	union flow_value reply;
	union next_hop_value hop;
	struct bpf_fib_lookup fib;
	__be32 quote[QUOTE / 4];
	int action; /* of the hook, when the packet was sent: what the kernel told the stage that sent it */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* Does the hook see packets that come to the node from outside? */
static __always_inline bool is_outer(const enum hook hook)
{
	return hook == HOOK_NIC_INGRESS || hook == HOOK_XDP;
}

/* Limits of a packet that we send ourselves: VERDICT_CONTINUE, or what the stack would answer. */
static __always_inline enum verdict check_limits(ctx_t *ctx, struct packet *p, const flow_t *flow, const enum hook hook)
{
	if (hook != HOOK_NIC_EGRESS && p->hop_limit <= 1)
		return REJECT_TTL_EXPIRED;
	if (exceeds_mtu(ctx, p, flow->mtu)) {
		p->mtu = flow->mtu;
		/* The stack would cut it; we cannot, and never send half */
		return p->may_fragment ? DROP_FRAGMENT : REJECT_TOO_BIG;
	}
	return VERDICT_CONTINUE;
}

/* The way of a packet that goes to scratch->to, if it can go: VERDICT_CONTINUE. XDP changes nothing where it cannot: tc sees the same packet. */
static __always_inline enum verdict find_way(ctx_t *ctx, struct scratch *scratch, flow_t *flow, __u16 flags, const struct settings *s, __u32 now,
					     const enum hook hook, const int family)
{
	const struct tuple *to = &scratch->to;
	next_hop_t *hop = (next_hop_t *)&scratch->hop;
	enum verdict verdict;

	if (IN_XDP)
		return can_send(ctx, &scratch->packet, flow, flags, s, now, hop, family) ? VERDICT_CONTINUE : PASS_TO_TC;
	verdict = resolve_route(ctx, flow, is_outer(hook) && shares_way(flags), &to->source, &to->destination, s, now, hop, &scratch->fib, family);
	return verdict != VERDICT_CONTINUE ? verdict : check_limits(ctx, &scratch->packet, flow, hook);
}

/* Rewrites a packet to its flow's tuple (scratch->to) and gives it to its flow's way. */
static __always_inline enum verdict carry(ctx_t *ctx, struct scratch *scratch, flow_t *flow, __u16 flags, const struct settings *s, __u32 now,
					  const enum hook hook, const int family)
{
	struct packet *p = &scratch->packet;
	const struct tuple *to = &scratch->to;
	enum verdict verdict;
	bool sent = false;

	if (flags & FLOW_SEND && !(flags & FLOW_HAIRPIN)) {
		if (!IN_XDP) { /* XDP has asked before it changed anything */
			verdict = find_way(ctx, scratch, flow, flags, s, now, hook, family);
			if (verdict != VERDICT_CONTINUE)
				return verdict;
		}
		sent = hook != HOOK_NIC_EGRESS; /* there the stack has routed it */
	}
	verdict = rewrite_packet(ctx, p, to, sent, family);
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	if (flags & FLOW_HAIRPIN) {
		verdict = turn_around(ctx, p->l3, s, 0, &scratch->action);
		return verdict != VERDICT_CONTINUE ? verdict : FORWARD_HAIRPIN;
	}
	if (flags & FLOW_SEND) {
		verdict = send(ctx, flow, s, &scratch->action, family);
		return verdict != VERDICT_CONTINUE ? verdict : flags & FLOW_REPLY ? FORWARD_REPLY : FORWARD_REQUEST;
	}
	return flags & FLOW_REPLY ? TRANSLATE_REPLY : TRANSLATE_REQUEST;
}

/*
 * A reply of a stack flow on its way into the node. On a shared bridge it is addressed to the client's own MAC and would be
 * bridged past netfilter, whose third packet of the connection is then INVALID: it gets the MAC that the request was
 * addressed to, and both directions are routed, whatever bridge-nf-call-iptables says.
 */
static __always_inline enum verdict route_reply(ctx_t *ctx, const struct packet *p, const flow_t *flow)
{
	__u16 destination[3], client[3], gateway[3];

	__builtin_memcpy(client, flow->source_mac, 6);
	__builtin_memcpy(gateway, flow->destination_mac, 6);
	if (!p->l3 || !(gateway[0] | gateway[1] | gateway[2])) /* the request came by no pod's interface: nothing can short-cut */
		return PASS_REPLY;
	if (ctx_load(ctx, 0, destination, 6))
		return PASS_REPLY;
	if (destination[0] != client[0] || destination[1] != client[1] || destination[2] != client[2])
		return PASS_REPLY;
	return ctx_store(ctx, 0, gateway, 6) ? DROP_NOT_WRITABLE : PASS_REPLY;
}

/* May a request of this flow go on to the backend it had? If not the flow is as good as new. */
static __always_inline bool still_good(const struct packet *p, const flow_t *flow, bool in_new, const struct settings *s, __u32 now,
				       const int family)
{
	struct backend backend;

	if (p->tuple.protocol == IPPROTO_TCP) {
		if (!opens(p))
			return true; /* a connection goes on, also to a backend that drains or is gone (9.1) */
		if (is_closed(flow) || is_expired(flow, IPPROTO_TCP, s, now))
			return false;
		load_backend(flow->backend, &backend, family);
		return backend.flags & BACKEND_LIVE && backend.generation == flow->generation;
	}
	/* A datagram has no connection to break: it leaves a backend that does not serve at once (9.2) */
	load_backend(flow->backend, &backend, family);
	if (!(backend.flags & BACKEND_SERVING) || backend.generation != flow->generation)
		return false;
	return !in_new || !is_expired(flow, IPPROTO_UDP, s, now);
}

/* A packet that hit a flow entry. VERDICT_CONTINUE: choose anew. */
static __always_inline enum verdict continue_flow(ctx_t *ctx, struct scratch *scratch, flow_t *flow, bool in_new, const struct settings *s,
						  const enum hook hook, const int family)
{
	const bool egress = hook == HOOK_NIC_EGRESS || hook == HOOK_POD_EGRESS;
	struct packet *p = &scratch->packet;
	struct tuple *to = &scratch->to;
	__u16 flags = flow->flags;
	__u32 now = now_jiffies();
	__u32 ifindex = flow->ifindex;

	/* XDP finishes what is sent, and only if nothing is missing for it. Before anything is changed: tc sees the same packet */
	if (IN_XDP && ((flags & (FLOW_SEND | FLOW_EGRESS | FLOW_HAIRPIN)) != FLOW_SEND || p->fragment ||
		       find_way(ctx, scratch, flow, flags, s, now, hook, family) != VERDICT_CONTINUE))
		return PASS_TO_TC;
	if (flags & FLOW_RESET && p->tcp_flags & TCP_ACK && !(p->tcp_flags & TCP_RST) && !p->fragment) {
		flow->flags |= FLOW_RST;
		return REJECT_GONE_BACKEND;
	}
	if (egress != !!(flags & FLOW_EGRESS)) {
		if (!(flags & FLOW_REPLY))
			return PASS_NOT_OURS;
		return hook == HOOK_POD_INGRESS ? route_reply(ctx, p, flow) : PASS_REPLY;
	}
	if (p->fragment)
		return DROP_FRAGMENT;
	/*
	 * A connection is accepted on the tuple of one that is over: the client's port is used again, this time to the backend
	 * itself, and nothing of ours has seen its request. With our flow's source in it the client would not know the answer.
	 */
	if ((flags & (FLOW_REPLY | FLOW_SEND)) == FLOW_REPLY && p->tcp_flags & TCP_SYN && is_closed(flow)) {
		forget_flow(&scratch->key, flow, p->tuple.protocol, &scratch->space, family);
		return PASS_NOT_OURS;
	}
	if (!(flags & FLOW_REPLY) && !still_good(p, flow, in_new, s, now, family)) {
		if (p->tuple.protocol == IPPROTO_UDP)
			forget_request(&scratch->key, flow, p->tuple.protocol, &scratch->space, family);
		else
			forget_flow(&scratch->key, flow, p->tuple.protocol, &scratch->space, family);
		return VERDICT_CONTINUE;
	}
	*to = flow_tuple(flow, p->tuple.protocol, family);
	flow->seen = now;
	if (p->tcp_flags & (TCP_FIN | TCP_RST))
		note_close(p, flow, &scratch->space, family);
	/* An entry that moves is another flow's memory afterwards. Those that send keep theirs: a masquerade's never moves. */
	if (flags & FLOW_REPLY && !(flags & FLOW_CONFIRMED))
		confirm_flow(&scratch->key, flow, in_new, &p->tuple, to, s, now, &scratch->space, &scratch->request, family);
	if ((flags & (FLOW_NODE | FLOW_REPLY)) == (FLOW_NODE | FLOW_REPLY)) {
		enum verdict verdict = rewrite_packet(ctx, p, to, false, family);

		if (verdict != VERDICT_CONTINUE)
			return verdict;
		if (ifindex == ctx_ifindex(ctx))
			return TRANSLATE_REPLY;
		verdict = enter_by(ctx, ifindex, p->l3, s, &scratch->action);
		return verdict != VERDICT_CONTINUE ? verdict : FORWARD_REPLY;
	}
	return carry(ctx, scratch, flow, flags, s, now, hook, family);
}

/* Will the answer come back through this node without our address in the packet? If not it is masqueraded (0.2). */
static __always_inline bool needs_masquerade(const struct frontend *frontend, const struct backend *backend, enum client client,
					     const struct address *source, const struct settings *s, const int family)
{
	if (client == CLIENT_NODE || backend->flags & BACKEND_HOST)
		return false;
	if (same_address(source, &backend->address, family))
		return true;
	if (frontend->flags & FRONTEND_CLUSTER_IP && s->flags & SETTING_MASQUERADE_ALL)
		return true;
	return client == CLIENT_OUTSIDE && !(backend->flags & BACKEND_LOCAL);
}

static __always_inline __u32 claim_tuple_of(struct scratch *scratch, const struct settings *s, bool durable, const int family)
{
	scratch->back = reversed(&scratch->to);
	flow_key_of(&scratch->reply_key, &scratch->back, family);
	return claim_reply(&scratch->reply_key, (flow_t *)&scratch->reply, &scratch->packet.tuple, durable, s, &scratch->space, family);
}

/*
 * Claims the reply of scratch->to. enum claim.
 * verifier: a global function is checked once, not with every state of its callers; kernel 5.10: it may only get the
 * context and numbers.
 */
__noinline int claim_tuple(__u32 durable, __u32 family)
{
	__u32 zero = 0;
	const struct settings *s = bpf_map_lookup_elem(&settings, &zero);
	struct scratch *room = bpf_map_lookup_elem(&scratch, &zero);

	if (!s || !room)
		return CLAIM_FULL;
	if (family == 4)
		return claim_tuple_of(room, s, durable, 4);
	return claim_tuple_of(room, s, durable, 6);
}

/*
 * The reply's tuple must be this flow's alone. What is not masqueraded keeps the client's port if it can, else only the
 * port is changed (9.11). start: where in the pool to begin. enum claim; scratch->to and reply_key hold the tuple taken.
 */
static __always_inline __u32 claim_way_back(struct scratch *scratch, const struct settings *s, __u32 start, bool masquerade, bool durable,
					    const int family)
{
	__u32 pool = s->snat_last - s->snat_first + 1;
	__u32 claim;

	if (!masquerade) {
		claim = claim_tuple(durable, family);
		if (claim != CLAIM_TAKEN)
			return claim;
	}
	for (int i = 0; i < SNAT_PROBES && pool; i++) {
		__u32 candidate = s->snat_first + (start + i * 7919 /* prime: no short cycle */) % pool;

		if (!snat_port_usable(candidate))
			continue;
		scratch->to.source_port = bpf_htons(candidate);
		claim = claim_tuple(durable, family);
		if (claim == CLAIM_FIRST && (i || !masquerade)) /* another is in the flow's first place, and may leave it */
			return CLAIM_OK;
		if (claim != CLAIM_TAKEN) /* kernel 5.10: decided here; a call may not be the last instruction of a loop */
			return claim;
	}
	return CLAIM_TAKEN;
}

/* The first packet of a flow: choose, remember, send on its way. */
static __always_inline enum verdict start_flow(ctx_t *ctx, struct scratch *scratch, enum client client, const struct settings *s, const enum hook hook,
					       const int family)
{
	struct packet *p = &scratch->packet;
	const struct frontend *frontend = &scratch->frontend;
	struct backend *backend = &scratch->backend;
	struct tuple *to = &scratch->to, *back = &scratch->back;
	flow_t *request = (flow_t *)&scratch->request;
	flow_t *reply = (flow_t *)&scratch->reply;
	const bool outside = is_outer(hook);
	__u32 now = now_jiffies();
	const bool midway = p->tuple.protocol == IPPROTO_TCP && !opens(p);
	struct slice slice, table;
	enum verdict verdict;
	bool masquerade, repeats;
	__u32 claim, hash;

	/* Mid-connection and no state: only a Maglev table knows whose it was. Else it is netfilter's, or nobody's. */
	if (midway && (!outside || p->tcp_flags & TCP_RST || s->flags & SETTING_OTHERS_FLOWS))
		return PASS_NO_FLOW;
	if (p->fragment)
		return DROP_FRAGMENT;
	if (!source_allowed(frontend, &p->tuple, family))
		return DROP_SOURCE_RANGE;
	verdict = choose_slice(frontend, client, &slice, &table);
	if (midway && (verdict != VERDICT_CONTINUE || !table.count))
		return PASS_NO_FLOW;
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	scratch->affine.frontend = frontend->id;
	scratch->affine.kind = CLIENT_ADDRESS;
	scratch->affine.client = mapped_of(&p->tuple.source, family);
	hash = hash_client(frontend, &p->tuple, family);
	verdict = select_backend(frontend, &scratch->affine, &slice, &table, hash, outside, s->jiffies_per_second, backend, family);
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	masquerade = needs_masquerade(frontend, backend, client, &p->tuple.source, s, family);
	if (midway && masquerade)
		return PASS_NO_FLOW;
	if (IN_XDP && !masquerade) /* the stack carries it, translated at tc */
		return PASS_TO_TC;

	*to = p->tuple;
	to->destination = backend->address;
	to->destination_port = backend->port;
	__builtin_memset(&scratch->request, 0, sizeof(scratch->request));
	__builtin_memset(&scratch->reply, 0, sizeof(scratch->reply));
	request->frontend = reply->frontend = frontend->id;
	request->backend = reply->backend = backend->id;
	request->generation = reply->generation = backend->generation;
	request->seen = reply->seen = now;
	reply->flags = FLOW_REPLY;
	if (client == CLIENT_NODE) {
		request->flags = FLOW_NODE | FLOW_EGRESS | FLOW_SEND;
		reply->flags |= FLOW_NODE;
		reply->ifindex = ctx_ifindex(ctx);
	} else if (masquerade) {
		request->flags = FLOW_SEND;
		if (hook == HOOK_POD_INGRESS && same_address(&p->tuple.source, &backend->address, family)) {
			request->flags |= FLOW_HAIRPIN;
			request->ifindex = ctx_ifindex(ctx);
		}
		reply->flags |= request->flags;
	} else {
		reply->flags |= FLOW_EGRESS;
		if (hook == HOOK_POD_INGRESS && p->l3) {
			__u8 macs[12];

			if (ctx_load(ctx, 0, macs, sizeof(macs)))
				return DROP_NOT_WRITABLE;
			__builtin_memcpy(reply->destination_mac, macs, 6);
			__builtin_memcpy(reply->source_mac, macs + 6, 6);
		}
	}
	if (request->flags & FLOW_SEND && !(request->flags & FLOW_HAIRPIN)) {
		verdict = find_way(ctx, scratch, request, request->flags, s, now, hook, family);
		if (verdict != VERDICT_CONTINUE)
			return verdict;
		if (masquerade)
			to->source = next_hop_source((next_hop_t *)&scratch->hop, family);
	} else if (masquerade) {
		const struct device *device = find_device(request->ifindex);

		if (!device)
			return DROP_NO_SNAT_ADDRESS;
		to->source = device_address(device, family);
	}
	if (masquerade && is_unspecified(&to->source, family))
		return DROP_NO_SNAT_ADDRESS;

	*back = reversed(&p->tuple);
	set_flow_tuple(reply, back, family);
	claim = claim_way_back(scratch, s, finish_mix(mix(hash, (__u32)p->tuple.source_port << 16 | backend->id)), masquerade,
			       masquerade || client == CLIENT_NODE, family);
	if (claim == CLAIM_TAKEN)
		return DROP_NO_SNAT_PORT;
	if (claim == CLAIM_FULL)
		return DROP_TABLE_FULL;
	set_flow_tuple(request, to, family);
	/*
	 * The first packet of a client whom Maglev would give the same backend, and the same port, again: an insert saved. Its answer
	 * makes the request's entry, and so does the flow's second packet if nothing answered.
	 */
	repeats = claim == CLAIM_FIRST && outside && table.count && !(frontend->flags & FRONTEND_AFFINITY);
	if (!repeats && insert_new_flow(&scratch->key, request, BPF_ANY, family)) {
		delete_flow(&scratch->reply_key, family);
		delete_new_flow(&scratch->reply_key, family);
		return DROP_TABLE_FULL;
	}
	return carry(ctx, scratch, request, request->flags, s, now, hook, family);
}

/* What nobody owns inside a ServiceCIDR is dropped (kube-proxy: nftables mode, 4.4). */
static __always_inline enum verdict not_ours(const struct packet *p, const struct settings *s, const int family)
{
	if (s->flags & SETTING_YIELD || !in_service_prefix(s, &p->tuple.destination, family))
		return PASS_NOT_OURS;
	/* What another proxy translated outlives its Service, as it does with that proxy */
	if (s->flags & SETTING_OTHERS_FLOWS && p->tuple.protocol == IPPROTO_TCP && !opens(p))
		return PASS_NO_FLOW;
	return DROP_UNASSIGNED;
}

static __always_inline enum client client_of(const struct packet *p, const struct settings *s, const enum hook hook, const int family)
{
	if (hook == HOOK_NIC_EGRESS)
		return CLIENT_NODE;
	if (s->flags & SETTING_LOCAL_BY_PREFIX)
		return in_local_prefix(s, &p->tuple.source, family) ? CLIENT_POD : CLIENT_OUTSIDE;
	return hook == HOOK_POD_INGRESS ? CLIENT_POD : CLIENT_OUTSIDE;
}

/* Decides about a parsed packet. REJECT_… verdicts are not yet built. */
static __always_inline enum verdict decide(ctx_t *ctx, struct scratch *scratch, const struct settings *s, const enum hook hook, const int family)
{
	const bool egress = hook == HOOK_NIC_EGRESS || hook == HOOK_POD_EGRESS;
	struct packet *p = &scratch->packet;
	__u32 address_flags = 0;
	enum verdict verdict;
	bool in_new, asked = false, found = false;
	flow_t *flow;

	if (!egress) {
		address_flags = lookup_address(&p->tuple.destination, family);
		/* Nothing of ours is sent there. Only a pod's reply to a stack flow may need its MAC changed (route_reply). */
		if (!address_flags && hook != HOOK_POD_INGRESS)
			return not_ours(p, s, family);
	}
	if (p->fragment == FRAGMENT_LATER) /* the first fragment, which has the ports, was dropped: no translation is half */
		return address_flags & ADDRESS_CLUSTER_IP && !(s->flags & SETTING_YIELD) ? DROP_FRAGMENT : PASS_NOT_OURS;
	if (p->icmp_error) {
		if (!parse_quoted(ctx, p, family))
			return PASS_NOT_OURS;
		flow_key_of(&scratch->key, &p->tuple, family);
		return recall_flow(&scratch->key, &in_new, family) ? DROP_ICMP_ERROR : PASS_NOT_OURS;
	}
	if (!p->has_ports)
		return egress || address_flags ? PASS_NOT_OURS : not_ours(p, s, family);

	flow_key_of(&scratch->key, &p->tuple, family);
	flow = lookup_flow(&scratch->key, family);
	in_new = !flow;
	if (!flow) {
		/*
		 * What enters by a NIC and has an entry in new_flows is a request to a frontend, or to an address that had one: replies that
		 * come this way are in flows. So what is not ours does not pay for the look-up.
		 */
		asked = is_outer(hook) && !(address_flags & ADDRESS_RETIRED);
		if (asked)
			found = find_frontend(&p->tuple.destination, p->tuple.destination_port, p->tuple.protocol, address_flags,
					      &scratch->frontend, family);
		if (!asked || found)
			flow = lookup_new_flow(&scratch->key, family);
	}
	if (flow) {
		verdict = continue_flow(ctx, scratch, flow, in_new, s, hook, family);
		if (verdict != VERDICT_CONTINUE)
			return verdict;
	}
	if (hook == HOOK_POD_EGRESS)
		return PASS_NOT_OURS;
	if (hook == HOOK_NIC_EGRESS) {
		/* The node's own packets to a frontend, which the socket hook left to us because it did not know their source */
		address_flags = lookup_address(&p->tuple.destination, family);
		if (!(address_flags & ADDRESS_FRONTEND) && !in_service_prefix(s, &p->tuple.destination, family))
			return PASS_NOT_OURS;
		if (!(lookup_address(&p->tuple.source, family) & ADDRESS_NODE))
			return PASS_NOT_OURS;
		address_flags &= ~ADDRESS_NODE_PORT;
	}
	if (!(address_flags & (ADDRESS_FRONTEND | ADDRESS_NODE_PORT)))
		return address_flags & ADDRESS_NODE ? PASS_NOT_OURS : not_ours(p, s, family);
	if (!asked)
		found = find_frontend(&p->tuple.destination, p->tuple.destination_port, p->tuple.protocol, address_flags, &scratch->frontend,
				      family);
	/* A client that uses the port of a flow of ours again stays ours: who comes after us knows nothing of how that one ended */
	if (found && s->flags & SETTING_YIELD && !flow)
		return p->tuple.protocol == IPPROTO_TCP && !opens(p) ? PASS_NO_FLOW : PASS_YIELDED;
	if (found) {
		enum verdict verdict = start_flow(ctx, scratch, client_of(p, s, hook, family), s, hook, family);

		count_service(scratch->frontend.id, verdict);
		return verdict;
	}
	if (!(address_flags & ADDRESS_CLUSTER_IP))
		return PASS_NOT_OURS; /* never touch the other ports of external addresses: they are not ours (0.3) */
	if (p->tuple.protocol == IPPROTO_TCP && !opens(p))
		return PASS_NO_FLOW;
	return s->flags & SETTING_YIELD ? PASS_YIELDED : REJECT_UNOWNED_PORT;
}

/* Answers a packet that goes no further: VERDICT_CONTINUE, or why there is no answer. */
static __always_inline enum verdict reject(ctx_t *ctx, struct scratch *scratch, enum verdict why, const struct settings *s, const enum hook hook,
					   const int family)
{
	const struct packet *p = &scratch->packet;
	enum icmp_error error = why == REJECT_TTL_EXPIRED ? ICMP_ERROR_TIME_EXCEEDED
			      : why == REJECT_TOO_BIG	  ? ICMP_ERROR_TOO_BIG
							  : ICMP_ERROR_PORT_UNREACHABLE;
	struct address from = p->tuple.destination; /* the VIP (4.1) */
	enum verdict verdict;

	if (error != ICMP_ERROR_PORT_UNREACHABLE) {
		const struct device *device = find_device(ctx_ifindex(ctx));

		if (device) {
			struct address own = device_address(device, family);

			if (!is_unspecified(&own, family))
				from = own; /* we are the router that says it */
		}
	}
	if (why == REJECT_GONE_BACKEND)
		verdict = build_reset(ctx, p, scratch->quote, family);
	else
		verdict = build_icmp_error(ctx, p, error, &from, p->mtu, scratch->quote, family);
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	/* Out of the device it came from: its source may be an address of ours, which the stack would take for a martian */
	return turn_around(ctx, p->l3, s, hook == HOOK_NIC_EGRESS || hook == HOOK_POD_EGRESS ? BPF_F_INGRESS : 0, &scratch->action);
}

/* verifier: as claim_tuple. */
__noinline int reject_packet(ctx_t *ctx, __u32 why, __u32 hook, __u32 family)
{
	__u32 zero = 0;
	const struct settings *s = bpf_map_lookup_elem(&settings, &zero);
	struct scratch *room = bpf_map_lookup_elem(&scratch, &zero);

	if (!s || !room)
		return DROP_NOT_WRITABLE;
	if (family == 4)
		return reject(ctx, room, why, s, hook, 4);
	return reject(ctx, room, why, s, hook, 6);
}

/* One packet at one hook: the hook's action. l3: length of the device's link-layer header. pass, drop: the hook's words. */
static __always_inline int serve(ctx_t *ctx, const __u32 l3, const enum hook hook, const int family, const int pass, const int drop)
{
	__u32 zero = 0;
	const struct settings *s = bpf_map_lookup_elem(&settings, &zero);
	struct scratch *room = bpf_map_lookup_elem(&scratch, &zero);
	enum verdict verdict;

	if (!s || !room)
		return pass;
	if (ctx_take_mark(ctx, s->mark)) {
		count_verdict(PASS_OWN, hook);
		return pass;
	}
	verdict = parse(ctx, &room->packet, l3, family);
	if (verdict == VERDICT_CONTINUE)
		verdict = decide(ctx, room, s, hook, family);
	if (verdict >= REJECT_NO_ENDPOINTS) {
		enum verdict failure = reject_packet(ctx, verdict, hook, family);

		if (failure != VERDICT_CONTINUE)
			verdict = failure;
	}
	count_verdict(verdict, hook);
	return action_of(verdict, room->action, pass, drop);
}
