/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_queue_policies.c: what queues with arguments do: TTL, delivery limit, retry delay, ack timeout, priorities,
 * single active consumer, consumer priority, exclusive, expires, pause, pull, browse, and where dead letters go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/attrs.h"
#include "core/topology.h"
#include "tests/support/fake.h"

struct stage {
    struct fake *f;
    struct conn *p; /* publishes */
    struct conn *c; /* consumes */
    char text[256];
};

static void stage_init(struct stage *s)
{
    s->f = fake_new(NULL);
    s->p = fake_login(s->f, "p", 0);
    s->c = fake_login(s->f, "c", 0);
    assert_true(session_away(s->c->session));
}

static void stage_fini(struct stage *s)
{
    fake_run(s->f);
    fake_free(s->f);
}

static struct queue *named(struct stage *s, const char *name, struct queue_policy p)
{
    p.keep_qos0 = true;
    struct queue *q = queue_new(s->f->shard->vhost, slice_from_str(name), &p, true, p.exclusive ? s->c->session : NULL);
    assert_non_null(q);
    return q;
}

static struct consumer *consume_as(struct conn *c, struct queue *q, struct consume how)
{
    how.qos = 2;
    how.receipt = RECEIPT_NONE;
    struct consumer *k = broker_consume_queue(c, q, &how);
    assert_non_null(k);
    return k;
}

static struct consumer *consume(struct conn *c, struct queue *q, enum ack_mode mode, uint32_t prefetch)
{
    return consume_as(c, q, (struct consume){.mode = mode, .prefetch = prefetch});
}

static void send(struct stage *s, const char *queue, const char *payload, uint8_t priority, mono_ms expires_at)
{
    struct msgview v = {.topic = slice_from_str(queue),
                        .payload = slice_from_str(payload),
                        .qos = 1,
                        .priority = priority,
                        .expires_at = expires_at};
    assert_int_equal(fake_pub_view(s->p, &v, s->f->shard->vhost->default_exchange, 0), ERR_OK);
}

/* got: payloads delivered to c since the last look, as one string. */
static const char *got(struct stage *s, const struct conn *c)
{
    size_t n = 0;
    fake_run(s->f);
    s->text[0] = 0;
    for (uint32_t i = 0; i < fake_count(s->f, FAKE_DELIVER); i++) {
        const struct fake_event *e = fake_nth(s->f, FAKE_DELIVER, i);
        if (c == NULL || e->conn == fake_number(c))
            n += (size_t)snprintf(s->text + n, sizeof s->text - n, "%s", e->payload);
    }
    return s->text;
}

static const char *got_now(struct stage *s, const struct conn *c)
{
    const char *text = got(s, c);
    fake_forget(s->f);
    return text;
}

static uint32_t last_ticket(struct stage *s)
{
    return fake_last(s->f, FAKE_DELIVER)->ticket;
}

static void answer(struct stage *s, uint32_t ticket, enum outcome o)
{
    assert_int_equal(broker_settle(s->c, ticket, o), ERR_OK);
    fake_forget(s->f);
    fake_run(s->f);
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

static void ttl_of_queue_and_message(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){.has_ttl = true, .ttl_ms = 1000});
    mono_ms now = s.f->shard->now;
    send(&s, "q", "a", 0, 0);
    send(&s, "q", "b", 0, now + 500);  /* sooner than the queue's */
    send(&s, "q", "c", 0, now + 5000); /* later */
    fake_wait(s.f, 499);
    assert_int_equal(q->ready_n, 3);
    fake_wait(s.f, 1);
    assert_int_equal(q->ready_n, 2); /* b stood between the others */
    fake_wait(s.f, 499);
    assert_int_equal(q->ready_n, 2);
    fake_wait(s.f, 1);
    assert_int_equal(q->ready_n, 0);
    assert_int_equal(fake_stat(s.f, STAT_DROP_EXPIRED), 3);
    stage_fini(&s);
}

