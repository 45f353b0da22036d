/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_conn.c: one connection against a pipe that does everything the contract of transport.h allows: bytes in every
 * split, partial writes, readiness without anything to read, resets at any point; and what an unkind peer does on
 * purpose. Receipts and running out of memory have files of their own: test_conn_receipts.c, test_conn_memory.c.
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
#include "tests/support/fake.h"

static struct fake *world(uint64_t login_bytes, uint64_t out_bytes, uint64_t linger_ms)
{
    struct fake_config config;
    fake_config_init(&config);
    if (login_bytes)
        config.limits.login_bytes_max = login_bytes;
    if (out_bytes)
        config.limits.out_bytes_max = out_bytes;
    config.limits.linger_ms = linger_ms;
    return fake_new(&config);
}

static enum close_reason reason(const struct fake *f)
{
    for (int i = 1; i < CLOSE_N; i++)
        if (f->shard->close_n[i])
            return (enum close_reason)i;
    return CLOSE_NONE;
}

/* ---- which protocol is it? ----------------------------------------------------------------------------------- */

/* outcome: feeds bytes cut at `at` (n: not at all); 'A' adapter found, 'W' waits for more, or the close reason. */
static int outcome(const char *bytes, size_t n, size_t at, bool byte_by_byte)
{
    struct fake *f = world(0, 0, 2000);
    struct fake_pipe *p = fake_pipe(f);
    if (byte_by_byte)
        p->recv_max = 1;
    fake_feed(p, bytes, at);
    fake_run(f);
    fake_feed(p, bytes + at, n - at);
    fake_run(f);
    int result = reason(f);
    if (result == CLOSE_NONE)
        result = p->conn->adapter ? 'A' : 'W';
    if (result == 'A')
        assert_int_equal(fake_count(f, FAKE_OPEN), 1);
    fake_free(f);
    return result;
}

static void claims_at_every_split(void **state)
{
    (void)state;
    static char ends[80];
    memset(ends, '\n', sizeof(ends));
    struct {
        char bytes[100];
        int want;
    } row[] = {
        {"HELLO", 'A'},
        {"HELL", 'W'},
        {"HEL", 'W'},
        {"\r\n\r\nHELLO", 'A'},
        {"\n", 'W'},
        {"H", 'W'},
        {"HELP ME PLEASE", CLOSE_UNKNOWN_PROTOCOL},
        {"GET / HTTP/1.1\r\n", CLOSE_UNKNOWN_PROTOCOL},
        {"\r\nX", CLOSE_UNKNOWN_PROTOCOL},
        {" HELLO", CLOSE_UNKNOWN_PROTOCOL},
        {"", 0},
        {"", 0},
        {"", 0},
        {"", 0},
    };
    snprintf(row[10].bytes, sizeof(row[10].bytes), "%.63sHELLO", ends);
    row[10].want = 'A';
    snprintf(row[11].bytes, sizeof(row[11].bytes), "%.64sHELLO", ends);
    row[11].want = 'A';
    snprintf(row[12].bytes, sizeof(row[12].bytes), "%.65sHELLO", ends);
    row[12].want = CLOSE_UNKNOWN_PROTOCOL;
    snprintf(row[13].bytes, sizeof(row[13].bytes), "%.64s", ends);
    row[13].want = 'W';
    for (size_t i = 0; i < ARRAY_N(row); i++) {
        size_t n = strlen(row[i].bytes);
        for (size_t at = 0; at <= n; at++)
            assert_int_equal(outcome(row[i].bytes, n, at, false), row[i].want);
        assert_int_equal(outcome(row[i].bytes, n, 0, true), row[i].want);
    }
}

static void login_takes_too_long(void **state)
{
    (void)state;
    for (unsigned with_adapter = 0; with_adapter < 2; with_adapter++) {
        struct fake *f = world(0, 0, 0);
        struct fake_pipe *p = fake_pipe(f);
        if (with_adapter) {
            fake_feed(p, "HELLO", 5);
            p->tick_every = 100;
        }
        fake_wait(f, f->shard->limits.login_ms - 1);
        assert_int_equal(reason(f), CLOSE_NONE);
        fake_wait(f, 1);
        assert_int_equal(reason(f), CLOSE_LOGIN_TIMEOUT);
        assert_true(p->is_gone);
        fake_free(f);
    }
    struct fake *f = world(0, 0, 0);
    fake_login(f, "a", 0);
    fake_wait(f, 100000);
    assert_int_equal(reason(f), CLOSE_NONE);
    fake_free(f);
}

