/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch.c: from a queue to the consumers: who gets the next message, and what it takes to be in flight.
 *
 *     publish ──► queue_deliver_direct ──────────────────────────────────────────┐
 *                      │ not now                                                 ├─► hand_over ─► adapter->on_deliver
 *                      └─► queue_push ─► [ready] ─► (end of turn) dispatch_ready ┘
 *
 *     unacknowledged (QoS 0, ack auto)   handed over and forgotten; direct: no entry at all
 *     acknowledged, can come back        entry with its message on the session's in-flight list
 *     acknowledged, its last chance      a bare flight (core/flight.h): nobody could ask for it again
 *
 * Invariants
 *   1. A message passes by a queue only while nothing waits in it, so the order is the queue's.
 *   2. What is not kept is never sent again and never requeued (is_last_chance).
 *   3. Consumers are served in rotation, one message each.
 * Cost    direct: one encode, at QoS 1 and 2 also a place of 16 bytes in the ring of tickets. Dispatch O(1) per
 *         message.
 * Thread  own shard only.
 * Spec    MQTT 5 §4.3, §4.6 (order), §4.9; STOMP 1.2 §SUBSCRIBE (ack).
 */
#include "core/adapter.h"
#include "core/conn.h"
#include "core/entry_page.h"
#include "core/hold.h"
#include "core/replay.h"
#include "core/session.h"
#include "core/shard.h"

static struct shard *shard_of(const struct queue *q)
{
    return q->vhost->shard;
}

/* ---- who may have it ---------------------------------------------------------------------------------------- */

static struct consumer *only_consumer(const struct queue *q)
{
    const struct list_node *first = q->consumers.head.next;
    if (first == &q->consumers.head || first->next != &q->consumers.head)
        return NULL;
    return LIST_ITEM((struct list_node *)(uintptr_t)first, struct consumer, in_queue);
}

/* set_for: what c's subscription adds to a message that came through `number`: for a member of a shared queue its own
 * options, laid over in *own, else the set itself. */
static inline const struct binding_set *set_for(const struct consumer *c, uint32_t number, struct binding_set *own)
{
    if (LIKELY(!c->is_member))
        return queue_set_get(c->queue, number);
    /* [MQTT-3.3.4-5] its copy comes with its own identifier */
    *own = (struct binding_set){.qos = c->qos,
                                .retain_as_published = c->retain_as_published,
                                .sub_id_n = c->sub_id != 0,
                                .sub_id = (uint32_t *)(uintptr_t)&c->sub_id};
    return own;
}

/* has_asked: a consumer that pulls: deliveries it asked for, and room for those that want an answer. */
static NOINLINE bool has_asked(const struct consumer *c)
{
    return c->prefetch != 0 && (c->mode == ACK_NONE || c->session->sent_n < c->session->quota);
}

/* has_credit: asked for deliveries alone; nothing else waits for the quota [MQTT-3.3.4-10], [MQTT-4.9.0-3]. */
static inline bool has_credit(const struct consumer *c)
{
    const struct session *s = c->session;
    struct conn *conn = s->conn;
    if (!conn || !conn->logged_in || conn->is_closing)
        return false;
    if (UNLIKELY(s->resend != NULL) && !(s->holds && s->resend->counted))
        return false; /* what is to be sent again needs the slots; what is held has them */
    if (conn_is_blocked(conn))
        return false;
    if (UNLIKELY(c->is_held | c->is_pull))
        return !c->is_held && has_asked(c);
    if (c->mode == ACK_NONE)
        return true;
    return s->sent_n < s->quota && /* [MQTT-3.3.4-9], [MQTT-4.9.0-2] */
           (c->prefetch == 0 || c->inflight_n < c->prefetch);
}

static bool wants_ack(const struct consumer *c, uint8_t qos)
{
    return c->mode == ACK_EACH || c->mode == ACK_CUMULATIVE || (c->mode == ACK_BY_QOS && qos > 0);
}

