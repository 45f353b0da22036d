/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_memory.c: what an idle connection costs in user-space memory, by the broker's own accounts: 1,000 MQTT
 * connections that said CONNECT and nothing more, then each with one subscription to a topic of its own. The pipe below
 * a real connection (struct tcp) is added by its size. Bytes, not time: the numbers are the same on every machine of a
 * word size.
 *
 * The bounds are a tenth above what it is; bench/ measures it with real sockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "proto_mqtt/mqtt_adapter.h"
#include "tests/support/rig.h"

enum { CONNS = 1000, IDLE_BYTES_MAX = 640, SUBSCRIBED_BYTES_MAX = 1152, TCP_BYTES = 128 /* struct tcp, allocated */ };

static size_t connect_packet(uint8_t *out, unsigned i)
{
    char id[16];
    int n = snprintf(id, sizeof id, "device-%04u", i);
    const uint8_t head[] = {0x10, (uint8_t)(12 + n), 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, (uint8_t)n};
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, id, (size_t)n);
    return sizeof head + (size_t)n;
}

static size_t subscribe_packet(uint8_t *out, unsigned i)
{
    char filter[32];
    int n = snprintf(filter, sizeof filter, "site/%u/device/%u", i % 10, i);
    const uint8_t head[] = {0x82, (uint8_t)(5 + n), 0, 1, 0, (uint8_t)n};
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, filter, (size_t)n);
    out[sizeof head + (size_t)n] = 1;
    return sizeof head + (size_t)n + 1;
}

/* by_account: what one connection has of each; `before` is subtracted. */
static void by_account(const struct rig *r, const size_t *before, const char *what)
{
    char line[512];
    size_t n = 0;
    for (unsigned i = 0; i < MEM_N && n < sizeof line; i++) {
        size_t bytes = (r->shard->mem[i].bytes - before[i]) / CONNS;
        if (bytes != 0)
            n += (size_t)snprintf(line + n, sizeof line - n, " %s %zu", r->shard->mem[i].name, bytes);
    }
    print_message("%s:%s\n", what, line);
}

static void idle_connections_are_small(void **state)
{
    (void)state;
    static const struct adapter_ops *const adapters[] = {&mqtt_adapter, NULL};
    struct rig_config config;
    rig_config_init(&config);
    config.adapters = adapters;
    struct rig *r = rig_new(&config);
    assert_non_null(r);
    struct rig_pipe *pipe[CONNS];
    uint8_t out[64];
    rig_run(r);
    size_t accounts[MEM_N];
    for (unsigned i = 0; i < MEM_N; i++)
        accounts[i] = r->shard->mem[i].bytes;
    size_t before = r->heap.bytes;
    for (unsigned i = 0; i < CONNS; i++) {
        pipe[i] = rig_connect(r);
        rig_send(pipe[i], out, connect_packet(out, i));
        rig_run(r);
        assert_int_equal(pipe[i]->out.len, 4); /* CONNACK */
    }
    by_account(r, accounts, "idle");
    size_t idle = (r->heap.bytes - before) / CONNS + TCP_BYTES;
    for (unsigned i = 0; i < CONNS; i++)
        rig_send(pipe[i], out, subscribe_packet(out, i));
    rig_run(r);
    by_account(r, accounts, "with a subscription");
    size_t subscribed = (r->heap.bytes - before) / CONNS + TCP_BYTES;
    for (unsigned i = 0; i < CONNS; i++)
        assert_int_equal(pipe[i]->out.len, 9); /* and SUBACK */
    print_message("user-space bytes per MQTT connection: idle %zu, with one subscription %zu\n", idle, subscribed);
    assert_in_range(idle, 100, IDLE_BYTES_MAX);
    assert_in_range(subscribed, idle, SUBSCRIBED_BYTES_MAX);
    assert_true(rig_free(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(idle_connections_are_small)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
