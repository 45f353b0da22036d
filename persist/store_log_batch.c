/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_log_batch.c: the open batch: what was appended since the last one was sealed.
 *
 *     append ─► bytes  [ frame 10 ][ frame 11 ][ frame 13 ] ...     notes  [ 10 is settled ][ 4 was sent ] ...
 *               frame     alive       dead        alive                    all with one LSN: 12
 *                          ▲ head: all before it are dead
 *
 * Commit or consumed: a publish whose last reason to live goes before the batch is sealed leaves it again: its frame is
 * dead, notes about it are not written, and once everything before it is dead, too, it is "durable": there is nothing
 * that could be lost. A batch with nothing else in it lingers for that; then live traffic never reaches the disk.
 *
 * Why one LSN for all notes: a settle is a few bits in a run of numbers (codec.h), so it has no place of its own in the
 * order of the log. "Durable up to" may pass that LSN only when no note waits, and then the next note gets another.
 * Notes count at the end of their batch; what was noted before a unit begins becomes a frame in front of it.
 *
 * Invariants
 *   1. frame[head..n) have rising LSNs, all greater than base_lsn; what has a greater LSN than that and is not there
 * was consumed. After pass_dead, frame[head] is alive.
 *   2. own_note_n = sum of note_n over living frames; old_note_n = notes about publishes up to base_lsn.
 *   3. While the two are not both 0, notes_lsn is set, and durable < notes_lsn. While put_lsn is set, durable <
 * put_lsn.
 *   4. A frame is dead only if nothing but settles ended its record: a record that ends others may be lost in a power
 * cut.
 *   5. append calls nobody back.
 * Cost    append: encoding and the index (living.h); a note 32 bytes until the seal. Finding a frame is O(1).
 * Thread  the shard's.
 */
#include <string.h>

#include "core/msg.h"
#include "persist/store_log_calls.h"

enum { GROW_MIN = 64, TRIM_BYTES = 65536, TRIM_NOTES = 1024, RETRY_SOON_MS = 100, QUEUES_AT_ONCE = 16 };

/* ---- life ---------------------------------------------------------------------------------------------------- */

static bool batch_begin(struct batch *b)
{
    b->head = b->n = b->stamped = b->extent_n = 0;
    buf_clear(&b->bytes);
    if (buf_room(&b->bytes, LOG_FRONT_MAX) == NULL)
        return false;
    buf_wrote(&b->bytes, LOG_FRONT_MAX);
    return true;
}

void batch_reset(struct batch *b)
{
    if (b->bytes.cap > LOG_BUF_KEEP)
        buf_fini(&b->bytes);
    if (!batch_begin(b))
        buf_clear(&b->bytes); /* batch_grow tries again */
}

bool batch_init(struct store_log *s)
{
    for (unsigned i = 0; i < ARRAY_N(s->batch); i++) {
        s->batch[i].log = s;
        buf_init(&s->batch[i].bytes, s->mem);
    }
    buf_init(&s->front, s->mem);
    s->open = &s->batch[0];
    s->notes = notes_new(s->mem);
    s->unit_notes = notes_new(s->mem);
    return s->notes != NULL && s->unit_notes != NULL && batch_begin(&s->batch[0]) && batch_begin(&s->batch[1]);
}

void batch_fini(struct store_log *s)
{
    for (unsigned i = 0; i < ARRAY_N(s->batch); i++) {
        buf_fini(&s->batch[i].bytes);
        mem_free(s->mem, s->batch[i].frame);
        mem_free(s->mem, s->batch[i].extent);
    }
    buf_fini(&s->front);
    mem_free(s->mem, s->note);
    notes_free(s->notes);
    notes_free(s->unit_notes);
}

/* ---- frames -------------------------------------------------------------------------------------------------- */

bool batch_grow(struct batch *b)
{
    if (UNLIKELY(b->bytes.len == 0) && !batch_begin(b)) {
        buf_clear(&b->bytes);
        return false;
    }
    if (LIKELY(b->n < b->cap))
        return true;
    uint32_t cap = MAX(b->cap * 2, GROW_MIN);
    struct frame *grown = mem_realloc(b->log->mem, b->frame, cap * sizeof(*grown));
    if (grown == NULL)
        return false;
    b->frame = grown;
    b->cap = cap;
    return true;
}

