/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_list.c: random pushes, insertions, removals and splices over two lists against arrays of numbers; walks forward
 * and back; removal of the current item during a walk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/list.h"
#include "core/base/rng.h"

#define NODES 30u

struct item {
    int in; /* list number, -1: none */
    struct list_node node;
};

struct env {
    struct list list[2];
    struct item item[NODES];
    struct item *order[2][NODES]; /* the model */
    uint32_t n[2];
};

static void model_insert(struct env *e, int l, uint32_t at, struct item *it)
{
    memmove(&e->order[l][at + 1], &e->order[l][at], (e->n[l] - at) * sizeof(it));
    e->order[l][at] = it;
    e->n[l]++;
    it->in = l;
}

static uint32_t model_at(const struct env *e, const struct item *it)
{
    uint32_t at = 0;
    while (e->order[it->in][at] != it)
        at++;
    return at;
}

static void model_del(struct env *e, struct item *it)
{
    uint32_t at = model_at(e, it);
    int l = it->in;
    e->n[l]--;
    memmove(&e->order[l][at], &e->order[l][at + 1], (e->n[l] - at) * sizeof(it));
    it->in = -1;
}

static void same(struct env *e)
{
    for (int l = 0; l < 2; l++) {
        uint32_t n = 0;
        LIST_EACH(&e->list[l], node)
        assert_ptr_equal(LIST_ITEM(node, struct item, node), e->order[l][n++]);
        assert_int_equal(n, e->n[l]);
        assert_int_equal(list_is_empty(&e->list[l]), n == 0);
        assert_ptr_equal(list_first(&e->list[l]), n ? &e->order[l][0]->node : NULL);
        assert_ptr_equal(list_last(&e->list[l]), n ? &e->order[l][n - 1]->node : NULL);
        const struct list_node *back = list_last(&e->list[l]), *fore = list_first(&e->list[l]);
        for (uint32_t i = 0; i < n; i++) {
            assert_ptr_equal(fore, &e->order[l][i]->node);
            assert_ptr_equal(back, &e->order[l][n - 1 - i]->node);
            fore = list_next(&e->list[l], fore);
            back = list_prev(&e->list[l], back);
        }
        assert_null(fore);
        assert_null(back);
    }
    for (uint32_t i = 0; i < NODES; i++)
        assert_int_equal(list_in(&e->item[i].node), e->item[i].in >= 0);
}

static void step_insert(struct env *e, struct rng *rng, struct item *it)
{
    int l = (int)rng_below(rng, 2);
    uint32_t how = rng_below(rng, 4);
    if (how == 0 || (how > 1 && e->n[l] == 0)) {
        list_push(&e->list[l], &it->node);
        model_insert(e, l, e->n[l], it);
    } else if (how == 1) {
        list_push_front(&e->list[l], &it->node);
        model_insert(e, l, 0, it);
    } else {
        uint32_t at = rng_below(rng, e->n[l]);
        struct list_node *there = &e->order[l][at]->node;
        if (how == 2)
            list_insert_before(there, &it->node);
        else
            list_insert_after(there, &it->node);
        model_insert(e, l, at + (how == 3), it);
    }
}

static void step(struct env *e, struct rng *rng)
{
    struct item *it = &e->item[rng_below(rng, NODES)];
    uint32_t dice = rng_below(rng, 20);
    int l = (int)rng_below(rng, 2);
    if (dice == 0) { /* splice one behind the other */
        list_splice(&e->list[l], &e->list[1 - l]);
        while (e->n[1 - l] != 0) {
            struct item *first = e->order[1 - l][0];
            model_del(e, first);
            model_insert(e, l, e->n[l], first);
        }
    } else if (dice == 1) {
        struct list_node *n = list_pop(&e->list[l]);
        assert_ptr_equal(n, e->n[l] ? &e->order[l][0]->node : NULL);
        if (n != NULL)
            model_del(e, LIST_ITEM(n, struct item, node));
    } else if (it->in < 0) {
        if (dice % 2)
            step_insert(e, rng, it);
        else
            list_del(&it->node); /* harmless */
    } else {
        list_del(&it->node);
        model_del(e, it);
    }
}

static void test_random_against_arrays(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct env e = {0};
        struct rng rng;
        rng_init(&rng, seed);
        for (uint32_t i = 0; i < NODES; i++) {
            e.item[i].in = -1; /* half of the nodes are zero, half point to themselves: both are in no list */
            if (i % 2)
                list_node_init(&e.item[i].node);
        }
        list_init(&e.list[0]);
        list_init(&e.list[1]);
        for (int i = 0; i < 3000; i++) {
            step(&e, &rng);
            same(&e);
        }
    }
}

static void test_current_item_may_go(void **state)
{
    (void)state;
    struct list l, other;
    struct item item[10] = {0};
    list_init(&l);
    list_init(&other);
    for (int i = 0; i < 10; i++)
        list_push(&l, &item[i].node);
    int seen = 0;
    LIST_EACH(&l, n)
    {
        assert_ptr_equal(n, &item[seen].node);
        if (seen % 3 != 0) {
            list_del(n);
            list_push(&other, n);
        }
        seen++;
    }
    assert_int_equal(seen, 10);
    LIST_EACH(&l, n)
    seen--;
    assert_int_equal(seen, 6);
    LIST_EACH(&l, n)
    list_del(n);
    assert_true(list_is_empty(&l));
    assert_null(list_pop(&l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_arrays),
        cmocka_unit_test(test_current_item_may_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
