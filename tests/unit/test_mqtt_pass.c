/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_pass.c: packets that come in bulk are passed on unchanged where the receiver's packet would be the same,
 * and encoded where it would not: every receiver gets the very bytes it would have got one packet at a time, at every
 * QoS.
 *
 * The bulk is a few thousand PUBLISH packets in one go, of all shapes that matter: plain ones, retained ones, lengths
 * that are not in their shortest form (3.x), properties (5.0). The receivers differ in version, subscription identifier
 * and Maximum Packet Size; one does not read for a while.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "proto_mqtt/mqtt_adapter.h"
#include "tests/support/rig.h"

enum { BULK_N = 2000, LONG_PAYLOAD = 700, SMALL_MAX = 120 };

static const uint8_t CONNECT_3[] = {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0};
static const uint8_t CONNECT_5[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 0};
static const uint8_t CONNECT_5_SMALL[] = {0x10, 18, 0, 4,    'M', 'Q', 'T', 'T',       5, 2,
                                          0,    0,  5, 0x27, 0,   0,   0,   SMALL_MAX, 0, 0};
static const uint8_t SUBSCRIBE_3[] = {0x82, 6, 0, 1, 0, 1, 't', 2};
static const uint8_t SUBSCRIBE_5[] = {0x82, 7, 0, 1, 0, 0, 1, 't', 2};
static const uint8_t SUBSCRIBE_5_ID[] = {0x82, 9, 0, 1, 2, 0x0b, 9, 0, 1, 't', 2};

struct receiver {
    struct rig_pipe *pipe;
    struct rig_bytes want;
    bool is_5, has_id;
    size_t max;
    unsigned packet_id; /* of the last one */
};

static struct receiver receiver(struct rig *r, const uint8_t *connect, size_t connect_n, const uint8_t *sub, size_t n)
{
    struct receiver v = {
        .pipe = rig_connect(r), .is_5 = connect[8] == 5, .has_id = sub == SUBSCRIBE_5_ID, .max = 1000000};
    assert_non_null(v.pipe);
    if (connect == CONNECT_5_SMALL)
        v.max = SMALL_MAX;
    rig_send(v.pipe, connect, connect_n);
    rig_send(v.pipe, sub, n);
    rig_run(r);
    v.pipe->out.len = v.pipe->out_at = 0; /* CONNACK, SUBACK */
    return v;
}

/* head: type, length in its shortest or a longer form, topic "t". */
static size_t put_head(uint8_t *out, uint8_t first, size_t body, bool overlong)
{
    size_t n = 0;
    out[n++] = first;
    for (; body >= 128; body >>= 7)
        out[n++] = (uint8_t)(body | 0x80);
    out[n++] = (uint8_t)(body | (overlong ? 0x80 : 0));
    if (overlong)
        out[n++] = 0;
    memcpy(out + n, "\0\1t", 3);
    return n + 3;
}

/* expect: what this receiver must get for payload[n]. A packet too large for it uses up its packet id. */
static void expect(struct receiver *v, unsigned qos, const uint8_t *payload, size_t n, const uint8_t *user,
                   size_t user_n)
{
    uint8_t head[64], props[32];
    size_t props_n = 0;
    if (qos != 0) {
        v->packet_id++;
        props[props_n++] = (uint8_t)(v->packet_id >> 8);
        props[props_n++] = (uint8_t)v->packet_id;
    }
    if (v->is_5) {
        size_t block = (v->has_id ? 2 : 0) + user_n;
        props[props_n++] = (uint8_t)block;
        if (v->has_id) {
            props[props_n++] = 0x0b;
            props[props_n++] = 9;
        }
        memcpy(props + props_n, user, user_n);
        props_n += user_n;
    }
    size_t head_n = put_head(head, (uint8_t)(0x30 | qos << 1), 3 + props_n + n, false);
    if (head_n + props_n + n > v->max)
        return;
    rig_put(&v->want, head, head_n);
    rig_put(&v->want, props, props_n);
    rig_put(&v->want, payload, n);
}

