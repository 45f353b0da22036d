/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_session.c: tickets through all their numbers, what is sent again after a resume and in which order, wills,
 * expiry, taking over, inbound QoS 2 ids, and what goes back to other queues when a session leaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/support/fake.h"

static void cut_off(struct fake *f, struct conn *c)
{
    fake_pipe_of(c)->is_reset = true;
    fake_run(f);
}

static struct session *session(struct fake *f, const char *id)
{
    return map_get(&f->shard->vhost->sessions, slice_from_str(id));
}

static const char *delivered(const struct fake *f, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < f->event_n; i++) {
        const struct fake_event *e = &f->event[i];
        if (e->what == FAKE_DELIVER)
            n += (size_t)snprintf(out + n, cap - n, "%s%s", e->payload, e->redelivered ? "!" : "");
        if (e->what == FAKE_RELEASE)
            n += (size_t)snprintf(out + n, cap - n, "R%u", e->ticket);
    }
    return out;
}

/* ---- tickets ------------------------------------------------------------------------------------------------- */

struct slots {
    struct fake *f;
    struct session *s;
    struct entry e[2000];
};

static struct slots the_slots;

static void slots_init(struct slots *v, uint32_t ticket_max)
{
    memset(v, 0, sizeof(*v));
    v->f = fake_new(NULL);
    v->s = session_new(v->f->shard->vhost, SLICE("t"));
    v->s->ticket_max = ticket_max;
}

static uint32_t take(struct slots *v, unsigned i)
{
    struct flight *f = tickets_take(v->s);
    v->e[i].ticket = f ? f->ticket : 0;
    if (f) {
        f->of.entry = &v->e[i];
        assert_ptr_equal(tickets_get(v->s, f->ticket), f);
    }
    return v->e[i].ticket;
}

static void give(struct slots *v, unsigned i)
{
    uint32_t t = v->e[i].ticket;
    struct flight *f = tickets_get(v->s, t);
    assert_ptr_equal(f->of.entry, &v->e[i]);
    tickets_give(v->s, f);
    v->e[i].ticket = 0;
    assert_null(tickets_get(v->s, t));
}

/* [MQTT-2.2.1-4] never a number that is in use; 1 .. 65,535, and round again. */
static void tickets_go_round(void **state)
{
    (void)state;
    struct slots *v = &the_slots;
    slots_init(v, 65535);
    uint32_t stuck = take(v, 0);
    assert_int_equal(stuck, 1);
    size_t bytes = 0;
    for (unsigned i = 0; i < 200000; i++) { /* three times round with one that never comes back */
        uint32_t t = take(v, 1);
        assert_true(t >= 1 && t <= 65535 && t != stuck);
        give(v, 1);
        if (i == 100)
            bytes = v->f->heap.bytes;
    }
    assert_true(v->f->heap.bytes <= bytes); /* and without growing */
    give(v, 0);
    fake_free(v->f);
}

static void tickets_against_a_set(void **state)
{
    (void)state;
    static const uint32_t max[] = {1, 2, 7, 8, 9, 100, 1023, 1999, 65535};
    struct slots *v = &the_slots;
    static uint8_t used[65536];
    for (size_t m = 0; m < ARRAY_N(max); m++) {
        struct rng r;
        uint32_t n = 0;
        slots_init(v, max[m]);
        rng_init(&r, m);
        memset(used, 0, sizeof(used));
        for (unsigned step = 0; step < 60000; step++) {
            unsigned i = rng_below(&r, rng_chance(&r, 50) ? 2000 : 30);
            if (v->e[i].ticket) {
                used[v->e[i].ticket] = 0;
                give(v, i);
                n--;
                continue;
            }
            uint32_t t = take(v, i);
            assert_int_equal(t != 0, n < max[m]); /* refused only when every number is in use */
            if (!t)
                continue;
            assert_true(t <= max[m] && !used[t]);
            used[t] = 1;
            n++;
            assert_int_equal(v->s->tickets.n, n);
        }
        assert_null(tickets_get(v->s, 0));
        assert_null(tickets_get(v->s, max[m] + 1));
        for (unsigned i = 0; i < 2000; i++)
            if (v->e[i].ticket)
                give(v, i);
        assert_true(v->s->tickets.cap <= 64);
        fake_free(v->f);
    }
}

