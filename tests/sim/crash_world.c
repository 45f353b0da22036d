/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_world.c: one run, from the seed to the verdict.
 *
 *     build ─► lives: random acts, then a crash (or an orderly end), then a while without a broker
 *           ─► rest: everything is fetched, settled, answered ─► verdict
 *           ─► one more crash ─► what was settled stays settled, what was retained is there, sessions are present
 *
 * Checked by the world itself
 *   1. shard_check() now and then; no turn after turn in one moment without end; the run comes to rest.
 *   2. At rest nothing waits in any queue.
 */
#include "tests/sim/crash_world.h"

#include <stdarg.h>
#include <stdio.h>

#include "persist/store_image.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_stomp/stomp_adapter.h"
#include "tests/sim/crash_app.h"
#include "tests/sim/crash_dev.h"
#include "tests/sim/crash_probe.h"

enum {
    TURNS_MAX = 100000,   /* in one millisecond */
    QUIET_MS = 3500,      /* nothing moved for so long: it has come to rest */
    STUCK_MS = 30000,     /* or so long, though something waits: with a disk that takes seconds */
    REST_MS_MAX = 600000, /* and it has to, within this time */
    CHECK_EVERY = 200,    /* steps */
};

void crash_trace(struct crash_world *w, const char *fmt, ...)
{
    if (!w->verbose)
        return;
    va_list args;
    printf("%8llu ", (unsigned long long)w->loop->now);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
}

static void write_log(void *ctx, enum log_level level, const char *line)
{
    crash_trace(ctx, "    [%s] %s", log_level_name(level), line);
}

/* ---- plan ---------------------------------------------------------------------------------------------------------
 */

static void plan_disk(struct crash_world *w)
{
    struct crash_plan *p = &w->plan;
    p->sync = crash_chance(w, 15) ? STORE_LOG_INTERVAL : STORE_LOG_ALWAYS;
    p->interval_ms = 1 + crash_roll(w, 2000);
    p->linger_ms = crash_chance(w, 50) ? 20 : 0;
    p->commit_ms_min = crash_chance(w, 20) ? crash_roll(w, 30) : 0;
    p->segment_bytes = crash_chance(w, 70) ? 65536 : 65536u << crash_roll(w, 5);
    p->pace.write_ms_max = crash_chance(w, 80) ? crash_roll(w, 30) : crash_roll(w, 300);
    p->pace.read_ms_max = crash_chance(w, 80) ? crash_roll(w, 30) : crash_roll(w, 1000);
    p->pace.done_ms_max = crash_chance(w, 70) ? 0 : crash_roll(w, 20);
    uint32_t kind = crash_roll(w, 10);
    p->gets_full = kind == 0 || kind == 1;
    p->fails_disk = kind == 2 || kind == 1;
    p->dies_on_open = crash_chance(w, 25);
    p->moves_clock = crash_chance(w, 10);
    p->on_memory = w->seed % 8 == 7;
    if (p->on_memory)
        p->gets_full = p->fails_disk = p->dies_on_open = false;
}

