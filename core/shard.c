/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shard.c: the turn, and everything a loop thread owns.
 *
 *     1 letters   what other threads posted
 *     2 ready     read, decode, route: entries are pushed, QoS 0 is encoded, nothing is sent
 *     3 timers    keep-alive, expiry, delays; a budget
 *     4 store     the turn's records are submitted; what is durable is answered
 *     5 flush     dirty queues are dispatched, dead letters published, dirty connections end or are sent; a few rounds,
 *                 as one causes the other
 *     6 graves    what was closed is freed
 *
 * Invariants
 *   1. Nothing is freed in steps 1 to 5: a pointer met in a walk stays good until the turn ends.
 *   2. Bytes leave in step 5 only, or between two messages when a turn made flush_bytes_turn of output.
 *   3. A connection or queue is on each list at most once (its is_... bit says so).
 *   4. What is left for the next turn makes shard_turn return true; the loop then does not wait.
 * Cost    O(what is ready, due and dirty); never O(connections).
 * Thread  own shard only; others post letters.
 */
#include "core/shard.h"

#include "core/adapter.h"
#include "core/broker.h"
#include "core/conn.h"
#include "core/exchange.h"
#include "core/hold.h"
#include "core/restore.h"
#include "core/session.h"
#include "core/sys.h"

enum { FLUSH_ROUNDS = 8 };

/* ---- store -------------------------------------------------------------------------------------------------- */

static void on_durable(void *ctx, lsn_t lsn)
{
    struct shard *s = ctx;
    if (s->is_freeing)
        return; /* nobody is left to be told */
    s->lsn_durable = lsn;
    LIST_EACH(&s->owing, it)
    conn_pay(LIST_ITEM(it, struct owed_ring, node)->conn, lsn);
    hold_durable(s, lsn);
    queue_units_durable(s);
}

static void on_failed(void *ctx)
{
    struct shard *s = ctx;
    if (s->store_failed || s->is_freeing)
        return;
    s->store_failed = true;
    log_line(s->log, LOG_ERROR, "the store has failed: durable messages are refused from now on");
    LIST_EACH(&s->owing, it)
    conn_close(LIST_ITEM(it, struct owed_ring, node)->conn, CLOSE_STORE);
}

lsn_t shard_append(struct shard *s, const struct store_rec *rec)
{
    if (!s->store || s->is_freeing)
        return 0;
    if (s->store_failed)
        return LSN_FAILED;
    lsn_t lsn = store_append(s->store, rec);
    stat_add(&s->stats, STAT_STORE_APPENDS, 1);
    if (lsn == 0)
        return LSN_FAILED;
    s->lsn_last = MAX(s->lsn_last, lsn); /* notes may share an earlier one */
    return lsn;
}

lsn_t shard_unit_end(struct shard *s, bool *counts)
{
    lsn_t end = LSN_FAILED;
    if (*counts)
        end = shard_append(s, &(struct store_rec){.kind = STORE_TX_END});
    if (end != LSN_FAILED)
        return end;
    *counts = false;
    end = shard_append(s, &(struct store_rec){.kind = STORE_TX_END, .flags = STORE_TX_VOID});
    if (end == LSN_FAILED)
        on_failed(s);
    return end;
}

bool shard_store_target(struct shard *s, const struct queue *q, uint32_t set)
{
    if (s->store_target_n == s->store_target_cap) {
        uint32_t cap = s->store_target_cap ? s->store_target_cap * 2 : 16;
        struct store_target *grown = mem_realloc(shard_mem(s, MEM_STORE), s->store_target, cap * sizeof *grown);
        if (!grown)
            return false;
        s->store_target = grown;
        s->store_target_cap = cap;
    }
    struct store_target t = {0};
    if (q) {
        const struct binding_set *b = queue_set_get(q, set);
        t = (struct store_target){.queue = q->number,
                                  .sub_id = b->sub_id,
                                  .sub_id_n = b->sub_id_n,
                                  .plain = (uint8_t)(b->qos + 3 * b->retain_as_published)};
    }
    s->store_target[s->store_target_n++] = t;
    return true;
}

