/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_log.c: a report of a log.
 *
 *     wal_read (no repair) ─► segments, frames, stretches ─► struct report ─► text or JSON
 *                                 └► codec ─► counts by kind, living index
 *
 * Everything is gathered first and printed then, so that a report is whole or not there. JSON numbers are the log's own
 * (bytes, ms since 1970); its keys are for programs and stay.
 *
 * Invariants
 *   1. Nothing on disk is changed: the disk is read only, and wal_read mends nothing.
 *   2. What does not parse is reported with its place, and never ends the report.
 * Cost    as opening the log.
 * Thread  the caller's; blocks.
 */
#include "persist/check_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "persist/codec.h"
#include "persist/living.h"
#include "persist/wal_file.h"
#include "persist/wal_int.h"

/* In the order of living_next. */
static const enum store_kind definitions[] = {STORE_EXCHANGE, STORE_SESSION, STORE_QUEUE,
                                              STORE_BIND,     STORE_MEMBER,  STORE_WILL};

enum what { STRETCH_DAMAGE, STRETCH_TORN, STRETCH_RECORD };
static const char *const what_names[] = {"damage", "torn", "record"};

/* A place that does not read; STRETCH_RECORD: a frame that is good, but makes no sense. */
struct stretch {
    uint64_t segment, off, bytes;
    enum what what;
};

struct file {
    char name[DISK_NAME_MAX];
    uint64_t bytes;
};

struct report {
    struct mem *mem;
    struct living *living; /* NULL: it could not be kept */
    struct codec_rec rec;
    struct store clock;
    struct living_how how;
    struct wal_found found;
    struct stretch *stretch;
    struct file *spare, *aside;
    uint64_t *segment_bytes; /* of the files, in the order of found.segment */
    uint32_t stretch_n, stretch_cap, spare_n, spare_cap, aside_n, aside_cap, segment_n, segment_cap;
    uint64_t records[CODEC_KINDS];
    uint64_t notes, copies, unknown, batches, bytes; /* batches: parts of them */
    uint64_t living_n[ARRAY_N(definitions)];
};

/* ---- gathering ------------------------------------------------------------------------------------------------- */

static enum err put_file(struct report *r, struct file **list, uint32_t *n, uint32_t *cap, const char *name,
                         uint64_t bytes)
{
    enum err e = wal_grow(r->mem, (void **)list, cap, *n, sizeof(**list));
    if (e != ERR_OK)
        return e;
    struct file *f = &(*list)[(*n)++];
    f->bytes = bytes;
    snprintf(f->name, sizeof(f->name), "%s", name);
    r->bytes += bytes;
    return ERR_OK;
}

/* put_stretch: one that is not noted for want of memory is counted by wal_read all the same. */
static void put_stretch(struct report *r, struct stretch s)
{
    if (wal_grow(r->mem, (void **)&r->stretch, &r->stretch_cap, r->stretch_n, sizeof(s)) == ERR_OK)
        r->stretch[r->stretch_n++] = s;
}

static enum err on_segment(void *ctx, const struct wal_head *h, uint64_t bytes)
{
    struct report *r = ctx;
    UNUSED(h);
    enum err e = wal_grow(r->mem, (void **)&r->segment_bytes, &r->segment_cap, r->segment_n, sizeof(bytes));
    if (e == ERR_OK)
        r->segment_bytes[r->segment_n++] = bytes;
    r->bytes += bytes;
    return e;
}

/* apply: to the index of what lives, as long as that can be kept. */
static enum err apply(struct report *r, const struct store_rec *rec)
{
    if (r->living == NULL)
        return ERR_OK;
    enum err e = living_apply(r->living, rec, &r->how);
    if (e == ERR_TOO_BIG) { /* a segment larger than a broker makes */
        living_free(r->living);
        r->living = NULL;
        e = ERR_OK;
    }
    return e;
}

static enum err on_note(const struct store_rec *rec, void *ctx)
{
    struct report *r = ctx;
    r->records[rec->kind]++;
    return apply(r, rec);
}

