/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ws.c: the WebSocket pipe over a pipe that does what it is told: reads of one byte, writes that stop anywhere,
 * no memory. The contract that it shares with all pipes is tests/contract/test_transport.c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/loop.h"
#include "tests/support/ws_peer.h"
#include "transport/ws.h"
#include "transport/ws_codec.h"

#define MESSAGE_MAX 5000u
#define M0          "\0\0\0\0" /* a mask that changes nothing */

/* ---- the pipe below ------------------------------------------------------------------------------------------ */

struct lower {
    struct transport base;
    uint8_t in[4096], out[16384];
    size_t in_at, in_n, out_n;
    size_t recv_max; /* bytes one recv gives; 0: all */
    size_t room;     /* bytes taken before ERR_AGAIN */
    unsigned wanted, recv_calls, shut_calls;
    bool is_eof, is_broken, is_gone, is_holding; /* holding: what is unread is pending */
};

static struct lower *lower_of(struct transport *t)
{
    return CONTAINER_OF(t, struct lower, base);
}

static ptrdiff_t lower_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct lower *l = lower_of(t);
    size_t n = MIN(cap, l->in_n - l->in_at);
    l->recv_calls++;
    assert_true(cap > 0);
    if (l->is_broken)
        return -ERR_RESET;
    if (l->recv_max != 0)
        n = MIN(n, l->recv_max);
    if (n == 0)
        return l->is_eof ? -ERR_EOF : -ERR_AGAIN;
    memcpy(out, l->in + l->in_at, n);
    l->in_at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t lower_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct lower *l = lower_of(t);
    size_t taken = 0;
    assert_true(n > 0 && l->shut_calls == 0);
    if (l->is_broken)
        return -ERR_RESET;
    for (int i = 0; i < n; i++) {
        size_t part = MIN(iov[i].iov_len, l->room);
        memcpy(l->out + l->out_n, iov[i].iov_base, part);
        l->out_n += part;
        l->room -= part;
        taken += part;
    }
    return taken > 0 ? (ptrdiff_t)taken : -ERR_AGAIN;
}

static void lower_want(struct transport *t, unsigned interest)
{
    lower_of(t)->wanted = interest;
}

static bool lower_pending(struct transport *t)
{
    const struct lower *l = lower_of(t);
    return l->is_holding && l->in_at < l->in_n;
}

static void lower_shut(struct transport *t)
{
    lower_of(t)->shut_calls++;
}

static void lower_destroy(struct transport *t)
{
    assert_false(lower_of(t)->is_gone);
    lower_of(t)->is_gone = true;
}

static void lower_peer(struct transport *t, char *out, size_t cap)
{
    UNUSED(t);
    (void)snprintf(out, cap, "below");
}

static const struct transport_ops lower_ops = {.name = "lower",
                                               .recv = lower_recv,
                                               .sendv = lower_sendv,
                                               .want = lower_want,
                                               .pending = lower_pending,
                                               .shut = lower_shut,
                                               .destroy = lower_destroy,
                                               .peer = lower_peer};

/* ---- a pipe between ------------------------------------------------------------------------------------------ */

struct bench {
    struct mem_heap heap;
    struct mem mem;
    struct ws_home home;
    struct lower low;
    struct transport *ws;
    unsigned events; /* reported above */
};

static void note(struct transport *t, unsigned events)
{
    struct bench *b = t->up;
    b->events |= events;
}

static void bench_open(struct bench *b, struct slice hello, struct slice first)
{
    b->ws = transport_ws_new(&b->home, &b->low.base, hello, first);
    if (b->ws == NULL)
        return;
    b->ws->up = b;
    b->ws->on_ready = note;
    transport_want(b->ws, LOOP_READ);
}

static struct bench *bench_new(void)
{
    struct bench *b = test_calloc(1, sizeof(*b));
    mem_heap_init(&b->heap);
    mem_init(&b->mem, &b->heap, "ws");
    ws_home_init(&b->home, &b->mem, MESSAGE_MAX);
    b->low.base.ops = &lower_ops;
    b->low.room = sizeof(b->low.out);
    return b;
}

