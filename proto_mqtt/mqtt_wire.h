/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_WIRE_H
#define WEIR_MQTT_WIRE_H

/*
 * mqtt_wire.h: MQTT 3.1, 3.1.1 and 5.0 packets to structs and back, in both directions. Pure functions: no state, no
 * allocation, no clock. This is the one header other folders (bridge/, tests/) include.
 *
 *   n = mqtt_frame_peek(in, len, max, &f);       n > 0: f is one whole packet, eaten when you have handled it
 *   if (n > 0 && f.type == MQTT_PUBLISH)         n = 0: read more; f.total says how much, when it is known
 *       e = mqtt_publish_decode(&f, v, &pub);    n < 0: -ERR_MALFORMED or -ERR_TOO_BIG
 *
 * Decoding copies nothing: every slice points into the input and lives as long as that does. A decoder checks all that
 * can be seen in one packet: flags, lengths, trailing bytes, UTF-8, properties, reason codes. What needs the connection
 * (order, ids in use, aliases, limits, who may send what) is the adapter's. Every decoder may return
 *   ERR_MALFORMED  the bytes are not such a packet
 *   ERR_PROTOCOL   they are, but it says what it may not (packet id 0, an empty SUBSCRIBE, a property twice ...)
 * and leaves *out unspecified then. A packet type the version does not have (AUTH in 3.x) is ERR_PROTOCOL.
 * 3.1 is read as leniently as it was written: DUP may be set, flags it calls unused are ignored. A frame that is marked
 * is_lenient is read past six more breaches that real devices commit; each stands where it is overlooked:
 *   the reserved flags of SUBSCRIBE, UNSUBSCRIBE, PUBREL (3.1.1 and 5.0)  · DUP at QoS 0 · a length that is not the
 *   shortest (5.0)  · in CONNECT: the reserved flag · a password without a user name (3.1.1)  · the will's QoS and
 * RETAIN without a will.
 *
 * An encoder writes one whole packet to out[cap] and returns its bytes, or -ERR_TOO_BIG: no room, a string above 65,535
 * bytes, or a packet above MQTT_PACKET_BYTES_MAX. Each says how much room suffices; `out` may be scribbled on up to
 * cap. Contents are not checked again, values that do not exist (QoS 3) are our bug. Properties are left out below 5.0.
 */

#include "proto_mqtt/mqtt_props.h"
#include "proto_mqtt/mqtt_reason.h"
#include "proto_mqtt/mqtt_wire_topic.h"
#include "proto_mqtt/mqtt_wire_types.h"

/* -- frames -------------------------------------------------------------------------------------------------------- */

struct mqtt_frame {
    struct slice body;   /* what follows the fixed header; complete only if mqtt_frame_peek returned > 0 */
    uint32_t total;      /* bytes of the whole packet; 0: not known yet */
    uint8_t type;        /* enum mqtt_type; 0: not known yet */
    uint8_t flags;       /* low four bits of the first byte */
    uint8_t head_bytes;  /* 2..5 */
    bool overlong : 1;   /* the length is not the shortest encoding: malformed in 5.0, tolerated before */
    bool is_lenient : 1; /* never set by mqtt_frame_peek: for who wants the packet read leniently, see above */
};

/* mqtt_frame_peek_slow: mqtt_frame_peek for all but short, plain headers. */
ptrdiff_t mqtt_frame_peek_slow(const uint8_t *in, size_t len, uint32_t max_packet_bytes,
                               struct mqtt_frame *out) MUST_CHECK;

/* mqtt_frame_peek: find the packet at the front of in[len] (MQTT 5 §2.1). Reads at most five bytes.
 *
 *   max_packet_bytes   the longest whole packet to accept, fixed header included; MQTT_PACKET_BYTES_MAX: any
 *
 * > 0: the packet is in[0 .. return value) and complete. 0: more bytes are needed, out->total in all once it is not 0.
 * -ERR_MALFORMED: packet type 0, or a length of more than four bytes. -ERR_TOO_BIG: out->total > max_packet_bytes; said
 * as soon as the length is known. After an error out->type and out->total are set as far as they are known. */
static inline ptrdiff_t mqtt_frame_peek(const uint8_t *in, size_t len, uint32_t max_packet_bytes,
                                        struct mqtt_frame *out)
{
    if (LIKELY(len >= 2 && in[1] < 0x80 && in[0] >= 0x10 && in[1] + 2u <= max_packet_bytes)) {
        out->body = slice_make(in + 2, in[1]);
        out->total = in[1] + 2u;
        out->type = in[0] >> 4;
        out->flags = in[0] & 0x0f;
        out->head_bytes = 2;
        out->overlong = false;
        out->is_lenient = false;
        return len >= out->total ? (ptrdiff_t)out->total : 0;
    }
    return mqtt_frame_peek_slow(in, len, max_packet_bytes, out);
}

/* mqtt_frame_check: does this version have the packet, and are its fixed header's flags legal [MQTT-2.1.3-1]? The
 * decoders have asked already; a PUBLISH answers for itself. */
