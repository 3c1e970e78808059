/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What differs between the hooks that see packets: bounds, writes, redirects. Nothing else may.
 *
 * Today the tc half; XDP gets the same names over struct xdp_md.
 */
#pragma once

#include "abi.h"
#include <linux/if_ether.h>

typedef struct __sk_buff ctx_t;

/* size bytes at offset, or NULL where they are not in the packet's linear part. */
static __always_inline void *ctx_at(ctx_t *ctx, __u32 offset, __u32 size)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if (data + offset + size > end)
		return 0;
	return data + offset;
}

/* Makes the first bytes linear, as many as there are up to size. Ends all pointers into the packet. */
static __always_inline void ctx_pull(ctx_t *ctx, __u32 size)
{
	__u32 length = ctx->len;

	bpf_skb_pull_data(ctx, length < size ? length : size);
}

static __always_inline long ctx_load(ctx_t *ctx, __u32 offset, void *to, __u32 size)
{
	return bpf_skb_load_bytes(ctx, offset, to, size);
}

static __always_inline long ctx_store(ctx_t *ctx, __u32 offset, const void *from, __u32 size, __u64 flags)
{
	return bpf_skb_store_bytes(ctx, offset, from, size, flags);
}

/* Bytes on the wire of the largest segment, from the IP header on: what an MTU is compared with. */
static __always_inline __u32 ctx_segment_length(ctx_t *ctx, __u32 l3, __u32 headers)
{
	return ctx->gso_size ? headers + ctx->gso_size : ctx->len - l3;
}
