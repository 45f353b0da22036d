/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_mqtt_in.c: what a simulated MQTT peer hears, and what it thinks of it.
 *
 * Checked here, because only the receiver sees it
 *   1. CONNACK's session present tells the truth: a session that must live lives, one that must be gone is gone.
 *   2. Each answer belongs to something that was asked and is of the right kind; the answers to publishes of one QoS
 * come in the order of the publishes (receipts leave in the order of what they answer).
 *   3. A packet id is not used for a new delivery while an old one with it is open; QoS 2 is taken in once.
 *   4. Never more deliveries in flight than we allow [MQTT-3.3.4-9].
 */
#include <stdio.h>

#include "tests/sim/model_group.h"
#include "tests/sim/peer_mqtt.h"

/* ---- CONNACK ------------------------------------------------------------------------------------------------------
 */

/* judge_absence: our session is gone. Could it? */
static void judge_absence(struct peer_mqtt *p)
{
    struct world *w = p->w;
    if (p->box == NULL)
        return;
    bool may_expire = p->prev_expiry_s != UINT32_MAX &&
                      (!p->ended_by_us || w->loop->now >= p->ended_at + (mono_ms)p->prev_expiry_s * 1000);
    if (!may_expire && !w->plan.only_safety)
        world_fail(w, "%s: the session was lost", p->id);
    p->box->is_ended = true;
}

static void judge_presence(struct peer_mqtt *p)
{
    struct world *w = p->w;
    mono_ms late = (mono_ms)p->prev_expiry_s * 1000 + 10000;
    if (p->asked_clean || (p->box == NULL && !p->may_exist))
        world_fail(w, "%s: a session is present that should not exist", p->id);
    else if (p->box && p->prev_expiry_s != UINT32_MAX && p->ended_by_us && w->loop->now > p->gone_at + late)
        world_fail(w, "%s: the session was resumed %u ms after its end, its expiry is %u s", p->id,
                   (unsigned)(w->loop->now - p->gone_at), p->prev_expiry_s);
}

static void new_box(struct peer_mqtt *p)
{
    char name[MODEL_NAME];
    snprintf(name, sizeof(name), "%s/%u", p->id, p->link.number);
    p->box = model_box_new(&p->w->model, name, p->number, false);
}

static void resume(struct peer_mqtt *p)
{
    p->box->resumes++;
    for (uint32_t i = 0; i < p->tx_n; i++) {
        if (p->tx[i].is_released) {
            peer_mqtt_put_ack(p, MQTT_PUBREL, p->tx[i].id);
        } else {
            model_pub_again(&p->w->model, p->tx[i].pub);
            peer_mqtt_put_publish(p, &p->tx[i], true);
        }
    }
}

static void on_connack(struct peer_mqtt *p, const struct mqtt_frame *f)
{
    struct mqtt_connack c;
    struct world *w = p->w;
    if (p->state != MQTT_PEER_CONNECTING || mqtt_connack_decode(f, p->v, &c) != ERR_OK) {
        world_fail(w, "%s: a CONNACK that is wrong or was not asked for", p->id);
        return;
    }
    world_trace(w, "%s < CONNACK code %02x present %d", p->id, c.code, c.session_present);
    if (c.code != 0) {
        if (!w->plan.only_safety)
            world_fail(w, "%s: refused with %02x", p->id, c.code);
        return;
    }
    p->state = MQTT_PEER_ON;
    p->must_clean = false;
    if (p->v == MQTT_V31) /* which has no such flag: the peer can only believe */
        c.session_present = !p->asked_clean && (p->box || p->may_exist);
    if (w->plan.has_shared && p->v == MQTT_V5 && (c.props.has & MQTT_HAS(ALIAS_MAX)))
        p->alias_out_max = MIN(c.props.alias_max, (uint32_t)MQTT_PEER_ALIASES);
    p->broker_max = p->v == MQTT_V5 && (c.props.has & MQTT_HAS(RECEIVE_MAX)) ? c.props.receive_max : 65535;
    if (p->v == MQTT_V5 && (c.props.has & MQTT_HAS(SERVER_KEEPALIVE)))
        p->keepalive_s = c.props.server_keepalive_s;
    if (!p->has_early)
        model_pub_settled(&w->model, p->number); /* what an older connection sent is taken in by now, or never */
    if (c.session_present) {
        judge_presence(p);
        if (p->box == NULL)
            new_box(p); /* of a CONNECT whose answer was lost */
        resume(p);
    } else {
        judge_absence(p);
        model_session_gone(&w->model, p->number);
        p->rx_n = 0;
        if (!p->asked_clean)
            p->tx_n = 0; /* else they were sent behind this very CONNECT */
        new_box(p);
    }
    p->may_exist = false;
    p->prev_expiry_s = p->expiry_s;
    if (p->keepalive_s)
        peer_mqtt_plan_tick(p, 1);
    peer_mqtt_send(p);
}

