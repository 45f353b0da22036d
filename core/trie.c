/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trie.c: one node per level, flat and interned; used by the router and by the retained set.
 *
 *     level strings ──intern──► numbers       nodes: pages of 32-byte records, addressed by number
 *     edge table: hash(parent, level number) → node number, open addressing
 *     filters   wildcards are children with their own field (node.one, node.many), never in the edge table
 *     topics    children are a list:  parent.child_first ─► oldest ─sib_next─► ... ─► youngest
 *               the way back, and from the oldest to the youngest, lies behind the nodes of a page (prev_of)
 *
 *     slot of a table   | 4 bits of the hash | 28 bits: number |    other keys' nodes are hardly ever looked at
 *
 * Invariants
 *   1. A node exists while it has a value, a child or a pin (child_n counts children and pins); trie_release
 *      prunes upwards as soon as that ends.
 *   2. An interned level has as many references as literal nodes carry it; at 0 its number is free again.
 *   3. The edge table holds exactly the literal nodes; it is at most 3/4 full. So is the table of levels.
 *   4. Siblings are linked in order of creation, so a walk can stop on a pinned node and go on later.
 * Cost    a node 32 bytes (36 in a trie of topics) and 5.3 to 6.7 bytes of edge slots; a distinct level 16 bytes, and
 *         as much of slots; one longer than 10 characters has a block of its own. Finding a child: one hash of two
 *         words, usually one node looked at. Tables grow by a quarter, reading nodes in order: five moves per entry.
 * Thread  own shard only.
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

#define NUMBER_MAX ((1u << TRIE_NUMBER_BITS) - 1)

void trie_init(struct trie *t, struct mem *mem, uint64_t seed, enum trie_kind kind)
{
    *t = (struct trie){.mem = mem, .seed = seed, .kind = kind, .node_next = 1, .level_n = LEVEL_FIRST};
}

void trie_fini(struct trie *t)
{
    for (uint32_t i = LEVEL_FIRST; i < t->level_n; i++)
        if (t->level[i].refs > 0 && t->level[i].len > LEVEL_INLINE_MAX)
            mem_free(t->mem, t->level[i].u.p);
    for (uint32_t i = 0; i < t->page_n; i++)
        mem_free(t->mem, t->page[i]);
    mem_free(t->mem, t->page);
    mem_free(t->mem, t->edges.v);
    mem_free(t->mem, t->level);
    mem_free(t->mem, t->level_slots.v);
    trie_init(t, t->mem, t->seed, t->kind);
}

/* grown: the size a table of `cap` entries grows to; a quarter more, as tables of millions are most of what there is.
 */
static uint32_t grown(uint32_t cap)
{
    return cap ? cap + cap / 4 : 64;
}

/* ---- tables of numbers -------------------------------------------------------------------------------------- */

/* hash_of: the hash of an entry's key, from what the number stands for. */
typedef uint64_t (*hash_of_fn)(const struct trie *t, uint32_t number);

/* slot_home: the upper half of the hash, scaled to the table: sizes need not be powers of two. */
static inline uint32_t slot_home(const struct trie_slots *s, uint64_t hash)
{
    return (uint32_t)((hash >> 32) * s->cap >> 32);
}

static inline uint32_t slot_after(const struct trie_slots *s, uint32_t i)
{
    return i + 1 == s->cap ? 0 : i + 1;
}

static inline uint32_t slot_tag(uint64_t hash)
{
    return (uint32_t)hash << TRIE_NUMBER_BITS;
}

/* slot_next: from slot *i on, the number of the next entry whose key may have this hash, 0 at the end of the run. */
static inline uint32_t slot_next(const struct trie_slots *s, uint32_t *i, uint64_t hash)
{
    for (uint32_t v; (v = s->v[*i]) != 0;) {
        *i = slot_after(s, *i);
        if ((v & ~NUMBER_MAX) == slot_tag(hash))
            return v & NUMBER_MAX;
    }
    return 0;
}

static void slots_put(struct trie_slots *s, uint64_t hash, uint32_t number)
{
    uint32_t i = slot_home(s, hash);
    while (s->v[i])
        i = slot_after(s, i);
    s->v[i] = slot_tag(hash) | number;
    s->n++;
}

