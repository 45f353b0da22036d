/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_brake.c: the token bucket: its burst, its debt, that the long-run rate is exact to the last token, and that
 * nothing overflows where numbers are as large as they can be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/check.h"
#include "core/base/rng.h"
#include "core/brake.h"

static void without_a_rate(void **state)
{
    (void)state;
    struct brake b = {0};
    assert_int_equal(brake_take(&b, UINT64_MAX, 0), 0);
    brake_init(&b, 0, 7);
    for (mono_ms now = 0; now < 1000; now++)
        assert_int_equal(brake_take(&b, 1000000, now), 0);
}

static void burst_and_debt(void **state)
{
    (void)state;
    struct brake b;
    brake_init(&b, 100, 5000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(brake_take(&b, 1, 5000), 0); /* one second's worth at once */
    assert_int_equal(brake_take(&b, 1, 5000), 10);
    assert_int_equal(brake_take(&b, 9, 5000), 100);
    assert_int_equal(brake_take(&b, 0, 5099), 1);
    assert_int_equal(brake_take(&b, 0, 5100), 0);
    assert_int_equal(brake_take(&b, 1, 5100), 10);
    assert_int_equal(brake_take(&b, 0, 6110), 0); /* paid, and full again: no more than that */
    assert_int_equal(brake_take(&b, 100, 99999), 0);
    assert_int_equal(brake_take(&b, 1, 99999), 10);
}

static void one_in_a_long_time(void **state)
{
    (void)state;
    struct brake b;
    brake_init(&b, 1, 0);
    assert_int_equal(brake_take(&b, 1, 0), 0);
    assert_int_equal(brake_take(&b, 3600, 0), 3600000);
    assert_int_equal(brake_take(&b, 0, 3599999), 1);
    assert_int_equal(brake_take(&b, 0, 3600000), 0);
}

/* a rate that no number of milliseconds divides: a third of a token per millisecond is not lost. */
static void rounds_up_what_it_says(void **state)
{
    (void)state;
    struct brake b;
    brake_init(&b, 3, 0);
    assert_int_equal(brake_take(&b, 3, 0), 0);
    assert_int_equal(brake_take(&b, 1, 0), 334);
    assert_int_equal(brake_take(&b, 0, 333), 1);
    assert_int_equal(brake_take(&b, 0, 334), 0);
    assert_int_equal(brake_take(&b, 2, 1000), 0); /* 3 came in this second, 1 was owed: exactly 2 are left */
    assert_int_equal(b.tokens, 0);
}

/* Whoever waits as told, for any amounts, has taken rate * t + what was there + the last amount at most. */
static void exact_in_the_long_run(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 20261121);
    for (int round = 0; round < 200; round++) {
        struct brake b;
        mono_ms start = rng_u64(&rng) % 1000000, now = start;
        uint64_t rate = 1 + rng_u64(&rng) % (round % 2 ? 1000 : 1000000007), taken = 0, last = 0;
        brake_init(&b, rate, now);
        for (int i = 0; i < 2000; i++) {
            last = rng_u64(&rng) % (rate + rate / 2 + 2);
            taken += last;
            mono_ms wait = brake_take(&b, last, now);
            uint64_t most = rate * (now - start) + rate * 1000 + last * 1000;
            assert_true(taken * 1000 <= most);
            now += wait;
        }
    }
}

/* always behind: then it is exact to the millisecond, from both sides. */
static void never_idle(void **state)
{
    (void)state;
    static const uint64_t rate[] = {1, 3, 7, 999, 1000, 1001, 123457, UINT64_C(1) << 40};
    for (unsigned i = 0; i < ARRAY_N(rate); i++) {
        struct brake b;
        mono_ms now = 12345;
        uint64_t each = 1 + rate[i] / 10, taken = 0;
        brake_init(&b, rate[i], now);
        while (taken < rate[i] * 60 || taken < each * 60) {
            taken += each;
            now += brake_take(&b, each, now);
        }
        uint64_t given = rate[i] * (now - 12345 + 1000), wanted = taken * 1000;
        assert_true(given >= wanted);          /* now it is all paid */
        assert_true(given - wanted < rate[i]); /* and was not, a millisecond ago */
    }
}

static void a_clock_that_goes_back(void **state)
{
    (void)state;
    struct brake b;
    brake_init(&b, 10, 1000);
    assert_int_equal(brake_take(&b, 10, 1000), 0);
    assert_int_equal(brake_take(&b, 10, 500), 1000);
    assert_int_equal(b.filled_at, 1000);
    assert_int_equal(brake_take(&b, 0, 1000), 1000); /* and gives nothing twice */
    assert_int_equal(brake_take(&b, 0, 2000), 0);
}

static void as_large_as_can_be(void **state)
{
    (void)state;
    static const uint64_t big[] = {1,         1000,           UINT64_C(1) << 40, INT64_MAX / 2000, INT64_MAX / 1000,
                                   INT64_MAX, UINT64_MAX / 2, UINT64_MAX - 1,    UINT64_MAX};
    for (unsigned r = 0; r < ARRAY_N(big); r++) {
        for (unsigned n = 0; n < ARRAY_N(big); n++) {
            for (unsigned t = 0; t < ARRAY_N(big); t++) {
                struct brake b;
                brake_init(&b, big[r], 0);
                for (int i = 0; i < 4; i++) {
                    mono_ms wait = brake_take(&b, big[n], 0);
                    assert_true(wait <= INT64_MAX);
                    assert_true((wait > 0) == (b.tokens < 0));
                }
                (void)brake_take(&b, 0, big[t]);
                (void)brake_take(&b, big[n], big[t]);
                if (big[t] <= INT64_MAX) /* in time everything is paid */
                    assert_int_equal(brake_take(&b, 0, UINT64_MAX), 0);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_rate),         cmocka_unit_test(burst_and_debt),
        cmocka_unit_test(one_in_a_long_time),     cmocka_unit_test(rounds_up_what_it_says),
        cmocka_unit_test(exact_in_the_long_run),  cmocka_unit_test(never_idle),
        cmocka_unit_test(a_clock_that_goes_back), cmocka_unit_test(as_large_as_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
