/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c: how a new subscription gets to see the retained messages.
 *
 *     a cursor (struct replay) walks the retained trie in pre-order, only into subtrees that can match:
 *
 *         site ─┬─ 1 ─┬─ temp  ◄─ pinned here: "dealt with up to and including this"
 *               │     └─ hum       next time the walk goes on from this node
 *               └─ 2 ─ ...
 *
 *     replay_feed moves it while the queue is below half its limits, so 100,000 matches pass through a small queue.
 *     replay_pass: a live message comes on a topic the cursor has not reached: the retained value goes first, and the
 * node is remembered as done, so that no old value follows a new one.
 *
 * How a node is judged without recursion: the filter is a small automaton; the set of token positions that are alive
 * after the path from the root to a node says whether the node matches (the end is alive) and whether its children can.
 * The sets of the path are kept in a stack while the walk runs and computed anew when it is taken up again.
 *
 * Invariants
 *   1. A cursor that stands on a node has it pinned, and so are its done nodes; they may lose their message, not their
 * place.
 *   2. A cursor never moves backwards: every topic that stays retained while it runs is delivered exactly once.
 *   3. Siblings are in order of creation, so "has the cursor passed this node" compares the paths where they part.
 * Cost    a step of the walk O(levels of the filter); literal prefixes are jumped to; a done node 8 to 16 bytes while
 *         it lasts.
 * Thread  own shard only.
 * Spec    MQTT 5 §3.3.1.3, §3.8.3.1 (retain handling); [MQTT-4.7.2-1].
 */
#include "core/replay.h"

#include "core/base/hash.h"
#include "core/binding_log.h"
#include "core/exchange.h"
#include "core/queue.h"
#include "core/retained.h"
#include "core/session.h"
#include "core/shard.h"

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
static void alive_step(const struct alive *from, const struct filter *f, struct slice level, bool is_first,
                       struct alive *out)
{
    *out = (struct alive){{0}};
    if (is_first && level.len > 0 && level.p[0] == '$' && f->tok[0].kind != TOKEN_LITERAL)
        return; /* both: [MQTT-4.7.2-1] */
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
    uint32_t depth;                           /* of `at`; 0 = root */
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

static const struct msg *walk_msg(const struct retained *r, const struct walk *w)
{
    return alive_has(&w->alive[w->depth], w->f->n) ? retained_at(r, w->at) : NULL;
}

void retained_match(struct retained *r, const struct filter *f, void (*fn)(const struct msg *m, void *ctx), void *ctx)
{
    struct walk w = {.t = &r->trie, .f = f, .root = r->root};
    walk_at_root(&w);
    while (walk_next(&w)) {
        const struct msg *m = walk_msg(r, &w);
        if (m)
            fn(m, ctx);
    }
}

/* ---- replay ------------------------------------------------------------------------------------------------- */

/* set_refs: a cursor holds its binding set like an entry does. */
static void set_refs(struct queue *q, uint32_t set, int by)
{
    if (set >= SET_PLAIN_N)
        q->set[set - SET_PLAIN_N].refs += (uint32_t)by;
}

/* append: behind the queue's other cursors. */
static void append(struct queue *q, struct replay *p)
{
    p->next = NULL;
    if (q->replay)
        q->replay_last->next = p;
    else
        q->replay = p;
    q->replay_last = p;
}

enum err replay_open(struct retained *r, struct queue *q, const struct filter *f, uint32_t set, uint8_t qos,
                     enum replay_own own)
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
    p->own = (uint8_t)own;
    set_refs(q, set, 1);
    append(q, p);
    r->replay_n++;
    queue_mark(q);
    return ERR_OK;
}

enum err replay_begin(struct queue *q, const struct exchange *x, const struct filter *f, const struct binding_opts *o)
{
    if (x != q->vhost->topic_exchange)
        return ERR_OK;
    uint32_t set = queue_set_intern(q, o->qos, o->retain_as_published, &o->sub_id, o->sub_id ? 1 : 0);
    if (set == UINT32_MAX)
        return ERR_NOMEM;
    return replay_open(&q->vhost->retained, q, f, set, o->qos, o->no_local ? REPLAY_NOT_OWN : REPLAY_OWN);
}

static bool replay_is_of(const struct replay *p, const struct filter *f)
{
    return filter_is_equal(&(struct filter){.tok = p->tok, .n = p->tok_n}, f);
}

void replay_update(struct queue *q, const struct filter *f, uint32_t set, uint8_t qos, enum replay_own own)
{
    for (struct replay *p = q->replay; p; p = p->next) {
        if (!replay_is_of(p, f))
            continue;
        set_refs(q, set, 1);
        set_refs(q, p->set, -1);
        p->set = set;
        p->qos = qos;
        p->own = (uint8_t)own;
    }
}

