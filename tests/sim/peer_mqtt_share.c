/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_mqtt_share.c: what a simulated MQTT peer does with the names that begin with '$': it joins groups ($share/...),
 * competes for named queues ($queue/...), publishes for later ($delayed/...), and uses topic aliases.
 *
 *     a delivery ─┬─ Subscription Identifier of a group, or a topic only groups ask for ─► model_handed
 *                 ├─ topic $queue/<name> ────────────────────────────────────────────────► model_take
 *                 └─ the rest ───────────────────────────────────────────────────────────► model_got
 *
 * Invariants
 *   1. A 5.0 peer gives each group a Subscription Identifier of its own, ID_GROUP + its number; a 3.x peer is in one
 *      group only, and that one asks for topics which no other filter matches. So it is never unclear where a delivery
 *      came from.
 *   2. An acknowledgement counts as surely read when the answer to a PINGREQ sent behind it has come.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/model_group.h"
#include "tests/sim/peer_mqtt.h"

enum { ID_GROUP = 10, DELAY_S_MAX = 20, ROOM = 64 + MODEL_NAME };

#define QUEUE_PREFIX "$queue/"

/* ---- where messages go --------------------------------------------------------------------------------------------
 */

void peer_mqtt_choose_place(struct peer_mqtt *p, struct pub *pub)
{
    struct world *w = p->w;
    uint32_t what = roll(w, 100);
    if (what < 30) {
        snprintf(pub->to, sizeof(pub->to), "%s", world_group_topics[roll(w, world_group_topics_n)]);
        pub->is_clear = false; /* nobody could tell which group it came from */
    } else if (what < 42) {
        pub->queue = 1 + roll(w, world_queues_n);
        snprintf(pub->to, sizeof(pub->to), "%s", world_queues[pub->queue - 1]);
        pub->retain = pub->is_clear = false;
        if (p->v != MQTT_V5 && w->plan.has_small_queues)
            pub->qos = 0; /* a full queue would end the connection, again and again */
    }
    if (!chance(w, 8))
        return;
    pub->retain = pub->is_clear = false;
    pub->delay_s = 1 + roll(w, DELAY_S_MAX);
    pub->due = w->loop->now + (mono_ms)pub->delay_s * 1000;
}

void peer_mqtt_wire_topic(struct peer_mqtt *p, const struct pub *pub, char *out, size_t cap)
{
    char delay[32] = "";
    if (pub->due) {
        snprintf(delay, sizeof(delay), "$delayed/%u/", pub->delay_s);
        mono_ms late = p->w->loop->now + (mono_ms)pub->delay_s * 1000 + 10000; /* it is not there yet */
        p->w->delayed_until = MAX(p->w->delayed_until, late);
    }
    snprintf(out, cap, "%s%s%s", delay, pub->queue ? QUEUE_PREFIX : "", pub->to);
}

/* ---- topic aliases ------------------------------------------------------------------------------------------------
 */

uint16_t peer_mqtt_alias(struct peer_mqtt *p, const char *topic, bool *out_known)
{
    struct world *w = p->w;
    *out_known = false;
    if (p->alias_out_max == 0 || p->state != MQTT_PEER_ON || !chance(w, 60))
        return 0;
    uint32_t i = roll(w, p->alias_out_max);
    for (uint32_t k = 0; k < p->alias_out_max; k++)
        if (strcmp(p->alias_out[k], topic) == 0)
            i = k;
    if (strcmp(p->alias_out[i], topic) == 0)
        *out_known = chance(w, 80);
    snprintf(p->alias_out[i], MODEL_NAME, "%s", topic);
    return (uint16_t)(i + 1);
}

struct slice peer_mqtt_resolve(struct peer_mqtt *p, struct slice topic, uint16_t alias)
{
    if (alias == 0 || alias > p->alias_in_max) { /* [MQTT-3.3.2-8] [MQTT-3.1.2-26] */
        world_fail(p->w, "%s: topic alias %u, we allow %u", p->id, alias, p->alias_in_max);
        return topic;
    }
    char *name = p->alias_in[alias - 1];
    if (topic.len == 0 && name[0] == 0)
        world_fail(p->w, "%s: topic alias %u was never given a topic", p->id, alias);
    if (topic.len && topic.len < MODEL_NAME) {
        memcpy(name, topic.p, topic.len);
        name[topic.len] = 0;
    }
    return slice_from_str(name);
}

/* ---- joining and leaving ------------------------------------------------------------------------------------------
 */

/* some_group: the number in world_groups. */
static uint32_t some_group(struct peer_mqtt *p)
{
    uint32_t plain = world_groups_n - world_groups_mixed_n;
    return p->v == MQTT_V5 ? roll(p->w, world_groups_n) : p->number % plain;
}

