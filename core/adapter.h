/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_ADAPTER_H
#define WEIR_CORE_ADAPTER_H

/*
 * adapter.h: the seam to protocols. An adapter turns bytes into broker verbs (core/broker.h) and events into bytes. It
 * is sans-IO: it sees bytes and fills the connection's outv (conn_out), and never touches a socket, a file, a clock or
 * another connection. Time comes in as an argument.
 *
 * Order of life of one connection:
 *
 *     claims* ─► open ─► on_bytes* ─► [broker_attach] on_attached ─► on_bytes, on_deliver, on_release, on_settled,
 * on_tick * ─► on_close ─► destroy
 *
 * Thread: the shard's own. Slots may call any verb of core/broker.h and core/conn.h on their own connection, except
 * where noted. No slot blocks. No slot frees the connection: conn_close only marks it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/close.h"

struct conn;
struct consumer;
struct msgview;
struct binding_set;

enum claim { CLAIM_NO, CLAIM_MORE, CLAIM_YES };

#define CLAIM_BYTES_MAX 16u /* a decision must be possible on this many bytes */

/* One delivery to one consumer. All views live until the slot returns. */
struct delivery {
    const struct msgview *msg;
    const struct binding_set *set; /* {qos cap, retain-as-published, subscription ids} */
    struct consumer *consumer;
    mono_ms now;       /* for the remaining expiry */
    uint32_t ticket;   /* 1.. when an acknowledgement is expected (packet id, delivery tag); 0: fire and forget */
    uint16_t attempts; /* earlier deliveries of this entry, saturating */
    uint8_t qos;       /* effective, 0..2 */
    bool retain;       /* the MQTT RETAIN flag to send: retained replay, or retain-as-published */
    bool is_retained;  /* from a retained replay */
    bool redelivered;  /* somebody was sent it before */
    bool is_resent;    /* this session was sent it before, under this ticket: MQTT's DUP */
};

/* The answer to broker_attach. */
struct attached {
    enum err result; /* ERR_OK, ERR_DENIED, ERR_NOMEM, ERR_FULL (max_sessions), ERR_STORE */
    bool session_present;
    struct slice assigned_id; /* the id the broker made up, or empty */
    uint32_t expiry_s;        /* granted */
};

struct adapter_ops {
    const char *name; /* "mqtt", "stomp": in logs, options and start-up lines */

    /* claims: do these first bytes (len >= 1, leading line ends removed) look like mine? At CLAIM_BYTES_MAX bytes MORE
     * counts as NO. Pure. */
    enum claim (*claims)(const uint8_t *first, size_t len);

    /* open: the connection is this adapter's; the CONN_STATE_BYTES at conn_state(c) are zero and the adapter's own
     * until destroy: what is larger hangs off them. ERR_NOMEM closes it. */
    enum err (*open)(struct conn *);

    /* on_bytes: in[len] are all bytes not eaten so far. Handles every whole packet in it and returns the bytes eaten
     * (0..len); the rest comes again with more behind it. conn_need() may announce how many bytes the next packet has.
     * Must stop early once conn_is_closing(). Faults: the adapter itself puts last words into the outv and calls
     * conn_close(), then returns len. `in` is gone when it returns, except through conn_chunk() references. */
    size_t (*on_bytes)(struct conn *, const uint8_t *in, size_t len);

    /* on_attached: the session is there (or not: result). Called from within broker_attach or later, once. */
    void (*on_attached)(struct conn *, const struct attached *);

    /* on_deliver: encode one delivery into conn_out(). ERR_OK; ERR_TOO_BIG: cannot be expressed to this peer: core
     * settles it and counts DROP_TOO_BIG; ERR_NOMEM: conn_out() gave NULL. Nothing may have been written then. Must not
     * call verbs or conn_close. */
    enum err (*on_deliver)(struct conn *, const struct delivery *);

    /* on_release: QoS 2 only: send PUBREL for this ticket (again, after a resume). */
    void (*on_release)(struct conn *, uint32_t ticket);

    /* on_settled: the answer to a verb that was given `receipt`, in the order of the verbs: durable if it had to be.
     * Called from within the verb or later. Results: see each verb. Must not call verbs. */
    void (*on_settled)(struct conn *, uint64_t receipt, enum err result);

    /* on_consumer_gone: core cancelled this consumer (its queue was deleted). c is freed after the call. May be NULL.
     */
    void (*on_consumer_gone)(struct conn *, struct consumer *c);

    /* on_tick: time has come (login, keep-alive, heart-beat). Returns when it wants to be called next, MONO_NEVER for
     * not at all. Also called once right after open. conn_rx_at / conn_tx_at tell the last traffic. */
    mono_ms (*on_tick)(struct conn *, mono_ms now);

    /* on_close: last words may go into the outv (DISCONNECT 0x8B, ERROR); may be called without a session. Called
     * exactly once for every opened connection, whoever closed it; conn_can_say() is false when nobody would read it.
     */
    void (*on_close)(struct conn *, enum close_reason);

    /* destroy: free what hangs off the state, also after a failed open. The session is already detached. */
    void (*destroy)(struct conn *);
};

#endif
