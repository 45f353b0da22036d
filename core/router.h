/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_ROUTER_H
#define WEIR_CORE_ROUTER_H

/*
 * router.h: who wants this key? Bindings hang on trie nodes; a match collects and calls nobody. Every exchange is a
 * root:
 *
 *     topic   filter tokens below the root        direct  the whole key as one literal level
 *     fanout  one node for everything
 *
 * In front of the trie stands a cache from key to `struct route`, the merged result; it is checked by generation, so
 * binding and unbinding never walk it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/list.h"
#include "core/base/pool.h"
#include "core/topic.h"
#include "core/trie.h"

struct queue;
struct shard;
struct exchange;

#define SUB_ID_BITS 28u /* what a Variable Byte Integer can say, MQTT 5 §1.5.5 */

/* One subscription of a queue, or of an exchange (to_exchange). owner: the router; in two lists; pooled. Its exchange
 * is the root above its node. */
struct binding {
    struct list_node in_queue;             /* queue->bindings or exchange->bindings */
    struct binding *node_prev, *node_next; /* trie node's list; the first is node->value */
    union {
        struct queue *queue;
        struct exchange *exchange; /* to_exchange */
    };
    trie_at node : TRIE_NUMBER_BITS;
    uint32_t qos : 2;              /* cap 0..2 */
    uint32_t retain_handling : 2;  /* 0..2, MQTT 5 §3.8.3.1 */
    uint32_t sub_id : SUB_ID_BITS; /* MQTT 5 Subscription Identifier, 0: none */
    uint32_t retain_as_published : 1, no_local : 1, to_exchange : 1;
};

struct binding_opts {
    uint32_t sub_id; /* less than 1 << SUB_ID_BITS */
    uint8_t qos, retain_handling;
    bool retain_as_published, no_local;
};

/* binding_opts_now: the options a binding has. */
static inline struct binding_opts binding_opts_now(const struct binding *b)
{
    return (struct binding_opts){.sub_id = b->sub_id,
                                 .qos = b->qos,
                                 .retain_handling = b->retain_handling,
                                 .retain_as_published = b->retain_as_published,
                                 .no_local = b->no_local};
}

/* Where one publish goes, per queue: `set` is a binding-set number of that queue (core/queue.h). */
struct target {
    struct queue *queue;
    uint32_t set;
    uint8_t qos;          /* the set's QoS cap */
    uint8_t has_no_local; /* some binding behind it has no_local: look again when the publisher owns the queue */
};

#define ROUTE_NEAR_BYTES 48u

/* owner: the router, for good: a slot is filled anew, never freed before the router. Pooled. */
struct route {
    struct exchange *exchange;
    uint64_t gen; /* valid while equal to router->gen */
    uint64_t hash;
    uint32_t serial; /* changes whenever this route is filled anew */
    uint32_t target_n;
    struct target *target; /* `first`, or allocated when there are more */
    uint8_t *topic;        /* topic_len bytes: `near`, or allocated when it is longer */
    uint32_t topic_len, topic_cap, target_cap;
    bool has_refuse;  /* a target's queue may refuse (reject-publish): check all before the first push */
    bool has_durable; /* a target's queue survives a restart, or did when this route was made: a session cannot become
                         durable while it has bindings */
    struct target first;
    uint8_t near[ROUTE_NEAR_BYTES];
};

/* A place of the cache. What does not fit is seen here, without touching the route. */
struct route_way {
    struct route *route; /* NULL: none yet */
    uint32_t tag;        /* of the key's hash */
    uint32_t gen;        /* the router's when it was filled, cut */
};

struct match_set {
    struct binding **v; /* one per matching binding; bindings of one queue are adjacent */
    uint32_t n, cap;
};

struct router {
    struct shard *shard;
    struct mem *mem;
    struct trie trie;
    struct pool bindings, routes;
    struct pool outgoing; /* bindings of exchanges that can be deleted, with their place in exchange->outgoing */
    struct list ending;   /* exchanges that are deleted because their last binding went */
    bool is_ending;
    uint64_t gen;            /* bumped by every bind, unbind and change of a queue that routes hold */
    struct route_way *cache; /* 2-way, cache_n slots (a power of two, or 0), grown with the topics up to cache_max */
    uint32_t cache_n, cache_max, cache_fills, cache_passes;
    uint32_t serial_next;
    struct route scratch; /* for keys too long to be cached, and when memory is short */
    struct match_set match;
    uint32_t *ids; /* scratch of a merge: subscription ids */
    uint32_t ids_cap;
    uint32_t walk; /* number of the running match: marks nodes and queues as seen */
    uint64_t binding_n;
};

