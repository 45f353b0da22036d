/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_suite.c: the contract of stores. Included by the program that runs it (one program per test_*.c).
 *
 * What replay shows is written as text, a line per record, and compared with what the test expects:
 *
 *     4 PUBLISH a/b=hello qos=1 flags=1 -> 7:0 8:5 rx=3/12
 *
 * The random test has its own idea of "living": store_living.c keeps the whole log and works out by definition what
 * must be left.
 */
#include "tests/contract/store_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/rng.h"
#include "core/msg.h"
#include "tests/contract/store_living.c" /* a program of this folder is one file */

struct suite {
    const struct store_fixture *f;
    struct mem_heap heap; /* the store's */
    void *world;
    struct mem_heap own_heap; /* the suite's: never runs out */
    struct mem own;
    struct msg_pool msgs;
    struct store *store;            /* NULL between two lives */
    lsn_t last, submitted, durable; /* of this life */
    unsigned durable_calls, failed_calls;
    bool in_submit, in_append;
    struct buf seen; /* what replay showed */
    unsigned seen_n, stop_after;
    const struct msg *held; /* by a visit */
};

/* ---- lives --------------------------------------------------------------------------------------------------- */

static void on_durable(void *ctx, lsn_t lsn)
{
    struct suite *s = ctx;
    assert_false(s->in_append);
    assert_int_equal(s->failed_calls, 0);
    assert_true(lsn >= s->durable);   /* grows */
    assert_true(lsn <= s->submitted); /* nothing that still gathers */
    s->durable = lsn;
    s->durable_calls++;
}

static void on_failed(void *ctx)
{
    struct suite *s = ctx;
    assert_false(s->in_append);
    s->failed_calls++;
    assert_int_equal(s->failed_calls, 1);
}

static enum err visit(const struct store_rec *rec, void *ctx)
{
    struct suite *s = ctx;
    put_rec(&s->seen, rec);
    if (rec->msg != NULL && s->held == NULL)
        s->held = msg_hold(rec->msg);
    return ++s->seen_n == s->stop_after ? ERR_TOO_BIG : ERR_OK;
}

static void drop_held(struct suite *s)
{
    if (s->held != NULL)
        msg_drop(s->held);
    s->held = NULL;
}

/* begin: a new life: makes and opens the store and replays it into s->seen. */
static void begin(struct suite *s)
{
    assert_null(s->store);
    s->store = s->f->make(s->world);
    assert_non_null(s->store);
    s->store->on_durable = on_durable;
    s->store->on_failed = on_failed;
    s->store->ctx = s;
    s->last = s->submitted = s->durable = 0;
    s->durable_calls = s->failed_calls = 0;
    buf_clear(&s->seen);
    s->seen_n = 0;
    assert_int_equal(s->store->ops->open(s->store), ERR_OK);
    assert_int_equal(s->store->ops->replay(s->store, visit, s), ERR_OK);
}

static void submit(struct suite *s)
{
    s->submitted = s->last;
    s->store->ops->submit(s->store);
}

static void wait(struct suite *s)
{
    if (s->f->wait != NULL)
        s->f->wait(s->world, s->store);
}

static void end(struct suite *s)
{
    if (s->store == NULL)
        return;
    struct store *store = s->store;
    s->store = NULL;
    drop_held(s);
    store->ops->close(store);
}

/* sync: everything appended so far is durable afterwards. */
static void sync_all(struct suite *s)
{
    submit(s);
    wait(s);
    assert_int_equal(s->durable, s->last);
}

static lsn_t append(struct suite *s, const struct store_rec *r)
{
    s->in_append = true;
    lsn_t lsn = s->store->ops->append(s->store, r);
    s->in_append = false;
    if (lsn != 0)
        s->last = lsn;
    return lsn;
}

/* expect: replay after a clean end shows exactly these lines; then the next life goes on. */
static void expect(struct suite *s, const char *lines)
{
    sync_all(s);
    end(s);
    begin(s);
    buf_put_u8(&s->seen, 0);
    assert_string_equal((const char *)s->seen.p, lines);
}

static int suite_setup(void **state)
{
    const struct store_fixture *f = *state;
    struct suite *s = test_calloc(1, sizeof(*s));
    s->f = f;
    mem_heap_init(&s->heap);
    mem_heap_init(&s->own_heap);
    mem_init(&s->own, &s->own_heap, "suite");
    msg_pool_init(&s->msgs, &s->own);
    buf_init(&s->seen, &s->own);
    s->world = f->setup(&s->heap, f->param);
    begin(s);
    *state = s;
    return 0;
}

