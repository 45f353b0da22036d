/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_mqtt.c: what a simulated MQTT peer does.
 *
 *     OFF ─ CONNECT ─► CONNECTING ─ CONNACK ─► ON ─ DISCONNECT ─► LEAVING ─ EOF ─► OFF
 *                                              ├─ nothing more ─► SILENT ─ the broker's patience ends ─► OFF
 *                                              └─ reset, cut, half a packet, a second connection ─► OFF or CONNECTING
 *
 * Invariants
 *   1. tx holds the publishes of QoS 1 and 2 that are not answered, in the order of their first sending; after a resume
 * they are sent again in that order, before anything new [MQTT-4.4.0-1, MQTT-4.6.0-1].
 *   2. The answers to deliveries leave in the order of the deliveries [MQTT-4.6.0-2].
 *   3. After a clean CONNECT that was not answered the next one is clean too: nobody knows whether the old session
 * lives.
 */
#include "tests/sim/peer_mqtt.h"

#include <stdio.h>

enum { ASK_ROOM = 64 + MQTT_ASK_MAX * MODEL_NAME };

uint8_t *peer_mqtt_room(struct peer_mqtt *p, size_t n)
{
    uint8_t *room = buf_room(&p->link.out, n);
    BUG_ON(room == NULL);
    return room;
}

static void wrote(struct peer_mqtt *p, ptrdiff_t n)
{
    BUG_ON(n <= 0);
    buf_wrote(&p->link.out, (size_t)n);
}

void peer_mqtt_send(struct peer_mqtt *p)
{
    if (p->link.out.len == 0)
        return; /* an act that came to nothing is no sign of life */
    p->said_at = p->w->loop->now;
    world_busy(p->w);
    link_flush(&p->link);
}

void peer_mqtt_plan_tick(struct peer_mqtt *p, mono_ms in_ms)
{
    mono_ms due = p->w->loop->now + in_ms;
    if (!sim_is_planned(&p->tick) || p->tick.due > due)
        sim_plan(p->w->loop, &p->tick, due);
}

static void publish(struct peer_mqtt *p);

/* ---- CONNECT and the end of a connection --------------------------------------------------------------------------
 */

/* choose_will: a message that is published if we end badly. */
static void choose_will(struct peer_mqtt *p, struct mqtt_connect *c)
{
    struct world *w = p->w;
    p->will = MODEL_NONE;
    if (w->is_draining || !chance(w, 30))
        return;
    struct pub will = {.from = 1000 + p->number, .session = p->number, .is_will = true};
    snprintf(will.to, sizeof(will.to), "%s", world_topics[roll(w, world_topics_n)]);
    will.qos = (uint8_t)roll(w, 3);
    will.retain = chance(w, 20);
    p->will = world_pub(w, &will);
    p->will_delay_s = p->v == MQTT_V5 && chance(w, 30) ? roll(w, 20) : 0;
    c->has_will = true;
    c->will_qos = will.qos;
    c->will_retain = will.retain;
    c->will_topic = slice_from_str(w->model.pub[p->will].to);
    if (p->will_delay_s) {
        c->will_props.has = MQTT_HAS(WILL_DELAY);
        c->will_props.will_delay_s = p->will_delay_s;
    }
}

/* forget_session: it is over, or so uncertain that the next CONNECT makes it so. */
static void forget_session(struct peer_mqtt *p)
{
    if (p->box)
        p->box->is_ended = true;
    p->box = NULL;
    p->tx_n = p->rx_n = 0;
}

static void choose_session(struct peer_mqtt *p, struct mqtt_connect *c)
{
    struct world *w = p->w;
    bool is_calm = w->is_draining;
    c->clean = p->must_clean || (!is_calm && chance(w, 20));
    uint32_t shortest_s =
        2 + w->plan.faults.delay_ms_max / 250; /* a keep-alive below the network's delay cannot be kept */
    p->keepalive_s = (uint16_t)(!is_calm && chance(w, 60) ? shortest_s + roll(w, 40) : 0);
    p->receive_max = 65535;
    p->alias_in_max = p->alias_out_max = 0;
    if (p->v != MQTT_V5) {
        p->expiry_s = c->clean ? 0 : UINT32_MAX;
    } else {
        p->expiry_s = chance(w, 20) ? 0 : chance(w, 30) ? 2 + roll(w, 60) : UINT32_MAX;
        c->props.has |= MQTT_HAS(SESSION_EXPIRY);
        c->props.session_expiry_s = p->expiry_s;
        if (!is_calm && chance(w, 50)) {
            p->receive_max = 1 + roll(w, 20);
            c->props.has |= MQTT_HAS(RECEIVE_MAX);
            c->props.receive_max = (uint16_t)p->receive_max;
        }
        if (w->plan.has_shared && chance(w, 60)) {
            p->alias_in_max = 1 + roll(w, MQTT_PEER_ALIASES);
            c->props.has |= MQTT_HAS(ALIAS_MAX);
            c->props.alias_max = (uint16_t)p->alias_in_max;
        }
    }
    p->receive_max = (uint32_t)MIN(p->receive_max, w->plan.limits.inflight_max);
    c->keepalive_s = p->keepalive_s;
    p->asked_clean = c->clean;
    if (c->clean)
        forget_session(p); /* it ends at the broker's leisure */
}

