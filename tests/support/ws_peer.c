/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws_peer.c: frames as clients write them, and the link that turns a server into a client.
 *
 *     ws (server) ── unmasked frames ──► next ══════ next ──► [link: parse, cut, mask, add noise] ──► ws (server)
 *
 * The link reads up to RAW_BYTES, and makes of them everything they hold: a frame whose end has not come is passed on
 * as fragments, so bytes are never held back. A close frame is passed on whole. What it made waits in `out` until it
 * is read; no new input is taken before.
 *
 * Invariants
 *   1. The payload that comes out is the payload that went in, in its order.
 *   2. Noise (Ping, Pong, an empty fragment) only where a client may put it, always with payload behind it.
 * Cost    a buffer per link, about 100 KB.
 * Thread  one.
 */
#include "tests/support/ws_peer.h"

#include <string.h>

#include "transport/ws_codec.h"

enum { RAW_BYTES = 16384, OUT_BYTES = 96 * 1024, NOISE_MAX = 20 };

size_t ws_peer_frame(uint8_t *out, uint8_t first, const void *payload, size_t n, uint32_t key)
{
    size_t head = ws_head(out, WS_OP_BINARY, n);
    out[0] = first;
    out[1] |= 0x80;
    for (unsigned i = 0; i < 4; i++)
        out[head + i] = (uint8_t)(key >> (24 - 8 * i));
    for (size_t i = 0; i < n; i++)
        out[head + 4 + i] = ((const uint8_t *)payload)[i] ^ out[head + (i & 3)];
    return head + 4 + n;
}

struct ws_link {
    struct transport base;
    struct transport *next;
    struct mem *mem;
    struct rng *rng;
    uint64_t left;                     /* payload of the frame that is being read */
    uint8_t head[WS_HEAD_MAX], head_n; /* of the next one */
    uint8_t op;
    bool is_in_message, has_closed; /* of what was written */
    uint8_t control[WS_CONTROL_MAX], control_n;
    size_t out_at, out_n;
    uint8_t out[OUT_BYTES];
};

static struct ws_link *link_of(struct transport *t)
{
    return CONTAINER_OF(t, struct ws_link, base);
}

static void emit(struct ws_link *l, uint8_t first, const void *payload, size_t n)
{
    BUG_ON(l->out_n + WS_PEER_HEAD_MAX + n > sizeof(l->out) || l->has_closed);
    l->out_n += ws_peer_frame(l->out + l->out_n, first, payload, n, (uint32_t)rng_u64(l->rng));
}

static void noise(struct ws_link *l)
{
    static const uint8_t hum[NOISE_MAX] = "somebody is humming";
    if (rng_chance(l->rng, 10))
        emit(l, 0x80 | WS_OP_PING, hum, rng_below(l->rng, NOISE_MAX));
    if (rng_chance(l->rng, 10))
        emit(l, 0x80 | WS_OP_PONG, hum, rng_below(l->rng, NOISE_MAX));
    if (l->is_in_message && rng_chance(l->rng, 10))
        emit(l, WS_OP_MORE, hum, 0);
}

/* pass_data: payload, as fragments of messages that begin and end anywhere. */
static void pass_data(struct ws_link *l, const uint8_t *p, size_t n)
{
    while (n > 0) {
        if (l->out_n < OUT_BYTES / 2)
            noise(l);
        size_t most = 1 + rng_below(l->rng, rng_chance(l->rng, 20) ? 40 : RAW_BYTES), part = MIN(n, most);
        bool is_last = rng_chance(l->rng, 50);
        emit(l, (uint8_t)((l->is_in_message ? WS_OP_MORE : WS_OP_BINARY) | (is_last ? 0x80 : 0)), p, part);
        l->is_in_message = !is_last;
        p += part;
        n -= part;
    }
}

static void end_control(struct ws_link *l)
{
    if (!l->has_closed)
        emit(l, (uint8_t)(0x80 | l->op), l->control, l->control_n);
    l->has_closed |= l->op == WS_OP_CLOSE;
    l->control_n = 0;
}

