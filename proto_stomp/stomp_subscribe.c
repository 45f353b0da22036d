/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_subscribe.c: SUBSCRIBE and UNSUBSCRIBE.
 *
 *     /topic/a.*  /mqtt/a/+  /exchange/x/k   a queue of its own, bound by a filter ─► broker_consume_filter
 *     /mqtt/$share/g/a/+                     the queue of that group               ─► broker_consume_group
 *     /queue/q  q                            declared, then shared with others     ─► broker_consume_queue
 *     /amq/queue/q                           the same, but it has to be there
 *
 * A subscription is known by its id; in 1.0 it may have none and is then known by its destination.
 *
 * Invariants
 *   1. A record is in s->subs exactly while the subscription is open; the consumer's `up` points to it.
 *   2. SUBSCRIBE is answered before its first MESSAGE: deliveries begin after on_settled.
 *   3. A header that would change what the subscription means, and is not supported, is an ERROR and not overlooked.
 * Cost    one record, one consumer and (but for named queues) one queue and one binding each.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §SUBSCRIBE, §SUBSCRIBE id Header, §SUBSCRIBE ack Header, §UNSUBSCRIBE; STOMP 1.0 §SUBSCRIBE;
 *         docs/mapping.md, "Destinations".
 */
#include "core/shard.h"
#include "proto_stomp/stomp_attrs.h"
#include "proto_stomp/stomp_conn.h"

/* ---- records --------------------------------------------------------------------------------------------------- */

struct slice stomp_sub_map_key(const void *item)
{
    return stomp_sub_key(item);
}

static void sub_free(struct conn *c, struct stomp_sub *sub)
{
    mem_free(conn_mem(c), sub->head.p);
    mem_free(conn_mem(c), sub);
}

static void sub_remove(struct conn *c, struct stomp_sub *sub)
{
    struct stomp_conn *s = stomp_state(c);
    BUG_ON(map_del(&s->subs, stomp_sub_key(sub)) != sub);
    sub_free(c, sub);
}

void stomp_subs_free(struct conn *c)
{
    struct stomp_conn *s = stomp_state(c);
    uint32_t pos = 0;
    for (struct stomp_sub *sub = map_next(&s->subs, &pos); sub != NULL; sub = map_next(&s->subs, &pos))
        sub_free(c, sub);
    map_fini(&s->subs);
}

/* cancel: no more deliveries; what was delivered can still be answered. */
static void cancel(struct conn *c, struct stomp_sub *sub, uint64_t receipt)
{
    struct consumer *k = sub->consumer;
    sub->consumer = NULL;
    if (k == NULL) {
        broker_barrier(c, receipt);
        return;
    }
    k->up = NULL;
    broker_cancel(c, k, receipt);
}

void stomp_subs_cancel(struct conn *c)
{
    struct stomp_conn *s = stomp_state(c);
    uint32_t pos = 0;
    for (struct stomp_sub *sub = map_next(&s->subs, &pos); sub != NULL; sub = map_next(&s->subs, &pos))
        cancel(c, sub, RECEIPT_NONE);
}

void stomp_on_consumer_gone(struct conn *c, struct consumer *k)
{
    struct stomp_sub *sub = k->up;
    if (sub == NULL)
        return;
    sub->consumer = NULL;
    stomp_error(c, NULL, STOMP_FAULT_SUB_GONE, sub->has_id ? stomp_sub_id(sub) : stomp_sub_dest(sub));
}

/* ---- SUBSCRIBE: what it says ----------------------------------------------------------------------------------- */

/* One SUBSCRIBE on its way. */
struct request {
    struct conn *c;
    const struct stomp_frame *f;
    struct slice id, dest;
    bool has_id;
    struct stomp_dest d;
    struct consume how;
    struct binding_opts opts;
    uint8_t id_buf[STOMP_LINE_BYTES_MAX], dest_buf[STOMP_LINE_BYTES_MAX], name_buf[STOMP_LINE_BYTES_MAX];
};

/* refuse: says ERROR; false for the caller to return. */
static bool refuse(const struct request *r, enum stomp_fault why, struct slice detail)
{
    stomp_error(r->c, r->f, why, detail);
    return false;
}

