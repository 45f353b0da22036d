/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_LIVING_SPANS_H
#define WEIR_PERSIST_LIVING_SPANS_H

/*
 * living_spans.h: from an LSN to a 64-bit entry, for LSNs that come rising and go in any order: an array per 1,024 of
 * them while many live, a short sorted list of the few that are left over.
 *
 *     directory, by LSN:   [ few: 7, 2011, 5120 ] [ 6144.. 7167 ] [ few: 7300 ] [ 8192.. 9215 ] [ tip 9216.. ]
 *
 * What an entry says is the user's, but for 0: nothing there. Pointers to entries are good until the next spans_put,
 * spans_del or spans_each.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/mem.h"

#define SPAN_SHIFT 10u
#define SPAN_LSNS  (1u << SPAN_SHIFT) /* of a dense span, which begins at a multiple of it */
#define SPAN_CACHE 64u

/* One allocation: sparse: behind e[cap] stand uint32_t delta[cap], rising: LSN less that of the directory. */
struct span {
    uint32_t n;   /* entries in it */
    uint32_t cap; /* 0: dense, e[SPAN_LSNS] */
    uint64_t e[];
};

struct span_at {
    lsn_t first; /* nothing in it is below, and nothing in the span before it is not */
    struct span *span;
};

struct spans {
    struct mem *mem;
    struct span_at *at; /* [cap], of which at[head .. head + n) are in use */
    uint32_t head, n, cap;
    uint64_t tip_block; /* lsn >> SPAN_SHIFT of the last span, which is dense; UINT64_MAX: there is none */
    struct span *tip;
    struct {
        uint64_t block;
        struct span *span; /* dense; NULL: nothing cached */
    } cache[SPAN_CACHE];
};

void spans_init(struct spans *s, struct mem *mem);
void spans_fini(struct spans *s);

/* spans_put: the entry of lsn (not 0), made with the value `fresh` (not 0) if there was none. NULL: out of memory. */
uint64_t *spans_put(struct spans *s, lsn_t lsn, uint64_t fresh) MUST_CHECK;

/* spans_get_slow: as spans_get, where lsn is not in the newest span. */
uint64_t *spans_get_slow(const struct spans *s, lsn_t lsn);

/* spans_get: the entry of lsn, NULL: none. */
static inline uint64_t *spans_get(const struct spans *s, lsn_t lsn)
{
    if (LIKELY(lsn >> SPAN_SHIFT == s->tip_block)) {
        uint64_t *e = &s->tip->e[lsn % SPAN_LSNS];
        return *e != 0 ? e : NULL;
    }
    return spans_get_slow(s, lsn);
}

/* spans_del: forgets the entry of lsn, which is there. Never fails. */
void spans_del(struct spans *s, lsn_t lsn);

/* spans_next: the first entry of an LSN greater than `after`; its LSN goes to *out_lsn. NULL: none. O(log spans). */
uint64_t *spans_next(const struct spans *s, lsn_t after, lsn_t *out_lsn);

/* spans_each: every entry, in no order; keep says whether it stays (it may change it). keep must not use the spans. */
typedef bool (*spans_keep_fn)(void *ctx, lsn_t lsn, uint64_t *e);
void spans_each(struct spans *s, spans_keep_fn keep, void *ctx);

/* spans_check: asserts all invariants; for tests. */
void spans_check(const struct spans *s);

#endif
