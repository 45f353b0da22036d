/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_conn_receipts.c: what we owe publishers while the disk is late or fails: receipts in the order of their verbs,
 * each once, none before the disk has what it promises; logins that wait; consumers held back behind their receipt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "persist/store_image.h"
#include "persist/store_mem.h"
#include "tests/support/fake.h"

static struct fake *late_world(void)
{
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = config.is_late = true;
    return fake_new(&config);
}

static struct conn *login(struct fake *f, const char *id, uint32_t expiry_s)
{
    struct conn *c = fake_conn(f);
    struct attach a = fake_attach(id, expiry_s);
    broker_attach(c, &a);
    return c;
}

static uint32_t settled(const struct fake *f)
{
    return fake_count(f, FAKE_SETTLED);
}

/* in the order of the verbs, and none early: an answer that needs no disk waits behind one that does. */
static void in_order_behind_the_disk(void **state)
{
    (void)state;
    struct fake *f = late_world();
    struct conn *s = login(f, "s", 100), *p = login(f, "p", 0);
    fake_durable(f);
    assert_int_equal(fake_sub(s, "t", 1), ERR_AGAIN);
    fake_durable(f);
    assert_int_equal(settled(f), 1);
    fake_forget(f);
    uint64_t first = f->receipt_next;
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_AGAIN);
    assert_int_equal(fake_pub(p, "nobody", "x", 1), ERR_AGAIN); /* nothing to wait for, but its turn */
    assert_int_equal(fake_sub(p, "own", 1), ERR_AGAIN);
    assert_int_equal(fake_unsub(p, "other"), ERR_AGAIN);
    broker_barrier(p, f->receipt_next++);
    fake_run(f);
    assert_int_equal(settled(f), 0);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, s), 1); /* deliveries do not wait */
    fake_durable(f);
    static const enum err want[] = {ERR_OK, ERR_NO_MATCH, ERR_OK, ERR_NOT_FOUND, ERR_OK};
    assert_int_equal(settled(f), 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(fake_nth(f, FAKE_SETTLED, i)->receipt, first + i);
        assert_int_equal(fake_nth(f, FAKE_SETTLED, i)->result, want[i]);
    }
    assert_null(p->owed);
    assert_int_equal(fake_pub(p, "nobody", "x", 1), ERR_NO_MATCH); /* and at once again */
    fake_free(f);
}

static void random_order(void **state)
{
    (void)state;
    enum { CONNS = 4 };
    struct fake *f = late_world();
    struct rng r;
    rng_init(&r, 3);
    struct conn *s = login(f, "s", 100), *p[CONNS];
    fake_durable(f);
    (void)fake_sub(s, "t", 2);
    fake_durable(f);
    s->session->quota = 60000;
    for (unsigned i = 0; i < CONNS; i++)
        p[i] = login(f, "", 0);
    fake_durable(f);
    fake_forget(f);
    uint64_t next[CONNS] = {0}, asked[CONNS] = {0};
    for (unsigned step = 0; step < 3000; step++) {
        unsigned i = rng_below(&r, CONNS);
        uint64_t receipt = (uint64_t)i << 32 | asked[i]++;
        struct msgview v = {.topic = rng_chance(&r, 50) ? SLICE("t") : SLICE("nobody"),
                            .qos = (uint8_t)rng_below(&r, 3),
                            .flags = MSG_DURABLE};
        if (rng_chance(&r, 20))
            broker_barrier(p[i], receipt);
        else
            broker_publish(p[i], &(struct publish){.msg = v, .receipt = receipt});
        if (rng_chance(&r, 20))
            fake_durable(f);
        if (rng_chance(&r, 20))
            fake_run(f);
        for (uint32_t k = 0; k < f->event_n; k++) {
            const struct fake_event *e = &f->event[k];
            if (e->what != FAKE_SETTLED)
                continue;
            unsigned who = (unsigned)(e->receipt >> 32);
            assert_int_equal(fake_number(p[who]), e->conn);
            assert_int_equal((uint32_t)e->receipt, next[who]++);
        }
        fake_forget(f);
        for (unsigned k = 0; k < CONNS; k++) /* nobody owes what is durable */
            if (p[k]->owed)
                assert_true(p[k]->owed->v[p[k]->owed->first].lsn > f->shard->lsn_durable);
    }
    fake_durable(f);
    fake_durable(f);
    for (unsigned k = 0; k < CONNS; k++)
        assert_null(p[k]->owed);
    fake_free(f);
}

