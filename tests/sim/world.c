/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.c: one run, from the seed to the verdict.
 *
 *     build ─► play: one random act after the other, checks in between
 *           ─► drain: faults are over, sessions come back, everything is answered, until nothing moves any more
 *           ─► probe: what is retained, what lies in the queues
 *           ─► verdict of the model ─► the broker goes: every byte comes back
 *
 * Checked by the world itself, with the broker's insides open
 *   1. shard_check() every few steps; no queue above its limit at any step; no turn after turn in one moment without
 * end.
 *   2. The broker ends no connection for a fault that no peer committed.
 *   3. What is missing is covered by a counted drop, and nothing was dropped in a run that has no reason for it.
 *   4. After shard_free the broker's heap is empty.
 */
#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/session.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_stomp/stomp_adapter.h"
#include "tests/sim/model_group.h"
#include "tests/sim/peer_mqtt.h"
#include "tests/sim/peer_stomp.h"
#include "tests/sim/probe.h"

enum {
    TURNS_MAX = 200000,    /* in one millisecond: more is a loop that never waits */
    QUIET_MS = 3000,       /* nothing moved for so long: the run has come to rest */
    DRAIN_MS_MAX = 600000, /* and it has to, within this time */
    CHECK_EVERY = 40,      /* steps */
};

void world_fail(struct world *w, const char *fmt, ...)
{
    char text[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    model_fail(&w->model, "%s", text);
}

void world_trace(struct world *w, const char *fmt, ...)
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
    world_trace(ctx, "    [%s] %s", log_level_name(level), line);
}

/* ---- build --------------------------------------------------------------------------------------------------------
 */

static void make_shard(struct world *w)
{
    struct shard_config config = {.loop = &w->loop->loop,
                                  .log = &w->log,
                                  .heap = &w->heap,
                                  .limits = w->plan.limits,
                                  .seed = w->seed,
                                  .retain_available = true};
    if (w->plan.has_store) {
        w->store = store_sim_new(w->loop, &w->mem, &w->rng, w->plan.store_ms_max);
        config.store = &w->store->store;
    }
    w->shard = shard_new(&config);
    BUG_ON(w->shard == NULL);
    if (w->store && w->plan.store_ms_max)
        w->store->mailbox = &w->shard->mailbox;
}

static void make_peers(struct world *w)
{
    w->mqtt = mem_zalloc(&w->mem, (w->plan.mqtt_n + 1) * sizeof(struct peer_mqtt *));
    w->stomp = mem_zalloc(&w->mem, (w->plan.stomp_n + 1) * sizeof(struct peer_stomp *));
    BUG_ON(w->mqtt == NULL || w->stomp == NULL);
    for (uint32_t i = 0; i < w->plan.mqtt_n; i++)
        w->mqtt[i] = peer_mqtt_new(w, 1 + i);
    for (uint32_t i = 0; i < w->plan.stomp_n; i++)
        w->stomp[i] = peer_stomp_new(w, 101 + i);
}

static void build(struct world *w)
{
    mem_heap_init(&w->sim_heap);
    mem_heap_init(&w->heap);
    mem_init(&w->mem, &w->sim_heap, "simulator");
    rng_init(&w->rng, w->seed);
    model_init(&w->model, &w->mem);
    list_init(&w->zombies);
    plan_make(w);
    w->model.may_drop = w->plan.has_small_queues || w->plan.only_safety;
    w->loop = loop_sim_new(&w->mem, &w->rng);
    w->model.now = &w->loop->now;
    net_sim_init(&w->net, w->loop, &w->mem, &w->rng, &w->plan.faults);
    log_init(&w->log);
    w->log.level = w->verbose ? LOG_DEBUG : LOG_ERROR;
    w->log.write = write_log;
    w->log.ctx = w;
    w->adapters[0] = &mqtt_adapter;
    w->adapters[1] = &stomp_adapter;
    w->door = (struct door){.adapter = w->adapters, .name = "sim", .allow_anonymous = true};
    make_shard(w);
    make_peers(w);
}

/* ---- play ---------------------------------------------------------------------------------------------------------
 */

static void fail_memory(struct world *w)
{
    if (w->plan.fails_memory && w->heap.calls >= w->heap.fail_at)
        w->heap.fail_at = w->heap.calls + 1 + roll(w, chance(w, 50) ? 60 : 2000);
}

