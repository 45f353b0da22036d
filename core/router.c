/* SPDX-License-Identifier: Apache-2.0 */
/*
 * router.c: who wants this key?
 *
 *     bind    a/+/c → q1                publish a/b/c  walks  a ─┬─ b ─ (no c)
 *     bind    a/#   → q2                                        ├─ + ─ c   = {q1}
 *     bind    a/b/c → q3  (a ─ b ─ c)                           └─ #       = {q2}    and a─b─c = {q3}
 *
 *     router_route(key):  same hash in the 2-way cache, generation equal ─► done
 *                         else walk ─► bindings ─► merged per queue into targets ─► remembered
 *
 * Invariants
 *   1. A binding is in exactly one node's list and in its queue's list; a queue has at most one binding per node.
 *   2. No code outside this file runs during a walk: results go to match_set.
 *   3. A walk visits each (node, level) at most once: MANY nodes remember from which level on they were covered, so
 *      filters with several MANYs stay linear in nodes times levels.
 *   4. A route is valid while its generation equals the router's. Routes are refilled, never freed: a connection may
 *      keep a pointer and compare serials.
 * Cost    match: one string hash per level, then one probe per visited node; a cached route costs one hash of the key.
 *         48 bytes per binding, beside the trie's; 128 per cached topic of up to 48 bytes with one target, and 8 to 16
 *         of table.
 * Thread  own shard only.
 * Spec    MQTT 5 §4.7; first levels with '$' [MQTT-4.7.2-1]; overlapping subscriptions [MQTT-3.3.4-2], [MQTT-3.3.4-3].
 */
#include "core/router.h"

#include <stdlib.h>

#include "core/base/hash.h"
#include "core/exchange.h"
#include "core/queue.h"
#include "core/session.h"
#include "core/shard.h"

enum { CACHE_FIRST = 64, WALK_BITS = 24 };

_Static_assert(sizeof(void *) != 8 || sizeof(struct binding) == 48, "a binding is compact");
_Static_assert(sizeof(void *) != 8 || sizeof(struct route) == 128, "a route is two cache lines");

static void route_init(struct route *route)
{
    *route = (struct route){.target_cap = 1, .topic_cap = ROUTE_NEAR_BYTES};
    route->target = &route->first;
    route->topic = route->near;
}

static void route_fini(struct router *r, struct route *route)
{
    if (route->target != &route->first)
        mem_free(r->mem, route->target);
    if (route->topic != route->near)
        mem_free(r->mem, route->topic);
}

void router_init(struct router *r, struct shard *shard, uint32_t cache_max)
{
    uint32_t max = CACHE_FIRST; /* a power of two, for the masks */
    while (max * 2 <= cache_max)
        max *= 2;
    *r = (struct router){
        .shard = shard, .mem = shard_mem(shard, MEM_ROUTER), .cache_max = max, .gen = 1, .serial_next = 1};
    trie_init(&r->trie, r->mem, shard->seed, TRIE_OF_FILTERS);
    pool_init(&r->bindings, r->mem, sizeof(struct binding));
    pool_init(&r->routes, r->mem, sizeof(struct route));
    route_init(&r->scratch);
}