static void a_connection_ends_with_receipts_open(void **state)
{
    (void)state;
    struct fake *f = late_world();
    struct conn *s = login(f, "s", 100), *p = login(f, "p", 0);
    fake_durable(f);
    (void)fake_sub(s, "t", 1);
    fake_durable(f);
    fake_forget(f);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(fake_pub(p, "t", "x", 1), ERR_AGAIN);
    fake_pipe_of(p)->is_reset = true;
    fake_run(f);
    fake_durable(f);
    fake_durable(f);
    assert_int_equal(settled(f), 0);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 40);
    fake_free(f);
}

/* ---- login --------------------------------------------------------------------------------------------------- */

static void attach_by_frame(struct conn *c, const uint8_t *body, size_t len)
{
    if (c->session || len == 0 || body[0] != 'L')
        return;
    struct attach a = fake_attach("late", 100);
    broker_attach(c, &a);
}

/* CONNECT and what is pipelined behind it: the rest waits, however it was cut, and is read once the answer is out. */
static void a_late_login(void **state)
{
    (void)state;
    for (size_t recv_max = 0; recv_max < 40; recv_max++) {
        struct fake *f = late_world();
        struct fake_pipe *p = fake_pipe(f);
        p->on_frame = attach_by_frame;
        p->recv_max = recv_max;
        fake_feed(p, "HELLO", 5);
        fake_feed_frame(p, "Login", 5);
        fake_feed_frame(p, "one", 3);
        fake_feed_frame(p, "two", 3);
        fake_run(f);
        assert_int_equal(fake_count(f, FAKE_ATTACHED), 0);
        assert_int_equal(fake_count(f, FAKE_FRAME), 1);
        fake_feed_frame(p, "three", 5);
        fake_run(f); /* comes to rest: what the peer still has stays there */
        assert_int_equal(p->interest & LOOP_READ, 0);
        p->transport.on_ready(&p->transport, LOOP_READ); /* an event seen before it was told not to */
        fake_run(f);
        assert_int_equal(fake_count(f, FAKE_FRAME), 1);
        assert_int_equal(fake_count(f, FAKE_ATTACHED), 0);
        fake_durable(f);
        assert_int_equal(fake_count(f, FAKE_ATTACHED), 1);
        assert_int_equal(fake_last(f, FAKE_ATTACHED)->result, ERR_OK);
        assert_int_equal(fake_count(f, FAKE_FRAME), 4);
        assert_string_equal(fake_last(f, FAKE_FRAME)->payload, "three");
        fake_free(f);
    }
}

static void nothing_is_delivered_before_the_login_is_answered(void **state)
{
    (void)state;
    struct fake *f = late_world();
    struct conn *s = login(f, "s", 100), *p = login(f, "p", 0);
    fake_durable(f);
    (void)fake_sub(s, "t", 1);
    fake_durable(f);
    fake_pipe_of(s)->is_reset = true;
    fake_durable(f); /* that it is away */
    (void)fake_pub(p, "t", "x", 1);
    fake_durable(f);
    fake_forget(f);
    s = login(f, "s", 200); /* another expiry: a record */
    fake_run(f);
    (void)fake_pub(p, "t", "y", 0);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    fake_durable(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 2);
    assert_true(fake_nth(f, FAKE_ATTACHED, 0) < fake_nth(f, FAKE_DELIVER, 0));
    fake_free(f);
}

