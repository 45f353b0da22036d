/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_wire_topic.c: names, filters and shared filters by table, and the eight-at-a-time scan against a plain one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/base/utf8.h"
#include "proto_mqtt/mqtt_wire.h"
#include "tests/support/guard.h"

static const struct row {
    const char *text;
    enum err name;   /* mqtt_topic_name_check */
    enum err filter; /* mqtt_filter_check */
} ROWS[] = {
    {"", ERR_INVALID, ERR_INVALID}, /* [MQTT-4.7.3-1] */
    {"a", ERR_OK, ERR_OK},
    {"/", ERR_OK, ERR_OK},
    {"//", ERR_OK, ERR_OK},
    {"a b/$c", ERR_OK, ERR_OK},
    {"$SYS/broker/uptime", ERR_OK, ERR_OK},
    {"sport/tennis/player1", ERR_OK, ERR_OK},
    {"caf\xc3\xa9/\xe2\x82\xac", ERR_OK, ERR_OK},
    {"#", ERR_INVALID, ERR_OK}, /* [MQTT-3.3.2-2] for names, [MQTT-4.7.1-1] for filters */
    {"a/#", ERR_INVALID, ERR_OK},
    {"a#", ERR_INVALID, ERR_INVALID},
    {"a/b#", ERR_INVALID, ERR_INVALID},
    {"#/a", ERR_INVALID, ERR_INVALID},
    {"a/#/b", ERR_INVALID, ERR_INVALID},
    {"##", ERR_INVALID, ERR_INVALID},
    {"a/#/", ERR_INVALID, ERR_INVALID},
    {"+", ERR_INVALID, ERR_OK}, /* [MQTT-4.7.1-2] */
    {"+/+", ERR_INVALID, ERR_OK},
    {"/+", ERR_INVALID, ERR_OK},
    {"+/", ERR_INVALID, ERR_OK},
    {"+/tennis/#", ERR_INVALID, ERR_OK},
    {"a/+/b", ERR_INVALID, ERR_OK},
    {"a+", ERR_INVALID, ERR_INVALID},
    {"+a", ERR_INVALID, ERR_INVALID},
    {"a/b+/c", ERR_INVALID, ERR_INVALID},
    {"++", ERR_INVALID, ERR_INVALID},
    {"+#", ERR_INVALID, ERR_INVALID},
    {"long/enough/for/words/of/eight/+", ERR_INVALID, ERR_OK},
    {"long/enough/for/words/#/of/eight", ERR_INVALID, ERR_INVALID},
    {"\xed\xa0\x80", ERR_MALFORMED, ERR_MALFORMED}, /* [MQTT-1.5.4-1] surrogate */
    {"12345678\xff", ERR_MALFORMED, ERR_MALFORMED},
    {"caf\xc3", ERR_MALFORMED, ERR_MALFORMED},
    {"+\xc0\x80", ERR_MALFORMED, ERR_MALFORMED}, /* bad bytes weigh more than wildcards */
};

static void names_and_filters(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(ROWS); i++) {
        struct slice s = guard_slice(slice_from_str(ROWS[i].text));
        enum err name = mqtt_topic_name_check(s), filter = mqtt_filter_check(s);
        if (name != ROWS[i].name || filter != ROWS[i].filter)
            fail_msg("\"%s\": name %s, filter %s", ROWS[i].text, err_name(name), err_name(filter));
        assert_true(mqtt_topic_name_is_valid(s) == (name == ERR_OK));
        assert_true(mqtt_filter_is_valid(s) == (filter == ERR_OK));
        guard_free((void *)(uintptr_t)s.p);
    }
}

static void no_nul_anywhere(void **state) /* [MQTT-1.5.4-2], [MQTT-4.7.3-2] */
{
    uint8_t text[24];
    UNUSED(state);
    for (size_t i = 0; i < sizeof text; i++) {
        memset(text, 'x', sizeof text);
        text[i] = 0;
        assert_int_equal(mqtt_topic_name_check(slice_make(text, sizeof text)), ERR_MALFORMED);
        assert_int_equal(mqtt_filter_check(slice_make(text, sizeof text)), ERR_MALFORMED);
    }
}

