/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ws_guess.c: WebSockets of peers that name no subprotocol, with the real adapters behind them, and STOMP for
 * those that do. Each row is sent cut in two at every position and byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_stomp/stomp_adapter.h"
#include "proto_stomp/stomp_unit.h"
#include "tests/support/rig.h"
#include "tests/support/ws_peer.h"
#include "transport/http_upgrade.h"
#include "transport/ws.h"

static const struct adapter_ops *const adapters[] = {&http_upgrade_adapter, NULL}; /* nothing but WebSocket */

static const struct upgrade_way ways[] = {
    {"mqtt", &mqtt_adapter, .unit = mqtt_unit_bytes, .must_be_named = true},
    {"v12.stomp", &stomp_adapter, .unit = stomp_unit_bytes, .frames = WS_FRAMES_MIRROR},
    {"v10.stomp", &stomp_adapter, .unit = stomp_unit_bytes, .frames = WS_FRAMES_MIRROR},
    {.subprotocol = NULL},
};

struct house {
    struct rig *rig;
    struct mem_heap ws_heap;
    struct mem ws_mem;
    struct ws_home home;
    struct upgrade upgrade;
};

static bool house_open(struct house *h, bool is_lenient, uint64_t fail_at)
{
    struct rig_config config;
    memset(h, 0, sizeof(*h));
    rig_config_init(&config);
    config.adapters = adapters;
    config.is_lenient = is_lenient;
    config.fail_at = fail_at;
    h->rig = rig_new(&config);
    if (h->rig == NULL)
        return false;
    mem_heap_init(&h->ws_heap);
    mem_init(&h->ws_mem, &h->ws_heap, "ws");
    ws_home_init(&h->home, &h->ws_mem, 100000);
    h->upgrade = (struct upgrade){.home = &h->home, .way = ways};
    h->rig->door.upgrade = &h->upgrade;
    return true;
}

static void house_close(struct house *h)
{
    bool all_back = rig_free(h->rig);
    assert_true(all_back);
    ws_home_fini(&h->home);
    assert_int_equal(h->ws_heap.bytes, 0);
}

#define HEAD                                                                                                           \
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                             \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
#define UNNAMED HEAD "\r\n"
#define NAMED   HEAD "Sec-WebSocket-Protocol: v12.stomp, v10.stomp\r\n\r\n"

#define M0      "\0\0\0\0"
#define CONNECT "CONNECT\naccept-version:1.2\nhost:/\n\n"
#define MQTT    "\x10\x0d\0\4MQTT\4\2\0\0\0\1a"
#define CONNACK "\x82\x04\x20\x02\0\0"

/* enter: a WebSocket; what the broker said about it is looked at already. */
static struct rig_pipe *enter(struct house *h, const char *request)
{
    struct rig_pipe *p = rig_connect(h->rig);
    rig_send(p, request, strlen(request));
    rig_run(h->rig);
    if (p->out.len < 12 || memcmp(p->out.p, "HTTP/1.1 101", 12) != 0)
        return NULL;
    p->out_at = p->out.len;
    return p;
}

/* say: frames, the first `cut` bytes by themselves (0: byte by byte). */
static void say(struct house *h, struct rig_pipe *p, struct slice frames, size_t cut)
{
    for (size_t at = 0, part; at < frames.len; at += part) {
        part = MIN(frames.len - at, cut == 0 ? 1 : at == 0 ? cut : frames.len);
        if (!p->is_gone)
            rig_send(p, frames.p + at, part);
        rig_run(h->rig);
    }
}

static bool heard(const struct rig_pipe *p, struct slice expected)
{
    size_t n = p->out.len - p->out_at;
    return n >= expected.len && memmem(p->out.p + p->out_at, n, expected.p, expected.len) != NULL;
}