static struct bench *bench_ready(void)
{
    struct bench *b = bench_new();
    bench_open(b, SLICE(""), SLICE(""));
    assert_non_null(b->ws);
    return b;
}

static void bench_free(struct bench *b)
{
    if (b->ws != NULL) {
        transport_destroy(b->ws);
        assert_true(b->low.is_gone);
    }
    ws_home_fini(&b->home);
    assert_int_equal(b->heap.bytes, 0);
    test_free(b);
}

/* idle: nothing is allocated but the pipe itself. */
static void assert_idle(const struct bench *b)
{
    assert_int_equal(b->mem.blocks, 1); /* the pool's slab */
}

static void arrive(struct bench *b, struct slice bytes)
{
    memcpy(b->low.in + b->low.in_n, bytes.p, bytes.len);
    b->low.in_n += bytes.len;
}

static void assert_recv(struct bench *b, const char *expected)
{
    uint8_t buf[4096];
    ptrdiff_t n = transport_recv(b->ws, buf, sizeof(buf));
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(buf, expected, strlen(expected));
}

static ptrdiff_t recv_end(struct bench *b)
{
    uint8_t buf[4096];
    return transport_recv(b->ws, buf, sizeof(buf));
}

static ptrdiff_t send_text(struct bench *b, const char *text)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)text, 1}, {(void *)(uintptr_t)(text + 1), strlen(text) - 1}};
    return transport_sendv(b->ws, iov, text[1] != 0 ? 2 : 1);
}

/* assert_out: what went out since the last look. */
static void assert_out(struct bench *b, struct slice expected)
{
    assert_int_equal(b->low.out_n, expected.len);
    assert_memory_equal(b->low.out, expected.p, expected.len);
    b->low.out_n = 0;
}

/* more_room: the peer has read; WRITE is reported as far as it is wanted. */
static void more_room(struct bench *b, size_t room)
{
    b->low.room = room;
    if ((b->low.wanted & LOOP_WRITE) != 0)
        b->low.base.on_ready(&b->low.base, LOOP_WRITE);
}

/* ---- in ------------------------------------------------------------------------------------------------------ */

static void test_in(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    arrive(b, SLICE("\x82\x83" M0 "abc\x02\x81" M0 "d\x80\x82" M0 "ef\x82\x85" M0 "gh"));
    assert_recv(b, "abcdefgh"); /* [MQTT-6.0.0-2] frames, fragments and a half of one are one stream */
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    arrive(b, SLICE("ijk"));
    assert_recv(b, "ijk");
    assert_idle(b);
    b->low.is_eof = true;
    assert_int_equal(recv_end(b), -ERR_EOF);
    assert_int_equal(b->low.out_n, 0);
    bench_free(b);
}

static void test_byte_by_byte(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    uint8_t payload[300], frame[WS_PEER_HEAD_MAX + 300], one;
    memset(payload, 'x', sizeof(payload));
    b->low.recv_max = 1;
    arrive(b, slice_make(frame, ws_peer_frame(frame, 0x82, payload, 300, 0xa1b2c3d4)));
    arrive(b, SLICE("\x89\x81" M0 "p"));
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(transport_recv(b->ws, &one, 1), 1);
        assert_int_equal(one, 'x');
    }
    assert_int_equal(transport_recv(b->ws, &one, 1), -ERR_AGAIN);
    assert_out(b, SLICE("\x8a\x01p"));
    assert_idle(b);
    bench_free(b);
}

/* Frames that say nothing do not hold the loop: recv gives up after a while, unless they hide below. */
static void test_flood(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    for (unsigned i = 0; i < 100; i++)
        arrive(b, SLICE("\x8a\x80" M0));
    b->low.recv_max = 6;
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    assert_in_range(b->low.recv_calls, 1, 20);
    b->low.is_holding = true;
    arrive(b, SLICE("\x82\x81" M0 "x"));
    assert_true(b->ws->ops->pending(b->ws));
    assert_recv(b, "x");
    bench_free(b);
}

