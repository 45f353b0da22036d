/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_LIVING_PLACES_H
#define WEIR_PERSIST_LIVING_PLACES_H

/*
 * living_places.h: segments of the log by a small number, and how many entries of the index are placed in each. An
 * entry names its segment by that number, which lives as long as anything is placed there: so the log's own numbers may
 * grow for ever.
 */

#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "persist/living_table.h"

#define PLACES_MAX  (1u << 17) /* segments with something living in them at one time */
#define PLACES_NONE UINT32_MAX

/* owner: the index */
struct places {
    struct mem *mem;
    struct place {
        uint64_t number; /* while n is 0: the next free one */
        uint64_t n;      /* entries placed there, and holds */
    } * at;              /* [cap]; at[0]: nowhere yet */
    uint32_t cap;
    uint32_t used_n; /* at[0 .. used_n) were in use at some time */
    uint32_t free_n, free;
    uint32_t last; /* the one asked for last */
    struct tab by_number;
};

/* places_init: ERR_NOMEM (then nothing is to be undone). */
enum err places_init(struct places *p, struct mem *mem) MUST_CHECK;
void places_fini(struct places *p);

/* places_reserve: n segments that have no number yet will find one. ERR_NOMEM, also when there are too many. */
enum err places_reserve(struct places *p, uint32_t n) MUST_CHECK;

/* places_spare: segments that will find one without asking for memory. */
static inline uint32_t places_spare(const struct places *p)
{
    return p->free_n + (p->cap - p->used_n);
}

/* places_hold: the small number of a segment, held once more; 0 is "nowhere". PLACES_NONE: out of memory. */
uint32_t places_hold(struct places *p, uint64_t segment);
void places_drop(struct places *p, uint32_t i);

/* places_n: entries in a segment. */
uint64_t places_n(const struct places *p, uint64_t segment);

/* places_check: asserts all invariants; for tests. */
void places_check(const struct places *p);

#endif
