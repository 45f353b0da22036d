/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_dev.c: what a device does.
 *
 * Invariants
 *   1. out holds the publishes that are not answered to the end, in the order of their first sending; after a resume
 *      they are sent again in that order, before anything new [MQTT-4.4.0-1, MQTT-4.6.0-1].
 *   2. One SUBSCRIBE or UNSUBSCRIBE at a time; one without an answer is asked again on the next connection.
 *   3. A session it was told of is there: `present` may only be missing after a clean start.
 */
#include "tests/sim/crash_dev.h"

#include <stdio.h>

static uint8_t *room(struct crash_dev *d, size_t n)
{
    uint8_t *p = buf_room(&d->link.out, n);
    BUG_ON(p == NULL);
    return p;
}

static void wrote(struct crash_dev *d, ptrdiff_t n)
{
    BUG_ON(n <= 0);
    buf_wrote(&d->link.out, (size_t)n);
}

static void send_out(struct crash_dev *d)
{
    if (d->link.out.len)
        d->w->busy_at = crash_now(d->w);
    crash_link_flush(&d->link);
}

static uint16_t new_id(struct crash_dev *d)
{
    for (;;) {
        bool is_used = ++d->next_id == 0 || d->next_id == d->ask_id;
        for (uint32_t i = 0; i < d->out_n; i++)
            is_used |= d->out[i].id == d->next_id;
        if (!is_used)
            return d->next_id;
    }
}

/* ---- publish ------------------------------------------------------------------------------------------------------
 */

static void topic_of(const struct crash_dev *d, uint32_t msg, char *out, size_t cap)
{
    const struct crash_msg *c = &d->w->model.msg[msg];
    if (c->kind == TO_QUEUE)
        snprintf(out, cap, "$queue/%s", crash_queues[c->place]);
    else if (c->kind == TO_KEEP)
        snprintf(out, cap, "r/%u/%u", c->from, c->place);
    else if (c->place == TOPIC_DELAYED)
        snprintf(out, cap, "$delayed/%u/%s", 1 + msg % 3, crash_topics[TOPIC_DELAYED]);
    else
        snprintf(out, cap, "%s", crash_topics[c->place]);
}

static void put_publish(struct crash_dev *d, const struct crash_out *o)
{
    struct crash_world *w = d->w;
    bool is_dup = w->model.msg[o->msg].attempts > 0;
    char topic[64];
    topic_of(d, o->msg, topic, sizeof(topic));
    crash_msg_say(&w->model, o->msg);
    const struct crash_msg *c = &w->model.msg[o->msg];
    struct mqtt_publish p = {
        .topic = slice_from_str(topic), .packet_id = o->id, .qos = c->qos, .dup = is_dup, .retain = c->kind == TO_KEEP};
    p.payload.len = c->bytes;
    size_t n = mqtt_publish_head(room(d, 64 + sizeof(topic)), &p, NULL, d->v);
    wrote(d, (ptrdiff_t)n);
    crash_payload(&w->model, o->msg, room(d, c->bytes));
    wrote(d, (ptrdiff_t)c->bytes);
    crash_trace(w, "%s > PUBLISH #%u %s q%u id %u%s %u bytes", d->id, o->msg, topic, c->qos, o->id,
                is_dup ? " dup" : "", c->bytes);
}