static void no_memory_for_tickets(void **state)
{
    (void)state;
    struct slots *v = &the_slots;
    slots_init(v, 65535);
    v->f->heap.fail_at = v->f->heap.calls + 1;
    assert_int_equal(take(v, 0), 0);
    assert_int_equal(take(v, 0), 1);
    for (unsigned i = 1; i < 7; i++)
        assert_int_equal(take(v, i), i + 1);
    v->f->heap.fail_at = v->f->heap.calls + 1;
    uint32_t got = take(v, 7);
    if (got == 0)
        got = take(v, 7);
    assert_int_equal(got, 8);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(v->e[i].ticket, i + 1);
        give(v, i);
    }
    fake_free(v->f);
}

/* one message that could not go for want of memory is not forgotten in silence: the connection is closed for it. */
static void a_delivery_without_memory_is_not_forgotten(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 1000);
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    f->heap.fail_at = f->heap.calls + 1; /* the ticket table */
    shard_turn(f->shard);
    assert_int_equal(f->shard->close_n[CLOSE_NOMEM], 1); /* no place for the packet id: that connection ends, said so */
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    fake_run(f);
    fake_free(f);
}

/* a delivery that would have passed by the queue, but finds no memory, takes the way through the queue. */
static void a_direct_delivery_without_memory_waits(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "1", 1), ERR_OK); /* a route, a ticket table and a pool of entries */
    fake_run(f);
    while (s->session->tickets.n < s->session->tickets.cap)
        assert_int_equal(fake_pub(p, "t", "more", 1), ERR_OK);
    uint32_t in_flight = s->session->tickets.n;
    f->heap.fail_at = f->heap.calls + 1; /* a larger table */
    assert_int_equal(fake_pub(p, "t", "last", 1), ERR_OK);
    assert_true(f->heap.calls >= f->heap.fail_at);
    assert_int_equal(s->session->queue->ready_n, 1);
    assert_int_equal(s->session->tickets.n, in_flight);
    fake_run(f);
    assert_int_equal(s->session->tickets.n, in_flight + 1);
    assert_int_equal(fake_count(f, FAKE_DELIVER), in_flight + 1);
    fake_free(f);
}

/* in flight without the message, it ends with the session: nothing is sent again, and it is counted. */
static void a_last_chance_keeps_no_message(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0), *t = fake_login(f, "t", 1000);
    assert_int_equal(fake_sub(s, "a", 2), ERR_OK);
    assert_int_equal(fake_sub(t, "b", 2), ERR_OK);
    uint64_t living = msg_pool_living(&f->shard->msgs);
    assert_int_equal(fake_pub(p, "a", "x", 2), ERR_OK);
    fake_run(f);
    assert_int_equal(msg_pool_living(&f->shard->msgs), living);
    assert_int_equal(fake_pub(p, "b", "x", 2), ERR_OK);
    fake_run(f);
    assert_int_equal(msg_pool_living(&f->shard->msgs), living + 1); /* its session may come back for it */
    assert_int_equal(broker_settle(s, fake_nth(f, FAKE_DELIVER, 0)->ticket, OUTCOME_RECEIVED), ERR_OK);
    conn_close(s, CLOSE_EOF);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 1);
    fake_free(f);
}

/* ---- resume -------------------------------------------------------------------------------------------------- */

static struct conn *subscriber(struct fake *f, const char *id, uint32_t quota)
{
    struct conn *c = fake_conn(f);
    struct attach a = fake_attach(id, 1000);
    a.quota = quota;
    broker_attach(c, &a);
    return c;
}

/* [MQTT-4.4.0-1] everything unacknowledged again, [MQTT-4.6.0-1] in the original order, with its old ticket and DUP;
 * what the peer has (PUBREC) only as PUBREL; and only then what waited. */
