/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_log_fault.c: one history, played again and again, in which each call of the disk fails once, and each
 * allocation. Nothing that was said to be durable may be missing afterwards, nothing that was settled durably may come
 * back, a failure is said once, and the next life opens what there is.
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

enum { ROUNDS = 40, PER_ROUND = 12, RECORDS_MAX = ROUNDS * PER_ROUND };

struct history {
    struct log_world w;
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    struct platter *platter;
    lsn_t publish[RECORDS_MAX]; /* 0: it was not taken */
    lsn_t settle[RECORDS_MAX];  /* 0: not settled, or it was not taken */
    bool was_settled[RECORDS_MAX];
    unsigned n, fetched;
    lsn_t durable; /* at the end of the life before */
};

static struct disk *new_disk(void *ctx)
{
    struct disk *d = disk_sim_new(((struct history *)ctx)->platter);
    assert_non_null(d);
    return d;
}

static struct history *history_new(void)
{
    struct history *h = test_calloc(1, sizeof(*h));
    mem_heap_init(&h->heap);
    mem_init(&h->mem, &h->heap, "platter");
    rng_init(&h->rng, 1);
    h->platter = platter_new(&h->mem, &h->rng, UINT64_MAX);
    assert_non_null(h->platter);
    log_world_init(&h->w, new_disk, h);
    return h;
}

static void history_free(struct history *h)
{
    log_world_fini(&h->w);
    platter_free(h->platter);
    assert_int_equal(h->heap.bytes, 0);
    test_free(h);
}

static void on_fetched(struct store_fetch *f)
{
    struct history *h = f->ctx;
    h->fetched++;
    for (uint32_t i = 0; i < f->n; i++) {
        if (f->msg[i] != NULL)
            msg_drop(f->msg[i]);
    }
}

/* round: some are published, some of the former ones are settled, and one of six stays; some are read back. */
static void round_of(struct history *h, unsigned round)
{
    struct log_world *w = &h->w;
    const struct msg *msg[4];
    lsn_t lsn[4] = {1, 2, 7, h->n > 20 ? h->publish[h->n - 20] : 8};
    struct store_fetch f = {.lsn = lsn, .msg = msg, .n = 4, .on_fetched = on_fetched, .ctx = h};
    bool is_live = round % 5 == 0;
    for (unsigned i = 0; i < PER_ROUND; i++) {
        unsigned at = h->n++;
        h->publish[at] = log_publish_to(w, "t", 1500 + 100 * i, 1, is_live ? STORE_PUBLISH_LIVE : 0);
    }
    if (round % 4 == 1)
        log_append(w, &(struct store_rec){.kind = STORE_SESSION, .session = round, .name = SLICE("s")});
    w->now += 3;
    log_turn(w);
    for (unsigned i = 0; i < h->n; i++) {
        if (h->settle[i] != 0 || i % 6 == 0 || (i + 7 * round) % 4 == 0 || h->publish[i] == 0)
            continue;
        h->settle[i] = log_settle(w, 1, h->publish[i]);
        h->was_settled[i] |= h->settle[i] != 0;
    }
    if (round > 2) {
        h->fetched = 0;
        w->store->ops->fetch(w->store, &f);
        for (unsigned i = 0; h->fetched == 0; i++) {
            assert_true(i < 1000);
            w->now += 50;
            log_turn(w);
        }
    }
    log_turn(w);
}

static void play(struct history *h)
{
    h->n = 0;
    memset(h->publish, 0, sizeof(h->publish));
    memset(h->settle, 0, sizeof(h->settle));
    memset(h->was_settled, 0, sizeof(h->was_settled));
    for (unsigned round = 0; round < ROUNDS; round++)
        round_of(h, round);
    log_pass(&h->w, 3000);
}

