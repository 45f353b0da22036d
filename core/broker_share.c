/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker_share.c: queues that several sessions consume: shared subscriptions and, for MQTT, named queues.
 *
 *     $share/g/a/+   ─► group queue "g/a/+" ◄── one binding a/+ (QoS 2)        consumers: one per member session
 *     $queue/jobs    ─► named queue "jobs"  ◄── the default exchange            the same
 *
 * A session can be a member once per queue; subscribing again changes its options. What is a member's own (QoS cap,
 * retain-as-published, subscription id) stands on its consumer and is laid over the queue's binding set when a message
 * is handed over (core/dispatch.c). Members of a session that is offline keep their place and are not in the queue's
 * list of consumers, and neither are those without credit, until their session wakes: so a dispatch hardly ever walks
 * over somebody who can take nothing.
 *
 * Invariants
 *   1. Every consumer in vhost->members has is_member; its session counts it in binding_n.
 *   2. A group lives exactly as long as it has members, online or not.
 *   3. A group is in the store once a session that survives joined it; memberships of such sessions are, too.
 * Cost    joining and leaving: a few table look-ups; about 120 bytes per member, 300 per group.
 * Thread  own shard only.
 * Spec    MQTT 5 §4.8.2 (shared subscriptions).
 */
#include "core/binding_log.h"
#include "core/broker.h"
#include "core/shard.h"

/* ---- groups ------------------------------------------------------------------------------------------------- */

/* group_key: "group/filter"; a group's name has no '/' [MQTT-4.8.2-1]. */
static void group_key(struct buf *key, struct slice group, const struct filter *f)
{
    buf_put(key, group.p, group.len);
    buf_put(key, "/", 1);
    filter_put_mqtt(key, f);
}

static struct queue *group_find(struct vhost *v, struct slice group, const struct filter *f, enum err *out_err)
{
    struct buf key;
    buf_init(&key, shard_mem(v->shard, MEM_QUEUE));
    group_key(&key, group, f);
    *out_err = buf_is_bad(&key) ? ERR_NOMEM : ERR_OK;
    struct queue *q = *out_err == ERR_OK ? map_get(&v->groups, buf_slice(&key)) : NULL;
    buf_fini(&key);
    return q;
}

/* group_new: the queue of a group, bound, without members. NULL: out of memory. */
static struct queue *group_new(struct vhost *v, struct slice group, const struct filter *f)
{
    struct buf key;
    struct queue *q = NULL;
    buf_init(&key, shard_mem(v->shard, MEM_QUEUE));
    group_key(&key, group, f);
    if (!buf_is_bad(&key))
        q = queue_new_group(v, buf_slice(&key), &v->policy_group);
    buf_fini(&key);
    if (!q)
        return NULL;
    struct binding *b;
    bool is_new;
    const struct binding_opts all = {.qos = 2, .retain_handling = 2, .retain_as_published = true};
    if (router_bind(&v->router, v->topic_exchange, f, q, &all, &b, &is_new) == ERR_OK)
        return q;
    queue_delete(q);
    return NULL;
}

/* group_get: the queue of a group, made if there is none. NULL: *out_err says why. */
static struct queue *group_get(struct conn *c, struct slice group, const struct filter *f, enum err *out_err)
{
    struct vhost *v = c->session->vhost;
    *out_err = broker_check_filter(c, v->topic_exchange, f);
    struct queue *q = *out_err == ERR_OK ? group_find(v, group, f, out_err) : NULL;
    if (*out_err != ERR_OK || q)
        return q;
    q = group_new(v, group, f);
    *out_err = q ? ERR_OK : ERR_NOMEM;
    return q;
}

/* ---- members ------------------------------------------------------------------------------------------------ */

static void member_set(struct consumer *k, const struct binding_opts *o)
{
    k->qos = o->qos;
    k->sub_id = o->sub_id;
    k->retain_as_published = o->retain_as_published;
}

/* log_queue: a group is written down when the first session that survives joins it: what it is, and its binding. */
static lsn_t log_queue(struct shard *s, struct queue *q, const struct filter *f)
{
    if (!q->is_group || q->is_logged)
        return 0;
    lsn_t lsn = shard_append(
        s, &(struct store_rec){
               .kind = STORE_QUEUE, .queue = q->number, .name = queue_name(q), .flags = STORE_QUEUE_GROUP});
    if (lsn == LSN_FAILED)
        return lsn;
    const struct store_rec bound = {
        .kind = STORE_BIND, .queue = q->number, .name = exchange_name(q->vhost->topic_exchange), .qos = 2};
    lsn = binding_log(s, bound, f, NULL);
    if (lsn == LSN_FAILED) {
        (void)shard_append(s, &(struct store_rec){.kind = STORE_QUEUE_END, .queue = q->number});
        return lsn;
    }
    q->is_logged = 1;
    router_touch(&q->vhost->router); /* routes know whether a target is durable */
    return lsn;
}

