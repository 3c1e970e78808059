/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What differs between XDP and tc: bounds, writes, checksums, redirects. Nothing else may, and nothing else asks which it is
 * but through IN_XDP, a constant.
 *
 * A door defines CTX_XDP before it includes anything to get the XDP half.
 */
#pragma once

#include "abi.h"
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#ifdef CTX_XDP
#define IN_XDP true
typedef struct xdp_md ctx_t;
#else
#define IN_XDP false
typedef struct __sk_buff ctx_t;
#endif

/* size bytes at offset, or NULL where they are not in the packet's linear part. */
static __always_inline void *ctx_at(ctx_t *ctx, __u32 offset, __u32 size)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if (data + offset + size > end)
		return 0;
	return data + offset;
}

/* The fold of a sum of 32-bit words to the 16 bits of RFC 1071, not complemented. */
static __always_inline __u16 fold16(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What a checksum over `before` must grow by for `after`, as a folded sum of 32-bit words (RFC 1624, equation 3). */
static __always_inline __u32 checksum_difference(const __be32 *before, const __be32 *after, const int words)
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < words; i++)
		sum += (__u64)(__u32)~before[i] + after[i];
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

#ifdef CTX_XDP

#define CTX_OFFSET_MAX 512 /* no header that we read starts further in; bounds what the verifier must believe */

static __always_inline __u32 ctx_length(ctx_t *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	long length = end - data;

	asm volatile("" : "+r"(length)); /* verifier: no 32-bit arithmetic on packet pointers */
	return length;
}

static __always_inline __u32 ctx_ifindex(ctx_t *ctx)
{
	return ctx->ingress_ifindex;
}

/* What XDP sends never comes back to a hook of ours. */
static __always_inline bool ctx_take_mark(ctx_t *ctx, __u32 mark)
{
	return false;
}

/* XDP has nothing but the linear part. */
static __always_inline void ctx_pull(ctx_t *ctx, __u32 size)
{
}

/*
 * ctx_at for an offset that is not a constant.
 * verifier: the bound must be checked, and the pointer compared with the end, in the very register that is used.
 */
static __always_inline void *ctx_reach(ctx_t *ctx, __u32 offset, __u32 size)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	void *at;

	asm volatile("" : "+r"(offset));
	if (offset > CTX_OFFSET_MAX)
		return 0;
	at = data + offset;
	asm volatile("" : "+r"(at));
	return at + size > end ? 0 : at;
}

/* size is a constant. */
static __always_inline long ctx_load(ctx_t *ctx, __u32 offset, void *to, const __u32 size)
{
	void *from = ctx_reach(ctx, offset, size);

	if (!from)
		return -1;
	__builtin_memcpy(to, from, size);
	return 0;
}

/* Up to 4 * words bytes, in whole words; `to` is zero behind them. */
static __always_inline long ctx_load_words(ctx_t *ctx, __u32 offset, __be32 *to, __u32 length, const int words)
{
	for (int i = 0; i < words; i++) {
		__be32 *from;

		to[i] = 0;
		if ((__u32)i * 4 + 4 > length)
			continue;
		from = ctx_reach(ctx, offset + i * 4, 4);
		if (!from)
			return -1;
		to[i] = *from;
	}
	return 0;
}

static __always_inline long ctx_store(ctx_t *ctx, __u32 offset, const void *from, const __u32 size)
{
	void *to = ctx_reach(ctx, offset, size);

	if (!to)
		return -1;
	__builtin_memcpy(to, from, size);
	return 0;
}

static __always_inline long ctx_store_new(ctx_t *ctx, __u32 offset, const void *from, const __u32 size)
{
	return ctx_store(ctx, offset, from, size);
}

/* In XDP native the packet carries its whole checksum: folded by hand (2.7 ns against 22 of a helper). */
static __always_inline long ctx_change_l3_checksum(ctx_t *ctx, __u32 offset, __u32 difference)
{
	__u16 *sum = ctx_reach(ctx, offset, 2);

	if (!sum)
		return -1;
	*sum = ~fold16((__u64)(__u16)~*sum + difference);
	return 0;
}

static __always_inline __u32 ctx_segment_length(ctx_t *ctx, __u32 l3, __u32 headers)
{
	return ctx_length(ctx) - l3;
}

/* Cuts the packet to length bytes. Ends all pointers into the packet. */
static __always_inline long ctx_trim(ctx_t *ctx, __u32 length)
{
	return bpf_xdp_adjust_tail(ctx, (int)length - (int)ctx_length(ctx));
}

