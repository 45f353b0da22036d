/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker_publish.c: the middle of a message's journey: from an adapter's view of it to the queues that want it.
 *
 *     broker_publish ─► allowed? ─► route (last topic → cache → trie) ─► accept: may everybody take it, is there
 *                       memory, the QoS 2 id, the record of the result ─► retained set
 *                    ─► for each target: straight out, if it will never ask for it again, or queue_push
 *                    ─► the receipt: now, or when the disk has the record
 *
 * With a delay it is accepted alike, but waits (core/delayed.h) instead of being routed. Transactions (core/tx.c) take
 * the same steps for several messages.
 *
 * Invariants
 *   1. Refusal is all or nothing: every check stands before the first change.
 *   2. The lasting copy (struct msg) is made at most once, when the first that keeps it asks.
 *   3. What is logged is the result: message, target queues and their binding sets. Nothing durable, nothing logged.
 *   4. shard->refused is the queue that refused the publish that ran last, or NULL; only its adapter asks, at once.
 * Cost    to an online receiver that will not come back for it: a route check and one encode or copy; no allocation.
 * Thread  own shard only.
 * Spec    MQTT 5 §3.3, §4.3 (QoS), §4.6 (order); [MQTT-3.3.1-5] to [MQTT-3.3.1-8] (retain).
 */
#include "core/journey.h"

#include "core/broker.h"
#include "core/replay.h"
#include "core/shard.h"

static bool journey_keep(struct journey *j)
{
    if (j->msg)
        return true;
    j->msg = msg_new(&j->s->msgs, j->view);
    if (!j->msg)
        return false;
    j->s->turn_out += msg_bytes(j->msg);
    return true;
}

/* view_bytes: msg_bytes of what it will be. */
static uint64_t view_bytes(const struct msgview *m)
{
    return (uint64_t)m->topic.len + m->attrs.len + m->payload.len;
}

/* ---- checks ------------------------------------------------------------------------------------------------- */

/* is_ours: only the broker writes it. */
static bool is_ours(const struct exchange *x, struct slice topic)
{
    return x->kind == EXCHANGE_TOPIC && topic_is_sys(topic);
}

bool broker_may_write(const struct exchange *x, struct slice topic)
{
    return !x->internal && !is_ours(x, topic);
}

const struct queue *broker_refused(const struct conn *c)
{
    return c->shard->refused;
}

/* is_within_limits: length and depth of the topic. */
static bool is_within_limits(const struct journey *j)
{
    const struct limits *l = &j->s->limits;
    struct slice topic = j->view->topic;
    return j->x->kind != EXCHANGE_TOPIC ||
           (topic.len <= l->topic_bytes_max && topic_levels(topic) <= l->topic_levels_max);
}

enum err journey_may(const struct journey *j)
{
    if (j->x->is_dead)
        return ERR_NOT_FOUND;
    if (!broker_may_write(j->x, j->view->topic))
        return ERR_DENIED;
    return is_within_limits(j) && j->delay_ms <= j->s->limits.delay_s_max * 1000 ? ERR_OK : ERR_TOO_BIG;
}

static bool keeps_retained(const struct journey *j)
{
    return (j->view->flags & MSG_RETAIN) && j->x == j->v->topic_exchange;
}

static ALWAYS_INLINE enum err check_retain(const struct journey *j)
{
    const struct msgview *m = j->view;
    if (LIKELY(!keeps_retained(j)))
        return ERR_OK;
    if (!j->s->config.retain_available)
        return ERR_UNSUPPORTED; /* [MQTT-3.2.2-14] */
    return m->payload.len == 0 || retained_has_room(&j->v->retained, m->topic, view_bytes(m)) ? ERR_OK : ERR_FULL;
}

/* check_memory: above the hard mark nothing is let in that somebody would have to keep; what the broker publishes
 * itself was let in before. */
static ALWAYS_INLINE enum err check_memory(const struct journey *j)
{
    if (LIKELY(!memory_is(&j->s->memory, MEMORY_HARD)) || !j->publisher)
        return ERR_OK;
    if (j->route && j->route->target_n == 0 && !(keeps_retained(j) && j->view->payload.len != 0))
        return ERR_OK;
    stat_add(&j->s->stats, STAT_REFUSED_MEMORY, 1);
    return ERR_FULL;
}

