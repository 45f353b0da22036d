/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_QUEUE_H
#define WEIR_CORE_QUEUE_H

/*
 * queue.h: everything a message can wait in: an MQTT session's queue, a STOMP topic subscription, a named queue, later
 * a shared group. They differ in policy and owner only.
 *
 *     push ─► [ready entries, in order] ─► dispatch ─► a consumer with credit ─► in flight (session's list)
 *                    ▲                                                              │ ack: settled, gone
 *                    └────────────────── requeue at the original place ◄───────────┘ nack
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/slice.h"
#include "core/base/wheel.h"
#include "core/msg.h"
#include "core/stats.h"

struct vhost;
struct session;
struct consumer;
struct conn;
struct replay;
struct delivery;

enum queue_overflow { OVERFLOW_DROP_NEW, OVERFLOW_DROP_HEAD, OVERFLOW_REJECT };

struct queue_policy {
    uint64_t bytes_max; /* 0: none */
    uint64_t len_max;   /* 0: none */
    enum queue_overflow overflow;
    bool durable;     /* survives a restart */
    bool exclusive;   /* one session owns and consumes it */
    bool auto_delete; /* dies with its last consumer */
    bool keep_qos0;   /* QoS 0 messages wait while nobody is online (named queues; not MQTT sessions) */
};

enum entry_state {
    ENTRY_READY,    /* waits in the queue */
    ENTRY_SENT,     /* in flight, unacknowledged */
    ENTRY_RECEIVED, /* QoS 2: PUBREC seen, PUBREL sent; msg is NULL */
};

/* Queue ↔ session: who gets what waits in the queue. owner: session->consumers. core/session.h has its verbs. */
struct consumer {
    struct list_node in_queue;   /* queue->consumers */
    struct list_node in_session; /* session->consumers */
    struct queue *queue;
    struct session *session;
    void *up;          /* the adapter's own subscription record, or NULL */
    uint32_t prefetch; /* unacknowledged deliveries allowed; 0: only the session's quota counts */
    uint32_t inflight_n;
    uint32_t sub_id;          /* of a member of a shared queue; 0: none */
    uint8_t qos;              /* cap */
    uint8_t mode;             /* enum ack_mode */
    uint8_t is_held : 1;      /* no deliveries yet: the receipt of its subscription still waits */
    uint8_t is_cancelled : 1; /* left queue and session; lives until its last delivery is settled */
    uint8_t is_seated : 1;    /* lives in its queue's block (queue_seat) */
    uint8_t is_member : 1;    /* an MQTT session's share in a group or named queue: its own sub_id and the next hold */
    uint8_t retain_as_published : 1;
    uint8_t is_away : 1;   /* its session is offline: not in queue->consumers */
    uint8_t is_parked : 1; /* a member without credit: the same, until its session wakes */
};

/* One message in one queue. owner: the queue, or while in flight the session; pooled. An entry with an expiry has a
 * struct entry_timer in front of it (timed = 1). */
struct entry {
    struct list_node node; /* queue->ready or session->inflight */
    const struct msg *msg; /* NULL when the peer has it (RECEIVED) */
    union {
        struct queue *queue;       /* ready */
        struct consumer *consumer; /* in flight; it may be cancelled meanwhile */
    } at;
    uint64_t seq;     /* order in the queue; kept when requeued */
    lsn_t lsn;        /* of the publish in the store; 0: not logged */
    uint32_t ticket;  /* while in flight: packet id or delivery tag */
    uint32_t set;     /* binding-set number in the queue */
    uint8_t qos;      /* effective delivery QoS */
    uint8_t state;    /* enum entry_state */
    uint8_t attempts; /* deliveries so far, saturating */
    uint8_t sent_qos; /* while in flight: what it was sent with (the consumer may cap it) */
    uint8_t timed : 1, counted : 1 /* uses up the session's send quota */, retained : 1 /* from a retained replay */,
        by_qos : 1 /* while in flight: acknowledged by MQTT's handshakes */;
};

static inline struct queue *entry_queue(const struct entry *e)
{
    return e->state == ENTRY_READY ? e->at.queue : e->at.consumer->queue;
}

struct entry_timer {
    struct wtimer timer;
    struct entry entry;
};

/* Which bindings a message came through, merged: interned per queue, referred to by number. */
struct binding_set {
    uint64_t gen;  /* router generation that last used it: may be reused when older and unused */
    uint32_t refs; /* entries that refer to it */
    uint8_t qos;
    uint8_t retain_as_published;
    uint16_t sub_id_n;
    uint32_t *sub_id; /* sorted, sub_id_n */
};

/* Sets without subscription ids need no memory: numbers 0..5 mean {qos = n % 3, retain-as-published = n / 3}. */
#define SET_PLAIN_N 6u

/* owner: vhost; freed: graveyard (queue_delete only marks and unlinks). What a delivery touches stands first. */
struct queue {
    struct list consumers; /* who is online (its owner always); rotates: the first is served next */
    struct session *owner; /* exclusive queues */
    struct replay *replay; /* retained messages still to be fed in; core/replay.h */
    const struct queue_policy *policy;
    struct vhost *vhost;
    uint32_t ready_n, inflight_n;
    struct binding_set *set; /* interned sets, number = index + SET_PLAIN_N */
    struct list ready;       /* entries, by seq */
    uint64_t bytes;          /* of the ready entries */
    uint64_t seq_next;
    uint64_t number;          /* never reused */
    struct queue *dirty_next; /* shard's list of queues to dispatch */
    struct list bindings;
    struct list_node all; /* vhost->queues_all, or the graveyard */
    struct replay *replay_last;
    uint8_t *name; /* named queues and groups; NULL otherwise: no destination can spell those */
    uint32_t name_len;
    uint32_t walk; /* router->walk of the last match that met this queue */
    uint16_t set_n;
    uint8_t is_dirty : 1, is_dead : 1, own_policy : 1, has_seat : 1,
        is_group : 1 /* a shared subscription: name is its key in vhost->groups */,
        is_logged : 1 /* a group: the store has it */;
    uint32_t away_n; /* members that are away or parked: not in consumers */
};