/* ---- deliveries ---------------------------------------------------------------------------------------------------
 */

static struct mqtt_rx *find_rx(struct peer_mqtt *p, uint16_t id)
{
    for (uint32_t i = 0; i < p->rx_n; i++)
        if (p->rx[i].id == id)
            return &p->rx[i];
    return NULL;
}

static void answer(struct peer_mqtt *p, enum mqtt_type type, uint16_t id)
{
    p->say = model_grow(&p->w->mem, p->say, &p->say_cap, p->say_n + 1, sizeof(*p->say));
    p->say[p->say_n++] = (struct mqtt_say){.type = (uint8_t)type, .id = id};
    if (!p->is_saying && p->state == MQTT_PEER_ON)
        peer_mqtt_plan_tick(p, 1 + roll(p->w, 300));
}

static void check_quota(struct peer_mqtt *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->rx_n; i++)
        n += p->rx[i].is_here;
    if (n > p->receive_max)
        world_fail(p->w, "%s: %u deliveries in flight, %u are allowed", p->id, n, p->receive_max);
}

/* take_in: bookkeeping of packet ids. False if this very delivery was taken in before. */
static bool take_in(struct peer_mqtt *p, const struct mqtt_publish *m)
{
    struct mqtt_rx *rx = find_rx(p, m->packet_id);
    if (rx) {
        bool is_again = rx->qos == 2 && m->qos == 2 && m->dup && !rx->is_here && !rx->is_released;
        if (!is_again)
            world_fail(p->w, "%s: packet id %u of an open delivery was used again", p->id, m->packet_id);
        rx->is_here = true;
        check_quota(p);
        return false;
    }
    p->rx = model_grow(&p->w->mem, p->rx, &p->rx_cap, p->rx_n + 1, sizeof(*p->rx));
    p->rx[p->rx_n++] = (struct mqtt_rx){.id = m->packet_id, .qos = m->qos, .is_here = true};
    check_quota(p);
    return true;
}

/* read_sub_ids: into id[max]; they come sorted; several subscriptions may have the same (MQTT 5 §3.3.4). */
static uint32_t read_sub_ids(struct peer_mqtt *p, const struct mqtt_props *props, uint32_t *id, uint32_t max)
{
    struct slice rest = props->block;
    struct mqtt_prop_item item;
    uint32_t n = 0;
    while (mqtt_props_next(&rest, &item) > 0) {
        if (item.id != MQTT_PROP_SUB_ID)
            continue;
        if (n == max || (n > 0 && id[n - 1] > item.num))
            world_fail(p->w, "%s: a delivery with too many Subscription Identifiers, or unsorted ones", p->id);
        else
            id[n++] = item.num;
    }
    return n;
}

/* read_tag: the one User Property that our publishers use; empty when there is none. */
static struct slice read_tag(const struct mqtt_props *props)
{
    struct slice rest = props->block, tag = {0};
    struct mqtt_prop_item item;
    while (mqtt_props_next(&rest, &item) > 0)
        if (item.id == MQTT_PROP_USER && slice_eq_str(item.name, "tag"))
            tag = item.value;
    return tag;
}

