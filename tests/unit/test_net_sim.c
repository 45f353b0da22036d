/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_net_sim.c: the simulator's own clock and network. An instrument that lies finds bugs that are not there and
 * misses those that are, so its promises are tested like any other module's: order of events, level-triggered
 * readiness, bytes in order and complete under every fault, and what EOF and RESET do to bytes on the way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/net_sim.h"

struct fix {
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    struct loop_sim *loop;
    struct net_sim net;
    struct transport *end[2];
    unsigned ready[2]; /* events reported so far, or-ed */
    uint32_t ready_n[2];
    uint32_t turns;
};

static const struct net_faults faults_none = {.buffer_bytes = 4096};

static bool on_turn(void *ctx)
{
    ((struct fix *)ctx)->turns++;
    return false;
}

static void on_ready(struct transport *t, unsigned events)
{
    struct fix *f = t->up;
    int i = f->end[1] == t;
    f->ready[i] |= events;
    f->ready_n[i]++;
    t->ops->want(t, 0); /* level-triggered: one report is enough here */
}

static void fix_open(struct fix *f, uint64_t seed, const struct net_faults *faults)
{
    *f = (struct fix){0};
    mem_heap_init(&f->heap);
    mem_init(&f->mem, &f->heap, "test");
    rng_init(&f->rng, seed);
    f->loop = loop_sim_new(&f->mem, &f->rng);
    f->loop->loop.on_turn = on_turn;
    f->loop->loop.ctx = f;
    net_sim_init(&f->net, f->loop, &f->mem, &f->rng, faults);
    net_sim_pair(&f->net, f->end);
    for (int i = 0; i < 2; i++) {
        f->end[i]->up = f;
        f->end[i]->on_ready = on_ready;
    }
}

static void fix_close(struct fix *f)
{
    for (int i = 0; i < 2; i++)
        if (f->end[i])
            f->end[i]->ops->destroy(f->end[i]);
    net_sim_fini(&f->net);
    f->loop->loop.ops->destroy(&f->loop->loop);
    assert_int_equal(f->heap.bytes, 0);
}

static ptrdiff_t say(struct fix *f, int i, const char *text)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    return f->end[i]->ops->sendv(f->end[i], &iov, 1);
}

static ptrdiff_t hear(struct fix *f, int i, char *out, size_t cap)
{
    return f->end[i]->ops->recv(f->end[i], (uint8_t *)out, cap);
}

/* ---- the clock ----------------------------------------------------------------------------------------------------
 */

struct note {
    struct sim_event ev;
    struct fix *f;
    int id;
    char **log;
    mono_ms again; /* replan once by this much */
};

static void note_due(struct sim_event *ev)
{
    struct note *n = CONTAINER_OF(ev, struct note, ev);
    *(*n->log)++ = (char)n->id;
    if (n->again) {
        sim_plan(n->f->loop, ev, n->f->loop->now + n->again);
        n->again = 0;
    }
}

static void test_events_in_order(void **state)
{
    UNUSED(state);
    struct fix f;
    fix_open(&f, 1, &faults_none);
    char log[16] = {0}, *at = log;
    struct note n[5];
    const mono_ms due[5] = {30, 10, 10, 20, 5};
    for (int i = 0; i < 5; i++) {
        n[i] = (struct note){.ev.on_due = note_due, .f = &f, .id = 'a' + i, .log = &at};
        sim_plan(f.loop, &n[i].ev, LOOP_SIM_START + due[i]);
    }
    n[1].again = 15;
    sim_cancel(f.loop, &n[4].ev);
    sim_cancel(f.loop, &n[4].ev);
    assert_false(sim_is_planned(&n[4].ev));
    loop_sim_run_to(f.loop, LOOP_SIM_START + 9);
    assert_string_equal(log, "");
    loop_sim_run_to(f.loop, LOOP_SIM_START + 100);
    assert_string_equal(log, "bcdba");
    assert_int_equal(f.loop->now, LOOP_SIM_START + 100);
    fix_close(&f);
}

static void test_random_events_in_order(void **state)
{
    UNUSED(state);
    struct fix f;
    fix_open(&f, 2, &faults_none);
    char log[512] = {0}, *at = log;
    struct note n[200];
    for (unsigned i = 0; i < 200; i++) {
        n[i] = (struct note){.ev.on_due = note_due, .f = &f, .id = 1 + (int)rng_below(&f.rng, 100), .log = &at};
        sim_plan(f.loop, &n[i].ev, LOOP_SIM_START + (mono_ms)n[i].id);
    }
    for (unsigned i = 0; i < 200; i += 3)
        sim_cancel(f.loop, &n[i].ev);
    while (loop_sim_step(f.loop))
        ;
    assert_int_equal(at - log, 200 - 67);
    for (char *p = log + 1; p < at; p++)
        assert_true(p[-1] <= p[0]);
    fix_close(&f);
}

