/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_reason.c: the border between `enum err` and what MQTT peers are told.
 *
 *     inside Weir        5.0 on the wire                       3.x on the wire
 *     enum err  ──────►  reason code, allowed in that packet ─► CONNACK return code, SUBACK 0x80
 *               ◄──────  (links to other brokers)
 *
 * The table in the header is the spec's: code, words, packets. An error is first turned into the code that says it
 * best, and then, if that code may not stand in the packet at hand, into the nearest that may.
 *
 * Invariants
 *   1. mqtt_reason_from_err gives a code for which mqtt_reason_is_allowed is true.
 *   2. An error never becomes a code below 0x80, but for two that are a success with a remark: ERR_NO_MATCH, and
 *      ERR_NOT_FOUND in UNSUBACK.
 * Cost    O(1) by table, or one switch.
 * Thread  any; pure.
 * Spec    MQTT 5 §2.4; MQTT 3.1.1 §3.2.2.3, §3.9.3.
 */
#include "proto_mqtt/mqtt_reason.h"

#include "core/base/check.h"

struct reason {
    const char *name; /* NULL: the spec lists no such code */
    uint32_t where;   /* bits 1 << enum mqtt_type */
};

/* [MQTT-3.2.2-8], [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1], [MQTT-3.9.3-2], [MQTT-3.11.3-2],
 * [MQTT-3.14.2-1], [MQTT-3.15.2-1] */
static const struct reason REASONS[] = {
#define X(name, code, text, where) [code] = {text, where},
    MQTT_REASON_LIST(X)
#undef X
};

bool mqtt_reason_is_allowed(unsigned code, enum mqtt_type at)
{
    return code < ARRAY_N(REASONS) && (REASONS[code].where >> at & 1) != 0;
}

const char *mqtt_reason_name(unsigned code, enum mqtt_type at)
{
    if (code == 0 && at == MQTT_SUBACK)
        return "Granted QoS 0";
    if (code == 0 && at == MQTT_DISCONNECT)
        return "Normal disconnection";
    if (code >= ARRAY_N(REASONS) || REASONS[code].name == NULL)
        return "?";
    return REASONS[code].name;
}

/* best_for: what says `e` best in a packet of type `at`, allowed there or not. */
static uint8_t best_for(enum err e, enum mqtt_type at)
{
    switch (e) {
    case ERR_OK:
        return MQTT_RC_SUCCESS;
    case ERR_NO_MATCH:
        return at == MQTT_UNSUBACK ? MQTT_RC_NO_SUBSCRIPTION : MQTT_RC_NO_MATCH;
    case ERR_MALFORMED:
        return MQTT_RC_MALFORMED;
    case ERR_PROTOCOL:
        return MQTT_RC_PROTOCOL;
    case ERR_TOO_BIG:
        return MQTT_RC_TOO_BIG;
    case ERR_FULL:
        return MQTT_RC_QUOTA;
    case ERR_NOMEM:
        return at == MQTT_CONNACK ? MQTT_RC_BUSY : MQTT_RC_QUOTA;
    case ERR_AGAIN:
        return MQTT_RC_BUSY;
    case ERR_DENIED:
        return MQTT_RC_DENIED;
    case ERR_NOT_FOUND:
        return at == MQTT_UNSUBACK ? MQTT_RC_NO_SUBSCRIPTION : MQTT_RC_ID_NOT_FOUND;
    case ERR_INVALID: /* a topic or filter that names nothing */
        return at == MQTT_SUBACK || at == MQTT_UNSUBACK ? MQTT_RC_FILTER : MQTT_RC_TOPIC;
    case ERR_UNSUPPORTED:
        return at == MQTT_CONNACK ? MQTT_RC_VERSION : MQTT_RC_IMPLEMENTATION;
    case ERR_STORE:
        return at == MQTT_CONNACK ? MQTT_RC_UNAVAILABLE : MQTT_RC_IMPLEMENTATION;
    default:
        return MQTT_RC_UNSPECIFIED;
    }
}

uint8_t mqtt_reason_from_err(enum err e, enum mqtt_type at)
{
    uint8_t code = best_for(e, at);
    if (mqtt_reason_is_allowed(code, at))
        return code;
    if (e == ERR_NO_MATCH)
        return MQTT_RC_SUCCESS;
    code = at == MQTT_PUBREL || at == MQTT_PUBCOMP ? MQTT_RC_ID_NOT_FOUND : MQTT_RC_UNSPECIFIED;
    BUG_ON(!mqtt_reason_is_allowed(code, at));
    return code;
}

enum err mqtt_err_from_reason(unsigned code)
{
    if (code < 0x80)
        return ERR_OK;
    switch (code) {
    case MQTT_RC_MALFORMED:
        return ERR_MALFORMED;
    case MQTT_RC_PROTOCOL:
    case MQTT_RC_RECEIVE_MAX:
    case MQTT_RC_ALIAS:
    case MQTT_RC_ID_IN_USE:
        return ERR_PROTOCOL;
    case MQTT_RC_VERSION:
    case MQTT_RC_AUTH_METHOD:
    case MQTT_RC_NO_RETAIN:
    case MQTT_RC_NO_QOS:
    case MQTT_RC_NO_SHARED:
    case MQTT_RC_NO_SUB_ID:
    case MQTT_RC_NO_WILDCARD:
        return ERR_UNSUPPORTED;
    case MQTT_RC_CLIENT_ID:
    case MQTT_RC_FILTER:
    case MQTT_RC_TOPIC:
    case MQTT_RC_PAYLOAD_FORMAT:
        return ERR_INVALID;
    case MQTT_RC_BAD_LOGIN:
    case MQTT_RC_DENIED:
    case MQTT_RC_BANNED:
        return ERR_DENIED;
    case MQTT_RC_UNAVAILABLE:
    case MQTT_RC_BUSY:
    case MQTT_RC_RATE:
    case MQTT_RC_CONNECT_RATE:
        return ERR_AGAIN;
    case MQTT_RC_ID_NOT_FOUND:
        return ERR_NOT_FOUND;
    case MQTT_RC_TOO_BIG:
        return ERR_TOO_BIG;
    case MQTT_RC_QUOTA:
        return ERR_FULL;
    default:
        return ERR_IO;
    }
}

uint8_t mqtt_v3_connack_from_reason(unsigned code)
{
    switch (code) {
    case MQTT_RC_SUCCESS:
        return MQTT_V3_ACCEPTED;
    case MQTT_RC_VERSION:
        return MQTT_V3_VERSION;
    case MQTT_RC_CLIENT_ID:
        return MQTT_V3_CLIENT_ID;
    case MQTT_RC_BAD_LOGIN:
    case MQTT_RC_AUTH_METHOD:
        return MQTT_V3_BAD_LOGIN;
    case MQTT_RC_DENIED:
    case MQTT_RC_BANNED:
        return MQTT_V3_DENIED;
    default:
        return MQTT_V3_UNAVAILABLE;
    }
}

static const char *const V3_NAMES[] = {
    "Connection Accepted", "unacceptable protocol version", "identifier rejected",
    "Server unavailable",  "bad user name or password",     "not authorized",
};

const char *mqtt_v3_connack_name(unsigned code)
{
    return code < ARRAY_N(V3_NAMES) ? V3_NAMES[code] : "?";
}

uint8_t mqtt_v3_suback_from_reason(unsigned code)
{
    return code <= 2 ? (uint8_t)code : MQTT_V3_SUB_FAILED; /* 3.1.1: [MQTT-3.9.3-2] */
}
