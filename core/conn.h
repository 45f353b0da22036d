/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_CONN_H
#define WEIR_CORE_CONN_H

/*
 * conn.h: how: one connection: transport below, adapter above, buffers between. Knows who (session) by pointer only.
 * An idle connection owns no buffer.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/adapter.h"
#include "core/base/chunk.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/outv.h"
#include "core/base/wheel.h"
#include "core/close.h"
#include "core/transport.h"

struct shard;
struct session;
struct exchange;
struct route;
struct upgrade;

/* What a listener allows; shared by its connections, outlives them. owner: app */
struct door {
    const struct adapter_ops *const *adapter; /* NULL-terminated: protocols served here */
    const char *name;                         /* "127.0.0.1:1883", for logs */
    const struct upgrade *upgrade; /* how HTTP becomes WebSocket here (transport/http_upgrade.h); NULL: not */
    const char *server_reference;  /* MQTT 5 Server Reference: who serves instead; NULL: nobody */
    bool allow_anonymous;          /* a login without credentials is accepted */
    bool is_lenient;               /* some breaches of MQTT that real devices commit are overlooked */
    bool has_moved;                /* nobody is served here any more: see server_reference */
    bool has_qos_cap;              /* qos_cap holds */
    uint8_t qos_cap;               /* highest QoS publishers here may use, and subscribers are granted */
};

enum conn_state {
    CONN_OPEN,      /* reading and writing */
    CONN_LINGERING, /* last words are being sent, then shut; input is read and thrown away */
    CONN_DEAD,      /* in the graveyard */
};

/* A receipt owed, in order. */
struct owed {
    lsn_t lsn;
    uint64_t receipt;
    enum err result;
    struct consumer *held; /* gets its first delivery after this receipt, or NULL */
};

struct owed_ring {
    struct list_node node; /* shard->owing */
    struct conn *conn;
    struct owed *v;
    uint32_t first, n, cap; /* cap: a power of two */
};

#define RECEIPT_ATTACH (UINT64_MAX - 1) /* core's own: on_attached is owed */

/* Core's own: on_release is owed for this ticket (1 .. 65535). */
#define RECEIPT_RELEASE_FIRST   (UINT64_MAX - 16 - UINT16_MAX)
#define RECEIPT_RELEASE(ticket) (RECEIPT_RELEASE_FIRST + (ticket))

enum { CONN_STATE_BYTES = 32 /* of the adapter's, inside struct conn */, CONN_LITTLE_BYTES = 4096 };

/* owner: shard; freed: graveyard. What a delivery touches stands first. 192 bytes, three cache lines. */
struct conn {
    struct shard *shard;
    const struct adapter_ops *adapter; /* NULL until the first bytes were claimed */
    struct session *session;
    struct outv *out;         /* NULL: nothing to say */
    mono_ms tx_at : 48;       /* last bytes sent; until the login (awaits_login): when that is due */
    mono_ms state_now : 8;    /* enum conn_state */
    mono_ms reason : 8;       /* enum close_reason */
    mono_ms rx_at : 48;       /* last bytes read */
    mono_ms ready_events : 8; /* LOOP_READ | LOOP_WRITE seen */
    mono_ms interest : 8;     /* asked of the transport */
    struct conn *dirty_next;  /* shard's list of what has something to send, or to end */
    uint8_t is_ready : 1, is_dirty : 1, is_blocked : 1, is_gone : 1 /* the peer cannot read any more */, is_closing : 1,
        logged_in : 1, awaits_login : 1 /* no login was accepted yet */, is_shut : 1;
    uint8_t has_ended : 1, is_eof : 1, attach_present : 1, attach_assigned : 1, attach_wait : 1, attach_late : 1,
        feed_again : 1 /* attach_...: for the answer of broker_attach */, is_paused : 1;
    uint8_t has_rate : 1 /* its session has brakes */, reads_little : 1 /* it was paused once */, may_peek : 1,
        lost_settle : 1 /* the store could not note an answer of it */;
    uint32_t route_serial;
    _Alignas(8) uint8_t state[CONN_STATE_BYTES]; /* the adapter's */
    const struct route *route;                   /* last topic's route and its serial */
    struct transport *transport;
    struct chunk *rx;       /* a partial packet: rx->p[0..rx_len), NULL: none */
    uint32_t rx_len;        /* bytes held */
    uint32_t rx_need;       /* bytes the pending packet has in all, 0: unknown */
    struct owed_ring *owed; /* NULL: no receipt waits */
    struct conn *ready_next;
    const struct door *door;
    struct list_node all; /* shard->conns, or the graveyard */
    struct wtimer timer;
};

_Static_assert(sizeof(void *) > 8 || sizeof(struct conn) <= 192, "an idle connection has grown");

/* ---- for adapters ------------------------------------------------------------------------------------------- */

static inline void *conn_state(const struct conn *c)
{
    return (void *)(uintptr_t)c->state;
}

/* conn_out: where to put bytes for the peer; marks the connection dirty, so it is flushed at the end of the turn. NULL
 * when out of memory (the connection is then being closed). The pointer is good until the next verb: ask again after
 * it. */
struct outv *conn_out_new(struct conn *c) MUST_CHECK;
static inline struct outv *conn_out(struct conn *c)
{
    return LIKELY(c->out && c->is_dirty) ? c->out : conn_out_new(c);
}

/* conn_chunk: the reference that input slices of the running on_bytes live in, for msgview.owner; NULL: must be copied.
 */
