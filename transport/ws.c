/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws.c: a WebSocket as a pipe.
 *
 *     recv   next ──► the caller's buffer ──► ws_decode, in place: payload to the front, control frames taken out
 *     sendv  [what we owe ourselves] [header] the caller's iov, not copied ──► next, one call
 *
 * Out. Each sendv makes one frame of all it is offered, or one per packet (transport_ws_cut). It is binary, or text
 * (WS_FRAMES_MIRROR) if the peer never sent binary and all of it is there to be seen as UTF-8. When `next` takes less,
 * the rest of the frame is owed: the next calls go on with it, whatever their vectors begin with, so the caller must
 * still mean to send those bytes (a connection does: what was not taken stays in its outv). Only between frames
 * the pipe may speak for itself: the HTTP answer, a Pong, a Close. What `next` does not take of that waits in `side`
 * with WRITE wanted below, and goes out when that is reported: the one thing here that is sent outside of a call from
 * above. A Pong owed while a frame is half sent follows the frame. Of several Pings only the last is answered (RFC 6455
 * §5.5.3).
 *
 * The end. `end` is what recv says from now on: the peer closed, broke a rule, or there was no memory. It is said only
 * after the payload before it, and pending() is true until then, so nobody waits for a wake-up that will not come.
 * After a breach the pipe still reads and takes, and forgets both, until it is shut and destroyed.
 *
 * Invariants
 *   1. owed > 0: a frame is begun, that much of its payload is not sent; head_left bytes of its header are not, either.
 *   2. head_left > 0 only while nothing of the payload is sent, so the header can be made again from `owed`;
 *      its first byte, which says the kind, is out.
 *   3. Nothing but the rest of the frame is sent while owed > 0, and no frame after a close frame.
 *   4. WRITE is wanted below for our own bytes exactly while they could go: owed == 0.
 *   5. early and side are NULL unless something is in them.
 * Cost    112 bytes per idle connection and no buffer: a header in parts waits in the decoder. One recv, one sendv
 * below for each above. `side`, 392 bytes, lives while a control frame is in parts or cannot go out; `early` from the
 *         upgrade until its bytes are gone: for most connections never after transport_ws_new.
 * Thread  the loop's own.
 * Spec    RFC 6455 §5-7; MQTT 5 §6, 3.1.1 §6.
 */
#include "transport/ws.h"

#include <stdio.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/loop.h"
#include "transport/ws_codec.h"

/* ROUNDS_MAX: reads in one recv while no payload comes; a header and a byte read one by one need 15. FRAMES_MAX: in one
 * sendv. */
enum { IOV_N = 64, OWN_IOV_N = 2, ROUNDS_MAX = 16, FRAMES_MAX = 128, CONTROL_FRAME_MAX = 2 + WS_CONTROL_MAX };
enum { HEAD_WHOLE = 0xff }; /* a header of which nothing was sent yet */

/* The HTTP answer and the first input, until each is gone. */
struct early {
    uint32_t hello_at, hello_len; /* bytes[hello_at .. hello_len) are to be sent */
    size_t first_at, len;         /* bytes[first_at .. len) are to be decoded */
    uint8_t bytes[];
};

/* Control frames: one coming in in parts, and some going out: a Pong half sent, the Pong behind it, a Close. */
struct side {
    uint8_t in_len;
    bool has_pong; /* out[pong_at ..] is a Pong of which nothing was sent: a later Ping replaces it */
    uint16_t pong_at, out_at, out_len;
    uint8_t in[WS_CONTROL_MAX];
    uint8_t out[2 * CONTROL_FRAME_MAX + WS_CLOSE_FRAME_MAX];
};

/* owner: what it is attached to; freed: destroy */
struct ws {
    struct transport base;
    struct transport *next;
    struct early *early;
    struct side *side;
    ws_unit_fn unit; /* NULL: a sendv is a frame */
    struct ws_decoder decoder;
    uint64_t owed;
    uint8_t head_left;
    uint8_t interest; /* wanted above */
    uint8_t below;    /* wanted below */
    uint8_t end : 5;  /* enum err: recv's last word; ERR_OK: none yet */
    uint8_t end_said : 1, has_closed : 1 /* a close frame was sent, or waits in side */, is_shut : 1;
};

_Static_assert(sizeof(void *) > 8 || sizeof(struct ws) <= 112, "an idle connection has grown");
_Static_assert(ERR_N <= 32, "ws.end has five bits");

