/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_subscribe.c: SUBSCRIBE.
 *
 *     /topic/a.* /mqtt/a/+ /exchange/x/k    a filter of an exchange; with
 *        nothing more                          a queue of its own: broker_consume_filter
 *        x-message-ttl:... ...                 the same with arguments: declared, bound, consumed
 *        x-queue-name:jobs                     a named queue, for others too: the same
 *        durable:true                          a durable subscription: broker_consume_durable
 *     /mqtt/$share/g/a/+                    a group: broker_consume_group
 *     /dsub/id                              a durable subscription that is there
 *     /queue/q q                            declared: broker_consume_queue, broker_browse
 *     /amq/queue/q /reply-queue/q           the same, but it has to be there
 *
 * A subscription is known by its id; in 1.0 it may have none and is then known by its destination. What the frame says
 * is read by stomp_request.c.
 *
 * Invariants
 *   1. A SUBSCRIBE either has a record, a consumer and an answer, or it ended the connection with an ERROR and what it
 *      made is gone again.
 *   2. SUBSCRIBE is answered before its first MESSAGE: deliveries begin after on_settled.
 *   3. Arguments where nothing is declared are overlooked, as in RabbitMQ.
 * Cost    one record, one consumer and (but for named queues) one queue and one binding each.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §SUBSCRIBE; docs/mapping.md, "Destinations"; docs/stomp.md, "Subscriptions".
 */
#include "core/replay.h"
#include "core/shard.h"
#include "core/topology.h"
#include "proto_stomp/stomp_conn.h"
#include "proto_stomp/stomp_durable.h"
#include "proto_stomp/stomp_queue_args.h"
#include "proto_stomp/stomp_request.h"

/* Where messages come from. */
struct source {
    struct exchange *x;
    struct filter filter;
    struct slice share; /* a group's name; empty: none */
};

/* ---- records and consumers ------------------------------------------------------------------------------------- */

/* open_record: x: what it is bound to; NULL: it consumes a queue. NULL: ERROR was said. */
static struct stomp_sub *open_record(struct stomp_request *r, const struct exchange *x)
{
    enum stomp_fault why;
    struct stomp_sub *sub = stomp_sub_new(r->c, &r->names, &why);
    if (sub == NULL) {
        if (why == STOMP_FAULT_SUB_LIMIT)
            stomp_error_u64(r->c, r->f, why, conn_limits(r->c)->stomp_subscriptions_max);
        else if (why == STOMP_FAULT_SUB_TWICE)
            stomp_request_refuse(r, why, r->names.has_id ? r->names.id : r->names.dest);
        else
            stomp_nomem(r->c);
        return NULL;
    }
    sub->is_topic = x != NULL;
    sub->style = (uint8_t)stomp_dest_style(&r->d, stomp_dialect(r->c));
    r->how.up = sub;
    stomp_state(r->c)->about = r->names.dest;
    return sub;
}

/* close_record: the verb has returned: k, or NULL: it was or will be said why. */
static void close_record(struct stomp_request *r, struct stomp_sub *sub, struct consumer *k)
{
    stomp_state(r->c)->about = (struct slice){0};
    sub->consumer = k;
    if (k == NULL)
        stomp_sub_remove(r->c, sub);
}

static bool ask_receipt(struct stomp_request *r)
{
    return stomp_receipt_ask(r->c, r->f, STOMP_FOR_SUBSCRIBE, &r->how.receipt);
}

static void subscribe_own(struct stomp_request *r, const struct source *s)
{
    struct stomp_sub *sub = open_record(r, s->x);
    if (sub == NULL)
        return;
    if (r->opts.retain_handling == 1) /* only if it is new, which it always is */
        r->opts.retain_handling = 0;
    struct consumer *k = NULL;
    if (ask_receipt(r))
        k = s->share.len != 0 ? broker_consume_group(r->c, s->share, &s->filter, &r->how)
                              : broker_consume_filter(r->c, s->x, &s->filter, &r->opts, &r->how);
    close_record(r, sub, k);
}

/* join: binds and consumes a named queue. The frame's receipt is that of the binding, which may be refused; the
 * consumer gets nothing before its own. */
