/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_any.c: one switch over the packet types for each of decode, encode, room and equality.
 *
 * Encoders of SUBSCRIBE and UNSUBSCRIBE take arrays; here the decoded payload is walked with the codec's own iterators
 * to make them. Equality is written out field by field, because structs have padding and values that mean nothing while
 * their bit in `has` is not set.
 *
 * Thread  any; pure.
 */
#include "tests/support/mqtt_any.h"

static enum err decode_publish(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_publish *out)
{
    struct mqtt_props props;
    enum err e = mqtt_publish_decode(f, v, out);
    if (e == ERR_OK && out->props.len != 0)
        e = mqtt_props_collect(out->props, MQTT_PUBLISH, &props);
    return e;
}

enum err mqtt_any_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_any *out)
{
    enum err e;
    out->type = f->type;
    out->version = (uint8_t)v;
    switch (f->type) {
    case MQTT_CONNECT:
        e = mqtt_connect_decode(f, &out->u.connect);
        return e == ERR_OK && out->u.connect.version != v ? ERR_UNSUPPORTED : e;
    case MQTT_CONNACK:
        return mqtt_connack_decode(f, v, &out->u.connack);
    case MQTT_PUBLISH:
        return decode_publish(f, v, &out->u.publish);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return mqtt_ack_decode(f, v, &out->u.ack);
    case MQTT_SUBSCRIBE:
        return mqtt_subscribe_decode(f, v, &out->u.subscribe);
    case MQTT_SUBACK:
        return mqtt_suback_decode(f, v, &out->u.suback);
    case MQTT_UNSUBSCRIBE:
        return mqtt_unsubscribe_decode(f, v, &out->u.subscribe);
    case MQTT_UNSUBACK:
        return mqtt_unsuback_decode(f, v, &out->u.suback);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return mqtt_ping_decode(f, v);
    case MQTT_DISCONNECT:
        return mqtt_disconnect_decode(f, v, &out->u.closing);
    default:
        return mqtt_auth_decode(f, v, &out->u.closing);
    }
}

static ptrdiff_t encode_publish(const struct mqtt_publish *p, enum mqtt_version v, uint8_t *out, size_t cap)
{
    if (cap < mqtt_publish_head_max(p, NULL) + p->payload.len)
        return -ERR_TOO_BIG;
    size_t n = mqtt_publish_head(out, p, NULL, v);
    if (n == 0)
        return -ERR_TOO_BIG;
    if (p->payload.len != 0)
        memcpy(out + n, p->payload.p, p->payload.len);
    return (ptrdiff_t)(n + p->payload.len);
}

static ptrdiff_t encode_subscribe(const struct mqtt_subscribe *s, enum mqtt_version v, uint8_t *out, size_t cap)
{
    struct mqtt_sub_item item[MQTT_ANY_FILTERS_MAX];
    struct slice rest = s->filters;
    size_t n = 0;
    if (s->filter_n > MQTT_ANY_FILTERS_MAX)
        return -ERR_FULL;
    while (mqtt_subscribe_next(&rest, &item[n]))
        n++;
    BUG_ON(n != s->filter_n);
    return mqtt_subscribe_encode(s, item, n, v, out, cap);
}

static ptrdiff_t encode_unsubscribe(const struct mqtt_subscribe *s, enum mqtt_version v, uint8_t *out, size_t cap)
{
    struct slice filter[MQTT_ANY_FILTERS_MAX];
    struct slice rest = s->filters;
    size_t n = 0;
    if (s->filter_n > MQTT_ANY_FILTERS_MAX)
        return -ERR_FULL;
    while (mqtt_unsubscribe_next(&rest, &filter[n]))
        n++;
    BUG_ON(n != s->filter_n);
    return mqtt_unsubscribe_encode(s, filter, n, v, out, cap);
}

static ptrdiff_t encode_ping(enum mqtt_type type, uint8_t *out, size_t cap)
{
    if (cap < MQTT_PING_BYTES)
        return -ERR_TOO_BIG;
    mqtt_ping_put(out, type);
    return MQTT_PING_BYTES;
}

