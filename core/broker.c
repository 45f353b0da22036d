/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.c: the verbs about who is there and what they want; publishing is in broker_publish.c.
 *
 *     attach     find or make the session · take it over · resume ─► on_attached
 *     subscribe  own queue · binding · retained replay ─► receipt
 *     consume    a queue of one's own, or a share of a named one
 *     settle     what the peer answered to a delivery
 *
 * Invariants
 *   1. A verb changes everything it says or nothing, and answers its receipt exactly once.
 *   2. What survives a restart is appended to the store before its receipt is owed, so the answer waits for the disk.
 * Cost    attach and subscribe: a few table look-ups; settle O(1), cumulative O(deliveries in flight).
 * Thread  own shard only.
 * Spec    MQTT 5 §3.1.4 (taking over), §3.8.4, §3.10.4, §4.3; STOMP 1.2 §SUBSCRIBE, §ACK, §NACK.
 */
#include "core/broker.h"

#include <stdio.h>

#include "core/binding_log.h"
#include "core/replay.h"
#include "core/shard.h"
#include "core/topology.h"

static lsn_t lsn_or_none(lsn_t lsn)
{
    return lsn == LSN_FAILED ? 0 : lsn;
}

/* ---- who ---------------------------------------------------------------------------------------------------- */

/* take_over: [MQTT-3.1.4-3]; 3.1.1: [MQTT-3.1.4-2]. The older connection is sent off; its session may be resumed. */
static void take_over(struct session *s)
{
    struct conn *old = s->conn;
    log_line(old->shard->log, LOG_INFO, "session '" SLICE_FMT "' is taken over by a new connection",
             SLICE_ARG(session_id(s)));
    conn_close(old, CLOSE_TAKEN_OVER);
    session_detach(s, (enum close_reason)old->reason); /* it may have been ending for another reason */
}

static size_t make_id(struct conn *c, char *out, size_t cap)
{
    int n = snprintf(out, cap, "auto-%016llx", (unsigned long long)rng_u64(&c->shard->rng));
    return (size_t)n;
}

/* find_session: an existing one to resume, or a new one. *out_ended: what has to be durable before anybody is told that
 * a former one is gone; 0: nothing. NULL: *out_err says why: ERR_NOMEM, ERR_FULL. */
static struct session *find_session(struct conn *c, const struct attach *a, lsn_t *out_ended, enum err *out_err)
{
    struct vhost *v = c->shard->vhost;
    struct session *s = a->id.len ? map_get(&v->sessions, a->id) : NULL; /* both: [MQTT-3.1.3-2] */
    if (s && s->conn)
        take_over(s);
    if (s && s->is_dead)
        s = NULL; /* it ended with its connection */
    if (s && a->clean_start) {
        bool was_durable = session_is_durable(s);
        session_discard(s); /* [MQTT-3.1.2-4]; 3.1.1: [MQTT-3.1.2-6] */
        if (was_durable && c->shard->store)
            *out_ended = c->shard->store_failed ? LSN_FAILED : c->shard->lsn_last;
        s = NULL;
    }
    c->attach_present = s != NULL;
    if (s)
        return s; /* [MQTT-3.1.2-5]; 3.1.1: [MQTT-3.1.2-4] */
    char made[32];
    struct slice id = a->id;
    uint64_t most = c->shard->limits.sessions_max;
    *out_err = most && c->shard->stats.v[STAT_SESSIONS] >= most ? ERR_FULL : ERR_NOMEM;
    if (*out_err == ERR_FULL)
        return NULL;
    if (id.len == 0 && a->make_id) {
        do { /* [MQTT-3.2.2-16] not one that somebody has, by chance or because he knew which would come */
            id = slice_make(made, make_id(c, made, sizeof made));
        } while (map_get(&v->sessions, id));
        c->attach_assigned = 1;
    }
    return session_new(v, id); /* [MQTT-3.1.2-6]; 3.1.1: [MQTT-3.1.2-4] */
}

static enum err attach_check(const struct conn *c, const struct attach *a)
{
    if (!c->door->allow_anonymous && !a->is_proven)
        return ERR_DENIED; /* a name and a password prove nothing yet */
    if (!a->will)
        return ERR_OK;
    if (!broker_may_write(c->shard->vhost->topic_exchange, a->will->topic))
        return ERR_DENIED;
    bool is_deep = topic_levels(a->will->topic) > c->shard->limits.topic_levels_max;
    return is_deep || a->will->topic.len > c->shard->limits.topic_bytes_max ? ERR_TOO_BIG : ERR_OK;
}

