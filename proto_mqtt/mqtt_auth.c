/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_auth.c: enhanced authentication: CONNECT with an Authentication Method, AUTH packets, and the same again later.
 *
 *     CONNECT {method, data} ─► kept ─► step ─┬─ go on ──► AUTH 0x18 {method, data} ──► peer ──► AUTH 0x18 ─► step ...
 *                                             ├─ proven ─► mqtt_attach (the kept CONNECT) ─► CONNACK {method, data}
 *                                             └─ failed ─► CONNACK 0x87
 *     READY: AUTH 0x19 {method, data} ─► step ─┬─ go on ──► AUTH 0x18 ...          other packets come and go meanwhile
 *                                              ├─ proven ─► the same user? AUTH 0x00, else DISCONNECT 0x87
 *                                              └─ failed ─► DISCONNECT 0x87
 *
 * Which methods there are and what their messages mean is core/auth.h's business; here they are carried.
 *
 * Invariants
 *   1. Between CONNECT and CONNACK nothing but AUTH and DISCONNECT is accepted [MQTT-3.1.2-30].
 *   2. All AUTH packets and the CONNACK of a success name the method of CONNECT [MQTT-4.12.0-5]; without a method in
 *      CONNECT there is no AUTH packet from us [MQTT-4.12.0-6].
 *   3. The method and who was proved are kept as long as the connection; the kept CONNECT only until it is used.
 * Cost    while the exchange goes on: the CONNECT, a copy of a few hundred bytes; afterwards about 100 bytes.
 * Thread  the shard's own.
 * Spec    MQTT 5 §3.15, §4.12.
 */
#include "core/auth.h"

#include "core/shard.h"
#include "proto_mqtt/mqtt_conn.h"

/* owner: the connection's mqtt_more */
struct mqtt_proof {
    struct auth *auth;
    struct auth_talk *talk; /* the exchange that goes on; NULL: none */
    struct slice user;      /* who was proved at the login; allocated */
    struct buf out;         /* what the last step said, until it is sent */
    uint8_t *connect;       /* the body of the CONNECT that waits; NULL: none */
    uint32_t connect_len;
    bool is_lenient; /* how it was read */
    uint16_t method_len;
    uint8_t method[];
};

static struct mqtt_proof *proof_of(const struct conn *c)
{
    const struct mqtt_conn *m = conn_state(c);
    return m->more != NULL ? m->more->proof : NULL;
}

static struct slice method_of(const struct mqtt_proof *p)
{
    return slice_make(p->method, p->method_len);
}

/* ---- its life ------------------------------------------------------------------------------------------------- */

static struct mqtt_proof *proof_new(struct conn *c, struct auth *auth, struct slice method)
{
    struct mqtt_more *more = mqtt_more(c);
    struct mqtt_proof *p = more != NULL ? mem_zalloc(conn_mem(c), sizeof *p + method.len) : NULL;
    if (p == NULL)
        return NULL;
    p->auth = auth;
    buf_init(&p->out, conn_mem(c));
    p->method_len = (uint16_t)method.len;
    memcpy(p->method, method.p, method.len);
    more->proof = p;
    return p;
}

static void drop_connect(struct conn *c, struct mqtt_proof *p)
{
    mem_free(conn_mem(c), p->connect);
    p->connect = NULL;
}

static void end_talk(struct mqtt_proof *p)
{
    if (p->talk != NULL)
        p->auth->ops->end(p->talk);
    p->talk = NULL;
}

void mqtt_proof_free(struct conn *c, struct mqtt_proof *p)
{
    if (p == NULL)
        return;
    end_talk(p);
    drop_connect(c, p);
    mem_free(conn_mem(c), (void *)(uintptr_t)p->user.p);
    buf_fini(&p->out);
    mem_free(conn_mem(c), p);
}

void mqtt_proof_told(const struct conn *c, struct mqtt_props *props)
{
    const struct mqtt_proof *p = proof_of(c);
    if (p == NULL) /* [MQTT-4.12.0-6] */
        return;
    props->has |= MQTT_HAS(AUTH_METHOD); /* [MQTT-4.12.0-5] */
    props->auth_method = method_of(p);
    if (p->out.len == 0)
        return;
    props->has |= MQTT_HAS(AUTH_DATA);
    props->auth_data = buf_slice(&p->out);
}