static void publish(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    if (d->out_n == DEV_OUT_MAX)
        return;
    struct crash_msg spec = {.from = d->number, .qos = (uint8_t)(1 + crash_roll(w, 2)), .bytes = crash_size(w)};
    spec.repeats = spec.qos == 1;
    uint32_t dice = crash_roll(w, 100);
    if (dice < 15) {
        spec.kind = TO_KEEP;
        spec.place = (uint8_t)crash_roll(w, CRASH_KEEPS);
        spec.qos = (uint8_t)(1 + spec.place % 2); /* an older value repeated at QoS 1 may overtake a newer one at 2 */
        spec.repeats = spec.qos == 1;
    } else if (dice < 30) {
        spec.kind = TO_QUEUE;
        spec.place = (uint8_t)crash_roll(w, CRASH_QUEUES - 1);
        if (!w->queue_known[spec.place])
            return;
    } else {
        static const uint8_t places[] = {TOPIC_A, TOPIC_B, TOPIC_C, TOPIC_GROUP, TOPIC_GROUP2, TOPIC_A, TOPIC_DELAYED};
        spec.place = places[crash_roll(w, ARRAY_N(places))];
        spec.is_late = spec.place == TOPIC_DELAYED;
    }
    uint32_t msg = crash_msg_new(&w->model, &spec);
    if (spec.is_late) {
        w->model.msg[msg].due = 1000 * (1 + msg % 3);
        w->late_until = MAX(w->late_until, crash_now(w) + w->model.msg[msg].due);
    }
    d->out[d->out_n] = (struct crash_out){.msg = msg, .id = new_id(d)};
    put_publish(d, &d->out[d->out_n++]);
    send_out(d);
}

void crash_dev_put_ack(struct crash_dev *d, uint8_t type, uint16_t id)
{
    mqtt_ack_put(room(d, MQTT_ACK_BYTES), (enum mqtt_type)type, id);
    wrote(d, MQTT_ACK_BYTES);
    crash_trace(d->w, "%s > %s %u", d->id, mqtt_type_name((enum mqtt_type)type), id);
}

void crash_dev_resend(struct crash_dev *d)
{
    for (uint32_t i = 0; i < d->out_n; i++) {
        if (d->out[i].is_released)
            crash_dev_put_ack(d, MQTT_PUBREL, d->out[i].id);
        else
            put_publish(d, &d->out[i]);
    }
    send_out(d);
}

/* ---- answers to deliveries ----------------------------------------------------------------------------------------
 */

static void on_answer(struct sim_event *ev)
{
    struct crash_dev *d = CONTAINER_OF(ev, struct crash_dev, answer);
    for (uint32_t i = 0; i < d->owed_n && d->state == DEV_ON; i++)
        crash_dev_put_ack(d, d->owed[i].type, d->owed[i].id);
    d->owed_n = 0;
    send_out(d);
}

void crash_dev_owe(struct crash_dev *d, uint8_t type, uint16_t id)
{
    struct crash_world *w = d->w;
    d->owed = crash_grow(&w->mem, d->owed, &d->owed_cap, d->owed_n + 1, sizeof(*d->owed));
    d->owed[d->owed_n++] = (struct crash_owed){.id = id, .type = type};
    uint32_t late = crash_chance(w, 50) ? 0 : crash_chance(w, 90) ? crash_roll(w, 30) : crash_roll(w, 600);
    if (!sim_is_planned(&d->answer))
        sim_plan(w->loop, &d->answer, crash_now(w) + late);
}

/* ---- subscriptions ------------------------------------------------------------------------------------------------
 */

void crash_dev_ask(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    const char *filter = d->ask_is_group ? crash_groups[d->ask] : crash_filters[d->ask];
    struct mqtt_subscribe s = {.packet_id = new_id(d)};
    struct mqtt_sub_item item = {.filter = slice_from_str(filter), .qos = d->sub_qos, .retain_handling = 2};
    mqtt_props_clear(&s.props);
    d->ask_id = s.packet_id;
    if (!d->ask_is_group)
        crash_sub_ask(&w->model, d->number, d->ask, d->ask_is_unsub);
    uint8_t *p = room(d, 128);
    wrote(d, d->ask_is_unsub ? mqtt_unsubscribe_encode(&s, &item.filter, 1, d->v, p, 128)
                             : mqtt_subscribe_encode(&s, &item, 1, d->v, p, 128));
    crash_trace(w, "%s > %s %s id %u", d->id, d->ask_is_unsub ? "UNSUBSCRIBE" : "SUBSCRIBE", filter, d->ask_id);
    send_out(d);
}

