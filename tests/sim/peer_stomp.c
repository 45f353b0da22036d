/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_stomp.c: what a simulated STOMP peer does.
 *
 *     OFF ─ CONNECT ─► CONNECTING ─ CONNECTED ─► ON ─ DISCONNECT ─► LEAVING ─ RECEIPT ─► OFF
 *                                                 └─ as with MQTT: reset, half a frame, silence ─► OFF
 *
 * Every connection is a new session, so everything here but the name is gone with it.
 *
 * Invariants
 *   1. owed holds the receipts asked for, in the order of asking; loose the SENDs since the last of them.
 *   2. held holds the deliveries that want an answer, in the order in which they came.
 */
#include "tests/sim/peer_stomp.h"

#include <stdio.h>
#include <string.h>

enum { FRAME_ROOM = 4096 };

/* ---- frames out ---------------------------------------------------------------------------------------------------
 */

void peer_stomp_begin(struct peer_stomp *p, struct stomp_writer *w, enum stomp_command c, size_t body)
{
    uint8_t *room = buf_room(&p->link.out, FRAME_ROOM + body);
    BUG_ON(room == NULL);
    stomp_write_begin(w, room, FRAME_ROOM + body, p->v, c);
}

void peer_stomp_end(struct peer_stomp *p, struct stomp_writer *w, ptrdiff_t head, const uint8_t *body, size_t body_len)
{
    BUG_ON(head <= 0);
    if (body_len)
        memcpy(w->p + head, body, body_len);
    w->p[(size_t)head + body_len] = 0;
    buf_wrote(&p->link.out, (size_t)head + body_len + 1);
}

static void frame_end_plain(struct peer_stomp *p, struct stomp_writer *w)
{
    peer_stomp_end(p, w, stomp_write_end(w, STOMP_LENGTH_NONE), NULL, 0);
}

static void put_text(struct stomp_writer *w, enum stomp_known h, const char *text)
{
    stomp_write_known(w, h, slice_from_str(text));
}

void peer_stomp_out(struct peer_stomp *p)
{
    if (p->link.out.len == 0)
        return; /* an act that came to nothing is no sign of life */
    p->said_at = p->w->loop->now;
    world_busy(p->w);
    link_flush(&p->link);
}

/* ask_receipt: the frame being written shall be answered. */
void peer_stomp_ask(struct peer_stomp *p, struct stomp_writer *w, enum stomp_owed_kind kind, uint32_t ref)
{
    p->owed = model_grow(&p->w->mem, p->owed, &p->owed_cap, p->owed_n + 1, sizeof(*p->owed));
    p->owed[p->owed_n++] = (struct stomp_owed){.number = ++p->next_receipt, .kind = (uint8_t)kind, .ref = ref};
    char text[24];
    snprintf(text, sizeof(text), "r%u", p->next_receipt);
    put_text(w, STOMP_H_RECEIPT, text);
}

/* ---- CONNECT and the end ------------------------------------------------------------------------------------------
 */

static void connect_now(struct peer_stomp *p)
{
    struct world *w = p->w;
    struct stomp_writer out;
    link_open(&p->link);
    p->state = STOMP_PEER_CONNECTING;
    p->connections++;
    p->scan = (struct stomp_scan){0};
    p->can_ms = p->wants_ms = 0;
    bool beats = !w->is_draining && p->v != STOMP_1_0 && chance(w, 60);
    if (beats) {
        p->can_ms = chance(w, 80) ? 500 + 4 * w->plan.faults.delay_ms_max + roll(w, 10000) : 0;
        p->wants_ms = chance(w, 80) ? 500 + roll(w, 10000) : 0;
    }
    peer_stomp_begin(p, &out, chance(w, 30) && p->v != STOMP_1_0 ? STOMP_CMD_STOMP : STOMP_CMD_CONNECT, 0);
    if (p->v == STOMP_1_2)
        put_text(&out, STOMP_H_ACCEPT_VERSION, chance(w, 50) ? "1.2" : "1.0,1.1,1.2");
    else if (p->v == STOMP_1_1)
        put_text(&out, STOMP_H_ACCEPT_VERSION, "1.0,1.1");
    put_text(&out, STOMP_H_HOST, "localhost");
    if (beats) {
        char text[32];
        snprintf(text, sizeof(text), "%u,%u", p->can_ms, p->wants_ms);
        put_text(&out, STOMP_H_HEART_BEAT, text);
    }
    frame_end_plain(p, &out);
    world_trace(w, "%s CONNECT link %u version %d heart-beat %u,%u", p->name, p->link.number, p->v, p->can_ms,
                p->wants_ms);
    peer_stomp_out(p);
}

