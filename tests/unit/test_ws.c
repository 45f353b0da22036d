/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ws.c: the WebSocket pipe as a pipe of bytes: in, out, control frames, the end, no memory. What stands in which
 * frame is test_ws_frames.c's; the contract that it shares with all pipes is tests/contract/test_transport.c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/loop.h"
#include "tests/support/ws_bench.h"
#include "tests/support/ws_peer.h"
#include "transport/ws.h"
#include "transport/ws_codec.h"

/* ---- in ------------------------------------------------------------------------------------------------------ */

static void test_in(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    ws_bench_arrive(b, SLICE("\x82\x83" M0 "abc\x02\x81" M0 "d\x80\x82" M0 "ef\x82\x85" M0 "gh"));
    ws_bench_recv(b, "abcdefgh"); /* [MQTT-6.0.0-2] frames, fragments and a half of one are one stream */
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    ws_bench_arrive(b, SLICE("ijk"));
    ws_bench_recv(b, "ijk");
    ws_bench_idle(b);
    b->low.is_eof = true;
    assert_int_equal(ws_bench_recv_end(b), -ERR_EOF);
    assert_int_equal(b->low.out_n, 0);
    ws_bench_free(b);
}

static void test_byte_by_byte(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    uint8_t payload[300], frame[WS_PEER_HEAD_MAX + 300], one;
    memset(payload, 'x', sizeof(payload));
    b->low.recv_max = 1;
    ws_bench_arrive(b, slice_make(frame, ws_peer_frame(frame, 0x82, payload, 300, 0xa1b2c3d4)));
    ws_bench_arrive(b, SLICE("\x89\x81" M0 "p"));
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(transport_recv(b->ws, &one, 1), 1);
        assert_int_equal(one, 'x');
    }
    assert_int_equal(transport_recv(b->ws, &one, 1), -ERR_AGAIN);
    ws_bench_out(b, SLICE("\x8a\x01p"));
    ws_bench_idle(b);
    ws_bench_free(b);
}

/* Frames that say nothing do not hold the loop: recv gives up after a while, unless they hide below. */
static void test_flood(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    for (unsigned i = 0; i < 100; i++)
        ws_bench_arrive(b, SLICE("\x8a\x80" M0));
    b->low.recv_max = 6;
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    assert_in_range(b->low.recv_calls, 1, 20);
    b->low.is_holding = true;
    ws_bench_arrive(b, SLICE("\x82\x81" M0 "x"));
    assert_true(b->ws->ops->pending(b->ws));
    ws_bench_recv(b, "x");
    ws_bench_free(b);
}

/* ---- control frames ------------------------------------------------------------------------------------------ */

static void test_ping_in_a_message(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    ws_bench_arrive(b, SLICE("\x02\x82" M0 "ab\x89\x83" M0 "p"));
    ws_bench_recv(b, "ab");
    assert_int_equal(b->low.out_n, 0);
    ws_bench_arrive(b, SLICE("qr\x80\x81" M0 "c"));
    ws_bench_recv(b, "c");
    ws_bench_out(b, SLICE("\x8a\x03pqr"));
    ws_bench_idle(b);
    ws_bench_arrive(b, SLICE("\x89\x80" M0 "\x8a\x82" M0 "no\x8a\x80" M0));
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    ws_bench_out(b, SLICE("\x8a\x00")); /* an empty Ping; Pongs are nothing to us */
    ws_bench_free(b);
}

/* A Pong may not go into the middle of a frame. */
static void test_pong_behind_half_a_frame(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    b->low.room = 5;
    assert_int_equal(ws_bench_send(b, "abcdefgh"), 3);
    transport_want(b->ws, LOOP_READ | LOOP_WRITE);
    ws_bench_arrive(b, SLICE("\x89\x82" M0 "p1\x89\x82" M0 "p2"));
    b->low.room = 100;
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    ws_bench_out(b, SLICE("\x82\x08"
                          "abc"));
    transport_want(b->ws, LOOP_READ);
    assert_int_equal(b->low.wanted, LOOP_READ); /* it could not go anyway */
    assert_int_equal(ws_bench_send(b, "de"), 2);
    assert_int_equal(ws_bench_send(b, "fghij"), 3); /* the rest of the frame, no more */
    ws_bench_out(b, SLICE("defgh\x8a\x02p2"));
    ws_bench_idle(b);
    assert_int_equal(ws_bench_send(b, "ij"), 2);
    ws_bench_out(b, SLICE("\x82\x02ij"));
    ws_bench_free(b);
}

