/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_alias.c: topic aliases against a model of the other side, with topics by chance.
 *
 *     publisher ── alias, topic or both, as the spec lets it ──► broker ── alias, topic or both ──► subscriber
 *     knows what its aliases stand for                                      knows what it was told
 *
 * Whatever the tables of the broker do, every message must arrive under the topic it was published to, no alias may be
 * 0 or above the maximum, and an alias without a topic must have been given one [MQTT-3.3.2-8], [MQTT-3.3.2-11],
 * [MQTT-3.3.2-12]. That a topic is not repeated where it need not be is asked for where it must be so: with one topic.
 *
 * Cost    a second.
 * Thread  one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "core/base/rng.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_mqtt/mqtt_wire.h"
#include "tests/support/rig.h"

enum { TOPICS = 40, ROUNDS = 3000, ALIASES = 70000, TOPIC_BYTES = 64 };

struct play {
    struct rig *rig;
    struct rig_pipe *from, *to;
    struct rng rng;
    char topic[TOPICS][TOPIC_BYTES];
    int in[ALIASES], out[ALIASES]; /* topic number + 1; 0: none */
    unsigned in_max, out_max;      /* agreed on */
    unsigned saved;                /* deliveries without a topic */
};

static void send_connect(struct rig_pipe *p, const char *id, unsigned alias_max)
{
    uint8_t out[64];
    struct mqtt_connect c = {.version = MQTT_V5, .clean = true, .client_id = slice_make(id, strlen(id))};
    c.props.has = MQTT_HAS(ALIAS_MAX);
    c.props.alias_max = (uint16_t)alias_max;
    ptrdiff_t n = mqtt_connect_encode(&c, out, sizeof out);
    assert_true(n > 0);
    rig_send(p, out, (size_t)n);
}

static void start(struct play *y, uint64_t seed, unsigned in_max, unsigned out_max, unsigned peer_max)
{
    static const struct adapter_ops *const adapters[] = {&mqtt_adapter, NULL};
    static const uint8_t subscribe[] = {0x82, 7, 0, 1, 0, 0, 1, '#', 0};
    struct rig_config config;
    memset(y, 0, sizeof *y);
    rng_init(&y->rng, seed);
    rig_config_init(&config);
    config.adapters = adapters;
    config.limits.alias_in_max = in_max;
    config.limits.alias_out_max = out_max;
    y->in_max = in_max;
    y->out_max = MIN(out_max, peer_max);
    for (unsigned i = 0; i < TOPICS; i++)                                       /* of 1 to 60 bytes */
        (void)snprintf(y->topic[i], TOPIC_BYTES, "%u%.*s", i, (int)(i * 3 / 2), /* distinct by their numbers */
                       "/some/levels/to/make/this/a/longer/topic/than/most/topics/are");
    y->rig = rig_new(&config);
    assert_non_null(y->rig);
    y->to = rig_connect(y->rig);
    send_connect(y->to, "to", peer_max);
    rig_send(y->to, subscribe, sizeof subscribe);
    y->from = rig_connect(y->rig);
    send_connect(y->from, "from", 0);
    rig_run(y->rig);
    y->to->out_at = y->to->out.len; /* CONNACK, SUBACK */
}

/* publish: topic t as the sender likes: with an alias or not, without the topic where the broker has it. */
static void publish(struct play *y, unsigned t)
{
    uint8_t out[TOPIC_BYTES + 32];
    struct mqtt_publish p = {.topic = slice_make(y->topic[t], strlen(y->topic[t]))};
    struct mqtt_publish_extra extra = {0};
    if (y->in_max != 0 && rng_below(&y->rng, 4) != 0) {
        unsigned alias = 1 + (unsigned)rng_below(&y->rng, y->in_max);
        for (unsigned a = 1; rng_below(&y->rng, 2) != 0 && a <= MIN(y->in_max, 100u); a++)
            if (y->in[a] == (int)t + 1)
                alias = a;
        if (y->in[alias] == (int)t + 1 && rng_below(&y->rng, 4) != 0)
            p.topic.len = 0;
        y->in[alias] = (int)t + 1;
        extra.alias = (uint16_t)alias;
    }
    size_t n = mqtt_publish_head(out, &p, &extra, MQTT_V5);
    assert_true(n != 0);
    rig_send(y->from, out, n);
}

