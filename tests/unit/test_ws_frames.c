/* SPDX-License-Identifier: Apache-2.0 */
/* test_ws_frames.c: what the WebSocket pipe puts into which frame: a packet in each, text or binary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/base/utf8.h"
#include "tests/support/ws_bench.h"
#include "transport/ws.h"
#include "transport/ws_codec.h"

/* ---- a frame per packet -------------------------------------------------------------------------------------- */

enum { UNITS = 300, STREAM_MAX = UNITS * 20 };

/* A packet begins with its length; 0 does not tell. */
static size_t unit_of(const uint8_t *head, size_t n)
{
    assert_in_range(n, 1, STREAM_MAX); /* what stands in one piece, or WS_UNIT_HEAD */
    return head[0];
}

static struct iovec part(const char *bytes, size_t n)
{
    return (struct iovec){(void *)(uintptr_t)bytes, n};
}

static void test_a_frame_per_packet(void **state)
{
    UNUSED(state);
    struct ws_bench *b = ws_bench_ready();
    transport_ws_cut(b->ws, unit_of);
    struct iovec iov[] = {part("\2a\3b", 4), part("", 0), part("c\1", 2), part("\4de", 3)};
    assert_int_equal(transport_sendv(b->ws, iov, ARRAY_N(iov)), 9); /* the last one's end follows, and was announced */
    ws_bench_out(b, SLICE("\x82\2\2a\x82\3\3bc\x82\1\1\x82\4\4de"));
    struct iovec rest[] = {part("f\1", 2)};
    assert_int_equal(transport_sendv(b->ws, rest, 1), 1);
    struct iovec unknown[] = {part("\1\0xyz", 5)};
    assert_int_equal(transport_sendv(b->ws, unknown, 1), 5);
    ws_bench_out(b, SLICE("f\x82\1\1\x82\4\0xyz"));
    ws_bench_free(b);
}

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

/* read_units: data frames hold one unit each, text if it is UTF-8 and that is wanted; pongs stand between them. Returns
 * the bytes of payload. */
static size_t read_units(const uint8_t *out, size_t n, const uint8_t *stream, bool wants_text)
{
    size_t at = 0, have = 0;
    while (at < n) {
        size_t len = out[at + 1];
        if (out[at] == 0x82 || out[at] == 0x81) {
            assert_int_equal(len, stream[have]);
            assert_memory_equal(out + at + 2, stream + have, len);
            assert_int_equal(out[at], wants_text && utf8_is_valid(stream + have, len) ? 0x81 : 0x82);
            have += len;
        } else {
            assert_int_equal(out[at], 0x8a);
        }
        at += 2 + len;
    }
    return have;
}

/* Whatever is taken at a time, and with Pongs to send: nothing but whole packets in frames, every second time as text
 * where it can be. */
static void test_packets_in_pieces(void **state)
{
    UNUSED(state);
    static uint8_t stream[STREAM_MAX];
    for (uint64_t seed = 1; seed <= 400; seed++) {
        bool wants_text = seed > 200;
        struct rng rng;
        rng_init(&rng, seed);
        struct ws_bench *b = ws_bench_ready();
        transport_ws_cut(b->ws, unit_of);
        transport_ws_frames(b->ws, wants_text ? WS_FRAMES_MIRROR : WS_FRAMES_BINARY);
        size_t n = 0, sent = 0;
        for (unsigned i = 0; i < UNITS; i++) {
            size_t len = 1 + rng_below(&rng, 20);
            memset(stream + n, 'a' + (int)(i % 26), len);
            stream[n] = (uint8_t)len;
            if (i % 3 == 0)
                stream[n + len / 2] = len / 2 != 0 ? 0xff : stream[n];
            n += len;
        }
        for (unsigned calls = 0; sent < n; calls++) {
            assert_in_range(calls, 0, 20000);
            struct iovec iov[64];
            int parts = offer(&rng, stream + sent, n - sent, iov);
            ws_bench_room(b, rng_below(&rng, seed % 2 ? 5 : 2000));
            ptrdiff_t taken = 0;
            for (int i = 0; i < parts; i++)
                taken += (ptrdiff_t)iov[i].iov_len;
            if (taken > 0)
                taken = transport_sendv(b->ws, iov, parts);
            sent += taken > 0 ? (size_t)taken : 0;
            if (rng_below(&rng, 40) == 0 && b->low.in_n + 20 < sizeof(b->low.in)) {
                ws_bench_arrive(b, SLICE("\x89\x82" M0 "p1"));
                assert_int_equal(ws_bench_recv_end(b), -ERR_AGAIN);
            }
        }
        ws_bench_room(b, 1000);
        assert_int_equal(read_units(b->low.out, b->low.out_n, stream, wants_text), n);
        ws_bench_idle(b);
        ws_bench_free(b);
    }
}

/* ---- text and binary ----------------------------------------------------------------------------------------- */

static struct ws_bench *bench_mirror(void)
{
    struct ws_bench *b = ws_bench_ready();
    transport_ws_cut(b->ws, unit_of);
    transport_ws_frames(b->ws, WS_FRAMES_MIRROR);
    return b;
}

static void offer_all(struct ws_bench *b, const char *bytes, size_t n)
{
    struct iovec iov = part(bytes, n);
    assert_int_equal(transport_sendv(b->ws, &iov, 1), n);
}

