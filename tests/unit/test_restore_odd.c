/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_restore_odd.c: what a store may hold that no broker of this version wrote: records that refer to nothing,
 * numbers far apart, names and filters that nobody could have given; and no memory at any place. It always begins, says
 * so, and is in order (shard_check), or it does not begin and gives everything back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "persist/store_image.h"
#include "tests/support/restored.h"

#define HOUR_S 3600u

/* keep: one more record in the image of a broker that has ended. */
static void keep(struct fake *f, struct store_rec rec)
{
    rec.lsn = store_image_lsn(f->image) + 1;
    rec.at = f->wall_at_0 + f->now;
    assert_int_equal(store_image_apply(f->image, &rec), ERR_OK);
}

static struct msg *message(struct msg_pool *pool, const char *topic, const char *payload)
{
    struct msgview v = {
        .topic = slice_from_str(topic), .payload = slice_from_str(payload), .qos = 1, .flags = MSG_DURABLE};
    struct msg *m = msg_new(pool, &v);
    assert_non_null(m);
    return m;
}

static struct fake *ended(void)
{
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "me", HOUR_S);
    sub(c, "t", 1);
    (void)verb_queue(c, "q", "");
    fake_end(f);
    return f;
}

/* Records about things that are not there are left out, said in the log, and settled: the next start is quiet. */
static void dangling(void **state)
{
    (void)state;
    struct fake *f = ended();
    struct msg_pool pool;
    msg_pool_init(&pool, &f->store_mem);
    struct msg *m = message(&pool, "t", "x");
    struct store_target none = {.queue = 777}, both[] = {{.queue = 778}, {.queue = 0}};
    keep(f, (struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = &none, .target_n = 1});
    keep(f, (struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = both, .target_n = 2});
    struct store_target later = {.queue = 0};
    keep(f, (struct store_rec){
                .kind = STORE_PUBLISH, .msg = m, .target = &later, .target_n = 1, .name = SLICE("no exchange")});
    keep(f, (struct store_rec){.kind = STORE_PUBLISH, .session = 779, .rx_id = 3});
    keep(f, (struct store_rec){.kind = STORE_MEMBER, .queue = 777, .session = 779, .qos = 1});
    keep(f, (struct store_rec){.kind = STORE_BIND, .queue = 777, .name = SLICE("amq.topic"), .key = SLICE("t")});
    keep(f, (struct store_rec){.kind = STORE_BIND, .name = SLICE("x"), .key = SLICE("t"), .to = SLICE("y")});
    keep(f, (struct store_rec){.kind = STORE_WILL, .session = 779, .msg = m, .expiry_s = 1});
    keep(f, (struct store_rec){.kind = STORE_QUEUE, .queue = 780, .session = 779});
    msg_drop(m);
    restart(f, FAKE_CLOSES, 10);
    assert_non_null(strstr(f->log_last, "left out"));
    struct conn *c = back(f, "me", HOUR_S);
    pub(c, "t", "still works", 1);
    assert_string_equal(got(f, c), "t=still works q1 #1");
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 1);
    restart(f, FAKE_CLOSES, 10);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 1);
    msg_pool_fini(&pool);
    fake_free(f);
}

/* Two of a name, two of a number, two own queues of one session: the first counts. */
static void doubles(void **state)
{
    (void)state;
    struct fake *f = ended();
    keep(f, (struct store_rec){.kind = STORE_SESSION, .session = 900, .name = SLICE("me"), .expiry_s = 5});
    keep(f, (struct store_rec){.kind = STORE_SESSION, .session = 901, .name = SLICE(""), .expiry_s = 5});
    keep(f, (struct store_rec){.kind = STORE_SESSION, .session = 902, .name = SLICE("other"), .expiry_s = HOUR_S});
    keep(f, (struct store_rec){.kind = STORE_QUEUE, .queue = 903, .session = 902});
    keep(f, (struct store_rec){.kind = STORE_QUEUE, .queue = 904, .session = 902});
    keep(f, (struct store_rec){.kind = STORE_QUEUE, .queue = 905, .name = SLICE("q")});
    keep(f, (struct store_rec){.kind = STORE_QUEUE, .queue = 906});
    keep(f, (struct store_rec){.kind = STORE_EXCHANGE, .name = SLICE("none of its own")});
    struct exchange_spec topic = {.name = SLICE("amq.topic"), .kind = EXCHANGE_FANOUT, .durable = true};
    keep(f, (struct store_rec){.kind = STORE_EXCHANGE, .name = topic.name, .exchange = &topic, .queue = 1});
    restart(f, FAKE_CLOSES, 10);
    (void)back(f, "me", HOUR_S);
    (void)back(f, "other", HOUR_S);
    assert_int_equal(f->shard->vhost->topic_exchange->kind, EXCHANGE_TOPIC);
    fake_free(f);
}

