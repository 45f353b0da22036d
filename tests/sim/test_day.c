/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_day.c: does everything happen at its time? A day with $SYS on, so that timers run all day, and half a year and
 * twenty without, in which most of the time nothing happens at all.
 *
 *     stories, drawn by lot ─► wishes: message n is due at the watcher at t (or never) ─► time passes ─► each was heard
 *                              in its second and once, and nobody else
 *
 *   DELAYED    $delayed/<s>/...: not before s seconds have passed
 *   WILL       a peer dies: its will comes after its delay, or with the end of its session if that is sooner, or never
 *              if it was back before [MQTT-3.1.3-9]; its session is there until it expires
 *   LETTER     a message with an expiry for somebody who is away: found until then, with the seconds that remain
 *   SLEEPER    a session that waits for its owner
 *   SILENT     a peer that stops talking: it is ended after one and a half times its keep-alive [MQTT-3.1.2-22]
 * In between, every so often, the counters are compared with what the stories say they are: so that a session or a
 * message is not only gone when somebody looks for it, but at its time.
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
#include "tests/sim/day_peer.h"

enum kind { DELAYED, WILL, LETTER, SLEEPER, SILENT, KINDS };

enum { STEPS_MAX = 5, STORIES = 400, SAMPLES = 1500, SECOND = 1000 };

struct story {
    struct sim_event ev; /* first */
    struct test *test;
    enum kind kind;
    uint32_t number, step, a, b; /* a, b: seconds, by kind */
    mono_ms at[STEPS_MAX];       /* 0: this step and those behind it are left out */
    mono_ms due;                 /* the message, at the watcher or the addressee; 0: never */
    mono_ms born[2], gone[2];    /* its session lives */
    mono_ms expires;             /* its letter, if nobody comes for it; 0: somebody does */
    uint32_t left_s;             /* of its letter's expiry */
    uint32_t heard_n;
    struct day_peer *peer;
};

struct test {
    struct day day;
    struct rng rng;
    mono_ms from, until;
    uint32_t sys_interval_s, sys_n, heard_n, samples_n;
    struct day_peer *watcher, *publisher, *sys_watcher;
    struct sim_event sample;
    struct story story[STORIES];
};

static mono_ms between(struct test *t, mono_ms low, mono_ms high)
{
    return low + rng_u64(&t->rng) % (high - low);
}

/* ---- stories are drawn --------------------------------------------------------------------------------------------
 */

/* seconds: mostly short, some as long as a third of the whole. */
static uint32_t seconds(struct test *t)
{
    mono_ms third = (t->until - t->from) / 3 / SECOND;
    mono_ms most = rng_chance(&t->rng, 30) ? third : rng_chance(&t->rng, 50) ? MIN(third, 4000u) : 60;
    return (uint32_t)between(t, 1, most);
}

/* beside: a second before or after t. */
static mono_ms beside(struct test *t, mono_ms at)
{
    return rng_chance(&t->rng, 50) ? at - SECOND : at + SECOND;
}

static void draw_will(struct test *t, struct story *s)
{
    s->a = rng_chance(&t->rng, 20) ? 0 : seconds(t) + 2; /* the delay */
    s->b = seconds(t) + 2;                               /* the session's expiry */
    s->at[1] = s->at[0] + DAY_S(seconds(t));
    mono_ms will = s->at[1] + DAY_S(MIN(s->a, s->b)), expiry = s->at[1] + DAY_S(s->b);
    s->born[0] = s->at[0];
    s->gone[0] = expiry;
    s->due = will;
    if (rng_chance(&t->rng, 30))
        return; /* it never comes back */
    s->at[2] = beside(t, s->a && rng_chance(&t->rng, 50) ? will : expiry);
    while (s->at[2] == will || s->at[2] == expiry)
        s->at[2] += SECOND; /* in the very millisecond it could be either */
    s->at[3] = s->at[2] + DAY_S(5);
    if (s->at[2] < will)
        s->due = 0;
    if (s->at[2] < expiry) {
        s->gone[0] = s->at[3];
    } else {
        s->born[1] = s->at[2];
        s->gone[1] = s->at[3];
    }
}