void broker_attach(struct conn *c, const struct attach *a)
{
    struct shard *s = c->shard;
    BUG_ON(c->session || a->quota == 0 || a->ticket_max == 0);
    enum err e = attach_check(c, a);
    lsn_t ended = 0;
    struct session *me = e == ERR_OK ? find_session(c, a, &ended, &e) : NULL;
    if (!me) {
        broker_attached(c, e);
        return;
    }
    e = ERR_OK;
    bool was_durable = c->attach_present && session_is_durable(me);
    uint32_t expiry_was = me->expiry_s;
    session_attach(me, c);
    if (a->will) {
        struct msgview will = *a->will;
        will.publisher = session_publisher(me, will.flags);
        e = session_set_will(me, &will, a->will_delay_s);
    }
    uint32_t expiry_s = me->id_len ? a->expiry_s : 0; /* nobody could come back to one without a name */
    if (s->limits.session_expiry_s_max != SESSION_EXPIRY_NEVER)
        expiry_s = (uint32_t)MIN(expiry_s, s->limits.session_expiry_s_max);
    if (e == ERR_OK && expiry_s && !session_away(me))
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = conn_set_rate(c);
    if (e != ERR_OK) {
        session_detach(me, CLOSE_NOMEM);
        broker_attached(c, e);
        return;
    }
    me->expiry_s = expiry_s;
    me->quota = a->quota;
    me->ticket_max = a->ticket_max;
    c->awaits_login = 0;
    c->tx_at = s->now;
    lsn_t so_far = shard_lsn_so_far(s), lsn = session_log(me, was_durable);
    if (was_durable && expiry_was == me->expiry_s && lsn != LSN_FAILED)
        lsn = so_far; /* what it was; that it is online again may be written in its own time */
    lsn_t will_lsn = lsn != LSN_FAILED ? session_log_will(me) : LSN_FAILED;
    lsn = MAX(MAX(lsn, will_lsn), ended);
    c->attach_wait = 1;
    conn_owe(c, RECEIPT_ATTACH, lsn == LSN_FAILED ? ERR_STORE : ERR_OK, lsn_or_none(lsn));
    c->attach_late = c->attach_wait;
}

void broker_attached(struct conn *c, enum err result)
{
    struct attached a = {.result = result};
    if (result == ERR_OK) {
        a.session_present = c->attach_present;
        a.expiry_s = c->session->expiry_s;
        if (c->attach_assigned)
            a.assigned_id = session_id(c->session);
        c->logged_in = 1;
    }
    bool is_late = c->attach_late;
    c->attach_wait = c->attach_late = 0;
    if (result != ERR_OK && c->session)
        session_drop_will(c->session); /* of a login that was not */
    c->adapter->on_attached(c, &a);
    if (result != ERR_OK)
        return;
    if (is_late)
        conn_feed_again(c);
    shard_mark_dirty(c->shard, c); /* what was in flight is sent again in step 5 */
    session_wake(c->session);
}

enum err broker_set_expiry(struct conn *c, uint32_t expiry_s)
{
    struct session *me = c->session;
    if (me->expiry_s == 0 && expiry_s != 0)
        return ERR_PROTOCOL; /* MQTT 5 §3.14.2.2.2 */
    if (me->expiry_s == expiry_s)
        return ERR_OK;
    bool was_durable = session_is_durable(me);
    me->expiry_s = expiry_s;
    if (c->shard->limits.session_expiry_s_max != SESSION_EXPIRY_NEVER)
        me->expiry_s = (uint32_t)MIN(me->expiry_s, c->shard->limits.session_expiry_s_max);
    (void)session_log(me, was_durable);
    return ERR_OK;
}

void broker_forget_will(struct conn *c)
{
    if (c->session)
        session_drop_will(c->session);
}

/* ---- subscribe ---------------------------------------------------------------------------------------------- */

