/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig.c: loop, pipes and store made of arrays, around a real shard.
 *
 *     rig_send ─► pipe.in ──recv──► conn ─► adapter ─► core ─► outv ──sendv──► pipe.out ─► the test looks
 *
 * Readiness is level-triggered, as epoll's: a pipe with something to read, or room to write, is reported before every
 * turn while the connection asks for it.
 *
 * Invariants
 *   1. Nothing here is random and nothing moves the clock but rig_wait.
 *   2. The rig's own memory is plain malloc, so that the heap counts the broker's alone.
 * Cost    a rig costs a shard, about 100 us.
 * Thread  one.
 */
#include "tests/support/rig.h"

#include <stdlib.h>

enum { TURNS_MAX = 1000000 };

static void *must(void *p)
{
    BUG_ON(p == NULL);
    return p;
}

void rig_put(struct rig_bytes *b, const void *bytes, size_t n)
{
    if (b->len + n > b->cap) {
        b->cap = (b->len + n) * 2;
        b->p = must(realloc(b->p, b->cap));
    }
    if (n != 0)
        memcpy(b->p + b->len, bytes, n);
    b->len += n;
}

/* ---- pipe ---------------------------------------------------------------------------------------------------- */

static struct rig_pipe *pipe_of(struct transport *t)
{
    return CONTAINER_OF(t, struct rig_pipe, transport);
}

static bool has_input(const struct rig_pipe *p)
{
    return p->in_at < p->in.len || p->is_eof || p->is_reset;
}

static ptrdiff_t pipe_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct rig_pipe *p = pipe_of(t);
    size_t n = MIN(cap, p->in.len - p->in_at);
    if (p->is_reset)
        return -ERR_RESET;
    if (n == 0)
        return p->is_eof ? -ERR_EOF : -ERR_AGAIN;
    memcpy(out, p->in.p + p->in_at, n);
    p->in_at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t pipe_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct rig_pipe *p = pipe_of(t);
    BUG_ON(p->is_shut);
    if (p->is_reset)
        return -ERR_RESET;
    if (p->is_stalled || (p->take_max != 0 && p->take_turns++ % 2 == 1))
        return -ERR_AGAIN;
    size_t taken = 0, max = p->take_max != 0 ? p->take_max : SIZE_MAX;
    for (int i = 0; i < n && taken < max; i++) {
        size_t part = MIN(iov[i].iov_len, max - taken);
        rig_put(&p->out, iov[i].iov_base, part);
        taken += part;
    }
    return taken != 0 ? (ptrdiff_t)taken : -ERR_AGAIN;
}

static void pipe_want(struct transport *t, unsigned interest)
{
    pipe_of(t)->interest = interest;
}

static bool pipe_pending(struct transport *t)
{
    (void)t;
    return false;
}

static void pipe_shut(struct transport *t)
{
    pipe_of(t)->is_shut = true;
}

static void pipe_destroy(struct transport *t)
{
    struct rig_pipe *p = pipe_of(t);
    BUG_ON(p->is_gone);
    p->is_gone = true;
    p->interest = 0;
}

static void pipe_peer(struct transport *t, char *out, size_t cap)
{
    (void)t;
    static const char name[] = "rig";
    size_t n = MIN(cap - 1, sizeof name - 1);
    memcpy(out, name, n);
    out[n] = '\0';
}

static const struct transport_ops pipe_ops = {.name = "rig",
                                              .recv = pipe_recv,
                                              .sendv = pipe_sendv,
                                              .want = pipe_want,
                                              .pending = pipe_pending,
                                              .shut = pipe_shut,
                                              .destroy = pipe_destroy,
                                              .peer = pipe_peer};

struct rig_pipe *rig_connect(struct rig *r)
{
    struct rig_pipe *p = must(calloc(1, sizeof *p));
    p->transport.ops = &pipe_ops;
    p->rig = r;
    p->next = r->pipes;
    r->pipes = p;
    (void)conn_new(r->shard, &p->transport, &r->door);
    return p;
}

void rig_send(struct rig_pipe *p, const void *bytes, size_t n)
{
    rig_put(&p->in, bytes, n);
}

/* ---- loop ---------------------------------------------------------------------------------------------------- */

static struct rig *rig_of(struct loop *l)
{
    return CONTAINER_OF(l, struct rig, loop);
}

static mono_ms loop_rig_now(struct loop *l)
{
    return rig_of(l)->now;
}

static wall_ms loop_rig_wall(struct loop *l)
{
    return rig_of(l)->now + 1700000000000u;
}

static enum err loop_rig_io_set(struct loop *l, struct loop_io *io, unsigned interest)
{
    (void)l;
    io->interest = interest;
    return ERR_OK;
}

static void loop_rig_timer(struct loop *l, mono_ms due)
{
    rig_of(l)->timer = due;
}

static void loop_rig_wake(struct loop *l)
{
    rig_of(l)->is_woken = true;
}

static void loop_rig_nothing(struct loop *l)
{
    (void)l;
}

static const struct loop_ops loop_rig_ops = {.name = "rig",
                                             .now = loop_rig_now,
                                             .wall = loop_rig_wall,
                                             .io_set = loop_rig_io_set,
                                             .timer = loop_rig_timer,
                                             .wake = loop_rig_wake,
                                             .run = loop_rig_nothing,
                                             .stop = loop_rig_nothing,
                                             .destroy = loop_rig_nothing};

