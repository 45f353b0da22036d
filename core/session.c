/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c: who is there, what it subscribed to, and what is on its way to it.
 *
 *     conn ◄──────► session ──► own queue ◄── bindings (one per filter)
 *                     │  └────► consumers ──► own queue, named queues
 *                     └───────► in flight: by ticket (core/flight.c), those that are kept also in the order of sending
 *
 * Life:  attach (new or resumed) ─► online ─► detach ─┬─ expiry 0: will, end
 *                                                     └─ offline: will after its delay, end after its expiry ─► attach
 * again
 *
 * Invariants
 *   1. Session and conn point to each other or to NULL.
 *   2. Every entry on the in-flight list has one ticket; all other tickets are of bare flights.
 *   3. sent_n counts the in-flight entries sent on THIS connection that have not given their slot back; <= quota.
 *   4. A session ends once; it is freed at the end of the turn.
 * Cost    about 150 bytes for a session; its queue and consumer come with the first subscription; 8 bytes per ticket
 *         slot.
 * Thread  own shard only.
 * Spec    MQTT 5 §3.1.2.5 (will), §3.1.2.11 (expiry), §4.4 (resend), §4.9 (flow control).
 */
#include "core/session.h"

#include "core/adapter.h"
#include "core/base/hash.h"
#include "core/broker.h"
#include "core/conn.h"
#include "core/hold.h"
#include "core/shard.h"

static struct shard *shard_of(const struct session *s)
{
    return s->vhost->shard;
}

