/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_log_replay.c: a log is read twice at the start.
 *
 *     open      every frame, in file order ─► what it says, without its message ─► the index: what lives, and where
 *     replay    every living record, in the order of core/store.h ─► its frame ─► what it says now ─► visit
 *
 * The second pass follows the index, not the files: LSN order is file order but for copies, so a few windows, one per
 * segment, make it nearly sequential. No record is held in between: memory is the index, whatever the log's size.
 *
 * Nothing is written behind what is there: the first batch goes to a new segment, and the end of the former life is as
 * wal_read left it.
 *
 * Invariants
 *   1. After open: last is the greatest LSN in the log, everything up to it is durable.
 *   2. A frame that does not parse, or that cannot be read again, is said, counted and left out.
 * Cost    each byte is read once, and once more if it lives; two hash lookups and no allocation per record.
 * Thread  the shard's; both may block.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/msg.h"
#include "persist/store_log_calls.h"

enum { WINDOWS = 8 };

static uint64_t clock_us(void)
{
    struct timespec t;
    BUG_ON(clock_gettime(CLOCK_MONOTONIC, &t) != 0);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* ---- open ---------------------------------------------------------------------------------------------------- */

/* A spare that was found; its file is opened when all is read. */
struct found_spare {
    struct found_spare *next;
    uint64_t bytes;
    char name[DISK_NAME_MAX];
};

struct reading {
    struct store_log *log;
    struct found_spare *spare;
    struct living_how how; /* of the frame that is read */
};

static enum err on_note(const struct store_rec *rec, void *ctx)
{
    struct reading *r = ctx;
    r->log->base.stats.replayed++;
    return living_apply(r->log->living, rec, &r->how);
}

static void not_understood(struct store_log *s, const struct wal_frame *f)
{
    s->base.stats.damaged_bytes += f->bytes;
    log_line(s->config.log, LOG_ERROR, "segment %llu of the log: record %llu at %llu makes no sense and is left out",
             (unsigned long long)f->segment, (unsigned long long)f->lsn, (unsigned long long)f->off);
}

static enum err on_record(struct reading *r, const struct wal_frame *f)
{
    struct store_log *s = r->log;
    enum err e = codec_get(f, NULL, &s->base, &s->scratch);
    if (e != ERR_OK)
        return e;
    s->base.stats.replayed++;
    r->how = (struct living_how){.place = {.segment = f->segment, .off = (uint32_t)f->off},
                                 .is_copy = (f->flags & WAL_COPY) != 0,
                                 .cleared = s->scratch.is_cleared};
    return living_apply(s->living, &s->scratch.rec, &r->how);
}

/* on_batch: a unit that has not ended by now never will: it lies within one batch. */
static enum err on_batch(struct store_log *s, const struct wal_frame *f)
{
    wall_ms at;
    uint32_t part;
    if (codec_get_batch(f, &at, &part, NULL) == ERR_OK && part == 0)
        living_cut(s->living);
    return ERR_OK;
}

static enum err on_frame(void *ctx, const struct wal_frame *f)
{
    struct reading *r = ctx;
    struct store_log *s = r->log;
    enum err e = ERR_OK;
    if (f->kind == WAL_NOTES) {
        r->how = (struct living_how){0};
        e = notes_get(f, s->mem, on_note, r);
    } else if (f->kind < WAL_BATCH) {
        e = on_record(r, f);
    } else {
        return f->kind == WAL_BATCH ? on_batch(s, f) : ERR_OK;
    }
    s->last = MAX(s->last, f->lsn);
    if (e == ERR_MALFORMED)
        not_understood(s, f);
    return e == ERR_NOMEM ? e : ERR_OK;
}

static enum err on_spare(void *ctx, const char *name, uint64_t file_bytes)
{
    struct reading *r = ctx;
    struct found_spare *f = mem_zalloc(r->log->mem, sizeof(*f));
    if (f == NULL)
        return ERR_NOMEM;
    size_t n = strlen(name);
    BUG_ON(n >= sizeof(f->name));
    memcpy(f->name, name, n);
    f->bytes = file_bytes;
    f->next = r->spare;
    r->spare = f;
    return ERR_OK;
}

/* keep_spare: a spare of the right size is used again; false: it is not. */
static enum err keep_spare(struct store_log *s, const struct found_spare *f, bool *out_kept)
{
    struct disk *d = s->config.disk;
    *out_kept = false;
    bool is_named_so = strncmp(f->name, "spare-", 6) == 0;
    if (is_named_so)
        s->spare_last = MAX(s->spare_last, strtoull(f->name + 6, NULL, 16));
    if (!is_named_so || f->bytes != s->config.segment_bytes || s->spare_n >= LOG_HELD + LOG_AHEAD)
        return ERR_OK;
    struct segment *seg = mem_zalloc(s->mem, sizeof(*seg));
    if (seg == NULL)
        return ERR_NOMEM;
    memcpy(seg->spare_name, f->name, sizeof(f->name));
    seg->head.size = f->bytes;
    enum err e = d->ops->open(d, f->name, true, &seg->file);
    if (e == ERR_OK && !space_add_spare(s, seg)) {
        d->ops->close(d, seg->file);
        e = ERR_NOMEM;
    }
    if (e != ERR_OK)
        mem_free(s->mem, seg);
    *out_kept = e == ERR_OK;
    return e;
}

static enum err keep_spares(struct store_log *s, struct reading *r)
{
    struct disk *d = s->config.disk;
    enum err e = ERR_OK;
    bool any_removed = false;
    for (const struct found_spare *f = r->spare; f != NULL && e == ERR_OK; f = f->next) {
        bool kept;
        e = keep_spare(s, f, &kept);
        if (e == ERR_OK && !kept) {
            e = d->ops->remove(d, f->name);
            any_removed = true;
        }
    }
    return e == ERR_OK && any_removed ? d->ops->sync_names(d) : e;
}

static enum err add_segments(struct store_log *s, const struct wal_found *found)
{
    for (uint32_t i = 0; i < found->segment_n; i++) {
        const struct wal_segment *w = &found->segment[i];
        struct segment *seg = mem_zalloc(s->mem, sizeof(*seg));
        if (seg == NULL)
            return ERR_NOMEM;
        seg->head = w->head;
        seg->end = seg->landed = w->end;
        seg->record_n = w->frame_n;
        if (!space_add(s, seg)) {
            mem_free(s->mem, seg);
            return ERR_NOMEM;
        }
    }
    return ERR_OK;
}

static enum err read_all(struct store_log *s, struct reading *r)
{
    const struct wal_visitor v = {.ctx = r, .frame = on_frame, .spare = on_spare};
    struct wal_found found = {0};
    enum err e = wal_read(s->config.disk, s->mem, s->config.log, true, &v, &found);
    if (e == ERR_OK)
        e = add_segments(s, &found);
    s->base.stats.damaged_bytes += found.damaged_bytes;
    s->torn_bytes = found.torn_bytes;
    s->batch_last = s->batch_landed = s->batch_synced = found.batch;
    s->base.stamp = found.stamp;
    wal_found_fini(&found, s->mem);
    living_cut(s->living);
    return e == ERR_OK ? keep_spares(s, r) : e;
}

static void free_spares(struct store_log *s, struct reading *r)
{
    while (r->spare != NULL) {
        struct found_spare *f = r->spare;
        r->spare = f->next;
        mem_free(s->mem, f);
    }
}

static void say_why(struct store_log *s, enum err e)
{
    const char *why = s->config.disk->why;
    if (e == ERR_EXISTS)
        log_line(s->config.log, LOG_ERROR, "another broker uses this directory (%s); stop it, or choose another", why);
    else if (e == ERR_NOMEM)
        log_line(s->config.log, LOG_ERROR, "the log cannot be read: %s", err_text(e));
    else if (e != ERR_UNSUPPORTED) /* wal_read has said it */
        log_line(s->config.log, LOG_ERROR, "the log cannot be used: %s", why);
}

enum err log_open_replay(struct store_log *s)
{
    struct disk *d = s->config.disk;
    struct reading r = {.log = s};
    s->began_us = clock_us();
    enum err e = d->ops->lock(d);
    s->is_locked = e == ERR_OK;
    if (e == ERR_OK)
        e = read_all(s, &r);
    free_spares(s, &r);
    if (e != ERR_OK) {
        say_why(s, e);
        return e;
    }
    s->submitted = s->durable = s->synced = s->base_lsn = s->last;
    s->disk_free = d->ops->free_bytes(d);
    s->base.stats.living_n = living_n(s->living);
    return ERR_OK;
}

/* ---- replay -------------------------------------------------------------------------------------------------- */

/* A stretch of a segment in memory. */
struct window {
    struct segment *seg;
    uint64_t off, n, cap, used;
    uint8_t *bytes;
};

struct replay {
    struct store_log *log;
    store_visit_fn visit;
    void *ctx;
    struct window window[WINDOWS];
    uint64_t uses, unread;
};

static struct window *choose_window(struct replay *r, const struct segment *seg)
{
    struct window *oldest = &r->window[0];
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct window *w = &r->window[i];
        if (w->seg == seg)
            return w;
        if (w->used < oldest->used)
            oldest = w;
    }
    return oldest;
}

