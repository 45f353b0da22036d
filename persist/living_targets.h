/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_LIVING_TARGETS_H
#define WEIR_PERSIST_LIVING_TARGETS_H

/*
 * living_targets.h: who still waits for a publish: queues by a small number, lists of queues that many publishes share,
 * and how far a delivery is.
 *
 *     one target     the index's entry names the queue by its small number: nothing is here but that
 *     several        struct several: the list they went to + a bit for each that is not settled
 *     sent, back     struct note: by queue and LSN
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/base/pool.h"
#include "core/store.h"
#include "persist/living_table.h"

#define QUEUE_NONE UINT32_MAX

/* Queues that publishes wait or waited for. A queue that ended is forgotten under its number at once; its slot stays
 * until the last publish was swept. */
struct qslot {
    uint64_t number; /* QUEUE_FREE: the next free one */
    uint32_t refs;   /* publishes with this target alone, lists, holds */
    uint8_t ended;   /* 0; QUEUE_ENDED: publishes may still wait for it; QUEUE_SWEPT: none does */
};
enum { QUEUE_ENDED = 1, QUEUE_SWEPT = 2, QUEUE_FREE = 3 };

struct target_list {
    uint64_t hash;
    uint32_t refs; /* struct several */
    uint32_t n;
    uint32_t q[]; /* [n] small numbers, as they were given; then, if n > LIST_SEARCH: [n] places in q by queue number */
};
#define LIST_SEARCH 16u

struct several {
    struct target_list *list;
    uint32_t left_n;
    uint64_t left[]; /* bit i: q[i] has not settled it */
};
#define SEVERAL_POOLED 64u /* targets of those that come from the pool */

struct note {
    union {
        uint64_t queue;
        struct note *next; /* before it is put: for whoever made several */
    };
    lsn_t of;
    uint64_t session;
    uint16_t ticket, returns;
    uint8_t progress; /* enum store_progress */
};

/* owner: the index */
struct targets {
    struct mem *mem;
    uint64_t seed;
    struct qslot *queue;                          /* [queue_cap] */
    uint32_t queue_cap, queue_used_n, queue_free; /* queue_free: QUEUE_NONE: none */
    uint32_t idle_n;                              /* slots without refs that did not end */
    uint32_t ended_n;                             /* slots that are QUEUE_ENDED: a sweep is due */
    uint32_t last;                                /* slot of the queue asked for last */
    struct tab by_number, lists, several, notes;
    struct pool several_pool, note_pool;
};

void targets_init(struct targets *t, struct mem *mem, uint64_t seed);
void targets_fini(struct targets *t);

/* qslot_hold: the small number of a queue, held once more. QUEUE_NONE: out of memory. */
uint32_t qslot_hold(struct targets *t, uint64_t number);
void qslot_drop(struct targets *t, uint32_t q);

/* qslot_end: it ended: what waits for it counts as settled. qslots_swept: now nothing waits for one that ended. */
void qslot_end(struct targets *t, uint64_t number);
void qslots_swept(struct targets *t);

static inline bool qslot_is_ended(const struct targets *t, uint32_t q)
{
    return t->queue[q].ended != 0;
}

/* several_new: for target[n], all waiting, with room to put it. NULL: out of memory. several_give: takes one back that
 * was not put. */
struct several *several_new(struct targets *t, const struct store_target *target, uint32_t n) MUST_CHECK;
void several_give(struct targets *t, struct several *m);

/* several_put, several_del: of publish `lsn`. several_get: it is there. */
void several_put(struct targets *t, lsn_t lsn, struct several *m);
void several_del(struct targets *t, lsn_t lsn);
struct several *several_get(const struct targets *t, lsn_t lsn);

/* several_find: which bit stands for the queue, ended or not, if it has not settled; QUEUE_NONE: none. */
uint32_t several_find(const struct targets *t, const struct several *m, uint64_t queue);

/* several_clear: that one is settled. */
static inline void several_clear(struct several *m, uint32_t bit)
{
    m->left[bit / 64] &= ~(1ull << bit % 64);
    m->left_n--;
}

static inline bool several_waits(const struct several *m, uint32_t bit)
{
    return (m->left[bit / 64] >> bit % 64 & 1) != 0;
}

/* several_is_live: some target has neither settled nor ended. */
bool several_is_live(const struct targets *t, const struct several *m);

/* note_new: with room to put it, blank. NULL: out of memory. note_give: takes back one that was not put. */
struct note *note_new(struct targets *t) MUST_CHECK;
void note_give(struct targets *t, struct note *n);

/* note_put: n->queue and n->of are set, and there is no other. note_get: NULL: none. note_del: n, which was put. */
void note_put(struct targets *t, struct note *n);
struct note *note_get(const struct targets *t, uint64_t queue, lsn_t of);
void note_del(struct targets *t, struct note *n);

/* targets_check: asserts all invariants; for tests. */
void targets_check(const struct targets *t);

#endif
