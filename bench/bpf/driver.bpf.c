// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What does one packet cost a program under BPF_PROG_TEST_RUN? The restoring driver: before every iteration it undoes what the
 * program did to the last packet, makes it the next flow's, and tail-calls the program.
 *
 * Without it only the first iteration sees the packet that it is meant to see. Fields are written with the widths in which
 * programs read them, or every read would wait for the store buffer. The checksums of all flows are right: two fields that no
 * program reads, the IPv4 identification and the first two bytes of the payload, take up what addresses and ports change.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define FLOWS 16384 /* a power of two */
#define HEADERS 80  /* the bytes of a frame that are restored, and the least that a frame has */

struct turn {
	__u32 count;	/* flows of the table in use */
	__u32 stride;	/* less than count and coprime to it: every flow, in an order that no prefetcher guesses */
	__u32 fresh;	/* the client's address and port are new in every iteration, the table gives the port it asks for */
	__u32 at;	/* of the flow that was last */
	__u32 next;	/* number of the next fresh client */
	__u32 udp;
	__u64 rewritten; /* packets that came back with another destination address than they were given */
	__u8 pad[2];	/* the IP header begins on a word */
	__u8 frame[HEADERS];
	__u8 pad_end[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct turn);
} turns SEC(".maps");

/* As they stand in the packet: the last word of the source address, and both ports. */
struct flow {
	__be32 source;
	__be32 ports;
};

struct flows {
	struct flow flow[FLOWS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flows);
} driven_flows SEC(".maps");

/* The program under test, one of each type. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} xdp_target SEC(".maps"), tc_target SEC(".maps");

#define AT(type, base, offset) (*(type *)((base) + (offset)))
#define COPY(type, offset) (AT(type, packet, offset) = AT(type, frame, offset))

static __always_inline __u32 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline struct flow next_flow(struct turn *turn, const struct flows *flows, __be32 first)
{
	__u32 at = turn->at + turn->stride;
	struct flow flow;

	if (at >= turn->count)
		at -= turn->count;
	turn->at = at;
	flow = flows->flow[at & (FLOWS - 1)];
	if (turn->fresh) {
		__u32 client = turn->next++;

		flow.source = bpf_htonl(bpf_ntohl(first) + (client >> 15));
		flow.ports = (flow.ports & bpf_htonl(0xffff)) | bpf_htonl((1024 + (client & 0x7fff)) << 16);
	}
	return flow;
}

/* The next packet. data … end: the last one, still as the program left it. */
static __always_inline int make_packet(void *packet, void *end, const int family)
{
	const int source = family == 4 ? 26 : 34, l4 = family == 4 ? 34 : 54;
	const int destination = family == 4 ? 31 : 39; /* the second byte, in which all networks of the benchmark differ */
	__u32 zero = 0;
	struct turn *turn = bpf_map_lookup_elem(&turns, &zero);
	const struct flows *flows = bpf_map_lookup_elem(&driven_flows, &zero);
	struct flow flow;
	__u8 *frame;
	__u32 halves;

	if (!turn || !flows || packet + HEADERS > end)
		return -1;
	frame = turn->frame;
	/* One byte: a wider read of what was just written byte by byte would wait for the store buffer */
	if (AT(__u8, packet, destination) != AT(__u8, frame, destination))
		turn->rewritten++;
	flow = next_flow(turn, flows, AT(__be32, frame, source));
	COPY(__u32, 0);
	COPY(__u32, 4);
	COPY(__u32, 8);
	halves = (flow.source & 0xffff) + (flow.source >> 16);
	if (family == 4) {
		AT(__u16, packet, 18) = ~fold(halves);
		COPY(__u16, 22);
		COPY(__u16, 24);
		COPY(__u32, 30);
	} else {
		COPY(__u16, 20);
		COPY(__u32, 22);
		COPY(__u32, 26);
		COPY(__u32, 30);
		COPY(__u32, 38);
		COPY(__u32, 42);
		COPY(__u32, 46);
		COPY(__u32, 50);
	}
	AT(__u32, packet, source) = flow.source;
	AT(__u32, packet, l4) = flow.ports;
	halves = ~fold(halves + (flow.ports & 0xffff) + (flow.ports >> 16));
	if (turn->udp) {
		COPY(__u16, l4 + 6);
		AT(__u16, packet, l4 + 8) = halves;
	} else {
		COPY(__u16, l4 + 16);
		AT(__u16, packet, l4 + 20) = halves;
	}
	return 0;
}

#define DRIVERS(family)                                                                               \
	SEC("xdp")                                                                                    \
	int xdp_driver##family(struct xdp_md *ctx)                                                    \
	{                                                                                             \
		if (!make_packet((void *)(long)ctx->data, (void *)(long)ctx->data_end, family))       \
			bpf_tail_call(ctx, &xdp_target, 0);                                           \
		return -1;                                                                            \
	}                                                                                             \
                                                                                                      \
	SEC("tc")                                                                                     \
	int tc_driver##family(struct __sk_buff *ctx)                                                  \
	{                                                                                             \
		ctx->mark = 0;                                                                        \
		if (!make_packet((void *)(long)ctx->data, (void *)(long)ctx->data_end, family))       \
			bpf_tail_call(ctx, &tc_target, 0);                                            \
		return -2;                                                                            \
	}

DRIVERS(4)
DRIVERS(6)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