void crash_plan_make(struct crash_world *w)
{
    struct crash_plan *p = &w->plan;
    *p = (struct crash_plan){0};
    p->lives = 1 + crash_roll(w, 5);
    p->acts = 40 + crash_roll(w, crash_chance(w, 80) ? 250 : 900);
    p->act_ms_max = 1 + crash_roll(w, 25);
    p->devs = 2 + crash_roll(w, CRASH_DEVS - 1);
    p->apps = 2 + crash_roll(w, CRASH_APPS - 1);
    p->has_big = crash_chance(w, 15);
    p->has_clean = crash_chance(w, 30);
    p->net = (struct net_faults){.buffer_bytes = 65536, .delay_ms_max = crash_roll(w, crash_chance(w, 80) ? 15 : 200)};
    if (crash_chance(w, 20))
        p->net.piece_max = 1 + crash_roll(w, 300);
    if (p->has_big && p->net.piece_max)
        p->net.piece_max += 500; /* else a payload alone is tens of thousands of turns */
    plan_disk(w);
    p->has_pages = crash_chance(w, 25);
    p->is_tight = p->has_pages && crash_chance(w, 50);
    if (p->has_pages) {
        p->acts = 500 + crash_roll(w, 500);
        p->pace.read_ms_max %= 10; /* a page is hundreds of reads */
    }
    w->model.late_ms = p->is_tight ? UINT32_MAX : 2 * p->net.delay_ms_max + 1000; /* tight: it is read late, too */
    w->model.may_refuse = p->gets_full || p->fails_disk;
    w->model.ignores_due = p->moves_clock;
    bool is_prompt = !p->is_tight; /* else an end may be noticed late, and two connections act side by side */
    w->model.is_ordered[BOX_QUEUE] = w->model.is_ordered[BOX_QUEUE + 2] = is_prompt;
    for (uint32_t d = 0; d < CRASH_DEVS; d++)
        w->model.is_ordered[BOX_DEV + d] = is_prompt;
}

uint32_t crash_size(struct crash_world *w)
{
    if (w->plan.has_big && crash_chance(w, 2))
        return 60000 + crash_roll(w, 30000);
    return CRASH_PAYLOAD_MIN + (crash_chance(w, 85) ? crash_roll(w, 200) : crash_roll(w, 6000));
}

/* ---- build --------------------------------------------------------------------------------------------------------
 */

static void build(struct crash_world *w)
{
    mem_heap_init(&w->sim_heap);
    mem_heap_init(&w->heap);
    mem_init(&w->mem, &w->sim_heap, "simulator");
    rng_init(&w->rng, w->seed);
    w->loop = loop_sim_new(&w->mem, &w->rng);
    w->loop->wall_ahead = 1700000000000;
    crash_model_init(&w->model, &w->mem, &w->loop->now);
    crash_plan_make(w);
    net_sim_init(&w->net, w->loop, &w->mem, &w->rng, &w->plan.net);
    log_init(&w->log);
    w->log.level = w->verbose ? LOG_DEBUG : LOG_ERROR;
    w->log.write = write_log;
    w->log.ctx = w;
    w->adapters[0] = &mqtt_adapter;
    w->adapters[1] = &stomp_adapter;
    w->door = (struct door){.adapter = w->adapters, .name = "sim", .allow_anonymous = true};
    w->platter = platter_new(&w->mem, &w->rng, UINT64_MAX);
    w->image = store_image_new(&w->mem);
    BUG_ON(w->image == NULL);
    for (uint32_t i = 0; i < w->plan.devs; i++)
        w->dev[i] = crash_dev_new(w, i);
    for (uint32_t i = 0; i < w->plan.apps; i++)
        w->app[i] = crash_app_new(w, i);
    w->probe = crash_probe_new(w);
}

static void unbuild(struct crash_world *w)
{
    sim_cancel(w->loop, &w->act);
    sim_cancel(w->loop, &w->tick);
    for (uint32_t i = 0; i < w->plan.devs; i++)
        crash_dev_free(w->dev[i]);
    for (uint32_t i = 0; i < w->plan.apps; i++)
        crash_app_free(w->app[i]);
    crash_probe_free(w->probe);
    net_sim_fini(&w->net);
    store_image_free(w->image);
    platter_free(w->platter);
    w->loop->loop.ops->destroy(&w->loop->loop);
    crash_model_fini(&w->model);
    BUG_ON(w->sim_heap.bytes != 0);
}

/* ---- play ---------------------------------------------------------------------------------------------------------
 */

static bool is_well(const struct crash_world *w)
{
    return w->model.why[0] == 0;
}

