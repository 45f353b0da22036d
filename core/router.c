/* SPDX-License-Identifier: Apache-2.0 */
/*
 * router.c: who wants this key? Bindings, and the walk that finds them; core/route.c remembers what came of it.
 *
 *     bind    a/+/c → q1                publish a/b/c  walks  a ─┬─ b ─ (no c)
 *     bind    a/#   → q2                                        ├─ + ─ c   = {q1}
 *     bind    a/b/c → q3  (a ─ b ─ c)                           └─ #       = {q2}    and a─b─c = {q3}
 *
 *     exchanges: those found on the way are walked in turn; one that matched nothing hands on to its alternate
 *
 * Invariants
 *   1. A binding is in exactly one node's list and in its target's list; a queue or exchange has at most one per node.
 *      The value of a root node is its exchange, which counts the bindings below it.
 *   2. No code outside this file runs during a walk: results go to match_set.
 *   3. A walk visits each (node, level) at most once: MANY nodes remember from which level on they were covered, so
 *      filters with several MANYs stay linear in nodes times levels.
 *   4. A match visits each exchange once, whatever circles bindings and alternates make.
 *   5. What is no topic, or below $SYS, does not get into a topic exchange from one where peers may publish it.
 * Cost    match: one string hash per level, then one probe per visited node. 48 bytes per binding (64 where peers
 *         declared the exchange), beside the trie's.
 * Thread  own shard only.
 * Spec    MQTT 5 §4.7; first levels with '$' [MQTT-4.7.2-1].
 */
#include "core/router.h"

#include <stdlib.h>

#include "core/exchange.h"
#include "core/queue.h"
#include "core/session.h"
#include "core/shard.h"

enum { WALK_BITS = 24 };

_Static_assert(sizeof(void *) != 8 || sizeof(struct binding) == 48, "a binding is compact");

/* A binding of an exchange that can be deleted, which has to find them all. */
struct outgoing {
    struct list_node in_source; /* exchange->outgoing */
    struct binding binding;
};

void router_init(struct router *r, struct shard *shard, uint32_t cache_max)
{
    *r = (struct router){.shard = shard, .mem = shard_mem(shard, MEM_ROUTER), .gen = 1, .serial_next = 1};
    trie_init(&r->trie, r->mem, shard->seed, TRIE_OF_FILTERS);
    pool_init(&r->bindings, r->mem, sizeof(struct binding));
    pool_init(&r->outgoing, r->mem, sizeof(struct outgoing));
    list_init(&r->ending);
    routes_init(r, cache_max);
}

void router_fini(struct router *r)
{
    BUG_ON(r->binding_n != 0);
    routes_fini(r);
    mem_free(r->mem, r->match.v);
    pool_fini(&r->bindings);
    pool_fini(&r->outgoing);
    trie_fini(&r->trie);
}

/* ---- binding ------------------------------------------------------------------------------------------------ */

static bool fits_kind(const struct exchange *x, const struct filter *f)
{
    switch (x->kind) {
    case EXCHANGE_TOPIC:
        return f->n > 0;
    case EXCHANGE_DIRECT:
        return f->n == 1 && f->tok[0].kind == TOKEN_LITERAL;
    case EXCHANGE_FANOUT:
        return f->n == 0;
    case EXCHANGE_DEFAULT:
        return false; /* queues are reached by name; nothing binds here */
    }
    return false;
}

/* node_find: the binding of `target`, whose bindings are `own`, at this node: both lists are walked in step, so the
 * shorter one bounds the cost (many queues on one topic, or many topics of one queue; both at once is what costs). */
static struct binding *node_find(const struct router *r, trie_at at, const struct list *own, const void *target)
{
    struct binding *b = trie_node(&r->trie, at)->value;
    const struct list_node *it = own->head.next;
    for (; b && it != &own->head; b = b->node_next, it = it->next) {
        struct binding *mine = LIST_ITEM((struct list_node *)(uintptr_t)it, struct binding, in_queue);
        if (mine->node == at)
            return mine;
        if ((const void *)b->queue == target) /* or b->exchange: they share the place, and no two things an address */
            return b;
    }
    return NULL;
}

