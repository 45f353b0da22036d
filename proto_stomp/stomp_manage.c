/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_manage.c: SEND to /manage/<verb>: what STOMP has no frame for. Exchanges, queues and bindings are made and
 * ended by it, queues purged and paused, and pull consumers ask for messages.
 *
 *     SEND
 *     destination:/manage/bind
 *     exchange:orders                 its arguments are headers, looked up by name in these frames only; elsewhere
 *     key:eu.*                        the same names are the application's own
 *     queue:eu-orders
 *     receipt:7                       RECEIPT is the answer; what was refused is an ERROR
 *
 * Invariants
 *   1. A header that the verb does not know ends the connection: what it was to change would be overlooked.
 *   2. Each frame ends in one core verb or in one ERROR; who may do what is decided there (core/topology.h).
 * Cost    O(headers); cold.
 * Thread  the shard's own.
 * Spec    docs/stomp.md, "/manage/". Nothing of it is in the STOMP specification, which leaves destinations to servers.
 */
#include <stdio.h>

#include "core/topology.h"
#include "proto_stomp/stomp_attrs.h"
#include "proto_stomp/stomp_conn.h"
#include "proto_stomp/stomp_queue_args.h"

enum { NAMES_MAX = 8, U64_TEXT_MAX = 24 };

/* One frame on its way. */
struct order {
    struct conn *c;
    const struct stomp_frame *f;
    uint64_t receipt; /* of the verb that begin began */
    /* not set: what values are decoded into */
    uint8_t name_buf[STOMP_LINE_BYTES_MAX], other_buf[STOMP_LINE_BYTES_MAX], key_buf[STOMP_LINE_BYTES_MAX];
    uint8_t buf[STOMP_LINE_BYTES_MAX];
};

/* ---- arguments ------------------------------------------------------------------------------------------------- */

/* refuse: says ERROR; false for the caller to return. */
static bool refuse(const struct order *o, enum stomp_fault why, struct slice detail)
{
    stomp_error(o->c, o->f, why, detail);
    return false;
}

static bool get(const struct order *o, const char *name, uint8_t buf[STOMP_LINE_BYTES_MAX], struct slice *out)
{
    *out = SLICE("");
    return stomp_frame_find(o->f, slice_from_str(name), buf, STOMP_LINE_BYTES_MAX, out) == ERR_OK;
}

/* need: a header that must be there and say something. */
static bool need(const struct order *o, const char *name, uint8_t buf[STOMP_LINE_BYTES_MAX], struct slice *out)
{
    return (get(o, name, buf, out) && out->len != 0) || refuse(o, STOMP_FAULT_NO_HEADER, slice_from_str(name));
}

/* take_flag, take_number: *out is left alone if the header is not there. */
static bool take_flag(struct order *o, const char *name, bool *out)
{
    struct slice text;
    if (!get(o, name, o->buf, &text) || stomp_bool_parse(text, out))
        return true;
    return refuse(o, STOMP_FAULT_HEADER, slice_from_str(name));
}

static bool take_number(struct order *o, const char *name, uint64_t *out)
{
    struct slice text;
    if (!get(o, name, o->buf, &text) || stomp_u64_parse(text, out))
        return true;
    return refuse(o, STOMP_FAULT_HEADER, slice_from_str(name));
}

/* begin: the receipt of a core verb about `name`, which an ERROR from within the verb shows. end: it has returned. */
static bool begin(struct order *o, enum stomp_receipt_kind kind, struct slice name)
{
    stomp_state(o->c)->about = name;
    return stomp_receipt_ask(o->c, o->f, kind, &o->receipt);
}

static void end(struct order *o)
{
    stomp_state(o->c)->about = SLICE("");
}

/* answer_with: it was done; RECEIPT says what came of it. */
static void answer_with(struct order *o, struct slice name, struct slice value)
{
    uint64_t receipt;
    const struct stomp_saying says = {.name = name, .value = value};
    if (stomp_receipt_say(o->c, o->f, STOMP_FOR_OTHER, &says, &receipt))
        broker_barrier(o->c, receipt);
}

static struct slice u64_text(uint64_t n, char out[U64_TEXT_MAX])
{
    int len = snprintf(out, U64_TEXT_MAX, "%llu", (unsigned long long)n);
    return slice_make(out, (size_t)len);
}

/* find_queue: NULL: ERROR was said. */
static struct queue *find_queue(const struct order *o, struct slice name)
{
    enum err e = ERR_OK;
    struct queue *q = broker_queue(o->c, name, &e);
    if (q == NULL && e == ERR_NOT_FOUND)
        refuse(o, STOMP_FAULT_NO_QUEUE, name);
    else if (q == NULL)
        refuse(o, e == ERR_DENIED ? STOMP_FAULT_LOCKED : stomp_fault_from_err(e), name);
    return q;
}

