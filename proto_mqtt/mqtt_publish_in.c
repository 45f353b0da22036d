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
#include "core/base/utf8.h"
#include "core/shard.h"
#include "proto_mqtt/mqtt_attrs.h"
#include "proto_mqtt/mqtt_conn.h"

enum { ATTRS_STACK_BYTES = 1024 };

/* ---- what may be published ----------------------------------------------------------------------------------- */

bool mqtt_retain_is_off(const struct conn *c)
{
    return !c->shard->config.retain_available;
}

static void log_refusal(struct conn *c, struct slice topic, uint8_t cause)
{
    char peer[96];
    conn_peer(c, peer, sizeof peer);
    topic.len = MIN(topic.len, (size_t)128);
    log_line(conn_log(c), LOG_WARN, "%s mqtt publish to '" SLICE_FMT "' refused: %s", peer, SLICE_ARG(topic),
             mqtt_cause_text(cause));
}

/* refuse: this message is not taken. QoS 0 has no answer: what is merely closed to peers is dropped, what the peer can
 * only have meant otherwise ends the connection. QoS 1 and 2 are answered in their turn (mqtt_receipt.c decides what
 * 3.x gets). */
static void refuse(struct conn *c, const struct mqtt_publish *p, uint8_t cause)
{
    log_refusal(c, p->topic, cause);
    if (p->qos != 0)
        broker_barrier(c, receipt_make(p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, cause, 0, p->packet_id));
    else if (mqtt_cause_code(cause, MQTT_PUBACK) != MQTT_RC_DENIED)
        mqtt_close(c, CLOSE_REFUSED, cause);
}

/* topic_is_ok: the rules for a topic that is not one that is known. False: answered. */
static bool topic_is_ok(struct conn *c, const struct mqtt_publish *p)
{
    enum err e = mqtt_topic_name_check(p->topic);
    if (e == ERR_MALFORMED) { /* both: [MQTT-3.3.2-1]; [MQTT-1.5.4-1, -2]; 3.1.1: [MQTT-1.5.3-1, -2] */
        mqtt_fault(c, MQTT_PUBLISH, e);
        return false;
    }
    if (p->topic.len == 0) { /* §3.3.2.1: without an alias it is a Protocol Error; 3.1.1: [MQTT-4.7.3-1] */
        mqtt_close(c, CLOSE_PROTOCOL, MQTT_CAUSE_TOPIC_EMPTY);
        return false;
    }
    if (e != ERR_OK) { /* [MQTT-3.3.2-2], [MQTT-4.7.0-1] wildcards; 3.1.1: [MQTT-3.3.2-2], [MQTT-4.7.1-1] */
        mqtt_close(c, CLOSE_PROTOCOL, MQTT_CAUSE_TOPIC_WILD);
        return false;
    }
    uint8_t cause = p->topic.p[0] == '$' ? 0 : mqtt_topic_limit(c, p->topic);
    if (cause != 0)
        mqtt_close(c, CLOSE_LIMIT, cause);
    return cause == 0;
}

/* qos_is_ok: [MQTT-3.2.2-11] told at the login in 5.0. False: answered. */
static bool qos_is_ok(struct conn *c, const struct mqtt_publish *p)
{
    const struct mqtt_conn *m = conn_state(c);
    if (LIKELY(!mqtt_qos_is_capped(c, p->qos)))
        return true;
    mqtt_close(c, m->version == MQTT_V5 ? CLOSE_PROTOCOL : CLOSE_REFUSED, MQTT_CAUSE_QOS);
    return false;
}

/* take_slot: the peer uses one of the Receive Maximum it was told. A repeated QoS 2 publish has its slot already.
 * False: it had none left [MQTT-3.3.4-7], and the connection ends with 0x93 (§3.3.4). */
static bool take_slot(struct conn *c, struct mqtt_conn *m, const struct mqtt_publish *p)
{
    if (m->version != MQTT_V5 || (p->qos == 2 && broker_rx_is_open(c, p->packet_id)))
        return true;
    if (m->rx_n >= m->rx_max) {
        mqtt_close(c, CLOSE_QUOTA, MQTT_CAUSE_NONE);
        return false;
    }
    m->rx_n++;
    return true;
}

/* ---- PUBLISH ------------------------------------------------------------------------------------------------- */

/* publish_elsewhere: a topic that begins with '$' may be a place of its own: a queue, an exchange, later. The route of
 * such a key must not be taken for that of a plain topic, which is known without being looked at. */
NOINLINE static void publish_elsewhere(struct conn *c, const struct mqtt_publish *p, struct publish *pub)
{
    uint8_t cause = mqtt_address_publish(c, pub);
    if (cause != 0)
        refuse(c, p, cause);
    else
        broker_publish(c, pub);
    if (pub->exchange != NULL)
        c->route = NULL;
}

