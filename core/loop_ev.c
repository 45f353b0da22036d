/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_ev.c: the loop over libev and epoll, for the real program.
 *
 *     run:  ┌─► arm the timer ─► ev_run, once ─────────────────────────────────► on_turn ─┐
 *           │                      epoll_wait ─► on_woken: now = clock                    │
 *           │                                 ─► on_io: io->on_ready (for each)           │
 *           └──── at once, without waiting, if on_turn left work behind or `due` is past ─┘
 *
 * libev only ever runs one round at a time, so the order of a turn is written in loop_ev_run() and nowhere else. Its
 * watchers for ios are embedded in their owners (loop_io.impl): watching allocates nothing but libev's table of fds,
 * which grows with the highest fd and is not in our accounts (about 20 bytes per fd).
 *
 * Invariants
 *   1. `now` changes only in on_woken, which libev calls before every other callback of a round (highest priority).
 *   2. io->interest == 0 exactly when its watcher is stopped; a stopped watcher has no pending event, for ev_io_stop
 *      takes that back. io_n counts the others.
 *   3. The ev_timer is armed at `armed` <= due, or off (armed == MONO_NEVER). It is touched only when it would end the
 *      wait too late; a `due` that moved away costs one empty turn instead of a change of the timer for each move.
 *   4. No default loop, no signals, no children, no environment (EVFLAG_NOENV): several loops may live in one process.
 *   5. Whether an fd can be watched is found out when libev tells epoll, in the next round: asking before would be a
 *      system call for every connection.
 * Cost    io_set: a flag and, once per round and fd that really changed, one epoll_ctl; one clock reading per turn.
 * Thread  the loop's own; wake() any.
 */
#include "core/loop.h"

#include <time.h>

#include "core/base/mem.h"

#include <ev.h>

_Static_assert(sizeof(ev_io) <= sizeof(((struct loop_io *)0)->impl), "loop_io.impl cannot hold libev's watcher");

struct loop_ev {
    struct loop base;
    struct mem *mem;
    struct ev_loop *ev;
    ev_check woken;
    ev_timer timer;
    ev_async wake;
    mono_ms now;   /* of this turn */
    mono_ms due;   /* asked for */
    mono_ms armed; /* what `timer` is set to */
    size_t io_n;   /* ios being watched */
    bool stopping;
};

static struct loop_ev *ours(struct loop *base)
{
    return CONTAINER_OF(base, struct loop_ev, base);
}

static ev_io *watcher_of(struct loop_io *io)
{
    return (ev_io *)(void *)io->impl;
}

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec t;
    int rc = clock_gettime(clock, &t);
    BUG_ON(rc == -1);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static mono_ms mono_read(void)
{
    mono_ms now = clock_ms(CLOCK_MONOTONIC);
    return now != 0 ? now : 1;
}

/* ---- callbacks of libev -------------------------------------------------------------------------------------- */

static void on_woken(struct ev_loop *ev, ev_check *w, int revents)
{
    UNUSED(revents);
    UNUSED(w);
    struct loop_ev *l = ev_userdata(ev);
    l->now = mono_read();
}

static void on_timer(struct ev_loop *ev, ev_timer *w, int revents)
{
    UNUSED(revents);
    UNUSED(w);
    struct loop_ev *l = ev_userdata(ev);
    l->armed = MONO_NEVER; /* libev has stopped it */
}

static void on_wake(struct ev_loop *ev, ev_async *w, int revents)
{
    UNUSED(ev);
    UNUSED(w);
    UNUSED(revents); /* the wait has ended: that was all */
}

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
    struct loop_ev *l = ev_userdata(ev);
    struct loop_io *io = CONTAINER_OF(w, struct loop_io, impl);
    if (UNLIKELY(revents & EV_ERROR)) {
        /* invariant 5: epoll refused the fd (out of memory, max_user_watches) and libev stopped watching */
        io->interest = 0;
        l->io_n--;
    }
    unsigned events = (revents & EV_READ ? LOOP_READ : 0u) | (revents & EV_WRITE ? LOOP_WRITE : 0u);
    if (events != 0)
        io->on_ready(io, events);
}

