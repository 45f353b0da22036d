/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_deliver.c: MESSAGE frames.
 *
 *     MESSAGE                            ┐
 *     subscription:0                     │ the head: kept per subscription as it was last written, and copied while
 *     destination:/topic/site.1.temp     │ messages come from the same destination or topic
 *     message-id:12-                     ┘
 *               345.678                  number · ticket, when an answer is expected
 *     ack:12-345.678                     1.2
 *     redelivered ... content-type ...   what is special about this one, and its attributes
 *     content-length:5
 *
 *     outv:   [ headers, body ≤ COPY_MAX, NUL ]     or     [ headers ] [ body by reference ] [ NUL ]
 *
 * The other half of the hot path: one reservation in the output, one copy of the head, a few digits. A message born
 * over STOMP shows its sender's destination; any other its topic, in the style of the subscription, or what reaches the
 * exchange it was published to.
 *
 * Invariants
 *   1. Nothing is appended unless the whole frame is.
 *   2. A kept head is a writer's state after those bytes, so writing goes on as if it had written them itself; it is
 * never anything but an economy: without memory for it every frame is written from the start.
 *   3. message-id names its session, so that an id of another connection is never taken for one of this.
 * Cost    O(head + attributes + copied body); one allocation per subscription, now and then a larger one.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §MESSAGE; docs/mapping.md, "Destinations", "Properties".
 */
#include "core/attrs.h"
#include "core/exchange.h"
#include "proto_stomp/stomp_attrs.h"
#include "proto_stomp/stomp_conn.h"

enum {
    COPY_MAX = 512,   /* body bytes: above, a reference into the read chunk or the message is cheaper */
    RARE_BOUND = 768, /* ids, redelivered, x-delivery-count, mqtt-qos, retained, expiration, priority, browser */
    HEAD_KEEP_MAX = 2048,
    EXCHANGE_NAME_MAX = 255,
};

/* Where a message says it comes from. */
struct source {
    struct slice text;
    struct slice attrs; /* the message's other attributes */
    bool is_own;        /* the sender's own destination; false: a topic to be rendered */
    uint32_t exchange;  /* number of the topic's */
};

/* ---- the head -------------------------------------------------------------------------------------------------- */

/* source_of: stomp_send.c puts the destination in front of all other attributes, and mostly it is the only one. */
static struct source source_of(const struct msgview *msg)
{
    struct attr a;
    size_t pos = 0;
    if (msg->attrs.len != 0 && attr_next(msg->attrs, &pos, &a) && a.id == ATTR_DESTINATION)
        return (struct source){.text = a.value, .attrs = slice_skip(msg->attrs, pos), .is_own = true};
    return (struct source){.text = msg->topic, .attrs = msg->attrs, .exchange = msg->exchange};
}

static bool head_fits(const struct stomp_head *h, const struct source *from)
{
    return h->p != NULL && h->is_own == from->is_own && h->source_len == from->text.len &&
           h->exchange == from->exchange && memcmp(h->p, from->text.p, h->source_len) == 0;
}

static size_t put_u64(uint8_t *out, uint64_t v)
{
    uint8_t digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (uint8_t)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    memcpy(out, digits + n, sizeof digits - n);
    return sizeof digits - n;
}

/* dest_bytes_max: how long the destination of a new head can become. */
static size_t dest_bytes_max(const struct stomp_sub *sub, const struct source *from)
{
    if (from->is_own)
        return from->text.len;
    return sub->is_topic ? STOMP_DEST_RENDER_MAX(from->text.len + EXCHANGE_NAME_MAX) : sub->dest_len;
}

/* render: a topic as the destination that leads there: of amq.topic in the style of the subscription, else by the name
 * of its exchange, if that is still there. */
static ptrdiff_t render(const struct conn *c, const struct stomp_sub *sub, const struct source *from, uint8_t *out,
                        size_t cap)
{
    struct vhost *v = c->session->vhost;
    enum stomp_dest_style style = (enum stomp_dest_style)sub->style;
    const struct exchange *x = v->topic_exchange;
    if (UNLIKELY(from->exchange != x->number))
        x = exchange_by_number(v, from->exchange);
    if (x == NULL || x == v->topic_exchange)
        return stomp_dest_render_topic(style, from->text, out, cap);
    if (x->kind == EXCHANGE_DEFAULT)
        return stomp_dest_render_name(STOMP_DEST_QUEUE, from->text, out, cap);
    if (x->kind != EXCHANGE_TOPIC)
        style = STOMP_STYLE_OPAQUE;
    else if (style == STOMP_STYLE_MQTT)
        style = stomp_dialect(c) == STOMP_DIALECT_MQTT ? STOMP_STYLE_SLASH : STOMP_STYLE_DOT;
    return stomp_dest_render_exchange(exchange_name(x), style, from->text, out, cap);
}