static enum err load(struct replay *r, struct window *w, struct segment *seg, uint64_t off, uint64_t bytes)
{
    struct store_log *s = r->log;
    struct disk *d = s->config.disk;
    uint64_t n = MIN(MAX(bytes, LOG_CHUNK), seg->landed - off);
    w->seg = NULL;
    if (n > w->cap) {
        mem_free(s->mem, w->bytes);
        w->cap = MAX(n, LOG_CHUNK);
        w->bytes = mem_alloc(s->mem, w->cap);
        if (w->bytes == NULL) {
            w->cap = 0;
            return ERR_NOMEM;
        }
    }
    enum err e = ERR_OK;
    if (seg->file == NULL) {
        struct disk_file *file = NULL;
        char name[DISK_NAME_MAX];
        wal_name(seg->head.number, name);
        e = d->ops->open(d, name, false, &file);
        if (e == ERR_OK) {
            space_pin(seg);
            space_unpin(s, seg, file);
        }
    }
    if (e == ERR_OK)
        e = d->ops->read(d, seg->file, off, w->bytes, n);
    if (e == ERR_OK)
        *w = (struct window){.seg = seg, .off = off, .n = n, .cap = w->cap, .bytes = w->bytes};
    return e;
}

/* frame_at: the frame at this place. ERR_MALFORMED, ERR_IO, ERR_NOMEM. */
static enum err frame_at(struct replay *r, struct living_place at, struct wal_frame *out)
{
    struct segment *seg = space_find(r->log, at.segment);
    if (seg == NULL || seg->landed - WAL_HEAD < WAL_FRAME_HEAD || at.off > seg->landed - WAL_FRAME_HEAD)
        return ERR_MALFORMED;
    struct window *w = choose_window(r, seg);
    w->used = ++r->uses;
    uint64_t salt = seg->head.salt, size = 0;
    if (w->seg == seg && at.off >= w->off && at.off + WAL_FRAME_HEAD <= w->off + w->n)
        size = wal_frame_size(w->bytes + (at.off - w->off), salt);
    if (size == 0 || at.off + size > w->off + w->n) {
        enum err e = load(r, w, seg, at.off, size);
        if (e != ERR_OK)
            return e;
        size = wal_frame_size(w->bytes, salt);
        if (size > w->n && at.off + size <= seg->landed)
            e = load(r, w, seg, at.off, size);
        if (e != ERR_OK)
            return e;
        w->used = r->uses;
    }
    enum err e = wal_check_frame(w->bytes + (at.off - w->off), w->off + w->n - at.off, salt, out);
    out->segment = at.segment;
    out->off = at.off;
    return e;
}

