/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_conn_pause.c: publishers that are faster than they may be: they are not read for a while, nothing is lost, and
 * in the long run they publish exactly as fast as they may; what they answer to deliveries still comes through.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/session.h"
#include "tests/support/fake.h"

enum { SECOND = 1000, FRAME_BYTES = 4 + 20 };

static struct fake *world(uint64_t rate, uint64_t bytes_rate)
{
    struct fake_config config;
    fake_config_init(&config);
    config.limits.publish_rate = rate;
    config.limits.publish_bytes_rate = bytes_rate;
    return fake_new(&config);
}

/* "P...": published to the topic t; "X...": to the exchange x; "A": acknowledges the oldest delivery. */
static void on_frame(struct conn *c, const uint8_t *body, size_t len)
{
    struct publish p = {.msg = {.topic = SLICE("t"), .payload = slice_make(body, len)}, .receipt = RECEIPT_NONE};
    if (body[0] == 'A') {
        const struct fake_event *e = fake_last(fake_pipe_of(c)->fake, FAKE_DELIVER);
        assert_int_equal(broker_settle(c, e->ticket, OUTCOME_ACK), ERR_OK);
        return;
    }
    if (body[0] == 'X')
        p.exchange = exchange_get(c->shard->vhost, SLICE("x"));
    broker_publish(c, &p);
}

static struct fake_pipe *publisher(struct fake *f, const char *id)
{
    struct fake_pipe *p = fake_pipe_of(fake_login(f, id, 0));
    p->on_frame = on_frame;
    return p;
}

/* flood: n frames of FRAME_BYTES bytes are on their way. */
static void flood(struct fake_pipe *p, char kind, uint32_t n)
{
    char body[FRAME_BYTES - 4];
    memset(body, kind, sizeof(body));
    for (uint32_t i = 0; i < n; i++)
        fake_feed_frame(p, body, sizeof(body));
}

static bool is_read(const struct fake_pipe *p)
{
    return (p->interest & LOOP_READ) != 0;
}

static void without_a_limit(void **state)
{
    (void)state;
    struct fake *f = world(0, 0);
    struct fake_pipe *p = publisher(f, "p");
    flood(p, 'P', 20000);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 20000);
    assert_int_equal(fake_stat(f, STAT_PAUSES), 0);
    assert_null(p->conn->session->away); /* and costs nothing */
    fake_free(f);
}

/* what fits into one second's worth is not held up; what is read is published; the rest stays with the peer. */
static void not_read_while_in_debt(void **state)
{
    (void)state;
    struct fake *f = world(100, 0);
    struct fake_pipe *p = publisher(f, "p");
    flood(p, 'P', 100);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 100);
    assert_true(is_read(p));
    flood(p, 'P', 30);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 130);
    assert_int_equal(fake_stat(f, STAT_PAUSES), 1);
    assert_false(is_read(p));
    flood(p, 'P', 1);
    fake_wait(f, 299);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 130);
    p->transport.on_ready(&p->transport, LOOP_READ); /* a pipe may say what it likes */
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 130);
    assert_false(is_read(p));
    fake_wait(f, 1);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 131);
    assert_int_equal(fake_stat(f, STAT_PAUSES), 2);
    fake_wait(f, 20);
    assert_true(is_read(p));
    fake_free(f);
}

/* exact_over: over `s` seconds, with always more to read, at least rate * s are published, and at most one second's
 * worth and one read more. unit: tokens per frame. */
static void exact_over(struct fake *f, struct fake_pipe *p, uint64_t rate, uint64_t unit, uint64_t s)
{
    const uint64_t bite = CONN_LITTLE_BYTES / FRAME_BYTES + 1;
    uint64_t first = p->recv_max ? p->recv_max / FRAME_BYTES + 1 : 65536 / FRAME_BYTES + 1;
    flood(p, 'P', (uint32_t)(rate / unit * (s + 2) + first + bite));
    uint64_t before = fake_stat(f, STAT_PUBLISHED);
    for (uint64_t i = 1; i <= s; i++) {
        fake_wait(f, SECOND);
        uint64_t tokens = (fake_stat(f, STAT_PUBLISHED) - before) * unit;
        assert_true(tokens + unit >= rate * i);
        assert_true(tokens <= rate * (i + 1) + MAX(bite, first) * unit);
    }
    uint64_t all = (fake_stat(f, STAT_PUBLISHED) - before) * unit;
    assert_true(all <= rate * (s + 1) + bite * unit); /* the first, large read is paid for by now */
    assert_int_equal(fake_stat(f, STAT_REFUSED), 0);
}

