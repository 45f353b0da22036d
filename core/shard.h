/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_SHARD_H
#define WEIR_CORE_SHARD_H

/*
 * shard.h: everything one loop thread owns, and the turn. There are no mutable globals: whoever needs something finds
 * it here. Another thread reaches a shard only by posting a letter to its mailbox.
 *
 * shard_turn():  1 open letters → 2 ready connections: read, decode, route → 3 expired timers → 4 store_submit
 *                → 5 dispatch dirty queues, flush dirty connections → 6 free what was closed
 *
 * Nothing is freed in 1-5, so no walk is pulled from under itself. Bytes leave in 5 (and between two messages once a
 * turn has produced flush_bytes_turn).
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/chunk.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mailbox.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/outv.h"
#include "core/base/pool.h"
#include "core/base/rng.h"
#include "core/base/wheel.h"
#include "core/close.h"
#include "core/dead_letter.h"
#include "core/delayed.h"
#include "core/limits.h"
#include "core/loop.h"
#include "core/memory.h"
#include "core/msg.h"
#include "core/queue.h"
#include "core/retained.h"
#include "core/router.h"
#include "core/stats.h"
#include "core/store.h"

struct auth;
struct conn;
struct exchange;
struct sys;

/* Accounts of the shard's heap. */
/* clang-format off */
#define MEM_LIST(X) \
    X(SHARD, "shard") \
    X(CONN, "connections") \
    X(BUFFER, "buffers") \
    X(ADAPTER, "adapters") \
    X(SESSION, "sessions") \
    X(QUEUE, "queues") \
    X(ENTRY, "entries") \
    X(MSG, "messages") \
    X(ROUTER, "router") \
    X(RETAINED, "retained") \
    X(STORE, "store") \
    X(LOOP, "loop") \
    X(TRANSPORT, "transports") \
    X(APP, "app")
/* clang-format on */

enum mem_account {
#define X(name, text) MEM_##name,
    MEM_LIST(X)
#undef X
        MEM_N
};

/* A virtual host: its own router, queues, retained set. owner: shard */
struct vhost {
    struct shard *shard;
    struct router router;
    struct retained retained;
    struct map exchanges, queues, sessions; /* by name, by name, by id */
    struct map groups;                      /* shared queues, by "group/filter" */
    struct map dsubs;                       /* durable subscriptions, by key */
    struct map members;                     /* consumers with is_member, by queue and session */
    struct delayed delayed;
    struct dead_letters dead_letters;
    uint32_t exchange_next; /* number of the next exchange */
    struct list queues_all;
    struct exchange *default_exchange; /* "": a key is a queue's name */
    struct exchange *topic_exchange;   /* amq.topic */
    struct queue_policy policy_session, policy_subscription, policy_group, policy_named; /* defaults, from the limits */
    uint8_t name_len;
    char name[64];
};

struct shard_config {
    struct loop *loop;     /* borrowed */
    struct log *log;       /* borrowed */
    struct mem_heap *heap; /* borrowed; the shard's accounts hang off it */
    struct store *store;   /* borrowed, not opened yet; NULL: nothing survives, nothing is logged */
    struct limits limits;
    uint64_t ram_bytes; /* of the machine, for the memory marks; 0: unknown */
    uint64_t seed;      /* tables and generated names; the simulator's seed */
    struct auth *auth;  /* borrowed: who can prove who they are (core/auth.h); NULL: nobody */
    const char
        *response_information; /* borrowed: MQTT 5 Response Information, %c stands for the client id; NULL: none */
    uint32_t sys_interval_s;   /* seconds between two updates of $SYS; 0: there is no $SYS */
    bool session_drop_head;    /* a full session queue drops its oldest message, not the new one */
    bool check_payload_format; /* payloads that claim to be UTF-8 must be */
    bool retain_available;     /* false: retained publishes are refused */
    uint8_t
        topic_dialect; /* what separates levels in STOMP's /topic/ (enum stomp_dialect): 0 '.' and '/', 1 '.', 2 '/' */
    bool stomp_persistent;  /* SEND without persistent: is persistent */
    bool stomp_strict_host; /* CONNECT with another host: than "/" or this broker's names is refused */
    bool queue_qos0;        /* mosquitto's queue_qos0_messages: QoS 0 waits for offline sessions too */
};

struct shard {
    struct loop *loop;
    struct log *log;
    struct mem_heap *heap;
    struct mem mem[MEM_N];
    struct limits limits;
    struct shard_config config;
    struct stats stats;
    struct memory memory;
    uint64_t close_n[CLOSE_N]; /* connections ended, by reason */
    struct rng rng;
    uint64_t seed;

    struct vhost *vhost; /* the default one, and for now the only one */
    struct sys *sys;     /* $SYS; NULL: switched off */
    struct wheel wheel;
    struct mailbox mailbox;
    struct chunk_pool chunks;
    struct outv_pool outvs;
    struct msg_pool msgs;
    struct pool entries, timed_entries, conn_pool;

    struct list conns, sessions; /* all */
    struct list owing;           /* owed_rings of connections that wait for the store */
    struct conn *ready_first, *ready_last;
    struct conn *dirty_first, *dirty_last;
    struct queue *dirty_queue_first, *dirty_queue_last;
    struct list dead_conns, dead_sessions, dead_queues; /* graveyard */

