/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_LOOP_H
#define WEIR_CORE_LOOP_H

/*
 * loop.h: the seam to whatever waits for events. Two implementations: libev (core/loop_ev.c) and the simulator
 * (tests/sim/loop_sim.c). A loop turns readiness into `on_ready` calls and then calls `on_turn` once: all work of a
 * turn happens inside shard_turn(), in one place and one order.
 *
 *     wait ─► on_ready(io) for every ready io (each only notes what is ready) ─► on_turn() ─► wait ...
 *
 * Thread: everything on the loop's own thread, except wake(), which any thread may call.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/err.h"

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

struct loop;

/* One file descriptor's interest. Embedded in its owner (a tcp pipe, a listener); zeroed before first use. */
struct loop_io {
    void (*on_ready)(struct loop_io *io, unsigned events); /* set by the owner; must not remove other ios */
    int fd;
    unsigned interest;                  /* LOOP_READ | LOOP_WRITE; kept by io_set */
    _Alignas(8) unsigned char impl[48]; /* the loop's own watcher lives here */
};

struct loop_ops {
    const char *name;

    /* now: milliseconds on the monotonic clock, the same value for a whole turn; never 0. */
    mono_ms (*now)(struct loop *);
    /* wall: milliseconds since 1970; may jump. */
    wall_ms (*wall)(struct loop *);

    /* io_set: watch io->fd, which is open, for `interest`; 0 stops watching and must be called before the fd is closed
     * or io freed. After 0, on_ready is not called again, not even for events already seen. ERR_IO if fd is negative.
     * What the system refuses later (no memory, too many watches) ends the watch: on_ready is called once more, for
     * everything, with io->interest already 0; io_set may be tried again. */
    enum err (*io_set)(struct loop *, struct loop_io *io, unsigned interest);

    /* timer: end the wait at `due` at the latest; replaces the former value; MONO_NEVER: no time limit. */
    void (*timer)(struct loop *, mono_ms due);

    /* wake: end the wait now. Any thread, any number of times; several calls may become one turn. */
    void (*wake)(struct loop *);

    /* run: turns until stop() was called. */
    void (*run)(struct loop *);
    void (*stop)(struct loop *);

    /* destroy: frees the loop; every io must have been unset. */
    void (*destroy)(struct loop *);
};

struct loop {
    const struct loop_ops *ops;
    /* on_turn: set by the shard. Returns true when it left work behind: then the loop polls without waiting. */
    bool (*on_turn)(void *ctx);
    void *ctx;
};

static inline mono_ms loop_now(struct loop *l)
{
    return l->ops->now(l);
}

static inline enum err loop_io_set(struct loop *l, struct loop_io *io, unsigned interest)
{
    return l->ops->io_set(l, io, interest);
}

struct mem;

/* loop_ev_new: the libev loop (epoll). NULL when the system refuses. The account must outlive the loop. */
struct loop *loop_ev_new(struct mem *mem) MUST_CHECK;

#endif
