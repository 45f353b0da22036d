/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_stomp_in.c: what a simulated STOMP peer hears, and what it thinks of it.
 *
 * Checked here
 *   1. Receipts come in the order in which they were asked for; one speaks for all SENDs and ACKs before it.
 *   2. A MESSAGE belongs to a subscription, comes from a destination that means the topic or queue it was sent to, and
 *      carries what is needed to acknowledge it.
 *   3. Never more unanswered deliveries than prefetch-count allows.
 *   4. ERROR only for a reason: a refused SEND where queues are small, silence, a broker out of memory or stopping.
 */
#include <stdio.h>
#include <string.h>

#include "proto_stomp/stomp_dest.h"
#include "tests/sim/peer_stomp.h"

static const struct stomp_limits limits_wide = {.command_bytes = STOMP_COMMAND_BYTES_MAX,
                                                .headers_n = STOMP_HEADERS_MAX,
                                                .line_bytes = STOMP_LINE_BYTES_MAX,
                                                .head_bytes = STOMP_HEAD_BYTES_MAX,
                                                .body_bytes = 1u << 20};

/* get: a header's value, at most cap bytes; empty when there is none. */
static struct slice get(struct peer_stomp *p, const struct stomp_frame *f, enum stomp_known h, uint8_t *buf, size_t cap)
{
    struct slice value = {0};
    enum err e = stomp_frame_get(f, h, buf, cap, &value);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        world_fail(p->w, "%s: header " SLICE_FMT " cannot be read", p->name, SLICE_ARG(stomp_known_text(h)));
    return e == ERR_OK ? value : (struct slice){0};
}

static bool is_true(struct peer_stomp *p, const struct stomp_frame *f, enum stomp_known h)
{
    uint8_t buf[16];
    return slice_eq_str(get(p, f, h, buf, sizeof(buf)), "true");
}

static uint32_t get_u32(struct peer_stomp *p, const struct stomp_frame *f, enum stomp_known h, const char *prefix)
{
    uint8_t buf[64];
    char text[65] = {0};
    struct slice value = get(p, f, h, buf, sizeof(buf));
    unsigned n;
    if (value.len && value.len < sizeof(text))
        memcpy(text, value.p, value.len);
    if (strncmp(text, prefix, strlen(prefix)) != 0 || sscanf(text + strlen(prefix), "%u", &n) != 1)
        return 0;
    return n;
}

static void on_connected(struct peer_stomp *p, const struct stomp_frame *f)
{
    uint8_t buf[64];
    struct slice version = get(p, f, STOMP_H_VERSION, buf, sizeof(buf));
    if (p->v != STOMP_1_0 && !slice_eq(version, stomp_version_text(p->v)))
        world_fail(p->w, "%s: connected as version '" SLICE_FMT "'", p->name, SLICE_ARG(version));
    uint32_t can = 0, wants = 0;
    struct slice beats = get(p, f, STOMP_H_HEART_BEAT, buf, sizeof(buf));
    if (beats.len && stomp_heart_beat_parse(beats, &can, &wants) != ERR_OK)
        world_fail(p->w, "%s: a heart-beat header that cannot be read", p->name);
    p->can_ms = p->can_ms && wants ? MAX(p->can_ms, wants) : 0;
    p->wants_ms = p->wants_ms && can ? MAX(p->wants_ms, can) : 0;
    p->state = STOMP_PEER_ON;
    world_trace(p->w, "%s < CONNECTED, sends every %u, hears every %u", p->name, p->can_ms, p->wants_ms);
    peer_stomp_start_beats(p);
}

/* ---- MESSAGE ------------------------------------------------------------------------------------------------------
 */

/* read_dest: the topic in MQTT spelling, or the queue's name, into out[400]. */
static struct slice read_dest(struct peer_stomp *p, const struct stomp_frame *f, bool is_queue, uint8_t *out)
{
    static const struct slice none = {0};
    uint8_t buf[400];
    struct slice text = get(p, f, STOMP_H_DESTINATION, buf, sizeof(buf)), parsed;
    struct stomp_dest d;
    enum err e = stomp_dest_parse(text, &d);
    uint8_t room[400];
    if (e == ERR_OK && is_queue && d.kind == STOMP_DEST_QUEUE)
        e = stomp_dest_name(&d, room, sizeof(room), &parsed);
    else if (e == ERR_OK && !is_queue)
        e = stomp_dest_topic(&d, STOMP_DIALECT_MERGED, room, sizeof(room), &parsed);
    else
        e = ERR_INVALID;
    if (e != ERR_OK) {
        world_fail(p->w, "%s: a MESSAGE from '" SLICE_FMT "', which makes no sense here", p->name, SLICE_ARG(text));
        return none;
    }
    memcpy(out, parsed.p, parsed.len);
    return slice_make(out, parsed.len);
}

