/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_exchange.c: the built-in exchanges are there, a name means one thing for good, and exchanges that come and go
 * leave nothing behind in the router. What they route is in test_router.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake.h"

static void built_in(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    static const struct {
        const char *name;
        enum exchange_kind kind;
    } row[] = {{"", EXCHANGE_DEFAULT},
               {"amq.topic", EXCHANGE_TOPIC},
               {"amq.direct", EXCHANGE_DIRECT},
               {"amq.fanout", EXCHANGE_FANOUT}};
    for (size_t i = 0; i < ARRAY_N(row); i++) {
        struct exchange *x = exchange_get(v, slice_from_str(row[i].name)), *again = NULL;
        assert_non_null(x);
        assert_int_equal(x->kind, row[i].kind);
        assert_true(slice_eq_str(exchange_name(x), row[i].name));
        assert_ptr_equal(x->vhost, v);
        assert_int_equal(exchange_declare(v, slice_from_str(row[i].name), row[i].kind, true, &again), ERR_OK);
        assert_ptr_equal(again, x);
        assert_int_equal(exchange_declare(v, slice_from_str(row[i].name), row[i].kind, false, &again), ERR_EXISTS);
        assert_int_equal(
            exchange_declare(v, slice_from_str(row[i].name), (enum exchange_kind)((row[i].kind + 1) % 4), true, &again),
            ERR_EXISTS);
    }
    assert_ptr_equal(v->topic_exchange, exchange_get(v, SLICE("amq.topic")));
    assert_ptr_equal(v->default_exchange, exchange_get(v, SLICE("")));
    assert_null(exchange_get(v, SLICE("amq.topi")));
    assert_null(exchange_get(v, SLICE("amq.topic ")));
    fake_free(f);
}

static void names(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    static char name[300];
    struct exchange *x;
    memset(name, 'n', sizeof(name));
    assert_int_equal(exchange_declare(v, slice_make(name, 256), EXCHANGE_TOPIC, true, &x), ERR_TOO_BIG);
    assert_int_equal(exchange_declare(v, slice_make(name, 255), EXCHANGE_TOPIC, true, &x), ERR_OK);
    assert_int_equal(exchange_declare(v, slice_make("\0\n", 2), EXCHANGE_TOPIC, false, &x), ERR_OK); /* opaque bytes */
    assert_ptr_equal(exchange_get(v, slice_make("\0\n", 2)), x);
    assert_null(exchange_get(v, slice_make("\0", 1)));
    fake_free(f);
}

/* exchanges with bindings come and go; each is a world of its own, and the router is as small as before. */
static void come_and_go(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    uint32_t nodes = v->router.trie.node_n;
    struct queue *q = queue_new(v, (struct slice){0}, &v->policy_named, false, NULL);
    for (unsigned round = 0; round < 50; round++) {
        struct exchange *x[20];
        for (unsigned i = 0; i < 20; i++) {
            char name[16];
            struct fake_filter ff;
            struct binding *b;
            bool is_new;
            snprintf(name, sizeof(name), "x%u", i);
            assert_int_equal(exchange_declare(v, slice_from_str(name), EXCHANGE_TOPIC, i % 2, &x[i]), ERR_OK);
            snprintf(name, sizeof(name), "%u/#", i);
            assert_int_equal(
                router_bind(&v->router, x[i], fake_filter(&ff, name), q, &(struct binding_opts){0}, &b, &is_new),
                ERR_OK);
            assert_int_equal(router_route(&v->router, x[i], slice_make(name, strlen(name) - 2))->target_n, 1);
            assert_int_equal(router_route(&v->router, x[i ? i - 1 : 0], SLICE("none"))->target_n, 0);
        }
        LIST_EACH(&q->bindings, it)
        router_unbind(&v->router, LIST_ITEM(it, struct binding, in_queue));
        for (unsigned i = 0; i < 20; i++)
            exchange_free(x[i]);
        assert_null(exchange_get(v, SLICE("x3")));
        assert_int_equal(v->router.trie.node_n, nodes);
    }
    fake_free(f);
}

static void out_of_memory(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    for (unsigned i = 0; i < 300; i++) {
        char name[16];
        struct exchange *x = NULL;
        snprintf(name, sizeof(name), "x%u", i);
        for (uint64_t nth = 1;; nth++) {
            uint32_t nodes = v->router.trie.node_n;
            f->heap.fail_at = f->heap.calls + nth;
            enum err e = exchange_declare(v, slice_from_str(name), EXCHANGE_FANOUT, false, &x);
            f->heap.fail_at = 0;
            if (e == ERR_OK)
                break;
            assert_int_equal(e, ERR_NOMEM);
            assert_null(exchange_get(v, slice_from_str(name)));
            assert_int_equal(v->router.trie.node_n, nodes);
        }
        assert_ptr_equal(exchange_get(v, slice_from_str(name)), x);
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in),
        cmocka_unit_test(names),
        cmocka_unit_test(come_and_go),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
