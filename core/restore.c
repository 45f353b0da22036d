/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore.c: the broker as it was.
 *
 *     store replays:  EXCHANGE ─► SESSION ─► QUEUE ─► BIND ─► MEMBER ─► WILL ─► PUBLISH and RETAIN, by LSN
 *     here:           each becomes what it was the record of; numbers are looked up in two tables that live only now
 *     at the end:     sessions are offline, their timers run; replays that were cut short begin anew
 *
 * Times in records are wall-clock times; store->clock makes them this life's. A session that was online when the log
 * ended went offline then (store->stamp).
 *
 * Invariants
 *   1. Nothing is routed, delivered or appended while the store replays; what has to be appended waits for the end.
 *   2. Numbers of sessions, queues and exchanges are what they were, and later ones are greater than all of them.
 *   3. An entry whose delivery had a packet id is in flight under it, and is sent again first (MQTT 5 §4.4).
 * Cost    O(records); about 200 ns for a waiting message.
 * Thread  own shard only.
 * Spec    MQTT 5 §4.1 (what session state is), §4.4; 3.1.1 §4.1.
 */
#include "core/restore.h"

#include "core/base/map.h"
#include "core/binding_log.h"
#include "core/broker.h"
#include "core/hold.h"
#include "core/replay.h"
#include "core/shard.h"

/* A replay that was cut short. owner: restore->replays */
struct pending_replay {
    struct list_node node;
    struct queue *queue;
    uint32_t len;
    uint8_t filter[];
};

/* A target that is not there any more. owner: restore->orphans */
struct orphan {
    uint64_t queue;
    lsn_t lsn;
};

struct restore {
    struct shard *s;
    struct vhost *v;
    struct map sessions, queues; /* by number */
    struct list replays;
    struct orphan *orphan;
    uint32_t orphan_n, orphan_cap;
    uint64_t odd_n; /* records that made no sense */
    lsn_t lsn;      /* the greatest met */
};

static struct mem *mem_of(const struct restore *r)
{
    return shard_mem(r->s, MEM_STORE);
}

/* ---- by number ---------------------------------------------------------------------------------------------- */

static struct slice session_number(const void *item)
{
    const struct session *s = item;
    return slice_make((const uint8_t *)&s->number, sizeof s->number);
}

static struct slice queue_number(const void *item)
{
    const struct queue *q = item;
    return slice_make((const uint8_t *)&q->number, sizeof q->number);
}

static void *by_number(const struct map *m, uint64_t number)
{
    return map_get(m, slice_make((const uint8_t *)&number, sizeof number));
}

/* number_used: later ones are greater. */
static void number_used(struct restore *r, uint64_t number)
{
    r->s->number_next = MAX(r->s->number_next, number + 1);
}

static enum err odd(struct restore *r)
{
    r->odd_n++;
    return ERR_OK;
}

/* ---- who and what there is ---------------------------------------------------------------------------------- */

static void exchange_number_used(struct vhost *v, uint64_t number)
{
    if (number < UINT32_MAX)
        v->exchange_next = MAX(v->exchange_next, (uint32_t)number + 1);
}

static enum err on_exchange(struct restore *r, const struct store_rec *rec)
{
    const char *differs;
    struct exchange *x;
    if (!rec->exchange || exchange_get(r->v, rec->exchange->name))
        return odd(r);
    enum err e = exchange_declare_as(r->v, rec->exchange, &x, &differs);
    if (e == ERR_NOMEM)
        return e;
    if (e != ERR_OK)
        return odd(r);
    exchange_number_used(r->v, rec->queue);
    if (rec->queue)
        x->number = (uint32_t)rec->queue;
    return ERR_OK;
}

static enum err on_session(struct restore *r, const struct store_rec *rec)
{
    if (rec->name.len == 0 || rec->name.len > UINT16_MAX || map_get(&r->v->sessions, rec->name) ||
        by_number(&r->sessions, rec->session))
        return odd(r);
    struct session *s = session_new(r->v, rec->name);
    if (!s)
        return ERR_NOMEM;
    s->number = rec->session;
    s->expiry_s = rec->expiry_s;
    number_used(r, rec->session);
    if (!session_away(s) || map_put(&r->sessions, s) != ERR_OK)
        return ERR_NOMEM;
    s->away->since = rec->due ? rec->due : r->s->store->stamp;
    return ERR_OK;
}

