/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_topology.c: the verbs that make and end exchanges, queues, bindings and durable subscriptions: every error,
 * every difference by its name, what is written down and what is not, and each allocation and each record failing once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "persist/store_mem.h"
#include "tests/support/verbs.h"

/* ---- exchanges ----------------------------------------------------------------------------------------------- */

static void declare_exchange(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "c", 0);
    struct vhost *v = c->session->vhost;
    static char longest[300];
    struct declared d;
    memset(longest, 'n', sizeof(longest));
    const struct {
        struct exchange_spec spec;
        enum err err;
    } row[] = {
        {{.name = SLICE(""), .kind = EXCHANGE_TOPIC}, ERR_INVALID},
        {{.name = SLICE("x"), .kind = EXCHANGE_DEFAULT}, ERR_INVALID},
        {{.name = SLICE("amq.mine"), .kind = EXCHANGE_TOPIC}, ERR_DENIED},
        {{.name = SLICE("amq."), .kind = EXCHANGE_TOPIC}, ERR_DENIED},
        {{.name = slice_make(longest, 256), .kind = EXCHANGE_TOPIC}, ERR_TOO_BIG},
        {{.name = SLICE("x"), .kind = EXCHANGE_TOPIC, .alternate = slice_make(longest, 256)}, ERR_TOO_BIG},
        {{.name = SLICE("amq.topic"), .kind = EXCHANGE_TOPIC, .durable = true}, ERR_OK}, /* it is there */
        {{.name = SLICE("amq.topic"), .kind = EXCHANGE_TOPIC}, ERR_EXISTS},
        {{.name = SLICE("amqx"), .kind = EXCHANGE_FANOUT}, ERR_OK},
        {{.name = slice_make(longest, 255), .kind = EXCHANGE_FANOUT, .alternate = slice_make(longest, 255)}, ERR_OK},
    };
    for (size_t i = 0; i < ARRAY_N(row); i++) {
        struct exchange *x = broker_declare_exchange(c, &row[i].spec, &d);
        assert_int_equal(d.err, row[i].err);
        assert_int_equal(x != NULL, d.err == ERR_OK);
        assert_int_equal(d.differs != NULL, d.err == ERR_EXISTS);
    }
    v->topic_exchange->has_brake = 1; /* max_topic_publish_rate is no difference */
    brake_init(&v->topic_exchange->brake, 100, f->now);
    assert_non_null(broker_declare_exchange(c, &row[6].spec, &d));
    assert_int_equal(v->exchanges.n, 6);
    f->shard->limits.exchanges_max = 7;
    verb_exchange(c, "seventh", EXCHANGE_DIRECT, false);
    verb_exchange(c, "seventh", EXCHANGE_DIRECT, false); /* still there */
    assert_null(
        broker_declare_exchange(c, &(struct exchange_spec){.name = SLICE("eighth"), .kind = EXCHANGE_DIRECT}, &d));
    assert_int_equal(d.err, ERR_FULL);
    assert_int_equal(verb_delete_exchange(c, "seventh", false), ERR_OK);
    verb_exchange(c, "eighth", EXCHANGE_DIRECT, false);
    fake_free(f);
}

/* each property, and the two values of it */
static void exchange_differences(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "c", 0);
    const struct exchange_spec is = {
        .name = SLICE("x"), .kind = EXCHANGE_DIRECT, .durable = true, .alternate = SLICE("other"), .rate = 100};
    struct declared d;
    struct exchange *x = broker_declare_exchange(c, &is, &d);
    assert_true(d.err == ERR_OK && d.is_new);
    assert_true(x->has_brake && x->brake.rate == 100);
    assert_ptr_equal(broker_declare_exchange(c, &is, &d), x);
    assert_false(d.is_new);
    struct exchange_spec wants[6] = {is, is, is, is, is, is};
    wants[0].kind = EXCHANGE_FANOUT;
    wants[1].durable = false;
    wants[2].auto_delete = true;
    wants[3].internal = true;
    wants[4].alternate = (struct slice){0};
    wants[5].rate = 0;
    static const char *const said[6][3] = {
        {"type", "direct", "fanout"},
        {"durable", "true", "false"},
        {"auto-delete", "false", "true"},
        {"internal", "false", "true"},
        {"alternate-exchange", "other", "none"},
        {"x-rate-limit", "100", "none"},
    };
    for (unsigned i = 0; i < 6; i++) {
        assert_null(broker_declare_exchange(c, &wants[i], &d));
        assert_int_equal(d.err, ERR_EXISTS);
        assert_string_equal(d.differs, said[i][0]);
        assert_string_equal(d.has, said[i][1]);
        assert_string_equal(d.wants, said[i][2]);
    }
    struct exchange_spec both = wants[0]; /* the first one is named */
    both.rate = 0;
    assert_null(broker_declare_exchange(c, &both, &d));
    assert_string_equal(d.differs, "type");
    fake_free(f);
}

