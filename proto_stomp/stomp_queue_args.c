/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_queue_args.c: queue arguments from headers.
 *
 *     x-message-ttl:60000 ─┐  stomp_frame_get: escapes undone
 *     x-max-length: 10     ├─► blanks off ─► queue_spec_take ... ─► queue_spec_finish ─► struct queue_spec
 *     auto-delete:True    ─┘  flags in any case
 *
 * What an argument may be is core's to say (core/queue_policy.c); here is only how STOMP peers spell it. stomp.py sends
 * Python's True and False, and RabbitMQ takes blanks off, so both are right.
 *
 * Invariants
 *   1. Every argument of core has a header: the table is made from core's list.
 *   2. The two arguments that are texts lie in the frame or in the caller's stomp_queue_text; all others are read.
 * Cost    O(arguments), no allocation.
 * Thread  any; pure.
 * Spec    docs/queues.md; STOMP 1.2 §Repeated Header Entries.
 */
#include "proto_stomp/stomp_queue_args.h"

#include "proto_stomp/stomp_attrs.h"

/* The header of each argument. */
static const uint8_t headers[QUEUE_ARG_N] = {
    [QUEUE_ARG_DURABLE] = STOMP_H_DURABLE,
    [QUEUE_ARG_AUTO_DELETE] = STOMP_H_AUTO_DELETE,
    [QUEUE_ARG_EXCLUSIVE] = STOMP_H_EXCLUSIVE,
    [QUEUE_ARG_TTL] = STOMP_H_X_MESSAGE_TTL,
    [QUEUE_ARG_EXPIRES] = STOMP_H_X_EXPIRES,
    [QUEUE_ARG_LEN] = STOMP_H_X_MAX_LENGTH,
    [QUEUE_ARG_BYTES] = STOMP_H_X_MAX_LENGTH_BYTES,
    [QUEUE_ARG_OVERFLOW] = STOMP_H_X_OVERFLOW,
    [QUEUE_ARG_DEAD_EXCHANGE] = STOMP_H_X_DEAD_LETTER_EXCHANGE,
    [QUEUE_ARG_DEAD_KEY] = STOMP_H_X_DEAD_LETTER_ROUTING_KEY,
    [QUEUE_ARG_DELIVERY_LIMIT] = STOMP_H_X_DELIVERY_LIMIT,
    [QUEUE_ARG_RETRY_MIN] = STOMP_H_X_RETRY_DELAY_MIN,
    [QUEUE_ARG_RETRY_MAX] = STOMP_H_X_RETRY_DELAY_MAX,
    [QUEUE_ARG_ACK_TIMEOUT] = STOMP_H_X_CONSUMER_TIMEOUT,
    [QUEUE_ARG_PRIORITY_MAX] = STOMP_H_X_MAX_PRIORITY,
    [QUEUE_ARG_SINGLE_ACTIVE] = STOMP_H_X_SINGLE_ACTIVE_CONSUMER,
};

enum stomp_known stomp_queue_arg_header(enum queue_arg a)
{
    return (enum stomp_known)headers[a];
}

static struct slice trimmed(struct slice s)
{
    while (s.len != 0 && s.p[0] == ' ')
        s = slice_skip(s, 1);
    while (s.len != 0 && s.p[s.len - 1] == ' ')
        s.len--;
    return s;
}

static bool is_flag(enum queue_arg a)
{
    return a == QUEUE_ARG_DURABLE || a == QUEUE_ARG_AUTO_DELETE || a == QUEUE_ARG_EXCLUSIVE ||
           a == QUEUE_ARG_SINGLE_ACTIVE;
}

/* take_one: ERR_OK also when it was not said. buf: where its value may lie. */
static enum err take_one(const struct stomp_frame *f, struct queue_spec *s, enum queue_arg a, uint8_t *buf)
{
    struct slice value;
    bool on;
    if (stomp_frame_get(f, stomp_queue_arg_header(a), buf, STOMP_LINE_BYTES_MAX, &value) != ERR_OK)
        return ERR_OK;
    value = trimmed(value);
    if (is_flag(a)) {
        if (!stomp_bool_parse(value, &on))
            return ERR_INVALID;
        value = on ? SLICE("true") : SLICE("false");
    }
    return queue_spec_take(s, a, value);
}

enum stomp_fault stomp_queue_spec_take(const struct stomp_frame *f, struct queue_spec *s, struct stomp_queue_text *text,
                                       struct slice *out_bad)
{
    uint8_t scratch[STOMP_LINE_BYTES_MAX];
    for (unsigned a = 0; a < QUEUE_ARG_N; a++) {
        uint8_t *buf = a == QUEUE_ARG_DEAD_EXCHANGE ? text->exchange : a == QUEUE_ARG_DEAD_KEY ? text->key : scratch;
        if (take_one(f, s, (enum queue_arg)a, buf) == ERR_OK)
            continue;
        *out_bad = queue_arg_text((enum queue_arg)a);
        return STOMP_FAULT_HEADER;
    }
    return STOMP_FAULT_NONE;
}

enum stomp_fault stomp_queue_spec_end(struct queue_spec *s, struct slice *out_bad)
{
    enum queue_arg bad;
    if (queue_spec_finish(s, &bad) == ERR_OK)
        return STOMP_FAULT_NONE;
    *out_bad = queue_arg_text(bad);
    return STOMP_FAULT_QUEUE_ARGS;
}

enum stomp_fault stomp_queue_spec(const struct stomp_frame *f, const struct queue_policy *def, struct queue_spec *out,
                                  struct stomp_queue_text *text, struct slice *out_bad)
{
    queue_spec_init(out, def);
    enum stomp_fault e = stomp_queue_spec_take(f, out, text, out_bad);
    return e != STOMP_FAULT_NONE ? e : stomp_queue_spec_end(out, out_bad);
}