/* find_exchange: NULL: ERROR was said. */
static struct exchange *find_exchange(const struct order *o, struct slice name)
{
    struct exchange *x = exchange_get(o->c->session->vhost, name);
    if (x == NULL)
        refuse(o, STOMP_FAULT_NO_EXCHANGE, name);
    return x;
}

/* ---- exchanges ------------------------------------------------------------------------------------------------- */

static bool take_type(struct order *o, enum exchange_kind *out)
{
    static const struct {
        const char *text;
        enum exchange_kind kind;
    } kinds[] = {{"topic", EXCHANGE_TOPIC}, {"direct", EXCHANGE_DIRECT}, {"fanout", EXCHANGE_FANOUT}};
    struct slice type;
    if (!need(o, "type", o->buf, &type))
        return false;
    for (size_t i = 0; i < ARRAY_N(kinds); i++) {
        *out = kinds[i].kind;
        if (slice_eq_str(type, kinds[i].text))
            return true;
    }
    return refuse(o, STOMP_FAULT_HEADER, SLICE("type"));
}

static void declare_exchange(struct order *o)
{
    struct exchange_spec spec = {.durable = true};
    struct declared d;
    bool ok = need(o, "exchange", o->name_buf, &spec.name) && take_type(o, &spec.kind) &&
              take_flag(o, "durable", &spec.durable) && take_flag(o, "auto-delete", &spec.auto_delete) &&
              take_flag(o, "internal", &spec.internal) && take_number(o, "x-rate-limit", &spec.rate);
    if (!ok)
        return;
    (void)get(o, "alternate-exchange", o->other_buf, &spec.alternate);
    if (broker_declare_exchange(o->c, &spec, &d) != NULL)
        stomp_answer(o->c, o->f);
    else
        stomp_error_declared(o->c, o->f, STOMP_AN_EXCHANGE, spec.name, &d);
}

static void delete_exchange(struct order *o)
{
    struct slice name;
    bool if_unused = false;
    if (!need(o, "exchange", o->name_buf, &name) || !take_flag(o, "if-unused", &if_unused))
        return;
    if (begin(o, STOMP_FOR_DELETE, name))
        broker_delete_exchange(o->c, name, if_unused, o->receipt);
    end(o);
}

/* ---- bindings -------------------------------------------------------------------------------------------------- */

/* What a binding joins. */
struct joint {
    struct exchange *x, *to; /* to: NULL: a queue */
    struct queue *q;
    struct slice what; /* the target's name */
};

/* take_joint: exchange, and queue or to-exchange. */
static bool take_joint(struct order *o, struct joint *out)
{
    struct slice name;
    *out = (struct joint){0};
    if (!need(o, "exchange", o->buf, &name))
        return false;
    out->x = find_exchange(o, name);
    if (out->x == NULL)
        return false;
    bool has_queue = get(o, "queue", o->name_buf, &out->what);
    bool has_exchange = get(o, "to-exchange", o->other_buf, &name);
    if (!has_queue && !has_exchange)
        return refuse(o, STOMP_FAULT_NO_HEADER, SLICE("queue"));
    if (has_queue && has_exchange)
        return refuse(o, STOMP_FAULT_MANAGE_HEADER, SLICE("to-exchange"));
    if (has_queue) {
        out->q = find_queue(o, out->what);
        return out->q != NULL;
    }
    out->what = name;
    out->to = find_exchange(o, name);
    return out->to != NULL;
}

/* take_filter: the key as it stands in /exchange/<name>/<key>. tok has TOPIC_LEVELS_MAX places. */
static bool take_filter(struct order *o, const struct exchange *x, struct token *tok, struct filter *out)
{
    struct stomp_dest d = {.kind = STOMP_DEST_EXCHANGE, .name = exchange_name(x)};
    d.has_key = get(o, "key", o->key_buf, &d.key);
    if (x->kind == EXCHANGE_TOPIC) {
        struct stomp_filter filter;
        if (!d.has_key)
            return refuse(o, STOMP_FAULT_NO_HEADER, SLICE("key"));
        if (stomp_dest_filter(&d, stomp_dialect(o->c), tok, o->buf, sizeof o->buf, &filter) != ERR_OK)
            return refuse(o, stomp_fault_from_why(d.why), d.key);
        *out = filter.filter;
        if (tok[0].kind == TOKEN_LITERAL && stomp_is_reserved_level(tok[0].bytes))
            return refuse(o, STOMP_FAULT_UNSUPPORTED, d.key);
        return true;
    }
    tok[0] = (struct token){.kind = TOKEN_LITERAL};
    if (stomp_dest_key(&d, o->buf, sizeof o->buf, &tok[0].bytes) != ERR_OK)
        return refuse(o, stomp_fault_from_why(d.why), d.key);
    *out = (struct filter){.tok = tok, .n = x->kind == EXCHANGE_FANOUT ? 0 : 1};
    return true;
}

