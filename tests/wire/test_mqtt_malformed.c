/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_malformed.c: every packet type in 3.1, 3.1.1 and 5 with every flag nibble, every length, every truncation,
 * every option byte; texts that are none wherever a text stands; what only servers say. test_mqtt_connect.c is the same
 * for CONNECT.
 *
 *     hello ─► one packet, good or bad ─► ping      good: its answer, and PINGRESP
 *                                                   bad: the code the specification names (5), the end (all)
 *
 * What is right is written here by hand, predicate by predicate, from the specifications. Where they leave a choice, an
 * expectation lists all that they allow; 3.1, which hardly ever says what is an error, is held to what its text calls
 * reserved, and is free in what it calls unused.
 *
 * Cost    some ten thousand small conversations, a few seconds.
 * Thread  one.
 * Spec    MQTT 5 §1.5, §2, §3; MQTT 3.1.1 §1.5, §2, §3; MQTT 3.1 §2, §3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/wire/talk.h"

static const struct slice NONE = {NULL, 0};

/* want: behind CONNACK; `bad_5` is the code of DISCONNECT in version 5 when `says` is NULL. */
static void want(struct talk *t, const char *says, const char *bad_5)
{
    const char *end = t->version == 5 ? "; disconnect " : "", *code = t->version == 5 ? bad_5 : "";
    if (says != NULL)
        talk_expect(t, "connack 00; %s%spingresp", says, says[0] != '\0' ? "; " : "");
    else
        talk_expect(t, "connack 00%s%s; closed", end, code);
}

/* hello_then: a new conversation with its hello; the line that is returned is the probe. */
static struct bytes *hello_then(struct talk *t, unsigned version)
{
    talk_begin(t, version);
    put_hello(talk_line(t), version, NONE);
    struct bytes *line = talk_line(t);
    talk_probe(t);
    return line;
}

/* hold: with a ping behind it. */
static void hold(struct talks *all, struct talk *t)
{
    put_ping(talk_line(t));
    talk_hold(all, t);
}

/* ---- good packets -------------------------------------------------------------------------------------------- */

enum { V31 = 1, V311 = 2, V3 = 3, V5 = 4, ANY = 7 }; /* sets of versions */

static bool is_in(unsigned set, unsigned version)
{
    return (set >> (version - 3) & 1) != 0;
}

/* Packets a client sends after CONNECT. `good` lists the lengths at which the body, cut there (or with one zero byte
 * more), is good, and the answer; `other` is what happens at all other lengths in version 5 (NULL: 81). */
