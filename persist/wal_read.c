/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal_read.c: reads a log, as the second essay of wal_file.c says, and mends it.
 *
 *     list ─► all heads ─► segment by segment: frame · frame · ... ─► visitor
 *                                   │ does not read, or one is missing in the count
 *                                   ▼
 *                     a BATCH later than the stretch follows?  yes: damage: set aside, go on behind it
 *                                                              no:  torn: zero from here to the end of the log
 *
 * Invariants
 *   1. Nothing is changed before all heads were read, and nothing at all without `repair`.
 *   2. Mending can be interrupted anywhere and is done again by the next open: a copy is durable before its original
 *      goes; a tail is cut from the last segment backwards, and the zeros are durable before the VOID frame that hides
 *      the tear.
 *   3. What a disk refuses to read is never taken for damage, let alone mended: ERR_IO.
 *   4. batch and part are those of the last WAL_BATCH; they count while is_counting; part_end is where the part should
 *      end (0: it did not say).
 * Cost    every byte of the log is read and summed up once; what follows a stretch that does not read, twice.
 * Thread  the caller's; blocks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "persist/codec.h"
#include "persist/wal_int.h"

enum { CHUNK = 1 << 16, SPARE_PREFIX = 6 };

enum head_state { HEAD_GOOD, HEAD_BAD, HEAD_BLANK };

/* A file that is called like a segment. */
struct seg {
    struct wal_head head; /* number: of the name */
    uint64_t bytes;
    enum head_state state;
};

struct spare {
    char name[DISK_NAME_MAX];
    uint64_t bytes;
};

/* owner: wal_read */
struct walk {
    struct disk *disk;
    struct mem *mem;
    struct log *log;
    const struct wal_visitor *v;
    struct wal_found *out;
    struct seg *seg;
    struct spare *spare;
    uint32_t seg_n, seg_cap, spare_n, spare_cap;
    struct wal_scan scan;
    uint64_t part_end;
    uint32_t part;
    bool repair, is_counting, is_torn; /* is_torn: nothing that follows counts */
};

#define SAY(w, ...)                                                                                                    \
    do {                                                                                                               \
        if ((w)->log != NULL)                                                                                          \
            log_line((w)->log, __VA_ARGS__);                                                                           \
    } while (0)

/* ---- what is there --------------------------------------------------------------------------------------------- */

static enum err on_name(void *ctx, const char *name, uint64_t size)
{
    struct walk *w = ctx;
    uint64_t number = wal_number(name);
    if (number != 0) {
        enum err e = wal_grow(w->mem, (void **)&w->seg, &w->seg_cap, w->seg_n, sizeof(*w->seg));
        if (e == ERR_OK)
            w->seg[w->seg_n++] = (struct seg){.head.number = number, .bytes = size};
        return e;
    }
    if (strncmp(name, "spare-", SPARE_PREFIX) != 0)
        return ERR_OK;
    enum err e = wal_grow(w->mem, (void **)&w->spare, &w->spare_cap, w->spare_n, sizeof(*w->spare));
    if (e == ERR_OK) {
        struct spare *s = &w->spare[w->spare_n++];
        s->bytes = size;
        snprintf(s->name, sizeof(s->name), "%s", name);
    }
    return e;
}

static int by_number(const void *a, const void *b)
{
    const struct seg *x = a, *y = b;
    return x->head.number < y->head.number ? -1 : x->head.number > y->head.number;
}

/* is_blank: whether the open file has nothing but zeros. */
static enum err is_blank(struct walk *w, struct disk_file *file, bool *out)
{
    uint8_t buf[4096];
    *out = true;
    for (uint64_t off = 0; off < file->size && *out; off += sizeof(buf)) {
        size_t n = (size_t)MIN(file->size - off, (uint64_t)sizeof(buf));
        enum err e = w->disk->ops->read(w->disk, file, off, buf, n);
        if (e != ERR_OK)
            return e;
        for (size_t i = 0; i < n; i++)
            *out &= buf[i] == 0;
    }
    return ERR_OK;
}

