/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ws_codec.c: WebSocket frames.
 *
 * The tables are the document: bytes on the wire, and what a server makes of them. Each row is fed in one piece, byte
 * by byte and cut in two at every position, decoded in place in memory that ends at a forbidden page, and the log must
 * be the same each time. In a log
 *
 *     hello            payload of data frames, as it comes; where frames and fragments end is not seen
 *     <ping:abc>       a whole control frame
 *     !1002            the end: what the peer is closed with
 *     ...              a frame is left incomplete
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/support/guard.h"
#include "tests/support/ws_peer.h"
#include "transport/ws_codec.h"

#define MESSAGE_MAX 1000u

struct log {
    char text[2048];
    size_t n;
    bool has_ended;
};

static void log_put(struct log *log, const void *p, size_t n)
{
    assert_true(sizeof(log->text) - log->n > n);
    memcpy(log->text + log->n, p, n);
    log->n += n;
    log->text[log->n] = 0;
}

static void log_text(struct log *log, const char *s)
{
    log_put(log, s, strlen(s));
}

/* A reader: what the pipe does, and a log. */
struct reader {
    struct ws_decoder d;
    struct log log;
    uint8_t control[WS_CONTROL_MAX];
    size_t control_n;
};

static void see_control(struct reader *r, const struct ws_piece *p, const uint8_t *payload)
{
    static const char *const name[] = {[WS_PING] = "<ping:", [WS_PONG] = "<pong:", [WS_CLOSE] = "<close:"};
    assert_true(r->control_n + p->n <= sizeof(r->control));
    memcpy(r->control + r->control_n, payload, p->n);
    r->control_n += p->n;
    if (!p->is_last)
        return;
    log_text(&r->log, name[p->kind]);
    log_put(&r->log, r->control, r->control_n);
    log_text(&r->log, ">");
    r->control_n = 0;
}

/* feed: in[n] as one read. */
static void feed(struct reader *r, const uint8_t *in, size_t n)
{
    uint8_t *buf = guard_bytes(in, n);
    size_t have = 0;
    for (size_t at = 0; at < n && !r->log.has_ended;) {
        struct ws_piece p;
        ptrdiff_t eaten = ws_decode(&r->d, buf + at, n - at, buf + have, &p);
        if (eaten < 0) {
            char end[16];
            assert_int_equal(eaten, p.close_code == WS_CLOSE_TOO_BIG ? -ERR_TOO_BIG : -ERR_PROTOCOL);
            (void)snprintf(end, sizeof(end), "!%u", (unsigned)p.close_code);
            log_text(&r->log, end);
            r->log.has_ended = true;
            break;
        }
        assert_in_range(eaten, 1, n - at);
        at += (size_t)eaten;
        assert_true(have + p.n <= at);
        if (p.kind == WS_DATA)
            assert_true(p.n > 0);
        if (p.kind == WS_DATA)
            log_put(&r->log, buf + have, p.n);
        else if (p.kind != WS_NOTHING)
            see_control(r, &p, buf + have);
        else
            assert_int_equal(at, n); /* all is eaten when nothing is found */
    }
    guard_free(buf);
}

/* read_as: the log of in[n], cut into pieces of at most `step`, the first one of `first` bytes. */
static void read_as(struct reader *r, const uint8_t *in, size_t n, size_t first, size_t step, bool takes_text)
{
    memset(r, 0, sizeof(*r));
    ws_decoder_init(&r->d, MESSAGE_MAX);
    r->d.takes_text = takes_text;
    for (size_t at = 0; at < n && !r->log.has_ended;) {
        size_t part = MIN(at == 0 && first != 0 ? first : step, n - at);
        feed(r, in + at, part);
        at += part;
    }
    if (!r->log.has_ended && (r->d.is_in_frame || r->d.head_len != 0))
        log_text(&r->log, "...");
}

static void read_cut(struct reader *r, const uint8_t *in, size_t n, size_t first, size_t step)
{
    read_as(r, in, n, first, step, false);
}

static void check_row(const char *name, const uint8_t *in, size_t n, const char *expected)
{
    struct reader r;
    read_cut(&r, in, n, 0, n);
    if (strcmp(r.log.text, expected) != 0)
        fail_msg("%s: '%s' instead of '%s'", name, r.log.text, expected);
    for (size_t cut = 1; cut <= n; cut++) {
        read_cut(&r, in, n, cut, cut == n ? 1 : n);
        assert_string_equal(r.log.text, expected);
    }
    read_cut(&r, in, n, 0, 1);
    assert_string_equal(r.log.text, expected);
}