/* slots_del: closes the gap, so that no run is cut (as core/base/map.c does). */
static void slots_del(const struct trie *t, struct trie_slots *s, hash_of_fn hash_of, uint32_t number)
{
    uint64_t hash = hash_of(t, number);
    uint32_t gap = slot_home(s, hash);
    while (s->v[gap] != (slot_tag(hash) | number)) {
        BUG_ON(s->v[gap] == 0);
        gap = slot_after(s, gap);
    }
    s->v[gap] = 0;
    s->n--;
    for (uint32_t i = slot_after(s, gap); s->v[i]; i = slot_after(s, i)) {
        uint32_t home = slot_home(s, hash_of(t, s->v[i] & NUMBER_MAX));
        bool lies_between = gap < i ? gap < home && home <= i : gap < home || home <= i;
        if (lies_between)
            continue;
        s->v[gap] = s->v[i];
        s->v[i] = 0;
        gap = i;
    }
}

static inline bool slots_are_full(const struct trie_slots *s)
{
    return (uint64_t)(s->n + 1) * 4 > (uint64_t)s->cap * 3;
}

/* slots_grow: an empty table of the next size; the caller puts everything in again. False: no memory, nothing changed.
 */
static bool slots_grow(struct trie *t, struct trie_slots *s)
{
    uint32_t cap = grown(s->cap);
    uint32_t *v = mem_zalloc(t->mem, cap * sizeof *v);
    if (!v)
        return false;
    mem_free(t->mem, s->v);
    *s = (struct trie_slots){.v = v, .cap = cap};
    return true;
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

static uint64_t level_hash(const struct trie *t, uint32_t level)
{
    struct slice s = trie_level_bytes(t, level);
    return hash_bytes(t->seed, s.p, s.len);
}

static uint32_t level_find(const struct trie *t, struct slice s, uint64_t hash)
{
    if (t->level_slots.n == 0)
        return LEVEL_NONE;
    uint32_t i = slot_home(&t->level_slots, hash), found = slot_next(&t->level_slots, &i, hash);
    while (found && !slice_eq(trie_level_bytes(t, found), s))
        found = slot_next(&t->level_slots, &i, hash);
    return found;
}

uint32_t trie_level_find(const struct trie *t, struct slice s)
{
    return level_find(t, s, hash_bytes(t->seed, s.p, s.len));
}

static bool level_slots_grow(struct trie *t)
{
    if (!slots_grow(t, &t->level_slots))
        return false;
    for (uint32_t i = LEVEL_FIRST; i < t->level_n; i++)
        if (t->level[i].refs > 0)
            slots_put(&t->level_slots, level_hash(t, i), i);
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
        uint32_t cap = grown(t->level_cap);
        struct trie_level *level = t->level_n > NUMBER_MAX ? NULL : mem_realloc(t->mem, t->level, cap * sizeof *level);
        if (!level)
            return LEVEL_NONE;
        t->level = level;
        t->level_cap = cap;
    }
    return t->level_n++;
}

/* level_hold: interns s and takes a reference; LEVEL_NONE when out of memory. */
static uint32_t level_hold(struct trie *t, struct slice s)
{
    BUG_ON(s.len > UINT16_MAX);
    uint64_t hash = hash_bytes(t->seed, s.p, s.len);
    uint32_t found = level_find(t, s, hash);
    if (found) {
        t->level[found].refs++;
        return found;
    }
    if (slots_are_full(&t->level_slots) && !level_slots_grow(t))
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
    slots_put(&t->level_slots, hash, n);
    return n;
}

static void level_drop(struct trie *t, uint32_t n)
{
    struct trie_level *l = &t->level[n];
    if (--l->refs > 0)
        return;
    slots_del(t, &t->level_slots, level_hash, n);
    if (l->len > LEVEL_INLINE_MAX)
        mem_free(t->mem, l->u.p);
    l->u.next_free = t->level_free;
    t->level_free = n;
}

/* ---- edges -------------------------------------------------------------------------------------------------- */

static inline uint64_t edge_hash(const struct trie *t, trie_at parent, uint32_t level)
{
    return hash_u64(t->seed, (uint64_t)parent << 32 | level);
}

static uint64_t node_hash(const struct trie *t, trie_at at)
{
    return edge_hash(t, trie_node(t, at)->parent, trie_node(t, at)->level);
}

