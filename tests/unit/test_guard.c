/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_guard.c: the test support itself: the byte behind crashes, the bytes before do not, whatever the length; and
 * guard_dies tells a crash from a quiet end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/guard.h"

static void read_byte(void *p)
{
    volatile uint8_t v = *(volatile uint8_t *)p;
    UNUSED(v);
}

static void write_byte(void *p)
{
    *(volatile uint8_t *)p = 1;
}

static void test_ends_at_the_forbidden_page(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t lens[] = {0, 1, 2, 7, 100, page - 1, page, page + 1, 3 * page, 3 * page + 5};
    uint8_t bytes[20000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < ARRAY_N(lens); i++) {
        size_t n = lens[i];
        uint8_t *g = guard_bytes(n ? bytes : NULL, n);
        assert_non_null(g);
        assert_memory_equal(g, bytes, n);
        assert_true(guard_dies(read_byte, g + n));
        assert_true(guard_dies(write_byte, g + n));
        if (n != 0) {
            assert_false(guard_dies(read_byte, g));
            assert_false(guard_dies(write_byte, g + n - 1));
            memset(g, 1, n);
        }
        guard_free(g);
        assert_true(guard_dies(read_byte, g)); /* gone */
    }
    guard_free(NULL);
}

static void test_room_is_filled(void **state)
{
    (void)state;
    uint8_t *g = guard_room(5000);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(g[i], 0xa5);
    assert_true(guard_dies(read_byte, g - 5000)); /* far in front: in the page before the first that it fills */
    guard_free(g);
}

static void free_stray(void *p)
{
    guard_free(p);
}

static void nothing(void *ctx)
{
    UNUSED(ctx);
}

static void bug(void *ctx)
{
    BUG_ON(ctx == NULL);
}

static void test_dies(void **state)
{
    (void)state;
    assert_false(guard_dies(nothing, NULL));
    assert_true(guard_dies(bug, NULL));
    assert_false(guard_dies(bug, state));
    uint8_t *g = guard_room(10000);
    assert_true(guard_dies(free_stray, g + 5000)); /* not what guard_room returned */
    guard_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_at_the_forbidden_page),
        cmocka_unit_test(test_room_is_filled),
        cmocka_unit_test(test_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