static void sent_again_in_order(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = subscriber(f, "s", 5);
    char text[128];
    assert_int_equal(fake_sub(s, "t", 2), ERR_OK);
    static const char *const payload[] = {"a", "b", "c", "d", "e", "f", "g"};
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(fake_pub(p, "t", payload[i], i % 2 ? 2 : 1), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "abcde");
    assert_int_equal(broker_settle(s, 2, OUTCOME_RECEIVED), ERR_OK); /* b */
    assert_int_equal(broker_settle(s, 3, OUTCOME_ACK), ERR_OK);      /* c: f goes out */
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "abcdeR2f");
    cut_off(f, s);
    fake_forget(f);
    s = subscriber(f, "s", 5);
    assert_true(fake_last(f, FAKE_ATTACHED)->session_present);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "a!R2d!e!f!g");
    assert_int_equal(fake_nth(f, FAKE_DELIVER, 0)->ticket, 1);
    assert_int_equal(fake_nth(f, FAKE_DELIVER, 1)->ticket, 4);
    assert_int_equal(broker_settle(s, 2, OUTCOME_COMPLETE), ERR_OK);
    for (uint32_t t = 1; t <= 7; t++)
        if (tickets_get(s->session, t))
            assert_int_equal(
                broker_settle(s, t,
                              flight_entry(tickets_get(s->session, t))->sent_qos == 2 ? OUTCOME_RECEIVED : OUTCOME_ACK),
                ERR_OK);
    for (uint32_t t = 1; t <= 7; t++)
        if (tickets_get(s->session, t))
            assert_int_equal(broker_settle(s, t, OUTCOME_COMPLETE), ERR_OK);
    assert_int_equal(s->session->sent_n, 0);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_free(f);
}

static void a_smaller_quota_after_the_resume(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = subscriber(f, "s", 6);
    char text[128];
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    for (unsigned i = 0; i < 8; i++) {
        char one[2] = {(char)('a' + i), 0};
        assert_int_equal(fake_pub(p, "t", one, 1), ERR_OK);
    }
    fake_run(f);
    cut_off(f, s);
    fake_forget(f);
    s = subscriber(f, "s", 2);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "a!b!");
    assert_int_equal(broker_settle(s, 2, OUTCOME_ACK), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "a!b!c!");
    assert_int_equal(broker_settle(s, 5, OUTCOME_ACK), ERR_OK); /* the peer had e all along: it is not sent again */
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "a!b!c!");
    assert_int_equal(broker_settle(s, 1, OUTCOME_ACK), ERR_OK);
    assert_int_equal(broker_settle(s, 3, OUTCOME_ACK), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "a!b!c!d!f!");
    assert_int_equal(broker_settle(s, 4, OUTCOME_ACK), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "a!b!c!d!f!g");
    assert_int_equal(broker_settle(s, 6, OUTCOME_ACK), ERR_OK);
    fake_run(f);
    assert_string_equal(delivered(f, text, sizeof(text)), "a!b!c!d!f!gh");
    fake_free(f);
}

/* cut off again and again in the middle of sending again: nothing is lost, doubled in the books or out of order. */
static void cut_off_while_sending_again(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = subscriber(f, "s", 10);
    struct rng r;
    rng_init(&r, 8);
    assert_int_equal(fake_sub(s, "t", 2), ERR_OK);
    uint32_t sent = 0, done = 0;
    while (done < 400) {
        for (uint32_t n = rng_below(&r, 6); n > 0 && sent < 400; n--, sent++) {
            char text[16];
            snprintf(text, sizeof(text), "%u", sent);
            assert_int_equal(fake_pub(p, "t", text, (uint8_t)(1 + rng_below(&r, 2))), ERR_OK);
        }
        fake_forget(f);
        fake_run(f);
        uint32_t last = 0;
        LIST_EACH(&s->session->inflight, it) /* in flight is in order of sending */
        {
            const struct entry *e = LIST_ITEM(it, struct entry, node);
            assert_true(e->seq + 1 > last);
            last = (uint32_t)e->seq + 1;
        }
        for (uint32_t i = 0; i < f->event_n; i++) {
            struct fake_event e = f->event[i];
            if ((e.what != FAKE_DELIVER && e.what != FAKE_RELEASE) || e.conn != fake_number(s) || rng_chance(&r, 40))
                continue;
            bool release = e.what == FAKE_RELEASE;
            if (!release && e.qos == 2) {
                assert_int_equal(broker_settle(s, e.ticket, OUTCOME_RECEIVED), ERR_OK);
                continue;
            }
            if (release && !tickets_get(s->session, e.ticket))
                continue; /* released twice: PUBREL again after the resume */
            assert_int_equal(broker_settle(s, e.ticket, release ? OUTCOME_COMPLETE : OUTCOME_ACK), ERR_OK);
            done++;
        }
        if (rng_chance(&r, 40)) {
            fake_pipe_of(s)->send_room = rng_chance(&r, 50) ? 0 : SIZE_MAX;
            cut_off(f, s);
            s = subscriber(f, "s", 1 + rng_below(&r, 10));
        }
    }
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_SETTLED), 400);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_free(f);
}

