/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_delayed.c: messages that wait for their time: when they come, who gets them, what is refused when they are
 * published, what the store hears, and that nothing is left behind.
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

static enum err later_view(struct conn *c, const struct msgview *v, struct exchange *x, mono_ms delay_ms,
                           uint16_t rx_id)
{
    struct fake *f = fake_pipe_of(c)->fake;
    struct publish p = {.msg = *v, .exchange = x, .receipt = f->receipt_next++, .delay_ms = delay_ms, .rx_id = rx_id};
    broker_publish(c, &p);
    const struct fake_event *e = fake_last(f, FAKE_SETTLED);
    return e && e->receipt == p.receipt ? e->result : ERR_AGAIN;
}

static enum err later(struct conn *c, const char *topic, const char *payload, mono_ms delay_ms)
{
    struct msgview v = {
        .topic = slice_from_str(topic), .payload = slice_from_str(payload), .qos = 1, .flags = MSG_DURABLE};
    return later_view(c, &v, NULL, delay_ms, 0);
}

static void at_its_time(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0);
    assert_int_equal(later(p, "t", "third", 30000), ERR_OK);
    assert_int_equal(later(p, "t", "first", 1000), ERR_OK);
    assert_int_equal(later(p, "t", "second", 1001), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_DELAYED), 3);
    struct conn *s = fake_login(f, "s", 0); /* who is there when it comes counts */
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    mono_ms start = f->now;
    fake_wait(f, 40000);
    static const struct {
        const char *payload;
        mono_ms at;
    } due[] = {{"first", 1000}, {"second", 1001}, {"third", 30000}};
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, s), 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(fake_nth(f, FAKE_DELIVER, i)->payload, due[i].payload);
        assert_in_range(fake_nth(f, FAKE_DELIVER, i)->at - start, due[i].at, due[i].at + 20);
    }
    assert_int_equal(fake_stat(f, STAT_DELAYED), 0);
    fake_free(f);
}

/* a year, and its publisher long gone; no-local still knows who it was; retained when it comes, not before. */
static void long_after(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", SESSION_EXPIRY_NEVER), *s = fake_login(f, "s", 0);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x"), .qos = 1, .flags = MSG_RETAIN};
    mono_ms year = 365ull * 24 * 3600 * 1000;
    assert_int_equal(fake_sub_opts(p, "t", &(struct binding_opts){.qos = 1, .no_local = true}), ERR_OK);
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    assert_int_equal(later_view(p, &v, NULL, year, 0), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_RETAINED), 0);
    fake_wait(f, year - 1000);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    fake_wait(f, 2000);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, s), 1);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, p), 0);
    assert_int_equal(fake_stat(f, STAT_RETAINED), 1);
    fake_free(f);
}

/* from a millisecond to years, to the millisecond, however many wait beside it. */
static void exact(void **state)
{
    (void)state;
    static const mono_ms delay[] = {1,
                                    2,
                                    63,
                                    64,
                                    999,
                                    4095,
                                    4096,
                                    262143,
                                    3600000,
                                    86400000,
                                    UINT64_C(2678400001),
                                    UINT64_C(31536000000),
                                    UINT64_C(157680000007),
                                    UINT64_C(315360000000)};
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0);
    assert_int_equal(fake_sub(p, "t", 1), ERR_OK);
    fake_wait(f, 12345);
    mono_ms start = f->now;
    for (uint32_t i = ARRAY_N(delay); i-- > 0;)
        assert_int_equal(later(p, "t", "x", delay[i]), ERR_OK);
    for (uint32_t i = 0; i < ARRAY_N(delay); i++) {
        fake_forget(f);
        fake_wait(f, start + delay[i] - f->now);
        assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
        assert_int_equal(fake_last(f, FAKE_DELIVER)->at, start + delay[i]);
        assert_int_equal(broker_settle(p, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_ACK), ERR_OK);
    }
    fake_free(f);
}

/* its exchange is deleted meanwhile: dropped, counted and said; one of the same name is another one. */
static void exchange_is_gone(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        struct fake *f = fake_new(NULL);
        struct conn *p = fake_login(f, "p", 0);
        struct exchange *x;
        const char *differs;
        struct exchange_spec spec = {.name = SLICE("x"), .kind = EXCHANGE_FANOUT};
        struct msgview v = {.topic = SLICE("k"), .payload = SLICE("x"), .qos = 1};
        assert_int_equal(exchange_declare_as(f->shard->vhost, &spec, &x, &differs), ERR_OK);
        assert_int_equal(later_view(p, &v, x, 1000, 0), ERR_OK);
        exchange_delete(x);
        if (again)
            assert_int_equal(exchange_declare_as(f->shard->vhost, &spec, &x, &differs), ERR_OK);
        fake_wait(f, 2000);
        assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), 1);
        assert_int_equal(fake_stat(f, STAT_PUBLISHED), 0);
        assert_int_equal(fake_stat(f, STAT_DELAYED), 0);
        assert_non_null(strstr(f->log_last, "its exchange was deleted"));
        fake_free(f);
    }
}

/* a refused one gives the QoS 2 id back, as a publish at once does. */
static void refused_qos2(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.delayed_max = 1;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x"), .qos = 2};
    assert_int_equal(later_view(p, &v, NULL, 1000, 8), ERR_OK);
    assert_int_equal(later_view(p, &v, NULL, 1000, 9), ERR_FULL);
    assert_true(broker_rx_is_open(p, 8));
    assert_false(broker_rx_is_open(p, 9));
    fake_free(f);
}

