/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_STORE_H
#define WEIR_CORE_STORE_H

/*
 * store.h: the seam to what survives a restart. The broker appends records while it routes, submits once per turn, and
 * is told "durable up to LSN" later, through its mailbox (or from within submit, for a store that has nothing to wait
 * for). Records describe the routing RESULT: replay never runs the router.
 *
 *     open ─► replay(visit) ─► { reserve · append* · submit · fetch* } * ─► close
 *
 * Implementations: persist/store_log.c (the log), persist/store_mem.c; tests/sim has one more.
 * Thread: all slots on the shard's thread; none blocks but open, replay, read and close.
 *
 * Time: records carry wall-clock times, the broker runs on the monotonic clock. `clock` is the one difference between
 * them for a whole life: wall = mono + clock. It is set between open and replay, so that it begins where the log ends,
 * and jumps of the wall clock change nothing.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/msg.h"

struct exchange_spec;
struct mailbox;
struct msg_pool;
struct queue_policy;

/* The numbers are on disk: never change one, never use one again. */
enum store_kind {
    STORE_PUBLISH = 1, /* msg, target[target_n], session + rx_id when inbound QoS 2. With one target whose queue is 0 it
                          waits for its delay: name = exchange, due. With `of` it also settles `of` in `queue` (a dead
                          letter, a delay that is over: queue 0). flags: STORE_PUBLISH_... */
    STORE_SETTLE = 2,  /* queue, of: this queue is done with that publish */
    STORE_RETAIN = 3,  /* msg: set; payload empty: cleared. Without msg: name = the topic to clear */
    STORE_SESSION = 4, /* session, name, expiry_s, due = since when it is offline (0: it is online): made or changed */
    STORE_SESSION_END = 5, /* session */
    STORE_QUEUE = 6,       /* queue, session (owner or 0), name, flags (STORE_QUEUE_...), policy (NULL: the default) */
    STORE_QUEUE_END = 7,   /* queue */
    STORE_BIND = 8,        /* queue, session (its owner or 0), name = exchange, key = filter in MQTT spelling, qos,
                              sub_id, flags (core/binding_log.h). queue 0: an exchange is bound, `to` names it */
    STORE_UNBIND = 9,      /* queue, name, key, to */
    STORE_RX_RELEASE = 10, /* session, rx_id: inbound QoS 2 id is free again */
    STORE_MEMBER = 11,     /* queue, session, qos, sub_id, flags (retain as published): consumes a queue not its own */
    STORE_MEMBER_END = 12, /* queue, session */
    STORE_EXCHANGE = 13,   /* name, exchange, queue = its number */
    STORE_EXCHANGE_END = 14, /* name */
    STORE_TX = 15,           /* the records up to STORE_TX_END are one unit: replay visits all of them or none */
    STORE_TX_END = 16, /* flags STORE_TX_VOID: nothing of the unit happened: one of its records could not be appended */
    STORE_SENT = 17,   /* queue, of, ticket, session (0: the queue's owner): this queue's delivery of that publish has
                          this packet id from now on. qos (not kept): at 2 somebody waits for it */
    STORE_RECEIVED = 18, /* queue, of: QoS 2: the peer has it (PUBREC); what is left of it is its packet id */
    STORE_RETURNED = 19, /* queue, of, returns: it came back so often; it has no packet id now */
    STORE_WILL = 20, /* session, msg, expiry_s = its delay in seconds; msg NULL: it has none any more. Here, and only
                        here, msg->expires_at is a duration, written and read as it is */
};

enum {
    STORE_QUEUE_GROUP = 1, /* name is "group/filter" of a shared subscription */
    STORE_QUEUE_DSUB = 2,  /* name is the key of a durable subscription */
    STORE_TX_VOID = 1,
};

enum {
    STORE_PUBLISH_RETAINED = 1, /* it is a STORE_RETAIN, too */
    STORE_PUBLISH_REPLAYED = 2, /* a retained message for a new subscription: delivered with the retain flag */
    STORE_PUBLISH_LIVE = 4,     /* every target has a consumer with credit: it may be settled before it is written */
};

/* How far a queue's delivery of a publish is. On append: STORE_WAITS; replay tells what STORE_SENT and the others said.
 */
enum store_progress { STORE_WAITS, STORE_WAS_SENT, STORE_WAS_RECEIVED };

struct store_target {
    uint64_t queue;
    uint64_t session;       /* STORE_WAS_SENT, STORE_WAS_RECEIVED: whose packet id it is; 0: the queue's owner */
    const uint32_t *sub_id; /* [sub_id_n], sorted: subscription identifiers of the bindings it came through */
    uint16_t sub_id_n;
    uint8_t plain;    /* of these bindings: highest qos + 3 if one wants retain as published (core/queue.h) */
    uint8_t progress; /* enum store_progress */
    uint16_t ticket;  /* STORE_WAS_SENT, STORE_WAS_RECEIVED: its packet id */
    uint16_t returns;
};

/* One record, as a view: everything it points to is copied or held by append before it returns. */
struct store_rec {
    enum store_kind kind;
    const struct msg *msg;
    const struct store_target *target;
    uint32_t target_n;
    uint64_t queue, session;
    lsn_t lsn; /* replay: its own; 0 on append */
    lsn_t of;
    struct slice name, key, to;
    const struct queue_policy *policy;
    const struct exchange_spec *exchange;
    wall_ms at; /* when it was appended: replay tells; on append 0: now (store->now) */
    wall_ms due;
    uint32_t expiry_s, sub_id;
    uint16_t rx_id, ticket, returns;
    uint8_t qos, flags;
};