static void a_late_login_is_taken_over(void **state)
{
    (void)state;
    struct fake *f = late_world();
    struct conn *a = login(f, "s", 100);
    fake_run(f);
    struct conn *b = login(f, "s", 100);
    fake_run(f);
    fake_durable(f);
    fake_durable(f);
    assert_int_equal(fake_count_of(f, FAKE_ATTACHED, b), 1);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 1);
    UNUSED(a);
    fake_free(f);
}

/* ---- held consumers ------------------------------------------------------------------------------------------ */

static struct consumer *consume(struct fake *f, struct conn *c, const char *name, uint64_t receipt)
{
    enum err e;
    struct queue *q = broker_declare_queue(c, slice_from_str(name), &e);
    assert_non_null(q);
    UNUSED(f);
    return broker_consume_queue(c, q, &(struct consume){.mode = ACK_EACH, .qos = 2, .receipt = receipt});
}

static enum err push(struct fake *f, struct conn *p, const char *name)
{
    struct msgview v = {.topic = slice_from_str(name), .payload = SLICE("x"), .qos = 1, .flags = MSG_DURABLE};
    return fake_pub_view(p, &v, f->shard->vhost->default_exchange, 0);
}

static void the_first_delivery_comes_after_the_receipt(void **state)
{
    (void)state;
    struct fake *f = late_world();
    struct conn *s = login(f, "", 0), *p = login(f, "", 0);
    consume(f, s, "q", 1);
    (void)push(f, p, "q");
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    fake_durable(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    assert_true(fake_nth(f, FAKE_SETTLED, 0)->receipt == 1 &&
                fake_nth(f, FAKE_SETTLED, 0) < fake_nth(f, FAKE_DELIVER, 0));
    fake_free(f);
}

/* the consumer goes while its receipt is owed: by cancel, by the end of its queue, of its connection, by a take-over.
 */
static void a_held_consumer_goes_away(void **state)
{
    (void)state;
    for (int way = 0; way < 6; way++) {
        struct fake *f = late_world();
        struct conn *s = login(f, "s", way >= 4 ? 100 : 0), *p = login(f, "", 0);
        fake_durable(f);
        struct consumer *k = consume(f, s, "q", 1);
        (void)push(f, p, "q");
        fake_run(f);
        if (way == 0)
            broker_cancel(s, k, 2);
        else if (way == 1)
            queue_delete(k->queue);
        else if (way == 2 || way == 4)
            fake_pipe_of(s)->is_reset = true;
        else
            s = login(f, "s", way >= 4 ? 100 : 0);
        if (way != 3 && way != 5)
            fake_run(f);
        (void)store_mem_tick(f->store); /* the disk answers while the old connection still has its books */
        fake_run(f);
        fake_durable(f);
        fake_durable(f);
        if (way == 4) { /* the session came back: the consumer is its own again and held by nobody */
            s = login(f, "s", 100);
            fake_durable(f);
        }
        if (way >= 4)
            assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
        fake_free(f);
    }
}

/* ---- no memory ----------------------------------------------------------------------------------------------- */

/* owes_without_memory: the nth allocation of a PUBLISH fails whose receipt has to wait. True: there were so many. */
static bool owes_without_memory(uint64_t nth, uint32_t *out_closed_n)
{
    struct fake *f = late_world();
    struct conn *s = login(f, "s", 100), *p = login(f, "p", 0), *q = login(f, "q", 0);
    fake_durable(f);
    (void)fake_sub(s, "t", 1);
    fake_durable(f);
    fake_forget(f);
    f->heap.fail_at = f->heap.calls + nth;
    enum err e = fake_pub(p, "t", "x", 1);
    bool failed = f->heap.calls >= f->heap.fail_at;
    f->heap.fail_at = 0;
    bool is_closed = conn_is_closing(p);
    *out_closed_n += is_closed;
    fake_durable(f);
    assert_int_equal(f->shard->close_n[CLOSE_NOMEM], is_closed);
    if (failed && !is_closed) /* what could not be taken was said to be so: there is no third */
        assert_true(e == ERR_NOMEM || fake_count(f, FAKE_SETTLED) == 1);
    if (is_closed)
        assert_int_equal(settled(f), 0);
    fake_durable(f); /* what the delivery wrote */
    fake_forget(f);
    assert_int_equal(fake_pub(q, "t", "y", 1), ERR_AGAIN); /* nobody else felt it */
    fake_durable(f);
    assert_int_equal(settled(f), 1);
    fake_free(f);
    return failed;
}

/* 3.1.1: [MQTT-4.8.0-2] what cannot be answered ends its connection, and no other. */
static void no_memory_for_a_receipt(void **state)
{
    (void)state;
    uint32_t closed_n = 0;
    uint64_t n = 1;
    while (owes_without_memory(n, &closed_n))
        n++;
    assert_true(n > 1 && closed_n > 0);
}

/* ---- the disk fails ------------------------------------------------------------------------------------------ */

static void a_failed_batch(void **state)
{
    (void)state;
    struct fake *f = late_world();
    struct conn *s = login(f, "s", 100), *p = login(f, "p", 0), *q = login(f, "q", 0), *idle = login(f, "i", 0);
    fake_durable(f);
    (void)fake_sub(s, "t", 1);
    fake_durable(f);
    fake_forget(f);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_AGAIN);
    store_mem_fail_batch(f->store, f->shard->lsn_last);
    fake_durable(f);
    assert_true(f->shard->store_failed);
    assert_int_equal(f->shard->close_n[CLOSE_STORE], 1); /* who was owed a receipt is told by being closed */
    assert_int_equal(settled(f), 0);
    assert_int_equal(fake_pub(q, "t", "x", 1), ERR_STORE);
    assert_int_equal(fake_pub(q, "t", "x", 0), ERR_OK); /* what needs no disk goes on */
    broker_barrier(idle, 77);
    fake_run(f);
    bool answered = fake_last(f, FAKE_SETTLED)->receipt == 77, closed = f->shard->close_n[CLOSE_STORE] == 2;
    assert_true(answered || closed); /* not owed for ever */
    fake_free(f);
}

