/* SPDX-License-Identifier: Apache-2.0 */
/* test_ws_text.c: text in pieces is judged as text in one. The judge of one piece is core/base/utf8.h, which
 * test_utf8.c tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/base/slice.h"
#include "core/base/utf8.h"
#include "tests/support/guard.h"
#include "transport/ws_text.h"

/* judge: p[n], cut in pieces: at `cut`, and after that every `step` bytes, each in memory that ends at a forbidden
 * page.
 */
static bool judge(const uint8_t *p, size_t n, size_t cut, size_t step)
{
    struct ws_text t = {0};
    bool is_fine = true;
    for (size_t at = 0, part; at < n && is_fine; at += part) {
        part = MIN(n - at, at == 0 && cut != 0 ? cut : step);
        uint8_t *piece = guard_bytes(p + at, part);
        is_fine = ws_text_add(&t, piece, part) && ws_text_add(&t, piece, 0);
        guard_free(piece);
    }
    return is_fine && ws_text_is_whole(&t);
}

static void check(const uint8_t *p, size_t n)
{
    bool expected = utf8_is_valid(p, n);
    for (size_t cut = 1; cut <= n; cut++) {
        assert_int_equal(judge(p, n, cut, n), expected);
        assert_int_equal(judge(p, n, cut, 1), expected);
    }
}

static void test_rows(void **state)
{
    UNUSED(state);
    const struct {
        struct slice text;
        bool is_fine;
    } rows[] = {
        {SLICE("plain"), true},
        {SLICE("sch\xc3\xb6n"), true},
        {SLICE("\xe2\x82\xac and \xf0\x9f\x98\x80"), true},
        {SLICE("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"), true}, /* the borders of the ranges */
        {SLICE("a\0b"), true},
        {SLICE("\xc3"), false}, /* ends too early */
        {SLICE("a\xe2\x82"), false},
        {SLICE("\xf0\x9f\x98"), false},
        {SLICE("\xc3("), false},
        {SLICE("\xe2\x82("), false},
        {SLICE("\x80"), false}, /* no character begins so */
        {SLICE("\xbf\xbf\xbf\xbf"), false},
        {SLICE("\xc0\xaf"), false}, /* not the shortest form */
        {SLICE("\xe0\x9f\xbf"), false},
        {SLICE("\xf0\x8f\xbf\xbf"), false},
        {SLICE("\xed\xa0\x80"), false}, /* a surrogate */
        {SLICE("\xf4\x90\x80\x80"), false},
        {SLICE("\xf5\x80\x80\x80"), false},
        {SLICE("\xff"), false},
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        assert_int_equal(utf8_is_valid(rows[i].text.p, rows[i].text.len), rows[i].is_fine);
        check(rows[i].text.p, rows[i].text.len);
    }
}

/* At most two bytes of what is wrong come through before it is refused. */
static void test_refused_in_time(void **state)
{
    UNUSED(state);
    struct ws_text t = {0};
    assert_true(ws_text_add(&t, (const uint8_t *)"ab\xed", 3));
    assert_false(ws_text_is_whole(&t));
    assert_true(ws_text_add(&t, (const uint8_t *)"\xa0", 1));
    assert_false(ws_text_add(&t, (const uint8_t *)"\x80", 1));
    t = (struct ws_text){0};
    assert_true(ws_text_add(&t, (const uint8_t *)"\xe2", 1));
    assert_false(ws_text_add(&t, (const uint8_t *)"x", 1));
}

/* Words of a language that knows all lengths, with a fault now and then. */
static void test_random(void **state)
{
    UNUSED(state);
    static const char *const part[] = {"a",
                                       "\xc3\xb6",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "hello wide world",
                                       "\xed",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xe0\xa0\x80\x80",
                                       "\xc0"};
    struct rng rng;
    rng_init(&rng, 11);
    unsigned fine = 0;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t text[256];
        size_t n = 0;
        unsigned kinds = rng_chance(&rng, 50) ? 5 : ARRAY_N(part);
        for (unsigned i = rng_below(&rng, 12); i > 0; i--) {
            const char *word = part[rng_below(&rng, kinds)];
            memcpy(text + n, word, strlen(word));
            n += strlen(word);
        }
        size_t step = 1 + rng_below(&rng, 9);
        bool expected = utf8_is_valid(text, n);
        assert_int_equal(judge(text, n, 0, step), expected);
        fine += expected;
    }
    assert_in_range(fine, 2000, 18000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_refused_in_time),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
