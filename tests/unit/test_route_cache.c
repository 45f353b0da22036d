/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_route_cache.c: routes remembered by topic: what is remembered must never differ from what a walk would say,
 * however the cache grows, evicts or is invalidated; routes are refilled and never freed, so a connection may compare
 * serials; whatever size is asked for, nothing is lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/support/fake.h"

enum { QUEUES = 8 };

struct env {
    struct fake *f;
    struct vhost *h;
    struct router *r;
    struct exchange *x;
    struct queue *q[QUEUES];
    struct rng rng;
};

static void env_init(struct env *v, uint32_t cache)
{
    struct fake_config config;
    fake_config_init(&config);
    config.limits.route_cache_n = cache;
    *v = (struct env){.f = fake_new(&config)};
    v->h = v->f->shard->vhost;
    v->r = &v->h->router;
    v->x = v->h->topic_exchange;
    rng_init(&v->rng, cache);
    for (unsigned i = 0; i < QUEUES; i++)
        v->q[i] = queue_new(v->h, (struct slice){0}, &v->h->policy_named, false, NULL);
}

static struct binding *bind(struct env *v, unsigned q, const char *text)
{
    struct fake_filter ff;
    struct binding *b;
    bool is_new;
    assert_int_equal(
        router_bind(v->r, v->x, fake_filter(&ff, text), v->q[q], &(struct binding_opts){.qos = 1}, &b, &is_new),
        ERR_OK);
    return b;
}

static const struct route *route(struct env *v, const char *topic)
{
    const struct route *r = router_route(v->r, v->x, slice_from_str(topic));
    assert_non_null(r);
    return r;
}

static uint64_t misses(const struct env *v)
{
    return fake_stat(v->f, STAT_ROUTE_MISSES);
}

static void hit_until_something_changes(void **state)
{
    (void)state;
    struct env v;
    env_init(&v, 1024);
    struct binding *b = bind(&v, 0, "a/+");
    const struct route *r = route(&v, "a/b");
    uint64_t m = misses(&v);
    assert_ptr_equal(route(&v, "a/b"), r);
    assert_int_equal(misses(&v), m);
    uint32_t serial = r->serial;
    assert_true(route_is_same(v.r, r, serial, v.x, SLICE("a/b")));
    assert_false(route_is_same(v.r, r, serial, v.x, SLICE("a/c")));
    assert_false(route_is_same(v.r, r, serial, v.x, SLICE("a/bb")));
    assert_false(route_is_same(v.r, r, serial + 1, v.x, SLICE("a/b")));
    assert_false(route_is_same(v.r, r, serial, v.h->default_exchange, SLICE("a/b")));
    assert_false(route_is_same(v.r, NULL, 0, v.x, SLICE("a/b")));

    struct binding *second = bind(&v, 1, "#"); /* bind */
    assert_false(route_is_same(v.r, r, serial, v.x, SLICE("a/b")));
    assert_int_equal(route(&v, "a/b")->target_n, 2);
    bind(&v, 0, "a/+"); /* new options */
    assert_int_equal(misses(&v), ++m);
    assert_int_equal(route(&v, "a/b")->target_n, 2);
    assert_int_equal(misses(&v), ++m);
    router_unbind(v.r, b); /* unbind */
    assert_int_equal(route(&v, "a/b")->target_n, 1);
    queue_delete(v.q[1]); /* a queue goes */
    UNUSED(second);
    assert_int_equal(route(&v, "a/b")->target_n, 0);
    router_touch(v.r);
    m = misses(&v);
    assert_int_equal(route(&v, "a/b")->target_n, 0);
    assert_int_equal(misses(&v), m + 1);
    fake_free(v.f);
}

static void exchanges_do_not_mix(void **state)
{
    (void)state;
    struct env v;
    env_init(&v, 1024);
    struct exchange *direct = exchange_get(v.h, SLICE("amq.direct"));
    bind(&v, 0, "same");
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(route(&v, "same")->target_n, 1);
        assert_int_equal(router_route(v.r, direct, SLICE("same"))->target_n, 0);
        assert_int_equal(router_route(v.r, v.h->default_exchange, SLICE("same"))->target_n, 0);
    }
    fake_free(v.f);
}

