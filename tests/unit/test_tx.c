/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tx.c: publishes and answers that happen together or not at all: when they are seen, what refuses a commit
 * and leaves everything as it was, and what becomes of a transaction whose connection, queue or time ends. The store
 * and the lack of memory: test_tx_store.c; beside a model: test_tx_random.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/tx_bench.h"

/* ---- what is seen, and when ---------------------------------------------------------------------------------- */

static void all_at_once(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0), *s = fake_login(f, "s", 0);
    struct queue *q = declare(c, "q");
    assert_int_equal(fake_sub(s, "t/#", 1), ERR_OK);
    struct tx *t = begin(c);
    add(c, t, "q", "1");
    add_topic(c, t, "t/x", "2", 0);
    add(c, t, "q", "3");
    add_topic(c, t, "nobody", "4", 0);
    assert_int_equal(tx_actions(t), 4);
    assert_int_equal(tx_bytes(t), 2 + 4 + 2 + 7);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    assert_int_equal(commit(c, t), ERR_OK); /* NO_MATCH of one is none of the whole */
    fake_run(f);
    assert_string_equal(waiting(q), "1,3");
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    assert_string_equal(fake_last(f, FAKE_DELIVER)->payload, "2");
    assert_int_equal(fake_stat(f, STAT_TX_COMMITTED), 1);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 4);
    assert_int_equal(commit(c, begin(c)), ERR_OK); /* an empty one */
    fake_free(f);
}

static void nothing_of_an_aborted_one(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q");
    consume(c, q, ACK_EACH, 1);
    put(c, "q", "m");
    uint32_t ticket = fake_last(f, FAKE_DELIVER)->ticket;
    struct tx *t = begin(c);
    add(c, t, "q", "x");
    assert_int_equal(tx_settle(c, t, ticket, OUTCOME_ACK, false), ERR_OK);
    tx_abort(c, t);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_TX_ABORTED), 1);
    assert_int_equal(q->ready_n, 0);
    assert_int_equal(q->inflight_n, 1);
    assert_int_equal(broker_settle(c, ticket, OUTCOME_ACK), ERR_OK); /* it can be answered again */
    assert_int_equal(fake_stat(f, STAT_SETTLED), 1);
    fake_free(f);
}

/* a delivery is answered once: by whom it was named to first. */
static void answered_once(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q");
    consume(c, q, ACK_EACH, 0);
    put(c, "q", "a");
    uint32_t a = fake_last(f, FAKE_DELIVER)->ticket;
    put(c, "q", "b");
    uint32_t b = fake_last(f, FAKE_DELIVER)->ticket;
    struct tx *t = begin(c), *u = begin(c);
    assert_int_equal(tx_settle(c, t, 999, OUTCOME_ACK, false), ERR_NOT_FOUND);
    assert_int_equal(tx_settle(c, t, a, OUTCOME_ACK, false), ERR_OK);
    assert_int_equal(tx_settle(c, t, a, OUTCOME_ACK, false), ERR_NOT_FOUND);
    assert_int_equal(tx_settle(c, u, a, OUTCOME_REQUEUE, false), ERR_NOT_FOUND);
    assert_int_equal(tx_settle(c, u, a, OUTCOME_ACK, true), ERR_NOT_FOUND);
    assert_int_equal(broker_settle(c, a, OUTCOME_ACK), ERR_NOT_FOUND);
    assert_int_equal(broker_settle_until(c, a, OUTCOME_ACK), ERR_NOT_FOUND);
    assert_int_equal(tx_settle(c, u, b, OUTCOME_REQUEUE, false), ERR_OK);
    assert_int_equal(q->inflight_n, 2);
    assert_int_equal(commit(c, t), ERR_OK);
    assert_int_equal(q->inflight_n, 1);
    fake_forget(f);
    assert_int_equal(commit(c, u), ERR_OK);
    fake_run(f);
    assert_string_equal(fake_last(f, FAKE_DELIVER)->payload, "b");
    assert_true(fake_last(f, FAKE_DELIVER)->redelivered);
    fake_free(f);
}

