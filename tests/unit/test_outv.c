/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_outv.c: random puts, references, eats, owns and cuts against a plain byte string.
 *
 * Two kinds of things are referred to: chunks (as the read path does) and blobs, whose bytes are scribbled over when
 * the last reference goes, so that an outv that dropped one too early shows wrong bytes. The same run is repeated with
 * each allocation failing once: then nothing of the failed step may appear, what was there before must stay whole,
 * and everything must be given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/chunk.h"
#include "core/base/outv.h"
#include "core/base/rng.h"
#include "tests/support/guard.h"

#define BLOB_BYTES  3000u
#define MODEL_BYTES 400000u

struct blob {
    struct ref ref;
    bool dead;
    uint8_t p[BLOB_BYTES];
};

struct env {
    struct mem_heap heap;
    struct mem mem;
    struct outv_pool pool;
    struct chunk_pool chunks;
    struct outv *o;
    struct rng rng;
    struct blob blob[4];
    struct chunk *chunk[2]; /* the reader's own references */
    struct ref *last_ref;   /* where the last reference ended, to go on there */
    const uint8_t *last_end;
    uint8_t model[MODEL_BYTES]; /* still to send: [at, len) */
    size_t at, len;
    size_t mark; /* pending bytes that truncate may go back to */
};

static void blob_die(struct ref *ref)
{
    struct blob *b = CONTAINER_OF(ref, struct blob, ref);
    b->dead = true;
    memset(b->p, 0xdd, sizeof(b->p));
}

static void fill(struct rng *rng, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rng_u64(rng);
}

static void blob_renew(struct env *e, struct blob *b)
{
    ref_init(&b->ref, blob_die);
    b->dead = false;
    fill(&e->rng, b->p, sizeof(b->p));
}

static void env_init(struct env *e, uint64_t seed)
{
    mem_heap_init(&e->heap);
    mem_init(&e->mem, &e->heap, "outv");
    outv_pool_init(&e->pool, &e->mem);
    chunk_pool_init(&e->chunks, &e->mem);
    rng_init(&e->rng, seed);
    e->o = NULL;
    e->last_ref = NULL;
    e->at = e->len = e->mark = 0;
    for (size_t i = 0; i < ARRAY_N(e->blob); i++)
        blob_renew(e, &e->blob[i]);
    for (size_t i = 0; i < ARRAY_N(e->chunk); i++)
        e->chunk[i] = NULL;
}

static void env_fini(struct env *e)
{
    if (e->o != NULL)
        outv_free(&e->pool, e->o);
    for (size_t i = 0; i < ARRAY_N(e->blob); i++) {
        if (!e->blob[i].dead) {
            assert_false(ref_is_shared(&e->blob[i].ref)); /* nobody but us holds it */
            ref_drop(&e->blob[i].ref);
        }
    }
    for (size_t i = 0; i < ARRAY_N(e->chunk); i++) {
        if (e->chunk[i] != NULL) {
            assert_false(ref_is_shared(&e->chunk[i]->ref));
            chunk_drop(e->chunk[i]);
        }
    }
    outv_pool_fini(&e->pool);
    chunk_pool_fini(&e->chunks);
    assert_int_equal(e->heap.bytes, 0);
}

/* model_put: the outv was given p[n]; it counts unless the outv is bad. */
static void model_put(struct env *e, const uint8_t *p, size_t n)
{
    if (e->o->bad)
        return;
    if (e->at != 0 && MODEL_BYTES - e->len < n) {
        memmove(e->model, e->model + e->at, e->len - e->at);
        e->len -= e->at;
        e->at = 0;
    }
    assert_true(MODEL_BYTES - e->len >= n);
    if (n != 0)
        memcpy(e->model + e->len, p, n);
    e->len += n;
}

