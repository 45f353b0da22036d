/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twin_queue.c: one queue of the twin: limits, expiry, returns, and what is to be delivered next.
 *
 *     twin_push ─► READY ─► GOING ─► SENT ─► answered          (twin_turn.c finds out who got what is GOING)
 *                    ▲                  │
 *                    ├── WAITING ◄──────┤ NACK or late answer, with a retry delay
 *                    └──────────────────┘
 *
 * Invariants
 *   1. copy[0 .. copy_n) are all copies of the queue in any state, as they came: none loses its place.
 *   2. A copy leaves through twin_copy_end alone, and whoever calls that has counted it.
 *   3. A limit speaks of what is READY.
 * Cost    everything is a search: queues hold some dozens.
 */
#include "tests/sim/twin_in.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/model.h"

void twin_fail(struct twin *t, const char *fmt, ...)
{
    if (t->why[0])
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(t->why, sizeof(t->why), fmt, args);
    va_end(args);
}

void twin_policy_init(struct twin_policy *p)
{
    *p = (struct twin_policy){.overflow = TWIN_REJECT, .durable = true, .ack_ms = 1800000};
}

/* ---- being there --------------------------------------------------------------------------------------------- */

struct twin_queue *twin_queue_get(struct twin *t, const char *name)
{
    for (uint32_t i = 0; i < t->queue_n; i++)
        if (!t->queue[i]->is_dead && name[0] && strcmp(t->queue[i]->name, name) == 0)
            return t->queue[i];
    return NULL;
}

struct twin_queue *twin_queue_new(struct twin *t, const char *name, const struct twin_policy *p,
                                  struct twin_session *by)
{
    struct twin_queue *q = mem_zalloc(t->mem, sizeof(*q));
    BUG_ON(q == NULL);
    snprintf(q->name, sizeof(q->name), "%s", name);
    q->policy = *p;
    q->owner = p->exclusive ? by : NULL;
    t->queue = model_grow(t->mem, t->queue, &t->queue_cap, t->queue_n + 1, sizeof(struct twin_queue *));
    t->queue[t->queue_n++] = q;
    twin_queue_used(t, q);
    return q;
}

static bool is_same(const struct twin_policy *a, const struct twin_policy *b)
{
    return a->len_max == b->len_max && a->weight_max == b->weight_max && a->ttl == b->ttl && a->has_ttl == b->has_ttl &&
           a->expires == b->expires && a->retry_min == b->retry_min && a->retry_max == b->retry_max &&
           a->ack_ms == b->ack_ms && a->has_dlx == b->has_dlx && strcmp(a->dlx, b->dlx) == 0 &&
           a->has_dlk == b->has_dlk && strcmp(a->dlk, b->dlk) == 0 && a->has_limit == b->has_limit &&
           a->limit == b->limit && a->levels == b->levels && a->overflow == b->overflow && a->durable == b->durable &&
           a->exclusive == b->exclusive && a->auto_delete == b->auto_delete && a->single == b->single;
}

enum twin_result twin_declare(struct twin *t, const char *name, const struct twin_policy *p, bool is_given,
                              struct twin_session *by, struct twin_queue **out)
{
    struct twin_queue *q = twin_queue_get(t, name);
    *out = q;
    if (q == NULL) {
        *out = twin_queue_new(t, name, p, by);
        return TWIN_OK;
    }
    if (q->owner && q->owner != by)
        return TWIN_DENIED;
    if (is_given && !is_same(&q->policy, p))
        return TWIN_EXISTS;
    twin_queue_used(t, q);
    return TWIN_OK;
}

void twin_queue_used(struct twin *t, struct twin_queue *q)
{
    q->unused_armed = ++t->tick;
    q->unused_at = q->policy.expires && q->consumer_n == 0 ? t->now + q->policy.expires : 0;
}

/* forget_held: whoever has c in his hands may still answer, to no effect. */
static void forget_held(struct twin *t, const struct twin_copy *c)
{
    for (uint32_t i = 0; i < t->session_n; i++) {
        struct twin_session *s = t->session[i];
        for (uint32_t k = 0; k < s->held_n; k++) {
            if (s->held[k].copy != c)
                continue;
            s->held[k].copy = NULL;
        }
    }
}

void twin_copy_end(struct twin *t, struct twin_copy *c)
{
    struct twin_queue *q = c->queue;
    uint32_t i = 0;
    while (q->copy[i] != c)
        i++;
    memmove(&q->copy[i], &q->copy[i + 1], (q->copy_n - i - 1) * sizeof(struct twin_copy *));
    q->copy_n--;
    forget_held(t, c);
    mem_free(t->mem, c);
}

