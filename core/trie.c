/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trie.c: one node per level, flat and interned; used by the router and by the retained set.
 *
 *     level strings ──intern──► numbers       nodes: pages of 48-byte records, addressed by number
 *     edge table: hash(parent, level number) → node number, open addressing, 4 bytes a slot
 *     wildcards are children with their own field (node.one, node.many), never in the edge table
 *
 * Invariants
 *   1. A node exists while it has a value, a child or a pin (child_n counts children and pins); trie_release
 *      prunes upwards as soon as that ends.
 *   2. An interned level has as many references as literal nodes carry it; at 0 its number is free again.
 *   3. The edge table holds exactly the literal nodes; it is at most 3/4 full.
 *   4. Siblings are linked in order of creation, so a walk can stop on a pinned node and go on later.
 * Cost    48 bytes a node, 5-11 bytes of edge slots, an interned string per distinct level (16 bytes up to 11
 * characters). Finding a child: one hash of two words, usually one probe. Thread  own shard only.
 */
#include "core/trie.h"

#include "core/base/check.h"
#include "core/base/hash.h"

/* 16 bytes: short strings live inside. */
struct trie_level {
    uint32_t refs; /* 0: free; then next_free is in u.next_free */
    uint16_t len;
    uint8_t small[2]; /* first bytes of a short string, continued in u.rest */
    union {
        uint8_t rest[8];
        uint8_t *p; /* long string */
        uint32_t next_free;
    } u;
};
enum { LEVEL_INLINE_MAX = 10, LEVEL_FIRST = 4 };

void trie_init(struct trie *t, struct mem *mem, uint64_t seed)
{
    *t = (struct trie){.mem = mem, .seed = seed, .node_next = 1, .level_n = LEVEL_FIRST};
}

void trie_fini(struct trie *t)
{
    for (uint32_t i = LEVEL_FIRST; i < t->level_n; i++)
        if (t->level[i].refs > 0 && t->level[i].len > LEVEL_INLINE_MAX)
            mem_free(t->mem, t->level[i].u.p);
    for (uint32_t i = 0; i < t->page_n; i++)
        mem_free(t->mem, t->page[i]);
    mem_free(t->mem, t->page);
    mem_free(t->mem, t->edge);
    mem_free(t->mem, t->level);
    mem_free(t->mem, t->level_slot);
    trie_init(t, t->mem, t->seed);
}

/* ---- interned levels ---------------------------------------------------------------------------------------- */

struct slice trie_level_bytes(const struct trie *t, uint32_t level)
{
    const struct trie_level *l = &t->level[level];
    if (l->len <= LEVEL_INLINE_MAX)
        return slice_make(l->small, l->len); /* small[2] and u.rest[8] are contiguous (static assert below) */
    return slice_make(l->u.p, l->len);
}
_Static_assert(offsetof(struct trie_level, u) == offsetof(struct trie_level, small) + 2, "inline strings run on");
_Static_assert(sizeof(struct trie_level) == 16, "levels are compact");

static uint32_t level_probe(const struct trie *t, struct slice s)
{
    uint32_t mask = t->level_slot_cap - 1;
    uint32_t i = (uint32_t)hash_bytes(t->seed, s.p, s.len) & mask;
    while (t->level_slot[i] != 0 && !slice_eq(trie_level_bytes(t, t->level_slot[i]), s))
        i = (i + 1) & mask;
    return i;
}

uint32_t trie_level_find(const struct trie *t, struct slice s)
{
    return t->level_slot_cap ? t->level_slot[level_probe(t, s)] : LEVEL_NONE;
}

static bool level_slots_grow(struct trie *t)
{
    uint32_t old_cap = t->level_slot_cap, cap = old_cap ? old_cap * 2 : 64;
    uint32_t *slot = mem_zalloc(t->mem, cap * sizeof *slot), *old = t->level_slot;
    if (!slot)
        return false;
    t->level_slot = slot;
    t->level_slot_cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i])
            slot[level_probe(t, trie_level_bytes(t, old[i]))] = old[i];
    mem_free(t->mem, old);
    return true;
}

