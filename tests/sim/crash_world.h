/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_CRASH_WORLD_H
#define WEIR_TESTS_CRASH_WORLD_H

/*
 * crash_world.h: a whole broker with a log that is killed again and again, among peers that remember what they were
 * promised. One run:
 *
 *     life ─► crash ─► life ─► crash ... ─► last life: everything is fetched and settled ─► crash ─► nothing comes back
 *
 * A life may also end in good order, may begin on a disk that dies while the log is being read, may have a disk that is
 * full for a while or one whose sync fails. disk_sim.h says what a crash leaves; crash_model.h what must be true.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/conn.h"
#include "core/shard.h"
#include "persist/store_log.h"
#include "tests/sim/crash_model.h"
#include "tests/sim/disk_sim.h"
#include "tests/sim/loop_sim.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/runner_sim.h"

struct crash_app;
struct crash_dev;
struct crash_probe;
struct store_image;

enum { CRASH_APPS = 3 };

/* What a seed is like. */
struct crash_plan {
    uint32_t lives, acts; /* acts: in each life */
    uint32_t act_ms_max;
    uint32_t devs, apps;
    bool on_memory; /* store_mem and its image instead of the log */
    enum store_log_sync sync;
    uint32_t interval_ms, linger_ms, commit_ms_min;
    uint64_t segment_bytes;
    struct runner_sim_pace pace;
    struct net_faults net;
    bool has_big;      /* payloads that are larger than a segment */
    bool gets_full;    /* the disk is full for a while in some lives */
    bool fails_disk;   /* a write or sync fails in some lives */
    bool dies_on_open; /* some lives end while the log is being read */
    bool moves_clock;  /* the wall clock jumps */
    bool has_clean;    /* sessions are sometimes thrown away */
    bool has_pages;    /* memory is always short: what waits is left to the disk (core/entry_page.h) */
    bool is_tight;     /* and very short */
};

struct crash_world {
    uint64_t seed;
    bool verbose, is_draining, is_over;
    struct crash_plan plan;
    struct rng rng;
    struct mem_heap sim_heap, heap;
    struct mem mem, store_mem;
    struct loop_sim *loop;
    struct net_sim net;
    struct log log;
    const struct adapter_ops *adapters[3];
    struct door door;
    struct crash_model model;

    struct platter *platter;
    struct store_image *image; /* on_memory */
    struct runner *runner;     /* of this life; the store's. NULL: none */
    struct store *store;       /* of this life */
    const struct store_ops *store_ops;
    struct store_ops told_ops; /* verbose: the same, and every record is told */
    store_visit_fn visit;
    void *visit_ctx;
    struct sim_event tick; /* on_memory */
    struct letter tick_letter;
    bool is_posted;
    struct shard *shard; /* NULL: the broker is down */
    mono_ms up_since;
    uint32_t life, acts_left, checks;
    bool has_failed; /* the disk was told to fail in this life */
    bool is_full;
    struct sim_event act;

    struct crash_dev *dev[CRASH_DEVS];
    struct crash_app *app[CRASH_APPS];
    struct crash_probe *probe;
    bool queue_known[CRASH_QUEUES]; /* somebody was told that it is there */
    mono_ms busy_at, late_until;    /* something moved; a delayed message or will is due */
    struct {
        uint64_t records, consumed, copied, batches, full, fails, half_opens;
    } sum; /* of all lives */
};

/* crash_run: plays a seed. acts: in each life, 0: what the seed says. True when nothing was violated; else why[] says
 * what. */
bool crash_run(uint64_t seed, uint32_t acts, bool verbose, char *why, size_t why_cap);

void crash_plan_make(struct crash_world *w);
void crash_trace(struct crash_world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- lives: crash_life.c ---- */

/* crash_life_tell: from now on what is appended to w->store, and what it replays, is traced. */
void crash_life_tell(struct crash_world *w);
/* crash_life_begin: a new broker on what is on the disk. False: it died while opening (the plan wanted that), try
 * again. */
bool crash_life_begin(struct crash_world *w);
/* crash_life_kill: the broker dies. crash_life_end: it ends in good order. */
void crash_life_kill(struct crash_world *w);
void crash_life_end(struct crash_world *w);
/* crash_life_step: faults that come and go within a life. */
void crash_life_trouble(struct crash_world *w);
void crash_life_calm(struct crash_world *w);

static inline uint32_t crash_roll(struct crash_world *w, uint32_t n)
{
    return rng_below(&w->rng, n);
}

static inline bool crash_chance(struct crash_world *w, unsigned of_100)
{
    return rng_chance(&w->rng, of_100);
}

static inline mono_ms crash_now(const struct crash_world *w)
{
    return w->loop->now;
}

/* crash_may_refuse: has the broker a reason to say no? At the end it has none, once the former life's last words have
 * arrived. */
static inline bool crash_may_refuse(const struct crash_world *w)
{
    return w->model.may_refuse && !(w->is_draining && w->shard && crash_now(w) > w->up_since + 1000);
}

/* crash_size: of a payload. */
uint32_t crash_size(struct crash_world *w);

#endif