/* What goes out is text until the peer has sent binary; what is no UTF-8 is binary all the same. */
static void test_mirror(void **state)
{
    UNUSED(state);
    struct ws_bench *b = bench_mirror();
    assert_false(transport_ws_has_text(b->ws));
    offer_all(b, "\3ab\2\xff\2c", 7);
    ws_bench_out(b, SLICE("\x81\3\3ab\x82\2\2\xff\x81\2\2c"));
    ws_bench_arrive(b, SLICE("\x81\x82" M0 "hi\x01\x81" M0 "\xc3\x80\x81" M0 "\xb6"));
    ws_bench_recv(b, "hi\xc3\xb6");
    assert_true(transport_ws_has_text(b->ws));
    offer_all(b, "\3\xc3\xb6", 3);
    ws_bench_out(b, SLICE("\x81\3\3\xc3\xb6"));
    ws_bench_arrive(b, SLICE("\x82\x81" M0 "b\x81\x81" M0 "t")); /* both are taken from now on, too */
    ws_bench_recv(b, "bt");
    offer_all(b, "\3ab\2c", 5);
    ws_bench_out(b, SLICE("\x82\3\3ab\x82\2\2c"));
    ws_bench_idle(b);
    ws_bench_free(b);
}

/* A packet is judged over its pieces. One that is not all there waits behind others, and is binary where it is first.
 */
static void test_text_in_pieces(void **state)
{
    UNUSED(state);
    struct ws_bench *b = bench_mirror();
    struct iovec iov[] = {part("\4a\xe2", 3), part("\x82", 1), part("\2", 1), part("x\5y", 3)};
    assert_int_equal(transport_sendv(b->ws, iov, ARRAY_N(iov)), 6); /* e2 82 are no character: binary */
    ws_bench_out(b, SLICE("\x82\4\4a\xe2\x82\x81\2\2x"));
    struct iovec rest[] = {part("\5y", 2)};
    assert_int_equal(transport_sendv(b->ws, rest, 1), 2);
    struct iovec end[] = {part("zzz\2a", 5)};
    assert_int_equal(transport_sendv(b->ws, end, 1), 3);
    ws_bench_out(b, SLICE("\x82\5\5yzzz"));
    struct iovec euro[] = {part("\4\xe2", 2), part("\x82", 1), part("\xac", 1)};
    assert_int_equal(transport_sendv(b->ws, euro, ARRAY_N(euro)), 4);
    ws_bench_out(b, SLICE("\x81\4\4\xe2\x82\xac"));
    ws_bench_free(b);
}

/* A frame of text goes on as one, wherever it stopped, also inside its header and when the peer turned to binary. */
static void test_text_stops_anywhere(void **state)
{
    UNUSED(state);
    char text[199];
    memset(text, 'a', sizeof(text));
    text[198] = 0;
    for (size_t stop = 0; stop <= 202; stop++) {
        struct ws_bench *b = ws_bench_ready();
        transport_ws_frames(b->ws, WS_FRAMES_MIRROR);
        b->low.room = stop;
        ptrdiff_t sent = ws_bench_send(b, text);
        assert_int_equal(sent, stop <= 4 ? -ERR_AGAIN : (ptrdiff_t)stop - 4);
        sent = MAX(sent, 0);
        ws_bench_arrive(b, SLICE("\x82\x81" M0 "b"));
        ws_bench_recv(b, "b");
        b->low.room = 1000;
        if (sent < 198)
            assert_int_equal(ws_bench_send(b, text + sent), 198 - sent);
        assert_int_equal(b->low.out_n, 202);
        assert_memory_equal(b->low.out, stop == 0 ? "\x82\x7e\x00\xc6" : "\x81\x7e\x00\xc6", 4);
        assert_memory_equal(b->low.out + 4, text, 198);
        ws_bench_free(b);
    }
}

static void test_bad_text(void **state)
{
    UNUSED(state);
    struct ws_bench *b = bench_mirror();
    ws_bench_arrive(b, SLICE("\x01\x82" M0 "ok\x00\x81" M0 "\xff\x80\x80" M0));
    ws_bench_recv(b, "ok");
    assert_int_equal(ws_bench_recv_end(b), -ERR_PROTOCOL);
    ws_bench_out(b, SLICE("\x88\x02\x03\xef")); /* 1007 */
    ws_bench_free(b);
    b = bench_mirror(); /* a breach of what is spoken inside; it counts once */
    transport_ws_breach(b->ws, WS_CLOSE_UNACCEPTABLE);
    transport_ws_breach(b->ws, WS_CLOSE_PROTOCOL);
    ws_bench_out(b, SLICE("\x88\x02\x03\xeb"));
    assert_true(b->ws->ops->pending(b->ws));
    assert_int_equal(ws_bench_recv_end(b), -ERR_PROTOCOL);
    assert_int_equal(ws_bench_send(b, "last words"), 10);
    assert_int_equal(b->low.out_n, 0);
    ws_bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frame_per_packet),
        cmocka_unit_test(test_packets_in_pieces),
        cmocka_unit_test(test_mirror),
        cmocka_unit_test(test_text_in_pieces),
        cmocka_unit_test(test_text_stops_anywhere),
        cmocka_unit_test(test_bad_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
