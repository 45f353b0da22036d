/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_restore_queues.c: a broker that begins anew on what its store kept, as users of named queues and exchanges see
 * it: what was declared, policies and what they count, bindings of all kinds, durable subscriptions, delays, dead
 * letters and transactions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/restored.h"

#include "core/tx.h"

#define HOUR_S 3600u

static struct exchange *default_of(const struct conn *c)
{
    return c->session->vhost->default_exchange;
}

static struct exchange *named(const struct conn *c, const char *name)
{
    struct exchange *x = exchange_get(c->session->vhost, slice_from_str(name));
    assert_non_null(x);
    return x;
}

static struct queue *queue_of(struct conn *c, const char *name)
{
    enum err e;
    struct queue *q = broker_queue(c, slice_from_str(name), &e);
    assert_non_null(q);
    return q;
}

/* eat: what waits in the queue, by a consumer that acknowledges and goes. */
static const char *eat(struct fake *f, const char *name)
{
    struct conn *c = fresh(f, "", 0);
    fake_forget(f);
    (void)verb_consume(c, queue_of(c, name), ACK_NONE);
    const char *text = got(f, c);
    verb_hang_up(c);
    return text;
}

static void send_as(struct conn *c, const char *queue, const char *payload, uint8_t priority, mono_ms lives_ms)
{
    struct msgview v = {.topic = slice_from_str(queue),
                        .payload = slice_from_str(payload),
                        .qos = 1,
                        .priority = priority,
                        .expires_at = lives_ms ? verb_fake(c)->now + lives_ms : 0,
                        .flags = MSG_DURABLE | MSG_STOMP};
    pub_view(c, &v, default_of(c));
}

static void send(struct conn *c, const char *queue, const char *payload)
{
    send_as(c, queue, payload, 0, 0);
}

/* ---- what was declared --------------------------------------------------------------------------------------- */

static const char policy_args[] =
    "x-message-ttl=60000;x-expires=3600000;x-max-length=7;x-max-length-bytes=1000;x-overflow=reject-publish-dlx;"
    "x-dead-letter-exchange=amq.direct;x-dead-letter-routing-key=dead;x-delivery-limit=3;x-retry-delay-min=100;"
    "x-retry-delay-max=200;x-consumer-timeout=90000;x-max-priority=9;x-single-active-consumer=true";

/* Declared again with the same arguments it is the same; with others it differs in what they say. */
static void declarations(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    struct declared d;
    (void)verb_queue(c, "plain", "");
    (void)verb_queue(c, "full", policy_args);
    (void)verb_queue(c, "brief", "durable=false");
    (void)verb_queue(c, "gone", "");
    assert_int_equal(verb_delete_queue(c, "gone", (struct queue_end){0}), ERR_OK);
    struct exchange_spec spec = {.name = SLICE("limited"),
                                 .kind = EXCHANGE_TOPIC,
                                 .durable = true,
                                 .alternate = SLICE("amq.fanout"),
                                 .rate = 1000};
    assert_non_null(broker_declare_exchange(c, &spec, &d));
    (void)verb_exchange(c, "direct", EXCHANGE_DIRECT, true);
    (void)verb_exchange(c, "ends", EXCHANGE_FANOUT, true);
    (void)verb_exchange(c, "passes", EXCHANGE_FANOUT, false);
    assert_int_equal(verb_delete_exchange(c, "ends", false), ERR_OK);
    for (unsigned life = 0; life < 3; life++) {
        restart(f, life % 2 ? FAKE_CLOSES : FAKE_CRASHES, 10);
        c = fresh(f, "", 0);
        struct vhost *v = c->session->vhost;
        assert_null(map_get(&v->queues, SLICE("brief")));
        assert_null(map_get(&v->queues, SLICE("gone")));
        assert_null(exchange_get(v, SLICE("ends")));
        assert_null(exchange_get(v, SLICE("passes")));
        (void)verb_queue(c, "full", policy_args);
        assert_null(verb_declare(c, "full", "x-max-length=8", &d));
        assert_int_equal(d.err, ERR_EXISTS);
        struct queue_spec s;
        verb_spec(c, &s, policy_args);
        assert_int_equal(queue_policy_diff(queue_of(c, "full")->policy, &s.policy), QUEUE_ARG_N);
        assert_null(verb_declare(c, "plain", "x-max-length=8", &d));
        assert_int_equal(d.err, ERR_EXISTS);
        (void)verb_queue(c, "plain", "");
        assert_non_null(broker_declare_exchange(c, &spec, &d));
        (void)verb_exchange(c, "direct", EXCHANGE_DIRECT, true);
        assert_int_equal(fake_stat(f, STAT_QUEUES), 2);
    }
    fake_free(f);
}