enum err mqtt_frame_check(const struct mqtt_frame *f, enum mqtt_version v) MUST_CHECK;

/* -- CONNECT, CONNACK (§3.1, §3.2) --------------------------------------------------------------------------------- */

struct mqtt_connect {
    uint8_t version; /* enum mqtt_version; set as soon as read, also on a later error, else 0 */
    uint8_t level;   /* the protocol level byte as sent: with ERR_UNSUPPORTED it chooses the shape of the answer */
    bool clean;      /* Clean Start; Clean Session in 3.x */
    bool has_will, has_user, has_password, will_retain;
    uint8_t will_qos;
    uint16_t keepalive_s;
    struct slice client_id, user, password, will_topic, will_payload; /* will_topic: UTF-8 is checked; ask
                                                                         mqtt_topic_name_check for the rest */
    struct mqtt_props props, will_props;
};

struct mqtt_connack {
    bool session_present;
    uint8_t code; /* reason code; in 3.x enum mqtt_v3_code */
    struct mqtt_props props;
};

/* mqtt_connect_decode: finds the version out by itself. Also ERR_UNSUPPORTED: not MQTT's name or no level we speak
 * [MQTT-3.1.2-1, -2]. The length of a client id and an empty one are the adapter's business. On an error out->props.has
 * and its numbers are right for what was read until then (how the peer wants to be answered), the rest is not. */
enum err mqtt_connect_decode(const struct mqtt_frame *f, struct mqtt_connect *out) MUST_CHECK;
enum err mqtt_connack_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_connack *out) MUST_CHECK;

/* Room: 35 + mqtt_props_bytes of both blocks + the five slices' lengths. Reads c->version. */
ptrdiff_t mqtt_connect_encode(const struct mqtt_connect *c, uint8_t *out, size_t cap) MUST_CHECK;
/* Room: 11 + mqtt_props_bytes. */
ptrdiff_t mqtt_connack_encode(const struct mqtt_connack *c, enum mqtt_version v, uint8_t *out, size_t cap) MUST_CHECK;

/* -- PUBLISH (§3.3) ------------------------------------------------------------------------------------------------ */

struct mqtt_publish {
    struct slice
        topic; /* decode checks nothing of it: ask mqtt_topic_name_check unless you saw it before; may be empty */
    struct slice
        props; /* the raw block, for mqtt_props_collect(.., MQTT_PUBLISH, ..) when not empty; always empty in 3.x */
    struct slice payload;
    uint16_t packet_id; /* 0 exactly when qos is 0 */
    uint8_t qos;
    bool dup, retain;
};

/* What a server adds for one receiver, in front of the message's own properties. */
struct mqtt_publish_extra {
    const uint32_t *sub_ids; /* [sub_id_n], each 1 .. MQTT_VARINT_MAX */
    uint32_t sub_id_n;
    uint32_t expiry_s; /* Message Expiry Interval, if has_expiry */
    bool has_expiry;
    uint16_t alias; /* Topic Alias; 0: none */
};

/* mqtt_publish_decode: the hot one; a straight line. Does not look into topic, properties or payload. */
enum err mqtt_publish_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_publish *out) MUST_CHECK;

/* mqtt_publish_bytes: exact bytes of the whole packet, payload included; `extra` may be NULL and counts in 5.0 only.
 * Above MQTT_PACKET_BYTES_MAX (or topic.len above 65,535) it cannot be sent; compare also with the peer's maximum. */
uint64_t mqtt_publish_bytes(const struct mqtt_publish *p, const struct mqtt_publish_extra *extra, enum mqtt_version v);

/* mqtt_publish_head_max: room enough for mqtt_publish_head. */
static inline size_t mqtt_publish_head_max(const struct mqtt_publish *p, const struct mqtt_publish_extra *extra)
{
    return 13 + p->topic.len + p->props.len + (extra != NULL ? 8 + 5 * (size_t)extra->sub_id_n : 0);
}

/* mqtt_publish_head: write everything up to the payload; the caller appends p->payload, copied or by reference.
 *
 *   out     room for mqtt_publish_head_max(p, extra)
 *   props   p->props is copied as it is (5.0), so it must be a sound block without what `extra` adds
 *
 * Returns the bytes written, 0 when the packet cannot be sent (see mqtt_publish_bytes). */
size_t mqtt_publish_head(uint8_t *out, const struct mqtt_publish *p, const struct mqtt_publish_extra *extra,
                         enum mqtt_version v) MUST_CHECK;

/* -- PUBACK, PUBREC, PUBREL, PUBCOMP (§3.4 to §3.7) ---------------------------------------------------------------- */

#define MQTT_ACK_BYTES 4u

struct mqtt_ack {
    uint8_t type; /* which of the four */
    uint8_t code; /* reason code; 0 in 3.x */
    uint16_t packet_id;
    struct mqtt_props props;
};

enum err mqtt_ack_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_ack *out) MUST_CHECK;

