/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_CHUNK_H
#define WEIR_BASE_CHUNK_H

/*
 * chunk.h: reference-counted read buffers. The shard reads every connection into one chunk that is reused while
 * nobody refers to it; output that passes payload bytes on unchanged refers to the chunk instead of copying.
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
/* chunk_pool_fini: frees the free list. Every chunk must have been dropped. */
void chunk_pool_fini(struct chunk_pool *pool);

/* chunk_new: a chunk with room for at least `cap` bytes and one reference, the caller's; NULL when out of memory.
 * cap 0 asks for a standard CHUNK_BYTES one, from the free list when it has one. */
struct chunk *chunk_new(struct chunk_pool *pool, size_t cap) MUST_CHECK;

/* chunk_die: what ref.die of every chunk is; pass it to outv_own. Not for calling. */
void chunk_die(struct ref *ref);

/* chunk_drop: gives up one reference; with the last one the chunk returns to its pool. */
static inline void chunk_drop(struct chunk *c)
{
    ref_drop(&c->ref);
}

#endif
