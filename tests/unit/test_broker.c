/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_broker.c: every verb's results as broker.h states them: what is answered, and that anything but ERR_OK changed
 * nothing. Publishing first, then subscribing and consuming, then settling.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake.h"

static enum err result_of(const struct fake *f, uint64_t receipt)
{
    enum err e = ERR_AGAIN;
    for (uint32_t i = 0; i < f->event_n; i++)
        if (f->event[i].what == FAKE_SETTLED && f->event[i].receipt == receipt) {
            assert_int_equal(e, ERR_AGAIN); /* exactly one answer */
            e = f->event[i].result;
        }
    return e;
}

static enum err to_queue(struct conn *p, const char *name, const char *payload)
{
    struct msgview v = {.topic = slice_from_str(name), .payload = slice_from_str(payload), .qos = 1};
    return fake_pub_view(p, &v, p->shard->vhost->default_exchange, 0);
}

static enum err retain(struct conn *p, const char *topic, const char *payload)
{
    struct msgview v = {
        .topic = slice_from_str(topic), .payload = slice_from_str(payload), .qos = 1, .flags = MSG_RETAIN};
    return fake_pub_view(p, &v, NULL, 0);
}

/* ---- publish ------------------------------------------------------------------------------------------------- */

static void who_may_log_in(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.refuses_anonymous = true;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_conn(f);
    struct attach a = fake_attach("a", 0);
    broker_attach(c, &a);
    assert_int_equal(fake_last(f, FAKE_ATTACHED)->result, ERR_DENIED);
    assert_null(c->session);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 0);
    fake_free(f);
}

/* sessions_max: somebody new is refused, and nothing of him is left; a clean start makes room for itself. */
static void the_session_limit(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.sessions_max = 1;
    struct fake *f = fake_new(&config);
    assert_non_null(fake_login(f, "a", 100));
    struct conn *c = fake_conn(f);
    struct attach a = fake_attach("b", 0);
    broker_attach(c, &a);
    assert_int_equal(fake_last(f, FAKE_ATTACHED)->result, ERR_FULL);
    assert_null(c->session);
    c = fake_conn(f);
    a = fake_attach("a", 0);
    a.clean_start = true;
    broker_attach(c, &a);
    assert_int_equal(fake_last(f, FAKE_ATTACHED)->result, ERR_OK);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 1);
    fake_free(f);
}

static void the_queue_limit(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.queues_max = 1;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "a", 0);
    enum err e;
    struct queue *q = broker_declare_queue(c, SLICE("one"), &e);
    assert_non_null(q);
    assert_null(broker_declare_queue(c, SLICE("two"), &e));
    assert_int_equal(e, ERR_FULL);
    assert_ptr_equal(broker_declare_queue(c, SLICE("one"), &e), q);
    fake_free(f);
}

/* the broker's own topics are nobody's to write, whatever the flags; neighbours in name are. */
static void sys_is_read_only(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    assert_int_equal(fake_sub(s, "$SYS/#", 1), ERR_OK);
    static const char *const no[] = {"$SYS", "$SYS/", "$SYS/broker/x", "$SYS//"}, *const yes[] = {"$SYSTEM", "$SY",
                                                                                                  "a/$SYS/b", "$sys/x"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(fake_pub(p, no[i], "x", 1), ERR_DENIED);
        assert_int_equal(retain(p, no[i], "x"), ERR_DENIED);
        assert_int_equal(fake_pub(p, yes[i], "x", 1), ERR_NO_MATCH);
        assert_int_equal(fake_pub(p, no[i], "x", 1), ERR_DENIED); /* also after a remembered route */
    }
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    assert_int_equal(f->shard->vhost->retained.n, 0);
    struct msgview v = {.topic = SLICE("$SYS/broker/x"), .payload = SLICE("1"), .flags = MSG_RETAIN};
    assert_int_equal(broker_publish_shard(f->shard->vhost, NULL, &v), ERR_OK); /* the broker itself may */
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    fake_free(f);
}