struct frame *batch_add_frame(struct batch *b, lsn_t lsn, uint64_t from, uint8_t kind, uint8_t flags)
{
    struct frame *f = &b->frame[b->n++];
    *f =
        (struct frame){.lsn = lsn, .off = from, .bytes = (uint32_t)(b->bytes.len - from), .kind = kind, .flags = flags};
    return f;
}

void batch_truncate(struct batch *b, uint64_t len)
{
    b->bytes.len = len;
    b->bytes.bad = false;
}

/* find: the frame of lsn in the open batch, NULL if it is not there. LSNs of frames are consecutive but for that of the
 * notes, so the first guess is at most a step too far. */
static struct frame *find(const struct batch *b, lsn_t lsn)
{
    if (b->head == b->n || lsn < b->frame[b->head].lsn)
        return NULL;
    uint64_t step = lsn - b->frame[b->head].lsn;
    uint32_t i = b->head + (uint32_t)MIN(step, b->n - 1 - b->head);
    while (b->frame[i].lsn > lsn)
        i--;
    return b->frame[i].lsn == lsn ? &b->frame[i] : NULL;
}

/* kill_if_dead: after something about f's record has ended. */
static void kill_if_dead(struct store_log *s, struct frame *f)
{
    struct living_place at;
    bool may_go = (f->flags & (FRAME_MAY_GO | FRAME_DEAD)) == FRAME_MAY_GO && !s->keeps_all;
    if (!may_go || living_where(s->living, f->lsn, &at))
        return;
    f->flags |= FRAME_DEAD;
    s->own_note_n -= f->note_n;
    s->base.stats.consumed++;
}

const uint8_t *batch_bytes_of(const struct store_log *s, lsn_t lsn, uint32_t *out_bytes)
{
    const struct frame *f = find(s->open, lsn);
    if (f == NULL || f->flags & FRAME_DEAD)
        return NULL;
    *out_bytes = f->bytes;
    return s->open->bytes.p + f->off;
}

/* ---- notes --------------------------------------------------------------------------------------------------- */

static bool is_note(uint8_t kind)
{
    return kind == STORE_SETTLE || kind == STORE_SENT || kind == STORE_RECEIVED || kind == STORE_RETURNED;
}

static bool note_grow(struct store_log *s)
{
    if (LIKELY(s->note_n < s->note_cap))
        return true;
    uint32_t cap = MAX(s->note_cap * 2, GROW_MIN);
    struct log_note *grown = mem_realloc(s->mem, s->note, cap * sizeof(*grown));
    if (grown == NULL)
        return false;
    s->note = grown;
    s->note_cap = cap;
    return true;
}

/* note_count: what a note about `of` counts for. False: it needs not be written. */
static bool note_count(struct store_log *s, lsn_t of)
{
    struct frame *f = find(s->open, of);
    if (f == NULL && of > s->base_lsn)
        return false;
    if (f == NULL) {
        s->old_note_n++;
        return true;
    }
    if (f->flags & FRAME_DEAD)
        return false;
    f->note_n++;
    s->own_note_n++;
    return true;
}

void batch_filter_notes(struct store_log *s)
{
    struct batch *b = s->open;
    s->old_note_n = s->own_note_n = 0;
    for (uint32_t i = b->head; i < b->n; i++)
        b->frame[i].note_n = b->frame[i].flags & FRAME_NOTES ? b->frame[i].note_n : 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->note_n; i++) {
        if (note_count(s, s->note[i].of))
            s->note[n++] = s->note[i];
    }
    s->note_n = s->note_submitted = n;
    if (s->old_note_n == 0)
        s->note_since = 0;
}

/* fresh: an empty gatherer instead of one that has something in it that it could not put. */
static void fresh(struct store_log *s, struct notes **n)
{
    notes_free(*n);
    *n = notes_new(s->mem);
}

bool batch_put_notes(struct store_log *s, struct batch *b, lsn_t lsn)
{
    uint64_t from = b->bytes.len;
    if (s->notes == NULL)
        fresh(s, &s->notes);
    bool ok = s->notes != NULL && batch_grow(b);
    for (uint32_t i = 0; ok && i < s->note_n; i++) {
        const struct log_note *n = &s->note[i];
        ok = notes_add(s->notes, &(struct store_rec){.kind = (enum store_kind)n->kind,
                                                     .queue = n->queue,
                                                     .session = n->session,
                                                     .of = n->of,
                                                     .ticket = n->ticket,
                                                     .returns = n->returns}) == ERR_OK;
    }
    if (ok && notes_put(s->notes, &b->bytes, lsn) == ERR_OK) {
        batch_add_frame(b, lsn, from, WAL_NOTES, FRAME_NOTES);
        return true;
    }
    fresh(s, &s->notes); /* all of it is still in s->note */
    batch_truncate(b, from);
    return false;
}

