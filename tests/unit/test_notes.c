/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_notes.c: what a batch notes comes back, in order for each queue and publish; runs are small; what is filtered
 * out is gone; bad rows are refused before anybody is told anything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/check.h"
#include "core/base/rng.h"
#include "persist/codec.h"
#include "persist/record.pb-c.h"
#include "tests/support/guard.h"

enum { MOST = 5000 };

struct bench {
    struct mem_heap heap;
    struct mem mem;
    struct notes *notes;
    struct buf out;
    struct store_rec said[MOST + 8], heard[MOST + 8];
    size_t said_n, heard_n;
};

static int setup(void **state)
{
    static struct bench b;
    memset(&b, 0, sizeof(b));
    mem_heap_init(&b.heap);
    mem_init(&b.mem, &b.heap, "test");
    buf_init(&b.out, &b.mem);
    b.notes = notes_new(&b.mem);
    *state = &b;
    return b.notes == NULL;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    notes_free(b->notes);
    notes_free(NULL);
    buf_fini(&b->out);
    assert_int_equal(b->mem.bytes, 0);
    return 0;
}

static enum err hear(const struct store_rec *rec, void *ctx)
{
    struct bench *b = ctx;
    if (b->heard_n == ARRAY_N(b->heard))
        return ERR_FULL;
    b->heard[b->heard_n++] = *rec;
    return ERR_OK;
}

static void say(struct bench *b, struct store_rec rec)
{
    assert_int_equal(notes_add(b->notes, &rec), ERR_OK);
    b->said[b->said_n++] = rec;
}

/* put_get: writes the notes and reads them into heard. */
static void put_get(struct bench *b, lsn_t lsn)
{
    struct wal_frame f;
    uint64_t most = notes_bytes(b->notes);
    buf_clear(&b->out);
    b->heard_n = 0;
    assert_int_equal(notes_put(b->notes, &b->out, lsn), ERR_OK);
    assert_true(notes_is_empty(b->notes) && b->out.len <= most);
    wal_seal(b->out.p, b->out.len, 1);
    assert_int_equal(wal_check_frame(b->out.p, b->out.len, 1, &f), ERR_OK);
    assert_int_equal(f.kind, WAL_NOTES);
    assert_int_equal(f.lsn, lsn);
    assert_int_equal(notes_get(&f, &b->mem, hear, b), ERR_OK);
    for (size_t i = 0; i < b->heard_n; i++)
        assert_int_equal(b->heard[i].lsn, lsn);
}

static int by_place(const void *a, const void *b)
{
    const struct store_rec *x = a, *y = b;
    if (x->queue != y->queue)
        return x->queue < y->queue ? -1 : 1;
    if (x->of != y->of)
        return x->of < y->of ? -1 : 1;
    return x->sub_id < y->sub_id ? -1 : x->sub_id > y->sub_id; /* the order they were added in */
}

/* assert_same: heard is what was said, in its order for each queue and publish. */
static void assert_same(struct bench *b)
{
    assert_int_equal(b->said_n, b->heard_n);
    for (size_t i = 0; i < b->said_n; i++)
        b->said[i].sub_id = b->heard[i].sub_id = (uint32_t)i;
    qsort(b->said, b->said_n, sizeof(b->said[0]), by_place);
    qsort(b->heard, b->heard_n, sizeof(b->heard[0]), by_place);
    for (size_t i = 0; i < b->said_n; i++) {
        const struct store_rec *x = &b->said[i], *y = &b->heard[i];
        assert_true(x->kind == y->kind && x->queue == y->queue && x->of == y->of && x->session == y->session &&
                    x->ticket == y->ticket && x->returns == y->returns);
    }
    b->said_n = 0;
}

static struct store_rec any_note(struct rng *rng, uint32_t queues, uint64_t base)
{
    static const enum store_kind kinds[] = {STORE_SETTLE, STORE_SETTLE, STORE_SENT, STORE_RECEIVED, STORE_RETURNED};
    struct store_rec rec = {.kind = kinds[rng_below(rng, ARRAY_N(kinds))]};
    rec.queue = 1 + rng_below(rng, queues);
    rec.of = base + rng_below(rng, 100000);
    if (rec.kind == STORE_SENT) {
        rec.ticket = (uint16_t)rng_u64(rng);
        rec.session = rng_chance(rng, 50) ? rng_u64(rng) : 0;
    }
    if (rec.kind == STORE_RETURNED)
        rec.returns = (uint16_t)rng_u64(rng);
    return rec;
}

