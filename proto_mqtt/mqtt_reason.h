/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_REASON_H
#define WEIR_MQTT_REASON_H

/* mqtt_reason.h: the reason codes of MQTT 5 (§2.4), the return codes of 3.x, and the way from and to `enum err`.
 * The only place where the two spaces meet. Pure. */

#include "proto_mqtt/mqtt_wire_types.h"

#define MQTT_AT_CLOSE (1u << MQTT_CONNACK | 1u << MQTT_DISCONNECT)
#define MQTT_AT_PUB   (1u << MQTT_PUBACK | 1u << MQTT_PUBREC)
#define MQTT_AT_REL   (1u << MQTT_PUBREL | 1u << MQTT_PUBCOMP)
#define MQTT_AT_SUB   (1u << MQTT_SUBACK | 1u << MQTT_UNSUBACK)

/* X(name, code, text, where it may stand) */
#define MQTT_REASON_LIST(X)                                                                                            \
    X(SUCCESS, 0x00, "Success", MQTT_AT_CLOSE | MQTT_AT_PUB | MQTT_AT_REL | MQTT_AT_SUB | 1u << MQTT_AUTH)             \
    X(GRANTED_1, 0x01, "Granted QoS 1", 1u << MQTT_SUBACK)                                                             \
    X(GRANTED_2, 0x02, "Granted QoS 2", 1u << MQTT_SUBACK)                                                             \
    X(CLOSE_WITH_WILL, 0x04, "Disconnect with Will Message", 1u << MQTT_DISCONNECT)                                    \
    X(NO_MATCH, 0x10, "No matching subscribers", MQTT_AT_PUB)                                                          \
    X(NO_SUBSCRIPTION, 0x11, "No subscription existed", 1u << MQTT_UNSUBACK)                                           \
    X(AUTH_CONTINUE, 0x18, "Continue authentication", 1u << MQTT_AUTH)                                                 \
    X(AUTH_AGAIN, 0x19, "Re-authenticate", 1u << MQTT_AUTH)                                                            \
    X(UNSPECIFIED, 0x80, "Unspecified error", MQTT_AT_CLOSE | MQTT_AT_PUB | MQTT_AT_SUB)                               \
    X(MALFORMED, 0x81, "Malformed Packet", MQTT_AT_CLOSE)                                                              \
    X(PROTOCOL, 0x82, "Protocol Error", MQTT_AT_CLOSE)                                                                 \
    X(IMPLEMENTATION, 0x83, "Implementation specific error", MQTT_AT_CLOSE | MQTT_AT_PUB | MQTT_AT_SUB)                \
    X(VERSION, 0x84, "Unsupported Protocol Version", 1u << MQTT_CONNACK)                                               \
    X(CLIENT_ID, 0x85, "Client Identifier not valid", 1u << MQTT_CONNACK)                                              \
    X(BAD_LOGIN, 0x86, "Bad User Name or Password", 1u << MQTT_CONNACK)                                                \
    X(DENIED, 0x87, "Not authorized", MQTT_AT_CLOSE | MQTT_AT_PUB | MQTT_AT_SUB)                                       \
    X(UNAVAILABLE, 0x88, "Server unavailable", 1u << MQTT_CONNACK)                                                     \
    X(BUSY, 0x89, "Server busy", MQTT_AT_CLOSE)                                                                        \
    X(BANNED, 0x8A, "Banned", 1u << MQTT_CONNACK)                                                                      \
    X(SHUTDOWN, 0x8B, "Server shutting down", 1u << MQTT_DISCONNECT)                                                   \
    X(AUTH_METHOD, 0x8C, "Bad authentication method", MQTT_AT_CLOSE)                                                   \
    X(KEEPALIVE, 0x8D, "Keep Alive timeout", 1u << MQTT_DISCONNECT)                                                    \
    X(TAKEN_OVER, 0x8E, "Session taken over", 1u << MQTT_DISCONNECT)                                                   \
    X(FILTER, 0x8F, "Topic Filter invalid", MQTT_AT_SUB | 1u << MQTT_DISCONNECT)                                       \
    X(TOPIC, 0x90, "Topic Name invalid", MQTT_AT_CLOSE | MQTT_AT_PUB)                                                  \
    X(ID_IN_USE, 0x91, "Packet Identifier in use", MQTT_AT_PUB | MQTT_AT_SUB)                                          \
    X(ID_NOT_FOUND, 0x92, "Packet Identifier not found", MQTT_AT_REL)                                                  \
    X(RECEIVE_MAX, 0x93, "Receive Maximum exceeded", 1u << MQTT_DISCONNECT)                                            \
    X(ALIAS, 0x94, "Topic Alias invalid", 1u << MQTT_DISCONNECT)                                                       \
    X(TOO_BIG, 0x95, "Packet too large", MQTT_AT_CLOSE)                                                                \
    X(RATE, 0x96, "Message rate too high", 1u << MQTT_DISCONNECT)                                                      \
    X(QUOTA, 0x97, "Quota exceeded", MQTT_AT_CLOSE | MQTT_AT_PUB | 1u << MQTT_SUBACK)                                  \
    X(ADMIN, 0x98, "Administrative action", 1u << MQTT_DISCONNECT)                                                     \
    X(PAYLOAD_FORMAT, 0x99, "Payload format invalid", MQTT_AT_CLOSE | MQTT_AT_PUB)                                     \
    X(NO_RETAIN, 0x9A, "Retain not supported", MQTT_AT_CLOSE)                                                          \
    X(NO_QOS, 0x9B, "QoS not supported", MQTT_AT_CLOSE)                                                                \
    X(USE_OTHER, 0x9C, "Use another server", MQTT_AT_CLOSE)                                                            \
    X(MOVED, 0x9D, "Server moved", MQTT_AT_CLOSE)                                                                      \
    X(NO_SHARED, 0x9E, "Shared Subscriptions not supported", 1u << MQTT_SUBACK | 1u << MQTT_DISCONNECT)                \
    X(CONNECT_RATE, 0x9F, "Connection rate exceeded", MQTT_AT_CLOSE)                                                   \
    X(CONNECT_TIME, 0xA0, "Maximum connect time", 1u << MQTT_DISCONNECT)                                               \
    X(NO_SUB_ID, 0xA1, "Subscription Identifiers not supported", 1u << MQTT_SUBACK | 1u << MQTT_DISCONNECT)            \
    X(NO_WILDCARD, 0xA2, "Wildcard Subscriptions not supported", 1u << MQTT_SUBACK | 1u << MQTT_DISCONNECT)