static lsn_t log_binding(struct shard *s, enum store_kind kind, const struct queue *q, const struct exchange *x,
                         const struct filter *f, const struct binding_opts *o, bool replays)
{
    if (!q->policy->durable || !q->owner || !session_is_durable(q->owner))
        return 0;
    const struct store_rec rec = {.kind = kind,
                                  .queue = q->number,
                                  .session = q->owner->number,
                                  .name = exchange_name(x),
                                  .flags = replays && q->replay ? BINDING_REPLAYING
                                                                : 0}; /* core/replay.c writes when that is over */
    return binding_log(s, rec, f, o);
}

/* set_of: the binding set of one binding alone. */
static uint32_t set_of(struct queue *q, const struct binding_opts *o)
{
    return queue_set_intern(q, o->qos, o->retain_as_published, &o->sub_id, o->sub_id ? 1 : 0);
}

static enum replay_own own_of(const struct binding_opts *o)
{
    return o->no_local ? REPLAY_NOT_OWN : REPLAY_OWN;
}

/* replay_change: an unfinished replay of this filter goes on under the new options. */
static enum err replay_change(struct queue *q, const struct filter *f, const struct binding_opts *o)
{
    uint32_t set = set_of(q, o);
    if (set == UINT32_MAX)
        return ERR_NOMEM;
    replay_update(q, f, set, o->qos, own_of(o));
    return ERR_OK;
}

/* bind_logged: binds the session's queue, opens the replay and logs it; on failure everything is as it was. `had`: the
 * binding with this filter, whose options are replaced, or NULL. */
static enum err bind_logged(struct conn *c, const struct filter *f, const struct binding_opts *o, struct binding *had,
                            lsn_t *out_lsn)
{
    struct session *me = c->session;
    struct router *r = &me->vhost->router;
    struct exchange *x = me->vhost->topic_exchange;
    struct binding_opts was = had ? binding_opts_now(had) : (struct binding_opts){0};
    struct binding *b;
    bool is_new;
    enum err e = router_bind(r, x, f, me->queue, o, &b, &is_new); /* both: [MQTT-3.8.4-3] replaced, if it was there */
    if (e != ERR_OK)
        return e;
    /* [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11], [MQTT-3.8.4-4]; 3.1.1: [MQTT-3.3.1-6], [MQTT-3.8.4-3] */
    bool replays = o->retain_handling == 0 || (o->retain_handling == 1 && is_new);
    if (replays && !is_new)
        replay_close_filter(me->queue, f); /* a repeated SUBSCRIBE starts it anew */
    if (replays)
        e = replay_begin(me->queue, x, f, o);
    else if (!is_new)
        e = replay_change(me->queue, f, o);
    if (e == ERR_OK) {
        *out_lsn = log_binding(c->shard, STORE_BIND, me->queue, x, f, o, replays);
        e = *out_lsn == LSN_FAILED ? ERR_STORE : ERR_OK;
    }
    if (e == ERR_OK) {
        me->binding_n += is_new;
        return ERR_OK;
    }
    if (replays)
        replay_close_filter(me->queue, f);
    if (is_new)
        router_unbind(r, b);
    else
        BUG_ON(router_bind(r, x, f, me->queue, &was, &b, &is_new) != ERR_OK);
    return e;
}

static enum err subscribe(struct conn *c, const struct filter *f, const struct binding_opts *o, lsn_t *out_lsn)
{
    struct session *me = c->session;
    struct shard *s = c->shard;
    enum err e = broker_check_filter(c, me->vhost->topic_exchange, f);
    if (e == ERR_OK)
        e = session_own_queue(me);
    if (e != ERR_OK)
        return e;
    struct binding *had = router_find(&me->vhost->router, me->vhost->topic_exchange, f, me->queue);
    if (!had && me->binding_n >= s->limits.subscriptions_max)
        return ERR_FULL;
    return bind_logged(c, f, o, had, out_lsn);
}

void broker_subscribe(struct conn *c, const struct filter *f, const struct binding_opts *opts, uint64_t receipt)
{
    lsn_t lsn = 0;
    enum err e = subscribe(c, f, opts, &lsn);
    conn_owe(c, receipt, e, e == ERR_OK ? lsn : 0);
}

