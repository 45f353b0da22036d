/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_router.c: the walk and the merge against filter_matches, for random sets of filters full of wildcards; exchanges
 * of every kind; filters made to be slow; the numbers of walks running out; every allocation failing once.
 *
 * Queues here are bare: nobody consumes, nothing is pushed. The cache has a file of its own, test_route_cache.c.
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

enum { QUEUES = 14, BINDINGS = 60, TEXT_MAX = 96 };

struct bound {
    char text[8 * TOPIC_LEVELS_MAX]; /* what filter's tokens point to */
    struct binding *b;
    struct queue *q;
    struct fake_filter filter;
    struct binding_opts opts;
};

struct env {
    struct fake *f;
    struct router *r;
    struct exchange *x;
    struct queue *q[QUEUES];
    struct bound bound[BINDINGS];
    struct rng rng;
};

static struct env the_env;

static void env_init(struct env *v, uint64_t seed)
{
    memset(v, 0, sizeof(*v));
    v->f = fake_new(NULL);
    v->r = &v->f->shard->vhost->router;
    v->x = v->f->shard->vhost->topic_exchange;
    rng_init(&v->rng, seed);
    for (unsigned i = 0; i < QUEUES; i++) {
        v->q[i] = queue_new(v->f->shard->vhost, (struct slice){0}, &v->f->shard->vhost->policy_named, false, NULL);
        assert_non_null(v->q[i]);
    }
}

static void env_fini(struct env *v)
{
    fake_free(v->f);
}

static size_t any_text(struct rng *r, char *out, bool wild)
{
    static const char *const literal[] = {"a", "b", "", "$a", "a-level-longer-than-inline", "c"};
    size_t n = 0;
    uint32_t levels_n = 1 + rng_below(r, rng_chance(r, 10) ? 12 : 5);
    for (uint32_t i = 0; i < levels_n && n < TEXT_MAX - 30; i++) {
        const char *s = literal[rng_below(r, rng_chance(r, 80) ? 3 : 6)];
        if (wild && rng_chance(r, 45))
            s = rng_chance(r, 50) ? "+" : "#";
        if (i)
            out[n++] = '/';
        memcpy(out + n, s, strlen(s));
        n += strlen(s);
    }
    out[n] = 0;
    return n;
}

/* bind: in slot i; a filter and queue that are bound already only get new options. */
static void bind(struct env *v, unsigned i, const char *text)
{
    struct bound *e = &v->bound[i];
    bool is_new;
    e->q = v->q[rng_below(&v->rng, QUEUES)];
    e->opts = (struct binding_opts){.sub_id = rng_chance(&v->rng, 60) ? 1 + rng_below(&v->rng, 9) : 0,
                                    .qos = (uint8_t)rng_below(&v->rng, 3),
                                    .retain_as_published = rng_chance(&v->rng, 30),
                                    .no_local = rng_chance(&v->rng, 20)};
    snprintf(e->text, sizeof(e->text), "%s", text);
    fake_filter(&e->filter, e->text);
    struct binding *had = router_find(v->r, v->x, &e->filter.f, e->q);
    assert_int_equal(router_bind(v->r, v->x, &e->filter.f, e->q, &e->opts, &e->b, &is_new), ERR_OK);
    assert_int_equal(is_new, had == NULL);
    assert_ptr_equal(router_find(v->r, v->x, &e->filter.f, e->q), e->b);
    if (had) {
        assert_ptr_equal(had, e->b);
        for (unsigned k = 0; k < BINDINGS; k++)
            if (k != i && v->bound[k].b == had)
                v->bound[k].b = NULL;
    }
}

static void unbind(struct env *v, unsigned i)
{
    struct bound *e = &v->bound[i];
    if (!e->b)
        return;
    router_unbind(v->r, e->b);
    e->b = NULL;
    assert_null(router_find(v->r, v->x, &e->filter.f, e->q));
}

