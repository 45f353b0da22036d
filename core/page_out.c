/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_out.c: out of memory, onto pages.
 *
 *     ready list   [head, for who consumes][looked at ─► cursor][runs of durable entries ─► pages][not durable yet]
 *
 * Which entries become pages: of a queue that somebody consumes not the first HEAD_N, and more of them if pages were
 * read back a moment ago; never those that are not durable, for only memory has them; never runs of a few, which would
 * save nothing. How far a ready list was looked at is kept per level (the cursor), so that what stays is not looked at
 * again and again.
 *
 * Invariants
 *   1. The cursor is NULL or a node of its ready list (queue_pages_left moves it back when that one leaves).
 *   2. A run has rising LSNs and seqs, and nothing between its entries.
 * Cost    O(1) per entry that leaves; begin_at O(HEAD_N) per call.
 * Thread  own shard only.
 */
#include "core/memory.h"
#include "core/page_walk.h"

enum {
    PAGE_N = 512,           /* messages in a page, at most */
    PAGE_BYTES = 512 << 10, /* their bytes, about: they come back all at once */
    RUN_N = 64,             /* shorter runs stay what they are */
    RUN_BYTES = 64 << 10,   /* if they are not larger than this */
    RUN_N_LOW = 8,          /* above the high mark, where nobody waits for them */
    HEAD_N = 256,           /* these stay in front of somebody who consumes */
    HEAD_N_FAST = 2048,     /* and who was given pages in the last FAST_MS */
    FAST_MS = 1000,
};

struct run {
    struct list_node *end; /* the first that does not belong to it */
    struct page_item last;
    uint64_t bytes;
    uint32_t n, len;
};

static struct page_item item_of(const struct entry *e)
{
    return (struct page_item){.lsn = e->lsn,
                              .seq = e->seq,
                              .bytes = msg_bytes(e->msg),
                              .expires_at = e->timed ? CONTAINER_OF(e, const struct entry_timer, entry)->expires_at : 0,
                              .set = e->set,
                              .attempts = e->attempts,
                              .returns = e->returns,
                              .qos = e->qos,
                              .retained = e->retained};
}

static bool may_leave(const struct shard *s, const struct entry *e)
{
    return e->state == ENTRY_READY && e->lsn != 0 && e->lsn <= s->lsn_durable;
}

/* measure: the run that begins at `at`; n is 0 when that one may not leave. */
static struct run measure(const struct shard *s, const struct list *l, struct list_node *at)
{
    struct run r = {0};
    uint8_t bytes[PAGE_ITEM_BYTES_MAX];
    for (; at != &l->head && r.n < PAGE_N && r.bytes < PAGE_BYTES; at = at->next) {
        const struct entry *e = entry_at(at);
        if (!may_leave(s, e) || e->lsn <= r.last.lsn || (r.n != 0 && e->seq <= r.last.seq))
            break;
        struct page_item it = item_of(e);
        r.len += (uint32_t)page_pack_put(bytes, &r.last, &it);
        r.bytes += it.bytes;
        r.last = it;
        r.n++;
    }
    r.end = at;
    return r;
}

/* page_make: of the run that begins at `at`. NULL: out of memory. */
static struct page *page_make(struct queue *q, unsigned level, struct list_node *at, const struct run *r)
{
    struct page *p = page_new(q, level, r->len);
    if (!p)
        return NULL;
    uint8_t bytes[PAGE_ITEM_BYTES_MAX];
    struct page_item before = {0};
    uint32_t len = 0;
    p->n = r->n;
    p->bytes = r->bytes;
    p->seq_last = r->last.seq;
    p->t.entry.seq = entry_at(at)->seq;
    list_insert_before(at, node_of(p));
    while (at != r->end) {
        struct entry *e = entry_at(at);
        at = at->next;
        struct page_item it = item_of(e);
        size_t n = page_pack_put(bytes, &before, &it);
        BUG_ON(n > r->len - len);
        memcpy(p->packed + len, bytes, n);
        len += (uint32_t)n;
        before = it;
        entry_pack(e);
    }
    page_counts(p, 1);
    page_arm(p);
    stat_add(&shard_of(q)->stats, STAT_PAGED_OUT, r->n);
    return p;
}

