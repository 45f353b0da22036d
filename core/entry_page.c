/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry_page.c: queues that are longer than memory: what a page is, and how its messages end without being read.
 *
 *     core/page_out.c    a run of ready entries whose publishes are durable ─► one page, in their place
 *     core/page_fetch.c  dispatch comes near ─► store->ops->fetch ─► entries again, in order
 *     here               purge, delete, drop-head, expiry: settled by what the page notes; read only where a dead
 *                        letter is made of it; copies for readers; parting one where an entry comes back into it
 *
 * Invariants
 *   1. A page stands for at least one message, and for none that the disk has not got.
 *   2. All its messages have seqs between those of its neighbours, but for an entry that came back where there was no
 *      memory to part it (has_overlap).
 *   3. It is in memory.wanting, or has a fetch, or neither; a fetch outlives its page, and ends when the store says so.
 *   4. Messages that end before others keep their bytes, made void, so that nothing is ever packed anew.
 * Cost    200 bytes per page and one to six per message.
 * Thread  own shard only.
 */
#include "core/entry_page.h"

#include "core/memory.h"
#include "core/page_walk.h"
#include "core/session.h"

/* ---- what a page notes ------------------------------------------------------------------------------------------- */

bool pages_possible(const struct shard *s)
{
    return s->store && s->store->ops->fetch;
}

bool walk_on(const struct page *p, struct walk *w)
{
    bool is_void = true;
    while (is_void && w->next < p->len) {
        w->off = w->next;
        w->next += (uint32_t)page_pack_get(p->packed + w->off, p->len - w->off, &w->it, &is_void);
    }
    return !is_void;
}

void page_arm(struct page *p)
{
    mono_ms due = 0;
    for (struct walk w = walk_begin(p); walk_on(p, &w);)
        if (w.it.expires_at && (due == 0 || w.it.expires_at < due))
            due = w.it.expires_at;
    p->t.expires_at = due;
    p->t.entry.timed = due != 0;
    shard_arm(shard_of(queue_of(p)), &p->t.timer, TIMER_ENTRY, due ? due : MONO_NEVER);
}

