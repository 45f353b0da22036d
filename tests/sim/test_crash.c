/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_crash.c: brokers that die, in CI: first the seeds that once failed (tests/sim/seeds/crash), then fresh ones,
 * half as many as the other games play (WEIR_SIM_SEEDS).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/seeds.h"

static void test_kept_seeds(void **state)
{
    (void)state;
    uint32_t n;
    assert_int_equal(seeds_run_files(GAME_CRASH, TEST_SOURCE_DIR "/sim/seeds/crash", &n), 0);
    assert_true(n > 0);
}

static void test_fresh_seeds(void **state)
{
    (void)state;
    assert_int_equal(seeds_run(GAME_CRASH, 1, (seeds_wanted() + 1) / 2, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_seeds),
        cmocka_unit_test(test_fresh_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
