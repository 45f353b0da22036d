/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_runner.c: the promises of persist/runner.h, for threads and for runner_now: order within a lane, run once and
 * done once, done on this thread, wait that leaves no letter behind. Run it under ThreadSanitizer too: plain fields of
 * jobs are written by the shard and read by a lane, and the other way round.
 */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/mem.h"
#include "persist/runner.h"

#define JOBS 2000u

struct shard {
    struct mem_heap heap;
    struct mem mem;
    struct mailbox box;
    sem_t bell;
    pthread_t thread;
    uint32_t done_n, next[LANE_N], posted_n;
    struct runner *runner;
};

struct work {
    struct job job;
    struct shard *shard;
    enum runner_lane lane;
    uint32_t number, runs, result;
    uint32_t again; /* how often done posts it once more */
};

static void ring(void *ctx)
{
    struct shard *s = ctx;
    BUG_ON(sem_post(&s->bell) != 0);
}

static void setup_shard(struct shard *s, struct runner *(*make)(struct mem *mem))
{
    *s = (struct shard){.thread = pthread_self()};
    mem_heap_init(&s->heap);
    mem_init(&s->mem, &s->heap, "runner");
    BUG_ON(sem_init(&s->bell, 0, 0) != 0);
    mailbox_init(&s->box, ring, s);
    s->runner = make(&s->mem);
    assert_non_null(s->runner);
    assert_true(s->runner->ops->start(s->runner, &s->box));
}

static void end_shard(struct shard *s)
{
    s->runner->ops->destroy(s->runner);
    mailbox_fini(&s->box); /* no letter was left in it */
    sem_destroy(&s->bell);
    assert_int_equal(s->heap.bytes, 0);
}

static void run(struct job *j)
{
    struct work *w = CONTAINER_OF(j, struct work, job);
    w->runs++;
    w->result = w->number * 3;
}

static void post(struct work *w)
{
    struct shard *s = w->shard;
    w->number = s->posted_n++;
    s->runner->ops->post(s->runner, w->lane, &w->job);
}

static void done(struct job *j)
{
    struct work *w = CONTAINER_OF(j, struct work, job);
    struct shard *s = w->shard;
    assert_true(pthread_equal(pthread_self(), s->thread));
    assert_int_equal(w->runs, 1);
    assert_int_equal(w->result, w->number * 3);
    assert_true(w->number >= s->next[w->lane]); /* first in, first out */
    s->next[w->lane] = w->number + 1;
    s->done_n++;
    w->runs = 0;
    if (w->again > 0) {
        w->again--;
        post(w);
    }
}

static struct work *make_works(struct shard *s, uint32_t n, uint32_t again)
{
    struct work *w = test_calloc(n, sizeof(*w));
    for (uint32_t i = 0; i < n; i++)
        w[i] = (struct work){
            .job = {.run = run, .done = done}, .shard = s, .lane = i % 3 == 0 ? LANE_READ : LANE_WRITE, .again = again};
    return w;
}

static void wait_for_bell(struct shard *s)
{
    struct timespec until;
    BUG_ON(clock_gettime(CLOCK_REALTIME, &until) != 0);
    until.tv_sec += 20;
    assert_int_equal(sem_timedwait(&s->bell, &until), 0);
}

/* Through the mailbox, as the loop does it. */
static void test_threads_by_letter(void **state)
{
    UNUSED(state);
    struct shard s;
    setup_shard(&s, runner_threads_new);
    struct work *w = make_works(&s, JOBS, 1);
    for (uint32_t i = 0; i < JOBS; i++) {
        post(&w[i]);
        if (i % 7 == 0)
            mailbox_drain(&s.box, NULL);
    }
    while (s.done_n < 2 * JOBS) {
        wait_for_bell(&s);
        mailbox_drain(&s.box, NULL);
    }
    s.runner->ops->wait(s.runner);
    assert_int_equal(s.done_n, 2 * JOBS);
    end_shard(&s);
    test_free(w);
}

