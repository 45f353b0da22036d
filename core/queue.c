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

/* set_name: q is found by name in `table`. ERR_NOMEM: it has none. */
static enum err set_name(struct queue *q, struct slice name, struct map *table)
{
    struct mem *mem = shard_mem(shard_of(q), MEM_QUEUE);
    BUG_ON(name.len > UINT32_MAX);
    q->name = mem_dup(mem, name.p, name.len);
    q->name_len = (uint32_t)name.len;
    if (q->name && map_put(table, q) == ERR_OK)
        return ERR_OK;
    mem_free(mem, q->name);
    q->name = NULL;
    q->name_len = 0;
    return ERR_NOMEM;
}

struct queue *queue_new(struct vhost *v, struct slice name, const struct queue_policy *policy, bool copy_policy,
                        struct session *owner)
{
    struct mem *mem = shard_mem(v->shard, MEM_QUEUE);
    struct queue_policy *own = NULL;
    struct queue *q = mem_zalloc(mem, sizeof *q + (owner ? sizeof(struct consumer) : 0));
    if (!q)
        return NULL;
    q->vhost = v;
    q->owner = owner;
    q->has_seat = owner != NULL;
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
        if (set_name(q, name, &v->queues) != ERR_OK)
            goto fail;
        router_touch(&v->router); /* the default exchange routes by name */
    }
    q->number = v->shard->number_next++;
    list_push(&v->queues_all, &q->all);
    stat_add(&v->shard->stats, STAT_QUEUES, 1);
    return q;
fail:
    mem_free(mem, own);
    mem_free(mem, q);
    return NULL;
}

struct queue *queue_new_group(struct vhost *v, struct slice key, const struct queue_policy *policy)
{
    struct queue *q = queue_new(v, (struct slice){0}, policy, false, NULL);
    if (!q)
        return NULL;
    if (set_name(q, key, &v->groups) != ERR_OK) {
        queue_delete(q);
        return NULL;
    }
    q->is_group = 1;
    stat_add(&v->shard->stats, STAT_GROUPS, 1);
    return q;
}

bool queue_is_durable(const struct queue *q)
{
    if (!q->policy->durable)
        return false;
    return q->owner ? session_is_durable(q->owner) : !q->is_group || q->is_logged;
}

bool queue_is_watched(const struct queue *q)
{
    return q->owner ? q->owner->conn != NULL : !list_is_empty(&q->consumers);
}

struct consumer *queue_seat(struct queue *q)
{
    struct consumer *seat = (struct consumer *)(void *)(q + 1);
    return q->has_seat && !seat->queue ? seat : NULL;
}

uint64_t queue_purge(struct queue *q, enum stat_id why)
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

/* cancel_away: members that are not in the list are found by asking every session; few queues end with one. */
static void cancel_away(struct queue *q)
{
    LIST_EACH(&shard_of(q)->sessions, it)
    {
        struct consumer *k = member_get(q, LIST_ITEM(it, struct session, all));
        if (k)
            consumer_cancel(k);
    }
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
    if (UNLIKELY(q->away_n != 0))
        cancel_away(q);
    queue_purge(q, STAT_DROP_CLOSED);
    if (q->is_group) {
        BUG_ON(map_del(&q->vhost->groups, queue_name(q)) != q);
        stat_sub(&s->stats, STAT_GROUPS, 1);
        if (q->is_logged)
            shard_append(s, &(struct store_rec){.kind = STORE_QUEUE_END, .queue = q->number});
    } else if (q->name) {
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

const struct binding_set queue_plain_set[SET_PLAIN_N] = {
    {.qos = 0},
    {.qos = 1},
    {.qos = 2},
    {.qos = 0, .retain_as_published = 1},
    {.qos = 1, .retain_as_published = 1},
    {.qos = 2, .retain_as_published = 1},
};

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
                        .at.queue = q,
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

void entry_leave_ready(struct entry *e)
{
    struct queue *q = e->at.queue;
    list_del(&e->node);
    q->ready_n--;
    q->bytes -= msg_bytes(e->msg);
}

/* land: off the session's list, and its ticket, credit and quota given back. The entry is its queue's again. */
static void land(struct entry *e)
{
    struct consumer *c = e->at.consumer;
    struct session *s = c->session;
    struct queue *q = c->queue;
    if (UNLIKELY(s->resend == e)) {
        struct list_node *next = list_next(&s->inflight, &e->node);
        s->resend = next ? LIST_ITEM(next, struct entry, node) : NULL;
    }
    list_del(&e->node);
    struct flight *f = tickets_get(s, e->ticket);
    BUG_ON(!f || flight_entry(f) != e);
    flight_give(c, f, e->counted);
    e->counted = 0;
    e->at.queue = q;
}

static void log_settle(struct queue *q, lsn_t lsn)
{
    if (lsn)
        shard_append(shard_of(q), &(struct store_rec){.kind = STORE_SETTLE, .queue = q->number, .of = lsn});
}

void entry_settle(struct entry *e)
{
    struct queue *q = entry_queue(e);
    struct shard *s = shard_of(q);
    if (e->state == ENTRY_READY)
        entry_leave_ready(e);
    else
        land(e);
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
        return; /* [MQTT-4.3.3-7] once its delivery has begun, it is finished */
    stat_add(&shard_of(e->at.queue)->stats, STAT_DROP_EXPIRED, 1);
    entry_settle(e);
}

void queue_requeue(struct entry *e)
{
    struct queue *q = entry_queue(e);
    land(e);
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
    queue_dispatch_ready(q); /* a consumer with credit empties it before anything is lost */
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
    list_push(&q->ready, &e->node); /* both: [MQTT-4.6.0-5], [MQTT-4.6.0-6] behind all that came before */
    q->ready_n++;
    q->bytes += bytes;
    if (UNLIKELY(was_over))
        queue_dispatch_ready(q);
    if (UNLIKELY(was_over && q->ready_n == 1 && q->policy->bytes_max && q->bytes > q->policy->bytes_max))
        queue_purge(q, STAT_DROP_NOMEM); /* it was let in to be taken at once, and there was no memory to take it */
    queue_mark(q);
}

/* ---- dispatch ----------------------------------------------------------------------------------------------- */

void queue_mark_waiting(struct queue *q)
{
    if (q->is_dirty || q->is_dead || list_is_empty(&q->consumers))
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

/* ---- for tests ---------------------------------------------------------------------------------------------- */

void queue_check(const struct queue *q)
{
    uint32_t n = 0;
    uint64_t bytes = 0, last = 0;
    LIST_EACH(&q->ready, it)
    {
        const struct entry *e = LIST_ITEM(it, struct entry, node);
        BUG_ON(e->at.queue != q || e->state != ENTRY_READY || !e->msg);
        BUG_ON(n > 0 && e->seq <= last);
        last = e->seq;
        bytes += msg_bytes(e->msg);
        n++;
    }
    BUG_ON(n != q->ready_n || bytes != q->bytes);
    LIST_EACH(&q->consumers, cit)
    BUG_ON(LIST_ITEM(cit, struct consumer, in_queue)->queue != q);
}