static enum err read_open_head(struct walk *w, struct seg *s, struct disk_file *file)
{
    uint8_t raw[WAL_HEAD] = {0};
    struct wal_head head;
    enum err e = w->disk->ops->read(w->disk, file, 0, raw, (size_t)MIN(file->size, (uint64_t)WAL_HEAD));
    if (e != ERR_OK)
        return e;
    e = wal_get_head(raw, &head);
    if (e == ERR_UNSUPPORTED) {
        SAY(w, LOG_ERROR, "written by a newer weir (log version %u, this one reads %u); nothing was changed",
            head.version, WAL_VERSION);
        return e;
    }
    if (e == ERR_OK && head.number == s->head.number) {
        s->head = head;
        return ERR_OK;
    }
    bool blank;
    s->state = HEAD_BAD;
    e = is_blank(w, file, &blank);
    if (e == ERR_OK && blank)
        s->state = HEAD_BLANK;
    return e;
}

static enum err read_head(struct walk *w, struct seg *s)
{
    char name[DISK_NAME_MAX];
    struct disk_file *file;
    wal_name(s->head.number, name);
    enum err e = w->disk->ops->open(w->disk, name, false, &file);
    if (e != ERR_OK)
        return e == ERR_NOMEM ? e : ERR_IO;
    s->bytes = file->size;
    e = read_open_head(w, s, file);
    w->disk->ops->close(w->disk, file);
    return e;
}

static enum err find_files(struct walk *w)
{
    enum err e = w->disk->ops->list(w->disk, on_name, w);
    if (e != ERR_OK)
        return e == ERR_NOMEM ? e : ERR_IO;
    if (w->seg_n != 0)
        qsort(w->seg, w->seg_n, sizeof(*w->seg), by_number);
    for (uint32_t i = 0; i < w->seg_n && e == ERR_OK; i++)
        e = read_head(w, &w->seg[i]);
    if (w->seg_n != 0 && e == ERR_OK) {
        w->out->segment = mem_alloc(w->mem, w->seg_n * sizeof(*w->out->segment));
        e = w->out->segment != NULL ? ERR_OK : ERR_NOMEM;
    }
    return e;
}

/* ---- mending --------------------------------------------------------------------------------------------------- */

static enum err write_zeros(struct walk *w, uint64_t off, uint64_t end)
{
    static const uint8_t zeros[CHUNK];
    struct wal_scan *s = &w->scan;
    enum err e = ERR_OK;
    if (off >= end)
        return ERR_OK;
    for (; off < end && e == ERR_OK; off += CHUNK)
        e = s->disk->ops->write(s->disk, s->file, off, zeros, (size_t)MIN(end - off, (uint64_t)CHUNK));
    s->len = 0;
    return e == ERR_OK ? s->disk->ops->sync(s->disk, s->file) : e;
}

/* write_void: off .. end, at least a frame's head, become zeros, and then one VOID frame. */
static enum err write_void(struct walk *w, uint64_t off, uint64_t end)
{
    struct wal_scan *s = &w->scan;
    uint8_t head[WAL_FRAME_HEAD];
    enum err e = write_zeros(w, off + WAL_FRAME_HEAD, end);
    if (e != ERR_OK)
        return e;
    wal_put_void(head, end - off, s->salt);
    e = s->disk->ops->write(s->disk, s->file, off, head, sizeof(head));
    return e == ERR_OK ? s->disk->ops->sync(s->disk, s->file) : e;
}

static enum err copy_out(struct walk *w, struct disk_file *to, uint64_t off, uint64_t bytes)
{
    struct disk *d = w->disk;
    enum err e = ERR_OK;
    for (uint64_t done = 0; done < bytes && e == ERR_OK; done += CHUNK) {
        const uint8_t *p;
        size_t n = (size_t)MIN(bytes - done, (uint64_t)CHUNK);
        e = wal_scan_bytes(&w->scan, off + done, n, &p);
        if (e == ERR_OK)
            e = d->ops->write(d, to, done, p, n);
    }
    return e == ERR_OK ? d->ops->sync(d, to) : e;
}

