/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_mqtt.c: MQTT 3.1.1 as a publisher and a subscriber speak it.
 *
 *     giver   PUBLISH ─►          taker   ◄─ PUBLISH
 *                    ◄─ PUBACK (1)               PUBACK (1) ─►
 *                    ◄─ PUBREC (2)               PUBREC (2) ─►
 *             PUBREL ─►                   ◄─ PUBREL
 *                    ◄─ PUBCOMP                  PUBCOMP ─►
 *
 * Invariants
 *   1. A packet id is used again only after it was settled; ids may be settled in any order.
 *   2. The answers to one read fit the output: each is four bytes, as long as the shortest packet it can answer.
 * Cost    no allocation; one pass over the bytes.
 * Spec    MQTT 3.1.1 §3, §4.3.
 */
#include "bench/peer.h"

#include <stdio.h>
#include <string.h>

struct packet {
    const uint8_t *body;
    uint32_t body_bytes, total;
    uint8_t type, flags;
};

/* packet_peek: false if the packet is not whole yet. */
static inline bool packet_peek(const uint8_t *in, size_t len, struct packet *p)
{
    uint32_t n = 0, head = 1;
    for (unsigned shift = 0;; shift += 7) {
        if (len <= head)
            return false;
        uint8_t byte = in[head++];
        n |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
        if (shift == 21)
            die("the broker sent a packet without a length");
    }
    *p = (struct packet){in + head, n, head + n, in[0] >> 4, in[0] & 15};
    return len >= p->total;
}

static uint32_t length_put(uint8_t *out, uint32_t n)
{
    uint32_t at = 0;
    for (; n > 0x7f; n >>= 7)
        out[at++] = (uint8_t)(n | 0x80);
    out[at++] = (uint8_t)n;
    return at;
}

static uint32_t text_put(uint8_t *out, const void *text, uint32_t n)
{
    out[0] = (uint8_t)(n >> 8);
    out[1] = (uint8_t)n;
    memcpy(out + 2, text, n);
    return 2 + n;
}

void template_mqtt(struct template *t, const char *topic, uint8_t qos, bool retain, uint32_t payload_bytes)
{
    uint32_t topic_bytes = (uint32_t)strlen(topic), at = 1;
    *t = (struct template){.bytes = take(16 + topic_bytes + payload_bytes, 1), .payload_bytes = payload_bytes};
    t->bytes[0] = (uint8_t)(0x30 | qos << 1 | (retain ? 1 : 0));
    at += length_put(t->bytes + at, 2 + topic_bytes + (qos > 0 ? 2u : 0u) + payload_bytes);
    t->topic_at = at + 2;
    at += text_put(t->bytes + at, topic, topic_bytes);
    t->id_at = qos > 0 ? at : 0;
    at += qos > 0 ? 2 : 0;
    t->payload_at = at;
    payload_fill(t->bytes + at, payload_bytes);
    t->n = at + payload_bytes;
}

/* ---- giver -------------------------------------------------------------------------------------------------- */

void giver_init(struct giver *g, struct net *net, uint8_t qos, uint32_t window, uint32_t out_cap)
{
    uint32_t slots = 1;
    if (window == 0 || window > GIVER_WINDOW_MAX)
        die("a window of %u is not supported; 1 to %u are", window, GIVER_WINDOW_MAX);
    while (slots < 2 * window)
        slots *= 2;
    *g = (struct giver){.slot_mask = slots - 1, .qos = qos};
    if (qos > 0)
        g->slot = take(slots, 1);
    link_init(&g->link, net, 4096, out_cap + (qos == 2 ? 4 * slots : 0));
}

void giver_settle(struct giver *g, uint32_t id, enum slot_state was, uint32_t *n)
{
    uint32_t i = id - 1;
    if (g->qos == 0 || i > g->slot_mask || g->slot[i] != was)
        die("the broker acknowledged message %u, which is not in flight", id);
    g->slot[i] = SLOT_FREE;
    g->unsettled--;
    g->settled++;
    (*n)++;
}

/* on_received: PUBREC; answered with PUBREL. */
static void on_received(struct giver *g, uint32_t id)
{
    uint32_t i = id - 1;
    if (g->qos != 2 || i > g->slot_mask || g->slot[i] != SLOT_SENT)
        die("the broker sent PUBREC for packet id %u, which is not in flight", id);
    g->slot[i] = SLOT_RELEASED;
    uint8_t *out = link_end(&g->link);
    out[0] = 0x62;
    out[1] = 2;
    out[2] = (uint8_t)(id >> 8);
    out[3] = (uint8_t)id;
    g->link.out_n += 4;
}

size_t mqtt_giver_bytes(struct link *l, const uint8_t *in, size_t len)
{
    struct giver *g = CONTAINER_OF(l, struct giver, link);
    struct packet p;
    uint32_t settled = 0;
    size_t at = 0;
    for (; packet_peek(in + at, len - at, &p); at += p.total) {
        if (p.body_bytes != 2)
            die("a publisher got a packet of type %u and %u bytes", p.type, p.body_bytes);
        uint32_t id = (uint32_t)(p.body[0] << 8 | p.body[1]);
        if (p.type == 5)
            on_received(g, id);
        else if ((p.type == 4 && g->qos == 1) || (p.type == 7 && g->qos == 2))
            giver_settle(g, id, p.type == 4 ? SLOT_SENT : SLOT_RELEASED, &settled);
        else
            die("a publisher got a packet of type %u", p.type);
    }
    if (settled > 0 && g->on_settled != NULL)
        g->on_settled(g, settled);
    return at;
}

