/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c: what a message waits in.
 *
 *     queue_push      limits → entry at the end → marked for dispatch
 *     queue_dispatch  (end of turn) oldest ready entry → next consumer with credit → adapter->on_deliver
 *     queue_delete    when nobody can use it any more: what waits is dropped, what is in flight may still be answered
 *
 * What one entry goes through is core/entry.c. A queue with arguments of its own has a struct queue_own; all others
 * share a policy and pay nothing for what they do not use.
 *
 * Invariants
 *   1. ready_n and bytes count exactly what is ready; limits speak of ready entries.
 *   2. A queue is found by its name in one table: queues, groups or dsubs; others have no name.
 *   3. Nothing is delivered and nothing is freed while somebody else walks: dispatch runs in step 5, queues die in
 *      step 6.
 * Cost    64 bytes per entry (96 with a timer), pooled; push, dispatch and settle O(1); requeue O(entries before it).
 * Thread  own shard only.
 * Spec    MQTT 5 §4.4, §4.6 (order), §3.3.2.3.3 (expiry); STOMP 1.2 §ACK, §NACK.
 */
#include "core/queue.h"

#include "core/adapter.h"
#include "core/conn.h"
#include "core/entry_page.h"
#include "core/replay.h"
#include "core/session.h"
#include "core/shard.h"

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

static struct levels *levels_new(struct mem *mem, unsigned n)
{
    struct levels *l = mem_zalloc(mem, sizeof *l + n * sizeof l->level[0]);
    for (unsigned i = 0; l && i < n; i++)
        list_init(&l->level[i]);
    return l;
}

static struct slice copied_text(uint8_t **at, struct slice text)
{
    struct slice copy = slice_make(*at, text.len);
    if (text.len)
        memcpy(*at, text.p, text.len);
    *at += text.len;
    return copy;
}

/* own_new: a copy of policy, with everything a queue may need for it. */
static struct queue_own *own_new(struct mem *mem, const struct queue_policy *policy)
{
    struct queue_own *own = mem_zalloc(mem, sizeof *own + policy->dead_exchange.len + policy->dead_key.len);
    if (!own)
        return NULL;
    own->policy = *policy;
    uint8_t *at = own->bytes;
    own->policy.dead_exchange = copied_text(&at, policy->dead_exchange);
    own->policy.dead_key = copied_text(&at, policy->dead_key);
    list_init(&own->waiting);
    if (policy->priority_max) {
        own->levels = levels_new(mem, policy->priority_max + 1u);
        if (!own->levels) {
            mem_free(mem, own);
            return NULL;
        }
    }
    return own;
}

static void own_free(struct mem *mem, struct queue_own *own)
{
    if (own)
        mem_free(mem, own->levels);
    mem_free(mem, own);
}

/* new_queue: without a name, in no table. */
static struct queue *new_queue(struct vhost *v, const struct queue_policy *policy, bool copy_policy,
                               struct session *owner)
{
    struct mem *mem = shard_mem(v->shard, MEM_QUEUE);
    struct queue *q = mem_zalloc(mem, sizeof *q + (owner ? sizeof(struct consumer) : 0));
    if (!q)
        return NULL;
    q->policy = policy;
    if (copy_policy) {
        struct queue_own *own = own_new(mem, policy);
        if (!own) {
            mem_free(mem, q);
            return NULL;
        }
        own->queue = q;
        q->policy = &own->policy;
        q->own_policy = 1;
    }
    q->needs_timer = policy->has_ttl || policy->ack_ms || policy->retry_min_ms;
    q->vhost = v;
    q->owner = owner;
    q->has_seat = owner != NULL;
    list_init(&q->ready);
    list_init(&q->bindings);
    list_init(&q->consumers);
    return q;
}

/* table_of: where q is found by its name. */
static struct map *table_of(const struct queue *q)
{
    struct vhost *v = q->vhost;
    return q->is_group ? &v->groups : q->is_dsub ? &v->dsubs : &v->queues;
}

/* enlist: q is there. It goes again if its name cannot be noted. */
static struct queue *enlist(struct queue *q, struct slice name)
{
    struct vhost *v = q->vhost;
    if (name.len && set_name(q, name, table_of(q)) != ERR_OK) {
        struct mem *mem = shard_mem(v->shard, MEM_QUEUE);
        own_free(mem, queue_own(q));
        mem_free(mem, q);
        return NULL;
    }
    if (name.len && !q->is_group && !q->is_dsub)
        router_touch(&v->router); /* the default exchange routes by name */
    if (q->owner && q->own_policy)
        list_push(&q->owner->away->owned, &queue_own(q)->of_owner);
    q->number = v->shard->number_next++;
    list_push(&v->queues_all, &q->all);
    stat_add(&v->shard->stats, STAT_QUEUES, 1);
    stat_add(&v->shard->stats, STAT_GROUPS, q->is_group);
    stat_add(&v->shard->stats, STAT_DURABLE_SUBS, q->is_dsub);
    queue_used(q);
    return q;
}