struct row {
    const char *name;
    struct slice frames, answer; /* the answer has these bytes in it */
    bool is_lenient, is_closed;
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct house h;
        assert_true(house_open(&h, rows[i].is_lenient, 0));
        for (size_t cut = 0; cut <= rows[i].frames.len; cut++) {
            struct rig_pipe *p = enter(&h, UNNAMED);
            assert_non_null(p);
            say(&h, p, rows[i].frames, cut);
            if (!heard(p, rows[i].answer) || rig_is_closed(p) != rows[i].is_closed)
                fail_msg("%s, cut at %zu: %.*s", rows[i].name, cut, (int)(p->out.len - p->out_at),
                         (char *)p->out.p + p->out_at);
            p->is_eof = true;
            rig_run(h.rig);
        }
        house_close(&h);
    }
}

static void test_first_bytes(void **state)
{
    UNUSED(state);
    const struct row rows[] = {
        {"STOMP in text", SLICE("\x81\xa4" M0 CONNECT "\0"), SLICE("CONNECTED\n"), false, false},
        {"STOMP in binary", SLICE("\x82\xa4" M0 CONNECT "\0"), SLICE("CONNECTED\n"), false, false},
        {"the frame STOMP", SLICE("\x81\xa2" M0 "STOMP\naccept-version:1.2\nhost:/\n\n\0"), SLICE("CONNECTED\n"), false,
         false},
        {"heart-beats before it", SLICE("\x81\x82" M0 "\n\n\x81\xa4" M0 CONNECT "\0"), SLICE("CONNECTED\n"), false,
         false},
        {"a lenient door", SLICE("\x81\xa4" M0 CONNECT "\0"), SLICE("CONNECTED\n"), true, false},
        {"STOMP that is wrong", SLICE("\x81\x86" M0 "SEND\n\n\x81\x81" M0 "\0"), SLICE("ERROR\n"), false, true},
        {"[MQTT-6.0.0-3] MQTT must be named", SLICE("\x82\x8f" M0 MQTT), SLICE("\x88\x02\x03\xea"), false, true},
        {"MQTT, a lenient door", SLICE("\x82\x8f" M0 MQTT), SLICE(CONNACK), true, false},
        {"[MQTT-6.0.0-1] MQTT in text", SLICE("\x81\x8f" M0 MQTT), SLICE("\x88\x02\x03\xeb"), true, true},
        {"nobody's bytes", SLICE("\x82\x90" M0 "0123456789abcdef"), SLICE("\x88\x02\x03\xea"), true, true},
        {"HTTP inside", SLICE("\x82\x90" M0 "GET / HTTP/1.1\r\n"), SLICE("\x88\x02\x03\xea"), false, true},
        {"text that is no UTF-8", SLICE("\x81\x81" M0 "\xff"), SLICE("\x88\x02\x03\xef"), false, true},
        {"half a word", SLICE("\x81\x84" M0 "CONN"), SLICE(""), false, false},
    };
    check_rows(rows, ARRAY_N(rows));
}

/* MQTT that was claimed through a lenient door is binary from then on. [MQTT-6.0.0-1] */
static void test_text_after_mqtt(void **state)
{
    UNUSED(state);
    struct house h;
    assert_true(house_open(&h, true, 0));
    struct rig_pipe *p = enter(&h, UNNAMED);
    say(&h, p, SLICE("\x82\x8f" M0 MQTT), 20);
    assert_true(heard(p, SLICE(CONNACK)));
    say(&h, p, SLICE("\x81\x82" M0 "\xc0\0"), 7);
    assert_true(rig_is_closed(p) && heard(p, SLICE("\x88\x02\x03\xeb")));
    house_close(&h);
}

/* Where MQTT alone is spoken, a request without its name is refused at once, as ever. [MQTT-6.0.0-3] */
static void test_nobody_unnamed(void **state)
{
    UNUSED(state);
    static const struct upgrade_way mqtt[] = {{"mqtt", &mqtt_adapter, .must_be_named = true}, {.subprotocol = NULL}};
    struct house h;
    assert_true(house_open(&h, false, 0));
    h.upgrade.way = mqtt;
    assert_null(enter(&h, UNNAMED));
    h.rig->door.is_lenient = true;
    assert_non_null(enter(&h, UNNAMED));
    house_close(&h);
}

