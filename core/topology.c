/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topology.c: the verbs that make and end exchanges, queues and bindings.
 *
 *     declare ─► there? ─┬─ as asked for ─► that one
 *                        ├─ otherwise    ─► ERR_EXISTS, and what differs
 *                        └─ no           ─► allowed? room? ─► made ─► written down, if it survives a restart
 *     end     ─► there, and may it? ─► written down ─► gone, with what hangs on it
 *
 * Invariants
 *   1. A verb changes everything it says or nothing, and answers its receipt exactly once.
 *   2. Written down is what survives a restart, and nothing else: durable exchanges; durable queues that are not
 *      exclusive; bindings of such a queue, or of a durable exchange, to a durable exchange.
 *   3. Names that begin with "amq." are the broker's: nobody else makes or ends what they name.
 * Cost    a few table look-ups and a record; ending is O(what hangs on it), a binding O(the bindings of its target).
 * Thread  own shard only.
 * Spec    RabbitMQ's model of exchanges, queues and bindings; docs/queues.md says where ours differs.
 */
#include "core/topology.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/base/hash.h"
#include "core/binding_log.h"
#include "core/replay.h"
#include "core/shard.h"

enum { NAME_LEN_MAX = 255 };

static bool is_reserved(struct slice name)
{
    return slice_starts_with(name, SLICE("amq."));
}

/* lasts: does q survive a restart by itself? */
static bool lasts(const struct queue *q)
{
    return q->policy->durable && !q->policy->exclusive;
}

static lsn_t lsn_of(enum err e, lsn_t lsn)
{
    return e == ERR_OK ? lsn : 0;
}

/* ---- exchanges ---------------------------------------------------------------------------------------------- */

static void put_kind(char *out, size_t cap, enum exchange_kind kind)
{
    static const char *const text[] = {[EXCHANGE_DEFAULT] = "default",
                                       [EXCHANGE_TOPIC] = "topic",
                                       [EXCHANGE_DIRECT] = "direct",
                                       [EXCHANGE_FANOUT] = "fanout"};
    (void)snprintf(out, cap, "%s", text[kind]);
}

static void put_flag(char *out, size_t cap, bool flag)
{
    (void)snprintf(out, cap, "%s", flag ? "true" : "false");
}

static void put_name(char *out, size_t cap, struct slice name)
{
    if (name.len)
        (void)snprintf(out, cap, SLICE_FMT, SLICE_ARG(name));
    else
        (void)snprintf(out, cap, "none");
}

static void put_rate(char *out, size_t cap, uint64_t rate)
{
    if (rate)
        (void)snprintf(out, cap, "%" PRIu64, rate);
    else
        (void)snprintf(out, cap, "none");
}

/* say_difference: the values of the property in which x is not what was asked for. */
static void say_difference(struct declared *out, const struct exchange *x, const struct exchange_spec *spec)
{
    struct slice what = slice_from_str(out->differs);
    if (slice_eq_str(what, "type")) {
        put_kind(out->has, sizeof out->has, x->kind);
        put_kind(out->wants, sizeof out->wants, spec->kind);
    } else if (slice_eq_str(what, "durable")) {
        put_flag(out->has, sizeof out->has, x->durable);
        put_flag(out->wants, sizeof out->wants, spec->durable);
    } else if (slice_eq_str(what, "auto-delete")) {
        put_flag(out->has, sizeof out->has, x->auto_delete);
        put_flag(out->wants, sizeof out->wants, spec->auto_delete);
    } else if (slice_eq_str(what, "internal")) {
        put_flag(out->has, sizeof out->has, x->internal);
        put_flag(out->wants, sizeof out->wants, spec->internal);
    } else if (slice_eq_str(what, "alternate-exchange")) {
        put_name(out->has, sizeof out->has, exchange_alternate(x));
        put_name(out->wants, sizeof out->wants, spec->alternate);
    } else {
        put_rate(out->has, sizeof out->has, x->has_brake ? x->brake.rate : 0);
        put_rate(out->wants, sizeof out->wants, spec->rate);
    }
}