/* Of several unanswered Pings the last is answered, but a Pong that is begun is finished. */
static void test_pongs_that_wait(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    b->low.room = 0;
    ws_bench_arrive(b, SLICE("\x89\x82" M0 "p1"));
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    assert_int_equal(b->low.wanted, LOOP_READ | LOOP_WRITE);
    ws_bench_arrive(b, SLICE("\x89\x82" M0 "p2"));
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    ws_bench_room(b, 3);
    for (unsigned i = 0; i < 3; i++) {
        uint8_t ping[WS_PEER_HEAD_MAX + 125], payload[125];
        memset(payload, '0' + (int)i, sizeof(payload));
        ws_bench_arrive(b, slice_make(ping, ws_peer_frame(ping, 0x89, payload, 125, 7)));
        assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    }
    ws_bench_room(b, 11); /* the end of p2 and ten bytes of the last one */
    ws_bench_arrive(b, SLICE("\x89\x82" M0 "p3\x89\x82" M0 "p4"));
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    assert_int_equal(b->events, 0); /* nobody above asked for WRITE */
    ws_bench_room(b, 1000);
    assert_int_equal(b->low.wanted, LOOP_READ);
    assert_memory_equal(b->low.out,
                        "\x8a\x02p2\x8a\x7d"
                        "22222222",
                        14);
    assert_int_equal(b->low.out_n, 4 + 127 + 4);
    assert_memory_equal(b->low.out + 131, "\x8a\x02p4", 4);
    ws_bench_idle(b);
    ws_bench_free(b);
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
        struct ws_bench *b = ws_bench_ready();
        b->low.room = stop;
        ptrdiff_t sent = ws_bench_send(b, text);
        if (stop <= 4)
            assert_int_equal(sent, -ERR_AGAIN); /* the header is not payload */
        else
            assert_int_equal(sent, stop - 4);
        sent = MAX(sent, 0);
        b->low.room = 1000;
        if (sent < 300)
            assert_int_equal(ws_bench_send(b, text + sent), 300 - sent);
        assert_int_equal(b->low.out_n, 304);
        assert_memory_equal(b->low.out, "\x82\x7e\x01\x2c", 4);
        assert_memory_equal(b->low.out + 4, text, 300);
        ws_bench_idle(b);
        ws_bench_free(b);
    }
}

static void test_hello(void **state)
{
    UNUSED(state);
    for (size_t stop = 0; stop <= 5; stop++) {
        struct ws_bench *b = ws_bench_new();
        uint8_t some[5];
        b->low.room = stop;
        ws_bench_open(b, SLICE("HELLO"), SLICE("\x82\x83" M0 "abc\x89\x80" M0));
        assert_true(b->ws->ops->pending(b->ws)); /* nothing below will say so */
        assert_int_equal(b->low.wanted, LOOP_READ | (stop < 5 ? (unsigned)LOOP_WRITE : 0u));
        assert_int_equal(transport_recv(b->ws, some, 5), 3); /* the frame is 9 bytes: two looks */
        assert_memory_equal(some, "abc", 3);
        assert_int_equal(b->low.recv_calls, 0);
        assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
        assert_false(b->ws->ops->pending(b->ws));
        assert_int_equal(ws_bench_send(b, "xyz"), -ERR_AGAIN);
        if (stop % 2 == 0)
            ws_bench_room(b, 100);
        b->low.room = 100;
        assert_int_equal(ws_bench_send(b, "xyz"), 3);
        ws_bench_out(b, SLICE("HELLO\x8a\x00\x82\x03xyz"));
        assert_int_equal(b->low.wanted, LOOP_READ);
        ws_bench_idle(b);
        ws_bench_free(b);
    }
}

/* Whoever above wants nothing, hears nothing; what the pipe owes itself goes out all the same. */
static void test_want(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    b->low.room = 0;
    ws_bench_arrive(b, SLICE("\x89\x81" M0 "p"));
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    transport_want(b->ws, 0);
    assert_int_equal(b->low.wanted, LOOP_WRITE);
    ws_bench_room(b, 100);
    ws_bench_out(b, SLICE("\x8a\x01p"));
    assert_int_equal(b->low.wanted, 0);
    assert_int_equal(b->events, 0);
    transport_want(b->ws, LOOP_WRITE | LOOP_READ);
    b->low.base.on_ready(&b->low.base, LOOP_WRITE | LOOP_READ);
    assert_int_equal(b->events, LOOP_WRITE | LOOP_READ);
    char peer[16];
    b->ws->ops->peer(b->ws, peer, sizeof(peer));
    assert_string_equal(peer, "below (ws)");
    ws_bench_free(b);
}

