/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sys.c: $SYS says what was counted, under mosquitto's names and our own; averages are what a hand computes; what
 * did not change is not said again; an absent subscriber collects nothing; nothing is logged; and no allocation that
 * fails breaks anything.
 *
 *     unit_test_sys --docs > docs/sys-topics.md       makes the page that the_page compares
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/sys.h"
#include "core/topology.h"
#include "core/tx.h"
#include "tests/support/fake.h"

enum { EVERY_MS = 10000 };

static struct fake *sys_fake(void)
{
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    return fake_new(&config);
}

static const struct msg *kept(const struct fake *f, const char *below)
{
    char topic[128];
    snprintf(topic, sizeof topic, "$SYS/broker/%s", below);
    return retained_get(&f->shard->vhost->retained, slice_from_str(topic));
}

/* said: what is retained at $SYS/broker/<below>; "" if nothing is. */
static const char *said(const struct fake *f, const char *below, char out[64])
{
    const struct msg *m = kept(f, below);
    struct msgview v;
    out[0] = 0;
    if (m) {
        msg_view(m, &v);
        assert_in_range(v.payload.len, 1, 63);
        memcpy(out, v.payload.p, v.payload.len);
        out[v.payload.len] = 0;
    }
    return out;
}

#define assert_said(f, below, expected)                                                                                \
    do {                                                                                                               \
        char is_[64];                                                                                                  \
        assert_string_equal(said(f, below, is_), expected);                                                            \
    } while (0)

static unsigned topics_n(void)
{
    struct sys_topic t;
    unsigned n = 0;
    while (sys_topic_get(n, &t))
        n++;
    return n;
}

/* ---- the page ------------------------------------------------------------------------------------------------- */

static void page_make(struct buf *out)
{
    struct sys_topic t;
    buf_put_str(out, "# Topics below $SYS\n\n<!-- made by: unit_test_sys --docs > docs/sys-topics.md -->\n\n"
                     "With `sys_interval` set, the broker publishes what it counts as retained messages, at the start "
                     "and then every that\nmany seconds; only what changed is published again. The names are "
                     "mosquitto's where it has them; what is below\n`$SYS/broker/weir/` is Weir's own. Values are "
                     "offered at QoS 0: a subscriber that is away collects none, and finds the\nnewest ones when it "
                     "subscribes again. The messages of `$SYS` themselves are not counted; that they are delivered "
                     "is.\nSubscribe to `$SYS/#`: a filter that begins with a wildcard does not match them.\n\n"
                     "| topic | value |\n|---|---|\n");
    for (unsigned i = 0; sys_topic_get(i, &t); i++)
        buf_printf(out, "| `%s` | %s |\n", t.name, t.text);
}

static void the_page(void **state)
{
    (void)state;
    struct mem_heap heap;
    struct mem mem;
    struct buf made, stored;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "page");
    buf_init(&made, &mem);
    buf_init(&stored, &mem);
    page_make(&made);
    FILE *f = fopen(TEST_SOURCE_DIR "/../docs/sys-topics.md", "r");
    if (!f)
        fail_msg("docs/sys-topics.md is missing; make it: unit_test_sys --docs > docs/sys-topics.md");
    for (size_t n = 1; n > 0;) {
        uint8_t *room = buf_room(&stored, 4096);
        assert_non_null(room);
        n = fread(room, 1, 4096, f);
        buf_wrote(&stored, n);
    }
    fclose(f);
    assert_false(buf_is_bad(&made));
    if (!slice_eq(buf_slice(&made), buf_slice(&stored)))
        fail_msg("docs/sys-topics.md is not up to date; make it: unit_test_sys --docs > docs/sys-topics.md");
    buf_fini(&made);
    buf_fini(&stored);
}

static void every_topic_is_there(void **state)
{
    (void)state;
    struct fake *f = sys_fake();
    struct sys_topic t, other;
    for (unsigned i = 0; sys_topic_get(i, &t); i++) {
        assert_true(strlen(t.text) > 0 && strlen(t.text) < sizeof t.text - 1);
        assert_true(strlen(t.name) < sizeof t.name - 1);
        for (unsigned k = 0; k < i; k++)
            assert_true(sys_topic_get(k, &other) && strcmp(t.name, other.name) != 0);
        if (!retained_get(&f->shard->vhost->retained, slice_from_str(t.name)))
            fail_msg("%s was not published", t.name);
    }
    assert_int_equal(topics_n(), f->shard->vhost->retained.n);
    assert_true(topics_n() > STAT_N + CLOSE_N + MEM_N);
    assert_said(f, "version", "weir " WEIR_VERSION);
    assert_said(f, "uptime", "0 seconds");
    assert_said(f, "load/sockets/15min", "0.00");
    assert_said(f, "weir/closed/taken_over", "0");
    assert_said(f, "weir/closed/none", ""); /* it is no end */
    assert_string_not_equal(said(f, "weir/memory/shard", (char[64]){0}), "0");
    fake_free(f);
}