static void too_deep(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.topic_levels_max = 5;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "c", 0);
    struct fake_filter ff;
    assert_int_equal(fake_sub(c, "#", 1), ERR_OK);
    assert_int_equal(fake_sub(c, "1/2/3/4/5", 1), ERR_OK);
    assert_int_equal(fake_sub(c, "1/2/3/4/5/6", 1), ERR_TOO_BIG);
    assert_int_equal(fake_sub(c, "1/2/3/4/5/#", 1), ERR_TOO_BIG);
    assert_null(broker_consume_filter(c, NULL, fake_filter(&ff, "1/2/3/4/5/6"), &(struct binding_opts){.qos = 1},
                                      &(struct consume){.receipt = 900}));
    assert_int_equal(result_of(f, 900), ERR_TOO_BIG);
    assert_int_equal(fake_pub(c, "1/2/3/4/5", "x", 0), ERR_OK);
    assert_int_equal(fake_pub(c, "1/2/3/4/5/6", "x", 0), ERR_TOO_BIG);
    assert_int_equal(fake_pub(c, "/////", "x", 0), ERR_TOO_BIG);
    assert_int_equal(c->session->binding_n, 2);
    assert_int_equal(fake_stat(f, STAT_QUEUES), 1);
    fake_free(f);
}

/* one queue that refuses among many that would take it: nobody gets it, nothing is retained, no id is remembered. */
static void all_or_nothing(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s[4];
    struct vhost *v = f->shard->vhost;
    struct queue_policy policy = {.len_max = 1, .overflow = OVERFLOW_REJECT, .keep_qos0 = true};
    struct queue *q = queue_new(v, SLICE("full"), &policy, true, NULL);
    struct fake_filter ff;
    struct binding *b;
    bool is_new;
    for (unsigned i = 0; i < 4; i++) {
        char id[8];
        snprintf(id, sizeof(id), "%u", i);
        s[i] = fake_login(f, id, 0);
        assert_int_equal(fake_sub(s[i], "t/#", (uint8_t)(i % 3)), ERR_OK);
        if (i == 1)
            assert_int_equal(router_bind(&v->router, v->topic_exchange, fake_filter(&ff, "#"), q,
                                         &(struct binding_opts){.qos = 1}, &b, &is_new),
                             ERR_OK);
    }
    struct msgview m = {.topic = SLICE("t/1"), .payload = SLICE("x"), .qos = 2, .flags = MSG_RETAIN};
    assert_int_equal(fake_pub_view(p, &m, NULL, 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 4);
    m.topic = SLICE("t/2");
    for (uint8_t qos = 0; qos < 3; qos++) {
        m.qos = qos;
        assert_int_equal(fake_pub_view(p, &m, NULL, qos == 2 ? 2 : 0), ERR_FULL);
    }
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 4);
    assert_int_equal(v->retained.n, 1);
    assert_false(broker_rx_is_open(p, 2));
    assert_true(broker_rx_is_open(p, 1));
    assert_int_equal(q->ready_n, 1);
    assert_int_equal(fake_stat(f, STAT_REFUSED), 3);
    assert_int_equal(queue_purge(q, STAT_DROP_CLOSED), 1); /* room again */
    assert_int_equal(fake_pub_view(p, &m, NULL, 2), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 8);
    fake_free(f);
}

/* [MQTT-4.3.3-10], [MQTT-4.3.3-12]: a repetition is answered and not published; after PUBREL the id is new. */
static void inbound_qos_2(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 100), *s = fake_login(f, "s", 0);
    assert_int_equal(fake_sub(s, "t", 2), ERR_OK);
    struct msgview m = {.topic = SLICE("t"), .payload = SLICE("x"), .qos = 2};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake_pub_view(p, &m, NULL, 7), ERR_OK);
    m.topic = SLICE("nobody");
    assert_int_equal(fake_pub_view(p, &m, NULL, 8), ERR_NO_MATCH);
    assert_int_equal(fake_pub_view(p, &m, NULL, 8), ERR_OK); /* remembered though nobody wanted it */
    assert_int_equal(broker_rx_n(p), 2);
    fake_pipe_of(p)->is_reset = true;
    fake_run(f);
    p = fake_login(f, "p", 100); /* ids outlive the connection */
    m.topic = SLICE("t");
    assert_int_equal(fake_pub_view(p, &m, NULL, 7), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    broker_rx_release(p, 7, 500);
    broker_rx_release(p, 7, 501);
    assert_int_equal(result_of(f, 500), ERR_OK);
    assert_int_equal(result_of(f, 501), ERR_NOT_FOUND);
    assert_int_equal(fake_pub_view(p, &m, NULL, 7), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 2);
    fake_free(f);
}