static void a_large_first_packet(void **state)
{
    (void)state;
    static uint8_t body[5000];
    struct fake *f = world(1024, 0, 0);
    struct fake_pipe *p = fake_pipe(f);
    fake_feed(p, "HELLO", 5);
    fake_feed_frame(p, body, 1000); /* fits */
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_FRAME), 1);
    fake_feed(p, "\0\0\x13\x88", 4); /* says that 5,000 will come: that is enough to know */
    fake_run(f);
    assert_int_equal(reason(f), CLOSE_TOO_BIG);
    fake_free(f);
    f = world(1024, 0, 0);
    p = fake_pipe(f);
    p->refuses_bytes = true; /* an adapter that never finds the end */
    fake_feed(p, "HELLO", 5);
    fake_feed(p, body, 1000);
    fake_run(f);
    assert_int_equal(reason(f), CLOSE_NONE);
    fake_feed(p, body, 100);
    fake_run(f);
    assert_int_equal(reason(f), CLOSE_TOO_BIG);
    fake_free(f);
    f = world(1024, 0, 0);
    struct conn *c = fake_login(f, "a", 0);
    fake_feed_frame(fake_pipe_of(c), body, 5000); /* logged in: other limits hold */
    fake_run(f);
    assert_int_equal(reason(f), CLOSE_NONE);
    assert_int_equal(fake_last(f, FAKE_FRAME)->len, 5000);
    fake_free(f);
}

static void no_room_for_more(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.connections_max = 2;
    struct fake *f = fake_new(&config);
    struct fake_pipe *a = fake_pipe(f), *b = fake_pipe(f), *c = fake_pipe(f);
    assert_true(a->conn && b->conn && !c->conn && c->is_gone);
    a->is_reset = true;
    fake_run(f);
    assert_non_null(fake_pipe(f)->conn);
    fake_free(f);
}

static void open_fails(void **state)
{
    (void)state;
    struct fake *f = world(0, 0, 2000);
    struct fake_pipe *p = fake_pipe(f);
    p->open_fails = true;
    fake_feed(p, "HELLO\0\0\0\1x", 10);
    fake_run(f);
    assert_int_equal(reason(f), CLOSE_NOMEM);
    assert_int_equal(fake_count(f, FAKE_FRAME), 0);
    fake_free(f);
}

/* ---- input --------------------------------------------------------------------------------------------------- */

/* frames of every size in every kind of split: each arrives once, whole, in order. */
static void random_splits(void **state)
{
    (void)state;
    enum { BODY_MAX = 300000 };
    static uint8_t body[BODY_MAX];
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct fake *f = world(0, 0, 2000);
        struct rng r;
        rng_init(&r, seed);
        struct conn *c = fake_login(f, "a", 0);
        struct fake_pipe *p = fake_pipe_of(c);
        uint32_t len[60];
        for (unsigned i = 0; i < 60; i++) {
            static const uint32_t max[] = {2, 40, 3000, 5000, 70000, BODY_MAX};
            len[i] = rng_below(&r, max[rng_below(&r, seed % 3 ? 4 : 6)]);
            memset(body, 'a' + (int)(i % 26), len[i]);
            fake_feed_frame(p, body, len[i]);
        }
        p->again_every = seed % 4 ? 3 : 0;
        p->is_pending = seed % 2;
        while (p->in_at < p->in.len) {
            p->recv_max = 1 + rng_below(&r, rng_chance(&r, 30) ? 9 : 9000);
            (void)fake_turn(f);
            size_t held = c->rx ? c->rx->cap : 0, there = c->rx ? c->rx_len : 0;
            assert_true(held <=
                        MAX((size_t)CHUNK_BYTES, there * 4)); /* grows with what arrived, not with what is promised */
        }
        fake_run(f);
        assert_int_equal(fake_count(f, FAKE_FRAME), 60);
        for (unsigned i = 0; i < 60; i++) {
            const struct fake_event *e = fake_nth(f, FAKE_FRAME, i);
            assert_int_equal(e->len, len[i]);
            assert_int_equal(strspn(e->payload, (char[]){(char)('a' + i % 26), 0}),
                             MIN(len[i], (uint32_t)sizeof(e->payload) - 1));
        }
        assert_null(c->rx); /* an idle connection owns no buffer */
        assert_null(c->out);
        fake_free(f);
    }
}

