/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_WHEEL_H
#define WEIR_BASE_WHEEL_H

/*
 * wheel.h: all timers of a shard: TTL, delay, retry, expiry, keep-alive. Hierarchical wheel, 64 slots a level,
 * 1 ms resolution, any distance (years). Arm and disarm O(1); firing O(1) amortised; a timer never fires early,
 * and in order of due time (to the ms; within one ms in order of arming). 24 bytes per timer, plus what contains it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/list.h"

#define WHEEL_BITS    6
#define WHEEL_SLOTS   (1u << WHEEL_BITS)
#define WHEEL_LEVELS  10 /* 60 bits: every due time has its slot, so there is no far end to treat specially */
#define WHEEL_DUE_MAX ((UINT64_C(1) << 56) - 1) /* two million years: in practice never */

struct wtimer {
    struct list_node node; /* zeroed memory is a disarmed timer */
    uint64_t due : 56;     /* mono_ms, at most WHEEL_DUE_MAX */
    uint64_t kind : 8;     /* the owner's tag: what contains this timer; the wheel never touches it */
};

struct wheel {
    mono_ms now; /* what is due by now has fired or is ripe; behind the clock while due timers are left */
    uint64_t used[WHEEL_LEVELS];                 /* bit per non-empty slot */
    struct list slot[WHEEL_LEVELS][WHEEL_SLOTS]; /* set up only where the bit is set */
    struct list ripe;                            /* due, not yet handed out */
    uint64_t armed_n;
};

/* wheel_init: time starts at `now`. No allocation; nothing to fini. */
void wheel_init(struct wheel *w, mono_ms now);

/* wheel_arm: (re)arms t for `due`; in the past means: at the next wheel_pop, behind what is ripe already. A due time
 * behind WHEEL_DUE_MAX, MONO_NEVER for one, is stored as WHEEL_DUE_MAX. t->kind stays as it is. */
void wheel_arm(struct wheel *w, struct wtimer *t, mono_ms due);

/* wheel_disarm: harmless when not armed. */
void wheel_disarm(struct wheel *w, struct wtimer *t);

static inline bool wheel_is_armed(const struct wtimer *t)
{
    return list_in(&t->node);
}

/* wheel_next: a time at or before the earliest due timer (exact when it lies within the first level, otherwise the
 * next time the wheel wants to be advanced, which is always later than w->now); w->now when something is ripe;
 * MONO_NEVER when nothing is armed. */
mono_ms wheel_next(const struct wheel *w);

/* wheel_pop: advances time towards `now` (never back, never behind WHEEL_DUE_MAX) and takes one due timer off
 * (disarmed), NULL when none is left. The caller loops with a budget; what stays is handed out by later calls. */
struct wtimer *wheel_pop(struct wheel *w, mono_ms now);

/* wheel_check: asserts all invariants; for tests. */
void wheel_check(const struct wheel *w);

#endif
