/* SPDX-License-Identifier: Apache-2.0 */
/*
 * damage.c: a real log, damaged in every way, must open, and must have everything that was not hit.
 *
 *     crash_damage DIR cuts  [LAST_BYTES]      the log ends at each byte of its last frames: file shorter, and zeros
 * behind crash_damage DIR flips N SEED            one bit flipped, N times
 *
 * DIR is a data directory that a broker has left in order; it is read once and not changed. Each trial works on a copy
 * in memory, twice: the frames that wal_read still finds, and the living records that store_log replays.
 *
 *     marks   where each frame of the untouched log is, by a parser of our own (the format essay of persist/wal_file.c)
 *     cut     exactly the frames that end before it; the records are those of a store_image that was given the same
 * frames flip    all frames but the one that was hit (in the last batch: all before it; in a segment's head: all of
 * other segments); all living messages whose own frame, definitions and transaction were not hit
 *
 * Exit code 0: nothing to say; 1: each failure was said; 2: wrong use.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/mailbox.h"
#include "core/base/rng.h"
#include "core/msg.h"
#include "persist/codec.h"
#include "persist/store_image.h"
#include "persist/store_log.h"
#include "persist/wal_file.h"
#include "tests/crash/disk_copy.h"

#define FAILURES_MAX 10u

/* A frame of the untouched log. */
struct mark {
    uint32_t file;                           /* index into origin->file */
    uint64_t segment, off, lsn, batch, unit; /* unit: its transaction's number; 0: none */
    uint32_t bytes;
    uint8_t kind, flags;
    bool seen; /* by the trial's wal_read */
};

/* A living message. */
struct living_mark {
    uint64_t lsn, hash;
    uint8_t kind;
    uint32_t target_n;
    uint64_t queue; /* of the first target */
};

struct living_set {
    struct living_mark *at;
    uint32_t n, cap;
    uint32_t definition_n[64]; /* by kind */
};

struct trial {
    struct mem_heap heap;
    struct mem mem;
    struct msg_pool msgs;
    struct log log;
    struct disk_copy *origin;
    struct mark *mark;
    uint32_t mark_n, mark_cap;
    uint64_t last_batch;
    struct living_set whole; /* of the untouched log */
    struct rng rng;
    unsigned failures, strange; /* strange: frames that the untouched log does not have, in this trial */
    char what[160];             /* the trial, for messages */
};

static void *grown(void *p, uint32_t n, uint32_t *cap, size_t each)
{
    if (n < *cap)
        return p;
    *cap = *cap > 0 ? *cap * 2 : 256;
    p = realloc(p, *cap * each);
    if (p == NULL)
        exit(2);
    return p;
}

