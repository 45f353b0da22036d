/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_chunk.c: standard chunks come back through a bounded free list, others go to the allocator, and references keep
 * a chunk alive.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/chunk.h"
#include "core/base/poison.h"
#include "tests/support/guard.h"

struct env {
    struct mem_heap heap;
    struct mem mem;
    struct chunk_pool pool;
};

static void env_init(struct env *e)
{
    mem_heap_init(&e->heap);
    mem_init(&e->mem, &e->heap, "chunk");
    chunk_pool_init(&e->pool, &e->mem);
}

static void test_standard_chunk_is_reused(void **state)
{
    (void)state;
    struct env e;
    env_init(&e);
    struct chunk *c = chunk_new(&e.pool, 0);
    assert_non_null(c);
    assert_int_equal(c->cap, CHUNK_BYTES);
    assert_false(ref_is_shared(&c->ref));
    memset(c->p, 1, c->cap);
    ref_hold(&c->ref);
    assert_true(ref_is_shared(&c->ref));
    chunk_drop(c);
    assert_int_equal(e.pool.free_n, 0);
    c->p[0] = 2; /* still ours */
    uint64_t calls = e.heap.calls;
    chunk_drop(c);
    assert_int_equal(e.pool.free_n, 1);
    struct chunk *again = chunk_new(&e.pool, CHUNK_BYTES);
    assert_ptr_equal(again, c);
    assert_int_equal(e.pool.free_n, 0);
    assert_int_equal(e.heap.calls, calls);
    memset(again->p, 3, again->cap);
    assert_ptr_equal(again->ref.die, chunk_die);
    chunk_drop(again);
    chunk_pool_fini(&e.pool);
    assert_int_equal(e.heap.bytes, 0);
}

static void test_other_sizes_are_not_kept(void **state)
{
    (void)state;
    struct env e;
    env_init(&e);
    static const size_t caps[] = {1, 7, 100, CHUNK_BYTES - 1, CHUNK_BYTES + 1, 1000000};
    for (size_t i = 0; i < ARRAY_N(caps); i++) {
        struct chunk *c = chunk_new(&e.pool, caps[i]);
        assert_non_null(c);
        assert_true(c->cap >= caps[i]);
        memset(c->p, 1, c->cap);
        chunk_drop(c);
        assert_int_equal(e.pool.free_n, 0);
        assert_int_equal(e.heap.bytes, 0);
    }
    assert_null(chunk_new(&e.pool, SIZE_MAX));
    assert_null(chunk_new(&e.pool, SIZE_MAX - sizeof(struct chunk)));
    chunk_pool_fini(&e.pool);
}

static void test_free_list_is_bounded(void **state)
{
    (void)state;
    struct env e;
    env_init(&e);
    struct chunk *c[CHUNK_FREE_MAX + 5];
    for (size_t i = 0; i < ARRAY_N(c); i++) {
        c[i] = chunk_new(&e.pool, 0);
        assert_non_null(c[i]);
    }
    for (size_t i = 0; i < ARRAY_N(c); i++)
        chunk_drop(c[i]);
    assert_int_equal(e.pool.free_n, CHUNK_FREE_MAX);
    assert_int_equal(e.mem.blocks, CHUNK_FREE_MAX);
    chunk_pool_fini(&e.pool);
    assert_int_equal(e.heap.bytes, 0);
}

static void test_out_of_memory_is_null(void **state)
{
    (void)state;
    struct env e;
    env_init(&e);
    e.heap.fail_at = 1;
    assert_null(chunk_new(&e.pool, 0));
    struct chunk *c = chunk_new(&e.pool, 0);
    assert_non_null(c);
    chunk_drop(c);
    chunk_pool_fini(&e.pool);
    assert_int_equal(e.heap.bytes, 0);
}

static void write_after_drop(void *ctx)
{
    struct chunk *c = ctx;
    *(volatile uint8_t *)&c->p[100] = 1;
}

static void drop_twice(void *ctx)
{
    chunk_drop(ctx);
}

static void test_use_after_the_last_drop_is_caught(void **state)
{
    (void)state;
    struct env e;
    env_init(&e);
    struct chunk *c = chunk_new(&e.pool, 0);
    chunk_drop(c);
    assert_true(guard_dies(drop_twice, c));
#ifdef WEIR_POISON
    assert_true(guard_dies(write_after_drop, c));
#else
    assert_false(guard_dies(write_after_drop, c));
#endif
    chunk_pool_fini(&e.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standard_chunk_is_reused),
        cmocka_unit_test(test_other_sizes_are_not_kept),
        cmocka_unit_test(test_free_list_is_bounded),
        cmocka_unit_test(test_out_of_memory_is_null),
        cmocka_unit_test(test_use_after_the_last_drop_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
