/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_wire_sub.c: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.
 *
 *     SUBSCRIBE     packet id │ [properties] │ { filter (2 + n) │ options } one or more
 *     UNSUBSCRIBE   packet id │ [properties] │ { filter (2 + n) } one or more
 *     SUBACK        packet id │ [properties] │ { code } one per filter
 *     UNSUBACK      packet id │ [properties, and one code per filter: 5.0 only]
 *     options       7,6 reserved  5,4 retain handling  3 retain as published  2 no local  1,0 QoS      (3.x: only QoS)
 *
 * There is no array of filters, because nobody could say how long it must be: the payload is walked twice, once here to
 * check and count all of it, once by the caller, item by item, and the second walk cannot fail.
 *
 * Invariants
 *   1. After a decoder said OK, `filters` holds exactly filter_n whole items.
 *   2. A caller never sees the first items of a packet whose last item is bad.
 * Cost    O(bytes); no allocation.
 * Thread  any; pure.
 * Spec    MQTT 5 §3.8 to §3.11; MQTT 3.1.1 §3.8 to §3.11.
 */
#include "proto_mqtt/mqtt_wire.h"

#include "proto_mqtt/mqtt_wire_int.h"

enum sub_option {
    OPTION_QOS = 0x03,
    OPTION_NO_LOCAL = 0x04,
    OPTION_RETAIN_AS_PUBLISHED = 0x08,
    OPTION_RETAIN_HANDLING = 0x30,
    OPTION_RESERVED = 0xc0,
};
#define RETAIN_HANDLING_SHIFT 4

/* read_start: what all four begin with. */
static enum err read_start(struct mqtt_rd *r, const struct mqtt_frame *f, enum mqtt_version v, uint16_t *out_id,
                           struct mqtt_props *out_props)
{
    enum err e = mqtt_frame_check(f, v);
    if (e != ERR_OK)
        return e;
    *r = mqtt_rd_make(f->body);
    *out_id = mqtt_rd_u16(r);
    e = mqtt_rd_props(r, v, (enum mqtt_type)f->type, out_props);
    if (e != ERR_OK)
        return e;
    if (r->bad)
        return ERR_MALFORMED;
    return *out_id != 0 ? ERR_OK : ERR_PROTOCOL; /* [MQTT-2.2.1-3]; 3.1.1: [MQTT-2.3.1-1] */
}

static enum err check_options(unsigned options, struct slice filter, enum mqtt_version v)
{
    if (v < MQTT_V5) /* 3.1.1: [MQTT-3.8.3-4] reserved bits, QoS 3 */
        return options <= 2 ? ERR_OK : ERR_MALFORMED;
    if ((options & OPTION_RESERVED) != 0) /* [MQTT-3.8.3-5] */
        return ERR_MALFORMED;
    if ((options & OPTION_QOS) == 3 || (options & OPTION_RETAIN_HANDLING) == OPTION_RETAIN_HANDLING)
        return ERR_PROTOCOL; /* §3.8.3.1: both are Protocol Errors */
    if ((options & OPTION_NO_LOCAL) != 0 && slice_starts_with(filter, SLICE("$share/"))) /* [MQTT-3.8.3-4] */
        return ERR_PROTOCOL;
    return ERR_OK;
}

/* check_filters: the whole payload; has_options tells SUBSCRIBE from UNSUBSCRIBE. */
static enum err check_filters(struct mqtt_rd *r, bool has_options, enum mqtt_version v, struct mqtt_subscribe *out)
{
    out->filters = slice_make(r->p, mqtt_rd_left(r));
    out->filter_n = 0;
    if (r->p == r->end) /* [MQTT-3.8.3-2], [MQTT-3.10.3-2]; 3.1.1: [MQTT-3.8.3-3], [MQTT-3.10.3-2] */
        return ERR_PROTOCOL;
    while (r->p != r->end) {
        struct slice filter = mqtt_rd_utf8(r); /* both: [MQTT-3.8.3-1], [MQTT-3.10.3-1] */
        unsigned options = has_options ? mqtt_rd_u8(r) : 0;
        if (r->bad)
            return ERR_MALFORMED;
        enum err e = check_options(options, filter, v);
        if (e != ERR_OK)
            return e;
        out->filter_n++;
    }
    return ERR_OK;
}

enum err mqtt_subscribe_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_subscribe *out)
{
    struct mqtt_rd r;
    BUG_ON(f->type != MQTT_SUBSCRIBE);
    enum err e = read_start(&r, f, v, &out->packet_id, &out->props);
    return e == ERR_OK ? check_filters(&r, true, v, out) : e;
}

enum err mqtt_unsubscribe_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_subscribe *out)
{
    struct mqtt_rd r;
    BUG_ON(f->type != MQTT_UNSUBSCRIBE);
    enum err e = read_start(&r, f, v, &out->packet_id, &out->props);
    return e == ERR_OK ? check_filters(&r, false, v, out) : e;
}

bool mqtt_unsubscribe_next(struct slice *rest, struct slice *out_filter)
{
    if (rest->len == 0)
        return false;
    struct mqtt_rd r = mqtt_rd_make(*rest);
    *out_filter = mqtt_rd_bin(&r);
    BUG_ON(r.bad); /* invariant 1 */
    *rest = slice_make(r.p, mqtt_rd_left(&r));
    return true;
}