void broker_unsubscribe(struct conn *c, const struct filter *f, uint64_t receipt)
{
    struct session *me = c->session;
    struct router *r = &me->vhost->router;
    struct exchange *x = me->vhost->topic_exchange;
    struct binding *b = me->queue ? router_find(r, x, f, me->queue) : NULL; /* both: [MQTT-3.10.4-1] */
    lsn_t lsn = b ? log_binding(c->shard, STORE_UNBIND, me->queue, x, f, NULL, false) : 0;
    enum err e = !b ? ERR_NOT_FOUND : lsn == LSN_FAILED ? ERR_STORE : ERR_OK;
    if (e == ERR_OK) {
        replay_close_filter(me->queue, f); /* both: [MQTT-3.10.4-2] nothing new from here on */
        router_unbind(r, b);               /* both: [MQTT-3.10.4-3] what is queued or on its way stays */
        me->binding_n--;
    }
    if (e == ERR_NOT_FOUND && session_is_durable(me))
        lsn = c->shard->lsn_last; /* it may have been removed a moment ago only */
    conn_owe(c, receipt, e, e == ERR_STORE ? 0 : lsn);
}

struct consumer *broker_join(struct conn *c, struct queue *q, const struct consume *how)
{
    struct consumer *k = consumer_new(q, c->session, how->mode, how->prefetch, how->qos, how->up);
    if (!k)
        return NULL;
    k->is_pull = how->is_pull;
    if (how->priority != 0) {
        k->priority = how->priority;
        list_del(&k->in_queue);
        queue_line_up(q, k);
    }
    return k;
}

struct consumer *broker_consume_filter(struct conn *c, struct exchange *x, const struct filter *f,
                                       const struct binding_opts *opts, const struct consume *how)
{
    struct session *me = c->session;
    struct vhost *v = me->vhost;
    struct binding *b;
    struct consumer *k = NULL;
    bool is_new;
    x = x ? x : v->topic_exchange;
    enum err e = broker_check_filter(c, x, f);
    struct queue *q = e == ERR_OK ? queue_new(v, (struct slice){0}, &v->policy_subscription, false, me) : NULL;
    if (e == ERR_OK)
        e = q ? router_bind(&v->router, x, f, q, opts, &b, &is_new) : ERR_NOMEM;
    if (e == ERR_OK && opts->retain_handling != 2)
        e = replay_begin(q, x, f, opts);
    if (e == ERR_OK) {
        k = broker_join(c, q, how);
        e = k ? ERR_OK : ERR_NOMEM;
    }
    if (e != ERR_OK && q)
        queue_delete(q);
    conn_owe(c, how->receipt, e, 0);
    if (k && how->receipt != RECEIPT_NONE)
        conn_hold(c, k);
    return k;
}

struct queue *broker_declare_queue(struct conn *c, struct slice name, enum err *out_err)
{
    struct queue_spec any;
    struct declared d;
    *out_err = ERR_INVALID;
    if (name.len == 0)
        return NULL;
    queue_spec_init(&any, &c->session->vhost->policy_named);
    struct queue *q = broker_declare_queue_as(c, name, &any, &d);
    *out_err = d.err;
    return q;
}

struct consumer *broker_consume_queue(struct conn *c, struct queue *q, const struct consume *how)
{
    bool may = queue_is_open_to(q, c->session);
    struct consumer *k = may ? broker_join(c, q, how) : NULL;
    lsn_t lsn = queue_is_durable(q) ? c->shard->lsn_last : 0; /* it may have been made a moment ago only */
    conn_owe(c, how->receipt, !may ? ERR_DENIED : k ? ERR_OK : ERR_NOMEM, lsn);
    if (k && how->receipt != RECEIPT_NONE)
        conn_hold(c, k);
    return k;
}

/* push_end: what says that a browser has seen everything. */
static bool push_end(struct queue *q)
{
    struct shard *s = q->vhost->shard;
    const struct msg *m = msg_new(&s->msgs, &(struct msgview){.flags = MSG_END | MSG_OWN});
    if (!m)
        return false;
    queue_push(q, m, &(struct push){.set = 2});
    msg_drop(m);
    return true;
}

