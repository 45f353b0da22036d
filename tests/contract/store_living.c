/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_living.c: which records of a log still mean something, worked out from the whole log by definition and without
 * any care for speed: what store_suite.c compares replays with. Included there.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/rng.h"
#include "core/exchange.h"
#include "core/msg.h"
#include "core/queue_policy.h"
#include "core/store.h"

/* ---- records as text ----------------------------------------------------------------------------------------- */

static const char *kind_name(enum store_kind kind)
{
    static const char *const names[] = {
        "?",      "PUBLISH",    "SETTLE", "RETAIN",     "SESSION",  "SESSION_END",  "QUEUE", "QUEUE_END", "BIND",
        "UNBIND", "RX_RELEASE", "MEMBER", "MEMBER_END", "EXCHANGE", "EXCHANGE_END", "TX",    "TX_END"};
    return names[kind];
}

static void put_msg(struct buf *b, const struct msg *m)
{
    struct msgview v;
    msg_view(m, &v);
    buf_printf(b, " " SLICE_FMT "=" SLICE_FMT, SLICE_ARG(v.topic), SLICE_ARG(v.payload));
    if (v.attrs.len != 0)
        buf_printf(b, " attrs=" SLICE_FMT, SLICE_ARG(v.attrs));
    buf_printf(b, " qos=%u flags=%u", v.qos, v.flags);
    if (v.expires_at != 0)
        buf_printf(b, " expires=%llu", (unsigned long long)v.expires_at);
    if (v.publisher != 0)
        buf_printf(b, " by=%llu", (unsigned long long)v.publisher);
}

static void put_policy(struct buf *b, const struct queue_policy *p)
{
    buf_printf(b, " len=%llu bytes=%llu ttl=%llu", (unsigned long long)p->len_max, (unsigned long long)p->bytes_max,
               (unsigned long long)p->ttl_ms);
    buf_printf(b, " dead='" SLICE_FMT "'/'" SLICE_FMT "'", SLICE_ARG(p->dead_exchange), SLICE_ARG(p->dead_key));
    buf_printf(b, " limit=%u overflow=%u%s%s%s%s", p->delivery_limit, p->overflow, p->has_ttl ? " has_ttl" : "",
               p->has_dead_exchange ? " has_dead" : "", p->durable ? " durable" : "",
               p->single_active ? " single" : "");
}

static void put_exchange(struct buf *b, const struct exchange_spec *x)
{
    buf_printf(b, " '" SLICE_FMT "' kind=%u alternate='" SLICE_FMT "' rate=%llu%s%s%s", SLICE_ARG(x->name), x->kind,
               SLICE_ARG(x->alternate), (unsigned long long)x->rate, x->durable ? " durable" : "",
               x->auto_delete ? " auto-delete" : "", x->internal ? " internal" : "");
}

static void put_rec(struct buf *b, const struct store_rec *r)
{
    buf_printf(b, "%llu %s", (unsigned long long)r->lsn, kind_name(r->kind));
    switch (r->kind) {
    case STORE_PUBLISH:
        if (r->msg != NULL)
            put_msg(b, r->msg);
        for (uint32_t i = 0; i < r->target_n; i++)
            buf_printf(b, "%s %llu:%u", i ? "" : " ->", (unsigned long long)r->target[i].queue, r->target[i].set);
        if (r->rx_id != 0)
            buf_printf(b, " rx=%llu/%u", (unsigned long long)r->session, r->rx_id);
        if (r->of != 0)
            buf_printf(b, " of=%llu", (unsigned long long)r->of);
        break;
    case STORE_RETAIN:
        put_msg(b, r->msg);
        break;
    case STORE_SESSION:
        buf_printf(b, " %llu " SLICE_FMT " expiry=%u", (unsigned long long)r->session, SLICE_ARG(r->name), r->expiry_s);
        break;
    case STORE_QUEUE:
        buf_printf(b, " %llu '" SLICE_FMT "' of %llu", (unsigned long long)r->queue, SLICE_ARG(r->name),
                   (unsigned long long)r->session);
        if (r->flags != 0)
            buf_printf(b, " flags=%u", r->flags);
        if (r->policy != NULL)
            put_policy(b, r->policy);
        break;
    case STORE_EXCHANGE:
        buf_printf(b, " " SLICE_FMT, SLICE_ARG(r->name));
        put_exchange(b, r->exchange);
        break;
    case STORE_BIND:
        buf_printf(b, " %llu " SLICE_FMT " " SLICE_FMT " qos=%u sub=%u flags=%u", (unsigned long long)r->queue,
                   SLICE_ARG(r->name), SLICE_ARG(r->key), r->qos, r->sub_id, r->flags);
        if (r->to.len != 0)
            buf_printf(b, " to " SLICE_FMT, SLICE_ARG(r->to));
        break;
    case STORE_MEMBER:
        buf_printf(b, " %llu of %llu qos=%u sub=%u flags=%u", (unsigned long long)r->session,
                   (unsigned long long)r->queue, r->qos, r->sub_id, r->flags);
        break;
    default:
        buf_put_str(b, " is never alive");
        break;
    }
    buf_put_str(b, "\n");
}