/* place: where in the trie a filter of x is bound. Everything that reaches a fanout exchange is one node, so that a
 * root never has bindings: its value is the exchange. */
static const struct filter *place(const struct exchange *x, const struct filter *f)
{
    static const struct token many = {.kind = TOKEN_MANY};
    static const struct filter everything = {.tok = &many, .n = 1};
    return x->kind == EXCHANGE_FANOUT ? &everything : f;
}

static struct binding *find(struct router *r, struct exchange *x, const struct filter *f, const struct list *own,
                            const void *target)
{
    trie_at at = fits_kind(x, f) ? trie_find(&r->trie, x->root, place(x, f)) : 0;
    return at ? node_find(r, at, own, target) : NULL;
}

struct binding *router_find(struct router *r, struct exchange *x, const struct filter *f, const struct queue *q)
{
    return find(r, x, f, &q->bindings, q);
}

struct binding *router_find_exchange(struct router *r, struct exchange *x, const struct filter *f,
                                     const struct exchange *to)
{
    return find(r, x, f, &to->bindings, to);
}

struct exchange *router_source(struct router *r, const struct binding *b)
{
    const struct trie_node *node = trie_node(&r->trie, b->node);
    while (node->level != LEVEL_ROOT)
        node = trie_node(&r->trie, node->parent);
    return node->value;
}

static void binding_set_opts(struct binding *b, const struct binding_opts *o)
{
    BUG_ON(o->sub_id >> SUB_ID_BITS != 0 || o->qos > 2 || o->retain_handling > 2);
    b->sub_id = o->sub_id & ((1u << SUB_ID_BITS) - 1);
    b->qos = o->qos & 3u;
    b->retain_handling = o->retain_handling & 3u;
    b->retain_as_published = o->retain_as_published;
    b->no_local = o->no_local;
}

/* binding_take, binding_give: memory for a binding of x. */
static struct binding *binding_take(struct router *r, struct exchange *x)
{
    if (LIKELY(x->is_builtin))
        return pool_take(&r->bindings);
    struct outgoing *o = pool_take(&r->outgoing);
    if (!o)
        return NULL;
    list_push(&x->outgoing, &o->in_source);
    return &o->binding;
}

static void binding_give(struct router *r, const struct exchange *x, struct binding *b)
{
    if (LIKELY(x->is_builtin)) {
        pool_give(&r->bindings, b);
        return;
    }
    struct outgoing *o = CONTAINER_OF(b, struct outgoing, binding);
    list_del(&o->in_source);
    pool_give(&r->outgoing, o);
}

/* bind: finds or makes the binding of `target`, whose bindings are `own`. A new one has no options yet. */
static enum err bind(struct router *r, struct exchange *x, const struct filter *f, struct list *own, void *target,
                     struct binding **out, bool *out_is_new)
{
    if (x->is_dead || !fits_kind(x, f))
        return ERR_INVALID;
    trie_at at = trie_make(&r->trie, x->root, place(x, f));
    if (!at)
        return ERR_NOMEM;
    *out = node_find(r, at, own, target);
    *out_is_new = *out == NULL;
    if (*out)
        return ERR_OK;
    struct binding *b = binding_take(r, x);
    if (!b) {
        trie_release(&r->trie, at);
        return ERR_NOMEM;
    }
    *b = (struct binding){.queue = target};
    b->node = at & ((1u << TRIE_NUMBER_BITS) - 1);
    struct trie_node *node = trie_node(&r->trie, at);
    b->node_next = node->value;
    if (b->node_next)
        b->node_next->node_prev = b;
    node->value = b;
    list_push(own, &b->in_queue);
    x->binding_n++;
    r->binding_n++;
    stat_add(&r->shard->stats, STAT_BINDINGS, 1);
    *out = b;
    return ERR_OK;
}

enum err router_bind(struct router *r, struct exchange *x, const struct filter *f, struct queue *q,
                     const struct binding_opts *opts, struct binding **out, bool *out_is_new)
{
    enum err e = bind(r, x, f, &q->bindings, q, out, out_is_new);
    if (e != ERR_OK)
        return e;
    binding_set_opts(*out, opts);
    router_touch(r);
    return ERR_OK;
}