/* same: the outv says exactly the model's bytes. */
static void same(struct env *e)
{
    struct iovec iov[64];
    outv_check(e->o);
    assert_int_equal(e->o->bytes, e->len - e->at);
    int max = (int)rng_below(&e->rng, ARRAY_N(iov) + 1);
    int n = outv_iov(e->o, iov, max);
    assert_true(n <= max);
    size_t at = e->at;
    for (int i = 0; i < n; i++) {
        assert_true(iov[i].iov_len != 0);
        assert_true(e->len - at >= iov[i].iov_len);
        assert_memory_equal(iov[i].iov_base, e->model + at, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    if (n < max)
        assert_int_equal(at, e->len); /* all of it */
}

static size_t some_bytes(struct env *e)
{
    static const uint32_t upto[] = {4, 30, 300, 5000};
    return rng_below(&e->rng, upto[rng_below(&e->rng, ARRAY_N(upto))]);
}

static void step_put(struct env *e)
{
    uint8_t bytes[5000];
    size_t n = some_bytes(e);
    fill(&e->rng, bytes, MIN(n, 8));
    memset(bytes + MIN(n, 8), (int)(n & 0xff), n - MIN(n, 8));
    if (rng_chance(&e->rng, 50)) {
        outv_put(e->o, n ? bytes : NULL, n);
        model_put(e, bytes, n);
        return;
    }
    uint8_t *room = outv_room(e->o, n); /* more room than is used */
    assert_true((room == NULL) == e->o->bad);
    if (room == NULL)
        return;
    memset(room, 0xee, n);
    size_t used = rng_chance(&e->rng, 20) ? 0 : rng_below(&e->rng, (uint32_t)n + 1);
    memcpy(room, bytes, used);
    outv_wrote(e->o, used);
    model_put(e, bytes, used);
}

static void put_ref(struct env *e, struct ref *ref, const uint8_t *all, size_t all_n)
{
    size_t from = rng_below(&e->rng, (uint32_t)all_n);
    bool next_to_last = ref == e->last_ref && rng_chance(&e->rng, 70);
    if (next_to_last)
        from = (size_t)(e->last_end - all);
    size_t want = some_bytes(e), n = MIN(all_n - from, want);
    if (rng_chance(&e->rng, 50))
        outv_ref(e->o, ref, all + from, n);
    else
        outv_pass(e->o, ref, all + from, n);
    model_put(e, all + from, n);
    e->last_ref = ref;
    e->last_end = all + from + n;
}

static void step_ref_blob(struct env *e)
{
    struct blob *b = &e->blob[rng_below(&e->rng, ARRAY_N(e->blob))];
    if (b->dead)
        blob_renew(e, b);
    put_ref(e, &b->ref, b->p, sizeof(b->p));
}

static void step_ref_chunk(struct env *e)
{
    struct chunk **c = &e->chunk[rng_below(&e->rng, ARRAY_N(e->chunk))];
    if (*c == NULL) {
        *c = chunk_new(&e->chunks, 2000);
        if (*c == NULL)
            return;
        fill(&e->rng, (*c)->p, 2000);
    }
    put_ref(e, &(*c)->ref, (*c)->p, 2000);
    if (rng_chance(&e->rng, 20)) { /* from here on only the outv keeps it */
        if (e->last_ref == &(*c)->ref)
            e->last_ref = NULL;
        chunk_drop(*c);
        *c = NULL;
    }
}

static void step_eat(struct env *e)
{
    size_t n = rng_chance(&e->rng, 15) ? e->o->bytes : rng_below(&e->rng, (uint32_t)e->o->bytes + 1);
    outv_eat(e->o, n);
    e->at += n;
    e->mark = e->o->bytes;
    if (e->o->bytes == 0) {
        assert_int_equal(e->o->buf_len, 0); /* the buffer starts again */
        assert_int_equal(e->o->seg_n, 0);
    }
}

static void step_own(struct env *e)
{
    if (rng_chance(&e->rng, 50)) {
        outv_own(e->o, chunk_die);
        for (uint32_t i = e->o->seg_first; i < e->o->seg_n && !e->o->bad; i++)
            assert_true(e->o->seg[i].ref == NULL || e->o->seg[i].ref->die != chunk_die);
    } else {
        outv_own(e->o, blob_die);
        for (uint32_t i = e->o->seg_first; i < e->o->seg_n && !e->o->bad; i++)
            assert_true(e->o->seg[i].ref == NULL || e->o->seg[i].ref->die != blob_die);
    }
}

static void step_truncate(struct env *e)
{
    size_t bytes = e->mark + rng_below(&e->rng, (uint32_t)(e->o->bytes - e->mark) + 1);
    outv_truncate(e->o, bytes);
    e->len = e->at + bytes;
    e->mark = bytes;
    e->last_ref = NULL;
}

/* step_drop_blob: our own reference goes; the outv's keep the bytes. */
static void step_drop_blob(struct env *e)
{
    struct blob *b = &e->blob[rng_below(&e->rng, ARRAY_N(e->blob))];
    if (b->dead || ref_is_shared(&b->ref))
        return;
    if (e->last_ref == &b->ref)
        e->last_ref = NULL;
    ref_drop(&b->ref);
    assert_true(b->dead);
}

static void step(struct env *e)
{
    uint32_t dice = rng_below(&e->rng, 100);
    if (e->o->bytes > MODEL_BYTES / 4)
        dice = 75;
    if (dice < 30)
        step_put(e);
    else if (dice < 45)
        step_ref_blob(e);
    else if (dice < 62)
        step_ref_chunk(e);
    else if (dice < 80)
        step_eat(e);
    else if (dice < 87)
        step_own(e);
    else if (dice < 93)
        step_truncate(e);
    else if (dice < 95)
        step_drop_blob(e);
    else
        e->mark = e->o->bytes;
    same(e);
}

/* run: one scenario; returns whether the failing allocation was reached. */
static bool run(struct env *e, uint64_t seed, uint64_t fail_at, int steps)
{
    env_init(e, seed);
    e->heap.fail_at = fail_at;
    bool was_bad = false;
    for (int i = 0; i < steps; i++) {
        if (e->o == NULL) {
            e->o = outv_new(&e->pool);
            if (e->o == NULL)
                continue;
            assert_false(e->o->bad);
            assert_int_equal(e->o->bytes, 0);
            was_bad = false;
        }
        step(e);
        assert_true(!was_bad || e->o->bad); /* sticky */
        was_bad = e->o->bad;
        if (rng_chance(&e->rng, was_bad ? 5 : 1)) {
            outv_free(&e->pool, e->o);
            e->o = NULL;
            e->last_ref = NULL;
            e->at = e->len = e->mark = 0;
        }
    }
    bool reached = fail_at != 0 && e->heap.calls >= fail_at;
    env_fini(e);
    return reached;
}

static struct env the_env;

static void test_random_against_bytes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++)
        run(&the_env, seed, 0, 1500);
}

