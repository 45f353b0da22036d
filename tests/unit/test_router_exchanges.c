/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_router_exchanges.c: exchanges bound to exchanges, alternates, and exchanges that come and go, against a model
 * that is a list of bindings and a loop: random sequences, circles, long chains, every allocation failing once.
 *
 * The queues are bare: nobody consumes, nothing is pushed.
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

enum { QUEUES = 5, EXCHANGES = 9, BUILTIN = 3, BINDINGS = 40 };

struct edge {
    int from, to;       /* exchange; queue, or exchange + QUEUES; from -1: unused */
    const char *filter; /* NULL: of a fanout exchange */
};

/* The model. */
struct model {
    struct vhost *v;
    struct queue *q[QUEUES];
    struct exchange *x[EXCHANGES]; /* NULL: there is none of that name */
    int alternate[EXCHANGES];      /* -1: none; it need not be there */
    bool auto_delete[EXCHANGES];
    struct edge edge[BINDINGS];
    struct rng rng;
};

static const char *const name_of[EXCHANGES] = {"amq.topic", "amq.direct", "amq.fanout", "x0", "x1",
                                               "x2",        "x3",         "x4",         "x5"};
static const char *const keys[] = {"a", "b", "a/b", "", "$SYS/a", "$a", "a/b/c", "b/", "#", "a/+"};
static const char *const filters[] = {"a", "#", "+", "a/#", "+/b", "a/b", "$SYS/#", "#/b", "", "$a"};

static struct model the_model;

static struct fake *model_init(struct model *m, uint64_t seed)
{
    struct fake *f = fake_new(NULL);
    memset(m, 0, sizeof(*m));
    m->v = f->shard->vhost;
    rng_init(&m->rng, seed);
    for (unsigned i = 0; i < QUEUES; i++) {
        m->q[i] = queue_new(m->v, (struct slice){0}, &m->v->policy_named, false, NULL);
        assert_non_null(m->q[i]);
    }
    for (unsigned i = 0; i < EXCHANGES; i++) {
        m->x[i] = exchange_get(m->v, slice_from_str(name_of[i]));
        m->alternate[i] = -1;
        assert_int_equal(m->x[i] != NULL, i < BUILTIN);
    }
    for (unsigned i = 0; i < BINDINGS; i++)
        m->edge[i].from = -1;
    return f;
}

/* filter_for: a filter of this exchange; NULL text: the one of a fanout exchange. */
static const struct filter *filter_for(struct fake_filter *out, const struct exchange *x, const char *text)
{
    if (x->kind == EXCHANGE_TOPIC)
        return fake_filter(out, text);
    out->tok[0] = (struct token){.kind = TOKEN_LITERAL, .bytes = text ? slice_from_str(text) : (struct slice){0}};
    out->f = (struct filter){.tok = out->tok, .n = x->kind == EXCHANGE_DIRECT};
    return &out->f;
}

/* ---- the model's answers ------------------------------------------------------------------------------------- */

static bool edge_matches(const struct model *m, const struct edge *e, struct slice key)
{
    const struct exchange *x = m->x[e->from];
    struct fake_filter ff;
    if (x->kind == EXCHANGE_FANOUT)
        return true;
    if (x->kind == EXCHANGE_DIRECT)
        return slice_eq_str(key, e->filter);
    return filter_matches(fake_filter(&ff, e->filter), key);
}

