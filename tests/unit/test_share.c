/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_share.c: queues that several sessions consume: who gets what when members are slow, offline, leave, come back or
 * end; what is a member's own; what the store hears of it; and what memory failures leave behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "persist/store_image.h"
#include "tests/support/fake.h"

static enum err answer(struct fake *f, uint64_t receipt)
{
    const struct fake_event *e = fake_last(f, FAKE_SETTLED);
    return e && e->receipt == receipt ? e->result : ERR_AGAIN;
}

static enum err join_opts(struct conn *c, const char *group, const char *filter, const struct binding_opts *o)
{
    struct fake *f = fake_pipe_of(c)->fake;
    struct fake_filter ff;
    uint64_t receipt = f->receipt_next++;
    broker_subscribe_group(c, slice_from_str(group), fake_filter(&ff, filter), o, receipt);
    return answer(f, receipt);
}

static enum err join(struct conn *c, const char *group, const char *filter, uint8_t qos)
{
    return join_opts(c, group, filter, &(struct binding_opts){.qos = qos});
}

static enum err leave(struct conn *c, const char *group, const char *filter)
{
    struct fake *f = fake_pipe_of(c)->fake;
    struct fake_filter ff;
    uint64_t receipt = f->receipt_next++;
    broker_unsubscribe_group(c, slice_from_str(group), fake_filter(&ff, filter), receipt);
    return answer(f, receipt);
}

static enum err consume(struct conn *c, const char *queue, uint8_t qos)
{
    struct fake *f = fake_pipe_of(c)->fake;
    uint64_t receipt = f->receipt_next++;
    broker_subscribe_queue(c, slice_from_str(queue), &(struct binding_opts){.qos = qos}, receipt);
    return answer(f, receipt);
}

static enum err consume_group(struct conn *c, const char *group, const char *filter)
{
    struct fake *f = fake_pipe_of(c)->fake;
    struct fake_filter ff;
    struct consume how = {.mode = ACK_EACH, .qos = 2, .receipt = f->receipt_next++};
    (void)broker_consume_group(c, slice_from_str(group), fake_filter(&ff, filter), &how);
    return answer(f, how.receipt);
}

static void hang_up(struct conn *c)
{
    fake_pipe_of(c)->is_reset = true;
    struct fake *f = fake_pipe_of(c)->fake;
    conn_on_io(c->transport, LOOP_READ);
    fake_run(f);
}

static uint64_t group_n(const struct fake *f)
{
    return fake_stat(f, STAT_GROUPS);
}

/* ---- who gets it --------------------------------------------------------------------------------------------- */

static void one_of_them_gets_each(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *m[3], *p = fake_login(f, "p", 0);
    for (unsigned i = 0; i < 3; i++) {
        m[i] = fake_login(f, (const char *[]){"a", "b", "c"}[i], i == 0 ? 100 : 0);
        assert_int_equal(join(m[i], "g", "t/+", 1), ERR_OK);
    }
    assert_int_equal(group_n(f), 1);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(fake_pub(p, "t/x", "hello", i % 2), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 30);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake_count_of(f, FAKE_DELIVER, m[i]), 10);
    assert_int_equal(fake_pub(p, "t/x/y", "hello", 1), ERR_NO_MATCH);
    fake_free(f);
}

/* another filter or another group name is another group; a plain subscription of the same session is none of it. */
static void groups_are_told_apart(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *a = fake_login(f, "a", 0), *b = fake_login(f, "b", 0), *p = fake_login(f, "p", 0);
    assert_int_equal(join(a, "g", "t/+", 1), ERR_OK);
    assert_int_equal(join(b, "g", "t/#", 1), ERR_OK);
    assert_int_equal(join(b, "h", "t/+", 1), ERR_OK);
    assert_int_equal(fake_sub(a, "t/+", 1), ERR_OK);
    assert_int_equal(group_n(f), 3);
    assert_int_equal(fake_pub(p, "t/1", "x", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, a), 2);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, b), 2);
    fake_free(f);
}

