/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_wire_connect.c: CONNECT and CONNACK, bytes to struct and back.
 *
 *     CONNECT   name "MQTT" or "MQIsdp" │ level │ flags │ keep alive │ [properties] │ client id
 *                 │ [[will properties] will topic, will payload] │ [user name] │ [password]
 *     flags       7 user  6 password  5 will retain  4,3 will QoS  2 will  1 clean  0 reserved
 *     CONNACK   0000000S │ code │ [properties]            S: session present
 *
 * CONNECT is the only packet that says its own version, and the answer to a bad one has the shape of that version:
 * out->version and out->level are set before anything behind them is looked at.
 *
 * What 3.1 allows beyond 3.1.1: will bits without a will are ignored, the reserved bit is unused, and the packet may
 * end before a user name or password that the flags promise ("the remaining length takes precedence"): they count as
 * absent.
 *
 * Invariants
 *   1. has_will false: will_qos 0, will_retain false. has_user / has_password false: the slice is empty.
 *   2. Nothing is read behind the body, nothing is left over in it.
 * Cost    O(bytes), dominated by UTF-8 validation; no allocation.
 * Thread  any; pure.
 * Spec    MQTT 5 §3.1, §3.2; MQTT 3.1.1 §3.1, §3.2; MQTT 3.1 §3.1, §3.2.
 */
#include "proto_mqtt/mqtt_wire.h"

#include "proto_mqtt/mqtt_wire_int.h"

enum connect_flag {
    FLAG_RESERVED = 0x01,
    FLAG_CLEAN = 0x02,
    FLAG_WILL = 0x04,
    FLAG_WILL_QOS = 0x18,
    FLAG_WILL_RETAIN = 0x20,
    FLAG_PASSWORD = 0x40,
    FLAG_USER = 0x80,
};
#define WILL_QOS_SHIFT 3

/* version_of: 0 when name and level are not a pair we speak. */
static uint8_t version_of(struct slice name, uint8_t level)
{
    if (slice_eq(name, SLICE("MQTT")) && (level == MQTT_V311 || level == MQTT_V5))
        return level;
    if (slice_eq(name, SLICE("MQIsdp")) && level == MQTT_V31)
        return level;
    return 0;
}

/* read_version: name and level, and what the fixed header may look like in that version. */
static enum err read_version(struct mqtt_rd *r, const struct mqtt_frame *f, struct mqtt_connect *out)
{
    struct slice name = mqtt_rd_bin(r);
    out->level = mqtt_rd_u8(r);
    if (r->bad)
        return ERR_MALFORMED;
    out->version = version_of(name, out->level);
    if (out->version == 0) /* both: [MQTT-3.1.2-1] the name, [MQTT-3.1.2-2] the level */
        return ERR_UNSUPPORTED;
    return mqtt_frame_check(f, (enum mqtt_version)out->version);
}

static enum err read_flags(struct mqtt_rd *r, struct mqtt_connect *out, bool is_lenient)
{
    unsigned flags = mqtt_rd_u8(r);
    bool strict = out->version != MQTT_V31 && !is_lenient; /* lenient: as in 3.1, from where these devices come */
    if ((flags & FLAG_RESERVED) != 0 && strict)            /* both: [MQTT-3.1.2-3] */
        return ERR_MALFORMED;
    out->clean = (flags & FLAG_CLEAN) != 0;
    out->has_user = (flags & FLAG_USER) != 0;
    out->has_password = (flags & FLAG_PASSWORD) != 0;
    out->has_will = (flags & FLAG_WILL) != 0;
    if (out->has_will) {
        out->will_qos = (uint8_t)((flags & FLAG_WILL_QOS) >> WILL_QOS_SHIFT);
        out->will_retain = (flags & FLAG_WILL_RETAIN) != 0;
        if (out->will_qos == 3) /* [MQTT-3.1.2-12]; 3.1.1: [MQTT-3.1.2-14] */
            return ERR_MALFORMED;
    } else if ((flags & (FLAG_WILL_QOS | FLAG_WILL_RETAIN)) != 0 && strict) {
        return ERR_MALFORMED; /* [MQTT-3.1.2-11, -13]; 3.1.1: [MQTT-3.1.2-11, -13, -15] */
    }
    bool may_stand_alone = out->version == MQTT_V5 || is_lenient; /* lenient: tokens without a user name */
    if (out->has_password && !out->has_user && !may_stand_alone)  /* 3.1.1: [MQTT-3.1.2-22] */
        return ERR_MALFORMED;
    return ERR_OK;
}

/* read_will: both: [MQTT-3.1.2-9] what the flag promises is there. */
static enum err read_will(struct mqtt_rd *r, struct mqtt_connect *out)
{
    enum err e = mqtt_rd_props(r, (enum mqtt_version)out->version, MQTT_WILL, &out->will_props);
    if (e != ERR_OK)
        return e;
    out->will_topic = mqtt_rd_utf8(r); /* [MQTT-3.1.3-11]; 3.1.1: [MQTT-3.1.3-10] */
    out->will_payload = mqtt_rd_bin(r);
    return ERR_OK;
}

/* read_login: user name and password, each exactly if its flag says so [MQTT-3.1.2-16] to [MQTT-3.1.2-19]; 3.1.1:
 * [MQTT-3.1.2-18] to [MQTT-3.1.2-21]. 3.1 lets the packet end first. */