enum { BELOW_UNKNOWN = 0xff };

static struct ws *ours(struct transport *t)
{
    return CONTAINER_OF(t, struct ws, base);
}

static struct ws_home *home_of(const struct ws *ws)
{
    return CONTAINER_OF(pool_from_item(ws), struct ws_home, pool);
}

static struct mem *mem_of(const struct ws *ws)
{
    return home_of(ws)->pool.mem;
}

/* ---- what the pipe has to say itself ------------------------------------------------------------------------- */

/* side_get: NULL when out of memory. */
static struct side *side_get(struct ws *ws)
{
    if (ws->side == NULL) {
        ws->side = mem_alloc(mem_of(ws), sizeof(*ws->side));
        if (ws->side != NULL)
            *ws->side = (struct side){.in_len = 0};
    }
    return ws->side;
}

/* trim: keeps invariant 5. */
static void trim(struct ws *ws)
{
    struct early *e = ws->early;
    if (e != NULL && e->hello_at == e->hello_len && e->first_at == e->len) {
        mem_free(mem_of(ws), e);
        ws->early = NULL;
    }
    struct side *s = ws->side;
    if (s != NULL && s->in_len == 0 && s->out_at == s->out_len) {
        mem_free(mem_of(ws), s);
        ws->side = NULL;
    }
}

/* move_up: what was sent leaves side->out. */
static void move_up(struct side *s)
{
    memmove(s->out, s->out + s->out_at, (size_t)(s->out_len - s->out_at));
    s->out_len = (uint16_t)(s->out_len - s->out_at);
    s->pong_at = (uint16_t)(s->has_pong ? s->pong_at - s->out_at : 0);
    s->out_at = 0;
}

/* own_iov: what is to be sent of our own; returns the pieces, *out_bytes their sum. */
static unsigned own_iov(struct ws *ws, struct iovec iov[OWN_IOV_N], size_t *out_bytes)
{
    unsigned n = 0;
    struct early *e = ws->early;
    struct side *s = ws->side;
    if (e != NULL && e->hello_at < e->hello_len)
        iov[n++] = (struct iovec){e->bytes + e->hello_at, e->hello_len - e->hello_at};
    if (s != NULL && s->out_at < s->out_len)
        iov[n++] = (struct iovec){s->out + s->out_at, (size_t)(s->out_len - s->out_at)};
    *out_bytes = 0;
    for (unsigned i = 0; i < n; i++)
        *out_bytes += iov[i].iov_len;
    return n;
}

static bool has_own(const struct ws *ws)
{
    return (ws->early != NULL && ws->early->hello_at < ws->early->hello_len) ||
           (ws->side != NULL && ws->side->out_at < ws->side->out_len);
}

/* own_eat: the first n bytes of it were sent. */
static void own_eat(struct ws *ws, size_t n)
{
    struct early *e = ws->early;
    struct side *s = ws->side;
    if (e != NULL) {
        size_t part = MIN(n, (size_t)(e->hello_len - e->hello_at));
        e->hello_at += (uint32_t)part;
        n -= part;
    }
    if (s != NULL && n > 0) {
        s->out_at = (uint16_t)(s->out_at + n);
        s->has_pong = s->has_pong && s->out_at <= s->pong_at;
    }
    trim(ws);
}

/* own_drop: the connection broke: nobody will read it. */
static void own_drop(struct ws *ws)
{
    if (ws->early != NULL)
        ws->early->hello_at = ws->early->hello_len;
    if (ws->side != NULL) {
        ws->side->out_at = ws->side->out_len;
        ws->side->has_pong = false;
    }
    trim(ws);
}

static void want_below(struct ws *ws)
{
    unsigned want = ws->interest;
    if (ws->owed == 0 && has_own(ws))
        want |= LOOP_WRITE;
    if (ws->below == want)
        return;
    ws->below = (uint8_t)want;
    transport_want(ws->next, want);
}

/* flush_own: sends what we have to say, if we may and it can go. */
static void flush_own(struct ws *ws)
{
    while (ws->owed == 0 && has_own(ws)) {
        struct iovec iov[OWN_IOV_N];
        size_t bytes;
        unsigned n = own_iov(ws, iov, &bytes);
        ptrdiff_t sent = transport_sendv(ws->next, iov, (int)n);
        if (sent == -ERR_AGAIN)
            break;
        if (sent < 0)
            own_drop(ws);
        else
            own_eat(ws, (size_t)sent);
    }
    if (ws->is_shut && (ws->owed > 0 || !has_own(ws)))
        ws->next->ops->shut(ws->next);
    want_below(ws);
}

