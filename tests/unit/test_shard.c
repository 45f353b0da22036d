/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shard.c: the order of a turn's steps, letters, the timers' budget, stopping with grace, and that a shard that
 * cannot be made, or is freed in the middle of everything, leaves nothing behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "persist/store_image.h"
#include "persist/store_mem.h"
#include "tests/support/fake.h"

static void made_and_freed(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    for (unsigned i = 0; i < 3; i++)
        fake_run(f);
    assert_int_equal(f->timer, MONO_NEVER); /* an idle shard wakes for nothing */
    assert_int_equal(fake_stat(f, STAT_TURNS), f->turns);
    fake_free(f);
}

/* every allocation of shard_new fails: NULL, no leak, and the store is closed by the shard. */
static void cannot_be_made(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    config.fail_at = 1;
    for (;; config.fail_at++) {
        struct fake *f = fake_new(&config);
        if (!f)
            continue;
        fake_free(f);
        break;
    }
    assert_true(config.fail_at > 10);
}

static enum err open_refuses(struct store *s)
{
    UNUSED(s);
    return ERR_IO;
}

static void the_store_will_not_open(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct mem_heap heap, store_heap;
    struct mem mem;
    mem_heap_init(&heap);
    mem_heap_init(&store_heap);
    mem_init(&mem, &store_heap, "store");
    struct store *store = store_mem_new(&mem, &(struct store_mem_config){0});
    struct store_ops ops = *store->ops;
    ops.open = open_refuses;
    store->ops = &ops;
    bool (*had)(void *) = f->loop.on_turn;
    void *ctx = f->loop.ctx;
    struct shard *s = shard_new(&(struct shard_config){
        .loop = &f->loop, .log = &f->log, .heap = &heap, .store = store, .limits = f->shard->limits});
    assert_null(s);
    assert_int_equal(heap.bytes, 0);
    assert_int_equal(store_heap.bytes, 0);
    f->loop.on_turn = had;
    f->loop.ctx = ctx;
    fake_free(f);
}

/* ---- the turn ------------------------------------------------------------------------------------------------ */

struct note {
    struct letter letter;
    struct fake *f;
    const char *what;
    bool again;
};

struct trace {
    struct fake *f;
    struct conn *sub, *pub;
    char text[64];
};

static struct trace the_trace;

static void tell(const char *what)
{
    size_t n = strlen(the_trace.text);
    snprintf(the_trace.text + n, sizeof(the_trace.text) - n, "%s", what);
}

static void open_note(struct letter *l, void *shard)
{
    struct note *n = CONTAINER_OF(l, struct note, letter);
    assert_ptr_equal(shard, n->f->shard);
    tell(n->what);
    if (n->again) {
        n->again = false;
        mailbox_post(&n->f->shard->mailbox, l);
    }
}

static void frame_tells(struct conn *c, const uint8_t *body, size_t len)
{
    UNUSED(body);
    UNUSED(len);
    assert_int_equal(fake_pipe_of(the_trace.sub)->out.len, 0); /* nothing is sent before step 5 */
    tell("2");
    (void)fake_pub(c, "t", "x", 0);
    assert_int_equal(fake_pipe_of(the_trace.sub)->out.len, 0);
}

static mono_ms (*true_submit)(struct store *, mono_ms now);

static mono_ms submit_tells(struct store *s, mono_ms now)
{
    tell("4");
    return true_submit(s, now);
}

/* 1 letters, 2 input, 3 timers, 4 store, 5 output; nothing leaves before 5. */
static void the_steps_in_order(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    struct trace *t = &the_trace;
    *t = (struct trace){.f = fake_new(&config)};
    struct fake *f = t->f;
    t->sub = fake_conn(f);
    t->pub = fake_conn(f);
    struct attach a = fake_attach("", 0);
    broker_attach(t->sub, &a);
    broker_attach(t->pub, &a);
    assert_int_equal(fake_sub(t->sub, "t", 0), ERR_OK);
    fake_wait(f, 60000);
    struct store_ops ops = *f->store->ops;
    const struct store_ops *had = f->store->ops;
    true_submit = ops.submit;
    ops.submit = submit_tells;
    f->store->ops = &ops;
    fake_pipe_of(t->pub)->on_frame = frame_tells;
    fake_feed_frame(fake_pipe_of(t->pub), "go", 2);
    conn_wants_tick(t->sub, f->now + 5);
    f->now += 5;
    fake_forget(f);
    struct note n = {.letter = {.on_open = open_note}, .f = f, .what = "1"};
    mailbox_post(&f->shard->mailbox, &n.letter);
    assert_true(f->wakes > 0);
    (void)fake_turn(f);
    assert_string_equal(t->text, "124");
    assert_int_equal(fake_count(f, FAKE_TICK), 1);
    const struct fake_event *frame = fake_last(f, FAKE_FRAME), *tick = fake_last(f, FAKE_TICK);
    assert_true(frame < tick);                          /* 2 before 3 */
    assert_int_equal(fake_pipe_of(t->sub)->out.len, 1); /* 5 */
    f->store->ops = had;
    fake_free(f);
}

