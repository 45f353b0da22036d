/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn_pause.c: a connection that publishes faster than it may is not read for a while.
 *
 *     publish ─► conn_slow: tokens from its own brakes and the exchange's ─► debt? ─► conn_pause
 *     conn_tick ─► conn_pause_tick ─┬─ the debt is paid ─► read again, and in small bites from now on
 *                                   └─ a second is over, and it owes us answers ─► one small read all the same
 *
 * What was read is published: nothing is dropped, and the debt of a whole bite is paid by one pause. The peer's own
 * buffers fill up meanwhile, which is what slows it down.
 *
 * Invariants
 *   1. While is_paused, READ is not asked of the transport, the timer is armed for conn_pause_due at the latest, and
 *      session->away exists.
 *   2. A paused connection is not silent: rx_at follows the clock, so neither keep-alive nor heart-beat count that
 * time.
 * Cost    nothing without a rate limit; one timer a second while paused.
 * Thread  own shard only.
 * Spec    MQTT 5 §3.1.2.10 (Keep Alive); STOMP 1.2 §Heart-beating.
 */
#include "core/conn.h"

#include "core/exchange.h"
#include "core/session.h"
#include "core/shard.h"

enum { PEEK_MS = 1000 };

/* A pause of more than a year is none that anybody waits for; and no sum overflows. */
#define PAUSE_MS_MAX (UINT64_C(366) * 24 * 3600 * 1000)

enum err conn_set_rate(struct conn *c)
{
    const struct limits *l = &c->shard->limits;
    if (l->publish_rate == 0 && l->publish_bytes_rate == 0)
        return ERR_OK;
    if (!session_away(c->session))
        return ERR_NOMEM;
    struct away *a = c->session->away; /* it may have come back with debts of its former connection */
    if (a->brake.rate == 0)
        brake_init(&a->brake, l->publish_rate, c->shard->now);
    if (a->bytes_brake.rate == 0)
        brake_init(&a->bytes_brake, l->publish_bytes_rate, c->shard->now);
    c->has_rate = 1;
    return ERR_OK;
}

void conn_slow(struct conn *c, struct exchange *x, uint64_t n, uint64_t bytes)
{
    mono_ms now = c->shard->now, wait = 0;
    if (c->is_closing || !c->session)
        return;
    if (c->has_rate) {
        struct away *a = c->session->away;
        mono_ms by_n = brake_take(&a->brake, n, now), by_bytes = brake_take(&a->bytes_brake, bytes, now);
        wait = MAX(by_n, by_bytes);
    }
    if (x->has_brake) {
        mono_ms by_x = brake_take(&x->brake, n, now);
        wait = MAX(wait, by_x);
    }
    if (UNLIKELY(wait != 0))
        conn_pause(c, wait);
}

void conn_pause(struct conn *c, mono_ms ms)
{
    struct shard *s = c->shard;
    if (ms == 0 || c->is_closing || !c->session || !session_away(c->session))
        return; /* without memory: the debt stays, and the next publish asks again */
    struct away *a = c->session->away;
    mono_ms until = s->now + MIN(ms, PAUSE_MS_MAX);
    if (c->is_paused) {
        a->paused_until = MAX(a->paused_until, until);
        return;
    }
    stat_add(&s->stats, STAT_PAUSES, 1);
    a->paused_until = until;
    a->peek_at = s->now + PEEK_MS;
    c->is_paused = 1;
    c->reads_little = 1;
    conn_want(c, c->interest);
    conn_wants_tick(c, until);
}

mono_ms conn_pause_due(const struct conn *c)
{
    if (!c->session)
        return MONO_NEVER; /* it was taken over, and the connection ends */
    const struct away *a = c->session->away;
    return MIN(a->paused_until, a->peek_at);
}

/* look: reads what is there, though nobody reported it: a pipe may hold input that its socket has no more. */
static void look(struct conn *c)
{
    c->ready_events |= LOOP_READ;
    shard_mark_ready(c->shard, c);
}

void conn_pause_tick(struct conn *c, mono_ms now)
{
    struct away *a = c->session->away;
    c->rx_at = now;
    if (now >= a->paused_until) {
        c->is_paused = 0;
        conn_want(c, c->interest | LOOP_READ);
        look(c);
    } else if (now >= a->peek_at) {
        a->peek_at = now + PEEK_MS;
        if (c->session->tickets.n > 0) {
            c->may_peek = 1;
            look(c);
        }
    }
}
