/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_adapter.c: MQTT on the adapter seam: bytes to packets, packets to the function that knows them; keep-alive; the
 * last words.
 *
 *     on_bytes ─► mqtt_frame_peek ─┬─ PUBLISH ───────────► mqtt_publish_in ─► broker_publish
 *                                  ├─ PUBACK .. PUBCOMP ─► mqtt_ack_in, mqtt_pubrel_in
 *                                  └─ the rest ──────────► packet_in
 *     FRESH ──CONNECT──► [PROOF ──AUTH──►] LOGIN ──on_attached──► READY ──DISCONNECT or a fault──► closing
 *
 * Whoever finds a reason to end the connection calls mqtt_close and returns; the DISCONNECT that tells a 5.0 peer is
 * written in one place, on_close, which also knows the reasons that come from elsewhere (take-over, shutdown).
 *
 * Invariants
 *   1. No packet but CONNECT (and AUTH, DISCONNECT, where CONNECT asked for an exchange) is looked at before CONNACK
 *      said yes [MQTT-3.1.0-1]; bytes behind CONNECT wait in core.
 *   2. Nothing is sent before CONNACK, and no DISCONNECT after a CONNACK that said no [MQTT-3.14.0-1].
 *   3. No packet longer than the peer's Maximum Packet Size is sent [MQTT-3.1.2-24].
 *   4. After mqtt_close no further byte is looked at [MQTT-3.1.4-6] [MQTT-3.14.4-1, -2]; 3.1.1: [MQTT-3.1.4-5].
 *   5. What hangs off a connection (struct mqtt_more) is there only while something is in it.
 * Cost    32 bytes per connection; no allocation on the way of a PUBLISH without properties.
 * Thread  the shard's own.
 * Spec    MQTT 5 §2.1, §3.1.2.10, §3.12 to §3.15, §4.13; MQTT 3.1.1 §4.8.
 */
#include "proto_mqtt/mqtt_adapter.h"

#include "core/shard.h"
#include "proto_mqtt/mqtt_conn.h"

enum { BULK_BYTES = 4096 }; /* input in one go from which on packets are worth passing on unchanged */

/* ---- claims -------------------------------------------------------------------------------------------------- */

/* name_fits: do len > 0 bytes start like "\0\4MQTT" or "\0\6MQIsdp"? */
static enum claim name_fits(const uint8_t *p, size_t len, struct slice name)
{
    size_t n = MIN(len, name.len);
    if (memcmp(p, name.p, n) != 0)
        return CLAIM_NO;
    return n == name.len ? CLAIM_YES : CLAIM_MORE;
}

/* claims: a CONNECT: 0x10, a length of one to four bytes, the protocol's name [MQTT-3.1.0-1] [MQTT-3.1.2-1]. At most 13
 * bytes decide. TLS starts with 0x16, STOMP and HTTP with letters. */
static enum claim claims(const uint8_t *first, size_t len)
{
    if (first[0] != MQTT_CONNECT << 4)
        return CLAIM_NO;
    struct mqtt_frame f;
    ptrdiff_t n = mqtt_frame_peek(first, len, MQTT_PACKET_BYTES_MAX, &f);
    if (n < 0)
        return CLAIM_NO;
    if (f.total == 0)
        return CLAIM_MORE;
    const uint8_t *name = first + f.head_bytes;
    size_t there = MIN(len, (size_t)f.total) - f.head_bytes;
    enum claim now = there != 0 ? name_fits(name, there, SLICE("\0\4MQTT")) : CLAIM_MORE;
    enum claim old = there != 0 ? name_fits(name, there, SLICE("\0\6MQIsdp")) : CLAIM_MORE;
    enum claim best = MAX(now, old);                               /* NO < MORE < YES */
    return best == CLAIM_MORE && len >= f.total ? CLAIM_NO : best; /* it ends before its name does */
}

/* ---- what hangs off a connection ----------------------------------------------------------------------------- */

struct mqtt_more *mqtt_more(struct conn *c)
{
    struct mqtt_conn *m = conn_state(c);
    if (m->more == NULL)
        m->more = mem_zalloc(conn_mem(c), sizeof *m->more);
    return m->more;
}

void mqtt_more_tidy(struct conn *c)
{
    struct mqtt_conn *m = conn_state(c);
    const struct mqtt_more *more = m->more;
    if (more == NULL || more->subs_last != NULL || more->alias_in != NULL || more->alias_out != NULL ||
        more->proof != NULL)
        return;
    mem_free(conn_mem(c), m->more);
    m->more = NULL;
}

