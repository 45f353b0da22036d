/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_memory.c: the three marks: where they are, and what happens at each: queues that stand still leave memory, queue
 * by queue and though some of them go meanwhile; publishers wait, but not those who owe us answers; publishes are
 * refused, and QoS 0 that nobody takes is dropped; and all of it ends when there is memory again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/session.h"
#include "core/tx.h"
#include "tests/support/fake.h"
#include "tests/support/verbs.h"

static void marks(void **state)
{
    (void)state;
    struct mem_heap heap = {0};
    struct memory m;
    struct limits l;
    limits_default(&l);
    memory_init(&m, &heap, &l, 0); /* nobody knows how much there is */
    for (unsigned i = 0; i < MEMORY_MARK_N; i++)
        assert_int_equal(m.mark[i], UINT64_MAX);
    memory_init(&m, &heap, &l, 8000);
    assert_int_equal(m.mark[MEMORY_SOFT], 2000);
    assert_int_equal(m.mark[MEMORY_HIGH], 3000);
    assert_int_equal(m.mark[MEMORY_HARD], 4000);
    heap.bytes_max = 1600;
    memory_init(&m, &heap, &l, 8000);
    assert_int_equal(m.mark[MEMORY_SOFT], 800);
    assert_int_equal(m.mark[MEMORY_HIGH], 1200);
    assert_int_equal(m.mark[MEMORY_HARD], 1400);
    memory_init(&m, &heap, &l, 0);
    assert_int_equal(m.mark[MEMORY_HARD], 1400);
    l.memory_soft_mark = 1300; /* above what the high one would be */
    memory_init(&m, &heap, &l, 8000);
    assert_int_equal(m.mark[MEMORY_SOFT], 1300);
    assert_int_equal(m.mark[MEMORY_HIGH], 1300);
    assert_int_equal(m.mark[MEMORY_HARD], 1400);
    l.memory_high_mark = 5000;
    l.memory_hard_mark = 100;
    memory_init(&m, &heap, &l, 8000);
    assert_int_equal(m.mark[MEMORY_HIGH], 5000);
    assert_int_equal(m.mark[MEMORY_HARD], 5000);
    heap.bytes = 1299;
    assert_false(memory_is(&m, MEMORY_SOFT));
    heap.bytes = 1300;
    assert_true(memory_is(&m, MEMORY_SOFT));
    assert_false(memory_is(&m, MEMORY_HIGH));
}

static struct fake *start(bool has_store)
{
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = has_store;
    return fake_new(&config);
}

/* set: the marks stand at these, from now on. */
static void set(struct fake *f, uint64_t soft, uint64_t high, uint64_t hard)
{
    f->shard->memory.mark[MEMORY_SOFT] = soft;
    f->shard->memory.mark[MEMORY_HIGH] = high;
    f->shard->memory.mark[MEMORY_HARD] = hard;
}

static void fill(struct conn *p, const char *queue, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct msgview v = {
            .topic = slice_from_str(queue), .payload = SLICE("something"), .qos = 1, .flags = MSG_DURABLE};
        (void)fake_pub_view(p, &v, p->shard->vhost->default_exchange, 0);
    }
    fake_run(verb_fake(p));
}

/* ---- soft ---------------------------------------------------------------------------------------------------- */

static void queues_that_stand_still(void **state)
{
    (void)state;
    enum { QUEUES = 50, N = 400 };
    struct fake *f = start(true);
    struct conn *p = fake_login(f, "p", 0);
    char name[16];
    for (unsigned i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof(name), "q%u", i);
        verb_queue(p, name, "");
        fill(p, name, N);
    }
    assert_int_equal(fake_stat(f, STAT_PAGED), 0);
    uint64_t before = f->heap.bytes;
    set(f, before / 2, UINT64_MAX, UINT64_MAX);
    assert_true(fake_turn(f)); /* one turn does not do it all */
    uint64_t some = fake_stat(f, STAT_PAGED);
    assert_in_range(some, 1, 10000);
    struct list_node *at = f->shard->memory.sweep; /* whoever is next goes */
    assert_non_null(at);
    queue_delete(LIST_ITEM(at, struct queue, all));
    fake_run(f);
    assert_true(fake_stat(f, STAT_PAGED) > some);
    assert_true(f->heap.bytes < before / 2);
    assert_true(fake_stat(f, STAT_ENTRIES) == (QUEUES - 1) * N);
    assert_true(fake_stat(f, STAT_PAGED) < (QUEUES - 1) * N); /* not more than is needed */
    fake_free(f);
}