static int suite_teardown(void **state)
{
    struct suite *s = *state;
    end(s);
    s->f->teardown(s->world);
    assert_int_equal(s->heap.bytes, 0);
    buf_fini(&s->seen);
    msg_pool_fini(&s->msgs); /* the store has let go of every message */
    assert_int_equal(s->own_heap.bytes, 0);
    test_free(s);
    return 0;
}

/* ---- short hands --------------------------------------------------------------------------------------------- */

static struct msg *message(struct suite *s, const char *topic, const char *payload)
{
    struct msgview v = {.topic = slice_from_str(topic), .payload = slice_from_str(payload), .qos = 1, .flags = 1};
    struct msg *m = msg_new(&s->msgs, &v);
    assert_non_null(m);
    return m;
}

struct to {
    struct store_target v[4];
    uint32_t n;
};

#define TO(...)                                                                                                        \
    (struct to)                                                                                                        \
    {                                                                                                                  \
        {__VA_ARGS__}, sizeof((struct store_target[]){__VA_ARGS__}) / sizeof(struct store_target)                      \
    }

/* publish: drops the message and spoils the targets once append returned: nobody may need them any more. */
static lsn_t publish(struct suite *s, const char *topic, const char *payload, struct to to, uint64_t session,
                     uint16_t rx_id)
{
    struct msg *m = message(s, topic, payload);
    lsn_t lsn = append(
        s, &(struct store_rec){
               .kind = STORE_PUBLISH, .msg = m, .target = to.v, .target_n = to.n, .session = session, .rx_id = rx_id});
    msg_drop(m);
    memset(to.v, 0xee, sizeof(to.v));
    return lsn;
}

static lsn_t retain(struct suite *s, const char *topic, const char *payload)
{
    struct msg *m = message(s, topic, payload);
    lsn_t lsn = append(s, &(struct store_rec){.kind = STORE_RETAIN, .msg = m});
    msg_drop(m);
    return lsn;
}

static lsn_t settle(struct suite *s, uint64_t queue, lsn_t of)
{
    return append(s, &(struct store_rec){.kind = STORE_SETTLE, .queue = queue, .of = of});
}

static lsn_t about(struct suite *s, enum store_kind kind, uint64_t queue, uint64_t session, const char *name,
                   uint32_t expiry_s)
{
    char spoiled[64];
    snprintf(spoiled, sizeof(spoiled), "%s", name);
    struct store_rec r = {.kind = kind,
                          .queue = queue,
                          .session = session,
                          .name = slice_make(spoiled, strlen(name)),
                          .expiry_s = expiry_s};
    lsn_t lsn = append(s, &r);
    memset(spoiled, '#', sizeof(spoiled));
    return lsn;
}

static lsn_t bind_to(struct suite *s, enum store_kind kind, uint64_t queue, const char *key, uint8_t qos)
{
    return append(s, &(struct store_rec){.kind = kind,
                                         .queue = queue,
                                         .name = SLICE("amq.topic"),
                                         .key = slice_from_str(key),
                                         .qos = qos,
                                         .sub_id = 268435455,
                                         .flags = 5});
}

/* ---- LSNs and answers ---------------------------------------------------------------------------------------- */

static void test_empty(void **state)
{
    struct suite *s = *state;
    expect(s, "");
    expect(s, "");
}

static void test_lsns(void **state)
{
    struct suite *s = *state;
    for (lsn_t i = 1; i <= 100; i++)
        assert_int_equal(retain(s, "t", "x"), i);
    assert_int_equal(s->durable_calls, 0); /* nothing was submitted */
    submit(s);
    wait(s);
    assert_int_equal(s->durable, 100);
    expect(s, "100 RETAIN t=x qos=1 flags=1\n");
    assert_int_equal(retain(s, "t", "y"), 101);
}

static void test_submit_of_nothing(void **state)
{
    struct suite *s = *state;
    submit(s);
    wait(s);
    assert_int_equal(s->durable, 0);
    retain(s, "t", "x");
    sync_all(s);
    submit(s);
    submit(s);
    wait(s);
    assert_int_equal(s->durable, 1);
}