/* mqtt_ack_put: the four bytes of an ack that says success; out has room for MQTT_ACK_BYTES. All versions. */
static inline void mqtt_ack_put(uint8_t *out, enum mqtt_type type, uint16_t packet_id)
{
    out[0] = (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 0x02 : 0x00));
    out[1] = 2;
    out[2] = (uint8_t)(packet_id >> 8);
    out[3] = (uint8_t)packet_id;
}

/* Room: 12 + mqtt_props_bytes. Writes the shortest form; reason and properties are left out below 5.0. */
ptrdiff_t mqtt_ack_encode(const struct mqtt_ack *a, enum mqtt_version v, uint8_t *out, size_t cap) MUST_CHECK;

/* -- SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (§3.8 to §3.11) ------------------------------------------------------ */

struct mqtt_subscribe { /* both SUBSCRIBE and UNSUBSCRIBE */
    uint16_t packet_id;
    uint32_t filter_n;    /* >= 1 */
    struct slice filters; /* the checked payload, for mqtt_subscribe_next or mqtt_unsubscribe_next */
    struct mqtt_props props;
};

struct mqtt_sub_item {
    struct slice filter; /* UTF-8 is checked; ask mqtt_filter_check for the rest */
    uint8_t qos;
    uint8_t retain_handling; /* 0..2; this and the next two are zero in 3.x */
    bool no_local, retain_as_published;
};

struct mqtt_suback { /* both SUBACK and UNSUBACK */
    uint16_t packet_id;
    struct slice codes; /* one byte per filter; empty in a 3.x UNSUBACK */
    struct mqtt_props props;
};

/* The whole payload is checked here, so that walking it cannot fail: a SUBSCRIBE acts entirely or not at all.
 * Also ERR_PROTOCOL: No Local on a filter that starts with `$share/` [MQTT-3.8.3-4]. */
enum err mqtt_subscribe_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_subscribe *out) MUST_CHECK;
enum err mqtt_unsubscribe_decode(const struct mqtt_frame *f, enum mqtt_version v,
                                 struct mqtt_subscribe *out) MUST_CHECK;
enum err mqtt_suback_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_suback *out) MUST_CHECK;
enum err mqtt_unsuback_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_suback *out) MUST_CHECK;

/* The first item of *rest (start with a copy of out->filters), which is moved past it. False at the end. */
bool mqtt_subscribe_next(struct slice *rest, struct mqtt_sub_item *out);
bool mqtt_unsubscribe_next(struct slice *rest, struct slice *out_filter);

/* From item[n] and filter[n] (s->filters and s->filter_n are not read). Room: 11 + mqtt_props_bytes + 3 + filter.len of
 * each. */
ptrdiff_t mqtt_subscribe_encode(const struct mqtt_subscribe *s, const struct mqtt_sub_item *item, size_t n,
                                enum mqtt_version v, uint8_t *out, size_t cap) MUST_CHECK;
ptrdiff_t mqtt_unsubscribe_encode(const struct mqtt_subscribe *s, const struct slice *filter, size_t n,
                                  enum mqtt_version v, uint8_t *out, size_t cap) MUST_CHECK;
/* Room: 11 + mqtt_props_bytes + codes.len. */
ptrdiff_t mqtt_suback_encode(const struct mqtt_suback *s, enum mqtt_version v, uint8_t *out, size_t cap) MUST_CHECK;
ptrdiff_t mqtt_unsuback_encode(const struct mqtt_suback *s, enum mqtt_version v, uint8_t *out, size_t cap) MUST_CHECK;

/* -- PINGREQ, PINGRESP, DISCONNECT, AUTH (§3.12 to §3.15) ---------------------------------------------------------- */

#define MQTT_PING_BYTES 2u

struct mqtt_closing { /* both DISCONNECT and AUTH */
    uint8_t code;     /* reason code; 0 in 3.x */
    struct mqtt_props props;
};

/* AUTH with a body but without Authentication Method is ERR_PROTOCOL (§3.15.2.2.2). */
enum err mqtt_ping_decode(const struct mqtt_frame *f, enum mqtt_version v) MUST_CHECK;
enum err mqtt_disconnect_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_closing *out) MUST_CHECK;
enum err mqtt_auth_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_closing *out) MUST_CHECK;

/* mqtt_ping_put: PINGREQ or PINGRESP; out has room for MQTT_PING_BYTES. */
static inline void mqtt_ping_put(uint8_t *out, enum mqtt_type type)
{
    out[0] = (uint8_t)(type << 4);
    out[1] = 0;
}

/* Room: 10 + mqtt_props_bytes. The shortest form. AUTH exists in 5.0 only: another version is our bug. */
ptrdiff_t mqtt_disconnect_encode(const struct mqtt_closing *d, enum mqtt_version v, uint8_t *out,
                                 size_t cap) MUST_CHECK;
ptrdiff_t mqtt_auth_encode(const struct mqtt_closing *a, enum mqtt_version v, uint8_t *out, size_t cap) MUST_CHECK;

#endif