/* ---- values --------------------------------------------------------------------------------------------------- */

static void what_was_counted(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    config.limits.session_queue_max = 3;
    config.limits.connections_max = 3;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0), *a = fake_login(f, "a", 8), *b = fake_login(f, "b", 0);
    assert_null(fake_pipe(f)->conn); /* the fourth */
    assert_int_equal(fake_sub(a, "t", 1), ERR_OK);
    assert_int_equal(fake_sub(b, "t", 0), ERR_OK);
    fake_pipe_of(a)->is_reset = true;
    fake_run(f);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(fake_pub(p, "t", "1234567", 1), ERR_OK);
    fake_wait(f, 5000);
    assert_said(f, "clients/total", "0"); /* as of the start */
    fake_wait(f, 5000);
    assert_said(f, "uptime", "10 seconds");
    assert_said(f, "clients/total", "2"); /* a has expired after 8 s */
    assert_said(f, "clients/connected", "2");
    assert_said(f, "clients/active", "2");
    assert_said(f, "clients/disconnected", "0");
    assert_said(f, "clients/inactive", "0");
    assert_said(f, "clients/maximum", "3");
    assert_said(f, "clients/expired", "1");
    assert_said(f, "connections/socket/count", "4");
    assert_said(f, "publish/messages/received", "5");
    assert_said(f, "publish/messages/sent", "5");
    assert_said(f, "publish/messages/dropped", "2"); /* a's queue holds three */
    assert_said(f, "publish/bytes/received", "35");
    assert_said(f, "publish/bytes/sent", "35");
    assert_said(f, "messages/sent", "5"); /* the fake protocol says nothing else */
    assert_said(f, "bytes/received", "15");
    assert_said(f, "bytes/sent", "35");
    assert_said(f, "subscriptions/count", "1");
    assert_said(f, "shared_subscriptions/count", "0");
    assert_said(f, "weir/drop_closed", "3"); /* what waited for a */
    assert_said(f, "weir/published", "5");
    assert_said(f, "weir/no_match", "0");
    assert_said(f, "weir/conns_refused", "1");
    assert_said(f, "weir/closed/reset", "1");
    assert_said(f, "weir/closed/eof", "0");
    char text[64];
    assert_int_equal(strtoul(said(f, "retained messages/count", text), NULL, 10), topics_n());
    assert_int_equal(strtoul(said(f, "store/messages/count", text), NULL, 10), topics_n());
    assert_true(strtoul(said(f, "heap/current", text), NULL, 10) > 10000);
    unsigned long now = strtoul(text, NULL, 10);
    assert_true(strtoul(said(f, "heap/maximum", text), NULL, 10) >= now);
    fake_free(f);
}

static void shared_and_other_subscriptions(void **state)
{
    (void)state;
    struct fake *f = sys_fake();
    const char *const id[] = {"a", "b"};
    const struct binding_opts opts = {.qos = 1};
    struct fake_filter filter;
    for (unsigned i = 0; i < 2; i++) {
        struct conn *c = fake_login(f, id[i], 0);
        assert_int_equal(fake_sub(c, "t", 0), ERR_OK);
        broker_subscribe_group(c, SLICE("g"), fake_filter(&filter, "work/#"), &opts, RECEIPT_NONE);
        broker_subscribe_queue(c, SLICE("jobs"), &opts, RECEIPT_NONE);
    }
    fake_wait(f, EVERY_MS);
    assert_said(f, "subscriptions/count", "2");
    assert_said(f, "shared_subscriptions/count", "4");
    assert_said(f, "weir/groups", "1");
    assert_said(f, "weir/bindings", "3");
    fake_free(f);
}