ptrdiff_t mqtt_any_encode(const struct mqtt_any *a, uint8_t *out, size_t cap)
{
    enum mqtt_version v = (enum mqtt_version)a->version;
    switch (a->type) {
    case MQTT_CONNECT:
        return mqtt_connect_encode(&a->u.connect, out, cap);
    case MQTT_CONNACK:
        return mqtt_connack_encode(&a->u.connack, v, out, cap);
    case MQTT_PUBLISH:
        return encode_publish(&a->u.publish, v, out, cap);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return mqtt_ack_encode(&a->u.ack, v, out, cap);
    case MQTT_SUBSCRIBE:
        return encode_subscribe(&a->u.subscribe, v, out, cap);
    case MQTT_SUBACK:
        return mqtt_suback_encode(&a->u.suback, v, out, cap);
    case MQTT_UNSUBSCRIBE:
        return encode_unsubscribe(&a->u.subscribe, v, out, cap);
    case MQTT_UNSUBACK:
        return mqtt_unsuback_encode(&a->u.suback, v, out, cap);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return encode_ping((enum mqtt_type)a->type, out, cap);
    case MQTT_DISCONNECT:
        return mqtt_disconnect_encode(&a->u.closing, v, out, cap);
    default:
        return mqtt_auth_encode(&a->u.closing, v, out, cap);
    }
}

size_t mqtt_any_room(const struct mqtt_any *a)
{
    const struct mqtt_connect *c = &a->u.connect;
    switch (a->type) {
    case MQTT_CONNECT:
        return 35 + mqtt_props_bytes(&c->props) + mqtt_props_bytes(&c->will_props) + c->client_id.len +
               c->will_topic.len + c->will_payload.len + c->user.len + c->password.len;
    case MQTT_CONNACK:
        return 11 + mqtt_props_bytes(&a->u.connack.props);
    case MQTT_PUBLISH:
        return mqtt_publish_head_max(&a->u.publish, NULL) + a->u.publish.payload.len;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return 12 + mqtt_props_bytes(&a->u.ack.props);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: /* the payload holds 3, or 2, bytes beside each filter */
        return 11 + mqtt_props_bytes(&a->u.subscribe.props) + a->u.subscribe.filters.len;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return 11 + mqtt_props_bytes(&a->u.suback.props) + a->u.suback.codes.len;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return MQTT_PING_BYTES;
    default:
        return 10 + mqtt_props_bytes(&a->u.closing.props);
    }
}

/* next_of: the next item with this id; false at the end. */
static bool next_of(struct slice *rest, unsigned id, struct mqtt_prop_item *out)
{
    while (mqtt_props_next(rest, out) > 0)
        if (out->id == id)
            return true;
    return false;
}

/* is_same_run: the items with this id are the same ones in the same order. */
static bool is_same_run(struct slice a, struct slice b, unsigned id)
{
    struct mqtt_prop_item x = {0}, y = {0};
    for (;;) {
        bool more_a = next_of(&a, id, &x), more_b = next_of(&b, id, &y);
        if (!more_a || !more_b)
            return more_a == more_b;
        if (x.num != y.num || !slice_eq(x.name, y.name) || !slice_eq(x.value, y.value))
            return false;
    }
}

#define SAME_NUM(name, field)   (((a->has & MQTT_HAS(name)) == 0) || a->field == b->field)
#define SAME_SLICE(name, field) (((a->has & MQTT_HAS(name)) == 0) || slice_eq(a->field, b->field))