/* ---- done nodes --------------------------------------------------------------------------------------------- */

static uint32_t done_slot(const struct replay *p, trie_at at)
{
    uint32_t mask = p->done_cap - 1, i = (uint32_t)hash_u64(0, at) & mask;
    while (p->done[i] && p->done[i] != at)
        i = (i + 1) & mask;
    return i;
}

static bool done_has(const struct replay *p, trie_at at)
{
    return p->done_n > 0 && p->done[done_slot(p, at)] == at;
}

/* done_add: false when out of memory. */
static bool done_add(struct retained *r, struct replay *p, trie_at at)
{
    if ((p->done_n + 1) * 4 > p->done_cap * 3) {
        uint32_t cap = p->done_cap ? p->done_cap * 2 : 8, old_cap = p->done_cap;
        trie_at *old = p->done, *grown = mem_zalloc(r->mem, cap * sizeof *grown);
        if (!grown)
            return false;
        p->done = grown;
        p->done_cap = cap;
        for (uint32_t i = 0; i < old_cap; i++)
            if (old[i])
                p->done[done_slot(p, old[i])] = old[i];
        mem_free(r->mem, old);
    }
    p->done[done_slot(p, at)] = at;
    p->done_n++;
    trie_pin(&r->trie, at);
    return true;
}

static void done_free(struct retained *r, struct replay *p)
{
    for (uint32_t i = 0; i < p->done_cap; i++)
        if (p->done[i])
            trie_unpin(&r->trie, p->done[i]);
    mem_free(r->mem, p->done);
}

/* ---- closing ------------------------------------------------------------------------------------------------ */

static void replay_close(struct queue *q, struct replay *p)
{
    struct retained *r = &q->vhost->retained;
    done_free(r, p);
    if (p->at)
        trie_unpin(&r->trie, p->at);
    set_refs(q, p->set, -1);
    mem_free(r->mem, p->tok);
    mem_free(r->mem, p);
    r->replay_n--;
}

void replay_close_all(struct queue *q)
{
    while (q->replay) {
        struct replay *p = q->replay;
        q->replay = p->next;
        replay_close(q, p);
    }
}

void replay_close_filter(struct queue *q, const struct filter *f)
{
    struct replay *all = q->replay, *next;
    q->replay = q->replay_last = NULL;
    for (struct replay *p = all; p; p = next) {
        next = p->next;
        if (replay_is_of(p, f)) {
            replay_close(q, p);
            continue;
        }
        append(q, p);
    }
}

/* ---- feeding ------------------------------------------------------------------------------------------------ */

/* log_push: a retained message that waits in a queue which survives a restart is a publish of its own. LSN or 0: the
 * store has no room: it is delivered all the same. */
static lsn_t log_push(struct queue *q, const struct replay *p, const struct msg *m)
{
    struct shard *s = q->vhost->shard;
    s->store_target_n = 0;
    if (store_reserve(s->store, sizeof *m + msg_bytes(m)) != ERR_OK || !shard_store_target(s, q, p->set))
        return 0;
    struct store_rec rec = {.kind = STORE_PUBLISH,
                            .msg = m,
                            .target = s->store_target,
                            .target_n = 1,
                            .flags = STORE_PUBLISH_REPLAYED | (queue_has_taker(q) ? STORE_PUBLISH_LIVE : 0)};
    lsn_t lsn = shard_append(s, &rec);
    return lsn == LSN_FAILED ? 0 : lsn;
}

static void push_retained(struct queue *q, const struct replay *p, const struct msg *m)
{
    struct push how = {.set = p->set, .qos = MIN(m->qos, p->qos), .retained = true};
    if (how.qos > 0 && q->vhost->shard->store && !(m->flags & MSG_OWN) && queue_is_durable(q))
        how.lsn = log_push(q, p, m);
    queue_push(q, m, &how);
}

