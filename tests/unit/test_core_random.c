/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_random.c: every verb at any time, by connections that come, go, stall and break, while allocations fail now
 * and then and the disk is late or fails. Nothing is expected of any single call: the books must balance after every
 * turn (shard_check), no memory may be touched that is gone (the sanitizer), every byte must come back, and the shard
 * must come to rest. A failing seed is named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/topology.h"
#include "core/tx.h"
#include "persist/store_mem.h"
#include "tests/support/fake.h"

enum { CONNS = 10, TURNS = 250, CONSUMERS = 4 };

struct peer {
    struct fake_pipe *pipe; /* NULL: none */
    struct consumer *k[CONSUMERS];
    struct tx *tx; /* NULL: none is open */
};

struct chaos {
    struct fake *f;
    struct rng r;
    struct peer peer[CONNS];
    bool may_fail;
};

static uint8_t noise[9000];

static const char *topic(struct chaos *v)
{
    static const char *const all[] = {"a", "a/b", "a/b/c", "b", "b/x", "$s/a", "a//b", "/", "q1"};
    return all[rng_below(&v->r, ARRAY_N(all))];
}

static const char *filter(struct chaos *v)
{
    static const char *const all[] = {"#", "a/#", "+/b", "a/+/c", "$s/#", "a", "+", "#/b", "a/#/c", "b/+", "/", "+/+"};
    return all[rng_below(&v->r, ARRAY_N(all))];
}

static struct msgview any_message(struct chaos *v)
{
    return (struct msgview){
        .topic = slice_from_str(topic(v)),
        .payload = slice_make(noise, rng_below(&v->r, rng_chance(&v->r, 80) ? 60 : sizeof(noise))),
        .qos = (uint8_t)rng_below(&v->r, 3),
        .priority = (uint8_t)rng_below(&v->r, 6),
        .flags = (uint8_t)((rng_chance(&v->r, 25) ? MSG_RETAIN : 0) | (rng_chance(&v->r, 60) ? MSG_DURABLE : 0)),
        .expires_at = rng_chance(&v->r, 20) ? v->f->now + rng_below(&v->r, 3000) : 0};
}

static void forget_consumer(struct peer *p, const struct consumer *k)
{
    for (unsigned i = 0; i < CONSUMERS; i++)
        if (p->k[i] == k)
            p->k[i] = NULL;
}

/* look: takes note of consumers that core took away. */
static void look(struct chaos *v)
{
    for (uint32_t i = 0; i < v->f->event_n; i++)
        if (v->f->event[i].what == FAKE_CONSUMER_GONE)
            for (unsigned p = 0; p < CONNS; p++)
                forget_consumer(&v->peer[p], v->f->event[i].consumer);
    fake_forget(v->f);
}

/* on_leave: a transaction ends before its connection leaves the session (core/tx.h). */
static void on_leave(struct conn *c, void *ctx)
{
    struct peer *p = ctx;
    if (p->tx)
        tx_abort(c, p->tx);
    p->tx = NULL;
}

static void enter(struct chaos *v, struct peer *p)
{
    static const char *const id[] = {"a", "b", "c", "d", ""};
    if (p->tx)
        on_leave(p->pipe->conn, p);
    if (p->pipe)
        p->pipe->on_leave = NULL;
    *p = (struct peer){.pipe = fake_pipe(v->f)};
    p->pipe->on_leave = on_leave;
    p->pipe->ctx = p;
    fake_feed(p->pipe, "HELLO", 5);
    (void)fake_turn(v->f);
    look(v);
    struct conn *c = p->pipe->conn;
    if (!c || !c->adapter || c->is_closing)
        return;
    struct attach a = fake_attach(id[rng_below(&v->r, ARRAY_N(id))], rng_chance(&v->r, 50) ? rng_below(&v->r, 5) : 0);
    struct msgview will = any_message(v);
    will.expires_at = rng_below(&v->r, 2000);
    a.will = rng_chance(&v->r, 50) ? &will : NULL;
    a.will_delay_s = rng_below(&v->r, 4);
    a.quota = 1 + rng_below(&v->r, 6);
    a.clean_start = rng_chance(&v->r, 30);
    a.make_id = rng_chance(&v->r, 50);
    broker_attach(c, &a);
}

static struct slice queue_name_of(struct chaos *v)
{
    static const char *const all[] = {"q1", "q2", "q3", "q4"};
    return slice_from_str(all[rng_below(&v->r, ARRAY_N(all))]);
}

static struct slice exchange_name_of(struct chaos *v)
{
    static const char *const all[] = {"x1", "x2", "x3", "amq.topic", "amq.fanout", "x4"};
    return slice_from_str(all[rng_below(&v->r, ARRAY_N(all))]);
}

