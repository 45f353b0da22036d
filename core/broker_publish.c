/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker_publish.c: the middle of a message's journey: from an adapter's view of it to the queues that want it.
 *
 *     broker_publish ─► allowed? ─► route (last topic → cache → trie) ─► accept: may everybody take it, is there
 *                       memory, the QoS 2 id, the record of the result ─► retained set
 *                    ─► for each target: straight out, if it will never ask for it again, or queue_push
 *                    ─► the receipt: now, or when the disk has the record
 *
 * Invariants
 *   1. Refusal is all or nothing: every check stands before the first change.
 *   2. The lasting copy (struct msg) is made at most once, when the first that keeps it asks.
 *   3. What is logged is the result: message, target queues and their binding sets. Nothing durable, nothing logged.
 * Cost    to an online receiver that will not come back for it: a route check and one encode or copy; no allocation.
 * Thread  own shard only.
 * Spec    MQTT 5 §3.3, §4.3 (QoS), §4.6 (order); [MQTT-3.3.1-5] to [MQTT-3.3.1-8] (retain).
 */
#include "core/adapter.h"
#include "core/broker.h"
#include "core/replay.h"
#include "core/shard.h"

/* One publish on its way. */
struct journey {
    struct shard *s;
    struct vhost *v;
    struct exchange *x;
    const struct msgview *view;
    struct session *publisher; /* NULL: the broker itself, a will */
    uint16_t rx_id;
    const struct route *route;
    const struct msg *msg;       /* NULL until somebody keeps it */
    struct retained_place place; /* .at 0: none was needed */
    lsn_t lsn;                   /* of its record; 0: not logged */
    struct delivery direct;      /* for one receiver after the other */
};

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

bool broker_may_write(const struct exchange *x, struct slice topic)
{
    static const struct slice sys = {(const uint8_t *)"$SYS", 4};
    if (x->kind != EXCHANGE_TOPIC || !slice_starts_with(topic, sys))
        return true;
    return topic.len > sys.len && topic.p[sys.len] != '/'; /* "$SYSTEM" is somebody's own */
}

/* is_within_limits: length and depth of the topic. */
static bool is_within_limits(const struct journey *j)
{
    const struct limits *l = &j->s->limits;
    struct slice topic = j->view->topic;
    return j->x->kind != EXCHANGE_TOPIC ||
           (topic.len <= l->topic_bytes_max && topic_levels(topic) <= l->topic_levels_max);
}

static enum err check_retain(const struct journey *j)
{
    const struct msgview *m = j->view;
    if (!(m->flags & MSG_RETAIN) || j->x != j->v->topic_exchange)
        return ERR_OK;
    if (!j->s->config.retain_available)
        return ERR_UNSUPPORTED; /* [MQTT-3.2.2-14] */
    return m->payload.len == 0 || retained_has_room(&j->v->retained, m->topic, view_bytes(m)) ? ERR_OK : ERR_FULL;
}

static enum err check_targets(const struct journey *j)
{
    if (LIKELY(!j->route->has_refuse))
        return ERR_OK;
    uint64_t bytes = view_bytes(j->view);
    for (uint32_t i = 0; i < j->route->target_n; i++) {
        struct queue *q = j->route->target[i].queue;
        if (LIKELY(!queue_would_refuse(q, bytes)))
            continue;
        queue_dispatch(q); /* a consumer with credit may take what this turn put there */
        if (queue_would_refuse(q, bytes))
            return ERR_FULL;
    }
    return ERR_OK;
}

/* ---- the record --------------------------------------------------------------------------------------------- */

static bool is_durable_target(const struct msgview *m, const struct target *t)
{
    return MIN(m->qos, t->qos) > 0 && queue_is_durable(t->queue);
}