/* what queues and exchanges count: each of these rows says what happened. */
static void queues_and_exchanges(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    config.limits.publish_rate = 3;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "c", 0);
    struct declared d;
    enum err e;
    uint64_t n;
    assert_said(f, "weir/exchanges", "4");
    assert_non_null(
        broker_declare_exchange(c, &(struct exchange_spec){.name = SLICE("x"), .kind = EXCHANGE_DIRECT}, &d));
    assert_non_null(broker_declare_queue(c, SLICE("q"), &e));
    struct tx *t = tx_new(c), *u = tx_new(c);
    struct publish p = {.msg = {.topic = SLICE("q"), .payload = SLICE("1"), .qos = 1},
                        .exchange = f->shard->vhost->default_exchange,
                        .receipt = RECEIPT_NONE};
    assert_true(t && u && tx_publish(c, t, &p) == ERR_OK && tx_publish(c, u, &p) == ERR_OK);
    tx_commit(c, t, RECEIPT_NONE);
    tx_abort(c, u);
    for (unsigned i = 0; i < 4; i++)
        broker_publish(c, &p); /* one more than it may in a second */
    p.delay_ms = 2 * EVERY_MS;
    broker_publish(c, &p);
    broker_purge(c, SLICE("q"), &n, RECEIPT_NONE);
    assert_int_equal(n, 5);
    fake_wait(f, EVERY_MS);
    assert_said(f, "weir/exchanges", "5");
    assert_said(f, "weir/tx_committed", "1");
    assert_said(f, "weir/tx_aborted", "1");
    assert_said(f, "weir/pauses", "1");
    assert_said(f, "weir/drop_purged", "5");
    assert_said(f, "weir/delayed", "1");
    assert_said(f, "weir/dead_lettered", "0");
    assert_said(f, "weir/lapsed", "0");
    fake_wait(f, EVERY_MS);
    assert_said(f, "weir/delayed", "0");
    assert_said(f, "weir/published", "6");
    fake_free(f);
}

/* what the store says of itself, and what is made of it. */
static void the_log(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    config.has_store = true;
    struct fake *f = fake_new(&config);
    assert_said(f, "weir/log/written_per_published_byte", "0.00"); /* nothing was published: no division */
    struct store_stats *st = &f->shard->store->stats;
    struct store_stats was = *st;
    *st = (struct store_stats){.records = 1,
                               .consumed = 2,
                               .published_bytes = 300,
                               .written_bytes = 401,
                               .batches = 5,
                               .syncs = 6,
                               .copied = 7,
                               .fetched = 8,
                               .disk_bytes = 9,
                               .living_n = 10,
                               .replayed = 11,
                               .damaged_bytes = 12,
                               .is_full = true};
    f->shard->store_failed = true;
    fake_wait(f, EVERY_MS);
    *st = was;
    static const struct {
        const char *topic, *value;
    } rows[] = {{"weir/log/records", "1"},
                {"weir/log/consumed", "2"},
                {"weir/log/published_bytes", "300"},
                {"weir/log/written_bytes", "401"},
                {"weir/log/batches", "5"},
                {"weir/log/syncs", "6"},
                {"weir/log/copied", "7"},
                {"weir/log/fetched", "8"},
                {"weir/log/disk_bytes", "9"},
                {"weir/log/living", "10"},
                {"weir/log/replayed", "11"},
                {"weir/log/damaged_bytes", "12"},
                {"weir/log/written_per_published_byte", "1.34"},
                {"weir/log/is_full", "1"},
                {"weir/log/has_failed", "1"}};
    for (size_t i = 0; i < ARRAY_N(rows); i++)
        assert_said(f, rows[i].topic, rows[i].value);
    fake_free(f);
}

/* 60 messages in 10 s are 360 in a minute: 360 * (1 - exp(-10/60)) = 55.27, with 300 s 11.80, with 900 s 3.98. After
 * 10 s of silence times exp(-10/60): 46.78; 11.42; 3.93. */
static void averages(void **state)
{
    (void)state;
    struct fake *f = sys_fake();
    struct conn *p = fake_login(f, "p", 0);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(fake_pub(p, "t", "x", 0), ERR_NO_MATCH);
    fake_wait(f, EVERY_MS);
    assert_said(f, "load/publish/received/1min", "55.27");
    assert_said(f, "load/publish/received/5min", "11.80");
    assert_said(f, "load/publish/received/15min", "3.98");
    assert_said(f, "load/sockets/1min", "0.92"); /* 6 * 0.1535 */
    assert_said(f, "load/connections/1min", "0.92");
    assert_said(f, "load/publish/dropped/1min", "0.00");
    fake_wait(f, EVERY_MS);
    assert_said(f, "load/publish/received/1min", "46.78");
    assert_said(f, "load/publish/received/5min", "11.42");
    assert_said(f, "load/publish/received/15min", "3.93");
    f->now += 30000; /* the loop was busy: this round comes 20 s late, and knows */
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(fake_pub(p, "t", "x", 0), ERR_NO_MATCH);
    fake_run(f);
    assert_said(f, "load/publish/received/1min", "75.59"); /* 120 + exp(-0.5) * (46.78215 - 120) */
    assert_said(f, "load/publish/received/15min", "7.74"); /* 120 + exp(-1/30) * (3.93392 - 120) */
    assert_said(f, "uptime", "50 seconds");
    fake_wait(f, 3600000);
    assert_said(f, "load/publish/received/1min", "0.00"); /* an average does not stick at its last small step */
    fake_wait(f, 3 * 3600000);
    assert_said(f, "load/publish/received/15min", "0.00");
    fake_free(f);
}