/* a member whose window is full gets nothing until it answers; the others do its share. */
static void by_credit(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *slow = fake_conn(f), *fast = fake_login(f, "fast", 0), *p = fake_login(f, "p", 0);
    struct attach a = fake_attach("slow", 0);
    a.quota = 2;
    broker_attach(slow, &a);
    assert_int_equal(join(slow, "g", "t", 1), ERR_OK);
    assert_int_equal(join(fast, "g", "t", 1), ERR_OK);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, slow), 2);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, fast), 18);
    assert_int_equal(broker_settle(slow, fake_nth(f, FAKE_DELIVER, 0)->ticket, OUTCOME_ACK), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 22);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, slow), 3);
    fake_free(f);
}

/* members without credit are set aside, and are back when they answer: nobody is forgotten, whatever the order. */
static void those_set_aside_come_back(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *m[4], *p = fake_login(f, "p", 0);
    for (unsigned i = 0; i < 4; i++) {
        m[i] = fake_conn(f);
        struct attach a = fake_attach((const char *[]){"a", "b", "c", "d"}[i], 100);
        a.quota = 1;
        broker_attach(m[i], &a);
        assert_int_equal(join(m[i], "g", "t", 1), ERR_OK);
    }
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 4);
    struct queue *q = map_get(&f->shard->vhost->groups, SLICE("g/t"));
    assert_int_equal(q->away_n, 3); /* the last one stays */
    for (unsigned i = 0; i < 36; i++) {
        struct conn *c = m[(i * 7 + i / 5) % 4];
        uint32_t n = fake_count_of(f, FAKE_DELIVER, c), ticket = 0;
        for (uint32_t k = 0; k < fake_count(f, FAKE_DELIVER); k++)
            if (fake_nth(f, FAKE_DELIVER, k)->conn == fake_number(c))
                ticket = fake_nth(f, FAKE_DELIVER, k)->ticket;
        assert_int_equal(broker_settle(c, ticket, OUTCOME_ACK), ERR_OK);
        fake_run(f);
        assert_int_equal(fake_count_of(f, FAKE_DELIVER, c), n + 1);
    }
    hang_up(m[2]); /* set aside, and gone: what it had goes to whoever answers first */
    assert_int_equal(leave(m[3], "g", "t"), ERR_OK);
    uint32_t last = fake_count_of(f, FAKE_DELIVER, m[0]), ticket = 0;
    for (uint32_t k = 0; k < fake_count(f, FAKE_DELIVER); k++)
        if (fake_nth(f, FAKE_DELIVER, k)->conn == fake_number(m[0]))
            ticket = fake_nth(f, FAKE_DELIVER, k)->ticket;
    assert_int_equal(broker_settle(m[0], ticket, OUTCOME_ACK), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, m[0]), last + 1);
    fake_free(f);
}

/* ---- offline, lost, ended ------------------------------------------------------------------------------------ */

/* QoS 1: what a lost member had in flight goes to another, first in line; and is no repetition for that one. */
static void lost_members_give_back(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    for (uint32_t expiry = 0; expiry <= 100; expiry += 100) {
        struct conn *a = fake_login(f, "a", expiry), *b = fake_login(f, "b", 0), *p = fake_login(f, "p", 0);
        fake_forget(f);
        assert_int_equal(join(a, "g", "t", 1), ERR_OK);
        assert_int_equal(fake_pub(p, "t", "first", 1), ERR_OK);
        fake_run(f);
        assert_int_equal(fake_count_of(f, FAKE_DELIVER, a), 1);
        assert_int_equal(join(b, "g", "t", 1), ERR_OK);
        hang_up(a);
        assert_int_equal(fake_count_of(f, FAKE_DELIVER, b), 1);
        const struct fake_event *e = fake_last(f, FAKE_DELIVER);
        assert_string_equal(e->payload, "first");
        assert_true(e->redelivered);
        assert_false(e->is_resent);
        assert_int_equal(fake_pub(p, "t", "second", 1), ERR_OK); /* nothing for who is away */
        fake_run(f);
        assert_int_equal(fake_count_of(f, FAKE_DELIVER, b), 2);
        assert_int_equal(group_n(f), 1);
        hang_up(b);
        hang_up(p);
        assert_int_equal(group_n(f), expiry ? 1 : 0);
        fake_wait(f, 101000);
        assert_int_equal(group_n(f), 0);
        assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    }
    fake_free(f);
}