/* reach: everything that exchange i reaches by key: bits of queues. */
static uint32_t reach(const struct model *m, int i, struct slice key)
{
    uint32_t queues = 0;
    bool seen[EXCHANGES] = {false}, is_peers = m->x[i]->kind != EXCHANGE_TOPIC;
    int todo[EXCHANGES + 1], n = 0;
    todo[n++] = i;
    seen[i] = true;
    while (n > 0) {
        int at = todo[--n];
        bool any = false,
             may = m->x[at]->kind != EXCHANGE_TOPIC || !is_peers || (!topic_is_sys(key) && topic_is_name(key));
        for (unsigned k = 0; may && k < BINDINGS; k++) {
            const struct edge *e = &m->edge[k];
            if (e->from != at || !edge_matches(m, e, key))
                continue;
            any = true;
            if (e->to < QUEUES) {
                queues |= 1u << e->to;
            } else if (!seen[e->to - QUEUES]) {
                seen[e->to - QUEUES] = true;
                todo[n++] = e->to - QUEUES;
            }
        }
        int other = m->alternate[at];
        if (!any && other >= 0 && m->x[other] && !seen[other]) {
            seen[other] = true;
            todo[n++] = other;
        }
    }
    return queues;
}

static unsigned outgoing(const struct model *m, int i)
{
    unsigned n = 0;
    for (unsigned k = 0; k < BINDINGS; k++)
        n += m->edge[k].from == i;
    return n;
}

static void model_end(struct model *m, int i);

/* model_unbind: edge k goes, and with it what lives by its bindings only. */
static void model_unbind(struct model *m, unsigned k)
{
    int from = m->edge[k].from;
    m->edge[k].from = -1;
    if (m->x[from] && m->auto_delete[from] && outgoing(m, from) == 0)
        model_end(m, from);
}

static void model_end(struct model *m, int i)
{
    m->x[i] = NULL;
    for (unsigned k = 0; k < BINDINGS; k++)
        if (m->edge[k].from == i)
            m->edge[k].from = -1;
    for (unsigned k = 0; k < BINDINGS; k++)
        if (m->edge[k].from >= 0 && m->edge[k].to == i + QUEUES)
            model_unbind(m, k);
}

static void agree(struct model *m)
{
    unsigned living = 1, bound = 0; /* the default exchange */
    for (int i = 0; i < EXCHANGES; i++) {
        assert_ptr_equal(exchange_get(m->v, slice_from_str(name_of[i])), m->x[i]);
        living += m->x[i] != NULL;
        if (m->x[i])
            assert_int_equal(m->x[i]->binding_n, outgoing(m, i));
    }
    for (unsigned k = 0; k < BINDINGS; k++)
        bound += m->edge[k].from >= 0;
    assert_int_equal(m->v->router.binding_n, bound);
    assert_int_equal(m->v->shard->stats.v[STAT_EXCHANGES], living);
    assert_int_equal(m->v->shard->stats.v[STAT_BINDINGS], bound);
    router_check(&m->v->router);
}

static void ask(struct model *m)
{
    int i = (int)rng_below(&m->rng, EXCHANGES);
    struct slice key = slice_from_str(keys[rng_below(&m->rng, ARRAY_N(keys))]);
    if (!m->x[i])
        return;
    uint32_t expected = reach(m, i, key), got = 0;
    const struct route *r = router_route(&m->v->router, m->x[i], key);
    assert_non_null(r);
    for (uint32_t t = 0; t < r->target_n; t++) {
        for (unsigned k = 0; k < QUEUES; k++) {
            if (m->q[k] != r->target[t].queue)
                continue;
            assert_int_equal(got & 1u << k, 0); /* each once */
            got |= 1u << k;
        }
    }
    assert_int_equal(got, expected);
    assert_ptr_equal(router_route(&m->v->router, m->x[i], key), r);
}

/* ---- random steps -------------------------------------------------------------------------------------------- */