/* get: a short header's value in buf; empty when it is not there. */
static bool get(const struct request *r, enum stomp_known h, uint8_t buf[STOMP_LINE_BYTES_MAX], struct slice *out)
{
    return stomp_frame_get(r->f, h, buf, STOMP_LINE_BYTES_MAX, out) == ERR_OK;
}

/* take_names: id and destination. */
static bool take_names(struct request *r)
{
    const struct stomp_conn *s = stomp_state(r->c);
    r->has_id = get(r, STOMP_H_ID, r->id_buf, &r->id);
    if (!r->has_id && s->version != STOMP_1_0) /* STOMP 1.2 §SUBSCRIBE id Header; STOMP 1.1 §SUBSCRIBE */
        return refuse(r, STOMP_FAULT_NO_HEADER, SLICE("id"));
    if (!get(r, STOMP_H_DESTINATION, r->dest_buf, &r->dest)) /* STOMP 1.2 §SUBSCRIBE */
        return refuse(r, STOMP_FAULT_NO_DESTINATION, SLICE(""));
    if (stomp_dest_parse(r->dest, &r->d) != ERR_OK)
        return refuse(r, stomp_fault_from_why(r->d.why), r->dest);
    return true;
}

/* take_ack: STOMP 1.2 §SUBSCRIBE ack Header */
static bool take_ack(struct request *r)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice mode;
    r->how.mode = ACK_NONE;
    if (!get(r, STOMP_H_ACK, buf, &mode) || slice_eq_str(mode, "auto"))
        return true;
    if (slice_eq_str(mode, "client"))
        r->how.mode = ACK_CUMULATIVE;
    else if (slice_eq_str(mode, "client-individual"))
        r->how.mode = ACK_EACH;
    else
        return refuse(r, STOMP_FAULT_ACK_MODE, mode);
    return true;
}

static bool take_options(struct request *r)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    uint64_t n = 0;
    enum stomp_known h = r->f->known[STOMP_H_PREFETCH_COUNT] >= 0 ? STOMP_H_PREFETCH_COUNT : STOMP_H_AMQ_PREFETCH_SIZE;
    if (get(r, h, buf, &text) && !stomp_u64_parse(text, &n))
        return refuse(r, STOMP_FAULT_HEADER, stomp_known_text(h));
    r->how.prefetch = (uint32_t)MIN(n, (uint64_t)STOMP_TICKET_MAX);
    r->how.qos = r->opts.qos = 2;
    n = 0;
    if (get(r, STOMP_H_RETAIN_HANDLING, buf, &text) && (!stomp_u64_parse(text, &n) || n > 2))
        return refuse(r, STOMP_FAULT_HEADER, SLICE("retain-handling"));
    r->opts.retain_handling = n == 2 ? 2 : 0; /* 1, only if it is new: here it always is */
    return true;
}

/* flag_is: the header is not there, or says `wanted`. */
static bool flag_is(const struct request *r, enum stomp_known h, bool wanted)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    bool on;
    return !get(r, h, buf, &text) || (stomp_bool_parse(text, &on) && on == wanted);
}

/* check_later: durable subscriptions, queue arguments, selectors, ... : invariant 3. */
static bool check_later(const struct request *r)
{
    static const enum stomp_known later[] = {STOMP_H_SELECTOR, STOMP_H_CREDIT, STOMP_H_X_PRIORITY, STOMP_H_TRANSACTION,
                                             STOMP_H_DURABLE_SUBSCRIPTION_NAME};
    bool is_queue = r->d.kind == STOMP_DEST_QUEUE || r->d.kind == STOMP_DEST_AMQ_QUEUE;
    /* A subscription queue is what it is: not durable, exclusive, auto-delete; a named queue is the opposite. */
    static const enum stomp_known flags[] = {STOMP_H_DURABLE, STOMP_H_EXCLUSIVE, STOMP_H_AUTO_DELETE};
    for (size_t i = 0; i < ARRAY_N(flags); i++)
        if (!flag_is(r, flags[i], (flags[i] == STOMP_H_DURABLE) == is_queue))
            return refuse(r, STOMP_FAULT_UNSUPPORTED, stomp_known_text(flags[i]));
    if (!is_queue && !flag_is(r, STOMP_H_PERSISTENT, false)) /* RabbitMQ's other name for durable */
        return refuse(r, STOMP_FAULT_UNSUPPORTED, SLICE("persistent"));
    for (size_t i = 0; i < ARRAY_N(later); i++)
        if (r->f->known[later[i]] >= 0)
            return refuse(r, STOMP_FAULT_UNSUPPORTED, stomp_known_text(later[i]));
    for (uint32_t i = 0; i < r->f->header_n; i++) {
        enum stomp_known h = (enum stomp_known)r->f->header[i].known;
        bool is_flag = h == STOMP_H_DURABLE || h == STOMP_H_EXCLUSIVE || h == STOMP_H_AUTO_DELETE;
        if (!is_flag && stomp_send_class(h) == STOMP_SEND_QUEUE)
            return refuse(r, STOMP_FAULT_UNSUPPORTED, stomp_known_text(h));
    }
    return true;
}