static void draw_letter(struct test *t, struct story *s)
{
    s->a = seconds(t) + 2;
    s->at[1] = s->at[0] + DAY_S(seconds(t));
    s->at[2] = s->at[1] + DAY_S(seconds(t));
    mono_ms expires = s->at[2] + DAY_S(s->a);
    s->at[3] = rng_chance(&t->rng, 70) ? beside(t, expires) : s->at[2] + DAY_S(1 + s->a / 2);
    s->at[4] = s->at[3] + DAY_S(5);
    s->born[0] = s->at[0];
    s->gone[0] = s->at[4];
    s->due = s->at[3] < expires ? s->at[3] : 0;
    s->expires = s->due ? 0 : expires;
    s->left_s = (uint32_t)((expires - s->at[3]) / SECOND);
}

static void draw_sleeper(struct test *t, struct story *s)
{
    s->a = seconds(t) + 2;
    s->at[1] = s->at[0] + DAY_S(seconds(t));
    s->born[0] = s->at[0];
    s->gone[0] = s->at[1] + DAY_S(s->a);
    if (rng_chance(&t->rng, 30))
        return;
    s->at[2] = beside(t, s->gone[0]);
    s->at[3] = s->at[2] + DAY_S(5);
    if (s->at[2] < s->gone[0]) {
        s->gone[0] = s->at[3];
    } else {
        s->born[1] = s->at[2];
        s->gone[1] = s->at[3];
    }
}

static void draw_silent(struct test *t, struct story *s)
{
    s->a = seconds(t); /* keep-alive */
    s->a = MIN(s->a, (uint32_t)UINT16_MAX);
    s->b = (uint32_t)between(t, 0, MIN(20, 1 + (t->until - t->from) / 3 / (s->a * (mono_ms)900))); /* signs of life */
    s->at[1] = s->at[0] + s->b * (mono_ms)s->a * 900;
    s->at[2] = s->at[1] + s->a * (mono_ms)1500 + SECOND;
    s->born[0] = s->at[0];
    s->gone[0] = s->at[2] - SECOND;
}

static void draw(struct test *t, struct story *s, uint32_t number)
{
    mono_ms span = t->until - t->from;
    *s = (struct story){.test = t, .number = number, .kind = (enum kind)(number % KINDS)};
    s->at[0] = between(t, t->from, t->from + span / 3); /* three waits of a third end a little late, at most */
    switch (s->kind) {
    case DELAYED:
        s->a = seconds(t);
        s->due = s->at[0] + DAY_S(s->a);
        break;
    case WILL:
        draw_will(t, s);
        break;
    case LETTER:
        draw_letter(t, s);
        break;
    case SLEEPER:
        draw_sleeper(t, s);
        break;
    default:
        draw_silent(t, s);
    }
}

/* ---- stories are told ---------------------------------------------------------------------------------------------
 */

static struct day_peer *come(struct story *s, uint32_t expiry_s, uint16_t keepalive_s, bool has_will)
{
    char id[16];
    snprintf(id, sizeof(id), "peer%u", s->number);
    const struct day_login login = {.id = id,
                                    .expiry_s = expiry_s,
                                    .keepalive_s = keepalive_s,
                                    .will_topic = has_will ? "d/will" : NULL,
                                    .will_number = s->number,
                                    .will_delay_s = s->a};
    return day_connect(&s->test->day, &login);
}

/* leave: it came back: was the session what it should be? */
static void leave(struct story *s)
{
    bool should = s->born[1] == 0;
    if (!s->peer->has_connack || s->peer->session_present != should)
        fail_msg("story %u of kind %d (%u s, %u s, ended at %llu): came back at %llu, session present %d", s->number,
                 s->kind, s->a, s->b, (unsigned long long)s->at[1], (unsigned long long)s->at[s->step - 1],
                 s->peer->session_present);
    day_leave(s->peer, DAY_SESSION_ENDS);
}

static void tell_will(struct story *s)
{
    if (s->step == 0)
        s->peer = come(s, s->b, 0, true);
    else if (s->step == 1)
        day_die(s->peer);
    else if (s->step == 2)
        s->peer = come(s, s->b, 0, false);
    else
        leave(s);
}

static void tell_letter(struct story *s)
{
    char topic[16];
    snprintf(topic, sizeof(topic), "l/%u", s->number);
    if (s->step == 0 || s->step == 3)
        s->peer = come(s, UINT32_MAX, 0, false);
    if (s->step == 0)
        day_subscribe(s->peer, topic);
    else if (s->step == 1)
        day_leave(s->peer, DAY_SESSION_STAYS);
    else if (s->step == 2)
        day_publish(s->test->publisher, topic, s->number, s->a);
    else if (s->step == 4)
        leave(s);
}

