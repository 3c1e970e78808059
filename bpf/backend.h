/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which backend serves a new flow? The client's affinity first, then Maglev for clients from outside, else random.
 *
 * Every choice is a slot of the slice that the policy allows now: an affinity never leads out of it (5.2, 5.3).
 */
#pragma once

#include "addr.h"

static __always_inline __u32 now_jiffies(void)
{
	return (__u32)bpf_jiffies64(); /* kernel 5.5; inlined to a load */
}

static __always_inline __u32 load_slot(__u32 index)
{
	__u32 *id = bpf_map_lookup_elem(&slots, &index);

	return id ? *id : 0;
}

/* One round of murmur3's 32-bit mixing. */
static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	word *= 0xcc9e2d51;
	word = word << 15 | word >> 17;
	word *= 0x1b873593;
	hash ^= word;
	hash = hash << 13 | hash >> 19;
	return hash * 5 + 0xe6546b64;
}

static __always_inline __u32 finish_mix(__u32 hash)
{
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ hash >> 16;
}

static __always_inline __u32 mix_address(__u32 hash, const struct address *a, const int family)
{
	hash = mix(hash, a->word[0]);
	if (family == 6) {
		hash = mix(hash, a->word[1]);
		hash = mix(hash, a->word[2]);
		hash = mix(hash, a->word[3]);
	}
	return hash;
}

/*
 * The same on every node: of the client and the frontend, nothing of this node. Without the client's port where the
 * Service has affinity, so that it survives without state (5.5); without the destination for a NodePort, which has
 * another address on each node.
 */
static __always_inline __u32 hash_client(const struct frontend *frontend, const struct tuple *t, const int family)
{
	__u32 hash = mix_address(0, &t->source, family);

	if (!(frontend->flags & FRONTEND_NODE_PORT))
		hash = mix_address(hash, &t->destination, family);
	hash = mix(hash, (__u32)t->destination_port << 16 | t->protocol);
	if (!(frontend->flags & FRONTEND_AFFINITY))
		hash = mix(hash, t->source_port);
	return finish_mix(hash);
}

/* Slots of a slice ascend by id. 2^18 backends are more than any slice has. */
#define SLICE_SEARCH_STEPS 18

/* verifier: a global function is checked once by itself, not again with every state that its callers can be in. */
__noinline int in_slice(__u32 first, __u32 count, __u32 id)
{
	__u32 low = 0, high = count;

	for (int i = 0; i < SLICE_SEARCH_STEPS; i++) {
		__u32 middle, found;

		if (low >= high)
			return false;
		middle = low + (high - low) / 2;
		found = load_slot(first + middle);
		if (found == id)
			return true;
		if (found < id)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Does this client have a backend that it may have still? A new connection renews it (5.1: sliding). */
static __always_inline bool recall_affinity(const struct frontend *frontend, const struct affinity_key *key, const struct slice *slice,
					    __u32 jiffies_per_second, struct backend *out, const int family)
{
	struct affinity *affinity = bpf_map_lookup_elem(&affinities, key);
	__u32 now = now_jiffies();

	if (!affinity)
		return false;
	if ((__s32)(now - affinity->seen) >= (__s32)(frontend->affinity_seconds * jiffies_per_second))
		return false;
	if (!in_slice(slice->first, slice->count, affinity->backend))
		return false;
	load_backend(affinity->backend, out, family);
	if (!(out->flags & BACKEND_LIVE) || out->generation != affinity->generation)
		return false;
	affinity->seen = now;
	return true;
}

static __always_inline void remember_affinity(const struct affinity_key *key, const struct backend *backend)
{
	struct affinity affinity = { .backend = backend->id, .generation = backend->generation, .seen = now_jiffies() };

	/* An LRU makes room for it; if that fails too, the next connection picks again: no flow depends on it */
	bpf_map_update_elem(&affinities, key, &affinity, BPF_ANY);
}

/*
 * One backend of the slice. hash: for Maglev, used where the table is not empty and from_outside.
 * VERDICT_CONTINUE with out filled, or DROP_STALE_SLOT.
 */
static __always_inline enum verdict select_backend(const struct frontend *frontend, const struct affinity_key *client, const struct slice *slice,
						   const struct slice *table, __u32 hash, bool from_outside, __u32 jiffies_per_second,
						   struct backend *out, const int family)
{
	bool affine = frontend->flags & FRONTEND_AFFINITY;
	__u32 id;

	if (affine && recall_affinity(frontend, client, slice, jiffies_per_second, out, family))
		return VERDICT_CONTINUE;
	if (from_outside && table->count)
		id = load_slot(table->first + hash % table->count);
	else
		id = load_slot(slice->first + bpf_get_prandom_u32() % slice->count);
	load_backend(id, out, family);
	/*
	 * A backend that died since this frontend was read is used all the same, as it would have been a moment ago: its address
	 * stays in its entry while ids rest. Only a slot that never named a backend is an error.
	 */
	if (!id || !out->port)
		return DROP_STALE_SLOT;
	if (affine)
		remember_affinity(client, out);
	return VERDICT_CONTINUE;
}