/* More pieces than a call takes: the frame announces what goes with it. */
static void test_many_pieces(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    struct iovec iov[200];
    for (unsigned i = 0; i < ARRAY_N(iov); i++)
        iov[i] = (struct iovec){(void *)(uintptr_t) "x", i % 2};
    ptrdiff_t n = transport_sendv(b->ws, iov, ARRAY_N(iov));
    assert_in_range(n, 1, 100);
    assert_int_equal(b->low.out_n, 2 + n);
    assert_int_equal(b->low.out[1], n);
    ws_bench_free(b);
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
            struct ws_bench *b = ws_bench_ready();
            ws_bench_arrive(b, SLICE("\x82\x82" M0 "ok"));
            ws_bench_arrive(b, rows[i].frame);
            ws_bench_arrive(b, SLICE("\x82\x82" M0 "no\x89\x80" M0)); /* behind the end: nothing */
            b->low.recv_max = slow;
            uint8_t got[64];
            for (ptrdiff_t n = 0; n < 2;)
                n += transport_recv(b->ws, got + n, sizeof(got));
            assert_memory_equal(got, "ok", 2);
            if (!slow)
                assert_true(b->ws->ops->pending(b->ws)); /* the end is still to be told */
            while (ws_bench_recv_end(b) == -ERR_AGAIN)
                ;
            assert_int_equal(ws_bench_recv_end(b), -ERR_EOF);
            assert_int_equal(ws_bench_recv_end(b), -ERR_EOF);
            assert_false(b->ws->ops->pending(b->ws));
            ws_bench_out(b, rows[i].answer);
            assert_int_equal(ws_bench_send(b, "late"), -ERR_RESET);
            b->ws->ops->shut(b->ws);
            assert_int_equal(b->low.out_n, 0); /* one close frame is enough */
            assert_true(b->low.shut_calls > 0);
            ws_bench_idle(b);
            ws_bench_free(b);
        }
    }
}

static void test_we_close(void **state)
{
    UNUSED(state);
    for (unsigned i = 0; i < 3; i++) {
        struct ws_bench *b = ws_bench_ready();
        b->home.is_going_away = i == 1;
        b->low.room = i == 2 ? 1 : 100;
        b->ws->ops->shut(b->ws);
        if (i == 2) {
            assert_int_equal(b->low.shut_calls, 0); /* not before the close frame is out */
            ws_bench_room(b, 100);
        }
        ws_bench_out(b, i == 1 ? SLICE("\x88\x02\x03\xe9") : SLICE("\x88\x02\x03\xe8"));
        assert_int_equal(b->low.shut_calls, 1);
        assert_int_equal(ws_bench_send(b, "late"), -ERR_RESET);
        ws_bench_arrive(b, SLICE("\x82\x82" M0 "ok\x89\x80" M0 "\x88\x82" M0 "\x03\xe8"));
        ws_bench_recv(b, "ok"); /* receiving goes on */
        assert_int_equal(ws_bench_recv_end(b), -ERR_EOF);
        assert_int_equal(b->low.out_n, 0);
        ws_bench_idle(b);
        ws_bench_free(b);
    }
}

/* Shut in the middle of a frame: a close frame would be taken for payload. */
static void test_shut_in_a_frame(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    b->low.room = 4;
    assert_int_equal(ws_bench_send(b, "abcd"), 2);
    b->low.room = 100;
    b->ws->ops->shut(b->ws);
    assert_int_equal(b->low.out_n, 4);
    assert_true(b->low.shut_calls > 0);
    ws_bench_free(b);
}