static void test_turns(void **state)
{
    UNUSED(state);
    struct fix f;
    fix_open(&f, 3, &faults_none);
    struct loop *l = &f.loop->loop;
    assert_false(loop_sim_step(f.loop)); /* nothing will ever happen */
    l->ops->timer(l, LOOP_SIM_START + 50);
    assert_true(loop_sim_step(f.loop));
    assert_int_equal(loop_now(l), LOOP_SIM_START + 50);
    assert_int_equal(f.turns, 0);
    assert_true(loop_sim_step(f.loop));
    assert_int_equal(f.turns, 1);
    assert_false(loop_sim_step(f.loop)); /* one shot */
    l->ops->wake(l);
    l->ops->wake(l);
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(f.turns, 2);
    assert_true(l->ops->wall(l) > loop_now(l));
    fix_close(&f);
}

static void io_ready(struct loop_io *io, unsigned events)
{
    io->impl[0] |= (unsigned char)events;
}

static void test_io(void **state)
{
    UNUSED(state);
    struct fix f;
    fix_open(&f, 4, &faults_none);
    struct loop *l = &f.loop->loop;
    struct loop_io io = {.on_ready = io_ready, .fd = -1};
    assert_int_equal(loop_io_set(l, &io, LOOP_READ), ERR_IO);
    io.fd = 7;
    assert_int_equal(loop_io_set(l, &io, LOOP_READ), ERR_OK);
    loop_sim_io(f.loop, &io, LOOP_WRITE);
    assert_int_equal(io.impl[0], 0);
    loop_sim_io(f.loop, &io, LOOP_READ | LOOP_WRITE);
    assert_int_equal(io.impl[0], LOOP_READ);
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(f.turns, 1);
    assert_int_equal(loop_io_set(l, &io, 0), ERR_OK);
    fix_close(&f);
}

/* ---- the network --------------------------------------------------------------------------------------------------
 */

static void test_bytes_and_readiness(void **state)
{
    UNUSED(state);
    struct fix f;
    fix_open(&f, 5, &faults_none);
    char in[32] = {0};
    assert_int_equal(hear(&f, 1, in, sizeof(in)), -ERR_AGAIN);
    f.end[1]->ops->want(f.end[1], LOOP_READ);
    assert_int_equal(say(&f, 0, "hello"), 5);
    assert_int_equal(hear(&f, 1, in, sizeof(in)), -ERR_AGAIN); /* not there yet */
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(f.ready[1], LOOP_READ);
    assert_true(f.turns > 0);
    assert_int_equal(hear(&f, 1, in, 2), 2);
    f.ready_n[1] = 0;
    f.end[1]->ops->want(f.end[1], LOOP_READ); /* still readable: reported again */
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(f.ready_n[1], 1);
    assert_int_equal(hear(&f, 1, in + 2, 30), 3);
    assert_string_equal(in, "hello");
    f.end[0]->ops->peer(f.end[0], in, 4);
    assert_string_equal(in, "sim");
    fix_close(&f);
}

static void test_full_buffer(void **state)
{
    UNUSED(state);
    struct fix f;
    fix_open(&f, 6, &(struct net_faults){.buffer_bytes = 8});
    char in[32] = {0};
    assert_int_equal(say(&f, 0, "0123456789"), 8);
    assert_int_equal(say(&f, 0, "89"), -ERR_AGAIN);
    f.end[0]->ops->want(f.end[0], LOOP_WRITE);
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(f.ready_n[0], 0);
    assert_int_equal(net_sim_unread(f.end[1]), 8);
    assert_int_equal(hear(&f, 1, in, 3), 3);
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(f.ready[0], LOOP_WRITE);
    assert_int_equal(say(&f, 0, "89"), 2); /* around the end of the ring */
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(hear(&f, 1, in + 3, 20), 7);
    assert_string_equal(in, "0123456789");
    fix_close(&f);
}

static void test_shut_and_destroy(void **state)
{
    UNUSED(state);
    struct fix f;
    fix_open(&f, 7, &faults_none);
    char in[32] = {0};
    assert_int_equal(say(&f, 0, "bye"), 3);
    f.end[0]->ops->shut(f.end[0]);
    f.end[0]->ops->shut(f.end[0]);
    assert_int_equal(say(&f, 0, "more"), -ERR_RESET);
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(hear(&f, 1, in, 32), 3);
    assert_int_equal(hear(&f, 1, in, 32), -ERR_EOF);
    assert_int_equal(hear(&f, 1, in, 32), -ERR_EOF);
    assert_int_equal(say(&f, 1, "still"), 5); /* the other way is open */
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(hear(&f, 0, in, 32), 5);
    f.end[0]->ops->destroy(f.end[0]);
    f.end[0] = NULL;
    assert_int_equal(say(&f, 1, "anybody?"), 8); /* taken; the answer is a RST */
    assert_true(loop_sim_settle(f.loop, 10));
    assert_int_equal(hear(&f, 1, in, 32), -ERR_RESET);
    assert_int_equal(say(&f, 1, "x"), -ERR_RESET);
    fix_close(&f);
}