/* QoS 2 stays with its session [MQTT-4.8.2-4], is sent again there, and is gone with it [MQTT-4.8.2-5]. */
static void qos2_stays(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *a = fake_login(f, "a", 100), *p = fake_login(f, "p", 0);
    assert_int_equal(join(a, "g", "t", 2), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "one", 2), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "two", 2), ERR_OK);
    fake_run(f);
    uint32_t one = fake_nth(f, FAKE_DELIVER, 0)->ticket, two = fake_nth(f, FAKE_DELIVER, 1)->ticket;
    assert_int_equal(broker_settle(a, one, OUTCOME_RECEIVED), ERR_OK);
    struct conn *b = fake_login(f, "b", 0);
    assert_int_equal(join(b, "g", "t", 2), ERR_OK);
    hang_up(a);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, b), 0);
    fake_forget(f);
    a = fake_login(f, "a", 100);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, a), 1);
    assert_int_equal(fake_last(f, FAKE_DELIVER)->ticket, two);
    assert_true(fake_last(f, FAKE_DELIVER)->is_resent);
    assert_int_equal(fake_last(f, FAKE_RELEASE)->ticket, one);
    assert_int_equal(broker_settle(a, one, OUTCOME_COMPLETE), ERR_OK);
    hang_up(a);
    uint64_t dropped = fake_stat(f, STAT_DROP_CLOSED);
    fake_wait(f, 101000);
    assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), dropped + 1);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, b), 0);
    fake_free(f);
}

/* nobody is online: a backlog at QoS 1 and 2, bounded; QoS 0 is dropped and counted. */
static void the_backlog(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.session_queue_max = 3;
    struct fake *f = fake_new(&config);
    struct conn *a = fake_login(f, "a", 100), *p = fake_login(f, "p", 0);
    assert_int_equal(join(a, "g", "t", 2), ERR_OK);
    hang_up(a);
    assert_int_equal(fake_pub(p, "t", "0", 0), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_DROP_OFFLINE), 1);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(fake_pub(p, "t", "1", 1), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_DROP_FULL), 2);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    a = fake_login(f, "a", 100);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, a), 3);
    assert_int_equal(fake_pub(p, "t", "0", 0), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, a), 4);
    fake_free(f);
}

static void leaving(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *a = fake_login(f, "a", 0), *b = fake_login(f, "b", 0), *p = fake_login(f, "p", 0);
    assert_int_equal(leave(a, "g", "t"), ERR_NOT_FOUND);
    assert_int_equal(join(a, "g", "t", 1), ERR_OK);
    assert_int_equal(leave(b, "g", "t"), ERR_NOT_FOUND);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_run(f);
    uint32_t ticket = fake_last(f, FAKE_DELIVER)->ticket;
    assert_int_equal(join(b, "g", "t", 1), ERR_OK);
    assert_int_equal(leave(a, "g", "t"), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1); /* it may still answer */
    assert_int_equal(broker_settle(a, ticket, OUTCOME_ACK), ERR_OK);
    assert_int_equal(leave(b, "g", "t"), ERR_OK);
    fake_run(f);
    assert_int_equal(group_n(f), 0);
    assert_int_equal(fake_stat(f, STAT_MEMBERS), 0);
    assert_int_equal(fake_stat(f, STAT_BINDINGS), 0);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_NO_MATCH);
    fake_free(f);
}

/* ---- options ------------------------------------------------------------------------------------------------- */