struct row {
    const char *name;
    struct slice in;
    const char *log;
};

/* Masks: M0 changes nothing, M1 is the one of the examples in RFC 6455 §5.7. */
#define M0 "\0\0\0\0"
#define M1 "\x37\xfa\x21\x3d"

static void test_good(void **state)
{
    UNUSED(state);
    const struct row rows[] = {
        {"nothing", SLICE("\x82\x80" M0), ""},
        {"one byte", SLICE("\x82\x81" M0 "a"), "a"},
        {"the example of §5.7", SLICE("\x82\x85" M1 "\x7f\x9f\x4d\x51\x58"), "Hello"},
        {"two frames", SLICE("\x82\x83" M0 "abc\x82\x82" M0 "de"), "abcde"},
        {"[MQTT-6.0.0-2] fragments", SLICE("\x02\x83" M0 "abc\x00\x82" M0 "de\x80\x81" M0 "f\x82\x81" M0 "g"),
         "abcdefg"},
        {"empty fragments", SLICE("\x02\x80" M0 "\x00\x80" M0 "\x00\x81" M0 "a\x80\x80" M0), "a"},
        {"ping", SLICE("\x89\x82" M0 "hi"), "<ping:hi>"},
        {"ping without payload", SLICE("\x89\x80" M0), "<ping:>"},
        {"masked ping, §5.7", SLICE("\x89\x85" M1 "\x7f\x9f\x4d\x51\x58"), "<ping:Hello>"},
        {"pong", SLICE("\x8a\x81" M0 "x"), "<pong:x>"},
        {"close",
         SLICE("\x88\x85" M0 "\x03\x30"
               "bye"),
         "<close:\x03\x30"
         "bye>"},
        {"close without a code", SLICE("\x88\x80" M0), "<close:>"},
        {"ping between fragments", SLICE("\x02\x82" M0 "ab\x89\x81" M0 "p\x80\x82" M0 "cd"), "ab<ping:p>cd"},
        {"close between fragments", SLICE("\x02\x82" M0 "ab\x88\x80" M0), "ab<close:>"},
        {"cut in the header", SLICE("\x82\x81\0\0\0"), "..."},
        {"cut in the length", SLICE("\x82\xff\0\0\0"), "..."},
        {"cut in the payload", SLICE("\x82\x85" M0 "abc"), "abc..."},
        {"a message of all the bytes allowed", SLICE("\x02\xfe\x03\xe7" M0), "..."},
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++)
        check_row(rows[i].name, rows[i].in.p, rows[i].in.len, rows[i].log);
}

