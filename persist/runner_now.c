/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner_now.c: no threads: a job is run where it is posted, and its done waits for runner_turn.
 *
 *     post ─► run ─► list of what is over ─► runner_turn, wait: done
 *
 * So done never comes from within post, as with threads, and a test decides when a disk answers.
 *
 * Invariants
 *   1. The lanes are one: jobs run, and are done, in the order they were posted.
 *   2. runner_turn takes what is over at its call; what done posts waits for the next one.
 * Cost    nothing but the jobs'.
 * Thread  the shard's.
 */
#include <stddef.h>

#include "core/base/mem.h"
#include "persist/runner.h"

/* owner: whoever made it; freed: destroy */
struct runner_now {
    struct runner base;
    struct mem *mem;
    struct job *first, *last; /* over, done not called yet */
};

static struct runner_now *ours(struct runner *base)
{
    return CONTAINER_OF(base, struct runner_now, base);
}

static bool now_start(struct runner *base, struct mailbox *mailbox)
{
    UNUSED(base);
    UNUSED(mailbox);
    return true;
}

static void now_post(struct runner *base, enum runner_lane lane, struct job *j)
{
    struct runner_now *r = ours(base);
    UNUSED(lane);
    j->next = NULL;
    j->run(j);
    if (r->first == NULL)
        r->first = j;
    else
        r->last->next = j;
    r->last = j;
}

bool runner_turn(struct runner *base)
{
    struct runner_now *r = ours(base);
    struct job *j = r->first;
    bool any = j != NULL;
    r->first = r->last = NULL;
    while (j != NULL) {
        struct job *next = j->next; /* done may post it again */
        j->done(j);
        j = next;
    }
    return any;
}

static void now_wait(struct runner *base)
{
    while (runner_turn(base))
        ;
}

static void now_destroy(struct runner *base)
{
    struct runner_now *r = ours(base);
    BUG_ON(r->first != NULL);
    mem_free(r->mem, r);
}

static const struct runner_ops now_ops = {
    .start = now_start,
    .post = now_post,
    .wait = now_wait,
    .destroy = now_destroy,
};

struct runner *runner_now_new(struct mem *mem)
{
    struct runner_now *r = mem_zalloc(mem, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->base.ops = &now_ops;
    r->mem = mem;
    return &r->base;
}
