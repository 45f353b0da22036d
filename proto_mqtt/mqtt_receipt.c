/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_receipt.c: what the broker's verbs answer, as packets. Nothing here is sent where a packet came in: the answer
 * comes when what it promises is true (on the disk, if it had to be), and in the order of the packets.
 *
 *     receipt  = answering packet type · cause · filter index · packet id            (mqtt_conn.h)
 *     result   ERR_OK ───────────► the cause in the receipt, mostly none
 *              any other error ──► mqtt_cause_from_err
 *
 * 3.x has no way to say no in PUBACK and PUBREC. Not authorized: acknowledged all the same (one of the two things the
 * specification allows, and what mosquitto does). Not stored (full, no memory, store failed): the connection ends, and
 * the peer sends it again.
 *
 * Invariants
 *   1. PUBACK, PUBREC, PUBCOMP leave in the order of what they answer [MQTT-4.6.0-2], [MQTT-4.6.0-3], [MQTT-4.6.0-4]:
 *      core settles in the order of the verbs.
 *   2. A final answer (PUBACK, PUBCOMP, PUBREC that says no) gives the peer its Receive Maximum slot back.
 * Cost    4 bytes of output, no allocation.
 * Thread  the shard's own.
 * Spec    MQTT 5 §3.4, §3.5, §3.7, §4.3, §4.6, §4.9; MQTT 3.1.1 §3.3.5, §4.6.
 */
#include "proto_mqtt/mqtt_conn.h"

/* put_ack: [MQTT-2.2.1-5] with the id of its PUBLISH; 3.1.1: [MQTT-2.3.1-6] */
static void put_ack(struct conn *c, enum mqtt_type type, uint8_t cause, uint16_t packet_id)
{
    uint8_t out[MQTT_ACK_BYTES];
    if (UNLIKELY(cause != MQTT_CAUSE_NONE)) {
        mqtt_say_ack(c, type, cause, packet_id);
        return;
    }
    mqtt_ack_put(out, type, packet_id);
    mqtt_say(c, out, sizeof out);
}

static void give_slot(struct mqtt_conn *m)
{
    if (m->rx_n != 0) /* §4.9: never above the initial value */
        m->rx_n--;
}

/* published: PUBACK or PUBREC. */
static void published(struct conn *c, enum mqtt_type type, uint8_t cause, uint16_t packet_id)
{
    struct mqtt_conn *m = conn_state(c);
    uint8_t code = LIKELY(cause == MQTT_CAUSE_NONE) ? MQTT_RC_SUCCESS : mqtt_cause_code(cause, type);
    if (m->version == MQTT_V5) {
        if (type == MQTT_PUBACK || code >= MQTT_RC_UNSPECIFIED)
            give_slot(m);                   /* the id is free: it comes again with a new message [MQTT-4.3.2-5] */
        put_ack(c, type, cause, packet_id); /* [MQTT-4.3.2-4], [MQTT-4.3.3-8] */
    } else if (code < MQTT_RC_UNSPECIFIED || code == MQTT_RC_DENIED) {
        put_ack(c, type, MQTT_CAUSE_NONE, packet_id); /* 3.1.1: [MQTT-4.3.2-2], [MQTT-4.3.3-2], [MQTT-3.3.5-2] */
    } else {
        mqtt_close(c, CLOSE_REFUSED, cause);
    }
}

void mqtt_on_settled(struct conn *c, uint64_t receipt, enum err result)
{
    struct mqtt_conn *m = conn_state(c);
    enum mqtt_type type = (enum mqtt_type)(receipt >> RECEIPT_TYPE_SHIFT);
    uint8_t cause = result == ERR_OK ? (uint8_t)(receipt >> RECEIPT_CAUSE_SHIFT) : mqtt_cause_from_err(result);
    uint16_t packet_id = (uint16_t)receipt;
    switch (type) {
    case MQTT_PUBACK:
    case MQTT_PUBREC:
        published(c, type, cause, packet_id);
        break;
    case MQTT_PUBCOMP:
        give_slot(m);
        put_ack(c, type, m->version == MQTT_V5 ? cause : MQTT_CAUSE_NONE, packet_id);
        break;
    case MQTT_SUBSCRIBE:
        mqtt_subs_part(c, (uint32_t)(receipt >> RECEIPT_INDEX_SHIFT), result);
        break;
    default:
        BUG_ON(type != MQTT_SUBACK && type != MQTT_UNSUBACK);
        mqtt_subs_answer(c, packet_id);
        break;
    }
}