static enum err on_record(struct report *r, const struct wal_frame *f)
{
    enum err e = codec_get(f, NULL, &r->clock, &r->rec);
    if (e != ERR_OK)
        return e;
    r->records[f->kind]++;
    r->copies += (f->flags & WAL_COPY) != 0;
    r->how = (struct living_how){.place = {.segment = f->segment, .off = (uint32_t)f->off},
                                 .is_copy = (f->flags & WAL_COPY) != 0,
                                 .cleared = r->rec.is_cleared};
    return apply(r, &r->rec.rec);
}

/* on_batch: where one begins, a unit that has not ended never will: it lies within one batch. */
static void on_batch(struct report *r, const struct wal_frame *f)
{
    wall_ms at;
    uint32_t part;
    r->batches++;
    if (r->living != NULL && codec_get_batch(f, &at, &part, NULL) == ERR_OK && part == 0)
        living_cut(r->living);
}

static enum err on_frame(void *ctx, const struct wal_frame *f)
{
    struct report *r = ctx;
    enum err e = ERR_OK;
    if (f->kind == WAL_BATCH) {
        on_batch(r, f);
    } else if (f->kind == WAL_NOTES) {
        r->how = (struct living_how){0};
        r->notes++;
        e = notes_get(f, r->mem, on_note, r);
    } else {
        e = on_record(r, f);
    }
    if (e == ERR_UNSUPPORTED) {
        r->unknown++;
        return ERR_OK;
    }
    if (e == ERR_MALFORMED) {
        put_stretch(r, (struct stretch){f->segment, f->off, f->bytes, STRETCH_RECORD});
        return ERR_OK;
    }
    return e;
}

static void on_damage(void *ctx, const struct wal_damage *d)
{
    struct report *r = ctx;
    put_stretch(r, (struct stretch){d->segment, d->off, d->bytes, d->is_torn ? STRETCH_TORN : STRETCH_DAMAGE});
}

static enum err on_spare(void *ctx, const char *name, uint64_t bytes)
{
    struct report *r = ctx;
    return put_file(r, &r->spare, &r->spare_n, &r->spare_cap, name, bytes);
}

static enum err on_name(void *ctx, const char *name, uint64_t bytes)
{
    struct report *r = ctx;
    if (strncmp(name, "damaged-", 8) != 0)
        return ERR_OK;
    return put_file(r, &r->aside, &r->aside_n, &r->aside_cap, name, bytes);
}

static void count_living(struct report *r)
{
    uint8_t kind = 0;
    if (r->living == NULL)
        return;
    living_cut(r->living);
    for (lsn_t lsn = living_next(r->living, 0, &kind); lsn != 0; lsn = living_next(r->living, lsn, &kind))
        r->living_n[kind]++;
}

/* ---- printing -------------------------------------------------------------------------------------------------- */