static void step_declare(struct model *m)
{
    int i = BUILTIN + (int)rng_below(&m->rng, EXCHANGES - BUILTIN);
    int alternate = rng_chance(&m->rng, 60) ? (int)rng_below(&m->rng, EXCHANGES) : -1;
    struct exchange_spec spec = {.name = slice_from_str(name_of[i]),
                                 .kind = (enum exchange_kind)(EXCHANGE_TOPIC + rng_below(&m->rng, 3)),
                                 .auto_delete = rng_chance(&m->rng, 50)};
    if (alternate >= 0)
        spec.alternate = slice_from_str(name_of[alternate]);
    struct exchange *x = NULL;
    const char *differs = NULL;
    enum err e = exchange_declare_as(m->v, &spec, &x, &differs);
    if (m->x[i]) {
        bool same = m->x[i]->kind == spec.kind && m->auto_delete[i] == spec.auto_delete && m->alternate[i] == alternate;
        assert_int_equal(e, same ? ERR_OK : ERR_EXISTS);
        assert_int_equal(differs == NULL, same);
        return;
    }
    assert_int_equal(e, ERR_OK);
    m->x[i] = x;
    m->alternate[i] = alternate;
    m->auto_delete[i] = spec.auto_delete;
}

static void step_delete(struct model *m)
{
    int i = BUILTIN + (int)rng_below(&m->rng, EXCHANGES - BUILTIN);
    if (!m->x[i])
        return;
    struct exchange *held = rng_chance(&m->rng, 30) ? exchange_hold(m->x[i]) : NULL;
    exchange_delete(m->x[i]);
    model_end(m, i);
    if (!held)
        return;
    struct fake_filter ff;
    struct binding *b;
    bool is_new;
    assert_true(held->is_dead);
    assert_true(slice_eq_str(exchange_name(held), name_of[i]));
    assert_int_equal(router_route(&m->v->router, held, SLICE("a"))->target_n, 0); /* matches nothing any more */
    assert_int_equal(
        router_bind(&m->v->router, held, filter_for(&ff, held, "a"), m->q[0], &(struct binding_opts){0}, &b, &is_new),
        ERR_INVALID);
    exchange_drop(held);
}

static void step_bind(struct model *m)
{
    int from = (int)rng_below(&m->rng, EXCHANGES), to = (int)rng_below(&m->rng, QUEUES + EXCHANGES);
    const char *text = filters[rng_below(&m->rng, ARRAY_N(filters))];
    struct exchange *x = m->x[from];
    if (!x || (to >= QUEUES && !m->x[to - QUEUES]))
        return;
    if (x->kind == EXCHANGE_FANOUT)
        text = NULL;
    struct fake_filter ff;
    const struct filter *f = filter_for(&ff, x, text);
    bool is_new, was_there = false;
    struct binding *b;
    unsigned unused = BINDINGS;
    for (unsigned k = 0; k < BINDINGS; k++) {
        const struct edge *e = &m->edge[k];
        if (e->from < 0)
            unused = k;
        was_there |= e->from == from && e->to == to && e->filter == text;
    }
    if (unused == BINDINGS)
        return;
    if (to < QUEUES)
        assert_int_equal(router_bind(&m->v->router, x, f, m->q[to], &(struct binding_opts){.qos = 1}, &b, &is_new),
                         ERR_OK);
    else
        assert_int_equal(router_bind_exchange(&m->v->router, x, f, m->x[to - QUEUES], &is_new), ERR_OK);
    assert_int_equal(is_new, !was_there);
    if (is_new)
        m->edge[unused] = (struct edge){.from = from, .to = to, .filter = text};
}

static void step_unbind(struct model *m)
{
    unsigned k = rng_below(&m->rng, BINDINGS);
    const struct edge *e = &m->edge[k];
    if (e->from < 0)
        return;
    struct fake_filter ff;
    struct exchange *x = m->x[e->from];
    const struct filter *f = filter_for(&ff, x, e->filter);
    struct binding *b = e->to < QUEUES ? router_find(&m->v->router, x, f, m->q[e->to])
                                       : router_find_exchange(&m->v->router, x, f, m->x[e->to - QUEUES]);
    assert_non_null(b);
    assert_ptr_equal(router_source(&m->v->router, b), x);
    router_unbind(&m->v->router, b);
    model_unbind(m, k);
}