static void delete_exchange(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "c", 0);
    struct queue *q = verb_queue(c, "jobs", "");
    struct exchange *x = verb_exchange(c, "x", EXCHANGE_TOPIC, true),
                    *y = verb_exchange(c, "y", EXCHANGE_FANOUT, false);
    assert_int_equal(verb_delete_exchange(c, "none", false), ERR_NOT_FOUND);
    assert_int_equal(verb_delete_exchange(c, "", false), ERR_DENIED);
    assert_int_equal(verb_delete_exchange(c, "amq.topic", false), ERR_DENIED);
    assert_int_equal(verb_delete_exchange(c, "amq.fanout", true), ERR_DENIED);
    assert_int_equal(verb_bind(c, x, "a", q), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, y, "", x), ERR_OK);
    assert_int_equal(verb_delete_exchange(c, "x", true), ERR_FULL);
    verb_stored(f, "exchange x 1\nqueue jobs 0 default\nbind x a\n");
    assert_int_equal(verb_unbind(c, x, "a", q), ERR_OK);
    assert_int_equal(verb_bind(c, x, "b", q), ERR_OK);
    assert_int_equal(verb_delete_exchange(c, "x", false), ERR_OK);
    assert_int_equal(verb_delete_exchange(c, "x", false), ERR_NOT_FOUND);
    assert_int_equal(y->binding_n, 0);
    assert_true(list_is_empty(&q->bindings));
    assert_int_equal(verb_delete_exchange(c, "y", true), ERR_OK);
    verb_stored(f, "queue jobs 0 default\n");
    x = verb_exchange(c, "x", EXCHANGE_TOPIC, true);
    assert_int_equal(verb_bind_exchange(c, x, "a", exchange_get(c->session->vhost, SLICE("amq.fanout"))), ERR_OK);
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    assert_int_equal(verb_delete_exchange(c, "x", false), ERR_STORE);
    assert_ptr_equal(exchange_get(c->session->vhost, SLICE("x")), x); /* and nothing was changed */
    assert_int_equal(x->binding_n, 1);
    fake_free(f);
}

/* An exchange that lives by its bindings: whoever takes the last one away, its record goes too. */
static void auto_delete(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        struct fake *f = verb_fake_new();
        struct conn *c = fake_login(f, "c", 0);
        struct queue *q = verb_queue(c, "jobs", "");
        struct declared d;
        struct exchange *y = verb_exchange(c, "y", EXCHANGE_DIRECT, true);
        struct exchange_spec spec = {.name = SLICE("x"), .kind = EXCHANGE_TOPIC, .durable = true, .auto_delete = true};
        struct exchange *x = broker_declare_exchange(c, &spec, &d);
        spec.name = SLICE("before");
        struct exchange *before = broker_declare_exchange(c, &spec, &d);
        assert_true(x && before);
        assert_int_equal(verb_bind(c, x, "a", q), ERR_OK);
        assert_int_equal(verb_bind_exchange(c, x, "#", y), ERR_OK);
        assert_int_equal(verb_bind_exchange(c, before, "#", x), ERR_OK);
        assert_int_equal(how == 0 ? verb_unbind(c, x, "a", q) : verb_delete_queue(c, "jobs", (struct queue_end){0}),
                         ERR_OK);
        assert_int_equal(x->binding_n, 1);
        assert_int_equal(how < 2 ? verb_unbind_exchange(c, x, "#", y) : verb_delete_exchange(c, "y", false), ERR_OK);
        assert_null(exchange_get(c->session->vhost, SLICE("x")));
        assert_null(exchange_get(c->session->vhost, SLICE("before")));
        verb_stored(f, how == 0 ? "exchange y 2\nqueue jobs 0 default\n" : how == 1 ? "exchange y 2\n" : "");
        fake_free(f);
    }
}

/* ---- queues -------------------------------------------------------------------------------------------------- */

