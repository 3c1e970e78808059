/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The page between control/ and bpf/: every map, key, value, enum and limit.
 *
 * Nothing else is shared. A layout, a limit, a flag or a verdict is written once, here;
 * control/abi/generate reads it back from the BTF of the compiled objects.
 *
 * Rules of the page:
 *  - Byte order is the typedef: __be16, __be32, addr4 and addr6 are network order, all else is host order.
 *  - Padding is a named field (pad…) and zero: keys are compared byte by byte.
 *  - A limit is a max_entries or an array length, a flag or a reason is an enum: BTF carries no #define.
 *  - max_entries of the maps that grow with a cluster are defaults; the agent may set them at load (mapSizes).
 */
#pragma once

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef __be32 addr4;
typedef struct {
	__be32 word[4];
} addr6; /* IPv4 inside an addr6 is IPv4-mapped (::ffff:a.b.c.d, RFC 4291 2.5.5.2) */

/* ---- verdicts: every outcome a packet or a socket call can have ------------------------------------------------- */

/* pass: to the kernel's stack; forward: sent on by us; drop: discarded; reject: discarded and told. */
enum verdict {
	VERDICT_CONTINUE = 0, /* not an outcome: the next stage decides */

	PASS_NOT_IP, /* not IPv4 or IPv6, or carries a VLAN tag: belongs to another device */
	PASS_NOT_OURS, /* no frontend, no flow */
	PASS_MALFORMED, /* headers do not parse; untouched, the stack judges */
	PASS_TO_TC, /* XDP: ours, but not XDP's to finish; untouched, tc decides */
	PASS_OWN, /* a packet that another of our hooks already finished */
	PASS_NO_FLOW, /* TCP without SYN, no flow and no Maglev table to ask: untouched */
	PASS_YIELDED, /* a new flow, left to whoever comes after us: we take none (SETTING_YIELD) */
	PASS_REPLY, /* reply of a flow that is translated at the egress towards its client */
	PASS_SOCKET, /* socket hook: not for us */
	PASS_ABSTAIN, /* socket hook: a frontend, but left to the per-packet path, which knows the source */
	PASS_SELF_TEST, /* socket hook: the agent's own probe */

	TRANSLATE_REQUEST, /* destination rewritten, then the kernel's stack routes it */
	TRANSLATE_REPLY, /* source rewritten back to the frontend, the stack's own way */
	TRANSLATE_SOCKET, /* connect or sendmsg: destination rewritten before any packet */
	TRANSLATE_SOCKET_REPLY, /* recvmsg or getpeername: the frontend is shown again */
	FORWARD_REQUEST, /* translated, masqueraded and sent by us */
	FORWARD_REPLY, /* both undone and sent by us */
	FORWARD_HAIRPIN, /* client and backend are one pod: turned around at its interface, either direction */

	DROP_NO_LOCAL_BACKEND, /* Local policy and none here (semantics 0.1) */
	DROP_SOURCE_RANGE, /* loadBalancerSourceRanges (7.1) */
	DROP_UNASSIGNED, /* an address in a ServiceCIDR that no Service has (4.4) */
	DROP_FRAGMENT, /* fragment of a translated flow: not yet translated, so never half */
	DROP_ICMP_ERROR, /* ICMP error about a translated flow: likewise */
	DROP_NO_SNAT_PORT, /* every probed masquerade port is taken */
	DROP_NO_SNAT_ADDRESS, /* the egress device has no address of that family */
	DROP_TABLE_FULL, /* a flow could not be remembered */
	DROP_NO_ROUTE, /* the kernel knows no way to the backend or client */
	DROP_STALE_SLOT, /* a slot names no backend: the maps are inconsistent (a bug) */
	DROP_NOT_WRITABLE, /* the kernel refused a rewrite */

	REJECT_NO_ENDPOINTS, /* no usable endpoint anywhere (4.1) */
	REJECT_UNOWNED_PORT, /* a port that the Service of this ClusterIP does not have (4.4) */
	REJECT_TTL_EXPIRED, /* time exceeded, for a packet that we would have forwarded */
	REJECT_TOO_BIG, /* frag needed or packet too big, likewise */
	REJECT_GONE_BACKEND, /* TCP to or from a backend that is in no slice any more: answered with RST (9.4) */

	VERDICT_COUNT,
};

