/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec.c: packets and frames, to and from bytes. What a read would bring lies one behind the other, 64 KiB of it, and
 * is walked as the adapters walk it; the sums of the lengths found tell that nothing was left out.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/micro/micro.h"
#include "proto_mqtt/mqtt_wire.h"
#include "proto_stomp/stomp_wire.h"

enum { GULP_BYTES = 65536, ROOM = 4096 };

#define TOPIC       "site/17/temp"
#define DESTINATION "/topic/site.17.temp"

struct codec {
    uint32_t payload_bytes;
    uint8_t *payload;
    uint8_t *gulp; /* packets or frames, gulp_n bytes in all */
    size_t gulp_n, one_bytes;
    uint8_t *out; /* ROOM bytes */
};

/* ---- MQTT --------------------------------------------------------------------------------------------------- */

/* write_publish: a whole PUBLISH; its bytes. */
static inline size_t write_publish(const struct codec *c, uint8_t *out, uint16_t id)
{
    struct mqtt_publish p = {
        .topic = SLICE(TOPIC), .payload = slice_make(c->payload, c->payload_bytes), .packet_id = id, .qos = 1};
    size_t n = mqtt_publish_head(out, &p, NULL, MQTT_V311);
    memcpy(out + n, c->payload, c->payload_bytes);
    return n + c->payload_bytes;
}

static struct codec *codec_new(const struct micro *m)
{
    struct codec *c = micro_take(1, sizeof *c);
    c->payload_bytes = (uint32_t)m->arg;
    c->payload = micro_take(c->payload_bytes, 1);
    memset(c->payload, 'x', c->payload_bytes);
    c->gulp = micro_take(GULP_BYTES, 1);
    c->out = micro_take(ROOM, 1);
    return c;
}

static void codec_close(void *ctx)
{
    struct codec *c = ctx;
    free(c->payload);
    free(c->gulp);
    free(c->out);
    free(c);
}

static void *mqtt_open(const struct micro *m)
{
    struct codec *c = codec_new(m);
    c->one_bytes = write_publish(c, c->out, 1);
    for (uint16_t id = 1; c->gulp_n + c->one_bytes <= GULP_BYTES; id++)
        c->gulp_n += write_publish(c, c->gulp + c->gulp_n, id);
    return c;
}

static void mqtt_parse(void *ctx, uint64_t n, struct lap *out)
{
    const struct codec *c = ctx;
    uint64_t bytes = 0;
    size_t at = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct mqtt_frame f;
        struct mqtt_publish p;
        micro_seen(c->gulp);
        ptrdiff_t eaten = mqtt_frame_peek(c->gulp + at, c->gulp_n - at, MQTT_PACKET_BYTES_MAX, &f);
        if (eaten <= 0 || mqtt_publish_decode(&f, MQTT_V311, &p) != ERR_OK)
            return;
        micro_seen(&p);
        bytes += p.payload.len + p.topic.len + (p.packet_id != 0);
        at += (size_t)eaten;
        if (at == c->gulp_n)
            at = 0;
    }
    out->done = bytes / (c->payload_bytes + sizeof TOPIC - 1 + 1);
}

static void mqtt_encode(void *ctx, uint64_t n, struct lap *out)
{
    const struct codec *c = ctx;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < n; i++) {
        bytes += write_publish(c, c->out, (uint16_t)(i | 1));
        micro_seen(c->out);
    }
    out->done = bytes / c->one_bytes;
}

static void mqtt_topic(void *ctx, uint64_t n, struct lap *out)
{
    UNUSED(ctx);
    static const char text[] = "building/7/floor/12/room/1204/temp";
    struct slice topic = SLICE(text);
    for (uint64_t i = 0; i < n; i++) {
        micro_seen(&topic);
        out->done += mqtt_topic_name_check(topic) == ERR_OK;
    }
}

/* ---- STOMP -------------------------------------------------------------------------------------------------- */

static const struct stomp_limits stomp_limits = {.command_bytes = STOMP_COMMAND_BYTES_MAX,
                                                 .headers_n = STOMP_HEADERS_MAX,
                                                 .line_bytes = STOMP_LINE_BYTES_MAX,
                                                 .head_bytes = STOMP_HEAD_BYTES_MAX,
                                                 .body_bytes = 1u << 20};

