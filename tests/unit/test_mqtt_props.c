/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_props.c: properties: the table against the spec's, every property in every packet, values and repetitions
 * that must be refused, and the writers against the reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto_mqtt/mqtt_props.h"
#include "tests/support/guard.h"
#include "tests/support/mqtt_any.h"

/* Where each property may stand, letter by letter as in MQTT 5 table 2-4: C CONNECT, c CONNACK, P PUBLISH, W will,
 * a the four acks, S SUBSCRIBE, s SUBACK, U UNSUBSCRIBE, u UNSUBACK, D DISCONNECT, A AUTH. `sample` is one valid item.
 */
static const struct known {
    uint8_t id;
    const char *where;
    struct slice sample;
} KNOWN[] = {
    {0x01, "PW", {(const uint8_t *)"\x01\x01", 2}},
    {0x02, "PW", {(const uint8_t *)"\x02\x00\x00\x00\x3c", 5}},
    {0x03, "PW", {(const uint8_t *)"\x03\x00\x01x", 4}},
    {0x08, "PW", {(const uint8_t *)"\x08\x00\x03r/t", 6}},
    {0x09, "PW", {(const uint8_t *)"\x09\x00\x02\x00\xff", 5}},
    {0x0B, "PS", {(const uint8_t *)"\x0b\x80\x01", 3}},
    {0x11, "CcD", {(const uint8_t *)"\x11\xff\xff\xff\xff", 5}},
    {0x12, "c", {(const uint8_t *)"\x12\x00\x01i", 4}},
    {0x13, "c", {(const uint8_t *)"\x13\x00\x0a", 3}},
    {0x15, "CcA", {(const uint8_t *)"\x15\x00\x01m", 4}},
    {0x17, "C", {(const uint8_t *)"\x17\x00", 2}},
    {0x18, "W", {(const uint8_t *)"\x18\x00\x00\x00\x00", 5}},
    {0x19, "C", {(const uint8_t *)"\x19\x01", 2}},
    {0x1A, "c", {(const uint8_t *)"\x1a\x00\x00", 3}},
    {0x1C, "cD", {(const uint8_t *)"\x1c\x00\x01s", 4}},
    {0x1F, "casuDA", {(const uint8_t *)"\x1f\x00\x01w", 4}},
    {0x21, "Cc", {(const uint8_t *)"\x21\x00\x01", 3}},
    {0x22, "Cc", {(const uint8_t *)"\x22\x00\x00", 3}},
    {0x23, "P", {(const uint8_t *)"\x23\x00\x00", 3}}, /* alias 0: let through, see the header */
    {0x24, "c", {(const uint8_t *)"\x24\x01", 2}},
    {0x25, "c", {(const uint8_t *)"\x25\x00", 2}},
    {0x26, "CcPWaSsUuDA", {(const uint8_t *)"\x26\x00\x01k\x00\x01v", 7}},
    {0x27, "Cc", {(const uint8_t *)"\x27\x00\x00\x00\x01", 5}},
    {0x28, "c", {(const uint8_t *)"\x28\x01", 2}},
    {0x29, "c", {(const uint8_t *)"\x29\x01", 2}},
    {0x2A, "c", {(const uint8_t *)"\x2a\x01", 2}},
};

static char letter_of(enum mqtt_type at)
{
    return "WCcPaaaaSsUu--DA"[at];
}

static enum err collect(struct slice block, enum mqtt_type at, struct mqtt_props *out)
{
    struct slice g = guard_slice(block);
    enum err e = mqtt_props_collect(g, at, out);
    guard_free((void *)(uintptr_t)g.p);
    return e; /* numbers of *out stay good, slices do not */
}

static void each_property_stands_where_the_spec_says(void **state) /* MQTT 5 §2.2.2.2 */
{
    struct mqtt_props p;
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(KNOWN); i++)
        for (int at = MQTT_WILL; at <= MQTT_AUTH; at++) {
            bool may = strchr(KNOWN[i].where, letter_of((enum mqtt_type)at)) != NULL;
            assert_true(mqtt_prop_is_allowed(KNOWN[i].id, (enum mqtt_type)at) == may);
            enum err e = collect(KNOWN[i].sample, (enum mqtt_type)at, &p);
            if (e != (may ? ERR_OK : ERR_MALFORMED))
                fail_msg("%s in %s: %s", mqtt_prop_name(KNOWN[i].id), mqtt_type_name((unsigned)at), err_name(e));
            if (may)
                assert_true(p.has == UINT64_C(1) << KNOWN[i].id);
        }
    assert_true(mqtt_prop_is_allowed(MQTT_PROP_AUTH_DATA, MQTT_CONNECT)); /* not in KNOWN: needs company, see below */
    assert_true(mqtt_prop_is_allowed(MQTT_PROP_AUTH_DATA, MQTT_CONNACK));
    assert_true(mqtt_prop_is_allowed(MQTT_PROP_AUTH_DATA, MQTT_AUTH));
    assert_false(mqtt_prop_is_allowed(MQTT_PROP_AUTH_DATA, MQTT_PUBLISH));
    assert_false(mqtt_prop_is_allowed(200, MQTT_CONNECT));
}