/* a cumulative answer speaks of what is in flight when it is given, to that consumer, and not answered elsewhere. */
static void cumulative(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q"), *other = declare(c, "o");
    consume(c, q, ACK_CUMULATIVE, 0);
    consume(c, other, ACK_CUMULATIVE, 0);
    uint32_t ticket[5];
    for (int i = 0; i < 5; i++) {
        char text[2] = {(char)('0' + i), 0};
        put(c, "o", text);
        put(c, "q", text);
        ticket[i] = fake_last(f, FAKE_DELIVER)->ticket;
    }
    struct tx *t = begin(c), *u = begin(c);
    assert_int_equal(tx_settle(c, u, ticket[1], OUTCOME_REQUEUE, false), ERR_OK);
    assert_int_equal(tx_settle(c, t, ticket[3], OUTCOME_ACK, true), ERR_OK);
    assert_int_equal(tx_actions(t), 1);
    assert_int_equal(q->inflight_n, 5);
    assert_int_equal(broker_settle_until(c, ticket[4], OUTCOME_ACK), ERR_OK); /* the others are spoken for */
    assert_int_equal(q->inflight_n, 4);
    assert_int_equal(commit(c, t), ERR_OK);
    assert_int_equal(q->inflight_n, 1);
    assert_int_equal(other->inflight_n, 5);
    tx_abort(c, u);
    assert_int_equal(broker_settle(c, ticket[1], OUTCOME_ACK), ERR_OK);
    assert_int_equal(q->inflight_n, 0);
    fake_free(f);
}

/* more than the first block of actions has room for. */
static void cumulative_over_many(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q");
    consume(c, q, ACK_CUMULATIVE, 0);
    for (int i = 0; i < 60; i++)
        put(c, "q", "m");
    struct tx *t = begin(c);
    add(c, t, "q", "x");
    assert_int_equal(tx_settle(c, t, fake_nth(f, FAKE_DELIVER, 49)->ticket, OUTCOME_ACK, true), ERR_OK);
    assert_int_equal(tx_actions(t), 2);
    assert_int_equal(commit(c, t), ERR_OK);
    fake_run(f);
    assert_int_equal(q->inflight_n, 11);
    assert_int_equal(fake_stat(f, STAT_SETTLED), 50);
    fake_free(f);
}

/* the order is the one in which it was said: what is given back and what is new. */
static void in_order(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q");
    struct consumer *k = consume(c, q, ACK_EACH, 2);
    put(c, "q", "a");
    uint32_t a = fake_last(f, FAKE_DELIVER)->ticket;
    put(c, "q", "b");
    uint32_t b = fake_last(f, FAKE_DELIVER)->ticket;
    put(c, "q", "c");
    broker_cancel(c, k, RECEIPT_NONE); /* it is answered all the same */
    struct tx *t = begin(c);
    add(c, t, "q", "d");
    assert_int_equal(tx_settle(c, t, b, OUTCOME_REQUEUE, false), ERR_OK);
    assert_int_equal(tx_settle(c, t, a, OUTCOME_REQUEUE, false), ERR_OK);
    add(c, t, "q", "e");
    assert_int_equal(commit(c, t), ERR_OK);
    fake_run(f);
    assert_string_equal(waiting(q), "a,b,c,d,e");
    fake_free(f);
}

/* ---- what is refused ----------------------------------------------------------------------------------------- */

static void refused_at_once(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.tx_actions_max = 3;
    config.limits.tx_bytes_max = 100;
    config.limits.topic_bytes_max = 20;
    config.limits.delay_s_max = 10;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "", 0);
    struct exchange *inner;
    const char *differs;
    struct exchange_spec spec = {.name = SLICE("in"), .kind = EXCHANGE_FANOUT, .internal = true};
    assert_int_equal(exchange_declare_as(f->shard->vhost, &spec, &inner, &differs), ERR_OK);
    struct tx *t = begin(c);
    struct publish p = topic_of("$SYS/x", "x", 0);
    assert_int_equal(tx_publish(c, t, &p), ERR_DENIED);
    p = topic_of("x", "x", 0);
    p.exchange = inner;
    assert_int_equal(tx_publish(c, t, &p), ERR_DENIED);
    p = topic_of("a-topic-that-is-too-long", "x", 0);
    assert_int_equal(tx_publish(c, t, &p), ERR_TOO_BIG);
    p = topic_of("t", "x", 0);
    p.delay_ms = 10001;
    assert_int_equal(tx_publish(c, t, &p), ERR_TOO_BIG);
    char big[101] = {0};
    memset(big, 'x', 100);
    p = topic_of("t", big, 0);
    assert_int_equal(tx_publish(c, t, &p), ERR_FULL);
    p = topic_of("t", big + 1, 0);
    assert_int_equal(tx_publish(c, t, &p), ERR_OK);
    assert_int_equal(tx_bytes(t), 100);
    p = topic_of("", "", 0);
    assert_int_equal(tx_publish(c, t, &p), ERR_OK);
    assert_int_equal(tx_publish(c, t, &p), ERR_OK);
    assert_int_equal(tx_publish(c, t, &p), ERR_FULL);
    struct queue *q = declare(c, "q");
    consume(c, q, ACK_EACH, 0);
    put(c, "q", "m");
    assert_int_equal(tx_settle(c, t, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_ACK, false), ERR_FULL);
    assert_int_equal(tx_actions(t), 3);
    assert_int_equal(commit(c, t), ERR_OK); /* what was refused is not part of it; the rest stands */
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 4);
    fake_free(f);
}

