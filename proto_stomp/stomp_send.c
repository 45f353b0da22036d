/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_send.c: messages from the peer.
 *
 *     SEND ─► where to? ─► what about it? ─► broker_publish ─► [receipt] ─► RECEIPT, or ERROR when it was refused
 *               │               │         └─► stomp_tx_publish: part of a transaction
 *               │               └ headers: options (persistent, retain, qos, expiration, priority, x-delay), attributes
 *               └ stomp_place: the last destination of this connection, parsed and checked once
 *
 * This is the hot path: a SEND to the destination of the one before, with no headers of its own, costs a comparison of
 * the destination and the call of broker_publish. Its attributes are one ready-made record, the destination itself: a
 * subscriber is shown what the sender wrote, not what we would have written.
 *
 *     /topic/a.b  /mqtt/a/b          amq.topic, "a/b"           /exchange/<name>/<key>   that exchange
 *     /queue/q  q                    default exchange, "q"; declared    /amq/queue/q     the same, but it has to be
 *     /reply-queue/G                 the same, whether it is there or not                there
 *     /manage/<verb>                 no message: stomp_manage.c
 *
 * Invariants
 *   1. A SEND either reaches broker_publish once, or ends the connection with an ERROR.
 *   2. s->place is a destination that was checked and holds its exchange; is that deleted, it is looked up again.
 *   3. Whether the queue of a destination is there is asked again for every message, unless no queue came or went.
 * Cost    no allocation for a repeated destination; attributes up to ATTRS_STACK_BYTES are made on the stack.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §SEND, §Header receipt; docs/mapping.md, "Destinations", "Delivery and durability", "Retained".
 */
#include "core/attrs.h"
#include "core/shard.h"
#include "proto_stomp/stomp_attrs.h"
#include "proto_stomp/stomp_conn.h"
#include "proto_stomp/stomp_queue_args.h"
#include "proto_stomp/stomp_temp.h"

enum { ATTRS_STACK_BYTES = 1024 };

/* ---- where ----------------------------------------------------------------------------------------------------- */

enum stomp_fault stomp_fault_from_why(enum stomp_dest_why why)
{
    switch (why) {
    case STOMP_WHY_EMPTY:
        return STOMP_FAULT_DEST_EMPTY;
    case STOMP_WHY_UNKNOWN:
        return STOMP_FAULT_DEST_UNKNOWN;
    case STOMP_WHY_WILDCARD:
        return STOMP_FAULT_DEST_WILDCARD;
    case STOMP_WHY_LEVEL:
        return STOMP_FAULT_DEST_LEVEL;
    case STOMP_WHY_UTF8:
        return STOMP_FAULT_DEST_UTF8;
    case STOMP_WHY_SHARE:
        return STOMP_FAULT_DEST_SHARE;
    case STOMP_WHY_TOO_BIG:
        return STOMP_FAULT_DEST_TOO_BIG;
    case STOMP_WHY_NONE:
    case STOMP_WHY_KIND:
        break;
    }
    return STOMP_FAULT_DEST_KIND;
}

bool stomp_is_reserved_level(struct slice level)
{
    static const char *const names[] = {"$share", "$queue", "$exchange", "$delayed"};
    if (LIKELY(level.len == 0 || level.p[0] != '$'))
        return false;
    for (size_t i = 0; i < ARRAY_N(names); i++)
        if (slice_eq_str(level, names[i]))
            return true;
    return false;
}

static bool is_reserved_topic(struct slice topic)
{
    ptrdiff_t end = slice_find(topic, '/');
    if (end >= 0)
        topic.len = (size_t)end;
    return stomp_is_reserved_level(topic);
}

/* to_topic: d's key as a topic. */
static enum stomp_fault to_topic(const struct conn *c, struct stomp_dest *d, uint8_t *buf, size_t cap,
                                 struct slice *out)
{
    if (stomp_dest_topic(d, stomp_dialect(c), buf, cap, out) != ERR_OK)
        return stomp_fault_from_why(d->why);
    return is_reserved_topic(*out) ? STOMP_FAULT_UNSUPPORTED : STOMP_FAULT_NONE;
}