static inline struct slice queue_name(const struct queue *q)
{
    return slice_make(q->name, q->name_len);
}

/* queue_new: name {NULL, 0} for an unnamed one. `policy` must outlive the queue unless copy_policy. NULL: out of
 * memory. */
struct queue *queue_new(struct vhost *v, struct slice name, const struct queue_policy *policy, bool copy_policy,
                        struct session *owner) MUST_CHECK;

/* queue_new_group: a shared subscription, found by key in vhost->groups; policy must outlive it. NULL: out of memory.
 */
struct queue *queue_new_group(struct vhost *v, struct slice key, const struct queue_policy *policy) MUST_CHECK;

/* queue_is_deserted: nobody consumes it, online or not. */
static inline bool queue_is_deserted(const struct queue *q)
{
    return list_is_empty(&q->consumers) && q->away_n == 0;
}

/* queue_is_durable: does what waits here survive a restart? queue_is_watched: is anybody online who consumes it? */
bool queue_is_durable(const struct queue *q);
bool queue_is_watched(const struct queue *q);

/* queue_seat: the room that an exclusive queue has behind it for its owner's consumer; NULL: taken, or q has none. */
struct consumer *queue_seat(struct queue *q);

/* queue_delete: unbinds, cancels its consumers, counts and drops what waited (as DROP_CLOSED); freed at the turn's end.
 */
void queue_delete(struct queue *q);

/* queue_free: the graveyard's half. */
void queue_free(struct queue *q);

/* queue_would_refuse: is q at a limit with overflow reject-publish? `bytes` is the size of the message to come. */
bool queue_would_refuse(const struct queue *q, uint64_t bytes);

struct push {
    uint32_t set;  /* binding-set number */
    uint8_t qos;   /* effective */
    bool retained; /* from a retained replay */
    lsn_t lsn;     /* of the publish, 0: not logged for this queue */
};

/* queue_push: adds a message at the end; holds it. Applies the limits: a message dropped by policy (or for want of
 * memory) is counted, and its logged copy settled; that is no error. Marks the queue for dispatch. */
void queue_push(struct queue *q, const struct msg *m, const struct push *how);

/* queue_is_over: would one more message of `bytes` break a limit? queue_is_half: are half of the limits used? */
bool queue_is_over(const struct queue *q, uint64_t bytes);
bool queue_is_half(const struct queue *q);

/* queue_mark: puts q on the shard's list of queues to dispatch this turn, if anything waits in it and anybody consumes.
 */
void queue_mark_waiting(struct queue *q);
static inline void queue_mark(struct queue *q)
{
    if (q->ready_n != 0 || q->replay)
        queue_mark_waiting(q);
}

/* queue_requeue: puts an in-flight entry back at its original place. */
void queue_requeue(struct entry *e);

/* entry_settle: ends an entry for good (acknowledged, dropped, expired): unlinks, drops the message, frees. */
void entry_settle(struct entry *e);

/* entry_leave_ready: off queue->ready, with its count. */
void entry_leave_ready(struct entry *e);

/* queue_expire: the entry's timer fired (core/shard.c): a ready entry is dropped and counted; one in flight is left. */
void queue_expire(struct entry *e);

/* queue_purge: drops all ready entries, counted as `why`; returns how many. */
uint64_t queue_purge(struct queue *q, enum stat_id why);

/* queue_set_intern: the number of a binding set; UINT32_MAX when out of memory. sub_id[n] sorted. */
uint32_t queue_set_intern(struct queue *q, uint8_t qos, bool retain_as_published, const uint32_t *sub_id, uint16_t n);

/* queue_set_get: the set with this number. */
extern const struct binding_set queue_plain_set[SET_PLAIN_N];
static inline const struct binding_set *queue_set_get(const struct queue *q, uint32_t number)
{
    return LIKELY(number < SET_PLAIN_N) ? &queue_plain_set[number] : &q->set[number - SET_PLAIN_N];
}

/* ---- core/dispatch.c: from the queue to its consumers ---- */

/* queue_deliver_direct: hands a message past the queue to its only consumer, without keeping it: if that is online, has
 * credit and will never ask for it again (no acknowledgement, or a session that ends with its connection), and if
 * nothing waits. d has msg and now, and is else zero: it serves for one receiver after the other. False: nothing was
 * sent. */
bool queue_deliver_direct(struct queue *q, struct delivery *d, uint32_t set, uint8_t qos) MUST_CHECK;

/* queue_deliver_again: an in-flight entry, after a resume: same ticket, marked as a repetition. */
void queue_deliver_again(struct entry *e);

/* queue_has_taker: is there a consumer with credit? */
bool queue_has_taker(const struct queue *q);

/* queue_dispatch: hands ready entries to consumers with credit, in rotation, until one side runs out. Step 5 only. */
void queue_dispatch(struct queue *q);

/* queue_dispatch_ready: the same for what waits now; retained messages that still have to come are not fed in. */
void queue_dispatch_ready(struct queue *q);

/* queue_check: asserts the invariants; for tests. */
void queue_check(const struct queue *q);

#endif
