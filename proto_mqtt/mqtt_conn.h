/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_CONN_H
#define WEIR_MQTT_CONN_H

/*
 * mqtt_conn.h: private to the MQTT adapter: what it keeps per connection, and what its files ask of each other.
 *
 *     mqtt_adapter.c      bytes to packets to the functions below; keep-alive; closing
 *     mqtt_say.c          packets with a reason: what we say, and how we explain it
 *     mqtt_login.c        CONNECT, CONNACK
 *     mqtt_auth.c         AUTH: enhanced authentication
 *     mqtt_publish_in.c   PUBLISH and PUBREL from the peer
 *     mqtt_deliver.c      PUBLISH and PUBREL to the peer, and its PUBACK, PUBREC, PUBCOMP
 *     mqtt_alias.c        topic aliases, both ways
 *     mqtt_subscribe.c    SUBSCRIBE, UNSUBSCRIBE and their answers
 *     mqtt_address.c      what topics and filters that begin with '$' mean
 *     mqtt_receipt.c      receipts: what the broker's verbs answer becomes PUBACK, PUBREC, PUBCOMP
 */

#include "core/broker.h"
#include "core/conn.h"
#include "core/limits.h"
#include "proto_mqtt/mqtt_cause.h"
#include "proto_mqtt/mqtt_wire.h"

enum mqtt_phase {
    MQTT_FRESH, /* CONNECT has to come */
    MQTT_PROOF, /* CONNECT asked for an exchange of AUTH packets, which goes on */
    MQTT_LOGIN, /* CONNECT went to the broker, which has not answered yet: later packets wait */
    MQTT_READY, /* CONNACK said yes */
};

/* The answer to one SUBSCRIBE or UNSUBSCRIBE while its filters are with the broker. owner: the connection's list */
struct mqtt_subs {
    struct mqtt_subs *next;
    uint32_t n;
    uint16_t packet_id;
    uint8_t type;    /* MQTT_SUBACK or MQTT_UNSUBACK */
    uint8_t cause[]; /* [n] enum mqtt_cause: what will be answered per filter */
};

struct mqtt_names; /* topics by alias: mqtt_alias.c */
struct mqtt_proof; /* an authentication method and its exchange: mqtt_auth.c */

/* What most connections never need. owner: the connection; made when the first of these is, freed with the last. */
struct mqtt_more {
    struct mqtt_subs *subs_last;  /* a ring, in the order of their packets: the last one's next is the first */
    struct mqtt_names *alias_in;  /* what the peer's aliases stand for */
    struct mqtt_names *alias_out; /* what ours do */
    struct mqtt_proof *proof;     /* CONNECT had an authentication method */
};

/* The adapter's state of one connection: what core has room for in struct conn. */
struct mqtt_conn {
    struct mqtt_more *more; /* NULL: nothing of it is there */
    uint32_t out_bytes_max; /* longest packet the peer reads (Maximum Packet Size) */
    uint32_t rx_n;          /* QoS 1 and 2 publishes of this connection that have no final answer yet; 5.0 only */
    union {
        uint32_t expiry_s; /* until the login is answered: session expiry the peer asked for */
        uint32_t rx_max;   /* from then on: more than so many in rx_n is Receive Maximum exceeded */
    };
    uint16_t keepalive_s;         /* in force; 0: none */
    uint16_t alias_max;           /* topic aliases that may be set towards the peer; 0: none */
    uint8_t version;              /* enum mqtt_version; 0 before CONNECT */
    uint8_t phase;                /* enum mqtt_phase */
    uint8_t form;                 /* enum mqtt_form: which packets may be passed on to the peer unchanged */
    uint8_t cause;                /* enum mqtt_cause of the end; NONE: the close reason says it all */
    uint8_t fault_type;           /* enum mqtt_type of the packet that is to blame for the end; 0: none */
    uint8_t is_keepalive_cut : 1; /* the peer must be told keepalive_s */
    uint8_t had_login : 1;        /* user name or password was given */
    uint8_t no_problem : 1;       /* no Reason Strings, please [MQTT-3.1.2-29] */
    uint8_t wants_response : 1;   /* Response Information, please [MQTT-3.1.2-28] */
};

