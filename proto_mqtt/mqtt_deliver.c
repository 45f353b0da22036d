/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_deliver.c: messages to the peer, and what the peer says to them.
 *
 *     on_deliver ─► PUBLISH ──► QoS 1: PUBACK ───────────────────► broker_settle(ACK)
 *                           └─► QoS 2: PUBREC ─► RECEIVED ─► on_release: PUBREL ─► PUBCOMP ─► broker_settle(COMPLETE)
 *
 *     outv:   the packet as it came, by reference                    QoS 0, in bulk or large
 *             the packet as it came, copied, with our packet id      ≤ COPY_MAX
 *             [ head, properties, payload ≤ COPY_MAX ]               another version, QoS, flags or properties
 *             [ head, properties ] [ payload by reference ]          larger
 *
 * The other half of the hot path: in a fan-out this runs once per receiver, so it is one reservation in the output, one
 * pass over the head, and no allocation. The packet id is core's ticket; attributes become properties only when there
 * are any and the peer speaks 5.0.
 *
 * Invariants
 *   1. Nothing is appended unless the whole packet may be sent: on ERR_TOO_BIG the output is as it was.
 *   2. DUP is set exactly when this session was sent it before, under this packet id [MQTT-3.3.1-1], [MQTT-3.3.1-2],
 *      [MQTT-3.3.1-3].
 * Cost    O(topic + properties + copied payload).
 * Thread  the shard's own.
 * Spec    MQTT 5 §3.3, §3.4 to §3.7, §4.3; MQTT 3.1.1 §3.3, §4.3.
 */
#include "proto_mqtt/mqtt_attrs.h"
#include "proto_mqtt/mqtt_conn.h"

enum { COPY_MAX = 512 }; /* payload bytes: above, a reference into the read chunk or the message is cheaper */

/* ---- PUBLISH ------------------------------------------------------------------------------------------------- */

/* expiry_left: seconds until expires_at, a begun one counted [MQTT-3.3.2-6]. */
static uint32_t expiry_left(mono_ms expires_at, mono_ms now)
{
    uint64_t ms = expires_at > now ? expires_at - now : 0;
    return (uint32_t)MIN((ms + 999) / 1000, (uint64_t)UINT32_MAX);
}

/* encode: the whole packet into o. block_max: room for the properties made of the message's attributes. */
static enum err encode(struct outv *o, const struct mqtt_conn *m, const struct msgview *msg, struct mqtt_publish *p,
                       const struct mqtt_publish_extra *extra)
{
    bool has_attrs = m->version == MQTT_V5 && msg->attrs.len != 0;
    size_t block_max = has_attrs ? mqtt_block_max(msg->attrs) : 0;
    p->props.len = block_max;
    size_t head_max = mqtt_publish_head_max(p, extra);
    bool refers = p->payload.len > COPY_MAX && msg->owner != NULL;
    uint8_t *room = outv_room(o, head_max + MAX(block_max, refers ? 0 : p->payload.len));
    if (UNLIKELY(room == NULL))
        return ERR_NOMEM;
    if (has_attrs) /* made behind the head's room, then copied into the head: no memory of its own */
        p->props = slice_make(room + head_max, mqtt_block_put(msg->attrs, room + head_max));
    size_t head = mqtt_publish_head(room, p, extra, (enum mqtt_version)m->version);
    if (UNLIKELY(head == 0 || head + p->payload.len > m->out_bytes_max)) /* [MQTT-3.1.2-24], [MQTT-3.1.2-25] */
        return ERR_TOO_BIG;
    if (refers) {
        outv_wrote(o, head);
        outv_ref(o, msg->owner, p->payload.p, p->payload.len);
        return ERR_OK;
    }
    if (p->payload.len != 0)
        memcpy(room + head, p->payload.p, p->payload.len);
    outv_wrote(o, head + p->payload.len);
    return ERR_OK;
}

/* is_same: would the packet for this receiver be the one that came, but for its packet id? (What comes from a named
 * queue came to it by an address that is not the topic, and has no wire form.) */
