/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twin_turn.c: what the twin does between two steps: dead letters travel, copies are handed out, time passes.
 *
 *     verbs ─► dead letters ─► GOING copies ─► what nobody took at once and may not wait expires ─┐
 *                    ▲                                                                             │
 *                    └─────────────────────────────────────────────────────────────────────────────┘
 *
 * The twin does not foresee which of several consumers gets a copy. It knows who may have it: one that has credit,
 * while nobody with a higher priority has; and among equals nobody is passed over.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/model.h"
#include "tests/sim/twin_in.h"

void twin_init(struct twin *t, struct mem *mem, mono_ms now)
{
    static const struct twin_exchange builtin[] = {
        {.name = "amq.topic", .kind = 't', .durable = true, .is_builtin = true},
        {.name = "amq.direct", .kind = 'd', .durable = true, .is_builtin = true},
        {.name = "amq.fanout", .kind = 'f', .durable = true, .is_builtin = true},
    };
    *t = (struct twin){.mem = mem, .now = now};
    for (uint32_t i = 0; i < ARRAY_N(builtin); i++)
        twin_exchange_declare(t, &builtin[i]);
}

static void free_queue(struct twin *t, struct twin_queue *q)
{
    for (uint32_t i = 0; i < q->copy_n; i++)
        mem_free(t->mem, q->copy[i]);
    mem_free(t->mem, q->copy);
    mem_free(t->mem, q->going);
    mem_free(t->mem, q->consumer);
    mem_free(t->mem, q);
}

void twin_fini(struct twin *t)
{
    for (uint32_t i = 0; i < t->queue_n; i++)
        free_queue(t, t->queue[i]);
    for (uint32_t i = 0; i < t->exchange_n; i++)
        mem_free(t->mem, t->exchange[i]);
    for (uint32_t i = 0; i < t->consumer_n; i++)
        mem_free(t->mem, t->consumer[i]);
    for (uint32_t i = 0; i < t->session_n; i++) {
        for (uint32_t k = 0; k < ARRAY_N(t->session[i]->tx); k++)
            mem_free(t->mem, t->session[i]->tx[k].action);
        mem_free(t->mem, t->session[i]->held);
        mem_free(t->mem, t->session[i]);
    }
    mem_free(t->mem, t->queue);
    mem_free(t->mem, t->exchange);
    mem_free(t->mem, t->binding);
    mem_free(t->mem, t->consumer);
    mem_free(t->mem, t->session);
    mem_free(t->mem, t->dead);
    mem_free(t->mem, t->late);
}

/* ---- the end of a turn ----------------------------------------------------------------------------------------- */

/* expire_unwanted: copies that may not wait and were not taken. */
static bool expire_unwanted(struct twin *t)
{
    bool any = false;
    for (uint32_t i = 0; i < t->queue_n; i++) {
        struct twin_queue *q = t->queue[i];
        for (uint32_t k = 0; k < q->copy_n;) {
            struct twin_copy *c = q->copy[k];
            bool is_late = c->expires_at && c->expires_at <= t->now;
            if (!is_late || (c->state != TWIN_READY && c->state != TWIN_WAITING)) {
                k++;
                continue;
            }
            twin_die(t, c, TWIN_EXPIRED);
            any = true;
        }
    }
    return any;
}

static void come_to_rest(struct twin *t)
{
    do {
        twin_send_dead(t);
        for (uint32_t i = 0; i < t->queue_n; i++)
            twin_dispatch(t, t->queue[i]);
    } while ((expire_unwanted(t) || t->dead_n) && t->why[0] == 0);
}

void twin_turn_end(struct twin *t)
{
    come_to_rest(t);
    for (uint32_t i = 0; i < t->session_n; i++)
        if (t->session[i]->is_closing)
            twin_session_end(t, t->session[i]);
    come_to_rest(t);
}

/* ---- who got what ---------------------------------------------------------------------------------------------- */

static bool fits(const struct twin_delivery *d, const struct twin_copy *c)
{
    return d->number == c->m.number && d->attempts == MIN(c->attempts, TWIN_ATTEMPTS);
}

/* front_of: k's next delivery, NULL when there is none. */
static struct twin_delivery *front_of(const struct twin_consumer *k, struct twin_delivery *d, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!d[i].is_used && d[i].session == k->session && d[i].sub == k->sub)
            return &d[i];
    return NULL;
}

