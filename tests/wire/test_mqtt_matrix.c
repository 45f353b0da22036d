/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_matrix.c: every property in every packet a client may send, through the whole broker.
 *
 *     stage   ─► the conversation before it, a packet with the property or code in it, one more thing
 *     matrix  ─► taken: the conversation goes on · not taken: the code and the end that the specification demands
 *
 * The matrices below are copied by hand from the specification (MQTT 5 table 2-4, table 2-6 and the tables of §3.4 to
 * §3.15) and not from the broker's own tables, so that a mistake in one shows against the other.
 *
 * Cost    some ten thousand small conversations, a few seconds.
 * Thread  one.
 * Spec    MQTT 5 §2.2.2, §2.4, §3.1 to §3.15, §4.13.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/wire/talk_stage.h"

/* ---- properties ---------------------------------------------------------------------------------------------- */

/* MQTT 5 table 2-4, by hand. `sample` is one good item. An identifier that is not here does not exist. */
static const struct property {
    unsigned id;
    const char *where; /* C W P a b c d S U D A */
    struct slice sample;
} PROPERTY[] = {
    {0x01, ". W P . . . . . . . .", BYTES("\x01\x01")},               /* Payload Format Indicator */
    {0x02, ". W P . . . . . . . .", BYTES("\x02\x00\x00\x00\x3c")},   /* Message Expiry Interval */
    {0x03, ". W P . . . . . . . .", BYTES("\x03\x00\x01x")},          /* Content Type */
    {0x08, ". W P . . . . . . . .", BYTES("\x08\x00\x03r/t")},        /* Response Topic */
    {0x09, ". W P . . . . . . . .", BYTES("\x09\x00\x02\x00\xff")},   /* Correlation Data */
    {0x0b, ". . P . . . . S . . .", BYTES("\x0b\x80\x01")},           /* Subscription Identifier */
    {0x11, "C . . . . . . . . D .", BYTES("\x11\x00\x00\x00\x05")},   /* Session Expiry Interval */
    {0x12, ". . . . . . . . . . .", BYTES("\x12\x00\x01i")},          /* Assigned Client Identifier */
    {0x13, ". . . . . . . . . . .", BYTES("\x13\x00\x0a")},           /* Server Keep Alive */
    {0x15, "C . . . . . . . . . A", BYTES("\x15\x00\x01m")},          /* Authentication Method */
    {0x16, "C . . . . . . . . . A", BYTES("\x16\x00\x01\xff")},       /* Authentication Data */
    {0x17, "C . . . . . . . . . .", BYTES("\x17\x00")},               /* Request Problem Information */
    {0x18, ". W . . . . . . . . .", BYTES("\x18\x00\x00\x00\x09")},   /* Will Delay Interval */
    {0x19, "C . . . . . . . . . .", BYTES("\x19\x01")},               /* Request Response Information */
    {0x1a, ". . . . . . . . . . .", BYTES("\x1a\x00\x00")},           /* Response Information */
    {0x1c, ". . . . . . . . . D .", BYTES("\x1c\x00\x01s")},          /* Server Reference */
    {0x1f, ". . . a b c d . . D A", BYTES("\x1f\x00\x01w")},          /* Reason String */
    {0x21, "C . . . . . . . . . .", BYTES("\x21\x00\x01")},           /* Receive Maximum */
    {0x22, "C . . . . . . . . . .", BYTES("\x22\x00\x05")},           /* Topic Alias Maximum */
    {0x23, ". . P . . . . . . . .", BYTES("\x23\x00\x01")},           /* Topic Alias */
    {0x24, ". . . . . . . . . . .", BYTES("\x24\x01")},               /* Maximum QoS */
    {0x25, ". . . . . . . . . . .", BYTES("\x25\x00")},               /* Retain Available */
    {0x26, "C W P a b c d S U D A", BYTES("\x26\x00\x01k\x00\x01v")}, /* User Property */
    {0x27, "C . . . . . . . . . .", BYTES("\x27\x00\x00\x03\xe8")},   /* Maximum Packet Size */
    {0x28, ". . . . . . . . . . .", BYTES("\x28\x01")},               /* Wildcard Subscription Available */
    {0x29, ". . . . . . . . . . .", BYTES("\x29\x01")},               /* Subscription Identifier Available */
    {0x2a, ". . . . . . . . . . .", BYTES("\x2a\x01")},               /* Shared Subscription Available */
};