struct consumer *broker_browse(struct conn *c, struct queue *q, const struct consume *how)
{
    struct session *me = c->session;
    struct vhost *v = me->vhost;
    const struct queue_policy *p = &v->policy_subscription;
    struct consumer *k = NULL;
    struct queue *copy = NULL;
    BUG_ON(how->mode != ACK_NONE);
    enum err e = queue_is_open_to(q, me) ? ERR_OK : ERR_DENIED;
    if (e == ERR_OK && ((p->len_max && q->ready_n >= p->len_max) || (p->bytes_max && q->bytes > p->bytes_max)))
        e = ERR_FULL;
    if (e == ERR_OK) {
        copy = queue_new(v, (struct slice){0}, p, false, me);
        e = copy ? ERR_OK : ERR_NOMEM;
    }
    if (e == ERR_OK && (queue_copy(q, copy) != copy->ready_n || !push_end(copy)))
        e = ERR_NOMEM;
    if (e == ERR_OK) {
        k = broker_join(c, copy, how);
        e = k ? ERR_OK : ERR_NOMEM;
    }
    if (e != ERR_OK && copy)
        queue_delete(copy);
    conn_owe(c, how->receipt, e, 0);
    if (k && how->receipt != RECEIPT_NONE)
        conn_hold(c, k);
    return k;
}

void broker_grant(struct conn *c, struct consumer *k, uint32_t n, bool drain, uint64_t receipt)
{
    BUG_ON(!k->is_pull);
    k->prefetch = n > UINT32_MAX - k->prefetch ? UINT32_MAX : k->prefetch + n;
    queue_mark(k->queue);
    if (drain) {
        queue_dispatch(k->queue);
        k->prefetch = 0;
    }
    conn_owe(c, receipt, ERR_OK, 0);
}

void broker_cancel(struct conn *c, struct consumer *k, uint64_t receipt)
{
    consumer_cancel(k);
    conn_owe(c, receipt, ERR_OK, 0);
}

/* ---- settle ------------------------------------------------------------------------------------------------- */

/* credit_back: a slot came free: whoever waited for it is looked at in step 5. */
static void credit_back(struct conn *c, struct session *me, struct queue *q, bool was_full)
{
    if (me->resend)
        shard_mark_dirty(c->shard, c);
    if (was_full)
        session_wake(me);
    else if (!q->is_dead)
        queue_mark(q);
}

/* outcome_fits: may the peer answer so? qos: of a delivery answered by MQTT's handshakes; 0: by ACK and NACK. */
static bool outcome_fits(enum outcome o, uint8_t qos, enum entry_state state)
{
    switch (o) {
    case OUTCOME_RECEIVED:
        return qos == 2;
    case OUTCOME_COMPLETE:
        return state == ENTRY_RECEIVED;
    case OUTCOME_REFUSED:
        return qos == 2 && state == ENTRY_SENT; /* PUBREL stays open until PUBCOMP [MQTT-4.3.3-5] */
    case OUTCOME_ACK:
    case OUTCOME_REJECT:
        return qos != 2; /* a PUBACK does not answer QoS 2 */
    case OUTCOME_REQUEUE:
        return true;
    }
    return false;
}

static void count_outcome(struct shard *s, enum outcome o)
{
    static const enum stat_id counted_as[] = {[OUTCOME_ACK] = STAT_SETTLED,
                                              [OUTCOME_COMPLETE] = STAT_SETTLED,
                                              [OUTCOME_REQUEUE] = STAT_DROP_CLOSED, /* its queue is gone */
                                              [OUTCOME_REJECT] = STAT_DROP_REJECTED,
                                              [OUTCOME_REFUSED] = STAT_DROP_REJECTED};
    stat_add(&s->stats, counted_as[o], 1);
}

/* release: PUBREL, when the store knows that the peer has the message: else it would be sent again after a restart. */
static void release(struct conn *c, const struct entry *e, bool is_new)
{
    struct shard *s = c->shard;
    if (e->lsn == 0 || !session_is_durable(c->session)) {
        c->adapter->on_release(c, e->ticket); /* both: [MQTT-4.6.0-4] at once, so in the order of what came */
        return;
    }
    lsn_t lsn = s->lsn_last; /* the first one's record may still be on its way */
    if (is_new)
        lsn = shard_append(
            s, &(struct store_rec){.kind = STORE_RECEIVED, .queue = e->at.consumer->queue->number, .of = e->lsn});
    if (lsn == LSN_FAILED)
        conn_close(c, CLOSE_STORE);
    else
        conn_owe(c, RECEIPT_RELEASE(e->ticket), ERR_OK, lsn);
}

