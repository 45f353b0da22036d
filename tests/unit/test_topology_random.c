/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_topology_random.c: after any sequence of verbs, with records that cannot be written and sessions that end, the
 * store has exactly the durable part of what is there: exchanges, queues, durable subscriptions and bindings.
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
#include "core/base/rng.h"
#include "persist/store_image.h"
#include "persist/store_mem.h"
#include "tests/support/verbs.h"

enum { LINES_MAX = 400, LINE_MAX_BYTES = 80, NAMES = 6 };

struct lines {
    char v[LINES_MAX][LINE_MAX_BYTES];
    unsigned n;
};

struct world {
    struct fake *f;
    struct vhost *v;
    struct conn *c[3];
    struct rng rng;
    struct lines has, kept;
    uint64_t number[LINES_MAX]; /* of queues in the store */
    char name[LINES_MAX][16];
    unsigned queue_n;
};

static struct world the_world;

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static char *line(struct lines *l)
{
    assert_true(l->n < LINES_MAX);
    return l->v[l->n++];
}

/* ---- what is there ------------------------------------------------------------------------------------------- */

static void put_binding(struct world *w, const struct binding *b, struct slice to, bool is_exchange)
{
    struct router *r = &w->v->router;
    const struct exchange *x = router_source(r, b);
    struct buf key;
    if (!x->durable)
        return;
    buf_init(&key, &w->f->store_mem);
    if (x->kind != EXCHANGE_FANOUT)
        trie_path(&r->trie, b->node, &key);
    snprintf(line(&w->has), LINE_MAX_BYTES, "bind " SLICE_FMT " '" SLICE_FMT "' %s " SLICE_FMT,
             SLICE_ARG(exchange_name(x)), (int)key.len, key.len ? (const char *)key.p : "",
             is_exchange ? "exchange" : "queue", SLICE_ARG(to));
    buf_fini(&key);
}

static void what_is_there(struct world *w)
{
    w->has.n = 0;
    uint32_t pos = 0;
    for (struct exchange *x = map_next(&w->v->exchanges, &pos); x; x = map_next(&w->v->exchanges, &pos)) {
        if (!x->durable)
            continue;
        if (!exchange_is_builtin(x))
            snprintf(line(&w->has), LINE_MAX_BYTES, "exchange " SLICE_FMT " kind %u alternate '" SLICE_FMT "'",
                     SLICE_ARG(exchange_name(x)), x->kind, SLICE_ARG(exchange_alternate(x)));
        LIST_EACH(&x->bindings, it)
        put_binding(w, LIST_ITEM(it, struct binding, in_queue), exchange_name(x), true);
    }
    LIST_EACH(&w->v->queues_all, qit)
    {
        struct queue *q = LIST_ITEM(qit, struct queue, all);
        if (!q->name || !q->policy->durable || q->policy->exclusive)
            continue;
        snprintf(line(&w->has), LINE_MAX_BYTES, "queue " SLICE_FMT " dsub %u ttl %u", SLICE_ARG(queue_name(q)),
                 q->is_dsub, (unsigned)q->policy->ttl_ms);
        LIST_EACH(&q->bindings, it)
        put_binding(w, LIST_ITEM(it, struct binding, in_queue), queue_name(q), false);
    }
    qsort(w->has.v, w->has.n, LINE_MAX_BYTES, by_text);
}

/* ---- what the store has -------------------------------------------------------------------------------------- */

static const char *name_of(const struct world *w, uint64_t queue)
{
    for (unsigned i = 0; i < w->queue_n; i++)
        if (w->number[i] == queue)
            return w->name[i];
    return "?"; /* a binding before its queue, or of none */
}

