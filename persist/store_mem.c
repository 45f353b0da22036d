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
 * Invariants
 *   1. durable <= flying <= submitted <= last; on_durable is called with `durable`, which only grows.
 *   2. pending has exactly the records durable < lsn <= last, in order (none without `keep`, none after a failure).
 *   3. After a failure nothing is appended, nothing becomes durable, and on_failed has been called once (never after a
 *      crash).
 * Cost    without keep: an append is an addition; with keep one allocation, two more and a copy when durable.
 * Thread  the shard's own.
 */
#include "persist/store_mem.h"

#include "persist/store_image.h"

/* owner: the shard; freed: close */
struct store_mem {
    struct store base;
    struct mem *mem;
    lsn_t last, submitted, flying, durable;
    lsn_t fail_append, fail_batch;
    bool keep, late, owns_image, is_open, has_failed;
    struct store_image *image; /* NULL without keep */
    struct list pending;       /* struct rec_copy, each holding its message */
    uint64_t pending_bytes, bytes_max;
};

static struct store_mem *ours(struct store *base)
{
    return CONTAINER_OF(base, struct store_mem, base);
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
    s->durable = upto;
    s->flying = s->late ? s->submitted : upto;
    s->base.on_durable(s->base.ctx, upto);
}

static enum err store_mem_open(struct store *base)
{
    struct store_mem *s = ours(base);
    BUG_ON(s->is_open || base->on_durable == NULL || base->on_failed == NULL);
    s->is_open = true;
    if (s->keep)
        store_image_cut(s->image);
    s->last = s->submitted = s->flying = s->durable = s->keep ? store_image_lsn(s->image) : 0;
    return ERR_OK;
}

static enum err store_mem_replay(struct store *base, store_visit_fn visit, void *ctx)
{
    struct store_mem *s = ours(base);
    BUG_ON(!s->is_open);
    return s->keep ? store_image_visit(s->image, visit, ctx) : ERR_OK;
}

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
    struct rec_copy *c = rec_copy_new(s->mem, rec);
    if (c == NULL)
        return false;
    if (c->rec.msg != NULL)
        msg_hold(c->rec.msg);
    c->rec.lsn = lsn;
    list_push(&s->pending, &c->node);
    s->pending_bytes += c->bytes;
    return true;
}

static lsn_t store_mem_append(struct store *base, const struct store_rec *rec)
{
    struct store_mem *s = ours(base);
    BUG_ON(!s->is_open);
    lsn_t lsn = s->last + 1;
    if (UNLIKELY(s->has_failed))
        return 0;
    if (UNLIKELY(lsn == s->fail_append)) {
        s->fail_append = 0;
        return 0;
    }
    if (s->keep && !gather(s, rec, lsn))
        return 0;
    s->last = lsn;
    return lsn;
}

static void store_mem_submit(struct store *base)
{
    struct store_mem *s = ours(base);
    if (s->has_failed || s->submitted == s->last)
        return;
    s->submitted = s->last;
    if (!s->late)
        land(s, s->submitted);
    else if (s->flying == s->durable)
        s->flying = s->submitted;
}

static void store_mem_close(struct store *base)
{
    struct store_mem *s = ours(base);
    while (!s->has_failed && s->submitted > s->durable)
        land(s, s->submitted);
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
};

struct store *store_mem_new(struct mem *mem, const struct store_mem_config *config)
{
    BUG_ON(config->image != NULL && !config->keep);
    struct store_mem *s = mem_zalloc(mem, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->base.ops = &store_mem_ops;
    s->mem = mem;
    s->keep = config->keep;
    s->late = config->late;
    s->bytes_max = config->bytes_max;
    list_init(&s->pending);
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
    return !s->has_failed && s->flying > s->durable;
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
    s->has_failed = true;
    drop_pending(s);
}
