/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_msg.c: every size around every size class: what goes in comes out, blocks are reused, a failed allocation
 * changes nothing, and views of messages are views of their bytes. Whatever a peer can put into a message must never
 * reach a neighbour's block: AddressSanitizer watches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/msg.h"
#include "tests/support/guard.h"

static uint8_t noise[70000];

struct env {
    struct mem_heap heap;
    struct mem mem;
    struct msg_pool pool;
};

static void env_init(struct env *v)
{
    mem_heap_init(&v->heap);
    mem_init(&v->mem, &v->heap, "msg");
    msg_pool_init(&v->pool, &v->mem);
    struct rng r;
    rng_init(&r, 1);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)rng_u64(&r);
}

static void env_fini(struct env *v)
{
    assert_int_equal(msg_pool_living(&v->pool), 0);
    msg_pool_fini(&v->pool);
    assert_int_equal(v->heap.bytes, 0);
}

static struct msgview view_of(size_t topic, size_t attrs, size_t payload)
{
    return (struct msgview){.topic = slice_make(noise, topic),
                            .attrs = slice_make(noise + 7, attrs),
                            .payload = slice_make(noise + 13, payload),
                            .expires_at = 77,
                            .publisher = 88,
                            .qos = 2,
                            .flags = MSG_RETAIN | MSG_STOMP};
}

static void expect(const struct msg *m, const struct msgview *v)
{
    struct msgview got;
    msg_view(m, &got);
    assert_true(slice_eq(got.topic, v->topic));
    assert_true(slice_eq(got.attrs, v->attrs));
    assert_true(slice_eq(got.payload, v->payload));
    assert_true(got.expires_at == v->expires_at && got.publisher == v->publisher);
    assert_int_equal(got.qos, v->qos);
    assert_int_equal(got.flags, v->flags);
    assert_ptr_equal(got.owner, &m->ref);
    assert_int_equal(msg_bytes(m), v->topic.len + v->attrs.len + v->payload.len);
}

static void every_size(void **state)
{
    (void)state;
    struct env v;
    env_init(&v);
    for (size_t n = 0; n < 2200; n++) {
        struct msgview w = view_of(n / 3, n / 5, n - n / 3 - n / 5);
        struct msg *m = msg_new(&v.pool, &w);
        assert_non_null(m);
        expect(m, &w);
        msg_drop(m);
    }
    static const size_t edge[][3] = {{0, 0, 0}, {65535, 0, 0}, {65535, 1, 65535}, {0, 70000 - 7, 0}, {1, 0, 69000}};
    for (size_t i = 0; i < ARRAY_N(edge); i++) {
        struct msgview w = view_of(edge[i][0], edge[i][1], edge[i][2]);
        struct msg *m = msg_new(&v.pool, &w);
        assert_non_null(m);
        expect(m, &w);
        msg_drop(m);
    }
    env_fini(&v);
}

static void null_slices_are_empty(void **state)
{
    (void)state;
    struct env v;
    env_init(&v);
    struct msgview w = {0};
    struct msg *m = msg_new(&v.pool, &w);
    expect(m, &w);
    msg_drop(m);
    env_fini(&v);
}

/* many living messages of random sizes keep their bytes whatever is made and dropped around them. */
static void random_life(void **state)
{
    (void)state;
    enum { N = 300 };
    struct env v;
    env_init(&v);
    struct rng r;
    rng_init(&r, 5);
    struct {
        const struct msg *m;
        struct msgview w;
        uint32_t holds;
    } slot[N] = {0};
    for (uint32_t step = 0; step < 40000; step++) {
        uint32_t i = rng_below(&r, N);
        if (!slot[i].m) {
            slot[i].w = view_of(rng_below(&r, 200), rng_below(&r, 40), rng_below(&r, rng_chance(&r, 3) ? 60000 : 900));
            slot[i].m = msg_new(&v.pool, &slot[i].w);
            slot[i].holds = 1;
        } else if (rng_chance(&r, 30)) {
            msg_hold(slot[i].m);
            slot[i].holds++;
        } else {
            expect(slot[i].m, &slot[i].w);
            msg_drop(slot[i].m);
            if (--slot[i].holds == 0)
                slot[i].m = NULL;
        }
    }
    for (uint32_t i = 0; i < N; i++)
        while (slot[i].holds-- > 0 && slot[i].m)
            msg_drop(slot[i].m);
    env_fini(&v);
}