static enum err visit(const struct store_rec *r, void *ctx)
{
    struct world *w = ctx;
    char *out = line(&w->kept);
    if (r->kind == STORE_QUEUE) {
        snprintf(out, LINE_MAX_BYTES, "queue " SLICE_FMT " dsub %u ttl %u", SLICE_ARG(r->name),
                 r->flags == STORE_QUEUE_DSUB, r->policy ? (unsigned)r->policy->ttl_ms : 0);
        w->number[w->queue_n] = r->queue;
        snprintf(w->name[w->queue_n++], sizeof(w->name[0]), SLICE_FMT, SLICE_ARG(r->name));
    } else if (r->kind == STORE_EXCHANGE) {
        snprintf(out, LINE_MAX_BYTES, "exchange " SLICE_FMT " kind %u alternate '" SLICE_FMT "'", SLICE_ARG(r->name),
                 r->exchange->kind, SLICE_ARG(r->exchange->alternate));
    } else if (r->kind == STORE_BIND) {
        char to[16];
        bool is_like_wild = r->key.len > 0 && r->key.p[0] == 0; /* core/binding_log.c */
        struct slice key = is_like_wild ? slice_skip(r->key, 1) : r->key;
        snprintf(to, sizeof(to), SLICE_FMT, SLICE_ARG(r->to));
        snprintf(out, LINE_MAX_BYTES, "bind " SLICE_FMT " '" SLICE_FMT "' %s %s", SLICE_ARG(r->name), SLICE_ARG(key),
                 r->queue ? "queue" : "exchange", r->queue ? name_of(w, r->queue) : to);
    } else {
        snprintf(out, LINE_MAX_BYTES, "a record of kind %u", r->kind);
    }
    return ERR_OK;
}

