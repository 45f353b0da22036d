/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_CHUNK_H
#define WEIR_BASE_CHUNK_H

/*
 * chunk.h: reference-counted read buffers. The shard reads every connection into one chunk that is reused while
 * nobody refers to it; output that passes bytes on unchanged refers to the chunk instead of copying, and the next
 * connection is read behind them.
 * CHUNK_BYTES-sized chunks return to a small free list; others (partial packets) go back to the allocator.
 */

#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/base/ref.h"

#define CHUNK_BYTES    65536u /* one read per connection and turn */
#define CHUNK_FREE_MAX 8u     /* chunks kept on the free list */

struct chunk_pool {
    struct mem *mem;
    struct chunk *free;
    uint32_t free_n;
    struct chunk *current; /* what is read into next, held by the pool; NULL: a new one */
    size_t used;           /* bytes of it, from its start, that others refer to */
};

struct chunk {
    struct ref ref; /* first: outv refers to it */
    struct chunk_pool *pool;
    struct chunk *next; /* free list */
    size_t cap;         /* bytes in p */
    uint8_t p[];
};

/* chunk_pool_init: no allocation. */
void chunk_pool_init(struct chunk_pool *pool, struct mem *mem);
/* chunk_pool_fini: frees the free list and the current chunk. Every chunk must have been dropped. */
void chunk_pool_fini(struct chunk_pool *pool);

/* chunk_new: a chunk with room for at least `cap` bytes and one reference, the caller's; NULL when out of memory.
 * cap 0 asks for a standard CHUNK_BYTES one, from the free list when it has one. */
struct chunk *chunk_new(struct chunk_pool *pool, size_t cap) MUST_CHECK;

/* chunk_open: where to read next: *out_at with *out_room bytes, CHUNK_BYTES / 2 or more, inside the chunk returned,
 * which the pool holds. NULL when out of memory. chunk_shut: n bytes of that room were used; if somebody took a
 * reference meanwhile they are not written again while it lasts. */
struct chunk *chunk_open(struct chunk_pool *pool, uint8_t **out_at, size_t *out_room) MUST_CHECK;
void chunk_shut(struct chunk_pool *pool, size_t n);

/* chunk_die: what ref.die of every chunk is; pass it to outv_own. Not for calling. */
void chunk_die(struct ref *ref);

/* chunk_drop: gives up one reference; with the last one the chunk returns to its pool. */
static inline void chunk_drop(struct chunk *c)
{
    ref_drop(&c->ref);
}

#endif
