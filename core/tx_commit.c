/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tx_commit.c: a transaction happens, or is refused.
 *
 *     1 prepare   every check, every byte of memory, as if all before it had happened
 *     2 record    STORE_TX · each publish and settle · STORE_TX_END
 *     3 go        each action, in order
 *
 * What 1 or 2 cannot do refuses the whole: what was prepared is given back, the unit in the store is ended as void, the
 * marks are taken off. In 3 nothing can fail any more.
 *
 * Invariants
 *   1. Between 1 and 3 no binding changes: the routes and binding sets found in 1 are good in 3 (else 1 is done again).
 *   2. The store gets a unit in one go: no other record between STORE_TX and STORE_TX_END.
 *   3. Blocks for the entries are taken in 1 and given back just before the message that needs them, so that a commit
 *      does not lose one message of several for want of memory.
 *   4. What dies by a REJECT is published to its dead-letter exchange behind the unit, by a record of its own.
 * Cost    as the single verbs, and 32 bytes per target and a block per entry while it runs.
 * Thread  own shard only.
 * Spec    STOMP 1.2 §COMMIT.
 */
#include "core/tx_actions.h"

#include "core/journey.h"
#include "core/replay.h"
#include "core/shard.h"

enum { TARGETS_FIRST = 16, TRIES = 3 };

/* What a queue that may refuse is to get in all. */
struct tally {
    struct queue *queue;
    uint64_t n, bytes;
};

/* A commit on its way through the actions. */
struct commit {
    struct shard *s;
    struct session *me;
    struct tx *t;
    struct map tallies;
    uint64_t retained_n, retained_bytes, delayed_n, delayed_bytes; /* of the actions so far */
    uint64_t store_bytes, record_n;
};

/* ---- 1 prepare ---------------------------------------------------------------------------------------------- */

/* journey_of: action a as a journey: view and route are the caller's. */
static struct journey journey_of(const struct commit *k, const struct action *a, struct msgview *view)
{
    msg_view(a->msg, view);
    return (struct journey){.s = k->s,
                            .v = k->me->vhost,
                            .x = a->x,
                            .view = view,
                            .publisher = k->me,
                            .msg = a->msg,
                            .place = a->place,
                            .later = a->later,
                            .delay_ms = a->delay_ms,
                            .lsn = a->lsn};
}

/* route_of: where it goes, as it was found in 1; NULL: it waits. */
static const struct route *route_of(const struct commit *k, const struct action *a, struct route *out)
{
    *out = (struct route){.exchange = a->x,
                          .target = a->target_n ? k->t->target + a->target_at : NULL,
                          .target_n = a->target_n,
                          .has_durable = a->has_durable};
    return a->delay_ms ? NULL : out;
}

static struct slice tally_key(const void *item)
{
    const struct tally *y = item;
    return slice_make(&y->queue, sizeof y->queue);
}

static struct tally *tally_of(struct commit *k, struct queue *q)
{
    struct mem *mem = k->tallies.mem;
    struct tally *y = map_get(&k->tallies, slice_make(&q, sizeof q));
    if (y)
        return y;
    y = mem_zalloc(mem, sizeof *y);
    if (!y)
        return NULL;
    y->queue = q;
    if (map_put(&k->tallies, y) == ERR_OK)
        return y;
    mem_free(mem, y);
    return NULL;
}

static bool is_too_much(const struct tally *y)
{
    const struct queue_policy *p = y->queue->policy;
    return (p->len_max && y->queue->ready_n + y->n > p->len_max) ||
           (p->bytes_max && y->queue->bytes + y->bytes > p->bytes_max);
}

/* check_queue: q gets one more message, behind those it gets by the actions before this one. */
static enum err check_queue(struct commit *k, struct queue *q, uint64_t bytes)
{
    if (q->policy->overflow < OVERFLOW_REJECT)
        return ERR_OK;
    struct tally *y = tally_of(k, q);
    if (!y)
        return ERR_NOMEM;
    y->n++;
    y->bytes += bytes;
    if (!is_too_much(y))
        return ERR_OK;
    queue_dispatch(q); /* a consumer with credit may take what this turn put there */
    if (!is_too_much(y))
        return ERR_OK;
    k->s->refused = q;
    return ERR_FULL;
}

