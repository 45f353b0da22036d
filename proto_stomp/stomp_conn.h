/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_CONN_H
#define WEIR_STOMP_CONN_H

/*
 * stomp_conn.h: private to the STOMP adapter: what it keeps per connection, and what its files ask of each other.
 *
 *     stomp_adapter.c     bytes to frames to the functions below; heart-beats; the end
 *     stomp_login.c       CONNECT, CONNECTED
 *     stomp_send.c        SEND
 *     stomp_subscribe.c   SUBSCRIBE; stomp_request.c: what it says
 *     stomp_unsubscribe.c UNSUBSCRIBE
 *     stomp_durable.c     whose a durable subscription is
 *     stomp_sub.c         the records of subscriptions
 *     stomp_temp.c        temporary queues for answers
 *     stomp_queue_args.c  queue arguments from headers; pure
 *     stomp_deliver.c     MESSAGE
 *     stomp_ack.c         ACK, NACK
 *     stomp_tx.c          BEGIN, COMMIT, ABORT
 *     stomp_manage.c      SEND to /manage/: exchanges, queues, bindings, credit
 *     stomp_receipt.c     RECEIPT: what the broker's verbs answer
 *     stomp_error.c       ERROR: every text
 *     stomp_attrs.c       headers of SEND to attributes of the message to headers of MESSAGE; pure
 */

#include "core/base/map.h"
#include "core/broker.h"
#include "core/conn.h"
#include "core/limits.h"
#include "core/shard.h"
#include "core/tx.h"
#include "proto_stomp/stomp_dest.h"
#include "proto_stomp/stomp_error.h"
#include "proto_stomp/stomp_sub.h"
#include "proto_stomp/stomp_wire.h"

enum stomp_phase {
    STOMP_FRESH,   /* CONNECT has to come */
    STOMP_LOGIN,   /* CONNECT went to the broker, which has not answered yet: later frames wait */
    STOMP_READY,   /* CONNECTED was said */
    STOMP_LEAVING, /* DISCONNECT came: what is owed is still said, nothing is listened to */
};

/* Where a SEND goes: the last one is kept, so that the next message to the same destination parses nothing. All views
 * point into bytes[]. */
struct stomp_place {
    struct exchange *exchange; /* held; is_dead: deleted meanwhile */
    struct slice dest;         /* as the sender spelled it */
    struct slice topic;        /* key or queue name */
    struct slice attrs;        /* one ATTR_DESTINATION record: the attributes of a message without headers of its own */
    bool is_queue;
    bool is_declared; /* by every SEND */
    bool is_needed;   /* it has to be there */
    uint8_t bytes[];
};

/* Receipt ids that were asked for and not answered yet, in order: {u16 length, bytes} ... */
struct stomp_fifo {
    uint8_t *p;
    uint32_t at, len, cap;
};

struct stomp_tx;

/* The adapter's state of one connection: too large for struct conn, which has a pointer to it. */
struct stomp_conn {
    struct stomp_scan scan;
    struct map subs; /* stomp_sub by key */
    struct stomp_fifo receipts;
    struct stomp_place *place; /* the last SEND's, or NULL */
    struct stomp_fifo refused; /* who refused what is not answered yet: {u64 receipt, name} ... */
    struct stomp_tx *txs;      /* open transactions, the one used last in front */
    struct slice about;        /* what the running verb is about, for an ERROR; empty: nothing to say */
    uint64_t receipt_n;        /* receipts asked of core so far */
    uint64_t refusal_said;     /* the last receipt that was answered with no */
    uint32_t tx_n;
    uint64_t message_n;  /* MESSAGE frames so far: makes message-id unique */
    mono_ms paused_at;   /* when our own brake on reading was last seen */
    uint32_t beat_in_ms; /* heart-beats agreed on; 0: none */
    uint32_t beat_out_ms;
    uint8_t version;    /* enum stomp_version; 1.0 until CONNECT was read */
    uint8_t phase;      /* enum stomp_phase */
    uint8_t send_flags; /* of every message: MSG_... */
    uint8_t *who;       /* stomp_durable.c: who_len bytes; NULL: nobody with a name */
    uint32_t who_len;
    bool had_login, has_erred;
};

/* stomp_state: NULL only after an open without memory. */
static inline struct stomp_conn *stomp_state(const struct conn *c)
{
    return *(struct stomp_conn **)conn_state(c);
}

enum {
    STOMP_BEAT_MIN_MS = 250,
    STOMP_TICKET_MAX = 1000000,
};

/* stomp_dialect: what separates the levels of /topic/ here; an option. */
static inline enum stomp_dialect stomp_dialect(const struct conn *c)
{
    return (enum stomp_dialect)c->shard->config.topic_dialect;
}

/* ---- stomp_adapter.c ------------------------------------------------------------------------------------------ */

/* stomp_nomem: the connection ends for want of memory. */
void stomp_nomem(struct conn *c);

