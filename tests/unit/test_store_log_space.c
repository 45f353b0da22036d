/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_log_space.c: the log's files: segments that fill up, go, and come again; compaction; a full disk and one
 * that has room again; records that are larger than a segment; messages read back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/sim/disk_sim.h"
#include "tests/support/log_world.h"

#define SEGMENT 65536u

struct world {
    struct log_world w; /* first */
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    struct platter *platter;
    /* of fetch */
    unsigned fetched;
    bool in_fetch;
};

static struct disk *new_disk(void *ctx)
{
    struct disk *d = disk_sim_new(((struct world *)ctx)->platter);
    assert_non_null(d);
    return d;
}

static int setup(void **state)
{
    struct world *t = test_calloc(1, sizeof(*t));
    mem_heap_init(&t->heap);
    mem_init(&t->mem, &t->heap, "platter");
    rng_init(&t->rng, 1);
    t->platter = platter_new(&t->mem, &t->rng, UINT64_MAX);
    assert_non_null(t->platter);
    log_world_init(&t->w, new_disk, t);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct world *t = *state;
    log_world_fini(&t->w);
    platter_free(t->platter);
    assert_int_equal(t->heap.bytes, 0);
    test_free(t);
    return 0;
}

static struct log_world *open_world(void **state)
{
    struct world *t = *state;
    log_world_open(&t->w);
    log_wait(&t->w);
    return &t->w;
}

static lsn_t must_publish(struct log_world *w, uint32_t bytes, uint32_t n)
{
    assert_int_equal(w->store->ops->reserve(w->store, bytes), ERR_OK);
    lsn_t lsn = log_publish_to(w, "t", bytes, n, 0);
    assert_true(lsn != 0);
    return lsn;
}

/* ---- segments ------------------------------------------------------------------------------------------------ */

/* Batches cross segments; a restart finds everything; it writes to a new segment. */
static void test_many_segments(void **state)
{
    struct log_world *w = open_world(state);
    for (unsigned i = 1; i <= 1000; i++) {
        must_publish(w, 500 + i, 1);
        if (i % 10 == 0)
            log_turn(w);
    }
    for (unsigned i = 0; i < 100; i++) /* one batch of several segments */
        must_publish(w, 5000, 1);
    log_wait(w);
    assert_int_equal(w->durable, 1100);
    assert_int_equal(w->failed, 0);
    for (unsigned life = 0; life < 3; life++) {
        log_world_close(w);
        log_world_open(w);
        assert_int_equal(w->seen_n, 1100 + life);
        assert_int_equal(w->store->stats.living_n, 1100 + life);
        assert_int_equal(w->store->stats.replayed, 1100 + life);
        assert_int_equal(w->store->stats.damaged_bytes, 0);
        assert_int_equal(must_publish(w, 10, 1), 1101 + life);
        log_wait(w);
    }
}

/* What is settled makes room: the disk stays small however much passes through, and few files are made. */
static void test_recycles(void **state)
{
    struct log_world *w = open_world(state);
    lsn_t waiting[100] = {0};
    for (unsigned i = 0; i < 20000; i++) {
        if (waiting[i % 100] != 0)
            log_settle(w, 1, waiting[i % 100]);
        waiting[i % 100] = must_publish(w, 300, 1);
        if (i % 20 == 0)
            log_turn(w);
    }
    log_wait(w);
    assert_int_equal(w->failed, 0);
    assert_true(w->store->stats.disk_bytes <= 8 * SEGMENT);
    assert_true(w->store->stats.disk_bytes == platter_used(((struct world *)*state)->platter) ||
                w->store->stats.disk_bytes + 4096 >= platter_used(((struct world *)*state)->platter));
    assert_true(w->faults.creates <= 10);
    log_world_close(w);
    log_world_open(w);
    assert_int_equal(w->seen_n, 100);
}

