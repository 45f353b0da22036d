/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry.c: what happens to one message in one queue.
 *
 *     entry_push ─► ready ─► (dispatch.c: in flight) ─┬─ entry_settle                 acknowledged
 *                     ▲                               ├─ entry_die ─► dead letter, or counted
 *                     ├── queue_requeue ◄─────────────┤  nack, or the consumer left
 *                     │       └─► waiting ─► ready    │  its next attempt comes later
 *                     └── lapse ◄─────────────────────┘  no answer in time
 *
 * What its messages may need a timer for (queue->needs_timer) puts a struct entry_timer around every entry; that one
 * timer is for the expiry, the next attempt or the answer, whichever the state asks for. Queues with priorities have
 * one ready list per level and a bit for each that is not empty.
 *
 * Invariants
 *   1. An entry is in exactly one list: ready (READY), waiting (WAITING) or session->inflight (SENT, RECEIVED, LAPSED).
 *   2. A ready list is sorted by seq; a requeued entry keeps its seq, so it is where it was.
 *   3. Every entry ends in entry_settle, and every end that is not an acknowledgement is counted under a DROP_ name or
 *      is a dead letter.
 *   4. A message that lapsed is in two entries, but only one of them has it: the other keeps the ticket.
 * Cost    64 bytes per entry (96 with a timer), pooled; O(1), but for requeue: O(entries before it).
 * Thread  own shard only.
 * Spec    MQTT 5 §4.4, §3.3.2.3.3 (expiry); STOMP 1.2 §ACK, §NACK.
 */
#include "core/entry.h"

#include "core/entry_page.h"
#include "core/hold.h"
#include "core/queue.h"
#include "core/session.h"
#include "core/shard.h"

enum { PAGE_OUT_EVERY = 256 /* messages that come to a queue, when memory is short */ };

static struct shard *shard_of(const struct queue *q)
{
    return q->vhost->shard;
}

/* ---- ready entries ------------------------------------------------------------------------------------------ */

unsigned queue_level_of(const struct queue *q, const struct msg *m)
{
    return MIN(m->priority, q->policy->priority_max);
}

unsigned entry_level(const struct entry *e)
{
    if (entry_is_page(e))
        return CONTAINER_OF(e, const struct page, t.entry)->level;
    return queue_level_of(e->at.queue, e->msg);
}

struct list *queue_ready_list(struct queue *q, unsigned level)
{
    struct levels *l = queue_levels(q);
    return l ? &l->level[level] : &q->ready;
}

/* ready_list: where an entry of this message stands. */
static struct list *ready_list(struct queue *q, const struct msg *m)
{
    return queue_ready_list(q, queue_levels(q) ? queue_level_of(q, m) : 0);
}

/* entered, left: a level's bit says whether it has entries. */
static void entered(struct queue *q, const struct msg *m)
{
    struct levels *l = queue_levels(q);
    unsigned i = l ? queue_level_of(q, m) : 0;
    if (l)
        l->used[i / 64] |= UINT64_C(1) << i % 64;
    q->ready_n++;
    q->bytes += msg_bytes(m);
}

void queue_left(struct queue *q, unsigned level, uint32_t n, uint64_t bytes)
{
    struct levels *l = queue_levels(q);
    if (l && list_is_empty(&l->level[level]))
        l->used[level / 64] &= ~(UINT64_C(1) << level % 64);
    q->ready_n -= n;
    q->bytes -= bytes;
}

static struct entry *first_of(struct list *l)
{
    struct list_node *first = list_first(l);
    return first ? LIST_ITEM(first, struct entry, node) : NULL;
}

struct entry *queue_first(const struct queue *q)
{
    struct levels *l = queue_levels(q);
    if (LIKELY(!l))
        return first_of((struct list *)(uintptr_t)&q->ready);
    for (unsigned w = ARRAY_N(l->used); w-- > 0;)
        if (l->used[w])
            return first_of(&l->level[w * 64 + 63 - (unsigned)__builtin_clzll(l->used[w])]);
    return NULL;
}