/* the messages of a transaction are counted together, over all queues they go to, before the first is stored. */
static void full_queues(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0);
    struct queue *a = declare(c, "a"), *b = declare_full(c, "b", 5, 0), *by = declare_full(c, "by", 0, 30);
    put(c, "b", "was");
    for (int n = 4; n <= 5; n++) {
        struct tx *t = begin(c);
        for (int i = 0; i < n; i++) {
            add(c, t, "a", "x");
            add(c, t, "b", "y");
        }
        assert_int_equal(commit(c, t), n == 4 ? ERR_OK : ERR_FULL);
        assert_ptr_equal(broker_refused(c), n == 4 ? NULL : b);
        fake_run(f);
        assert_int_equal(a->ready_n, 4); /* of the first one */
        assert_int_equal(b->ready_n, 5);
    }
    assert_int_equal(fake_stat(f, STAT_TX_COMMITTED), 1);
    assert_int_equal(fake_stat(f, STAT_TX_ABORTED), 1);
    assert_int_equal(fake_stat(f, STAT_REFUSED), 10);
    for (int n = 3; n <= 4; n++) { /* 10 bytes each */
        struct tx *t = begin(c);
        for (int i = 0; i < n; i++)
            add(c, t, "by", "12345678");
        assert_int_equal(commit(c, t), n == 3 ? ERR_OK : ERR_FULL);
        assert_ptr_equal(broker_refused(c), n == 3 ? NULL : by);
        assert_int_equal(queue_purge(by, STAT_DROP_PURGED), n == 3 ? 3 : 0);
    }
    fake_free(f);
}

/* a refused commit gives the deliveries that it named back to be answered; the transaction is gone. */
static void refused_answers(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q");
    declare_full(c, "full", 1, 0);
    consume(c, q, ACK_EACH, 0);
    put(c, "full", "x");
    put(c, "q", "m");
    uint32_t ticket = fake_last(f, FAKE_DELIVER)->ticket;
    struct tx *t = begin(c);
    assert_int_equal(tx_settle(c, t, ticket, OUTCOME_ACK, false), ERR_OK);
    add(c, t, "q", "n");
    add(c, t, "full", "o");
    assert_int_equal(commit(c, t), ERR_FULL);
    fake_run(f);
    assert_int_equal(q->inflight_n, 1);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    assert_int_equal(broker_settle(c, ticket, OUTCOME_ACK), ERR_OK);
    fake_free(f);
}

static void deleted_exchange(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q");
    struct exchange *x;
    const char *differs;
    struct exchange_spec spec = {.name = SLICE("x"), .kind = EXCHANGE_FANOUT};
    for (int again = 0; again < 2; again++) {
        assert_int_equal(exchange_declare_as(f->shard->vhost, &spec, &x, &differs), ERR_OK);
        struct tx *t = begin(c);
        add(c, t, "q", "1");
        struct publish p = topic_of("k", "2", 0);
        p.exchange = x;
        assert_int_equal(tx_publish(c, t, &p), ERR_OK);
        exchange_delete(x);
        if (again) /* one of the same name is another one */
            assert_int_equal(exchange_declare_as(f->shard->vhost, &spec, &x, &differs), ERR_OK);
        assert_int_equal(commit(c, t), ERR_NOT_FOUND);
        fake_run(f);
        assert_int_equal(q->ready_n, 0);
    }
    fake_free(f);
}

/* ---- retained, delays, rates --------------------------------------------------------------------------------- */