static void test_batches(void **state)
{
    struct suite *s = *state;
    lsn_t between = 0;
    for (unsigned i = 0; i < 10; i++) {
        retain(s, "t", "x");
        submit(s);
        retain(s, "u", "x");
        between = s->last - 1;
        assert_true(s->durable <= between); /* on_durable checks it too: the second one gathers */
        if (i % 3 == 0)
            wait(s);
    }
    wait(s);
    assert_int_equal(s->durable, between);
    sync_all(s);
    assert_int_equal(s->durable, 20);
}

static void test_close_finishes(void **state)
{
    struct suite *s = *state;
    retain(s, "a", "1");
    submit(s);
    retain(s, "b", "2");
    submit(s);
    lsn_t last = s->last;
    end(s);
    assert_int_equal(s->durable, last);
    begin(s);
    expect(s, "1 RETAIN a=1 qos=1 flags=1\n2 RETAIN b=2 qos=1 flags=1\n");
}

/* ---- what lives ---------------------------------------------------------------------------------------------- */

static void test_every_field(void **state)
{
    struct suite *s = *state;
    about(s, STORE_SESSION, 0, 3, "device-1", 4294967295u);
    about(s, STORE_QUEUE, 7, 3, "", 0);
    about(s, STORE_QUEUE, 18446744073709551615u, 0, "jobs", 0);
    bind_to(s, STORE_BIND, 7, "a/+", 2);
    struct msgview v = {.topic = SLICE("a/b"),
                        .payload = SLICE("hello"),
                        .attrs = SLICE("attributes"),
                        .expires_at = 123456789,
                        .publisher = 42,
                        .qos = 2,
                        .flags = MSG_DURABLE | MSG_STOMP};
    struct msg *m = msg_new(&s->msgs, &v);
    assert_non_null(m);
    append(s, &(struct store_rec){.kind = STORE_PUBLISH,
                                  .msg = m,
                                  .target = (struct store_target[]){{7, 0}, {18446744073709551615u, 4294967295u}},
                                  .target_n = 2,
                                  .session = 3,
                                  .rx_id = 65535});
    append(s, &(struct store_rec){.kind = STORE_RETAIN, .msg = m});
    msg_drop(m);
    expect(s, "1 SESSION 3 device-1 expiry=4294967295\n"
              "2 QUEUE 7 '' of 3\n"
              "3 QUEUE 18446744073709551615 'jobs' of 0\n"
              "4 BIND 7 amq.topic a/+ qos=2 sub=268435455 flags=5\n"
              "5 PUBLISH a/b=hello attrs=attributes qos=2 flags=5 expires=123456789 by=42 -> 7:0 "
              "18446744073709551615:4294967295 rx=3/65535\n"
              "6 RETAIN a/b=hello attrs=attributes qos=2 flags=5 expires=123456789 by=42\n");
}

static void test_settle(void **state)
{
    struct suite *s = *state;
    lsn_t first = publish(s, "t", "1", TO({7, 0}, {8, 5}, {9, 1}), 0, 0);
    publish(s, "t", "2", TO({7, 0}), 0, 0);
    lsn_t third = publish(s, "t", "3", TO({8, 0}), 0, 0);
    settle(s, 8, first);
    expect(s, "1 PUBLISH t=1 qos=1 flags=1 -> 7:0 9:1\n"
              "2 PUBLISH t=2 qos=1 flags=1 -> 7:0\n"
              "3 PUBLISH t=3 qos=1 flags=1 -> 8:0\n");
    settle(s, 8, third); /* of a message of the former life */
    settle(s, 8, first); /* again, and of things that never were: harmless */
    settle(s, 99, first);
    settle(s, 7, 12345);
    expect(s, "1 PUBLISH t=1 qos=1 flags=1 -> 7:0 9:1\n2 PUBLISH t=2 qos=1 flags=1 -> 7:0\n");
    settle(s, 9, first);
    settle(s, 7, first);
    expect(s, "2 PUBLISH t=2 qos=1 flags=1 -> 7:0\n");
}

