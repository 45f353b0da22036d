/* SPDX-License-Identifier: Apache-2.0 */
/*
 * living_places.c: a table of segments in use.
 *
 *     segment 90210 ─► by_number ─► 3 ─► at[3] = {90210, 5120 entries}
 *
 * Invariants (places_check)
 *   1. at[0] is "nowhere", and never in by_number; its n may be 0.
 *   2. Any other slot with n > 0 is in by_number; one with n == 0 is in the free list, or was never used.
 *   3. Neither the array nor the table shrinks, and the table has room for the whole array: so what places_reserve
 *      promised stays.
 * Cost    O(1); 16 bytes per slot and about 30 in the table. A log of 100,000 segments takes up 5 MB.
 * Thread  the owner's.
 */
#include "persist/living_places.h"

#define CAP_MIN 64u

/* table_room: for cap segments in all, for good (invariant 3). */
static enum err table_room(struct places *p, uint32_t cap)
{
    uint32_t more = cap - p->by_number.n;
    if (tab_hold_n(&p->by_number, more) != ERR_OK)
        return ERR_NOMEM;
    p->by_number.held -= more;
    p->by_number.cap_min = p->by_number.cap;
    return ERR_OK;
}

enum err places_init(struct places *p, struct mem *mem)
{
    *p = (struct places){.mem = mem, .cap = CAP_MIN, .used_n = 1};
    tab_init(&p->by_number, mem);
    p->at = mem_zalloc(mem, CAP_MIN * sizeof(*p->at));
    if (p->at != NULL && table_room(p, CAP_MIN) == ERR_OK)
        return ERR_OK;
    mem_free(mem, p->at);
    p->at = NULL;
    return ERR_NOMEM;
}

void places_fini(struct places *p)
{
    tab_fini(&p->by_number);
    mem_free(p->mem, p->at);
}

enum err places_reserve(struct places *p, uint32_t n)
{
    while (places_spare(p) < n) {
        uint32_t cap = p->cap * 2;
        if (cap > PLACES_MAX || table_room(p, cap) != ERR_OK)
            return ERR_NOMEM;
        struct place *at = mem_realloc(p->mem, p->at, cap * sizeof(*at));
        if (at == NULL)
            return ERR_NOMEM;
        p->at = at;
        p->cap = cap;
    }
    return ERR_OK;
}

static uint32_t take_slot(struct places *p)
{
    if (p->free_n == 0)
        return p->used_n++;
    uint32_t i = p->free;
    p->free = (uint32_t)p->at[i].number;
    p->free_n--;
    return i;
}

uint32_t places_hold(struct places *p, uint64_t segment)
{
    uint32_t i = 0;
    if (segment != 0) {
        i = p->last;
        if (LIKELY(p->at[i].number == segment && p->at[i].n != 0)) {
            p->at[i].n++;
            return i;
        }
        i = (uint32_t)tab_get(&p->by_number, segment);
    }
    if (segment != 0 && i == 0) {
        if (places_reserve(p, 1) != ERR_OK)
            return PLACES_NONE;
        i = take_slot(p);
        p->at[i] = (struct place){.number = segment};
        BUG_ON(tab_hold(&p->by_number) != ERR_OK); /* invariant 3 */
        tab_put(&p->by_number, segment, i);
    }
    p->at[i].n++;
    p->last = i;
    return i;
}

void places_drop(struct places *p, uint32_t i)
{
    BUG_ON(p->at[i].n == 0);
    if (LIKELY(--p->at[i].n != 0) || i == 0)
        return;
    tab_del(&p->by_number, tab_find(&p->by_number, p->at[i].number, NULL));
    p->at[i].number = p->free;
    p->free = i;
    p->free_n++;
}

uint64_t places_n(const struct places *p, uint64_t segment)
{
    uint64_t i = segment != 0 ? tab_get(&p->by_number, segment) : 0;
    return segment == 0 || i != 0 ? p->at[i].n : 0;
}

void places_check(const struct places *p)
{
    uint32_t used = 0, listed = 0;
    for (uint32_t i = 1; i < p->used_n; i++) {
        used += p->at[i].n != 0;
        BUG_ON(p->at[i].n != 0 && tab_get(&p->by_number, p->at[i].number) != i);
    }
    for (uint32_t i = p->free; listed < p->free_n; i = (uint32_t)p->at[i].number, listed++)
        BUG_ON(i == 0 || i >= p->used_n || p->at[i].n != 0);
    BUG_ON(used != p->by_number.n || used + p->free_n + 1 != p->used_n || p->used_n > p->cap);
    tab_check(&p->by_number);
}
