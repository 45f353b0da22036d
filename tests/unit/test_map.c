/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map.c: random puts, gets, deletions and walks against an array of flags, with map_check after each step; also
 * with each allocation failing once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/map.h"
#include "core/base/rng.h"
#include "tests/support/guard.h"

#define ITEMS_MAX 600u

struct item {
    char name[40];
    size_t name_len;
    bool in;
    bool seen;
};

struct env {
    struct mem_heap heap;
    struct mem mem;
    struct map map;
    struct rng rng;
    struct item item[ITEMS_MAX];
    uint32_t items_n, in_n;
};

static struct slice item_key(const void *p)
{
    const struct item *it = p;
    return slice_make(it->name, it->name_len);
}

static void env_init(struct env *e, uint64_t seed, uint32_t items_n)
{
    mem_heap_init(&e->heap);
    mem_init(&e->mem, &e->heap, "map");
    rng_init(&e->rng, seed);
    map_init(&e->map, &e->mem, item_key, rng_u64(&e->rng));
    e->items_n = items_n;
    e->in_n = 0;
    for (uint32_t i = 0; i < items_n; i++) {
        struct item *it = &e->item[i];
        *it = (struct item){0};
        if (i != 0) /* item 0 has the empty key */
            it->name_len =
                (size_t)snprintf(it->name, sizeof(it->name), "%u%s", (unsigned)i, i % 3 ? "" : "-long-name-for-a-key");
    }
}

static void step(struct env *e, unsigned put_of_100)
{
    struct item *it = &e->item[rng_below(&e->rng, e->items_n)];
    struct item copy = *it; /* keys are compared by their bytes */
    struct slice key = item_key(&copy);
    assert_ptr_equal(map_get(&e->map, key), it->in ? it : NULL);
    uint32_t cap = e->map.cap;
    if (rng_chance(&e->rng, put_of_100)) {
        if (it->in)
            return;
        enum err r = map_put(&e->map, it);
        assert_true(r == ERR_OK || r == ERR_NOMEM);
        it->in = r == ERR_OK;
        e->in_n += r == ERR_OK;
        if (r != ERR_OK)
            assert_int_equal(e->map.cap, cap);
    } else {
        assert_ptr_equal(map_del(&e->map, key), it->in ? it : NULL);
        e->in_n -= it->in;
        it->in = false;
    }
    assert_int_equal(e->map.n, e->in_n);
    assert_ptr_equal(map_get(&e->map, key), it->in ? it : NULL);
}

static void walk(struct env *e)
{
    for (uint32_t i = 0; i < e->items_n; i++)
        e->item[i].seen = false;
    uint32_t pos = 0, n = 0;
    for (struct item *it = map_next(&e->map, &pos); it != NULL; it = map_next(&e->map, &pos), n++) {
        assert_true(it->in && !it->seen);
        it->seen = true;
    }
    assert_int_equal(n, e->in_n);
    assert_null(map_next(&e->map, &pos));
}

static struct env the_env;

/* run: a tide of items, in and out again; returns whether the failing allocation was reached. */
static bool run(uint64_t seed, uint32_t items_n, int steps, uint64_t fail_at)
{
    struct env *e = &the_env;
    env_init(e, seed, items_n);
    e->heap.fail_at = fail_at;
    for (int i = 0; i < steps; i++) {
        step(e, i / (steps / 6) % 2 ? 15 : 85);
        if (i % 7 == 0 || items_n < 20)
            map_check(&e->map);
        if (i % 50 == 0)
            walk(e);
    }
    for (uint32_t i = 0; i < items_n; i++) {
        if (e->item[i].in)
            assert_ptr_equal(map_del(&e->map, item_key(&e->item[i])), &e->item[i]);
    }
    map_check(&e->map);
    assert_int_equal(e->heap.bytes, 0); /* an empty map owns nothing */
    map_fini(&e->map);
    return fail_at != 0 && e->heap.calls >= fail_at;
}

static void test_random_against_flags(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 3, 6, 7, 12, 50, ITEMS_MAX};
    for (size_t i = 0; i < ARRAY_N(sizes); i++) {
        for (uint64_t seed = 1; seed <= 6; seed++)
            run(seed, sizes[i], 3000, 0);
    }
}

static void test_every_failing_allocation(void **state)
{
    (void)state;
    uint64_t nth = 1;
    while (run(5, 300, 3000, nth))
        nth++;
    assert_true(nth > 10);
    nth = 1;
    while (run(6, 3, 300, nth))
        nth++;
    assert_true(nth > 3);
}

static void test_grows_and_shrinks(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1, ITEMS_MAX);
    assert_null(map_get(&e->map, SLICE("x")));
    assert_null(map_del(&e->map, SLICE("x")));
    for (uint32_t i = 0; i < ITEMS_MAX; i++) {
        assert_int_equal(map_put(&e->map, &e->item[i]), ERR_OK);
        assert_true(e->map.cap * 3 >= e->map.n * 4);
    }
    assert_int_equal(e->map.cap, 1024);
    for (uint32_t i = 0; i < ITEMS_MAX - 10; i++)
        assert_non_null(map_del(&e->map, item_key(&e->item[i])));
    assert_true(e->map.cap <= 128);
    map_check(&e->map);
    map_fini(&e->map);
    assert_int_equal(e->heap.bytes, 0);
    assert_null(map_get(&e->map, SLICE("1")));
}

static void put_twice(void *ctx)
{
    struct env *e = ctx;
    enum err r = map_put(&e->map, &e->item[1]);
    UNUSED(r);
}

static void test_same_key_twice_is_caught(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1, 5);
    assert_int_equal(map_put(&e->map, &e->item[1]), ERR_OK);
    assert_true(guard_dies(put_twice, e));
    map_fini(&e->map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_flags),
        cmocka_unit_test(test_every_failing_allocation),
        cmocka_unit_test(test_grows_and_shrinks),
        cmocka_unit_test(test_same_key_twice_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