static void test_inbound_qos2_id(void **state)
{
    struct suite *s = *state;
    about(s, STORE_SESSION, 0, 3, "dev", 60);
    lsn_t held = publish(s, "t", "1", TO({7, 0}), 3, 10);
    publish(s, "t", "nobody wanted it", (struct to){.n = 0}, 3, 11);
    publish(s, "t", "nobody wanted it", (struct to){.n = 0}, 0, 0);
    settle(s, 7, held);
    expect(s, "1 SESSION 3 dev expiry=60\n2 PUBLISH rx=3/10\n3 PUBLISH rx=3/11\n"); /* shrunk to the id */
    append(s, &(struct store_rec){.kind = STORE_RX_RELEASE, .session = 3, .rx_id = 10});
    append(s, &(struct store_rec){.kind = STORE_RX_RELEASE, .session = 4, .rx_id = 11});
    publish(s, "t", "2", TO({7, 0}), 3, 10); /* the id is free and used again */
    expect(s, "1 SESSION 3 dev expiry=60\n3 PUBLISH rx=3/11\n8 PUBLISH t=2 qos=1 flags=1 -> 7:0 rx=3/10\n");
    append(s, &(struct store_rec){.kind = STORE_RX_RELEASE, .session = 3, .rx_id = 10});
    about(s, STORE_SESSION_END, 0, 3, "", 0);
    expect(s, "8 PUBLISH t=2 qos=1 flags=1 -> 7:0\n");
}

static void test_retain(void **state)
{
    struct suite *s = *state;
    retain(s, "a", "1");
    retain(s, "b", "1");
    retain(s, "a", "2");
    retain(s, "c", "1");
    retain(s, "b", "");
    retain(s, "never", "");
    expect(s, "3 RETAIN a=2 qos=1 flags=1\n4 RETAIN c=1 qos=1 flags=1\n");
    retain(s, "b", "3");
    retain(s, "c", "");
    expect(s, "3 RETAIN a=2 qos=1 flags=1\n7 RETAIN b=3 qos=1 flags=1\n");
}

/* A change keeps the place, so that a session comes before its queue and a queue before its bindings and messages. */
static void test_changes_keep_their_place(void **state)
{
    struct suite *s = *state;
    about(s, STORE_SESSION, 0, 3, "dev", 60);
    about(s, STORE_QUEUE, 7, 3, "", 0);
    bind_to(s, STORE_BIND, 7, "a/#", 0);
    bind_to(s, STORE_BIND, 7, "b", 1);
    about(s, STORE_SESSION, 0, 3, "dev", 3600);
    bind_to(s, STORE_BIND, 7, "a/#", 2);
    expect(s, "1 SESSION 3 dev expiry=3600\n"
              "2 QUEUE 7 '' of 3\n"
              "3 BIND 7 amq.topic a/# qos=2 sub=268435455 flags=5\n"
              "4 BIND 7 amq.topic b qos=1 sub=268435455 flags=5\n");
    bind_to(s, STORE_UNBIND, 7, "a/#", 0);
    bind_to(s, STORE_UNBIND, 8, "b", 0);
    bind_to(s, STORE_UNBIND, 7, "bb", 0);
    expect(s, "1 SESSION 3 dev expiry=3600\n"
              "2 QUEUE 7 '' of 3\n"
              "4 BIND 7 amq.topic b qos=1 sub=268435455 flags=5\n");
    bind_to(s, STORE_BIND, 7, "a/#", 1); /* a new one, no change */
    expect(s, "1 SESSION 3 dev expiry=3600\n"
              "2 QUEUE 7 '' of 3\n"
              "4 BIND 7 amq.topic b qos=1 sub=268435455 flags=5\n"
              "10 BIND 7 amq.topic a/# qos=1 sub=268435455 flags=5\n");
}

static void test_queue_end(void **state)
{
    struct suite *s = *state;
    about(s, STORE_QUEUE, 7, 0, "jobs", 0);
    about(s, STORE_QUEUE, 8, 0, "more", 0);
    bind_to(s, STORE_BIND, 7, "a", 1);
    bind_to(s, STORE_BIND, 8, "a", 1);
    publish(s, "a", "both", TO({7, 0}, {8, 0}), 0, 0);
    publish(s, "a", "one", TO({7, 0}), 0, 0);
    about(s, STORE_QUEUE_END, 7, 0, "", 0);
    expect(s, "2 QUEUE 8 'more' of 0\n"
              "4 BIND 8 amq.topic a qos=1 sub=268435455 flags=5\n"
              "5 PUBLISH a=both qos=1 flags=1 -> 8:0\n");
    about(s, STORE_QUEUE_END, 8, 0, "", 0);
    about(s, STORE_QUEUE_END, 8, 0, "", 0);
    expect(s, "");
}