static const struct shape {
    const char *name;
    unsigned versions, first;
    struct slice body;
    struct {
        size_t n;
        const char *says;
    } good[4];
    const char *other;
} SHAPE[] = {
    {"PUBLISH QoS 0", V3, 0x30, BYTES("\0\1txy"), {{3, ""}, {4, ""}, {5, ""}, {6, ""}}, NULL},
    {"PUBLISH QoS 1", V3, 0x32, BYTES("\0\1t\0\5x"), {{5, "puback 5"}, {6, "puback 5"}, {7, "puback 5"}}, NULL},
    {"PUBLISH QoS 2", V3, 0x34, BYTES("\0\1t\0\5x"), {{5, "pubrec 5"}, {6, "pubrec 5"}, {7, "pubrec 5"}}, NULL},
    {"PUBACK", V3, 0x40, BYTES("\0\7"), {{2, ""}}, NULL},
    {"PUBREC", V3, 0x50, BYTES("\0\7"), {{2, "pubrel 7"}}, NULL},
    {"PUBREL", V3, 0x62, BYTES("\0\7"), {{2, "pubcomp 7"}}, NULL},
    {"PUBCOMP", V3, 0x70, BYTES("\0\7"), {{2, ""}}, NULL},
    {"SUBSCRIBE", V3, 0x82, BYTES("\0\2\0\1a\1\0\2b/\2"), {{6, "suback 2 01"}, {11, "suback 2 01 02"}}, NULL},
    {"UNSUBSCRIBE", V3, 0xa2, BYTES("\0\3\0\1a\0\2b/"), {{5, "unsuback 3"}, {9, "unsuback 3"}}, NULL},
    {"PINGREQ", ANY, 0xc0, BYTES(""), {{0, "pingresp"}}, NULL},
    {"PUBLISH QoS 0", V5, 0x30, BYTES("\0\1t\0x"), {{4, ""}, {5, ""}, {6, ""}}, NULL},
    {"PUBLISH QoS 1",
     V5,
     0x32,
     BYTES("\0\1t\0\5\7\x26\0\1k\0\1vx"),
     {{13, "puback 5 10"}, {14, "puback 5 10"}, {15, "puback 5 10"}},
     NULL},
    {"PUBLISH QoS 2",
     V5,
     0x34,
     BYTES("\0\1t\0\5\0x"),
     {{6, "pubrec 5 10"}, {7, "pubrec 5 10"}, {8, "pubrec 5 10"}},
     NULL},
    {"PUBACK", V5, 0x40, BYTES("\0\7\0\0"), {{2, ""}, {3, ""}, {4, ""}}, NULL},
    {"PUBACK", V5, 0x40, BYTES("\0\7\0\5\x1f\0\2hi"), {{2, ""}, {3, ""}, {9, ""}}, NULL},
    {"PUBREC", V5, 0x50, BYTES("\0\7\0\0"), {{2, "pubrel 7 92"}, {3, "pubrel 7 92"}, {4, "pubrel 7 92"}}, NULL},
    {"PUBREL", V5, 0x62, BYTES("\0\7\0\0"), {{2, "pubcomp 7 92"}, {3, "pubcomp 7 92"}, {4, "pubcomp 7 92"}}, NULL},
    {"PUBCOMP", V5, 0x70, BYTES("\0\7\0\0"), {{2, ""}, {3, ""}, {4, ""}}, NULL},
    {"SUBSCRIBE",
     V5,
     0x82,
     BYTES("\0\2\2\x0b\5\0\1a\1\0\2b/\2"),
     {{5, "82"}, {9, "suback 2 01"}, {14, "suback 2 01 02"}}, /* [MQTT-3.8.3-2] no filter: Protocol Error */
     NULL},
    {"UNSUBSCRIBE",
     V5,
     0xa2,
     BYTES("\0\3\0\0\1a\0\2b/"),
     {{3, "82"}, {6, "unsuback 3 11"}, {10, "unsuback 3 11 11"}}, /* [MQTT-3.10.3-2] */
     NULL},
    {"AUTH", V5, 0xf0, BYTES("\x18\4\x15\0\1m"), {{0, "82"}}, "81|82"}, /* [MQTT-4.12.0-7] */
};

/* says_at: the answer to `s` when its body has n bytes; NULL: none, and *code is what it ends with in version 5. */
static const char *says_at(const struct shape *s, size_t n, const char **code)
{
    *code = s->other != NULL ? s->other : "81";
    for (size_t i = 0; i < ARRAY_N(s->good); i++) {
        const char *says = s->good[i].says;
        if (says == NULL || s->good[i].n != n)
            continue;
        if (says[0] != '8')
            return says;
        *code = says;
    }
    return NULL;
}

/* Every truncation of every packet, and one byte too many: the fixed header says exactly what is there. */
static void each_length_of_each_packet(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(SHAPE); i++)
        for (unsigned version = 3; version <= 5; version++)
            for (size_t n = 0; is_in(SHAPE[i].versions, version) && n <= SHAPE[i].body.len + 1; n++) {
                const struct shape *s = &SHAPE[i];
                struct bytes body = {0};
                put(&body, s->body.p, MIN(n, s->body.len));
                if (n > s->body.len)
                    put_u8(&body, 0);
                put_packet(hello_then(&t, version), s->first, &body);
                talk_say(&t, "%s with a body of %zu bytes", s->name, n);
                const char *code, *says = says_at(s, n, &code);
                want(&t, says, code);
                hold(&all, &t);
            }
    talks_end(&all);
}

