/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_say.c: packets to the peer that carry a reason, and the sentence that explains it.
 *
 *     what happened ─► enum mqtt_cause ─┬─ mqtt_cause_code ─► reason code        all that 3.x has a place for
 *                                       └─ mqtt_cause_text ─► Reason String      5.0, unless the peer does not want it
 *
 * A Reason String never costs the answer: when the packet would be longer than the peer reads, it is sent without it,
 * and so are the other two properties that only help (Server Reference, Response Information).
 *
 * Invariants
 *   1. No packet longer than the peer's Maximum Packet Size is sent [MQTT-3.1.2-24].
 *   2. After Request Problem Information 0 no packet has a Reason String [MQTT-3.1.2-29]. We send no User Properties of
 *      our own.
 *   3. Every packet sent here is counted as CONTROL_OUT, once.
 * Cost    no allocation; texts are put together on the stack.
 * Thread  the shard's own.
 * Spec    MQTT 5 §3.1.2.11.7, and the Reason String of §3.2, §3.4, §3.5, §3.9, §3.11, §3.14.
 */
#include <stdio.h>

#include "core/shard.h"
#include "proto_mqtt/mqtt_conn.h"

/* What may be left out to make a packet fit, the first to go on the left. */
#define HELPFUL (MQTT_HAS(REASON) | MQTT_HAS(SERVER_REF) | MQTT_HAS(RESPONSE_INFO))

static void count(struct conn *c)
{
    stat_add(&c->shard->stats, STAT_CONTROL_OUT, 1);
}

bool mqtt_say(struct conn *c, const uint8_t *p, size_t n)
{
    const struct mqtt_conn *m = conn_state(c);
    if (n > m->out_bytes_max) /* [MQTT-3.1.2-24] [MQTT-3.1.2-25] */
        return false;
    struct outv *o = conn_out(c);
    if (o == NULL)
        return false;
    outv_put(o, p, n);
    count(c);
    return true;
}

/* ---- a packet of any type that may explain itself ------------------------------------------------------------ */

struct words {
    enum mqtt_type type;
    const void *packet;
    struct mqtt_props *props; /* the packet's */
    size_t plain_bytes;       /* room for all but the properties */
};

static ptrdiff_t encode(const struct words *w, enum mqtt_version v, uint8_t *out, size_t cap)
{
    switch (w->type) {
    case MQTT_CONNACK:
        return mqtt_connack_encode(w->packet, v, out, cap);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return mqtt_ack_encode(w->packet, v, out, cap);
    case MQTT_SUBACK:
        return mqtt_suback_encode(w->packet, v, out, cap);
    case MQTT_UNSUBACK:
        return mqtt_unsuback_encode(w->packet, v, out, cap);
    default:
        BUG_ON(w->type != MQTT_DISCONNECT);
        return mqtt_disconnect_encode(w->packet, v, out, cap);
    }
}

/* explain: `text` as Reason String. */
static void explain(const struct mqtt_conn *m, struct mqtt_props *p, const char *text)
{
    if (m->version != MQTT_V5 || m->no_problem || text[0] == '\0') /* [MQTT-3.1.2-29] */
        return;
    p->has |= MQTT_HAS(REASON);
    p->reason = slice_make(text, strlen(text));
}

/* put: the packet, shortened until the peer reads it. False: it does not even read it plain, or memory is out. */
static bool put(struct conn *c, const struct words *w)
{
    const struct mqtt_conn *m = conn_state(c);
    struct outv *o = conn_out(c);
    while (o != NULL) {
        size_t cap = w->plain_bytes + mqtt_props_bytes(w->props);
        uint8_t *room = outv_room(o, cap);
        if (room == NULL)
            return false;
        ptrdiff_t n = encode(w, (enum mqtt_version)m->version, room, cap);
        if (n > 0 && (size_t)n <= m->out_bytes_max) {
            outv_wrote(o, (size_t)n);
            count(c);
            return true;
        }
        uint64_t left = w->props->has & HELPFUL;
        if (left == 0) /* [MQTT-3.1.2-24] */
            return false;
        /* [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.9.2-1] [MQTT-3.11.2-1] [MQTT-3.14.2-3] */
        w->props->has &= ~(UINT64_C(1) << (63 - __builtin_clzll(left)));
    }
    return false;
}

/* ---- the packets --------------------------------------------------------------------------------------------- */

