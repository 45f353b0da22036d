/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_LIVING_IN_H
#define WEIR_PERSIST_LIVING_IN_H

/*
 * living_in.h: inside the index: what an entry says, and what living.c and living_apply.c share.
 *
 *     bit   0 .. 23   offset in its segment / 8
 *          24 .. 40   segment: its small number (living_places.h); 0: nowhere yet
 *          41 .. 58   ENTRY_ONE: the queue (living_targets.h); ENTRY_DEF: enum store_kind
 *          59 .. 60   enum entry_type
 *          61         the inbound QoS 2 id of this publish is not released
 *          62         it is the retained message of its topic
 *          63         there may be notes about it
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/list.h"
#include "persist/living.h"
#include "persist/living_defs.h"
#include "persist/living_places.h"
#include "persist/living_spans.h"
#include "persist/living_targets.h"

enum entry_type {
    ENTRY_BARE,    /* no target, and no definition */
    ENTRY_ONE,     /* a publish that one queue waits for */
    ENTRY_SEVERAL, /* a publish with a struct several */
    ENTRY_DEF,     /* the newest record of a definition or a will */
};

#define ENTRY_SEG_AT   24u
#define ENTRY_Q_AT     41u
#define ENTRY_TYPE_AT  59u
#define ENTRY_OFF_MASK ((1ull << ENTRY_SEG_AT) - 1)
#define ENTRY_AT_MASK  ((1ull << ENTRY_Q_AT) - 1) /* offset and segment */
#define ENTRY_Q_MAX    (1u << (ENTRY_TYPE_AT - ENTRY_Q_AT))
#define ENTRY_ID       (1ull << 61)
#define ENTRY_RETAINED (1ull << 62)
#define ENTRY_NOTED    (1ull << 63)
#define ENTRY_TARGETS  (3ull << ENTRY_TYPE_AT | (uint64_t)(ENTRY_Q_MAX - 1) << ENTRY_Q_AT | ENTRY_NOTED)
#define ENTRY_REASONS  (3ull << ENTRY_TYPE_AT | ENTRY_ID | ENTRY_RETAINED)
#define ENTRY_NOWHERE  1ull /* offset where there is no segment: so that no entry is 0 */
#define ENTRY_HELD     2ull /* made room for: no reason to live yet */

/* owner: who made it */
struct living {
    struct mem mem; /* of all that is in the index, on the heap of outer */
    struct mem *outer;
    struct spans spans;
    struct places places;
    struct targets targets;
    struct defs defs;
    struct list unit; /* struct op: what came behind a STORE_TX */
    bool in_unit;
    uint32_t swept_ago; /* records since a sweep was due */
    uint64_t n;
};

static inline uint32_t entry_seg(uint64_t e)
{
    return (uint32_t)(e >> ENTRY_SEG_AT) & (PLACES_MAX - 1);
}

static inline uint32_t entry_q(uint64_t e)
{
    return (uint32_t)(e >> ENTRY_Q_AT) & (ENTRY_Q_MAX - 1);
}

static inline enum entry_type entry_type(uint64_t e)
{
    return (enum entry_type)(e >> ENTRY_TYPE_AT & 3);
}

static inline uint64_t entry_at(uint32_t seg, uint32_t off)
{
    return seg != 0 ? (uint64_t)seg << ENTRY_SEG_AT | off / 8 : ENTRY_NOWHERE;
}

/* living_sweep: settles what ended queues left. living_sweep_some: once per record while one is due. */
void living_sweep(struct living *l);
void living_sweep_some(struct living *l);

/* entry_waits: does this queue, ended or not, still have to settle it? *out_bit is of ENTRY_SEVERAL. entry_target: the
 * same, and it has not ended. */
bool entry_waits(const struct living *l, lsn_t lsn, uint64_t e, uint64_t queue, uint32_t *out_bit);
bool entry_target(const struct living *l, lsn_t lsn, uint64_t e, uint64_t queue);

/* entry_forget_targets: nobody waits for it any more; their notes go, too. Returns the entry without them. */
uint64_t entry_forget_targets(struct living *l, lsn_t lsn, uint64_t e);

/* entry_remove: it is dead. entry_clear: a reason less: dead if it was the last. */
void entry_remove(struct living *l, lsn_t lsn);
void entry_clear(struct living *l, lsn_t lsn, uint64_t reason);

#endif
