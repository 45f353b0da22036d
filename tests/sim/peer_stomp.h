/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_PEER_STOMP_H
#define WEIR_TESTS_PEER_STOMP_H

/*
 * peer_stomp.h: a simulated STOMP peer, 1.0 to 1.2: subscriptions to topics and queues in the three ack modes, SEND
 * with and without receipt, ACK and NACK, heart-beats, and all the ways to leave. It checks that receipts come in
 * order, that prefetch is kept and that the broker's heart beats.
 */

#include <stdbool.h>
#include <stdint.h>

#include "proto_stomp/stomp_wire.h"
#include "tests/sim/world.h"

enum stomp_peer_state {
    STOMP_PEER_OFF,
    STOMP_PEER_CONNECTING,
    STOMP_PEER_ON,
    STOMP_PEER_SILENT,  /* its heart stopped */
    STOMP_PEER_LEAVING, /* DISCONNECT sent */
};

enum stomp_ack { STOMP_ACK_AUTO, STOMP_ACK_CLIENT, STOMP_ACK_EACH };

struct stomp_sub {
    uint32_t id;
    struct box *box;   /* of a topic subscription */
    uint32_t queue;    /* index + 1 of a named queue; 0: a topic */
    uint32_t prefetch; /* 0: none */
    uint32_t model_sub;
    uint8_t ack;  /* enum stomp_ack */
    bool is_over; /* UNSUBSCRIBE was sent; what is on the way still comes */
};

#define STOMP_ID_MAX 64u

struct stomp_held { /* a delivery that wants an answer */
    uint32_t sub;   /* its id */
    uint32_t pub;
    uint32_t take; /* queues: in the model */
    uint8_t id_len, message_id_len;
    uint8_t id[STOMP_ID_MAX], message_id[STOMP_ID_MAX];
};

enum stomp_owed_kind { OWED_SEND, OWED_SUBSCRIBE, OWED_UNSUBSCRIBE, OWED_OTHER, OWED_DISCONNECT, OWED_COMMIT };

struct stomp_owed { /* a receipt we wait for, in order */
    uint32_t number;
    uint8_t kind;
    uint32_t ref; /* SEND: pub; SUBSCRIBE: sub id; COMMIT: transaction in the model */
};

struct stomp_said {   /* something sent without a receipt of its own: the next one speaks for it */
    uint32_t ref;     /* pub or take */
    uint32_t receipt; /* the first that was asked for with it or later */
};

/* owner: world */
struct peer_stomp {
    struct link link; /* first */
    struct world *w;
    char name[16];
    uint32_t number; /* publisher: number * 1000 + connection: order is only promised within one connection */
    enum stomp_version v;
    enum stomp_peer_state state;
    struct stomp_scan scan;
    uint32_t can_ms, wants_ms; /* heart-beats: what we send at least, what the broker has to; 0: none */
    mono_ms said_at, silent_at;
    uint32_t connections, next_id, next_receipt;
    struct stomp_sub *sub;
    struct stomp_held *held; /* in the order of delivery */
    struct stomp_owed *owed;
    struct stomp_said *loose; /* SENDs without a receipt */
    struct stomp_said *acked; /* takes whose ACK was sent */
    uint32_t sub_n, sub_cap, held_n, held_cap, owed_n, owed_cap, loose_n, loose_cap, acked_n, acked_cap;
    struct sim_event tick;
    struct sim_event beat;
    bool is_drainer, has_subscribed;
};

struct peer_stomp *peer_stomp_new(struct world *w, uint32_t number) MUST_CHECK;
/* peer_stomp_new_drainer: one that consumes all named queues until they are empty. */
struct peer_stomp *peer_stomp_new_drainer(struct world *w) MUST_CHECK;
void peer_stomp_free(struct peer_stomp *p);

void peer_stomp_act(struct peer_stomp *p);
/* peer_stomp_drain: answers everything, does nothing new. True when nothing is open any more. */
bool peer_stomp_drain(struct peer_stomp *p);

/* peer_stomp_transact: a transaction from BEGIN to its end, which may be that of the connection, at any byte
 * (peer_stomp_tx.c). */
void peer_stomp_transact(struct peer_stomp *p);

/* ---- between peer_stomp.c (what it does) and peer_stomp_in.c (what it hears) ---------------------------------------
 */

extern const struct link_ops peer_stomp_link_ops;

struct stomp_sub *peer_stomp_sub(struct peer_stomp *p, uint32_t id);
void peer_stomp_plan_tick(struct peer_stomp *p, mono_ms in_ms);
void peer_stomp_start_beats(struct peer_stomp *p);
void peer_stomp_is_off(struct peer_stomp *p);
void peer_stomp_begin(struct peer_stomp *p, struct stomp_writer *w, enum stomp_command c, size_t body);
/* peer_stomp_end: head: of stomp_write_end. */
void peer_stomp_end(struct peer_stomp *p, struct stomp_writer *w, ptrdiff_t head, const uint8_t *body, size_t body_len);
void peer_stomp_ask(struct peer_stomp *p, struct stomp_writer *w, enum stomp_owed_kind kind, uint32_t ref);
void peer_stomp_out(struct peer_stomp *p);
void peer_stomp_leave_badly(struct peer_stomp *p);

#endif