/* One frame of STOMP is one message, whatever comes at once; text for who sends text, else binary; a Ping between. */
static void test_stomp_messages(void **state)
{
    UNUSED(state);
    static const char *const request[] = {NAMED, UNNAMED};
    for (unsigned i = 0; i < 4; i++) {
        struct house h;
        uint8_t frame[WS_PEER_HEAD_MAX + 300], kind = i < 2 ? 0x81 : 0x82;
        static const char text[] = CONNECT "\0SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:r\n\n\0";
        static const char send[] = CONNECT "\0SEND\ndestination:/topic/a\n\nsch\xc3\xb6n\0"
                                           "SEND\ndestination:/topic/a\n\n\xff\0"
                                           "SEND\ndestination:/topic/a\n\n\0";
        assert_true(house_open(&h, false, 0));
        struct rig_pipe *p = enter(&h, request[i % 2]), *q = enter(&h, NAMED);
        assert_true(p != NULL && q != NULL);
        say(&h, p, slice_make(frame, ws_peer_frame(frame, kind, text, sizeof(text) - 1, 0)), 5);
        say(&h, q, slice_make(frame, ws_peer_frame(frame, 0x82, send, sizeof(send) - 1, 0)), sizeof(frame));
        unsigned messages = 0, binary = 0, receipts = 0;
        for (size_t at = p->out_at; at < p->out.len;) {
            const uint8_t *f = p->out.p + at;
            size_t len = f[1], head = 2;
            if (len == 126) {
                len = (size_t)f[2] << 8 | f[3];
                head = 4;
            }
            assert_true(at + head + len <= p->out.len && f[head + len - 1] == 0); /* ends with the frame's NUL */
            assert_true(f[0] == 0x81 || f[0] == 0x82);
            messages += memcmp(f + head, "MESSAGE\n", 8) == 0;
            receipts += memcmp(f + head, "RECEIPT\n", 8) == 0;
            binary += f[0] == 0x82;
            at += head + len;
        }
        assert_int_equal(messages, 3);
        assert_int_equal(receipts, 1);
        assert_int_equal(binary, i < 2 ? 1 : 5); /* what is no UTF-8, or all, with CONNECTED */
        house_close(&h);
    }
}

static void test_silence(void **state)
{
    UNUSED(state);
    struct house h;
    assert_true(house_open(&h, false, 0));
    struct rig_pipe *p = enter(&h, UNNAMED);
    say(&h, p, SLICE("\x81\x81" M0 "\n"), 3);
    rig_wait(h.rig, h.rig->shard->limits.login_ms);
    assert_true(rig_is_closed(p));
    assert_int_equal(h.rig->shard->close_n[CLOSE_LOGIN_TIMEOUT], 1);
    house_close(&h);
}

static void test_out_of_memory(void **state)
{
    UNUSED(state);
    bool is_well = false;
    unsigned failures = 0;
    for (uint64_t fail_at = 1; !is_well; fail_at++) {
        struct house h;
        if (!house_open(&h, false, fail_at))
            continue;
        struct rig_pipe *p = rig_connect(h.rig);
        if (p->is_gone) {
            house_close(&h);
            continue;
        }
        rig_send(p, UNNAMED, strlen(UNNAMED));
        rig_send(p, "\x81\xa4" M0 CONNECT "\0", 42);
        rig_run(h.rig);
        is_well = heard(p, SLICE("CONNECTED\n")) && h.rig->heap.calls < fail_at;
        failures += !is_well;
        house_close(&h);
    }
    assert_true(failures > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_bytes),    cmocka_unit_test(test_text_after_mqtt),
        cmocka_unit_test(test_nobody_unnamed), cmocka_unit_test(test_stomp_messages),
        cmocka_unit_test(test_silence),        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
