/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_unsubscribe.c: UNSUBSCRIBE: nothing more is delivered; with durable:true nothing more is kept either.
 *
 *     id:7                                the subscription 7 of this connection ends
 *     id:mail durable:true                and so does the durable subscription behind it,
 *                                         which may also be one that nobody consumes now
 *     activemq.subscriptionName:mail      the same by its name; no id is needed
 *     id:7 durable:true                   with x-queue-name: its queue is deleted, as in RabbitMQ
 *
 * Invariants
 *   1. What was delivered can still be answered.
 *   2. RECEIPT is said when all of it is done.
 * Cost    O(1); ending what nobody consumes looks at all durable subscriptions, and at those of this connection.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §UNSUBSCRIBE; STOMP 1.0 §UNSUBSCRIBE; docs/stomp.md, "Durable subscriptions".
 */
#include "core/shard.h"
#include "core/topology.h"
#include "proto_stomp/stomp_conn.h"
#include "proto_stomp/stomp_durable.h"
#include "proto_stomp/stomp_temp.h"

/* One UNSUBSCRIBE on its way. */
struct ending {
    struct conn *c;
    const struct stomp_frame *f;
    struct slice name; /* id, or in 1.0 a destination */
    bool has_id;
    struct slice dest;
    bool has_dest;
    struct stomp_sub *sub; /* NULL: not one of this connection */
    struct stomp_durable_ask durable;
    uint8_t name_buf[STOMP_LINE_BYTES_MAX], dest_buf[STOMP_LINE_BYTES_MAX];
};

/* refuse: says ERROR; false for the caller to return. */
static bool refuse(const struct ending *e, enum stomp_fault why, struct slice detail)
{
    stomp_error(e->c, e->f, why, detail);
    return false;
}

/* take_names: STOMP 1.2 §UNSUBSCRIBE */
static bool take_names(struct ending *e)
{
    const struct stomp_conn *s = stomp_state(e->c);
    struct slice bad;
    enum stomp_fault fault = stomp_durable_asks(e->f, &e->durable, &bad);
    if (fault != STOMP_FAULT_NONE)
        return refuse(e, fault, bad);
    e->has_dest = stomp_frame_get(e->f, STOMP_H_DESTINATION, e->dest_buf, sizeof e->dest_buf, &e->dest) == ERR_OK;
    e->has_id = stomp_frame_get(e->f, STOMP_H_ID, e->name_buf, sizeof e->name_buf, &e->name) == ERR_OK;
    if (e->has_id)
        return !slice_starts_with(e->name, STOMP_TEMP_PREFIX) || refuse(e, STOMP_FAULT_SUB_ID, e->name);
    if (e->durable.has_name)
        return true;
    if (s->version != STOMP_1_0 || !e->has_dest) /* STOMP 1.0 §UNSUBSCRIBE */
        return refuse(e, STOMP_FAULT_NO_ID, SLICE(""));
    e->name = e->dest;
    return !e->durable.is_asked || refuse(e, STOMP_FAULT_DURABLE_ID, SLICE(""));
}

/* key_of: of the durable subscription that the frame names, or what its key begins with. False: out of memory. */
static bool key_of(const struct ending *e, struct buf *key)
{
    struct slice name = e->durable.has_name ? e->durable.name : e->name;
    stomp_durable_key(e->c, name, e->has_dest ? &e->dest : NULL, key);
    if (!buf_is_bad(key))
        return true;
    stomp_nomem(e->c);
    return false;
}

/* is_named: does the frame mean the durable subscription `full`? key: as key_of made it. */
static bool is_named(const struct ending *e, struct slice key, struct slice full)
{
    return e->has_dest ? slice_eq(full, key) : slice_starts_with(full, key);
}

/* consumed_here: the subscription of this connection to it; NULL: there is none. */
static struct stomp_sub *consumed_here(const struct ending *e, struct slice key)
{
    struct stomp_conn *s = stomp_state(e->c);
    uint32_t pos = 0;
    for (struct stomp_sub *sub = map_next(&s->subs, &pos); sub != NULL; sub = map_next(&s->subs, &pos))
        if (sub->more_is == STOMP_MORE_DSUB && is_named(e, key, stomp_sub_more(sub)))
            return sub;
    return NULL;
}

/* end_behind: the queue behind e->sub, which was cancelled; with auto-delete it may be gone already. */
static void end_behind(struct ending *e, uint64_t receipt)
{
    struct slice name = stomp_sub_more(e->sub);
    bool is_dsub = e->sub->more_is == STOMP_MORE_DSUB;
    struct vhost *v = e->c->session->vhost;
    if (is_dsub && map_get(&v->dsubs, name) != NULL)
        broker_end_durable(e->c, name, receipt);
    else if (e->sub->more_is == STOMP_MORE_QUEUE && map_get(&v->queues, name) != NULL)
        broker_delete_queue(e->c, name, (struct queue_end){0}, receipt);
    else
        broker_barrier(e->c, receipt);
}

/* end_sub: one of this connection. */
static void end_sub(struct ending *e)
{
    uint64_t receipt;
    if (!stomp_receipt_ask(e->c, e->f, STOMP_FOR_OTHER, &receipt))
        return;
    if (e->durable.is_asked) {
        stomp_sub_cancel(e->c, e->sub, RECEIPT_NONE);
        end_behind(e, receipt);
    } else {
        stomp_sub_cancel(e->c, e->sub, receipt);
    }
    stomp_sub_remove(e->c, e->sub);
}

/* end_waiting: all of them that no consumer of this connection has. */
static void end_waiting(struct ending *e, struct slice key)
{
    struct vhost *v = e->c->session->vhost;
    const struct queue *last = NULL;
    uint64_t receipt;
    struct queue *q = e->has_dest ? map_get(&v->dsubs, key) : broker_durable_find(e->c, key);
    if (q == NULL) {
        refuse(e, STOMP_FAULT_NO_SUB, e->durable.has_name ? e->durable.name : e->name);
        return;
    }
    while (q != NULL && q != last && !conn_is_closing(e->c)) {
        last = q;
        broker_end_durable(e->c, queue_name(q), STOMP_FOR_BIND); /* nobody's, but a failure is said */
        q = e->has_dest ? NULL : broker_durable_find(e->c, key);
    }
    if (!conn_is_closing(e->c) && stomp_receipt_ask(e->c, e->f, STOMP_FOR_OTHER, &receipt))
        broker_barrier(e->c, receipt);
}

/* end_durable: not by an id of this connection. */
static void end_durable(struct ending *e)
{
    struct buf key;
    buf_init(&key, conn_mem(e->c));
    if (key_of(e, &key)) {
        e->sub = consumed_here(e, buf_slice(&key));
        if (e->sub != NULL)
            end_sub(e);
        else
            end_waiting(e, buf_slice(&key));
    }
    buf_fini(&key);
}

void stomp_unsubscribe_in(struct conn *c, const struct stomp_frame *f)
{
    struct ending e; /* not initialised as a whole: its buffers are large */
    e.c = c;
    e.f = f;
    if (!take_names(&e))
        return;
    e.sub = e.has_id || !e.durable.has_name ? stomp_sub_get(c, e.has_id, e.name) : NULL;
    if (e.sub != NULL)
        end_sub(&e);
    else if (e.durable.is_asked)
        end_durable(&e);
    else
        refuse(&e, STOMP_FAULT_NO_SUB, e.name);
}