/* dest_of: the destination of a new head; scratch has dest_bytes_max bytes. */
static struct slice dest_of(const struct conn *c, const struct stomp_sub *sub, const struct source *from,
                            uint8_t *scratch)
{
    if (from->is_own)
        return from->text;
    if (!sub->is_topic) /* a queue shows its name, also for what came into it from elsewhere */
        return stomp_sub_dest(sub);
    ptrdiff_t n = render(c, sub, from, scratch, dest_bytes_max(sub, from));
    BUG_ON(n < 0);
    return slice_make(scratch, (size_t)n);
}

/* head_keep: for the next message from there. */
static void head_keep(struct conn *c, struct stomp_head *h, const struct source *from, const struct stomp_writer *w)
{
    size_t bytes = from->text.len + w->n;
    if (bytes > HEAD_KEEP_MAX)
        return;
    if (bytes > h->cap) {
        uint32_t cap = (uint32_t)bytes + 32;
        uint8_t *grown = mem_realloc(conn_mem(c), h->p, cap);
        if (grown == NULL)
            return;
        h->p = grown;
        h->cap = cap;
    }
    if (from->text.len != 0)
        memcpy(h->p, from->text.p, from->text.len);
    memcpy(h->p + from->text.len, w->p, w->n);
    h->source_len = (uint32_t)from->text.len;
    h->n = (uint32_t)w->n;
    h->bound = (uint32_t)w->bound;
    h->is_encoded = w->encoded;
    h->is_own = from->is_own;
    h->exchange = from->exchange;
}

/* head_write: from the start. */
static void head_write(struct conn *c, struct stomp_sub *sub, const struct source *from, struct stomp_writer *w,
                       uint8_t *room, size_t cap, uint8_t *scratch)
{
    const struct stomp_conn *s = stomp_state(c);
    uint8_t session[24];
    size_t n = put_u64(session, c->session->number);
    session[n++] = '-';
    stomp_write_begin(w, room, cap, (enum stomp_version)s->version, STOMP_CMD_MESSAGE);
    if (sub->has_id) /* STOMP 1.0: only if SUBSCRIBE had one */
        stomp_write_known(w, STOMP_H_SUBSCRIPTION, stomp_sub_id(sub));
    stomp_write_known(w, STOMP_H_DESTINATION, dest_of(c, sub, from, scratch));
    stomp_write_raw(w, SLICE("message-id:"));
    stomp_write_raw(w, slice_make(session, n));
    BUG_ON(w->full);
    head_keep(c, &sub->head, from, w);
}

/* head_copy: as it was written last time: invariant 2. */
static void head_copy(const struct stomp_conn *s, const struct stomp_head *h, struct stomp_writer *w, uint8_t *room,
                      size_t cap)
{
    static const size_t command_bytes = sizeof("MESSAGE\n") - 1;
    memcpy(room, h->p + h->source_len, h->n);
    *w = (struct stomp_writer){.p = room,
                               .cap = cap,
                               .n = h->n,
                               .bound = h->bound,
                               .headers = command_bytes,
                               .v = (enum stomp_version)s->version,
                               .encoded = h->is_encoded};
}