static uint32_t place_of(struct peer_mqtt *p, uint32_t group)
{
    return 1 + model_group(&p->w->model, world_groups[group]);
}

static void put_ask(struct peer_mqtt *p, ptrdiff_t n)
{
    BUG_ON(n <= 0);
    buf_wrote(&p->link.out, (size_t)n);
}

static void put_subscribe(struct peer_mqtt *p, const struct mqtt_ask *a, uint32_t sub_id, bool retain_as_published)
{
    struct mqtt_subscribe m = {.packet_id = a->id};
    struct mqtt_sub_item item = {.filter = slice_from_str(a->filter[0]), .qos = a->qos};
    mqtt_props_clear(&m.props);
    if (p->v == MQTT_V5) {
        item.retain_as_published = retain_as_published;
        item.retain_handling = (uint8_t)roll(p->w, 3);
        if (sub_id) {
            m.props.has = MQTT_HAS(SUB_ID);
            m.props.sub_id = sub_id;
            m.props.sub_id_n = 1;
        }
    }
    world_trace(p->w, "%s SUBSCRIBE %s q%u rap %d", p->id, a->filter[0], a->qos, retain_as_published);
    put_ask(p, mqtt_subscribe_encode(&m, &item, 1, p->v, peer_mqtt_room(p, ROOM), ROOM));
}

static void join_group(struct peer_mqtt *p)
{
    struct world *w = p->w;
    uint32_t group = some_group(p);
    struct mqtt_ask *a = peer_mqtt_new_ask(p, false);
    a->n = 1;
    a->place = place_of(p, group);
    a->qos = chance(w, w->plan.qos0_pct) ? 0 : (uint8_t)(1 + roll(w, 2));
    snprintf(a->filter[0], MODEL_NAME, "%s", world_groups[group]);
    bool retain_as_published = p->v == MQTT_V5 && chance(w, 20);
    model_member_ask(&w->model, a->place - 1, p->box, a->qos, retain_as_published);
    put_subscribe(p, a, ID_GROUP + group, retain_as_published);
}

static void join_queue(struct peer_mqtt *p)
{
    struct world *w = p->w;
    uint32_t queue = roll(w, world_queues_n);
    struct mqtt_ask *a = peer_mqtt_new_ask(p, false);
    a->n = 1;
    a->place = PLACE_QUEUE;
    a->qos = w->plan.has_auto_queues && chance(w, 20) ? 0 : (uint8_t)(1 + roll(w, 2));
    if (a->qos == 0)
        p->auto_queues |= 1u << queue;
    snprintf(a->filter[0], MODEL_NAME, QUEUE_PREFIX "%s", world_queues[queue]);
    put_subscribe(p, a, 0, false);
}

static void leave(struct peer_mqtt *p)
{
    struct world *w = p->w;
    struct mqtt_ask *a = peer_mqtt_new_ask(p, true);
    a->n = 1;
    if (chance(w, 60)) {
        uint32_t group = some_group(p);
        a->place = place_of(p, group);
        snprintf(a->filter[0], MODEL_NAME, "%s", world_groups[group]);
        a->dropped_at = model_member_drop(&w->model, a->place - 1, p->box);
    } else {
        a->place = PLACE_QUEUE;
        snprintf(a->filter[0], MODEL_NAME, QUEUE_PREFIX "%s", world_queues[roll(w, world_queues_n)]);
    }
    struct slice filter = slice_from_str(a->filter[0]);
    struct mqtt_subscribe s = {.packet_id = a->id};
    mqtt_props_clear(&s.props);
    world_trace(w, "%s UNSUBSCRIBE %s", p->id, a->filter[0]);
    put_ask(p, mqtt_unsubscribe_encode(&s, &filter, 1, p->v, peer_mqtt_room(p, ROOM), ROOM));
}

void peer_mqtt_act_shared(struct peer_mqtt *p)
{
    uint32_t what = roll(p->w, 100);
    if (what < 50)
        join_group(p);
    else if (what < 65)
        join_queue(p);
    else if (what < 80)
        leave(p);
    else
        peer_mqtt_ping(p);
    peer_mqtt_send(p);
}