struct queue *queue_new(struct vhost *v, struct slice name, const struct queue_policy *policy, bool copy_policy,
                        struct session *owner)
{
    struct queue *q = new_queue(v, policy, copy_policy, owner);
    return q ? enlist(q, name) : NULL;
}

struct queue *queue_new_group(struct vhost *v, struct slice key, const struct queue_policy *policy)
{
    struct queue *q = new_queue(v, policy, false, NULL);
    if (!q)
        return NULL;
    q->is_group = 1;
    return enlist(q, key);
}

struct queue *queue_new_dsub(struct vhost *v, struct slice key, const struct queue_policy *policy)
{
    struct queue *q = new_queue(v, policy, true, NULL);
    if (!q)
        return NULL;
    q->is_dsub = 1;
    return enlist(q, key);
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
    struct queue_own *own = queue_own(q);
    uint64_t n = 0;
    for (struct entry *e = queue_first(q); e; e = queue_first(q)) {
        bool is_page = entry_is_page(e);
        n += is_page ? page_settle(entry_page(e)) : 1;
        if (!is_page)
            entry_settle(e);
    }
    if (own) {
        LIST_EACH(&own->waiting, it)
        {
            entry_settle(LIST_ITEM(it, struct entry, node));
            n++;
        }
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
    struct queue_own *own = queue_own(q);
    if (own) {
        wheel_disarm(&s->wheel, &own->unused);
        own->active = NULL;
        if (list_in(&own->of_owner))
            list_del(&own->of_owner);
    }
    if (q->name)
        BUG_ON(map_del(table_of(q), queue_name(q)) != q);
    if (q->name && !q->is_group && !q->is_dsub)
        router_touch(&q->vhost->router);
    if (q->is_logged)
        shard_append(s, &(struct store_rec){.kind = STORE_QUEUE_END, .queue = q->number});
    memory_skip(s, q);
    list_del(&q->all);
    list_push(&s->dead_queues, &q->all);
    stat_sub(&s->stats, STAT_QUEUES, 1);
    stat_sub(&s->stats, STAT_GROUPS, q->is_group);
    stat_sub(&s->stats, STAT_DURABLE_SUBS, q->is_dsub);
}

void queue_used(struct queue *q)
{
    struct queue_own *own = queue_own(q);
    if (!own || own->policy.expires_ms == 0 || q->is_dead)
        return;
    mono_ms due = queue_is_deserted(q) ? shard_of(q)->now + own->policy.expires_ms : MONO_NEVER;
    shard_arm(shard_of(q), &own->unused, TIMER_QUEUE, due);
}

void queue_unused(struct queue_own *own)
{
    if (queue_is_deserted(own->queue))
        queue_delete(own->queue);
}

void queue_pause(struct queue *q)
{
    q->is_paused = 1;
}

void queue_resume(struct queue *q)
{
    q->is_paused = 0;
    queue_mark(q);
}

void queue_free(struct queue *q)
{
    struct mem *mem = shard_mem(shard_of(q), MEM_QUEUE);
    struct queue_own *own = queue_own(q);
    BUG_ON(q->ready_n != 0 || q->inflight_n != 0 || (own && own->waiting_n != 0));
    queue_pages_free(q);
    list_del(&q->all);
    for (uint32_t i = 0; i < q->set_n; i++)
        mem_free(mem, q->set[i].sub_id);
    mem_free(mem, q->set);
    mem_free(mem, q->name);
    own_free(mem, own);
    mem_free(mem, q);
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
    return q->policy->overflow >= OVERFLOW_REJECT && queue_is_over(q, bytes);
}

/* no_room: a message that comes is the one to go. */
static void no_room(struct queue *q, const struct msg *m, lsn_t lsn, enum stat_id why)
{
    if (dead_letter_add(q, m, lsn, DEATH_MAXLEN))
        return;
    stat_add(&shard_of(q)->stats, why, 1);
    queue_log_settle(q, lsn);
}

/* make_room: by the queue's policy. False: the new message is the one to go, and has gone. */
static bool make_room(struct queue *q, const struct msg *m, lsn_t lsn)
{
    uint64_t bytes = msg_bytes(m);
    queue_dispatch_ready(q); /* a consumer with credit empties it before anything is lost */
    if (q->ready_n == 0 && queue_has_taker(q))
        return true;                                            /* larger than the whole limit, but it does not stay */
    if (q->policy->bytes_max && bytes > q->policy->bytes_max) { /* no room can be made for it */
        no_room(q, m, lsn, STAT_DROP_FULL);
        return false;
    }
    while (queue_is_over(q, bytes)) {
        struct entry *oldest = queue_lowest(q);
        bool drops_head = q->policy->overflow == OVERFLOW_DROP_HEAD;
        if (!drops_head || !oldest || entry_level(oldest) > queue_level_of(q, m)) {
            no_room(q, m, lsn, drops_head ? STAT_DROP_HEAD : STAT_DROP_FULL);
            return false;
        }
        entry_die(oldest, DEATH_MAXLEN);
    }
    return true;
}

void queue_push(struct queue *q, const struct msg *m, const struct push *how)
{
    uint64_t bytes = msg_bytes(m);
    bool was_over = queue_is_over(q, bytes) && q->policy->overflow < OVERFLOW_REJECT;
    if (UNLIKELY(was_over) && !make_room(q, m, how->lsn))
        return;
    struct entry *e = entry_push(q, m, how);
    if (!e) {
        stat_add(&shard_of(q)->stats, STAT_DROP_NOMEM, 1);
        queue_log_settle(q, how->lsn);
        return;
    }
    mono_ms now = shard_of(q)->now;
    if (UNLIKELY(entry_is_expired(e, now))) { /* a TTL of 0: now or never */
        if (entry_is_expired(e, now - 1) || e != queue_first(q) || !queue_deliver_now(q, e))
            entry_die(e, DEATH_EXPIRED);
        return;
    }
    if (UNLIKELY(was_over))
        queue_dispatch_ready(q);
    if (UNLIKELY(was_over && q->ready_n == 1 && q->policy->bytes_max && q->bytes > q->policy->bytes_max))
        /* It was let in to be taken at once, but there was no memory to take it, or what is before it waits. */
        queue_purge(q, queue_has_taker(q) ? STAT_DROP_FULL : STAT_DROP_NOMEM);
    queue_mark(q);
}

uint64_t queue_copy(const struct queue *q, struct queue *to)
{
    struct levels *l = queue_levels(q);
    uint64_t n = 0;
    for (unsigned i = l ? q->policy->priority_max + 1u : 1; i-- > 0;) {
        LIST_EACH(l ? &l->level[i] : &q->ready, it)
        {
            struct entry *e = LIST_ITEM(it, struct entry, node);
            if (entry_is_page(e)) {
                n += page_copy(entry_page(e), to) ? entry_page(e)->n : 1; /* 1: as one that was not pushed */
                continue;
            }
            struct push how = {.set = SET_COPIED, .qos = e->qos, .retained = e->retained};
            queue_push(to, e->msg, &how);
            struct list_node *last = list_last(&to->ready);
            if (last)
                LIST_ITEM(last, struct entry, node)->attempts = e->attempts;
            n++;
        }
    }
    return n;
}

/* ---- dispatch ----------------------------------------------------------------------------------------------- */

void queue_mark_waiting(struct queue *q)
{
    if (q->is_dirty || q->is_dead || q->is_paused || list_is_empty(&q->consumers))
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

static uint32_t check_ready(const struct queue *q, struct list *ready, uint64_t *bytes)
{
    uint32_t n = 0;
    uint64_t last = 0;
    LIST_EACH(ready, it)
    {
        struct entry *e = LIST_ITEM(it, struct entry, node);
        if (entry_is_page(e)) {
            BUG_ON(n > 0 && e->seq <= last);
            last = entry_page(e)->has_overlap ? e->seq : entry_page(e)->seq_last;
            page_check(q, entry_page(e), &n, bytes);
            continue;
        }
        BUG_ON(e->at.queue != q || e->state != ENTRY_READY || !e->msg);
        BUG_ON(n > 0 && e->seq <= last);
        last = e->seq;
        *bytes += msg_bytes(e->msg);
        n++;
    }
    return n;
}

void queue_check(const struct queue *q)
{
    struct queue_own *own = queue_own(q);
    struct levels *l = queue_levels(q);
    uint64_t bytes = 0;
    uint32_t n = check_ready(q, (struct list *)(uintptr_t)&q->ready, &bytes), waiting_n = 0;
    BUG_ON(l && n != 0);
    for (unsigned i = 0; l && i <= q->policy->priority_max; i++) {
        uint32_t here = check_ready(q, &l->level[i], &bytes);
        BUG_ON((here != 0) != ((l->used[i / 64] >> i % 64 & 1) != 0));
        n += here;
    }
    BUG_ON(n != q->ready_n || bytes != q->bytes);
    if (own) {
        LIST_EACH(&own->waiting, it)
        {
            const struct entry *e = LIST_ITEM(it, struct entry, node);
            BUG_ON(e->at.queue != q || e->state != ENTRY_WAITING || !e->timed);
            waiting_n++;
        }
        BUG_ON(waiting_n != own->waiting_n);
    }
    int priority = INT8_MAX;
    LIST_EACH(&q->consumers, cit)
    {
        const struct consumer *c = LIST_ITEM(cit, struct consumer, in_queue);
        BUG_ON(c->queue != q || c->priority > priority);
        priority = c->priority;
    }
}
