/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attrs.c: the run of records a message carries besides topic and payload.
 *
 *     ┌────┬────────┬──────────┬─────┬───────┐┌────┬ ...
 *     │ id │ key n  │ value n  │ key │ value ││ id │
 *     └────┴────────┴──────────┴─────┴───────┘└────┴ ...
 *       u8    u16       u32
 *
 * Invariants
 *   1. Only attr_put writes the encoding, so a reader may BUG_ON instead of returning an error.
 *   2. Order is the publisher's order [MQTT-3.3.2-17].
 * Cost    7 bytes per record; nothing for a message without attributes.
 * Thread  pure functions over the caller's memory.
 */
#include "core/attrs.h"

#include "core/base/check.h"

enum { ATTR_HEAD_BYTES = 7 };

void attr_put(struct buf *b, enum attr_id id, struct slice key, struct slice value)
{
    BUG_ON(key.len > UINT16_MAX || value.len > UINT32_MAX);
    uint16_t key_len = (uint16_t)key.len;
    uint32_t value_len = (uint32_t)value.len;
    uint8_t *room = buf_room(b, ATTR_HEAD_BYTES + key.len + value.len);
    if (!room)
        return;
    room[0] = (uint8_t)id;
    memcpy(room + 1, &key_len, sizeof key_len);
    memcpy(room + 3, &value_len, sizeof value_len);
    if (key.len)
        memcpy(room + ATTR_HEAD_BYTES, key.p, key.len);
    if (value.len)
        memcpy(room + ATTR_HEAD_BYTES + key.len, value.p, value.len);
    buf_wrote(b, ATTR_HEAD_BYTES + key.len + value.len);
}

bool attr_next(struct slice attrs, size_t *pos, struct attr *out)
{
    if (*pos >= attrs.len)
        return false;
    const uint8_t *p = attrs.p + *pos;
    uint16_t key_len;
    uint32_t value_len;
    BUG_ON(attrs.len - *pos < ATTR_HEAD_BYTES);
    memcpy(&key_len, p + 1, sizeof key_len);
    memcpy(&value_len, p + 3, sizeof value_len);
    size_t total = (size_t)ATTR_HEAD_BYTES + key_len + value_len;
    BUG_ON(attrs.len - *pos < total);
    out->id = (enum attr_id)p[0];
    out->key = slice_make(p + ATTR_HEAD_BYTES, key_len);
    out->value = slice_make(p + ATTR_HEAD_BYTES + key_len, value_len);
    *pos += total;
    return true;
}

bool attr_find(struct slice attrs, enum attr_id id, struct attr *out)
{
    size_t pos = 0;
    while (attr_next(attrs, &pos, out))
        if (out->id == id)
            return true;
    return false;
}