/* Queues and exchanges, and exchanges among themselves, each kind with its own sort of key. */
static void bindings(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    struct exchange *topic = verb_exchange(c, "t", EXCHANGE_TOPIC, true);
    struct exchange *direct = verb_exchange(c, "d", EXCHANGE_DIRECT, true);
    struct exchange *fanout = verb_exchange(c, "f", EXCHANGE_FANOUT, true);
    struct queue *q = verb_queue(c, "q", ""), *r = verb_queue(c, "r", "");
    assert_int_equal(verb_bind(c, topic, "a/+", q), ERR_OK);
    assert_int_equal(verb_bind(c, direct, "#", q), ERR_OK); /* no wildcard there */
    assert_int_equal(verb_bind(c, direct, "k", r), ERR_OK);
    assert_int_equal(verb_bind(c, fanout, "", r), ERR_OK);
    assert_int_equal(verb_bind(c, direct, "undone", r), ERR_OK);
    assert_int_equal(verb_unbind(c, direct, "undone", r), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, topic, "b/#", fanout), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, fanout, "", topic), ERR_OK); /* a circle */
    assert_int_equal(verb_bind_exchange(c, direct, "x", topic), ERR_OK);
    assert_int_equal(verb_unbind_exchange(c, direct, "x", topic), ERR_OK);
    for (unsigned life = 0; life < 2; life++) {
        restart(f, FAKE_CRASHES, 10);
        c = fresh(f, "", 0);
        assert_int_equal(verb_send(c, named(c, "t"), "a/x", "1"), ERR_OK);
        assert_int_equal(verb_send(c, named(c, "t"), "b/x", "2"), ERR_OK);
        assert_int_equal(verb_send(c, named(c, "t"), "c", "3"), ERR_NO_MATCH);
        assert_int_equal(verb_send(c, named(c, "d"), "#", "4"), ERR_OK);
        assert_int_equal(verb_send(c, named(c, "d"), "k", "5"), ERR_OK);
        assert_int_equal(verb_send(c, named(c, "d"), "undone", "6"), ERR_NO_MATCH);
        assert_int_equal(verb_send(c, named(c, "d"), "x", "7"), ERR_NO_MATCH);
        assert_int_equal(verb_send(c, named(c, "f"), "a/y", "8"), ERR_OK);
        assert_string_equal(eat(f, "q"), "a/x=1 q1; #=4 q1; a/y=8 q1");
        assert_string_equal(eat(f, "r"), "b/x=2 q1; k=5 q1; a/y=8 q1");
    }
    fake_free(f);
}

/* A message knows through which exchange it came, by number: also one that was declared in a former life. */
static void exchange_numbers(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    (void)verb_exchange(c, "gone", EXCHANGE_FANOUT, true);
    struct exchange *x = verb_exchange(c, "x", EXCHANGE_FANOUT, true);
    assert_int_equal(verb_bind(c, x, "", verb_queue(c, "q", "x-dead-letter-exchange=amq.fanout")), ERR_OK);
    assert_int_equal(verb_send(c, x, "k", "1"), ERR_OK);
    uint32_t number = x->number;
    assert_int_equal(verb_delete_exchange(c, "gone", false), ERR_OK);
    restart(f, FAKE_CRASHES, 10);
    c = fresh(f, "", 0);
    assert_int_equal(named(c, "x")->number, number);
    struct exchange *later = verb_exchange(c, "later", EXCHANGE_FANOUT, true);
    assert_true(later->number > number);
    const struct entry *e = queue_first(queue_of(c, "q"));
    assert_ptr_equal(exchange_by_number(c->session->vhost, e->msg->exchange), named(c, "x"));
    fake_free(f);
}

