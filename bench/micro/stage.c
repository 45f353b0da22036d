/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.c: loop and pipes made of memory, around a real shard.
 *
 *     fed bytes ─► recv ─► conn ─► adapter ─► core ─► outv ─► sendv ─► on_out, the peer looks
 *                  not counted                                      not counted
 *
 * Invariants
 *   1. Nothing is random and the clock stands still, so the same calls give the same instructions.
 *   2. A pipe is always ready to be written; it is ready to be read while something is fed (level-triggered, as epoll).
 *   3. Memory of the stage is not the broker's: the heap counts that alone, and is empty in the end.
 * Thread  one.
 */
#include "bench/micro/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "persist/store_mem.h"

enum { STAGE_NOW = 1000, STAGE_SEED = 1 };

/* ---- pipe --------------------------------------------------------------------------------------------------- */

static struct pipe *pipe_of(struct transport *t)
{
    return CONTAINER_OF(t, struct pipe, transport);
}

static ptrdiff_t take_in(struct pipe *p, uint8_t *out, size_t cap)
{
    size_t n = MIN(cap, p->in_n - p->in_at);
    if (n == 0)
        return -(ptrdiff_t)ERR_AGAIN;
    memcpy(out, p->in + p->in_at, n);
    p->in_at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t show(struct pipe *p, const struct iovec *iov, int n)
{
    ptrdiff_t taken = 0;
    for (int i = 0; i < n; i++) {
        p->on_out(p, iov[i].iov_base, iov[i].iov_len);
        taken += (ptrdiff_t)iov[i].iov_len;
    }
    return taken;
}

MICRO_LANDMARK ptrdiff_t stage_away_recv(struct pipe *p, uint8_t *out, size_t cap)
{
    uint64_t left_at = micro_now_ns();
    ptrdiff_t n = take_in(p, out, cap);
    p->stage->away_ns += micro_now_ns() - left_at;
    return n;
}

MICRO_LANDMARK ptrdiff_t stage_away_sendv(struct pipe *p, const struct iovec *iov, int n)
{
    uint64_t left_at = micro_now_ns();
    ptrdiff_t taken = show(p, iov, n);
    p->stage->away_ns += micro_now_ns() - left_at;
    return taken;
}

static ptrdiff_t pipe_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct pipe *p = pipe_of(t);
    return p->stage->is_counted ? stage_away_recv(p, out, cap) : take_in(p, out, cap);
}

static ptrdiff_t pipe_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct pipe *p = pipe_of(t);
    return p->stage->is_counted ? stage_away_sendv(p, iov, n) : show(p, iov, n);
}

static void pipe_want(struct transport *t, unsigned interest)
{
    pipe_of(t)->interest = interest;
}

static bool pipe_pending(struct transport *t)
{
    UNUSED(t);
    return false;
}

static void pipe_shut(struct transport *t)
{
    UNUSED(t);
}

static void pipe_destroy(struct transport *t)
{
    pipe_of(t)->is_gone = true;
}

static void pipe_peer(struct transport *t, char *out, size_t cap)
{
    UNUSED(t);
    snprintf(out, cap, "stage");
}

static const struct transport_ops pipe_ops = {
    .name = "stage",
    .recv = pipe_recv,
    .sendv = pipe_sendv,
    .want = pipe_want,
    .pending = pipe_pending,
    .shut = pipe_shut,
    .destroy = pipe_destroy,
    .peer = pipe_peer,
};

void stage_pipe_open(struct stage *s, struct pipe *p)
{
    p->transport.ops = &pipe_ops;
    p->stage = s;
    p->next = s->pipes;
    s->pipes = p;
    p->conn = micro_must(conn_new(s->shard, &p->transport, &s->door));
}

void stage_pipe_feed(struct pipe *p, const uint8_t *bytes, size_t n)
{
    if (!stage_pipe_is_read(p))
        micro_die("the broker has not read all of its input");
    p->in = bytes;
    p->in_n = n;
    p->in_at = 0;
}

/* ---- loop --------------------------------------------------------------------------------------------------- */

static mono_ms loop_stage_now(struct loop *l)
{
    UNUSED(l);
    return STAGE_NOW;
}

static wall_ms loop_stage_wall(struct loop *l)
{
    UNUSED(l);
    return 1700000000000u;
}

static enum err loop_stage_io_set(struct loop *l, struct loop_io *io, unsigned interest)
{
    UNUSED(l);
    io->interest = interest;
    return ERR_OK;
}

static void loop_stage_timer(struct loop *l, mono_ms due)
{
    UNUSED(l);
    UNUSED(due);
}

static void loop_stage_nothing(struct loop *l)
{
    UNUSED(l);
}

static const struct loop_ops loop_stage_ops = {
    .name = "stage",
    .now = loop_stage_now,
    .wall = loop_stage_wall,
    .io_set = loop_stage_io_set,
    .timer = loop_stage_timer,
    .wake = loop_stage_nothing,
    .run = loop_stage_nothing,
    .stop = loop_stage_nothing,
    .destroy = loop_stage_nothing,
};

MICRO_LANDMARK bool stage_turn_counted(struct stage *s)
{
    bool more = s->loop.on_turn(s->loop.ctx);
    s->turns++; /* behind the call, so that it is a call and no jump */
    return more;
}

static bool report_ready(struct stage *s)
{
    bool any = false;
    for (struct pipe *p = s->pipes; p != NULL; p = p->next) {
        if (stage_pipe_is_read(p) || (p->interest & LOOP_READ) == 0)
            continue;
        p->transport.on_ready(&p->transport, LOOP_READ);
        any = true;
    }
    return any;
}

bool stage_turn(struct stage *s)
{
    bool any = report_ready(s);
    if (!s->is_counted) {
        s->turns++;
        return s->loop.on_turn(s->loop.ctx) || any;
    }
    s->away_ns = 0;
    uint64_t start = micro_now_ns();
    bool more = stage_turn_counted(s);
    s->turn_ns += micro_now_ns() - start - s->away_ns;
    return more || any;
}

/* ---- stage -------------------------------------------------------------------------------------------------- */

static void on_log(void *ctx, enum log_level level, const char *line)
{
    UNUSED(ctx);
    if (level <= LOG_WARN)
        fprintf(stderr, "weir-micro: the broker says: %s\n", line);
}

struct stage *stage_new(const struct adapter_ops *const *adapters)
{
    struct stage *s = micro_take(1, sizeof *s);
    s->loop.ops = &loop_stage_ops;
    mem_heap_init(&s->heap);
    mem_init(&s->mem_store, &s->heap, "store");
    log_init(&s->log);
    s->log.write = on_log;
    s->door = (struct door){.adapter = adapters, .name = "stage", .allow_anonymous = true};
    struct shard_config config = {
        .loop = &s->loop,
        .log = &s->log,
        .heap = &s->heap,
        .store = micro_must(store_mem_new(&s->mem_store, &(struct store_mem_config){.keep = false})),
        .seed = STAGE_SEED,
        .retain_available = true,
    };
    limits_default(&config.limits);
    s->shard = micro_must(shard_new(&config));
    return s;
}

void stage_free(struct stage *s)
{
    s->is_counted = false;
    shard_free(s->shard);
    for (const struct pipe *p = s->pipes; p != NULL; p = p->next) {
        if (!p->is_gone)
            micro_die("the broker has forgotten a connection");
    }
    if (s->heap.bytes != 0)
        micro_die("the broker kept %zu bytes", s->heap.bytes);
    free(s);
}
