/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.c: building the stage, the steps of a run, and time.
 *
 *     stage_act ─► stage_settle: the loop runs within its millisecond; the twin ends its turn; stage_check
 *     stage_pass: ... to (due - 1): nothing ... to due: twin_fire, and the same
 */
#include "tests/sim/stage.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto_stomp/stomp_adapter.h"

enum {
    STEPS_MAX = 1000000,
    PASS_MAX = 100, /* things that are looked at, one after the other; then time has passed enough */
};

void stage_fail(struct stage *st, const char *fmt, ...)
{
    if (st->why[0])
        return;
    char text[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    snprintf(st->why, sizeof(st->why), "at %llu: %s", (unsigned long long)st->loop->now, text);
}

void stage_trace(struct stage *st, const char *fmt, ...)
{
    if (!st->verbose)
        return;
    va_list args;
    printf("%8llu ", (unsigned long long)st->loop->now);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

static void write_log(void *ctx, enum log_level level, const char *line)
{
    stage_trace(ctx, "    [%s] %s", log_level_name(level), line);
}

void stage_open(struct stage *st, uint64_t seed, const struct stage_plan *plan, bool verbose)
{
    static const struct net_faults calm = {.buffer_bytes = 1u << 20};
    static const struct net_faults pieces = {.buffer_bytes = 1u << 20, .piece_max = 37, .again_pct = 10};
    *st = (struct stage){.seed = seed, .plan = *plan, .verbose = verbose, .adapters = {&stomp_adapter}};
    mem_heap_init(&st->heap);
    mem_heap_init(&st->sim_heap);
    mem_init(&st->mem, &st->sim_heap, "simulator");
    rng_init(&st->rng, seed);
    st->loop = loop_sim_new(&st->mem, NULL);
    net_sim_init(&st->net, st->loop, &st->mem, &st->rng, plan->has_pieces ? &pieces : &calm);
    log_init(&st->log);
    st->log.level = verbose ? LOG_DEBUG : LOG_ERROR;
    st->log.write = write_log;
    st->log.ctx = st;
    struct shard_config config = {
        .loop = &st->loop->loop, .log = &st->log, .heap = &st->heap, .seed = seed, .retain_available = true};
    limits_default(&config.limits);
    if (plan->has_store) {
        st->store = store_sim_new(st->loop, &st->mem, &st->rng, 0);
        config.store = &st->store->store;
    }
    st->shard = shard_new(&config);
    BUG_ON(st->shard == NULL);
    if (plan->has_late_store)
        st->store->mailbox = &st->shard->mailbox;
    st->door = (struct door){.adapter = st->adapters, .name = "stage", .allow_anonymous = true};
    twin_init(&st->twin, &st->mem, st->loop->now);
    for (uint32_t i = 0; i < STAGE_PEERS; i++) {
        st->peer[i].st = st;
        st->peer[i].number = i;
        buf_init(&st->peer[i].out, &st->mem);
        buf_init(&st->peer[i].in, &st->mem);
    }
}

void stage_close(struct stage *st)
{
    for (uint32_t i = 0; i < STAGE_PEERS; i++) {
        struct stage_peer *p = &st->peer[i];
        peer_free_heard(p);
        peer_gone(p);
        buf_fini(&p->out);
        buf_fini(&p->in);
        mem_free(&st->mem, p->heard);
        mem_free(&st->mem, p->expect);
        mem_free(&st->mem, p->browse);
    }
    while (st->store && st->store->is_posted && loop_sim_step(st->loop)) /* the letter is opened */
        ;
    shard_free(st->shard);
    BUG_ON(st->heap.bytes != 0);
    net_sim_fini(&st->net);
    st->loop->loop.ops->destroy(&st->loop->loop);
    twin_fini(&st->twin);
    BUG_ON(st->sim_heap.bytes != 0);
}

static void come_to_rest(struct stage *st)
{
    if (!loop_sim_settle(st->loop, STEPS_MAX))
        stage_fail(st, "the loop does not come to rest");
}

void stage_settle(struct stage *st)
{
    for (uint32_t i = 0; i < STAGE_PEERS; i++)
        peer_flush(&st->peer[i]);
    come_to_rest(st);
    twin_turn_end(&st->twin);
    stage_check(st);
    st->twin.turn++;
}

void stage_pass(struct stage *st, mono_ms until)
{
    for (uint32_t n = 0; n < PASS_MAX && st->why[0] == 0 && st->loop->now < until; n++) {
        mono_ms due = twin_next_due(&st->twin), next = MIN(due, until);
        if (next > st->loop->now + 1) {
            loop_sim_run_to(st->loop, next - 1);
            st->twin.now = st->loop->now;
            stage_settle(st); /* the millisecond before: nothing has changed */
        }
        loop_sim_run_to(st->loop, next);
        st->twin.now = st->loop->now;
        if (due <= st->loop->now) {
            stage_trace(st, "something is due");
            twin_fire(&st->twin);
        }
        stage_settle(st);
    }
}

/* ---- a seed ----------------------------------------------------------------------------------------------------- */

static void make_plan(uint64_t seed, uint32_t acts, struct stage_plan *out)
{
    struct rng r;
    rng_init(&r, seed ^ 0x51a9e);
    *out = (struct stage_plan){.peers = 1 + rng_below(&r, STAGE_PEERS),
                               .acts = acts ? acts : 40 + rng_below(&r, 200),
                               .queues = 1 + rng_below(&r, STAGE_NAMES),
                               .exchanges = 1 + rng_below(&r, 4),
                               .has_store = rng_chance(&r, 50),
                               .has_pieces = rng_chance(&r, 20),
                               .has_weights = rng_chance(&r, 20)};
    out->has_late_store = out->has_store && seed % 2 == 1;
    static const mono_ms span[] = {50, 5000, 600000, 30ull * 24 * 3600 * 1000};
    out->step_max = span[rng_below(&r, ARRAY_N(span))];
    for (unsigned f = 0; f < FEATURE_N; f++)
        if (rng_chance(&r, 55))
            out->features |= 1u << f;
    if (out->features &
        1u << FEATURE_LEVELS) /* what comes in one breath may be handed out before the rest of it came */
        out->features &= ~(1u << FEATURE_TX);
}

/* the_end: everybody goes, nobody comes back; all queues but the durable ones end by themselves, the rest is counted.
 */
static void the_end(struct stage *st)
{
    for (uint32_t i = 0; i < st->plan.peers && st->why[0] == 0; i++) {
        if (st->peer[i].t == NULL)
            continue;
        peer_leave(&st->peer[i], false);
        stage_settle(st);
    }
    stage_pass(st, st->loop->now + 3 * st->plan.step_max);
}

bool stage_run(uint64_t seed, uint32_t acts, bool verbose, char *why, size_t why_cap)
{
    struct stage_plan plan;
    struct stage st;
    make_plan(seed, acts, &plan);
    stage_open(&st, seed, &plan, verbose);
    for (uint32_t i = 0; i < plan.acts && st.why[0] == 0; i++)
        stage_act(&st);
    if (st.why[0] == 0)
        the_end(&st);
    stage_trace(&st, "%u messages, %u deliveries, %u commits", st.number_next, st.deliveries, st.commits);
    snprintf(why, why_cap, "%s", st.why);
    bool is_well = st.why[0] == 0;
    stage_close(&st);
    return is_well;
}