static bool is_allowed(const struct property *p, enum place at)
{
    return p->where[2 * MIN(at, AUTH)] == LETTER[at];
}

static const struct property *property_of(unsigned id)
{
    for (size_t i = 0; i < ARRAY_N(PROPERTY); i++)
        if (PROPERTY[i].id == id)
            return &PROPERTY[i];
    return NULL;
}

/* want_allowed: what becomes of the good sample of a property that may stand there. */
static void want_allowed(struct talk *t, const struct property *p, enum place at)
{
    if (at == CONNECT && p->id == 0x15) /* [MQTT-4.12.0-1] a method nobody knows */
        want_end(t, at, "8c");
    else if (at == CONNECT && p->id == 0x16) /* §3.1.2.11.10 data without a method */
        want_end(t, at, "82");
    else if (is_proof(at) && p->id == 0x15) /* [MQTT-4.12.0-5] [MQTT-4.12.1-1] not the method of CONNECT */
        want_end(t, at, "82|8c");
    else if (at == AUTH_LOGIN && p->id == 0x16) /* the wrong answer */
        want_end(t, at, "86|87");
    else if (at == PUBLISH && p->id == 0x0b) /* [MQTT-3.3.4-6] only a server says which subscription it was */
        want_end(t, at, "82");
    else if (at == DISCONNECT && p->id == 0x1c) /* §3.14.2.2.5 only a server refers to others */
        want_end(t, at, "82");
    else
        want_taken(t, at, p->id == 0x23 ? NONE : p->sample); /* an alias is not passed on */
}

/* Every identifier in every packet (MQTT 5 §2.2.2.2): not valid there, or unknown, is malformed. */
static void each_property_in_each_packet(void **state)
{
    (void)state;
    static const struct slice odd[] = {
        BYTES("\x2b\x00\x00\x00\x00"),       BYTES("\x7f\x00\x00\x00\x00"), BYTES("\x80\x01\x00\x00"), /* 128 */
        BYTES("\xff\xff\xff\x7f\x00"),       BYTES("\x81\x00\x01"), /* 1, but not in its shortest form [MQTT-1.5.5-1] */
        BYTES("\xa6\x00\x00\x01k\x00\x01v"),                        /* 38 likewise */
        BYTES("\x80\x80\x80\x80\x01"),                              /* no number at all */
    };
    struct talks all = {0};
    struct talk t;
    for (enum place at = 0; at < PLACE_N; at++)
        for (unsigned id = 0; id <= 0x2a + ARRAY_N(odd); id++) {
            const struct property *p = id <= 0x2a ? property_of(id) : NULL;
            const uint8_t unknown[] = {(uint8_t)id, 0, 0, 0, 0};
            struct probe probe = probe_make(at, slice_make(unknown, sizeof unknown));
            if (id > 0x2a)
                probe.block = odd[id - 0x2b];
            if (p != NULL)
                probe.block = p->sample;
            stage(&t, &probe);
            talk_say(&t, "property 0x%02x in %s", probe.block.p[0], NAME[at]);
            if (p != NULL && is_allowed(p, at))
                want_allowed(&t, p, at);
            else
                want_end(&t, at, "81");
            talk_hold(&all, &t);
        }
    talks_end(&all);
}

/* Twice is a Protocol Error, says each property's own section; User Property §3.1.2.11.8 and its kin may repeat, and
 * stay in their order [MQTT-3.3.2-18]. */