/* put_before_unit: what was noted so far becomes a frame, with an LSN of its own that nobody was told of: note_n is how
 * far behind the one they were told it is. False: no memory. */
static bool put_before_unit(struct store_log *s)
{
    struct batch *b = s->open;
    batch_filter_notes(s);
    if (s->note_n != 0) {
        if (!batch_put_notes(s, b, s->last + 1))
            return false;
        s->last++;
        b->frame[b->n - 1].note_n = (uint32_t)MIN(s->last - s->notes_lsn, UINT32_MAX);
        if (s->put_lsn == 0)
            s->put_lsn = s->notes_lsn;
        s->note_n = 0;
        batch_filter_notes(s);
        s->notes_lsn = 0;
    }
    return true;
}

/* ---- append -------------------------------------------------------------------------------------------------- */

static bool has_cleared(const struct store_rec *r)
{
    bool is_retain = r->kind == STORE_RETAIN || (r->kind == STORE_PUBLISH && (r->flags & STORE_PUBLISH_RETAINED));
    return is_retain && (r->msg == NULL || r->msg->payload_len == 0);
}

static bool index_it(struct store_log *s, const struct store_rec *r)
{
    struct living_how how = {.cleared = has_cleared(r)};
    return living_apply(s->living, r, &how) == ERR_OK;
}

/* ends_others: does this record end a publish of the same batch, or might it? That one may not be left out then, for
 * this record could be the one that the power cut takes. */
static bool ends_others(const struct batch *b, const struct store_rec *r)
{
    return r->kind == STORE_QUEUE_END || r->kind == STORE_SESSION_END || r->kind == STORE_TX ||
           (r->kind == STORE_PUBLISH && r->of != 0 && find(b, r->of) != NULL);
}

static lsn_t append_frame(struct store_log *s, struct store_rec *r)
{
    struct batch *b = s->open;
    if (UNLIKELY(r->kind == STORE_TX && !put_before_unit(s)) || !batch_grow(b))
        return 0;
    r->lsn = s->last + 1;
    uint64_t from = b->bytes.len;
    if (UNLIKELY(codec_put(&b->bytes, r, 0, &s->base) != ERR_OK || !index_it(s, r))) {
        batch_truncate(b, from);
        return 0;
    }
    s->last = r->lsn;
    bool is_alone = r->kind == STORE_PUBLISH && r->rx_id == 0 && !(r->flags & STORE_PUBLISH_RETAINED) && !s->in_unit;
    bool may_go = is_alone && r->of == 0; /* what it settles must not come back */
    batch_add_frame(b, r->lsn, from, (uint8_t)r->kind, may_go ? FRAME_MAY_GO : 0);
    if (!is_alone || !(r->flags & STORE_PUBLISH_LIVE))
        s->is_urgent = true;
    if (r->kind == STORE_TX)
        s->in_unit = true;
    else if (r->kind == STORE_TX_END)
        s->in_unit = false;
    s->keeps_all |= ends_others(b, r);
    if (r->msg != NULL && r->kind == STORE_PUBLISH)
        s->base.stats.published_bytes += msg_bytes(r->msg);
    return r->lsn;
}

/* append_unit_note: within a unit a note is a frame of its own, for the unit is done whole, or not at all. */
static lsn_t append_unit_note(struct store_log *s, struct store_rec *r)
{
    struct batch *b = s->open;
    if (s->unit_notes == NULL)
        fresh(s, &s->unit_notes);
    if (s->unit_notes == NULL || !batch_grow(b))
        return 0;
    r->lsn = s->last + 1;
    uint64_t from = b->bytes.len;
    bool ok = notes_add(s->unit_notes, r) == ERR_OK && notes_put(s->unit_notes, &b->bytes, r->lsn) == ERR_OK;
    if (!ok || !index_it(s, r)) {
        fresh(s, &s->unit_notes);
        batch_truncate(b, from);
        return 0;
    }
    s->last = r->lsn;
    batch_add_frame(b, r->lsn, from, WAL_NOTES, FRAME_NOTES);
    return r->lsn;
}

