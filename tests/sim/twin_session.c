/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twin_session.c: the twin's consumers: what they hold, answer, and leave behind; transactions.
 *
 * Invariants
 *   1. held[] of a session is what it was given and has not answered, in order, also after the subscription is over. An
 *      answer that comes too late still uses up its slot until then.
 *   2. A transaction is noted, and does nothing, until its COMMIT; then all of it is done, or it is refused as a whole.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/model.h"
#include "tests/sim/twin_in.h"

struct twin_session *twin_session_new(struct twin *t, uint32_t peer)
{
    struct twin_session *s = mem_zalloc(t->mem, sizeof(*s));
    BUG_ON(s == NULL);
    s->peer = peer;
    t->session = model_grow(t->mem, t->session, &t->session_cap, t->session_n + 1, sizeof(s));
    t->session[t->session_n++] = s;
    return s;
}

/* ---- consumers ------------------------------------------------------------------------------------------------- */

struct twin_consumer *twin_consumer_get(struct twin *t, const struct twin_session *s, uint32_t sub)
{
    for (uint32_t i = 0; i < t->consumer_n; i++)
        if (t->consumer[i]->session == s && t->consumer[i]->sub == sub)
            return t->consumer[i];
    return NULL;
}

/* choose_active: the next one, now that nobody is: the highest priority, then the oldest. */
static void choose_active(struct twin_queue *q)
{
    q->active = NULL;
    for (uint32_t i = 0; i < q->consumer_n; i++)
        if (q->active == NULL || q->consumer[i]->priority > q->active->priority)
            q->active = q->consumer[i];
}

struct twin_consumer *twin_consume(struct twin *t, struct twin_session *s, struct twin_queue *q,
                                   const struct twin_consumer *how)
{
    struct twin_consumer *k = mem_zalloc(t->mem, sizeof(*k));
    BUG_ON(k == NULL);
    *k = *how;
    k->session = s;
    k->queue = q;
    k->joined = k->ready_since = ++t->tick;
    t->consumer = model_grow(t->mem, t->consumer, &t->consumer_cap, t->consumer_n + 1, sizeof(k));
    t->consumer[t->consumer_n++] = k;
    if (k->is_browser)
        return k;
    q->consumer = model_grow(t->mem, q->consumer, &q->consumer_cap, q->consumer_n + 1, sizeof(k));
    q->consumer[q->consumer_n++] = k;
    if (q->active == NULL)
        choose_active(q);
    twin_queue_used(t, q);
    return k;
}

/* part: k is no consumer of its queue any more. */
static void part(struct twin *t, struct twin_consumer *k)
{
    struct twin_queue *q = k->queue;
    uint32_t i = 0;
    k->is_over = true;
    while (i < q->consumer_n && q->consumer[i] != k)
        i++;
    if (i == q->consumer_n)
        return;
    memmove(&q->consumer[i], &q->consumer[i + 1], (q->consumer_n - i - 1) * sizeof(k));
    q->consumer_n--;
    if (q->active == k)
        choose_active(q);
    if (q->is_dead)
        return;
    twin_queue_used(t, q);
    if (q->consumer_n == 0 && q->policy.auto_delete)
        twin_queue_delete(t, q);
}

void twin_cancel(struct twin *t, struct twin_consumer *k)
{
    if (!k->is_over)
        part(t, k);
}

void twin_grant(struct twin *t, struct twin_consumer *k, uint32_t n)
{
    if (k->credit == 0)
        k->ready_since = ++t->tick;
    k->credit += n;
}

