/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk.c: read buffers that live as long as somebody points into them.
 *
 *     shard reads into C ── nobody took a reference ──► C is read into again (it stays in the cache)
 *                        └─ an outv refers to it    ──► C is read into behind that, and dropped when it is half full;
 *                                                       the last drop brings C to the free list
 *
 * Invariants
 *   1. A chunk is with its holders (ref.n > 0) or on its pool's free list (ref.n == 0), never both.
 *   2. Only chunks of CHUNK_BYTES are on the free list, at most CHUNK_FREE_MAX of them.
 * Cost    O(1); 48 bytes per chunk. A chunk from the free list is not cleared.
 * Thread  the shard's.
 */
#include "core/base/chunk.h"

#include "core/base/poison.h"

void chunk_pool_init(struct chunk_pool *pool, struct mem *mem)
{
    *pool = (struct chunk_pool){.mem = mem};
}

void chunk_pool_fini(struct chunk_pool *pool)
{
    if (pool->current != NULL)
        chunk_drop(pool->current);
    pool->current = NULL;
    while (pool->free != NULL) {
        struct chunk *c = pool->free;
        pool->free = c->next;
        unpoison(c->p, c->cap);
        mem_free(pool->mem, c);
    }
    pool->free_n = 0;
}

void chunk_die(struct ref *ref)
{
    struct chunk *c = CONTAINER_OF(ref, struct chunk, ref);
    struct chunk_pool *pool = c->pool;
    if (c->cap != CHUNK_BYTES || pool->free_n == CHUNK_FREE_MAX) {
        mem_free(pool->mem, c);
        return;
    }
    poison(c->p, c->cap);
    c->next = pool->free;
    pool->free = c;
    pool->free_n++;
}

struct chunk *chunk_new(struct chunk_pool *pool, size_t cap)
{
    if (cap == 0)
        cap = CHUNK_BYTES;
    if (cap > SIZE_MAX - sizeof(struct chunk))
        return NULL;
    struct chunk *c = NULL;
    if (cap == CHUNK_BYTES && pool->free != NULL) {
        c = pool->free;
        pool->free = c->next;
        pool->free_n--;
        unpoison(c->p, c->cap);
    } else {
        c = mem_alloc(pool->mem, sizeof(*c) + cap);
        if (c == NULL)
            return NULL;
        c->pool = pool;
        c->cap = cap;
    }
    ref_init(&c->ref, chunk_die);
    c->next = NULL;
    return c;
}

struct chunk *chunk_open(struct chunk_pool *pool, uint8_t **out_at, size_t *out_room)
{
    if (pool->current != NULL && !ref_is_shared(&pool->current->ref))
        pool->used = 0;
    if (pool->current != NULL && pool->used > CHUNK_BYTES / 2) {
        chunk_drop(pool->current);
        pool->current = NULL;
    }
    if (pool->current == NULL) {
        pool->current = chunk_new(pool, 0);
        pool->used = 0;
    }
    if (pool->current == NULL)
        return NULL;
    *out_at = pool->current->p + pool->used;
    *out_room = pool->current->cap - pool->used;
    return pool->current;
}

void chunk_shut(struct chunk_pool *pool, size_t n)
{
    BUG_ON(pool->current == NULL || n > pool->current->cap - pool->used);
    if (ref_is_shared(&pool->current->ref))
        pool->used += n;
}
