/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_durable.c: durable subscriptions: they wait for their subscribers, compete, differ, end, and are in the store.
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

static struct consumer *subscribe(struct conn *c, const char *key, const char *filter, uint8_t retain_handling,
                                  const struct queue_spec *spec, struct declared *d)
{
    struct fake_filter ff;
    const struct durable sub = {.key = slice_from_str(key),
                                .exchange = filter ? c->session->vhost->topic_exchange : NULL,
                                .filter = filter ? fake_filter(&ff, filter) : NULL,
                                .opts = {.qos = 2, .retain_handling = retain_handling},
                                .spec = spec};
    const struct consume how = {.mode = ACK_EACH, .qos = 2, .receipt = verb_next(c)};
    struct consumer *k = broker_consume_durable(c, &sub, &how, d);
    if (d->err != ERR_OK) {
        uint32_t n = fake_count(verb_fake(c), FAKE_SETTLED);
        fake_run(verb_fake(c));
        assert_int_equal(fake_count(verb_fake(c), FAKE_SETTLED), n); /* not answered: it was not begun */
        assert_null(k);
        return NULL;
    }
    assert_int_equal(verb_answer(verb_fake(c), how.receipt), k ? ERR_OK : ERR_NOMEM);
    return k;
}

static enum err end_durable(struct conn *c, const char *key)
{
    uint64_t receipt = verb_next(c);
    broker_end_durable(c, slice_from_str(key), receipt);
    return verb_answer(verb_fake(c), receipt);
}

static void durable_subscriptions(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "", 0), *p = fake_login(f, "p", 0);
    struct declared d;
    assert_null(subscribe(c, "me/news", NULL, 2, NULL, &d));
    assert_int_equal(d.err, ERR_NOT_FOUND);
    struct consumer *k = subscribe(c, "me/news", "news/#", 2, NULL, &d);
    assert_true(k && d.is_new);
    assert_int_equal(fake_stat(f, STAT_DURABLE_SUBS), 1);
    assert_int_equal(k->queue->policy->overflow, OVERFLOW_DROP_HEAD);
    assert_true(queue_is_durable(k->queue));
    verb_stored(f, "queue me/news 2 own\nbind amq.topic news/#\n");
    verb_hang_up(c);
    assert_int_equal(verb_send(p, NULL, "news/1", "while away"), ERR_OK);
    assert_int_equal(verb_send(p, p->session->vhost->default_exchange, "me/news", "x"),
                     ERR_NO_MATCH); /* no such name */
    verb_stored(f, "queue me/news 2 own\nbind amq.topic news/#\npublish 1\n");
    c = fake_login(f, "", 0);
    k = subscribe(c, "me/news", "news/#", 2, NULL, &d);
    assert_true(k && !d.is_new);
    assert_string_equal(fake_last(f, FAKE_DELIVER)->payload, "while away");
    assert_int_equal(broker_settle(c, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_ACK), ERR_OK);
    struct conn *c2 = fake_login(f, "", 0); /* two compete */
    assert_non_null(subscribe(c2, "me/news", NULL, 2, NULL, &d));
    fake_forget(f);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(verb_send(p, NULL, "news/2", "shared"), ERR_OK);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, c), 2);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, c2), 2);
    assert_null(subscribe(c, "me/news", "other/#", 2, NULL, &d));
    assert_int_equal(d.err, ERR_EXISTS);
    assert_string_equal(d.differs, "destination");
    struct queue_spec spec;
    verb_spec(c, &spec, "x-message-ttl=500");
    assert_null(subscribe(c, "me/news", "news/#", 2, &spec, &d));
    assert_int_equal(d.err, ERR_EXISTS);
    assert_string_equal(d.differs, "x-message-ttl");
    assert_ptr_equal(broker_durable_find(c, SLICE("me/")), k->queue);
    assert_null(broker_durable_find(c, SLICE("you/")));
    assert_int_equal(end_durable(p, "me/new"), ERR_NOT_FOUND);
    store_mem_fail_append(f->store, f->shard->lsn_last + 1);
    assert_int_equal(end_durable(p, "me/news"), ERR_STORE);
    assert_int_equal(end_durable(p, "me/news"), ERR_OK);
    assert_int_equal(fake_count(f, FAKE_CONSUMER_GONE), 2);
    assert_int_equal(end_durable(p, "me/news"), ERR_NOT_FOUND);
    assert_int_equal(fake_stat(f, STAT_DURABLE_SUBS), 0);
    verb_stored(f, "");
    fake_free(f);
}

static void durable_errors(void **state)
{
    (void)state;
    struct fake *f = verb_fake_new();
    struct conn *c = fake_login(f, "c", 0);
    struct declared d;
    struct queue_spec spec;
    verb_spec(c, &spec, "exclusive=true");
    assert_null(subscribe(c, "k", "a", 2, &spec, &d));
    assert_int_equal(d.err, ERR_INVALID);
    verb_spec(c, &spec, "auto-delete=true");
    assert_null(subscribe(c, "k", "a", 2, &spec, &d));
    assert_int_equal(d.err, ERR_INVALID);
    assert_null(subscribe(c, "k", "#/#/#/#/#/#/#/#/#", 2, NULL, &d));
    assert_int_equal(d.err, ERR_TOO_BIG);
    f->shard->limits.queues_max = 1;
    assert_non_null(subscribe(c, "first", "a", 2, NULL, &d));
    assert_null(subscribe(c, "k", "a", 2, NULL, &d));
    assert_int_equal(d.err, ERR_FULL);
    f->shard->limits.queues_max = 0;
    for (lsn_t nth = 1; nth <= 2; nth++) {
        store_mem_fail_append(f->store, f->shard->lsn_last + nth);
        assert_null(subscribe(c, "k", "a", 2, NULL, &d));
        assert_int_equal(d.err, ERR_STORE);
        verb_stored(f, "queue first 2 own\nbind amq.topic a\n");
    }
    verb_spec(c, &spec, "durable=false");
    assert_non_null(subscribe(c, "brief", "a", 2, &spec, &d));
    verb_stored(f, "queue first 2 own\nbind amq.topic a\n");
    assert_int_equal(fake_stat(f, STAT_DURABLE_SUBS), 2);
    fake_free(f);
}

static void durable_retained(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0);
    struct msgview v = {.topic = SLICE("a/b"), .payload = SLICE("kept"), .qos = 1, .flags = MSG_RETAIN};
    struct declared d;
    assert_int_equal(fake_pub_view(p, &v, NULL, 0), ERR_NO_MATCH);
    static const uint32_t expected[3][2] = {{1, 1}, {1, 0}, {0, 0}}; /* by retain handling: when new, when not */
    for (uint8_t how = 0; how < 3; how++) {
        for (unsigned again = 0; again < 2; again++) {
            struct conn *c = fake_login(f, "", 0);
            char key[8];
            snprintf(key, sizeof(key), "k%u", how);
            fake_forget(f);
            struct consumer *k = subscribe(c, key, "a/#", how, NULL, &d);
            assert_non_null(k);
            assert_int_equal(fake_count(f, FAKE_DELIVER), expected[how][again]);
            for (uint32_t i = 0; i < expected[how][again]; i++) {
                const struct fake_event *e = fake_nth(f, FAKE_DELIVER, i);
                assert_true(e->is_retained);
                assert_int_equal(broker_settle(c, e->ticket, OUTCOME_ACK), ERR_OK);
            }
            verb_hang_up(c);
        }
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(durable_subscriptions), cmocka_unit_test(durable_errors),
                                       cmocka_unit_test(durable_retained)};
    return cmocka_run_group_tests_name("durable", tests, NULL, NULL);
}