static void exact_in_the_long_run(void **state)
{
    (void)state;
    static const struct {
        uint64_t rate, bytes_rate, seconds;
    } row[] = {{7, 0, 600},    {100, 0, 120},   {1000, 0, 60},  {25000, 0, 10},
               {0, 1000, 300}, {0, 200000, 20}, {50, 5000, 60}, {10000, 20000, 60}};
    for (unsigned i = 0; i < ARRAY_N(row); i++) {
        struct fake *f = world(row[i].rate, row[i].bytes_rate);
        struct fake_pipe *p = publisher(f, "p");
        bool by_bytes = row[i].rate == 0 || (row[i].bytes_rate && row[i].bytes_rate / 20 < row[i].rate);
        exact_over(f, p, by_bytes ? row[i].bytes_rate : row[i].rate, by_bytes ? 20 : 1, row[i].seconds);
        fake_free(f);
    }
}

/* nothing is lost on the way: everything that was sent is published in the end, in order. */
static void all_of_it_comes(void **state)
{
    (void)state;
    struct fake *f = world(50, 0);
    struct fake_pipe *p = publisher(f, "p");
    struct conn *s = fake_login(f, "s", 0);
    assert_int_equal(fake_sub(s, "t", 0), ERR_OK);
    fake_forget(f);
    for (uint32_t i = 0; i < 2000; i++) {
        char body[16];
        uint32_t n = (uint32_t)snprintf(body, sizeof(body), "P%u", i);
        fake_feed_frame(p, body, n);
    }
    p->recv_max = 777; /* in odd pieces, too */
    fake_wait(f, 45 * SECOND);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 2000);
    for (uint32_t at = 0, i = 0; at < f->event_n; at++)
        if (f->event[at].what == FAKE_DELIVER)
            assert_int_equal(strtoul(f->event[at].payload + 1, NULL, 10), i++);
    fake_free(f);
}

/* keep-alive and heart-beats look at rx_at: it follows the clock while nobody reads. */
static void not_silent(void **state)
{
    (void)state;
    struct fake *f = world(1, 0);
    struct fake_pipe *p = publisher(f, "p");
    flood(p, 'P', 601);
    fake_run(f);
    assert_false(is_read(p));
    for (int i = 0; i < 590; i++) {
        fake_wait(f, SECOND);
        assert_false(is_read(p));
        assert_true((mono_ms)p->conn->rx_at + SECOND >= f->now);
    }
    fake_wait(f, 20 * SECOND);
    assert_true(is_read(p));
    mono_ms silent_since = p->conn->rx_at;
    fake_wait(f, 5 * SECOND); /* now its silence is its own */
    assert_int_equal(p->conn->rx_at, silent_since);
    fake_free(f);
}

/* the adapter's own ticks go on, and the pause ends in time all the same. */
static void beside_other_ticks(void **state)
{
    (void)state;
    for (mono_ms every = 1; every < 3 * SECOND; every = every * 3 + 1) {
        struct fake *f = world(10, 0);
        struct fake_pipe *p = publisher(f, "p");
        p->tick_every = every;
        conn_wants_tick(p->conn, f->now + every);
        flood(p, 'P', 10 + 25);
        fake_run(f);
        assert_false(is_read(p));
        fake_wait(f, 2499);
        assert_false(is_read(p));
        fake_wait(f, 1);
        assert_true(is_read(p));
        assert_true(fake_count_of(f, FAKE_TICK, p->conn) >= 2500 / every);
        fake_free(f);
    }
}