/* The remaining length in 1 to 5 bytes. [MQTT-1.5.5-1] makes it the shortest form in version 5; 3.x does not say so,
 * but has four bytes at most (3.1.1 §2.2.3). */
static void each_form_of_the_length(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(SHAPE); i++)
        for (unsigned version = 3; version <= 5; version++)
            for (unsigned width = 1; is_in(SHAPE[i].versions, version) && width <= 5; width++) {
                const struct shape *s = &SHAPE[i];
                struct bytes *line = hello_then(&t, version);
                put_u8(line, s->first);
                put_varint(line, s->body.len, width);
                put_slice(line, s->body);
                talk_say(&t, "%s with a length of %u bytes", s->name, width);
                const char *code, *says = says_at(s, s->body.len, &code);
                bool is_bad = width == 5 || (width > 1 && version == 5);
                want(&t, is_bad ? NULL : says, is_bad && s->first != 0xf0 ? "81" : code);
                hold(&all, &t);
            }
    talks_end(&all);
}

/* ---- the fixed header ---------------------------------------------------------------------------------------- */

/* flags_are_ok: of what a client sends, PUBLISH and CONNECT apart. 5: [MQTT-2.1.3-1]; 3.1.1: [MQTT-2.2.2-1],
 * [MQTT-2.2.2-2], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]. 3.1 §2.1: what is "not used" may be anything,
 * PUBREL, SUBSCRIBE and UNSUBSCRIBE have QoS 1 and may have DUP. */
static bool flags_are_ok(unsigned version, unsigned type, unsigned flags)
{
    bool is_qos1 = type == 6 || type == 8 || type == 10;
    if (version == 3)
        return !is_qos1 || (flags & 0x06) == 0x02;
    return flags == (is_qos1 ? 2u : 0u);
}

static void each_flag_in_each_packet(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(SHAPE); i++)
        for (unsigned version = 3; version <= 5; version++)
            for (unsigned flags = 0; is_in(SHAPE[i].versions, version) && flags < 16; flags++) {
                const struct shape *s = &SHAPE[i];
                unsigned type = s->first >> 4;
                if (type == 3)
                    continue;
                struct bytes body = {0};
                put_slice(&body, s->body);
                put_packet(hello_then(&t, version), type << 4 | flags, &body);
                talk_say(&t, "%s with the flags %x", s->name, flags);
                const char *code, *says = says_at(s, s->body.len, &code);
                bool is_ok = flags_are_ok(version, type, flags);
                want(&t, is_ok ? says : NULL, is_ok || type == 15 ? code : "81");
                hold(&all, &t);
            }
    talks_end(&all);
}

/* PUBLISH: QoS 3 is malformed [MQTT-3.3.1-4]; DUP at QoS 0 must not be [MQTT-3.3.1-2] but in 3.1, which says nothing.
 */
static void each_flag_in_publish(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (unsigned version = 3; version <= 5; version++)
        for (unsigned flags = 0; flags < 16; flags++) {
            unsigned qos = flags >> 1 & 3;
            const char *v3[] = {"", "puback 5", "pubrec 5", NULL}, *v5[] = {"", "puback 5 10", "pubrec 5 10", NULL};
            put_publish(hello_then(&t, version), version, flags, "t", 5, NONE, "x");
            talk_say(&t, "PUBLISH with the flags %x", flags);
            bool is_dup_0 = (flags & 8) != 0 && qos == 0 && version != 3;
            want(&t, is_dup_0 ? NULL : version == 5 ? v5[qos] : v3[qos], is_dup_0 ? "81|82" : "81");
            hold(&all, &t);
        }
    talks_end(&all);
}

/* Types that no client sends, at any flags and with a body of some length: CONNACK, SUBACK, UNSUBACK, PINGRESP; 0,
 * which is forbidden; 15, which 3.x reserves. */