/* [MQTT-3.3.4-2], [MQTT-3.3.4-4], [MQTT-3.8.4-8]: once, with the highest QoS and all ids. */
static void overlapping_subscriptions(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    assert_int_equal(fake_sub_opts(s, "a/+", &(struct binding_opts){.qos = 0, .sub_id = 30}), ERR_OK);
    assert_int_equal(fake_sub_opts(s, "a/b", &(struct binding_opts){.qos = 2, .sub_id = 20}), ERR_OK);
    assert_int_equal(fake_sub_opts(s, "#", &(struct binding_opts){.qos = 1}), ERR_OK);
    assert_int_equal(
        fake_sub_opts(s, "+/b", &(struct binding_opts){.qos = 1, .sub_id = 20, .retain_as_published = true}), ERR_OK);
    for (uint8_t qos = 0; qos < 3; qos++) {
        struct msgview m = {.topic = SLICE("a/b"), .payload = SLICE("x"), .qos = qos, .flags = MSG_RETAIN};
        assert_int_equal(fake_pub_view(p, &m, NULL, 0), ERR_OK);
        fake_run(f);
        const struct fake_event *e = fake_last(f, FAKE_DELIVER);
        assert_int_equal(fake_count(f, FAKE_DELIVER), qos + 1);
        assert_int_equal(e->qos, qos);
        assert_int_equal(e->sub_id_n, 3);
        assert_true(e->sub_id[0] == 20 && e->sub_id[1] == 20 && e->sub_id[2] == 30);
        assert_true(e->retain && !e->is_retained); /* [MQTT-3.3.1-13] one of them wants the flag as published */
    }
    assert_int_equal(fake_unsub(s, "a/b"), ERR_OK);
    assert_int_equal(fake_unsub(s, "+/b"), ERR_OK);
    assert_int_equal(fake_unsub(s, "+/b"), ERR_NOT_FOUND);
    assert_int_equal(retain(p, "a/b", "x"), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_last(f, FAKE_DELIVER)->qos, 1);
    assert_int_equal(fake_last(f, FAKE_DELIVER)->sub_id_n, 1);
    assert_false(fake_last(f, FAKE_DELIVER)->retain); /* [MQTT-3.3.1-12] */
    fake_free(f);
}

/* [MQTT-3.8.3-3]: per subscription, before they are merged. */
static void no_local(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *me = fake_login(f, "me", 100), *you = fake_login(f, "you", 0);
    struct binding_opts no = {.qos = 2, .no_local = true, .sub_id = 1};
    assert_int_equal(fake_sub_opts(me, "t/#", &no), ERR_OK);
    assert_int_equal(fake_sub_opts(you, "t/#", &no), ERR_OK);
    for (uint8_t qos = 0; qos < 3; qos++) {
        fake_forget(f);
        assert_int_equal(fake_pub(me, "t/1", "x", qos), ERR_OK);
        fake_run(f);
        assert_int_equal(fake_count_of(f, FAKE_DELIVER, me), 0);
        assert_int_equal(fake_count_of(f, FAKE_DELIVER, you), 1);
    }
    assert_int_equal(fake_sub_opts(me, "t/+", &(struct binding_opts){.qos = 1, .sub_id = 2}), ERR_OK);
    fake_forget(f);
    assert_int_equal(fake_pub(me, "t/1", "x", 2), ERR_OK); /* the other one lets it in, with its own QoS and id */
    fake_run(f);
    const struct fake_event *e = NULL;
    for (uint32_t i = 0; i < fake_count(f, FAKE_DELIVER); i++)
        if (fake_nth(f, FAKE_DELIVER, i)->conn == fake_number(me))
            e = fake_nth(f, FAKE_DELIVER, i);
    assert_non_null(e);
    assert_int_equal(e->qos, 1);
    assert_int_equal(e->sub_id_n, 1);
    assert_int_equal(e->sub_id[0], 2);
    fake_forget(f);
    assert_int_equal(fake_pub(you, "t/1", "x", 2), ERR_OK); /* from somebody else: both */
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, me), 1);
    assert_int_equal(fake_last(f, FAKE_DELIVER)->sub_id_n, 2);
    fake_free(f);
}

