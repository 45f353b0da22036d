/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_connect.c: the first packet in 3.1, 3.1.1 and 5: cut at every length, with every flag nibble and every form
 * of its length, every one of its 256 flag bytes, protocol names that are nearly right at every level.
 *
 * What is right is written here by hand from the three specifications. 5 may be told what is wrong in CONNACK; 3.1.1 is
 * closed without a word for everything but the level (3.1.1 §3.1.4, §3.2.2.3); 3.1 is free in what it calls unused.
 *
 * Cost    a few thousand small conversations, a second or two.
 * Thread  one.
 * Spec    MQTT 5 §3.1, §3.2; MQTT 3.1.1 §3.1, §3.2; MQTT 3.1 §3.1, §3.2.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/wire/talk.h"

static const struct slice NONE = {NULL, 0};

/* hold: with a ping behind it. */
static void hold(struct talks *all, struct talk *t)
{
    put_ping(talk_line(t));
    talk_hold(all, t);
}

enum { HEAD_N = 7 }; /* bytes up to the level: what says which version this is */

static const struct {
    unsigned version;
    struct slice body;
    size_t good[3];
} LOGIN[] = {
    {3, BYTES("\0\6MQIsdp\3\xf6\0\0\0\1a\0\1w\0\1x\0\1u\0\1p"), {21, 24, 27}}, /* 3.1 §3.1: the length may deny them */
    {4, BYTES("\0\4MQTT\4\xf6\0\0\0\1a\0\1w\0\1x\0\1u\0\1p"), {25}},
    {5, BYTES("\0\4MQTT\5\xf6\0\0\5\x11\0\0\0\0\0\1a\0\0\1w\0\1x\0\1u\0\1p"), {32}},
};

/* [MQTT-3.1.4-1] a CONNECT that ends too early or too late; version 5 may be told why. */
static void each_length_of_connect(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(LOGIN); i++)
        for (size_t n = 0; n <= LOGIN[i].body.len + 1; n++) {
            struct bytes body = {0};
            const size_t *good = LOGIN[i].good;
            put(&body, LOGIN[i].body.p, MIN(n, LOGIN[i].body.len));
            if (n > LOGIN[i].body.len)
                put_u8(&body, 0);
            talk_begin(&t, LOGIN[i].version);
            put_packet(talk_line(&t), 0x10, &body);
            talk_say(&t, "CONNECT with a body of %zu bytes", n);
            if (n != 0 && (n == good[0] || n == good[1] || n == good[2]))
                talk_expect(&t, "connack 00");
            else if (LOGIN[i].version < 5 || n < HEAD_N)
                talk_expect(&t, "closed");
            else
                talk_expect(&t, "connack 81; closed");
            talk_hold(&all, &t);
        }
    talks_end(&all);
}

/* The fixed header of CONNECT: a broker that knows MQTT by its first byte need not answer what it does not know. */
static void each_flag_of_connect(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(LOGIN); i++)
        for (unsigned flags = 0; flags < 16; flags++)
            for (unsigned width = 1; width <= 5; width++) {
                unsigned version = LOGIN[i].version;
                talk_begin(&t, version);
                struct bytes *line = talk_line(&t);
                put_u8(line, 0x10 | flags);
                put_varint(line, LOGIN[i].body.len, width);
                put_slice(line, LOGIN[i].body);
                talk_say(&t, "CONNECT with the flags %x, a length of %u bytes", flags, width);
                bool is_long = width == 5 || (width > 1 && version == 5);
                if (flags == 0 && !is_long)
                    talk_expect(&t, "connack 00; pingresp");
                else if (version == 3 && !is_long) /* "not used" */
                    talk_expect(&t, "closed or connack 00; pingresp");
                else
                    talk_expect(&t, version == 5 ? "closed or connack 81; closed" : "closed");
                hold(&all, &t);
            }
    talks_end(&all);
}

/* want_flags: 80 user, 40 password, 20 will retain, 18 will QoS, 04 will, 02 clean, 01 reserved. QoS and retain are 0
 * without a will: [MQTT-3.1.2-11], [MQTT-3.1.2-13]; 3.1.1: [MQTT-3.1.2-13], [MQTT-3.1.2-15]. */
