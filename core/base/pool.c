/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c: objects of one size, carved from slabs.
 *
 *     slab, at a multiple of POOL_SLAB_BYTES:
 *     | head: list, pool, free list, counts | item | item | item | never used yet ... |
 *                                        └──► next free item ─► NULL
 *
 * The slab of an item is found by rounding its address down, so an item costs no header. Slabs start small and the
 * pool about doubles with each, up to POOL_SLAB_BYTES: a pool of three objects holds 1 KiB, not 16.
 *
 * Invariants (pool_check)
 *   1. A slab is in `full` when all of its items are out, else in `partial`; wholly free ones are behind all others,
 *      so that they stay free and can be given back.
 *   2. Of an item on a free list the first 8 bytes are the link; under AddressSanitizer all of it is poisoned.
 *   3. spare_n is the number of wholly free slabs, at most POOL_SPARE_MAX. A small slab is only kept while it is the
 *      only spare one.
 *   4. Items of a slab that were never out were never written, so untouched pages cost nothing.
 * Cost    O(1); 64 bytes per slab, at most the last item's size wasted at its end.
 * Thread  the owner's.
 */
#include "core/base/pool.h"

#include "core/base/poison.h"

/* The allocator's own header fits between two slabs, so that aligned neighbours follow each other without a hole. */
#define SLAB_BYTES     (POOL_SLAB_BYTES - 16u)
#define SLAB_BYTES_MIN 1024u

struct slab {
    _Alignas(64) struct list_node node; /* so that items of 64 bytes lie in one cache line each */
    struct pool *pool;
    struct slot *free; /* items that came back */
    uint32_t items_n;  /* items in this slab */
    uint32_t fresh_n;  /* of these, never handed out: the last ones */
    uint32_t used_n;   /* handed out */
};

struct slot {
    struct slot *next;
};

static struct slab *slab_of(const void *item)
{
    uintptr_t at = (uintptr_t)item;
    return (struct slab *)(at - at % POOL_SLAB_BYTES);
}

static uint8_t *slab_items(struct slab *s)
{
    return (uint8_t *)s + sizeof(*s);
}

void pool_init(struct pool *p, struct mem *mem, size_t item_bytes)
{
    size_t bytes = (MAX(item_bytes, sizeof(struct slot)) + 7) / 8 * 8;
    BUG_ON(item_bytes == 0 || bytes > SLAB_BYTES - sizeof(struct slab));
    *p = (struct pool){.mem = mem, .item_bytes = bytes};
    p->per_slab = (uint32_t)((SLAB_BYTES - sizeof(struct slab)) / bytes);
    list_init(&p->partial);
    list_init(&p->full);
}

static void slab_free(struct pool *p, struct slab *s)
{
    list_del(&s->node);
    unpoison(slab_items(s), s->items_n * p->item_bytes);
    mem_free(p->mem, s);
}

void pool_fini(struct pool *p)
{
    BUG_ON(p->used_n != 0);
    LIST_EACH(&p->partial, n)
    slab_free(p, LIST_ITEM(n, struct slab, node));
    p->spare_n = 0;
}

/* slab_new: every slab is full; one more, about as large as all of them together. */
static struct slab *slab_new(struct pool *p)
{
    uint32_t least = (uint32_t)((SLAB_BYTES_MIN - sizeof(struct slab)) / p->item_bytes);
    uint32_t items_n = (uint32_t)MIN(MAX(p->used_n, MAX(least, 1u)), p->per_slab);
    struct slab *s = mem_alloc_aligned(p->mem, POOL_SLAB_BYTES, sizeof(*s) + items_n * p->item_bytes);
    if (s == NULL)
        return NULL;
    *s = (struct slab){.pool = p, .items_n = items_n, .fresh_n = items_n};
    poison(slab_items(s), items_n * p->item_bytes);
    list_push(&p->partial, &s->node);
    p->spare_n++;
    return s;
}

void *pool_take(struct pool *p)
{
    struct list_node *n = list_first(&p->partial);
    struct slab *s = LIKELY(n != NULL) ? LIST_ITEM(n, struct slab, node) : slab_new(p);
    if (UNLIKELY(s == NULL))
        return NULL;
    struct slot *item = s->free;
    if (item != NULL) {
        unpoison(item, p->item_bytes);
        s->free = item->next;
    } else {
        item = (struct slot *)(void *)(slab_items(s) + (s->items_n - s->fresh_n) * p->item_bytes);
        s->fresh_n--;
        unpoison(item, p->item_bytes);
    }
    if (s->used_n++ == 0)
        p->spare_n--;
    if (s->used_n == s->items_n) {
        list_del(&s->node);
        list_push(&p->full, &s->node);
    }
    p->used_n++;
    return item;
}

/* slab_idle: s became wholly free. */
static void slab_idle(struct pool *p, struct slab *s)
{
    uint32_t spare_max = s->items_n == p->per_slab ? POOL_SPARE_MAX : 1;
    if (p->spare_n >= spare_max) {
        slab_free(p, s);
        return;
    }
    p->spare_n++;
    list_del(&s->node);
    list_push(&p->partial, &s->node);
}

bool pool_reserve(struct pool *p)
{
    return LIKELY(!list_is_empty(&p->partial)) || slab_new(p) != NULL;
}

struct pool *pool_from_item(const void *item)
{
    return slab_of(item)->pool;
}

void pool_give(struct pool *p, void *item)
{
    struct slab *s = slab_of(item);
    BUG_ON(s->used_n == 0);
    struct slot *slot = item;
    slot->next = s->free;
    s->free = slot;
    poison(item, p->item_bytes);
    p->used_n--;
    if (s->used_n == s->items_n) {
        list_del(&s->node);
        list_push_front(&p->partial, &s->node);
    }
    s->used_n--;
    if (s->used_n == 0)
        slab_idle(p, s);
}

void pool_check(const struct pool *p)
{
    size_t used = 0;
    uint32_t spare = 0;
    LIST_EACH(&p->full, n)
    {
        const struct slab *s = LIST_ITEM(n, struct slab, node);
        BUG_ON(s->used_n != s->items_n || s->free != NULL || s->fresh_n != 0);
        used += s->used_n;
    }
    LIST_EACH(&p->partial, n)
    {
        const struct slab *s = LIST_ITEM(n, struct slab, node);
        BUG_ON(s->used_n >= s->items_n || s->items_n > p->per_slab || (uintptr_t)s % POOL_SLAB_BYTES != 0);
        BUG_ON(spare != 0 && s->used_n != 0); /* wholly free slabs are the last */
        spare += s->used_n == 0;
        used += s->used_n;
    }
    BUG_ON(used != p->used_n || spare != p->spare_n || spare > POOL_SPARE_MAX);
}
