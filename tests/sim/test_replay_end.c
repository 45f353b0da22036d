/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_replay_end.c: a retained replay that is still under way ends with its subscription. The simulator found that it
 * once did not; the chance to find it again has become small, since a replay rarely waits for long.
 *
 *     five retained messages, a queue of four, a peer that answers one delivery at a time:
 *     SUBSCRIBE ─► the first is sent, some wait in the queue, the rest waits in the retained set ─► UNSUBSCRIBE
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/broker.h"
#include "tests/support/fake.h"

enum { KEPT = 5 };

static void retain(struct conn *c, const char *topic)
{
    const struct msgview v = {
        .topic = slice_from_str(topic), .payload = SLICE("x"), .qos = 1, .flags = MSG_RETAIN | MSG_DURABLE};
    enum err e = fake_pub_view(c, &v, NULL, 0);
    assert_true(e == ERR_OK || e == ERR_NO_MATCH);
}

/* settle_all: everything that was delivered is acknowledged, and what that lets through, too. Returns how much. */
static uint32_t settle_all(struct fake *f, struct conn *c)
{
    uint32_t n = 0;
    while (fake_nth(f, FAKE_DELIVER, n) != NULL) {
        (void)!broker_settle(c, fake_nth(f, FAKE_DELIVER, n)->ticket, OUTCOME_ACK);
        n++;
        fake_run(f);
    }
    return n;
}

/* deliveries: of the five, when the subscription ends (or not) while the first is under way. */
static uint32_t deliveries(bool unsubscribes)
{
    struct fake_config config;
    fake_config_init(&config);
    config.limits.session_queue_max = 4;
    struct fake *f = fake_new(&config);
    struct conn *pub = fake_login(f, "pub", 0), *c;
    for (int i = 0; i < KEPT; i++) {
        char topic[16];
        snprintf(topic, sizeof(topic), "r/%d", i);
        retain(pub, topic);
    }
    struct attach a = fake_attach("me", 0);
    a.quota = 1;
    c = fake_conn(f);
    broker_attach(c, &a);
    assert_int_equal(fake_sub(c, "r/+", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, c), 1);
    if (unsubscribes)
        assert_int_equal(fake_unsub(c, "r/+"), ERR_OK);
    retain(pub, "r/9"); /* retained, and for nobody any more if it unsubscribed */
    uint32_t n = settle_all(f, c);
    fake_free(f);
    return n;
}

static void test_replay_ends_with_its_subscription(void **state)
{
    (void)state;
    assert_in_range(deliveries(false), KEPT + 1, KEPT + 2); /* r/9 live, perhaps also by the replay */
    assert_in_range(deliveries(true), 1, KEPT - 1);         /* [MQTT-3.10.4-2] what waited in the queue still comes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replay_ends_with_its_subscription)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
