/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_mem.c: the store without a disk.
 *
 *      1 ........ durable ........ flying ........ submitted ........ last
 *      in the image     on its way to it   waits for the way     open batch
 *                                          to be free
 *
 * Four numbers are the whole state machine, and the same one a real writer has: one batch is under way, what is
 * submitted meanwhile gathers behind it. Without `late`, submit runs the way to its end at once. What is not durable
 * yet waits in `pending`, which holds messages by reference; becoming durable copies them into the image, as a disk
 * would.
 *
 * Messages that are asked for again come from the image, as copies: a reader could not share them either. The answer
 * waits in `asked` for the next letter, submit or tick.
 *
 * Invariants
 *   1. durable <= flying <= submitted <= last; on_durable is called with `durable`, which only grows.
 *   2. pending, and notes behind it, have exactly the records durable < lsn <= last, as they were appended (none
 *      without `keep`, none after a failure). Batch by batch the LSNs rise; within one they do not where notes share
 *      one, for these are written last.
 *   3. After a failure nothing is appended, nothing becomes durable, and on_failed has been called once (never after a
 *      crash).
 * Cost    without keep: an append is an addition; with keep one allocation, two more and a copy when durable.
 * Thread  the shard's own.
 */
#include "persist/store_mem.h"

#include "core/base/mailbox.h"
#include "core/msg.h"
#include "persist/rec_copy.h"
#include "persist/store_image.h"

/* owner: the shard; freed: close */
struct store_mem {
    struct store base;
    struct mem *mem;
    lsn_t last, submitted, flying, durable;
    lsn_t fail_append, fail_batch;
    lsn_t note; /* shares: the LSN of the open batch's notes; not greater than submitted: it has none yet */
    bool keep, late, shares, in_unit, owns_image, is_open, has_failed, has_crashed;
    struct store_image *image; /* NULL without keep */
    struct list pending;       /* struct rec_copy, each holding its message */
    struct list notes;         /* shares: the open batch's, to be appended to pending */
    uint64_t pending_bytes, bytes_max;
    struct store_fetch *asked, **asked_end; /* to be answered */
    struct letter letter;                   /* that something is asked for */
    bool is_posted;
};

static struct store_mem *ours(struct store *base)
{
    return CONTAINER_OF(base, struct store_mem, base);
}

static bool is_note(enum store_kind kind)
{
    return kind == STORE_SETTLE || kind == STORE_SENT || kind == STORE_RECEIVED || kind == STORE_RETURNED;
}

static void drop_first(struct store_mem *s)
{
    struct rec_copy *c = LIST_ITEM(list_pop(&s->pending), struct rec_copy, node);
    s->pending_bytes -= c->bytes;
    if (c->rec.msg != NULL)
        msg_drop(c->rec.msg);
    mem_free(s->mem, c);
}

static void drop_pending(struct store_mem *s)
{
    list_splice(&s->pending, &s->notes);
    while (!list_is_empty(&s->pending))
        drop_first(s);
}

/* write_out: moves pending records up to `upto` into the image. */
static enum err write_out(struct store_mem *s, lsn_t upto)
{
    while (!list_is_empty(&s->pending)) {
        const struct rec_copy *c = LIST_ITEM(list_first(&s->pending), struct rec_copy, node);
        if (c->rec.lsn > upto)
            break;
        enum err e = store_image_apply(s->image, &c->rec);
        if (e != ERR_OK)
            return e;
        drop_first(s);
    }
    return ERR_OK;
}

/* land: the batch durable < lsn <= upto has arrived, or has not. */
static void land(struct store_mem *s, lsn_t upto)
{
    bool is_doomed = s->fail_batch > s->durable && s->fail_batch <= upto;
    if (is_doomed || write_out(s, upto) != ERR_OK) {
        s->has_failed = true;
        drop_pending(s);
        s->base.on_failed(s->base.ctx);
        return;
    }
    s->base.stats.batches++;
    if (s->keep) {
        s->base.stats.living_n = store_image_n(s->image);
        s->base.stats.disk_bytes = store_image_bytes(s->image);
    }
    s->durable = upto;
    s->flying = s->late ? s->submitted : upto;
    s->base.on_durable(s->base.ctx, upto);
}

static enum err store_mem_open(struct store *base)
{
    struct store_mem *s = ours(base);
    BUG_ON(s->is_open || base->on_durable == NULL || base->on_failed == NULL);
    s->is_open = true;
    if (!s->keep)
        return ERR_OK;
    store_image_cut(s->image);
    s->last = s->submitted = s->flying = s->durable = s->note = store_image_lsn(s->image);
    base->stamp = store_image_stamp(s->image);
    return ERR_OK;
}

/* message: a copy of one of the image's, of a record of this kind, in our time and the shard's memory. NULL when out of
 * memory. */
