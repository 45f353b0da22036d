/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner_threads.c: a thread for each lane.
 *
 *     shard: post ─► lane's list ─► its thread: run ─► list of what is over ─► letter ─► shard: done, for each of them
 *                                                            └──────── wait takes them itself ────────┘
 *
 * One letter serves both lanes and any number of jobs: it is posted when the list of what is over begins, and opening
 * it empties the list. So wait, which may not wait for the loop to drain the mailbox, empties the list as well, and
 * takes the letter out of the mailbox if it is there: nothing is left behind that could be opened after destroy.
 *
 * Invariants
 *   1. A job is on one list at most: its lane's, or that of what is over; `run` is called once, then `done` once.
 *   2. is_belled exactly when the letter is in the mailbox or about to be opened by whoever took it from there.
 *   3. done is called without the lock: it may post.
 *   4. under_way = jobs posted whose done was not called yet.
 * Cost    two locks and at most one wake per job; jobs are batches, not messages.
 * Thread  everything on the shard's but `lane_main` and `run`.
 */
#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#include "core/base/mem.h"
#include "persist/runner.h"

struct job_list {
    struct job *first, *last;
};

struct runner_threads;

struct lane {
    struct runner_threads *runner;
    pthread_t thread;
    pthread_cond_t wake;
    struct job_list jobs; /* guarded by the runner's lock */
    bool is_started;
};

/* owner: the shard; freed: destroy */
struct runner_threads {
    struct runner base;
    struct mem *mem;
    struct mailbox *mailbox;
    uint64_t under_way; /* the shard's own */

    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t over_wake;
    struct job_list over;
    struct letter letter;
    bool is_belled, is_stopping;
    struct lane lane[LANE_N];
};

static struct runner_threads *ours(struct runner *base)
{
    return CONTAINER_OF(base, struct runner_threads, base);
}

static void lock(struct runner_threads *r)
{
    BUG_ON(pthread_mutex_lock(&r->lock) != 0);
}

static void unlock(struct runner_threads *r)
{
    BUG_ON(pthread_mutex_unlock(&r->lock) != 0);
}

static void list_add(struct job_list *l, struct job *j)
{
    j->next = NULL;
    if (l->first == NULL)
        l->first = j;
    else
        l->last->next = j;
    l->last = j;
}

static struct job *list_take(struct job_list *l)
{
    struct job *j = l->first;
    if (j != NULL)
        l->first = j->next;
    return j;
}

/* ---- the lane's thread --------------------------------------------------------------------------------------- */

static void is_over(struct runner_threads *r, struct job *j)
{
    list_add(&r->over, j);
    if (!r->is_belled) {
        r->is_belled = true;
        mailbox_post(r->mailbox, &r->letter);
    }
    BUG_ON(pthread_cond_signal(&r->over_wake) != 0);
}

static void *lane_main(void *arg)
{
    struct lane *lane = arg;
    struct runner_threads *r = lane->runner;
    lock(r);
    for (;;) {
        struct job *j = list_take(&lane->jobs);
        if (j != NULL) {
            unlock(r);
            j->run(j);
            lock(r);
            is_over(r, j);
        } else if (r->is_stopping) {
            break;
        } else {
            BUG_ON(pthread_cond_wait(&lane->wake, &r->lock) != 0);
        }
    }
    unlock(r);
    return NULL;
}

/* ---- the shard's side ---------------------------------------------------------------------------------------- */

/* finish: calls done of what is over; false if nothing was. */
static bool finish(struct runner_threads *r)
{
    lock(r);
    struct job *j = r->over.first;
    r->over.first = r->over.last = NULL;
    unlock(r);
    bool any = j != NULL;
    while (j != NULL) {
        struct job *next = j->next; /* done may post it again */
        BUG_ON(r->under_way == 0);
        r->under_way--;
        j->done(j);
        j = next;
    }
    return any;
}

static void on_open(struct letter *l, void *shard)
{
    struct runner_threads *r = CONTAINER_OF(l, struct runner_threads, letter);
    UNUSED(shard);
    lock(r);
    r->is_belled = false;
    unlock(r);
    finish(r);
}