void peer_stomp_is_off(struct peer_stomp *p)
{
    for (uint32_t i = 0; i < p->sub_n; i++) {
        struct stomp_sub *s = &p->sub[i];
        if (s->box)
            s->box->is_ended = true;
        if (s->queue && s->ack == STOMP_ACK_AUTO)
            p->w->model.auto_lost |= 1u << (s->queue - 1);
    }
    p->sub_n = p->held_n = p->owed_n = p->loose_n = p->acked_n = 0;
    p->has_subscribed = false;
    p->state = STOMP_PEER_OFF;
    sim_cancel(p->w->loop, &p->tick);
    sim_cancel(p->w->loop, &p->beat);
}

void peer_stomp_leave_badly(struct peer_stomp *p)
{
    world_trace(p->w, "%s leaves link %u badly", p->name, p->link.number);
    switch (roll(p->w, 4)) {
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
    peer_stomp_is_off(p);
}

static void say_goodbye(struct peer_stomp *p)
{
    struct stomp_writer out;
    peer_stomp_begin(p, &out, STOMP_CMD_DISCONNECT, 0);
    peer_stomp_ask(p, &out, OWED_DISCONNECT, 0);
    frame_end_plain(p, &out);
    world_trace(p->w, "%s DISCONNECT receipt r%u", p->name, p->next_receipt);
    p->state = STOMP_PEER_LEAVING;
    sim_plan(p->w->loop, &p->tick, p->w->loop->now + 60000);
    peer_stomp_out(p);
}

/* ---- destinations -------------------------------------------------------------------------------------------------
 */

enum dest_style { DEST_DOT, DEST_SLASH, DEST_MQTT, DEST_STYLES };

/* render: a topic or filter in MQTT spelling as STOMP destination. */
static void render(struct world *w, enum dest_style style, const char *topic, bool is_filter, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "%s", style == DEST_MQTT ? "/mqtt/" : "/topic/");
    bool many_as_stars = chance(w, 30), one_as_plus = chance(w, 30);
    for (const char *c = topic; *c && n + 4 < cap; c++) {
        const char one[2] = {*c, 0}, *piece = one;
        if (style != DEST_MQTT) {
            if (*c == '/' && style == DEST_DOT)
                piece = ".";
            else if (*c == '.')
                piece = "%2E";
            else if (*c == '+' && is_filter)
                piece = one_as_plus ? "+" : "*";
            else if (*c == '#' && is_filter)
                piece = many_as_stars ? "**" : "#";
        }
        n += (size_t)snprintf(out + n, cap - n, "%s", piece);
    }
}

/* ---- SEND ---------------------------------------------------------------------------------------------------------
 */

static uint32_t new_pub(struct peer_stomp *p, char *dest, size_t cap, bool *out_says_qos)
{
    struct world *w = p->w;
    struct pub pub = {.from = p->number * 1000 + p->connections, .qos = 1};
    *out_says_qos = false;
    if (chance(w, 40)) {
        pub.queue = 1 + roll(w, world_queues_n);
        snprintf(pub.to, sizeof(pub.to), "%s", world_queues[pub.queue - 1]);
        snprintf(dest, cap, "/queue/%s", pub.to);
    } else {
        bool is_for_groups = w->plan.has_shared && chance(w, 30);
        snprintf(pub.to, sizeof(pub.to), "%s",
                 is_for_groups ? world_group_topics[roll(w, world_group_topics_n)]
                               : world_topics[roll(w, world_topics_n)]);
        render(w, (enum dest_style)roll(w, DEST_STYLES), pub.to, false, dest, cap);
        *out_says_qos = chance(w, 30);
        if (*out_says_qos)
            pub.qos = (uint8_t)roll(w, 3);
        pub.retain = chance(w, 10);
    }
    pub.may_expire = chance(w, 4);
    pub.has_tag = chance(w, 30) && p->v != STOMP_1_0; /* 1.0 cannot express the colon */
    return world_pub(w, &pub);
}

