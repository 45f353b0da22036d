/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.c: open addressing with linear probing.
 *
 *     hash & (cap - 1) = home        probe:  home, home + 1, ... until the key or a free slot
 *
 *     [ . | a(home 1) | b(1) | c(2) | . | . ]     delete a:  b may move to 1, then c to 2:
 *     [ . | b(1)      | c(2) | .    | . | . ]     the run closes, and no tombstone is left behind
 *
 * Invariants (map_check)
 *   1. From an item's home to its slot there is no free slot: a probe that meets one may stop.
 *   2. cap is 0 or a power of two >= MAP_CAP_MIN; at least a quarter of the slots is free, so every probe ends.
 *   3. slot[i].hash is the hash of the item's key, which therefore must not change while the item is in the map.
 * Cost    O(1) expected; 16 bytes per slot, 21 to 128 per item by load. A resize moves everything once: O(1) amortised.
 *         A failed shrink is no failure: the table just stays large.
 * Thread  the owner's.
 */
#include "core/base/map.h"

#include "core/base/hash.h"

#define MAP_CAP_MIN 8u
#define MAP_CAP_MAX (SIZE_MAX > UINT32_MAX ? 1u << 31 : 1u << 26) /* its bytes fit into a size_t */

void map_init(struct map *m, struct mem *mem, map_key_fn key, uint64_t seed)
{
    *m = (struct map){.mem = mem, .key = key, .seed = seed};
}

void map_fini(struct map *m)
{
    mem_free(m->mem, m->slot);
    m->slot = NULL;
    m->n = m->cap = 0;
}

static inline bool slot_is(const struct map *m, const struct map_slot *s, uint64_t hash, struct slice key)
{
    return s->hash == hash && slice_eq(m->key(s->item), key);
}

/* find: the slot with this key, or NULL. */
static inline struct map_slot *find(const struct map *m, struct slice key)
{
    if (m->n == 0)
        return NULL;
    uint64_t hash = hash_bytes(m->seed, key.p, key.len);
    uint32_t mask = m->cap - 1;
    for (uint32_t i = (uint32_t)hash & mask; m->slot[i].item != NULL; i = (i + 1) & mask) {
        if (slot_is(m, &m->slot[i], hash, key))
            return &m->slot[i];
    }
    return NULL;
}

/* settle: puts an item whose key is known to be new into the first free slot of its run. */
static inline void settle(struct map *m, struct map_slot s)
{
    uint32_t mask = m->cap - 1;
    uint32_t i = (uint32_t)s.hash & mask;
    while (m->slot[i].item != NULL)
        i = (i + 1) & mask;
    m->slot[i] = s;
}

static enum err resize(struct map *m, uint32_t cap)
{
    struct map_slot *old = m->slot;
    uint32_t old_cap = m->cap;
    struct map_slot *slot = mem_zalloc(m->mem, cap * sizeof(*slot));
    if (slot == NULL)
        return ERR_NOMEM;
    m->slot = slot;
    m->cap = cap;
    for (uint32_t i = 0; i < old_cap; i++) {
        if (old[i].item != NULL)
            settle(m, old[i]);
    }
    mem_free(m->mem, old);
    return ERR_OK;
}

void *map_get(const struct map *m, struct slice key)
{
    const struct map_slot *s = find(m, key);
    return s ? s->item : NULL;
}

enum err map_put(struct map *m, void *item)
{
    if ((uint64_t)(m->n + 1) * 4 > (uint64_t)m->cap * 3) {
        if (m->cap == MAP_CAP_MAX || resize(m, m->cap ? m->cap * 2 : MAP_CAP_MIN) != ERR_OK)
            return ERR_NOMEM;
    }
    struct slice key = m->key(item);
    uint64_t hash = hash_bytes(m->seed, key.p, key.len);
    uint32_t mask = m->cap - 1;
    uint32_t i = (uint32_t)hash & mask;
    for (; m->slot[i].item != NULL; i = (i + 1) & mask)
        BUG_ON(slot_is(m, &m->slot[i], hash, key));
    m->slot[i] = (struct map_slot){.hash = hash, .item = item};
    m->n++;
    return ERR_OK;
}

/* close_gap: slot i became free; items behind it whose home does not lie behind the gap move up. */
static void close_gap(struct map *m, uint32_t gap)
{
    uint32_t mask = m->cap - 1;
    for (uint32_t i = (gap + 1) & mask; m->slot[i].item != NULL; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)m->slot[i].hash & mask;
        if (((i - home) & mask) < ((i - gap) & mask))
            continue; /* its home lies between the gap and itself */
        m->slot[gap] = m->slot[i];
        gap = i;
    }
    m->slot[gap] = (struct map_slot){0};
}

void *map_del(struct map *m, struct slice key)
{
    struct map_slot *s = find(m, key);
    if (s == NULL)
        return NULL;
    void *item = s->item;
    close_gap(m, (uint32_t)(s - m->slot));
    m->n--;
    if (m->n == 0) {
        map_fini(m);
    } else if (m->cap > MAP_CAP_MIN && m->n < m->cap / 8) {
        enum err e = resize(m, m->cap / 2);
        UNUSED(e); /* no memory for a smaller table: keep the large one */
    }
    return item;
}

void *map_next(const struct map *m, uint32_t *pos)
{
    while (*pos < m->cap) {
        void *item = m->slot[(*pos)++].item;
        if (item != NULL)
            return item;
    }
    return NULL;
}

void map_check(const struct map *m)
{
    uint32_t n = 0;
    BUG_ON((m->slot == NULL) != (m->cap == 0));
    BUG_ON((m->cap & (m->cap - 1)) != 0 || (m->cap != 0 && m->cap < MAP_CAP_MIN));
    BUG_ON((uint64_t)m->n * 4 > (uint64_t)m->cap * 3);
    for (uint32_t i = 0; i < m->cap; i++) {
        const struct map_slot *s = &m->slot[i];
        if (s->item == NULL)
            continue;
        n++;
        struct slice key = m->key(s->item);
        BUG_ON(s->hash != hash_bytes(m->seed, key.p, key.len));
        for (uint32_t at = (uint32_t)s->hash & (m->cap - 1); at != i; at = (at + 1) & (m->cap - 1))
            BUG_ON(m->slot[at].item == NULL);
    }
    BUG_ON(n != m->n);
}
