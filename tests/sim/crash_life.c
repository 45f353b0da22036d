/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_life.c: the broker's lives: how one begins on what the last one left, and the ways it ends.
 *
 *     kill   connections break ─► perhaps the job under way is done in part ─► the disk keeps what it keeps
 *            ─► the old shard and store are freed, and whatever they still try fails on a dead disk
 *     end    shard_stop, shard_free: in good order
 *
 * Invariants
 *   1. Every byte of a life comes back when it is over.
 *   2. The broker always starts, whatever the disk looks like (but while the disk dies under it).
 */
#include "tests/sim/crash_app.h"
#include "tests/sim/crash_dev.h"

#include <string.h>

#include "persist/store_image.h"
#include "persist/store_mem.h"

/* ---- the store in memory: ticks through the mailbox, as from a writer ---------------------------------------------
 */

static void on_tick_letter(struct letter *letter, void *shard)
{
    UNUSED(shard);
    struct crash_world *w = CONTAINER_OF(letter, struct crash_world, tick_letter);
    w->is_posted = false;
    (void)store_mem_tick(w->store);
}

static void on_tick(struct sim_event *ev)
{
    struct crash_world *w = CONTAINER_OF(ev, struct crash_world, tick);
    if (w->shard == NULL)
        return;
    if (!w->is_posted) {
        w->is_posted = true;
        w->tick_letter.on_open = on_tick_letter;
        mailbox_post(&w->shard->mailbox, &w->tick_letter);
    }
    sim_plan(w->loop, ev, crash_now(w) + 1 + crash_roll(w, 20));
}

/* settle_letter: the mailbox must be empty when a shard is freed. */
static void settle_letter(struct crash_world *w)
{
    while (w->is_posted)
        (void)loop_sim_step(w->loop);
}

/* ---- beginning ----------------------------------------------------------------------------------------------------
 */

static struct store *new_store(struct crash_world *w)
{
    mem_init(&w->store_mem, &w->heap, "store");
    if (w->plan.on_memory) {
        w->runner = NULL;
        return store_mem_new(&w->store_mem, &(struct store_mem_config){.keep = true, .late = true, .image = w->image});
    }
    w->runner = runner_sim_new(w->loop, &w->mem, &w->rng, &w->plan.pace);
    return store_log_new(&w->store_mem, &(struct store_log_config){.disk = disk_sim_new(w->platter),
                                                                   .runner = w->runner,
                                                                   .log = &w->log,
                                                                   .sync = w->plan.sync,
                                                                   .interval_ms = w->plan.interval_ms,
                                                                   .commit_ms_min = w->plan.commit_ms_min,
                                                                   .linger_ms = w->plan.linger_ms,
                                                                   .segment_bytes = w->plan.segment_bytes,
                                                                   .seed = w->seed + w->life});
}

static enum platter_crash how(struct crash_world *w)
{
    bool is_kept = w->plan.sync == STORE_LOG_INTERVAL; /* which promises no more than that */
    return is_kept || crash_chance(w, 15) ? PLATTER_PROCESS : PLATTER_POWER;
}

static void check_heap(struct crash_world *w)
{
    if (w->heap.bytes != 0)
        crash_fail(&w->model, "%zu bytes of life %u did not come back", w->heap.bytes, w->life);
}

bool crash_life_begin(struct crash_world *w)
{
    bool dies = w->plan.dies_on_open && !w->is_draining && crash_chance(w, 30);
    w->life++;
    w->has_failed = w->is_full = false;
    w->loop->timer = MONO_NEVER;
    w->loop->is_busy = false;
    mem_heap_init(&w->heap);
    if (dies)
        platter_dies_in(w->platter, crash_roll(w, 12));
    if (w->plan.moves_clock)
        w->loop->wall_ahead += (int64_t)crash_roll(w, 20000) - 10000;
    struct shard_config config = {
        .loop = &w->loop->loop, .log = &w->log, .heap = &w->heap, .seed = w->seed + w->life, .retain_available = true};
    limits_default(&config.limits);
    if (w->plan.has_pages) {
        config.limits.memory_soft_mark = 1;
        config.limits.memory_high_mark = w->plan.is_tight ? 1 : UINT64_C(1) << 40;
        config.limits.memory_hard_mark = UINT64_C(1) << 40;
    }
    w->store = config.store = new_store(w);
    BUG_ON(config.store == NULL);
    if (w->verbose)
        crash_life_tell(w);
    w->shard = shard_new(&config);
    crash_trace(w, "---- life %u begins%s%s ----", w->life, dies ? ", on a disk that dies" : "",
                w->shard ? "" : ", and ends");
    if (w->shard == NULL && !dies)
        crash_fail(&w->model, "the broker did not start in life %u", w->life);
    if (w->shard && dies) { /* it got through, or nearly */
        w->sum.half_opens++;
        crash_life_kill(w);
    } else if (dies) {
        platter_crash(w->platter, how(w));
        check_heap(w);
    }
    if (w->shard == NULL)
        return false;
    w->up_since = crash_now(w);
    w->tick.on_due = on_tick;
    if (w->plan.on_memory)
        sim_plan(w->loop, &w->tick, crash_now(w) + 1);
    return true;
}

