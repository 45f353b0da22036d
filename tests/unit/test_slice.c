/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slice.c: comparing, searching and skipping, with empty and NULL slices, bytes that are NUL, and ends at a
 * forbidden page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base/slice.h"
#include "tests/support/guard.h"

static void test_equal(void **state)
{
    (void)state;
    struct slice none = {NULL, 0};
    assert_true(slice_eq(none, SLICE("")));
    assert_true(slice_eq(none, none));
    assert_true(slice_eq(SLICE("a/b"), slice_from_str("a/b")));
    assert_false(slice_eq(SLICE("a/b"), SLICE("a/c")));
    assert_false(slice_eq(SLICE("a/b"), SLICE("a/bc")));
    assert_false(slice_eq(SLICE("a"), none));
    assert_false(slice_eq(SLICE("a\0b"), SLICE("a\0c"))); /* NUL is a byte like any other */
    assert_int_equal(SLICE("a\0b").len, 3);
    assert_true(slice_eq_str(SLICE("abc"), "abc"));
    assert_false(slice_eq_str(SLICE("abc\0"), "abc"));
    assert_true(slice_eq_str(none, ""));
}

static void test_starts_with(void **state)
{
    (void)state;
    struct slice none = {NULL, 0};
    assert_true(slice_starts_with(SLICE("$SYS/x"), SLICE("$SYS/")));
    assert_true(slice_starts_with(SLICE("$SYS/"), SLICE("$SYS/")));
    assert_false(slice_starts_with(SLICE("$SYS"), SLICE("$SYS/")));
    assert_false(slice_starts_with(SLICE("$SYx/x"), SLICE("$SYS/")));
    assert_true(slice_starts_with(SLICE("x"), none));
    assert_true(slice_starts_with(none, none));
    assert_false(slice_starts_with(none, SLICE("x")));
}

static void test_skip_and_find(void **state)
{
    (void)state;
    struct slice none = {NULL, 0};
    assert_true(slice_eq_str(slice_skip(SLICE("a/b"), 2), "b"));
    assert_int_equal(slice_skip(SLICE("a/b"), 3).len, 0);
    assert_int_equal(slice_skip(none, 0).len, 0);
    assert_null(slice_skip(none, 0).p);
    assert_int_equal(slice_find(SLICE("a/b/c"), '/'), 1);
    assert_int_equal(slice_find(SLICE("a/b/c"), 'c'), 4);
    assert_int_equal(slice_find(SLICE("a/b/c"), 'x'), -1);
    assert_int_equal(slice_find(SLICE("a\0b"), 0), 1);
    assert_int_equal(slice_find(none, 'x'), -1);
    char text[20];
    snprintf(text, sizeof(text), "[" SLICE_FMT "]", SLICE_ARG(slice_skip(SLICE("xabc"), 1)));
    assert_string_equal(text, "[abc]");
}

static void test_nothing_behind_is_read(void **state)
{
    (void)state;
    for (size_t n = 0; n < 40; n++) {
        uint8_t *a = guard_room(n), *b = guard_room(n);
        struct slice s = slice_make(a, n), t = slice_make(b, n);
        assert_true(slice_eq(s, t));
        assert_true(slice_starts_with(s, t));
        assert_int_equal(slice_find(s, 1), -1);
        struct slice g = guard_slice(s);
        assert_true(slice_eq(g, s));
        guard_free((void *)(uintptr_t)g.p);
        guard_free(a);
        guard_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_starts_with),
        cmocka_unit_test(test_skip_and_find),
        cmocka_unit_test(test_nothing_behind_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