/* some: n with a chance in a hundred, else 0. */
static uint32_t some(struct chaos *v, unsigned chance, uint32_t n)
{
    return rng_chance(&v->r, chance) ? 1 + rng_below(&v->r, n) : 0;
}

/* any_queue: declares one with any arguments, or finds it as it is. */
static struct queue *any_queue(struct chaos *v, struct conn *c)
{
    struct queue_spec spec;
    struct declared d;
    enum queue_arg bad;
    queue_spec_init(&spec, &v->f->shard->vhost->policy_named);
    struct queue_policy *p = &spec.policy;
    if (rng_chance(&v->r, 40)) {
        spec.given = (1u << QUEUE_ARG_N) - 1;
        p->len_max = some(v, 50, 10);
        p->bytes_max = some(v, 30, 5000);
        p->overflow = (enum queue_overflow)(OVERFLOW_DROP_HEAD + rng_below(&v->r, 3));
        p->has_ttl = rng_chance(&v->r, 40);
        p->ttl_ms = some(v, 80, 2000);
        p->expires_ms = some(v, 20, 3000);
        p->retry_min_ms = some(v, 30, 500);
        p->retry_max_ms = p->retry_min_ms ? p->retry_min_ms + some(v, 50, 2000) : 0;
        p->ack_ms = some(v, 40, 3000);
        p->has_delivery_limit = rng_chance(&v->r, 30);
        p->delivery_limit = (uint16_t)some(v, 50, 3);
        p->priority_max = (uint8_t)some(v, 30, 5);
        p->has_dead_exchange = rng_chance(&v->r, 50);
        p->dead_exchange = rng_chance(&v->r, 50) ? SLICE("") : exchange_name_of(v);
        p->has_dead_key = p->has_dead_exchange && rng_chance(&v->r, 70);
        p->dead_key = queue_name_of(v);
        p->single_active = rng_chance(&v->r, 20);
        p->exclusive = rng_chance(&v->r, 10);
        p->auto_delete = rng_chance(&v->r, 20);
        p->durable = !p->exclusive;
        if (queue_spec_finish(&spec, &bad) != ERR_OK)
            return NULL;
    }
    return broker_declare_queue_as(c, rng_chance(&v->r, 5) ? SLICE("") : queue_name_of(v), &spec, &d);
}

static void topology(struct chaos *v, struct conn *c)
{
    struct exchange *x = exchange_get(v->f->shard->vhost, exchange_name_of(v));
    struct exchange *to = exchange_get(v->f->shard->vhost, exchange_name_of(v));
    struct exchange_spec spec = {.name = exchange_name_of(v),
                                 .kind = (enum exchange_kind)(EXCHANGE_TOPIC + rng_below(&v->r, 3)),
                                 .durable = rng_chance(&v->r, 50),
                                 .auto_delete = rng_chance(&v->r, 20),
                                 .internal = rng_chance(&v->r, 20),
                                 .alternate = rng_chance(&v->r, 30) ? exchange_name_of(v) : SLICE(""),
                                 .rate = some(v, 10, 2000)};
    struct fake_filter ff;
    struct declared d;
    uint64_t n, receipt = v->f->receipt_next++;
    const struct filter *f = fake_filter(&ff, filter(v));
    struct queue *q = map_get(&v->f->shard->vhost->queues, queue_name_of(v));
    switch (rng_below(&v->r, 9)) {
    case 0:
    case 1:
        (void)broker_declare_exchange(c, &spec, &d);
        return;
    case 2:
        broker_delete_exchange(c, spec.name, rng_chance(&v->r, 50), receipt);
        return;
    case 3:
    case 4:
        if (x && q)
            (rng_chance(&v->r, 70) ? broker_bind : broker_unbind)(c, x, f, q, receipt);
        return;
    case 5:
        if (x && to)
            (rng_chance(&v->r, 70) ? broker_bind_exchange : broker_unbind_exchange)(c, x, f, to, receipt);
        return;
    case 6:
        broker_purge(c, queue_name_of(v), &n, receipt);
        return;
    case 7:
        broker_pause(c, queue_name_of(v), rng_chance(&v->r, 50), receipt);
        return;
    default:
        broker_delete_queue(c, queue_name_of(v),
                            (struct queue_end){.if_unused = rng_chance(&v->r, 60), .if_empty = rng_chance(&v->r, 60)},
                            receipt);
        return;
    }
}