enum err router_bind_exchange(struct router *r, struct exchange *x, const struct filter *f, struct exchange *to,
                              bool *out_is_new)
{
    struct binding *b;
    if (to->kind == EXCHANGE_DEFAULT || to->is_dead)
        return ERR_INVALID;
    enum err e = bind(r, x, f, &to->bindings, to, &b, out_is_new);
    if (e != ERR_OK || !*out_is_new)
        return e;
    b->queue = NULL;
    b->exchange = to;
    b->to_exchange = 1;
    router_touch(r);
    return ERR_OK;
}

/* end_empty: x lost its last binding and is not kept without. What ends by that is ended here, too, one after the other
 * and not one within the other: chains may be long. */
static void end_empty(struct router *r, struct exchange *x)
{
    if (list_in(&x->ending))
        return;
    list_push(&r->ending, &x->ending);
    if (r->is_ending)
        return;
    r->is_ending = true;
    for (struct list_node *it = list_pop(&r->ending); it; it = list_pop(&r->ending)) {
        struct exchange *gone = LIST_ITEM(it, struct exchange, ending);
        if (gone->durable) /* without memory for this it comes back at the next start, with nothing bound to it */
            (void)shard_append(r->shard, &(struct store_rec){.kind = STORE_EXCHANGE_END, .name = exchange_name(gone)});
        exchange_delete(gone);
    }
    r->is_ending = false;
}

void router_unbind(struct router *r, struct binding *b)
{
    struct exchange *x = router_source(r, b);
    struct trie_node *node = trie_node(&r->trie, b->node);
    if (b->node_prev)
        b->node_prev->node_next = b->node_next;
    else
        node->value = b->node_next;
    if (b->node_next)
        b->node_next->node_prev = b->node_prev;
    list_del(&b->in_queue);
    trie_release(&r->trie, b->node);
    binding_give(r, x, b);
    x->binding_n--;
    r->binding_n--;
    stat_sub(&r->shard->stats, STAT_BINDINGS, 1);
    router_touch(r);
    if (UNLIKELY(x->auto_delete && x->binding_n == 0 && !x->is_dead))
        end_empty(r, x);
}

static void unbind_source(struct router *r, const struct exchange *x, struct list *own)
{
    LIST_EACH(own, it)
    {
        struct binding *b = LIST_ITEM(it, struct binding, in_queue);
        if (router_source(r, b) == x)
            router_unbind(r, b);
    }
}

void router_unbind_from(struct router *r, struct exchange *x)
{
    LIST_EACH(&x->outgoing, it)
    router_unbind(r, &LIST_ITEM(it, struct outgoing, in_source)->binding);
    if (x->binding_n == 0)
        return;
    BUG_ON(!x->is_builtin); /* which goes with its virtual host only */
    LIST_EACH(&x->vhost->queues_all, qit)
    unbind_source(r, x, &LIST_ITEM(qit, struct queue, all)->bindings);
    uint32_t pos = 0;
    const struct map *all = &x->vhost->exchanges;
    for (struct exchange *to = map_next(all, &pos); to; to = map_next(all, &pos))
        unbind_source(r, x, &to->bindings);
    unbind_source(r, x, &x->bindings);
}

/* ---- the walk ----------------------------------------------------------------------------------------------- */

struct walk {
    struct router *r;
    uint32_t n;                    /* levels of the key */
    uint32_t id[TOPIC_LEVELS_MAX]; /* interned numbers, LEVEL_NONE where no filter has that level */
    struct slice key;
    enum exchange_kind split_for; /* how the key is cut into levels now; EXCHANGE_DEFAULT: not at all */
    bool is_dollar;               /* the first level begins with '$' */
    bool is_kept_out;             /* of topic exchanges: no topic, or below $SYS; and it began where that may be */
    bool has_repeat;              /* some queue was met twice */
    bool has_exchange;            /* some exchange was met */
    bool nomem;
};

