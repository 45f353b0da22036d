/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_living.c: which records of a log still mean something, worked out from the whole log by definition and without
 * any care for speed: what store_suite.c compares replays with. Included there.
 *
 * A log is looked at through a `story`: the records that count, in the order in which they count. Most stories are the
 * log's beginning; a store that writes some records behind others, or some not at all, can leave other ones behind when
 * it is cut off (store_random.c).
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/attrs.h"
#include "core/base/buf.h"
#include "core/base/hash.h"
#include "core/base/rng.h"
#include "core/exchange.h"
#include "core/msg.h"
#include "core/queue_policy.h"
#include "core/store.h"

/* ---- records as text ----------------------------------------------------------------------------------------- */

static const char *kind_name(enum store_kind kind)
{
    static const char *const names[] = {
        "?",      "PUBLISH", "SETTLE",     "RETAIN",   "SESSION",    "SESSION_END", "QUEUE",        "QUEUE_END",
        "BIND",   "UNBIND",  "RX_RELEASE", "MEMBER",   "MEMBER_END", "EXCHANGE",    "EXCHANGE_END", "TX",
        "TX_END", "SENT",    "RECEIVED",   "RETURNED", "WILL"};
    return names[kind];
}

static void put_msg(struct buf *b, const struct msg *m)
{
    struct msgview v;
    struct attr a;
    size_t pos = 0;
    msg_view(m, &v);
    struct slice begin = slice_make(v.payload.p, MIN(v.payload.len, (size_t)40));
    buf_printf(b, " " SLICE_FMT "=" SLICE_FMT, SLICE_ARG(v.topic), SLICE_ARG(begin));
    if (v.payload.len > begin.len) /* a sum of the rest */
        buf_printf(b, "...%zu:%llx", v.payload.len, (unsigned long long)hash_bytes(1, v.payload.p, v.payload.len));
    while (attr_next(v.attrs, &pos, &a))
        buf_printf(b, " [%u " SLICE_FMT ":" SLICE_FMT "]", a.id, SLICE_ARG(a.key), SLICE_ARG(a.value));
    buf_printf(b, " qos=%u flags=%u", v.qos, v.flags);
    if (v.expires_at != 0)
        buf_printf(b, " expires=%llu", (unsigned long long)v.expires_at);
    if (v.publisher != 0)
        buf_printf(b, " by=%llu", (unsigned long long)v.publisher);
    if (v.exchange != 0)
        buf_printf(b, " exchange=%u", v.exchange);
    if (v.priority != 0)
        buf_printf(b, " priority=%u", v.priority);
}

static void put_flag(struct buf *b, bool is_set, const char *name)
{
    if (is_set)
        buf_printf(b, " %s", name);
}

static void put_number(struct buf *b, const char *name, uint64_t n)
{
    if (n != 0)
        buf_printf(b, " %s=%llu", name, (unsigned long long)n);
}

static void put_policy(struct buf *b, const struct queue_policy *p)
{
    buf_printf(b, " len=%llu bytes=%llu ttl=%llu", (unsigned long long)p->len_max, (unsigned long long)p->bytes_max,
               (unsigned long long)p->ttl_ms);
    buf_printf(b, " dead='" SLICE_FMT "'/'" SLICE_FMT "'", SLICE_ARG(p->dead_exchange), SLICE_ARG(p->dead_key));
    buf_printf(b, " limit=%u overflow=%u", p->delivery_limit, p->overflow);
    put_number(b, "expires", p->expires_ms);
    put_number(b, "retry_min", p->retry_min_ms);
    put_number(b, "retry_max", p->retry_max_ms);
    put_number(b, "ack", p->ack_ms);
    put_number(b, "given", p->given);
    put_number(b, "priorities", p->priority_max);
    put_flag(b, p->has_ttl, "has_ttl");
    put_flag(b, p->has_dead_exchange, "has_dead");
    put_flag(b, p->has_dead_key, "has_dead_key");
    put_flag(b, p->has_delivery_limit, "has_limit");
    put_flag(b, p->durable, "durable");
    put_flag(b, p->exclusive, "exclusive");
    put_flag(b, p->auto_delete, "auto-delete");
    put_flag(b, p->single_active, "single");
    put_flag(b, p->keep_qos0, "qos0");
}

