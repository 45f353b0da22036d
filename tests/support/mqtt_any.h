/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_MQTT_ANY_H
#define WEIR_TESTS_MQTT_ANY_H

/*
 * mqtt_any.h: any MQTT packet as one type, so that a test or a fuzzer can say "decode, encode, decode, same" once for
 * all fifteen. Slices point into the decoded bytes, as the codec leaves them.
 */

#include "proto_mqtt/mqtt_wire.h"

#define MQTT_ANY_FILTERS_MAX 256u /* mqtt_any_encode handles that many filters in one packet */

struct mqtt_any {
    uint8_t type;    /* enum mqtt_type */
    uint8_t version; /* enum mqtt_version */
    union {
        struct mqtt_connect connect;
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_subscribe subscribe; /* and UNSUBSCRIBE */
        struct mqtt_suback suback;       /* and UNSUBACK */
        struct mqtt_closing closing;     /* DISCONNECT and AUTH */
    } u;
};

/* mqtt_any_decode: the decoder of f->type; of a 5.0 PUBLISH the properties are collected too. Its error, also
 * ERR_UNSUPPORTED for a CONNECT of another version than v. */
enum err mqtt_any_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_any *out) MUST_CHECK;

/* mqtt_any_encode: the encoder of a->type, a PUBLISH with its payload. Bytes, -ERR_TOO_BIG, or -ERR_FULL: more than
 * MQTT_ANY_FILTERS_MAX filters. */
ptrdiff_t mqtt_any_encode(const struct mqtt_any *a, uint8_t *out, size_t cap) MUST_CHECK;

/* mqtt_any_room: the room the headers promise to suffice for this packet. */
size_t mqtt_any_room(const struct mqtt_any *a);

/* Do they say the same? Order counts among User Properties and among Subscription Identifiers only; a PUBLISH's raw
 * properties are compared byte by byte. */
bool mqtt_any_is_equal(const struct mqtt_any *a, const struct mqtt_any *b);
bool mqtt_props_is_equal(const struct mqtt_props *a, const struct mqtt_props *b);

#endif