/* a peer that announces 4 GB and sends nothing costs no more than one that announces nothing. */
static void promises_cost_nothing(void **state)
{
    (void)state;
    enum { CONNS = 50 };
    struct fake *f = world(0, 0, 2000);
    struct conn *c[CONNS];
    for (unsigned i = 0; i < CONNS; i++)
        c[i] = fake_login(f, "", 0);
    fake_run(f);
    size_t before = f->shard->mem[MEM_BUFFER].bytes;
    for (unsigned i = 0; i < CONNS; i++)
        fake_feed(fake_pipe_of(c[i]), "\xff\xff\xff\xff only a few bytes", 20);
    fake_run(f);
    assert_int_equal(reason(f), CLOSE_NONE);
    assert_true(f->shard->mem[MEM_BUFFER].bytes <= before + (CHUNK_FREE_MAX + 1) * CHUNK_BYTES + CONNS * 8192);
    fake_free(f);
}

static void the_read_budget(void **state)
{
    (void)state;
    struct fake *f = world(0, 0, 2000);
    struct conn *a = fake_login(f, "a", 0), *b = fake_login(f, "b", 0);
    static uint8_t body[1 << 20];
    fake_feed_frame(fake_pipe_of(a), body, sizeof(body));
    fake_feed_frame(fake_pipe_of(a), "last", 4);
    fake_feed_frame(fake_pipe_of(b), "b", 1);
    size_t at = fake_pipe_of(a)->in_at;
    assert_true(fake_turn(f)); /* more is left */
    assert_true(fake_pipe_of(a)->in_at - at <= f->shard->limits.read_bytes_turn + CHUNK_BYTES);
    assert_int_equal(fake_count(f, FAKE_FRAME), 1); /* b had its turn */
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_FRAME), 3);
    fake_free(f);
}

static void spurious_readiness(void **state)
{
    (void)state;
    struct fake *f = world(0, 0, 2000);
    struct conn *c = fake_login(f, "a", 0);
    struct fake_pipe *p = fake_pipe_of(c);
    fake_feed(p, "\0\0\0\5ab", 6);
    for (unsigned i = 0; i < 20; i++) {
        p->transport.on_ready(&p->transport, LOOP_READ | LOOP_WRITE);
        p->transport.on_ready(&p->transport, LOOP_READ);
        (void)fake_turn(f);
    }
    assert_int_equal(reason(f), CLOSE_NONE);
    fake_feed(p, "cde", 3);
    fake_run(f);
    assert_string_equal(fake_last(f, FAKE_FRAME)->payload, "abcde");
    fake_free(f);
}

static void close_in_the_middle(struct conn *c, const uint8_t *body, size_t len)
{
    if (len == 4 && memcmp(body, "stop", 4) == 0)
        conn_close(c, CLOSE_PROTOCOL);
}

static void nothing_is_read_after_close(void **state)
{
    (void)state;
    struct fake *f = world(0, 0, 2000);
    struct conn *c = fake_login(f, "a", 0);
    struct fake_pipe *p = fake_pipe_of(c);
    p->on_frame = close_in_the_middle;
    p->last_words = "bye";
    fake_feed_frame(p, "1", 1);
    fake_feed_frame(p, "stop", 4);
    fake_feed_frame(p, "2", 1);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_FRAME), 2);
    fake_feed_frame(p, "3", 1);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_FRAME), 2);
    assert_int_equal(fake_count(f, FAKE_CLOSE), 1);
    assert_true(fake_last(f, FAKE_CLOSE)->can_say);
    assert_memory_equal(p->out.p, "bye", 3);
    assert_true(p->is_shut);
    conn_close(c, CLOSE_RESET); /* the first reason wins */
    fake_wait(f, 5000);
    assert_true(p->is_gone);
    assert_int_equal(f->shard->close_n[CLOSE_PROTOCOL], 1);
    assert_int_equal(f->shard->close_n[CLOSE_RESET], 0);
    assert_int_equal(fake_count(f, FAKE_DESTROY), 1);
    fake_free(f);
}