static void test_reset(void **state)
{
    UNUSED(state);
    for (int loss = 0; loss < 2; loss++) {
        struct fix f;
        fix_open(&f, 8, &faults_none);
        char in[32] = {0};
        assert_int_equal(say(&f, 0, "abc"), 3);
        net_sim_reset(f.end[0], loss ? NET_LOSE : NET_KEEP);
        assert_int_equal(hear(&f, 0, in, 32), -ERR_RESET);
        assert_int_equal(say(&f, 0, "d"), -ERR_RESET);
        f.end[1]->ops->want(f.end[1], LOOP_READ);
        assert_true(loop_sim_settle(f.loop, 10));
        assert_true(f.ready[1] & LOOP_READ);
        if (!loss)
            assert_int_equal(hear(&f, 1, in, 32), 3);
        assert_int_equal(hear(&f, 1, in, 32), -ERR_RESET);
        fix_close(&f);
    }
}

static void test_cut(void **state)
{
    UNUSED(state);
    struct fix f;
    fix_open(&f, 9, &faults_none);
    char in[32] = {0};
    assert_int_equal(say(&f, 0, "abc"), 3);
    assert_int_equal(say(&f, 1, "def"), 3);
    net_sim_cut(f.end[0], NET_KEEP);
    assert_int_equal(say(&f, 0, "lost"), 4); /* nobody has told this end yet */
    assert_true(loop_sim_settle(f.loop, 10));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hear(&f, i, in, 32), 3);
        assert_int_equal(hear(&f, i, in, 32), -ERR_RESET);
        assert_int_equal(say(&f, i, "x"), -ERR_RESET);
    }
    fix_close(&f);
}

/* Whatever the faults: all bytes arrive, once and in order, and both ends hear of it without asking in vain for ever.
 */
static void test_every_fault(void **state)
{
    UNUSED(state);
    enum { BYTES = 20000 };
    static uint8_t sent[BYTES], got[BYTES];
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct rng r;
        rng_init(&r, seed);
        struct net_faults faults = {.delay_ms_max = rng_below(&r, 20),
                                    .buffer_bytes = 1 + rng_below(&r, 3000),
                                    .piece_max = rng_below(&r, 2) ? 1 + rng_below(&r, 500) : 0,
                                    .again_pct = (uint8_t)rng_below(&r, 50),
                                    .spurious_pct = (uint8_t)rng_below(&r, 20),
                                    .hold_pct = (uint8_t)rng_below(&r, 50)};
        struct fix f;
        fix_open(&f, seed, &faults);
        for (size_t i = 0; i < BYTES; i++)
            sent[i] = (uint8_t)rng_below(&r, 256);
        size_t out_n = 0, in_n = 0;
        ptrdiff_t n = 0;
        while (n != -ERR_EOF) {
            f.end[0]->ops->want(f.end[0], out_n < BYTES ? LOOP_WRITE : 0);
            f.end[1]->ops->want(f.end[1], LOOP_READ);
            f.ready[0] = f.ready[1] = 0;
            while (f.ready[0] == 0 && f.ready[1] == 0)
                assert_true(loop_sim_step(f.loop));
            if (f.ready[0] && out_n < BYTES) {
                struct iovec iov[2] = {{sent + out_n, MIN(BYTES - out_n, 10)}, {sent + out_n, 0}};
                iov[1].iov_base = sent + out_n + iov[0].iov_len;
                iov[1].iov_len = BYTES - out_n - iov[0].iov_len;
                n = f.end[0]->ops->sendv(f.end[0], iov, 2);
                assert_true(n > 0 || n == -ERR_AGAIN);
                out_n += n > 0 ? (size_t)n : 0;
                if (out_n == BYTES)
                    f.end[0]->ops->shut(f.end[0]);
            }
            do { /* what is pending in the pipe is not reported again */
                n = f.end[1]->ops->recv(f.end[1], got + in_n, MAX(BYTES - in_n, 1));
                in_n += n > 0 ? (size_t)n : 0;
            } while (f.end[1]->ops->pending(f.end[1]));
        }
        assert_int_equal(in_n, BYTES);
        assert_memory_equal(sent, got, BYTES);
        fix_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_in_order),
        cmocka_unit_test(test_random_events_in_order),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_io),
        cmocka_unit_test(test_bytes_and_readiness),
        cmocka_unit_test(test_full_buffer),
        cmocka_unit_test(test_shut_and_destroy),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_every_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