/* a message that lives shorter than it has to wait is counted as expired. */
static void expired_before(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0);
    assert_int_equal(fake_sub(p, "t", 1), ERR_OK);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x"), .qos = 1, .expires_at = f->now + 2000};
    assert_int_equal(later_view(p, &v, NULL, 3000, 0), ERR_OK);
    fake_wait(f, 10000);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    assert_int_equal(fake_stat(f, STAT_DROP_EXPIRED), 1);
    fake_free(f);
}

static void what_is_refused(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.delayed_max = 2;
    config.limits.delayed_bytes_max = 100;
    config.limits.delay_s_max = 10;
    config.limits.topic_bytes_max = 20;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0);
    char big[101] = {0};
    memset(big, 'x', 99);
    assert_int_equal(later(p, "$SYS/x", "x", 1000), ERR_DENIED);
    assert_int_equal(later(p, "t", "x", 10001), ERR_TOO_BIG);
    assert_int_equal(later(p, "a-topic-that-is-too-long", "x", 1000), ERR_TOO_BIG);
    assert_int_equal(later(p, "tt", big, 1000), ERR_FULL);
    assert_int_equal(later(p, "t", big, 1000), ERR_OK);
    assert_int_equal(later(p, "t", "", 1000), ERR_FULL);
    fake_wait(f, 2000);
    assert_int_equal(later(p, "t", "1", 1000), ERR_OK);
    assert_int_equal(later(p, "t", "2", 1000), ERR_OK);
    assert_int_equal(later(p, "t", "3", 1000), ERR_FULL);
    assert_int_equal(fake_stat(f, STAT_REFUSED), 6);
    fake_free(f); /* two wait still */
}

/* a QoS 2 publish is remembered at once: its repetition waits for nothing and is not published again. */
static void qos2_once(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0);
    assert_int_equal(fake_sub(p, "t", 1), ERR_OK);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x"), .qos = 2};
    assert_int_equal(later_view(p, &v, NULL, 1000, 9), ERR_OK);
    assert_int_equal(later_view(p, &v, NULL, 1000, 9), ERR_OK);
    assert_true(broker_rx_is_open(p, 9));
    fake_wait(f, 5000);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    fake_free(f);
}

/* another exchange: a queue gets it when it is due, if there still is one. */
static void to_a_queue(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0);
    enum err e;
    assert_non_null(broker_declare_queue(p, SLICE("jobs"), &e));
    struct msgview v = {.topic = SLICE("jobs"), .payload = SLICE("x"), .qos = 1};
    assert_int_equal(later_view(p, &v, f->shard->vhost->default_exchange, 1000, 0), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_wait(f, 2000);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 1);
    fake_free(f);
}

struct seen {
    uint32_t delays, others;
    wall_ms due;
};

static enum err visit(const struct store_rec *rec, void *ctx)
{
    struct seen *s = ctx;
    bool is_delay = rec->kind == STORE_PUBLISH && rec->target_n == 1 && rec->target[0].queue == 0;
    s->delays += is_delay;
    s->others += rec->kind == STORE_PUBLISH && !is_delay;
    if (is_delay) {
        assert_true(slice_eq(rec->name, SLICE("amq.topic")));
        s->due = rec->due;
    }
    return ERR_OK;
}

/* the store has it while it waits, and has its routing result afterwards. */
static void in_the_store(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 1000);
    assert_int_equal(fake_sub(s, "t", 1), ERR_AGAIN);
    wall_ms wall = f->loop.ops->wall(&f->loop);
    assert_int_equal(later(p, "t", "x", 60000), ERR_AGAIN); /* answered when it is durable */
    fake_run(f);
    assert_int_equal(fake_last(f, FAKE_SETTLED)->result, ERR_OK);
    struct seen seen = {0};
    assert_int_equal(store_image_visit(f->image, visit, &seen), ERR_OK);
    assert_int_equal(seen.delays, 1);
    assert_int_equal(seen.due, wall + 60000);
    fake_wait(f, 61000);
    seen = (struct seen){0};
    assert_int_equal(store_image_visit(f->image, visit, &seen), ERR_OK);
    assert_int_equal(seen.delays, 0);
    assert_int_equal(seen.others, 1);
    fake_free(f);
}

static void without_memory(void **state)
{
    (void)state;
    bool went_through = false;
    for (uint64_t nth = 1; !went_through; nth++) {
        struct fake *f = fake_new(NULL);
        struct conn *p = fake_login(f, "p", 0);
        f->heap.fail_at = f->heap.calls + nth;
        enum err e = later(p, "t", "x", 1000);
        went_through = f->heap.calls < f->heap.fail_at;
        assert_true(e == (went_through ? ERR_OK : ERR_NOMEM));
        assert_int_equal(fake_stat(f, STAT_DELAYED), went_through);
        f->heap.fail_at = 0;
        fake_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_its_time),      cmocka_unit_test(long_after),     cmocka_unit_test(expired_before),
        cmocka_unit_test(what_is_refused),  cmocka_unit_test(qos2_once),      cmocka_unit_test(to_a_queue),
        cmocka_unit_test(in_the_store),     cmocka_unit_test(without_memory), cmocka_unit_test(exact),
        cmocka_unit_test(exchange_is_gone), cmocka_unit_test(refused_qos2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