/* on_message: one that was not taken in before. */
static void on_message(struct peer_mqtt *p, const struct mqtt_publish *m, const struct mqtt_props *props, uint32_t pub)
{
    struct world *w = p->w;
    uint32_t id[16];
    struct got got = {.pub = pub, .qos = m->qos, .retain = m->retain, .dup = m->dup, .sub_id = id};
    got.sub_id_n = read_sub_ids(p, props, id, ARRAY_N(id));
    if (!w->plan.has_shared || !peer_mqtt_shared_got(p, &got, m->topic, m->qos ? find_rx(p, m->packet_id) : NULL))
        model_got(&w->model, p->box, &got, m->topic);
    if (p->v == MQTT_V5)
        model_check_tag(&w->model, pub, read_tag(props));
    if ((props->has & MQTT_HAS(MESSAGE_EXPIRY)) && !w->model.pub[pub].may_expire)
        world_fail(w, "%s: message %u came with an expiry that it did not have", p->id, pub);
}

static void on_publish(struct peer_mqtt *p, const struct mqtt_frame *f)
{
    struct mqtt_publish m;
    struct world *w = p->w;
    struct mqtt_props props;
    mqtt_props_clear(&props);
    if (mqtt_publish_decode(f, p->v, &m) != ERR_OK) {
        world_fail(w, "%s: a PUBLISH that cannot be read", p->id);
        return;
    }
    if (m.props.len && mqtt_props_collect(m.props, MQTT_PUBLISH, &props) != ERR_OK)
        world_fail(w, "%s: a PUBLISH with wrong properties", p->id);
    if (props.has & MQTT_HAS(ALIAS))
        m.topic = peer_mqtt_resolve(p, m.topic, props.alias);
    if (!mqtt_topic_name_is_valid(m.topic))
        world_fail(w, "%s: a PUBLISH to '" SLICE_FMT "'", p->id, SLICE_ARG(m.topic));
    bool is_new = m.qos == 0 || take_in(p, &m);
    uint32_t pub = m.payload.len ? model_pub_from_payload(&w->model, m.payload) : MODEL_NONE;
    world_trace(w, "%s < PUBLISH #%d " SLICE_FMT " q%u id %u%s%s%s", p->id, (int)pub, SLICE_ARG(m.topic), m.qos,
                m.packet_id, m.dup ? " dup" : "", m.retain ? " retain" : "", is_new ? "" : " again");
    if (is_new && pub != MODEL_NONE)
        on_message(p, &m, &props, pub);
    if (m.qos == 0 && m.dup)
        world_fail(w, "%s: DUP at QoS 0 [MQTT-3.3.1-2]", p->id);
    if (m.qos)
        answer(p, m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m.packet_id);
}

static void on_pubrel(struct peer_mqtt *p, const struct mqtt_ack *a)
{
    struct mqtt_rx *rx = find_rx(p, a->packet_id);
    world_trace(p->w, "%s < PUBREL %u", p->id, a->packet_id);
    if (rx && rx->qos != 2)
        world_fail(p->w, "%s: PUBREL for a QoS 1 delivery", p->id);
    if (rx == NULL && p->box->resumes == 0)
        world_fail(p->w, "%s: PUBREL for packet id %u, which is not open", p->id, a->packet_id);
    if (rx) {
        rx->is_released = true;
        peer_mqtt_shared_rel(p, rx);
    }
    answer(p, MQTT_PUBCOMP, a->packet_id);
}

/* ---- answers to our publishes -------------------------------------------------------------------------------------
 */

static void drop_tx(struct peer_mqtt *p, uint32_t i)
{
    memmove(&p->tx[i], &p->tx[i + 1], (p->tx_n - i - 1) * sizeof(*p->tx));
    p->tx_n--;
}

