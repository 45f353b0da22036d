/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pool.c: random takes and gives with every object filled by its own pattern (so that overlapping ones show), how
 * much memory is held at low and after high load, and each allocation failing once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/poison.h"
#include "core/base/pool.h"
#include "core/base/rng.h"
#include "tests/support/guard.h"

#define ITEMS_MAX 5000u

struct env {
    struct mem_heap heap;
    struct mem mem;
    struct pool pool;
    struct rng rng;
    uint8_t *item[ITEMS_MAX];
    uint32_t n;
};

static void env_init(struct env *e, uint64_t seed, size_t item_bytes)
{
    mem_heap_init(&e->heap);
    mem_init(&e->mem, &e->heap, "pool");
    rng_init(&e->rng, seed);
    pool_init(&e->pool, &e->mem, item_bytes);
    e->n = 0;
}

static uint8_t pattern(const uint8_t *p)
{
    return (uint8_t)((uintptr_t)p / 8 * 31);
}

static bool take(struct env *e, size_t item_bytes)
{
    uint8_t *p = pool_take(&e->pool);
    if (p == NULL)
        return false;
    assert_int_equal((uintptr_t)p % 8, 0);
    assert_ptr_equal(pool_from_item(p), &e->pool);
    memset(p, pattern(p), item_bytes);
    e->item[e->n++] = p;
    return true;
}

static void give(struct env *e, uint32_t i, size_t item_bytes)
{
    uint8_t *p = e->item[i];
    for (size_t k = 0; k < item_bytes; k++)
        assert_int_equal(p[k], pattern(p));
    e->item[i] = e->item[--e->n];
    pool_give(&e->pool, p);
}

static struct env the_env;

/* run: a tide; returns whether the failing allocation was reached. */
static bool run(uint64_t seed, size_t item_bytes, int steps, uint64_t fail_at)
{
    struct env *e = &the_env;
    env_init(e, seed, item_bytes);
    e->heap.fail_at = fail_at;
    for (int i = 0; i < steps; i++) {
        bool rising = i / (steps / 4) % 2 == 0;
        if (rng_chance(&e->rng, rising ? 75 : 25) && e->n < ITEMS_MAX) {
            size_t used = e->pool.used_n;
            bool ok = take(e, item_bytes);
            assert_true(ok || fail_at != 0);
            assert_int_equal(e->pool.used_n, used + ok);
        } else if (e->n != 0) {
            give(e, rng_below(&e->rng, e->n), item_bytes);
        }
        if (i % 16 == 0)
            pool_check(&e->pool);
    }
    while (e->n != 0)
        give(e, rng_below(&e->rng, e->n), item_bytes);
    pool_check(&e->pool);
    assert_true(e->heap.bytes <= POOL_SPARE_MAX * POOL_SLAB_BYTES);
    pool_fini(&e->pool);
    assert_int_equal(e->heap.bytes, 0);
    return fail_at != 0 && e->heap.calls >= fail_at;
}

static void test_random_tides(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 8, 13, 24, 48, 128, 700, 2000, 9000, 16000};
    for (size_t i = 0; i < ARRAY_N(sizes); i++)
        run(i + 1, sizes[i], sizes[i] > 1000 ? 800 : 8000, 0);
}

static void test_every_failing_allocation(void **state)
{
    (void)state;
    uint64_t nth = 1;
    while (run(3, 100, 4000, nth))
        nth++;
    assert_true(nth > 5);
}

static void test_small_pools_are_small(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1, 48);
    assert_int_equal(e->heap.bytes, 0);
    for (int i = 0; i < 3; i++)
        assert_true(take(e, 48));
    assert_true(e->heap.bytes <= 1100);
    while (e->n < 1000)
        assert_true(take(e, 48));
    assert_true(e->heap.bytes < 2 * 1000 * 48 + POOL_SLAB_BYTES);
    while (e->n != 0)
        give(e, 0, 48);
    pool_fini(&e->pool);
}

/* what was reserved is there, although the allocator has nothing left. */
static void test_a_reserved_object_is_there(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1, 48);
    e->heap.fail_at = 1;
    assert_false(pool_reserve(&e->pool));
    while (e->n < 2000) {
        e->heap.fail_at = 0;
        assert_true(pool_reserve(&e->pool));
        pool_check(&e->pool);
        e->heap.fail_at = e->heap.calls + 1;
        assert_true(take(e, 48));
    }
    while (e->n != 0)
        give(e, 0, 48);
    pool_fini(&e->pool);
}

static void test_memory_follows_load_down(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1, 100);
    while (e->n < ITEMS_MAX)
        assert_true(take(e, 100));
    assert_true(e->heap.bytes > 30 * POOL_SLAB_BYTES);
    while (e->n != 1)
        give(e, e->n - 1, 100);
    assert_true(e->heap.bytes <= (POOL_SPARE_MAX + 1) * POOL_SLAB_BYTES);
    uint64_t calls = e->heap.calls; /* the spare slabs serve the next wave */
    while (e->n < 300)
        assert_true(take(e, 100));
    assert_int_equal(e->heap.calls, calls);
    while (e->n != 0)
        give(e, 0, 100);
    pool_fini(&e->pool);
    assert_int_equal(e->heap.bytes, 0);
}

/* One object, again and again: the allocator is asked once. */
static void test_no_churn_at_the_edge(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1, 64);
    for (int i = 0; i < 1000; i++) {
        assert_true(take(e, 64));
        give(e, 0, 64);
    }
    assert_int_equal(e->heap.calls, 1);
    pool_fini(&e->pool);
}

static void fini_too_early(void *ctx)
{
    struct env *e = ctx;
    pool_fini(&e->pool);
}

static void write_after_give(void *ctx)
{
    struct env *e = ctx;
    uint8_t *p = e->item[0];
    pool_give(&e->pool, p);
    *(volatile uint8_t *)&p[40] = 1;
}

static void test_mistakes_are_caught(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1, 64);
    assert_true(take(e, 64));
    assert_true(guard_dies(fini_too_early, e));
#ifdef WEIR_POISON
    assert_true(guard_dies(write_after_give, e));
#else
    assert_false(guard_dies(write_after_give, e));
#endif
    give(e, 0, 64);
    pool_fini(&e->pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_tides),
        cmocka_unit_test(test_every_failing_allocation),
        cmocka_unit_test(test_small_pools_are_small),
        cmocka_unit_test(test_a_reserved_object_is_there),
        cmocka_unit_test(test_memory_follows_load_down),
        cmocka_unit_test(test_no_churn_at_the_edge),
        cmocka_unit_test(test_mistakes_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