static void connect_now(struct peer_mqtt *p)
{
    struct mqtt_connect c = {.version = (uint8_t)p->v, .level = (uint8_t)p->v};
    uint8_t will[8192];
    mqtt_props_clear(&c.props);
    mqtt_props_clear(&c.will_props);
    c.client_id = slice_from_str(p->id);
    choose_session(p, &c);
    choose_will(p, &c);
    if (c.has_will) {
        BUG_ON(p->w->model.pub[p->will].bytes > sizeof(will));
        model_payload(&p->w->model, p->will, will);
        c.will_payload = slice_make(will, p->w->model.pub[p->will].bytes);
    }
    link_open(&p->link);
    p->state = MQTT_PEER_CONNECTING;
    p->is_saying = chance(p->w, 60) || p->w->is_draining;
    size_t room = 200 + MODEL_NAME + sizeof(will);
    wrote(p, mqtt_connect_encode(&c, peer_mqtt_room(p, room), room));
    world_trace(p->w, "%s CONNECT link %u clean %d expiry %u keepalive %u receive-max %u will %d", p->id,
                p->link.number, c.clean, p->expiry_s, p->keepalive_s, p->receive_max, c.has_will ? (int)p->will : -1);
    /* Not waiting for CONNACK (MQTT 5 §3.1.4): a new session has no ids in use. */
    uint32_t early = c.clean && !p->w->is_draining && chance(p->w, 20) ? roll(p->w, 4) : 0;
    p->has_early = early != 0;
    while (early-- > 0)
        publish(p);
    peer_mqtt_send(p);
}

static void settle_will(struct peer_mqtt *p, bool was_on)
{
    if (p->will == MODEL_NONE || !was_on || p->will_delay_s != 0)
        return;
    struct pub *will = &p->w->model.pub[p->will]; /* promised, at some time from now on */
    if (will->fate == PUB_OPEN)
        will->fate = PUB_ACKED;
}

/* judge_session: does our session live on? Where the broker may or may not have read our last wish, only a clean start
 * helps. */
static void judge_session(struct peer_mqtt *p, bool was_heard)
{
    if (p->state == MQTT_PEER_CONNECTING)
        p->must_clean |= p->asked_clean || p->expiry_s == 0 || (p->box && p->expiry_s != p->prev_expiry_s);
    if (p->state == MQTT_PEER_CONNECTING)
        p->may_exist = true;
    else if (p->state == MQTT_PEER_LEAVING && p->has_new_expiry && !was_heard)
        p->must_clean = true;
    else
        p->prev_expiry_s = p->expiry_s;
    if (p->state != MQTT_PEER_CONNECTING)
        p->ended_at = p->w->loop->now;
    if (p->must_clean || p->expiry_s == 0)
        forget_session(p);
}

void peer_mqtt_is_off(struct peer_mqtt *p, bool by_us, bool was_heard)
{
    settle_will(p, p->state == MQTT_PEER_ON || p->state == MQTT_PEER_SILENT);
    judge_session(p, was_heard);
    p->will = MODEL_NONE;
    p->state = MQTT_PEER_OFF;
    p->gone_at = p->w->loop->now;
    p->ended_by_us = by_us;
    p->has_new_expiry = false;
    p->say_n = p->ask_n = 0;
    peer_mqtt_shared_off(p);
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->rx_n; i++)
        if (p->rx[i].qos == 2) { /* QoS 1 is forgotten: it comes again */
            p->rx[n] = p->rx[i];
            p->rx[n++].is_here = false;
        }
    p->rx_n = n;
    sim_cancel(p->w->loop, &p->tick);
}