static void qos0_for_somebody_offline(void **state)
{
    (void)state;
    for (unsigned keep = 0; keep < 2; keep++) {
        struct fake_config config;
        fake_config_init(&config);
        config.queue_qos0 = keep;
        struct fake *f = fake_new(&config);
        struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 100);
        assert_int_equal(fake_sub(s, "t", 2), ERR_OK);
        fake_pipe_of(s)->is_reset = true;
        fake_run(f);
        assert_int_equal(fake_pub(p, "t", "0", 0), ERR_OK);
        assert_int_equal(fake_pub(p, "t", "1", 1), ERR_OK);
        assert_int_equal(fake_stat(f, STAT_DROP_OFFLINE), !keep);
        s = fake_login(f, "s", 100);
        fake_run(f);
        assert_int_equal(fake_count(f, FAKE_DELIVER), 1 + keep);
        fake_free(f);
    }
}

/* the way straight out and the way through the log's copy say the same to the receiver. */
static void large_and_small_payloads(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    static char payload[200001];
    size_t n = 0;
    assert_int_equal(fake_sub(s, "t", 2), ERR_OK);
    for (size_t len = 0; len <= 200000; len = len * 3 + 1) {
        for (uint8_t qos = 0; qos < 3; qos++) {
            memset(payload, 'a' + qos, len);
            payload[len] = 0;
            assert_int_equal(fake_pub(p, "t", payload, qos), ERR_OK);
            fake_run(f);
            n += len;
            assert_int_equal(fake_last(f, FAKE_DELIVER)->len, len);
            assert_int_equal(fake_pipe_of(s)->out.len, n);
            if (len)
                assert_int_equal(fake_pipe_of(s)->out.p[n - 1], 'a' + qos);
        }
    }
    fake_free(f);
}

/* a topic that anybody published to lately needs no checking; but never one that begins with '$'. */
static void known_topics(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *q = fake_login(f, "q", 0);
    assert_false(broker_topic_is_known(q, SLICE("a/b")));
    assert_int_equal(fake_pub(p, "a/b", "1", 0), ERR_NO_MATCH);
    assert_int_equal(fake_pub(p, "$x/y", "1", 0), ERR_NO_MATCH);
    assert_true(broker_topic_is_last(p, SLICE("$x/y")));
    assert_false(broker_topic_is_known(q, SLICE("$x/y")));
    assert_false(broker_topic_is_known(q, SLICE("a/")));
    assert_false(broker_topic_is_known(q, SLICE("")));
    assert_true(broker_topic_is_known(q, SLICE("a/b")));
    assert_true(broker_topic_is_last(q, SLICE("a/b")));
    assert_int_equal(fake_sub(q, "c", 0), ERR_OK); /* what is remembered is out of date */
    assert_false(broker_topic_is_known(p, SLICE("a/b")));
    fake_free(f);
}

/* ---- retain -------------------------------------------------------------------------------------------------- */

static uint32_t replayed(struct fake *f, struct conn *s, const char *filter, const struct binding_opts *o)
{
    fake_forget(f);
    assert_int_equal(fake_sub_opts(s, filter, o), ERR_OK);
    fake_run(f);
    return fake_count(f, FAKE_DELIVER);
}