static uint32_t level_number_take(struct trie *t)
{
    if (t->level_free) {
        uint32_t n = t->level_free;
        t->level_free = t->level[n].u.next_free;
        return n;
    }
    if (t->level_n >= t->level_cap) {
        uint32_t cap = t->level_cap ? t->level_cap * 2 : 64;
        struct trie_level *grown = mem_realloc(t->mem, t->level, cap * sizeof *grown);
        if (!grown)
            return LEVEL_NONE;
        t->level = grown;
        t->level_cap = cap;
    }
    return t->level_n++;
}

/* level_hold: interns s and takes a reference; LEVEL_NONE when out of memory. */
static uint32_t level_hold(struct trie *t, struct slice s)
{
    BUG_ON(s.len > UINT16_MAX);
    if (t->level_slot_cap) {
        uint32_t found = t->level_slot[level_probe(t, s)];
        if (found) {
            t->level[found].refs++;
            return found;
        }
    }
    if ((t->level_used + 1) * 4 > t->level_slot_cap * 3 && !level_slots_grow(t))
        return LEVEL_NONE;
    uint8_t *copy = NULL;
    if (s.len > LEVEL_INLINE_MAX) {
        copy = mem_dup(t->mem, s.p, s.len);
        if (!copy)
            return LEVEL_NONE;
    }
    uint32_t n = level_number_take(t);
    if (n == LEVEL_NONE) {
        mem_free(t->mem, copy);
        return LEVEL_NONE;
    }
    struct trie_level *l = &t->level[n];
    l->refs = 1;
    l->len = (uint16_t)s.len;
    if (copy)
        l->u.p = copy;
    else if (s.len)
        memcpy((uint8_t *)l + offsetof(struct trie_level, small), s.p, s.len);
    t->level_slot[level_probe(t, s)] = n;
    t->level_used++;
    return n;
}

static void level_drop(struct trie *t, uint32_t n)
{
    struct trie_level *l = &t->level[n];
    if (--l->refs > 0)
        return;
    uint32_t mask = t->level_slot_cap - 1, hole = level_probe(t, trie_level_bytes(t, n));
    BUG_ON(t->level_slot[hole] != n);
    t->level_slot[hole] = 0;
    for (uint32_t i = (hole + 1) & mask; t->level_slot[i]; i = (i + 1) & mask) {
        struct slice s = trie_level_bytes(t, t->level_slot[i]);
        uint32_t home = (uint32_t)hash_bytes(t->seed, s.p, s.len) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->level_slot[hole] = t->level_slot[i];
            t->level_slot[i] = 0;
            hole = i;
        }
    }
    if (l->len > LEVEL_INLINE_MAX)
        mem_free(t->mem, l->u.p);
    l->u.next_free = t->level_free;
    t->level_free = n;
    t->level_used--;
}

/* ---- edges -------------------------------------------------------------------------------------------------- */

static uint32_t edge_home(const struct trie *t, trie_at parent, uint32_t level)
{
    return (uint32_t)hash_u64(t->seed, (uint64_t)parent << 32 | level) & (t->edge_cap - 1);
}

static uint32_t edge_probe(const struct trie *t, trie_at parent, uint32_t level)
{
    uint32_t mask = t->edge_cap - 1, i = edge_home(t, parent, level);
    while (t->edge[i]) {
        const struct trie_node *n = trie_node(t, t->edge[i]);
        if (n->parent == parent && n->level == level)
            break;
        i = (i + 1) & mask;
    }
    return i;
}

trie_at trie_child(const struct trie *t, trie_at parent, uint32_t level)
{
    if (t->edge_cap == 0 || level == LEVEL_NONE)
        return 0;
    return t->edge[edge_probe(t, parent, level)];
}