/* leave_badly: the peer ends the connection without a word. */
static void leave_badly(struct peer_mqtt *p)
{
    world_trace(p->w, "%s leaves link %u badly", p->id, p->link.number);
    /* A CONNECT still on its way must not arrive behind the next one. */
    switch (p->state == MQTT_PEER_CONNECTING ? 0 : roll(p->w, 4)) {
    case 0:
        link_reset(&p->link, NET_LOSE);
        break;
    case 1:
        link_reset(&p->link, NET_KEEP);
        break;
    case 2:
        link_close(&p->link);
        break;
    default:
        link_abandon(&p->link);
    }
    peer_mqtt_is_off(p, true, false);
}

static void say_goodbye(struct peer_mqtt *p)
{
    struct mqtt_closing d = {.code = MQTT_RC_NORMAL};
    mqtt_props_clear(&d.props);
    if (p->v == MQTT_V5 && chance(p->w, 20)) {
        d.code = MQTT_RC_CLOSE_WITH_WILL;
        settle_will(p, true);
        p->will = MODEL_NONE;
    }
    if (p->v == MQTT_V5 && p->expiry_s != 0 && chance(p->w, 20)) {
        d.props.has = MQTT_HAS(SESSION_EXPIRY);
        d.props.session_expiry_s = p->expiry_s = chance(p->w, 50) ? 0 : 1 + roll(p->w, 100);
        p->has_new_expiry = true;
    }
    world_trace(p->w, "%s DISCONNECT %02x expiry %u", p->id, d.code, p->expiry_s);
    wrote(p, mqtt_disconnect_encode(&d, p->v, peer_mqtt_room(p, 32), 32));
    p->state = MQTT_PEER_LEAVING;
    sim_plan(p->w->loop, &p->tick, p->w->loop->now + 60000);
    peer_mqtt_send(p);
}

/* ---- PUBLISH and answers ------------------------------------------------------------------------------------------
 */

static bool id_is_used(const struct peer_mqtt *p, uint16_t id)
{
    for (uint32_t i = 0; i < p->tx_n; i++)
        if (p->tx[i].id == id)
            return true;
    for (uint32_t i = 0; i < p->ask_n; i++)
        if (p->ask[i].id == id)
            return true;
    return id == 0;
}

static uint16_t free_id(struct peer_mqtt *p)
{
    while (id_is_used(p, p->id_next))
        p->id_next++;
    return p->id_next++;
}

/* put_props: a tag, so that there is something to carry on. */
static struct slice put_props(const struct pub *pub, uint32_t number, uint8_t *block, size_t cap)
{
    struct mqtt_props_writer props = {.p = block, .cap = cap};
    char tag[MODEL_TAG];
    if (!pub->has_tag)
        return (struct slice){0};
    model_tag(number, tag);
    mqtt_props_put_slice(&props, MQTT_PROP_CONTENT_TYPE, SLICE("text/plain"));
    mqtt_props_put_user(&props, SLICE("tag"), slice_from_str(tag));
    return slice_make(block, props.len);
}

void peer_mqtt_put_publish(struct peer_mqtt *p, const struct mqtt_tx *tx, bool dup)
{
    const struct pub *pub = &p->w->model.pub[tx->pub];
    struct mqtt_publish m = {.packet_id = tx->id,
                             .qos = tx->qos,
                             .dup = dup,
                             .retain = pub->retain,
                             .payload = slice_make(NULL, pub->bytes)};
    struct mqtt_publish_extra extra = {.has_expiry = pub->may_expire, .expiry_s = 1 + tx->pub % 5};
    uint8_t block[64];
    char topic[MODEL_NAME + 32];
    bool is_known = false;
    peer_mqtt_wire_topic(p, pub, topic, sizeof(topic));
    m.topic = slice_from_str(topic);
    m.props = put_props(pub, tx->pub, block, sizeof(block));
    extra.alias = peer_mqtt_alias(p, topic, &is_known);
    if (is_known)
        m.topic.len = 0;
    const struct mqtt_publish_extra *x = p->v == MQTT_V5 && (pub->may_expire || extra.alias) ? &extra : NULL;
    uint8_t *room = peer_mqtt_room(p, mqtt_publish_head_max(&m, x) + pub->bytes);
    size_t head = mqtt_publish_head(room, &m, x, p->v);
    BUG_ON(head == 0);
    if (pub->bytes)
        model_payload(&p->w->model, tx->pub, room + head);
    wrote(p, (ptrdiff_t)(head + pub->bytes));
    world_trace(p->w, "%s PUBLISH #%u %s q%u id %u%s%s%s%s alias %u%s", p->id, tx->pub, topic, tx->qos, tx->id,
                dup ? " dup" : "", pub->retain ? " retain" : "", pub->is_clear ? " clear" : "",
                pub->may_expire ? " expires" : "", extra.alias, is_known ? " alone" : "");
}

