/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_SESSION_H
#define WEIR_CORE_SESSION_H

/*
 * session.h: who. Identity, own queue, consumers, what is in flight, will and expiry. Outlives its connection when it
 * has an expiry. Session and conn point to each other or to NULL.
 *
 * The session owns ONE send quota, ONE ticket table (packet ids) and ONE in-flight list in send order; its consumers
 * (own queue, named queues, groups) take turns for slots.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/base/slice.h"
#include "core/base/wheel.h"
#include "core/brake.h"
#include "core/close.h"
#include "core/flight.h"
#include "core/msg.h"
#include "core/queue.h"

#define SESSION_EXPIRY_NEVER UINT32_MAX

enum ack_mode {
    ACK_NONE,       /* fire and forget: settled when handed to the adapter (STOMP auto) */
    ACK_BY_QOS,     /* MQTT: QoS 0 as ACK_NONE, 1 and 2 with their handshakes */
    ACK_EACH,       /* STOMP client-individual */
    ACK_CUMULATIVE, /* STOMP client: one ack settles all earlier ones of this consumer */
};

/* What only some sessions need: those that may outlive their connection, leave a will, own queues, or are slowed down.
 * owner: session */
struct away {
    struct session *session;
    struct list owned;        /* exclusive named queues: queue_own.of_owner; they end with it */
    struct list_node holding; /* shard->holding, while hold_lsn is not durable (core/hold.c) */
    struct entry *hold_last;  /* the last in flight that hold_lsn is about */
    lsn_t hold_lsn;
    struct brake brake, bytes_brake; /* max_publish_rate, max_publish_bytes_rate */
    mono_ms paused_until, peek_at;   /* while conn->is_paused (core/conn_pause.c) */
    const struct msg *will;          /* NULL: none */
    uint32_t will_delay_s;
    mono_ms will_at, expires_at; /* while offline; 0: none */
    wall_ms since;               /* restored: when it went offline, maybe long before this life */
    bool will_is_logged;         /* the store has it */
    struct wtimer timer;         /* the sooner of the two */
};

/* Inbound QoS 2 packet ids whose PUBREL has not come: v[first .. first + n), sorted. They mostly come in rising order
 * and go from the front. */
struct rx_ids {
    uint32_t first, n, cap;
    uint16_t v[];
};

/* owner: vhost->sessions (named) or its conn (unnamed); freed: graveyard. What a delivery touches stands first. */
struct session {
    struct conn *conn;    /* NULL: offline */
    struct entry *resend; /* first in-flight entry to send again on the new connection, or whose first sending waits for
                             the disk (holds); NULL: none */
    uint32_t sent_n;      /* of the quota, used */
    uint32_t quota;       /* deliveries in flight at once on this connection */
    uint32_t expiry_s;    /* 0: ends with the connection; SESSION_EXPIRY_NEVER */
    uint32_t ticket_max;  /* 65535 for MQTT */
    struct tickets tickets;
    struct queue *queue; /* own queue; made by the first subscription or when the session outlives a conn */
    struct vhost *vhost;
    struct list inflight; /* entries, in send order */
    struct list consumers;
    struct rx_ids *rx;    /* NULL: none */
    struct away *away;    /* NULL: it ends with its connection, without a will */
    struct list_node all; /* shard->sessions, or the graveyard */
    uint64_t number;      /* never reused */
    uint32_t binding_n;
    uint16_t id_len;
    uint8_t is_dead : 1, holds : 1 /* core/hold.h */;
    uint8_t id[];
};

_Static_assert(sizeof(void *) > 8 || offsetof(struct session, id) <= 151, "an idle session has grown");

static inline struct slice session_id(const struct session *s)
{
    return slice_make(s->id, s->id_len);
}

/* session_publisher: msgview.publisher for a message with these flags: who it is, for No Local [MQTT-3.8.3-3]. That is
 * the session; for what may be retained it is the client identifier, which a later session may have again.
 * session_publisher_name: by the identifier alone. session_published: is it this session's? */
uint64_t session_publisher_name(const struct session *s);
static inline uint64_t session_publisher(const struct session *s, uint8_t flags)
{
    return LIKELY(!(flags & MSG_RETAIN)) ? s->number : session_publisher_name(s);
}
bool session_published(const struct session *s, uint64_t publisher, uint8_t flags);

