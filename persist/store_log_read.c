/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_log_read.c: messages that were left to the disk alone come back.
 *
 *     fetch ─► [ 12 13 14 900 901 ] ─► index: places ─► one read for neighbours ─► LANE_READ ─► messages ─► on_fetched
 *                                       12 13 14 in one stretch, 900 901 in the next
 *
 * Fetches are served one after the other, one read at a time. The index does not know how long a frame is, so a read
 * goes on some bytes behind the last place asked for; a frame that is cut off begins the next read, which then knows
 * its length. After each read the index is asked again: what was settled meanwhile is NULL, what compaction has moved
 * is looked for where it is now.
 *
 * A fetch waits (is_parked) for what is not on disk yet, and when memory is short: NULL would mean that the message is
 * gone. What cannot be read is NULL, and said.
 *
 * Invariants
 *   1. At most one read is under way for all fetches; the segment it reads is pinned.
 *   2. on_fetched is never called from within fetch.
 * Cost    a read of up to LOG_CHUNK per stretch; the buffer stays while there are fetches.
 * Thread  the shard's; read_run on LANE_READ.
 */
#include <string.h>

#include "core/msg.h"
#include "persist/store_log_calls.h"

enum { BEHIND_LAST = 4096, ASK_MAX = 16 /* targets */ };

/* ---- one read ------------------------------------------------------------------------------------------------ */

static void read_run(struct job *j)
{
    struct read_job *r = CONTAINER_OF(j, struct read_job, job);
    struct disk *d = r->log->config.disk;
    r->err = ERR_OK;
    if (r->seg == NULL)
        return;
    if (r->file == NULL) {
        char name[DISK_NAME_MAX];
        wal_name(r->seg->head.number, name);
        r->err = d->ops->open(d, name, false, &r->file);
    }
    if (r->err == ERR_OK)
        r->err = d->ops->read(d, r->file, r->off, r->bytes, r->n);
}

void read_post(struct store_log *s, struct read_job *j, struct segment *seg, uint64_t off, uint64_t n,
               void (*done)(struct job *))
{
    BUG_ON(j->is_under_way);
    if (seg != NULL)
        space_pin(seg);
    j->seg = seg;
    j->file = seg != NULL ? seg->file : NULL;
    j->off = off;
    j->n = n;
    j->is_under_way = true;
    j->job.run = read_run;
    j->job.done = done;
    s->config.runner->ops->post(s->config.runner, LANE_READ, &j->job);
}

void read_done(struct store_log *s, struct read_job *j)
{
    j->is_under_way = false;
    if (j->seg == NULL)
        return;
    space_unpin(s, j->seg, j->file);
    if (j->err != ERR_OK)
        log_line(s->config.log, LOG_ERROR, "reading segment %llu of the log: %s",
                 (unsigned long long)j->seg->head.number, s->config.disk->why);
}

/* ---- fetch --------------------------------------------------------------------------------------------------- */

static void on_read(struct job *j);

static bool grow_buffer(struct store_log *s, struct read_job *r, uint64_t n)
{
    if (n <= r->cap)
        return true;
    uint64_t cap = MAX(n, LOG_CHUNK);
    uint8_t *grown = mem_alloc(s->mem, cap);
    if (grown == NULL)
        return false;
    mem_free(s->mem, r->bytes);
    r->bytes = grown;
    r->cap = cap;
    return true;
}

/* stretch: how many bytes from the place of lsn[fetch_pos] on are worth reading at once. */
static uint64_t stretch(const struct store_log *s, const struct segment *seg, uint64_t off)
{
    const struct store_fetch *f = s->fetch_first;
    uint64_t last = off;
    struct living_place at;
    for (uint32_t i = s->fetch_pos + 1; i < f->n; i++) {
        if (!living_where(s->living, f->lsn[i], &at))
            continue;
        if (at.segment != seg->head.number || at.off < last || at.off + BEHIND_LAST > off + LOG_CHUNK)
            break;
        last = at.off;
    }
    return MIN(last + BEHIND_LAST, seg->landed) - off;
}

/* post_next: the read that the first fetch needs next; false if it needs none, because all its messages are known, or
 * parked. `bytes`: of the frame that comes first, 0: unknown. */