struct rules {
    uint32_t head_n, run_n;
};

static struct rules rules_of(const struct queue *q)
{
    const struct shard *s = shard_of(q);
    bool is_watched = queue_is_watched(q);
    bool is_fast = is_watched && q->pages && q->pages->fetched_at && q->pages->fetched_at + FAST_MS > s->now;
    return (struct rules){.head_n = is_fast      ? HEAD_N_FAST
                                    : is_watched ? HEAD_N
                                                 : 0,
                          .run_n = !is_watched && memory_is(&s->memory, MEMORY_HIGH) ? RUN_N_LOW : RUN_N};
}

/* begin_at: behind the head and behind the cursor. */
static struct list_node *begin_at(const struct list *l, const struct list_node *cursor, uint32_t head_n)
{
    struct list_node *at = l->head.next;
    bool is_behind = !cursor;
    for (uint32_t n = 0; at != &l->head && n < head_n; at = at->next) {
        is_behind |= at == cursor;
        n += entry_is_page(entry_at(at)) ? entry_page(entry_at(at))->n : 1;
    }
    return is_behind ? at : cursor->next;
}

static uint32_t page_out(struct queue *q, unsigned level, const struct rules *rules, uint32_t budget,
                         uint64_t *out_paged)
{
    struct shard *s = shard_of(q);
    const struct list *l = queue_ready_list(q, level);
    struct list_node **cursor = &q->pages->cursor[level], *at = begin_at(l, *cursor, rules->head_n);
    uint32_t n = 0;
    while (at != &l->head && n < budget) {
        struct run r = measure(s, l, at);
        n += MAX(r.n, 1);
        if (r.n == 0) {
            if (entry_at(at)->lsn > s->lsn_durable)
                break; /* all behind it are newer */
            *cursor = at;
            at = at->next;
            continue;
        }
        if (r.n < rules->run_n && r.bytes < RUN_BYTES) {
            if (r.end == &l->head || entry_at(r.end)->lsn > s->lsn_durable)
                break; /* it is still growing */
            *cursor = r.end->prev;
            at = r.end;
            continue;
        }
        struct page *p = page_make(q, level, at, &r);
        if (!p)
            break;
        *out_paged += p->n;
        *cursor = node_of(p);
        at = node_of(p)->next;
    }
    return n;
}

/* look_again: pages became entries and nobody took them, or some came back, or fewer are to stay in front. */
static void look_again(struct queue *q)
{
    q->pages->has_more = false;
    unsigned level_n = queue_levels(q) ? q->policy->priority_max + 1u : 1;
    for (unsigned i = 0; i < level_n; i++)
        q->pages->cursor[i] = NULL;
}

uint32_t queue_page_out(struct queue *q, uint32_t level, uint32_t budget, uint64_t *out_paged)
{
    *out_paged = 0;
    if (q->is_dead || !pages_possible(shard_of(q)))
        return 0;
    const struct rules rules = rules_of(q);
    uint32_t paged = q->pages ? q->pages->entry_n : 0;
    if (q->ready_n - paged < rules.run_n || q->ready_n <= rules.head_n || !queue_pages_get(q))
        return 0;
    if (rules.head_n < q->pages->head_n || (q->pages->has_more && rules.head_n < HEAD_N_FAST))
        look_again(q);
    q->pages->head_n = rules.head_n;
    if (level != PAGE_ALL)
        return page_out(q, level, &rules, budget, out_paged);
    unsigned level_n = queue_levels(q) ? q->policy->priority_max + 1u : 1;
    uint32_t n = 0;
    for (unsigned i = 0; i < level_n && n < budget; i++)
        n += page_out(q, i, &rules, budget - n, out_paged);
    return n;
}