static void ttl_zero_is_now_or_never(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){.has_ttl = true});
    send(&s, "q", "a", 0, 0);
    assert_int_equal(q->ready_n, 0);
    assert_int_equal(fake_stat(s.f, STAT_DROP_EXPIRED), 1);
    consume(s.c, q, ACK_EACH, 1);
    send(&s, "q", "b", 0, 0);
    send(&s, "q", "c", 0, 0); /* no credit left */
    assert_string_equal(got(&s, s.c), "b");
    assert_int_equal(fake_stat(s.f, STAT_DROP_EXPIRED), 2);
    answer(&s, last_ticket(&s), OUTCOME_REQUEUE); /* it comes back too late */
    assert_string_equal(got_now(&s, s.c), "");
    assert_int_equal(fake_stat(s.f, STAT_DROP_EXPIRED), 3);
    stage_fini(&s);
}

static void retry_waits_longer_each_time(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){.retry_min_ms = 100, .retry_max_ms = 350});
    static const mono_ms waits[] = {100, 200, 350, 350};
    consume(s.c, q, ACK_EACH, 0);
    send(&s, "q", "a", 0, 0);
    send(&s, "q", "b", 0, 0);
    assert_string_equal(got(&s, s.c), "ab");
    uint32_t ticket = fake_nth(s.f, FAKE_DELIVER, 0)->ticket;
    for (unsigned i = 0; i < ARRAY_N(waits); i++) {
        answer(&s, ticket, OUTCOME_REQUEUE);
        assert_int_equal(fake_stat(s.f, STAT_RETRYING), 1);
        fake_wait(s.f, waits[i] - 1);
        assert_string_equal(got(&s, s.c), "");
        fake_wait(s.f, 1);
        assert_string_equal(got(&s, s.c), "a");
        ticket = last_ticket(&s);
    }
    answer(&s, ticket, OUTCOME_ACK);
    assert_int_equal(fake_stat(s.f, STAT_RETRYING), 0);
    stage_fini(&s);
}

static void retry_keeps_the_place_and_the_expiry(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){.retry_min_ms = 100, .retry_max_ms = 100});
    struct consumer *k = consume(s.c, q, ACK_EACH, 1);
    send(&s, "q", "a", 0, 0);
    assert_string_equal(got(&s, s.c), "a");
    uint32_t ticket = last_ticket(&s);
    broker_cancel(s.c, k, RECEIPT_NONE);
    answer(&s, ticket, OUTCOME_REQUEUE);
    send(&s, "q", "b", 0, 0);
    fake_wait(s.f, 100);
    consume(s.c, q, ACK_NONE, 0);
    assert_string_equal(got_now(&s, s.c), "ab"); /* at its place, in front of b */
    struct queue *r = named(&s, "r", (struct queue_policy){.retry_min_ms = 100, .retry_max_ms = 100});
    consume(s.c, r, ACK_EACH, 1);
    send(&s, "r", "c", 0, s.f->shard->now + 50);
    assert_string_equal(got(&s, s.c), "c");
    answer(&s, last_ticket(&s), OUTCOME_REQUEUE);
    fake_wait(s.f, 50); /* it does not live until its next attempt */
    assert_int_equal(fake_stat(s.f, STAT_DROP_EXPIRED), 1);
    assert_int_equal(fake_stat(s.f, STAT_RETRYING), 0);
    stage_fini(&s);
}

