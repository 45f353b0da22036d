/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_restore.c: a broker that begins anew on what its store kept, as MQTT sessions see it: subscriptions, what waits,
 * what was in flight in every phase of QoS 1 and 2 both ways, retained messages, wills, groups, and the time that
 * passed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/tx.h"
#include "tests/support/restored.h"

#define HOUR_S 3600u

/* ---- sessions ------------------------------------------------------------------------------------------------ */

/* MQTT 5 §4.1, 3.1.1 §4.1: a session with an expiry survives, one without does not. */
static void sessions_survive(void **state)
{
    (void)state;
    for (enum fake_end how = FAKE_CLOSES; how <= FAKE_CRASHES; how++) {
        struct fake *f = restored_new();
        verb_hang_up(fake_login(f, "away", HOUR_S));
        (void)fake_login(f, "online", HOUR_S);
        (void)fake_login(f, "brief", 0);
        struct conn *c = fake_login(f, "changed", HOUR_S);
        assert_int_equal(broker_set_expiry(c, 0), ERR_OK);
        (void)fake_login(f, "ever", SESSION_EXPIRY_NEVER);
        restart(f, how, 1000);
        (void)back(f, "away", HOUR_S);
        (void)back(f, "online", HOUR_S);
        (void)back(f, "ever", HOUR_S);
        (void)fresh(f, "brief", HOUR_S);
        (void)fresh(f, "changed", HOUR_S);
        restart(f, how, 1000);
        (void)back(f, "brief", HOUR_S);
        (void)back(f, "away", HOUR_S);
        fake_free(f);
    }
}

/* [MQTT-3.1.2-23]: the time it was off counts, from when the session went offline. */
static void expiry_goes_on(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    verb_hang_up(fake_login(f, "short", 100));
    fake_wait(f, 50000);
    (void)fake_login(f, "online", 100);
    (void)fake_login(f, "ever", SESSION_EXPIRY_NEVER);
    restart(f, FAKE_CRASHES, 40000);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 3);
    fake_wait(f, 9000);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 3);
    fake_wait(f, 2000); /* 101 seconds since "short" left */
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 2);
    fake_wait(f, 50000); /* 101 since "online" was cut off */
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 1);
    (void)fresh(f, "short", HOUR_S);
    verb_hang_up(fresh(f, "online", 100));
    (void)back(f, "ever", 10);
    restart(f, FAKE_CLOSES, 200000); /* over while the broker was away */
    fake_wait(f, 1);
    (void)back(f, "short", HOUR_S);
    (void)fresh(f, "online", 100);
    (void)fresh(f, "ever", 10);
    fake_free(f);
}

/* The wall clock may fall back while nothing runs: then no time has passed. */
static void clock_falls_back(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    verb_hang_up(fake_login(f, "me", 100));
    fake_wait(f, 50000);
    verb_hang_up(fake_login(f, "you", 100));
    fake_run(f);
    f->wall_at_0 -= UINT64_C(3600000);
    restart(f, FAKE_CRASHES, 0);
    fake_wait(f, 48000);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 2);
    fake_wait(f, 3000);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 1);
    fake_wait(f, 50000);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 0);
    fake_free(f);
}

/* What is made later has other numbers than what there was. */
static void numbers_go_on(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    char id[16];
    for (unsigned life = 0; life < 5; life++) {
        for (unsigned i = 0; i <= life; i++) {
            snprintf(id, sizeof(id), "me%u", i);
            struct conn *c = login_as(f, id, HOUR_S, i < life);
            if (i == life)
                sub(c, id, 1);
        }
        restart(f, life % 2 ? FAKE_CRASHES : FAKE_CLOSES, 10);
        struct conn *p = fresh(f, "", 0);
        for (unsigned i = 0; i <= life; i++) {
            snprintf(id, sizeof(id), "me%u", i);
            pub(p, id, id, 1);
        }
        for (unsigned i = 0; i <= life; i++) {
            char expected[64];
            snprintf(id, sizeof(id), "me%u", i);
            fake_forget(f);
            struct conn *c = back(f, id, HOUR_S);
            snprintf(expected, sizeof(expected), "%s=%s q1 #1", id, id);
            assert_string_equal(got(f, c), expected);
            settle(c, 1, OUTCOME_ACK);
        }
    }
    fake_free(f);
}

