/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_login.c: CONNECT (or STOMP, the same by another name) in, CONNECTED out.
 *
 *     CONNECT ─► version ─► host ─► heart-beat ─► broker_attach ─► on_attached ─► CONNECTED ─► READY
 *                   │         │          │                              │
 *                   └─────────┴──────────┴── ERROR, close ◄────────────┘
 *
 * Every connection is a session of its own without a name: it ends with the connection, and what it had not
 * acknowledged goes back to its queues. login and client-id are kept: they own durable subscriptions. `host` names a
 * virtual host; there is one, so every name means it, unless the option says that it must be one of its own.
 *
 * Heart-beats: the peer says what it can do and what it wants; we can do and want what it asks for, but not more often
 * than every STOMP_BEAT_MIN_MS. CONNECTED then says exactly what was agreed on.
 *
 * Invariants
 *   1. broker_attach is called at most once per connection.
 *   2. CONNECTED is the first frame sent, unless ERROR is.
 * Cost    one allocation for a peer that says who it is.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §Connecting, §CONNECT or STOMP Frame, §CONNECTED Frame, §Protocol Negotiation, §Heart-beating.
 */
#include <stdio.h>

#include "core/base/utf8.h"
#include "core/shard.h"
#include "proto_stomp/stomp_conn.h"
#include "proto_stomp/stomp_durable.h"

/* ---- CONNECT --------------------------------------------------------------------------------------------------- */

/* pick_version: false: ERROR was said. */
static bool pick_version(struct conn *c, const struct stomp_frame *f)
{
    struct stomp_conn *s = stomp_state(c);
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice list;
    enum stomp_version v = STOMP_1_0; /* STOMP 1.2 §Protocol Negotiation: no header: STOMP 1.0 §CONNECT */
    if (stomp_frame_get(f, STOMP_H_ACCEPT_VERSION, buf, sizeof buf, &list) == ERR_OK &&
        stomp_version_pick(list, &v) != ERR_OK) {
        stomp_error(c, f, STOMP_FAULT_VERSION, list);
        return false;
    }
    s->version = (uint8_t)v;
    return true;
}

/* is_our_host: "/" as RabbitMQ calls its first one, or where this listener is: its name without the port. */
static bool is_our_host(const struct conn *c, struct slice host)
{
    struct slice at = slice_from_str(c->door != NULL && c->door->name != NULL ? c->door->name : "");
    if (slice_eq_str(host, "/") || host.len == 0 || slice_eq_str(host, "localhost"))
        return true;
    while (at.len != 0 && at.p[at.len - 1] != ':')
        at.len--;
    if (at.len != 0)
        at.len--;
    if (at.len >= 2 && at.p[0] == '[') /* an IPv6 address: with its brackets or without */
        return slice_eq(host, at) || slice_eq(host, slice_make(at.p + 1, at.len - 2));
    return slice_eq(host, at);
}

/* check_host: STOMP 1.2 §CONNECT or STOMP Frame: 1.1 and 1.2 name one. False: ERROR was said. */
static bool check_host(struct conn *c, const struct stomp_frame *f)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice host;
    if (!c->shard->config.stomp_strict_host)
        return true;
    if (stomp_frame_get(f, STOMP_H_HOST, buf, sizeof buf, &host) != ERR_OK) {
        if (stomp_state(c)->version == STOMP_1_0)
            return true;
        stomp_error(c, f, STOMP_FAULT_NO_HEADER, SLICE("host"));
        return false;
    }
    if (is_our_host(c, host))
        return true;
    stomp_error(c, f, STOMP_FAULT_HOST, host);
    return false;
}

static uint32_t agreed_ms(uint32_t ms)
{
    return ms == 0 ? 0 : MAX(ms, (uint32_t)STOMP_BEAT_MIN_MS);
}

/* agree_beats: STOMP 1.2 §Heart-beating; 1.0 has none. False: ERROR was said. */
static bool agree_beats(struct conn *c, const struct stomp_frame *f)
{
    struct stomp_conn *s = stomp_state(c);
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    uint32_t can_ms, wants_ms;
    if (s->version == STOMP_1_0 || stomp_frame_get(f, STOMP_H_HEART_BEAT, buf, sizeof buf, &text) != ERR_OK)
        return true;
    if (stomp_heart_beat_parse(text, &can_ms, &wants_ms) != ERR_OK) {
        stomp_error(c, f, STOMP_FAULT_HEADER, SLICE("heart-beat"));
        return false;
    }
    s->beat_in_ms = agreed_ms(can_ms);
    s->beat_out_ms = agreed_ms(wants_ms);
    return true;
}