static bool post_next(struct store_log *s, uint64_t bytes)
{
    struct store_fetch *f = s->fetch_first;
    for (; s->fetch_pos < f->n; s->fetch_pos++, bytes = 0) {
        struct living_place at;
        f->msg[s->fetch_pos] = NULL;
        if (!living_where(s->living, f->lsn[s->fetch_pos], &at))
            continue;
        struct segment *seg = at.segment != 0 ? space_find(s, at.segment) : NULL;
        if (seg == NULL && (s->has_failed || s->gives_up || at.segment != 0))
            continue; /* it will never be there */
        uint64_t n = seg != NULL ? MAX(stretch(s, seg, at.off), bytes) : 0;
        if (seg == NULL || !grow_buffer(s, &s->fetch_read, n)) {
            if (s->gives_up)
                continue;
            s->is_parked = true;
            return true;
        }
        read_post(s, &s->fetch_read, seg, at.off, n, on_read);
        return true;
    }
    return false;
}

static void damaged(struct store_log *s, lsn_t lsn)
{
    log_line(s->config.log, LOG_ERROR, "record %llu of the log cannot be read back: it is damaged",
             (unsigned long long)lsn);
}

/* message_of: the message that this frame has for queues; none: it lives only as an id, or is retained. Where it went
 * to many queues it is not asked whether one of them still has it: that would cost more than the message, each time one
 * of them reads it, and whoever asks has it in a queue. */
static enum err message_of(struct store_log *s, const struct wal_frame *f, const struct msg **out)
{
    *out = NULL;
    enum err e = codec_get(f, s->base.msgs, &s->base, &s->scratch);
    if (e != ERR_OK)
        return e;
    struct store_rec *rec = &s->scratch.rec;
    if (rec->kind == STORE_PUBLISH && rec->target_n <= ASK_MAX)
        living_trim(s->living, rec, s->scratch.target);
    if (rec->kind == STORE_PUBLISH && rec->target_n != 0)
        *out = rec->msg;
    else if (rec->msg != NULL)
        msg_drop(rec->msg);
    return ERR_OK;
}

enum took { TOOK, TOOK_MORE_BYTES, TOOK_NO_MEMORY };

/* take: one message out of what was read at p[n]. *out_bytes: what its frame needs (TOOK_MORE_BYTES). */
static enum took take(struct store_log *s, const struct segment *seg, lsn_t lsn, const uint8_t *p, uint64_t n,
                      const struct msg **out, uint64_t *out_bytes)
{
    *out = NULL;
    *out_bytes = n < WAL_FRAME_HEAD ? WAL_FRAME_HEAD : wal_frame_size(p, seg->head.salt);
    if (*out_bytes > n)
        return TOOK_MORE_BYTES;
    struct wal_frame f;
    if (*out_bytes == 0 || wal_check_frame(p, n, seg->head.salt, &f) != ERR_OK || f.lsn != lsn) {
        damaged(s, lsn);
        return TOOK;
    }
    enum err e = message_of(s, &f, out);
    if (e == ERR_NOMEM && !s->gives_up)
        return TOOK_NO_MEMORY;
    if (e != ERR_OK && e != ERR_NOMEM)
        damaged(s, lsn);
    s->base.stats.fetched += *out != NULL;
    return TOOK;
}

/* take_all: what lies in the stretch that was read. Returns the bytes that the next frame needs, 0 if unknown. */
static uint64_t take_all(struct store_log *s)
{
    struct store_fetch *f = s->fetch_first;
    struct read_job *r = &s->fetch_read;
    for (; s->fetch_pos < f->n; s->fetch_pos++) {
        lsn_t lsn = f->lsn[s->fetch_pos];
        struct living_place at;
        f->msg[s->fetch_pos] = NULL;
        if (!living_where(s->living, lsn, &at))
            continue;
        if (at.segment != r->seg->head.number || at.off < r->off || at.off >= r->off + r->n)
            return 0;
        uint64_t bytes;
        switch (
            take(s, r->seg, lsn, r->bytes + (at.off - r->off), r->off + r->n - at.off, &f->msg[s->fetch_pos], &bytes)) {
        case TOOK:
            break;
        case TOOK_MORE_BYTES:
            if (at.off + bytes <= r->seg->landed)
                return bytes;
            damaged(s, lsn);
            break;
        case TOOK_NO_MEMORY:
            s->is_parked = true;
            return bytes;
        }
    }
    return 0;
}