static void received(struct conn *c, struct entry *e)
{
    bool is_new = e->state == ENTRY_SENT;
    if (is_new) {
        if (e->timed)
            wheel_disarm(&c->shard->wheel, &entry_timer(e)->timer);
        msg_drop(e->msg); /* [MQTT-4.3.3-6]; 3.1.1: [MQTT-4.3.3-1]. The peer has it: it cannot be sent again */
        e->msg = NULL;
        e->state = ENTRY_RECEIVED; /* [MQTT-4.3.3-5]; 3.1.1: [MQTT-4.3.3-1]. Until it says COMPLETE */
    }
    release(c, e, is_new);
}

static enum err settle(struct conn *c, struct entry *e, enum outcome o)
{
    if (!outcome_fits(o, e->by_qos ? e->sent_qos : 0, (enum entry_state)e->state))
        return ERR_PROTOCOL;
    c->lost_settle |= e->lsn != 0 && c->shard->store_failed;
    if (e->state == ENTRY_LAPSED) {
        entry_settle(e); /* too late: the message is somebody else's */
    } else if (o == OUTCOME_RECEIVED) {
        received(c, e);
    } else if (o == OUTCOME_REQUEUE && !e->at.consumer->queue->is_dead && e->state == ENTRY_SENT) {
        queue_requeue(e, true);
    } else if (o == OUTCOME_REJECT || o == OUTCOME_REFUSED) {
        entry_die(e, DEATH_REJECTED);
    } else {
        count_outcome(c->shard, o);
        entry_settle(e); /* [MQTT-4.4.0-2], [MQTT-4.8.2-6] refused is settled too, whoever shares the queue */
    }
    return ERR_OK;
}

/* settle_bare: the same where nothing was kept. */
static enum err settle_bare(struct conn *c, struct flight *f, enum outcome o)
{
    if (o == OUTCOME_REQUEUE || !outcome_fits(o, f->qos, (enum entry_state)f->state))
        return ERR_PROTOCOL; /* MQTT has no way to give a message back */
    if (o == OUTCOME_RECEIVED) {
        f->state = ENTRY_RECEIVED;
        c->adapter->on_release(c, f->ticket);
        return ERR_OK;
    }
    count_outcome(c->shard, o);
    flight_end(c->session, f);
    return ERR_OK;
}

enum err broker_settle(struct conn *c, uint32_t ticket, enum outcome o)
{
    struct session *me = c->session;
    struct flight *f = tickets_get(me, ticket);
    if (!f || (!f->is_bare && (f->of.entry->in_tx || f->of.entry->held)))
        return ERR_NOT_FOUND; /* held: it waits for the disk, and the peer cannot know this number */
    struct queue *q = flight_consumer(f)->queue;
    bool was_full = me->sent_n >= me->quota;
    enum err err = f->is_bare ? settle_bare(c, f, o) : settle(c, f->of.entry, o);
    if (err == ERR_OK)
        credit_back(c, me, q, was_full);
    return err;
}

enum err broker_settle_until(struct conn *c, uint32_t ticket, enum outcome o)
{
    struct session *me = c->session;
    const struct flight *f = tickets_get(me, ticket);
    struct entry *last = f ? flight_entry(f) : NULL;
    if (!last || last->in_tx)
        return ERR_NOT_FOUND;
    struct consumer *k = last->at.consumer;
    LIST_EACH(&me->inflight, it)
    {
        struct entry *e = LIST_ITEM(it, struct entry, node);
        bool is_last = e == last;
        if (is_last || (e->at.consumer == k && !e->in_tx)) {
            enum err err = settle(c, e, o);
            BUG_ON(err != ERR_OK && is_last && e->by_qos == 0);
        }
        if (is_last)
            break;
    }
    session_wake(me);
    if (me->resend)
        shard_mark_dirty(c->shard, c);
    return ERR_OK;
}

void broker_barrier(struct conn *c, uint64_t receipt)
{
    struct shard *s = c->shard;
    bool has_dead = s->store && !s->store_failed && !list_is_empty(&s->vhost->dead_letters.all);
    if (c->lost_settle && receipt != RECEIPT_NONE)
        conn_close(c, CLOSE_STORE); /* after a restart it will not be true */
    else /* what was just refused is settled by the record of its move, which comes at the end of the turn */
        conn_owe(c, receipt, ERR_OK, has_dead ? LSN_LATER : shard_lsn_so_far(s));
}
