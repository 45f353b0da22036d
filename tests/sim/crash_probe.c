/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_probe.c: CONNECT and SUBSCRIBE at once, then it listens until nothing came for a while. What was promised when
 * it asked must be there; what is published meanwhile comes as a live message and is not looked at.
 */
#include "tests/sim/crash_probe.h"

#include "proto_mqtt/mqtt_wire.h"

enum { PATIENCE_MS = 1500 };

struct crash_probe {
    struct crash_link link; /* first */
    struct crash_world *w;
    struct sim_event enough;
    uint32_t floor[CRASH_DEVS][CRASH_KEEPS], seen[CRASH_DEVS][CRASH_KEEPS];
    uint32_t looks;
    bool is_subscribed;
};

static void on_publish(struct crash_probe *p, const struct mqtt_frame *f)
{
    struct crash_model *m = &p->w->model;
    struct mqtt_publish d;
    if (mqtt_publish_decode(f, MQTT_V5, &d) != ERR_OK || d.qos != 0) {
        crash_fail(m, "probe: a delivery that cannot be");
        return;
    }
    if (!d.retain)
        return;
    uint32_t msg = crash_from_payload(m, d.payload);
    if (msg == CRASH_NONE)
        return;
    const struct crash_msg *c = &m->msg[msg];
    if (c->kind != TO_KEEP || p->seen[c->from][c->place] != CRASH_NONE) {
        crash_fail(m, "probe: #%u is not retained, or its topic has two", msg);
        return;
    }
    p->seen[c->from][c->place] = msg;
}

static size_t on_bytes(struct crash_link *l, const uint8_t *in, size_t len)
{
    struct crash_probe *p = CONTAINER_OF(l, struct crash_probe, link);
    size_t eaten = 0;
    struct mqtt_frame f;
    for (;;) {
        ptrdiff_t n = mqtt_frame_peek(in + eaten, len - eaten, MQTT_PACKET_BYTES_MAX, &f);
        if (n <= 0)
            return eaten;
        p->w->busy_at = crash_now(p->w);
        if (f.type == MQTT_PUBLISH)
            on_publish(p, &f);
        if (f.type == MQTT_SUBACK)
            p->is_subscribed = true;
        if (p->is_subscribed)
            sim_plan(p->w->loop, &p->enough, crash_now(p->w) + PATIENCE_MS);
        eaten += (size_t)n;
    }
}

static void on_end(struct crash_link *l)
{
    sim_cancel(l->w->loop, &CONTAINER_OF(l, struct crash_probe, link)->enough);
}

static const struct crash_link_ops probe_link_ops = {.on_bytes = on_bytes, .on_end = on_end};

static void on_enough(struct sim_event *ev)
{
    struct crash_probe *p = CONTAINER_OF(ev, struct crash_probe, enough);
    for (uint32_t d = 0; d < CRASH_DEVS; d++)
        for (uint32_t k = 0; k < CRASH_KEEPS; k++)
            crash_check_keep(&p->w->model, d, k, p->floor[d][k], p->seen[d][k]);
    crash_trace(p->w, "probe has looked");
    p->looks++;
    crash_link_close(&p->link, false);
}

static void put(struct crash_probe *p, ptrdiff_t n)
{
    BUG_ON(n <= 0);
    buf_wrote(&p->link.out, (size_t)n);
}

static uint8_t *room(struct crash_probe *p)
{
    uint8_t *r = buf_room(&p->link.out, 128);
    BUG_ON(r == NULL);
    return r;
}

bool crash_probe_look(struct crash_probe *p)
{
    if (p->link.t != NULL || !crash_link_open(&p->link))
        return false;
    p->is_subscribed = false;
    for (uint32_t d = 0; d < CRASH_DEVS; d++)
        for (uint32_t k = 0; k < CRASH_KEEPS; k++) {
            p->seen[d][k] = CRASH_NONE;
            p->floor[d][k] = p->w->model.keep[d][k].floor;
        }
    struct mqtt_connect c = {.version = MQTT_V5, .level = MQTT_V5, .clean = true, .client_id = SLICE("probe")};
    mqtt_props_clear(&c.props);
    put(p, mqtt_connect_encode(&c, room(p), 128));
    struct mqtt_sub_item item = {.filter = SLICE("r/#")};
    struct mqtt_subscribe s = {.packet_id = 1};
    mqtt_props_clear(&s.props);
    put(p, mqtt_subscribe_encode(&s, &item, 1, MQTT_V5, room(p), 128));
    crash_trace(p->w, "probe looks");
    crash_link_flush(&p->link);
    return true;
}

uint32_t crash_probe_looks(const struct crash_probe *p)
{
    return p->looks;
}

struct crash_probe *crash_probe_new(struct crash_world *w)
{
    struct crash_probe *p = mem_zalloc(&w->mem, sizeof(*p));
    BUG_ON(p == NULL);
    p->w = w;
    p->enough.on_due = on_enough;
    crash_link_init(&p->link, w, &probe_link_ops);
    return p;
}

void crash_probe_free(struct crash_probe *p)
{
    struct crash_world *w = p->w;
    sim_cancel(w->loop, &p->enough);
    crash_link_fini(&p->link);
    mem_free(&w->mem, p);
}