/* copy_as: a copy of the stretch gets this name when it is complete. ERR_FULL: there is no room. */
static enum err copy_as(struct walk *w, const struct wal_damage *d, const char *name)
{
    static const char unfinished[] = "damaged.tmp";
    struct disk *disk = w->disk;
    struct disk_file *to;
    enum err e = disk->ops->open(disk, name, false, &to);
    if (e == ERR_OK) { /* an earlier open has made it, and was interrupted */
        disk->ops->close(disk, to);
        return ERR_OK;
    }
    if (e != ERR_NOT_FOUND)
        return e;
    e = disk->ops->create(disk, unfinished, d->bytes, &to);
    if (e == ERR_EXISTS) { /* the same, but it was not finished */
        e = disk->ops->remove(disk, unfinished);
        if (e == ERR_OK)
            e = disk->ops->create(disk, unfinished, d->bytes, &to);
    }
    if (e != ERR_OK)
        return e;
    e = copy_out(w, to, d->off, d->bytes);
    disk->ops->close(disk, to);
    if (e == ERR_OK)
        e = disk->ops->rename(disk, unfinished, name);
    return e == ERR_OK ? disk->ops->sync_names(disk) : e;
}

/* set_aside: the stretch gets a file of its own, and a VOID frame in its place. A disk without room for the copy is no
 * reason not to start: the stretch stays as it is then, to be met again. */
static enum err set_aside(struct walk *w, struct wal_damage *d)
{
    char name[DISK_NAME_MAX];
    snprintf(name, sizeof(name), "damaged-%016llx-%llx.bin", (unsigned long long)d->segment,
             (unsigned long long)d->off);
    enum err e = copy_as(w, d, name);
    if (e == ERR_FULL) {
        SAY(w, LOG_WARN, "no room to set %s aside; what is there stays where it is", name);
        return ERR_OK;
    }
    if (e != ERR_OK)
        return e;
    memcpy(d->set_aside, name, sizeof(name));
    return d->bytes >= WAL_FRAME_HEAD ? write_void(w, d->off, d->off + d->bytes) : ERR_OK;
}

/* mended: what changing a file came to. */
static enum err mended(enum err e)
{
    return e == ERR_OK || e == ERR_NOMEM ? e : ERR_IO;
}

static void tell_damage(struct walk *w, const struct wal_damage *d)
{
    w->out->damaged_bytes += d->bytes;
    w->out->damaged_n++;
    if (d->bytes == 0)
        SAY(w, LOG_ERROR, "damage: something is missing before offset %llu of segment %llu", (unsigned long long)d->off,
            (unsigned long long)d->segment);
    else
        SAY(w, LOG_ERROR, "damage: %llu bytes at offset %llu of segment %llu do not read%s%s",
            (unsigned long long)d->bytes, (unsigned long long)d->off, (unsigned long long)d->segment,
            d->set_aside[0] != '\0' ? "; set aside as " : "", d->set_aside);
    if (w->v->damage != NULL)
        w->v->damage(w->v->ctx, d);
}

static enum err on_damage(struct walk *w, uint64_t off, uint64_t end)
{
    struct wal_damage d = {.segment = w->scan.number, .off = off, .bytes = end - off};
    enum err e = w->repair && d.bytes != 0 ? mended(set_aside(w, &d)) : ERR_OK;
    w->is_counting = false;
    w->part_end = 0;
    if (e == ERR_OK)
        tell_damage(w, &d);
    return e;
}

