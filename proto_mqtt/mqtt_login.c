/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_login.c: CONNECT in, CONNACK out.
 *
 *     CONNECT ─► decode ─► may this be? ─► [AUTH ...] ─► broker_attach ─► on_attached ─► CONNACK yes ─► READY
 *                   │             │             │                              │
 *                   └─────────────┴─────────────┴── CONNACK no, close ◄────────┘
 *
 * What differs by version is here and nowhere else: who may leave the client identifier empty, what "clean" means for
 * how long the session lives, which of our limits the peer can be told.
 *
 * Invariants
 *   1. broker_attach is called at most once per connection; after a refusal never.
 *   2. CONNACK is the first packet sent, but for AUTH [MQTT-3.2.0-1], and there is one only [MQTT-3.2.0-2].
 *   3. A 5.0 peer is told every limit it could run into: Receive Maximum, Topic Alias Maximum, Maximum QoS, Retain
 *      Available, Maximum Packet Size, Server Keep Alive, Session Expiry Interval.
 * Cost    no allocation for a CONNECT without a will; one for a will with properties.
 * Thread  the shard's own.
 * Spec    MQTT 5 §3.1, §3.2, §4.11; MQTT 3.1.1 §3.1, §3.2; MQTT 3.1 §3.1, §3.2.
 */
#include <stdio.h>

#include "core/base/utf8.h"
#include "core/shard.h"
#include "proto_mqtt/mqtt_attrs.h"
#include "proto_mqtt/mqtt_conn.h"

/* ---- CONNACK ------------------------------------------------------------------------------------------------- */

/* tell_elsewhere: Server Reference (§4.11): who serves instead. */
static void tell_elsewhere(const struct conn *c, struct mqtt_props *p)
{
    const char *where = c->door->server_reference;
    if (where == NULL)
        return;
    p->has |= MQTT_HAS(SERVER_REF);
    p->server_ref = slice_make(where, strlen(where));
}

/* [MQTT-3.2.2-7] a reason code (its nearest relative in 3.x), then the end; no session is present [MQTT-3.2.2-6];
 * 3.1.1: [MQTT-3.2.2-4], [MQTT-3.2.2-5]. */
void mqtt_refuse(struct conn *c, enum mqtt_type type, uint8_t cause, enum close_reason why)
{
    const struct mqtt_conn *m = conn_state(c);
    bool is_busy = cause == MQTT_CAUSE_NOMEM || cause == MQTT_CAUSE_LOGIN_LIMIT;
    if (is_busy && c->door->server_reference != NULL)
        cause = MQTT_CAUSE_USE_OTHER;
    uint8_t code = mqtt_cause_code(cause, MQTT_CONNACK);
    struct mqtt_connack k = {.code = m->version == MQTT_V5 ? code : mqtt_v3_connack_from_reason(code)};
    char peer[96], text[MQTT_TEXT_BYTES_MAX];
    bool is_reading = cause == MQTT_CAUSE_MALFORMED || cause == MQTT_CAUSE_PROTOCOL || cause == MQTT_CAUSE_UNEXPECTED;
    (void)snprintf(text, sizeof text, "%s%s%s", is_reading ? mqtt_type_name(type) : "", is_reading ? ": " : "",
                   mqtt_cause_text(cause));
    conn_peer(c, peer, sizeof peer);
    log_line(conn_log(c), LOG_NOTICE, "%s mqtt %s login refused: %s", peer, mqtt_version_name(m->version), text);
    if (code == MQTT_RC_USE_OTHER || code == MQTT_RC_MOVED)
        tell_elsewhere(c, &k.props);
    (void)mqtt_say_connack(c, &k, text);
    mqtt_close(c, why, MQTT_CAUSE_NONE);
}

static void refuse(struct conn *c, uint8_t cause, enum close_reason why)
{
    mqtt_refuse(c, MQTT_CONNECT, cause, why);
}

/* ---- CONNECT ------------------------------------------------------------------------------------------------- */

