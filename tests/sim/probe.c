/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c: what is retained? An MQTT 5 peer of the simplest kind: CONNECT and SUBSCRIBE at once, then it only listens.
 * It asks for QoS 0, so it owes no answers.
 */
#include "tests/sim/probe.h"

#include "proto_mqtt/mqtt_wire.h"

struct probe {
    struct link link; /* first */
    struct world *w;
    uint32_t *kept; /* by topic: the message, or MODEL_NONE */
    uint64_t full;  /* drops by queue limits before it came */
    bool is_subscribed;
};

static void on_publish(struct probe *p, const struct mqtt_frame *f)
{
    struct mqtt_publish m;
    if (mqtt_publish_decode(f, MQTT_V5, &m) != ERR_OK || m.qos != 0) {
        world_fail(p->w, "probe: a delivery that cannot be, it asked for QoS 0");
        return;
    }
    if (!m.retain)
        return; /* a will whose delay has passed */
    uint32_t pub = model_pub_from_payload(&p->w->model, m.payload);
    world_trace(p->w, "probe < #%d " SLICE_FMT, (int)pub, SLICE_ARG(m.topic));
    if (pub == MODEL_NONE)
        return;
    for (uint32_t i = 0; i < world_topics_n; i++) {
        if (!slice_eq_str(m.topic, world_topics[i]))
            continue;
        if (p->kept[i] != MODEL_NONE)
            world_fail(p->w, "probe: two retained messages came for %s", world_topics[i]);
        p->kept[i] = pub;
        return;
    }
    world_fail(p->w, "probe: a retained message on " SLICE_FMT ", which nobody used", SLICE_ARG(m.topic));
}

static size_t on_bytes(struct link *l, const uint8_t *in, size_t len)
{
    struct probe *p = CONTAINER_OF(l, struct probe, link);
    size_t eaten = 0;
    struct mqtt_frame f;
    for (;;) {
        ptrdiff_t n = mqtt_frame_peek(in + eaten, len - eaten, MQTT_PACKET_BYTES_MAX, &f);
        if (n <= 0)
            return eaten;
        world_busy(p->w);
        if (f.type == MQTT_PUBLISH)
            on_publish(p, &f);
        p->is_subscribed |= f.type == MQTT_SUBACK;
        eaten += (size_t)n;
    }
}

static void on_end(struct link *l, enum err why)
{
    world_fail(l->w, "probe: the broker ended the connection: %s", err_text(why));
}

static const struct link_ops probe_link_ops = {.on_bytes = on_bytes, .on_end = on_end};

static void put(struct probe *p, ptrdiff_t n)
{
    BUG_ON(n <= 0);
    buf_wrote(&p->link.out, (size_t)n);
}

static uint8_t *room(struct probe *p)
{
    uint8_t *r = buf_room(&p->link.out, 256);
    BUG_ON(r == NULL);
    return r;
}

struct probe *probe_new(struct world *w)
{
    struct probe *p = mem_zalloc(&w->mem, sizeof(*p));
    uint32_t *kept = mem_alloc(&w->mem, world_topics_n * sizeof(uint32_t));
    BUG_ON(p == NULL || kept == NULL);
    p->w = w;
    p->kept = kept;
    p->full = w->shard->stats.v[STAT_DROP_FULL];
    for (uint32_t i = 0; i < world_topics_n; i++)
        kept[i] = MODEL_NONE;
    link_init(&p->link, w, &probe_link_ops);
    link_open(&p->link);
    struct mqtt_connect c = {.version = MQTT_V5, .level = MQTT_V5, .clean = true, .client_id = SLICE("probe")};
    mqtt_props_clear(&c.props);
    put(p, mqtt_connect_encode(&c, room(p), 256));
    static const char *const filters[] = {"#", "$w/#"};
    struct mqtt_sub_item item[ARRAY_N(filters)];
    for (uint32_t i = 0; i < ARRAY_N(filters); i++)
        item[i] = (struct mqtt_sub_item){.filter = slice_from_str(filters[i])};
    struct mqtt_subscribe s = {.packet_id = 1};
    mqtt_props_clear(&s.props);
    put(p, mqtt_subscribe_encode(&s, item, ARRAY_N(filters), MQTT_V5, room(p), 256));
    link_flush(&p->link);
    return p;
}

void probe_judge(struct probe *p)
{
    struct world *w = p->w;
    if (!p->is_subscribed)
        world_fail(w, "probe: no SUBACK");
    if (w->plan.only_safety)
        return; /* a refused retained message leaves the former one, and nobody is told of a will's */
    bool may_lack = w->shard->stats.v[STAT_DROP_FULL] != p->full; /* larger than a whole small queue */
    for (uint32_t i = 0; i < world_topics_n; i++)
        if (p->kept[i] != MODEL_NONE || !may_lack)
            model_check_retained(&w->model, world_topics[i], p->kept[i]);
}

void probe_free(struct probe *p)
{
    struct world *w = p->w;
    link_fini(&p->link);
    mem_free(&w->mem, p->kept);
    mem_free(&w->mem, p);
}