/* RFC 6455 §5.1-5.5; each behind a good frame, too. */
static void test_bad(void **state)
{
    UNUSED(state);
    const struct row rows[] = {
        {"not masked",
         SLICE("\x82\x01"
               "a"),
         "!1002"},
        {"a ping that is not masked", SLICE("\x89\x00"), "!1002"},
        {"reserved bit 1", SLICE("\xc2\x80" M0), "!1002"},
        {"reserved bit 2", SLICE("\xa2\x80" M0), "!1002"},
        {"reserved bit 3", SLICE("\x92\x80" M0), "!1002"},
        {"reserved bit in a ping", SLICE("\xc9\x80" M0), "!1002"},
        {"operation 3", SLICE("\x83\x80" M0), "!1002"},
        {"operation 7", SLICE("\x87\x80" M0), "!1002"},
        {"operation 11", SLICE("\x8b\x80" M0), "!1002"},
        {"operation 15", SLICE("\x8f\x80" M0), "!1002"},
        {"[MQTT-6.0.0-1] text", SLICE("\x81\x81" M0 "a"), "!1003"},
        {"[MQTT-6.0.0-1] a first fragment of text", SLICE("\x01\x81" M0 "a"), "!1003"},
        {"a fragment of nothing", SLICE("\x80\x81" M0 "a"), "!1002"},
        {"a fragment after the last", SLICE("\x02\x80" M0 "\x80\x80" M0 "\x80\x80" M0), "!1002"},
        {"a message inside a message", SLICE("\x02\x81" M0 "a\x82\x81" M0 "b"), "a!1002"},
        {"text inside a message", SLICE("\x02\x81" M0 "a\x81\x81" M0 "b"), "a!1002"},
        {"a ping in fragments", SLICE("\x09\x80" M0), "!1002"},
        {"a pong in fragments", SLICE("\x0a\x80" M0), "!1002"},
        {"a close in fragments", SLICE("\x08\x80" M0), "!1002"},
        {"a ping of 126 bytes", SLICE("\x89\xfe\x00\x7e" M0), "!1002"},
        {"a close of 126 bytes", SLICE("\x88\xfe\x00\x7e" M0), "!1002"},
        {"a ping with a long length", SLICE("\x89\xff\0\0\0\0\0\0\0\x05" M0), "!1002"},
        {"125 in 16 bits", SLICE("\x82\xfe\x00\x7d" M0), "!1002"},
        {"0 in 16 bits", SLICE("\x82\xfe\x00\x00" M0), "!1002"},
        {"65535 in 64 bits", SLICE("\x82\xff\0\0\0\0\0\0\xff\xff" M0), "!1002"},
        {"a length of 64 bits", SLICE("\x82\xff\x80\0\0\0\0\0\0\0" M0), "!1002"},
        {"a length of 63 bits", SLICE("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" M0), "!1009"},
        {"a frame too large", SLICE("\x82\xfe\x03\xe9" M0), "!1009"},
        {"a first fragment too large", SLICE("\x02\xfe\x03\xe9" M0), "!1009"},
        {"fragments too large together", SLICE("\x02\x83" M0 "abc\x00\xfe\x03\xe6" M0), "abc!1009"},
        {"lengths that would wrap", SLICE("\x02\x83" M0 "abc\x00\xff\x7f\xff\xff\xff\xff\xff\xff\xff" M0), "abc!1009"},
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        check_row(rows[i].name, rows[i].in.p, rows[i].in.len, rows[i].log);
        uint8_t in[128] = "\x82\x82" M0 "ok\x89\x81" M0 "p"; /* 15 bytes */
        char log[64];
        memcpy(in + 15, rows[i].in.p, rows[i].in.len);
        (void)snprintf(log, sizeof(log), "ok<ping:p>%s", rows[i].log);
        check_row(rows[i].name, in, 15 + rows[i].in.len, log);
    }
}

/* Every first byte, in a message and outside: nothing but the rows of RFC 6455 §11.8 passes. */
static void test_every_first_byte(void **state)
{
    UNUSED(state);
    for (unsigned inside = 0; inside < 2; inside++) {
        for (unsigned first = 0; first < 256; first++) {
            uint8_t in[13] = {0x02, 0x81, 0, 0, 0, 0, 'a', (uint8_t)first, 0x80};
            struct reader r;
            read_cut(&r, inside ? in : in + 7, inside ? 13 : 6, 0, 13);
            unsigned op = first & 15;
            bool is_good = (first & 0x70) == 0 && ((op == 2 && !inside) || (op == 0 && inside) ||
                                                   (op >= 8 && op <= 10 && (first & 0x80) != 0));
            assert_int_equal(!r.log.has_ended, is_good);
        }
    }
}

/* RFC 6455 §5.6, §8.1: text is UTF-8 over all fragments of a message, wherever it is cut. */
static void test_text(void **state)
{
    UNUSED(state);
    const struct {
        const char *name;
        struct slice in;
        const char *log;
        bool has_text, has_binary;
    } rows[] = {
        {"text", SLICE("\x81\x83" M0 "abc"), "abc", true, false},
        {"none", SLICE("\x81\x80" M0), "", true, false},
        {"both kinds", SLICE("\x81\x81" M0 "a\x82\x81" M0 "\xff"), "a\xff", true, true},
        {"binary only", SLICE("\x82\x81" M0 "a\x89\x80" M0), "a<ping:>", false, true},
        {"a character over fragments", SLICE("\x01\x81" M0 "\xe2\x00\x81" M0 "\x82\x80\x82" M0 "\xac!"),
         "\xe2\x82\xac!", true, false},
        {"a ping inside a character", SLICE("\x01\x81" M0 "\xc3\x89\x81" M0 "p\x80\x81" M0 "\xb6"), "\xc3<ping:p>\xb6",
         true, false},
        {"an empty end", SLICE("\x01\x82" M0 "\xc3\xb6\x80\x80" M0), "\xc3\xb6", true, false},
        {"the second half is missing", SLICE("\x01\x82" M0 "a\xc3\x80\x80" M0), "a\xc3!1007", true, false},
        {"no UTF-8", SLICE("\x81\x81" M0 "\xff"), "!1007", true, false},
        {"cut at the end of the message", SLICE("\x81\x81" M0 "\xc3"), "!1007", true, false},
        {"in a fragment", SLICE("\x01\x81" M0 "a\x00\x81" M0 "\x80"), "a!1007", true, false},
        {"not continued in the next message", SLICE("\x81\x81" M0 "a\x81\x81" M0 "\x80"), "a!1007", true, false},
        {"text inside binary", SLICE("\x02\x81" M0 "a\x81\x81" M0 "b"), "a!1002", false, true},
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        struct reader r;
        for (size_t cut = 1; cut <= rows[i].in.len; cut++) {
            read_as(&r, rows[i].in.p, rows[i].in.len, cut, cut % 2 ? 1 : 100, true);
            if (strcmp(r.log.text, rows[i].log) != 0)
                fail_msg("%s: '%s' instead of '%s'", rows[i].name, r.log.text, rows[i].log);
            assert_int_equal(r.d.has_text, rows[i].has_text);
            assert_int_equal(r.d.has_binary, rows[i].has_binary);
        }
    }
}

