/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hash.c: what a table needs of a hash: every byte, the length and the seed count, values spread evenly over the
 * low bits that the table uses, and nothing outside the input is read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/hash.h"
#include "core/base/rng.h"
#include "tests/support/guard.h"

static void test_portable_product_is_the_same(void **state)
{
    (void)state;
    static const uint64_t edge[] = {0, 1, 2, UINT32_MAX, 1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 1};
    for (size_t a = 0; a < ARRAY_N(edge); a++) {
        for (size_t b = 0; b < ARRAY_N(edge); b++)
            assert_int_equal(hash_mix(edge[a], edge[b]), hash_mix_portable(edge[a], edge[b]));
    }
    struct rng rng;
    rng_init(&rng, 1);
    for (int i = 0; i < 100000; i++) {
        uint64_t a = rng_u64(&rng), b = rng_u64(&rng);
        assert_int_equal(hash_mix(a, b), hash_mix_portable(a, b));
    }
    assert_int_equal(hash_mix_portable(UINT64_MAX, UINT64_MAX), UINT64_MAX ^ 0); /* ff..fe 00..01 folded */
}

static void test_every_bit_counts(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 2);
    uint8_t p[80];
    for (size_t i = 0; i < sizeof(p); i++)
        p[i] = (uint8_t)rng_u64(&rng);
    for (size_t n = 0; n <= sizeof(p); n++) {
        uint8_t *g = guard_bytes(p, n);
        uint64_t h = hash_bytes(7, g, n);
        assert_int_equal(h, hash_bytes(7, p, n)); /* the address does not count */
        uint64_t flips = 0;
        for (size_t bit = 0; bit < n * 8; bit++) {
            g[bit / 8] ^= (uint8_t)(1u << bit % 8);
            uint64_t other = hash_bytes(7, g, n);
            g[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_not_equal(h, other);
            flips += (unsigned)__builtin_popcountll(h ^ other);
        }
        if (n != 0) { /* half of the 64 bits change, on average */
            double mean = (double)flips / (double)(n * 8);
            assert_true(mean > 26 && mean < 38);
        }
        assert_int_not_equal(h, hash_bytes(8, g, n)); /* the seed counts */
        if (n != 0)
            assert_int_not_equal(h, hash_bytes(7, g, n - 1));
        guard_free(g);
    }
    uint8_t zero[64] = {0}; /* runs of zeros differ by their length */
    for (size_t a = 0; a < sizeof(zero); a++) {
        for (size_t b = 0; b < a; b++)
            assert_int_not_equal(hash_bytes(0, zero, a), hash_bytes(0, zero, b));
    }
}

/* chi2: of 4096 buckets by the low 12 bits after `n` values; about 4095 +- 90 when even. */
static double chi2(const uint32_t *count, double n)
{
    double sum = 0, want = n / 4096;
    for (int i = 0; i < 4096; i++)
        sum += ((double)count[i] - want) * ((double)count[i] - want) / want;
    return sum;
}

static void test_low_bits_are_even(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        static uint32_t names[4096], numbers[4096];
        for (int i = 0; i < 4096; i++)
            names[i] = numbers[i] = 0;
        for (uint32_t i = 0; i < 200000; i++) {
            char name[40];
            int n = snprintf(name, sizeof(name), "home/floor-%u/sensor-%u", (unsigned)(i / 1000), (unsigned)i);
            names[hash_bytes(seed, name, (size_t)n) & 4095]++;
            numbers[hash_u64(seed, i) & 4095]++;
        }
        assert_true(chi2(names, 200000) < 4600 && chi2(names, 200000) > 3600);
        assert_true(chi2(numbers, 200000) < 4600 && chi2(numbers, 200000) > 3600);
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_no_two_of_many_collide(void **state)
{
    (void)state;
    enum { N = 300000 };
    static uint64_t h[N];
    for (uint32_t i = 0; i < N; i++) {
        uint8_t key[24] = {0}; /* differs in four bytes, wherever they stand */
        for (int k = 0; k < 4; k++)
            key[i % 5 * 5 + (uint32_t)k] = (uint8_t)((i + 1) >> (8 * k));
        h[i] = hash_bytes(42, key, sizeof(key));
    }
    qsort(h, N, sizeof(h[0]), by_value);
    for (int i = 1; i < N; i++)
        assert_int_not_equal(h[i - 1], h[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_portable_product_is_the_same),
        cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_low_bits_are_even),
        cmocka_unit_test(test_no_two_of_many_collide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
