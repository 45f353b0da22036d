/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage_check.c: do the broker and its twin agree?
 *
 * Compared after every step
 *   1. What each peer heard: the answers it must get, in order; deliveries: the right ones, in order, to consumers
 * whose turn it was, with what they must carry; nothing else; connections end when they must, and only then.
 *   2. The broker's insides: which named queues there are; what is in each, in order, with what happened to it, and
 *      when it ends. A message that is nowhere in the twin's queues is nowhere in the broker's.
 *   3. The counters: what left by which door.
 * What is only ordered by chance (several deaths in one turn) is adopted as the broker did it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/model.h"
#include "tests/sim/stage.h"

enum { CHECK_EVERY = 16, ENTRIES_MAX = 4096 };

struct look { /* one check */
    struct stage *st;
    struct twin_delivery *d;
    const struct stage_frame **frame; /* of each delivery */
    uint32_t n, cap, frame_cap;
};

/* ---- what was heard -------------------------------------------------------------------------------------------- */

static uint32_t number_of(const uint8_t *body, size_t len)
{
    char text[16] = "";
    memcpy(text, body, MIN(len, sizeof(text) - 1));
    return text[0] == '#' ? (uint32_t)strtoul(text + 1, NULL, 10) : UINT32_MAX;
}

static uint32_t number_header(const struct stage_frame *f, const char *name)
{
    const char *text = frame_get(f, name);
    return text ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

static bool is_header(const struct stage_frame *f, const char *name, const char *value)
{
    const char *has = frame_get(f, name);
    return has && strcmp(has, value) == 0;
}

/* skip_unsaid: receipts that waited for the disk when the connection ended with an ERROR. */
static void skip_unsaid(const struct stage *st, struct stage_peer *p, const struct stage_frame *f)
{
    uint32_t i = 0;
    if (st->plan.has_store && strcmp(f->command, "ERROR") == 0)
        while (i + 1 < p->expect_n && p->expect[i].kind == 'R')
            i++;
    p->expect_n -= i;
    memmove(&p->expect[0], &p->expect[i], p->expect_n * sizeof(*p->expect));
}

static void heard_answer(struct stage *st, struct stage_peer *p, const struct stage_frame *f)
{
    static const char *const command[] = {['C'] = "CONNECTED", ['R'] = "RECEIPT", ['E'] = "ERROR"};
    if (p->expect_n == 0) {
        const char *code = frame_get(f, "x-code");
        stage_fail(st, "peer %u heard %s %s without a reason: %s", p->number, f->command, code ? code : "",
                   f->body_len ? (const char *)f->body : "");
        return;
    }
    struct stage_expect e;
    skip_unsaid(st, p, f);
    e = p->expect[0];
    memmove(&p->expect[0], &p->expect[1], (p->expect_n - 1) * sizeof(e));
    p->expect_n--;
    if (strcmp(f->command, command[(unsigned char)e.kind]) != 0)
        stage_fail(st, "peer %u heard %s %s, not %s %s: %s", p->number, f->command,
                   frame_get(f, "x-code") ? frame_get(f, "x-code") : "", command[(unsigned char)e.kind], e.code,
                   f->body_len ? (const char *)f->body : "");
    else if (e.kind == 'R' && number_header(f, "receipt-id") != e.receipt)
        stage_fail(st, "peer %u heard RECEIPT %u, %u was next", p->number, number_header(f, "receipt-id"), e.receipt);
    else if (e.kind == 'R' && e.is_rejected != is_header(f, "x-result", "rejected"))
        stage_fail(st, "peer %u: receipt %u says it was %s", p->number, e.receipt,
                   e.is_rejected ? "taken" : "rejected");
    else if (e.kind == 'R' && e.messages >= 0 && number_header(f, "x-messages") != e.messages)
        stage_fail(st, "peer %u: %u messages were purged, it should be %u", p->number, number_header(f, "x-messages"),
                   (unsigned)e.messages);
    else if (e.kind == 'E' && e.code[0] && !is_header(f, "x-code", e.code))
        stage_fail(st, "peer %u heard ERROR %s, %s was to come", p->number,
                   frame_get(f, "x-code") ? frame_get(f, "x-code") : "", e.code);
    else if (e.kind != 'C' && e.queue[0] && !is_header(f, "x-queue", e.queue))
        stage_fail(st, "peer %u: the answer names queue %s, it was %s", p->number,
                   frame_get(f, "x-queue") ? frame_get(f, "x-queue") : "(none)", e.queue);
}

static void heard_browsed(struct stage *st, struct stage_peer *p, const struct stage_frame *f)
{
    bool is_end = is_header(f, "browser", "end");
    uint32_t number = is_end ? UINT32_MAX : number_of(f->body, f->body_len);
    if (p->browse_n == 0 || p->browse[0] != number)
        stage_fail(st, "peer %u: browsing showed message %d, %d was next", p->number, (int)number,
                   p->browse_n ? (int)p->browse[0] : -2);
    if (p->browse_n)
        memmove(&p->browse[0], &p->browse[1], --p->browse_n * sizeof(p->browse[0]));
}

static void heard_message(struct look *l, struct stage_peer *p, const struct stage_frame *f)
{
    uint32_t sub = number_header(f, "subscription");
    if (p->session == NULL) {
        stage_fail(l->st, "peer %u heard a MESSAGE, it is not there", p->number);
        return;
    }
    if (sub == p->browse_sub) {
        heard_browsed(l->st, p, f);
        return;
    }
    struct mem *mem = &l->st->mem;
    l->d = model_grow(mem, l->d, &l->cap, l->n + 1, sizeof(*l->d));
    l->frame = model_grow(mem, l->frame, &l->frame_cap, l->n + 1, sizeof(f));
    struct twin_delivery *d = &l->d[l->n];
    *d = (struct twin_delivery){.session = p->session,
                                .sub = sub,
                                .number = number_of(f->body, f->body_len),
                                .attempts = number_header(f, "x-delivery-count"),
                                .redelivered = is_header(f, "redelivered", "true")};
    const char *id = frame_get(f, p->is_v11 ? "message-id" : "ack");
    const struct twin_consumer *k = twin_consumer_get(&l->st->twin, p->session, sub);
    d->wants_answer = p->is_v11 ? k && !k->is_auto : id != NULL;
    snprintf(d->id, sizeof(d->id), "%s", id ? id : "");
    l->frame[l->n++] = f;
    stage_trace(l->st, "peer %u: < MESSAGE #%u for %u%s", p->number, d->number, sub, d->redelivered ? " again" : "");
}

/* ---- what a delivery carries ----------------------------------------------------------------------------------- */

static const char *const why_text[] = {"rejected", "expired", "maxlen", "delivery_limit"};

/* is_death: the line tells of this death. An exchange that was deleted since has no name any more. */
static bool is_death(const char *line, const struct twin_death *w)
{
    const char *exchange[] = {w->exchange, w->exchange[0] == 'x' ? "" : w->exchange};
    for (unsigned i = 0; i < ARRAY_N(exchange); i++) {
        char text[208];
        snprintf(text, sizeof(text), "queue=%s;reason=%s;count=%u;exchange=%s;routing-key=%s;time=", w->queue,
                 why_text[w->why], w->count, exchange[i], w->key);
        if (strncmp(line, text, strlen(text)) == 0)
            return true;
    }
    return false;
}

static void check_death(struct stage *st, const struct twin_delivery *d, const struct stage_frame *f)
{
    const struct twin_msg *m = &d->m;
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->header_n; i++) {
        if (strcmp(f->header[i].name, "x-death") != 0)
            continue;
        if (n >= m->death_n || !is_death(f->header[i].value, &m->death[n]))
            stage_fail(st, "message %u: its x-death %u is wrong: %s", m->number, n, f->header[i].value);
        n++;
    }
    if (n != m->death_n)
        stage_fail(st, "message %u has %u x-death, it died in %u ways", m->number, n, m->death_n);
    if (m->death_n && (!is_header(f, "x-first-death-reason", why_text[m->first.why]) ||
                       !is_header(f, "x-first-death-queue", m->first.queue)))
        stage_fail(st, "message %u does not tell of its first death", m->number);
}