/* own_queue: of a session: with its consumer. */
static struct queue *own_queue(struct restore *r, struct session *s)
{
    struct queue *q = queue_new(r->v, (struct slice){0}, &r->v->policy_session, false, s);
    if (!q || !consumer_new(q, s, ACK_BY_QOS, 0, 2, NULL))
        return NULL;
    s->queue = q;
    return q;
}

static struct queue *shared_queue(struct restore *r, const struct store_rec *rec)
{
    const struct queue_policy *p = rec->policy;
    if (rec->flags & STORE_QUEUE_GROUP)
        return queue_new_group(r->v, rec->name, &r->v->policy_group);
    if (rec->flags & STORE_QUEUE_DSUB)
        return queue_new_dsub(r->v, rec->name, p ? p : &r->v->policy_named);
    return queue_new(r->v, rec->name, p ? p : &r->v->policy_named, p != NULL, NULL);
}

static enum err on_queue(struct restore *r, const struct store_rec *rec)
{
    struct session *owner = rec->session ? by_number(&r->sessions, rec->session) : NULL;
    const struct map *table = rec->flags & STORE_QUEUE_GROUP  ? &r->v->groups
                              : rec->flags & STORE_QUEUE_DSUB ? &r->v->dsubs
                                                              : &r->v->queues;
    if (by_number(&r->queues, rec->queue) || (rec->session && (!owner || owner->queue)) ||
        (!rec->session && (rec->name.len == 0 || map_get(table, rec->name))))
        return odd(r);
    struct queue *q = owner ? own_queue(r, owner) : shared_queue(r, rec);
    if (!q)
        return ERR_NOMEM;
    q->number = rec->queue;
    q->is_logged = !owner;
    number_used(r, rec->queue);
    return map_put(&r->queues, q);
}

/* later_replay: retained messages were still coming for this binding. */
static enum err later_replay(struct restore *r, struct queue *q, const struct store_rec *rec)
{
    struct pending_replay *p = mem_alloc(mem_of(r), sizeof *p + rec->key.len);
    if (!p)
        return ERR_NOMEM;
    *p = (struct pending_replay){.queue = q, .len = (uint32_t)rec->key.len};
    if (rec->key.len)
        memcpy(p->filter, rec->key.p, rec->key.len);
    list_push(&r->replays, &p->node);
    return ERR_OK;
}

static enum err bind_exchange(struct restore *r, const struct store_rec *rec, struct exchange *x,
                              const struct filter *f)
{
    struct exchange *to = exchange_get(r->v, rec->to);
    bool is_new;
    if (!to)
        return odd(r);
    enum err e = router_bind_exchange(&r->v->router, x, f, to, &is_new);
    return e == ERR_INVALID ? odd(r) : e;
}

/* can_be: are these options that somebody can have asked for? */
static bool can_be(const struct binding_opts *o)
{
    return o->qos <= 2 && o->retain_handling <= 2 && o->sub_id >> SUB_ID_BITS == 0;
}

static enum err on_bind(struct restore *r, const struct store_rec *rec)
{
    struct exchange *x = exchange_get(r->v, rec->name);
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter f;
    struct binding *b;
    bool is_new;
    if (!x || binding_filter_of(rec, x->kind, tok, &f) != ERR_OK)
        return odd(r);
    if (rec->queue == 0)
        return bind_exchange(r, rec, x, &f);
    struct queue *q = by_number(&r->queues, rec->queue);
    if (!q)
        return odd(r);
    struct binding_opts o = binding_opts_of(rec);
    if (!can_be(&o))
        return odd(r);
    if (q->is_group)
        o = (struct binding_opts){.qos = 2, .retain_handling = 2, .retain_as_published = true};
    enum err e = router_bind(&r->v->router, x, &f, q, &o, &b, &is_new);
    if (e != ERR_OK)
        return e == ERR_INVALID ? odd(r) : e;
    if (q->owner)
        q->owner->binding_n += is_new;
    return binding_is_replaying(rec) ? later_replay(r, q, rec) : ERR_OK;
}

static enum err on_member(struct restore *r, const struct store_rec *rec)
{
    struct queue *q = by_number(&r->queues, rec->queue);
    struct session *s = by_number(&r->sessions, rec->session);
    if (!q || !s || q->owner || member_get(q, s) || rec->qos > 2)
        return odd(r);
    struct consumer *k = member_join(q, s);
    if (!k)
        return ERR_NOMEM;
    k->qos = rec->qos;
    k->sub_id = rec->sub_id;
    k->retain_as_published = rec->flags & 1;
    return ERR_OK;
}