/* [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]; 3.1.1: [MQTT-3.3.1-6], [MQTT-3.3.1-8] */
static void retain_handling(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    assert_int_equal(retain(p, "a", "1"), ERR_NO_MATCH);
    assert_int_equal(retain(p, "b/c", "2"), ERR_NO_MATCH);
    struct binding_opts always = {.qos = 1}, once = {.qos = 1, .retain_handling = 1},
                        never = {.qos = 1, .retain_handling = 2};
    assert_int_equal(replayed(f, s, "#", &never), 0);
    assert_int_equal(replayed(f, s, "#", &once), 0); /* it exists already */
    assert_int_equal(replayed(f, s, "#", &always), 2);
    assert_int_equal(replayed(f, s, "#", &always), 2);
    assert_int_equal(replayed(f, s, "+/c", &once), 1);
    assert_true(fake_last(f, FAKE_DELIVER)->retain && fake_last(f, FAKE_DELIVER)->is_retained);
    assert_int_equal(fake_last(f, FAKE_DELIVER)->qos, 1);
    assert_int_equal(retain(p, "a", ""), ERR_OK); /* cleared; and the live copy is no retained one */
    fake_run(f);
    assert_false(fake_last(f, FAKE_DELIVER)->retain);
    assert_int_equal(replayed(f, s, "#", &always), 1);
    assert_int_equal(fake_pub(p, "b/c", "3", 1), ERR_OK); /* not retained: the old one stays */
    assert_string_equal(fake_last(f, FAKE_DELIVER)->payload, "3");
    assert_int_equal(replayed(f, s, "b/#", &always), 1);
    assert_string_equal(fake_nth(f, FAKE_DELIVER, 0)->payload, "2");
    fake_free(f);
}

static void retain_not_available(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.no_retain = true;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0);
    assert_int_equal(fake_sub(p, "#", 1), ERR_OK);
    assert_int_equal(retain(p, "a", "1"), ERR_UNSUPPORTED);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    assert_int_equal(fake_pub(p, "a", "1", 1), ERR_OK);
    fake_free(f);
}

static void retained_limit(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.retained_max = 1;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0);
    assert_int_equal(fake_sub(p, "b", 1), ERR_OK);
    assert_int_equal(retain(p, "a", "1"), ERR_NO_MATCH);
    assert_int_equal(retain(p, "b", "1"), ERR_FULL);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0); /* refused is refused */
    assert_int_equal(retain(p, "a", "2"), ERR_NO_MATCH);
    assert_int_equal(retain(p, "a", ""), ERR_NO_MATCH);
    assert_int_equal(retain(p, "b", "1"), ERR_OK);
    fake_free(f);
}

/* DESIGN §3: while a replay is open, no old value follows a newer one of the same topic. */
static void no_old_value_after_a_new_one(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.session_queue_max = 8;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    s->session->quota = 1;
    for (unsigned i = 0; i < 20; i++) {
        char topic[16];
        snprintf(topic, sizeof(topic), "r/%u", i);
        assert_int_equal(retain(p, topic, "old"), ERR_NO_MATCH);
    }
    assert_int_equal(fake_sub(s, "r/+", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_pub(p, "r/19", "live", 1), ERR_OK);
    bool seen = false;
    for (unsigned i = 0; i < 21; i++) {
        fake_run(f);
        const struct fake_event *e = fake_last(f, FAKE_DELIVER);
        if (strcmp(e->topic, "r/19") == 0) {
            if (strcmp(e->payload, "live") == 0)
                seen = true;
            else
                assert_false(seen);
        }
        if (s->session->tickets.n)
            assert_int_equal(broker_settle(s, e->ticket, OUTCOME_ACK), ERR_OK);
    }
    assert_true(seen);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 21);
    fake_free(f);
}

/* ---- subscribe and consume ----------------------------------------------------------------------------------- */

static void subscription_limit(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.subscriptions_max = 2;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "c", 0);
    assert_int_equal(fake_sub(c, "a", 1), ERR_OK);
    assert_int_equal(fake_sub(c, "b", 1), ERR_OK);
    assert_int_equal(fake_sub(c, "c", 1), ERR_FULL);
    assert_int_equal(fake_sub(c, "a", 2), ERR_OK); /* not one more */
    assert_int_equal(fake_unsub(c, "b"), ERR_OK);
    assert_int_equal(fake_unsub(c, "b"), ERR_NOT_FOUND);
    assert_int_equal(fake_sub(c, "c", 1), ERR_OK);
    assert_int_equal(c->session->binding_n, 2);
    fake_free(f);
}

