/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_RETAINED_H
#define WEIR_CORE_RETAINED_H

/*
 * retained.h: the last retained message of every topic, in a trie of literal levels, and the cursors that replay it to
 * new subscriptions. A cursor feeds its queue only while that is below half its limit, pins the node it stands on, and
 * is never cut short; it belongs to the queue.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/wheel.h"
#include "core/msg.h"
#include "core/topic.h"
#include "core/trie.h"

struct shard;
struct queue;
struct vhost;

struct retained {
    struct shard *shard;
    struct mem *mem;
    struct trie trie;
    trie_at root;
    uint64_t n;     /* messages */
    uint64_t bytes; /* msg_bytes of them */
};

/* One replay to one queue. owner: queue->replay list. */
struct replay {
    struct replay *next; /* further cursors of this queue, served in order */
    trie_at at;          /* pinned: done up to and including this node; 0: at the start */
    uint32_t set;        /* binding set for the entries */
    uint8_t qos;         /* cap */
    uint16_t tok_n;
    struct token *tok;   /* own copy; bytes behind the array */
};

enum err retained_init(struct retained *r, struct shard *shard) MUST_CHECK;
void retained_fini(struct retained *r); /* drops all messages */

/* A retained message that expires: what node.value points to then (node.mark is 1). */
struct retained_item {
    struct wtimer timer;
    struct retained *retained;
    const struct msg *msg;
    trie_at at;
};

/* A place made ready for a message, so that keeping it cannot fail any more. */
struct retained_place {
    trie_at at; /* pinned */
    struct retained_item *item; /* for one that expires */
};

/* retained_prepare: a place for a message of this topic. ERR_NOMEM, ERR_FULL (limit). Follow with retained_set or
 * retained_cancel. */
enum err retained_prepare(struct retained *r, struct slice topic, bool expires, struct retained_place *out) MUST_CHECK;

/* retained_set: m becomes the retained message of its topic (held). Whether it expires is as it was prepared. */
void retained_set(struct retained *r, struct retained_place *p, const struct msg *m);
void retained_cancel(struct retained *r, struct retained_place *p);

/* retained_put: prepare and set. ERR_NOMEM, ERR_FULL. */
enum err retained_put(struct retained *r, const struct msg *m) MUST_CHECK;

/* retained_expire: the timer of an item came due (core/shard.c). */
void retained_expire(struct retained_item *i);

/* retained_has_room: would retained_put of this topic stay within the limit? */
bool retained_has_room(const struct retained *r, struct slice topic);

/* retained_del: forgets the topic's message, if any. */
void retained_del(struct retained *r, struct slice topic);

/* retained_get: borrowed, or NULL. */
const struct msg *retained_get(struct retained *r, struct slice topic);

/* retained_match: calls fn for every retained message that matches, in trie order; for statistics and tests. */
void retained_match(struct retained *r, const struct filter *f, void (*fn)(const struct msg *m, void *ctx), void *ctx);

/* replay_open: starts a replay of everything that matches f into q. ERR_NOMEM. The first messages enter at the next
 * replay_feed (called by queue_dispatch). */
enum err replay_open(struct retained *r, struct queue *q, const struct filter *f, uint32_t set, uint8_t qos) MUST_CHECK;

/* replay_feed: pushes retained messages into q while it is below half its limits; at most `budget` of them, and looks at a
 * bounded number of nodes. Closes cursors that are finished. Returns how many were pushed (0 may only mean that no node
 * looked at this time matched: go on while q->replay is set and the queue is below half). */
uint32_t replay_feed(struct queue *q, uint32_t budget);

/* replay_update: unfinished replays of this filter go on with another binding set and QoS. */
void replay_update(struct queue *q, const struct filter *f, uint32_t set, uint8_t qos);

/* replay_close_filter: the subscription with this filter ended or begins anew: its unfinished replay ends. */
void replay_close_filter(struct queue *q, const struct filter *f);

/* replay_close_all: the queue is going away. */
void replay_close_all(struct queue *q);

#endif
