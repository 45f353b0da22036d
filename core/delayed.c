/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delayed.c: messages on their way to later.
 *
 *     broker_publish with a delay ─► [all checks] ─► delayed_set ─► waits, one timer ─► broker_publish_shard
 *                                                                                   └─► its exchange was deleted:
 * dropped
 *
 * The publisher is answered when the message waits safely; who gets it is found out when it is due, as if it had been
 * published then. Nobody is left to be told of a refusal at that time, so it is counted and logged.
 *
 * Invariants
 *   1. Every item is in the list, holds one reference on its message, one on its exchange, and has an armed
 *      timer.
 *   2. n and bytes count exactly what is in the list.
 * Cost    96 bytes and a message each; adding and firing O(1).
 * Thread  own shard only.
 */
#include "core/delayed.h"

#include "core/broker.h"
#include "core/shard.h"

static struct shard *shard_of(const struct delayed *d)
{
    return d->vhost->shard;
}

void delayed_init(struct delayed *d, struct vhost *v)
{
    *d = (struct delayed){.vhost = v};
    pool_init(&d->pool, shard_mem(v->shard, MEM_ENTRY), sizeof(struct delayed_msg));
    list_init(&d->all);
}

/* leave: w is out; the caller drops what it held: the message, and the exchange in *out_x. */
static const struct msg *leave(struct delayed_msg *w, struct exchange **out_x)
{
    struct delayed *d = w->home;
    const struct msg *m = w->msg;
    *out_x = w->exchange;
    wheel_disarm(&shard_of(d)->wheel, &w->timer);
    list_del(&w->node);
    d->n--;
    d->bytes -= msg_bytes(m);
    stat_sub(&shard_of(d)->stats, STAT_DELAYED, 1);
    pool_give(&d->pool, w);
    return m;
}

void delayed_fini(struct delayed *d)
{
    LIST_EACH(&d->all, it)
    {
        struct exchange *x;
        msg_drop(leave(LIST_ITEM(it, struct delayed_msg, node), &x));
        exchange_drop(x);
    }
    pool_fini(&d->pool);
}

bool delayed_has_room(const struct delayed *d, uint64_t n, uint64_t bytes)
{
    const struct limits *l = &shard_of(d)->limits;
    return (l->delayed_max == 0 || d->n + n <= l->delayed_max) &&
           (l->delayed_bytes_max == 0 || d->bytes + bytes <= l->delayed_bytes_max);
}

struct delayed_msg *delayed_prepare(struct delayed *d)
{
    return pool_take(&d->pool);
}

void delayed_cancel(struct delayed *d, struct delayed_msg *w)
{
    pool_give(&d->pool, w);
}

void delayed_set(struct delayed *d, struct delayed_msg *w, struct exchange *x, const struct msg *m, mono_ms due,
                 lsn_t lsn)
{
    *w = (struct delayed_msg){.home = d, .exchange = exchange_hold(x), .msg = msg_hold(m), .lsn = lsn};
    list_push(&d->all, &w->node);
    d->n++;
    d->bytes += msg_bytes(m);
    stat_add(&shard_of(d)->stats, STAT_DELAYED, 1);
    shard_arm(shard_of(d), &w->timer, TIMER_DELAYED, due);
}

/* count: what became of a message whose time had come and that was not published. */
static void count(struct shard *s, const struct msgview *v, enum err e)
{
    enum stat_id why = e == ERR_NOMEM ? STAT_DROP_NOMEM : e == ERR_NOT_FOUND ? STAT_DROP_CLOSED : STAT_DROP_FULL;
    stat_add(&s->stats, why, 1);
    log_line(s->log, LOG_WARN, "delayed message to '" SLICE_FMT "' not published: %s",
             SLICE_ARG(slice_make(v->topic.p, MIN(v->topic.len, (size_t)128))),
             e == ERR_NOT_FOUND ? "its exchange was deleted" : err_text(e));
}

void delayed_timer(struct delayed_msg *w)
{
    struct delayed *d = w->home;
    struct shard *s = shard_of(d);
    struct exchange *x;
    lsn_t lsn = w->lsn;
    const struct msg *m = leave(w, &x);
    struct msgview v;
    msg_view(m, &v);
    enum err e = ERR_OK;
    bool is_late = v.expires_at && v.expires_at <= s->now, goes_on = !is_late && !x->is_dead;
    if (is_late)
        stat_add(&s->stats, STAT_DROP_EXPIRED, 1); /* MQTT 5 §3.3.2.3.3: it was not to live so long */
    else
        e = goes_on ? broker_publish_due(d->vhost, x, &v, lsn) : ERR_NOT_FOUND;
    if (e != ERR_OK && e != ERR_NO_MATCH)
        count(s, &v, e);
    if (lsn && !goes_on)
        shard_append(s, &(struct store_rec){.kind = STORE_SETTLE, .of = lsn});
    msg_drop(m);
    exchange_drop(x);
}
