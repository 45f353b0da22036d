/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_PROPS_H
#define WEIR_MQTT_PROPS_H

/*
 * mqtt_props.h: MQTT 5 properties (§2.2.2). One table says all about each; everything else is derived from it.
 *
 * A "block" is the run of properties without the length in front of it. Two ways to read one:
 *   mqtt_props_collect   checks the whole block and fills a struct: what an adapter does once per packet
 *   mqtt_props_next      walks it item by item: for what repeats, and for blocks that were collected before
 * and two ways to write one: a filled struct mqtt_props, or item by item with a struct mqtt_props_writer.
 */

#include "proto_mqtt/mqtt_wire_types.h"

enum mqtt_prop_wire {                 /* how a value looks on the wire */
                      MQTT_PROP_NONE, /* no such property */
                      MQTT_PROP_U8,
                      MQTT_PROP_U16,
                      MQTT_PROP_U32,
                      MQTT_PROP_VARINT,
                      MQTT_PROP_UTF8, /* string */
                      MQTT_PROP_BIN,  /* binary data */
                      MQTT_PROP_PAIR, /* two strings */
};

/* X(name, id, wire, field of struct mqtt_props, text, where it may stand: bits 1 << enum mqtt_type).
 * Only USER, and in PUBLISH also SUB_ID, may stand more than once. */
#define MQTT_AT(type)   (1u << MQTT_##type)
#define MQTT_AT_ACKS    (MQTT_AT(PUBACK) | MQTT_AT(PUBREC) | MQTT_AT(PUBREL) | MQTT_AT(PUBCOMP))
#define MQTT_AT_SUBS    (MQTT_AT(SUBSCRIBE) | MQTT_AT(SUBACK) | MQTT_AT(UNSUBSCRIBE) | MQTT_AT(UNSUBACK))
#define MQTT_AT_MESSAGE (MQTT_AT(PUBLISH) | MQTT_AT(WILL))
#define MQTT_AT_LOGIN   (MQTT_AT(CONNECT) | MQTT_AT(CONNACK))
#define MQTT_AT_REASONS                                                                                                \
    (MQTT_AT(CONNACK) | MQTT_AT_ACKS | MQTT_AT(SUBACK) | MQTT_AT(UNSUBACK) | MQTT_AT(DISCONNECT) | MQTT_AT(AUTH))
#define MQTT_AT_ALL                                                                                                    \
    (MQTT_AT_MESSAGE | MQTT_AT_LOGIN | MQTT_AT_ACKS | MQTT_AT_SUBS | MQTT_AT(DISCONNECT) | MQTT_AT(AUTH))