static void step_queue(struct model *m)
{
    int i = (int)rng_below(&m->rng, QUEUES);
    queue_delete(m->q[i]);
    for (unsigned k = 0; k < BINDINGS; k++)
        if (m->edge[k].from >= 0 && m->edge[k].to == i)
            model_unbind(m, k);
    m->q[i] = queue_new(m->v, (struct slice){0}, &m->v->policy_named, false, NULL);
    assert_non_null(m->q[i]);
}

static void at_random(struct model *m, unsigned steps)
{
    for (unsigned n = 0; n < steps; n++) {
        uint32_t dice = rng_below(&m->rng, 100);
        if (dice < 12)
            step_declare(m);
        else if (dice < 16)
            step_delete(m);
        else if (dice < 45)
            step_bind(m);
        else if (dice < 60)
            step_unbind(m);
        else if (dice < 63)
            step_queue(m);
        else
            ask(m);
        agree(m);
    }
}

static void against_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct fake *f = model_init(&the_model, seed);
        at_random(&the_model, 1500);
        fake_turn(f);
        fake_free(f); /* with whatever is there */
    }
}

/* marks of former walks must not look like those of this one. */
static void the_numbers_of_walks_run_out(void **state)
{
    (void)state;
    struct fake *f = model_init(&the_model, 77);
    at_random(&the_model, 500);
    for (unsigned i = 0; i < 20; i++) {
        the_model.v->router.walk = (1u << 24) - 3;
        at_random(&the_model, 50);
    }
    fake_free(f);
}

/* ---- by hand ------------------------------------------------------------------------------------------------- */

static struct exchange *declare(struct vhost *v, const char *name, enum exchange_kind kind, const char *alternate,
                                bool auto_delete)
{
    struct exchange *x = NULL;
    const char *differs;
    const struct exchange_spec spec = {.name = slice_from_str(name),
                                       .kind = kind,
                                       .internal = name[0] == 'i',
                                       .auto_delete = auto_delete,
                                       .alternate = slice_from_str(alternate)};
    assert_int_equal(exchange_declare_as(v, &spec, &x, &differs), ERR_OK);
    return x;
}

static void bind_x(struct exchange *x, const char *filter, struct exchange *to)
{
    struct fake_filter ff;
    bool is_new;
    assert_int_equal(router_bind_exchange(&x->vhost->router, x, filter_for(&ff, x, filter), to, &is_new), ERR_OK);
    assert_true(is_new);
}

static void bind_q(struct exchange *x, const char *filter, struct queue *q)
{
    struct fake_filter ff;
    struct binding *b;
    bool is_new;
    assert_int_equal(
        router_bind(&x->vhost->router, x, filter_for(&ff, x, filter), q, &(struct binding_opts){.qos = 1}, &b, &is_new),
        ERR_OK);
}

static uint32_t hits(struct exchange *x, const char *key)
{
    const struct route *r = router_route(&x->vhost->router, x, slice_from_str(key));
    assert_non_null(r);
    return r->target_n;
}

/* An alternate that does not exist yet, comes, goes, and comes again: the cached answer follows. */
static void alternates_come_and_go(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    struct exchange *x = declare(v, "x", EXCHANGE_DIRECT, "lost", false);
    assert_int_equal(hits(x, "k"), 0);
    for (unsigned i = 0; i < 3; i++) {
        struct exchange *lost = declare(v, "lost", EXCHANGE_FANOUT, "", false);
        assert_int_equal(hits(x, "k"), 0);
        bind_q(lost, NULL, q);
        assert_int_equal(hits(x, "k"), 1);
        bind_x(x, "k", lost); /* now it is matched, and the same message does not go there twice */
        assert_int_equal(hits(x, "k"), 1);
        assert_int_equal(v->router.match.n, 1);
        exchange_delete(lost);
        assert_int_equal(hits(x, "k"), 0);
        assert_int_equal(x->binding_n, 0);
    }
    fake_free(f);
}

