/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_login.c: CONNECT in, CONNACK out.
 *
 *     CONNECT ─► decode ─► may this be? ─► broker_attach ─► on_attached ─► CONNACK yes ─► READY
 *                   │             │                              │
 *                   └─────────────┴── CONNACK no, close ◄────────┘
 *
 * What differs by version is here and nowhere else: who may leave the client identifier empty, what "clean" means for
 * how long the session lives, which of our limits the peer can be told.
 *
 * Invariants
 *   1. broker_attach is called at most once per connection; after a refusal never.
 *   2. CONNACK is the first packet sent [MQTT-3.2.0-1], and there is one only [MQTT-3.2.0-2].
 *   3. A 5.0 peer is told every limit it could run into: Receive Maximum, Maximum Packet Size, Server Keep Alive,
 * Session Expiry Interval, Retain Available, Shared Subscription Available. Topic Alias Maximum is left out, which
 * means 0. Cost    no allocation for a CONNECT without a will; one for a will with properties. Thread  the shard's own.
 * Spec    MQTT 5 §3.1, §3.2; MQTT 3.1.1 §3.1, §3.2; MQTT 3.1 §3.1, §3.2.
 */
#include "core/shard.h"
#include "proto_mqtt/mqtt_attrs.h"
#include "proto_mqtt/mqtt_conn.h"

/* ---- CONNACK ------------------------------------------------------------------------------------------------- */

static void put_connack(struct conn *c, const struct mqtt_connack *k)
{
    const struct mqtt_conn *m = conn_state(c);
    struct outv *o = conn_out(c);
    if (o == NULL)
        return;
    size_t cap = 11 + mqtt_props_bytes(&k->props);
    uint8_t *room = outv_room(o, cap);
    if (room == NULL)
        return;
    ptrdiff_t n = mqtt_connack_encode(k, (enum mqtt_version)m->version, room, cap);
    BUG_ON(n <= 0);
    if ((size_t)n > m->out_bytes_max) /* [MQTT-3.1.2-24] it cannot be said, and nothing may come before it */
        mqtt_close(c, CLOSE_TOO_BIG, 0);
    else
        outv_wrote(o, (size_t)n);
}

/* refuse: CONNACK with a reason code (its nearest relative in 3.x), then the end [MQTT-3.2.2-7]; 3.1.1:
 * [MQTT-3.2.2-5]. */
static void refuse(struct conn *c, uint8_t code, enum close_reason why)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_connack k = {.code = m->version == MQTT_V5 ? code : mqtt_v3_connack_from_reason(code)};
    char peer[96];
    conn_peer(c, peer, sizeof peer);
    log_line(conn_log(c), LOG_NOTICE, "%s mqtt %s login refused: %s", peer, mqtt_version_name(m->version),
             mqtt_reason_name(code, MQTT_CONNACK));
    put_connack(c, &k);
    mqtt_close(c, why, 0);
}

/* ---- CONNECT ------------------------------------------------------------------------------------------------- */

/* undecodable: what to say to a CONNECT that could not be read. */
static void undecodable(struct conn *c, const struct mqtt_connect *k, enum err e)
{
    struct mqtt_conn *m = conn_state(c);
    if (e == ERR_UNSUPPORTED) { /* [MQTT-3.1.2-2]; bit 7 of the level marks a bridge */
        m->version = (k->level & 0x7f) >= MQTT_V5 ? MQTT_V5 : MQTT_V311;
        refuse(c, MQTT_RC_VERSION, CLOSE_BAD_VERSION);
    } else if (k->version == MQTT_V5) {
        m->version = MQTT_V5;
        refuse(c, mqtt_reason_from_err(e, MQTT_CONNACK), e == ERR_PROTOCOL ? CLOSE_PROTOCOL : CLOSE_MALFORMED);
    } else {
        mqtt_fault(c, e); /* 3.1.1: [MQTT-3.1.4-1] without a CONNACK */
    }
}

