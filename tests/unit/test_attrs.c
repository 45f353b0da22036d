/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_attrs.c: records come out as they went in, in the publisher's order [MQTT-3.3.2-17], at every size and at every
 * alignment; a reader never leaves the run (it ends at a forbidden page); half a record is our own bug and is caught.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/attrs.h"
#include "core/base/rng.h"
#include "tests/support/guard.h"

static uint8_t noise[80000];

struct env {
    struct mem_heap heap;
    struct mem mem;
    struct buf b;
    struct rng r;
};

static void env_init(struct env *v)
{
    mem_heap_init(&v->heap);
    mem_init(&v->mem, &v->heap, "attrs");
    buf_init(&v->b, &v->mem);
    rng_init(&v->r, 3);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)rng_u64(&v->r);
}

static void env_fini(struct env *v)
{
    buf_fini(&v->b);
    assert_int_equal(v->heap.bytes, 0);
}

static void nothing(void **state)
{
    (void)state;
    struct attr a;
    size_t pos = 0;
    assert_false(attr_next((struct slice){0}, &pos, &a));
    assert_int_equal(pos, 0);
    assert_false(attr_find((struct slice){0}, ATTR_USER, &a));
}

static struct attr any_attr(struct env *v)
{
    static const uint32_t key_max[] = {1, 12, 300, 65536}, value_max[] = {1, 12, 2000, 70001};
    uint32_t key = rng_below(&v->r, key_max[rng_below(&v->r, 4)]),
             value = rng_below(&v->r, value_max[rng_below(&v->r, 4)]);
    return (struct attr){.id = (enum attr_id)(ATTR_USER + rng_below(&v->r, ATTR_DESTINATION)),
                         .key = slice_make(noise + rng_below(&v->r, 99), key),
                         .value = slice_make(noise + rng_below(&v->r, 99), value)};
}

static void random_runs(void **state)
{
    (void)state;
    enum { N = 20 };
    struct env v;
    env_init(&v);
    for (unsigned round = 0; round < 400; round++) {
        struct attr in[N], out;
        uint32_t n = rng_below(&v.r, N + 1);
        buf_clear(&v.b);
        for (uint32_t i = 0; i < n; i++) {
            in[i] = any_attr(&v);
            attr_put(&v.b, in[i].id, in[i].key, in[i].value);
        }
        assert_false(buf_is_bad(&v.b));
        struct slice run = guard_slice(buf_slice(&v.b));
        size_t pos = 0;
        for (uint32_t i = 0; i < n; i++) {
            assert_true(attr_next(run, &pos, &out));
            assert_int_equal(out.id, in[i].id);
            assert_true(slice_eq(out.key, in[i].key));
            assert_true(slice_eq(out.value, in[i].value));
        }
        assert_int_equal(pos, run.len);
        assert_false(attr_next(run, &pos, &out));
        for (int id = ATTR_USER; id <= ATTR_DESTINATION; id++) {
            uint32_t first = 0;
            while (first < n && (int)in[first].id != id)
                first++;
            assert_int_equal(attr_find(run, (enum attr_id)id, &out), first < n);
            if (first < n)
                assert_true(slice_eq(out.value, in[first].value) && slice_eq(out.key, in[first].key));
        }
        guard_free((void *)(uintptr_t)run.p);
    }
    env_fini(&v);
}

static void a_failed_put_is_sticky_and_whole(void **state)
{
    (void)state;
    struct env v;
    struct attr a;
    env_init(&v);
    attr_put(&v.b, ATTR_REPLY_TO, (struct slice){0}, SLICE("first"));
    v.heap.fail_at = v.heap.calls + 1;
    attr_put(&v.b, ATTR_USER, slice_make(noise, 60000), slice_make(noise, 60000));
    assert_true(buf_is_bad(&v.b));
    struct slice run = buf_slice(&v.b);
    size_t pos = 0;
    assert_true(attr_next(run, &pos, &a));
    assert_int_equal(pos, run.len); /* nothing of the failed one */
    env_fini(&v);
}

struct half {
    struct slice run;
};

static void read_half(void *ctx)
{
    struct half *h = ctx;
    struct attr a;
    size_t pos = 0;
    (void)attr_next(h->run, &pos, &a);
}

static void half_a_record_is_our_bug(void **state)
{
    (void)state;
    struct env v;
    env_init(&v);
    attr_put(&v.b, ATTR_USER, SLICE("k"), SLICE("v"));
    struct slice all = buf_slice(&v.b);
    assert_int_equal(all.len, 9);
    for (size_t n = 1; n < all.len; n++) {
        struct half h = {guard_slice(slice_make(all.p, n))};
        assert_true(guard_dies(read_half, &h));
        guard_free((void *)(uintptr_t)h.run.p);
    }
    env_fini(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing),
        cmocka_unit_test(random_runs),
        cmocka_unit_test(a_failed_put_is_sticky_and_whole),
        cmocka_unit_test(half_a_record_is_our_bug),
    };
    return cmocka_run_group_tests_name("attrs", tests, NULL, NULL);
}
