/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_sim.c: the simulated clock and the order of things.
 *
 *     heap of events ─► due ones ─► polls (readiness) ─► on_turn()
 *            ▲                                              │ nothing ready
 *            └───────────── the clock moves to the next ◄───┘
 *
 * Invariants
 *   1. The clock never moves while an event is due, a poll reports something, a turn left work or somebody called
 * wake().
 *   2. The heap is ordered by (due, seq); heap[i]->at == i + 1.
 *   3. The timer is one shot, like libev's: a shard that wants to be called again says so again.
 * Cost    O(log events) per event.
 * Thread  one; wake() any.
 */
#include "tests/sim/loop_sim.h"

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->due != b->due ? a->due < b->due : a->seq < b->seq;
}

static void put_at(struct loop_sim *l, uint32_t i, struct sim_event *ev)
{
    l->heap[i] = ev;
    ev->at = i + 1;
}

static void sift_up(struct loop_sim *l, uint32_t i, struct sim_event *ev)
{
    while (i > 0 && is_before(ev, l->heap[(i - 1) / 2])) {
        put_at(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put_at(l, i, ev);
}

static void sift_down(struct loop_sim *l, uint32_t i, struct sim_event *ev)
{
    for (;;) {
        uint32_t kid = 2 * i + 1;
        if (kid >= l->heap_n)
            break;
        if (kid + 1 < l->heap_n && is_before(l->heap[kid + 1], l->heap[kid]))
            kid++;
        if (!is_before(l->heap[kid], ev))
            break;
        put_at(l, i, l->heap[kid]);
        i = kid;
    }
    put_at(l, i, ev);
}

void sim_cancel(struct loop_sim *l, struct sim_event *ev)
{
    if (ev->at == 0)
        return;
    uint32_t i = ev->at - 1;
    BUG_ON(i >= l->heap_n || l->heap[i] != ev);
    ev->at = 0;
    struct sim_event *last = l->heap[--l->heap_n];
    if (last == ev)
        return;
    if (i > 0 && is_before(last, l->heap[(i - 1) / 2]))
        sift_up(l, i, last);
    else
        sift_down(l, i, last);
}

void sim_plan(struct loop_sim *l, struct sim_event *ev, mono_ms due)
{
    sim_cancel(l, ev);
    if (l->heap_n == l->heap_cap) {
        uint32_t cap = l->heap_cap ? 2 * l->heap_cap : 64;
        struct sim_event **bigger = mem_realloc(l->mem, l->heap, cap * sizeof(struct sim_event *));
        BUG_ON(bigger == NULL);
        l->heap = bigger;
        l->heap_cap = cap;
    }
    ev->due = MAX(due, l->now);
    ev->seq = ++l->seq;
    sift_up(l, l->heap_n++, ev);
}

void loop_sim_add_poll(struct loop_sim *l, struct sim_poll *p)
{
    p->next = l->polls;
    l->polls = p;
}

void loop_sim_del_poll(struct loop_sim *l, struct sim_poll *p)
{
    struct sim_poll **at = &l->polls;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
}

static struct loop_sim *sim_from_loop(struct loop *loop)
{
    return CONTAINER_OF(loop, struct loop_sim, loop);
}

/* run_due: the events of this moment. With an rng now and then not all of them, so that a turn comes in between. */
static void run_due(struct loop_sim *l)
{
    while (l->heap_n != 0 && l->heap[0]->due <= l->now) {
        struct sim_event *ev = l->heap[0];
        sim_cancel(l, ev);
        ev->on_due(ev);
        if (l->rng && rng_chance(l->rng, 25))
            break;
    }
}

static bool run_polls(struct loop_sim *l)
{
    bool any = false;
    for (struct sim_poll *p = l->polls; p; p = p->next)
        any |= p->poll(p);
    return any;
}

static void run_turn(struct loop_sim *l)
{
    atomic_store(&l->is_woken, false);
    if (l->timer <= l->now)
        l->timer = MONO_NEVER;
    l->turns++;
    l->turns_now++;
    l->is_busy = l->loop.on_turn ? l->loop.on_turn(l->loop.ctx) : false;
}

static mono_ms next_due(const struct loop_sim *l)
{
    mono_ms due = l->heap_n ? l->heap[0]->due : MONO_NEVER;
    return MIN(due, l->timer);
}

/* step: true when something was done without moving the clock. */
static bool step(struct loop_sim *l)
{
    bool was_due = l->heap_n != 0 && l->heap[0]->due <= l->now;
    run_due(l);
    bool is_ready = run_polls(l);
    if (is_ready || l->is_busy || atomic_load(&l->is_woken) || l->timer <= l->now) {
        run_turn(l);
        return true;
    }
    return was_due;
}

static void move_clock(struct loop_sim *l, mono_ms to)
{
    if (to > l->now) {
        l->now = to;
        l->turns_now = 0;
    }
}

bool loop_sim_step(struct loop_sim *l)
{
    if (step(l))
        return true;
    mono_ms due = next_due(l);
    if (due == MONO_NEVER)
        return false;
    move_clock(l, due);
    return true;
}

bool loop_sim_settle(struct loop_sim *l, uint32_t steps_max)
{
    for (uint32_t i = 0; i < steps_max; i++)
        if (!step(l))
            return true;
    return false;
}

void loop_sim_run_to(struct loop_sim *l, mono_ms t)
{
    while (l->now < t && !l->is_stopped) {
        if (step(l))
            continue;
        move_clock(l, MIN(next_due(l), t));
    }
}

void loop_sim_io(struct loop_sim *l, struct loop_io *io, unsigned events)
{
    if ((io->interest & events) == 0)
        return;
    io->on_ready(io, io->interest & events);
    atomic_store(&l->is_woken, true);
}

/* ---- loop_ops --------------------------------------------------------------------------------------------------- */

static mono_ms sim_now(struct loop *loop)
{
    return sim_from_loop(loop)->now;
}

static wall_ms sim_wall(struct loop *loop)
{
    return sim_from_loop(loop)->now + sim_from_loop(loop)->wall_ahead;
}

static enum err sim_io_set(struct loop *loop, struct loop_io *io, unsigned interest)
{
    struct loop_sim *l = sim_from_loop(loop);
    if (io->fd < 0)
        return ERR_IO;
    l->io_n += (io->interest == 0 && interest != 0);
    l->io_n -= (io->interest != 0 && interest == 0);
    io->interest = interest;
    return ERR_OK;
}

static void sim_timer(struct loop *loop, mono_ms due)
{
    sim_from_loop(loop)->timer = due;
}

static void sim_wake(struct loop *loop)
{
    atomic_store(&sim_from_loop(loop)->is_woken, true);
}

static void sim_run(struct loop *loop)
{
    struct loop_sim *l = sim_from_loop(loop);
    l->is_stopped = false;
    while (!l->is_stopped && loop_sim_step(l))
        ;
}

static void sim_stop(struct loop *loop)
{
    sim_from_loop(loop)->is_stopped = true;
}

static void sim_destroy(struct loop *loop)
{
    struct loop_sim *l = sim_from_loop(loop);
    BUG_ON(l->io_n != 0);
    mem_free(l->mem, l->heap);
    mem_free(l->mem, l);
}

static const struct loop_ops ops_sim = {
    .name = "sim",
    .now = sim_now,
    .wall = sim_wall,
    .io_set = sim_io_set,
    .timer = sim_timer,
    .wake = sim_wake,
    .run = sim_run,
    .stop = sim_stop,
    .destroy = sim_destroy,
};

struct loop_sim *loop_sim_new(struct mem *mem, struct rng *rng)
{
    struct loop_sim *l = mem_zalloc(mem, sizeof(*l));
    BUG_ON(l == NULL);
    l->loop.ops = &ops_sim;
    l->mem = mem;
    l->rng = rng;
    l->now = LOOP_SIM_START;
    l->timer = MONO_NEVER;
    l->wall_ahead = 1700000000000u; /* some day in 2023 */
    return l;
}