/* is_last_chance: no delivery of q to c is ever repeated: the session ends with its connection, nobody else consumes
 * its queue, and MQTT cannot give a message back. */
static bool is_last_chance(const struct queue *q, const struct consumer *c)
{
    return c->mode == ACK_BY_QOS && q->owner == c->session && c->session->expiry_s == 0;
}

bool queue_has_taker(const struct queue *q)
{
    if (q->is_paused)
        return false;
    if (UNLIKELY(q->policy->single_active))
        return queue_own(q)->active && has_credit(queue_own(q)->active);
    LIST_EACH(&q->consumers, it)
    if (has_credit(LIST_ITEM(it, struct consumer, in_queue)))
        return true;
    return false;
}

/* park: a member without credit is not asked again before its session wakes (session_wake, which everything that gives
 * credit back ends in), so that many blocked ones cost nothing per message. The last one stays: somebody is there. */
static void park(struct queue *q, struct consumer *c)
{
    if (!c->is_member || only_consumer(q))
        return;
    list_del(&c->in_queue);
    q->away_n++;
    c->is_parked = 1;
}

void queue_line_up(struct queue *q, struct consumer *c)
{
    struct list_node *at = q->consumers.head.prev; /* goes behind it */
    while (at != &q->consumers.head && LIST_ITEM(at, struct consumer, in_queue)->priority < c->priority)
        at = at->prev;
    list_insert_before(at->next, &c->in_queue);
}

/* the_active: of a queue with a single active consumer: that one, or the first in line from now on. */
static struct consumer *the_active(struct queue *q)
{
    struct queue_own *own = queue_own(q);
    struct list_node *first = list_first(&q->consumers);
    if (!own->active && first)
        own->active = LIST_ITEM(first, struct consumer, in_queue);
    return own->active && has_credit(own->active) ? own->active : NULL;
}

/* next_consumer: the first in rotation with credit, moved behind those of its priority; NULL when none has. */
static struct consumer *next_consumer(struct queue *q)
{
    if (UNLIKELY(q->is_paused))
        return NULL;
    if (UNLIKELY(q->policy->single_active))
        return the_active(q);
    LIST_EACH(&q->consumers, it)
    {
        struct consumer *c = LIST_ITEM(it, struct consumer, in_queue);
        if (!has_credit(c)) {
            park(q, c);
            continue;
        }
        if (q->consumers.head.prev != it) {
            list_del(it);
            queue_line_up(q, c);
        }
        return c;
    }
    return NULL;
}

/* ---- handing over ------------------------------------------------------------------------------------------- */

/* copied: bytes that wait in the connection's own buffer; what is referred to costs no memory of its own. */
static size_t copied(const struct conn *c)
{
    return c->out ? c->out->buf_len : 0;
}

static inline enum err hand_over(struct consumer *c, const struct delivery *d)
{
    struct conn *conn = c->session->conn;
    struct shard *s = conn->shard;
    size_t before = copied(conn);
    enum err e = conn->adapter->on_deliver(conn, d);
    if (UNLIKELY(e == ERR_NOMEM && d->ticket))
        return ERR_OK; /* stays in flight: the connection is being closed for it */
    if (UNLIKELY(e != ERR_OK)) {
        stat_add(&s->stats, e == ERR_NOMEM ? STAT_DROP_NOMEM : STAT_DROP_TOO_BIG, 1);
        return e;
    }
    if (UNLIKELY(c->is_pull))
        c->prefetch--;
    stat_add(&s->stats, STAT_DELIVERED, 1);
    stat_add(&s->stats, STAT_PAYLOAD_OUT, d->msg->payload.len);
    size_t after = copied(conn);
    s->turn_out += after > before ? after - before : 0; /* less, when it was moved to the front to make room */
    return ERR_OK;
}