/* keep_owner: whose durable subscriptions this connection's are. False: ERROR was said. */
static bool keep_owner(struct conn *c, const struct stomp_frame *f, struct slice login)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice client_id = {0};
    if (stomp_frame_get(f, STOMP_H_CLIENT_ID, buf, sizeof buf, &client_id) != ERR_OK)
        client_id = SLICE("");
    bool is_bad_id = !utf8_is_mqtt(client_id.p, client_id.len);
    if (is_bad_id || !utf8_is_mqtt(login.p, login.len)) {
        stomp_error(c, f, STOMP_FAULT_HEADER_TEXT, is_bad_id ? SLICE("client-id") : SLICE("login"));
        return false;
    }
    if (stomp_durable_login(c, login, client_id))
        return true;
    stomp_nomem(c);
    return false;
}

void stomp_connect_in(struct conn *c, const struct stomp_frame *f)
{
    struct stomp_conn *s = stomp_state(c);
    uint8_t user_buf[STOMP_LINE_BYTES_MAX], password_buf[STOMP_LINE_BYTES_MAX];
    struct slice user = {0}, password = {0};
    if (!pick_version(c, f) || !check_host(c, f) || !agree_beats(c, f))
        return;
    bool has_user = stomp_frame_get(f, STOMP_H_LOGIN, user_buf, sizeof user_buf, &user) == ERR_OK;
    bool has_password = stomp_frame_get(f, STOMP_H_PASSCODE, password_buf, sizeof password_buf, &password) == ERR_OK;
    if (!keep_owner(c, f, user))
        return;
    s->had_login = has_user || has_password;
    s->phase = STOMP_LOGIN;
    broker_attach(c, &(struct attach){.clean_start = true,
                                      .quota = (uint32_t)conn_limits(c)->prefetch_max,
                                      .ticket_max = STOMP_TICKET_MAX,
                                      .is_anonymous = !s->had_login,
                                      .user = user,
                                      .password = password});
}

/* ---- the broker's answer --------------------------------------------------------------------------------------- */

static void refused(struct conn *c, enum err e)
{
    if (e == ERR_DENIED && stomp_state(c)->had_login)
        stomp_error(c, NULL, STOMP_FAULT_LOGIN, stomp_durable_user(c));
    else if (e == ERR_DENIED)
        stomp_error(c, NULL, STOMP_FAULT_ANONYMOUS, SLICE(""));
    else
        stomp_error(c, NULL, e == ERR_FULL ? STOMP_FAULT_SESSION_LIMIT : stomp_fault_from_err(e), SLICE(""));
}

/* put_connected: STOMP 1.2 §CONNECTED Frame; STOMP 1.0 §CONNECT: with a session. */
static void put_connected(struct conn *c)
{
    const struct stomp_conn *s = stomp_state(c);
    struct outv *o = conn_out(c);
    enum { CAP = 512 };
    uint8_t *room = o != NULL ? outv_room(o, CAP) : NULL;
    if (room == NULL)
        return;
    char session[32], beats[32];
    int session_len = snprintf(session, sizeof session, "session-%llu", (unsigned long long)c->session->number);
    int beats_len = snprintf(beats, sizeof beats, "%u,%u", s->beat_out_ms, s->beat_in_ms);
    struct stomp_writer w;
    stomp_write_begin(&w, room, CAP, (enum stomp_version)s->version, STOMP_CMD_CONNECTED);
    stomp_write_known(&w, STOMP_H_VERSION, stomp_version_text((enum stomp_version)s->version));
    stomp_write_known(&w, STOMP_H_SERVER, SLICE("weir/" WEIR_VERSION));
    stomp_write_known(&w, STOMP_H_SESSION, slice_make(session, (size_t)session_len));
    stomp_write_known(&w, STOMP_H_HEART_BEAT, slice_make(beats, (size_t)beats_len));
    ptrdiff_t n = stomp_write_end(&w, STOMP_LENGTH_NONE);
    BUG_ON(n <= 0);
    room[n] = '\0';
    outv_wrote(o, (size_t)n + 1);
    stat_add(&c->shard->stats, STAT_CONTROL_OUT, 1);
}

void stomp_on_attached(struct conn *c, const struct attached *a)
{
    struct stomp_conn *s = stomp_state(c);
    BUG_ON(s->phase != STOMP_LOGIN);
    if (a->result != ERR_OK) {
        refused(c, a->result);
        return;
    }
    s->phase = STOMP_READY;
    put_connected(c);
    mono_ms now = conn_now(c);
    if (s->beat_in_ms != 0)
        conn_wants_tick(c, now + 2ull * s->beat_in_ms);
    if (s->beat_out_ms != 0)
        conn_wants_tick(c, now + s->beat_out_ms - s->beat_out_ms / 10);
}