static void match_is_right(struct env *v, struct slice topic)
{
    bool expected[BINDINGS], seen[BINDINGS] = {false};
    uint32_t n = 0;
    for (unsigned i = 0; i < BINDINGS; i++) {
        expected[i] = v->bound[i].b && filter_matches(&v->bound[i].filter.f, topic);
        n += expected[i];
    }
    assert_int_equal(router_match(v->r, v->x, topic), ERR_OK);
    assert_int_equal(v->r->match.n, n);
    for (uint32_t m = 0; m < n; m++) {
        unsigned i = 0;
        while (i < BINDINGS && v->bound[i].b != v->r->match.v[m])
            i++;
        assert_true(i < BINDINGS && expected[i] && !seen[i]);
        seen[i] = true;
        if (m > 0 && v->r->match.v[m]->queue != v->r->match.v[m - 1]->queue)
            for (uint32_t k = 0; k < m; k++) /* grouped: a queue that was left does not come again */
                assert_ptr_not_equal(v->r->match.v[k]->queue, v->r->match.v[m]->queue);
    }
}

/* what one queue's target must say, from the options of its matching bindings. */
static bool merged(const struct env *v, const struct queue *q, struct slice topic, bool skip_no_local,
                   struct binding_set *out, uint32_t *id, bool *out_no_local)
{
    bool any = false;
    *out = (struct binding_set){0};
    *out_no_local = false;
    for (unsigned i = 0; i < BINDINGS; i++) {
        const struct bound *e = &v->bound[i];
        if (!e->b || e->q != q || !filter_matches(&e->filter.f, topic))
            continue;
        *out_no_local |= e->opts.no_local;
        if (skip_no_local && e->opts.no_local)
            continue;
        any = true;
        out->qos = MAX(out->qos, e->opts.qos);
        out->retain_as_published |= e->opts.retain_as_published;
        if (!e->opts.sub_id)
            continue;
        uint32_t at = out->sub_id_n++; /* sorted, by insertion */
        for (; at > 0 && id[at - 1] > e->opts.sub_id; at--)
            id[at] = id[at - 1];
        id[at] = e->opts.sub_id;
    }
    return any;
}

static void expect_set(const struct queue *q, uint32_t number, const struct binding_set *want, const uint32_t *id)
{
    const struct binding_set *got = queue_set_get(q, number);
    assert_int_equal(got->qos, want->qos);
    assert_int_equal(got->retain_as_published, want->retain_as_published);
    assert_int_equal(got->sub_id_n, want->sub_id_n);
    for (uint32_t i = 0; i < want->sub_id_n; i++)
        assert_int_equal(got->sub_id[i], id[i]);
}

static void route_is_right(struct env *v, struct slice topic)
{
    const struct route *route = router_route(v->r, v->x, topic);
    assert_non_null(route);
    uint32_t targets = 0;
    for (unsigned i = 0; i < QUEUES; i++) {
        struct binding_set want;
        uint32_t id[BINDINGS];
        bool no_local;
        if (!merged(v, v->q[i], topic, false, &want, id, &no_local))
            continue;
        const struct target *t = NULL;
        for (uint32_t k = 0; k < route->target_n; k++)
            if (route->target[k].queue == v->q[i]) {
                assert_null(t); /* once */
                t = &route->target[k];
            }
        assert_non_null(t);
        targets++;
        assert_int_equal(t->qos, want.qos);
        assert_int_equal(t->has_no_local, no_local);
        expect_set(v->q[i], t->set, &want, id);
    }
    assert_int_equal(route->target_n, targets);
}

static void merge_for_is_right(struct env *v, struct slice topic)
{
    struct queue *q = v->q[rng_below(&v->rng, QUEUES)];
    struct binding_set want;
    uint32_t id[BINDINGS], set = 0;
    uint8_t qos = 0;
    bool no_local;
    bool any = merged(v, q, topic, true, &want, id, &no_local);
    assert_int_equal(router_merge_for(v->r, v->x, topic, q, &set, &qos), any);
    if (!any)
        return;
    assert_int_equal(qos, want.qos);
    expect_set(q, set, &want, id);
}

/* [MQTT-3.3.4-2] the highest QoS, [MQTT-3.3.4-4] all subscription identifiers, [MQTT-4.7.2-1] '$', [MQTT-3.8.3-3]
 * no-local */