static void bulk(bool from_5, unsigned qos)
{
    static const struct adapter_ops *const adapters[] = {&mqtt_adapter, NULL};
    static const uint8_t user[] = {0x26, 0, 1, 'k', 0, 1, 'v'};
    struct rig_config config;
    rig_config_init(&config);
    config.adapters = adapters;
    struct rig *r = rig_new(&config);
    assert_non_null(r);
    struct receiver v[] = {
        receiver(r, CONNECT_3, sizeof CONNECT_3, SUBSCRIBE_3, sizeof SUBSCRIBE_3),
        receiver(r, CONNECT_5, sizeof CONNECT_5, SUBSCRIBE_5, sizeof SUBSCRIBE_5),
        receiver(r, CONNECT_5, sizeof CONNECT_5, SUBSCRIBE_5_ID, sizeof SUBSCRIBE_5_ID),
        receiver(r, CONNECT_5_SMALL, sizeof CONNECT_5_SMALL, SUBSCRIBE_5, sizeof SUBSCRIBE_5),
        receiver(r, CONNECT_3, sizeof CONNECT_3, SUBSCRIBE_3, sizeof SUBSCRIBE_3),
    };
    struct rig_pipe *p = rig_connect(r);
    rig_send(p, from_5 ? CONNECT_5 : CONNECT_3, from_5 ? sizeof CONNECT_5 : sizeof CONNECT_3);
    rig_run(r);
    v[4].pipe->is_stalled = true;
    for (unsigned i = 0; i < (qos == 2 ? BULK_N / 2 : BULK_N); i++) {
        uint8_t packet[64 + LONG_PAYLOAD], payload[LONG_PAYLOAD];
        bool retain = i % 7 == 3, overlong = !from_5 && i % 11 == 5, has_user = from_5 && i % 5 == 2;
        size_t n = i % 13 == 4 ? LONG_PAYLOAD : i % 100 / 2, user_n = has_user ? sizeof user : 0;
        for (size_t at = 0; at < n; at++)
            payload[at] = (uint8_t)(i + at);
        if (overlong && n > 100)
            n = 100; /* one byte of length, written as two */
        size_t id_n = qos != 0 ? 2 : 0;
        size_t at =
            put_head(packet, (uint8_t)(0x30 | qos << 1 | retain), 3 + id_n + (from_5 ? 1 + user_n : 0) + n, overlong);
        if (qos != 0) {
            packet[at++] = (uint8_t)((i + 1) >> 8);
            packet[at++] = (uint8_t)(i + 1);
        }
        if (from_5)
            packet[at++] = (uint8_t)user_n;
        memcpy(packet + at, user, user_n);
        memcpy(packet + at + user_n, payload, n);
        rig_send(p, packet, at + user_n + n);
        for (size_t k = 0; k < ARRAY_N(v); k++)
            expect(&v[k], qos, payload, n, user, v[k].is_5 ? user_n : 0);
    }
    rig_run(r);
    v[4].pipe->is_stalled = false;
    rig_run(r);
    rig_wait(r, 1);
    for (size_t k = 0; k < ARRAY_N(v); k++) {
        assert_int_equal(v[k].pipe->out.len, v[k].want.len);
        assert_memory_equal(v[k].pipe->out.p, v[k].want.p, v[k].want.len);
        free(v[k].want.p);
    }
    assert_true(rig_free(r));
}

static void bulk_from_3(void **state)
{
    (void)state;
    for (unsigned qos = 0; qos <= 2; qos++)
        bulk(false, qos);
}

static void bulk_from_5(void **state)
{
    (void)state;
    for (unsigned qos = 0; qos <= 2; qos++)
        bulk(true, qos);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bulk_from_3),
        cmocka_unit_test(bulk_from_5),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
