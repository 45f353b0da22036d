/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_queue.c: limits and what happens at them, order whatever is sent back, expiry of what waits and of what is on
 * its way, rotation among consumers, the way past the queue, binding sets, and the end of a queue with everything in
 * it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/support/fake.h"

static struct queue *named(struct fake *f, const char *name, struct queue_policy p)
{
    struct queue *q = queue_new(f->shard->vhost, slice_from_str(name), &p, true, NULL);
    assert_non_null(q);
    return q;
}

static struct consumer *consume(struct conn *c, struct queue *q, enum ack_mode mode, uint32_t prefetch, void *up)
{
    return broker_consume_queue(
        c, q, &(struct consume){.mode = mode, .prefetch = prefetch, .qos = 2, .up = up, .receipt = RECEIPT_NONE});
}

static enum err push_at(struct conn *p, const char *queue, const char *payload, mono_ms expires_at)
{
    struct msgview v = {
        .topic = slice_from_str(queue), .payload = slice_from_str(payload), .qos = 1, .expires_at = expires_at};
    return fake_pub_view(p, &v, p->shard->vhost->default_exchange, 0);
}

static enum err push(struct conn *p, const char *queue, const char *payload)
{
    return push_at(p, queue, payload, 0);
}

/* waiting: the payloads in the queue, in order, as one string. */
static const char *waiting(const struct queue *q, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    LIST_EACH(&q->ready, it)
    {
        const struct msg *m = LIST_ITEM(it, struct entry, node)->msg;
        n += (size_t)snprintf(out + n, cap - n, "%.*s", (int)m->payload_len,
                              (const char *)m->bytes + m->topic_len + m->attrs_len);
    }
    return out;
}

static const char *delivered(const struct fake *f, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < fake_count(f, FAKE_DELIVER); i++)
        n += (size_t)snprintf(out + n, cap - n, "%s", fake_nth(f, FAKE_DELIVER, i)->payload);
    return out;
}

static uint32_t ticket_of(const struct fake *f, const char *payload)
{
    for (uint32_t i = fake_count(f, FAKE_DELIVER); i-- > 0;)
        if (strcmp(fake_nth(f, FAKE_DELIVER, i)->payload, payload) == 0)
            return fake_nth(f, FAKE_DELIVER, i)->ticket;
    fail_msg("%s was not delivered", payload);
    return 0;
}

/* ---- limits -------------------------------------------------------------------------------------------------- */

static void overflow_policies(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0);
    char text[64];
    struct queue *keep =
        named(f, "new", (struct queue_policy){.len_max = 3, .overflow = OVERFLOW_DROP_NEW, .keep_qos0 = true});
    struct queue *head =
        named(f, "head", (struct queue_policy){.len_max = 3, .overflow = OVERFLOW_DROP_HEAD, .keep_qos0 = true});
    struct queue *no =
        named(f, "no", (struct queue_policy){.len_max = 3, .overflow = OVERFLOW_REJECT, .keep_qos0 = true});
    for (char c = 'a'; c <= 'e'; c++) {
        char one[2] = {c, 0};
        assert_int_equal(push(p, "new", one), ERR_OK);
        assert_int_equal(push(p, "head", one), ERR_OK);
        assert_int_equal(push(p, "no", one), c <= 'c' ? ERR_OK : ERR_FULL);
    }
    assert_string_equal(waiting(keep, text, sizeof(text)), "abc");
    assert_string_equal(waiting(head, text, sizeof(text)), "cde");
    assert_string_equal(waiting(no, text, sizeof(text)), "abc");
    assert_int_equal(fake_stat(f, STAT_DROP_FULL), 2);
    assert_int_equal(fake_stat(f, STAT_DROP_HEAD), 2);
    assert_int_equal(fake_stat(f, STAT_REFUSED), 2);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 9);
    fake_run(f);
    assert_int_equal(queue_purge(head, STAT_DROP_CLOSED), 3);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 6);
    fake_run(f);
    fake_free(f);
}

