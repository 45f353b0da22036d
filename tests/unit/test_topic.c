/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_topic.c: splitting, spelling and the reference matcher. The matcher is itself checked: against tables from the
 * specification and, at random, against a second matcher that fills a table instead of recursing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/topic.h"
#include "tests/support/guard.h"

static void levels(void **state)
{
    (void)state;
    static const struct {
        const char *topic;
        const char *level[6];
    } row[] = {
        {"", {""}},
        {"/", {"", ""}},
        {"a", {"a"}},
        {"a/", {"a", ""}},
        {"/a", {"", "a"}},
        {"a//b", {"a", "", "b"}},
        {"///", {"", "", "", ""}},
    };
    for (size_t i = 0; i < ARRAY_N(row); i++) {
        struct slice rest = guard_slice(slice_from_str(row[i].topic)), level;
        void *g = (void *)(uintptr_t)rest.p;
        bool at_end = false;
        uint32_t n = 0;
        assert_true(topic_levels(rest) >= 1);
        uint32_t want = topic_levels(rest);
        while (topic_next_level(&rest, &at_end, &level)) {
            assert_non_null(row[i].level[n]);
            assert_true(slice_eq_str(level, row[i].level[n]));
            n++;
        }
        assert_int_equal(n, want);
        assert_null(row[i].level[n]);
        assert_false(topic_next_level(&rest, &at_end, &level));
        guard_free(g);
    }
    struct slice none = {0}, level;
    bool at_end = false;
    assert_true(topic_next_level(&none, &at_end, &level));
    assert_int_equal(level.len, 0);
}

/* both: [MQTT-3.3.2-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-4.7.3-3] */
static void names(void **state)
{
    (void)state;
    static const char *const is[] = {"a", "/", "a b", "*", "a.b", "$SYS", "\xc3\xa4/b"};
    static const char *const is_not[] = {"", "+", "a/#", "x+y", "\xff", "\xc0\x80"};
    static uint8_t longest[TOPIC_BYTES_MAX + 1];
    for (size_t i = 0; i < ARRAY_N(is); i++)
        assert_true(topic_is_name(slice_from_str(is[i])));
    for (size_t i = 0; i < ARRAY_N(is_not); i++)
        assert_false(topic_is_name(slice_from_str(is_not[i])));
    assert_false(topic_is_name(slice_make("a\0b", 3)));
    memset(longest, 'a', sizeof(longest));
    assert_true(topic_is_name(slice_make(longest, TOPIC_BYTES_MAX)));
    assert_false(topic_is_name(slice_make(longest, TOPIC_BYTES_MAX + 1)));
}

static void sys(void **state)
{
    (void)state;
    static const char *const is[] = {"$SYS", "$SYS/", "$SYS/a/b"}, *const is_not[] = {"",        "$SY",    "$SYSTEM",
                                                                                      "$SYSX/a", "a/$SYS", "$sys"};
    for (size_t i = 0; i < ARRAY_N(is); i++)
        assert_true(topic_is_sys(slice_from_str(is[i])));
    for (size_t i = 0; i < ARRAY_N(is_not); i++)
        assert_false(topic_is_sys(slice_from_str(is_not[i])));
    assert_false(topic_is_sys(slice_make("$SYS\0", 5)));
}

static void filters_from_and_to_text(void **state)
{
    (void)state;
    static const char *const text[] = {"a",  "+",   "#",        "a/+/c",    "#/a/#", "/",
                                       "//", "+/+", "a+/#b/c#", "$share/+", "++",    "##"};
    struct mem_heap heap;
    struct mem mem;
    struct buf b;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "t");
    buf_init(&b, &mem);
    for (size_t i = 0; i < ARRAY_N(text); i++) {
        struct token tok[TOPIC_LEVELS_MAX];
        struct filter f;
        struct slice in = guard_slice(slice_from_str(text[i]));
        assert_int_equal(filter_from_mqtt(in, tok, &f), ERR_OK);
        assert_int_equal(f.n, topic_levels(in));
        buf_clear(&b);
        filter_put_mqtt(&b, &f);
        assert_true(slice_eq(buf_slice(&b), in));
        for (uint32_t t = 0; t < f.n; t++) { /* a wildcard is a whole level, never a part of one */
            bool alone = f.tok[t].bytes.len == 1 && (f.tok[t].bytes.p[0] == '+' || f.tok[t].bytes.p[0] == '#');
            assert_int_equal(f.tok[t].kind != TOKEN_LITERAL, alone);
        }
        guard_free((void *)(uintptr_t)in.p);
    }
    buf_fini(&b);
    assert_int_equal(heap.bytes, 0);
}

static void too_many_levels(void **state)
{
    (void)state;
    char text[TOPIC_LEVELS_MAX + 2];
    memset(text, '/', sizeof(text));
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter f;
    assert_int_equal(filter_from_mqtt(slice_make(text, TOPIC_LEVELS_MAX - 1), tok, &f), ERR_OK);
    assert_int_equal(f.n, TOPIC_LEVELS_MAX);
    assert_int_equal(filter_from_mqtt(slice_make(text, TOPIC_LEVELS_MAX), tok, &f), ERR_TOO_BIG);
}

static bool match(const char *filter, const char *topic)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter f;
    assert_int_equal(filter_from_mqtt(slice_from_str(filter), tok, &f), ERR_OK);
    return filter_matches(&f, slice_from_str(topic));
}

