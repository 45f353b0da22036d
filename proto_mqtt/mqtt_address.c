/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_address.c: what a topic or a filter means when its first level begins with '$'.
 *
 *     $SYS/...                     the broker's own: may be read
 *     $share/<group>/<filter>      a share in a group: SUBSCRIBE only
 *     $queue/<name>                a named queue, declared when it is first used: PUBLISH and SUBSCRIBE
 *     $exchange/<name>/<key>       an exchange that exists: PUBLISH only
 *     $delayed/<seconds>/<topic>   later: PUBLISH only; <topic> is a plain one, $queue/... or $exchange/...
 *     any other                    a plain topic that no leading wildcard meets [MQTT-4.7.2-1]
 *
 * What is reached through a prefix is refused for the same reasons as if it were named directly: the key of a topic
 * exchange and the topic behind a delay may not lie in $SYS, nor pass as plain topics where a prefix has a meaning.
 *
 * Invariants
 *   1. On a refusal nothing was changed, but that a queue may have been declared.
 *   2. Where the key is not the topic that came, the message has no wire form: its packet is nobody else's.
 * Cost    O(bytes of the prefix and the key); a look-up per exchange or queue.
 * Thread  the shard's own.
 * Spec    MQTT 5 §4.7.2, §4.8.2; docs/mqtt.md.
 */
#include "core/shard.h"
#include "proto_mqtt/mqtt_conn.h"

enum { QUEUE_NAME_BYTES_MAX = 255, DELAY_DIGITS_MAX = 10 };

enum place { PLACE_TOPIC, PLACE_SYS, PLACE_SHARE, PLACE_QUEUE, PLACE_EXCHANGE, PLACE_DELAYED };

/* cut: the first level of *rest, which is moved behind the '/'. False: there was no '/', and *rest is empty now. */
static bool cut(struct slice *rest, struct slice *out_level)
{
    ptrdiff_t slash = slice_find(*rest, '/');
    size_t n = slash >= 0 ? (size_t)slash : rest->len;
    *out_level = slice_make(rest->p, n);
    *rest = slice_skip(*rest, slash >= 0 ? n + 1 : n);
    return slash >= 0;
}

/* place_of: which place a topic or filter names, and what stands behind its name. */
static enum place place_of(struct slice text, struct slice *out_rest)
{
    static const struct {
        struct slice level;
        enum place place;
    } places[] = {
        {{(const uint8_t *)"$SYS", 4}, PLACE_SYS},         {{(const uint8_t *)"$share", 6}, PLACE_SHARE},
        {{(const uint8_t *)"$queue", 6}, PLACE_QUEUE},     {{(const uint8_t *)"$exchange", 9}, PLACE_EXCHANGE},
        {{(const uint8_t *)"$delayed", 8}, PLACE_DELAYED},
    };
    *out_rest = text;
    if (LIKELY(text.len == 0 || text.p[0] != '$'))
        return PLACE_TOPIC;
    struct slice level;
    (void)cut(out_rest, &level);
    for (size_t i = 0; i < ARRAY_N(places); i++)
        if (slice_eq(level, places[i].level))
            return places[i].place;
    *out_rest = text;
    return PLACE_TOPIC;
}

uint8_t mqtt_topic_limit(const struct conn *c, struct slice topic)
{
    const struct limits *l = conn_limits(c);
    if (topic.len > l->topic_bytes_max)
        return MQTT_CAUSE_TOPIC_LONG;
    return topic_levels(topic) > l->topic_levels_max ? MQTT_CAUSE_TOPIC_DEEP : 0;
}

/* ---- PUBLISH ------------------------------------------------------------------------------------------------- */

/* set_key: the message goes to exchange x by this key. RETAIN means something in amq.topic only. */
static void set_key(struct publish *pub, struct exchange *x, struct slice key)
{
    const struct exchange *plain = x->vhost->topic_exchange;
    pub->exchange = x;
    pub->msg.topic = key;
    pub->msg.wire = (struct slice){0};
    pub->msg.wire_form = NULL;
    if (x != plain)
        pub->msg.flags &= (uint8_t)~MSG_RETAIN;
}

static uint8_t to_queue(struct conn *c, struct slice name, struct publish *pub)
{
    if (name.len == 0 || name.len > QUEUE_NAME_BYTES_MAX)
        return MQTT_CAUSE_QUEUE_NAME;
    enum err e = ERR_OK;
    if (broker_declare_queue(c, name, &e) == NULL)
        return mqtt_cause_from_err(e);
    set_key(pub, c->session->vhost->default_exchange, name);
    return 0;
}

