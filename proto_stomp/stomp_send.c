/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_send.c: messages from the peer.
 *
 *     SEND ─► where to? ─► what about it? ─► broker_publish ─► [receipt] ─► RECEIPT, or ERROR when it was refused
 *               │               └ headers: options (persistent, retain, qos, expiration) and attributes
 *               └ stomp_place: the last destination of this connection, parsed and checked once
 *
 * This is the hot path: a SEND to the destination of the one before, with no headers of its own, costs a comparison of
 * the destination and the call of broker_publish. Its attributes are one ready-made record, the destination itself: a
 * subscriber is shown what the sender wrote, not what we would have written.
 *
 *     /topic/a.b  /mqtt/a/b          amq.topic, "a/b"           /exchange/<name>/<key>   that exchange
 *     /queue/q  q                    default exchange, "q"; declared    /amq/queue/q     the same, but it has to be
 * there
 *
 * Invariants
 *   1. A SEND either reaches broker_publish once, or ends the connection with an ERROR.
 *   2. s->place is a destination that was checked; only built-in exchanges, which live as long as the broker, are kept.
 * Cost    no allocation for a repeated destination; attributes up to ATTRS_STACK_BYTES are made on the stack.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §SEND, §Header receipt; docs/mapping.md, "Destinations", "Delivery and durability", "Retained".
 */
#include "core/attrs.h"
#include "core/shard.h"
#include "proto_stomp/stomp_attrs.h"
#include "proto_stomp/stomp_conn.h"

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
static enum stomp_fault to_topic(struct stomp_dest *d, uint8_t *buf, size_t cap, struct slice *out)
{
    if (stomp_dest_topic(d, STOMP_DIALECT, buf, cap, out) != ERR_OK)
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
    if (out->exchange->kind == EXCHANGE_TOPIC)
        return to_topic(d, buf, cap, &out->topic);
    return stomp_dest_key(d, buf, cap, &out->topic) == ERR_OK ? STOMP_FAULT_NONE : stomp_fault_from_why(d->why);
}

/* resolve: what a destination means. out->topic points into dest or buf. */
static enum stomp_fault resolve(struct conn *c, struct slice dest, uint8_t *buf, size_t cap, struct stomp_place *out)
{
    struct vhost *v = c->session->vhost;
    struct stomp_dest d;
    if (stomp_dest_parse(dest, &d) != ERR_OK)
        return stomp_fault_from_why(d.why);
    switch (d.kind) {
    case STOMP_DEST_TOPIC:
    case STOMP_DEST_MQTT:
        out->exchange = v->topic_exchange;
        return to_topic(&d, buf, cap, &out->topic);
    case STOMP_DEST_QUEUE:
    case STOMP_DEST_AMQ_QUEUE:
        out->exchange = v->default_exchange;
        out->is_queue = true;
        out->is_declared = d.kind == STOMP_DEST_QUEUE;
        return stomp_dest_name(&d, buf, cap, &out->topic) == ERR_OK ? STOMP_FAULT_NONE : stomp_fault_from_why(d.why);
    case STOMP_DEST_EXCHANGE:
        return to_exchange(c, &d, buf, cap, out);
    default: /* temporary queues, replies to them, durable subscriptions */
        return STOMP_FAULT_UNSUPPORTED;
    }
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
    mem_free(conn_mem(c), s->place);
    s->place = p;
    return p;
}

/* find_place: NULL: ERROR was said. */
static const struct stomp_place *find_place(struct conn *c, const struct stomp_frame *f)
{
    const struct stomp_conn *s = stomp_state(c);
    uint8_t dest_buf[STOMP_LINE_BYTES_MAX], topic_buf[STOMP_LINE_BYTES_MAX];
    struct slice dest;
    if (stomp_frame_get(f, STOMP_H_DESTINATION, dest_buf, sizeof dest_buf, &dest) != ERR_OK) {
        stomp_error(c, f, STOMP_FAULT_NO_DESTINATION, SLICE(""));
        return NULL;
    }
    if (LIKELY(s->place != NULL && slice_eq(s->place->dest, dest)))
        return s->place;
    struct stomp_place found = {0};
    enum stomp_fault e = resolve(c, dest, topic_buf, sizeof topic_buf, &found);
    if (e != STOMP_FAULT_NONE) {
        stomp_error(c, f, e, dest);
        return NULL;
    }
    const struct stomp_place *p = keep(c, &found, dest);
    if (p == NULL)
        stomp_nomem(c);
    return p;
}

/* queue_is_there: declares the queue if that is the destination's way. False: ERROR was said. */
static bool queue_is_there(struct conn *c, const struct stomp_frame *f, const struct stomp_place *p)
{
    struct vhost *v = c->session->vhost;
    enum err e = ERR_OK;
    if (route_is_same(&v->router, c->route, c->route_serial, p->exchange, p->topic) && c->route->target_n != 0)
        return true; /* the last message went there, and no queue came or went since */
    if (p->is_declared ? broker_declare_queue(c, p->topic, &e) != NULL : map_get(&v->queues, p->topic) != NULL)
        return true;
    stomp_error(c, f, stomp_fault_for_queue(e), p->dest);
    return false;
}