/* ---- subscriptions ------------------------------------------------------------------------------------------- */

static void subscriptions_survive(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "me", HOUR_S);
    sub_opts(c, "a/+", &(struct binding_opts){.qos = 1, .sub_id = 7});
    sub_opts(c, "a/#", &(struct binding_opts){.qos = 2, .sub_id = 268435455, .retain_as_published = true});
    sub_opts(c, "own/#", &(struct binding_opts){.qos = 2, .no_local = true});
    sub(c, "changed", 2);
    sub(c, "changed", 0);
    sub(c, "gone", 1);
    (void)fake_unsub(c, "gone");
    fake_run(f);
    restart(f, FAKE_CRASHES, 10);
    c = back(f, "me", HOUR_S);
    struct conn *p = fresh(f, "", 0);
    fake_forget(f);
    pub_retained(p, "a/b", "both"); /* [MQTT-3.3.1-13] retain as published */
    pub(p, "a", "one", 2);
    pub(p, "changed", "0", 2);
    pub(p, "gone", "nobody", 2);
    pub(c, "own/x", "not to me", 1); /* [MQTT-3.8.3-3] */
    pub(p, "own/x", "to me", 1);
    assert_string_equal(got(f, c), "a/b=both q1 #1 ids 7,268435455 retain; a=one q2 #2 ids 268435455; changed=0 q0; "
                                   "own/x=to me q1 #3");
    (void)fake_unsub(c, "a/#"); /* and they can be taken back */
    fake_run(f);
    restart(f, FAKE_CRASHES, 10);
    p = fresh(f, "", 0);
    pub(p, "a", "nobody", 2);
    c = back(f, "me", HOUR_S);
    pub(p, "a/c", "+", 2);
    assert_string_equal(got(f, c), "a/b=both q1 #1 ids 7,268435455 retain dup; a=one q2 #2 ids 268435455 dup; "
                                   "own/x=to me q1 #3 dup; a/c=+ q1 #4 ids 7");
    fake_free(f);
}

/* A subscription whose retained messages were still coming gets them. */
static void replay_goes_on(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *p = fake_login(f, "p", 0);
    char topic[16];
    for (unsigned i = 0; i < 50; i++) {
        snprintf(topic, sizeof(topic), "r/%02u", i);
        pub_retained(p, topic, "x");
    }
    struct attach a = fake_attach("me", HOUR_S);
    a.quota = 5;
    struct conn *c = fake_conn(f);
    broker_attach(c, &a);
    sub(c, "r/#", 1);
    assert_true(fake_count_of(f, FAKE_DELIVER, c) < 50);
    restart(f, FAKE_CRASHES, 10);
    c = back(f, "me", HOUR_S);
    uint32_t met[50] = {0};
    for (unsigned i = 0; i < f->event_n; i++) {
        const struct fake_event *e = &f->event[i];
        if (e->what != FAKE_DELIVER || e->conn != fake_number(c))
            continue;
        assert_true(e->retain);
        met[(e->topic[2] - '0') * 10 + e->topic[3] - '0']++;
        assert_int_equal(broker_settle(c, e->ticket, OUTCOME_ACK), ERR_OK);
        fake_run(f);
    }
    for (unsigned i = 0; i < 50; i++)
        assert_true(met[i] >= 1);
    fake_free(f);
}

/* ---- what waits ---------------------------------------------------------------------------------------------- */