/* One that comes may lead somewhere from its first moment: by its own alternate. */
static void alternates_of_alternates(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    struct exchange *x = declare(v, "x", EXCHANGE_DIRECT, "lost", false);
    bind_q(exchange_get(v, SLICE("amq.fanout")), NULL, q);
    assert_int_equal(hits(x, "k"), 0);
    struct exchange *lost = declare(v, "lost", EXCHANGE_TOPIC, "amq.fanout", false);
    assert_int_equal(hits(x, "k"), 1);
    exchange_delete(lost);
    assert_int_equal(hits(x, "k"), 0);
    fake_free(f);
}

/* A route knows whether some queue on it may refuse. */
static void who_may_refuse(void **state)
{
    (void)state;
    static const bool refuses[] = {[OVERFLOW_REJECT] = true, [OVERFLOW_REJECT_DLX] = true};
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    for (unsigned i = 0; i < ARRAY_N(refuses); i++) {
        char name[8];
        struct queue_policy p = v->policy_named;
        p.overflow = (enum queue_overflow)i;
        snprintf(name, sizeof(name), "x%u", i);
        struct queue *q = queue_new(v, slice_from_str(name), &p, true, NULL);
        struct exchange *x = declare(v, name, EXCHANGE_DIRECT, "", false),
                        *d = declare(v, "d", EXCHANGE_DIRECT, "", false);
        bind_q(x, "k", q);
        bind_x(d, name, x);
        assert_int_equal(router_route(&v->router, x, SLICE("k"))->has_refuse, refuses[i]);
        assert_int_equal(router_route(&v->router, v->default_exchange, slice_from_str(name))->has_refuse, refuses[i]);
        assert_false(router_route(&v->router, d, SLICE("k"))->has_refuse);
    }
    fake_free(f);
}

/* An exchange that was bound, but leads nowhere, was a match: its source's alternate gets nothing; its own does. */
static void a_match_is_a_match(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    struct queue *q2 = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    struct exchange *lost = declare(v, "lost", EXCHANGE_FANOUT, "", false);
    struct exchange *lost2 = declare(v, "lost2", EXCHANGE_FANOUT, "", false);
    struct exchange *x = declare(v, "x", EXCHANGE_DIRECT, "lost", false);
    struct exchange *y = declare(v, "y", EXCHANGE_DIRECT, "lost2", false);
    bind_q(lost, NULL, q);
    bind_x(x, "k", y);
    assert_int_equal(hits(x, "other"), 1);
    assert_int_equal(hits(x, "k"), 0);
    bind_q(lost2, NULL, q2);
    assert_int_equal(hits(x, "k"), 1);
    assert_ptr_equal(router_route(&v->router, x, SLICE("k"))->target[0].queue, q2);
    fake_free(f);
}

/* Everybody is everybody's alternate and bound to everybody, himself included: a message still gets somewhere, once. */
static void circles_end(void **state)
{
    (void)state;
    enum { N = 12 };
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    struct exchange *x[N];
    for (unsigned i = 0; i < N; i++) {
        char name[8], other[8];
        snprintf(name, sizeof(name), "x%u", i);
        snprintf(other, sizeof(other), "x%u", (i + 1) % N);
        x[i] = declare(v, name, (enum exchange_kind)(EXCHANGE_TOPIC + i % 3), other, false);
    }
    assert_int_equal(hits(x[0], "k"), 0); /* round the alternates */
    for (unsigned i = 0; i < N; i++)
        for (unsigned k = 0; k < N; k++)
            bind_x(x[i], "k", x[k]);
    assert_int_equal(hits(x[0], "k"), 0);
    bind_q(x[N - 1], "k", q);
    bind_q(x[N / 2], "k", q);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(hits(x[i], "k"), 1);
    assert_int_equal(v->router.match.n, 2); /* two bindings, one queue */
    fake_free(f);
}

