/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_RUNNER_SIM_H
#define WEIR_TESTS_RUNNER_SIM_H

/*
 * runner_sim.h: persist/runner.h in simulated time. Each lane works by itself: a job is begun some time after the one
 * before it, run at once in one piece, and its `done` reaches the shard's mailbox some time later. A process that dies
 * leaves jobs in all three states.
 *
 * Thread: one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "persist/runner.h"
#include "tests/sim/loop_sim.h"

struct runner_sim_pace {
    uint32_t write_ms_max; /* a job of LANE_WRITE takes 0 .. so long before it runs */
    uint32_t read_ms_max;  /* LANE_READ */
    uint32_t done_ms_max;  /* and `done` comes 0 .. so long after it ran */
};

/* runner_sim_new: destroyed by its own ops->destroy. loop, mem and rng must outlive it. */
struct runner *runner_sim_new(struct loop_sim *loop, struct mem *mem, struct rng *rng,
                              const struct runner_sim_pace *pace) MUST_CHECK;

/* runner_sim_set_pace: for jobs begun from now on. */
void runner_sim_set_pace(struct runner *r, const struct runner_sim_pace *pace);

/* runner_sim_is_idle: nothing was posted that is not done. */
bool runner_sim_is_idle(const struct runner *r);

/* runner_sim_is_busy: a job of this lane is begun and not run yet. */
bool runner_sim_is_busy(const struct runner *r, enum runner_lane lane);

/* runner_sim_die: the process dies: first the job under way of a lane, if `partly` names one (LANE_N: none), runs, for
 * which the disk was prepared (platter_dies_in); nothing else runs by itself any more. What wait() is asked for
 * afterwards runs against a dead disk. */
void runner_sim_die(struct runner *r, enum runner_lane partly);

#endif