static struct msg *message(struct store_mem *s, enum store_kind kind, const struct msg *m)
{
    struct msgview v;
    BUG_ON(s->base.msgs == NULL);
    msg_view(m, &v);
    v.owner = NULL;
    if (v.expires_at != 0 && kind != STORE_WILL)
        v.expires_at = store_mono(&s->base, (wall_ms)v.expires_at);
    return msg_new(s->base.msgs, &v);
}

struct replay {
    struct store_mem *s;
    store_visit_fn visit;
    void *ctx;
};

static enum err visit_ours(const struct store_rec *rec, void *ctx)
{
    const struct replay *r = ctx;
    if (rec->msg == NULL)
        return r->visit(rec, r->ctx);
    struct store_rec view = *rec;
    struct msg *m = message(r->s, rec->kind, rec->msg);
    if (m == NULL)
        return ERR_NOMEM;
    view.msg = m;
    enum err e = r->visit(&view, r->ctx);
    msg_drop(m);
    return e;
}

static enum err store_mem_replay(struct store *base, store_visit_fn visit, void *ctx)
{
    struct store_mem *s = ours(base);
    BUG_ON(!s->is_open);
    if (!s->keep)
        return ERR_OK;
    base->stats.replayed = store_image_n(s->image);
    store_image_set_clock(s->image, base->clock);
    return store_image_visit(s->image, visit_ours, &(struct replay){s, visit, ctx});
}

/* ---- reading back -------------------------------------------------------------------------------------------- */

static const struct msg *store_mem_read(struct store *base, lsn_t lsn)
{
    struct store_mem *s = ours(base);
    const struct msg *m = s->has_crashed ? NULL : store_image_get(s->image, lsn);
    return m != NULL ? message(s, STORE_PUBLISH, m) : NULL;
}

/* serve: answers all that was asked for before. */
static void serve(struct store_mem *s)
{
    struct store_fetch *next = s->asked;
    s->asked = NULL;
    s->asked_end = &s->asked;
    while (next != NULL) {
        struct store_fetch *f = next;
        next = f->next;
        f->no_memory = false;
        for (uint32_t i = 0; i < f->n; i++) {
            f->msg[i] = store_mem_read(&s->base, f->lsn[i]);
            f->no_memory |= f->msg[i] == NULL && !s->has_crashed && store_image_get(s->image, f->lsn[i]) != NULL;
            s->base.stats.fetched += f->msg[i] != NULL;
        }
        f->on_fetched(f); /* the asker's again; it may ask for more */
    }
}

static void on_letter(struct letter *l, void *shard)
{
    struct store_mem *s = CONTAINER_OF(l, struct store_mem, letter);
    UNUSED(shard);
    s->is_posted = false;
    serve(s);
}