_Static_assert(sizeof(struct mqtt_conn) <= CONN_STATE_BYTES, "too large for struct conn");

enum { MQTT_KEEPALIVE_MS = 1500 }; /* silence allowed per second of keep-alive: one and a half times [MQTT-3.1.2-22] */

/* Receipts: what is owed to the peer, in 64 bits: type · cause · index · packet id. */
enum { RECEIPT_TYPE_SHIFT = 56, RECEIPT_CAUSE_SHIFT = 48, RECEIPT_INDEX_SHIFT = 16 };

/* receipt_make: `type` is the packet that answers: MQTT_PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK; or MQTT_SUBSCRIBE
 * for filter number `index` of the SUBSCRIBE or UNSUBSCRIBE at the front of the list. `cause`: what to say if the
 * broker's result is ERR_OK. */
static inline uint64_t receipt_make(enum mqtt_type type, uint8_t cause, uint32_t index, uint16_t packet_id)
{
    return (uint64_t)type << RECEIPT_TYPE_SHIFT | (uint64_t)cause << RECEIPT_CAUSE_SHIFT |
           (uint64_t)index << RECEIPT_INDEX_SHIFT | packet_id;
}

/* mqtt_more: what hangs off the connection, made if there is nothing yet; NULL: out of memory. mqtt_more_tidy: gives it
 * back when nothing is in it. */
struct mqtt_more *mqtt_more(struct conn *c) MUST_CHECK;
void mqtt_more_tidy(struct conn *c);

/* ---- mqtt_adapter.c ------------------------------------------------------------------------------------------ */

/* mqtt_close: ends the connection. A 5.0 peer is told the cause in DISCONNECT; MQTT_CAUSE_NONE: the close reason. */
void mqtt_close(struct conn *c, enum close_reason why, uint8_t cause);

/* mqtt_fault: ends the connection for what a packet of this type (0: not known) was: ERR_MALFORMED, ERR_PROTOCOL,
 * ERR_TOO_BIG or ERR_NOMEM. */
void mqtt_fault(struct conn *c, unsigned type, enum err e);

/* mqtt_unexpected: ends the connection for a packet that is sound and may not come now. */
void mqtt_unexpected(struct conn *c, unsigned type);

/* ---- mqtt_say.c ---------------------------------------------------------------------------------------------- */

#define MQTT_TEXT_BYTES_MAX 160u /* a Reason String of ours, with what stands in front of it */

/* mqtt_say: sends one whole packet p[n]; false when it is larger than the peer reads [MQTT-3.1.2-24] or memory is out.
 */
bool mqtt_say(struct conn *c, const uint8_t *p, size_t n);

/* mqtt_say_ack, mqtt_say_subs, mqtt_say_disconnect, mqtt_say_connack: the packet with its reason, explained by `text`
 * ("": not) if the peer wants that and reads so much. mqtt_say_connack: false: the peer cannot even read it plainly. */
void mqtt_say_ack(struct conn *c, enum mqtt_type type, uint8_t cause, uint16_t packet_id);
void mqtt_say_subs(struct conn *c, enum mqtt_type type, struct mqtt_suback *a, const char *text);
void mqtt_say_disconnect(struct conn *c, enum close_reason why);
bool mqtt_say_connack(struct conn *c, struct mqtt_connack *k, const char *text);

/* mqtt_close_code: the DISCONNECT reason code for a close reason; 0: the peer is told nothing. */
uint8_t mqtt_close_code(enum close_reason why);

/* ---- mqtt_login.c ---------------------------------------------------------------------------------------------- */

void mqtt_connect_in(struct conn *c, const struct mqtt_frame *f);
void mqtt_on_attached(struct conn *c, const struct attached *a);
/* mqtt_refuse: CONNACK that says no, then the end. `type`: of the packet that is to blame. */
void mqtt_refuse(struct conn *c, enum mqtt_type type, uint8_t cause, enum close_reason why);
/* mqtt_attach: the CONNECT in this frame, which was read before, goes to the broker; `who` was proved (p NULL: nobody
 * was). */