static bool target_add(struct commit *k, const struct target *target)
{
    struct tx *t = k->t;
    if (t->target_n == t->target_cap) {
        uint32_t cap = t->target_cap ? t->target_cap * 2 : TARGETS_FIRST;
        struct target *grown = mem_realloc(k->tallies.mem, t->target, cap * sizeof *grown);
        if (!grown)
            return false;
        t->target = grown;
        t->target_cap = cap;
    }
    t->target[t->target_n++] = *target;
    return true;
}

/* spare_add: the block that an entry of this message in q will need. */
static bool spare_add(struct commit *k, struct action *a, const struct queue *q)
{
    struct spare *one = pool_take(queue_times(q, a->msg) ? &k->s->timed_entries : &k->s->entries);
    if (!one)
        return false;
    one->next = a->spares;
    a->spares = one;
    return true;
}

static void spares_give(struct action *a)
{
    while (a->spares) {
        struct spare *one = a->spares;
        a->spares = one->next;
        pool_give(pool_from_item(one), one);
    }
}

/* prepare_target: one queue that wants it. */
static enum err prepare_target(struct commit *k, struct action *a, const struct msgview *m, struct target t)
{
    struct queue *q = t.queue;
    if (t.has_no_local && q->owner && session_published(q->owner, m->publisher, m->flags) &&
        !router_merge_for(&k->me->vhost->router, a->x, m->topic, q, &t.set, &t.qos))
        return ERR_OK;
    t.has_no_local = 0;
    enum err e = check_queue(k, q, msg_bytes(a->msg));
    if (e != ERR_OK)
        return e;
    if (!target_add(k, &t))
        return ERR_NOMEM;
    a->target_n++;
    bool may_stay = MIN(m->qos, t.qos) > 0 || q->policy->keep_qos0;
    return !may_stay || spare_add(k, a, q) ? ERR_OK : ERR_NOMEM;
}

static enum err prepare_targets(struct commit *k, struct action *a, const struct msgview *m)
{
    const struct route *r = router_route(&k->me->vhost->router, a->x, m->topic);
    if (!r)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    a->target_at = k->t->target_n;
    a->has_durable = r->has_durable;
    for (uint32_t i = 0; e == ERR_OK && i < r->target_n; i++)
        e = prepare_target(k, a, m, r->target[i]);
    return e;
}

static enum err check_retained(struct commit *k, const struct journey *j)
{
    const struct msgview *m = j->view;
    struct vhost *v = j->v;
    enum err e = journey_check_retain(j);
    if (e != ERR_OK || !(m->flags & MSG_RETAIN) || j->x != v->topic_exchange || m->payload.len == 0)
        return e;
    uint64_t bytes = msg_bytes(j->msg);
    if (!retained_has_room_beside(&v->retained, m->topic, bytes, k->retained_n, k->retained_bytes))
        return ERR_FULL;
    k->retained_n++;
    k->retained_bytes += bytes;
    return ERR_OK;
}

static enum err check_delayed(struct commit *k, const struct journey *j)
{
    k->delayed_n++;
    k->delayed_bytes += msg_bytes(j->msg);
    return delayed_has_room(&j->v->delayed, k->delayed_n, k->delayed_bytes) ? ERR_OK : ERR_FULL;
}

static enum err prepare_publish(struct commit *k, struct action *a)
{
    struct msgview view;
    struct route route;
    struct journey j = journey_of(k, a, &view);
    enum err e = journey_may(&j);
    if (e == ERR_OK)
        e = check_retained(k, &j);
    if (e == ERR_OK)
        e = a->delay_ms ? check_delayed(k, &j) : prepare_targets(k, a, &view);
    j.route = route_of(k, a, &route);
    if (e == ERR_OK)
        e = journey_prepare(&j);
    a->place = j.place;
    a->later = j.later;
    uint64_t bytes = 0;
    if (e == ERR_OK)
        e = journey_bytes(&j, &bytes);
    k->store_bytes += bytes;
    k->record_n += bytes != 0;
    return e;
}