/* What cannot leave is not looked at in every turn: the next round comes later, and later still. */
static void a_rest(void **state)
{
    (void)state;
    struct fake *f = start(true);
    struct conn *p = fake_login(f, "p", 0);
    verb_queue(p, "q", "");
    set(f, 1, UINT64_MAX, UINT64_MAX);
    fake_run(f);
    for (unsigned i = 0; i < 8; i++)
        fake_wait(f, 8000);
    uint32_t turns = f->turns;
    fake_wait(f, 80000);
    assert_in_range(f->turns - turns, 1, 40);
    fill(p, "q", 500); /* the next round finds them all the same */
    fake_wait(f, 8000);
    assert_in_range(fake_stat(f, STAT_PAGED), 436, 500);
    fake_free(f);
}

static void without_a_store(void **state)
{
    (void)state;
    struct fake *f = start(false);
    struct conn *p = fake_login(f, "p", 0);
    struct queue *q = verb_queue(p, "q", "");
    set(f, 1, UINT64_MAX, UINT64_MAX);
    fill(p, "q", 500);
    fake_wait(f, 20000);
    assert_int_equal(fake_stat(f, STAT_PAGED), 0);
    assert_int_equal(q->ready_n, 500);
    fake_free(f);
}

/* ---- high ---------------------------------------------------------------------------------------------------- */

/* 'P': publishes; 'A': acknowledges the newest delivery. */
static void on_frame(struct conn *c, const uint8_t *body, size_t len)
{
    if (body[0] == 'A') {
        const struct fake_event *e = fake_last(fake_pipe_of(c)->fake, FAKE_DELIVER);
        assert_int_equal(broker_settle(c, e->ticket, OUTCOME_ACK), ERR_OK);
        return;
    }
    struct publish p = {.msg = {.topic = SLICE("t"), .payload = slice_make(body, len), .qos = 1, .flags = MSG_DURABLE},
                        .receipt = RECEIPT_NONE};
    broker_publish(c, &p);
}

static void flood(struct fake_pipe *p, uint32_t n)
{
    char body[100];
    memset(body, 'P', sizeof(body));
    for (uint32_t i = 0; i < n; i++)
        fake_feed_frame(p, body, sizeof(body));
}

static void publishers_wait(void **state)
{
    (void)state;
    struct fake *f = start(false);
    struct fake_pipe *p = fake_pipe_of(fake_login(f, "p", 0));
    p->on_frame = on_frame;
    set(f, 1, 1, UINT64_MAX);
    flood(p, 10000);
    fake_run(f);
    uint64_t first = fake_stat(f, STAT_PUBLISHED);
    assert_in_range(first, 1, 5000);
    assert_int_equal(fake_stat(f, STAT_PAUSES_MEMORY), 1);
    assert_false(p->interest & LOOP_READ);
    fake_wait(f, 499);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), first);
    fake_wait(f, 1001); /* half a second at a time, a little each */
    uint64_t second = fake_stat(f, STAT_PUBLISHED);
    assert_in_range(second, first + 1, 9000);
    assert_int_equal(fake_stat(f, STAT_PAUSES_MEMORY), 4);
    set(f, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    fake_wait(f, 500);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 10000); /* nothing was lost */
    assert_true(p->interest & LOOP_READ);
    assert_int_equal(fake_stat(f, STAT_DROP_MEMORY) + fake_stat(f, STAT_REFUSED), 0);
    fake_free(f);
}