static enum stomp_fault to_exchange(struct conn *c, struct stomp_dest *d, uint8_t *buf, size_t cap,
                                    struct stomp_place *out)
{
    struct slice name;
    if (stomp_dest_name(d, buf, cap, &name) != ERR_OK)
        return stomp_fault_from_why(d->why);
    out->exchange = exchange_get(c->session->vhost, name);
    if (out->exchange == NULL)
        return STOMP_FAULT_NO_EXCHANGE;
    if (out->exchange->internal)
        return STOMP_FAULT_INTERNAL;
    if (out->exchange->kind == EXCHANGE_TOPIC)
        return to_topic(c, d, buf, cap, &out->topic);
    return stomp_dest_key(d, buf, cap, &out->topic) == ERR_OK ? STOMP_FAULT_NONE : stomp_fault_from_why(d->why);
}

/* resolve: what a destination means. out->topic points into it or buf. */
static enum stomp_fault resolve(struct conn *c, struct stomp_dest *d, uint8_t *buf, size_t cap, struct stomp_place *out)
{
    struct vhost *v = c->session->vhost;
    switch (d->kind) {
    case STOMP_DEST_TOPIC:
    case STOMP_DEST_MQTT:
        out->exchange = v->topic_exchange;
        return to_topic(c, d, buf, cap, &out->topic);
    case STOMP_DEST_QUEUE:
    case STOMP_DEST_AMQ_QUEUE:
    case STOMP_DEST_REPLY_QUEUE: /* whoever asked may be gone: that is no fault of who answers */
        out->exchange = v->default_exchange;
        out->is_queue = true;
        out->is_declared = d->kind == STOMP_DEST_QUEUE;
        out->is_needed = d->kind == STOMP_DEST_AMQ_QUEUE;
        return stomp_dest_name(d, buf, cap, &out->topic) == ERR_OK ? STOMP_FAULT_NONE : stomp_fault_from_why(d->why);
    case STOMP_DEST_EXCHANGE:
        return to_exchange(c, d, buf, cap, out);
    default: /* temporary queues are for reply-to, durable subscriptions for SUBSCRIBE */
        return STOMP_FAULT_DEST_NOT_HERE;
    }
}

void stomp_place_free(struct conn *c, struct stomp_place *p)
{
    if (p == NULL)
        return;
    exchange_drop(p->exchange);
    mem_free(conn_mem(c), p);
}

/* keep: `found` as the connection's place. NULL: out of memory. */
static struct stomp_place *keep(struct conn *c, const struct stomp_place *found, struct slice dest)
{
    struct stomp_conn *s = stomp_state(c);
    enum { RECORD_HEAD_BYTES = 7 }; /* core/attrs.h */
    size_t record = RECORD_HEAD_BYTES + dest.len, topic_len = found->topic.len;
    struct stomp_place *p = mem_alloc(conn_mem(c), sizeof *p + record + topic_len);
    if (p == NULL)
        return NULL;
    *p = *found;
    struct buf b = {.mem = conn_mem(c), .p = p->bytes, .cap = record};
    struct attr a;
    attr_put(&b, ATTR_DESTINATION, (struct slice){0}, dest);
    p->attrs = buf_slice(&b);
    BUG_ON(!attr_find(p->attrs, ATTR_DESTINATION, &a));
    p->dest = a.value;
    if (topic_len != 0)
        memcpy(p->bytes + record, found->topic.p, topic_len);
    p->topic = slice_make(p->bytes + record, topic_len);
    (void)exchange_hold(p->exchange);
    stomp_place_free(c, s->place);
    s->place = p;
    return p;
}

/* new_place: NULL: ERROR was said, or it was no message. */
static const struct stomp_place *new_place(struct conn *c, const struct stomp_frame *f, struct slice dest)
{
    uint8_t topic_buf[STOMP_LINE_BYTES_MAX];
    struct stomp_dest d;
    struct stomp_place found = {0};
    if (stomp_dest_parse(dest, &d) != ERR_OK) {
        stomp_error(c, f, stomp_fault_from_why(d.why), dest);
        return NULL;
    }
    if (d.kind == STOMP_DEST_MANAGE) {
        stomp_manage_in(c, f, d.name);
        return NULL;
    }
    enum stomp_fault e = resolve(c, &d, topic_buf, sizeof topic_buf, &found);
    if (e != STOMP_FAULT_NONE) {
        stomp_error(c, f, e, dest);
        return NULL;
    }
    const struct stomp_place *p = keep(c, &found, dest);
    if (p == NULL)
        stomp_nomem(c);
    return p;
}