static void waiting_messages(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "me", HOUR_S), *p = fake_login(f, "p", 0);
    sub_opts(c, "t", &(struct binding_opts){.qos = 2, .sub_id = 5});
    sub_opts(c, "#", &(struct binding_opts){.qos = 1, .sub_id = 3});
    pub_retained(p, "t", "kept");
    verb_hang_up(c);
    pub(p, "t", "1", 1);
    pub(p, "t", "2", 2);
    pub(p, "u", "3", 2);
    pub(p, "t", "", 1);
    struct buf attrs;
    buf_init(&attrs, &f->store_mem);
    attr_put(&attrs, ATTR_USER, SLICE("k"), SLICE("v"));
    struct msgview v = {.topic = SLICE("t"),
                        .payload = SLICE("long"),
                        .attrs = buf_slice(&attrs),
                        .qos = 1,
                        .expires_at = f->now + 100000,
                        .flags = MSG_DURABLE};
    pub_view(p, &v, NULL);
    v.payload = SLICE("short");
    v.expires_at = f->now + 5000;
    pub_view(p, &v, NULL);
    buf_fini(&attrs);
    restart(f, FAKE_CRASHES, 10000); /* [MQTT-3.3.2-5]: expired while the broker was away */
    c = back(f, "me", HOUR_S);
    assert_string_equal(got(f, c), "t=kept q1 #1 ids 3,5 dup; t=1 q1 #2 ids 3,5; t=2 q2 #3 ids 3,5; u=3 q1 #4 ids 3; "
                                   "t= q1 #5 ids 3,5; t=long q1 #6 ids 3,5");
    restart(f, FAKE_CLOSES, 100000); /* in flight, a message expires no more; its identifiers stay */
    c = back(f, "me", HOUR_S);
    assert_string_equal(got(f, c), "t=kept q1 #1 ids 3,5 dup; t=1 q1 #2 ids 3,5 dup; t=2 q2 #3 ids 3,5 dup; "
                                   "u=3 q1 #4 ids 3 dup; t= q1 #5 ids 3,5 dup; t=long q1 #6 ids 3,5 dup");
    for (uint32_t ticket = 1; ticket <= 6; ticket++) {
        if (ticket == 3)
            settle(c, ticket, OUTCOME_RECEIVED);
        settle(c, ticket, ticket == 3 ? OUTCOME_COMPLETE : OUTCOME_ACK);
    }
    restart(f, FAKE_CRASHES, 10);
    c = back(f, "me", HOUR_S);
    assert_string_equal(got(f, c), "");
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_free(f);
}

/* QoS 0 and messages that are not durable are not kept; nor is what was acknowledged. */
static void what_does_not_last(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "me", HOUR_S), *p = fake_login(f, "p", 0);
    sub(c, "t", 1);
    pub(p, "t", "done", 1);
    settle(c, 1, OUTCOME_ACK);
    verb_hang_up(c);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("transient"), .qos = 1};
    pub_view(p, &v, NULL);
    pub(p, "t", "kept", 1);
    restart(f, FAKE_CLOSES, 10);
    c = back(f, "me", HOUR_S);
    assert_string_equal(got(f, c), "t=kept q1 #1");
    fake_free(f);
}

/* ---- in flight ----------------------------------------------------------------------------------------------- */

/* [MQTT-4.4.0-1]: with their original packet ids, in their order, before anything new. */
static void qos1_out(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "me", HOUR_S), *p = fake_login(f, "p", 0);
    sub(c, "t", 1);
    pub(p, "t", "1", 1);
    pub(p, "t", "2", 1);
    pub(p, "t", "3", 1);
    settle(c, 2, OUTCOME_ACK);
    restart(f, FAKE_CRASHES, 10);
    p = fresh(f, "p", 0);
    pub(p, "t", "4", 1);
    c = back(f, "me", HOUR_S);
    assert_string_equal(got(f, c), "t=1 q1 #1 dup; t=3 q1 #3 dup; t=4 q1 #4");
    settle(c, 3, OUTCOME_ACK);
    settle(c, 4, OUTCOME_ACK);
    settle(c, 1, OUTCOME_ACK);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_free(f);
}

/* [MQTT-4.3.3-1] .. -5: whatever phase it was in, it goes on there: never a second PUBLISH under another id. */
static void qos2_out(void **state)
{
    (void)state;
    for (enum fake_end how = FAKE_CLOSES; how <= FAKE_CRASHES; how++) {
        struct fake *f = restored_new();
        struct conn *c = fake_login(f, "me", HOUR_S), *p = fake_login(f, "p", 0);
        sub(c, "t", 2);
        pub(p, "t", "sent", 2);
        pub(p, "t", "received", 2);
        pub(p, "t", "complete", 2);
        settle(c, 3, OUTCOME_RECEIVED);
        settle(c, 2, OUTCOME_RECEIVED);
        settle(c, 3, OUTCOME_COMPLETE);
        restart(f, how, 10);
        c = back(f, "me", HOUR_S);
        assert_string_equal(got(f, c), "t=sent q2 #1 dup; release #2");
        assert_int_equal(broker_settle(c, 2, OUTCOME_ACK), ERR_PROTOCOL);
        settle(c, 1, OUTCOME_RECEIVED);
        restart(f, how, 10);
        c = back(f, "me", HOUR_S);
        assert_string_equal(got(f, c), "release #1; release #2");
        settle(c, 2, OUTCOME_COMPLETE);
        settle(c, 1, OUTCOME_COMPLETE);
        restart(f, how, 10);
        c = back(f, "me", HOUR_S);
        assert_string_equal(got(f, c), "");
        p = fresh(f, "", 0);
        pub(p, "t", "new", 2);
        assert_string_equal(got(f, c), "t=new q2 #1");
        fake_free(f);
    }
}