/* ---- the slots ----------------------------------------------------------------------------------------------- */

static mono_ms loop_ev_now(struct loop *base)
{
    return ours(base)->now;
}

static wall_ms loop_ev_wall(struct loop *base)
{
    UNUSED(base);
    return clock_ms(CLOCK_REALTIME);
}

static int ev_events(unsigned interest)
{
    return (interest & LOOP_READ ? EV_READ : 0) | (interest & LOOP_WRITE ? EV_WRITE : 0);
}

static enum err loop_ev_io_set(struct loop *base, struct loop_io *io, unsigned interest)
{
    struct loop_ev *l = ours(base);
    ev_io *w = watcher_of(io);
    BUG_ON((interest & ~(unsigned)(LOOP_READ | LOOP_WRITE)) != 0);
    if (interest == io->interest)
        return ERR_OK;
    if (io->interest != 0)
        ev_io_stop(l->ev, w); /* also takes back what is pending */
    if (interest == 0) {
        l->io_n--;
    } else if (io->interest != 0) {
        ev_io_modify(w, ev_events(interest));
    } else {
        if (io->fd < 0)
            return ERR_IO;
        ev_io_init(w, on_io, io->fd, ev_events(interest));
        l->io_n++;
    }
    io->interest = interest;
    if (interest != 0)
        ev_io_start(l->ev, w);
    return ERR_OK;
}

static void loop_ev_timer(struct loop *base, mono_ms due)
{
    ours(base)->due = due;
}

static void loop_ev_wake(struct loop *base)
{
    struct loop_ev *l = ours(base);
    ev_async_send(l->ev, &l->wake);
}

/* arm_timer: before a wait that may take long. `now` and libev's own idea of now are of the same moment. */
static void arm_timer(struct loop_ev *l)
{
    if (l->due >= l->armed)
        return;
    ev_timer_stop(l->ev, &l->timer);
    ev_timer_set(&l->timer, (double)(l->due - l->now) / 1000.0, 0.0);
    ev_timer_start(l->ev, &l->timer);
    l->armed = l->due;
}

static void loop_ev_run(struct loop *base)
{
    struct loop_ev *l = ours(base);
    BUG_ON(base->on_turn == NULL);
    bool busy = true; /* work may have come before run() was called */
    while (!l->stopping) {
        bool at_once = busy || l->due <= l->now;
        if (!at_once)
            arm_timer(l);
        ev_run(l->ev, at_once ? EVRUN_NOWAIT : EVRUN_ONCE);
        busy = base->on_turn(base->ctx);
    }
    l->stopping = false;
}

static void loop_ev_stop(struct loop *base)
{
    ours(base)->stopping = true;
}

static void loop_ev_destroy(struct loop *base)
{
    struct loop_ev *l = ours(base);
    BUG_ON(l->io_n != 0); /* an owner forgot io_set(io, 0): its fd or memory may be gone already */
    ev_loop_destroy(l->ev);
    mem_free(l->mem, l);
}

static const struct loop_ops loop_ev_ops = {
    .name = "ev",
    .now = loop_ev_now,
    .wall = loop_ev_wall,
    .io_set = loop_ev_io_set,
    .timer = loop_ev_timer,
    .wake = loop_ev_wake,
    .run = loop_ev_run,
    .stop = loop_ev_stop,
    .destroy = loop_ev_destroy,
};

struct loop *loop_ev_new(struct mem *mem)
{
    struct loop_ev *l = mem_zalloc(mem, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (l->ev == NULL) {
        mem_free(mem, l);
        return NULL;
    }
    ev_set_userdata(l->ev, l);
    l->base.ops = &loop_ev_ops;
    l->mem = mem;
    l->now = mono_read();
    l->due = l->armed = MONO_NEVER;

    ev_check_init(&l->woken, on_woken);
    ev_set_priority(&l->woken, EV_MAXPRI);
    ev_check_start(l->ev, &l->woken);
    ev_timer_init(&l->timer, on_timer, 0.0, 0.0);
    ev_async_init(&l->wake, on_wake);
    ev_async_start(l->ev, &l->wake);
    return &l->base;
}