static void each_property_twice(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (enum place at = 0; at < PLACE_N; at++)
        for (size_t i = 0; i < ARRAY_N(PROPERTY); i++) {
            const struct property *p = &PROPERTY[i];
            struct bytes two = {0};
            put_slice(&two, p->sample);
            put_slice(&two, p->sample);
            struct probe probe = probe_make(at, slice_make(two.p, two.n));
            if (!is_allowed(p, at))
                continue;
            stage(&t, &probe);
            talk_say(&t, "property 0x%02x twice in %s", p->id, NAME[at]);
            if (p->id == 0x26)
                want_taken(&t, at, probe.block);
            else
                want_end(&t, at, "82");
            talk_hold(&all, &t);
        }
    talks_end(&all);
}

/* All properties of one packet at once, forwards and backwards: their order means nothing (§2.2.2.2). */
static void all_properties_at_once(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (enum place at = 0; at < PLACE_N; at++)
        for (unsigned backwards = 0; backwards < 2; backwards++) {
            struct bytes block = {0};
            for (size_t i = 0; i < ARRAY_N(PROPERTY); i++) {
                const struct property *p = &PROPERTY[backwards != 0 ? ARRAY_N(PROPERTY) - 1 - i : i];
                bool is_auth = p->id == 0x15 || p->id == 0x16; /* in an exchange they are there already */
                bool ends_it = p->id == 0x1c || (is_auth && (at == CONNECT || is_proof(at))) ||
                               (at == PUBLISH && (p->id == 0x0b || p->id == 0x23));
                if (is_allowed(p, at) && !ends_it)
                    put_slice(&block, p->sample);
            }
            struct probe probe = probe_make(at, slice_make(block.p, block.n));
            stage(&t, &probe);
            talk_say(&t, "all properties in %s, %s", NAME[at], backwards != 0 ? "backwards" : "forwards");
            if (at == PUBLISH) /* how they are ordered on the way out is the broker's affair */
                talk_expect(&t, "%s publish0 t * x; puback 5; pingresp", BEFORE[at]);
            else
                want_taken(&t, at, NONE);
            talk_hold(&all, &t);
        }
    talks_end(&all);
}

/* Each good sample cut short at every byte of its value: the block ends there and the packet goes on, or the packet
 * ends there. */
static void each_property_cut_short(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (enum place at = 0; at < PLACE_N; at++)
        for (size_t i = 0; i < ARRAY_N(PROPERTY); i++)
            for (size_t n = 1; is_allowed(&PROPERTY[i], at) && n < PROPERTY[i].sample.len; n++) {
                struct probe probe = probe_make(at, slice_make(PROPERTY[i].sample.p, n));
                stage(&t, &probe);
                talk_say(&t, "property 0x%02x in %s, the block ends after %zu bytes of it", PROPERTY[i].id, NAME[at],
                         n);
                want_end(&t, at, "81");
                talk_hold(&all, &t);
                probe.block = PROPERTY[i].sample;
                probe.keep = n;
                stage(&t, &probe);
                talk_say(&t, "property 0x%02x in %s, the packet ends after %zu bytes of it", PROPERTY[i].id, NAME[at],
                         n);
                want_end(&t, at, "81");
                talk_hold(&all, &t);
            }
    talks_end(&all);
}

/* The length of the block itself: [MQTT-1.5.5-1] not the shortest form, five bytes, more than there is; and it must be
 * there where anything follows [MQTT-2.2.2-1]. */
