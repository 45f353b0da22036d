/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_http_upgrade.c: HTTP requests to a real shard, and what the connection becomes. The tables are the document: a
 * request, and the status it is answered with (101: it becomes a WebSocket). Each is sent whole, byte by byte and cut
 * in two at every position, and the answer must be the same.
 *
 * Inside the WebSocket sits a protocol of the test's own, which says everything back in capitals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/outv.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "tests/support/rig.h"
#include "tests/support/ws_peer.h"
#include "transport/http_upgrade.h"
#include "transport/ws.h"

/* ---- the protocol inside ------------------------------------------------------------------------------------- */

static enum claim loud_claims(const uint8_t *first, size_t len)
{
    UNUSED(len);
    return first[0] == '!' ? CLAIM_YES : CLAIM_NO;
}

static enum err loud_open(struct conn *c)
{
    const uint8_t *state = conn_state(c);
    for (unsigned i = 0; i < CONN_STATE_BYTES; i++)
        assert_int_equal(state[i], 0); /* nothing is left of who was there before */
    uint8_t **mark = conn_state(c);
    *mark = mem_alloc(conn_mem(c), 10);
    return *mark != NULL ? ERR_OK : ERR_NOMEM;
}

static size_t loud_on_bytes(struct conn *c, const uint8_t *in, size_t len)
{
    struct outv *out = conn_out(c);
    for (size_t i = 0; i < len && out != NULL; i++) {
        uint8_t byte = in[i] >= 'a' && in[i] <= 'z' ? (uint8_t)(in[i] - 32) : in[i];
        outv_put(out, &byte, 1);
    }
    if (memchr(in, '.', len) != NULL)
        conn_close(c, CLOSE_GOODBYE);
    return len;
}

static mono_ms loud_on_tick(struct conn *c, mono_ms now)
{
    UNUSED(c), UNUSED(now);
    return MONO_NEVER;
}

static void loud_on_close(struct conn *c, enum close_reason why)
{
    UNUSED(c), UNUSED(why);
}

static void loud_destroy(struct conn *c)
{
    uint8_t **mark = conn_state(c);
    mem_free(conn_mem(c), *mark);
}

static const struct adapter_ops loud = {.name = "loud",
                                        .claims = loud_claims,
                                        .open = loud_open,
                                        .on_bytes = loud_on_bytes,
                                        .on_tick = loud_on_tick,
                                        .on_close = loud_on_close,
                                        .destroy = loud_destroy};

/* ---- a broker with one door ---------------------------------------------------------------------------------- */

static const struct adapter_ops *const adapters[] = {&loud, &http_upgrade_adapter, NULL};
static const struct upgrade_way ways[] = {
    {"loud", &loud, .must_be_named = true},
    {"mqtt", &mqtt_adapter, .unit = mqtt_unit_bytes, .must_be_named = true},
    {"mqttv3.1", &mqtt_adapter, .unit = mqtt_unit_bytes, .must_be_named = true},
    {.subprotocol = NULL},
};

struct house {
    struct rig *rig;
    struct mem_heap ws_heap;
    struct mem ws_mem;
    struct ws_home home;
    struct upgrade upgrade;
    char log[512]; /* the last line at NOTICE */
};

static void keep_line(void *ctx, enum log_level level, const char *line)
{
    struct house *h = ctx;
    if (level == LOG_NOTICE)
        (void)snprintf(h->log, sizeof(h->log), "%s", line);
}

/* house_open: false when the shard could not be made. */
static bool house_open(struct house *h, uint64_t fail_at)
{
    struct rig_config config;
    memset(h, 0, sizeof(*h));
    rig_config_init(&config);
    config.adapters = adapters;
    config.limits.ws_head_bytes_max = 2048;
    config.limits.login_bytes_max = 1024; /* less than a head may have */
    config.fail_at = fail_at;
    h->rig = rig_new(&config);
    if (h->rig == NULL)
        return false;
    mem_heap_init(&h->ws_heap);
    mem_init(&h->ws_mem, &h->ws_heap, "ws");
    ws_home_init(&h->home, &h->ws_mem, 1000);
    h->upgrade = (struct upgrade){.home = &h->home, .way = ways};
    h->rig->door.upgrade = &h->upgrade;
    h->rig->log.write = keep_line;
    h->rig->log.ctx = h;
    return true;
}

