/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_dev_in.c: what a device hears.
 *
 * What is checked on the spot
 *   1. Session Present: a session that was told of is there; after a clean start there is none [MQTT-3.2.2-2, -3].
 *   2. Answers answer something. A packet id of a delivery at QoS 2 that is open names the same message again.
 *   3. No answer is negative without a reason (a full or failed disk).
 */
#include "tests/sim/crash_dev.h"

#include <string.h>

static void on_connack(struct crash_dev *d, const struct mqtt_frame *f)
{
    struct crash_world *w = d->w;
    struct mqtt_connack a;
    if (mqtt_connack_decode(f, d->v, &a) != ERR_OK) {
        crash_fail(&w->model, "%s: a CONNACK that does not parse", d->id);
        return;
    }
    crash_trace(w, "%s < CONNACK %02x present %d", d->id, a.code, a.session_present);
    if (a.code != 0) {
        if (!crash_may_refuse(w))
            crash_fail(&w->model, "%s: login refused with %02x", d->id, a.code);
        return; /* the broker ends it */
    }
    if (d->has_session && !a.session_present)
        crash_fail(&w->model, "%s: its session is lost", d->id);
    if (d->asked_clean && a.session_present)
        crash_fail(&w->model, "%s: a session after a clean start", d->id);
    d->must_clean = false;
    d->has_session = true;
    d->state = DEV_ON;
    crash_dev_resend(d);
    if (d->ask != CRASH_NONE)
        crash_dev_ask(d);
}

/* ---- deliveries ---------------------------------------------------------------------------------------------------
 */

static uint32_t find_in(const struct crash_dev *d, uint16_t id)
{
    uint32_t i = 0;
    while (i < d->in_n && d->in[i].id != id)
        i++;
    return i;
}

static uint32_t box_of(const struct crash_dev *d, uint32_t msg)
{
    const struct crash_msg *c = &d->w->model.msg[msg];
    if (c->kind != TO_TOPIC || c->place < TOPIC_GROUP)
        return BOX_DEV + d->number;
    return CRASH_NONE; /* one of the groups: which, is not written on it */
}

/* group_got: g/a may come through both groups; what one of them gives more than once is told by the sum. */
static void group_got(struct crash_dev *d, uint32_t msg)
{
    struct crash_model *m = &d->w->model;
    struct crash_msg *c = &m->msg[msg];
    uint32_t first = c->place == TOPIC_GROUP ? BOX_GROUP : BOX_GROUP + 1;
    uint32_t second = BOX_GROUP + 1;
    uint32_t box = c->at[first].got <= c->at[second].got ? first : second;
    if ((c->needs >> second & 1) && c->at[second].got == 0 && (c->at[first].got || !(c->needs >> first & 1)))
        box = second;
    crash_got(m, box, msg, c->qos == 2);
}

static void count(struct crash_dev *d, uint32_t msg, uint8_t qos)
{
    uint32_t box = box_of(d, msg);
    if (box == CRASH_NONE)
        group_got(d, msg);
    else
        crash_got(&d->w->model, box, msg, qos == 2);
}

static void on_publish_2(struct crash_dev *d, const struct mqtt_publish *p, uint32_t msg)
{
    struct crash_world *w = d->w;
    uint32_t i = find_in(d, p->packet_id);
    crash_dev_owe(d, MQTT_PUBREC, p->packet_id);
    if (i < d->in_n) {
        if (d->in[i].msg != msg) /* [MQTT-2.2.1-4] */
            crash_fail(&w->model, "%s: packet id %u was #%u and is open, now it is #%u", d->id, p->packet_id,
                       d->in[i].msg, msg);
        return; /* known */
    }
    d->in = crash_grow(&w->mem, d->in, &d->in_cap, d->in_n + 1, sizeof(*d->in));
    d->in[d->in_n++] = (struct crash_in){.msg = msg, .id = p->packet_id};
    count(d, msg, 2);
}

static void on_publish(struct crash_dev *d, const struct mqtt_frame *f)
{
    struct crash_world *w = d->w;
    struct mqtt_publish p;
    if (mqtt_publish_decode(f, d->v, &p) != ERR_OK || p.qos == 0) {
        crash_fail(&w->model, "%s: a delivery that cannot be", d->id);
        return;
    }
    uint32_t msg = crash_from_payload(&w->model, p.payload);
    crash_trace(w, "%s < PUBLISH #%d q%u id %u%s", d->id, (int)msg, p.qos, p.packet_id, p.dup ? " dup" : "");
    if (msg == CRASH_NONE)
        return;
    uint8_t qos = (uint8_t)MIN(w->model.msg[msg].qos, d->sub_qos);
    if (p.qos != qos)
        crash_fail(&w->model, "%s: #%u at QoS %u, not %u", d->id, msg, p.qos, qos);
    if (p.qos == 2) {
        on_publish_2(d, &p, msg);
        return;
    }
    crash_dev_owe(d, MQTT_PUBACK, p.packet_id);
    count(d, msg, 1);
}

static void on_pubrel(struct crash_dev *d, const struct mqtt_ack *a)
{
    uint32_t i = find_in(d, a->packet_id);
    if (i < d->in_n)
        d->in[i] = d->in[--d->in_n];
    crash_dev_owe(d, MQTT_PUBCOMP, a->packet_id);
}

/* ---- answers to publishes -----------------------------------------------------------------------------------------
 */

static void drop_out(struct crash_dev *d, uint32_t i)
{
    memmove(&d->out[i], &d->out[i + 1], (d->out_n - i - 1) * sizeof(d->out[0]));
    d->out_n--;
}

