/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_temp.c: queues for answers, as RabbitMQ has them, and with a topic, so that devices can answer too.
 *
 *     reply-to:/temp-queue/x ─► queue G: exclusive, auto-delete, not durable
 *                                 ▲ default exchange, key G            SEND /reply-queue/G
 *                                 ▲ amq.topic, filter $reply/G         PUBLISH $reply/G
 *                               consumed with ack:auto by a subscription of the id /temp-queue/x
 *
 * The name G is what protects an answer from strangers; core makes one that cannot be guessed.
 *
 * Invariants
 *   1. One queue per name and connection; its record is an ordinary subscription, which no peer can name: ids may not
 *      begin with /temp-queue/.
 *   2. Either queue, binding, consumer and record are there, or nothing.
 * Cost    a queue, a binding, a consumer and a record per name.
 * Thread  the shard's own.
 * Spec    docs/mapping.md, "Destinations"; MQTT 5 §4.10 (request and response).
 */
#include "proto_stomp/stomp_temp.h"

#include <stdio.h>

#include "core/shard.h"
#include "core/topology.h"
#include "proto_stomp/stomp_conn.h"

enum { NAME_CAP = 128 };

#define REPLY_PREFIX "/reply-queue/"
#define REPLY_LEVEL  "$reply"

/* declare: the queue G. NULL: *out_why. */
static struct queue *declare(struct conn *c, enum stomp_fault *out_why)
{
    struct vhost *v = c->session->vhost;
    struct declared declared = {0};
    struct queue_spec spec;
    queue_spec_init(&spec, &v->policy_subscription);
    spec.policy.durable = false;
    spec.policy.exclusive = spec.policy.auto_delete = true;
    struct queue *q = broker_declare_queue_as(c, SLICE(""), &spec, &declared);
    *out_why = q == NULL ? stomp_fault_for_queue(declared.err) : STOMP_FAULT_NONE;
    return q;
}

static void bind_topic(struct conn *c, struct queue *q, struct slice g)
{
    struct token tok[2] = {{.kind = TOKEN_LITERAL, .bytes = SLICE(REPLY_LEVEL)}, {.kind = TOKEN_LITERAL, .bytes = g}};
    struct filter f = {.tok = tok, .n = 2};
    broker_bind(c, c->session->vhost->topic_exchange, &f, q, STOMP_FOR_BIND); /* a refusal ends the connection */
}

/* make_record: the subscription `id` to the queue g. NULL: *out_why. */
static struct stomp_sub *make_record(struct conn *c, struct slice id, struct slice g, enum stomp_fault *out_why)
{
    char dest[NAME_CAP], topic[NAME_CAP];
    int dest_len = snprintf(dest, sizeof dest, REPLY_PREFIX SLICE_FMT, SLICE_ARG(g));
    int topic_len = snprintf(topic, sizeof topic, REPLY_LEVEL "/" SLICE_FMT, SLICE_ARG(g));
    BUG_ON(dest_len >= NAME_CAP || topic_len >= NAME_CAP);
    struct stomp_sub_names names = {.id = id,
                                    .dest = slice_make(dest, (size_t)dest_len),
                                    .more = slice_make(topic, (size_t)topic_len),
                                    .more_is = STOMP_MORE_TOPIC,
                                    .has_id = true};
    return stomp_sub_new(c, &names, out_why);
}

/* open_queue: everything a new one needs. NULL: *out_why, and nothing is left of it. */
static struct stomp_sub *open_queue(struct conn *c, struct slice id, enum stomp_fault *out_why)
{
    struct queue *q = declare(c, out_why);
    if (q == NULL)
        return NULL;
    struct slice g = queue_name(q);
    struct stomp_sub *sub = make_record(c, id, g, out_why);
    struct consume how = {.mode = ACK_NONE, .qos = 2, .up = sub, .receipt = STOMP_FOR_SUBSCRIBE};
    if (sub != NULL)
        bind_topic(c, q, g);
    if (sub != NULL && !conn_is_closing(c))
        sub->consumer = broker_consume_queue(c, q, &how);
    if (sub != NULL && sub->consumer != NULL)
        return sub;
    if (sub != NULL) {
        stomp_sub_remove(c, sub);
        *out_why = STOMP_FAULT_NOMEM;
    }
    broker_delete_queue(c, g, (struct queue_end){0}, RECEIPT_NONE);
    return NULL;
}

enum stomp_fault stomp_temp_queue(struct conn *c, struct slice name, struct slice *out_dest, struct slice *out_topic)
{
    uint8_t id[sizeof("/temp-queue/") + STOMP_LINE_BYTES_MAX];
    struct slice prefix = STOMP_TEMP_PREFIX;
    enum stomp_fault why = STOMP_FAULT_NONE;
    if (name.len > STOMP_LINE_BYTES_MAX - prefix.len)
        return STOMP_FAULT_DEST_TOO_BIG;
    memcpy(id, prefix.p, prefix.len);
    memcpy(id + prefix.len, name.p, name.len);
    struct slice full = slice_make(id, prefix.len + name.len);
    struct stomp_sub *sub = stomp_sub_get(c, true, full);
    if (sub == NULL)
        sub = open_queue(c, full, &why);
    if (sub == NULL)
        return why;
    *out_dest = stomp_sub_dest(sub);
    *out_topic = stomp_sub_more(sub);
    return STOMP_FAULT_NONE;
}