static void put_exchange(struct buf *b, const struct exchange_spec *x)
{
    buf_printf(b, " '" SLICE_FMT "' kind=%u alternate='" SLICE_FMT "' rate=%llu%s%s%s", SLICE_ARG(x->name), x->kind,
               SLICE_ARG(x->alternate), (unsigned long long)x->rate, x->durable ? " durable" : "",
               x->auto_delete ? " auto-delete" : "", x->internal ? " internal" : "");
}

static void put_target(struct buf *b, const struct store_target *t)
{
    buf_printf(b, " %llu", (unsigned long long)t->queue);
    for (unsigned i = 0; i < t->sub_id_n; i++)
        buf_printf(b, "%s%u", i == 0 ? "/" : ",", t->sub_id[i]);
    if (t->plain != 0)
        buf_printf(b, " plain=%u", t->plain);
    if (t->progress != STORE_WAITS)
        buf_printf(b, " %s=%u", t->progress == STORE_WAS_SENT ? "sent" : "received", t->ticket);
    if (t->progress != STORE_WAITS && t->session != 0)
        buf_printf(b, " of %llu", (unsigned long long)t->session);
    if (t->returns != 0)
        buf_printf(b, " returns=%u", t->returns);
}

static void put_publish_text(struct buf *b, const struct store_rec *r)
{
    if (r->msg != NULL)
        put_msg(b, r->msg);
    if (r->target_n != 0)
        buf_printf(b, " ->");
    for (uint32_t i = 0; i < r->target_n; i++)
        put_target(b, &r->target[i]);
    if (r->target_n == 1 && r->target[0].queue == 0)
        buf_printf(b, " through '" SLICE_FMT "' at %llu", SLICE_ARG(r->name), (unsigned long long)r->due);
    if (r->rx_id != 0)
        buf_printf(b, " rx=%llu/%u", (unsigned long long)r->session, r->rx_id);
    if (r->of != 0)
        buf_printf(b, " of=%llu", (unsigned long long)r->of);
    if (r->flags & STORE_PUBLISH_REPLAYED)
        buf_printf(b, " replayed");
}

