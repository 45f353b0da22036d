/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_mqtt.c: what a server may say.
 *
 *     said  ─► CONNECT: version and limits ─► asks: one answer is owed for each question
 *                                          ─► open: deliveries answered
 *     heard ─► decodes? the right direction? in turn? asked for? within the peer's limits?
 *
 * Rules checked
 *   1. CONNACK first [MQTT-3.2.0-1] and once [MQTT-3.2.0-2] (AUTH may come before it, if a method was named), nothing
 *      after a refusal or DISCONNECT [MQTT-3.14.4-1].
 *   2. No packet above the peer's Maximum Packet Size [MQTT-3.1.2-24].
 *   3. Each answer was asked for, with as many codes as there were filters [MQTT-3.8.4-6] [MQTT-3.11.3-2].
 *   4. A packet id is not used again before its delivery is answered [MQTT-2.2.1-4]; QoS above 0 within Receive
 *      Maximum [MQTT-3.3.4-9]; DUP only in a resumed session, never at QoS 0 [MQTT-3.3.1-2].
 *   5. Topic aliases within the peer's maximum [MQTT-3.1.2-26], never 0 [MQTT-3.3.2-8], and defined before use.
 *   6. Reason String and User Properties within what was asked for [MQTT-3.1.2-29]; Response Information only if asked
 *      for [MQTT-3.1.2-28]; no Session Expiry Interval in a server's DISCONNECT [MQTT-3.14.2-2].
 * The peer counts a delivery as answered when it sends the answer, the broker when it reads it: so the peer never sees
 * more in flight than the broker does, and is never wrong to complain.
 * Cost    O(asks + open) per packet.
 */
#include "tests/sim/watch_mqtt.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/hash.h"
#include "tests/support/mqtt_any.h"