/* [MQTT-3.10.4-2], [MQTT-3.10.4-3]: nothing new, but what waits is still delivered. */
static void unsubscribe_keeps_what_waits(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    assert_int_equal(fake_unsub(s, "t"), ERR_NOT_FOUND); /* no queue yet */
    s->session->quota = 1;
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_unsub(s, "t"), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_NO_MATCH);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(broker_settle(s, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_ACK), ERR_OK);
        fake_run(f);
    }
    assert_int_equal(fake_count(f, FAKE_DELIVER), 3);
    fake_free(f);
}

static void declare_queue(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "c", 0);
    static char name[300];
    enum err e;
    memset(name, 'q', sizeof(name));
    assert_null(broker_declare_queue(c, (struct slice){0}, &e));
    assert_int_equal(e, ERR_INVALID);
    assert_null(broker_declare_queue(c, slice_make(name, 256), &e));
    assert_int_equal(e, ERR_TOO_BIG);
    struct queue *q = broker_declare_queue(c, slice_make(name, 255), &e);
    assert_non_null(q);
    assert_int_equal(e, ERR_OK);
    assert_ptr_equal(broker_declare_queue(c, slice_make(name, 255), &e), q);
    assert_true(q->policy->durable && !q->policy->exclusive && q->policy->overflow == OVERFLOW_REJECT);
    fake_pipe_of(c)->is_reset = true;
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_QUEUES), 1); /* it is nobody's own */
    fake_free(f);
}

static void consume_by_filter(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "", 0);
    struct exchange *fanout = exchange_get(f->shard->vhost, SLICE("amq.fanout"));
    struct fake_filter ff;
    char mine[2];
    assert_int_equal(retain(p, "a/b", "old"), ERR_NO_MATCH);
    struct consume how = {.mode = ACK_NONE, .qos = 2, .up = &mine[0], .receipt = 700};
    struct consumer *k =
        broker_consume_filter(s, NULL, fake_filter(&ff, "a/+"), &(struct binding_opts){.qos = 2}, &how);
    how.up = &mine[1];
    how.receipt = 701;
    struct consumer *all =
        broker_consume_filter(s, fanout, &(struct filter){NULL, 0}, &(struct binding_opts){.qos = 2}, &how);
    how.receipt = 702;
    assert_null(broker_consume_filter(s, fanout, fake_filter(&ff, "a"), &(struct binding_opts){.qos = 2}, &how));
    assert_true(k && all && k->queue != all->queue);
    assert_int_equal(result_of(f, 700), ERR_OK);
    assert_int_equal(result_of(f, 701), ERR_OK);
    assert_int_equal(result_of(f, 702), ERR_INVALID);
    assert_int_equal(fake_stat(f, STAT_QUEUES), 2);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1); /* the retained one */
    assert_ptr_equal(fake_last(f, FAKE_DELIVER)->up, &mine[0]);
    assert_int_equal(fake_pub(p, "a/b", "new", 2), ERR_OK);
    struct msgview v = {.topic = SLICE("key"), .payload = SLICE("fan"), .qos = 1};
    assert_int_equal(fake_pub_view(p, &v, fanout, 0), ERR_OK);
    fake_run(f);
    assert_ptr_equal(fake_last(f, FAKE_DELIVER)->up, &mine[1]);
    assert_int_equal(fake_last(f, FAKE_DELIVER)->ticket, 0);
    broker_cancel(s, k, 703);
    assert_int_equal(result_of(f, 703), ERR_OK);
    assert_int_equal(fake_pub(p, "a/b", "new", 2), ERR_NO_MATCH);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_QUEUES), 1);
    assert_int_equal(fake_count(f, FAKE_CONSUMER_GONE), 0); /* it was the peer's own wish */
    fake_free(f);
}

/* ---- settle -------------------------------------------------------------------------------------------------- */