/* Numbers at the ends of what fits: what is made next is neither of these nor 0. */
static void numbers_far_apart(void **state)
{
    (void)state;
    struct fake *f = ended();
    struct exchange_spec x = {.name = SLICE("x"), .kind = EXCHANGE_FANOUT, .durable = true};
    keep(f, (struct store_rec){.kind = STORE_EXCHANGE, .name = x.name, .exchange = &x, .queue = UINT32_MAX - 1});
    keep(f, (struct store_rec){
                .kind = STORE_SESSION, .session = UINT64_C(1) << 62, .name = SLICE("far"), .expiry_s = HOUR_S});
    keep(f, (struct store_rec){.kind = STORE_QUEUE, .queue = (UINT64_C(1) << 62) + 5, .name = SLICE("far")});
    restart(f, FAKE_CLOSES, 10);
    struct conn *c = fresh(f, "new", HOUR_S);
    struct queue *q = verb_queue(c, "new", "");
    assert_true(q->number > (UINT64_C(1) << 62) + 5);
    assert_true(c->session->number != 0 && c->session->number != q->number);
    sub(c, "t", 1);
    restart(f, FAKE_CRASHES, 10);
    c = back(f, "new", HOUR_S);
    (void)back(f, "far", HOUR_S);
    pub(c, "t", "x", 1);
    assert_string_equal(got(f, c), "t=x q1 #1");
    fake_free(f);
}

/* One packet id for two messages, ids and progress that the QoS does not know. */
static void odd_progress(void **state)
{
    (void)state;
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "me", HOUR_S);
    sub(c, "t", 1);
    uint64_t queue = c->session->queue->number;
    fake_end(f);
    struct msg_pool pool;
    msg_pool_init(&pool, &f->store_mem);
    struct msg *m = message(&pool, "t", "x");
    const struct store_target target[] = {
        {.queue = queue, .plain = 1, .progress = STORE_WAS_SENT, .ticket = 5},
        {.queue = queue, .plain = 1, .progress = STORE_WAS_SENT, .ticket = 5},
        {.queue = queue, .plain = 1, .progress = STORE_WAS_SENT, .ticket = 0},
        {.queue = queue, .plain = 1, .progress = STORE_WAS_RECEIVED, .ticket = 7},
        {.queue = queue, .plain = 0, .progress = STORE_WAS_SENT, .ticket = 8},
        {.queue = queue, .plain = 5, .progress = STORE_WAS_SENT, .ticket = 9, .session = 12345},
        {.queue = queue, .plain = 255, .progress = 77, .ticket = 10},
    };
    for (unsigned i = 0; i < ARRAY_N(target); i++)
        keep(f, (struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = &target[i], .target_n = 1});
    msg_drop(m);
    restart(f, FAKE_CLOSES, 10);
    c = back(f, "me", HOUR_S);
    for (uint32_t i = 0; i < f->event_n; i++) {
        const struct fake_event e = f->event[i];
        if (e.what == FAKE_DELIVER && e.qos == 1)
            assert_int_equal(broker_settle(c, e.ticket, OUTCOME_ACK), ERR_OK);
    }
    fake_run(f);
    msg_pool_fini(&pool);
    fake_free(f);
}

/* ---- at random ------------------------------------------------------------------------------------------------- */

static uint64_t any_number(struct rng *rng)
{
    static const uint64_t odd[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63, UINT32_MAX, 1u << 31};
    return rng_chance(rng, 10) ? odd[rng_below(rng, ARRAY_N(odd))] : 1 + rng_below(rng, 12);
}