enum mqtt_reason {
#define X(name, code, text, where) MQTT_RC_##name = code,
    MQTT_REASON_LIST(X)
#undef X
        MQTT_RC_GRANTED_0 = 0x00, /* in SUBACK */
    MQTT_RC_NORMAL = 0x00,        /* in DISCONNECT */
};

/* Return codes of CONNACK in 3.x (MQTT 3.1.1 §3.2.2.3) and the one failure of SUBACK in 3.1.1. */
enum mqtt_v3_code {
    MQTT_V3_ACCEPTED = 0,
    MQTT_V3_VERSION = 1,
    MQTT_V3_CLIENT_ID = 2,
    MQTT_V3_UNAVAILABLE = 3,
    MQTT_V3_BAD_LOGIN = 4,
    MQTT_V3_DENIED = 5,
    MQTT_V3_SUB_FAILED = 0x80,
};

/* mqtt_reason_is_allowed: does the spec list `code` for this packet? Always false for packets without reason codes. */
bool mqtt_reason_is_allowed(unsigned code, enum mqtt_type at);

/* mqtt_reason_name: the spec's words, which for 0x00 depend on the packet; "?" for codes it does not list; static. */
const char *mqtt_reason_name(unsigned code, enum mqtt_type at);

/* mqtt_reason_from_err: the code that tells the peer about `e` in a packet of type `at`, always one that is allowed
 * there (0x80 where nothing fits better; 0x92 in PUBREL and PUBCOMP). `at` is one of CONNACK, PUBACK .. PUBCOMP,
 * SUBACK, UNSUBACK, DISCONNECT; anything else is our bug. */
uint8_t mqtt_reason_from_err(enum err e, enum mqtt_type at);

/* mqtt_err_from_reason: the way back, for links to other brokers: OK below 0x80; from 0x80 never OK, and ERR_IO
 * where nothing fits. */
enum err mqtt_err_from_reason(unsigned code);

/* mqtt_v3_connack_from_reason: the 3.x return code nearest to a CONNACK reason code; 3 (unavailable) when none is near.
 */
uint8_t mqtt_v3_connack_from_reason(unsigned code);

/* mqtt_v3_connack_name: the spec's words for a 3.x CONNACK return code; "?" above 5; static. */
const char *mqtt_v3_connack_name(unsigned code);

/* mqtt_v3_suback_from_reason: 0..2 stay, everything else becomes 0x80 (MQTT 3.1.1 §3.9.3). */
uint8_t mqtt_v3_suback_from_reason(unsigned code);

#endif