/* log_done: a restart would begin this replay anew; now it need not. */
static void log_done(struct queue *q, const struct replay *p)
{
    struct vhost *v = q->vhost;
    struct filter f = {.tok = p->tok, .n = p->tok_n};
    if (!v->shard->store || !q->owner || !queue_is_durable(q) || q->is_dead)
        return;
    const struct binding *b = router_find(&v->router, v->topic_exchange, &f, q);
    if (!b)
        return;
    struct binding_opts o = binding_opts_now(b);
    (void)binding_log(v->shard,
                      (struct store_rec){.kind = STORE_BIND,
                                         .queue = q->number,
                                         .session = q->owner->number,
                                         .name = exchange_name(v->topic_exchange)},
                      &f, &o);
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

/* has_room: may a retained message enter now? One larger than the limits goes through an empty queue if it does not
 * stay. */
static bool has_room(const struct queue *q, const struct msg *m)
{
    return !queue_is_over(q, msg_bytes(m)) || (q->ready_n == 0 && queue_has_taker(q));
}

/* is_own: [MQTT-3.8.3-3] the queue's owner published it, and does not want to see that. */
static bool is_own(const struct queue *q, const struct replay *p, const struct msg *m)
{
    return p->own == REPLAY_NOT_OWN && q->owner && session_published(q->owner, m->publisher, m->flags);
}

enum replay_end { REPLAY_AT_END, REPLAY_PAUSED };

struct feed {
    uint32_t budget, pushed; /* messages */
    uint32_t steps;          /* nodes that may still be looked at, matching or not */
};

/* replay_run: moves one cursor until it is at its end, the budget is used up, or the queue is half full. */
static enum replay_end replay_run(struct queue *q, struct replay *p, struct feed *feed)
{
    struct retained *r = &q->vhost->retained;
    struct filter f = {.tok = p->tok, .n = p->tok_n};
    struct walk w = {.t = &r->trie, .f = &f, .root = r->root};
    if (p->at)
        walk_resume(&w, p->at);
    else
        walk_at_root(&w);
    trie_at done = w.at; /* everything up to this node has been dealt with */
    for (; feed->pushed < feed->budget && feed->steps > 0 && !queue_is_half(q); feed->steps--) {
        if (!walk_next(&w))
            return REPLAY_AT_END;
        const struct msg *m = done_has(p, w.at) ? NULL : walk_msg(r, &w);
        if (m && is_own(q, p, m))
            m = NULL;
        if (m && !has_room(q, m))
            break; /* it comes again when there is room, or when somebody takes it at once */
        if (m) {
            push_retained(q, p, m);
            feed->pushed++;
        }
        done = w.at;
    }
    replay_stand(r, p, done);
    return REPLAY_PAUSED;
}

uint32_t replay_feed(struct queue *q, uint32_t budget)
{
    enum { STEPS_MAX = 4096 };
    struct feed feed = {.budget = budget, .steps = STEPS_MAX};
    while (q->replay && feed.pushed < budget && feed.steps > 0 && !queue_is_half(q)) {
        struct replay *p = q->replay;
        feed.steps--;
        if (replay_run(q, p, &feed) == REPLAY_PAUSED)
            break;
        q->replay = p->next;
        log_done(q, p);
        replay_close(q, p);
    }
    return feed.pushed;
}

/* ---- live messages ------------------------------------------------------------------------------------------ */

static uint32_t depth_of(const struct retained *r, trie_at at)
{
    uint32_t n = 0;
    for (; at != r->root; at = trie_node(&r->trie, at)->parent)
        n++;
    return n;
}

static trie_at lift(const struct retained *r, trie_at at, uint32_t by)
{
    for (; by > 0; by--)
        at = trie_node(&r->trie, at)->parent;
    return at;
}

/* has_passed: is `node` at or before the cursor in pre-order? */
static bool has_passed(const struct retained *r, const struct replay *p, trie_at node)
{
    if (!p->at)
        return false;
    uint32_t at_depth = depth_of(r, p->at), node_depth = depth_of(r, node), depth = MIN(at_depth, node_depth);
    trie_at a = lift(r, p->at, at_depth - depth), b = lift(r, node, node_depth - depth);
    if (a == b)
        return node_depth <= at_depth; /* the node is above the cursor or under it */
    while (trie_node(&r->trie, a)->parent != trie_node(&r->trie, b)->parent) {
        a = trie_node(&r->trie, a)->parent;
        b = trie_node(&r->trie, b)->parent;
    }
    return trie_node(&r->trie, b)->mark < trie_node(&r->trie, a)->mark;
}

void replay_pass(struct queue *q, struct slice topic)
{
    struct retained *r = &q->vhost->retained;
    trie_at node = trie_find_topic(&r->trie, r->root, topic);
    const struct msg *m = node ? retained_at(r, node) : NULL;
    if (!m)
        return;
    for (struct replay *p = q->replay; p; p = p->next) {
        struct filter f = {.tok = p->tok, .n = p->tok_n};
        if (!filter_matches(&f, topic) || done_has(p, node) || has_passed(r, p, node) || is_own(q, p, m))
            continue;
        if (has_room(q, m) && done_add(r, p, node))
            push_retained(q, p, m);
    }
}