static struct slice any_name(struct rng *rng)
{
    static const struct {
        const char *p;
        size_t len;
    } names[] = {{"", 0},     {"me", 2},  {"t", 1},         {"a/b", 3},         {"a/+/#", 5}, {"#", 1},
                 {"+", 1},    {"#/#", 3}, {"amq.topic", 9}, {"amq.direct", 10}, {"g/t", 3},   {"$share/g/t", 10},
                 {"a\0b", 3}, {"\0#", 2}, {"\xff\xfe", 2},  {"x", 1},           {"y", 1},     {"//", 2}};
    uint32_t i = rng_below(rng, ARRAY_N(names));
    return slice_make(names[i].p, names[i].len);
}

struct odd {
    struct store_target target[4];
    uint32_t id[4][2];
    struct queue_policy policy;
    struct exchange_spec exchange;
};

static struct store_rec any_record(struct rng *rng, struct odd *o, const struct msg *m)
{
    static const enum store_kind kinds[] = {STORE_PUBLISH, STORE_PUBLISH, STORE_RETAIN,   STORE_SESSION,
                                            STORE_QUEUE,   STORE_BIND,    STORE_MEMBER,   STORE_EXCHANGE,
                                            STORE_WILL,    STORE_SENT,    STORE_RECEIVED, STORE_RETURNED};
    struct store_rec r = {.kind = kinds[rng_below(rng, ARRAY_N(kinds))],
                          .queue = any_number(rng),
                          .session = any_number(rng),
                          .of = 1 + rng_below(rng, 60),
                          .name = any_name(rng),
                          .key = any_name(rng),
                          .to = rng_chance(rng, 50) ? any_name(rng) : (struct slice){0},
                          .due = rng_chance(rng, 50) ? rng_u64(rng) : 0,
                          .expiry_s = (uint32_t)rng_u64(rng),
                          .sub_id = rng_below(rng, 268435456),
                          .rx_id = (uint16_t)rng_below(rng, 4),
                          .ticket = (uint16_t)rng_below(rng, 5),
                          .returns = (uint16_t)rng_u64(rng),
                          .qos = (uint8_t)rng_below(rng, 3),
                          .flags = (uint8_t)rng_below(rng, 32)};
    if (r.kind == STORE_PUBLISH || r.kind == STORE_RETAIN || r.kind == STORE_WILL)
        r.msg = m;
    if (r.kind == STORE_PUBLISH) {
        r.of = rng_chance(rng, 20) ? r.of : 0;
        r.target_n = rng_below(rng, 4);
        r.target = o->target;
        for (uint32_t i = 0; i < r.target_n; i++) {
            o->id[i][0] = rng_below(rng, 1000);
            o->id[i][1] = o->id[i][0] + 1 + rng_below(rng, 1000);
            o->target[i] = (struct store_target){.queue = any_number(rng) + i * 13,
                                                 .sub_id = o->id[i],
                                                 .sub_id_n = (uint16_t)rng_below(rng, 3),
                                                 .plain = (uint8_t)rng_below(rng, 6)};
        }
    }
    if (r.kind == STORE_QUEUE) {
        o->policy = (struct queue_policy){.durable = rng_chance(rng, 80),
                                          .exclusive = rng_chance(rng, 10),
                                          .auto_delete = rng_chance(rng, 10),
                                          .has_ttl = rng_chance(rng, 20),
                                          .ttl_ms = rng_u64(rng) >> rng_below(rng, 64),
                                          .expires_ms = rng_chance(rng, 20) ? 1 + rng_below(rng, 1000) : 0,
                                          .priority_max = (uint8_t)(rng_chance(rng, 20) ? rng_below(rng, 256) : 0),
                                          .len_max = rng_below(rng, 3),
                                          .single_active = rng_chance(rng, 20)};
        r.policy = rng_chance(rng, 50) ? &o->policy : NULL;
        r.session = rng_chance(rng, 50) ? r.session : 0;
    }
    if (r.kind == STORE_EXCHANGE) {
        o->exchange = (struct exchange_spec){.name = r.name,
                                             .kind = (enum exchange_kind)rng_below(rng, 4),
                                             .durable = true,
                                             .auto_delete = rng_chance(rng, 20),
                                             .alternate = r.key,
                                             .rate = rng_below(rng, 3)};
        r.exchange = rng_chance(rng, 90) ? &o->exchange : NULL;
    }
    return r;
}

