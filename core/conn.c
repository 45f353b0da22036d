/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c: one connection: bytes in, bytes out, and its end.
 *
 *     transport ─► conn_on_io (only notes) ─► ready list ─► conn_read ─► [find the adapter] ─► adapter->on_bytes
 *     verbs and deliveries ─► conn_out ─► dirty list ─► conn_flush ─► transport->sendv
 *     conn_close (only marks) ─► conn_end: on_close, detach, flush, shut, linger ─► conn_die ─► graveyard ─► conn_free
 *
 * Reading: into a shared chunk, behind a small partial packet if there is one; a large partial packet has a chunk of
 * its own that grows with what has really arrived. Nobody keeps a view of a chunk without a reference on it.
 *
 * What it owes its peer is in conn_owe.c; why it may not be read for a while, in conn_pause.c.
 *
 * Invariants
 *   1. Nothing is sent outside conn_flush, and nothing is freed outside conn_free.
 *   2. An idle connection owns no buffer: out is NULL when nothing is to be said, rx when no packet is partial.
 *   3. WRITE is armed only after the transport took less than all.
 * Cost    192 bytes idle, the adapter's state included. One recv per 64 KiB, one sendv per turn (and per 64 segments).
 * Thread  own shard only.
 */
#include "core/conn.h"

#include "core/broker.h"
#include "core/shard.h"

enum { IOV_N = 64, LINE_ENDS_MAX = 64, PARTIAL_SMALL = 4096 };

/* ---- life --------------------------------------------------------------------------------------------------- */

struct conn *conn_new(struct shard *s, struct transport *t, const struct door *d)
{
    struct conn *c = NULL;
    if (!s->is_stopping && s->stats.v[STAT_CONNS] < s->limits.connections_max)
        c = pool_take(&s->conn_pool);
    if (!c) {
        stat_add(&s->stats, STAT_CONNS_REFUSED, 1);
        transport_destroy(t);
        return NULL;
    }
    memset(c, 0, sizeof *c);
    c->shard = s;
    c->transport = t;
    c->door = d;
    mono_ms now = loop_now(s->loop); /* between turns s->now may be old */
    c->rx_at = now;
    c->tx_at = now + s->limits.login_ms;
    c->awaits_login = 1;
    c->interest = LOOP_READ;
    list_push(&s->conns, &c->all);
    t->up = c;
    t->on_ready = conn_on_io;
    shard_arm(s, &c->timer, TIMER_CONN, c->tx_at);
    stat_add(&s->stats, STAT_CONNS, 1);
    stat_peak(&s->stats, STAT_CONNS_PEAK, STAT_CONNS);
    stat_add(&s->stats, STAT_CONNS_TOTAL, 1);
    transport_want(t, LOOP_READ);
    return c;
}

void conn_die(struct conn *c)
{
    struct shard *s = c->shard;
    if (c->state_now == CONN_DEAD)
        return;
    BUG_ON(c->session != NULL);
    c->state_now = CONN_DEAD;
    wheel_disarm(&s->wheel, &c->timer);
    transport_want(c->transport, 0);
    list_del(&c->all);
    list_push(&s->dead_conns, &c->all);
    stat_sub(&s->stats, STAT_CONNS, 1);
}

void conn_free(struct conn *c)
{
    struct shard *s = c->shard;
    list_del(&c->all);
    if (c->adapter) {
        c->adapter->destroy(c);
    }
    if (c->out)
        outv_free(&s->outvs, c->out);
    if (c->rx)
        chunk_drop(c->rx);
    conn_forget_receipts(c);
    transport_destroy(c->transport);
    pool_give(&s->conn_pool, c);
}

void conn_close(struct conn *c, enum close_reason why)
{
    if (c->is_closing)
        return;
    c->is_closing = 1;
    c->reason = why;
    c->is_gone |= why == CLOSE_RESET;
    shard_mark_dirty(c->shard, c);
}

bool conn_can_say(const struct conn *c)
{
    return c->adapter && !c->is_gone && c->reason != CLOSE_EOF && c->state_now == CONN_OPEN;
}