static void outcomes_by_state(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    assert_int_equal(fake_sub(s, "t", 2), ERR_OK);
    assert_int_equal(broker_settle(s, 1, OUTCOME_ACK), ERR_NOT_FOUND);
    assert_int_equal(broker_settle(s, 0, OUTCOME_ACK), ERR_NOT_FOUND);
    assert_int_equal(fake_pub(p, "t", "1", 1), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "2", 2), ERR_OK);
    fake_run(f);
    uint32_t one = fake_nth(f, FAKE_DELIVER, 0)->ticket, two = fake_nth(f, FAKE_DELIVER, 1)->ticket;
    assert_int_equal(broker_settle(s, one, OUTCOME_COMPLETE), ERR_PROTOCOL);
    assert_int_equal(broker_settle(s, one, OUTCOME_RECEIVED), ERR_PROTOCOL);
    assert_int_equal(broker_settle(s, two, OUTCOME_ACK), ERR_PROTOCOL);
    assert_int_equal(broker_settle(s, two, OUTCOME_COMPLETE), ERR_PROTOCOL);
    assert_int_equal(broker_settle(s, two, OUTCOME_REJECT), ERR_PROTOCOL);
    assert_int_equal(broker_settle(s, one, OUTCOME_REFUSED), ERR_PROTOCOL);
    assert_int_equal(fake_count(f, FAKE_RELEASE), 0);
    assert_int_equal(s->session->tickets.n, 2); /* nothing was changed */
    assert_int_equal(broker_settle(s, two, OUTCOME_RECEIVED), ERR_OK);
    assert_int_equal(fake_last(f, FAKE_RELEASE)->ticket, two);
    assert_int_equal(broker_settle(s, two, OUTCOME_RECEIVED), ERR_OK); /* PUBREC again: PUBREL again */
    assert_int_equal(fake_count(f, FAKE_RELEASE), 2);
    assert_int_equal(broker_settle(s, two, OUTCOME_ACK), ERR_PROTOCOL);
    assert_int_equal(broker_settle(s, two, OUTCOME_REFUSED), ERR_PROTOCOL); /* too late: [MQTT-4.3.3-5] */
    assert_int_equal(s->session->sent_n, 2); /* MQTT 5 §4.9: the slot comes back with PUBCOMP */
    assert_int_equal(broker_settle(s, two, OUTCOME_COMPLETE), ERR_OK);
    assert_int_equal(broker_settle(s, two, OUTCOME_COMPLETE), ERR_NOT_FOUND);
    assert_int_equal(broker_settle(s, one, OUTCOME_REJECT), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_DROP_REJECTED), 1);
    assert_int_equal(fake_stat(f, STAT_SETTLED), 1);
    assert_int_equal(s->session->sent_n, 0);
    fake_free(f);
}

/* somebody else's ticket is not one's own. */
static void tickets_are_per_session(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0), *t = fake_login(f, "t", 0);
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "1", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(broker_settle(t, 1, OUTCOME_ACK), ERR_NOT_FOUND);
    assert_int_equal(broker_settle_until(t, 1, OUTCOME_ACK), ERR_NOT_FOUND);
    assert_int_equal(broker_settle(s, 1, OUTCOME_ACK), ERR_OK);
    fake_free(f);
}

static struct consumer *consume(struct conn *c, const char *name, enum ack_mode mode, uint32_t prefetch)
{
    enum err e;
    struct queue *q = broker_declare_queue(c, slice_from_str(name), &e);
    assert_non_null(q);
    return broker_consume_queue(
        c, q, &(struct consume){.mode = mode, .prefetch = prefetch, .qos = 2, .receipt = RECEIPT_NONE});
}