static void types_of_servers(void **state)
{
    (void)state;
    static const unsigned types[] = {0, 2, 9, 11, 13, 15};
    static const struct slice bodies[] = {BYTES(""), BYTES("\0\0"), BYTES("\0\1\0"), BYTES("\0\1\0\0")};
    struct talks all = {0};
    struct talk t;
    for (unsigned version = 3; version <= 5; version++)
        for (size_t i = 0; i < ARRAY_N(types); i++)
            for (unsigned flags = 0; flags < 16; flags++)
                for (size_t k = 0; k < ARRAY_N(bodies); k++) {
                    struct bytes body = {0};
                    put_slice(&body, bodies[k]);
                    put_packet(hello_then(&t, version), types[i] << 4 | flags, &body);
                    talk_say(&t, "packet type %u, flags %x, %zu bytes", types[i], flags, body.n);
                    want(&t, NULL, types[i] == 0 ? "81" : "81|82");
                    hold(&all, &t);
                }
    talks_end(&all);
}

/* [MQTT-3.1.0-1] CONNECT is first, whatever else is: nobody can tell what this is, so nothing is said. */
static void each_first_byte_before_connect(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (unsigned first = 0; first < 256; first++)
        for (unsigned n = 0; n <= 4; n += 2) {
            struct bytes body = {.n = n};
            talk_begin(&t, 5);
            put_packet(talk_line(&t), first, &body);
            talk_say(&t, "first byte %02x, a body of %u bytes", first, n);
            talk_expect(&t, "closed");
            hold(&all, &t);
        }
    for (size_t i = 0; i < ARRAY_N(SHAPE); i++) {
        struct bytes body = {0};
        put_slice(&body, SHAPE[i].body);
        talk_begin(&t, 5);
        put_packet(talk_line(&t), SHAPE[i].first, &body);
        put_hello(talk_line(&t), 5, NONE);
        talk_say(&t, "%s, then CONNECT", SHAPE[i].name);
        talk_expect(&t, "closed");
        hold(&all, &t);
    }
    talks_end(&all);
}

/* [MQTT-3.1.0-2] a second CONNECT, of any version; also when it is wrong in itself. */
static void a_second_connect(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (unsigned version = 3; version <= 5; version++)
        for (unsigned second = 3; second <= 5; second++) {
            put_hello(hello_then(&t, version), second, NONE);
            talk_say(&t, "a second CONNECT, of MQTT %s", version_name(second));
            want(&t, NULL, "82");
            hold(&all, &t);
        }
    for (unsigned version = 3; version <= 5; version++) {
        put(hello_then(&t, version), "\x10\x00", 2);
        talk_say(&t, "a second CONNECT, empty");
        want(&t, NULL, "81|82");
        hold(&all, &t);
    }
    talks_end(&all);
}

/* [MQTT-2.2.1-3] a packet id is never 0; 3.1.1: [MQTT-2.3.1-1]. */
static void packet_id_0(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(SHAPE); i++)
        for (unsigned version = 3; version <= 5; version++) {
            const struct shape *s = &SHAPE[i];
            size_t at = s->first >> 4 == 3 ? 3 : 0;
            if (!is_in(s->versions, version) || s->first == 0x30 || s->first >= 0xc0)
                continue;
            struct bytes body = {0};
            put_slice(&body, s->body);
            body.p[at + 1] = 0;
            put_packet(hello_then(&t, version), s->first, &body);
            talk_say(&t, "%s with packet id 0", s->name);
            want(&t, NULL, "81|82");
            hold(&all, &t);
        }
    talks_end(&all);
}

/* A packet that has not come whole is waited for, whatever it promises; before the login not beyond login_bytes. */
static void promises(void **state)
{
    (void)state;
    static const struct slice heads[] = {BYTES("\x30"), BYTES("\x30\x80"), BYTES("\x30\xff\xff\x7f"),
                                         BYTES("\x30\xff\xff\xff\x7f\0\1t"), BYTES("\x82\x05\0\1")};
    struct talks all = {0};
    struct talk t;
    for (unsigned version = 3; version <= 5; version++)
        for (size_t i = 0; i < ARRAY_N(heads); i++) {
            put_slice(hello_then(&t, version), heads[i]);
            talk_say(&t, "promise %zu of the list", i);
            talk_expect(&t, "connack 00");
            talk_hold(&all, &t);
        }
    talk_begin(&t, 5);
    put(talk_line(&t), "\x10\xff\xff\xff\x7f\0\4MQTT", 11);
    talk_say(&t, "a CONNECT of 256 MiB");
    talk_expect(&t, "closed");
    talk_hold(&all, &t);
    talks_end(&all);
}