/* ask_targets: a queue that refuses, refuses for all; each one that does dead-letters a copy if it was made to. */
static NOINLINE enum err ask_targets(struct journey *j)
{
    uint64_t bytes = view_bytes(j->view);
    enum err e = ERR_OK;
    bool goes_on = false;
    for (uint32_t i = 0; i < j->route->target_n; i++) {
        struct queue *q = j->route->target[i].queue;
        if (LIKELY(!queue_would_refuse(q, bytes)))
            continue;
        queue_dispatch(q); /* a consumer with credit may take what this turn put there */
        if (!queue_would_refuse(q, bytes))
            continue;
        if (e == ERR_OK)
            j->s->refused = q;
        e = ERR_FULL;
        if (q->policy->overflow == OVERFLOW_REJECT_DLX && journey_keep(j)) {
            goes_on |= dead_letter_add(q, j->msg, 0, DEATH_MAXLEN);
        }
    }
    return goes_on && !j->publisher ? ERR_NO_MATCH : e; /* where nobody is told, it is not lost if it goes on */
}

static enum err check_delayed(const struct journey *j)
{
    return delayed_has_room(&j->v->delayed, 1, view_bytes(j->view)) ? ERR_OK : ERR_FULL;
}

/* ---- memory ------------------------------------------------------------------------------------------------- */

/* prepare_retained: a place in the retained set, so that nothing can fail behind the record. */
static ALWAYS_INLINE enum err prepare_retained(struct journey *j)
{
    if (LIKELY(!keeps_retained(j)) || j->view->payload.len == 0)
        return ERR_OK;
    if (!journey_keep(j))
        return ERR_NOMEM;
    return retained_prepare(&j->v->retained, j->view->topic, msg_bytes(j->msg), j->view->expires_at != 0, &j->place);
}

/* prepare_copy: at QoS 1 and 2 the memory for the lasting copy is sure before the first target gets anything. */
static ALWAYS_INLINE enum err prepare_copy(struct journey *j)
{
    if (j->view->qos == 0 || j->route->target_n == 0 || j->msg || LIKELY(msg_reserve(&j->s->msgs, j->view)))
        return ERR_OK;
    return journey_keep(j) ? ERR_OK : ERR_NOMEM;
}

static enum err prepare_later(struct journey *j)
{
    if (!journey_keep(j))
        return ERR_NOMEM;
    j->later = delayed_prepare(&j->v->delayed);
    return j->later ? ERR_OK : ERR_NOMEM;
}

void journey_undo(struct journey *j)
{
    if (j->place.at)
        retained_cancel(&j->v->retained, &j->place);
    if (j->later)
        delayed_cancel(&j->v->delayed, j->later);
    j->place = (struct retained_place){0};
    j->later = NULL;
}

/* ---- the record --------------------------------------------------------------------------------------------- */

static bool is_durable_target(const struct msgview *m, const struct target *t)
{
    return MIN(m->qos, t->qos) > 0 && queue_is_durable(t->queue);
}

/* leave_out_own: what is left of *t, some of whose bindings are no-local, for the owner of its queue. False: nothing.
 */
static NOINLINE bool leave_out_own(const struct journey *j, struct target *t)
{
    const struct msgview *m = j->view;
    const struct queue *q = t->queue;
    if (!q->owner || !session_published(q->owner, m->publisher, m->flags))
        return true;
    return router_merge_for(&j->v->router, j->x, m->topic, t->queue, &t->set, &t->qos); /* [MQTT-3.8.3-3] */
}

/* gather: the targets of the record being made. A message that waits has one: queue 0. */
static ALWAYS_INLINE enum err gather(const struct journey *j)
{
    struct shard *s = j->s;
    const struct msgview *m = j->view;
    s->store_target_n = 0;
    if (!j->route)
        return shard_store_target(s, NULL, 0) ? ERR_OK : ERR_NOMEM;
    bool has_durable = j->route->has_durable && (m->flags & MSG_DURABLE);
    s->store_is_live = has_durable;
    for (uint32_t i = 0; has_durable && i < j->route->target_n; i++) {
        const struct target *t = &j->route->target[i];
        struct target left;
        if (UNLIKELY(t->has_no_local)) {
            left = *t;
            t = &left;
            if (!leave_out_own(j, &left))
                continue;
        }
        if (!is_durable_target(m, t))
            continue;
        if (!shard_store_target(s, t->queue, t->set))
            return ERR_NOMEM;
        s->store_is_live = s->store_is_live && queue_has_taker(t->queue);
    }
    return ERR_OK;
}