/* take_answers: how a 5.0 peer wants to be answered. */
static void take_answers(struct mqtt_conn *m, const struct mqtt_props *p)
{
    m->no_problem = (p->has & MQTT_HAS(WANT_PROBLEM)) != 0 && p->want_problem == 0; /* [MQTT-3.1.2-29] */
    m->wants_response = (p->has & MQTT_HAS(WANT_RESPONSE)) != 0 && p->want_response == 1;
    if ((p->has & MQTT_HAS(PACKET_BYTES_MAX)) != 0)
        m->out_bytes_max = MIN(p->packet_bytes_max, MQTT_PACKET_BYTES_MAX);
}

/* undecodable: what to say to a CONNECT that could not be read [MQTT-3.1.4-1]. */
static void undecodable(struct conn *c, const struct mqtt_connect *k, enum err e)
{
    struct mqtt_conn *m = conn_state(c);
    if (e == ERR_UNSUPPORTED) { /* both: [MQTT-3.1.2-2]; bit 7 of the level marks a bridge */
        m->version = (k->level & 0x7f) >= MQTT_V5 ? MQTT_V5 : MQTT_V311;
        refuse(c, MQTT_CAUSE_VERSION, CLOSE_BAD_VERSION);
    } else if (k->version == MQTT_V5) {
        bool is_sound = e == ERR_PROTOCOL;
        m->version = MQTT_V5;
        take_answers(m, &k->props);
        refuse(c, is_sound ? MQTT_CAUSE_PROTOCOL : MQTT_CAUSE_MALFORMED, is_sound ? CLOSE_PROTOCOL : CLOSE_MALFORMED);
    } else {
        mqtt_fault(c, MQTT_CONNECT, e); /* 3.1.1: [MQTT-3.1.4-1] without a CONNACK */
    }
}

/* id_is_ok: may this client identifier be, or be left out? A 3.1 peer may use more than its 23 characters. */
static bool id_is_ok(const struct mqtt_connect *k)
{
    if (k->client_id.len != 0 || k->version == MQTT_V5) /* both: [MQTT-3.1.3-5], [MQTT-3.1.3-6] */
        return true;
    return k->version == MQTT_V311 && k->clean; /* 3.1.1: [MQTT-3.1.3-7], [MQTT-3.1.3-8]; 3.1 §3.1: never empty */
}

/* will_refusal: a cause, or 0. */
static uint8_t will_refusal(const struct conn *c, const struct mqtt_connect *k)
{
    if (mqtt_topic_name_check(k->will_topic) != ERR_OK || mqtt_topic_limit(c, k->will_topic) != 0)
        return MQTT_CAUSE_WILL_TOPIC;
    if (k->will_retain && mqtt_retain_is_off(c)) /* [MQTT-3.2.2-13] */
        return MQTT_CAUSE_WILL_RETAIN;
    if (mqtt_qos_is_capped(c, k->will_qos)) /* [MQTT-3.2.2-12] */
        return MQTT_CAUSE_WILL_QOS;
    bool is_text = (k->will_props.has & MQTT_HAS(PAYLOAD_FORMAT)) != 0 && k->will_props.payload_format == 1;
    if (is_text && c->shard->config.check_payload_format && !utf8_is_valid(k->will_payload.p, k->will_payload.len))
        return MQTT_CAUSE_WILL_PAYLOAD; /* §3.1.3.2.3 */
    return mqtt_address_will(k->will_topic);
}

/* take_keepalive: what will be in force. 3.x peers cannot be told of a cap, so they keep their own. */
static void take_keepalive(struct conn *c, const struct mqtt_connect *k)
{
    struct mqtt_conn *m = conn_state(c);
    uint64_t max = conn_limits(c)->keepalive_s_max;
    m->keepalive_s = k->keepalive_s; /* [MQTT-3.2.2-22] */
    bool is_above = k->keepalive_s > max || (k->keepalive_s == 0 && max < UINT16_MAX);
    m->is_keepalive_cut = k->version == MQTT_V5 && is_above;
    if (m->is_keepalive_cut) /* [MQTT-3.1.2-21], [MQTT-3.2.2-21] the server's value counts */
        m->keepalive_s = (uint16_t)max;
}