static void transact(struct chaos *v, struct peer *p, struct conn *c)
{
    struct msgview m = any_message(v);
    struct list_node *it = list_first(&c->session->inflight);
    enum err e = ERR_OK;
    if (!p->tx) {
        p->tx = tx_new(c);
        return;
    }
    switch (rng_below(&v->r, 8)) {
    case 0:
        tx_abort(c, p->tx);
        p->tx = NULL;
        return;
    case 1:
    case 2:
        tx_commit(c, p->tx, v->f->receipt_next++);
        p->tx = NULL;
        return;
    case 3:
    case 4:
        if (it)
            e = tx_settle(c, p->tx, LIST_ITEM(it, struct entry, node)->ticket,
                          rng_chance(&v->r, 50) ? OUTCOME_ACK : OUTCOME_REQUEUE, false);
        break;
    default:
        e = tx_publish(
            c, p->tx,
            &(struct publish){.msg = m,
                              .delay_ms = some(v, 20, 3000),
                              .exchange = rng_chance(&v->r, 40) ? v->f->shard->vhost->default_exchange : NULL});
        break;
    }
    assert_true(e == ERR_OK || e == ERR_NOT_FOUND || e == ERR_NOMEM || e == ERR_FULL || e == ERR_PROTOCOL ||
                e == ERR_UNSUPPORTED || e == ERR_DENIED);
}

static void consume(struct chaos *v, struct peer *p, struct conn *c)
{
    unsigned i = rng_below(&v->r, CONSUMERS);
    struct consume how = {.mode = (enum ack_mode)rng_below(&v->r, 4),
                          .prefetch = rng_below(&v->r, 4),
                          .qos = (uint8_t)rng_below(&v->r, 3),
                          .is_pull = rng_chance(&v->r, 20),
                          .priority = (int8_t)(rng_chance(&v->r, 20) ? rng_below(&v->r, 5) - 2 : 0),
                          .receipt = rng_chance(&v->r, 70) ? v->f->receipt_next++ : RECEIPT_NONE};
    struct fake_filter ff;
    if (p->k[i]) {
        struct consumer *k = p->k[i];
        if (k->is_pull && rng_chance(&v->r, 70)) {
            broker_grant(c, k, rng_below(&v->r, 5), rng_chance(&v->r, 30), how.receipt);
            return;
        }
        p->k[i] = NULL;
        broker_cancel(c, k, how.receipt);
        return;
    }
    if (rng_chance(&v->r, 50)) {
        p->k[i] = broker_consume_filter(c, NULL, fake_filter(&ff, filter(v)),
                                        &(struct binding_opts){.qos = how.qos, .sub_id = rng_below(&v->r, 3)}, &how);
        return;
    }
    struct queue *q = any_queue(v, c);
    if (q && how.mode == ACK_NONE && rng_chance(&v->r, 30))
        p->k[i] = broker_browse(c, q, &how);
    else if (q)
        p->k[i] = broker_consume_queue(c, q, &how);
}

static void settle(struct chaos *v, struct conn *c)
{
    struct list_node *it = list_first(&c->session->inflight);
    for (uint32_t n = rng_below(&v->r, 5); it && n > 0; n--)
        it = list_next(&c->session->inflight, it);
    uint32_t ticket = it ? LIST_ITEM(it, struct entry, node)->ticket : rng_below(&v->r, 9);
    enum outcome o = (enum outcome)rng_below(&v->r, 5);
    enum err e;
    if (it && LIST_ITEM(it, struct entry, node)->at.consumer->mode == ACK_CUMULATIVE && o != OUTCOME_RECEIVED &&
        o != OUTCOME_COMPLETE)
        e = broker_settle_until(c, ticket, o);
    else
        e = broker_settle(c, ticket, o);
    assert_true(e == ERR_OK || e == ERR_NOT_FOUND || e == ERR_PROTOCOL);
}

static void act(struct chaos *v, struct peer *p)
{
    struct conn *c = p->pipe ? p->pipe->conn : NULL;
    if (!c || c->state_now != CONN_OPEN || c->is_closing || !c->session || !c->logged_in) {
        if (!c || rng_chance(&v->r, 10))
            enter(v, p);
        return;
    }
    look(v); /* consumers of queues that somebody deleted */
    struct msgview m = any_message(v);
    uint16_t id = (uint16_t)(1 + rng_below(&v->r, 12));
    switch (rng_below(&v->r, 20)) {
    case 0:
        (void)fake_sub_opts(c, filter(v),
                            &(struct binding_opts){.qos = (uint8_t)rng_below(&v->r, 3),
                                                   .sub_id = rng_below(&v->r, 4),
                                                   .no_local = rng_chance(&v->r, 20),
                                                   .retain_handling = (uint8_t)rng_below(&v->r, 3)});
        break;
    case 1:
        (void)fake_unsub(c, filter(v));
        break;
    case 2:
        consume(v, p, c);
        break;
    case 3:
        broker_rx_release(c, id, v->f->receipt_next++);
        break;
    case 4:
        broker_barrier(c, v->f->receipt_next++);
        break;
    case 5:
        p->pipe->send_room = rng_chance(&v->r, 60) ? SIZE_MAX : rng_below(&v->r, 3000);
        break;
    case 6:
        p->pipe->deliver_result = rng_chance(&v->r, 80) ? ERR_OK : ERR_TOO_BIG;
        break;
    case 7:
        if (rng_chance(&v->r, 40))
            conn_close(c, (enum close_reason)(1 + rng_below(&v->r, CLOSE_N - 1)));
        else if (rng_chance(&v->r, 30))
            *(rng_chance(&v->r, 50)   ? &p->pipe->is_eof
              : rng_chance(&v->r, 50) ? &p->pipe->send_resets
                                      : &p->pipe->is_reset) = true;
        break;
    case 8: {
        enum err e = broker_set_expiry(c, rng_below(&v->r, 4));
        assert_true(e == ERR_OK || e == ERR_PROTOCOL);
        break;
    }
    case 9:
    case 10:
    case 11:
        settle(v, c);
        break;
    case 12:
    case 13:
        topology(v, c);
        break;
    case 14:
    case 15:
        transact(v, p, c);
        break;
    case 16:
        (void)fake_pub_view(c, &m, rng_chance(&v->r, 50) ? v->f->shard->vhost->default_exchange : NULL, 0);
        break;
    default:
        (void)fake_pub_view(c, &m, NULL, m.qos == 2 && rng_chance(&v->r, 70) ? id : 0);
        break;
    }
}