static void tell_sleeper(struct story *s)
{
    if (s->step == 0 || s->step == 2)
        s->peer = come(s, s->a, 0, false);
    else if (s->step == 1)
        day_leave(s->peer, DAY_SESSION_STAYS);
    else
        leave(s);
}

static void tell_silent(struct story *s)
{
    if (s->step == 0) {
        s->peer = come(s, 0, (uint16_t)s->a, false);
    } else if (s->step == 1) {
        if (s->peer->t && s->b)
            day_ping(s->peer);
    } else {
        mono_ms due = s->at[2] - SECOND;
        if (s->peer->closed_at < due || s->peer->closed_at >= due + SECOND || s->peer->close_code != MQTT_RC_KEEPALIVE)
            fail_msg("story %u: keep-alive %u s: silent since %llu, ended at %llu with %02x", s->number, s->a,
                     (unsigned long long)s->at[1], (unsigned long long)s->peer->closed_at, s->peer->close_code);
    }
}

static void on_due(struct sim_event *ev)
{
    struct story *s = CONTAINER_OF(ev, struct story, ev);
    char topic[48];
    mono_ms now = day_now(&s->test->day), beat = (mono_ms)s->a * 900;
    switch (s->kind) {
    case DELAYED:
        snprintf(topic, sizeof(topic), "$delayed/%u/d/late", s->a);
        day_publish(s->test->publisher, topic, s->number, 0);
        break;
    case WILL:
        tell_will(s);
        break;
    case LETTER:
        tell_letter(s);
        break;
    case SLEEPER:
        tell_sleeper(s);
        break;
    default:
        if (s->step == 1 && now < s->at[1]) { /* a sign of life in between */
            day_ping(s->peer);
            sim_plan(s->test->day.loop, ev, MIN(now + beat, s->at[1]));
            return;
        }
        tell_silent(s);
    }
    s->step++;
    if (s->step == STEPS_MAX || s->at[s->step] == 0)
        return;
    mono_ms next = s->kind == SILENT && s->step == 1 ? MIN(now + beat, s->at[1]) : s->at[s->step];
    sim_plan(s->test->day.loop, ev, next);
}

/* ---- what is heard ------------------------------------------------------------------------------------------------
 */

static void on_sys(struct test *t)
{
    mono_ms interval = DAY_S(t->sys_interval_s), since = day_now(&t->day) - LOOP_SIM_START;
    if (t->sys_n++ > 0 && since % interval >= SECOND) /* the first one is what is retained */
        fail_msg("$SYS came %llu ms after the start, the interval is %u s", (unsigned long long)since,
                 t->sys_interval_s);
}

static void on_heard(struct day *d, struct day_peer *p, uint32_t number, const struct mqtt_publish *m,
                     const struct mqtt_props *props)
{
    struct test *t = CONTAINER_OF(d, struct test, day);
    if (p == t->sys_watcher) {
        on_sys(t);
        return;
    }
    if (number >= STORIES)
        fail_msg("a message that nobody sent, to " SLICE_FMT, SLICE_ARG(m->topic));
    struct story *s = &t->story[number];
    mono_ms now = day_now(d);
    t->heard_n++;
    if (s->due == 0 || now < s->due || now >= s->due + SECOND || s->heard_n++ != 0)
        fail_msg("story %u of kind %d: its message came at %llu, it was due at %llu, for the %u. time", number, s->kind,
                 (unsigned long long)now, (unsigned long long)s->due, s->heard_n);
    if (s->kind == LETTER && (p != s->peer || props->message_expiry_s != s->left_s))
        fail_msg("story %u: %u s are left of its letter, %u should be", number, props->message_expiry_s, s->left_s);
}

/* ---- samples ------------------------------------------------------------------------------------------------------
 */

/* near: did or does something happen about now? Then a sample means nothing. */
static bool is_near(mono_ms now, mono_ms t)
{
    return t && now + 2 >= t && now < t + SECOND;
}

static void compare(struct test *t, const char *what, uint64_t is, uint64_t should)
{
    if (is != should)
        fail_msg("at %llu there are %llu %s, there should be %llu", (unsigned long long)day_now(&t->day),
                 (unsigned long long)is, what, (unsigned long long)should);
}