/* is_before: must k be served before other, both being able to take something? */
static bool is_before(const struct twin_consumer *k, const struct twin_consumer *other)
{
    if (k->priority != other->priority)
        return k->priority > other->priority;
    return other->served && MAX(k->served, k->ready_since) < other->served;
}

static void check_turn(struct twin *t, const struct twin_consumer *k, const struct twin_copy *c)
{
    if (!twin_can_take(k))
        twin_fail(t, "message %u of %s went to subscription %u of peer %u, which may not have it now", c->m.number,
                  c->queue->name, k->sub, k->session->peer);
    for (uint32_t i = 0; i < c->queue->consumer_n; i++) {
        const struct twin_consumer *other = c->queue->consumer[i];
        if (!c->is_early && other != k && twin_can_take(other) && is_before(other, k))
            twin_fail(t, "message %u of %s went to subscription %u of peer %u, it was the turn of %u of peer %u",
                      c->m.number, c->queue->name, k->sub, k->session->peer, other->sub, other->session->peer);
    }
}

static void give(struct twin *t, struct twin_consumer *k, struct twin_copy *c, struct twin_delivery *d)
{
    if (c->holder == NULL)
        check_turn(t, k, c);
    d->is_used = true;
    d->m = c->m;
    k->served = ++t->tick;
    if (k->is_pull)
        k->credit -= k->credit != 0;
    if (d->redelivered != (c->attempts != 0))
        twin_fail(t, "message %u came %smarked as redelivered, it had been delivered %u times", c->m.number,
                  d->redelivered ? "" : "not ", c->attempts);
    if (d->wants_answer == k->is_auto)
        twin_fail(t, "message %u came with the wrong kind of acknowledgement", c->m.number);
    t->stat[STAT_DELIVERED]++;
    if (k->is_auto) {
        twin_copy_end(t, c);
        return;
    }
    k->inflight++;
    c->attempts++;
    c->state = TWIN_SENT;
    c->holder = k;
    c->due = c->queue->policy.ack_ms ? t->now + c->queue->policy.ack_ms : 0;
    c->armed = ++t->tick;
    struct twin_session *s = k->session;
    s->held = model_grow(t->mem, s->held, &s->held_cap, s->held_n + 1, sizeof(*s->held));
    struct twin_held *h = &s->held[s->held_n++];
    *h = (struct twin_held){.copy = c, .by = k, .number = c->m.number};
    memcpy(h->id, d->id, sizeof(h->id));
}

/* taker_of: who got c? The one whose turn it was, of those who heard it next. */
static struct twin_consumer *taker_of(const struct twin_copy *c, struct twin_delivery *d, uint32_t n,
                                      struct twin_delivery **out)
{
    const struct twin_queue *q = c->queue;
    struct twin_consumer *taker = NULL;
    for (uint32_t k = 0; k < q->consumer_n; k++) {
        struct twin_delivery *front = front_of(q->consumer[k], d, n);
        if (front == NULL || !fits(front, c) || (c->holder && c->holder != q->consumer[k]) ||
            (taker && is_before(taker, q->consumer[k])))
            continue;
        taker = q->consumer[k];
        *out = front;
    }
    return taker;
}

/* next_going: of several dead letters of one turn it is not said which comes first. */
static uint32_t next_going(const struct twin *t, const struct twin_queue *q, uint32_t i, struct twin_delivery *d,
                           uint32_t n)
{
    struct twin_delivery *any;
    for (uint32_t k = i; k < q->going_n; k++) {
        const struct twin_copy *c = q->going[k];
        if (k != i && (!c->is_dead_letter || c->turn != t->turn || q->going[i]->turn != t->turn))
            continue;
        if (taker_of(c, d, n, &any))
            return k;
    }
    return i;
}

static void resolve_queue(struct twin *t, struct twin_queue *q, struct twin_delivery *d, uint32_t n)
{
    for (uint32_t i = 0; i < q->going_n && t->why[0] == 0; i++) {
        struct twin_delivery *delivery = NULL;
        uint32_t k = next_going(t, q, i, d, n);
        struct twin_copy *c = q->going[k];
        memmove(&q->going[i + 1], &q->going[i], (k - i) * sizeof(c));
        struct twin_consumer *taker = taker_of(c, d, n, &delivery);
        if (taker == NULL)
            twin_fail(t, "message %u of %s (delivered %u times before) should have come to somebody next", c->m.number,
                      q->name, c->attempts);
        else
            give(t, taker, c, delivery);
    }
    q->going_n = 0;
}

