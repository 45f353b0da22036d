/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mem.c: accounting by account and heap, failing the Nth call, the limit in bytes.
 *
 * The sums are compared with what the allocator says about each block (malloc_usable_size), not with constants.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "tests/support/guard.h"

static void test_sums_follow_the_blocks(void **state)
{
    (void)state;
    struct mem_heap heap;
    struct mem acc[2];
    mem_heap_init(&heap);
    mem_init(&acc[0], &heap, "a");
    mem_init(&acc[1], &heap, "b");
    struct rng rng;
    rng_init(&rng, 1);
    void *p[64] = {0};
    for (int step = 0; step < 20000; step++) {
        uint32_t i = rng_below(&rng, ARRAY_N(p));
        struct mem *m = &acc[i % 2];
        size_t n = 1 + rng_below(&rng, 3000);
        if (p[i] == NULL) {
            p[i] = rng_chance(&rng, 50) ? mem_alloc(m, n) : mem_zalloc(m, n);
            assert_non_null(p[i]);
        } else if (rng_chance(&rng, 50)) {
            p[i] = mem_realloc(m, p[i], n);
            assert_non_null(p[i]);
        } else {
            mem_free(m, p[i]);
            p[i] = NULL;
        }
        size_t bytes[2] = {0}, blocks[2] = {0};
        for (size_t k = 0; k < ARRAY_N(p); k++) {
            bytes[k % 2] += p[k] ? malloc_usable_size(p[k]) : 0;
            blocks[k % 2] += p[k] != NULL;
        }
        for (int k = 0; k < 2; k++) {
            assert_int_equal(acc[k].bytes, bytes[k]);
            assert_int_equal(acc[k].blocks, blocks[k]);
        }
        assert_int_equal(heap.bytes, bytes[0] + bytes[1]);
    }
    for (size_t i = 0; i < ARRAY_N(p); i++)
        mem_free(&acc[i % 2], p[i]);
    assert_int_equal(heap.bytes, 0);
    assert_int_equal(acc[0].blocks + acc[1].blocks, 0);
}