/* when: a time as people read it, into out[32]. */
static const char *when(wall_ms at, char *out)
{
    time_t s = (time_t)(at / 1000);
    struct tm tm;
    if (at == 0 || gmtime_r(&s, &tm) == NULL || strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        snprintf(out, 32, "no time");
    return out;
}

static uint64_t messages(const struct report *r)
{
    uint64_t n = living_n(r->living);
    for (size_t i = 0; i < ARRAY_N(definitions); i++)
        n -= r->living_n[i];
    return n;
}

static void text_segments(const struct report *r, struct buf *out)
{
    char time[32];
    buf_printf(out, "segments: %" PRIu32 "\n", r->found.segment_n);
    for (uint32_t i = 0; i < r->found.segment_n; i++) {
        const struct wal_segment *s = &r->found.segment[i];
        buf_printf(out, "  %" PRIu64 "  %" PRIu64 " bytes, %" PRIu64 " used, %" PRIu32 " frames", s->head.number,
                   r->segment_bytes[i], s->end, s->frame_n);
        if (r->living != NULL)
            buf_printf(out, ", %" PRIu64 " living", living_n_in(r->living, s->head.number));
        buf_printf(out, ", made %s\n", when(s->head.made, time));
    }
    for (uint32_t i = 0; i < r->spare_n; i++)
        buf_printf(out, "  spare %s  %" PRIu64 " bytes\n", r->spare[i].name, r->spare[i].bytes);
    for (uint32_t i = 0; i < r->aside_n; i++)
        buf_printf(out, "  set aside earlier: %s  %" PRIu64 " bytes\n", r->aside[i].name, r->aside[i].bytes);
}

static void text_records(const struct report *r, struct buf *out)
{
    buf_printf(out, "records:\n");
    for (size_t i = 1; i < CODEC_KINDS; i++) {
        if (r->records[i] != 0)
            buf_printf(out, "  %-13s %" PRIu64 "\n", codec_kind_names[i], r->records[i]);
    }
    if (r->copies != 0)
        buf_printf(out, "  copies by compaction: %" PRIu64 " of these\n", r->copies);
    if (r->unknown != 0)
        buf_printf(out, "  of kinds unknown to this version, skipped: %" PRIu64 "\n", r->unknown);
    if (r->living == NULL) {
        buf_printf(out, "living: not counted: a segment is larger than this version makes them\n");
        return;
    }
    buf_printf(out, "living: %" PRIu64 "\n", living_n(r->living));
    for (size_t i = 0; i < ARRAY_N(definitions); i++) {
        if (r->living_n[i] != 0)
            buf_printf(out, "  %-13s %" PRIu64 "\n", codec_kind_names[definitions[i]], r->living_n[i]);
    }
    buf_printf(out, "  %-13s %" PRIu64 "\n", "messages", messages(r));
}

static void text_stretches(const struct report *r, struct buf *out, bool is_damaged)
{
    for (uint32_t i = 0; i < r->stretch_n; i++) {
        const struct stretch *s = &r->stretch[i];
        const char *fmt = s->what == STRETCH_TORN     ? "torn tail (never acknowledged)"
                          : s->what == STRETCH_RECORD ? "damaged: a record that makes no sense"
                          : s->bytes == 0             ? "damaged: something is missing here"
                                                      : "damaged";
        buf_printf(out, "%s: segment %" PRIu64 ", offset %" PRIu64 ", %" PRIu64 " bytes\n", fmt, s->segment, s->off,
                   s->bytes);
    }
    buf_printf(out, is_damaged ? "the log is damaged\n" : "the log is not damaged\n");
}

static void print_text(const struct report *r, struct buf *out, bool is_damaged)
{
    char time[32];
    buf_printf(out,
               "files: %" PRIu64 " bytes\nparts of batches: %" PRIu64 ", the last batch is number %" PRIu64
               ", newest time %s\n",
               r->bytes, r->batches, r->found.batch, when(r->found.stamp, time));
    text_segments(r, out);
    text_records(r, out);
    text_stretches(r, out, is_damaged);
}

static void json_files(struct buf *out, const char *key, const struct file *f, uint32_t n)
{
    buf_printf(out, ",\"%s\":[", key);
    for (uint32_t i = 0; i < n; i++) { /* our own names, and whoever's begin so: only what needs no escape is printed */
        buf_printf(out, "%s{\"name\":\"", i != 0 ? "," : "");
        for (const char *c = f[i].name; *c != '\0'; c++)
            buf_put_u8(out, *c < ' ' || *c == '"' || *c == '\\' || *c > '~' ? '?' : (uint8_t)*c);
        buf_printf(out, "\",\"bytes\":%" PRIu64 "}", f[i].bytes);
    }
    buf_put_str(out, "]");
}

static void json_segments(const struct report *r, struct buf *out)
{
    buf_put_str(out, ",\"segments\":[");
    for (uint32_t i = 0; i < r->found.segment_n; i++) {
        const struct wal_segment *s = &r->found.segment[i];
        buf_printf(out,
                   "%s{\"number\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"end\":%" PRIu64 ",\"frames\":%" PRIu32
                   ",\"made_ms\":%" PRIu64,
                   i != 0 ? "," : "", s->head.number, r->segment_bytes[i], s->end, s->frame_n, s->head.made);
        if (r->living != NULL)
            buf_printf(out, ",\"living\":%" PRIu64, living_n_in(r->living, s->head.number));
        buf_put_str(out, "}");
    }
    buf_put_str(out, "]");
}

static void json_records(const struct report *r, struct buf *out)
{
    buf_put_str(out, ",\"records\":{");
    for (size_t i = 1; i < CODEC_KINDS; i++)
        buf_printf(out, "%s\"%s\":%" PRIu64, i != 1 ? "," : "", codec_kind_names[i], r->records[i]);
    buf_printf(out, "},\"notes_frames\":%" PRIu64 ",\"copies\":%" PRIu64 ",\"unknown\":%" PRIu64, r->notes, r->copies,
               r->unknown);
    if (r->living == NULL) {
        buf_put_str(out, ",\"living\":null");
        return;
    }
    buf_printf(out, ",\"living\":{\"all\":%" PRIu64 ",\"messages\":%" PRIu64, living_n(r->living), messages(r));
    for (size_t i = 0; i < ARRAY_N(definitions); i++)
        buf_printf(out, ",\"%s\":%" PRIu64, codec_kind_names[definitions[i]], r->living_n[i]);
    buf_put_str(out, "}");
}

static void print_json(const struct report *r, struct buf *out, bool is_damaged)
{
    buf_printf(out,
               "{\"damaged\":%s,\"version\":%u,\"bytes\":%" PRIu64 ",\"batch_parts\":%" PRIu64
               ",\"last_batch\":%" PRIu64 ",\"stamp_ms\":%" PRIu64 ",\"damaged_bytes\":%" PRIu64
               ",\"torn_bytes\":%" PRIu64 ",\"void_bytes\":%" PRIu64,
               is_damaged ? "true" : "false", WAL_VERSION, r->bytes, r->batches, r->found.batch, r->found.stamp,
               r->found.damaged_bytes, r->found.torn_bytes, r->found.void_bytes);
    json_segments(r, out);
    json_files(out, "spares", r->spare, r->spare_n);
    json_files(out, "set_aside", r->aside, r->aside_n);
    json_records(r, out);
    buf_put_str(out, ",\"stretches\":[");
    for (uint32_t i = 0; i < r->stretch_n; i++) {
        const struct stretch *s = &r->stretch[i];
        buf_printf(out, "%s{\"what\":\"%s\",\"segment\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
                   i != 0 ? "," : "", what_names[s->what], s->segment, s->off, s->bytes);
    }
    buf_put_str(out, "]}\n");
}

/* ---- all of it ------------------------------------------------------------------------------------------------- */

static bool is_damaged(const struct report *r)
{
    for (uint32_t i = 0; i < r->stretch_n; i++) {
        if (r->stretch[i].what == STRETCH_RECORD)
            return true;
    }
    return r->found.damaged_n != 0;
}

static enum err gather(struct report *r, struct disk *d)
{
    static const struct wal_visitor callbacks = {
        .segment = on_segment, .frame = on_frame, .damage = on_damage, .spare = on_spare};
    struct wal_visitor v = callbacks;
    v.ctx = r;
    r->living = living_new(r->mem, 1);
    if (r->living == NULL)
        return ERR_NOMEM;
    enum err e = wal_read(d, r->mem, NULL, false, &v, &r->found);
    if (e == ERR_OK)
        e = d->ops->list(d, on_name, r);
    if (e == ERR_OK)
        count_living(r);
    return e;
}

static void report_fini(struct report *r)
{
    codec_rec_fini(&r->rec);
    if (r->living != NULL)
        living_free(r->living);
    mem_free(r->mem, r->stretch);
    mem_free(r->mem, r->spare);
    mem_free(r->mem, r->aside);
    mem_free(r->mem, r->segment_bytes);
    wal_found_fini(&r->found, r->mem);
}

static void say_why(struct buf *out, enum err e, const struct disk *d)
{
    buf_clear(out);
    if (e == ERR_UNSUPPORTED)
        buf_put_str(out, "written by a newer weir");
    else
        buf_put_str(out, e != ERR_NOMEM && d->why[0] != '\0' ? d->why : err_text(e));
}

enum err check_log(struct disk *d, struct mem *mem, enum check_log_form form, struct buf *out, bool *out_is_damaged)
{
    struct report r = {.mem = mem};
    *out_is_damaged = false;
    enum err e = d->ops->lock(d);
    if (e != ERR_OK) {
        say_why(out, e, d);
        return e;
    }
    codec_rec_init(&r.rec, mem);
    e = gather(&r, d);
    d->ops->unlock(d);
    if (e == ERR_OK) {
        *out_is_damaged = is_damaged(&r);
        if (form == CHECK_LOG_JSON)
            print_json(&r, out, *out_is_damaged);
        else
            print_text(&r, out, *out_is_damaged);
        e = buf_is_bad(out) ? ERR_NOMEM : ERR_OK;
    }
    if (e != ERR_OK)
        say_why(out, e, d);
    report_fini(&r);
    return e;
}