static void byte_limits(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0);
    char text[64];
    struct queue *q =
        named(f, "q", (struct queue_policy){.bytes_max = 10, .overflow = OVERFLOW_DROP_HEAD, .keep_qos0 = true});
    assert_int_equal(push(p, "q", "123"), ERR_OK); /* 4 bytes with the topic */
    assert_int_equal(push(p, "q", "456"), ERR_OK);
    assert_int_equal(q->bytes, 8);
    assert_int_equal(push(p, "q", "7"), ERR_OK);
    assert_int_equal(q->bytes, 10);
    assert_int_equal(push(p, "q", "89abc"), ERR_OK); /* 6: both old ones must go */
    assert_string_equal(waiting(q, text, sizeof(text)), "789abc");
    struct queue *r =
        named(f, "r", (struct queue_policy){.bytes_max = 10, .overflow = OVERFLOW_REJECT, .keep_qos0 = true});
    assert_int_equal(push(p, "r", "123456789"), ERR_OK); /* exactly */
    assert_int_equal(push(p, "r", ""), ERR_FULL);
    assert_int_equal(r->bytes, 10);
    fake_run(f);
    fake_free(f);
}

/* one message that could never fit must not sweep out everything that waits before it is dropped itself. */
static void too_large_for_drop_head(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0);
    char text[64];
    struct queue *q =
        named(f, "q", (struct queue_policy){.bytes_max = 10, .overflow = OVERFLOW_DROP_HEAD, .keep_qos0 = true});
    assert_int_equal(push(p, "q", "abc"), ERR_OK);
    assert_int_equal(push(p, "q", "0123456789"), ERR_OK);
    assert_string_equal(waiting(q, text, sizeof(text)), "abc");
    assert_int_equal(fake_stat(f, STAT_DROP_FULL), 1);
    assert_int_equal(fake_stat(f, STAT_DROP_HEAD), 0);
    fake_free(f);
}

/* a burst within one turn, with a consumer that takes all: nothing is lost or refused at a small limit. */
static void a_burst_with_a_consumer(void **state)
{
    (void)state;
    static const enum queue_overflow how[] = {OVERFLOW_DROP_NEW, OVERFLOW_DROP_HEAD, OVERFLOW_REJECT};
    for (size_t i = 0; i < ARRAY_N(how); i++) {
        struct fake *f = fake_new(NULL);
        struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
        struct queue *q = named(f, "q", (struct queue_policy){.len_max = 2, .overflow = how[i], .keep_qos0 = true});
        assert_non_null(consume(s, q, ACK_EACH, 0, NULL));
        for (unsigned n = 0; n < 20; n++)
            assert_int_equal(push(p, "q", "x"), ERR_OK);
        fake_run(f);
        assert_int_equal(fake_count(f, FAKE_DELIVER), 20);
        fake_free(f);
    }
}

/* larger than the whole limit: it goes through when somebody takes it at once, and is dropped or refused otherwise. */
static void larger_than_the_limit(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    struct queue *q =
        named(f, "q", (struct queue_policy){.bytes_max = 10, .overflow = OVERFLOW_DROP_NEW, .keep_qos0 = true});
    assert_int_equal(push(p, "q", "0123456789abc"), ERR_OK);
    assert_int_equal(q->ready_n, 0);
    assert_int_equal(fake_stat(f, STAT_DROP_FULL), 1);
    assert_non_null(consume(s, q, ACK_EACH, 1, NULL));
    assert_int_equal(push(p, "q", "0123456789abc"), ERR_OK);
    assert_int_equal(push(p, "q", "0123456789xyz"), ERR_OK); /* no credit left */
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    assert_int_equal(fake_stat(f, STAT_DROP_FULL), 2);
    fake_free(f);
}

/* ---- order --------------------------------------------------------------------------------------------------- */

static void sent_back_to_the_original_place(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    struct queue *q = named(f, "q", (struct queue_policy){.keep_qos0 = true});
    struct consumer *k = consume(s, q, ACK_EACH, 5, NULL);
    char text[64];
    for (char c = 'a'; c <= 'i'; c++) {
        char one[2] = {c, 0};
        assert_int_equal(push(p, "q", one), ERR_OK);
    }
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "abcde");
    assert_string_equal(waiting(q, text, sizeof(text)), "fghi");
    k->prefetch = 1; /* nothing goes out while we send back */
    assert_int_equal(broker_settle(s, ticket_of(f, "d"), OUTCOME_REQUEUE), ERR_OK);
    assert_int_equal(broker_settle(s, ticket_of(f, "b"), OUTCOME_REQUEUE), ERR_OK);
    assert_int_equal(broker_settle(s, ticket_of(f, "e"), OUTCOME_REQUEUE), ERR_OK);
    assert_string_equal(waiting(q, text, sizeof(text)), "bdefghi");
    assert_int_equal(broker_settle(s, ticket_of(f, "a"), OUTCOME_ACK), ERR_OK);
    k->prefetch = 100;
    assert_int_equal(broker_settle(s, ticket_of(f, "c"), OUTCOME_ACK), ERR_OK);
    fake_forget(f);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "bdefghi");
    assert_true(fake_nth(f, FAKE_DELIVER, 0)->redelivered);
    assert_int_equal(fake_nth(f, FAKE_DELIVER, 0)->attempts, 1);
    assert_false(fake_nth(f, FAKE_DELIVER, 3)->redelivered);
    fake_free(f);
}