static void meanwhile(struct chaos *v)
{
    struct fake *f = v->f;
    if (rng_chance(&v->r, 10))
        f->now += rng_below(&v->r, 2500);
    if (f->store && rng_chance(&v->r, 30))
        (void)store_mem_tick(f->store);
    if (f->store && v->may_fail && rng_chance(&v->r, 2))
        store_mem_fail_append(f->store, f->shard->lsn_last + 1 + rng_below(&v->r, 5));
    if (v->may_fail && rng_chance(&v->r, 20))
        f->heap.fail_at = f->heap.calls + 1 + rng_below(&v->r, 12);
    if (rng_chance(&v->r, 1)) {
        struct queue *q = map_get(&f->shard->vhost->queues, SLICE("q1"));
        if (q)
            queue_delete(q);
    }
    (void)fake_turn(f);
    look(v);
}

static void play(uint64_t seed)
{
    struct fake_config config;
    struct chaos v = {.may_fail = seed % 3 == 0};
    fake_config_init(&config);
    rng_init(&v.r, seed);
    config.seed = seed;
    config.has_store = seed % 2;
    config.is_late = seed % 4 == 1;
    config.queue_qos0 = seed % 5 == 0;
    config.limits.session_queue_max = 2 + rng_below(&v.r, 20);
    config.limits.session_queue_bytes_max = rng_chance(&v.r, 50) ? 500 + rng_below(&v.r, 12000) : 0;
    config.limits.named_queue_max = 2 + rng_below(&v.r, 20);
    config.limits.out_bytes_max = 4096;
    config.limits.retained_max = 1 + rng_below(&v.r, 9);
    config.limits.receive_max = 5;
    config.limits.linger_ms = rng_below(&v.r, 3000);
    config.limits.publish_rate = seed % 3 == 0 ? 1 + rng_below(&v.r, 30) : 0;
    config.limits.publish_bytes_rate = seed % 7 == 0 ? 1 + rng_below(&v.r, 9000) : 0;
    config.limits.topic_rate = seed % 11 == 0 ? 1 + rng_below(&v.r, 60) : 0;
    config.limits.timers_turn = 1 + rng_below(&v.r, 20);
    v.f = fake_new(&config);
    for (unsigned n = 0; n < TURNS; n++) {
        for (uint32_t i = rng_below(&v.r, 12); i > 0; i--)
            act(&v, &v.peer[rng_below(&v.r, CONNS)]);
        look(&v);
        meanwhile(&v);
        for (unsigned i = 0; i < CONNS; i++)
            if (v.peer[i].pipe && !v.peer[i].pipe->conn)
                v.peer[i] = (struct peer){0};
    }
    v.f->heap.fail_at = 0;
    if (config.is_late && seed % 8 == 1)
        store_mem_fail_batch(v.f->store, v.f->shard->lsn_last);
    if (config.is_late)
        fake_durable(v.f);
    fake_run(v.f); /* it comes to rest, whatever state everybody is in */
    if (seed % 2)
        fake_wait(v.f, 20000);
    fake_free(v.f);
}

static void any_verb_at_any_time(void **state)
{
    (void)state;
    const char *one = getenv("SEED");
    if (one) {
        play(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= 120; seed++) {
        char text[32];
        snprintf(text, sizeof(text), "%llu", (unsigned long long)seed);
        setenv("WEIR_TEST_SEED", text, 1); /* to be seen in a core dump or debugger */
        play(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_verb_at_any_time),
    };
    return cmocka_run_group_tests_name("core_random", tests, NULL, NULL);
}