static void declare_queue(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *a = fake_login(f, "a", 0), *b = fake_login(f, "b", 0);
    static char longest[300];
    struct declared d;
    memset(longest, 'n', sizeof(longest) - 1);
    assert_null(verb_declare(a, longest, "", &d));
    assert_int_equal(d.err, ERR_TOO_BIG);
    longest[255] = 0;
    assert_non_null(verb_declare(a, longest, "", &d));
    assert_null(verb_declare(a, "amq.mine", "", &d));
    assert_int_equal(d.err, ERR_DENIED);
    struct queue *jobs = verb_declare(a, "jobs", "", &d), *made[2];
    assert_true(d.is_new);
    assert_ptr_equal(verb_declare(b, "jobs", "", &d), jobs);
    assert_false(d.is_new);
    for (unsigned i = 0; i < 2; i++) {
        made[i] = verb_declare(a, "", "durable=false", &d);
        assert_true(d.is_new);
        assert_true(slice_starts_with(queue_name(made[i]), SLICE("amq.gen-")));
        assert_int_equal(made[i]->name_len, 8 + 32);
        char name[64];
        snprintf(name, sizeof(name), SLICE_FMT, SLICE_ARG(queue_name(made[i])));
        assert_ptr_equal(verb_declare(b, name, "", &d), made[i]); /* everybody may find it */
    }
    assert_ptr_not_equal(made[0], made[1]);
    f->shard->limits.queues_max = a->session->vhost->queues.n;
    assert_null(verb_declare(a, "one more", "", &d));
    assert_int_equal(d.err, ERR_FULL);
    assert_ptr_equal(verb_declare(b, "jobs", "", &d), jobs);
    f->shard->limits.queues_max = 0;
    assert_non_null(verb_declare(a, "one more", "x-message-ttl=1000;x-dead-letter-exchange=", &d));
    longest[200] = 0; /* the text's buffer is short of it */
    assert_int_equal(verb_delete_queue(a, "one more", (struct queue_end){0}), ERR_OK);
    fake_free(f);
}

/* what is said of each argument in which a queue is not what was asked for */
static void queue_differences(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "c", 0);
    static const struct {
        const char *made, *asked, *differs, *has, *wants;
    } row[] = {
        {"", "durable=false", "durable", "true", "false"},
        {"durable=false", "durable=true", "durable", "false", "true"},
        {"", "auto-delete=true", "auto-delete", "false", "true"},
        {"", "exclusive=true", "exclusive", "false", "true"},
        {"", "x-message-ttl=60000", "x-message-ttl", "none", "60000"},
        {"x-message-ttl=1", "x-message-ttl=0", "x-message-ttl", "1", "0"},
        {"x-expires=1000", "x-expires=1001", "x-expires", "1000", "1001"},
        {"x-max-length=10", "x-max-length=11", "x-max-length", "10", "11"},
        {"x-max-length=10;x-overflow=reject-publish", "x-max-length=10", "x-overflow", "reject-publish", "drop-head"},
        {"x-max-length-bytes=10", "x-max-length-bytes=100", "x-max-length-bytes", "10", "100"},
        {"x-dead-letter-exchange=", "x-dead-letter-exchange=dlx", "x-dead-letter-exchange", "", "dlx"},
        {"", "x-dead-letter-exchange=dlx", "x-dead-letter-exchange", "none", "dlx"},
        {"x-dead-letter-exchange=d;x-dead-letter-routing-key=k", "x-dead-letter-exchange=d",
         "x-dead-letter-routing-key", "k", "none"},
        {"x-delivery-limit=3", "x-delivery-limit=0", "x-delivery-limit", "3", "0"},
        {"x-retry-delay-min=10;x-retry-delay-max=20", "x-retry-delay-min=10", "x-retry-delay-max", "20", "86400000"},
        {"x-retry-delay-min=10;x-retry-delay-max=20", "x-retry-delay-min=11;x-retry-delay-max=20", "x-retry-delay-min",
         "10", "11"},
        {"", "x-consumer-timeout=0", "x-consumer-timeout", "1800000", "none"},
        {"x-max-priority=5", "x-max-priority=10", "x-max-priority", "5", "10"},
        {"x-single-active-consumer=true", "x-single-active-consumer=false", "x-single-active-consumer", "true",
         "false"},
    };
    for (size_t i = 0; i < ARRAY_N(row); i++) {
        struct declared d;
        struct queue *q = verb_declare(c, "q", row[i].made, &d);
        assert_true(d.err == ERR_OK && d.is_new);
        assert_ptr_equal(verb_declare(c, "q", row[i].made, &d), q); /* the same again */
        assert_ptr_equal(verb_declare(c, "q", "", &d), q);          /* asking for nothing */
        assert_null(verb_declare(c, "q", row[i].asked, &d));
        assert_int_equal(d.err, ERR_EXISTS);
        assert_string_equal(d.differs, row[i].differs);
        assert_string_equal(d.has, row[i].has);
        assert_string_equal(d.wants, row[i].wants);
        assert_int_equal(verb_delete_queue(c, "q", (struct queue_end){0}), ERR_OK);
    }
    fake_free(f);
}