static void check_carried(struct look *l)
{
    struct stage *st = l->st;
    for (uint32_t i = 0; i < l->n && st->why[0] == 0; i++) {
        const struct twin_delivery *d = &l->d[i];
        size_t least = (size_t)d->m.weight * STAGE_WEIGHT_BYTES;
        if (l->frame[i]->body_len < least)
            stage_fail(st, "message %u came with %zu bytes", d->number, l->frame[i]->body_len);
        check_death(st, d, l->frame[i]);
    }
}

static void hear(struct look *l)
{
    struct stage *st = l->st;
    for (uint32_t i = 0; i < STAGE_PEERS; i++) {
        struct stage_peer *p = &st->peer[i];
        for (uint32_t k = 0; k < p->heard_n; k++) {
            if (strcmp(p->heard[k]->command, "MESSAGE") == 0) {
                heard_message(l, p, p->heard[k]);
                continue;
            }
            stage_trace(st, "peer %u: < %s", p->number, p->heard[k]->command);
            heard_answer(st, p, p->heard[k]);
        }
        if (p->expect_n)
            stage_fail(st, "peer %u still waits for an answer '%c' %s", p->number, p->expect[0].kind,
                       p->expect[0].code);
        if (p->browse_n)
            stage_fail(st, "peer %u was not shown all that it browses", p->number);
        if (p->has_ended != p->must_end)
            stage_fail(st, "peer %u: its connection %s", p->number, p->must_end ? "goes on" : "ended");
    }
}

