/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_CONN_H
#define WEIR_MQTT_CONN_H

/*
 * mqtt_conn.h: private to the MQTT adapter: what it keeps per connection, and what its files ask of each other.
 *
 *     mqtt_adapter.c      bytes to packets to the functions below; keep-alive; closing
 *     mqtt_login.c        CONNECT, CONNACK
 *     mqtt_publish_in.c   PUBLISH and PUBREL from the peer
 *     mqtt_deliver.c      PUBLISH and PUBREL to the peer, and its PUBACK, PUBREC, PUBCOMP
 *     mqtt_subscribe.c    SUBSCRIBE, UNSUBSCRIBE and their answers
 *     mqtt_receipt.c      receipts: what the broker's verbs answer becomes PUBACK, PUBREC, PUBCOMP
 */

#include "core/broker.h"
#include "core/conn.h"
#include "core/limits.h"
#include "proto_mqtt/mqtt_wire.h"

enum mqtt_phase {
    MQTT_FRESH, /* CONNECT has to come */
    MQTT_LOGIN, /* CONNECT went to the broker, which has not answered yet: later packets wait */
    MQTT_READY, /* CONNACK said yes */
};

/* The answer to one SUBSCRIBE or UNSUBSCRIBE while its filters are with the broker. owner: the connection's list */
struct mqtt_subs {
    struct mqtt_subs *next;
    uint32_t n;
    uint16_t packet_id;
    uint8_t type;   /* MQTT_SUBACK or MQTT_UNSUBACK */
    uint8_t code[]; /* [n] what will be answered per filter */
};

/* The adapter's state of one connection: what core has room for in struct conn. */
struct mqtt_conn {
    struct mqtt_subs *subs_last;  /* a ring, in the order of their packets: the last one's next is the first */
    uint32_t out_bytes_max;       /* longest packet the peer reads (Maximum Packet Size) */
    uint32_t rx_n;                /* QoS 1 and 2 publishes of this connection that have no final answer yet; 5.0 only */
    uint32_t rx_max;              /* above that it is Receive Maximum exceeded */
    uint32_t expiry_s;            /* session expiry the peer asked for */
    uint16_t keepalive_s;         /* in force; 0: none */
    uint8_t version;              /* enum mqtt_version; 0 before CONNECT */
    uint8_t phase;                /* enum mqtt_phase */
    uint8_t close_code;           /* reason code for our DISCONNECT; 0: the one that belongs to the close reason */
    uint8_t is_keepalive_cut : 1; /* the peer must be told keepalive_s */
    uint8_t had_login : 1;        /* user name or password was given */
};

_Static_assert(sizeof(struct mqtt_conn) <= CONN_STATE_BYTES, "too large for struct conn");

enum { MQTT_KEEPALIVE_MS = 1500 }; /* silence allowed per second of keep-alive: one and a half times [MQTT-3.1.2-22] */

/* Receipts: what is owed to the peer, in 64 bits: type · code · index · packet id. */
enum { RECEIPT_TYPE_SHIFT = 56, RECEIPT_CODE_SHIFT = 48, RECEIPT_INDEX_SHIFT = 16 };

/* receipt_make: `type` is the packet that answers: MQTT_PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK; or MQTT_SUBSCRIBE
 * for filter number `index` of the SUBSCRIBE or UNSUBSCRIBE at the front of the list. `code`: the reason code to say if
 * the broker's result is ERR_OK. */
static inline uint64_t receipt_make(enum mqtt_type type, uint8_t code, uint32_t index, uint16_t packet_id)
{
    return (uint64_t)type << RECEIPT_TYPE_SHIFT | (uint64_t)code << RECEIPT_CODE_SHIFT |
           (uint64_t)index << RECEIPT_INDEX_SHIFT | packet_id;
}

/* ---- mqtt_adapter.c ------------------------------------------------------------------------------------------ */

/* mqtt_close: ends the connection; `code` is what a 5.0 peer is told in DISCONNECT, 0 for the close reason's own. */
void mqtt_close(struct conn *c, enum close_reason why, uint8_t code);

/* mqtt_fault: ends the connection for what its bytes were: ERR_MALFORMED, ERR_PROTOCOL, ERR_TOO_BIG or ERR_NOMEM. */
void mqtt_fault(struct conn *c, enum err e);

/* mqtt_say: sends one whole packet p[n]; false when it is larger than the peer reads [MQTT-3.1.2-24] or memory is out.
 */
bool mqtt_say(struct conn *c, const uint8_t *p, size_t n);

/* mqtt_close_code: the DISCONNECT reason code for a close reason; 0: the peer is told nothing. */
uint8_t mqtt_close_code(enum close_reason why);

/* ---- mqtt_login.c ---------------------------------------------------------------------------------------------- */

void mqtt_connect_in(struct conn *c, const struct mqtt_frame *f);
void mqtt_on_attached(struct conn *c, const struct attached *a);

/* ---- mqtt_publish_in.c ----------------------------------------------------------------------------------------- */

/* in_bulk: the packet came with so many others that it is better passed on than copied. */
void mqtt_publish_in(struct conn *c, const struct mqtt_frame *f, bool in_bulk);
void mqtt_pubrel_in(struct conn *c, const struct mqtt_frame *f);

/* mqtt_topic_refusal: why a topic that is well formed may not be published to by a peer: a reason code, or 0. */
uint8_t mqtt_topic_refusal(struct slice topic);

/* mqtt_retain_is_off: retained messages are switched off on this broker. */
bool mqtt_retain_is_off(const struct conn *c);

/* mqtt_wire_form: msgview.wire_form of a PUBLISH without DUP, RETAIN and properties: but for the packet id the bytes
 * are the same for every receiver of this version at this QoS. */
const void *mqtt_wire_form(uint8_t version, uint8_t qos);

/* ---- mqtt_deliver.c -------------------------------------------------------------------------------------------- */

enum err mqtt_on_deliver(struct conn *c, const struct delivery *d);
void mqtt_on_release(struct conn *c, uint32_t ticket);
/* PUBACK, PUBREC, PUBCOMP from the peer. */
void mqtt_ack_in(struct conn *c, const struct mqtt_frame *f);

/* ---- mqtt_subscribe.c ------------------------------------------------------------------------------------------ */

void mqtt_subscribe_in(struct conn *c, const struct mqtt_frame *f);
void mqtt_unsubscribe_in(struct conn *c, const struct mqtt_frame *f);
/* mqtt_subs_part: the broker's result for filter `index` of the packet at the front of the list. */
void mqtt_subs_part(struct conn *c, uint32_t index, enum err result);
/* mqtt_subs_answer: all filters of the packet at the front have their result: SUBACK or UNSUBACK. */
void mqtt_subs_answer(struct conn *c, uint16_t packet_id);
/* mqtt_subs_free: what is still unanswered when the connection ends. */
void mqtt_subs_free(struct conn *c);

/* ---- mqtt_receipt.c -------------------------------------------------------------------------------------------- */

void mqtt_on_settled(struct conn *c, uint64_t receipt, enum err result);

#endif