/* step: one step of the loop, with checks. */
static bool step(struct crash_world *w)
{
    bool goes_on = loop_sim_step(w->loop);
    if (w->loop->turns_now > TURNS_MAX)
        crash_fail(&w->model, "%u turns in one millisecond: the loop never waits", TURNS_MAX);
    if (w->shard && ++w->checks % CHECK_EVERY == 0)
        shard_check(w->shard);
    return goes_on && is_well(w);
}

static void on_act(struct sim_event *ev)
{
    struct crash_world *w = CONTAINER_OF(ev, struct crash_world, act);
    if (w->acts_left == 0)
        return;
    w->acts_left--;
    crash_life_trouble(w);
    uint32_t who = crash_roll(w, w->plan.devs + w->plan.apps);
    if (crash_chance(w, 1))
        (void)crash_probe_look(w->probe);
    else if (who < w->plan.devs)
        crash_dev_act(w->dev[who]);
    else
        crash_app_act(w->app[who - w->plan.devs]);
    mono_ms pause = crash_chance(w, 2)    ? crash_roll(w, 6000)
                    : crash_chance(w, 30) ? 0
                                          : crash_roll(w, w->plan.act_ms_max);
    sim_plan(w->loop, ev, crash_now(w) + pause);
}

/* begin: the broker comes back, after some tries perhaps. */
static void begin(struct crash_world *w)
{
    while (is_well(w) && !crash_life_begin(w))
        ;
}

static void live(struct crash_world *w, uint32_t acts)
{
    w->acts_left = acts;
    w->act.on_due = on_act;
    sim_plan(w->loop, &w->act, crash_now(w));
    while (w->acts_left > 0 && step(w))
        ;
    sim_cancel(w->loop, &w->act);
}

static void play(struct crash_world *w, uint32_t acts)
{
    for (uint32_t i = 0; i < w->plan.lives && is_well(w); i++) {
        begin(w);
        if (is_well(w))
            live(w, acts ? acts : w->plan.acts);
        if (!w->shard)
            return;
        if (!w->has_failed && crash_chance(w, 12))
            crash_life_end(w);
        else
            crash_life_kill(w);
        loop_sim_run_to(w->loop, crash_now(w) + crash_roll(w, crash_chance(w, 70) ? 300 : 10000));
    }
}

/* ---- rest ---------------------------------------------------------------------------------------------------------
 */

static bool all_rest(struct crash_world *w)
{
    bool is_done = true;
    for (uint32_t i = 0; i < w->plan.devs; i++)
        is_done &= crash_dev_rest(w->dev[i]);
    for (uint32_t i = 0; i < w->plan.apps; i++)
        is_done &= crash_app_rest(w->app[i]);
    return is_done;
}

/* say_who: why it does not come to rest. */
static void say_who(struct crash_world *w)
{
    for (uint32_t i = 0; i < w->plan.devs; i++) {
        const struct crash_dev *d = w->dev[i];
        crash_trace(w, "%s: state %d, %u publishes open, %u answers owed, asks %d", d->id, d->state, d->out_n,
                    d->owed_n, (int)d->ask);
    }
    for (uint32_t i = 0; i < w->plan.apps; i++) {
        const struct crash_app *a = w->app[i];
        crash_trace(w, "%s: state %d, %u receipts awaited, %u deliveries held", a->name, a->state, a->await_n,
                    a->held_n);
    }
    crash_fail(&w->model, "the run does not come to rest: somebody waits for an answer that does not come");
}

/* waiting: messages in queues that somebody consumes. */
static uint64_t waiting(const struct crash_world *w)
{
    uint64_t n = 0;
    LIST_EACH(&w->shard->vhost->queues_all, node)
    {
        const struct queue *q = LIST_ITEM(node, struct queue, all);
        n += list_is_empty(&q->consumers) ? 0 : q->ready_n;
    }
    return n;
}

/* on_poll: so that the clock does not jump to the next far timer. */
static void on_poll(struct sim_event *ev)
{
    struct crash_world *w = CONTAINER_OF(ev, struct crash_world, act);
    sim_plan(w->loop, ev, crash_now(w) + 20);
}