static void log_end(struct conn *c)
{
    if (!log_is_on(c->shard->log, LOG_INFO))
        return;
    char peer[96];
    struct session *s = c->session;
    conn_peer(c, peer, sizeof peer);
    log_line(c->shard->log, LOG_INFO, "%s %s%s" SLICE_FMT "%s closed: %s", peer,
             c->adapter ? c->adapter->name : "(no protocol)", s && s->id_len ? " '" : "", s ? (int)s->id_len : 0,
             s ? (const char *)s->id : "", s && s->id_len ? "'" : "", close_text((enum close_reason)c->reason));
}

/* conn_want: READ is left out while a login waits for the store (what comes meanwhile stays with the peer), while it is
 * paused, and after EOF. */
void conn_want(struct conn *c, unsigned interest)
{
    if (c->is_eof || c->attach_late || c->is_paused)
        interest &= ~(unsigned)LOOP_READ;
    if (c->interest == interest)
        return;
    c->interest = interest & 0xff;
    transport_want(c->transport, interest);
}

/* try_shut: when the last byte was taken, the peer may know that nothing more comes. */
static void try_shut(struct conn *c)
{
    if (c->out || c->is_shut)
        return;
    c->is_shut = 1;
    c->transport->ops->shut(c->transport);
}

void conn_end(struct conn *c)
{
    struct shard *s = c->shard;
    if (c->has_ended)
        return;
    c->has_ended = 1;
    if (c->adapter)
        c->adapter->on_close(c, (enum close_reason)c->reason);
    log_end(c);
    s->close_n[c->reason]++;
    if (c->session)
        session_detach(c->session, (enum close_reason)c->reason);
    conn_forget_receipts(c);
    c->is_eof = c->reason == CLOSE_EOF;
    if (c->is_paused) {
        c->is_paused = 0;
        conn_want(c, c->interest | LOOP_READ); /* to hear whether the peer is still there */
    }
    bool is_mutual = !c->out && !c->transport->ops->has_farewell &&
                     (c->reason == CLOSE_GOODBYE || c->reason == CLOSE_GOODBYE_WILL); /* nobody waits */
    conn_flush(c);
    c->state_now = CONN_LINGERING; /* STOMP 1.2 §Connection Lingering */
    if (c->is_gone || !c->adapter || s->limits.linger_ms == 0 || is_mutual || (c->is_eof && !c->out)) {
        conn_die(c);
        return;
    }
    if (c->is_eof)
        conn_want(c, LOOP_WRITE);
    try_shut(c);
    mono_ms grace = s->limits.linger_ms;
    if (s->is_stopping)
        grace = MIN(grace, s->stop_grace_ms);
    shard_arm(s, &c->timer, TIMER_CONN, s->now + grace);
}

/* ---- output ------------------------------------------------------------------------------------------------- */

struct outv *conn_out_new(struct conn *c)
{
    if (!c->out) {
        c->out = outv_new(&c->shard->outvs);
        if (!c->out) {
            conn_close(c, CLOSE_NOMEM); /* 3.1.1: [MQTT-4.8.0-2] */
            return NULL;
        }
    }
    if (!c->is_dirty)
        shard_mark_dirty(c->shard, c);
    return c->out;
}

bool conn_is_blocked(struct conn *c)
{
    if (LIKELY(!c->out || c->out->bytes < c->shard->limits.out_bytes_max))
        return false;
    c->is_blocked = 1;
    return true;
}

static void peer_is_gone(struct conn *c)
{
    c->is_gone = 1;
    if (c->state_now == CONN_LINGERING)
        conn_die(c);
    else
        conn_close(c, CLOSE_RESET);
}