/* ---- SUBSCRIBE ----------------------------------------------------------------------------------------------- */

/* want_options: bits 0-1 QoS, 2 No Local, 3 Retain As Published, 4-5 Retain Handling, 6-7 reserved in version 5
 * [MQTT-3.8.3-5], where QoS 3 and Retain Handling 3 are Protocol Errors (§3.8.3.1); bits 2-7 reserved in 3.1.1:
 * [MQTT-3.8.3-4]; unused in 3.1. */
static void want_options(struct talk *t, unsigned version, unsigned options)
{
    unsigned qos = options & 3, upper = options >> 2;
    bool is_good = qos != 3 && (version == 5 ? (options >> 4 & 3) != 3 && options < 0x40 : upper == 0);
    char answer[40];
    (void)snprintf(answer, sizeof answer, "suback 2 00 %02x", qos);
    if (is_good)
        want(t, answer, NULL);
    else if (version == 3 && qos != 3)
        talk_expect(t, "connack 00; closed or connack 00; %s; pingresp", answer);
    else if (options < 0x40)
        want(t, NULL, "82");
    else
        want(t, NULL, qos == 3 || (options >> 4 & 3) == 3 ? "81|82" : "81");
}

static void each_option_byte(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (unsigned version = 3; version <= 5; version++)
        for (unsigned options = 0; options < 256; options++) {
            struct bytes body = {0};
            put_u16(&body, 2);
            put_props(&body, version, NONE);
            put_str(&body, "a");
            put_u8(&body, 0);
            put_str(&body, "b");
            put_u8(&body, options);
            put_packet(hello_then(&t, version), 0x82, &body);
            talk_say(&t, "SUBSCRIBE with the options %02x", options);
            want_options(&t, version, options);
            hold(&all, &t);
        }
    talks_end(&all);
}

/* ---- texts --------------------------------------------------------------------------------------------------- */

enum text_place { CLIENT_ID, WILL_TOPIC, USER_NAME, TOPIC, FILTER, SECOND_FILTER, UNFILTER, SECOND_UNFILTER, TEXT_N };

static void put_login_text(struct bytes *b, unsigned version, enum text_place at, struct slice text)
{
    struct bytes body = {0};
    put_login(&body, version, 0x86, NONE);
    put_data(&body, at == CLIENT_ID ? text : SLICE("a"));
    put_props(&body, version, NONE);
    put_data(&body, at == WILL_TOPIC ? text : SLICE("w"));
    put_str(&body, "gone");
    put_data(&body, at == USER_NAME ? text : SLICE("u"));
    put_packet(b, 0x10, &body);
}

static void put_text(struct bytes *b, unsigned version, enum text_place at, struct slice text)
{
    struct bytes body = {0};
    bool is_sub = at == FILTER || at == SECOND_FILTER;
    if (at == TOPIC) {
        put_data(&body, text);
        put_props(&body, version, NONE);
        put_packet(b, 0x30, &body);
        return;
    }
    put_u16(&body, 2);
    put_props(&body, version, NONE);
    for (unsigned i = 0; i < 2; i++) {
        put_data(&body, (i == 1) == (at == SECOND_FILTER || at == SECOND_UNFILTER) ? text : SLICE("b"));
        if (is_sub)
            put_u8(&body, 1);
    }
    put_packet(b, is_sub ? 0x82 : 0xa2, &body);
}

/* what_good: the answer to a good text. */
static const char *what_good(unsigned version, enum text_place at)
{
    if (at == TOPIC)
        return "";
    if (at == FILTER || at == SECOND_FILTER)
        return "suback 2 01 01";
    return version == 5 ? "unsuback 2 11 11" : "unsuback 2";
}

