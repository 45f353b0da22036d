/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_BROKER_H
#define WEIR_CORE_BROKER_H

/*
 * broker.h: the verbs. What a protocol can ask for, in core's words. Every verb acts on the connection's own session;
 * the answer to a verb with a `receipt` is adapter->on_settled(conn, receipt, result), in the order of the verbs, once
 * the disk has what had to be there. A result other than ERR_OK means that nothing was changed.
 *
 * Receipts are opaque numbers of the adapter's; RECEIPT_NONE asks for no answer.
 * Thread: the shard's own. Input views need to live only until the verb returns.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/adapter.h"
#include "core/close.h"
#include "core/conn.h"
#include "core/exchange.h"
#include "core/msg.h"
#include "core/queue.h"
#include "core/router.h"
#include "core/session.h"
#include "core/topic.h"

#define RECEIPT_NONE UINT64_MAX

/* broker_attached: core's own: the answer to broker_attach is due (conn_pay). */
void broker_attached(struct conn *c, enum err result);

/* ---- who ---------------------------------------------------------------------------------------------------- */

struct attach {
    struct slice id; /* session identity; empty: the broker makes one up if `make_id`, else an unnamed session */
    bool make_id;
    bool clean_start;    /* an existing session with this id is ended first */
    uint32_t expiry_s;   /* 0: ends with the connection; SESSION_EXPIRY_NEVER */
    uint32_t quota;      /* deliveries in flight at once, > 0: the peer's Receive Maximum, cut by the adapter's limit */
    uint32_t ticket_max; /* 65535 for MQTT packet ids, more for delivery tags */
    bool is_anonymous;   /* no credentials were given */
    bool is_proven;      /* an exchange (core/auth.h) has proved that it is `user` */
    struct slice user, password; /* credentials, may be empty */
    const struct msgview
        *will; /* NULL: none. Copied. Its expires_at is a lifetime in ms from its publication, 0: none */
    uint32_t will_delay_s;
};

/* broker_attach: logs in: finds or makes the session, takes it over from an older connection (which is closed with
 * CLOSE_TAKEN_OVER), resumes. Answer: adapter->on_attached; on any result but ERR_OK the adapter says so and closes.
 * After on_attached, what was in flight is sent again, then what waits. When the answer waits for the store, on_bytes
 * must eat nothing more (the rest of its input comes again after on_attached). */
void broker_attach(struct conn *c, const struct attach *a);

/* broker_set_expiry: MQTT 5 DISCONNECT may change the session's expiry. ERR_PROTOCOL: from 0 to more. */
enum err broker_set_expiry(struct conn *c, uint32_t expiry_s) MUST_CHECK;

/* broker_forget_will: a normal goodbye. */
void broker_forget_will(struct conn *c);

/* ---- publish ------------------------------------------------------------------------------------------------ */

struct publish {
    struct msgview msg;        /* topic or routing key in msg.topic */
    struct exchange *exchange; /* NULL: amq.topic */
    uint64_t receipt;
    mono_ms delay_ms;   /* wait so long before it is routed (core/delayed.h); 0: now */
    uint16_t rx_id;     /* inbound QoS 2 packet id to remember, 0: none */
    bool topic_is_last; /* broker_topic_is_last or _is_known just said so: need not be compared again */
};

/* broker_publish: the message's journey: route, push, log, receipt. Results: ERR_OK; ERR_NO_MATCH (accepted, nobody
 * wanted it); ERR_FULL (refused by a queue with reject-publish, the retained limit or the store: nothing was stored
 * anywhere); ERR_TOO_BIG (too many levels, too long a topic or delay); ERR_DENIED ($SYS, an internal exchange);
 * ERR_NOT_FOUND (the exchange was deleted); ERR_UNSUPPORTED (retained, and that is switched off); ERR_NOMEM; ERR_STORE.
 * With rx_id already open: the message is a repetition, nothing is published, the receipt is answered (after the first
 * one) [MQTT-4.3.3-10]. p->msg.publisher and .exchange are filled in. */
void broker_publish(struct conn *c, struct publish *p);

/* broker_publish_shard: the same without a connection (wills, dead letters, $SYS). */
enum err broker_publish_shard(struct vhost *v, struct exchange *x, const struct msgview *m);

/* broker_publish_due: the same for a message whose delay is over; `of`: its record, 0: none. What it became and that it
 * waits no more is one record. */
enum err broker_publish_due(struct vhost *v, struct exchange *x, const struct msgview *m, lsn_t of);

