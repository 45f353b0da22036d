/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ref.c: dies exactly once, at the last drop, also when threads hold and drop at the same time.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/ref.h"
#include "tests/support/guard.h"

struct thing {
    struct ref ref;
    _Atomic int died;
};

static void thing_die(struct ref *r)
{
    struct thing *t = CONTAINER_OF(r, struct thing, ref);
    atomic_fetch_add(&t->died, 1);
}

static void test_last_drop_ends_it(void **state)
{
    (void)state;
    struct thing t = {0};
    ref_init(&t.ref, thing_die);
    assert_false(ref_is_shared(&t.ref));
    ref_hold(&t.ref);
    assert_true(ref_is_shared(&t.ref));
    ref_hold_n(&t.ref, 3);
    for (int i = 0; i < 4; i++) {
        assert_true(ref_is_shared(&t.ref));
        ref_drop(&t.ref);
        assert_int_equal(t.died, 0);
    }
    assert_false(ref_is_shared(&t.ref));
    ref_drop(&t.ref);
    assert_int_equal(t.died, 1);
}

static void drop(void *ctx)
{
    ref_drop(ctx);
}

static void test_one_drop_too_many_is_caught(void **state)
{
    (void)state;
    struct thing t = {0};
    ref_init(&t.ref, thing_die);
    ref_drop(&t.ref);
    assert_true(guard_dies(drop, &t.ref));
}

static void *hold_and_drop(void *arg)
{
    struct thing *t = arg;
    for (int i = 0; i < 20000; i++) {
        ref_hold_n(&t->ref, 2);
        ref_drop(&t->ref);
        ref_drop(&t->ref);
    }
    ref_drop(&t->ref);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct thing t = {0};
    pthread_t thread[3];
    ref_init(&t.ref, thing_die);
    ref_hold_n(&t.ref, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, hold_and_drop, &t), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(t.died, 0);
    assert_false(ref_is_shared(&t.ref));
    ref_drop(&t.ref);
    assert_int_equal(t.died, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_drop_ends_it),
        cmocka_unit_test(test_one_drop_too_many_is_caught),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