void router_fini(struct router *r)
{
    BUG_ON(r->binding_n != 0);
    for (uint32_t i = 0; i < r->cache_n; i++) {
        if (r->cache[i].route) {
            route_fini(r, r->cache[i].route);
            pool_give(&r->routes, r->cache[i].route);
        }
    }
    route_fini(r, &r->scratch);
    mem_free(r->mem, r->cache);
    mem_free(r->mem, r->match.v);
    mem_free(r->mem, r->ids);
    pool_fini(&r->bindings);
    pool_fini(&r->routes);
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

/* node_find: q's binding at this node: both lists are walked in step, so the shorter one bounds the cost (many queues
 * on one topic, or many topics of one queue; both at once is what costs). */
static struct binding *node_find(const struct router *r, trie_at at, const struct queue *q)
{
    struct binding *b = trie_node(&r->trie, at)->value;
    const struct list_node *it = q->bindings.head.next;
    for (; b && it != &q->bindings.head; b = b->node_next, it = it->next) {
        struct binding *own = LIST_ITEM((struct list_node *)(uintptr_t)it, struct binding, in_queue);
        if (own->node == at)
            return own;
        if (b->queue == q)
            return b;
    }
    return NULL;
}

struct binding *router_find(struct router *r, struct exchange *x, const struct filter *f, const struct queue *q)
{
    trie_at at = fits_kind(x, f) ? trie_find(&r->trie, x->root, f) : 0;
    return at ? node_find(r, at, q) : NULL;
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

enum err router_bind(struct router *r, struct exchange *x, const struct filter *f, struct queue *q,
                     const struct binding_opts *opts, struct binding **out, bool *out_is_new)
{
    if (!fits_kind(x, f))
        return ERR_INVALID;
    trie_at at = trie_make(&r->trie, x->root, f);
    if (!at)
        return ERR_NOMEM;
    struct binding *b = node_find(r, at, q);
    *out_is_new = b == NULL;
    if (!b) {
        b = pool_take(&r->bindings);
        if (!b) {
            trie_release(&r->trie, at);
            return ERR_NOMEM;
        }
        *b = (struct binding){.queue = q};
        b->node = at & ((1u << TRIE_NUMBER_BITS) - 1);
        struct trie_node *node = trie_node(&r->trie, at);
        b->node_next = node->value;
        if (b->node_next)
            b->node_next->node_prev = b;
        node->value = b;
        list_push(&q->bindings, &b->in_queue);
        r->binding_n++;
        stat_add(&r->shard->stats, STAT_BINDINGS, 1);
    }
    binding_set_opts(b, opts);
    router_touch(r);
    *out = b;
    return ERR_OK;
}

void router_unbind(struct router *r, struct binding *b)
{
    struct trie_node *node = trie_node(&r->trie, b->node);
    if (b->node_prev)
        b->node_prev->node_next = b->node_next;
    else
        node->value = b->node_next;
    if (b->node_next)
        b->node_next->node_prev = b->node_prev;
    list_del(&b->in_queue);
    trie_release(&r->trie, b->node);
    pool_give(&r->bindings, b);
    r->binding_n--;
    stat_sub(&r->shard->stats, STAT_BINDINGS, 1);
    router_touch(r);
}

/* ---- the walk ----------------------------------------------------------------------------------------------- */

struct walk {
    struct router *r;
    uint32_t n;                    /* levels of the key */
    uint32_t id[TOPIC_LEVELS_MAX]; /* interned numbers, LEVEL_NONE where no filter has that level */
    bool is_dollar;                /* the first level begins with '$' */
    bool has_repeat;               /* some queue was met twice */
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
        if (b->queue->walk == w->r->walk)
            w->has_repeat = true;
        b->queue->walk = w->r->walk;
        m->v[m->n++] = b;
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
}

static bool split_key(struct walk *w, struct exchange *x, struct slice key)
{
    const struct trie *t = &w->r->trie;
    w->is_dollar = x->kind == EXCHANGE_TOPIC && key.len > 0 && key.p[0] == '$';
    if (x->kind == EXCHANGE_FANOUT)
        return true;
    if (x->kind == EXCHANGE_DIRECT) {
        w->id[w->n++] = trie_level_find(t, key);
        return true;
    }
    bool at_end = false;
    struct slice level;
    while (topic_next_level(&key, &at_end, &level)) { /* both: [MQTT-4.7.3-4] levels are compared byte for byte */
        if (w->n == TOPIC_LEVELS_MAX)
            return false;
        w->id[w->n++] = trie_level_find(t, level);
    }
    return true;
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
    w.n = 0;
    w.has_repeat = w.nomem = false;
    r->match.n = 0;
    if (x->kind == EXCHANGE_DEFAULT || !split_key(&w, x, key))
        return ERR_OK;
    walk_begin(r);
    walk_from(&w, x->root, 0);
    if (w.has_repeat)
        qsort(r->match.v, r->match.n, sizeof(struct binding *), by_queue);
    return w.nomem ? ERR_NOMEM : ERR_OK;
}

/* ---- routes ------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

#define SET_NOTHING (UINT32_MAX - 1)
enum {
    SUB_IDS_MAX = UINT16_MAX
}; /* what a binding set can hold; matching subscriptions of one session beyond it lose theirs */

static bool ids_grow(struct router *r, uint32_t n)
{
    if (n <= r->ids_cap)
        return true;
    uint32_t *grown = mem_realloc(r->mem, r->ids, n * sizeof *grown);
    if (!grown)
        return false;
    r->ids = grown;
    r->ids_cap = n;
    return true;
}

/* merge: the binding set of b[0..n), all of one queue; no-local ones are left out if `skip_no_local`. UINT32_MAX: out
 * of memory. *out_qos is only set when something is left; returns SET_NOTHING otherwise. */
static uint32_t merge(struct router *r, struct binding **b, uint32_t n, bool skip_no_local, uint8_t *out_qos)
{
    uint32_t id_n = 0, left = 0;
    uint8_t qos = 0;
    bool rap = false;
    if (!ids_grow(r, n))
        return UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        if (skip_no_local && b[i]->no_local)
            continue;
        left++;
        qos = MAX(qos, b[i]->qos); /* [MQTT-3.3.4-2]; 3.1.1: [MQTT-3.3.5-1]. The highest of the overlapping ones */
        rap |= b[i]->retain_as_published;
        if (b[i]->sub_id && id_n < SUB_IDS_MAX)
            r->ids[id_n++] = b[i]->sub_id; /* [MQTT-3.3.4-3], [MQTT-3.3.4-4] all of them */
    }
    if (left == 0)
        return SET_NOTHING;
    *out_qos = qos;
    if (id_n == 0)
        return qos + (rap ? 3u : 0u);
    qsort(r->ids, id_n, sizeof *r->ids, by_number);
    return queue_set_intern(b[0]->queue, qos, rap, r->ids, (uint16_t)id_n);
}

bool router_merge_for(struct router *r, struct exchange *x, struct slice key, struct queue *q, uint32_t *out_set,
                      uint8_t *out_qos)
{
    if (router_match(r, x, key) != ERR_OK)
        return false;
    for (uint32_t i = 0; i < r->match.n; i++) {
        if (r->match.v[i]->queue != q)
            continue;
        uint32_t n = 1;
        while (i + n < r->match.n && r->match.v[i + n]->queue == q)
            n++;
        *out_set = merge(r, r->match.v + i, n, true, out_qos);
        return *out_set < SET_NOTHING;
    }
    return false;
}

static bool target_add(struct router *r, struct route *route, const struct target *t)
{
    if (route->target_n == route->target_cap) {
        uint32_t cap = route->target_cap * 2;
        struct target *had = route->target == &route->first ? NULL : route->target;
        struct target *grown = mem_realloc(r->mem, had, cap * sizeof *grown);
        if (!grown)
            return false;
        if (!had)
            grown[0] = route->first;
        route->target = grown;
        route->target_cap = cap;
    }
    route->target[route->target_n++] = *t;
    const struct queue *q = t->queue;
    route->has_refuse |= q->policy->overflow == OVERFLOW_REJECT;
    route->has_durable |= queue_is_durable(q);
    return true;
}

static bool fill_by_name(struct router *r, struct route *route, struct exchange *x, struct slice key)
{
    struct queue *q = map_get(&x->vhost->queues, key);
    if (!q)
        return true;
    return target_add(r, route, &(struct target){.queue = q, .set = 2, .qos = 2});
}

static bool fill_by_match(struct router *r, struct route *route, struct exchange *x, struct slice key)
{
    if (router_match(r, x, key) != ERR_OK)
        return false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->match.n; i += n) {
        struct binding **b = r->match.v + i;
        struct target t = {.queue = b[0]->queue};
        for (n = 0; i + n < r->match.n && b[n]->queue == t.queue; n++)
            t.has_no_local |= b[n]->no_local;
        t.set = merge(r, b, n, false, &t.qos);
        if (t.set == UINT32_MAX || !target_add(r, route, &t))
            return false;
    }
    return true;
}