static void test_session_end_takes_its_queues(void **state)
{
    struct suite *s = *state;
    about(s, STORE_SESSION, 0, 3, "dev", 60);
    about(s, STORE_SESSION, 0, 4, "other", 60);
    about(s, STORE_QUEUE, 7, 3, "", 0);
    about(s, STORE_QUEUE, 8, 3, "", 0);
    about(s, STORE_QUEUE, 9, 4, "", 0);
    bind_to(s, STORE_BIND, 7, "a", 1);
    bind_to(s, STORE_BIND, 9, "a", 1);
    publish(s, "a", "1", TO({7, 0}, {8, 0}, {9, 0}), 3, 5);
    publish(s, "a", "2", TO({8, 0}), 4, 5);
    about(s, STORE_SESSION_END, 0, 3, "", 0);
    about(s, STORE_QUEUE_END, 7, 0, "", 0); /* whether the broker says it too or not */
    expect(s, "2 SESSION 4 other expiry=60\n"
              "5 QUEUE 9 '' of 4\n"
              "7 BIND 9 amq.topic a qos=1 sub=268435455 flags=5\n"
              "8 PUBLISH a=1 qos=1 flags=1 -> 9:0\n"
              "9 PUBLISH rx=4/5\n");
}

static lsn_t member(struct suite *s, enum store_kind kind, uint64_t queue, uint64_t session, uint8_t qos)
{
    return append(s,
                  &(struct store_rec){
                      .kind = kind, .queue = queue, .session = session, .qos = qos, .sub_id = 268435455, .flags = 1});
}

/* Members of shared queues end by themselves, with their session, and with the queue. */
static void test_members(void **state)
{
    struct suite *s = *state;
    about(s, STORE_SESSION, 0, 3, "dev", 60);
    about(s, STORE_SESSION, 0, 4, "other", 60);
    about(s, STORE_QUEUE, 7, 0, "g/a", 0);
    about(s, STORE_QUEUE, 8, 0, "jobs", 0);
    member(s, STORE_MEMBER, 7, 3, 1);
    member(s, STORE_MEMBER, 7, 4, 1);
    member(s, STORE_MEMBER, 8, 3, 0);
    member(s, STORE_MEMBER, 8, 4, 0);
    member(s, STORE_MEMBER, 7, 4, 2); /* a change */
    member(s, STORE_MEMBER_END, 8, 4, 0);
    member(s, STORE_MEMBER_END, 9, 4, 0);
    expect(s, "1 SESSION 3 dev expiry=60\n2 SESSION 4 other expiry=60\n3 QUEUE 7 'g/a' of 0\n4 QUEUE 8 'jobs' of 0\n"
              "5 MEMBER 3 of 7 qos=1 sub=268435455 flags=1\n"
              "6 MEMBER 4 of 7 qos=2 sub=268435455 flags=1\n"
              "7 MEMBER 3 of 8 qos=0 sub=268435455 flags=1\n");
    about(s, STORE_SESSION_END, 0, 3, "", 0);
    expect(s, "2 SESSION 4 other expiry=60\n3 QUEUE 7 'g/a' of 0\n4 QUEUE 8 'jobs' of 0\n"
              "6 MEMBER 4 of 7 qos=2 sub=268435455 flags=1\n");
    about(s, STORE_QUEUE_END, 7, 0, "", 0);
    expect(s, "2 SESSION 4 other expiry=60\n4 QUEUE 8 'jobs' of 0\n");
}

/* A delayed message waits with queue 0 as its one target. */
static void test_delays(void **state)
{
    struct suite *s = *state;
    publish(s, "a", "later", TO({0, 0}), 0, 0);
    publish(s, "a", "much later", TO({0, 0}), 3, 5);
    about(s, STORE_QUEUE_END, 7, 0, "", 0);
    expect(s, "1 PUBLISH a=later qos=1 flags=1 -> 0:0\n2 PUBLISH a=much later qos=1 flags=1 -> 0:0 rx=3/5\n");
    settle(s, 0, 1);
    settle(s, 0, 2);
    expect(s, "2 PUBLISH rx=3/5\n");
}

static void test_visit_stops(void **state)
{
    struct suite *s = *state;
    for (char topic[] = "a"; topic[0] <= 'f'; topic[0]++)
        retain(s, topic, "x");
    sync_all(s);
    end(s);
    s->store = s->f->make(s->world);
    assert_non_null(s->store);
    s->store->on_durable = on_durable;
    s->store->on_failed = on_failed;
    s->store->ctx = s;
    buf_clear(&s->seen);
    s->seen_n = 0;
    s->stop_after = 3;
    assert_int_equal(s->store->ops->open(s->store), ERR_OK);
    assert_int_equal(s->store->ops->replay(s->store, visit, s), ERR_TOO_BIG);
    assert_int_equal(s->seen_n, 3);
    s->stop_after = 0;
}

