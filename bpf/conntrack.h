/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which choice was made for this flow, and is it still good? Remembers and recalls both directions; knows the timeouts.
 *
 * Two homes: new_flows (LRU) until a reply is seen, flows (expired by the agent) from then on, so that a flood of new
 * flows ends no established one. The entry of one direction finds the other: its tuple reversed is the other's key.
 */
#pragma once

#include "addr.h"
#include "packet.h"

static __always_inline bool is_closed(const flow_t *flow)
{
	return flow->flags & FLOW_RST || (flow->flags & (FLOW_FIN | FLOW_PEER_FIN)) == (FLOW_FIN | FLOW_PEER_FIN);
}

static __always_inline bool is_expired(const flow_t *flow, __u8 protocol, const struct settings *s, __u32 now)
{
	bool confirmed = flow->flags & FLOW_CONFIRMED;
	__u32 timeout;

	if (protocol == IPPROTO_TCP)
		timeout = is_closed(flow) ? s->tcp_close_timeout : confirmed ? s->tcp_established_timeout : s->tcp_syn_timeout;
	else
		timeout = confirmed ? s->udp_stream_timeout : s->udp_timeout;
	/* signed: another CPU may have seen it after we read the clock */
	return (__s32)(now - flow->seen) > (__s32)timeout;
}

/* NULL: none. in_new: it stands in new_flows. */
static __always_inline flow_t *recall_flow(const union flow_key *key, bool *in_new, const int family)
{
	flow_t *flow = lookup_flow(key, family);

	*in_new = false;
	if (flow)
		return flow;
	*in_new = true;
	return lookup_new_flow(key, family);
}

/*
 * The entry of the other direction, NULL where it is gone. key: space for its key. A reply whose request was given to another
 * backend has none: that request is another flow's.
 */
static __always_inline flow_t *recall_peer(const flow_t *flow, __u8 protocol, union flow_key *key, const int family)
{
	struct tuple t = flow_tuple(flow, protocol, family);
	flow_t *peer;
	bool in_new;

	t = reversed(&t);
	flow_key_of(key, &t, family);
	peer = recall_flow(key, &in_new, family);
	return peer && peer->backend == flow->backend && peer->generation == flow->generation ? peer : 0;
}

/* Expired in both directions: UDP may stream one way for long. */
static __always_inline bool is_dead(const flow_t *flow, __u8 protocol, const struct settings *s, union flow_key *space, __u32 now,
				    const int family)
{
	flow_t *peer;

	if (!is_expired(flow, protocol, s, now))
		return false;
	peer = recall_peer(flow, protocol, space, family);
	return !peer || is_expired(peer, protocol, s, now);
}

/* Removes both directions. space: for the other direction's key. */
static __always_inline void forget_flow(const union flow_key *key, const flow_t *flow, __u8 protocol, union flow_key *space, const int family)
{
	struct tuple t = flow_tuple(flow, protocol, family);

	t = reversed(&t);
	flow_key_of(space, &t, family);
	delete_flow(space, family);
	delete_new_flow(space, family);
	delete_flow(key, family);
	delete_new_flow(key, family);
}

/*
 * Removes the request's entry alone: its client is to be given another backend, and answers of the old one that are on their
 * way still find the way back. What is left expires; as confirmed it does not make the old request anew.
 */
static __always_inline void forget_request(const union flow_key *key, const flow_t *request, __u8 protocol, union flow_key *space,
					   const int family)
{
	flow_t *reply = recall_peer(request, protocol, space, family);

	if (reply)
		reply->flags |= FLOW_CONFIRMED;
	delete_flow(key, family);
	delete_new_flow(key, family);
}

/* FIN and RST concern both entries of a flow. Rare, so the second look-up is paid here and not per packet. */
static __always_inline void note_close(const struct packet *p, flow_t *flow, union flow_key *space, const int family)
{
	__u16 own = 0, peers = 0;
	flow_t *peer;

	if (p->tcp_flags & TCP_RST)
		own = peers = FLOW_RST;
	if (p->tcp_flags & TCP_FIN) {
		own |= FLOW_FIN;
		peers |= FLOW_PEER_FIN;
	}
	if (!own || (flow->flags & own) == own)
		return;
	flow->flags |= own;
	peer = recall_peer(flow, IPPROTO_TCP, space, family);
	if (peer)
		peer->flags |= peers;
}

/* Is the packet that this entry makes, reversed, one of that tuple? Of a request's entry: do answers of this tuple lead back here? */
static __always_inline bool leads_back_to(const flow_t *flow, const struct tuple *tuple, const int family)
{
	struct tuple t = flow_tuple(flow, tuple->protocol, family);

	return t.source_port == tuple->destination_port && t.destination_port == tuple->source_port &&
	       same_address(&t.source, &tuple->destination, family) && same_address(&t.destination, &tuple->source, family);
}

#define EEXIST_ 17 /* EEXIST */

