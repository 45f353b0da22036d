/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_first_message.c: the first message of all, and how to write a test against the whole broker in simulated time.
 *
 *     an MQTT peer ── PUBLISH site/1/temp "21.5" QoS 1 ──► broker ── MESSAGE /topic/site.1.temp ──► a STOMP peer
 *                  ◄─ PUBACK ──                                  ◄── SEND /topic/site.1.set ──
 *                  ◄─ PUBLISH site/1/set ──
 *
 * There is no thread, no socket and no waiting: `say` puts bytes on a simulated connection, `settle` lets the broker
 * take its turns until nothing moves, `hear` returns what has come back. The clock stands still unless a test moves it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/conn.h"
#include "core/shard.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_stomp/stomp_adapter.h"
#include "tests/sim/net_sim.h"

/* ---- a small broker -----------------------------------------------------------------------------------------------
 */

struct house {
    struct mem_heap heap, sim_heap; /* the broker's, the simulator's */
    struct mem mem;
    struct loop_sim *loop;
    struct net_sim net;
    struct log log;
    struct shard *shard;
    const struct adapter_ops *adapters[3];
    struct door door;
};

static void house_open(struct house *h)
{
    static const struct net_faults calm = {.buffer_bytes = 65536};
    *h = (struct house){.adapters = {&mqtt_adapter, &stomp_adapter}};
    mem_heap_init(&h->heap);
    mem_heap_init(&h->sim_heap);
    mem_init(&h->mem, &h->sim_heap, "simulator");
    h->loop = loop_sim_new(&h->mem, NULL);
    net_sim_init(&h->net, h->loop, &h->mem, NULL, &calm);
    log_init(&h->log);
    struct shard_config config = {.loop = &h->loop->loop, .log = &h->log, .heap = &h->heap, .retain_available = true};
    limits_default(&config.limits);
    h->shard = shard_new(&config);
    assert_non_null(h->shard);
    h->door = (struct door){.adapter = h->adapters, .name = "sim", .allow_anonymous = true};
}

static struct transport *house_enter(struct house *h)
{
    struct transport *end[2];
    net_sim_pair(&h->net, end);
    assert_non_null(conn_new(h->shard, end[1], &h->door));
    return end[0];
}

static void house_close(struct house *h)
{
    shard_free(h->shard);
    assert_int_equal(h->heap.bytes, 0); /* every byte came back */
    net_sim_fini(&h->net);
    h->loop->loop.ops->destroy(&h->loop->loop);
    assert_int_equal(h->sim_heap.bytes, 0);
}

/* ---- what peers do ------------------------------------------------------------------------------------------------
 */

static void say(struct transport *peer, const void *bytes, size_t n)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    assert_int_equal(peer->ops->sendv(peer, &iov, 1), n);
}

#define SAY(peer, literal) say(peer, literal, sizeof(literal) - 1) /* may hold NULs */

static void settle(struct house *h)
{
    assert_true(loop_sim_settle(h->loop, 1000));
    shard_check(h->shard);
}

static size_t hear(struct transport *peer, char *out, size_t cap)
{
    size_t n = 0;
    for (;;) {
        ptrdiff_t got = peer->ops->recv(peer, (uint8_t *)out + n, cap - n - 1);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    out[n] = 0;
    return n;
}

#define HEARS(peer, literal)                                                                                           \
    do {                                                                                                               \
        char heard_[1024];                                                                                             \
        assert_int_equal(hear(peer, heard_, sizeof(heard_)), sizeof(literal) - 1);                                     \
        assert_memory_equal(heard_, literal, sizeof(literal) - 1);                                                     \
    } while (0)

/* ---- the test -----------------------------------------------------------------------------------------------------
 */

static void test_first_message(void **state)
{
    UNUSED(state);
    struct house h;
    char frame[1024];
    house_open(&h);
    struct transport *device = house_enter(&h), *app = house_enter(&h); /* one port for both protocols */

    /* MQTT 3.1.1: CONNECT, clean session, keep-alive 60 s, client id "dev". */
    SAY(device, "\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03"
                "dev");
    SAY(app, "CONNECT\naccept-version:1.2\nhost:localhost\n\n\0");
    settle(&h);
    HEARS(device, "\x20\x02\x00\x00"); /* CONNACK, no session, accepted */
    assert_true(hear(app, frame, sizeof(frame)) > 0);
    assert_memory_equal(frame, "CONNECTED\n", 10);

    SAY(app, "SUBSCRIBE\nid:7\ndestination:/topic/site.*.temp\nreceipt:subscribed\n\n\0");
    settle(&h);
    assert_true(hear(app, frame, sizeof(frame)) > 0);
    assert_memory_equal(frame, "RECEIPT\nreceipt-id:subscribed\n", 30);

    /* QoS 1, packet id 10: it reaches the app, and the device is told that it is safe. */
    SAY(device, "\x32\x13\x00\x0bsite/1/temp\x00\x0a"
                "21.5");
    settle(&h);
    HEARS(device, "\x40\x02\x00\x0a"); /* PUBACK 10 */
    size_t n = hear(app, frame, sizeof(frame));
    assert_memory_equal(frame, "MESSAGE\n", 8);
    assert_non_null(strstr(frame, "\nsubscription:7\n"));
    assert_non_null(strstr(frame, "\ndestination:/topic/site.1.temp\n"));
    assert_memory_equal(frame + n - 5, "21.5\0", 5);

    /* And back: the device asks for site/+/set at QoS 0, the app sends to /topic/site.1.set. */
    SAY(device, "\x82\x0f\x00\x0b\x00\x0asite/+/set\x00");
    settle(&h);
    HEARS(device, "\x90\x03\x00\x0b\x00"); /* SUBACK 11, QoS 0 */
    SAY(app, "SEND\ndestination:/topic/site.1.set\n\n18\0");
    settle(&h);
    HEARS(device, "\x30\x0e\x00\x0asite/1/set18"); /* PUBLISH, QoS 0 */

    device->ops->destroy(device);
    app->ops->destroy(app);
    settle(&h);
    house_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first_message)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