/* Where a verdict was reached. */
enum hook {
	HOOK_NIC_INGRESS = 0, /* tc: NICs and tunnel devices */
	HOOK_NIC_EGRESS,
	HOOK_POD_INGRESS, /* tc: host side of a pod's interface; ingress is what the pod sends */
	HOOK_POD_EGRESS,
	HOOK_XDP,
	HOOK_CONNECT, /* cgroup */
	HOOK_SENDMSG,
	HOOK_RECVMSG,
	HOOK_GETPEERNAME,
	HOOK_COUNT,
};

struct verdict_count {
	__u64 packets[HOOK_COUNT];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICT_COUNT);
	__type(key, __u32); /* enum verdict; the kernel wants an integer's BTF for an array's key */
	__type(value, struct verdict_count);
} verdicts SEC(".maps");

/* What became of those that asked for a Service port: by the verdict on a new flow's first packet, or on a socket's call. */
struct service_count {
	__u64 flows; /* given a backend; again where a first packet is sent again before anybody answered */
	__u64 no_endpoints; /* REJECT_NO_ENDPOINTS */
	__u64 no_local_backend; /* DROP_NO_LOCAL_BACKEND */
	__u64 source_range; /* DROP_SOURCE_RANGE */
	__u64 others; /* any other drop */
};

/* Made by the first who asks, deleted by the agent when no frontend has the id. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32); /* frontend.id */
	__type(value, struct service_count);
} service_counts SEC(".maps");

/* ---- what the control plane says -------------------------------------------------------------------------------- */

/* A run of slots. For a Maglev table count is its prime size. count 0: none. */
struct slice {
	__u32 first;
	__u32 count;
};

enum frontend_flag {
	FRONTEND_CLUSTER_IP = 1 << 0, /* internal: iTP counts. Without it external: eTP counts */
	FRONTEND_LOCAL = 1 << 1, /* the policy that counts here is Local */
	FRONTEND_HAS_ENDPOINTS = 1 << 2, /* "any" of semantics 0.1: some endpoint somewhere is usable */
	FRONTEND_AFFINITY = 1 << 3, /* sessionAffinity: ClientIP */
	FRONTEND_SOURCE_RANGES = 1 << 4, /* new clients must be in source_ranges */
	FRONTEND_SELF_ALLOWED = 1 << 5, /* a range holds the node's primary address: the VIP itself is allowed as source (7.2) */
	FRONTEND_NODE_PORT = 1 << 6, /* the key's address is unspecified: any NodePort address of this node */
};

struct frontend_key4 {
	addr4 address; /* 0.0.0.0 for a NodePort */
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 pad;
};

struct frontend_key6 {
	addr6 address; /* :: for a NodePort */
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct frontend {
	__u32 id; /* of the Service port and family: shared by all its frontends; names affinity and source ranges */
	__u32 flags; /* enum frontend_flag */
	struct slice cluster; /* C of semantics 0: backends for Cluster policy, ascending backend ids */
	struct slice local; /* L: backends for Local policy, ascending backend ids */
	struct slice cluster_table; /* Maglev over C; none for ClusterIP-only Service ports */
	struct slice local_table; /* Maglev over L */
	__u32 affinity_seconds; /* 1..86400 where FRONTEND_AFFINITY */
	__u32 check; /* exclusive or of all words above: an element that is reused while it is read is noticed */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct frontend_key4);
	__type(value, struct frontend);
} frontends4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct frontend_key6);
	__type(value, struct frontend);
} frontends6 SEC(".maps");

/* Index of backends4 or backends6, by the family of the frontend that points here. 0 is no backend. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* kernel 5.5 */
	__uint(max_entries, 4194304);
	__type(key, __u32);
	__type(value, __u32);
} slots SEC(".maps");

enum backend_flag {
	BACKEND_LIVE = 1 << 0, /* the endpoint exists, whatever its conditions */
	BACKEND_SERVING = 1 << 1, /* and serves (terminating or not): UDP flows stay (9.2) */
	BACKEND_LOCAL = 1 << 2, /* runs on this node */
	BACKEND_HOST = 1 << 3, /* its address is this node's own (hostNetwork): the stack delivers it */
};

struct backend4 {
	addr4 address;
	__be16 port;
	__u8 protocol;
	__u8 flags; /* enum backend_flag; 0: the id is free */
	__u32 generation; /* grows when the id is given to another address:port:protocol */
};

struct backend6 {
	addr6 address;
	__be16 port;
	__u8 protocol;
	__u8 flags;
	__u32 generation;
};

