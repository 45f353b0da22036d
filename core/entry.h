/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_ENTRY_H
#define WEIR_CORE_ENTRY_H

/*
 * entry.h: one message in one queue.
 *
 *     queue_push ─► READY ─► SENT ─► settled                    WAITING: until its next attempt (retry delay)
 *                     ▲  ▲     │ └─► RECEIVED ─► settled        LAPSED:  the answer came too late; the message is
 *                     │  └─────┤                                         READY again in another entry
 *                  WAITING ◄───┘ requeue
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/wheel.h"
#include "core/dead_letter.h"
#include "core/msg.h"

struct queue;
struct consumer;

enum entry_state {
    ENTRY_READY,    /* waits in the queue */
    ENTRY_PAGE,     /* stands for many that wait, in a ready list: part of a struct page (core/entry_page.h) */
    ENTRY_WAITING,  /* waits for its next attempt, in queue_own.waiting */
    ENTRY_SENT,     /* in flight, unacknowledged */
    ENTRY_RECEIVED, /* QoS 2: PUBREC seen, PUBREL sent; msg is NULL */
    ENTRY_LAPSED,   /* in flight, but not answered in time: msg is NULL, only its ticket is still known */
};

/* owner: the queue (READY, WAITING), or while in flight the session; pooled. An entry that may need a timer has a
 * struct entry_timer around it (timed = 1). */
struct entry {
    struct list_node node; /* a ready list, queue_own.waiting or session->inflight */
    const struct msg *msg; /* NULL when the peer has it (RECEIVED) or another entry (LAPSED) */
    union {
        struct queue *queue;       /* READY, WAITING */
        struct consumer *consumer; /* in flight; it may be cancelled meanwhile */
    } at;
    uint64_t seq;      /* order in the queue; kept when requeued */
    lsn_t lsn;         /* of the publish in the store; 0: not logged */
    uint32_t ticket;   /* while in flight: packet id or delivery tag */
    uint32_t set;      /* binding-set number in the queue */
    uint16_t attempts; /* deliveries so far, saturating */
    uint16_t returns;  /* how often it came back, saturating: what x-delivery-limit counts */
    uint8_t qos;       /* effective delivery QoS */
    uint8_t state;     /* enum entry_state */
    uint8_t sent_qos;  /* while in flight: what it was sent with (the consumer may cap it) */
    uint8_t timed : 1, counted : 1 /* uses up the session's send quota */, retained : 1 /* from a retained replay */,
        by_qos : 1 /* while in flight: acknowledged by MQTT's handshakes */,
        in_tx : 1 /* while in flight: its answer waits for a COMMIT */,
        in_unit : 1 /* of a transaction: it may not leave before the disk has all of it */,
        held : 1 /* in flight, but not sent yet: it waits for the disk (core/hold.h) */;
};

struct entry_timer {
    struct wtimer timer; /* READY: expires_at; WAITING: the next attempt or expires_at; SENT: the answer is due */
    mono_ms expires_at;  /* of the message, or by the queue's TTL, whichever is sooner; 0: never */
    struct entry entry;
};

static inline struct entry_timer *entry_timer(struct entry *e)
{
    return CONTAINER_OF(e, struct entry_timer, entry);
}

/* entry_is_expired: by its own expiry or the queue's TTL. */
static inline bool entry_is_expired(const struct entry *e, mono_ms now)
{
    if (LIKELY(!e->timed))
        return false;
    mono_ms at = CONTAINER_OF(e, const struct entry_timer, entry)->expires_at;
    return at != 0 && at <= now;
}

static inline bool entry_in_queue(const struct entry *e)
{
    return e->state <= ENTRY_WAITING;
}

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
#define SET_COPIED  2u /* of what queue_copy makes */

struct push {
    uint32_t set;  /* binding-set number */
    uint8_t qos;   /* effective */
    bool retained; /* from a retained replay */
    bool in_unit;  /* published in a transaction */
    lsn_t lsn;     /* of the publish, 0: not logged for this queue */
    wall_ms at;    /* since when it waits, maybe long before this life (core/store.h); 0: now */
};

/* entry_push: a ready entry at the end, which holds m. NULL: out of memory. */
struct entry *entry_push(struct queue *q, const struct msg *m, const struct push *how) MUST_CHECK;

/* entry_take_up: a ready entry is in flight to c again, as it was before a restart, under this ticket; is_received: the
 * peer has it. c's session is offline. False: out of memory (it stays ready), or the ticket is in use. */
bool entry_take_up(struct entry *e, struct consumer *c, uint32_t ticket, bool is_received) MUST_CHECK;

/* queue_first: the entry that is served next, queue_lowest: the oldest of those served last; NULL: none is ready.
 * Either may be a page. queue_level_of: the level at which a message is served: its priority, cut to the queue's.
 * entry_level: the level a ready entry or page stands at. */
struct entry *queue_first(const struct queue *q);
struct entry *queue_lowest(const struct queue *q);
unsigned entry_level(const struct entry *e);
unsigned queue_level_of(const struct queue *q, const struct msg *m);

/* entry_settle: ends an entry for good (acknowledged, dropped): unlinks, drops the message, frees. The caller counts.
 */
void entry_settle(struct entry *e);

/* entry_leave_ready: off the ready list, with its count. */
void entry_leave_ready(struct entry *e);

/* For core/entry_page.c. queue_ready_list: that of a level (0 without priorities). queue_left: n messages with so many
 * bytes have left it. entry_pack: e becomes part of a page: freed, while its message still counts as ready.
 * entry_unpack: the way back, in front of `before`; the entry holds what was the caller's reference on m. NULL: out of
 * memory, and m is the caller's still. */
struct page_item;
struct list *queue_ready_list(struct queue *q, unsigned level);
void queue_left(struct queue *q, unsigned level, uint32_t n, uint64_t bytes);
void entry_pack(struct entry *e);
struct entry *entry_unpack(struct queue *q, const struct msg *m, const struct page_item *it,
                           struct list_node *before) MUST_CHECK;

/* entry_die: ends an entry that nobody had: dead-lettered if its queue has an exchange for that, else counted and
 * dropped. Of a page its first. */
void entry_die(struct entry *e, enum death why);

/* queue_entry_timer: the entry's timer fired (core/shard.c): its time is over, its next attempt is due, or its answer
 * did not come: then the message goes back to the queue, and what the consumer says later changes nothing. */
void queue_entry_timer(struct entry *e);

/* queue_await: an entry in flight has to be answered within the queue's ack timeout from now on. */
void queue_await(struct entry *e);

/* queue_requeue: puts an in-flight entry back at its original place. failed: its consumer said no, so it may have to
 * wait for its next attempt; else the consumer just left. Beyond the delivery limit it dies. */
void queue_requeue(struct entry *e, bool failed);

/* queue_take_back: an entry that is held goes back to its original place: as if it had never left. */
void queue_take_back(struct entry *e);

/* queue_log_settle: the store's record of this publish (0: none) is done with, as far as q is concerned. */
void queue_log_settle(struct queue *q, lsn_t lsn);

#endif