/* what the adapter left uneaten comes again when it says so, without new bytes. */
static void feed_again(void **state)
{
    (void)state;
    struct fake *f = world(0, 0, 2000);
    struct conn *c = fake_login(f, "a", 0);
    struct fake_pipe *p = fake_pipe_of(c);
    p->refuses_bytes = true;
    fake_feed_frame(p, "one", 3);
    fake_feed_frame(p, "two", 3);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_FRAME), 0);
    p->refuses_bytes = false;
    conn_feed_again(c);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_FRAME), 2);
    conn_feed_again(c); /* nothing there: harmless */
    fake_run(f);
    assert_null(c->rx);
    fake_free(f);
}

/* ---- output -------------------------------------------------------------------------------------------------- */

/* every byte arrives once and in order through a pipe that takes a few bytes, or none, at a time. */
static void partial_writes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct fake *f = world(0, 0, 2000);
        struct rng r;
        rng_init(&r, seed);
        struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
        struct fake_pipe *pipe = fake_pipe_of(s);
        static uint8_t expected[2000000], payload[4000];
        size_t n = 0;
        assert_int_equal(fake_sub(s, "t", (uint8_t)(seed % 2)), ERR_OK);
        s->session->quota = 100000;
        fake_run(f);
        for (unsigned i = 0; i < 500; i++) {
            pipe->send_max = 1 + rng_below(&r, 3000);
            pipe->send_room = rng_chance(&r, 40) ? 0 : rng_below(&r, 6000);
            size_t len = rng_below(&r, rng_chance(&r, 70) ? 300 : 4000);
            for (size_t k = 0; k < len; k++)
                payload[k] = (uint8_t)rng_u64(&r);
            memcpy(expected + n, payload, len);
            n += len;
            struct msgview v = {.topic = SLICE("t"), .payload = slice_make(payload, len), .qos = 1};
            assert_int_equal(fake_pub_view(p, &v, NULL, 0), ERR_OK);
            (void)fake_turn(f);
        }
        pipe->send_room = SIZE_MAX;
        fake_run(f);
        assert_int_equal(pipe->out.len, n);
        assert_memory_equal(pipe->out.p, expected, n);
        assert_null(s->out);
        assert_int_equal(pipe->interest, LOOP_READ); /* WRITE only while something is left */
        fake_free(f);
    }
}

/* a peer that does not read: deliveries stay in its queue, its output stays bounded, others are served; it catches up.
 */
static void blocked_and_woken(void **state)
{
    (void)state;
    struct fake *f = world(0, 4096, 2000);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0), *t = fake_login(f, "t", 0);
    for (uint8_t qos = 0; qos < 2; qos++) {
        fake_forget(f);
        assert_int_equal(fake_sub(s, "t", qos), ERR_OK);
        assert_int_equal(fake_sub(t, "t", qos), ERR_OK);
        s->session->quota = t->session->quota = 1000;
        fake_run(f);
        fake_pipe_of(s)->send_room = 0;
        for (unsigned i = 0; i < 200; i++) {
            char text[101];
            memset(text, 'x', sizeof(text));
            snprintf(text, sizeof(text), "%u", i);
            text[strlen(text)] = ' ';
            text[100] = 0;
            assert_int_equal(fake_pub(p, "t", text, qos), ERR_OK);
            if (i % 10 == 0)
                fake_run(f);
            assert_true(!s->out || s->out->bytes <= 4096 + 100);
        }
        fake_run(f);
        assert_int_equal(fake_count_of(f, FAKE_DELIVER, t), 200);
        assert_true(fake_count_of(f, FAKE_DELIVER, s) < 60);
        for (unsigned i = 0; i < 10000 && fake_count_of(f, FAKE_DELIVER, s) < 200; i++) {
            fake_pipe_of(s)->send_room = 700;
            fake_run(f);
        }
        fake_pipe_of(s)->send_room = SIZE_MAX;
        fake_run(f);
        assert_int_equal(fake_count_of(f, FAKE_DELIVER, s), 200);
        for (uint32_t i = 0, n = 0; i < f->event_n; i++) /* in order */
            if (f->event[i].what == FAKE_DELIVER && f->event[i].conn == fake_number(s))
                assert_int_equal(strtoul(f->event[i].payload, NULL, 10), n++);
    }
    fake_free(f);
}