    struct store *store;
    lsn_t lsn_last, lsn_durable;
    mono_ms store_due;        /* when the store wants to be called again */
    struct queue *unit_first; /* queues whose first entry waits for the disk (core/dispatch.c) */
    struct list holding;      /* sessions whose deliveries wait for the disk: struct away, holding */
    bool store_failed;
    struct store_target *store_target; /* scratch of the record being made */
    uint32_t store_target_n, store_target_cap;
    bool owes_later;    /* a receipt waits for LSN_LATER */
    bool store_is_live; /* each of these has somebody who takes it now */

    mono_ms now;         /* of this turn */
    struct ref *reading; /* while an adapter's on_bytes runs: the chunk its input lies in */
    mono_ms timer_set;
    uint64_t turn_out;    /* bytes that output holds since the last flush: copies, kept messages, input referred to */
    uint32_t dirty_n;     /* connections on the dirty list */
    uint64_t number_next; /* for conns, sessions, queues */
    const struct queue *refused; /* broker_refused */
    bool is_stopping;
    bool is_freeing; /* shard_free: what ends now did not end for the store */
    mono_ms stop_grace_ms;
    bool in_flush;
    void (*on_stopped)(void *ctx); /* after shard_stop: every connection is gone */
    void *on_stopped_ctx;
};

/* shard_new: the loop's on_turn is set. Opens the store. NULL when out of memory or when the store will not open
 * (logged); the store is closed then. */
struct shard *shard_new(const struct shard_config *config) MUST_CHECK;

/* shard_free: drops every connection, session, queue and message; the heap's accounts are empty afterwards (BUG_ON in
 * debug builds). Closes the store. The loop must not run. */
void shard_free(struct shard *s);

/* shard_turn: one turn; true when work is left. Called by the loop. */
bool shard_turn(struct shard *s);

/* shard_stop: asks every connection to end with CLOSE_SHUTDOWN; on_stopped is called in the turn in which the last one
 * is gone, at the latest after `grace_ms`. */
void shard_stop(struct shard *s, mono_ms grace_ms, void (*on_stopped)(void *ctx), void *ctx);

/* shard_flush_some: dispatches what waits and sends it, for the middle of a turn that made much output. Ends nobody. */
void shard_flush_some(struct shard *s);

/* shard_should_flush: so much output was made that the broker flushes before it routes the next message. With many
 * receivers more is allowed, up to eight times as much, for many small sends cost more than a few larger ones. */
static inline bool shard_should_flush(const struct shard *s)
{
    enum { SEND_BYTES = 4096, TIMES_MAX = 8 };
    uint64_t min = s->limits.flush_bytes_turn;
    return s->turn_out >= min && s->turn_out >= MIN((uint64_t)s->dirty_n * SEND_BYTES, min * TIMES_MAX);
}

/* shard_append: a record for the store; returns its LSN, 0 when there is no store (nothing to wait for). A failed store
 * gives LSN_FAILED. */
#define LSN_FAILED UINT64_MAX

/* LSN_LATER: for conn_owe: of a record that is appended before this turn's batch is submitted. */
#define LSN_LATER (UINT64_MAX - 1)
lsn_t shard_append(struct shard *s, const struct store_rec *rec);

/* shard_unit_end: ends what a STORE_TX began: it counts, or is void; where its end cannot be noted, it is void and
 * *counts says so. Returns as shard_append. LSN_FAILED: it is neither, and whatever came behind it would be part of it:
 * the store is given up. */
lsn_t shard_unit_end(struct shard *s, bool *counts);

/* shard_lsn_so_far: what a verb waits for that relies on earlier ones, whose own records, if they need any, are its
 * business: everything appended so far. Once the store has failed, nothing: what was under way then has been told. */
static inline lsn_t shard_lsn_so_far(const struct shard *s)
{
    return s->store_failed ? 0 : s->lsn_last;
}

/* shard_store_target: one more target for the record being made: q with this binding set, or NULL: a message that
 * waits for its delay. False when out of memory. Good until q's sets change. */
bool shard_store_target(struct shard *s, const struct queue *q, uint32_t set);

/* shard_mark_dirty, shard_mark_ready: put on the turn's lists, once. */
void shard_mark_dirty(struct shard *s, struct conn *c);
void shard_mark_ready(struct shard *s, struct conn *c);

/* What contains a timer (wtimer.kind), so that step 3 knows whom to call. */
/* clang-format off */
enum timer_kind { TIMER_CONN, TIMER_SESSION, TIMER_ENTRY, TIMER_RETAINED, TIMER_DELAYED, TIMER_SYS, TIMER_QUEUE,
                  TIMER_MEMORY };
/* clang-format on */

/* shard_arm: (re)arms; MONO_NEVER disarms. */
void shard_arm(struct shard *s, struct wtimer *t, enum timer_kind kind, mono_ms due);

static inline struct mem *shard_mem(struct shard *s, enum mem_account a)
{
    return &s->mem[a];
}

/* vhost_new, vhost_free: with the built-in exchanges. */
struct vhost *vhost_new(struct shard *s, struct slice name) MUST_CHECK;
void vhost_free(struct vhost *v);

/* shard_check: asserts the invariants of everything; for tests. */
void shard_check(struct shard *s);

#endif
