/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_queue.c: named queues: every message is for exactly one consumer in the end.
 *
 *     send ─► queue ─► take (HELD) ─┬─► ACKED ─► SURE, once a later receipt on that connection came
 *                        ▲          ├─► REJECTED
 *                        └──────────┴─► NACKED, or the connection ended
 *
 * A second take of a message is right only if the first was given back: by NACK, or by the end of its connection (of
 * its session, for MQTT at QoS 2). Who ends a connection knows it first, so when the peer ended it the broker must have
 * been later; when the broker or the network did, the broker may have known before the peer. That is only known at the
 * end of the run, and checked there.
 */
#include "tests/sim/model.h"

#include <stdio.h>
#include <string.h>

uint32_t model_link_new(struct model *m)
{
    m->link = model_grow(m->mem, m->link, &m->link_cap, m->link_n + 1, sizeof(*m->link));
    m->link[m->link_n] = (struct link_life){.ended_at = MODEL_NEVER};
    return m->link_n++;
}

void model_link_ended(struct model *m, uint32_t link, bool by_peer)
{
    if (m->link[link].ended_at == MODEL_NEVER)
        m->link[link] = (struct link_life){.ended_at = ++m->clock, .by_peer = by_peer};
}

uint32_t model_take(struct model *m, const struct take *t, struct slice queue)
{
    const struct pub *p = &m->pub[t->pub];
    ++m->clock;
    m->gots++;
    if (p->queue == 0 || !slice_eq_str(queue, p->to))
        model_fail(m, "message %u was sent to %s, it came from queue " SLICE_FMT, t->pub, p->to, SLICE_ARG(queue));
    if (p->fate == PUB_NEVER || (p->fate == PUB_REFUSED && p->attempts == 1))
        model_fail(m, "message %u came from its queue although it was refused or never sent", t->pub);
    if (m->now && *m->now < p->due)
        model_fail(m, "message %u came from its queue before its delay had passed", t->pub);
    m->take = model_grow(m->mem, m->take, &m->take_cap, m->take_n + 1, sizeof(*m->take));
    m->take[m->take_n] = *t;
    m->take[m->take_n].at = m->clock;
    m->take[m->take_n].answered_at = MODEL_NEVER;
    return m->take_n++;
}

void model_answer(struct model *m, uint32_t take, enum take_state state)
{
    struct take *t = &m->take[take];
    t->state = (uint8_t)state;
    if (state != TAKE_SURE)
        t->answered_at = ++m->clock;
}

/* is_given_back: could the broker hand t's message to somebody else at that time? */
static bool is_given_back(const struct model *m, const struct take *t, uint64_t at)
{
    const struct link_life *l = &m->link[t->link];
    if (t->state == TAKE_NACKED && t->answered_at <= at)
        return true;
    if (t->keeper)
        return t->keeper->is_ended; /* nobody saw when */
    return l->ended_at != MODEL_NEVER && (l->ended_at <= at || !l->by_peer);
}

/* check_pair: `then` was seen after `first`; which says nothing if it came out of a connection that the broker had
 * ended. */
static void check_pair(struct model *m, const struct take *first, const struct take *then)
{
    const struct pub *p = &m->pub[first->pub];
    const struct link_life *l = &m->link[then->link];
    if (l->ended_at != MODEL_NEVER && !l->by_peer)
        return;
    if (!then->redelivered)
        model_fail(m, "message %u came from queue %s again, but not marked as redelivered", first->pub, p->to);
    if (first->state == TAKE_AUTO || (first->state == TAKE_SURE && first->answered_at < then->at))
        model_fail(m, "message %u came from queue %s again after it was %s", first->pub, p->to,
                   first->state == TAKE_AUTO ? "delivered to an auto consumer" : "acknowledged");
    if (!is_given_back(m, first, then->at))
        model_fail(m, "message %u of queue %s went to two consumers at once", first->pub, p->to);
}

static void check_takes_of(struct model *m, uint32_t pub)
{
    const struct pub *p = &m->pub[pub];
    bool is_done = false;
    for (uint32_t i = 0; i < m->take_n; i++) {
        const struct take *t = &m->take[i];
        if (t->pub != pub)
            continue;
        is_done |= t->state != TAKE_HELD && t->state != TAKE_NACKED;
        bool is_sent_twice = p->qos == 1 && p->attempts > 1; /* then it is in the queue twice */
        for (uint32_t k = i + 1; k < m->take_n && !is_sent_twice; k++)
            if (m->take[k].pub == pub)
                check_pair(m, t, &m->take[k]);
    }
    if (is_done || p->fate != PUB_ACKED || p->qos == 0 || p->may_expire || (m->auto_lost & 1u << (p->queue - 1)))
        return;
    if (m->missing++ == 0)
        snprintf(m->first_missing, sizeof(m->first_missing), "message %u of queue %.60s was lost", pub, p->to);
}

void model_check_queues(struct model *m)
{
    for (uint32_t pub = 0; pub < m->pub_n; pub++)
        if (m->pub[pub].queue)
            check_takes_of(m, pub);
}

/* ---- transactions -------------------------------------------------------------------------------------------------
 */

uint32_t model_tx_new(struct model *m)
{
    m->tx = model_grow(m->mem, m->tx, &m->tx_cap, m->tx_n + 1, sizeof(*m->tx));
    m->tx[m->tx_n] = TX_OPEN;
    return m->tx_n++;
}

void model_tx_ended(struct model *m, uint32_t tx, enum tx_fate fate)
{
    m->tx[tx] = (uint8_t)fate;
    for (uint32_t pub = 0; pub < m->pub_n; pub++) {
        if (m->pub[pub].tx != tx + 1)
            continue;
        if (fate == TX_COMMITTED)
            model_pub_acked(m, pub);
        else if (fate == TX_REFUSED)
            model_pub_refused(m, pub);
        else if (fate == TX_LEFT)
            model_pub_never(m, pub);
    }
}

static bool was_taken(const struct model *m, uint32_t pub)
{
    for (uint32_t i = 0; i < m->take_n; i++)
        if (m->take[i].pub == pub)
            return true;
    return false;
}

void model_check_txs(struct model *m)
{
    for (uint32_t tx = 0; tx < m->tx_n; tx++) {
        uint32_t seen = MODEL_NONE, unseen = MODEL_NONE;
        for (uint32_t pub = 0; pub < m->pub_n; pub++) {
            if (m->pub[pub].tx != tx + 1 || (m->auto_lost & 1u << (m->pub[pub].queue - 1)))
                continue; /* what was on its way to an `auto` consumer nobody has seen */
            *(was_taken(m, pub) ? &seen : &unseen) = pub;
        }
        if (seen != MODEL_NONE && unseen != MODEL_NONE)
            model_fail(m, "of one transaction, message %u was seen and message %u was not", seen, unseen);
    }
}