static void an_answer_that_comes_too_late(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){.ack_ms = 1000});
    consume(s.c, q, ACK_EACH, 1);
    struct conn *d = fake_login(s.f, "d", 0);
    send(&s, "q", "a", 0, 0);
    assert_string_equal(got(&s, s.c), "a");
    uint32_t ticket = last_ticket(&s);
    fake_wait(s.f, 999);
    assert_int_equal(q->ready_n, 0);
    fake_wait(s.f, 1);
    assert_int_equal(q->ready_n, 1); /* it is back, and its first consumer has no room for it */
    assert_int_equal(fake_stat(s.f, STAT_LAPSED), 1);
    fake_forget(s.f);
    consume(d, q, ACK_EACH, 1);
    assert_string_equal(got(&s, d), "a");
    assert_true(fake_last(s.f, FAKE_DELIVER)->redelivered);
    uint32_t other = last_ticket(&s);
    assert_int_equal(broker_settle(s.c, ticket, OUTCOME_ACK), ERR_OK); /* too late, and no harm */
    assert_int_equal(broker_settle(s.c, ticket, OUTCOME_ACK), ERR_NOT_FOUND);
    assert_int_equal(broker_settle(d, other, OUTCOME_ACK), ERR_OK);
    assert_int_equal(fake_stat(s.f, STAT_SETTLED), 1);
    send(&s, "q", "b", 0, 0);
    fake_forget(s.f);
    assert_string_equal(got(&s, NULL), "b"); /* both have room again */
    stage_fini(&s);
}

static void late_answers_and_the_cumulative_one(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){.ack_ms = 1000});
    consume(s.c, q, ACK_CUMULATIVE, 0);
    send(&s, "q", "a", 0, 0);
    (void)got(&s, s.c);
    fake_wait(s.f, 600);
    send(&s, "q", "b", 0, 0);
    (void)got(&s, s.c);
    uint32_t b = last_ticket(&s);
    queue_pause(q);
    fake_wait(s.f, 400); /* a lapses */
    assert_int_equal(q->ready_n, 1);
    assert_int_equal(broker_settle_until(s.c, b, OUTCOME_ACK), ERR_OK);
    assert_int_equal(fake_stat(s.f, STAT_SETTLED), 1); /* b; a is the queue's again */
    assert_int_equal(q->ready_n, 1);
    fake_forget(s.f);
    queue_resume(q);
    assert_string_equal(got(&s, s.c), "a");
    stage_fini(&s);
}

static void queue_goes_when_it_is_not_used(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    named(&s, "q", (struct queue_policy){.expires_ms = 1000});
    struct map *queues = &s.f->shard->vhost->queues;
    fake_wait(s.f, 900);
    struct queue *q = map_get(queues, SLICE("q"));
    struct consumer *k = consume(s.c, q, ACK_NONE, 0);
    fake_wait(s.f, 5000); /* it is used */
    assert_non_null(map_get(queues, SLICE("q")));
    broker_cancel(s.c, k, RECEIPT_NONE);
    send(&s, "q", "a", 0, 0); /* publishing is no use */
    fake_wait(s.f, 999);
    assert_non_null(map_get(queues, SLICE("q")));
    fake_wait(s.f, 1);
    assert_null(map_get(queues, SLICE("q")));
    assert_int_equal(fake_stat(s.f, STAT_DROP_CLOSED), 1);
    stage_fini(&s);
}

/* ---- order --------------------------------------------------------------------------------------------------- */

static void priorities(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q =
        named(&s, "q", (struct queue_policy){.priority_max = 200, .len_max = 6, .overflow = OVERFLOW_DROP_HEAD});
    send(&s, "q", "a", 0, 0);
    send(&s, "q", "b", 5, 0);
    send(&s, "q", "c", 130, 0);
    send(&s, "q", "d", 5, 0);
    send(&s, "q", "e", 255, 0); /* cut to 200 */
    send(&s, "q", "f", 200, 0);
    send(&s, "q", "g", 5, 0); /* a goes: the oldest of the lowest level */
    assert_int_equal(q->ready_n, 6);
    send(&s, "q", "h", 0, 0); /* goes itself */
    assert_int_equal(fake_stat(s.f, STAT_DROP_HEAD), 2);
    consume(s.c, q, ACK_EACH, 2);
    assert_string_equal(got(&s, s.c), "ef");
    uint32_t e = fake_nth(s.f, FAKE_DELIVER, 0)->ticket, f = fake_nth(s.f, FAKE_DELIVER, 1)->ticket;
    answer(&s, f, OUTCOME_REQUEUE);
    assert_string_equal(got_now(&s, s.c), "f"); /* at its level and place again */
    assert_int_equal(broker_settle(s.c, e, OUTCOME_ACK), ERR_OK);
    assert_string_equal(got_now(&s, s.c), "c");
    stage_fini(&s);
}

