/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_queue_day.c: queues over months and years of simulated time. The stage (stage.h) looks at the millisecond before
 * anything is due, when nothing may have happened, and at that millisecond; here it is given long stories:
 *
 *     delays           from a millisecond to ten years: each message comes at its time, and the gauge counts the rest
 *     a paused queue   for half a year: what expires meanwhile is dead-lettered at its time, the rest comes when it
 * goes on retries          1 s, 2 s, 4 s ... a day: a message that is refused forty times comes at the right times
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/stage.h"

#define DAY_MS (24ull * 3600 * 1000)

static void open_stage(struct stage *st, uint64_t seed)
{
    static const struct stage_plan plan = {.peers = 2, .queues = 4, .exchanges = 1, .step_max = DAY_MS};
    stage_open(st, seed, &plan, false);
    for (uint32_t i = 0; i < 2; i++) {
        peer_connect(&st->peer[i]);
        stage_settle(st);
        st->peer[i].is_v11 = false;
    }
}

static void ok(struct stage *st)
{
    if (st->why[0])
        fail_msg("%s", st->why);
}

/* pass: in as many pieces as it takes. */
static void pass(struct stage *st, mono_ms until)
{
    while (st->why[0] == 0 && st->loop->now < until)
        stage_pass(st, until);
    ok(st);
}

static struct twin_queue *declare(struct stage *st, const char *name, const struct twin_policy *p)
{
    struct twin_queue *q;
    frame_begin(&st->peer[0], "SEND");
    frame_header(&st->peer[0], "destination", "/manage/declare-queue");
    frame_header(&st->peer[0], "queue", "%s", name);
    stage_write_policy(&st->peer[0], p);
    frame_receipt(&st->peer[0]);
    frame_end(&st->peer[0], NULL, 0);
    assert_int_equal(twin_declare(&st->twin, name, p, true, st->peer[0].session, &q), TWIN_OK);
    stage_settle(st);
    ok(st);
    return q;
}

static struct twin_consumer *consume(struct stage *st, struct twin_queue *q, bool is_auto)
{
    struct stage_peer *p = &st->peer[1];
    struct twin_consumer k = {.sub = ++p->next_sub, .is_auto = is_auto};
    frame_begin(p, "SUBSCRIBE");
    frame_header(p, "destination", "/queue/%s", q->name);
    frame_header(p, "id", "%u", k.sub);
    frame_header(p, "ack", "%s", is_auto ? "auto" : "client-individual");
    frame_end(p, NULL, 0);
    struct twin_consumer *c = twin_consume(&st->twin, p->session, q, &k);
    stage_settle(st);
    ok(st);
    return c;
}

/* say: SEND to a queue, later or with an end to its life (ms, 0: not). */
static void say(struct stage *st, const char *queue, mono_ms delay, mono_ms ttl)
{
    struct stage_peer *p = &st->peer[0];
    struct twin_msg m = {.number = ++st->number_next};
    char body[24];
    snprintf(m.key, sizeof(m.key), "%s", queue);
    frame_begin(p, "SEND");
    frame_header(p, "destination", "/queue/%s", queue);
    if (delay)
        frame_header(p, "x-delay", "%llu", (unsigned long long)delay);
    if (ttl)
        frame_header(p, "expiration", "%llu", (unsigned long long)ttl);
    frame_end(p, body, (size_t)snprintf(body, sizeof(body), "#%u .", m.number));
    m.expires_at = ttl ? st->twin.now + ttl : 0;
    if (delay)
        twin_publish_later(&st->twin, &m, delay);
    else
        assert_int_equal(twin_publish(&st->twin, &m), TWIN_OK);
    stage_settle(st);
    ok(st);
}

/* span: 1 ms to `most`, of every size alike. */
static mono_ms span(struct stage *st, mono_ms most)
{
    mono_ms size = 10;
    while (size < most && stage_chance(st, 85))
        size *= 10;
    return 1 + rng_u64(&st->rng) % (size < most ? size : most);
}