#define MQTT_PROP_LIST(X)                                                                                              \
    X(PAYLOAD_FORMAT, 0x01, U8, payload_format, "Payload Format Indicator", MQTT_AT_MESSAGE)                           \
    X(MESSAGE_EXPIRY, 0x02, U32, message_expiry_s, "Message Expiry Interval", MQTT_AT_MESSAGE)                         \
    X(CONTENT_TYPE, 0x03, UTF8, content_type, "Content Type", MQTT_AT_MESSAGE)                                         \
    X(RESPONSE_TOPIC, 0x08, UTF8, response_topic, "Response Topic", MQTT_AT_MESSAGE)                                   \
    X(CORRELATION, 0x09, BIN, correlation, "Correlation Data", MQTT_AT_MESSAGE)                                        \
    X(SUB_ID, 0x0B, VARINT, sub_id, "Subscription Identifier", MQTT_AT(PUBLISH) | MQTT_AT(SUBSCRIBE))                  \
    X(SESSION_EXPIRY, 0x11, U32, session_expiry_s, "Session Expiry Interval", MQTT_AT_LOGIN | MQTT_AT(DISCONNECT))     \
    X(ASSIGNED_ID, 0x12, UTF8, assigned_id, "Assigned Client Identifier", MQTT_AT(CONNACK))                            \
    X(SERVER_KEEPALIVE, 0x13, U16, server_keepalive_s, "Server Keep Alive", MQTT_AT(CONNACK))                          \
    X(AUTH_METHOD, 0x15, UTF8, auth_method, "Authentication Method", MQTT_AT_LOGIN | MQTT_AT(AUTH))                    \
    X(AUTH_DATA, 0x16, BIN, auth_data, "Authentication Data", MQTT_AT_LOGIN | MQTT_AT(AUTH))                           \
    X(WANT_PROBLEM, 0x17, U8, want_problem, "Request Problem Information", MQTT_AT(CONNECT))                           \
    X(WILL_DELAY, 0x18, U32, will_delay_s, "Will Delay Interval", MQTT_AT(WILL))                                       \
    X(WANT_RESPONSE, 0x19, U8, want_response, "Request Response Information", MQTT_AT(CONNECT))                        \
    X(RESPONSE_INFO, 0x1A, UTF8, response_info, "Response Information", MQTT_AT(CONNACK))                              \
    X(SERVER_REF, 0x1C, UTF8, server_ref, "Server Reference", MQTT_AT(CONNACK) | MQTT_AT(DISCONNECT))                  \
    X(REASON, 0x1F, UTF8, reason, "Reason String", MQTT_AT_REASONS)                                                    \
    X(RECEIVE_MAX, 0x21, U16, receive_max, "Receive Maximum", MQTT_AT_LOGIN)                                           \
    X(ALIAS_MAX, 0x22, U16, alias_max, "Topic Alias Maximum", MQTT_AT_LOGIN)                                           \
    X(ALIAS, 0x23, U16, alias, "Topic Alias", MQTT_AT(PUBLISH))                                                        \
    X(QOS_MAX, 0x24, U8, qos_max, "Maximum QoS", MQTT_AT(CONNACK))                                                     \
    X(HAS_RETAIN, 0x25, U8, has_retain, "Retain Available", MQTT_AT(CONNACK))                                          \
    X(USER, 0x26, PAIR, user_n, "User Property", MQTT_AT_ALL)                                                          \
    X(PACKET_BYTES_MAX, 0x27, U32, packet_bytes_max, "Maximum Packet Size", MQTT_AT_LOGIN)                             \
    X(HAS_WILDCARD, 0x28, U8, has_wildcard, "Wildcard Subscription Available", MQTT_AT(CONNACK))                       \
    X(HAS_SUB_ID, 0x29, U8, has_sub_id, "Subscription Identifier Available", MQTT_AT(CONNACK))                         \
    X(HAS_SHARED, 0x2A, U8, has_shared, "Shared Subscription Available", MQTT_AT(CONNACK))

enum mqtt_prop {
#define X(name, id, wire, field, text, where) MQTT_PROP_##name = id,
    MQTT_PROP_LIST(X)
#undef X
        MQTT_PROP_N = 0x2B
};

/* MQTT_HAS(RECEIVE_MAX): the bit of that property in struct mqtt_props.has. */
#define MQTT_HAS(name) (UINT64_C(1) << MQTT_PROP_##name)

/* struct mqtt_props: the properties of one packet. A value means something only where its bit in `has` is set; slices
 * point into the packet. To write: set values and bits; USER is the one bit the writer ignores, see `block`. */
struct mqtt_props {
    uint64_t has;
    struct slice block; /* the whole block as received. The writer copies from it the User Properties, and of several
                           Subscription Identifiers (sub_id_n > 1) all but the first; nothing else */
    uint32_t user_n;    /* how many stand in block (collect) */
    uint32_t sub_id_n;
    uint32_t message_expiry_s, session_expiry_s, will_delay_s, packet_bytes_max;
    uint32_t sub_id; /* the first one */
    uint16_t server_keepalive_s, receive_max, alias_max;
    uint16_t alias; /* 0 is let through: the answer is 0x94 [MQTT-3.3.2-8], which is the adapter's */
    uint8_t payload_format, want_problem, want_response, qos_max, has_retain, has_wildcard, has_sub_id, has_shared;
    struct slice content_type, response_topic, correlation, assigned_id, auth_method, auth_data, response_info,
        server_ref, reason;
};