static void the_oldest_comes_back_first(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){0});
    consume(s.c, q, ACK_EACH, 3);
    send(&s, "q", "a", 0, 0);
    send(&s, "q", "b", 0, 0);
    send(&s, "q", "c", 0, 0);
    send(&s, "q", "d", 0, 0);
    assert_string_equal(got(&s, s.c), "abc");
    queue_pause(q);
    uint32_t t[3];
    for (unsigned i = 0; i < 3; i++)
        t[i] = fake_nth(s.f, FAKE_DELIVER, i)->ticket;
    fake_forget(s.f);
    assert_int_equal(broker_settle(s.c, t[1], OUTCOME_REQUEUE), ERR_OK);
    assert_int_equal(broker_settle(s.c, t[0], OUTCOME_REQUEUE), ERR_OK);
    assert_int_equal(broker_settle(s.c, t[2], OUTCOME_REQUEUE), ERR_OK);
    assert_string_equal(got(&s, s.c), "");
    queue_resume(q);
    assert_string_equal(got(&s, s.c), "abc");
    assert_int_equal(fake_last(s.f, FAKE_DELIVER)->attempts, 1);
    stage_fini(&s);
}

/* ---- consumers ----------------------------------------------------------------------------------------------- */

static void one_active_consumer(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){.single_active = true});
    struct conn *d = fake_login(s.f, "d", 0), *e = fake_login(s.f, "e", 0);
    consume(s.c, q, ACK_EACH, 1);
    consume(d, q, ACK_EACH, 1);
    consume_as(e, q, (struct consume){.mode = ACK_EACH, .priority = 3});
    send(&s, "q", "a", 0, 0);
    send(&s, "q", "b", 0, 0);
    assert_string_equal(got(&s, NULL), "a"); /* its credit is used up, and nobody else is served */
    assert_int_equal(fake_last(s.f, FAKE_DELIVER)->conn, fake_number(s.c));
    fake_forget(s.f);
    conn_close(s.c, CLOSE_GOODBYE);
    assert_string_equal(got(&s, e), "ab"); /* the next one is the one with the highest priority */
    assert_string_equal(got_now(&s, d), "");
    stage_fini(&s);
}

static void consumers_with_priority_come_first(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){0});
    struct conn *d = fake_login(s.f, "d", 0), *e = fake_login(s.f, "e", 0);
    consume_as(s.c, q, (struct consume){.mode = ACK_EACH, .priority = -1});
    consume_as(d, q, (struct consume){.mode = ACK_EACH, .prefetch = 2, .priority = 7});
    consume_as(e, q, (struct consume){.mode = ACK_EACH, .prefetch = 2, .priority = 7});
    for (const char *one = "a\0b\0c\0d\0e\0f\0"; *one; one += 2)
        send(&s, "q", one, 0, 0);
    (void)got(&s, NULL);
    assert_string_equal(got(&s, d), "ac");
    assert_string_equal(got(&s, e), "bd");
    assert_string_equal(got(&s, s.c), "ef"); /* what the others have no credit for */
    stage_fini(&s);
}

static void pull_gets_what_it_asks_for(void **state)
{
    (void)state;
    for (int acked = 0; acked < 2; acked++) {
        struct stage s;
        stage_init(&s);
        struct queue *q = named(&s, "q", (struct queue_policy){0});
        struct consumer *k = consume_as(s.c, q, (struct consume){.mode = acked ? ACK_EACH : ACK_NONE, .is_pull = true});
        for (const char *one = "a\0b\0c\0d\0"; *one; one += 2)
            send(&s, "q", one, 0, 0);
        assert_string_equal(got_now(&s, s.c), "");
        broker_grant(s.c, k, 3, false, RECEIPT_NONE);
        assert_string_equal(got_now(&s, s.c), "abc");
        broker_grant(s.c, k, 1, false, RECEIPT_NONE);
        broker_grant(s.c, k, 1, false, RECEIPT_NONE);
        assert_string_equal(got_now(&s, s.c), "d");
        send(&s, "q", "e", 0, 0);
        assert_string_equal(got_now(&s, s.c), "e");
        send(&s, "q", "f", 0, 0);
        broker_grant(s.c, k, 5, true, 99); /* what waits now, then the answer, and no more */
        fake_run(s.f);
        assert_int_equal(fake_nth(s.f, FAKE_DELIVER, 0)->payload[0], 'f');
        assert_int_equal(fake_last(s.f, FAKE_SETTLED)->receipt, 99);
        send(&s, "q", "g", 0, 0);
        fake_forget(s.f);
        assert_string_equal(got_now(&s, s.c), "");
        stage_fini(&s);
    }
}