/* ---- control frames ------------------------------------------------------------------------------------------ */

static void test_ping_in_a_message(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    arrive(b, SLICE("\x02\x82" M0 "ab\x89\x83" M0 "p"));
    assert_recv(b, "ab");
    assert_int_equal(b->low.out_n, 0);
    arrive(b, SLICE("qr\x80\x81" M0 "c"));
    assert_recv(b, "c");
    assert_out(b, SLICE("\x8a\x03pqr"));
    assert_idle(b);
    arrive(b, SLICE("\x89\x80" M0 "\x8a\x82" M0 "no\x8a\x80" M0));
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    assert_out(b, SLICE("\x8a\x00")); /* an empty Ping; Pongs are nothing to us */
    bench_free(b);
}

/* A Pong may not go into the middle of a frame. */
static void test_pong_behind_half_a_frame(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    b->low.room = 5;
    assert_int_equal(send_text(b, "abcdefgh"), 3);
    transport_want(b->ws, LOOP_READ | LOOP_WRITE);
    arrive(b, SLICE("\x89\x82" M0 "p1\x89\x82" M0 "p2"));
    b->low.room = 100;
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    assert_out(b, SLICE("\x82\x08"
                        "abc"));
    transport_want(b->ws, LOOP_READ);
    assert_int_equal(b->low.wanted, LOOP_READ); /* it could not go anyway */
    assert_int_equal(send_text(b, "de"), 2);
    assert_int_equal(send_text(b, "fghij"), 3); /* the rest of the frame, no more */
    assert_out(b, SLICE("defgh\x8a\x02p2"));
    assert_idle(b);
    assert_int_equal(send_text(b, "ij"), 2);
    assert_out(b, SLICE("\x82\x02ij"));
    bench_free(b);
}

/* Of several unanswered Pings the last is answered, but a Pong that is begun is finished. */
static void test_pongs_that_wait(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    b->low.room = 0;
    arrive(b, SLICE("\x89\x82" M0 "p1"));
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    assert_int_equal(b->low.wanted, LOOP_READ | LOOP_WRITE);
    arrive(b, SLICE("\x89\x82" M0 "p2"));
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    more_room(b, 3);
    for (unsigned i = 0; i < 3; i++) {
        uint8_t ping[WS_PEER_HEAD_MAX + 125], payload[125];
        memset(payload, '0' + (int)i, sizeof(payload));
        arrive(b, slice_make(ping, ws_peer_frame(ping, 0x89, payload, 125, 7)));
        assert_int_equal(recv_end(b), -ERR_AGAIN);
    }
    more_room(b, 11); /* the end of p2 and ten bytes of the last one */
    arrive(b, SLICE("\x89\x82" M0 "p3\x89\x82" M0 "p4"));
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    assert_int_equal(b->events, 0); /* nobody above asked for WRITE */
    more_room(b, 1000);
    assert_int_equal(b->low.wanted, LOOP_READ);
    assert_memory_equal(b->low.out,
                        "\x8a\x02p2\x8a\x7d"
                        "22222222",
                        14);
    assert_int_equal(b->low.out_n, 4 + 127 + 4);
    assert_memory_equal(b->low.out + 131, "\x8a\x02p4", 4);
    assert_idle(b);
    bench_free(b);
}

/* ---- out ----------------------------------------------------------------------------------------------------- */