static void unknown_ids_are_malformed(void **state)
{
    struct mqtt_props p;
    UNUSED(state);
    for (unsigned id = 0; id < 256; id++) {
        bool known = id == MQTT_PROP_AUTH_DATA;
        for (size_t i = 0; i < ARRAY_N(KNOWN); i++)
            known = known || KNOWN[i].id == id;
        uint8_t block[2] = {(uint8_t)id, 0};
        assert_true(known == (strcmp(mqtt_prop_name(id), "?") != 0));
        if (!known)
            assert_int_equal(collect(slice_make(block, 2), MQTT_PUBLISH, &p), ERR_MALFORMED);
    }
}

static void twice_is_a_protocol_error_but_for_two(void **state)
{
    struct mqtt_props p;
    uint8_t block[32];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(KNOWN); i++) {
        size_t n = KNOWN[i].sample.len;
        memcpy(block, KNOWN[i].sample.p, n);
        memcpy(block + n, KNOWN[i].sample.p, n);
        for (int at = MQTT_WILL; at <= MQTT_AUTH; at++) {
            if (!mqtt_prop_is_allowed(KNOWN[i].id, (enum mqtt_type)at))
                continue;
            bool repeats = KNOWN[i].id == MQTT_PROP_USER || (KNOWN[i].id == MQTT_PROP_SUB_ID && at == MQTT_PUBLISH);
            assert_int_equal(collect(slice_make(block, 2 * n), (enum mqtt_type)at, &p),
                             repeats ? ERR_OK : ERR_PROTOCOL);
            if (repeats) {
                assert_int_equal(KNOWN[i].id == MQTT_PROP_USER ? p.user_n : p.sub_id_n, 2);
                assert_true(p.has == UINT64_C(1) << KNOWN[i].id);
            }
        }
    }
}

static void cut_short_is_malformed(void **state)
{
    struct mqtt_props p;
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(KNOWN); i++)
        for (int at = MQTT_WILL; at <= MQTT_AUTH; at++)
            for (size_t n = 1; n < KNOWN[i].sample.len; n++)
                assert_int_equal(collect(slice_make(KNOWN[i].sample.p, n), (enum mqtt_type)at, &p), ERR_MALFORMED);
}