static void change_subscription(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    if (d->ask != CRASH_NONE)
        return;
    d->ask_is_group = crash_chance(w, 25) && d->sub_qos == 2; /* members, once they are, remain */
    if (d->ask_is_group) {
        d->ask = crash_roll(w, CRASH_GROUPS);
        d->ask_is_unsub = false;
    } else {
        d->ask = crash_roll(w, CRASH_FILTERS);
        d->ask_is_unsub = w->model.sub[d->number][d->ask].state == SUB_ON && crash_chance(w, 50);
    }
    crash_dev_ask(d);
}

/* ---- connections --------------------------------------------------------------------------------------------------
 */

static void choose_will(struct crash_dev *d, struct mqtt_connect *c, uint8_t *payload)
{
    struct crash_world *w = d->w;
    d->will = CRASH_NONE;
    if (w->is_draining || !crash_chance(w, 40))
        return;
    struct crash_msg spec = {.from = d->number, .place = TOPIC_WILL, .is_late = true};
    spec.qos = (uint8_t)(1 + crash_roll(w, 2));
    d->will = crash_msg_new(&w->model, &spec);
    crash_msg_say(&w->model, d->will);
    d->will_delay_s = d->v == MQTT_V5 ? crash_roll(w, 4) : 0;
    c->has_will = true;
    c->will_qos = spec.qos;
    c->will_topic = slice_from_str(crash_topics[TOPIC_WILL]);
    crash_payload(&w->model, d->will, payload);
    c->will_payload = slice_make(payload, CRASH_PAYLOAD_MIN);
    if (d->will_delay_s) {
        c->will_props.has = MQTT_HAS(WILL_DELAY);
        c->will_props.will_delay_s = d->will_delay_s;
    }
}

static void put_connect(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    struct mqtt_connect c = {.version = (uint8_t)d->v, .level = (uint8_t)d->v, .client_id = slice_from_str(d->id)};
    uint8_t payload[CRASH_PAYLOAD_MIN];
    mqtt_props_clear(&c.props);
    mqtt_props_clear(&c.will_props);
    c.clean = d->must_clean && d->v == MQTT_V5;
    if (d->v == MQTT_V5) {
        c.props.has = MQTT_HAS(SESSION_EXPIRY) | MQTT_HAS(RECEIVE_MAX);
        c.props.session_expiry_s = UINT32_MAX;
        c.props.receive_max = (uint16_t)(crash_chance(w, 50) ? 1 + crash_roll(w, 20) : 1000);
    }
    d->asked_clean = c.clean;
    choose_will(d, &c, payload);
    wrote(d, mqtt_connect_encode(&c, room(d, 256), 256));
    crash_trace(w, "%s > CONNECT%s will %d delay %u", d->id, c.clean ? " clean" : "", (int)d->will, d->will_delay_s);
}

/* discard: the device itself throws its session away. */
static void discard(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    d->must_clean = true;
    d->has_session = false;
    for (uint32_t i = 0; i < d->out_n; i++)
        crash_msg_maybe(&w->model, d->out[i].msg);
    d->out_n = d->in_n = 0;
    d->ask = CRASH_NONE;
    crash_session_over(&w->model, d->number);
}

static bool is_member(const struct crash_dev *d)
{
    return d->sub_qos == 2; /* what is in flight to a member ends with its session, and nobody could be blamed */
}

static void plan_back(struct crash_dev *d, mono_ms in_ms)
{
    sim_plan(d->w->loop, &d->back, crash_now(d->w) + in_ms);
}

void crash_dev_connect(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    if (d->state != DEV_OFF)
        return;
    if (d->has_session && w->plan.has_clean && !w->is_draining && !is_member(d) && d->v == MQTT_V5 &&
        crash_chance(w, 6))
        discard(d);
    if (!crash_link_open(&d->link)) {
        plan_back(d, 20 + crash_roll(w, 200));
        return;
    }
    if (d->was_on)
        crash_dev_judge_will(d);
    d->was_on = d->was_goodbye = false;
    d->state = DEV_CONNECTING;
    put_connect(d);
    send_out(d);
}