/* mqtt_props_clear: nothing set. Cheap: values are not touched. */
static inline void mqtt_props_clear(struct mqtt_props *p)
{
    p->has = 0;
    p->block = (struct slice){0};
    p->user_n = 0;
    p->sub_id_n = 0;
}

/* mqtt_props_collect: check a block completely and sort its values into *out.
 *
 *   block   without its length; the slices of *out point into it
 *   at      the packet it stands in, MQTT_WILL for Will Properties
 *
 * ERR_MALFORMED: an unknown property, or one that has no place in this packet (MQTT 5 §2.2.2.2); a length that does
 * not fit; bad UTF-8 or U+0000 [MQTT-1.5.4-1, MQTT-1.5.4-2].
 * ERR_PROTOCOL: one that stands twice; a value out of its range (Receive Maximum 0, Maximum Packet Size 0,
 * Subscription Identifier 0, a flag above 1); a Response Topic that is empty or has wildcards [MQTT-3.3.2-14];
 * Authentication Data without a method (§3.1.2.11.10).
 * Left to the adapter: who may send what (Subscription Identifier from a client [MQTT-3.3.4-6], Session Expiry in a
 * server's DISCONNECT [MQTT-3.14.2-2]), Topic Alias 0 or too high. On an error *out is unspecified. O(items).
 */
enum err mqtt_props_collect(struct slice block, enum mqtt_type at, struct mqtt_props *out) MUST_CHECK;

/* mqtt_props_bytes: the exact length of the block mqtt_props_encode would write, without its length field. */
size_t mqtt_props_bytes(const struct mqtt_props *p);

/* mqtt_props_encode: write length and block of *p to out[cap]; at most 4 + mqtt_props_bytes(p).
 * Returns the bytes written (>= 1: no properties are one byte 0x00) or -ERR_TOO_BIG: no room, or a string above 65,535
 * bytes. A property that has no place in `at` is our bug. */
ptrdiff_t mqtt_props_encode(const struct mqtt_props *p, enum mqtt_type at, uint8_t *out, size_t cap) MUST_CHECK;

struct mqtt_prop_item {
    uint8_t id;         /* enum mqtt_prop */
    uint8_t wire;       /* enum mqtt_prop_wire: says which of these is set */
    uint32_t num;       /* U8, U16, U32, VARINT */
    struct slice name;  /* PAIR */
    struct slice value; /* UTF8, BIN, PAIR */
};

/* mqtt_props_next: the first item of *rest, which is moved past it. Checks lengths, not UTF-8, ranges or place.
 * Returns the bytes eaten, 0 at the end, -ERR_MALFORMED (unknown property or cut short; never after collect said OK).
 *
 *   struct slice rest = props.block;
 *   while (mqtt_props_next(&rest, &item) > 0)
 *       if (item.id == MQTT_PROP_USER) ...
 */
ptrdiff_t mqtt_props_next(struct slice *rest, struct mqtt_prop_item *out) MUST_CHECK;

/* mqtt_prop_name: the spec's name of a property, "?" when unknown; static. mqtt_prop_is_allowed: may `id` stand at
 * `at`? */
const char *mqtt_prop_name(unsigned id);
bool mqtt_prop_is_allowed(unsigned id, enum mqtt_type at);

/* struct mqtt_props_writer: builds a block in the caller's p[cap]. Overflow is sticky: `bad`, and nothing is written.
 */
struct mqtt_props_writer {
    uint8_t *p;
    size_t len, cap;
    bool bad;
};

/* One item each, behind what is there: a number (U8, U16, U32, VARINT by its id), a string or binary, a User Property.
 * Longest: 5 bytes, 3 + v.len, 5 + name.len + v.len. The id must be of that kind (our bug otherwise). */
void mqtt_props_put_num(struct mqtt_props_writer *w, enum mqtt_prop id, uint32_t v);
void mqtt_props_put_slice(struct mqtt_props_writer *w, enum mqtt_prop id, struct slice v);
void mqtt_props_put_user(struct mqtt_props_writer *w, struct slice name, struct slice v);

#endif