static void browsing_takes_nothing(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){.priority_max = 9});
    send(&s, "q", "a", 0, 0);
    send(&s, "q", "b", 9, 0);
    send(&s, "q", "c", 0, 0);
    struct consumer *k = broker_browse(s.c, q, &(struct consume){.mode = ACK_NONE, .qos = 2, .receipt = 7});
    assert_non_null(k);
    assert_string_equal(got(&s, s.c), "bac");
    assert_int_equal(fake_count(s.f, FAKE_DELIVER), 4); /* and the end */
    assert_int_equal(q->ready_n, 3);
    broker_cancel(s.c, k, RECEIPT_NONE);
    fake_run(s.f);
    assert_int_equal(fake_stat(s.f, STAT_ENTRIES), 3);
    stage_fini(&s);
}

static void exclusive_ends_with_its_session(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q = named(&s, "q", (struct queue_policy){.exclusive = true});
    send(&s, "q", "a", 0, 0); /* anybody may publish to it */
    assert_null(broker_consume_queue(s.p, q, &(struct consume){.mode = ACK_NONE, .receipt = 5}));
    assert_int_equal(fake_last(s.f, FAKE_SETTLED)->result, ERR_DENIED);
    struct consumer *k = consume(s.c, q, ACK_NONE, 0);
    assert_string_equal(got_now(&s, s.c), "a");
    broker_cancel(s.c, k, RECEIPT_NONE);
    fake_run(s.f);
    assert_non_null(map_get(&s.f->shard->vhost->queues, SLICE("q")));
    conn_close(s.c, CLOSE_GOODBYE);
    fake_run(s.f);
    assert_null(map_get(&s.f->shard->vhost->queues, SLICE("q")));
    stage_fini(&s);
}

/* ---- dead letters -------------------------------------------------------------------------------------------- */

static struct queue_policy to_dead(struct queue_policy p)
{
    p.has_dead_exchange = true; /* the default exchange */
    p.has_dead_key = true;
    p.dead_key = SLICE("dead");
    return p;
}

