/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_wire_publish.c: PUBLISH and its four acknowledgements.
 *
 *     PUBLISH   0011 DQQR │ length │ topic (2 + n) │ [packet id, QoS 1 and 2] │ [length, properties] │ payload
 *     ack       type 00F0 │ length │ packet id │ [reason code │ [length, properties]]        F: 1 in PUBREL
 *
 * This is the broker's hottest code: a PUBLISH is decoded once and its head is encoded once per receiver. So both are
 * straight lines: no function pointers, no loop over the topic, and properties stay a raw block. Whoever needs them
 * collects them; whoever passes a message on copies the block, with what the receiver's own subscription adds
 * (mqtt_publish_extra) in front. The topic's bytes are checked by mqtt_topic_name_check, and only when they are not
 * those of the connection's last PUBLISH.
 *
 * Invariants
 *   1. topic, props and payload lie in this order inside the body and do not overlap; payload ends where the body ends.
 *   2. packet_id is 0 if and only if qos is 0.
 *   3. mqtt_publish_head writes exactly mqtt_publish_bytes - payload.len bytes.
 * Cost    decode O(1); encode O(topic + properties).
 * Thread  any; pure.
 * Spec    MQTT 5 §3.3 to §3.7; MQTT 3.1.1 §3.3 to §3.7.
 */
#include "proto_mqtt/mqtt_wire.h"

#include "proto_mqtt/mqtt_wire_int.h"

/* take_props: splits the rest of a 5.0 PUBLISH, p .. end, into properties and payload. */
static enum err take_props(const uint8_t *p, const uint8_t *end, struct mqtt_publish *out)
{
    uint32_t n = 0;
    ptrdiff_t eaten = mqtt_varint_get(p, (size_t)(end - p), &n);
    if (eaten <= 0)
        return ERR_MALFORMED;
    p += eaten;
    if ((size_t)(end - p) < n)
        return ERR_MALFORMED;
    out->props = slice_make(p, n);
    out->payload = slice_make(p + n, (size_t)(end - p) - n);
    return ERR_OK;
}

enum err mqtt_publish_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_publish *out)
{
    const uint8_t *p = f->body.p, *end = p + f->body.len;
    unsigned flags = f->flags, qos = flags >> 1 & 3;
    if (UNLIKELY(qos == 3)) /* both: [MQTT-3.3.1-4] */
        return ERR_MALFORMED;
    if (UNLIKELY((flags & 0x0e) == 0x08 && v != MQTT_V31 && !f->is_lenient))
        return ERR_MALFORMED; /* both: [MQTT-3.3.1-2] DUP at QoS 0; 3.1 does not forbid it. Lenient: retries at any QoS
                               * set it
                               */
    if (UNLIKELY(f->overlong && v == MQTT_V5 && !f->is_lenient)) /* [MQTT-1.5.5-1]; lenient: mqtt_frame_check */
        return ERR_MALFORMED;
    if (UNLIKELY(end - p < 2))
        return ERR_MALFORMED;
    size_t topic_len = mqtt_u16(p);
    size_t id_bytes = qos != 0 ? 2 : 0;
    p += 2;
    if (UNLIKELY((size_t)(end - p) < topic_len + id_bytes))
        return ERR_MALFORMED;
    out->topic = slice_make(p, topic_len);
    p += topic_len;
    out->packet_id = 0;
    if (qos != 0) {
        out->packet_id = mqtt_u16(p);
        if (UNLIKELY(out->packet_id == 0)) /* [MQTT-2.2.1-3]; 3.1.1: [MQTT-2.3.1-1] */
            return ERR_PROTOCOL;
        p += 2;
    }
    out->qos = (uint8_t)qos;
    out->dup = (flags & 0x08) != 0;
    out->retain = (flags & 0x01) != 0;
    if (v == MQTT_V5) {
        if (UNLIKELY(p == end || *p != 0))
            return take_props(p, end, out);
        p++;
    }
    out->props = slice_make(p, 0);
    out->payload = slice_make(p, (size_t)(end - p));
    return ERR_OK;
}

/* extra_bytes: what mqtt_publish_extra adds to the block. */
static size_t extra_bytes(const struct mqtt_publish_extra *extra)
{
    size_t n = (extra->has_expiry ? 5 : 0) + (extra->alias != 0 ? 3 : 0);
    for (uint32_t i = 0; i < extra->sub_id_n; i++)
        n += 1 + mqtt_varint_bytes(extra->sub_ids[i]);
    return n;
}

static size_t props_bytes(const struct mqtt_publish *p, const struct mqtt_publish_extra *extra, enum mqtt_version v)
{
    if (v < MQTT_V5)
        return 0;
    return p->props.len + (extra != NULL ? extra_bytes(extra) : 0);
}

/* props_len_bytes: of the property length field for a block of n bytes. A block too long for it cannot be sent anyway.
 */
static size_t props_len_bytes(size_t n, enum mqtt_version v)
{
    return v < MQTT_V5 ? 0 : n > MQTT_VARINT_MAX ? 4 : mqtt_varint_bytes((uint32_t)n);
}

/* body_bytes: the remaining length, which may be more than a packet can say. */
static uint64_t body_bytes(const struct mqtt_publish *p, size_t block_bytes, enum mqtt_version v)
{
    return (uint64_t)2 + p->topic.len + (p->qos != 0 ? 2 : 0) + props_len_bytes(block_bytes, v) + block_bytes +
           p->payload.len;
}