/* Limits that changed since a queue was made are no difference; what either side named is. */
static void defaults_may_change(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "c", 0);
    struct queue_policy *def = &c->session->vhost->policy_named;
    struct declared d;
    struct queue *ttl = verb_queue(c, "ttl", "x-message-ttl=1000"), *len = verb_queue(c, "len", "x-max-length=10");
    def->len_max = 77;
    def->bytes_max = 7777;
    def->ack_ms = 777;
    def->overflow = OVERFLOW_DROP_NEW;
    assert_ptr_equal(verb_declare(c, "ttl", "x-message-ttl=1000", &d), ttl);
    assert_ptr_equal(verb_declare(c, "len", "x-max-length=10", &d), len);
    assert_null(verb_declare(c, "ttl", "x-message-ttl=1000;x-max-length=5", &d));
    assert_string_equal(d.differs, "x-max-length");
    assert_null(verb_declare(c, "ttl", "x-message-ttl=1000;x-overflow=drop-head", &d));
    assert_string_equal(d.differs, "x-overflow");
    assert_null(verb_declare(c, "len", "durable=true", &d));
    assert_string_equal(d.differs, "x-max-length");
    assert_string_equal(d.wants, "77");
    assert_null(verb_declare(c, "len", "x-max-length=10;x-consumer-timeout=5", &d));
    assert_string_equal(d.differs, "x-consumer-timeout");
    fake_free(f);
}

/* An exclusive queue is its session's alone, but for publishing, and ends with it. */
static void exclusive(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *a = fake_login(f, "a", 0), *b = fake_login(f, "b", 0);
    struct queue *q = verb_queue(a, "mine", "exclusive=true");
    struct declared d;
    uint64_t n, receipt;
    enum err e;
    assert_ptr_equal(q->owner, a->session);
    assert_ptr_equal(verb_declare(a, "mine", "exclusive=true", &d), q);
    assert_null(verb_declare(b, "mine", "exclusive=true", &d));
    assert_int_equal(d.err, ERR_DENIED);
    assert_null(verb_declare(b, "mine", "", &d));
    assert_int_equal(d.err, ERR_DENIED);
    assert_null(broker_queue(b, SLICE("mine"), &e));
    assert_int_equal(e, ERR_DENIED);
    assert_ptr_equal(broker_queue(a, SLICE("mine"), &e), q);
    assert_int_equal(verb_delete_queue(b, "mine", (struct queue_end){0}), ERR_DENIED);
    broker_purge(b, SLICE("mine"), &n, receipt = verb_next(b));
    assert_int_equal(verb_answer(f, receipt), ERR_DENIED);
    broker_pause(b, SLICE("mine"), true, receipt = verb_next(b));
    assert_int_equal(verb_answer(f, receipt), ERR_DENIED);
    assert_int_equal(verb_bind(b, a->session->vhost->topic_exchange, "a", q), ERR_DENIED);
    assert_int_equal(verb_bind(a, a->session->vhost->topic_exchange, "a", q), ERR_OK);
    assert_int_equal(verb_unbind(b, a->session->vhost->topic_exchange, "a", q), ERR_DENIED);
    assert_int_equal(verb_send(b, a->session->vhost->default_exchange, "mine", "hello"), ERR_OK);
    assert_int_equal(q->ready_n, 1);
    verb_stored(f, ""); /* it will not be there after a restart */
    verb_hang_up(a);
    assert_null(broker_queue(b, SLICE("mine"), &e));
    assert_int_equal(e, ERR_NOT_FOUND);
    fake_free(f);
}

static void written_down(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "c", 0);
    verb_queue(c, "plain", "");
    verb_queue(c, "own", "x-message-ttl=5000");
    verb_queue(c, "brief", "durable=false");
    verb_queue(c, "mine", "exclusive=true");
    verb_stored(f, "queue plain 0 default\nqueue own 0 own\n");
    assert_int_equal(verb_delete_queue(c, "plain", (struct queue_end){0}), ERR_OK);
    assert_int_equal(verb_delete_queue(c, "brief", (struct queue_end){0}), ERR_OK);
    verb_stored(f, "queue own 0 own\n");
    struct declared d;
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    assert_null(verb_declare(c, "lost", "", &d));
    assert_int_equal(d.err, ERR_STORE);
    assert_null(map_get(&c->session->vhost->queues, SLICE("lost")));
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    assert_int_equal(verb_delete_queue(c, "own", (struct queue_end){0}), ERR_STORE);
    assert_non_null(map_get(&c->session->vhost->queues, SLICE("own")));
    verb_stored(f, "queue own 0 own\n");
    fake_free(f);
}

