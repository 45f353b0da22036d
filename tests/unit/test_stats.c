/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stats.c: the table names every counter once, and the counters of a small scene add up: what was published is
 * delivered, waits or is counted under exactly one DROP_ name. Who is connected, what was carried and how many frames
 * it took are counted once each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto_stomp/stomp_adapter.h"
#include "tests/support/fake.h"
#include "tests/support/rig.h"

static void the_table(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STAT_N; i++) {
        const struct stat_desc *d = &stat_table[i];
        assert_true(strlen(d->name) > 0 && strlen(d->text) > 0);
        assert_true(strcmp(d->kind, "counter") == 0 || strcmp(d->kind, "gauge") == 0);
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(d->name, stat_table[k].name);
    }
    assert_string_equal(stat_table[STAT_DROP_FULL].name, "DROP_FULL");
    assert_string_equal(stat_table[STAT_CONNS].kind, "gauge");
}

static uint64_t drops(const struct fake *f)
{
    static const enum stat_id all[] = {STAT_DROP_FULL,  STAT_DROP_HEAD,     STAT_DROP_EXPIRED, STAT_DROP_OFFLINE,
                                       STAT_DROP_NOMEM, STAT_DROP_REJECTED, STAT_DROP_TOO_BIG, STAT_DROP_CLOSED};
    uint64_t n = 0;
    for (size_t i = 0; i < ARRAY_N(all); i++)
        n += fake_stat(f, all[i]);
    return n;
}

static void a_scene_adds_up(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.session_queue_max = 3;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0), *a = fake_login(f, "a", 100), *b = fake_login(f, "b", 0);
    assert_int_equal(fake_sub(a, "t", 1), ERR_OK);
    assert_int_equal(fake_sub(b, "t", 2), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_CONNS), 3);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 3);
    assert_int_equal(fake_stat(f, STAT_BINDINGS), 2);
    fake_pipe_of(a)->is_reset = true;
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_CONNS), 2);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(fake_pub(p, "t", "x", (uint8_t)(i % 3)), ERR_OK);
    assert_int_equal(fake_pub(p, "nobody", "x", 1), ERR_NO_MATCH);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 11);
    assert_int_equal(fake_stat(f, STAT_NO_MATCH), 1);
    assert_int_equal(fake_stat(f, STAT_ROUTED), 20);
    assert_int_equal(fake_stat(f, STAT_DROP_OFFLINE), 4);
    assert_int_equal(fake_stat(f, STAT_DROP_FULL), 3);
    assert_int_equal(fake_stat(f, STAT_DELIVERED), 10);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 3 + 6);
    for (uint32_t i = 0; i < fake_count(f, FAKE_DELIVER); i++) {
        const struct fake_event *e = fake_nth(f, FAKE_DELIVER, i);
        if (e->ticket)
            assert_int_equal(broker_settle(b, e->ticket, e->qos == 2 ? OUTCOME_RECEIVED : OUTCOME_ACK), ERR_OK);
        if (e->qos == 2)
            assert_int_equal(broker_settle(b, e->ticket, OUTCOME_COMPLETE), ERR_OK);
    }
    assert_int_equal(fake_stat(f, STAT_SETTLED), 6);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 3);
    fake_wait(f, 101000); /* a's session ends with its queue */
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), 3);
    assert_int_equal(fake_stat(f, STAT_ROUTED), fake_stat(f, STAT_DELIVERED) + drops(f));
    assert_int_equal(f->shard->close_n[CLOSE_RESET], 1);
    fake_free(f);
}

static void who_is_there(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.connections_max = 3;
    struct fake *f = fake_new(&config);
    struct conn *a = fake_login(f, "a", 10), *b = fake_login(f, "b", 0);
    assert_non_null(fake_pipe(f)->conn); /* has not logged in */
    assert_null(fake_pipe(f)->conn);
    assert_int_equal(fake_stat(f, STAT_CONNS), 3);
    assert_int_equal(fake_stat(f, STAT_CONNS_TOTAL), 3);
    assert_int_equal(fake_stat(f, STAT_CONNS_REFUSED), 1);
    assert_int_equal(fake_stat(f, STAT_SESSIONS_ONLINE), 2);
    fake_pipe_of(a)->is_eof = fake_pipe_of(b)->is_eof = true;
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 1);
    assert_int_equal(fake_stat(f, STAT_SESSIONS_ONLINE), 0);
    a = fake_login(f, "a", 10);
    struct conn *again = fake_login(f, "a", 10); /* takes over */
    assert_int_equal(fake_stat(f, STAT_SESSIONS_ONLINE), 1);
    assert_int_equal(fake_stat(f, STAT_LOGINS), 4);
    fake_pipe_of(again)->is_eof = true;
    fake_wait(f, 9000);
    assert_int_equal(fake_stat(f, STAT_SESSIONS_EXPIRED), 0);
    fake_wait(f, 1000);
    assert_int_equal(fake_stat(f, STAT_SESSIONS_EXPIRED), 1);
    assert_int_equal(fake_stat(f, STAT_SESSIONS), 0);
    assert_int_equal(fake_stat(f, STAT_CONNS_PEAK), 3);
    assert_int_equal(fake_stat(f, STAT_SESSIONS_PEAK), 2);
    fake_free(f);
}

static void payloads(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *a = fake_login(f, "a", 0), *b = fake_login(f, "b", 0);
    assert_int_equal(fake_sub(a, "t", 1), ERR_OK);
    assert_int_equal(fake_sub(b, "t", 0), ERR_OK);
    assert_int_equal(fake_pub(p, "t", "12345", 1), ERR_OK);
    assert_int_equal(fake_pub(p, "nobody", "123", 0), ERR_NO_MATCH);
    assert_int_equal(fake_pub(p, "$SYS/broker/x", "1", 0), ERR_DENIED);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_PAYLOAD_IN), 8);
    assert_int_equal(fake_stat(f, STAT_PAYLOAD_OUT), 10);
    fake_pipe_of(b)->deliver_result = ERR_TOO_BIG;
    assert_int_equal(fake_pub(p, "t", "12", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_stat(f, STAT_PAYLOAD_OUT), 12); /* a only */
    fake_free(f);
}

static void frames(void **state)
{
    (void)state;
    static const struct adapter_ops *const adapters[] = {&stomp_adapter, NULL};
    static const char in[] = "CONNECT\naccept-version:1.2\nhost:x\n\n\0\n\n"
                             "SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0"
                             "SEND\ndestination:/topic/a\n\nhello\0\n"
                             "SEND\ndestination:/topic/b\n\nhello\0"
                             "NONSENSE\n\n\0";
    struct rig_config config;
    rig_config_init(&config);
    config.adapters = adapters;
    struct rig *r = rig_new(&config);
    assert_non_null(r);
    struct rig_pipe *p = rig_connect(r);
    for (size_t i = 0; i < sizeof in - 1; i++) { /* byte by byte: no frame is counted twice */
        rig_send(p, in + i, 1);
        rig_run(r);
    }
    assert_int_equal(r->shard->stats.v[STAT_FRAMES_IN], 4);   /* line ends and what cannot be parsed are no frames */
    assert_int_equal(r->shard->stats.v[STAT_CONTROL_OUT], 3); /* CONNECTED, RECEIPT, ERROR */
    assert_int_equal(r->shard->stats.v[STAT_DELIVERED], 1);
    assert_true(rig_free(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table), cmocka_unit_test(a_scene_adds_up), cmocka_unit_test(who_is_there),
        cmocka_unit_test(payloads),  cmocka_unit_test(frames),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