/* take_peer: what CONNECT says about the peer, as far as it matters later. */
static void take_peer(struct conn *c, const struct mqtt_connect *k)
{
    struct mqtt_conn *m = conn_state(c);
    m->version = k->version;
    m->form = k->version == MQTT_V5 ? MQTT_FORM_5 : MQTT_FORM_3;
    m->had_login = k->has_user || k->has_password;
    take_keepalive(c, k);
    if (k->version != MQTT_V5) {
        m->expiry_s = k->clean ? 0 : SESSION_EXPIRY_NEVER; /* 3.1.1 §3.1.2.4: as long as the server can */
        return;
    }
    take_answers(m, &k->props);
    m->expiry_s = (k->props.has & MQTT_HAS(SESSION_EXPIRY)) != 0 ? k->props.session_expiry_s : 0;
    if ((k->props.has & MQTT_HAS(ALIAS_MAX)) != 0) /* [MQTT-3.1.2-26], [MQTT-3.1.2-27] */
        m->alias_max = (uint16_t)MIN(k->props.alias_max, conn_limits(c)->alias_out_max);
    if (m->alias_max != 0)
        m->form = MQTT_FORM_ALIASED;
}

/* make_will: [MQTT-3.1.2-7] the will as a message. Its expiry is a duration: it starts when the will is published
 * (§3.1.3.2.4). */
static void make_will(const struct mqtt_connect *k, struct buf *attrs, struct msgview *out)
{
    *out = (struct msgview){.topic = k->will_topic, .payload = k->will_payload, .qos = k->will_qos, .flags = MSG_WILL};
    if (k->will_qos != 0)
        out->flags |= MSG_DURABLE;
    if (k->will_retain) /* [MQTT-3.1.2-14], [MQTT-3.1.2-15]; 3.1.1: [MQTT-3.1.2-16], [MQTT-3.1.2-17] */
        out->flags |= MSG_RETAIN;
    if ((k->will_props.has & MQTT_HAS(MESSAGE_EXPIRY)) != 0)
        out->expires_at = (mono_ms)k->will_props.message_expiry_s * 1000 + (k->will_props.message_expiry_s == 0);
    mqtt_attrs_put(attrs, &k->will_props); /* [MQTT-3.1.3-10] */
    out->attrs = buf_slice(attrs);
}

/* quota_of: deliveries at QoS 1 and 2 that may be on their way at once [MQTT-3.3.4-9], [MQTT-4.9.0-1]. */
static uint32_t quota_of(struct conn *c, const struct mqtt_connect *k)
{
    uint32_t max = (uint32_t)conn_limits(c)->inflight_max;
    bool is_told = k->version == MQTT_V5 && (k->props.has & MQTT_HAS(RECEIVE_MAX)) != 0;
    return is_told ? MIN(max, k->props.receive_max) : max;
}

static void attach(struct conn *c, const struct mqtt_connect *k, struct slice who)
{
    struct mqtt_conn *m = conn_state(c);
    bool is_proven = who.p != NULL;
    struct attach a = {
        .id = k->client_id,
        .make_id = true,         /* [MQTT-3.1.3-6]; 3.1.1: [MQTT-3.1.3-6] */
        .clean_start = k->clean, /* [MQTT-3.1.4-4] [MQTT-3.1.2-4, -5, -6]; 3.1.1: [MQTT-3.1.4-3] */
        .expiry_s = m->expiry_s, /* [MQTT-3.1.2-23] */
        .quota = quota_of(c, k),
        .ticket_max = UINT16_MAX,
        .is_anonymous = !m->had_login && !is_proven,
        .is_proven = is_proven,
        .user = is_proven ? who : k->user,
        .password = k->password,
    };
    struct buf attrs;
    struct msgview will;
    buf_init(&attrs, conn_mem(c));
    if (k->has_will) {
        make_will(k, &attrs, &will);
        a.will = &will;
        if ((k->will_props.has & MQTT_HAS(WILL_DELAY)) != 0)
            a.will_delay_s = k->will_props.will_delay_s;
    }
    if (buf_is_bad(&attrs)) {
        refuse(c, MQTT_CAUSE_NOMEM, CLOSE_NOMEM);
    } else {
        m->phase = MQTT_LOGIN;
        broker_attach(c, &a);
    }
    buf_fini(&attrs);
}