static void unit(struct log_world *w, unsigned n, uint32_t bytes, uint8_t flags)
{
    assert_true(log_append(w, &(struct store_rec){.kind = STORE_TX}) != 0);
    for (unsigned i = 0; i < n; i++)
        must_publish(w, bytes, 1);
    assert_true(log_append(w, &(struct store_rec){.kind = STORE_TX_END, .flags = flags}) != 0);
}

/* A unit is in one segment: what is left of one that was cut would not be known to be void when its first half has gone
 * with the segment before. */
static void test_units_are_not_cut(void **state)
{
    struct log_world *w = open_world(state);
    for (unsigned fill = 0; fill < 12; fill++) {
        lsn_t first = must_publish(w, 59000 + fill * 500, 1); /* most of a segment */
        log_wait(w);
        unit(w, 5, 700, STORE_TX_VOID);
        lsn_t kept = must_publish(w, 10, 1);
        log_wait(w);
        log_settle(w, 1, first);
        log_pass(w, 100); /* the segment goes */
        log_world_close(w);
        log_world_open(w);
        char expected[64];
        snprintf(expected, sizeof(expected), "%llu PUBLISH t=xxxxxxxxxx -> 1\n", (unsigned long long)kept);
        assert_string_equal((const char *)w->seen.p, expected);
        log_settle(w, 1, kept);
        log_wait(w);
    }
}

/* A unit that is larger than a segment has one of its own. */
static void test_large_units(void **state)
{
    struct log_world *w = open_world(state);
    unit(w, 30, 5000, 0);
    must_publish(w, 10, 1);
    unit(w, 30, 5000, STORE_TX_VOID);
    log_wait(w);
    assert_true(w->durable > 0);
    log_world_close(w);
    log_world_open(w);
    assert_int_equal(w->seen_n, 31);
}

/* ---- compaction ---------------------------------------------------------------------------------------------- */

/* A little of everything stays: definitions, retained, one of a hundred messages, partly settled, with progress. */
static void test_compacts(void **state)
{
    struct log_world *w = open_world(state);
    log_append(w, &(struct store_rec){.kind = STORE_SESSION, .session = 9, .name = SLICE("s")});
    log_append(w, &(struct store_rec){.kind = STORE_QUEUE, .queue = 1, .session = 9, .name = SLICE("q")});
    struct msgview v = {.topic = SLICE("kept"), .payload = SLICE("retained")};
    struct msg *m = msg_new(&w->own_msgs, &v);
    assert_non_null(m);
    log_append(w, &(struct store_rec){.kind = STORE_RETAIN, .msg = m});
    log_append(w, &(struct store_rec){.kind = STORE_WILL, .session = 9, .msg = m, .expiry_s = 7});
    msg_drop(m);
    lsn_t first = log_publish_to(w, "first", 10, 3, 0);
    log_settle(w, 2, first);
    log_sent(w, 3, first, 77);
    unsigned kept = 0;
    for (unsigned i = 0; i < 2000; i++) {
        lsn_t lsn[10];
        for (unsigned k = 0; k < 10; k++)
            lsn[k] = must_publish(w, 400, 2);
        log_wait(w);
        for (unsigned k = 0; k < 10; k++) {
            log_settle(w, 1, lsn[k]);
            if (k != 0 || i % 10 != 0)
                log_settle(w, 2, lsn[k]);
            else
                kept++;
        }
        log_turn(w);
    }
    log_pass(w, 1000);
    assert_int_equal(w->failed, 0);
    assert_true(w->store->stats.copied > 0);
    assert_true(w->store->stats.disk_bytes <= 14 * SEGMENT);
    log_world_close(w);
    log_world_open(w);
    assert_int_equal(w->seen_n, 5 + kept);
    assert_non_null(strstr((const char *)w->seen.p, "5 PUBLISH first=xxxxxxxxxx -> 1 3s77\n"));
    assert_non_null(
        strstr((const char *)w->seen.p, "1 SESSION 9\n2 QUEUE 1\n4 WILL kept=retained\n3 RETAIN kept=retained\n"));
}

/* ---- full ---------------------------------------------------------------------------------------------------- */