/* after: connections that have ended are forgotten. */
static void after(struct stage *st)
{
    for (uint32_t i = 0; i < STAGE_PEERS; i++) {
        struct stage_peer *p = &st->peer[i];
        peer_free_heard(p);
        if (!p->has_ended)
            continue;
        peer_gone(p);
        p->has_ended = p->must_end = false;
    }
}

/* ---- the broker's insides -------------------------------------------------------------------------------------- */

static uint32_t entry_number(const struct entry *e)
{
    struct msgview v;
    msg_view(e->msg, &v);
    return number_of(v.payload.p, v.payload.len);
}

static uint32_t add_list(const struct list *list, const struct entry **out, uint32_t n)
{
    LIST_EACH(list, node)
    {
        BUG_ON(n == ENTRIES_MAX);
        out[n++] = LIST_ITEM(node, struct entry, node);
    }
    return n;
}

/* list_ready: the broker's entries in the order in which they will be served. */
static uint32_t list_ready(const struct queue *q, const struct entry **out)
{
    const struct queue_own *own = queue_own(q);
    if (own == NULL || own->levels == NULL)
        return add_list(&q->ready, out, 0);
    uint32_t n = 0;
    for (int level = q->policy->priority_max; level >= 0; level--)
        n = add_list(&own->levels->level[level], out, n);
    return n;
}

/* adopt: the twin's copy with this number and the same past comes in front of q->copy[at], if both came in this turn
 * and not both were just published. */
static bool adopt(struct twin_queue *q, uint32_t at, const struct entry *e, uint32_t number)
{
    uint32_t i = at + 1;
    while (i < q->copy_n && (q->copy[i]->m.number != number || q->copy[i]->level != q->copy[at]->level ||
                             q->copy[i]->returns != e->returns))
        i++;
    if (i == q->copy_n || q->copy[i]->turn != q->copy[at]->turn)
        return false;
    if (!q->copy[i]->is_dead_letter && !q->copy[at]->is_dead_letter)
        return false;
    struct twin_copy *c = q->copy[i];
    memmove(&q->copy[at + 1], &q->copy[at], (i - at) * sizeof(c));
    q->copy[at] = c;
    return true;
}

/* ready_at: index of the twin's i-th copy in the order of serving. */
static uint32_t ready_at(const struct twin_queue *q, uint32_t i)
{
    for (int level = (int)q->policy.levels; level >= 0; level--)
        for (uint32_t k = 0; k < q->copy_n; k++)
            if (q->copy[k]->state == TWIN_READY && q->copy[k]->level == level && i-- == 0)
                return k;
    return q->copy_n;
}

static void compare_entry(struct stage *st, const struct twin_copy *c, const struct entry *e)
{
    if (c->returns != e->returns)
        stage_fail(st, "message %u of %s came back %u times, the broker says %u", c->m.number, c->queue->name,
                   c->returns, e->returns);
    mono_ms ends = e->timed ? entry_timer((struct entry *)(uintptr_t)e)->expires_at : 0;
    if (ends != c->expires_at)
        stage_fail(st, "message %u of %s expires at %llu, the broker says %llu", c->m.number, c->queue->name,
                   (unsigned long long)c->expires_at, (unsigned long long)ends);
}

