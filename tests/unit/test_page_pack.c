/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_page_pack.c: what goes in comes out, in as few bytes as promised; the largest values there are; items that were
 * made void; what nobody wrote.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/page_pack.h"
#include "tests/support/guard.h"

static void same(const struct page_item *a, const struct page_item *b)
{
    assert_int_equal(a->lsn, b->lsn);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->expires_at, b->expires_at);
    assert_int_equal(a->set, b->set);
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->returns, b->returns);
    assert_int_equal(a->qos, b->qos);
    assert_int_equal(a->retained, b->retained);
}

/* round_trip: of `it` behind `before`; returns its size. The item ends where memory does. */
static size_t round_trip(const struct page_item *before, const struct page_item *it)
{
    uint8_t out[PAGE_ITEM_BYTES_MAX];
    size_t n = page_pack_put(out, before, it);
    assert_in_range(n, 1, PAGE_ITEM_BYTES_MAX);
    uint8_t *in = guard_bytes(out, n);
    struct page_item back = *before;
    bool is_void = true;
    assert_int_equal(page_pack_get(in, n, &back, &is_void), n);
    assert_false(is_void);
    same(&back, it);
    guard_free(in);
    return n;
}

static void sizes(void **state)
{
    (void)state;
    const struct page_item one = {.lsn = 70, .seq = 9, .bytes = 1000, .set = 1, .qos = 1};
    struct page_item two = one;
    two.lsn++;
    two.seq++;
    assert_int_equal(round_trip(&one, &two), 1); /* the next of the same kind */
    two.lsn += 100;                              /* others had messages in between */
    assert_int_equal(round_trip(&one, &two), 2);
    two.bytes = 1001;
    assert_int_equal(round_trip(&one, &two), 4);
    two = one;
    two.lsn++;
    two.seq++;
    two.retained = true;
    assert_int_equal(round_trip(&one, &two), 2);
    two.qos = 2;
    two.attempts = two.returns = 1;
    assert_int_equal(round_trip(&one, &two), 4);
    two.expires_at = 60;
    assert_int_equal(round_trip(&one, &two), 5);
}

static void extremes(void **state)
{
    (void)state;
    const struct page_item none = {0}, first = {.lsn = 1, .seq = 0};
    const struct page_item last = {.lsn = UINT64_MAX,
                                   .seq = UINT64_MAX,
                                   .bytes = UINT64_MAX,
                                   .expires_at = UINT64_MAX,
                                   .set = UINT32_MAX,
                                   .attempts = UINT16_MAX,
                                   .returns = UINT16_MAX,
                                   .qos = 2,
                                   .retained = true};
    assert_in_range(round_trip(&none, &first), 1, 12);
    assert_in_range(round_trip(&none, &last), 40, PAGE_ITEM_BYTES_MAX);
    assert_in_range(round_trip(&first, &last), 40, PAGE_ITEM_BYTES_MAX);
    struct page_item soon = {.lsn = 3, .seq = 3, .expires_at = 10}, late = {.lsn = 4, .seq = 4, .expires_at = 1u << 30};
    round_trip(&soon, &late);
    late.lsn = late.seq = 2;
    round_trip(&late, &soon); /* it expires sooner than the one before */
    soon.expires_at = 0;
    round_trip(&late, &soon); /* never */
}

static struct page_item next_item(struct rng *r, const struct page_item *before)
{
    struct page_item it = *before;
    it.lsn += 1 + (rng_below(r, 3) ? 0 : rng_below(r, 1u << rng_below(r, 31)));
    it.seq += 1 + (rng_below(r, 3) ? 0 : rng_below(r, 1u << rng_below(r, 31)));
    it.attempts = it.returns = 0;
    if (rng_below(r, 4) == 0)
        it.bytes = rng_u64(r) >> rng_below(r, 64);
    if (rng_below(r, 4) == 0)
        it.expires_at = rng_below(r, 2) ? 0 : rng_u64(r) >> rng_below(r, 64);
    if (rng_below(r, 4) == 0)
        it.set = (uint32_t)rng_u64(r) >> rng_below(r, 32);
    if (rng_below(r, 4) == 0)
        it.qos = (uint8_t)rng_below(r, 3);
    if (rng_below(r, 4) == 0)
        it.retained = !it.retained;
    if (rng_below(r, 4) == 0) {
        it.attempts = (uint16_t)rng_u64(r);
        it.returns = (uint16_t)rng_below(r, 3);
    }
    return it;
}

static void random_runs(void **state)
{
    (void)state;
    enum { N = 512 };
    static uint8_t packed[N * PAGE_ITEM_BYTES_MAX];
    static struct page_item item[N];
    static bool gone[N];
    static size_t at[N];
    struct rng r;
    rng_init(&r, 7);
    for (unsigned round = 0; round < 200; round++) {
        struct page_item before = {0};
        size_t len = 0;
        for (unsigned i = 0; i < N; i++) {
            item[i] = next_item(&r, &before);
            at[i] = len;
            len += page_pack_put(packed + len, &before, &item[i]);
            before = item[i];
        }
        for (unsigned i = 0; i < N; i++) {
            gone[i] = rng_below(&r, 4) == 0;
            if (gone[i])
                page_pack_void(packed + at[i]);
        }
        before = (struct page_item){0};
        size_t n = 0;
        for (unsigned i = 0; i < N; i++) {
            bool is_void;
            assert_int_equal(n, at[i]);
            n += page_pack_get(packed + n, len - n, &before, &is_void);
            assert_int_equal(is_void, gone[i]);
            same(&before, &item[i]);
        }
        assert_int_equal(n, len);
    }
}

struct bad {
    struct page_item before, it;
};

static void put_bad(void *ctx)
{
    const struct bad *b = ctx;
    uint8_t out[PAGE_ITEM_BYTES_MAX];
    (void)page_pack_put(out, &b->before, &b->it);
}

static void get_cut(void *ctx)
{
    struct page_item it = {0};
    bool is_void;
    uint8_t *in = guard_bytes(ctx, 1);
    (void)page_pack_get(in, 1, &it, &is_void);
}

static void our_bugs(void **state)
{
    (void)state;
    struct bad b = {.before = {.lsn = 5, .seq = 5}, .it = {.lsn = 5, .seq = 6}};
    assert_true(guard_dies(put_bad, &b)); /* not a later record */
    b.it = (struct page_item){.lsn = 6, .seq = 5};
    assert_true(guard_dies(put_bad, &b));
    b.it = (struct page_item){.lsn = 6, .seq = 6, .qos = 3};
    assert_true(guard_dies(put_bad, &b));
    b.it.qos = 0;
    assert_false(guard_dies(put_bad, &b));
    uint8_t out[PAGE_ITEM_BYTES_MAX];
    assert_int_equal(page_pack_put(out, &b.before, &(struct page_item){.lsn = 9, .seq = 6}), 2);
    assert_true(guard_dies(get_cut, out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(extremes),
        cmocka_unit_test(random_runs),
        cmocka_unit_test(our_bugs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