static struct mqtt_tx new_publish(struct peer_mqtt *p)
{
    struct world *w = p->w;
    struct pub pub = {.from = p->number, .session = p->number, .qos = (uint8_t)roll(w, 3)};
    snprintf(pub.to, sizeof(pub.to), "%s", world_topics[roll(w, world_topics_n)]);
    pub.retain = chance(w, 15);
    pub.is_clear = pub.retain && chance(w, 15);
    pub.may_expire = p->v == MQTT_V5 && chance(w, 5);
    pub.has_tag = p->v == MQTT_V5 && chance(w, 30);
    if (p->tx_n >= MIN(w->plan.rx_window, p->broker_max))
        pub.qos = 0;
    if (w->plan.has_shared)
        peer_mqtt_choose_place(p, &pub);
    struct mqtt_tx tx = {.qos = pub.qos};
    tx.pub = world_pub(w, &pub);
    tx.id = tx.qos ? free_id(p) : 0;
    return tx;
}

static void publish(struct peer_mqtt *p)
{
    if (p->link.out.len > 200000)
        return; /* it is not being read */
    struct mqtt_tx tx = new_publish(p);
    peer_mqtt_put_publish(p, &tx, false);
    if (tx.qos) {
        p->tx = model_grow(&p->w->mem, p->tx, &p->tx_cap, p->tx_n + 1, sizeof(*p->tx));
        p->tx[p->tx_n++] = tx;
    }
}

/* half_a_packet: the first bytes of a message that will never be whole. */
static void half_a_packet(struct peer_mqtt *p)
{
    peer_mqtt_send(p);
    size_t before = p->link.out.len;
    struct mqtt_tx tx = new_publish(p);
    peer_mqtt_put_publish(p, &tx, false);
    p->link.out.len = before + roll(p->w, (uint32_t)(p->link.out.len - before));
    model_pub_never(&p->w->model, tx.pub);
    peer_mqtt_send(p);
    leave_badly(p);
}

void peer_mqtt_put_ack(struct peer_mqtt *p, enum mqtt_type type, uint16_t id)
{
    world_trace(p->w, "%s %s %u", p->id, mqtt_type_name(type), id);
    mqtt_ack_put(peer_mqtt_room(p, MQTT_ACK_BYTES), type, id);
    wrote(p, MQTT_ACK_BYTES);
}

void peer_mqtt_say_all(struct peer_mqtt *p)
{
    for (uint32_t i = 0; i < p->say_n; i++) {
        peer_mqtt_put_ack(p, p->say[i].type, p->say[i].id);
        for (uint32_t k = 0; k < p->rx_n; k++)
            if (p->rx[k].id == p->say[i].id) {
                if (p->say[i].type != MQTT_PUBCOMP)
                    peer_mqtt_shared_said(p, &p->rx[k]);
                if (p->say[i].type == MQTT_PUBREC)
                    break;
                memmove(&p->rx[k], &p->rx[k + 1], (p->rx_n - k - 1) * sizeof(*p->rx));
                p->rx_n--;
                break;
            }
    }
    if (p->say_n)
        peer_mqtt_send(p);
    p->say_n = 0;
}

/* ---- SUBSCRIBE ----------------------------------------------------------------------------------------------------
 */

static const char *some_filter(struct world *w)
{
    return chance(w, 25) ? world_topics[roll(w, world_topics_n)]
                         : world_filters[roll(w, world_filters_n - world_filters_inner_n)];
}

static bool has_filter(const struct mqtt_ask *a, const char *filter)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (strcmp(a->filter[i], filter) == 0)
            return true;
    return false;
}

struct mqtt_ask *peer_mqtt_new_ask(struct peer_mqtt *p, bool is_unsubscribe)
{
    p->ask = model_grow(&p->w->mem, p->ask, &p->ask_cap, p->ask_n + 1, sizeof(*p->ask));
    struct mqtt_ask *a = &p->ask[p->ask_n];
    *a = (struct mqtt_ask){.id = free_id(p), .is_unsubscribe = is_unsubscribe};
    p->ask_n++;
    return a;
}