static void live_a_little(struct fake *f)
{
    fake_wait(f, 5000);
    struct conn *c = fake_login(f, "me", HOUR_S), *d = fake_login(f, "t", HOUR_S), *p = fake_login(f, "p", 0);
    fake_run(f);
    sub(c, "#", 1);
    pub(p, "t", "hello", 2);
    pub(p, "a/b", "hello", 1);
    fake_wait(f, 100000);
    verb_hang_up(d);
    fake_wait(f, 1000000);
}

static void odd_images(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct fake *f = ended();
        struct msg_pool pool;
        struct rng rng;
        struct odd o;
        rng_init(&rng, seed);
        msg_pool_init(&pool, &f->store_mem);
        for (unsigned i = 0; i < 60; i++) {
            struct msgview v = {.topic = any_name(&rng),
                                .payload = any_name(&rng),
                                .qos = (uint8_t)rng_below(&rng, 3),
                                .flags = (uint8_t)(MSG_DURABLE | rng_below(&rng, 16)),
                                .expires_at = rng_chance(&rng, 30) ? rng_u64(&rng) >> rng_below(&rng, 64) : 0,
                                .exchange = (uint32_t)any_number(&rng),
                                .priority = (uint8_t)rng_u64(&rng)};
            struct msg *m = msg_new(&pool, &v);
            assert_non_null(m);
            keep(f, any_record(&rng, &o, m));
            msg_drop(m);
        }
        restart(f, FAKE_CLOSES, 10);
        live_a_little(f);
        restart(f, FAKE_CRASHES, 10);
        live_a_little(f);
        msg_pool_fini(&pool);
        fake_free(f);
    }
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static struct fake *with_everything(void)
{
    struct fake *f = restored_new();
    struct conn *c = fake_login(f, "me", HOUR_S), *p = fake_login(f, "p", HOUR_S);
    struct exchange *x = verb_exchange(c, "x", EXCHANGE_TOPIC, true);
    struct queue *q = verb_queue(c, "q", "x-max-priority=3;x-message-ttl=1000000");
    assert_int_equal(verb_bind(c, x, "a/#", q), ERR_OK);
    assert_int_equal(verb_bind_exchange(c, c->session->vhost->topic_exchange, "a/b", x), ERR_OK);
    sub_opts(c, "a/#", &(struct binding_opts){.qos = 2, .sub_id = 3});
    sub_opts(c, "+/b", &(struct binding_opts){.qos = 1, .sub_id = 4});
    struct fake_filter ff;
    uint64_t receipt = verb_next(c);
    broker_subscribe_group(c, SLICE("g"), fake_filter(&ff, "a/+"), &(struct binding_opts){.qos = 1}, receipt);
    assert_int_equal(verb_answer(f, receipt), ERR_OK);
    pub_retained(p, "a/b", "kept");
    pub(p, "a/b", "2", 2);
    settle(c, fake_last(f, FAKE_DELIVER)->ticket,
           fake_last(f, FAKE_DELIVER)->qos == 2 ? OUTCOME_RECEIVED : OUTCOME_ACK);
    struct msgview v = {.topic = SLICE("a/c"), .payload = SLICE("3"), .qos = 2, .flags = MSG_DURABLE};
    (void)fake_pub_view(p, &v, NULL, 12);
    struct publish later = {.msg = v, .receipt = verb_next(p), .delay_ms = 60000};
    broker_publish(p, &later);
    fake_run(f);
    return f;
}

/* Every allocation of a start fails once. */
static void without_memory(void **state)
{
    (void)state;
    struct fake *f = with_everything();
    uint64_t nth = 1;
    while (!fake_restart(f, FAKE_CRASHES, 0, nth))
        nth++;
    assert_true(nth > 40);
    f->heap.fail_at = 0;
    fake_run(f);
    struct conn *c = back(f, "me", HOUR_S);
    assert_true(fake_count_of(f, FAKE_DELIVER, c) + fake_count_of(f, FAKE_RELEASE, c) >= 3);
    assert_int_equal(f->shard->vhost->retained.n, 1);
    assert_true(broker_rx_is_open(back(f, "p", HOUR_S), 12));
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dangling),     cmocka_unit_test(doubles),    cmocka_unit_test(numbers_far_apart),
        cmocka_unit_test(odd_progress), cmocka_unit_test(odd_images), cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
