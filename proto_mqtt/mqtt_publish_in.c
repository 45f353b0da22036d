/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_publish_in.c: messages from the peer: PUBLISH at every QoS, and PUBREL.
 *
 *     PUBLISH ─► may it? ─► broker_publish ─► [receipt] ─► QoS 1: PUBACK
 *                                                     └─► QoS 2: PUBREC ◄─┐ the id stays open: a repetition is answered
 *     PUBREL ──► broker_rx_release ─► [receipt] ─► PUBCOMP                 ┘ and not published again [MQTT-4.3.3-10]
 *
 * This is the hot path: a PUBLISH without properties on the topic of the one before costs a decode, a comparison of the
 * topic and the call of broker_publish. The rules for topics are checked only when it was not routed lately.
 *
 * What a peer may not publish is answered by version. 5.0 has reason codes for QoS 1 and 2. 3.x has none: a topic
 * that is closed to peers ($SYS) is acknowledged and dropped [MQTT-3.3.5-2] (3.1.1), as mosquitto does; everything
 * else ends the connection, so that a message is never lost in silence.
 *
 * Invariants
 *   1. Every QoS 1 or 2 PUBLISH that does not end the connection is given exactly one receipt, in order.
 *   2. rx_n counts the publishes of this connection without a final answer; it never passes rx_max.
 * Cost    no allocation without properties; attributes up to ATTRS_STACK_BYTES are made on the stack.
 * Thread  the shard's own.
 * Spec    MQTT 5 §3.3, §3.6, §4.3, §4.9; MQTT 3.1.1 §3.3, §3.6, §4.3.
 */
#include "core/shard.h"
#include "proto_mqtt/mqtt_attrs.h"
#include "proto_mqtt/mqtt_conn.h"

enum { ATTRS_STACK_BYTES = 1024 };

/* ---- what may be published ----------------------------------------------------------------------------------- */

/* Names whose first level means something to the broker. A peer's message must not pass as a plain topic there. */
static const struct {
    struct slice level;
    uint8_t code;
} RESERVED[] = {
    {{(const uint8_t *)"$SYS", 4}, MQTT_RC_DENIED},              /* the broker's own, always */
    {{(const uint8_t *)"$share", 6}, MQTT_RC_TOPIC},             /* a way to subscribe, not a place */
    {{(const uint8_t *)"$queue", 6}, MQTT_RC_IMPLEMENTATION},    /* these three have a meaning in the design and */
    {{(const uint8_t *)"$exchange", 9}, MQTT_RC_IMPLEMENTATION}, /* are refused until they have code */
    {{(const uint8_t *)"$delayed", 8}, MQTT_RC_IMPLEMENTATION},
};

uint8_t mqtt_topic_refusal(struct slice topic)
{
    if (LIKELY(topic.len == 0 || topic.p[0] != '$'))
        return 0;
    struct slice level = topic;
    ptrdiff_t end = slice_find(topic, '/');
    if (end >= 0)
        level.len = (size_t)end;
    for (size_t i = 0; i < ARRAY_N(RESERVED); i++)
        if (slice_eq(level, RESERVED[i].level))
            return RESERVED[i].code;
    return 0;
}

bool mqtt_retain_is_off(const struct conn *c)
{
    return !c->shard->config.retain_available;
}

static void log_refusal(struct conn *c, struct slice topic, uint8_t code)
{
    char peer[96];
    conn_peer(c, peer, sizeof peer);
    topic.len = MIN(topic.len, (size_t)128);
    log_line(conn_log(c), LOG_WARN, "%s mqtt publish to '" SLICE_FMT "' refused: %s", peer, SLICE_ARG(topic),
             mqtt_reason_name(code, MQTT_PUBACK));
}

/* refuse: this message is not taken. QoS 0 has no answer: what is merely closed to peers is dropped, what the peer can
 * only have meant otherwise ends the connection. QoS 1 and 2 are answered in their turn (mqtt_receipt.c decides what
 * 3.x gets). */
static void refuse(struct conn *c, const struct mqtt_publish *p, uint8_t code)
{
    log_refusal(c, p->topic, code);
    if (p->qos != 0)
        broker_barrier(c, receipt_make(p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, code, 0, p->packet_id));
    else if (code != MQTT_RC_DENIED)
        mqtt_close(c, CLOSE_REFUSED, code);
}

/* topic_is_ok: the rules for a topic that is not one that is known. False: answered. */
static bool topic_is_ok(struct conn *c, const struct mqtt_publish *p)
{
    enum err e = mqtt_topic_name_check(p->topic);
    if (e ==
        ERR_MALFORMED) { /* [MQTT-3.3.2-1], [MQTT-1.5.4-1], [MQTT-1.5.4-2]; 3.1.1: [MQTT-1.5.3-1], [MQTT-1.5.3-2] */
        mqtt_fault(c, e);
        return false;
    }
    if (p->topic.len == 0) { /* §3.3.2.1: without an alias it is a Protocol Error; 3.1.1: [MQTT-4.7.3-1] */
        mqtt_fault(c, ERR_PROTOCOL);
        return false;
    }
    if (e != ERR_OK) { /* [MQTT-3.3.2-2], [MQTT-4.7.0-1] wildcards; 3.1.1: [MQTT-4.7.1-1] */
        mqtt_close(c, CLOSE_PROTOCOL, MQTT_RC_TOPIC);
        return false;
    }
    if (topic_levels(p->topic) > conn_limits(c)->topic_levels_max) {
        mqtt_close(c, CLOSE_LIMIT, MQTT_RC_TOPIC);
        return false;
    }
    return true;
}

/* take_slot: the peer uses one of the Receive Maximum it was told. A repeated QoS 2 publish has its slot already.
 * False: it had none left [MQTT-3.3.4-7], and the connection ends with 0x93 (§3.3.4). */