static struct mem *mem_of(const struct session *s)
{
    return shard_mem(shard_of(s), MEM_SESSION);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

struct session *session_new(struct vhost *v, struct slice id)
{
    struct mem *mem = shard_mem(v->shard, MEM_SESSION);
    BUG_ON(id.len > UINT16_MAX);
    struct session *s = mem_zalloc(mem, sizeof *s + id.len);
    if (!s)
        return NULL;
    s->vhost = v;
    s->id_len = (uint16_t)id.len;
    if (id.len) {
        memcpy(s->id, id.p, id.len);
        if (map_put(&v->sessions, s) != ERR_OK) {
            mem_free(mem, s);
            return NULL;
        }
    }
    list_init(&s->consumers);
    list_init(&s->inflight);
    s->number = v->shard->number_next++;
    s->tickets.next = 1;
    s->quota = 1;
    s->ticket_max = UINT16_MAX;
    list_push(&v->shard->sessions, &s->all);
    stat_add(&v->shard->stats, STAT_SESSIONS, 1);
    return s;
}

uint64_t session_publisher_name(const struct session *s)
{
    const uint64_t is_name = UINT64_C(1) << 63; /* numbers do not get there */
    if (s->id_len == 0)
        return s->number;
    return hash_bytes(0, s->id, s->id_len) | is_name; /* the same in every life: retained messages outlive this one */
}

bool session_published(const struct session *s, uint64_t publisher, uint8_t flags)
{
    return session_publisher(s, flags) == publisher;
}

bool session_is_durable(const struct session *s)
{
    return s->id_len > 0 && s->expiry_s > 0;
}

/* ---- the store ---------------------------------------------------------------------------------------------- */

lsn_t session_log(const struct session *s, bool was_durable)
{
    struct shard *shard = shard_of(s);
    if (!shard->store || (!was_durable && !session_is_durable(s)))
        return 0;
    if (!session_is_durable(s))
        return shard_append(shard, &(struct store_rec){.kind = STORE_SESSION_END, .session = s->number});
    return shard_append(shard, &(struct store_rec){.kind = STORE_SESSION,
                                                   .session = s->number,
                                                   .name = session_id(s),
                                                   .expiry_s = s->expiry_s,
                                                   .due = s->conn ? 0 : store_wall(shard->store, shard->now)});
}

lsn_t session_log_will(struct session *s)
{
    struct away *a = s->away;
    if (!a || !a->will || !session_is_durable(s) || !shard_of(s)->store)
        return 0;
    lsn_t lsn = shard_append(
        shard_of(s),
        &(struct store_rec){.kind = STORE_WILL, .session = s->number, .msg = a->will, .expiry_s = a->will_delay_s});
    a->will_is_logged = lsn != LSN_FAILED && lsn != 0;
    return lsn;
}

/* forget_will: it is published, or will never be. */
static void forget_will(struct session *s)
{
    if (!s->away->will_is_logged)
        return;
    s->away->will_is_logged = false;
    shard_append(shard_of(s), &(struct store_rec){.kind = STORE_WILL, .session = s->number});
}

/* ---- own queue ---------------------------------------------------------------------------------------------- */

enum err session_own_queue(struct session *s)
{
    if (s->queue)
        return ERR_OK;
    struct queue *q = queue_new(s->vhost, (struct slice){0}, &s->vhost->policy_session, false, s);
    if (!q)
        return ERR_NOMEM;
    bool lasts = session_is_durable(s);
    lsn_t lsn = 0;
    if (lasts)
        lsn = shard_append(shard_of(s),
                           &(struct store_rec){.kind = STORE_QUEUE, .queue = q->number, .session = s->number});
    if (lsn == LSN_FAILED || !consumer_new(q, s, ACK_BY_QOS, 0, 2, NULL)) {
        if (lsn != 0 && lsn != LSN_FAILED)
            shard_append(shard_of(s), &(struct store_rec){.kind = STORE_QUEUE_END, .queue = q->number});
        queue_delete(q);
        return lsn == LSN_FAILED ? ERR_STORE : ERR_NOMEM;
    }
    s->queue = q;
    return ERR_OK;
}

/* returns: does an in-flight entry go back to its queue now that nobody will answer for it? One that was sent at QoS 2
 * is completed by this session and nobody else [MQTT-4.8.2-4]; when the session ends, a group's is gone
 * [MQTT-4.8.2-5], while a named queue has it back. */
static bool returns(const struct session *s, const struct entry *e, bool ends)
{
    const struct queue *q = e->at.consumer->queue;
    if (q->owner == s || q->is_dead || e->state != ENTRY_SENT)
        return false;
    return e->held || !e->by_qos || e->sent_qos < 2 || (ends && !q->is_group);
}

/* give_back: in-flight entries of queues that are not this session's own return there, oldest first in the end; the
 * rest is settled when the session ends, or stays for the next connection. */
static void give_back(struct session *s, bool ends)
{
    struct list_node *it = s->inflight.head.prev;
    while (it != &s->inflight.head) {
        struct entry *e = LIST_ITEM(it, struct entry, node);
        it = it->prev;
        if (e->state == ENTRY_LAPSED) {
            entry_settle(e); /* nobody is left to answer it, and the message is elsewhere */
        } else if (returns(s, e, ends) && e->held) {
            queue_take_back(e);
        } else if (returns(s, e, ends)) {
            queue_requeue(e, false);
        } else if (ends) {
            stat_add(&shard_of(s)->stats, STAT_DROP_CLOSED, e->state == ENTRY_SENT);
            entry_settle(e);
        }
    }
}

/* session_end: retained messages are not the session's, and stay. 3.1.1: [MQTT-3.1.2-7] */
void session_end(struct session *s)
{
    if (s->is_dead)
        return;
    struct shard *shard = shard_of(s);
    s->is_dead = 1;
    if (session_is_durable(s))
        shard_append(shard, &(struct store_rec){.kind = STORE_SESSION_END, .session = s->number});
    hold_end(s);
    s->resend = NULL;
    give_back(s, true);
    stat_add(&shard->stats, STAT_DROP_CLOSED, flights_drop(s));
    LIST_EACH(&s->consumers, it)
    consumer_cancel(LIST_ITEM(it, struct consumer, in_session)); /* own and subscription queues go with it */
    if (s->away) {
        LIST_EACH(&s->away->owned, oit)
        queue_delete(LIST_ITEM(oit, struct queue_own, of_owner)->queue);
    }
    stat_sub(&shard->stats, STAT_SESSIONS_ONLINE, s->conn != NULL);
    if (s->conn)
        s->conn->session = NULL;
    s->conn = NULL;
    if (s->away)
        wheel_disarm(&shard->wheel, &s->away->timer);
    if (s->id_len)
        BUG_ON(map_del(&s->vhost->sessions, session_id(s)) != s);
    session_drop_will(s);
    list_del(&s->all);
    list_push(&shard->dead_sessions, &s->all);
    stat_sub(&shard->stats, STAT_SESSIONS, 1);
}

void session_free(struct session *s)
{
    BUG_ON(!list_is_empty(&s->inflight) || !list_is_empty(&s->consumers) || s->tickets.n != 0);
    list_del(&s->all);
    mem_free(mem_of(s), s->tickets.slot);
    mem_free(mem_of(s), s->rx);
    mem_free(mem_of(s), s->away);
    mem_free(mem_of(s), s);
}

/* step_down: if c, which has left the line, was the single active consumer, the next one in it is. */
static void step_down(struct consumer *c)
{
    struct queue_own *own = queue_own(c->queue);
    if (!own || own->active != c)
        return;
    struct list_node *next = list_first(&c->queue->consumers);
    own->active = next ? LIST_ITEM(next, struct consumer, in_queue) : NULL;
    queue_mark(c->queue);
}

/* members_away, members_back: the shares of a session in queues of others, while it has no connection. */
static void members_away(struct session *s)
{
    LIST_EACH(&s->consumers, it)
    {
        struct consumer *k = LIST_ITEM(it, struct consumer, in_session);
        if (!k->is_member)
            continue;
        if (!k->is_parked) {
            list_del(&k->in_queue);
            k->queue->away_n++;
        }
        step_down(k);
        k->is_parked = 0;
        k->is_away = 1;
    }
}

static void members_back(struct session *s)
{
    LIST_EACH(&s->consumers, it)
    {
        struct consumer *k = LIST_ITEM(it, struct consumer, in_session);
        if (!k->is_away)
            continue;
        queue_line_up(k->queue, k);
        k->is_away = 0;
        k->queue->away_n--;
    }
}

/* ---- connection --------------------------------------------------------------------------------------------- */

void session_attach(struct session *s, struct conn *c)
{
    BUG_ON(s->conn || c->session || s->is_dead);
    s->conn = c;
    c->session = s;
    stat_add(&shard_of(s)->stats, STAT_LOGINS, 1);
    stat_add(&shard_of(s)->stats, STAT_SESSIONS_ONLINE, 1);
    stat_peak(&shard_of(s)->stats, STAT_SESSIONS_PEAK, STAT_SESSIONS_ONLINE);
    session_drop_will(s); /* [MQTT-3.1.3-9] back before the delay elapsed */
    if (s->away) {
        s->away->expires_at = 0; /* [MQTT-4.1.0-1]; 3.1.1: [MQTT-4.1.0-2]. It cannot expire while it is connected */
        wheel_disarm(&shard_of(s)->wheel, &s->away->timer);
    }
    members_back(s);
    s->sent_n = 0;
    struct list_node *first = list_first(&s->inflight);
    s->resend = first ? LIST_ITEM(first, struct entry, node) : NULL;
    hold_again(s);
}

bool session_away(struct session *s)
{
    if (s->away)
        return true;
    s->away = mem_zalloc(mem_of(s), sizeof *s->away);
    if (!s->away)
        return false;
    s->away->session = s;
    list_init(&s->away->owned);
    list_node_init(&s->away->holding);
    return true;
}

static void will_publish(struct session *s)
{
    struct away *a = s->away;
    if (!a || !a->will)
        return; /* 3.1.1: [MQTT-3.1.2-12] */
    const struct msg *will = a->will;
    a->will = NULL; /* both: [MQTT-3.1.2-10] */
    a->will_at = 0;
    struct msgview v;
    msg_view(will, &v);
    if (v.expires_at)
        v.expires_at += shard_of(s)->now; /* MQTT 5 §3.1.3.2.4: counted from its publication */
    struct shard *shard = shard_of(s);
    bool in_unit = a->will_is_logged && shard_append(shard, &(struct store_rec){.kind = STORE_TX}) != LSN_FAILED;
    enum err e = broker_publish_shard(s->vhost, NULL, &v);
    forget_will(s);
    if (in_unit) { /* published, and to be published no more: both or neither */
        bool counts = true;
        (void)shard_unit_end(shard, &counts); /* void: it is published again after a restart */
    }
    if (e != ERR_OK && e != ERR_NO_MATCH) {
        stat_add(&shard_of(s)->stats, e == ERR_NOMEM ? STAT_DROP_NOMEM : STAT_DROP_FULL, 1);
        log_line(shard_of(s)->log, LOG_WARN, "will of session " SLICE_FMT " not published: %s",
                 SLICE_ARG(session_id(s)), err_text(e));
    }
    msg_drop(will);
}

static void timer_set(struct away *a)
{
    mono_ms due = MONO_NEVER;
    if (a->will_at)
        due = a->will_at;
    if (a->expires_at)
        due = MIN(due, a->expires_at);
    shard_arm(shard_of(a->session), &a->timer, TIMER_SESSION, due);
}

/* leave: the session stays, offline. [MQTT-3.1.2-23]; 3.1.1: [MQTT-3.1.2-4], [MQTT-4.1.0-1] */
static void leave(struct session *s)
{
    struct away *a = s->away;
    mono_ms now = shard_of(s)->now;
    BUG_ON(!a);
    if (a->will && a->will_delay_s == 0)
        will_publish(s);
    else if (a->will)
        a->will_at = now + a->will_delay_s * 1000ull;
    if (s->expiry_s != SESSION_EXPIRY_NEVER)
        a->expires_at = now + s->expiry_s * 1000ull;
    (void)session_log(s, true);
    timer_set(a);
}

void session_detach(struct session *s, enum close_reason why)
{
    conn_unhold(s->conn);
    s->conn->session = NULL;
    s->conn = NULL;
    stat_sub(&shard_of(s)->stats, STAT_SESSIONS_ONLINE, 1);
    if (!close_has_will(why))
        session_drop_will(s);
    if (s->expiry_s == 0) {
        will_publish(s); /* both: [MQTT-3.1.2-8]; MQTT 5 §3.1.3.2.2: at the latest when the session ends */
        session_end(s);  /* [MQTT-4.1.0-2]; 3.1.1: [MQTT-3.1.2-6] */
        return;
    }
    members_away(s);
    s->sent_n = 0;
    hold_end(s);
    s->resend = NULL;
    LIST_EACH(&s->inflight, it)
    {
        struct entry *e = LIST_ITEM(it, struct entry, node);
        e->counted = 0;
        e->in_tx = 0; /* a transaction ends with its connection */
    }
    give_back(s, false);
    leave(s);
}

void session_restored(struct session *s)
{
    struct away *a = s->away;
    const struct store *store = shard_of(s)->store;
    members_away(s);
    if (a->will)
        a->will_at = store_mono(store, a->since + a->will_delay_s * 1000ull);
    if (s->expiry_s != SESSION_EXPIRY_NEVER)
        a->expires_at = store_mono(store, a->since + s->expiry_s * 1000ull);
    timer_set(a);
}

void session_discard(struct session *s)
{
    BUG_ON(s->conn);
    if (s->away && s->away->will_at)
        will_publish(s); /* [MQTT-3.1.2-8] the session ends before the delay did */
    session_end(s);
}

void session_timer(struct away *a, mono_ms now)
{
    struct session *s = a->session;
    if (a->will_at && a->will_at <= now)
        will_publish(s);
    if (a->expires_at && a->expires_at <= now) {
        stat_add(&shard_of(s)->stats, STAT_SESSIONS_EXPIRED, 1);
        will_publish(s); /* the session ends before the delay did (MQTT 5 §3.1.3.2.2) */
        session_end(s);  /* [MQTT-4.1.0-2] */
        return;
    }
    timer_set(a);
}

enum err session_set_will(struct session *s, const struct msgview *v, uint32_t delay_s)
{
    if (!session_away(s))
        return ERR_NOMEM;
    const struct msg *will = msg_new(&shard_of(s)->msgs, v);
    if (!will)
        return ERR_NOMEM;
    session_drop_will(s);
    s->away->will = will; /* [MQTT-3.1.2-7]; 3.1.1: [MQTT-3.1.2-8] */
    s->away->will_delay_s = delay_s;
    return ERR_OK;
}

void session_drop_will(struct session *s)
{
    struct away *a = s->away;
    if (!a)
        return;
    if (a->will)
        msg_drop(a->will);
    forget_will(s);
    a->will = NULL;
    a->will_at = 0;
}

/* ---- consumers ---------------------------------------------------------------------------------------------- */

struct consumer *consumer_new(struct queue *q, struct session *s, enum ack_mode mode, uint32_t prefetch, uint8_t qos,
                              void *up)
{
    struct consumer *c = q->owner == s ? queue_seat(q) : NULL;
    bool is_seated = c != NULL;
    if (!c)
        c = mem_zalloc(mem_of(s), sizeof *c);
    if (!c)
        return NULL;
    c->is_seated = is_seated;
    c->queue = q;
    c->session = s;
    c->up = up;
    c->prefetch = prefetch;
    c->qos = qos;
    c->mode = mode;
    queue_line_up(q, c);
    list_push(&s->consumers, &c->in_session);
    if (UNLIKELY(q->policy->single_active) && !queue_own(q)->active)
        queue_own(q)->active = c; /* the first that came */
    queue_used(q);
    queue_mark(q);
    return c;
}

static void consumer_free(struct consumer *c)
{
    if (c->is_seated)
        memset(c, 0, sizeof *c); /* the seat is free; it goes with its queue */
    else
        mem_free(mem_of(c->session), c);
}

struct consumer *member_get(const struct queue *q, const struct session *s)
{
    const void *key[2] = {q, s};
    return map_get(&q->vhost->members, slice_make((const uint8_t *)key, sizeof key));
}

struct consumer *member_join(struct queue *q, struct session *s)
{
    struct consumer *c = consumer_new(q, s, ACK_BY_QOS, 0, 2, NULL);
    if (!c)
        return NULL;
    if (map_put(&q->vhost->members, c) != ERR_OK) {
        list_del(&c->in_queue);
        list_del(&c->in_session);
        consumer_free(c);
        return NULL;
    }
    c->is_member = 1;
    s->binding_n++;
    stat_add(&shard_of(s)->stats, STAT_MEMBERS, 1);
    return c;
}

static void member_leave(struct consumer *c)
{
    const void *key[2] = {c->queue, c->session};
    BUG_ON(map_del(&c->queue->vhost->members, slice_make((const uint8_t *)key, sizeof key)) != c);
    c->session->binding_n--; /* is_member stays: what is in flight is sent again under the options it was sent with */
    stat_sub(&shard_of(c->session)->stats, STAT_MEMBERS, 1);
}

/* take_back_held: what has not been sent yet to a member that leaves is for the others. */
static void take_back_held(struct consumer *c)
{
    struct list_node *it = c->session->inflight.head.prev;
    while (it != &c->session->inflight.head) {
        struct entry *e = LIST_ITEM(it, struct entry, node);
        it = it->prev;
        if (e->at.consumer == c && e->held)
            queue_take_back(e);
    }
}

void consumer_cancel(struct consumer *c)
{
    struct queue *q = c->queue;
    struct session *s = c->session;
    if (c->is_member && s->holds && !q->is_dead)
        take_back_held(c);
    if (c->is_held && s->conn)
        conn_forget_consumer(s->conn, c);
    if (c->is_member)
        member_leave(c);
    if (c->is_away || c->is_parked)
        q->away_n--;
    else
        list_del(&c->in_queue);
    list_del(&c->in_session);
    if (s->queue == q)
        s->queue = NULL;
    step_down(c);
    c->up = NULL;
    c->is_cancelled = 1;
    if (c->inflight_n == 0)
        consumer_free(c);
    if (queue_is_deserted(q) && ((q->owner == s && !q->name) || q->policy->auto_delete))
        queue_delete(q);
    else
        queue_used(q);
}

void consumer_settled(struct consumer *c)
{
    BUG_ON(c->inflight_n == 0);
    if (--c->inflight_n == 0 && c->is_cancelled)
        consumer_free(c);
}

/* member_unpark: it is asked again. */
static void member_unpark(struct consumer *c)
{
    queue_line_up(c->queue, c);
    c->queue->away_n--;
    c->is_parked = 0;
}

void session_wake(struct session *s)
{
    if (s->resend && s->conn)
        shard_mark_dirty(shard_of(s), s->conn); /* what was in flight goes first */
    struct list_node *first = list_first(&s->consumers);
    if (!first)
        return;
    LIST_EACH(&s->consumers, it)
    {
        struct consumer *c = LIST_ITEM(it, struct consumer, in_session);
        if (c->is_parked)
            member_unpark(c);
        queue_mark(c->queue);
    }
    if (list_next(&s->consumers, first)) { /* another one is first to take slots next time */
        list_del(first);
        list_push(&s->consumers, first);
    }
}

/* session_resend: PUBLISH with DUP and PUBREL, in the original order, within the quota; at no other time. both:
 * [MQTT-4.4.0-1], [MQTT-4.6.0-1]; 3.1.1: [MQTT-2.3.1-4]. */
void session_resend(struct session *s)
{
    struct conn *conn = s->conn;
    while (s->resend && conn && conn->logged_in && !conn->is_closing && !conn_is_blocked(conn)) {
        struct entry *e = s->resend;
        if (!hold_may_send(s))
            return; /* goes on when the disk has it */
        bool takes_slot = e->state == ENTRY_SENT && !e->counted;
        if (takes_slot && s->sent_n >= s->quota)
            return; /* goes on when something is acknowledged */
        struct list_node *next = list_next(&s->inflight, &e->node);
        s->resend = next ? LIST_ITEM(next, struct entry, node) : NULL;
        hold_sent(s, e);
        if (e->state == ENTRY_RECEIVED) {
            conn->adapter->on_release(conn, e->ticket);
            continue;
        }
        s->sent_n += takes_slot;
        e->counted = 1;
        queue_deliver_again(e);
    }
    if (!s->resend && conn)
        session_wake(s);
}

/* ---- for tests ---------------------------------------------------------------------------------------------- */

void session_check(const struct session *s)
{
    uint32_t n = 0, sent = 0;
    BUG_ON(s->conn && s->conn->session != s);
    LIST_EACH(&s->inflight, it)
    {
        const struct entry *e = LIST_ITEM(it, struct entry, node);
        const struct flight *f = tickets_get(s, e->ticket);
        BUG_ON(entry_in_queue(e) || !f || flight_entry(f) != e);
        BUG_ON(!e->at.consumer || e->at.consumer->session != s);
        BUG_ON((e->state >= ENTRY_RECEIVED) != (e->msg == NULL));
        sent += e->counted;
        n++;
    }
    for (uint32_t i = 0; i < s->tickets.cap; i++) {
        const struct flight *f = &s->tickets.slot[i];
        bool bare = f->ticket && f->is_bare;
        BUG_ON(bare && (s->expiry_s || f->of.consumer->session != s)); /* it would have to be sent again */
        sent += bare;
        n += bare;
    }
    BUG_ON(n != s->tickets.n || sent != s->sent_n);
    BUG_ON(s->conn && s->sent_n > s->quota);
}