/* Messages that are asked for again. owner: whoever asks, until on_fetched. */
struct store_fetch {
    const lsn_t *lsn;       /* [n]: durable publishes, rising */
    const struct msg **msg; /* [n]: filled in: held for the asker; NULL: it is settled, or damaged on disk */
    uint32_t n;
    bool no_memory;                           /* set when a NULL is only for want of memory: ask again later */
    void (*on_fetched)(struct store_fetch *); /* once, on the shard's thread, never from within fetch */
    void *ctx;
    struct store_fetch *next; /* the store's */
};

/* What a store has done, since open; for the statistics. Stores that do not know leave zeros. */
struct store_stats {
    uint64_t records;         /* appended */
    uint64_t consumed;        /* of these: settled before they were written, and never written */
    uint64_t published_bytes; /* topic, attributes and payload of all publishes appended */
    uint64_t written_bytes;   /* to the log, everything counted but zeroing */
    uint64_t batches, syncs;
    uint64_t copied;        /* records that compaction wrote again */
    uint64_t fetched;       /* messages read back */
    uint64_t disk_bytes;    /* now: of all files */
    uint64_t living_n;      /* now: records that still mean something */
    uint64_t replayed;      /* records that open found, living or not */
    uint64_t damaged_bytes; /* set aside by open */
    bool is_full;           /* now: publishes are refused until there is room */
};

struct store;

typedef enum err (*store_visit_fn)(const struct store_rec *rec, void *ctx);

struct store_ops {
    const char *name;

    /* open: makes the store ready, and sets `stamp`; may block. ERR_IO, ERR_NOMEM, ERR_UNSUPPORTED (a newer format,
     * untouched), ERR_EXISTS (another broker has it). Says why in the log. */
    enum err (*open)(struct store *);

    /* replay: once, after open: every living record (persist/store_image.h says what is living), settled targets left
     * out: first all EXCHANGEs, then all SESSIONs, QUEUEs, BINDs, MEMBERs and WILLs, each sort in LSN order; then
     * PUBLISHes and RETAINs in LSN order (one that is both is visited as PUBLISH, then as RETAIN). Messages may be held
     * for as long as the store is open. Stops at the first error of visit and returns it. */
    enum err (*replay)(struct store *, store_visit_fn visit, void *ctx);

    /* reserve: room for `bytes` more, including the later settle; ERR_FULL refuses the publish before anything was
     * routed; ERR_STORE after a failure. */
    enum err (*reserve)(struct store *, uint64_t bytes);

    /* append: takes one record into the open batch. Returns an LSN: when "durable up to" has reached it, the record is
     * durable. A publish has one of its own, greater than all before; SETTLE, SENT, RECEIVED and RETURNED may share
     * one. 0 when out of memory or failed: nothing was taken. */
    lsn_t (*append)(struct store *, const struct store_rec *);

    /* submit: end of turn: what was appended may go to disk. on_durable or on_failed follow for each batch, in order.
     * Returns when it wants to be called again at the latest, though nothing was appended; MONO_NEVER: it need not. */
    mono_ms (*submit)(struct store *, mono_ms now);

    /* close: everything submitted is made durable or reported failed, no fetch is open any more, then the store is
     * freed. May block. */
    void (*close)(struct store *);

    /* fetch: reads messages back, in its own time. NULL: this store cannot, and nothing may be left to it alone. */
    void (*fetch)(struct store *, struct store_fetch *);

    /* read: one message now, held for the caller; may block for the disk; for what is rare. NULL: settled, damaged, no
     * memory. NULL slot exactly when fetch is. */
    const struct msg *(*read)(struct store *, lsn_t lsn);
};

struct store {
    const struct store_ops *ops;
    /* Set by the shard before open. on_durable: every LSN up to and including this one is durable; grows.
     * on_failed: once: nothing later will ever be durable. Both on the shard's thread. */
    void (*on_durable)(void *ctx, lsn_t lsn);
    void (*on_failed)(void *ctx);
    void *ctx;
    struct mailbox *mailbox; /* the shard's: how the store's threads reach it */
    struct msg_pool *msgs;   /* the shard's: what replay, fetch and read make messages from */
    int64_t clock;           /* wall - mono; set by the shard between open and replay */
    mono_ms now;             /* of this turn; set by the shard */
    wall_ms stamp;           /* set by open: the newest time in the log; 0: it is empty */
    struct store_stats stats;
};

/* store_wall, store_mono: a time of this life in records, and a time from a record in this life (at least 1, for 0 says
 * "never"). */
static inline wall_ms store_wall(const struct store *s, mono_ms at)
{
    return (wall_ms)((int64_t)at + s->clock);
}

static inline mono_ms store_mono(const struct store *s, wall_ms at)
{
    int64_t t = (int64_t)at - s->clock;
    return t > 0 ? (mono_ms)t : 1;
}

/* The slots of a turn, called by name. */
static inline enum err store_reserve(struct store *s, uint64_t bytes)
{
    return s->ops->reserve(s, bytes);
}

static inline lsn_t store_append(struct store *s, const struct store_rec *rec)
{
    return s->ops->append(s, rec);
}

static inline mono_ms store_submit(struct store *s, mono_ms now)
{
    return s->ops->submit(s, now);
}

#endif