/* send_some: one sendv. True when there may be more to send and the transport may take it. */
static bool send_some(struct conn *c)
{
    struct iovec iov[IOV_N];
    int n = outv_iov(c->out, iov, IOV_N);
    size_t offered = 0;
    for (int i = 0; i < n; i++)
        offered += iov[i].iov_len;
    ptrdiff_t sent = transport_sendv(c->transport, iov, n);
    if (sent == -(ptrdiff_t)ERR_AGAIN)
        return false;
    if (sent < 0) {
        peer_is_gone(c);
        return false;
    }
    outv_eat(c->out, (size_t)sent);
    if (LIKELY(!c->awaits_login))
        c->tx_at = c->shard->now;
    stat_add(&c->shard->stats, STAT_BYTES_OUT, (uint64_t)sent);
    return (size_t)sent == offered && c->out->bytes > 0;
}

void conn_flush(struct conn *c)
{
    struct shard *s = c->shard;
    if (!c->out || c->is_gone || c->state_now == CONN_DEAD)
        return;
    if (c->out->bad) {
        conn_close(c, CLOSE_NOMEM);
        c->is_gone = 1; /* half a packet is worse than none */
        return;
    }
    while (c->out->bytes > 0 && send_some(c))
        ;
    if (c->is_gone)
        return;
    size_t left = c->out->bytes;
    if (left == 0) {
        outv_free(&s->outvs, c->out);
        c->out = NULL;
        if (c->state_now == CONN_LINGERING && c->is_eof) {
            conn_die(c);
            return;
        }
        conn_want(c, LOOP_READ);
        if (c->state_now == CONN_LINGERING)
            try_shut(c);
    } else {
        outv_own(c->out, chunk_die);
        conn_want(c, LOOP_READ | LOOP_WRITE);
        if (c->out && c->out->buf_len - c->out->buf_eaten > s->limits.out_close_bytes_max && c->state_now == CONN_OPEN)
            conn_close(c, CLOSE_SLOW);
    }
    if (c->is_blocked && left < s->limits.out_bytes_max / 2) {
        c->is_blocked = 0;
        if (c->session)
            session_wake(c->session);
    }
}

/* ---- input -------------------------------------------------------------------------------------------------- */

void conn_on_io(struct transport *t, unsigned events)
{
    struct conn *c = t->up;
    c->ready_events |= events & 0xff;
    shard_mark_ready(c->shard, c);
}

/* keep_rest: what on_bytes did not eat waits in a chunk of its own, with room for what is known to come, but never more
 * than a few times what is there. */
static bool keep_rest(struct conn *c, const uint8_t *p, size_t n)
{
    size_t cap = MAX((size_t)c->rx_need, n * 2);
    cap = MIN(cap, MAX((size_t)PARTIAL_SMALL, n * 4));
    cap = MAX(cap, (size_t)256);
    struct chunk *k = chunk_new(&c->shard->chunks, cap);
    if (!k)
        return false;
    memcpy(k->p, p, n);
    if (c->rx)
        chunk_drop(c->rx);
    c->rx = k;
    c->rx_len = (uint32_t)n;
    return true;
}

/* claim: which protocol is this? Returns the bytes eaten (leading line ends). */
static size_t claim(struct conn *c, const uint8_t *in, size_t len)
{
    size_t skip = 0;
    while (skip < len && skip < LINE_ENDS_MAX && (in[skip] == '\n' || in[skip] == '\r'))
        skip++;
    if (skip == len)
        return 0;
    bool more = false;
    for (const struct adapter_ops *const *a = c->door->adapter; *a; a++) {
        enum claim answer = (*a)->claims(in + skip, MIN(len - skip, (size_t)CLAIM_BYTES_MAX));
        if (answer == CLAIM_MORE && len - skip < CLAIM_BYTES_MAX)
            more = true;
        if (answer != CLAIM_YES)
            continue;
        c->adapter = *a;
        if (c->adapter->open(c) != ERR_OK)
            conn_close(c, CLOSE_NOMEM);
        else
            conn_wants_tick(c, c->adapter->on_tick(c, c->shard->now));
        return skip;
    }
    if (more)
        return 0;
    conn_close(c, CLOSE_UNKNOWN_PROTOCOL);
    return len;
}