/* an answer that waits behind publishes is read within a second, while something is in flight; not without. */
static void answers_come_through(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++) {
        struct fake *f = world(1, 0);
        struct fake_pipe *p = publisher(f, "p");
        struct conn *other = fake_login(f, "o", 0);
        assert_int_equal(fake_sub(p->conn, "mine", 1), ERR_OK);
        flood(p, 'P', 4000);
        fake_run(f);
        assert_false(is_read(p));
        uint64_t before = fake_stat(f, STAT_PUBLISHED);
        fake_feed_frame(p, "A", 1);
        uint64_t unread = p->in.len - p->in_at;
        if (with)
            assert_int_equal(fake_pub(other, "mine", "x", 1), ERR_OK);
        fake_wait(f, 999);
        assert_int_equal(fake_stat(f, STAT_PUBLISHED), before + with); /* no look before a second is over */
        uint64_t looks = unread / CONN_LITTLE_BYTES + 2;
        fake_wait(f, looks * SECOND);
        assert_int_equal(p->in.len - p->in_at == 0, with);
        assert_int_equal(fake_stat(f, STAT_SETTLED), with);
        if (with) { /* a little at a time */
            assert_in_range(p->conn->session->away->paused_until, f->now + 3000 * SECOND, f->now + 4000 * SECOND);
            flood(p, 'P', 1);
            fake_wait(f, 10 * SECOND); /* nothing in flight any more: no looks */
            assert_int_equal(p->in.len - p->in_at, FRAME_BYTES);
        } else {
            assert_int_equal(p->in.len - p->in_at, unread);
        }
        fake_free(f);
    }
}

/* an exchange's rate is shared by all who publish to it, and slows down nobody else. */
static void rate_of_an_exchange(void **state)
{
    (void)state;
    struct fake *f = world(0, 0);
    struct exchange *x;
    const char *differs;
    struct exchange_spec spec = {.name = SLICE("x"), .kind = EXCHANGE_FANOUT, .rate = 100};
    assert_int_equal(exchange_declare_as(f->shard->vhost, &spec, &x, &differs), ERR_OK);
    struct fake_pipe *a = publisher(f, "a"), *b = publisher(f, "b"), *c = publisher(f, "c");
    const uint32_t n = 16000;
    flood(a, 'X', n);
    flood(b, 'X', n);
    flood(c, 'P', n);
    fake_run(f);
    assert_false(is_read(a));
    assert_false(is_read(b));
    assert_true(is_read(c));
    uint64_t first = fake_stat(f, STAT_PUBLISHED) - n;
    fake_wait(f, 200 * SECOND);
    uint64_t shared = fake_stat(f, STAT_PUBLISHED) - n;
    assert_true(shared >= 20000 && shared <= 20100 + MAX(first, 2 * CONN_LITTLE_BYTES / FRAME_BYTES + 2));
    fake_free(f);
}

/* refused messages count, too: who floods with them is slowed down alike. */
static void refused_ones_count(void **state)
{
    (void)state;
    struct fake *f = world(10, 0);
    struct conn *c = fake_login(f, "p", 0);
    for (int i = 0; i < 11; i++)
        assert_int_equal(fake_pub(c, "$SYS/x", "x", 0), ERR_DENIED);
    assert_false(is_read(fake_pipe_of(c)));
    fake_free(f);
}

/* a connection that ends while it is paused: by its peer, by us, by a take-over; its debts follow the session. */
static void ends_while_paused(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        struct fake *f = world(1, 0);
        struct conn *c = fake_login(f, "p", 1000);
        struct fake_pipe *p = fake_pipe_of(c);
        p->on_frame = on_frame;
        p->last_words = "bye";
        flood(p, 'P', 100);
        fake_run(f);
        assert_false(is_read(p));
        if (how == 0)
            conn_close(c, CLOSE_GOODBYE);
        else if (how == 1)
            p->is_eof = true; /* heard when it is read again */
        else if (how == 2)
            p->is_reset = true;
        struct conn *next = how == 3 ? fake_login(f, "p", 1000) : NULL;
        fake_wait(f, 200 * SECOND);
        assert_true(p->is_gone);
        if (next) {
            assert_true(is_read(fake_pipe_of(next)));
            fake_pipe_of(next)->on_frame = on_frame;
            flood(fake_pipe_of(next), 'P', 1);
            fake_run(f);
            assert_true(is_read(fake_pipe_of(next))); /* all was paid in that time */
        }
        fake_free(f);
    }
}

