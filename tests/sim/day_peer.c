/* SPDX-License-Identifier: Apache-2.0 */
/*
 * day_peer.c: a calm simulated world, in which only time passes.
 *
 *     day_publish ─► pipe ─► broker ┄ timers ┄► pipe ─► on_ready ─► on_heard(number), PUBACK
 *
 * Invariants
 *   1. Nothing is random and the network takes no time: what a peer says reaches the broker in the same millisecond.
 *   2. A peer answers a delivery at once, and says nothing else by itself.
 */
#include "tests/sim/day_peer.h"

#include <stdio.h>
#include <string.h>

#include "core/conn.h"
#include "proto_mqtt/mqtt_adapter.h"

enum { ROOM = 1024 };

/* ---- saying -------------------------------------------------------------------------------------------------------
 */

static void say(struct day_peer *p, const uint8_t *bytes, ptrdiff_t n)
{
    BUG_ON(p->t == NULL || n <= 0);
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = (size_t)n};
    BUG_ON(p->t->ops->sendv(p->t, &iov, 1) != n); /* the pipes are never full here */
}

void day_subscribe(struct day_peer *p, const char *filter)
{
    uint8_t out[ROOM];
    struct mqtt_subscribe s = {.packet_id = ++p->packet_id};
    const struct mqtt_sub_item item = {.filter = slice_from_str(filter), .qos = 1};
    mqtt_props_clear(&s.props);
    say(p, out, mqtt_subscribe_encode(&s, &item, 1, MQTT_V5, out, sizeof(out)));
}

void day_publish(struct day_peer *p, const char *topic, uint32_t number, uint32_t expiry_s)
{
    uint8_t out[ROOM];
    char text[16];
    int n = snprintf(text, sizeof(text), "%u", number);
    struct mqtt_publish m = {.topic = slice_from_str(topic), .packet_id = ++p->packet_id, .qos = 1};
    const struct mqtt_publish_extra extra = {.has_expiry = expiry_s != 0, .expiry_s = expiry_s};
    m.payload = slice_make(text, (size_t)n);
    size_t head = mqtt_publish_head(out, &m, &extra, MQTT_V5);
    BUG_ON(head == 0 || head + (size_t)n > sizeof(out));
    memcpy(out + head, text, (size_t)n);
    say(p, out, (ptrdiff_t)head + n);
}

void day_ping(struct day_peer *p)
{
    uint8_t out[MQTT_PING_BYTES];
    mqtt_ping_put(out, MQTT_PINGREQ);
    say(p, out, sizeof(out));
}

static void end(struct day_peer *p)
{
    p->t->ops->destroy(p->t);
    p->t = NULL;
}

void day_leave(struct day_peer *p, enum day_end how)
{
    uint8_t out[ROOM];
    struct mqtt_closing d = {.code = MQTT_RC_NORMAL};
    mqtt_props_clear(&d.props);
    if (how == DAY_SESSION_ENDS) {
        d.props.has = MQTT_HAS(SESSION_EXPIRY);
        d.props.session_expiry_s = 0;
    }
    say(p, out, mqtt_disconnect_encode(&d, MQTT_V5, out, sizeof(out)));
    end(p);
}

void day_die(struct day_peer *p)
{
    net_sim_reset(p->t, NET_KEEP);
    end(p);
}

/* ---- hearing ------------------------------------------------------------------------------------------------------
 */

static void heard_publish(struct day_peer *p, const struct mqtt_frame *f)
{
    struct mqtt_publish m;
    struct mqtt_props props;
    unsigned number = UINT32_MAX;
    char text[16] = "";
    BUG_ON(mqtt_publish_decode(f, MQTT_V5, &m) != ERR_OK);
    mqtt_props_clear(&props);
    BUG_ON(m.props.len && mqtt_props_collect(m.props, MQTT_PUBLISH, &props) != ERR_OK);
    memcpy(text, m.payload.p, MIN(m.payload.len, sizeof(text) - 1));
    if (sscanf(text, "%u", &number) != 1)
        number = UINT32_MAX;
    if (m.qos) {
        uint8_t out[MQTT_ACK_BYTES];
        mqtt_ack_put(out, MQTT_PUBACK, m.packet_id);
        say(p, out, sizeof(out));
    }
    if (p->day->on_heard)
        p->day->on_heard(p->day, p, number, &m, &props);
}