void twin_resolve(struct twin *t, struct twin_delivery *d, uint32_t n)
{
    for (uint32_t i = 0; i < t->queue_n; i++)
        resolve_queue(t, t->queue[i], d, n);
    for (uint32_t i = 0; i < t->consumer_n; i++) {
        t->consumer[i]->credit = t->consumer[i]->drains ? 0 : t->consumer[i]->credit;
        t->consumer[i]->drains = false;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!d[i].is_used)
            twin_fail(t, "message %u came to subscription %u of peer %u, which nobody could expect", d[i].number,
                      d[i].sub, d[i].session->peer);
}

/* ---- time ------------------------------------------------------------------------------------------------------ */

/* due_of: when something happens to c by itself. */
static mono_ms due_of(const struct twin_copy *c)
{
    mono_ms due = c->due ? c->due : MONO_NEVER;
    if (c->state != TWIN_SENT && c->expires_at)
        due = MIN(due, c->expires_at);
    return due;
}

mono_ms twin_next_due(const struct twin *t)
{
    mono_ms due = MONO_NEVER;
    for (uint32_t i = 0; i < t->queue_n; i++) {
        const struct twin_queue *q = t->queue[i];
        if (q->is_dead)
            continue;
        due = MIN(due, q->unused_at ? q->unused_at : MONO_NEVER);
        for (uint32_t k = 0; k < q->copy_n; k++)
            due = MIN(due, due_of(q->copy[k]));
    }
    for (uint32_t i = 0; i < t->late_n; i++)
        due = MIN(due, t->late[i].due);
    return due;
}

/* copy_fires: its time is over, its next attempt is due, or its answer did not come. */
static void copy_fires(struct twin *t, struct twin_copy *c)
{
    if (c->state == TWIN_SENT) {
        t->stat[STAT_LAPSED]++;
        twin_requeue(t, c, true);
    } else if (c->expires_at && c->expires_at <= t->now) {
        twin_die(t, c, TWIN_EXPIRED);
    } else {
        c->state = TWIN_READY;
        c->due = 0;
        c->armed = ++t->tick;
    }
}

static void late_fires(struct twin *t, uint32_t i)
{
    struct twin_late l = t->late[i];
    memmove(&t->late[i], &t->late[i + 1], (t->late_n - i - 1) * sizeof(l));
    t->late_n--;
    enum twin_result r = twin_publish_to(t, l.to, &l.m);
    t->stat[STAT_DROP_FULL] += r == TWIN_REFUSED;
    t->stat[STAT_DROP_CLOSED] += r == TWIN_NOT_FOUND;
}

static bool is_unused(const struct twin *t, const struct twin_queue *q)
{
    return !q->is_dead && q->unused_at && q->unused_at <= t->now;
}

/* fire_first: what was armed first of all that is due. False: nothing is. */
static bool fire_first(struct twin *t)
{
    struct twin_copy *first = NULL;
    uint64_t armed = UINT64_MAX;
    for (uint32_t i = 0; i < t->queue_n; i++) {
        struct twin_queue *q = t->queue[i];
        for (uint32_t k = 0; k < q->copy_n && !q->is_dead; k++) {
            if (due_of(q->copy[k]) > t->now || q->copy[k]->armed >= armed || q->copy[k]->state == TWIN_GOING)
                continue;
            first = q->copy[k];
            armed = first->armed;
        }
    }
    for (uint32_t i = 0; i < t->late_n; i++) {
        bool is_first = t->late[i].due <= t->now && t->late[i].armed < armed;
        for (uint32_t k = 0; k < t->queue_n && is_first; k++)
            is_first = !is_unused(t, t->queue[k]) || t->queue[k]->unused_armed > t->late[i].armed;
        if (is_first) {
            late_fires(t, i);
            return true;
        }
    }
    for (uint32_t i = 0; i < t->queue_n; i++) {
        struct twin_queue *q = t->queue[i];
        if (is_unused(t, q) && q->unused_armed < armed) {
            twin_queue_delete(t, q);
            return true;
        }
    }
    if (first)
        copy_fires(t, first);
    return first != NULL;
}

void twin_fire(struct twin *t)
{
    while (t->why[0] == 0 && fire_first(t))
        ;
}