static void every_death_reaches_the_exchange(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *dead = named(&s, "dead", (struct queue_policy){0});
    struct queue *q = named(&s, "q",
                            to_dead((struct queue_policy){.len_max = 1,
                                                          .overflow = OVERFLOW_DROP_HEAD,
                                                          .has_ttl = true,
                                                          .ttl_ms = 1000,
                                                          .has_delivery_limit = true,
                                                          .delivery_limit = 1}));
    send(&s, "q", "a", 0, 0);
    send(&s, "q", "b", 0, 0); /* a: maxlen */
    fake_run(s.f);
    assert_int_equal(dead->ready_n, 1);
    fake_wait(s.f, 1000); /* b: expired */
    assert_int_equal(dead->ready_n, 2);
    consume(s.c, q, ACK_EACH, 0);
    send(&s, "q", "c", 0, 0);
    assert_string_equal(got(&s, s.c), "c");
    answer(&s, last_ticket(&s), OUTCOME_REJECT); /* c: rejected */
    assert_int_equal(dead->ready_n, 3);
    send(&s, "q", "d", 0, 0);
    assert_string_equal(got(&s, s.c), "d");
    answer(&s, last_ticket(&s), OUTCOME_REQUEUE);
    assert_string_equal(got(&s, s.c), "d");
    answer(&s, last_ticket(&s), OUTCOME_REQUEUE); /* d: delivery_limit */
    assert_string_equal(got(&s, s.c), "");
    assert_int_equal(dead->ready_n, 4);
    assert_int_equal(fake_stat(s.f, STAT_DEAD_LETTERED), 4);
    assert_int_equal(fake_stat(s.f, STAT_DROP_HEAD) + fake_stat(s.f, STAT_DROP_EXPIRED) +
                         fake_stat(s.f, STAT_DROP_REJECTED) + fake_stat(s.f, STAT_DROP_RETURNED),
                     0);
    static const char *const why[] = {"maxlen", "expired", "rejected", "delivery_limit"};
    unsigned i = 0;
    LIST_EACH(&dead->ready, it)
    {
        const struct msg *m = LIST_ITEM(it, struct entry, node)->msg;
        struct attr a;
        assert_true(attr_find(slice_make(m->bytes + m->topic_len, m->attrs_len), ATTR_DEATH, &a));
        assert_true(slice_eq_str(a.key, "x-first-death-reason") && slice_eq_str(a.value, why[i++]));
        assert_int_equal(m->expires_at, 0);
    }
    stage_fini(&s);
}

static void without_an_exchange_it_is_counted(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *q =
        named(&s, "q",
              (struct queue_policy){
                  .has_dead_exchange = true, .dead_exchange = SLICE("nowhere"), .has_delivery_limit = true});
    consume(s.c, q, ACK_EACH, 0);
    send(&s, "q", "a", 0, 0);
    assert_string_equal(got(&s, s.c), "a");
    answer(&s, last_ticket(&s), OUTCOME_REQUEUE);
    assert_int_equal(fake_stat(s.f, STAT_DROP_RETURNED), 1);
    assert_int_equal(fake_stat(s.f, STAT_DEAD_LETTERED), 0);
    stage_fini(&s);
}

/* its exchange goes in the same turn: as if there had been none. */
static void the_exchange_goes_meanwhile(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct exchange *x;
    assert_int_equal(exchange_declare(s.f->shard->vhost, SLICE("x"), EXCHANGE_FANOUT, false, &x), ERR_OK);
    struct queue *q = named(&s, "q", (struct queue_policy){.has_dead_exchange = true, .dead_exchange = SLICE("x")});
    consume(s.c, q, ACK_EACH, 0);
    send(&s, "q", "a", 0, 0);
    assert_string_equal(got(&s, s.c), "a");
    assert_int_equal(broker_settle(s.c, last_ticket(&s), OUTCOME_REJECT), ERR_OK);
    broker_delete_exchange(s.p, SLICE("x"), false, RECEIPT_NONE);
    fake_run(s.f);
    assert_int_equal(fake_stat(s.f, STAT_DROP_REJECTED), 1);
    assert_int_equal(fake_stat(s.f, STAT_DROP_FULL) + fake_stat(s.f, STAT_DEAD_LETTERED), 0);
    stage_fini(&s);
}

/* a circle: each queue's TTL sends to the other one; the message stops where it died before. */
static void nothing_goes_round_for_ever(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue_policy p = {
        .has_ttl = true, .ttl_ms = 10, .has_dead_exchange = true, .has_dead_key = true, .dead_key = SLICE("y")};
    struct queue *x = named(&s, "x", p);
    p.dead_key = SLICE("x");
    struct queue *y = named(&s, "y", p);
    send(&s, "x", "a", 0, 0);
    fake_wait(s.f, 10);
    assert_int_equal(x->ready_n, 0);
    assert_int_equal(y->ready_n, 1);
    fake_wait(s.f, 10);
    assert_int_equal(x->ready_n + y->ready_n, 0);
    assert_int_equal(fake_stat(s.f, STAT_DROP_CYCLE), 1);
    send(&s, "x", "b", 0, 0);
    fake_wait(s.f, 10);
    consume(s.c, y, ACK_EACH, 0);
    assert_string_equal(got(&s, s.c), "b");
    answer(&s, last_ticket(&s), OUTCOME_REJECT); /* somebody wants it to go round */
    assert_int_equal(x->ready_n, 1);
    stage_fini(&s);
}

