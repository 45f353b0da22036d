/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_buf.c: a random mix of writes against a plain array; sticky failure under every failing allocation; taking the
 * bytes away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/rng.h"

struct model {
    uint8_t p[200000];
    size_t len;
};

static void model_put(struct model *m, const void *p, size_t n)
{
    assert_true(sizeof(m->p) - m->len >= n);
    memcpy(m->p + m->len, p, n);
    m->len += n;
}

/* One random write to both; the model keeps it only when the buffer did. */
static void step(struct rng *rng, struct buf *b, struct model *m)
{
    uint8_t bytes[600];
    size_t n = rng_below(rng, rng_chance(rng, 10) ? sizeof(bytes) : 20);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)rng_u64(rng);
    uint32_t v = (uint32_t)rng_u64(rng);
    uint8_t be[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    size_t before = m->len;
    switch (rng_below(rng, 7)) {
    case 0:
        buf_put(b, n ? bytes : NULL, n);
        model_put(m, bytes, n);
        break;
    case 1:
        buf_put_u8(b, be[3]);
        model_put(m, be + 3, 1);
        break;
    case 2:
        buf_put_u16be(b, (uint16_t)v);
        model_put(m, be + 2, 2);
        break;
    case 3:
        buf_put_u32be(b, v);
        model_put(m, be, 4);
        break;
    case 4:
        buf_put_slice(b, slice_make(bytes, n));
        model_put(m, bytes, n);
        break;
    case 5: {
        char text[64];
        int len = snprintf(text, sizeof(text), "<%u %s>", (unsigned)v, "x");
        buf_printf(b, "<%u %s>", (unsigned)v, "x");
        model_put(m, text, (size_t)len);
        break;
    }
    default: {
        uint8_t *room = buf_room(b, n);
        assert_true((room == NULL) == buf_is_bad(b));
        if (room == NULL)
            break;
        memset(room, 7, n);
        memset(bytes, 7, n);
        buf_wrote(b, n / 2);
        model_put(m, bytes, n / 2);
    }
    }
    if (buf_is_bad(b))
        m->len = before;
    assert_int_equal(b->len, m->len);
}

static void run(uint64_t seed, uint64_t fail_at, bool *out_failed)
{
    static struct model m;
    struct mem_heap heap;
    struct mem mem;
    struct buf b;
    struct rng rng;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "buf");
    heap.fail_at = fail_at;
    rng_init(&rng, seed);
    m.len = 0;
    buf_init(&b, &mem);
    bool failed = false;
    for (int i = 0; i < 2000; i++) {
        step(&rng, &b, &m);
        failed |= buf_is_bad(&b);
    }
    assert_int_equal(buf_is_bad(&b), failed); /* sticky */
    assert_true(slice_eq(buf_slice(&b), slice_make(m.p, m.len)));
    size_t len = 0;
    if (failed) {
        assert_null(buf_take(&b, &len));
        buf_clear(&b);
        assert_false(buf_is_bad(&b));
        buf_put_str(&b, "again");
        assert_true(slice_eq_str(buf_slice(&b), "again"));
    } else {
        uint8_t *p = buf_take(&b, &len);
        failed = p == NULL; /* the NUL needed the allocation that fails */
        if (p != NULL) {
            assert_int_equal(len, m.len);
            assert_memory_equal(p, m.p, len);
            assert_int_equal(p[len], 0);
            assert_int_equal(b.len, 0);
        }
        mem_free(&mem, p);
    }
    buf_fini(&b);
    assert_int_equal(heap.bytes, 0);
    *out_failed = failed;
}

static void test_random_against_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        bool failed;
        run(seed, 0, &failed);
        assert_false(failed);
    }
}

static void test_every_failing_allocation(void **state)
{
    (void)state;
    bool failed = true;
    uint64_t n = 0;
    while (failed)
        run(99, ++n, &failed);
    assert_true(n > 5);
}

static void test_edges(void **state)
{
    (void)state;
    struct mem_heap heap;
    struct mem mem;
    struct buf b;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "buf");
    buf_init(&b, &mem);
    assert_non_null(buf_room(&b, 0));
    buf_clear(&b);
    size_t len = 1;
    uint8_t *p = buf_take(&b, &len);
    assert_string_equal((char *)p, "");
    assert_int_equal(len, 0);
    mem_free(&mem, p);
    buf_put_str(&b, "abc");
    assert_null(buf_room(&b, SIZE_MAX));
    assert_true(buf_is_bad(&b));
    buf_put_str(&b, "def");
    assert_true(slice_eq_str(buf_slice(&b), "abc"));
    buf_clear(&b);
    size_t cap = b.cap;
    buf_printf(&b, "%s", "");
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, cap);
    buf_fini(&b);
    assert_int_equal(heap.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_model),
        cmocka_unit_test(test_every_failing_allocation),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