/* output blocked in the middle of sending again: it goes on by itself once the peer reads. */
static void sending_again_goes_on_when_the_peer_reads(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.out_bytes_max = 4096;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0), *s = subscriber(f, "s", 100);
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 40);
    cut_off(f, s);
    fake_forget(f);
    s = fake_conn(f);
    fake_pipe_of(s)->deliver_bytes = 1000;
    fake_pipe_of(s)->send_room = 0;
    struct attach a = fake_attach("s", 1000);
    broker_attach(s, &a);
    fake_run(f);
    assert_true(fake_count(f, FAKE_DELIVER) < 40);
    fake_pipe_of(s)->send_room = SIZE_MAX;
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 40);
    fake_free(f);
}

/* a delivery whose subscription or queue is gone meanwhile, in a session that comes back. */
static void sent_again_from_a_queue_that_is_gone(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = subscriber(f, "s", 10);
    enum err e;
    struct queue *q = broker_declare_queue(s, SLICE("q"), &e);
    struct consume how = {.mode = ACK_EACH, .qos = 2, .receipt = RECEIPT_NONE};
    assert_non_null(broker_consume_queue(s, q, &how));
    struct msgview v = {.topic = SLICE("q"), .payload = SLICE("x"), .qos = 1};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake_pub_view(p, &v, f->shard->vhost->default_exchange, 0), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 3);
    queue_delete(q);
    fake_run(f);
    assert_int_equal(broker_settle(s, 1, OUTCOME_ACK), ERR_OK);
    cut_off(f, s);
    s = subscriber(f, "s", 10);
    fake_run(f);
    for (uint32_t t = 2; t <= 3; t++)
        if (tickets_get(s->session, t))
            assert_int_equal(broker_settle(s, t, OUTCOME_ACK), ERR_OK);
    cut_off(f, s);
    fake_free(f);
}

/* ---- give back ----------------------------------------------------------------------------------------------- */

static void others_get_what_a_leaving_session_had(void **state)
{
    (void)state;
    for (uint32_t expiry = 0; expiry <= 1000; expiry += 1000) {
        struct fake *f = fake_new(NULL);
        struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", expiry), *t = fake_login(f, "t", 0);
        enum err e;
        char text[64];
        struct queue *q = broker_declare_queue(s, SLICE("q"), &e);
        struct consume how = {.mode = ACK_EACH, .prefetch = 4, .qos = 2, .receipt = RECEIPT_NONE};
        assert_non_null(broker_consume_queue(s, q, &how));
        assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
        for (char c = 'a'; c <= 'f'; c++) {
            struct msgview v = {.topic = SLICE("q"), .payload = slice_make(&c, 1), .qos = 1};
            assert_int_equal(fake_pub_view(p, &v, f->shard->vhost->default_exchange, 0), ERR_OK);
            if (c < 'c')
                assert_int_equal(fake_pub(p, "t", c == 'a' ? "1" : "2", 1), ERR_OK);
        }
        fake_run(f);
        assert_int_equal(fake_count(f, FAKE_DELIVER), 6);
        fake_forget(f);
        cut_off(f, s);
        how.prefetch = 0;
        assert_non_null(broker_consume_queue(t, q, &how));
        fake_run(f);
        assert_string_equal(delivered(f, text, sizeof(text)), "a!b!c!d!ef"); /* in the original order */
        assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), expiry ? 0 : 2);
        assert_int_equal(session(f, "s") != NULL, expiry != 0);
        if (expiry)
            assert_int_equal(session(f, "s")->tickets.n, 2); /* its own are kept for it */
        fake_free(f);
    }
}

