/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_wire_close.c: DISCONNECT and AUTH, which share one shape.
 *
 *     5.0    [ reason code │ [length, properties] ]          DISCONNECT in 3.x: no body
 *
 * Both may be empty, which says 0x00 (normal disconnection; success). DISCONNECT may end after its reason code; AUTH
 * may not, and when it says anything it names the authentication method.
 *
 * Cost    O(properties); no allocation.
 * Thread  any; pure.
 * Spec    MQTT 5 §3.14, §3.15; MQTT 3.1.1 §3.14.
 */
#include "proto_mqtt/mqtt_wire.h"

#include "proto_mqtt/mqtt_wire_int.h"

enum err mqtt_disconnect_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_closing *out)
{
    BUG_ON(f->type != MQTT_DISCONNECT);
    enum err e = mqtt_frame_check(f, v);
    if (e != ERR_OK)
        return e;
    struct mqtt_rd r = mqtt_rd_make(f->body);
    out->code = MQTT_RC_NORMAL;
    mqtt_props_clear(&out->props);
    if (v == MQTT_V5 && r.p != r.end) { /* §3.14.2.1: without a reason code it is 0x00 */
        out->code = mqtt_rd_u8(&r);
        if (r.p != r.end) { /* §3.14.2.2.1: below 2 bytes there is no property length */
            e = mqtt_rd_props(&r, v, MQTT_DISCONNECT, &out->props);
            if (e != ERR_OK)
                return e;
        }
    }
    e = mqtt_rd_end(&r);
    if (e == ERR_OK && !mqtt_reason_is_allowed(out->code, MQTT_DISCONNECT)) /* [MQTT-3.14.2-1] */
        return ERR_PROTOCOL;
    return e;
}

enum err mqtt_auth_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_closing *out)
{
    BUG_ON(f->type != MQTT_AUTH);
    enum err e = mqtt_frame_check(f, v); /* [MQTT-3.15.1-1] */
    if (e != ERR_OK)
        return e;
    struct mqtt_rd r = mqtt_rd_make(f->body);
    out->code = MQTT_RC_SUCCESS;
    mqtt_props_clear(&out->props);
    if (r.p == r.end) /* §3.15.2.1: success, and no properties */
        return ERR_OK;
    out->code = mqtt_rd_u8(&r);
    e = mqtt_rd_props(&r, v, MQTT_AUTH, &out->props);
    if (e == ERR_OK)
        e = mqtt_rd_end(&r);
    if (e != ERR_OK)
        return e;
    if ((out->props.has & MQTT_HAS(AUTH_METHOD)) == 0) /* §3.15.2.2.2: a Protocol Error to omit it */
        return ERR_PROTOCOL;
    return mqtt_reason_is_allowed(out->code, MQTT_AUTH) ? ERR_OK : ERR_PROTOCOL; /* [MQTT-3.15.2-1] */
}

ptrdiff_t mqtt_disconnect_encode(const struct mqtt_closing *d, enum mqtt_version v, uint8_t *out, size_t cap)
{
    struct mqtt_wr w = mqtt_wr_begin(out, cap);
    bool has_props = v == MQTT_V5 && mqtt_props_bytes(&d->props) != 0;
    if (v == MQTT_V5 && (d->code != MQTT_RC_NORMAL || has_props))
        mqtt_wr_u8(&w, d->code);
    if (has_props)
        mqtt_wr_props(&w, v, MQTT_DISCONNECT, &d->props);
    return mqtt_wr_end(&w, MQTT_DISCONNECT, 0);
}

ptrdiff_t mqtt_auth_encode(const struct mqtt_closing *a, enum mqtt_version v, uint8_t *out, size_t cap)
{
    BUG_ON(v != MQTT_V5);
    struct mqtt_wr w = mqtt_wr_begin(out, cap);
    if (a->code != MQTT_RC_SUCCESS || mqtt_props_bytes(&a->props) != 0) {
        mqtt_wr_u8(&w, a->code);
        mqtt_wr_props(&w, v, MQTT_AUTH, &a->props);
    }
    return mqtt_wr_end(&w, MQTT_AUTH, 0);
}
