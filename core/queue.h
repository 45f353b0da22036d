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
#include "core/dead_letter.h"
#include "core/entry.h"
#include "core/msg.h"
#include "core/queue_policy.h"
#include "core/stats.h"

struct shard;
struct vhost;
struct session;
struct consumer;
struct conn;
struct replay;
struct queue_pages;
struct delivery;

/* Queue ↔ session: who gets what waits in the queue. owner: session->consumers. core/session.h has its verbs. */
struct consumer {
    struct list_node in_queue;   /* queue->consumers */
    struct list_node in_session; /* session->consumers */
    struct queue *queue;
    struct session *session;
    void *up;          /* the adapter's own subscription record, or NULL */
    uint32_t prefetch; /* unacknowledged deliveries allowed, 0: only the session's quota counts; is_pull: how many more
                          deliveries it has asked for */
    uint32_t inflight_n;
    uint32_t sub_id;          /* of a member of a shared queue; 0: none */
    uint8_t qos;              /* cap */
    uint8_t mode;             /* enum ack_mode */
    int8_t priority;          /* higher ones are served first, while they have credit */
    uint8_t is_pull : 1;      /* gets what it asks for (broker_grant) */
    uint8_t is_held : 1;      /* no deliveries yet: the receipt of its subscription still waits */
    uint8_t is_cancelled : 1; /* left queue and session; lives until its last delivery is settled */
    uint8_t is_seated : 1;    /* lives in its queue's block (queue_seat) */
    uint8_t is_member : 1;    /* an MQTT session's share in a group or named queue: its own sub_id and the next hold */
    uint8_t retain_as_published : 1;
    uint8_t is_away : 1;   /* its session is offline: not in queue->consumers */
    uint8_t is_parked : 1; /* a member without credit: the same, until its session wakes */
};

static inline struct queue *entry_queue(const struct entry *e)
{
    return entry_in_queue(e) ? e->at.queue : e->at.consumer->queue;
}

/* Ready entries of a queue with priorities, by level. */
struct levels {
    uint64_t used[4];    /* bit per level that has entries */
    struct list level[]; /* priority_max + 1 */
};

/* What a queue with a policy of its own has besides. owner: the queue */
struct queue_own {
    struct queue_policy policy; /* first: queue->policy points here */
    struct queue *queue;
    struct wtimer unused;      /* expires_ms since it was last used */
    struct list_node of_owner; /* away->owned of the session that an exclusive named queue belongs to */
    struct list waiting;       /* entries that wait for their next attempt, in no order */
    struct consumer *active;   /* single active consumer; NULL: the next one who has credit */
    struct levels *levels;     /* NULL: no priorities */
    uint32_t waiting_n;
    uint8_t bytes[]; /* dead_exchange · dead_key */
};

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
    uint64_t number;           /* never reused */
    struct queue_pages *pages; /* NULL: it never had to; core/entry_page.h */
    struct queue *dirty_next;  /* shard's list of queues to dispatch */
    struct queue *unit_next;   /* shard's list of queues whose first entry waits for the disk (entry.in_unit) */
    struct list bindings;
    struct list_node all; /* vhost->queues_all, or the graveyard */
    struct replay *replay_last;
    uint8_t *name; /* named queues and groups; NULL otherwise: no destination can spell those */
    uint32_t name_len;
    uint32_t walk; /* router->walk of the last match that met this queue */
    uint16_t set_n;
    uint8_t is_dirty : 1, is_dead : 1, own_policy : 1, has_seat : 1,
        is_group : 1 /* a shared subscription: name is its key in vhost->groups */,
        is_dsub : 1 /* a durable subscription: name is its key in vhost->dsubs */,
        is_logged : 1 /* a group: the store has it */, is_paused : 1 /* nothing is delivered */,
        needs_timer : 1 /* every entry has a timer */, awaits_unit : 1 /* on shard->unit_first */;
    uint32_t away_n;   /* members that are away or parked: not in consumers */
    uint32_t lapsed_n; /* of inflight_n: deliveries whose message is somebody else's */
};

static inline struct slice queue_name(const struct queue *q)
{
    return slice_make(q->name, q->name_len);
}

static inline struct queue_own *queue_own(const struct queue *q)
{
    return q->own_policy ? CONTAINER_OF(q->policy, struct queue_own, policy) : NULL;
}

static inline struct levels *queue_levels(const struct queue *q)
{
    return UNLIKELY(q->own_policy) ? queue_own(q)->levels : NULL;
}

/* queue_is_open_to: may this session use it for more than publishing? */
static inline bool queue_is_open_to(const struct queue *q, const struct session *s)
{
    return !q->policy->exclusive || q->owner == s;
}

/* queue_times: does an entry of m in q have a timer? */
static inline bool queue_times(const struct queue *q, const struct msg *m)
{
    return m->expires_at != 0 || q->needs_timer;
}

/* queue_new: name {NULL, 0} for an unnamed one. `policy` must outlive the queue unless copy_policy, which also makes
 * its queue_own: needed for whatever is there. An exclusive named queue belongs to owner (session_away must have been
 * made). NULL: out of memory. */
struct queue *queue_new(struct vhost *v, struct slice name, const struct queue_policy *policy, bool copy_policy,
                        struct session *owner) MUST_CHECK;

/* queue_new_group: a shared subscription, found by key in vhost->groups; policy must outlive it. NULL: out of memory.
 */
struct queue *queue_new_group(struct vhost *v, struct slice key, const struct queue_policy *policy) MUST_CHECK;

/* queue_new_dsub: a durable subscription, found by key in vhost->dsubs; policy is copied. NULL: out of memory. */
struct queue *queue_new_dsub(struct vhost *v, struct slice key, const struct queue_policy *policy) MUST_CHECK;

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

/* queue_copy: pushes every ready message to `to` as well, in order; returns how many. */
uint64_t queue_copy(const struct queue *q, struct queue *to);

/* queue_used: somebody declared or consumed it, or its last consumer left: x-expires counts from here. queue_unused:
 * that time is over: it is deleted. */
void queue_used(struct queue *q);
void queue_unused(struct queue_own *own);

/* queue_pause: nothing is delivered until queue_resume; publishing goes on. */
void queue_pause(struct queue *q);
void queue_resume(struct queue *q);

/* queue_purge: drops all entries that are not in flight, counted as `why`; returns how many. */
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

/* queue_deliver_now: the first ready entry, to whoever has credit now. False: nobody has; it stays. */
bool queue_deliver_now(struct queue *q, struct entry *e) MUST_CHECK;
/* queue_units_durable: the disk has more than before: queues that waited for that are looked at again. */
void queue_units_durable(struct shard *s);

/* queue_line_up: c joins the list of q's consumers, behind those of its priority. */
void queue_line_up(struct queue *q, struct consumer *c);
/* queue_deliver_again: an in-flight entry, after a resume: same ticket, a repetition if it was sent before. */
void queue_deliver_again(struct entry *e);

/* queue_has_taker: is there a consumer with credit? */
bool queue_has_taker(const struct queue *q);

/* queue_dispatch: hands ready entries to consumers with credit, in rotation, until one side runs out. Step 5 only.
 * queue_dispatch_ready: the same for what waits now; retained messages that still have to come are not fed in. */
void queue_dispatch(struct queue *q);
void queue_dispatch_ready(struct queue *q);

/* queue_check: asserts the invariants; for tests. */
void queue_check(const struct queue *q);

#endif
