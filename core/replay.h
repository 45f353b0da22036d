/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_REPLAY_H
#define WEIR_CORE_REPLAY_H

/*
 * replay.h: retained messages for new subscriptions: cursors over the retained set. A cursor belongs to a queue, feeds
 * it only while that is below half its limits, and is never cut short.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/retained.h"
#include "core/topic.h"
#include "core/trie.h"

struct queue;
struct exchange;
struct binding_opts;

enum replay_own { REPLAY_OWN, REPLAY_NOT_OWN /* No Local: what the queue's owner published itself is left out */ };

/* One replay to one queue. owner: queue->replay list, served in order */
struct replay {
    struct replay *next;
    trie_at at;   /* pinned: dealt with up to and including this node; 0: at the start */
    uint32_t set; /* binding set for the entries; held */
    uint8_t qos;  /* cap */
    uint8_t own;  /* enum replay_own */
    uint16_t tok_n;
    struct token *tok; /* own copy; bytes behind the array */
    trie_at *done;     /* nodes ahead that were delivered already, pinned: open addressing, 0 = free */
    uint32_t done_n, done_cap;
};

/* replay_open: starts a replay of everything that matches f into q. ERR_NOMEM. The first messages enter at the next
 * replay_feed (called by queue_dispatch). */
enum err replay_open(struct retained *r, struct queue *q, const struct filter *f, uint32_t set, uint8_t qos,
                     enum replay_own own) MUST_CHECK;

/* replay_begin: the same for a new subscription to x with these options; nothing is retained elsewhere than in
 * amq.topic. ERR_NOMEM. */
enum err replay_begin(struct queue *q, const struct exchange *x, const struct filter *f,
                      const struct binding_opts *o) MUST_CHECK;

/* replay_feed: pushes retained messages into q while it is below half its limits; at most `budget` of them, and looks
 * at a bounded number of nodes. Closes cursors that are finished. Returns how many were pushed (0 may only mean that no
 * node looked at this time matched: go on while q->replay is set and the queue is below half). */
uint32_t replay_feed(struct queue *q, uint32_t budget);

/* replay_pass: a live message on `topic` is about to enter q: cursors that have not passed it push its retained value
 * first and skip it later. Without room in the queue nothing is done (the live message is dropped by the limit then,
 * too). */
void replay_pass(struct queue *q, struct slice topic);

/* replay_update: unfinished replays of this filter go on with other options. */
void replay_update(struct queue *q, const struct filter *f, uint32_t set, uint8_t qos, enum replay_own own);

/* replay_close_filter: the subscription with this filter ended or begins anew: its unfinished replay ends. */
void replay_close_filter(struct queue *q, const struct filter *f);

/* replay_close_all: the queue is going away. */
void replay_close_all(struct queue *q);

/* retained_match: calls fn for every retained message that matches, in trie order; for statistics and tests. */
void retained_match(struct retained *r, const struct filter *f, void (*fn)(const struct msg *m, void *ctx), void *ctx);

#endif