bool mqtt_subscribe_next(struct slice *rest, struct mqtt_sub_item *out)
{
    if (!mqtt_unsubscribe_next(rest, &out->filter))
        return false;
    BUG_ON(rest->len == 0); /* invariant 1 */
    unsigned options = rest->p[0];
    *rest = slice_skip(*rest, 1);
    out->qos = options & OPTION_QOS;
    out->no_local = (options & OPTION_NO_LOCAL) != 0;
    out->retain_as_published = (options & OPTION_RETAIN_AS_PUBLISHED) != 0;
    out->retain_handling = (uint8_t)((options & OPTION_RETAIN_HANDLING) >> RETAIN_HANDLING_SHIFT);
    return true;
}

static unsigned options_of(const struct mqtt_sub_item *item, enum mqtt_version v)
{
    BUG_ON(item->qos > 2 || item->retain_handling > 2);
    unsigned options = item->qos;
    if (v < MQTT_V5)
        return options;
    if (item->no_local)
        options |= OPTION_NO_LOCAL;
    if (item->retain_as_published)
        options |= OPTION_RETAIN_AS_PUBLISHED;
    return options | (unsigned)item->retain_handling << RETAIN_HANDLING_SHIFT;
}

ptrdiff_t mqtt_subscribe_encode(const struct mqtt_subscribe *s, const struct mqtt_sub_item *item, size_t n,
                                enum mqtt_version v, uint8_t *out, size_t cap)
{
    BUG_ON(n == 0 || s->packet_id == 0);
    struct mqtt_wr w = mqtt_wr_begin(out, cap);
    mqtt_wr_u16(&w, s->packet_id);
    mqtt_wr_props(&w, v, MQTT_SUBSCRIBE, &s->props);
    for (size_t i = 0; i < n; i++) {
        mqtt_wr_bin(&w, item[i].filter);
        mqtt_wr_u8(&w, options_of(&item[i], v));
    }
    return mqtt_wr_end(&w, MQTT_SUBSCRIBE, 0x02);
}

ptrdiff_t mqtt_unsubscribe_encode(const struct mqtt_subscribe *s, const struct slice *filter, size_t n,
                                  enum mqtt_version v, uint8_t *out, size_t cap)
{
    BUG_ON(n == 0 || s->packet_id == 0);
    struct mqtt_wr w = mqtt_wr_begin(out, cap);
    mqtt_wr_u16(&w, s->packet_id);
    mqtt_wr_props(&w, v, MQTT_UNSUBSCRIBE, &s->props);
    for (size_t i = 0; i < n; i++)
        mqtt_wr_bin(&w, filter[i]);
    return mqtt_wr_end(&w, MQTT_UNSUBSCRIBE, 0x02);
}

static bool is_code(unsigned code, enum mqtt_type type, enum mqtt_version v)
{
    if (v == MQTT_V5) /* §3.9.3, §3.11.3 */
        return mqtt_reason_is_allowed(code, type);
    return code <= 2 || code == MQTT_V3_SUB_FAILED; /* 3.1.1 §3.9.3; newer brokers send 0x80 to 3.1 as well */
}

/* read_codes: the rest of the body, at least one code. */
static enum err read_codes(struct mqtt_rd *r, enum mqtt_type type, enum mqtt_version v, struct mqtt_suback *out)
{
    out->codes = slice_make(r->p, mqtt_rd_left(r));
    for (size_t i = 0; i < out->codes.len; i++)
        if (!is_code(out->codes.p[i], type, v))
            return ERR_PROTOCOL;
    return out->codes.len != 0 ? ERR_OK : ERR_PROTOCOL; /* §3.9.3, §3.11.3: one for each filter */
}

enum err mqtt_suback_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_suback *out)
{
    struct mqtt_rd r;
    BUG_ON(f->type != MQTT_SUBACK);
    enum err e = read_start(&r, f, v, &out->packet_id, &out->props);
    return e == ERR_OK ? read_codes(&r, MQTT_SUBACK, v, out) : e;
}

enum err mqtt_unsuback_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_suback *out)
{
    struct mqtt_rd r;
    BUG_ON(f->type != MQTT_UNSUBACK);
    enum err e = read_start(&r, f, v, &out->packet_id, &out->props);
    if (e != ERR_OK)
        return e;
    if (v == MQTT_V5)
        return read_codes(&r, MQTT_UNSUBACK, v, out);
    out->codes = slice_make(r.p, 0); /* MQTT 3.1.1 §3.11.3: no payload */
    return mqtt_rd_end(&r);
}

ptrdiff_t mqtt_suback_encode(const struct mqtt_suback *s, enum mqtt_version v, uint8_t *out, size_t cap)
{
    BUG_ON(s->packet_id == 0);
    struct mqtt_wr w = mqtt_wr_begin(out, cap);
    mqtt_wr_u16(&w, s->packet_id);
    mqtt_wr_props(&w, v, MQTT_SUBACK, &s->props);
    mqtt_wr_bytes(&w, s->codes);
    return mqtt_wr_end(&w, MQTT_SUBACK, 0);
}

ptrdiff_t mqtt_unsuback_encode(const struct mqtt_suback *s, enum mqtt_version v, uint8_t *out, size_t cap)
{
    BUG_ON(s->packet_id == 0);
    struct mqtt_wr w = mqtt_wr_begin(out, cap);
    mqtt_wr_u16(&w, s->packet_id);
    mqtt_wr_props(&w, v, MQTT_UNSUBACK, &s->props);
    if (v == MQTT_V5)
        mqtt_wr_bytes(&w, s->codes);
    return mqtt_wr_end(&w, MQTT_UNSUBACK, 0);
}