typedef void (*bind_queue_fn)(struct conn *, struct exchange *, const struct filter *, struct queue *, uint64_t);
typedef void (*bind_exchange_fn)(struct conn *, struct exchange *, const struct filter *, struct exchange *, uint64_t);

static void join(struct order *o, bind_queue_fn queue, bind_exchange_fn exchange)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter filter;
    struct joint j;
    if (!take_joint(o, &j) || !take_filter(o, j.x, tok, &filter))
        return;
    if (begin(o, STOMP_FOR_BIND, j.what)) {
        if (j.q != NULL)
            queue(o->c, j.x, &filter, j.q, o->receipt);
        else
            exchange(o->c, j.x, &filter, j.to, o->receipt);
    }
    end(o);
}

static void bind(struct order *o)
{
    join(o, broker_bind, broker_bind_exchange);
}

static void unbind(struct order *o)
{
    join(o, broker_unbind, broker_unbind_exchange);
}

/* ---- queues ---------------------------------------------------------------------------------------------------- */

/* look: passive: only whether it is there, and how much waits in it. */
static void look(struct order *o, struct slice name)
{
    char text[U64_TEXT_MAX];
    const struct queue *q = find_queue(o, name);
    if (q != NULL)
        answer_with(o, SLICE("x-messages"), u64_text(q->ready_n, text));
}

static void declare_queue(struct order *o)
{
    struct stomp_queue_text text; /* not initialised: large */
    struct queue_spec spec;
    struct declared d;
    struct slice name, bad;
    bool passive = false;
    (void)get(o, "queue", o->name_buf, &name);
    if (!take_flag(o, "passive", &passive))
        return;
    if (passive) {
        look(o, name);
        return;
    }
    enum stomp_fault why = stomp_queue_spec(o->f, &o->c->session->vhost->policy_named, &spec, &text, &bad);
    if (why != STOMP_FAULT_NONE) {
        refuse(o, why, bad);
        return;
    }
    const struct queue *q = broker_declare_queue_as(o->c, name, &spec, &d);
    if (q != NULL)
        answer_with(o, SLICE("x-queue"), queue_name(q));
    else
        stomp_error_declared(o->c, o->f, STOMP_A_QUEUE, name, &d);
}

static void delete_queue(struct order *o)
{
    struct slice name;
    struct queue_end how = {0};
    if (!need(o, "queue", o->name_buf, &name) || !take_flag(o, "if-unused", &how.if_unused) ||
        !take_flag(o, "if-empty", &how.if_empty))
        return;
    if (begin(o, STOMP_FOR_DELETE, name))
        broker_delete_queue(o->c, name, how, o->receipt);
    end(o);
}

static void purge(struct order *o)
{
    struct slice name;
    char text[U64_TEXT_MAX];
    uint64_t receipt, n;
    const struct queue *q = need(o, "queue", o->name_buf, &name) ? find_queue(o, name) : NULL;
    if (q == NULL)
        return;
    const struct queue_own *own = queue_own(q);
    uint64_t waits = (uint64_t)q->ready_n + (own != NULL ? own->waiting_n : 0); /* known before, for RECEIPT says it */
    const struct stomp_saying says = {.name = SLICE("x-messages"), .value = u64_text(waits, text)};
    if (stomp_receipt_say(o->c, o->f, STOMP_FOR_BIND, &says, &receipt))
        broker_purge(o->c, name, &n, receipt);
}

static void pause_or(struct order *o, bool on)
{
    struct slice name;
    if (!need(o, "queue", o->name_buf, &name))
        return;
    if (begin(o, STOMP_FOR_BIND, name))
        broker_pause(o->c, name, on, o->receipt);
    end(o);
}

static void pause(struct order *o)
{
    pause_or(o, true);
}

static void resume(struct order *o)
{
    pause_or(o, false);
}

/* ---- consumers ------------------------------------------------------------------------------------------------- */