/* random pushes, acks and nacks by several consumers: every delivery of a queue's first pass is in order, and every
 * message is acknowledged exactly once. */
static void random_settling(void **state)
{
    (void)state;
    enum { CONNS = 4, MSGS = 3000 };
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s[CONNS];
    struct queue *q = named(f, "q", (struct queue_policy){.keep_qos0 = true});
    struct rng r;
    static uint8_t acked[MSGS];
    static uint32_t open[CONNS][MSGS];
    uint32_t open_n[CONNS] = {0}, pushed = 0, done = 0;
    memset(acked, 0, sizeof(acked));
    rng_init(&r, 4);
    for (unsigned i = 0; i < CONNS; i++) {
        s[i] = fake_login(f, "", 0);
        assert_non_null(consume(s[i], q, ACK_EACH, 1 + i * 3, NULL));
    }
    while (done < MSGS) {
        for (uint32_t n = rng_below(&r, 9); n-- > 0 && pushed < MSGS; pushed++) {
            char text[16];
            snprintf(text, sizeof(text), "%u", pushed);
            assert_int_equal(push(p, "q", text), ERR_OK);
        }
        fake_forget(f);
        fake_run(f);
        long last_new = -1;
        for (uint32_t i = 0; i < fake_count(f, FAKE_DELIVER); i++) {
            const struct fake_event *e = fake_nth(f, FAKE_DELIVER, i);
            unsigned k = 0;
            while (fake_number(s[k]) != e->conn)
                k++;
            open[k][open_n[k]++] = e->ticket;
            long at = strtol(e->payload, NULL, 10);
            if (e->attempts == 0) {
                assert_true(at > last_new);
                last_new = at;
            }
        }
        for (unsigned k = 0; k < CONNS; k++) {
            assert_true(open_n[k] <= 1 + k * 3);
            while (open_n[k] > 0 && rng_chance(&r, 70)) {
                uint32_t at = rng_below(&r, open_n[k]), ticket = open[k][at];
                const struct msg *m = flight_entry(tickets_get(s[k]->session, ticket))->msg;
                char text[16] = {0};
                memcpy(text, m->bytes + m->topic_len, m->payload_len);
                bool ack = rng_chance(&r, 60);
                assert_int_equal(broker_settle(s[k], ticket, ack ? OUTCOME_ACK : OUTCOME_REQUEUE), ERR_OK);
                if (ack) {
                    assert_int_equal(acked[strtol(text, NULL, 10)]++, 0);
                    done++;
                }
                open[k][at] = open[k][--open_n[k]];
            }
        }
    }
    assert_int_equal(q->ready_n + q->inflight_n, 0);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_free(f);
}

/* overtakes_nothing: a session of that expiry; one of 0 has deliveries that never enter its queue, others have none. */
static void overtakes_nothing(uint32_t expiry_s)
{
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_conn(f);
    struct attach a = fake_attach("s", expiry_s);
    char text[64];
    a.quota = 2;
    broker_attach(s, &a);
    assert_int_equal(fake_sub(s, "t", 2), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_pub(p, "t", "0", 0), ERR_OK); /* straight out */
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    assert_int_equal(fake_pub(p, "t", "1", 1), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "2", 0), ERR_OK); /* behind it, although it could go */
    assert_int_equal(fake_pub(p, "t", "3", 2), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "4", 1), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "5", 0), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "0123");
    assert_int_equal(fake_pub(p, "t", "6", 0), ERR_OK);
    assert_int_equal(broker_settle(s, ticket_of(f, "1"), OUTCOME_ACK), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "01234"); /* the quota is used up again: 5 and 6 wait */
    assert_int_equal(broker_settle(s, ticket_of(f, "4"), OUTCOME_ACK), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "0123456");
    fake_free(f);
}

/* [MQTT-4.6.0-5], [MQTT-4.6.0-6] a message that needs no acknowledgement never overtakes one that waits. */
static void nothing_overtakes(void **state)
{
    (void)state;
    overtakes_nothing(0);
    overtakes_nothing(1000);
}

