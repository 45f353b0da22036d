/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sim.c: the simulator in CI: first the seeds that once failed (tests/sim/seeds: a number, then why it is kept),
 * then the first half of the fresh ones; test_sim_more.c plays the other half, so that two cores share the work.
 * WEIR_SIM_SEEDS says how many there are in all.
 *
 * A seed means a run only for the simulator it was found with: whoever changes what the dice are asked finds the kept
 * seeds anew, by putting the old mistake back and letting `sim --seed 1 --seeds 2000` look for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/sim/model.h"
#include "tests/sim/seeds.h"

static void test_model_matches(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *topic;
        bool yes;
    } row[] = {
        {"a/b", "a/b", true},       {"a/b", "a/bb", false},  {"a/+", "a/b", true},     {"a/+", "a", false},
        {"a/+", "a/", true},        {"a/#", "a", true},      {"a/#", "a/b/c", true},   {"#", "a/b", true},
        {"#", "$w/a", false},       {"+/a", "$w/a", false},  {"$w/+", "$w/a", true},   {"a/#/c", "a/c", true},
        {"a/#/c", "a/b/b/c", true}, {"a/#/c", "a/b", false}, {"#/temp", "temp", true}, {"#/temp", "a/b/temp", true},
        {"+/+", "/x", true},        {"/+", "/x", true},      {"+", "/x", false},       {"b//c", "b//c", true},
        {"b/+/c", "b//c", true},    {"#", "", true},
    };
    for (size_t i = 0; i < ARRAY_N(row); i++)
        if (model_matches(row[i].filter, row[i].topic) != row[i].yes)
            fail_msg("%s against %s should be %d", row[i].filter, row[i].topic, row[i].yes);
}

static void test_kept_seeds(void **state)
{
    (void)state;
    uint32_t n;
    assert_int_equal(seeds_run_files(GAME_WORLD, TEST_SOURCE_DIR "/sim/seeds", &n), 0);
    assert_true(n > 0);
}

static void test_fresh_seeds(void **state)
{
    (void)state;
    uint64_t half = (seeds_wanted() + 1) / 2;
    assert_int_equal(seeds_run(GAME_WORLD, 1, half, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_matches),
        cmocka_unit_test(test_kept_seeds),
        cmocka_unit_test(test_fresh_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