static void property_lengths(void **state)
{
    (void)state;
    static const struct slice lengths[] = {
        BYTES("\x80\x00"),
        BYTES("\x80\x80\x00"),
        BYTES("\x80\x80\x80\x00"),
        BYTES("\x80\x80\x80\x80\x00"),
        BYTES("\xff\xff\xff\xff"),
        BYTES("\xff\xff\xff\x7f"),
        BYTES("\x7f"),
    };
    struct talks all = {0};
    struct talk t;
    for (enum place at = 0; at < PLACE_N; at++)
        for (size_t i = 0; i < ARRAY_N(lengths); i++) {
            struct probe probe = probe_make(at, NONE);
            probe.length = lengths[i];
            stage(&t, &probe);
            talk_say(&t, "property length %zu of the list in %s", i, NAME[at]);
            want_end(&t, at, "81");
            talk_hold(&all, &t);
        }
    talks_end(&all);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

/* Values by hand: the codes they end in, or "" for values that are good (then `passed` to a subscriber as they are). */
static const struct value {
    const char *where, *codes;
    struct slice item;
} VALUE[] = {
    {"PW", "", BYTES("\x01\x00")},
    {"PW", "81|82", BYTES("\x01\x02")}, /* §3.3.2.3.2: 0 or 1 */
    {"PW", "81|82", BYTES("\x01\xff")},
    {"PW", "", BYTES("\x02\xff\xff\xff\xff")},
    {"PW", "", BYTES("\x03\x00\x00")},
    {"PW", "81|82|90", BYTES("\x08\x00\x00")},  /* [MQTT-4.7.3-1] */
    {"PW", "81|82|90", BYTES("\x08\x00\x01+")}, /* [MQTT-3.3.2-14] */
    {"PW", "81|82|90", BYTES("\x08\x00\x01#")}, /* [MQTT-3.3.2-14] */
    {"PW", "81|82|90",
     BYTES("\x08\x00\x05"
           "a/+/b")}, /* [MQTT-3.3.2-14] */
    {"PW", "81|82|90",
     BYTES("\x08\x00\x03"
           "a/#")}, /* [MQTT-3.3.2-14] */
    {"PW", "81|82|90",
     BYTES("\x08\x00\x02"
           "a+")}, /* [MQTT-4.7.0-1] */
    {"PW", "", BYTES("\x08\x00\x02/$")},
    {"PW", "", BYTES("\x09\x00\x00")},
    {"PW", "", BYTES("\x09\x00\x05\x00\xc0\x80\xff+")}, /* binary data is anything */
    {"S", "", BYTES("\x0b\x01")},
    {"S", "", BYTES("\x0b\xff\xff\xff\x7f")},
    {"S", "82", BYTES("\x0b\x00")},                 /* §3.8.2.1.2 */
    {"S", "81", BYTES("\x0b\x80\x00")},             /* [MQTT-1.5.5-1] */
    {"S", "81", BYTES("\x0b\x81\x00")},             /* [MQTT-1.5.5-1] */
    {"S", "81", BYTES("\x0b\xff\xff\xff\xff\x01")}, /* five bytes */
    {"S", "81", BYTES("\x0b\xff\xff\xff\xff")},
    {"CD", "", BYTES("\x11\x00\x00\x00\x00")},
    {"CD", "", BYTES("\x11\xff\xff\xff\xff")},
    {"C", "", BYTES("\x17\x01")},
    {"C", "82", BYTES("\x17\x02")}, /* §3.1.2.11.7 */
    {"C", "82", BYTES("\x17\xff")},
    {"C", "", BYTES("\x19\x00")},
    {"C", "82", BYTES("\x19\x02")}, /* §3.1.2.11.6 */
    {"C", "82", BYTES("\x19\xff")},
    {"W", "", BYTES("\x18\xff\xff\xff\xff")},
    {"abcdDA", "", BYTES("\x1f\x00\x00")},
    {"C", "", BYTES("\x21\xff\xff")},
    {"C", "82", BYTES("\x21\x00\x00")}, /* §3.1.2.11.3 */
    {"C", "", BYTES("\x22\x00\x00")},
    {"C", "", BYTES("\x22\xff\xff")},
    {"P", "94", BYTES("\x23\x00\x00")}, /* [MQTT-3.3.2-8] §3.3.4 */
    {"P", "94", BYTES("\x23\xff\xff")}, /* [MQTT-3.3.2-9] more than any default */
    {"CWPabcdSUDA", "", BYTES("\x26\x00\x00\x00\x00")},
    {"C", "", BYTES("\x27\xff\xff\xff\xff")},
    {"C", "82", BYTES("\x27\x00\x00\x00\x00")}, /* §3.1.2.11.4 */
    {"C", "82", BYTES("\x15\x00\x01m\x15\x00\x01m")},
    {"C", "8c", BYTES("\x15\x00\x00")},
    {"C", "8c", BYTES("\x16\x00\x00\x15\x00\x01m")},
    {"P", "82", BYTES("\x0b\x00")}, /* [MQTT-3.3.4-6] */
};

static void values(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(VALUE); i++)
        for (enum place at = 0; at < PLACE_N; at++) {
            const struct value *v = &VALUE[i];
            if (strchr(v->where, LETTER[at]) == NULL)
                continue;
            struct probe probe = probe_make(at, v->item);
            stage(&t, &probe);
            talk_say(&t, "value %zu of the list in %s", i, NAME[at]);
            if (v->codes[0] != '\0')
                want_end(&t, at, v->codes);
            else if (at == PUBLISH && v->item.p[0] == 0x01) /* [MQTT-3.3.2-4]; 0 is the same as none (§3.3.2.3.2) */
                talk_expect(&t, "%s publish0 t x; puback 5; pingresp or %s publish0 t [0100] x; puback 5; pingresp",
                            BEFORE[at], BEFORE[at]);
            else
                want_taken(&t, at, v->item);
            talk_hold(&all, &t);
        }
    talks_end(&all);
}

