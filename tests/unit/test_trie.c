/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_trie.c: the trie against a model that is nothing but strings, plus a look at every node's links after each step.
 *
 * The model keeps the set of paths that have a value or pins; from it follows exactly which nodes may exist: the
 * prefixes of those paths. Both kinds of trie; in one of topics + and # are levels like others. Levels are shorter, as
 * long as and longer than what fits inline; tables grow through all their sizes; every allocation of a scenario is made
 * to fail once.
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
#include "core/trie.h"

enum { PATHS = 160, TEXT_MAX = 160 };

struct path {
    char text[TEXT_MAX];
    bool has_value;
    uint32_t pins;
    trie_at at;
};

struct env {
    struct mem_heap heap;
    struct mem mem;
    struct trie t;
    trie_at root;
    struct rng r;
    struct path path[PATHS];
};

static void env_init(struct env *v, uint64_t seed, enum trie_kind kind)
{
    memset(v, 0, sizeof(*v));
    mem_heap_init(&v->heap);
    mem_init(&v->mem, &v->heap, "trie");
    rng_init(&v->r, seed);
    trie_init(&v->t, &v->mem, seed, kind);
    v->root = trie_root(&v->t);
    assert_int_not_equal(v->root, 0);
}

static void env_fini(struct env *v)
{
    trie_fini(&v->t);
    assert_int_equal(v->heap.bytes, 0);
}

static void to_filter(const char *text, struct token *tok, struct filter *f)
{
    assert_int_equal(filter_from_mqtt(slice_from_str(text), tok, f), ERR_OK);
}

static trie_at find(struct env *v, const char *text)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter f;
    if (v->t.kind == TRIE_OF_TOPICS)
        return trie_find_topic(&v->t, v->root, slice_from_str(text));
    to_filter(text, tok, &f);
    return trie_find(&v->t, v->root, &f);
}

static trie_at make(struct env *v, const char *text)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter f;
    if (v->t.kind == TRIE_OF_TOPICS)
        return trie_make_topic(&v->t, v->root, slice_from_str(text));
    to_filter(text, tok, &f);
    return trie_make(&v->t, v->root, &f);
}

/* any_text: few enough spellings that paths share prefixes; lengths on both sides of the inline size of a level. */
static void any_text(struct rng *r, char *out)
{
    static const char *const level[] = {
        "a",  "b",         "",           "+",           "#",           "c1",
        "$x", "ninebytes", "tenbytes10", "elevenbytes", "elevenbytez", "a-level-that-is-much-longer"};
    uint32_t n = 1 + rng_below(r, 5);
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const char *s = level[rng_below(r, ARRAY_N(level))];
        at += (size_t)snprintf(out + at, TEXT_MAX - at, "%s%s", i ? "/" : "", s);
    }
}

/* ---- looking at every node ----------------------------------------------------------------------------------- */

static uint32_t children[100000]; /* of each node, by its number */

/* look_at: one node's place under its parent. */
static void look_at(const struct trie *t, trie_at at)
{
    const struct trie_node *n = trie_node(t, at), *up = n->level == LEVEL_ROOT ? NULL : trie_node(t, n->parent);
    if (!up)
        return;
    children[n->parent]++;
    assert_int_not_equal(up->level, LEVEL_NONE);
    if (n->level == LEVEL_ONE || n->level == LEVEL_MANY) {
        assert_int_equal(t->kind, TRIE_OF_FILTERS);
        assert_int_equal(n->level == LEVEL_ONE ? up->one : up->many, at);
        return;
    }
    assert_int_equal(trie_child(t, n->parent, n->level), at);
    assert_int_equal(trie_level_find(t, trie_level_bytes(t, n->level)), n->level);
}

/* look_in_order: the list of a topic node's children is all of them, marks rising. */
static void look_in_order(const struct trie *t, trie_at at)
{
    uint32_t n = 0;
    trie_at last = 0;
    for (trie_at c = trie_node(t, at)->child_first; c; last = c, c = trie_node(t, c)->sib_next, n++) {
        assert_int_equal(trie_node(t, c)->parent, at);
        assert_true(last == 0 || trie_node(t, last)->mark < trie_node(t, c)->mark);
    }
    assert_int_equal(n, children[at]);
}

static void look_at_slots(const struct trie_slots *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->cap; i++)
        n += s->v[i] != 0;
    assert_int_equal(n, s->n);
    assert_true(s->n * 4 <= s->cap * 3);
}