uint32_t twin_queue_ready(const struct twin_queue *q)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->copy_n; i++)
        n += q->copy[i]->state == TWIN_READY;
    return n;
}

uint32_t twin_purge(struct twin *t, struct twin_queue *q)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->copy_n;) {
        if (q->copy[i]->state == TWIN_SENT || q->copy[i]->state == TWIN_GOING) {
            i++;
            continue;
        }
        twin_copy_end(t, q->copy[i]);
        n++;
    }
    return n;
}

/* ---- fates ---------------------------------------------------------------------------------------------------- */

void twin_count_drop(struct twin *t, enum twin_why why)
{
    static const enum stat_id name[] = {[TWIN_REJECTED] = STAT_DROP_REJECTED,
                                        [TWIN_EXPIRED] = STAT_DROP_EXPIRED,
                                        [TWIN_MAXLEN] = STAT_DROP_HEAD,
                                        [TWIN_RETURNED] = STAT_DROP_RETURNED};
    t->stat[name[why]]++;
}

/* add_death: the latest first, one per queue and reason. */
static void add_death(struct twin_msg *m, const char *queue, enum twin_why why)
{
    struct twin_death d = {.why = (uint8_t)why};
    snprintf(d.queue, sizeof(d.queue), "%s", queue);
    snprintf(d.exchange, sizeof(d.exchange), "%s", m->exchange);
    snprintf(d.key, sizeof(d.key), "%s", m->key);
    if (m->death_n == 0)
        m->first = d;
    uint32_t i = 0;
    while (i < m->death_n && (m->death[i].why != d.why || strcmp(m->death[i].queue, d.queue) != 0))
        i++;
    d.count = i < m->death_n ? m->death[i].count : 0;
    if (i == m->death_n && m->death_n < TWIN_DEATHS)
        m->death_n++;
    i = MIN(i, TWIN_DEATHS - 1);
    memmove(&m->death[1], &m->death[0], i * sizeof(d));
    d.count++;
    m->death[0] = d;
}

bool twin_note_dead(struct twin *t, const struct twin_queue *q, const struct twin_msg *m, enum twin_why why)
{
    if (!q->policy.has_dlx)
        return false;
    t->dead = model_grow(t->mem, t->dead, &t->dead_cap, t->dead_n + 1, sizeof(*t->dead));
    struct twin_dead *d = &t->dead[t->dead_n++];
    *d = (struct twin_dead){.m = *m, .why = (uint8_t)why};
    add_death(&d->m, q->name, why);
    d->m.expires_at = 0;
    memcpy(d->m.exchange, q->policy.dlx, sizeof(d->m.exchange));
    memcpy(d->exchange, q->policy.dlx, sizeof(d->exchange));
    if (q->policy.has_dlk)
        memcpy(d->m.key, q->policy.dlk, sizeof(d->m.key));
    twin_spell(twin_exchange_get(t, q->policy.dlx), d->m.key);
    return true;
}

void twin_die(struct twin *t, struct twin_copy *c, enum twin_why why)
{
    if (!twin_note_dead(t, c->queue, &c->m, why))
        twin_count_drop(t, why);
    twin_copy_end(t, c);
}

/* twin_requeue: ISSUE: x-delivery-limit N: a message may come back N times. */
void twin_requeue(struct twin *t, struct twin_copy *c, bool has_failed)
{
    struct twin_queue *q = c->queue;
    c->returns++;
    c->holder = NULL;
    c->due = 0;
    c->armed = ++t->tick;
    forget_held(t, c);
    if (q->policy.has_limit && c->returns > q->policy.limit) {
        twin_die(t, c, TWIN_RETURNED);
        return;
    }
    if (c->expires_at && c->expires_at <= t->now) {
        twin_die(t, c, TWIN_EXPIRED);
        return;
    }
    c->state = TWIN_READY;
    if (!has_failed || q->policy.retry_min == 0)
        return;
    mono_ms wait = q->policy.retry_min;
    for (uint32_t i = 1; i < c->returns && wait < q->policy.retry_max; i++)
        wait *= 2;
    c->state = TWIN_WAITING;
    c->due = t->now + MIN(wait, q->policy.retry_max);
}

/* ---- coming in ------------------------------------------------------------------------------------------------ */

bool twin_can_take(const struct twin_consumer *k)
{
    if (k->is_over || k->is_browser || k->session->is_over || k->session->is_closing)
        return false;
    if (k->queue->policy.single && k->queue->active != k)
        return false;
    if (k->is_pull)
        return k->credit > 0;
    return k->prefetch == 0 || k->inflight < k->prefetch;
}