static struct mqtt_ask *new_ask(struct peer_mqtt *p, bool is_unsubscribe)
{
    struct mqtt_ask *a = peer_mqtt_new_ask(p, is_unsubscribe);
    uint32_t want = 1 + roll(p->w, MQTT_ASK_MAX);
    while (a->n < want) {
        const char *filter = some_filter(p->w);
        if (has_filter(a, filter))
            break;
        snprintf(a->filter[a->n++], MODEL_NAME, "%s", filter);
    }
    return a;
}

static void subscribe(struct peer_mqtt *p)
{
    struct world *w = p->w;
    struct mqtt_ask *a = new_ask(p, false);
    struct mqtt_sub_item item[MQTT_ASK_MAX];
    struct mqtt_subscribe m = {.packet_id = a->id};
    mqtt_props_clear(&m.props);
    if (p->v == MQTT_V5 && chance(w, 30)) {
        m.props.has = MQTT_HAS(SUB_ID);
        m.props.sub_id = 1 + roll(w, 5);
        m.props.sub_id_n = 1;
    }
    for (uint32_t i = 0; i < a->n; i++) {
        struct sub s = {.qos = (uint8_t)roll(w, 3), .id = m.props.has ? m.props.sub_id : 0};
        snprintf(s.filter, sizeof(s.filter), "%s", a->filter[i]);
        item[i] = (struct mqtt_sub_item){.filter = slice_from_str(a->filter[i]), .qos = s.qos};
        if (p->v == MQTT_V5) {
            item[i].no_local = s.no_local = chance(w, 20);
            item[i].retain_as_published = s.retain_as_published = chance(w, 20);
            item[i].retain_handling = (uint8_t)roll(w, 3);
        }
        a->sub[i] = model_sub_ask(&w->model, p->box, &s);
        world_trace(w, "%s SUBSCRIBE %s q%u nl %d rap %d rh %u id %u", p->id, s.filter, s.qos, s.no_local,
                    s.retain_as_published, item[i].retain_handling, s.id);
    }
    wrote(p, mqtt_subscribe_encode(&m, item, a->n, p->v, peer_mqtt_room(p, ASK_ROOM), ASK_ROOM));
}

static void unsubscribe(struct peer_mqtt *p)
{
    struct mqtt_ask *a = new_ask(p, true);
    struct slice filter[MQTT_ASK_MAX];
    for (uint32_t i = 0; i < a->n; i++) {
        filter[i] = slice_from_str(a->filter[i]);
        model_sub_drop(&p->w->model, p->box, a->filter[i]);
        world_trace(p->w, "%s UNSUBSCRIBE %s", p->id, a->filter[i]);
    }
    struct mqtt_subscribe s = {.packet_id = a->id};
    mqtt_props_clear(&s.props);
    wrote(p, mqtt_unsubscribe_encode(&s, filter, a->n, p->v, peer_mqtt_room(p, ASK_ROOM), ASK_ROOM));
}

/* ---- the peer's own clock -----------------------------------------------------------------------------------------
 */

void peer_mqtt_ping(struct peer_mqtt *p)
{
    p->pings_sent++;
    mqtt_ping_put(peer_mqtt_room(p, MQTT_PING_BYTES), MQTT_PINGREQ);
    wrote(p, MQTT_PING_BYTES);
    p->said_at = p->w->loop->now;
    link_flush(&p->link);
}

static void on_tick(struct sim_event *ev)
{
    struct peer_mqtt *p = CONTAINER_OF(ev, struct peer_mqtt, tick);
    mono_ms now = p->w->loop->now, keepalive = (mono_ms)p->keepalive_s * 1000;
    if (p->state == MQTT_PEER_SILENT) { /* a paused link may not have heard the end yet */
        if (p->link.out.len)
            p->silent_at = now;                       /* what was said before is still on its way */
        p->silent_at = MAX(p->silent_at, p->said_at); /* a PUBREL, for a PUBREC that came late */
        if (now - p->silent_at > 2 * keepalive + 5000 && !p->link.is_paused)
            world_fail(p->w, "%s has been silent for %u ms, keep-alive is %u s, and is still connected", p->id,
                       (unsigned)(now - p->silent_at), p->keepalive_s);
        peer_mqtt_plan_tick(p, 1000);
        return;
    }
    if (p->state == MQTT_PEER_LEAVING && !p->link.is_paused)
        world_fail(p->w, "%s sent DISCONNECT, but is still connected", p->id);
    if (p->state != MQTT_PEER_ON)
        return;
    peer_mqtt_say_all(p);
    if (keepalive == 0)
        return;
    if (now - p->said_at >= keepalive / 2)
        peer_mqtt_ping(p);
    peer_mqtt_plan_tick(p, MAX(keepalive / 2 - (now - p->said_at), 1));
}