/* [MQTT-4.3.3-10]: a packet id that was not released is remembered: the repetition is no second message. */
static void qos2_in(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "me", HOUR_S), *p = fake_login(f, "p", HOUR_S);
    sub(c, "t", 1);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("once"), .qos = 2, .flags = MSG_DURABLE};
    assert_int_equal(fake_pub_view(p, &v, NULL, 10), ERR_AGAIN);
    struct msgview nobodys = {.topic = SLICE("nobody"), .payload = SLICE("x"), .qos = 2, .flags = MSG_DURABLE};
    (void)fake_pub_view(p, &nobodys, NULL, 11);
    (void)fake_pub_view(p, &v, NULL, 12);
    fake_run(f);
    broker_rx_release(p, 12, verb_next(p));
    fake_run(f);
    restart(f, FAKE_CRASHES, 10);
    p = back(f, "p", HOUR_S);
    assert_int_equal(broker_rx_n(p), 2);
    assert_true(broker_rx_is_open(p, 10) && broker_rx_is_open(p, 11));
    (void)fake_pub_view(p, &v, NULL, 10);
    (void)fake_pub_view(p, &v, NULL, 12); /* a new one */
    fake_run(f);
    c = back(f, "me", HOUR_S);
    assert_string_equal(got(f, c), "t=once q1 #1 dup; t=once q1 #2 dup; t=once q1 #3");
    settle(c, 1, OUTCOME_ACK); /* of the message only its id is left */
    settle(c, 2, OUTCOME_ACK);
    settle(c, 3, OUTCOME_ACK);
    restart(f, FAKE_CRASHES, 10);
    p = back(f, "p", HOUR_S);
    assert_true(broker_rx_is_open(p, 10) && broker_rx_is_open(p, 11) && broker_rx_is_open(p, 12));
    for (uint16_t id = 10; id <= 12; id++)
        broker_rx_release(p, id, verb_next(p));
    restart(f, FAKE_CRASHES, 10);
    p = back(f, "p", HOUR_S);
    assert_int_equal(broker_rx_n(p), 0);
    fake_free(f);
}

/* ---- retained ------------------------------------------------------------------------------------------------ */

static void retained_messages(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", HOUR_S);
    pub_retained(p, "a", "old");
    pub_retained(p, "a", "new");
    pub_retained(p, "b", "x");
    pub_retained(p, "b", "");
    sub(s, "c", 1);
    settle(s, (pub_retained(p, "c", "delivered"), 1), OUTCOME_ACK);
    struct msgview v = {.topic = SLICE("d"),
                        .payload = SLICE("short"),
                        .qos = 1,
                        .expires_at = f->now + 5000,
                        .flags = MSG_DURABLE | MSG_RETAIN};
    pub_view(p, &v, NULL);
    v.topic = SLICE("e");
    v.payload = SLICE("longer");
    v.expires_at = f->now + 20000;
    pub_view(p, &v, NULL);
    restart(f, FAKE_CRASHES, 10000);
    fake_wait(f, 1);
    assert_int_equal(f->shard->vhost->retained.n, 3);
    struct conn *c = fresh(f, "", 0);
    sub(c, "#", 1);
    assert_string_equal(got(f, c), "a=new q1 #1 retain; c=delivered q1 #2 retain; e=longer q1 #3 retain");
    fake_wait(f, 15000);
    assert_int_equal(f->shard->vhost->retained.n, 2);
    pub_retained(c, "a", "");
    restart(f, FAKE_CRASHES, 10);
    assert_int_equal(f->shard->vhost->retained.n, 1);
    fake_free(f);
}

/* ---- wills ---------------------------------------------------------------------------------------------------- */