static void retained(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.retained_max = 3;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "", 0);
    struct retained *r = &f->shard->vhost->retained;
    struct tx *t = begin(c);
    add_topic(c, t, "a", "1", MSG_RETAIN);
    add_topic(c, t, "a", "2", MSG_RETAIN);
    add_topic(c, t, "b", "3", MSG_RETAIN);
    add_topic(c, t, "b", "", MSG_RETAIN);
    assert_int_equal(r->n, 0);
    assert_int_equal(commit(c, t), ERR_OK);
    assert_int_equal(r->n, 1);
    const struct msg *m = retained_get(r, SLICE("a"));
    assert_memory_equal(m->bytes + m->topic_len, "2", 1);
    t = begin(c); /* a is there, three more are too many: counted together */
    add_topic(c, t, "a", "9", MSG_RETAIN);
    add_topic(c, t, "c", "9", MSG_RETAIN);
    add_topic(c, t, "d", "9", MSG_RETAIN);
    add_topic(c, t, "e", "9", MSG_RETAIN);
    assert_int_equal(commit(c, t), ERR_FULL);
    assert_int_equal(r->n, 1);
    m = retained_get(r, SLICE("a"));
    assert_memory_equal(m->bytes + m->topic_len, "2", 1);
    t = begin(c);
    add_topic(c, t, "c", "9", MSG_RETAIN);
    add_topic(c, t, "d", "9", MSG_RETAIN);
    assert_int_equal(commit(c, t), ERR_OK);
    assert_int_equal(r->n, 3);
    t = begin(c); /* the set is full, but this is one that is there */
    add_topic(c, t, "a", "10", MSG_RETAIN);
    assert_int_equal(commit(c, t), ERR_OK);
    fake_free(f);
}

/* a delay counts from the commit, to the millisecond. */
static void delays(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.delayed_max = 2;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "", 0);
    assert_int_equal(fake_sub(c, "t", 1), ERR_OK);
    struct tx *t = begin(c);
    struct publish p = topic_of("t", "later", 0);
    p.delay_ms = 2000;
    assert_int_equal(tx_publish(c, t, &p), ERR_OK);
    add_topic(c, t, "t", "now", 0);
    p = topic_of("t", "soon", 0);
    p.delay_ms = 1;
    assert_int_equal(tx_publish(c, t, &p), ERR_OK);
    fake_wait(f, 5000);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    mono_ms start = f->now;
    assert_int_equal(commit(c, t), ERR_OK);
    fake_wait(f, 5000);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 3);
    assert_string_equal(fake_nth(f, FAKE_DELIVER, 0)->payload, "now");
    assert_string_equal(fake_nth(f, FAKE_DELIVER, 1)->payload, "soon");
    assert_int_equal(fake_nth(f, FAKE_DELIVER, 1)->at, start + 1);
    assert_string_equal(fake_nth(f, FAKE_DELIVER, 2)->payload, "later");
    assert_int_equal(fake_nth(f, FAKE_DELIVER, 2)->at, start + 2000);
    t = begin(c); /* three more than may wait together */
    for (int i = 0; i < 3; i++) {
        p.delay_ms = 1000;
        assert_int_equal(tx_publish(c, t, &p), ERR_OK);
    }
    assert_int_equal(commit(c, t), ERR_FULL);
    assert_int_equal(fake_stat(f, STAT_DELAYED), 0);
    fake_free(f);
}

/* its messages count for the rate when they are published: one by one. */
static void rates(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.publish_rate = 10;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "", 0);
    struct tx *t = begin(c);
    for (int i = 0; i < 30; i++)
        add_topic(c, t, "t", "x", 0);
    assert_false(c->is_paused);
    assert_int_equal(commit(c, t), ERR_OK);
    assert_true(c->is_paused);
    assert_int_equal(c->session->away->paused_until, f->now + 2000);
    fake_free(f);
}

/* ---- ends ---------------------------------------------------------------------------------------------------- */