/* 5: [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-3.1.3-4], [MQTT-3.1.3-11], [MQTT-3.1.3-12], [MQTT-3.3.2-1], [MQTT-3.8.3-1],
 * [MQTT-3.10.3-1]; 3.1.1: [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-3.1.3-4], [MQTT-3.1.3-10], [MQTT-3.1.3-11]. */
static void texts(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (enum text_place at = 0; at < TEXT_N; at++)
        for (unsigned version = 3; version <= 5; version++)
            for (size_t k = 0; k < ARRAY_N(BAD_TEXTS) + ARRAY_N(GOOD_TEXTS); k++) {
                bool is_bad = k < ARRAY_N(BAD_TEXTS);
                struct slice text = is_bad ? BAD_TEXTS[k] : GOOD_TEXTS[k - ARRAY_N(BAD_TEXTS)];
                if (at <= USER_NAME) {
                    talk_begin(&t, version);
                    put_login_text(talk_line(&t), version, at, text);
                    talk_expect(&t, !is_bad ? "connack 00; pingresp" : version == 5 ? "connack 81; closed" : "closed");
                } else {
                    put_text(hello_then(&t, version), version, at, text);
                    want(&t, is_bad ? NULL : what_good(version, at), "81");
                }
                talk_say(&t, "text %zu in place %u", k, at);
                hold(&all, &t);
            }
    talks_end(&all);
}

/* Topic names and filters that are good texts and yet not good. Names: [MQTT-4.7.3-1] (no code for it but in PUBLISH,
 * §3.3.2.1), [MQTT-3.3.2-2]. Filters: 5: [MQTT-4.7.1-1], [MQTT-4.7.1-2]; 3.1.1: [MQTT-4.7.1-2], [MQTT-4.7.1-3]. */
static void topics(void **state)
{
    (void)state;
    static const char *const names[] = {"", "+", "#", "a/+", "a/#", "+/a", "a+", "a#b", "/+/"};
    static const char *const filters[] = {"",   "a#", "#/", "a/#/b",  "##",   "a/##",
                                          "++", "a+", "+a", "a/+b/c", "a/b+", "#+"};
    struct talks all = {0};
    struct talk t;
    for (unsigned version = 3; version <= 5; version++) {
        for (size_t i = 0; i < ARRAY_N(names); i++) {
            put_publish(hello_then(&t, version), version, 0, names[i], 0, NONE, "x");
            talk_say(&t, "PUBLISH to '%s'", names[i]);
            want(&t, NULL, i == 0 ? "82" : "81|82|90");
            hold(&all, &t);
            talk_begin(&t, version);
            put_login_text(talk_line(&t), version, WILL_TOPIC, slice_from_str(names[i]));
            talk_say(&t, "a will to '%s'", names[i]);
            talk_expect(&t, version == 5 ? "connack 81|82|90; closed" : "closed");
            hold(&all, &t);
        }
        for (size_t i = 0; i < ARRAY_N(filters); i++) {
            put_text(hello_then(&t, version), version, FILTER, slice_from_str(filters[i]));
            talk_say(&t, "SUBSCRIBE to '%s'", filters[i]);
            if (version == 3) /* 3.1 has no code for it: nothing or the end */
                talk_expect(&t, "connack 00; closed");
            else
                talk_expect(&t, "connack 00; suback 2 %s 01; pingresp or connack 00; %sclosed",
                            version == 5 ? "8f" : "80", version == 5 ? "disconnect 81|82|8f; " : "");
            hold(&all, &t);
        }
    }
    talks_end(&all);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_length_of_each_packet),
        cmocka_unit_test(each_form_of_the_length),
        cmocka_unit_test(each_flag_in_each_packet),
        cmocka_unit_test(each_flag_in_publish),
        cmocka_unit_test(types_of_servers),
        cmocka_unit_test(each_first_byte_before_connect),
        cmocka_unit_test(a_second_connect),
        cmocka_unit_test(packet_id_0),
        cmocka_unit_test(promises),
        cmocka_unit_test(each_option_byte),
        cmocka_unit_test(texts),
        cmocka_unit_test(topics),
    };
    return cmocka_run_group_tests_name("mqtt malformed", tests, NULL, NULL);
}