/* route_name: remembers what key the route is for. */
static bool route_name(struct router *r, struct route *route, struct slice key)
{
    route->topic_len = 0;
    if (route->topic_cap < key.len) {
        uint8_t *grown = mem_realloc(r->mem, route->topic == route->near ? NULL : route->topic, key.len);
        if (!grown)
            return false;
        route->topic = grown;
        route->topic_cap = (uint32_t)key.len;
    }
    if (key.len)
        memcpy(route->topic, key.p, key.len);
    route->topic_len = (uint32_t)key.len;
    return true;
}

static bool route_fill(struct router *r, struct route *route, struct exchange *x, struct slice key, uint64_t hash)
{
    route->gen = 0; /* not valid until complete */
    route->serial = r->serial_next++;
    route->target_n = 0;
    route->has_refuse = route->has_durable = false;
    if (!route_name(r, route, key))
        return false;
    route->exchange = x;
    route->hash = hash;
    for (;;) {
        uint64_t gen = r->gen;
        if (!(x->kind == EXCHANGE_DEFAULT ? fill_by_name(r, route, x, key) : fill_by_match(r, route, x, key)))
            return false;
        if (gen == r->gen)
            break;
        route->target_n = 0; /* a queue had to make its binding sets reusable: those of the first targets may be, too */
    }
    route->gen = r->gen;
    return true;
}

static uint32_t way_of(uint32_t cache_n, uint64_t hash)
{
    return ((uint32_t)(hash >> 20) & (cache_n / 2 - 1)) * 2;
}