/* log_result: one record per publish, whatever the fan-out; none when nothing durable is concerned. */
static enum err log_result(struct journey *j)
{
    struct shard *s = j->s;
    const struct msgview *m = j->view;
    if (!s->store || !(m->flags & (MSG_DURABLE | MSG_RETAIN)) || (m->flags & MSG_OWN))
        return ERR_OK;
    s->store_target_n = 0;
    bool has_durable = j->route->has_durable && (m->flags & MSG_DURABLE);
    for (uint32_t i = 0; has_durable && i < j->route->target_n; i++) {
        const struct target *t = &j->route->target[i];
        if (is_durable_target(m, t) && !shard_store_target(s, t->queue->number, t->set))
            return ERR_NOMEM;
    }
    bool id_lasts = j->rx_id && session_is_durable(j->publisher);
    if (s->store_target_n == 0 && !(m->flags & MSG_RETAIN) && !id_lasts)
        return ERR_OK;
    if (s->store_failed)
        return ERR_STORE;
    enum err e = store_reserve(s->store, sizeof(struct msg) + m->topic.len + m->attrs.len + m->payload.len);
    if (e != ERR_OK)
        return e;
    bool only_id = s->store_target_n == 0 && !(m->flags & MSG_RETAIN);
    if (!only_id && !journey_keep(j))
        return ERR_NOMEM;
    j->lsn = shard_append(s, &(struct store_rec){.kind = STORE_PUBLISH,
                                                 .msg = only_id ? NULL : j->msg,
                                                 .target = s->store_target,
                                                 .target_n = s->store_target_n,
                                                 .session = id_lasts ? j->publisher->number : 0,
                                                 .rx_id = id_lasts ? j->rx_id : 0});
    return j->lsn == LSN_FAILED ? ERR_STORE : ERR_OK;
}

/* ---- changes ------------------------------------------------------------------------------------------------ */

static bool keeps_retained(const struct journey *j)
{
    return (j->view->flags & MSG_RETAIN) && j->x == j->v->topic_exchange;
}

/* prepare_retained: a place in the retained set, so that nothing can fail behind the record. */
static enum err prepare_retained(struct journey *j)
{
    if (LIKELY(!keeps_retained(j)) || j->view->payload.len == 0)
        return ERR_OK;
    if (!journey_keep(j))
        return ERR_NOMEM;
    return retained_prepare(&j->v->retained, j->view->topic, msg_bytes(j->msg), j->view->expires_at != 0, &j->place);
}

static void change_retained(struct journey *j)
{
    if (LIKELY(!keeps_retained(j)))
        return;                    /* [MQTT-3.3.1-8]; 3.1.1: [MQTT-3.3.1-12] */
    if (j->view->payload.len == 0) /* [MQTT-3.3.1-6], [MQTT-3.3.1-7]; 3.1.1: [MQTT-3.3.1-10], [MQTT-3.3.1-11] */
        retained_del(&j->v->retained, j->view->topic);
    else /* [MQTT-3.3.1-5]; 3.1.1: [MQTT-3.3.1-5], [MQTT-3.3.1-7] */
        retained_set(&j->v->retained, &j->place, j->msg);
}

/* prepare_copy: at QoS 1 and 2 the memory for the lasting copy is sure before the first target gets anything. */
static enum err prepare_copy(struct journey *j)
{
    if (j->view->qos == 0 || j->route->target_n == 0 || j->msg || LIKELY(msg_reserve(&j->s->msgs, j->view)))
        return ERR_OK;
    return journey_keep(j) ? ERR_OK : ERR_NOMEM;
}