/* note_rec: the record of a note, as the index wants it: a whole store_rec is large, and most of it means nothing here.
 */
static struct store_rec *note_rec(struct store_log *s, const struct store_rec *rec, lsn_t lsn)
{
    struct store_rec *r = &s->note_rec;
    r->kind = rec->kind;
    r->queue = rec->queue;
    r->session = rec->session;
    r->of = rec->of;
    r->ticket = rec->ticket;
    r->returns = rec->returns;
    r->lsn = lsn;
    return r;
}

static lsn_t append_note(struct store_log *s, const struct store_rec *rec)
{
    if (!note_grow(s))
        return 0;
    lsn_t lsn = s->notes_lsn == 0 ? s->last + 1 : s->notes_lsn;
    const struct living_how how = {0};
    if (UNLIKELY(living_apply(s->living, note_rec(s, rec, lsn), &how) != ERR_OK))
        return 0;
    if (s->notes_lsn == 0)
        s->notes_lsn = s->last = lsn;
    struct frame *f = rec->kind == STORE_SETTLE ? find(s->open, rec->of) : NULL;
    if (f != NULL)
        kill_if_dead(s, f);
    if (note_count(s, rec->of))
        s->note[s->note_n++] = (struct log_note){.queue = rec->queue,
                                                 .session = rec->session,
                                                 .of = rec->of,
                                                 .ticket = rec->ticket,
                                                 .returns = rec->returns,
                                                 .kind = (uint8_t)rec->kind};
    if (rec->kind == STORE_RECEIVED || (rec->kind == STORE_SENT && rec->qos == 2))
        s->is_urgent = true; /* the peer waits for it */
    return lsn;
}

/* append_session_end: with an end for each of its queues: see living_queues.c. Those that memory is too short for are
 * settled by whoever reads the log (core/restore.c). */
static NOINLINE lsn_t append_session_end(struct store_log *s, struct store_rec *r)
{
    uint64_t queue[QUEUES_AT_ONCE];
    uint32_t n = living_queues_of(s->living, r->session, queue, QUEUES_AT_ONCE);
    struct store_rec end = {.kind = STORE_QUEUE_END, .at = r->at};
    while (n == QUEUES_AT_ONCE) {
        for (uint32_t i = 0; i < n; i++) {
            end.queue = queue[i];
            if (append_frame(s, &end) == 0)
                return 0;
        }
        n = s->in_unit ? 0 : living_queues_of(s->living, r->session, queue, QUEUES_AT_ONCE);
    }
    lsn_t lsn = append_frame(s, r);
    for (uint32_t i = 0; i < n && lsn != 0; i++) {
        end.queue = queue[i];
        (void)append_frame(s, &end);
    }
    return lsn;
}

static lsn_t append_record(struct store_log *s, const struct store_rec *rec)
{
    struct store_rec r = *rec;
    if (r.at == 0)
        r.at = store_wall(&s->base, s->base.now);
    if (UNLIKELY(r.kind == STORE_SESSION_END))
        return append_session_end(s, &r);
    return UNLIKELY(is_note((uint8_t)r.kind)) ? append_unit_note(s, &r) : append_frame(s, &r);
}

lsn_t batch_append(struct store_log *s, const struct store_rec *rec)
{
    bool is_plain_note = is_note((uint8_t)rec->kind) && !s->in_unit;
    lsn_t lsn = is_plain_note ? append_note(s, rec) : append_record(s, rec);
    s->base.stats.records += lsn != 0;
    return lsn;
}

/* ---- gathering ----------------------------------------------------------------------------------------------- */

uint64_t batch_gathered(const struct store_log *s)
{
    return s->open->bytes.len + (uint64_t)s->note_n * sizeof(struct log_note);
}

bool batch_is_empty(const struct store_log *s)
{
    return s->open->head == s->open->n && s->old_note_n + s->own_note_n == 0;
}

/* rebase: the bytes before the first frame that is left are given up. */
static void rebase(struct batch *b)
{
    uint64_t first = b->frame[b->head].off, gap = first - LOG_FRONT_MAX;
    memmove(b->bytes.p + LOG_FRONT_MAX, b->bytes.p + first, b->bytes.len - first);
    b->bytes.len -= gap;
    memmove(b->frame, b->frame + b->head, (b->n - b->head) * sizeof(*b->frame));
    b->n -= b->head;
    b->stamped -= b->head;
    b->head = 0;
    for (uint32_t i = 0; i < b->n; i++)
        b->frame[i].off -= gap;
}