static void too_slow_for_too_much(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.out_close_bytes_max = 65536;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "a", 0);
    struct fake_pipe *p = fake_pipe_of(c);
    p->send_room = 0;
    static uint8_t zeros[10000];
    for (unsigned i = 0; i < 6; i++) {
        outv_put(conn_out(c), zeros, sizeof(zeros));
        fake_run(f);
    }
    assert_int_equal(reason(f), CLOSE_NONE);
    outv_put(conn_out(c), zeros, sizeof(zeros));
    fake_run(f);
    assert_int_equal(reason(f), CLOSE_SLOW);
    fake_wait(f, 3000);
    assert_true(p->is_gone);
    fake_free(f);
}

static void a_reset_while_sending(void **state)
{
    (void)state;
    struct fake *f = world(0, 0, 2000);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 100);
    struct fake_pipe *pipe = fake_pipe_of(s);
    pipe->last_words = "never heard";
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    fake_run(f);
    pipe->send_resets = true;
    assert_int_equal(fake_pub(p, "t", "x", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(reason(f), CLOSE_RESET);
    assert_false(fake_last(f, FAKE_CLOSE)->can_say);
    assert_true(pipe->is_gone);
    assert_int_equal(pipe->out.len, 0);
    s = fake_login(f, "s", 100);
    fake_run(f);
    assert_true(fake_last(f, FAKE_DELIVER)->redelivered);
    fake_free(f);
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static void eof_with_output_pending(void **state)
{
    (void)state;
    for (unsigned slow = 0; slow < 3; slow++) {
        struct fake *f = world(0, 0, 2000);
        struct conn *c = fake_login(f, "a", 0);
        struct fake_pipe *p = fake_pipe_of(c);
        p->last_words = "not for someone who left";
        p->send_room = slow ? 0 : SIZE_MAX;
        outv_put(conn_out(c), "pending", 7);
        p->is_eof = true;
        fake_run(f);
        assert_int_equal(reason(f), CLOSE_EOF);
        assert_false(fake_last(f, FAKE_CLOSE)->can_say);
        if (slow == 1) { /* the half-closed peer reads the rest */
            assert_false(p->is_gone);
            p->send_room = SIZE_MAX;
            fake_run(f);
        } else if (slow == 2) { /* or does not, for too long */
            assert_false(p->is_gone);
            fake_wait(f, 1999);
            assert_false(p->is_gone);
            fake_wait(f, 1);
        }
        assert_true(p->is_gone);
        assert_int_equal(p->out.len, slow == 2 ? 0 : 7);
        fake_free(f);
    }
}

/* What was said last reaches the peer, then the connection goes. STOMP 1.2 §Connection Lingering */
static void lingering(void **state)
{
    (void)state;
    enum { UNTIL_EOF, UNTIL_TIME, UNTIL_RESET, WITH_PENDING_OUTPUT, EOF_THEN_SENT, RESET_WHILE_SENDING, CHATTY, WAYS };
    for (int way = 0; way < WAYS; way++) {
        struct fake *f = world(0, 0, 2000);
        struct conn *c = fake_login(f, "a", 0);
        struct fake_pipe *p = fake_pipe_of(c);
        p->last_words = "goodbye";
        bool slow = way == WITH_PENDING_OUTPUT || way == EOF_THEN_SENT || way == RESET_WHILE_SENDING;
        p->send_room = slow ? 3 : SIZE_MAX;
        conn_close(c, CLOSE_ADMIN);
        fake_run(f);
        assert_false(p->is_gone);
        assert_int_equal(p->is_shut, p->send_room == SIZE_MAX);
        assert_int_equal(fake_stat(f, STAT_SESSIONS), 0); /* the session left at once */
        if (way == UNTIL_EOF)
            p->is_eof = true;
        if (way == UNTIL_RESET)
            p->is_reset = true;
        if (way == RESET_WHILE_SENDING)
            p->send_resets = true;
        if (way == EOF_THEN_SENT) {
            p->is_eof = true;
            fake_run(f);
            assert_false(p->is_gone);
            p->send_room = SIZE_MAX;
        }
        fake_run(f);
        if (way == WITH_PENDING_OUTPUT) {
            p->send_room = SIZE_MAX;
            fake_run(f);
            assert_true(p->is_shut && !p->is_gone);
        }
        for (unsigned i = 0; way == CHATTY && i < 100; i++) { /* what still comes is thrown away, and not for ever */
            static uint8_t noise[100000];
            fake_feed(p, noise, sizeof(noise));
            fake_run(f);
            assert_int_equal(p->in_at, p->in.len);
            assert_null(c->rx);
        }
        bool over = way == UNTIL_EOF || way == UNTIL_RESET || way == EOF_THEN_SENT || way == RESET_WHILE_SENDING;
        assert_int_equal(p->is_gone, over);
        if (!over) {
            fake_wait(f, 1999);
            assert_false(p->is_gone);
            fake_wait(f, 1);
        }
        assert_true(p->is_gone);
        assert_int_equal(p->out.len, way == RESET_WHILE_SENDING ? 3 : 7);
        assert_int_equal(fake_count(f, FAKE_DESTROY), 1);
        fake_free(f);
    }
}

static void everything_at_once(void **state)
{
    (void)state;
    struct fake *f = world(0, 0, 2000);
    struct conn *c = fake_login(f, "a", 0), *d = fake_login(f, "a", 0); /* taken over ... */
    fake_pipe_of(c)->is_reset = true;                                   /* ... and reset ... */
    conn_close(c, CLOSE_ADMIN);                                         /* ... and closed by an operator */
    fake_pipe_of(c)->send_resets = true;
    f->shard->limits.login_ms = 0;
    fake_wait(f, 5000);
    assert_int_equal(fake_count(f, FAKE_CLOSE), 1);
    assert_int_equal(fake_last(f, FAKE_CLOSE)->why, CLOSE_TAKEN_OVER);
    assert_int_equal(fake_stat(f, STAT_CONNS), 1);
    assert_ptr_equal(d->session->conn, d);
    fake_free(f);
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

static void ticks(void **state)
{
    (void)state;
    struct fake *f = world(0, 0, 2000);
    struct conn *c = fake_login(f, "a", 0);
    struct fake_pipe *p = fake_pipe_of(c);
    assert_int_equal(fake_count(f, FAKE_TICK), 1); /* right after open */
    fake_wait(f, 50000);
    fake_forget(f);
    p->tick_every = 100;
    fake_wait(f, 1000);
    assert_int_equal(fake_count(f, FAKE_TICK), 0); /* it said never */
    mono_ms start = f->now;
    conn_wants_tick(c, start + 30);
    conn_wants_tick(c, start + 500); /* later than what is set: the earlier one stays */
    fake_wait(f, 1000);
    assert_int_equal(fake_nth(f, FAKE_TICK, 0)->at, start + 30);
    assert_int_equal(fake_nth(f, FAKE_TICK, 1)->at, start + 130);
    assert_int_equal(fake_count(f, FAKE_TICK), 10);
    conn_close(c, CLOSE_GOODBYE);
    fake_forget(f);
    fake_wait(f, 1000);
    assert_int_equal(fake_count(f, FAKE_TICK), 0);
    fake_free(f);
}

/* the peer said goodbye: without words of ours it is over at once; with words it reads them first. */
static void goodbye_is_short(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *quiet = fake_login(f, "quiet", 0), *wordy = fake_login(f, "wordy", 0);
    struct fake_pipe *qp = fake_pipe_of(quiet), *wp = fake_pipe_of(wordy);
    wp->last_words = "bye";
    conn_close(quiet, CLOSE_GOODBYE);
    conn_close(wordy, CLOSE_GOODBYE_WILL);
    fake_run(f);
    assert_true(qp->is_gone);
    assert_false(wp->is_gone);
    assert_memory_equal(wp->out.p + wp->out.len - 3, "bye", 3);
    wp->is_eof = true;
    fake_run(f);
    assert_true(wp->is_gone);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goodbye_is_short),
        cmocka_unit_test(claims_at_every_split),
        cmocka_unit_test(login_takes_too_long),
        cmocka_unit_test(a_large_first_packet),
        cmocka_unit_test(no_room_for_more),
        cmocka_unit_test(open_fails),
        cmocka_unit_test(random_splits),
        cmocka_unit_test(promises_cost_nothing),
        cmocka_unit_test(the_read_budget),
        cmocka_unit_test(spurious_readiness),
        cmocka_unit_test(nothing_is_read_after_close),
        cmocka_unit_test(feed_again),
        cmocka_unit_test(partial_writes),
        cmocka_unit_test(blocked_and_woken),
        cmocka_unit_test(too_slow_for_too_much),
        cmocka_unit_test(a_reset_while_sending),
        cmocka_unit_test(eof_with_output_pending),
        cmocka_unit_test(lingering),
        cmocka_unit_test(everything_at_once),
        cmocka_unit_test(ticks),
    };
    return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