static void test_large(void **state)
{
    struct suite *s = *state;
    size_t n = 3u << 20;
    char *payload = test_malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        payload[i] = (char)('a' + i * 7 % 26);
    payload[n] = '\0';
    retain(s, "big", payload);
    sync_all(s);
    end(s);
    begin(s);
    assert_non_null(s->held); /* a message may be held beyond its visit */
    struct msgview v;
    msg_view(s->held, &v);
    assert_int_equal(v.payload.len, n);
    assert_memory_equal(v.payload.p, payload, n);
    test_free(payload);
}

/* ---- trouble ------------------------------------------------------------------------------------------------- */

static void test_reserve(void **state)
{
    struct suite *s = *state;
    assert_int_equal(s->store->ops->reserve(s->store, 0), ERR_OK);
    assert_int_equal(s->store->ops->reserve(s->store, 1000), ERR_OK);
    if (s->f->bytes_max != 0) {
        assert_int_equal(s->store->ops->reserve(s->store, s->f->bytes_max + 1), ERR_FULL);
        assert_int_equal(s->store->ops->reserve(s->store, UINT64_MAX), ERR_FULL);
        assert_int_equal(s->store->ops->reserve(s->store, 1000), ERR_OK); /* a refusal is no failure */
    }
    assert_int_equal(retain(s, "t", "x"), 1);
    expect(s, "1 RETAIN t=x qos=1 flags=1\n");
}

static void test_failure(void **state)
{
    struct suite *s = *state;
    retain(s, "a", "1");
    sync_all(s);
    s->f->break_medium(s->world, s->store);
    retain(s, "b", "2");
    submit(s);
    wait(s);
    assert_int_equal(s->failed_calls, 1);
    assert_int_equal(s->durable, 1);
    assert_int_equal(retain(s, "c", "3"), 0);
    assert_int_equal(s->store->ops->reserve(s->store, 1), ERR_STORE);
    submit(s);
    wait(s);
    end(s); /* on_durable and on_failed check that neither comes again */
    assert_int_equal(s->durable, 1);
    begin(s);
    buf_put_u8(&s->seen, 0); /* what was said to be durable is; what was not may have reached the medium or not */
    const char *one = "1 RETAIN a=1 qos=1 flags=1\n";
    assert_memory_equal(s->seen.p, one, strlen(one));
}

static void test_failure_at_close(void **state)
{
    struct suite *s = *state;
    retain(s, "a", "1");
    sync_all(s);
    retain(s, "b", "2");
    s->f->break_medium(s->world, s->store);
    submit(s);
    end(s);
    assert_int_equal(s->failed_calls, 1);
    assert_int_equal(s->durable, 1);
}

static void test_crash(void **state)
{
    struct suite *s = *state;
    for (uint64_t luck = 0; luck < 8; luck++) {
        char payload[8];
        snprintf(payload, sizeof(payload), "%u", (unsigned)luck);
        retain(s, "kept", payload);
        sync_all(s);
        retain(s, "risked", payload);
        submit(s);
        retain(s, "lost", payload); /* never submitted */
        lsn_t durable = s->durable;
        s->f->crash(s->world, s->store, luck);
        assert_int_equal(retain(s, "dead", payload), 0);
        end(s);
        assert_int_equal(s->durable, durable); /* the dead say nothing */
        assert_int_equal(s->failed_calls, 0);
        begin(s);
        buf_put_u8(&s->seen, 0);
        char kept[64];
        snprintf(kept, sizeof(kept), " RETAIN kept=%s ", payload);
        assert_non_null(strstr((const char *)s->seen.p, kept));
        assert_null(strstr((const char *)s->seen.p, "RETAIN lost"));
        assert_null(strstr((const char *)s->seen.p, "RETAIN dead"));
    }
}

/* Every allocation fails once: append then takes nothing and says so, or the store fails and says that; never a leak,
 * and what was said to be durable is there. */