struct exchange *broker_declare_exchange(struct conn *c, const struct exchange_spec *spec, struct declared *out)
{
    struct vhost *v = c->session->vhost;
    struct exchange *x = exchange_get(v, spec->name);
    *out = (struct declared){.is_new = x == NULL};
    if (spec->name.len == 0 || spec->kind == EXCHANGE_DEFAULT) {
        out->err = ERR_INVALID;
        return NULL;
    }
    if (!x && is_reserved(spec->name)) {
        out->err = ERR_DENIED;
        return NULL;
    }
    out->err = exchange_declare_as(v, spec, &x, &out->differs);
    if (out->err == ERR_EXISTS)
        say_difference(out, x, spec);
    if (out->err != ERR_OK)
        return NULL;
    if (!out->is_new || !x->durable)
        return x;
    const struct store_rec rec = {.kind = STORE_EXCHANGE, .name = spec->name, .exchange = spec, .queue = x->number};
    if (shard_append(c->shard, &rec) != LSN_FAILED)
        return x;
    exchange_delete(x);
    out->err = ERR_STORE;
    return NULL;
}

void broker_delete_exchange(struct conn *c, struct slice name, bool if_unused, uint64_t receipt)
{
    struct exchange *x = exchange_get(c->session->vhost, name);
    lsn_t lsn = 0;
    enum err e = ERR_OK;
    if (!x)
        e = ERR_NOT_FOUND;
    else if (exchange_is_builtin(x))
        e = ERR_DENIED;
    else if (if_unused && x->binding_n != 0)
        e = ERR_FULL;
    if (e == ERR_OK && x->durable) {
        lsn = shard_append(c->shard, &(struct store_rec){.kind = STORE_EXCHANGE_END, .name = name});
        e = lsn == LSN_FAILED ? ERR_STORE : ERR_OK;
    }
    if (e == ERR_OK)
        exchange_delete(x);
    conn_owe(c, receipt, e, lsn_of(e, lsn));
}

/* ---- queues ------------------------------------------------------------------------------------------------- */

/* without_defaults: what was asked for, but where neither this declaration nor that of q named an argument whose
 * default comes from the limits, q's value: the limits may be others today. */
static struct queue_policy without_defaults(const struct queue_policy *has, const struct queue_spec *spec)
{
    const uint32_t given = has->given | spec->given;
    const uint32_t len = 1u << QUEUE_ARG_LEN, bytes = 1u << QUEUE_ARG_BYTES, overflow = 1u << QUEUE_ARG_OVERFLOW;
    struct queue_policy wants = spec->policy;
    if (!(given & len))
        wants.len_max = has->len_max;
    if (!(given & bytes))
        wants.bytes_max = has->bytes_max;
    if (!(given & (len | bytes | overflow))) /* it follows from the others */
        wants.overflow = has->overflow;
    if (!(given & 1u << QUEUE_ARG_ACK_TIMEOUT))
        wants.ack_ms = has->ack_ms;
    return wants;
}

/* check_same: is q what was asked for? Whoever asked for nothing is content. */
static enum err check_same(const struct queue *q, const struct queue_spec *spec, struct declared *out)
{
    if (spec->given == 0)
        return ERR_OK;
    const struct queue_policy wants = without_defaults(q->policy, spec);
    enum queue_arg arg = queue_policy_diff(q->policy, &wants);
    if (arg == QUEUE_ARG_N)
        return ERR_OK;
    out->differs = (const char *)queue_arg_text(arg).p;
    queue_policy_text(q->policy, arg, out->has, sizeof out->has);
    queue_policy_text(&wants, arg, out->wants, sizeof out->wants);
    return ERR_EXISTS;
}

/* make_name: "amq.gen-" and 32 hex digits that nobody can guess: a name may be all that protects a queue. */
static size_t make_name(struct conn *c, char *out, size_t cap)
{
    struct shard *s = c->shard;
    uint64_t secret[3] = {rng_u64(&s->rng), rng_u64(&s->rng), s->seed};
    secret[2] = hash_bytes(s->seed, secret, sizeof secret);
    uint64_t low = hash_bytes(~s->seed, secret, sizeof secret);
    return (size_t)snprintf(out, cap, "amq.gen-%016" PRIx64 "%016" PRIx64, secret[2], low);
}

static bool has_room(const struct conn *c)
{
    const struct vhost *v = c->session->vhost;
    uint64_t most = c->shard->limits.queues_max;
    return most == 0 || (uint64_t)v->queues.n + v->dsubs.n < most;
}

/* log_queue: what survives a restart is written down. */
static enum err log_queue(struct shard *s, struct queue *q)
{
    if (!lasts(q) || !s->store)
        return ERR_OK;
    lsn_t lsn = shard_append(s, &(struct store_rec){.kind = STORE_QUEUE,
                                                    .queue = q->number,
                                                    .name = queue_name(q),
                                                    .policy = q->own_policy ? q->policy : NULL,
                                                    .flags = q->is_dsub ? STORE_QUEUE_DSUB : 0});
    if (lsn == LSN_FAILED)
        return ERR_STORE;
    q->is_logged = 1;
    return ERR_OK;
}