/* check_turn: tx[i] is answered; none before it of the same kind may still wait. */
static void check_turn(struct peer_mqtt *p, uint32_t i, const char *what)
{
    for (uint32_t k = 0; k < i; k++)
        if (p->tx[k].is_released == p->tx[i].is_released)
            world_fail(p->w, "%s: %s for #%u came before that of #%u", p->id, what, p->tx[i].pub, p->tx[k].pub);
}

static void on_ack(struct peer_mqtt *p, const struct mqtt_ack *a)
{
    struct model *m = &p->w->model;
    const char *name = mqtt_type_name(a->type);
    uint32_t i = 0;
    while (i < p->tx_n && p->tx[i].id != a->packet_id)
        i++;
    world_trace(p->w, "%s < %s %u code %02x", p->id, name, a->packet_id, a->code);
    struct mqtt_tx *tx = i < p->tx_n ? &p->tx[i] : NULL;
    bool fits = tx && (a->type == MQTT_PUBACK   ? tx->qos == 1
                       : a->type == MQTT_PUBREC ? tx->qos == 2 && !tx->is_released
                                                : tx->qos == 2 && tx->is_released);
    if (!fits) {
        world_fail(p->w, "%s: %s %u answers nothing", p->id, name, a->packet_id);
        return;
    }
    check_turn(p, i, name);
    if (a->type == MQTT_PUBCOMP) {
        drop_tx(p, i);
        return;
    }
    if (a->code >= 0x80) {
        model_pub_refused(m, tx->pub);
        drop_tx(p, i);
        return;
    }
    model_pub_acked(m, tx->pub);
    if (a->code == MQTT_RC_NO_MATCH && m->pub[tx->pub].attempts == 1)
        model_pub_no_match(m, tx->pub);
    if (a->type == MQTT_PUBACK) {
        drop_tx(p, i);
        return;
    }
    tx->is_released = true;
    peer_mqtt_put_ack(p, MQTT_PUBREL, tx->id);
    peer_mqtt_send(p);
}

/* ---- SUBACK, UNSUBACK ---------------------------------------------------------------------------------------------
 */

static void on_suback(struct peer_mqtt *p, const struct mqtt_frame *f)
{
    struct mqtt_suback s;
    struct world *w = p->w;
    bool is_unsub = f->type == MQTT_UNSUBACK;
    enum err e = is_unsub ? mqtt_unsuback_decode(f, p->v, &s) : mqtt_suback_decode(f, p->v, &s);
    if (e != ERR_OK || p->ask_n == 0 || p->ask[0].id != s.packet_id || p->ask[0].is_unsubscribe != is_unsub) {
        world_fail(w, "%s: %s that is wrong, not asked for or out of turn", p->id, mqtt_type_name(f->type));
        return;
    }
    const struct mqtt_ask *a = &p->ask[0];
    world_trace(w, "%s < %s %u", p->id, mqtt_type_name(f->type), s.packet_id);
    if (s.codes.len != a->n && !(is_unsub && p->v != MQTT_V5))
        world_fail(w, "%s: %s with %zu codes for %u filters", p->id, mqtt_type_name(f->type), s.codes.len, a->n);
    if (a->place)
        peer_mqtt_shared_answer(p, a, &s);
    for (uint32_t i = 0; i < a->n && !a->place; i++) {
        uint8_t code = i < s.codes.len ? s.codes.p[i] : 0;
        if (is_unsub && w->plan.only_safety && (code >= 0x80 || p->v != MQTT_V5))
            continue; /* refused, or perhaps so: the subscription stays */
        if (is_unsub)
            model_sub_gone(&w->model, p->box, a->filter[i]);
        else if (code == p->box->sub[a->sub[i]].qos)
            model_sub_granted(&w->model, p->box, a->sub[i]);
        else if (!w->plan.only_safety)
            world_fail(w, "%s: %s was granted %02x, QoS %u was asked for", p->id, a->filter[i], code,
                       p->box->sub[a->sub[i]].qos);
    }
    memmove(&p->ask[0], &p->ask[1], (p->ask_n - 1) * sizeof(*p->ask));
    p->ask_n--;
}