/* ---- expiry -------------------------------------------------------------------------------------------------- */

/* [MQTT-3.3.2-5] what waits too long is dropped; what is on its way stays acknowledgeable; sent back too late, it goes.
 */
static void expiry(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    struct queue *q = named(f, "q", (struct queue_policy){.keep_qos0 = true});
    char text[64];
    assert_int_equal(push_at(p, "q", "a", f->now + 5000), ERR_OK);
    assert_int_equal(push_at(p, "q", "b", f->now + 1000), ERR_OK); /* a short one behind a long one */
    assert_int_equal(push_at(p, "q", "c", 0), ERR_OK);
    fake_wait(f, 999);
    assert_string_equal(waiting(q, text, sizeof(text)), "abc");
    fake_wait(f, 1);
    assert_string_equal(waiting(q, text, sizeof(text)), "ac");
    assert_int_equal(fake_stat(f, STAT_DROP_EXPIRED), 1);
    assert_non_null(consume(s, q, ACK_EACH, 0, NULL));
    assert_int_equal(push_at(p, "q", "d", f->now + 1000), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "acd");
    fake_wait(f, 10000); /* in flight: both dates pass */
    assert_int_equal(fake_stat(f, STAT_DROP_EXPIRED), 1);
    assert_int_equal(q->inflight_n, 3);
    assert_int_equal(broker_settle(s, ticket_of(f, "a"), OUTCOME_ACK), ERR_OK);
    assert_int_equal(broker_settle(s, ticket_of(f, "d"), OUTCOME_REQUEUE), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_DROP_EXPIRED), 2);
    assert_int_equal(broker_settle(s, ticket_of(f, "c"), OUTCOME_REQUEUE), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "acdc");
    fake_free(f);
}

static void expired_before_its_turn(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    struct queue *q = named(f, "q", (struct queue_policy){.keep_qos0 = true});
    assert_non_null(consume(s, q, ACK_EACH, 0, NULL));
    assert_int_equal(push_at(p, "q", "late", f->now - 1), ERR_OK); /* its date has passed already */
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    assert_int_equal(fake_stat(f, STAT_DROP_EXPIRED), 1);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_free(f);
}

/* ---- consumers ----------------------------------------------------------------------------------------------- */

static void rotation_and_prefetch(void **state)
{
    (void)state;
    enum { CONNS = 3 };
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s[CONNS];
    struct queue *q = named(f, "q", (struct queue_policy){.keep_qos0 = true});
    for (unsigned i = 0; i < CONNS; i++) {
        s[i] = fake_login(f, "", 0);
        assert_non_null(consume(s[i], q, ACK_EACH, i == 0 ? 1 : i == 1 ? 4 : 0, NULL));
    }
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(push(p, "q", "x"), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, s[0]), 1);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, s[1]), 4);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, s[2]), 25);
    uint64_t first = fake_nth(f, FAKE_DELIVER, 0)->conn;
    for (uint32_t i = 1; i < 3; i++) /* each in turn while all have credit */
        assert_int_not_equal(fake_nth(f, FAKE_DELIVER, i)->conn, first);
    fake_pipe_of(s[2])->is_reset = true;
    fake_run(f);
    assert_int_equal(q->ready_n, 25);
    fake_forget(f);
    assert_int_equal(broker_settle(s[1], s[1]->session->tickets.slot[1].ticket, OUTCOME_ACK), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, s[1]), 1);
    fake_free(f);
}

/* a fair share: with equal credit nobody gets more than one message more than another. */
static void rotation_is_fair(void **state)
{
    (void)state;
    enum { CONNS = 5 };
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s[CONNS];
    struct queue *q = named(f, "q", (struct queue_policy){.keep_qos0 = true});
    for (unsigned i = 0; i < CONNS; i++) {
        s[i] = fake_login(f, "", 0);
        assert_non_null(consume(s[i], q, ACK_NONE, 0, NULL));
    }
    for (unsigned n = 1; n <= 23; n++) {
        assert_int_equal(push(p, "q", "x"), ERR_OK);
        fake_run(f);
        for (unsigned i = 0; i < CONNS; i++) {
            uint32_t got = fake_count_of(f, FAKE_DELIVER, s[i]);
            assert_true(got >= n / CONNS && got <= n / CONNS + 1);
        }
    }
    fake_free(f);
}

