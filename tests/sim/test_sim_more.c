/* SPDX-License-Identifier: Apache-2.0 */
/* test_sim_more.c: the second half of the fresh seeds; see test_sim.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/seeds.h"

static void test_more_fresh_seeds(void **state)
{
    (void)state;
    uint64_t all = seeds_wanted(), half = (all + 1) / 2;
    assert_int_equal(seeds_run(GAME_WORLD, 1 + half, all - half, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_more_fresh_seeds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
