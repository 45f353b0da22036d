/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_sim.c: a disk that takes its time.
 *
 *     append (LSN) ... submit ─► idle: the batch goes to the "disk" ─► letter ─► on_durable, and what gathered
 * meanwhile follows
 *
 * Invariants
 *   1. durable <= writing <= submitted <= last; on_durable grows.
 *   2. At most one batch is with the disk, and one letter under way.
 */
#include "tests/sim/store_sim.h"

static struct store_sim *sim_from_store(struct store *store)
{
    return CONTAINER_OF(store, struct store_sim, store);
}

static enum err sim_open(struct store *store)
{
    sim_from_store(store)->is_open = true;
    return ERR_OK;
}

static enum err sim_replay(struct store *store, store_visit_fn visit, void *ctx)
{
    UNUSED(visit);
    UNUSED(ctx);
    BUG_ON(!sim_from_store(store)->is_open);
    return ERR_OK;
}

static enum err sim_reserve(struct store *store, uint64_t bytes)
{
    UNUSED(bytes);
    return sim_from_store(store)->has_failed ? ERR_STORE : ERR_OK;
}

static lsn_t sim_append(struct store *store, const struct store_rec *rec)
{
    struct store_sim *s = sim_from_store(store);
    BUG_ON(!s->is_open || rec->kind < STORE_PUBLISH || rec->kind >= STORE_KINDS);
    if (s->has_failed)
        return 0;
    s->records[rec->kind]++;
    return ++s->last;
}

static void start_write(struct store_sim *s)
{
    if (sim_is_planned(&s->written) || s->is_posted || s->has_failed || s->submitted == s->durable)
        return;
    s->writing = s->submitted;
    sim_plan(s->loop, &s->written, s->loop->now + rng_below(s->rng, s->ms_max + 1));
}

static void on_letter(struct letter *letter, void *shard)
{
    UNUSED(shard);
    struct store_sim *s = CONTAINER_OF(letter, struct store_sim, letter);
    s->is_posted = false;
    if (s->has_failed) {
        s->store.on_failed(s->store.ctx);
        return;
    }
    s->durable = s->writing;
    s->store.on_durable(s->store.ctx, s->durable);
    start_write(s);
}

static void on_written(struct sim_event *ev)
{
    struct store_sim *s = CONTAINER_OF(ev, struct store_sim, written);
    s->letter.on_open = on_letter;
    s->is_posted = true;
    mailbox_post(s->mailbox, &s->letter);
}

void store_sim_fail(struct store_sim *s)
{
    s->has_failed = true;
    if (!s->is_posted)
        sim_plan(s->loop, &s->written, s->loop->now);
}

static mono_ms sim_submit(struct store *store, mono_ms now)
{
    struct store_sim *s = sim_from_store(store);
    UNUSED(now);
    if (s->submitted == s->last)
        return MONO_NEVER;
    s->submitted = s->last;
    if (s->mailbox) {
        start_write(s);
        return MONO_NEVER;
    }
    s->durable = s->last;
    s->store.on_durable(s->store.ctx, s->durable);
    return MONO_NEVER;
}

static void sim_close(struct store *store)
{
    struct store_sim *s = sim_from_store(store);
    BUG_ON(s->is_posted); /* the shard has opened all its letters */
    sim_cancel(s->loop, &s->written);
    mem_free(s->mem, s);
}

static const struct store_ops ops_sim = {
    .name = "sim",
    .open = sim_open,
    .replay = sim_replay,
    .reserve = sim_reserve,
    .append = sim_append,
    .submit = sim_submit,
    .close = sim_close,
};

struct store_sim *store_sim_new(struct loop_sim *loop, struct mem *mem, struct rng *rng, uint32_t ms_max)
{
    struct store_sim *s = mem_zalloc(mem, sizeof(*s));
    BUG_ON(s == NULL);
    s->store.ops = &ops_sim;
    s->loop = loop;
    s->mem = mem;
    s->rng = rng;
    s->ms_max = ms_max;
    s->written.on_due = on_written;
    return s;
}
