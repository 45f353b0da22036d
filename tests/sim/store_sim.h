/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_STORE_SIM_H
#define WEIR_TESTS_STORE_SIM_H

/*
 * store_sim.h: a store with a slow disk in simulated time. It keeps nothing: what it simulates is when "durable up to
 * LSN" comes: some time after submit, in batches, through the shard's mailbox as from a writer thread; or within
 * submit.
 */

#include <stdint.h>

#include "core/base/mailbox.h"
#include "core/store.h"
#include "tests/sim/loop_sim.h"

#define STORE_KINDS (STORE_WILL + 1u)

struct store_sim {
    struct store store; /* first: what the shard gets */
    struct loop_sim *loop;
    struct mem *mem;
    struct rng *rng;
    struct mailbox *mailbox;  /* set by whoever makes the shard; NULL: durable within submit */
    uint32_t ms_max;          /* a write takes 0 .. ms_max ms */
    struct sim_event written; /* the batch that the disk is busy with */
    struct letter letter;
    lsn_t last, submitted, writing, durable;
    uint32_t records[STORE_KINDS]; /* appended, by kind */
    bool is_open, is_posted, has_failed;
};

/* store_sim_fail: from now on nothing becomes durable; the shard is told by letter. */
void store_sim_fail(struct store_sim *s);

/* store_sim_new: freed by its own ops->close. */
struct store_sim *store_sim_new(struct loop_sim *loop, struct mem *mem, struct rng *rng, uint32_t ms_max) MUST_CHECK;

#endif