/* ---- what about it --------------------------------------------------------------------------------------------- */

/* One SEND on its way. */
struct sending {
    struct conn *c;
    const struct stomp_frame *f;
    const struct stomp_place *place;
    struct publish pub;
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

/* take_options: false: ERROR was said. */
static bool take_options(struct sending *s)
{
    struct msgview *m = &s->pub.msg;
    struct slice text;
    if (get(s, STOMP_H_PERSISTENT, &text)) {
        bool on;
        if (!stomp_bool_parse(text, &on))
            return bad_option(s, STOMP_H_PERSISTENT);
        m->flags |= on ? MSG_DURABLE : 0;
    }
    if (get(s, STOMP_H_QOS, &text)) {
        if (text.len != 1 || text.p[0] < '0' || text.p[0] > '2')
            return bad_option(s, STOMP_H_QOS);
        m->qos = text.p[0] - '0';
    }
    if (get(s, STOMP_H_REJECT, &text)) {
        if (!slice_eq_str(text, "receipt"))
            return bad_option(s, STOMP_H_REJECT);
        if (s->f->known[STOMP_H_RECEIPT] < 0) { /* or nobody would ever be told */
            stomp_error(s->c, s->f, STOMP_FAULT_NO_HEADER, SLICE("receipt"));
            return false;
        }
        s->asks = true;
    }
    return take_retain(s, STOMP_H_AMQ_RETAIN) && take_retain(s, STOMP_H_RETAIN) && take_expiry(s);
}

/* queue_argument_is_ok: what a queue is made with: for now it is always durable, not exclusive, and stays. */
static bool queue_argument_is_ok(struct sending *s, enum stomp_known h)
{
    struct slice text;
    bool on;
    if (h != STOMP_H_DURABLE && h != STOMP_H_AUTO_DELETE && h != STOMP_H_EXCLUSIVE)
        return false;
    return get(s, h, &text) && stomp_bool_parse(text, &on) && on == (h == STOMP_H_DURABLE);
}

/* check_later: headers whose meaning would be lost if they were overlooked. False: ERROR was said. */
static bool check_later(struct sending *s)
{
    for (uint32_t i = 0; i < s->f->header_n; i++) {
        enum stomp_known h = (enum stomp_known)s->f->header[i].known;
        enum stomp_send_class k = stomp_send_class(h);
        if (k == STOMP_SEND_LATER || (k == STOMP_SEND_QUEUE && s->place->is_queue && !queue_argument_is_ok(s, h))) {
            enum stomp_fault why = h == STOMP_H_TRANSACTION ? STOMP_FAULT_TRANSACTION : STOMP_FAULT_UNSUPPORTED;
            stomp_error(s->c, s->f, why, stomp_known_text(h));
            return false;
        }
    }
    return true;
}

/* ---- SEND ------------------------------------------------------------------------------------------------------ */

static void publish(struct sending *s)
{
    if (!stomp_receipt_ask(s->c, s->f, STOMP_FOR_SEND, &s->pub.receipt))
        return;
    if (s->asks)
        s->pub.receipt |= STOMP_RECEIPT_ASKS;
    broker_publish(s->c, &s->pub);
}

static void publish_with_attrs(struct sending *s)
{
    struct mem *mem = conn_mem(s->c);
    size_t bytes = s->place->attrs.len + stomp_attrs_bytes(s->f);
    uint8_t stack[ATTRS_STACK_BYTES];
    struct slice name = {0};
    struct buf attrs = {.mem = mem, .p = stack, .cap = sizeof stack};
    if (bytes > sizeof stack)
        buf_init(&attrs, mem);
    buf_put_slice(&attrs, s->place->attrs);
    enum stomp_fault e = stomp_attrs_put(&attrs, s->f, STOMP_DIALECT, &name);
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
        LATER = 1u << STOMP_SEND_LATER | 1u << STOMP_SEND_QUEUE,
        OPTION = 1u << STOMP_SEND_OPTION,
    };
    struct sending s; /* not initialised as a whole: its buffer is large and mostly unused */
    s.c = c;
    s.f = f;
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
                .flags = MSG_STOMP},
        .exchange = s.place->exchange,
        .receipt = RECEIPT_NONE,
    };
    unsigned has = classes_of(f);
    if (UNLIKELY((has & LATER) != 0) && !check_later(&s))
        return;
    if ((has & OPTION) != 0 && !take_options(&s))
        return;
    if (s.place->is_queue && !queue_is_there(c, f, s.place))
        return;
    if ((has & CARRIED) != 0)
        publish_with_attrs(&s);
    else
        publish(&s);
}
