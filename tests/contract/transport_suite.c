/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport_suite.c: the contract of byte pipes. Included by the program that runs it (one program per test_*.c).
 *
 * The tests believe nothing beyond the contract: a call may say ERR_AGAIN at any time, move one byte only, report
 * readiness that is none, and keep bytes pending. What they insist on: no byte lost, doubled or out of order; events
 * only of the kinds wanted; level-triggered readiness; EOF after the last byte; nothing after destroy.
 */
#include "tests/contract/transport_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "core/base/check.h"
#include "core/base/rng.h"
#include "core/loop.h"

#define IDLE_PUMPS 20     /* enough for anything that would happen to happen */
#define PATIENCE_S 60     /* a test that waits longer has failed */
#define SEND_BYTES 65536u /* most bytes offered at once */

struct suite;

struct end {
    struct suite *suite;
    struct transport *t; /* NULL: destroyed */
    unsigned wanted;     /* all that on_ready may report */
    unsigned calls, events;
    uint64_t sent, got; /* bytes of the pattern */
    uint64_t seed;      /* of the pattern this end sends */
};

struct suite {
    const struct transport_fixture *f;
    void *world;
    struct end end[2];
    struct rng rng;
    uint8_t buf[SEND_BYTES];
};

/* ---- tools --------------------------------------------------------------------------------------------------- */

static time_t clock_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static void pump(struct suite *s, time_t until)
{
    assert_true(clock_s() < until);
    s->f->pump(s->world);
}

/* AWAIT (s, condition) try: tries and pumps until the condition holds; fails the test when that takes too long. */
#define AWAIT(s, condition)                                                                                            \
    for (time_t until_ = clock_s() + PATIENCE_S; !(condition); (condition) ? (void)0 : pump(s, until_))

static void end_on_ready(struct transport *t, unsigned events)
{
    struct end *e = t->up;
    assert_ptr_equal(e->t, t); /* not destroyed */
    assert_true(events != 0);
    assert_int_equal(events & ~e->wanted, 0);
    e->calls++;
    e->events |= events;
}

static void end_attach(struct suite *s, unsigned i, struct transport *t)
{
    s->end[i] = (struct end){.suite = s, .t = t, .seed = 0x9e37u + i};
    t->up = &s->end[i];
    t->on_ready = end_on_ready;
}

static int suite_setup(void **state)
{
    const struct transport_fixture *f = *state;
    struct suite *s = test_calloc(1, sizeof(*s));
    s->f = f;
    s->world = f->setup(f->param);
    rng_init(&s->rng, 7);
    struct transport *t[2];
    f->make_pair(s->world, t);
    end_attach(s, 0, t[0]);
    end_attach(s, 1, t[1]);
    *state = s;
    return 0;
}

static void end_destroy(struct end *e)
{
    struct transport *t = e->t;
    e->t = NULL;
    if (t != NULL)
        t->ops->destroy(t);
}

static int suite_teardown(void **state)
{
    struct suite *s = *state;
    end_destroy(&s->end[0]);
    end_destroy(&s->end[1]);
    s->f->teardown(s->world);
    test_free(s);
    return 0;
}

static void end_want(struct end *e, unsigned interest)
{
    e->wanted = interest;
    e->events = 0;
    e->calls = 0;
    e->t->ops->want(e->t, interest);
}

static void idle(struct suite *s)
{
    for (int i = 0; i < IDLE_PUMPS; i++)
        s->f->pump(s->world);
}

static uint8_t pattern(uint64_t seed, uint64_t at)
{
    uint64_t x = (at + seed) * 0x9e3779b97f4a7c15ull;
    return (uint8_t)(x >> 56);
}