#define ROUTE_TOPIC_MAX 256u /* longer keys are routed without the cache */

/* router_init: allocates nothing; routes are made as topics come, at most `cache_max` of them. */
void router_init(struct router *r, struct shard *shard, uint32_t cache_max);
/* router_fini: every binding must be gone. */
void router_fini(struct router *r);
/* routes_init, routes_fini: their part of core/route.c. */
void routes_init(struct router *r, uint32_t cache_max);
void routes_fini(struct router *r);

/* router_bind: binds queue to exchange by filter; a second binding of the same pair replaces the options of the first.
 * *out_is_new tells which. ERR_NOMEM, ERR_INVALID (filter does not fit the exchange's kind). */
enum err router_bind(struct router *r, struct exchange *x, const struct filter *f, struct queue *q,
                     const struct binding_opts *opts, struct binding **out, bool *out_is_new) MUST_CHECK;

/* router_bind_exchange: what reaches x by filter goes on to exchange `to`, with the same key; *out_is_new: false: it
 * did already. ERR_NOMEM, ERR_INVALID (filter, or one of them is a default exchange). router_find_exchange: that
 * binding or NULL; it ends by router_unbind. */
enum err router_bind_exchange(struct router *r, struct exchange *x, const struct filter *f, struct exchange *to,
                              bool *out_is_new) MUST_CHECK;
struct binding *router_find_exchange(struct router *r, struct exchange *x, const struct filter *f,
                                     const struct exchange *to);

/* router_source: the exchange a binding hangs on. */
struct exchange *router_source(struct router *r, const struct binding *b);

/* router_find: the binding of this queue with exactly this filter, or NULL. */
struct binding *router_find(struct router *r, struct exchange *x, const struct filter *f, const struct queue *q);

/* router_unbind: removes and frees one binding; prunes the trie. An auto-delete exchange goes with the last binding of
 * which it was the source, and its record with it: nobody may rely on the source behind this call unless he holds it.
 */
void router_unbind(struct router *r, struct binding *b);

/* router_unbind_from: removes every binding of which x is the source. O(these); of a built-in one O(all). */
void router_unbind_from(struct router *r, struct exchange *x);

/* router_touch: forget all cached routes (a queue's policy or binding sets changed under them). */
static inline void router_touch(struct router *r)
{
    r->gen++;
}

/* router_match: all bindings of queues that x reaches by key, each once, grouped by queue, into r->match: its own,
 * those of exchanges bound to it (each exchange once, so circles end), and of alternate exchanges where an exchange on
 * the way matched nothing. Never calls out. ERR_NOMEM leaves a short result and must be treated as "refuse the
 * publish". */
enum err router_match(struct router *r, struct exchange *x, struct slice key) MUST_CHECK;

/* router_route: the merged targets for key: from the cache or made by router_match. The result is valid until the
 * next change of bindings or the next router_route call. NULL when out of memory. */
const struct route *router_route(struct router *r, struct exchange *x, struct slice key) MUST_CHECK;

/* route_is_valid: is `r` what it was when its serial was `serial`, up to date, and of this exchange? route_is_for: was
 * it made for this key? route_is_same: both, a connection's "same topic as last time" check. Cheap: no hash. */
static inline bool route_is_valid(const struct router *router, const struct route *r, uint32_t serial,
                                  const struct exchange *x)
{
    return r && r->serial == serial && r->gen == router->gen && r->exchange == x;
}
static inline bool route_is_for(const struct route *r, struct slice key)
{
    return slice_eq(slice_make(r->topic, r->topic_len), key);
}
static inline bool route_is_same(const struct router *router, const struct route *r, uint32_t serial,
                                 const struct exchange *x, struct slice key)
{
    return route_is_valid(router, r, serial, x) && route_is_for(r, key);
}

/* router_cached: the same, but NULL when it would have to be made. */
const struct route *router_cached(struct router *r, const struct exchange *x, struct slice key);

/* router_merge_for: the binding-set of `q` for `key`, leaving out its no-local bindings; for a publisher that owns q.
 * Returns false when nothing is left. */
bool router_merge_for(struct router *r, struct exchange *x, struct slice key, struct queue *q, uint32_t *out_set,
                      uint8_t *out_qos);

/* router_check: asserts the invariants; for tests. */
void router_check(const struct router *r);

#endif