static struct conn *login_with_will(struct fake *f, const char *id, uint32_t expiry_s, const char *topic,
                                    uint32_t delay_s)
{
    struct msgview will = {
        .topic = slice_from_str(topic), .payload = SLICE("gone"), .qos = 1, .flags = MSG_DURABLE | MSG_WILL};
    struct attach a = fake_attach(id, expiry_s);
    a.will = &will;
    a.will_delay_s = delay_s;
    struct conn *c = fake_conn(f);
    broker_attach(c, &a);
    fake_run(f);
    return c;
}

/* [MQTT-3.1.2-8]: whoever was cut off by the broker's end, or was away already. */
static void wills(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *w = fake_login(f, "watcher", HOUR_S);
    sub(w, "will/#", 1);
    (void)login_with_will(f, "at once", HOUR_S, "will/at once", 0);
    (void)login_with_will(f, "delayed", HOUR_S, "will/delayed", 60);
    (void)login_with_will(f, "returns", HOUR_S, "will/returns", 60);
    verb_hang_up(login_with_will(f, "away", HOUR_S, "will/away", 60));
    struct conn *c = login_with_will(f, "forgotten", HOUR_S, "will/forgotten", 60);
    broker_forget_will(c);
    fake_wait(f, 50000);
    pub(w, "nobody", "the newest time in the store", 1);
    pub_retained(w, "r", "is now");
    restart(f, FAKE_CRASHES, 5000);
    w = back(f, "watcher", HOUR_S);
    assert_string_equal(got(f, w), "will/at once=gone q1 #1");
    (void)back(f, "returns", HOUR_S);
    fake_forget(f);
    fake_wait(f, 6000); /* 61 seconds since "away" left */
    assert_string_equal(got(f, w), "will/away=gone q1 #2");
    fake_forget(f);
    restart(f, FAKE_CRASHES, 0);
    fake_wait(f, 100000);
    w = back(f, "watcher", HOUR_S);
    assert_string_equal(got(f, w), "will/at once=gone q1 #1 dup; will/away=gone q1 #2 dup; will/delayed=gone q1 #3");
    fake_free(f);
}

/* ---- groups --------------------------------------------------------------------------------------------------- */

static void join(struct conn *c, const char *group, const char *filter, const struct binding_opts *o)
{
    struct fake_filter ff;
    uint64_t receipt = verb_next(c);
    broker_subscribe_group(c, slice_from_str(group), fake_filter(&ff, filter), o, receipt);
    assert_int_equal(verb_answer(verb_fake(c), receipt), ERR_OK);
}

static void leave(struct conn *c, const char *group, const char *filter)
{
    struct fake_filter ff;
    uint64_t receipt = verb_next(c);
    broker_unsubscribe_group(c, slice_from_str(group), fake_filter(&ff, filter), receipt);
    assert_int_equal(verb_answer(verb_fake(c), receipt), ERR_OK);
}

/* Members, what is a member's own, what waits for the group; what was with a member at QoS 1 is for any of them, at
 * QoS 2 it is that member's [MQTT-4.8.2-4]. */
static void groups(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *a = fake_login(f, "a", HOUR_S), *b = fake_login(f, "b", HOUR_S), *p = fake_login(f, "p", 0);
    join(a, "g", "t/#", &(struct binding_opts){.qos = 2, .sub_id = 9});
    pub(p, "t/1", "twice is no option", 2);
    settle(a, 1, OUTCOME_RECEIVED);
    pub(p, "t/2", "sent to a", 2);
    pub(p, "t/3", "for anybody", 1);
    join(b, "g", "t/#", &(struct binding_opts){.qos = 1});
    verb_hang_up(a);
    verb_hang_up(b);
    pub(p, "t/4", "waits", 2);
    restart(f, FAKE_CRASHES, 10);
    b = back(f, "b", HOUR_S);
    assert_string_equal(got(f, b), "t/3=for anybody q1 #1 redelivered; t/4=waits q1 #2");
    a = back(f, "a", HOUR_S);
    assert_string_equal(got(f, a), "release #1; t/2=sent to a q2 #2 ids 9 dup");
    leave(a, "g", "t/#");
    leave(b, "g", "t/#");
    restart(f, FAKE_CRASHES, 10);
    p = fresh(f, "p", 0);
    assert_int_equal(fake_pub(p, "t/5", "nobody", 1), ERR_NO_MATCH);
    fake_free(f);
}

