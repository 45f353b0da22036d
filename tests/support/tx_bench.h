/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_TX_BENCH_H
#define WEIR_TESTS_TX_BENCH_H

/* tx_bench.h: queues, transactions and what waits where, over tests/support/fake.h. Include it behind cmocka. */

#include <stdio.h>

#include "core/session.h"
#include "core/topology.h"
#include "core/tx.h"
#include "tests/support/fake.h"

static inline struct queue *declare(struct conn *c, const char *name)
{
    enum err e;
    struct queue *q = broker_declare_queue(c, slice_from_str(name), &e);
    assert_non_null(q);
    return q;
}

/* declare_full: one that refuses more than len messages. */
static inline struct queue *declare_full(struct conn *c, const char *name, uint64_t len, uint64_t bytes)
{
    struct queue_spec spec;
    struct declared d;
    queue_spec_init(&spec, &c->session->vhost->policy_named);
    spec.policy.len_max = len;
    spec.policy.bytes_max = bytes;
    spec.policy.overflow = OVERFLOW_REJECT;
    spec.given = 1u << QUEUE_ARG_LEN | 1u << QUEUE_ARG_BYTES | 1u << QUEUE_ARG_OVERFLOW;
    struct queue *q = broker_declare_queue_as(c, slice_from_str(name), &spec, &d);
    assert_non_null(q);
    return q;
}

static inline struct consumer *consume(struct conn *c, struct queue *q, enum ack_mode mode, uint32_t prefetch)
{
    struct consume how = {.mode = mode, .prefetch = prefetch, .qos = 2, .receipt = RECEIPT_NONE};
    struct consumer *k = broker_consume_queue(c, q, &how);
    assert_non_null(k);
    fake_run(fake_pipe_of(c)->fake);
    return k;
}

static inline struct publish publish_of(struct conn *c, const char *queue, const char *payload)
{
    return (struct publish){.msg = {.topic = slice_from_str(queue),
                                    .payload = slice_from_str(payload),
                                    .qos = 1,
                                    .flags = MSG_DURABLE | MSG_STOMP},
                            .exchange = c->shard->vhost->default_exchange,
                            .receipt = RECEIPT_NONE};
}

static inline struct publish topic_of(const char *topic, const char *payload, uint8_t flags)
{
    return (struct publish){
        .msg = {.topic = slice_from_str(topic), .payload = slice_from_str(payload), .qos = 1, .flags = flags},
        .receipt = RECEIPT_NONE};
}

static inline struct tx *begin(struct conn *c)
{
    struct tx *t = tx_new(c);
    assert_non_null(t);
    return t;
}

/* add: a message to a named queue. */
static inline void add(struct conn *c, struct tx *t, const char *queue, const char *payload)
{
    struct publish p = publish_of(c, queue, payload);
    assert_int_equal(tx_publish(c, t, &p), ERR_OK);
}

static inline void add_topic(struct conn *c, struct tx *t, const char *topic, const char *payload, uint8_t flags)
{
    struct publish p = topic_of(topic, payload, flags);
    assert_int_equal(tx_publish(c, t, &p), ERR_OK);
}

static inline void put(struct conn *c, const char *queue, const char *payload)
{
    struct publish p = publish_of(c, queue, payload);
    broker_publish(c, &p);
    fake_run(fake_pipe_of(c)->fake);
}

/* commit: its result; ERR_AGAIN: the answer is owed. */
static inline enum err commit(struct conn *c, struct tx *t)
{
    struct fake *f = fake_pipe_of(c)->fake;
    uint64_t receipt = f->receipt_next++;
    tx_commit(c, t, receipt);
    for (uint32_t i = f->event_n; i-- > 0;)
        if (f->event[i].what == FAKE_SETTLED && f->event[i].receipt == receipt)
            return f->event[i].result;
    return ERR_AGAIN;
}

/* waiting: the payloads that wait in q, "a,b,c". */
static inline const char *waiting(const struct queue *q)
{
    static char text[4096];
    size_t n = 0;
    text[0] = 0;
    LIST_EACH(&q->ready, it)
    {
        const struct msg *m = LIST_ITEM(it, struct entry, node)->msg;
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%.*s", n ? "," : "", (int)m->payload_len,
                              (const char *)m->bytes + m->topic_len + m->attrs_len);
    }
    return text;
}

#endif