static void complain(struct watch_mqtt *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void complain(struct watch_mqtt *w, const char *fmt, ...)
{
    if (w->why[0])
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(w->why, sizeof(w->why), fmt, args);
    va_end(args);
}

void watch_mqtt_stamp(struct slice topic, uint8_t out[WATCH_STAMP])
{
    uint64_t h = hash_bytes(UINT64_C(0x7374616d70), topic.p, topic.len);
    memcpy(out, "\x9dw\xe7r", 4);
    memcpy(out + 4, &h, sizeof(h));
}

/* ---- questions and answers ----------------------------------------------------------------------------------------
 */

static struct watch_ask *find_ask(struct watch_mqtt *w, uint8_t type, uint16_t id)
{
    for (uint32_t i = 0; i < w->ask_n; i++)
        if (w->ask[i].type == type && w->ask[i].id == id)
            return &w->ask[i];
    return NULL;
}

static void ask(struct watch_mqtt *w, enum mqtt_type type, uint16_t id, uint32_t filters)
{
    struct watch_ask *a = find_ask(w, (uint8_t)type, id);
    if (a == NULL && w->ask_n == WATCH_ASKS_MAX) {
        w->is_deaf = w->is_blind = true;
        return;
    }
    if (a == NULL) {
        a = &w->ask[w->ask_n++];
        *a = (struct watch_ask){.type = (uint8_t)type, .id = id};
    }
    a->filters = a->times++ ? UINT32_MAX : filters; /* an id used twice at once: whose answer comes is unclear */
}

static void answered(struct watch_mqtt *w, uint8_t type, uint16_t id, size_t codes)
{
    struct watch_ask *a = find_ask(w, type, id);
    if (a == NULL) {
        if (!w->is_deaf)
            complain(w, "%s %u answers nothing", mqtt_type_name(type), id);
        return;
    }
    if (a->filters != 0 && a->filters != UINT32_MAX && a->filters != codes)
        complain(w, "%s %u has %zu codes for %u filters", mqtt_type_name(type), id, codes, a->filters);
    if (--a->times == 0)
        *a = w->ask[--w->ask_n];
}

static struct watch_open *find_open(struct watch_mqtt *w, uint16_t id)
{
    for (uint32_t i = 0; i < w->open_n; i++)
        if (w->open[i].id == id)
            return &w->open[i];
    return NULL;
}

static void close_open(struct watch_mqtt *w, struct watch_open *o)
{
    w->open_sent_n -= !o->is_of_before;
    *o = w->open[--w->open_n];
}

static struct watch_open *add_open(struct watch_mqtt *w, uint16_t id)
{
    if (w->open_n == WATCH_OPEN_MAX) {
        w->is_blind = true;
        return NULL;
    }
    w->open[w->open_n] = (struct watch_open){.id = id};
    return &w->open[w->open_n++];
}

/* ---- what the peer says -------------------------------------------------------------------------------------------
 */

static void said_connect(struct watch_mqtt *w, const struct mqtt_frame *f)
{
    struct mqtt_connect c = {0};
    enum err e = mqtt_connect_decode(f, &c);
    w->has_connect = true;
    w->packet_max = MQTT_PACKET_BYTES_MAX;
    w->receive_max = 65535;
    w->v = c.version;
    if (e != ERR_OK) {
        w->is_deaf = true;
        if (c.version == 0)
            w->v = (c.level & 0x7f) >= MQTT_V5 ? MQTT_V5 : MQTT_V311;
        return;
    }
    w->has_id = c.client_id.len != 0;
    if (c.version != MQTT_V5)
        return;
    const struct mqtt_props *p = &c.props;
    if (p->has & MQTT_HAS(PACKET_BYTES_MAX))
        w->packet_max = p->packet_bytes_max;
    if (p->has & MQTT_HAS(RECEIVE_MAX))
        w->receive_max = p->receive_max;
    if (p->has & MQTT_HAS(ALIAS_MAX))
        w->alias_max = p->alias_max;
    w->has_method = (p->has & MQTT_HAS(AUTH_METHOD)) != 0;
    w->no_problems = (p->has & MQTT_HAS(WANT_PROBLEM)) != 0 && p->want_problem == 0;
    w->wants_answer = (p->has & MQTT_HAS(WANT_RESPONSE)) != 0 && p->want_response == 1;
}

static void said_ack(struct watch_mqtt *w, const struct mqtt_ack *a)
{
    struct watch_open *o = find_open(w, a->packet_id);
    switch (a->type) {
    case MQTT_PUBREL:
        ask(w, MQTT_PUBCOMP, a->packet_id, 0);
        return;
    case MQTT_PUBREC:
        if (a->code < 0x80)
            ask(w, MQTT_PUBREL, a->packet_id, 0);
        if (o && o->qos == 2 && !o->is_received && a->code >= 0x80)
            close_open(w, o);
        else if (o && o->qos == 2)
            o->is_received = true;
        else
            w->is_blind = true;
        return;
    default:
        if (o && (a->type == MQTT_PUBACK ? o->qos == 1 : o->is_received))
            close_open(w, o);
        else
            w->is_blind = true;
    }
}

static void said_packet(struct watch_mqtt *w, const struct mqtt_frame *f)
{
    struct mqtt_any a;
    if (!w->has_connect) {
        if (f->type == MQTT_CONNECT)
            said_connect(w, f);
        else
            w->is_deaf = true;
        return;
    }
    if (mqtt_any_decode(f, (enum mqtt_version)w->v, &a) != ERR_OK) {
        w->is_deaf = true;
        return;
    }
    switch (f->type) {
    case MQTT_PUBLISH:
        if (a.u.publish.qos)
            ask(w, a.u.publish.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, a.u.publish.packet_id, 0);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        said_ack(w, &a.u.ack);
        break;
    case MQTT_SUBSCRIBE:
        ask(w, MQTT_SUBACK, a.u.subscribe.packet_id, a.u.subscribe.filter_n);
        break;
    case MQTT_UNSUBSCRIBE:
        ask(w, MQTT_UNSUBACK, a.u.subscribe.packet_id, w->v == MQTT_V5 ? a.u.subscribe.filter_n : 0);
        break;
    case MQTT_PINGREQ:
        w->pings++;
        break;
    default:
        break;
    }
}

static void trace(const struct watch_mqtt *w, const char *way, const struct mqtt_frame *f)
{
    if (w->trace == NULL)
        return;
    fprintf(stderr, "%s %s %s %x:", w->trace, way, mqtt_type_name(f->type), f->flags);
    for (size_t i = 0; i < MIN(f->body.len, (size_t)100); i++)
        fprintf(stderr, f->body.p[i] > ' ' && f->body.p[i] < 127 ? "%c" : " %02x ", f->body.p[i]);
    fprintf(stderr, "\n");
}

static ptrdiff_t next(const struct rig_bytes *b, size_t at, struct mqtt_frame *f)
{
    return at < b->len ? mqtt_frame_peek(b->p + at, b->len - at, MQTT_PACKET_BYTES_MAX, f) : 0;
}

void watch_mqtt_said(struct watch_mqtt *w, const void *bytes, size_t n)
{
    struct mqtt_frame f;
    ptrdiff_t eaten = 1;
    rig_put(&w->said, bytes, n);
    while (!w->is_deaf && eaten > 0) {
        eaten = next(&w->said, w->said_at, &f);
        if (eaten < 0)
            w->is_deaf = true;
        if (eaten <= 0)
            return;
        w->said_at += (size_t)eaten;
        trace(w, ">", &f);
        said_packet(w, &f);
    }
}

/* ---- what the broker says -----------------------------------------------------------------------------------------
 */

/* check_talk: properties that are for explanation. */
static void check_talk(struct watch_mqtt *w, enum mqtt_type type, const struct mqtt_props *p)
{
    bool may = !w->no_problems || type == MQTT_CONNACK || type == MQTT_DISCONNECT;
    if (!may && ((p->has & MQTT_HAS(REASON)) || p->user_n)) /* [MQTT-3.1.2-29] */
        complain(w, "%s explains itself to a peer that does not want it", mqtt_type_name(type));
}

static void heard_connack(struct watch_mqtt *w, const struct mqtt_connack *c)
{
    uint64_t has = w->v == MQTT_V5 ? c->props.has : 0;
    w->has_connack = true;
    w->is_on = c->code == 0;
    w->is_over = !w->is_on;
    w->is_resumed = c->session_present || w->v == MQTT_V31; /* which cannot say it */
    if (c->code != 0 && c->session_present)                 /* [MQTT-3.2.2-6] */
        complain(w, "a refused login with a session");
    if ((has & MQTT_HAS(RESPONSE_INFO)) && !w->wants_answer) /* [MQTT-3.1.2-28] */
        complain(w, "Response Information that nobody asked for");
    if (c->code == 0 && w->v == MQTT_V5 && !w->has_id != ((has & MQTT_HAS(ASSIGNED_ID)) != 0)) /* [MQTT-3.2.2-16] */
        complain(w, "Assigned Client Identifier where there should be none, or the other way round");
    if ((has & (MQTT_HAS(AUTH_METHOD) | MQTT_HAS(AUTH_DATA))) && !w->has_method) /* [MQTT-4.12.0-6] */
        complain(w, "authentication that nobody asked for");
}

/* resolve: the topic under an alias, defining it if the packet does (MQTT 5 §3.3.2.3.4). */
static struct slice resolve(struct watch_mqtt *w, const struct mqtt_publish *p, uint16_t number)
{
    struct watch_alias *a = NULL;
    for (uint32_t i = 0; i < w->alias_n && a == NULL; i++)
        if (w->alias[i].number == number)
            a = &w->alias[i];
    if (number == 0 || number > w->alias_max) /* [MQTT-3.3.2-8] [MQTT-3.1.2-26] [MQTT-3.1.2-27] */
        complain(w, "topic alias %u, the peer allows %u", number, w->alias_max);
    if (p->topic.len == 0) {
        if (a == NULL)
            complain(w, "topic alias %u has not been defined", number);
        return a ? slice_make(a->topic.p, a->topic.len) : p->topic;
    }
    if (a == NULL && w->alias_n < WATCH_ALIASES_MAX)
        a = &w->alias[w->alias_n++];
    if (a == NULL)
        return p->topic;
    a->number = number;
    a->topic.len = 0;
    rig_put(&a->topic, p->topic.p, p->topic.len);
    return p->topic;
}

static void check_stamp(struct watch_mqtt *w, struct slice topic, struct slice payload)
{
    uint8_t stamp[WATCH_STAMP];
    watch_mqtt_stamp(topic, stamp);
    if (payload.len >= WATCH_STAMP && memcmp(payload.p, stamp, 4) == 0 && memcmp(payload.p, stamp, WATCH_STAMP) != 0)
        complain(w, "a message came under topic '" SLICE_FMT "', it was sent to another", SLICE_ARG(topic));
}

static void heard_publish(struct watch_mqtt *w, const struct mqtt_publish *p)
{
    struct mqtt_props props;
    struct slice topic = p->topic;
    mqtt_props_clear(&props);
    if (p->props.len && mqtt_props_collect(p->props, MQTT_PUBLISH, &props) != ERR_OK)
        complain(w, "a PUBLISH with wrong properties");
    if (props.has & MQTT_HAS(ALIAS))
        topic = resolve(w, p, props.alias);
    if (!mqtt_topic_name_is_valid(topic)) /* [MQTT-3.3.2-2] */
        complain(w, "a PUBLISH to '" SLICE_FMT "'", SLICE_ARG(topic));
    check_stamp(w, topic, p->payload);
    w->deliveries++;
    if (p->dup && (p->qos == 0 || !w->is_resumed))
        complain(w, "DUP at QoS %u in a %s session", p->qos, w->is_resumed ? "resumed" : "new");
    if (p->qos == 0)
        return;
    if (find_open(w, p->packet_id) && !w->is_blind)
        complain(w, "packet id %u is in use", p->packet_id);
    struct watch_open *o = add_open(w, p->packet_id);
    if (o == NULL)
        return;
    o->qos = p->qos;
    if (++w->open_sent_n > w->receive_max && !w->is_blind)
        complain(w, "%u deliveries in flight, Receive Maximum is %u", w->open_sent_n, w->receive_max);
}

static void heard_rel(struct watch_mqtt *w, const struct mqtt_ack *a)
{
    struct watch_open *o = find_open(w, a->packet_id);
    if (find_ask(w, MQTT_PUBREL, a->packet_id)) {
        answered(w, MQTT_PUBREL, a->packet_id, 0);
        if (o)
            o->is_released = o->is_received;
        return;
    }
    if (!w->is_resumed && !w->is_deaf && !w->is_blind)
        complain(w, "PUBREL %u out of nowhere", a->packet_id);
    if (o == NULL)
        o = add_open(w, a->packet_id);
    else if (!w->is_blind)
        complain(w, "PUBREL %u without PUBREC", a->packet_id);
    if (o)
        *o = (struct watch_open){
            .id = a->packet_id, .qos = 2, .is_received = true, .is_released = true, .is_of_before = true};
}

static void heard_closing(struct watch_mqtt *w, uint8_t type, const struct mqtt_closing *c)
{
    if (w->v != MQTT_V5)
        complain(w, "a server sends no %s in MQTT %s", mqtt_type_name(type), mqtt_version_name(w->v));
    check_talk(w, (enum mqtt_type)type, &c->props);
    if (type == MQTT_AUTH) {
        if (!w->has_method) /* [MQTT-4.12.0-6] */
            complain(w, "AUTH for a peer that named no method");
        return;
    }
    w->is_over = true;
    if (c->code < 0x80 && c->code != 0)
        complain(w, "DISCONNECT %02x is a peer's", c->code);
    if (c->props.has & MQTT_HAS(SESSION_EXPIRY)) /* [MQTT-3.14.2-2] */
        complain(w, "a Session Expiry Interval in a server's DISCONNECT");
}

/* is_in_turn: before CONNACK nothing but itself and AUTH, after it everything but itself. */
static bool is_in_turn(const struct watch_mqtt *w, uint8_t type)
{
    if (type == MQTT_AUTH)
        return w->has_method;
    return w->has_connack != (type == MQTT_CONNACK);
}

static void heard_packet(struct watch_mqtt *w, const struct mqtt_frame *f, const struct mqtt_any *a)
{
    switch (f->type) {
    case MQTT_CONNACK:
        heard_connack(w, &a->u.connack);
        break;
    case MQTT_PUBLISH:
        heard_publish(w, &a->u.publish);
        break;
    case MQTT_PUBREL:
        check_talk(w, MQTT_PUBREL, &a->u.ack.props);
        heard_rel(w, &a->u.ack);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        check_talk(w, (enum mqtt_type)f->type, &a->u.ack.props);
        answered(w, f->type, a->u.ack.packet_id, 0);
        if (f->type == MQTT_PUBREC && a->u.ack.code < 0x80 && w->received_n < WATCH_OPEN_MAX)
            w->received[w->received_n++] = a->u.ack.packet_id;
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        check_talk(w, (enum mqtt_type)f->type, &a->u.suback.props);
        answered(w, f->type, a->u.suback.packet_id, a->u.suback.codes.len);
        break;
    case MQTT_PINGRESP:
        if (w->pings == 0 && !w->is_deaf)
            complain(w, "PINGRESP answers nothing");
        w->pings -= w->pings > 0;
        break;
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        heard_closing(w, f->type, &a->u.closing);
        break;
    default:
        complain(w, "a server does not send %s", mqtt_type_name(f->type));
    }
}

void watch_mqtt_heard(struct watch_mqtt *w, const void *bytes, size_t n)
{
    struct mqtt_frame f;
    struct mqtt_any a;
    rig_put(&w->heard, bytes, n);
    while (w->why[0] == 0) {
        ptrdiff_t eaten = next(&w->heard, w->heard_at, &f);
        if (eaten < 0)
            complain(w, "bytes that are no packet");
        if (eaten <= 0)
            return;
        w->heard_at += (size_t)eaten;
        trace(w, "<", &f);
        memset(&a, 0, sizeof(a)); /* decoders leave properties unset where a packet can have none */
        if (!w->has_connect || w->is_over || !is_in_turn(w, f.type))
            complain(w, "%s in the wrong place", mqtt_type_name(f.type));
        else if (f.total > w->packet_max) /* [MQTT-3.1.2-24] */
            complain(w, "%s of %u bytes, the peer takes %u", mqtt_type_name(f.type), f.total, w->packet_max);
        else if (mqtt_any_decode(&f, (enum mqtt_version)w->v, &a) != ERR_OK)
            complain(w, "a %s that cannot be read", mqtt_type_name(f.type));
        else
            heard_packet(w, &f, &a);
    }
}

void watch_mqtt_free(struct watch_mqtt *w)
{
    for (uint32_t i = 0; i < w->alias_n; i++)
        free(w->alias[i].topic.p);
    free(w->said.p);
    free(w->heard.p);
    memset(w, 0, sizeof(*w));
}