static void test_zalloc_dup_aligned(void **state)
{
    (void)state;
    struct mem_heap heap;
    struct mem m;
    mem_heap_init(&heap);
    mem_init(&m, &heap, "m");
    uint8_t *z = mem_zalloc(&m, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(z[i], 0);
    mem_free(&m, z);
    char *d = mem_dup(&m, "weir", 4);
    assert_string_equal(d, "weir");
    mem_free(&m, d);
    d = mem_dup(&m, NULL, 0);
    assert_string_equal(d, "");
    mem_free(&m, d);
    assert_null(mem_alloc(&m, SIZE_MAX));
    assert_null(mem_zalloc(&m, SIZE_MAX / 2 + 1));
    for (size_t align = 8; align <= 65536; align *= 2) {
        uint8_t *a = mem_alloc_aligned(&m, align, 100);
        assert_non_null(a);
        assert_int_equal((uintptr_t)a % align, 0);
        memset(a, 1, 100);
        mem_free(&m, a);
    }
    mem_free(&m, NULL);
    assert_int_equal(heap.bytes, 0);
}

/* Five attempts; returns a bit per one that succeeded. */
static unsigned attempts(struct mem *m)
{
    void *p[5] = {mem_alloc(m, 10), mem_zalloc(m, 10), mem_dup(m, "x", 1), mem_realloc(m, NULL, 10),
                  mem_alloc_aligned(m, 64, 10)};
    unsigned done = 0;
    for (int i = 0; i < 5; i++) {
        done |= p[i] ? 1u << i : 0;
        mem_free(m, p[i]);
    }
    return done;
}

static void test_fail_the_nth(void **state)
{
    (void)state;
    for (unsigned nth = 0; nth <= 6; nth++) {
        for (int after = 0; after <= 1; after++) {
            struct mem_heap heap;
            struct mem m;
            mem_heap_init(&heap);
            mem_init(&m, &heap, "m");
            heap.fail_at = nth;
            heap.fail_after = after;
            unsigned want = 31;
            if (nth >= 1)
                want = after ? (1u << (nth - 1)) - 1 : 31 & ~(1u << (nth - 1));
            assert_int_equal(attempts(&m), want & 31);
            assert_int_equal(heap.calls, 5);
            assert_int_equal(heap.bytes, 0);
            assert_int_equal(m.blocks, 0);
        }
    }
}

static void test_failed_realloc_changes_nothing(void **state)
{
    (void)state;
    struct mem_heap heap;
    struct mem m;
    mem_heap_init(&heap);
    mem_init(&m, &heap, "m");
    uint8_t *p = mem_dup(&m, "0123456789", 10);
    size_t bytes = heap.bytes;
    heap.fail_at = heap.calls + 1;
    assert_null(mem_realloc(&m, p, 100000));
    assert_memory_equal(p, "0123456789", 11);
    assert_int_equal(heap.bytes, bytes);
    assert_int_equal(m.blocks, 1);
    heap.fail_at = 0;
    heap.bytes_max = 1000;
    assert_null(mem_realloc(&m, p, 100000));
    assert_memory_equal(p, "0123456789", 11);
    p = mem_realloc(&m, p, 5);
    assert_memory_equal(p, "01234", 5);
    mem_free(&m, p);
    assert_int_equal(heap.bytes, 0);
}

static void test_bytes_max_holds_over_all_accounts(void **state)
{
    (void)state;
    struct mem_heap heap;
    struct mem a, b;
    mem_heap_init(&heap);
    mem_init(&a, &heap, "a");
    mem_init(&b, &heap, "b");
    heap.bytes_max = 10000;
    void *p = mem_alloc(&a, 6000);
    assert_non_null(p);
    assert_null(mem_alloc(&b, 6000));
    void *q = mem_alloc(&b, 3000);
    assert_non_null(q);
    assert_null(mem_zalloc(&a, 2000));
    mem_free(&a, p);
    p = mem_alloc(&b, 6000);
    assert_non_null(p);
    mem_free(&b, p);
    heap.bytes_max = 100; /* lowered below what lives: nothing more, but freeing goes on */
    assert_null(mem_alloc(&a, 1));
    mem_free(&b, q);
    assert_int_equal(heap.bytes, 0);
}

struct wrong {
    struct mem a, b;
};

static void free_through_the_other(void *ctx)
{
    struct wrong *w = ctx;
    void *p = mem_alloc(&w->a, 100);
    if (p != NULL)
        mem_free(&w->b, p);
}

static void alloc_nothing(void *ctx)
{
    struct wrong *w = ctx;
    void *p = mem_alloc(&w->a, 0);
    mem_free(&w->a, p);
}

static void test_mistakes_are_caught(void **state)
{
    (void)state;
    struct mem_heap heap;
    struct wrong w;
    mem_heap_init(&heap);
    mem_init(&w.a, &heap, "a");
    mem_init(&w.b, &heap, "b");
    assert_true(guard_dies(free_through_the_other, &w));
    assert_true(guard_dies(alloc_nothing, &w));
}

/* memory goes back after a peak: only if much of it is free, and not too often. */
static void trimming(void **state)
{
    (void)state;
    struct mem_heap h;
    struct mem m;
    mem_heap_init(&h);
    mem_init(&m, &h, "trim");
    void *p[4];
    for (size_t i = 0; i < ARRAY_N(p); i++) {
        p[i] = mem_alloc(&m, MEM_TRIM_BYTES);
        assert_non_null(p[i]);
        assert_false(mem_heap_trim(&h, 5000)); /* still rising */
    }
    mem_free(&m, p[0]);
    assert_false(mem_heap_trim(&h, 5000)); /* more than half is in use */
    mem_free(&m, p[1]);
    mem_free(&m, p[2]);
    assert_true(mem_heap_trim(&h, 5000));
    assert_false(mem_heap_trim(&h, 5000));
    p[1] = mem_alloc(&m, 3 * MEM_TRIM_BYTES);
    assert_non_null(p[1]);
    assert_false(mem_heap_trim(&h, 5001));
    mem_free(&m, p[1]);
    mem_free(&m, p[3]);
    assert_false(mem_heap_trim(&h, 5000 + MEM_TRIM_MS - 1)); /* too soon */
    assert_true(mem_heap_trim(&h, 5000 + MEM_TRIM_MS));
    assert_int_equal(h.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trimming),
        cmocka_unit_test(test_sums_follow_the_blocks),
        cmocka_unit_test(test_zalloc_dup_aligned),
        cmocka_unit_test(test_fail_the_nth),
        cmocka_unit_test(test_failed_realloc_changes_nothing),
        cmocka_unit_test(test_bytes_max_holds_over_all_accounts),
        cmocka_unit_test(test_mistakes_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