/* id_is_ok: may this client identifier be, or be left out? A 3.1 peer may use more than its 23 characters. */
static bool id_is_ok(const struct mqtt_connect *k)
{
    if (k->client_id.len != 0 || k->version == MQTT_V5) /* [MQTT-3.1.3-5], [MQTT-3.1.3-6] */
        return true;
    return k->version == MQTT_V311 && k->clean; /* 3.1.1: [MQTT-3.1.3-7], [MQTT-3.1.3-8]; 3.1 §3.1: never empty */
}

/* will_refusal: a reason code, or 0. */
static uint8_t will_refusal(const struct conn *c, const struct mqtt_connect *k)
{
    if (mqtt_topic_name_check(k->will_topic) != ERR_OK ||
        topic_levels(k->will_topic) > c->shard->limits.topic_levels_max)
        return MQTT_RC_TOPIC;
    if (k->will_retain && mqtt_retain_is_off(c)) /* [MQTT-3.2.2-13] */
        return MQTT_RC_NO_RETAIN;
    return mqtt_topic_refusal(k->will_topic);
}

/* take_keepalive: what will be in force. 3.x peers cannot be told of a cap, so they keep their own. */
static void take_keepalive(struct conn *c, const struct mqtt_connect *k)
{
    struct mqtt_conn *m = conn_state(c);
    uint64_t max = conn_limits(c)->keepalive_s_max;
    m->keepalive_s = k->keepalive_s;
    bool is_above = k->keepalive_s > max || (k->keepalive_s == 0 && max < UINT16_MAX);
    m->is_keepalive_cut = k->version == MQTT_V5 && is_above;
    if (m->is_keepalive_cut) /* [MQTT-3.1.2-21], [MQTT-3.2.2-21] the server's value counts */
        m->keepalive_s = (uint16_t)max;
}

/* take_peer: what CONNECT says about the peer, as far as it matters later. */
static void take_peer(struct conn *c, const struct mqtt_connect *k)
{
    struct mqtt_conn *m = conn_state(c);
    m->had_login = k->has_user || k->has_password;
    take_keepalive(c, k);
    if (k->version == MQTT_V5) {
        m->expiry_s = (k->props.has & MQTT_HAS(SESSION_EXPIRY)) != 0 ? k->props.session_expiry_s : 0;
        if ((k->props.has & MQTT_HAS(PACKET_BYTES_MAX)) != 0)
            m->out_bytes_max = MIN(k->props.packet_bytes_max, MQTT_PACKET_BYTES_MAX);
    } else {
        m->expiry_s = k->clean ? 0 : SESSION_EXPIRY_NEVER; /* 3.1.1 §3.1.2.4: as long as the server can */
    }
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
    mqtt_attrs_put(attrs, &k->will_props);
    out->attrs = buf_slice(attrs);
}

/* quota_of: deliveries at QoS 1 and 2 that may be on their way at once [MQTT-3.3.4-9]. */
static uint32_t quota_of(struct conn *c, const struct mqtt_connect *k)
{
    uint32_t max = (uint32_t)conn_limits(c)->inflight_max;
    bool is_told = k->version == MQTT_V5 && (k->props.has & MQTT_HAS(RECEIVE_MAX)) != 0;
    return is_told ? MIN(max, k->props.receive_max) : max;
}

static void attach(struct conn *c, const struct mqtt_connect *k)
{
    struct mqtt_conn *m = conn_state(c);
    struct attach a = {
        .id = k->client_id,
        .make_id = true,         /* [MQTT-3.1.3-6]; 3.1.1: [MQTT-3.1.3-6] */
        .clean_start = k->clean, /* [MQTT-3.1.4-4] [MQTT-3.1.2-4, -5, -6]; 3.1.1: [MQTT-3.1.4-3] */
        .expiry_s = m->expiry_s, /* [MQTT-3.1.2-23] */
        .quota = quota_of(c, k),
        .ticket_max = UINT16_MAX,
        .is_anonymous = !m->had_login,
        .user = k->user,
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
        refuse(c, mqtt_reason_from_err(ERR_NOMEM, MQTT_CONNACK), CLOSE_NOMEM);
    } else {
        m->phase = MQTT_LOGIN;
        broker_attach(c, &a);
    }
    buf_fini(&attrs);
}