static struct consumer *join(struct stomp_request *r, const struct source *s, struct queue *q, bool is_new)
{
    uint64_t receipt;
    if (!stomp_receipt_ask(r->c, r->f, STOMP_FOR_SUBSCRIBE, &receipt))
        return NULL;
    broker_bind(r->c, s->x, &s->filter, q, receipt);
    if (conn_is_closing(r->c))
        return NULL;
    if (is_new && r->opts.retain_handling != 2 && replay_begin(q, s->x, &s->filter, &r->opts) != ERR_OK) {
        stomp_nomem(r->c);
        return NULL;
    }
    r->how.receipt = STOMP_FOR_SUBSCRIBE; /* nobody's, but a refusal is said */
    return broker_consume_queue(r->c, q, &r->how);
}

/* subscribe_queue_as: a queue of this name, or with one of the broker's, if it is empty. */
static void subscribe_queue_as(struct stomp_request *r, const struct source *s, struct slice name,
                               const struct queue_spec *spec)
{
    struct stomp_sub *sub = open_record(r, s->x);
    if (sub == NULL)
        return;
    struct declared declared = {0};
    struct consumer *k = NULL;
    struct queue *q = broker_declare_queue_as(r->c, name, spec, &declared);
    if (q == NULL)
        stomp_error_declared(r->c, r->f, STOMP_A_QUEUE, name, &declared);
    else
        k = join(r, s, q, declared.is_new);
    if (q != NULL && k == NULL && declared.is_new)
        broker_delete_queue(r->c, queue_name(q), (struct queue_end){0}, RECEIPT_NONE);
    close_record(r, sub, k);
}

/* subscribe_named: x-queue-name: for others too; without durable it goes with its last consumer. */
static void subscribe_named(struct stomp_request *r, const struct source *s)
{
    struct queue_spec spec;
    queue_spec_init(&spec, &r->v->policy_named);
    spec.policy.overflow = OVERFLOW_DROP_HEAD; /* who publishes to a topic is not to be refused for it */
    spec.policy.durable = r->durable.is_asked;
    spec.policy.auto_delete = !r->durable.is_asked;
    if (!stomp_request_spec(r, &spec))
        return;
    r->names.more = r->queue_name;
    r->names.more_is = STOMP_MORE_QUEUE;
    subscribe_queue_as(r, s, r->queue_name, &spec);
}

/* subscribe_with_args: a queue of its own with arguments. */
static void subscribe_with_args(struct stomp_request *r, const struct source *s)
{
    struct queue_spec spec;
    queue_spec_init(&spec, &r->v->policy_subscription);
    if (!stomp_request_spec(r, &spec))
        return;
    spec.policy.durable = false;
    spec.policy.exclusive = spec.policy.auto_delete = true;
    subscribe_queue_as(r, s, SLICE(""), &spec);
}

/* subscribe_alone: a queue of its own. */
static void subscribe_alone(struct stomp_request *r, const struct source *s)
{
    if (stomp_request_has_args(r))
        subscribe_with_args(r, s);
    else
        subscribe_own(r, s);
}

/* consume_durable: x: the exchange its messages come from, if it is there. */
static void consume_durable(struct stomp_request *r, const struct exchange *x, const struct durable *d)
{
    r->names.more = d->key;
    r->names.more_is = STOMP_MORE_DSUB;
    struct stomp_sub *sub = open_record(r, x);
    if (sub == NULL)
        return;
    struct consumer *k = NULL;
    struct declared declared = {0};
    if (ask_receipt(r))
        k = broker_consume_durable(r->c, d, &r->how, &declared);
    if (k == NULL && declared.err != ERR_OK)
        stomp_error_declared(r->c, r->f, STOMP_A_QUEUE, r->names.dest, &declared);
    close_record(r, sub, k);
}

static void subscribe_durable(struct stomp_request *r, const struct source *s)
{
    struct queue_spec spec;
    queue_spec_init(&spec, &r->v->policy_named);
    spec.policy.overflow = OVERFLOW_DROP_HEAD;
    if (!stomp_request_spec(r, &spec))
        return;
    spec.policy.durable = true;
    if (spec.policy.auto_delete) { /* asked for: then it is not */
        subscribe_alone(r, s);
        return;
    }
    if (spec.policy.exclusive) { /* it belongs to whom its key says, not to this connection */
        stomp_request_refuse(r, STOMP_FAULT_QUEUE_ARGS, SLICE("exclusive"));
        return;
    }
    if ((spec.given & ~(unsigned)STOMP_LIFE_ARGS) == 0)
        spec.given = 0; /* nothing is said about what it does: whatever is there is right */
    struct buf key;
    buf_init(&key, conn_mem(r->c));
    stomp_durable_key(r->c, r->durable.name, &r->names.dest, &key);
    struct durable d = {.key = buf_slice(&key), .exchange = s->x, .filter = &s->filter, .opts = r->opts, .spec = &spec};
    if (buf_is_bad(&key))
        stomp_nomem(r->c);
    else
        consume_durable(r, s->x, &d);
    buf_fini(&key);
}