/* ---- policies and what they count ---------------------------------------------------------------------------- */

static void ttl_goes_on(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    (void)verb_queue(c, "dead", "");
    (void)verb_queue(c, "q", "x-message-ttl=60000;x-dead-letter-exchange=;x-dead-letter-routing-key=dead");
    send(c, "q", "old");
    fake_wait(f, 20000);
    send(c, "q", "new");
    send_as(c, "q", "short", 0, 1000);
    restart(f, FAKE_CRASHES, 30000);
    fake_wait(f, 5000);
    assert_int_equal(queue_of(fresh(f, "", 0), "q")->ready_n, 2);
    fake_wait(f, 6000); /* 61 seconds since "old" came */
    assert_int_equal(queue_of(fresh(f, "", 0), "q")->ready_n, 1);
    fake_wait(f, 20000);
    assert_int_equal(queue_of(fresh(f, "", 0), "q")->ready_n, 0);
    restart(f, FAKE_CRASHES, 10); /* that they moved is written down */
    assert_string_equal(eat(f, "q"), "");
    assert_string_equal(eat(f, "dead"), "dead=short q1; dead=old q1; dead=new q1");
    fake_free(f);
}

static void priorities_and_order(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    (void)verb_queue(c, "q", "x-max-priority=5");
    (void)verb_queue(c, "plain", "");
    send_as(c, "q", "a", 0, 0);
    send_as(c, "q", "b", 5, 0);
    send_as(c, "q", "c", 9, 0);
    send_as(c, "q", "d", 3, 0);
    send_as(c, "q", "e", 0, 0);
    for (char payload[] = "0"; payload[0] <= '9'; payload[0]++)
        send(c, "plain", payload);
    restart(f, FAKE_CRASHES, 10);
    assert_string_equal(eat(f, "q"), "q=b q1; q=c q1; q=d q1; q=a q1; q=e q1");
    assert_string_equal(eat(f, "plain"), "plain=0 q1; plain=1 q1; plain=2 q1; plain=3 q1; plain=4 q1; plain=5 q1; "
                                         "plain=6 q1; plain=7 q1; plain=8 q1; plain=9 q1");
    fake_free(f);
}

/* Limits count what was there; limits that are lower now do not drop it. */
static void limits_count(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    (void)verb_queue(c, "q", "x-max-length=2;x-overflow=reject-publish");
    (void)verb_queue(c, "head", "x-max-length=2;x-overflow=drop-head");
    struct conn *s = fake_login(f, "s", HOUR_S);
    sub(s, "t/#", 1);
    verb_hang_up(s);
    for (char payload[] = "1"; payload[0] <= '5'; payload[0]++)
        pub(c, "t", payload, 1);
    send(c, "q", "1");
    send(c, "q", "2");
    for (char payload[] = "1"; payload[0] <= '3'; payload[0]++)
        send(c, "head", payload);
    f->config.limits.session_queue_max = 3;
    f->config.limits.queues_max = 1;
    restart(f, FAKE_CRASHES, 10);
    c = fresh(f, "", 0);
    assert_int_equal(fake_stat(f, STAT_QUEUES), 3);
    assert_int_equal(verb_send(c, default_of(c), "q", "3"), ERR_FULL);
    send(c, "head", "4");
    assert_string_equal(eat(f, "q"), "q=1 q1; q=2 q1");
    assert_string_equal(eat(f, "head"), "head=3 q1; head=4 q1");
    s = back(f, "s", HOUR_S);
    assert_string_equal(got(f, s), "t=1 q1 #1; t=2 q1 #2; t=3 q1 #3; t=4 q1 #4; t=5 q1 #5");
    fake_free(f);
}

