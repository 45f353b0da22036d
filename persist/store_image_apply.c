/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_image_apply.c: what each kind of record does to an image.
 *
 *     begins something     PUBLISH, RETAIN, SESSION, QUEUE, EXCHANGE, BIND, MEMBER, WILL     image_put
 *     ends something       SETTLE, ..._END, UNBIND, RX_RELEASE, RETAIN and WILL of nothing   image_end and the like
 *     changes a target     SENT, RECEIVED, RETURNED                                          in place
 *
 * Invariants
 *   1. A record happens whole or, out of memory, not at all: what may fail comes first.
 *   2. What refers to something that ended is ended with it (end_queue, end_session, end_exchange).
 *   3. A record about something that does not live changes nothing.
 * Cost    O(1), but for ends: O(living records of the sorts that may refer to it).
 * Thread  the holder's.
 */
#include <stddef.h>

#include "persist/store_image_in.h"

static struct item *find_open(struct store_image *img, uint64_t session, uint16_t rx_id)
{
    LIST_EACH(&img->open, n)
    {
        struct item *it = LIST_ITEM(n, struct item, open);
        if (it->copy->rec.session == session && it->copy->rec.rx_id == rx_id)
            return it;
    }
    return NULL;
}

/* end_where_queue, end_where_session: all items of a sort with this queue or session. */
static void end_where_queue(struct store_image *img, enum sort sort, uint64_t queue)
{
    LIST_EACH(&img->all[sort], n)
    {
        if (image_item(n)->copy->rec.queue == queue)
            image_end(img, image_item(n));
    }
}

static void end_where_session(struct store_image *img, enum sort sort, uint64_t session)
{
    LIST_EACH(&img->all[sort], n)
    {
        if (image_item(n)->copy->rec.session == session)
            image_end(img, image_item(n));
    }
}

static void end_queue(struct store_image *img, uint64_t queue)
{
    end_where_queue(img, SORT_QUEUE, queue);
    end_where_queue(img, SORT_BIND, queue);
    end_where_queue(img, SORT_MEMBER, queue);
    LIST_EACH(&img->all[SORT_MESSAGE], n)
    {
        if (image_item(n)->copy->rec.kind == STORE_PUBLISH)
            image_remove_target(img, image_item(n), queue);
    }
}

static void end_session(struct store_image *img, uint64_t session)
{
    end_where_session(img, SORT_SESSION, session);
    end_where_session(img, SORT_MEMBER, session);
    end_where_session(img, SORT_WILL, session);
    LIST_EACH(&img->open, n)
    {
        struct item *it = LIST_ITEM(n, struct item, open);
        if (it->copy->rec.session == session)
            image_release(img, it);
    }
    LIST_EACH(&img->all[SORT_QUEUE], n)
    {
        const struct store_rec *rec = &image_item(n)->copy->rec;
        if (session != 0 && rec->session == session)
            end_queue(img, rec->queue);
    }
}

/* end_exchange: with all bindings from and to it. `it` is NULL for one that is not known itself. */
static void end_exchange(struct store_image *img, struct slice name, struct item *it)
{
    LIST_EACH(&img->all[SORT_BIND], n)
    {
        const struct store_rec *rec = &image_item(n)->copy->rec;
        bool is_to = rec->queue == 0 && slice_eq(rec->to, name);
        if (is_to || slice_eq(rec->name, name))
            image_end(img, image_item(n));
    }
    if (it != NULL)
        image_end(img, it);
}

/* item_note: how far a queue's delivery of this publish is. */
static void item_note(struct item *it, const struct store_rec *rec)
{
    struct rec_copy *c = it->copy;
    for (uint32_t i = 0; i < c->rec.target_n; i++) {
        struct store_target *t = &c->target[i];
        if (t->queue != rec->queue)
            continue;
        if (rec->kind == STORE_SENT) {
            t->progress = STORE_WAS_SENT;
            t->ticket = rec->ticket;
            t->session = rec->session;
        } else if (rec->kind == STORE_RECEIVED) {
            t->progress = STORE_WAS_RECEIVED;
        } else {
            t->progress = STORE_WAITS;
            t->ticket = 0;
            t->session = 0;
            t->returns = rec->returns;
        }
        return;
    }
}