static void from_the_specification(void **state)
{
    (void)state;
    /* MQTT 5 §4.7.1.2, §4.7.1.3 */
    assert_true(match("sport/tennis/player1/#", "sport/tennis/player1"));
    assert_true(match("sport/tennis/player1/#", "sport/tennis/player1/ranking"));
    assert_true(match("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"));
    assert_true(match("sport/#", "sport"));
    assert_true(match("sport/tennis/+", "sport/tennis/player1"));
    assert_false(match("sport/tennis/+", "sport/tennis/player1/ranking"));
    assert_false(match("sport/+", "sport"));
    assert_true(match("sport/+", "sport/"));
    assert_true(match("+/+", "/finance"));
    assert_true(match("/+", "/finance"));
    assert_false(match("+", "/finance"));
    /* [MQTT-4.7.2-1] */
    assert_false(match("#", "$SYS/broker"));
    assert_false(match("+/monitor/Clients", "$SYS/monitor/Clients"));
    assert_true(match("$SYS/#", "$SYS/broker"));
    assert_true(match("$SYS/monitor/+", "$SYS/monitor/Clients"));
    assert_false(match("#", "$"));
    assert_true(match("#", ""));
    assert_true(match("#", "a/$b"));
    assert_true(match("+/$b", "a/$b"));
    /* MANY anywhere, as in RabbitMQ's topic exchanges */
    assert_true(match("a/#/b", "a/b"));
    assert_true(match("a/#/b", "a/x/y/b"));
    assert_false(match("a/#/b", "a/x/y/b/c"));
    assert_true(match("#/b", "b"));
    assert_true(match("#/#", "a"));
    assert_true(match("#/#/#", "a/b"));
    assert_false(match("#/+", "$x"));
    assert_true(match("a/#/+", "a/b"));
    assert_false(match("a/#/+", "a"));
}

/* by_table: match[i][j]: tokens [0, i) match levels [0, j). */
static bool by_table(const struct filter *f, struct slice topic)
{
    bool m[12][12] = {{true}};
    struct slice level[12], rest = topic;
    uint32_t n = 0;
    bool at_end = false;
    while (topic_next_level(&rest, &at_end, &level[n]))
        n++;
    if (f->tok[0].kind != TOKEN_LITERAL && topic.len && topic.p[0] == '$')
        return false;
    for (uint32_t i = 1; i <= f->n; i++) {
        const struct token *t = &f->tok[i - 1];
        for (uint32_t j = 0; j <= n; j++) {
            if (t->kind == TOKEN_MANY)
                m[i][j] = m[i - 1][j] || (j > 0 && m[i][j - 1]);
            else
                m[i][j] = j > 0 && m[i - 1][j - 1] && (t->kind == TOKEN_ONE || slice_eq(t->bytes, level[j - 1]));
        }
    }
    return m[f->n][n];
}

static size_t any_text(struct rng *r, char *out, bool wild)
{
    static const char *const literal[] = {"a", "b", "", "$a", "aa"};
    size_t n = 0;
    uint32_t levels_n = 1 + rng_below(r, 7);
    for (uint32_t i = 0; i < levels_n; i++) {
        const char *s = wild && rng_chance(r, 45) ? (rng_chance(r, 50) ? "+" : "#") : literal[rng_below(r, 5)];
        if (i)
            out[n++] = '/';
        memcpy(out + n, s, strlen(s));
        n += strlen(s);
    }
    return n;
}

static void against_a_table(void **state)
{
    (void)state;
    struct rng r;
    rng_init(&r, 9);
    uint32_t hits = 0;
    for (unsigned i = 0; i < 300000; i++) {
        char filter[64], topic[64];
        struct token tok[TOPIC_LEVELS_MAX];
        struct filter f;
        assert_int_equal(filter_from_mqtt(slice_make(filter, any_text(&r, filter, true)), tok, &f), ERR_OK);
        struct slice t = slice_make(topic, any_text(&r, topic, false));
        bool is = filter_matches(&f, t);
        assert_int_equal(is, by_table(&f, t));
        hits += is;
    }
    assert_true(hits > 10000);
}

static void equality(void **state)
{
    (void)state;
    static const char *const text[] = {"a", "b", "a/b", "+", "#", "a/+", "a/#", "a/", "/a", "+/+", "+/#", "a/b/c"};
    for (size_t i = 0; i < ARRAY_N(text); i++) {
        for (size_t j = 0; j < ARRAY_N(text); j++) {
            struct token x[TOPIC_LEVELS_MAX], y[TOPIC_LEVELS_MAX];
            struct filter f, g;
            assert_int_equal(filter_from_mqtt(slice_from_str(text[i]), x, &f), ERR_OK);
            assert_int_equal(filter_from_mqtt(slice_from_str(text[j]), y, &g), ERR_OK);
            assert_int_equal(filter_is_equal(&f, &g), i == j);
        }
    }
    struct token plus = {TOKEN_LITERAL, SLICE("+")}, one = {TOKEN_ONE, SLICE("+")};
    assert_false(filter_is_equal(&(struct filter){&plus, 1}, &(struct filter){&one, 1})); /* kinds, not characters */
    assert_true(filter_matches(&(struct filter){&plus, 1}, SLICE("+")));
    assert_false(filter_matches(&(struct filter){&plus, 1}, SLICE("x")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels),
        cmocka_unit_test(names),
        cmocka_unit_test(sys),
        cmocka_unit_test(filters_from_and_to_text),
        cmocka_unit_test(too_many_levels),
        cmocka_unit_test(from_the_specification),
        cmocka_unit_test(against_a_table),
        cmocka_unit_test(equality),
    };
    return cmocka_run_group_tests_name("topic", tests, NULL, NULL);
}