struct entry *queue_lowest(const struct queue *q)
{
    struct levels *l = queue_levels(q);
    if (!l)
        return queue_first(q);
    for (unsigned w = 0; w < ARRAY_N(l->used); w++)
        if (l->used[w])
            return first_of(&l->level[w * 64 + (unsigned)__builtin_ctzll(l->used[w])]);
    return NULL;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

/* entry_take: a block for an entry of q, which the caller fills; timed: with a timer around it. */
static struct entry *entry_take(struct queue *q, bool timed)
{
    struct shard *s = shard_of(q);
    struct entry *e;
    if (timed) {
        struct entry_timer *t = pool_take(&s->timed_entries);
        if (!t)
            return NULL;
        t->timer = (struct wtimer){0};
        t->expires_at = 0;
        e = &t->entry;
    } else {
        e = pool_take(&s->entries);
        if (!e)
            return NULL;
    }
    stat_add(&s->stats, STAT_ENTRIES, 1);
    return e;
}

/* expiry_of: when a message that waits since `at` (0: now) is too old for q: by itself or by the queue's TTL; 0: never.
 */
static mono_ms expiry_of(const struct queue *q, const struct msg *m, wall_ms at)
{
    if (LIKELY(!q->policy->has_ttl))
        return m->expires_at;
    const struct shard *s = shard_of(q);
    mono_ms by_ttl = at ? store_mono(s->store, at + q->policy->ttl_ms) : s->now + q->policy->ttl_ms;
    return m->expires_at ? MIN(m->expires_at, by_ttl) : by_ttl;
}

static void arm(struct entry *e, mono_ms due)
{
    struct shard *s = shard_of(entry_queue(e));
    shard_arm(s, &entry_timer(e)->timer, TIMER_ENTRY, due);
}

/* make_pages: memory is short, and q grows, at the level of m. */
static NOINLINE void make_pages(struct queue *q, const struct msg *m)
{
    enum { BUDGET = 8 * PAGE_OUT_EVERY };
    uint64_t paged;
    (void)queue_page_out(q, queue_levels(q) ? queue_level_of(q, m) : 0, BUDGET, &paged);
}

struct entry *entry_push(struct queue *q, const struct msg *m, const struct push *how)
{
    bool timed = queue_times(q, m);
    if (UNLIKELY(q->seq_next % PAGE_OUT_EVERY == 0) && memory_is(&shard_of(q)->memory, MEMORY_SOFT))
        make_pages(q, m);
    struct entry *e = entry_take(q, timed);
    if (!e)
        return NULL;
    *e = (struct entry){.msg = msg_hold(m),
                        .at.queue = q,
                        .seq = q->seq_next++,
                        .lsn = how->lsn,
                        .set = how->set,
                        .qos = how->qos,
                        .state = ENTRY_READY,
                        .timed = timed,
                        .retained = how->retained,
                        .in_unit = how->in_unit && how->lsn != 0};
    if (timed) {
        entry_timer(e)->expires_at = expiry_of(q, m, how->at);
        if (entry_timer(e)->expires_at)
            arm(e, entry_timer(e)->expires_at);
    }
    if (how->set >= SET_PLAIN_N)
        q->set[how->set - SET_PLAIN_N].refs++;
    list_push(ready_list(q, m), &e->node); /* both: [MQTT-4.6.0-5], [MQTT-4.6.0-6] behind all that came before */
    entered(q, m);
    return e;
}

/* entry_free: it is in no list any more. */
static void entry_free(struct shard *s, struct entry *e)
{
    stat_sub(&s->stats, STAT_ENTRIES, 1);
    if (e->timed) {
        struct entry_timer *t = CONTAINER_OF(e, struct entry_timer, entry);
        wheel_disarm(&s->wheel, &t->timer);
        pool_give(&s->timed_entries, t);
        return;
    }
    pool_give(&s->entries, e);
}

void entry_pack(struct entry *e)
{
    struct shard *s = shard_of(e->at.queue);
    list_del(&e->node);
    msg_drop(e->msg);
    stat_add(&s->stats, STAT_ENTRIES, 1); /* it still waits */
    entry_free(s, e);
}

struct entry *entry_unpack(struct queue *q, const struct msg *m, const struct page_item *it, struct list_node *before)
{
    bool timed = queue_times(q, m) || it->expires_at;
    struct entry *e = entry_take(q, timed);
    if (!e)
        return NULL;
    stat_sub(&shard_of(q)->stats, STAT_ENTRIES, 1);
    *e = (struct entry){.msg = m,
                        .at.queue = q,
                        .seq = it->seq,
                        .lsn = it->lsn,
                        .set = it->set,
                        .attempts = it->attempts,
                        .returns = it->returns,
                        .qos = it->qos,
                        .state = ENTRY_READY,
                        .timed = timed,
                        .retained = it->retained};
    if (it->expires_at) {
        entry_timer(e)->expires_at = it->expires_at;
        arm(e, it->expires_at);
    }
    list_insert_before(before, &e->node);
    return e;
}

bool entry_take_up(struct entry *e, struct consumer *c, uint32_t ticket, bool is_received)
{
    struct session *s = c->session;
    struct flight *f = tickets_claim(s, ticket);
    if (!f)
        return false;
    f->of.entry = e;
    f->is_bare = 0;
    entry_leave_ready(e);
    e->state = is_received ? ENTRY_RECEIVED : ENTRY_SENT;
    e->ticket = ticket;
    e->at.consumer = c;
    e->sent_qos = is_received ? 2 : MIN(e->qos, c->qos);
    e->by_qos = 1;
    e->attempts = MAX(e->attempts, 1);
    c->inflight_n++;
    c->queue->inflight_n++;
    list_push(&s->inflight, &e->node);
    if (e->timed)
        wheel_disarm(&shard_of(c->queue)->wheel, &entry_timer(e)->timer);
    if (is_received) {
        msg_drop(e->msg);
        e->msg = NULL;
    }
    return true;
}

void entry_leave_ready(struct entry *e)
{
    struct queue *q = e->at.queue;
    unsigned level = queue_levels(q) ? queue_level_of(q, e->msg) : 0;
    if (UNLIKELY(q->pages != NULL))
        queue_pages_left(q, level, &e->node);
    list_del(&e->node);
    queue_left(q, level, 1, msg_bytes(e->msg));
}

static void leave_waiting(struct entry *e)
{
    list_del(&e->node);
    queue_own(e->at.queue)->waiting_n--;
    stat_sub(&shard_of(e->at.queue)->stats, STAT_RETRYING, 1);
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
    hold_left(s, e);
    struct flight *f = tickets_get(s, e->ticket);
    BUG_ON(!f || flight_entry(f) != e);
    flight_give(c, f, e->counted);
    e->counted = 0;
    e->in_tx = 0;
    e->held = 0;
    e->at.queue = q;
}

void queue_log_settle(struct queue *q, lsn_t lsn)
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
    else if (e->state == ENTRY_WAITING)
        leave_waiting(e);
    else
        land(e);
    q->lapsed_n -= e->state == ENTRY_LAPSED;
    queue_log_settle(q, e->lsn);
    if (e->msg)
        msg_drop(e->msg);
    if (e->set >= SET_PLAIN_N)
        q->set[e->set - SET_PLAIN_N].refs--;
    entry_free(s, e);
}