/* find_pull: a consumer that asks for its messages. NULL: ERROR was said. */
static struct consumer *find_pull(struct order *o)
{
    const struct stomp_conn *s = stomp_state(o->c);
    struct slice id;
    if (!need(o, "subscription", o->other_buf, &id))
        return NULL;
    o->name_buf[0] = 'i';
    size_t n = MIN(id.len, sizeof o->name_buf - 1);
    memcpy(o->name_buf + 1, id.p, n);
    const struct stomp_sub *sub = map_get(&s->subs, slice_make(o->name_buf, 1 + n));
    struct consumer *k = sub != NULL ? sub->consumer : NULL;
    if (k == NULL)
        refuse(o, STOMP_FAULT_NO_SUB_HERE, id);
    else if (!k->is_pull)
        refuse(o, STOMP_FAULT_NOT_PULL, id);
    return k != NULL && k->is_pull ? k : NULL;
}

static void credit(struct order *o)
{
    struct slice text;
    uint64_t n = 0, receipt;
    bool drain = false;
    struct consumer *k = find_pull(o);
    if (k == NULL || !take_flag(o, "drain", &drain))
        return;
    if (!drain && !need(o, "credit", o->buf, &text))
        return;
    if (take_number(o, "credit", &n) && stomp_receipt_ask(o->c, o->f, STOMP_FOR_OTHER, &receipt))
        broker_grant(o->c, k, (uint32_t)MIN(n, (uint64_t)UINT32_MAX), drain, receipt);
}

/* ---- verbs ----------------------------------------------------------------------------------------------------- */

static const struct verb {
    const char *text;
    void (*run)(struct order *);
    bool takes_arguments;         /* of a queue */
    const char *names[NAMES_MAX]; /* headers it knows; NULL-terminated */
} verbs[] = {
    {"declare-exchange",
     declare_exchange,
     false,
     {"exchange", "type", "durable", "auto-delete", "internal", "alternate-exchange", "x-rate-limit"}},
    {"delete-exchange", delete_exchange, false, {"exchange", "if-unused"}},
    {"bind", bind, false, {"exchange", "key", "queue", "to-exchange"}},
    {"unbind", unbind, false, {"exchange", "key", "queue", "to-exchange"}},
    {"declare-queue", declare_queue, true, {"queue", "passive"}},
    {"delete-queue", delete_queue, false, {"queue", "if-unused", "if-empty"}},
    {"purge", purge, false, {"queue"}},
    {"pause", pause, false, {"queue"}},
    {"resume", resume, false, {"queue"}},
    {"credit", credit, false, {"subscription", "credit", "drain"}},
};

/* is_known: may header i of the frame stand here? name is how it is spelled. */
static bool is_known(const struct verb *v, const struct stomp_frame *f, uint32_t i, struct slice name)
{
    enum stomp_known h = (enum stomp_known)f->header[i].known;
    enum stomp_send_class k = stomp_send_class(h);
    if (k == STOMP_SEND_FRAME || h == STOMP_H_CONTENT_TYPE)
        return true;
    for (const char *const *text = v->names; *text != NULL; text++)
        if (slice_eq_str(name, *text))
            return true;
    if (!v->takes_arguments)
        return false;
    /* x-queue-type and the like are RabbitMQ's own: overlooked, as everywhere */
    return (k == STOMP_SEND_QUEUE && h != STOMP_H_X_QUEUE_NAME) ||
           (h == STOMP_H_OTHER && slice_starts_with(name, SLICE("x-queue-")));
}

/* headers_are_known: invariant 1. */
static bool headers_are_known(struct order *o, const struct verb *v)
{
    struct slice name;
    for (uint32_t i = 0; i < o->f->header_n; i++) {
        BUG_ON(stomp_header_name(o->f, i, o->buf, sizeof o->buf, &name) != ERR_OK);
        if (!is_known(v, o->f, i, name))
            return refuse(o, STOMP_FAULT_MANAGE_HEADER, name);
    }
    return true;
}

void stomp_manage_in(struct conn *c, const struct stomp_frame *f, struct slice verb)
{
    struct order o; /* not initialised as a whole: its buffers are large */
    o.c = c;
    o.f = f;
    if (f->body.len != 0 || f->known[STOMP_H_TRANSACTION] >= 0) {
        refuse(&o, STOMP_FAULT_MANAGE_BODY, SLICE(""));
        return;
    }
    for (size_t i = 0; i < ARRAY_N(verbs); i++) {
        if (!slice_eq_str(verb, verbs[i].text))
            continue;
        if (headers_are_known(&o, &verbs[i]))
            verbs[i].run(&o);
        return;
    }
    refuse(&o, STOMP_FAULT_MANAGE_VERB, verb);
}