/* send_message: puts a whole SEND frame into the link's output. */
static uint32_t send_message(struct peer_stomp *p, bool wants_receipt)
{
    struct world *w = p->w;
    char dest[400];
    bool says_qos;
    uint32_t id = new_pub(p, dest, sizeof(dest), &says_qos);
    const struct pub *pub = &w->model.pub[id];
    uint8_t *body = mem_alloc(&w->mem, pub->bytes);
    BUG_ON(body == NULL);
    model_payload(&w->model, id, body);
    struct stomp_writer out;
    peer_stomp_begin(p, &out, STOMP_CMD_SEND, pub->bytes);
    put_text(&out, STOMP_H_DESTINATION, dest);
    if (chance(w, 40))
        put_text(&out, STOMP_H_PERSISTENT, "true");
    if (pub->retain)
        put_text(&out, STOMP_H_RETAIN, "true");
    if (says_qos)
        stomp_write_u64(&out, STOMP_H_QOS, pub->qos);
    if (pub->may_expire)
        stomp_write_u64(&out, STOMP_H_EXPIRATION, 1 + roll(w, 5000));
    if (pub->has_tag) {
        char tag[MODEL_TAG];
        model_tag(id, tag);
        stomp_write_header(&out, SLICE("tag"), slice_from_str(tag));
    }
    if (wants_receipt)
        peer_stomp_ask(p, &out, OWED_SEND, id);
    peer_stomp_end(p, &out, stomp_write_end(&out, pub->bytes), body, pub->bytes);
    mem_free(&w->mem, body);
    world_trace(w, "%s SEND #%u %s q%u%s receipt %d", p->name, id, dest, pub->qos, pub->retain ? " retain" : "",
                wants_receipt ? (int)p->next_receipt : -1);
    return id;
}

static void publish(struct peer_stomp *p)
{
    if (p->link.out.len > 200000)
        return;
    bool wants_receipt = chance(p->w, 60);
    uint32_t id = send_message(p, wants_receipt);
    if (wants_receipt)
        return;
    p->loose = model_grow(&p->w->mem, p->loose, &p->loose_cap, p->loose_n + 1, sizeof(*p->loose));
    p->loose[p->loose_n++] = (struct stomp_said){.ref = id, .receipt = p->next_receipt + 1};
}

static void half_a_frame(struct peer_stomp *p)
{
    peer_stomp_out(p);
    size_t before = p->link.out.len;
    uint32_t id = send_message(p, false);
    p->link.out.len = before + roll(p->w, (uint32_t)(p->link.out.len - before - 1)); /* not even all but the NUL */
    model_pub_never(&p->w->model, id);
    peer_stomp_out(p);
    peer_stomp_leave_badly(p);
}

/* ---- SUBSCRIBE ----------------------------------------------------------------------------------------------------
 */

struct stomp_sub *peer_stomp_sub(struct peer_stomp *p, uint32_t id)
{
    for (uint32_t i = 0; i < p->sub_n; i++)
        if (p->sub[i].id == id)
            return &p->sub[i];
    return NULL;
}

/* put_subscribe: s is filled but for its id and box. */
static void put_subscribe(struct peer_stomp *p, struct stomp_sub *s, const char *dest, const char *filter,
                          bool wants_receipt)
{
    static const char *const ack[] = {"auto", "client", "client-individual"};
    struct world *w = p->w;
    struct stomp_writer out;
    s->id = ++p->next_id;
    if (filter) {
        struct sub t = {.qos = 2};
        char name[MODEL_NAME];
        snprintf(t.filter, sizeof(t.filter), "%s", filter);
        snprintf(name, sizeof(name), "%s/%u/%u", p->name, p->link.number, s->id);
        s->box = model_box_new(&w->model, name, 0, true);
        s->model_sub = model_sub_ask(&w->model, s->box, &t);
    }
    peer_stomp_begin(p, &out, STOMP_CMD_SUBSCRIBE, 0);
    stomp_write_u64(&out, STOMP_H_ID, s->id);
    put_text(&out, STOMP_H_DESTINATION, dest);
    if (s->ack != STOMP_ACK_AUTO || chance(w, 50))
        put_text(&out, STOMP_H_ACK, ack[s->ack]);
    if (s->prefetch)
        stomp_write_u64(&out, STOMP_H_PREFETCH_COUNT, s->prefetch);
    if (filter && chance(w, 20))
        put_text(&out, STOMP_H_RETAIN_HANDLING, "2");
    if (wants_receipt)
        peer_stomp_ask(p, &out, OWED_SUBSCRIBE, s->id);
    frame_end_plain(p, &out);
    p->sub = model_grow(&w->mem, p->sub, &p->sub_cap, p->sub_n + 1, sizeof(*p->sub));
    p->sub[p->sub_n++] = *s;
    world_trace(w, "%s SUBSCRIBE %u %s %s prefetch %u receipt %d", p->name, s->id, dest, ack[s->ack], s->prefetch,
                wants_receipt ? (int)p->next_receipt : -1);
}