/* cache_grow: four times as many while topics keep missing; routes move, they are not copied, as connections point to
 * them. */
static void cache_grow(struct router *r)
{
    uint32_t n = r->cache_n ? r->cache_n * 4 : CACHE_FIRST;
    n = MIN(n, r->cache_max);
    if (n <= r->cache_n)
        return;
    struct route_way *grown = mem_zalloc(r->mem, n * sizeof(*grown));
    if (!grown)
        return;
    for (uint32_t i = 0; i < r->cache_n; i++) {
        const struct route_way *w = &r->cache[i];
        if (!w->route)
            continue;
        uint32_t way = way_of(n, w->route->hash); /* two ways of one old pair never exceed two ways of a new one */
        grown[grown[way].route ? way + 1 : way] = *w;
    }
    mem_free(r->mem, r->cache);
    r->cache = grown;
    r->cache_n = n;
    r->cache_fills = 0;
}

/* is_passing: with more topics than the cache can have, most of what is put in is pushed out before it is used again,
 * and every time costs the memory's answer. So only one in eight goes in where that pushes out something valid. */
static bool is_passing(struct router *r, const struct route_way *way)
{
    uint32_t gen = (uint32_t)r->gen;
    if (r->cache_n < r->cache_max || !way[0].route || !way[1].route || way[0].gen != gen || way[1].gen != gen)
        return false;
    return (++r->cache_passes & 7) != 0;
}

/* cache_slot: the route to fill for this hash: an empty way, a stale one, or the second (the first is the newer). NULL:
 * none this time. */
static struct route *cache_slot(struct router *r, uint64_t hash)
{
    if (++r->cache_fills > r->cache_n)
        cache_grow(r);
    if (r->cache_n == 0)
        return NULL;
    struct route_way *way = r->cache + way_of(r->cache_n, hash);
    if (is_passing(r, way))
        return NULL;
    if (!way[0].route || way[0].gen == (uint32_t)r->gen) { /* else the first one is stale, and reused where it is */
        struct route_way second = way[1];
        if (!second.route) {
            second.route = pool_take(&r->routes);
            if (!second.route)
                return NULL;
            route_init(second.route);
        }
        way[1] = way[0];
        way[0] = second;
    }
    way[0].tag = (uint32_t)hash;
    way[0].gen = (uint32_t)r->gen;
    return way[0].route;
}

static uint64_t key_hash(const struct router *r, const struct exchange *x, struct slice key)
{
    return hash_bytes(r->trie.seed ^ (uintptr_t)x->root, key.p, key.len);
}

static const struct route *cache_find(const struct router *r, const struct exchange *x, struct slice key, uint64_t hash)
{
    if (r->cache_n == 0)
        return NULL;
    const struct route_way *way = r->cache + way_of(r->cache_n, hash);
    for (int i = 0; i < 2; i++) {
        const struct route *route = way[i].route;
        if (way[i].tag == (uint32_t)hash && way[i].gen == (uint32_t)r->gen && route && route->hash == hash &&
            route->gen == r->gen && route->exchange == x && route_is_for(route, key))
            return route;
    }
    return NULL;
}

const struct route *router_cached(struct router *r, const struct exchange *x, struct slice key)
{
    const struct route *route = cache_find(r, x, key, key_hash(r, x, key));
    stat_add(&r->shard->stats, STAT_ROUTE_HITS, route != NULL);
    return route;
}

const struct route *router_route(struct router *r, struct exchange *x, struct slice key)
{
    uint64_t hash = key_hash(r, x, key);
    const struct route *found = cache_find(r, x, key, hash);
    stat_add(&r->shard->stats, found ? STAT_ROUTE_HITS : STAT_ROUTE_MISSES, 1);
    if (found)
        return found;
    struct route *slot = key.len <= ROUTE_TOPIC_MAX ? cache_slot(r, hash) : NULL;
    if (!slot)
        slot = &r->scratch;
    return route_fill(r, slot, x, key, hash) ? slot : NULL;
}

/* ---- for tests ---------------------------------------------------------------------------------------------- */

void router_check(const struct router *r)
{
    uint64_t n = 0;
    LIST_EACH(&r->shard->vhost->queues_all, it)
    {
        struct queue *q = LIST_ITEM(it, struct queue, all);
        LIST_EACH(&q->bindings, bit)
        {
            struct binding *b = LIST_ITEM(bit, struct binding, in_queue);
            BUG_ON(b->queue != q);
            BUG_ON(node_find(r, b->node, q) != b);
            BUG_ON(b->node_next && b->node_next->node_prev != b);
            n++;
        }
    }
    BUG_ON(n != r->binding_n);
}