static void compare(struct world *w)
{
    fake_run(w->f);
    what_is_there(w);
    w->kept.n = w->queue_n = 0;
    assert_int_equal(store_image_visit(w->f->image, visit, w), ERR_OK);
    qsort(w->kept.v, w->kept.n, LINE_MAX_BYTES, by_text);
    for (unsigned i = 0; i < MAX(w->has.n, w->kept.n); i++)
        assert_string_equal(i < w->has.n ? w->has.v[i] : "nothing more", i < w->kept.n ? w->kept.v[i] : "nothing more");
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static struct conn *somebody(struct world *w)
{
    return w->c[rng_below(&w->rng, ARRAY_N(w->c))];
}

static struct exchange *some_exchange(struct world *w)
{
    static const char *const names[] = {"amq.topic", "amq.direct", "amq.fanout", "x0", "x1", "x2", "x3", "x4", "x5"};
    return exchange_get(w->v, slice_from_str(names[rng_below(&w->rng, ARRAY_N(names))]));
}

static struct queue *some_queue(struct world *w)
{
    char name[8];
    snprintf(name, sizeof(name), "q%u", rng_below(&w->rng, NAMES));
    return map_get(&w->v->queues, slice_from_str(name));
}

/* may_fail: the next record cannot be written, sometimes. */
static void may_fail(struct world *w)
{
    if (rng_chance(&w->rng, 15))
        store_mem_fail_append(w->f->store, w->f->shard->lsn_last + 1 + rng_below(&w->rng, 2));
}

static void step_declare(struct world *w)
{
    char name[8], other[8];
    struct declared d;
    snprintf(name, sizeof(name), "x%u", rng_below(&w->rng, NAMES));
    snprintf(other, sizeof(other), "x%u", rng_below(&w->rng, NAMES));
    may_fail(w);
    if (rng_chance(&w->rng, 50)) {
        const struct exchange_spec spec = {.name = slice_from_str(name),
                                           .kind = (enum exchange_kind)(EXCHANGE_TOPIC + rng_below(&w->rng, 3)),
                                           .durable = rng_chance(&w->rng, 70),
                                           .auto_delete = rng_chance(&w->rng, 40),
                                           .alternate = slice_from_str(rng_chance(&w->rng, 30) ? other : "")};
        (void)!broker_declare_exchange(somebody(w), &spec, &d);
    } else {
        static const char *const args[] = {"", "x-message-ttl=1000", "durable=false", "exclusive=true",
                                           "auto-delete=true"};
        name[0] = 'q';
        (void)!verb_declare(somebody(w), name, args[rng_below(&w->rng, ARRAY_N(args))], &d);
    }
    store_mem_fail_append(w->f->store, 0);
}

static void step_bind(struct world *w)
{
    static const char *const filters[] = {"a", "a/+", "#", "b/#/c"};
    struct conn *c = somebody(w);
    const char *filter = filters[rng_below(&w->rng, ARRAY_N(filters))];
    struct exchange *x = some_exchange(w), *to = some_exchange(w);
    struct queue *q = some_queue(w);
    bool binds = rng_chance(&w->rng, 65);
    if (!x)
        return;
    if (binds)
        may_fail(w);
    if (rng_chance(&w->rng, 50) && q)
        (void)!(binds ? verb_bind : verb_unbind)(c, x, filter, q);
    else if (to)
        (void)!(binds ? verb_bind_exchange : verb_unbind_exchange)(c, x, filter, to);
    store_mem_fail_append(w->f->store, 0);
}

static void step_end(struct world *w)
{
    char name[8];
    snprintf(name, sizeof(name), "%c%u", rng_chance(&w->rng, 50) ? 'x' : 'q', rng_below(&w->rng, NAMES));
    if (name[0] == 'x')
        (void)!verb_delete_exchange(somebody(w), name, rng_chance(&w->rng, 50));
    else
        (void)!verb_delete_queue(somebody(w), name, (struct queue_end){.if_unused = rng_chance(&w->rng, 50)});
}

static void step_durable(struct world *w)
{
    char key[8];
    struct conn *c = somebody(w);
    struct exchange *x = some_exchange(w);
    snprintf(key, sizeof(key), "d%u", rng_below(&w->rng, 3));
    if (rng_chance(&w->rng, 30)) {
        broker_end_durable(c, slice_from_str(key), verb_next(c));
        return;
    }
    struct fake_filter ff;
    struct declared d;
    if (!x)
        return;
    const struct durable sub = {.key = slice_from_str(key),
                                .exchange = x,
                                .filter = verb_filter(&ff, x, "a/+"),
                                .opts = {.qos = 2, .retain_handling = 2}};
    may_fail(w);
    (void)!broker_consume_durable(c, &sub, &(struct consume){.mode = ACK_NONE, .qos = 2, .receipt = verb_next(c)}, &d);
    store_mem_fail_append(w->f->store, 0);
}

/* step_session: somebody goes, with his exclusive queues; or he joins one that goes with its last consumer. */
static void step_session(struct world *w)
{
    unsigned i = rng_below(&w->rng, ARRAY_N(w->c));
    struct queue *q = some_queue(w);
    if (rng_chance(&w->rng, 50)) {
        verb_hang_up(w->c[i]);
        w->c[i] = fake_login(w->f, "", 0);
    } else if (q) {
        (void)!broker_consume_queue(w->c[i], q,
                                    &(struct consume){.mode = ACK_NONE, .qos = 2, .receipt = verb_next(w->c[i])});
    }
}

static void the_store_has_what_lasts(void **state)
{
    (void)state;
    struct world *w = &the_world;
    for (uint64_t seed = 1; seed <= 25; seed++) {
        memset(w, 0, sizeof(*w));
        w->f = verb_fake_new();
        w->v = w->f->shard->vhost;
        rng_init(&w->rng, seed);
        for (size_t i = 0; i < ARRAY_N(w->c); i++)
            w->c[i] = fake_login(w->f, "", 0);
        unsigned most = 0;
        for (unsigned n = 0; n < 400; n++) {
            uint32_t dice = rng_below(&w->rng, 100);
            if (dice < 30)
                step_declare(w);
            else if (dice < 75)
                step_bind(w);
            else if (dice < 85)
                step_end(w);
            else if (dice < 93)
                step_durable(w);
            else
                step_session(w);
            compare(w);
            most = MAX(most, w->kept.n);
        }
        assert_true(most > 10);
        fake_free(w->f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_store_has_what_lasts)};
    return cmocka_run_group_tests_name("topology_random", tests, NULL, NULL);
}
