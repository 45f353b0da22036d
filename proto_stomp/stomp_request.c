/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_request.c: the headers of SUBSCRIBE.
 *
 *     id destination ack receipt                     STOMP
 *     prefetch-count  activemq.prefetchSize  credit  deliveries without an answer (credit: Apollo's "messages,bytes")
 *     x-credit                                       deliveries at all: it pulls
 *     x-priority  activemq.priority                  which consumer is served first
 *     browser                                        a copy of what waits
 *     no-local  activemq.noLocal                     not what this connection sends itself
 *     retain-handling                                as in MQTT 5
 *     x-queue-name durable persistent ...            how long its queue lives (stomp_durable.h)
 *     x-message-ttl ...                              what its queue does (stomp_queue_args.h)
 *
 * Invariants
 *   1. A header that would change what the subscription means, and is not supported, is an ERROR and not overlooked.
 * Cost    O(headers), no allocation.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §SUBSCRIBE, §SUBSCRIBE id Header, §SUBSCRIBE ack Header; STOMP 1.0 §SUBSCRIBE; docs/stomp.md,
 *         "Subscriptions".
 */
#include "proto_stomp/stomp_request.h"

#include "core/base/utf8.h"
#include "proto_stomp/stomp_attrs.h"
#include "proto_stomp/stomp_temp.h"

bool stomp_request_refuse(const struct stomp_request *r, enum stomp_fault why, struct slice detail)
{
    stomp_error(r->c, r->f, why, detail);
    return false;
}

bool stomp_request_bad_dest(const struct stomp_request *r)
{
    return stomp_request_refuse(r, stomp_fault_from_why(r->d.why), r->names.dest);
}

/* get: a short header's value in buf; empty when it is not there. */
static bool get(const struct stomp_request *r, enum stomp_known h, uint8_t buf[STOMP_LINE_BYTES_MAX], struct slice *out)
{
    return stomp_frame_get(r->f, h, buf, STOMP_LINE_BYTES_MAX, out) == ERR_OK;
}

/* find: one that only SUBSCRIBE looks at. */
static bool find(const struct stomp_request *r, const char *name, uint8_t buf[STOMP_LINE_BYTES_MAX], struct slice *out)
{
    return stomp_frame_find(r->f, slice_from_str(name), buf, STOMP_LINE_BYTES_MAX, out) == ERR_OK;
}

/* take_names: id and destination. */
static bool take_names(struct stomp_request *r)
{
    const struct stomp_conn *s = stomp_state(r->c);
    r->names = (struct stomp_sub_names){0};
    r->names.has_id = get(r, STOMP_H_ID, r->id_buf, &r->names.id);
    if (!r->names.has_id &&
        s->version != STOMP_1_0) /* STOMP 1.2 §SUBSCRIBE id Header; STOMP 1.1 §SUBSCRIBE; STOMP 1.0 §SUBSCRIBE */
        return stomp_request_refuse(r, STOMP_FAULT_NO_HEADER, SLICE("id"));
    if (r->names.has_id && slice_starts_with(r->names.id, STOMP_TEMP_PREFIX))
        return stomp_request_refuse(r, STOMP_FAULT_SUB_ID, r->names.id);
    if (!get(r, STOMP_H_DESTINATION, r->dest_buf, &r->names.dest)) /* STOMP 1.2 §SUBSCRIBE */
        return stomp_request_refuse(r, STOMP_FAULT_NO_DESTINATION, SLICE(""));
    if (stomp_dest_parse(r->names.dest, &r->d) != ERR_OK)
        return stomp_request_bad_dest(r);
    return true;
}

/* take_ack: STOMP 1.2 §SUBSCRIBE ack Header */
static bool take_ack(struct stomp_request *r)
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
        return stomp_request_refuse(r, STOMP_FAULT_ACK_MODE, mode);
    return true;
}

/* take_prefetch: how many unacknowledged messages, or, by x-credit, how many messages at all: it pulls. */
static bool take_prefetch(struct stomp_request *r)
{
    static const enum stomp_known names[] = {STOMP_H_PREFETCH_COUNT, STOMP_H_AMQ_PREFETCH_SIZE, STOMP_H_CREDIT};
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    uint64_t n = 0;
    bool has_prefetch = false;
    for (size_t i = 0; i < ARRAY_N(names) && !has_prefetch; i++) {
        has_prefetch = get(r, names[i], buf, &text);
        ptrdiff_t comma = has_prefetch && names[i] == STOMP_H_CREDIT ? slice_find(text, ',') : -1;
        if (comma >= 0)
            text.len = (size_t)comma;
        if (has_prefetch && !stomp_u64_parse(text, &n))
            return stomp_request_refuse(r, STOMP_FAULT_HEADER, stomp_known_text(names[i]));
    }
    r->how.is_pull = find(r, "x-credit", buf, &text);
    if (r->how.is_pull && (has_prefetch || !stomp_u64_parse(text, &n)))
        return stomp_request_refuse(r, STOMP_FAULT_HEADER, SLICE("x-credit"));
    r->how.prefetch = (uint32_t)MIN(n, (uint64_t)STOMP_TICKET_MAX);
    return true;
}