/* ---- to what --------------------------------------------------------------------------------------------------- */

/* subscribe_to: how a source is consumed. */
static void subscribe_to(struct stomp_request *r, const struct source *s)
{
    enum err e = broker_check_filter(r->c, s->x, &s->filter); /* before anything is made for it */
    if (e != ERR_OK) {
        stomp_request_refuse(r, stomp_fault_from_err(e), r->names.dest);
        return;
    }
    if (!stomp_request_read_life(r))
        return;
    bool is_special = stomp_request_has_args(r) || r->has_queue_name || r->durable.is_asked;
    if (s->share.len != 0 && is_special) /* the group is what it is */
        stomp_request_refuse(r, STOMP_FAULT_UNSUPPORTED, r->names.dest);
    else if (r->opts.no_local && (s->share.len != 0 || is_special)) /* a queue that is others' too */
        stomp_request_refuse(r, STOMP_FAULT_UNSUPPORTED, SLICE("no-local"));
    else if (r->has_queue_name)
        subscribe_named(r, s);
    else if (r->durable.is_asked)
        subscribe_durable(r, s);
    else
        subscribe_alone(r, s);
}

/* declare: the queue a destination names, made if that is the destination's way. NULL: ERROR was said. */
static struct queue *declare(struct stomp_request *r, struct slice name)
{
    struct declared declared = {0};
    struct queue_spec spec;
    struct queue *q;
    if (r->d.kind != STOMP_DEST_QUEUE) {
        q = broker_queue(r->c, name, &declared.err);
    } else {
        queue_spec_init(&spec, &r->v->policy_named);
        if (!stomp_request_spec(r, &spec))
            return NULL;
        q = broker_declare_queue_as(r->c, name, &spec, &declared);
    }
    if (q == NULL && declared.err == ERR_NOT_FOUND)
        stomp_request_refuse(r, STOMP_FAULT_NO_QUEUE, r->names.dest);
    else if (q == NULL)
        stomp_error_declared(r->c, r->f, STOMP_A_QUEUE, name, &declared);
    return q;
}

static void subscribe_queue(struct stomp_request *r)
{
    struct slice name;
    if (stomp_dest_name(&r->d, r->name_buf, sizeof r->name_buf, &name) != ERR_OK) {
        stomp_request_bad_dest(r);
        return;
    }
    struct queue *q = declare(r, name);
    struct stomp_sub *sub = q != NULL ? open_record(r, NULL) : NULL;
    if (sub == NULL)
        return;
    struct consumer *k = NULL;
    if (ask_receipt(r))
        k = r->is_browser ? broker_browse(r->c, q, &r->how) : broker_consume_queue(r->c, q, &r->how);
    close_record(r, sub, k);
}

static void subscribe_topic(struct stomp_request *r, struct exchange *x)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct stomp_filter filter;
    if (stomp_dest_filter(&r->d, stomp_dialect(r->c), tok, r->name_buf, sizeof r->name_buf, &filter) != ERR_OK) {
        stomp_request_bad_dest(r);
        return;
    }
    bool is_reserved =
        x == r->v->topic_exchange && tok[0].kind == TOKEN_LITERAL && stomp_is_reserved_level(tok[0].bytes);
    if (is_reserved)
        stomp_request_refuse(r, STOMP_FAULT_UNSUPPORTED, r->names.dest);
    else
        subscribe_to(r, &(struct source){.x = x, .filter = filter.filter, .share = filter.share});
}

