/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_queue_topic.c: what MQTT peers see as the topic of messages out of a named queue: its own, if it is one;
 * where it is a key that no topic can be, the name by which they asked for the queue. [MQTT-3.3.2-2], [MQTT-1.5.4-2]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/broker.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "tests/support/rig.h"

static const uint8_t connect_3[] = {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0};
static const uint8_t subscribe_jobs[] = {0x82, 16,  0,   1,   0,   11,  '$', 'q', 'u',
                                         'e',  'u', 'e', '/', 'j', 'o', 'b', 's', 0};

/* topic_of: publishes by key to amq.direct, from where the queue gets it; the topic in the packet that comes out. */
static struct slice topic_of(struct rig *r, struct rig_pipe *p, struct queue *q, struct slice key)
{
    struct vhost *v = r->shard->vhost;
    struct exchange *direct = exchange_get(v, SLICE("amq.direct"));
    struct token tok = {.kind = TOKEN_LITERAL, .bytes = key};
    struct binding *b;
    bool is_new;
    p->out.len = 0;
    assert_int_equal(
        router_bind(&v->router, direct, &(struct filter){&tok, 1}, q, &(struct binding_opts){.qos = 2}, &b, &is_new),
        ERR_OK);
    const struct msgview m = {.topic = key, .payload = SLICE("x")};
    assert_int_equal(broker_publish_shard(v, direct, &m), ERR_OK);
    router_unbind(&v->router, b);
    rig_run(r);
    assert_true(p->out.len > 4);
    assert_int_equal(p->out.p[0] & 0xf0, 0x30); /* PUBLISH, of less than 128 bytes */
    size_t len = (size_t)p->out.p[2] << 8 | p->out.p[3];
    assert_int_equal(p->out.len, 4 + len + 1);
    return slice_make(p->out.p + 4, len);
}

static void topics_of_queues(void **state)
{
    (void)state;
    static const struct adapter_ops *const adapters[] = {&mqtt_adapter, NULL};
    struct rig_config config;
    rig_config_init(&config);
    config.adapters = adapters;
    struct rig *r = rig_new(&config);
    assert_non_null(r);
    struct rig_pipe *p = rig_connect(r);
    rig_send(p, connect_3, sizeof(connect_3));
    rig_send(p, subscribe_jobs, sizeof(subscribe_jobs));
    rig_run(r);
    struct queue *q = map_get(&r->shard->vhost->queues, SLICE("jobs"));
    assert_non_null(q);
    static const struct {
        struct slice key;
        const char *topic;
    } row[] = {
        {{(const uint8_t *)"a/b", 3}, "a/b"},
        {{(const uint8_t *)"jobs", 4}, "$queue/jobs"},
        {{(const uint8_t *)"a#b", 3}, "$queue/jobs"},
        {{(const uint8_t *)"+", 1}, "$queue/jobs"},
        {{(const uint8_t *)"", 0}, "$queue/jobs"},
        {{(const uint8_t *)"a\0b", 3}, "$queue/jobs"},
        {{(const uint8_t *)"\xff\xfe", 2}, "$queue/jobs"},
    };
    for (size_t i = 0; i < ARRAY_N(row); i++)
        assert_true(slice_eq_str(topic_of(r, p, q, row[i].key), row[i].topic));
    assert_true(rig_free(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(topics_of_queues)};
    return cmocka_run_group_tests_name("mqtt_queue_topic", tests, NULL, NULL);
}