static void a_session_with_two_queues_shares_its_quota(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_conn(f);
    struct attach a = fake_attach("s", 0);
    a.quota = 3;
    broker_attach(s, &a);
    struct queue *q = named(f, "q", (struct queue_policy){.keep_qos0 = true});
    assert_non_null(consume(s, q, ACK_EACH, 0, &q->number));
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(push(p, "q", "x"), ERR_OK);
        assert_int_equal(fake_pub(p, "t", "y", 1), ERR_OK);
    }
    uint32_t from_q = 0;
    for (uint32_t n = 0; n < 20; n++) {
        fake_run(f);
        assert_int_equal(fake_count(f, FAKE_DELIVER), MIN(n + 3, 20u));
        const struct fake_event *e = fake_nth(f, FAKE_DELIVER, n);
        from_q += e->up != NULL;
        if (n == 12)
            assert_true(from_q >= 3 && from_q <= 10); /* neither queue starves */
        assert_int_equal(broker_settle(s, e->ticket, OUTCOME_ACK), ERR_OK);
    }
    assert_int_equal(s->session->sent_n, 0);
    fake_free(f);
}

static void too_big_for_the_peer(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    assert_int_equal(fake_sub(s, "t", 2), ERR_OK);
    fake_pipe_of(s)->deliver_result = ERR_TOO_BIG;
    for (uint8_t qos = 0; qos < 3; qos++)
        assert_int_equal(fake_pub(p, "t", "x", qos), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 3);
    assert_int_equal(fake_stat(f, STAT_DROP_TOO_BIG), 3);
    assert_int_equal(fake_stat(f, STAT_DELIVERED), 0);
    assert_int_equal(s->session->tickets.n, 0);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_pipe_of(s)->deliver_result = ERR_OK;
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_DELIVERED), 1);
    fake_free(f);
}

/* ---- the end of a queue -------------------------------------------------------------------------------------- */

static void deleted_with_everything_in_it(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0), *t = fake_login(f, "t", 0);
    struct queue *q = named(f, "q", (struct queue_policy){.keep_qos0 = true});
    struct consumer *k = consume(s, q, ACK_EACH, 2, NULL);
    consume(t, q, ACK_EACH, 1, NULL);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(push_at(p, "q", "x", i % 2 ? f->now + 1000 : 0), ERR_OK);
    fake_run(f);
    assert_int_equal(q->inflight_n, 3);
    queue_delete(q);
    queue_delete(q); /* harmless */
    assert_int_equal(fake_count(f, FAKE_CONSUMER_GONE), 2);
    assert_ptr_equal(
        fake_nth(f, FAKE_CONSUMER_GONE, 0)->consumer == k || fake_nth(f, FAKE_CONSUMER_GONE, 1)->consumer == k, true);
    assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), 5);
    fake_run(f);
    assert_int_equal(push(p, "q", "x"), ERR_NO_MATCH);
    fake_wait(f, 2000);
    /* deliveries of a dead queue can still be answered, each in its way */
    uint32_t a = fake_nth(f, FAKE_DELIVER, 0)->ticket;
    struct conn *who = fake_nth(f, FAKE_DELIVER, 0)->conn == fake_number(s) ? s : t;
    assert_int_equal(broker_settle(who, a, OUTCOME_REQUEUE), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), 6);
    fake_run(f);
    fake_pipe_of(s)->is_reset = true;
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), t->session->tickets.n);
    fake_free(f);
}

static void auto_delete(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *s = fake_login(f, "s", 0), *t = fake_login(f, "t", 0);
    struct queue *q = named(f, "q", (struct queue_policy){.auto_delete = true, .keep_qos0 = true});
    struct consumer *k = consume(s, q, ACK_EACH, 0, NULL);
    consume(t, q, ACK_EACH, 0, NULL);
    broker_cancel(s, k, RECEIPT_NONE);
    assert_ptr_equal(map_get(&f->shard->vhost->queues, SLICE("q")), q);
    fake_pipe_of(t)->is_reset = true; /* the last one */
    fake_run(f);
    assert_null(map_get(&f->shard->vhost->queues, SLICE("q")));
    assert_int_equal(fake_stat(f, STAT_QUEUES), 0);
    fake_free(f);
}

/* ---- binding sets -------------------------------------------------------------------------------------------- */