/* ---- SUBSCRIBE: to what ---------------------------------------------------------------------------------------- */

/* sub_new: the record, in the table. NULL: ERROR was said. */
static struct stomp_sub *sub_new(const struct request *r)
{
    struct stomp_conn *s = stomp_state(r->c);
    struct slice name = r->has_id ? r->id : r->dest;
    struct stomp_sub *sub = mem_zalloc(conn_mem(r->c), sizeof *sub + 1 + name.len + r->dest.len);
    if (sub == NULL) {
        stomp_nomem(r->c);
        return NULL;
    }
    sub->has_id = r->has_id;
    sub->key_len = (uint32_t)(1 + name.len);
    sub->dest_len = (uint32_t)r->dest.len;
    sub->bytes[0] = r->has_id ? 'i' : 'd';
    if (name.len != 0)
        memcpy(sub->bytes + 1, name.p, name.len);
    memcpy(sub->bytes + sub->key_len, r->dest.p, r->dest.len);
    enum stomp_fault why = STOMP_FAULT_NONE;
    if (map_get(&s->subs, stomp_sub_key(sub)) != NULL)
        why = STOMP_FAULT_SUB_TWICE;
    else if (s->subs.n >= conn_limits(r->c)->stomp_subscriptions_max)
        why = STOMP_FAULT_SUB_LIMIT;
    else if (map_put(&s->subs, sub) != ERR_OK)
        why = STOMP_FAULT_NOMEM;
    if (why == STOMP_FAULT_NONE)
        return sub;
    if (why == STOMP_FAULT_SUB_LIMIT)
        stomp_error_u64(r->c, r->f, why, conn_limits(r->c)->stomp_subscriptions_max);
    else
        stomp_error(r->c, r->f, why, why == STOMP_FAULT_SUB_TWICE ? name : SLICE(""));
    sub_free(r->c, sub);
    return NULL;
}

/* consume: the record, then the verb: of a queue, else of a filter, by a group if `group` names one. */
static void consume(struct request *r, struct queue *q, struct exchange *x, const struct filter *filter,
                    struct slice group)
{
    struct stomp_sub *sub = sub_new(r);
    if (sub == NULL)
        return;
    if (!stomp_receipt_ask(r->c, r->f, STOMP_FOR_SUBSCRIBE, &r->how.receipt))
        return;
    r->how.up = sub;
    if (q != NULL) {
        sub->consumer = broker_consume_queue(r->c, q, &r->how);
    } else {
        sub->is_topic = x->kind == EXCHANGE_TOPIC;
        sub->style = (uint8_t)stomp_dest_style(&r->d, STOMP_DIALECT);
        sub->consumer = group.len != 0 ? broker_consume_group(r->c, group, filter, &r->how)
                                       : broker_consume_filter(r->c, x, filter, &r->opts, &r->how);
    }
    if (sub->consumer == NULL)
        sub_remove(r->c, sub); /* the receipt says why */
}

static void subscribe_queue(struct request *r)
{
    struct slice name;
    enum err e = ERR_OK;
    if (stomp_dest_name(&r->d, r->name_buf, sizeof r->name_buf, &name) != ERR_OK) {
        refuse(r, stomp_fault_from_why(r->d.why), r->dest);
        return;
    }
    struct queue *q = r->d.kind == STOMP_DEST_QUEUE ? broker_declare_queue(r->c, name, &e)
                                                    : map_get(&r->c->session->vhost->queues, name);
    if (q == NULL)
        refuse(r, stomp_fault_for_queue(e), r->dest);
    else
        consume(r, q, NULL, NULL, SLICE(""));
}

