/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_loop_ev.c: the libev loop with real pipes, eventfds, clocks and threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/loop.h"
#include "tests/support/guard.h"
#include "tests/support/refuse.h"

#define IOS 4

struct world;

struct seen {
    struct loop_io io;
    struct world *w;
    unsigned n, events; /* calls, and all events together */
    unsigned last_turn; /* turns that had ended when it was called last */
    void (*then)(struct seen *s);
};

struct world {
    struct mem_heap heap;
    struct mem mem;
    struct loop *loop;
    struct seen s[IOS];
    unsigned turns, stop_after; /* stop when this many turns are done; 0: never */
    bool leave_work;
    mono_ms now_in_ready, now_in_turn, until;
    void (*turn)(struct world *w);
};

static uint64_t real_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void on_ready(struct loop_io *io, unsigned events)
{
    struct seen *s = CONTAINER_OF(io, struct seen, io);
    s->n++;
    s->events |= events;
    s->last_turn = s->w->turns;
    s->w->now_in_ready = loop_now(s->w->loop);
    if (s->then)
        s->then(s);
}

static bool on_turn(void *ctx)
{
    struct world *w = ctx;
    w->turns++;
    w->now_in_turn = loop_now(w->loop);
    if (w->turn)
        w->turn(w);
    if (w->stop_after != 0 && w->turns >= w->stop_after)
        w->loop->ops->stop(w->loop);
    return w->leave_work;
}

static int setup(void **state)
{
    struct world *w = test_calloc(1, sizeof(*w));
    mem_heap_init(&w->heap);
    mem_init(&w->mem, &w->heap, "loop");
    w->loop = loop_ev_new(&w->mem);
    assert_non_null(w->loop);
    w->loop->on_turn = on_turn;
    w->loop->ctx = w;
    for (unsigned i = 0; i < IOS; i++) {
        w->s[i].w = w;
        w->s[i].io.fd = -1;
        w->s[i].io.on_ready = on_ready;
    }
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < IOS; i++) {
        assert_int_equal(loop_io_set(w->loop, &w->s[i].io, 0), ERR_OK);
        if (w->s[i].io.fd != -1)
            close(w->s[i].io.fd);
    }
    w->loop->ops->destroy(w->loop);
    assert_int_equal(w->heap.bytes, 0);
    test_free(w);
    return 0;
}

/* run: `turns` more turns; the loop's first one polls, so readiness that is there already may come with it. */
static void run(struct world *w, unsigned turns)
{
    w->stop_after = w->turns + turns;
    w->loop->ops->run(w->loop);
}

/* run_a_while: `turns` turns although nothing may happen: none of them waits longer than 3 ms. */
static void run_a_while(struct world *w, unsigned turns)
{
    w->loop->ops->timer(w->loop, loop_now(w->loop) + 3);
    run(w, turns);
    w->loop->ops->timer(w->loop, MONO_NEVER);
}

static void ring(int fd)
{
    uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void watch_eventfd(struct world *w, unsigned i, unsigned initial)
{
    w->s[i].io.fd = eventfd(initial, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_int_not_equal(w->s[i].io.fd, -1);
    assert_int_equal(loop_io_set(w->loop, &w->s[i].io, LOOP_READ), ERR_OK);
}

/* ---- readiness ----------------------------------------------------------------------------------------------- */

static void test_ready_before_turn(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 1);
    watch_eventfd(w, 1, 1);
    watch_eventfd(w, 2, 0);
    run(w, 1);
    assert_int_equal(w->s[0].n, 1);
    assert_int_equal(w->s[1].n, 1);
    assert_int_equal(w->s[2].n, 0);
    assert_int_equal(w->s[0].events, LOOP_READ);
    assert_int_equal(w->s[0].last_turn, 0); /* both were called before the first turn ended */
    assert_int_equal(w->s[1].last_turn, 0);
    assert_int_equal(w->turns, 1);
    assert_int_equal(w->now_in_ready, w->now_in_turn);
    assert_true(w->now_in_turn != 0);
}

static void test_level_triggered(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 1);
    run(w, 5);
    assert_int_equal(w->s[0].n, 5); /* nobody read it */
    uint64_t v;
    assert_int_equal(read(w->s[0].io.fd, &v, sizeof(v)), sizeof(v));
    run_a_while(w, 3);
    assert_int_equal(w->s[0].n, 5);
}

