/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_wal_file.c: names, heads and frames as the essay of persist/wal_file.c has them, byte by byte; what was changed
 * in any bit, belongs to another life, or is cut short is refused, and nothing behind it is looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/store.h"
#include "persist/crc32c.h"
#include "persist/wal_file.h"
#include "tests/support/guard.h"

static void test_names(void **state)
{
    (void)state;
    char name[DISK_NAME_MAX];
    wal_name(0x1f, name);
    assert_string_equal(name, "wal-000000000000001f.log");
    assert_int_equal(wal_number(name), 0x1f);
    wal_name(UINT64_MAX, name);
    assert_true(wal_number(name) == UINT64_MAX);
    wal_spare_name(7, name);
    assert_string_equal(name, "spare-0000000000000007.log");
    static const char *const wrong[] = {"spare-0000000000000007.log",
                                        "wal-0000000000000000.log",
                                        "wal-1.log",
                                        "",
                                        "lock",
                                        "wal-000000000000001F.log",
                                        "wal-000000000000001g.log",
                                        "wal-000000000000001f.bin",
                                        "wal-000000000000001f.log2",
                                        "wal-00000000000000-1.log",
                                        "wal-000000000000001\x80.log"};
    for (size_t i = 0; i < ARRAY_N(wrong); i++)
        assert_int_equal(wal_number(wrong[i]), 0);
}