static void take_sample(struct test *t)
{
    mono_ms now = day_now(&t->day);
    uint64_t sessions = t->sys_watcher ? 3 : 2, expired = 0, delayed = 0;
    for (uint32_t i = 0; i < STORIES; i++) {
        const struct story *s = &t->story[i];
        for (int k = 0; k < 2; k++) {
            if (is_near(now, s->born[k]) || is_near(now, s->gone[k]))
                return;
            sessions += s->born[k] && s->born[k] < now && now < s->gone[k];
        }
        if (is_near(now, s->expires) || (s->kind == DELAYED && (is_near(now, s->at[0]) || is_near(now, s->due))))
            return;
        expired += s->expires && s->expires < now;
        delayed += s->kind == DELAYED && s->at[0] < now && now < s->due;
    }
    t->samples_n++;
    compare(t, "sessions", day_stat(&t->day, STAT_SESSIONS), sessions);
    compare(t, "messages dropped as too old", day_stat(&t->day, STAT_DROP_EXPIRED), expired);
    compare(t, "messages waiting for their delay", day_stat(&t->day, STAT_DELAYED), delayed);
}

static void on_sample(struct sim_event *ev)
{
    struct test *t = CONTAINER_OF(ev, struct test, sample);
    take_sample(t);
    sim_plan(t->day.loop, ev, day_now(&t->day) + (t->until - t->from) / SAMPLES);
}

/* ---- the whole ----------------------------------------------------------------------------------------------------
 */

static void begin(struct test *t, mono_ms span, uint32_t sys_interval_s, uint64_t seed)
{
    day_open(&t->day, sys_interval_s);
    rng_init(&t->rng, seed);
    t->day.on_heard = on_heard;
    t->sys_interval_s = sys_interval_s;
    t->from = day_now(&t->day) + DAY_S(10);
    t->until = t->from + span;
    t->watcher = day_connect(&t->day, &(struct day_login){.id = "watcher", .clean = true});
    day_subscribe(t->watcher, "d/#");
    t->publisher = day_connect(&t->day, &(struct day_login){.id = "publisher", .clean = true});
    if (sys_interval_s) {
        t->sys_watcher = day_connect(&t->day, &(struct day_login){.id = "sys", .clean = true});
        day_subscribe(t->sys_watcher, "$SYS/broker/uptime");
    }
    for (uint32_t i = 0; i < STORIES; i++) {
        draw(t, &t->story[i], i);
        t->story[i].ev.on_due = on_due;
        sim_plan(t->day.loop, &t->story[i].ev, t->story[i].at[0]);
    }
    t->sample.on_due = on_sample;
    sim_plan(t->day.loop, &t->sample, t->from);
}

static void judge(struct test *t, mono_ms span)
{
    uint32_t due_n = 0;
    for (uint32_t i = 0; i < STORIES; i++) {
        const struct story *s = &t->story[i];
        due_n += s->due != 0;
        if (s->due && s->heard_n != 1)
            fail_msg("story %u of kind %d: its message was due at %llu and never came", i, s->kind,
                     (unsigned long long)s->due);
        if (s->step != STEPS_MAX && s->at[s->step])
            fail_msg("story %u of kind %d is not over", i, s->kind);
    }
    assert_int_equal(t->heard_n, due_n);
    assert_true(due_n > STORIES / 3);
    assert_true(t->samples_n > SAMPLES / 2);
    mono_ms rounds = t->sys_interval_s ? span / DAY_S(t->sys_interval_s) : 0;
    if (rounds) /* what is retained, and one a round */
        assert_in_range(t->sys_n, rounds, rounds + 3);
    assert_int_equal(day_stat(&t->day, STAT_SESSIONS), rounds ? 3 : 2);
}

static void play(mono_ms span, uint32_t sys_interval_s, uint64_t seed)
{
    struct test *t = calloc(1, sizeof(*t));
    assert_non_null(t);
    begin(t, span, sys_interval_s, seed);
    mono_ms start = day_now(&t->day), end = t->until + span / 2; /* a story may end a little after */
    loop_sim_run_to(t->day.loop, end);
    judge(t, end - start);
    sim_cancel(t->day.loop, &t->sample);
    day_close(&t->day);
    free(t);
}

static void test_a_day(void **state)
{
    (void)state;
    play(DAY_S(24 * 3600), 10, 1);
}

static void test_half_a_year(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        play(DAY_S(182 * 24 * 3600), 0, seed);
}

static void test_twenty_years(void **state)
{
    (void)state;
    play(DAY_S(20 * UINT64_C(31557600)), 0, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_day),
        cmocka_unit_test(test_half_a_year),
        cmocka_unit_test(test_twenty_years),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