static bool is_same(const struct mqtt_conn *m, const struct delivery *d)
{
    const struct msgview *msg = d->msg;
    return msg->wire_form == mqtt_wire_form(m->form, d->qos) && !d->retain && msg->wire.len <= m->out_bytes_max &&
           (d->set->sub_id_n == 0 || m->version != MQTT_V5);
}

/* copy_wire: the packet as it came, with this delivery's packet id. */
static void copy_wire(struct outv *o, const struct msgview *msg, const struct delivery *d)
{
    uint8_t *room = outv_room(o, msg->wire.len);
    if (UNLIKELY(room == NULL))
        return; /* the connection ends for it at the flush */
    memcpy(room, msg->wire.p, msg->wire.len);
    if (d->qos != 0) {
        uint8_t *id = room + (msg->topic.p - msg->wire.p) + msg->topic.len;
        id[0] = (uint8_t)(d->ticket >> 8);
        id[1] = (uint8_t)d->ticket;
    }
    outv_wrote(o, msg->wire.len);
}

/* encode_aliased: with a topic alias, instead of the topic where the peer has it. */
static enum err encode_aliased(struct conn *c, struct outv *o, const struct msgview *msg, struct mqtt_publish *p,
                               struct mqtt_publish_extra *extra)
{
    const struct mqtt_conn *m = conn_state(c);
    struct slice topic = p->topic;
    bool is_known;
    extra->alias = mqtt_alias_find(c, topic, &is_known); /* [MQTT-3.1.2-26] */
    if (is_known)
        p->topic.len = 0;
    enum err e = encode(o, m, msg, p, extra);
    if (extra->alias == 0 || is_known)
        return e;
    if (e == ERR_OK) {
        mqtt_alias_note(c, extra->alias, topic);
    } else if (e == ERR_TOO_BIG) { /* the alias makes it longer the first time */
        extra->alias = 0;
        e = encode(o, m, msg, p, extra);
    }
    return e;
}

enum { QUEUE_TOPIC_BYTES = 7 + 255 };

/* queue_topic: what a message from a named queue is called, so that the peer can tell which of its filters it is for:
 * "$queue/" and the name, if the name is all there is to its topic, or if what it was published by elsewhere is no
 * topic [MQTT-3.3.2-2], [MQTT-1.5.4-2]; the peer's filter spells that name. Other messages keep theirs. */
static struct slice queue_topic(const struct queue *q, struct slice topic, uint8_t *out)
{
    static const struct slice prefix = {(const uint8_t *)"$queue/", 7};
    if (q->is_group || q->name_len == 0 || prefix.len + q->name_len > QUEUE_TOPIC_BYTES ||
        (!slice_eq(queue_name(q), topic) && mqtt_topic_name_is_valid(topic)))
        return topic;
    memcpy(out, prefix.p, prefix.len);
    memcpy(out + prefix.len, q->name, q->name_len);
    return slice_make(out, prefix.len + q->name_len);
}