struct ref *conn_chunk(const struct conn *c);

/* conn_need: the pending packet has `total` bytes in all (from the first byte not eaten): lets the reader allocate
 * once. */
static inline void conn_need(struct conn *c, size_t total)
{
    c->rx_need = (uint32_t)MIN(total, (size_t)UINT32_MAX);
}

/* conn_close: ends the connection at the end of this turn: on_close for last words, flush, shut, linger. The first
 * reason wins. on_bytes is not called again. */
void conn_close(struct conn *c, enum close_reason why);

static inline bool conn_is_closing(const struct conn *c)
{
    return c->is_closing;
}

/* conn_can_say: would the peer still read last words? False after EOF/RESET and before an adapter claimed it. */
bool conn_can_say(const struct conn *c);

/* conn_is_blocked: is so much output waiting that deliveries should stay in their queues? Remembers to wake the
 * session's queues when it has been sent. */
bool conn_is_blocked(struct conn *c);

/* conn_hush: its peer has said goodbye: it gets no more deliveries. What it has not answered stays its own until the
 * connection ends. */
static inline void conn_hush(struct conn *c)
{
    c->logged_in = 0;
}

/* conn_pause: it is not read for the next `ms`: it is ahead of a rate limit (core/brake.h). While it owes us answers to
 * deliveries, a little is read every second, for they may be among what waits. */
void conn_pause(struct conn *c, mono_ms ms);

/* conn_restack: from within on_bytes: from now on the connection speaks through `upper`, a pipe that stands on its
 * present one (which belongs to `upper` from now on), and belongs to `next`: the present adapter's state is destroyed,
 * next is opened. The caller has eaten all input (what lies behind its last word went to `upper`), returns at once, and
 * has left nothing in conn_out(): what it still had to say went to `upper`, too. */
void conn_restack(struct conn *c, struct transport *upper, const struct adapter_ops *next);

/* conn_wants_tick: on_tick wants to be called at `due` (earlier than it last said). */
void conn_wants_tick(struct conn *c, mono_ms due);

/* conn_now: this turn's time; conn_wall: the date, for absolute times only. */
mono_ms conn_now(const struct conn *c);
wall_ms conn_wall(const struct conn *c);

struct mem;
struct log;
struct limits;
struct mem *conn_mem(struct conn *c); /* account for adapter allocations */
struct log *conn_log(struct conn *c);
const struct limits *conn_limits(const struct conn *c);

/* conn_peer: for logs; writes at most cap bytes. */
void conn_peer(struct conn *c, char *out, size_t cap);

/* ---- for core and listeners --------------------------------------------------------------------------------- */

/* conn_new: takes over the transport (also on failure: it is destroyed). The adapter is found by the first bytes. NULL
 * when out of memory or at max_connections. */
struct conn *conn_new(struct shard *s, struct transport *t, const struct door *d);

/* conn_on_io: transport->on_ready of every connection: notes it on the shard's ready list. */
void conn_on_io(struct transport *t, unsigned events);

/* conn_read: step 2: reads within the budget and feeds the adapter (or throws away, while lingering). True when the
 * budget ended before the input. */
bool conn_read(struct conn *c);

/* conn_feed_again: the adapter may go on with input it left uneaten: next turn, without waiting for more. */
void conn_feed_again(struct conn *c);

/* conn_flush: step 5: offers all output to the transport once; arms WRITE for the rest. */
void conn_flush(struct conn *c);

/* conn_owe: a verb's receipt: answered now if nothing is owed before it and `lsn` is durable, else kept in order. */
void conn_owe(struct conn *c, uint64_t receipt, enum err result, lsn_t lsn);
/* conn_hold: the receipt just owed is the one of k's subscription: while it waits, k gets no deliveries.
 * conn_forget_consumer: k was cancelled meanwhile. */
void conn_hold(struct conn *c, struct consumer *k);
void conn_forget_consumer(struct conn *c, const struct consumer *k);
/* conn_unhold: the session parts from this connection: nobody waits for its receipts any more. */
void conn_unhold(struct conn *c);
/* conn_owe_known: dead letters have gone on: receipts that were owed at LSN_LATER wait for what has been appended. */
void conn_owe_known(struct shard *s);

/* conn_pay: answers what became durable. */
void conn_pay(struct conn *c, lsn_t durable);

/* conn_forget_receipts: none will be answered any more. */
void conn_forget_receipts(struct conn *c);

/* conn_set_rate: at the login: max_publish_rate and max_publish_bytes_rate hold from now on. ERR_NOMEM. conn_slow: it
 * published n messages of so many bytes in all to x; pauses it when that was more than it may. Only of use where
 * c->has_rate or x->has_brake. */
enum err conn_set_rate(struct conn *c) MUST_CHECK;
void conn_slow(struct conn *c, struct exchange *x, uint64_t n, uint64_t bytes);
/* conn_pause_due, conn_pause_tick: while is_paused: when its timer must fire; it did. conn_want: of the transport. */
mono_ms conn_pause_due(const struct conn *c);
void conn_pause_tick(struct conn *c, mono_ms now);
void conn_want(struct conn *c, unsigned interest);

/* conn_tick: its timer fired. */
void conn_tick(struct conn *c, mono_ms now);

/* conn_end: step 5 for a closing connection: last words, detach from the session, then linger or die. */
void conn_end(struct conn *c);
/* conn_die: into the graveyard, at once. */
void conn_die(struct conn *c);
/* conn_free: the graveyard's half. */
void conn_free(struct conn *c);

#endif
