/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retained.c: the last retained message of every topic, and how a new subscription gets to see them.
 *
 *     trie of literal levels, node.value = const struct msg *, or a struct retained_item (with a timer) if it expires
 *
 *     a cursor (struct replay) walks it in pre-order, only into subtrees that can match:
 *
 *         site ─┬─ 1 ─┬─ temp  ◄─ pinned here: "delivered up to and including this"
 *               │     └─ hum       next time the walk goes on from this node
 *               └─ 2 ─ ...
 *
 *     replay_feed moves it while the queue is below half its limits, so 100,000 matches pass through a small queue.
 *
 * How a node is judged without recursion: the filter is a small automaton; the set of token positions that are alive after
 * the path from the root to a node says whether the node matches (the end is alive) and whether its children can.
 * The sets of the path are kept in a stack while the walk runs and computed anew when it is taken up again.
 *
 * Invariants
 *   1. node.value holds one reference on its message; n and bytes count exactly these. node.mark tells which form it has.
 *   2. A replay that stands on a node has it pinned; the node may lose its message meanwhile, not its place.
 *   3. A cursor never moves backwards: every topic that stays retained while it runs is delivered exactly once.
 * Cost    a node per level (48 bytes) and the message; a step of the walk O(levels of filter); literal prefixes are jumped to.
 * Thread  own shard only.
 * Spec    MQTT 5 §3.3.1.3, §3.8.3.1 (retain handling); [MQTT-4.7.2-1].
 */
#include "core/retained.h"

#include "core/queue.h"
#include "core/shard.h"

enum err retained_init(struct retained *r, struct shard *shard)
{
    *r = (struct retained){.shard = shard, .mem = shard_mem(shard, MEM_RETAINED)};
    trie_init(&r->trie, r->mem, shard->seed ^ 0x7e7a1edu);
    r->root = trie_root(&r->trie);
    return r->root ? ERR_OK : ERR_NOMEM;
}

static const struct msg *node_msg(const struct trie_node *n)
{
    if (!n->value || n->mark == 0)
        return n->value;
    return ((const struct retained_item *)n->value)->msg;
}

/* node_empty: takes what is in the node out and drops it. */
static void node_empty(struct retained *r, struct trie_node *n)
{
    const struct msg *m = node_msg(n);
    if (n->mark) {
        struct retained_item *i = n->value;
        wheel_disarm(&r->shard->wheel, &i->timer);
        mem_free(r->mem, i);
    }
    n->value = NULL;
    n->mark = 0;
    r->n--;
    r->bytes -= msg_bytes(m);
    stat_sub(&r->shard->stats, STAT_RETAINED, 1);
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
    trie_fini(&r->trie);
}

enum err retained_prepare(struct retained *r, struct slice topic, bool expires, struct retained_place *out)
{
    *out = (struct retained_place){0};
    if (!retained_has_room(r, topic))
        return ERR_FULL;
    if (expires) {
        out->item = mem_zalloc(r->mem, sizeof *out->item);
        if (!out->item)
            return ERR_NOMEM;
    }
    out->at = trie_make_topic(&r->trie, r->root, topic);
    if (!out->at) {
        mem_free(r->mem, out->item);
        return ERR_NOMEM;
    }
    trie_pin(&r->trie, out->at);
    return ERR_OK;
}

void retained_cancel(struct retained *r, struct retained_place *p)
{
    mem_free(r->mem, p->item);
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
        n->value = p->item;
        n->mark = 1;
        shard_arm(r->shard, &p->item->timer, TIMER_RETAINED, m->expires_at);
    }
    r->n++;
    r->bytes += msg_bytes(m);
    stat_add(&r->shard->stats, STAT_RETAINED, 1);
    trie_unpin(&r->trie, p->at);
}

enum err retained_put(struct retained *r, const struct msg *m)
{
    struct retained_place p;
    enum err e = retained_prepare(r, slice_make(m->bytes, m->topic_len), m->expires_at != 0, &p);
    if (e == ERR_OK)
        retained_set(r, &p, m);
    return e;
}

void retained_expire(struct retained_item *i)
{
    forget(i->retained, i->at);
}

bool retained_has_room(const struct retained *r, struct slice topic)
{
    if (!r->shard->limits.retained_max || r->n < r->shard->limits.retained_max)
        return true;
    trie_at at = trie_find_topic(&r->trie, r->root, topic);
    return at && trie_node(&r->trie, at)->value;
}

void retained_del(struct retained *r, struct slice topic)
{
    trie_at at = trie_find_topic(&r->trie, r->root, topic);
    if (at && trie_node(&r->trie, at)->value)
        forget(r, at);
}

static bool is_expired(const struct retained *r, const struct msg *m)
{
    return m->expires_at && m->expires_at <= r->shard->now;
}

const struct msg *retained_get(struct retained *r, struct slice topic)
{
    trie_at at = trie_find_topic(&r->trie, r->root, topic);
    const struct msg *m = at ? node_msg(trie_node(&r->trie, at)) : NULL;
    return m && !is_expired(r, m) ? m : NULL;
}

/* ---- the walk ----------------------------------------------------------------------------------------------- */

