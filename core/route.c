/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c: where a key goes, merged per queue and remembered.
 *
 *     router_route(key):  same hash in the 2-way cache, generation equal ─► done
 *                         else router_match ─► bindings ─► merged per queue into targets ─► remembered
 *
 * Invariants
 *   1. A route is valid while its generation equals the router's. Routes are refilled, never freed: a connection may
 *      keep a pointer and compare serials.
 *   2. Every place of the cache that has a route has its hash's tag; what is not valid is reused first.
 * Cost    a cached route costs one hash of the key; 128 bytes per cached topic of up to 48 bytes with one target, and 8
 *         to 16 of table.
 * Thread  own shard only.
 * Spec    MQTT 5: overlapping subscriptions [MQTT-3.3.4-2], [MQTT-3.3.4-3].
 */
#include <stdlib.h>

#include "core/base/hash.h"
#include "core/exchange.h"
#include "core/router.h"
#include "core/shard.h"

enum { CACHE_FIRST = 64 };

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

void routes_init(struct router *r, uint32_t cache_max)
{
    r->cache_max = CACHE_FIRST; /* a power of two, for the masks */
    while (r->cache_max * 2 <= cache_max)
        r->cache_max *= 2;
    pool_init(&r->routes, r->mem, sizeof(struct route));
    route_init(&r->scratch);
}

void routes_fini(struct router *r)
{
    for (uint32_t i = 0; i < r->cache_n; i++) {
        if (r->cache[i].route) {
            route_fini(r, r->cache[i].route);
            pool_give(&r->routes, r->cache[i].route);
        }
    }
    route_fini(r, &r->scratch);
    mem_free(r->mem, r->cache);
    mem_free(r->mem, r->ids);
    pool_fini(&r->routes);
}

/* ---- binding sets ------------------------------------------------------------------------------------------- */

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

/* ---- making them -------------------------------------------------------------------------------------------- */

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
    route->has_refuse |= q->policy->overflow >= OVERFLOW_REJECT;
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

/* ---- remembering them --------------------------------------------------------------------------------------- */

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