void page_trim(struct page *p)
{
    struct walk w = walk_begin(p);
    while (w.next < p->len) {
        struct page_item before = w.it;
        bool is_void;
        w.off = w.next;
        w.next += (uint32_t)page_pack_get(p->packed + w.off, p->len - w.off, &w.it, &is_void);
        if (is_void)
            continue;
        p->before = before;
        p->at = w.off;
        p->t.entry.seq = w.it.seq;
        return;
    }
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

struct queue_pages *queue_pages_get(struct queue *q)
{
    unsigned level_n = queue_levels(q) ? q->policy->priority_max + 1u : 1;
    if (!q->pages)
        q->pages = mem_zalloc(mem_of(q), sizeof *q->pages + level_n * sizeof q->pages->cursor[0]);
    return q->pages;
}

void queue_pages_free(struct queue *q)
{
    BUG_ON(q->pages && q->pages->page_n != 0);
    mem_free(mem_of(q), q->pages);
    q->pages = NULL;
}

void queue_pages_left(struct queue *q, unsigned level, const struct list_node *node)
{
    struct list_node **cursor = &q->pages->cursor[level];
    if (*cursor == node)
        *cursor = list_prev(queue_ready_list(q, level), node);
}

struct page *page_new(struct queue *q, unsigned level, uint32_t len)
{
    struct page *p = mem_alloc(mem_of(q), sizeof *p + len);
    if (!p)
        return NULL;
    *p = (struct page){.level = (uint8_t)level, .len = len};
    p->t.entry.at.queue = q;
    p->t.entry.state = ENTRY_PAGE;
    return p;
}

void page_counts(struct page *p, int sign)
{
    struct queue *q = queue_of(p);
    q->pages->page_n += (uint32_t)sign;
    q->pages->entry_n += (uint32_t)sign * p->n;
    stat_add(&shard_of(q)->stats, STAT_PAGED, (uint64_t)(int64_t)sign * p->n);
}

/* page_free: what it stood for is counted elsewhere already, or settled. */
static void page_free(struct page *p)
{
    struct queue *q = queue_of(p);
    page_detach(p);
    list_del(&p->want);
    wheel_disarm(&shard_of(q)->wheel, &p->t.timer);
    page_counts(p, -1);
    queue_pages_left(q, p->level, node_of(p));
    list_del(node_of(p));
    mem_free(mem_of(q), p);
}

void page_forget(struct page *p, uint64_t bytes)
{
    struct queue *q = queue_of(p);
    p->n--;
    p->bytes -= bytes;
    q->pages->entry_n--;
    stat_sub(&shard_of(q)->stats, STAT_PAGED, 1);
}

void page_end_if_empty(struct page *p)
{
    if (p->n != 0)
        return;
    struct queue *q = queue_of(p);
    unsigned level = p->level;
    page_free(p);
    queue_left(q, level, 0, 0);
}

static void set_drop(struct queue *q, uint32_t set)
{
    if (set >= SET_PLAIN_N)
        q->set[set - SET_PLAIN_N].refs--;
}

/* gone: a message of p ends here. */
static void gone(struct page *p, const struct page_item *it, lsn_t lsn)
{
    struct queue *q = queue_of(p);
    queue_log_settle(q, p->is_borrowed ? 0 : lsn);
    set_drop(q, it->set);
    page_forget(p, it->bytes);
    queue_left(q, p->level, 1, it->bytes);
    stat_sub(&shard_of(q)->stats, STAT_ENTRIES, 1);
}

void page_lost(struct page *p, const struct page_item *it)
{
    struct shard *s = shard_of(queue_of(p));
    if (!p->is_borrowed) {
        stat_add(&s->stats, STAT_DROP_LOST, 1);
        if (!s->memory.has_said_lost)
            log_line(s->log, LOG_ERROR, "the store could not give back message %llu, and perhaps others: see $SYS",
                     (unsigned long long)it->lsn);
        s->memory.has_said_lost = true;
    }
    gone(p, it, it->lsn);
}

/* ---- without reading --------------------------------------------------------------------------------------------- */

/* ends_with_queue: the record that ends its queue, or its session, settles all that waits in it. */
static bool ends_with_queue(const struct queue *q)
{
    return shard_of(q)->is_freeing || q->is_dead;
}

uint64_t page_settle(struct page *p)
{
    struct queue *q = queue_of(p);
    unsigned level = p->level;
    uint32_t n = p->n;
    uint64_t bytes = p->bytes;
    for (struct walk w = walk_begin(p); !p->is_borrowed && !ends_with_queue(q) && walk_on(p, &w);) {
        queue_log_settle(q, w.it.lsn);
        set_drop(q, w.it.set);
    }
    stat_sub(&shard_of(q)->stats, STAT_ENTRIES, n);
    page_free(p);
    queue_left(q, level, n, bytes);
    return n;
}

/* give_up: it dies, as in entry_die. */
static void give_up(struct page *p, const struct page_item *it, enum death why)
{
    struct queue *q = queue_of(p);
    struct shard *s = shard_of(q);
    bool goes_on = false;
    if (UNLIKELY(q->policy->has_dead_exchange) && !q->is_dead && !p->is_borrowed) {
        const struct msg *m = s->store->ops->read(s->store, it->lsn);
        if (!m) {
            page_lost(p, it);
            return;
        }
        goes_on = dead_letter_add(q, m, it->lsn, why);
        msg_drop(m);
    }
    if (!goes_on)
        stat_add(&s->stats, death_stat(why), 1);
    gone(p, it, goes_on ? 0 : it->lsn);
}

void page_die(struct page *p, enum death why)
{
    struct walk w = walk_begin(p);
    BUG_ON(!walk_on(p, &w));
    page_pack_void(p->packed + w.off);
    give_up(p, &w.it, why);
    if (p->n != 0)
        page_trim(p);
    page_end_if_empty(p);
}

void page_timer(struct page *p)
{
    struct queue *q = queue_of(p);
    mono_ms now = shard_of(q)->now;
    if (q->policy->has_dead_exchange) {
        page_want(p); /* once they are entries, each dies by itself, with its message */
        return;
    }
    for (struct walk w = walk_begin(p); walk_on(p, &w);) {
        if (w.it.expires_at == 0 || w.it.expires_at > now)
            continue;
        page_pack_void(p->packed + w.off);
        give_up(p, &w.it, DEATH_EXPIRED);
    }
    if (p->n != 0) {
        page_trim(p);
        page_arm(p);
    }
    page_end_if_empty(p);
}

/* ---- parts and copies -------------------------------------------------------------------------------------------- */

struct list_node *page_part(struct page *p, uint64_t seq)
{
    struct queue *q = queue_of(p);
    struct walk w = walk_begin(p);
    struct page_item before = p->before;
    uint32_t n = 0, cut = p->at;
    uint64_t bytes = 0;
    while (walk_on(p, &w) && w.it.seq < seq) {
        n++;
        bytes += w.it.bytes;
        before = w.it;
        cut = w.next;
    }
    if (n == p->n)
        return node_of(p)->next;
    struct page *rest = page_new(q, p->level, p->len - cut);
    if (!rest) {
        p->has_overlap = true;
        return node_of(p)->next;
    }
    memcpy(rest->packed, p->packed + cut, p->len - cut);
    page_counts(p, -1);
    rest->before = before;
    rest->n = p->n - n;
    rest->bytes = p->bytes - bytes;
    rest->seq_last = p->seq_last;
    rest->is_borrowed = p->is_borrowed;
    rest->has_overlap = p->has_overlap;
    p->n = n;
    p->bytes = bytes;
    p->len = cut;
    p->seq_last = before.seq;
    page_detach(p); /* both halves are asked for anew when they are needed */
    list_insert_after(node_of(p), node_of(rest));
    page_counts(p, 1);
    page_counts(rest, 1);
    page_trim(rest);
    page_arm(p);
    page_arm(rest);
    return node_of(rest);
}

/* pack_again: p's messages as a queue whose next seq is `seq` would note them, into out (NULL: only measured). */
static uint32_t pack_again(const struct page *p, uint64_t seq, uint8_t *out)
{
    uint8_t bytes[PAGE_ITEM_BYTES_MAX];
    struct page_item before = {0};
    uint32_t len = 0;
    for (struct walk w = walk_begin(p); walk_on(p, &w);) {
        struct page_item it = w.it;
        it.seq = seq++;
        it.set = SET_COPIED;
        it.expires_at = 0; /* its message will say */
        it.returns = 0;
        size_t n = page_pack_put(bytes, &before, &it);
        if (out)
            memcpy(out + len, bytes, n);
        len += (uint32_t)n;
        before = it;
    }
    return len;
}

bool page_copy(const struct page *p, struct queue *to)
{
    struct page *copy = queue_pages_get(to) ? page_new(to, 0, pack_again(p, to->seq_next, NULL)) : NULL;
    if (!copy)
        return false;
    (void)pack_again(p, to->seq_next, copy->packed);
    copy->n = p->n;
    copy->bytes = p->bytes;
    copy->is_borrowed = true;
    copy->t.entry.seq = to->seq_next;
    to->seq_next += p->n;
    copy->seq_last = to->seq_next - 1;
    list_push(queue_ready_list(to, 0), node_of(copy));
    to->ready_n += p->n;
    to->bytes += p->bytes;
    stat_add(&shard_of(to)->stats, STAT_ENTRIES, p->n);
    page_counts(copy, 1);
    return true;
}

void page_check(const struct queue *q, struct page *p, uint32_t *n, uint64_t *bytes)
{
    uint32_t left = 0;
    uint64_t sum = 0, seq = 0;
    BUG_ON(queue_of(p) != q || p->n == 0 || (p->fetch && (page_of_fetch(p->fetch) != p || list_in(&p->want))));
    for (struct walk w = walk_begin(p); walk_on(p, &w); left++) {
        BUG_ON(left == 0 && w.it.seq != p->t.entry.seq);
        sum += w.it.bytes;
        seq = w.it.seq;
    }
    BUG_ON(left != p->n || sum != p->bytes || seq > p->seq_last);
    *n += left;
    *bytes += sum;
}