void mqtt_connect_in(struct conn *c, const struct mqtt_frame *f)
{
    struct mqtt_conn *m = conn_state(c);
    struct mqtt_connect k;
    enum err e = mqtt_connect_decode(f, &k);
    if (e != ERR_OK) {
        undecodable(c, &k, e);
        return;
    }
    m->version = k.version;
    take_peer(c, &k);
    if ((k.props.has & MQTT_HAS(AUTH_METHOD)) != 0) { /* [MQTT-4.12.0-1] none is known here */
        refuse(c, MQTT_RC_AUTH_METHOD, CLOSE_NOT_AUTHORIZED);
        return;
    }
    if (!id_is_ok(&k)) {
        refuse(c, MQTT_RC_CLIENT_ID, CLOSE_BAD_ID);
        return;
    }
    uint8_t code = k.has_will ? will_refusal(c, &k) : 0;
    if (code == MQTT_RC_TOPIC && k.version != MQTT_V5)
        mqtt_fault(c, ERR_PROTOCOL); /* 3.1.1: [MQTT-3.2.2-6] no return code says that */
    else if (code != 0)
        refuse(c, code, code == MQTT_RC_DENIED ? CLOSE_NOT_AUTHORIZED : CLOSE_PROTOCOL);
    else
        attach(c, &k);
}

/* ---- the broker's answer ------------------------------------------------------------------------------------- */

/* refused_by_broker: [MQTT-3.1.4-2] who it is was checked, and found wanting; or there is no room. */
static void refused_by_broker(struct conn *c, enum err e)
{
    const struct mqtt_conn *m = conn_state(c);
    enum close_reason why = CLOSE_LIMIT;
    uint8_t code = mqtt_reason_from_err(e, MQTT_CONNACK);
    if (e == ERR_DENIED) {
        why = CLOSE_NOT_AUTHORIZED;
        if (m->had_login)
            code = MQTT_RC_BAD_LOGIN;
    } else if (e == ERR_NOMEM) {
        why = CLOSE_NOMEM;
    } else if (e == ERR_STORE) {
        why = CLOSE_STORE;
    }
    refuse(c, code, why);
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
    if (mqtt_retain_is_off(c)) {
        p->has |= MQTT_HAS(HAS_RETAIN);
        p->has_retain = 0;
    }
    p->has |= MQTT_HAS(HAS_SHARED);
    p->has_shared = 0;
}

void mqtt_on_attached(struct conn *c, const struct attached *a)
{
    struct mqtt_conn *m = conn_state(c);
    BUG_ON(m->phase != MQTT_LOGIN);
    if (a->result != ERR_OK) {
        refused_by_broker(c, a->result);
        return;
    }
    struct mqtt_connack k = {.session_present = a->session_present}; /* [MQTT-3.2.2-2], [MQTT-3.2.2-3] */
    m->rx_max = UINT32_MAX;                                          /* 3.x knows no Receive Maximum */
    if (m->version == MQTT_V5) {
        told_props(c, a, &k.props);
        /* A release of what was open before gives the peer a slot back that it never took on this connection (§4.9). */
        m->rx_max = (uint32_t)conn_limits(c)->receive_max + broker_rx_n(c);
    }
    put_connack(c, &k); /* [MQTT-3.1.4-5]; 3.1.1: [MQTT-3.1.4-4] */
    if (conn_is_closing(c))
        return;
    m->phase = MQTT_READY;
    if (m->keepalive_s != 0)
        conn_wants_tick(c, conn_now(c) + (mono_ms)m->keepalive_s * MQTT_KEEPALIVE_MS);
}
