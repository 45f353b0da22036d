/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_WIRE_TOPIC_H
#define WEIR_MQTT_WIRE_TOPIC_H

/* mqtt_wire_topic.h: the syntax of topic names and filters (MQTT 5 §4.7, §4.8). Pure. */

#include "proto_mqtt/mqtt_wire_types.h"

/* mqtt_topic_name_check: may a PUBLISH, a will or a Response Topic name it?
 * ERR_MALFORMED: not UTF-8, or holds U+0000 [MQTT-1.5.4-1, -2; MQTT-4.7.3-2]; longer than 65,535 bytes [MQTT-4.7.3-3].
 * ERR_INVALID (reason code 0x90): empty [MQTT-4.7.3-1], or holds '+' or '#' [MQTT-3.3.2-2, MQTT-4.7.0-1].
 * ASCII costs about one instruction per byte; the decoders never call it for PUBLISH, because most topics repeat. */
enum err mqtt_topic_name_check(struct slice topic) MUST_CHECK;

/* mqtt_filter_check: may a SUBSCRIBE or UNSUBSCRIBE name it? Also for a whole `$share/group/filter`.
 * ERR_MALFORMED as above. ERR_INVALID (reason code 0x8F): empty, '#' not alone in the last level [MQTT-4.7.1-1],
 * '+' not alone in its level [MQTT-4.7.1-2]. */
enum err mqtt_filter_check(struct slice filter) MUST_CHECK;

static inline bool mqtt_topic_name_is_valid(struct slice topic)
{
    return mqtt_topic_name_check(topic) == ERR_OK;
}

static inline bool mqtt_filter_is_valid(struct slice filter)
{
    return mqtt_filter_check(filter) == ERR_OK;
}

/* mqtt_filter_has_wildcard: does a valid filter hold '+' or '#'? */
bool mqtt_filter_has_wildcard(struct slice filter);

/* mqtt_share_split: take a valid filter `$share/group/filter` apart (MQTT 5 §4.8.2). Both results point into `filter`.
 * OK: *out_group (not empty) and *out_filter (a valid filter) are set.
 * ERR_NO_MATCH: does not start with `$share/`; an ordinary filter, outputs untouched.
 * ERR_INVALID: no group [MQTT-4.8.2-1], a '+' or '#' in it, no '/' or nothing behind it [MQTT-4.8.2-2]. */
enum err mqtt_share_split(struct slice filter, struct slice *out_group, struct slice *out_filter) MUST_CHECK;

#endif