/* take_off: a ready entry is in flight to c, and unacknowledged until it is settled. False: no ticket; it stays where
 * it is. [MQTT-4.3.2-3], [MQTT-4.3.3-3]; 3.1.1: [MQTT-4.3.2-1], [MQTT-4.3.3-1] */
static bool take_off(struct entry *e, struct consumer *c, uint8_t qos)
{
    struct flight *f = flight_take(c);
    if (!f)
        return false;
    f->of.entry = e;
    f->is_bare = 0;
    entry_leave_ready(e);
    e->state = ENTRY_SENT;
    e->ticket = f->ticket;
    e->at.consumer = c;
    e->counted = 1;
    e->sent_qos = qos;
    e->by_qos = c->mode == ACK_BY_QOS;
    list_push(&c->session->inflight, &e->node);
    if (UNLIKELY(e->timed))
        queue_await(e);
    return true;
}

bool queue_deliver_direct(struct queue *q, struct delivery *d, uint32_t set, uint8_t qos)
{
    if (UNLIKELY(q->ready_n != 0 || q->replay || q->is_paused))
        return false; /* both: [MQTT-4.6.0-5], [MQTT-4.6.0-6] nothing overtakes what waits */
    struct consumer *c = only_consumer(q);
    if (UNLIKELY(!c))
        return false;
    d->qos = MIN(qos, c->qos);
    bool acked = wants_ack(c, d->qos);
    if ((acked && !is_last_chance(q, c)) || UNLIKELY(!has_credit(c) || c->session->resend))
        return false;
    struct binding_set own;
    d->consumer = c;
    d->set = set_for(c, set, &own);
    d->retain = d->set->retain_as_published && (d->msg->flags & MSG_RETAIN); /* as in entry_delivery */
    if (!acked) {
        d->ticket = 0;
        (void)hand_over(c, d); /* a message too large for this peer is counted and gone */
        return true;
    }
    struct flight *f = flight_begin(c, d->qos);
    if (UNLIKELY(!f))
        return false; /* no memory, or no ticket */
    d->ticket = f->ticket;
    if (UNLIKELY(hand_over(c, d) != ERR_OK))
        flight_end(c->session, f);
    return true;
}

/* entry_delivery: what the adapter is told about an entry. The views live as long as v and own. */
static void entry_delivery(const struct entry *e, struct consumer *c, uint8_t qos, struct msgview *v,
                           struct binding_set *own, struct delivery *d)
{
    msg_view(e->msg, v);
    *d = (struct delivery){.msg = v,
                           .set = set_for(c, e->set, own),
                           .consumer = c,
                           .now = shard_of(c->queue)->now,
                           .ticket = e->ticket,
                           .qos = qos,
                           .attempts = e->attempts,
                           .is_retained = e->retained,
                           .redelivered = e->attempts > 0};
    /* [MQTT-3.3.1-12], [MQTT-3.3.1-13]; 3.1.1: [MQTT-3.3.1-8], [MQTT-3.3.1-9] */
    d->retain = e->retained || (d->set->retain_as_published && (v->flags & MSG_RETAIN));
}

/* deliver: a ready entry to c. False: it stays, for there is no ticket. */
static bool deliver(struct entry *e, struct consumer *c)
{
    uint8_t qos = MIN(e->qos, c->qos); /* [MQTT-4.8.2-3] in a group, what this member was granted */
    bool acked = wants_ack(c, qos);
    if (!acked && UNLIKELY(c->session->holds))
        return false; /* what waits for the disk goes first */
    if (acked && !take_off(e, c, qos))
        return false;
    if (acked && hold_delivery(e, c))
        return true;
    struct msgview v;
    struct binding_set own;
    struct delivery d;
    entry_delivery(e, c, qos, &v, &own, &d);
    if (e->attempts > 0)
        stat_add(&shard_of(c->queue)->stats, STAT_REDELIVERED, 1);
    if (e->attempts < UINT16_MAX)
        e->attempts++;
    enum err err = hand_over(c, &d);
    if (!acked || err != ERR_OK)
        entry_settle(e);
    return true;
}

