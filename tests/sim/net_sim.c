/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_sim.c: connections in simulated time.
 *
 *     end 0 ── sendv ──► way[0]: ring of bytes, pieces with arrival times, then perhaps an end ── recv ──► end 1
 *     end 1 ── sendv ──► way[1]                                                               ── recv ──► end 0
 *
 * Invariants
 *   1. Bytes leave a way in the order they entered it: a piece never arrives before the one in front of it.
 *   2. arrived <= len <= cap; the first `arrived` bytes of the ring can be read, of which `held` only count as pending.
 *   3. The end of a way (EOF or RESET) arrives behind its bytes; RESET with loss takes them away.
 *   4. A link is freed when both its ends were destroyed.
 * Cost    O(pieces) per direction; the poll is O(ends) per step.
 * Thread  one.
 */
#include "tests/sim/net_sim.h"

#include <stdio.h>
#include <string.h>

#include "core/loop.h"

struct net_piece {
    size_t n;
    mono_ms due;
};

enum net_tail { TAIL_NONE, TAIL_EOF, TAIL_RESET };

struct net_way {
    struct sim_event arrive; /* first */
    struct net_sim *net;
    uint8_t *ring;
    size_t cap, start, len, arrived, held;
    struct net_piece *piece; /* not arrived yet: piece[piece_first .. piece_n) */
    uint32_t piece_first, piece_n, piece_cap;
    mono_ms last_due;
    uint8_t tail;      /* enum net_tail, sent */
    uint8_t tail_seen; /* arrived */
    bool tail_loses;
    mono_ms tail_due;
};

struct net_end {
    struct transport t; /* first */
    struct net_link *link;
    struct list_node all;
    unsigned interest;
    uint8_t side;  /* sends on way[side], receives from way[!side] */
    bool is_reset; /* broke the connection itself */
    bool is_gone;  /* destroyed */
};

struct net_link {
    struct net_sim *net;
    struct net_way way[2];
    struct net_end end[2];
    uint32_t number;
};

static struct net_end *end_from(struct transport *t)
{
    return CONTAINER_OF(t, struct net_end, t);
}

static struct net_way *way_out(const struct net_end *e)
{
    return &e->link->way[e->side];
}

static struct net_way *way_in(const struct net_end *e)
{
    return &e->link->way[!e->side];
}

static bool roll(const struct net_sim *n, uint8_t pct)
{
    return pct != 0 && n->rng && rng_chance(n->rng, pct);
}

/* cut_to_piece: how many of n > 0 bytes this call moves. */
static size_t cut_to_piece(const struct net_sim *n, size_t bytes)
{
    if (n->faults.piece_max == 0 || n->rng == NULL)
        return bytes;
    size_t piece = 1u + rng_below(n->rng, n->faults.piece_max);
    return MIN(bytes, piece);
}

static mono_ms arrival(const struct net_sim *n)
{
    uint32_t late = n->faults.delay_ms_max && n->rng ? rng_below(n->rng, n->faults.delay_ms_max + 1) : 0;
    return n->loop->now + late;
}

/* ---- a way --------------------------------------------------------------------------------------------------------
 */

static void way_plan(struct net_way *w)
{
    if (w->piece_first < w->piece_n)
        sim_plan(w->net->loop, &w->arrive, w->piece[w->piece_first].due);
    else if (w->tail != w->tail_seen)
        sim_plan(w->net->loop, &w->arrive, w->tail_due);
    else
        sim_cancel(w->net->loop, &w->arrive);
}

static void way_on_arrive(struct sim_event *ev)
{
    struct net_way *w = CONTAINER_OF(ev, struct net_way, arrive);
    if (w->piece_first < w->piece_n)
        w->arrived += w->piece[w->piece_first++].n;
    else
        w->tail_seen = w->tail;
    if (w->piece_first == w->piece_n)
        w->piece_first = w->piece_n = 0;
    way_plan(w);
}

static void way_drop_bytes(struct net_way *w)
{
    w->len = w->arrived = w->held = 0;
    w->piece_first = w->piece_n = 0;
}