static void what_is_a_members_own(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *a = fake_login(f, "a", 0), *b = fake_login(f, "b", 0), *p = fake_login(f, "p", 0);
    const struct binding_opts first = {.qos = 1, .sub_id = 7, .retain_as_published = true}, second = {.qos = 0};
    assert_int_equal(join_opts(a, "g", "t", &first), ERR_OK);
    assert_int_equal(join_opts(b, "g", "t", &second), ERR_OK);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x"), .qos = 2, .flags = MSG_RETAIN};
    for (unsigned round = 0; round < 2; round++) {
        fake_forget(f);
        assert_int_equal(fake_pub_view(p, &v, NULL, 0), ERR_OK);
        assert_int_equal(fake_pub_view(p, &v, NULL, 0), ERR_OK);
        fake_run(f);
        for (uint32_t i = 0; i < 2; i++) {
            const struct fake_event *e = fake_nth(f, FAKE_DELIVER, i);
            bool is_a = e->conn == fake_number(a);
            assert_int_equal(e->qos, is_a ? 1 + round : 0);
            assert_int_equal(e->retain, is_a && round == 0);
            assert_int_equal(e->sub_id_n, is_a ? 1 : 0);
            if (is_a)
                assert_int_equal(e->sub_id[0], 7 + round);
            assert_false(e->is_retained); /* no retained messages for shared subscriptions */
        }
        const struct binding_opts changed = {.qos = 2, .sub_id = 8};
        assert_int_equal(join_opts(a, "g", "t", &changed), ERR_OK);
    }
    assert_int_equal(fake_stat(f, STAT_MEMBERS), 2);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 2); /* joining replayed nothing */
    fake_free(f);
}

static void the_subscription_limit(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.subscriptions_max = 2;
    struct fake *f = fake_new(&config);
    struct conn *a = fake_login(f, "a", 0);
    assert_int_equal(join(a, "g", "t", 1), ERR_OK);
    assert_int_equal(fake_sub(a, "t", 1), ERR_OK);
    assert_int_equal(join(a, "g", "u", 1), ERR_FULL);
    assert_int_equal(consume(a, "q", 1), ERR_FULL);
    assert_int_equal(group_n(f), 1); /* the one that was tried is gone */
    assert_int_equal(join(a, "g", "t", 2), ERR_OK);
    assert_int_equal(leave(a, "g", "t"), ERR_OK);
    assert_int_equal(join(a, "g", "u", 1), ERR_OK);
    fake_free(f);
}

static void the_limit_of_shares(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.shared_subscriptions_max = 2;
    struct fake *f = fake_new(&config);
    struct conn *a = fake_login(f, "a", 0);
    assert_int_equal(fake_sub(a, "t", 1), ERR_OK);
    assert_int_equal(join(a, "g", "t", 1), ERR_OK);
    assert_int_equal(consume(a, "q", 1), ERR_OK);
    assert_int_equal(join(a, "g", "u", 1), ERR_FULL);
    assert_int_equal(consume(a, "r", 1), ERR_FULL);
    assert_int_equal(join(a, "g", "t", 2), ERR_OK);
    assert_int_equal(fake_sub(a, "u", 1), ERR_OK);
    assert_int_equal(leave(a, "g", "t"), ERR_OK);
    assert_int_equal(join(a, "g", "u", 1), ERR_OK);
    fake_free(f);
}

/* ---- named queues -------------------------------------------------------------------------------------------- */

static void named_queues(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *a = fake_login(f, "a", 100), *b = fake_login(f, "b", 0);
    struct exchange *x = f->shard->vhost->default_exchange;
    struct msgview v = {.topic = SLICE("jobs"), .payload = SLICE("1"), .qos = 2};
    assert_int_equal(consume(a, "", 1), ERR_INVALID);
    assert_int_equal(consume(a, "jobs", 2), ERR_OK);
    assert_int_equal(consume(a, "jobs", 2), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_MEMBERS), 1);
    assert_int_equal(fake_pub_view(b, &v, x, 0), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, a), 1);
    assert_int_equal(consume(b, "jobs", 2), ERR_OK);
    hang_up(a);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, b), 0); /* QoS 2 is its session's */
    fake_wait(f, 101000);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, b), 1); /* but a queue's message is not lost with it */
    uint64_t receipt = f->receipt_next++;
    broker_unsubscribe_queue(b, SLICE("jobs"), receipt);
    assert_int_equal(answer(f, receipt), ERR_OK);
    broker_unsubscribe_queue(b, SLICE("jobs"), ++receipt);
    assert_int_equal(answer(f, receipt), ERR_NOT_FOUND);
    assert_int_equal(fake_stat(f, STAT_QUEUES), 1); /* it stays */
    assert_int_equal(fake_pub_view(b, &v, x, 0), ERR_OK);
    fake_free(f);
}