/* cut: nothing counts from off on in the open segment. */
static enum err cut(struct walk *w, uint64_t off, uint64_t should_end)
{
    uint64_t dirty;
    enum err e = wal_scan_dirty(&w->scan, off, &dirty);
    if (e != ERR_OK)
        return e;
    if (w->repair) {
        e = write_zeros(w, off, dirty);
        if (e == ERR_OK && off < should_end && should_end - off >= WAL_FRAME_HEAD)
            e = write_void(w, off, should_end);
        if (e != ERR_OK)
            return mended(e);
    }
    struct wal_damage d = {.segment = w->scan.number, .off = off, .bytes = dirty - off, .is_torn = true};
    if (off == WAL_HEAD && d.bytes == 0)
        return ERR_OK; /* a segment behind the tear that was not written to yet */
    w->out->torn_bytes += d.bytes;
    SAY(w, LOG_WARN,
        "the log ends in what was being written: %llu bytes at offset %llu of segment %llu were never acknowledged and "
        "are dropped",
        (unsigned long long)d.bytes, (unsigned long long)off, (unsigned long long)d.segment);
    if (w->v->damage != NULL)
        w->v->damage(w->v->ctx, &d);
    return ERR_OK;
}

/* cut_all: the log ends at off of the open segment i. The last segment goes first: as long as the tear is there, what
 * is behind it cannot be taken for anything else. */
static enum err cut_all(struct walk *w, uint32_t i, uint64_t off)
{
    enum err e = ERR_OK;
    w->is_torn = true;
    for (uint32_t k = w->seg_n - 1; k > i && e == ERR_OK; k--) {
        if (w->seg[k].state != HEAD_GOOD)
            continue;
        e = wal_scan_open(&w->scan, &w->seg[k].head, w->repair);
        if (e == ERR_OK)
            e = cut(w, WAL_HEAD, 0);
    }
    if (e == ERR_OK && w->scan.number != w->seg[i].head.number)
        e = wal_scan_open(&w->scan, &w->seg[i].head, w->repair);
    return e == ERR_OK ? cut(w, off, MIN(w->part_end, w->scan.limit)) : e;
}

/* ---- a stretch that does not read ------------------------------------------------------------------------------ */

/* What the stretch is that is asked about. */
struct doubt {
    uint64_t batch;    /* the last before it */
    bool is_part_open; /* whose part should have been longer */
    bool is_damage;    /* the answer */
};

/* proves_damage: whether this frame was not written before what stands in the stretch was durable. */
static bool proves_damage(const struct doubt *d, const struct wal_frame *f)
{
    wall_ms at;
    uint32_t part;
    if (f->kind != WAL_BATCH || f->lsn <= d->batch || codec_get_batch(f, &at, &part, NULL) != ERR_OK)
        return false; /* what does not parse proves nothing: it will be a VOID */
    return part == 0 || f->lsn > d->batch + 1 || d->is_part_open;
}

/* doubt_in: looks for the answer in the open segment from off on. */
static enum err doubt_in(struct walk *w, uint64_t off, struct doubt *d)
{
    struct wal_frame f;
    uint64_t next, dirty;
    enum err e = ERR_OK;
    while (e == ERR_OK && off < w->scan.limit) {
        e = wal_scan_frame(&w->scan, off, &f);
        if (e == ERR_OK) {
            d->is_damage = proves_damage(d, &f);
            if (d->is_damage)
                return ERR_OK;
            off += f.bytes;
        } else if (e == ERR_MALFORMED) {
            e = wal_scan_next(&w->scan, off, &next, &dirty);
            off = next;
        }
    }
    return e;
}

/* answer: looks from off on in segment i, which is open again afterwards, and in those behind it. */
static enum err answer(struct walk *w, uint32_t i, uint64_t off, struct doubt *d)
{
    enum err e = doubt_in(w, off, d);
    if (e != ERR_OK || d->is_damage)
        return e;
    for (uint32_t k = i + 1; k < w->seg_n && e == ERR_OK && !d->is_damage; k++) {
        if (w->seg[k].state != HEAD_GOOD)
            continue;
        e = wal_scan_open(&w->scan, &w->seg[k].head, false);
        if (e == ERR_OK)
            e = doubt_in(w, WAL_HEAD, d);
    }
    return e == ERR_OK ? wal_scan_open(&w->scan, &w->seg[i].head, w->repair) : e;
}

/* stretch: from off on segment i does not read, up to `next`, where a good frame is, or up to the limit; or, if next is
 * off, something is missing before the frame there. *off moves behind damage; is_torn: the log ended. */