trie_at trie_child(const struct trie *t, trie_at parent, uint32_t level)
{
    if (t->edges.n == 0 || level == LEVEL_NONE)
        return 0;
    uint64_t hash = edge_hash(t, parent, level);
    for (uint32_t i = slot_home(&t->edges, hash);;) {
        trie_at at = slot_next(&t->edges, &i, hash);
        if (!at || (trie_node(t, at)->parent == parent && trie_node(t, at)->level == level))
            return at;
    }
}

static bool edges_grow(struct trie *t)
{
    if (!slots_grow(t, &t->edges))
        return false;
    for (trie_at at = 1; at < t->node_next; at++)
        if (trie_node(t, at)->level >= LEVEL_FIRST)
            slots_put(&t->edges, node_hash(t, at), at);
    return true;
}

/* ---- nodes -------------------------------------------------------------------------------------------------- */

/* prev_of: in a trie of topics, the node's next older sibling; of the oldest one, the youngest. */
static trie_at *prev_of(const struct trie *t, trie_at at)
{
    trie_at *prev = (trie_at *)(void *)(t->page[at / TRIE_PAGE_NODES] + TRIE_PAGE_NODES);
    return &prev[at % TRIE_PAGE_NODES];
}

static bool page_add(struct trie *t)
{
    if (t->page_n == t->page_cap) {
        uint32_t cap = t->page_cap ? t->page_cap * 2 : 8;
        struct trie_node **page = mem_realloc(t->mem, t->page, cap * sizeof(*page));
        if (!page)
            return false;
        t->page = page;
        t->page_cap = cap;
    }
    size_t bytes = sizeof(struct trie_node) + (t->kind == TRIE_OF_TOPICS ? sizeof(trie_at) : 0);
    struct trie_node *nodes = mem_alloc(t->mem, TRIE_PAGE_NODES * bytes);
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
        if (t->node_next >= t->page_n * TRIE_PAGE_NODES && (t->node_next > NUMBER_MAX || !page_add(t)))
            return 0;
        at = t->node_next++;
    }
    *trie_node(t, at) = (struct trie_node){0};
    t->node_n++;
    return at;
}

static void node_give(struct trie *t, trie_at at)
{
    *trie_node(t, at) = (struct trie_node){.level = LEVEL_NONE, .parent = t->node_free};
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

/* child_append, child_remove: in a trie of topics, the list of up's children. */
static void child_append(struct trie *t, struct trie_node *up, trie_at at)
{
    trie_at first = up->child_first;
    if (!first) {
        up->child_first = *prev_of(t, at) = at;
        return;
    }
    trie_at last = *prev_of(t, first);
    trie_node(t, at)->mark = trie_node(t, last)->mark + 1;
    trie_node(t, last)->sib_next = at;
    *prev_of(t, at) = last;
    *prev_of(t, first) = at;
}

static void child_remove(struct trie *t, struct trie_node *up, trie_at at)
{
    trie_at first = up->child_first, prev = *prev_of(t, at), next = trie_node(t, at)->sib_next;
    if (at == first)
        up->child_first = next;
    else
        trie_node(t, prev)->sib_next = next;
    if (next)
        *prev_of(t, next) = prev;
    else if (at != first)
        *prev_of(t, first) = prev;
}

static trie_at literal_add(struct trie *t, trie_at parent, struct slice bytes)
{
    if (slots_are_full(&t->edges) && !edges_grow(t))
        return 0;
    uint32_t level = level_hold(t, bytes);
    if (level == LEVEL_NONE)
        return 0;
    trie_at at = node_take(t);
    if (!at) {
        level_drop(t, level);
        return 0;
    }
    trie_node(t, at)->parent = parent;
    trie_node(t, at)->level = level;
    if (t->kind == TRIE_OF_TOPICS)
        child_append(t, trie_node(t, parent), at);
    trie_node(t, parent)->child_n++;
    slots_put(&t->edges, edge_hash(t, parent, level), at);
    return at;
}

static trie_at wildcard_add(struct trie *t, trie_at parent, uint32_t level)
{
    BUG_ON(t->kind != TRIE_OF_FILTERS);
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
    slots_del(t, &t->edges, node_hash, at);
    if (t->kind == TRIE_OF_TOPICS)
        child_remove(t, up, at);
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