/* Who has deliveries to answer is read: that is how memory comes back. */
static void not_who_owes_us_answers(void **state)
{
    (void)state;
    struct fake *f = start(false);
    struct fake_pipe *p = fake_pipe_of(fake_login(f, "p", 60));
    p->on_frame = on_frame;
    assert_int_equal(fake_sub(p->conn, "u", 1), ERR_OK);
    assert_int_equal(fake_pub(p->conn, "u", "x", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(p->conn->session->tickets.n, 1);
    set(f, 1, 1, UINT64_MAX);
    flood(p, 2000);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 2001);
    assert_true(p->interest & LOOP_READ);
    fake_feed_frame(p, "A", 1);
    flood(p, 2000);
    fake_run(f);
    assert_int_equal(p->conn->session->tickets.n, 0);
    assert_false(p->interest & LOOP_READ); /* now it may wait like everybody */
    fake_free(f);
}

/* ---- hard ---------------------------------------------------------------------------------------------------- */

static void publishes_are_refused(void **state)
{
    (void)state;
    struct fake *f = start(true);
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 60);
    (void)fake_sub(c, "t", 1);
    fake_run(f);
    fake_pipe_of(c)->send_room = 0; /* reads nothing more */
    set(f, 1, 1, 1);
    assert_int_equal(fake_pub(p, "t", "1", 1), ERR_FULL);
    assert_int_equal(fake_stat(f, STAT_REFUSED_MEMORY), 1);
    assert_int_equal(fake_stat(f, STAT_REFUSED), 1);
    fake_run(f);
    assert_non_null(strstr(f->log_last, "publishes are refused"));
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("r"), .qos = 0, .flags = MSG_RETAIN};
    assert_int_equal(fake_pub_view(p, &v, NULL, 0), ERR_FULL);
    assert_int_equal(fake_stat(f, STAT_RETAINED), 0);
    struct msgview clear = {.topic = SLICE("other"), .flags = MSG_RETAIN};
    enum err cleared = fake_pub_view(p, &clear, NULL, 0);
    assert_true(cleared == ERR_NO_MATCH || cleared == ERR_AGAIN); /* it makes room */
    fake_run(f);
    assert_int_equal(fake_pub(p, "nobody", "1", 1), ERR_NO_MATCH); /* nobody keeps it */
    struct publish later = {.msg = {.topic = SLICE("t"), .qos = 1}, .receipt = verb_next(p), .delay_ms = 1000};
    broker_publish(p, &later);
    assert_int_equal(verb_answer(f, later.receipt), ERR_FULL);
    struct publish in_tx = {.msg = {.topic = SLICE("t"), .qos = 1}};
    struct tx *tx = tx_new(p);
    assert_int_equal(tx_publish(p, tx, &in_tx), ERR_OK); /* only the commit can tell */
    uint64_t receipt = verb_next(p);
    tx_commit(p, tx, receipt);
    assert_int_equal(verb_answer(f, receipt), ERR_FULL);
    assert_int_equal(fake_stat(f, STAT_DELAYED), 0);
    assert_int_equal(c->session->queue->ready_n, 0);
    set(f, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    fake_run(f);
    assert_non_null(strstr(f->log_last, "no longer"));
    enum err e = fake_pub(p, "t", "2", 1);
    assert_true(e == ERR_OK || e == ERR_AGAIN);
    assert_int_equal(fake_stat(f, STAT_REFUSED_MEMORY), 4);
    fake_free(f);
}

static void qos_0_is_dropped_where_it_would_be_kept(void **state)
{
    (void)state;
    struct fake *f = start(false);
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 0), *slow = fake_login(f, "slow", 0);
    struct queue *q = verb_queue(p, "q", "");
    assert_int_equal(fake_sub(c, "t", 0), ERR_OK);
    verb_consume(slow, q, ACK_EACH);
    set(f, 1, UINT64_MAX, 1);
    fake_forget(f);
    assert_int_equal(fake_pub(p, "t", "1", 0), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, c), 1); /* it passes through */
    assert_int_equal(fake_stat(f, STAT_DROP_MEMORY), 0);
    struct msgview v = {.topic = SLICE("q"), .payload = SLICE("0")};
    fake_run(f);
    (void)fake_pub_view(p, &v, f->shard->vhost->default_exchange, 0);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_DROP_MEMORY) + fake_stat(f, STAT_REFUSED_MEMORY), 1); /* it would have to wait */
    assert_int_equal(q->ready_n + q->inflight_n, 0);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks),
        cmocka_unit_test(queues_that_stand_still),
        cmocka_unit_test(a_rest),
        cmocka_unit_test(without_a_store),
        cmocka_unit_test(publishers_wait),
        cmocka_unit_test(not_who_owes_us_answers),
        cmocka_unit_test(publishes_are_refused),
        cmocka_unit_test(qos_0_is_dropped_where_it_would_be_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