static uint8_t to_exchange(struct conn *c, struct slice rest, struct publish *pub)
{
    struct slice name, behind;
    (void)cut(&rest, &name);
    struct exchange *x = name.len != 0 ? exchange_get(c->session->vhost, name) : NULL;
    if (x == NULL)
        return MQTT_CAUSE_EXCHANGE_NAME;
    if (x->kind == EXCHANGE_TOPIC) {
        enum place place = place_of(rest, &behind);
        if (place == PLACE_SYS)
            return MQTT_CAUSE_TOPIC_SYS;
        if (rest.len == 0 || place != PLACE_TOPIC)
            return MQTT_CAUSE_EXCHANGE_KEY;
    }
    uint8_t cause = x->kind == EXCHANGE_TOPIC ? mqtt_topic_limit(c, rest) : 0;
    if (cause == 0)
        set_key(pub, x, rest);
    return cause;
}

/* seconds_of: decimal digits alone, at most `max`. */
static bool seconds_of(struct slice text, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (text.len == 0 || text.len > DELAY_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(text.p[i] - '0');
    }
    *out = v;
    return v <= max;
}

/* to_place: all but delays. */
static uint8_t to_place(struct conn *c, enum place place, struct slice topic, struct slice rest, struct publish *pub)
{
    switch (place) {
    case PLACE_SYS:
        return MQTT_CAUSE_TOPIC_SYS;
    case PLACE_SHARE:
        return MQTT_CAUSE_TOPIC_SHARE;
    case PLACE_QUEUE:
        return to_queue(c, rest, pub);
    case PLACE_EXCHANGE:
        return to_exchange(c, rest, pub);
    default:
        return mqtt_topic_limit(c, topic);
    }
}

static uint8_t to_later(struct conn *c, struct slice rest, struct publish *pub)
{
    struct slice digits, behind;
    uint64_t seconds;
    if (!cut(&rest, &digits) || !seconds_of(digits, conn_limits(c)->delay_s_max, &seconds))
        return MQTT_CAUSE_DELAY_TIME;
    enum place place = place_of(rest, &behind);
    if (rest.len == 0 || place == PLACE_DELAYED)
        return MQTT_CAUSE_DELAY_TOPIC;
    uint8_t cause = to_place(c, place, rest, behind, pub);
    if (cause != 0)
        return cause;
    if (place == PLACE_TOPIC)
        set_key(pub, c->session->vhost->topic_exchange, rest);
    pub->delay_ms = (mono_ms)seconds * 1000;
    return 0;
}

uint8_t mqtt_address_publish(struct conn *c, struct publish *pub)
{
    struct slice rest;
    enum place place = place_of(pub->msg.topic, &rest);
    if (place == PLACE_DELAYED)
        return to_later(c, rest, pub);
    return to_place(c, place, pub->msg.topic, rest, pub);
}

uint8_t mqtt_address_will(struct slice topic)
{
    struct slice rest;
    switch (place_of(topic, &rest)) {
    case PLACE_TOPIC:
        return 0;
    case PLACE_SYS:
        return MQTT_CAUSE_TOPIC_SYS;
    case PLACE_SHARE:
        return MQTT_CAUSE_TOPIC_SHARE;
    default: /* a will is a message to a topic; what comes after its session's end has nobody to answer to */
        return MQTT_CAUSE_WILL_PLACE;
    }
}

/* ---- SUBSCRIBE, UNSUBSCRIBE ---------------------------------------------------------------------------------- */

/* topic_filter: a filter of plain topics, or of $SYS. */
static uint8_t topic_filter(const struct conn *c, struct slice text, struct token *tok, struct filter *out)
{
    const struct limits *l = conn_limits(c);
    struct slice rest;
    enum place place = place_of(text, &rest);
    if (place != PLACE_TOPIC && place != PLACE_SYS)
        return MQTT_CAUSE_FILTER_PLACE;
    if (text.len > l->topic_bytes_max || filter_from_mqtt(text, tok, out) != ERR_OK || out->n > l->topic_levels_max)
        return MQTT_CAUSE_FILTER_LONG;
    return 0;
}

uint8_t mqtt_address_filter(const struct conn *c, struct slice text, struct token *tok, struct mqtt_source *out)
{
    struct slice rest, inner;
    if (mqtt_filter_check(text) != ERR_OK) /* [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1] */
        return MQTT_CAUSE_FILTER;
    switch (place_of(text, &rest)) {
    case PLACE_SHARE:
        out->from = MQTT_FROM_GROUP;
        if (mqtt_share_split(text, &out->name, &inner) != ERR_OK) /* [MQTT-4.8.2-1], [MQTT-4.8.2-2] */
            return MQTT_CAUSE_FILTER_SHARE;
        return topic_filter(c, inner, tok, &out->filter);
    case PLACE_QUEUE:
        out->from = MQTT_FROM_QUEUE;
        out->name = rest;
        return rest.len == 0 || rest.len > QUEUE_NAME_BYTES_MAX || mqtt_filter_has_wildcard(rest)
                   ? MQTT_CAUSE_FILTER_QUEUE
                   : 0;
    default:
        out->from = MQTT_FROM_TOPICS;
        return topic_filter(c, text, tok, &out->filter);
    }
}