/* ---- acts ---------------------------------------------------------------------------------------------------------
 */

static void act_odd(struct peer_mqtt *p)
{
    struct world *w = p->w;
    switch (roll(w, 8)) {
    case 0:
        say_goodbye(p);
        break;
    case 1:
        leave_badly(p);
        break;
    case 2:
        half_a_packet(p);
        break;
    case 3: /* take-over: the old connection is left as it is */
        world_trace(w, "%s connects a second time", p->id);
        link_abandon(&p->link);
        peer_mqtt_is_off(p, true, false);
        connect_now(p);
        break;
    case 4:
        world_trace(w, "%s link %u is cut", p->id, p->link.number);
        net_sim_cut(p->link.t, chance(w, 50) ? NET_LOSE : NET_KEEP);
        break;
    case 5:
        if (p->keepalive_s != 0) {
            world_trace(w, "%s falls silent", p->id);
            p->state = MQTT_PEER_SILENT;
            p->silent_at = w->loop->now;
            peer_mqtt_plan_tick(p, 1000);
        }
        break;
    default:
        link_pause(&p->link, roll(w, 3000));
    }
}

void peer_mqtt_act(struct peer_mqtt *p)
{
    struct world *w = p->w;
    if (p->state == MQTT_PEER_OFF) {
        if (chance(w, 50))
            connect_now(p);
        return;
    }
    if (p->state == MQTT_PEER_CONNECTING && chance(w, 5))
        leave_badly(p);
    if (p->state != MQTT_PEER_ON)
        return;
    if (w->plan.has_shared && chance(w, 20)) {
        peer_mqtt_act_shared(p);
        return;
    }
    uint32_t what = roll(w, 100);
    if (what < 50) {
        publish(p);
    } else if (what < 60) {
        for (uint32_t n = 2 + roll(w, 20); n > 0; n--)
            publish(p);
    } else if (what < 75) {
        subscribe(p);
    } else if (what < 79) {
        unsubscribe(p);
    } else if (what < 84) {
        peer_mqtt_say_all(p);
        p->is_saying = chance(w, 60);
    } else if (what < 92) {
        act_odd(p);
        return;
    }
    peer_mqtt_send(p);
}

bool peer_mqtt_drain(struct peer_mqtt *p)
{
    switch (p->state) {
    case MQTT_PEER_OFF:
        if (p->w->is_resting)
            return true;
        if (p->box == NULL)
            return true;
        connect_now(p);
        return false;
    case MQTT_PEER_SILENT:
        leave_badly(p);
        return false;
    case MQTT_PEER_ON:
        p->is_saying = true;
        peer_mqtt_say_all(p);
        return p->tx_n == 0 && p->rx_n == 0 && p->ask_n == 0 && p->link.out.len == 0;
    default:
        return false;
    }
}

struct peer_mqtt *peer_mqtt_new(struct world *w, uint32_t number)
{
    struct peer_mqtt *p = mem_zalloc(&w->mem, sizeof(*p));
    BUG_ON(p == NULL);
    link_init(&p->link, w, &peer_mqtt_link_ops);
    p->w = w;
    p->number = number;
    snprintf(p->id, sizeof(p->id), "mqtt%u", number);
    p->v = chance(w, 60) ? MQTT_V5 : chance(w, 80) ? MQTT_V311 : MQTT_V31;
    p->will = MODEL_NONE;
    p->tick.on_due = on_tick;
    p->id_next = 1;
    return p;
}

void peer_mqtt_free(struct peer_mqtt *p)
{
    sim_cancel(p->w->loop, &p->tick);
    link_fini(&p->link);
    mem_free(&p->w->mem, p->tx);
    mem_free(&p->w->mem, p->rx);
    mem_free(&p->w->mem, p->say);
    mem_free(&p->w->mem, p->ask);
    mem_free(&p->w->mem, p->proof);
    mem_free(&p->w->mem, p);
}
