/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_reason.c: the reason codes against MQTT 5 table 2-6, and the ways between them, `enum err` and 3.x.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto_mqtt/mqtt_reason.h"

/* The codes each packet may carry, from the packets' own sections: [MQTT-3.2.2-8], [MQTT-3.4.2-1], [MQTT-3.5.2-1],
 * [MQTT-3.6.2-1], [MQTT-3.7.2-1], [MQTT-3.9.3-2], [MQTT-3.11.3-2], [MQTT-3.14.2-1], [MQTT-3.15.2-1]. */
static const struct listed {
    enum mqtt_type at;
    const char *codes;
    size_t n;
} LISTED[] = {
    {MQTT_CONNACK, "\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f", 22},
    {MQTT_PUBACK, "\x00\x10\x80\x83\x87\x90\x91\x97\x99", 9},
    {MQTT_PUBREC, "\x00\x10\x80\x83\x87\x90\x91\x97\x99", 9},
    {MQTT_PUBREL, "\x00\x92", 2},
    {MQTT_PUBCOMP, "\x00\x92", 2},
    {MQTT_SUBACK, "\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2", 12},
    {MQTT_UNSUBACK, "\x00\x11\x80\x83\x87\x8f\x91", 7},
    {MQTT_DISCONNECT,
     "\x00\x04\x80\x81\x82\x83\x87\x89\x8b\x8c\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0"
     "\xa1\xa2",
     30},
    {MQTT_AUTH, "\x00\x18\x19", 3},
    {MQTT_CONNECT, "", 0},
    {MQTT_PUBLISH, "", 0},
    {MQTT_SUBSCRIBE, "", 0},
    {MQTT_PINGREQ, "", 0},
};

static void codes_stand_where_the_spec_lists_them(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(LISTED); i++)
        for (unsigned code = 0; code < 300; code++) {
            bool want = code < 256 && LISTED[i].n != 0 && memchr(LISTED[i].codes, (int)code, LISTED[i].n) != NULL;
            if (mqtt_reason_is_allowed(code, LISTED[i].at) != want)
                fail_msg("0x%02x in %s", code, mqtt_type_name(LISTED[i].at));
        }
}

static void names_depend_on_the_packet_for_zero(void **state)
{
    UNUSED(state);
    assert_string_equal(mqtt_reason_name(0x00, MQTT_CONNACK), "Success");
    assert_string_equal(mqtt_reason_name(0x00, MQTT_SUBACK), "Granted QoS 0");
    assert_string_equal(mqtt_reason_name(0x00, MQTT_DISCONNECT), "Normal disconnection");
    assert_string_equal(mqtt_reason_name(0x8e, MQTT_DISCONNECT), "Session taken over");
    assert_string_equal(mqtt_reason_name(0xa2, MQTT_SUBACK), "Wildcard Subscriptions not supported");
    assert_string_equal(mqtt_reason_name(0x03, MQTT_SUBACK), "?");
    assert_string_equal(mqtt_reason_name(0xa3, MQTT_CONNACK), "?");
    assert_string_equal(mqtt_reason_name(1000, MQTT_CONNACK), "?");
}

/* [MQTT-3.2.2-8], [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.9.3-2], [MQTT-3.11.3-2], [MQTT-3.14.2-1] */
static void every_error_has_an_allowed_code_everywhere(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(LISTED); i++) {
        if (LISTED[i].n == 0 || LISTED[i].at == MQTT_AUTH)
            continue;
        for (int e = 0; e < ERR_N; e++) {
            uint8_t code = mqtt_reason_from_err((enum err)e, LISTED[i].at);
            bool good = e == ERR_OK || e == ERR_NO_MATCH || (e == ERR_NOT_FOUND && LISTED[i].at == MQTT_UNSUBACK);
            assert_true(mqtt_reason_is_allowed(code, LISTED[i].at));
            assert_true((code < 0x80) == good);
        }
    }
}