void mqtt_attach(struct conn *c, const struct mqtt_frame *f, struct slice who)
{
    struct mqtt_connect k;
    BUG_ON(mqtt_connect_decode(f, &k) != ERR_OK); /* it was read before */
    attach(c, &k, who);
}

/* connect_refusal: a cause, or 0. */
static uint8_t connect_refusal(const struct conn *c, const struct mqtt_connect *k)
{
    if (c->door->has_moved) /* §4.11 */
        return MQTT_CAUSE_MOVED;
    if (!id_is_ok(k)) /* 3.1.1: [MQTT-3.1.3-8], [MQTT-3.1.3-9]; 5.0 takes every identifier */
        return MQTT_CAUSE_CLIENT_ID;
    return k->has_will ? will_refusal(c, k) : 0;
}

static enum close_reason reason_of(uint8_t cause)
{
    switch (cause) {
    case MQTT_CAUSE_MOVED:
        return CLOSE_ADMIN;
    case MQTT_CAUSE_CLIENT_ID:
        return CLOSE_BAD_ID;
    case MQTT_CAUSE_TOPIC_SYS:
        return CLOSE_NOT_AUTHORIZED;
    default:
        return CLOSE_PROTOCOL;
    }
}

void mqtt_connect_in(struct conn *c, const struct mqtt_frame *f)
{
    struct mqtt_connect k;
    enum err e = mqtt_connect_decode(f, &k);
    if (e != ERR_OK) {
        undecodable(c, &k, e);
        return;
    }
    take_peer(c, &k);
    uint8_t cause = connect_refusal(c, &k);
    if (cause == MQTT_CAUSE_WILL_TOPIC && k.version != MQTT_V5)
        mqtt_fault(c, MQTT_CONNECT, ERR_PROTOCOL); /* 3.1.1: [MQTT-3.2.2-6] no return code says that */
    else if (cause != 0)
        refuse(c, cause, reason_of(cause));
    else if ((k.props.has & MQTT_HAS(AUTH_METHOD)) != 0)
        mqtt_proof_begin(c, f, &k.props);
    else
        attach(c, &k, (struct slice){0});
}

/* ---- the broker's answer ------------------------------------------------------------------------------------- */

/* refused_by_broker: [MQTT-3.1.4-2] who it is was checked, and found wanting; or there is no room. */
static void refused_by_broker(struct conn *c, enum err e)
{
    const struct mqtt_conn *m = conn_state(c);
    bool is_proven = m->more != NULL && m->more->proof != NULL;
    switch (e) {
    case ERR_DENIED:
        refuse(c,
               is_proven      ? MQTT_CAUSE_LOGIN_DENIED
               : m->had_login ? MQTT_CAUSE_LOGIN_BAD
                              : MQTT_CAUSE_LOGIN_NEEDED,
               CLOSE_NOT_AUTHORIZED);
        break;
    case ERR_NOMEM:
        refuse(c, MQTT_CAUSE_NOMEM, CLOSE_NOMEM);
        break;
    case ERR_STORE:
        refuse(c, MQTT_CAUSE_LOGIN_STORE, CLOSE_STORE);
        break;
    case ERR_FULL:
        refuse(c, MQTT_CAUSE_LOGIN_LIMIT, CLOSE_LIMIT);
        break;
    default:
        refuse(c, mqtt_cause_from_err(e), CLOSE_LIMIT);
        break;
    }
}

/* response_info: Response Information, %c in it replaced by the client identifier. */
static void response_info(const struct conn *c, struct buf *out)
{
    const char *text = c->shard->config.response_information;
    for (const char *at = text; *at != '\0'; at++)
        if (at[0] == '%' && at[1] == 'c') {
            buf_put_slice(out, session_id(c->session));
            at++;
        } else {
            buf_put_u8(out, (uint8_t)*at);
        }
}