/* What a session had from a group that it left since is still its own, and nobody else's [MQTT-4.8.2-4]. */
static void left_in_flight(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *a = fake_login(f, "a", HOUR_S), *b = fake_login(f, "b", HOUR_S), *p = fake_login(f, "p", 0);
    join(a, "g", "t", &(struct binding_opts){.qos = 2});
    pub(p, "t", "sent", 2);
    pub(p, "t", "received", 2);
    settle(a, 2, OUTCOME_RECEIVED);
    join(b, "g", "t", &(struct binding_opts){.qos = 2});
    leave(a, "g", "t");
    restart(f, FAKE_CRASHES, 10);
    b = back(f, "b", HOUR_S);
    assert_string_equal(got(f, b), "");
    a = back(f, "a", HOUR_S);
    assert_string_equal(got(f, a), "t=sent q2 #1 dup; release #2");
    settle(a, 1, OUTCOME_RECEIVED);
    settle(a, 1, OUTCOME_COMPLETE);
    settle(a, 2, OUTCOME_COMPLETE);
    p = fresh(f, "", 0);
    fake_forget(f);
    pub(p, "t", "for b", 2);
    assert_string_equal(got(f, a), "");
    assert_string_equal(got(f, b), "t=for b q2 #1");
    fake_free(f);
}

/* A retained value that was still being replayed stands before the newer message of its topic, also in the store. */
static void replayed_before_live(void **state)
{
    (void)state;
    for (unsigned in_tx = 0; in_tx < 2; in_tx++) {
        struct fake *f = restored_new();
        struct conn *p = fake_login(f, "p", 0);
        char topic[16];
        for (unsigned i = 0; i < 20; i++) {
            snprintf(topic, sizeof(topic), "r/%02u", i);
            pub_retained(p, topic, "old");
        }
        struct attach a = fake_attach("me", HOUR_S);
        a.quota = 2;
        struct conn *c = fake_conn(f);
        broker_attach(c, &a);
        (void)fake_sub(c, "r/#", 1); /* in this turn nothing is replayed yet */
        struct publish now = {.msg = {.topic = SLICE("r/15"), .payload = SLICE("new"), .qos = 1, .flags = MSG_DURABLE},
                              .receipt = RECEIPT_NONE};
        struct tx *t = in_tx ? tx_new(p) : NULL;
        if (t == NULL) {
            broker_publish(p, &now);
        } else {
            assert_int_equal(tx_publish(p, t, &now), ERR_OK);
            tx_commit(p, t, RECEIPT_NONE);
        }
        restart(f, FAKE_CRASHES, 10);
        c = back(f, "me", HOUR_S);
        const char *text = got(f, c);
        const char *old = strstr(text, "r/15=old"), *new = strstr(text, "r/15=new");
        assert_non_null(new);
        assert_true(old != NULL && old < new);
        fake_free(f);
    }
}

/* A group of sessions that expired while the broker was away ends. */
static void deserted_group(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *a = fake_login(f, "a", 60), *p = fake_login(f, "p", 0);
    join(a, "g", "t", &(struct binding_opts){.qos = 1});
    verb_hang_up(a);
    pub(p, "t", "x", 1);
    restart(f, FAKE_CRASHES, 100000);
    fake_wait(f, 1);
    p = fresh(f, "p", 0);
    assert_int_equal(fake_pub(p, "t", "nobody", 1), ERR_NO_MATCH);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_survive),
        cmocka_unit_test(expiry_goes_on),
        cmocka_unit_test(clock_falls_back),
        cmocka_unit_test(numbers_go_on),
        cmocka_unit_test(subscriptions_survive),
        cmocka_unit_test(replay_goes_on),
        cmocka_unit_test(waiting_messages),
        cmocka_unit_test(what_does_not_last),
        cmocka_unit_test(qos1_out),
        cmocka_unit_test(qos2_out),
        cmocka_unit_test(qos2_in),
        cmocka_unit_test(retained_messages),
        cmocka_unit_test(wills),
        cmocka_unit_test(groups),
        cmocka_unit_test(deserted_group),
        cmocka_unit_test(left_in_flight),
        cmocka_unit_test(replayed_before_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