/* take_priority: -128 .. 127. */
static bool take_priority(struct stomp_request *r)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    uint64_t n;
    bool is_ours = get(r, STOMP_H_X_PRIORITY, buf, &text);
    if (!is_ours && !find(r, "activemq.priority", buf, &text))
        return true;
    bool is_negative = text.len != 0 && text.p[0] == '-';
    if (!stomp_u64_parse(is_negative ? slice_skip(text, 1) : text, &n) || n > 127u + is_negative)
        return stomp_request_refuse(r, STOMP_FAULT_HEADER, is_ours ? SLICE("x-priority") : SLICE("activemq.priority"));
    r->how.priority = (int8_t)(is_negative ? -(int)n : (int)n);
    return true;
}

/* take_browser: a copy of what waits, of a queue; nothing of it is to be answered or asked for. */
static bool take_browser(struct stomp_request *r)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    bool is_queue = r->d.kind == STOMP_DEST_QUEUE || r->d.kind == STOMP_DEST_AMQ_QUEUE;
    r->is_browser = false;
    if (!find(r, "browser", buf, &text))
        return true;
    if (!stomp_bool_parse(text, &r->is_browser) || (r->is_browser && !is_queue))
        return stomp_request_refuse(r, STOMP_FAULT_HEADER, SLICE("browser"));
    if (r->is_browser && (r->how.mode != ACK_NONE || r->how.is_pull))
        return stomp_request_refuse(r, STOMP_FAULT_HEADER, r->how.is_pull ? SLICE("x-credit") : SLICE("ack"));
    return true;
}

/* flag: what only SUBSCRIBE looks at, as true or false; false when it is not there. False: ERROR was said. */
static bool flag(const struct stomp_request *r, const char *name, bool *out)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    *out = false;
    if (!find(r, name, buf, &text) || stomp_bool_parse(text, out))
        return true;
    return stomp_request_refuse(r, STOMP_FAULT_HEADER, slice_from_str(name));
}

/* take_local: no-local, as in MQTT 5. */
static bool take_local(struct stomp_request *r)
{
    bool plain, activemq;
    if (!flag(r, "no-local", &plain) || !flag(r, "activemq.noLocal", &activemq))
        return false;
    r->opts.no_local = plain || activemq;
    return true;
}

/* refuse_some: invariant 1. */
static bool refuse_some(const struct stomp_request *r)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    bool is_exclusive;
    if (get(r, STOMP_H_SELECTOR, buf, &text) && text.len != 0)
        return stomp_request_refuse(r, STOMP_FAULT_UNSUPPORTED, SLICE("selector"));
    if (get(r, STOMP_H_TRANSACTION, buf, &text)) /* STOMP 1.2 §BEGIN: only SEND, ACK and NACK are part of one */
        return stomp_request_refuse(r, STOMP_FAULT_UNSUPPORTED, SLICE("transaction"));
    if (!flag(r, "activemq.exclusive", &is_exclusive))
        return false;
    return !is_exclusive || stomp_request_refuse(r, STOMP_FAULT_UNSUPPORTED, SLICE("activemq.exclusive"));
}

static bool take_options(struct stomp_request *r)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    uint64_t n = 0;
    r->how.qos = r->opts.qos = 2;
    if (get(r, STOMP_H_RETAIN_HANDLING, buf, &text) && (!stomp_u64_parse(text, &n) || n > 2))
        return stomp_request_refuse(r, STOMP_FAULT_HEADER, SLICE("retain-handling"));
    r->opts.retain_handling = (uint8_t)n;
    return refuse_some(r) && take_prefetch(r) && take_priority(r) && take_local(r) && take_browser(r);
}

bool stomp_request_read_life(struct stomp_request *r)
{
    struct slice bad;
    r->has_queue_name = get(r, STOMP_H_X_QUEUE_NAME, r->queue_buf, &r->queue_name);
    if (r->has_queue_name && r->queue_name.len == 0)
        return stomp_request_refuse(r, STOMP_FAULT_HEADER, SLICE("x-queue-name"));
    enum stomp_fault e = stomp_durable_asks(r->f, &r->durable, &bad);
    if (e != STOMP_FAULT_NONE)
        return stomp_request_refuse(r, e, bad);
    if (!r->durable.is_asked || r->durable.has_name || r->has_queue_name)
        return true;
    if (!r->names.has_id)
        return stomp_request_refuse(r, STOMP_FAULT_DURABLE_ID, SLICE(""));
    r->durable.name = r->names.id;
    return utf8_is_mqtt(r->names.id.p, r->names.id.len) ||
           stomp_request_refuse(r, STOMP_FAULT_HEADER_TEXT, SLICE("id"));
}

bool stomp_request_spec(struct stomp_request *r, struct queue_spec *s)
{
    struct slice bad;
    enum stomp_fault e = stomp_queue_spec_take(r->f, s, &r->text, &bad);
    if (e == STOMP_FAULT_NONE)
        e = stomp_queue_spec_end(s, &bad);
    return e == STOMP_FAULT_NONE || stomp_request_refuse(r, e, bad);
}

bool stomp_request_has_args(const struct stomp_request *r)
{
    for (unsigned a = 0; a < QUEUE_ARG_N; a++)
        if ((STOMP_LIFE_ARGS & 1u << a) == 0 && r->f->known[stomp_queue_arg_header((enum queue_arg)a)] >= 0)
            return true;
    return false;
}

bool stomp_request_read(struct stomp_request *r, struct conn *c, const struct stomp_frame *f)
{
    r->c = c;
    r->f = f;
    r->v = c->session->vhost;
    r->how = (struct consume){0};
    r->opts = (struct binding_opts){0};
    return take_names(r) && take_ack(r) && take_options(r);
}