static void errors_say_what_they_are(void **state)
{
    static const struct {
        enum err e;
        enum mqtt_type at;
        uint8_t want;
    } rows[] = {
        {ERR_OK, MQTT_PUBACK, 0x00},           {ERR_MALFORMED, MQTT_DISCONNECT, 0x81},
        {ERR_PROTOCOL, MQTT_CONNACK, 0x82},    {ERR_TOO_BIG, MQTT_DISCONNECT, 0x95},
        {ERR_FULL, MQTT_PUBACK, 0x97},         {ERR_FULL, MQTT_SUBACK, 0x97},
        {ERR_FULL, MQTT_UNSUBACK, 0x80},       {ERR_DENIED, MQTT_PUBREC, 0x87},
        {ERR_DENIED, MQTT_SUBACK, 0x87},       {ERR_INVALID, MQTT_PUBACK, 0x90},
        {ERR_INVALID, MQTT_SUBACK, 0x8f},      {ERR_INVALID, MQTT_DISCONNECT, 0x90},
        {ERR_UNSUPPORTED, MQTT_CONNACK, 0x84}, {ERR_NO_MATCH, MQTT_PUBACK, 0x10},
        {ERR_NO_MATCH, MQTT_DISCONNECT, 0x00}, {ERR_NO_MATCH, MQTT_UNSUBACK, 0x11},
        {ERR_NOT_FOUND, MQTT_PUBREL, 0x92},    {ERR_FULL, MQTT_PUBCOMP, 0x92},
        {ERR_STORE, MQTT_CONNACK, 0x88},       {ERR_STORE, MQTT_PUBACK, 0x83},
        {ERR_NOMEM, MQTT_CONNACK, 0x89},       {ERR_IO, MQTT_DISCONNECT, 0x80},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(rows); i++)
        if (mqtt_reason_from_err(rows[i].e, rows[i].at) != rows[i].want)
            fail_msg("%s in %s", err_name(rows[i].e), mqtt_type_name(rows[i].at));
}

static void the_way_back_keeps_good_and_bad_apart(void **state)
{
    UNUSED(state);
    for (unsigned code = 0; code < 256; code++)
        assert_true((mqtt_err_from_reason(code) == ERR_OK) == (code < 0x80));
    assert_int_equal(mqtt_err_from_reason(0x97), ERR_FULL);
    assert_int_equal(mqtt_err_from_reason(0x86), ERR_DENIED);
    assert_int_equal(mqtt_err_from_reason(0x84), ERR_UNSUPPORTED);
    assert_int_equal(mqtt_err_from_reason(0x95), ERR_TOO_BIG);
    assert_int_equal(mqtt_err_from_reason(0x90), ERR_INVALID);
    assert_int_equal(mqtt_err_from_reason(0x89), ERR_AGAIN);
    assert_int_equal(mqtt_err_from_reason(0x92), ERR_NOT_FOUND);
}

static void three_x_gets_the_nearest_code(void **state) /* MQTT 3.1.1 §3.2.2.3; 3.1.1: [MQTT-3.9.3-2] */
{
    UNUSED(state);
    for (unsigned code = 0; code < 256; code++) {
        assert_true(mqtt_v3_connack_from_reason(code) <= MQTT_V3_DENIED);
        assert_true((mqtt_v3_connack_from_reason(code) == 0) == (code == 0));
        assert_int_equal(mqtt_v3_suback_from_reason(code), code <= 2 ? code : 0x80);
    }
    assert_int_equal(mqtt_v3_connack_from_reason(0x84), 1);
    assert_int_equal(mqtt_v3_connack_from_reason(0x85), 2);
    assert_int_equal(mqtt_v3_connack_from_reason(0x88), 3);
    assert_int_equal(mqtt_v3_connack_from_reason(0x86), 4);
    assert_int_equal(mqtt_v3_connack_from_reason(0x87), 5);
    assert_string_equal(mqtt_v3_connack_name(0), "Connection Accepted");
    assert_string_equal(mqtt_v3_connack_name(5), "not authorized");
    assert_string_equal(mqtt_v3_connack_name(6), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_stand_where_the_spec_lists_them),
        cmocka_unit_test(names_depend_on_the_packet_for_zero),
        cmocka_unit_test(every_error_has_an_allowed_code_everywhere),
        cmocka_unit_test(errors_say_what_they_are),
        cmocka_unit_test(the_way_back_keeps_good_and_bad_apart),
        cmocka_unit_test(three_x_gets_the_nearest_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