/* ---- wills --------------------------------------------------------------------------------------------------- */

struct willing {
    uint32_t expiry_s, delay_s;
    uint8_t flags;
    mono_ms lifetime;
    const char *topic;
};

static struct conn *login_with_will(struct fake *f, const char *id, const struct willing *w)
{
    struct conn *c = fake_conn(f);
    struct attach a = fake_attach(id, w->expiry_s);
    struct msgview will = {.topic = slice_from_str(w->topic ? w->topic : "will"),
                           .payload = slice_from_str(id),
                           .qos = 1,
                           .flags = (uint8_t)(MSG_WILL | w->flags),
                           .expires_at = w->lifetime};
    a.will = &will;
    a.will_delay_s = w->delay_s;
    broker_attach(c, &a);
    return c;
}

static uint32_t wills(struct fake *f)
{
    return fake_count(f, FAKE_DELIVER);
}

static struct fake *will_world(struct conn **out_listener)
{
    struct fake *f = fake_new(NULL);
    *out_listener = fake_login(f, "listener", 0);
    assert_int_equal(fake_sub(*out_listener, "will/#", 1), ERR_OK);
    return f;
}

/* [MQTT-3.1.2-8], [MQTT-3.1.2-10] */
static void will_at_once_or_not_at_all(void **state)
{
    (void)state;
    struct conn *l;
    struct fake *f = will_world(&l);
    struct conn *c = login_with_will(f, "a", &(struct willing){0});
    cut_off(f, c);
    assert_int_equal(wills(f), 1);
    assert_string_equal(fake_last(f, FAKE_DELIVER)->payload, "a");
    c = login_with_will(f, "b", &(struct willing){0});
    conn_close(c, CLOSE_GOODBYE);
    fake_run(f);
    assert_int_equal(wills(f), 1);
    c = login_with_will(f, "c", &(struct willing){.expiry_s = 100});
    broker_forget_will(c);
    cut_off(f, c);
    assert_int_equal(wills(f), 1);
    c = login_with_will(f, "d", &(struct willing){.expiry_s = 100});
    conn_close(c, CLOSE_GOODBYE_WILL);
    fake_run(f);
    assert_int_equal(wills(f), 2);
    fake_wait(f, 200000);
    assert_int_equal(wills(f), 2);                                 /* once */
    c = login_with_will(f, "e", &(struct willing){.delay_s = 50}); /* the session ends with the connection: no delay */
    cut_off(f, c);
    assert_int_equal(wills(f), 3);
    fake_free(f);
}

/* [MQTT-3.1.3-9] */
static void delayed_wills(void **state)
{
    (void)state;
    struct conn *l;
    struct fake *f = will_world(&l);
    struct willing w = {.expiry_s = 100, .delay_s = 10};
    cut_off(f, login_with_will(f, "a", &w));
    fake_wait(f, 9999);
    assert_int_equal(wills(f), 0);
    fake_wait(f, 1);
    assert_int_equal(wills(f), 1);
    assert_non_null(session(f, "a"));
    cut_off(f, login_with_will(f, "b", &w));
    fake_wait(f, 5000);
    struct conn *c = fake_login(f, "b", 100); /* back in time, without a will */
    fake_wait(f, 50000);
    assert_int_equal(wills(f), 1);
    cut_off(f, c);
    fake_wait(f, 50000);
    assert_int_equal(wills(f), 1);
    w = (struct willing){.expiry_s = 3, .delay_s = 10}; /* the session ends sooner */
    cut_off(f, login_with_will(f, "c", &w));
    fake_wait(f, 2999);
    assert_int_equal(wills(f), 1);
    fake_wait(f, 1);
    assert_int_equal(wills(f), 2);
    assert_null(session(f, "c"));
    fake_wait(f, 20000);
    assert_int_equal(wills(f), 2);
    fake_free(f);
}

