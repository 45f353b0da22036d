/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_tell.c: every record that goes into a store and comes out of it, as one line of the trace: what one wants to
 * see when a seed has failed. The world is found by the operations it put in place of the store's own.
 */
#include <stdio.h>

#include "persist/codec.h"
#include "tests/sim/crash_world.h"

static void tell(struct crash_world *w, const char *what, const struct store_rec *r, lsn_t lsn)
{
    char to[200] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < r->target_n && n < sizeof(to) - 40; i++)
        n += (size_t)snprintf(to + n, sizeof(to) - n, " %llu%s", (unsigned long long)r->target[i].queue,
                              r->target[i].progress == STORE_WAS_SENT       ? "s"
                              : r->target[i].progress == STORE_WAS_RECEIVED ? "r"
                                                                            : "");
    struct msgview v = {0};
    if (r->msg)
        msg_view(r->msg, &v);
    crash_trace(w,
                "    %s %llu %s queue %llu session %llu of %llu name " SLICE_FMT " key " SLICE_FMT
                " rx %u ticket %u flags %x #%.*s to%s",
                what, (unsigned long long)lsn, codec_kind_names[r->kind], (unsigned long long)r->queue,
                (unsigned long long)r->session, (unsigned long long)r->of, SLICE_ARG(r->name), SLICE_ARG(r->key),
                r->rx_id, r->ticket, r->flags, (int)MIN(v.payload.len, (size_t)CRASH_PAYLOAD_MIN),
                (const char *)v.payload.p, to);
}

static struct crash_world *world_of(const struct store *s)
{
    return CONTAINER_OF(s->ops, struct crash_world, told_ops);
}

static lsn_t told_append(struct store *s, const struct store_rec *r)
{
    struct crash_world *w = world_of(s);
    lsn_t lsn = w->store_ops->append(s, r);
    tell(w, "append", r, lsn);
    return lsn;
}

static enum err told_visit(const struct store_rec *r, void *ctx)
{
    struct crash_world *w = ctx;
    tell(w, "replay", r, r->lsn);
    return w->visit(r, w->visit_ctx);
}

static enum err told_replay(struct store *s, store_visit_fn visit, void *ctx)
{
    struct crash_world *w = world_of(s);
    w->visit = visit;
    w->visit_ctx = ctx;
    return w->store_ops->replay(s, told_visit, w);
}

void crash_life_tell(struct crash_world *w)
{
    w->store_ops = w->store->ops;
    w->told_ops = *w->store_ops;
    w->told_ops.append = told_append;
    w->told_ops.replay = told_replay;
    w->store->ops = &w->told_ops;
}
