/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c: a peer's connection: buffers, slow reading and the ways to end.
 *
 *     peer ─► out ─► pipe ─► broker           link_abandon: the pipe becomes a zombie that nobody reads, and is reset
 * later; peer ◄─ in  ◄─ pipe ◄─ broker           the peer meanwhile connects anew, which the broker sees as a take-over
 *
 * Invariants
 *   1. t is NULL exactly while there is no connection; then both buffers are empty.
 *   2. The pipe is asked for READ unless paused, for WRITE exactly while out is not empty.
 *   3. on_end is only called for ends that the peer did not make.
 */
#include "tests/sim/link.h"

#include "core/conn.h"
#include "tests/sim/world.h"

static void link_want(struct link *l)
{
    l->t->ops->want(l->t, (l->is_paused ? 0 : LOOP_READ) | (l->out.len ? LOOP_WRITE : 0));
}

static void forget(struct link *l)
{
    l->t = NULL;
    l->is_paused = false;
    buf_clear(&l->in);
    buf_clear(&l->out);
    sim_cancel(l->w->loop, &l->resume);
}

static void ended(struct link *l, enum err why)
{
    l->t->ops->destroy(l->t);
    forget(l);
    model_link_ended(&l->w->model, l->number, false);
    l->ops->on_end(l, why);
}

static void eat(struct link *l)
{
    size_t n = l->ops->on_bytes(l, l->in.p, l->in.len);
    if (l->t == NULL)
        return;
    BUG_ON(n > l->in.len);
    if (n != 0 && n != l->in.len)
        memmove(l->in.p, l->in.p + n, l->in.len - n);
    l->in.len -= n;
}

static void link_read(struct link *l)
{
    enum { READS_MAX = 16 };
    for (int i = 0; l->t && (i < READS_MAX || l->t->ops->pending(l->t)); i++) {
        uint8_t *room = buf_room(&l->in, l->read_max);
        BUG_ON(room == NULL);
        ptrdiff_t n = l->t->ops->recv(l->t, room, l->read_max);
        if (n == -ERR_AGAIN)
            return;
        if (n < 0) {
            ended(l, (enum err) - n);
            return;
        }
        buf_wrote(&l->in, (size_t)n);
        l->heard_at = l->w->loop->now;
        eat(l);
    }
}

static void link_write(struct link *l)
{
    struct iovec iov = {.iov_base = l->out.p, .iov_len = l->out.len};
    ptrdiff_t n = l->t->ops->sendv(l->t, &iov, 1);
    if (n == -ERR_RESET) /* the broker's last words can still be read: that is how the end is noticed */
        buf_clear(&l->out);
    if (n <= 0)
        return;
    l->out.len -= (size_t)n;
    memmove(l->out.p, l->out.p + n, l->out.len);
}

void link_flush(struct link *l)
{
    if (l->t == NULL)
        return;
    BUG_ON(buf_is_bad(&l->out));
    if (l->out.len != 0)
        link_write(l);
    link_want(l);
}

static void link_on_ready(struct transport *t, unsigned events)
{
    struct link *l = t->up;
    if ((events & LOOP_WRITE) && l->out.len != 0)
        link_write(l);
    if ((events & LOOP_READ) && !l->is_paused)
        link_read(l);
    if (l->t == t)
        link_want(l);
}

static void link_on_resume(struct sim_event *ev)
{
    struct link *l = CONTAINER_OF(ev, struct link, resume);
    l->is_paused = false;
    l->heard_at = l->w->loop->now;
    if (l->t) {
        link_read(l); /* what is pending in the pipe would not be reported */
        if (l->t)
            link_want(l);
    }
}

void link_init(struct link *l, struct world *w, const struct link_ops *ops)
{
    *l = (struct link){.w = w, .ops = ops, .resume.on_due = link_on_resume};
    buf_init(&l->in, &w->mem);
    buf_init(&l->out, &w->mem);
}

void link_open(struct link *l)
{
    struct transport *end[2];
    BUG_ON(l->t != NULL);
    net_sim_pair(&l->w->net, end);
    l->number = model_link_new(&l->w->model);
    l->t = end[0];
    l->far = end[1];
    l->t->up = l;
    l->t->on_ready = link_on_ready;
    l->read_max =
        rng_chance(&l->w->rng, 20) ? (rng_chance(&l->w->rng, 20) ? 1 : 16) + rng_below(&l->w->rng, 100) : 4096;
    l->heard_at = l->w->loop->now;
    link_want(l);
    /* Refused (out of memory, too many): the other end is destroyed, and this one will hear of it. */
    (void)conn_new(l->w->shard, end[1], &l->w->door);
    l->w->loop->loop.ops->wake(&l->w->loop->loop); /* a listener's readiness is followed by a turn */
}

void link_pause(struct link *l, mono_ms ms)
{
    if (l->t == NULL)
        return;
    l->is_paused = true;
    sim_plan(l->w->loop, &l->resume, l->w->loop->now + ms);
    link_want(l);
}

void link_shut(struct link *l)
{
    if (l->t)
        l->t->ops->shut(l->t);
}

/* is_served: has the broker not ended it yet? It may have, without this end having heard. */
static bool is_served(const struct link *l)
{
    if (l->w->shard == NULL)
        return false;
    LIST_EACH(&l->w->shard->conns, node)
    {
        const struct conn *c = LIST_ITEM(node, struct conn, all);
        if (c->transport == l->far)
            return !conn_is_closing(c);
    }
    return false;
}

void link_close(struct link *l)
{
    if (l->t == NULL)
        return;
    bool by_peer = is_served(l);
    l->t->ops->destroy(l->t);
    forget(l);
    model_link_ended(&l->w->model, l->number, by_peer);
}

void link_reset(struct link *l, enum net_loss loss)
{
    if (l->t)
        net_sim_reset(l->t, loss);
    link_close(l);
}

static void zombie_on_due(struct sim_event *ev)
{
    zombie_free(CONTAINER_OF(ev, struct zombie, ev));
}

void zombie_free(struct zombie *z)
{
    struct world *w = z->w;
    sim_cancel(w->loop, &z->ev);
    if (rng_chance(&w->rng, 50))
        net_sim_reset(z->t, NET_LOSE);
    z->t->ops->destroy(z->t);
    list_del(&z->all);
    mem_free(&w->mem, z);
}

void link_abandon(struct link *l)
{
    if (l->t == NULL)
        return;
    struct zombie *z = mem_zalloc(&l->w->mem, sizeof(*z));
    BUG_ON(z == NULL);
    z->w = l->w;
    z->t = l->t;
    z->t->ops->want(z->t, 0);
    z->t->on_ready = NULL;
    z->ev.on_due = zombie_on_due;
    bool by_peer = is_served(l);
    list_push(&l->w->zombies, &z->all);
    sim_plan(l->w->loop, &z->ev, l->w->loop->now + rng_below(&l->w->rng, 3000));
    forget(l);
    model_link_ended(&l->w->model, l->number, by_peer);
}

void link_fini(struct link *l)
{
    link_close(l);
    buf_fini(&l->in);
    buf_fini(&l->out);
}