/* §3.14.2.2.2: a session that began with an expiry of 0 cannot get another one at the end. */
static void expiry_from_nothing(void **state)
{
    (void)state;
    struct talks all = {0};
    for (unsigned expiry = 0; expiry < 2; expiry++) {
        struct talk t;
        const uint8_t goodbye[] = {0xe0, 7, 0, 5, 0x11, 0, 0, 0, (uint8_t)expiry};
        talk_begin(&t, 5);
        talk_say(&t, "Session Expiry Interval %u at DISCONNECT after 0", expiry);
        put_hello(talk_line(&t), 5, NONE);
        put(talk_line(&t), goodbye, sizeof goodbye);
        talk_probe(&t);
        talk_expect(&t, expiry == 0 ? "connack 00; closed" : "connack 00; disconnect 82; closed");
        talk_hold(&all, &t);
    }
    talks_end(&all);
}

/* A text in a property: two bytes of length, for User Property the other half as well. */
static void put_text_property(struct bytes *b, unsigned id, struct slice text, bool is_value)
{
    put_u8(b, id);
    if (is_value)
        put_str(b, "k");
    put_data(b, text);
    if (id == 0x26 && !is_value)
        put_str(b, "v");
}

/* [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] in every property that is a string; [MQTT-3.3.2-13] [MQTT-3.3.2-19]. */
static void texts(void **state)
{
    (void)state;
    static const unsigned ids[] = {0x03, 0x08, 0x15, 0x1c, 0x1f, 0x26, 0x126}; /* 0x126: the value of a User Property */
    struct talks all = {0};
    struct talk t;
    for (enum place at = 0; at < PLACE_N; at++)
        for (size_t i = 0; i < ARRAY_N(ids); i++)
            for (size_t k = 0; k < ARRAY_N(BAD_TEXTS) + ARRAY_N(GOOD_TEXTS); k++) {
                bool is_bad = k < ARRAY_N(BAD_TEXTS);
                const struct property *p = property_of(ids[i] & 0xff);
                struct bytes block = {0};
                put_text_property(&block, p->id, is_bad ? BAD_TEXTS[k] : GOOD_TEXTS[k - ARRAY_N(BAD_TEXTS)],
                                  ids[i] == 0x126);
                if (!is_allowed(p, at))
                    continue;
                struct probe probe = probe_make(at, slice_make(block.p, block.n));
                stage(&t, &probe);
                talk_say(&t, "text %zu in property 0x%x in %s", k, ids[i], NAME[at]);
                if (is_bad)
                    want_end(&t, at, "81");
                else if (p->id == 0x15 || p->id == 0x1c)
                    want_allowed(&t, p, at);
                else
                    want_taken(&t, at, probe.block);
                talk_hold(&all, &t);
            }
    talks_end(&all);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_property_in_each_packet),
        cmocka_unit_test(each_property_twice),
        cmocka_unit_test(all_properties_at_once),
        cmocka_unit_test(each_property_cut_short),
        cmocka_unit_test(property_lengths),
        cmocka_unit_test(values),
        cmocka_unit_test(expiry_from_nothing),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests_name("mqtt matrix", tests, NULL, NULL);
}
