/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_QUEUE_POLICY_H
#define WEIR_CORE_QUEUE_POLICY_H

/*
 * queue_policy.h: what a queue was made to do with its messages. Every field is an argument that a peer may give when
 * it declares a queue, under the name RabbitMQ gave it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/slice.h"

enum queue_overflow {
    OVERFLOW_DROP_NEW,   /* the new message goes, counted (sessions and subscriptions) */
    OVERFLOW_DROP_HEAD,  /* the oldest goes, dead-lettered as "maxlen" or counted */
    OVERFLOW_REJECT,     /* the publisher is refused: reject-publish */
    OVERFLOW_REJECT_DLX, /* the same, and a copy is dead-lettered: reject-publish-dlx */
};

/* Zero means "without" everywhere, but for the limits of the virtual host's default policies. */
struct queue_policy {
    uint64_t bytes_max; /* 0: none */
    uint64_t len_max;   /* 0: none */
    mono_ms ttl_ms;     /* messages live so long here, if has_ttl; 0: only if somebody takes them at once */
    mono_ms expires_ms; /* the queue goes when it was not used for so long; 0: it stays */
    mono_ms retry_min_ms, retry_max_ms; /* a message that came back waits min, 2 min, 4 min ... max; 0: not */
    mono_ms ack_ms;             /* an unacknowledged delivery goes back after this time; 0: never. Not for MQTT */
    struct slice dead_exchange; /* where dead letters go, if has_dead_exchange; "" is the default exchange */
    struct slice dead_key;      /* their routing key, if has_dead_key; else the one they came with */
    uint32_t given;             /* bit per enum queue_arg that its declaration named; the rest are defaults */
    uint16_t delivery_limit;    /* a message may come back so often, if has_delivery_limit */
    uint8_t priority_max;       /* levels 0 .. priority_max; 0: no priorities */
    enum queue_overflow overflow;
    bool has_ttl, has_dead_exchange, has_dead_key, has_delivery_limit;
    bool durable;       /* survives a restart */
    bool exclusive;     /* one session owns and consumes it */
    bool auto_delete;   /* dies with its last consumer */
    bool single_active; /* one consumer at a time is served, the next when it has gone */
    bool keep_qos0;     /* QoS 0 messages wait while nobody is online (named queues; not MQTT sessions) */
};

/* clang-format off */
#define QUEUE_ARG_LIST(X) \
    X(DURABLE, "durable") \
    X(AUTO_DELETE, "auto-delete") \
    X(EXCLUSIVE, "exclusive") \
    X(TTL, "x-message-ttl") \
    X(EXPIRES, "x-expires") \
    X(LEN, "x-max-length") \
    X(BYTES, "x-max-length-bytes") \
    X(OVERFLOW, "x-overflow") \
    X(DEAD_EXCHANGE, "x-dead-letter-exchange") \
    X(DEAD_KEY, "x-dead-letter-routing-key") \
    X(DELIVERY_LIMIT, "x-delivery-limit") \
    X(RETRY_MIN, "x-retry-delay-min") \
    X(RETRY_MAX, "x-retry-delay-max") \
    X(ACK_TIMEOUT, "x-consumer-timeout") \
    X(PRIORITY_MAX, "x-max-priority") \
    X(SINGLE_ACTIVE, "x-single-active-consumer")
/* clang-format on */

enum queue_arg {
#define X(name, text) QUEUE_ARG_##name,
    QUEUE_ARG_LIST(X)
#undef X
        QUEUE_ARG_N
};

/* queue_arg_text: its name on the wire; static. queue_arg_from_text: QUEUE_ARG_N: no such argument. */
struct slice queue_arg_text(enum queue_arg a);
enum queue_arg queue_arg_from_text(struct slice name);

/* A declaration: a policy under construction. given: bit per enum queue_arg that the peer named. Names of exchanges and
 * keys are the caller's until the queue has copied them. */
struct queue_spec {
    struct queue_policy policy;
    uint32_t given;
};

/* queue_spec_init: the default policy of the virtual host, nothing given. */
void queue_spec_init(struct queue_spec *s, const struct queue_policy *def);

/* queue_spec_take: one argument as text: numbers in decimal (ms, messages, bytes), flags as true or false, x-overflow
 * by its names. value must outlive the spec. ERR_INVALID: it does not say what this argument can be. */
enum err queue_spec_take(struct queue_spec *s, enum queue_arg a, struct slice value) MUST_CHECK;

/* queue_spec_finish: when all were taken: what follows from them (x-max-length without x-overflow drops the head, as in
 * RabbitMQ; a retry delay without its maximum grows to 24 hours or min, whichever is more). ERR_INVALID and *out_bad:
 * one does not go with the others (key without exchange, minimum above maximum, expires of 0, reject-publish-dlx
 * without a dead-letter exchange). */
enum err queue_spec_finish(struct queue_spec *s, enum queue_arg *out_bad) MUST_CHECK;

/* queue_policy_diff: the first argument in which they differ; QUEUE_ARG_N: in none. keep_qos0 is no argument. */
enum queue_arg queue_policy_diff(const struct queue_policy *a, const struct queue_policy *b);

/* queue_policy_text: argument a of p as queue_spec_take would read it, into out[cap] (NUL-terminated, cut), "none" when
 * it is not set: for errors that name a difference. */
void queue_policy_text(const struct queue_policy *p, enum queue_arg a, char *out, size_t cap);

/* queue_policy_retry: how long a message that came back for the n-th time (1, 2, ...) waits. */
mono_ms queue_policy_retry(const struct queue_policy *p, unsigned n);

#endif