static void way_put(struct net_way *w, const uint8_t *p, size_t n)
{
    if (w->piece_n == w->piece_cap) {
        uint32_t cap = w->piece_cap ? 2 * w->piece_cap : 8;
        struct net_piece *bigger = mem_realloc(w->net->mem, w->piece, cap * sizeof(*bigger));
        BUG_ON(bigger == NULL);
        w->piece = bigger;
        w->piece_cap = cap;
    }
    for (size_t done = 0; done < n;) {
        size_t at = (w->start + w->len) % w->cap;
        size_t run = MIN(n - done, w->cap - at);
        memcpy(w->ring + at, p + done, run);
        w->len += run;
        done += run;
    }
    mono_ms due = arrival(w->net);
    w->last_due = MAX(w->last_due, due); /* never before the one in front */
    w->piece[w->piece_n++] = (struct net_piece){.n = n, .due = w->last_due};
    w->net->bytes += n;
    way_plan(w);
}

static void way_get(struct net_way *w, uint8_t *out, size_t n)
{
    BUG_ON(n > w->arrived || w->arrived > w->len || w->len > w->cap);
    for (size_t done = 0; done < n;) {
        size_t run = MIN(n - done, w->cap - w->start);
        memcpy(out + done, w->ring + w->start, run);
        w->start = (w->start + run) % w->cap;
        w->len -= run;
        done += run;
    }
    w->arrived -= n;
    w->held -= MIN(w->held, n);
}

/* way_end: this is the last that will be sent on w. A RESET may still follow an EOF. */
static void way_end(struct net_way *w, enum net_tail tail, enum net_loss loss)
{
    if (w->tail >= tail)
        return;
    w->tail = (uint8_t)tail;
    mono_ms due = arrival(w->net);
    w->last_due = w->tail_due = MAX(w->last_due, due);
    if (loss == NET_LOSE)
        way_drop_bytes(w);
    way_plan(w);
}

/* ---- readiness ----------------------------------------------------------------------------------------------------
 */

static unsigned readiness(const struct net_end *e)
{
    const struct net_way *in = way_in(e), *out = way_out(e);
    unsigned ready = 0;
    if (e->is_reset || (in->tail_seen == TAIL_RESET && in->arrived == 0))
        return LOOP_READ | LOOP_WRITE; /* as epoll does */
    if (in->arrived > in->held || (in->tail_seen != TAIL_NONE && in->arrived == 0))
        ready |= LOOP_READ;
    if (out->len < out->cap)
        ready |= LOOP_WRITE;
    return ready;
}

static bool net_poll(struct sim_poll *p)
{
    struct net_sim *n = CONTAINER_OF(p, struct net_sim, poll);
    bool any = false;
    LIST_EACH(&n->ends, node)
    {
        struct net_end *e = LIST_ITEM(node, struct net_end, all);
        if (e->interest == 0 || e->t.on_ready == NULL)
            continue;
        unsigned events = readiness(e) & e->interest;
        if (events == 0 && roll(n, n->faults.spurious_pct))
            events = e->interest;
        if (events == 0)
            continue;
        any = true;
        e->t.on_ready(&e->t, events); /* may destroy e, and only e */
    }
    return any;
}

/* ---- transport_ops ------------------------------------------------------------------------------------------------
 */

static ptrdiff_t net_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct net_end *e = end_from(t);
    struct net_sim *n = e->link->net;
    struct net_way *in = way_in(e);
    BUG_ON(cap == 0);
    if (e->is_reset)
        return -ERR_RESET;
    if (in->arrived != 0) {
        if (in->held == 0 && roll(n, n->faults.again_pct))
            return -ERR_AGAIN;
        size_t take = cut_to_piece(n, MIN(cap, in->arrived));
        bool holds = roll(n, n->faults.hold_pct);
        if (holds)
            take = 1 + rng_below(n->rng, (uint32_t)take);
        way_get(in, out, take);
        if (holds && in->arrived != 0)
            in->held = in->arrived; /* they are in the pipe already: no readiness will tell of them */
        return (ptrdiff_t)take;
    }
    if (in->tail_seen == TAIL_NONE)
        return -ERR_AGAIN;
    return in->tail_seen == TAIL_EOF ? -ERR_EOF : -ERR_RESET;
}

static ptrdiff_t net_sendv(struct transport *t, const struct iovec *iov, int iov_n)
{
    struct net_end *e = end_from(t);
    struct net_sim *n = e->link->net;
    struct net_way *out = way_out(e);
    size_t want = 0;
    for (int i = 0; i < iov_n; i++)
        want += iov[i].iov_len;
    BUG_ON(want == 0);
    if (e->is_reset || way_in(e)->tail_seen == TAIL_RESET || out->tail == TAIL_EOF)
        return -ERR_RESET;
    if (out->len == out->cap || roll(n, n->faults.again_pct))
        return -ERR_AGAIN;
    want = cut_to_piece(n, MIN(want, out->cap - out->len));
    if (out->tail == TAIL_RESET) /* the connection is cut, and this end has not heard of it yet */
        return (ptrdiff_t)want;
    if (e->link->end[!e->side].is_gone) { /* taken, and answered by a RST */
        way_end(way_in(e), TAIL_RESET, NET_LOSE);
        return (ptrdiff_t)want;
    }
    size_t left = want;
    for (int i = 0; i < iov_n && left != 0; i++) {
        size_t run = MIN(left, iov[i].iov_len);
        if (run != 0)
            way_put(out, iov[i].iov_base, run);
        left -= run;
    }
    return (ptrdiff_t)want;
}