/* session_new: with an id (map key in the vhost) or {NULL, 0} for one that only its conn knows. NULL: out of memory. */
struct session *session_new(struct vhost *v, struct slice id) MUST_CHECK;

/* session_attach, session_detach: join and part session and connection. detach: what was in flight from queues of its
 * own stays (to be sent again), and so does what came from others' at QoS 2; the rest goes back there; the will is
 * published or scheduled, expiry starts; a session without expiry ends. */
void session_attach(struct session *s, struct conn *c);
void session_detach(struct session *s, enum close_reason why);

/* session_away: makes sure of s->away, so that detaching cannot fail. False: out of memory. */
bool session_away(struct session *s) MUST_CHECK;

/* session_set_will: replaces the will; v is copied. ERR_NOMEM. session_drop_will: forgets it. */
enum err session_set_will(struct session *s, const struct msgview *v, uint32_t delay_s) MUST_CHECK;
void session_drop_will(struct session *s);

/* session_discard: an offline session is replaced by a clean start: a will that still waits is published, then it ends.
 */
void session_discard(struct session *s);

/* session_end: deletes its queue, cancels its consumers, requeues what others can have, drops the rest (counted),
 * publishes nothing. Freed at the turn's end. */
void session_end(struct session *s);
void session_free(struct session *s); /* the graveyard's half */

/* session_own_queue: makes the own queue with its consumer (mode ACK_BY_QOS) if there is none, and writes it down if
 * the session survives. ERR_NOMEM, ERR_STORE. */
enum err session_own_queue(struct session *s) MUST_CHECK;

/* consumer_new: joins queue and session; marks the queue for dispatch. NULL: out of memory. */
struct consumer *consumer_new(struct queue *q, struct session *s, enum ack_mode mode, uint32_t prefetch, uint8_t qos,
                              void *up) MUST_CHECK;
/* consumer_cancel: leaves the queue; c->up is forgotten. Entries in flight stay acknowledgeable, and c lives until the
 * last of them is settled; without any it is freed. An auto-delete queue without consumers is deleted. */
void consumer_cancel(struct consumer *c);
/* member_join: a consumer whose session may go offline and come back to it: of a group, or an MQTT session's of a named
 * queue. Its options are the caller's to set. Counted in binding_n. NULL: out of memory. member_get: the one of this
 * session, or NULL. It ends by consumer_cancel. */
struct consumer *member_join(struct queue *q, struct session *s) MUST_CHECK;
struct consumer *member_get(const struct queue *q, const struct session *s);

/* consumer_settled: one of its entries left the in-flight list. */
void consumer_settled(struct consumer *c);

/* session_is_durable: does it survive a restart (expiry > 0 and named)? */
bool session_is_durable(const struct session *s);

/* session_log: writes down what the session is now, online or not, or that it does not survive any more; was_durable:
 * the store knows it. session_log_will: the same for its will, if it has one. LSN to wait for, 0: nothing, LSN_FAILED.
 */
lsn_t session_log(const struct session *s, bool was_durable);
lsn_t session_log_will(struct session *s);

/* session_wake: the connection's output fell below its mark, or quota came free: mark the consumers' queues. */
void session_wake(struct session *s);

/* session_resend: continues to send again what was in flight when the former connection ended. Step 5. */
void session_resend(struct session *s);

/* session_restored: everything of a session that a restart brought back is there: it is offline since away->since, its
 * timers run from then. */
void session_restored(struct session *s);

/* session_timer: will delay or expiry came due (core/shard.c). */
void session_timer(struct away *a, mono_ms now);

/* rx_n: how many there are. rx_has, rx_add (ERR_NOMEM, ERR_FULL above `max`), rx_del (false if it was not there). */
static inline uint32_t rx_n(const struct session *s)
{
    return s->rx ? s->rx->n : 0;
}
bool rx_has(const struct session *s, uint16_t id);
enum err rx_add(struct session *s, uint16_t id, uint32_t max) MUST_CHECK;
bool rx_del(struct session *s, uint16_t id);

void session_check(const struct session *s);

#endif
