/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_ENTRY_PAGE_H
#define WEIR_CORE_ENTRY_PAGE_H

/*
 * entry_page.h: what waits in a long queue and is on disk need not be in memory. A page is one node of a ready list
 * that stands for a run of its entries, in their place: which records they are, and what is known of them besides
 * (core/page_pack.h), without their messages.
 *
 *     [e][e][e] [page: 512] [page: 512] [page: 488] [e][e]
 *      head      ▲                                   not durable yet, or too few
 *                └─ when dispatch comes near: store->ops->fetch ─► entries again, all at once
 *
 * ready_n, bytes and STAT_ENTRIES of a queue count what its pages stand for. A page's node is an entry whose state is
 * ENTRY_PAGE: msg is NULL, seq is that of its first, and it has a timer when any of them has one.
 *
 * Thread: own shard only.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/list.h"
#include "core/dead_letter.h"
#include "core/entry.h"
#include "core/page_pack.h"

struct page_fetch;
struct queue;
struct shard;

/* owner: its ready list */
struct page {
    struct list_node want;    /* shard->memory.wanting */
    struct page_fetch *fetch; /* it is on its way; NULL: not asked for */
    struct page_item before;  /* what stands before packed[at] */
    uint64_t bytes;           /* of the messages */
    uint64_t seq_last;
    uint32_t n;           /* messages that are left */
    uint32_t at, len;     /* packed: where the first of them stands */
    uint8_t level;        /* of the ready list */
    bool is_borrowed;     /* a copy for a reader (queue_copy): settles nothing, holds no binding sets */
    bool has_overlap;     /* an entry that belongs into the middle stands behind it: there was no memory to part it */
    struct entry_timer t; /* its node; the timer is for its earliest expiry */
    uint8_t packed[];
};

/* What a queue knows of its pages; made when it first had to. owner: queue */
struct queue_pages {
    uint32_t page_n, entry_n;   /* pages, and what they stand for */
    uint64_t look_seq;          /* when an entry this new is the first, look how far the next page is */
    mono_ms fetched_at;         /* when a page last became entries */
    uint32_t head_n;            /* how many were left in front, when it was last looked at */
    bool has_more;              /* entries came in front of a cursor */
    struct list_node *cursor[]; /* per level: all up to and including this node was looked at; NULL: nothing was */
};

static inline bool entry_is_page(const struct entry *e)
{
    return UNLIKELY(e->state == ENTRY_PAGE);
}

static inline struct page *entry_page(struct entry *e)
{
    return CONTAINER_OF(e, struct page, t.entry);
}

/* pages_possible: does the store give back what it has? */
bool pages_possible(const struct shard *s);

/* queue_page_out: makes pages of what may be on disk only, at the level of the ready list or of all levels (PAGE_ALL).
 * Looks at `budget` entries at most; returns at how many it did; *out_paged counts the messages that left memory. */
#define PAGE_ALL UINT32_MAX
uint32_t queue_page_out(struct queue *q, uint32_t level, uint32_t budget, uint64_t *out_paged);

/* queue_pages_near: before dispatch: asks for the next page if few entries stand before it. */
void queue_pages_near(struct queue *q);

/* page_want: it will be entries again as soon as the store has read them. */
void page_want(struct page *p);

/* pages_fetch: asks the store for pages that are wanted, as far as there is room for them. */
void pages_fetch(struct shard *s);

/* page_settle: all it stands for is dropped, without being read; frees it. Returns how many messages that were; the
 * caller counts. */
uint64_t page_settle(struct page *p);

/* page_die: the first it stands for is given up, as by entry_die. Frees a page that is empty then. */
void page_die(struct page *p, enum death why);

/* page_timer: some of it has expired. */
void page_timer(struct page *p);

/* page_part: the node before which an entry with this seq, greater than the page's first, has to stand: what is behind
 * the page, or its second half, which is a page of its own then. */
struct list_node *page_part(struct page *p, uint64_t seq);

/* page_copy: at the end of another queue's ready list, for reading only. False: out of memory. */
bool page_copy(const struct page *p, struct queue *to) MUST_CHECK;

/* queue_pages_left: node leaves the ready list of this level, in a queue with q->pages; before it does.
 * queue_pages_free: with the queue. */
void queue_pages_left(struct queue *q, unsigned level, const struct list_node *node);
void queue_pages_free(struct queue *q);

/* page_check: asserts the invariants; for tests. Adds what it stands for. */
void page_check(const struct queue *q, struct page *p, uint32_t *n, uint64_t *bytes);

#endif