static void wills_and_clean_start(void **state)
{
    (void)state;
    struct conn *l;
    struct fake *f = will_world(&l);
    struct willing w = {.expiry_s = 100, .delay_s = 10};
    cut_off(f, login_with_will(f, "a", &w));
    struct conn *c = fake_conn(f);
    struct attach a = fake_attach("a", 0);
    a.clean_start = true; /* the waiting session ends here and now */
    broker_attach(c, &a);
    fake_run(f);
    assert_int_equal(wills(f), 1);
    assert_false(fake_last(f, FAKE_ATTACHED)->session_present);
    login_with_will(f, "b", &w); /* taken over by a clean start: it ends, too */
    c = fake_conn(f);
    a = fake_attach("b", 0);
    a.clean_start = true;
    broker_attach(c, &a);
    fake_run(f);
    assert_int_equal(wills(f), 2);
    login_with_will(f, "c", &w); /* taken over and resumed: the delay is cancelled */
    c = fake_login(f, "c", 100);
    fake_wait(f, 60000);
    assert_int_equal(wills(f), 2);
    login_with_will(f, "d", &(struct willing){.expiry_s = 100}); /* without delay: at once */
    c = fake_login(f, "d", 100);
    fake_wait(f, 60000);
    assert_int_equal(wills(f), 3);
    fake_free(f);
}

/* said goodbye and came back within one turn: the goodbye counts (the first reason wins). */
static void goodbye_and_back_in_one_turn(void **state)
{
    (void)state;
    struct conn *l;
    struct fake *f = will_world(&l);
    for (uint32_t expiry = 0; expiry <= 100; expiry += 100) {
        struct conn *old = login_with_will(f, "a", &(struct willing){.expiry_s = expiry}), *new = fake_conn(f);
        conn_close(old, CLOSE_GOODBYE);
        struct attach a = fake_attach("a", expiry);
        broker_attach(new, &a);
        fake_run(f);
        assert_int_equal(fake_last(f, FAKE_ATTACHED)->session_present, expiry != 0);
        assert_int_equal(wills(f), 0);
        cut_off(f, new);
    }
    fake_free(f);
}

/* a will's lifetime starts when it is published (MQTT 5 §3.1.3.2.4), and its flags are kept. */
static void a_will_that_expires(void **state)
{
    (void)state;
    struct conn *l;
    struct fake *f = will_world(&l);
    struct conn *late = fake_login(f, "late", 0);
    struct willing w = {.lifetime = 2000, .flags = MSG_RETAIN, .topic = "will/kept"};
    struct conn *c = login_with_will(f, "a", &w);
    fake_wait(f, 10000);
    cut_off(f, c);
    assert_int_equal(wills(f), 1);
    fake_wait(f, 1999);
    assert_int_equal(fake_sub(late, "will/kept", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(wills(f), 2);
    fake_wait(f, 1);
    assert_int_equal(fake_sub(late, "will/kept", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(wills(f), 2);
    fake_free(f);
}

/* what a CONNECT may not publish, its will may not either; and a topic deeper than the router goes is refused at the
 * login like in a PUBLISH, or it would be retained where no subscription and no PUBLISH can ever reach it. */
static void wills_that_may_not_be(void **state)
{
    (void)state;
    static char deep[400];
    memset(deep, '/', 300);
    static const char *const topic[] = {"$SYS", "$SYS/x", deep};
    struct conn *l;
    struct fake *f = will_world(&l);
    for (size_t i = 0; i < ARRAY_N(topic); i++) {
        struct conn *c = login_with_will(f, "a", &(struct willing){.topic = topic[i], .flags = MSG_RETAIN});
        assert_int_not_equal(fake_last(f, FAKE_ATTACHED)->result, ERR_OK);
        assert_null(c->session);
        fake_run(f);
        assert_null(session(f, "a"));
    }
    assert_int_equal(f->shard->vhost->retained.n, 0);
    struct conn *c = login_with_will(f, "a", &(struct willing){.topic = "$SYSTEM"});
    assert_int_equal(fake_last(f, FAKE_ATTACHED)->result, ERR_OK);
    UNUSED(c);
    fake_free(f);
}

/* ---- expiry and identity ------------------------------------------------------------------------------------- */

static void sessions_expire(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "a", 10);
    assert_int_equal(fake_sub(c, "t", 1), ERR_OK);
    fake_wait(f, 100000); /* online: time does not count */
    assert_non_null(session(f, "a"));
    cut_off(f, c);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_wait(f, 9999);
    assert_non_null(session(f, "a"));
    fake_wait(f, 1);
    assert_null(session(f, "a"));
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_NO_MATCH);
    assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), 1);
    c = fake_login(f, "b", SESSION_EXPIRY_NEVER);
    cut_off(f, c);
    fake_wait(f, 1000ull * 3600 * 24 * 365 * 10);
    assert_non_null(session(f, "b"));
    c = fake_login(f, "b", 5);
    assert_int_equal(broker_set_expiry(c, 1), ERR_OK);
    cut_off(f, c);
    fake_wait(f, 1000);
    assert_null(session(f, "b"));
    c = fake_login(f, "c", 0);
    assert_int_equal(broker_set_expiry(c, 1), ERR_PROTOCOL); /* MQTT 5 §3.14.2.2.2 */
    assert_int_equal(broker_set_expiry(c, 0), ERR_OK);
    cut_off(f, c);
    assert_null(session(f, "c"));
    fake_free(f);
}

