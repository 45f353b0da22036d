/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_ACROSS_DEVICE_H
#define WEIR_TESTS_ACROSS_DEVICE_H

/* across_device.h: a device that speaks MQTT 5, by a small codec of its own. It never acknowledges: the connections of
 * these tests are short. */

#include <stdlib.h>

#include "tests/support/rig.h"
#include "tests/wire/across_note.h"

struct device {
    struct rig_pipe *p;
    unsigned id;
};

static inline void put_byte(struct rig_bytes *b, unsigned v)
{
    rig_put(b, &(unsigned char){(unsigned char)v}, 1);
}

static inline void put_number(struct rig_bytes *b, uint32_t v, unsigned bytes)
{
    while (bytes-- > 0)
        put_byte(b, v >> (8 * bytes) & 0xff);
}

static inline void put_bit(struct rig_bytes *b, const struct bit *text)
{
    put_number(b, (uint32_t)text->n, 2);
    rig_put(b, text->p, text->n);
}

static inline void put_length(struct rig_bytes *b, size_t n)
{
    for (; n >= 128; n >>= 7)
        put_byte(b, 0x80 | (n & 0x7f));
    put_byte(b, (unsigned)n);
}

/* device_says: a packet; body is freed. */
static inline void device_says(struct device *d, unsigned first, struct rig_bytes *body)
{
    struct rig_bytes out = {0};
    put_byte(&out, first);
    put_length(&out, body->len);
    rig_put(&out, body->p, body->len);
    rig_send(d->p, out.p, out.len);
    rig_run(d->p->rig);
    free(out.p);
    free(body->p);
    *body = (struct rig_bytes){0};
}

static inline void device_comes(struct rig *r, struct device *d, const char *name)
{
    struct rig_bytes body = {0};
    struct bit id = bit_of(name);
    *d = (struct device){.p = rig_connect(r)};
    rig_put(&body, "\0\4MQTT\5\2\0\0\0", 11); /* clean, no keep-alive, no properties */
    put_bit(&body, &id);
    device_says(d, 0x10, &body);
    d->p->out_at = d->p->out.len;
}

/* device_subscribes: QoS 2, retain as published; retained messages come. */
static inline void device_subscribes(struct device *d, const char *filter)
{
    struct rig_bytes body = {0};
    struct bit text = bit_of(filter);
    rig_put(&body, "\0\1\0", 3);
    put_bit(&body, &text);
    put_byte(&body, 0x0a);
    device_says(d, 0x82, &body);
}

static inline void device_publishes(struct device *d, const struct note *m)
{
    struct rig_bytes body = {0}, props = {0};
    put_bit(&body, &m->topic);
    if (m->qos != 0)
        put_number(&body, ++d->id, 2);
    if (m->format >= 0)
        put_number(&props, 0x0100u | (unsigned)m->format, 2);
    if (m->expiry != 0) {
        put_byte(&props, 0x02);
        put_number(&props, m->expiry, 4);
    }
    const struct bit *const texts[] = {&m->type, &m->reply, &m->correlation};
    const bool has[] = {m->has_type, m->has_reply, m->has_correlation};
    static const unsigned ids[] = {0x03, 0x08, 0x09};
    for (unsigned i = 0; i < 3; i++)
        if (has[i]) {
            put_byte(&props, ids[i]);
            put_bit(&props, texts[i]);
        }
    for (unsigned i = 0; i < m->user_n; i++) {
        put_byte(&props, 0x26);
        put_bit(&props, &m->user[i].name);
        put_bit(&props, &m->user[i].value);
    }
    put_length(&body, props.len);
    rig_put(&body, props.p, props.len);
    rig_put(&body, m->payload.p, m->payload.n);
    free(props.p);
    device_says(d, 0x30 | m->qos << 1 | (m->retain ? 1u : 0u), &body);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

struct scan {
    const unsigned char *p, *end;
};

static inline uint32_t scan_number(struct scan *s, unsigned bytes)
{
    uint32_t v = 0;
    BUG_ON(s->end - s->p < (ptrdiff_t)bytes);
    while (bytes-- > 0)
        v = v << 8 | *s->p++;
    return v;
}

static inline size_t scan_length(struct scan *s)
{
    size_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        unsigned byte = scan_number(s, 1);
        v |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
}

static inline struct bit scan_bit(struct scan *s)
{
    size_t n = scan_number(s, 2);
    BUG_ON((size_t)(s->end - s->p) < n || n > BIT_MAX);
    struct bit out = bit_make(s->p, n);
    s->p += n;
    return out;
}

static inline void scan_property(struct scan *s, struct note *out)
{
    unsigned id = scan_number(s, 1);
    if (id == 0x01) {
        out->format = (int)scan_number(s, 1);
    } else if (id == 0x02) {
        out->expiry = scan_number(s, 4);
    } else if (id == 0x03) {
        out->has_type = true;
        out->type = scan_bit(s);
    } else if (id == 0x08) {
        out->has_reply = true;
        out->reply = scan_bit(s);
    } else if (id == 0x09) {
        out->has_correlation = true;
        out->correlation = scan_bit(s);
    } else {
        BUG_ON(id != 0x26 || out->user_n == USERS_MAX); /* nothing else was asked for */
        out->user[out->user_n].name = scan_bit(s);
        out->user[out->user_n++].value = scan_bit(s);
    }
}

static inline void scan_publish(struct scan *s, unsigned first, struct note *out)
{
    memset(out, 0, sizeof *out);
    out->format = -1;
    out->qos = first >> 1 & 3;
    out->retain = (first & 1) != 0;
    out->topic = scan_bit(s);
    if (out->qos != 0)
        (void)scan_number(s, 2);
    size_t props_n = scan_length(s);
    struct scan props = {s->p, s->p + props_n};
    BUG_ON((size_t)(s->end - s->p) < props_n);
    while (props.p < props.end)
        scan_property(&props, out);
    out->payload = bit_make(props.end, (size_t)(s->end - props.end));
}

/* device_reads: what came since the last time: how many messages; *out is the last of them. */
static inline unsigned device_reads(struct device *d, struct note *out)
{
    unsigned n = 0;
    struct scan s = {d->p->out.p + d->p->out_at, d->p->out.p + d->p->out.len};
    while (s.p < s.end) {
        unsigned first = scan_number(&s, 1);
        size_t len = scan_length(&s);
        struct scan body = {s.p, s.p + len};
        BUG_ON((size_t)(s.end - s.p) < len);
        if (first >> 4 == 3) {
            scan_publish(&body, first, out);
            n++;
        }
        s.p += len;
    }
    d->p->out_at = d->p->out.len;
    return n;
}

#endif
