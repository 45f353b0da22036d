/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flight.c: what waits for an answer, by ticket.
 *
 *     slot[ticket & (cap - 1)]:  | 17 bare ─► consumer | 18 ─► entry (kept) | free | 20 bare | ...
 *
 * Numbers rise, and peers answer roughly in order, so taking and giving mostly walk along the ring: one cache line
 * serves four deliveries.
 *
 * Invariants
 *   1. A ticket is in use at most once per session [MQTT-2.2.1-4], and tickets_get finds exactly what is in flight.
 *   2. Kept flights are the entries of session->inflight, which has the order of sending; bare ones are in the ring
 * only.
 *   3. Bare flights exist only while the session's expiry is 0: they end with the connection.
 * Cost    16 bytes per place; the ring is given back when a burst is over.
 * Thread  own shard only. Spec    MQTT 5 §2.2.1 (packet identifiers), §4.3.
 */
#include "core/flight.h"

#include "core/session.h"
#include "core/shard.h"

enum { TICKETS_FIRST = 8, TICKETS_KEEP = 64 };

static struct mem *mem_of(const struct session *s)
{
    return shard_mem(s->vhost->shard, MEM_SESSION);
}

/* ---- tickets ------------------------------------------------------------------------------------------------ */

static bool grow(struct session *s)
{
    struct tickets *t = &s->tickets;
    uint32_t cap = t->cap ? t->cap * 4 : TICKETS_FIRST;
    if (t->cap > s->ticket_max)
        return false;
    struct flight *slot = mem_zalloc(mem_of(s), cap * sizeof(*slot));
    if (!slot)
        return false;
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->slot[i].ticket)
            slot[t->slot[i].ticket & (cap - 1)] = t->slot[i];
    mem_free(mem_of(s), t->slot);
    t->slot = slot;
    t->cap = cap;
    return true;
}

/* tickets_take: never 0, never one in flight. [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]; 3.1.1: [MQTT-2.3.1-4],
 * [MQTT-4.3.2-1], [MQTT-4.3.3-1]. */
struct flight *tickets_take(struct session *s)
{
    struct tickets *t = &s->tickets;
    if (t->n >= s->ticket_max)
        return NULL;
    if (UNLIKELY(t->cap == 0) && !grow(s))
        return NULL;
    for (;;) {
        uint32_t n = t->next;
        struct flight *f = &t->slot[n & (t->cap - 1)];
        if (LIKELY(f->ticket == 0)) {
            f->ticket = n;
            t->n++;
            t->next = n >= s->ticket_max ? 1 : n + 1;
            return f;
        }
        /* Still in flight since an earlier round [MQTT-2.2.1-4], or its place is taken by one that is: any other
         * number will do while there is room. */
        if (t->n * 2 >= t->cap && f->ticket != n) {
            if (!grow(s))
                return NULL;
            continue;
        }
        t->next = n >= s->ticket_max ? 1 : n + 1;
    }
}

struct flight *tickets_claim(struct session *s, uint32_t ticket)
{
    struct tickets *t = &s->tickets;
    if (ticket == 0 || ticket > s->ticket_max || tickets_get(s, ticket))
        return NULL;
    while (t->cap == 0 || t->slot[ticket & (t->cap - 1)].ticket != 0)
        if (!grow(s))
            return NULL;
    struct flight *f = &t->slot[ticket & (t->cap - 1)];
    f->ticket = ticket;
    t->n++;
    t->next = ticket >= s->ticket_max ? 1 : ticket + 1;
    return f;
}

struct flight *tickets_get(const struct session *s, uint32_t ticket)
{
    if (s->tickets.cap == 0 || ticket == 0)
        return NULL;
    struct flight *f = &s->tickets.slot[ticket & (s->tickets.cap - 1)];
    return f->ticket == ticket ? f : NULL;
}

void tickets_give(struct session *s, struct flight *f)
{
    struct tickets *t = &s->tickets;
    BUG_ON(f->ticket == 0);
    f->ticket = 0;
    t->n--;
    if (t->n == 0 && t->cap > TICKETS_KEEP) { /* a burst is over */
        mem_free(mem_of(s), t->slot);
        t->slot = NULL;
        t->cap = 0;
    }
}

/* ---- flights ------------------------------------------------------------------------------------------------ */

struct flight *flight_take(struct consumer *c)
{
    struct session *s = c->session;
    struct flight *f = tickets_take(s);
    if (UNLIKELY(!f))
        return NULL;
    s->sent_n++;
    c->inflight_n++;
    c->queue->inflight_n++;
    return f;
}

void flight_give(struct consumer *c, struct flight *f, bool counted)
{
    struct session *s = c->session;
    tickets_give(s, f);
    s->sent_n -= counted;
    c->queue->inflight_n--;
    consumer_settled(c);
}

/* ---- bare flights ------------------------------------------------------------------------------------------- */

struct consumer *flight_consumer(const struct flight *f)
{
    return f->is_bare ? f->of.consumer : f->of.entry->at.consumer;
}

struct flight *flight_begin(struct consumer *c, uint8_t qos)
{
    struct flight *f = flight_take(c);
    if (UNLIKELY(!f))
        return NULL;
    f->of.consumer = c;
    f->is_bare = 1;
    f->qos = qos;
    f->state = ENTRY_SENT;
    stat_add(&c->session->vhost->shard->stats, STAT_ENTRIES, 1);
    return f;
}

void flight_end(struct session *s, struct flight *f)
{
    flight_give(f->of.consumer, f, true);
    stat_sub(&s->vhost->shard->stats, STAT_ENTRIES, 1);
}

uint32_t flights_drop(struct session *s)
{
    uint32_t sent_n = 0;
    for (uint32_t i = 0; i < s->tickets.cap; i++) {
        struct flight *f = &s->tickets.slot[i];
        if (f->ticket == 0 || !f->is_bare)
            continue;
        sent_n += f->state == ENTRY_SENT;
        flight_end(s, f);
    }
    return sent_n;
}