/* any cache size, more topics than fit, changes in between: always what the walk says. */
static void evict_grow_invalidate(void **state)
{
    (void)state;
    static const uint32_t size[] = {16, 64, 100, 256, 300, 1000, 1024, 1500, 5000, 16384};
    enum { TOPICS = 9000 };
    for (size_t s = 0; s < ARRAY_N(size); s++) {
        struct env v;
        bool bound[QUEUES] = {false};
        struct binding *b[QUEUES] = {NULL};
        env_init(&v, size[s]);
        for (unsigned i = 0; i < 30000; i++) {
            char topic[48];
            uint32_t k = rng_below(&v.rng, rng_chance(&v.rng, 50) ? 40 : TOPICS);
            snprintf(topic, sizeof(topic), "%u/topic/%u", k % QUEUES, k);
            const struct route *r = route(&v, topic);
            assert_int_equal(r->target_n, bound[k % QUEUES]);
            if (r->target_n)
                assert_ptr_equal(r->target[0].queue, v.q[k % QUEUES]);
            assert_true(slice_eq_str(slice_make(r->topic, r->topic_len), topic));
            if (!rng_chance(&v.rng, 1))
                continue;
            uint32_t q = rng_below(&v.rng, QUEUES);
            snprintf(topic, sizeof(topic), "%u/#", q);
            if (bound[q])
                router_unbind(v.r, b[q]);
            else
                b[q] = bind(&v, q, topic);
            bound[q] = !bound[q];
        }
        assert_true(v.r->cache_n <= MAX(size[s], 64u));
        fake_free(v.f); /* every route came back */
    }
}

/* a connection may keep a route's address for ever: the memory stays a route, and the serial tells that it changed. */
static void serials(void **state)
{
    (void)state;
    struct env v;
    env_init(&v, 64);
    const struct route *kept[300];
    uint32_t serial[300];
    for (unsigned i = 0; i < 300; i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "t/%u", i);
        kept[i] = route(&v, topic);
        serial[i] = kept[i]->serial;
    }
    for (unsigned i = 0; i < 300; i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), "t/%u", i);
        bool same = route_is_same(v.r, kept[i], serial[i], v.x, slice_from_str(topic));
        bool holds = slice_eq_str(slice_make(kept[i]->topic, kept[i]->topic_len), topic);
        assert_int_equal(same, holds && kept[i]->serial == serial[i]);
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(serial[i], serial[k]);
    }
    fake_free(v.f);
}

static void long_keys_pass_by_the_cache(void **state)
{
    (void)state;
    struct env v;
    env_init(&v, 1024);
    static char topic[ROUTE_TOPIC_MAX + 2];
    bind(&v, 0, "#");
    memset(topic, 'x', sizeof(topic));
    for (size_t len = ROUTE_TOPIC_MAX - 1; len <= ROUTE_TOPIC_MAX + 1; len++) {
        struct slice t = slice_make(topic, len);
        const struct route *r = router_route(v.r, v.x, t);
        uint64_t m = misses(&v);
        uint32_t serial = r->serial;
        assert_int_equal(r->target_n, 1);
        assert_true(route_is_same(v.r, r, serial, v.x, t)); /* the connection that asked may go on with it */
        const struct route *again = router_route(v.r, v.x, t);
        assert_int_equal(misses(&v) - m, len > ROUTE_TOPIC_MAX);
        assert_int_equal(again == r && again->serial == serial, len <= ROUTE_TOPIC_MAX);
    }
    topic[0] = 'y';
    const struct route *other = router_route(v.r, v.x, slice_make(topic, sizeof(topic) - 1));
    assert_int_equal(other->target_n, 1);
    fake_free(v.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hit_until_something_changes), cmocka_unit_test(exchanges_do_not_mix),
        cmocka_unit_test(evict_grow_invalidate),       cmocka_unit_test(serials),
        cmocka_unit_test(long_keys_pass_by_the_cache),
    };
    return cmocka_run_group_tests_name("route_cache", tests, NULL, NULL);
}