static bool id_lasts(const struct journey *j)
{
    return j->rx_id && session_is_durable(j->publisher);
}

/* record_bytes: as journey_bytes. */
static ALWAYS_INLINE enum err record_bytes(const struct journey *j, uint64_t *out)
{
    struct shard *s = j->s;
    const struct msgview *m = j->view;
    *out = 0;
    if (!s->store || !(m->flags & (MSG_DURABLE | MSG_RETAIN)) || (m->flags & MSG_OWN))
        return ERR_OK;
    enum err e = gather(j);
    if (e != ERR_OK || (s->store_target_n == 0 && !keeps_retained(j) && !id_lasts(j)))
        return e;
    *out = sizeof(struct msg) + view_bytes(m);
    return s->store_failed ? ERR_STORE : ERR_OK;
}

enum err journey_append(struct journey *j)
{
    struct shard *s = j->s;
    bool has_id = id_lasts(j), only_id = s->store_target_n == 0 && !keeps_retained(j);
    if (!only_id && !journey_keep(j))
        return ERR_NOMEM;
    struct store_rec rec = {.kind = STORE_PUBLISH,
                            .msg = only_id ? NULL : j->msg,
                            .target = s->store_target,
                            .target_n = s->store_target_n,
                            .queue = j->of ? j->from : 0,
                            .of = j->of,
                            .session = has_id ? j->publisher->number : 0,
                            .rx_id = has_id ? j->rx_id : 0,
                            .flags = j->route && keeps_retained(j) ? STORE_PUBLISH_RETAINED : 0};
    if (j->route && s->store_target_n != 0 && s->store_is_live)
        rec.flags |= STORE_PUBLISH_LIVE;
    if (!j->route) {
        rec.name = exchange_name(j->x);
        rec.due = store_wall(s->store, s->now + j->delay_ms);
    }
    lsn_t lsn = shard_append(s, &rec);
    if (lsn == LSN_FAILED)
        return ERR_STORE;
    j->lsn = lsn;
    return ERR_OK;
}

/* log_it: one record per publish, whatever the fan-out; none when nothing durable is concerned. */
static ALWAYS_INLINE enum err log_it(struct journey *j)
{
    uint64_t bytes;
    enum err e = record_bytes(j, &bytes);
    if (e != ERR_OK || bytes == 0)
        return e;
    if (LIKELY(j->of == 0)) /* else it is a move of what was accepted, with room for that */
        e = store_reserve(j->s->store, bytes);
    return e == ERR_OK ? journey_append(j) : e;
}

/* ---- changes ------------------------------------------------------------------------------------------------ */

static void change_retained(struct journey *j)
{
    if (LIKELY(!keeps_retained(j)))
        return;                    /* [MQTT-3.3.1-8]; 3.1.1: [MQTT-3.3.1-12] */
    if (j->view->payload.len == 0) /* [MQTT-3.3.1-6], [MQTT-3.3.1-7]; 3.1.1: [MQTT-3.3.1-10], [MQTT-3.3.1-11] */
        retained_del(&j->v->retained, j->view->topic);
    else /* [MQTT-3.3.1-5]; 3.1.1: [MQTT-3.3.1-5], [MQTT-3.3.1-7] */
        retained_set(&j->v->retained, &j->place, j->msg);
}

