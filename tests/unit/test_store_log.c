/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_log.c: the log's batches: who waits for what, what is written at all, and what "durable up to" says; on a
 * simulated disk, with lanes that answer when the test says so. What every store promises is in tests/contract.
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

#define LIVE STORE_PUBLISH_LIVE

struct world {
    struct log_world w; /* first */
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    struct platter *platter;
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

static struct log_world *open_world(void **state, uint32_t linger_ms)
{
    struct world *t = *state;
    t->w.config.linger_ms = linger_ms;
    log_world_open(&t->w);
    log_wait(&t->w); /* spares are there */
    return &t->w;
}

/* ---- group commit -------------------------------------------------------------------------------------------- */

/* While a batch is under way what is submitted gathers, and goes as one. */
static void test_gathers(void **state)
{
    struct log_world *w = open_world(state, 0);
    assert_int_equal(log_publish(w, "a", "1", 7, 0), 1);
    w->store->ops->submit(w->store, w->now); /* 1 is written, and not told yet */
    for (lsn_t i = 2; i <= 5; i++) {
        assert_int_equal(log_publish(w, "a", "n", 7, 0), i);
        w->store->ops->submit(w->store, w->now);
    }
    assert_int_equal(w->durable, 0);
    uint64_t writes = w->faults.writes;
    runner_turn(w->runner);
    assert_int_equal(w->durable, 1);
    assert_int_equal(w->faults.writes, writes);
    log_wait(w);
    assert_int_equal(w->durable, 5);
    assert_int_equal(w->faults.writes, writes + 1);
    assert_int_equal(w->store->stats.batches, 2);
    assert_int_equal(w->store->stats.records, 5);
    log_expect(w, "1 PUBLISH a=1 -> 7\n2 PUBLISH a=n -> 7\n3 PUBLISH a=n -> 7\n4 PUBLISH a=n -> 7\n"
                  "5 PUBLISH a=n -> 7\n");
    assert_int_equal(log_publish(w, "a", "6", 7, 0), 6);
}

static void test_commit_ms_min(void **state)
{
    ((struct world *)*state)->w.config.commit_ms_min = 10;
    struct log_world *w = open_world(state, 0);
    log_publish(w, "a", "1", 7, 0);
    log_wait(w);
    assert_int_equal(w->durable, 1);
    log_publish(w, "a", "2", 7, 0);
    log_wait(w);
    assert_int_equal(w->durable, 1);
    assert_int_equal(w->due, w->now + 10);
    log_pass(w, 9);
    assert_int_equal(w->durable, 1);
    log_pass(w, 1);
    assert_int_equal(w->durable, 2);
}

/* ---- commit or consumed -------------------------------------------------------------------------------------- */

static void test_consumed(void **state)
{
    struct log_world *w = open_world(state, 20);
    uint64_t writes = w->faults.writes;
    for (unsigned i = 0; i < 1000; i++) {
        lsn_t lsn = log_publish(w, "live", "x", 7, LIVE);
        log_wait(w);
        assert_int_equal(w->durable, lsn - 1);
        log_sent(w, 7, lsn, 1);
        log_wait(w);
        assert_int_equal(w->durable, lsn - 1);
        assert_true(w->due == w->now + 20 || w->due == w->now + 19);
        w->now += i % 2;
        log_settle(w, 7, lsn);
        log_wait(w);
        assert_int_equal(w->durable, lsn + 1); /* the note's */
        assert_int_equal(w->due, MONO_NEVER);
    }
    assert_int_equal(w->faults.writes, writes);
    assert_int_equal(w->store->stats.consumed, 1000);
    assert_int_equal(w->store->stats.batches, 0);
    log_expect(w, "");
}

/* Live traffic in which something always waits: nothing is written, and the batch's memory does not grow. */
static void test_consumed_overlapping(void **state)
{
    struct log_world *w = open_world(state, 20);
    lsn_t lsn[8] = {0};
    size_t peak = 0;
    for (unsigned i = 0; i < 20000; i++) {
        if (lsn[i % 8] != 0)
            assert_true(log_settle(w, 7, lsn[i % 8]) != 0);
        lsn[i % 8] = log_publish_to(w, "live", 100, 1, LIVE);
        assert_true(log_sent(w, 1, lsn[i % 8], 1) != 0);
        assert_true(log_settle(w, 1, lsn[i % 8]) != 0);
        lsn[i % 8] = log_publish(w, "live", "x", 7, LIVE);
        w->now += i % 3 == 0;
        log_wait(w);
        if (lsn[(i + 1) % 8] != 0) /* the oldest that lives */
            assert_int_equal(w->durable, lsn[(i + 1) % 8] - 1);
        if (i == 2000)
            peak = w->heap.bytes;
    }
    assert_int_equal(w->store->stats.batches, 0);
    assert_true(w->heap.bytes <= peak * 2);
}

/* What is not settled in time is written, and the next 64 batches do not wait for anything. */
static void test_linger_in_vain(void **state)
{
    struct log_world *w = open_world(state, 20);
    log_publish(w, "a", "1", 7, LIVE);
    log_pass(w, 19);
    assert_int_equal(w->durable, 0);
    log_pass(w, 1);
    assert_int_equal(w->durable, 1);
    for (lsn_t i = 2; i <= 65; i++) {
        log_publish(w, "a", "n", 7, LIVE);
        log_wait(w);
        assert_int_equal(w->durable, i);
    }
    log_publish(w, "a", "n", 7, LIVE);
    log_wait(w);
    assert_int_equal(w->durable, 65);
    log_pass(w, 20);
    assert_int_equal(w->durable, 66);
}

/* Anything else in the batch, and it does not wait. */
static void test_no_linger(void **state)
{
    struct log_world *w = open_world(state, 20);
    log_publish(w, "a", "1", 7, LIVE);
    log_publish(w, "a", "2", 7, 0);
    log_wait(w);
    assert_int_equal(w->durable, 2);
    log_publish(w, "a", "3", 7, LIVE);
    log_append(w, &(struct store_rec){.kind = STORE_SESSION, .session = 1, .name = SLICE("s")});
    log_wait(w);
    assert_int_equal(w->durable, 4);
    lsn_t lsn = log_publish(w, "a", "5", 7, LIVE);
    log_append(w, &(struct store_rec){.kind = STORE_RECEIVED, .queue = 7, .of = lsn});
    log_wait(w);
    assert_int_equal(w->durable, 6);
    lsn = log_publish(w, "a", "7", 7, LIVE);
    log_append(w, &(struct store_rec){.kind = STORE_SENT, .queue = 7, .of = lsn, .qos = 2, .ticket = 1});
    log_wait(w);
    assert_int_equal(w->durable, 8);
    log_publish(w, "a", "9", 7, LIVE | STORE_PUBLISH_RETAINED);
    log_wait(w);
    assert_int_equal(w->durable, 9);
}

/* Settles of what was written before wait as long as a batch may linger, not longer; without linger they go at once. */
static void test_old_notes(void **state)
{
    struct log_world *w = open_world(state, 20);
    lsn_t a = log_publish(w, "a", "1", 7, 0), b = log_publish(w, "a", "2", 7, 0);
    log_wait(w);
    lsn_t note = log_settle(w, 7, a);
    assert_int_equal(note, 3);
    log_wait(w);
    assert_int_equal(w->durable, 2);
    log_pass(w, 10);
    assert_int_equal(log_publish(w, "a", "4", 7, LIVE), 4);
    assert_int_equal(log_settle(w, 7, b), 3); /* the same one */
    log_settle(w, 7, 4);
    log_wait(w);
    assert_int_equal(w->durable, 2); /* 4 is consumed, but 3 waits */
    log_pass(w, 10);
    assert_int_equal(w->durable, 4);
    assert_int_equal(w->store->stats.consumed, 1);
    log_expect(w, "");
}

/* "Durable up to" passes the notes' LSN only when no note waits; then the next one gets another. */
static void test_notes_lsn(void **state)
{
    struct log_world *w = open_world(state, 20);
    lsn_t a = log_publish(w, "a", "1", 7, LIVE);
    assert_int_equal(log_sent(w, 7, a, 1), 2);
    lsn_t c = log_publish(w, "a", "3", 7, LIVE);
    assert_int_equal(log_sent(w, 7, c, 2), 2);
    log_wait(w);
    assert_int_equal(w->durable, 0);
    assert_int_equal(log_settle(w, 7, a), 2);
    log_wait(w);
    assert_int_equal(w->durable, 1); /* c's note waits with c */
    assert_int_equal(log_settle(w, 7, c), 2);
    log_wait(w);
    assert_int_equal(w->durable, 3);
    lsn_t d = log_publish(w, "a", "4", 7, LIVE);
    assert_int_equal(d, 4);
    assert_int_equal(log_sent(w, 7, d, 3), 5);
    log_pass(w, 20);
    assert_int_equal(w->durable, 5);
    log_expect(w, "4 PUBLISH a=4 -> 7s3\n");
}

/* Several targets: notes about some of them go with it, or not at all. */
static void test_partly_settled(void **state)
{
    struct log_world *w = open_world(state, 20);
    lsn_t a = log_publish_to(w, "a", 1, 3, LIVE), b = log_publish_to(w, "b", 1, 2, LIVE);
    log_settle(w, 2, a);
    log_sent(w, 3, a, 9);
    log_settle(w, 1, b);
    log_settle(w, 2, b);
    log_pass(w, 20);
    assert_int_equal(w->store->stats.consumed, 1);
    log_expect(w, "1 PUBLISH a=x -> 1 3s9\n");
}

/* A dead letter settles what it came from, also within one batch: both are written, for one could be lost. */
static void test_dead_letter(void **state)
{
    struct log_world *w = open_world(state, 20);
    lsn_t a = log_publish(w, "a", "1", 7, LIVE);
    struct msgview v = {.topic = SLICE("dead"), .payload = SLICE("1")};
    struct msg *m = msg_new(&w->own_msgs, &v);
    assert_non_null(m);
    struct store_target to = {.queue = 8};
    log_append(w,
               &(struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = &to, .target_n = 1, .queue = 7, .of = a});
    msg_drop(m);
    log_wait(w);
    assert_int_equal(w->durable, 2);
    assert_int_equal(w->store->stats.consumed, 0);
    log_expect(w, "2 PUBLISH dead=1 -> 8\n");
}

/* Settled by one queue, while the other one goes, or has it in a transaction: it is written, for the end may be lost.
 */
static void test_not_consumed(void **state)
{
    struct log_world *w = open_world(state, 20);
    lsn_t a = log_publish_to(w, "a", 1, 2, LIVE);
    log_append(w, &(struct store_rec){.kind = STORE_QUEUE_END, .queue = 2});
    log_settle(w, 1, a);
    lsn_t b = log_publish_to(w, "b", 1, 2, LIVE);
    log_append(w, &(struct store_rec){.kind = STORE_TX});
    log_settle(w, 2, b);
    log_append(w, &(struct store_rec){.kind = STORE_TX_END});
    log_settle(w, 1, b);
    log_wait(w);
    assert_int_equal(w->store->stats.consumed, 0);
    lsn_t c = log_publish_to(w, "c", 1, 1, LIVE); /* the next batch is free again */
    log_settle(w, 1, c);
    log_wait(w);
    assert_int_equal(w->store->stats.consumed, 1);
    log_expect(w, "");
}

/* ---- units --------------------------------------------------------------------------------------------------- */

static lsn_t tx(struct log_world *w, enum store_kind kind, uint8_t flags)
{
    return log_append(w, &(struct store_rec){.kind = kind, .flags = flags});
}

/* What is noted before, in and behind a unit counts in this order. */
static void test_unit(void **state)
{
    struct log_world *w = open_world(state, 20);
    lsn_t a = log_publish(w, "a", "1", 7, 0), b = log_publish(w, "b", "1", 7, 0);
    log_wait(w);
    log_sent(w, 7, a, 5);
    tx(w, STORE_TX, 0);
    log_append(w, &(struct store_rec){.kind = STORE_RETURNED, .queue = 7, .of = a, .returns = 1});
    log_settle(w, 7, b);
    lsn_t c = log_publish(w, "c", "1", 7, LIVE);
    lsn_t end = tx(w, STORE_TX_END, 0);
    log_append(w, &(struct store_rec){.kind = STORE_SENT, .queue = 7, .of = c, .ticket = 6});
    log_wait(w);
    assert_true(w->durable >= end);
    char expected[128];
    snprintf(expected, sizeof(expected), "1 PUBLISH a=1 -> 7+1\n%llu PUBLISH c=1 -> 7s6\n", (unsigned long long)c);
    log_expect(w, expected);
}

static void test_void_unit(void **state)
{
    struct log_world *w = open_world(state, 0);
    lsn_t a = log_publish(w, "a", "1", 7, 0);
    tx(w, STORE_TX, 0);
    log_settle(w, 7, a);
    log_publish(w, "b", "1", 7, 0);
    tx(w, STORE_TX_END, STORE_TX_VOID);
    log_expect(w, "1 PUBLISH a=1 -> 7\n");
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* close writes what lingers; what was never submitted it forgets. */
static void test_close(void **state)
{
    struct log_world *w = open_world(state, 20);
    log_publish(w, "a", "1", 7, LIVE);
    lsn_t b = log_publish(w, "a", "2", 7, LIVE);
    log_wait(w);
    log_settle(w, 7, b);
    log_publish(w, "a", "3", 7, LIVE);
    log_world_close(w);
    assert_int_equal(w->durable, 2);
    log_world_open(w);
    assert_string_equal((const char *)w->seen.p, "1 PUBLISH a=1 -> 7\n");
    assert_non_null(strstr((const char *)buf_slice(&w->lines).p, "1 records, 1 living"));
}

/* With an interval a batch is durable when it is written; syncs come later, and before the end. */
static void test_interval(void **state)
{
    struct world *t = *state;
    t->w.config.sync = STORE_LOG_INTERVAL;
    t->w.config.interval_ms = 100;
    struct log_world *w = open_world(state, 0);
    log_publish(w, "a", "1", 7, 0);
    log_wait(w);
    assert_int_equal(w->durable, 1);
    uint64_t syncs = w->faults.syncs;
    for (unsigned i = 0; i < 100; i++) {
        lsn_t lsn = log_publish(w, "a", "n", 7, 0);
        log_wait(w);
        assert_int_equal(w->durable, lsn);
        log_pass(w, 10);
    }
    assert_in_range(w->faults.syncs - syncs, 9, 11);
    log_publish(w, "a", "last", 7, 0);
    log_wait(w);
    syncs = w->faults.syncs;
    log_world_close(w);
    assert_int_equal(w->faults.syncs, syncs + 1);
    log_world_open(w);
    assert_int_equal(w->seen_n, 102);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gathers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit_ms_min, setup, teardown),
        cmocka_unit_test_setup_teardown(test_consumed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_consumed_overlapping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_linger_in_vain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_linger, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_notes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_notes_lsn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_partly_settled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_letter, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_consumed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_void_unit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interval, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