/* find_place: NULL: as new_place. */
static const struct stomp_place *find_place(struct conn *c, const struct stomp_frame *f)
{
    const struct stomp_conn *s = stomp_state(c);
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice dest;
    if (stomp_frame_get(f, STOMP_H_DESTINATION, buf, sizeof buf, &dest) != ERR_OK) { /* STOMP 1.2 §SEND */
        stomp_error(c, f, STOMP_FAULT_NO_DESTINATION, SLICE(""));
        return NULL;
    }
    if (LIKELY(s->place != NULL && slice_eq(s->place->dest, dest) && !s->place->exchange->is_dead))
        return s->place;
    return new_place(c, f, dest);
}

/* went_there: the last message did, and no queue came or went since. */
static inline bool went_there(const struct conn *c, const struct stomp_place *p)
{
    const struct router *r = &c->session->vhost->router;
    return route_is_same(r, c->route, c->route_serial, p->exchange, p->topic) && c->route->target_n != 0;
}

/* queue_is_there: makes it if that is the destination's way. False: ERROR was said. */
static bool queue_is_there(struct conn *c, const struct stomp_frame *f, const struct stomp_place *p)
{
    struct vhost *v = c->session->vhost;
    enum err e = ERR_OK;
    if (map_get(&v->queues, p->topic) != NULL || (!p->is_declared && !p->is_needed))
        return true;
    if (p->is_declared && broker_declare_queue(c, p->topic, &e) != NULL)
        return true;
    stomp_error(c, f, stomp_fault_for_queue(e), p->dest);
    return false;
}

/* queue_is_so: the same for a frame with queue arguments, as which the queue is made or must have been. */
static bool queue_is_so(struct conn *c, const struct stomp_frame *f, const struct stomp_place *p)
{
    struct stomp_queue_text text; /* not initialised: large */
    struct queue_spec spec;
    struct declared d;
    struct slice bad;
    enum stomp_fault why = stomp_queue_spec(f, &c->session->vhost->policy_named, &spec, &text, &bad);
    if (why != STOMP_FAULT_NONE) {
        stomp_error(c, f, why, bad);
        return false;
    }
    if (spec.given == 0 || !p->is_declared)
        return queue_is_there(c, f, p); /* what is never declared is taken as it is */
    if (broker_declare_queue_as(c, p->topic, &spec, &d) != NULL)
        return true;
    stomp_error_declared(c, f, STOMP_A_QUEUE, p->topic, &d);
    return false;
}

/* ---- what about it --------------------------------------------------------------------------------------------- */

/* One SEND on its way. */
struct sending {
    struct conn *c;
    const struct stomp_frame *f;
    const struct stomp_place *place;
    struct publish pub;
    struct stomp_tx *tx;               /* NULL: none */
    bool asks;                         /* reject:receipt */
    uint8_t buf[STOMP_LINE_BYTES_MAX]; /* not set: for decoding values */
};

/* get: an option's value; false: not there. */
static bool get(struct sending *s, enum stomp_known h, struct slice *out)
{
    return stomp_frame_get(s->f, h, s->buf, sizeof s->buf, out) == ERR_OK;
}

static bool bad_option(struct sending *s, enum stomp_known h)
{
    stomp_error(s->c, s->f, STOMP_FAULT_HEADER, stomp_known_text(h));
    return false;
}

static bool take_retain(struct sending *s, enum stomp_known h)
{
    struct slice text;
    bool on = false;
    if (!get(s, h, &text))
        return true;
    if (slice_eq_str(text, "remove"))
        s->pub.msg.payload = SLICE(""); /* an empty message is what clears */
    else if (!slice_eq_str(text, "set") && !stomp_bool_parse(text, &on))
        return bad_option(s, h);
    else if (!on && !slice_eq_str(text, "set"))
        return true;
    s->pub.msg.flags |= MSG_RETAIN;
    return true;
}