uint64_t mqtt_publish_bytes(const struct mqtt_publish *p, const struct mqtt_publish_extra *extra, enum mqtt_version v)
{
    uint64_t body = body_bytes(p, props_bytes(p, extra, v), v);
    return 1 + (body > MQTT_VARINT_MAX ? 4 : mqtt_varint_bytes((uint32_t)body)) + body;
}

/* put_bytes: memcpy that takes empty slices. */
static uint8_t *put_bytes(uint8_t *at, struct slice s)
{
    if (s.len != 0)
        memcpy(at, s.p, s.len);
    return at + s.len;
}

static uint8_t *put_u16(uint8_t *at, unsigned v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
    return at + 2;
}

static uint8_t *put_extra(uint8_t *at, const struct mqtt_publish_extra *extra)
{
    if (extra->has_expiry) {
        *at++ = MQTT_PROP_MESSAGE_EXPIRY;
        at = put_u16(at, extra->expiry_s >> 16);
        at = put_u16(at, extra->expiry_s & 0xffff);
    }
    if (extra->alias != 0) {
        *at++ = MQTT_PROP_ALIAS;
        at = put_u16(at, extra->alias);
    }
    for (uint32_t i = 0; i < extra->sub_id_n; i++) {
        *at++ = MQTT_PROP_SUB_ID;
        at += mqtt_varint_put(at, extra->sub_ids[i]);
    }
    return at;
}

size_t mqtt_publish_head(uint8_t *out, const struct mqtt_publish *p, const struct mqtt_publish_extra *extra,
                         enum mqtt_version v)
{
    BUG_ON(p->qos > 2 || (p->packet_id == 0) != (p->qos == 0));
    size_t block = props_bytes(p, extra, v);
    uint64_t body = body_bytes(p, block, v);
    if (UNLIKELY(body > MQTT_VARINT_MAX || p->topic.len > MQTT_STRING_BYTES_MAX))
        return 0;
    uint8_t *at = out;
    *at++ = (uint8_t)(MQTT_PUBLISH << 4 | (p->dup ? 0x08 : 0) | p->qos << 1 | (p->retain ? 0x01 : 0));
    at += mqtt_varint_put(at, (uint32_t)body);
    at = put_u16(at, (unsigned)p->topic.len);
    at = put_bytes(at, p->topic);
    if (p->qos != 0)
        at = put_u16(at, p->packet_id);
    if (v == MQTT_V5) {
        at += mqtt_varint_put(at, (uint32_t)block);
        if (extra != NULL)
            at = put_extra(at, extra);
        at = put_bytes(at, p->props);
    }
    return (size_t)(at - out);
}

static bool is_ack(unsigned type)
{
    return type >= MQTT_PUBACK && type <= MQTT_PUBCOMP;
}

enum err mqtt_ack_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_ack *out)
{
    BUG_ON(!is_ack(f->type));
    enum err e = mqtt_frame_check(f, v);
    if (UNLIKELY(e != ERR_OK))
        return e;
    struct mqtt_rd r = mqtt_rd_make(f->body);
    out->type = f->type;
    out->packet_id = mqtt_rd_u16(&r);
    out->code = 0;
    mqtt_props_clear(&out->props);
    if (v == MQTT_V5 && r.p != r.end) { /* §3.4.2.1: without a reason code it is 0x00 */
        out->code = mqtt_rd_u8(&r);
        if (r.p != r.end) { /* §3.4.2.2.1: below 4 bytes there is no property length */
            e = mqtt_rd_props(&r, v, (enum mqtt_type)f->type, &out->props);
            if (e != ERR_OK)
                return e;
        }
        if (!r.bad && !mqtt_reason_is_allowed(out->code, (enum mqtt_type)f->type))
            return ERR_PROTOCOL; /* [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1] */
    }
    e = mqtt_rd_end(&r);
    if (e == ERR_OK && out->packet_id == 0) /* [MQTT-2.2.1-3]; 3.1.1: [MQTT-2.3.1-1] */
        return ERR_PROTOCOL;
    return e;
}

ptrdiff_t mqtt_ack_encode(const struct mqtt_ack *a, enum mqtt_version v, uint8_t *out, size_t cap)
{
    BUG_ON(!is_ack(a->type) || a->packet_id == 0);
    bool has_props = v == MQTT_V5 && mqtt_props_bytes(&a->props) != 0;
    if (v != MQTT_V5 || (a->code == 0 && !has_props)) {
        if (cap < MQTT_ACK_BYTES)
            return -ERR_TOO_BIG;
        mqtt_ack_put(out, (enum mqtt_type)a->type, a->packet_id);
        return MQTT_ACK_BYTES;
    }
    struct mqtt_wr w = mqtt_wr_begin(out, cap);
    mqtt_wr_u16(&w, a->packet_id);
    mqtt_wr_u8(&w, a->code);
    if (has_props)
        mqtt_wr_props(&w, v, (enum mqtt_type)a->type, &a->props);
    return mqtt_wr_end(&w, (enum mqtt_type)a->type, a->type == MQTT_PUBREL ? 0x02 : 0x00);
}
