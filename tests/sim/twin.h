/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_TWIN_H
#define WEIR_TESTS_TWIN_H

/*
 * twin.h: the broker's twin: what named queues, exchanges, dead letters, delays and transactions must do, said once
 * more and as plainly as possible, without timers, pools or caches: arrays that are searched. It shares no code with
 * the broker. tests/sim/stage.h tells both the same and compares them after every step.
 *
 *     verbs (twin_send, twin_consume, twin_settle ...), in the order in which the broker hears them
 *     twin_turn_end        dead letters, who gets what: copies that must be delivered now become GOING
 *     twin_resolve         what the peers heard: exactly the GOING copies, in order, by consumers that had their turn
 *     twin_next_due, twin_fire     time
 *
 * A copy is one message in one queue. Where it goes from there is counted in stat[] under the names of core/stats.h.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/stats.h"

#define TWIN_TEXT     40u /* names and keys */
#define TWIN_DEATHS   12u
#define TWIN_ID       64u
#define TWIN_ATTEMPTS 65535u /* more are not told */

enum twin_overflow { TWIN_DROP_NEW, TWIN_DROP_HEAD, TWIN_REJECT, TWIN_REJECT_DLX };
enum twin_why { TWIN_REJECTED, TWIN_EXPIRED, TWIN_MAXLEN, TWIN_RETURNED };

struct twin_policy {
    uint64_t len_max, weight_max; /* 0: none */
    mono_ms ttl, expires, retry_min, retry_max, ack_ms;
    char dlx[TWIN_TEXT], dlk[TWIN_TEXT];
    uint32_t limit, levels;
    uint8_t overflow;
    bool has_ttl, has_dlx, has_dlk, has_limit;
    bool durable, exclusive, auto_delete, single;
};

struct twin_death {
    char queue[TWIN_TEXT], exchange[TWIN_TEXT], key[TWIN_TEXT];
    uint32_t count;
    uint8_t why; /* enum twin_why */
};

struct twin_msg {
    uint32_t number, weight; /* weight: its size in units of the limits; 0: too small to count */
    mono_ms expires_at;      /* 0: never */
    char exchange[TWIN_TEXT], key[TWIN_TEXT];
    uint8_t priority;
    uint32_t death_n;
    struct twin_death death[TWIN_DEATHS], first; /* the latest first; the first of all */
};

enum twin_state {
    TWIN_READY,
    TWIN_WAITING, /* for its next attempt */
    TWIN_GOING,   /* must be on its way to a consumer, who has not been heard yet */
    TWIN_SENT,
};

struct twin_queue;
struct twin_exchange;
struct twin_session;
struct twin_binding; /* these three: twin_in.h */
struct twin_action;
struct twin_late;

struct twin_consumer {
    struct twin_session *session;
    struct twin_queue *queue;
    uint32_t sub;      /* its id in the session */
    uint32_t prefetch; /* 0: none */
    uint32_t credit;   /* is_pull */
    uint32_t inflight;
    int priority;
    uint64_t joined, served, ready_since; /* ticks */
    bool is_pull, is_auto, is_cumulative, is_over, is_browser;
    bool drains; /* asks for nothing more after this turn */
};

struct twin_copy {
    struct twin_msg m;
    struct twin_queue *queue;
    struct twin_consumer *holder; /* SENT; GOING: to nobody else, NULL: to whose turn it is */
    uint64_t turn;                /* in which it came */
    uint64_t armed;               /* tick at which its timer was set: of two that are due, the earlier one is first */
    mono_ms expires_at;           /* 0: never */
    mono_ms due;                  /* WAITING: next attempt; SENT: the answer; 0: none */
    uint32_t attempts, returns;
    uint8_t state, level;
    bool is_dead_letter;
    bool is_early; /* handed out in the middle of a turn: who comes first may have changed since */
};

struct twin_queue {
    char name[TWIN_TEXT]; /* "": a subscription's own */
    struct twin_policy policy;
    struct twin_session *owner; /* exclusive */
    struct twin_copy **copy;    /* [copy_n], in the order in which they came */
    struct twin_copy **going;   /* [going_n], in the order of delivery */
    struct twin_consumer **consumer;
    struct twin_consumer *active;
    uint32_t copy_n, copy_cap, going_n, going_cap, consumer_n, consumer_cap;
    mono_ms unused_at; /* when it goes; 0: not */
    uint64_t unused_armed;
    bool is_dead, is_paused;
};

struct twin_exchange {
    char name[TWIN_TEXT], alternate[TWIN_TEXT];
    char kind; /* 't', 'd', 'f' */
    bool durable, auto_delete, internal, is_dead, is_builtin;
};

struct twin_held {          /* a delivery that wants an answer */
    struct twin_copy *copy; /* NULL: its answer came too late, or its queue is gone */
    struct twin_consumer *by;
    char id[TWIN_ID];
    uint32_t number;
    uint32_t tx; /* its answer waits for this COMMIT; 0: none */
};

enum twin_answer { TWIN_ACK, TWIN_NACK, TWIN_REJECT_IT };

struct twin_tx {
    uint32_t id; /* 0: free */
    struct twin_action *action;
    uint32_t n, cap;
};

struct twin_session {
    uint32_t peer;
    bool is_over, is_closing;
    struct twin_held *held; /* [held_n], in the order of delivery */
    uint32_t held_n, held_cap;
    struct twin_tx tx[4];
};

struct twin_dead {     /* dies in this turn, is published at its end */
    struct twin_msg m; /* history included */
    char exchange[TWIN_TEXT];
    uint8_t why;
};