/* take_expiry: expiration and ttl are milliseconds from now, expires is a date; the first of them that is there counts.
 * ttl and expires of 0 mean never, as in JMS; expiration of 0 means at once, as in RabbitMQ and MQTT. */
static bool take_expiry(struct sending *s)
{
    static const enum stomp_known names[] = {STOMP_H_EXPIRATION, STOMP_H_TTL, STOMP_H_EXPIRES};
    struct slice text;
    mono_ms now = conn_now(s->c);
    for (size_t i = 0; i < ARRAY_N(names); i++) {
        uint64_t ms;
        if (!get(s, names[i], &text))
            continue;
        if (!stomp_u64_parse(text, &ms))
            return bad_option(s, names[i]);
        if (ms == 0 && names[i] != STOMP_H_EXPIRATION)
            return true;
        if (names[i] == STOMP_H_EXPIRES) {
            wall_ms wall = conn_wall(s->c);
            ms = ms > wall ? ms - wall : 0;
        }
        s->pub.msg.expires_at = now + ms;
        return true;
    }
    return true;
}

/* take_number: *out is left alone if the header is not there. */
static bool take_number(struct sending *s, enum stomp_known h, uint64_t max, uint64_t *out)
{
    struct slice text;
    return !get(s, h, &text) || (stomp_u64_parse(text, out) && *out <= max) || bad_option(s, h);
}

/* take_times: when it may be delivered, and until when; and how urgent it is. */
static bool take_times(struct sending *s)
{
    uint64_t delay_max = conn_limits(s->c)->delay_s_max * 1000, delay_ms = 0, priority = 0;
    enum stomp_known h = s->f->known[STOMP_H_X_DELAY] >= 0 ? STOMP_H_X_DELAY : STOMP_H_AMQ_SCHEDULED_DELAY;
    if (!take_number(s, h, delay_max, &delay_ms) || !take_number(s, STOMP_H_PRIORITY, UINT8_MAX, &priority))
        return false;
    s->pub.delay_ms = delay_ms;
    s->pub.msg.priority = (uint8_t)priority;
    return take_expiry(s);
}

/* take_reject: reject:receipt. */
static bool take_reject(struct sending *s)
{
    struct slice text;
    if (!get(s, STOMP_H_REJECT, &text))
        return true;
    if (!slice_eq_str(text, "receipt"))
        return bad_option(s, STOMP_H_REJECT);
    if (s->f->known[STOMP_H_RECEIPT] < 0) { /* or nobody would ever be told */
        stomp_error(s->c, s->f, STOMP_FAULT_NO_HEADER, SLICE("receipt"));
        return false;
    }
    s->asks = true;
    return true;
}

/* take_options: false: ERROR was said. */
static bool take_options(struct sending *s)
{
    struct msgview *m = &s->pub.msg;
    struct slice text;
    if (get(s, STOMP_H_PERSISTENT, &text)) {
        bool on;
        if (!stomp_bool_parse(text, &on))
            return bad_option(s, STOMP_H_PERSISTENT);
        m->flags = on ? m->flags | MSG_DURABLE : m->flags & (uint8_t)~MSG_DURABLE;
    }
    if (get(s, STOMP_H_QOS, &text)) {
        if (text.len != 1 || text.p[0] < '0' || text.p[0] > '2')
            return bad_option(s, STOMP_H_QOS);
        m->qos = text.p[0] - '0';
    }
    if (!take_reject(s) || !take_retain(s, STOMP_H_AMQ_RETAIN) || !take_retain(s, STOMP_H_RETAIN) || !take_times(s))
        return false;
    if (s->f->known[STOMP_H_TRANSACTION] < 0)
        return true;
    s->tx = stomp_tx_of(s->c, s->f);
    return s->tx != NULL;
}

/* ---- SEND ------------------------------------------------------------------------------------------------------ */

static void publish(struct sending *s)
{
    struct conn *c = s->c;
    if (UNLIKELY(s->tx != NULL)) {
        stomp_tx_publish(c, s->f, s->tx, &s->pub);
        return;
    }
    if (!stomp_receipt_ask(c, s->f, STOMP_FOR_SEND, &s->pub.receipt))
        return;
    if (s->asks)
        s->pub.receipt |= STOMP_RECEIPT_ASKS;
    broker_publish(c, &s->pub);
    if (UNLIKELY(c->shard->refused != NULL))
        stomp_refused_keep(c, s->pub.receipt);
}