static enum err stretch(struct walk *w, uint32_t i, uint64_t *off, uint64_t next, uint64_t dirty)
{
    struct doubt d = {.batch = w->out->batch, .is_part_open = *off < w->part_end};
    enum err e = answer(w, i, next, &d);
    if (e != ERR_OK)
        return e;
    if (!d.is_damage)
        return cut_all(w, i, *off);
    uint64_t end = next;
    if (next == w->scan.limit) { /* to the end of what is not zero, or of what should be there */
        end = MAX(dirty, MIN(w->part_end, w->scan.limit));
        if (end < *off + WAL_FRAME_HEAD)
            end = MIN(*off + WAL_FRAME_HEAD, w->scan.limit);
    }
    e = on_damage(w, *off, end);
    *off = end;
    return e;
}

/* ---- frames ---------------------------------------------------------------------------------------------------- */

/* is_next: whether a BATCH frame is the one that is due at off. */
static bool is_next(const struct walk *w, uint64_t number, uint32_t part, uint64_t off)
{
    if (!w->is_counting)
        return true;
    if (off < w->part_end && w->part_end != 0)
        return false;
    return part == 0 ? number == w->out->batch + 1 : number == w->out->batch && part == w->part + 1;
}

/* take_batch: *out_is_due: false: the frame was not taken, since something is missing before it. */
static enum err take_batch(struct walk *w, const struct wal_frame *f, bool *out_is_due)
{
    wall_ms at;
    uint32_t part;
    uint64_t bytes;
    *out_is_due = true;
    if (codec_get_batch(f, &at, &part, &bytes) != ERR_OK)
        return on_damage(w, f->off, f->off + f->bytes);
    *out_is_due = is_next(w, f->lsn, part, f->off);
    if (!*out_is_due)
        return ERR_OK;
    w->out->batch = MAX(w->out->batch, f->lsn);
    w->part = part;
    w->part_end = bytes != 0 ? f->off + bytes : 0;
    w->is_counting = true;
    w->out->stamp = MAX(w->out->stamp, at);
    return w->v->frame != NULL ? w->v->frame(w->v->ctx, f) : ERR_OK;
}

/* take: a good frame. */
static enum err take(struct walk *w, struct wal_segment *seg, const struct wal_frame *f, bool *out_is_due)
{
    *out_is_due = true;
    if (f->kind == WAL_BATCH)
        return take_batch(w, f, out_is_due);
    if (f->kind == WAL_VOID) {
        w->is_counting = false;
        w->part_end = 0;
        w->out->void_bytes += f->bytes;
        return ERR_OK;
    }
    seg->frame_n++;
    w->out->frames++;
    return w->v->frame != NULL ? w->v->frame(w->v->ctx, f) : ERR_OK;
}

/* is_clean_end: nothing is at off, nothing good behind it, and nothing is missing. */
static enum err is_clean_end(struct walk *w, uint64_t off, uint64_t next, bool *out)
{
    static const uint8_t zero[WAL_FRAME_HEAD];
    const uint8_t *p;
    *out = false;
    if (next != w->scan.limit || off < w->part_end)
        return ERR_OK;
    if (w->scan.limit - off < WAL_FRAME_HEAD) {
        *out = true;
        return ERR_OK;
    }
    enum err e = wal_scan_bytes(&w->scan, off, WAL_FRAME_HEAD, &p);
    *out = e == ERR_OK && memcmp(p, zero, WAL_FRAME_HEAD) == 0;
    return e;
}

