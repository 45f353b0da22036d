/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.c: deliveries that wait for the disk.
 *
 *     in flight:   [sent] [sent] [7] [8] [9] [10] [11]
 *                                 ▲       ▲
 *                           resend│       │hold_last: these may leave once hold_lsn is durable; then the next group is
 *                                         everything that has come meanwhile
 *
 * Two groups at most wait at a time, one for the batch that is being written and one that gathers, so a session that is
 * busy all the time waits for two batches at most, and nothing is kept per entry.
 *
 * Invariants
 *   1. session->holds: resend is not NULL, and everything from there on has not been sent on this connection.
 *   2. away->holding is on shard->holding exactly while hold_lsn is not durable.
 *   3. entry->held: it was never sent to this session: its ticket means nothing to the peer yet.
 * Cost    one note in the store per delivery that survives a restart; O(1).
 * Thread  own shard only.
 * Spec    MQTT 5 §4.1 (session state), §4.3.3, §4.4.
 */
#include "core/hold.h"

#include "core/conn.h"
#include "core/session.h"
#include "core/shard.h"

static struct shard *shard_of(const struct session *s)
{
    return s->vhost->shard;
}

/* begin_group: all that is in flight now waits for what is in the store's batch now. */
static void begin_group(struct session *s)
{
    struct shard *shard = shard_of(s);
    struct away *a = s->away;
    struct list_node *last = list_last(&s->inflight);
    BUG_ON(!last || !s->resend);
    a->hold_last = LIST_ITEM(last, struct entry, node);
    a->hold_lsn = shard->lsn_last;
    bool waits = a->hold_lsn > shard->lsn_durable;
    if (waits && !list_in(&a->holding))
        list_push(&shard->holding, &a->holding);
    else if (!waits && list_in(&a->holding))
        list_del(&a->holding);
}

void hold_end(struct session *s)
{
    if (!s->holds)
        return;
    s->holds = 0;
    s->away->hold_last = NULL;
    if (list_in(&s->away->holding))
        list_del(&s->away->holding);
}

/* must_know: is this delivery's packet id part of what survives? Of other queues than the session's own only at QoS 2:
 * the rest goes back there when the session is away [MQTT-4.8.2-4]. */
static bool must_know(const struct entry *e, const struct consumer *c)
{
    return e->lsn && e->by_qos && e->sent_qos > 0 && session_is_durable(c->session) &&
           (c->queue->owner == c->session || e->sent_qos == 2);
}

bool hold_delivery(struct entry *e, struct consumer *c)
{
    struct session *s = c->session;
    bool waits = s->holds;
    if (UNLIKELY(must_know(e, c))) {
        const struct queue *q = c->queue;
        lsn_t lsn = shard_append(shard_of(s), &(struct store_rec){.kind = STORE_SENT,
                                                                  .queue = q->number,
                                                                  .session = q->owner == s ? 0 : s->number,
                                                                  .of = e->lsn,
                                                                  .ticket = (uint16_t)e->ticket,
                                                                  .qos = e->sent_qos});
        if (e->sent_qos == 2 && lsn == LSN_FAILED) {
            conn_close(s->conn, CLOSE_STORE); /* it cannot be sent without, and stays in flight */
            return true;
        }
        waits |= e->sent_qos == 2 && lsn > shard_of(s)->lsn_durable;
    }
    if (LIKELY(!waits))
        return false;
    e->held = 1;
    if (!s->holds) {
        s->resend = e;
        s->holds = 1;
        begin_group(s);
    }
    return true;
}

void hold_again(struct session *s)
{
    struct shard *shard = shard_of(s);
    if (!s->resend || !session_is_durable(s) || !s->away || shard->lsn_last <= shard->lsn_durable ||
        shard->store_failed)
        return;
    s->holds = 1;
    begin_group(s);
}

bool hold_may_send(const struct session *s)
{
    return !s->holds || !list_in(&s->away->holding);
}

void hold_sent(struct session *s, const struct entry *e)
{
    if (!s->holds)
        return;
    if (!s->resend)
        hold_end(s);
    else if (s->away->hold_last == e)
        begin_group(s);
}

void hold_left(struct session *s, const struct entry *e)
{
    if (!s->holds)
        return;
    if (!s->resend) {
        hold_end(s);
        session_wake(s);
    } else if (s->away->hold_last == e) {
        begin_group(s); /* what came behind it has its own time to wait */
    }
}

void hold_durable(struct shard *shard, lsn_t lsn)
{
    LIST_EACH(&shard->holding, it)
    {
        struct away *a = LIST_ITEM(it, struct away, holding);
        struct session *s = a->session;
        if (a->hold_lsn > lsn)
            continue;
        list_del(&a->holding);
        if (s->conn)
            shard_mark_dirty(shard, s->conn);
    }
}