static void to_target(struct journey *j, const struct target *t)
{
    const struct msgview *m = j->view;
    struct queue *q = t->queue;
    uint32_t set = t->set;
    uint8_t qos = MIN(m->qos, t->qos); /* [MQTT-3.8.4-8]; 3.1.1: [MQTT-3.8.4-6] */
    if (UNLIKELY(t->has_no_local) && q->owner && session_published(q->owner, m->publisher, m->flags)) {
        if (!router_merge_for(&j->v->router, j->x, m->topic, q, &set, &qos)) /* [MQTT-3.8.3-3] */
            return;
        qos = MIN(m->qos, qos);
    }
    if (LIKELY(queue_deliver_direct(q, &j->direct, set, qos)))
        return;
    if (qos == 0 && !q->policy->keep_qos0 && !queue_is_watched(q)) {
        stat_add(&j->s->stats, STAT_DROP_OFFLINE, 1);
        return;
    }
    if (!journey_keep(j)) { /* QoS 0 only: else prepare_copy has seen to it */
        stat_add(&j->s->stats, STAT_DROP_NOMEM, 1);
        return;
    }
    struct push how = {.set = set, .qos = qos, .lsn = is_durable_target(m, t) ? j->lsn : 0};
    queue_push(q, j->msg, &how); /* 3.1.1: [MQTT-3.1.2-5] also while its session is away */
}

/* pass_replays: where retained messages are still being replayed, this topic's old value goes before the new one. */
static void pass_replays(struct journey *j)
{
    for (uint32_t i = 0; j->x == j->v->topic_exchange && i < j->route->target_n; i++)
        if (j->route->target[i].queue->replay)
            replay_pass(j->route->target[i].queue, j->view->topic);
}

/* accept: everything that can be refused; the record is the last of it. On an error nothing was changed. */
static enum err accept(struct journey *j)
{
    if (LIKELY(j->view->qos == 0 && !(j->view->flags & (MSG_RETAIN | MSG_DURABLE)) && !j->route->has_refuse))
        return ERR_OK; /* nobody keeps it for sure, so there is nothing to refuse */
    enum err e = check_retain(j);
    if (e == ERR_OK)
        e = check_targets(j);
    if (e == ERR_OK)
        e = prepare_copy(j);
    if (e == ERR_OK)
        e = prepare_retained(j);
    if (e != ERR_OK)
        return e;
    if (j->rx_id)
        e = rx_add(j->publisher, j->rx_id, (uint32_t)j->s->limits.receive_max);
    if (e == ERR_OK) {
        e = log_result(j);
        if (e != ERR_OK && j->rx_id)
            (void)rx_del(j->publisher, j->rx_id); /* [MQTT-4.3.3-9] */
    }
    if (e != ERR_OK && j->place.at)
        retained_cancel(&j->v->retained, &j->place);
    return e;
}