static void debts_stay_with_the_session(void **state)
{
    (void)state;
    struct fake *f = world(1, 0);
    struct fake_pipe *p = publisher(f, "p");
    p->conn->session->expiry_s = 1000; /* it may come back */
    flood(p, 'P', 100);
    fake_run(f);
    struct fake_pipe *next = publisher(f, "p");
    assert_true(is_read(next));
    flood(next, 'P', 1);
    fake_run(f);
    assert_false(is_read(next));
    fake_wait(f, 90 * SECOND);
    assert_false(is_read(next));
    fake_wait(f, 20 * SECOND);
    assert_true(is_read(next));
    fake_free(f);
}

/* without memory for the bookkeeping a login fails; an exchange's publisher just goes on, and owes more. */
static void without_memory(void **state)
{
    (void)state;
    bool went_through = false;
    for (uint64_t nth = 1; !went_through; nth++) {
        struct fake *f = world(10, 10);
        struct conn *c = fake_conn(f);
        struct attach a = fake_attach("p", 0);
        f->heap.fail_at = f->heap.calls + nth;
        broker_attach(c, &a);
        went_through = f->heap.calls < f->heap.fail_at;
        f->heap.fail_at = 0;
        fake_run(f);
        assert_true(went_through == (fake_last(f, FAKE_ATTACHED)->result == ERR_OK));
        fake_free(f);
    }
    struct fake *f = world(0, 0);
    struct exchange *x;
    const char *differs;
    struct exchange_spec spec = {.name = SLICE("x"), .kind = EXCHANGE_FANOUT, .rate = 1};
    assert_int_equal(exchange_declare_as(f->shard->vhost, &spec, &x, &differs), ERR_OK);
    struct fake_pipe *p = publisher(f, "p");
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x")};
    assert_int_equal(fake_pub_view(p->conn, &v, x, 0), ERR_NO_MATCH);
    f->heap.fail_at = f->heap.calls + 1;
    f->heap.fail_after = true;
    assert_int_equal(fake_pub_view(p->conn, &v, x, 0), ERR_NO_MATCH);
    assert_true(is_read(p));
    f->heap.fail_at = 0;
    f->heap.fail_after = false;
    assert_int_equal(fake_pub_view(p->conn, &v, x, 0), ERR_NO_MATCH);
    assert_false(is_read(p));
    assert_int_equal(p->conn->session->away->paused_until, f->now + 2 * SECOND);
    fake_free(f);
}

/* a pause has an end, however large the debt. */
static void a_debt_without_end(void **state)
{
    (void)state;
    struct fake *f = world(0, 1);
    struct conn *c = fake_login(f, "p", 0);
    conn_slow(c, f->shard->vhost->topic_exchange, 1, UINT64_MAX);
    assert_false(is_read(fake_pipe_of(c)));
    fake_wait(f, 100 * SECOND);
    assert_false(is_read(fake_pipe_of(c)));
    assert_true(c->session->away->paused_until < f->now + UINT64_C(400) * 24 * 3600 * SECOND);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_limit),
        cmocka_unit_test(not_read_while_in_debt),
        cmocka_unit_test(exact_in_the_long_run),
        cmocka_unit_test(all_of_it_comes),
        cmocka_unit_test(not_silent),
        cmocka_unit_test(beside_other_ticks),
        cmocka_unit_test(answers_come_through),
        cmocka_unit_test(rate_of_an_exchange),
        cmocka_unit_test(refused_ones_count),
        cmocka_unit_test(ends_while_paused),
        cmocka_unit_test(debts_stay_with_the_session),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(a_debt_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