static bool take_slot(struct conn *c, struct mqtt_conn *m, const struct mqtt_publish *p)
{
    if (m->version != MQTT_V5 || (p->qos == 2 && broker_rx_is_open(c, p->packet_id)))
        return true;
    if (m->rx_n >= m->rx_max) {
        mqtt_close(c, CLOSE_QUOTA, 0);
        return false;
    }
    m->rx_n++;
    return true;
}

/* ---- PUBLISH ------------------------------------------------------------------------------------------------- */

/* publish: the rules that hold with and without properties, then the broker. */
static void publish(struct conn *c, const struct mqtt_publish *p, struct slice attrs, mono_ms expires_at,
                    struct slice wire, bool in_bulk)
{
    struct mqtt_conn *m = conn_state(c);
    bool is_known = broker_topic_is_known(c, p->topic);
    if (UNLIKELY(!is_known && !topic_is_ok(c, p)))
        return;
    if (UNLIKELY(p->retain && mqtt_retain_is_off(c))) { /* [MQTT-3.2.2-14] told at the login in 5.0 */
        mqtt_close(c, m->version == MQTT_V5 ? CLOSE_PROTOCOL : CLOSE_REFUSED, MQTT_RC_NO_RETAIN);
        return;
    }
    struct publish pub = {
        .msg = {.topic = p->topic,
                .payload = p->payload,
                .attrs = attrs,
                .owner = conn_chunk(c),
                .wire = wire,
                .wire_form = wire.len != 0 ? mqtt_wire_form(m->version, p->qos) : NULL,
                .in_bulk = in_bulk,
                .expires_at = expires_at,
                .qos = p->qos,
                .flags = p->retain ? MSG_RETAIN : 0},
        .receipt = RECEIPT_NONE,
        .topic_is_last = is_known,
    };
    if (p->qos != 0) {
        if (!take_slot(c, m, p))
            return;
        pub.msg.flags |= MSG_DURABLE;
        /* [MQTT-3.3.4-1] */
        pub.receipt = receipt_make(p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, 0, 0, p->packet_id);
        pub.rx_id = p->qos == 2 ? p->packet_id : 0;
    }
    uint8_t code = is_known ? 0 : mqtt_topic_refusal(p->topic);
    if (UNLIKELY(code != 0))
        refuse(c, p, code);
    else
        broker_publish(c, &pub);
}

/* publish_with_props: 5.0, and the peer said more than topic and payload. */
static void publish_with_props(struct conn *c, const struct mqtt_publish *p)
{
    struct mqtt_props props;
    enum err e = mqtt_props_collect(p->props, MQTT_PUBLISH, &props);
    if (e == ERR_OK && props.sub_id_n != 0) /* [MQTT-3.3.4-6] */
        e = ERR_PROTOCOL;
    if (e != ERR_OK) {
        mqtt_fault(c, e);
        return;
    }
    if ((props.has & MQTT_HAS(ALIAS)) != 0) { /* [MQTT-3.3.2-8], [MQTT-3.3.2-9]: above the maximum of 0 we announced */
        mqtt_close(c, CLOSE_PROTOCOL, MQTT_RC_ALIAS);
        return;
    }
    mono_ms expires_at = 0;
    if ((props.has & MQTT_HAS(MESSAGE_EXPIRY)) != 0)
        expires_at = conn_now(c) + (mono_ms)props.message_expiry_s * 1000;
    size_t bytes = mqtt_attrs_bytes(&props);
    uint8_t stack[ATTRS_STACK_BYTES];
    struct buf attrs = {.mem = conn_mem(c), .p = stack, .cap = sizeof stack};
    if (bytes > sizeof stack)
        buf_init(&attrs, conn_mem(c));
    mqtt_attrs_put(&attrs, &props);
    if (!buf_is_bad(&attrs))
        publish(c, p, buf_slice(&attrs), expires_at, (struct slice){0}, false);
    else
        mqtt_fault(c, ERR_NOMEM);
    if (bytes > sizeof stack)
        buf_fini(&attrs);
}

const void *mqtt_wire_form(uint8_t version, uint8_t qos)
{
    static const char forms[2][3] = {{0}}; /* their addresses; 3.1 and 3.1.1 differ in CONNECT only */
    return &forms[version == MQTT_V5][qos];
}

/* wire_of: the whole packet, if a receiver would get these very bytes, its packet id apart: neither DUP nor RETAIN, the
 * length in its shortest form, and no properties. */
static struct slice wire_of(const struct mqtt_frame *f)
{
    if (UNLIKELY((f->flags & 0x09) != 0 || f->overlong))
        return (struct slice){0};
    return slice_make(f->body.p - f->head_bytes, f->total);
}

void mqtt_publish_in(struct conn *c, const struct mqtt_frame *f, bool in_bulk)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_publish p;
    enum err e = mqtt_publish_decode(f, (enum mqtt_version)m->version, &p);
    if (UNLIKELY(e != ERR_OK))
        mqtt_fault(c, e);
    else if (LIKELY(p.props.len == 0))
        publish(c, &p, (struct slice){0}, 0, wire_of(f), in_bulk);
    else
        publish_with_props(c, &p);
}

/* ---- PUBREL -------------------------------------------------------------------------------------------------- */

void mqtt_pubrel_in(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_ack a;
    enum err e = mqtt_ack_decode(f, (enum mqtt_version)m->version, &a);
    if (e != ERR_OK) {
        mqtt_fault(c, e);
        return;
    }
    /* [MQTT-4.3.3-11] PUBCOMP, known id or not; 3.1.1: [MQTT-4.3.3-2] */
    broker_rx_release(c, a.packet_id, receipt_make(MQTT_PUBCOMP, 0, 0, a.packet_id));
}