static void the_expiry_limit(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.session_expiry_s_max = 7;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "a", SESSION_EXPIRY_NEVER);
    assert_int_equal(c->session->expiry_s, 7);
    assert_int_equal(broker_set_expiry(c, 100), ERR_OK);
    assert_int_equal(c->session->expiry_s, 7);
    fake_free(f);
}

/* a session nobody can ever come back to does not stay. */
static void an_unnamed_session_ends_with_its_connection(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", SESSION_EXPIRY_NEVER);
    assert_int_equal(fake_sub(c, "t", 1), ERR_OK);
    cut_off(f, c);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 0);
    fake_free(f);
}

static void made_up_ids(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    char first[128] = "";
    for (unsigned i = 0; i < 3; i++) {
        struct conn *c = fake_conn(f);
        struct attach a = fake_attach("", 0);
        a.make_id = true;
        broker_attach(c, &a);
        const struct fake_event *e = fake_last(f, FAKE_ATTACHED);
        assert_int_equal(e->result, ERR_OK);
        assert_true(strlen(e->topic) > 8);
        assert_string_not_equal(e->topic, first);
        assert_ptr_equal(session(f, e->topic), c->session);
        memcpy(first, e->topic, sizeof(first));
    }
    fake_login(f, "mine", 0);
    assert_string_equal(fake_last(f, FAKE_ATTACHED)->topic, ""); /* nothing was assigned */
    struct rng peek = f->shard->rng; /* [MQTT-3.2.2-16] a peer that knows which one is next has taken it */
    char taken[32];
    (void)snprintf(taken, sizeof taken, "auto-%016llx", (unsigned long long)rng_u64(&peek));
    struct conn *thief = fake_login(f, taken, 0), *c = fake_conn(f);
    struct attach a = fake_attach("", 0);
    a.make_id = true;
    broker_attach(c, &a);
    assert_string_not_equal(fake_last(f, FAKE_ATTACHED)->topic, taken);
    assert_ptr_equal(session(f, taken), thief->session);
    fake_free(f);
}

/* [MQTT-3.1.4-3] */
static void take_over(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *a = fake_login(f, "a", 100), *b;
    assert_int_equal(fake_sub(a, "t", 1), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_run(f);
    uint64_t old = fake_number(a);
    fake_pipe_of(a)->last_words = "taken";
    struct fake_pipe *pipe = fake_pipe_of(a);
    b = fake_login(f, "a", 100);
    assert_true(fake_last(f, FAKE_ATTACHED)->session_present);
    fake_run(f);
    assert_int_equal(fake_last(f, FAKE_CLOSE)->conn, old);
    assert_int_equal(fake_last(f, FAKE_CLOSE)->why, CLOSE_TAKEN_OVER);
    assert_true(pipe->out.len >= 5 && memcmp(pipe->out.p + pipe->out.len - 5, "taken", 5) == 0);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, b), 1);
    assert_int_equal(broker_settle(b, 1, OUTCOME_ACK), ERR_OK);
    for (unsigned i = 0; i < 20; i++) /* many in one turn: each takes over from the one before */
        (void)fake_login(f, "a", i % 2 ? 100 : 0);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 2);
    assert_int_equal(f->shard->close_n[CLOSE_TAKEN_OVER], 21);
    fake_free(f);
}