static void trim(struct store_log *s)
{
    struct batch *b = s->open;
    if (b->head == b->n) {
        if (b->n != 0)
            batch_reset(b);
        s->base_lsn = s->last;
    } else if (b->head != 0) {
        uint64_t gap = b->frame[b->head].off - LOG_FRONT_MAX;
        if (gap > TRIM_BYTES && gap > b->bytes.len / 2)
            rebase(b);
    }
    if (s->note_n > (s->old_note_n + s->own_note_n) * 2 + TRIM_NOTES)
        batch_filter_notes(s);
    if (batch_is_empty(s)) {
        s->is_urgent = s->keeps_all = false;
        s->note_n = s->note_submitted = 0;
        s->note_since = 0;
    }
}

/* pass_dead: what stands in front and is dead is as good as durable, if nothing is under way that is not. */
static void pass_dead(struct store_log *s)
{
    struct batch *b = s->open;
    while (b->head < b->n && b->frame[b->head].flags & FRAME_DEAD)
        b->head++;
    lsn_t upto = b->head < b->n ? b->frame[b->head].lsn - 1 : s->last;
    if (s->put_lsn != 0)
        upto = MIN(upto, s->put_lsn - 1);
    if (s->old_note_n + s->own_note_n != 0)
        upto = MIN(upto, s->notes_lsn - 1);
    else if (s->notes_lsn <= upto)
        s->notes_lsn = 0;
    trim(s);
    log_durable(s, upto);
}

void batch_mark(struct store_log *s)
{
    struct batch *b = s->open;
    if (s->in_unit) { /* memory is so short that not even its end could be appended */
        log_fail(s, "a transaction that has no end", ERR_NOMEM);
        return;
    }
    s->submitted = s->last;
    s->note_submitted = s->note_n;
    for (; b->stamped < b->n; b->stamped++)
        b->frame[b->stamped].at = (uint32_t)s->now;
    if (s->old_note_n != 0 && s->note_since == 0)
        s->note_since = s->now;
}

void batch_cut(struct store_log *s)
{
    struct batch *b = s->open;
    while (b->n > b->head && b->frame[b->n - 1].lsn > s->submitted)
        batch_truncate(b, b->frame[--b->n].off);
    b->stamped = MIN(b->stamped, b->n);
    s->note_n = MIN(s->note_n, s->note_submitted);
    s->in_unit = false;
    s->last = s->submitted;
    batch_filter_notes(s);
}

/* ---- when ---------------------------------------------------------------------------------------------------- */

static mono_ms appended_at(const struct store_log *s, const struct frame *f)
{
    return s->now - (uint32_t)((uint32_t)s->now - f->at);
}

bool batch_lingers(const struct store_log *s)
{
    return s->config.linger_ms != 0 && s->no_linger_n == 0 && !s->is_urgent && !s->is_closing &&
           s->compact.state != COMPACT_READY;
}

/* due: when the open batch, which has something to write, is to be sealed. */
static mono_ms due(const struct store_log *s)
{
    const struct batch *b = s->open;
    mono_ms at = 0;
    if (batch_lingers(s)) {
        at = MONO_NEVER;
        if (b->head < b->n)
            at = appended_at(s, &b->frame[b->head]) + s->config.linger_ms;
        if (s->old_note_n != 0)
            at = MIN(at, s->note_since + s->config.linger_ms);
    }
    bool has_pause = s->config.commit_ms_min != 0 && s->sealed_at != 0 && !s->is_closing;
    mono_ms min = has_pause ? s->sealed_at + s->config.commit_ms_min : 0;
    return MAX(at, min);
}

static bool has_work(const struct store_log *s)
{
    return !s->has_failed && s->flying == NULL &&
           (!batch_is_empty(s) || (s->compact.state == COMPACT_READY && !s->is_closing));
}

mono_ms batch_due(const struct store_log *s)
{
    if (!has_work(s))
        return MONO_NEVER;
    mono_ms at = due(s);
    if (at > s->now)
        return at;
    return s->wants_retry ? s->now + RETRY_SOON_MS : MONO_NEVER; /* a spare is missing: it wakes us */
}

void batch_turn(struct store_log *s, mono_ms now)
{
    s->wants_retry = false;
    if (s->flying != NULL || s->has_failed)
        return;
    pass_dead(s);
    if (has_work(s) && due(s) <= now)
        seal(s, now);
}
