/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retained.c: the last retained message of every topic.
 *
 *     trie of literal levels        site ─┬─ 1 ─┬─ temp = message
 *                                         │     └─ hum  = message with a timer
 *                                         └─ 2 ─ ...
 *
 * How a new subscription gets to see them is core/replay.c.
 *
 * Invariants
 *   1. A node's value holds one reference on its message; n and bytes count exactly these.
 *   2. A message that expires has a timer and is gone when that fires; until the turn that fires it, it is not shown.
 *   3. retained_prepare is all that can fail; between it and retained_set or retained_cancel the node is pinned.
 * Cost    a node per level (42 bytes with its edge) and the message; 48 more for one that expires. Finding: a hash per
 *         level.
 * Thread  own shard only.
 * Spec    MQTT 5 §3.3.1.3 (RETAIN), §3.3.2.3.3 (expiry).
 */
#include "core/retained.h"

#include "core/shard.h"

enum err retained_init(struct retained *r, struct shard *shard)
{
    *r = (struct retained){.shard = shard, .mem = shard_mem(shard, MEM_RETAINED)};
    trie_init(&r->trie, r->mem, shard->seed ^ 0x7e7a1edu, TRIE_OF_TOPICS);
    pool_init(&r->items, r->mem, sizeof(struct retained_item));
    r->root = trie_root(&r->trie);
    return r->root ? ERR_OK : ERR_NOMEM;
}

/* An expiring message's item is told from a plain message by the lowest bit of node.value. */
static struct retained_item *node_item(const struct trie_node *n)
{
    uintptr_t v = (uintptr_t)n->value;
    return v & 1 ? (struct retained_item *)(v & ~(uintptr_t)1) : NULL;
}

static const struct msg *node_msg(const struct trie_node *n)
{
    const struct retained_item *i = node_item(n);
    return i ? i->msg : n->value;
}

static void item_free(struct retained *r, struct retained_item *i)
{
    if (i)
        pool_give(&r->items, i);
}

/* is_sys: the broker's own topics: nobody else may write there. */
static bool is_sys(struct slice topic)
{
    return slice_starts_with(topic, SLICE("$SYS/"));
}

/* count: m comes (1) or goes (-1). */
static void count(struct retained *r, const struct msg *m, int by)
{
    uint64_t n = (uint64_t)by, bytes = (uint64_t)by * msg_bytes(m);
    bool sys = is_sys(slice_make(m->bytes, m->topic_len));
    r->n += n;
    r->bytes += bytes;
    r->sys_n += sys ? n : 0;
    r->sys_bytes += sys ? bytes : 0;
    stat_add(&r->shard->stats, STAT_RETAINED, n);
}

/* node_empty: takes what is in the node out and drops it. */
static void node_empty(struct retained *r, struct trie_node *n)
{
    const struct msg *m = node_msg(n);
    struct retained_item *i = node_item(n);
    if (i)
        wheel_disarm(&r->shard->wheel, &i->timer);
    item_free(r, i);
    n->value = NULL;
    count(r, m, -1);
    msg_drop(m);
}

static void forget(struct retained *r, trie_at at)
{
    node_empty(r, trie_node(&r->trie, at));
    trie_release(&r->trie, at);
}

/* step: pre-order successor of `at` below root, without judging; 0 at the end. `down`: may it go to children? */
static trie_at step(const struct trie *t, trie_at root, trie_at at, bool down)
{
    const struct trie_node *n = trie_node(t, at);
    if (down && n->child_first)
        return n->child_first;
    while (at != root) {
        n = trie_node(t, at);
        if (n->sib_next)
            return n->sib_next;
        at = n->parent;
    }
    return 0;
}

void retained_fini(struct retained *r)
{
    trie_at at = r->root;
    while (at) { /* messages only: the trie goes in one piece */
        struct trie_node *n = trie_node(&r->trie, at);
        if (n->value)
            node_empty(r, n);
        at = step(&r->trie, r->root, at, true);
    }
    pool_fini(&r->items);
    trie_fini(&r->trie);
}

