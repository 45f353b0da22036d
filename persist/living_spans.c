/* SPDX-License-Identifier: Apache-2.0 */
/*
 * living_spans.c: a directory of spans, sorted by LSN, and how spans change their shape.
 *
 *     tip (dense) ─ moves on ─► dense ─ fewer than an eighth left ─► sparse ─ half empty ─► merged with a neighbour
 *                                 ▲                                     │                    or made smaller
 *                                 └── full of one block (a log is read) ┘ ── full otherwise ─► split
 *
 * Only the newest block is filled in order while the broker runs; what goes below it comes from a log that is read,
 * where copies of old records stand behind newer ones.
 *
 * Invariants (spans_check)
 *   1. The directory is sorted: first of one is greater than every LSN in those before it. A dense span covers exactly
 *      its block, a sparse one at most 2^32 LSNs, of no block that a dense one covers.
 *   2. The last span is dense: the tip. No LSN is above its block. It stays when it is empty; no other span is empty.
 *   3. A cached span is dense, and covers the block it is cached for.
 *   4. Whatever only saves memory (sparse, merge, smaller) may fail without harm: then things stay as they are.
 * Cost    spans_get O(1) in the tip and in cached blocks, else O(log spans); 8 bytes per LSN of a dense span, 12 to 24
 * per entry of a sparse one, 16 to 32 per span in the directory. Thread  the owner's.
 */
#include "persist/living_spans.h"

#include <string.h>

#define SPARSE_MAX  256u /* entries of a sparse span */
#define MERGED_MAX  192u /* two become one if they hold no more together */
#define DENSE_MIN   (SPAN_LSNS / 8)
#define SPARSE_MIN  4u  /* smallest cap */
#define DIR_CAP_MIN 16u /* of the directory */

static inline uint32_t *deltas(const struct span *sp)
{
    return (uint32_t *)(uintptr_t)(sp->e + sp->cap);
}

static inline bool is_dense(const struct span *sp)
{
    return sp->cap == 0;
}

static struct span *sparse_new(struct spans *s, uint32_t cap)
{
    cap = (MAX(cap, SPARSE_MIN) + 1) / 2 * 2;
    struct span *sp = mem_alloc(s->mem, sizeof(*sp) + cap * (sizeof(uint64_t) + sizeof(uint32_t)));
    if (sp != NULL)
        *sp = (struct span){.cap = cap};
    return sp;
}

static struct span *dense_new(struct spans *s)
{
    return mem_zalloc(s->mem, sizeof(struct span) + SPAN_LSNS * sizeof(uint64_t));
}

/* ---- the directory ------------------------------------------------------------------------------------------- */

static inline struct span_at *dir(const struct spans *s, uint32_t i)
{
    return &s->at[s->head + i];
}