static void against_the_reference(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 21);
    char text[TEXT_MAX];
    for (unsigned round = 0; round < 1500; round++) {
        unsigned i = rng_below(&v->rng, BINDINGS);
        unbind(v, i);
        any_text(&v->rng, text, true);
        if (rng_chance(&v->rng, 85))
            bind(v, i, text);
        for (unsigned k = 0; k < 150; k++) {
            struct slice topic = slice_make(text, any_text(&v->rng, text, false));
            match_is_right(v, topic);
            if (k % 4 == 0 && topic.len > 0) /* empty keys have a test of their own */
                route_is_right(v, topic);
            if (k % 8 == 0)
                merge_for_is_right(v, topic);
        }
        if (round % 20 == 0)
            shard_check(v->f->shard);
    }
    for (unsigned i = 0; i < BINDINGS; i++)
        unbind(v, i);
    assert_int_equal(v->r->binding_n, 0);
    assert_int_equal(v->r->trie.level_slots.n, 0);
    env_fini(v);
}

/* with exponential behaviour this would outlive the universe, not just the test's time limit. */
static void filters_made_to_be_slow(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 22);
    static char topic[2 * TOPIC_LEVELS_MAX + 1], text[8 * TOPIC_LEVELS_MAX];
    static const char *const pattern[] = {"a/#/", "#/a/", "+/#/", "#/+/", "#/", "a/#/+/#/", "#/#/a/"};
    for (size_t i = 0; i < ARRAY_N(pattern); i++) {
        uint32_t per = topic_levels(slice_from_str(pattern[i])) - 1, n = 0;
        size_t at = 0;
        for (; n + per < TOPIC_LEVELS_MAX; n += per)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", pattern[i]);
        snprintf(text + at, sizeof(text) - at, "z");
        bind(v, (unsigned)i * 2, text);
        snprintf(text + at, sizeof(text) - at, "#");
        bind(v, (unsigned)i * 2 + 1, text);
    }
    memset(topic, 0, sizeof(topic));
    for (unsigned i = 0; i < TOPIC_LEVELS_MAX; i++)
        topic[2 * i] = 'a', topic[2 * i + 1] = '/';
    struct slice t = slice_make(topic, 2 * TOPIC_LEVELS_MAX - 1);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(router_match(v->r, v->x, t), ERR_OK);
    uint32_t all = v->r->match.n;
    assert_true(all >= 1);
    topic[2 * TOPIC_LEVELS_MAX - 2] = 'z'; /* now those that end in z match, too */
    assert_int_equal(router_match(v->r, v->x, t), ERR_OK);
    assert_true(v->r->match.n > all);
    env_fini(v);
}

/* [MQTT-3.3.4-4] a message that matches many subscriptions of one session carries the identifier of each. */
static void every_identifier_of_many(void **state)
{
    (void)state;
    enum { MANY = 128 };
    struct env *v = &the_env;
    env_init(v, 29);
    for (unsigned i = 0; i < MANY; i++) {
        char text[16];
        struct fake_filter filter;
        struct binding *b;
        bool is_new;
        for (unsigned k = 0; k < 7; k++)
            memcpy(text + k * 2, i >> k & 1 ? "+/" : "a/", 2);
        text[13] = 0;
        fake_filter(&filter, text);
        struct binding_opts opts = {.sub_id = MANY - i, .qos = 1};
        assert_int_equal(router_bind(v->r, v->x, &filter.f, v->q[0], &opts, &b, &is_new), ERR_OK);
        assert_true(is_new);
    }
    const struct route *route = router_route(v->r, v->x, SLICE("a/a/a/a/a/a/a"));
    assert_non_null(route);
    assert_int_equal(route->target_n, 1);
    const struct binding_set *set = queue_set_get(v->q[0], route->target[0].set);
    assert_int_equal(set->sub_id_n, MANY);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(set->sub_id[i], i + 1);
    env_fini(v);
}