/* Token positions alive after some levels: bit i: tokens [0, i) have matched. */
struct alive {
    uint64_t w[(TOPIC_LEVELS_MAX + 64) / 64];
};

static bool alive_has(const struct alive *a, uint32_t i)
{
    return a->w[i / 64] >> (i % 64) & 1;
}

/* alive_add: position i, and those behind MANYs that may match nothing. */
static void alive_add(struct alive *a, const struct filter *f, uint32_t i)
{
    while (true) {
        a->w[i / 64] |= 1ull << (i % 64);
        if (i == f->n || f->tok[i].kind != TOKEN_MANY)
            return;
        i++;
    }
}

static bool alive_none(const struct alive *a)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < ARRAY_N(a->w); i++)
        any |= a->w[i];
    return any == 0;
}

/* alive_step: the set after one more level. */
static void alive_step(const struct alive *from, const struct filter *f, struct slice level, bool is_first, struct alive *out)
{
    *out = (struct alive){{0}};
    if (is_first && level.len > 0 && level.p[0] == '$' && f->tok[0].kind != TOKEN_LITERAL)
        return; /* [MQTT-4.7.2-1] */
    for (uint32_t i = 0; i < f->n; i++) {
        if (!alive_has(from, i))
            continue;
        const struct token *t = &f->tok[i];
        if (t->kind == TOKEN_LITERAL && !slice_eq(t->bytes, level))
            continue;
        alive_add(out, f, t->kind == TOKEN_MANY ? i : i + 1);
    }
}

struct walk {
    const struct trie *t;
    const struct filter *f;
    trie_at root, at;
    uint32_t depth; /* of `at`; 0 = root */
    struct alive alive[TOPIC_LEVELS_MAX + 1]; /* per depth, valid up to `depth` */
};

static void walk_at_root(struct walk *w)
{
    w->at = w->root;
    w->depth = 0;
    w->alive[0] = (struct alive){{0}};
    alive_add(&w->alive[0], w->f, 0);
}

static void walk_enter(struct walk *w, trie_at child)
{
    struct slice level = trie_level_bytes(w->t, trie_node(w->t, child)->level);
    alive_step(&w->alive[w->depth], w->f, level, w->depth == 0, &w->alive[w->depth + 1]);
    w->depth++;
    w->at = child;
}

/* walk_resume: stand on `at` again: the sets of its path are computed anew. */
static void walk_resume(struct walk *w, trie_at at)
{
    trie_at path[TOPIC_LEVELS_MAX];
    uint32_t n = 0;
    for (; at != w->root; at = trie_node(w->t, at)->parent)
        path[n++] = at;
    walk_at_root(w);
    while (n > 0)
        walk_enter(w, path[--n]);
}

/* only_literal: the one literal token that can match below `at`, or NULL when children must be looked at one by one. */
static const struct token *only_literal(const struct walk *w)
{
    const struct alive *a = &w->alive[w->depth];
    const struct token *found = NULL;
    for (uint32_t i = 0; i < w->f->n; i++) {
        if (!alive_has(a, i))
            continue;
        if (found || w->f->tok[i].kind != TOKEN_LITERAL)
            return NULL;
        found = &w->f->tok[i];
    }
    return found;
}

static trie_at first_child(const struct walk *w)
{
    if (w->depth == TOPIC_LEVELS_MAX || alive_none(&w->alive[w->depth]))
        return 0;
    const struct token *t = only_literal(w);
    if (t)
        return trie_child(w->t, w->at, trie_level_find(w->t, t->bytes));
    return trie_node(w->t, w->at)->child_first;
}

/* walk_next: pre-order over the nodes that can lead to matches. False at the end. */
static bool walk_next(struct walk *w)
{
    trie_at child = first_child(w);
    if (child) {
        walk_enter(w, child);
        return true;
    }
    while (w->at != w->root) {
        trie_at next = trie_node(w->t, w->at)->sib_next;
        w->at = trie_node(w->t, w->at)->parent;
        w->depth--;
        if (next && !only_literal(w)) {
            walk_enter(w, next);
            return true;
        }
    }
    return false;
}

static const struct msg *walk_msg(const struct walk *w)
{
    if (!alive_has(&w->alive[w->depth], w->f->n))
        return NULL;
    return node_msg(trie_node(w->t, w->at));
}

void retained_match(struct retained *r, const struct filter *f, void (*fn)(const struct msg *m, void *ctx), void *ctx)
{
    struct walk w = {.t = &r->trie, .f = f, .root = r->root};
    walk_at_root(&w);
    while (walk_next(&w)) {
        const struct msg *m = walk_msg(&w);
        if (m && !is_expired(r, m))
            fn(m, ctx);
    }
}

/* ---- replay ------------------------------------------------------------------------------------------------- */

static struct mem *replay_mem(const struct queue *q)
{
    return shard_mem(q->vhost->shard, MEM_RETAINED);
}

/* set_refs: a cursor holds its binding set like an entry does. */
static void set_refs(struct queue *q, uint32_t set, int by)
{
    if (set >= SET_PLAIN_N)
        q->set[set - SET_PLAIN_N].refs += (uint32_t)by;
}