static void destroy(struct conn *c)
{
    struct mqtt_conn *m = conn_state(c);
    if (m->more == NULL)
        return;
    mqtt_subs_free(c);
    mqtt_names_free(c, m->more->alias_in); /* [MQTT-3.3.2-7] */
    mqtt_names_free(c, m->more->alias_out);
    mqtt_proof_free(c, m->more->proof);
    mem_free(conn_mem(c), m->more);
    m->more = NULL;
}

/* ---- closing ------------------------------------------------------------------------------------------------- */

void mqtt_close(struct conn *c, enum close_reason why, uint8_t cause)
{
    struct mqtt_conn *m = conn_state(c);
    if (!conn_is_closing(c))
        m->cause = cause;
    conn_close(c, why);
}

/* blame: mqtt_close, and the type of the packet that was wrong. */
static void blame(struct conn *c, unsigned type, enum close_reason why, uint8_t cause)
{
    struct mqtt_conn *m = conn_state(c);
    if (!conn_is_closing(c))
        m->fault_type = (uint8_t)type;
    mqtt_close(c, why, cause);
}

/* [MQTT-4.13.1-1]; 3.1.1: [MQTT-4.8.0-1] */
void mqtt_fault(struct conn *c, unsigned type, enum err e)
{
    switch (e) {
    case ERR_MALFORMED:
        blame(c, type, CLOSE_MALFORMED, MQTT_CAUSE_MALFORMED);
        break;
    case ERR_TOO_BIG:
        blame(c, type, CLOSE_TOO_BIG, MQTT_CAUSE_PACKET);
        break;
    case ERR_NOMEM:
        blame(c, type, CLOSE_NOMEM, MQTT_CAUSE_NOMEM);
        break;
    default:
        blame(c, type, CLOSE_PROTOCOL, MQTT_CAUSE_PROTOCOL);
        break;
    }
}

void mqtt_unexpected(struct conn *c, unsigned type)
{
    blame(c, type, CLOSE_PROTOCOL, MQTT_CAUSE_UNEXPECTED);
}

static void on_close(struct conn *c, enum close_reason why)
{
    const struct mqtt_conn *m = conn_state(c);
    if (m->cause != MQTT_CAUSE_NONE && log_is_on(conn_log(c), LOG_INFO)) {
        char peer[96];
        conn_peer(c, peer, sizeof peer);
        log_line(conn_log(c), LOG_INFO, "%s mqtt %s%s%s", peer, m->fault_type != 0 ? mqtt_type_name(m->fault_type) : "",
                 m->fault_type != 0 ? ": " : "", mqtt_cause_text(m->cause));
    }
    if (m->phase == MQTT_READY && m->version == MQTT_V5 && conn_can_say(c))
        mqtt_say_disconnect(c, why); /* [MQTT-3.14.0-1]; 3.x has no DISCONNECT from a server */
}

/* ---- packets ------------------------------------------------------------------------------------------------- */

static void ping_in(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    enum err e = mqtt_ping_decode(f, (enum mqtt_version)m->version);
    if (e != ERR_OK) {
        mqtt_fault(c, f->type, e);
        return;
    }
    uint8_t out[MQTT_PING_BYTES];
    mqtt_ping_put(out, MQTT_PINGRESP); /* both: [MQTT-3.12.4-1] */
    mqtt_say(c, out, sizeof out);
}

static void disconnect_in(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_closing d;
    enum err e = mqtt_disconnect_decode(f, (enum mqtt_version)m->version, &d);
    if (e == ERR_OK && (d.props.has & MQTT_HAS(SERVER_REF)) != 0) /* §3.14.2.2.5: only a server refers to another */
        e = ERR_PROTOCOL;
    if (e == ERR_OK && (d.props.has & MQTT_HAS(SESSION_EXPIRY)) != 0) /* §3.14.2.2.2: from 0 to more is a fault */
        e = broker_set_expiry(c, d.props.session_expiry_s);
    if (e != ERR_OK) {
        mqtt_fault(c, f->type, e);
        return;
    }
    if (d.code != MQTT_RC_NORMAL) { /* also an error the peer met: only 0x00 takes the will back */
        mqtt_close(c, CLOSE_GOODBYE_WILL, MQTT_CAUSE_NONE);
        return;
    }
    broker_forget_will(c); /* [MQTT-3.14.4-3] [MQTT-3.1.2-10]; 3.1.1: [MQTT-3.14.4-3] */
    mqtt_close(c, CLOSE_GOODBYE, MQTT_CAUSE_NONE);
}