static void test_read_and_write(void **state)
{
    struct world *w = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    w->s[0].io.fd = pair[0];
    w->s[1].io.fd = pair[1];
    assert_int_equal(loop_io_set(w->loop, &w->s[0].io, LOOP_WRITE), ERR_OK);
    assert_int_equal(loop_io_set(w->loop, &w->s[1].io, LOOP_READ), ERR_OK);
    run(w, 1);
    assert_int_equal(w->s[0].events, LOOP_WRITE);
    assert_int_equal(w->s[1].n, 0);

    assert_int_equal(write(pair[0], "x", 1), 1);
    assert_int_equal(write(pair[1], "y", 1), 1);
    assert_int_equal(loop_io_set(w->loop, &w->s[1].io, LOOP_READ | LOOP_WRITE), ERR_OK);
    w->s[0].events = 0;
    run(w, 1);
    assert_int_equal(w->s[0].events, LOOP_WRITE); /* there is something to read, but nobody asked */
    assert_int_equal(w->s[1].events, LOOP_READ | LOOP_WRITE);

    assert_int_equal(loop_io_set(w->loop, &w->s[1].io, LOOP_READ), ERR_OK);
    assert_int_equal(w->s[1].io.interest, LOOP_READ);
    w->s[1].events = 0;
    run(w, 1);
    assert_int_equal(w->s[1].events, LOOP_READ);
}

static void test_hangup_is_readiness(void **state)
{
    struct world *w = *state;
    int pair[2];
    assert_int_equal(pipe2(pair, O_NONBLOCK), 0);
    w->s[0].io.fd = pair[0];
    assert_int_equal(loop_io_set(w->loop, &w->s[0].io, LOOP_READ), ERR_OK);
    close(pair[1]);
    run(w, 1);
    assert_int_equal(w->s[0].events, LOOP_READ);
}

/* ---- unset --------------------------------------------------------------------------------------------------- */

static void unset_others(struct seen *s)
{
    for (unsigned i = 0; i < IOS; i++) {
        if (&s->w->s[i] != s)
            assert_int_equal(loop_io_set(s->w->loop, &s->w->s[i].io, 0), ERR_OK);
    }
}

static void test_unset_takes_back_pending(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < IOS; i++) {
        watch_eventfd(w, i, 1);
        w->s[i].then = unset_others; /* all are ready in one wake-up; the first one called silences the others */
    }
    run(w, 3);
    unsigned callers = 0, calls = 0;
    for (unsigned i = 0; i < IOS; i++) {
        callers += w->s[i].n != 0;
        calls += w->s[i].n;
    }
    assert_int_equal(callers, 1);
    assert_int_equal(calls, 3);
}

static void unset_self(struct seen *s)
{
    assert_int_equal(loop_io_set(s->w->loop, &s->io, 0), ERR_OK);
}

static void test_unset_self_and_again(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 1);
    w->s[0].then = unset_self;
    run_a_while(w, 3);
    assert_int_equal(w->s[0].n, 1);
    assert_int_equal(w->s[0].io.interest, 0);
    assert_int_equal(loop_io_set(w->loop, &w->s[0].io, LOOP_READ), ERR_OK);
    run_a_while(w, 3);
    assert_int_equal(w->s[0].n, 2);
}

static void unset_and_set_in_turn(struct world *w)
{
    assert_int_equal(loop_io_set(w->loop, &w->s[0].io, 0), ERR_OK);
    assert_int_equal(loop_io_set(w->loop, &w->s[0].io, LOOP_READ), ERR_OK);
}

static void test_set_is_cheap_to_repeat(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 1);
    w->turn = unset_and_set_in_turn;
    run(w, 4);
    assert_int_equal(w->s[0].n, 4); /* nothing lost, nothing doubled */
}

