/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_crc32c.c: the published values, both ways the same for every length and alignment, and nothing read outside.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "persist/crc32c.h"
#include "tests/support/guard.h"

static void test_published_values(void **state)
{
    (void)state;
    uint8_t p[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, NULL, 0), 0);
    memset(p, 0, sizeof(p)); /* RFC 3720 appendix B.4 */
    assert_int_equal(crc32c(0, p, 32), 0x8a9136aa);
    memset(p, 0xff, sizeof(p));
    assert_int_equal(crc32c(0, p, 32), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++)
        p[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, p, 32), 0x46dd794e);
    assert_int_equal(crc32c_portable(0, p, 32), 0x46dd794e);
}

static uint32_t bit_by_bit(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void test_both_ways_are_the_same(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1);
    uint8_t p[300];
    for (size_t i = 0; i < sizeof(p); i++)
        p[i] = (uint8_t)rng_u64(&rng);
    for (size_t n = 0; n < sizeof(p); n++) {
        uint8_t *g = guard_bytes(p, n);
        uint32_t seed = (uint32_t)rng_u64(&rng), want = bit_by_bit(seed, p, n);
        assert_int_equal(crc32c(seed, g, n), want);
        assert_int_equal(crc32c_portable(seed, g, n), want);
        size_t cut = n / 3; /* in two pieces */
        assert_int_equal(crc32c(crc32c(seed, g, cut), g + cut, n - cut), want);
        guard_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_values),
        cmocka_unit_test(test_both_ways_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