static lsn_t log_member(struct shard *s, const struct consumer *k, const struct filter *f)
{
    if (!s->store || !session_is_durable(k->session))
        return 0;
    if (log_queue(s, k->queue, f) == LSN_FAILED)
        return LSN_FAILED;
    return shard_append(s, &(struct store_rec){.kind = STORE_MEMBER,
                                               .queue = k->queue->number,
                                               .session = k->session->number,
                                               .qos = k->qos,
                                               .sub_id = k->sub_id,
                                               .flags = k->retain_as_published});
}

/* may_join: is there room for one more subscription, and for one that is shared? */
static bool may_join(const struct session *me, const struct limits *l)
{
    uint64_t n = 0;
    LIST_EACH(&me->consumers, it)
    n += LIST_ITEM(it, struct consumer, in_session)->is_member;
    return n < l->shared_subscriptions_max && me->binding_n < l->subscriptions_max;
}

/* join: makes the session a member of q, or changes its options. f: what a group is bound by. */
static enum err join(struct conn *c, struct queue *q, const struct filter *f, const struct binding_opts *o,
                     lsn_t *out_lsn)
{
    struct session *me = c->session;
    struct consumer *k = member_get(q, me);
    bool is_new = !k;
    struct binding_opts was = {0};
    if (is_new && !may_join(me, &c->shard->limits))
        return ERR_FULL;
    if (is_new)
        k = member_join(q, me);
    else
        was = (struct binding_opts){.qos = k->qos, .sub_id = k->sub_id, .retain_as_published = k->retain_as_published};
    if (!k)
        return ERR_NOMEM;
    member_set(k, o);
    *out_lsn = log_member(c->shard, k, f);
    if (*out_lsn != LSN_FAILED)
        return ERR_OK;
    if (is_new)
        consumer_cancel(k);
    else
        member_set(k, &was);
    return ERR_STORE;
}

/* leave: the session is no longer a member of q (NULL: there is none). */
static void leave(struct conn *c, struct queue *q, uint64_t receipt)
{
    struct consumer *k = q ? member_get(q, c->session) : NULL;
    lsn_t lsn = 0;
    enum err e = k ? ERR_OK : ERR_NOT_FOUND;
    if (k && session_is_durable(k->session)) {
        lsn = shard_append(
            c->shard, &(struct store_rec){.kind = STORE_MEMBER_END, .queue = q->number, .session = k->session->number});
        if (lsn == LSN_FAILED)
            e = ERR_STORE;
    }
    if (e == ERR_OK)
        consumer_cancel(k);
    if (e == ERR_NOT_FOUND && session_is_durable(c->session))
        lsn = c->shard->lsn_last; /* it may have left a moment ago only */
    conn_owe(c, receipt, e, e == ERR_STORE ? 0 : lsn);
}

/* ---- verbs -------------------------------------------------------------------------------------------------- */

void broker_subscribe_group(struct conn *c, struct slice group, const struct filter *f, const struct binding_opts *opts,
                            uint64_t receipt)
{
    enum err e;
    lsn_t lsn = 0;
    BUG_ON(opts->no_local);
    struct queue *q = group_get(c, group, f, &e);
    if (q)
        e = join(c, q, f, opts, &lsn);
    if (e != ERR_OK && q && queue_is_deserted(q)) /* it was made for nothing */
        queue_delete(q);
    conn_owe(c, receipt, e, e == ERR_OK ? lsn : 0);
}

struct consumer *broker_consume_group(struct conn *c, struct slice group, const struct filter *f,
                                      const struct consume *how)
{
    enum err e;
    struct queue *q = group_get(c, group, f, &e);
    struct consumer *k = q ? broker_join(c, q, how) : NULL;
    if (q && !k)
        e = ERR_NOMEM;
    if (q && queue_is_deserted(q)) /* it was made for nothing */
        queue_delete(q);
    conn_owe(c, how->receipt, e, 0);
    if (k && how->receipt != RECEIPT_NONE)
        conn_hold(c, k);
    return k;
}

void broker_unsubscribe_group(struct conn *c, struct slice group, const struct filter *f, uint64_t receipt)
{
    enum err e;
    struct queue *q = group_find(c->session->vhost, group, f, &e);
    if (e == ERR_OK)
        leave(c, q, receipt);
    else
        conn_owe(c, receipt, e, 0);
}

void broker_subscribe_queue(struct conn *c, struct slice name, const struct binding_opts *opts, uint64_t receipt)
{
    enum err e;
    lsn_t lsn = 0;
    struct queue *q = broker_declare_queue(c, name, &e);
    if (q)
        e = join(c, q, NULL, opts, &lsn);
    conn_owe(c, receipt, e, e == ERR_OK ? MAX(lsn, c->shard->lsn_last) : 0); /* it may just have been declared */
}

void broker_unsubscribe_queue(struct conn *c, struct slice name, uint64_t receipt)
{
    leave(c, map_get(&c->session->vhost->queues, name), receipt);
}
