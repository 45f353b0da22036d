/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_SUB_H
#define WEIR_STOMP_SUB_H

/* stomp_sub.h: the subscriptions of one connection, as records. Private to the adapter; part of stomp_conn.h. */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/slice.h"
#include "core/broker.h"
#include "core/conn.h"
#include "proto_stomp/stomp_error.h"

/* The beginning of a MESSAGE as it was last written for a subscription: command, subscription, destination and the
 * front half of message-id. One allocation: source[source_len] · frame[n]. */
struct stomp_head {
    uint8_t *p; /* NULL: none yet */
    uint32_t cap, source_len;
    uint32_t n, bound; /* as in struct stomp_writer */
    bool is_encoded;
    uint32_t exchange; /* number of the topic's */
    bool is_own;       /* source: the sender's own destination; false: a topic, rendered for this subscription */
};

/* What else a subscription has a name for. */
enum stomp_sub_more_is {
    STOMP_MORE_NONE,
    STOMP_MORE_DSUB,  /* the key of a durable subscription in core */
    STOMP_MORE_QUEUE, /* x-queue-name: the queue's name */
    STOMP_MORE_TOPIC, /* a temporary queue: the topic for answers to it */
};

/* One subscription. owner: stomp_conn.subs; core's consumer points to it by `up`. */
struct stomp_sub {
    struct consumer *consumer; /* NULL until the broker agreed, and after its queue was deleted */
    struct stomp_head head;
    uint32_t key_len, dest_len, more_len;
    uint8_t style; /* enum stomp_dest_style: for topics that have no destination of their own */
    bool is_topic; /* bound to an exchange; false: messages without a destination of their own came from `dest` */
    bool has_id;
    uint8_t more_is; /* enum stomp_sub_more_is */
    uint8_t bytes[]; /* key: 'i' and id, or 'd' and destination (1.0 without id) · destination · more */
};

static inline struct slice stomp_sub_key(const struct stomp_sub *s)
{
    return slice_make(s->bytes, s->key_len);
}

static inline struct slice stomp_sub_id(const struct stomp_sub *s)
{
    return slice_make(s->bytes + 1, s->key_len - 1);
}

static inline struct slice stomp_sub_dest(const struct stomp_sub *s)
{
    return slice_make(s->bytes + s->key_len, s->dest_len);
}

static inline struct slice stomp_sub_more(const struct stomp_sub *s)
{
    return slice_make(s->bytes + s->key_len + s->dest_len, s->more_len);
}

struct slice stomp_sub_map_key(const void *item);

/* What a subscription is called. */
struct stomp_sub_names {
    struct slice id, dest, more;
    enum stomp_sub_more_is more_is;
    bool has_id; /* false: 1.0 */
};

/* stomp_sub_new: the record, in the table; *out_why: NOMEM, SUB_TWICE, SUB_LIMIT when NULL. stomp_sub_remove: out of
 * the table; its consumer must be gone or cancelled. */
struct stomp_sub *stomp_sub_new(struct conn *c, const struct stomp_sub_names *names,
                                enum stomp_fault *out_why) MUST_CHECK;
void stomp_sub_remove(struct conn *c, struct stomp_sub *sub);

/* stomp_sub_get: the one of this id (has_id) or destination; NULL: there is none. */
struct stomp_sub *stomp_sub_get(const struct conn *c, bool has_id, struct slice name);

/* stomp_sub_cancel: no more deliveries; what was delivered can still be answered. */
void stomp_sub_cancel(struct conn *c, struct stomp_sub *sub, uint64_t receipt);

void stomp_on_consumer_gone(struct conn *c, struct consumer *k);
/* stomp_subs_free: the records; core has ended the consumers. */
void stomp_subs_free(struct conn *c);

#endif