static void to_target(struct journey *j, const struct target *t)
{
    const struct msgview *m = j->view;
    struct queue *q = t->queue;
    uint32_t set = t->set;
    uint8_t qos = MIN(m->qos, t->qos); /* [MQTT-3.8.4-8]; 3.1.1: [MQTT-3.8.4-6] */
    if (UNLIKELY(t->has_no_local)) {
        struct target left = *t;
        if (!leave_out_own(j, &left))
            return;
        set = left.set;
        qos = MIN(m->qos, left.qos);
    }
    lsn_t lsn = j->lsn;
    bool in_unit = false;
    if (UNLIKELY(lsn != 0)) {
        lsn = qos == 0 || !queue_is_durable(q) ? 0 : lsn;
        in_unit = j->is_accepted && lsn > j->s->lsn_durable;
    }
    if (LIKELY(!in_unit && queue_deliver_direct(q, &j->direct, set, qos))) {
        if (UNLIKELY(lsn != 0))
            queue_log_settle(q, lsn); /* nobody will answer for it */
        return;
    }
    if (qos == 0 && !q->policy->keep_qos0 && !queue_is_watched(q)) {
        stat_add(&j->s->stats, STAT_DROP_OFFLINE, 1);
        return;
    }
    if (qos == 0 && memory_is(&j->s->memory, MEMORY_HARD)) {
        stat_add(&j->s->stats, STAT_DROP_MEMORY, 1);
        return;
    }
    if (!journey_keep(j)) { /* QoS 0 only: else prepare_copy has seen to it */
        stat_add(&j->s->stats, STAT_DROP_NOMEM, 1);
        return;
    }
    struct push how = {.set = set, .qos = qos, .lsn = lsn, .in_unit = in_unit};
    queue_push(q, j->msg, &how); /* 3.1.1: [MQTT-3.1.2-5] also while its session is away */
}

/* pass_replays: where retained messages are still being replayed, this topic's old value goes before the new one. */
static void pass_replays(struct journey *j)
{
    for (uint32_t i = 0; j->x == j->v->topic_exchange && i < j->route->target_n; i++)
        if (j->route->target[i].queue->replay)
            replay_pass(j->route->target[i].queue, j->view->topic);
}

/* sign: the QoS 2 id and the record, the last that can be refused; e: what came of all before. On an error nothing was
 * changed. */
static ALWAYS_INLINE enum err sign(struct journey *j, enum err e)
{
    bool has_id = false;
    if (e == ERR_OK && UNLIKELY(j->rx_id != 0)) {
        e = rx_add(j->publisher, j->rx_id, (uint32_t)j->s->limits.receive_max);
        has_id = e == ERR_OK;
    }
    if (e == ERR_OK && UNLIKELY(j->v->retained.replay_n > 0) && j->route)
        pass_replays(j); /* in the store, too, the old value stands before the new one */
    if (e == ERR_OK)
        e = log_it(j);
    if (LIKELY(e == ERR_OK))
        return ERR_OK;
    if (has_id)
        (void)rx_del(j->publisher, j->rx_id); /* [MQTT-4.3.3-9] */
    journey_undo(j);
    return e;
}

/* accept: everything that can be refused. */
static ALWAYS_INLINE enum err accept(struct journey *j)
{
    enum err e = check_memory(j);
    if (e == ERR_OK)
        e = check_retain(j);
    if (e == ERR_OK && j->route->has_refuse)
        e = ask_targets(j);
    if (e == ERR_OK)
        e = prepare_copy(j);
    if (e == ERR_OK)
        e = prepare_retained(j);
    return sign(j, e);
}

static ALWAYS_INLINE enum err go(struct journey *j)
{
    if (UNLIKELY(j->v->retained.replay_n > 0))
        pass_replays(j);
    change_retained(j);
    j->direct = (struct delivery){.msg = j->view, .now = j->s->now};
    uint32_t n = j->route->target_n;
    for (uint32_t i = 0; i < n; i++) /* both: [MQTT-4.5.0-1] */
        to_target(j, &j->route->target[i]);
    struct stats *stats = &j->s->stats;
    stat_add(stats, STAT_PUBLISHED, 1);
    stat_add(stats, STAT_PAYLOAD_IN, j->view->payload.len);
    stat_add(stats, STAT_ROUTED, n);
    if (n == 0) {
        stat_add(stats, STAT_NO_MATCH, 1);
        return ERR_NO_MATCH;
    }
    return ERR_OK;
}

void journey_wait(struct journey *j)
{
    delayed_set(&j->v->delayed, j->later, j->x, j->msg, j->s->now + j->delay_ms, j->lsn);
    j->later = NULL;
}

enum err journey_go(struct journey *j)
{
    const struct msgview *m = j->view;
    bool may_stay = m->qos != 0 || (m->flags & (MSG_RETAIN | MSG_DURABLE)) || j->route->has_refuse;
    if (UNLIKELY(may_stay && !j->is_accepted)) {
        enum err e = accept(j);
        if (UNLIKELY(e != ERR_OK))
            return e;
    } /* else nobody keeps it for sure, so there is nothing to refuse, or it was done */
    return go(j);
}

