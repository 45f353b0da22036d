/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_wire.c: the codec by examples: frames, packets whose bytes are written out by hand, and a table of what
 * must be refused, each row with the statement it breaks.
 *
 * Bytes are hex, two digits each, with blanks where a reader wants them; 'ascii' in quotes stands for itself. Every
 * input ends at a forbidden page, and every example is also fed cut at each position.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/support/guard.h"
#include "tests/support/mqtt_any.h"

#define HEX_BYTES_MAX 512u

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

/* from_hex: see above; returns the bytes written to out[HEX_BYTES_MAX]. */
static size_t from_hex(const char *s, uint8_t *out)
{
    size_t n = 0;
    bool quoted = false;
    for (; *s != '\0'; s++) {
        assert_true(n < HEX_BYTES_MAX);
        if (*s == '\'')
            quoted = !quoted;
        else if (quoted)
            out[n++] = (uint8_t)*s;
        else if (*s != ' ') {
            out[n++] = (uint8_t)(hex_digit(s[0]) << 4 | hex_digit(s[1]));
            s++;
        }
    }
    return n;
}

/* decode: one whole packet, from the edge of a forbidden page. *out_guard is to be freed after looking at *out. */
static enum err decode(const char *hex, enum mqtt_version v, struct mqtt_any *out, uint8_t **out_guard)
{
    uint8_t bytes[HEX_BYTES_MAX];
    struct mqtt_frame f;
    size_t n = from_hex(hex, bytes);
    *out_guard = guard_bytes(bytes, n);
    ptrdiff_t got = mqtt_frame_peek(*out_guard, n, MQTT_PACKET_BYTES_MAX, &f);
    if (got < 0)
        return (enum err) - got;
    assert_int_equal(got, n);
    return mqtt_any_decode(&f, v, out);
}

/* -- frames -------------------------------------------------------------------------------------------------------- */

static ptrdiff_t peek(const char *hex, uint32_t max, struct mqtt_frame *f)
{
    uint8_t bytes[HEX_BYTES_MAX];
    size_t n = from_hex(hex, bytes);
    uint8_t *g = guard_bytes(bytes, n);
    ptrdiff_t got = mqtt_frame_peek(g, n, max, f);
    guard_free(g);
    return got;
}

static void frame_needs_more_until_complete(void **state)
{
    struct mqtt_frame f;
    UNUSED(state);
    assert_int_equal(peek("", 100, &f), 0);
    assert_int_equal(f.total, 0);
    assert_int_equal(peek("30", 100, &f), 0);
    assert_int_equal(f.total, 0);
    assert_int_equal(f.type, MQTT_PUBLISH);
    assert_int_equal(peek("30 03", 100, &f), 0);
    assert_int_equal(f.total, 5);
    assert_int_equal(peek("30 03 0001", 100, &f), 0);
    assert_int_equal(f.total, 5);
    assert_int_equal(peek("3d 03 0001 61 ff", 100, &f), 5); /* what follows is the next packet's */
    assert_int_equal(f.flags, 0x0d);
    assert_int_equal(f.head_bytes, 2);
    assert_int_equal(f.body.len, 3);
}

static void frame_length_has_one_to_four_bytes(void **state) /* MQTT 5 §1.5.5, table 1-1 */
{
    struct mqtt_frame f;
    static const struct {
        const char *hex;
        uint32_t body;
    } rows[] = {
        {"30 7f", 127},         {"30 8001", 128},         {"30 ff7f", 16383},         {"30 808001", 16384},
        {"30 ffff7f", 2097151}, {"30 80808001", 2097152}, {"30 ffffff7f", 268435455},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        assert_int_equal(peek(rows[i].hex, MQTT_PACKET_BYTES_MAX, &f), 0);
        assert_int_equal(f.total, rows[i].body + f.head_bytes);
        assert_false(f.overlong);
        uint8_t out[4];
        size_t n = mqtt_varint_put(out, rows[i].body);
        assert_int_equal(n, mqtt_varint_bytes(rows[i].body));
        assert_int_equal(n + 1, f.head_bytes);
        uint32_t v = 0;
        assert_int_equal(mqtt_varint_get(out, n, &v), n);
        assert_int_equal(v, rows[i].body);
        assert_int_equal(mqtt_varint_get(out, n - 1, &v), 0);
    }
    assert_int_equal(peek("30 ff", 100, &f), 0);
    assert_int_equal(f.total, 0);
    assert_int_equal(peek("30 ffffffff", 100, &f), -ERR_MALFORMED); /* a fifth byte of length */
    assert_int_equal(peek("30 80808080 01", 100, &f), -ERR_MALFORMED);
    assert_int_equal(peek("00", 100, &f), -ERR_MALFORMED); /* §2.1.2: type 0 is forbidden */
    assert_int_equal(peek("0f 00", 100, &f), -ERR_MALFORMED);
}