/* publish: the rules that hold with and without properties, then the broker. */
static void publish(struct conn *c, const struct mqtt_publish *p, struct slice attrs, mono_ms expires_at,
                    struct slice wire, bool in_bulk)
{
    struct mqtt_conn *m = conn_state(c);
    bool is_known = broker_topic_is_known(c, p->topic);
    if (UNLIKELY(!is_known && !topic_is_ok(c, p)))
        return;
    if (UNLIKELY(p->retain && mqtt_retain_is_off(c))) { /* [MQTT-3.2.2-14] told at the login in 5.0 */
        mqtt_close(c, m->version == MQTT_V5 ? CLOSE_PROTOCOL : CLOSE_REFUSED, MQTT_CAUSE_RETAIN);
        return;
    }
    struct publish pub = {
        .msg = {.topic = p->topic,
                .payload = p->payload,
                .attrs = attrs,
                .owner = conn_chunk(c),
                .wire = wire,
                .wire_form = wire.len != 0 ? mqtt_wire_form(m->version == MQTT_V5, p->qos) : NULL,
                .in_bulk = in_bulk,
                .expires_at = expires_at,
                .qos = p->qos,
                .flags = p->retain ? MSG_RETAIN : 0},
        .receipt = RECEIPT_NONE,
        .topic_is_last = is_known,
    };
    if (p->qos != 0) {
        if (!qos_is_ok(c, p) || !take_slot(c, m, p))
            return;
        pub.msg.flags |= MSG_DURABLE;
        /* both: [MQTT-3.3.4-1] */
        pub.receipt = receipt_make(p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, 0, 0, p->packet_id);
        pub.rx_id = p->qos == 2 ? p->packet_id : 0;
    }
    if (UNLIKELY(!is_known && p->topic.p[0] == '$'))
        publish_elsewhere(c, p, &pub);
    else
        broker_publish(c, &pub);
}

/* refuse_payload: a payload that is not what it claims to be (§3.3.2.3.2). The other rules come first: what breaks them
 * is answered by them. */
static void refuse_payload(struct conn *c, const struct mqtt_publish *p)
{
    struct mqtt_conn *m = conn_state(c);
    if (!topic_is_ok(c, p))
        return;
    if (p->qos == 0)
        mqtt_close(c, CLOSE_REFUSED, MQTT_CAUSE_PAYLOAD);
    else if (qos_is_ok(c, p) && take_slot(c, m, p))
        refuse(c, p, MQTT_CAUSE_PAYLOAD);
}

/* publish_attrs: the properties that belong to the message become its attributes. */
static void publish_attrs(struct conn *c, const struct mqtt_publish *p, const struct mqtt_props *props)
{
    mono_ms expires_at = 0;
    if ((props->has & MQTT_HAS(MESSAGE_EXPIRY)) != 0)
        expires_at = conn_now(c) + (mono_ms)props->message_expiry_s * 1000;
    size_t bytes = mqtt_attrs_bytes(props);
    uint8_t stack[ATTRS_STACK_BYTES];
    struct buf attrs = {.mem = conn_mem(c), .p = stack, .cap = sizeof stack};
    if (bytes > sizeof stack)
        buf_init(&attrs, conn_mem(c));
    mqtt_attrs_put(&attrs, props);
    if (!buf_is_bad(&attrs))
        publish(c, p, buf_slice(&attrs), expires_at, (struct slice){0}, false);
    else
        mqtt_fault(c, MQTT_PUBLISH, ERR_NOMEM);
    if (bytes > sizeof stack)
        buf_fini(&attrs);
}

/* publish_with_props: 5.0, and the peer said more than topic and payload. */
static void publish_with_props(struct conn *c, struct mqtt_publish *p)
{
    struct mqtt_props props;
    enum err e = mqtt_props_collect(p->props, MQTT_PUBLISH, &props);
    if (e == ERR_OK && props.sub_id_n != 0) /* [MQTT-3.3.4-6] */
        e = ERR_PROTOCOL;
    if (e != ERR_OK) {
        mqtt_fault(c, MQTT_PUBLISH, e);
        return;
    }
    /* What is refused below for another reason has set its alias all the same: a refusal is answered later, and the
     * peer may have used the alias again by then (§3.3.4: the receiver "sets its mapping", without conditions). */
    if ((props.has & MQTT_HAS(ALIAS)) != 0 && !mqtt_alias_in(c, props.alias, &p->topic))
        return;
    bool claims_text = (props.has & MQTT_HAS(PAYLOAD_FORMAT)) != 0 && props.payload_format == 1;
    if (claims_text && c->shard->config.check_payload_format && !utf8_is_valid(p->payload.p, p->payload.len))
        refuse_payload(c, p);
    else
        publish_attrs(c, p, &props);
}

const void *mqtt_wire_form(uint8_t form, uint8_t qos)
{
    static const char forms[3][3] = {{0}}; /* their addresses; 3.1 and 3.1.1 differ in CONNECT only */
    return &forms[form][qos];
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
        mqtt_fault(c, MQTT_PUBLISH, e);
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
        mqtt_fault(c, MQTT_PUBREL, e);
        return;
    }
    /* [MQTT-4.3.3-11] PUBCOMP, known id or not; 3.1.1: [MQTT-4.3.3-2] */
    broker_rx_release(c, a.packet_id, receipt_make(MQTT_PUBCOMP, 0, 0, a.packet_id));
}