/* The caller's bytes go in one frame, whatever the pieces; a frame is finished wherever it stopped. */
static void test_out_stops_anywhere(void **state)
{
    UNUSED(state);
    char text[301];
    for (unsigned i = 0; i < 300; i++)
        text[i] = (char)('a' + i % 26);
    text[300] = 0;
    for (size_t stop = 0; stop <= 304; stop++) {
        struct bench *b = bench_ready();
        b->low.room = stop;
        ptrdiff_t sent = send_text(b, text);
        if (stop <= 4)
            assert_int_equal(sent, -ERR_AGAIN); /* the header is not payload */
        else
            assert_int_equal(sent, stop - 4);
        sent = MAX(sent, 0);
        b->low.room = 1000;
        if (sent < 300)
            assert_int_equal(send_text(b, text + sent), 300 - sent);
        assert_int_equal(b->low.out_n, 304);
        assert_memory_equal(b->low.out, "\x82\x7e\x01\x2c", 4);
        assert_memory_equal(b->low.out + 4, text, 300);
        assert_idle(b);
        bench_free(b);
    }
}

static void test_hello(void **state)
{
    UNUSED(state);
    for (size_t stop = 0; stop <= 5; stop++) {
        struct bench *b = bench_new();
        uint8_t some[5];
        b->low.room = stop;
        bench_open(b, SLICE("HELLO"), SLICE("\x82\x83" M0 "abc\x89\x80" M0));
        assert_true(b->ws->ops->pending(b->ws)); /* nothing below will say so */
        assert_int_equal(b->low.wanted, LOOP_READ | (stop < 5 ? (unsigned)LOOP_WRITE : 0u));
        assert_int_equal(transport_recv(b->ws, some, 5), 3); /* the frame is 9 bytes: two looks */
        assert_memory_equal(some, "abc", 3);
        assert_int_equal(b->low.recv_calls, 0);
        assert_int_equal(recv_end(b), -ERR_AGAIN);
        assert_false(b->ws->ops->pending(b->ws));
        assert_int_equal(send_text(b, "xyz"), -ERR_AGAIN);
        if (stop % 2 == 0)
            more_room(b, 100);
        b->low.room = 100;
        assert_int_equal(send_text(b, "xyz"), 3);
        assert_out(b, SLICE("HELLO\x8a\x00\x82\x03xyz"));
        assert_int_equal(b->low.wanted, LOOP_READ);
        assert_idle(b);
        bench_free(b);
    }
}

/* Whoever above wants nothing, hears nothing; what the pipe owes itself goes out all the same. */
static void test_want(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    b->low.room = 0;
    arrive(b, SLICE("\x89\x81" M0 "p"));
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    transport_want(b->ws, 0);
    assert_int_equal(b->low.wanted, LOOP_WRITE);
    more_room(b, 100);
    assert_out(b, SLICE("\x8a\x01p"));
    assert_int_equal(b->low.wanted, 0);
    assert_int_equal(b->events, 0);
    transport_want(b->ws, LOOP_WRITE | LOOP_READ);
    b->low.base.on_ready(&b->low.base, LOOP_WRITE | LOOP_READ);
    assert_int_equal(b->events, LOOP_WRITE | LOOP_READ);
    char peer[16];
    b->ws->ops->peer(b->ws, peer, sizeof(peer));
    assert_string_equal(peer, "below (ws)");
    bench_free(b);
}