static void frame_too_big_is_said_at_once(void **state)
{
    struct mqtt_frame f;
    UNUSED(state);
    assert_int_equal(peek("30 64", 102, &f), 0);
    assert_int_equal(peek("30 64", 101, &f), -ERR_TOO_BIG);
    assert_int_equal(f.total, 102);
    assert_int_equal(f.type, MQTT_PUBLISH);
    assert_int_equal(peek("32 ffffff7f", 1048576, &f), -ERR_TOO_BIG);
    assert_int_equal(peek("32 ffffff7f", MQTT_PACKET_BYTES_MAX, &f), 0);
    assert_int_equal(f.total, MQTT_PACKET_BYTES_MAX);
}

static void frame_check_leaves_publish_to_its_decoder(void **state) /* its four flag bits mean something */
{
    struct mqtt_frame f;
    UNUSED(state);
    assert_int_equal(peek("3b 00", 100, &f), 2);
    assert_int_equal(mqtt_frame_check(&f, MQTT_V5), ERR_OK);
    assert_int_equal(peek("cb 00", 100, &f), 2);
    assert_int_equal(mqtt_frame_check(&f, MQTT_V5), ERR_MALFORMED); /* [MQTT-2.1.3-1] */
    assert_int_equal(mqtt_frame_check(&f, MQTT_V31), ERR_OK);       /* MQTT 3.1 §2.1: not used */
}

static void varint_must_be_shortest(void **state) /* [MQTT-1.5.5-1] */
{
    uint32_t v = 7;
    UNUSED(state);
    assert_int_equal(mqtt_varint_get((const uint8_t *)"\x80\x00", 2, &v), -ERR_MALFORMED);
    assert_int_equal(mqtt_varint_get((const uint8_t *)"\xff\x80\x80\x00", 4, &v), -ERR_MALFORMED);
    assert_int_equal(v, 7);
}

/* -- packets by hand ----------------------------------------------------------------------------------------------- */

static void connect_v5_with_everything(void **state)
{
    struct mqtt_any a;
    uint8_t *g;
    UNUSED(state);
    enum err e = decode("10 41 0004 'MQTT' 05 f6 003c  08 11 0000000a 21 0014  0003 'cid'"
                        " 0d 18 00000005 03 0005 'a/txt'  0006 'will/t' 0003 'bye' 0004 'anna' 0006 'secret'",
                        MQTT_V5, &a, &g);
    assert_int_equal(e, ERR_OK);
    const struct mqtt_connect *c = &a.u.connect;
    assert_true(c->clean && c->has_will && c->has_user && c->has_password && c->will_retain);
    assert_int_equal(c->will_qos, 2);
    assert_int_equal(c->keepalive_s, 60);
    assert_true(c->props.has == (MQTT_HAS(SESSION_EXPIRY) | MQTT_HAS(RECEIVE_MAX)));
    assert_int_equal(c->props.session_expiry_s, 10);
    assert_int_equal(c->props.receive_max, 20);
    assert_int_equal(c->will_props.will_delay_s, 5);
    assert_true(slice_eq_str(c->will_props.content_type, "a/txt"));
    assert_true(slice_eq_str(c->client_id, "cid"));
    assert_true(slice_eq_str(c->will_topic, "will/t"));
    assert_true(slice_eq_str(c->will_payload, "bye"));
    assert_true(slice_eq_str(c->user, "anna"));
    assert_true(slice_eq_str(c->password, "secret"));
    guard_free(g);
}

static void connect_v31_is_lenient(void **state) /* MQTT 3.1 §3.1 */
{
    struct mqtt_any a;
    uint8_t *g;
    UNUSED(state);
    /* DUP in the fixed header; will bits without a will; reserved bit; user and password promised, not there */
    assert_int_equal(decode("18 11 0006 'MQIsdp' 03 fb 000a 0003 'abc'", MQTT_V31, &a, &g), ERR_OK);
    assert_false(a.u.connect.has_will || a.u.connect.will_retain || a.u.connect.has_user || a.u.connect.has_password);
    assert_int_equal(a.u.connect.will_qos, 0);
    guard_free(g);
    assert_int_equal(decode("6a 02 0007", MQTT_V31, &a, &g), ERR_OK); /* PUBREL with DUP */
    guard_free(g);
    assert_int_equal(decode("8a 06 0007 0001 'a' 01", MQTT_V31, &a, &g), ERR_OK); /* SUBSCRIBE with DUP */
    guard_free(g);
    assert_int_equal(decode("62 02 0007", MQTT_V31, &a, &g), ERR_OK);
    guard_free(g);
    assert_int_equal(decode("60 02 0007", MQTT_V31, &a, &g), ERR_MALFORMED); /* but it is sent at QoS 1 */
    guard_free(g);
}