/* By backend id. Entry 0 stays empty. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 262144);
	__type(key, __u32);
	__type(value, struct backend4);
} backends4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 262144);
	__type(key, __u32);
	__type(value, struct backend6);
} backends6 SEC(".maps");

/* What a destination address is to us: the first question about every packet, and the answer "nothing" ends it. */
enum address_flag {
	ADDRESS_NODE = 1 << 0, /* assigned to a device of this node */
	ADDRESS_NODE_PORT = 1 << 1, /* NodePorts are served on it (8.1) */
	ADDRESS_FRONTEND = 1 << 2, /* some frontend has it */
	ADDRESS_CLUSTER_IP = 1 << 3, /* an active ClusterIP: ports it does not own are rejected (4.4) */
	ADDRESS_RETIRED = 1 << 4, /* its last frontend is gone, its flows may live on (9.1) */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, addr4);
	__type(value, __u32);
} addresses4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, addr6);
	__type(value, __u32);
} addresses6 SEC(".maps");

/* Source ranges of the frontends that have FRONTEND_SOURCE_RANGES: present means allowed. */
struct source_range_key4 {
	__u32 prefix_length; /* 32 for the frontend id + the range's own length */
	__be32 frontend; /* frontend.id, network order: the trie matches from the first byte */
	addr4 address;
};

struct source_range_key6 {
	__u32 prefix_length;
	__be32 frontend;
	addr6 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct source_range_key4);
	__type(value, __u32); /* 1 */
} source_ranges4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct source_range_key6);
	__type(value, __u32); /* 1 */
} source_ranges6 SEC(".maps");

enum device_flag {
	DEVICE_XDP = 1 << 0, /* native XDP runs on it: XDP may redirect frames to it */
};

/* The devices a packet can leave by, by ifindex. */
struct device {
	addr6 address6; /* masquerade address of that family; unspecified: none */
	addr4 address4;
	__u32 mtu;
	__u8 mac[6];
	__u16 flags; /* enum device_flag */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct device);
} devices SEC(".maps");

/* One bit per port: set where a masquerade may use it. Bit (port & 63) of word (port >> 6). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} snat_ports SEC(".maps");

struct prefix4 {
	addr4 network;
	addr4 mask;
};

struct prefix6 {
	addr6 network;
	addr6 mask;
};

enum setting_flag {
	SETTING_MASQUERADE_ALL = 1 << 0, /* masqueradeAll: every ClusterIP request (0.2) */
	SETTING_LOCAL_BY_PREFIX = 1 << 1, /* a local pod is a source in local4/local6; else: what enters by a pod interface (14.2) */
	SETTING_SOCKET_PODS = 1 << 2, /* the socket hook serves pods (TCP) */
	SETTING_SOCKET_HOST = 1 << 3, /* the socket hook serves the node's own processes (TCP and UDP) */
	SETTING_EXEMPT_CGROUPS = 1 << 4, /* exempt_cgroups holds some: ask before a call is translated */
	SETTING_YIELD = 1 << 5, /* no new flow is taken: it goes to whoever comes after us, another version of us or another proxy (15.3, 15.7) */
	SETTING_OTHERS_FLOWS = 1 << 6, /* others translated connections before us: TCP in its middle that no flow knows is theirs (15.5) */
};