/* How often a message came back is counted over lives. */
static void delivery_limit(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    (void)verb_queue(c, "dead", "");
    (void)verb_queue(c, "q", "x-delivery-limit=3;x-dead-letter-exchange=;x-dead-letter-routing-key=dead");
    send(c, "q", "poison");
    for (unsigned life = 0; life < 3; life++) {
        c = fresh(f, "", 0);
        fake_forget(f);
        (void)verb_consume(c, queue_of(c, "q"), ACK_EACH);
        const struct fake_event *e = fake_last(f, FAKE_DELIVER);
        assert_non_null(e);
        assert_int_equal(e->redelivered, life > 0);
        assert_int_equal(broker_settle(c, e->ticket, OUTCOME_REQUEUE), ERR_OK);
        verb_hang_up(c);
        restart(f, FAKE_CRASHES, 10);
    }
    c = fresh(f, "", 0);
    fake_forget(f);
    (void)verb_consume(c, queue_of(c, "q"), ACK_EACH);
    for (unsigned i = 0; i < 10 && fake_count(f, FAKE_DELIVER) > 0; i++) {
        uint32_t ticket = fake_last(f, FAKE_DELIVER)->ticket;
        fake_forget(f);
        settle(c, ticket, OUTCOME_REQUEUE);
    }
    verb_hang_up(c);
    restart(f, FAKE_CRASHES, 10);
    assert_string_equal(eat(f, "dead"), "dead=poison q1");
    assert_string_equal(eat(f, "q"), "");
    fake_free(f);
}

/* What was with a consumer that is no more goes back to its place. */
static void unacknowledged(void **state)
{
    (void)state;
    for (enum fake_end how = FAKE_CLOSES; how <= FAKE_CRASHES; how++) {
        struct fake *f = restored_new();
        struct conn *c = fake_login(f, "", 0);
        struct queue *q = verb_queue(c, "q", "");
        for (char payload[] = "1"; payload[0] <= '4'; payload[0]++)
            send(c, "q", payload);
        (void)verb_consume(c, q, ACK_EACH);
        uint32_t second = fake_nth(f, FAKE_DELIVER, 1)->ticket;
        settle(c, second, OUTCOME_ACK);
        restart(f, how, 10);
        assert_int_equal(queue_of(fresh(f, "", 0), "q")->ready_n, 3);
        c = fresh(f, "", 0);
        fake_forget(f);
        (void)verb_consume(c, queue_of(c, "q"), ACK_NONE);
        assert_string_equal(fake_nth(f, FAKE_DELIVER, 0)->payload, "1");
        assert_string_equal(fake_nth(f, FAKE_DELIVER, 1)->payload, "3");
        assert_string_equal(fake_nth(f, FAKE_DELIVER, 2)->payload, "4");
        fake_free(f);
    }
}

/* Delivered to somebody who does not acknowledge: done, also for the store. */
static void consumed_at_once(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0), *me = fake_login(f, "me", HOUR_S);
    (void)verb_consume(c, verb_queue(c, "q", ""), ACK_NONE);
    uint64_t receipt = verb_next(me);
    struct fake_filter ff;
    broker_subscribe_group(me, SLICE("g"), fake_filter(&ff, "t"), &(struct binding_opts){.qos = 0}, receipt);
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    send(c, "q", "1");
    pub(c, "t", "2", 2);
    assert_string_equal(got(f, c), "q=1 q1");
    assert_string_equal(got(f, me), "t=2 q0");
    restart(f, FAKE_CRASHES, 10);
    assert_string_equal(eat(f, "q"), "");
    me = back(f, "me", HOUR_S);
    assert_string_equal(got(f, me), "");
    fake_free(f);
}

