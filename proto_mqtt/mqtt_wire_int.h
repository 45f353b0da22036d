/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_WIRE_INT_H
#define WEIR_MQTT_WIRE_INT_H

/*
 * mqtt_wire_int.h: private to proto_mqtt/mqtt_wire*.c and mqtt_props.c: a reading and a writing cursor. Both are
 * sticky: after the first failure they do nothing more, so that a decoder or encoder asks once, at the end.
 */

#include "core/base/utf8.h"
#include "proto_mqtt/mqtt_props.h"
#include "proto_mqtt/mqtt_wire_types.h"

struct mqtt_frame;

static inline uint16_t mqtt_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* -- reading: what fails is malformed ------------------------------------------------------------------------------ */

struct mqtt_rd {
    const uint8_t *p, *end;
    bool bad; /* cut short, or bad UTF-8 */
};

static inline struct mqtt_rd mqtt_rd_make(struct slice s)
{
    return (struct mqtt_rd){s.p, s.p + s.len, false};
}

static inline size_t mqtt_rd_left(const struct mqtt_rd *r)
{
    return (size_t)(r->end - r->p);
}

/* mqtt_rd_take: the next n bytes; NULL when bad. */
static inline const uint8_t *mqtt_rd_take(struct mqtt_rd *r, size_t n)
{
    const uint8_t *at = r->p;
    if (r->bad || mqtt_rd_left(r) < n) {
        r->bad = true;
        return NULL;
    }
    r->p += n;
    return at;
}

static inline uint8_t mqtt_rd_u8(struct mqtt_rd *r)
{
    const uint8_t *p = mqtt_rd_take(r, 1);
    return p != NULL ? p[0] : 0;
}

static inline uint16_t mqtt_rd_u16(struct mqtt_rd *r)
{
    const uint8_t *p = mqtt_rd_take(r, 2);
    return p != NULL ? mqtt_u16(p) : 0;
}

static inline uint32_t mqtt_rd_u32(struct mqtt_rd *r)
{
    const uint8_t *p = mqtt_rd_take(r, 4);
    return p != NULL ? (uint32_t)mqtt_u16(p) << 16 | mqtt_u16(p + 2) : 0;
}

/* mqtt_rd_varint: not the shortest encoding is bad too [MQTT-1.5.5-1]. */
static inline uint32_t mqtt_rd_varint(struct mqtt_rd *r)
{
    uint32_t v = 0;
    ptrdiff_t n = r->bad ? 0 : mqtt_varint_get(r->p, mqtt_rd_left(r), &v);
    if (n <= 0) {
        r->bad = true;
        return 0;
    }
    r->p += n;
    return v;
}

/* mqtt_rd_bytes: n bytes as a slice. */
static inline struct slice mqtt_rd_bytes(struct mqtt_rd *r, size_t n)
{
    const uint8_t *p = mqtt_rd_take(r, n);
    return p != NULL ? slice_make(p, n) : (struct slice){0};
}

/* mqtt_rd_bin: binary data: two bytes of length, then that many. */
static inline struct slice mqtt_rd_bin(struct mqtt_rd *r)
{
    size_t n = mqtt_rd_u16(r);
    return mqtt_rd_bytes(r, n);
}

/* mqtt_rd_utf8: a string [MQTT-1.5.4-1] well formed, no surrogates, [MQTT-1.5.4-2] no U+0000; [MQTT-1.5.4-3] U+FEFF is
 * a character like others, and stays. 3.1.1: [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-1.5.3-3] */
static inline struct slice mqtt_rd_utf8(struct mqtt_rd *r)
{
    struct slice s = mqtt_rd_bin(r);
    if (s.len != 0 && !utf8_is_mqtt(s.p, s.len))
        r->bad = true;
    return s;
}

/* mqtt_rd_props: length and properties where a packet of type `at` has them; none at all below 5.0. The collect's
 * error, or OK also when the cursor went bad, which the caller finds at its own end. */
static inline enum err mqtt_rd_props(struct mqtt_rd *r, enum mqtt_version v, enum mqtt_type at, struct mqtt_props *out)
{
    mqtt_props_clear(out);
    if (v < MQTT_V5)
        return ERR_OK;
    uint32_t n = mqtt_rd_varint(r);
    struct slice block = mqtt_rd_bytes(r, n);
    return block.len != 0 ? mqtt_props_collect(block, at, out) : ERR_OK;
}