/* fill: publishes until it is refused; returns how many. */
static unsigned fill(struct log_world *w, lsn_t *lsn, unsigned max)
{
    unsigned n = 0;
    while (n < max && w->store->ops->reserve(w->store, 1000) == ERR_OK) {
        lsn[n] = log_publish_to(w, "t", 1000, 1, 0);
        assert_true(lsn[n] != 0);
        n++;
        if (n % 5 == 0)
            log_turn(w);
    }
    log_wait(w);
    return n;
}

static void check_full(struct log_world *w, const lsn_t *lsn, unsigned n)
{
    assert_true(w->store->stats.is_full);
    assert_int_equal(w->durable, lsn[n - 1]); /* all that was accepted is there */
    assert_int_equal(w->store->ops->reserve(w->store, 10), ERR_FULL);
    log_pass(w, 5000);
    assert_int_equal(w->store->ops->reserve(w->store, 10), ERR_FULL);
    assert_int_equal(w->failed, 0);
    assert_non_null(strstr((const char *)w->lines.p, "full"));
}

enum { FILL_MAX = 3000 };

static void test_size_limit(void **state)
{
    struct world *t = *state;
    t->w.config.bytes_max = 16 * SEGMENT;
    struct log_world *w = open_world(state);
    lsn_t lsn[FILL_MAX];
    for (unsigned round = 0; round < 3; round++) {
        unsigned n = fill(w, lsn, FILL_MAX);
        assert_in_range(n, 300, 16 * 63);
        assert_true(w->store->stats.disk_bytes <= 16 * SEGMENT);
        check_full(w, lsn, n);
        for (unsigned i = 0; i < n; i++) { /* consumers go on */
            assert_true(log_settle(w, 1, lsn[i]) != 0);
            if (i % 50 == 0)
                log_turn(w);
        }
        log_pass(w, 3000);
        assert_false(w->store->stats.is_full);
        assert_int_equal(w->store->ops->reserve(w->store, 1000), ERR_OK);
        assert_true(w->store->stats.disk_bytes <= 16 * SEGMENT);
    }
    assert_non_null(strstr((const char *)w->lines.p, "has room again"));
    assert_int_equal(w->failed, 0);
}

/* Of every ten messages one stays, in every segment: only compaction makes room, within the spares that are held. */
static void test_size_limit_scattered(void **state)
{
    struct world *t = *state;
    t->w.config.bytes_max = 16 * SEGMENT;
    struct log_world *w = open_world(state);
    lsn_t lsn[FILL_MAX];
    unsigned n = fill(w, lsn, FILL_MAX), left = 0;
    check_full(w, lsn, n);
    for (unsigned i = 0; i < n; i++) {
        if (i % 10 != 0)
            log_settle(w, 1, lsn[i]);
        else
            left++;
        if (i % 50 == 0)
            log_turn(w);
    }
    log_pass(w, 5000);
    assert_false(w->store->stats.is_full);
    unsigned more = fill(w, lsn, FILL_MAX);
    assert_true(more > 150);
    log_world_close(w);
    log_world_open(w);
    assert_int_equal(w->seen_n, left + more);
}

/* No space on the disk: others took it. It is asked every second. */
static void test_disk_full(void **state)
{
    struct world *t = *state;
    platter_set_capacity(t->platter, 12 * SEGMENT);
    struct log_world *w = open_world(state);
    lsn_t lsn[FILL_MAX];
    unsigned n = fill(w, lsn, FILL_MAX);
    assert_in_range(n, 200, 12 * 63);
    check_full(w, lsn, n);
    platter_set_capacity(t->platter, 20 * SEGMENT);
    log_pass(w, 2000);
    assert_false(w->store->stats.is_full);
    unsigned more = fill(w, lsn, FILL_MAX);
    assert_true(more >= 300);
    check_full(w, lsn, more);
    log_world_close(w);
    log_world_open(w);
    assert_int_equal(w->seen_n, n + more);
}