static uint32_t count_state(const struct twin_queue *q, enum twin_state state)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->copy_n; i++)
        n += q->copy[i]->state == state;
    return n;
}

static void compare_ready(struct stage *st, struct twin_queue *mine, const struct queue *q)
{
    const struct entry *e[ENTRIES_MAX];
    uint32_t n = list_ready(q, e);
    if (n != count_state(mine, TWIN_READY) || n != q->ready_n) {
        stage_fail(st, "%s has %u messages ready (and counts %u), it should have %u", mine->name, n, q->ready_n,
                   count_state(mine, TWIN_READY));
        return;
    }
    for (uint32_t i = 0; i < n && st->why[0] == 0; i++) {
        uint32_t at = ready_at(mine, i), number = entry_number(e[i]);
        if (mine->copy[at]->m.number != number && !adopt(mine, at, e[i], number))
            stage_fail(st, "%s: message %u is number %u in line, it should be message %u", mine->name, number, i,
                       mine->copy[at]->m.number);
        else
            compare_entry(st, mine->copy[at], e[i]);
    }
}

static void compare_queue(struct stage *st, struct twin_queue *mine, const struct queue *q)
{
    const struct queue_own *own = queue_own(q);
    compare_ready(st, mine, q);
    uint32_t waiting = own ? own->waiting_n : 0;
    if (waiting != count_state(mine, TWIN_WAITING))
        stage_fail(st, "%s: %u messages wait for their next attempt, it should be %u", mine->name, waiting,
                   count_state(mine, TWIN_WAITING));
    if (q->is_paused != mine->is_paused)
        stage_fail(st, "%s is %spaused", mine->name, q->is_paused ? "" : "not ");
}

static struct twin_queue *twin_of(struct stage *st, const struct queue *q)
{
    char name[300];
    snprintf(name, sizeof(name), SLICE_FMT, SLICE_ARG(queue_name(q)));
    return twin_queue_get(&st->twin, name);
}

static void compare_queues(struct stage *st)
{
    uint32_t named = 0, mine = 0;
    LIST_EACH(&st->shard->vhost->queues_all, node)
    {
        const struct queue *q = LIST_ITEM(node, struct queue, all);
        if (q->name == NULL || q->is_group || q->is_dsub)
            continue;
        struct twin_queue *t = twin_of(st, q);
        named++;
        if (t == NULL)
            stage_fail(st, "there is a queue " SLICE_FMT ", there should be none", SLICE_ARG(queue_name(q)));
        else
            compare_queue(st, t, q);
    }
    for (uint32_t i = 0; i < st->twin.queue_n; i++)
        mine += !st->twin.queue[i]->is_dead && st->twin.queue[i]->name[0];
    if (named != mine)
        stage_fail(st, "there are %u named queues, there should be %u", named, mine);
}

/* ---- counters -------------------------------------------------------------------------------------------------- */

/* compare_ends: what a consumer has of a queue that was deleted is dropped under one name or the other, once. */
static void compare_ends(struct stage *st, const uint64_t *is, const uint64_t *should)
{
    uint64_t closed = is[STAT_DROP_CLOSED], rejected = is[STAT_DROP_REJECTED];
    uint64_t least = should[STAT_DROP_CLOSED] + should[STAT_DROP_REJECTED];
    if (closed < should[STAT_DROP_CLOSED] || rejected < should[STAT_DROP_REJECTED] ||
        closed + rejected > least + st->twin.closed_slack)
        stage_fail(
            st, "counted %llu dropped with their queue and %llu rejected, it should be %llu and %llu, or %llu more",
            (unsigned long long)closed, (unsigned long long)rejected, (unsigned long long)should[STAT_DROP_CLOSED],
            (unsigned long long)should[STAT_DROP_REJECTED], (unsigned long long)st->twin.closed_slack);
}