/* ---- everything ---------------------------------------------------------------------------------------------------
 */

static void on_disconnect(struct peer_mqtt *p, const struct mqtt_frame *f)
{
    struct mqtt_closing d;
    if (p->v != MQTT_V5 || mqtt_disconnect_decode(f, p->v, &d) != ERR_OK) {
        world_fail(p->w, "%s: a DISCONNECT that is wrong", p->id);
        return;
    }
    world_trace(p->w, "%s < DISCONNECT %02x", p->id, d.code);
    bool is_fair = d.code == MQTT_RC_SHUTDOWN || (d.code == MQTT_RC_KEEPALIVE && p->state == MQTT_PEER_SILENT) ||
                   p->w->plan.only_safety;
    if (!is_fair)
        world_fail(p->w, "%s: the broker disconnects with %02x", p->id, d.code);
}

static void on_packet(struct peer_mqtt *p, const struct mqtt_frame *f)
{
    struct mqtt_ack a;
    bool is_first = p->state == MQTT_PEER_CONNECTING;
    if (is_first != (f->type == MQTT_CONNACK) && !(is_first && f->type == MQTT_DISCONNECT && p->w->plan.only_safety)) {
        world_fail(p->w, "%s: %s in the wrong place", p->id, mqtt_type_name(f->type)); /* [MQTT-3.2.0-1] */
        return;
    }
    switch (f->type) {
    case MQTT_CONNACK:
        on_connack(p, f);
        break;
    case MQTT_PUBLISH:
        on_publish(p, f);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        if (mqtt_ack_decode(f, p->v, &a) != ERR_OK)
            world_fail(p->w, "%s: a broken %s", p->id, mqtt_type_name(f->type));
        else if (f->type == MQTT_PUBREL)
            on_pubrel(p, &a);
        else
            on_ack(p, &a);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        on_suback(p, f);
        break;
    case MQTT_PINGRESP:
        peer_mqtt_pong(p);
        break;
    case MQTT_DISCONNECT:
        on_disconnect(p, f);
        break;
    default:
        world_fail(p->w, "%s: a server does not send %s", p->id, mqtt_type_name(f->type));
    }
}

static size_t on_bytes(struct link *l, const uint8_t *in, size_t len)
{
    struct peer_mqtt *p = CONTAINER_OF(l, struct peer_mqtt, link);
    size_t eaten = 0;
    struct mqtt_frame f;
    while (l->t && p->w->model.why[0] == 0) {
        ptrdiff_t n = mqtt_frame_peek(in + eaten, len - eaten, MQTT_PACKET_BYTES_MAX, &f);
        if (n < 0)
            world_fail(p->w, "%s: the broker sent bytes that are no packet", p->id);
        if (n <= 0)
            break;
        if (f.type != MQTT_PINGRESP)
            world_busy(p->w);
        on_packet(p, &f);
        eaten += (size_t)n;
    }
    if (p->is_saying && p->state == MQTT_PEER_ON)
        peer_mqtt_say_all(p);
    return eaten;
}

static void on_end(struct link *l, enum err why)
{
    struct peer_mqtt *p = CONTAINER_OF(l, struct peer_mqtt, link);
    world_trace(p->w, "%s < %s", p->id, err_name(why));
    bool was_heard = p->state == MQTT_PEER_LEAVING && why == ERR_EOF && !p->w->plan.only_safety;
    if (was_heard && p->will != MODEL_NONE)
        model_pub_never(&p->w->model, p->will); /* [MQTT-3.1.2-10] a normal goodbye: no will */
    peer_mqtt_is_off(p, false, was_heard);
}

const struct link_ops peer_mqtt_link_ops = {.on_bytes = on_bytes, .on_end = on_end};
