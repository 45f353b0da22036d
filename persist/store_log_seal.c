/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_log_seal.c: the open batch goes to the disk.
 *
 *     open ─► squeeze (dead frames out) ─► place (segments, spares) ─► notes ─► copies ─► LANE_WRITE: checksums, write,
 *                                                                                          zeros, sync ─► landed
 *
 * One batch is under way at a time; what is appended meanwhile gathers: the slower the disk, the larger the batches.
 * What finds no room (a spare is still being made) stays in the open batch: a batch may be cut between any two frames
 * that are not of one unit, for nothing is durable before its LSN is.
 *
 * Order within a batch: records, then notes, then copies. A copy shows its publish as it is now, with all that the
 * batch says of it; so it must not be read before that (a torn end is always cut from some frame on).
 *
 * A spare becomes a segment here: head and zeros, sync, rename, sync of the directory; only then frames. So a segment
 * always has a good head, and the log has no holes.
 *
 * Invariants
 *   1. Nothing of the plan is done before all memory for it is there.
 *   2. Places are told to the index when they are on disk: what it knows can be read.
 *   3. Every file written to is synced before the batch has landed; with STORE_LOG_INTERVAL all but the last one.
 * Cost    a pass over the frames; bytes are moved only over dead ones.
 * Thread  the shard's; write_run on LANE_WRITE.
 */
#include <string.h>

#include "persist/store_log_calls.h"

enum { EXTENTS_FIRST = 4, EXTENTS_MAX = 8, COPY_BYTES_MIN = 262144, PAGE = 4096 };

static const uint8_t zeros[WAL_FRAME_HEAD];

/* ---- the lane ------------------------------------------------------------------------------------------------ */

static enum err sync_one(struct batch *b, struct disk *d, struct segment *seg)
{
    enum err e = d->ops->sync(d, seg->file);
    b->failed_in_sync = e != ERR_OK;
    b->syncs++;
    return e;
}

static enum err begin_segment(struct batch *b, struct disk *d, const struct extent *x)
{
    uint8_t head[WAL_HEAD + WAL_FRAME_HEAD] = {0};
    char name[DISK_NAME_MAX];
    wal_put_head(head, &x->seg->head);
    wal_name(x->seg->head.number, name);
    enum err e = d->ops->write(d, x->seg->file, 0, head, sizeof(head));
    if (e == ERR_OK)
        e = sync_one(b, d, x->seg);
    if (e == ERR_OK)
        e = d->ops->rename(d, x->seg->spare_name, name);
    if (e == ERR_OK)
        e = d->ops->sync_names(d);
    b->syncs++;
    return e;
}

/* write_extent: the WAL_BATCH frame goes right in front of the frames, where those of the extent before were, which are
 * written (in front of the first one there is room); the zeros behind, if there is memory for them. */
static enum err write_extent(struct batch *b, struct disk *d, const struct extent *x)
{
    uint8_t *part = b->bytes.p + x->from - x->front_bytes;
    uint64_t n = x->front_bytes + x->bytes;
    memcpy(part, x->front, x->front_bytes);
    wal_seal(part, n, x->seg->head.salt);
    bool is_last = x == &b->extent[b->extent_n - 1];
    if (x->has_zeros && is_last && b->bytes.cap - (x->from + x->bytes) >= sizeof(zeros)) {
        memset(part + n, 0, sizeof(zeros));
        return d->ops->write(d, x->seg->file, x->off, part, n + sizeof(zeros));
    }
    enum err e = d->ops->write(d, x->seg->file, x->off, part, n);
    if (e == ERR_OK && x->has_zeros)
        e = d->ops->write(d, x->seg->file, x->off + n, zeros, sizeof(zeros));
    return e;
}

static void write_run(struct job *j)
{
    struct batch *b = CONTAINER_OF(j, struct batch, job);
    struct disk *d = b->log->config.disk;
    enum err e = b->log->lane_failed ? ERR_IO : ERR_OK;
    if (e == ERR_OK && b->old_tail != NULL)
        e = sync_one(b, d, b->old_tail);
    for (uint32_t i = 0; i < b->extent_n && e == ERR_OK; i++) {
        const struct extent *x = &b->extent[i];
        if (x->is_new)
            e = begin_segment(b, d, x);
        if (e == ERR_OK)
            e = write_extent(b, d, x);
        if (e == ERR_OK && (b->do_sync || i + 1 < b->extent_n))
            e = sync_one(b, d, x->seg);
    }
    b->log->lane_failed = e != ERR_OK;
    b->err = e;
}

/* ---- the plan ------------------------------------------------------------------------------------------------ */