static void heard(struct day_peer *p, const struct mqtt_frame *f)
{
    struct mqtt_connack c;
    struct mqtt_closing d;
    switch (f->type) {
    case MQTT_CONNACK:
        BUG_ON(mqtt_connack_decode(f, MQTT_V5, &c) != ERR_OK || c.code != 0);
        p->has_connack = true;
        p->session_present = c.session_present;
        break;
    case MQTT_PUBLISH:
        heard_publish(p, f);
        break;
    case MQTT_DISCONNECT:
        BUG_ON(mqtt_disconnect_decode(f, MQTT_V5, &d) != ERR_OK);
        p->close_code = d.code;
        break;
    default:
        break;
    }
}

static void eat(struct day_peer *p)
{
    struct mqtt_frame f;
    size_t at = 0;
    while (p->t) {
        ptrdiff_t n = mqtt_frame_peek(p->in + at, p->in_len - at, sizeof(p->in), &f);
        BUG_ON(n < 0);
        if (n == 0)
            break;
        heard(p, &f);
        at += (size_t)n;
    }
    p->in_len -= at;
    memmove(p->in, p->in + at, p->in_len);
}

static void on_ready(struct transport *t, unsigned events)
{
    struct day_peer *p = t->up;
    UNUSED(events);
    while (p->t) {
        ptrdiff_t n = t->ops->recv(t, p->in + p->in_len, sizeof(p->in) - p->in_len);
        if (n == -ERR_AGAIN)
            return;
        if (n < 0) {
            p->closed_at = day_now(p->day);
            end(p);
            return;
        }
        p->in_len += (size_t)n;
        eat(p);
    }
}

/* ---- the world ----------------------------------------------------------------------------------------------------
 */

struct day_peer *day_connect(struct day *d, const struct day_login *login)
{
    uint8_t out[ROOM];
    char will[16];
    struct transport *pair[2];
    struct day_peer *p = mem_zalloc(&d->mem, sizeof(*p));
    BUG_ON(p == NULL);
    p->day = d;
    p->next = d->peers;
    d->peers = p;
    net_sim_pair(&d->net, pair);
    BUG_ON(conn_new(d->shard, pair[1], &d->door) == NULL);
    p->t = pair[0];
    p->t->up = p;
    p->t->on_ready = on_ready;
    p->t->ops->want(p->t, LOOP_READ);
    struct mqtt_connect c = {.version = MQTT_V5, .level = MQTT_V5, .clean = login->clean};
    mqtt_props_clear(&c.props);
    mqtt_props_clear(&c.will_props);
    c.client_id = slice_from_str(login->id);
    c.keepalive_s = login->keepalive_s;
    c.props.has = MQTT_HAS(SESSION_EXPIRY);
    c.props.session_expiry_s = login->expiry_s;
    if (login->will_topic) {
        c.has_will = true;
        c.will_qos = 1;
        c.will_topic = slice_from_str(login->will_topic);
        c.will_payload = slice_make(will, (size_t)snprintf(will, sizeof(will), "%u", login->will_number));
        c.will_props.has = MQTT_HAS(WILL_DELAY);
        c.will_props.will_delay_s = login->will_delay_s;
    }
    say(p, out, mqtt_connect_encode(&c, out, sizeof(out)));
    return p;
}

void day_open(struct day *d, uint32_t sys_interval_s)
{
    static const struct net_faults calm = {.buffer_bytes = 65536};
    *d = (struct day){.adapters = {&mqtt_adapter}};
    mem_heap_init(&d->heap);
    mem_heap_init(&d->sim_heap);
    mem_init(&d->mem, &d->sim_heap, "simulator");
    d->loop = loop_sim_new(&d->mem, NULL);
    net_sim_init(&d->net, d->loop, &d->mem, NULL, &calm);
    log_init(&d->log);
    d->log.level = LOG_ERROR;
    struct shard_config config = {.loop = &d->loop->loop,
                                  .log = &d->log,
                                  .heap = &d->heap,
                                  .retain_available = true,
                                  .sys_interval_s = sys_interval_s};
    limits_default(&config.limits);
    d->shard = shard_new(&config);
    BUG_ON(d->shard == NULL);
    d->door = (struct door){.adapter = d->adapters, .name = "day", .allow_anonymous = true};
}

void day_close(struct day *d)
{
    shard_check(d->shard);
    shard_free(d->shard);
    BUG_ON(d->heap.bytes != 0);
    while (d->peers) {
        struct day_peer *p = d->peers;
        d->peers = p->next;
        if (p->t)
            end(p);
        mem_free(&d->mem, p);
    }
    net_sim_fini(&d->net);
    d->loop->loop.ops->destroy(&d->loop->loop);
    BUG_ON(d->sim_heap.bytes != 0);
}