static void on_ack(struct crash_dev *d, const struct mqtt_ack *a)
{
    struct crash_model *m = &d->w->model;
    uint32_t i = 0;
    while (i < d->out_n && d->out[i].id != a->packet_id)
        i++;
    const char *name = mqtt_type_name((enum mqtt_type)a->type);
    if (i == d->out_n) {
        crash_fail(m, "%s: %s %u answers nothing", d->id, name, a->packet_id);
        return;
    }
    struct crash_out *o = &d->out[i];
    uint8_t qos = m->msg[o->msg].qos;
    bool fits = a->type == MQTT_PUBACK ? qos == 1 : qos == 2 && o->is_released == (a->type == MQTT_PUBCOMP);
    if (!fits) {
        crash_fail(m, "%s: %s %u for a publish at QoS %u", d->id, name, a->packet_id, qos);
    } else if (a->type == MQTT_PUBCOMP) {
        drop_out(d, i);
    } else if (a->code >= 0x80) {
        crash_msg_no(m, o->msg);
        drop_out(d, i);
    } else {
        crash_msg_yes(m, o->msg);
        o->is_released = true;
        if (a->type == MQTT_PUBACK)
            drop_out(d, i);
        else
            crash_dev_put_ack(d, MQTT_PUBREL, o->id);
    }
    crash_link_flush(&d->link);
}

static void on_suback(struct crash_dev *d, const struct mqtt_frame *f)
{
    struct crash_world *w = d->w;
    struct mqtt_suback s;
    bool is_unsub = f->type == MQTT_UNSUBACK;
    enum err e = is_unsub ? mqtt_unsuback_decode(f, d->v, &s) : mqtt_suback_decode(f, d->v, &s);
    if (e != ERR_OK || d->ask_id == 0 || s.packet_id != d->ask_id || is_unsub != d->ask_is_unsub) {
        crash_fail(&w->model, "%s: %s that is wrong or not asked for", d->id, mqtt_type_name((enum mqtt_type)f->type));
        return;
    }
    uint8_t code = s.codes.len ? s.codes.p[0] : 0;
    crash_trace(w, "%s < %s %u %02x", d->id, mqtt_type_name((enum mqtt_type)f->type), s.packet_id, code);
    d->ask_id = 0;
    if (code >= 0x80) {
        if (!crash_may_refuse(w))
            crash_fail(&w->model, "%s: subscription refused with %02x", d->id, code);
        d->ask =
            d->ask_is_unsub ? d->ask : CRASH_NONE; /* an UNSUBSCRIBE leaves an uncertain state: asked again later */
        return;
    }
    if (d->ask_is_group)
        w->model.group_on[d->ask] = true;
    else
        crash_sub_answer(&w->model, d->number, d->ask, is_unsub);
    d->ask = CRASH_NONE;
}

/* ---- everything ---------------------------------------------------------------------------------------------------
 */

static void on_packet(struct crash_dev *d, const struct mqtt_frame *f)
{
    struct crash_model *m = &d->w->model;
    struct mqtt_ack a;
    struct mqtt_closing bye;
    if ((d->state == DEV_CONNECTING) != (f->type == MQTT_CONNACK) && f->type != MQTT_DISCONNECT) {
        crash_fail(m, "%s: %s in the wrong place", d->id, mqtt_type_name((enum mqtt_type)f->type));
        return;
    }
    switch (f->type) {
    case MQTT_CONNACK:
        on_connack(d, f);
        break;
    case MQTT_PUBLISH:
        on_publish(d, f);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        if (mqtt_ack_decode(f, d->v, &a) != ERR_OK) {
            crash_fail(m, "%s: a broken %s", d->id, mqtt_type_name((enum mqtt_type)f->type));
            break;
        }
        crash_trace(d->w, "%s < %s %u %02x", d->id, mqtt_type_name((enum mqtt_type)f->type), a.packet_id, a.code);
        if (f->type == MQTT_PUBREL)
            on_pubrel(d, &a);
        else
            on_ack(d, &a);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        on_suback(d, f);
        break;
    case MQTT_DISCONNECT:
        if (mqtt_disconnect_decode(f, d->v, &bye) != ERR_OK ||
            (bye.code != MQTT_RC_SHUTDOWN && !crash_may_refuse(d->w)))
            crash_fail(m, "%s: the broker disconnects with %02x", d->id, bye.code);
        crash_trace(d->w, "%s < DISCONNECT %02x", d->id, bye.code);
        break;
    default:
        crash_fail(m, "%s: a server does not send %s", d->id, mqtt_type_name((enum mqtt_type)f->type));
    }
}

static size_t on_bytes(struct crash_link *l, const uint8_t *in, size_t len)
{
    struct crash_dev *d = CONTAINER_OF(l, struct crash_dev, link);
    size_t eaten = 0;
    struct mqtt_frame f;
    while (l->t && d->w->model.why[0] == 0) {
        ptrdiff_t n = mqtt_frame_peek(in + eaten, len - eaten, MQTT_PACKET_BYTES_MAX, &f);
        if (n < 0)
            crash_fail(&d->w->model, "%s: bytes that are no packet", d->id);
        if (n <= 0)
            break;
        d->w->busy_at = crash_now(d->w);
        on_packet(d, &f);
        eaten += (size_t)n;
    }
    return eaten;
}

static void on_end(struct crash_link *l)
{
    struct crash_dev *d = CONTAINER_OF(l, struct crash_dev, link);
    crash_trace(d->w, "%s < end", d->id);
    crash_dev_lost(d);
}

const struct crash_link_ops crash_dev_link_ops = {.on_bytes = on_bytes, .on_end = on_end};