void mqtt_proof_done(struct conn *c)
{
    struct mqtt_proof *p = proof_of(c);
    if (p == NULL)
        return;
    buf_fini(&p->out);
    drop_connect(c, p);
}

/* ---- saying no ------------------------------------------------------------------------------------------------ */

static bool is_logged_in(const struct conn *c)
{
    const struct mqtt_conn *m = conn_state(c);
    return m->phase == MQTT_READY;
}

/* deny: the end, in CONNACK or, after that, in DISCONNECT [MQTT-4.12.0-4], [MQTT-4.12.1-2]. */
static void deny(struct conn *c, uint8_t cause, enum close_reason why)
{
    if (is_logged_in(c))
        mqtt_close(c, why, cause);
    else
        mqtt_refuse(c, MQTT_AUTH, cause, why);
}

/* wrong_packet: one that may not come now, or not so. */
static void wrong_packet(struct conn *c, unsigned type, enum err e)
{
    if (is_logged_in(c))
        mqtt_fault(c, type, e);
    else if (e == ERR_MALFORMED)
        mqtt_refuse(c, (enum mqtt_type)type, MQTT_CAUSE_MALFORMED, CLOSE_MALFORMED);
    else
        mqtt_refuse(c, (enum mqtt_type)type, MQTT_CAUSE_UNEXPECTED, CLOSE_PROTOCOL);
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

/* say_auth: AUTH with this code, the method, and what the last step said. */
static void say_auth(struct conn *c, struct mqtt_proof *p, uint8_t code)
{
    struct mqtt_closing a = {.code = code};
    mqtt_proof_told(c, &a.props);
    size_t cap = 10 + mqtt_props_bytes(&a.props);
    uint8_t *out = mem_alloc(conn_mem(c), cap);
    ptrdiff_t n = out != NULL ? mqtt_auth_encode(&a, MQTT_V5, out, cap) : -(ptrdiff_t)ERR_NOMEM;
    if (n <= 0 || !mqtt_say(c, out, (size_t)n)) /* [MQTT-3.1.2-24] the exchange cannot go on */
        mqtt_close(c, out != NULL ? CLOSE_TOO_BIG : CLOSE_NOMEM, MQTT_CAUSE_NONE);
    mem_free(conn_mem(c), out);
    buf_clear(&p->out);
}

/* log_in: the kept CONNECT goes to the broker. */
static void log_in(struct conn *c, struct mqtt_proof *p)
{
    struct mqtt_frame f = {.body = slice_make(p->connect, p->connect_len),
                           .total = MQTT_HEAD_BYTES_MAX + p->connect_len,
                           .type = MQTT_CONNECT,
                           .head_bytes = MQTT_HEAD_BYTES_MAX,
                           .is_lenient = p->is_lenient};
    mqtt_attach(c, &f, p->user);
}

static void proven(struct conn *c, struct mqtt_proof *p)
{
    struct slice who = p->auth->ops->who(p->talk);
    if (is_logged_in(c)) {
        bool is_same = slice_eq(who, p->user);
        end_talk(p);
        if (is_same)
            say_auth(c, p, MQTT_RC_SUCCESS);
        else
            deny(c, MQTT_CAUSE_AUTH_OTHER, CLOSE_NOT_AUTHORIZED);
        return;
    }
    p->user = slice_make(mem_dup(conn_mem(c), who.p, who.len), who.len);
    end_talk(p);
    if (p->user.p != NULL)
        log_in(c, p);
    else
        deny(c, MQTT_CAUSE_NOMEM, CLOSE_NOMEM);
}

/* step: the peer's message to the exchange, and what comes of it. */
static void step(struct conn *c, struct mqtt_proof *p, struct slice in)
{
    struct mqtt_conn *m = conn_state(c);
    switch (p->auth->ops->step(p->talk, in, &p->out)) {
    case AUTH_GO_ON:
        if (!is_logged_in(c))
            m->phase = MQTT_PROOF;
        say_auth(c, p, MQTT_RC_AUTH_CONTINUE); /* [MQTT-4.12.0-2] */
        break;
    case AUTH_PROVEN:
        proven(c, p);
        break;
    case AUTH_FAILED:
        deny(c, MQTT_CAUSE_AUTH_FAILED, CLOSE_NOT_AUTHORIZED);
        break;
    case AUTH_NOMEM:
        deny(c, MQTT_CAUSE_NOMEM, CLOSE_NOMEM);
        break;
    }
}

static struct slice data_of(const struct mqtt_props *p)
{
    return (p->has & MQTT_HAS(AUTH_DATA)) != 0 ? p->auth_data : (struct slice){0};
}

/* begin: a new exchange, and its first message. */
static void begin(struct conn *c, struct mqtt_proof *p, struct slice in)
{
    p->talk = p->auth->ops->begin(p->auth, method_of(p), conn_mem(c));
    if (p->talk != NULL)
        step(c, p, in);
    else
        deny(c, MQTT_CAUSE_NOMEM, CLOSE_NOMEM);
}

void mqtt_proof_begin(struct conn *c, const struct mqtt_frame *f, const struct mqtt_props *props)
{
    struct auth *auth = c->shard->config.auth;
    if (auth == NULL || !auth->ops->knows(auth, props->auth_method)) { /* [MQTT-4.12.0-1] */
        deny(c, MQTT_CAUSE_AUTH_UNKNOWN, CLOSE_NOT_AUTHORIZED);
        return;
    }
    struct mqtt_proof *p = proof_new(c, auth, props->auth_method);
    if (p != NULL)
        p->connect = mem_dup(conn_mem(c), f->body.p, f->body.len);
    if (p == NULL || p->connect == NULL) {
        deny(c, MQTT_CAUSE_NOMEM, CLOSE_NOMEM);
        return;
    }
    p->connect_len = (uint32_t)f->body.len;
    p->is_lenient = f->is_lenient;
    begin(c, p, data_of(props));
}

/* ---- packets -------------------------------------------------------------------------------------------------- */

/* names_other: another method than that of CONNECT. */
static bool names_other(const struct mqtt_proof *p, const struct mqtt_props *props)
{
    return (props->has & MQTT_HAS(AUTH_METHOD)) != 0 && !slice_eq(props->auth_method, method_of(p));
}

/* go_on: AUTH 0x18: the peer's answer to ours [MQTT-4.12.0-3]. */
static void go_on(struct conn *c, struct mqtt_proof *p, const struct mqtt_closing *a)
{
    if (p->talk == NULL || a->code != MQTT_RC_AUTH_CONTINUE)
        wrong_packet(c, MQTT_AUTH, ERR_PROTOCOL);
    else
        step(c, p, data_of(&a->props));
}

void mqtt_proof_in(struct conn *c, const struct mqtt_frame *f)
{
    struct mqtt_closing a;
    enum err e = ERR_PROTOCOL; /* [MQTT-3.1.2-30] */
    if (f->type == MQTT_AUTH)
        e = mqtt_auth_decode(f, MQTT_V5, &a);
    else if (f->type == MQTT_DISCONNECT)
        e = mqtt_disconnect_decode(f, MQTT_V5, &a);
    if (e != ERR_OK) {
        wrong_packet(c, f->type, e);
    } else if (f->type == MQTT_DISCONNECT) {
        mqtt_close(c, CLOSE_GOODBYE, MQTT_CAUSE_NONE);
    } else {
        struct mqtt_proof *p = proof_of(c);
        if (names_other(p, &a.props))
            deny(c, MQTT_CAUSE_AUTH_CHANGED, CLOSE_NOT_AUTHORIZED); /* [MQTT-4.12.0-5] */
        else
            go_on(c, p, &a);
    }
}

void mqtt_auth_in(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_closing a;
    struct mqtt_proof *p = proof_of(c);
    enum err e = mqtt_auth_decode(f, (enum mqtt_version)m->version, &a);
    if (e != ERR_OK) {
        mqtt_fault(c, MQTT_AUTH, e);
    } else if (p == NULL) { /* [MQTT-4.12.0-7] */
        mqtt_unexpected(c, MQTT_AUTH);
    } else if (names_other(p, &a.props)) {
        deny(c, MQTT_CAUSE_AUTH_CHANGED, CLOSE_NOT_AUTHORIZED); /* [MQTT-4.12.1-1] */
    } else if (a.code == MQTT_RC_AUTH_AGAIN && p->talk == NULL) {
        begin(c, p, data_of(&a.props));
    } else {
        go_on(c, p, &a);
    }
}
