/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c: what a message waits in.
 *
 *     queue_push      limits → entry at the end → marked for dispatch
 *     queue_dispatch  (end of turn) oldest ready entry → next consumer with credit → adapter->on_deliver
 *     settle          acknowledged, dropped or expired: gone, once
 *     requeue         back to its place by seq
 *
 * Invariants
 *   1. An entry is in exactly one list: queue->ready (READY) or session->inflight (SENT, RECEIVED).
 *   2. ready is sorted by seq; ready_n and bytes count exactly what is in it; limits speak of ready entries.
 *   3. Every entry ends in entry_settle, and every end that is not an acknowledgement is counted under a DROP_ name.
 *   4. Nothing is delivered and nothing is freed while somebody else walks: dispatch runs in step 5, queues die in
 * step 6. Cost    80 bytes per entry (104 with an expiry), pooled; push, dispatch and settle O(1); requeue O(entries
 * before it). Thread  own shard only. Spec    MQTT 5 §4.4, §4.6 (order), §3.3.2.3.3 (expiry); STOMP 1.2 §ACK, §NACK.
 */
#include "core/queue.h"

#include "core/adapter.h"
#include "core/conn.h"
#include "core/replay.h"
#include "core/session.h"
#include "core/shard.h"

enum { SETS_FRESH_MAX = 1024 }; /* binding sets of one router generation */