/* The answer to the peer's close waits for the end of the frame. */
static void test_closed_in_a_frame(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    b->low.room = 4;
    assert_int_equal(ws_bench_send(b, "abcd"), 2);
    ws_bench_arrive(b, SLICE("\x88\x80" M0));
    assert_int_equal(ws_bench_recv_end(b), -ERR_EOF);
    b->low.room = 100;
    assert_int_equal(ws_bench_send(b, "cdef"), 2);
    ws_bench_out(b, SLICE("\x82\x04"
                          "abcd\x88\x00"));
    assert_int_equal(ws_bench_send(b, "ef"), -ERR_RESET);
    ws_bench_free(b);
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
        struct ws_bench *b = ws_bench_ready();
        ws_bench_arrive(b, SLICE("\x82\x82" M0 "ok"));
        ws_bench_arrive(b, rows[i].frame);
        ws_bench_recv(b, rows[i].answer != 0 ? "ok" : "okb");
        if (rows[i].answer != 0) {
            assert_true(b->ws->ops->pending(b->ws));
            assert_int_equal(ws_bench_recv_end(b), rows[i].answer);
            assert_false(b->ws->ops->pending(b->ws));
            assert_int_equal(ws_bench_send(b, "last words"), 10); /* taken, and nobody is told */
            ws_bench_arrive(b, SLICE("more of it"));
            assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
            assert_int_equal(b->low.in_at, b->low.in_n); /* read, so that the peer is not reset */
            b->ws->ops->shut(b->ws);
            assert_int_equal(b->low.shut_calls, 1);
            b->low.is_eof = true;
            assert_int_equal(ws_bench_recv_end(b), -ERR_EOF);
        }
        ws_bench_out(b, rows[i].out);
        ws_bench_idle(b);
        ws_bench_free(b);
    }
}

static void test_broken_below(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    b->low.room = 0;
    ws_bench_arrive(b, SLICE("\x89\x81" M0 "p"));
    assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
    b->low.is_broken = true;
    ws_bench_room(b, 0);
    assert_int_equal(b->low.wanted, LOOP_READ); /* no spinning on what cannot go */
    assert_int_equal(ws_bench_recv_end(b), -ERR_RESET);
    assert_int_equal(ws_bench_send(b, "x"), -ERR_RESET);
    ws_bench_idle(b);
    ws_bench_free(b);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

static void test_size(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    assert_in_range(b->home.pool.item_bytes, 1, 112);
    ws_bench_free(b);
}

static void test_out_of_memory(void **state)
{
    UNUSED(state);
    for (unsigned i = 1;; i++) { /* while it is made: the pipe below is left alone */
        struct ws_bench *b = ws_bench_new();
        b->heap.fail_at = b->heap.calls + i;
        ws_bench_open(b, SLICE("HELLO"), SLICE("first"));
        bool is_made = b->ws != NULL;
        if (!is_made) {
            assert_null(b->low.base.up);
            assert_false(b->low.is_gone);
            assert_int_equal(b->low.out_n, 0);
        }
        ws_bench_free(b);
        if (is_made) {
            assert_true(i > 2);
            break;
        }
    }
    struct ws_bench *b = ws_bench_ready(); /* for a Ping: the connection ends */
    ws_bench_arrive(b, SLICE("\x82\x82" M0 "ok\x89\x81" M0 "p\x82\x82" M0 "no"));
    b->heap.fail_at = b->heap.calls + 1;
    ws_bench_recv(b, "ok");
    assert_int_equal(ws_bench_recv_end(b), -ERR_RESET);
    assert_int_equal(ws_bench_recv_end(b), -ERR_RESET);
    ws_bench_free(b);

    b = ws_bench_ready(); /* for our close frame: the peer is not told, but all else goes its way */
    b->heap.fail_at = b->heap.calls + 1;
    b->ws->ops->shut(b->ws);
    assert_int_equal(b->low.out_n, 0);
    assert_int_equal(b->low.shut_calls, 1);
    ws_bench_free(b);

    b = ws_bench_ready();
    ws_bench_arrive(b, SLICE("\x81\x80" M0));
    b->heap.fail_at = b->heap.calls + 1;
    assert_int_equal(ws_bench_recv_end(b), -ERR_PROTOCOL);
    ws_bench_free(b);
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
        struct ws_bench *b = ws_bench_ready();
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
                ws_bench_arrive(b,
                                slice_make(ping, ws_peer_frame(ping, 0x89, text, rng_chance(&rng, 50) ? 1 : 120, 9)));
                pings++;
                assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
            }
            if (rng_chance(&rng, 30))
                ws_bench_room(b, rng_below(&rng, 50));
        }
        b->low.room = sizeof(b->low.out);
        ws_bench_room(b, sizeof(b->low.out));
        see(&seen, b->low.out, b->low.out_n);
        assert_int_equal(seen.payload_n, sizeof(text));
        assert_memory_equal(seen.payload, text, sizeof(text));
        assert_true(seen.pongs <= pings && (seen.pongs > 0 || pings == 0));
        ws_bench_idle(b);
        ws_bench_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in),
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
