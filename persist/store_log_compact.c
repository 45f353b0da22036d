/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_log_compact.c: what still lives in the oldest segment is written again, so that the segment can go.
 *
 *     idle ─► reading a chunk ─► ready: each batch takes some of it along ─► reading ... ─► landing ─► idle
 *                  ▲ LANE_READ            (store_log_seal.c asks for the next copy)            the last copies
 *
 * A copy is made when the batch it goes with is sealed, behind everything that batch says, from the frame as it was and
 * what the index knows now: settled targets are left out, a message whose last queue is done and which is only an open
 * QoS 2 id by now goes without its payload. It keeps its LSN. When it has landed the index gets its new place, and once
 * no place in the segment is left, store_log_space.c takes the file.
 *
 * Frames are found by walking the segment, not by asking the index: what the index has there, with just this LSN at
 * just this place, lives; all else is passed by. A stretch that does not read is skipped in steps of 8 bytes. If
 * something that lives cannot be read, the segment stays (is_stuck): the next start sets the damage aside and says so.
 *
 * Invariants
 *   1. While the state is not idle, the segment is pinned by compaction itself.
 *   2. Only the oldest segment is compacted, and never the one that is written to.
 * Cost    each living byte of the segment is read and written once; a budget per batch (store_log_seal.c); one buffer.
 * Thread  the shard's.
 */
#include "persist/store_log_calls.h"

static void finish(struct store_log *s)
{
    struct compact *c = &s->compact;
    c->state = COMPACT_IDLE;
    space_unpin(s, c->seg, NULL);
    uint64_t n = living_n_in(s->living, c->seg->head.number);
    if (n != 0 && !s->has_failed) {
        c->seg->is_stuck = true;
        log_line(s->config.log, LOG_ERROR, "segment %llu of the log: %llu records cannot be read: it stays as it is",
                 (unsigned long long)c->seg->head.number, (unsigned long long)n);
    }
    mem_free(s->mem, c->read.bytes);
    c->read.bytes = NULL;
    c->read.cap = 0;
    c->seg = NULL;
}

static void on_chunk(struct job *j)
{
    struct read_job *r = CONTAINER_OF(j, struct read_job, job);
    struct store_log *s = r->log;
    read_done(s, r);
    if (r->err != ERR_OK || s->has_failed)
        finish(s); /* an error: what was copied is not there any more, the rest is stuck */
    else
        s->compact.state = COMPACT_READY;
}

/* read_chunk: from off on, at least `bytes`. False: no memory. */
static bool read_chunk(struct store_log *s, uint64_t off, uint64_t bytes)
{
    struct compact *c = &s->compact;
    uint64_t n = MIN(MAX(bytes, LOG_CHUNK), c->seg->landed - off);
    if (n > c->read.cap) {
        uint8_t *grown = mem_alloc(s->mem, n);
        if (grown == NULL)
            return false;
        mem_free(s->mem, c->read.bytes);
        c->read.bytes = grown;
        c->read.cap = n;
    }
    c->pos = 0;
    c->state = COMPACT_READING;
    read_post(s, &c->read, c->seg, off, n, on_chunk);
    return true;
}

void compact_start(struct store_log *s, struct segment *seg)
{
    struct compact *c = &s->compact;
    BUG_ON(c->state != COMPACT_IDLE);
    c->seg = seg;
    space_pin(seg);
    if (seg->landed <= WAL_HEAD) {
        c->state = COMPACT_LANDING;
    } else if (!read_chunk(s, WAL_HEAD, 0)) {
        space_unpin(s, seg, NULL);
        c->seg = NULL;
    }
}

/* copy: the frame f, as it counts now, as one more frame of the open batch. */
static enum err copy(struct store_log *s, const struct wal_frame *f)
{
    struct batch *b = s->open;
    if (!batch_grow(b))
        return ERR_NOMEM;
    uint64_t from = b->bytes.len;
    enum err e = ERR_OK;
    if (f->kind == STORE_PUBLISH) {
        e = codec_get(f, NULL, &s->base, &s->scratch);
        if (e == ERR_OK)
            living_trim(s->living, &s->scratch.rec, s->scratch.target);
    }
    if (e == ERR_OK)
        e = codec_put_copy(&b->bytes, f, &s->scratch.rec);
    if (e != ERR_OK) {
        batch_truncate(b, from);
        return e;
    }
    batch_add_frame(b, f->lsn, from, f->kind, FRAME_COPY);
    return ERR_OK;
}

static bool lives_here(const struct store_log *s, const struct wal_frame *f, uint64_t off)
{
    struct living_place at;
    return f->kind < WAL_BATCH && living_where(s->living, f->lsn, &at) && at.segment == s->compact.seg->head.number &&
           at.off == off;
}

bool compact_next(struct store_log *s)
{
    struct compact *c = &s->compact;
    while (c->state == COMPACT_READY) {
        uint64_t off = c->read.off + c->pos, have = c->read.n - c->pos, end = c->seg->landed;
        if (end - off < WAL_FRAME_HEAD) {
            c->state = COMPACT_LANDING;
            break;
        }
        const uint8_t *p = c->read.bytes + c->pos;
        uint64_t salt = c->seg->head.salt, size = have < WAL_FRAME_HEAD ? 0 : wal_frame_size(p, salt);
        bool is_cut = have < WAL_FRAME_HEAD || (size > have && size <= end - off);
        if (is_cut) {
            if (!read_chunk(s, off, size))
                s->wants_retry = true;
            break;
        }
        struct wal_frame f;
        if (size == 0 || wal_check_frame(p, have, salt, &f) != ERR_OK) {
            c->pos += WAL_ALIGN;
            continue;
        }
        if (lives_here(s, &f, off)) {
            enum err e = copy(s, &f);
            if (e == ERR_NOMEM) {
                s->wants_retry = true;
                break;
            }
            c->former = c->pos;
            c->pos += size;
            if (e == ERR_OK)
                return true;
            continue;
        }
        c->pos += size;
    }
    return false;
}

void compact_undo(struct store_log *s)
{
    s->compact.pos = s->compact.former;
}

void compact_landed(struct store_log *s)
{
    if (s->compact.state == COMPACT_LANDING)
        finish(s);
}

void compact_init(struct store_log *s)
{
    s->compact.read.log = s;
}

void compact_fini(struct store_log *s)
{
    mem_free(s->mem, s->compact.read.bytes);
    s->compact.read.bytes = NULL;
}