struct twin {
    struct mem *mem;
    mono_ms now;
    uint64_t tick, turn;
    struct twin_queue **queue;
    struct twin_exchange **exchange;
    struct twin_binding *binding;
    struct twin_consumer **consumer;
    struct twin_session **session;
    struct twin_dead *dead;
    struct twin_late *late;
    uint32_t queue_n, queue_cap, exchange_n, exchange_cap, binding_n, binding_cap, consumer_n, consumer_cap, session_n,
        session_cap, dead_n, dead_cap, late_n, late_cap;
    uint64_t stat[STAT_N];  /* what the broker must have counted, of what twin_counts names */
    uint64_t closed_slack;  /* answers to deliveries of queues that are gone: counted as closed or as rejected */
    const char *refused_by; /* name of the queue that refused last */
    char why[256];
};

/* REFUSED_DLX: a dead letter was made of it: reject-publish-dlx. */
enum twin_result {
    TWIN_OK,
    TWIN_NO_MATCH,
    TWIN_REFUSED,
    TWIN_REFUSED_DLX,
    TWIN_NOT_FOUND,
    TWIN_EXISTS,
    TWIN_DENIED,
    TWIN_INVALID
};

void twin_init(struct twin *t, struct mem *mem, mono_ms now);
void twin_fini(struct twin *t);
void twin_fail(struct twin *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- topology: twin_route.c ---- */
struct twin_exchange *twin_exchange_get(struct twin *t, const char *name);
enum twin_result twin_exchange_declare(struct twin *t, const struct twin_exchange *spec);
enum twin_result twin_exchange_delete(struct twin *t, const char *name, bool if_unused);
enum twin_result twin_bind(struct twin *t, const char *from, const char *filter, const char *queue, const char *to);
enum twin_result twin_unbind(struct twin *t, const char *from, const char *filter, const char *queue, const char *to);
/* twin_spell: a key or filter as that exchange keeps it: the levels of topics are parted by slashes, other keys are
 * left alone, also when they cross over to a topic exchange through a binding; dead letters are spelled anew. */
void twin_spell(const struct twin_exchange *x, char *key);
void twin_bind_own(struct twin *t, struct twin_exchange *x, const char *filter, struct twin_queue *q);
/* twin_publish_to: the same to an exchange that was named before; it may be gone meanwhile. */
enum twin_result twin_publish_to(struct twin *t, const struct twin_exchange *to, const struct twin_msg *m);
/* twin_publish: m->exchange ("" is the default one) and m->key say where. */
enum twin_result twin_publish(struct twin *t, const struct twin_msg *m);
void twin_publish_later(struct twin *t, const struct twin_msg *m, mono_ms delay);

/* ---- queues: twin_queue.c ---- */
void twin_policy_init(struct twin_policy *p); /* of a named queue without arguments */
struct twin_queue *twin_queue_get(struct twin *t, const char *name);
struct twin_queue *twin_queue_new(struct twin *t, const char *name, const struct twin_policy *p,
                                  struct twin_session *by);
enum twin_result twin_declare(struct twin *t, const char *name, const struct twin_policy *p, bool is_given,
                              struct twin_session *by, struct twin_queue **out);
void twin_queue_delete(struct twin *t, struct twin_queue *q);
void twin_queue_used(struct twin *t, struct twin_queue *q);
uint32_t twin_queue_ready(const struct twin_queue *q);
uint32_t twin_purge(struct twin *t, struct twin_queue *q);
/* ---- sessions: twin_session.c ---- */
struct twin_session *twin_session_new(struct twin *t, uint32_t peer);
void twin_session_end(struct twin *t, struct twin_session *s);
/* twin_session_close: its connection ends in this turn: it gets nothing more, and what it has goes back behind what is
 * handed out now. */
void twin_session_close(struct twin_session *s);
struct twin_consumer *twin_consume(struct twin *t, struct twin_session *s, struct twin_queue *q,
                                   const struct twin_consumer *how);
struct twin_consumer *twin_consumer_get(struct twin *t, const struct twin_session *s, uint32_t sub);
void twin_cancel(struct twin *t, struct twin_consumer *k);
void twin_grant(struct twin *t, struct twin_consumer *k, uint32_t n);
/* twin_settle: answers s->held[i]; tx: 0 or a transaction's id. */
enum twin_result twin_settle(struct twin *t, struct twin_session *s, uint32_t i, enum twin_answer a, uint32_t tx);
enum twin_result twin_begin(struct twin *t, struct twin_session *s, uint32_t id);
enum twin_result twin_tx_send(struct twin *t, struct twin_session *s, uint32_t id, const struct twin_msg *m);
enum twin_result twin_commit(struct twin *t, struct twin_session *s, uint32_t id);
enum twin_result twin_abort(struct twin *t, struct twin_session *s, uint32_t id);

/* ---- the turn and time: twin_turn.c ---- */
void twin_turn_end(struct twin *t);
struct twin_delivery { /* as a peer heard it, in its order */
    struct twin_session *session;
    uint32_t sub, number, attempts;
    bool redelivered, wants_answer;
    char id[TWIN_ID];  /* to acknowledge it by */
    bool is_used;      /* out: it had to come */
    struct twin_msg m; /* out: what it must carry */
};
/* twin_resolve: who got the copies that are GOING? Each must be the next delivery of somebody who may have it now. */
void twin_resolve(struct twin *t, struct twin_delivery *d, uint32_t n);
mono_ms twin_next_due(const struct twin *t); /* MONO_NEVER: nothing */
void twin_fire(struct twin *t);              /* what is due at t->now */

#endif