/* the connection ends in the middle: what it had in flight goes back to its queue, nothing is published. */
static void disconnected(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct fake *f = fake_new(NULL);
        struct conn *c = fake_login(f, "me", 0);
        struct queue *q = declare(c, "q");
        consume(c, q, ACK_EACH, 0);
        put(c, "q", "m");
        struct tx *t = begin(c);
        add(c, t, "q", "x");
        assert_int_equal(tx_settle(c, t, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_ACK, false), ERR_OK);
        if (how == 0) {
            tx_abort(c, t); /* as an adapter does in on_close */
            conn_close(c, CLOSE_EOF);
        } else {
            assert_non_null(fake_login(f, "me", 0)); /* taken over: the session is gone before the adapter hears */
            if (c->session == NULL && !fake_pipe_of(c)->is_gone)
                tx_abort(c, t);
        }
        fake_run(f);
        assert_string_equal(waiting(q), "m");
        struct conn *d = fake_login(f, "d", 0);
        consume(d, q, ACK_EACH, 0);
        assert_int_equal(broker_settle(d, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_ACK), ERR_OK);
        assert_int_equal(fake_stat(f, STAT_TX_ABORTED), 1);
        fake_free(f);
    }
}

/* what is named in a transaction has been answered in time; when nothing comes of that, its time begins anew. */
static void ack_timeout(void **state)
{
    (void)state;
    for (int commits = 0; commits < 2; commits++) {
        struct fake *f = fake_new(NULL);
        struct conn *c = fake_login(f, "", 0);
        struct queue_spec spec;
        struct declared d;
        queue_spec_init(&spec, &f->shard->vhost->policy_named);
        spec.policy.ack_ms = 1000;
        spec.given = 1u << QUEUE_ARG_ACK_TIMEOUT;
        struct queue *q = broker_declare_queue_as(c, SLICE("q"), &spec, &d);
        assert_non_null(q);
        consume(c, q, ACK_EACH, 0);
        put(c, "q", "m");
        uint32_t ticket = fake_last(f, FAKE_DELIVER)->ticket;
        struct tx *t = begin(c);
        assert_int_equal(tx_settle(c, t, ticket, OUTCOME_ACK, false), ERR_OK);
        fake_wait(f, 5000);
        assert_int_equal(fake_stat(f, STAT_LAPSED), 0);
        if (commits)
            assert_int_equal(commit(c, t), ERR_OK);
        else
            tx_abort(c, t);
        fake_wait(f, 999);
        assert_int_equal(fake_stat(f, STAT_LAPSED), 0);
        fake_wait(f, 1);
        assert_int_equal(fake_stat(f, STAT_LAPSED), !commits);
        assert_int_equal(fake_stat(f, STAT_SETTLED), commits);
        if (!commits) { /* too late: accepted, and nothing changes */
            t = begin(c);
            assert_int_equal(tx_settle(c, t, ticket, OUTCOME_ACK, false), ERR_OK);
            assert_int_equal(commit(c, t), ERR_OK);
            assert_int_equal(q->ready_n + q->inflight_n, 1);
        }
        fake_free(f);
    }
}

/* the queue of a delivery is deleted before the commit: its answer is as good as without a transaction. */
static void queue_is_gone(void **state)
{
    (void)state;
    static const enum outcome answer[] = {OUTCOME_ACK, OUTCOME_REQUEUE, OUTCOME_REJECT};
    for (unsigned i = 0; i < ARRAY_N(answer); i++) {
        struct fake *f = fake_new(NULL);
        struct conn *c = fake_login(f, "", 0);
        struct queue *q = declare(c, "q"), *other = declare(c, "o");
        consume(c, q, ACK_EACH, 0);
        put(c, "q", "m");
        struct tx *t = begin(c);
        assert_int_equal(tx_settle(c, t, fake_last(f, FAKE_DELIVER)->ticket, answer[i], false), ERR_OK);
        add(c, t, "q", "x");
        add(c, t, "o", "y");
        queue_delete(q);
        fake_run(f);
        assert_int_equal(commit(c, t), ERR_OK);
        fake_run(f);
        assert_string_equal(waiting(other), "y");
        assert_int_equal(fake_stat(f, STAT_ENTRIES), 1);
        fake_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(nothing_of_an_aborted_one),
        cmocka_unit_test(answered_once),
        cmocka_unit_test(cumulative),
        cmocka_unit_test(cumulative_over_many),
        cmocka_unit_test(in_order),
        cmocka_unit_test(refused_at_once),
        cmocka_unit_test(full_queues),
        cmocka_unit_test(refused_answers),
        cmocka_unit_test(deleted_exchange),
        cmocka_unit_test(retained),
        cmocka_unit_test(delays),
        cmocka_unit_test(rates),
        cmocka_unit_test(disconnected),
        cmocka_unit_test(ack_timeout),
        cmocka_unit_test(queue_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