static void no_longer_than_65535(void **state) /* both: [MQTT-4.7.3-3] */
{
    static uint8_t text[MQTT_STRING_BYTES_MAX + 1];
    UNUSED(state);
    memset(text, 'x', sizeof text);
    assert_int_equal(mqtt_topic_name_check(slice_make(text, sizeof text - 1)), ERR_OK);
    assert_int_equal(mqtt_filter_check(slice_make(text, sizeof text - 1)), ERR_OK);
    assert_int_equal(mqtt_topic_name_check(slice_make(text, sizeof text)), ERR_MALFORMED);
    assert_int_equal(mqtt_filter_check(slice_make(text, sizeof text)), ERR_MALFORMED);
}

/* plain_check: mqtt_topic_name_check as one would write it first. */
static enum err plain_check(struct slice s)
{
    if (s.len == 0)
        return ERR_INVALID;
    if (!utf8_is_mqtt(s.p, s.len))
        return ERR_MALFORMED;
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] == '+' || s.p[i] == '#')
            return ERR_INVALID;
    return ERR_OK;
}

static void fast_scan_agrees_with_plain_one(void **state)
{
    static const char letters[] = "abc/\x22\x24\x2a\x2c\x2b\x23\xc3\xa9\x7f\x80\x01\xab\xa3";
    struct rng rng;
    uint8_t text[40];
    UNUSED(state);
    rng_init(&rng, 4711);
    for (int round = 0; round < 200000; round++) {
        size_t n = rng_below(&rng, sizeof text + 1);
        unsigned odd = rng_below(&rng, 20); /* mostly plain, so that the odd byte decides */
        for (size_t i = 0; i < n; i++)
            text[i] = rng_chance(&rng, odd) ? (uint8_t)letters[rng_below(&rng, sizeof letters)] : 'x';
        struct slice s = slice_make(text, n);
        assert_int_equal(mqtt_topic_name_check(s), plain_check(s));
    }
}

static const struct share {
    const char *filter;
    enum err want;
    const char *group, *inner;
} SHARES[] = {
    {"$share/g/a", ERR_OK, "g", "a"},          {"$share/group/a/+/#", ERR_OK, "group", "a/+/#"},
    {"$share/g//", ERR_OK, "g", "/"},          {"$share/g/$share/h/a", ERR_OK, "g", "$share/h/a"},
    {"a/b", ERR_NO_MATCH, NULL, NULL},         {"$share", ERR_NO_MATCH, NULL, NULL},
    {"$shares/g/a", ERR_NO_MATCH, NULL, NULL}, {"$SHARE/g/a", ERR_NO_MATCH, NULL, NULL},
    {"$share/", ERR_INVALID, NULL, NULL},                                             /* [MQTT-4.8.2-1] */
    {"$share//a", ERR_INVALID, NULL, NULL},    {"$share/g", ERR_INVALID, NULL, NULL}, /* [MQTT-4.8.2-2] */
    {"$share/g/", ERR_INVALID, NULL, NULL},    {"$share/+/a", ERR_INVALID, NULL, NULL},
    {"$share/#", ERR_INVALID, NULL, NULL},     {"$share/g+/a", ERR_INVALID, NULL, NULL},
};

static void shared_filters_come_apart(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_N(SHARES); i++) {
        struct slice s = guard_slice(slice_from_str(SHARES[i].filter)), group = {0}, inner = {0};
        enum err got = mqtt_share_split(s, &group, &inner);
        if (got != SHARES[i].want)
            fail_msg("\"%s\": %s", SHARES[i].filter, err_name(got));
        if (got == ERR_OK) {
            assert_true(slice_eq_str(group, SHARES[i].group));
            assert_true(slice_eq_str(inner, SHARES[i].inner));
        }
        guard_free((void *)(uintptr_t)s.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_filters),         cmocka_unit_test(no_nul_anywhere),
        cmocka_unit_test(no_longer_than_65535),      cmocka_unit_test(fast_scan_agrees_with_plain_one),
        cmocka_unit_test(shared_filters_come_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