/* ---- taker -------------------------------------------------------------------------------------------------- */

void taker_init(struct taker *t, struct net *net, uint32_t payload_bytes)
{
    *t = (struct taker){.acks = false};
    link_init(&t->link, net, payload_bytes + 4096, 4 * IN_BYTES);
}

static inline void answer(struct link *l, uint8_t first, const uint8_t *id)
{
    uint8_t *out = link_end(l);
    out[0] = first;
    out[1] = 2;
    out[2] = id[0];
    out[3] = id[1];
    l->out_n += 4;
}

static inline void on_publish(struct taker *t, const struct packet *p)
{
    uint32_t qos = (p->flags >> 1) & 3;
    if (p->body_bytes < 2)
        die("a subscriber got a PUBLISH without a topic");
    uint32_t topic_bytes = (uint32_t)(p->body[0] << 8 | p->body[1]);
    uint32_t front = 2 + topic_bytes + (qos > 0 ? 2u : 0u);
    if (front > p->body_bytes || qos == 3)
        die("a subscriber got a malformed PUBLISH");
    struct message m = {.topic = p->body + 2,
                        .topic_bytes = topic_bytes,
                        .payload = p->body + front,
                        .payload_bytes = p->body_bytes - front,
                        .retain = (p->flags & 1) != 0,
                        .dup = (p->flags & 8) != 0};
    if (qos > 0)
        answer(&t->link, qos == 1 ? 0x40 : 0x50, p->body + front - 2);
    t->on_message(t, &m);
}

size_t mqtt_taker_bytes(struct link *l, const uint8_t *in, size_t len)
{
    struct taker *t = CONTAINER_OF(l, struct taker, link);
    struct packet p;
    size_t at = 0;
    for (; packet_peek(in + at, len - at, &p); at += p.total) {
        if (LIKELY(p.type == 3))
            on_publish(t, &p);
        else if (p.type == 6 && p.body_bytes == 2)
            answer(l, 0x70, p.body);
        else if (p.type == 9 && p.body_bytes == 3 && p.body[2] < 0x80)
            t->granted++;
        else
            die("a subscriber got a packet of type %u", p.type);
    }
    return at;
}

/* ---- login and subscriptions -------------------------------------------------------------------------------- */

uint32_t mqtt_connect_put(uint8_t *out, const char *name, enum session_kind kind)
{
    uint32_t n = (uint32_t)strlen(name), at = 1;
    out[0] = 0x10;
    at += length_put(out + at, 12 + n);
    at += text_put(out + at, "MQTT", 4);
    out[at++] = 4;
    out[at++] = kind == SESSION_NEW ? 0x02 : 0x00;
    out[at++] = 0; /* no keep-alive */
    out[at++] = 0;
    return at + text_put(out + at, name, n);
}

bool mqtt_login(struct link *l, const char *name, enum session_kind kind)
{
    uint8_t packet[256], answer_bytes[4];
    if (strlen(name) > 128)
        die("the client identifier is too long");
    link_send(l, packet, mqtt_connect_put(packet, name, kind));
    link_recv(l, answer_bytes, sizeof(answer_bytes));
    if (answer_bytes[0] != 0x20 || answer_bytes[1] != 2 || answer_bytes[3] != 0)
        die("the broker refused a login with %u", answer_bytes[3]);
    return (answer_bytes[2] & 1) != 0;
}

uint32_t mqtt_subscribe_put(uint8_t *out, const char *filters, uint32_t n, uint32_t bytes, uint8_t qos)
{
    uint32_t at = 1;
    out[0] = 0x82;
    at += length_put(out + at, 2 + n * (bytes + 3));
    out[at++] = 0;
    out[at++] = 1;
    for (uint32_t i = 0; i < n; i++) {
        at += text_put(out + at, filters + (size_t)i * bytes, bytes);
        out[at++] = qos;
    }
    return at;
}

#define FILTER_N_MAX     100u
#define FILTER_BYTES_MAX 200u

void mqtt_subscribe(struct link *l, const char *filters, uint32_t n, uint32_t bytes, uint8_t qos)
{
    uint8_t packet[8 + FILTER_N_MAX * (FILTER_BYTES_MAX + 3)], suback[4 + FILTER_N_MAX];
    if (n > FILTER_N_MAX || bytes > FILTER_BYTES_MAX)
        die("%u filters of %u bytes are too many or too long for one SUBSCRIBE", n, bytes);
    link_send(l, packet, mqtt_subscribe_put(packet, filters, n, bytes, qos));
    link_recv(l, suback, 4 + n);
    if (suback[0] != 0x90 || suback[1] != 2 + n || suback[3] != 1)
        die("the broker answered SUBSCRIBE with a packet of type %u", suback[0] >> 4);
    for (uint32_t i = 0; i < n; i++) {
        if (suback[4 + i] != qos)
            die("the broker answered the filter %.*s with %u", (int)bytes, filters + (size_t)i * bytes, suback[4 + i]);
    }
}

void mqtt_logout(struct link *l)
{
    const uint8_t packet[2] = {0xe0, 0};
    link_send(l, packet, sizeof(packet));
    link_close(l);
}