static void letters(void **state)
{
    (void)state;
    the_trace = (struct trace){.f = fake_new(NULL)};
    struct fake *f = the_trace.f;
    struct note n[3] = {{.what = "a"}, {.what = "b", .again = true}, {.what = "c"}};
    for (unsigned i = 0; i < 3; i++) {
        n[i].f = f;
        n[i].letter.on_open = open_note;
        mailbox_post(&f->shard->mailbox, &n[i].letter);
    }
    assert_int_equal(f->wakes, 1);
    (void)fake_turn(f);
    assert_string_equal(the_trace.text, "abc"); /* what is posted meanwhile waits for the next turn */
    assert_int_equal(f->wakes, 1);
    (void)fake_turn(f);
    assert_string_equal(the_trace.text, "abcb");
    assert_int_equal(f->wakes, 0);
    fake_free(f);
}

static void the_budget_of_timers(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.timers_turn = 10;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 1000);
    assert_int_equal(fake_sub(s, "t", 1), ERR_OK);
    fake_pipe_of(s)->is_reset = true;
    fake_run(f);
    for (unsigned i = 0; i < 95; i++) {
        struct msgview v = {.topic = SLICE("t"), .qos = 1, .expires_at = f->now + 1000 + i % 3};
        assert_int_equal(fake_pub_view(p, &v, NULL, 0), ERR_OK);
    }
    fake_run(f);
    assert_int_equal(f->timer <= f->now + 1000, true);
    f->now += 2000;
    for (unsigned i = 1; i <= 9; i++) {
        assert_true(fake_turn(f)); /* more is due */
        assert_int_equal(fake_stat(f, STAT_DROP_EXPIRED), 10 * i);
    }
    assert_false(fake_turn(f));
    assert_int_equal(fake_stat(f, STAT_DROP_EXPIRED), 95);
    fake_wait(f, 10);
    fake_free(f);
}

/* a turn that makes much output sends some of it before it goes on. */
static void output_in_the_middle_of_a_turn(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.flush_bytes_turn = 65536;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0), *gone = fake_login(f, "gone", 0);
    static char payload[10001];
    memset(payload, 'x', 10000);
    assert_int_equal(fake_sub(s, "t", 0), ERR_OK);
    conn_close(gone, CLOSE_ADMIN);
    fake_forget(f);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(fake_pub(p, "t", payload, 0), ERR_OK);
    assert_true(fake_pipe_of(s)->out.len >= 130000); /* no turn has ended yet */
    assert_int_equal(fake_count(f, FAKE_CLOSE), 0);  /* and nobody was ended in the middle */
    fake_run(f);
    assert_int_equal(fake_pipe_of(s)->out.len, 200000);
    assert_int_equal(fake_count(f, FAKE_CLOSE), 1);
    fake_free(f);
}

/* ---- stopping ------------------------------------------------------------------------------------------------ */