static void on_back(struct sim_event *ev)
{
    crash_dev_connect(CONTAINER_OF(ev, struct crash_dev, back));
}

void crash_dev_judge_will(struct crash_dev *d)
{
    enum { SLACK_MS = 4000 };
    struct crash_world *w = d->w;
    mono_ms delay = d->will_delay_s * 1000 + SLACK_MS;
    if (d->will == CRASH_NONE || d->was_goodbye || w->shard == NULL || w->plan.moves_clock)
        return;
    if (crash_now(w) >= d->lost_at + delay && crash_now(w) >= w->up_since + delay)
        crash_will_due(&w->model, d->will);
}

void crash_dev_lost(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    d->was_on = d->state == DEV_ON || d->state == DEV_LEAVING;
    d->was_goodbye = d->state == DEV_LEAVING;
    d->lost_at = crash_now(w);
    d->state = DEV_OFF;
    d->owed_n = 0;
    d->ask_id = 0;
    sim_cancel(w->loop, &d->answer);
    if (d->will != CRASH_NONE) /* where it is sure to arrive: subscriptions of now */
        w->late_until = MAX(w->late_until, crash_now(w) + d->will_delay_s * 1000 + 4000);
    uint32_t away = w->is_draining || crash_chance(w, 70) ? 1 + crash_roll(w, 200) : crash_roll(w, 9000);
    plan_back(d, away);
}

static void leave(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    if (crash_chance(w, 40)) {
        struct mqtt_closing bye = {0};
        mqtt_props_clear(&bye.props);
        wrote(d, mqtt_disconnect_encode(&bye, d->v, room(d, 16), 16));
        crash_trace(w, "%s > DISCONNECT", d->id);
        d->state = DEV_LEAVING;
        send_out(d);
        return;
    }
    crash_trace(w, "%s breaks its connection", d->id);
    crash_link_close(&d->link, crash_chance(w, 50));
    crash_dev_lost(d);
}

/* ---- acts ---------------------------------------------------------------------------------------------------------
 */

void crash_dev_act(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    if (d->state != DEV_ON || d->link.out.len > 300000)
        return;
    uint32_t dice = crash_roll(w, 100);
    if (dice < 80)
        for (uint32_t n = crash_chance(w, 80) ? 1 : 1 + crash_roll(w, 8); n > 0; n--)
            publish(d);
    else if (dice < 96)
        change_subscription(d);
    else
        leave(d);
}

bool crash_dev_rest(struct crash_dev *d)
{
    if (d->state == DEV_OFF)
        crash_dev_connect(d);
    return d->state == DEV_ON && d->out_n == 0 && d->owed_n == 0 && d->ask == CRASH_NONE && d->link.out.len == 0;
}

struct crash_dev *crash_dev_new(struct crash_world *w, uint32_t number)
{
    struct crash_dev *d = mem_zalloc(&w->mem, sizeof(*d));
    BUG_ON(d == NULL);
    d->w = w;
    d->number = number;
    d->v = number % 3 == 2 && !w->plan.gets_full && !w->plan.fails_disk ? MQTT_V311 : MQTT_V5;
    d->sub_qos = number % 2 ? 1 : 2;
    d->ask = d->will = CRASH_NONE;
    d->must_clean = d->v == MQTT_V5;
    d->back.on_due = on_back;
    d->answer.on_due = on_answer;
    snprintf(d->id, sizeof(d->id), "dev-%u", number);
    crash_link_init(&d->link, w, &crash_dev_link_ops);
    plan_back(d, crash_roll(w, 20));
    return d;
}

void crash_dev_free(struct crash_dev *d)
{
    struct crash_world *w = d->w;
    sim_cancel(w->loop, &d->back);
    sim_cancel(w->loop, &d->answer);
    crash_link_fini(&d->link);
    mem_free(&w->mem, d->in);
    mem_free(&w->mem, d->owed);
    mem_free(&w->mem, d);
}