static enum err show(struct replay *r, struct store_rec *rec)
{
    struct store_rec view = *rec;
    view.flags &= (uint8_t) ~(STORE_PUBLISH_RETAINED | STORE_PUBLISH_LIVE);
    if (rec->kind != STORE_PUBLISH)
        return r->visit(rec, r->ctx);
    if (view.target_n == 0)
        view.msg = NULL; /* nobody will ever ask for it */
    view.queue = view.of = 0;
    enum err e = view.target_n != 0 || view.rx_id != 0 ? r->visit(&view, r->ctx) : ERR_OK;
    if (e == ERR_OK && (rec->flags & STORE_PUBLISH_RETAINED)) {
        view = (struct store_rec){.kind = STORE_RETAIN, .lsn = rec->lsn, .at = rec->at, .msg = rec->msg};
        e = r->visit(&view, r->ctx);
    }
    return e;
}

static enum err show_one(struct replay *r, lsn_t lsn)
{
    struct store_log *s = r->log;
    struct living_place at;
    struct wal_frame f;
    struct store_rec *rec = &s->scratch.rec;
    enum err e = living_where(s->living, lsn, &at) ? frame_at(r, at, &f) : ERR_MALFORMED;
    if (e == ERR_OK)
        e = f.lsn == lsn ? codec_get(&f, s->base.msgs, &s->base, &s->scratch) : ERR_MALFORMED;
    if (e == ERR_NOMEM)
        return e;
    if (e != ERR_OK) {
        if (r->unread++ == 0)
            log_line(s->config.log, LOG_ERROR, "record %llu of the log cannot be read again and is left out",
                     (unsigned long long)lsn);
        return ERR_OK;
    }
    if (rec->kind == STORE_PUBLISH || rec->kind == STORE_RETAIN)
        living_trim(s->living, rec, s->scratch.target);
    e = show(r, rec);
    if (rec->msg != NULL)
        msg_drop(rec->msg);
    return e;
}

static void say_open(const struct replay *r)
{
    struct store_log *s = r->log;
    const struct store_stats *st = &s->base.stats;
    log_line(s->config.log, LOG_INFO,
             "the log: %u segments, %llu records, %llu living, read in %llu ms; %llu bytes damaged, %llu torn",
             s->segment_n, (unsigned long long)st->replayed, (unsigned long long)st->living_n,
             (unsigned long long)((clock_us() - s->began_us) / 1000), (unsigned long long)st->damaged_bytes,
             (unsigned long long)s->torn_bytes);
}

enum err replay_visit(struct store_log *s, store_visit_fn visit, void *ctx)
{
    struct replay r = {.log = s, .visit = visit, .ctx = ctx};
    enum err e = ERR_OK;
    uint8_t kind = 0;
    for (lsn_t lsn = living_next(s->living, 0, &kind); lsn != 0 && e == ERR_OK;
         lsn = living_next(s->living, lsn, &kind))
        e = show_one(&r, lsn);
    for (lsn_t lsn = e == ERR_OK ? living_next(s->living, 0, NULL) : 0; lsn != 0 && e == ERR_OK;
         lsn = living_next(s->living, lsn, NULL))
        e = show_one(&r, lsn);
    for (unsigned i = 0; i < WINDOWS; i++)
        mem_free(s->mem, r.window[i].bytes);
    if (e == ERR_OK)
        say_open(&r);
    return e;
}