/* the same shapes, short enough for the reference. */
static void many_manys(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 23);
    static const char *const filter[] = {"#/#",     "#/a/#",     "a/#/a/#",   "#/+/#/+", "+/#/+", "#/a/#/b",
                                         "a/#/#/b", "#/#/#/a",   "#/+",       "+/#",     "#/a",   "a/#",
                                         "#",       "a/#/a/#/a", "#/b/#/b/#", "+/#/b"};
    for (unsigned i = 0; i < ARRAY_N(filter); i++)
        bind(v, i, filter[i]);
    char topic[32];
    for (uint32_t bits = 0; bits < 3 * 3 * 3 * 3 * 3 * 3 * 3; bits++) {
        uint32_t rest = bits;
        size_t n = 0;
        for (unsigned i = 0; i < 7; i++, rest /= 3)
            if (rest % 3) {
                if (n)
                    topic[n++] = '/';
                topic[n++] = rest % 3 == 1 ? 'a' : 'b';
            }
        match_is_right(v, slice_make(topic, n));
        if (n > 0)
            route_is_right(v, slice_make(topic, n));
    }
    env_fini(v);
}

static void the_numbers_of_walks_run_out(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 24);
    char text[TEXT_MAX];
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < BINDINGS; i++) {
            unbind(v, i);
            any_text(&v->rng, text, true);
            bind(v, i, text);
        }
        v->r->walk = (1u << 24) - 2 - rng_below(&v->rng, 60);
        for (unsigned k = 0; k < 200; k++)
            match_is_right(v, slice_make(text, any_text(&v->rng, text, false)));
        assert_true(v->r->walk < 1000);
    }
    env_fini(v);
}

static void deep_topics(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 25);
    static char deep[2 * TOPIC_LEVELS_MAX + 8];
    for (unsigned i = 0; i < TOPIC_LEVELS_MAX; i++)
        deep[2 * i] = 'a', deep[2 * i + 1] = '/';
    deep[2 * TOPIC_LEVELS_MAX - 1] = 0;
    bind(v, 0, deep);
    bind(v, 1, "#");
    bind(v, 2, "#/a/#");
    match_is_right(v, slice_from_str(deep));
    assert_int_equal(v->r->match.n, 3);
    deep[2 * TOPIC_LEVELS_MAX - 1] =
        '/'; /* one level more than any filter can have: refused by the verbs, harmless here */
    deep[2 * TOPIC_LEVELS_MAX] = 'a';
    assert_int_equal(router_match(v->r, v->x, slice_from_str(deep)), ERR_OK);
    assert_int_equal(v->r->match.n, 0);
    env_fini(v);
}

/* ---- kinds of exchanges -------------------------------------------------------------------------------------- */

static struct exchange *exchange(struct env *v, const char *name)
{
    struct exchange *x = exchange_get(v->f->shard->vhost, slice_from_str(name));
    assert_non_null(x);
    return x;
}

static enum err bind_to(struct env *v, struct exchange *x, const struct filter *f, struct queue *q)
{
    struct binding *b;
    bool is_new;
    return router_bind(v->r, x, f, q, &(struct binding_opts){.qos = 1}, &b, &is_new);
}

static uint32_t hits(struct env *v, struct exchange *x, const char *key)
{
    const struct route *r = router_route(v->r, x, slice_from_str(key));
    assert_non_null(r);
    assert_ptr_equal(router_route(v->r, x, slice_from_str(key)), r);
    return r->target_n;
}