static struct queue *queue_make(struct conn *c, struct slice name, const struct queue_spec *spec, enum err *out_err)
{
    struct session *me = c->session;
    struct vhost *v = me->vhost;
    struct queue_policy p = spec->policy;
    p.given = spec->given;
    bool is_own = p.given != 0 || queue_policy_diff(&p, &v->policy_named) != QUEUE_ARG_N;
    *out_err = has_room(c) ? ERR_NOMEM : ERR_FULL;
    if (*out_err == ERR_FULL || (p.exclusive && !session_away(me)))
        return NULL;
    struct queue *q = queue_new(v, name, is_own ? &p : &v->policy_named, is_own, p.exclusive ? me : NULL);
    if (!q)
        return NULL;
    *out_err = log_queue(c->shard, q);
    if (*out_err == ERR_OK)
        return q;
    queue_delete(q);
    return NULL;
}

struct queue *broker_declare_queue_as(struct conn *c, struct slice name, const struct queue_spec *spec,
                                      struct declared *out)
{
    struct vhost *v = c->session->vhost;
    char made[48];
    bool is_ours = name.len == 0;
    *out = (struct declared){.err = name.len > NAME_LEN_MAX ? ERR_TOO_BIG : ERR_OK};
    if (out->err != ERR_OK)
        return NULL;
    while (is_ours && (name.len == 0 || map_get(&v->queues, name)))
        name = slice_make(made, make_name(c, made, sizeof made));
    struct queue *q = map_get(&v->queues, name);
    out->is_new = q == NULL;
    if (!q && !is_ours && is_reserved(name)) {
        out->err = ERR_DENIED;
        return NULL;
    }
    if (!q)
        return queue_make(c, name, spec, &out->err);
    out->err = queue_is_open_to(q, c->session) ? check_same(q, spec, out) : ERR_DENIED;
    if (out->err != ERR_OK)
        return NULL;
    queue_used(q);
    return q;
}

struct queue *broker_queue(struct conn *c, struct slice name, enum err *out_err)
{
    struct queue *q = map_get(&c->session->vhost->queues, name);
    *out_err = !q ? ERR_NOT_FOUND : queue_is_open_to(q, c->session) ? ERR_OK : ERR_DENIED;
    return *out_err == ERR_OK ? q : NULL;
}

/* is_empty: nothing waits in it, and nobody owes it an answer. */
static bool is_empty(const struct queue *q)
{
    const struct queue_own *own = queue_own(q);
    return q->ready_n == 0 && q->inflight_n == q->lapsed_n && (!own || own->waiting_n == 0);
}

/* end_queue: written down, if its beginning was, and gone. */
static enum err end_queue(struct shard *s, struct queue *q)
{
    if (q->is_logged) {
        if (shard_append(s, &(struct store_rec){.kind = STORE_QUEUE_END, .queue = q->number}) == LSN_FAILED)
            return ERR_STORE;
        q->is_logged = 0;
    }
    queue_delete(q);
    return ERR_OK;
}

void broker_delete_queue(struct conn *c, struct slice name, struct queue_end how, uint64_t receipt)
{
    enum err e;
    struct queue *q = broker_queue(c, name, &e);
    if (q && ((how.if_unused && !queue_is_deserted(q)) || (how.if_empty && !is_empty(q))))
        e = ERR_FULL;
    if (e == ERR_OK)
        e = end_queue(c->shard, q);
    conn_owe(c, receipt, e, lsn_of(e, c->shard->lsn_last));
}

void broker_purge(struct conn *c, struct slice name, uint64_t *out_n, uint64_t receipt)
{
    enum err e;
    struct queue *q = broker_queue(c, name, &e);
    *out_n = q ? queue_purge(q, STAT_DROP_PURGED) : 0;
    conn_owe(c, receipt, e, lsn_of(e, c->shard->lsn_last));
}

void broker_pause(struct conn *c, struct slice name, bool on, uint64_t receipt)
{
    enum err e;
    struct queue *q = broker_queue(c, name, &e);
    if (q && on)
        queue_pause(q);
    else if (q)
        queue_resume(q);
    conn_owe(c, receipt, e, 0);
}

/* ---- bindings ----------------------------------------------------------------------------------------------- */