/* squeeze: moves the living frames together, so that frames and bytes begin with them. */
static void squeeze(struct batch *b)
{
    uint64_t to = LOG_FRONT_MAX;
    uint32_t n = 0;
    for (uint32_t i = b->head; i < b->n; i++) {
        struct frame *f = &b->frame[i];
        if (f->flags & FRAME_DEAD)
            continue;
        if (f->off != to)
            memmove(b->bytes.p + to, b->bytes.p + f->off, f->bytes);
        f->off = to;
        to += f->bytes;
        if (n != i)
            b->frame[n] = *f;
        n++;
    }
    b->head = 0;
    b->n = b->stamped = n;
    b->bytes.len = to;
}

static bool is_planned(const struct batch *b, const struct segment *seg)
{
    for (uint32_t i = 0; i < b->extent_n; i++) {
        if (b->extent[i].seg == seg)
            return true;
    }
    return false;
}

static struct segment *choose_spare(const struct store_log *s, const struct batch *b, uint64_t bytes)
{
    struct segment *best = NULL;
    for (uint32_t i = 0; i < s->spare_n; i++) {
        struct segment *seg = s->spare[i];
        if (seg->head.size >= bytes && !is_planned(b, seg) && (best == NULL || seg->head.size < best->head.size))
            best = seg;
    }
    return best;
}

static bool extent_grow(struct batch *b)
{
    if (b->extent_n < b->extent_cap)
        return true;
    uint32_t cap = MAX(b->extent_cap * 2, EXTENTS_FIRST);
    struct extent *grown = mem_realloc(b->log->mem, b->extent, cap * sizeof(*grown));
    if (grown == NULL)
        return false;
    b->extent = grown;
    b->extent_cap = cap;
    return true;
}

/* has_its_own: a record that was too large for a segment has this one for itself: places in it are small numbers. */
static bool has_its_own(const struct store_log *s, const struct segment *seg)
{
    return seg->head.size > s->config.segment_bytes;
}

/* A run of frames that must be in one segment. */
struct run {
    uint32_t first, n;
    uint64_t bytes;
};

/* run_at: frame i alone, or all of the unit that begins there: of a unit that is cut in two by the end of a segment,
 * the first half may be given back with its segment, and what is left would not be known to be part of one. (Units that
 * are larger than any segment may be are cut.) */
static struct run run_at(const struct batch *b, uint32_t i)
{
    struct run one = {.first = i, .n = 1, .bytes = b->frame[i].bytes}, r = one;
    if (b->frame[i].kind != STORE_TX)
        return one;
    while (b->frame[r.first + r.n - 1].kind != STORE_TX_END && r.first + r.n < b->n)
        r.bytes += b->frame[r.first + r.n++].bytes;
    return r.bytes <= LOG_SEGMENT_MAX - WAL_HEAD - LOG_FRONT_MAX ? r : one;
}

/* begin_extent: r begins another part, in the tail if it is the first one and fits, else in a spare. */
static bool begin_extent(struct store_log *s, struct batch *b, const struct run *r)
{
    wall_ms at = store_wall(&s->base, s->now);
    if (b->extent_n == EXTENTS_MAX)
        return false;
    buf_clear(&s->front);
    if (!extent_grow(b) || codec_put_batch(&s->front, s->batch_last + 1, at, b->extent_n) != ERR_OK) {
        s->wants_retry = true;
        return false;
    }
    uint32_t front = (uint32_t)s->front.len;
    BUG_ON(front > LOG_FRONT_MAX);
    struct segment *seg = b->extent_n == 0 && s->has_tail ? s->segment[s->segment_n - 1] : NULL;
    bool is_new = seg == NULL || has_its_own(s, seg) || seg->end + front + r->bytes > seg->head.size;
    if (is_new) {
        uint64_t need = (uint64_t)WAL_HEAD + front + r->bytes;
        seg = choose_spare(s, b, need);
        if (seg == NULL) {
            s->want_bytes = MAX((need + PAGE - 1) / PAGE * PAGE, s->config.segment_bytes);
            return false;
        }
    }
    struct extent *x = &b->extent[b->extent_n++];
    *x = (struct extent){.seg = seg,
                         .off = is_new ? WAL_HEAD : seg->end,
                         .from = b->frame[r->first].off,
                         .bytes = r->bytes,
                         .frame_from = r->first,
                         .frame_n = r->n,
                         .front_bytes = front,
                         .is_new = is_new};
    memcpy(x->front, s->front.p, front);
    return true;
}

/* place: gives the run at frame i, behind those placed before, a segment; returns its length. 0: no room, or no memory.
 */
static uint32_t place(struct store_log *s, struct batch *b, uint32_t i)
{
    const struct run r = run_at(b, i);
    if (b->extent_n > 0) {
        struct extent *x = &b->extent[b->extent_n - 1];
        bool fits = x->off + x->front_bytes + x->bytes + r.bytes <= x->seg->head.size;
        if (fits && !has_its_own(s, x->seg)) {
            x->bytes += r.bytes;
            x->frame_n += r.n;
            return r.n;
        }
    }
    return begin_extent(s, b, &r) ? r.n : 0;
}