static void connect_says_its_version_even_when_bad(void **state)
{
    struct mqtt_any a;
    uint8_t *g;
    UNUSED(state);
    assert_int_equal(decode("10 0c 0004 'MQTT' 06 02 000a 0000", MQTT_V5, &a, &g),
                     ERR_UNSUPPORTED); /* [MQTT-3.1.2-2] */
    assert_int_equal(a.u.connect.version, 0);
    assert_int_equal(a.u.connect.level, 6);
    guard_free(g);
    assert_int_equal(decode("10 0c 0004 'MQTX' 04 02 000a 0000", MQTT_V311, &a, &g),
                     ERR_UNSUPPORTED); /* [MQTT-3.1.2-1] */
    guard_free(g);
    assert_int_equal(decode("10 0d 0004 'MQTT' 05 03 000a 00 0000", MQTT_V5, &a, &g),
                     ERR_MALFORMED); /* [MQTT-3.1.2-3] */
    assert_int_equal(a.u.connect.version, MQTT_V5);
    guard_free(g);
}

static void publish_splits_in_order(void **state)
{
    struct mqtt_any a;
    uint8_t *g;
    UNUSED(state);
    assert_int_equal(decode("3b 0f 0003 'a/b' 1234 02 0101 'hello'", MQTT_V5, &a, &g), ERR_OK);
    const struct mqtt_publish *p = &a.u.publish;
    assert_true(p->dup && p->retain);
    assert_int_equal(p->qos, 1);
    assert_int_equal(p->packet_id, 0x1234);
    assert_true(slice_eq_str(p->topic, "a/b"));
    assert_int_equal(p->props.len, 2);
    assert_true(slice_eq_str(p->payload, "hello"));
    guard_free(g);
    assert_int_equal(decode("30 05 0003 'a/b'", MQTT_V311, &a, &g), ERR_OK); /* a payload may be empty */
    assert_int_equal(p->packet_id, 0);
    assert_int_equal(p->payload.len, 0);
    guard_free(g);
    assert_int_equal(decode("38 05 0003 'a/b'", MQTT_V31, &a, &g), ERR_OK); /* 3.1 says nothing of DUP at QoS 0 */
    guard_free(g);
}

static void publish_head_adds_what_the_receiver_needs(void **state)
{
    static const uint32_t ids[] = {1, 300};
    struct mqtt_publish_extra extra = {.sub_ids = ids, .sub_id_n = 2, .expiry_s = 9, .has_expiry = true, .alias = 3};
    struct mqtt_publish p = {
        .topic = SLICE("t"), .props = SLICE("\x01\x01"), .payload = SLICE("xyz"), .qos = 1, .packet_id = 5};
    uint8_t want[HEX_BYTES_MAX];
    UNUSED(state);
    size_t want_n = from_hex("32 18 0001 't' 0005 0f 02 00000009 23 0003 0b01 0bac02 01 01 'xyz'", want) - 3;
    size_t max = mqtt_publish_head_max(&p, &extra);
    uint8_t *out = guard_room(max);
    assert_int_equal(mqtt_publish_bytes(&p, &extra, MQTT_V5), want_n + 3);
    assert_int_equal(mqtt_publish_head(out, &p, &extra, MQTT_V5), want_n);
    assert_memory_equal(out, want, want_n);
    want_n = from_hex("32 08 0001 't' 0005", want);
    assert_int_equal(mqtt_publish_head(out, &p, &extra, MQTT_V311), want_n); /* 3.x has no place for any of it */
    assert_memory_equal(out, want, want_n);
    assert_int_equal(mqtt_publish_bytes(&p, &extra, MQTT_V311), want_n + 3);
    guard_free(out);
}

static void publish_too_long_is_refused(void **state)
{
    static const uint8_t some[MQTT_STRING_BYTES_MAX + 1] = {0};
    static uint8_t out[MQTT_STRING_BYTES_MAX + 64];
    struct mqtt_publish p = {.topic = SLICE("t"), .payload = {some, MQTT_VARINT_MAX}}; /* the head reads no payload */
    UNUSED(state);
    assert_int_equal(mqtt_publish_head(out, &p, NULL, MQTT_V311), 0);
    assert_true(mqtt_publish_bytes(&p, NULL, MQTT_V311) > MQTT_PACKET_BYTES_MAX);
    p.payload.len -= 3;
    assert_int_equal(mqtt_publish_head(out, &p, NULL, MQTT_V311), 8);
    assert_true(mqtt_publish_bytes(&p, NULL, MQTT_V311) == MQTT_PACKET_BYTES_MAX);
    p.payload.len = 0;
    p.topic = slice_make(some, MQTT_STRING_BYTES_MAX + 1);
    assert_int_equal(mqtt_publish_head(out, &p, NULL, MQTT_V311), 0);
    p.topic.len--;
    assert_int_equal(mqtt_publish_head(out, &p, NULL, MQTT_V311), 1 + 3 + 2 + MQTT_STRING_BYTES_MAX);
}