/* The steps for tx.c; here they are inlined. */
enum err journey_check_retain(const struct journey *j)
{
    enum err e = check_memory(j);
    return e == ERR_OK ? check_retain(j) : e;
}

enum err journey_prepare(struct journey *j)
{
    return j->route ? prepare_retained(j) : prepare_later(j);
}

enum err journey_bytes(const struct journey *j, uint64_t *out)
{
    return record_bytes(j, out);
}

static void journey_end(struct journey *j, enum err e)
{
    if (j->msg)
        msg_drop(j->msg);
    if (UNLIKELY(e != ERR_OK && e != ERR_NO_MATCH))
        stat_add(&j->s->stats, STAT_REFUSED, 1);
}

/* ---- verbs -------------------------------------------------------------------------------------------------- */

/* journey_begin: field by field: clearing all of it would cost more than the rest of a short way. */
static ALWAYS_INLINE void journey_begin(struct journey *j, struct vhost *v, struct exchange *x,
                                        const struct msgview *view, struct session *publisher)
{
    j->s = v->shard;
    j->v = v;
    j->x = x ? x : v->topic_exchange;
    j->view = view;
    j->publisher = publisher;
    j->route = NULL;
    j->msg = NULL;
    j->place = (struct retained_place){0};
    j->later = NULL;
    j->delay_ms = 0;
    j->lsn = j->of = 0;
    j->from = 0;
    j->rx_id = 0;
    j->is_accepted = false;
    j->s->refused = NULL;
}

/* find_route: the connection's last route if the topic is the same (is_last: it is known to be), else by the router. */
static enum err find_route(struct conn *c, struct journey *j, bool is_last)
{
    struct slice topic = j->view->topic;
    struct router *r = &j->v->router;
    if (LIKELY(route_is_valid(r, c->route, c->route_serial, j->x) && (is_last || route_is_for(c->route, topic)))) {
        j->route = c->route;
        return ERR_OK;
    }
    enum err e = journey_may(j);
    if (e != ERR_OK)
        return e;
    j->route = router_route(r, j->x, topic);
    c->route = j->route;
    c->route_serial = j->route ? j->route->serial : 0;
    return j->route ? ERR_OK : ERR_NOMEM;
}

bool broker_topic_find(struct conn *c, struct slice topic)
{
    if (topic.len == 0 || topic.p[0] == '$')
        return false;
    struct vhost *v = c->session->vhost;
    const struct route *r = router_cached(&v->router, v->topic_exchange, topic);
    if (!r)
        return false;
    c->route = r;
    c->route_serial = r->serial;
    return true;
}

/* to_later: what find_route and journey_go are for a message with a delay. */
static enum err to_later(struct journey *j, mono_ms delay_ms)
{
    j->delay_ms = delay_ms;
    enum err e = journey_may(j);
    if (e == ERR_OK)
        e = check_memory(j);
    if (e == ERR_OK)
        e = check_retain(j);
    if (e == ERR_OK)
        e = check_delayed(j);
    if (e == ERR_OK)
        e = prepare_later(j);
    e = sign(j, e);
    if (e == ERR_OK)
        journey_wait(j);
    return e;
}

void broker_publish(struct conn *c, struct publish *p)
{
    struct shard *s = c->shard;
    struct session *me = c->session;
    BUG_ON(!me);
    if (p->rx_id && rx_has(me, p->rx_id)) {           /* [MQTT-4.3.3-10]; 3.1.1: [MQTT-4.3.3-2]. A repetition */
        conn_owe(c, p->receipt, ERR_OK, s->lsn_last); /* the first one's record may still be on its way */
        return;
    }
    p->msg.publisher = session_publisher(me, p->msg.flags);
    struct journey j;
    journey_begin(&j, me->vhost, p->exchange, &p->msg, me);
    j.rx_id = p->rx_id;
    p->msg.exchange = j.x->number;
    enum err e;
    if (UNLIKELY(p->delay_ms != 0)) {
        e = to_later(&j, p->delay_ms);
    } else {
        e = find_route(c, &j, p->topic_is_last);
        if (e == ERR_OK)
            e = journey_go(&j);
    }
    journey_end(&j, e);
    conn_owe(c, p->receipt, e, j.lsn);
    if (UNLIKELY(c->has_rate | j.x->has_brake))
        conn_slow(c, j.x, 1, p->msg.payload.len);
    if (memory_is(&s->memory, MEMORY_HIGH))
        memory_brake(c);
    if (shard_should_flush(s))
        shard_flush_some(s);
}