static enum err on_will(struct restore *r, const struct store_rec *rec)
{
    struct session *s = by_number(&r->sessions, rec->session);
    struct msgview v;
    if (!s || !rec->msg)
        return odd(r);
    msg_view(rec->msg, &v);
    v.publisher = session_publisher(s, v.flags);
    enum err e = session_set_will(s, &v, rec->expiry_s);
    s->away->will_is_logged = e == ERR_OK;
    return e;
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

static enum err on_orphan(struct restore *r, uint64_t queue, lsn_t lsn)
{
    if (r->orphan_n == r->orphan_cap) {
        uint32_t cap = r->orphan_cap ? r->orphan_cap * 2 : 64;
        struct orphan *grown = mem_realloc(mem_of(r), r->orphan, cap * sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        r->orphan = grown;
        r->orphan_cap = cap;
    }
    r->orphan[r->orphan_n++] = (struct orphan){.queue = queue, .lsn = lsn};
    return odd(r);
}

static enum err on_delayed(struct restore *r, const struct store_rec *rec)
{
    struct exchange *x = exchange_get(r->v, rec->name);
    if (!x)
        return on_orphan(r, 0, rec->lsn);
    struct delayed_msg *w = delayed_prepare(&r->v->delayed);
    if (!w)
        return ERR_NOMEM;
    delayed_set(&r->v->delayed, w, x, rec->msg, store_mono(r->s->store, rec->due), rec->lsn);
    return ERR_OK;
}

/* end_deserted: a group lives as long as it has members (core/broker_share.c). */
static void end_deserted(struct restore *r)
{
    uint32_t pos = 0;
    for (struct queue *q = map_next(&r->queues, &pos); q; q = map_next(&r->queues, &pos))
        if (q->is_group && queue_is_deserted(q))
            queue_delete(q);
}

/* whose: the consumer a delivery went to; *out NULL: it is not there any more. One that left the queue since keeps what
 * it had [MQTT-4.8.2-4]: it is a member again until the end of the replay (leave_again). */
static enum err whose(struct restore *r, struct queue *q, const struct store_target *t, struct consumer **out)
{
    struct session *s = t->session ? by_number(&r->sessions, t->session) : NULL;
    *out = NULL;
    if (t->session == 0 && q->owner && !list_is_empty(&q->consumers))
        *out = LIST_ITEM(list_first(&q->consumers), struct consumer, in_queue);
    if (!s || q->owner)
        return ERR_OK;
    *out = member_get(q, s);
    if (*out)
        return ERR_OK;
    *out = member_join(q, s);
    if (!*out)
        return ERR_NOMEM;
    (*out)->up = r; /* marks it */
    return ERR_OK;
}

static void leave_again(struct restore *r, struct session *s)
{
    LIST_EACH(&s->consumers, it)
    {
        struct consumer *c = LIST_ITEM(it, struct consumer, in_session);
        if (c->up == r)
            consumer_cancel(c);
    }
}

static enum err on_target(struct restore *r, const struct store_rec *rec, const struct store_target *t)
{
    struct queue *q = by_number(&r->queues, t->queue);
    if (!q)
        return on_orphan(r, t->queue, rec->lsn);
    uint8_t qos = t->plain % 3;
    uint32_t set = queue_set_intern(q, qos, t->plain >= 3, t->sub_id, t->sub_id_n);
    if (set == UINT32_MAX)
        return ERR_NOMEM;
    struct push how = {.set = set,
                       .qos = MIN(rec->msg->qos, qos),
                       .retained = (rec->flags & STORE_PUBLISH_REPLAYED) != 0,
                       .lsn = rec->lsn,
                       .at = rec->at};
    struct entry *e = entry_push(q, rec->msg, &how);
    if (!e)
        return ERR_NOMEM;
    e->attempts = e->returns = t->returns;
    if (t->progress == STORE_WAITS)
        return ERR_OK;
    struct consumer *c;
    enum err err = whose(r, q, t, &c);
    if (err != ERR_OK)
        return err;
    if (c && (e->qos == 0 || t->ticket == 0 || tickets_get(c->session, t->ticket)))
        c = NULL;
    if (c && !entry_take_up(e, c, t->ticket, t->progress == STORE_WAS_RECEIVED))
        return ERR_NOMEM;
    return ERR_OK; /* without its consumer it is for others */
}

static enum err on_publish(struct restore *r, const struct store_rec *rec)
{
    struct session *s = rec->rx_id ? by_number(&r->sessions, rec->session) : NULL;
    enum err e = ERR_OK;
    if (s && !rx_has(s, rec->rx_id))
        e = rx_add(s, rec->rx_id, UINT16_MAX);
    if (rec->msg)
        exchange_number_used(r->v, rec->msg->exchange);
    if (e != ERR_OK || !rec->msg || rec->target_n == 0)
        return e;
    if (rec->target[0].queue == 0)
        return on_delayed(r, rec);
    for (uint32_t i = 0; e == ERR_OK && i < rec->target_n; i++)
        e = on_target(r, rec, &rec->target[i]);
    return e;
}

static enum err on_record(const struct store_rec *rec, void *ctx)
{
    struct restore *r = ctx;
    r->lsn = MAX(r->lsn, rec->lsn);
    r->s->lsn_last = r->s->lsn_durable = r->lsn; /* so that long queues become pages while they come back */
    switch (rec->kind) {
    case STORE_EXCHANGE:
        return on_exchange(r, rec);
    case STORE_SESSION:
        return on_session(r, rec);
    case STORE_QUEUE:
        return on_queue(r, rec);
    case STORE_BIND:
        return on_bind(r, rec);
    case STORE_MEMBER:
        return on_member(r, rec);
    case STORE_WILL:
        return on_will(r, rec);
    case STORE_PUBLISH:
        return on_publish(r, rec);
    case STORE_RETAIN:
        return rec->msg ? retained_put(&r->v->retained, rec->msg) : odd(r);
    default:
        return odd(r); /* nothing else is living */
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static void start_replays(struct restore *r)
{
    LIST_EACH(&r->replays, it)
    {
        struct pending_replay *p = LIST_ITEM(it, struct pending_replay, node);
        struct exchange *x = r->v->topic_exchange;
        struct token tok[TOPIC_LEVELS_MAX];
        struct filter f;
        const struct store_rec rec = {.key = slice_make(p->filter, p->len)};
        const struct binding *b = NULL;
        if (binding_filter_of(&rec, x->kind, tok, &f) == ERR_OK)
            b = router_find(&r->v->router, x, &f, p->queue);
        struct binding_opts o = b ? binding_opts_now(b) : (struct binding_opts){0};
        if (b && replay_begin(p->queue, x, &f, &o) != ERR_OK)
            log_line(r->s->log, LOG_WARN, "out of memory: retained messages of one subscription are not sent");
        list_del(&p->node);
        mem_free(mem_of(r), p);
    }
}

static void settle_orphans(struct restore *r)
{
    for (uint32_t i = 0; i < r->orphan_n; i++)
        shard_append(r->s,
                     &(struct store_rec){.kind = STORE_SETTLE, .queue = r->orphan[i].queue, .of = r->orphan[i].lsn});
}

static void start_sessions(struct restore *r)
{
    uint32_t pos = 0;
    for (struct session *s = map_next(&r->sessions, &pos); s; s = map_next(&r->sessions, &pos)) {
        leave_again(r, s);
        session_restored(s);
    }
}

static void clean_up(struct restore *r)
{
    LIST_EACH(&r->replays, it)
    {
        list_del(it);
        mem_free(mem_of(r), LIST_ITEM(it, struct pending_replay, node));
    }
    mem_free(mem_of(r), r->orphan);
    map_fini(&r->sessions);
    map_fini(&r->queues);
}

enum err restore_shard(struct shard *s)
{
    struct restore r = {.s = s, .v = s->vhost};
    struct limits limits = s->limits;
    map_init(&r.sessions, mem_of(&r), session_number, s->seed);
    map_init(&r.queues, mem_of(&r), queue_number, s->seed);
    list_init(&r.replays);
    s->limits.exchanges_max = UINT64_MAX;
    s->limits.retained_max = s->limits.retained_bytes_max = 0;
    enum err e = s->store->ops->replay(s->store, on_record, &r);
    s->limits = limits;
    if (e == ERR_OK) {
        start_replays(&r);
        start_sessions(&r);
        end_deserted(&r);
        settle_orphans(&r);
        if (r.odd_n != 0)
            log_line(s->log, LOG_WARN, "%llu records of the store refer to what is not there, and are left out",
                     (unsigned long long)r.odd_n);
    }
    clean_up(&r);
    return e;
}