static void delete_queue(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "c", 0), *p = fake_login(f, "p", 0);
    struct exchange *x = c->session->vhost->default_exchange;
    const struct queue_end unused = {.if_unused = true}, empty = {.if_empty = true};
    assert_int_equal(verb_delete_queue(c, "none", unused), ERR_NOT_FOUND);
    verb_queue(c, "q", "");
    assert_int_equal(verb_send(p, x, "q", "1"), ERR_OK);
    assert_int_equal(verb_delete_queue(p, "q", empty), ERR_FULL);
    struct queue *q = verb_queue(c, "q", "");
    verb_consume(c, q, ACK_EACH);
    assert_int_equal(q->inflight_n, 1);
    assert_int_equal(verb_delete_queue(p, "q", empty), ERR_FULL); /* in flight */
    assert_int_equal(verb_delete_queue(p, "q", unused), ERR_FULL);
    assert_int_equal(broker_settle(c, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_ACK), ERR_OK);
    assert_int_equal(verb_send(p, x, "q", "2"), ERR_OK);
    assert_int_equal(verb_send(p, x, "q", "3"), ERR_OK);
    uint64_t dropped = fake_stat(f, STAT_DROP_CLOSED);
    assert_int_equal(verb_delete_queue(p, "q", (struct queue_end){0}), ERR_OK);
    assert_int_equal(fake_count_of(f, FAKE_CONSUMER_GONE, c), 1);
    assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), dropped); /* both are in flight, and may still be answered */
    assert_int_equal(verb_send(p, x, "q", "4"), ERR_NO_MATCH);
    verb_queue(c, "q", "");
    assert_int_equal(verb_send(p, x, "q", "5"), ERR_OK);
    assert_int_equal(verb_delete_queue(p, "q", unused), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), dropped + 1);
    verb_queue(c, "q", "");
    assert_int_equal(verb_delete_queue(p, "q", (struct queue_end){.if_unused = true, .if_empty = true}), ERR_OK);
    fake_free(f);
}

/* What was not answered in time, and whose message has gone since, does not make a queue less empty. */
static void lapsed_is_empty(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "c", 0), *p = fake_login(f, "p", 0);
    struct queue *q = verb_queue(c, "q", "x-consumer-timeout=100");
    uint64_t n, receipt;
    const struct queue_end empty = {.if_empty = true};
    assert_int_equal(verb_send(p, c->session->vhost->default_exchange, "q", "1"), ERR_OK);
    verb_consume(c, q, ACK_EACH);
    assert_int_equal(verb_delete_queue(p, "q", empty), ERR_FULL);
    broker_pause(p, SLICE("q"), true, receipt = verb_next(p));
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    fake_wait(f, 150);
    assert_int_equal(q->ready_n, 1);
    assert_int_equal(verb_delete_queue(p, "q", empty), ERR_FULL);
    broker_purge(p, SLICE("q"), &n, receipt = verb_next(p));
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(q->inflight_n, 1); /* its ticket is still known */
    assert_int_equal(verb_delete_queue(p, "q", empty), ERR_OK);
    assert_int_equal(broker_settle(c, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_ACK), ERR_OK);
    fake_free(f);
}

static void purge_and_pause(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "c", 0), *p = fake_login(f, "p", 0);
    struct exchange *x = c->session->vhost->default_exchange;
    struct queue *q = verb_queue(c, "q", "");
    uint64_t n = 77, receipt;
    broker_purge(p, SLICE("none"), &n, receipt = verb_next(p));
    assert_int_equal(verb_answer(f, receipt), ERR_NOT_FOUND);
    assert_int_equal(n, 0);
    broker_pause(p, SLICE("none"), true, receipt = verb_next(p));
    assert_int_equal(verb_answer(f, receipt), ERR_NOT_FOUND);
    broker_pause(p, SLICE("q"), true, receipt = verb_next(p));
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    verb_consume(c, q, ACK_EACH);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(verb_send(p, x, "q", "waits"), ERR_OK);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    verb_stored(f, "queue q 0 default\npublish 1\npublish 1\npublish 1\n");
    broker_purge(p, SLICE("q"), &n, receipt = verb_next(p));
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    assert_int_equal(n, 3);
    assert_int_equal(fake_stat(f, STAT_DROP_PURGED), 3);
    verb_stored(f, "queue q 0 default\n");
    assert_int_equal(verb_send(p, x, "q", "comes"), ERR_OK);
    broker_pause(p, SLICE("q"), false, receipt = verb_next(p));
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    assert_string_equal(fake_last(f, FAKE_DELIVER)->payload, "comes");
    broker_purge(p, SLICE("q"), &n, receipt = verb_next(p));
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    assert_int_equal(n, 0); /* it is in flight */
    assert_int_equal(q->inflight_n, 1);
    fake_free(f);
}

/* ---- bindings ------------------------------------------------------------------------------------------------ */