/* a thousand messages cost hardly more than their bytes; when they are gone, little of it is kept, and that is used. */
static void blocks_are_close_and_reused(void **state)
{
    (void)state;
    enum { N = 1000, HEAD = offsetof(struct msg, bytes) };
    static const struct msg *m[N];
    struct env v;
    env_init(&v);
    for (size_t n = 84; n <= 500; n += 83) {
        struct msgview w = view_of(20, 0, n - 20);
        for (unsigned i = 0; i < N; i++)
            m[i] = msg_new(&v.pool, &w);
        assert_int_equal(msg_pool_living(&v.pool), N);
        assert_in_range(v.heap.bytes, N * (HEAD + n), N * (HEAD + n) * 9 / 8 + 3 * POOL_SLAB_BYTES);
        for (unsigned i = 0; i < N; i++)
            msg_drop(m[i]);
        assert_in_range(v.heap.bytes, 1, (POOL_SPARE_MAX + 1) * POOL_SLAB_BYTES);
        uint64_t calls = v.heap.calls;
        for (unsigned i = 0; i < N; i++) {
            m[0] = msg_new(&v.pool, &w);
            msg_drop(m[0]);
        }
        assert_int_equal(v.heap.calls, calls);
        msg_pool_fini(&v.pool);
        msg_pool_init(&v.pool, &v.mem);
    }
    env_fini(&v);
}

/* what was reserved is there, although the allocator has nothing left. */
static void a_reserved_block_is_there(void **state)
{
    (void)state;
    struct env v;
    env_init(&v);
    for (size_t n = 1; n < 1900; n += 61) {
        struct msgview w = view_of(3, 0, n);
        v.heap.fail_at = v.heap.calls + 1;
        assert_false(msg_reserve(&v.pool, &w));
        assert_true(msg_reserve(&v.pool, &w));
        v.heap.fail_at = v.heap.calls + 1;
        assert_true(msg_reserve(&v.pool, &w));
        struct msg *m = msg_new(&v.pool, &w);
        assert_non_null(m);
        expect(m, &w);
        msg_drop(m);
        msg_pool_fini(&v.pool);
        msg_pool_init(&v.pool, &v.mem);
    }
    struct msgview large = view_of(3, 0, 4000);
    assert_false(msg_reserve(&v.pool, &large)); /* not pooled */
    env_fini(&v);
}

static void out_of_memory(void **state)
{
    (void)state;
    struct env v;
    env_init(&v);
    for (size_t payload = 1; payload < 5000; payload += 617) {
        struct msgview w = view_of(3, 0, payload);
        v.heap.fail_at = v.heap.calls + 1;
        assert_null(msg_new(&v.pool, &w));
        assert_int_equal(msg_pool_living(&v.pool), 0);
        struct msg *m = msg_new(&v.pool, &w);
        assert_non_null(m);
        expect(m, &w);
        msg_drop(m);
        msg_pool_fini(&v.pool);
        msg_pool_init(&v.pool, &v.mem);
    }
    env_fini(&v);
}

static void topic_too_long(void *ctx)
{
    struct env *v = ctx;
    struct msgview w = view_of(65536, 0, 0);
    (void)!msg_new(&v->pool, &w);
}

static void fini_while_living(void *ctx)
{
    struct env *v = ctx;
    msg_pool_fini(&v->pool);
}

static void mistakes_are_caught(void **state)
{
    (void)state;
    struct env v;
    env_init(&v);
    assert_true(guard_dies(topic_too_long, &v));
    struct msgview w = view_of(1, 1, 1);
    struct msg *m = msg_new(&v.pool, &w);
    assert_true(guard_dies(fini_while_living, &v));
    msg_drop(m);
    env_fini(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size),
        cmocka_unit_test(null_slices_are_empty),
        cmocka_unit_test(random_life),
        cmocka_unit_test(blocks_are_close_and_reused),
        cmocka_unit_test(a_reserved_block_is_there),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(mistakes_are_caught),
    };
    return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