/* unbell: takes the letter out of the mailbox, if it is there. The lock is held, so nobody posts it now. */
static void unbell(struct runner_threads *r)
{
    struct mailbox *box = r->mailbox;
    BUG_ON(pthread_mutex_lock(&box->lock) != 0);
    struct letter *before = NULL, *l = box->first;
    while (l != NULL && l != &r->letter) {
        before = l;
        l = l->next;
    }
    if (l != NULL) {
        if (before == NULL)
            box->first = l->next;
        else
            before->next = l->next;
        if (box->last == l)
            box->last = before;
        r->is_belled = false;
    }
    BUG_ON(pthread_mutex_unlock(&box->lock) != 0);
}

static void threads_wait(struct runner *base)
{
    struct runner_threads *r = ours(base);
    while (r->under_way > 0) {
        lock(r);
        while (r->over.first == NULL)
            BUG_ON(pthread_cond_wait(&r->over_wake, &r->lock) != 0);
        unlock(r);
        finish(r);
    }
    lock(r);
    if (r->is_belled)
        unbell(r);
    unlock(r);
}

static void threads_post(struct runner *base, enum runner_lane lane, struct job *j)
{
    struct runner_threads *r = ours(base);
    r->under_way++;
    lock(r);
    list_add(&r->lane[lane].jobs, j);
    BUG_ON(pthread_cond_signal(&r->lane[lane].wake) != 0);
    unlock(r);
}

static void stop_lanes(struct runner_threads *r)
{
    lock(r);
    r->is_stopping = true;
    for (unsigned i = 0; i < LANE_N; i++)
        BUG_ON(pthread_cond_signal(&r->lane[i].wake) != 0);
    unlock(r);
    for (unsigned i = 0; i < LANE_N; i++) {
        if (r->lane[i].is_started)
            BUG_ON(pthread_join(r->lane[i].thread, NULL) != 0);
        r->lane[i].is_started = false;
    }
}

static bool threads_start(struct runner *base, struct mailbox *mailbox)
{
    static const char *const name[LANE_N] = {[LANE_WRITE] = "weir-write", [LANE_READ] = "weir-read"};
    struct runner_threads *r = ours(base);
    r->mailbox = mailbox;
    sigset_t all, former; /* signals are the loop's business */
    sigfillset(&all);
    BUG_ON(pthread_sigmask(SIG_SETMASK, &all, &former) != 0);
    bool ok = true;
    for (unsigned i = 0; i < LANE_N && ok; i++) {
        struct lane *lane = &r->lane[i];
        ok = pthread_create(&lane->thread, NULL, lane_main, lane) == 0;
        lane->is_started = ok;
        if (ok)
            (void)pthread_setname_np(lane->thread, name[i]);
    }
    BUG_ON(pthread_sigmask(SIG_SETMASK, &former, NULL) != 0);
    if (!ok)
        stop_lanes(r);
    return ok;
}

static void threads_destroy(struct runner *base)
{
    struct runner_threads *r = ours(base);
    BUG_ON(r->under_way != 0);
    stop_lanes(r);
    BUG_ON(r->is_belled || r->over.first != NULL);
    for (unsigned i = 0; i < LANE_N; i++)
        BUG_ON(pthread_cond_destroy(&r->lane[i].wake) != 0);
    BUG_ON(pthread_cond_destroy(&r->over_wake) != 0);
    BUG_ON(pthread_mutex_destroy(&r->lock) != 0);
    mem_free(r->mem, r);
}

static const struct runner_ops threads_ops = {
    .start = threads_start,
    .post = threads_post,
    .wait = threads_wait,
    .destroy = threads_destroy,
};

struct runner *runner_threads_new(struct mem *mem)
{
    struct runner_threads *r = mem_zalloc(mem, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->base.ops = &threads_ops;
    r->mem = mem;
    r->letter.on_open = on_open;
    BUG_ON(pthread_mutex_init(&r->lock, NULL) != 0);
    BUG_ON(pthread_cond_init(&r->over_wake, NULL) != 0);
    for (unsigned i = 0; i < LANE_N; i++) {
        r->lane[i].runner = r;
        BUG_ON(pthread_cond_init(&r->lane[i].wake, NULL) != 0);
    }
    return &r->base;
}