static void complain(struct trial *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void complain(struct trial *t, const char *fmt, ...)
{
    va_list list;
    if (t->failures++ >= FAILURES_MAX)
        return;
    printf("FAILED %s: ", t->what);
    va_start(list, fmt);
    vprintf(fmt, list);
    va_end(list);
    printf("\n");
}

static void say_nothing(void *ctx, enum log_level level, const char *line)
{
    UNUSED(ctx);
    UNUSED(level);
    UNUSED(line);
}

/* ---- the untouched log --------------------------------------------------------------------------------------- */

static uint32_t u32_at(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t u64_at(const uint8_t *p)
{
    return u32_at(p) | (uint64_t)u32_at(p + 4) << 32;
}

static int by_place(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

static void mark_file(struct trial *t, uint32_t file)
{
    const struct copy_file *f = &t->origin->file[file];
    uint64_t number = wal_number(f->name);
    for (uint64_t off = WAL_HEAD; number != 0 && off + WAL_FRAME_HEAD <= f->size;) {
        const uint8_t *p = f->bytes + off;
        uint32_t bytes = u32_at(p + 4);
        struct wal_frame frame;
        if (bytes < WAL_FRAME_HEAD || bytes > f->size - off ||
            wal_check_frame(p, f->size - off, u64_at(f->bytes + 24), &frame) != ERR_OK)
            break; /* zeros, or a former life */
        t->mark = grown(t->mark, t->mark_n, &t->mark_cap, sizeof(*t->mark));
        t->mark[t->mark_n++] = (struct mark){.file = file,
                                             .segment = number,
                                             .off = off,
                                             .lsn = u64_at(p + 8),
                                             .bytes = (bytes + 7) / 8 * 8,
                                             .kind = p[20],
                                             .flags = p[21]};
        off += (bytes + 7) / 8 * 8;
    }
}

static void mark_all(struct trial *t)
{
    uint64_t batch = 0, unit = 0, units = 0;
    for (uint32_t i = 0; i < COPY_FILE_N; i++)
        mark_file(t, i);
    qsort(t->mark, t->mark_n, sizeof(*t->mark), by_place);
    for (uint32_t i = 0; i < t->mark_n; i++) {
        struct mark *m = &t->mark[i];
        if (m->kind == WAL_BATCH)
            batch = m->lsn;
        if (m->kind == STORE_TX)
            unit = ++units;
        m->batch = batch;
        m->unit = unit;
        if (m->kind == STORE_TX_END)
            unit = 0;
    }
    t->last_batch = batch;
}

static struct mark *mark_at(struct trial *t, uint64_t segment, uint64_t off)
{
    struct mark key = {.segment = segment, .off = off};
    return bsearch(&key, t->mark, t->mark_n, sizeof(*t->mark), by_place);
}

/* ---- frames -------------------------------------------------------------------------------------------------- */

static enum err on_frame(void *ctx, const struct wal_frame *f)
{
    struct trial *t = ctx;
    struct mark *m = mark_at(t, f->segment, f->off);
    if (m == NULL || m->lsn != f->lsn || m->kind != f->kind)
        t->strange++;
    else
        m->seen = true;
    return ERR_OK;
}

/* find_frames: sets seen of every mark that wal_read still finds on c; c is destroyed. */
static void find_frames(struct trial *t, struct disk_copy *c)
{
    struct wal_visitor v = {.ctx = t, .frame = on_frame};
    struct wal_found found;
    for (uint32_t i = 0; i < t->mark_n; i++)
        t->mark[i].seen = t->mark[i].kind == WAL_BATCH; /* may be shown or not */
    t->strange = 0;
    enum err e = wal_read(&c->disk, &t->mem, &t->log, true, &v, &found);
    if (e != ERR_OK)
        complain(t, "wal_read says %s", err_text(e));
    else
        wal_found_fini(&found, &t->mem);
    if (t->strange > 0)
        complain(t, "%u frames that were never written", t->strange);
    c->disk.ops->destroy(&c->disk);
}

/* ---- living records ------------------------------------------------------------------------------------------ */

static uint64_t hash_of(const struct msg *m)
{
    struct msgview v;
    uint64_t h = 14695981039346656037u;
    if (m == NULL)
        return 0;
    msg_view(m, &v);
    const struct slice part[] = {v.topic, v.payload};
    for (size_t k = 0; k < ARRAY_N(part); k++) {
        for (size_t i = 0; i < part[k].len; i++)
            h = (h ^ part[k].p[i]) * 1099511628211u;
    }
    return h;
}

static enum err on_record(const struct store_rec *rec, void *ctx)
{
    struct living_set *set = ctx;
    if (rec->kind != STORE_PUBLISH && rec->kind != STORE_RETAIN) {
        set->definition_n[rec->kind]++;
        return ERR_OK;
    }
    set->at = grown(set->at, set->n, &set->cap, sizeof(*set->at));
    set->at[set->n++] = (struct living_mark){rec->lsn, hash_of(rec->msg), (uint8_t)rec->kind, rec->target_n,
                                             rec->target_n > 0 ? rec->target[0].queue : 0};
    return ERR_OK;
}

static int by_lsn(const void *a, const void *b)
{
    const struct living_mark *x = a, *y = b;
    if (x->lsn != y->lsn)
        return x->lsn < y->lsn ? -1 : 1;
    return x->kind < y->kind ? -1 : x->kind > y->kind;
}

static void on_durable(void *ctx, lsn_t lsn)
{
    UNUSED(ctx);
    UNUSED(lsn);
}

static void on_failed(void *ctx)
{
    complain(ctx, "the store has failed");
}

static void wake(void *ctx)
{
    UNUSED(ctx);
}

/* find_living: what store_log replays from c, which it destroys. */
static void find_living(struct trial *t, struct disk_copy *c, struct living_set *out)
{
    struct mailbox box;
    mailbox_init(&box, wake, NULL);
    struct runner *runner = runner_now_new(&t->mem);
    struct store *s = store_log_new(
        &t->mem, &(struct store_log_config){
                     .disk = &c->disk, .runner = runner, .log = &t->log, .segment_bytes = 65536, .seed = 1});
    if (s == NULL)
        exit(2);
    s->on_durable = on_durable;
    s->on_failed = on_failed;
    s->ctx = t;
    s->mailbox = &box;
    s->msgs = &t->msgs;
    out->n = 0;
    memset(out->definition_n, 0, sizeof(out->definition_n));
    enum err e = s->ops->open(s);
    if (e == ERR_OK)
        e = s->ops->replay(s, on_record, out);
    if (e != ERR_OK)
        complain(t, "the store says %s", err_text(e));
    s->ops->close(s);
    mailbox_fini(&box);
    qsort(out->at, out->n, sizeof(*out->at), by_lsn);
}

/* ---- cuts ---------------------------------------------------------------------------------------------------- */

struct applying {
    struct trial *t;
    struct store_image *image;
};

static enum err apply_note(const struct store_rec *rec, void *ctx)
{
    return store_image_apply(((struct applying *)ctx)->image, rec);
}

/* apply_marks: the first n frames, to an image: the yardstick. */
static void apply_marks(struct trial *t, uint32_t n, struct store_image *image)
{
    struct codec_rec r;
    struct store clock = {0};
    struct applying a = {t, image};
    codec_rec_init(&r, &t->mem);
    for (uint32_t i = 0; i < n; i++) {
        const struct copy_file *f = &t->origin->file[t->mark[i].file];
        struct wal_frame frame;
        enum err e = wal_check_frame(f->bytes + t->mark[i].off, t->mark[i].bytes, u64_at(f->bytes + 24), &frame);
        if (e == ERR_OK && frame.kind == WAL_NOTES) {
            e = notes_get(&frame, &t->mem, apply_note, &a);
        } else if (e == ERR_OK && frame.kind < 64) {
            e = codec_get(&frame, &t->msgs, &clock, &r);
            if (e == ERR_OK) {
                r.rec.lsn = frame.lsn;
                e = store_image_apply(image, &r.rec);
                if (r.rec.msg != NULL)
                    msg_drop(r.rec.msg);
            }
        }
        if (e != ERR_OK) {
            complain(t, "frame %lu of segment %lu: %s", t->mark[i].off, t->mark[i].segment, err_text(e));
            break;
        }
    }
    codec_rec_fini(&r);
    store_image_cut(image);
}

static void compare_sets(struct trial *t, const struct living_set *want, const struct living_set *got)
{
    for (uint32_t k = 0; k < 64; k++) {
        if (want->definition_n[k] != got->definition_n[k])
            complain(t, "%u living records of kind %u, %u expected", got->definition_n[k], k, want->definition_n[k]);
    }
    if (want->n != got->n)
        complain(t, "%u living messages, %u expected", got->n, want->n);
    for (uint32_t i = 0; i < MIN(want->n, got->n); i++) {
        const struct living_mark *w = &want->at[i], *g = &got->at[i];
        if (w->lsn != g->lsn || w->kind != g->kind || w->hash != g->hash || w->target_n != g->target_n ||
            w->queue != g->queue) {
            complain(t, "message %lu where %lu was expected, or another content", g->lsn, w->lsn);
            return;
        }
    }
}

/* cut: nothing of segment `last` from byte c on, and no later segment. */
static struct disk_copy *cut_copy(struct trial *t, const char *name, uint64_t c, bool zeros)
{
    struct disk_copy *copy = disk_copy_of(t->origin);
    struct copy_file *f = disk_copy_find(copy, name);
    if (zeros)
        memset(f->bytes + c, 0, f->size - c);
    else
        f->size = c;
    return copy;
}

static void try_cut(struct trial *t, const char *name, uint64_t c, bool zeros, uint32_t n, struct living_set *want)
{
    struct living_set got = {0};
    snprintf(t->what, sizeof(t->what), "%s cut at %lu, %s", name, c, zeros ? "zeros behind" : "shorter");
    find_frames(t, cut_copy(t, name, c, zeros));
    for (uint32_t i = 0; i < t->mark_n; i++) {
        if (i < n && !t->mark[i].seen && t->mark[i].unit == 0)
            complain(t, "the frame at %lu of segment %lu is lost", t->mark[i].off, t->mark[i].segment);
    }
    find_living(t, cut_copy(t, name, c, zeros), &got);
    compare_sets(t, want, &got);
    free(got.at);
}

/* is_harmless: what byte c cuts off of the frame after the first n are zeros anyway. */
static bool is_harmless(const struct trial *t, uint32_t n, uint64_t segment, uint64_t c)
{
    if (n == t->mark_n || t->mark[n].segment != segment)
        return false;
    const uint8_t *bytes = t->origin->file[t->mark[n].file].bytes;
    for (uint64_t i = c; i < t->mark[n].off + t->mark[n].bytes; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static void cuts(struct trial *t, uint64_t last_bytes)
{
    const struct mark *last = &t->mark[t->mark_n - 1];
    const char *name = t->origin->file[last->file].name;
    uint64_t end = last->off + last->bytes, from = end - MIN(end, last_bytes), trials = 0;
    struct living_set want = {0};
    uint32_t n = UINT32_MAX;
    for (uint32_t i = 0; i < t->mark_n; i++) {
        if (t->mark[i].flags & WAL_COPY) { /* LSNs out of order: nothing for an image */
            complain(t, "cuts want a log that was never compacted");
            return;
        }
    }
    for (uint64_t c = MAX(from, (uint64_t)WAL_HEAD); c <= end; c++) {
        uint32_t whole = 0;
        while (whole < t->mark_n &&
               (t->mark[whole].segment < last->segment || t->mark[whole].off + t->mark[whole].bytes <= c))
            whole++;
        if (whole != n) {
            struct store_image *image = store_image_new(&t->mem);
            if (image == NULL)
                exit(2);
            n = whole;
            snprintf(t->what, sizeof(t->what), "the first %u frames", n);
            apply_marks(t, n, image);
            want.n = 0;
            memset(want.definition_n, 0, sizeof(want.definition_n));
            if (store_image_visit(image, on_record, &want) != ERR_OK)
                exit(2);
            qsort(want.at, want.n, sizeof(*want.at), by_lsn);
            store_image_free(image);
        }
        try_cut(t, name, c, false, n, &want);
        trials++;
        if (is_harmless(t, n, last->segment, c))
            continue;
        try_cut(t, name, c, true, n, &want);
        trials++;
    }
    free(want.at);
    printf("%lu cuts in the last %lu bytes of %s (%u frames, %u living messages in the end)\n", trials, end - from,
           name, t->mark_n, t->whole.n);
}

/* ---- flips --------------------------------------------------------------------------------------------------- */

static bool is_about_messages(uint8_t kind)
{
    return kind == STORE_PUBLISH || kind == STORE_SETTLE || kind == STORE_RETAIN || kind == STORE_RX_RELEASE ||
           (kind >= STORE_TX && kind <= STORE_RETURNED) || kind >= WAL_BATCH;
}

/* is_hit: may this frame be missing after byte `at` of a segment was changed? */
static bool is_hit(const struct trial *t, const struct mark *m, const struct mark *hit, uint64_t segment, uint64_t at)
{
    if (at < WAL_HEAD)
        return m->segment == segment;
    if (hit == NULL)
        return false;
    if (m == hit)
        return true;
    return hit->batch == t->last_batch && m->batch == t->last_batch && m > hit; /* may be taken for a torn tail */
}

/* lost_its_end: a unit whose end was hit takes with it what stands behind it in its batch. */
static bool lost_its_end(const struct mark *m, const struct mark *hit)
{
    return hit != NULL && hit->kind == STORE_TX_END && m > hit && m->batch == hit->batch;
}

static bool was_hit(const struct trial *t, const struct living_mark *l, const struct mark *hit, uint64_t segment,
                    uint64_t at)
{
    for (uint32_t i = 0; i < t->mark_n; i++) {
        const struct mark *m = &t->mark[i];
        if (m->lsn != l->lsn || (m->kind != l->kind && m->kind != STORE_PUBLISH)) /* a PUBLISH may be a RETAIN, too */
            continue;
        if (is_hit(t, m, hit, segment, at) || lost_its_end(m, hit))
            return true;
        for (uint32_t k = 0; m->unit != 0 && k < t->mark_n; k++) {
            if (t->mark[k].unit == m->unit && is_hit(t, &t->mark[k], hit, segment, at))
                return true;
        }
    }
    return false;
}

static void check_flip(struct trial *t, const struct mark *hit, uint64_t segment, uint64_t at, struct living_set *got)
{
    bool definitions = false;
    for (uint32_t i = 0; i < t->mark_n; i++) {
        const struct mark *m = &t->mark[i];
        bool may_miss = is_hit(t, m, hit, segment, at);
        definitions |= may_miss && !is_about_messages(m->kind);
        if (!m->seen && !may_miss && m->unit == 0)
            complain(t, "the frame at %lu of segment %lu is lost", m->off, m->segment);
    }
    if (definitions)
        return; /* what belongs to a lost queue may go with it */
    for (uint32_t i = 0; i < t->whole.n; i++) {
        const struct living_mark *want = &t->whole.at[i];
        const struct living_mark *found = bsearch(want, got->at, got->n, sizeof(*want), by_lsn);
        if (found != NULL && found->hash == want->hash && found->target_n >= want->target_n)
            continue;
        if (!was_hit(t, want, hit, segment, at))
            complain(t, "message %lu (kind %u) is lost or changed", want->lsn, want->kind);
    }
}

static void flip(struct trial *t, struct living_set *got)
{
    const struct mark *near = &t->mark[rng_below(&t->rng, t->mark_n)];
    const struct copy_file *f = &t->origin->file[near->file];
    uint64_t at = near->off + rng_below(&t->rng, near->bytes), kind = rng_below(&t->rng, 20);
    if (kind == 0)
        at = rng_below(&t->rng, (uint32_t)f->size);
    else if (kind == 1)
        at = rng_below(&t->rng, WAL_HEAD);
    uint8_t bit = (uint8_t)(1u << rng_below(&t->rng, 8));
    const struct mark *hit = NULL;
    for (uint32_t i = 0; i < t->mark_n; i++) {
        const struct mark *m = &t->mark[i];
        if (m->segment == near->segment && m->off <= at && at < m->off + m->bytes)
            hit = m;
    }
    snprintf(t->what, sizeof(t->what), "%s, byte %lu (frame of kind %d), bit %02x", f->name, at,
             hit != NULL ? hit->kind : -1, bit);
    for (int i = 0; i < 2; i++) {
        struct disk_copy *c = disk_copy_of(t->origin);
        c->file[near->file].bytes[at] ^= bit;
        if (i == 0)
            find_frames(t, c);
        else
            find_living(t, c, got);
    }
    check_flip(t, hit, near->segment, at, got);
}

static void flips(struct trial *t, unsigned long n)
{
    struct living_set got = {0};
    for (unsigned long i = 0; i < n; i++)
        flip(t, &got);
    free(got.at);
    printf("%lu flips in %u frames with %u living messages\n", n, t->mark_n, t->whole.n);
}

/* ---- the run ------------------------------------------------------------------------------------------------- */

static void begin(struct trial *t, const char *path)
{
    mem_heap_init(&t->heap);
    mem_init(&t->mem, &t->heap, "damage");
    msg_pool_init(&t->msgs, &t->mem);
    log_init(&t->log);
    t->log.write = say_nothing;
    t->origin = disk_copy_load(path);
    for (uint32_t i = 0; i < COPY_FILE_N; i++) {
        if (wal_number(t->origin->file[i].name) == 0)
            t->origin->file[i].name[0] = 0; /* spares: only more to copy */
    }
    mark_all(t);
    snprintf(t->what, sizeof(t->what), "the untouched log");
    find_frames(t, disk_copy_of(t->origin));
    for (uint32_t i = 0; i < t->mark_n; i++) {
        if (!t->mark[i].seen)
            complain(t, "the frame at %lu of segment %lu is not found", t->mark[i].off, t->mark[i].segment);
    }
    find_living(t, disk_copy_of(t->origin), &t->whole);
    if (t->mark_n < 100 || t->whole.n < 10)
        complain(t, "%u frames and %u living messages are too few to say anything", t->mark_n, t->whole.n);
}

int main(int argc, char **argv)
{
    static struct trial t;
    if (argc < 3 || (strcmp(argv[2], "cuts") != 0 && (strcmp(argv[2], "flips") != 0 || argc != 5))) {
        fprintf(stderr, "usage: crash_damage DIR cuts [LAST_BYTES] | DIR flips N SEED\n");
        return 2;
    }
    begin(&t, argv[1]);
    if (t.failures == 0 && strcmp(argv[2], "cuts") == 0) {
        cuts(&t, argc > 3 ? strtoull(argv[3], NULL, 10) : 1000);
    } else if (t.failures == 0) {
        rng_init(&t.rng, strtoull(argv[4], NULL, 10));
        flips(&t, strtoul(argv[3], NULL, 10));
    }
    if (t.failures > 0)
        printf("%u failures\n", t.failures);
    free(t.mark);
    free(t.whole.at);
    t.origin->disk.ops->destroy(&t.origin->disk);
    msg_pool_fini(&t.msgs);
    return t.failures > 0;
}
