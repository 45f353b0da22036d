/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_fetch.c: pages become entries again.
 *
 *     page_want ─► [shard->memory.wanting] ─► pages_fetch, at the turn's end ─► store->ops->fetch
 *     page_fetched ◄── mailbox ◄──────────────────────────────────────────────────────┘
 *         └─► its messages are entries, in front of where it stood; the queue is marked for dispatch
 *
 * Invariants
 *   1. The messages of all fetches together are FETCH_BYTES at most, or there is but one fetch.
 *   2. What ended while it was on its way is matched by LSN and dropped.
 *   3. A message that could not be had for want of memory is asked for again; one the store has not got is counted.
 * Cost    16 bytes per message while it is on its way; the read is the store's.
 * Thread  own shard only.
 */
#include "core/memory.h"
#include "core/page_walk.h"

enum {
    NEAR_N = 512, /* a page that only so many stand before is fetched */
    FETCH_BYTES = 8 << 20,
    FETCH_N = 64,
    AGAIN_MS = 100, /* there was no memory for it */
};

/* Messages on their way to become entries. owner: the store, until on_fetched */
struct page_fetch {
    struct store_fetch of; /* first */
    struct shard *shard;
    struct page *page; /* NULL: it is gone */
    uint64_t bytes;
    lsn_t lsn[]; /* and then as many pointers */
};

void page_detach(struct page *p)
{
    if (p->fetch)
        p->fetch->page = NULL;
    p->fetch = NULL;
}

const struct page *page_of_fetch(const struct page_fetch *f)
{
    return f->page;
}

/* take_in: what came for p becomes entries in front of it, until it is empty, or there is no memory for one more. */
static bool take_in(struct page *p, struct store_fetch *f)
{
    struct queue *q = queue_of(p);
    struct shard *s = shard_of(q);
    uint32_t i = 0;
    for (struct walk w = walk_begin(p); walk_on(p, &w);) {
        while (i < f->n && f->lsn[i] < w.it.lsn)
            i++; /* gone meanwhile */
        BUG_ON(i == f->n || f->lsn[i] != w.it.lsn);
        const struct msg *m = f->msg[i];
        if (m) {
            struct page_item it = w.it;
            it.lsn = p->is_borrowed ? 0 : it.lsn;
            it.expires_at = p->is_borrowed ? m->expires_at : it.expires_at;
            if (!entry_unpack(q, m, &it, node_of(p)))
                return false;
            f->msg[i] = NULL;
            q->bytes += msg_bytes(m) - w.it.bytes;
            page_forget(p, w.it.bytes);
            stat_add(&s->stats, STAT_PAGED_IN, 1);
        } else if (f->no_memory) {
            return false;
        } else {
            page_lost(p, &w.it);
        }
        page_pack_void(p->packed + w.off);
    }
    return true;
}

/* fetch_later: not now, for there was no memory. */
static void fetch_later(struct shard *s)
{
    s->memory.fetch_after = s->now + AGAIN_MS;
    memory_soon(s, AGAIN_MS);
}

static void page_fetched(struct store_fetch *of)
{
    struct page_fetch *f = (struct page_fetch *)(void *)of;
    struct shard *s = f->shard;
    struct page *p = f->page;
    s->memory.fetch_n--;
    s->memory.fetch_bytes -= f->bytes;
    if (p) {
        struct queue *q = queue_of(p);
        p->fetch = NULL;
        q->pages->fetched_at = s->now;
        q->pages->has_more = true;
        q->pages->look_seq = 0;
        if (!take_in(p, of)) {
            page_want(p);
            fetch_later(s);
        }
        if (p->n != 0) {
            page_trim(p);
            page_arm(p);
        }
        page_end_if_empty(p);
        queue_mark(q);
    }
    for (uint32_t i = 0; i < of->n; i++)
        if (of->msg[i])
            msg_drop(of->msg[i]);
    mem_free(shard_mem(s, MEM_ENTRY), f);
}

/* fetch: false: out of memory. */
static bool fetch(struct shard *s, struct page *p)
{
    struct page_fetch *f = mem_alloc(shard_mem(s, MEM_ENTRY), sizeof *f + p->n * (sizeof(lsn_t) + sizeof(void *)));
    if (!f)
        return false;
    *f = (struct page_fetch){.shard = s, .page = p, .bytes = p->bytes};
    uint32_t n = 0;
    for (struct walk w = walk_begin(p); walk_on(p, &w);)
        f->lsn[n++] = w.it.lsn;
    f->of = (struct store_fetch){
        .lsn = f->lsn, .msg = (const struct msg **)(void *)(f->lsn + n), .n = n, .on_fetched = page_fetched, .ctx = f};
    for (uint32_t i = 0; i < n; i++)
        f->of.msg[i] = NULL;
    p->fetch = f;
    s->memory.fetch_n++;
    s->memory.fetch_bytes += f->bytes;
    s->store->ops->fetch(s->store, &f->of);
    return true;
}

void pages_fetch(struct shard *s)
{
    struct memory *m = &s->memory;
    for (struct list_node *it = list_first(&m->wanting); it; it = list_first(&m->wanting)) {
        struct page *p = LIST_ITEM(it, struct page, want);
        if (m->fetch_n != 0 && (m->fetch_bytes + p->bytes > FETCH_BYTES || m->fetch_n >= FETCH_N))
            return;
        if (s->now < m->fetch_after)
            return;
        if (!fetch(s, p)) {
            fetch_later(s);
            return;
        }
        list_del(it);
    }
}

void page_want(struct page *p)
{
    struct shard *s = shard_of(queue_of(p));
    if (p->fetch || list_in(&p->want))
        return;
    list_push(&s->memory.wanting, &p->want); /* the turn's end asks the store */
}

void queue_pages_near(struct queue *q)
{
    struct entry *first = queue_first(q);
    if (q->pages->page_n == 0 || !first)
        return;
    if (entry_is_page(first)) {
        page_want(entry_page(first));
        return;
    }
    if (first->seq < q->pages->look_seq)
        return;
    const struct list *l = queue_ready_list(q, queue_level_of(q, first->msg));
    uint32_t n = 0;
    for (struct list_node *at = &first->node; at != &l->head && n < NEAR_N; at = at->next, n++) {
        struct entry *e = entry_at(at);
        if (n <= NEAR_N / 2)
            q->pages->look_seq = e->seq;
        if (!entry_is_page(e))
            continue;
        page_want(entry_page(e));
        q->pages->look_seq = e->seq;
        return;
    }
}
