/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_living_spans.c: random puts and deletions against an array, in the orders a log makes: rising with a tail that
 * is eaten, old ones anywhere, whole blocks of old ones; with each allocation failing once; and what few survivors of
 * many cost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "persist/living_spans.h"

#define LSNS 20000u

struct env {
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    struct spans s;
    lsn_t base;
    uint64_t is[LSNS];
    uint32_t n;
};

static struct env the_env;

static void env_init(struct env *v, uint64_t seed, lsn_t base)
{
    memset(v, 0, sizeof(*v));
    mem_heap_init(&v->heap);
    mem_init(&v->mem, &v->heap, "spans");
    rng_init(&v->rng, seed);
    spans_init(&v->s, &v->mem);
    v->base = base;
}

static void put(struct env *v, uint32_t i)
{
    uint64_t fresh = 1 + rng_below(&v->rng, 1000);
    uint64_t *e = spans_put(&v->s, v->base + i, fresh);
    if (e == NULL) {
        assert_true(v->heap.fail_at != 0);
        return;
    }
    assert_int_equal(*e, v->is[i] != 0 ? v->is[i] : fresh);
    v->n += v->is[i] == 0;
    *e = v->is[i] = fresh + 5000;
}

static void del(struct env *v, uint32_t i)
{
    if (v->is[i] == 0)
        return;
    spans_del(&v->s, v->base + i);
    v->is[i] = 0;
    v->n--;
}

static void walk(struct env *v)
{
    lsn_t lsn = 0, last = 0;
    uint32_t n = 0;
    for (uint64_t *e = spans_next(&v->s, 0, &lsn); e != NULL; e = spans_next(&v->s, lsn, &lsn), n++) {
        assert_true(lsn > last && lsn - v->base < LSNS);
        assert_int_equal(*e, v->is[lsn - v->base]);
        last = lsn;
    }
    assert_int_equal(n, v->n);
    for (uint32_t i = 0; i < LSNS; i += 7) {
        const uint64_t *e = spans_get(&v->s, v->base + i);
        assert_int_equal(e != NULL ? *e : 0, v->is[i]);
    }
    spans_check(&v->s);
}

static bool keep_odd(void *ctx, lsn_t lsn, uint64_t *e)
{
    struct env *v = ctx;
    assert_int_equal(*e, v->is[lsn - v->base]);
    if (*e % 2 != 0)
        return true;
    v->is[lsn - v->base] = 0;
    v->n--;
    return false;
}

/* tide: puts and deletions with the given tendencies, around a place that moves through all LSNs. */
static void tide(struct env *v, unsigned old_of_100, unsigned del_of_100)
{
    uint32_t at = 0;
    for (uint32_t step = 0; at < LSNS; step++) {
        at += rng_chance(&v->rng, 1) ? rng_below(&v->rng, 1500) : 1;
        if (at >= LSNS)
            break;
        if (rng_chance(&v->rng, old_of_100))
            put(v, rng_below(&v->rng, at + 1));
        else
            put(v, at);
        for (unsigned k = 0; k < 2; k++) {
            if (rng_chance(&v->rng, del_of_100))
                del(v, rng_below(&v->rng, at + 1));
        }
        if (rng_below(&v->rng, 2000) == 0) {
            spans_each(&v->s, keep_odd, v);
            spans_check(&v->s);
        }
        if (step % 256 == 0)
            spans_check(&v->s);
    }
}

/* bulk: a stretch of old ones, rising or falling, as copies stand in a log. */
static void bulk(struct env *v)
{
    uint32_t n = 1 + rng_below(&v->rng, 3000), from = rng_below(&v->rng, LSNS - n);
    bool falls = rng_chance(&v->rng, 30);
    unsigned of_100 = 1 + rng_below(&v->rng, 100);
    for (uint32_t i = 0; i < n; i++) {
        if (rng_chance(&v->rng, of_100))
            put(v, falls ? from + n - 1 - i : from + i);
    }
    spans_check(&v->s);
}

static void drain(struct env *v, uint32_t leave)
{
    for (uint32_t i = 0; v->n > leave; i = (i + 1 + rng_below(&v->rng, 40)) % LSNS)
        del(v, i);
}

static void run(uint64_t seed, lsn_t base, uint64_t fail_at, bool all_fail)
{
    struct env *v = &the_env;
    env_init(v, seed, base);
    v->heap.fail_at = fail_at;
    v->heap.fail_after = all_fail;
    tide(v, rng_below(&v->rng, 60), rng_below(&v->rng, 100));
    walk(v);
    for (unsigned i = 0; i < 6; i++) {
        bulk(v);
        drain(v, v->n / (1 + rng_below(&v->rng, 50)));
        walk(v);
    }
    drain(v, 0);
    walk(v);
    assert_true(v->s.n <= 1); /* the tip */
    spans_fini(&v->s);
    assert_int_equal(v->heap.bytes, 0);
}

static void test_random_against_an_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        run(seed, 1 + seed % 3 * (UINT32_MAX - 8000ull), 0, false);
}

static void test_far_apart(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 1, 0);
    for (lsn_t lsn = 1ull << 62; lsn != 0; lsn >>= 1)
        assert_non_null(spans_put(&v->s, lsn, lsn));
    for (lsn_t lsn = 1; lsn <= 1ull << 62; lsn <<= 1)
        assert_int_equal(*spans_get(&v->s, lsn), lsn);
    assert_null(spans_get(&v->s, 3));
    assert_null(spans_get(&v->s, UINT64_MAX));
    spans_check(&v->s);
    for (lsn_t lsn = 1; lsn <= 1ull << 62; lsn <<= 1)
        spans_del(&v->s, lsn);
    spans_check(&v->s);
    spans_fini(&v->s);
    assert_int_equal(v->heap.bytes, 0);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 400; nth += 1 + nth / 8)
        run(3, 1, nth, false);
    run(4, 1, 30, true); /* from then on nothing shrinks and nothing new fits, but deleting works */
}

/* Ten million, of which one in a thousand is left, however they went. */
static void test_survivors_are_cheap(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 1, 0);
    lsn_t lsn = 0;
    for (unsigned i = 0; i < 10000000; i++) {
        assert_non_null(spans_put(&v->s, ++lsn, 1));
        if (lsn > 50000 && (lsn - 50000) % 1000 != 0)
            spans_del(&v->s, lsn - 50000);
    }
    for (lsn_t l = lsn - 49999; l <= lsn; l++) {
        if (l % 1000 != 0)
            spans_del(&v->s, l);
    }
    spans_check(&v->s);
    assert_true(v->mem.bytes < 10000 * 40);
    spans_fini(&v->s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_an_array),
        cmocka_unit_test(test_far_apart),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_survivors_are_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
