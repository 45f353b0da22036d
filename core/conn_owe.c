/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_owe.c: the receipts a connection owes its peer.
 *
 *     verb ─► conn_owe ─┬─ nothing waits before it, and the disk has it ─► on_settled, at once
 *                       └─ else ─► [ring, in order] ─► conn_pay, when the store says "durable up to" ─► on_settled
 *
 * Invariants
 *   1. Receipts leave in the order of their verbs: a later one waits behind an earlier one even if it is durable.
 *   2. The LSNs in a ring never fall from the first to the last.
 *   3. A connection has a ring, and is on the shard's list of those that wait, exactly while a receipt waits.
 * Cost    nothing for a connection that nothing is owed to; 32 bytes per receipt that waits; O(1).
 * Thread  own shard only.
 * Spec    MQTT 5 §4.6 (order of acknowledgements); STOMP 1.2 §RECEIPT.
 */
#include "core/broker.h"
#include "core/conn.h"
#include "core/shard.h"

void conn_forget_receipts(struct conn *c)
{
    if (!c->owed)
        return;
    struct mem *mem = shard_mem(c->shard, MEM_CONN);
    list_del(&c->owed->node);
    mem_free(mem, c->owed->v);
    mem_free(mem, c->owed);
    c->owed = NULL;
}

static void pay(struct conn *c, uint64_t receipt, enum err result)
{
    if (c->is_closing)
        return;
    if (receipt == RECEIPT_ATTACH)
        broker_attached(c, result);
    else if (receipt >= RECEIPT_RELEASE_FIRST)
        c->adapter->on_release(c, (uint32_t)(receipt - RECEIPT_RELEASE_FIRST));
    else
        c->adapter->on_settled(c, receipt, result);
}

/* owed_at: the receipt at place i of those that wait. */
static struct owed *owed_at(const struct owed_ring *r, uint32_t i)
{
    return &r->v[(r->first + i) & (r->cap - 1)];
}

static bool owed_push(struct conn *c, const struct owed *o)
{
    struct mem *mem = shard_mem(c->shard, MEM_CONN);
    struct owed_ring *r = c->owed;
    if (!r) {
        r = mem_zalloc(mem, sizeof *r);
        if (!r)
            return false;
        r->conn = c;
        list_push(&c->shard->owing, &r->node);
        c->owed = r;
    }
    if (r->n == r->cap) {
        uint32_t cap = r->cap ? r->cap * 2 : 16;
        struct owed *v = mem_alloc(mem, cap * sizeof *v);
        if (!v)
            return false;
        for (uint32_t i = 0; i < r->n; i++)
            v[i] = *owed_at(r, i);
        mem_free(mem, r->v);
        r->v = v;
        r->first = 0;
        r->cap = cap;
    }
    *owed_at(r, r->n++) = *o;
    return true;
}

void conn_owe(struct conn *c, uint64_t receipt, enum err result, lsn_t lsn)
{
    if (receipt == RECEIPT_NONE)
        return;
    bool waits = c->owed && c->owed->n > 0; /* both: [MQTT-4.6.0-2], [MQTT-4.6.0-3]. Then it waits behind those */
    if (UNLIKELY(c->shard->store_failed) && lsn > c->shard->lsn_durable) {
        conn_close(c, CLOSE_STORE); /* it will never be true */
        return;
    }
    if (!waits && lsn <= c->shard->lsn_durable) {
        pay(c, receipt, result);
        return;
    }
    if (waits) {
        const struct owed_ring *r = c->owed;
        lsn = MAX(lsn, owed_at(r, r->n - 1)->lsn);
    }
    c->shard->owes_later |= lsn == LSN_LATER;
    if (!owed_push(c, &(struct owed){.lsn = lsn, .receipt = receipt, .result = result}))
        conn_close(c, CLOSE_NOMEM); /* 3.1.1: [MQTT-4.8.0-2] */
}

void conn_owe_known(struct shard *s)
{
    if (LIKELY(!s->owes_later))
        return;
    s->owes_later = false;
    LIST_EACH(&s->owing, it)
    {
        struct owed_ring *r = LIST_ITEM(it, struct owed_ring, node);
        for (uint32_t i = 0; i < r->n; i++)
            if (owed_at(r, i)->lsn == LSN_LATER)
                owed_at(r, i)->lsn = s->lsn_last;
        conn_pay(r->conn, s->lsn_durable);
    }
}

void conn_hold(struct conn *c, struct consumer *k)
{
    struct owed_ring *r = c->owed;
    if (!r || r->n == 0)
        return; /* answered already */
    owed_at(r, r->n - 1)->held = k;
    k->is_held = 1;
}

void conn_forget_consumer(struct conn *c, const struct consumer *k)
{
    for (uint32_t i = 0; c->owed && i < c->owed->n; i++) {
        struct owed *o = owed_at(c->owed, i);
        if (o->held == k)
            o->held = NULL;
    }
}

void conn_unhold(struct conn *c)
{
    for (uint32_t i = 0; c->owed && i < c->owed->n; i++) {
        struct owed *o = owed_at(c->owed, i);
        if (o->held)
            o->held->is_held = 0;
        o->held = NULL;
    }
}

void conn_pay(struct conn *c, lsn_t durable)
{
    struct owed_ring *r = c->owed;
    c->shard->refused = NULL; /* of another verb */
    while (r && r->n > 0 && r->v[r->first].lsn <= durable) {
        struct owed o = r->v[r->first];
        r->first = (r->first + 1) & (r->cap - 1);
        r->n--;
        pay(c, o.receipt, o.result);
        if (o.held) {
            o.held->is_held = 0;
            queue_mark(o.held->queue);
        }
    }
    if (r && r->n == 0)
        conn_forget_receipts(c);
}
