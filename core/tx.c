/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tx.c: publishes and answers that are to happen together or not at all: how they are gathered.
 *
 *     tx_new ─► tx_publish: a copy of the message ─┬─► tx_commit (tx_commit.c)
 *               tx_settle: the delivery is marked ─┘─► tx_abort: the marks are taken off
 *
 * Invariants
 *   1. A delivery is noted in at most one transaction (in_tx), and nothing else answers it meanwhile.
 *   2. Nobody else sees anything of a transaction before its commit; what can be refused at once, is.
 *   3. A message holds its exchange: it may be deleted, but is not forgotten, before the commit.
 * Cost    100 bytes per action besides its message; O(1), a cumulative answer O(deliveries in flight).
 * Thread  own shard only.
 * Spec    STOMP 1.2 §BEGIN, §ABORT.
 */
#include "core/tx_actions.h"

#include "core/journey.h"
#include "core/shard.h"

enum { ACTIONS_FIRST = 8 };

static struct mem *mem_of(const struct conn *c)
{
    return shard_mem(c->shard, MEM_SESSION);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

struct tx *tx_new(struct conn *c)
{
    return mem_zalloc(mem_of(c), sizeof(struct tx));
}

void tx_free(struct conn *c, struct tx *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (!t->v[i].msg)
            continue;
        msg_drop(t->v[i].msg);
        exchange_drop(t->v[i].x);
    }
    mem_free(mem_of(c), t->target);
    mem_free(mem_of(c), t->v);
    mem_free(mem_of(c), t);
}

uint64_t tx_bytes(const struct tx *t)
{
    return t->bytes;
}

uint32_t tx_actions(const struct tx *t)
{
    return t->frame_n;
}

/* room_for: n more actions. */
static bool room_for(struct conn *c, struct tx *t, uint32_t n)
{
    uint64_t cap = MAX(t->cap, (uint32_t)ACTIONS_FIRST);
    while (cap < (uint64_t)t->n + n)
        cap *= 2;
    if (cap == t->cap)
        return true;
    if (cap > UINT32_MAX)
        return false;
    struct action *v = mem_realloc(mem_of(c), t->v, cap * sizeof *v);
    if (!v)
        return false;
    t->v = v;
    t->cap = (uint32_t)cap;
    return true;
}

enum err tx_publish(struct conn *c, struct tx *t, struct publish *p)
{
    const struct limits *l = &c->shard->limits;
    struct session *me = c->session;
    struct journey j = {.s = c->shard,
                        .v = me->vhost,
                        .x = p->exchange ? p->exchange : me->vhost->topic_exchange,
                        .view = &p->msg,
                        .delay_ms = p->delay_ms};
    uint64_t bytes = (uint64_t)p->msg.topic.len + p->msg.attrs.len + p->msg.payload.len;
    enum err e = journey_may(&j);
    if (e != ERR_OK)
        return e;
    if (t->frame_n >= l->tx_actions_max || bytes > l->tx_bytes_max || t->bytes > l->tx_bytes_max - bytes)
        return ERR_FULL;
    p->msg.publisher = session_publisher(me, p->msg.flags);
    p->msg.exchange = j.x->number;
    const struct msg *m = room_for(c, t, 1) ? msg_new(&c->shard->msgs, &p->msg) : NULL;
    if (!m)
        return ERR_NOMEM;
    t->v[t->n++] = (struct action){.msg = m, .x = exchange_hold(j.x), .delay_ms = p->delay_ms};
    t->bytes += bytes;
    t->frame_n++;
    return ERR_OK;
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

struct entry *tx_entry(const struct session *me, uint32_t ticket)
{
    const struct flight *f = tickets_get(me, ticket);
    struct entry *e = f ? flight_entry(f) : NULL;
    return e && !e->by_qos ? e : NULL;
}

static void note(struct tx *t, struct entry *e, enum outcome o)
{
    e->in_tx = 1;
    t->v[t->n++] = (struct action){.ticket = e->ticket, .outcome = (uint8_t)o};
}

/* is_named: does a cumulative answer to `last` speak of e, too? */
static bool is_named(const struct entry *e, const struct entry *last)
{
    return e->at.consumer == last->at.consumer && !e->in_tx;
}

enum err tx_settle(struct conn *c, struct tx *t, uint32_t ticket, enum outcome o, bool until)
{
    struct session *me = c->session;
    struct entry *last = tx_entry(me, ticket);
    uint32_t n = 1;
    if (!last || last->in_tx)
        return ERR_NOT_FOUND;
    if (t->frame_n >= c->shard->limits.tx_actions_max)
        return ERR_FULL;
    if (until)
        n = last->at.consumer->inflight_n;
    if (!room_for(c, t, n))
        return ERR_NOMEM;
    for (struct list_node *it = until ? list_first(&me->inflight) : NULL; it && it != &last->node;
         it = list_next(&me->inflight, it)) {
        struct entry *e = LIST_ITEM(it, struct entry, node);
        if (is_named(e, last))
            note(t, e, o);
    }
    note(t, last, o);
    t->frame_n++;
    return ERR_OK;
}

void tx_unmark(struct conn *c, const struct tx *t)
{
    for (uint32_t i = 0; c->session && i < t->n; i++) {
        struct entry *e = t->v[i].msg ? NULL : tx_entry(c->session, t->v[i].ticket);
        if (!e)
            continue;
        e->in_tx = 0;
        queue_await(e); /* its time begins anew */
    }
}

void tx_abort(struct conn *c, struct tx *t)
{
    tx_unmark(c, t);
    stat_add(&c->shard->stats, STAT_TX_ABORTED, 1);
    tx_free(c, t);
}