/* put_rec: a line; number is what it is called. */
static void put_rec(struct buf *b, const struct store_rec *r, uint64_t number)
{
    buf_printf(b, "%llu %s", (unsigned long long)number, kind_name(r->kind));
    switch (r->kind) {
    case STORE_PUBLISH:
        put_publish_text(b, r);
        break;
    case STORE_RETAIN:
        put_msg(b, r->msg);
        break;
    case STORE_WILL:
        buf_printf(b, " of %llu delay=%u", (unsigned long long)r->session, r->expiry_s);
        put_msg(b, r->msg);
        break;
    case STORE_SESSION:
        buf_printf(b, " %llu " SLICE_FMT " expiry=%u", (unsigned long long)r->session, SLICE_ARG(r->name), r->expiry_s);
        put_number(b, "away", r->due);
        break;
    case STORE_QUEUE:
        buf_printf(b, " %llu '" SLICE_FMT "' of %llu", (unsigned long long)r->queue, SLICE_ARG(r->name),
                   (unsigned long long)r->session);
        put_number(b, "flags", r->flags);
        if (r->policy != NULL)
            put_policy(b, r->policy);
        break;
    case STORE_EXCHANGE:
        buf_printf(b, " " SLICE_FMT, SLICE_ARG(r->name));
        put_number(b, "number", r->queue);
        put_exchange(b, r->exchange);
        break;
    case STORE_BIND:
        buf_printf(b, " %llu " SLICE_FMT " " SLICE_FMT " qos=%u sub=%u flags=%u", (unsigned long long)r->queue,
                   SLICE_ARG(r->name), SLICE_ARG(r->key), r->qos, r->sub_id, r->flags);
        put_number(b, "of", r->session);
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

#define LOG_MAX 300
#define NUMBERS 6u /* of sessions, queues, topics */

struct logged {
    struct store_rec rec; /* lsn: its number in the log, from 1 on; `of` names others so */
    struct store_target target[3];
    uint32_t sub_id[3][2];
    struct queue_policy policy;
    struct exchange_spec exchange;
    char name[16], key[16], to[16], payload[16];
    bool is_lost; /* it did not survive a crash */
};

struct whole_log {
    struct logged v[LOG_MAX];
    unsigned n;
    unsigned kept;                                /* this many were durable when this life began */
    unsigned submitted[2 * LOG_MAX], submitted_n; /* of this life: how many records there were at each submit */
    uint64_t session[NUMBERS], queue[NUMBERS];    /* living ones by place, 0: none */
    uint64_t number;
    unsigned unit; /* the STORE_TX of an unfinished unit is number unit; 0: there is none */
};

struct story {
    const struct store_rec *v[LOG_MAX];
    unsigned n;
};

static bool is_note(enum store_kind kind)
{
    return kind == STORE_SETTLE || kind == STORE_SENT || kind == STORE_RECEIVED || kind == STORE_RETURNED;
}

static bool is_ended(const struct story *w, enum store_kind end_kind, uint64_t number)
{
    for (unsigned i = 0; i < w->n; i++) {
        const struct store_rec *r = w->v[i];
        if (r->kind == end_kind && (end_kind == STORE_SESSION_END ? r->session : r->queue) == number)
            return true;
    }
    return false;
}

static bool queue_is_ended(const struct story *w, uint64_t queue)
{
    for (unsigned i = 0; i < w->n; i++) {
        const struct store_rec *r = w->v[i];
        if (r->kind == STORE_QUEUE && r->queue == queue && r->session != 0 &&
            is_ended(w, STORE_SESSION_END, r->session))
            return true;
    }
    return is_ended(w, STORE_QUEUE_END, queue);
}

static bool is_same_thing(const struct store_rec *a, const struct store_rec *b)
{
    switch (a->kind) {
    case STORE_SESSION:
    case STORE_WILL:
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

/* put_thing: record i, which is about a session, queue, exchange, binding, member or will, if it is the last word. */
static void put_thing(const struct story *w, unsigned i, struct buf *out)
{
    const struct store_rec *r = w->v[i];
    bool of_session = r->kind == STORE_SESSION || r->kind == STORE_MEMBER || r->kind == STORE_WILL;
    bool of_queue = (r->kind == STORE_QUEUE || r->kind == STORE_MEMBER || r->kind == STORE_BIND) && r->queue != 0;
    if ((of_session && is_ended(w, STORE_SESSION_END, r->session)) || (of_queue && queue_is_ended(w, r->queue)))
        return;
    if (r->kind == STORE_WILL && r->msg == NULL)
        return;
    for (unsigned j = i + 1; j < w->n; j++) {
        const struct store_rec *o = w->v[j];
        if (undoes(o, r) || (o->kind == r->kind && is_same_thing(r, o)))
            return;
    }
    put_rec(out, r, r->lsn);
}

/* follow: what the notes say of a target. False: it is settled. */
static bool follow(const struct story *w, const struct store_rec *r, struct store_target *t)
{
    for (unsigned j = 0; j < w->n; j++) {
        const struct store_rec *o = w->v[j];
        if (o->of != r->lsn || o->queue != t->queue)
            continue;
        if (o->kind == STORE_SETTLE || o->kind == STORE_PUBLISH) /* a dead letter's */
            return false;
        if (o->kind == STORE_SENT) {
            t->progress = STORE_WAS_SENT;
            t->ticket = o->ticket;
            t->session = o->session;
        } else if (o->kind == STORE_RECEIVED) {
            t->progress = STORE_WAS_RECEIVED;
        } else if (o->kind == STORE_RETURNED) {
            t->progress = STORE_WAITS;
            t->ticket = 0;
            t->session = 0;
            t->returns = o->returns;
        }
    }
    return !queue_is_ended(w, t->queue);
}

static bool is_released(const struct story *w, unsigned i)
{
    const struct store_rec *r = w->v[i];
    for (unsigned j = i + 1; j < w->n; j++) {
        const struct store_rec *o = w->v[j];
        bool frees = o->kind == STORE_RX_RELEASE || o->kind == STORE_PUBLISH;
        if (frees && o->session == r->session && o->rx_id == r->rx_id)
            return true;
    }
    return is_ended(w, STORE_SESSION_END, r->session);
}

/* living_publish: what is left of publish i, its targets into left[3]. False: nothing. */
static bool living_publish(const struct story *w, unsigned i, struct store_rec *out, struct store_target *left)
{
    *out = *w->v[i];
    out->target_n = 0;
    out->target = left;
    for (uint32_t t = 0; t < w->v[i]->target_n; t++) {
        left[out->target_n] = w->v[i]->target[t];
        out->target_n += follow(w, w->v[i], &left[out->target_n]);
    }
    if (out->rx_id != 0 && is_released(w, i))
        out->rx_id = 0;
    out->of = 0;
    if (out->target_n == 0)
        out->msg = NULL;
    return out->target_n != 0 || out->rx_id != 0;
}

static bool retains(const struct store_rec *r)
{
    return r->kind == STORE_RETAIN || (r->kind == STORE_PUBLISH && (r->flags & STORE_PUBLISH_RETAINED) != 0);
}

static struct slice topic_of(const struct store_rec *r)
{
    return r->msg != NULL ? slice_make(r->msg->bytes, r->msg->topic_len) : r->name;
}

static void put_retain(const struct story *w, unsigned i, struct buf *out)
{
    const struct store_rec *r = w->v[i];
    for (unsigned j = i + 1; j < w->n; j++) {
        if (retains(w->v[j]) && slice_eq(topic_of(w->v[j]), topic_of(r)))
            return;
    }
    if (r->msg != NULL && r->msg->payload_len != 0)
        put_rec(out, &(struct store_rec){.kind = STORE_RETAIN, .msg = r->msg}, r->lsn);
}

static void put_message(const struct story *w, unsigned i, struct buf *out)
{
    struct store_target left[3];
    struct store_rec view;
    if (w->v[i]->kind == STORE_PUBLISH && living_publish(w, i, &view, left))
        put_rec(out, &view, view.lsn);
    if (retains(w->v[i]))
        put_retain(w, i, out);
}

/* put_living: by definition, what the story amounts to, in the order of core/store.h. */
static void put_living(const struct story *w, struct buf *out)
{
    static const enum store_kind sorts[] = {STORE_EXCHANGE, STORE_SESSION, STORE_QUEUE,
                                            STORE_BIND,     STORE_MEMBER,  STORE_WILL};
    buf_clear(out);
    for (unsigned k = 0; k < ARRAY_N(sorts); k++) {
        for (unsigned i = 0; i < w->n; i++) {
            if (w->v[i]->kind == sorts[k])
                put_thing(w, i, out);
        }
    }
    for (unsigned i = 0; i < w->n; i++) {
        if (w->v[i]->kind == STORE_PUBLISH || w->v[i]->kind == STORE_RETAIN)
            put_message(w, i, out);
    }
    buf_put_u8(out, 0);
}

/* story_whole: leaves out units that are void, and one without its end. */
static void story_whole(struct story *w)
{
    unsigned n = 0, unit = 0;
    bool in_unit = false;
    for (unsigned i = 0; i < w->n; i++) {
        const struct store_rec *r = w->v[i];
        if (r->kind == STORE_TX)
            unit = n;
        w->v[n++] = r;
        if (r->kind == STORE_TX_END && r->flags == STORE_TX_VOID)
            n = unit;
        if (r->kind == STORE_TX || r->kind == STORE_TX_END)
            in_unit = r->kind == STORE_TX;
    }
    w->n = in_unit ? unit : n;
}

/* story_begin: the first n records of the log, without those that were lost. */
static void story_begin(struct story *out, const struct whole_log *w, unsigned n)
{
    out->n = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!w->v[i].is_lost)
            out->v[out->n++] = &w->v[i].rec;
    }
}