static void test_every_failing_allocation(void **state)
{
    (void)state;
    uint64_t visited = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        uint64_t nth = 1;
        while (run(&the_env, seed, nth, 250))
            nth++;
        visited += nth - 1;
    }
    assert_true(visited > 100);
}

/* small pieces are copied until they turn out to be a run; a run is one segment. */
static void test_passing_a_run(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1);
    e->o = outv_new(&e->pool);
    struct blob *b = &e->blob[0];
    struct iovec iov[4];
    for (size_t i = 0; i < 10; i++)
        outv_pass(e->o, &b->ref, b->p + i * 20, 10); /* every other one: no run */
    assert_int_equal(outv_iov(e->o, iov, 4), 1);
    assert_int_equal(atomic_load(&b->ref.n), 1);
    for (size_t i = 0; i < 10; i++)
        outv_pass(e->o, &b->ref, b->p + 190 + i * 10, 10); /* goes on from the last one */
    assert_int_equal(outv_iov(e->o, iov, 4), 2);
    assert_ptr_equal(iov[1].iov_base, b->p + 190);
    assert_int_equal(iov[1].iov_len, 100);
    assert_int_equal(atomic_load(&b->ref.n), 2);
    outv_pass(e->o, &b->ref, b->p + 400, OUTV_PASS_MIN); /* large: at once */
    assert_int_equal(outv_iov(e->o, iov, 4), 3);
    assert_int_equal(e->o->bytes, 10 * 10 + 100 + OUTV_PASS_MIN);
    outv_check(e->o);
    env_fini(e);
}

static void test_neighbours_merge(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1);
    e->o = outv_new(&e->pool);
    struct blob *b = &e->blob[0];
    for (size_t i = 0; i < 100; i++)
        outv_ref(e->o, &b->ref, b->p + i * 10, 10);
    struct iovec iov[4];
    assert_int_equal(outv_iov(e->o, iov, 4), 1);
    assert_ptr_equal(iov[0].iov_base, b->p);
    assert_int_equal(iov[0].iov_len, 1000);
    assert_int_equal(atomic_load(&b->ref.n), 2); /* one reference for all of it */
    outv_put(e->o, "ab", 2);
    outv_put(e->o, "cd", 2);
    assert_int_equal(outv_iov(e->o, iov, 4), 2);
    assert_int_equal(iov[1].iov_len, 4);
    assert_memory_equal(iov[1].iov_base, "abcd", 4);
    outv_ref(e->o, &b->ref, b->p + 1000, 1); /* not a neighbour any more */
    assert_int_equal(outv_iov(e->o, iov, 4), 3);
    outv_ref(e->o, &e->blob[1].ref, b->p + 1001, 1); /* adjacent, but held by another */
    assert_int_equal(outv_iov(e->o, iov, 4), 4);
    assert_int_equal(outv_iov(e->o, iov, 2), 2);
    assert_int_equal(outv_iov(e->o, iov, 0), 0);
    outv_eat(e->o, 1001); /* into "abcd" */
    assert_int_equal(atomic_load(&b->ref.n), 2);
    assert_int_equal(outv_iov(e->o, iov, 4), 3);
    assert_memory_equal(iov[0].iov_base, "bcd", 3);
    outv_own(e->o, blob_die);
    assert_int_equal(outv_iov(e->o, iov, 4), 1); /* plain again */
    assert_int_equal(e->o->seg_n, 0);
    assert_int_equal(iov[0].iov_len, 5);
    assert_memory_equal(iov[0].iov_base, "bcd", 3);
    assert_int_equal(((uint8_t *)iov[0].iov_base)[3], b->p[1000]);
    assert_int_equal(atomic_load(&b->ref.n), 1);
    env_fini(e);
}