void mqtt_attach(struct conn *c, const struct mqtt_frame *f, struct slice who);

/* ---- mqtt_auth.c ------------------------------------------------------------------------------------------------- */

/* mqtt_proof_begin: a sound CONNECT asks for an exchange. */
void mqtt_proof_begin(struct conn *c, const struct mqtt_frame *f, const struct mqtt_props *p);
/* mqtt_proof_in: a packet while the exchange before the login goes on. mqtt_auth_in: AUTH after it. */
void mqtt_proof_in(struct conn *c, const struct mqtt_frame *f);
void mqtt_auth_in(struct conn *c, const struct mqtt_frame *f);
/* mqtt_proof_told: what CONNACK says of it, into *p. mqtt_proof_done: CONNACK is out. */
void mqtt_proof_told(const struct conn *c, struct mqtt_props *p);
void mqtt_proof_done(struct conn *c);
void mqtt_proof_free(struct conn *c, struct mqtt_proof *p); /* NULL is fine */

/* ---- mqtt_publish_in.c ----------------------------------------------------------------------------------------- */

/* in_bulk: the packet came with so many others that it is better passed on than copied. */
void mqtt_publish_in(struct conn *c, const struct mqtt_frame *f, bool in_bulk);
void mqtt_pubrel_in(struct conn *c, const struct mqtt_frame *f);

/* mqtt_retain_is_off: retained messages are switched off on this broker. */
bool mqtt_retain_is_off(const struct conn *c);

/* mqtt_qos_is_capped: is this QoS above what the listener allows [MQTT-3.2.2-9]? */
static inline bool mqtt_qos_is_capped(const struct conn *c, uint8_t qos)
{
    return c->door->has_qos_cap && qos > c->door->qos_cap;
}

/* Packets of a form are the same for every receiver of that form at one QoS, but for the packet id: PUBLISH without
 * DUP, RETAIN and properties. ALIASED is a receiver's form only: each of its packets is made for it. */
enum mqtt_form { MQTT_FORM_3, MQTT_FORM_5, MQTT_FORM_ALIASED };

/* mqtt_wire_form: msgview.wire_form of such a packet. */
const void *mqtt_wire_form(uint8_t form, uint8_t qos);

/* ---- mqtt_address.c -------------------------------------------------------------------------------------------- */

/* mqtt_address_publish: what pub->msg.topic, sound and beginning with '$', means: sets exchange, key, delay and flags.
 * A cause, or 0. mqtt_address_will: why a will may not go to this topic: a cause, or 0. */
uint8_t mqtt_address_publish(struct conn *c, struct publish *pub);
uint8_t mqtt_address_will(struct slice topic);

/* mqtt_topic_limit: longer or deeper than allowed: a cause, or 0. */
uint8_t mqtt_topic_limit(const struct conn *c, struct slice topic);

/* What a filter asks for. */
struct mqtt_source {
    enum { MQTT_FROM_TOPICS, MQTT_FROM_GROUP, MQTT_FROM_QUEUE } from;
    struct slice name;    /* of the group or queue */
    struct filter filter; /* of topics and groups; points into tok */
};

/* mqtt_address_filter: *out from a filter as it came; tok[TOPIC_LEVELS_MAX]. A cause, or 0. */
uint8_t mqtt_address_filter(const struct conn *c, struct slice text, struct token *tok, struct mqtt_source *out);

/* ---- mqtt_alias.c ---------------------------------------------------------------------------------------------- */

/* mqtt_alias_in: a PUBLISH with this alias came with this topic, which is remembered, or without, which is filled in.
 * False: answered. */
bool mqtt_alias_in(struct conn *c, uint16_t alias, struct slice *topic);

/* mqtt_alias_find: the alias to send this topic with, 0: none; *out_is_known: the peer has it, so the topic may stay
 * away. Changes nothing. mqtt_alias_note: it was sent with that topic. */
uint16_t mqtt_alias_find(const struct conn *c, struct slice topic, bool *out_is_known);
void mqtt_alias_note(struct conn *c, uint16_t alias, struct slice topic);
void mqtt_names_free(struct conn *c, struct mqtt_names *t); /* NULL is fine */

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
