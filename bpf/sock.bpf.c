// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The cgroup doors: connect, sendmsg, recvmsg and getpeername of processes on the node. What is translated here costs
 * nothing per packet. Pods: TCP only (their UDP would stay pinned to backends that are gone); the node itself: TCP and UDP.
 *
 * Must: abstain where the source is needed and not known, or is not for us to choose. The per-packet path then decides.
 */
#include "verdict.h"
#include "frontend.h"
#include "backend.h"
#include <linux/in.h>

const volatile struct features features SEC(".rodata.features");

#define ECONNREFUSED 111

typedef struct bpf_sock_addr call_t;

/* Where a call goes, or where a datagram or peer is. */
struct endpoint {
	struct address address;
	__be16 port;
	__u8 protocol;
};

static __always_inline bool is_mapped4(const call_t *call)
{
	return call->user_ip6[0] == 0 && call->user_ip6[1] == 0 && call->user_ip6[2] == bpf_htonl(0xffff);
}

static __always_inline struct endpoint endpoint_of(const call_t *call, const int family, const bool socket6)
{
	struct endpoint e = { .port = call->user_port, .protocol = call->protocol };

	if (!socket6)
		e.address = address_of4(call->user_ip4);
	else if (family == 4) /* an IPv6 socket that speaks IPv4 (3.12) */
		e.address = address_of4(call->user_ip6[3]);
	else {
		e.address.word[0] = call->user_ip6[0];
		e.address.word[1] = call->user_ip6[1];
		e.address.word[2] = call->user_ip6[2];
		e.address.word[3] = call->user_ip6[3];
	}
	return e;
}

static __always_inline void point_to(call_t *call, const struct address *address, __be16 port, const int family, const bool socket6)
{
	if (!socket6) {
		call->user_ip4 = address->word[0];
	} else if (family == 4) {
		call->user_ip6[3] = address->word[0];
		call->user_ip6[2] = bpf_htonl(0xffff); /* also where the process said :: */
		call->user_ip6[1] = 0;
		call->user_ip6[0] = 0;
	} else {
		call->user_ip6[0] = address->word[0];
		call->user_ip6[1] = address->word[1];
		call->user_ip6[2] = address->word[2];
		call->user_ip6[3] = address->word[3];
	}
	call->user_port = port;
}