/* ---- ends ---------------------------------------------------------------------------------------------------------
 */

static void sum_up(struct crash_world *w)
{
    const struct store_stats *s = &w->store->stats;
    w->sum.records += s->records;
    w->sum.consumed += s->consumed;
    w->sum.copied += s->copied;
    w->sum.batches += s->batches;
}

/* cut_all: nothing the broker sends from here on arrives anywhere. */
static void cut_all(struct crash_world *w)
{
    for (uint32_t i = 0; i < w->plan.devs; i++)
        crash_link_cut(&w->dev[i]->link);
    for (uint32_t i = 0; i < w->plan.apps; i++)
        crash_link_cut(&w->app[i]->link);
}

static void kill_log(struct crash_world *w)
{
    enum runner_lane partly = LANE_N;
    if (runner_sim_is_busy(w->runner, LANE_WRITE) && crash_chance(w, 60))
        partly = LANE_WRITE;
    else if (runner_sim_is_busy(w->runner, LANE_READ) && crash_chance(w, 60))
        partly = LANE_READ;
    if (partly != LANE_N)
        platter_dies_in(w->platter, crash_roll(w, 4));
    runner_sim_die(w->runner, partly);
    platter_crash(w->platter, how(w));
}

void crash_life_kill(struct crash_world *w)
{
    cut_all(w);
    sum_up(w);
    if (w->plan.on_memory) {
        settle_letter(w);
        store_mem_crash(w->store, crash_roll(w, 3) == 0 ? 0 : crash_roll(w, 2) ? UINT64_MAX : crash_roll(w, 5000));
    } else {
        kill_log(w);
    }
    crash_trace(w, "---- life %u is killed ----", w->life);
    shard_free(w->shard);
    w->shard = NULL;
    sim_cancel(w->loop, &w->tick);
    check_heap(w);
}

static void on_stopped(void *ctx)
{
    *(bool *)ctx = true;
}

void crash_life_end(struct crash_world *w)
{
    bool is_stopped = false;
    crash_trace(w, "---- life %u ends ----", w->life);
    shard_stop(w->shard, 1000, on_stopped, &is_stopped);
    for (mono_ms late = crash_now(w) + 3000; !is_stopped && crash_now(w) < late;)
        if (!loop_sim_step(w->loop))
            break;
    if (!is_stopped)
        crash_fail(&w->model, "the broker did not stop within its time");
    settle_letter(w);
    sum_up(w);
    shard_free(w->shard);
    w->shard = NULL;
    sim_cancel(w->loop, &w->tick);
    check_heap(w);
}

/* ---- trouble within a life ----------------------------------------------------------------------------------------
 */

void crash_life_trouble(struct crash_world *w)
{
    if (w->plan.on_memory)
        return;
    if (w->plan.gets_full && crash_chance(w, 2)) {
        w->is_full = !w->is_full;
        w->sum.full += w->is_full;
        platter_set_capacity(w->platter, w->is_full ? platter_used(w->platter) : UINT64_MAX);
        crash_trace(w, "---- the disk %s ----", w->is_full ? "is full" : "has room");
    }
    if (w->plan.fails_disk && !w->has_failed && crash_chance(w, 1)) {
        w->has_failed = true;
        w->sum.fails++;
        platter_fail(w->platter, crash_chance(w, 70) ? PLATTER_FAIL_SYNC : PLATTER_FAIL_WRITE, 1 + crash_roll(w, 3));
        crash_trace(w, "---- the disk fails ----");
    }
}

void crash_life_calm(struct crash_world *w)
{
    w->is_full = false;
    w->plan.gets_full = w->plan.fails_disk = w->plan.dies_on_open = false;
    platter_set_capacity(w->platter, UINT64_MAX);
}