static void look(const struct trie *t)
{
    uint32_t nodes = 0, literals = 0;
    assert_true(t->node_next <= ARRAY_N(children));
    memset(children, 0, t->node_next * sizeof(children[0]));
    for (trie_at at = 1; at < t->node_next; at++) {
        uint32_t level = trie_node(t, at)->level;
        if (level == LEVEL_NONE)
            continue;
        nodes++;
        literals += level > LEVEL_MANY;
        look_at(t, at);
    }
    for (trie_at at = 1; at < t->node_next; at++) {
        const struct trie_node *n = trie_node(t, at);
        if (n->level == LEVEL_NONE)
            continue;
        assert_true(n->child_n >= children[at]); /* the rest are pins */
        assert_true(n->child_n > 0 || n->value); /* a useless node does not exist */
        if (t->kind == TRIE_OF_TOPICS)
            look_in_order(t, at);
    }
    assert_int_equal(nodes, t->node_n);
    assert_int_equal(literals, t->edges.n);
    assert_true(t->level_slots.n <= literals);
    look_at_slots(&t->edges);
    look_at_slots(&t->level_slots);
}

static bool model_has(const struct env *v, const char *text)
{
    size_t n = strlen(text);
    for (unsigned i = 0; i < PATHS; i++) {
        const struct path *p = &v->path[i];
        if ((p->has_value || p->pins) && strncmp(p->text, text, n) == 0 && (p->text[n] == 0 || p->text[n] == '/'))
            return true;
    }
    return false;
}

static struct path *model_get(struct env *v, const char *text)
{
    struct path *spare = NULL;
    for (unsigned i = 0; i < PATHS; i++) {
        struct path *p = &v->path[i];
        if (!p->has_value && !p->pins)
            spare = p;
        else if (strcmp(p->text, text) == 0)
            return p;
    }
    return spare;
}

static void step(struct env *v)
{
    char text[TEXT_MAX];
    any_text(&v->r, text);
    trie_at at = find(v, text);
    assert_int_equal(at != 0, model_has(v, text));
    struct path *p = model_get(v, text);
    if (!p)
        return;
    bool known = (p->has_value || p->pins) && strcmp(p->text, text) == 0;
    if (known)
        assert_int_equal(at, p->at);
    switch (rng_below(&v->r, 5)) {
    case 0:
    case 1:
        p->at = make(v, text);
        assert_true(p->at != 0 && (at == 0 || at == p->at));
        memcpy(p->text, text, TEXT_MAX);
        p->has_value = true;
        trie_node(&v->t, p->at)->value = p;
        break;
    case 2:
        p->at = make(v, text);
        memcpy(p->text, text, TEXT_MAX);
        trie_pin(&v->t, p->at);
        p->pins++;
        break;
    case 3:
        if (known && p->has_value) {
            trie_node(&v->t, at)->value = NULL;
            p->has_value = false;
            trie_release(&v->t, at);
        }
        break;
    default:
        if (known && p->pins) {
            p->pins--;
            trie_unpin(&v->t, at);
        }
        break;
    }
}

static void clear(struct env *v)
{
    for (unsigned i = 0; i < PATHS; i++) {
        struct path *p = &v->path[i];
        for (; p->pins; p->pins--)
            trie_unpin(&v->t, p->at);
        if (p->has_value) {
            trie_node(&v->t, p->at)->value = NULL;
            trie_release(&v->t, p->at);
        }
        p->has_value = false;
    }
}

static void against_strings(void **state)
{
    (void)state;
    static struct env v;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        env_init(&v, seed, seed % 2 ? TRIE_OF_TOPICS : TRIE_OF_FILTERS);
        for (unsigned i = 0; i < 15000; i++) {
            step(&v);
            if (i % 7 == 0)
                look(&v.t);
        }
        clear(&v);
        look(&v.t);
        assert_int_equal(v.t.node_n, 1);
        assert_int_equal(v.t.edges.n, 0);
        assert_int_equal(v.t.level_slots.n, 0);
        trie_unpin(&v.t, v.root);
        assert_int_equal(v.t.node_n, 0);
        env_fini(&v);
    }
}

static void paths_read_back(void **state)
{
    (void)state;
    static struct env v;
    struct buf b;
    env_init(&v, 3, TRIE_OF_FILTERS);
    buf_init(&b, &v.mem);
    for (unsigned i = 0; i < 3000; i++) {
        char text[TEXT_MAX];
        any_text(&v.r, text);
        trie_at at = make(&v, text);
        buf_clear(&b);
        trie_path(&v.t, at, &b);
        assert_true(slice_eq_str(buf_slice(&b), text));
        trie_release(&v.t, at);
    }
    char deep[2 * TOPIC_LEVELS_MAX];
    for (unsigned i = 0; i < TOPIC_LEVELS_MAX; i++)
        deep[2 * i] = (char)('a' + i % 26), deep[2 * i + 1] = '/';
    deep[2 * TOPIC_LEVELS_MAX - 1] = 0;
    trie_at at = make(&v, deep);
    buf_clear(&b);
    trie_path(&v.t, at, &b);
    assert_true(slice_eq_str(buf_slice(&b), deep));
    trie_release(&v.t, at);
    assert_int_equal(v.t.node_n, 1);
    buf_fini(&b);
    env_fini(&v);
}