static void sets_are_interned_and_reused(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct queue *q = named(f, "q", (struct queue_policy){.keep_qos0 = true});
    uint32_t id[] = {3, 3, 9};
    for (uint8_t qos = 0; qos < 3; qos++)
        for (uint32_t rap = 0; rap < 2; rap++) {
            uint32_t n = queue_set_intern(q, qos, rap, NULL, 0);
            assert_true(n < SET_PLAIN_N);
            assert_int_equal(queue_set_get(q, n)->qos, qos);
            assert_int_equal(queue_set_get(q, n)->retain_as_published, rap);
            assert_int_equal(queue_set_get(q, n)->sub_id_n, 0);
        }
    uint32_t a = queue_set_intern(q, 1, false, id, 3), b = queue_set_intern(q, 1, false, id, 2);
    assert_true(a >= SET_PLAIN_N && b >= SET_PLAIN_N && a != b);
    assert_int_equal(queue_set_intern(q, 1, false, id, 3), a);
    assert_int_not_equal(queue_set_intern(q, 1, true, id, 3), a);
    assert_int_not_equal(queue_set_intern(q, 2, false, id, 3), a);
    /* an entry holds on to its set through any number of generations */
    struct msg *m = msg_new(&f->shard->msgs, &(struct msgview){.topic = SLICE("q"), .qos = 1});
    queue_push(q, m, &(struct push){.set = a, .qos = 1});
    msg_drop(m);
    uint16_t set_n = q->set_n;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t other = 100 + i;
        router_touch(&f->shard->vhost->router);
        assert_int_not_equal(queue_set_intern(q, 1, false, &other, 1), a);
    }
    assert_true(q->set_n <= set_n + 1);
    const struct binding_set *set = queue_set_get(q, a);
    assert_int_equal(set->sub_id_n, 3);
    assert_memory_equal(set->sub_id, id, sizeof(id));
    fake_free(f);
}

/* random subscriptions with ids that come and go while messages wait: each delivery says the ids of its own time. */
static void sets_under_churn(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    struct rng r;
    rng_init(&r, 6);
    static const char *const filter[] = {"a/b", "a/+", "a/#", "#", "+/b"};
    uint32_t id[5] = {0};
    s->session->quota = 1;
    for (unsigned round = 0; round < 2000; round++) {
        unsigned k = rng_below(&r, 5);
        uint32_t want[8], n = 0;
        id[k] = rng_chance(&r, 30) ? 0 : 1 + rng_below(&r, 2000);
        if (id[k])
            assert_int_equal(fake_sub_opts(s, filter[k], &(struct binding_opts){.qos = 1, .sub_id = id[k]}), ERR_OK);
        else
            (void)fake_unsub(s, filter[k]);
        for (unsigned i = 0; i < 5; i++)
            if (id[i]) {
                uint32_t at = n++;
                for (; at > 0 && want[at - 1] > id[i]; at--)
                    want[at] = want[at - 1];
                want[at] = id[i];
            }
        char text[64];
        size_t len = 0;
        text[0] = 0;
        for (uint32_t i = 0; i < n; i++)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%u,", want[i]);
        assert_int_equal(fake_pub(p, "a/b", text, 1), n ? ERR_OK : ERR_NO_MATCH);
        fake_run(f);
        if (!rng_chance(&r, 70) || s->session->tickets.n == 0)
            continue;
        const struct fake_event *e = fake_last(f, FAKE_DELIVER);
        len = 0;
        text[0] = 0;
        for (uint32_t i = 0; i < e->sub_id_n; i++)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%u,", e->sub_id[i]);
        assert_string_equal(e->payload, text);
        assert_int_equal(broker_settle(s, e->ticket, OUTCOME_ACK), ERR_OK);
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overflow_policies),
        cmocka_unit_test(byte_limits),
        cmocka_unit_test(too_large_for_drop_head),
        cmocka_unit_test(a_burst_with_a_consumer),
        cmocka_unit_test(larger_than_the_limit),
        cmocka_unit_test(sent_back_to_the_original_place),
        cmocka_unit_test(random_settling),
        cmocka_unit_test(nothing_overtakes),
        cmocka_unit_test(expiry),
        cmocka_unit_test(expired_before_its_turn),
        cmocka_unit_test(rotation_and_prefetch),
        cmocka_unit_test(rotation_is_fair),
        cmocka_unit_test(a_session_with_two_queues_shares_its_quota),
        cmocka_unit_test(too_big_for_the_peer),
        cmocka_unit_test(deleted_with_everything_in_it),
        cmocka_unit_test(auto_delete),
        cmocka_unit_test(sets_are_interned_and_reused),
        cmocka_unit_test(sets_under_churn),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