/* packet_in: everything but PUBLISH, once the peer is logged in. */
static void packet_in(struct conn *c, const struct mqtt_frame *f)
{
    switch (f->type) {
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        mqtt_ack_in(c, f);
        return;
    case MQTT_PUBREL:
        mqtt_pubrel_in(c, f);
        return;
    case MQTT_SUBSCRIBE:
        mqtt_subscribe_in(c, f);
        return;
    case MQTT_UNSUBSCRIBE:
        mqtt_unsubscribe_in(c, f);
        return;
    case MQTT_PINGREQ:
        ping_in(c, f);
        return;
    case MQTT_DISCONNECT:
        disconnect_in(c, f);
        return;
    case MQTT_AUTH:
        mqtt_auth_in(c, f);
        return;
    default:
        /* both: [MQTT-3.1.0-2] a second CONNECT. What only a server sends: CONNACK, SUBACK, UNSUBACK, PINGRESP. */
        mqtt_unexpected(c, f->type);
        return;
    }
}

/* before_ready: the first packet, and those of an exchange of proofs. */
static void before_ready(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    if (m->phase == MQTT_PROOF)
        mqtt_proof_in(c, f);
    else if (f->type == MQTT_CONNECT)
        mqtt_connect_in(c, f);
    else
        mqtt_unexpected(c, f->type); /* both: [MQTT-3.1.0-1] */
}

/* longest_packet: that we read from this peer now. */
static uint32_t longest_packet(const struct conn *c, const struct mqtt_conn *m)
{
    const struct limits *l = conn_limits(c);
    return (uint32_t)(LIKELY(m->phase == MQTT_READY) ? l->packet_bytes_max : l->login_bytes_max);
}

static size_t on_bytes(struct conn *c, const uint8_t *in, size_t len)
{
    const struct mqtt_conn *m = conn_state(c);
    bool is_lenient = c->door->is_lenient;
    size_t at = 0;
    uint64_t n_in = 0;
    /* [MQTT-3.1.4-6], [MQTT-3.14.4-1]; 3.1.1: [MQTT-3.1.4-5], [MQTT-3.14.4-2]: nothing behind the end is looked at */
    while (at < len && !conn_is_closing(c)) {
        if (UNLIKELY(m->phase == MQTT_LOGIN))
            break; /* what is behind CONNECT waits, and is measured by the limits that will hold then */
        struct mqtt_frame f;
        ptrdiff_t n = mqtt_frame_peek(in + at, len - at, longest_packet(c, m), &f);
        if (UNLIKELY(n <= 0)) {
            if (n == 0)
                conn_need(c, f.total);
            else
                mqtt_fault(c, f.type, (enum err)(-n)); /* too large: [MQTT-3.2.2-15] */
            break;
        }
        if (UNLIKELY(is_lenient))
            f.is_lenient = true;
        if (UNLIKELY(m->phase != MQTT_READY)) {
            before_ready(c, &f);
        } else if (LIKELY(f.type == MQTT_PUBLISH)) {
            mqtt_publish_in(c, &f, len >= BULK_BYTES);
        } else {
            packet_in(c, &f);
        }
        at += (size_t)n;
        n_in++;
    }
    stat_add(&c->shard->stats, STAT_FRAMES_IN, n_in);
    return conn_is_closing(c) ? len : at;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static enum err on_open(struct conn *c)
{
    struct mqtt_conn *m = conn_state(c);
    m->out_bytes_max = MQTT_PACKET_BYTES_MAX;
    return ERR_OK;
}

static mono_ms on_tick(struct conn *c, mono_ms now)
{
    const struct mqtt_conn *m = conn_state(c);
    if (m->phase != MQTT_READY || m->keepalive_s == 0)
        return MONO_NEVER;
    mono_ms due = c->rx_at + (mono_ms)m->keepalive_s * MQTT_KEEPALIVE_MS;
    if (now < due)
        return due;
    mqtt_close(c, CLOSE_SILENT, MQTT_CAUSE_NONE); /* [MQTT-3.1.2-22]; 3.1.1: [MQTT-3.1.2-24] */
    return MONO_NEVER;
}

size_t mqtt_unit_bytes(const uint8_t *head, size_t n)
{
    struct mqtt_frame f = {.total = 0};
    ptrdiff_t eaten = mqtt_frame_peek(head, n, MQTT_PACKET_BYTES_MAX, &f);
    return eaten < 0 ? 0 : f.total;
}

const struct adapter_ops mqtt_adapter = {
    .name = "mqtt",
    .claims = claims,
    .open = on_open,
    .on_bytes = on_bytes,
    .on_attached = mqtt_on_attached,
    .on_deliver = mqtt_on_deliver,
    .on_release = mqtt_on_release,
    .on_settled = mqtt_on_settled,
    .on_consumer_gone = NULL,
    .on_tick = on_tick,
    .on_close = on_close,
    .destroy = destroy,
};