static void test_same_number_again(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 1);
    run(w, 1);
    assert_int_equal(w->s[0].n, 1);
    int number = w->s[0].io.fd;
    assert_int_equal(loop_io_set(w->loop, &w->s[0].io, 0), ERR_OK);
    close(number);
    w->s[0].io.fd = -1;
    watch_eventfd(w, 1, 0); /* the system gives the lowest free number: the same */
    assert_int_equal(w->s[1].io.fd, number);
    run_a_while(w, 3);
    assert_int_equal(w->s[1].n, 0); /* the former file's readiness is not ours */
    ring(number);
    run(w, 1);
    assert_int_equal(w->s[1].n, 1);
    assert_int_equal(w->s[0].n, 1);
}

static void test_no_fd(void **state)
{
    struct world *w = *state;
    assert_int_equal(w->s[0].io.fd, -1);
    assert_int_equal(loop_io_set(w->loop, &w->s[0].io, LOOP_READ | LOOP_WRITE), ERR_IO);
    assert_int_equal(w->s[0].io.interest, 0);
    run_a_while(w, 2);
    assert_int_equal(w->s[0].n, 0);
}

/* What epoll refuses is said once, as readiness for everything, and the fd is watched no more. */
static void test_watch_refused(void **state)
{
    struct world *w = *state;
    const int why[] = {ENOMEM, ENOSPC};
    watch_eventfd(w, 1, 0);
    run_a_while(w, 1);
    for (unsigned i = 0; i < ARRAY_N(why); i++) {
        w->s[0] = (struct seen){.io = {.fd = w->s[0].io.fd, .on_ready = on_ready}, .w = w};
        if (w->s[0].io.fd != -1)
            close(w->s[0].io.fd);
        refuse_watches = why[i];
        watch_eventfd(w, 0, 0);
        run_a_while(w, 3);
        refuse_watches = 0;
        assert_int_equal(w->s[0].n, 1);
        assert_int_equal(w->s[0].events, LOOP_READ | LOOP_WRITE);
        assert_int_equal(w->s[0].io.interest, 0);
        assert_int_equal(w->s[1].n, 0);                                         /* it is nobody else's matter */
        assert_int_equal(loop_io_set(w->loop, &w->s[0].io, LOOP_READ), ERR_OK); /* it may be tried again */
        run_a_while(w, 2);
        assert_int_equal(w->s[0].n, 1);
        ring(w->s[0].io.fd);
        run(w, 1);
        assert_int_equal(w->s[0].n, 2);
        assert_int_equal(loop_io_set(w->loop, &w->s[0].io, 0), ERR_OK);
    }
}

static void destroy_with_io(void *ctx)
{
    struct world *w = ctx;
    w->loop->ops->destroy(w->loop);
}

static void test_forgotten_io_is_a_bug(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 0);
    assert_true(guard_dies(destroy_with_io, w));
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

static void test_timer_ends_the_wait(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 0); /* something to wait for, in vain */
    uint64_t start = real_ms();
    w->loop->ops->timer(w->loop, loop_now(w->loop) + 60000);
    run(w, 1); /* the first turn never waits */
    assert_true(real_ms() - start < 30000);
    mono_ms due = loop_now(w->loop) + 40;
    w->loop->ops->timer(w->loop, due);
    while (loop_now(w->loop) < due)
        run(w, 2);
    assert_true(real_ms() >= due);
    assert_true(w->turns < 20); /* it slept and did not spin */
}

static void stop_when_due(struct world *w)
{
    if (loop_now(w->loop) >= w->until)
        w->loop->ops->stop(w->loop);
}