/* ---- names for the tables ----------------------------------------------------------------------------------- */

static struct slice exchange_key(const void *item)
{
    return exchange_name(item);
}

static struct slice queue_key(const void *item)
{
    return queue_name(item);
}

static struct slice session_key(const void *item)
{
    return session_id(item);
}

/* A member is known by its queue and its session: two pointers that stand side by side. */
_Static_assert(offsetof(struct consumer, session) == offsetof(struct consumer, queue) + sizeof(void *), "a gap");

static struct slice member_key(const void *item)
{
    const struct consumer *k = item;
    return slice_make((const uint8_t *)k + offsetof(struct consumer, queue), 2 * sizeof(void *));
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static void wake_loop(void *ctx)
{
    struct shard *s = ctx;
    s->loop->ops->wake(s->loop);
}

static bool turn_of(void *ctx)
{
    return shard_turn(ctx);
}

static void init_accounts(struct shard *s)
{
    static const char *const name[MEM_N] = {
#define X(id, text) text,
        MEM_LIST(X)
#undef X
    };
    for (unsigned i = 0; i < MEM_N; i++)
        mem_init(&s->mem[i], s->heap, name[i]);
}

static void init_lists(struct shard *s)
{
    struct list *all[] = {&s->conns,      &s->sessions,      &s->owing,      &s->holding,
                          &s->dead_conns, &s->dead_sessions, &s->dead_queues};
    for (unsigned i = 0; i < ARRAY_N(all); i++)
        list_init(all[i]);
}

static bool open_store(struct shard *s)
{
    if (!s->store)
        return true;
    s->store->mailbox = &s->mailbox;
    s->store->msgs = &s->msgs;
    s->store->now = s->now;
    s->store->on_durable = on_durable;
    s->store->on_failed = on_failed;
    s->store->ctx = s;
    enum err e = s->store->ops->open(s->store);
    if (e == ERR_NOMEM) /* of everything else the store has spoken */
        log_line(s->log, LOG_ERROR, "the %s store cannot be opened: %s", s->store->ops->name, err_text(e));
    if (e != ERR_OK)
        return false;
    /* Time goes on where the log ends, even if the wall clock fell back while nothing ran. */
    wall_ms wall = MAX(s->loop->ops->wall(s->loop), s->store->stamp);
    s->store->clock = (int64_t)wall - (int64_t)s->now;
    return true;
}

static bool restore(struct shard *s)
{
    enum err e = s->store ? restore_shard(s) : ERR_OK;
    if (e != ERR_OK)
        log_line(s->log, LOG_ERROR, "the %s store cannot be read: %s", s->store->ops->name, err_text(e));
    return e == ERR_OK;
}

struct shard *shard_new(const struct shard_config *config)
{
    struct mem boot;
    mem_init(&boot, config->heap, "shard");
    struct shard *s = mem_zalloc(&boot, sizeof *s);
    if (!s) {
        if (config->store)
            config->store->ops->close(config->store);
        return NULL;
    }
    s->heap = config->heap;
    init_accounts(s);
    s->mem[MEM_SHARD] = boot; /* the shard's own block is its first */
    init_lists(s);
    s->config = *config;
    s->loop = config->loop;
    s->log = config->log;
    s->limits = config->limits;
    s->store = config->store;
    s->seed = config->seed;
    s->number_next = 1;
    s->timer_set = 0;
    s->store_due = MONO_NEVER;
    s->now = loop_now(s->loop);
    memory_init(&s->memory, s->heap, &s->limits, config->ram_bytes);
    rng_init(&s->rng, config->seed);
    wheel_init(&s->wheel, s->now);
    mailbox_init(&s->mailbox, wake_loop, s);
    chunk_pool_init(&s->chunks, shard_mem(s, MEM_BUFFER));
    outv_pool_init(&s->outvs, shard_mem(s, MEM_BUFFER));
    msg_pool_init(&s->msgs, shard_mem(s, MEM_MSG));
    pool_init(&s->entries, shard_mem(s, MEM_ENTRY), sizeof(struct entry));
    pool_init(&s->timed_entries, shard_mem(s, MEM_ENTRY), sizeof(struct entry_timer));
    pool_init(&s->conn_pool, shard_mem(s, MEM_CONN), sizeof(struct conn));
    s->vhost = vhost_new(s, SLICE("/"));
    if (!s->vhost || !open_store(s) || !restore(s)) {
        shard_free(s);
        return NULL;
    }
    if (s->config.sys_interval_s) {
        s->sys = sys_new(s);
        if (!s->sys) {
            shard_free(s);
            return NULL;
        }
    }
    s->loop->on_turn = turn_of;
    s->loop->ctx = s;
    return s;
}

static void bury(struct shard *s);

void shard_free(struct shard *s)
{
    s->loop->on_turn = NULL;
    s->is_stopping = s->is_freeing = true;
    LIST_EACH(&s->conns, it)
    {
        struct conn *c = LIST_ITEM(it, struct conn, all);
        conn_close(c, CLOSE_SHUTDOWN);
        c->is_gone = 1;
        conn_end(c);
    }
    LIST_EACH(&s->conns, lit) /* those that lingered already */
    conn_die(LIST_ITEM(lit, struct conn, all));
    LIST_EACH(&s->sessions, sit)
    session_end(LIST_ITEM(sit, struct session, all));
    sys_free(s->sys);
    s->sys = NULL;
    s->ready_first = s->ready_last = s->dirty_first = s->dirty_last = NULL;
    s->dirty_queue_first = s->dirty_queue_last = NULL;
    LIST_EACH(&s->dead_conns, cit)
    {
        struct conn *c = LIST_ITEM(cit, struct conn, all);
        c->is_ready = c->is_dirty = 0;
    }
    if (s->vhost)
        vhost_free(s->vhost);
    LIST_EACH(&s->dead_queues, qit)
    LIST_ITEM(qit, struct queue, all)->is_dirty = LIST_ITEM(qit, struct queue, all)->awaits_unit = 0;
    bury(s);
    if (s->store) {
        (void)mailbox_drain(&s->mailbox, s); /* what it has read comes for nobody */
        s->store->ops->close(s->store);
    }
    pool_fini(&s->entries);
    pool_fini(&s->timed_entries);
    pool_fini(&s->conn_pool);
    msg_pool_fini(&s->msgs);
    outv_pool_fini(&s->outvs);
    chunk_pool_fini(&s->chunks);
    mailbox_fini(&s->mailbox);
    mem_free(shard_mem(s, MEM_STORE), s->store_target);
    struct mem boot = s->mem[MEM_SHARD];
    mem_free(&boot, s);
}

struct vhost *vhost_new(struct shard *s, struct slice name)
{
    struct mem *mem = shard_mem(s, MEM_SHARD);
    BUG_ON(name.len >= sizeof((struct vhost *)0)->name);
    struct vhost *v = mem_zalloc(mem, sizeof *v);
    if (!v)
        return NULL;
    v->shard = s;
    memcpy(v->name, name.p, name.len);
    v->name_len = (uint8_t)name.len;
    list_init(&v->queues_all);
    v->policy_session =
        (struct queue_policy){.bytes_max = s->limits.session_queue_bytes_max,
                              .len_max = s->limits.session_queue_max,
                              .overflow = s->config.session_drop_head ? OVERFLOW_DROP_HEAD : OVERFLOW_DROP_NEW,
                              .durable = true,
                              .exclusive = true,
                              .keep_qos0 = s->config.queue_qos0};
    v->policy_subscription = v->policy_session;
    v->policy_subscription.durable = false;
    v->policy_subscription.auto_delete = true;
    v->policy_subscription.keep_qos0 = true;
    v->policy_group = v->policy_session;
    v->policy_group.exclusive = false;
    v->policy_group.auto_delete = true;
    v->policy_group.keep_qos0 = false; /* as for a session: only what waits for an acknowledgement waits for members */
    v->policy_named = (struct queue_policy){.bytes_max = s->limits.named_queue_bytes_max,
                                            .len_max = s->limits.named_queue_max,
                                            .overflow = OVERFLOW_REJECT,
                                            .ack_ms = s->limits.ack_ms,
                                            .durable = true,
                                            .keep_qos0 = true};
    map_init(&v->exchanges, mem, exchange_key, s->seed);
    map_init(&v->queues, shard_mem(s, MEM_QUEUE), queue_key, s->seed + 1);
    map_init(&v->sessions, shard_mem(s, MEM_SESSION), session_key, s->seed + 2);
    map_init(&v->groups, shard_mem(s, MEM_QUEUE), queue_key, s->seed + 3);
    map_init(&v->members, shard_mem(s, MEM_SESSION), member_key, s->seed + 4);
    map_init(&v->dsubs, shard_mem(s, MEM_QUEUE), queue_key, s->seed + 5);
    delayed_init(&v->delayed, v);
    dead_letters_init(&v->dead_letters, v);
    v->exchange_next = 1;
    router_init(&v->router, s, (uint32_t)s->limits.route_cache_n);
    struct exchange *direct, *fanout;
    bool ok = retained_init(&v->retained, s) == ERR_OK;
    ok = ok && exchange_declare(v, SLICE(""), EXCHANGE_DEFAULT, true, &v->default_exchange) == ERR_OK;
    ok = ok && exchange_declare(v, SLICE("amq.topic"), EXCHANGE_TOPIC, true, &v->topic_exchange) == ERR_OK;
    ok = ok && exchange_declare(v, SLICE("amq.direct"), EXCHANGE_DIRECT, true, &direct) == ERR_OK;
    ok = ok && exchange_declare(v, SLICE("amq.fanout"), EXCHANGE_FANOUT, true, &fanout) == ERR_OK;
    if (!ok) {
        vhost_free(v);
        return NULL;
    }
    brake_init(&v->topic_exchange->brake, s->limits.topic_rate, s->now);
    v->topic_exchange->has_brake = s->limits.topic_rate != 0;
    return v;
}

void vhost_free(struct vhost *v)
{
    struct shard *s = v->shard;
    LIST_EACH(&v->queues_all, it)
    queue_delete(LIST_ITEM(it, struct queue, all));
    LIST_EACH(&s->dead_queues, dit)
    LIST_ITEM(dit, struct queue, all)->is_dirty = LIST_ITEM(dit, struct queue, all)->awaits_unit = 0;
    bury(s);
    delayed_fini(&v->delayed);
    for (;;) {
        uint32_t pos = 0;
        struct exchange *x = map_next(&v->exchanges, &pos);
        if (!x)
            break;
        exchange_free(x);
    }
    dead_letters_fini(&v->dead_letters);
    retained_fini(&v->retained);
    router_fini(&v->router);
    map_fini(&v->exchanges);
    map_fini(&v->queues);
    map_fini(&v->sessions);
    map_fini(&v->groups);
    map_fini(&v->dsubs);
    map_fini(&v->members);
    if (s->vhost == v)
        s->vhost = NULL;
    mem_free(shard_mem(s, MEM_SHARD), v);
}

/* ---- lists -------------------------------------------------------------------------------------------------- */

void shard_mark_ready(struct shard *s, struct conn *c)
{
    if (c->is_ready || c->state_now == CONN_DEAD)
        return;
    c->is_ready = 1;
    c->ready_next = NULL;
    if (s->ready_last)
        s->ready_last->ready_next = c;
    else
        s->ready_first = c;
    s->ready_last = c;
}

void shard_mark_dirty(struct shard *s, struct conn *c)
{
    if (c->is_dirty || c->state_now == CONN_DEAD)
        return;
    c->is_dirty = 1;
    s->dirty_n++;
    c->dirty_next = NULL;
    if (s->dirty_last)
        s->dirty_last->dirty_next = c;
    else
        s->dirty_first = c;
    s->dirty_last = c;
}

void shard_arm(struct shard *s, struct wtimer *t, enum timer_kind kind, mono_ms due)
{
    t->kind = kind;
    if (due == MONO_NEVER)
        wheel_disarm(&s->wheel, t);
    else
        wheel_arm(&s->wheel, t, due);
}

/* ---- the steps ---------------------------------------------------------------------------------------------- */

static void serve_ready(struct shard *s)
{
    struct conn *c = s->ready_first, *next;
    s->ready_first = s->ready_last = NULL;
    for (; c; c = next) {
        next = c->ready_next;
        unsigned events = c->ready_events;
        c->is_ready = 0;
        c->ready_events = 0;
        if (c->state_now == CONN_DEAD)
            continue;
        if (events & LOOP_WRITE)
            shard_mark_dirty(s, c);
        if ((events & LOOP_READ) && conn_read(c)) {
            c->ready_events |= LOOP_READ;
            shard_mark_ready(s, c);
        }
    }
}

static void serve_timers(struct shard *s)
{
    for (uint64_t budget = s->limits.timers_turn; budget > 0; budget--) {
        struct wtimer *t = wheel_pop(&s->wheel, s->now);
        if (!t)
            return;
        switch ((enum timer_kind)t->kind) {
        case TIMER_CONN:
            conn_tick(CONTAINER_OF(t, struct conn, timer), s->now);
            break;
        case TIMER_SESSION:
            session_timer(CONTAINER_OF(t, struct away, timer), s->now);
            break;
        case TIMER_ENTRY:
            queue_entry_timer(&CONTAINER_OF(t, struct entry_timer, timer)->entry);
            break;
        case TIMER_QUEUE:
            queue_unused(CONTAINER_OF(t, struct queue_own, unused));
            break;
        case TIMER_RETAINED:
            retained_expire(CONTAINER_OF(t, struct retained_item, timer));
            break;
        case TIMER_DELAYED:
            delayed_timer(CONTAINER_OF(t, struct delayed_msg, timer));
            break;
        case TIMER_SYS:
            sys_timer(t, s->now);
            break;
        case TIMER_MEMORY:
            break; /* memory_turn is called in every turn */
        }
    }
}

static void dispatch_dirty(struct shard *s)
{
    struct queue *q = s->dirty_queue_first, *next;
    s->dirty_queue_first = s->dirty_queue_last = NULL;
    for (; q; q = next) {
        next = q->dirty_next;
        q->is_dirty = 0;
        queue_dispatch(q);
    }
}

/* flush_dirty: sends for every dirty connection; those that are closing end, or stay on the list while may_end is
 * false. */
static void flush_dirty(struct shard *s, bool may_end)
{
    struct conn *c = s->dirty_first, *next;
    s->dirty_first = s->dirty_last = NULL;
    s->dirty_n = 0;
    for (; c; c = next) {
        next = c->dirty_next;
        c->is_dirty = 0;
        if (c->state_now == CONN_DEAD)
            continue;
        if (c->is_closing && !c->has_ended) {
            if (may_end)
                conn_end(c);
            else
                shard_mark_dirty(s, c);
            continue;
        }
        if (c->session && c->session->resend)
            session_resend(c->session);
        conn_flush(c);
    }
    s->turn_out = 0;
}

void shard_flush_some(struct shard *s)
{
    if (s->in_flush)
        return;
    s->in_flush = true;
    dispatch_dirty(s);
    dead_letters_send(&s->vhost->dead_letters);
    flush_dirty(s, false);
    s->in_flush = false;
}

static void flush(struct shard *s)
{
    s->in_flush = true;
    for (unsigned round = 0; round < FLUSH_ROUNDS && (s->dirty_queue_first || s->dirty_first); round++) {
        dispatch_dirty(s);
        dead_letters_send(&s->vhost->dead_letters);
        flush_dirty(s, true);
        dead_letters_send(&s->vhost->dead_letters); /* of consumers that left */
    }
    s->in_flush = false;
}

static void bury(struct shard *s)
{
    LIST_EACH(&s->dead_conns, cit)
    {
        struct conn *c = LIST_ITEM(cit, struct conn, all);
        if (!c->is_ready && !c->is_dirty) /* else it is met, and passed by, next turn */
            conn_free(c);
    }
    LIST_EACH(&s->dead_sessions, sit)
    session_free(LIST_ITEM(sit, struct session, all));
    LIST_EACH(&s->dead_queues, qit)
    {
        struct queue *q = LIST_ITEM(qit, struct queue, all);
        if (!q->is_dirty && !q->awaits_unit &&
            q->inflight_n == 0) /* a cancelled subscription's deliveries may still be acknowledged */
            queue_free(q);
    }
}

static void set_timer(struct shard *s)
{
    mono_ms due = MIN(wheel_next(&s->wheel), s->store_due);
    if (due == s->timer_set)
        return;
    s->timer_set = due;
    s->loop->ops->timer(s->loop, due);
}

bool shard_turn(struct shard *s)
{
    s->now = loop_now(s->loop);
    if (s->store)
        s->store->now = s->now;
    stat_add(&s->stats, STAT_TURNS, 1);
    (void)mailbox_drain(&s->mailbox, s);
    serve_ready(s);
    serve_timers(s);
    dead_letters_send(&s->vhost->dead_letters);
    if (s->store)
        s->store_due = store_submit(s->store, s->now);
    flush(s);
    if (s->store && s->lsn_last > s->lsn_durable && !s->store_failed)
        s->store_due = store_submit(s->store, s->now); /* what ending connections and settling wrote */
    bury(s);
    bool has_more = memory_turn(s);
    (void)mem_heap_trim(s->heap, s->now);
    set_timer(s);
    if (s->is_stopping && list_is_empty(&s->conns) && s->on_stopped) {
        void (*on_stopped)(void *) = s->on_stopped;
        s->on_stopped = NULL;
        on_stopped(s->on_stopped_ctx);
    }
    return has_more || s->ready_first || s->dirty_first || s->dirty_queue_first || !list_is_empty(&s->wheel.ripe);
}

void shard_stop(struct shard *s, mono_ms grace_ms, void (*on_stopped)(void *ctx), void *ctx)
{
    s->is_stopping = true;
    s->stop_grace_ms = grace_ms;
    s->on_stopped = on_stopped;
    s->on_stopped_ctx = ctx;
    LIST_EACH(&s->conns, it)
    {
        struct conn *c = LIST_ITEM(it, struct conn, all);
        conn_close(c, CLOSE_SHUTDOWN);
        if (c->state_now == CONN_LINGERING)
            shard_arm(s, &c->timer, TIMER_CONN, MIN((mono_ms)c->timer.due, loop_now(s->loop) + grace_ms));
    }
    s->loop->ops->wake(s->loop);
}

void shard_check(struct shard *s)
{
    uint64_t conns = 0, sessions = 0, online = 0, queues = 0, entries = 0;
    LIST_EACH(&s->conns, cit)
    {
        const struct conn *c = LIST_ITEM(cit, struct conn, all);
        BUG_ON(c->session && c->session->conn != c);
        BUG_ON(c->state_now == CONN_DEAD);
        conns++;
    }
    LIST_EACH(&s->sessions, sit)
    {
        session_check(LIST_ITEM(sit, struct session, all));
        online += LIST_ITEM(sit, struct session, all)->conn != NULL;
        entries += LIST_ITEM(sit, struct session, all)->tickets.n;
        sessions++;
    }
    LIST_EACH(&s->vhost->queues_all, qit)
    {
        queue_check(LIST_ITEM(qit, struct queue, all));
        entries += LIST_ITEM(qit, struct queue, all)->ready_n;
        const struct queue_own *own = queue_own(LIST_ITEM(qit, struct queue, all));
        entries += own ? own->waiting_n : 0;
        queues++;
    }
    router_check(&s->vhost->router);
    BUG_ON(conns != s->stats.v[STAT_CONNS]);
    BUG_ON(sessions != s->stats.v[STAT_SESSIONS] || online != s->stats.v[STAT_SESSIONS_ONLINE]);
    BUG_ON(queues != s->stats.v[STAT_QUEUES]);
    BUG_ON(entries != s->stats.v[STAT_ENTRIES]);
    BUG_ON(s->vhost->delayed.n != s->stats.v[STAT_DELAYED]);
    BUG_ON(s->vhost->members.n != s->stats.v[STAT_MEMBERS] || s->vhost->groups.n != s->stats.v[STAT_GROUPS]);
}