static size_t write_frame(const struct codec *c, uint8_t *out, size_t cap, enum stomp_command command, uint64_t id)
{
    struct stomp_writer w;
    stomp_write_begin(&w, out, cap, STOMP_1_2, command);
    if (command == STOMP_CMD_MESSAGE)
        stomp_write_known(&w, STOMP_H_SUBSCRIPTION, SLICE("0"));
    stomp_write_known(&w, STOMP_H_DESTINATION, SLICE(DESTINATION));
    if (command == STOMP_CMD_MESSAGE)
        stomp_write_u64(&w, STOMP_H_MESSAGE_ID, id);
    ptrdiff_t n = stomp_write_body(&w, slice_make(c->payload, c->payload_bytes));
    return n > 0 ? (size_t)n : 0;
}

static void *stomp_open(const struct micro *m)
{
    struct codec *c = codec_new(m);
    c->one_bytes = write_frame(c, c->out, ROOM, STOMP_CMD_SEND, 0);
    for (; c->gulp_n + c->one_bytes <= GULP_BYTES; c->gulp_n += c->one_bytes) {
        (void)write_frame(c, c->out, ROOM, STOMP_CMD_SEND, 0);
        memcpy(c->gulp + c->gulp_n, c->out, c->one_bytes);
    }
    return c;
}

static void stomp_parse(void *ctx, uint64_t n, struct lap *out)
{
    const struct codec *c = ctx;
    uint64_t bytes = 0;
    size_t at = 0;
    struct stomp_scan scan = {0};
    struct stomp_frame f;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t unescaped[64];
        struct slice destination;
        micro_seen(c->gulp);
        ptrdiff_t eaten = stomp_frame_decode(c->gulp + at, c->gulp_n - at, &stomp_limits, STOMP_1_2, &scan, &f);
        if (eaten <= 0 || f.command != STOMP_CMD_SEND ||
            stomp_frame_get(&f, STOMP_H_DESTINATION, unescaped, sizeof unescaped, &destination) != ERR_OK)
            return;
        micro_seen(destination.p);
        bytes += f.body.len + destination.len;
        at += (size_t)eaten;
        if (at == c->gulp_n)
            at = 0;
    }
    out->done = bytes / (c->payload_bytes + sizeof DESTINATION - 1);
}

static void stomp_encode(void *ctx, uint64_t n, struct lap *out)
{
    const struct codec *c = ctx;
    static const uint64_t first = 1000000; /* all ids have seven digits */
    size_t one = write_frame(c, c->out, ROOM, STOMP_CMD_MESSAGE, first);
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < n; i++) {
        bytes += write_frame(c, c->out, ROOM, STOMP_CMD_MESSAGE, first + i % first);
        micro_seen(c->out);
    }
    out->done = bytes / one;
}

static const struct micro cases[] = {
    {"codec/mqtt-parse-64", "PUBLISH QoS 1 with 64 B: frame and packet", 64, mqtt_open, mqtt_parse, codec_close, 0},
    {"codec/mqtt-parse-1k", "the same with 1 KiB", 1024, mqtt_open, mqtt_parse, codec_close, 0},
    {"codec/mqtt-encode-64", "PUBLISH QoS 1 with 64 B: head, and the payload copied", 64, mqtt_open, mqtt_encode,
     codec_close, 0},
    {"codec/mqtt-encode-1k", "the same with 1 KiB", 1024, mqtt_open, mqtt_encode, codec_close, 0},
    {"codec/mqtt-topic-check", "is a topic of 34 bytes well-formed?", 64, mqtt_open, mqtt_topic, codec_close, 0},
    {"codec/stomp-parse-64", "SEND with two headers and 64 B", 64, stomp_open, stomp_parse, codec_close, 0},
    {"codec/stomp-encode-64", "MESSAGE with four headers and 64 B, from the start", 64, stomp_open, stomp_encode,
     codec_close, 0},
};

struct micro_table micro_codec(void)
{
    return (struct micro_table){cases, ARRAY_N(cases)};
}
