/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_STORE_H
#define WEIR_CORE_STORE_H

/*
 * store.h: the seam to what survives a restart. The broker appends records while it routes, submits once per turn, and
 * is told "durable up to LSN" later, through its mailbox (or from within submit, for a store that has nothing to wait
 * for). Records describe the routing RESULT: replay never runs the router.
 *
 *     open ─► replay(visit) ─► { reserve · append* · submit } * ─► close
 *
 * Implementations: persist/store_mem.c; the log comes with the durability issue; tests/sim may wrap one.
 * Thread: all slots on the shard's thread; none blocks but open, replay and close.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/msg.h"

struct queue_policy;
struct exchange_spec;

enum store_kind {
    STORE_PUBLISH = 1, /* msg, target[target_n], session + rx_id when inbound QoS 2. With one target whose queue is 0 it
                          waits for its delay: name = exchange, due. With `of` it is a dead letter: it settles `of` in
                          `queue`, too. flags: STORE_PUBLISH_RETAINED */
    STORE_SETTLE,      /* queue, lsn of the publish: this queue is done with it */
    STORE_RETAIN,      /* msg: set; payload empty: cleared */
    STORE_SESSION,     /* session, name, expiry_s: created or changed */
    STORE_SESSION_END, /* session */
    STORE_QUEUE,       /* queue, session (owner or 0), name, flags (STORE_QUEUE_...), policy (NULL: the default) */
    STORE_QUEUE_END,   /* queue */
    STORE_BIND,       /* queue, name = exchange, key = filter in MQTT spelling, qos, sub_id, flags. queue 0: an exchange
                         is bound, `to` names it */
    STORE_UNBIND,     /* queue, name, key, to */
    STORE_RX_RELEASE, /* session, rx_id: inbound QoS 2 id is free again */
    STORE_MEMBER, /* queue, session, qos, sub_id, flags (retain as published): consumes a queue that is not its own */
    STORE_MEMBER_END,   /* queue, session */
    STORE_EXCHANGE,     /* name, exchange */
    STORE_EXCHANGE_END, /* name */
    STORE_TX,           /* the records up to STORE_TX_END are one unit: replay visits all of them or none */
    STORE_TX_END, /* flags STORE_TX_VOID: nothing of the unit happened: one of its records could not be appended */
};

enum {
    STORE_QUEUE_GROUP = 1, /* name is "group/filter" of a shared subscription */
    STORE_QUEUE_DSUB = 2,  /* name is the key of a durable subscription */
    STORE_TX_VOID = 1,
};

enum {
    STORE_PUBLISH_RETAINED = 1, /* it is a STORE_RETAIN, too */
};

struct store_target {
    uint64_t queue;
    uint32_t set;
};

/* One record, as a view: everything it points to is copied or held by append before it returns. */
struct store_rec {
    enum store_kind kind;
    const struct msg *msg;
    const struct store_target *target;
    uint32_t target_n;
    uint64_t queue, session;
    lsn_t lsn; /* replay: its own; SETTLE: the publish it settles is in `of` */
    lsn_t of;
    struct slice name, key, to;
    const struct queue_policy *policy;
    const struct exchange_spec *exchange;
    wall_ms due;
    uint32_t expiry_s, sub_id;
    uint16_t rx_id;
    uint8_t qos, flags;
};

struct store;

typedef enum err (*store_visit_fn)(const struct store_rec *rec, void *ctx);

struct store_ops {
    const char *name;

    /* open: makes the store ready; may block. ERR_IO, ERR_NOMEM, ERR_UNSUPPORTED (a newer format, untouched). */
    enum err (*open)(struct store *);

    /* replay: once, after open: every living record in LSN order. Stops at the first error of visit and returns it. */
    enum err (*replay)(struct store *, store_visit_fn visit, void *ctx);

    /* reserve: room for `bytes` more, including the later settle; ERR_FULL refuses the publish before anything was
     * routed; ERR_STORE after a failure. */
    enum err (*reserve)(struct store *, uint64_t bytes);

    /* append: takes one record into the open batch and gives it the next LSN (1, 2, 3 ...). 0 when out of memory or
     * failed: nothing was taken. */
    lsn_t (*append)(struct store *, const struct store_rec *);

    /* submit: end of turn: what was appended may go to disk. on_durable or on_failed follow for each batch, in order.
     */
    void (*submit)(struct store *);

    /* close: everything submitted is made durable or reported failed, then the store is freed. May block. */
    void (*close)(struct store *);
};

struct store {
    const struct store_ops *ops;
    /* Set by the shard before open. on_durable: every LSN up to and including this one is durable; grows.
     * on_failed: once: nothing later will ever be durable. Both on the shard's thread. */
    void (*on_durable)(void *ctx, lsn_t lsn);
    void (*on_failed)(void *ctx);
    void *ctx;
};

/* The slots of a turn, called by name. */
static inline enum err store_reserve(struct store *s, uint64_t bytes)
{
    return s->ops->reserve(s, bytes);
}

static inline lsn_t store_append(struct store *s, const struct store_rec *rec)
{
    return s->ops->append(s, rec);
}

static inline void store_submit(struct store *s)
{
    s->ops->submit(s);
}

#endif