static bool edges_grow(struct trie *t)
{
    uint32_t old_cap = t->edge_cap, cap = old_cap ? old_cap * 2 : 64;
    uint32_t *edge = mem_zalloc(t->mem, cap * sizeof *edge), *old = t->edge;
    if (!edge)
        return false;
    t->edge = edge;
    t->edge_cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i])
            edge[edge_probe(t, trie_node(t, old[i])->parent, trie_node(t, old[i])->level)] = old[i];
    mem_free(t->mem, old);
    return true;
}

static void edge_del(struct trie *t, trie_at at)
{
    const struct trie_node *n = trie_node(t, at);
    uint32_t mask = t->edge_cap - 1, hole = edge_probe(t, n->parent, n->level);
    BUG_ON(t->edge[hole] != at);
    t->edge[hole] = 0;
    t->edge_n--;
    for (uint32_t i = (hole + 1) & mask; t->edge[i]; i = (i + 1) & mask) {
        const struct trie_node *m = trie_node(t, t->edge[i]);
        uint32_t home = edge_home(t, m->parent, m->level);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->edge[hole] = t->edge[i];
            t->edge[i] = 0;
            hole = i;
        }
    }
}

/* ---- nodes -------------------------------------------------------------------------------------------------- */

static bool page_add(struct trie *t)
{
    if (t->page_n == t->page_cap) {
        uint32_t cap = t->page_cap ? t->page_cap * 2 : 8;
        struct trie_node **grown = mem_realloc(t->mem, t->page, cap * sizeof(*grown));
        if (!grown)
            return false;
        t->page = grown;
        t->page_cap = cap;
    }
    struct trie_node *nodes = mem_alloc(t->mem, TRIE_PAGE_NODES * sizeof *nodes);
    if (!nodes)
        return false;
    t->page[t->page_n++] = nodes;
    return true;
}

static trie_at node_take(struct trie *t)
{
    trie_at at = t->node_free;
    if (at) {
        t->node_free = trie_node(t, at)->parent;
    } else {
        if (t->node_next >= t->page_n * TRIE_PAGE_NODES && !page_add(t))
            return 0;
        at = t->node_next++;
    }
    *trie_node(t, at) = (struct trie_node){0};
    t->node_n++;
    return at;
}

static void node_give(struct trie *t, trie_at at)
{
    trie_node(t, at)->parent = t->node_free;
    t->node_free = at;
    t->node_n--;
}

trie_at trie_root(struct trie *t)
{
    trie_at at = node_take(t);
    if (at) {
        trie_node(t, at)->level = LEVEL_ROOT;
        trie_node(t, at)->child_n = 1; /* the pin */
    }
    return at;
}

static trie_at literal_add(struct trie *t, trie_at parent, struct slice bytes)
{
    if ((t->edge_n + 1) * 4 > t->edge_cap * 3 && !edges_grow(t))
        return 0;
    uint32_t level = level_hold(t, bytes);
    if (level == LEVEL_NONE)
        return 0;
    trie_at at = node_take(t);
    if (!at) {
        level_drop(t, level);
        return 0;
    }
    struct trie_node *n = trie_node(t, at), *up = trie_node(t, parent);
    n->parent = parent;
    n->level = level;
    n->sib_prev = up->child_last;
    if (up->child_last) {
        n->mark = trie_node(t, up->child_last)->mark + 1;
        trie_node(t, up->child_last)->sib_next = at;
    } else {
        up->child_first = at;
    }
    up->child_last = at;
    up->child_n++;
    t->edge[edge_probe(t, parent, level)] = at;
    t->edge_n++;
    return at;
}

static trie_at wildcard_add(struct trie *t, trie_at parent, uint32_t level)
{
    trie_at at = node_take(t);
    if (!at)
        return 0;
    trie_node(t, at)->parent = parent;
    trie_node(t, at)->level = level;
    struct trie_node *up = trie_node(t, parent);
    *(level == LEVEL_ONE ? &up->one : &up->many) = at;
    up->child_n++;
    return at;
}

static trie_at step_find(const struct trie *t, trie_at at, const struct token *tok)
{
    if (tok->kind == TOKEN_ONE)
        return trie_node(t, at)->one;
    if (tok->kind == TOKEN_MANY)
        return trie_node(t, at)->many;
    return trie_child(t, at, trie_level_find(t, tok->bytes));
}

