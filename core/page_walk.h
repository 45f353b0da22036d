/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_PAGE_WALK_H
#define WEIR_CORE_PAGE_WALK_H

/*
 * page_walk.h: what core/entry_page.c, core/page_out.c and core/page_fetch.c share about pages; nobody else needs it.
 */

#include "core/entry_page.h"
#include "core/queue.h"
#include "core/shard.h"

static inline struct shard *shard_of(const struct queue *q)
{
    return q->vhost->shard;
}

static inline struct mem *mem_of(const struct queue *q)
{
    return shard_mem(shard_of(q), MEM_ENTRY);
}

static inline struct queue *queue_of(const struct page *p)
{
    return p->t.entry.at.queue;
}

static inline struct list_node *node_of(struct page *p)
{
    return &p->t.entry.node;
}

static inline struct entry *entry_at(struct list_node *at)
{
    return LIST_ITEM(at, struct entry, node);
}

/* A walk over the messages of a page that are left: `it` is the one at `off`. walk_on: false at the end. */
struct walk {
    struct page_item it;
    uint32_t off, next;
};

static inline struct walk walk_begin(const struct page *p)
{
    return (struct walk){.it = p->before, .next = p->at};
}

bool walk_on(const struct page *p, struct walk *w);

/* queue_pages_get: q's, made if there is none. NULL: out of memory. */
struct queue_pages *queue_pages_get(struct queue *q);

/* page_new: empty, in no list yet, with room for `len` bytes; q has pages. NULL: out of memory. */
struct page *page_new(struct queue *q, unsigned level, uint32_t len) MUST_CHECK;

/* page_counts: it is there (1), or no longer (-1). page_arm: its timer, for the earliest expiry. page_trim: it begins
 * with a message that is left; it has one. */
void page_counts(struct page *p, int sign);
void page_arm(struct page *p);
void page_trim(struct page *p);

/* page_forget: one message less, which became an entry. page_lost: one less, which the store has not got. The page may
 * be empty then: page_end_if_empty frees it. */
void page_forget(struct page *p, uint64_t bytes);
void page_lost(struct page *p, const struct page_item *it);
void page_end_if_empty(struct page *p);

/* page_detach: its fetch, if it has one, brings nothing any more. page_of_fetch: whom it is for; NULL: it is gone. */
void page_detach(struct page *p);
const struct page *page_of_fetch(const struct page_fetch *f);

#endif