static void on_act(struct sim_event *ev)
{
    struct world *w = CONTAINER_OF(ev, struct world, act);
    if (w->steps_left == 0)
        return;
    w->steps_left--;
    fail_memory(w);
    if (w->plan.fails_store && w->steps_left == w->plan.steps / 2) {
        world_trace(w, "the store fails");
        store_sim_fail(w->store);
    }
    uint32_t who = roll(w, w->plan.mqtt_n + w->plan.stomp_n);
    if (who < w->plan.mqtt_n)
        peer_mqtt_act(w->mqtt[who]);
    else
        peer_stomp_act(w->stomp[who - w->plan.mqtt_n]);
    mono_ms pause = chance(w, 3) ? roll(w, 20000) : chance(w, 30) ? 0 : roll(w, w->plan.act_ms_max);
    sim_plan(w->loop, ev, w->loop->now + pause);
}

/* check_queue: the limits speak of what waits for the first time; what was given back may stand above them. */
static void check_queue(struct world *w, const struct queue *q)
{
    const struct queue_policy *p = q->policy;
    uint64_t n = q->ready_n, bytes = q->bytes;
    if ((p->len_max == 0 || n <= p->len_max) && (p->bytes_max == 0 || bytes <= p->bytes_max))
        return;
    if (q->is_group && w->plan.store_ms_max)
        return; /* what waited for the disk may have come back, and looks as if it had never been away */
    LIST_EACH(&q->ready, node)
    {
        const struct entry *e = LIST_ITEM(node, struct entry, node);
        n -= e->attempts > 0;
        bytes -= e->attempts > 0 ? msg_bytes(e->msg) : 0;
    }
    if (n == 1 && w->plan.fails_memory)
        return; /* larger than the whole limit, let in for a consumer that then ran out of memory */
    if (p->len_max && n > p->len_max)
        world_fail(w, "a queue holds %llu messages, its limit is %llu", (unsigned long long)n,
                   (unsigned long long)p->len_max);
    if (p->bytes_max && bytes > p->bytes_max)
        world_fail(w, "a queue holds %llu bytes, its limit is %llu", (unsigned long long)bytes,
                   (unsigned long long)p->bytes_max);
}

static void check_queues(struct world *w)
{
    LIST_EACH(&w->shard->vhost->queues_all, node)
    check_queue(w, LIST_ITEM(node, struct queue, all));
}

/* step: one step of the loop, with checks. False when the run is over: violated, or nothing will ever happen. */
static bool step(struct world *w)
{
    bool goes_on = loop_sim_step(w->loop);
    if (w->loop->turns_now > TURNS_MAX)
        world_fail(w, "%u turns in one millisecond: the loop never waits", TURNS_MAX);
    if (w->shard) {
        check_queues(w);
        if (++w->checks % CHECK_EVERY == 0)
            shard_check(w->shard);
    }
    return goes_on && w->model.why[0] == 0;
}

static void play(struct world *w, uint32_t steps)
{
    w->steps_left = steps ? steps : w->plan.steps;
    w->act.on_due = on_act;
    sim_plan(w->loop, &w->act, w->loop->now);
    while (w->steps_left > 0 && step(w))
        ;
}

/* ---- drain --------------------------------------------------------------------------------------------------------
 */

static bool drain_all(struct world *w)
{
    bool is_done = true;
    for (uint32_t i = 0; i < w->plan.mqtt_n; i++)
        is_done &= peer_mqtt_drain(w->mqtt[i]);
    for (uint32_t i = 0; i < w->plan.stomp_n; i++)
        is_done &= peer_stomp_drain(w->stomp[i]);
    return is_done;
}

static void wait_until_quiet(struct world *w)
{
    mono_ms start = w->loop->now;
    w->busy_at = start;
    while (w->model.why[0] == 0) {
        for (mono_ms until = w->loop->now + 50; w->loop->now < until && step(w);)
            ;
        if (!drain_all(w))
            w->busy_at = w->loop->now;
        if (w->loop->now >= MAX(w->busy_at + QUIET_MS, w->delayed_until))
            return;
        if (w->loop->now > start + DRAIN_MS_MAX)
            world_fail(w, "the run does not come to rest: somebody waits for an answer that does not come");
        loop_sim_run_to(w->loop, w->loop->now + 1); /* also when nothing is planned */
    }
}