static void count_stop(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void stop_with_grace(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    unsigned stopped = 0;
    struct conn *polite = fake_login(f, "polite", 0), *slow = fake_login(f, "slow", 0),
                *early = fake_login(f, "early", 0);
    struct fake_pipe *raw = fake_pipe(f), *pp = fake_pipe_of(polite), *sp = fake_pipe_of(slow),
                     *ep = fake_pipe_of(early);
    pp->last_words = sp->last_words = "stop";
    conn_close(early, CLOSE_ADMIN); /* lingers already, for longer than the grace */
    fake_run(f);
    assert_false(ep->is_gone);
    sp->send_room = 0;
    fake_run(f);
    shard_stop(f->shard, 500, count_stop, &stopped);
    fake_run(f);
    assert_true(raw->is_gone); /* never said what it is */
    assert_int_equal(fake_nth(f, FAKE_CLOSE, 1)->why, CLOSE_SHUTDOWN);
    assert_memory_equal(pp->out.p, "stop", 4);
    assert_null(fake_pipe(f)->conn); /* nobody comes in any more */
    pp->is_eof = true;
    fake_run(f);
    assert_true(pp->is_gone);
    assert_int_equal(stopped, 0);
    fake_wait(f, 499);
    assert_int_equal(stopped, 0);
    fake_wait(f, 1);
    assert_true(sp->is_gone && ep->is_gone);
    assert_int_equal(stopped, 1);
    fake_wait(f, 5000);
    assert_int_equal(stopped, 1);
    fake_free(f);
}

static void stop_with_nobody_there(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    unsigned stopped = 0;
    shard_stop(f->shard, 500, count_stop, &stopped);
    assert_int_equal(stopped, 0);
    assert_true(f->wakes > 0);
    fake_run(f);
    assert_int_equal(stopped, 1);
    fake_free(f);
}

static void stop_while_everything_happens(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = config.is_late = true;
    struct fake *f = fake_new(&config);
    unsigned stopped = 0;
    struct conn *a = fake_conn(f), *b = fake_conn(f);
    struct attach at = fake_attach("a", 100);
    struct msgview will = {.topic = SLICE("t"), .payload = SLICE("will"), .qos = 1, .flags = MSG_RETAIN | MSG_DURABLE};
    at.will = &will;
    broker_attach(a, &at); /* waits for the store */
    at.id = SLICE("b");
    broker_attach(b, &at);
    (void)fake_sub(b, "#", 2);
    (void)fake_pub(b, "t", "x", 2);
    shard_stop(f->shard, 0, count_stop, &stopped);
    fake_run(f);
    fake_wait(f, 1);
    assert_int_equal(stopped, 1);
    assert_int_equal(f->shard->close_n[CLOSE_SHUTDOWN], 2);
    fake_durable(f);
    fake_free(f);
}

/* freed in the middle of it all: output waiting, receipts owed, replays open, timers armed, letters answered. */
static void freed_in_the_middle(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 8; way++) {
        struct fake_config config;
        fake_config_init(&config);
        config.has_store = way & 1;
        config.is_late = way & 2;
        config.limits.session_queue_max = 4;
        struct fake *f = fake_new(&config);
        struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 100), *t = fake_login(f, "", 0);
        struct fake_filter ff;
        if (config.is_late && config.has_store)
            fake_durable(f);
        for (unsigned i = 0; i < 30; i++) {
            char topic[16];
            snprintf(topic, sizeof(topic), "t/%u", i);
            struct msgview v = {.topic = slice_from_str(topic),
                                .payload = SLICE("x"),
                                .qos = 2,
                                .flags = MSG_RETAIN | MSG_DURABLE,
                                .expires_at = i % 2 ? f->now + 9000 : 0};
            (void)fake_pub_view(p, &v, NULL, (uint16_t)(i + 1));
        }
        fake_pipe_of(s)->send_room = 3;
        (void)fake_sub(s, "t/#", 2);
        (void)broker_consume_filter(t, NULL, fake_filter(&ff, "t/+"), &(struct binding_opts){.qos = 1, .sub_id = 9},
                                    &(struct consume){.mode = ACK_CUMULATIVE, .prefetch = 2, .qos = 2, .receipt = 5});
        if (way & 4)
            (void)fake_turn(f);
        conn_close(p, CLOSE_GOODBYE);
        fake_feed(fake_pipe_of(t), "\0\0\0\xff half", 9);
        if (way & 4)
            (void)fake_turn(f);
        fake_free(f); /* asserts that nothing is left */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_and_freed),
        cmocka_unit_test(cannot_be_made),
        cmocka_unit_test(the_store_will_not_open),
        cmocka_unit_test(the_steps_in_order),
        cmocka_unit_test(letters),
        cmocka_unit_test(the_budget_of_timers),
        cmocka_unit_test(output_in_the_middle_of_a_turn),
        cmocka_unit_test(stop_with_grace),
        cmocka_unit_test(stop_with_nobody_there),
        cmocka_unit_test(stop_while_everything_happens),
        cmocka_unit_test(freed_in_the_middle),
    };
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
