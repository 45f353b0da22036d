/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_ws.c: any bytes to the WebSocket decoder, and to the pipe around it.
 *
 * Input: one byte for the largest message and (128) whether text is taken, one for how the stream is cut, then the
 * stream. Checked for every input:
 *   1. fed whole, cut in two and byte by byte, the decoder finds the same payload (up to text that is no UTF-8),
 * control frames and end;
 *   2. decoding in place and into another buffer gives the same;
 *   3. the pipe hands on that payload and ends for that reason, whatever its reads and however its writes stop;
 *   4. what the pipe sends is whole frames: data, pongs, at most one close, and nothing behind that.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hash.h"
#include "core/base/mem.h"
#include "core/loop.h"
#include "transport/ws.h"
#include "transport/ws_codec.h"

#define STREAM_MAX 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the decoder --------------------------------------------------------------------------------------------- */

struct seen {
    uint8_t payload[STREAM_MAX];
    size_t payload_n;
    uint64_t control; /* a hash of all whole control frames, and where in the payload they came */
    uint8_t open[WS_CONTROL_MAX];
    size_t open_n;
    ptrdiff_t end; /* -error, or 0 */
    uint16_t close_code;
    bool has_closed; /* a whole close frame was there before that; what comes behind counts no more */
};

static void see(struct seen *s, const struct ws_piece *p, const uint8_t *at)
{
    if (p->kind == WS_DATA) {
        BUG_ON(p->n == 0 || s->payload_n + p->n > sizeof(s->payload));
        memcpy(s->payload + s->payload_n, at, p->n);
        s->payload_n += p->n;
        return;
    }
    BUG_ON(s->open_n + p->n > sizeof(s->open));
    memcpy(s->open + s->open_n, at, p->n);
    s->open_n += p->n;
    if (!p->is_last)
        return;
    s->control = hash_bytes(s->control ^ (uint64_t)p->kind ^ s->payload_n << 8, s->open, s->open_n);
    s->has_closed = p->kind == WS_CLOSE;
    s->open_n = 0;
}

/* read_some: buf[n] is one read; its payload goes to its own front, or to `other`. */
static void read_some(struct ws_decoder *d, struct seen *s, uint8_t *buf, size_t n, uint8_t *other)
{
    size_t have = 0;
    for (size_t i = 0; i < n && !s->has_closed;) {
        struct ws_piece p;
        uint8_t *to = other == NULL ? buf + have : other;
        ptrdiff_t eaten = ws_decode(d, buf + i, n - i, to, &p);
        BUG_ON(eaten == 0 || (eaten > 0 && (size_t)eaten > n - i));
        if (eaten < 0) {
            s->end = eaten;
            s->close_code = p.close_code;
            return;
        }
        i += (size_t)eaten;
        if (p.kind != WS_NOTHING)
            see(s, &p, to);
        have += p.kind == WS_DATA ? p.n : 0;
    }
}

/* decode: in[n], the first `cut` bytes and then the rest, each from an allocation of exactly its size. */
static void decode(struct seen *s, const uint8_t *in, size_t n, const struct ws_decoder *fresh, size_t cut)
{
    struct ws_decoder d = *fresh;
    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < 2; i++) {
        size_t at = i == 0 ? 0 : cut, part = i == 0 ? cut : n - cut;
        if (part == 0 || s->end != 0 || s->has_closed)
            continue;
        uint8_t *buf = malloc(part);
        BUG_ON(buf == NULL);
        memcpy(buf, in + at, part);
        read_some(&d, s, buf, part, NULL);
        free(buf);
    }
}

static void decode_bytes(struct seen *s, const uint8_t *in, size_t n, const struct ws_decoder *fresh)
{
    struct ws_decoder d = *fresh;
    memset(s, 0, sizeof(*s));
    for (size_t i = 0; i < n && s->end == 0 && !s->has_closed; i++) {
        uint8_t byte = in[i], other;
        read_some(&d, s, &byte, 1, &other);
    }
}

static void check_same(const struct seen *a, const struct seen *b)
{
    BUG_ON(a->payload_n != b->payload_n && a->close_code != WS_CLOSE_BAD_TEXT); /* some of its message came through */
    BUG_ON(memcmp(a->payload, b->payload, MIN(a->payload_n, b->payload_n)) != 0);
    BUG_ON(a->control != b->control || a->end != b->end || a->close_code != b->close_code);
    BUG_ON(a->has_closed != b->has_closed);
}

/* ---- the pipe ------------------------------------------------------------------------------------------------ */

struct lower {
    struct transport base;
    const uint8_t *in;
    size_t in_at, in_n, recv_max, send_max, calls;
    size_t out_n;
    uint8_t out[8 * STREAM_MAX];
};

static ptrdiff_t lower_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct lower *l = CONTAINER_OF(t, struct lower, base);
    size_t n = MIN(MIN(cap, l->recv_max), l->in_n - l->in_at);
    if (n == 0)
        return -ERR_EOF;
    memcpy(out, l->in + l->in_at, n);
    l->in_at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t lower_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct lower *l = CONTAINER_OF(t, struct lower, base);
    size_t taken = 0, most = l->calls++ % 3 == 0 ? 0 : l->send_max;
    for (int i = 0; i < n; i++) {
        size_t part = MIN(iov[i].iov_len, most - taken);
        BUG_ON(l->out_n + part > sizeof(l->out));
        memcpy(l->out + l->out_n, iov[i].iov_base, part);
        l->out_n += part;
        taken += part;
    }
    return taken != 0 ? (ptrdiff_t)taken : -ERR_AGAIN;
}