/* a topic's levels are all literal: "+" as a level of a topic is not the wildcard. */
static void topics_are_literal(void **state)
{
    (void)state;
    static struct env v;
    env_init(&v, 4, TRIE_OF_FILTERS);
    trie_at wild = make(&v, "a/+/#"), plain = trie_make_topic(&v.t, v.root, SLICE("a/+/#"));
    trie_node(&v.t, wild)->value = &v;
    trie_node(&v.t, plain)->value = &v;
    assert_int_not_equal(wild, plain);
    assert_int_equal(trie_find_topic(&v.t, v.root, SLICE("a/+/#")), plain);
    assert_int_equal(find(&v, "a/+/#"), wild);
    assert_int_equal(trie_find_topic(&v.t, v.root, SLICE("a/+")), trie_node(&v.t, plain)->parent);
    assert_int_equal(trie_find_topic(&v.t, v.root, SLICE("")), 0);
    trie_at empty = trie_make_topic(&v.t, v.root, SLICE(""));
    assert_int_equal(trie_find_topic(&v.t, v.root, SLICE("")), empty);
    assert_int_equal(trie_find_topic(&v.t, v.root, SLICE("/")), 0);
    env_fini(&v);
}

static void children_are_in_order_of_creation(void **state)
{
    (void)state;
    enum { N = 500 };
    static struct env v;
    static bool alive[N];
    static uint32_t order[100000];
    static trie_at at[N];
    uint32_t next = 0;
    env_init(&v, 5, TRIE_OF_TOPICS);
    memset(alive, 0, sizeof(alive));
    uint32_t born[N] = {0};
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t k = rng_below(&v.r, N);
        char text[32];
        snprintf(text, sizeof(text), "p/%u", k);
        if (!alive[k]) {
            at[k] = make(&v, text);
            trie_node(&v.t, at[k])->value = &alive[k];
            born[k] = ++next;
            order[next] = k;
        } else {
            trie_node(&v.t, at[k])->value = NULL;
            trie_release(&v.t, at[k]);
        }
        alive[k] = !alive[k];
    }
    uint32_t last = 0, n = 0;
    trie_at p = find(&v, "p");
    for (trie_at c = trie_node(&v.t, p)->child_first; c; c = trie_node(&v.t, c)->sib_next, n++) {
        uint32_t k = (uint32_t)((bool *)trie_node(&v.t, c)->value - alive);
        assert_true(born[k] > last);
        last = born[k];
        assert_int_equal(order[last], k);
    }
    for (uint32_t k = 0; k < N; k++)
        n -= alive[k];
    assert_int_equal(n, 0);
    env_fini(&v);
}

static void a_pin_keeps_the_place(void **state)
{
    (void)state;
    static struct env v;
    env_init(&v, 6, TRIE_OF_TOPICS);
    trie_at at = make(&v, "x/y/z"), up = trie_node(&v.t, at)->parent;
    trie_pin(&v.t, at);
    trie_pin(&v.t, at);
    trie_release(&v.t, at);
    assert_int_equal(find(&v, "x/y/z"), at);
    trie_unpin(&v.t, at);
    assert_int_equal(find(&v, "x/y/z"), at);
    trie_node(&v.t, at)->value = &v;
    trie_unpin(&v.t, at);
    assert_int_equal(find(&v, "x/y/z"), at);
    trie_pin(&v.t, up);
    trie_node(&v.t, at)->value = NULL;
    trie_release(&v.t, at);
    assert_int_equal(find(&v, "x/y/z"), 0);
    assert_int_equal(find(&v, "x/y"), up);
    trie_unpin(&v.t, up);
    assert_int_equal(find(&v, "x"), 0);
    assert_int_equal(v.t.node_n, 1);
    env_fini(&v);
}

