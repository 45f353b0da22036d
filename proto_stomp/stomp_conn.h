/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_CONN_H
#define WEIR_STOMP_CONN_H

/*
 * stomp_conn.h: private to the STOMP adapter: what it keeps per connection, and what its files ask of each other.
 *
 *     stomp_adapter.c     bytes to frames to the functions below; heart-beats; the end
 *     stomp_login.c       CONNECT, CONNECTED
 *     stomp_send.c        SEND
 *     stomp_subscribe.c   SUBSCRIBE, UNSUBSCRIBE
 *     stomp_deliver.c     MESSAGE
 *     stomp_ack.c         ACK, NACK
 *     stomp_receipt.c     RECEIPT: what the broker's verbs answer
 *     stomp_error.c       ERROR: every text
 *     stomp_attrs.c       headers of SEND to attributes of the message to headers of MESSAGE; pure
 */

#include "core/base/map.h"
#include "core/broker.h"
#include "core/conn.h"
#include "core/limits.h"
#include "proto_stomp/stomp_dest.h"
#include "proto_stomp/stomp_error.h"
#include "proto_stomp/stomp_wire.h"

enum stomp_phase {
    STOMP_FRESH,   /* CONNECT has to come */
    STOMP_LOGIN,   /* CONNECT went to the broker, which has not answered yet: later frames wait */
    STOMP_READY,   /* CONNECTED was said */
    STOMP_LEAVING, /* DISCONNECT came: what is owed is still said, nothing is listened to */
};

/* The beginning of a MESSAGE as it was last written for a subscription: command, subscription, destination and the
 * front half of message-id. One allocation: source[source_len] · frame[n]. */
struct stomp_head {
    uint8_t *p; /* NULL: none yet */
    uint32_t cap, source_len;
    uint32_t n, bound; /* as in struct stomp_writer */
    bool is_encoded;
    bool is_own; /* source: the sender's own destination; false: a topic, rendered for this subscription */
};

/* One subscription. owner: stomp_conn.subs; core's consumer points to it by `up`. */
struct stomp_sub {
    struct consumer *consumer; /* NULL until the broker agreed, and after its queue was deleted */
    struct stomp_head head;
    uint32_t key_len, dest_len;
    uint8_t style; /* enum stomp_dest_style: for topics that have no destination of their own */
    bool is_topic; /* false: messages without a destination of their own came from `dest` */
    bool has_id;
    uint8_t bytes[]; /* key: 'i' and id, or 'd' and destination (1.0 without id) · destination */
};

static inline struct slice stomp_sub_key(const struct stomp_sub *s)
{
    return slice_make(s->bytes, s->key_len);
}

static inline struct slice stomp_sub_id(const struct stomp_sub *s)
{
    return slice_make(s->bytes + 1, s->key_len - 1);
}

static inline struct slice stomp_sub_dest(const struct stomp_sub *s)
{
    return slice_make(s->bytes + s->key_len, s->dest_len);
}

/* Where a SEND goes: the last one is kept, so that the next message to the same destination parses nothing. All views
 * point into bytes[]. */
struct stomp_place {
    struct exchange *exchange; /* a built-in one */
    struct slice dest;         /* as the sender spelled it */
    struct slice topic;        /* key or queue name */
    struct slice attrs;        /* one ATTR_DESTINATION record: the attributes of a message without headers of its own */
    bool is_queue, is_declared /* by every SEND; false: it has to be there */;
    uint8_t bytes[];
};

/* Receipt ids that were asked for and not answered yet, in order: {u16 length, bytes} ... */
struct stomp_fifo {
    uint8_t *p;
    uint32_t at, len, cap;
};

/* The adapter's state of one connection: too large for struct conn, which has a pointer to it. */
struct stomp_conn {
    struct stomp_scan scan;
    struct map subs; /* stomp_sub by key */
    struct stomp_fifo receipts;
    struct stomp_place *place; /* the last SEND's, or NULL */
    uint64_t message_n;        /* MESSAGE frames so far: makes message-id unique */
    mono_ms paused_at;         /* when our own brake on reading was last seen */
    uint32_t beat_in_ms;       /* heart-beats agreed on; 0: none */
    uint32_t beat_out_ms;
    uint8_t version; /* enum stomp_version; 1.0 until CONNECT was read */
    uint8_t phase;   /* enum stomp_phase */
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

#define STOMP_DIALECT STOMP_DIALECT_MERGED /* later an option of the virtual host */

/* ---- stomp_adapter.c ------------------------------------------------------------------------------------------ */

/* stomp_nomem: the connection ends for want of memory. */
void stomp_nomem(struct conn *c);

/* ---- stomp_login.c --------------------------------------------------------------------------------------------- */

void stomp_connect_in(struct conn *c, const struct stomp_frame *f);
void stomp_on_attached(struct conn *c, const struct attached *a);

/* ---- stomp_send.c ---------------------------------------------------------------------------------------------- */

void stomp_send_in(struct conn *c, const struct stomp_frame *f);

/* stomp_fault_from_why: what a destination that was refused is told. */
enum stomp_fault stomp_fault_from_why(enum stomp_dest_why why);

/* stomp_is_reserved_level: is this first level of a topic a name that means something else to the broker ($share,
 * $queue, $exchange, $delayed)? */
bool stomp_is_reserved_level(struct slice level);

/* ---- stomp_subscribe.c ----------------------------------------------------------------------------------------- */

struct slice stomp_sub_map_key(const void *item);
void stomp_subscribe_in(struct conn *c, const struct stomp_frame *f);
void stomp_unsubscribe_in(struct conn *c, const struct stomp_frame *f);
void stomp_on_consumer_gone(struct conn *c, struct consumer *k);
/* stomp_subs_cancel: no more deliveries: DISCONNECT came. */
void stomp_subs_cancel(struct conn *c);
/* stomp_subs_free: the records; core has ended the consumers. */
void stomp_subs_free(struct conn *c);

/* ---- stomp_deliver.c ------------------------------------------------------------------------------------------- */

enum err stomp_on_deliver(struct conn *c, const struct delivery *d);

/* ---- stomp_ack.c ----------------------------------------------------------------------------------------------- */

void stomp_ack_in(struct conn *c, const struct stomp_frame *f);

/* ---- stomp_receipt.c ------------------------------------------------------------------------------------------- */

enum stomp_receipt_kind { STOMP_FOR_SEND, STOMP_FOR_SUBSCRIBE, STOMP_FOR_OTHER, STOMP_FOR_GOODBYE };

enum {
    STOMP_RECEIPT_HAS_ID = 0x100, /* its id is in the fifo */
    STOMP_RECEIPT_ASKS = 0x200,   /* SEND reject:receipt */
};

/* stomp_receipt_ask: remembers the frame's receipt header; *out is the number to give to the verb, RECEIPT_NONE when
 * nobody wants to know. False: out of memory, the connection ends. STOMP 1.2 §Header receipt */
bool stomp_receipt_ask(struct conn *c, const struct stomp_frame *f, enum stomp_receipt_kind kind, uint64_t *out);

/* stomp_answer: for frames that change nothing durable themselves: RECEIPT, if asked for, after all that came before.
 */
void stomp_answer(struct conn *c, const struct stomp_frame *f);

void stomp_on_settled(struct conn *c, uint64_t receipt, enum err result);

#endif