static void test_out_of_memory(void **state)
{
    struct suite *s = *state;
    unsigned refused = 0, failed = 0;
    for (unsigned nth = 1; nth < 200; nth++) {
        s->heap.fail_at = s->heap.calls + nth;
        lsn_t before = s->last;
        bool done[3];
        done[0] = about(s, STORE_QUEUE, nth, 0, "q", 0) != 0;
        done[1] = publish(s, "t", "a message", TO({1, 0}, {2, 0}), 0, 0) != 0;
        done[2] = bind_to(s, STORE_BIND, nth, "filter", 1) != 0;
        unsigned n = (unsigned)done[0] + done[1] + done[2];
        if (before != 0)
            assert_int_equal(s->last, before + n); /* a refusal uses up no LSN */
        submit(s);
        wait(s);
        bool all_asked = s->heap.calls < s->heap.fail_at;
        s->heap.fail_at = 0;
        refused += 3 - n;
        failed += s->failed_calls;
        if (s->failed_calls == 0)
            assert_int_equal(s->durable, s->last);
        lsn_t durable = s->durable;
        end(s);
        begin(s);
        if (durable != 0)
            assert_true(retain(s, "probe", "x") > durable);
        if (all_asked) {
            assert_int_equal(n, 3);
            break;
        }
        assert_true(nth < 100);
    }
    assert_true(refused + failed > 0);
}

#include "tests/contract/store_units.c" /* a program of this folder is one file */

/* ---- at random ----------------------------------------------------------------------------------------------- */

/* invent: the next record: anything a broker could write about what lives. False when this draw makes no sense. */
static bool invent(struct suite *s, struct whole_log *w, struct rng *rng, struct logged *l)
{
    unsigned a = rng_below(rng, NUMBERS), b = rng_below(rng, NUMBERS);
    struct store_rec *r = &l->rec;
    *l = (struct logged){.rec = {.lsn = w->n + 1}};
    r->kind = (enum store_kind)(1 + rng_below(rng, STORE_TX_END));
    r->session = w->session[a];
    r->queue = w->queue[b];
    r->rx_id = (uint16_t)(1 + rng_below(rng, 3));
    r->expiry_s = rng_below(rng, 100);
    r->qos = (uint8_t)rng_below(rng, 3);
    snprintf(l->name, sizeof(l->name), "n%u", a);
    snprintf(l->key, sizeof(l->key), "k%u", rng_below(rng, 3));
    r->name = slice_from_str(l->name);
    if (r->kind == STORE_PUBLISH && rng_chance(rng, 25))
        r->flags = STORE_PUBLISH_RETAINED;
    if (!retains(r) || !rng_chance(rng, 30)) /* else: clears */
        snprintf(l->payload, sizeof(l->payload), "p%u", w->n);
    switch (r->kind) {
    case STORE_PUBLISH:
        invent_publish(w, rng, l, b);
        break;
    case STORE_SETTLE:
        r->of = 1 + rng_below(rng, w->n + 1);
        if (r->of <= w->n && w->v[r->of - 1].rec.target_n != 0)
            r->queue = w->v[r->of - 1].target[rng_below(rng, w->v[r->of - 1].rec.target_n)].queue;
        break;
    case STORE_SESSION:
        if (r->session == 0)
            r->session = w->session[a] = ++w->number;
        break;
    case STORE_QUEUE:
        if (r->queue == 0)
            r->queue = w->queue[b] = ++w->number;
        else
            return false;
        l->policy = (struct queue_policy){.len_max = w->n, .dead_exchange = slice_from_str(l->key)};
        r->policy = rng_chance(rng, 50) ? &l->policy : NULL;
        break;
    case STORE_SESSION_END:
        if (r->session == 0 || rng_chance(rng, 70))
            return false;
        w->session[a] = 0;
        break;
    case STORE_QUEUE_END:
        if (r->queue == 0 || rng_chance(rng, 50))
            return false;
        w->queue[b] = 0;
        break;
    case STORE_BIND:
    case STORE_UNBIND:
        r->key = slice_from_str(l->key);
        if (r->queue != 0 && rng_chance(rng, 60))
            break;
        snprintf(l->to, sizeof(l->to), "n%u", b);
        r->to = slice_from_str(l->to);
        r->queue = 0;
        break;
    case STORE_EXCHANGE:
        l->exchange = (struct exchange_spec){
            .name = r->name, .kind = EXCHANGE_TOPIC, .alternate = slice_from_str(l->key), .rate = w->n};
        r->exchange = &l->exchange;
        r->queue = 0;
        break;
    case STORE_EXCHANGE_END:
        r->queue = 0;
        break;
    case STORE_TX:
        if (w->unit != 0)
            return false;
        w->unit = w->n + 1;
        break;
    case STORE_TX_END:
        if (w->unit == 0)
            return false;
        r->flags = rng_chance(rng, 20) ? STORE_TX_VOID : 0;
        break;
    case STORE_MEMBER:
    case STORE_MEMBER_END:
        if (r->queue == 0 || r->session == 0)
            return false;
        break;
    case STORE_RETAIN:
    case STORE_RX_RELEASE:
        break;
    }
    if (r->kind == STORE_PUBLISH || r->kind == STORE_RETAIN)
        r->msg = message(s, l->name, l->payload);
    return true;
}

