/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_queues.c: queues, exchanges, dead letters, delays and transactions, the broker against its twin (stage.h): first
 * the seeds that once failed (tests/sim/seeds/queues: a number, then why it is kept), then fresh ones. Then
 * transactions where everything goes wrong at once (world.h). WEIR_SIM_SEEDS says how many; of the last kind a fifth.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/seeds.h"
#include "tests/sim/world.h"

static void test_kept_seeds(void **state)
{
    (void)state;
    uint32_t n;
    assert_int_equal(seeds_run_files(GAME_STAGE, TEST_SOURCE_DIR "/sim/seeds/queues", &n), 0);
    assert_true(n > 0);
}

static void test_fresh_seeds(void **state)
{
    (void)state;
    assert_int_equal(seeds_run(GAME_STAGE, 1, seeds_wanted(), 0), 0);
}

static void test_transactions(void **state)
{
    (void)state;
    assert_int_equal(seeds_run(GAME_WORLD, WORLD_TX_SEED, (seeds_wanted() + 4) / 5, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_seeds),
        cmocka_unit_test(test_fresh_seeds),
        cmocka_unit_test(test_transactions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