static void test_timer_moves(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 1);
    w->loop->ops->timer(w->loop, loop_now(w->loop) + 60000);
    run(w, 2); /* the second one would wait for it */
    assert_int_equal(loop_io_set(w->loop, &w->s[0].io, 0), ERR_OK);
    w->turn = stop_when_due;
    w->stop_after = 0;

    uint64_t start = real_ms();
    w->until = start + 30; /* nearer: must not wait for the old one */
    w->loop->ops->timer(w->loop, w->until);
    w->loop->ops->run(w->loop);
    assert_in_range(real_ms() - start, 29, 5000);

    start = real_ms(); /* farther, after one that is nearer was set: costs one empty turn at most */
    w->loop->ops->timer(w->loop, start + 10);
    w->loop->ops->timer(w->loop, start + 40);
    w->until = start + 40;
    unsigned before = w->turns;
    w->loop->ops->run(w->loop);
    assert_in_range(real_ms() - start, 39, 5000);
    assert_in_range(w->turns - before, 1, 8);
}

static void test_timer_past_does_not_wait(void **state)
{
    struct world *w = *state;
    w->loop->ops->timer(w->loop, 1);
    uint64_t start = real_ms();
    run(w, 100);
    assert_true(real_ms() - start < 5000);
    w->loop->ops->timer(w->loop, MONO_NEVER);
}

static void never_then_ring(struct world *w)
{
    w->loop->ops->timer(w->loop, MONO_NEVER);
}

static void *ring_soon(void *ctx)
{
    struct world *w = ctx;
    struct timespec t = {.tv_nsec = 30000000};
    nanosleep(&t, NULL);
    w->loop->ops->wake(w->loop);
    return NULL;
}

static void test_timer_never(void **state)
{
    struct world *w = *state;
    w->turn = never_then_ring;
    w->loop->ops->timer(w->loop, loop_now(w->loop) + 1);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, ring_soon, w), 0);
    uint64_t start = real_ms();
    run(w, 2); /* the one that polls, and the one the thread asks for */
    assert_in_range(real_ms() - start, 25, 5000);
    pthread_join(t, NULL);
}

static void burn(struct world *w)
{
    mono_ms now = loop_now(w->loop);
    assert_int_equal(w->now_in_ready, now); /* on_ready belongs to the turn that follows it */
    uint64_t until = real_ms() + 5;
    while (real_ms() < until)
        assert_int_equal(loop_now(w->loop), now);
}

static void test_now_stands_still_in_a_turn(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 1);
    w->turn = burn;
    w->leave_work = true;
    mono_ms before = loop_now(w->loop);
    run(w, 3);
    assert_in_range(loop_now(w->loop) - before, 10, 5000);
    assert_true(loop_now(w->loop) <= real_ms());
}

static void test_wall(void **state)
{
    struct world *w = *state;
    time_t t = time(NULL);
    wall_ms ms = w->loop->ops->wall(w->loop);
    assert_in_range(ms, (uint64_t)t * 1000 - 2000, (uint64_t)t * 1000 + 5000);
}

/* ---- turns --------------------------------------------------------------------------------------------------- */

static void test_work_left_polls(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 0);
    w->leave_work = true;
    uint64_t start = real_ms();
    run(w, 1000); /* would wait for ever if any turn waited */
    assert_true(real_ms() - start < 5000);
    assert_int_equal(w->s[0].n, 0);
    ring(w->s[0].io.fd); /* and readiness is still seen while polling */
    run(w, 1);
    assert_int_equal(w->s[0].n, 1);
}

static void test_stop_before_run(void **state)
{
    struct world *w = *state;
    w->loop->ops->stop(w->loop);
    w->loop->ops->run(w->loop);
    assert_int_equal(w->turns, 0);
    run(w, 1); /* and it can run again */
    assert_int_equal(w->turns, 1);
}

static void stop_here(struct seen *s)
{
    s->w->loop->ops->stop(s->w->loop);
}

static void test_stop_from_ready(void **state)
{
    struct world *w = *state;
    watch_eventfd(w, 0, 1);
    w->s[0].then = stop_here;
    w->loop->ops->run(w->loop);
    assert_int_equal(w->turns, 1); /* the turn that had begun was finished */
}

#define WAKES 2000

static void *wake_many(void *ctx)
{
    struct world *w = ctx;
    for (unsigned i = 0; i < WAKES; i++)
        w->loop->ops->wake(w->loop);
    return NULL;
}