/* broker_publish_dead: the same for a dead letter that leaves queue number `from`, where its record was `of` (0: none):
 * one record publishes it and settles that. Queues it would come back to in a cycle (core/dead_letter.h) are left out,
 * counted. A refusal settles `of` all the same: the caller counts. */
enum err broker_publish_dead(struct vhost *v, struct exchange *x, const struct msgview *m, uint64_t from, lsn_t of);

/* broker_refused: the queue that refused the message with ERR_FULL; NULL: something else did. For the on_settled called
 * from within the verb, and for who asks at once when the verb has returned: the next one forgets it. */
const struct queue *broker_refused(const struct conn *c);

/* broker_may_write: may a peer publish to this topic? Not to $SYS, and nowhere in an internal exchange. */
bool broker_may_write(const struct exchange *x, struct slice topic);

/* broker_rx_is_open: is this inbound QoS 2 id waiting for its PUBREL? broker_rx_n: how many are. */
bool broker_rx_is_open(const struct conn *c, uint16_t id);
uint32_t broker_rx_n(const struct conn *c);

/* broker_rx_release: PUBREL: the id is free. Result ERR_OK or ERR_NOT_FOUND (answered all the same). */
void broker_rx_release(struct conn *c, uint16_t id, uint64_t receipt);

/* broker_topic_is_last: is `topic` the one this connection published to last? broker_topic_is_known: that, or one that
 * was routed lately; then it is this connection's last one now. What is known was found valid before and need not be
 * checked again. Nothing that begins with '$' is known, for who may publish there differs. */
static inline bool broker_topic_is_last(const struct conn *c, struct slice topic)
{
    const struct route *r = c->route;
    return r && r->serial == c->route_serial && route_is_for(r, topic);
}
bool broker_topic_find(struct conn *c, struct slice topic);
static inline bool broker_topic_is_known(struct conn *c, struct slice topic)
{
    return broker_topic_is_last(c, topic) || broker_topic_find(c, topic);
}

/* ---- subscribe ---------------------------------------------------------------------------------------------- */

/* broker_check_filter: may a peer bind something to x by f? ERR_TOO_BIG: too many levels or MANYs; ERR_DENIED: a
 * wildcard below "$reply", where everybody gets the answers to his own temporary queues under a name that only he was
 * told. The verbs ask it. */
enum err broker_check_filter(const struct conn *c, const struct exchange *x, const struct filter *f) MUST_CHECK;

/* broker_subscribe: binds the session's own queue (made on the first call) to amq.topic by `filter`, or changes the
 * options of that binding. Retained messages follow by retain_handling: 0 always, 1 only if the subscription is new, 2
 * never (MQTT 5 §3.8.3.1). Results: ERR_OK, ERR_FULL (subscriptions_max), ERR_NOMEM, ERR_DENIED, ERR_STORE. */
void broker_subscribe(struct conn *c, const struct filter *f, const struct binding_opts *opts, uint64_t receipt);

/* broker_unsubscribe: ERR_OK or ERR_NOT_FOUND. Entries already queued are still delivered. */
void broker_unsubscribe(struct conn *c, const struct filter *f, uint64_t receipt);

/* broker_subscribe_group: the session becomes a member of the group that shares `filter` (MQTT $share/group/filter), or
 * changes its options. The group is a queue (known by group and filter) made by its first member and deleted
 * with its last; it is bound at QoS 2, and what is a member's own (QoS cap, retain-as-published, subscription id) lives
 * on its consumer. Members are served by credit; one whose connection is gone stays a member while its session lives,
 * and gets nothing. No retained messages. opts->no_local must be false. Results as broker_subscribe.
 * broker_unsubscribe_group: ERR_OK or ERR_NOT_FOUND. */
void broker_subscribe_group(struct conn *c, struct slice group, const struct filter *f, const struct binding_opts *opts,
                            uint64_t receipt);
void broker_unsubscribe_group(struct conn *c, struct slice group, const struct filter *f, uint64_t receipt);

/* broker_subscribe_queue: the session becomes a competing consumer of the named queue, which is declared if there is
 * none, or changes its options (qos, retain_as_published, sub_id count). It stays one while the session lives. Results
 * as broker_subscribe and broker_declare_queue. broker_unsubscribe_queue: ERR_OK or ERR_NOT_FOUND. */
void broker_subscribe_queue(struct conn *c, struct slice name, const struct binding_opts *opts, uint64_t receipt);
void broker_unsubscribe_queue(struct conn *c, struct slice name, uint64_t receipt);