/* A peer that reads slowly: the buffer stays as large as what is pending, it does not grow with all that passed. */
static void test_steady_backlog_needs_steady_memory(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1);
    e->o = outv_new(&e->pool);
    uint8_t bytes[100];
    memset(bytes, 1, sizeof(bytes));
    for (int i = 0; i < 50; i++)
        outv_put(e->o, bytes, sizeof(bytes));
    for (int i = 0; i < 10000; i++) {
        outv_put(e->o, bytes, sizeof(bytes));
        if (i % 3 == 0)
            outv_ref(e->o, &e->blob[0].ref, e->blob[0].p, 10);
        outv_eat(e->o, sizeof(bytes) + (i % 3 == 0 ? 10 : 0));
        outv_check(e->o);
    }
    assert_int_equal(e->o->bytes, 5000);
    assert_true(e->o->buf_cap <= 4 * 8192);
    assert_true(e->o->seg_cap <= 256);
    env_fini(e);
}

/* fill_pool: n outvs with at least `bytes` of room each go back to the pool. */
static void fill_pool(struct env *e, size_t n, size_t bytes)
{
    static struct outv *o[OUTV_FREE_MAX * 2];
    assert_true(n <= ARRAY_N(o));
    for (size_t i = 0; i < n; i++) {
        o[i] = outv_new(&e->pool);
        assert_non_null(outv_room(o[i], bytes));
        outv_put(o[i], "x", 1);
        outv_ref(o[i], &e->blob[0].ref, e->blob[0].p, 1);
    }
    for (size_t i = 0; i < n; i++)
        outv_free(&e->pool, o[i]);
}

static void test_pool_keeps_a_bounded_number(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1);
    fill_pool(e, OUTV_FREE_MAX + 10, 1);
    assert_int_equal(e->pool.free_n, OUTV_FREE_MAX);
    fill_pool(e, OUTV_FREE_MAX, 32768);
    assert_in_range(e->pool.free_bytes, OUTV_FREE_BYTES - 40000, OUTV_FREE_BYTES);
    assert_in_range(e->heap.bytes, OUTV_FREE_BYTES / 2, OUTV_FREE_BYTES * 2);
    assert_false(ref_is_shared(&e->blob[0].ref));
    struct outv *again = outv_new(&e->pool);
    uint64_t calls = e->heap.calls;
    outv_put(again, "y", 1);
    assert_int_equal(e->heap.calls, calls); /* hot: no allocation */
    assert_int_equal(again->bytes, 1);
    size_t kept = e->pool.free_bytes;
    uint8_t *room = outv_room(again, OUTV_BUF_KEEP_MAX + 1);
    assert_non_null(room);
    outv_free(&e->pool, again);
    assert_int_equal(e->pool.free_bytes, kept); /* too large a buffer */
    env_fini(e);
}

static void eat_too_much(void *ctx)
{
    struct env *e = ctx;
    outv_eat(e->o, e->o->bytes + 1);
}

static void cut_too_little(void *ctx)
{
    struct env *e = ctx;
    outv_truncate(e->o, e->o->bytes + 1);
}

static void test_mistakes_and_limits(void **state)
{
    (void)state;
    struct env *e = &the_env;
    env_init(e, 1);
    e->o = outv_new(&e->pool);
    outv_put(e->o, "abc", 3);
    assert_true(guard_dies(eat_too_much, e));
    assert_true(guard_dies(cut_too_little, e));
    assert_null(outv_room(e->o, SIZE_MAX));
    assert_true(e->o->bad);
    outv_put(e->o, "def", 3);
    outv_ref(e->o, &e->blob[0].ref, e->blob[0].p, 3);
    assert_int_equal(e->o->bytes, 3);
    assert_false(ref_is_shared(&e->blob[0].ref));
    env_fini(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_bytes),
        cmocka_unit_test(test_every_failing_allocation),
        cmocka_unit_test(test_passing_a_run),
        cmocka_unit_test(test_neighbours_merge),
        cmocka_unit_test(test_steady_backlog_needs_steady_memory),
        cmocka_unit_test(test_pool_keeps_a_bounded_number),
        cmocka_unit_test(test_mistakes_and_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