static void house_close(struct house *h)
{
    bool all_back = rig_free(h->rig);
    assert_true(all_back);
    ws_home_fini(&h->home);
    assert_int_equal(h->ws_heap.bytes, 0);
}

/* knock: a request in two parts (cut 0: byte by byte), and the turns it needs. */
static struct rig_pipe *knock(struct house *h, const char *request, size_t len, size_t cut)
{
    struct rig_pipe *p = rig_connect(h->rig);
    for (size_t at = 0; at < len;) {
        size_t part = cut == 0 ? 1 : at == 0 ? cut : len - at;
        rig_send(p, request + at, part);
        rig_run(h->rig);
        at += part;
    }
    return p;
}

static struct rig_pipe *knock_whole(struct house *h, const char *request)
{
    return knock(h, request, strlen(request), strlen(request));
}

static unsigned status_of(const struct rig_pipe *p)
{
    unsigned status = 0;
    if (p->out.len < 12 || memcmp(p->out.p, "HTTP/1.1 ", 9) != 0)
        return 0;
    for (unsigned i = 9; i < 12; i++)
        status = status * 10 + (unsigned)(p->out.p[i] - '0');
    return status;
}

static bool out_has(const struct rig_pipe *p, const char *text)
{
    return p->out.len != 0 && memmem(p->out.p, p->out.len, text, strlen(text)) != NULL;
}

/* part: the peer goes. */
static void part(struct house *h, struct rig_pipe *p)
{
    p->is_eof = true;
    rig_run(h->rig);
    assert_true(p->is_gone);
}

#define GET  "GET /mqtt HTTP/1.1\r\n"
#define HOST "Host: localhost:9001\r\n"
#define UP   "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VER  "Sec-WebSocket-Version: 13\r\n"
#define SUB  "Sec-WebSocket-Protocol: loud\r\n"
#define END  "\r\n"
#define ALL  HOST UP KEY VER SUB
#define GOOD GET ALL END

struct row {
    const char *name, *request;
    unsigned status;
    enum close_reason why; /* for refusals */
};

static void check_rows(struct house *h, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct row *row = &rows[i];
        size_t len = strlen(row->request);
        uint64_t had = h->rig->shard->close_n[row->why];
        struct rig_pipe *first = knock(h, row->request, len, len);
        if (status_of(first) != row->status)
            fail_msg("%s: %u instead of %u: %.*s", row->name, status_of(first), row->status, (int)first->out.len,
                     (char *)first->out.p);
        assert_int_equal(h->rig->shard->close_n[row->why] - had, row->status != 101);
        assert_int_equal(rig_is_closed(first), row->status != 101);
        if (row->status != 101) { /* a whole answer, and one line to read */
            assert_true(out_has(first, "\r\nConnection: close"));
            assert_true(out_has(first, "\r\n\r\nweir: ") || memcmp(row->request, "HEAD", 4) == 0);
            assert_non_null(strstr(h->log, "WebSocket refused"));
        }
        for (size_t cut = 0; cut < len; cut += 1 + cut / 40) {
            struct rig_pipe *p = knock(h, row->request, len, cut);
            if (p->out.len != first->out.len || memcmp(p->out.p, first->out.p, p->out.len) != 0)
                fail_msg("%s, cut at %zu: %.*s", row->name, cut, (int)p->out.len, (char *)p->out.p);
            part(h, p);
        }
        part(h, first);
    }
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void test_good(void **state)
{
    UNUSED(state);
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                 "Upgrade: websocket\r\n"
                                 "Connection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                 "Sec-WebSocket-Protocol: loud\r\n"
                                 "\r\n";
    static const struct row rows[] = {
        {"plain", GOOD, 101, CLOSE_NONE},
        {"line ends before it", "\r\n\r\n" GOOD, 101, CLOSE_NONE},
        {"header names and words in any case",
         GET "HOST: x\r\nUPGRADE: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" KEY VER SUB END, 101, CLOSE_NONE},
        {"blanks", GET HOST UP KEY "Sec-WebSocket-Version:13  \r\nSec-WebSocket-Protocol: \t loud \t\r\n" END, 101,
         CLOSE_NONE},
        {"the first offer that is known", GET HOST UP KEY VER "Sec-WebSocket-Protocol: foo, ,loud,mqtt\r\n" END, 101,
         CLOSE_NONE},
        {"offers in several headers",
         GET HOST UP KEY VER "Sec-WebSocket-Protocol: foo\r\n" SUB "Sec-WebSocket-Protocol: mqtt\r\n" END, 101,
         CLOSE_NONE},
        {"headers that mean nothing here",
         GET HOST UP KEY VER SUB "Cookie: a=b, c\r\nSec-WebSocket-Extensions: permessage-deflate\r\nX: \r\n" END, 101,
         CLOSE_NONE},
        {"a body of no bytes", GET ALL "Content-Length: 0\r\n" END, 101, CLOSE_NONE},
        {"any path", "GET /any?x=1 HTTP/1.1\r\n" ALL END, 101, CLOSE_NONE},
    };
    struct house h;
    assert_true(house_open(&h, 0));
    check_rows(&h, rows, ARRAY_N(rows));
    struct rig_pipe *p = knock_whole(&h, GOOD);
    assert_int_equal(p->out.len, strlen(answer)); /* [MQTT-6.0.0-4] the name it asked for is said */
    assert_memory_equal(p->out.p, answer, strlen(answer));
    house_close(&h);
}