static void wake_here(struct world *w)
{
    w->loop->ops->wake(w->loop);
}

static void test_wake_from_turn(void **state)
{
    struct world *w = *state;
    w->turn = wake_here;
    uint64_t start = real_ms();
    run(w, 100); /* every wait ends at once */
    assert_true(real_ms() - start < 5000);
}

/* ping: every letter the other thread leaves in `mail` must be seen, however its wake-ups are merged. */
struct ping {
    struct world *w;
    pthread_mutex_t lock;
    unsigned mail, opened;
};

static void *post_many(void *ctx)
{
    struct ping *p = ctx;
    for (unsigned i = 0; i < WAKES; i++) {
        pthread_mutex_lock(&p->lock);
        bool was_empty = p->mail == 0;
        p->mail++;
        pthread_mutex_unlock(&p->lock);
        if (was_empty)
            p->w->loop->ops->wake(p->w->loop);
    }
    return NULL;
}

static bool open_mail(void *ctx)
{
    struct ping *p = ctx;
    pthread_mutex_lock(&p->lock);
    p->opened += p->mail;
    p->mail = 0;
    pthread_mutex_unlock(&p->lock);
    if (p->opened == 2 * WAKES)
        p->w->loop->ops->stop(p->w->loop);
    return false;
}

static void test_wake_from_threads(void **state)
{
    struct world *w = *state;
    struct ping p = {.w = w, .lock = PTHREAD_MUTEX_INITIALIZER};
    w->loop->on_turn = open_mail;
    w->loop->ctx = &p;
    pthread_t t[3];
    assert_int_equal(pthread_create(&t[0], NULL, post_many, &p), 0);
    assert_int_equal(pthread_create(&t[1], NULL, post_many, &p), 0);
    assert_int_equal(pthread_create(&t[2], NULL, wake_many, w), 0);
    w->loop->ops->run(w->loop); /* hangs, and the test times out, if one wake-up was lost */
    for (unsigned i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(p.opened, 2 * WAKES);
}

static void test_two_loops(void **state)
{
    struct world *w = *state;
    struct world other = {.turns = 0};
    mem_heap_init(&other.heap);
    mem_init(&other.mem, &other.heap, "other");
    other.loop = loop_ev_new(&other.mem);
    assert_non_null(other.loop);
    other.loop->on_turn = on_turn;
    other.loop->ctx = &other;
    watch_eventfd(w, 0, 1);
    run(&other, 1);
    assert_int_equal(w->s[0].n, 0);
    run(w, 1);
    assert_int_equal(w->s[0].n, 1);
    other.loop->ops->destroy(other.loop);
    assert_int_equal(other.heap.bytes, 0);
}

static void test_refused_by_the_system(void **state)
{
    struct world *w = *state;
    struct rlimit former, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &former), 0);
    none = former;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct loop *l = loop_ev_new(&w->mem); /* no fd for epoll */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &former), 0);
    assert_null(l);
}

static void test_out_of_memory(void **state)
{
    UNUSED(state);
    struct mem_heap heap;
    struct mem mem;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "none");
    heap.fail_at = 1;
    assert_null(loop_ev_new(&mem));
    assert_int_equal(heap.bytes, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_ready_before_turn),
        T(test_level_triggered),
        T(test_read_and_write),
        T(test_hangup_is_readiness),
        T(test_unset_takes_back_pending),
        T(test_unset_self_and_again),
        T(test_set_is_cheap_to_repeat),
        T(test_same_number_again),
        T(test_no_fd),
        T(test_watch_refused),
        T(test_forgotten_io_is_a_bug),
        T(test_timer_ends_the_wait),
        T(test_timer_moves),
        T(test_timer_past_does_not_wait),
        T(test_timer_never),
        T(test_now_stands_still_in_a_turn),
        T(test_wall),
        T(test_work_left_polls),
        T(test_stop_before_run),
        T(test_stop_from_ready),
        T(test_wake_from_turn),
        T(test_wake_from_threads),
        T(test_two_loops),
        T(test_refused_by_the_system),
        cmocka_unit_test(test_out_of_memory),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