/* ---- the whole log ------------------------------------------------------------------------------------------ */

#define LOG_MAX 400
#define NUMBERS 6u /* of sessions, queues, topics */

struct logged {
    struct store_rec rec;
    struct store_target target[3];
    struct queue_policy policy;
    struct exchange_spec exchange;
    char name[16], key[16], to[16], payload[16];
};

struct whole_log {
    struct logged v[LOG_MAX];
    unsigned n;
    lsn_t kept;                                /* this many were durable when this life began */
    uint64_t session[NUMBERS], queue[NUMBERS]; /* living ones by place, 0: none */
    uint64_t number;
    unsigned unit; /* the STORE_TX of an unfinished unit is number unit - 1; 0: there is none */
};

static bool is_ended(const struct whole_log *w, unsigned n, enum store_kind end_kind, uint64_t number)
{
    for (unsigned i = 0; i < n; i++) {
        const struct store_rec *r = &w->v[i].rec;
        if (r->kind == end_kind && (end_kind == STORE_SESSION_END ? r->session : r->queue) == number)
            return true;
    }
    return false;
}

static bool queue_is_ended(const struct whole_log *w, unsigned n, uint64_t queue)
{
    for (unsigned i = 0; i < n; i++) {
        const struct store_rec *r = &w->v[i].rec;
        if (r->kind == STORE_QUEUE && r->queue == queue && r->session != 0 &&
            is_ended(w, n, STORE_SESSION_END, r->session))
            return true;
    }
    return is_ended(w, n, STORE_QUEUE_END, queue);
}

static bool is_same_thing(const struct store_rec *a, const struct store_rec *b)
{
    switch (a->kind) {
    case STORE_SESSION:
        return a->session == b->session;
    case STORE_QUEUE:
        return a->queue == b->queue;
    case STORE_MEMBER:
        return a->queue == b->queue && a->session == b->session;
    case STORE_EXCHANGE:
        return slice_eq(a->name, b->name);
    default:
        return a->queue == b->queue && slice_eq(a->name, b->name) && slice_eq(a->key, b->key) && slice_eq(a->to, b->to);
    }
}

/* undoes: does o end r, but not one like it that comes later? */
static bool undoes(const struct store_rec *o, const struct store_rec *r)
{
    bool is_named = o->kind == STORE_EXCHANGE_END && slice_eq(o->name, r->name);
    switch (r->kind) {
    case STORE_BIND:
        return (o->kind == STORE_UNBIND && is_same_thing(r, o)) || is_named ||
               (o->kind == STORE_EXCHANGE_END && r->queue == 0 && slice_eq(o->name, r->to));
    case STORE_MEMBER:
        return o->kind == STORE_MEMBER_END && is_same_thing(r, o);
    case STORE_EXCHANGE:
        return is_named;
    default:
        return false;
    }
}

/* put_thing: session, queue, exchange or binding number i, if it is the first of its kind since the last end, as last
 * changed. */
static void put_thing(const struct whole_log *w, unsigned n, unsigned i, struct buf *out)
{
    const struct store_rec *r = &w->v[i].rec, *content = r;
    bool of_session = r->kind == STORE_SESSION || r->kind == STORE_MEMBER;
    bool of_queue = r->kind != STORE_SESSION && r->queue != 0;
    if ((of_session && is_ended(w, n, STORE_SESSION_END, r->session)) || (of_queue && queue_is_ended(w, n, r->queue)))
        return;
    for (unsigned j = 0; j < n; j++) {
        const struct store_rec *o = &w->v[j].rec;
        if (undoes(o, r)) {
            if (j > i)
                return;
            continue;
        }
        if (o->kind != r->kind || !is_same_thing(r, o))
            continue;
        bool ended_between = false;
        for (unsigned k = j; k < i; k++)
            ended_between |= undoes(&w->v[k].rec, r);
        if (j < i && !ended_between)
            return; /* a change of that one */
        if (j > i)
            content = o;
    }
    struct store_rec view = *content;
    view.lsn = r->lsn;
    put_rec(out, &view);
}

static void put_publish(const struct whole_log *w, unsigned n, unsigned i, struct buf *out)
{
    struct store_rec view = w->v[i].rec;
    struct store_target left[3];
    uint32_t left_n = 0;
    for (uint32_t t = 0; t < view.target_n; t++) {
        bool is_left = !queue_is_ended(w, n, view.target[t].queue);
        for (unsigned j = i; j < n; j++) {
            const struct store_rec *o = &w->v[j].rec;
            bool settles = o->kind == STORE_SETTLE || o->kind == STORE_PUBLISH; /* a dead letter's */
            if (settles && o->of == view.lsn && o->queue == view.target[t].queue)
                is_left = false;
        }
        if (is_left)
            left[left_n++] = view.target[t];
    }
    for (unsigned j = i + 1; j < n && view.rx_id != 0; j++) {
        const struct store_rec *o = &w->v[j].rec;
        bool releases = (o->kind == STORE_RX_RELEASE || o->kind == STORE_PUBLISH) && o->session == view.session &&
                        o->rx_id == w->v[i].rec.rx_id;
        if (releases || (o->kind == STORE_SESSION_END && o->session == view.session))
            view.rx_id = 0;
    }
    if (left_n == 0 && view.rx_id == 0)
        return;
    view.target = left;
    view.target_n = left_n;
    view.of = 0;
    if (left_n == 0)
        view.msg = NULL;
    put_rec(out, &view);
}