/* subscribe_exchange: the key is a filter, one opaque string, or nothing, by the exchange's kind. */
static void subscribe_exchange(struct stomp_request *r)
{
    struct slice name, key;
    if (stomp_dest_name(&r->d, r->name_buf, sizeof r->name_buf, &name) != ERR_OK) {
        stomp_request_bad_dest(r);
        return;
    }
    struct exchange *x = exchange_get(r->v, name);
    if (x == NULL) {
        stomp_request_refuse(r, STOMP_FAULT_NO_EXCHANGE, name);
        return;
    }
    if (x->kind == EXCHANGE_TOPIC) {
        subscribe_topic(r, x);
        return;
    }
    if (stomp_dest_key(&r->d, r->name_buf, sizeof r->name_buf, &key) != ERR_OK) {
        stomp_request_bad_dest(r);
        return;
    }
    struct token one = {.kind = TOKEN_LITERAL, .bytes = key};
    subscribe_to(r, &(struct source){.x = x, .filter = {.tok = &one, .n = x->kind == EXCHANGE_FANOUT ? 0 : 1}});
}

/* exchange_of: where the messages of a destination come from; NULL: from no exchange that is there. */
static const struct exchange *exchange_of(const struct stomp_request *r, struct stomp_dest *d, uint8_t *buf, size_t cap)
{
    struct slice name;
    if (d->kind == STOMP_DEST_TOPIC || d->kind == STOMP_DEST_MQTT)
        return r->v->topic_exchange;
    bool has_name = d->kind == STOMP_DEST_EXCHANGE && stomp_dest_name(d, buf, cap, &name) == ERR_OK;
    return has_name ? exchange_get(r->v, name) : NULL;
}

/* resume_durable: the subscription q is there; its topics are shown as its destination of old would have them. */
static void resume_durable(struct stomp_request *r, struct queue *q)
{
    struct stomp_dest d;
    const struct exchange *x = NULL;
    if (stomp_dest_parse(stomp_durable_dest(queue_name(q)), &d) == ERR_OK) {
        x = exchange_of(r, &d, r->name_buf, sizeof r->name_buf);
        r->d = d; /* how topics are shown */
    }
    consume_durable(r, x, &(struct durable){.key = queue_name(q), .opts = r->opts});
}

static void subscribe_dsub(struct stomp_request *r)
{
    struct slice name;
    struct buf prefix;
    if (stomp_dest_name(&r->d, r->name_buf, sizeof r->name_buf, &name) != ERR_OK) {
        stomp_request_bad_dest(r);
        return;
    }
    buf_init(&prefix, conn_mem(r->c));
    stomp_durable_key(r->c, name, NULL, &prefix);
    struct queue *q = buf_is_bad(&prefix) ? NULL : broker_durable_find(r->c, buf_slice(&prefix));
    if (buf_is_bad(&prefix))
        stomp_nomem(r->c);
    else if (q == NULL)
        stomp_request_refuse(r, STOMP_FAULT_NO_DSUB, r->names.dest);
    else
        resume_durable(r, q);
    buf_fini(&prefix);
}

void stomp_subscribe_in(struct conn *c, const struct stomp_frame *f)
{
    struct stomp_request r; /* not initialised as a whole */
    if (!stomp_request_read(&r, c, f))
        return;
    bool is_bound = r.d.kind == STOMP_DEST_TOPIC || r.d.kind == STOMP_DEST_MQTT || r.d.kind == STOMP_DEST_EXCHANGE;
    if (r.opts.no_local && !is_bound) {
        stomp_request_refuse(&r, STOMP_FAULT_UNSUPPORTED, SLICE("no-local"));
        return;
    }
    switch (r.d.kind) {
    case STOMP_DEST_TOPIC:
    case STOMP_DEST_MQTT:
        subscribe_topic(&r, r.v->topic_exchange);
        return;
    case STOMP_DEST_EXCHANGE:
        subscribe_exchange(&r);
        return;
    case STOMP_DEST_QUEUE:
    case STOMP_DEST_AMQ_QUEUE:
    case STOMP_DEST_REPLY_QUEUE:
        subscribe_queue(&r);
        return;
    case STOMP_DEST_DSUB:
        subscribe_dsub(&r);
        return;
    case STOMP_DEST_TEMP_QUEUE:
        stomp_request_refuse(&r, STOMP_FAULT_SUB_TEMP, r.names.dest);
        return;
    default:
        stomp_request_refuse(&r, STOMP_FAULT_DEST_NOT_HERE, r.names.dest);
        return;
    }
}