struct living {
    uint32_t publishes, binds, sessions;
};

static enum err count_living(const struct store_rec *rec, void *ctx)
{
    struct living *l = ctx;
    l->publishes += rec->kind == STORE_PUBLISH;
    l->binds += rec->kind == STORE_BIND;
    l->sessions += rec->kind == STORE_SESSION;
    return ERR_OK;
}

static struct living living(struct fake *f)
{
    struct living l = {0};
    assert_int_equal(store_image_visit(f->image, count_living, &l), ERR_OK);
    return l;
}

static struct fake *store_world(void)
{
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    config.limits.receive_max = 2;
    return fake_new(&config);
}

/* the answer "refused" means that the log knows nothing of it either. */
static void refused_is_not_logged(void **state)
{
    (void)state;
    struct fake *f = store_world();
    struct conn *s = login(f, "s", 100), *p = login(f, "p", 100);
    (void)fake_sub(s, "t", 2);
    fake_run(f);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x"), .qos = 2, .flags = MSG_DURABLE};
    for (uint16_t id = 1; id <= 4; id++) {
        (void)fake_pub_view(p, &v, NULL, id);
        fake_run(f);
        assert_int_equal(fake_last(f, FAKE_SETTLED)->result, id <= 2 ? ERR_OK : ERR_FULL);
    }
    assert_int_equal(broker_rx_n(p), 2);
    assert_int_equal(living(f).publishes, 2);
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    v.qos = 1;
    v.flags |= MSG_RETAIN;
    (void)fake_pub_view(p, &v, NULL, 0);
    fake_run(f);
    assert_int_equal(fake_last(f, FAKE_SETTLED)->result, ERR_STORE);
    assert_int_equal(f->shard->vhost->retained.n, 0); /* nothing was changed anywhere */
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, s), 2);
    fake_free(f);
}