/* next_life: replay must show what the first X records amount to, least <= X <= most; the next LSN tells X. The log is
 * cut to it. */
static void next_life(struct suite *s, struct whole_log *w, struct buf *expected, lsn_t least, lsn_t most)
{
    end(s);
    begin(s);
    buf_put_u8(&s->seen, 0);
    lsn_t probe = retain(s, "probe", "");
    assert_in_range(probe, least + 1, most + 1);
    log_tear(w, (unsigned)probe - 1);
    put_living(w, (unsigned)probe - 1, expected);
    assert_string_equal((const char *)s->seen.p, (const char *)expected->p);
    log_cut(w, (unsigned)probe - 1);
    w->kept = w->n;
    w->v[w->n++] = (struct logged){.rec = {.kind = STORE_RETAIN, .lsn = probe, .msg = message(s, "probe", "")}};
}

static void one_history(struct suite *s, struct whole_log *w, struct buf *expected, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed);
    *w = (struct whole_log){.n = 0};
    while (w->n < LOG_MAX - 3) {
        struct logged *l = &w->v[w->n];
        if (!invent(s, w, &rng, l))
            continue;
        assert_int_equal(append(s, &l->rec), w->n + 1);
        w->n++;
        if (l->rec.kind == STORE_TX_END) {
            unsigned unit = w->unit;
            w->unit = 0;
            if (l->rec.flags == STORE_TX_VOID) {
                log_void(w, unit - 1, w->n);
                log_cut(w, w->n);
            }
        }
        log_forget_ended(w);
        if (rng_chance(&rng, 30))
            submit(s);
        if (rng_chance(&rng, 20))
            wait(s);
        if (rng_chance(&rng, 3)) {
            sync_all(s);
            next_life(s, w, expected, w->n, w->n);
        } else if (rng_chance(&rng, 3)) {
            lsn_t least = MAX(w->kept, s->durable), most = MAX(w->kept, s->submitted);
            s->f->crash(s->world, s->store, rng_u64(&rng));
            next_life(s, w, expected, least, most);
        }
    }
    sync_all(s);
    next_life(s, w, expected, w->n, w->n);
    log_cut(w, 0);
}

static void test_random(void **state)
{
    const struct store_fixture *f = ((struct suite *)*state)->f;
    struct whole_log *w = test_calloc(1, sizeof(*w));
    for (uint64_t seed = 1; seed <= 30; seed++) {
        void *inner = (void *)(uintptr_t)f;
        suite_setup(&inner);
        struct suite *s = inner;
        struct buf expected;
        buf_init(&expected, &s->own);
        one_history(s, w, &expected, seed);
        buf_fini(&expected);
        suite_teardown(&inner);
    }
    test_free(w);
}

int store_suite_run(const struct store_fixture *f)
{
#define T(f_) cmocka_unit_test_prestate_setup_teardown(f_, suite_setup, suite_teardown, (void *)(uintptr_t)f)
    const struct CMUnitTest tests[] = {
        T(test_empty),
        T(test_lsns),
        T(test_submit_of_nothing),
        T(test_batches),
        T(test_close_finishes),
        T(test_every_field),
        T(test_settle),
        T(test_inbound_qos2_id),
        T(test_retain),
        T(test_changes_keep_their_place),
        T(test_queue_end),
        T(test_session_end_takes_its_queues),
        T(test_members),
        T(test_delays),
        T(test_exchanges),
        T(test_policies),
        T(test_dead_letters),
        T(test_published_retained),
        T(test_units),
        T(test_units_are_whole),
        T(test_visit_stops),
        T(test_large),
        T(test_reserve),
        T(test_failure),
        T(test_failure_at_close),
        T(test_crash),
        T(test_out_of_memory),
        T(test_units_out_of_memory),
        T(test_random),
    };
#undef T
    return _cmocka_run_group_tests(f->name, tests, ARRAY_N(tests), NULL, NULL);
}