static void subscribe_is_walked_item_by_item(void **state)
{
    struct mqtt_any a;
    struct mqtt_sub_item item;
    uint8_t *g;
    UNUSED(state);
    assert_int_equal(decode("82 10 000a 02 0b07  0003 'a/+' 2e  0002 'b#' 00", MQTT_V5, &a, &g), ERR_OK);
    assert_int_equal(a.u.subscribe.filter_n, 2);
    assert_int_equal(a.u.subscribe.props.sub_id, 7);
    struct slice rest = a.u.subscribe.filters;
    assert_true(mqtt_subscribe_next(&rest, &item));
    assert_true(slice_eq_str(item.filter, "a/+"));
    assert_true(item.no_local && item.retain_as_published);
    assert_int_equal(item.qos, 2);
    assert_int_equal(item.retain_handling, 2);
    assert_true(mqtt_subscribe_next(&rest, &item));
    assert_true(slice_eq_str(item.filter, "b#")); /* the syntax of a filter is another function's business */
    assert_false(item.no_local || item.retain_as_published);
    assert_false(mqtt_subscribe_next(&rest, &item));
    guard_free(g);
}

static void short_forms_mean_success(void **state) /* §3.4.2.1, §3.14.2.1, §3.15.2.1 */
{
    struct mqtt_any a;
    uint8_t *g;
    UNUSED(state);
    assert_int_equal(decode("40 02 0001", MQTT_V5, &a, &g), ERR_OK);
    assert_int_equal(a.u.ack.code, 0);
    guard_free(g);
    assert_int_equal(decode("40 03 0001 10", MQTT_V5, &a, &g), ERR_OK);
    assert_int_equal(a.u.ack.code, MQTT_RC_NO_MATCH);
    guard_free(g);
    assert_int_equal(decode("40 04 0001 10 00", MQTT_V5, &a, &g), ERR_OK);
    guard_free(g);
    assert_int_equal(decode("e0 00", MQTT_V5, &a, &g), ERR_OK);
    assert_int_equal(a.u.closing.code, MQTT_RC_NORMAL);
    guard_free(g);
    assert_int_equal(decode("e0 01 04", MQTT_V5, &a, &g), ERR_OK);
    assert_int_equal(a.u.closing.code, MQTT_RC_CLOSE_WITH_WILL);
    guard_free(g);
    assert_int_equal(decode("f0 00", MQTT_V5, &a, &g), ERR_OK);
    guard_free(g);
    assert_int_equal(decode("f0 06 18 04 15 0001 'x'", MQTT_V5, &a, &g), ERR_OK);
    assert_int_equal(a.u.closing.code, MQTT_RC_AUTH_CONTINUE);
    guard_free(g);
}

static void encoders_write_the_short_forms(void **state)
{
    uint8_t out[16];
    struct mqtt_ack ack = {.type = MQTT_PUBREL, .packet_id = 0x0102};
    struct mqtt_closing bye = {.code = 0};
    UNUSED(state);
    assert_int_equal(mqtt_ack_encode(&ack, MQTT_V5, out, 4), 4);
    assert_memory_equal(out, "\x62\x02\x01\x02", 4);
    ack.code = MQTT_RC_ID_NOT_FOUND;
    assert_int_equal(mqtt_ack_encode(&ack, MQTT_V5, out, sizeof out), 5);
    assert_memory_equal(out, "\x62\x03\x01\x02\x92", 5);
    assert_int_equal(mqtt_ack_encode(&ack, MQTT_V311, out, 4), 4); /* 3.x has no code to say it with */
    assert_int_equal(mqtt_ack_encode(&ack, MQTT_V311, out, 3), -ERR_TOO_BIG);
    assert_int_equal(mqtt_disconnect_encode(&bye, MQTT_V5, out, sizeof out), 2);
    assert_memory_equal(out, "\xe0\x00", 2);
    bye.code = MQTT_RC_SHUTDOWN;
    assert_int_equal(mqtt_disconnect_encode(&bye, MQTT_V5, out, sizeof out), 3);
    assert_int_equal(mqtt_disconnect_encode(&bye, MQTT_V311, out, sizeof out), 2);
    mqtt_ping_put(out, MQTT_PINGRESP);
    assert_memory_equal(out, "\xd0\x00", 2);
}

static void a_string_too_long_is_not_encoded(void **state)
{
    static const uint8_t text[MQTT_STRING_BYTES_MAX + 1] = {0};
    static uint8_t out[2 * sizeof text];
    struct mqtt_connect c = {.version = MQTT_V311, .clean = true, .client_id = {text, sizeof text}};
    struct mqtt_connack ack = {.props = {.has = MQTT_HAS(REASON), .reason = {text, sizeof text}}};
    UNUSED(state);
    assert_int_equal(mqtt_connect_encode(&c, out, sizeof out), -ERR_TOO_BIG);
    assert_int_equal(mqtt_connack_encode(&ack, MQTT_V5, out, sizeof out), -ERR_TOO_BIG);
    c.client_id.len--;
    ack.props.reason.len--;
    assert_true(mqtt_connect_encode(&c, out, sizeof out) > 0);
    assert_true(mqtt_connack_encode(&ack, MQTT_V5, out, sizeof out) > 0);
}

