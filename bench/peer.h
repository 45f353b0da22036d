/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_PEER_H
#define WEIR_BENCH_PEER_H

/*
 * peer.h: the two roles a connection plays, in MQTT 3.1.1 or STOMP 1.2. The codec is the generator's own and knows only
 * what a generator needs: what it checks must not come from the code under test.
 *
 *     giver   sends messages made from a template; the broker's PUBACK, PUBCOMP or RECEIPT settles them
 *     taker   gets messages; acknowledges them as its QoS or ack mode asks
 *
 * A peer that breaks the protocol ends the run (die).
 */

#include "bench/net.h"
#include "bench/payload.h"

/* ---- a message as bytes ------------------------------------------------------------------------------------- */

/* A whole PUBLISH or SEND, to be copied and patched. */
struct template
{
    uint8_t *bytes; /* [n] */
    uint32_t n, topic_at, payload_at, payload_bytes;
    uint32_t id_at; /* packet id, or the five digits of a receipt; 0: none */
    bool id_is_text;
};

void template_mqtt(struct template *t, const char *topic, uint8_t qos, bool retain, uint32_t payload_bytes);
/* template_stomp: with: STOMP_... together. */
enum { STOMP_RECEIPT = 1, STOMP_PERSISTENT = 2 };
void template_stomp(struct template *t, const char *destination, unsigned with, uint32_t payload_bytes);

/* id_put_text: id as five digits. */
static inline void id_put_text(uint8_t *p, uint32_t id)
{
    for (int i = 4; i >= 0; i--, id /= 10)
        p[i] = (uint8_t)('0' + id % 10);
}

/* template_put: one message at out[t->n]. */
static inline void template_put(const struct template *t, uint8_t *out, uint32_t id, const struct payload *what)
{
    memcpy(out, t->bytes, t->n);
    payload_stamp(out + t->payload_at, t->payload_bytes, what);
    if (t->id_at == 0)
        return;
    if (t->id_is_text) {
        id_put_text(out + t->id_at, id);
    } else {
        out[t->id_at] = (uint8_t)(id >> 8);
        out[t->id_at + 1] = (uint8_t)id;
    }
}

/* ---- giver -------------------------------------------------------------------------------------------------- */

enum slot_state { SLOT_FREE, SLOT_SENT, SLOT_RELEASED };

struct giver {
    struct link link;
    uint8_t *slot; /* [slot_mask + 1] enum slot_state of packet id (or receipt) index + 1 */
    uint32_t slot_mask, slot_next;
    uint32_t unsettled;
    uint64_t settled;
    uint8_t qos;                                     /* 0: nothing is settled; STOMP with receipts counts as 1 */
    void (*on_settled)(struct giver *g, uint32_t n); /* once per read; may be NULL */
};

#define GIVER_WINDOW_MAX 16384u

/* giver_init: room for out_cap bytes of messages, and for `window` (1 .. GIVER_WINDOW_MAX) unsettled ones. */
void giver_init(struct giver *g, struct net *net, uint8_t qos, uint32_t window, uint32_t out_cap);

/* giver_claim: the id for the next message, 0 if the oldest one that had it is not settled yet. QoS > 0 only. */
static inline uint32_t giver_claim(struct giver *g)
{
    uint32_t i = g->slot_next;
    if (g->slot[i] != SLOT_FREE)
        return 0;
    g->slot[i] = SLOT_SENT;
    g->slot_next = (i + 1) & g->slot_mask;
    g->unsettled++;
    return i + 1;
}

/* giver_room: how many messages of n bytes fit, with the answers of QoS 2 kept free. */
static inline uint32_t giver_room(const struct giver *g, uint32_t n)
{
    uint32_t answers = g->qos == 2 ? 4 * (g->slot_mask + 1) : 0, room = link_room(&g->link);
    return room > answers ? (room - answers) / n : 0;
}

/* giver_settle: the broker has settled id; *n counts. Dies if nobody waits for it. */
void giver_settle(struct giver *g, uint32_t id, enum slot_state was, uint32_t *n);

size_t mqtt_giver_bytes(struct link *l, const uint8_t *in, size_t len);
size_t stomp_giver_bytes(struct link *l, const uint8_t *in, size_t len);

/* ---- taker -------------------------------------------------------------------------------------------------- */

struct message { /* borrowed from the read buffer */
    const uint8_t *topic, *payload;
    uint32_t topic_bytes, payload_bytes; /* STOMP: no topic */
    bool retain, dup;
};

struct taker {
    struct link link;
    bool acks;        /* STOMP: client-individual */
    uint32_t granted; /* MQTT: SUBACKs for one filter that came among the messages */
    void (*on_message)(struct taker *t, const struct message *m);
};

/* taker_init: for messages of up to payload_bytes. */
void taker_init(struct taker *t, struct net *net, uint32_t payload_bytes);

size_t mqtt_taker_bytes(struct link *l, const uint8_t *in, size_t len);
size_t stomp_taker_bytes(struct link *l, const uint8_t *in, size_t len);

/* ---- login and subscriptions, blocking, before link_watch ---------------------------------------------------- */

enum session_kind { SESSION_NEW, SESSION_KEPT };

/* mqtt_login: CONNECT and CONNACK; returns whether a session was present. mqtt_connect_put: the CONNECT packet into
 * out[64 + strlen(name)], returns its bytes. */
bool mqtt_login(struct link *l, const char *name, enum session_kind kind);
uint32_t mqtt_connect_put(uint8_t *out, const char *name, enum session_kind kind);

/* mqtt_subscribe: one SUBSCRIBE with filters of equal length, n <= 100 of them one behind the other in filters[n *
 * bytes], and its SUBACK. Dies unless the broker grants every one. mqtt_subscribe_put: the packet, into out[8 + n *
 * (bytes + 3)]. */
void mqtt_subscribe(struct link *l, const char *filters, uint32_t n, uint32_t bytes, uint8_t qos);
uint32_t mqtt_subscribe_put(uint8_t *out, const char *filters, uint32_t n, uint32_t bytes, uint8_t qos);

/* mqtt_logout: DISCONNECT, then closes. */
void mqtt_logout(struct link *l);

void stomp_login(struct link *l);
void stomp_subscribe(struct link *l, const char *destination, bool ack_individual);

#endif