void conn_restack(struct conn *c, struct transport *upper, const struct adapter_ops *next)
{
    BUG_ON(!c->adapter || c->session || c->out);
    c->adapter->destroy(c);
    memset(c->state, 0, sizeof c->state);
    c->transport = upper;
    upper->up = c;
    upper->on_ready = conn_on_io;
    transport_want(upper, c->interest);
    c->adapter = next;
    if (next->open(c) != ERR_OK)
        conn_close(c, CLOSE_NOMEM);
    else
        conn_wants_tick(c, next->on_tick(c, c->shard->now));
}

/* Input of one read. */
struct gulp {
    struct chunk *chunk; /* the connection's own (c->rx), or the shard's current one */
    uint8_t *at;         /* where it begins in there */
    size_t have, room;   /* bytes of an earlier read in front; room in all */
};

/* feed: g->at holds len bytes: to the adapter; what it does not eat is kept. */
static void feed(struct conn *c, const struct gulp *g, size_t len)
{
    size_t eaten = 0;
    bool own = g->chunk == c->rx;
    c->rx_need = 0;
    if (!c->adapter)
        eaten = claim(c, g->at, len);
    if (c->adapter && !c->is_closing && !c->attach_late && eaten < len) {
        c->shard->reading = &g->chunk->ref;
        eaten += c->adapter->on_bytes(c, g->at + eaten, len - eaten);
        c->shard->reading = NULL;
        BUG_ON(eaten > len);
        if (ref_is_shared(&g->chunk->ref))
            c->shard->turn_out += eaten; /* it stays until it is sent */
    }
    size_t rest = len - eaten;
    if (c->is_closing || rest == 0) {
        if (own) {
            chunk_drop(c->rx);
            c->rx = NULL;
        }
        return;
    }
    if (c->awaits_login && MAX(rest, (size_t)c->rx_need) > c->shard->limits.login_bytes_max)
        conn_close(c, CLOSE_TOO_BIG);
    else if (own && eaten == 0 && len < g->chunk->cap)
        c->rx_len = (uint32_t)len; /* still growing into its own chunk */
    else if (!keep_rest(c, g->at + eaten, rest))
        conn_close(c, CLOSE_NOMEM);
}

/* open_gulp: where to read: behind a large partial packet in its own chunk, else into the shared one, behind a copy of
 * a small one. */
static bool open_gulp(struct conn *c, struct gulp *g)
{
    if (c->rx && (c->rx_len > PARTIAL_SMALL || c->rx_need > CHUNK_BYTES / 2)) {
        *g = (struct gulp){.chunk = c->rx, .at = c->rx->p, .have = c->rx_len, .room = c->rx->cap};
        return true;
    }
    g->chunk = chunk_open(&c->shard->chunks, &g->at, &g->room);
    g->have = c->rx ? c->rx_len : 0;
    if (g->chunk && c->rx) {
        memcpy(g->at, c->rx->p, g->have);
        chunk_drop(c->rx);
        c->rx = NULL;
    }
    return g->chunk != NULL;
}

/* shut_gulp: len bytes of it were looked at. */
static void shut_gulp(struct conn *c, const struct gulp *g, size_t len)
{
    if (g->chunk == c->shard->chunks.current)
        chunk_shut(&c->shard->chunks, len);
}

/* discard: while lingering, what still comes is thrown away, so that the peer is not reset before it read our last
 * words. */
static bool discard(struct conn *c)
{
    uint8_t sink[4096];
    for (unsigned i = 0; i < 16; i++) {
        ptrdiff_t n = transport_recv(c->transport, sink, sizeof sink);
        if (n == -(ptrdiff_t)ERR_AGAIN)
            return false;
        if (n == -(ptrdiff_t)ERR_EOF && c->out) {
            c->is_eof = 1; /* it listens still: the rest goes out first */
            conn_want(c, LOOP_WRITE);
            return false;
        }
        if (n < 0) {
            conn_die(c);
            return false;
        }
    }
    return true;
}

void conn_feed_again(struct conn *c)
{
    c->feed_again = 1;
    c->ready_events |= LOOP_READ;
    conn_want(c, c->interest | LOOP_READ);
    shard_mark_ready(c->shard, c);
}