/* More pieces than a call takes: the frame announces what goes with it. */
static void test_many_pieces(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    struct iovec iov[200];
    for (unsigned i = 0; i < ARRAY_N(iov); i++)
        iov[i] = (struct iovec){(void *)(uintptr_t) "x", i % 2};
    ptrdiff_t n = transport_sendv(b->ws, iov, ARRAY_N(iov));
    assert_in_range(n, 1, 100);
    assert_int_equal(b->low.out_n, 2 + n);
    assert_int_equal(b->low.out[1], n);
    bench_free(b);
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static void test_peer_closes(void **state)
{
    UNUSED(state);
    const struct {
        struct slice frame, answer;
    } rows[] = {
        {SLICE("\x88\x82" M0 "\x03\xe8"), SLICE("\x88\x02\x03\xe8")},
        {SLICE("\x88\x85" M0 "\x0f\xa0"
               "bye"),
         SLICE("\x88\x02\x0f\xa0")}, /* 4000 */
        {SLICE("\x88\x80" M0), SLICE("\x88\x00")},
        {SLICE("\x88\x81" M0 "\x03"), SLICE("\x88\x02\x03\xea")},
        {SLICE("\x88\x82" M0 "\x03\xed"), SLICE("\x88\x02\x03\xea")},     /* 1005 */
        {SLICE("\x88\x83" M0 "\x03\xe8\xff"), SLICE("\x88\x02\x03\xea")}, /* no UTF-8 */
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        for (unsigned slow = 0; slow < 2; slow++) {
            struct bench *b = bench_ready();
            arrive(b, SLICE("\x82\x82" M0 "ok"));
            arrive(b, rows[i].frame);
            arrive(b, SLICE("\x82\x82" M0 "no\x89\x80" M0)); /* behind the end: nothing */
            b->low.recv_max = slow;
            uint8_t got[64];
            for (ptrdiff_t n = 0; n < 2;)
                n += transport_recv(b->ws, got + n, sizeof(got));
            assert_memory_equal(got, "ok", 2);
            if (!slow)
                assert_true(b->ws->ops->pending(b->ws)); /* the end is still to be told */
            while (recv_end(b) == -ERR_AGAIN)
                ;
            assert_int_equal(recv_end(b), -ERR_EOF);
            assert_int_equal(recv_end(b), -ERR_EOF);
            assert_false(b->ws->ops->pending(b->ws));
            assert_out(b, rows[i].answer);
            assert_int_equal(send_text(b, "late"), -ERR_RESET);
            b->ws->ops->shut(b->ws);
            assert_int_equal(b->low.out_n, 0); /* one close frame is enough */
            assert_true(b->low.shut_calls > 0);
            assert_idle(b);
            bench_free(b);
        }
    }
}

static void test_we_close(void **state)
{
    UNUSED(state);
    for (unsigned i = 0; i < 3; i++) {
        struct bench *b = bench_ready();
        b->home.is_going_away = i == 1;
        b->low.room = i == 2 ? 1 : 100;
        b->ws->ops->shut(b->ws);
        if (i == 2) {
            assert_int_equal(b->low.shut_calls, 0); /* not before the close frame is out */
            more_room(b, 100);
        }
        assert_out(b, i == 1 ? SLICE("\x88\x02\x03\xe9") : SLICE("\x88\x02\x03\xe8"));
        assert_int_equal(b->low.shut_calls, 1);
        assert_int_equal(send_text(b, "late"), -ERR_RESET);
        arrive(b, SLICE("\x82\x82" M0 "ok\x89\x80" M0 "\x88\x82" M0 "\x03\xe8"));
        assert_recv(b, "ok"); /* receiving goes on */
        assert_int_equal(recv_end(b), -ERR_EOF);
        assert_int_equal(b->low.out_n, 0);
        assert_idle(b);
        bench_free(b);
    }
}

/* Shut in the middle of a frame: a close frame would be taken for payload. */
static void test_shut_in_a_frame(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    b->low.room = 4;
    assert_int_equal(send_text(b, "abcd"), 2);
    b->low.room = 100;
    b->ws->ops->shut(b->ws);
    assert_int_equal(b->low.out_n, 4);
    assert_true(b->low.shut_calls > 0);
    bench_free(b);
}

/* The answer to the peer's close waits for the end of the frame. */
static void test_closed_in_a_frame(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    b->low.room = 4;
    assert_int_equal(send_text(b, "abcd"), 2);
    arrive(b, SLICE("\x88\x80" M0));
    assert_int_equal(recv_end(b), -ERR_EOF);
    b->low.room = 100;
    assert_int_equal(send_text(b, "cdef"), 2);
    assert_out(b, SLICE("\x82\x04"
                        "abcd\x88\x00"));
    assert_int_equal(send_text(b, "ef"), -ERR_RESET);
    bench_free(b);
}

static void test_breaches(void **state)
{
    UNUSED(state);
    const struct {
        struct slice frame;
        ptrdiff_t answer;
        struct slice out;
    } rows[] = {
        {SLICE("\x81\x81" M0 "a"), -ERR_PROTOCOL, SLICE("\x88\x02\x03\xeb")}, /* [MQTT-6.0.0-1] text */
        {SLICE("\x82\x01"
               "a"),
         -ERR_PROTOCOL, SLICE("\x88\x02\x03\xea")},       /* not masked */
        {SLICE("\x02\xfe\x0f\xff" M0 "b"), 0, SLICE("")}, /* a fragment of 4095 bytes, and then */
        {SLICE("\x82\xfe\x13\x89" M0 "b"), -ERR_TOO_BIG, SLICE("\x88\x02\x03\xf1")}, /* 5001 bytes */
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        struct bench *b = bench_ready();
        arrive(b, SLICE("\x82\x82" M0 "ok"));
        arrive(b, rows[i].frame);
        assert_recv(b, rows[i].answer != 0 ? "ok" : "okb");
        if (rows[i].answer != 0) {
            assert_true(b->ws->ops->pending(b->ws));
            assert_int_equal(recv_end(b), rows[i].answer);
            assert_false(b->ws->ops->pending(b->ws));
            assert_int_equal(send_text(b, "last words"), 10); /* taken, and nobody is told */
            arrive(b, SLICE("more of it"));
            assert_int_equal(recv_end(b), -ERR_AGAIN);
            assert_int_equal(b->low.in_at, b->low.in_n); /* read, so that the peer is not reset */
            b->ws->ops->shut(b->ws);
            assert_int_equal(b->low.shut_calls, 1);
            b->low.is_eof = true;
            assert_int_equal(recv_end(b), -ERR_EOF);
        }
        assert_out(b, rows[i].out);
        assert_idle(b);
        bench_free(b);
    }
}

static void test_broken_below(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    b->low.room = 0;
    arrive(b, SLICE("\x89\x81" M0 "p"));
    assert_int_equal(recv_end(b), -ERR_AGAIN);
    b->low.is_broken = true;
    more_room(b, 0);
    assert_int_equal(b->low.wanted, LOOP_READ); /* no spinning on what cannot go */
    assert_int_equal(recv_end(b), -ERR_RESET);
    assert_int_equal(send_text(b, "x"), -ERR_RESET);
    assert_idle(b);
    bench_free(b);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

static void test_size(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    assert_in_range(b->home.pool.item_bytes, 1, 112);
    bench_free(b);
}

static void test_out_of_memory(void **state)
{
    UNUSED(state);
    for (unsigned i = 1;; i++) { /* while it is made: the pipe below is left alone */
        struct bench *b = bench_new();
        b->heap.fail_at = b->heap.calls + i;
        bench_open(b, SLICE("HELLO"), SLICE("first"));
        bool is_made = b->ws != NULL;
        if (!is_made) {
            assert_null(b->low.base.up);
            assert_false(b->low.is_gone);
            assert_int_equal(b->low.out_n, 0);
        }
        bench_free(b);
        if (is_made) {
            assert_true(i > 2);
            break;
        }
    }
    struct bench *b = bench_ready(); /* for a Ping: the connection ends */
    arrive(b, SLICE("\x82\x82" M0 "ok\x89\x81" M0 "p\x82\x82" M0 "no"));
    b->heap.fail_at = b->heap.calls + 1;
    assert_recv(b, "ok");
    assert_int_equal(recv_end(b), -ERR_RESET);
    assert_int_equal(recv_end(b), -ERR_RESET);
    bench_free(b);

    b = bench_ready(); /* for our close frame: the peer is not told, but all else goes its way */
    b->heap.fail_at = b->heap.calls + 1;
    b->ws->ops->shut(b->ws);
    assert_int_equal(b->low.out_n, 0);
    assert_int_equal(b->low.shut_calls, 1);
    bench_free(b);

    b = bench_ready();
    arrive(b, SLICE("\x81\x80" M0));
    b->heap.fail_at = b->heap.calls + 1;
    assert_int_equal(recv_end(b), -ERR_PROTOCOL);
    bench_free(b);
}

/* ---- by chance ----------------------------------------------------------------------------------------------- */

/* What a client makes of our output. */
struct seen {
    size_t at, payload_n, pongs;
    uint8_t payload[16384];
};

/* see: reads whole frames from out[n]; frames in frames are found here, as nonsense. */
static void see(struct seen *s, const uint8_t *out, size_t n)
{
    while (s->at < n) {
        size_t len = out[s->at + 1], head = 2;
        if (len == 126) {
            len = (size_t)out[s->at + 2] << 8 | out[s->at + 3];
            head = 4;
        }
        assert_true(s->at + head + len <= n);
        if (out[s->at] == 0x82) {
            memcpy(s->payload + s->payload_n, out + s->at + head, len);
            s->payload_n += len;
        } else {
            assert_int_equal(out[s->at], 0x8a);
            assert_true(len == 1 || len == 120);
            s->pongs++;
        }
        s->at += head + len;
    }
}

static void test_random(void **state)
{
    UNUSED(state);
    struct rng rng;
    rng_init(&rng, 3);
    for (unsigned round = 0; round < 300; round++) {
        struct bench *b = bench_ready();
        static struct seen seen;
        uint8_t text[6000], ping[WS_PEER_HEAD_MAX + 120];
        size_t sent = 0;
        unsigned pings = 0;
        memset(&seen, 0, sizeof(seen));
        for (size_t i = 0; i < sizeof(text); i++)
            text[i] = (uint8_t)rng_u64(&rng);
        while (sent < sizeof(text)) {
            size_t most = 1 + rng_below(&rng, 900), n = MIN(most, sizeof(text) - sent);
            b->low.room = rng_chance(&rng, 30) ? rng_below(&rng, 8) : rng_below(&rng, 700);
            ptrdiff_t taken = transport_sendv(b->ws, &(struct iovec){text + sent, n}, 1);
            assert_true(taken == -ERR_AGAIN || (taken > 0 && (size_t)taken <= n));
            sent += (size_t)MAX(taken, 0);
            if (rng_chance(&rng, 30) && b->low.in_n < sizeof(b->low.in) - sizeof(ping)) {
                arrive(b, slice_make(ping, ws_peer_frame(ping, 0x89, text, rng_chance(&rng, 50) ? 1 : 120, 9)));
                pings++;
                assert_int_equal(recv_end(b), -ERR_AGAIN);
            }
            if (rng_chance(&rng, 30))
                more_room(b, rng_below(&rng, 50));
        }
        b->low.room = sizeof(b->low.out);
        more_room(b, sizeof(b->low.out));
        see(&seen, b->low.out, b->low.out_n);
        assert_int_equal(seen.payload_n, sizeof(text));
        assert_memory_equal(seen.payload, text, sizeof(text));
        assert_true(seen.pongs <= pings && (seen.pongs > 0 || pings == 0));
        assert_idle(b);
        bench_free(b);
    }
}

/* ---- a frame per packet -------------------------------------------------------------------------------------- */

/* A packet begins with its length; 0 does not tell. */
static size_t unit_of(const uint8_t *head, size_t n)
{
    assert_in_range(n, 1, WS_UNIT_HEAD);
    return head[0];
}

static struct iovec part(const char *bytes, size_t n)
{
    return (struct iovec){(void *)(uintptr_t)bytes, n};
}

static void test_a_frame_per_packet(void **state)
{
    UNUSED(state);
    struct bench *b = bench_ready();
    transport_ws_cut(b->ws, unit_of);
    struct iovec iov[] = {part("\2a\3b", 4), part("", 0), part("c\1", 2), part("\4de", 3)};
    assert_int_equal(transport_sendv(b->ws, iov, ARRAY_N(iov)), 9); /* the last one's end follows, and was announced */
    assert_out(b, SLICE("\x82\2\2a\x82\3\3bc\x82\1\1\x82\4\4de"));
    struct iovec rest[] = {part("f\1", 2)};
    assert_int_equal(transport_sendv(b->ws, rest, 1), 1);
    struct iovec unknown[] = {part("\1\0xyz", 5)};
    assert_int_equal(transport_sendv(b->ws, unknown, 1), 5);
    assert_out(b, SLICE("f\x82\1\1\x82\4\0xyz"));
    bench_free(b);
}

enum { UNITS = 300, STREAM_MAX = UNITS * 20 };

/* offer: what is left of the stream, as a random vector; returns its parts. */
static int offer(struct rng *rng, const uint8_t *p, size_t n, struct iovec iov[64])
{
    int parts = 0;
    for (size_t at = 0; at < n && parts < 64;) {
        size_t most = rng_below(rng, 30), len = MIN(n - at, most);
        iov[parts++] = part((const char *)p + at, len);
        at += len;
    }
    return parts;
}

/* read_units: data frames hold one unit each; pongs stand between them. Returns the bytes of payload. */
static size_t read_units(const uint8_t *out, size_t n, const uint8_t *stream)
{
    size_t at = 0, have = 0;
    while (at < n) {
        size_t len = out[at + 1];
        if (out[at] == 0x82) {
            assert_int_equal(len, stream[have]);
            assert_memory_equal(out + at + 2, stream + have, len);
            have += len;
        } else {
            assert_int_equal(out[at], 0x8a);
        }
        at += 2 + len;
    }
    return have;
}

/* Whatever is taken at a time, and with Pongs to send: nothing but whole packets in frames. */
static void test_packets_in_pieces(void **state)
{
    UNUSED(state);
    static uint8_t stream[STREAM_MAX];
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        rng_init(&rng, seed);
        struct bench *b = bench_ready();
        transport_ws_cut(b->ws, unit_of);
        size_t n = 0, sent = 0;
        for (unsigned i = 0; i < UNITS; i++) {
            size_t len = 1 + rng_below(&rng, 20);
            memset(stream + n, 'a' + (int)(i % 26), len);
            stream[n] = (uint8_t)len;
            n += len;
        }
        for (unsigned calls = 0; sent < n; calls++) {
            assert_in_range(calls, 0, 20000);
            struct iovec iov[64];
            int parts = offer(&rng, stream + sent, n - sent, iov);
            more_room(b, rng_below(&rng, seed % 2 ? 5 : 2000));
            ptrdiff_t taken = 0;
            for (int i = 0; i < parts; i++)
                taken += (ptrdiff_t)iov[i].iov_len;
            if (taken > 0)
                taken = transport_sendv(b->ws, iov, parts);
            sent += taken > 0 ? (size_t)taken : 0;
            if (rng_below(&rng, 40) == 0 && b->low.in_n + 20 < sizeof(b->low.in)) {
                arrive(b, SLICE("\x89\x82" M0 "p1"));
                assert_int_equal(recv_end(b), -ERR_AGAIN);
            }
        }
        more_room(b, 1000);
        assert_int_equal(read_units(b->low.out, b->low.out_n, stream), n);
        assert_idle(b);
        bench_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in),
        cmocka_unit_test(test_a_frame_per_packet),
        cmocka_unit_test(test_packets_in_pieces),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_ping_in_a_message),
        cmocka_unit_test(test_pong_behind_half_a_frame),
        cmocka_unit_test(test_pongs_that_wait),
        cmocka_unit_test(test_out_stops_anywhere),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_want),
        cmocka_unit_test(test_many_pieces),
        cmocka_unit_test(test_peer_closes),
        cmocka_unit_test(test_we_close),
        cmocka_unit_test(test_shut_in_a_frame),
        cmocka_unit_test(test_closed_in_a_frame),
        cmocka_unit_test(test_breaches),
        cmocka_unit_test(test_broken_below),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
