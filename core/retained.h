/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_RETAINED_H
#define WEIR_CORE_RETAINED_H

/*
 * retained.h: the last retained message of every topic, in a trie of literal levels. New subscriptions see it by
 * core/replay.h.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/pool.h"
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
    struct pool items; /* of those that expire */
    trie_at root;
    uint64_t n;     /* messages */
    uint64_t bytes; /* msg_bytes of them */
    uint64_t sys_n; /* of these the broker's own, below $SYS, which do not count for the limits */
    uint64_t sys_bytes;
    uint64_t replay_n; /* open cursors, over all queues */
};

enum err retained_init(struct retained *r, struct shard *shard) MUST_CHECK;
void retained_fini(struct retained *r); /* drops all messages */

/* A retained message that expires: what node.value points to then (with its lowest bit set). */
struct retained_item {
    struct wtimer timer;
    struct retained *retained;
    const struct msg *msg;
    trie_at at;
};

/* A place made ready for a message, so that keeping it cannot fail any more. */
struct retained_place {
    trie_at at;                 /* pinned */
    struct retained_item *item; /* for one that expires */
};

/* retained_prepare: a place for a message of this topic and so many bytes (msg_bytes). ERR_NOMEM, ERR_FULL (limit).
 * Follow with retained_set or retained_cancel. */
enum err retained_prepare(struct retained *r, struct slice topic, uint64_t bytes, bool expires,
                          struct retained_place *out) MUST_CHECK;

/* retained_set: m becomes the retained message of its topic (held). Whether it expires is as it was prepared. */
void retained_set(struct retained *r, struct retained_place *p, const struct msg *m);
void retained_cancel(struct retained *r, struct retained_place *p);

/* retained_put: prepare and set. ERR_NOMEM, ERR_FULL. */
enum err retained_put(struct retained *r, const struct msg *m) MUST_CHECK;

/* retained_expire: the timer of an item came due (core/shard.c). */
void retained_expire(struct retained_item *i);

/* retained_has_room: would retained_put of so many bytes (msg_bytes) to this topic stay within the limits? Always,
 * below $SYS. retained_has_room_beside: and if n others of more_bytes in all came first, each to a topic of its own. */
bool retained_has_room(const struct retained *r, struct slice topic, uint64_t bytes);
bool retained_has_room_beside(const struct retained *r, struct slice topic, uint64_t bytes, uint64_t n,
                              uint64_t more_bytes);

/* retained_del: forgets the topic's message, if any. */
void retained_del(struct retained *r, struct slice topic);

/* retained_get, retained_at: of a topic, of a node: borrowed, NULL if there is none or it has expired. */
const struct msg *retained_get(const struct retained *r, struct slice topic);
const struct msg *retained_at(const struct retained *r, trie_at at);

#endif