/* -- what must be refused ------------------------------------------------------------------------------------------ */

static const struct refusal {
    const char *why; /* the statement it breaks */
    enum mqtt_version v;
    enum err want;
    const char *hex;
} REFUSALS[] = {
    {"[MQTT-1.5.5-1] length not the shortest", MQTT_V5, ERR_MALFORMED, "c0 8000"},
    {"[MQTT-1.5.5-1] in PUBLISH too", MQTT_V5, ERR_MALFORMED, "30 8400 0001 't' 00"},
    {"[MQTT-1.5.5-1] property length not the shortest", MQTT_V5, ERR_MALFORMED, "30 05 0001 't' 8000"},
    {"3.1.1: [MQTT-2.2.2-1] CONNECT flags", MQTT_V311, ERR_MALFORMED, "11 0c 0004 'MQTT' 04 02 000a 0000"},
    {"3.1.1: [MQTT-2.2.2-1] CONNACK flags", MQTT_V311, ERR_MALFORMED, "24 02 0000"},
    {"[MQTT-2.1.3-1] PUBACK flags", MQTT_V5, ERR_MALFORMED, "42 02 0001"},
    {"3.1.1: [MQTT-2.2.2-1] PUBREC flags", MQTT_V311, ERR_MALFORMED, "58 02 0001"},
    {"3.1.1: [MQTT-3.6.1-1] PUBREL flags", MQTT_V311, ERR_MALFORMED, "60 02 0001"},
    {"3.1.1: [MQTT-3.6.1-1] PUBREL flags, DUP", MQTT_V311, ERR_MALFORMED, "6a 02 0001"},
    {"[MQTT-2.1.3-1] PUBCOMP flags", MQTT_V5, ERR_MALFORMED, "71 02 0001"},
    {"3.1.1: [MQTT-3.8.1-1] SUBSCRIBE flags", MQTT_V311, ERR_MALFORMED, "80 06 0001 0001 'a' 00"},
    {"3.1.1: [MQTT-2.2.2-1] SUBACK flags", MQTT_V311, ERR_MALFORMED, "92 03 0001 00"},
    {"[MQTT-3.10.1-1] UNSUBSCRIBE flags", MQTT_V5, ERR_MALFORMED, "a0 06 0001 00 0001 'a'"},
    {"3.1.1: [MQTT-2.2.2-1] UNSUBACK flags", MQTT_V311, ERR_MALFORMED, "b2 02 0001"},
    {"3.1.1: [MQTT-2.2.2-1] PINGREQ flags", MQTT_V311, ERR_MALFORMED, "c1 00"},
    {"[MQTT-2.1.3-1] PINGRESP flags", MQTT_V5, ERR_MALFORMED, "d8 00"},
    {"[MQTT-3.14.1-1] DISCONNECT flags", MQTT_V5, ERR_MALFORMED, "e1 00"},
    {"[MQTT-3.15.1-1] AUTH flags", MQTT_V5, ERR_MALFORMED, "f2 00"},
    {"3.1.1 §2.2.1: there is no AUTH", MQTT_V311, ERR_PROTOCOL, "f0 00"},
    {"3.1 §2.1: there is no AUTH", MQTT_V31, ERR_PROTOCOL, "f0 00"},
    {"3.1.1: [MQTT-3.1.2-1] protocol name", MQTT_V311, ERR_UNSUPPORTED, "10 0c 0004 'mqtt' 04 02 000a 0000"},
    {"3.1.1: [MQTT-3.1.2-1] 3.1's name with 3.1.1's level", MQTT_V311, ERR_UNSUPPORTED,
     "10 0e 0006 'MQIsdp' 04 02 000a 0000"},
    {"3.1.1: [MQTT-3.1.2-2] protocol level", MQTT_V311, ERR_UNSUPPORTED, "10 0c 0004 'MQTT' 03 02 000a 0000"},
    {"3.1.1: [MQTT-3.1.2-3] reserved flag", MQTT_V311, ERR_MALFORMED, "10 0c 0004 'MQTT' 04 03 000a 0000"},
    {"[MQTT-3.1.2-11] will QoS without will", MQTT_V5, ERR_MALFORMED, "10 0d 0004 'MQTT' 05 0a 000a 00 0000"},
    {"[MQTT-3.1.2-13] will retain without will", MQTT_V5, ERR_MALFORMED, "10 0d 0004 'MQTT' 05 22 000a 00 0000"},
    {"[MQTT-3.1.2-12] will QoS 3", MQTT_V5, ERR_MALFORMED, "10 14 0004 'MQTT' 05 1e 000a 00 0000 00 0001 't' 0001 'p'"},
    {"3.1.1: [MQTT-3.1.2-22] password without user", MQTT_V311, ERR_MALFORMED,
     "10 0f 0004 'MQTT' 04 42 000a 0000 0001 'p'"},
    {"3.1.1: [MQTT-3.1.3-4] client id not UTF-8", MQTT_V311, ERR_MALFORMED, "10 0e 0004 'MQTT' 04 02 000a 0002 c080"},
    {"[MQTT-1.5.4-1] client id with a surrogate", MQTT_V5, ERR_MALFORMED,
     "10 10 0004 'MQTT' 05 02 000a 00 0003 eda080"},
    {"3.1.1: [MQTT-1.5.3-2] client id with U+0000", MQTT_V311, ERR_MALFORMED, "10 0e 0004 'MQTT' 04 02 000a 0002 6100"},
    {"3.1.1: [MQTT-3.1.3-10] will topic not UTF-8", MQTT_V311, ERR_MALFORMED,
     "10 11 0004 'MQTT' 04 06 000a 0000 0001 ff 0000"},
    {"3.1.1: [MQTT-3.1.3-11] user not UTF-8", MQTT_V311, ERR_MALFORMED, "10 0f 0004 'MQTT' 04 82 000a 0000 0001 80"},
    {"§3.1.3 user flag, no user", MQTT_V311, ERR_MALFORMED, "10 0c 0004 'MQTT' 04 82 000a 0000"},
    {"§3.1.3 trailing byte", MQTT_V311, ERR_MALFORMED, "10 0d 0004 'MQTT' 04 02 000a 0000 00"},
    {"§3.1.2 cut short", MQTT_V311, ERR_MALFORMED, "10 09 0004 'MQTT' 04 02 00"},
    {"§3.1.2.11 properties longer than the packet", MQTT_V5, ERR_MALFORMED, "10 0d 0004 'MQTT' 05 02 000a 05 0000"},
    {"CONNACK flags byte", MQTT_V311, ERR_MALFORMED, "20 02 0200"},
    {"[MQTT-3.2.2-6] session present with an error", MQTT_V5, ERR_PROTOCOL, "20 03 01 87 00"},
    {"3.1.1: [MQTT-3.2.2-4] session present with an error", MQTT_V311, ERR_PROTOCOL, "20 02 0105"},
    {"[MQTT-3.2.2-8] no such reason", MQTT_V5, ERR_PROTOCOL, "20 03 00 8b 00"},
    {"3.1.1 §3.2.2.3 return code 6", MQTT_V311, ERR_PROTOCOL, "20 02 0006"},
    {"3.1.1 §3.2 trailing byte", MQTT_V311, ERR_MALFORMED, "20 03 0000 00"},
    {"3.1.1: [MQTT-3.3.1-4] QoS 3", MQTT_V311, ERR_MALFORMED, "36 05 0001 't' 0001"},
    {"3.1.1: [MQTT-3.3.1-2] DUP at QoS 0", MQTT_V311, ERR_MALFORMED, "38 03 0001 't'"},
    {"[MQTT-3.3.1-2] DUP at QoS 0, retained", MQTT_V5, ERR_MALFORMED, "39 04 0001 't' 00"},
    {"[MQTT-2.2.1-3] PUBLISH with packet id 0", MQTT_V5, ERR_PROTOCOL, "32 06 0001 't' 0000 00"},
    {"3.1.1: [MQTT-2.3.1-1] PUBLISH with packet id 0", MQTT_V311, ERR_PROTOCOL, "34 05 0001 't' 0000"},
    {"§3.3.2 no topic length", MQTT_V311, ERR_MALFORMED, "30 01 00"},
    {"§3.3.2 empty body", MQTT_V311, ERR_MALFORMED, "30 00"},
    {"§3.3.2 topic longer than the packet", MQTT_V311, ERR_MALFORMED, "30 03 0002 't'"},
    {"§3.3.2 no room for the packet id", MQTT_V311, ERR_MALFORMED, "32 04 0001 't' 00"},
    {"§3.3.2.3 no property length", MQTT_V5, ERR_MALFORMED, "30 03 0001 't'"},
    {"§3.3.2.3 properties longer than the packet", MQTT_V5, ERR_MALFORMED, "30 05 0001 't' 02 01"},
    {"[MQTT-2.2.1-3] PUBACK with packet id 0", MQTT_V5, ERR_PROTOCOL, "40 02 0000"},
    {"3.1.1: [MQTT-2.3.1-1] PUBREL with packet id 0", MQTT_V311, ERR_PROTOCOL, "62 02 0000"},
    {"[MQTT-3.4.2-1] no such reason", MQTT_V5, ERR_PROTOCOL, "40 03 0001 92"},
    {"[MQTT-3.6.2-1] no such reason", MQTT_V5, ERR_PROTOCOL, "62 03 0001 10"},
    {"3.1.1 §3.4 has no reason code", MQTT_V311, ERR_MALFORMED, "40 03 0001 00"},
    {"§3.4.2 trailing byte", MQTT_V5, ERR_MALFORMED, "40 05 0001 00 00 00"},
    {"§3.4.2 cut short", MQTT_V5, ERR_MALFORMED, "40 01 00"},
    {"[MQTT-2.2.1-3] SUBSCRIBE with packet id 0", MQTT_V5, ERR_PROTOCOL, "82 07 0000 00 0001 'a' 00"},
    {"[MQTT-3.8.3-2] SUBSCRIBE without a filter", MQTT_V5, ERR_PROTOCOL, "82 03 0001 00"},
    {"3.1.1: [MQTT-3.8.3-3] SUBSCRIBE without a filter", MQTT_V311, ERR_PROTOCOL, "82 02 0001"},
    {"[MQTT-3.8.3-1] filter not UTF-8", MQTT_V5, ERR_MALFORMED, "82 07 0001 00 0001 fe 00"},
    {"§3.8.3 no options", MQTT_V311, ERR_MALFORMED, "82 05 0001 0001 'a'"},
    {"§3.8.3 second filter cut short", MQTT_V311, ERR_MALFORMED, "82 08 0001 0001 'a' 00 00 01"},
    {"3.1.1: [MQTT-3.8.3-4] reserved option bits", MQTT_V311, ERR_MALFORMED, "82 06 0001 0001 'a' 04"},
    {"3.1.1: [MQTT-3.8.3-4] QoS 3", MQTT_V311, ERR_MALFORMED, "82 06 0001 0001 'a' 03"},
    {"§3.8.3.1 QoS 3", MQTT_V5, ERR_PROTOCOL, "82 07 0001 00 0001 'a' 03"},
    {"§3.8.3.1 retain handling 3", MQTT_V5, ERR_PROTOCOL, "82 07 0001 00 0001 'a' 30"},
    {"[MQTT-3.8.3-5] reserved option bits", MQTT_V5, ERR_MALFORMED, "82 07 0001 00 0001 'a' 40"},
    {"[MQTT-3.8.3-4] no local on a shared subscription", MQTT_V5, ERR_PROTOCOL, "82 10 0001 00 000a '$share/g/a' 04"},
    {"[MQTT-3.10.3-2] UNSUBSCRIBE without a filter", MQTT_V5, ERR_PROTOCOL, "a2 03 0001 00"},
    {"3.1.1: [MQTT-3.10.3-2] UNSUBSCRIBE without a filter", MQTT_V311, ERR_PROTOCOL, "a2 02 0001"},
    {"3.1.1: [MQTT-3.10.3-1] filter not UTF-8", MQTT_V311, ERR_MALFORMED, "a2 05 0001 0001 c1"},
    {"3.1.1: [MQTT-2.3.1-1] UNSUBSCRIBE with packet id 0", MQTT_V311, ERR_PROTOCOL, "a2 05 0000 0001 'a'"},
    {"[MQTT-3.9.3-2] no such reason", MQTT_V5, ERR_PROTOCOL, "90 04 0001 00 03"},
    {"3.1.1: [MQTT-3.9.3-2] reserved return code", MQTT_V311, ERR_PROTOCOL, "90 03 0001 03"},
    {"§3.9.3 no codes", MQTT_V5, ERR_PROTOCOL, "90 03 0001 00"},
    {"[MQTT-3.11.3-2] no such reason", MQTT_V5, ERR_PROTOCOL, "b0 04 0001 00 01"},
    {"3.1.1 §3.11 trailing byte", MQTT_V311, ERR_MALFORMED, "b0 03 0001 00"},
    {"§3.12 PINGREQ with a body", MQTT_V311, ERR_MALFORMED, "c0 01 00"},
    {"3.1.1 §3.14 DISCONNECT with a body", MQTT_V311, ERR_MALFORMED, "e0 01 00"},
    {"[MQTT-3.14.2-1] no such reason", MQTT_V5, ERR_PROTOCOL, "e0 01 01"},
    {"§3.14.2.2 trailing byte", MQTT_V5, ERR_MALFORMED, "e0 03 00 00 00"},
    {"[MQTT-3.15.2-1] no such reason", MQTT_V5, ERR_PROTOCOL, "f0 06 87 04 15 0001 'x'"},
    {"§3.15.2.2.2 no method", MQTT_V5, ERR_PROTOCOL, "f0 02 18 00"},
    {"§3.15.2.2.1 no property length", MQTT_V5, ERR_MALFORMED, "f0 01 18"},
};