static void subscribe(struct peer_stomp *p)
{
    struct world *w = p->w;
    if (p->sub_n >= 20)
        return;
    char dest[400];
    const char *filter = NULL;
    struct stomp_sub s = {.ack = (uint8_t)roll(w, p->v == STOMP_1_0 ? 2 : 3)};
    if (chance(w, 35)) {
        s.queue = 1 + roll(w, world_queues_n);
        if (!w->plan.has_auto_queues && s.ack == STOMP_ACK_AUTO)
            s.ack = STOMP_ACK_CLIENT;
        snprintf(dest, sizeof(dest), "/queue/%s", world_queues[s.queue - 1]);
    } else {
        uint32_t i = roll(w, world_filters_n);
        filter = world_filters[i];
        bool is_inner = i >= world_filters_n - world_filters_inner_n;
        render(w, (enum dest_style)roll(w, is_inner ? DEST_MQTT : DEST_STYLES), filter, true, dest, sizeof(dest));
    }
    if (s.ack != STOMP_ACK_AUTO && chance(w, 50))
        s.prefetch = 1 + roll(w, 10);
    put_subscribe(p, &s, dest, filter, chance(w, 80));
}

static void unsubscribe(struct peer_stomp *p)
{
    if (p->sub_n == 0)
        return;
    struct stomp_sub *s = &p->sub[roll(p->w, p->sub_n)];
    if (s->is_over)
        return;
    struct stomp_writer out;
    s->is_over = true;
    if (s->box) {
        s->box->is_ended = true; /* what waits in its queue goes with it */
        model_sub_drop(&p->w->model, s->box, s->box->sub[s->model_sub].filter);
    }
    peer_stomp_begin(p, &out, STOMP_CMD_UNSUBSCRIBE, 0);
    stomp_write_u64(&out, STOMP_H_ID, s->id);
    peer_stomp_ask(p, &out, OWED_UNSUBSCRIBE, s->id);
    frame_end_plain(p, &out);
    world_trace(p->w, "%s UNSUBSCRIBE %u receipt r%u", p->name, s->id, p->next_receipt);
}

/* ---- ACK, NACK ----------------------------------------------------------------------------------------------------
 */

static void note_answer(struct peer_stomp *p, uint32_t i, enum take_state state)
{
    const struct stomp_held *h = &p->held[i];
    if (h->take != MODEL_NONE) {
        model_answer(&p->w->model, h->take, state);
        if (state == TAKE_ACKED) {
            p->acked = model_grow(&p->w->mem, p->acked, &p->acked_cap, p->acked_n + 1, sizeof(*p->acked));
            p->acked[p->acked_n++] = (struct stomp_said){.ref = h->take, .receipt = p->next_receipt + 1};
        }
    }
    memmove(&p->held[i], &p->held[i + 1], (p->held_n - i - 1) * sizeof(*p->held));
    p->held_n--;
}

static void answer(struct peer_stomp *p, uint32_t i, enum take_state state)
{
    struct world *w = p->w;
    struct stomp_held h = p->held[i];
    const struct stomp_sub *s = peer_stomp_sub(p, h.sub);
    struct stomp_writer out;
    peer_stomp_begin(p, &out, state == TAKE_ACKED ? STOMP_CMD_ACK : STOMP_CMD_NACK, 0);
    if (p->v == STOMP_1_2) {
        stomp_write_known(&out, STOMP_H_ID, slice_make(h.id, h.id_len));
    } else {
        stomp_write_known(&out, STOMP_H_MESSAGE_ID, slice_make(h.message_id, h.message_id_len));
        stomp_write_u64(&out, STOMP_H_SUBSCRIPTION, h.sub);
    }
    if (state == TAKE_REJECTED)
        put_text(&out, STOMP_H_REQUEUE, "false");
    if (chance(w, 20))
        peer_stomp_ask(p, &out, OWED_OTHER, 0);
    frame_end_plain(p, &out);
    world_trace(w, "%s %s #%d of %u", p->name,
                state == TAKE_ACKED    ? "ACK"
                : state == TAKE_NACKED ? "NACK"
                                       : "REJECT",
                (int)h.pub, h.sub);
    bool is_cumulative = s && s->ack == STOMP_ACK_CLIENT && state == TAKE_ACKED;
    for (uint32_t k = 0; is_cumulative && k < i;) {
        if (p->held[k].sub == h.sub) {
            note_answer(p, k, TAKE_ACKED);
            i--;
        } else {
            k++;
        }
    }
    note_answer(p, i, state);
}