static void read_login(struct mqtt_rd *r, struct mqtt_connect *out)
{
    bool may_end = out->version == MQTT_V31;
    if (may_end && r->p == r->end)
        out->has_user = false;
    if (out->has_user)
        out->user = mqtt_rd_utf8(r); /* [MQTT-3.1.3-12]; 3.1.1: [MQTT-3.1.3-11] */
    if (may_end && r->p == r->end)
        out->has_password = false;
    if (out->has_password)
        out->password = mqtt_rd_bin(r);
}

enum err mqtt_connect_decode(const struct mqtt_frame *f, struct mqtt_connect *out)
{
    BUG_ON(f->type != MQTT_CONNECT);
    struct mqtt_rd r = mqtt_rd_make(f->body);
    *out = (struct mqtt_connect){0};
    enum err e = read_version(&r, f, out);
    if (e == ERR_OK)
        e = read_flags(&r, out, f->is_lenient);
    if (e != ERR_OK)
        return e;
    out->keepalive_s = mqtt_rd_u16(&r);
    e = mqtt_rd_props(&r, (enum mqtt_version)out->version, MQTT_CONNECT, &out->props);
    if (e != ERR_OK)
        return e;
    out->client_id = mqtt_rd_utf8(&r); /* both: [MQTT-3.1.3-4], [MQTT-3.1.3-3] it is there and first */
    if (out->has_will) {
        e = read_will(&r, out);
        if (e != ERR_OK)
            return e;
    }
    read_login(&r, out); /* both: [MQTT-3.1.3-1] in this order */
    return mqtt_rd_end(&r);
}

static unsigned connect_flags(const struct mqtt_connect *c)
{
    unsigned flags = 0;
    BUG_ON(c->will_qos > 2);
    if (c->clean)
        flags |= FLAG_CLEAN;
    if (c->has_will) {
        flags |= FLAG_WILL | (unsigned)c->will_qos << WILL_QOS_SHIFT;
        if (c->will_retain)
            flags |= FLAG_WILL_RETAIN;
    }
    if (c->has_user)
        flags |= FLAG_USER;
    if (c->has_password)
        flags |= FLAG_PASSWORD;
    return flags;
}

ptrdiff_t mqtt_connect_encode(const struct mqtt_connect *c, uint8_t *out, size_t cap)
{
    enum mqtt_version v = (enum mqtt_version)c->version;
    BUG_ON(v != MQTT_V31 && v != MQTT_V311 && v != MQTT_V5);
    struct mqtt_wr w = mqtt_wr_begin(out, cap);
    mqtt_wr_bin(&w, v == MQTT_V31 ? SLICE("MQIsdp") : SLICE("MQTT"));
    mqtt_wr_u8(&w, v);
    mqtt_wr_u8(&w, connect_flags(c));
    mqtt_wr_u16(&w, c->keepalive_s);
    mqtt_wr_props(&w, v, MQTT_CONNECT, &c->props);
    mqtt_wr_bin(&w, c->client_id);
    if (c->has_will) {
        mqtt_wr_props(&w, v, MQTT_WILL, &c->will_props);
        mqtt_wr_bin(&w, c->will_topic);
        mqtt_wr_bin(&w, c->will_payload);
    }
    if (c->has_user)
        mqtt_wr_bin(&w, c->user);
    if (c->has_password)
        mqtt_wr_bin(&w, c->password);
    return mqtt_wr_end(&w, MQTT_CONNECT, 0);
}

enum err mqtt_connack_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_connack *out)
{
    BUG_ON(f->type != MQTT_CONNACK);
    enum err e = mqtt_frame_check(f, v);
    if (e != ERR_OK)
        return e;
    struct mqtt_rd r = mqtt_rd_make(f->body);
    unsigned flags = mqtt_rd_u8(&r);
    out->code = mqtt_rd_u8(&r);
    if (v == MQTT_V31) /* the byte is not used */
        flags = 0;
    if (flags > 1) /* MQTT 5 §3.2.2.1: the others are reserved */
        return ERR_MALFORMED;
    out->session_present = flags == 1;
    e = mqtt_rd_props(&r, v, MQTT_CONNACK, &out->props);
    if (e == ERR_OK)
        e = mqtt_rd_end(&r);
    if (e != ERR_OK)
        return e;
    bool known = v == MQTT_V5 ? mqtt_reason_is_allowed(out->code, MQTT_CONNACK) : out->code <= MQTT_V3_DENIED;
    if (!known) /* MQTT 5 §3.2.2.2, 3.1.1 §3.2.2.3 */
        return ERR_PROTOCOL;
    if (out->session_present && out->code != 0) /* MQTT 5 §3.2.2.1.1, 3.1.1 §3.2.2.2 */
        return ERR_PROTOCOL;
    return ERR_OK;
}

ptrdiff_t mqtt_connack_encode(const struct mqtt_connack *c, enum mqtt_version v, uint8_t *out, size_t cap)
{
    struct mqtt_wr w = mqtt_wr_begin(out, cap);
    mqtt_wr_u8(&w, c->session_present && v != MQTT_V31); /* [MQTT-3.2.2-1] the other flags are 0 */
    mqtt_wr_u8(&w, c->code);
    mqtt_wr_props(&w, v, MQTT_CONNACK, &c->props);
    return mqtt_wr_end(&w, MQTT_CONNACK, 0);
}