/* wait does the rest itself, and takes the letter out of the mailbox, but nobody else's. */
struct other {
    struct letter letter;
    bool is_open;
};

static void open_other(struct letter *l, void *shard)
{
    UNUSED(shard);
    CONTAINER_OF(l, struct other, letter)->is_open = true;
}

static void test_threads_wait(void **state)
{
    UNUSED(state);
    for (unsigned round = 0; round < 50; round++) {
        struct shard s;
        setup_shard(&s, runner_threads_new);
        struct other before = {.letter = {.on_open = open_other}}, behind = before;
        struct work *w = make_works(&s, 20, round % 3);
        mailbox_post(&s.box, &before.letter);
        for (uint32_t i = 0; i < 20; i++)
            post(&w[i]);
        if (round % 2 == 0)
            wait_for_bell(&s);
        s.runner->ops->wait(s.runner);
        mailbox_post(&s.box, &behind.letter);
        assert_int_equal(s.done_n, 20 * (1 + round % 3));
        assert_false(before.is_open);
        mailbox_drain(&s.box, NULL);
        assert_true(before.is_open && behind.is_open);
        post(&w[0]); /* and it goes on */
        s.runner->ops->wait(s.runner);
        end_shard(&s);
        test_free(w);
    }
}

static void test_threads_idle(void **state)
{
    UNUSED(state);
    struct shard s;
    setup_shard(&s, runner_threads_new);
    s.runner->ops->wait(s.runner);
    end_shard(&s);
    struct runner *never_started = runner_threads_new(&s.mem);
    assert_non_null(never_started);
    never_started->ops->destroy(never_started);
    assert_int_equal(s.heap.bytes, 0);
}

/* The lanes do not wait for each other. */
struct gate {
    struct job job;
    sem_t *wait, *post;
};

static void run_gate(struct job *j)
{
    struct gate *g = CONTAINER_OF(j, struct gate, job);
    if (g->wait != NULL)
        BUG_ON(sem_wait(g->wait) != 0);
    if (g->post != NULL)
        BUG_ON(sem_post(g->post) != 0);
}

static void no_done(struct job *j)
{
    UNUSED(j);
}

static void test_threads_lanes(void **state)
{
    UNUSED(state);
    struct shard s;
    setup_shard(&s, runner_threads_new);
    sem_t open;
    BUG_ON(sem_init(&open, 0, 0) != 0);
    struct gate waits = {.job = {.run = run_gate, .done = no_done}, .wait = &open};
    struct gate opens = {.job = {.run = run_gate, .done = no_done}, .post = &open};
    s.runner->ops->post(s.runner, LANE_WRITE, &waits.job);
    s.runner->ops->post(s.runner, LANE_READ, &opens.job);
    s.runner->ops->wait(s.runner);
    sem_destroy(&open);
    end_shard(&s);
}

static void test_now(void **state)
{
    UNUSED(state);
    struct shard s;
    setup_shard(&s, runner_now_new);
    struct work *w = make_works(&s, 20, 1);
    for (uint32_t i = 0; i < 20; i++) {
        post(&w[i]);
        assert_int_equal(w[i].runs, 1); /* at once, */
    }
    assert_int_equal(s.done_n, 0); /* but told later */
    assert_true(runner_turn(s.runner));
    assert_int_equal(s.done_n, 20);
    assert_true(runner_turn(s.runner));
    assert_int_equal(s.done_n, 40);
    assert_false(runner_turn(s.runner));
    post(&w[0]);
    s.runner->ops->wait(s.runner);
    assert_int_equal(s.done_n, 41);
    end_shard(&s);
    test_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_by_letter),
        cmocka_unit_test(test_threads_wait),
        cmocka_unit_test(test_threads_idle),
        cmocka_unit_test(test_threads_lanes),
        cmocka_unit_test(test_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