/* queue_pong: the answer to the Ping in side->in. */
static void queue_pong(struct side *s)
{
    move_up(s);
    if (s->has_pong)
        s->out_len = s->pong_at;
    BUG_ON((size_t)s->out_len + CONTROL_FRAME_MAX > sizeof(s->out));
    s->has_pong = true;
    s->pong_at = s->out_len;
    size_t head = ws_head(s->out + s->out_len, WS_OP_PONG, s->in_len);
    memcpy(s->out + s->out_len + head, s->in, s->in_len);
    s->out_len = (uint16_t)(s->out_len + head + s->in_len);
}

/* queue_close: the last frame. Without memory the peer is not told. */
static void queue_close(struct ws *ws, uint16_t code)
{
    struct side *s = ws->has_closed ? NULL : side_get(ws);
    ws->has_closed = 1;
    if (s == NULL)
        return;
    BUG_ON((size_t)s->out_len + WS_CLOSE_FRAME_MAX > sizeof(s->out));
    s->out_len = (uint16_t)(s->out_len + ws_close_frame(s->out + s->out_len, code));
}

/* ---- in ------------------------------------------------------------------------------------------------------ */

/* on_control: a piece of a control frame, its payload at p. Their pieces gather in side->in. */
static void on_control(struct ws *ws, const struct ws_piece *piece, const uint8_t *p)
{
    if (piece->kind == WS_PONG)
        return; /* we asked for none; anybody may send one */
    struct side *s = side_get(ws);
    if (s == NULL) {
        ws->end = ERR_RESET;
        return;
    }
    memcpy(s->in + s->in_len, p, piece->n);
    s->in_len = (uint8_t)(s->in_len + piece->n);
    if (!piece->is_last)
        return;
    if (piece->kind == WS_PING && !ws->has_closed) {
        queue_pong(s);
    } else if (piece->kind == WS_CLOSE) {
        queue_close(ws, ws_close_answer(s->in, s->in_len));
        ws->end = ERR_EOF;
    }
    s->in_len = 0;
}

/* decode: buf[n] in place; returns the bytes of payload now at its front: where frames end is not seen above. both:
 * [MQTT-6.0.0-2] */
static size_t decode(struct ws *ws, uint8_t *buf, size_t n)
{
    size_t have = 0;
    bool was_control = false;
    for (size_t at = 0; at < n && ws->end == ERR_OK;) {
        struct ws_piece piece;
        ptrdiff_t eaten = ws_decode(&ws->decoder, buf + at, n - at, buf + have, &piece);
        if (eaten < 0) {
            ws->end = (unsigned)-eaten & 31;
            queue_close(ws, piece.close_code);
            break;
        }
        at += (size_t)eaten;
        if (piece.kind == WS_DATA) {
            have += piece.n;
        } else if (piece.kind != WS_NOTHING) {
            on_control(ws, &piece, buf + have);
            was_control = true;
        }
    }
    if (was_control || ws->end != ERR_OK) {
        trim(ws);
        flush_own(ws);
    }
    return have;
}

/* take: raw input, from behind the request or from below. */
static ptrdiff_t take(struct ws *ws, uint8_t *out, size_t cap)
{
    struct early *e = ws->early;
    if (e == NULL || e->first_at == e->len)
        return transport_recv(ws->next, out, cap);
    size_t n = MIN(cap, e->len - e->first_at);
    memcpy(out, e->bytes + e->first_at, n);
    e->first_at += n;
    trim(ws);
    return (ptrdiff_t)n;
}

static bool below_pends(const struct ws *ws)
{
    return (ws->early != NULL && ws->early->first_at < ws->early->len) || ws->next->ops->pending(ws->next);
}

/* throw_away: after a breach of the rules nothing counts any more, but is read, so that the peer is not reset before it
 * saw why it was closed. */
static ptrdiff_t throw_away(struct ws *ws, uint8_t *out, size_t cap)
{
    ptrdiff_t n;
    do
        n = transport_recv(ws->next, out, cap);
    while (n > 0 && ws->next->ops->pending(ws->next));
    return n > 0 ? -ERR_AGAIN : n;
}