/* ---- inbound QoS 2 ids --------------------------------------------------------------------------------------- */

static void rx_ids_are_a_set(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct session *s = session_new(f->shard->vhost, SLICE("r"));
    static uint8_t has[65536];
    struct rng r;
    uint32_t n = 0;
    rng_init(&r, 12);
    memset(has, 0, sizeof(has));
    for (unsigned i = 0; i < 100000; i++) {
        uint16_t id = (uint16_t)(1 + rng_below(&r, rng_chance(&r, 50) ? 300 : 65535));
        assert_int_equal(rx_has(s, id), has[id]);
        if (has[id] || rng_chance(&r, 30)) {
            assert_int_equal(rx_del(s, id), has[id]);
            n -= has[id];
            has[id] = 0;
        } else {
            assert_int_equal(rx_add(s, id, 500), n < 500 ? ERR_OK : ERR_FULL);
            if (n < 500)
                has[id] = 1, n++;
        }
        assert_int_equal(rx_n(s), n);
    }
    for (unsigned i = 1; i <= 65535; i++)
        if (!has[i])
            assert_int_equal(rx_add(s, (uint16_t)i, 65535), ERR_OK);
    assert_int_equal(rx_n(s), 65535); /* every id there is */
    for (unsigned i = 1; i <= 65535; i++)
        assert_true(rx_del(s, (uint16_t)i));
    fake_free(f);
}

/* as peers do it: rising ids, a hundred at a time, round and round; in bounded memory. */
static void rx_ids_as_they_come(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct session *s = session_new(f->shard->vhost, SLICE("r"));
    for (uint32_t i = 0; i < 200000; i++) {
        assert_int_equal(rx_add(s, (uint16_t)(1 + i % 65535), 100), ERR_OK);
        if (i < 99)
            continue;
        assert_int_equal(rx_n(s), 100);
        assert_true(rx_del(s, (uint16_t)(1 + (i - 99) % 65535)));
        assert_false(rx_has(s, (uint16_t)(1 + (i - 99) % 65535)));
    }
    assert_true(s->rx->cap <= 256);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rx_ids_as_they_come),
        cmocka_unit_test(tickets_go_round),
        cmocka_unit_test(tickets_against_a_set),
        cmocka_unit_test(no_memory_for_tickets),
        cmocka_unit_test(a_delivery_without_memory_is_not_forgotten),
        cmocka_unit_test(a_direct_delivery_without_memory_waits),
        cmocka_unit_test(a_last_chance_keeps_no_message),
        cmocka_unit_test(sent_again_in_order),
        cmocka_unit_test(a_smaller_quota_after_the_resume),
        cmocka_unit_test(cut_off_while_sending_again),
        cmocka_unit_test(sending_again_goes_on_when_the_peer_reads),
        cmocka_unit_test(sent_again_from_a_queue_that_is_gone),
        cmocka_unit_test(others_get_what_a_leaving_session_had),
        cmocka_unit_test(will_at_once_or_not_at_all),
        cmocka_unit_test(delayed_wills),
        cmocka_unit_test(wills_and_clean_start),
        cmocka_unit_test(goodbye_and_back_in_one_turn),
        cmocka_unit_test(a_will_that_expires),
        cmocka_unit_test(wills_that_may_not_be),
        cmocka_unit_test(sessions_expire),
        cmocka_unit_test(the_expiry_limit),
        cmocka_unit_test(an_unnamed_session_ends_with_its_connection),
        cmocka_unit_test(made_up_ids),
        cmocka_unit_test(take_over),
        cmocka_unit_test(rx_ids_are_a_set),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