/* told_props: what a 5.0 peer must know of us. */
static void told_props(struct conn *c, const struct attached *a, struct mqtt_props *p)
{
    const struct mqtt_conn *m = conn_state(c);
    const struct limits *l = conn_limits(c);
    if (a->expiry_s != m->expiry_s) { /* §3.2.2.3.2 */
        p->has |= MQTT_HAS(SESSION_EXPIRY);
        p->session_expiry_s = a->expiry_s;
    }
    if (a->assigned_id.len != 0) { /* [MQTT-3.2.2-16], [MQTT-3.1.3-7] */
        p->has |= MQTT_HAS(ASSIGNED_ID);
        p->assigned_id = a->assigned_id;
    }
    if (m->is_keepalive_cut) {
        p->has |= MQTT_HAS(SERVER_KEEPALIVE);
        p->server_keepalive_s = m->keepalive_s;
    }
    if (l->receive_max < UINT16_MAX) {
        p->has |= MQTT_HAS(RECEIVE_MAX);
        p->receive_max = (uint16_t)l->receive_max;
    }
    if (l->packet_bytes_max < MQTT_PACKET_BYTES_MAX) {
        p->has |= MQTT_HAS(PACKET_BYTES_MAX);
        p->packet_bytes_max = (uint32_t)l->packet_bytes_max;
    }
    if (l->alias_in_max != 0) { /* [MQTT-3.3.2-12] */
        p->has |= MQTT_HAS(ALIAS_MAX);
        p->alias_max = (uint16_t)l->alias_in_max;
    }
    if (mqtt_qos_is_capped(c, 2)) { /* [MQTT-3.2.2-9] */
        p->has |= MQTT_HAS(QOS_MAX);
        p->qos_max = c->door->qos_cap;
    }
    if (mqtt_retain_is_off(c)) {
        p->has |= MQTT_HAS(HAS_RETAIN);
        p->has_retain = 0;
    }
    mqtt_proof_told(c, p);
}

/* accept_peer: CONNACK that says yes: the first packet [MQTT-3.2.0-1]; 3.1.1: [MQTT-3.2.0-1]. */
static void accept_peer(struct conn *c, const struct attached *a)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_connack k = {
        .session_present = a->session_present}; /* [MQTT-3.2.2-2], [MQTT-3.2.2-3]; 3.1.1: [MQTT-3.2.2-1, -2, -3] */
    struct buf info;
    buf_init(&info, conn_mem(c));
    if (m->version == MQTT_V5)
        told_props(c, a, &k.props);
    if (m->wants_response && c->shard->config.response_information != NULL) { /* [MQTT-3.1.2-28] */
        response_info(c, &info);
        if (!buf_is_bad(&info) && info.len <= MQTT_STRING_BYTES_MAX) {
            k.props.has |= MQTT_HAS(RESPONSE_INFO);
            k.props.response_info = buf_slice(&info);
        }
    }
    if (!mqtt_say_connack(c, &k, "")) /* [MQTT-3.1.2-24] it cannot be said, and nothing may come before it */
        mqtt_close(c, CLOSE_TOO_BIG, MQTT_CAUSE_NONE);
    buf_fini(&info);
}

void mqtt_on_attached(struct conn *c, const struct attached *a)
{
    struct mqtt_conn *m = conn_state(c);
    BUG_ON(m->phase != MQTT_LOGIN); /* [MQTT-3.2.0-2] */
    if (a->result != ERR_OK) {
        refused_by_broker(c, a->result);
        return;
    }
    accept_peer(c, a);         /* [MQTT-3.1.4-5]; 3.1.1: [MQTT-3.1.4-4] */
    m->rx_max = UINT32_MAX;    /* 3.x knows no Receive Maximum */
    if (m->version == MQTT_V5) /* a release of what was open before gives the peer a slot back that it never took on
                                  this connection (§4.9) */
        m->rx_max = (uint32_t)conn_limits(c)->receive_max + broker_rx_n(c);
    mqtt_proof_done(c);
    if (conn_is_closing(c))
        return;
    m->phase = MQTT_READY;
    if (m->keepalive_s != 0)
        conn_wants_tick(c, conn_now(c) + (mono_ms)m->keepalive_s * MQTT_KEEPALIVE_MS);
}