/* may_nack: a cumulative NACK is the broker's business to define; the peer nacks single deliveries only. */
static bool may_nack(struct peer_stomp *p, uint32_t i)
{
    const struct stomp_sub *s = peer_stomp_sub(p, p->held[i].sub);
    return p->v != STOMP_1_0 && s && s->ack == STOMP_ACK_EACH && !p->w->is_draining;
}

static void answer_some(struct peer_stomp *p)
{
    uint32_t n = p->held_n ? 1 + roll(p->w, p->held_n) : 0;
    while (n-- > 0 && p->held_n > 0) {
        uint32_t i = roll(p->w, p->held_n);
        enum take_state state = TAKE_ACKED;
        if (may_nack(p, i) && chance(p->w, 15))
            state = chance(p->w, 80) ? TAKE_NACKED : TAKE_REJECTED;
        answer(p, i, state);
    }
}

/* ---- the peer's own clock -----------------------------------------------------------------------------------------
 */

void peer_stomp_plan_tick(struct peer_stomp *p, mono_ms in_ms)
{
    mono_ms due = p->w->loop->now + in_ms;
    if (!sim_is_planned(&p->tick) || p->tick.due > due)
        sim_plan(p->w->loop, &p->tick, due);
}

static void on_tick(struct sim_event *ev)
{
    struct peer_stomp *p = CONTAINER_OF(ev, struct peer_stomp, tick);
    mono_ms now = p->w->loop->now;
    if (p->state == STOMP_PEER_LEAVING && !p->link.is_paused)
        world_fail(p->w, "%s sent DISCONNECT, but is still connected", p->name);
    if (p->state == STOMP_PEER_SILENT) {
        if (p->link.out.len)
            p->silent_at = now; /* what was said before is still on its way */
        if (now - p->silent_at > 3 * p->can_ms + 5000 && !p->link.is_paused)
            world_fail(p->w, "%s has no heart-beat for %u ms, and is still connected", p->name,
                       (unsigned)(now - p->silent_at));
        peer_stomp_plan_tick(p, 1000);
    }
    if (p->state != STOMP_PEER_ON || p->held_n == 0)
        return;
    answer_some(p);
    peer_stomp_out(p);
    if (p->held_n)
        peer_stomp_plan_tick(p, 1 + roll(p->w, 300));
}

/* on_beat: our heart, and a look at the broker's. STOMP 1.2 §Heart-beating */
static void on_beat(struct sim_event *ev)
{
    struct peer_stomp *p = CONTAINER_OF(ev, struct peer_stomp, beat);
    mono_ms now = p->w->loop->now;
    if (p->state != STOMP_PEER_ON && p->state != STOMP_PEER_LEAVING)
        return;
    if (p->can_ms && now - p->said_at >= p->can_ms / 2 && p->state == STOMP_PEER_ON) {
        uint8_t *room = buf_room(&p->link.out, 1);
        BUG_ON(room == NULL);
        *room = '\n';
        buf_wrote(&p->link.out, 1);
        p->said_at = now;
        link_flush(&p->link);
    }
    if (p->wants_ms && !p->link.is_paused && p->state == STOMP_PEER_ON &&
        now - p->link.heard_at > 2 * p->wants_ms + 5000)
        world_fail(p->w, "%s: the broker's heart has not beaten for %u ms, it promised %u", p->name,
                   (unsigned)(now - p->link.heard_at), p->wants_ms);
    peer_stomp_start_beats(p);
}

void peer_stomp_start_beats(struct peer_stomp *p)
{
    uint32_t every = p->can_ms ? p->can_ms / 2 : p->wants_ms;
    if (every)
        sim_plan(p->w->loop, &p->beat, p->w->loop->now + MAX(MIN(every, 5000u), 1u));
}