/* end_of_input: what a pipe's answer means for the connection. */
static enum close_reason end_of_input(enum err e)
{
    switch (e) {
    case ERR_EOF:
        return CLOSE_EOF;
    case ERR_PROTOCOL:
        return CLOSE_PROTOCOL;
    case ERR_TOO_BIG:
        return CLOSE_TOO_BIG;
    default:
        return CLOSE_RESET;
    }
}

bool conn_read(struct conn *c)
{
    struct shard *s = c->shard;
    if (c->state_now == CONN_LINGERING)
        return discard(c);
    if (c->attach_late || (c->is_paused && !c->may_peek)) {
        conn_want(c, c->interest);
        return false;
    }
    c->may_peek = 0;
    if (c->feed_again) {
        c->feed_again = 0;
        if (c->rx)
            feed(c, &(struct gulp){.chunk = c->rx, .at = c->rx->p}, c->rx_len);
    }
    for (size_t budget = s->limits.read_bytes_turn; !c->is_closing;) {
        struct gulp g;
        if (!open_gulp(c, &g)) {
            conn_close(c, CLOSE_NOMEM); /* 3.1.1: [MQTT-4.8.0-2] */
            return false;
        }
        if (UNLIKELY(c->reads_little))
            g.room = MIN(g.room, g.have + CONN_LITTLE_BYTES);
        ptrdiff_t n = transport_recv(c->transport, g.at + g.have, g.room - g.have);
        if (n <= 0) {
            if (n != -(ptrdiff_t)ERR_AGAIN)
                conn_close(c, end_of_input((enum err)(-n)));
            if (g.chunk != c->rx && g.have != 0 && !keep_rest(c, g.at, g.have))
                conn_close(c, CLOSE_NOMEM);
            return false;
        }
        c->rx_at = s->now;
        stat_add(&s->stats, STAT_BYTES_IN, (uint64_t)n);
        bool full = (size_t)n == g.room - g.have;
        feed(c, &g, g.have + (size_t)n);
        shut_gulp(c, &g, g.have + (size_t)n);
        if (UNLIKELY(c->is_paused) || (!full && !c->transport->ops->pending(c->transport)))
            return false; /* level-triggered: whatever is there later is reported again */
        if (budget <= (size_t)n)
            return !c->is_closing;
        budget -= (size_t)n;
    }
    return false;
}

/* ---- time, and small things for adapters -------------------------------------------------------------------- */

void conn_wants_tick(struct conn *c, mono_ms due)
{
    if (c->awaits_login)
        due = MIN(due, (mono_ms)c->tx_at);
    if (c->is_paused)
        due = MIN(due, conn_pause_due(c));
    if (c->has_ended || (wheel_is_armed(&c->timer) && c->timer.due <= due))
        return;
    shard_arm(c->shard, &c->timer, TIMER_CONN, due);
}

void conn_tick(struct conn *c, mono_ms now)
{
    if (c->state_now == CONN_LINGERING) {
        conn_die(c);
        return;
    }
    if (c->is_closing)
        return;
    if (c->awaits_login && now >= c->tx_at) {
        conn_close(c, CLOSE_LOGIN_TIMEOUT);
        return;
    }
    if (c->is_paused)
        conn_pause_tick(c, now);
    conn_wants_tick(c, c->adapter ? c->adapter->on_tick(c, now) : MONO_NEVER);
}

struct ref *conn_chunk(const struct conn *c)
{
    return c->shard->reading;
}

mono_ms conn_now(const struct conn *c)
{
    return c->shard->now;
}

wall_ms conn_wall(const struct conn *c)
{
    return c->shard->loop->ops->wall(c->shard->loop);
}

struct mem *conn_mem(struct conn *c)
{
    return shard_mem(c->shard, MEM_ADAPTER);
}

struct log *conn_log(struct conn *c)
{
    return c->shard->log;
}

const struct limits *conn_limits(const struct conn *c)
{
    return &c->shard->limits;
}

void conn_peer(struct conn *c, char *out, size_t cap)
{
    c->transport->ops->peer(c->transport, out, cap);
}
