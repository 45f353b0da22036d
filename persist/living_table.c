/* SPDX-License-Identifier: Apache-2.0 */
/*
 * living_table.c: linear probing from a home that one multiplication finds.
 *
 *     key * golden >> shift = home        probe:  home, home + 1, ... until a free slot
 *
 * Numbers in sequence (LSNs, segments, queues) get homes far apart; hashes stay hashes. Keys are numbers the broker
 * gave out itself, or hashes with a seed: nobody outside can choose them to collide.
 *
 * Invariants (tab_check)
 *   1. From a key's home to its slot there is no free slot.
 *   2. n + held are at most three quarters of cap; shrinking waits until nothing is held.
 * Cost    O(1) expected; 16 bytes per slot, 21 to 128 per item; a table that was large once may stay large when memory
 *         for a smaller one is lacking.
 * Thread  the owner's.
 */
#include "persist/living_table.h"

#define TAB_CAP_MIN 64u
#define TAB_CAP_MAX (1u << 31)

void tab_init(struct tab *t, struct mem *mem)
{
    *t = (struct tab){.mem = mem, .cap_min = TAB_CAP_MIN};
}

void tab_fini(struct tab *t)
{
    mem_free(t->mem, t->slot);
    t->slot = NULL;
    t->n = t->held = t->cap = 0;
}

static inline uint32_t home_of(const struct tab *t, uint64_t key)
{
    return (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> t->shift);
}

static inline void settle(struct tab *t, struct tab_slot s)
{
    uint32_t i = home_of(t, s.key), mask = t->cap - 1;
    while (t->slot[i].val != 0)
        i = (i + 1) & mask;
    t->slot[i] = s;
}

static enum err resize(struct tab *t, uint32_t cap)
{
    struct tab_slot *old = t->slot;
    uint32_t old_cap = t->cap;
    struct tab_slot *slot = mem_zalloc(t->mem, cap * sizeof(*slot));
    if (slot == NULL)
        return ERR_NOMEM;
    t->slot = slot;
    t->cap = cap;
    t->shift = 64u - (uint32_t)__builtin_ctz(cap);
    for (uint32_t i = 0; i < old_cap; i++) {
        if (old[i].val != 0)
            settle(t, old[i]);
    }
    mem_free(t->mem, old);
    return ERR_OK;
}

static bool has_room(uint64_t wanted, uint32_t cap)
{
    return wanted * 4 <= (uint64_t)cap * 3;
}

enum err tab_hold_n(struct tab *t, uint32_t n)
{
    uint64_t wanted = (uint64_t)t->n + t->held + n;
    uint32_t cap = MAX(t->cap, t->cap_min);
    while (!has_room(wanted, cap)) {
        if (cap == TAB_CAP_MAX)
            return ERR_NOMEM;
        cap *= 2;
    }
    if (cap != t->cap && resize(t, cap) != ERR_OK)
        return ERR_NOMEM;
    t->held += n;
    return ERR_OK;
}

enum err tab_hold(struct tab *t)
{
    if (UNLIKELY(!has_room((uint64_t)t->n + t->held + 1, t->cap)))
        return tab_hold_n(t, 1);
    t->held++;
    return ERR_OK;
}

void tab_release(struct tab *t)
{
    BUG_ON(t->held == 0);
    t->held--;
}

void tab_put(struct tab *t, uint64_t key, uint64_t val)
{
    BUG_ON(t->held == 0 || val == 0);
    t->held--;
    t->n++;
    settle(t, (struct tab_slot){key, val});
}

struct tab_slot *tab_find(const struct tab *t, uint64_t key, const struct tab_slot *after)
{
    if (t->n == 0)
        return NULL;
    uint32_t mask = t->cap - 1;
    uint32_t i = after != NULL ? ((uint32_t)(after - t->slot) + 1) & mask : home_of(t, key);
    for (; t->slot[i].val != 0; i = (i + 1) & mask) {
        if (t->slot[i].key == key)
            return &t->slot[i];
    }
    return NULL;
}

void tab_del(struct tab *t, struct tab_slot *s)
{
    uint32_t mask = t->cap - 1, gap = (uint32_t)(s - t->slot);
    for (uint32_t i = (gap + 1) & mask; t->slot[i].val != 0; i = (i + 1) & mask) {
        uint32_t home = home_of(t, t->slot[i].key);
        if (((i - home) & mask) < ((i - gap) & mask))
            continue; /* its home lies between the gap and itself */
        t->slot[gap] = t->slot[i];
        gap = i;
    }
    t->slot[gap] = (struct tab_slot){0};
    t->n--;
    if (UNLIKELY(t->held == 0 && t->cap > t->cap_min && t->n < t->cap / 8)) {
        enum err e = resize(t, t->cap / 2);
        UNUSED(e); /* no memory for a smaller one: keep the large one */
    }
}

void tab_check(const struct tab *t)
{
    uint32_t n = 0;
    BUG_ON(t->cap != 0 && !has_room((uint64_t)t->n + t->held, t->cap));
    for (uint32_t i = 0; i < t->cap; i++) {
        if (t->slot[i].val == 0)
            continue;
        n++;
        for (uint32_t at = home_of(t, t->slot[i].key); at != i; at = (at + 1) & (t->cap - 1))
            BUG_ON(t->slot[at].val == 0);
    }
    BUG_ON(n != t->n);
}