/* check_groups_at_rest: nothing waits while somebody is there to take it, and nothing lies with somebody who is not. */
static void check_groups_at_rest(struct world *w)
{
    LIST_EACH(&w->shard->vhost->queues_all, node)
    {
        const struct queue *q = LIST_ITEM(node, struct queue, all);
        if (q->is_group && !list_is_empty(&q->consumers) && q->ready_n)
            world_fail(w, SLICE_FMT " keeps %u messages from members that are online", SLICE_ARG(queue_name(q)),
                       (unsigned)q->ready_n);
    }
    LIST_EACH(&w->shard->sessions, node)
    {
        struct session *s = LIST_ITEM(node, struct session, all);
        LIST_EACH(&s->inflight, item)
        {
            const struct entry *e = LIST_ITEM(item, struct entry, node);
            const struct queue *q = e->at.consumer->queue;
            if (!s->conn && q->is_group && !q->is_dead && e->state == ENTRY_SENT && e->sent_qos < 2)
                world_fail(w, "an offline member keeps a message of its group");
        }
    }
}

/* rest: those who are there finish what is under way; those who are not stay away. */
static void rest(struct world *w)
{
    world_trace(w, "---- rest ----");
    w->is_resting = true;
    w->heap.fail_at = 0;
    w->net.faults = (struct net_faults){.delay_ms_max = 1, .buffer_bytes = 65536};
    wait_until_quiet(w);
    w->is_resting = false;
    check_groups_at_rest(w);
}

static void drain(struct world *w)
{
    if (w->plan.has_shared)
        rest(w);
    w->is_draining = true;
    w->heap.fail_at = 0;
    w->net.faults = (struct net_faults){.delay_ms_max = 1, .buffer_bytes = 65536};
    world_trace(w, "---- drain ----");
    LIST_EACH(&w->zombies, node)
    zombie_free(LIST_ITEM(node, struct zombie, all));
    wait_until_quiet(w);
}

/* outlive: a broker without its store keeps no promise that needs one, but it lives. There is no rest to wait for. */
static void outlive(struct world *w)
{
    for (mono_ms until = w->loop->now + 10000; w->loop->now < until && step(w);)
        ;
}

/* probe: a stranger looks at what is retained, and another one empties the queues. */
static void probe(struct world *w)
{
    world_trace(w, "---- probe ----");
    struct probe *p = probe_new(w);
    wait_until_quiet(w);
    probe_judge(p);
    probe_free(p);
    struct peer_stomp *s = peer_stomp_new_drainer(w);
    w->stomp[w->plan.stomp_n++] = s;
    wait_until_quiet(w);
}

/* ---- verdict ------------------------------------------------------------------------------------------------------
 */

static void judge_closes(struct world *w)
{
    static const enum close_reason unfair[] = {
        CLOSE_MALFORMED, CLOSE_PROTOCOL,    CLOSE_TOO_BIG,        CLOSE_QUOTA, CLOSE_UNKNOWN_PROTOCOL,
        CLOSE_BAD_ID,    CLOSE_BAD_VERSION, CLOSE_NOT_AUTHORIZED, CLOSE_LIMIT, CLOSE_ADMIN,
        CLOSE_SLOW};
    for (uint32_t i = 0; i < ARRAY_N(unfair); i++)
        if (w->shard->close_n[unfair[i]])
            world_fail(w, "the broker ended a connection for no reason: %s", close_text(unfair[i]));
    if (w->shard->close_n[CLOSE_STORE] && !w->plan.fails_store)
        world_fail(w, "the store failed the broker without a reason");
    if (w->shard->close_n[CLOSE_NOMEM] && !w->plan.only_safety)
        world_fail(w, "the broker ran out of memory");
    if (w->shard->close_n[CLOSE_REFUSED] && !w->plan.has_small_queues && !w->plan.only_safety)
        world_fail(w, "a message was refused without a reason");
}