static bool is_breach(const struct ws *ws)
{
    return ws->end == ERR_PROTOCOL || ws->end == ERR_TOO_BIG;
}

static ptrdiff_t ws_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct ws *ws = ours(t);
    BUG_ON(cap == 0);
    if (ws->end_said && is_breach(ws))
        return throw_away(ws, out, cap);
    /* What is hidden in `next` would not be reported again, so it is read to its end; else rounds bound a flood. */
    for (unsigned round = 0; ws->end == ERR_OK && (round < ROUNDS_MAX || below_pends(ws)); round++) {
        ptrdiff_t n = take(ws, out, cap);
        if (n <= 0)
            return n;
        size_t have = decode(ws, out, (size_t)n);
        if (have > 0)
            return (ptrdiff_t)have;
    }
    if (ws->end == ERR_OK)
        return -ERR_AGAIN;
    ws->end_said = 1;
    return -(ptrdiff_t)ws->end;
}

static bool ws_pending(struct transport *t)
{
    const struct ws *ws = ours(t);
    return ws->end != ERR_OK ? !ws->end_said : below_pends(ws);
}

/* ---- out ----------------------------------------------------------------------------------------------------- */

/* One frame of a vector in the making. */
struct framing {
    uint64_t payload; /* bytes that its header announces, or announced: what is offered now may be less */
    uint64_t offered;
    uint8_t head[WS_HEAD_MAX];
    uint8_t head_left; /* the last bytes of head that are to be sent */
    bool is_text;
};

/* A vector in the making. */
struct parcel {
    unsigned n, frame_n;
    size_t own; /* bytes of our own in front */
    struct framing frame[FRAMES_MAX];
    struct iovec iov[OWN_IOV_N + IOV_N + 2 * FRAMES_MAX];
};

/* Where a walk over the caller's vector stands. */
struct vec {
    const struct iovec *iov;
    int n;
    size_t at; /* bytes of iov[0] that are behind us */
};

static void vec_skip_empty(struct vec *v)
{
    for (; v->n > 0 && v->at == v->iov->iov_len; v->n--, v->iov++)
        v->at = 0;
}

/* vec_peek: the next bytes, up to cap; returns how many. */
static size_t vec_peek(struct vec v, uint8_t *out, size_t cap)
{
    size_t have = 0;
    for (vec_skip_empty(&v); v.n > 0 && have < cap; vec_skip_empty(&v)) {
        size_t part = MIN(cap - have, v.iov->iov_len - v.at);
        memcpy(out + have, (const uint8_t *)v.iov->iov_base + v.at, part);
        have += part;
        v.at += part;
    }
    return have;
}

/* pack_payload: up to `most` bytes of v behind p's vector, as far as that has room; returns how many. */
static uint64_t pack_payload(struct parcel *p, struct vec *v, uint64_t most)
{
    uint64_t have = 0;
    for (vec_skip_empty(v); v->n > 0 && have < most && p->n < ARRAY_N(p->iov); vec_skip_empty(v)) {
        size_t part = (size_t)MIN((uint64_t)(v->iov->iov_len - v->at), most - have);
        p->iov[p->n++] = (struct iovec){(uint8_t *)v->iov->iov_base + v->at, part};
        v->at += part;
        have += part;
    }
    return have;
}

/* pack_frame: one more frame: the rest of one that is begun, or, with HEAD_WHOLE, a new one. */
static void pack_frame(struct parcel *p, struct vec *v, struct framing is)
{
    struct framing *f = &p->frame[p->frame_n++];
    *f = is;
    size_t head_len = ws_head(f->head, f->is_text ? WS_OP_TEXT : WS_OP_BINARY, f->payload);
    if (f->head_left == HEAD_WHOLE)
        f->head_left = (uint8_t)head_len;
    if (f->head_left != 0)
        p->iov[p->n++] = (struct iovec){f->head + head_len - f->head_left, f->head_left};
    f->offered = pack_payload(p, v, f->payload);
}

static uint64_t vec_bytes(struct vec v)
{
    uint64_t n = 0;
    for (vec_skip_empty(&v); v.n > 0; v.n--, v.iov++, v.at = 0)
        n += v.iov->iov_len - v.at;
    return n;
}