static void test_delays(void **state)
{
    enum { MESSAGES = 300 };
    (void)state;
    struct stage st;
    struct twin_policy p;
    const mono_ms ten_years = 3650 * DAY_MS;
    open_stage(&st, 1);
    twin_policy_init(&p);
    struct twin_queue *q = declare(&st, "q0", &p);
    consume(&st, q, true);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        if (i % 10 == 0)
            pass(&st, st.loop->now + span(&st, DAY_MS));
        say(&st, "q0", i == 0 ? ten_years : span(&st, ten_years), 0);
    }
    assert_true(st.shard->stats.v[STAT_DELAYED] > MESSAGES / 10);
    pass(&st, st.loop->now + ten_years + 1);
    assert_int_equal(st.deliveries, MESSAGES);
    assert_int_equal(st.shard->stats.v[STAT_DELAYED], 0);
    stage_close(&st);
}

static void pause(struct stage *st, struct twin_queue *q, bool is_on)
{
    struct stage_peer *p = &st->peer[0];
    frame_begin(p, "SEND");
    frame_header(p, "destination", "/manage/%s", is_on ? "pause" : "resume");
    frame_header(p, "queue", "%s", q->name);
    frame_receipt(p);
    frame_end(p, NULL, 0);
    q->is_paused = is_on;
    stage_settle(st);
    ok(st);
}

static void test_a_long_pause(void **state)
{
    enum { MESSAGES = 300 };
    (void)state;
    struct stage st;
    struct twin_policy p, dead;
    open_stage(&st, 2);
    twin_policy_init(&dead);
    twin_policy_init(&p);
    p.has_ttl = p.has_dlx = p.has_dlk = true;
    p.ttl = 200 * DAY_MS;
    snprintf(p.dlk, sizeof(p.dlk), "q1");
    struct twin_queue *q = declare(&st, "q0", &p), *end = declare(&st, "q1", &dead);
    consume(&st, q, true);
    pause(&st, q, true);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        if (i % 10 == 0)
            pass(&st, st.loop->now + span(&st, DAY_MS));
        say(&st, "q0", 0, i % 3 == 0 ? 0 : span(&st, 400 * DAY_MS));
    }
    pass(&st, st.loop->now + 182 * DAY_MS);
    uint32_t lived = twin_queue_ready(q), died = twin_queue_ready(end);
    assert_int_equal(lived + died, MESSAGES);
    assert_true(lived >= MESSAGES / 3 && died > MESSAGES / 3);
    pause(&st, q, false);
    assert_int_equal(st.deliveries, lived);
    assert_int_equal(st.shard->stats.v[STAT_DEAD_LETTERED], died);
    stage_close(&st);
}

static void nack(struct stage *st)
{
    struct stage_peer *p = &st->peer[1];
    assert_int_equal(p->session->held_n, 1);
    frame_begin(p, "NACK");
    frame_header(p, "id", "%s", p->session->held[0].id);
    frame_end(p, NULL, 0);
    assert_int_equal(twin_settle(&st->twin, p->session, 0, TWIN_NACK, 0), TWIN_OK);
    stage_settle(st);
    ok(st);
}

static void test_retries(void **state)
{
    enum { TIMES = 40 };
    (void)state;
    struct stage st;
    struct twin_policy p;
    open_stage(&st, 3);
    twin_policy_init(&p);
    p.retry_min = 1000;
    p.retry_max = DAY_MS;
    p.has_limit = true;
    p.limit = TIMES;
    consume(&st, declare(&st, "q0", &p), false);
    say(&st, "q0", 0, 0);
    mono_ms wait = 1000;
    for (uint32_t i = 0; i < TIMES; i++) {
        assert_int_equal(st.deliveries, i + 1);
        nack(&st);
        assert_int_equal(st.shard->stats.v[STAT_RETRYING], 1);
        pass(&st, st.loop->now + wait - 1);
        assert_int_equal(st.deliveries, i + 1);
        pass(&st, st.loop->now + 1);
        wait = MIN(2 * wait, DAY_MS);
    }
    nack(&st);
    assert_int_equal(st.shard->stats.v[STAT_DROP_RETURNED], 1);
    assert_int_equal(st.shard->stats.v[STAT_RETRYING], 0);
    assert_int_equal(st.shard->stats.v[STAT_ENTRIES], 0);
    stage_close(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delays),
        cmocka_unit_test(test_a_long_pause),
        cmocka_unit_test(test_retries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