static void emit(struct walk *w, trie_at at)
{
    struct match_set *m = &w->r->match;
    for (struct binding *b = trie_node(&w->r->trie, at)->value; b; b = b->node_next) {
        if (m->n == m->cap) {
            uint32_t cap = m->cap ? m->cap * 2 : 32;
            struct binding **grown = mem_realloc(w->r->mem, m->v, cap * sizeof(*grown));
            if (!grown) {
                w->nomem = true;
                return;
            }
            m->v = grown;
            m->cap = cap;
        }
        m->v[m->n++] = b;
        if (UNLIKELY(b->to_exchange)) {
            w->has_exchange = true;
            continue;
        }
        if (b->queue->walk == w->r->walk)
            w->has_repeat = true;
        b->queue->walk = w->r->walk;
    }
}

static void walk_many(struct walk *w, trie_at at, uint32_t i);

/* walk_from: `at` matched the first i levels. */
static void walk_from(struct walk *w, trie_at at, uint32_t i)
{
    const struct trie *t = &w->r->trie;
    const struct trie_node *node = trie_node(t, at);
    bool wild = i > 0 || !w->is_dollar; /* both: [MQTT-4.7.2-1] */
    if (node->many && wild)
        walk_many(w, node->many, i);
    if (i == w->n) { /* both: [MQTT-3.3.2-3] only what matched to its end */
        if (node->value)
            emit(w, at);
        return;
    }
    trie_at literal = trie_child(t, at, w->id[i]);
    if (literal)
        walk_from(w, literal, i + 1);
    if (node->one && wild)
        walk_from(w, node->one, i + 1);
}

/* walk_many: a MANY node reached at level i takes every number of further levels. */
static void walk_many(struct walk *w, trie_at at, uint32_t i)
{
    struct trie_node *node = trie_node(&w->r->trie, at);
    uint32_t covered = node->mark >> 8 == w->r->walk ? node->mark & 0xff : w->n + 1; /* levels >= covered are done */
    if (covered <= i)
        return;
    node->mark = w->r->walk << 8 | i;
    if (covered > w->n && node->value)
        emit(w, at);
    if (node->child_n == 0)
        return;
    for (uint32_t j = i; j < covered && j < w->n; j++) {
        trie_at literal = trie_child(&w->r->trie, at, w->id[j]);
        if (literal)
            walk_from(w, literal, j + 1);
        if (node->one)
            walk_from(w, node->one, j + 1);
        if (node->many)
            walk_many(w, node->many, j);
    }
    if (covered > w->n && node->many)
        walk_many(w, node->many, w->n);
}
_Static_assert(TOPIC_LEVELS_MAX < 255, "a level number fits the low byte of a mark");

/* walk_begin: a fresh number; when the numbers run out, old marks are wiped so that none can look new. */
static void walk_begin(struct router *r)
{
    if (++r->walk < 1u << WALK_BITS)
        return;
    r->walk = 1;
    for (trie_at at = 1; at < r->trie.node_next; at++)
        trie_node(&r->trie, at)->mark = 0;
    LIST_EACH(&r->shard->vhost->queues_all, it)
    LIST_ITEM(it, struct queue, all)->walk = 0;
    uint32_t pos = 0;
    const struct map *exchanges = &r->shard->vhost->exchanges;
    for (struct exchange *x = map_next(exchanges, &pos); x; x = map_next(exchanges, &pos))
        x->walk = 0;
}

/* split_key: the key's levels for an exchange of this kind. False: none has so many. */
static bool split_key(struct walk *w, enum exchange_kind kind)
{
    const struct trie *t = &w->r->trie;
    if (w->split_for == kind)
        return w->n <= TOPIC_LEVELS_MAX;
    w->split_for = kind;
    w->n = 0;
    w->is_dollar = kind == EXCHANGE_TOPIC && w->key.len > 0 && w->key.p[0] == '$';
    if (kind == EXCHANGE_DIRECT) {
        w->id[w->n++] = trie_level_find(t, w->key);
        return true;
    }
    bool at_end = false;
    struct slice level, rest = w->key;
    while (topic_next_level(&rest, &at_end, &level)) { /* both: [MQTT-4.7.3-4] levels are compared byte for byte */
        if (w->n == TOPIC_LEVELS_MAX) {
            w->n++;
            return false;
        }
        w->id[w->n++] = trie_level_find(t, level);
    }
    return true;
}