/* ---- only what changed ------------------------------------------------------------------------------------------ */

static void unchanged_is_not_repeated(void **state)
{
    (void)state;
    struct fake *f = sys_fake();
    enum { MAX_N = 300 };
    const struct msg *held[MAX_N];
    struct sys_topic t;
    unsigned n = topics_n(), again = 0;
    assert_true(n < MAX_N);
    fake_wait(f, 3 * EVERY_MS); /* the first rounds change what the broker keeps */
    for (unsigned i = 0; i < n && sys_topic_get(i, &t); i++)
        held[i] = msg_hold(retained_get(&f->shard->vhost->retained, slice_from_str(t.name)));
    fake_wait(f, EVERY_MS);
    for (unsigned i = 0; i < n && sys_topic_get(i, &t); i++) {
        bool is_new = retained_get(&f->shard->vhost->retained, slice_from_str(t.name)) != held[i];
        if (is_new && !strstr(t.name, "/uptime") && !strstr(t.name, "/turns"))
            again++;
        if (strstr(t.name, "/uptime") || strstr(t.name, "/turns"))
            assert_true(is_new);
        msg_drop(held[i]);
    }
    assert_int_equal(again, 0);
    assert_int_equal(f->shard->vhost->retained.n, n); /* replaced, not added */
    fake_free(f);
}

static void a_watcher(void **state)
{
    (void)state;
    struct fake *f = sys_fake();
    struct conn *w = fake_login(f, "w", 0);
    fake_wait(f, EVERY_MS);
    assert_int_equal(fake_sub(w, "$SYS/broker/clients/#", 2), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 7); /* replayed */
    assert_true(fake_last(f, FAKE_DELIVER)->is_retained);
    fake_forget(f);
    fake_wait(f, 3 * EVERY_MS);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    struct conn *c = fake_login(f, "c", 0);
    fake_wait(f, EVERY_MS);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 4); /* total, connected, active, maximum */
    const struct fake_event *e = fake_nth(f, FAKE_DELIVER, 1);
    assert_string_equal(e->topic, "$SYS/broker/clients/connected");
    assert_string_equal(e->payload, "2");
    assert_int_equal(e->qos, 0);
    assert_false(e->retain); /* it is news, not a replay [MQTT-3.3.1-12] */
    fake_forget(f);
    fake_pipe_of(c)->is_eof = true;
    fake_wait(f, EVERY_MS);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, w), 3); /* the maximum stays */
    assert_int_equal(fake_stat(f, STAT_PUBLISHED), 0);
    assert_int_equal(fake_stat(f, STAT_NO_MATCH), 0);
    assert_int_equal(fake_stat(f, STAT_PAYLOAD_IN), 0);
    assert_int_equal(fake_stat(f, STAT_DELIVERED), 7 + 4 + 3); /* what a subscriber gets is traffic */
    assert_int_equal(fake_pub(w, "$SYS/broker/uptime", "forged", 0), ERR_DENIED);
    fake_free(f);
}

static void wildcards(void **state)
{
    (void)state;
    struct fake *f = sys_fake();
    struct conn *w = fake_login(f, "w", 0);
    assert_int_equal(fake_sub(w, "#", 0), ERR_OK); /* [MQTT-4.7.2-1] */
    assert_int_equal(fake_sub(w, "+/broker/uptime", 0), ERR_OK);
    fake_wait(f, 2 * EVERY_MS);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    assert_int_equal(fake_sub(w, "$SYS/+/uptime", 0), ERR_OK);
    fake_wait(f, 2 * EVERY_MS);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 3);
    assert_string_equal(fake_last(f, FAKE_DELIVER)->payload, "40 seconds");
    fake_free(f);
}