static trie_at step_make(struct trie *t, trie_at at, const struct token *tok)
{
    trie_at next = step_find(t, at, tok);
    if (next)
        return next;
    if (tok->kind == TOKEN_LITERAL)
        return literal_add(t, at, tok->bytes);
    return wildcard_add(t, at, tok->kind == TOKEN_ONE ? LEVEL_ONE : LEVEL_MANY);
}

trie_at trie_make(struct trie *t, trie_at root, const struct filter *f)
{
    trie_at at = root;
    for (uint32_t i = 0; i < f->n; i++) {
        trie_at next = step_make(t, at, &f->tok[i]);
        if (!next) {
            trie_release(t, at);
            return 0;
        }
        at = next;
    }
    return at;
}

trie_at trie_make_topic(struct trie *t, trie_at root, struct slice topic)
{
    trie_at at = root;
    bool at_end = false;
    struct token tok = {.kind = TOKEN_LITERAL};
    while (topic_next_level(&topic, &at_end, &tok.bytes)) {
        trie_at next = step_make(t, at, &tok);
        if (!next) {
            trie_release(t, at);
            return 0;
        }
        at = next;
    }
    return at;
}

trie_at trie_find(const struct trie *t, trie_at root, const struct filter *f)
{
    trie_at at = root;
    for (uint32_t i = 0; i < f->n && at; i++)
        at = step_find(t, at, &f->tok[i]);
    return at;
}

trie_at trie_find_topic(const struct trie *t, trie_at root, struct slice topic)
{
    trie_at at = root;
    bool at_end = false;
    struct slice level;
    while (at && topic_next_level(&topic, &at_end, &level))
        at = trie_child(t, at, trie_level_find(t, level));
    return at;
}

static void node_unlink(struct trie *t, trie_at at)
{
    struct trie_node *n = trie_node(t, at), *up = trie_node(t, n->parent);
    up->child_n--;
    if (n->level == LEVEL_ONE) {
        up->one = 0;
        return;
    }
    if (n->level == LEVEL_MANY) {
        up->many = 0;
        return;
    }
    edge_del(t, at);
    *(n->sib_prev ? &trie_node(t, n->sib_prev)->sib_next : &up->child_first) = n->sib_next;
    *(n->sib_next ? &trie_node(t, n->sib_next)->sib_prev : &up->child_last) = n->sib_prev;
    level_drop(t, n->level);
}

void trie_release(struct trie *t, trie_at at)
{
    while (at) {
        struct trie_node *n = trie_node(t, at);
        if (n->value || n->child_n > 0)
            return;
        trie_at parent = n->parent;
        if (n->level != LEVEL_ROOT)
            node_unlink(t, at);
        node_give(t, at);
        at = parent;
    }
}

void trie_pin(struct trie *t, trie_at at)
{
    trie_node(t, at)->child_n++;
}

void trie_unpin(struct trie *t, trie_at at)
{
    BUG_ON(trie_node(t, at)->child_n == 0);
    trie_node(t, at)->child_n--;
    trie_release(t, at);
}

void trie_path(const struct trie *t, trie_at at, struct buf *out)
{
    trie_at path[TOPIC_LEVELS_MAX + 1];
    uint32_t n = 0;
    for (; at && trie_node(t, at)->level != LEVEL_ROOT; at = trie_node(t, at)->parent) {
        BUG_ON(n > TOPIC_LEVELS_MAX);
        path[n++] = at;
    }
    for (uint32_t i = n; i-- > 0;) {
        uint32_t level = trie_node(t, path[i])->level;
        if (level == LEVEL_ONE)
            buf_put_u8(out, '+');
        else if (level == LEVEL_MANY)
            buf_put_u8(out, '#');
        else
            buf_put_slice(out, trie_level_bytes(t, level));
        if (i > 0)
            buf_put_u8(out, '/');
    }
}