static void net_want(struct transport *t, unsigned interest)
{
    end_from(t)->interest = interest;
}

static bool net_pending(struct transport *t)
{
    const struct net_end *e = end_from(t);
    return way_in(e)->held != 0 && !e->is_reset;
}

static void net_shut(struct transport *t)
{
    way_end(way_out(end_from(t)), TAIL_EOF, NET_KEEP);
}

static void net_destroy(struct transport *t)
{
    struct net_end *e = end_from(t);
    struct net_link *link = e->link;
    struct net_sim *n = link->net;
    BUG_ON(e->is_gone);
    /* Closing a socket with unread input sends a RST in place of a FIN. */
    bool rude = way_in(e)->len != 0 && n->rng && rng_chance(n->rng, 50);
    way_end(way_out(e), rude ? TAIL_RESET : TAIL_EOF, NET_KEEP);
    way_drop_bytes(way_in(e));
    way_plan(way_in(e));
    e->is_gone = true;
    list_del(&e->all);
    if (!link->end[!e->side].is_gone)
        return;
    for (int i = 0; i < 2; i++) {
        sim_cancel(n->loop, &link->way[i].arrive);
        mem_free(n->mem, link->way[i].ring);
        mem_free(n->mem, link->way[i].piece);
    }
    mem_free(n->mem, link);
}

static void net_peer(struct transport *t, char *out, size_t cap)
{
    snprintf(out, cap, "sim:%u", end_from(t)->link->number);
}

static const struct transport_ops ops_net = {
    .name = "sim",
    .recv = net_recv,
    .sendv = net_sendv,
    .want = net_want,
    .pending = net_pending,
    .shut = net_shut,
    .destroy = net_destroy,
    .peer = net_peer,
};

/* ---- pairs --------------------------------------------------------------------------------------------------------
 */

void net_sim_pair(struct net_sim *n, struct transport *out_end[2])
{
    struct net_link *link = mem_zalloc(n->mem, sizeof(*link));
    BUG_ON(link == NULL || n->faults.buffer_bytes == 0);
    link->net = n;
    link->number = ++n->pairs_made;
    for (unsigned i = 0; i < 2; i++) {
        struct net_way *w = &link->way[i];
        w->arrive.on_due = way_on_arrive;
        w->net = n;
        w->cap = n->faults.buffer_bytes;
        w->ring = mem_alloc(n->mem, w->cap);
        BUG_ON(w->ring == NULL);
        struct net_end *e = &link->end[i];
        e->t.ops = &ops_net;
        e->link = link;
        e->side = (uint8_t)i;
        list_push(&n->ends, &e->all);
        out_end[i] = &e->t;
    }
}

void net_sim_reset(struct transport *t, enum net_loss loss)
{
    struct net_end *e = end_from(t);
    e->is_reset = true;
    way_end(way_out(e), TAIL_RESET, loss);
    way_drop_bytes(way_in(e));
    way_plan(way_in(e));
}

void net_sim_cut(struct transport *t, enum net_loss loss)
{
    for (int i = 0; i < 2; i++)
        way_end(&end_from(t)->link->way[i], TAIL_RESET, loss);
}

size_t net_sim_unread(const struct transport *t)
{
    return way_in(CONTAINER_OF(t, struct net_end, t))->len;
}

void net_sim_init(struct net_sim *n, struct loop_sim *loop, struct mem *mem, struct rng *rng,
                  const struct net_faults *faults)
{
    *n = (struct net_sim){.loop = loop, .mem = mem, .rng = rng, .faults = *faults};
    n->poll.poll = net_poll;
    list_init(&n->ends);
    loop_sim_add_poll(loop, &n->poll);
}

void net_sim_fini(struct net_sim *n)
{
    BUG_ON(!list_is_empty(&n->ends));
    loop_sim_del_poll(n->loop, &n->poll);
}