struct consume {
    enum ack_mode mode;
    uint32_t prefetch; /* 0: no own limit; is_pull: deliveries asked for at once */
    bool is_pull;      /* gets what it asks for by broker_grant, and no more */
    int8_t priority;   /* higher ones are served first, while they have credit */
    uint8_t qos;       /* cap, 2 for none */
    void *up;          /* the adapter's record */
    uint64_t receipt;
};

/* broker_join: core's own: a new consumer of q as `how` says, without its receipt. NULL: out of memory. */
struct consumer *broker_join(struct conn *c, struct queue *q, const struct consume *how) MUST_CHECK;

/* broker_consume_filter: a subscription queue of its own (exclusive, auto-delete, unnamed) bound to exchange x (NULL:
 * amq.topic) by filter, consumed by this session. For STOMP /topic, /mqtt, /exchange subscriptions. Retained messages
 * follow by opts->retain_handling (0 or 2). NULL on failure; the receipt is answered in both cases: ERR_OK, ERR_NOMEM,
 * ERR_DENIED, ERR_STORE; the first delivery comes after it. */
struct consumer *broker_consume_filter(struct conn *c, struct exchange *x, const struct filter *f,
                                       const struct binding_opts *opts, const struct consume *how);

/* broker_declare_queue: finds a named queue, or makes one with the default policy (durable, not exclusive; others:
 * core/topology.h). Names: 1..255 bytes. NULL: *out_err says why: ERR_TOO_BIG, ERR_INVALID, ERR_FULL (max_queues),
 * ERR_NOMEM, ERR_DENIED. */
struct queue *broker_declare_queue(struct conn *c, struct slice name, enum err *out_err);

/* broker_consume_queue: joins the competing consumers of q. As above. */
struct consumer *broker_consume_queue(struct conn *c, struct queue *q, const struct consume *how);

/* broker_consume_group: joins a group (broker_subscribe_group) as a consumer with an ack mode of its own, until it is
 * cancelled or its session ends. No retained messages. As above. */
struct consumer *broker_consume_group(struct conn *c, struct slice group, const struct filter *f,
                                      const struct consume *how);

/* broker_grant: k (is_pull) asks for n more deliveries. drain: it gets what waits now, before the receipt, and asks for
 * nothing more if that was less. */
void broker_grant(struct conn *c, struct consumer *k, uint32_t n, bool drain, uint64_t receipt);

/* broker_browse: consumes a copy of what waits in q now, in its order, without taking anything out; then one message
 * with the flag MSG_END. As broker_consume_queue; how->mode must be ACK_NONE. ERR_FULL: more waits than
 * max_queued_messages or max_queued_bytes. */
struct consumer *broker_browse(struct conn *c, struct queue *q, const struct consume *how);

/* broker_cancel: ends a subscription; unacknowledged deliveries stay acknowledgeable. */
void broker_cancel(struct conn *c, struct consumer *k, uint64_t receipt);

/* ---- settle ------------------------------------------------------------------------------------------------- */

enum outcome {
    OUTCOME_ACK,      /* PUBACK, ACK: done */
    OUTCOME_COMPLETE, /* PUBCOMP: done; only after OUTCOME_RECEIVED */
    OUTCOME_RECEIVED, /* PUBREC: QoS 2: the message may go; on_release follows */
    OUTCOME_REQUEUE,  /* NACK: back to its original place, for anybody */
    OUTCOME_REJECT,   /* NACK requeue:false, PUBACK that says no: dead-lettered, or dropped and counted */
    OUTCOME_REFUSED,  /* PUBREC that says no, which only a first answer to QoS 2 can be: as OUTCOME_REJECT */
};

/* broker_settle: answers one delivery. ERR_NOT_FOUND: no such ticket; ERR_PROTOCOL: the ticket is not in a state for
 * this outcome (PUBACK for QoS 2, PUBCOMP before PUBREC, REQUEUE where the message was not kept): nothing was changed.
 */
enum err broker_settle(struct conn *c, uint32_t ticket, enum outcome o) MUST_CHECK;

/* broker_settle_until: cumulative: every unsettled delivery of the ticket's consumer up to and including it. */
enum err broker_settle_until(struct conn *c, uint32_t ticket, enum outcome o) MUST_CHECK;

/* broker_barrier: no change; `receipt` is answered ERR_OK when everything before it was (STOMP RECEIPT of ACK,
 * DISCONNECT). */
void broker_barrier(struct conn *c, uint64_t receipt);

#endif