/* Makes room for size bytes between the Ethernet and the IP header. Ends all pointers into the packet. */
static __always_inline long ctx_make_room(ctx_t *ctx, __u32 l3, const __u32 size)
{
	__u8 ethernet[ETH_HLEN];

	if (l3 != ETH_HLEN || ctx_load(ctx, 0, ethernet, ETH_HLEN))
		return -1;
	if (bpf_xdp_adjust_head(ctx, -(int)size))
		return -1;
	return ctx_store(ctx, 0, ethernet, ETH_HLEN);
}

#else

static __always_inline __u32 ctx_length(ctx_t *ctx)
{
	return ctx->len;
}

static __always_inline __u32 ctx_ifindex(ctx_t *ctx)
{
	return ctx->ifindex;
}

/* Did another of our hooks send this? Takes its mark off. */
static __always_inline bool ctx_take_mark(ctx_t *ctx, __u32 mark)
{
	if (!(ctx->mark & mark))
		return false;
	ctx->mark &= ~mark;
	return true;
}

/* Makes the first bytes linear, as many as there are up to size. Ends all pointers into the packet. */
static __always_inline void ctx_pull(ctx_t *ctx, __u32 size)
{
	__u32 length = ctx->len;

	bpf_skb_pull_data(ctx, length < size ? length : size);
}

static __always_inline long ctx_load(ctx_t *ctx, __u32 offset, void *to, const __u32 size)
{
	return bpf_skb_load_bytes(ctx, offset, to, size);
}

/* Up to 4 * words bytes, in whole words; `to` is zero behind them. */
static __always_inline long ctx_load_words(ctx_t *ctx, __u32 offset, __be32 *to, __u32 length, const int words)
{
	__builtin_memset(to, 0, words * 4);
	length &= ~3;
	if (length < 4 || length > (__u32)words * 4)
		return -1;
	return bpf_skb_load_bytes(ctx, offset, to, length);
}

/* For bytes that a checksum field of the packet balances, and for link-layer headers. */
static __always_inline long ctx_store(ctx_t *ctx, __u32 offset, const void *from, const __u32 size)
{
	return bpf_skb_store_bytes(ctx, offset, from, size, 0);
}

/* For bytes that nothing in the packet balances: a sum that the device made over the whole packet is kept true. */
static __always_inline long ctx_store_new(ctx_t *ctx, __u32 offset, const void *from, const __u32 size)
{
	return bpf_skb_store_bytes(ctx, offset, from, size, BPF_F_RECOMPUTE_CSUM);
}

static __always_inline long ctx_change_l3_checksum(ctx_t *ctx, __u32 offset, __u32 difference)
{
	return bpf_l3_csum_replace(ctx, offset, 0, difference, 0);
}

#define BPF_F_IPV6_ (1ULL << 7) /* BPF_F_IPV6 of bpf_l4_csum_replace, kernel 6.16 */

/*
 * tc leaves checksums to the kernel: a locally made packet carries a partial checksum that a program cannot see, and folding
 * by hand would break it (TCP with tx offload off, while UDP looks fine). pseudo: the change is one of the pseudo header.
 */
static __always_inline long ctx_change_l4_checksum(ctx_t *ctx, __u32 offset, __u32 difference, bool pseudo, __u8 protocol, const int family)
{
	__u64 flags = protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	if (pseudo) {
		flags |= BPF_F_PSEUDO_HDR;
		if (family == 6 && features.checksum_ipv6)
			flags |= BPF_F_IPV6_; /* no header checksum balances the change in skb->csum */
	}
	return bpf_l4_csum_replace(ctx, offset, 0, difference, flags);
}

/* Bytes on the wire of the largest segment, from the IP header on: what an MTU is compared with. */
static __always_inline __u32 ctx_segment_length(ctx_t *ctx, __u32 l3, __u32 headers)
{
	return ctx->gso_size ? headers + ctx->gso_size : ctx->len - l3;
}

static __always_inline long ctx_trim(ctx_t *ctx, __u32 length)
{
	return bpf_skb_change_tail(ctx, length, 0);
}

static __always_inline long ctx_make_room(ctx_t *ctx, __u32 l3, const __u32 size)
{
	return bpf_skb_adjust_room(ctx, size, BPF_ADJ_ROOM_MAC, 0);
}

#endif