/* walk_frames: of the open segment i. */
static enum err walk_frames(struct walk *w, uint32_t i, struct wal_segment *seg)
{
    struct wal_frame f;
    uint64_t off = WAL_HEAD, next, dirty;
    bool is_due, is_end = false;
    while (!w->is_torn) {
        enum err e = wal_scan_frame(&w->scan, off, &f);
        if (e == ERR_OK) {
            e = take(w, seg, &f, &is_due);
            if (e == ERR_OK && is_due) {
                off += f.bytes;
                seg->end = off;
            } else if (e == ERR_OK) {
                e = stretch(w, i, &off, off, off);
            }
        } else if (e == ERR_MALFORMED) {
            e = wal_scan_next(&w->scan, off, &next, &dirty);
            if (e == ERR_OK)
                e = is_clean_end(w, off, next, &is_end);
            if (e == ERR_OK && is_end)
                return ERR_OK;
            if (e == ERR_OK)
                e = stretch(w, i, &off, next, dirty);
        }
        if (e != ERR_OK)
            return e;
        if (off >= w->scan.limit && off >= w->part_end)
            return ERR_OK;
    }
    return ERR_OK;
}

static enum err walk_good(struct walk *w, uint32_t i)
{
    const struct seg *s = &w->seg[i];
    struct wal_segment *seg = &w->out->segment[w->out->segment_n];
    enum err e = w->is_torn ? ERR_OK : wal_scan_open(&w->scan, &s->head, w->repair);
    if (e != ERR_OK)
        return e;
    *seg = (struct wal_segment){.head = s->head, .end = WAL_HEAD};
    w->out->segment_n++;
    w->part_end = 0;
    if (w->v->segment != NULL)
        e = w->v->segment(w->v->ctx, &s->head, s->bytes);
    return e == ERR_OK ? walk_frames(w, i, seg) : e;
}

/* walk_bad: a segment whose head does not read. */
static enum err walk_bad(struct walk *w, const struct seg *s)
{
    struct wal_damage d = {.segment = s->head.number, .bytes = s->bytes};
    char name[DISK_NAME_MAX];
    wal_name(s->head.number, name);
    if (s->state == HEAD_BLANK)
        return w->v->spare != NULL ? w->v->spare(w->v->ctx, name, s->bytes) : ERR_OK;
    w->is_counting = false;
    if (w->repair) {
        snprintf(d.set_aside, sizeof(d.set_aside), "damaged-%016llx-0.bin", (unsigned long long)s->head.number);
        enum err e = w->disk->ops->rename(w->disk, name, d.set_aside);
        if (e == ERR_OK)
            e = w->disk->ops->sync_names(w->disk);
        if (e != ERR_OK)
            return mended(e);
    }
    tell_damage(w, &d);
    return ERR_OK;
}

static enum err walk_all(struct walk *w)
{
    enum err e = ERR_OK;
    w->is_counting = w->seg_n == 0 || w->seg[0].head.number == 1;
    for (uint32_t i = 0; i < w->seg_n && e == ERR_OK; i++) {
        if (i != 0 && w->seg[i].head.number != w->seg[i - 1].head.number + 1) {
            w->is_counting = false;
            SAY(w, LOG_WARN, "the log has no segments between %llu and %llu",
                (unsigned long long)w->seg[i - 1].head.number, (unsigned long long)w->seg[i].head.number);
        }
        e = w->seg[i].state == HEAD_GOOD ? walk_good(w, i) : walk_bad(w, &w->seg[i]);
    }
    for (uint32_t i = 0; i < w->spare_n && e == ERR_OK; i++) {
        if (w->v->spare != NULL)
            e = w->v->spare(w->v->ctx, w->spare[i].name, w->spare[i].bytes);
    }
    return e;
}

enum err wal_read(struct disk *d, struct mem *mem, struct log *log, bool repair, const struct wal_visitor *v,
                  struct wal_found *out)
{
    struct walk w = {.disk = d, .mem = mem, .log = log, .v = v, .out = out, .repair = repair};
    w.scan = (struct wal_scan){.disk = d, .mem = mem};
    *out = (struct wal_found){0};
    enum err e = find_files(&w);
    if (e == ERR_OK)
        e = walk_all(&w);
    wal_scan_close(&w.scan);
    mem_free(mem, w.seg);
    mem_free(mem, w.spare);
    if (e != ERR_OK)
        wal_found_fini(out, mem);
    return e;
}

void wal_found_fini(struct wal_found *f, struct mem *mem)
{
    mem_free(mem, f->segment);
    *f = (struct wal_found){0};
}
