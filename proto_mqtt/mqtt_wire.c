/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_wire.c: frames: where one MQTT packet ends and the next begins, and which flags a fixed header may carry.
 *
 *     ┌─────────────┬──────────────────────────┬───────────────────────────────┐
 *     │ type, flags │ length: 1 to 4 bytes     │ body: that many bytes         │
 *     │ 4    4 bits │ 7 bits each, low first   │                               │
 *     └─────────────┴──────────────────────────┴───────────────────────────────┘
 *      in[0]         in[1] .. in[4]             f.body
 *
 * The length is compared with the caller's limit as soon as it is known, before a single byte of the body has come, so
 * a peer cannot make anybody reserve memory by announcing much. The reader learns the exact total for its buffer.
 *
 * Invariants
 *   1. No byte at or behind in + len is read.
 *   2. A return value > 0 is out->total, is <= len, and body lies inside in[0 .. total).
 *   3. 0 is only returned when more bytes could make the packet complete.
 * Cost    O(1), five bytes at most.
 * Thread  any; pure.
 * Spec    MQTT 5 §1.5.5, §2.1; MQTT 3.1.1 §2.2; MQTT 3.1 §2.1.
 */
#include "proto_mqtt/mqtt_wire.h"

#include "proto_mqtt/mqtt_wire_int.h"

static const char *const TYPE_NAMES[16] = {"WILL",    "CONNECT",  "CONNACK",    "PUBLISH", "PUBACK",      "PUBREC",
                                           "PUBREL",  "PUBCOMP",  "SUBSCRIBE",  "SUBACK",  "UNSUBSCRIBE", "UNSUBACK",
                                           "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"};

const char *mqtt_type_name(unsigned type)
{
    return type >= MQTT_CONNECT && type <= MQTT_AUTH ? TYPE_NAMES[type] : "?";
}

const char *mqtt_version_name(unsigned version)
{
    switch (version) {
    case MQTT_V31:
        return "3.1";
    case MQTT_V311:
        return "3.1.1";
    case MQTT_V5:
        return "5.0";
    default:
        return "?";
    }
}

/* varint_get: mqtt_varint_get without an opinion on length: tells whether the last byte was superfluous. */
static ptrdiff_t varint_get(const uint8_t *in, size_t len, uint32_t *out, bool *out_overlong)
{
    uint32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        if (i == len)
            return 0;
        v |= (uint32_t)(in[i] & 0x7f) << (7 * i);
        if (in[i] < 0x80) {
            *out = v;
            *out_overlong = i > 0 && in[i] == 0;
            return (ptrdiff_t)i + 1;
        }
    }
    return -ERR_MALFORMED; /* a fifth byte would be needed */
}

ptrdiff_t mqtt_varint_get(const uint8_t *in, size_t len, uint32_t *out)
{
    uint32_t v = 0;
    bool overlong = false;
    ptrdiff_t n = varint_get(in, len, &v, &overlong);
    if (n <= 0)
        return n;
    if (overlong) /* [MQTT-1.5.5-1] the minimum number of bytes */
        return -ERR_MALFORMED;
    *out = v;
    return n;
}

ptrdiff_t mqtt_frame_peek_slow(const uint8_t *in, size_t len, uint32_t max_packet_bytes, struct mqtt_frame *out)
{
    *out = (struct mqtt_frame){0};
    if (len == 0)
        return 0;
    out->type = in[0] >> 4;
    out->flags = in[0] & 0x0f;
    if (out->type == 0) /* MQTT 5 §2.1.2: forbidden */
        return -ERR_MALFORMED;
    uint32_t body = 0;
    bool overlong = false;
    ptrdiff_t n = varint_get(in + 1, len - 1, &body, &overlong);
    if (n <= 0)
        return n;
    out->overlong = overlong;
    out->head_bytes = (uint8_t)(1 + n);
    out->total = out->head_bytes + body;
    if (out->total > max_packet_bytes)
        return -ERR_TOO_BIG;
    out->body = slice_make(in + out->head_bytes, body);
    return len >= out->total ? (ptrdiff_t)out->total : 0;
}

/* is_qos1_type: the packets that 3.1 sends "at QoS 1" and whose flags later became fixed at 0010. */
static bool is_qos1_type(unsigned type)
{
    return type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE;
}

enum err mqtt_frame_check(const struct mqtt_frame *f, enum mqtt_version v)
{
    if (f->overlong && v == MQTT_V5 && !f->is_lenient) /* [MQTT-1.5.5-1]; lenient: small stacks reserve four bytes */
        return ERR_MALFORMED;
    if (f->type == MQTT_AUTH && v != MQTT_V5) /* MQTT 3.1.1 §2.2.1: type 15 is reserved */
        return ERR_PROTOCOL;
    if (f->type == MQTT_PUBLISH)
        return ERR_OK;
    unsigned want = is_qos1_type(f->type) ? 0x02 : 0x00;
    if (v == MQTT_V31) /* MQTT 3.1 §2.1: DUP may be set where the QoS is 1; flags not used may be anything */
        return (f->flags & 0x06) == want || want == 0 ? ERR_OK : ERR_MALFORMED;
    if (f->is_lenient && want != 0) /* lenient: 3.1 stacks that say 3.1.1 send DUP here, or no flags at all */
        return ERR_OK;
    /* [MQTT-2.1.3-1]; 3.1.1: [MQTT-2.2.2-1], [MQTT-2.2.2-2]; both: [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1],
     * [MQTT-3.14.1-1] */
    return f->flags == want ? ERR_OK : ERR_MALFORMED;
}

enum err mqtt_ping_decode(const struct mqtt_frame *f, enum mqtt_version v)
{
    enum err e = mqtt_frame_check(f, v);
    if (e != ERR_OK)
        return e;
    return f->body.len == 0 ? ERR_OK : ERR_MALFORMED; /* MQTT 5 §3.12, §3.13: no body */
}