/* eat_head: one byte of a header. */
static void eat_head(struct ws_link *l, uint8_t byte)
{
    l->head[l->head_n++] = byte;
    unsigned length = l->head_n >= 2 ? l->head[1] : 0;
    size_t more = length == 127 ? 8 : length == 126 ? 2 : 0;
    BUG_ON(length > 127); /* a server does not mask */
    if (l->head_n < 2 || l->head_n < 2 + more)
        return;
    l->left = more == 0 ? length : 0;
    for (size_t i = 0; i < more; i++)
        l->left = l->left << 8 | l->head[2 + i];
    uint8_t again[WS_HEAD_MAX];
    BUG_ON(ws_head(again, WS_OP_BINARY, l->left) != l->head_n); /* the shortest form */
    BUG_ON((l->head[0] & 0xf0) != 0x80);
    l->op = l->head[0] & 15;
    BUG_ON(l->op != WS_OP_BINARY && (l->op < WS_OP_CLOSE || l->op > WS_OP_PONG || l->left > WS_CONTROL_MAX));
    l->head_n = 0;
    if (l->left == 0 && l->op != WS_OP_BINARY)
        end_control(l);
}

static void chew(struct ws_link *l, const uint8_t *in, size_t n)
{
    for (size_t at = 0; at < n;) {
        if (l->left == 0) {
            eat_head(l, in[at++]);
            continue;
        }
        size_t part = (size_t)MIN(l->left, (uint64_t)(n - at));
        l->left -= part;
        if (l->op == WS_OP_BINARY) {
            BUG_ON(l->has_closed);
            pass_data(l, in + at, part);
        } else {
            memcpy(l->control + l->control_n, in + at, part);
            l->control_n = (uint8_t)(l->control_n + part);
            if (l->left == 0)
                end_control(l);
        }
        at += part;
    }
}

static ptrdiff_t link_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct ws_link *l = link_of(t);
    if (l->out_at == l->out_n) {
        uint8_t raw[RAW_BYTES];
        l->out_at = l->out_n = 0;
        ptrdiff_t n = transport_recv(l->next, raw, l->has_closed ? 1 : 1 + rng_below(l->rng, RAW_BYTES));
        if (n <= 0)
            return n;
        chew(l, raw, (size_t)n);
        if (l->out_n == 0)
            return -ERR_AGAIN;
    }
    size_t n = MIN(cap, l->out_n - l->out_at);
    if (rng_chance(l->rng, 30))
        n = 1 + rng_below(l->rng, (uint32_t)n);
    memcpy(out, l->out + l->out_at, n);
    l->out_at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t link_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct ws_link *l = link_of(t);
    if (!rng_chance(l->rng, 20))
        return transport_sendv(l->next, iov, n);
    if (rng_chance(l->rng, 50))
        return -ERR_AGAIN;
    while (iov->iov_len == 0)
        iov++;
    struct iovec some = {iov->iov_base, 1 + rng_below(l->rng, (uint32_t)iov->iov_len)};
    return transport_sendv(l->next, &some, 1);
}

static void link_want(struct transport *t, unsigned interest)
{
    transport_want(link_of(t)->next, interest);
}

static bool link_pending(struct transport *t)
{
    struct ws_link *l = link_of(t);
    return l->out_at < l->out_n || l->next->ops->pending(l->next);
}

static void link_shut(struct transport *t)
{
    struct ws_link *l = link_of(t);
    l->next->ops->shut(l->next);
}

static void link_destroy(struct transport *t)
{
    struct ws_link *l = link_of(t);
    transport_destroy(l->next);
    mem_free(l->mem, l);
}

static void link_peer(struct transport *t, char *out, size_t cap)
{
    struct ws_link *l = link_of(t);
    l->next->ops->peer(l->next, out, cap);
}

static void link_on_ready(struct transport *next, unsigned events)
{
    struct ws_link *l = next->up;
    l->base.on_ready(&l->base, events);
}

static const struct transport_ops link_ops = {.name = "ws link",
                                              .recv = link_recv,
                                              .sendv = link_sendv,
                                              .want = link_want,
                                              .pending = link_pending,
                                              .shut = link_shut,
                                              .destroy = link_destroy,
                                              .peer = link_peer};

struct transport *ws_peer_link(struct transport *next, struct mem *mem, struct rng *rng)
{
    struct ws_link *l = mem_zalloc(mem, sizeof(*l));
    BUG_ON(l == NULL);
    l->base.ops = &link_ops;
    l->next = next;
    l->mem = mem;
    l->rng = rng;
    next->up = l;
    next->on_ready = link_on_ready;
    return &l->base;
}