static void rest(struct crash_world *w)
{
    mono_ms start = crash_now(w);
    w->busy_at = start;
    w->act.on_due = on_poll;
    sim_plan(w->loop, &w->act, start);
    while (is_well(w)) {
        for (mono_ms until = crash_now(w) + 20; crash_now(w) < until && step(w);)
            ;
        if (!all_rest(w))
            w->busy_at = crash_now(w);
        mono_ms patience = waiting(w) ? STUCK_MS : QUIET_MS;
        if (crash_now(w) >= MAX(w->busy_at, w->late_until) + patience)
            break;
        if (crash_now(w) > start + REST_MS_MAX)
            say_who(w);
    }
    sim_cancel(w->loop, &w->act);
}

static void look(struct crash_world *w)
{
    uint32_t looks = crash_probe_looks(w->probe);
    mono_ms late = crash_now(w) + 60000;
    while (is_well(w) && crash_probe_looks(w->probe) == looks && crash_now(w) < late) {
        (void)crash_probe_look(w->probe);
        loop_sim_run_to(w->loop, crash_now(w) + 20);
    }
    if (crash_probe_looks(w->probe) == looks)
        crash_fail(&w->model, "nobody could look at what is retained");
}

/* verdict: everything is fetched; then the broker dies once more, and nothing may come back or be missing. */
static void verdict(struct crash_world *w)
{
    w->is_draining = true;
    w->net.faults = (struct net_faults){.delay_ms_max = 1, .buffer_bytes = 65536};
    crash_life_calm(w);
    begin(w);
    crash_trace(w, "---- rest ----");
    rest(w);
    if (is_well(w))
        look(w);
    if (is_well(w) && waiting(w)) /* at rest, with everybody there */
        crash_fail(&w->model, "%llu messages still wait in queues with consumers", (unsigned long long)waiting(w));
    if (is_well(w))
        crash_judge(&w->model);
    if (!is_well(w))
        return;
    uint64_t gots = w->model.gots;
    crash_life_kill(w);
    begin(w);
    rest(w);
    if (is_well(w) && w->model.gots != gots)
        crash_fail(&w->model, "%llu deliveries came again after everything was settled",
                   (unsigned long long)(w->model.gots - gots));
    if (is_well(w))
        look(w);
    if (is_well(w))
        crash_judge(&w->model);
}

bool crash_run(uint64_t seed, uint32_t acts, bool verbose, char *why, size_t why_cap)
{
    struct crash_world w = {.seed = seed, .verbose = verbose};
    build(&w);
    const struct crash_plan *p = &w.plan;
    crash_trace(
        &w,
        "lives %u acts %u devs %u apps %u %s sync %d interval %u linger %u segment %llu full %d fails %d big %d "
        "clock %d open %d pages %d %d",
        p->lives, p->acts, p->devs, p->apps, p->on_memory ? "memory" : "log", p->sync, p->interval_ms, p->linger_ms,
        (unsigned long long)p->segment_bytes, p->gets_full, p->fails_disk, p->has_big, p->moves_clock, p->dies_on_open,
        p->has_pages, p->is_tight);
    play(&w, acts);
    if (is_well(&w))
        verdict(&w);
    crash_trace(
        &w, "%u messages, %llu deliveries, %u transactions, %llu records in %llu batches, %llu consumed, %llu copied",
        w.model.msg_n, (unsigned long long)w.model.gots, w.model.tx_n, (unsigned long long)w.sum.records,
        (unsigned long long)w.sum.batches, (unsigned long long)w.sum.consumed, (unsigned long long)w.sum.copied);
    if (w.shard)
        crash_life_kill(&w);
    snprintf(why, why_cap, "%s", w.model.why);
    bool ok = is_well(&w);
    unbuild(&w);
    return ok;
}