static void test_everything_comes_back(void **state)
{
    struct bench *b = *state;
    struct rng rng;
    rng_init(&rng, 1);
    for (int round = 0; round < 300; round++) {
        uint32_t n = rng_below(&rng, round % 10 == 0 ? MOST : 100), queues = 1 + rng_below(&rng, 1 + n);
        uint64_t base = round % 3 == 0 ? UINT64_MAX - 100000 : (uint64_t)round * 1000;
        for (uint32_t i = 0; i < n; i++) {
            struct store_rec rec = any_note(&rng, queues, base);
            bool again = false; /* a settle comes once, and is the last */
            for (size_t k = 0; k < b->said_n; k++)
                again |= b->said[k].queue == rec.queue && b->said[k].of == rec.of &&
                         (b->said[k].kind == STORE_SETTLE || rec.kind == STORE_SETTLE);
            if (!again)
                say(b, rec);
        }
        if (b->said_n == 0)
            continue;
        put_get(b, (lsn_t)round + 1);
        assert_same(b);
    }
}

static void test_order_about_one_publish(void **state)
{
    struct bench *b = *state;
    for (uint64_t queue = 1; queue <= 3; queue++) {
        say(b, (struct store_rec){.kind = STORE_RETURNED, .queue = queue, .of = 5, .returns = 1});
        say(b, (struct store_rec){.kind = STORE_SENT, .queue = queue, .of = 5, .ticket = 9});
        say(b, (struct store_rec){.kind = STORE_RETURNED, .queue = queue, .of = 5, .returns = 2});
        say(b, (struct store_rec){.kind = STORE_SENT, .queue = queue, .of = 5, .ticket = 10, .session = 77});
        say(b, (struct store_rec){.kind = STORE_RECEIVED, .queue = queue, .of = 5});
        say(b, (struct store_rec){.kind = STORE_SETTLE, .queue = queue, .of = 5});
    }
    put_get(b, 8);
    assert_same(b);
}

static void test_a_run_is_small(void **state)
{
    struct bench *b = *state;
    for (uint64_t of = 1000; of < 1000 + MOST; of++) /* every second one: two queues take turns */
        say(b, (struct store_rec){.kind = STORE_SETTLE, .queue = 1 + of % 2, .of = of});
    put_get(b, 9000);
    assert_true(b->out.len < MOST * 2 + 64);
    assert_same(b);
    for (uint64_t of = 1000 + MOST; of > 1000; of--) /* backwards */
        say(b, (struct store_rec){.kind = STORE_SETTLE, .queue = 1, .of = of});
    say(b, b->said[0]); /* twice the same is once */
    b->said_n--;
    put_get(b, 9000);
    assert_int_equal(b->out.len, 40);
    assert_same(b);
}

static bool is_even(void *ctx, lsn_t of)
{
    (void)ctx;
    return of % 2 == 0;
}

static bool never(void *ctx, lsn_t of)
{
    (void)ctx;
    (void)of;
    return false;
}

static void test_filter(void **state)
{
    struct bench *b = *state;
    struct rng rng;
    rng_init(&rng, 2);
    for (int round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 200; i++)
            say(b, (struct store_rec){.kind = STORE_SENT, .queue = rng_below(&rng, 20), .of = i, .ticket = 1});
        size_t kept = 0;
        for (size_t i = 0; i < b->said_n; i++) {
            if (is_even(NULL, b->said[i].of))
                b->said[kept++] = b->said[i];
        }
        b->said_n = kept;
        notes_filter(b->notes, is_even, NULL);
        say(b, (struct store_rec){.kind = STORE_SETTLE, .queue = 3, .of = 1000}); /* goes on */
        put_get(b, 2000);
        assert_same(b);
    }
    say(b, (struct store_rec){.kind = STORE_SETTLE, .queue = 3, .of = 1});
    notes_filter(b->notes, never, NULL);
    assert_true(notes_is_empty(b->notes));
}

static enum err refuse_third(const struct store_rec *rec, void *ctx)
{
    (void)rec;
    return ++*(int *)ctx == 3 ? ERR_DENIED : ERR_OK;
}

static enum err get_row(struct bench *b, uint64_t *number, size_t n)
{
    Weir__Notes m = WEIR__NOTES__INIT;
    uint8_t body[512];
    m.n_number = n;
    m.number = number;
    struct wal_frame f = {.kind = WAL_NOTES, .lsn = 1, .body = slice_make(body, weir__notes__pack(&m, body))};
    b->heard_n = 0;
    return notes_get(&f, &b->mem, hear, b);
}