static bool was_seen(struct history *h, lsn_t lsn)
{
    char line[32], *at = (char *)h->w.seen.p;
    int n = snprintf(line, sizeof(line), "%llu PUBLISH ", (unsigned long long)lsn);
    for (; at != NULL; at = strchr(at, '\n') != NULL ? strchr(at, '\n') + 1 : NULL) {
        if (strncmp(at, line, (size_t)n) == 0)
            return true;
    }
    return false;
}

/* judge: what the next life finds against what was told before the end of the last one. */
static void judge(struct history *h)
{
    log_world_close(&h->w);
    lsn_t durable = MAX(h->durable, h->w.durable); /* close makes durable what it can */
    h->w.faults.fail_at = h->w.heap.fail_at = 0;
    log_world_open(&h->w);
    for (unsigned i = 0; i < h->n; i++) {
        if (h->publish[i] == 0)
            continue;
        bool seen = was_seen(h, h->publish[i]);
        if (h->publish[i] <= durable && !h->was_settled[i])
            assert_true(seen);
        if (h->settle[i] != 0 && h->settle[i] <= durable)
            assert_false(seen);
    }
}

static void test_disk_calls(void **state)
{
    UNUSED(state);
    static const enum err with[] = {ERR_IO, ERR_FULL};
    uint64_t calls = UINT64_MAX;
    for (uint64_t call = 1; call <= calls; call++) {
        struct history *h = history_new();
        h->w.config.linger_ms = 4;
        if (call != 1) {
            h->w.faults.fail_at = call;
            h->w.faults.fail_with = with[call % 2];
        }
        if (log_world_try(&h->w) == ERR_OK) {
            play(h);
            bool must_fail = h->w.faults.was_write;
            if (h->w.failed != 0) {
                assert_int_equal(log_publish(&h->w, "t", "late", 1, 0), 0);
                assert_int_equal(h->w.store->ops->reserve(h->w.store, 1), ERR_STORE);
                assert_true(must_fail);
            }
            if (call == 1) {
                calls = h->w.faults.calls;
                assert_true(h->w.store->stats.copied > 0 && h->w.faults.removes + h->w.faults.renames > 5);
            }
            judge(h);
        } else {
            assert_true(h->w.faults.has_failed);
            h->w.faults.fail_at = 0;
            log_world_open(&h->w);
        }
        history_free(h);
    }
    assert_in_range(calls, 150, 100000);
}

static void test_allocations(void **state)
{
    UNUSED(state);
    uint64_t calls = UINT64_MAX;
    for (uint64_t call = 1; call <= calls; call++) {
        struct history *h = history_new();
        h->w.config.linger_ms = 4;
        h->w.heap.fail_at = call == 1 ? 0 : call;
        if (log_world_try(&h->w) == ERR_OK) {
            play(h);
            assert_int_equal(h->w.failed, 0);
            calls = call == 1 ? h->w.heap.calls : calls;
            judge(h);
        } else {
            log_world_open(&h->w);
        }
        history_free(h);
    }
    assert_in_range(calls, 30, 1000000);
}

/* The same, in a second life, which has something to read. */
static void test_second_life(void **state)
{
    UNUSED(state);
    for (unsigned what = 0; what < 2; what++) {
        uint64_t calls = 300;
        for (uint64_t call = 1; call <= calls; call++) {
            struct history *h = history_new();
            log_world_open(&h->w);
            play(h);
            log_world_close(&h->w);
            h->durable = h->w.durable;
            assert_true(h->durable > 400);
            uint64_t before = what == 0 ? h->w.faults.calls : h->w.heap.calls;
            if (what == 0) {
                h->w.faults.fail_with = call % 2 ? ERR_IO : ERR_FULL;
                h->w.faults.fail_at = before + call;
            } else {
                h->w.heap.fail_at = before + call;
            }
            if (log_world_try(&h->w) != ERR_OK)
                log_world_open(&h->w);
            else if (call < calls && !h->w.faults.has_failed && h->w.heap.calls < before + call)
                calls = call; /* the whole start has been tried */
            judge(h);
            history_free(h);
        }
        assert_true(calls < 300);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk_calls),
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_second_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