/* A chain of thousands that hang on one binding: it goes without a recursion as deep. */
static void long_chains(void **state)
{
    (void)state;
    enum { N = 9000 };
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    uint32_t nodes = v->router.trie.node_n;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    struct exchange *first = NULL, *last = NULL;
    for (unsigned i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof(name), "x%u", i);
        struct exchange *x = declare(v, name, (enum exchange_kind)(EXCHANGE_TOPIC + i % 3), "", true);
        if (last)
            bind_x(last, "k", x);
        else
            first = x;
        last = x;
    }
    bind_q(last, "k", q);
    assert_int_equal(hits(first, "k"), 1);
    queue_delete(q);
    assert_int_equal(v->exchanges.n, 4);
    assert_int_equal(v->router.binding_n, 0);
    assert_int_equal(v->router.trie.node_n, nodes);
    fake_free(f);
}

/* What only the broker may publish does not get in by a side door. */
static void sys_stays_the_brokers(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    struct exchange *side = declare(v, "side", EXCHANGE_DIRECT, "", false);
    struct exchange *other = declare(v, "other", EXCHANGE_FANOUT, "amq.topic", false);
    struct exchange *copy = declare(v, "copy", EXCHANGE_TOPIC, "", false);
    struct exchange *in = declare(v, "internal", EXCHANGE_TOPIC, "", false);
    bind_x(side, "k", in); /* is there for this */
    bind_q(in, "#", q);
    assert_int_equal(hits(side, "k"), 1);
    bind_q(v->topic_exchange, "$SYS/#", q);
    bind_q(v->topic_exchange, "$SYSTEM/#", q);
    bind_x(side, "$SYS/broker/uptime", v->topic_exchange);
    bind_x(side, "$SYSTEM/x", v->topic_exchange);
    assert_int_equal(hits(side, "$SYS/broker/uptime"), 0);
    assert_int_equal(hits(side, "$SYSTEM/x"), 1); /* somebody's own */
    assert_int_equal(hits(other, "$SYS/broker/uptime"), 0);
    assert_int_equal(hits(v->topic_exchange, "$SYS/broker/uptime"), 1); /* the broker's own publish */
    bind_x(v->topic_exchange, "$SYS/#", copy);                          /* and who wants it elsewhere gets it */
    bind_q(copy, "#", q);
    bind_q(copy, "$SYS/+/+", q);
    assert_int_equal(hits(v->topic_exchange, "$SYS/broker/uptime"), 1);
    assert_int_equal(v->router.match.n, 2);
    fake_free(f);
}

/* Keys are any bytes elsewhere, but nobody who subscribed to topics gets what is none. */
static void what_is_no_topic(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    struct exchange *fanout = exchange_get(v, SLICE("amq.fanout")),
                    *x = declare(v, "x", EXCHANGE_DIRECT, "amq.topic", false);
    bind_x(fanout, NULL, v->topic_exchange);
    bind_q(v->topic_exchange, "#", q);
    static const char *const none[] = {"", "#", "a/#", "+", "a+b", "\xff", "a/\xc0\x80"};
    for (size_t i = 0; i < ARRAY_N(none); i++) {
        assert_int_equal(hits(fanout, none[i]), 0);
        assert_int_equal(hits(x, none[i]), 0);
    }
    assert_int_equal(hits(fanout, "a.b c/d"), 1);
    assert_int_equal(hits(x, "a.b c/d"), 1);
    assert_int_equal(router_route(&v->router, fanout, slice_make("a\0b", 3))->target_n, 0);
    fake_free(f);
}

/* Keys that no topic can be: too many levels for a topic exchange are no match there, and fine elsewhere. */
static void deep_keys(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    static char deep[2 * TOPIC_LEVELS_MAX + 8];
    memset(deep, '/', sizeof(deep) - 1);
    struct exchange *direct = exchange_get(v, SLICE("amq.direct")), *fanout = exchange_get(v, SLICE("amq.fanout"));
    bind_x(direct, deep, v->topic_exchange);
    bind_x(direct, deep, fanout);
    bind_q(v->topic_exchange, "#", q);
    assert_int_equal(hits(direct, deep), 0);
    bind_q(fanout, NULL, q);
    assert_int_equal(hits(direct, deep), 1);
    fake_free(f);
}

