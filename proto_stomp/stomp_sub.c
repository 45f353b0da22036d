/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_sub.c: the subscriptions of one connection, as records.
 *
 *     stomp_conn.subs   "i0" ──► { consumer, destination, how its MESSAGE frames begin }  ◄── consumer->up
 *                       "d/topic/a" (1.0: known by its destination)
 *
 * Invariants
 *   1. A record is in the table exactly while the subscription is open; the consumer's `up` points to it.
 *   2. A consumer that core has ended is no record's any more.
 * Cost    one allocation for a subscription.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §SUBSCRIBE id Header; STOMP 1.0 §SUBSCRIBE.
 */
#include "proto_stomp/stomp_conn.h"

struct slice stomp_sub_map_key(const void *item)
{
    return stomp_sub_key(item);
}

static void sub_free(struct conn *c, struct stomp_sub *sub)
{
    mem_free(conn_mem(c), sub->head.p);
    mem_free(conn_mem(c), sub);
}

static uint8_t *put(uint8_t *at, struct slice s)
{
    if (s.len != 0)
        memcpy(at, s.p, s.len);
    return at + s.len;
}

struct stomp_sub *stomp_sub_new(struct conn *c, const struct stomp_sub_names *names, enum stomp_fault *out_why)
{
    struct stomp_conn *s = stomp_state(c);
    struct slice name = names->has_id ? names->id : names->dest;
    *out_why = STOMP_FAULT_NOMEM;
    struct stomp_sub *sub = mem_zalloc(conn_mem(c), sizeof *sub + 1 + name.len + names->dest.len + names->more.len);
    if (sub == NULL)
        return NULL;
    sub->has_id = names->has_id;
    sub->key_len = (uint32_t)(1 + name.len);
    sub->dest_len = (uint32_t)names->dest.len;
    sub->more_len = (uint32_t)names->more.len;
    sub->more_is = (uint8_t)names->more_is;
    sub->bytes[0] = names->has_id ? 'i' : 'd';
    put(put(put(sub->bytes + 1, name), names->dest), names->more);
    if (map_get(&s->subs, stomp_sub_key(sub)) != NULL)
        *out_why = STOMP_FAULT_SUB_TWICE; /* STOMP 1.2 §SUBSCRIBE id Header */
    else if (s->subs.n >= conn_limits(c)->stomp_subscriptions_max)
        *out_why = STOMP_FAULT_SUB_LIMIT;
    else if (map_put(&s->subs, sub) == ERR_OK)
        return sub;
    sub_free(c, sub);
    return NULL;
}

void stomp_sub_remove(struct conn *c, struct stomp_sub *sub)
{
    struct stomp_conn *s = stomp_state(c);
    BUG_ON(map_del(&s->subs, stomp_sub_key(sub)) != sub);
    sub_free(c, sub);
}

struct stomp_sub *stomp_sub_get(const struct conn *c, bool has_id, struct slice name)
{
    uint8_t key[1 + STOMP_LINE_BYTES_MAX];
    if (name.len > STOMP_LINE_BYTES_MAX)
        return NULL;
    key[0] = has_id ? 'i' : 'd';
    put(key + 1, name);
    return map_get(&stomp_state(c)->subs, slice_make(key, 1 + name.len));
}

void stomp_sub_cancel(struct conn *c, struct stomp_sub *sub, uint64_t receipt)
{
    struct consumer *k = sub->consumer;
    sub->consumer = NULL;
    if (k == NULL) {
        broker_barrier(c, receipt);
        return;
    }
    k->up = NULL;
    broker_cancel(c, k, receipt);
}

void stomp_subs_free(struct conn *c)
{
    struct stomp_conn *s = stomp_state(c);
    uint32_t pos = 0;
    for (struct stomp_sub *sub = map_next(&s->subs, &pos); sub != NULL; sub = map_next(&s->subs, &pos))
        sub_free(c, sub);
    map_fini(&s->subs);
}

void stomp_on_consumer_gone(struct conn *c, struct consumer *k)
{
    struct stomp_sub *sub = k->up;
    if (sub == NULL)
        return;
    sub->consumer = NULL;
    if (stomp_state(c)->phase == STOMP_LEAVING)
        return; /* it waits for nothing but its RECEIPT */
    stomp_error(c, NULL, STOMP_FAULT_SUB_GONE, sub->has_id ? stomp_sub_id(sub) : stomp_sub_dest(sub));
}