/* The limit counts a message: the next one starts anew, and control frames do not count. */
static void test_message_limit(void **state)
{
    UNUSED(state);
    uint8_t frame[WS_PEER_HEAD_MAX + MESSAGE_MAX], ping[WS_PEER_HEAD_MAX + WS_CONTROL_MAX];
    static const uint8_t payload[MESSAGE_MAX];
    struct reader r;
    memset(&r, 0, sizeof(r));
    ws_decoder_init(&r.d, MESSAGE_MAX);
    size_t ping_n = ws_peer_frame(ping, 0x89, payload, WS_CONTROL_MAX, 0);
    for (unsigned i = 0; i < 20; i++) {
        feed(&r, frame, ws_peer_frame(frame, i % 2 ? 0x80 : 0x02, payload, MESSAGE_MAX / 2, 0x01020304));
        feed(&r, ping, ping_n);
        assert_false(r.log.has_ended);
        r.log.n = 0;
    }
    feed(&r, frame, ws_peer_frame(frame, 0x82, payload, MESSAGE_MAX, 0));
    assert_int_equal(r.log.n, MESSAGE_MAX);
    assert_false(r.log.has_ended);
}

/* make_stream: random messages in random fragments, with control frames between. Returns its length; *out_n bytes of
 * payload went into `payload`. */
static size_t make_stream(struct rng *rng, uint8_t *out, uint8_t *payload, size_t *out_n)
{
    size_t n = 0;
    *out_n = 0;
    for (unsigned messages = 1 + rng_below(rng, 4); messages > 0; messages--) {
        for (unsigned i = 0, last = rng_below(rng, 4); i <= last; i++) {
            size_t len = rng_below(rng, rng_chance(rng, 50) ? 12 : 250);
            for (size_t k = 0; k < len; k++)
                payload[*out_n + k] = (uint8_t)(1 + rng_below(rng, 255));
            uint8_t first = (uint8_t)((i == 0 ? WS_OP_BINARY : WS_OP_MORE) | (i == last ? 0x80u : 0u));
            n += ws_peer_frame(out + n, first, payload + *out_n, len, (uint32_t)rng_u64(rng));
            *out_n += len;
            if (rng_chance(rng, 30))
                n += ws_peer_frame(out + n, 0x8a, payload, rng_below(rng, 100), (uint32_t)rng_u64(rng));
        }
    }
    return n;
}

static void test_random(void **state)
{
    UNUSED(state);
    struct rng rng;
    rng_init(&rng, 5);
    for (unsigned round = 0; round < 1500; round++) {
        uint8_t stream[8192], payload[4096], got[8192];
        size_t payload_n, n = make_stream(&rng, stream, payload, &payload_n), have = 0;
        struct ws_decoder d;
        ws_decoder_init(&d, MESSAGE_MAX);
        for (size_t at = 0; at < n;) { /* into another buffer, with room for nothing but the payload */
            size_t part = 1 + rng_below(&rng, 60), end = at + MIN(n - at, part);
            while (at < end) {
                struct ws_piece p;
                ptrdiff_t eaten = ws_decode(&d, stream + at, end - at, got + have, &p);
                assert_true(eaten > 0);
                at += (size_t)eaten;
                have += p.kind == WS_DATA ? p.n : 0;
            }
        }
        assert_int_equal(have, payload_n);
        assert_memory_equal(got, payload, payload_n);
    }
}