/* tables grow through all their sizes and back: numbers stay valid. */
static void grow(enum trie_kind kind)
{
    enum { N = 40000 };
    static struct env v;
    static trie_at at[N];
    env_init(&v, 7, kind);
    for (unsigned i = 0; i < N; i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s%u/%u/+", i % 3 ? "" : "a-long-first-level-", i % 200, i);
        at[i] = make(&v, text);
        assert_int_not_equal(at[i], 0);
        trie_node(&v.t, at[i])->value = &at[i];
    }
    look(&v.t);
    for (unsigned i = 0; i < N; i++) {
        unsigned k = (i * 7919u) % N;
        char text[64];
        snprintf(text, sizeof(text), "%s%u/%u/+", k % 3 ? "" : "a-long-first-level-", k % 200, k);
        assert_int_equal(find(&v, text), at[k]);
        assert_ptr_equal(trie_node(&v.t, at[k])->value, &at[k]);
        trie_node(&v.t, at[k])->value = NULL;
        trie_release(&v.t, at[k]);
        if (i % 4000 == 0)
            look(&v.t);
    }
    assert_int_equal(v.t.node_n, 1);
    assert_int_equal(v.t.level_slots.n, 0);
    uint64_t calls = v.heap.calls; /* what was grown is used again */
    trie_at again = make(&v, "1/2/+");
    assert_int_equal(v.heap.calls, calls);
    trie_release(&v.t, again);
    env_fini(&v);
}

static void growth(void **state)
{
    (void)state;
    grow(TRIE_OF_TOPICS);
    grow(TRIE_OF_FILTERS);
}

static void a_level_of_any_length(void **state)
{
    (void)state;
    static struct env v;
    static char text[TOPIC_BYTES_MAX + 1];
    env_init(&v, 8, TRIE_OF_TOPICS);
    memset(text, 'x', sizeof(text));
    static const size_t len[] = {0, 1, 2, 3, 9, 10, 11, 12, 16, 255, 256, 65534, 65535};
    trie_at at[ARRAY_N(len)];
    for (size_t i = 0; i < ARRAY_N(len); i++) {
        at[i] = trie_make_topic(&v.t, v.root, slice_make(text, len[i]));
        trie_node(&v.t, at[i])->value = &v;
        assert_int_equal(trie_level_bytes(&v.t, trie_node(&v.t, at[i])->level).len, len[i]);
    }
    for (size_t i = 0; i < ARRAY_N(len); i++) {
        assert_int_equal(trie_find_topic(&v.t, v.root, slice_make(text, len[i])), at[i]);
        if (i % 2) {
            trie_node(&v.t, at[i])->value = NULL;
            trie_release(&v.t, at[i]);
        }
    }
    look(&v.t);
    env_fini(&v); /* with long levels living: fini frees them */
}

/* fail call 1, 2, 3 ...: a failed trie_make changes nothing, and everything is freed in the end. */
static bool scenario(struct env *v, uint64_t fail_at, enum trie_kind kind)
{
    bool failed = false;
    mem_heap_init(&v->heap);
    mem_init(&v->mem, &v->heap, "trie");
    rng_init(&v->r, 11);
    v->heap.fail_at = fail_at;
    trie_init(&v->t, &v->mem, 11, kind);
    v->root = trie_root(&v->t);
    if (!v->root) {
        env_fini(v);
        return true;
    }
    for (unsigned i = 0; i < 400; i++) {
        char text[TEXT_MAX];
        snprintf(text, sizeof(text), i % 2 ? "%u/another-long-level-%u/+/%u/#" : "%u/%u/%u", i % 9, i, i % 50);
        uint32_t nodes = v->t.node_n, edges = v->t.edges.n, levels = v->t.level_slots.n;
        trie_at at = make(v, text);
        if (!at) {
            failed = true;
            assert_int_equal(v->t.node_n, nodes);
            assert_int_equal(v->t.edges.n, edges);
            assert_int_equal(v->t.level_slots.n, levels);
            look(&v->t);
            at = make(v, text); /* memory is back */
        }
        assert_int_not_equal(at, 0);
        trie_node(&v->t, at)->value = v;
    }
    look(&v->t);
    env_fini(v);
    return failed;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    static struct env v;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t n = 1;
        while (scenario(&v, n, i ? TRIE_OF_TOPICS : TRIE_OF_FILTERS))
            n++;
        assert_true(n > 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_strings),       cmocka_unit_test(paths_read_back),
        cmocka_unit_test(topics_are_literal),    cmocka_unit_test(children_are_in_order_of_creation),
        cmocka_unit_test(a_pin_keeps_the_place), cmocka_unit_test(growth),
        cmocka_unit_test(a_level_of_any_length), cmocka_unit_test(every_allocation_fails_once),
    };
    return cmocka_run_group_tests_name("trie", tests, NULL, NULL);
}