static void values_out_of_range_are_refused(void **state)
{
    static const struct {
        const char *why;
        enum mqtt_type at;
        enum err want;
        const char *bytes;
        size_t n;
    } rows[] = {
        {"§3.1.2.11.3 Receive Maximum 0", MQTT_CONNECT, ERR_PROTOCOL, "\x21\x00\x00", 3},
        {"§3.1.2.11.4 Maximum Packet Size 0", MQTT_CONNECT, ERR_PROTOCOL, "\x27\x00\x00\x00\x00", 5},
        {"§3.1.2.11.6 Request Response 2", MQTT_CONNECT, ERR_PROTOCOL, "\x19\x02", 2},
        {"§3.1.2.11.7 Request Problem 2", MQTT_CONNECT, ERR_PROTOCOL, "\x17\x02", 2},
        {"§3.1.2.11.10 data without method", MQTT_CONNECT, ERR_PROTOCOL, "\x16\x00\x01x", 4},
        {"§3.1.2.11.10 data with method", MQTT_CONNECT, ERR_OK, "\x16\x00\x01x\x15\x00\x01m", 8},
        {"§3.2.2.3.4 Maximum QoS 2", MQTT_CONNACK, ERR_PROTOCOL, "\x24\x02", 2},
        {"§3.2.2.3.5 Retain Available 255", MQTT_CONNACK, ERR_PROTOCOL, "\x25\xff", 2},
        {"§3.2.2.3.11 Wildcard Available 2", MQTT_CONNACK, ERR_PROTOCOL, "\x28\x02", 2},
        {"§3.2.2.3.12 Identifier Available 2", MQTT_CONNACK, ERR_PROTOCOL, "\x29\x02", 2},
        {"§3.2.2.3.13 Shared Available 2", MQTT_CONNACK, ERR_PROTOCOL, "\x2a\x02", 2},
        {"§3.3.2.3.2 Payload Format 2", MQTT_PUBLISH, ERR_PROTOCOL, "\x01\x02", 2},
        {"§3.3.2.3.8 Subscription Identifier 0", MQTT_SUBSCRIBE, ERR_PROTOCOL, "\x0b\x00", 2},
        {"[MQTT-1.5.5-1] Identifier not the shortest", MQTT_SUBSCRIBE, ERR_MALFORMED, "\x0b\x81\x00", 3},
        {"§1.5.5 Identifier of five bytes", MQTT_SUBSCRIBE, ERR_MALFORMED, "\x0b\x80\x80\x80\x80\x01", 6},
        {"§1.5.5 the greatest Identifier", MQTT_SUBSCRIBE, ERR_OK, "\x0b\xff\xff\xff\x7f", 5},
        {"[MQTT-3.3.2-14] Response Topic with +", MQTT_PUBLISH, ERR_PROTOCOL,
         "\x08\x00\x03"
         "a/+",
         6},
        {"[MQTT-3.3.2-14] Response Topic with #", MQTT_WILL, ERR_PROTOCOL, "\x08\x00\x01#", 4},
        {"[MQTT-4.7.3-1] Response Topic empty", MQTT_PUBLISH, ERR_PROTOCOL, "\x08\x00\x00", 3},
        {"[MQTT-3.3.2-13] Response Topic not UTF-8", MQTT_PUBLISH, ERR_MALFORMED, "\x08\x00\x01\xff", 4},
        {"[MQTT-3.3.2-19] Content Type not UTF-8", MQTT_PUBLISH, ERR_MALFORMED, "\x03\x00\x02\xc3x", 5},
        {"[MQTT-1.5.4-2] U+0000", MQTT_PUBACK, ERR_MALFORMED, "\x1f\x00\x02x\x00", 5},
        {"[MQTT-1.5.4-1] surrogate in a name", MQTT_PUBACK, ERR_MALFORMED, "\x26\x00\x03\xed\xa0\x80\x00\x00", 8},
        {"[MQTT-1.5.7-1] value not UTF-8", MQTT_PUBACK, ERR_MALFORMED, "\x26\x00\x00\x00\x01\x80", 6},
        {"§1.5.6 binary may hold anything", MQTT_PUBLISH, ERR_OK, "\x09\x00\x02\xff\x00", 5},
        {"§3.3.2.3.4 alias 0 is the adapter's", MQTT_PUBLISH, ERR_OK, "\x23\x00\x00", 3},
    };
    struct mqtt_props p;
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        enum err e = collect(slice_make(rows[i].bytes, rows[i].n), rows[i].at, &p);
        if (e != rows[i].want)
            fail_msg("%s: got %s, want %s", rows[i].why, err_name(e), err_name(rows[i].want));
    }
}

static void all_connack_properties_survive_a_round_trip(void **state)
{
    struct mqtt_props p = {
        .session_expiry_s = UINT32_MAX,
        .receive_max = 65535,
        .qos_max = 1,
        .has_retain = 1,
        .packet_bytes_max = 1u << 28,
        .assigned_id = SLICE("id"),
        .alias_max = 7,
        .reason = SLICE("because"),
        .has_wildcard = 1,
        .has_sub_id = 0,
        .has_shared = 1,
        .server_keepalive_s = 30,
        .response_info = SLICE("re"),
        .server_ref = SLICE("other"),
        .auth_method = SLICE("M"),
        .auth_data = SLICE("\x00\x01"),
        .block = SLICE("\x26\x00\x01"
                       "b\x00\x01"
                       "1\x24\x01\x26\x00\x01"
                       "a\x00\x00"), /* of a block, only the User Properties are copied */
    };
    struct mqtt_props q;
    uint32_t len = 0;
    UNUSED(state);
    for (unsigned id = 0; id < MQTT_PROP_N; id++)
        if (mqtt_prop_is_allowed(id, MQTT_CONNACK))
            p.has |= UINT64_C(1) << id;
    size_t bytes = mqtt_props_bytes(&p);
    uint8_t *out = guard_room(4 + bytes);
    ptrdiff_t n = mqtt_props_encode(&p, MQTT_CONNACK, out, 4 + bytes);
    ptrdiff_t head = mqtt_varint_get(out, 4, &len);
    assert_int_equal(len, bytes);
    assert_int_equal(n, head + (ptrdiff_t)bytes);
    assert_int_equal(mqtt_props_collect(slice_make(out + head, len), MQTT_CONNACK, &q), ERR_OK);
    assert_true(mqtt_props_is_equal(&p, &q));
    assert_int_equal(q.user_n, 2);
    for (size_t cap = 0; cap < (size_t)n; cap++)
        assert_int_equal(mqtt_props_encode(&p, MQTT_CONNACK, out, cap), -ERR_TOO_BIG);
    guard_free(out);
}

