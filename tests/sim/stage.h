/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_STAGE_H
#define WEIR_TESTS_STAGE_H

/*
 * stage.h: the broker and its twin (twin.h) on one stage. STOMP peers act one after the other: each act goes to the
 * twin verb by verb and to the broker as bytes; then everything comes to rest within the same millisecond, and both
 * must agree: what every peer heard, what lies in every queue in which order, which queues there are, what was counted.
 * Then time passes, to the millisecond before something is due, when nothing may have changed, and to that millisecond.
 *
 *     act ─┬─► frames ─► broker ─► what the peers hear ─┬─► stage_check
 *          └─► verbs  ─► twin ─────────────────────────┘
 *
 * The network loses nothing here, so that nothing is left to chance; world.h is where everything goes wrong at once.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/conn.h"
#include "core/shard.h"
#include "tests/sim/loop_sim.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/store_sim.h"
#include "tests/sim/twin.h"

enum { STAGE_PEERS = 5, STAGE_HEADERS = 40, STAGE_WEIGHT_BYTES = 4000, STAGE_NAMES = 6 };

struct stage;

struct stage_header {
    char name[48], value[208];
};

/* One frame that a peer heard. owner: the peer */
struct stage_frame {
    char command[16];
    uint32_t header_n;
    struct stage_header header[STAGE_HEADERS];
    uint8_t *body;
    size_t body_len;
};

/* An answer that must come, in order. */
struct stage_expect {
    char kind;             /* 'C' CONNECTED, 'R' RECEIPT, 'E' ERROR */
    uint32_t receipt;      /* R */
    char code[32];         /* E: x-code; "": any */
    bool is_rejected;      /* R: x-result */
    char queue[TWIN_TEXT]; /* E, R: x-queue; "": not looked at */
    int64_t messages;      /* R: x-messages; -1: none */
};

struct stage_peer {
    struct stage *st;
    uint32_t number;
    struct transport *t; /* NULL: no connection */
    struct twin_session *session;
    struct buf out, in;
    struct stage_frame **heard; /* since the last check */
    struct stage_expect *expect;
    uint32_t *browse; /* numbers that a browser must be shown, then UINT32_MAX */
    uint32_t heard_n, heard_cap, expect_n, expect_cap, browse_n, browse_cap;
    uint32_t next_sub, next_tx, next_receipt, browse_sub;
    bool is_v11;
    bool has_ended, must_end; /* the broker ended it; and it had to */
    bool is_done;             /* no more frames in this breath */
    bool has_asked;           /* the frame being written asks for a receipt */
    size_t frame_at;          /* where in `out` it begins */
    uint32_t frame_dead;      /* dead letters of the twin before it */
};

/* What a seed is like. */
struct stage_plan {
    uint32_t peers, acts, queues, exchanges;
    mono_ms step_max;  /* how far time moves at most, usually */
    uint32_t features; /* bit per enum stage_feature: what queues are made with */
    bool has_store, has_pieces, has_weights;
    bool has_late_store; /* durable some turns later, in the same millisecond */
};

struct stage {
    uint64_t seed;
    struct stage_plan plan;
    struct rng rng;
    struct mem_heap sim_heap, heap;
    struct mem mem;
    struct loop_sim *loop;
    struct net_sim net;
    struct log log;
    struct store_sim *store;
    struct shard *shard;
    const struct adapter_ops *adapters[2];
    struct door door;
    struct twin twin;
    struct stage_peer peer[STAGE_PEERS];
    uint32_t number_next; /* messages */
    uint32_t deliveries, commits, checks;
    bool verbose;
    char why[256];
};

void stage_open(struct stage *st, uint64_t seed, const struct stage_plan *plan, bool verbose);
/* stage_close: asserts that every byte came back. */
void stage_close(struct stage *st);
void stage_fail(struct stage *st, const char *fmt, ...) PRINTF_LIKE(2, 3);
void stage_trace(struct stage *st, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* stage_settle: what was said is heard, the twin ends its turn, both are compared. */
void stage_settle(struct stage *st);

/* stage_pass: time passes until then (less, if very much happens), with a look at everything that happens meanwhile. */
void stage_pass(struct stage *st, mono_ms until);

/* stage_run: a whole seed: random acts, then the verdict. True when the broker and its twin agreed all the way. */
bool stage_run(uint64_t seed, uint32_t acts, bool verbose, char *why, size_t why_cap);

/* ---- peers: stage_peer.c ---- */
void peer_connect(struct stage_peer *p);
/* peer_leave: the connection ends after what was said; what is in p->out goes out first. */
void peer_leave(struct stage_peer *p, bool by_reset);
void peer_flush(struct stage_peer *p);
void peer_gone(struct stage_peer *p);
void frame_begin(struct stage_peer *p, const char *command);
void frame_header(struct stage_peer *p, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
void frame_end(struct stage_peer *p, const void *body, size_t len);
/* frame_receipt: asks for one and expects it. Returns the expectation, valid until the next. */
struct stage_expect *frame_receipt(struct stage_peer *p);
struct stage_expect *peer_expect(struct stage_peer *p, char kind);
/* peer_expect_error: instead of the receipt of the frame being written, if it asks for one; the connection ends with
 * it. */
void peer_expect_error(struct stage_peer *p, const char *code);
const char *frame_get(const struct stage_frame *f, const char *name); /* NULL: none */
void peer_free_heard(struct stage_peer *p);

/* ---- looking: stage_check.c ---- */
void stage_check(struct stage *st);

/* ---- acting: stage_act.c ---- */
enum stage_feature {
    FEATURE_TTL,
    FEATURE_LEN,
    FEATURE_DEAD,
    FEATURE_LIMIT,
    FEATURE_RETRY,
    FEATURE_LEVELS,
    FEATURE_SINGLE,
    FEATURE_LIFE, /* exclusive, auto-delete, expires */
    FEATURE_ACK_MS,
    FEATURE_DELAY,
    FEATURE_TX,
    FEATURE_TOPOLOGY,
    FEATURE_PULL,
    FEATURE_PAUSE,
    FEATURE_N
};
static inline bool stage_has(const struct stage *st, enum stage_feature f)
{
    return (st->plan.features >> f & 1) != 0;
}
static inline uint32_t stage_roll(struct stage *st, uint32_t n)
{
    return rng_below(&st->rng, n);
}
static inline bool stage_chance(struct stage *st, unsigned of_100)
{
    return rng_chance(&st->rng, of_100);
}
/* stage_act: one peer does something, or time passes. */
void stage_act(struct stage *st);
/* stage_draw_policy: what a queue may be made with; stage_write_policy: its headers, into the frame being written. */
void stage_draw_policy(struct stage *st, struct twin_policy *out);
void stage_write_policy(struct stage_peer *p, const struct twin_policy *policy);
/* stage_manage: one frame to /manage/. */
void stage_manage(struct stage_peer *p);
void stage_queue_name(struct stage *st, char *out);

#endif