/* unit_bytes: of the packet that v, which is not empty, begins with; all of v where nobody can tell. */
static uint64_t unit_bytes(const struct ws *ws, const struct vec *v)
{
    uint8_t some[WS_UNIT_HEAD];
    const uint8_t *head = (const uint8_t *)v->iov->iov_base + v->at;
    size_t n = v->iov->iov_len - v->at, unit = 0;
    if (ws->unit != NULL && n < sizeof(some)) {
        n = vec_peek(*v, some, sizeof(some));
        head = some;
    }
    if (ws->unit != NULL)
        unit = ws->unit(head, n);
    return unit != 0 ? unit : vec_bytes(*v);
}

/* may_be_text: the peer wants to be sent text, where it can be. */
static bool may_be_text(const struct ws *ws)
{
    return ws->decoder.takes_text && !ws->decoder.has_binary;
}

/* is_text: the first n bytes of v are UTF-8, and all there. */
static bool is_text(struct vec v, uint64_t n)
{
    struct ws_text text = {0};
    for (vec_skip_empty(&v); v.n > 0 && n > 0; vec_skip_empty(&v)) {
        size_t part = (size_t)MIN((uint64_t)(v.iov->iov_len - v.at), n);
        if (!ws_text_add(&text, (const uint8_t *)v.iov->iov_base + v.at, part))
            return false;
        v.at += part;
        n -= part;
    }
    return n == 0 && ws_text_is_whole(&text);
}

/* pack_unit: the packet that v begins with in a frame of its own. False: it is not all there and something else is to
 * go before it, so it waits until its bytes can be seen. */
static bool pack_unit(const struct ws *ws, struct parcel *p, struct vec *v)
{
    struct framing f = {.payload = unit_bytes(ws, v), .head_left = HEAD_WHOLE};
    if (may_be_text(ws)) {
        if (p->frame_n > 0 && f.payload > vec_bytes(*v))
            return false;
        f.is_text = is_text(*v, f.payload);
    }
    pack_frame(p, v, f);
    return true;
}

/* pack: what the next sendv below is offered: the rest of a frame that is begun, or our own words and new frames. */
static void pack(struct ws *ws, struct vec v, struct parcel *p)
{
    p->n = p->frame_n = 0;
    p->own = 0;
    vec_skip_empty(&v);
    BUG_ON(v.n == 0); /* the caller offered no byte */
    if (ws->owed != 0) {
        pack_frame(p, &v, (struct framing){.payload = ws->owed, .head_left = ws->head_left});
        return;
    }
    p->n = own_iov(ws, p->iov, &p->own);
    for (; v.n > 0 && p->frame_n < FRAMES_MAX && p->n + 2 <= ARRAY_N(p->iov); vec_skip_empty(&v)) {
        if (!pack_unit(ws, p, &v))
            break;
    }
}

/* unpack: `sent` bytes of the frames went out; returns how many of them were payload, and notes what is owed. */
static size_t unpack(struct ws *ws, const struct parcel *p, size_t sent)
{
    size_t payload = 0;
    for (unsigned i = 0; i < p->frame_n && sent > 0; i++) {
        const struct framing *f = &p->frame[i];
        size_t head = MIN(sent, (size_t)f->head_left), part = (size_t)MIN((uint64_t)(sent - head), f->offered);
        ws->head_left = (uint8_t)(f->head_left - head);
        ws->owed = f->payload - part;
        sent -= head + part;
        payload += part;
    }
    return payload;
}

/* forget: last words to a peer that was sent a close frame for a breach: taken, and not sent. */
static ptrdiff_t forget(const struct iovec *iov, int n)
{
    ptrdiff_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += (ptrdiff_t)iov[i].iov_len;
    return bytes;
}

static ptrdiff_t ws_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct ws *ws = ours(t);
    BUG_ON(n <= 0);
    if (ws->is_shut || (ws->has_closed && ws->owed == 0 && !is_breach(ws)))
        return -ERR_RESET;
    if (ws->has_closed && ws->owed == 0)
        return forget(iov, n);
    struct parcel p;
    pack(ws, (struct vec){iov, n, 0}, &p);
    ptrdiff_t sent = transport_sendv(ws->next, p.iov, (int)p.n);
    if (sent < 0)
        return sent;
    size_t own = MIN((size_t)sent, p.own);
    own_eat(ws, own);
    size_t payload = unpack(ws, &p, (size_t)sent - own);
    if (p.own != 0 || has_own(ws))
        flush_own(ws);
    return payload > 0 ? (ptrdiff_t)payload : -ERR_AGAIN;
}