/* send_pattern: offers the next `n` bytes of e's pattern in up to three pieces; bytes taken or -error. */
static ptrdiff_t send_pattern(struct end *e, size_t n)
{
    struct suite *s = e->suite;
    for (size_t i = 0; i < n; i++)
        s->buf[i] = pattern(e->seed, e->sent + i);
    size_t a = rng_below(&s->rng, (uint32_t)n + 1), b = a + rng_below(&s->rng, (uint32_t)(n - a) + 1);
    struct iovec iov[3] = {{s->buf, a}, {s->buf + a, b - a}, {s->buf + b, n - b}};
    ptrdiff_t sent = e->t->ops->sendv(e->t, iov, 3);
    memset(s->buf, 0xee, n); /* what was taken belongs to the pipe, what was not is forgotten: nobody may look again */
    if (sent > 0) {
        assert_true((size_t)sent <= n);
        e->sent += (uint64_t)sent;
    } else {
        assert_true(sent == -ERR_AGAIN || sent == -ERR_RESET);
    }
    return sent;
}

/* recv_pattern: at most cap bytes of the other end's pattern, each compared; bytes or -error. */
static ptrdiff_t recv_pattern(struct end *e, size_t cap)
{
    struct suite *s = e->suite;
    const struct end *from = e == &s->end[0] ? &s->end[1] : &s->end[0];
    uint8_t *in = s->buf;
    memset(in, 0xdd, cap);
    ptrdiff_t n = e->t->ops->recv(e->t, in, cap);
    if (n <= 0) {
        assert_true(n == -ERR_AGAIN || n == -ERR_EOF || n == -ERR_RESET);
        return n;
    }
    assert_true((size_t)n <= cap);
    for (ptrdiff_t i = 0; i < n; i++) {
        if (in[i] != pattern(from->seed, e->got + (uint64_t)i))
            fail_msg("byte %llu is not what was sent", (unsigned long long)(e->got + (uint64_t)i));
    }
    e->got += (uint64_t)n;
    return n;
}

/* send_exactly: n bytes, however long it takes; nobody needs to read for n up to a few hundred. */
static void send_exactly(struct end *e, size_t n)
{
    uint64_t until = e->sent + n;
    AWAIT(e->suite, e->sent == until)
    {
        ptrdiff_t sent = send_pattern(e, (size_t)(until - e->sent));
        assert_true(sent > 0 || sent == -ERR_AGAIN);
    }
}

/* recv_until: all bytes that the other end sent. */
static void recv_until(struct end *e, uint64_t total)
{
    AWAIT(e->suite, e->got == total)
    {
        ptrdiff_t n = recv_pattern(e, MIN(SEND_BYTES, total - e->got));
        assert_true(n > 0 || n == -ERR_AGAIN);
    }
}

/* recv_end: reads on until the stream ends; returns how. */
static ptrdiff_t recv_end(struct end *e)
{
    ptrdiff_t n = -ERR_AGAIN;
    AWAIT(e->suite, n == -ERR_EOF || n == -ERR_RESET)
    {
        n = recv_pattern(e, SEND_BYTES);
    }
    return n;
}