static void bindings(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "c", 0);
    struct vhost *v = c->session->vhost;
    struct queue *q = verb_queue(c, "q", ""), *brief = verb_queue(c, "brief", "durable=false");
    struct exchange *direct = verb_exchange(c, "d", EXCHANGE_DIRECT, true),
                    *fanout = verb_exchange(c, "f", EXCHANGE_FANOUT, false);
    static char deep[600];
    memset(deep, '/', sizeof(deep) - 1);
    struct fake_filter ff;
    uint64_t receipt;
    assert_int_equal(verb_bind(c, v->default_exchange, "a", q), ERR_DENIED);
    assert_int_equal(verb_bind(c, v->topic_exchange, "#/#/#/#/#/#/#/#/#", q), ERR_TOO_BIG);
    f->shard->limits.topic_levels_max = 3;
    assert_int_equal(verb_bind(c, v->topic_exchange, "a/b/c/d", q), ERR_TOO_BIG);
    broker_bind(c, direct, fake_filter(&ff, "a/b"), q, receipt = verb_next(c));
    assert_int_equal(verb_answer(f, receipt), ERR_INVALID);
    broker_bind(c, fanout, fake_filter(&ff, "a"), q, receipt = verb_next(c));
    assert_int_equal(verb_answer(f, receipt), ERR_INVALID);
    assert_int_equal(verb_bind(c, v->topic_exchange, "a/+", q), ERR_OK);
    assert_int_equal(verb_bind(c, v->topic_exchange, "a/+", q), ERR_OK); /* changes nothing */
    assert_int_equal(verb_bind(c, direct, "a.b", q), ERR_OK);
    assert_int_equal(verb_bind(c, fanout, "", q), ERR_OK);
    assert_int_equal(verb_bind(c, direct, "a.b", brief), ERR_OK);
    verb_stored(f, "exchange d 2\nqueue q 0 default\nbind amq.topic a/+\nbind d a.b\n");
    assert_int_equal(verb_send(c, v->topic_exchange, "a/b", "1"), ERR_OK);
    assert_int_equal(verb_send(c, direct, "a.b", "2"), ERR_OK);
    assert_int_equal(verb_send(c, fanout, "whatever", "3"), ERR_OK);
    assert_int_equal(q->ready_n, 3);
    assert_int_equal(brief->ready_n, 1);
    assert_int_equal(verb_unbind(c, v->topic_exchange, "a/#", q), ERR_NOT_FOUND);
    assert_int_equal(verb_unbind(c, v->default_exchange, "q", q), ERR_NOT_FOUND);
    assert_int_equal(verb_unbind(c, v->topic_exchange, "a/+", brief), ERR_NOT_FOUND);
    assert_int_equal(verb_unbind(c, v->topic_exchange, "a/+", q), ERR_OK);
    assert_int_equal(verb_unbind(c, v->topic_exchange, "a/+", q), ERR_NOT_FOUND);
    verb_stored(f, "exchange d 2\nqueue q 0 default\nbind d a.b\npublish 1\npublish 1\npublish 1\n");
    f->shard->limits.subscriptions_max = 2; /* it has two */
    assert_int_equal(verb_bind(c, direct, "third", q), ERR_FULL);
    assert_int_equal(verb_bind(c, direct, "a.b", q), ERR_OK);
    fake_free(f);
}

static void exchange_bindings(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "c", 0);
    struct vhost *v = c->session->vhost;
    struct queue *q = verb_queue(c, "q", "");
    struct exchange *d = verb_exchange(c, "d", EXCHANGE_DIRECT, true),
                    *brief = verb_exchange(c, "b", EXCHANGE_FANOUT, false);
    assert_int_equal(verb_bind_exchange(c, v->default_exchange, "a", d), ERR_DENIED);
    assert_int_equal(verb_bind_exchange(c, v->topic_exchange, "a", v->default_exchange), ERR_DENIED);
    assert_int_equal(verb_bind_exchange(c, v->topic_exchange, "#/#/#/#/#/#/#/#/#", d), ERR_TOO_BIG);
    struct fake_filter ff;
    uint64_t receipt = verb_next(c);
    broker_bind_exchange(c, d, fake_filter(&ff, "a/+"), brief, receipt);
    assert_int_equal(verb_answer(f, receipt), ERR_INVALID);
    assert_int_equal(verb_bind_exchange(c, v->topic_exchange, "a/#", d), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, v->topic_exchange, "a/#", d), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, v->topic_exchange, "a/#", brief), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, brief, "", d), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, d, "a/b", d), ERR_OK); /* to itself: harmless */
    assert_int_equal(verb_bind(c, d, "a/b", q), ERR_OK);
    verb_stored(f, "exchange d 2\nqueue q 0 default\nbind amq.topic a/# to d\nbind d a/b to d\nbind d a/b\n");
    assert_int_equal(verb_send(c, NULL, "a/b", "once"), ERR_OK);
    assert_int_equal(q->ready_n, 1);
    assert_int_equal(verb_send(c, NULL, "a/c", "nobody"), ERR_NO_MATCH);
    assert_int_equal(verb_unbind_exchange(c, d, "a/b", brief), ERR_NOT_FOUND);
    assert_int_equal(verb_unbind_exchange(c, v->default_exchange, "a/b", d), ERR_NOT_FOUND);
    assert_int_equal(verb_unbind_exchange(c, v->topic_exchange, "a/#", d), ERR_OK);
    assert_int_equal(verb_send(c, NULL, "a/b", "by the other way"), ERR_OK);
    assert_int_equal(verb_unbind_exchange(c, v->topic_exchange, "a/#", brief), ERR_OK);
    assert_int_equal(verb_send(c, NULL, "a/b", "no way"), ERR_NO_MATCH);
    f->shard->limits.subscriptions_max = 2; /* d has two */
    assert_int_equal(verb_bind_exchange(c, v->topic_exchange, "b", d), ERR_FULL);
    fake_free(f);
}

