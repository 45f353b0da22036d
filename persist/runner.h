/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_RUNNER_H
#define WEIR_PERSIST_RUNNER_H

/*
 * runner.h: who does what blocks. A job's `run` is called away from the shard, `done` on the shard's thread afterwards.
 * Two lanes, each with its own order: what one lane is given runs one after the other, first in first out.
 *
 *     runner_threads.c   two threads, and letters back to the shard's mailbox
 *     tests/sim/runner_sim.c   simulated time; run and done are called by the simulator's loop
 *     runner_now.c       at once, within post, for tests and for close: done is called by runner_turn
 */

#include <stdbool.h>

#include "core/base/check.h"
#include "core/base/mailbox.h"

enum runner_lane {
    LANE_WRITE, /* the log's tail: write and sync */
    LANE_READ,  /* reading back, new segments, removing old ones */
    LANE_N
};

/* owner: whoever posts it, again from `done` on. `run` must not allocate from a shard's memory accounts. */
struct job {
    struct letter letter; /* the runner's */
    struct job *next;     /* the runner's */
    void (*run)(struct job *);
    void (*done)(struct job *);
};

struct runner;

struct runner_ops {
    /* start: before the first post; mailbox: where `done` is called from. False: no threads to be had. */
    bool (*start)(struct runner *, struct mailbox *mailbox);
    void (*post)(struct runner *, enum runner_lane lane, struct job *);
    /* wait: returns when every job posted so far, and those posted meanwhile, has run and its done was called, on this
     * thread, which is the shard's: letters of this runner that are still in the mailbox are opened. May block. */
    void (*wait)(struct runner *);
    /* destroy: nothing is posted any more, and wait has returned. */
    void (*destroy)(struct runner *);
};

struct runner {
    const struct runner_ops *ops;
};

struct mem;

/* runner_threads_new, runner_now_new: NULL when out of memory. */
struct runner *runner_threads_new(struct mem *mem) MUST_CHECK;
struct runner *runner_now_new(struct mem *mem) MUST_CHECK;

/* runner_turn: of runner_now: calls done of what has run; true if there was any. */
bool runner_turn(struct runner *r);

#endif