/* ---- stomp_login.c --------------------------------------------------------------------------------------------- */

void stomp_connect_in(struct conn *c, const struct stomp_frame *f);
void stomp_on_attached(struct conn *c, const struct attached *a);

/* ---- stomp_send.c ---------------------------------------------------------------------------------------------- */

void stomp_send_in(struct conn *c, const struct stomp_frame *f);

/* stomp_place_free: NULL is fine. */
void stomp_place_free(struct conn *c, struct stomp_place *p);

/* stomp_fault_from_why: what a destination that was refused is told. */
enum stomp_fault stomp_fault_from_why(enum stomp_dest_why why);

/* stomp_is_reserved_level: is this first level of a topic a name that means something else to the broker ($share,
 * $queue, $exchange, $delayed)? */
bool stomp_is_reserved_level(struct slice level);

/* ---- stomp_subscribe.c ----------------------------------------------------------------------------------------- */

void stomp_subscribe_in(struct conn *c, const struct stomp_frame *f);

/* ---- stomp_unsubscribe.c --------------------------------------------------------------------------------------- */

void stomp_unsubscribe_in(struct conn *c, const struct stomp_frame *f);

/* ---- stomp_deliver.c ------------------------------------------------------------------------------------------- */

enum err stomp_on_deliver(struct conn *c, const struct delivery *d);

/* ---- stomp_ack.c ----------------------------------------------------------------------------------------------- */

void stomp_ack_in(struct conn *c, const struct stomp_frame *f);

/* ---- stomp_tx.c ------------------------------------------------------------------------------------------------ */

void stomp_begin_in(struct conn *c, const struct stomp_frame *f);
void stomp_commit_in(struct conn *c, const struct stomp_frame *f);
void stomp_abort_in(struct conn *c, const struct stomp_frame *f);

/* stomp_tx_of: the open transaction that the frame's header names. NULL: ERROR was said. */
struct stomp_tx *stomp_tx_of(struct conn *c, const struct stomp_frame *f);

/* stomp_tx_publish, stomp_tx_settle: what f does is part of t: RECEIPT when t has it, or ERROR. */
void stomp_tx_publish(struct conn *c, const struct stomp_frame *f, struct stomp_tx *t, struct publish *p);
void stomp_tx_settle(struct conn *c, const struct stomp_frame *f, struct stomp_tx *t, uint32_t ticket, enum outcome o,
                     bool until);

/* stomp_txs_abort: all that are open: the connection ends. */
void stomp_txs_abort(struct conn *c);

/* ---- stomp_manage.c -------------------------------------------------------------------------------------------- */

/* stomp_manage_in: SEND to /manage/<verb>. */
void stomp_manage_in(struct conn *c, const struct stomp_frame *f, struct slice verb);

/* ---- stomp_receipt.c ------------------------------------------------------------------------------------------- */

/* What was asked for, as far as it says what an answer means. */
enum stomp_receipt_kind {
    STOMP_FOR_SEND, /* or COMMIT */
    STOMP_FOR_SUBSCRIBE,
    STOMP_FOR_OTHER,  /* cannot fail, so nobody is told who did not ask */
    STOMP_FOR_DELETE, /* ERR_FULL: it is used */
    STOMP_FOR_BIND,   /* ERR_FULL: there are too many */
    STOMP_FOR_GOODBYE,
};

enum {
    STOMP_RECEIPT_HAS_ID = 0x100, /* its id is in the fifo */
    STOMP_RECEIPT_ASKS = 0x200,   /* reject:receipt */
    STOMP_RECEIPT_SAYS = 0x400,   /* behind its id: a header that the RECEIPT has besides */
    STOMP_RECEIPT_SHIFT = 16,     /* above: a number of its own */
};

/* stomp_receipt_ask: remembers the frame's receipt header; *out is the number to give to the verb, RECEIPT_NONE when
 * nobody wants to know. False: out of memory, the connection ends. STOMP 1.2 §Header receipt */
bool stomp_receipt_ask(struct conn *c, const struct stomp_frame *f, enum stomp_receipt_kind kind, uint64_t *out);

/* stomp_receipt_say: the same for a RECEIPT with one more header, of any name. */
struct stomp_saying {
    struct slice name, value;
};
bool stomp_receipt_say(struct conn *c, const struct stomp_frame *f, enum stomp_receipt_kind kind,
                       const struct stomp_saying *says, uint64_t *out);

/* stomp_answer: for frames that change nothing durable themselves: RECEIPT, if asked for, after all that came before.
 */
void stomp_answer(struct conn *c, const struct stomp_frame *f);

/* stomp_refused_keep: the verb with this receipt has returned, and a queue refused it: should the receipt be answered
 * later, that queue is named. */
void stomp_refused_keep(struct conn *c, uint64_t receipt);

void stomp_on_settled(struct conn *c, uint64_t receipt, enum err result);

#endif