static __always_inline bool is_loopback(const struct address *a, const int family)
{
	if (family == 4)
		return (a->word[0] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !a->word[0] && !a->word[1] && !a->word[2] && a->word[3] == bpf_htonl(1);
}

/* Is the socket bound to an address of its own choice? */
static __always_inline bool is_bound(const call_t *call, const bool socket6)
{
	struct bpf_sock *sk = call->sk;

	if (!sk)
		return false;
	if (!socket6)
		return sk->src_ip4;
	return sk->src_ip4 || sk->src_ip6[0] || sk->src_ip6[1] || sk->src_ip6[2] || sk->src_ip6[3];
}

static __always_inline struct socket_key socket_key_of(__u64 cookie, const struct address *a, __be16 port, __u8 protocol, __u8 direction,
						       const int family)
{
	struct socket_key key = {
		.cookie = cookie,
		.address = mapped_of(a, family),
		.port = port,
		.protocol = protocol,
		.direction = direction,
	};
	return key;
}

/* The backend that this socket already uses for this destination, if it still serves: UDP sticks per socket (10.1). */
static __always_inline bool recall_choice(const struct socket_key *key, struct backend *out, const int family)
{
	struct socket_flow *flow = bpf_map_lookup_elem(&socket_flows, key);

	if (!flow)
		return false;
	load_backend(flow->backend, out, family);
	if (!(out->flags & BACKEND_SERVING) || out->generation != flow->generation)
		return false;
	flow->seen = now_jiffies();
	return true;
}

/* Is a destination of the node's own process one of its NodePort addresses in disguise? 127.0.0.0/8, ::1, unspecified (8.4). */
static __always_inline bool is_localhost(const struct address *a, const int family)
{
	return is_loopback(a, family) || is_unspecified(a, family);
}

/* Cgroups that may stand above a process and be named: kubelet's nest four or five deep. */
#define CGROUP_LEVELS 12

/* Is the calling process in a cgroup that is left alone, or below one (10.2)? */
static __always_inline bool is_exempt(void)
{
	for (int level = 1; level <= CGROUP_LEVELS; level++) {
		__u64 id = bpf_get_current_ancestor_cgroup_id(level);

		if (!id)
			return false;
		if (bpf_map_lookup_elem(&exempt_cgroups, &id))
			return true;
	}
	return false;
}

static __always_inline bool self_test(const call_t *call, const struct endpoint *to, const int family)
{
	const struct address documentation6 = { .word = { bpf_htonl(0x20010db8), 0, 0, bpf_htonl(1) } };
	const struct address documentation4 = { .word = { bpf_htonl(0xc0000201), 0, 0, 0 } };
	__u32 zero = 0;
	struct self_test *test;

	if (to->protocol != IPPROTO_UDP || to->port != bpf_htons(9))
		return false;
	if (!same_address(&to->address, family == 4 ? &documentation4 : &documentation6, family))
		return false;
	test = bpf_map_lookup_elem(&self_tests, &zero);
	if (test) {
		test->netns_cookie = bpf_get_netns_cookie((void *)call);
		test->jiffies = bpf_jiffies64();
		test->ktime_ns = bpf_ktime_get_ns();
		test->runs++;
	}
	return true;
}

/* Chooses a backend for a call and points it there. */
static __always_inline enum verdict translate(call_t *call, const enum hook hook, const int family, const bool socket6)
{
	__u32 zero = 0;
	const struct settings *s = bpf_map_lookup_elem(&settings, &zero);
	struct endpoint to = endpoint_of(call, family, socket6);
	struct socket_key key;
	struct socket_flow flow = {};
	struct frontend frontend;
	struct backend backend;
	struct slice slice, table;
	enum verdict verdict;
	__u32 address_flags;
	__u64 cookie, netns;
	bool node;

	if (hook == HOOK_CONNECT && self_test(call, &to, family))
		return PASS_SELF_TEST;
	if (!s || (to.protocol != IPPROTO_TCP && to.protocol != IPPROTO_UDP))
		return PASS_SOCKET;
	address_flags = lookup_address(&to.address, family);
	if (!address_flags && !is_localhost(&to.address, family))
		return PASS_SOCKET;
	netns = bpf_get_netns_cookie(call);
	node = netns == s->host_netns_cookie;
	if (!(s->flags & (node ? SETTING_SOCKET_HOST : SETTING_SOCKET_PODS)))
		return PASS_SOCKET;
	if (!node && to.protocol != IPPROTO_TCP)
		return PASS_SOCKET;
	if (is_localhost(&to.address, family)) {
		if (!node) /* a pod's own loopback */
			return PASS_SOCKET;
		address_flags = ADDRESS_NODE_PORT;
	}
	if (!find_frontend(&to.address, to.port, to.protocol, address_flags, &frontend, family))
		return PASS_SOCKET;

	cookie = bpf_get_socket_cookie(call);
	key = socket_key_of(cookie, &to.address, to.port, to.protocol, SOCKET_REQUEST, family);
	/* Only a socket that sends without connect has state that goes on; whatever else calls begins anew */
	if (s->flags & SETTING_YIELD && (hook != HOOK_SENDMSG || !bpf_map_lookup_elem(&socket_flows, &key)))
		return PASS_YIELDED;
	if (is_bound(call, socket6))
		return PASS_ABSTAIN;
	if (s->flags & SETTING_EXEMPT_CGROUPS && is_exempt())
		return PASS_ABSTAIN;
	if (!node && frontend.flags & FRONTEND_CLUSTER_IP && s->flags & SETTING_MASQUERADE_ALL)
		return PASS_ABSTAIN;
	if (frontend.flags & FRONTEND_SOURCE_RANGES) {
		/* Only to a VIP that the node has itself is the source sure: the VIP (7.2) */
		if (!node || !(address_flags & ADDRESS_NODE))
			return PASS_ABSTAIN;
		if (!(frontend.flags & FRONTEND_SELF_ALLOWED) && !lookup_source_range(frontend.id, &to.address, family)) {
			count_service(frontend.id, DROP_SOURCE_RANGE);
			return DROP_SOURCE_RANGE;
		}
	}

	verdict = choose_slice(&frontend, node ? CLIENT_NODE : CLIENT_POD, &slice, &table);
	if (verdict == DROP_NO_LOCAL_BACKEND) /* a drop is silence, a refused call is not: the packet path keeps silent */
		return PASS_ABSTAIN;
	if (verdict != VERDICT_CONTINUE) {
		count_service(frontend.id, verdict);
		return verdict;
	}

	if (hook != HOOK_SENDMSG || !recall_choice(&key, &backend, family)) {
		struct affinity_key client = { .frontend = frontend.id, .kind = CLIENT_NETNS };

		client.client.word[0] = (__u32)netns;
		client.client.word[1] = netns >> 32;
		verdict = select_backend(&frontend, &client, &slice, &table, 0, false, s->jiffies_per_second, &backend, family);
		if (verdict != VERDICT_CONTINUE)
			return verdict;
		flow.frontend = frontend.id;
		flow.backend = backend.id;
		flow.generation = backend.generation;
		flow.seen = now_jiffies();
		if (hook == HOOK_SENDMSG) {
			flow.address = mapped_of(&backend.address, family);
			flow.port = backend.port;
			bpf_map_update_elem(&socket_flows, &key, &flow, BPF_ANY); /* lost: the next datagram picks again */
		}
		key = socket_key_of(cookie, &backend.address, backend.port, to.protocol, SOCKET_REPLY, family);
		flow.address = mapped_of(&to.address, family);
		flow.port = to.port;
		/* Without it a UDP answer would show the backend as its sender, and the process would not take it */
		if (bpf_map_update_elem(&socket_flows, &key, &flow, BPF_ANY) && to.protocol == IPPROTO_UDP)
			return DROP_TABLE_FULL;
		count_service(frontend.id, TRANSLATE_SOCKET);
	}
	point_to(call, &backend.address, backend.port, family, socket6);
	return TRANSLATE_SOCKET;
}

/* Shows the frontend where the kernel would show the backend. */
static __always_inline enum verdict translate_back(call_t *call, const int family, const bool socket6)
{
	struct endpoint from = endpoint_of(call, family, socket6);
	struct socket_key key =
		socket_key_of(bpf_get_socket_cookie(call), &from.address, from.port, from.protocol, SOCKET_REPLY, family);
	struct socket_flow *flow = bpf_map_lookup_elem(&socket_flows, &key);
	struct address shown;

	if (!flow)
		return PASS_SOCKET;
	if (family == 4)
		shown = address_of4(flow->address.word[3]);
	else
		shown = address_of6(&flow->address);
	flow->seen = now_jiffies();
	point_to(call, &shown, flow->port, family, socket6);
	return TRANSLATE_SOCKET_REPLY;
}

/* 1: the call goes on. 0: it fails, with ECONNREFUSED where the kernel lets us say so, else EPERM (4.3). */
static __always_inline int conclude_call(enum verdict verdict, const enum hook hook)
{
	count_verdict(verdict, hook);
	switch (verdict) {
	case REJECT_NO_ENDPOINTS:
	case DROP_SOURCE_RANGE:
	case DROP_STALE_SLOT:
	case DROP_TABLE_FULL:
		if (features.set_retval)
			bpf_set_retval(-ECONNREFUSED);
		return 0;
	default:
		return 1;
	}
}

SEC("cgroup/connect4")
int connect4(call_t *call)
{
	return conclude_call(translate(call, HOOK_CONNECT, 4, false), HOOK_CONNECT);
}

SEC("cgroup/connect6")
int connect6(call_t *call)
{
	if (is_mapped4(call))
		return conclude_call(translate(call, HOOK_CONNECT, 4, true), HOOK_CONNECT);
	return conclude_call(translate(call, HOOK_CONNECT, 6, true), HOOK_CONNECT);
}

SEC("cgroup/sendmsg4")
int sendmsg4(call_t *call)
{
	return conclude_call(translate(call, HOOK_SENDMSG, 4, false), HOOK_SENDMSG);
}

SEC("cgroup/sendmsg6")
int sendmsg6(call_t *call)
{
	if (is_mapped4(call))
		return conclude_call(translate(call, HOOK_SENDMSG, 4, true), HOOK_SENDMSG);
	return conclude_call(translate(call, HOOK_SENDMSG, 6, true), HOOK_SENDMSG);
}

SEC("cgroup/recvmsg4")
int recvmsg4(call_t *call)
{
	return conclude_call(translate_back(call, 4, false), HOOK_RECVMSG);
}

SEC("cgroup/recvmsg6")
int recvmsg6(call_t *call)
{
	if (is_mapped4(call))
		return conclude_call(translate_back(call, 4, true), HOOK_RECVMSG);
	return conclude_call(translate_back(call, 6, true), HOOK_RECVMSG);
}

SEC("cgroup/getpeername4")
int getpeername4(call_t *call)
{
	return conclude_call(translate_back(call, 4, false), HOOK_GETPEERNAME);
}

SEC("cgroup/getpeername6")
int getpeername6(call_t *call)
{
	if (is_mapped4(call))
		return conclude_call(translate_back(call, 4, true), HOOK_GETPEERNAME);
	return conclude_call(translate_back(call, 6, true), HOOK_GETPEERNAME);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