/* unit_start: where the unit begins that a cut in front of frame i would cut in two; i if there is none: a unit lies
 * within one batch. */
static uint32_t unit_start(const struct batch *b, uint32_t i)
{
    for (uint32_t k = i; k > 0; k--) {
        if (b->frame[k - 1].kind == STORE_TX_END)
            return i;
        if (b->frame[k - 1].kind == STORE_TX)
            return k - 1;
    }
    return i;
}

/* place_all: as many of the batch's frames as can be; returns how many. */
static uint32_t place_all(struct store_log *s, struct batch *b)
{
    uint32_t n = b->n;
    for (;;) {
        uint32_t placed = 0, step = 1;
        b->extent_n = 0;
        for (; placed < n && step != 0; placed += step)
            step = place(s, b, placed);
        uint32_t cut = placed < b->n ? unit_start(b, placed) : placed;
        if (cut == placed)
            return placed;
        n = cut; /* once more, so far; what is missing is known now */
    }
}

/* add_notes: the batch's notes as its last frame. False: they wait for another batch. */
static bool add_notes(struct store_log *s, struct batch *b)
{
    if (s->note_n == 0)
        return true;
    uint64_t from = b->bytes.len;
    if (!batch_put_notes(s, b, s->notes_lsn)) {
        s->wants_retry = true;
        return false;
    }
    if (place(s, b, b->n - 1) != 0)
        return true;
    b->n--;
    batch_truncate(b, from);
    return false;
}

static void add_copies(struct store_log *s, struct batch *b)
{
    uint64_t from = b->bytes.len, budget = MAX(2 * from, COPY_BYTES_MIN);
    while (b->bytes.len - from < budget && compact_next(s)) {
        if (place(s, b, b->n - 1) != 0)
            continue;
        batch_truncate(b, b->frame[--b->n].off);
        compact_undo(s);
        break;
    }
}

/* keep_rest: frames from i on move to the other batch, which gathers from now on. False: no memory; nothing is done. */
static bool keep_rest(struct batch *b, uint32_t i, struct batch *other)
{
    for (uint32_t k = i; k < b->n; k++) {
        const struct frame *f = &b->frame[k];
        if (!batch_grow(other))
            break;
        uint64_t from = other->bytes.len;
        buf_put(&other->bytes, b->bytes.p + f->off, f->bytes);
        if (buf_is_bad(&other->bytes))
            break;
        struct frame *moved = batch_add_frame(other, f->lsn, from, f->kind, f->flags);
        moved->at = f->at;
        moved->note_n = f->note_n;
    }
    if (other->n != b->n - i) {
        batch_reset(other);
        return false;
    }
    other->stamped = other->n;
    return true;
}

/* ---- the deed ------------------------------------------------------------------------------------------------ */

static void batch_done(struct job *j);

static void begin_extents(struct store_log *s, struct batch *b, mono_ms now)
{
    struct segment *tail = s->has_tail ? s->segment[s->segment_n - 1] : NULL;
    b->old_tail = s->config.sync == STORE_LOG_INTERVAL && tail != b->extent[0].seg ? tail : NULL;
    if (b->old_tail != NULL)
        space_pin(b->old_tail);
    for (uint32_t i = 0; i < b->extent_n; i++) {
        struct extent *x = &b->extent[i];
        if (x->is_new) {
            space_begin(s, x->seg);
            x->seg->head.made = store_wall(&s->base, now);
        }
        x->seg->end = x->off + x->front_bytes + x->bytes;
        x->has_zeros = x->seg->head.size - x->seg->end >= WAL_FRAME_HEAD;
        space_pin(x->seg);
    }
}

static void send(struct store_log *s, struct batch *b, mono_ms now)
{
    b->number = ++s->batch_last;
    b->do_sync = s->config.sync == STORE_LOG_ALWAYS;
    b->failed_in_sync = false;
    b->syncs = 0;
    b->err = ERR_OK;
    begin_extents(s, b, now);
    s->flying = b;
    s->sealed_at = now;
    s->want_bytes = 0;
    b->job.run = write_run;
    b->job.done = batch_done;
    s->config.runner->ops->post(s->config.runner, LANE_WRITE, &b->job);
}

/* learn: a batch that lingered in vain is a reason not to. */
static void learn(struct store_log *s, const struct batch *b)
{
    if (!batch_lingers(s)) {
        s->no_linger_n -= s->no_linger_n != 0;
        return;
    }
    if (b->head == b->n || (uint32_t)s->now - b->frame[b->head].at < s->config.linger_ms)
        return; /* it waited for notes only */
    uint32_t alive = 0;
    for (uint32_t i = b->head; i < b->n; i++)
        alive += !(b->frame[i].flags & FRAME_DEAD);
    if (alive > (b->n - b->head) / 2)
        s->no_linger_n = LOG_NO_LINGER_N;
}

