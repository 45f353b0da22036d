/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_TALK_BYTES_H
#define WEIR_TESTS_TALK_BYTES_H

/* talk_bytes.h: packets byte by byte, good ones and bad ones, for talk.h. Nothing here checks anything, and nothing of
 * proto_mqtt is used: a packet is what the test says it is. */

#include <stdbool.h>
#include <string.h>

#include "core/base/check.h"
#include "core/base/slice.h"

/* BYTES: a literal with its size, for tables. */
#define BYTES(literal)                                                                                                 \
    {                                                                                                                  \
        (const uint8_t *)(literal), sizeof(literal) - 1                                                                \
    }

struct bytes {
    size_t n;
    uint8_t p[320];
};

static inline void put(struct bytes *b, const void *p, size_t n)
{
    BUG_ON(b->n + n > sizeof b->p);
    if (n != 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void put_slice(struct bytes *b, struct slice s)
{
    put(b, s.p, s.len);
}

static inline void put_all(struct bytes *b, const struct bytes *more)
{
    put(b, more->p, more->n);
}

static inline void put_u8(struct bytes *b, unsigned v)
{
    put(b, &(uint8_t){(uint8_t)v}, 1);
}

static inline void put_u16(struct bytes *b, unsigned v)
{
    put_u8(b, v >> 8);
    put_u8(b, v & 0xff);
}

/* put_data: two bytes of length, then s. */
static inline void put_data(struct bytes *b, struct slice s)
{
    put_u16(b, (unsigned)s.len);
    put_slice(b, s);
}

static inline void put_str(struct bytes *b, const char *s)
{
    put_data(b, slice_from_str(s));
}

/* put_varint: in `width` bytes, however few would do; 0: as few as possible. */
static inline void put_varint(struct bytes *b, size_t v, unsigned width)
{
    for (unsigned i = 1; v >= 128 || i < width; i++, v >>= 7)
        put_u8(b, 0x80 | (v & 0x7f));
    put_u8(b, (unsigned)v);
}

/* put_packet: a fixed header, then `body`. */
static inline void put_packet(struct bytes *b, unsigned first, const struct bytes *body)
{
    put_u8(b, first);
    put_varint(b, body->n, 0);
    put_all(b, body);
}

/* put_props: the length and the block, in version 5 only. */
static inline void put_props(struct bytes *b, unsigned version, struct slice block)
{
    if (version < 5)
        return;
    put_varint(b, block.len, 0);
    put_slice(b, block);
}

static inline const char *version_name(unsigned version)
{
    return version == 3 ? "3.1" : version == 4 ? "3.1.1" : "5";
}

/* put_login: the head of a CONNECT's body up to and with the properties; no keep-alive. */
static inline void put_login(struct bytes *b, unsigned version, unsigned flags, struct slice props)
{
    put_str(b, version == 3 ? "MQIsdp" : "MQTT");
    put_u8(b, version);
    put_u8(b, flags);
    put_u16(b, 0);
    put_props(b, version, props);
}

/* put_hello: a CONNECT that is accepted: clean, "a". In version 5 it also asks for no reason strings, see MQTT 5
 * §3.1.2.11.7. */
static inline void put_hello(struct bytes *b, unsigned version, struct slice more_props)
{
    struct bytes props = {0}, body = {0};
    put(&props, "\x17\x00", 2);
    put_slice(&props, more_props);
    put_login(&body, version, 0x02, slice_make(props.p, props.n));
    put_str(&body, "a");
    put_packet(b, 0x10, &body);
}

/* put_publish: topic, packet id unless QoS 0, payload. */
static inline void put_publish(struct bytes *b, unsigned version, unsigned flags, const char *topic, unsigned id,
                               struct slice props, const char *payload)
{
    struct bytes body = {0};
    put_str(&body, topic);
    if ((flags & 0x06) != 0)
        put_u16(&body, id);
    put_props(&body, version, props);
    put(&body, payload, strlen(payload));
    put_packet(b, 0x30 | flags, &body);
}

/* put_subscribe: one filter. */
static inline void put_subscribe(struct bytes *b, unsigned version, unsigned id, struct slice props, const char *filter,
                                 unsigned options)
{
    struct bytes body = {0};
    put_u16(&body, id);
    put_props(&body, version, props);
    put_str(&body, filter);
    put_u8(&body, options);
    put_packet(b, 0x82, &body);
}

static inline void put_unsubscribe(struct bytes *b, unsigned version, unsigned id, struct slice props,
                                   const char *filter)
{
    struct bytes body = {0};
    put_u16(&body, id);
    put_props(&body, version, props);
    put_str(&body, filter);
    put_packet(b, 0xa2, &body);
}

/* put_ack: PUBACK 0x40, PUBREC 0x50, PUBREL 0x62, PUBCOMP 0x70, in their shortest form. */
static inline void put_ack(struct bytes *b, unsigned first, unsigned id)
{
    struct bytes body = {0};
    put_u16(&body, id);
    put_packet(b, first, &body);
}

static inline void put_ping(struct bytes *b)
{
    put(b, "\xc0\x00", 2);
}

/* ---- strings that are none --------------------------------------------------------------------------------------- */

/* UTF-8 as Unicode 15 table 3-7 has it, written down by hand: what no string may be [MQTT-1.5.4-1] [MQTT-1.5.4-2]. */
static const struct slice BAD_TEXTS[] = {
    BYTES("\x80"),                     /* a continuation alone */
    BYTES("a\xbf"),                    /* the same behind something good */
    BYTES("\xc0\x80"),                 /* U+0000 in two bytes, as Java's modified UTF-8 has it */
    BYTES("\xc0\xaf"),                 /* '/' in two bytes */
    BYTES("\xc1\xbf"),                 /* U+007F in two bytes */
    BYTES("\xe0\x80\xaf"),             /* '/' in three bytes */
    BYTES("\xe0\x9f\xbf"),             /* U+07FF in three bytes */
    BYTES("\xf0\x80\x80\xaf"),         /* '/' in four bytes */
    BYTES("\xf0\x8f\xbf\xbf"),         /* U+FFFF in four bytes */
    BYTES("\xed\xa0\x80"),             /* U+D800, the first surrogate */
    BYTES("\xed\xbf\xbf"),             /* U+DFFF, the last one */
    BYTES("\xed\xa0\x80\xed\xb0\x80"), /* a pair of them */
    BYTES("\xf4\x90\x80\x80"),         /* U+110000, one too many */
    BYTES("\xf5\x80\x80\x80"),         /* a byte that begins nothing */
    BYTES("\xf8\x88\x80\x80\x80"),     /* five bytes, as UTF-8 once had them */
    BYTES("\xfe"),
    BYTES("\xff"),
    BYTES("\xc3"),         /* cut short */
    BYTES("\xe2\x82"),     /* cut short */
    BYTES("\xf0\x9f\x98"), /* cut short */
    BYTES("\xc3("),        /* cut short by ASCII */
    BYTES("\xe2\x82"
          "a"),                /* cut short by ASCII */
    BYTES("abcdefgh\xe2\x82"), /* cut short behind eight good bytes */
    BYTES("\0"),               /* U+0000 */
    BYTES("a\0b"),             /* U+0000 inside */
    BYTES("abcdefghijk\0"),    /* U+0000 at the end */
};

/* What every string may be. */
static const struct slice GOOD_TEXTS[] = {
    BYTES("a"),
    BYTES("\xc3\xa4"),         /* two bytes */
    BYTES("\xdf\xbf"),         /* U+07FF, the last of two bytes */
    BYTES("\xe0\xa0\x80"),     /* U+0800, the first of three */
    BYTES("\xed\x9f\xbf"),     /* U+D7FF, before the surrogates */
    BYTES("\xee\x80\x80"),     /* U+E000, behind them */
    BYTES("\xf0\x90\x80\x80"), /* U+10000, the first of four */
    BYTES("\xf4\x8f\xbf\xbd"), /* U+10FFFD */
    BYTES("\xef\xbb\xbf"
          "a"), /* U+FEFF is a character like others [MQTT-1.5.4-3] */
};

#endif
