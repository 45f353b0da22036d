/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_ATTRS_H
#define WEIR_CORE_ATTRS_H

/*
 * attrs.h: what a message carries besides topic and payload, in no protocol's encoding. A run of records, in the
 * publisher's order:
 *
 *     id u8 · key length u16 · value length u32 · key · value        (lengths in host order; memory only, never on
 * disk)
 *
 * Most messages have none, and then cost nothing. Keys are used by ATTR_USER and ATTR_DEATH only.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/slice.h"

enum attr_id {
    ATTR_USER = 1,     /* key, value: MQTT User Property, STOMP header of the sender's own; ordered, repeatable */
    ATTR_CONTENT_TYPE, /* UTF-8 */
    ATTR_IS_TEXT,      /* empty value: payload is UTF-8 (MQTT Payload Format Indicator 1) */
    ATTR_REPLY_TO,     /* MQTT spelling of the topic to answer to */
    ATTR_REPLY_DEST,   /* a STOMP reply-to as the sender spelled it; beside ATTR_REPLY_TO when it names a topic */
    ATTR_CORRELATION,  /* bytes */
    ATTR_IS_BYTES,     /* empty value: the sender says that the payload is bytes (MQTT Payload Format Indicator 0) */
    ATTR_DESTINATION,  /* STOMP-born: the destination as the sender spelled it */
    ATTR_DEATH,        /* key, value: dead-letter history (core/dead_letter.h): only the broker makes these */
};

struct attr {
    enum attr_id id;
    struct slice key, value;
};

/* attr_put: appends one record to b (sticky failure in b). key and value are copied. */
void attr_put(struct buf *b, enum attr_id id, struct slice key, struct slice value);

/* attr_next: reads the record at *pos (start with 0) of attrs; false at the end. Views point into attrs. */
bool attr_next(struct slice attrs, size_t *pos, struct attr *out);

/* attr_find: the first record with this id. */
bool attr_find(struct slice attrs, enum attr_id id, struct attr *out);

#endif