static enum err travel(struct journey *j)
{
    enum err e = accept(j);
    if (UNLIKELY(e != ERR_OK))
        return e;
    if (UNLIKELY(j->v->retained.replay_n > 0))
        pass_replays(j);
    change_retained(j);
    j->direct.msg = j->view;
    j->direct.now = j->s->now;
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

static void journey_end(struct journey *j, enum err e)
{
    if (j->msg)
        msg_drop(j->msg);
    if (UNLIKELY(e != ERR_OK && e != ERR_NO_MATCH))
        stat_add(&j->s->stats, STAT_REFUSED, 1);
}

/* ---- verbs -------------------------------------------------------------------------------------------------- */

/* find_route: the connection's last route if the topic is the same (is_last: it is known to be), else by the router. */
static enum err find_route(struct conn *c, struct journey *j, bool is_last)
{
    struct slice topic = j->view->topic;
    struct router *r = &j->v->router;
    if (LIKELY(route_is_valid(r, c->route, c->route_serial, j->x) && (is_last || route_is_for(c->route, topic)))) {
        j->route = c->route;
        return ERR_OK;
    }
    if (!broker_may_write(j->x, topic))
        return ERR_DENIED;
    if (!is_within_limits(j))
        return ERR_TOO_BIG;
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

/* log_delay: the record of a message that waits: its one target is queue 0. */
static enum err log_delay(struct journey *j, mono_ms delay_ms)
{
    struct shard *s = j->s;
    if (!s->store || !(j->view->flags & (MSG_DURABLE | MSG_RETAIN)))
        return ERR_OK;
    if (s->store_failed)
        return ERR_STORE;
    enum err e = store_reserve(s->store, sizeof(struct msg) + view_bytes(j->view));
    if (e != ERR_OK)
        return e;
    const struct store_target target = {0};
    bool id_lasts = j->rx_id && session_is_durable(j->publisher);
    j->lsn = shard_append(s, &(struct store_rec){.kind = STORE_PUBLISH,
                                                 .msg = j->msg,
                                                 .target = &target,
                                                 .target_n = 1,
                                                 .name = exchange_name(j->x),
                                                 .due = s->loop->ops->wall(s->loop) + (wall_ms)delay_ms,
                                                 .session = id_lasts ? j->publisher->number : 0,
                                                 .rx_id = id_lasts ? j->rx_id : 0});
    return j->lsn == LSN_FAILED ? ERR_STORE : ERR_OK;
}

/* accept_later: everything that can be refused now, and then it waits. */
static enum err accept_later(struct journey *j, mono_ms delay_ms)
{
    struct delayed *d = &j->v->delayed;
    if (!broker_may_write(j->x, j->view->topic))
        return ERR_DENIED;
    if (!is_within_limits(j) || delay_ms > j->s->limits.delay_s_max * 1000)
        return ERR_TOO_BIG;
    enum err e = check_retain(j);
    if (e != ERR_OK)
        return e;
    if (!delayed_has_room(d, view_bytes(j->view)))
        return ERR_FULL;
    struct delayed_msg *place = delayed_prepare(d);
    if (!place || !journey_keep(j))
        e = ERR_NOMEM;
    if (e == ERR_OK && j->rx_id)
        e = rx_add(j->publisher, j->rx_id, (uint32_t)j->s->limits.receive_max);
    if (e == ERR_OK) {
        e = log_delay(j, delay_ms);
        if (e != ERR_OK && j->rx_id)
            (void)rx_del(j->publisher, j->rx_id);
    }
    if (e == ERR_OK)
        delayed_set(d, place, j->x, j->msg, j->s->now + delay_ms, j->lsn);
    else if (place)
        delayed_cancel(d, place);
    return e;
}

/* publish_later: what broker_publish does for a message with a delay. */
static void publish_later(struct conn *c, const struct publish *p)
{
    struct session *me = c->session;
    struct journey j = {.s = c->shard,
                        .v = me->vhost,
                        .x = p->exchange ? p->exchange : me->vhost->topic_exchange,
                        .view = &p->msg,
                        .publisher = me,
                        .rx_id = p->rx_id};
    enum err e = accept_later(&j, p->delay_ms);
    journey_end(&j, e);
    conn_owe(c, p->receipt, e, j.lsn == LSN_FAILED ? 0 : j.lsn);
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
    if (UNLIKELY(p->delay_ms != 0)) {
        publish_later(c, p);
        return;
    }
    struct journey j = {.s = s,
                        .v = me->vhost,
                        .x = p->exchange ? p->exchange : me->vhost->topic_exchange,
                        .view = &p->msg,
                        .publisher = me,
                        .rx_id = p->rx_id};
    enum err e = find_route(c, &j, p->topic_is_last);
    if (e == ERR_OK)
        e = travel(&j);
    journey_end(&j, e);
    conn_owe(c, p->receipt, e, j.lsn == LSN_FAILED ? 0 : j.lsn);
    if (shard_should_flush(s))
        shard_flush_some(s);
}

enum err broker_publish_shard(struct vhost *v, struct exchange *x, const struct msgview *m)
{
    struct journey j = {.s = v->shard, .v = v, .x = x ? x : v->topic_exchange, .view = m};
    if (!is_within_limits(&j))
        return ERR_TOO_BIG;
    j.route = router_route(&v->router, j.x, m->topic);
    enum err e = j.route ? travel(&j) : ERR_NOMEM;
    journey_end(&j, e);
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