static void direct_and_fanout(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 26);
    struct exchange *direct = exchange(v, "amq.direct"), *fanout = exchange(v, "amq.fanout");
    struct token key = {TOKEN_LITERAL, SLICE("a/b")}, star = {TOKEN_ONE, {0}};
    struct token two[2] = {key, key};
    assert_int_equal(bind_to(v, direct, &(struct filter){&key, 1}, v->q[0]), ERR_OK);
    assert_int_equal(bind_to(v, direct, &(struct filter){&star, 1}, v->q[0]), ERR_INVALID);
    assert_int_equal(bind_to(v, direct, &(struct filter){two, 2}, v->q[0]), ERR_INVALID);
    assert_int_equal(bind_to(v, direct, &(struct filter){NULL, 0}, v->q[0]), ERR_INVALID);
    assert_int_equal(bind_to(v, fanout, &(struct filter){&key, 1}, v->q[0]), ERR_INVALID);
    assert_int_equal(bind_to(v, fanout, &(struct filter){NULL, 0}, v->q[1]), ERR_OK);
    assert_int_equal(bind_to(v, fanout, &(struct filter){NULL, 0}, v->q[2]), ERR_OK);
    assert_int_equal(bind_to(v, v->x, &(struct filter){NULL, 0}, v->q[1]), ERR_INVALID);
    assert_int_equal(bind_to(v, exchange(v, ""), &(struct filter){&key, 1}, v->q[1]), ERR_INVALID);
    assert_int_equal(hits(v, direct, "a/b"), 1); /* one opaque string, slash and all */
    assert_int_equal(hits(v, direct, "a"), 0);
    assert_int_equal(hits(v, direct, "+"), 0);
    assert_int_equal(hits(v, v->x, "a/b"), 0); /* exchanges do not see each other's bindings */
    assert_int_equal(hits(v, fanout, "anything"), 2);
    assert_int_equal(hits(v, fanout, "$x"), 2);
    env_fini(v);
}

/* the empty string is a key like any other. */
static void empty_keys(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 27);
    struct exchange *direct = exchange(v, "amq.direct"), *fanout = exchange(v, "amq.fanout");
    struct token empty = {TOKEN_LITERAL, {0}};
    assert_int_equal(bind_to(v, direct, &(struct filter){&empty, 1}, v->q[0]), ERR_OK);
    assert_int_equal(bind_to(v, fanout, &(struct filter){NULL, 0}, v->q[1]), ERR_OK);
    struct exchange *each[] = {direct, fanout, v->x, exchange(v, "")};
    for (unsigned i = 0; i < 4; i++) {
        struct slice key = {0};
        const struct route *r = router_route(v->r, each[i], key);
        assert_non_null(r);
        assert_int_equal(r->target_n, i < 2);
        assert_ptr_equal(router_route(v->r, each[i], key), r);
        assert_true(route_is_same(v->r, r, r->serial, each[i], key));
    }
    env_fini(v);
}

static void default_exchange(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 28);
    struct vhost *h = v->f->shard->vhost;
    assert_int_equal(hits(v, h->default_exchange, "jobs"), 0);
    struct queue *q = queue_new(h, SLICE("jobs"), &h->policy_named, false, NULL);
    const struct route *r = router_route(v->r, h->default_exchange, SLICE("jobs")); /* seen at once, cache or not */
    assert_int_equal(r->target_n, 1);
    assert_ptr_equal(r->target[0].queue, q);
    assert_int_equal(r->target[0].qos, 2);
    assert_true(r->has_refuse);
    queue_delete(q);
    assert_int_equal(hits(v, h->default_exchange, "jobs"), 0);
    env_fini(v);
}

/* ---- binding sets -------------------------------------------------------------------------------------------- */

/* A queue whose table of binding sets is full of sets of this generation must not stop everybody's publishes: the
 * table is the subscriber's doing, the refusal would hit the publisher. */
static void a_full_set_table_refuses_nobody(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 29);
    struct mem *mem = shard_mem(v->f->shard, MEM_QUEUE);
    struct queue *q = v->q[0];
    struct fake_filter ff;
    struct binding *b;
    bool is_new;
    assert_int_equal(
        router_bind(v->r, v->x, fake_filter(&ff, "#"), q, &(struct binding_opts){.qos = 1, .sub_id = 7}, &b, &is_new),
        ERR_OK);
    /* as 65,535 publishes to topics that meet different combinations of its bindings would leave it */
    q->set = mem_alloc(mem, UINT16_MAX * sizeof(*q->set));
    assert_non_null(q->set);
    q->set_n = UINT16_MAX;
    for (unsigned i = 0; i < UINT16_MAX; i++) {
        uint32_t *id = mem_alloc(mem, sizeof(*id));
        *id = 1000 + i;
        q->set[i] = (struct binding_set){.gen = v->r->gen, .qos = 1, .sub_id_n = 1, .sub_id = id};
    }
    const struct route *r = router_route(v->r, v->x, SLICE("somebody/elses/topic"));
    assert_non_null(r);
    assert_int_equal(r->target_n, 1);
    env_fini(v);
}