static void judge_drops(struct world *w)
{
    const uint64_t *v = w->shard->stats.v;
    uint64_t full = v[STAT_DROP_FULL] + v[STAT_DROP_HEAD];
    if (full && !w->plan.has_small_queues && !w->plan.fails_store) /* which refuses wills, too */
        world_fail(w, "%llu messages were dropped by queue limits that nobody set", (unsigned long long)full);
    if (v[STAT_DROP_NOMEM] && !w->plan.only_safety)
        world_fail(w, "%llu messages were dropped for want of memory", (unsigned long long)v[STAT_DROP_NOMEM]);
    if (v[STAT_DROP_TOO_BIG])
        world_fail(w, "%llu messages were dropped as too big for a peer", (unsigned long long)v[STAT_DROP_TOO_BIG]);
    if (w->model.groups && w->model.groups->missing_closed > v[STAT_DROP_CLOSED] + full && !w->plan.only_safety)
        world_fail(w, "%llu messages of groups are missing, sessions that ended took %llu with them",
                   (unsigned long long)w->model.groups->missing_closed, (unsigned long long)v[STAT_DROP_CLOSED]);
    if (w->model.missing > full && !w->plan.only_safety)
        world_fail(w, "%llu promised deliveries are missing, %llu were dropped by limits; %s",
                   (unsigned long long)w->model.missing, (unsigned long long)full, w->model.first_missing);
}

static void judge(struct world *w)
{
    shard_check(w->shard);
    if (!w->plan.fails_store) {
        model_check_boxes(&w->model);
        model_check_queues(&w->model);
        if (!w->plan.fails_memory) /* which takes what is in a queue */
            model_check_txs(&w->model);
        model_check_groups(&w->model);
        check_groups_at_rest(w);
    }
    judge_closes(w);
    judge_drops(w);
    world_trace(w, "%u messages, %llu deliveries, %llu turns, %llu bytes, missing %llu", w->model.pub_n,
                (unsigned long long)w->model.gots, (unsigned long long)w->loop->turns, (unsigned long long)w->net.bytes,
                (unsigned long long)w->model.missing);
}

/* ---- the end ------------------------------------------------------------------------------------------------------
 */

static void on_stopped(void *ctx)
{
    ((struct world *)ctx)->is_stopped = true;
}

static void stop_broker(struct world *w)
{
    w->is_stopping = true;
    if (w->plan.ends_by_stop && w->model.why[0] == 0) {
        shard_stop(w->shard, 1000, on_stopped, w);
        mono_ms late = w->loop->now + 2000;
        while (!w->is_stopped && w->loop->now < late && step(w))
            ;
        if (!w->is_stopped)
            world_fail(w, "the broker did not stop within its time");
    }
    while (w->store && w->store->is_posted && loop_sim_step(w->loop)) /* the letter is opened */
        ;
    shard_free(w->shard);
    w->shard = NULL;
    if (w->heap.bytes != 0)
        world_fail(w, "%zu bytes did not come back", w->heap.bytes);
}

static void unbuild(struct world *w)
{
    sim_cancel(w->loop, &w->act);
    for (uint32_t i = 0; i < w->plan.mqtt_n; i++)
        peer_mqtt_free(w->mqtt[i]);
    for (uint32_t i = 0; i < w->plan.stomp_n; i++)
        peer_stomp_free(w->stomp[i]);
    mem_free(&w->mem, w->mqtt);
    mem_free(&w->mem, w->stomp);
    LIST_EACH(&w->zombies, node)
    zombie_free(LIST_ITEM(node, struct zombie, all));
    net_sim_fini(&w->net);
    w->loop->loop.ops->destroy(&w->loop->loop);
    model_fini(&w->model);
    BUG_ON(w->sim_heap.bytes != 0);
}

bool world_run(uint64_t seed, uint32_t steps, bool verbose, char *why, size_t why_cap)
{
    struct world w = {.seed = seed, .verbose = verbose};
    build(&w);
    world_trace(&w, "mqtt %u stomp %u steps %u delay %u buffer %u piece %u again %u store %d/%u small %d nomem %d",
                w.plan.mqtt_n, w.plan.stomp_n, w.plan.steps, w.plan.faults.delay_ms_max, w.plan.faults.buffer_bytes,
                w.plan.faults.piece_max, w.plan.faults.again_pct, w.plan.has_store, w.plan.store_ms_max,
                w.plan.has_small_queues, w.plan.fails_memory);
    play(&w, steps);
    if (w.plan.fails_store)
        outlive(&w);
    if (w.model.why[0] == 0 && !w.plan.fails_store)
        drain(&w);
    if (w.model.why[0] == 0 && !w.plan.fails_store)
        probe(&w);
    if (w.model.why[0] == 0)
        judge(&w);
    stop_broker(&w);
    snprintf(why, why_cap, "%s", w.model.why);
    bool ok = w.model.why[0] == 0;
    unbuild(&w);
    return ok;
}