static void store_mem_fetch(struct store *base, struct store_fetch *f)
{
    struct store_mem *s = ours(base);
    for (uint32_t i = 0; i < f->n; i++)
        BUG_ON(f->lsn[i] > s->durable || (i != 0 && f->lsn[i] <= f->lsn[i - 1]));
    f->next = NULL;
    *s->asked_end = f;
    s->asked_end = &f->next;
    if (s->late || s->has_crashed || base->mailbox == NULL || s->is_posted)
        return;
    s->letter.on_open = on_letter;
    s->is_posted = true;
    mailbox_post(base->mailbox, &s->letter);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static enum err store_mem_reserve(struct store *base, uint64_t bytes)
{
    const struct store_mem *s = ours(base);
    if (UNLIKELY(s->has_failed))
        return ERR_STORE;
    if (LIKELY(!s->keep || s->bytes_max == 0))
        return ERR_OK;
    uint64_t used = store_image_bytes(s->image) + s->pending_bytes;
    return used <= s->bytes_max && bytes <= s->bytes_max - used ? ERR_OK : ERR_FULL;
}

/* gather: a record into the open batch. False when out of memory. */
static bool gather(struct store_mem *s, const struct store_rec *rec, lsn_t lsn)
{
    bool is_behind = s->shares && is_note(rec->kind) && !s->in_unit;
    struct rec_copy *c = rec_copy_new(s->mem, rec);
    if (c == NULL)
        return false;
    if (c->rec.msg != NULL)
        msg_hold(c->rec.msg);
    c->rec.lsn = lsn;
    if (rec->at == 0)
        c->rec.at = store_wall(&s->base, s->base.now);
    if (rec->kind == STORE_TX)
        list_splice(&s->pending, &s->notes); /* a unit may have notes of its own about the same */
    list_push(is_behind ? &s->notes : &s->pending, &c->node);
    s->pending_bytes += c->bytes;
    return true;
}

/* lsn_for: what a record gets as its LSN. */
static lsn_t lsn_for(const struct store_mem *s, const struct store_rec *rec)
{
    if (!s->shares)
        return s->last + 1;
    if (is_note(rec->kind) && !s->in_unit && s->note > s->submitted)
        return s->note;
    return s->last == s->submitted ? s->last + 2 : s->last + 1; /* the batch itself has one */
}

static lsn_t store_mem_append(struct store *base, const struct store_rec *rec)
{
    struct store_mem *s = ours(base);
    BUG_ON(!s->is_open || rec->lsn != 0);
    if (UNLIKELY(s->has_failed))
        return 0;
    lsn_t lsn = lsn_for(s, rec);
    if (UNLIKELY(lsn == s->fail_append)) {
        s->fail_append = 0;
        return 0;
    }
    if (s->keep) {
        if (!gather(s, rec, lsn))
            return 0;
        base->stats.records++;
        if (rec->kind == STORE_PUBLISH && rec->msg != NULL)
            base->stats.published_bytes += msg_bytes(rec->msg);
    }
    if (is_note(rec->kind) && !s->in_unit)
        s->note = lsn;
    if (rec->kind == STORE_TX)
        s->note = 0; /* those behind it are another group */
    if (rec->kind == STORE_TX || rec->kind == STORE_TX_END)
        s->in_unit = rec->kind == STORE_TX;
    s->last = MAX(s->last, lsn);
    return lsn;
}

static mono_ms store_mem_submit(struct store *base, mono_ms now)
{
    struct store_mem *s = ours(base);
    UNUSED(now);
    if (!s->late && !s->has_crashed)
        serve(s);
    if (s->has_failed || s->submitted == s->last)
        return MONO_NEVER;
    s->submitted = s->last;
    list_splice(&s->pending, &s->notes);
    if (!s->late)
        land(s, s->submitted);
    else if (s->flying == s->durable)
        s->flying = s->submitted;
    return MONO_NEVER;
}

static void store_mem_close(struct store *base)
{
    struct store_mem *s = ours(base);
    while (!s->has_failed && s->submitted > s->durable)
        land(s, s->submitted);
    while (s->asked != NULL)
        serve(s);
    BUG_ON(s->is_posted); /* the shard has opened all its letters */
    drop_pending(s);
    if (s->owns_image)
        store_image_free(s->image);
    mem_free(s->mem, s);
}

static const struct store_ops store_mem_ops = {
    .name = "memory",
    .open = store_mem_open,
    .replay = store_mem_replay,
    .reserve = store_mem_reserve,
    .append = store_mem_append,
    .submit = store_mem_submit,
    .close = store_mem_close,
    .fetch = store_mem_fetch,
    .read = store_mem_read,
};

/* Without keep there is nothing to read. */
static const struct store_ops store_mem_counting_ops = {
    .name = "memory",
    .open = store_mem_open,
    .replay = store_mem_replay,
    .reserve = store_mem_reserve,
    .append = store_mem_append,
    .submit = store_mem_submit,
    .close = store_mem_close,
};

struct store *store_mem_new(struct mem *mem, const struct store_mem_config *config)
{
    BUG_ON(config->image != NULL && !config->keep);
    struct store_mem *s = mem_zalloc(mem, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->base.ops = config->keep ? &store_mem_ops : &store_mem_counting_ops;
    s->mem = mem;
    s->shares = config->shares;
    s->asked_end = &s->asked;
    s->keep = config->keep;
    s->late = config->late;
    s->bytes_max = config->bytes_max;
    list_init(&s->pending);
    list_init(&s->notes);
    s->image = config->image;
    if (s->keep && s->image == NULL) {
        s->owns_image = true;
        s->image = store_image_new(mem);
        if (s->image == NULL) {
            mem_free(mem, s);
            return NULL;
        }
    }
    return &s->base;
}

bool store_mem_tick(struct store *base)
{
    struct store_mem *s = ours(base);
    if (!s->has_failed && s->flying > s->durable)
        land(s, s->flying);
    if (!s->has_crashed)
        serve(s);
    return (!s->has_failed && s->flying > s->durable) || s->asked != NULL;
}

void store_mem_fail_append(struct store *base, lsn_t lsn)
{
    ours(base)->fail_append = lsn;
}

void store_mem_fail_batch(struct store *base, lsn_t lsn)
{
    ours(base)->fail_batch = lsn;
}

void store_mem_crash(struct store *base, lsn_t upto)
{
    struct store_mem *s = ours(base);
    if (s->keep && !s->has_failed) {
        enum err e = write_out(s, MIN(upto, s->submitted)); /* ERR_NOMEM: it reached the disk a little less far */
        UNUSED(e);
    }
    s->has_failed = s->has_crashed = true;
    drop_pending(s);
}