bool mqtt_props_is_equal(const struct mqtt_props *a, const struct mqtt_props *b)
{
    if (((a->has ^ b->has) & ~MQTT_HAS(USER)) != 0)
        return false;
    bool nums = SAME_NUM(PAYLOAD_FORMAT, payload_format) && SAME_NUM(MESSAGE_EXPIRY, message_expiry_s) &&
                SAME_NUM(SUB_ID, sub_id) && SAME_NUM(SESSION_EXPIRY, session_expiry_s) &&
                SAME_NUM(SERVER_KEEPALIVE, server_keepalive_s) && SAME_NUM(WANT_PROBLEM, want_problem) &&
                SAME_NUM(WILL_DELAY, will_delay_s) && SAME_NUM(WANT_RESPONSE, want_response) &&
                SAME_NUM(RECEIVE_MAX, receive_max) && SAME_NUM(ALIAS_MAX, alias_max) && SAME_NUM(ALIAS, alias) &&
                SAME_NUM(QOS_MAX, qos_max) && SAME_NUM(HAS_RETAIN, has_retain) &&
                SAME_NUM(PACKET_BYTES_MAX, packet_bytes_max) && SAME_NUM(HAS_WILDCARD, has_wildcard) &&
                SAME_NUM(HAS_SUB_ID, has_sub_id) && SAME_NUM(HAS_SHARED, has_shared);
    bool slices = SAME_SLICE(CONTENT_TYPE, content_type) && SAME_SLICE(RESPONSE_TOPIC, response_topic) &&
                  SAME_SLICE(CORRELATION, correlation) && SAME_SLICE(ASSIGNED_ID, assigned_id) &&
                  SAME_SLICE(AUTH_METHOD, auth_method) && SAME_SLICE(AUTH_DATA, auth_data) &&
                  SAME_SLICE(RESPONSE_INFO, response_info) && SAME_SLICE(SERVER_REF, server_ref) &&
                  SAME_SLICE(REASON, reason);
    bool ids = (a->sub_id_n <= 1 && b->sub_id_n <= 1) || is_same_run(a->block, b->block, MQTT_PROP_SUB_ID);
    return nums && slices && ids && is_same_run(a->block, b->block, MQTT_PROP_USER);
}

static bool is_equal_connect(const struct mqtt_connect *a, const struct mqtt_connect *b)
{
    if (a->version != b->version || a->clean != b->clean || a->keepalive_s != b->keepalive_s ||
        a->has_will != b->has_will || a->has_user != b->has_user || a->has_password != b->has_password)
        return false;
    if (a->has_will &&
        (a->will_qos != b->will_qos || a->will_retain != b->will_retain || !slice_eq(a->will_topic, b->will_topic) ||
         !slice_eq(a->will_payload, b->will_payload) || !mqtt_props_is_equal(&a->will_props, &b->will_props)))
        return false;
    return slice_eq(a->client_id, b->client_id) && slice_eq(a->user, b->user) && slice_eq(a->password, b->password) &&
           mqtt_props_is_equal(&a->props, &b->props);
}

static bool is_equal_publish(const struct mqtt_publish *a, const struct mqtt_publish *b)
{
    return a->qos == b->qos && a->dup == b->dup && a->retain == b->retain && a->packet_id == b->packet_id &&
           slice_eq(a->topic, b->topic) && slice_eq(a->props, b->props) && slice_eq(a->payload, b->payload);
}

bool mqtt_any_is_equal(const struct mqtt_any *a, const struct mqtt_any *b)
{
    if (a->type != b->type || a->version != b->version)
        return false;
    switch (a->type) {
    case MQTT_CONNECT:
        return is_equal_connect(&a->u.connect, &b->u.connect);
    case MQTT_CONNACK:
        return a->u.connack.code == b->u.connack.code && a->u.connack.session_present == b->u.connack.session_present &&
               mqtt_props_is_equal(&a->u.connack.props, &b->u.connack.props);
    case MQTT_PUBLISH:
        return is_equal_publish(&a->u.publish, &b->u.publish);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return a->u.ack.type == b->u.ack.type && a->u.ack.code == b->u.ack.code &&
               a->u.ack.packet_id == b->u.ack.packet_id && mqtt_props_is_equal(&a->u.ack.props, &b->u.ack.props);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return a->u.subscribe.packet_id == b->u.subscribe.packet_id &&
               a->u.subscribe.filter_n == b->u.subscribe.filter_n &&
               slice_eq(a->u.subscribe.filters, b->u.subscribe.filters) &&
               mqtt_props_is_equal(&a->u.subscribe.props, &b->u.subscribe.props);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return a->u.suback.packet_id == b->u.suback.packet_id && slice_eq(a->u.suback.codes, b->u.suback.codes) &&
               mqtt_props_is_equal(&a->u.suback.props, &b->u.suback.props);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return true;
    default:
        return a->u.closing.code == b->u.closing.code && mqtt_props_is_equal(&a->u.closing.props, &b->u.closing.props);
    }
}
