/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_TRIE_H
#define WEIR_CORE_TRIE_H

/*
 * trie.h: the shape shared by the router (filters → bindings) and the retained set (topics → messages): one node per
 * level, flat and interned. Nodes are 32 bytes in pages, addressed by numbers; level strings are interned once; the
 * edge table maps (parent, level) → node with 4 bytes a slot. No recursion, no policy: what a walk means is the
 * caller's business.
 *
 * A node exists while it has a value, a child or a pin; trie_release prunes upwards.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/base/slice.h"
#include "core/topic.h"

typedef uint32_t trie_at; /* node number; 0 = none */

#define TRIE_NUMBER_BITS 28u /* of node and level numbers; more nodes than that are "out of memory" */

/* What a trie is for decides what a node knows of others. */
enum trie_kind {
    TRIE_OF_FILTERS, /* wildcards; children in no order */
    TRIE_OF_TOPICS,  /* literal levels only; children in order of creation, for 4 bytes more a node */
};

struct trie_node {
    trie_at parent;
    uint32_t level; /* interned literal; LEVEL_ONE / LEVEL_MANY for wildcards; LEVEL_ROOT; LEVEL_NONE: not in use */
    union {
        trie_at one;         /* filters: wildcard child */
        trie_at child_first; /* topics: the oldest child */
    };
    union {
        trie_at many;     /* filters: wildcard child */
        trie_at sib_next; /* topics: the next younger sibling */
    };
    uint32_t child_n; /* literal and wildcard children, plus pins */
    uint32_t mark;    /* topics: order among siblings, rising; filters: scratch of the router's walk, of MANYs */
    void *value;      /* NULL: none */
};

enum { LEVEL_NONE = 0, LEVEL_ROOT = 1, LEVEL_ONE = 2, LEVEL_MANY = 3 };

struct trie_level;

/* A table of numbers by hash: of nodes by (parent, level), of levels by their bytes. */
struct trie_slots {
    uint32_t *v; /* 0: free; else 4 bits of the hash above the number */
    uint32_t cap, n;
};

struct trie {
    struct mem *mem;
    uint64_t seed;
    struct trie_node **page; /* of TRIE_PAGE_NODES; behind them, of topics, as many numbers: trie.c */
    uint32_t page_n, page_cap;
    uint32_t node_n;    /* living nodes */
    uint32_t node_next; /* first number never used */
    trie_at node_free;  /* free list through .parent */
    enum trie_kind kind;
    struct trie_slots edges, level_slots;
    struct trie_level *level; /* interned strings, by number */
    uint32_t level_n, level_cap, level_free;
};

#define TRIE_PAGE_NODES 64u

void trie_init(struct trie *t, struct mem *mem, uint64_t seed, enum trie_kind kind);
/* trie_fini: frees everything; values are not touched. */
void trie_fini(struct trie *t);

/* trie_root: a new root node (for an exchange, or the retained set); pinned until trie_unpin. 0 when out of memory. */
trie_at trie_root(struct trie *t) MUST_CHECK;

static inline struct trie_node *trie_node(const struct trie *t, trie_at at)
{
    return &t->page[at / TRIE_PAGE_NODES][at % TRIE_PAGE_NODES];
}

/* trie_level_find: number of an interned level, LEVEL_NONE if no node uses it. */
uint32_t trie_level_find(const struct trie *t, struct slice level);
/* trie_level_bytes: the string of an interned literal; valid until the next trie_make* or trie_release. */
struct slice trie_level_bytes(const struct trie *t, uint32_t level);

/* trie_child: the literal child with this interned level, or 0. */
trie_at trie_child(const struct trie *t, trie_at parent, uint32_t level);

/* trie_make: finds or makes the node of a whole filter below root, in a trie of filters. 0 when out of memory (nothing
 * changed). */
trie_at trie_make(struct trie *t, trie_at root, const struct filter *f) MUST_CHECK;
/* trie_make_topic: the same for a topic in MQTT spelling: all levels are literal. */
trie_at trie_make_topic(struct trie *t, trie_at root, struct slice topic) MUST_CHECK;

/* trie_find (of filters), trie_find_topic: the node, or 0. */
trie_at trie_find(const struct trie *t, trie_at root, const struct filter *f);
trie_at trie_find_topic(const struct trie *t, trie_at root, struct slice topic);

/* trie_release: call when a node may have become useless: removes it and its ancestors as far as they have no value,
 * child or pin. */
void trie_release(struct trie *t, trie_at at);

/* trie_pin, trie_unpin: keep a node (a cursor stands on it) although it is empty. unpin releases. */
void trie_pin(struct trie *t, trie_at at);
void trie_unpin(struct trie *t, trie_at at);

/* trie_path: appends the MQTT spelling of the path from the root to `at` (wildcards as + and #). */
void trie_path(const struct trie *t, trie_at at, struct buf *out);

#endif