enum err broker_publish_shard(struct vhost *v, struct exchange *x, const struct msgview *m)
{
    return broker_publish_due(v, x, m, 0);
}

enum err broker_publish_due(struct vhost *v, struct exchange *x, const struct msgview *m, lsn_t of)
{
    struct msgview view = *m;
    struct journey j;
    journey_begin(&j, v, x, &view, NULL);
    view.exchange = j.x->number;
    j.of = of;
    enum err e = is_within_limits(&j) ? ERR_OK : ERR_TOO_BIG;
    if (e == ERR_OK) {
        j.route = router_route(&v->router, j.x, m->topic);
        e = j.route ? journey_go(&j) : ERR_NOMEM;
    }
    journey_end(&j, e);
    if (of && j.lsn == 0)
        shard_append(j.s, &(struct store_rec){.kind = STORE_SETTLE, .of = of});
    return e;
}

/* without_cycles: *r's targets but for those the message came from, into left, which r refers to from then on (the
 * caller frees left->target). ERR_NOMEM. */
static enum err without_cycles(struct journey *j, const struct route *r, struct route *left)
{
    uint32_t cycle_n = 0;
    j->route = r;
    for (uint32_t i = 0; i < r->target_n; i++)
        cycle_n += dead_letter_is_cycle(j->view->attrs, r->target[i].queue);
    if (LIKELY(cycle_n == 0))
        return ERR_OK;
    struct target *t = mem_alloc(j->v->router.mem, r->target_n * sizeof *t);
    if (!t)
        return ERR_NOMEM;
    *left = (struct route){.target = t, .has_refuse = r->has_refuse, .has_durable = r->has_durable};
    for (uint32_t i = 0; i < r->target_n; i++)
        if (!dead_letter_is_cycle(j->view->attrs, r->target[i].queue))
            t[left->target_n++] = r->target[i];
    stat_add(&j->s->stats, STAT_DROP_CYCLE, cycle_n);
    j->route = left;
    return ERR_OK;
}

enum err broker_publish_dead(struct vhost *v, struct exchange *x, const struct msgview *m, uint64_t from, lsn_t of)
{
    struct msgview view = *m;
    struct journey j;
    struct route left = {0};
    journey_begin(&j, v, x, &view, NULL);
    j.from = from;
    j.of = of;
    view.exchange = x->number;
    view.flags &= (uint8_t)~MSG_RETAIN;                                   /* only its publisher could mean that */
    bool is_none = x->kind == EXCHANGE_TOPIC && !topic_is_name(m->topic); /* a key may be any bytes, a topic not */
    enum err e = is_none || is_ours(x, m->topic) ? ERR_DENIED : is_within_limits(&j) ? ERR_OK : ERR_TOO_BIG;
    const struct route *r = e == ERR_OK ? router_route(&v->router, x, m->topic) : NULL;
    if (e == ERR_OK)
        e = r ? without_cycles(&j, r, &left) : ERR_NOMEM;
    if (e == ERR_OK && !(left.target && left.target_n == 0))
        e = journey_go(&j);
    journey_end(&j, e);
    mem_free(v->router.mem, left.target);
    if (of && j.lsn == 0)
        shard_append(j.s, &(struct store_rec){.kind = STORE_SETTLE, .queue = from, .of = of});
    return e;
}

/* ---- inbound QoS 2 ------------------------------------------------------------------------------------------ */

bool broker_rx_is_open(const struct conn *c, uint16_t id)
{
    return rx_has(c->session, id);
}

uint32_t broker_rx_n(const struct conn *c)
{
    return rx_n(c->session);
}

void broker_rx_release(struct conn *c, uint16_t id, uint64_t receipt)
{
    struct session *me = c->session;
    lsn_t lsn = 0;
    bool found = rx_del(me, id); /* [MQTT-4.3.3-12], [MQTT-4.3.3-13]; 3.1.1: [MQTT-4.3.3-2]. Whatever became of it */
    if (found && session_is_durable(me))
        lsn = shard_append(c->shard, &(struct store_rec){.kind = STORE_RX_RELEASE, .session = me->number, .rx_id = id});
    conn_owe(c, receipt, found ? ERR_OK : ERR_NOT_FOUND, lsn == LSN_FAILED ? 0 : lsn);
}