static void test_refused(void **state)
{
    UNUSED(state);
#define M CLOSE_MALFORMED
#define P CLOSE_PROTOCOL
    static const struct row rows[] = {
        {"no HTTP", "GET nonsense\r\n" END, 400, M},
        {"a header without a colon", GET "Host localhost\r\n" END, 400, M},
        {"a blank in a header's name", GET "Ho st: localhost\r\n" ALL END, 400, M},
        {"a bad length", GET ALL "Content-Length: -1\r\n" END, 400, M},
        {"HTTP/1.0", "GET / HTTP/1.0\r\n" ALL END, 505, CLOSE_BAD_VERSION},
        {"HTTP/2.0", "GET / HTTP/2.0\r\n" ALL END, 505, CLOSE_BAD_VERSION},
        {"HTTP/3.1", "GET / HTTP/3.1\r\n" ALL END, 505, CLOSE_BAD_VERSION},
        {"POST", "POST / HTTP/1.1\r\n" ALL END, 405, P},
        {"HEAD", "HEAD / HTTP/1.1\r\n" ALL END, 405, P},
        {"OPTIONS", "OPTIONS * HTTP/1.1\r\n" ALL END, 405, P},
        {"a browser's window", GET HOST "Accept: text/html\r\n" END, 426, P},
        {"no Upgrade", GET HOST "Connection: Upgrade\r\n" KEY VER SUB END, 426, P},
        {"no Connection", GET HOST "Upgrade: websocket\r\n" KEY VER SUB END, 426, P},
        {"Connection: close", GET HOST "Upgrade: websocket\r\nConnection: close\r\n" KEY VER SUB END, 426, P},
        {"another upgrade", GET HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n" KEY VER SUB END, 426, P},
        {"no version", GET HOST UP KEY SUB END, 426, CLOSE_BAD_VERSION},
        {"version 8", GET HOST UP KEY SUB "Sec-WebSocket-Version: 8\r\n" END, 426, CLOSE_BAD_VERSION},
        {"version 13, long", GET HOST UP KEY SUB "Sec-WebSocket-Version: 13            0\r\n" END, 426,
         CLOSE_BAD_VERSION},
        {"no key", GET HOST UP VER SUB END, 400, P},
        {"a short key", GET HOST UP VER SUB "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n" END, 400, P},
        {"a long key",
         GET HOST UP VER SUB "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==\r\n" END, 400, P},
        {"two keys", GET ALL KEY END, 400, P},
        {"two hosts", GET ALL HOST END, 400, P},
        {"no host", GET UP KEY VER SUB END, 400, P},
        {"an empty host", GET "Host: \r\n" UP KEY VER SUB END, 400, P},
        {"a body", GET ALL "Content-Length: 5\r\n" END "hello", 400, P},
        {"a body in chunks", GET ALL "Transfer-Encoding: chunked\r\n" END "5\r\nhello\r\n0\r\n\r\n", 400, P},
        {"no subprotocol", GET HOST UP KEY VER END, 400, P}, /* [MQTT-6.0.0-3] 3.1.1: [MQTT-6.0.0-3] */
        {"an empty offer", GET HOST UP KEY VER "Sec-WebSocket-Protocol: ,\r\n" END, 400, P},
        {"unknown ones", GET HOST UP KEY VER "Sec-WebSocket-Protocol: v12.stomp, mqt, mqttt, MQTT\r\n" END, 400, P},
        {"one that begins like ours and is too long",
         GET HOST UP KEY VER "Sec-WebSocket-Protocol: mqtt45678901234567890123456789012345\r\n" END, 400, P},
    };
#undef M
#undef P
    struct house h;
    assert_true(house_open(&h, 0));
    check_rows(&h, rows, ARRAY_N(rows));
    struct rig_pipe *p = knock_whole(&h, "GET / HTTP/1.1\r\n" HOST END);
    assert_true(out_has(p, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")); /* RFC 6455 §4.4 */
    p = knock_whole(&h, "HEAD / HTTP/1.1\r\n" HOST END);
    assert_true(out_has(p, "\r\nAllow: GET\r\n"));
    assert_memory_equal(p->out.p + p->out.len - 4, "\r\n\r\n", 4); /* no body for HEAD */
    house_close(&h);
}

static void test_lenient(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {"no subprotocol", GET HOST UP KEY VER END, 101, CLOSE_NONE},
        {"unknown ones", GET HOST UP KEY VER "Sec-WebSocket-Protocol: stomp\r\n" END, 400, CLOSE_PROTOCOL},
    };
    struct house h;
    assert_true(house_open(&h, 0));
    h.rig->door.is_lenient = true;
    check_rows(&h, rows, ARRAY_N(rows));
    struct rig_pipe *p = knock_whole(&h, rows[0].request);
    assert_false(out_has(p, "Protocol:")); /* what was not offered is not chosen, RFC 6455 §4.2.2 */
    rig_send(p, "\x82\x84\0\0\0\0!hey", 10);
    rig_run(h.rig);
    assert_true(out_has(p, "\x82\x04!HEY")); /* what claims the first bytes: test_ws_guess.c */
    house_close(&h);
}

static void test_path(void **state)
{
    UNUSED(state);
    char longest[257], exact[600], beyond[600]; /* as long as is kept, and longer */
    memset(longest, 'a', sizeof(longest));
    longest[0] = '/';
    longest[256] = 0;
    (void)snprintf(exact, sizeof(exact), "GET %s HTTP/1.1\r\n" ALL END, longest);
    (void)snprintf(beyond, sizeof(beyond), "GET %sa HTTP/1.1\r\n" ALL END, longest);
    const char *const paths[] = {"/mqtt", "/ws", longest, NULL};
    static char far[] =
        "GET /mqtt?0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
        "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc"
        "def0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef HTTP/1.1\r\n" ALL END;
    const struct row rows[] = {
        {"of the greatest length", exact, 101, CLOSE_NONE},
        {"too long to be one of ours", beyond, 404, CLOSE_NOT_AUTHORIZED},
        {"the first", "GET /mqtt HTTP/1.1\r\n" ALL END, 101, CLOSE_NONE},
        {"the second", "GET /ws HTTP/1.1\r\n" ALL END, 101, CLOSE_NONE},
        {"with a query", "GET /ws?token=1 HTTP/1.1\r\n" ALL END, 101, CLOSE_NONE},
        {"with a long query", far, 101, CLOSE_NONE},
        {"another", "GET / HTTP/1.1\r\n" ALL END, 404, CLOSE_NOT_AUTHORIZED},
        {"longer", "GET /mqtt/ HTTP/1.1\r\n" ALL END, 404, CLOSE_NOT_AUTHORIZED},
        {"case matters", "GET /MQTT HTTP/1.1\r\n" ALL END, 404, CLOSE_NOT_AUTHORIZED},
    };
    struct house h;
    assert_true(house_open(&h, 0));
    h.upgrade.path = paths;
    check_rows(&h, rows, ARRAY_N(rows));
    house_close(&h);
}

/* Cross-site WebSocket hijacking and DNS rebinding: see http_upgrade.h. */
static void test_origin(void **state)
{
    UNUSED(state);
    static const char *const listed[] = {"https://app.example.com", "http://dev.example.com:8080", "null", NULL};
    static const char *const any[] = {"*", NULL};
    static const char *const names[] = {"hub.example.com", NULL};
    static const struct {
        const char *const *origin, *const *host_name;
        const char *host, *from; /* from: NULL: no Origin */
        unsigned status;
    } rows[] = {
        {NULL, NULL, "evil.example", NULL, 101}, /* no browser */
        {NULL, NULL, "localhost", "http://localhost", 101},
        {NULL, NULL, "localhost:9001", "http://localhost:9001", 101},
        {NULL, NULL, "LocalHost:9001", "HTTP://LOCALHOST:9001", 101},
        {NULL, NULL, "localhost:80", "http://localhost", 101},
        {NULL, NULL, "localhost", "https://localhost:443", 101},
        {NULL, NULL, "127.0.0.1:9001", "http://127.0.0.1:9001", 101},
        {NULL, NULL, "192.168.1.7", "http://192.168.1.7", 101},
        {NULL, NULL, "[::1]:9001", "http://[::1]:9001", 101},
        {NULL, NULL, "[2001:db8::7]", "https://[2001:db8::7]", 101},
        {NULL, NULL, "localhost:9001", "http://localhost:9002", 403},
        {NULL, NULL, "localhost", "https://localhost:80", 403},
        {NULL, NULL, "localhost", "http://evil.example", 403},
        {NULL, NULL, "127.0.0.1", "http://localhost", 403},
        {NULL, NULL, "evil.example", "http://evil.example", 403}, /* a name that was pointed here */
        {NULL, NULL, "hub.example.com", "https://hub.example.com", 403},
        {NULL, names, "hub.example.com", "https://hub.example.com", 101},
        {NULL, names, "HUB.example.com:9001", "http://hub.example.com:9001", 101},
        {NULL, names, "hub.example.com", "http://evil.example", 403},
        {NULL, names, "hub.example.com.evil.example", "http://hub.example.com.evil.example", 403},
        {NULL, NULL, "localhost", "null", 403},
        {NULL, NULL, "localhost", "", 403},
        {NULL, NULL, "localhost", "http://", 403},
        {NULL, NULL, "localhost", "ftp://localhost", 403},
        {NULL, NULL, "localhost", "localhost", 403},
        {NULL, NULL, "localhost", "http://localhost:", 403},
        {NULL, NULL, "localhost", "http://localhost:0x50", 403},
        {NULL, NULL, "localhost", "http://localhost:65616", 403}, /* 80, if it wrapped */
        {NULL, NULL, "localhost", "http://localhost/", 403},
        {NULL, NULL, "localhost", "http://localhost http://localhost", 403},
        {NULL, NULL, "[::1", "http://[::1", 403},
        {NULL, NULL, "[]", "http://[]", 403},
        {NULL, NULL, "1.2.3", "http://1.2.3", 403},
        {NULL, NULL, ":80", "http://:80", 403},
        {listed, NULL, "hub.example.com", "https://app.example.com", 101},
        {listed, NULL, "hub.example.com", "HTTPS://App.Example.Com", 101},
        {listed, NULL, "hub.example.com", "http://app.example.com", 403},
        {listed, NULL, "hub.example.com", "http://dev.example.com:8080", 101},
        {listed, NULL, "hub.example.com", "http://dev.example.com", 403},
        {listed, NULL, "hub.example.com", "null", 101},
        {listed, NULL, "localhost", "http://localhost", 101}, /* the list only adds */
        {any, NULL, "evil.example", "http://evil.example", 101},
        {any, NULL, "localhost", "null", 101},
    };
    struct house h;
    assert_true(house_open(&h, 0));
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        char text[512];
        h.upgrade.origin = rows[i].origin;
        h.upgrade.host_name = rows[i].host_name;
        int n = snprintf(text, sizeof(text), GET "Host: %s\r\n%s%s%s" UP KEY VER SUB END, rows[i].host,
                         rows[i].from ? "Origin: " : "", rows[i].from ? rows[i].from : "", rows[i].from ? "\r\n" : "");
        struct row row = {rows[i].from, text, rows[i].status, CLOSE_NOT_AUTHORIZED};
        assert_true(n > 0);
        check_rows(&h, &row, 1);
    }
    h.upgrade.origin = NULL;
    char far[900];
    memset(far, 'a', sizeof(far));
    memcpy(far, GET HOST UP KEY VER SUB "Origin: http://", strlen(GET HOST UP KEY VER SUB "Origin: http://"));
    memcpy(far + sizeof(far) - 5, "\r\n\r\n", 5);
    struct row row = {"a long one", far, 403, CLOSE_NOT_AUTHORIZED};
    check_rows(&h, &row, 1);
    assert_non_null(strstr(h.log, "403"));
    house_close(&h);
}

/* The head has a limit of its own, above login_bytes_max here. */
static void test_too_big(void **state)
{
    UNUSED(state);
    struct house h;
    assert_true(house_open(&h, 0));
    for (unsigned i = 0; i < 3; i++) {
        char text[4096];
        size_t len = (i == 0 ? 2047 : i == 1 ? 2048 : 4000), fixed = strlen(GET ALL "X: ");
        memset(text, 'x', sizeof(text));
        memcpy(text, GET ALL "X: ", fixed);
        memcpy(text + len - 4, "\r\n\r\n", 5);
        struct row row = {"large", text, i == 2 ? 431 : 101, CLOSE_TOO_BIG};
        check_rows(&h, &row, 1);
    }
    char endless[6000];
    memset(endless, 'x', sizeof(endless));
    memcpy(endless, "GET /", 5);
    struct rig_pipe *p = knock(&h, endless, sizeof(endless), 100);
    assert_int_equal(status_of(p), 431);
    house_close(&h);
}

/* What comes behind the request at once is the first input of the WebSocket. */
static void test_bytes_behind(void **state)
{
    UNUSED(state);
    static const char text[] = GOOD "\x82\x83\0\0\0\0abc\x02\x82\0\0\0\0de\x89\x81\0\0\0\0p\x80\x82\0\0\0\0f.";
    size_t len = sizeof(text) - 1;
    struct house h;
    assert_true(house_open(&h, 0));
    for (size_t cut = 0; cut < len; cut++) {
        struct rig_pipe *p = knock(&h, text, len, cut);
        size_t at = 0;
        uint8_t said[16];
        unsigned said_n = 0, pongs = 0, closes = 0;
        while (memcmp(p->out.p + at, "\r\n\r\n", 4) != 0)
            at++;
        for (at += 4; at < p->out.len; at += 2 + p->out.p[at + 1]) { /* frames of the broker */
            const uint8_t *f = p->out.p + at;
            if (f[0] == 0x82) {
                memcpy(said + said_n, f + 2, f[1]);
                said_n += f[1];
            }
            pongs += f[0] == 0x8a && memcmp(f, "\x8a\x01p", 3) == 0;
            closes += f[0] == 0x88 && memcmp(f, "\x88\x02\x03\xe8", 4) == 0;
        }
        assert_int_equal(at, p->out.len);
        assert_int_equal(said_n, 7);
        assert_memory_equal(said, "ABCDEF.", 7);
        assert_int_equal(pongs, 1);
        assert_int_equal(closes, 1); /* loud said goodbye */
        part(&h, p);
    }
    house_close(&h);
}

/* A peer that takes one byte at a time, or none for a while. */
static void test_slow_peer(void **state)
{
    UNUSED(state);
    struct house h;
    assert_true(house_open(&h, 0));
    struct rig_pipe *p = rig_connect(h.rig);
    p->take_max = 1;
    rig_send(p, GOOD, strlen(GOOD));
    rig_send(p, "\x82\x83\0\0\0\0abc", 9);
    rig_run(h.rig);
    assert_true(out_has(p, "\r\n\r\n\x82\x03"
                           "ABC"));
    p->is_stalled = true;
    rig_send(p,
             "\x82\x83\0\0\0\0"
             "def\x89\x80\0\0\0\0",
             15);
    rig_run(h.rig);
    p->is_stalled = false;
    rig_run(h.rig);
    assert_true(out_has(p, "ABC\x82\x03"
                           "DEF\x8a") ||
                out_has(p, "ABC\x8a"));
    assert_true(out_has(p, "DEF"));
    house_close(&h);
}

static void test_breach_is_told(void **state)
{
    UNUSED(state);
    struct house h;
    assert_true(house_open(&h, 0));
    struct rig_pipe *p = knock_whole(&h, GOOD);
    rig_send(p, "\x81\x81\0\0\0\0a", 7); /* [MQTT-6.0.0-1] 3.1.1: [MQTT-6.0.0-1] text ends the connection */
    rig_run(h.rig);
    assert_memory_equal(p->out.p + p->out.len - 4, "\x88\x02\x03\xeb", 4);
    assert_true(rig_is_closed(p));
    assert_int_equal(h.rig->shard->close_n[CLOSE_PROTOCOL], 1);
    p = knock_whole(&h, GOOD);
    rig_send(p, "\x82\xfe\x03\xe9\0\0\0\0a", 9);
    rig_run(h.rig);
    assert_memory_equal(p->out.p + p->out.len - 4, "\x88\x02\x03\xf1", 4);
    assert_int_equal(h.rig->shard->close_n[CLOSE_TOO_BIG], 1);
    p = knock_whole(&h, GOOD);
    rig_send(p, "\x88\x80\0\0\0\0", 6);
    rig_run(h.rig);
    assert_memory_equal(p->out.p + p->out.len - 2, "\x88\x00", 2);
    assert_int_equal(h.rig->shard->close_n[CLOSE_EOF], 1);
    house_close(&h);
}

/* The login time-out bounds the request, and what comes after it until a login. */
static void test_time_out(void **state)
{
    UNUSED(state);
    struct house h;
    assert_true(house_open(&h, 0));
    mono_ms limit = h.rig->shard->limits.login_ms;
    struct rig_pipe *half = knock(&h, GOOD, 60, 60), *silent = knock_whole(&h, GOOD);
    rig_wait(h.rig, limit / 2);
    rig_send(half, "X", 1); /* a byte now and then does not help */
    rig_wait(h.rig, limit / 2 - 1);
    assert_false(rig_is_closed(half) || rig_is_closed(silent));
    rig_wait(h.rig, 1);
    assert_int_equal(status_of(half), 408);
    assert_true(rig_is_closed(half) && rig_is_closed(silent));
    assert_memory_equal(silent->out.p + silent->out.len - 4, "\x88\x02\x03\xe8", 4);
    assert_int_equal(h.rig->shard->close_n[CLOSE_LOGIN_TIMEOUT], 2);
    house_close(&h);
}

static void test_stopping(void **state)
{
    UNUSED(state);
    struct house h;
    assert_true(house_open(&h, 0));
    struct rig_pipe *half = knock(&h, GOOD, 60, 60), *inside = knock_whole(&h, GOOD);
    h.home.is_going_away = true;
    shard_stop(h.rig->shard, 100, NULL, NULL);
    rig_run(h.rig);
    assert_int_equal(status_of(half), 503);
    assert_memory_equal(inside->out.p + inside->out.len - 4, "\x88\x02\x03\xe9", 4);
    rig_wait(h.rig, 200);
    house_close(&h);
}

static void test_claims(void **state)
{
    UNUSED(state);
    static const struct {
        const char *first;
        enum claim claim;
    } rows[] = {{"G", CLAIM_MORE},           {"GET", CLAIM_MORE},
                {"GET ", CLAIM_YES},         {"GET / HTTP/1.1", CLAIM_YES},
                {"P", CLAIM_MORE},           {"POST ", CLAIM_YES},
                {"PUT ", CLAIM_YES},         {"HEAD ", CLAIM_YES},
                {"OPTIONS ", CLAIM_YES},     {"DELETE /a", CLAIM_YES},
                {"PATCH", CLAIM_MORE},       {"CONNECT\n", CLAIM_NO},
                {"STOMP\n", CLAIM_NO},       {"\x10\x0c\0\4MQTT", CLAIM_NO},
                {"get ", CLAIM_NO},          {"GETS", CLAIM_NO},
                {"PRI * HTTP/2.0", CLAIM_NO}};
    for (unsigned i = 0; i < ARRAY_N(rows); i++)
        assert_int_equal(http_upgrade_adapter.claims((const uint8_t *)rows[i].first, strlen(rows[i].first)),
                         rows[i].claim);
}

/* MQTT inside: the CONNECT in two frames, and the CONNACK in one. both: [MQTT-6.0.0-2] */
static void test_mqtt_inside(void **state)
{
    UNUSED(state);
    static const char *const name[] = {"mqtt", "mqttv3.1"};
    struct house h;
    assert_true(house_open(&h, 0));
    for (unsigned i = 0; i < 2; i++) {
        char text[400], said[64];
        int n = snprintf(text, sizeof(text), GET HOST UP KEY VER "Sec-WebSocket-Protocol: x, %s\r\n" END, name[i]);
        struct rig_pipe *p = knock(&h, text, (size_t)n, (size_t)n);
        (void)snprintf(said, sizeof(said), "\r\nSec-WebSocket-Protocol: %s\r\n", name[i]);
        assert_true(out_has(p, said)); /* both: [MQTT-6.0.0-4] */
        size_t before = p->out.len;
        uint8_t frame[64];
        const char connect[] = "\x10\x0d\0\4MQTT\4\2\0\0\0\1a";
        rig_send(p, frame, ws_peer_frame(frame, 0x82, connect, 5, 0x11223344));
        rig_run(h.rig);
        rig_send(p, frame, ws_peer_frame(frame, 0x82, connect + 5, 10, 0x55667788));
        rig_run(h.rig);
        assert_int_equal(p->out.len - before, 6);
        assert_memory_equal(p->out.p + before, "\x82\x04\x20\x02\0\0", 6);
        part(&h, p);
    }
    house_close(&h);
}

/* play: from the accept to an answer inside the WebSocket. True when all went well. */
static bool play(struct house *h)
{
    static const char text[] = GOOD "\x82\x83\0\0\0\0abc\x89\x81\0\0\0\0p";
    struct rig_pipe *p = rig_connect(h->rig);
    p->take_max = 3;
    if (!p->is_gone) {
        rig_send(p, text, sizeof(text) - 1);
        rig_run(h->rig);
    }
    bool is_well = out_has(p, "ABC") && out_has(p, "\x8a\x01p") && !rig_is_closed(p);
    assert_int_equal(is_well, !rig_is_closed(p)); /* else the connection has ended */
    return is_well;
}

/* Each allocation fails once, the broker's and the pipes': every byte comes back. */
static void test_out_of_memory(void **state)
{
    UNUSED(state);
    struct house h;
    unsigned failures = 0;
    bool has_failed = true;
    for (uint64_t fail_at = 1; has_failed; fail_at++) {
        if (!house_open(&h, fail_at))
            continue;
        bool is_well = play(&h);
        has_failed = h.rig->heap.calls >= fail_at;
        failures += !is_well;
        assert_true(is_well || has_failed);
        house_close(&h);
    }
    assert_true(failures >= 2); /* the request's memory, the state inside */
    has_failed = true;
    for (uint64_t fail_at = 1; has_failed; fail_at++) {
        assert_true(house_open(&h, 0));
        h.ws_heap.fail_at = fail_at;
        bool is_well = play(&h);
        has_failed = h.ws_heap.calls >= fail_at;
        assert_true(is_well != has_failed);
        house_close(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),        cmocka_unit_test(test_refused),        cmocka_unit_test(test_lenient),
        cmocka_unit_test(test_path),        cmocka_unit_test(test_origin),         cmocka_unit_test(test_too_big),
        cmocka_unit_test(test_claims),      cmocka_unit_test(test_bytes_behind),   cmocka_unit_test(test_slow_peer),
        cmocka_unit_test(test_stopping),    cmocka_unit_test(test_breach_is_told), cmocka_unit_test(test_time_out),
        cmocka_unit_test(test_mqtt_inside), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