static void release(struct store_image *img, const struct store_rec *rec)
{
    struct item *open = find_open(img, rec->session, rec->rx_id);
    if (open != NULL)
        image_release(img, open);
}

/* apply_end: what changes or ends something that lives. What it is about may have ended already, as when a queue went
 * with its session. */
static enum err apply_end(struct store_image *img, const struct store_rec *rec)
{
    enum err e;
    struct item *it = image_find(img, rec, &e);
    if (e != ERR_OK)
        return e;
    switch (rec->kind) {
    case STORE_EXCHANGE_END:
        end_exchange(img, rec->name, it);
        break;
    case STORE_SESSION_END:
        end_session(img, rec->session);
        break;
    case STORE_QUEUE_END:
        end_queue(img, rec->queue);
        break;
    case STORE_SETTLE:
        if (it != NULL)
            image_remove_target(img, it, rec->queue);
        break;
    case STORE_SENT:
    case STORE_RECEIVED:
    case STORE_RETURNED:
        if (it != NULL)
            item_note(it, rec);
        break;
    default: /* UNBIND, MEMBER_END; RETAIN and WILL that say "none" */
        if (it != NULL)
            image_end(img, it);
    }
    return ERR_OK;
}

/* as_retain: the retained message that rec, a PUBLISH, is too. */
static struct store_rec as_retain(const struct store_rec *rec)
{
    return (struct store_rec){.kind = STORE_RETAIN, .lsn = rec->lsn, .at = rec->at, .msg = rec->msg};
}

static enum err apply_retain(struct store_image *img, const struct store_rec *rec)
{
    return rec->msg != NULL && rec->msg->payload_len != 0 ? image_put(img, rec) : apply_end(img, rec);
}

/* as_living: what of a PUBLISH is kept under its own name. */
static struct store_rec as_living(const struct store_rec *rec)
{
    struct store_rec r = *rec;
    if (r.target_n == 0)
        r.msg = NULL; /* nobody will ever ask for it */
    r.of = r.queue = 0;
    r.flags &= (uint8_t) ~(STORE_PUBLISH_RETAINED | STORE_PUBLISH_LIVE);
    if (r.session == 0 || r.rx_id == 0)
        r.session = r.rx_id = 0;
    return r;
}

static enum err apply_publish(struct store_image *img, const struct store_rec *rec)
{
    struct store_rec r = as_living(rec);
    struct item *former = r.rx_id != 0 ? find_open(img, r.session, r.rx_id) : NULL, *it = NULL;
    enum err e = ERR_OK;
    if (r.rx_id != 0 || r.target_n != 0) {
        e = image_put(img, &r);
        if (e != ERR_OK)
            return e;
        it = image_item(list_last(&img->all[SORT_MESSAGE]));
    }
    if (rec->flags & STORE_PUBLISH_RETAINED) {
        struct store_rec retained = as_retain(rec);
        e = apply_retain(img, &retained);
    }
    if (e != ERR_OK) {
        if (it != NULL)
            image_end(img, it);
        return e;
    }
    if (former != NULL)
        image_release(img, former); /* an id is open once */
    if (r.rx_id != 0)
        list_push(&img->open, &it->open);
    if (rec->of != 0) /* it came from there */
        (void)apply_end(img, &(struct store_rec){.kind = STORE_SETTLE, .queue = rec->queue, .of = rec->of});
    return ERR_OK;
}

enum err image_apply(struct store_image *img, const struct store_rec *rec)
{
    switch (rec->kind) {
    case STORE_PUBLISH:
        return apply_publish(img, rec);
    case STORE_RETAIN:
        return apply_retain(img, rec);
    case STORE_SESSION:
    case STORE_QUEUE:
    case STORE_EXCHANGE:
    case STORE_BIND:
    case STORE_MEMBER:
        return image_put(img, rec);
    case STORE_WILL:
        return rec->msg != NULL ? image_put(img, rec) : apply_end(img, rec);
    case STORE_RX_RELEASE:
        release(img, rec);
        return ERR_OK;
    default:
        return apply_end(img, rec);
    }
}