/* dir_find: the last span that begins at or below lsn, plus one; 0: none. */
static uint32_t dir_find(const struct spans *s, lsn_t lsn)
{
    uint32_t lo = 0, hi = s->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (dir(s, mid)->first <= lsn)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static enum err dir_resize(struct spans *s, uint32_t cap)
{
    struct span_at *at = mem_alloc(s->mem, cap * sizeof(*at));
    if (at == NULL)
        return ERR_NOMEM;
    if (s->n != 0)
        memcpy(at, dir(s, 0), s->n * sizeof(*at));
    mem_free(s->mem, s->at);
    s->at = at;
    s->head = 0;
    s->cap = cap;
    return ERR_OK;
}

/* dir_reserve: room for one more at the end. */
static enum err dir_reserve(struct spans *s)
{
    if (s->head + s->n < s->cap)
        return ERR_OK;
    if (s->head != 0 && s->head >= s->cap / 4) { /* what went at the front pays for moving the rest */
        memmove(s->at, dir(s, 0), s->n * sizeof(*s->at));
        s->head = 0;
        return ERR_OK;
    }
    return dir_resize(s, MAX(s->cap * 2, DIR_CAP_MIN));
}

/* dir_insert: as number i; there is room. */
static void dir_insert(struct spans *s, uint32_t i, lsn_t first, struct span *sp)
{
    if (s->head > 0 && i < s->n / 2) {
        s->head--;
        memmove(dir(s, 0), dir(s, 1), i * sizeof(*s->at));
    } else {
        BUG_ON(s->head + s->n >= s->cap);
        memmove(dir(s, i + 1), dir(s, i), (s->n - i) * sizeof(*s->at));
    }
    s->n++;
    *dir(s, i) = (struct span_at){.first = first, .span = sp};
}

static void dir_remove(struct spans *s, uint32_t i)
{
    if (i < s->n / 2) {
        memmove(dir(s, 1), dir(s, 0), i * sizeof(*s->at));
        s->head++;
    } else {
        memmove(dir(s, i), dir(s, i + 1), (s->n - i - 1) * sizeof(*s->at));
    }
    s->n--;
    if (s->cap > DIR_CAP_MIN && s->n < s->cap / 4) {
        enum err e = dir_resize(s, s->cap / 2);
        UNUSED(e); /* invariant 4 */
    }
}

/* uncache: before a dense span becomes sparse or goes. */
static void uncache(struct spans *s, uint64_t block)
{
    if (s->cache[block % SPAN_CACHE].block == block)
        s->cache[block % SPAN_CACHE].span = NULL;
}

static void span_remove(struct spans *s, uint32_t i)
{
    struct span_at at = *dir(s, i);
    if (is_dense(at.span))
        uncache(s, at.first >> SPAN_SHIFT);
    dir_remove(s, i);
    mem_free(s->mem, at.span);
}

/* ---- sparse spans -------------------------------------------------------------------------------------------- */

/* lower: how many entries have a smaller delta. */
static uint32_t lower(const struct span *sp, uint64_t delta)
{
    const uint32_t *d = deltas(sp);
    uint32_t lo = 0, hi = sp->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (d[mid] < delta)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* sparse_take: appends n entries of `from`, beginning at `at`, whose deltas become greater by `shift`. There is room.
 */
static void sparse_take(struct span *sp, const struct span *from, uint32_t at, uint32_t n, uint64_t shift)
{
    memcpy(sp->e + sp->n, from->e + at, n * sizeof(uint64_t));
    for (uint32_t i = 0; i < n; i++)
        deltas(sp)[sp->n + i] = (uint32_t)(deltas(from)[at + i] + shift);
    sp->n += n;
}

/* sparse_resize: the span at i gets another cap, not less than its n. */
static enum err sparse_resize(struct spans *s, uint32_t i, uint32_t cap)
{
    struct span *old = dir(s, i)->span, *sp = sparse_new(s, cap);
    if (sp == NULL)
        return ERR_NOMEM;
    sparse_take(sp, old, 0, old->n, 0);
    dir(s, i)->span = sp;
    mem_free(s->mem, old);
    return ERR_OK;
}

/* try_merge: the sparse spans i and i + 1 become one, if they are that small. */
static bool try_merge(struct spans *s, uint32_t i)
{
    const struct span_at a = *dir(s, i), b = *dir(s, i + 1);
    if (is_dense(a.span) || is_dense(b.span) || a.span->n + b.span->n > MERGED_MAX)
        return false;
    if (b.first - a.first + deltas(b.span)[b.span->n - 1] > UINT32_MAX)
        return false;
    uint32_t n = a.span->n + b.span->n;
    if (n > a.span->cap && sparse_resize(s, i, n + n / 4) != ERR_OK)
        return false;
    sparse_take(dir(s, i)->span, b.span, 0, b.span->n, b.first - a.first);
    span_remove(s, i + 1);
    return true;
}

/* demote: a dense span with few entries becomes sparse. */
static bool demote(struct spans *s, uint32_t i)
{
    struct span *old = dir(s, i)->span, *sp = sparse_new(s, old->n + 2);
    if (sp == NULL)
        return false;
    for (uint32_t k = 0; k < SPAN_LSNS; k++) {
        if (old->e[k] == 0)
            continue;
        sp->e[sp->n] = old->e[k];
        deltas(sp)[sp->n++] = k;
    }
    uncache(s, dir(s, i)->first >> SPAN_SHIFT);
    dir(s, i)->span = sp;
    mem_free(s->mem, old);
    return true;
}

/* shrink: a sparse span becomes smaller, or one with a neighbour. */
static void shrink(struct spans *s, uint32_t i)
{
    if ((i + 1 < s->n && try_merge(s, i)) || (i > 0 && try_merge(s, i - 1)))
        return;
    const struct span *sp = dir(s, i)->span;
    enum err e = sp->cap > SPARSE_MIN && sp->n * 2 <= sp->cap ? sparse_resize(s, i, sp->n + sp->n / 4) : ERR_OK;
    UNUSED(e); /* invariant 4 */
}

/* tidy: after entries of the span at i went. Nothing before i - 1 changes. */
static void tidy(struct spans *s, uint32_t i)
{
    const struct span *sp = dir(s, i)->span;
    if (sp == s->tip)
        return;
    if (sp->n == 0)
        span_remove(s, i);
    else if (is_dense(sp) ? sp->n < DENSE_MIN && demote(s, i) : sp->n * 2 <= sp->cap || sp->n <= SPARSE_MIN)
        shrink(s, i);
}

/* ---- putting below the tip ----------------------------------------------------------------------------------- */

/* split_at: no sparse span has entries both below lsn and not below it. */
static enum err split_at(struct spans *s, lsn_t lsn)
{
    uint32_t i = dir_find(s, lsn);
    if (i-- == 0 || is_dense(dir(s, i)->span))
        return ERR_OK;
    struct span *sp = dir(s, i)->span;
    uint64_t shift = lsn - dir(s, i)->first;
    uint32_t k = lower(sp, shift);
    if (k == sp->n)
        return ERR_OK;
    if (k == 0) { /* all are above: it may as well begin here */
        for (uint32_t j = 0; j < sp->n; j++)
            deltas(sp)[j] -= (uint32_t)shift;
        dir(s, i)->first = lsn;
        return ERR_OK;
    }
    if (dir_reserve(s) != ERR_OK)
        return ERR_NOMEM;
    struct span *right = sparse_new(s, sp->n - k);
    if (right == NULL)
        return ERR_NOMEM;
    sparse_take(right, sp, k, sp->n - k, (uint64_t)0 - shift);
    sp->n = k;
    dir_insert(s, i + 1, lsn, right);
    return ERR_OK;
}

/* promote: what sparse spans hold of a block moves into a dense one. */
static enum err promote(struct spans *s, uint64_t block)
{
    lsn_t first = block << SPAN_SHIFT, end = first + SPAN_LSNS;
    if (split_at(s, first) != ERR_OK || split_at(s, end) != ERR_OK || dir_reserve(s) != ERR_OK)
        return ERR_NOMEM;
    struct span *dense = dense_new(s);
    if (dense == NULL)
        return ERR_NOMEM;
    uint32_t i = first == 0 ? 0 : dir_find(s, first - 1);
    while (i < s->n && dir(s, i)->first < end) {
        const struct span_at at = *dir(s, i);
        for (uint32_t k = 0; k < at.span->n; k++)
            dense->e[at.first - first + deltas(at.span)[k]] = at.span->e[k];
        dense->n += at.span->n;
        span_remove(s, i);
    }
    dir_insert(s, i, first, dense); /* there is room: at least one span went */
    return ERR_OK;
}

/* make_room: the sparse span at i is full and lsn should go into it at k. Changes the directory. */
static enum err make_room(struct spans *s, uint32_t i, uint32_t k, lsn_t lsn)
{
    const struct span_at at = *dir(s, i);
    uint64_t block = lsn >> SPAN_SHIFT;
    lsn_t begin = MAX(block << SPAN_SHIFT, at.first);
    uint32_t in_block = lower(at.span, ((block + 1) << SPAN_SHIFT) - at.first) - lower(at.span, begin - at.first);
    if (in_block >= DENSE_MIN)
        return promote(s, block);
    if (at.span->cap < SPARSE_MAX)
        return sparse_resize(s, i, MIN(at.span->cap * 2, SPARSE_MAX));
    uint32_t from = k == at.span->n ? at.span->n - 1 : at.span->n / 2; /* rising: leave full ones behind */
    return split_at(s, at.first + deltas(at.span)[from]);
}

/* put_new_span: a sparse one for lsn alone, as number i. */
static uint64_t *put_new_span(struct spans *s, uint32_t i, lsn_t lsn, uint64_t fresh)
{
    struct span *sp = NULL;
    if (dir_reserve(s) == ERR_OK)
        sp = sparse_new(s, SPARSE_MIN);
    if (sp == NULL)
        return NULL;
    sp->n = 1;
    sp->e[0] = fresh;
    deltas(sp)[0] = 0;
    dir_insert(s, i, lsn, sp);
    return &sp->e[0];
}

static uint64_t *put_sparse(struct span *sp, uint32_t k, uint32_t delta, uint64_t fresh)
{
    memmove(sp->e + k + 1, sp->e + k, (sp->n - k) * sizeof(uint64_t));
    memmove(deltas(sp) + k + 1, deltas(sp) + k, (sp->n - k) * sizeof(uint32_t));
    sp->n++;
    sp->e[k] = fresh;
    deltas(sp)[k] = delta;
    return &sp->e[k];
}

/* put_below: lsn is not there, and not in the tip. */
static uint64_t *put_below(struct spans *s, lsn_t lsn, uint64_t fresh)
{
    for (;;) {
        uint32_t i = dir_find(s, lsn);
        if (i == 0)
            return put_new_span(s, 0, lsn, fresh);
        const struct span_at at = *dir(s, --i);
        uint64_t delta = lsn - at.first;
        if (is_dense(at.span) ? delta >= SPAN_LSNS : delta > UINT32_MAX)
            return put_new_span(s, i + 1, lsn, fresh);
        if (is_dense(at.span)) {
            at.span->n++;
            at.span->e[delta] = fresh;
            return &at.span->e[delta];
        }
        uint32_t k = lower(at.span, delta);
        if (at.span->n < at.span->cap)
            return put_sparse(at.span, k, (uint32_t)delta, fresh);
        if (make_room(s, i, k, lsn) != ERR_OK)
            return NULL;
    }
}

/* new_tip: lsn is above all that are there. */
static enum err new_tip(struct spans *s, lsn_t lsn)
{
    struct span *sp = NULL;
    if (dir_reserve(s) == ERR_OK)
        sp = dense_new(s);
    if (sp == NULL)
        return ERR_NOMEM;
    dir_insert(s, s->n, lsn / SPAN_LSNS * SPAN_LSNS, sp);
    s->tip = sp;
    s->tip_block = lsn >> SPAN_SHIFT;
    if (s->n > 1)
        tidy(s, s->n - 2);
    return ERR_OK;
}

uint64_t *spans_put(struct spans *s, lsn_t lsn, uint64_t fresh)
{
    if (UNLIKELY(s->tip == NULL || lsn >> SPAN_SHIFT > s->tip_block)) {
        if (new_tip(s, lsn) != ERR_OK)
            return NULL;
    }
    if (UNLIKELY(lsn >> SPAN_SHIFT != s->tip_block)) {
        uint64_t *e = spans_get_slow(s, lsn);
        return e != NULL ? e : put_below(s, lsn, fresh);
    }
    uint64_t *e = &s->tip->e[lsn % SPAN_LSNS];
    if (*e == 0) {
        *e = fresh;
        s->tip->n++;
    }
    return e;
}

/* ---- getting, removing, walking ------------------------------------------------------------------------------ */

uint64_t *spans_get_slow(const struct spans *s, lsn_t lsn)
{
    uint64_t block = lsn >> SPAN_SHIFT, *e;
    uint32_t c = block % SPAN_CACHE;
    if (s->cache[c].span != NULL && s->cache[c].block == block) {
        e = &s->cache[c].span->e[lsn % SPAN_LSNS];
        return *e != 0 ? e : NULL;
    }
    uint32_t i = dir_find(s, lsn);
    if (i-- == 0)
        return NULL;
    struct span *sp = dir(s, i)->span;
    uint64_t delta = lsn - dir(s, i)->first;
    if (is_dense(sp)) {
        if (delta >= SPAN_LSNS)
            return NULL;
        struct spans *own = (struct spans *)(uintptr_t)s; /* a cache says the same to everybody */
        own->cache[c].block = block;
        own->cache[c].span = sp;
        return sp->e[delta] != 0 ? &sp->e[delta] : NULL;
    }
    uint32_t k = lower(sp, delta);
    return k < sp->n && deltas(sp)[k] == delta ? &sp->e[k] : NULL;
}

static void sparse_del(struct span *sp, uint32_t k)
{
    sp->n--;
    memmove(sp->e + k, sp->e + k + 1, (sp->n - k) * sizeof(uint64_t));
    memmove(deltas(sp) + k, deltas(sp) + k + 1, (sp->n - k) * sizeof(uint32_t));
}

void spans_del(struct spans *s, lsn_t lsn)
{
    if (LIKELY(lsn >> SPAN_SHIFT == s->tip_block)) {
        BUG_ON(s->tip->e[lsn % SPAN_LSNS] == 0);
        s->tip->e[lsn % SPAN_LSNS] = 0;
        s->tip->n--;
        return;
    }
    uint64_t *e = spans_get_slow(s, lsn);
    BUG_ON(e == NULL);
    uint64_t block = lsn >> SPAN_SHIFT;
    uint32_t c = block % SPAN_CACHE;
    if (s->cache[c].span != NULL && s->cache[c].block == block) { /* it is dense */
        struct span *sp = s->cache[c].span;
        *e = 0;
        sp->n--;
        if (UNLIKELY(sp->n < DENSE_MIN))
            tidy(s, dir_find(s, lsn) - 1);
        return;
    }
    uint32_t i = dir_find(s, lsn) - 1;
    struct span *sp = dir(s, i)->span;
    sparse_del(sp, (uint32_t)(e - sp->e));
    tidy(s, i);
}

uint64_t *spans_next(const struct spans *s, lsn_t after, lsn_t *out_lsn)
{
    uint32_t i = dir_find(s, after);
    for (i = i == 0 ? 0 : i - 1; i < s->n; i++) {
        const struct span_at *at = dir(s, i);
        uint64_t from = after < at->first ? 0 : after - at->first + 1;
        if (is_dense(at->span)) {
            for (uint64_t k = from; k < SPAN_LSNS; k++) {
                if (at->span->e[k] == 0)
                    continue;
                *out_lsn = at->first + k;
                return &at->span->e[k];
            }
            continue;
        }
        uint32_t k = lower(at->span, from);
        if (k == at->span->n)
            continue;
        *out_lsn = at->first + deltas(at->span)[k];
        return &at->span->e[k];
    }
    return NULL;
}

static void each_in(const struct span_at *at, spans_keep_fn keep, void *ctx)
{
    struct span *sp = at->span;
    if (is_dense(sp)) {
        for (uint32_t k = 0; k < SPAN_LSNS; k++) {
            if (sp->e[k] == 0 || keep(ctx, at->first + k, &sp->e[k]))
                continue;
            sp->e[k] = 0;
            sp->n--;
        }
        return;
    }
    for (uint32_t k = sp->n; k-- > 0;) {
        if (!keep(ctx, at->first + deltas(sp)[k], &sp->e[k]))
            sparse_del(sp, k);
    }
}

void spans_each(struct spans *s, spans_keep_fn keep, void *ctx)
{
    for (uint32_t i = s->n; i-- > 0;) {
        uint32_t n = dir(s, i)->span->n;
        each_in(dir(s, i), keep, ctx);
        if (dir(s, i)->span->n != n)
            tidy(s, i);
    }
}

void spans_init(struct spans *s, struct mem *mem)
{
    *s = (struct spans){.mem = mem, .tip_block = UINT64_MAX};
}

void spans_fini(struct spans *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        mem_free(s->mem, dir(s, i)->span);
    mem_free(s->mem, s->at);
    spans_init(s, s->mem);
}

static void check_span(const struct spans *s, uint32_t i)
{
    const struct span_at *at = dir(s, i);
    const struct span *sp = at->span;
    uint32_t n = 0;
    uint64_t end = i + 1 < s->n ? dir(s, i + 1)->first - at->first : UINT64_MAX;
    BUG_ON(sp->n == 0 && sp != s->tip);
    BUG_ON(end == 0 || (i + 1 < s->n && dir(s, i + 1)->first < at->first));
    for (uint32_t k = 0; is_dense(sp) && k < SPAN_LSNS; k++)
        n += sp->e[k] != 0;
    BUG_ON(is_dense(sp) && (n != sp->n || at->first % SPAN_LSNS != 0 || end < SPAN_LSNS));
    BUG_ON(!is_dense(sp) && (sp->n > sp->cap || sp->n > SPARSE_MAX));
    for (uint32_t k = 0; !is_dense(sp) && k < sp->n; k++) {
        BUG_ON(sp->e[k] == 0 || deltas(sp)[k] >= end);
        BUG_ON(k > 0 && deltas(sp)[k - 1] >= deltas(sp)[k]);
    }
}

void spans_check(const struct spans *s)
{
    BUG_ON((s->tip == NULL) != (s->n == 0) || s->head + s->n > s->cap);
    BUG_ON(s->tip != NULL && (dir(s, s->n - 1)->span != s->tip || !is_dense(s->tip)));
    BUG_ON(s->tip != NULL && dir(s, s->n - 1)->first != s->tip_block << SPAN_SHIFT);
    for (uint32_t i = 0; i < s->n; i++)
        check_span(s, i);
    for (uint32_t c = 0; c < SPAN_CACHE; c++) {
        if (s->cache[c].span == NULL)
            continue;
        uint32_t i = dir_find(s, s->cache[c].block << SPAN_SHIFT);
        BUG_ON(i == 0 || dir(s, i - 1)->span != s->cache[c].span || !is_dense(s->cache[c].span));
    }
}