/* head_bound: what the head takes of the reservation. */
static size_t head_bound(const struct stomp_sub *sub, bool is_kept, const struct source *from)
{
    if (is_kept)
        return sub->head.bound;
    size_t id = sub->has_id ? stomp_header_bound(12, stomp_sub_id(sub).len) : 0;
    return STOMP_WRITE_FIXED_MAX + id + stomp_header_bound(11, dest_bytes_max(sub, from)) + 64;
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

/* put_ids: the other half of message-id, and ack. */
static void put_ids(struct conn *c, struct stomp_writer *w, uint32_t ticket)
{
    struct stomp_conn *s = stomp_state(c);
    uint8_t line[128];
    size_t n = put_u64(line, ++s->message_n);
    if (ticket != 0) {
        line[n++] = '.';
        n += put_u64(line + n, ticket);
    }
    line[n++] = '\n';
    stomp_write_raw(w, slice_make(line, n));
    if (ticket == 0 || s->version != STOMP_1_2)
        return;
    uint8_t ack[128]; /* STOMP 1.2 §MESSAGE: the same id again */
    size_t at = 4;
    memcpy(ack, "ack:", at);
    at += put_u64(ack + at, c->session->number);
    ack[at++] = '-';
    memcpy(ack + at, line, n);
    stomp_write_raw(w, slice_make(ack, at + n));
}

/* put_rare: what is not said about every message. */
static void put_rare(struct stomp_writer *w, const struct delivery *d)
{
    const struct msgview *msg = d->msg;
    if (d->redelivered) {
        stomp_write_known(w, STOMP_H_REDELIVERED, SLICE("true"));
        stomp_write_u64(w, STOMP_H_X_DELIVERY_COUNT, d->attempts);
    }
    if (d->is_retained)
        stomp_write_known(w, STOMP_H_RETAINED, SLICE("true"));
    if ((msg->flags & MSG_END) != 0) /* no message, but what a browser waits for */
        stomp_write_header(w, SLICE("browser"), SLICE("end"));
    else if ((msg->flags & MSG_STOMP) == 0)
        stomp_write_u64(w, STOMP_H_MQTT_QOS, d->qos);
    if (msg->priority != 0)
        stomp_write_u64(w, STOMP_H_PRIORITY, msg->priority);
    if (msg->expires_at != 0)
        stomp_write_u64(w, STOMP_H_EXPIRATION, msg->expires_at > d->now ? msg->expires_at - d->now : 0);
}

/* Room in the output for one frame. */
struct frame_room {
    uint8_t *p;
    size_t head_cap; /* for everything up to the blank line; scratch, then the body, lie behind or over it */
    uint8_t *scratch;
};

/* take_room: false: out of memory. body_len: bytes that are copied behind the headers. */
static bool take_room(struct outv *o, const struct stomp_sub *sub, const struct source *from, bool is_kept,
                      size_t body_len, struct frame_room *out)
{
    size_t scratch = is_kept ? 0 : dest_bytes_max(sub, from);
    out->head_cap = head_bound(sub, is_kept, from) + RARE_BOUND;
    if (from->attrs.len != 0) {
        out->head_cap += stomp_headers_bound(from->attrs);
        scratch = MAX(scratch, stomp_headers_scratch(from->attrs));
    }
    out->p = outv_room(o, out->head_cap + MAX(scratch, body_len + 1));
    if (out->p == NULL)
        return false;
    out->scratch = out->p + out->head_cap;
    return true;
}

enum err stomp_on_deliver(struct conn *c, const struct delivery *d)
{
    const struct msgview *msg = d->msg;
    struct stomp_sub *sub = d->consumer->up;
    struct outv *o = conn_out(c);
    if (UNLIKELY(o == NULL))
        return ERR_NOMEM;
    struct source from = source_of(msg);
    bool is_kept = head_fits(&sub->head, &from);
    bool refers = msg->payload.len > COPY_MAX && msg->owner != NULL;
    struct frame_room r;
    struct stomp_writer w;
    if (UNLIKELY(!take_room(o, sub, &from, is_kept, refers ? 0 : msg->payload.len, &r)))
        return ERR_NOMEM;
    if (LIKELY(is_kept))
        head_copy(stomp_state(c), &sub->head, &w, r.p, r.head_cap);
    else
        head_write(c, sub, &from, &w, r.p, r.head_cap, r.scratch);
    put_ids(c, &w, d->ticket);
    put_rare(&w, d);
    if (from.attrs.len != 0)
        stomp_headers_put(&w, from.attrs, r.scratch);
    ptrdiff_t n = stomp_write_end(&w, msg->payload.len);
    BUG_ON(n <= 0);
    if (refers) {
        outv_wrote(o, (size_t)n);
        outv_ref(o, msg->owner, msg->payload.p, msg->payload.len);
        outv_put(o, "", 1);
        return ERR_OK;
    }
    if (msg->payload.len != 0)
        memcpy(r.p + n, msg->payload.p, msg->payload.len);
    r.p[(size_t)n + msg->payload.len] = '\0';
    outv_wrote(o, (size_t)n + msg->payload.len + 1);
    return ERR_OK;
}