enum err retained_prepare(struct retained *r, struct slice topic, uint64_t bytes, bool expires,
                          struct retained_place *out)
{
    *out = (struct retained_place){0};
    if (!retained_has_room(r, topic, bytes))
        return ERR_FULL;
    if (expires) {
        out->item = pool_take(&r->items);
        if (!out->item)
            return ERR_NOMEM;
    }
    out->at = trie_make_topic(&r->trie, r->root, topic);
    if (!out->at) {
        item_free(r, out->item);
        return ERR_NOMEM;
    }
    trie_pin(&r->trie, out->at);
    return ERR_OK;
}

void retained_cancel(struct retained *r, struct retained_place *p)
{
    item_free(r, p->item);
    trie_unpin(&r->trie, p->at);
}

void retained_set(struct retained *r, struct retained_place *p, const struct msg *m)
{
    struct trie_node *n = trie_node(&r->trie, p->at);
    if (n->value)
        node_empty(r, n);
    n->value = (void *)(uintptr_t)msg_hold(m);
    if (p->item) {
        *p->item = (struct retained_item){.retained = r, .msg = m, .at = p->at};
        n->value = (void *)((uintptr_t)p->item | 1);
        shard_arm(r->shard, &p->item->timer, TIMER_RETAINED, m->expires_at);
    }
    count(r, m, 1);
    trie_unpin(&r->trie, p->at);
}

enum err retained_put(struct retained *r, const struct msg *m)
{
    struct retained_place p;
    enum err e = retained_prepare(r, slice_make(m->bytes, m->topic_len), msg_bytes(m), m->expires_at != 0, &p);
    if (e == ERR_OK)
        retained_set(r, &p, m);
    return e;
}

void retained_expire(struct retained_item *i)
{
    struct retained *r = i->retained;
    const struct msg *m = i->msg;
    if (r->shard->store && !(m->flags & MSG_OWN))
        shard_append(r->shard, &(struct store_rec){.kind = STORE_RETAIN, .name = slice_make(m->bytes, m->topic_len)});
    forget(r, i->at);
}

bool retained_has_room_beside(const struct retained *r, struct slice topic, uint64_t bytes, uint64_t n,
                              uint64_t more_bytes)
{
    const struct limits *l = &r->shard->limits;
    uint64_t all = r->n - r->sys_n + n, full = r->bytes - r->sys_bytes + more_bytes + bytes;
    if (((l->retained_max == 0 || all < l->retained_max) &&
         (l->retained_bytes_max == 0 || full <= l->retained_bytes_max)) ||
        is_sys(topic))
        return true;
    trie_at at = trie_find_topic(&r->trie, r->root, topic);
    const struct msg *was = at ? node_msg(trie_node(&r->trie, at)) : NULL; /* it would make room */
    return was && (n == 0 || l->retained_max == 0 || all <= l->retained_max) &&
           (l->retained_bytes_max == 0 || full - msg_bytes(was) <= l->retained_bytes_max);
}

bool retained_has_room(const struct retained *r, struct slice topic, uint64_t bytes)
{
    return retained_has_room_beside(r, topic, bytes, 0, 0);
}

void retained_del(struct retained *r, struct slice topic)
{
    trie_at at = trie_find_topic(&r->trie, r->root, topic);
    if (at && trie_node(&r->trie, at)->value)
        forget(r, at);
}

const struct msg *retained_at(const struct retained *r, trie_at at)
{
    const struct msg *m = node_msg(trie_node(&r->trie, at));
    return m && (m->expires_at == 0 || m->expires_at > r->shard->now) ? m : NULL;
}

const struct msg *retained_get(const struct retained *r, struct slice topic)
{
    trie_at at = trie_find_topic(&r->trie, r->root, topic);
    return at ? retained_at(r, at) : NULL;
}