/* $reply/NAME: only who was told the name hears what is said there. */
static void answers_are_not_overheard(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "c", 0);
    struct exchange *topic = c->session->vhost->topic_exchange, *x = verb_exchange(c, "x", EXCHANGE_TOPIC, false);
    struct queue *q = verb_queue(c, "q", "");
    static const struct {
        const char *filter;
        enum err err;
    } row[] = {
        {"$reply/#", ERR_DENIED}, {"$reply/+", ERR_DENIED}, {"$reply/a/+", ERR_DENIED}, {"$reply/+/a", ERR_DENIED},
        {"$reply/abc", ERR_OK},   {"$reply", ERR_OK},       {"$replying/#", ERR_OK},    {"#", ERR_OK},
        {"+/abc", ERR_OK}};
    for (size_t i = 0; i < ARRAY_N(row); i++) {
        struct fake_filter ff;
        struct declared d;
        const struct filter *filter = fake_filter(&ff, row[i].filter);
        const struct binding_opts opts = {.qos = 1, .retain_handling = 2};
        const struct consume how = {.mode = ACK_NONE, .qos = 2, .receipt = verb_next(c)};
        struct consume again = how, shared = how;
        again.receipt = verb_next(c);
        shared.receipt = verb_next(c);
        uint64_t group = verb_next(c);
        assert_int_equal(fake_sub(c, row[i].filter, 1), row[i].err);
        assert_int_equal(verb_bind(c, topic, row[i].filter, q), row[i].err);
        assert_int_equal(verb_bind(c, x, row[i].filter, q), ERR_OK); /* nobody's answers go there */
        assert_int_equal(verb_bind_exchange(c, topic, row[i].filter, x), row[i].err);
        (void)!broker_consume_filter(c, NULL, filter, &opts, &how);
        assert_int_equal(verb_answer(f, how.receipt), row[i].err);
        (void)!broker_consume_group(c, SLICE("g"), filter, &shared);
        assert_int_equal(verb_answer(f, shared.receipt), row[i].err);
        broker_subscribe_group(c, SLICE("g2"), filter, &opts, group);
        assert_int_equal(verb_answer(f, group), row[i].err);
        const struct durable sub = {
            .key = slice_from_str(row[i].filter), .exchange = topic, .filter = filter, .opts = opts};
        (void)!broker_consume_durable(c, &sub, &again, &d);
        assert_int_equal(d.err, row[i].err);
    }
    assert_int_equal(verb_send(c, NULL, "$reply/other", "secret"), ERR_NO_MATCH);
    fake_free(f);
}

/* An internal exchange is reached by bindings, and by nobody himself. */
static void internal_exchanges(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "c", 0);
    struct queue *q = verb_queue(c, "q", "");
    struct declared d;
    struct exchange *side = verb_exchange(c, "side", EXCHANGE_DIRECT, false);
    struct exchange *in = broker_declare_exchange(
        c, &(struct exchange_spec){.name = SLICE("in"), .kind = EXCHANGE_TOPIC, .internal = true}, &d);
    assert_int_equal(verb_bind(c, in, "#", q), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, side, "k", in), ERR_OK);
    assert_int_equal(verb_send(c, in, "k", "by hand"), ERR_DENIED);
    assert_int_equal(q->ready_n, 0);
    assert_int_equal(verb_send(c, side, "k", "by binding"), ERR_OK);
    assert_int_equal(q->ready_n, 1);
    fake_free(f);
}

