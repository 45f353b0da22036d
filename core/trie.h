/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_TRIE_H
#define WEIR_CORE_TRIE_H

/*
 * trie.h: the shape shared by the router (filters → bindings) and the retained set (topics → messages): one node per
 * level, flat and interned. Nodes are 48 bytes in pages, addressed by 32-bit numbers; level strings are interned
 * once; the edge table maps (parent, level) → node with 4 bytes a slot. No recursion, no policy: what a walk means is
 * the caller's business.
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

struct trie_node {
    trie_at parent;
    uint32_t level;                  /* interned literal; LEVEL_ONE / LEVEL_MANY for wildcards; LEVEL_ROOT */
    trie_at one, many;               /* wildcard children */
    trie_at child_first, child_last; /* literal children in order of creation */
    trie_at sib_prev, sib_next;
    uint32_t child_n; /* literal and wildcard children, plus pins */
    uint32_t mark;    /* literals: order among their siblings, rising; MANYs: scratch of the router's walk */
    void *value;      /* NULL: none */
};

enum { LEVEL_NONE = 0, LEVEL_ROOT = 1, LEVEL_ONE = 2, LEVEL_MANY = 3 };

struct trie_page;
struct trie_level;

struct trie {
    struct mem *mem;
    uint64_t seed;
    struct trie_node **page; /* pages of TRIE_PAGE_NODES */
    uint32_t page_n, page_cap;
    uint32_t node_n;    /* living nodes */
    uint32_t node_next; /* first number never used */
    trie_at node_free;  /* free list through .parent */
    uint32_t *edge;     /* open addressing: node number or 0 */
    uint32_t edge_cap, edge_n;
    struct trie_level *level; /* interned strings, by number */
    uint32_t level_n, level_cap, level_free;
    uint32_t *level_slot; /* open addressing: level number or 0 */
    uint32_t level_slot_cap, level_used;
};

#define TRIE_PAGE_NODES 128u

void trie_init(struct trie *t, struct mem *mem, uint64_t seed);
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

/* trie_make: finds or makes the node of a whole filter below root. 0 when out of memory (nothing changed). */
trie_at trie_make(struct trie *t, trie_at root, const struct filter *f) MUST_CHECK;
/* trie_make_topic: the same for a topic in MQTT spelling: all levels are literal. */
trie_at trie_make_topic(struct trie *t, trie_at root, struct slice topic) MUST_CHECK;

/* trie_find, trie_find_topic: the node, or 0. */
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