/* a key given as an argument, or of another kind of exchange, is read as /topic/ reads it; a topic's stays as it is. */
static void keys_into_a_topic_exchange(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct vhost *v = s.f->shard->vhost;
    struct queue_policy p = {.has_ttl = true, .has_dead_exchange = true, .dead_exchange = SLICE("amq.topic")};
    named(&s, "jobs.old", p);
    p.has_dead_key = true;
    p.dead_key = SLICE("dead.jobs");
    named(&s, "q", p);
    assert_int_equal(fake_sub(s.c, "jobs/old", 1), ERR_OK);
    assert_int_equal(fake_sub(s.c, "dead/jobs", 1), ERR_OK);
    assert_int_equal(fake_sub(s.c, "v1.2/x", 1), ERR_OK);
    send(&s, "jobs.old", "a", 0, 0);
    send(&s, "q", "b", 0, 0);
    assert_string_equal(got_now(&s, s.c), "ab");
    struct fake_filter ff;
    p.has_dead_key = false;
    struct queue *from_topic = named(&s, "t", p);
    broker_bind(s.p, v->topic_exchange, fake_filter(&ff, "v1.2/x"), from_topic, RECEIPT_NONE);
    assert_int_equal(fake_pub(s.p, "v1.2/x", "c", 1), ERR_OK);
    assert_string_equal(got_now(&s, s.c), "cc"); /* itself, and as a dead letter */
    stage_fini(&s);
}

static void purge_takes_what_waits(void **state)
{
    (void)state;
    struct stage s;
    stage_init(&s);
    struct queue *dead = named(&s, "dead", (struct queue_policy){0});
    struct queue *q =
        named(&s, "q", to_dead((struct queue_policy){.retry_min_ms = 50, .retry_max_ms = 50, .priority_max = 3}));
    consume(s.c, q, ACK_EACH, 2);
    send(&s, "q", "a", 0, 0);
    send(&s, "q", "b", 3, 0);
    assert_string_equal(got(&s, s.c), "ba");
    answer(&s, fake_nth(s.f, FAKE_DELIVER, 1)->ticket, OUTCOME_REQUEUE);
    queue_pause(q);
    send(&s, "q", "c", 2, 0);
    assert_int_equal(queue_purge(q, STAT_DROP_PURGED), 2); /* a, which waits for its next attempt, and c */
    fake_run(s.f);
    assert_int_equal(dead->ready_n, 0);
    assert_int_equal(fake_stat(s.f, STAT_ENTRIES), 1);
    stage_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ttl_of_queue_and_message),
        cmocka_unit_test(ttl_zero_is_now_or_never),
        cmocka_unit_test(retry_waits_longer_each_time),
        cmocka_unit_test(retry_keeps_the_place_and_the_expiry),
        cmocka_unit_test(an_answer_that_comes_too_late),
        cmocka_unit_test(late_answers_and_the_cumulative_one),
        cmocka_unit_test(queue_goes_when_it_is_not_used),
        cmocka_unit_test(priorities),
        cmocka_unit_test(the_oldest_comes_back_first),
        cmocka_unit_test(one_active_consumer),
        cmocka_unit_test(consumers_with_priority_come_first),
        cmocka_unit_test(pull_gets_what_it_asks_for),
        cmocka_unit_test(browsing_takes_nothing),
        cmocka_unit_test(exclusive_ends_with_its_session),
        cmocka_unit_test(every_death_reaches_the_exchange),
        cmocka_unit_test(without_an_exchange_it_is_counted),
        cmocka_unit_test(the_exchange_goes_meanwhile),
        cmocka_unit_test(nothing_goes_round_for_ever),
        cmocka_unit_test(keys_into_a_topic_exchange),
        cmocka_unit_test(purge_takes_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
