/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_WATCH_STOMP_H
#define WEIR_TESTS_WATCH_STOMP_H

/*
 * watch_stomp.h: somebody who reads along on one STOMP connection and knows what a server may say to a peer that has
 * said what it said. The peer tells it what it sends, frame by frame; what it sends of which it cannot say the meaning
 * makes the watcher blind: then only the form of what comes back is checked.
 *
 *     watch_stomp_asked(&w, WATCH_SUB, 3, ...);    the peer sent SUBSCRIBE id:3 with a receipt
 *     watch_stomp_heard(&w, bytes, n);             the broker sent this
 *     w.why[0]                                     not empty: the broker broke a rule, this one
 *
 * Checked always: every frame by the grammar of the version (tests/support/stomp_said.h); nothing behind an ERROR; one
 * CONNECTED, first; no message-id twice. Unless blind: receipts in order and once each; MESSAGE only for a subscription
 * that was answered and is not over, with an ack header exactly if it wants answers, not more open ones than its
 * prefetch allows, nor more than it has asked for.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/rig.h"
#include "tests/support/stomp_said.h"

enum {
    WATCH_STOMP_SUBS = 8,
    WATCH_STOMP_ASKS = 512,
    WATCH_STOMP_OPEN = 512,
    WATCH_STOMP_IDS = 4096,
    WATCH_STOMP_ID = 64,
    WATCH_STOMP_TXS = 4,
};

enum watch_kind { WATCH_OTHER, WATCH_SUB, WATCH_UNSUB, WATCH_COMMIT };

/* Subscriptions are called "0" .. "7". */
struct watch_sub {
    bool is_on, is_cumulative, wants_acks, is_pull, is_browser, is_over /* browser:end came */;
    uint32_t prefetch;     /* 0: no limit */
    uint64_t granted, got; /* is_pull */
    uint32_t gen;          /* which of those that were called so */
};

/* What the peer wants to be told, in the order it asked. */
struct watch_receipt {
    uint32_t id;           /* "r<id>" */
    uint8_t kind, which;   /* SUB, UNSUB: the subscription; COMMIT: the transaction */
    struct watch_sub next; /* SUB: what it asks for */
};

/* A delivery the peer has not answered. */
struct watch_delivery {
    char id[WATCH_STOMP_ID];
    uint8_t sub;
    int8_t tx;        /* answered in this transaction; -1: not answered */
    bool is_answered; /* and that is committed, or on its way */
    bool is_cumulative;
    uint32_t gen; /* of its subscription */
};

struct watch_stomp {
    char why[200];
    unsigned version;
    bool is_blind, has_connected, has_erred, is_leaving;
    uint32_t beat_ms; /* the broker promised something at least so often; 0: not */
    uint64_t heard_n; /* bytes */
    char frame[32];   /* last command heard */
    struct rig_bytes heard;
    size_t heard_at;
    struct said said;
    struct watch_sub sub[WATCH_STOMP_SUBS];
    struct watch_receipt ask[WATCH_STOMP_ASKS];
    struct watch_delivery open[WATCH_STOMP_OPEN];
    uint64_t seen[WATCH_STOMP_IDS]; /* hashes of message-ids, each in its place */
    char reply_to[WATCH_STOMP_ID];  /* the last reply-to that named a reply queue */
    uint32_t ask_n, open_n;
    bool has_temp; /* it once asked for a temporary queue */
    void (*on_message)(void *ctx, struct slice body);
    void *ctx;
};

/* watch_stomp_asked: a frame with the header receipt:r<id> was sent; next: what a SUBSCRIBE asks for. */
void watch_stomp_asked(struct watch_stomp *w, enum watch_kind kind, uint32_t id, uint8_t which,
                       const struct watch_sub *next);

/* watch_stomp_granted: n more messages were asked for, for a pull subscription. */
void watch_stomp_granted(struct watch_stomp *w, uint8_t which, unsigned n);

/* watch_stomp_answered: delivery i was answered (tx: in this transaction, else -1), and with it all that are meant. */
void watch_stomp_answered(struct watch_stomp *w, uint32_t i, int tx);

/* watch_stomp_ended: COMMIT or ABORT of tx was sent. */
void watch_stomp_ended(struct watch_stomp *w, int tx, bool is_commit);

/* watch_stomp_heard: n more bytes came. */
void watch_stomp_heard(struct watch_stomp *w, const void *bytes, size_t n);

/* watch_stomp_free: what it holds; it has seen nothing then. on_message and ctx stay. */
void watch_stomp_free(struct watch_stomp *w);

#endif