static bool retains(const struct store_rec *r)
{
    return r->kind == STORE_RETAIN || (r->kind == STORE_PUBLISH && (r->flags & STORE_PUBLISH_RETAINED) != 0);
}

static void put_retain(const struct whole_log *w, unsigned n, unsigned i, struct buf *out)
{
    const struct msg *m = w->v[i].rec.msg;
    for (unsigned j = i + 1; j < n; j++) {
        const struct msg *o = w->v[j].rec.msg;
        if (retains(&w->v[j].rec) && o->topic_len == m->topic_len && memcmp(o->bytes, m->bytes, m->topic_len) == 0)
            return;
    }
    if (m->payload_len != 0)
        put_rec(out, &(struct store_rec){.kind = STORE_RETAIN, .lsn = w->v[i].rec.lsn, .msg = m});
}

/* put_living: by definition, what the first n records of the log amount to. */
static void put_living(const struct whole_log *w, unsigned n, struct buf *out)
{
    buf_clear(out);
    for (unsigned i = 0; i < n; i++) {
        switch (w->v[i].rec.kind) {
        case STORE_SESSION:
        case STORE_QUEUE:
        case STORE_EXCHANGE:
        case STORE_BIND:
        case STORE_MEMBER:
            put_thing(w, n, i, out);
            break;
        case STORE_PUBLISH:
            put_publish(w, n, i, out);
            if (retains(&w->v[i].rec))
                put_retain(w, n, i, out);
            break;
        case STORE_RETAIN:
            put_retain(w, n, i, out);
            break;
        default:
            break;
        }
    }
    buf_put_u8(out, 0);
}

/* log_void: the records of the unit whose STORE_TX is number at .. n mean nothing: they never were. */
static void log_void(struct whole_log *w, unsigned at, unsigned n)
{
    for (unsigned i = at; i < n; i++) {
        w->v[i].rec.kind = STORE_RX_RELEASE; /* of nobody */
        w->v[i].rec.session = 0;
        w->v[i].rec.of = 0;
    }
}

/* log_tear: the log ends behind n records: a unit that is not complete there is void. */
static void log_tear(struct whole_log *w, unsigned n)
{
    for (unsigned i = n; i-- > 0;) {
        if (w->v[i].rec.kind == STORE_TX_END)
            return;
        if (w->v[i].rec.kind == STORE_TX) {
            log_void(w, i, n);
            return;
        }
    }
}

/* log_forget_ended: queues whose session has just ended are gone: nothing is published to them any more. */
static void log_forget_ended(struct whole_log *w)
{
    for (unsigned i = 0; i < NUMBERS; i++) {
        if (w->queue[i] != 0 && queue_is_ended(w, w->n, w->queue[i]))
            w->queue[i] = 0;
    }
}

/* log_cut: only the first n records ever were. */
static void log_cut(struct whole_log *w, unsigned n)
{
    while (w->n > n) {
        w->n--;
        if (w->v[w->n].rec.msg != NULL)
            msg_drop(w->v[w->n].rec.msg);
    }
    w->unit = 0;
    memset(w->session, 0, sizeof(w->session));
    memset(w->queue, 0, sizeof(w->queue));
    for (unsigned i = 0; i < n; i++) { /* what is left of the living, at any places */
        const struct store_rec *r = &w->v[i].rec;
        if (r->kind == STORE_SESSION && !is_ended(w, n, STORE_SESSION_END, r->session))
            w->session[r->session % NUMBERS] = r->session;
        if (r->kind == STORE_QUEUE && !queue_is_ended(w, n, r->queue))
            w->queue[r->queue % NUMBERS] = r->queue;
    }
}

/* invent_publish: targets among the living queues from place `first` on, an inbound id or not, a dead letter or not. */
static void invent_publish(const struct whole_log *w, struct rng *rng, struct logged *l, unsigned first)
{
    struct store_rec *r = &l->rec;
    for (unsigned i = 0; i < 3; i++) {
        unsigned place = (first + i) % NUMBERS;
        if (w->queue[place] != 0 && rng_chance(rng, 60))
            l->target[r->target_n++] = (struct store_target){w->queue[place], rng_below(rng, 9)};
    }
    r->target = l->target;
    if (r->session == 0 || rng_chance(rng, 50))
        r->session = r->rx_id = 0;
    r->queue = 0;
    if (w->n == 0 || rng_chance(rng, 75))
        return;
    r->of = 1 + rng_below(rng, w->n); /* a dead letter */
    if (w->v[r->of - 1].rec.target_n != 0)
        r->queue = w->v[r->of - 1].target[rng_below(rng, w->v[r->of - 1].rec.target_n)].queue;
}