static void refused(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    struct exchange *fanout = exchange_get(v, SLICE("amq.fanout"));
    struct fake_filter ff;
    bool is_new;
    struct router *r = &v->router;
    const struct filter none = {0};
    assert_int_equal(router_bind_exchange(r, v->default_exchange, fake_filter(&ff, "a"), fanout, &is_new), ERR_INVALID);
    assert_int_equal(router_bind_exchange(r, v->topic_exchange, fake_filter(&ff, "a"), v->default_exchange, &is_new),
                     ERR_INVALID);
    assert_int_equal(router_bind_exchange(r, v->topic_exchange, &none, fanout, &is_new), ERR_INVALID);
    assert_int_equal(router_bind_exchange(r, fanout, fake_filter(&ff, "a"), v->topic_exchange, &is_new), ERR_INVALID);
    assert_int_equal(router_bind_exchange(r, fanout, &none, v->topic_exchange, &is_new), ERR_OK);
    assert_true(is_new);
    assert_int_equal(router_bind_exchange(r, fanout, &none, v->topic_exchange, &is_new), ERR_OK);
    assert_false(is_new);
    assert_int_equal(r->binding_n, 1);
    assert_null(router_find_exchange(r, v->topic_exchange, fake_filter(&ff, "a"), fanout));
    fake_free(f);
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
    struct vhost *v = f->shard->vhost;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    struct exchange *x[12] = {NULL};
    for (unsigned i = 0; i < ARRAY_N(x); i++) {
        char name[8];
        const char *differs;
        snprintf(name, sizeof(name), "x%u", i);
        const struct exchange_spec spec = {.name = slice_from_str(name),
                                           .kind = (enum exchange_kind)(EXCHANGE_TOPIC + i % 3),
                                           .auto_delete = i % 4 == 0,
                                           .alternate = SLICE("x0")};
        uint32_t had = v->exchanges.n;
        if (exchange_declare_as(v, &spec, &x[i], &differs) != ERR_OK) {
            x[i] = NULL;
            assert_int_equal(v->exchanges.n, had);
        }
        for (unsigned k = 0; x[i] && k < i; k++) {
            struct fake_filter ff;
            struct binding *b;
            bool is_new;
            uint64_t bound = v->router.binding_n;
            if (x[k] && router_bind_exchange(&v->router, x[i], filter_for(&ff, x[i], name), x[k], &is_new) != ERR_OK)
                assert_int_equal(v->router.binding_n, bound);
            if (q && x[k])
                (void)!router_bind(&v->router, x[k], filter_for(&ff, x[k], name), q,
                                   &(struct binding_opts){.sub_id = 1}, &b, &is_new);
            (void)!router_route(&v->router, x[i], slice_from_str(name));
        }
    }
    for (unsigned i = 0; i < ARRAY_N(x); i += 3)
        if (x[i] && exchange_get(v, exchange_name(x[i])))
            exchange_delete(x[i]);
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
        cmocka_unit_test(against_the_model),
        cmocka_unit_test(the_numbers_of_walks_run_out),
        cmocka_unit_test(alternates_come_and_go),
        cmocka_unit_test(alternates_of_alternates),
        cmocka_unit_test(who_may_refuse),
        cmocka_unit_test(a_match_is_a_match),
        cmocka_unit_test(circles_end),
        cmocka_unit_test(long_chains),
        cmocka_unit_test(sys_stays_the_brokers),
        cmocka_unit_test(what_is_no_topic),
        cmocka_unit_test(deep_keys),
        cmocka_unit_test(refused),
        cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests_name("router_exchanges", tests, NULL, NULL);
}