static void a_subscription_the_log_did_not_take(void **state)
{
    (void)state;
    struct fake *f = store_world();
    struct conn *s = login(f, "s", 100), *p = login(f, "p", 0);
    fake_run(f);
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    (void)fake_sub(s, "t", 1);
    fake_run(f);
    assert_int_equal(fake_last(f, FAKE_SETTLED)->result, ERR_STORE);
    assert_int_equal(s->session->binding_n, 0);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_NO_MATCH);
    struct binding_opts o = {.qos = 1, .sub_id = 5};
    (void)fake_sub_opts(s, "t", &o);
    fake_run(f);
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    o.sub_id = 6;
    (void)fake_sub_opts(s, "t", &o); /* the former options stay */
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    (void)fake_unsub(s, "t");
    fake_run(f);
    assert_int_equal(fake_last(f, FAKE_SETTLED)->result, ERR_STORE);
    (void)fake_pub(p, "t", "x", 0);
    assert_int_equal(fake_last(f, FAKE_DELIVER)->sub_id[0], 5);
    assert_int_equal(living(f).binds, 1);
    fake_free(f);
}

static void a_login_the_log_did_not_take(void **state)
{
    (void)state;
    struct fake *f = store_world();
    struct conn *l = login(f, "l", 0), *c = fake_conn(f);
    (void)fake_sub(l, "will", 1);
    fake_run(f);
    struct attach a = fake_attach("c", 100);
    struct msgview will = {.topic = SLICE("will"), .qos = 1};
    a.will = &will;
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    broker_attach(c, &a);
    fake_run(f);
    assert_int_equal(fake_last(f, FAKE_ATTACHED)->result, ERR_STORE);
    fake_wait(f, 200000);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0); /* no will of somebody who was never let in */
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 1);
    fake_free(f);
}

/* stopping the broker is not the end of what survives restarts. */
static void a_stopped_shard_ends_no_session_in_the_log(void **state)
{
    (void)state;
    struct fake *f = store_world();
    struct conn *s = login(f, "s", 1000), *p = login(f, "p", 0);
    (void)fake_sub(s, "t", 1);
    fake_run(f);
    fake_pipe_of(s)->is_reset = true;
    fake_run(f);
    (void)fake_pub(p, "t", "x", 1);
    fake_run(f);
    shard_stop(f->shard, 100, NULL, NULL);
    fake_wait(f, 1000);
    fake_end(f);
    struct living l = living(f);
    assert_int_equal(l.sessions, 1);
    assert_int_equal(l.binds, 1);
    assert_int_equal(l.publishes, 1);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order_behind_the_disk),
        cmocka_unit_test(random_order),
        cmocka_unit_test(a_connection_ends_with_receipts_open),
        cmocka_unit_test(a_late_login),
        cmocka_unit_test(nothing_is_delivered_before_the_login_is_answered),
        cmocka_unit_test(a_late_login_is_taken_over),
        cmocka_unit_test(the_first_delivery_comes_after_the_receipt),
        cmocka_unit_test(a_held_consumer_goes_away),
        cmocka_unit_test(no_memory_for_a_receipt),
        cmocka_unit_test(a_failed_batch),
        cmocka_unit_test(refused_is_not_logged),
        cmocka_unit_test(a_subscription_the_log_did_not_take),
        cmocka_unit_test(a_login_the_log_did_not_take),
        cmocka_unit_test(a_stopped_shard_ends_no_session_in_the_log),
    };
    return cmocka_run_group_tests_name("conn_receipts", tests, NULL, NULL);
}