static void subscribe_topic(struct request *r, struct exchange *x)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct stomp_filter filter;
    if (stomp_dest_filter(&r->d, STOMP_DIALECT, tok, r->name_buf, sizeof r->name_buf, &filter) != ERR_OK) {
        refuse(r, stomp_fault_from_why(r->d.why), r->dest);
        return;
    }
    bool is_reserved = tok[0].kind == TOKEN_LITERAL && stomp_is_reserved_level(tok[0].bytes);
    if (is_reserved)
        refuse(r, STOMP_FAULT_UNSUPPORTED, r->dest);
    else
        consume(r, NULL, x, &filter.filter, filter.share);
}

static void subscribe_exchange(struct request *r)
{
    struct slice name, key;
    if (stomp_dest_name(&r->d, r->name_buf, sizeof r->name_buf, &name) != ERR_OK) {
        refuse(r, stomp_fault_from_why(r->d.why), r->dest);
        return;
    }
    struct exchange *x = exchange_get(r->c->session->vhost, name);
    if (x == NULL) {
        refuse(r, STOMP_FAULT_NO_EXCHANGE, name);
        return;
    }
    if (x->kind == EXCHANGE_TOPIC) {
        subscribe_topic(r, x);
        return;
    }
    if (stomp_dest_key(&r->d, r->name_buf, sizeof r->name_buf, &key) != ERR_OK) {
        refuse(r, stomp_fault_from_why(r->d.why), r->dest);
        return;
    }
    struct token one = {.kind = TOKEN_LITERAL, .bytes = key};
    struct filter filter = {.tok = &one, .n = x->kind == EXCHANGE_FANOUT ? 0 : 1};
    consume(r, NULL, x, &filter, SLICE(""));
}

void stomp_subscribe_in(struct conn *c, const struct stomp_frame *f)
{
    struct request r; /* not initialised as a whole: its buffers are large */
    r.c = c;
    r.f = f;
    r.how = (struct consume){0};
    r.opts = (struct binding_opts){0};
    if (!take_names(&r) || !take_ack(&r) || !take_options(&r) || !check_later(&r))
        return;
    switch (r.d.kind) {
    case STOMP_DEST_TOPIC:
    case STOMP_DEST_MQTT:
        subscribe_topic(&r, c->session->vhost->topic_exchange);
        return;
    case STOMP_DEST_QUEUE:
    case STOMP_DEST_AMQ_QUEUE:
        subscribe_queue(&r);
        return;
    case STOMP_DEST_EXCHANGE:
        subscribe_exchange(&r);
        return;
    default:
        refuse(&r, STOMP_FAULT_UNSUPPORTED, r.dest);
        return;
    }
}

/* ---- UNSUBSCRIBE ----------------------------------------------------------------------------------------------- */

/* find_sub: STOMP 1.2 §UNSUBSCRIBE: the subscription the frame names. NULL: ERROR was said. */
static struct stomp_sub *find_sub(struct conn *c, const struct stomp_frame *f)
{
    const struct stomp_conn *s = stomp_state(c);
    uint8_t key[1 + STOMP_LINE_BYTES_MAX];
    struct slice name;
    key[0] = 'i';
    enum err e = stomp_frame_get(f, STOMP_H_ID, key + 1, STOMP_LINE_BYTES_MAX, &name);
    if (e != ERR_OK && s->version == STOMP_1_0) { /* STOMP 1.0 §UNSUBSCRIBE */
        key[0] = 'd';
        e = stomp_frame_get(f, STOMP_H_DESTINATION, key + 1, STOMP_LINE_BYTES_MAX, &name);
    }
    if (e != ERR_OK) {
        stomp_error(c, f, STOMP_FAULT_NO_ID, SLICE(""));
        return NULL;
    }
    if (name.len != 0)
        memmove(key + 1, name.p, name.len);
    struct stomp_sub *sub = map_get(&s->subs, slice_make(key, 1 + name.len));
    if (sub == NULL)
        stomp_error(c, f, STOMP_FAULT_NO_SUB, name);
    return sub;
}

void stomp_unsubscribe_in(struct conn *c, const struct stomp_frame *f)
{
    uint64_t receipt;
    struct stomp_sub *sub = find_sub(c, f);
    if (sub == NULL || !stomp_receipt_ask(c, f, STOMP_FOR_OTHER, &receipt))
        return;
    cancel(c, sub, receipt);
    sub_remove(c, sub);
}