static uint8_t copy_id(struct peer_stomp *p, struct slice id, uint8_t *out)
{
    if (id.len > STOMP_ID_MAX)
        world_fail(p->w, "%s: an id of %zu bytes", p->name, id.len);
    size_t n = MIN(id.len, (size_t)STOMP_ID_MAX);
    if (n)
        memcpy(out, id.p, n);
    return (uint8_t)n;
}

static void hold(struct peer_stomp *p, const struct stomp_frame *f, const struct stomp_sub *s, uint32_t pub,
                 uint32_t take)
{
    struct stomp_held h = {.sub = s->id, .pub = pub, .take = take};
    uint8_t buf[STOMP_ID_MAX];
    struct slice id = get(p, f, STOMP_H_ACK, buf, sizeof(buf));
    if (p->v == STOMP_1_2 && id.len == 0)
        world_fail(p->w, "%s: a MESSAGE that wants an ACK has no ack header", p->name); /* STOMP 1.2 §MESSAGE */
    h.id_len = copy_id(p, id, h.id);
    h.message_id_len = copy_id(p, get(p, f, STOMP_H_MESSAGE_ID, buf, sizeof(buf)), h.message_id);
    p->held = model_grow(&p->w->mem, p->held, &p->held_cap, p->held_n + 1, sizeof(*p->held));
    p->held[p->held_n++] = h;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->held_n; i++)
        n += p->held[i].sub == s->id;
    if (s->prefetch && n > s->prefetch)
        world_fail(p->w, "%s: %u deliveries unanswered, prefetch-count is %u", p->name, n, s->prefetch);
    if (p->state == STOMP_PEER_ON)
        peer_stomp_plan_tick(p, 1 + roll(p->w, 300));
}

static void check_tag(struct peer_stomp *p, const struct stomp_frame *f, uint32_t pub)
{
    uint8_t name_buf[64], buf[64];
    struct slice name, tag = {0};
    for (uint32_t i = 0; i < f->header_n; i++)
        if (stomp_header_name(f, i, name_buf, sizeof(name_buf), &name) == ERR_OK && slice_eq_str(name, "tag") &&
            stomp_header_value(f, i, buf, sizeof(buf), &tag) != ERR_OK)
            world_fail(p->w, "%s: a header that cannot be read", p->name);
    model_check_tag(&p->w->model, pub, tag);
}

static void on_message(struct peer_stomp *p, const struct stomp_frame *f)
{
    struct world *w = p->w;
    const struct stomp_sub *s = peer_stomp_sub(p, get_u32(p, f, STOMP_H_SUBSCRIPTION, ""));
    uint8_t buf[STOMP_ID_MAX], dest[400];
    if (s == NULL || get(p, f, STOMP_H_MESSAGE_ID, buf, sizeof(buf)).len == 0) {
        world_fail(w, "%s: a MESSAGE for no subscription, or without message-id", p->name);
        return;
    }
    struct slice from = read_dest(p, f, s->queue != 0, dest);
    bool is_clear = f->body.len == 0 && !s->queue; /* of a retained message: no number to know it by */
    uint32_t pub = is_clear ? MODEL_NONE : model_pub_from_payload(&w->model, f->body);
    if (w->model.why[0])
        return;
    bool again = is_true(p, f, STOMP_H_REDELIVERED), retained = is_true(p, f, STOMP_H_RETAINED);
    world_trace(w, "%s < MESSAGE %u #%d%s%s", p->name, s->id, (int)pub, again ? " redelivered" : "",
                retained ? " retained" : "");
    uint32_t take = MODEL_NONE;
    if (s->queue) {
        const struct take t = {.pub = pub,
                               .link = p->link.number,
                               .state = s->ack == STOMP_ACK_AUTO ? TAKE_AUTO : TAKE_HELD,
                               .redelivered = again};
        take = model_take(&w->model, &t, from);
    } else if (!is_clear) {
        struct got got = {.pub = pub, .qos = s->ack != STOMP_ACK_AUTO, .retain = retained, .dup = again};
        model_got(&w->model, s->box, &got, from);
    }
    if (!is_clear)
        check_tag(p, f, pub);
    if (s->ack != STOMP_ACK_AUTO)
        hold(p, f, s, pub, take);
}

/* ---- RECEIPT, ERROR -----------------------------------------------------------------------------------------------
 */

/* all_before: everything that was sent in front of an answered frame has been done too. */
static void all_before(struct peer_stomp *p, uint32_t receipt)
{
    struct model *m = &p->w->model;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->acked_n; i++) {
        if (p->acked[i].receipt <= receipt)
            m->take[p->acked[i].ref].state = TAKE_SURE;
        else
            p->acked[n++] = p->acked[i];
    }
    p->acked_n = n;
    n = 0;
    for (uint32_t i = 0; i < p->loose_n; i++) {
        if (p->loose[i].receipt <= receipt)
            model_pub_acked(m, p->loose[i].ref);
        else
            p->loose[n++] = p->loose[i];
    }
    p->loose_n = n;
}