/* expect: the next delivery is topic t. */
static void expect(struct play *y, unsigned t)
{
    struct mqtt_frame f;
    struct mqtt_publish p;
    struct mqtt_props props;
    ptrdiff_t n =
        mqtt_frame_peek(y->to->out.p + y->to->out_at, y->to->out.len - y->to->out_at, MQTT_PACKET_BYTES_MAX, &f);
    assert_true(n > 0);
    y->to->out_at += (size_t)n;
    assert_int_equal(f.type, MQTT_PUBLISH);
    assert_int_equal(mqtt_publish_decode(&f, MQTT_V5, &p), ERR_OK);
    assert_int_equal(mqtt_props_collect(p.props, MQTT_PUBLISH, &props), ERR_OK);
    bool has_alias = (props.has & MQTT_HAS(ALIAS)) != 0;
    if (has_alias) {
        assert_in_range(props.alias, 1, y->out_max);
        if (p.topic.len != 0)
            y->out[props.alias] = (int)t + 1;
        else
            y->saved++;
        assert_int_equal(y->out[props.alias], t + 1);
    }
    if (!has_alias || p.topic.len != 0) {
        assert_int_equal(p.topic.len, strlen(y->topic[t]));
        assert_memory_equal(p.topic.p, y->topic[t], p.topic.len);
    }
}

static void finish(struct play *y)
{
    assert_false(rig_is_closed(y->from));
    assert_false(rig_is_closed(y->to));
    assert_int_equal(y->to->out_at, y->to->out.len);
    assert_true(rig_free(y->rig));
}

static void by_chance(unsigned in_max, unsigned out_max, unsigned peer_max)
{
    static struct play y;
    start(&y, in_max + 7 * out_max + 31 * peer_max, in_max, out_max, peer_max);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned sent[8], n = 1 + (unsigned)rng_below(&y.rng, ARRAY_N(sent));
        for (unsigned i = 0; i < n; i++) {
            sent[i] = (unsigned)rng_below(&y.rng, rng_below(&y.rng, 2) != 0 ? 4 : TOPICS);
            publish(&y, sent[i]);
        }
        rig_run(y.rig);
        for (unsigned i = 0; i < n; i++)
            expect(&y, sent[i]);
    }
    assert_int_equal(y.saved != 0, y.out_max != 0);
    finish(&y);
}

static void topics_arrive(void **state)
{
    (void)state;
    static const unsigned maxima[][3] = {{32, 32, 32}, {1, 1, 1},     {5, 65535, 65535}, {65535, 32, 3},
                                         {0, 32, 32},  {32, 0, 1000}, {32, 1000, 0},     {7, 3, 65535}};
    for (size_t i = 0; i < ARRAY_N(maxima); i++)
        by_chance(maxima[i][0], maxima[i][1], maxima[i][2]);
}

static void one_topic_is_said_once(void **state)
{
    (void)state;
    static struct play y;
    enum { TIMES = 100, LONG_ONE = TOPICS - 1 };
    start(&y, 1, 32, 32, 32);
    for (unsigned i = 0; i < TIMES; i++)
        publish(&y, LONG_ONE);
    rig_run(y.rig);
    for (unsigned i = 0; i < TIMES; i++)
        expect(&y, LONG_ONE);
    assert_int_equal(y.saved, TIMES - 1);
    finish(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_arrive),
        cmocka_unit_test(one_topic_is_said_once),
    };
    return cmocka_run_group_tests_name("mqtt_alias", tests, NULL, NULL);
}
