/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner_sim.c: who does what blocks, in simulated time.
 *
 *     post ─► lane's queue ─(0 .. write_ms)─► run ─► finished ─(0 .. done_ms)─► letter ─► done, in the shard's turn
 *
 * Invariants
 *   1. A lane's jobs run in the order they were posted; at most one is begun (its event is planned).
 *   2. A lane's jobs are done in the order they ran; the two lanes know nothing of each other.
 *   3. There is one letter per lane; it is posted while a finished job's time has come, and opening it calls `done` of
 *      all whose time has come.
 * Thread  one.
 */
#include "tests/sim/runner_sim.h"

struct lane {
    struct sim_event begin, deliver;
    struct letter letter;
    struct runner_sim *r;
    struct job *first, *last;   /* posted, not run; the first one is begun */
    struct job *ran, *ran_last; /* run, not done */
    bool is_posted;
};

struct runner_sim {
    struct runner runner; /* first */
    struct loop_sim *loop;
    struct mem *mem;
    struct rng *rng;
    struct mailbox *mailbox;
    struct runner_sim_pace pace;
    struct lane lane[LANE_N];
    bool is_dead;
};

static struct runner_sim *ours(const struct runner *r)
{
    return CONTAINER_OF(r, struct runner_sim, runner);
}

static void lane_begin(struct lane *l)
{
    struct runner_sim *r = l->r;
    if (l->first == NULL || sim_is_planned(&l->begin) || r->is_dead)
        return;
    uint32_t most = l == &r->lane[LANE_WRITE] ? r->pace.write_ms_max : r->pace.read_ms_max;
    sim_plan(r->loop, &l->begin, r->loop->now + rng_below(r->rng, most + 1));
}

/* lane_run: the first job. */
static void lane_run(struct lane *l)
{
    struct job *j = l->first;
    l->first = j->next;
    j->next = NULL;
    j->run(j);
    if (l->ran == NULL)
        l->ran = j;
    else
        l->ran_last->next = j;
    l->ran_last = j;
}

/* lane_done: all that ran. `done` may post. */
static bool lane_done(struct lane *l)
{
    bool any = l->ran != NULL;
    while (l->ran) {
        struct job *j = l->ran;
        l->ran = j->next;
        j->next = NULL;
        j->done(j);
    }
    return any;
}

static void on_begin(struct sim_event *ev)
{
    struct lane *l = CONTAINER_OF(ev, struct lane, begin);
    struct runner_sim *r = l->r;
    lane_run(l);
    lane_begin(l);
    if (!sim_is_planned(&l->deliver) && !l->is_posted)
        sim_plan(r->loop, &l->deliver, r->loop->now + rng_below(r->rng, r->pace.done_ms_max + 1));
}

static void on_letter(struct letter *letter, void *shard)
{
    UNUSED(shard);
    struct lane *l = CONTAINER_OF(letter, struct lane, letter);
    l->is_posted = false;
    lane_done(l);
}

static void on_deliver(struct sim_event *ev)
{
    struct lane *l = CONTAINER_OF(ev, struct lane, deliver);
    if (l->ran == NULL || l->is_posted)
        return;
    l->is_posted = true;
    mailbox_post(l->r->mailbox, &l->letter);
}

static bool sim_start(struct runner *base, struct mailbox *mailbox)
{
    ours(base)->mailbox = mailbox;
    return true;
}

static void sim_post(struct runner *base, enum runner_lane lane, struct job *j)
{
    struct lane *l = &ours(base)->lane[lane];
    BUG_ON(l->r->mailbox == NULL);
    j->next = NULL;
    if (l->first == NULL)
        l->first = j;
    else
        l->last->next = j;
    l->last = j;
    lane_begin(l);
}

/* take_back: the lane's letter out of the mailbox, where nobody may open it any more. */
static void take_back(struct lane *l)
{
    if (!l->is_posted)
        return;
    struct mailbox *b = l->r->mailbox;
    pthread_mutex_lock(&b->lock);
    struct letter *before = NULL, *at = b->first;
    while (at != &l->letter) {
        BUG_ON(at == NULL);
        before = at;
        at = at->next;
    }
    if (before)
        before->next = at->next;
    else
        b->first = at->next;
    if (b->last == at)
        b->last = before;
    pthread_mutex_unlock(&b->lock);
    l->is_posted = false;
}

static void sim_wait(struct runner *base)
{
    struct runner_sim *r = ours(base);
    bool any = true;
    while (any) {
        any = false;
        for (int i = 0; i < LANE_N; i++) {
            struct lane *l = &r->lane[i];
            sim_cancel(r->loop, &l->begin);
            while (l->first)
                lane_run(l);
            any |= lane_done(l);
        }
    }
    for (int i = 0; i < LANE_N; i++) {
        sim_cancel(r->loop, &r->lane[i].deliver);
        take_back(&r->lane[i]);
    }
}

static void sim_destroy(struct runner *base)
{
    struct runner_sim *r = ours(base);
    for (int i = 0; i < LANE_N; i++) {
        struct lane *l = &r->lane[i];
        BUG_ON(l->first != NULL || l->ran != NULL);
        sim_cancel(r->loop, &l->begin);
        sim_cancel(r->loop, &l->deliver);
        take_back(l);
    }
    mem_free(r->mem, r);
}

static const struct runner_ops ops_sim = {
    .start = sim_start,
    .post = sim_post,
    .wait = sim_wait,
    .destroy = sim_destroy,
};

struct runner *runner_sim_new(struct loop_sim *loop, struct mem *mem, struct rng *rng,
                              const struct runner_sim_pace *pace)
{
    struct runner_sim *r = mem_zalloc(mem, sizeof(*r));
    BUG_ON(r == NULL);
    r->runner.ops = &ops_sim;
    r->loop = loop;
    r->mem = mem;
    r->rng = rng;
    r->pace = *pace;
    for (int i = 0; i < LANE_N; i++) {
        r->lane[i].r = r;
        r->lane[i].begin.on_due = on_begin;
        r->lane[i].deliver.on_due = on_deliver;
        r->lane[i].letter.on_open = on_letter;
    }
    return &r->runner;
}

void runner_sim_set_pace(struct runner *r, const struct runner_sim_pace *pace)
{
    ours(r)->pace = *pace;
}

bool runner_sim_is_busy(const struct runner *base, enum runner_lane lane)
{
    return ours(base)->lane[lane].first != NULL;
}

bool runner_sim_is_idle(const struct runner *base)
{
    for (int i = 0; i < LANE_N; i++)
        if (ours(base)->lane[i].first || ours(base)->lane[i].ran)
            return false;
    return true;
}

void runner_sim_die(struct runner *base, enum runner_lane partly)
{
    struct runner_sim *r = ours(base);
    r->is_dead = true;
    if (partly < LANE_N && r->lane[partly].first)
        lane_run(&r->lane[partly]);
    for (int i = 0; i < LANE_N; i++) {
        sim_cancel(r->loop, &r->lane[i].begin);
        sim_cancel(r->loop, &r->lane[i].deliver);
    }
}