static void want_flags(struct talk *t, unsigned version, unsigned flags)
{
    bool reserved = (flags & 0x01) != 0, will = (flags & 0x04) != 0, retain = (flags & 0x20) != 0;
    bool user = (flags & 0x80) != 0, password = (flags & 0x40) != 0;
    unsigned qos = flags >> 3 & 3;
    bool ok = true, may_be_82 = false;
    if (reserved && version != 3) /* [MQTT-3.1.2-3] */
        ok = false;
    if (will && qos == 3) /* [MQTT-3.1.2-12]; 3.1.1: [MQTT-3.1.2-14] */
        ok = false;
    if (!will && (qos != 0 || retain) && version != 3) { /* see above */
        ok = false;
        may_be_82 = true; /* "MUST be 0", without a code */
    }
    if (password && !user && version != 5) /* 3.1.1: [MQTT-3.1.2-22]; 3.1 §3.1: "not valid" */
        ok = false;
    if (ok)
        talk_expect(t, "connack 00; pingresp");
    else if (version == 5)
        talk_expect(t, "connack %s; closed", may_be_82 && !reserved ? "81|82" : "81");
    else
        talk_expect(t, "closed");
}

static void each_connect_flag_byte(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (unsigned version = 3; version <= 5; version++)
        for (unsigned flags = 0; flags < 256; flags++) {
            struct bytes body = {0};
            put_login(&body, version, flags, NONE);
            put_str(&body, "a");
            if ((flags & 0x04) != 0) {
                put_props(&body, version, NONE);
                put_str(&body, "will");
                put_str(&body, "gone");
            }
            if ((flags & 0x80) != 0)
                put_str(&body, "user");
            if ((flags & 0x40) != 0)
                put_str(&body, "password");
            talk_begin(&t, version);
            put_packet(talk_line(&t), 0x10, &body);
            talk_say(&t, "CONNECT flags %02x", flags);
            want_flags(&t, version, flags);
            hold(&all, &t);
        }
    talks_end(&all);
}

/* Names and levels: [MQTT-3.1.2-1] another name is another protocol; [MQTT-3.1.2-2] another level is told so: 3.1.1 in
 * its own shape, with 01; 5 with 84. */
static void each_name_and_level(void **state)
{
    (void)state;
    static const struct slice names[] = {
        BYTES("MQTT"),    BYTES("MQIsdp"),
        BYTES("MQTt"),    BYTES("mqtt"),
        BYTES("MQT"),     BYTES("MQTTT"),
        BYTES("MQisdp"),  BYTES("MQIsd"),
        BYTES("MQIsdpp"), BYTES(""),
        BYTES("MQTT\0"),  BYTES("MQTT\xff"),
        BYTES("MQ\0TT"),  BYTES("\xef\xbb\xbfMQTT"),
    };
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(names); i++)
        for (unsigned level = 0; level < 256; level++) {
            unsigned version = level == 3 || level == 5 ? level : 4;
            if (i > 1 && (level & 0x7f) > 6) /* another name is another name */
                continue;
            struct bytes body = {0};
            put_data(&body, names[i]);
            put_u8(&body, level);
            put(&body, "\x02\0\0", 3);
            put_props(&body, version, NONE);
            put_str(&body, "a");
            talk_begin(&t, version);
            put_packet(talk_line(&t), 0x10, &body);
            talk_say(&t, "protocol name %zu of the list, level %u", i, level);
            if ((i == 0 && (level == 4 || level == 5)) || (i == 1 && level == 3))
                talk_expect(&t, "connack 00; pingresp");
            else if (i <= 1)
                talk_expect(&t, i == 0 && level < 4 ? "connack 01; closed" : "connack 01|84; closed");
            else
                talk_expect(&t, "closed or connack 01|84; closed");
            hold(&all, &t);
        }
    talks_end(&all);
}

/* Will payload and password are binary data: nothing is wrong with them. */
static void binary_data(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (unsigned version = 3; version <= 5; version++)
        for (size_t k = 0; k < ARRAY_N(BAD_TEXTS); k++) {
            struct bytes body = {0};
            put_login(&body, version, 0xc6, NONE);
            put_str(&body, "a");
            put_props(&body, version, NONE);
            put_str(&body, "w");
            put_data(&body, BAD_TEXTS[k]);
            put_str(&body, "u");
            put_data(&body, BAD_TEXTS[k]);
            talk_begin(&t, version);
            put_packet(talk_line(&t), 0x10, &body);
            talk_say(&t, "data %zu as will payload and password", k);
            talk_expect(&t, "connack 00; pingresp");
            hold(&all, &t);
        }
    talks_end(&all);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_length_of_connect),
        cmocka_unit_test(each_flag_of_connect),
        cmocka_unit_test(each_connect_flag_byte),
        cmocka_unit_test(each_name_and_level),
        cmocka_unit_test(binary_data),
    };
    return cmocka_run_group_tests_name("mqtt connect", tests, NULL, NULL);
}