/* room_of: how many more deliveries the queue's consumers take together. */
static uint64_t room_of(const struct twin_queue *q)
{
    uint64_t room = 0;
    for (uint32_t i = 0; i < q->consumer_n; i++) {
        const struct twin_consumer *k = q->consumer[i];
        if (twin_can_take(k))
            room += k->is_pull ? k->credit : k->prefetch ? k->prefetch - k->inflight : UINT32_MAX;
    }
    return room;
}

/* first_ready: the one that is served next. */
static struct twin_copy *first_ready(const struct twin_queue *q)
{
    struct twin_copy *best = NULL;
    for (uint32_t i = 0; i < q->copy_n; i++) {
        struct twin_copy *c = q->copy[i];
        if (c->state == TWIN_READY && (best == NULL || c->level > best->level))
            best = c;
    }
    return best;
}

void twin_dispatch(struct twin *t, struct twin_queue *q)
{
    if (q->is_paused || q->is_dead)
        return;
    while (q->going_n < room_of(q)) {
        struct twin_copy *c = first_ready(q);
        if (c == NULL)
            return;
        c->state = TWIN_GOING;
        q->going = model_grow(t->mem, q->going, &q->going_cap, q->going_n + 1, sizeof(struct twin_copy *));
        q->going[q->going_n++] = c;
    }
}

static uint64_t ready_weight(const struct twin_queue *q)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < q->copy_n; i++)
        sum += q->copy[i]->state == TWIN_READY ? q->copy[i]->m.weight : 0;
    return sum;
}

bool twin_queue_is_full(struct twin *t, struct twin_queue *q, uint32_t n, uint32_t weight)
{
    UNUSED(t);
    const struct twin_policy *p = &q->policy;
    return (p->len_max && twin_queue_ready(q) + n > p->len_max) ||
           (p->weight_max && ready_weight(q) + weight > p->weight_max);
}

/* victim_of: the oldest of the lowest level. */
static struct twin_copy *victim_of(const struct twin_queue *q)
{
    struct twin_copy *worst = NULL;
    for (uint32_t i = 0; i < q->copy_n; i++) {
        struct twin_copy *c = q->copy[i];
        if (c->state == TWIN_READY && (worst == NULL || c->level < worst->level))
            worst = c;
    }
    return worst;
}

/* make_room: false: the message itself does not get in (and was counted). */
static bool make_room(struct twin *t, struct twin_queue *q, const struct twin_msg *m, uint32_t level)
{
    while (twin_queue_is_full(t, q, 1, m->weight)) {
        uint32_t before = q->going_n;
        twin_dispatch(t, q);
        if (q->going_n != before)
            continue;
        struct twin_copy *c = victim_of(q);
        if (q->policy.overflow != TWIN_DROP_HEAD) {
            t->stat[STAT_DROP_FULL]++;
            return false;
        }
        if (c == NULL || c->level > level) {
            if (!twin_note_dead(t, q, m, TWIN_MAXLEN))
                twin_count_drop(t, TWIN_MAXLEN);
            return false;
        }
        twin_die(t, c, TWIN_MAXLEN);
    }
    return true;
}

void twin_push(struct twin *t, struct twin_queue *q, const struct twin_msg *m)
{
    uint32_t level = MIN(m->priority, q->policy.levels);
    bool was_full = twin_queue_is_full(t, q, 1, m->weight);
    if (!make_room(t, q, m, level))
        return;
    struct twin_copy *c = mem_zalloc(t->mem, sizeof(*c));
    BUG_ON(c == NULL);
    mono_ms by_queue = q->policy.has_ttl ? t->now + q->policy.ttl : MONO_NEVER;
    mono_ms expires_at = MIN(by_queue, m->expires_at ? m->expires_at : MONO_NEVER);
    *c = (struct twin_copy){.m = *m,
                            .queue = q,
                            .turn = t->turn,
                            .armed = ++t->tick,
                            .expires_at = expires_at == MONO_NEVER ? 0 : expires_at,
                            .level = (uint8_t)level,
                            .is_dead_letter = m->death_n != 0};
    q->copy = model_grow(t->mem, q->copy, &q->copy_cap, q->copy_n + 1, sizeof(struct twin_copy *));
    q->copy[q->copy_n++] = c;
    /* Nothing waits and the only consumer will not answer: it need not lie in the queue at all. */
    bool may_not_wait = c->expires_at && c->expires_at <= t->now;
    if (was_full || may_not_wait || (q->consumer_n == 1 && q->consumer[0]->is_auto && twin_queue_ready(q) == 1))
        twin_dispatch(t, q);
    c->is_early = may_not_wait;
    if (may_not_wait && c->state == TWIN_READY)
        twin_die(t, c, TWIN_EXPIRED);
    else if (q->consumer_n == 1 && !was_full && c->state == TWIN_GOING)
        c->holder = q->consumer[0];
}
