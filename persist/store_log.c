/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_log.c: the log as a store: its slots, and its life.
 *
 *     new ─► open (lock, read, repair) ─► replay ─► { reserve · append* · submit · fetch } ─► close (flush, unlock)
 *                                                            │
 *                     gather ─► seal ─► LANE_WRITE ─► landed: on_durable             store_log_batch.c,
 * store_log_seal.c spares, old segments, compaction, reading back ─► LANE_READ    _space.c, _compact.c, _read.c
 *
 * All decisions are made on the shard's thread, between two turns of its loop; lanes only do what blocks, with memory
 * that was there before, and answer by a letter. So the same code runs in the simulator, where a "disk" loses what was
 * not synced, and time is an argument.
 *
 * Fail-stop: after a write or a sync that failed nobody knows what is on the disk, and asking again proves nothing. So
 * nothing is written any more, everything durable is refused, and it is said once. What was durable can be read.
 *
 * STORE_LOG_INTERVAL: a batch has "landed" when the operating system has it; a sync follows every interval_ms. Segments
 * are given back only behind a sync, in either mode.
 *
 * Invariants
 *   1. durable <= submitted <= last; durable grows, and on_durable is told each time.
 *   2. on_failed is called once, and neither on_durable nor anything that writes after it.
 *   3. synced <= durable.
 * Cost    see the other files.
 * Thread  the shard's.
 */
#include <string.h>

#include "persist/store_log_calls.h"

enum { SEGMENT_ALIGN = 4096, SEGMENTS_MIN = 8, CLOSE_TRIES = 3, PARKED_MS = 100 };

/* ---- what the others call ------------------------------------------------------------------------------------ */

void log_fail(struct store_log *s, const char *what, enum err e)
{
    if (s->has_failed)
        return;
    s->has_failed = true;
    const char *why = e == ERR_IO || e == ERR_FULL ? s->config.disk->why : err_text(e);
    log_line(s->config.log, LOG_ERROR, "the log has failed: %s: %s: nothing is written any more", what, why);
    batch_reset(s->open);
    s->note_n = s->note_submitted = s->old_note_n = s->own_note_n = 0;
    s->in_unit = false;
    s->base.on_failed(s->base.ctx);
}

void log_durable(struct store_log *s, lsn_t lsn)
{
    if (s->has_failed || lsn <= s->durable)
        return;
    s->durable = lsn;
    if (s->batch_synced == s->batch_landed)
        s->synced = lsn;
    s->base.on_durable(s->base.ctx, lsn);
}

/* ---- STORE_LOG_INTERVAL -------------------------------------------------------------------------------------- */

static void sync_run(struct job *j)
{
    struct sync_job *k = CONTAINER_OF(j, struct sync_job, job);
    struct disk *d = k->log->config.disk;
    k->err = k->log->lane_failed ? ERR_IO : d->ops->sync(d, k->seg->file);
    k->log->lane_failed = k->err != ERR_OK;
}

static void sync_done(struct job *j)
{
    struct sync_job *k = CONTAINER_OF(j, struct sync_job, job);
    struct store_log *s = k->log;
    space_unpin(s, k->seg, NULL);
    k->seg = NULL;
    s->base.stats.syncs++;
    if (k->err != ERR_OK) {
        log_fail(s, "syncing", k->err);
        return;
    }
    s->batch_synced = MAX(s->batch_synced, k->batch);
    s->synced = MAX(s->synced, k->upto);
}

static bool has_unsynced(const struct store_log *s)
{
    return s->batch_synced < s->batch_landed && s->sync.seg == NULL && !s->has_failed;
}

static mono_ms sync_due(const struct store_log *s)
{
    return has_unsynced(s) ? s->synced_at + s->config.interval_ms : MONO_NEVER;
}

static void sync_tail(struct store_log *s)
{
    struct sync_job *k = &s->sync;
    k->seg = s->segment[s->segment_n - 1];
    space_pin(k->seg);
    k->upto = s->durable;
    k->batch = s->batch_landed;
    k->job.run = sync_run;
    k->job.done = sync_done;
    s->synced_at = s->now;
    s->config.runner->ops->post(s->config.runner, LANE_WRITE, &k->job);
}

/* ---- slots --------------------------------------------------------------------------------------------------- */

static enum err log_open(struct store *base)
{
    struct store_log *s = store_log_of(base);
    BUG_ON(s->is_open || base->on_durable == NULL || base->on_failed == NULL);
    enum err e = log_open_replay(s);
    if (e != ERR_OK)
        return e;
    if (!s->config.runner->ops->start(s->config.runner, base->mailbox)) {
        log_line(s->config.log, LOG_ERROR, "no thread can be started for the log");
        return ERR_NOMEM;
    }
    s->is_started = s->is_open = true;
    space_turn(s);
    return ERR_OK;
}

static enum err log_replay(struct store *base, store_visit_fn visit, void *ctx)
{
    struct store_log *s = store_log_of(base);
    BUG_ON(!s->is_open);
    return replay_visit(s, visit, ctx);
}