/* An MQTT session's share in a named queue: it consumes it again; at QoS 2 what it had is its own. */
static void sessions_at_queues(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "me", HOUR_S), *p = fake_login(f, "p", 0);
    (void)verb_queue(p, "q", "");
    uint64_t receipt = verb_next(c);
    broker_subscribe_queue(c, SLICE("q"), &(struct binding_opts){.qos = 2, .sub_id = 4}, receipt);
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    struct msgview v = {.topic = SLICE("q"), .payload = SLICE("1"), .qos = 2, .flags = MSG_DURABLE};
    pub_view(p, &v, default_of(p));
    v.payload = SLICE("2");
    pub_view(p, &v, default_of(p));
    settle(c, 1, OUTCOME_RECEIVED);
    restart(f, FAKE_CRASHES, 10);
    assert_string_equal(eat(f, "q"), "");
    c = back(f, "me", HOUR_S);
    assert_string_equal(got(f, c), "release #1; q=2 q2 #2 ids 4 dup");
    settle(c, 1, OUTCOME_COMPLETE);
    p = fresh(f, "", 0);
    v.payload = SLICE("3");
    fake_forget(f);
    pub_view(p, &v, default_of(p));
    assert_string_equal(got(f, c), "q=3 q2 #3 ids 4");
    fake_free(f);
}

/* ---- durable subscriptions ------------------------------------------------------------------------------------- */

static struct consumer *subscribe(struct conn *c, const char *key, const char *filter, struct declared *d)
{
    struct fake_filter ff;
    const struct durable sub = {.key = slice_from_str(key),
                                .exchange = filter ? c->session->vhost->topic_exchange : NULL,
                                .filter = filter ? fake_filter(&ff, filter) : NULL,
                                .opts = {.qos = 2, .retain_handling = 2}};
    const struct consume how = {.mode = ACK_NONE, .qos = 2, .receipt = verb_next(c)};
    struct consumer *k = broker_consume_durable(c, &sub, &how, d);
    if (k)
        assert_int_equal(verb_answer(verb_fake(c), how.receipt), ERR_OK);
    return k;
}

static void durable_subscriptions(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0), *p = fake_login(f, "p", 0);
    struct declared d;
    assert_non_null(subscribe(c, "me/news", "news/#", &d));
    assert_non_null(subscribe(c, "me/gone", "news/#", &d));
    verb_hang_up(c);
    uint64_t receipt = verb_next(p);
    broker_end_durable(p, SLICE("me/gone"), receipt);
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    pub(p, "news/1", "1", 1);
    restart(f, FAKE_CRASHES, 10);
    p = fresh(f, "", 0);
    pub(p, "news/2", "2", 1);
    c = fresh(f, "", 0);
    fake_forget(f);
    assert_null(subscribe(c, "me/gone", NULL, &d));
    assert_null(subscribe(c, "me/news", "other", &d));
    assert_int_equal(d.err, ERR_EXISTS);
    assert_non_null(subscribe(c, "me/news", "news/#", &d));
    assert_false(d.is_new);
    assert_string_equal(got(f, c), "news/1=1 q1; news/2=2 q1");
    fake_free(f);
}

/* ---- delays, dead letters, transactions ------------------------------------------------------------------------ */

static void send_later(struct conn *c, const char *topic, const char *payload, mono_ms delay_ms)
{
    struct publish p = {
        .msg = {.topic = slice_from_str(topic), .payload = slice_from_str(payload), .qos = 1, .flags = MSG_DURABLE},
        .receipt = verb_next(c),
        .delay_ms = delay_ms};
    broker_publish(c, &p);
    assert_int_equal(verb_answer(verb_fake(c), p.receipt), ERR_OK);
}

static void delays_go_on(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *s = fake_login(f, "s", HOUR_S), *p = fake_login(f, "p", 0);
    sub(s, "t", 1);
    send_later(p, "t", "past", 5000);
    send_later(p, "t", "future", 60000);
    send_later(p, "t", "done", 10);
    fake_wait(f, 20);
    settle(s, 1, OUTCOME_ACK);
    restart(f, FAKE_CRASHES, 10000);
    s = back(f, "s", HOUR_S);
    fake_wait(f, 1);
    assert_string_equal(got(f, s), "t=past q1 #1");
    fake_forget(f);
    fake_wait(f, 49000);
    assert_string_equal(got(f, s), "");
    fake_wait(f, 2000);
    assert_string_equal(got(f, s), "t=future q1 #2");
    restart(f, FAKE_CRASHES, 10);
    s = back(f, "s", HOUR_S);
    fake_wait(f, 100000);
    assert_string_equal(got(f, s), "t=past q1 #1 dup; t=future q1 #2 dup"); /* once each */
    fake_free(f);
}