static void bad_packets_are_refused(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(REFUSALS); i++) {
        struct mqtt_any a;
        uint8_t *g;
        enum err got = decode(REFUSALS[i].hex, REFUSALS[i].v, &a, &g);
        guard_free(g);
        if (got != REFUSALS[i].want)
            fail_msg("%s: got %s, want %s", REFUSALS[i].why, err_name(got), err_name(REFUSALS[i].want));
    }
}

/* Twins of rows above that differ in the one thing the row is about: they show that it is this which was refused. */
static void their_good_twins_are_accepted(void **state)
{
    static const struct {
        enum mqtt_version v;
        const char *hex;
    } rows[] = {
        {MQTT_V311, "c0 8000"}, /* only 5.0 demands the shortest length */
        {MQTT_V311, "30 8300 0001 't'"},
        {MQTT_V5, "30 04 0001 't' 00"},
        {MQTT_V311, "30 02 0000"}, /* an empty topic is for mqtt_topic_name_check to refuse */
        {MQTT_V311, "10 0c 0004 'MQTT' 04 02 000a 0000"},
        {MQTT_V31, "10 0e 0006 'MQIsdp' 03 02 000a 0000"},
        {MQTT_V5, "10 0d 0004 'MQTT' 05 02 000a 00 0000"},
        {MQTT_V5, "10 14 0004 'MQTT' 05 16 000a 00 0000 00 0001 't' 0001 'p'"},
        {MQTT_V5, "10 10 0004 'MQTT' 05 42 000a 00 0000 0001 'p'"}, /* 5.0 allows a password alone */
        {MQTT_V5, "10 10 0004 'MQTT' 05 02 000a 00 0003 e282ac"},
        {MQTT_V311, "20 02 0100"},
        {MQTT_V31, "20 02 0700"}, /* 3.1: the byte is not used */
        {MQTT_V5, "20 03 00 87 00"},
        {MQTT_V311, "62 02 0001"},
        {MQTT_V5, "62 03 0001 92"},
        {MQTT_V311, "82 06 0001 0001 'a' 02"},
        {MQTT_V5, "82 07 0001 00 0001 'a' 2c"},
        {MQTT_V5, "82 10 0001 00 000a '$share/g/a' 08"},
        {MQTT_V5, "82 0f 0001 00 0009 '$sharexyz' 04"},
        {MQTT_V5, "a2 06 0001 00 0001 'a'"},
        {MQTT_V311, "90 03 0001 80"},
        {MQTT_V5, "90 04 0001 00 8f"},
        {MQTT_V5, "b0 04 0001 00 11"},
        {MQTT_V311, "b0 02 0001"},
        {MQTT_V5, "e0 02 00 00"},
        {MQTT_V311, "d0 00"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        struct mqtt_any a;
        uint8_t *g;
        enum err got = decode(rows[i].hex, rows[i].v, &a, &g);
        guard_free(g);
        if (got != ERR_OK)
            fail_msg("%s (%s): %s", rows[i].hex, mqtt_version_name(rows[i].v), err_name(got));
    }
}

static void names_are_the_specs(void **state)
{
    UNUSED(state);
    assert_string_equal(mqtt_type_name(MQTT_CONNECT), "CONNECT");
    assert_string_equal(mqtt_type_name(MQTT_UNSUBACK), "UNSUBACK");
    assert_string_equal(mqtt_type_name(MQTT_AUTH), "AUTH");
    assert_string_equal(mqtt_type_name(0), "?");
    assert_string_equal(mqtt_type_name(16), "?");
    assert_string_equal(mqtt_version_name(MQTT_V31), "3.1");
    assert_string_equal(mqtt_version_name(MQTT_V311), "3.1.1");
    assert_string_equal(mqtt_version_name(MQTT_V5), "5.0");
    assert_string_equal(mqtt_version_name(6), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_needs_more_until_complete),
        cmocka_unit_test(frame_length_has_one_to_four_bytes),
        cmocka_unit_test(frame_too_big_is_said_at_once),
        cmocka_unit_test(varint_must_be_shortest),
        cmocka_unit_test(frame_check_leaves_publish_to_its_decoder),
        cmocka_unit_test(connect_v5_with_everything),
        cmocka_unit_test(connect_v31_is_lenient),
        cmocka_unit_test(connect_says_its_version_even_when_bad),
        cmocka_unit_test(publish_splits_in_order),
        cmocka_unit_test(publish_head_adds_what_the_receiver_needs),
        cmocka_unit_test(publish_too_long_is_refused),
        cmocka_unit_test(subscribe_is_walked_item_by_item),
        cmocka_unit_test(short_forms_mean_success),
        cmocka_unit_test(encoders_write_the_short_forms),
        cmocka_unit_test(a_string_too_long_is_not_encoded),
        cmocka_unit_test(bad_packets_are_refused),
        cmocka_unit_test(their_good_twins_are_accepted),
        cmocka_unit_test(names_are_the_specs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