enum err replay_open(struct retained *r, struct queue *q, const struct filter *f, uint32_t set, uint8_t qos)
{
    if (r->n == 0)
        return ERR_OK;
    size_t bytes = 0;
    for (uint32_t i = 0; i < f->n; i++)
        bytes += f->tok[i].bytes.len;
    struct replay *p = mem_zalloc(r->mem, sizeof *p);
    struct token *tok = mem_alloc(r->mem, f->n * sizeof *tok + bytes + 1);
    if (!p || !tok) {
        mem_free(r->mem, p);
        mem_free(r->mem, tok);
        return ERR_NOMEM;
    }
    uint8_t *copy = (uint8_t *)(tok + f->n);
    for (uint32_t i = 0; i < f->n; i++) {
        tok[i] = (struct token){.kind = f->tok[i].kind, .bytes = slice_make(copy, f->tok[i].bytes.len)};
        if (f->tok[i].bytes.len)
            memcpy(copy, f->tok[i].bytes.p, f->tok[i].bytes.len);
        copy += f->tok[i].bytes.len;
    }
    p->tok = tok;
    p->tok_n = (uint16_t)f->n;
    p->set = set;
    p->qos = qos;
    set_refs(q, set, 1);
    struct replay **end = &q->replay;
    while (*end)
        end = &(*end)->next;
    *end = p;
    queue_mark(q);
    return ERR_OK;
}

static bool replay_is_of(const struct replay *p, const struct filter *f)
{
    return filter_is_equal(&(struct filter){.tok = p->tok, .n = p->tok_n}, f);
}

void replay_update(struct queue *q, const struct filter *f, uint32_t set, uint8_t qos)
{
    for (struct replay *p = q->replay; p; p = p->next) {
        if (!replay_is_of(p, f))
            continue;
        set_refs(q, set, 1);
        set_refs(q, p->set, -1);
        p->set = set;
        p->qos = qos;
    }
}

static void replay_close(struct queue *q, struct replay *p)
{
    struct retained *r = &q->vhost->retained;
    if (p->at)
        trie_unpin(&r->trie, p->at);
    set_refs(q, p->set, -1);
    mem_free(replay_mem(q), p->tok);
    mem_free(replay_mem(q), p);
}

void replay_close_filter(struct queue *q, const struct filter *f)
{
    struct replay **link = &q->replay;
    while (*link) {
        struct replay *p = *link;
        if (!replay_is_of(p, f)) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        replay_close(q, p);
    }
}

void replay_close_all(struct queue *q)
{
    while (q->replay) {
        struct replay *p = q->replay;
        q->replay = p->next;
        replay_close(q, p);
    }
}

static void push_retained(struct queue *q, const struct replay *p, const struct msg *m)
{
    struct push how = {.set = p->set, .qos = MIN(m->qos, p->qos), .retained = true};
    queue_push(q, m, &how);
}

/* replay_stand: the cursor waits on `at`, pinned; the root needs no pin. */
static void replay_stand(struct retained *r, struct replay *p, trie_at at)
{
    trie_at was = p->at;
    p->at = at == r->root ? 0 : at;
    if (p->at == was)
        return;
    if (p->at)
        trie_pin(&r->trie, p->at);
    if (was)
        trie_unpin(&r->trie, was);
}

enum replay_end { REPLAY_AT_END, REPLAY_PAUSED };

/* replay_run: moves one cursor until it is at its end, pushed `budget` messages in all, or the queue is half full. */
static enum replay_end replay_run(struct queue *q, struct replay *p, uint32_t budget, uint32_t *pushed)
{
    enum { STEPS_MAX = 4096 }; /* nodes looked at in one call, matching or not */
    struct retained *r = &q->vhost->retained;
    struct filter f = {.tok = p->tok, .n = p->tok_n};
    struct walk w = {.t = &r->trie, .f = &f, .root = r->root};
    if (p->at)
        walk_resume(&w, p->at);
    else
        walk_at_root(&w);
    trie_at done = w.at; /* everything up to this node has been dealt with */
    for (uint32_t steps = 0; *pushed < budget && steps < STEPS_MAX && !queue_is_half(q); steps++) {
        if (!walk_next(&w))
            return REPLAY_AT_END;
        const struct msg *m = walk_msg(&w);
        if (m && !is_expired(r, m)) {
            if (queue_is_over(q, msg_bytes(m)) && !(q->ready_n == 0 && queue_has_taker(q)))
                break; /* it comes again when there is room, or when somebody takes it at once */
            push_retained(q, p, m);
            ++*pushed;
        }
        done = w.at;
    }
    replay_stand(r, p, done);
    return REPLAY_PAUSED;
}

uint32_t replay_feed(struct queue *q, uint32_t budget)
{
    uint32_t pushed = 0;
    while (q->replay && pushed < budget && !queue_is_half(q)) {
        struct replay *p = q->replay;
        if (replay_run(q, p, budget, &pushed) == REPLAY_PAUSED)
            break;
        q->replay = p->next;
        replay_close(q, p);
    }
    return pushed;
}