/* A record that cannot be written takes the binding back; the exchange that was waiting for its first one stays. */
static void bindings_that_fail(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "c", 0);
    struct declared d;
    struct queue *q = verb_queue(c, "q", "");
    struct exchange *y = verb_exchange(c, "y", EXCHANGE_FANOUT, true);
    struct exchange *x = broker_declare_exchange(
        c, &(struct exchange_spec){.name = SLICE("x"), .kind = EXCHANGE_DIRECT, .durable = true, .auto_delete = true},
        &d);
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    assert_int_equal(verb_bind(c, x, "k", q), ERR_STORE);
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    assert_int_equal(verb_bind_exchange(c, x, "k", y), ERR_STORE);
    assert_ptr_equal(exchange_get(c->session->vhost, SLICE("x")), x);
    assert_int_equal(x->binding_n, 0);
    assert_int_equal(verb_bind(c, x, "k", q), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, x, "k", y), ERR_OK);
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    assert_int_equal(verb_unbind(c, x, "k", q), ERR_STORE);
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    assert_int_equal(verb_unbind_exchange(c, x, "k", y), ERR_STORE);
    assert_int_equal(x->binding_n, 2);
    verb_stored(f, "exchange y 3\nexchange x 2\nqueue q 0 default\nbind x k\nbind x k to y\n");
    fake_free(f);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Everything once; whatever fails says so, and all is in order (shard_check, fake_free). */
static bool scenario(uint64_t nth)
{
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "c", 0), *p = fake_login(f, "p", 0);
    struct vhost *v = c->session->vhost;
    struct declared d;
    struct fake_filter ff;
    struct queue_spec spec;
    verb_spec(c, &spec, "exclusive=true;x-message-ttl=1000;x-dead-letter-exchange=amq.fanout");
    f->heap.fail_at = f->heap.calls + nth;
    struct exchange *x = broker_declare_exchange(
        c, &(struct exchange_spec){.name = SLICE("x"), .kind = EXCHANGE_TOPIC, .durable = true, .auto_delete = true},
        &d);
    assert_int_equal(x == NULL, d.err == ERR_NOMEM || d.err == ERR_STORE);
    struct queue *q = broker_declare_queue_as(c, SLICE("q"), &spec, &d);
    assert_int_equal(q == NULL, d.err == ERR_NOMEM);
    struct queue *made = broker_declare_queue_as(c, (struct slice){0}, &spec, &d);
    assert_int_equal(made == NULL, d.err == ERR_NOMEM);
    if (x && q)
        broker_bind(c, x, fake_filter(&ff, "a/+"), q, verb_next(c));
    if (x)
        broker_bind_exchange(c, v->topic_exchange, fake_filter(&ff, "a/#"), x, verb_next(c));
    const struct durable sub = {
        .key = SLICE("sub"), .exchange = v->topic_exchange, .filter = fake_filter(&ff, "a/#"), .opts = {.qos = 2}};
    struct consumer *k =
        broker_consume_durable(c, &sub, &(struct consume){.mode = ACK_EACH, .qos = 2, .receipt = verb_next(c)}, &d);
    if (d.err != ERR_OK)
        assert_null(map_get(&v->dsubs, SLICE("sub")));
    else if (!k)
        assert_null(map_get(&v->dsubs, SLICE("sub"))); /* it was new, so it went again */
    struct publish m = {.msg = {.topic = SLICE("a/b"), .payload = SLICE("x"), .qos = 1}, .receipt = verb_next(p)};
    broker_publish(p, &m);
    bool went_through = f->heap.calls < f->heap.fail_at;
    f->heap.fail_at = 0;
    fake_run(f);
    c = fake_login(f, "z", 0); /* the others may have been closed for want of memory */
    if (exchange_get(v, SLICE("x")) && x && x->binding_n)
        broker_delete_exchange(c, SLICE("x"), false, verb_next(c));
    broker_delete_queue(c, SLICE("q"), (struct queue_end){0}, verb_next(c));
    broker_end_durable(c, SLICE("sub"), verb_next(c));
    fake_run(f);
    fake_free(f);
    return went_through;
}

static void without_memory(void **state)
{
    (void)state;
    uint64_t nth = 1;
    while (!scenario(nth))
        nth++;
    assert_true(nth > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declare_exchange),
        cmocka_unit_test(exchange_differences),
        cmocka_unit_test(delete_exchange),
        cmocka_unit_test(auto_delete),
        cmocka_unit_test(declare_queue),
        cmocka_unit_test(queue_differences),
        cmocka_unit_test(exclusive),
        cmocka_unit_test(written_down),
        cmocka_unit_test(delete_queue),
        cmocka_unit_test(purge_and_pause),
        cmocka_unit_test(lapsed_is_empty),
        cmocka_unit_test(bindings),
        cmocka_unit_test(exchange_bindings),
        cmocka_unit_test(bindings_that_fail),
        cmocka_unit_test(answers_are_not_overheard),
        cmocka_unit_test(internal_exchanges),
        cmocka_unit_test(defaults_may_change),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests_name("topology", tests, NULL, NULL);
}
