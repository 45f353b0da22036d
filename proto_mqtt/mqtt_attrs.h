/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_ATTRS_H
#define WEIR_MQTT_ATTRS_H

/*
 * mqtt_attrs.h: MQTT 5 properties of a message to core attributes and back. What a message says about itself, that is:
 * expiry, alias and subscription identifiers belong to the hop and are not attributes. Pure.
 *
 *     User Property ⇄ USER, in order [MQTT-3.3.2-17, -18]     Content Type ⇄ CONTENT_TYPE [MQTT-3.3.2-20]
 *     Response Topic ⇄ REPLY_TO [MQTT-3.3.2-15]               Correlation Data ⇄ CORRELATION [MQTT-3.3.2-16]
 *     Payload Format Indicator 1 ⇄ IS_TEXT, 0 ⇄ IS_BYTES [MQTT-3.3.2-4]     REPLY_DEST, DESTINATION: not for MQTT peers
 *     User Property ⇐ DEATH: the dead-letter history, which only the broker writes
 */

#include "core/base/buf.h"
#include "proto_mqtt/mqtt_props.h"

/* mqtt_attrs_bytes: how many bytes mqtt_attrs_put will append for p; 0: p says nothing that is an attribute. */
size_t mqtt_attrs_bytes(const struct mqtt_props *p);

/* mqtt_attrs_put: appends the attributes that p, a collected block of a PUBLISH or of Will Properties, stands for.
 * Fails as buf does: sticky in b. */
void mqtt_attrs_put(struct buf *b, const struct mqtt_props *p);

/* mqtt_block_max: room that suffices for mqtt_block_put of these attributes. O(1). */
static inline size_t mqtt_block_max(struct slice attrs)
{
    return attrs.len; /* a record of core is never shorter than its property */
}

/* mqtt_block_put: writes the properties that `attrs` stand for to out[mqtt_block_max(attrs)], as a block without its
 * length. Returns the bytes written, possibly 0. Strings longer than MQTT can say (65,535 bytes) are left out. */
size_t mqtt_block_put(struct slice attrs, uint8_t *out);

#endif