/* What holds for every packet. Times are in jiffies, the clock that costs nothing. */
struct settings {
	__u64 host_netns_cookie; /* of the node's own network namespace */
	__u32 flags; /* enum setting_flag */
	__u32 jiffies_per_second;
	__u32 tcp_syn_timeout; /* a TCP flow that no reply has confirmed */
	__u32 tcp_established_timeout;
	__u32 tcp_close_timeout; /* FIN seen both ways, or RST */
	__u32 udp_timeout; /* a UDP flow that no reply has confirmed */
	__u32 udp_stream_timeout;
	__u32 next_hop_age; /* a next hop older than this is looked up again, and the packet goes the kernel's neighbour way */
	__u32 route_generation; /* grows with every change of routes, links or addresses: remembered next hops end */
	__u32 mark; /* skb mark bit of packets that we sent ourselves; cleared by our egress hook */
	__u16 snat_first; /* masquerade ports, inclusive; snat_ports says which of them */
	__u16 snat_last;
	__u32 service_count4; /* used entries of the arrays below */
	__u32 service_count6;
	__u32 local_count4;
	__u32 local_count6;
	__u32 pad;
	struct prefix4 service4[8]; /* ServiceCIDRs: unassigned addresses inside are dropped (4.4) */
	struct prefix4 local4[8]; /* detect-local by CIDR (14.2) */
	struct prefix6 service6[8];
	struct prefix6 local6[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* ---- what the datapath remembers -------------------------------------------------------------------------------- */

enum flow_flag {
	FLOW_REPLY = 1 << 0, /* this entry is the reply direction, backend to client */
	FLOW_EGRESS = 1 << 1, /* acts at an egress hook; without it at an ingress hook */
	FLOW_SEND = 1 << 2, /* bypass: sent by us; without it the stack carries it */
	FLOW_HAIRPIN = 1 << 3, /* turned around at the pod's interface */
	FLOW_NODE = 1 << 4, /* the client is this node, seen at a NIC's egress */
	FLOW_CONFIRMED = 1 << 5, /* a reply was seen */
	FLOW_FIN = 1 << 6, /* FIN seen in this direction */
	FLOW_PEER_FIN = 1 << 7, /* FIN seen in the other direction */
	FLOW_RST = 1 << 8, /* RST seen in either direction */
	FLOW_RESET = 1 << 9, /* set by control: the backend is gone for good, this direction's next packet is answered with RST */
};

/* A packet's tuple as it arrives at our hook. No interface in it. */
struct flow_key4 {
	addr4 source;
	addr4 destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 pad[3];
};

struct flow_key6 {
	addr6 source;
	addr6 destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 pad[3];
};

/*
 * One direction of a flow, enough to rewrite it: source … destination_port are the tuple after the rewrite.
 * The other direction's key is that tuple reversed. All but the addresses lie alike in flow4 and flow6.
 */
struct flow4 {
	__u32 frontend; /* frontend.id */
	__u32 backend; /* backend id … */
	__u32 generation; /* … and its generation when it was chosen */
	__u32 seen; /* low 32 bits of jiffies64 at the last packet of this direction */
	__u32 ifindex; /* bypass: device to send by; FLOW_NODE: device whose ingress the reply must seem to enter */
	__u32 route_generation; /* settings.route_generation when next_hop was looked up; 0: look it up */
	__u32 resolved; /* low 32 bits of jiffies64 when next_hop was looked up */
	__u16 mtu; /* of the way to next_hop */
	__u16 flags; /* enum flow_flag */
	__be16 source_port;
	__be16 destination_port;
	__u8 destination_mac[6]; /* as in a frame. Bypass: what XDP sends with, zero while the neighbour is not resolved; */
	__u8 source_mac[6]; /* stack flows of a pod: as its request carried them, for replies that a bridge would short-cut */
	addr4 source;
	addr4 destination;
	addr4 next_hop;
};

struct flow6 {
	__u32 frontend;
	__u32 backend;
	__u32 generation;
	__u32 seen;
	__u32 ifindex;
	__u32 route_generation;
	__u32 resolved;
	__u16 mtu;
	__u16 flags;
	__be16 source_port;
	__be16 destination_port;
	__u8 destination_mac[6];
	__u8 source_mac[6];
	addr6 source;
	addr6 destination;
	addr6 next_hop;
};

/*
 * The way to a backend as the kernel's routes had it: what every flow from outside to it can use, so that a new one asks no
 * route. Written by tc, which asks; a packet of another device, a new generation or the age makes it ask again. All but
 * the addresses lie alike in next_hop4 and next_hop6.
 */
struct next_hop4 {
	__u32 check; /* exclusive or of all words below: an entry that is read while it is written is noticed */
	__u32 backend; /* backend id … */
	__u32 generation; /* … and its generation: whose way this is */
	__u32 entered; /* ifindex of the device by which the packet came for which it was looked up */
	__u32 ifindex; /* device to send by */
	__u32 route_generation; /* settings.route_generation when it was looked up; 0: not remembered */
	__u32 resolved; /* low 32 bits of jiffies64 when it was looked up */
	__u16 mtu; /* of the way; 0: not known */
	__u16 pad;
	__u8 destination_mac[6]; /* as in a frame; zero while the neighbour is not resolved */
	__u8 source_mac[6];
	addr4 address; /* of the neighbour */
	addr4 source; /* masquerade address of the device to send by; unspecified: it has none */
};

struct next_hop6 {
	__u32 check;
	__u32 backend;
	__u32 generation;
	__u32 entered;
	__u32 ifindex;
	__u32 route_generation;
	__u32 resolved;
	__u16 mtu;
	__u16 pad;
	__u8 destination_mac[6];
	__u8 source_mac[6];
	addr6 address;
	addr6 source;
};

/* By the lower 16 bits of the backend id. Two backends that share an entry look their ways up in turn. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct next_hop4);
} next_hops4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct next_hop6);
} next_hops6 SEC(".maps");

/* Confirmed flows, and the reply of every flow that is masqueraded or the node's own. Expired by the agent, never evicted: a flood ends none of them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct flow_key4);
	__type(value, struct flow4);
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct flow_key6);
	__type(value, struct flow6);
} flows6 SEC(".maps");

/*
 * Flows that no reply has confirmed yet: their requests, and the replies that are translated at an egress. A request is left out
 * where its next packet would be given the same backend and port without it (start_flow).
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct flow_key4);
	__type(value, struct flow4);
} new_flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key6);
	__type(value, struct flow6);
} new_flows6 SEC(".maps");

enum client_kind {
	CLIENT_ADDRESS = 0, /* a source address */
	CLIENT_NETNS = 1, /* a network namespace: the socket hook has no source (5.4) */
};

struct affinity_key {
	__u32 frontend; /* frontend.id */
	__u32 kind; /* enum client_kind */
	addr6 client; /* the address, or the netns cookie in word[0] (low) and word[1] (high), host order */
};

struct affinity {
	__u32 backend;
	__u32 generation;
	__u32 seen; /* low 32 bits of jiffies64 when a new connection last used it */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} affinities SEC(".maps");

enum socket_direction {
	SOCKET_REQUEST = 0, /* key: what the process asked for. value: the backend it gets */
	SOCKET_REPLY = 1, /* key: the backend. value: what the process asked for */
};

struct socket_key {
	__u64 cookie; /* of the socket */
	addr6 address;
	__be16 port;
	__u8 protocol;
	__u8 direction; /* enum socket_direction */
	__u32 pad;
};

struct socket_flow {
	addr6 address;
	__be16 port;
	__u16 pad;
	__u32 frontend; /* frontend.id */
	__u32 backend;
	__u32 generation;
	__u32 seen; /* low 32 bits of jiffies64 at the last use */
};

/* What the socket hook translated: TCP and connected UDP by connect, other UDP by sendmsg. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct socket_key);
	__type(value, struct socket_flow);
} socket_flows SEC(".maps");

/* Processes in or below these cgroups are left alone by the socket hook (10.2), by cgroup v2 id. Their packets are served. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32); /* 1 */
} exempt_cgroups SEC(".maps");