/* twin_queue_delete: what waits is dropped; what is on its way may still be answered, to no effect. */
void twin_queue_delete(struct twin *t, struct twin_queue *q)
{
    if (q->is_dead)
        return;
    q->is_dead = true;
    twin_unbind_queue(t, q);
    for (uint32_t i = 0; i < t->consumer_n; i++)
        if (t->consumer[i]->queue == q)
            t->consumer[i]->is_over = true;
    q->consumer_n = 0;
    q->active = NULL;
    while (q->copy_n) {
        t->stat[STAT_DROP_CLOSED] += q->copy[0]->state != TWIN_SENT;
        t->closed_slack += q->copy[0]->state == TWIN_SENT;
        twin_copy_end(t, q->copy[0]);
    }
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void held_del(struct twin_session *s, uint32_t i)
{
    memmove(&s->held[i], &s->held[i + 1], (s->held_n - i - 1) * sizeof(*s->held));
    s->held_n--;
}

/* settle_one: s->held[i]. */
static void settle_one(struct twin *t, struct twin_session *s, uint32_t i, enum twin_answer a)
{
    struct twin_held h = s->held[i];
    struct twin_consumer *k = h.by;
    held_del(s, i);
    if (!k->is_pull && k->prefetch && k->inflight == k->prefetch)
        k->ready_since = ++t->tick;
    k->inflight--;
    if (h.copy == NULL)
        return;
    if (a == TWIN_ACK) {
        t->stat[STAT_SETTLED]++;
        twin_copy_end(t, h.copy);
    } else if (a == TWIN_NACK) {
        twin_requeue(t, h.copy, true);
    } else {
        twin_die(t, h.copy, TWIN_REJECTED);
    }
}

/* each_until: the deliveries that an answer to held[i] means: those that are noted elsewhere stay. */
static void settle_until(struct twin *t, struct twin_session *s, uint32_t i, enum twin_answer a, uint32_t tx)
{
    const struct twin_consumer *k = s->held[i].by;
    char last[TWIN_ID];
    bool is_last = false;
    memcpy(last, s->held[i].id, sizeof(last));
    for (uint32_t at = 0; at < s->held_n && !is_last;) {
        is_last = strcmp(s->held[at].id, last) == 0;
        if (s->held[at].by != k || s->held[at].tx != tx)
            at++;
        else
            settle_one(t, s, at, a);
    }
}

static void note_answer(struct twin_session *s, uint32_t i, uint32_t tx)
{
    const struct twin_consumer *k = s->held[i].by;
    for (uint32_t at = 0; at <= i; at++)
        if (s->held[at].by == k && s->held[at].tx == 0 && (at == i || k->is_cumulative)) {
            s->held[at].tx = tx;
            if (s->held[at].copy)
                s->held[at].copy->due = 0; /* it has an answer, for the time being */
        }
}

static struct twin_tx *tx_of(struct twin_session *s, uint32_t id)
{
    for (uint32_t i = 0; i < ARRAY_N(s->tx); i++)
        if (s->tx[i].id == id)
            return &s->tx[i];
    return NULL;
}

static struct twin_action *tx_add(struct twin *t, struct twin_tx *x)
{
    x->action = model_grow(t->mem, x->action, &x->cap, x->n + 1, sizeof(*x->action));
    return &x->action[x->n++];
}

enum twin_result twin_settle(struct twin *t, struct twin_session *s, uint32_t i, enum twin_answer a, uint32_t tx)
{
    if (s->held[i].tx)
        return TWIN_NOT_FOUND;
    if (tx) {
        struct twin_tx *x = tx_of(s, tx);
        if (x == NULL)
            return TWIN_NOT_FOUND;
        struct twin_action *act = tx_add(t, x);
        *act = (struct twin_action){.answer = (uint8_t)a};
        memcpy(act->held_id, s->held[i].id, TWIN_ID);
        note_answer(s, i, tx);
    } else if (s->held[i].by->is_cumulative) {
        settle_until(t, s, i, a, 0);
    } else {
        settle_one(t, s, i, a);
    }
    return TWIN_OK;
}

/* ---- transactions ---------------------------------------------------------------------------------------------- */

enum twin_result twin_begin(struct twin *t, struct twin_session *s, uint32_t id)
{
    UNUSED(t);
    if (tx_of(s, id))
        return TWIN_EXISTS;
    struct twin_tx *x = tx_of(s, 0);
    BUG_ON(x == NULL);
    x->id = id;
    x->n = 0;
    return TWIN_OK;
}

enum twin_result twin_tx_send(struct twin *t, struct twin_session *s, uint32_t id, const struct twin_msg *m)
{
    struct twin_tx *x = tx_of(s, id);
    if (x == NULL)
        return TWIN_NOT_FOUND;
    struct twin_action *a = tx_add(t, x);
    *a = (struct twin_action){.m = *m, .to = twin_exchange_get(t, m->exchange), .is_send = true};
    return TWIN_OK;
}

/* tx_end: what was noted waits for an answer again, as long as the first time. */
static void tx_end(struct twin *t, struct twin_session *s, struct twin_tx *x, bool is_committed)
{
    for (uint32_t i = 0; i < s->held_n; i++) {
        struct twin_copy *c = s->held[i].copy;
        if (s->held[i].tx != x->id)
            continue;
        s->held[i].tx = 0;
        if (c == NULL)
            continue;
        c->due = c->queue->policy.ack_ms ? t->now + c->queue->policy.ack_ms : 0; /* anew */
        c->armed = ++t->tick;
    }
    t->stat[is_committed ? STAT_TX_COMMITTED : STAT_TX_ABORTED]++;
    x->id = 0;
    x->n = 0;
}

static void do_action(struct twin *t, struct twin_session *s, uint32_t tx, const struct twin_action *a)
{
    if (a->is_send) {
        twin_publish_to(t, a->to, &a->m);
        return;
    }
    for (uint32_t i = 0; i < s->held_n; i++) {
        if (s->held[i].tx != tx || strcmp(s->held[i].id, a->held_id) != 0)
            continue;
        if (s->held[i].by->is_cumulative)
            settle_until(t, s, i, (enum twin_answer)a->answer, tx);
        else
            settle_one(t, s, i, (enum twin_answer)a->answer);
        return;
    }
}

enum twin_result twin_commit(struct twin *t, struct twin_session *s, uint32_t id)
{
    struct twin_tx *x = tx_of(s, id);
    if (x == NULL)
        return TWIN_INVALID;
    enum twin_result r = twin_would_refuse(t, x->action, x->n) ? TWIN_REFUSED : TWIN_OK;
    for (uint32_t i = 0; i < x->n; i++)
        if (x->action[i].is_send && x->action[i].to && x->action[i].to->is_dead)
            r = TWIN_NOT_FOUND;
    for (uint32_t i = 0; i < x->n && r == TWIN_OK; i++)
        do_action(t, s, id, &x->action[i]);
    tx_end(t, s, x, r == TWIN_OK);
    return r;
}

enum twin_result twin_abort(struct twin *t, struct twin_session *s, uint32_t id)
{
    struct twin_tx *x = tx_of(s, id);
    if (x == NULL)
        return TWIN_NOT_FOUND;
    tx_end(t, s, x, false);
    return TWIN_OK;
}

void twin_session_close(struct twin_session *s)
{
    s->is_closing = true;
}

/* twin_session_end: transactions first; its exclusive queues go; what it held goes back; then its consumers leave. */
void twin_session_end(struct twin *t, struct twin_session *s)
{
    if (s->is_over)
        return;
    s->is_over = true;
    for (uint32_t i = 0; i < ARRAY_N(s->tx); i++)
        if (s->tx[i].id)
            tx_end(t, s, &s->tx[i], false);
    for (uint32_t i = 0; i < t->queue_n; i++)
        if (t->queue[i]->owner == s)
            twin_queue_delete(t, t->queue[i]);
    while (s->held_n) { /* the last one first: what dies by that dies in this order */
        struct twin_copy *c = s->held[s->held_n - 1].copy;
        held_del(s, s->held_n - 1);
        if (c)
            twin_requeue(t, c, false);
    }
    for (uint32_t i = 0; i < t->consumer_n; i++)
        if (t->consumer[i]->session == s && !t->consumer[i]->is_over)
            part(t, t->consumer[i]);
}