static void test_head(void **state)
{
    (void)state;
    struct wal_head h = {.version = 1, .number = 0x0102, .salt = 0x1122334455667788, .size = 4096, .made = 77}, got;
    uint8_t *raw = guard_room(WAL_HEAD);
    wal_put_head(raw, &h);
    assert_memory_equal(raw,
                        "WEIRLOG\n\x01\0\0\0\x40\0\0\0\x02\x01\0\0\0\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11"
                        "\0\x10\0\0\0\0\0\0\x4d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                        60);
    assert_int_equal(wal_get_head(raw, &got), ERR_OK);
    assert_memory_equal(&h, &got, sizeof(h));
    for (unsigned bit = 0; bit < WAL_HEAD * 8; bit++) { /* a flipped version is damage, not a newer one */
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(wal_get_head(raw, &got), ERR_MALFORMED);
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    h.version = 2;
    wal_put_head(raw, &h);
    assert_int_equal(wal_get_head(raw, &got), ERR_UNSUPPORTED);
    assert_int_equal(got.version, 2);
    static const uint64_t bad_size[] = {0, 63, 65, 1ull << 32};
    for (size_t i = 0; i < ARRAY_N(bad_size); i++) {
        wal_put_head(raw, &(struct wal_head){.version = 1, .number = 1, .size = bad_size[i]});
        assert_int_equal(wal_get_head(raw, &got), ERR_MALFORMED);
    }
    wal_put_head(raw, &(struct wal_head){.version = 1, .number = 0, .size = 4096});
    assert_int_equal(wal_get_head(raw, &got), ERR_MALFORMED);
    guard_free(raw);
}

static void test_frame_byte_by_byte(void **state)
{
    (void)state;
    static const uint8_t salt[8] = {9};
    uint8_t *raw = guard_room(32);
    struct wal_frame f;
    memcpy(raw + WAL_FRAME_HEAD, "BODYraw", 7);
    wal_put_frame(raw, STORE_PUBLISH, WAL_COPY, 0x0102030405060708, 4, 3);
    wal_seal(raw, 32, 9);
    assert_memory_equal(raw + 4, "\x1f\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x04\0\0\0\x01\x01", 18);
    assert_memory_equal(raw + 24, "BODYraw\0", 8);
    uint32_t begin = crc32c(0, salt, 8), sum = crc32c(begin, raw + 4, 18), crc = crc32c(begin, raw + 4, 28);
    assert_int_equal(raw[22] | raw[23] << 8, sum & 0xffff);
    assert_true((raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 24) == crc);
    assert_int_equal(wal_frame_size(raw, 9), 32);
    assert_int_equal(wal_frame_size(raw, 8), 0);
    assert_int_equal(wal_check_frame(raw, 32, 9, &f), ERR_OK);
    assert_true(f.bytes == 32 && f.lsn == 0x0102030405060708 && f.kind == STORE_PUBLISH && f.flags == WAL_COPY);
    assert_true(slice_eq_str(f.body, "BODY") && slice_eq_str(f.raw, "raw"));
    guard_free(raw);
}

static void test_what_is_not_whole_is_refused(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1);
    struct wal_frame f;
    for (int round = 0; round < 60; round++) {
        uint32_t body = rng_below(&rng, 60), raw = rng_below(&rng, 60);
        size_t n = (size_t)wal_frame_bytes(body, raw);
        uint64_t salt = rng_u64(&rng);
        uint8_t *p = guard_room(n);
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)rng_u64(&rng);
        wal_put_frame(p, (uint8_t)(1 + rng_below(&rng, 60)), 0, rng_u64(&rng), body, raw);
        wal_seal(p, n, salt);
        assert_int_equal(wal_check_frame(p, n, salt, &f), ERR_OK);
        assert_true(f.body.len == body && f.raw.len == raw && f.bytes == n);
        assert_int_equal(wal_check_frame(p, n, salt + 1, &f), ERR_MALFORMED);
        for (size_t bit = 0; bit < n * 8; bit++) {
            p[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(wal_check_frame(p, n, salt, &f), ERR_MALFORMED);
            p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *g = guard_bytes(p, cut);
            assert_int_equal(wal_check_frame(g, cut, salt, &f), ERR_MALFORMED);
            guard_free(g);
        }
        guard_free(p);
    }
    uint8_t zero[64] = {0};
    assert_int_equal(wal_check_frame(zero, sizeof(zero), 0, &f), ERR_MALFORMED);
}

static void test_seal_measures_the_part(void **state)
{
    (void)state;
    uint8_t p[96] = {0};
    struct wal_frame f;
    wal_put_frame(p, WAL_BATCH, 0, 1, 0, 8);
    wal_put_frame(p + 32, STORE_TX, 0, 1, 3, 0);
    wal_put_frame(p + 64, STORE_TX_END, 0, 2, 8, 0);
    wal_seal(p, sizeof(p), 5);
    assert_int_equal(wal_check_frame(p, sizeof(p), 5, &f), ERR_OK);
    assert_memory_equal(f.raw.p, "\x60\0\0\0\0\0\0\0", 8);
    for (size_t off = 0; off < sizeof(p); off += f.bytes)
        assert_int_equal(wal_check_frame(p + off, sizeof(p) - off, 5, &f), ERR_OK);
    wal_seal(p, 0, 5); /* nothing */
}

static void test_void(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {24, 32, 4120, 4128, 20000};
    static uint8_t p[20000];
    struct wal_frame f;
    for (size_t i = 0; i < ARRAY_N(sizes); i++) {
        memset(p, 0, sizeof(p));
        wal_put_void(p, sizes[i], 6);
        assert_int_equal(wal_check_frame(p, sizeof(p), 6, &f), ERR_OK);
        assert_true(f.bytes == sizes[i] && f.kind == WAL_VOID);
    }
}

static void seal_half(void *p)
{
    wal_seal(p, 20, 1);
}

static void test_seal_wants_whole_frames(void **state)
{
    (void)state;
    uint8_t p[32] = {0};
    wal_put_frame(p, STORE_TX, 0, 1, 1, 0);
    assert_true(guard_dies(seal_half, p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_frame_byte_by_byte),
        cmocka_unit_test(test_what_is_not_whole_is_refused),
        cmocka_unit_test(test_seal_measures_the_part),
        cmocka_unit_test(test_void),
        cmocka_unit_test(test_seal_wants_whole_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