static void on_receipt(struct peer_stomp *p, const struct stomp_frame *f)
{
    struct model *m = &p->w->model;
    uint32_t number = get_u32(p, f, STOMP_H_RECEIPT_ID, "r");
    world_trace(p->w, "%s < RECEIPT r%u", p->name, number);
    if (p->owed_n == 0 || p->owed[0].number != number) {
        world_fail(p->w, "%s: RECEIPT r%u, r%u is next", p->name, number, p->owed_n ? p->owed[0].number : 0);
        return;
    }
    struct stomp_owed o = p->owed[0];
    memmove(&p->owed[0], &p->owed[1], (p->owed_n - 1) * sizeof(*p->owed));
    p->owed_n--;
    all_before(p, number);
    struct stomp_sub *s = o.kind == OWED_SUBSCRIBE || o.kind == OWED_UNSUBSCRIBE ? peer_stomp_sub(p, o.ref) : NULL;
    if (o.kind == OWED_SEND)
        model_pub_acked(m, o.ref);
    else if (o.kind == OWED_COMMIT)
        model_tx_ended(m, o.ref, TX_COMMITTED);
    else if (o.kind == OWED_SUBSCRIBE && s && s->box)
        model_sub_granted(m, s->box, s->model_sub);
    else if (o.kind == OWED_UNSUBSCRIBE && s && s->box)
        model_sub_gone(m, s->box, s->box->sub[s->model_sub].filter);
}

static void on_error(struct peer_stomp *p, const struct stomp_frame *f)
{
    struct world *w = p->w;
    uint8_t buf[256];
    struct slice text = get(p, f, STOMP_H_MESSAGE, buf, sizeof(buf));
    uint32_t number = get_u32(p, f, STOMP_H_RECEIPT_ID, "r");
    world_trace(w, "%s < ERROR " SLICE_FMT " receipt r%u: " SLICE_FMT, p->name, SLICE_ARG(text), number,
                SLICE_ARG(f->body));
    for (uint32_t i = 0; number && i < p->owed_n; i++)
        if (p->owed[i].number == number && p->owed[i].kind == OWED_SEND)
            model_pub_refused(&w->model, p->owed[i].ref);
    for (uint32_t i = 0; number && i < p->owed_n; i++)
        if (p->owed[i].number == number && p->owed[i].kind == OWED_COMMIT)
            model_tx_ended(&w->model, p->owed[i].ref, TX_REFUSED);
    bool is_fair = w->plan.has_small_queues || w->plan.only_safety || w->is_stopping || p->state == STOMP_PEER_SILENT;
    if (!is_fair)
        world_fail(w, "%s: ERROR " SLICE_FMT, p->name, SLICE_ARG(text));
}

/* ---- everything ---------------------------------------------------------------------------------------------------
 */

static void on_frame(struct peer_stomp *p, const struct stomp_frame *f)
{
    bool is_first = p->state == STOMP_PEER_CONNECTING;
    if (f->command != STOMP_CMD_ERROR && is_first != (f->command == STOMP_CMD_CONNECTED)) {
        world_fail(p->w, "%s: " SLICE_FMT " in the wrong place", p->name, SLICE_ARG(stomp_command_text(f->command)));
        return;
    }
    switch (f->command) {
    case STOMP_CMD_CONNECTED:
        on_connected(p, f);
        break;
    case STOMP_CMD_MESSAGE:
        on_message(p, f);
        break;
    case STOMP_CMD_RECEIPT:
        on_receipt(p, f);
        break;
    case STOMP_CMD_ERROR:
        on_error(p, f);
        break;
    default:
        world_fail(p->w, "%s: a server does not send " SLICE_FMT, p->name, SLICE_ARG(stomp_command_text(f->command)));
    }
}

static size_t on_bytes(struct link *l, const uint8_t *in, size_t len)
{
    struct peer_stomp *p = CONTAINER_OF(l, struct peer_stomp, link);
    size_t eaten = 0;
    while (l->t && eaten < len && p->w->model.why[0] == 0) {
        struct stomp_frame f;
        enum stomp_version v = p->state == STOMP_PEER_CONNECTING ? STOMP_1_2 : p->v;
        ptrdiff_t n = stomp_frame_decode(in + eaten, len - eaten, &limits_wide, v, &p->scan, &f);
        if (n < 0)
            world_fail(p->w, "%s: the broker sent bytes that are no frame: %s", p->name, err_text((enum err) - n));
        if (n <= 0)
            break;
        if (f.command != STOMP_CMD_EOL) {
            world_busy(p->w);
            on_frame(p, &f);
        }
        eaten += (size_t)n;
    }
    return eaten;
}

static void on_end(struct link *l, enum err why)
{
    struct peer_stomp *p = CONTAINER_OF(l, struct peer_stomp, link);
    world_trace(p->w, "%s < %s", p->name, err_name(why));
    peer_stomp_is_off(p);
}

const struct link_ops peer_stomp_link_ops = {.on_bytes = on_bytes, .on_end = on_end};