/*
 * The first reply: both entries move to flows. reply is the entry that the reply hit, key its key. Where flows is full
 * the flow stays in new_flows and works on; the next reply tries again.
 *
 * The request's entry is made of the reply's where there is none: it was left out, or the LRU has lost it. from: the
 * reply's tuple as it arrived, to: as it is rewritten. request_key, space: room for the request's entry.
 */
static __always_inline void confirm_flow(const union flow_key *key, flow_t *reply, bool in_new, const struct tuple *from, const struct tuple *to,
					 const struct settings *s, __u32 now, union flow_key *request_key, union flow_value *space,
					 const int family)
{
	struct tuple t = reversed(to);
	flow_t *request, *held;
	int error;

	flow_key_of(request_key, &t, family);
	request = lookup_new_flow(request_key, family);
	if (request && request->backend == reply->backend && request->generation == reply->generation && leads_back_to(request, from, family)) {
		request->flags |= FLOW_CONFIRMED; /* and it keeps its next hop */
	} else {
		request = (flow_t *)space;
		__builtin_memset(space, 0, sizeof(*space));
		t = reversed(from);
		set_flow_tuple(request, &t, family);
		request->frontend = reply->frontend;
		request->backend = reply->backend;
		request->generation = reply->generation;
		request->seen = reply->seen;
		/* the request acts where the reply does not, except for what is sent at ingress both ways */
		request->flags = (reply->flags & (FLOW_SEND | FLOW_HAIRPIN | FLOW_NODE)) | FLOW_CONFIRMED;
		if (reply->flags & FLOW_NODE)
			request->flags |= FLOW_EGRESS | FLOW_SEND;
		/* and ends with it: this answer may refuse the connection */
		request->flags |= reply->flags & FLOW_RST;
		if (reply->flags & FLOW_FIN)
			request->flags |= FLOW_PEER_FIN;
		if (reply->flags & FLOW_PEER_FIN)
			request->flags |= FLOW_FIN;
	}
	error = insert_flow(request_key, request, BPF_NOEXIST, family);
	if (error == -EEXIST_) {
		held = lookup_flow(request_key, family);
		/* The client speaks with another backend, or from another port: of two requests the one that was answered first counts */
		if (held && !leads_back_to(held, from, family) && !is_closed(held) && !is_expired(held, from->protocol, s, now))
			return;
		error = insert_flow(request_key, request, BPF_ANY, family);
	}
	if (error) {
		insert_new_flow(request_key, request, BPF_ANY, family);
		return;
	}
	reply->flags |= FLOW_CONFIRMED;
	if (in_new) {
		if (insert_flow(key, reply, BPF_ANY, family)) {
			reply->flags &= ~FLOW_CONFIRMED;
			insert_new_flow(request_key, request, BPF_ANY, family);
			delete_flow(request_key, family);
			return;
		}
		delete_new_flow(key, family);
	}
	delete_new_flow(request_key, family);
}

enum claim {
	CLAIM_OK, /* the flow has it, now or since an earlier packet */
	CLAIM_FIRST, /* new, and where the flow's next packet would look first */
	CLAIM_TAKEN, /* another live flow has this reply tuple */
	CLAIM_FULL,
};

/*
 * Takes the reply tuple key for the flow whose request is `request`: two flows never share one (9.11). durable: in flows, which
 * evicts nothing, for a masquerade's port and for the node's own; other replies wait in new_flows until they are confirmed.
 * Tried before it is looked up: nearly always it is free.
 */
static __always_inline enum claim claim_reply(const union flow_key *key, const flow_t *value, const struct tuple *request, bool durable,
					      const struct settings *s, union flow_key *space, const int family)
{
	flow_t *held = durable ? 0 : lookup_flow(key, family);
	__u32 now = value->seen;
	int error;

	if (!held) {
		error = durable ? insert_flow(key, value, BPF_NOEXIST, family) : insert_new_flow(key, value, BPF_NOEXIST, family);
		if (error != -EEXIST_)
			return error ? CLAIM_FULL : CLAIM_FIRST;
		if (durable)
			held = lookup_flow(key, family);
		else
			held = lookup_new_flow(key, family);
		if (!held) /* gone in this moment */
			return CLAIM_TAKEN;
	}
	if (leads_back_to(held, request, family)) {
		if (held->backend == value->backend && held->generation == value->generation && held->flags == value->flags) {
			held->seen = now; /* an earlier packet of this flow took it, and nothing came back yet */
			return CLAIM_OK;
		}
	} else if (!is_dead(held, request->protocol, s, space, now, family)) {
		return CLAIM_TAKEN;
	}
	forget_flow(key, held, request->protocol, space, family);
	if (durable) {
		error = insert_flow(key, value, BPF_NOEXIST, family);
		return !error ? CLAIM_OK : error == -EEXIST_ ? CLAIM_TAKEN : CLAIM_FULL;
	}
	return insert_new_flow(key, value, BPF_ANY, family) ? CLAIM_FULL : CLAIM_OK;
}
