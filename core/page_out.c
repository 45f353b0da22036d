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
 *   1. The cursor is NULL or a node of its ready list (queue_pages_left moves it back when that one leaves). It never
 *      goes back by itself: who gives messages back all the time must not keep the end of the queue in memory.
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
        if (q->pages->cursor[level] == &e->node)
            q->pages->cursor[level] = node_of(p);
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

/* One walk: of what is new, behind the cursor, which moves along; or (is_head) of what came in front of it meanwhile,
 * up to the first page. */
struct pass {
    const struct list *l;
    unsigned level;
    bool is_head;
    struct rules rules;
    uint32_t n; /* looked at */
    uint64_t paged;
};

static void looked_at(struct queue *q, const struct pass *w, struct list_node *at)
{
    if (!w->is_head)
        q->pages->cursor[w->level] = at;
}

/* next_run: what is done about the run at `at`. Returns where the walk goes on, NULL: it is over. */
static struct list_node *next_run(struct queue *q, struct pass *w, struct list_node *at)
{
    struct shard *s = shard_of(q);
    struct run r = measure(s, w->l, at);
    w->n += MAX(r.n, 1);
    if (r.n == 0) { /* it stays */
        if (entry_at(at)->lsn > s->lsn_durable || (w->is_head && entry_is_page(entry_at(at))))
            return NULL; /* all behind it are newer; or it was looked at */
        looked_at(q, w, at);
        return at->next;
    }
    if (r.n < w->rules.run_n && r.bytes < RUN_BYTES) {
        if (r.end == &w->l->head || entry_at(r.end)->lsn > s->lsn_durable)
            return NULL; /* it is still growing */
        looked_at(q, w, r.end->prev);
        return r.end;
    }
    struct page *p = page_make(q, w->level, at, &r);
    if (!p)
        return NULL;
    w->paged += r.n;
    looked_at(q, w, node_of(p));
    return node_of(p)->next;
}

static void walk_pass(struct queue *q, struct pass *w, uint32_t budget)
{
    const struct list_node *cursor = w->is_head ? NULL : q->pages->cursor[w->level];
    struct list_node *at = begin_at(w->l, cursor, w->rules.head_n);
    while (at && at != &w->l->head && w->n < budget)
        at = next_run(q, w, at);
}

/* page_out: one level; *again: something came in front of the cursor; it stays true if there was no time for all. */
static uint32_t page_out(struct queue *q, unsigned level, const struct rules *rules, uint32_t budget, bool *again,
                         uint64_t *out_paged)
{
    struct pass head = {.l = queue_ready_list(q, level), .level = level, .is_head = true, .rules = *rules}, tail = head;
    tail.is_head = false;
    if (*again)
        walk_pass(q, &head, budget / 2);
    *again = *again && head.n >= budget / 2;
    walk_pass(q, &tail, budget - MIN(head.n, budget));
    *out_paged += head.paged + tail.paged;
    return head.n + tail.n;
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
    bool again = rules.head_n < q->pages->head_n || (q->pages->has_more && rules.head_n < HEAD_N_FAST), is_left = false;
    unsigned level_n = queue_levels(q) ? q->policy->priority_max + 1u : 1;
    uint32_t n = 0;
    for (unsigned i = 0; i < level_n && n < budget; i++) {
        if (level != PAGE_ALL && i != level)
            continue;
        bool again_here = again;
        n += page_out(q, i, &rules, budget - n, &again_here, out_paged);
        is_left |= again_here;
    }
    if (level == PAGE_ALL || level_n == 1) { /* else it is still to be done for the other levels */
        q->pages->has_more = again ? is_left || n >= budget : q->pages->has_more;
        q->pages->head_n = rules.head_n;
    }
    return n;
}