void entry_die(struct entry *e, enum death why)
{
    struct queue *q = entry_queue(e);
    if (entry_is_page(e)) {
        page_die(entry_page(e), why);
        return;
    }
    if (!q->is_dead && dead_letter_add(q, e->msg, e->lsn, why))
        e->lsn = 0; /* settled by the record that publishes it again */
    else
        stat_add(&shard_of(q)->stats, death_stat(why), 1);
    entry_settle(e);
}

/* ---- coming back -------------------------------------------------------------------------------------------- */

/* make_ready: at its place by seq; mostly that is in front. */
static void make_ready(struct entry *e)
{
    struct queue *q = e->at.queue;
    struct list *l = ready_list(q, e->msg);
    struct list_node *at = l->head.next;
    while (at != &l->head && LIST_ITEM(at, struct entry, node)->seq < e->seq) {
        struct entry *before = LIST_ITEM(at, struct entry, node);
        at = entry_is_page(before) ? page_part(entry_page(before), e->seq) : at->next;
    }
    list_insert_before(at, &e->node);
    entered(q, e->msg);
    e->state = ENTRY_READY;
    if (UNLIKELY(q->pages != NULL))
        q->pages->has_more = true;
    if (e->timed)
        arm(e, entry_timer(e)->expires_at ? entry_timer(e)->expires_at : MONO_NEVER);
    queue_mark(q);
}