/* is_logged: does the unit hold a settle for it? Not when it lives on, as a dead letter too: that has its own record.
 */
static bool is_logged(const struct action *a, const struct entry *e)
{
    bool is_end = a->outcome == OUTCOME_ACK ||
                  (a->outcome == OUTCOME_REJECT && !e->at.consumer->queue->policy->has_dead_exchange);
    return e->lsn != 0 && e->state == ENTRY_SENT && is_end;
}

static enum err prepare_settle(struct commit *k, const struct action *a)
{
    const struct entry *e = tx_entry(k->me, a->ticket);
    if (!e || !e->in_tx)
        return ERR_NOT_FOUND;
    k->record_n += is_logged(a, e);
    return ERR_OK;
}

/* undo: as before prepare. */
static void undo(struct commit *k)
{
    for (uint32_t i = 0; i < k->t->n; i++) {
        struct action *a = &k->t->v[i];
        struct msgview view;
        if (!a->msg)
            continue;
        struct journey j = journey_of(k, a, &view);
        journey_undo(&j);
        a->place = j.place;
        a->later = j.later;
        a->target_n = 0;
        spares_give(a);
    }
    k->t->target_n = 0;
    k->retained_n = k->retained_bytes = k->delayed_n = k->delayed_bytes = k->store_bytes = k->record_n = 0;
}

static void tallies_free(struct commit *k)
{
    uint32_t pos = 0;
    for (struct tally *y = map_next(&k->tallies, &pos); y; y = map_next(&k->tallies, &pos))
        mem_free(k->tallies.mem, y);
    map_fini(&k->tallies);
}

static enum err prepare_all(struct commit *k)
{
    enum err e = ERR_OK;
    map_init(&k->tallies, shard_mem(k->s, MEM_SESSION), tally_key, k->s->seed);
    for (uint32_t i = 0; e == ERR_OK && i < k->t->n; i++) {
        struct action *a = &k->t->v[i];
        e = a->msg ? prepare_publish(k, a) : prepare_settle(k, a);
    }
    tallies_free(k);
    return e;
}

/* prepare: again, if a queue had to make binding sets reusable on the way: those found first may be, too. */
static enum err prepare(struct commit *k)
{
    const struct router *r = &k->me->vhost->router;
    for (unsigned i = 0; i < TRIES; i++) {
        uint64_t gen = r->gen;
        enum err e = prepare_all(k);
        if (e == ERR_OK && gen == r->gen)
            return ERR_OK;
        undo(k);
        if (e != ERR_OK)
            return e;
    }
    return ERR_FULL;
}

/* ---- 2 record ----------------------------------------------------------------------------------------------- */

static enum err append_settle(struct commit *k, struct action *a)
{
    const struct entry *e = tx_entry(k->me, a->ticket);
    if (!is_logged(a, e))
        return ERR_OK;
    a->lsn = shard_append(
        k->s, &(struct store_rec){.kind = STORE_SETTLE, .queue = e->at.consumer->queue->number, .of = e->lsn});
    if (a->lsn != LSN_FAILED)
        return ERR_OK;
    a->lsn = 0;
    return ERR_STORE;
}

static enum err append_publish(struct commit *k, struct action *a)
{
    struct msgview view;
    struct route route;
    struct journey j = journey_of(k, a, &view);
    uint64_t bytes;
    j.route = route_of(k, a, &route);
    enum err e = journey_bytes(&j, &bytes);
    if (e == ERR_OK && bytes != 0)
        e = journey_append(&j);
    a->lsn = j.lsn;
    return e;
}