/* find_reply: where those answer who answer to a temporary queue: it is made if need be. False: ERROR was said. */
static bool find_reply(struct sending *s, struct stomp_reply *out)
{
    uint8_t name_buf[STOMP_LINE_BYTES_MAX];
    struct slice to, name;
    struct stomp_dest d;
    *out = (struct stomp_reply){.dialect = stomp_dialect(s->c)};
    if (LIKELY(!get(s, STOMP_H_REPLY_TO, &to)) || !slice_starts_with(to, STOMP_TEMP_PREFIX))
        return true; /* any other text is the sender's own business */
    if (stomp_dest_parse(to, &d) != ERR_OK) {
        stomp_error(s->c, s->f, stomp_fault_from_why(d.why), to);
        return false;
    }
    enum stomp_fault e = stomp_dest_name(&d, name_buf, sizeof name_buf, &name) == ERR_OK
                             ? stomp_temp_queue(s->c, name, &out->dest, &out->topic)
                             : stomp_fault_from_why(d.why);
    if (e != STOMP_FAULT_NONE)
        stomp_error(s->c, s->f, e, to);
    return e == STOMP_FAULT_NONE;
}

static void publish_with_attrs(struct sending *s)
{
    struct mem *mem = conn_mem(s->c);
    struct stomp_reply reply;
    if (!find_reply(s, &reply))
        return;
    size_t bytes = s->place->attrs.len + stomp_attrs_bytes(s->f, &reply);
    uint8_t stack[ATTRS_STACK_BYTES];
    struct slice name = {0};
    struct buf attrs = {.mem = mem, .p = stack, .cap = sizeof stack};
    if (bytes > sizeof stack)
        buf_init(&attrs, mem);
    buf_put_slice(&attrs, s->place->attrs);
    enum stomp_fault e = stomp_attrs_put(&attrs, s->f, &reply, &name);
    s->pub.msg.attrs = buf_slice(&attrs);
    if (e != STOMP_FAULT_NONE)
        stomp_error(s->c, s->f, e, name);
    else if (buf_is_bad(&attrs))
        stomp_nomem(s->c);
    else
        publish(s);
    if (bytes > sizeof stack)
        buf_fini(&attrs);
}

/* classes_of: which kinds of headers the frame has, one bit each. */
static unsigned classes_of(const struct stomp_frame *f)
{
    unsigned has = 0;
    for (uint32_t i = 0; i < f->header_n; i++)
        has |= 1u << stomp_send_class((enum stomp_known)f->header[i].known);
    return has;
}

void stomp_send_in(struct conn *c, const struct stomp_frame *f)
{
    enum {
        CARRIED = 1u << STOMP_SEND_USER | 1u << STOMP_SEND_ATTR,
        QUEUE = 1u << STOMP_SEND_QUEUE,
        OPTION = 1u << STOMP_SEND_OPTION,
    };
    struct sending s; /* not initialised as a whole: its buffer is large and mostly unused */
    s.c = c;
    s.f = f;
    s.tx = NULL;
    s.asks = false;
    s.place = find_place(c, f);
    if (UNLIKELY(s.place == NULL))
        return;
    s.pub = (struct publish){
        .msg = {.topic = s.place->topic,
                .payload = f->body,
                .attrs = s.place->attrs,
                .owner = conn_chunk(c),
                .qos = 1, /* docs/mapping.md: an offline MQTT session queues it */
                .flags = stomp_state(c)->send_flags},
        .exchange = s.place->exchange,
        .receipt = RECEIPT_NONE,
    };
    unsigned has = classes_of(f);
    if ((has & OPTION) != 0 && !take_options(&s))
        return;
    if (UNLIKELY((has & QUEUE) != 0) && s.place->is_queue && !queue_is_so(c, f, s.place))
        return;
    if (s.place->is_queue && !went_there(c, s.place) && !queue_is_there(c, f, s.place))
        return;
    if ((has & CARRIED) != 0)
        publish_with_attrs(&s);
    else
        publish(&s);
}