/* hand_over: the first `placed` of what was `n` frames, and the notes and copies behind them if that is all, are b;
 * what is left is in `other`. */
static void hand_over(struct store_log *s, struct batch *b, struct batch *other, uint32_t placed, uint32_t n,
                      bool has_notes)
{
    s->base_lsn = placed < n ? b->frame[placed - 1].lsn : s->last;
    b->upto = s->base_lsn;
    s->put_lsn = 0;
    for (uint32_t i = 0; i < other->n; i++) {
        const struct frame *f = &other->frame[i];
        if ((f->flags & FRAME_NOTES) && f->note_n != 0 && s->put_lsn == 0)
            s->put_lsn = f->lsn - f->note_n;
    }
    if (s->put_lsn != 0)
        b->upto = MIN(b->upto, s->put_lsn - 1);
    if (has_notes) {
        s->note_n = 0;
        s->notes_lsn = 0;
    } else if (s->note_n != 0) {
        b->upto = MIN(b->upto, s->notes_lsn - 1);
    } else if (s->notes_lsn <= b->upto) {
        s->notes_lsn = 0;
    }
    if (placed < n)
        b->n = placed;
    s->open = other;
    s->is_urgent = placed < n || !has_notes;
    s->keeps_all = s->keeps_all && placed < n;
    batch_filter_notes(s);
}

void seal(struct store_log *s, mono_ms now)
{
    struct batch *b = s->open, *other = b == &s->batch[0] ? &s->batch[1] : &s->batch[0];
    batch_mark(s);
    if (s->has_failed)
        return;
    learn(s, b);
    squeeze(b);
    batch_filter_notes(s);
    if (!batch_grow(b) || !space_reserve_slots(s, EXTENTS_MAX) ||
        living_reserve_segments(s->living, EXTENTS_MAX) != ERR_OK) {
        s->wants_retry = true;
        return;
    }
    uint32_t n = b->n, placed = place_all(s, b);
    if (placed < n && (b->extent_n == 0 || !keep_rest(b, placed, other))) {
        s->wants_retry = s->wants_retry || b->extent_n != 0;
        return;
    }
    bool has_notes = placed == n && add_notes(s, b);
    if (has_notes && s->compact.state == COMPACT_READY && !s->is_closing)
        add_copies(s, b);
    if (b->extent_n == 0)
        return;
    hand_over(s, b, other, placed, n, has_notes);
    send(s, b, now);
}

/* ---- landing ------------------------------------------------------------------------------------------------- */

static void tell_places(struct store_log *s, const struct batch *b)
{
    for (uint32_t i = 0; i < b->extent_n; i++) {
        const struct extent *x = &b->extent[i];
        uint64_t shift = x->off + x->front_bytes - x->from;
        x->seg->landed = x->seg->end;
        for (uint32_t k = x->frame_from; k < x->frame_from + x->frame_n; k++) {
            const struct frame *f = &b->frame[k];
            s->base.stats.copied += (f->flags & FRAME_COPY) != 0;
            if (f->flags & FRAME_NOTES)
                continue;
            living_set_place(s->living, f->lsn,
                             (struct living_place){.segment = x->seg->head.number, .off = (uint32_t)(f->off + shift)});
            x->seg->record_n++;
        }
    }
}

static void count(struct store_log *s, const struct batch *b)
{
    struct store_stats *st = &s->base.stats;
    st->batches++;
    st->syncs += b->syncs;
    for (uint32_t i = 0; i < b->extent_n; i++) {
        const struct extent *x = &b->extent[i];
        st->written_bytes += x->front_bytes + x->bytes + (x->is_new ? WAL_HEAD : 0);
    }
}

static void batch_done(struct job *j)
{
    struct batch *b = CONTAINER_OF(j, struct batch, job);
    struct store_log *s = b->log;
    lsn_t upto = b->upto;
    s->flying = NULL;
    for (uint32_t i = 0; i < b->extent_n; i++)
        space_unpin(s, b->extent[i].seg, NULL);
    if (b->old_tail != NULL)
        space_unpin(s, b->old_tail, NULL);
    count(s, b);
    if (b->err != ERR_OK) {
        log_fail(s, b->failed_in_sync ? "syncing" : "writing", b->err);
        batch_reset(b);
        read_wake(s);
        return;
    }
    tell_places(s, b);
    s->batch_landed = b->number;
    if (b->do_sync)
        s->batch_synced = b->number;
    s->since_estimate++;
    batch_reset(b);
    compact_landed(s);
    read_wake(s);
    log_durable(s, upto);
}
