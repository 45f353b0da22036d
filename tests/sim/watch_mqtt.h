/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_WATCH_MQTT_H
#define WEIR_TESTS_WATCH_MQTT_H

/*
 * watch_mqtt.h: somebody who reads along on one MQTT connection, both ways, and knows what a server may say at any
 * moment to a peer that has said what it said, be that sense or nonsense. It uses the codec, and no other code of the
 * broker's.
 *
 *     watch_mqtt_said(&w, bytes, n);      the peer sent this
 *     watch_mqtt_heard(&w, bytes, n);     the broker sent this
 *     w.why[0]                            not empty: the broker broke a rule, this one
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto_mqtt/mqtt_wire.h"
#include "tests/support/rig.h"

enum {
    WATCH_ASKS_MAX = 256,    /* answers owed to the peer */
    WATCH_OPEN_MAX = 1024,   /* deliveries it has not answered; above that it is not counted any more */
    WATCH_ALIASES_MAX = 128, /* topics the broker may name by a number */
};

struct watch_ask { /* the broker owes `times` answers of this kind */
    uint8_t type;
    uint16_t id;
    uint32_t filters; /* SUBACK, UNSUBACK: codes in the newest */
    uint32_t times;
};

struct watch_open { /* a delivery the peer has not answered for good */
    uint16_t id;
    uint8_t qos;
    bool is_received;  /* PUBREC was sent */
    bool is_released;  /* and PUBREL came */
    bool is_of_before; /* its PUBREL came, its PUBLISH was on an earlier connection */
};

struct watch_alias {
    uint16_t number;
    struct rig_bytes topic;
};

/* owner: the test; zeroed memory is a watcher that has seen nothing. */
struct watch_mqtt {
    char why[256];
    const char *trace; /* not NULL: a name under which every packet is printed */
    uint8_t v;         /* enum mqtt_version, 0 before CONNECT */
    bool has_connect;  /* the peer has sent one, however bad */
    bool is_deaf;      /* the peer's bytes made no sense: from there on they are not followed */
    bool has_connack;  /* it came */
    bool is_on;        /* and said yes */
    bool is_over;      /* the broker said its last word */
    bool is_resumed;   /* session present */
    bool is_blind;     /* the peer answered what it had not seen: ids and quota cannot be followed any more */
    bool has_method;   /* CONNECT named an authentication method */
    bool has_id;       /* and a client identifier */
    bool no_problems;  /* Request Problem Information 0 */
    bool wants_answer; /* Request Response Information 1 */
    uint32_t packet_max, receive_max, alias_max;
    uint32_t open_sent_n; /* deliveries on this connection that count against receive_max */
    uint32_t ask_n, open_n, alias_n, received_n;
    uint64_t pings;      /* PINGREQs without PINGRESP */
    uint64_t deliveries; /* PUBLISH packets heard */
    struct rig_bytes said, heard;
    size_t said_at, heard_at;
    struct watch_ask ask[WATCH_ASKS_MAX];
    struct watch_open open[WATCH_OPEN_MAX];
    struct watch_alias alias[WATCH_ALIASES_MAX];
    uint16_t received[WATCH_OPEN_MAX]; /* PUBRECs that came, for whoever wants to answer them; emptied by the test */
};

void watch_mqtt_said(struct watch_mqtt *w, const void *bytes, size_t n);
void watch_mqtt_heard(struct watch_mqtt *w, const void *bytes, size_t n);

/* watch_mqtt_free: what it holds; it has seen nothing then. */
void watch_mqtt_free(struct watch_mqtt *w);

/* watch_mqtt_stamp: the first WATCH_STAMP bytes of a payload that knows the topic under which it must arrive; whoever
 * hears it under another one complains. */
#define WATCH_STAMP       12u
#define WATCH_STAMP_FIRST 0x9d /* its first byte */
void watch_mqtt_stamp(struct slice topic, uint8_t out[WATCH_STAMP]);

#endif
