/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_PEER_MQTT_H
#define WEIR_TESTS_PEER_MQTT_H

/*
 * peer_mqtt.h: a simulated MQTT 3.1.1 or 5 peer. It keeps to the protocol, but is otherwise as bad as peers are: it
 * vanishes, comes back, reads slowly, answers late, connects twice, sends half a packet. It tells the model what it did
 * and got, and checks what only a peer can see: packet ids, DUP, the order of answers, the send quota.
 */

#include <stdbool.h>
#include <stdint.h>

#include "proto_mqtt/mqtt_wire.h"
#include "tests/sim/world.h"

enum mqtt_peer_state {
    MQTT_PEER_OFF,
    MQTT_PEER_CONNECTING, /* CONNECT sent */
    MQTT_PEER_ON,
    MQTT_PEER_SILENT,  /* says nothing any more: the broker must end it */
    MQTT_PEER_LEAVING, /* DISCONNECT sent */
};

struct mqtt_tx { /* a publish of ours in flight */
    uint32_t pub;
    uint16_t id;
    uint8_t qos;
    bool is_released; /* PUBREC came, PUBREL was sent */
};

struct mqtt_rx { /* a delivery to us that we owe an answer */
    uint16_t id;
    uint8_t qos;
    bool is_released; /* PUBREL came */
    bool is_here;     /* was sent on this connection */
    uint32_t place;   /* where it came from: 0 a subscription, PLACE_QUEUE, else the group's number + 1 */
    uint32_t ref;     /* of the take, or what the group handed out */
};

#define PLACE_QUEUE UINT32_MAX

struct mqtt_proof { /* an acknowledgement that was surely read once PINGRESP number `ping` came */
    uint32_t place, ref, ping;
};

enum { MQTT_PEER_ALIASES = 8 };

struct mqtt_say { /* an answer held back */
    uint8_t type;
    uint16_t id;
};

#define MQTT_ASK_MAX 3u

struct mqtt_ask { /* a SUBSCRIBE or UNSUBSCRIBE without its answer */
    uint16_t id;
    bool is_unsubscribe;
    uint32_t place;      /* 0: ordinary filters; else one shared one: the group's number + 1, or PLACE_QUEUE */
    uint64_t dropped_at; /* by an UNSUBSCRIBE from a group */
    uint8_t qos;         /* asked for */
    uint32_t n, sub[MQTT_ASK_MAX];
    char filter[MQTT_ASK_MAX][MODEL_NAME];
};

/* owner: world */
struct peer_mqtt {
    struct link link; /* first */
    struct world *w;
    char id[16];
    uint32_t number; /* as publisher and session in the model; from 1 */
    enum mqtt_version v;
    enum mqtt_peer_state state;
    bool must_clean;        /* a clean CONNECT was sent and not answered: only another one makes sure */
    bool asked_clean;       /* in the CONNECT under way */
    bool is_saying;         /* answers at once, not held back */
    bool may_exist;         /* a CONNECT was never answered: perhaps a session was made */
    bool has_early;         /* publishes were sent right behind the CONNECT */
    bool has_new_expiry;    /* DISCONNECT changed it */
    bool ended_by_us;       /* the last connection */
    uint32_t expiry_s;      /* of the session; UINT32_MAX: never */
    uint32_t prev_expiry_s; /* what it was when the session last had a connection */
    uint16_t keepalive_s;
    uint32_t receive_max;        /* deliveries in flight we allow */
    uint32_t broker_max;         /* publishes in flight it allows */
    uint32_t will, will_delay_s; /* MODEL_NONE: none */
    struct box *box;             /* our session; NULL: none that is known to exist */
    mono_ms ended_at;            /* the last connection that had a CONNACK ended */
    mono_ms gone_at;             /* the last connection ended */
    mono_ms silent_at, said_at;
    uint16_t id_next;
    struct mqtt_tx *tx; /* in the order of sending */
    struct mqtt_rx *rx;
    struct mqtt_say *say; /* FIFO */
    struct mqtt_ask *ask;
    uint32_t tx_n, tx_cap, rx_n, rx_cap, say_n, say_cap, ask_n, ask_cap;
    struct sim_event tick; /* held answers, PINGREQ, patience */
    /* worlds with has_shared only */
    struct mqtt_proof *proof;
    uint32_t proof_n, proof_cap, pings_sent, pings_heard;
    uint32_t auto_queues;                 /* bit per named queue it consumes at QoS 0 */
    uint32_t alias_in_max, alias_out_max; /* topic aliases the broker may use, and we */
    char alias_in[MQTT_PEER_ALIASES][MODEL_NAME], alias_out[MQTT_PEER_ALIASES][MODEL_NAME];
};