/* The disk becomes full between reserve and the batch: the batch waits, nothing is lost or told. */
static void test_disk_full_suddenly(void **state)
{
    struct world *t = *state;
    struct log_world *w = open_world(state);
    platter_set_capacity(t->platter, 0);
    for (unsigned i = 0; i < 300; i++)
        must_publish(w, 1000, 1);
    log_pass(w, 1500);
    assert_true(w->durable < 300);
    assert_int_equal(w->failed, 0);
    assert_int_equal(w->store->ops->reserve(w->store, 10), ERR_FULL);
    platter_set_capacity(t->platter, UINT64_MAX);
    log_pass(w, 2000);
    assert_int_equal(w->durable, 300);
    assert_int_equal(w->store->ops->reserve(w->store, 10), ERR_OK);
    log_world_close(w);
    log_world_open(w);
    assert_int_equal(w->seen_n, 300);
}

/* ---- large records ------------------------------------------------------------------------------------------- */

static void test_large(void **state)
{
    struct log_world *w = open_world(state);
    for (unsigned i = 0; i < 5; i++) {
        must_publish(w, 100, 1);
        must_publish(w, SEGMENT * (i + 1), 1);
        must_publish(w, SEGMENT - 300, 1);
    }
    log_wait(w);
    assert_int_equal(w->durable, 15);
    const struct msg *m = w->store->ops->read(w->store, 14);
    assert_non_null(m);
    assert_int_equal(m->payload_len, SEGMENT * 5);
    msg_drop(m);
    log_world_close(w);
    log_world_open(w);
    assert_int_equal(w->seen_n, 15);
    for (lsn_t i = 1; i <= 15; i++)
        log_settle(w, 1, i);
    log_wait(w);
    log_publish(w, "a", "1", 7, 0);
    log_pass(w, 1000);
    assert_true(w->store->stats.disk_bytes <= 8 * SEGMENT); /* segments of an odd size are removed */
}

static void test_large_limit(void **state)
{
    struct world *t = *state;
    t->w.config.bytes_max = 16 * SEGMENT;
    struct log_world *w = open_world(state);
    assert_int_equal(w->store->ops->reserve(w->store, 16 * SEGMENT), ERR_FULL);
    assert_int_equal(w->store->ops->reserve(w->store, 1ull << 40), ERR_FULL);
    assert_false(w->store->stats.is_full); /* smaller ones are welcome */
    assert_int_equal(w->store->ops->reserve(w->store, 1000), ERR_OK);
    must_publish(w, 5 * SEGMENT, 1);
    log_wait(w);
    assert_int_equal(w->durable, 1);
}

/* ---- reading back -------------------------------------------------------------------------------------------- */

static void on_fetched(struct store_fetch *f)
{
    struct world *t = f->ctx;
    assert_false(t->in_fetch);
    t->fetched++;
}

static void fetch(struct world *t, struct store_fetch *f)
{
    t->in_fetch = true;
    f->on_fetched = on_fetched;
    f->ctx = t;
    t->w.store->ops->fetch(t->w.store, f);
    t->in_fetch = false;
}