enum err broker_check_filter(const struct conn *c, const struct exchange *x, const struct filter *f)
{
    bool is_wild = false;
    if (!filter_is_modest(f, c->shard->limits.topic_levels_max))
        return ERR_TOO_BIG;
    if (x != x->vhost->topic_exchange || f->tok[0].kind != TOKEN_LITERAL || !slice_eq_str(f->tok[0].bytes, "$reply"))
        return ERR_OK;
    for (uint32_t i = 1; i < f->n; i++)
        is_wild |= f->tok[i].kind != TOKEN_LITERAL;
    return is_wild ? ERR_DENIED : ERR_OK;
}

/* log_binding: q is bound, or, if it is NULL, exchange `to`. */
static lsn_t log_binding(struct shard *s, enum store_kind kind, const struct exchange *x, const struct filter *f,
                         const struct queue *q, const struct exchange *to, const struct binding_opts *o)
{
    if (!x->durable || !(q ? lasts(q) : to->durable))
        return 0;
    const struct store_rec rec = {.kind = kind,
                                  .queue = q ? q->number : 0,
                                  .name = exchange_name(x),
                                  .to = q ? (struct slice){0} : exchange_name(to)};
    return binding_log(s, rec, f, o);
}

/* take_back: a binding that was not to be. Its exchange had none before, perhaps, and lived. */
static void take_back(struct exchange *x, struct binding *b)
{
    uint8_t auto_delete = x->auto_delete;
    x->auto_delete = 0;
    router_unbind(&x->vhost->router, b);
    x->auto_delete = auto_delete & 1;
}

static bool is_full(const struct conn *c, const struct list *bindings)
{
    uint64_t n = 0;
    LIST_EACH(bindings, it)
    n++;
    return n >= c->shard->limits.subscriptions_max;
}

static enum err check_bind(const struct conn *c, const struct exchange *x, const struct filter *f)
{
    return x->kind == EXCHANGE_DEFAULT ? ERR_DENIED : broker_check_filter(c, x, f);
}

static enum err bind_queue(struct conn *c, struct exchange *x, const struct filter *f, struct queue *q,
                           const struct binding_opts *o, lsn_t *out_lsn)
{
    struct router *r = &x->vhost->router;
    struct binding *b;
    bool is_new;
    *out_lsn = 0;
    enum err e = check_bind(c, x, f);
    if (e == ERR_OK && !queue_is_open_to(q, c->session))
        e = ERR_DENIED;
    if (e != ERR_OK || router_find(r, x, f, q))
        return e;
    if (is_full(c, &q->bindings))
        return ERR_FULL;
    e = router_bind(r, x, f, q, o, &b, &is_new);
    if (e != ERR_OK)
        return e;
    *out_lsn = log_binding(c->shard, STORE_BIND, x, f, q, NULL, o);
    if (*out_lsn != LSN_FAILED)
        return ERR_OK;
    take_back(x, b);
    return ERR_STORE;
}

void broker_bind(struct conn *c, struct exchange *x, const struct filter *f, struct queue *q, uint64_t receipt)
{
    lsn_t lsn;
    enum err e = bind_queue(c, x, f, q, &(struct binding_opts){.qos = 2, .retain_handling = 2}, &lsn);
    conn_owe(c, receipt, e, lsn_of(e, MAX(lsn, c->shard->lsn_last))); /* it may be there since a moment ago only */
}

void broker_bind_exchange(struct conn *c, struct exchange *x, const struct filter *f, struct exchange *to,
                          uint64_t receipt)
{
    struct router *r = &x->vhost->router;
    bool is_new = false;
    enum err e = to->kind == EXCHANGE_DEFAULT ? ERR_DENIED : check_bind(c, x, f);
    bool is_there = e == ERR_OK && router_find_exchange(r, x, f, to);
    if (e == ERR_OK && !is_there)
        e = is_full(c, &to->bindings) ? ERR_FULL : router_bind_exchange(r, x, f, to, &is_new);
    if (e == ERR_OK && is_new && log_binding(c->shard, STORE_BIND, x, f, NULL, to, NULL) == LSN_FAILED) {
        take_back(x, router_find_exchange(r, x, f, to));
        e = ERR_STORE;
    }
    conn_owe(c, receipt, e, lsn_of(e, c->shard->lsn_last));
}

static void unbind(struct conn *c, struct exchange *x, const struct filter *f, struct queue *q, struct exchange *to,
                   uint64_t receipt)
{
    struct router *r = &x->vhost->router;
    struct binding *b = q ? router_find(r, x, f, q) : router_find_exchange(r, x, f, to);
    enum err e = b ? ERR_OK : ERR_NOT_FOUND;
    if (b && log_binding(c->shard, STORE_UNBIND, x, f, q, to, NULL) == LSN_FAILED)
        e = ERR_STORE;
    if (e == ERR_OK)
        router_unbind(r, b);
    conn_owe(c, receipt, e, lsn_of(e, c->shard->lsn_last));
}

