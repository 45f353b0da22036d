/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_LOOP_SIM_H
#define WEIR_TESTS_LOOP_SIM_H

/*
 * loop_sim.h: a loop whose clock is a number. Everything that happens later is a `sim_event`; the clock only moves when
 * nothing is ready now, and then straight to the next event or the loop's timer, so a year of silence costs a
 * microsecond. Two runs with the same rng make the same steps.
 *
 * One step is: the events that are due (some of them, if there is an rng to choose with), then the polls (net_sim
 * reports readiness there), then one turn if anything was ready; or, when nothing is, a move of the clock.
 *
 * Thread: one; only wake() may come from another.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/loop.h"

/* Something that will happen. Embedded in what it happens to; zeroed memory is an event that is not planned. */
struct sim_event {
    void (*on_due)(struct sim_event *); /* set by the owner; may plan and cancel, also itself */
    mono_ms due;
    uint64_t seq; /* events of one millisecond happen in the order in which they were planned */
    uint32_t at;  /* place in the heap, from 1; 0: not planned */
};

/* Somebody who is asked once per step. Returns true when it called somebody's on_ready. */
struct sim_poll {
    bool (*poll)(struct sim_poll *);
    struct sim_poll *next;
};

struct loop_sim {
    struct loop loop; /* first: what the shard gets */
    struct mem *mem;
    struct rng *rng;
    mono_ms now;
    mono_ms timer;           /* what loop_ops.timer was given; one shot */
    wall_ms wall_ahead;      /* wall = now + wall_ahead; tests may change it */
    struct sim_event **heap; /* [0 .. heap_n): by due, then seq */
    uint32_t heap_n, heap_cap;
    uint64_t seq;
    struct sim_poll *polls;
    uint32_t io_n; /* ios being watched */
    _Atomic bool is_woken;
    bool is_stopped, is_busy;  /* busy: the last turn left work behind */
    uint64_t turns, turns_now; /* in all; since the clock last moved */
};

#define LOOP_SIM_START 1000u /* the clock's first value, ms */

/* loop_sim_new: `rng` (may be NULL: no random choices) and `mem` must outlive it. Freed by loop.ops->destroy, when no
 * io is watched any more. Never NULL: a test machine without memory is a bug. */
struct loop_sim *loop_sim_new(struct mem *mem, struct rng *rng) MUST_CHECK;

/* sim_plan: ev->on_due is called when the clock reaches `due` (at once if that is past); replans if it was planned. */
void sim_plan(struct loop_sim *l, struct sim_event *ev, mono_ms due);

/* sim_cancel: harmless when not planned. */
void sim_cancel(struct loop_sim *l, struct sim_event *ev);

static inline bool sim_is_planned(const struct sim_event *ev)
{
    return ev->at != 0;
}

/* loop_sim_add_poll: p must stay until loop_sim_del_poll. */
void loop_sim_add_poll(struct loop_sim *l, struct sim_poll *p);
void loop_sim_del_poll(struct loop_sim *l, struct sim_poll *p);

/* loop_sim_io: pretends that io->fd became ready: on_ready, if that is watched, then a turn in the next step. */
void loop_sim_io(struct loop_sim *l, struct loop_io *io, unsigned events);

/* loop_sim_step: see above. False when nothing is ready and nothing is planned: nothing will ever happen again. */
bool loop_sim_step(struct loop_sim *l);

/* loop_sim_settle: steps while something is ready or due within the current millisecond; the clock does not move. At
 * most `steps_max` steps; false if that was not enough. */
bool loop_sim_settle(struct loop_sim *l, uint32_t steps_max);

/* loop_sim_run_to: steps until the clock is at `t` (it ends exactly there). */
void loop_sim_run_to(struct loop_sim *l, mono_ms t);

#endif
