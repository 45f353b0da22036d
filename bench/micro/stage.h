/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_STAGE_H
#define WEIR_BENCH_STAGE_H

/*
 * stage.h: a whole broker without a system below it: a real shard with a loop that turns when it is told, a clock that
 * stands still, and pipes made of memory. A pipe's peer puts bytes in; the broker reads them in gulps as a socket gives
 * them; what the broker sends is shown to the peer and gone.
 *
 *     struct stage *s = stage_new(adapters);
 *     stage_pipe_open(s, &p);                    the broker has a connection
 *     stage_pipe_feed(&p, bytes, n);             borrowed until it was read
 *     while (stage_turn(s)) ;                    reads, routes, sends: p.on_out sees it
 *     stage_free(s);
 *
 * Measured is the broker alone: what happens inside a turn, without the copying in recv and without what the peer does
 * with its bytes. The clock is stopped there, and a profiler can do the same: see stage_turn_counted.
 *
 * Thread: one.
 */

#include <stdbool.h>

#include "bench/micro/micro.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/conn.h"
#include "core/shard.h"

struct stage;

/* owner: its peer; the broker's half ends with the stage, before the peer. */
struct pipe {
    struct transport transport; /* first */
    struct stage *stage;
    struct pipe *next;
    struct conn *conn;
    const uint8_t *in; /* fed: in[0 .. in_n), read up to in_at */
    size_t in_n, in_at;
    void (*on_out)(struct pipe *p, const uint8_t *bytes, size_t n); /* set by the peer before stage_pipe_open */
    unsigned interest;
    bool is_gone; /* the broker has ended it */
};

struct stage {
    struct loop loop; /* first */
    struct mem_heap heap;
    struct mem mem_store;
    struct log log;
    struct door door;
    struct shard *shard;
    struct pipe *pipes;
    bool is_counted;  /* turns go through stage_turn_counted, and their time is taken */
    uint64_t turn_ns; /* of counted turns: the broker's own time */
    uint64_t away_ns; /* of the running turn: in pipes and peers */
    uint64_t turns;   /* all of them */
};

/* stage_new: `adapters` is NULL-terminated and outlives the stage. Limits are the defaults, the store is the one a
 * broker without a data directory has, all seeds are fixed: two runs do the same. */
struct stage *stage_new(const struct adapter_ops *const *adapters) MUST_CHECK;

/* stage_free: ends every connection; p->on_out may be called once more. All memory must have come back. */
void stage_free(struct stage *s);

/* stage_pipe_open: p with on_out set, else zeroed; the broker accepts it. */
void stage_pipe_open(struct stage *s, struct pipe *p);

/* stage_pipe_feed: bytes[n] for the broker, borrowed until they were read; everything fed before was. */
void stage_pipe_feed(struct pipe *p, const uint8_t *bytes, size_t n);

static inline bool stage_pipe_is_read(const struct pipe *p)
{
    return p->in_at == p->in_n;
}

/* stage_turn: reports every pipe with something to read, then one turn. False when there was nothing to do. */
bool stage_turn(struct stage *s);

/* Landmarks for a profiler, passed while is_counted only: it counts from entering to leaving the first, but not inside
 * the other two, where the broker has handed over to the pipe. */
bool stage_turn_counted(struct stage *s);
ptrdiff_t stage_away_recv(struct pipe *p, uint8_t *out, size_t cap);
ptrdiff_t stage_away_sendv(struct pipe *p, const struct iovec *iov, int n);

#endif
