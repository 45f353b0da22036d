/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_MEMORY_H
#define WEIR_CORE_MEMORY_H

/*
 * memory.h: what a shard does when its memory gets short, mark by mark:
 *
 *     soft   what waits in queues and is on disk leaves memory (core/entry_page.h)
 *     high   who publishes is not read for a while, so that answers come later
 *     hard   publishes are refused; at QoS 0, what would have to be kept is dropped and counted
 *
 * A mark is reached by the bytes that live in the shard's heap. Without a store that reads back only the upper two do
 * anything. Thread: own shard only.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/list.h"
#include "core/base/mem.h"
#include "core/base/wheel.h"
#include "core/limits.h"

struct conn;
struct queue;
struct shard;

enum memory_mark { MEMORY_SOFT, MEMORY_HIGH, MEMORY_HARD, MEMORY_MARK_N };

/* owner: shard */
struct memory {
    const struct mem_heap *heap;
    uint64_t mark[MEMORY_MARK_N]; /* bytes; UINT64_MAX: there is none */
    uint8_t above;                /* marks that were said to be reached */
    bool has_paged;               /* this round through the queues did something */
    bool has_said_lost;           /* once per life */
    struct list_node *sweep;      /* vhost->queues_all: the queue to be looked at next; NULL: a new round begins */
    mono_ms rest_until, rest_ms;  /* a round that did nothing: the next one begins later */
    struct wtimer timer;          /* a turn is wanted then, though nothing happens */
    struct list wanting;          /* pages to be fetched, when others have come (core/entry_page.c) */
    uint64_t fetch_bytes;         /* of the messages that are being fetched */
    uint32_t fetch_n;             /* pages that are */
    mono_ms fetch_after;          /* there was no memory: none is asked for before */
};

/* memory_init: marks from the limits; those that are 0 are a share (1/4, 3/8, 1/2) of `ram_bytes` (0: unknown), or one
 * (1/2, 3/4, 7/8) of what the heap is limited to, if that is less; without either there is none. A higher mark is never
 * below a lower one. */
void memory_init(struct memory *m, const struct mem_heap *heap, const struct limits *limits, uint64_t ram_bytes);

/* memory_is: is the mark reached? */
static inline bool memory_is(const struct memory *m, enum memory_mark which)
{
    return UNLIKELY(m->heap->bytes >= m->mark[which]);
}

/* memory_turn: once per turn: makes pages within a budget, asks for those that are wanted, says what happens. True when
 * it has more to do. */
bool memory_turn(struct shard *s);

/* memory_soon: a turn is wanted in `ms`, though nothing else happens. */
void memory_soon(struct shard *s, mono_ms ms);

/* memory_skip: q leaves vhost->queues_all. */
void memory_skip(struct shard *s, const struct queue *q);

/* memory_brake: c has published: above the high mark it is not read for a while, unless it has deliveries to answer. */
void memory_brake(struct conn *c);

#endif