/* encode_delivery: the packet as this receiver's version, QoS and subscription want it. */
NOINLINE static enum err encode_delivery(struct conn *c, struct outv *o, const struct delivery *d)
{
    const struct mqtt_conn *m = conn_state(c);
    const struct msgview *msg = d->msg;
    uint8_t named[QUEUE_TOPIC_BYTES];
    struct mqtt_publish p = {
        .topic = msg->topic,
        .payload = msg->payload,
        .packet_id = (uint16_t)d->ticket, /* [MQTT-2.2.1-4]; 0 at QoS 0 [MQTT-2.2.1-2]; 3.1.1: [MQTT-2.3.1-5] */
        .qos = d->qos,                    /* both: [MQTT-4.3.1-1]; [MQTT-4.3.2-2], [MQTT-4.3.3-2] */
        .dup = d->is_resent && d->qos != 0,
        .retain = d->retain, /* [MQTT-3.3.1-12], [MQTT-3.3.1-13]; 3.1.1: [MQTT-3.3.1-8], [MQTT-3.3.1-9] */
    };
    if (UNLIKELY(d->consumer->is_member))
        p.topic = queue_topic(d->consumer->queue, msg->topic, named);
    if (LIKELY(m->version != MQTT_V5 || (d->set->sub_id_n == 0 && msg->expires_at == 0 && m->alias_max == 0)))
        return encode(o, m, msg, &p, NULL);
    struct mqtt_publish_extra extra = {
        .sub_ids = d->set->sub_id, /* [MQTT-3.3.4-3], [MQTT-3.3.4-4] */
        .sub_id_n = d->set->sub_id_n,
        .has_expiry = msg->expires_at != 0,
        .expiry_s = msg->expires_at != 0 ? expiry_left(msg->expires_at, d->now) : 0,
    };
    if (m->alias_max == 0) /* [MQTT-3.1.2-27] */
        return encode(o, m, msg, &p, &extra);
    return encode_aliased(c, o, msg, &p, &extra);
}

enum err mqtt_on_deliver(struct conn *c, const struct delivery *d)
{
    const struct mqtt_conn *m = conn_state(c);
    const struct msgview *msg = d->msg;
    struct outv *o = conn_out(c);
    if (UNLIKELY(o == NULL))
        return ERR_NOMEM;
    if (LIKELY(is_same(m, d))) {
        bool is_large = msg->wire.len > COPY_MAX;
        if (d->qos == 0 && msg->owner != NULL && (msg->in_bulk || is_large)) {
            outv_pass(o, msg->owner, msg->wire.p, msg->wire.len);
            return ERR_OK;
        }
        if (!is_large) {
            copy_wire(o, msg, d);
            return ERR_OK;
        }
    }
    return encode_delivery(c, o, d);
}

void mqtt_on_release(struct conn *c, uint32_t ticket)
{
    uint8_t out[MQTT_ACK_BYTES];
    mqtt_ack_put(out, MQTT_PUBREL, (uint16_t)ticket); /* [MQTT-4.3.3-4]; 3.1.1: [MQTT-4.3.3-1] */
    mqtt_say(c, out, sizeof out);
}

/* ---- what the peer says to it -------------------------------------------------------------------------------- */

/* unknown_rec: a PUBREC for nothing we have: the peer must be able to let go of the id (§3.6.2.1). */
static void unknown_rec(struct conn *c, uint16_t packet_id)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_ack rel = {.type = MQTT_PUBREL, .code = MQTT_RC_ID_NOT_FOUND, .packet_id = packet_id};
    uint8_t out[16];
    ptrdiff_t n = mqtt_ack_encode(&rel, (enum mqtt_version)m->version, out, sizeof out);
    BUG_ON(n <= 0);
    mqtt_say(c, out, (size_t)n);
}

void mqtt_ack_in(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_ack a;
    enum err e = mqtt_ack_decode(f, (enum mqtt_version)m->version, &a);
    if (UNLIKELY(e != ERR_OK)) {
        mqtt_fault(c, f->type, e);
        return;
    }
    enum outcome o = f->type == MQTT_PUBREC    ? OUTCOME_RECEIVED
                     : f->type == MQTT_PUBCOMP ? OUTCOME_COMPLETE
                                               : OUTCOME_ACK;
    if (UNLIKELY(a.code >= MQTT_RC_UNSPECIFIED &&
                 f->type != MQTT_PUBCOMP)) /* it will not take it: done [MQTT-4.4.0-2] */
        o = f->type == MQTT_PUBREC ? OUTCOME_REFUSED : OUTCOME_REJECT;
    e = broker_settle(c, a.packet_id, o);
    if (e == ERR_NOT_FOUND && o == OUTCOME_RECEIVED)
        unknown_rec(c, a.packet_id);
    else if (UNLIKELY(e != ERR_OK && e != ERR_NOT_FOUND)) /* an answer that does not fit the QoS or comes too early */
        mqtt_fault(c, f->type, e);
}