/* go_on: ends fetches that have everything, and posts the next read. */
static void go_on(struct store_log *s, uint64_t bytes)
{
    while (s->fetch_first != NULL && !s->is_parked && !s->fetch_read.is_under_way) {
        if (post_next(s, bytes))
            return;
        struct store_fetch *f = s->fetch_first;
        s->fetch_first = f->next;
        s->fetch_pos = 0;
        bytes = 0;
        f->on_fetched(f);
    }
    if (s->fetch_first == NULL && !s->fetch_read.is_under_way) {
        mem_free(s->mem, s->fetch_read.bytes);
        s->fetch_read.bytes = NULL;
        s->fetch_read.cap = 0;
    }
}

static void on_read(struct job *j)
{
    struct read_job *r = CONTAINER_OF(j, struct read_job, job);
    struct store_log *s = r->log;
    read_done(s, r);
    uint64_t bytes = 0;
    if (r->seg != NULL && r->err == ERR_OK)
        bytes = take_all(s);
    else if (r->seg != NULL)
        s->fetch_pos++; /* its message stays NULL */
    go_on(s, bytes);
}

void read_fetch(struct store_log *s, struct store_fetch *f)
{
    f->next = NULL;
    if (s->fetch_first != NULL) {
        s->fetch_last->next = f;
        s->fetch_last = f;
        return;
    }
    s->fetch_first = s->fetch_last = f;
    s->fetch_pos = 0;
    if (!s->fetch_read.is_under_way && !post_next(s, 0))
        read_post(s, &s->fetch_read, NULL, 0, 0, on_read); /* so that on_fetched comes later */
}

void read_wake(struct store_log *s)
{
    if (!s->is_parked)
        return;
    s->is_parked = false;
    go_on(s, 0);
}

void read_init(struct store_log *s)
{
    s->fetch_read.log = s;
}

void read_fini(struct store_log *s)
{
    BUG_ON(s->fetch_first != NULL);
    mem_free(s->mem, s->fetch_read.bytes);
    s->fetch_read.bytes = NULL;
}

/* ---- read ---------------------------------------------------------------------------------------------------- */

/* from_batch: out of the open batch: a copy of the frame gets its checksum, so that it can be read like any other. */
static const struct msg *from_batch(struct store_log *s, lsn_t lsn)
{
    uint32_t n;
    const uint8_t *p = batch_bytes_of(s, lsn, &n);
    uint8_t *mine = p != NULL ? mem_alloc(s->mem, n) : NULL;
    if (mine == NULL)
        return NULL;
    memcpy(mine, p, n);
    wal_seal(mine, n, 0);
    struct wal_frame f;
    const struct msg *m = NULL;
    if (wal_check_frame(mine, n, 0, &f) != ERR_OK || message_of(s, &f, &m) != ERR_OK)
        m = NULL;
    mem_free(s->mem, mine);
    return m;
}

static const struct msg *from_segment(struct store_log *s, struct segment *seg, uint32_t off, lsn_t lsn)
{
    struct read_job r = {.log = s, .seg = seg, .file = seg->file, .off = off};
    const struct msg *m = NULL;
    uint64_t bytes = MIN(BEHIND_LAST, seg->landed - off);
    space_pin(seg);
    for (bool again = true; again;) {
        again = false;
        if (!grow_buffer(s, &r, bytes))
            break;
        r.n = bytes;
        read_run(&r.job);
        if (r.err == ERR_OK)
            again = take(s, seg, lsn, r.bytes, r.n, &m, &bytes) == TOOK_MORE_BYTES && off + bytes <= seg->landed;
    }
    space_unpin(s, seg, r.file);
    mem_free(s->mem, r.bytes);
    return m;
}

const struct msg *read_one(struct store_log *s, lsn_t lsn)
{
    struct living_place at;
    if (!living_where(s->living, lsn, &at))
        return NULL;
    if (at.segment == 0)
        return from_batch(s, lsn);
    struct segment *seg = space_find(s, at.segment);
    return seg != NULL ? from_segment(s, seg, at.off, lsn) : NULL;
}
