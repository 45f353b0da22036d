/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_attrs.c: what an MQTT 5 message says about itself, in and out of core's words.
 *
 *     PUBLISH properties ─► attributes of the message ─► PUBLISH properties, for every 5.0 receiver
 *                                     │
 *                                     └─► STOMP headers (proto_stomp)
 *
 * Core keeps attributes in no protocol's encoding, so a message with properties is translated twice. Both ways are one
 * walk, and a message without properties takes neither.
 *
 * Invariants
 *   1. mqtt_attrs_put appends exactly mqtt_attrs_bytes.
 *   2. Block → attributes → block keeps every User Property, byte for byte and in order, and all else.
 *   3. A property is never longer than its attribute record: record 7 + key + value, property at most 5 + key + value.
 * Cost    O(bytes); no allocation but the buf's.
 * Thread  any; pure.
 * Spec    MQTT 5 §3.3.2.3.
 */
#include "proto_mqtt/mqtt_attrs.h"

#include "core/attrs.h"

enum { RECORD_HEAD_BYTES = 7 }; /* core/attrs.h */

static const struct slice NO_KEY = {0};

static size_t record_bytes(struct slice key, struct slice value)
{
    return RECORD_HEAD_BYTES + key.len + value.len;
}

size_t mqtt_attrs_bytes(const struct mqtt_props *p)
{
    size_t n = 0;
    if ((p->has & MQTT_HAS(CONTENT_TYPE)) != 0)
        n += record_bytes(NO_KEY, p->content_type);
    if ((p->has & MQTT_HAS(PAYLOAD_FORMAT)) != 0)
        n += record_bytes(NO_KEY, NO_KEY);
    if ((p->has & MQTT_HAS(RESPONSE_TOPIC)) != 0)
        n += record_bytes(NO_KEY, p->response_topic);
    if ((p->has & MQTT_HAS(CORRELATION)) != 0)
        n += record_bytes(NO_KEY, p->correlation);
    if (p->user_n == 0)
        return n;
    struct slice rest = p->block;
    struct mqtt_prop_item item;
    while (mqtt_props_next(&rest, &item) > 0)
        if (item.id == MQTT_PROP_USER)
            n += record_bytes(item.name, item.value);
    return n;
}

void mqtt_attrs_put(struct buf *b, const struct mqtt_props *p)
{
    if ((p->has & MQTT_HAS(CONTENT_TYPE)) != 0)
        attr_put(b, ATTR_CONTENT_TYPE, NO_KEY, p->content_type);
    if ((p->has & MQTT_HAS(PAYLOAD_FORMAT)) != 0)
        attr_put(b, p->payload_format == 1 ? ATTR_IS_TEXT : ATTR_IS_BYTES, NO_KEY, NO_KEY);
    if ((p->has & MQTT_HAS(RESPONSE_TOPIC)) != 0)
        attr_put(b, ATTR_REPLY_TO, NO_KEY, p->response_topic);
    if ((p->has & MQTT_HAS(CORRELATION)) != 0)
        attr_put(b, ATTR_CORRELATION, NO_KEY, p->correlation);
    if (p->user_n == 0)
        return;
    struct slice rest = p->block;
    struct mqtt_prop_item item;
    while (mqtt_props_next(&rest, &item) > 0)
        if (item.id == MQTT_PROP_USER) /* [MQTT-3.3.2-18] in order */
            attr_put(b, ATTR_USER, item.name, item.value);
}

static void put_attr(struct mqtt_props_writer *w, const struct attr *a)
{
    if (a->key.len > MQTT_STRING_BYTES_MAX || a->value.len > MQTT_STRING_BYTES_MAX)
        return;
    switch (a->id) {
    case ATTR_DEATH: /* the same to the peer; what it publishes under these names is its own property again */
    case ATTR_USER:  /* [MQTT-3.3.2-17] all of them, in order */
        mqtt_props_put_user(w, a->key, a->value);
        break;
    case ATTR_CONTENT_TYPE: /* [MQTT-3.3.2-20] */
        mqtt_props_put_slice(w, MQTT_PROP_CONTENT_TYPE, a->value);
        break;
    case ATTR_IS_TEXT: /* [MQTT-3.3.2-4] */
        mqtt_props_put_num(w, MQTT_PROP_PAYLOAD_FORMAT, 1);
        break;
    case ATTR_IS_BYTES: /* the same as none, and yet to be sent on unaltered [MQTT-3.3.2-4] */
        mqtt_props_put_num(w, MQTT_PROP_PAYLOAD_FORMAT, 0);
        break;
    case ATTR_REPLY_TO: /* [MQTT-3.3.2-15] */
        mqtt_props_put_slice(w, MQTT_PROP_RESPONSE_TOPIC, a->value);
        break;
    case ATTR_CORRELATION: /* [MQTT-3.3.2-16] */
        mqtt_props_put_slice(w, MQTT_PROP_CORRELATION, a->value);
        break;
    case ATTR_REPLY_DEST:
    case ATTR_DESTINATION:
        break;
    }
}

size_t mqtt_block_put(struct slice attrs, uint8_t *out)
{
    struct mqtt_props_writer w = {.p = out, .cap = mqtt_block_max(attrs)};
    struct attr a;
    for (size_t pos = 0; attr_next(attrs, &pos, &a);)
        put_attr(&w, &a);
    BUG_ON(w.bad); /* invariant 3 */
    return w.len;
}