void peer_mqtt_shared_answer(struct peer_mqtt *p, const struct mqtt_ask *a, const struct mqtt_suback *s)
{
    struct world *w = p->w;
    bool may_fail = w->plan.only_safety;
    uint8_t code = s->codes.len ? s->codes.p[0] : 0;
    if (!a->is_unsubscribe && code != a->qos && !may_fail)
        world_fail(w, "%s: %s was granted %02x, QoS %u was asked for", p->id, a->filter[0], code, a->qos);
    if (a->place == PLACE_QUEUE || (may_fail && (code >= 0x80 || p->v != MQTT_V5)))
        return;
    if (a->is_unsubscribe)
        model_member_gone(&w->model, a->place - 1, p->box, a->dropped_at);
    else if (code == a->qos)
        model_member_granted(&w->model, a->place - 1, p->box);
}

/* ---- deliveries ---------------------------------------------------------------------------------------------------
 */

/* group_of: the place of the group a delivery came from; 0: it did not. */
static uint32_t group_of(struct peer_mqtt *p, const struct got *got, struct slice topic)
{
    if (p->v != MQTT_V5) {
        bool is_for_groups = false;
        for (uint32_t i = 0; i < world_group_topics_n; i++)
            is_for_groups |= slice_eq_str(topic, world_group_topics[i]);
        return is_for_groups ? place_of(p, some_group(p)) : 0;
    }
    if (got->sub_id_n == 0 || got->sub_id[got->sub_id_n - 1] < ID_GROUP)
        return 0;
    uint32_t group = got->sub_id[got->sub_id_n - 1] - ID_GROUP;
    if (got->sub_id_n > 1 || group >= world_groups_n) {
        world_fail(p->w, "%s: message %u came with identifiers of several subscriptions, one of them shared", p->id,
                   got->pub);
        return 0;
    }
    return place_of(p, group);
}

static void take(struct peer_mqtt *p, const struct got *got, struct slice name, struct mqtt_rx *rx)
{
    const struct take t = {.pub = got->pub,
                           .link = p->link.number,
                           .state = got->qos ? TAKE_HELD : TAKE_AUTO,
                           .keeper = got->qos == 2 ? p->box : NULL,
                           .redelivered = true}; /* MQTT has no way to say it of others */
    uint32_t ref = model_take(&p->w->model, &t, name);
    if (rx) {
        rx->place = PLACE_QUEUE;
        rx->ref = ref;
    }
}

bool peer_mqtt_shared_got(struct peer_mqtt *p, const struct got *got, struct slice topic, struct mqtt_rx *rx)
{
    size_t n = sizeof(QUEUE_PREFIX) - 1;
    if (topic.len > n && memcmp(topic.p, QUEUE_PREFIX, n) == 0) {
        take(p, got, slice_make(topic.p + n, topic.len - n), rx);
        return true;
    }
    uint32_t place = group_of(p, got, topic);
    if (place == 0)
        return false;
    uint32_t ref = model_handed(&p->w->model, place - 1, p->box, p->link.number, got, topic);
    if (rx) {
        rx->place = place;
        rx->ref = ref;
    }
    return true;
}

static void answered(struct peer_mqtt *p, uint32_t place, uint32_t ref, enum take_state state)
{
    if (place == PLACE_QUEUE)
        model_answer(&p->w->model, ref, state);
    else
        model_handed_answer(&p->w->model, place - 1, ref, state);
}

void peer_mqtt_shared_said(struct peer_mqtt *p, const struct mqtt_rx *rx)
{
    if (rx->place == 0)
        return;
    answered(p, rx->place, rx->ref, TAKE_ACKED);
    if (rx->qos != 1)
        return;
    p->proof = model_grow(&p->w->mem, p->proof, &p->proof_cap, p->proof_n + 1, sizeof(*p->proof));
    p->proof[p->proof_n++] = (struct mqtt_proof){.place = rx->place, .ref = rx->ref, .ping = p->pings_sent + 1};
}

void peer_mqtt_shared_rel(struct peer_mqtt *p, const struct mqtt_rx *rx)
{
    if (rx->place)
        answered(p, rx->place, rx->ref, TAKE_SURE);
}

void peer_mqtt_pong(struct peer_mqtt *p)
{
    uint32_t n = 0;
    if (++p->pings_heard > p->pings_sent)
        world_fail(p->w, "%s: PINGRESP that answers nothing", p->id);
    for (uint32_t i = 0; i < p->proof_n; i++) {
        if (p->proof[i].ping <= p->pings_heard)
            answered(p, p->proof[i].place, p->proof[i].ref, TAKE_SURE);
        else
            p->proof[n++] = p->proof[i];
    }
    p->proof_n = n;
}

void peer_mqtt_shared_off(struct peer_mqtt *p)
{
    p->proof_n = p->pings_sent = p->pings_heard = 0;
    p->w->model.auto_lost |= p->auto_queues;
    memset(p->alias_in, 0, sizeof(p->alias_in));
    memset(p->alias_out, 0, sizeof(p->alias_out));
}