static void equality_sees_each_difference(void **state) /* so that the round trips above mean something */
{
    struct mqtt_props a = {.has = MQTT_HAS(RECEIVE_MAX) | MQTT_HAS(REASON), .receive_max = 1, .reason = SLICE("x")};
    struct mqtt_props b = a;
    UNUSED(state);
    assert_true(mqtt_props_is_equal(&a, &b));
    b.receive_max = 2;
    assert_false(mqtt_props_is_equal(&a, &b));
    b = a;
    b.reason = SLICE("y");
    assert_false(mqtt_props_is_equal(&a, &b));
    b = a;
    b.block = SLICE("\x26\x00\x00\x00\x00");
    assert_false(mqtt_props_is_equal(&a, &b));
    b = a;
    b.has |= MQTT_HAS(ALIAS_MAX);
    assert_false(mqtt_props_is_equal(&a, &b));
}

static void writer_builds_what_next_walks(void **state)
{
    uint8_t *g = guard_room(34);
    struct mqtt_props_writer w = {.p = g, .cap = 34};
    struct mqtt_prop_item item;
    UNUSED(state);
    mqtt_props_put_num(&w, MQTT_PROP_PAYLOAD_FORMAT, 1);
    mqtt_props_put_num(&w, MQTT_PROP_MESSAGE_EXPIRY, 0x01020304);
    mqtt_props_put_num(&w, MQTT_PROP_SUB_ID, 200);
    mqtt_props_put_num(&w, MQTT_PROP_ALIAS, 0x0506);
    mqtt_props_put_slice(&w, MQTT_PROP_CONTENT_TYPE, SLICE("text"));
    mqtt_props_put_user(&w, SLICE("name"), SLICE("value"));
    assert_false(w.bad);
    assert_int_equal(w.len, 34);
    struct slice rest = slice_make(w.p, w.len);
    assert_int_equal(mqtt_props_next(&rest, &item), 2);
    assert_true(item.id == MQTT_PROP_PAYLOAD_FORMAT && item.wire == MQTT_PROP_U8 && item.num == 1);
    assert_int_equal(mqtt_props_next(&rest, &item), 5);
    assert_true(item.id == MQTT_PROP_MESSAGE_EXPIRY && item.wire == MQTT_PROP_U32 && item.num == 0x01020304);
    assert_int_equal(mqtt_props_next(&rest, &item), 3);
    assert_true(item.id == MQTT_PROP_SUB_ID && item.wire == MQTT_PROP_VARINT && item.num == 200);
    assert_int_equal(mqtt_props_next(&rest, &item), 3);
    assert_true(item.id == MQTT_PROP_ALIAS && item.wire == MQTT_PROP_U16 && item.num == 0x0506);
    assert_int_equal(mqtt_props_next(&rest, &item), 7);
    assert_true(item.wire == MQTT_PROP_UTF8 && slice_eq_str(item.value, "text"));
    assert_int_equal(mqtt_props_next(&rest, &item), 14);
    assert_true(item.wire == MQTT_PROP_PAIR && slice_eq_str(item.name, "name") && slice_eq_str(item.value, "value"));
    assert_int_equal(mqtt_props_next(&rest, &item), 0);
    mqtt_props_put_num(&w, MQTT_PROP_PAYLOAD_FORMAT, 1); /* full: sticky, and what is there stays whole */
    assert_true(w.bad);
    assert_int_equal(w.len, 34);
    guard_free(g);
}

static void several_subscription_ids_are_kept(void **state) /* §3.3.2.3.8 */
{
    struct slice block = SLICE("\x0b\x05\x26\x00\x01k\x00\x00\x0b\x81\x01\x0b\x05");
    struct mqtt_props p, q;
    uint8_t out[32];
    UNUSED(state);
    assert_int_equal(mqtt_props_collect(block, MQTT_PUBLISH, &p), ERR_OK);
    assert_int_equal(p.sub_id_n, 3);
    assert_int_equal(p.sub_id, 5);
    ptrdiff_t n = mqtt_props_encode(&p, MQTT_PUBLISH, out, sizeof out);
    assert_int_equal(n, 1 + (ptrdiff_t)block.len);
    assert_int_equal(mqtt_props_collect(slice_make(out + 1, (size_t)n - 1), MQTT_PUBLISH, &q), ERR_OK);
    assert_true(mqtt_props_is_equal(&p, &q));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_property_stands_where_the_spec_says),
        cmocka_unit_test(unknown_ids_are_malformed),
        cmocka_unit_test(twice_is_a_protocol_error_but_for_two),
        cmocka_unit_test(cut_short_is_malformed),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(all_connack_properties_survive_a_round_trip),
        cmocka_unit_test(equality_sees_each_difference),
        cmocka_unit_test(writer_builds_what_next_walks),
        cmocka_unit_test(several_subscription_ids_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