static void an_absent_subscriber_collects_nothing(void **state)
{
    (void)state;
    struct fake *f = sys_fake();
    struct conn *w = fake_login(f, "w", SESSION_EXPIRY_NEVER);
    assert_int_equal(fake_sub(w, "$SYS/#", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), topics_n());
    fake_pipe_of(w)->is_eof = true;
    fake_run(f);
    uint64_t routed = fake_stat(f, STAT_ROUTED);
    fake_wait(f, 100 * EVERY_MS);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    assert_int_equal(fake_stat(f, STAT_DROP_OFFLINE), 0); /* nothing was lost, and so nothing changes by it */
    assert_int_equal(fake_stat(f, STAT_ROUTED), routed);
    assert_said(f, "clients/disconnected", "1");
    fake_forget(f);
    w = fake_login(f, "w", SESSION_EXPIRY_NEVER);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    fake_wait(f, EVERY_MS);
    assert_in_range(fake_count(f, FAKE_DELIVER), 5, topics_n() - 1); /* what changed since */
    fake_free(f);
}

/* ---- other ways to run --------------------------------------------------------------------------------------------
 */

static void without_retain(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    config.no_retain = true;
    struct fake *f = fake_new(&config);
    assert_int_equal(f->shard->vhost->retained.n, 0);
    struct conn *w = fake_login(f, "w", 0);
    assert_int_equal(fake_sub(w, "$SYS/#", 0), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    for (unsigned i = 1; i < 3; i++) {
        fake_wait(f, EVERY_MS);
        assert_int_equal(fake_count(f, FAKE_DELIVER), i * topics_n()); /* all: nobody could look up the others */
    }
    assert_int_equal(f->shard->vhost->retained.n, 0);
    fake_free(f);
}

static void nothing_is_logged(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    config.has_store = true;
    struct fake *f = fake_new(&config);
    struct conn *w = fake_login(f, "w", SESSION_EXPIRY_NEVER);
    fake_run(f);
    assert_int_equal(fake_sub(w, "$SYS/#", 2), ERR_AGAIN); /* answered when it is durable */
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), topics_n());
    uint64_t appends = fake_stat(f, STAT_STORE_APPENDS);
    fake_wait(f, 5 * EVERY_MS);
    assert_int_equal(fake_stat(f, STAT_STORE_APPENDS), appends);
    fake_free(f);
}

/* What others may retain is not less for $SYS, and $SYS is not stopped where they are. */
static void limits_of_the_retained_set(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    config.limits.retained_max = 1;
    config.limits.retained_bytes_max = 1024;
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0);
    struct msgview v = {.topic = SLICE("a"), .payload = SLICE("1"), .flags = MSG_RETAIN};
    assert_int_equal(fake_pub_view(p, &v, NULL, 0), ERR_NO_MATCH);
    v.topic = SLICE("b");
    assert_int_equal(fake_pub_view(p, &v, NULL, 0), ERR_FULL);
    fake_wait(f, EVERY_MS);
    assert_int_equal(f->shard->vhost->retained.n, topics_n() + 1);
    assert_said(f, "uptime", "10 seconds");
    assert_said(f, "publish/messages/received", "2"); /* the refused one was received as well */
    fake_free(f);
}

/* A group whose queue may not overflow refuses what it has no room for; the value is offered again. */
static void refused_values_come_again(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    config.limits.named_queue_max = 1;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "c", 0);
    enum err e = ERR_OK;
    struct queue *q = broker_declare_queue(c, SLICE("full"), &e);
    assert_non_null(q);
    struct fake_filter filter;
    struct binding *b;
    bool is_new;
    const struct binding_opts opts = {.qos = 2};
    assert_int_equal(router_bind(&f->shard->vhost->router, f->shard->vhost->topic_exchange,
                                 fake_filter(&filter, "$SYS/broker/clients/#"), q, &opts, &b, &is_new),
                     ERR_OK);
    fake_wait(f, EVERY_MS); /* of total, connected, active and maximum only the first has room */
    assert_int_equal(q->ready_n, 1);
    assert_said(f, "clients/total", "1");
    assert_said(f, "clients/connected", "0");
    assert_int_equal(fake_stat(f, STAT_REFUSED), 0);
    assert_int_equal(queue_purge(q, STAT_DROP_CLOSED), 1);
    fake_wait(f, EVERY_MS);
    assert_said(f, "clients/connected", "1");
    assert_said(f, "clients/maximum", "0");
    fake_free(f);
}