/* record: *out_lsn: what the receipt waits for; 0: nothing. */
static enum err record(struct commit *k, lsn_t *out_lsn)
{
    struct shard *s = k->s;
    *out_lsn = 0;
    if (k->record_n == 0 || !s->store)
        return ERR_OK;
    if (s->store_failed)
        return ERR_STORE;
    enum err e = store_reserve(s->store, k->store_bytes);
    if (e != ERR_OK)
        return e;
    if (shard_append(s, &(struct store_rec){.kind = STORE_TX}) == LSN_FAILED)
        return ERR_STORE;
    for (uint32_t i = 0; e == ERR_OK && i < k->t->n; i++) {
        struct action *a = &k->t->v[i];
        e = a->msg ? append_publish(k, a) : append_settle(k, a);
    }
    bool counts = e == ERR_OK;
    lsn_t end = shard_unit_end(s, &counts);
    if (counts)
        *out_lsn = end;
    return e == ERR_OK && !counts ? ERR_STORE : e;
}

/* ---- 3 go --------------------------------------------------------------------------------------------------- */

static void go_publish(struct commit *k, struct action *a)
{
    struct msgview view;
    struct route route;
    struct journey j = journey_of(k, a, &view);
    j.route = route_of(k, a, &route);
    j.is_accepted = true;
    spares_give(a);
    k->s->turn_out += msg_bytes(a->msg);
    if (!j.route) {
        journey_wait(&j);
        return;
    }
    enum err e = journey_go(&j);
    BUG_ON(e != ERR_OK && e != ERR_NO_MATCH);
}

static void go_settle(struct conn *c, const struct action *a)
{
    struct entry *e = tx_entry(c->session, a->ticket);
    e->in_tx = 0;
    if (a->lsn)
        e->lsn = 0; /* the unit has settled it */
    enum err err = broker_settle(c, a->ticket, (enum outcome)a->outcome);
    BUG_ON(err != ERR_OK);
}

static void go(struct conn *c, struct commit *k)
{
    for (uint32_t i = 0; i < k->t->n; i++) {
        struct action *a = &k->t->v[i];
        if (a->msg)
            go_publish(k, a);
        else
            go_settle(c, a);
    }
}

/* slow_down: what it published counts, whatever became of it. Returns how many messages that were. */
static uint32_t slow_down(struct conn *c, const struct tx *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct action *a = &t->v[i];
        n += a->msg != NULL;
        if (a->msg && (c->has_rate | a->x->has_brake))
            conn_slow(c, a->x, 1, a->msg->payload_len);
    }
    return n;
}

/* pass_replays: as for any publish, the retained value that a topic had goes before the new one, in the store, too. */
static NOINLINE void pass_replays(struct commit *k)
{
    struct vhost *v = k->me->vhost;
    for (uint32_t i = 0; i < k->t->n; i++) {
        const struct action *a = &k->t->v[i];
        if (!a->msg || a->x != v->topic_exchange)
            continue;
        struct slice topic = slice_make(a->msg->bytes, a->msg->topic_len);
        const struct route *r = router_route(&v->router, a->x, topic);
        for (uint32_t at = 0; r && at < r->target_n; at++)
            if (r->target[at].queue->replay)
                replay_pass(r->target[at].queue, topic);
    }
}

void tx_commit(struct conn *c, struct tx *t, uint64_t receipt)
{
    struct shard *s = c->shard;
    struct commit k = {.s = s, .me = c->session, .t = t};
    lsn_t lsn = 0;
    BUG_ON(!k.me);
    s->refused = NULL;
    if (UNLIKELY(k.me->vhost->retained.replay_n > 0))
        pass_replays(&k);
    enum err e = prepare(&k);
    if (e == ERR_OK) {
        e = record(&k, &lsn);
        if (e != ERR_OK)
            undo(&k);
    }
    if (e == ERR_OK)
        go(c, &k);
    else
        tx_unmark(c, t);
    uint32_t n = slow_down(c, t);
    stat_add(&s->stats, e == ERR_OK ? STAT_TX_COMMITTED : STAT_TX_ABORTED, 1);
    stat_add(&s->stats, STAT_REFUSED, e == ERR_OK ? 0 : n);
    tx_free(c, t);
    conn_owe(c, receipt, e, lsn);
    if (shard_should_flush(s))
        shard_flush_some(s);
}