/* ---- the store, memory --------------------------------------------------------------------------------------- */

static uint32_t living(const struct fake *f, enum store_kind kind);

static void in_the_store(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    struct fake *f = fake_new(&config);
    struct conn *clean = fake_login(f, "clean", 0), *kept = fake_login(f, "kept", 1000), *p = fake_login(f, "p", 0);
    assert_int_equal(join(clean, "g", "t", 1), ERR_OK);
    assert_int_equal(living(f, STORE_QUEUE), 0);          /* nothing that would survive */
    assert_int_equal(join(kept, "g", "t", 1), ERR_AGAIN); /* answered when it is durable */
    fake_run(f);
    assert_int_equal(fake_last(f, FAKE_SETTLED)->result, ERR_OK);
    assert_int_equal(living(f, STORE_QUEUE), 1);
    assert_int_equal(living(f, STORE_BIND), 1);
    assert_int_equal(living(f, STORE_MEMBER), 1);
    hang_up(kept);
    hang_up(clean);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x"), .qos = 1, .flags = MSG_DURABLE};
    assert_int_equal(fake_pub_view(p, &v, NULL, 0), ERR_AGAIN);
    fake_run(f);
    assert_int_equal(living(f, STORE_PUBLISH), 1);
    kept = fake_login(f, "kept", 1000);
    fake_run(f);
    assert_int_equal(broker_settle(kept, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_ACK), ERR_OK);
    fake_run(f);
    assert_int_equal(living(f, STORE_PUBLISH), 0);
    assert_int_equal(leave(kept, "g", "t"), ERR_AGAIN);
    fake_run(f);
    assert_int_equal(living(f, STORE_MEMBER) + living(f, STORE_QUEUE) + living(f, STORE_BIND), 0);
    fake_free(f);
}

struct count {
    enum store_kind kind;
    uint32_t n;
};

static enum err visit(const struct store_rec *rec, void *ctx)
{
    struct count *c = ctx;
    c->n += rec->kind == c->kind;
    return ERR_OK;
}

static uint32_t living(const struct fake *f, enum store_kind kind)
{
    struct count c = {.kind = kind};
    assert_int_equal(store_image_visit(f->image, visit, &c), ERR_OK);
    return c.n;
}

/* out of memory at the Nth allocation: the verb says so or succeeds, and all is in order (shard_check, fake_free). */
static void without_memory(void **state)
{
    (void)state;
    bool went_through = false;
    for (uint64_t nth = 1; !went_through; nth++) {
        struct fake *f = fake_new(NULL);
        struct conn *a = fake_login(f, "a", 100), *b = fake_login(f, "b", 0);
        f->heap.fail_at = f->heap.calls + nth;
        enum err e[4] = {join(a, "g", "t", 1), join(b, "g", "t", 1), consume(b, "q", 1), consume_group(b, "h", "t")};
        went_through = f->heap.calls < f->heap.fail_at;
        f->heap.fail_at = 0;
        for (unsigned i = 0; i < 4; i++)
            assert_true(e[i] == ERR_OK || e[i] == ERR_NOMEM);
        fake_run(f);
        assert_int_equal(fake_stat(f, STAT_MEMBERS), (e[0] == ERR_OK) + (e[1] == ERR_OK) + (e[2] == ERR_OK));
        assert_int_equal(group_n(f), (e[0] == ERR_OK || e[1] == ERR_OK) + (e[3] == ERR_OK));
        fake_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_them_gets_each),
        cmocka_unit_test(groups_are_told_apart),
        cmocka_unit_test(by_credit),
        cmocka_unit_test(those_set_aside_come_back),
        cmocka_unit_test(lost_members_give_back),
        cmocka_unit_test(qos2_stays),
        cmocka_unit_test(the_backlog),
        cmocka_unit_test(leaving),
        cmocka_unit_test(what_is_a_members_own),
        cmocka_unit_test(the_subscription_limit),
        cmocka_unit_test(the_limit_of_shares),
        cmocka_unit_test(named_queues),
        cmocka_unit_test(in_the_store),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