/* how it gets there: a few subscriptions make many combinations. Sets that nothing refers to must not pile up. */
static void combinations_are_bounded(void **state)
{
    (void)state;
    enum { BITS = 13 };
    struct env *v = &the_env;
    env_init(v, 30);
    struct queue *q = v->q[0];
    struct binding *b;
    bool is_new;
    for (unsigned i = 0; i < BITS; i++) {
        struct token tok[BITS];
        for (unsigned k = 0; k < BITS; k++)
            tok[k] = (struct token){k == i ? TOKEN_LITERAL : TOKEN_ONE, SLICE("1")};
        assert_int_equal(router_bind(v->r, v->x, &(struct filter){tok, BITS}, q,
                                     &(struct binding_opts){.sub_id = i + 1}, &b, &is_new),
                         ERR_OK);
    }
    for (uint32_t bits = 0; bits < 1u << BITS; bits++) {
        char topic[2 * BITS];
        for (unsigned k = 0; k < BITS; k++)
            topic[2 * k] = bits >> k & 1 ? '1' : '0', topic[2 * k + 1] = '/';
        const struct route *r = router_route(v->r, v->x, slice_make(topic, 2 * BITS - 1));
        assert_non_null(r);
        assert_int_equal(r->target_n, bits != 0);
    }
    assert_true(q->set_n <= 4096); /* of 8,191 combinations, none in use */
    env_fini(v);
}

/* ---- out of memory ------------------------------------------------------------------------------------------- */

static bool scenario(uint64_t fail_at)
{
    struct fake_config config;
    fake_config_init(&config);
    config.fail_at = fail_at;
    struct fake *f = fake_new(&config);
    if (!f)
        return true;
    struct vhost *h = f->shard->vhost;
    struct router *r = &h->router;
    struct queue *q[4];
    for (unsigned i = 0; i < ARRAY_N(q); i++)
        q[i] = queue_new(h, i ? (struct slice){0} : SLICE("named"), &h->policy_named, i == 1, NULL);
    for (unsigned i = 0; i < 60; i++) {
        struct fake_filter ff;
        struct binding *b;
        bool is_new;
        char text[TEXT_MAX];
        snprintf(text, sizeof(text), "l%u/%s/#", i % 7, i % 2 ? "+" : "x");
        uint64_t had = r->binding_n;
        struct queue *to = q[i % ARRAY_N(q)];
        if (to && router_bind(r, h->topic_exchange, fake_filter(&ff, text), to, &(struct binding_opts){.sub_id = i}, &b,
                              &is_new) != ERR_OK)
            assert_int_equal(r->binding_n, had);
        snprintf(text, sizeof(text), "l%u/x/%u", i % 7, i);
        const struct route *route = router_route(r, h->topic_exchange, slice_from_str(text));
        if (route && r->binding_n && !fail_at)
            assert_true(route->target_n > 0);
    }
    shard_check(f->shard);
    bool failed = fail_at != 0 && f->heap.calls >= fail_at;
    fake_free(f);
    return failed;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    uint64_t n = 1;
    while (scenario(n))
        n++;
    assert_true(n > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_the_reference),
        cmocka_unit_test(filters_made_to_be_slow),
        cmocka_unit_test(every_identifier_of_many),
        cmocka_unit_test(many_manys),
        cmocka_unit_test(the_numbers_of_walks_run_out),
        cmocka_unit_test(deep_topics),
        cmocka_unit_test(direct_and_fanout),
        cmocka_unit_test(empty_keys),
        cmocka_unit_test(default_exchange),
        cmocka_unit_test(a_full_set_table_refuses_nobody),
        cmocka_unit_test(combinations_are_bounded),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