/* Many subscribers: a round does not pile up all its output before it sends any. */
static void a_round_is_sent_in_pieces(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    config.no_retain = true; /* every value, every round */
    config.limits.flush_bytes_turn = 65536;
    struct fake *f = fake_new(&config);
    struct conn *c[8];
    for (unsigned i = 0; i < ARRAY_N(c); i++) {
        char id[2] = {(char)('a' + i), 0};
        c[i] = fake_login(f, id, 0);
        fake_pipe_of(c[i])->deliver_bytes = 1024;
        assert_int_equal(fake_sub(c[i], "$SYS/#", 0), ERR_OK);
    }
    fake_wait(f, EVERY_MS);
    for (unsigned i = 0; i < ARRAY_N(c); i++) {
        assert_int_equal(fake_pipe_of(c[i])->out.len, topics_n() * 1024);
        assert_true(fake_pipe_of(c[i])->send_calls > 5);
    }
    fake_free(f);
}

static void switched_off(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    assert_null(f->shard->sys);
    fake_wait(f, 100 * EVERY_MS);
    assert_int_equal(f->shard->vhost->retained.n, 0);
    assert_int_equal(f->timer, MONO_NEVER);
    fake_free(f);
    f = sys_fake();
    assert_int_equal(f->shard->wheel.armed_n, 1);
    sys_free(f->shard->sys);
    f->shard->sys = NULL;
    assert_int_equal(f->shard->wheel.armed_n, 0);
    fake_free(f);
}

/* ---- no memory ------------------------------------------------------------------------------------------------- */

static void no_memory_at_the_start(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.sys_interval_s = EVERY_MS / 1000;
    uint64_t calls = 0, n = 1;
    for (;; n++) {
        config.fail_at = n;
        struct fake *f = fake_new(&config);
        if (!f)
            continue;
        calls = f->heap.calls;
        f->heap.fail_at = 0;
        if (calls >= n) { /* the first round was cut short; the second says the rest */
            fake_wait(f, EVERY_MS);
            assert_int_equal(f->shard->vhost->retained.n, topics_n());
        }
        fake_free(f);
        if (calls < n)
            break;
    }
    assert_true(n > 20);
}

static void no_memory_later(void **state)
{
    (void)state;
    bool has_failed = true;
    for (uint64_t n = 1; has_failed; n++) {
        struct fake *f = sys_fake();
        struct conn *w = fake_login(f, "w", 0);
        assert_int_equal(fake_sub(w, "$SYS/#", 1), ERR_OK);
        fake_run(f);
        f->heap.fail_at = f->heap.calls + n;
        f->heap.fail_after = n % 2;
        fake_wait(f, EVERY_MS);
        has_failed = f->heap.calls >= f->heap.fail_at;
        f->heap.fail_at = 0;
        fake_wait(f, EVERY_MS);
        assert_said(f, "uptime", "20 seconds");
        assert_said(f, "clients/total", w->session ? "1" : "0");
        assert_int_equal(f->shard->vhost->retained.n, topics_n());
        fake_free(f);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--docs") == 0) {
        struct mem_heap heap;
        struct mem mem;
        struct buf page;
        mem_heap_init(&heap);
        mem_init(&mem, &heap, "page");
        buf_init(&page, &mem);
        page_make(&page);
        bool ok = !buf_is_bad(&page) && fwrite(page.p, 1, page.len, stdout) == page.len;
        buf_fini(&page);
        return ok ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page),
        cmocka_unit_test(every_topic_is_there),
        cmocka_unit_test(what_was_counted),
        cmocka_unit_test(shared_and_other_subscriptions),
        cmocka_unit_test(queues_and_exchanges),
        cmocka_unit_test(the_log),
        cmocka_unit_test(averages),
        cmocka_unit_test(unchanged_is_not_repeated),
        cmocka_unit_test(a_watcher),
        cmocka_unit_test(wildcards),
        cmocka_unit_test(an_absent_subscriber_collects_nothing),
        cmocka_unit_test(without_retain),
        cmocka_unit_test(nothing_is_logged),
        cmocka_unit_test(limits_of_the_retained_set),
        cmocka_unit_test(refused_values_come_again),
        cmocka_unit_test(a_round_is_sent_in_pieces),
        cmocka_unit_test(switched_off),
        cmocka_unit_test(no_memory_at_the_start),
        cmocka_unit_test(no_memory_later),
    };
    return cmocka_run_group_tests_name("sys", tests, NULL, NULL);
}