static void lower_want(struct transport *t, unsigned interest)
{
    UNUSED(t), UNUSED(interest);
}

static bool lower_pending(struct transport *t)
{
    UNUSED(t);
    return false;
}

static void lower_nothing(struct transport *t)
{
    UNUSED(t);
}

static const struct transport_ops lower_ops = {.name = "lower",
                                               .recv = lower_recv,
                                               .sendv = lower_sendv,
                                               .want = lower_want,
                                               .pending = lower_pending,
                                               .shut = lower_nothing,
                                               .destroy = lower_nothing};

/* check_frames: out[n] is whole frames, but for the last one; `sent` bytes of payload in the data. */
static void check_frames(const uint8_t *out, size_t n, size_t sent)
{
    size_t found = 0;
    bool has_closed = false;
    for (size_t at = 0; n - at >= 2;) {
        size_t len = out[at + 1];
        BUG_ON(has_closed || len > 125);
        BUG_ON(out[at] != 0x82 && out[at] != 0x81 && out[at] != 0x8a && out[at] != 0x88);
        has_closed = out[at] == 0x88;
        if (out[at] == 0x82 || out[at] == 0x81)
            found += MIN(len, n - at - 2);
        at += MIN(2 + len, n - at);
    }
    BUG_ON(found != sent);
}

/* unit_of: packets of a few bytes. */
static size_t unit_of(const uint8_t *head, size_t n)
{
    return 1 + (head[0] + n) % 7;
}

static void check_pipe(const struct seen *s, const uint8_t *in, size_t n, const struct ws_decoder *fresh,
                       size_t recv_max, size_t send_max)
{
    struct mem_heap heap;
    struct mem mem;
    struct ws_home home;
    static const uint8_t text[100] = "sch\xc3\xb6n \xff";
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "ws");
    ws_home_init(&home, &mem, fresh->max);
    struct lower l = {.in = in, .in_n = n, .recv_max = recv_max, .send_max = send_max};
    l.base.ops = &lower_ops;
    struct transport *ws = transport_ws_new(&home, &l.base, slice_make(NULL, 0), slice_make(in, 0));
    BUG_ON(ws == NULL);
    if (recv_max % 2 != 0)
        transport_ws_cut(ws, unit_of);
    transport_ws_frames(ws, fresh->takes_text ? WS_FRAMES_MIRROR : WS_FRAMES_BINARY);
    size_t got = 0, sent = 0, owed = 0;
    ptrdiff_t r;
    do {
        uint8_t buf[512];
        r = transport_recv(ws, buf, sizeof(buf));
        if (r > 0) {
            bool is_more = got + (size_t)r > s->payload_n;
            BUG_ON(is_more && s->close_code != WS_CLOSE_BAD_TEXT);
            BUG_ON(!is_more && memcmp(buf, s->payload + got, (size_t)r) != 0);
            got += (size_t)r;
        }
        if (sent < 1000) {
            struct iovec iov = {(void *)(uintptr_t)text, owed != 0 ? owed : sizeof(text)};
            ptrdiff_t w = transport_sendv(ws, &iov, 1);
            if (w > 0 || w == -ERR_AGAIN)
                owed = iov.iov_len - (size_t)MAX(w, 0);
            sent += (size_t)MAX(w, 0);
        }
        l.base.on_ready(&l.base, LOOP_READ | LOOP_WRITE);
    } while (r > 0 || r == -ERR_AGAIN);
    BUG_ON(got != s->payload_n && s->close_code != WS_CLOSE_BAD_TEXT);
    BUG_ON(r != (s->has_closed ? -ERR_EOF : s->end != 0 ? s->end : -ERR_EOF));
    for (unsigned i = 0; i < 100; i++)
        l.base.on_ready(&l.base, LOOP_WRITE);
    bool is_breach = s->end != 0 && !s->has_closed;
    if (!is_breach) /* else some of it was forgotten */
        check_frames(l.out, l.out_n, sent);
    transport_destroy(ws);
    ws_home_fini(&home);
    BUG_ON(heap.bytes != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct seen whole, other;
    if (size < 2 || size > STREAM_MAX)
        return 0;
    struct ws_decoder fresh;
    ws_decoder_init(&fresh, 1 + (uint64_t)(data[0] & 127) * 32);
    fresh.takes_text = (data[0] & 128) != 0;
    size_t cut = data[1];
    data += 2;
    size -= 2;
    decode(&whole, data, size, &fresh, size);
    decode(&other, data, size, &fresh, MIN(cut, size));
    check_same(&whole, &other);
    decode_bytes(&other, data, size, &fresh);
    check_same(&whole, &other);
    check_pipe(&whole, data, size, &fresh, 1 + cut % 64, 1 + cut / 8);
    check_pipe(&whole, data, size, &fresh, STREAM_MAX, STREAM_MAX);
    return 0;
}
