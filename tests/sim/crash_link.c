/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_link.c: bytes to and from a broker that may be gone at any time.
 *
 * Invariants
 *   1. t is NULL exactly while there is no connection; then both buffers are empty.
 *   2. The pipe is asked for READ always, for WRITE exactly while out is not empty.
 */
#include "tests/sim/crash_link.h"

#include <string.h>

static void want(struct crash_link *l)
{
    l->t->ops->want(l->t, LOOP_READ | (l->out.len ? LOOP_WRITE : 0));
}

static void forget(struct crash_link *l)
{
    l->t->ops->destroy(l->t);
    l->t = NULL;
    buf_clear(&l->in);
    buf_clear(&l->out);
}

static void link_read(struct crash_link *l)
{
    enum { READ_MAX = 4096 };
    while (l->t) {
        uint8_t *room = buf_room(&l->in, READ_MAX);
        BUG_ON(room == NULL);
        ptrdiff_t n = l->t->ops->recv(l->t, room, READ_MAX);
        if (n == -ERR_AGAIN)
            return;
        if (n < 0) {
            forget(l);
            l->ops->on_end(l);
            return;
        }
        buf_wrote(&l->in, (size_t)n);
        size_t eaten = l->ops->on_bytes(l, l->in.p, l->in.len);
        if (l->t == NULL)
            return;
        memmove(l->in.p, l->in.p + eaten, l->in.len - eaten);
        l->in.len -= eaten;
    }
}

static void link_write(struct crash_link *l)
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

void crash_link_flush(struct crash_link *l)
{
    if (l->t == NULL)
        return;
    BUG_ON(buf_is_bad(&l->out));
    if (l->out.len != 0)
        link_write(l);
    want(l);
}

static void on_ready(struct transport *t, unsigned events)
{
    struct crash_link *l = t->up;
    if ((events & LOOP_WRITE) && l->out.len != 0)
        link_write(l);
    if (events & LOOP_READ)
        link_read(l);
    if (l->t == t)
        want(l);
}

void crash_link_init(struct crash_link *l, struct crash_world *w, const struct crash_link_ops *ops)
{
    *l = (struct crash_link){.w = w, .ops = ops};
    buf_init(&l->in, &w->mem);
    buf_init(&l->out, &w->mem);
}

bool crash_link_open(struct crash_link *l)
{
    struct transport *end[2];
    BUG_ON(l->t != NULL);
    if (l->w->shard == NULL || l->w->shard->is_stopping)
        return false;
    net_sim_pair(&l->w->net, end);
    l->t = end[0];
    l->t->up = l;
    l->t->on_ready = on_ready;
    want(l);
    (void)conn_new(l->w->shard, end[1], &l->w->door);
    l->w->loop->loop.ops->wake(&l->w->loop->loop); /* a listener's readiness is followed by a turn */
    return true;
}

void crash_link_close(struct crash_link *l, bool by_reset)
{
    if (l->t == NULL)
        return;
    if (by_reset)
        net_sim_reset(l->t, rng_chance(&l->w->rng, 50) ? NET_LOSE : NET_KEEP);
    forget(l);
}

void crash_link_cut(struct crash_link *l)
{
    if (l->t)
        net_sim_cut(l->t, rng_chance(&l->w->rng, 50) ? NET_LOSE : NET_KEEP);
}

void crash_link_fini(struct crash_link *l)
{
    crash_link_close(l, false);
    buf_fini(&l->in);
    buf_fini(&l->out);
}