/* ---- acts ---------------------------------------------------------------------------------------------------------
 */

static void act_odd(struct peer_stomp *p)
{
    struct world *w = p->w;
    switch (roll(w, 7)) {
    case 0:
        say_goodbye(p);
        break;
    case 1:
        peer_stomp_leave_badly(p);
        break;
    case 2:
        half_a_frame(p);
        break;
    case 3:
        world_trace(w, "%s link %u is cut", p->name, p->link.number);
        net_sim_cut(p->link.t, chance(w, 50) ? NET_LOSE : NET_KEEP);
        break;
    case 4:
        if (p->can_ms) {
            world_trace(w, "%s falls silent", p->name);
            p->state = STOMP_PEER_SILENT;
            p->silent_at = w->loop->now;
            peer_stomp_plan_tick(p, 1000);
        }
        break;
    default:
        link_pause(&p->link, roll(w, 3000));
    }
}

void peer_stomp_act(struct peer_stomp *p)
{
    struct world *w = p->w;
    if (p->state == STOMP_PEER_OFF && chance(w, 50))
        connect_now(p);
    if (p->state != STOMP_PEER_ON)
        return;
    if (w->plan.has_tx && chance(w, 15)) {
        peer_stomp_transact(p);
        return;
    }
    uint32_t what = roll(w, 100);
    if (what < 45) {
        publish(p);
    } else if (what < 55) {
        for (uint32_t n = 2 + roll(w, 15); n > 0; n--)
            publish(p);
    } else if (what < 73) {
        subscribe(p);
    } else if (what < 77) {
        unsubscribe(p);
    } else if (what < 87) {
        answer_some(p);
    } else if (what < 95) {
        act_odd(p);
        return;
    }
    peer_stomp_out(p);
}

static void subscribe_to_queues(struct peer_stomp *p)
{
    p->has_subscribed = true;
    for (uint32_t i = 0; i < world_queues_n; i++) {
        char dest[64];
        snprintf(dest, sizeof(dest), "/queue/%s", world_queues[i]);
        struct stomp_sub s = {.ack = STOMP_ACK_EACH, .queue = i + 1};
        put_subscribe(p, &s, dest, NULL, true);
    }
    peer_stomp_out(p);
}

bool peer_stomp_drain(struct peer_stomp *p)
{
    switch (p->state) {
    case STOMP_PEER_OFF:
        if (p->w->is_resting)
            return true;
        if (!p->is_drainer)
            return true;
        connect_now(p);
        return false;
    case STOMP_PEER_SILENT:
        peer_stomp_leave_badly(p);
        return false;
    case STOMP_PEER_ON:
        if (p->is_drainer && !p->has_subscribed)
            subscribe_to_queues(p);
        if (p->held_n) {
            while (p->held_n)
                answer(p, 0, TAKE_ACKED);
            peer_stomp_out(p);
        }
        return p->owed_n == 0 && p->link.out.len == 0;
    default:
        return false;
    }
}

struct peer_stomp *peer_stomp_new(struct world *w, uint32_t number)
{
    struct peer_stomp *p = mem_zalloc(&w->mem, sizeof(*p));
    BUG_ON(p == NULL);
    link_init(&p->link, w, &peer_stomp_link_ops);
    p->w = w;
    p->number = number;
    snprintf(p->name, sizeof(p->name), "stomp%u", number);
    p->v = chance(w, 60) ? STOMP_1_2 : chance(w, 60) ? STOMP_1_1 : STOMP_1_0;
    p->tick.on_due = on_tick;
    p->beat.on_due = on_beat;
    return p;
}

struct peer_stomp *peer_stomp_new_drainer(struct world *w)
{
    struct peer_stomp *p = peer_stomp_new(w, 999);
    p->v = STOMP_1_2;
    p->is_drainer = true;
    return p;
}

void peer_stomp_free(struct peer_stomp *p)
{
    struct mem *mem = &p->w->mem;
    sim_cancel(p->w->loop, &p->tick);
    sim_cancel(p->w->loop, &p->beat);
    link_fini(&p->link);
    mem_free(mem, p->sub);
    mem_free(mem, p->held);
    mem_free(mem, p->owed);
    mem_free(mem, p->loose);
    mem_free(mem, p->acked);
    mem_free(mem, p);
}
