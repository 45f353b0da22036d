/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel.c: hierarchical timing wheel.
 *
 * A due time is a number of ten digits in base 64. A timer sits on the level of the highest digit in which its due
 * time differs from `now`, in the slot which that digit names:
 *
 *     now   ... 0  5 17 40                     level 2   [ . . 6 . . ]   ─ cascades when now = ... 0 6 0 0
 *     due   ... 0  6 02 33   differs in        level 1   [ . . . . . ]
 *                  ^ digit 2 = 6               level 0   [ . . . . . ]   ─ one millisecond per slot
 *
 * Time moves from one non-empty slot to the next: a slot of level 0 becomes ripe, one of a higher level is dealt out
 * again, and its timers land on lower levels.
 *
 * Invariants (wheel_check)
 *   1. An armed timer is in slot[level(due ^ now)][digit of due], or in `ripe` when due <= now. So its place can be
 *      told from the timer and `now` alone: disarm needs no more.
 *   2. Occupied slots lie behind now's own digit on every level, so the next one is the lowest bit of the lowest
 *      level in use.
 *   3. Two timers for the same ms are always in the same slot, in order of arming: dealing out keeps the order, and
 *      nobody is armed into a lower level before the slot above was dealt out.
 *   4. Time stands at a non-empty slot until its timers are handed out; so a budget also bounds the dealing out, and
 *      timers armed meanwhile take their place in order.
 * Cost    arm, disarm O(1); a timer is moved at most once per level. 24 bytes per timer.
 * Thread  the shard's.
 */
#include "core/base/wheel.h"

#include <string.h>

/* level_of: of a due time behind now. */
static inline unsigned level_of(const struct wheel *w, mono_ms due)
{
    return (63u - (unsigned)__builtin_clzll(due ^ w->now)) / WHEEL_BITS;
}

static inline unsigned digit_of(mono_ms t, unsigned level)
{
    return (unsigned)(t >> (level * WHEEL_BITS)) & (WHEEL_SLOTS - 1);
}

void wheel_init(struct wheel *w, mono_ms now)
{
    w->now = MIN(now, WHEEL_DUE_MAX);
    memset(w->used, 0, sizeof(w->used));
    list_init(&w->ripe);
    w->armed_n = 0;
}

/* place: puts a timer that is in no list where its due time belongs. */
static inline void place(struct wheel *w, struct wtimer *t)
{
    if (t->due <= w->now) {
        list_push(&w->ripe, &t->node);
        return;
    }
    unsigned level = level_of(w, t->due), digit = digit_of(t->due, level);
    struct list *slot = &w->slot[level][digit];
    uint64_t bit = UINT64_C(1) << digit;
    if (!(w->used[level] & bit)) {
        w->used[level] |= bit;
        list_init(slot);
    }
    list_push(slot, &t->node);
}

/* unplace: takes an armed timer out of its list. */
static inline void unplace(struct wheel *w, struct wtimer *t)
{
    list_del(&t->node);
    if (t->due <= w->now)
        return;
    unsigned level = level_of(w, t->due), digit = digit_of(t->due, level);
    if (list_is_empty(&w->slot[level][digit]))
        w->used[level] &= ~(UINT64_C(1) << digit);
}

void wheel_arm(struct wheel *w, struct wtimer *t, mono_ms due)
{
    if (wheel_is_armed(t))
        unplace(w, t);
    else
        w->armed_n++;
    t->due = MIN(due, WHEEL_DUE_MAX);
    place(w, t);
}

void wheel_disarm(struct wheel *w, struct wtimer *t)
{
    if (!wheel_is_armed(t))
        return;
    unplace(w, t);
    w->armed_n--;
}

/* next_slot: the start of the next non-empty slot and its level; MONO_NEVER and WHEEL_LEVELS when there is none. */
static inline mono_ms next_slot(const struct wheel *w, unsigned *out_level)
{
    unsigned level = 0;
    while (level < WHEEL_LEVELS && w->used[level] == 0)
        level++;
    *out_level = level;
    if (level == WHEEL_LEVELS)
        return MONO_NEVER;
    unsigned digit = (unsigned)__builtin_ctzll(w->used[level]);
    unsigned above = (level + 1) * WHEEL_BITS;
    mono_ms high = w->now >> above << above;
    return high | (mono_ms)digit << (level * WHEEL_BITS);
}

mono_ms wheel_next(const struct wheel *w)
{
    unsigned level;
    return list_is_empty(&w->ripe) ? next_slot(w, &level) : w->now;
}

/* open_slot: moves time to the start of a slot and its timers to `ripe` or to lower levels. */
static void open_slot(struct wheel *w, mono_ms start, unsigned level)
{
    unsigned digit = digit_of(start, level);
    struct list timers;
    list_init(&timers);
    list_splice(&timers, &w->slot[level][digit]);
    w->used[level] &= ~(UINT64_C(1) << digit);
    w->now = start;
    if (level == 0) {
        list_splice(&w->ripe, &timers);
        return;
    }
    LIST_EACH(&timers, n)
    {
        list_del(n);
        place(w, LIST_ITEM(n, struct wtimer, node));
    }
}

struct wtimer *wheel_pop(struct wheel *w, mono_ms now)
{
    now = MIN(now, WHEEL_DUE_MAX);
    while (list_is_empty(&w->ripe)) {
        unsigned level;
        mono_ms start = next_slot(w, &level);
        if (level == WHEEL_LEVELS || start > now) {
            w->now = MAX(w->now, now);
            return NULL;
        }
        open_slot(w, start, level);
    }
    w->armed_n--;
    return LIST_ITEM(list_pop(&w->ripe), struct wtimer, node);
}

void wheel_check(const struct wheel *w)
{
    uint64_t n = 0;
    LIST_EACH(&w->ripe, node)
    {
        BUG_ON(LIST_ITEM(node, struct wtimer, node)->due > w->now);
        n++;
    }
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        for (unsigned digit = 0; digit < WHEEL_SLOTS; digit++) {
            if (!(w->used[level] >> digit & 1))
                continue;
            const struct list *slot = &w->slot[level][digit];
            BUG_ON(list_is_empty(slot) || digit <= digit_of(w->now, level));
            LIST_EACH(slot, node)
            {
                mono_ms due = LIST_ITEM(node, struct wtimer, node)->due;
                BUG_ON(due <= w->now || level_of(w, due) != level || digit_of(due, level) != digit);
                n++;
            }
        }
    }
    BUG_ON(n != w->armed_n);
}