/* make_wait: until its next attempt, if it lives so long. */
static void make_wait(struct entry *e)
{
    struct queue *q = e->at.queue;
    struct entry_timer *t = entry_timer(e);
    mono_ms due = shard_of(q)->now + queue_policy_retry(q->policy, e->returns);
    list_push(&queue_own(q)->waiting, &e->node);
    queue_own(q)->waiting_n++;
    stat_add(&shard_of(q)->stats, STAT_RETRYING, 1);
    e->state = ENTRY_WAITING;
    arm(e, t->expires_at ? MIN(due, t->expires_at) : due);
}

/* log_return: it has no packet id any more, and came back so often. */
static void log_return(const struct entry *e)
{
    struct queue *q = e->at.queue;
    if (e->lsn)
        shard_append(shard_of(q), &(struct store_rec){
                                      .kind = STORE_RETURNED, .queue = q->number, .of = e->lsn, .returns = e->returns});
}

/* come_back: an entry that is in no list is its queue's again. */
static void come_back(struct entry *e, bool failed)
{
    struct queue *q = e->at.queue;
    const struct queue_policy *p = q->policy;
    e->ticket = 0;
    if (e->returns < UINT16_MAX)
        e->returns++;
    log_return(e);
    bool is_over = p->has_delivery_limit && e->returns > p->delivery_limit;
    bool is_late = entry_is_expired(e, shard_of(q)->now);
    if (UNLIKELY(failed && p->retry_min_ms && !is_over && !is_late)) {
        make_wait(e);
        return;
    }
    make_ready(e);
    if (UNLIKELY(is_over))
        entry_die(e, DEATH_DELIVERY_LIMIT);
    else if (UNLIKELY(is_late))
        entry_die(e, DEATH_EXPIRED);
}

void queue_take_back(struct entry *e)
{
    land(e);
    e->ticket = 0;
    log_return(e);
    make_ready(e);
}

void queue_requeue(struct entry *e, bool failed)
{
    land(e);
    come_back(e, failed);
}

/* lapse: the answer did not come in time. Another entry takes the message back; this one stays with its ticket, until
 * the peer answers after all or leaves, and uses up its place, so that who does not answer gets no more and more. */
static void lapse(struct entry *e)
{
    enum { AGAIN_MS = 1000 };
    struct queue *q = entry_queue(e);
    struct shard *s = shard_of(q);
    struct entry *back = q->is_dead ? NULL : entry_take(q, true);
    if (!back) {
        if (!q->is_dead)
            arm(e, s->now + AGAIN_MS);
        return;
    }
    *back = (struct entry){.msg = e->msg,
                           .at.queue = q,
                           .seq = e->seq,
                           .lsn = e->lsn,
                           .set = e->set,
                           .attempts = e->attempts,
                           .returns = e->returns,
                           .qos = e->qos,
                           .timed = 1,
                           .retained = e->retained};
    entry_timer(back)->expires_at = entry_timer(e)->expires_at;
    e->msg = NULL;
    e->lsn = 0;
    e->set = 0;
    e->state = ENTRY_LAPSED;
    q->lapsed_n++;
    stat_add(&s->stats, STAT_LAPSED, 1);
    come_back(back, true);
}

void queue_entry_timer(struct entry *e)
{
    switch ((enum entry_state)e->state) {
    case ENTRY_READY:
        entry_die(e, DEATH_EXPIRED);
        return;
    case ENTRY_PAGE:
        page_timer(entry_page(e));
        return;
    case ENTRY_WAITING:
        leave_waiting(e);
        make_ready(e);
        if (entry_is_expired(e, shard_of(e->at.queue)->now))
            entry_die(e, DEATH_EXPIRED);
        return;
    case ENTRY_SENT:
        if (e->at.consumer->queue->policy->ack_ms && !e->by_qos && !e->in_tx)
            lapse(e);
        return; /* [MQTT-4.3.3-7] else, once its delivery has begun, it is finished */
    case ENTRY_RECEIVED:
    case ENTRY_LAPSED:
        return;
    }
}

void queue_await(struct entry *e)
{
    mono_ms ms = e->at.consumer->queue->policy->ack_ms;
    if (ms && e->timed && !e->by_qos)
        arm(e, shard_of(e->at.consumer->queue)->now + ms);
}