static void compare_stats(struct stage *st)
{
    static const enum stat_id same[] = {STAT_DROP_HEAD,     STAT_DROP_EXPIRED, STAT_DROP_RETURNED, STAT_DROP_CYCLE,
                                        STAT_DROP_PURGED,   STAT_DROP_FULL,    STAT_DROP_NOMEM,    STAT_DROP_TOO_BIG,
                                        STAT_DEAD_LETTERED, STAT_LAPSED,       STAT_TX_COMMITTED,  STAT_TX_ABORTED};
    const uint64_t *is = st->shard->stats.v, *should = st->twin.stat;
    for (uint32_t i = 0; i < ARRAY_N(same); i++)
        if (is[same[i]] != should[same[i]])
            stage_fail(st, "counted %llu '%s', it should be %llu", (unsigned long long)is[same[i]],
                       stat_table[same[i]].name, (unsigned long long)should[same[i]]);
    compare_ends(st, is, should);
    uint64_t waiting = 0;
    for (uint32_t i = 0; i < st->twin.queue_n; i++)
        waiting += count_state(st->twin.queue[i], TWIN_WAITING);
    if (is[STAT_RETRYING] != waiting)
        stage_fail(st, "counted %llu retrying, it should be %llu", (unsigned long long)is[STAT_RETRYING],
                   (unsigned long long)waiting);
    if (is[STAT_DELAYED] != st->twin.late_n)
        stage_fail(st, "counted %llu delayed, it should be %u", (unsigned long long)is[STAT_DELAYED], st->twin.late_n);
}

/* dump: the twin's queues, for whoever reads the trace of a failure. */
static void dump(struct stage *st)
{
    for (uint32_t i = 0; i < STAT_N; i++)
        if (st->twin.stat[i] && st->shard->stats.v[i] != st->twin.stat[i])
            stage_trace(st, "%s: %llu, twin %llu", stat_table[i].name, (unsigned long long)st->shard->stats.v[i],
                        (unsigned long long)st->twin.stat[i]);
    static const char *const state[] = {"ready", "waiting", "going", "sent"};
    for (uint32_t i = 0; i < st->twin.queue_n; i++) {
        const struct twin_queue *q = st->twin.queue[i];
        if (q->is_dead)
            continue;
        const struct twin_policy *y = &q->policy;
        stage_trace(st, "twin: queue %s:%s%s max %llu, %llu overflow %u limit %d ttl %lld dlx %s %s retry %llu %llu",
                    q->name[0] ? q->name : "(own)", q->is_paused ? " paused" : "", y->single ? " single" : "",
                    (unsigned long long)y->len_max, (unsigned long long)y->weight_max, y->overflow,
                    y->has_limit ? (int)y->limit : -1, y->has_ttl ? (long long)y->ttl : -1,
                    y->has_dlx ? y->dlx : "none", y->has_dlk ? y->dlk : "", (unsigned long long)y->retry_min,
                    (unsigned long long)y->retry_max);
        for (uint32_t k = 0; k < q->copy_n; k++)
            stage_trace(st, "    #%u %s level %u, %u times, back %u, expires %llu, due %llu", q->copy[k]->m.number,
                        state[q->copy[k]->state], q->copy[k]->level, q->copy[k]->attempts, q->copy[k]->returns,
                        (unsigned long long)q->copy[k]->expires_at, (unsigned long long)q->copy[k]->due);
        for (uint32_t k = 0; k < q->consumer_n; k++) {
            const struct twin_consumer *c = q->consumer[k];
            stage_trace(st, "    peer %u sub %u%s%s: prefetch %u, has %u, %s %u, priority %d, served %llu, ready %llu",
                        c->session->peer, c->sub, c == q->active ? " (first)" : "", c->is_auto ? " auto" : "",
                        c->prefetch, c->inflight, c->is_pull ? "credit" : "push", c->credit, c->priority,
                        (unsigned long long)c->served, (unsigned long long)c->ready_since);
        }
    }
}

void stage_check(struct stage *st)
{
    struct look l = {.st = st};
    hear(&l);
    if (st->why[0] == 0)
        twin_resolve(&st->twin, l.d, l.n);
    if (st->twin.why[0])
        stage_fail(st, "%s", st->twin.why);
    if (st->why[0] == 0)
        check_carried(&l);
    st->deliveries += l.n;
    after(st);
    if (st->why[0] == 0)
        compare_queues(st);
    if (st->why[0] == 0)
        compare_stats(st);
    if (st->why[0] && st->verbose)
        dump(st);
    if (++st->checks % CHECK_EVERY == 0)
        shard_check(st->shard);
    mem_free(&st->mem, l.d);
    mem_free(&st->mem, l.frame);
}