void broker_unbind(struct conn *c, struct exchange *x, const struct filter *f, struct queue *q, uint64_t receipt)
{
    if (queue_is_open_to(q, c->session))
        unbind(c, x, f, q, NULL, receipt);
    else
        conn_owe(c, receipt, ERR_DENIED, 0);
}

void broker_unbind_exchange(struct conn *c, struct exchange *x, const struct filter *f, struct exchange *to,
                            uint64_t receipt)
{
    unbind(c, x, f, NULL, to, receipt);
}

/* ---- durable subscriptions ---------------------------------------------------------------------------------- */

/* durable_make: the queue of a durable subscription, bound. NULL: *out_err. */
static struct queue *durable_make(struct conn *c, const struct durable *d, const struct queue_spec *spec,
                                  enum err *out_err)
{
    lsn_t lsn;
    *out_err = ERR_OK;
    if (!d->exchange)
        *out_err = ERR_NOT_FOUND;
    else if (spec->policy.exclusive || spec->policy.auto_delete)
        *out_err = ERR_INVALID;
    else if (!has_room(c))
        *out_err = ERR_FULL;
    if (*out_err != ERR_OK)
        return NULL;
    struct queue_policy p = spec->policy;
    p.given = spec->given;
    struct queue *q = queue_new_dsub(c->session->vhost, d->key, &p);
    if (!q) {
        *out_err = ERR_NOMEM;
        return NULL;
    }
    *out_err = log_queue(c->shard, q);
    if (*out_err == ERR_OK)
        *out_err = bind_queue(c, d->exchange, d->filter, q, &d->opts, &lsn);
    if (*out_err == ERR_OK)
        return q;
    queue_delete(q);
    return NULL;
}

/* durable_get: the one that is there, if it is what was asked for, or a new one. NULL: out->err says why. */
static struct queue *durable_get(struct conn *c, const struct durable *d, const struct queue_spec *spec,
                                 struct declared *out)
{
    struct vhost *v = c->session->vhost;
    struct queue *q = map_get(&v->dsubs, d->key);
    out->is_new = q == NULL;
    if (!q)
        return durable_make(c, d, spec, &out->err);
    out->err = check_same(q, spec, out);
    if (out->err == ERR_OK && d->exchange && !router_find(&v->router, d->exchange, d->filter, q)) {
        out->err = ERR_EXISTS; /* whoever makes keys gives one to two subscriptions */
        out->differs = "destination";
    }
    if (out->err != ERR_OK)
        return NULL;
    queue_used(q);
    return q;
}

struct consumer *broker_consume_durable(struct conn *c, const struct durable *d, const struct consume *how,
                                        struct declared *out)
{
    struct queue_spec plain;
    struct consumer *k = NULL;
    queue_spec_init(&plain, &c->session->vhost->policy_named);
    plain.policy.overflow = OVERFLOW_DROP_HEAD;
    *out = (struct declared){0};
    struct queue *q = durable_get(c, d, d->spec ? d->spec : &plain, out);
    if (!q)
        return NULL;
    bool replays = d->exchange && (d->opts.retain_handling == 0 || (d->opts.retain_handling == 1 && out->is_new));
    if (replays && !out->is_new)
        replay_close_filter(q, d->filter);
    enum err e = replays ? replay_begin(q, d->exchange, d->filter, &d->opts) : ERR_OK;
    if (e == ERR_OK) {
        k = broker_join(c, q, how);
        e = k ? ERR_OK : ERR_NOMEM;
    }
    if (e != ERR_OK && out->is_new)
        queue_delete(q);
    conn_owe(c, how->receipt, e, lsn_of(e, c->shard->lsn_last));
    if (k && how->receipt != RECEIPT_NONE)
        conn_hold(c, k);
    return k;
}

struct queue *broker_durable_find(struct conn *c, struct slice prefix)
{
    const struct map *all = &c->session->vhost->dsubs;
    uint32_t pos = 0;
    struct queue *q = map_next(all, &pos);
    while (q && !slice_starts_with(queue_name(q), prefix))
        q = map_next(all, &pos);
    return q;
}

void broker_end_durable(struct conn *c, struct slice key, uint64_t receipt)
{
    struct queue *q = map_get(&c->session->vhost->dsubs, key);
    enum err e = q ? end_queue(c->shard, q) : ERR_NOT_FOUND;
    conn_owe(c, receipt, e, lsn_of(e, c->shard->lsn_last));
}