/* STOMP 1.2 §ACK: a cumulative ACK settles everything of its own subscription up to it, and nothing of another. */
static void cumulative(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "", 0);
    struct consumer *a = consume(s, "a", ACK_CUMULATIVE, 0), *b = consume(s, "b", ACK_CUMULATIVE, 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(to_queue(p, "a", "a"), ERR_OK);
        assert_int_equal(to_queue(p, "b", "b"), ERR_OK);
    }
    fake_run(f);
    uint32_t third = 0, n = 0;
    for (uint32_t i = 0; i < fake_count(f, FAKE_DELIVER); i++)
        if (fake_nth(f, FAKE_DELIVER, i)->consumer == a && ++n == 3)
            third = fake_nth(f, FAKE_DELIVER, i)->ticket;
    assert_int_equal(broker_settle_until(s, third, OUTCOME_ACK), ERR_OK);
    assert_int_equal(a->inflight_n, 2);
    assert_int_equal(b->inflight_n, 5);
    assert_int_equal(broker_settle_until(s, third, OUTCOME_ACK), ERR_NOT_FOUND);
    assert_int_equal(fake_stat(f, STAT_SETTLED), 3);
    fake_forget(f);
    b->prefetch = 1; /* nothing comes back while we look */
    uint32_t last = LIST_ITEM(list_last(&s->session->inflight), struct entry, node)->ticket;
    struct consumer *of_last = flight_consumer(tickets_get(s->session, last));
    assert_int_equal(broker_settle_until(s, last, OUTCOME_REQUEUE), ERR_OK);
    assert_int_equal(of_last->inflight_n, 0);
    assert_int_equal(of_last->queue->ready_n, of_last == b ? 5 : 2);
    uint64_t seq = 0;
    LIST_EACH(&of_last->queue->ready, it) /* back in the original order */
    {
        assert_true(LIST_ITEM(it, struct entry, node)->seq >= seq);
        seq = LIST_ITEM(it, struct entry, node)->seq;
    }
    fake_run(f);
    fake_free(f);
}

/* a subscription that ended: its deliveries stay answerable, one by one and cumulatively. */
static void settle_after_cancel(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "", 0);
    struct consumer *k = consume(s, "q", ACK_CUMULATIVE, 0);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(to_queue(p, "q", "x"), ERR_OK);
    fake_run(f);
    broker_cancel(s, k, RECEIPT_NONE);
    assert_int_equal(broker_settle_until(s, fake_nth(f, FAKE_DELIVER, 2)->ticket, OUTCOME_ACK), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_SETTLED), 3);
    assert_int_equal(broker_settle(s, fake_nth(f, FAKE_DELIVER, 5)->ticket, OUTCOME_REQUEUE), ERR_OK);
    fake_run(f);
    assert_int_equal(s->session->tickets.n, 2);
    struct conn *t = fake_login(f, "", 0);
    consume(t, "q", ACK_EACH, 0);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, t), 1);
    fake_pipe_of(s)->is_reset = true;
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, t), 3);
    fake_free(f);
}

static void ack_modes(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "", 0);
    struct consumer *none = consume(s, "none", ACK_NONE, 1), *each = consume(s, "each", ACK_EACH, 2);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(to_queue(p, "none", "n"), ERR_OK);
        struct msgview v = {.topic = SLICE("each"), .payload = SLICE("e"), .qos = 0}; /* its QoS does not matter */
        assert_int_equal(fake_pub_view(p, &v, f->shard->vhost->default_exchange, 0), ERR_OK);
    }
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 6);
    assert_int_equal(none->inflight_n, 0);
    assert_int_equal(each->inflight_n, 2);
    assert_int_equal(s->session->tickets.n, 2);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_may_log_in),
        cmocka_unit_test(the_session_limit),
        cmocka_unit_test(the_queue_limit),
        cmocka_unit_test(sys_is_read_only),
        cmocka_unit_test(too_deep),
        cmocka_unit_test(all_or_nothing),
        cmocka_unit_test(inbound_qos_2),
        cmocka_unit_test(overlapping_subscriptions),
        cmocka_unit_test(no_local),
        cmocka_unit_test(qos0_for_somebody_offline),
        cmocka_unit_test(large_and_small_payloads),
        cmocka_unit_test(known_topics),
        cmocka_unit_test(retain_handling),
        cmocka_unit_test(retain_not_available),
        cmocka_unit_test(retained_limit),
        cmocka_unit_test(no_old_value_after_a_new_one),
        cmocka_unit_test(subscription_limit),
        cmocka_unit_test(unsubscribe_keeps_what_waits),
        cmocka_unit_test(declare_queue),
        cmocka_unit_test(consume_by_filter),
        cmocka_unit_test(outcomes_by_state),
        cmocka_unit_test(tickets_are_per_session),
        cmocka_unit_test(cumulative),
        cmocka_unit_test(settle_after_cancel),
        cmocka_unit_test(ack_modes),
    };
    return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