static struct shard *shard_of(const struct queue *q)
{
    return q->vhost->shard;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

struct queue *queue_new(struct vhost *v, struct slice name, const struct queue_policy *policy, bool copy_policy,
                        struct session *owner)
{
    struct mem *mem = shard_mem(v->shard, MEM_QUEUE);
    struct queue_policy *own = NULL;
    struct queue *q = mem_zalloc(mem, sizeof *q);
    if (!q)
        return NULL;
    q->vhost = v;
    q->owner = owner;
    list_init(&q->ready);
    list_init(&q->bindings);
    list_init(&q->consumers);
    if (copy_policy) {
        own = mem_alloc(mem, sizeof *own);
        if (!own)
            goto fail;
        *own = *policy;
        policy = own;
        q->own_policy = 1;
    }
    q->policy = policy;
    if (name.len) {
        q->name = mem_dup(mem, name.p, name.len);
        q->name_len = (uint16_t)name.len;
        if (!q->name || map_put(&v->queues, q) != ERR_OK)
            goto fail;
        router_touch(&v->router); /* the default exchange routes by name */
    }
    q->number = v->shard->number_next++;
    list_push(&v->queues_all, &q->all);
    stat_add(&v->shard->stats, STAT_QUEUES, 1);
    return q;
fail:
    mem_free(mem, q->name);
    mem_free(mem, own);
    mem_free(mem, q);
    return NULL;
}

uint64_t queue_purge(struct queue *q, enum stat why)
{
    uint64_t n = 0;
    LIST_EACH(&q->ready, it)
    {
        entry_settle(LIST_ITEM(it, struct entry, node));
        n++;
    }
    stat_add(&shard_of(q)->stats, why, n);
    return n;
}

void queue_delete(struct queue *q)
{
    if (q->is_dead)
        return;
    q->is_dead = 1;
    struct shard *s = shard_of(q);
    replay_close_all(q);
    LIST_EACH(&q->bindings, it)
    router_unbind(&q->vhost->router, LIST_ITEM(it, struct binding, in_queue));
    LIST_EACH(&q->consumers, cit)
    {
        struct consumer *c = LIST_ITEM(cit, struct consumer, in_queue);
        struct conn *conn = c->session->conn;
        if (conn && conn->adapter && conn->adapter->on_consumer_gone)
            conn->adapter->on_consumer_gone(conn, c);
        consumer_cancel(c);
    }
    queue_purge(q, STAT_DROP_CLOSED);
    if (q->name) {
        BUG_ON(map_del(&q->vhost->queues, queue_name(q)) != q);
        router_touch(&q->vhost->router);
    }
    list_del(&q->all);
    list_push(&s->dead_queues, &q->all);
    stat_sub(&s->stats, STAT_QUEUES, 1);
}

void queue_free(struct queue *q)
{
    struct mem *mem = shard_mem(shard_of(q), MEM_QUEUE);
    BUG_ON(q->ready_n != 0 || q->inflight_n != 0);
    list_del(&q->all);
    for (uint32_t i = 0; i < q->set_n; i++)
        mem_free(mem, q->set[i].sub_id);
    mem_free(mem, q->set);
    mem_free(mem, q->name);
    if (q->own_policy)
        mem_free(mem, (void *)(uintptr_t)q->policy);
    mem_free(mem, q);
}

/* ---- binding sets ------------------------------------------------------------------------------------------- */

static bool set_is(const struct binding_set *b, uint8_t qos, bool rap, const uint32_t *sub_id, uint16_t n)
{
    return b->qos == qos && b->retain_as_published == rap && b->sub_id_n == n &&
           memcmp(b->sub_id, sub_id, n * sizeof *sub_id) == 0;
}

/* set_reusable: one that no entry and no valid route can refer to. */
static struct binding_set *set_reusable(struct queue *q, struct mem *mem)
{
    for (uint32_t i = 0; i < q->set_n; i++) {
        struct binding_set *b = &q->set[i];
        if (b->refs == 0 && b->gen != q->vhost->router.gen) {
            mem_free(mem, b->sub_id);
            *b = (struct binding_set){0};
            return b;
        }
    }
    return NULL;
}

/* set_slot: a place for one more set. When one router generation made many, a new generation makes those reusable that
 * no entry refers to; routes are then made anew. */
static struct binding_set *set_slot(struct queue *q, struct mem *mem)
{
    struct binding_set *b = set_reusable(q, mem);
    if (!b && q->set_n >= SETS_FRESH_MAX) {
        router_touch(&q->vhost->router);
        b = set_reusable(q, mem);
    }
    if (b)
        return b;
    if (q->set_n == 0 || (q->set_n >= 4 && (q->set_n & (q->set_n - 1)) == 0)) { /* full up to a power of two */
        struct binding_set *grown = mem_realloc(mem, q->set, MAX(4u, q->set_n * 2u) * sizeof *grown);
        if (!grown)
            return NULL;
        q->set = grown;
    }
    q->set[q->set_n] = (struct binding_set){0};
    return &q->set[q->set_n++];
}

uint32_t queue_set_intern(struct queue *q, uint8_t qos, bool retain_as_published, const uint32_t *sub_id, uint16_t n)
{
    if (n == 0)
        return qos + (retain_as_published ? 3u : 0u);
    for (uint32_t i = 0; i < q->set_n; i++) {
        if (set_is(&q->set[i], qos, retain_as_published, sub_id, n)) {
            q->set[i].gen = q->vhost->router.gen;
            return i + SET_PLAIN_N;
        }
    }
    if (q->set_n == UINT16_MAX)
        return qos + (retain_as_published ? 3u : 0u); /* 65,535 combinations wait in this queue: it loses the ids */
    struct mem *mem = shard_mem(shard_of(q), MEM_QUEUE);
    uint32_t *ids = mem_alloc(mem, n * sizeof *ids);
    struct binding_set *b = ids ? set_slot(q, mem) : NULL;
    if (!b) {
        mem_free(mem, ids);
        return UINT32_MAX;
    }
    memcpy(ids, sub_id, n * sizeof *ids);
    *b = (struct binding_set){.gen = q->vhost->router.gen,
                              .qos = qos,
                              .retain_as_published = retain_as_published,
                              .sub_id_n = n,
                              .sub_id = ids};
    return (uint32_t)(b - q->set) + SET_PLAIN_N;
}

const struct binding_set *queue_set_get(const struct queue *q, uint32_t number, struct binding_set *plain)
{
    if (number >= SET_PLAIN_N)
        return &q->set[number - SET_PLAIN_N];
    *plain = (struct binding_set){.qos = number % 3, .retain_as_published = number / 3};
    return plain;
}

/* ---- entries ------------------------------------------------------------------------------------------------ */

static struct entry *entry_new(struct queue *q, const struct msg *m, const struct push *how)
{
    struct shard *s = shard_of(q);
    struct entry *e;
    if (m->expires_at) {
        struct entry_timer *t = pool_take(&s->timed_entries);
        if (!t)
            return NULL;
        t->timer = (struct wtimer){0};
        e = &t->entry;
    } else {
        e = pool_take(&s->entries);
        if (!e)
            return NULL;
    }
    *e = (struct entry){.msg = msg_hold(m),
                        .queue = q,
                        .seq = q->seq_next++,
                        .lsn = how->lsn,
                        .set = how->set,
                        .qos = how->qos,
                        .state = ENTRY_READY,
                        .timed = m->expires_at != 0,
                        .retained = how->retained};
    if (e->timed)
        shard_arm(s, &CONTAINER_OF(e, struct entry_timer, entry)->timer, TIMER_ENTRY, m->expires_at);
    if (how->set >= SET_PLAIN_N)
        q->set[how->set - SET_PLAIN_N].refs++;
    stat_add(&s->stats, STAT_ENTRIES, 1);
    return e;
}

static void ready_unlink(struct entry *e)
{
    list_del(&e->node);
    e->queue->ready_n--;
    e->queue->bytes -= msg_bytes(e->msg);
}

/* inflight_unlink: off the session's list, and its ticket, credit and quota given back. */
static void inflight_unlink(struct entry *e)
{
    struct session *s = e->session;
    if (s->resend == e) {
        struct list_node *next = list_next(&s->inflight, &e->node);
        s->resend = next ? LIST_ITEM(next, struct entry, node) : NULL;
    }
    list_del(&e->node);
    tickets_give(s, e->ticket);
    e->queue->inflight_n--;
    if (e->counted)
        s->sent_n--;
    consumer_settled(e->consumer);
    e->counted = 0;
    e->session = NULL;
    e->consumer = NULL;
}

static void log_settle(struct queue *q, lsn_t lsn)
{
    if (lsn)
        shard_append(shard_of(q), &(struct store_rec){.kind = STORE_SETTLE, .queue = q->number, .of = lsn});
}

void entry_settle(struct entry *e)
{
    struct queue *q = e->queue;
    struct shard *s = shard_of(q);
    if (e->state == ENTRY_READY)
        ready_unlink(e);
    else
        inflight_unlink(e);
    log_settle(q, e->lsn);
    if (e->msg)
        msg_drop(e->msg);
    if (e->set >= SET_PLAIN_N)
        q->set[e->set - SET_PLAIN_N].refs--;
    stat_sub(&s->stats, STAT_ENTRIES, 1);
    if (e->timed) {
        struct entry_timer *t = CONTAINER_OF(e, struct entry_timer, entry);
        wheel_disarm(&s->wheel, &t->timer);
        pool_give(&s->timed_entries, t);
        return;
    }
    pool_give(&s->entries, e);
}

void queue_expire(struct entry *e)
{
    if (e->state != ENTRY_READY)
        return; /* [MQTT-3.3.2-5] once its delivery has begun, it is finished */
    stat_add(&shard_of(e->queue)->stats, STAT_DROP_EXPIRED, 1);
    entry_settle(e);
}

void queue_requeue(struct entry *e)
{
    struct queue *q = e->queue;
    inflight_unlink(e);
    e->state = ENTRY_READY;
    e->ticket = 0;
    struct list_node *at = q->ready.head.next;
    while (at != &q->ready.head && LIST_ITEM(at, struct entry, node)->seq < e->seq)
        at = at->next;
    list_insert_before(at, &e->node);
    q->ready_n++;
    q->bytes += msg_bytes(e->msg);
    if (e->timed && e->msg->expires_at <= shard_of(q)->now) {
        queue_expire(e);
        return;
    }
    queue_mark(q);
}

static void dispatch_ready(struct queue *q);

/* ---- push --------------------------------------------------------------------------------------------------- */

bool queue_is_over(const struct queue *q, uint64_t bytes)
{
    const struct queue_policy *p = q->policy;
    return (p->len_max && q->ready_n + 1ull > p->len_max) || (p->bytes_max && q->bytes + bytes > p->bytes_max);
}

bool queue_is_half(const struct queue *q)
{
    const struct queue_policy *p = q->policy;
    return (p->len_max && q->ready_n * 2ull >= p->len_max) || (p->bytes_max && q->bytes * 2 >= p->bytes_max);
}

bool queue_would_refuse(const struct queue *q, uint64_t bytes)
{
    return q->policy->overflow == OVERFLOW_REJECT && queue_is_over(q, bytes);
}

/* make_room: by the queue's policy. False: the new message is the one to go. */
static bool make_room(struct queue *q, uint64_t bytes)
{
    dispatch_ready(q); /* a consumer with credit empties it before anything is lost */
    if (q->ready_n == 0 && queue_has_taker(q))
        return true;                                            /* larger than the whole limit, but it does not stay */
    if (q->policy->bytes_max && bytes > q->policy->bytes_max) { /* no room can be made for it */
        stat_add(&shard_of(q)->stats, STAT_DROP_FULL, 1);
        return false;
    }
    while (queue_is_over(q, bytes)) {
        struct list_node *oldest = list_first(&q->ready);
        if (q->policy->overflow != OVERFLOW_DROP_HEAD || !oldest) {
            stat_add(&shard_of(q)->stats, STAT_DROP_FULL, 1);
            return false;
        }
        entry_settle(LIST_ITEM(oldest, struct entry, node));
        stat_add(&shard_of(q)->stats, STAT_DROP_HEAD, 1);
    }
    return true;
}

void queue_push(struct queue *q, const struct msg *m, const struct push *how)
{
    uint64_t bytes = msg_bytes(m);
    bool was_over = queue_is_over(q, bytes) && q->policy->overflow != OVERFLOW_REJECT;
    if (UNLIKELY(was_over) && !make_room(q, bytes)) {
        log_settle(q, how->lsn);
        return;
    }
    struct entry *e = entry_new(q, m, how);
    if (!e) {
        stat_add(&shard_of(q)->stats, STAT_DROP_NOMEM, 1);
        log_settle(q, how->lsn);
        return;
    }
    list_push(&q->ready, &e->node);
    q->ready_n++;
    q->bytes += bytes;
    if (UNLIKELY(was_over))
        dispatch_ready(q);
    if (UNLIKELY(was_over && q->ready_n == 1 && q->policy->bytes_max && q->bytes > q->policy->bytes_max))
        queue_purge(q, STAT_DROP_NOMEM); /* it was let in to be taken at once, and there was no memory to take it */
    queue_mark(q);
}

/* ---- dispatch ----------------------------------------------------------------------------------------------- */

void queue_mark(struct queue *q)
{
    if (q->is_dirty || q->is_dead || list_is_empty(&q->consumers) || (q->ready_n == 0 && !q->replay))
        return;
    struct shard *s = shard_of(q);
    q->is_dirty = 1;
    q->dirty_next = NULL;
    if (s->dirty_queue_last)
        s->dirty_queue_last->dirty_next = q;
    else
        s->dirty_queue_first = q;
    s->dirty_queue_last = q;
}

static struct consumer *only_consumer(const struct queue *q)
{
    const struct list_node *first = q->consumers.head.next;
    if (first == &q->consumers.head || first->next != &q->consumers.head)
        return NULL;
    return LIST_ITEM((struct list_node *)(uintptr_t)first, struct consumer, in_queue);
}

static bool wants_ack(const struct consumer *c, uint8_t qos)
{
    return c->mode == ACK_EACH || c->mode == ACK_CUMULATIVE || (c->mode == ACK_BY_QOS && qos > 0);
}

bool queue_is_direct(const struct queue *q, uint8_t qos)
{
    if (q->ready_n != 0 || q->replay)
        return false;
    const struct consumer *c = only_consumer(q);
    return c && !wants_ack(c, MIN(qos, c->qos)) && consumer_has_credit(c);
}

static enum err hand_over(struct consumer *c, const struct delivery *d)
{
    struct conn *conn = c->session->conn;
    struct shard *s = conn->shard;
    enum err e = conn->adapter->on_deliver(conn, d);
    if (UNLIKELY(e == ERR_NOMEM && d->ticket))
        return ERR_OK; /* stays in flight: the connection is being closed for it */
    if (UNLIKELY(e != ERR_OK)) {
        stat_add(&s->stats, e == ERR_NOMEM ? STAT_DROP_NOMEM : STAT_DROP_TOO_BIG, 1);
        return e;
    }
    stat_add(&s->stats, STAT_DELIVERED, 1);
    s->turn_out += d->msg->payload.len + d->msg->topic.len;
    return ERR_OK;
}

void queue_deliver_direct(struct queue *q, const struct msgview *v, uint32_t set, uint8_t qos)
{
    struct binding_set plain;
    struct consumer *c = only_consumer(q);
    struct delivery d = {.msg = v,
                         .set = queue_set_get(q, set, &plain),
                         .consumer = c,
                         .now = shard_of(q)->now,
                         .qos = MIN(qos, c->qos)};
    d.retain = d.set->retain_as_published && (v->flags & MSG_RETAIN);
    (void)hand_over(c, &d); /* a message too large for this peer is counted and gone */
}

/* next_consumer: the first in rotation with credit, moved to the end; NULL when none has. */
static struct consumer *next_consumer(struct queue *q)
{
    LIST_EACH(&q->consumers, it)
    {
        struct consumer *c = LIST_ITEM(it, struct consumer, in_queue);
        if (!consumer_has_credit(c))
            continue;
        if (q->consumers.head.prev != it) {
            list_del(it);
            list_push(&q->consumers, it);
        }
        return c;
    }
    return NULL;
}

/* take_flight: from ready to the session's in-flight list, with a ticket. False when there is no ticket. */
static bool take_flight(struct entry *e, struct consumer *c, uint8_t qos)
{
    struct session *s = c->session;
    uint32_t ticket = tickets_take(s, e);
    if (ticket == 0)
        return false;
    ready_unlink(e);
    e->state = ENTRY_SENT;
    e->ticket = ticket;
    e->session = s;
    e->consumer = c;
    e->counted = 1;
    e->sent_qos = qos;
    e->by_qos = c->mode == ACK_BY_QOS;
    list_push(&s->inflight, &e->node);
    s->sent_n++;
    c->inflight_n++;
    e->queue->inflight_n++;
    return true;
}

/* entry_delivery: what the adapter is told about an entry. The views live as long as v and plain. */
static void entry_delivery(const struct entry *e, struct consumer *c, uint8_t qos, struct msgview *v,
                           struct binding_set *plain, struct delivery *d)
{
    msg_view(e->msg, v);
    *d = (struct delivery){.msg = v,
                           .set = queue_set_get(e->queue, e->set, plain),
                           .consumer = c,
                           .now = shard_of(e->queue)->now,
                           .ticket = e->ticket,
                           .qos = qos,
                           .attempts = e->attempts,
                           .is_retained = e->retained,
                           .redelivered = e->attempts > 0};
    d->retain = e->retained || (d->set->retain_as_published && (v->flags & MSG_RETAIN));
}

static bool deliver(struct entry *e, struct consumer *c)
{
    uint8_t qos = MIN(e->qos, c->qos);
    bool acked = wants_ack(c, qos);
    if (acked && !take_flight(e, c, qos))
        return false;
    struct msgview v;
    struct binding_set plain;
    struct delivery d;
    entry_delivery(e, c, qos, &v, &plain, &d);
    if (e->attempts > 0)
        stat_add(&shard_of(e->queue)->stats, STAT_REDELIVERED, 1);
    if (e->attempts < UINT8_MAX)
        e->attempts++;
    enum err err = hand_over(c, &d);
    if (!acked || err != ERR_OK)
        entry_settle(e);
    return true;
}

void queue_deliver_again(struct entry *e)
{
    struct msgview v;
    struct binding_set plain;
    struct delivery d;
    entry_delivery(e, e->consumer, e->sent_qos, &v, &plain, &d);
    d.redelivered = true;
    if (e->attempts < UINT8_MAX)
        e->attempts++;
    stat_add(&shard_of(e->queue)->stats, STAT_REDELIVERED, 1);
    if (hand_over(e->consumer, &d) != ERR_OK)
        entry_settle(e);
}

bool queue_has_taker(const struct queue *q)
{
    LIST_EACH(&q->consumers, it)
    if (consumer_has_credit(LIST_ITEM(it, struct consumer, in_queue)))
        return true;
    return false;
}

/* dispatch_ready: what waits now; retained messages that still have to come are not fed in. */
static void dispatch_ready(struct queue *q)
{
    while (!list_is_empty(&q->ready)) {
        struct consumer *c = next_consumer(q);
        if (!c)
            return;
        struct entry *e = LIST_ITEM(list_first(&q->ready), struct entry, node);
        if (e->timed && e->msg->expires_at <= shard_of(q)->now) {
            queue_expire(e); /* [MQTT-3.3.2-5] its delivery has not begun */
            continue;
        }
        if (!deliver(e, c)) {
            if (c->session->tickets.n < c->session->ticket_max)
                conn_close(c->session->conn, CLOSE_NOMEM); /* there is a number, but no memory to note it */
            return;
        }
    }
}

/* feed: lets retained messages in behind what waits. False when there is nothing to dispatch for now. */
static bool feed(struct queue *q)
{
    enum { REPLAY_BATCH = 256 };
    if (q->replay)
        (void)replay_feed(q, REPLAY_BATCH);
    if (!list_is_empty(&q->ready))
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
        dispatch_ready(q);
        if (!q->replay || !list_is_empty(&q->ready))
            return;
    }
}

/* ---- for tests ---------------------------------------------------------------------------------------------- */

void queue_check(const struct queue *q)
{
    uint32_t n = 0;
    uint64_t bytes = 0, last = 0;
    LIST_EACH(&q->ready, it)
    {
        const struct entry *e = LIST_ITEM(it, struct entry, node);
        BUG_ON(e->queue != q || e->state != ENTRY_READY || !e->msg || e->session);
        BUG_ON(n > 0 && e->seq <= last);
        last = e->seq;
        bytes += msg_bytes(e->msg);
        n++;
    }
    BUG_ON(n != q->ready_n || bytes != q->bytes);
    LIST_EACH(&q->consumers, cit)
    BUG_ON(LIST_ITEM(cit, struct consumer, in_queue)->queue != q);
}