static void test_head(void **state)
{
    UNUSED(state);
    const struct {
        uint64_t len;
        struct slice head;
    } rows[] = {
        {0, SLICE("\x82\x00")},
        {125, SLICE("\x82\x7d")},
        {126, SLICE("\x82\x7e\x00\x7e")},
        {65535, SLICE("\x82\x7e\xff\xff")},
        {65536, SLICE("\x82\x7f\0\0\0\0\0\x01\0\0")},
        {UINT64_C(0x7fffffffffffffff), SLICE("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")},
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        uint8_t *out = guard_room(WS_HEAD_MAX);
        assert_int_equal(ws_head(out, WS_OP_BINARY, rows[i].len), rows[i].head.len);
        assert_memory_equal(out, rows[i].head.p, rows[i].head.len);
        guard_free(out);
    }
    uint8_t out[WS_HEAD_MAX];
    assert_int_equal(ws_head(out, WS_OP_PONG, 3), 2);
    assert_memory_equal(out, "\x8a\x03", 2);
}

static void test_close(void **state)
{
    UNUSED(state);
    const struct {
        struct slice payload;
        uint16_t answer;
    } rows[] = {
        {SLICE(""), WS_CLOSE_NONE},
        {SLICE("\x03"), WS_CLOSE_PROTOCOL},
        {SLICE("\x03\xe8"), 1000},
        {SLICE("\x03\xe8"
               "because"),
         1000},
        {SLICE("\x03\xe8"
               "\xc3\xa4"),
         1000},
        {SLICE("\x03\xe8"
               "\xc3"),
         WS_CLOSE_PROTOCOL}, /* not UTF-8 */
        {SLICE("\x03\xe8"
               "\xed\xa0\x80"),
         WS_CLOSE_PROTOCOL},
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        uint8_t *p = guard_bytes(rows[i].payload.p, rows[i].payload.len);
        assert_int_equal(ws_close_answer(p, rows[i].payload.len), rows[i].answer);
        guard_free(p);
    }
    for (unsigned code = 0; code < 65536; code++) { /* RFC 6455 §7.4, and what IANA has added since */
        bool may_be_sent =
            (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
        uint8_t p[2] = {(uint8_t)(code >> 8), (uint8_t)code};
        assert_int_equal(ws_close_answer(p, 2), may_be_sent ? code : WS_CLOSE_PROTOCOL);
    }
    uint8_t out[WS_CLOSE_FRAME_MAX];
    assert_int_equal(ws_close_frame(out, 1009), 4);
    assert_memory_equal(out, "\x88\x02\x03\xf1", 4);
    assert_int_equal(ws_close_frame(out, WS_CLOSE_NONE), 2);
    assert_memory_equal(out, "\x88\x00", 2);
}

static void test_accept(void **state)
{
    UNUSED(state);
    const struct {
        const char *key, *accept; /* NULL: refused */
    } rows[] = {
        {"dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, /* RFC 6455 §1.3 */
        {"x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="},
        {"dGhlIHNhbXBsZSBub25jZQ=", NULL},
        {"dGhlIHNhbXBsZSBub25jZQ===", NULL},
        {"dGhlIHNhbXBsZSBub25jZWE=", NULL}, /* 17 bytes */
        {"dGhlIHNhbXBsZSBub25 ZQ==", NULL},
        {"dGhlIHNhbXBsZSBub25=ZQ==", NULL},
        {"", NULL},
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        size_t n = strlen(rows[i].key);
        uint8_t *key = guard_bytes(rows[i].key, n), *out = guard_room(WS_ACCEPT_BYTES);
        assert_int_equal(ws_accept((const char *)key, n, (char *)out), rows[i].accept != NULL);
        if (rows[i].accept != NULL)
            assert_memory_equal(out, rows[i].accept, WS_ACCEPT_BYTES);
        else
            assert_int_equal(out[0], 0xa5);
        guard_free(key);
        guard_free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),          cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),           cmocka_unit_test(test_every_first_byte),
        cmocka_unit_test(test_message_limit), cmocka_unit_test(test_random),
        cmocka_unit_test(test_head),          cmocka_unit_test(test_close),
        cmocka_unit_test(test_accept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
