/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_utf8.c: every sequence of one to three bytes and many of four, against a decoder that works the other way round:
 * it computes the code point and asks whether that code point is written like this. Inputs end at a forbidden page.
 *
 * Spec: Unicode 15 table 3-7, [MQTT-1.5.4-1], [MQTT-1.5.4-2].
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/base/utf8.h"
#include "tests/support/guard.h"

/* encode: the shortest form of a code point; returns its bytes. */
static size_t encode(uint32_t cp, uint8_t *out)
{
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (uint8_t)(0xc0 | cp >> 6);
        out[1] = (uint8_t)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (uint8_t)(0xe0 | cp >> 12);
        out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | cp >> 18);
    out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (cp & 0x3f));
    return 4;
}

/* decode: the code point at p[n] without any care, then: would it be written so? Returns its bytes, 0 if not. */
static size_t decode(const uint8_t *p, size_t n, uint32_t *out)
{
    uint32_t first = p[0];
    size_t need = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
    if (need == 0 || need > n)
        return 0;
    uint32_t cp = need == 1 ? first : first & (0x7fu >> need);
    for (size_t i = 1; i < need; i++)
        cp = cp << 6 | (p[i] & 0x3fu);
    uint8_t again[4];
    if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        return 0;
    if (encode(cp, again) != need || memcmp(again, p, need) != 0)
        return 0;
    *out = cp;
    return need;
}

/* reference: bit 0 valid UTF-8, bit 1 valid and without NUL. */
static unsigned reference(const uint8_t *p, size_t n)
{
    bool nul = false;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 1;
        size_t eaten = decode(p + i, n - i, &cp);
        if (eaten == 0)
            return 0;
        nul |= cp == 0;
        i += eaten;
    }
    return nul ? 1 : 3;
}

static unsigned ours(const uint8_t *p, size_t n)
{
    return (utf8_is_valid(p, n) ? 1u : 0) | (utf8_is_mqtt(p, n) ? 2u : 0);
}

static void test_all_up_to_three_bytes(void **state)
{
    (void)state;
    uint8_t *end = guard_room(4);
    uint32_t differ = 0;
    for (size_t n = 0; n <= 3; n++) {
        uint8_t *p = end + 4 - n;
        for (uint32_t v = 0; v < 1u << 8 * n; v++) {
            for (size_t i = 0; i < n; i++)
                p[i] = (uint8_t)(v >> 8 * (n - 1 - i));
            differ += ours(p, n) != reference(p, n);
        }
    }
    assert_int_equal(differ, 0);
    guard_free(end);
}

static void test_four_bytes(void **state)
{
    (void)state;
    static const uint8_t edge[] = {0x00, 0x01, 0x41, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91, 0x9f, 0xa0, 0xa1, 0xbf,
                                   0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xf8, 0xfe, 0xff};
    uint8_t *p = guard_room(4);
    uint32_t differ = 0;
    for (uint32_t first = 0; first < 256; first++) {
        for (uint32_t second = 0; second < 256; second++) {
            for (size_t i = 0; i < ARRAY_N(edge) * ARRAY_N(edge); i++) {
                p[0] = (uint8_t)first;
                p[1] = (uint8_t)second;
                p[2] = edge[i / ARRAY_N(edge)];
                p[3] = edge[i % ARRAY_N(edge)];
                if (first >= 0xe0 || i % 16 == second % 16) /* all where four bytes can be one character */
                    differ += ours(p, 4) != reference(p, 4);
            }
        }
    }
    struct rng rng;
    rng_init(&rng, 4);
    for (int i = 0; i < 1000000; i++) {
        uint32_t v = (uint32_t)rng_u64(&rng);
        v = i % 2 ? v : (v | 0x80808080u) & 0xf7bfbfbfu; /* mostly continuation bytes */
        for (int k = 0; k < 4; k++)
            p[k] = (uint8_t)(v >> (24 - 8 * k));
        differ += ours(p, 4) != reference(p, 4);
    }
    assert_int_equal(differ, 0);
    guard_free(p);
}

static void test_every_code_point(void **state)
{
    (void)state;
    uint8_t c[4];
    for (uint32_t cp = 0; cp <= 0x110000; cp++) {
        size_t n = encode(cp, c);
        bool fine = cp <= 0x10ffff && !(cp >= 0xd800 && cp <= 0xdfff);
        if (utf8_is_valid(c, n) != fine || utf8_is_mqtt(c, n) != (fine && cp != 0))
            fail_msg("U+%04X", (unsigned)cp);
        if (n > 1 && utf8_is_valid(c, n - 1))
            fail_msg("U+%04X cut short", (unsigned)cp);
    }
}

/* What matters must be seen wherever it stands, before, within and behind words of eight. */
static void test_every_position(void **state)
{
    (void)state;
    static const struct {
        const char *p;
        size_t n;
    } odd[] = {{"\0", 1},       {"\x80", 1},         {"\xc3\xa9", 2},         {"\xc3", 1},         {"\xe2\x82\xac", 3},
               {"\xe2\x82", 2}, {"\xed\xa0\x80", 3}, {"\xf0\x9f\x98\x80", 4}, {"\xf0\x9f\x98", 3}, {"\xff", 1},
               {"\x01\x7f", 2}, {"\xc0\x80", 2},     {"\0\xc3\xa9", 3},       {"\xc3\xa9\0", 3},   {"\1\0", 2}};
    for (size_t o = 0; o < ARRAY_N(odd); o++) {
        for (size_t n = odd[o].n; n <= 40; n++) {
            for (size_t at = 0; at + odd[o].n <= n; at++) {
                uint8_t text[40];
                memset(text, 'a', n);
                memcpy(text + at, odd[o].p, odd[o].n);
                uint8_t *g = guard_bytes(text, n);
                if (ours(g, n) != reference(g, n))
                    fail_msg("sequence %zu at %zu of %zu", o, at, n);
                guard_free(g);
            }
        }
    }
}

static void test_random_texts(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 5);
    uint32_t valid = 0;
    for (int i = 0; i < 20000; i++) {
        uint8_t text[300];
        size_t n = 0, want = rng_below(&rng, 250);
        while (n < want) {
            uint32_t cp = (uint32_t)(rng_u64(&rng) >> (32 + rng_below(&rng, 32)));
            n += encode(cp % 0x110000, text + n);
        }
        if (n != 0 && rng_chance(&rng, 30))
            text[rng_below(&rng, (uint32_t)n)] = (uint8_t)rng_u64(&rng);
        uint8_t *g = guard_bytes(text, n);
        unsigned r = reference(g, n);
        assert_int_equal(ours(g, n), r);
        valid += r != 0;
        guard_free(g);
    }
    assert_in_range(valid, 2000, 18000); /* both answers were really tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_up_to_three_bytes), cmocka_unit_test(test_four_bytes),
        cmocka_unit_test(test_every_code_point),      cmocka_unit_test(test_every_position),
        cmocka_unit_test(test_random_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