/* fill: sends until the pipe has taken no more for a while. */
static void fill(struct end *e)
{
    struct suite *s = e->suite;
    for (unsigned refused = 0; refused < IDLE_PUMPS;) {
        ptrdiff_t n = send_pattern(e, SEND_BYTES);
        assert_int_not_equal(n, -ERR_RESET);
        assert_true(e->sent < (256u << 20)); /* every pipe has an end to what it takes */
        refused = n > 0 ? 0 : refused + 1;
        if (n <= 0)
            s->f->pump(s->world);
    }
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void test_fresh(void **state)
{
    struct suite *s = *state;
    for (unsigned i = 0; i < 2; i++) {
        struct transport *t = s->end[i].t;
        assert_string_equal(t->ops->name, s->f->ops_name);
        assert_int_equal(recv_pattern(&s->end[i], 100), -ERR_AGAIN);
        assert_false(t->ops->pending(t));
    }
}

static void test_both_ways(void **state)
{
    struct suite *s = *state;
    for (unsigned i = 0; i < 10; i++) {
        send_exactly(&s->end[0], 1 + i * 7);
        send_exactly(&s->end[1], 1 + i * 3);
        recv_until(&s->end[0], s->end[1].sent);
        recv_until(&s->end[1], s->end[0].sent);
    }
    assert_int_equal(recv_pattern(&s->end[0], 100), -ERR_AGAIN); /* and no byte more */
    assert_int_equal(recv_pattern(&s->end[1], 100), -ERR_AGAIN);
}

/* More pieces than one system call may take, empty ones among them. */
static void test_gather(void **state)
{
    struct suite *s = *state;
    struct end *e = &s->end[0];
    enum { PIECES = 1500 };
    uint8_t bytes[PIECES];
    struct iovec iov[PIECES];
    size_t total = 0;
    for (unsigned i = 0; i < PIECES; i++) {
        iov[i] = (struct iovec){bytes + total, i % 3 == 0 ? 0 : 1};
        if (i % 3 != 0) {
            bytes[total] = pattern(e->seed, total);
            total++;
        }
    }
    unsigned first = 0;
    AWAIT(s, e->sent == total)
    {
        ptrdiff_t n = e->t->ops->sendv(e->t, iov + first, (int)(PIECES - first));
        assert_true(n > 0 || n == -ERR_AGAIN);
        for (e->sent += (uint64_t)MAX(n, 0); n > 0; n -= (ptrdiff_t)iov[first++].iov_len)
            ;
        while (first < PIECES && iov[first].iov_len == 0)
            first++;
    }
    recv_until(&s->end[1], total);
}

static void test_blocked_and_free_again(void **state)
{
    struct suite *s = *state;
    struct end *a = &s->end[0], *b = &s->end[1];
    fill(a);
    assert_true(a->sent > 0);
    end_want(a, LOOP_WRITE);
    recv_until(b, a->sent);
    AWAIT(s, (a->events & LOOP_WRITE) != 0);
    end_want(a, 0);
    send_exactly(a, 10);
    recv_until(b, a->sent);
}

static void test_want(void **state)
{
    struct suite *s = *state;
    struct end *a = &s->end[0], *b = &s->end[1];
    send_exactly(b, 5);
    idle(s);
    assert_int_equal(a->calls, 0); /* nobody asked */

    end_want(a, LOOP_READ);
    AWAIT(s, (a->events & LOOP_READ) != 0); /* although the bytes came before the question */

    end_want(a, 0);
    idle(s);
    assert_int_equal(a->calls, 0);
    end_want(a, LOOP_READ);
    AWAIT(s, (a->events & LOOP_READ) != 0);
    recv_until(a, 5);

    end_want(a, LOOP_READ); /* end_on_ready fails the test if WRITE is reported */
    idle(s);
    end_want(a, LOOP_WRITE | LOOP_READ);
    AWAIT(s, (a->events & LOOP_WRITE) != 0);
    end_want(a, LOOP_WRITE);
    send_exactly(b, 5);
    idle(s);
    end_want(a, 0);
    recv_until(a, 10);
}

static void test_level(void **state)
{
    struct suite *s = *state;
    struct end *a = &s->end[0], *b = &s->end[1];
    send_exactly(b, 40);
    end_want(a, LOOP_READ);
    while (a->got < 40) {
        a->calls = 0;
        AWAIT(s, a->calls != 0 || a->t->ops->pending(a->t)); /* again for every byte, until the last was read */
        ptrdiff_t n = recv_pattern(a, 1);
        assert_true(n == 1 || n == -ERR_AGAIN);
    }
    assert_false(a->t->ops->pending(a->t));
}

static void test_shut(void **state)
{
    struct suite *s = *state;
    struct end *a = &s->end[0], *b = &s->end[1];
    send_exactly(a, 300);
    a->t->ops->shut(a->t);
    a->t->ops->shut(a->t);
    assert_int_equal(recv_end(b), -ERR_EOF);
    assert_int_equal(b->got, 300); /* what was taken before still came */
    assert_int_equal(recv_end(b), -ERR_EOF);
    assert_int_equal(send_pattern(a, 10), -ERR_RESET);
    if (s->f->ends_whole) {
        assert_int_equal(send_pattern(b, 10), -ERR_RESET);
        assert_int_equal(recv_end(a), -ERR_EOF);
        return;
    }

    send_exactly(b, 200); /* the other direction goes on */
    recv_until(a, 200);
    send_exactly(b, 20);
    b->t->ops->shut(b->t);
    assert_int_equal(recv_end(a), -ERR_EOF);
    assert_int_equal(a->got, 220);
}

static void test_end_is_readiness(void **state)
{
    struct suite *s = *state;
    struct end *a = &s->end[0], *b = &s->end[1];
    end_want(b, LOOP_READ);
    idle(s);
    b->calls = 0;
    a->t->ops->shut(a->t);
    ptrdiff_t n = -ERR_AGAIN;
    while (n != -ERR_EOF) {
        AWAIT(s, b->calls != 0);
        b->calls = 0;
        n = recv_pattern(b, 10);
        assert_true(n == -ERR_EOF || n == -ERR_AGAIN);
    }
}

/* break_off: end a breaks the connection so that b sees a RESET. */
static void break_off(struct end *a, struct end *b)
{
    struct suite *s = a->suite;
    if (s->f->reset != NULL) {
        s->f->reset(a->t);
        return;
    }
    send_exactly(b, 10);
    idle(s);
    end_destroy(a);
}

static void test_reset(void **state)
{
    struct suite *s = *state;
    struct end *a = &s->end[0], *b = &s->end[1];
    end_want(b, LOOP_READ);
    break_off(a, b);
    AWAIT(s, (b->events & LOOP_READ) != 0);
    assert_int_equal(recv_end(b), -ERR_RESET);
    ptrdiff_t n = -ERR_AGAIN;
    AWAIT(s, n == -ERR_RESET)
    { /* and no SIGPIPE */
        n = send_pattern(b, 100);
    }
    b->t->ops->shut(b->t);
}

static void test_send_to_gone(void **state)
{
    struct suite *s = *state;
    struct end *b = &s->end[1];
    end_destroy(&s->end[0]);
    ptrdiff_t n = 1;
    AWAIT(s, n == -ERR_RESET)
    {
        n = send_pattern(b, 1000);
    }
}

static void test_destroy_with_output(void **state)
{
    struct suite *s = *state;
    struct end *a = &s->end[0], *b = &s->end[1];
    fill(a);
    end_destroy(a);
    ptrdiff_t how = recv_end(b); /* recv_pattern compares: what comes is the beginning of what was sent */
    assert_true(how == -ERR_EOF || how == -ERR_RESET);
    assert_true(b->got <= a->sent);
}

static void test_silent_after_destroy(void **state)
{
    struct suite *s = *state;
    struct end *a = &s->end[0], *b = &s->end[1];
    end_want(a, LOOP_READ | LOOP_WRITE);
    end_want(b, LOOP_READ | LOOP_WRITE);
    send_exactly(a, 10);
    send_exactly(b, 10);
    end_destroy(b); /* it is ready for both, and nobody has been told yet; end_on_ready checks that it stays so */
    idle(s);
    end_destroy(a);
    idle(s);
}

static void test_peer(void **state)
{
    struct suite *s = *state;
    struct transport *t = s->end[0].t;
    char whole[128];
    t->ops->peer(t, whole, sizeof(whole));
    assert_memory_equal(whole, s->f->peer, strlen(s->f->peer));
    assert_true(strlen(whole) > strlen(s->f->peer));
    for (size_t cap = 1; cap <= strlen(whole) + 2; cap++) {
        char cut[160];
        memset(cut, '#', sizeof(cut));
        t->ops->peer(t, cut, cap);
        size_t len = MIN(cap - 1, strlen(whole));
        assert_memory_equal(cut, whole, len);
        assert_int_equal(cut[len], 0);
        for (size_t i = cap; i < sizeof(cut); i++)
            assert_int_equal(cut[i], '#');
    }
    break_off(&s->end[1], &s->end[0]);
    recv_end(&s->end[0]);
    char after[128];
    t->ops->peer(t, after, sizeof(after)); /* the log asks when the connection has gone */
    assert_string_equal(after, whole);
}

/* bulk_step: one event-driven move of an end: reads when there is something, writes while it has something to say. */
static void bulk_step(struct end *e, uint64_t total, bool *done_reading)
{
    struct suite *s = e->suite;
    struct transport *t = e->t;
    if (!*done_reading && ((e->events & LOOP_READ) || t->ops->pending(t))) {
        ptrdiff_t n = recv_pattern(e, 1 + rng_below(&s->rng, SEND_BYTES - 1));
        assert_int_not_equal(n, -ERR_RESET);
        *done_reading = n == -ERR_EOF;
    }
    if (e->sent < total && (e->events & LOOP_WRITE)) {
        size_t n = 1 + rng_below(&s->rng, SEND_BYTES - 1);
        ptrdiff_t sent = send_pattern(e, MIN(n, (size_t)(total - e->sent)));
        assert_int_not_equal(sent, -ERR_RESET);
        const struct end *other = e == &s->end[0] ? &s->end[1] : &s->end[0];
        if (e->sent == total && (!s->f->ends_whole || other->sent == total))
            t->ops->shut(t);
    }
    end_want(e, (*done_reading ? 0u : (unsigned)LOOP_READ) | (e->sent < total ? (unsigned)LOOP_WRITE : 0u));
}

/* Ordered and without loss, both ways at once. [MQTT-4.2.0-1]; 3.1.1: [MQTT-7.1.1-1] */
static void test_bulk(void **state)
{
    struct suite *s = *state;
    uint64_t total = s->f->bulk_bytes;
    bool done[2] = {false, false};
    for (unsigned i = 0; i < 2; i++)
        end_want(&s->end[i], LOOP_READ | LOOP_WRITE);
    AWAIT(s, done[0] && done[1])
    {
        for (unsigned i = 0; i < 2; i++)
            bulk_step(&s->end[i], total, &done[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(s->end[i].sent, total);
        assert_int_equal(s->end[i].got, total);
    }
}

static void test_many_pairs(void **state)
{
    struct suite *s = *state;
    enum { PAIRS = 30 };
    struct transport *t[PAIRS][2];
    for (unsigned i = 0; i < PAIRS; i++)
        s->f->make_pair(s->world, t[i]);
    for (unsigned i = 0; i < PAIRS; i++) { /* every pair carries its own number */
        uint8_t byte = (uint8_t)i;
        ptrdiff_t n = -ERR_AGAIN;
        AWAIT(s, n == 1)
        {
            n = t[i][i % 2]->ops->sendv(t[i][i % 2], &(struct iovec){&byte, 1}, 1);
        }
    }
    for (unsigned i = PAIRS; i-- > 0;) {
        uint8_t byte = 0xff;
        ptrdiff_t n = -ERR_AGAIN;
        AWAIT(s, n == 1)
        {
            n = t[i][1 - i % 2]->ops->recv(t[i][1 - i % 2], &byte, 1);
        }
        assert_int_equal(byte, i);
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        t[i][i % 3 == 0]->ops->destroy(t[i][i % 3 == 0]);
        t[i][i % 3 != 0]->ops->destroy(t[i][i % 3 != 0]);
    }
}

int transport_suite_run(const struct transport_fixture *f)
{
#define T(f_) cmocka_unit_test_prestate_setup_teardown(f_, suite_setup, suite_teardown, (void *)(uintptr_t)f)
    const struct CMUnitTest tests[] = {
        T(test_fresh),
        T(test_both_ways),
        T(test_gather),
        T(test_blocked_and_free_again),
        T(test_want),
        T(test_level),
        T(test_shut),
        T(test_end_is_readiness),
        T(test_reset),
        T(test_send_to_gone),
        T(test_destroy_with_output),
        T(test_silent_after_destroy),
        T(test_peer),
        T(test_bulk),
        T(test_many_pairs),
    };
#undef T
    return _cmocka_run_group_tests(f->name, tests, ARRAY_N(tests), NULL, NULL);
}