static bool report_ready(struct rig *r)
{
    bool any = false;
    for (struct rig_pipe *p = r->pipes; p != NULL; p = p->next) {
        unsigned events = 0;
        if ((p->interest & LOOP_READ) != 0 && has_input(p))
            events |= LOOP_READ;
        if ((p->interest & LOOP_WRITE) != 0 && !p->is_stalled)
            events |= LOOP_WRITE;
        if (events == 0 || p->is_gone)
            continue;
        p->transport.on_ready(&p->transport, events);
        any = true;
    }
    return any;
}

void rig_run(struct rig *r)
{
    bool more = true; /* one turn at least: a test may have changed something by hand */
    for (uint32_t turns = 0; turns < TURNS_MAX; turns++) {
        bool any = report_ready(r);
        if (!any && !more && !r->is_woken)
            return;
        r->is_woken = false;
        more = r->loop.on_turn(r->loop.ctx);
    }
    r->is_stuck = true;
}

void rig_wait(struct rig *r, mono_ms ms)
{
    mono_ms until = r->now + ms;
    rig_run(r);
    while (r->timer <= until && !r->is_stuck) {
        r->now = MAX(r->now, r->timer);
        r->timer = MONO_NEVER;
        rig_run(r);
    }
    r->now = until;
    rig_run(r);
}

/* ---- store --------------------------------------------------------------------------------------------------- */

static struct rig_store *store_of(struct store *s)
{
    return CONTAINER_OF(s, struct rig_store, store);
}

static enum err store_open(struct store *s)
{
    (void)s;
    return ERR_OK;
}

static enum err store_replay(struct store *s, store_visit_fn visit, void *ctx)
{
    (void)s, (void)visit, (void)ctx;
    return ERR_OK;
}

static enum err rig_reserve(struct store *s, uint64_t bytes)
{
    const struct rig *r = store_of(s)->rig;
    (void)bytes;
    return r->has_failed ? ERR_STORE : r->is_full ? ERR_FULL : ERR_OK;
}

static lsn_t rig_append(struct store *s, const struct store_rec *rec)
{
    (void)rec;
    return store_of(s)->rig->has_failed ? 0 : ++store_of(s)->last;
}

static mono_ms rig_submit(struct store *s, mono_ms now)
{
    struct rig_store *st = store_of(s);
    (void)now;
    if (st->rig->is_holding || st->rig->has_failed || st->durable == st->last)
        return MONO_NEVER;
    st->durable = st->last;
    s->on_durable(s->ctx, st->durable);
    return MONO_NEVER;
}

void rig_fail_store(struct rig *r)
{
    BUG_ON(r->store == NULL || r->has_failed);
    r->has_failed = true;
    r->store->store.on_failed(r->store->store.ctx);
    rig_run(r);
}

static void store_close(struct store *s)
{
    struct rig_store *st = store_of(s);
    st->rig->store = NULL;
    free(st);
}

static const struct store_ops store_rig_ops = {.name = "rig",
                                               .open = store_open,
                                               .replay = store_replay,
                                               .reserve = rig_reserve,
                                               .append = rig_append,
                                               .submit = rig_submit,
                                               .close = store_close};

/* ---- rig ----------------------------------------------------------------------------------------------------- */

static void log_nothing(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

void rig_config_init(struct rig_config *config)
{
    *config = (struct rig_config){0};
    limits_default(&config->limits);
}

static void free_all(struct rig *r)
{
    while (r->pipes != NULL) {
        struct rig_pipe *p = r->pipes;
        r->pipes = p->next;
        free(p->in.p);
        free(p->out.p);
        free(p);
    }
    free(r->store);
    free(r);
}

struct rig *rig_new(const struct rig_config *config)
{
    struct rig *r = must(calloc(1, sizeof *r));
    r->loop.ops = &loop_rig_ops;
    r->now = RIG_START;
    r->timer = MONO_NEVER;
    mem_heap_init(&r->heap);
    r->heap.fail_at = config->fail_at;
    log_init(&r->log);
    r->log.write = log_nothing;
    r->log.level = LOG_DEBUG;
    fake_auth_init(&r->auth);
    r->door = (struct door){.adapter = config->adapters,
                            .name = config->door_name != NULL ? config->door_name : "rig",
                            .allow_anonymous = !config->refuses_anonymous,
                            .server_reference = config->server_reference,
                            .is_lenient = config->is_lenient,
                            .has_moved = config->has_moved,
                            .has_qos_cap = config->has_qos_cap,
                            .qos_cap = config->qos_cap};
    if (config->has_store) {
        r->store = must(calloc(1, sizeof *r->store));
        r->store->store.ops = &store_rig_ops;
        r->store->rig = r;
    }
    struct shard_config sc = {.loop = &r->loop,
                              .log = &r->log,
                              .heap = &r->heap,
                              .store = r->store != NULL ? &r->store->store : NULL,
                              .limits = config->limits,
                              .seed = 1,
                              .auth = config->has_auth ? &r->auth.auth : NULL,
                              .response_information = config->response_information,
                              .check_payload_format = config->check_payload_format,
                              .retain_available = !config->no_retain,
                              .stomp_strict_host = config->stomp_strict_host,
                              .stomp_persistent = config->stomp_persistent,
                              .topic_dialect = config->topic_dialect,
                              .queue_qos0 = config->queue_qos0};
    r->shard = shard_new(&sc);
    if (r->shard != NULL)
        return r;
    BUG_ON(r->heap.bytes != 0);
    free_all(r);
    return NULL;
}

bool rig_free(struct rig *r)
{
    shard_free(r->shard);
    bool all_back = r->heap.bytes == 0;
    for (struct rig_pipe *p = r->pipes; p != NULL; p = p->next)
        BUG_ON(!p->is_gone); /* the broker owned it */
    free_all(r);
    return all_back;
}