void mqtt_say_ack(struct conn *c, enum mqtt_type type, uint8_t cause, uint16_t packet_id)
{
    struct mqtt_ack a = {.type = (uint8_t)type, .code = mqtt_cause_code(cause, type), .packet_id = packet_id};
    bool is_final = type == MQTT_PUBACK || type == MQTT_PUBREC; /* the one code of the other two says it all */
    if (is_final && a.code >= MQTT_RC_UNSPECIFIED)
        explain(conn_state(c), &a.props, mqtt_cause_text(cause));
    (void)put(c, &(struct words){type, &a, &a.props, 12});
}

void mqtt_say_subs(struct conn *c, enum mqtt_type type, struct mqtt_suback *a, const char *text)
{
    explain(conn_state(c), &a->props, text);
    (void)put(c, &(struct words){type, a, &a->props, 11 + a->codes.len});
}

bool mqtt_say_connack(struct conn *c, struct mqtt_connack *k, const char *text)
{
    explain(conn_state(c), &k->props, text);
    return put(c, &(struct words){MQTT_CONNACK, k, &k->props, 11});
}

uint8_t mqtt_close_code(enum close_reason why)
{
    switch (why) {
    case CLOSE_SILENT:
        return MQTT_RC_KEEPALIVE;
    case CLOSE_TAKEN_OVER: /* [MQTT-3.1.4-3] */
        return MQTT_RC_TAKEN_OVER;
    case CLOSE_SHUTDOWN:
        return MQTT_RC_SHUTDOWN;
    case CLOSE_MALFORMED:
        return MQTT_RC_MALFORMED;
    case CLOSE_PROTOCOL:
    case CLOSE_BAD_ID:
    case CLOSE_BAD_VERSION:
        return MQTT_RC_PROTOCOL;
    case CLOSE_TOO_BIG:
        return MQTT_RC_TOO_BIG;
    case CLOSE_QUOTA:
        return MQTT_RC_RECEIVE_MAX;
    case CLOSE_NOT_AUTHORIZED:
        return MQTT_RC_DENIED;
    case CLOSE_REFUSED:
        return MQTT_RC_IMPLEMENTATION;
    case CLOSE_LIMIT:
    case CLOSE_SLOW:
        return MQTT_RC_QUOTA;
    case CLOSE_NOMEM:
        return MQTT_RC_BUSY;
    case CLOSE_ADMIN:
        return MQTT_RC_ADMIN;
    case CLOSE_STORE:
        return MQTT_RC_UNSPECIFIED;
    case CLOSE_NONE:
    case CLOSE_GOODBYE:
    case CLOSE_GOODBYE_WILL:
    case CLOSE_EOF:
    case CLOSE_RESET:
    case CLOSE_LOGIN_TIMEOUT:
    case CLOSE_UNKNOWN_PROTOCOL:
    case CLOSE_N:
        break;
    }
    return 0;
}

/* The last packet: core closes the connection behind it [MQTT-3.14.4-1], [MQTT-3.14.4-2], [MQTT-4.13.2-1]. */
void mqtt_say_disconnect(struct conn *c, enum close_reason why)
{
    const struct mqtt_conn *m = conn_state(c);
    const char *elsewhere = why == CLOSE_SHUTDOWN ? c->door->server_reference : NULL;
    uint8_t cause = elsewhere != NULL ? (uint8_t)MQTT_CAUSE_STOPPING : m->cause;
    struct mqtt_closing d = {.code = mqtt_close_code(why)}; /* [MQTT-3.14.2-2] its expiry is not ours to change */
    if (cause != MQTT_CAUSE_NONE)
        d.code = mqtt_cause_code(cause, MQTT_DISCONNECT);
    if (d.code == MQTT_RC_NORMAL)
        return;
    char text[MQTT_TEXT_BYTES_MAX];
    const char *what = cause != MQTT_CAUSE_NONE ? mqtt_cause_text(cause) : close_text(why);
    bool has_type = m->fault_type != 0;
    (void)snprintf(text, sizeof text, "%s%s%s", has_type ? mqtt_type_name(m->fault_type) : "", has_type ? ": " : "",
                   what);
    if (elsewhere != NULL) { /* §4.11 */
        d.props.has |= MQTT_HAS(SERVER_REF);
        d.props.server_ref = slice_make(elsewhere, strlen(elsewhere));
    }
    explain(m, &d.props, text);
    (void)put(c, &(struct words){MQTT_DISCONNECT, &d, &d.props, 10});
}
