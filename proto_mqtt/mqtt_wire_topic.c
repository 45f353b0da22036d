/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_wire_topic.c: what a topic name and a topic filter may look like.
 *
 *     name     sport/tennis/player1      any bytes but '+', '#' and NUL; levels may be empty; never the empty string
 *     filter   sport/+/player1           '+' is a whole level
 *              sport/#                   '#' is the whole last level
 *     shared   $share/group/sport/#      group: one level without wildcards; then an ordinary filter
 *
 * A name is looked through eight bytes at a time for everything that could be wrong (wildcard, NUL, not ASCII); only a
 * name that is not plain ASCII is then validated as UTF-8, so plain ones are read once.
 *
 * Cost    O(bytes); about one instruction per byte for ASCII names.
 * Thread  any; pure.
 * Spec    MQTT 5 §1.5.4, §4.7, §4.8.2; MQTT 3.1.1 §4.7.
 */
#include "proto_mqtt/mqtt_wire_topic.h"

#include "core/base/utf8.h"

#define ONES  UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* has_byte: is one of the eight bytes of x equal to c? */
static inline uint64_t has_byte(uint64_t x, uint8_t c)
{
    uint64_t zero_where = x ^ (ONES * c);
    return (zero_where - ONES) & ~zero_where & HIGHS;
}

/* is_plain: ASCII without NUL [MQTT-4.7.3-2], '+' and '#' [MQTT-4.7.0-1]: eight bytes at a time, then one at a time.
 * 3.1.1: [MQTT-4.7.3-2], [MQTT-4.7.1-1] */
static bool is_plain(struct slice s)
{
    const uint8_t *p = s.p, *end = s.p + s.len;
    for (; end - p >= 8; p += 8) {
        uint64_t x;
        memcpy(&x, p, 8);
        if (((x & HIGHS) | has_byte(x, 0) | has_byte(x, '+') | has_byte(x, '#')) != 0)
            return false;
    }
    for (; p < end; p++)
        if (*p >= 0x80 || *p == 0 || *p == '+' || *p == '#')
            return false;
    return true;
}

enum err mqtt_topic_name_check(struct slice topic)
{
    if (topic.len == 0) /* both: [MQTT-4.7.3-1] */
        return ERR_INVALID;
    if (topic.len > MQTT_STRING_BYTES_MAX) /* both: [MQTT-4.7.3-3] */
        return ERR_MALFORMED;
    if (LIKELY(is_plain(topic)))
        return ERR_OK;
    if (!utf8_is_mqtt(topic.p, topic.len)) /* [MQTT-1.5.4-1], [MQTT-1.5.4-2]; both: [MQTT-4.7.3-2] */
        return ERR_MALFORMED;
    if (mqtt_filter_has_wildcard(topic)) /* both: [MQTT-3.3.2-2]; [MQTT-4.7.0-1]; 3.1.1: [MQTT-4.7.1-1] */
        return ERR_INVALID;
    return ERR_OK;
}

bool mqtt_filter_has_wildcard(struct slice filter)
{
    return slice_find(filter, '+') >= 0 || slice_find(filter, '#') >= 0;
}

enum err mqtt_filter_check(struct slice filter)
{
    if (filter.len == 0) /* both: [MQTT-4.7.3-1] */
        return ERR_INVALID;
    if (filter.len > MQTT_STRING_BYTES_MAX) /* both: [MQTT-4.7.3-3] */
        return ERR_MALFORMED;
    if (!utf8_is_mqtt(filter.p, filter.len)) /* [MQTT-1.5.4-1], [MQTT-1.5.4-2]; both: [MQTT-4.7.3-2] */
        return ERR_MALFORMED;
    for (size_t i = 0; i < filter.len; i++) {
        uint8_t c = filter.p[i];
        if (c != '+' && c != '#')
            continue;
        bool starts = i == 0 || filter.p[i - 1] == '/';
        bool ends = i + 1 == filter.len;
        if (c == '#' && !(starts && ends)) /* [MQTT-4.7.1-1]; 3.1.1: [MQTT-4.7.1-2] */
            return ERR_INVALID;
        if (c == '+' && !(starts && (ends || filter.p[i + 1] == '/'))) /* [MQTT-4.7.1-2]; 3.1.1: [MQTT-4.7.1-3] */
            return ERR_INVALID;
    }
    return ERR_OK;
}

enum err mqtt_share_split(struct slice filter, struct slice *out_group, struct slice *out_filter)
{
    struct slice prefix = SLICE("$share/");
    if (!slice_starts_with(filter, prefix))
        return ERR_NO_MATCH;
    struct slice rest = slice_skip(filter, prefix.len);
    ptrdiff_t slash = slice_find(rest, '/');
    if (slash <= 0) /* [MQTT-4.8.2-1] a group of at least one character, [MQTT-4.8.2-2] and '/' behind it */
        return ERR_INVALID;
    struct slice group = slice_make(rest.p, (size_t)slash);
    struct slice inner = slice_skip(rest, (size_t)slash + 1);
    if (inner.len == 0 || mqtt_filter_has_wildcard(group)) /* [MQTT-4.8.2-2] */
        return ERR_INVALID;
    *out_group = group;
    *out_filter = inner;
    return ERR_OK;
}