static void test_fetch(void **state)
{
    struct world *t = *state;
    struct log_world *w = open_world(state);
    enum { N = 400 };
    for (unsigned i = 0; i < N; i++) {
        char payload[16];
        snprintf(payload, sizeof(payload), "%u", i + 1);
        log_publish(w, "t", payload, 1, 0);
        if (i == N / 2)
            must_publish(w, 100000, 1); /* LSN N / 2 + 2 */
    }
    log_wait(w);
    for (unsigned restart = 0; restart < 2; restart++) {
        lsn_t lsn[N];
        const struct msg *msg[N];
        for (unsigned i = 0; i < N; i++)
            lsn[i] = i + 1;
        for (unsigned i = 10; i < 20; i++)
            log_settle(w, 1, lsn[i]);
        struct store_fetch all = {.lsn = lsn, .msg = msg, .n = N}, none = {.n = 0};
        lsn_t unknown[2] = {1, 1000000};
        const struct msg *two[2];
        struct store_fetch some = {.lsn = unknown, .msg = two, .n = 2};
        t->fetched = 0;
        uint64_t reads = w->faults.reads;
        fetch(t, &all);
        fetch(t, &none);
        fetch(t, &some);
        log_wait(w);
        assert_int_equal(t->fetched, 3);
        assert_true(w->faults.reads - reads <= 6);
        for (unsigned i = 0; i < N; i++) {
            if (i >= 10 && i < 20) {
                assert_null(msg[i]);
                continue;
            }
            assert_non_null(msg[i]);
            struct msgview v;
            msg_view(msg[i], &v);
            char payload[16];
            snprintf(payload, sizeof(payload), "%u", i <= N / 2 ? i + 1 : i);
            if (i == N / 2 + 1)
                assert_int_equal(v.payload.len, 100000);
            else
                assert_true(slice_eq_str(v.payload, payload));
            msg_drop(msg[i]);
        }
        assert_non_null(two[0]);
        assert_null(two[1]);
        msg_drop(two[0]);
        assert_int_equal(w->store->stats.fetched, N - 10 + 1);
        log_world_close(w);
        log_world_open(w);
    }
}

/* What is not written yet is waited for; read has it from memory. */
static void test_fetch_early(void **state)
{
    struct world *t = *state;
    t->w.config.linger_ms = 20;
    struct log_world *w = open_world(state);
    lsn_t lsn = log_publish(w, "t", "early", 1, STORE_PUBLISH_LIVE);
    const struct msg *msg = NULL;
    struct store_fetch f = {.lsn = &lsn, .msg = &msg, .n = 1};
    fetch(t, &f);
    log_wait(w);
    assert_int_equal(t->fetched, 0);
    const struct msg *now = w->store->ops->read(w->store, lsn);
    assert_non_null(now);
    assert_memory_equal(now->bytes, "tearly", 6);
    msg_drop(now);
    log_pass(w, 120);
    assert_int_equal(t->fetched, 1);
    assert_non_null(msg);
    msg_drop(msg);
    assert_null(w->store->ops->read(w->store, 999));
}

/* close ends every fetch. */
static void test_fetch_close(void **state)
{
    struct world *t = *state;
    struct log_world *w = open_world(state);
    lsn_t lsn = log_publish(w, "t", "1", 1, 0);
    log_wait(w);
    const struct msg *msg = NULL;
    struct store_fetch f = {.lsn = &lsn, .msg = &msg, .n = 1};
    fetch(t, &f);
    log_world_close(w);
    assert_int_equal(t->fetched, 1);
    assert_non_null(msg);
    msg_drop(msg);
}

/* Compaction moves messages while they are fetched, over and over. */
static void test_fetch_while_compacting(void **state)
{
    struct world *t = *state;
    struct log_world *w = open_world(state);
    enum { KEPT = 50 };
    lsn_t lsn[KEPT], other[50];
    const struct msg *msg[KEPT];
    for (unsigned i = 0; i < KEPT; i++)
        lsn[i] = must_publish(w, 1000 + i, 1);
    log_wait(w);
    for (unsigned round = 0; round < 300; round++) {
        struct store_fetch f = {.lsn = lsn, .msg = msg, .n = KEPT};
        t->fetched = 0;
        fetch(t, &f);
        while (t->fetched == 0) {
            for (unsigned i = 0; i < 50; i++)
                other[i] = must_publish(w, 500, 1);
            log_turn(w);
            for (unsigned i = 0; i < 50; i++)
                log_settle(w, 1, other[i]);
            log_turn(w);
        }
        for (unsigned i = 0; i < KEPT; i++) {
            assert_non_null(msg[i]);
            assert_int_equal(msg[i]->payload_len, 1000 + i);
            msg_drop(msg[i]);
        }
    }
    assert_true(w->store->stats.copied >= 3 * KEPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recycles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_units_are_not_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_units, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compacts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_size_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_size_limit_scattered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full_suddenly, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetch_early, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetch_close, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetch_while_compacting, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