static void ws_want(struct transport *t, unsigned interest)
{
    struct ws *ws = ours(t);
    ws->interest = (uint8_t)interest;
    want_below(ws);
}

static void ws_on_ready(struct transport *next, unsigned events)
{
    struct ws *ws = next->up;
    if ((events & LOOP_WRITE) != 0 && ws->owed == 0 && has_own(ws))
        flush_own(ws);
    events &= ws->interest;
    if (events != 0 && ws->base.on_ready != NULL)
        ws->base.on_ready(&ws->base, events);
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static void ws_shut(struct transport *t)
{
    struct ws *ws = ours(t);
    if (ws->is_shut)
        return;
    ws->is_shut = 1;
    if (ws->owed == 0) /* a close frame inside another frame would be payload */
        queue_close(ws, home_of(ws)->is_going_away ? WS_CLOSE_GOING_AWAY : WS_CLOSE_NORMAL);
    flush_own(ws);
}

static void ws_destroy(struct transport *t)
{
    struct ws *ws = ours(t);
    struct ws_home *home = home_of(ws);
    transport_destroy(ws->next);
    mem_free(home->pool.mem, ws->early);
    mem_free(home->pool.mem, ws->side);
    pool_give(&home->pool, ws);
}

static void ws_peer(struct transport *t, char *out, size_t cap)
{
    const struct ws *ws = ours(t);
    ws->next->ops->peer(ws->next, out, cap);
    size_t n = strlen(out);
    snprintf(out + n, cap - n, " (ws)");
}

static const struct transport_ops ws_ops = {
    .name = "ws",
    .has_farewell = true,
    .recv = ws_recv,
    .sendv = ws_sendv,
    .want = ws_want,
    .pending = ws_pending,
    .shut = ws_shut,
    .destroy = ws_destroy,
    .peer = ws_peer,
};

void ws_home_init(struct ws_home *h, struct mem *mem, uint64_t message_bytes_max)
{
    *h = (struct ws_home){.message_bytes_max = message_bytes_max};
    pool_init(&h->pool, mem, sizeof(struct ws));
}

void ws_home_fini(struct ws_home *h)
{
    pool_fini(&h->pool);
}

struct transport *transport_ws_new(struct ws_home *home, struct transport *next, struct slice hello, struct slice first)
{
    BUG_ON(hello.len > UINT32_MAX);
    struct early *e = mem_alloc(home->pool.mem, sizeof(*e) + hello.len + first.len);
    struct ws *ws = e != NULL ? pool_take(&home->pool) : NULL;
    if (ws == NULL) {
        mem_free(home->pool.mem, e);
        return NULL;
    }
    *e = (struct early){.hello_len = (uint32_t)hello.len, .first_at = hello.len, .len = hello.len + first.len};
    if (hello.len != 0)
        memcpy(e->bytes, hello.p, hello.len);
    if (first.len != 0)
        memcpy(e->bytes + hello.len, first.p, first.len);
    *ws = (struct ws){.next = next, .early = e, .below = BELOW_UNKNOWN};
    ws->base.ops = &ws_ops;
    ws_decoder_init(&ws->decoder, home->message_bytes_max);
    next->up = ws;
    next->on_ready = ws_on_ready;
    trim(ws);
    flush_own(ws);
    return &ws->base;
}

void transport_ws_cut(struct transport *t, ws_unit_fn unit)
{
    BUG_ON(t->ops != &ws_ops);
    ours(t)->unit = unit;
}

void transport_ws_frames(struct transport *t, enum ws_frames frames)
{
    BUG_ON(t->ops != &ws_ops);
    ours(t)->decoder.takes_text = frames == WS_FRAMES_MIRROR;
}

bool transport_ws_has_text(struct transport *t)
{
    BUG_ON(t->ops != &ws_ops);
    return ours(t)->decoder.has_text;
}

void transport_ws_breach(struct transport *t, uint16_t code)
{
    BUG_ON(t->ops != &ws_ops);
    struct ws *ws = ours(t);
    if (ws->end != ERR_OK)
        return; /* it has ended otherwise */
    ws->end = ERR_PROTOCOL;
    queue_close(ws, code);
    flush_own(ws);
}