/* mqtt_rd_end: the verdict: everything was there and nothing is left over. */
static inline enum err mqtt_rd_end(const struct mqtt_rd *r)
{
    return r->bad || r->p != r->end ? ERR_MALFORMED : ERR_OK;
}

/* -- writing: what fails is too big -------------------------------------------------------------------------------- */

struct mqtt_wr {
    uint8_t *p;
    size_t len, cap;
    bool bad;
};

/* mqtt_wr_begin: leaves room for the longest fixed header, which mqtt_wr_end then writes close in front of the body. */
static inline struct mqtt_wr mqtt_wr_begin(uint8_t *out, size_t cap)
{
    return (struct mqtt_wr){out, MQTT_HEAD_BYTES_MAX, cap, cap < MQTT_HEAD_BYTES_MAX};
}

/* mqtt_wr_room: n bytes to fill, already counted; NULL when bad. */
static inline uint8_t *mqtt_wr_room(struct mqtt_wr *w, size_t n)
{
    uint8_t *at = w->p + w->len;
    if (w->bad || w->cap - w->len < n) {
        w->bad = true;
        return NULL;
    }
    w->len += n;
    return at;
}

static inline void mqtt_wr_u8(struct mqtt_wr *w, unsigned v)
{
    uint8_t *p = mqtt_wr_room(w, 1);
    if (p != NULL)
        p[0] = (uint8_t)v;
}

static inline void mqtt_wr_u16(struct mqtt_wr *w, unsigned v)
{
    uint8_t *p = mqtt_wr_room(w, 2);
    if (p != NULL) {
        p[0] = (uint8_t)(v >> 8);
        p[1] = (uint8_t)v;
    }
}

static inline void mqtt_wr_u32(struct mqtt_wr *w, uint32_t v)
{
    mqtt_wr_u16(w, v >> 16);
    mqtt_wr_u16(w, v & 0xffff);
}

static inline void mqtt_wr_varint(struct mqtt_wr *w, uint32_t v)
{
    uint8_t *p = mqtt_wr_room(w, mqtt_varint_bytes(v));
    if (p != NULL)
        mqtt_varint_put(p, v);
}

static inline void mqtt_wr_bytes(struct mqtt_wr *w, struct slice s)
{
    uint8_t *p = mqtt_wr_room(w, s.len);
    if (p != NULL && s.len != 0)
        memcpy(p, s.p, s.len);
}

/* mqtt_wr_bin: two bytes of length, then the bytes; for strings as well. */
static inline void mqtt_wr_bin(struct mqtt_wr *w, struct slice s)
{
    if (s.len > MQTT_STRING_BYTES_MAX)
        w->bad = true;
    mqtt_wr_u16(w, (unsigned)s.len);
    mqtt_wr_bytes(w, s);
}

/* mqtt_wr_props: length and block, in 5.0 only; [MQTT-2.2.2-1] without properties the length is 0. */
static inline void mqtt_wr_props(struct mqtt_wr *w, enum mqtt_version v, enum mqtt_type at, const struct mqtt_props *p)
{
    if (v < MQTT_V5 || w->bad)
        return;
    ptrdiff_t n = mqtt_props_encode(p, at, w->p + w->len, w->cap - w->len);
    if (n < 0)
        w->bad = true;
    else
        w->len += (size_t)n;
}

/* mqtt_wr_end: the fixed header; returns the bytes of the whole packet or -ERR_TOO_BIG. */
static inline ptrdiff_t mqtt_wr_end(struct mqtt_wr *w, enum mqtt_type type, unsigned flags)
{
    size_t body = w->len - MQTT_HEAD_BYTES_MAX;
    if (w->bad || body > MQTT_VARINT_MAX)
        return -ERR_TOO_BIG;
    w->p[0] = (uint8_t)((unsigned)type << 4 | flags);
    size_t head = 1 + mqtt_varint_put(w->p + 1, (uint32_t)body);
    memmove(w->p + head, w->p + MQTT_HEAD_BYTES_MAX, body);
    return (ptrdiff_t)(head + body);
}

#endif