/* ---- what control asks the datapath once ------------------------------------------------------------------------ */

/*
 * Written by the connect hook when a process connects UDP to 192.0.2.1:9 or [2001:db8::1]:9 (documentation addresses,
 * no packet is sent), and by the tc program probe_clock when it is run. The agent's proof that the cgroup hook sees
 * it, and where it learns its namespace's cookie and the length of a jiffy.
 */
struct self_test {
	__u64 runs;
	__u64 netns_cookie; /* 0 where probe_clock ran */
	__u64 jiffies;
	__u64 ktime_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct self_test);
} self_tests SEC(".maps");

/* Kernel features, probed by control and set before load: the verifier removes what a kernel lacks. */
struct features {
	__u8 set_retval; /* bpf_set_retval in cgroup sock_addr programs: ECONNREFUSED instead of EPERM */
	__u8 checksum_ipv6; /* BPF_F_IPV6 of bpf_l4_csum_replace */
	__u8 pad[6];
};

extern const volatile struct features features;

_Static_assert(sizeof(struct frontend_key4) == 8, "frontend_key4");
_Static_assert(sizeof(struct frontend_key6) == 20, "frontend_key6");
_Static_assert(sizeof(struct flow_key4) == 16, "flow_key4");
_Static_assert(sizeof(struct flow_key6) == 40, "flow_key6");
_Static_assert(sizeof(struct source_range_key4) == 12, "source_range_key4");
_Static_assert(sizeof(struct source_range_key6) == 24, "source_range_key6");
_Static_assert(sizeof(struct affinity_key) == 24, "affinity_key");
_Static_assert(sizeof(struct socket_key) == 32, "socket_key");