struct peer_mqtt *peer_mqtt_new(struct world *w, uint32_t number) MUST_CHECK;
void peer_mqtt_free(struct peer_mqtt *p);

/* peer_mqtt_act: one random thing that makes sense now. */
void peer_mqtt_act(struct peer_mqtt *p);

/* peer_mqtt_drain: comes back if a session waits, answers everything, does nothing new. True when nothing is open any
 * more. */
bool peer_mqtt_drain(struct peer_mqtt *p);

/* ---- between peer_mqtt.c (what it does) and peer_mqtt_in.c (what it hears) ----------------------------------------
 */

extern const struct link_ops peer_mqtt_link_ops;

/* peer_mqtt_room: n bytes at the end of what is to be sent; follow with buf_wrote(&p->link.out, used). */
uint8_t *peer_mqtt_room(struct peer_mqtt *p, size_t n);
/* peer_mqtt_send: offers all that to the pipe. */
void peer_mqtt_send(struct peer_mqtt *p);
/* peer_mqtt_put_publish, peer_mqtt_put_ack: encodes into the room. */
void peer_mqtt_put_publish(struct peer_mqtt *p, const struct mqtt_tx *tx, bool dup);
void peer_mqtt_put_ack(struct peer_mqtt *p, enum mqtt_type type, uint16_t id);
/* peer_mqtt_say_all: sends the answers held back. */
void peer_mqtt_say_all(struct peer_mqtt *p);
/* peer_mqtt_is_off: the connection is over: what of the session and the will? was_heard: the broker answered our last
 * word by its EOF. */
void peer_mqtt_is_off(struct peer_mqtt *p, bool by_us, bool was_heard);
void peer_mqtt_plan_tick(struct peer_mqtt *p, mono_ms in_ms);
struct mqtt_ask *peer_mqtt_new_ask(struct peer_mqtt *p, bool is_unsubscribe);
void peer_mqtt_ping(struct peer_mqtt *p);

/* ---- peer_mqtt_share.c: groups, named queues, delays, aliases -----------------------------------------------------
 */

/* peer_mqtt_act_shared: joins or leaves a group or a queue, or sends PINGREQ. */
void peer_mqtt_act_shared(struct peer_mqtt *p);
/* peer_mqtt_choose_place: where a message goes. */
void peer_mqtt_choose_place(struct peer_mqtt *p, struct pub *pub);
/* peer_mqtt_wire_topic: the topic it is published to, into out[MODEL_NAME + 32]. */
void peer_mqtt_wire_topic(struct peer_mqtt *p, const struct pub *pub, char *out, size_t cap);
/* peer_mqtt_alias: 0 or an alias for the topic; it may then be left out if *out_known. */
uint16_t peer_mqtt_alias(struct peer_mqtt *p, const char *topic, bool *out_known);
/* peer_mqtt_resolve: the topic of a delivery with an alias. */
struct slice peer_mqtt_resolve(struct peer_mqtt *p, struct slice topic, uint16_t alias);
/* peer_mqtt_shared_got: a delivery that is none of our own subscriptions' goes to the model; rx: NULL at QoS 0. False:
 * it is. */
bool peer_mqtt_shared_got(struct peer_mqtt *p, const struct got *got, struct slice topic, struct mqtt_rx *rx);
/* peer_mqtt_shared_said: its PUBACK or PUBREC goes out. peer_mqtt_shared_rel: its PUBREL came. */
void peer_mqtt_shared_said(struct peer_mqtt *p, const struct mqtt_rx *rx);
void peer_mqtt_shared_rel(struct peer_mqtt *p, const struct mqtt_rx *rx);
/* peer_mqtt_shared_answer: SUBACK or UNSUBACK of such an ask. */
void peer_mqtt_shared_answer(struct peer_mqtt *p, const struct mqtt_ask *a, const struct mqtt_suback *s);
void peer_mqtt_pong(struct peer_mqtt *p);
void peer_mqtt_shared_off(struct peer_mqtt *p);

#endif