static enum err log_reserve(struct store *base, uint64_t bytes)
{
    struct store_log *s = store_log_of(base);
    if (UNLIKELY(s->has_failed))
        return ERR_STORE;
    return space_reserve(s, bytes);
}

static lsn_t log_append(struct store *base, const struct store_rec *rec)
{
    struct store_log *s = store_log_of(base);
    BUG_ON(!s->is_open);
    return LIKELY(!s->has_failed) ? batch_append(s, rec) : 0;
}

static mono_ms log_submit(struct store *base, mono_ms now)
{
    struct store_log *s = store_log_of(base);
    s->now = now;
    if (!s->has_failed)
        batch_mark(s);
    batch_turn(s, now);
    space_turn(s);
    if (s->config.sync == STORE_LOG_INTERVAL && sync_due(s) <= now)
        sync_tail(s);
    read_wake(s);
    base->stats.living_n = living_n(s->living);
    mono_ms due = MIN(MIN(batch_due(s), space_due(s)), sync_due(s));
    return s->is_parked ? MIN(due, now + PARKED_MS) : due;
}

static void log_fetch(struct store *base, struct store_fetch *f)
{
    struct store_log *s = store_log_of(base);
    BUG_ON(!s->is_open || s->is_closing);
    read_fetch(s, f);
}

static const struct msg *log_read(struct store *base, lsn_t lsn)
{
    return read_one(store_log_of(base), lsn);
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static void wait_all(struct store_log *s)
{
    s->config.runner->ops->wait(s->config.runner);
}

/* flush: everything submitted is durable afterwards, or has failed. */
static void flush(struct store_log *s)
{
    unsigned tries = 0;
    wait_all(s);
    while (!s->has_failed && !batch_is_empty(s)) {
        uint64_t before = s->batch_last;
        batch_turn(s, s->now);
        space_turn(s);
        wait_all(s);
        if (s->batch_last != before || batch_is_empty(s))
            continue;
        s->retry_at = 0;
        if (++tries > CLOSE_TRIES && s->is_blocked)
            log_fail(s, "no room for the last records", ERR_FULL);
        else if (tries > CLOSE_TRIES * 2)
            log_fail(s, "no memory for the last records", ERR_NOMEM);
    }
    if (has_unsynced(s)) {
        sync_tail(s);
        wait_all(s);
    }
}

/* end_fetches: those that wait for memory get one more chance. */
static void end_fetches(struct store_log *s)
{
    read_wake(s);
    wait_all(s);
    if (s->fetch_first == NULL)
        return;
    s->gives_up = true;
    read_wake(s);
    wait_all(s);
}

static void log_free(struct store_log *s)
{
    read_fini(s);
    compact_fini(s);
    space_fini(s);
    batch_fini(s);
    codec_rec_fini(&s->scratch);
    living_free(s->living);
    if (s->is_locked)
        s->config.disk->ops->unlock(s->config.disk);
    s->config.runner->ops->destroy(s->config.runner);
    s->config.disk->ops->destroy(s->config.disk);
    mem_free(s->mem, s);
}

static void log_close(struct store *base)
{
    struct store_log *s = store_log_of(base);
    s->is_closing = true;
    if (s->is_started) {
        if (!s->has_failed) {
            batch_cut(s);
            batch_mark(s);
            flush(s);
        }
        wait_all(s);
        end_fetches(s);
    }
    log_free(s);
}

static const struct store_ops store_log_ops = {
    .name = "log",
    .open = log_open,
    .replay = log_replay,
    .reserve = log_reserve,
    .append = log_append,
    .submit = log_submit,
    .close = log_close,
    .fetch = log_fetch,
    .read = log_read,
};

/* ---- the beginning ------------------------------------------------------------------------------------------- */

static uint64_t segment_bytes(const struct store_log_config *config)
{
    uint64_t n = config->segment_bytes;
    if (config->bytes_max != 0)
        n = MIN(n, config->bytes_max / SEGMENTS_MIN);
    n = MIN(MAX(n, LOG_SEGMENT_MIN), LOG_SEGMENT_MAX);
    return n / SEGMENT_ALIGN * SEGMENT_ALIGN;
}

struct store *store_log_new(struct mem *mem, const struct store_log_config *config)
{
    BUG_ON(config->disk == NULL || config->runner == NULL || config->log == NULL);
    struct store_log *s = mem_zalloc(mem, sizeof(*s));
    if (s == NULL) {
        config->runner->ops->destroy(config->runner);
        config->disk->ops->destroy(config->disk);
        return NULL;
    }
    s->base.ops = &store_log_ops;
    s->mem = mem;
    s->config = *config;
    s->config.segment_bytes = segment_bytes(config);
    codec_rec_init(&s->scratch, mem);
    space_init(s);
    compact_init(s);
    read_init(s);
    s->sync.log = s;
    s->living = living_new(mem, config->seed);
    if (!batch_init(s) || s->living == NULL) {
        log_free(s);
        return NULL;
    }
    return &s->base;
}