static void test_bad_rows(void **state)
{
    struct bench *b = *state;
    uint64_t good[] = {7,          2,  10, 5 << 2 | 1, 2,
                       6 << 2 | 0, 99, 1,  4,          2}; /* queue 7: of 5 sent, 6 sent; 8, 9, 10 settled */
    assert_int_equal(get_row(b, good, ARRAY_N(good)), ERR_OK);
    assert_int_equal(b->heard_n, 5);
    assert_true(b->heard[0].of == 5 && b->heard[0].ticket == 5 && b->heard[1].session == 99);
    assert_true(b->heard[2].of == 8 && b->heard[4].of == 10 && b->heard[4].kind == STORE_SETTLE);
    for (size_t n = 1; n < ARRAY_N(good); n++) {
        assert_int_equal(get_row(b, good, n), ERR_MALFORMED);
        assert_int_equal(b->heard_n, 0);
    }
    uint64_t wild[] = {7, 0, 1, 2, UINT64_MAX}, long_run[] = {7, 0, 1, 2, 1 << 27},
             big[] = {7, 1, 2, 65536 << 2 | 1, 0};
    uint64_t over[] = {7, 0, 1, 3, 5}; /* begins at -2: runs over the end of all numbers */
    assert_int_equal(get_row(b, wild, ARRAY_N(wild)), ERR_MALFORMED);
    assert_int_equal(get_row(b, long_run, ARRAY_N(long_run)), ERR_MALFORMED);
    assert_int_equal(get_row(b, big, ARRAY_N(big)), ERR_MALFORMED);
    assert_int_equal(get_row(b, over, ARRAY_N(over)), ERR_MALFORMED);
    struct wal_frame f = {.kind = WAL_BATCH};
    assert_int_equal(notes_get(&f, &b->mem, hear, b), ERR_MALFORMED);
    say(b, (struct store_rec){.kind = STORE_SETTLE, .queue = 1, .of = 1});
    say(b, (struct store_rec){.kind = STORE_SETTLE, .queue = 1, .of = 3});
    say(b, (struct store_rec){.kind = STORE_SETTLE, .queue = 1, .of = 4});
    say(b, (struct store_rec){.kind = STORE_SETTLE, .queue = 1, .of = 5});
    put_get(b, 1);
    assert_int_equal(wal_check_frame(b->out.p, b->out.len, 1, &f), ERR_OK);
    int n = 0;
    assert_int_equal(notes_get(&f, &b->mem, refuse_third, &n), ERR_DENIED);
    assert_int_equal(n, 3);
}

static void test_out_of_memory(void **state)
{
    struct bench *b = *state;
    struct rng rng;
    rng_init(&rng, 3);
    b->heap.fail_at = b->heap.calls + 1;
    assert_null(notes_new(&b->mem));
    for (uint64_t nth = 1; nth < 20; nth++) {
        notes_free(b->notes);
        b->notes = notes_new(&b->mem);
        b->heap.fail_at = b->heap.calls + nth;
        for (uint64_t i = 0; i < 300; i++) { /* one settle of each queue */
            struct store_rec rec = {.kind = STORE_SETTLE, .queue = i, .of = 1000 - i};
            enum err e = notes_add(b->notes, &rec);
            if (e != ERR_OK) {
                assert_int_equal(e, ERR_NOMEM);
                assert_int_equal(notes_add(b->notes, &rec), ERR_OK); /* only one allocation fails */
            }
            b->said[b->said_n++] = rec;
        }
        struct buf out;
        buf_init(&out, &b->mem);
        enum err e = notes_put(b->notes, &out, 5);
        if (e != ERR_OK) {
            assert_true(out.len == 0 && !out.bad);
            assert_false(notes_is_empty(b->notes));
            buf_fini(&out);
        } else {
            wal_seal(out.p, out.len, 1);
            struct wal_frame f;
            assert_int_equal(wal_check_frame(out.p, out.len, 1, &f), ERR_OK);
            b->heard_n = 0;
            e = notes_get(&f, &b->mem, hear, b);
            if (e != ERR_OK) {
                assert_int_equal(e, ERR_NOMEM);
                assert_int_equal(b->heard_n, 0);
                assert_int_equal(notes_get(&f, &b->mem, hear, b), ERR_OK);
            }
            assert_same(b);
            buf_fini(&out);
            b->heap.fail_at = 0;
            continue;
        }
        b->heap.fail_at = 0;
        put_get(b, 5);
        assert_same(b);
    }
}

static void test_cost(void **state)
{
    struct bench *b = *state;
    enum { N = 1000000, BATCH = 2000 };
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint64_t i = 0; i < N; i++) {
        struct store_rec rec = {.kind = STORE_SETTLE, .queue = i % 100, .of = i};
        assert_int_equal(notes_add(b->notes, &rec), ERR_OK);
        if (i % BATCH == BATCH - 1) {
            buf_clear(&b->out);
            assert_int_equal(notes_put(b->notes, &b->out, i), ERR_OK);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("a settle, noted and written: %.0f ns, %.1f bytes\n",
           ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / N,
           (double)b->out.len / BATCH);
    assert_true(b->out.len < BATCH * 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_everything_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order_about_one_publish, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_run_is_small, setup, teardown),
        cmocka_unit_test_setup_teardown(test_filter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cost, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
