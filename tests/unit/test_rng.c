/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rng.c: the sequence is the published one (seeds of the simulator depend on it), ranges are kept and even, and
 * two random seeds differ.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/check.h"
#include "core/base/rng.h"
#include "tests/support/guard.h"

static void test_published_sequence(void **state)
{
    (void)state;
    /* xoshiro256** from the state 1, 2, 3, 4 */
    static const uint64_t want[] = {11520u,
                                    0u,
                                    1509978240u,
                                    1215971899390074240u,
                                    1216172134540287360u,
                                    607988272756665600u,
                                    16172922978634559625u,
                                    8476171486693032832u,
                                    10595114339597558777u,
                                    2904607092377533576u};
    struct rng r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < ARRAY_N(want); i++)
        assert_true(rng_u64(&r) == want[i]);
    rng_init(&r, 0); /* SplitMix64 from 0 */
    assert_true(r.s[0] == 0xe220a8397b1dcdafull);
    assert_true(r.s[1] == 0x6e789e6aa1b965f4ull);
}

static void test_seed_decides(void **state)
{
    (void)state;
    struct rng a, b, c;
    rng_init(&a, 77);
    rng_init(&b, 77);
    rng_init(&c, 78);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t v = rng_u64(&a);
        assert_true(v == rng_u64(&b));
        same += v == rng_u64(&c);
    }
    assert_int_equal(same, 0);
    rng_init_random(&a);
    rng_init_random(&b);
    assert_true(rng_u64(&a) != rng_u64(&b));
}

static void test_below_is_even(void **state)
{
    (void)state;
    struct rng r;
    rng_init(&r, 1);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rng_below(&r, 1), 0);
        assert_true(rng_below(&r, UINT32_MAX) < UINT32_MAX);
    }
    uint32_t count[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint32_t v = rng_below(&r, 7);
        assert_true(v < 7);
        count[v]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(count[i], 9600, 10400);
}

static void test_chance(void **state)
{
    (void)state;
    struct rng r;
    rng_init(&r, 2);
    uint32_t hits = 0;
    for (int i = 0; i < 100000; i++) {
        assert_false(rng_chance(&r, 0));
        assert_true(rng_chance(&r, 100));
        hits += rng_chance(&r, 30) ? 1u : 0;
    }
    assert_in_range(hits, 29300, 30700);
}

static void below_zero(void *ctx)
{
    uint32_t v = rng_below(ctx, 0);
    UNUSED(v);
}

static void test_below_zero_is_caught(void **state)
{
    (void)state;
    struct rng r;
    rng_init(&r, 2);
    assert_true(guard_dies(below_zero, &r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_sequence),   cmocka_unit_test(test_seed_decides),
        cmocka_unit_test(test_below_is_even),        cmocka_unit_test(test_chance),
        cmocka_unit_test(test_below_zero_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