void queue_deliver_again(struct entry *e)
{
    struct consumer *c = e->at.consumer;
    struct msgview v;
    struct binding_set own;
    struct delivery d;
    entry_delivery(e, c, e->sent_qos, &v, &own, &d);
    bool is_again = !e->held; /* both: [MQTT-3.3.1-2] else it was held back before its first sending */
    d.redelivered |= is_again;
    d.is_resent = is_again; /* both: [MQTT-3.3.1-1], [MQTT-3.3.1-3] */
    e->held = 0;
    if (e->attempts < UINT16_MAX)
        e->attempts++;
    stat_add(&shard_of(c->queue)->stats, STAT_REDELIVERED, is_again);
    if (hand_over(c, &d) != ERR_OK)
        entry_settle(e);
}

/* ---- dispatch ----------------------------------------------------------------------------------------------- */

/* deliver_or_close: false: e stays. */
static bool deliver_or_close(struct entry *e, struct consumer *c)
{
    if (LIKELY(deliver(e, c)))
        return true;
    if (!c->session->holds && c->session->tickets.n < c->session->ticket_max)
        conn_close(c->session->conn, CLOSE_NOMEM); /* there is a number, but no memory to note it */
    return false;
}

/* awaits_unit: e is part of a transaction that the disk does not have yet: it and all behind it wait. */
static bool awaits_unit(struct queue *q, const struct entry *e)
{
    struct shard *s = shard_of(q);
    if (LIKELY(!e->in_unit) || e->lsn <= s->lsn_durable)
        return false; /* if the store has failed, it never happened: it waits until a restart says so */
    if (!q->awaits_unit) {
        q->awaits_unit = 1;
        q->unit_next = s->unit_first;
        s->unit_first = q;
    }
    return true;
}

void queue_units_durable(struct shard *s)
{
    struct queue *q = s->unit_first, *next;
    s->unit_first = NULL;
    for (; q; q = next) {
        next = q->unit_next;
        q->awaits_unit = 0;
        queue_mark(q); /* nothing, if it is dead; noted again, if its first entry still has to wait */
    }
}

bool queue_deliver_now(struct queue *q, struct entry *e)
{
    struct consumer *c = awaits_unit(q, e) ? NULL : next_consumer(q);
    return c && deliver_or_close(e, c);
}

void queue_dispatch_ready(struct queue *q)
{
    while (q->ready_n != 0) {
        struct entry *e = queue_first(q);
        if (entry_is_page(e)) {
            if (queue_has_taker(q))
                page_want(entry_page(e)); /* it marks the queue again when it has come */
            return;
        }
        if (UNLIKELY(awaits_unit(q, e)))
            return;
        struct consumer *c = next_consumer(q);
        if (!c)
            return;
        if (entry_is_expired(e, shard_of(q)->now))
            entry_die(e, DEATH_EXPIRED); /* [MQTT-3.3.2-5] its delivery has not begun */
        else if (!deliver_or_close(e, c))
            return;
    }
}

/* feed: lets retained messages in behind what waits. False when there is nothing to dispatch for now. */
static bool feed(struct queue *q)
{
    enum { REPLAY_BATCH = 256 };
    if (q->replay)
        (void)replay_feed(q, REPLAY_BATCH);
    if (q->ready_n != 0)
        return true;
    if (q->replay && queue_has_taker(q))
        queue_mark(q); /* the cursor found nothing among the topics it looked at: it goes on in the next round */
    return false;
}

void queue_dispatch(struct queue *q)
{
    if (q->is_dead)
        return;
    while (feed(q)) {
        uint32_t before = q->ready_n;
        queue_dispatch_ready(q);
        if (UNLIKELY(q->pages != NULL) && q->ready_n < before)
            queue_pages_near(q);
        if (!q->replay || q->ready_n != 0)
            return;
    }
}