static void walk_exchange(struct walk *w, const struct exchange *x)
{
    if (x->kind == EXCHANGE_FANOUT) {
        trie_at everything = trie_node(&w->r->trie, x->root)->many;
        if (everything)
            emit(w, everything);
    } else if (split_key(w, x->kind)) {
        walk_from(w, x->root, 0);
    }
}

/* visit: what x matches; if that is nothing, what its alternate exchange does, and so on. */
static void visit(struct walk *w, struct exchange *x)
{
    struct router *r = w->r;
    while (x && x->walk != r->walk) {
        uint32_t had = r->match.n;
        x->walk = r->walk;
        if (!w->is_kept_out || x->kind != EXCHANGE_TOPIC)
            walk_exchange(w, x);
        if (r->match.n != had || w->nomem)
            return;
        struct slice alternate = exchange_alternate(x);
        x = alternate.len ? exchange_get(x->vhost, alternate) : NULL;
    }
}

/* only_queues: takes the exchanges out of a match again. */
static void only_queues(struct match_set *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n; i++)
        if (!m->v[i]->to_exchange)
            m->v[n++] = m->v[i];
    m->n = n;
}

static int by_queue(const void *a, const void *b)
{
    const struct binding *x = *(struct binding *const *)a, *y = *(struct binding *const *)b;
    return (x->queue->number > y->queue->number) - (x->queue->number < y->queue->number);
}

enum err router_match(struct router *r, struct exchange *x, struct slice key)
{
    struct walk w;
    w.r = r;
    w.key = key;
    w.split_for = EXCHANGE_DEFAULT;
    w.is_kept_out = x->kind != EXCHANGE_TOPIC && (topic_is_sys(key) || !topic_is_name(key));
    w.has_repeat = w.has_exchange = w.nomem = false;
    r->match.n = 0;
    if (x->kind == EXCHANGE_DEFAULT || x->is_dead)
        return ERR_OK;
    walk_begin(r);
    visit(&w, x);
    for (uint32_t i = 0; w.has_exchange && i < r->match.n; i++)
        if (r->match.v[i]->to_exchange)
            visit(&w, r->match.v[i]->exchange);
    if (w.has_exchange)
        only_queues(&r->match);
    if (w.has_repeat)
        qsort(r->match.v, r->match.n, sizeof(struct binding *), by_queue);
    return w.nomem ? ERR_NOMEM : ERR_OK;
}

/* ---- for tests ---------------------------------------------------------------------------------------------- */

/* check_list: the bindings of one target; returns how many. */
static uint64_t check_list(const struct router *r, const struct list *own, const void *target, bool is_exchange)
{
    uint64_t n = 0;
    LIST_EACH(own, it)
    {
        struct binding *b = LIST_ITEM(it, struct binding, in_queue);
        BUG_ON((const void *)b->queue != target || b->to_exchange != is_exchange);
        BUG_ON(node_find(r, b->node, own, target) != b);
        BUG_ON(b->node_next && b->node_next->node_prev != b);
        n++;
    }
    return n;
}

void router_check(const struct router *r)
{
    uint64_t n = 0, source_n = 0;
    LIST_EACH(&r->shard->vhost->queues_all, it)
    {
        struct queue *q = LIST_ITEM(it, struct queue, all);
        n += check_list(r, &q->bindings, q, false);
    }
    uint32_t pos = 0;
    const struct map *exchanges = &r->shard->vhost->exchanges;
    for (struct exchange *x = map_next(exchanges, &pos); x; x = map_next(exchanges, &pos)) {
        uint32_t outgoing_n = 0;
        n += check_list(r, &x->bindings, x, true);
        BUG_ON(x->is_dead || trie_node(&r->trie, x->root)->value != x);
        LIST_EACH(&x->outgoing, oit)
        outgoing_n++;
        BUG_ON(outgoing_n != (x->is_builtin ? 0 : x->binding_n));
        source_n += x->binding_n;
    }
    BUG_ON(n != r->binding_n || source_n != n || !list_is_empty(&r->ending));
}