/* Delayed through an exchange that is gone meanwhile: nothing becomes of it, and the store forgets it. */
static void delayed_to_nowhere(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    struct exchange *x = verb_exchange(c, "x", EXCHANGE_FANOUT, true);
    struct publish p = {.msg = {.topic = SLICE("k"), .payload = SLICE("1"), .qos = 1, .flags = MSG_DURABLE},
                        .exchange = x,
                        .receipt = verb_next(c),
                        .delay_ms = 5000};
    broker_publish(c, &p);
    assert_int_equal(verb_answer(f, p.receipt), ERR_OK);
    assert_int_equal(verb_delete_exchange(c, "x", false), ERR_OK);
    restart(f, FAKE_CRASHES, 10);
    verb_stored(f, "");
    fake_free(f);
}

static void dead_letters(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    (void)verb_queue(c, "dead", "");
    struct queue *q = verb_queue(c, "q", "x-dead-letter-exchange=;x-dead-letter-routing-key=dead");
    send(c, "q", "1");
    send(c, "q", "2");
    (void)verb_consume(c, q, ACK_EACH);
    settle(c, fake_nth(f, FAKE_DELIVER, 0)->ticket, OUTCOME_REJECT);
    restart(f, FAKE_CRASHES, 10);
    assert_int_equal(queue_of(fresh(f, "", 0), "q")->ready_n, 1);
    struct entry *e = queue_first(queue_of(fresh(f, "", 0), "dead"));
    assert_non_null(e);
    struct attr a;
    struct msgview v;
    msg_view(e->msg, &v);
    assert_true(attr_find(v.attrs, ATTR_DEATH, &a)); /* its history came with it */
    assert_string_equal(eat(f, "dead"), "dead=1 q1");
    fake_free(f);
}

static void transactions(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = verb_queue(c, "q", "");
    (void)verb_queue(c, "r", "");
    send(c, "q", "1");
    send(c, "q", "2");
    (void)verb_consume(c, q, ACK_EACH);
    uint32_t first = fake_nth(f, FAKE_DELIVER, 0)->ticket, second = fake_nth(f, FAKE_DELIVER, 1)->ticket;
    for (unsigned i = 0; i < 2; i++) {
        struct tx *t = tx_new(c);
        struct publish p = {.msg = {.topic = SLICE("r"),
                                    .payload = i == 0 ? SLICE("committed") : SLICE("not"),
                                    .qos = 1,
                                    .flags = MSG_DURABLE | MSG_STOMP},
                            .exchange = default_of(c),
                            .receipt = RECEIPT_NONE};
        assert_int_equal(tx_publish(c, t, &p), ERR_OK);
        assert_int_equal(tx_settle(c, t, i == 0 ? first : second, OUTCOME_ACK, false), ERR_OK);
        if (i == 0) {
            uint64_t receipt = verb_next(c);
            tx_commit(c, t, receipt);
            assert_int_equal(verb_answer(f, receipt), ERR_OK);
        } else {
            tx_abort(c, t);
        }
    }
    restart(f, FAKE_CRASHES, 10);
    assert_string_equal(eat(f, "r"), "r=committed q1");
    c = fresh(f, "", 0);
    fake_forget(f);
    (void)verb_consume(c, queue_of(c, "q"), ACK_NONE);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    assert_string_equal(fake_last(f, FAKE_DELIVER)->payload, "2");
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declarations),          cmocka_unit_test(bindings),
        cmocka_unit_test(exchange_numbers),      cmocka_unit_test(ttl_goes_on),
        cmocka_unit_test(priorities_and_order),  cmocka_unit_test(limits_count),
        cmocka_unit_test(delivery_limit),        cmocka_unit_test(unacknowledged),
        cmocka_unit_test(consumed_at_once),      cmocka_unit_test(sessions_at_queues),
        cmocka_unit_test(durable_subscriptions), cmocka_unit_test(delays_go_on),
        cmocka_unit_test(delayed_to_nowhere),    cmocka_unit_test(dead_letters),
        cmocka_unit_test(transactions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
