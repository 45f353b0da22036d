/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_LIVING_TABLE_H
#define WEIR_PERSIST_LIVING_TABLE_H

/*
 * living_table.h: a table from a number to a number, for the log's index: 16 bytes per slot, linear probing, no
 * tombstones. A key may be there more than once: hashes are keys, too, and whoever uses them looks at what they stand
 * for. Room is asked for beforehand, so that putting never fails:
 *
 *     tab_hold(t) ─► ERR_OK: one tab_put will find room ─► tab_put, or tab_release
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/mem.h"

struct tab_slot {
    uint64_t key;
    uint64_t val; /* 0: free */
};

struct tab {
    struct mem *mem;
    struct tab_slot *slot;
    uint32_t n, held; /* in it; promised room for */
    uint32_t cap;     /* a power of two or 0 */
    uint32_t shift;   /* 64 - log2(cap) */
    uint32_t cap_min; /* never shrinks below */
};

void tab_init(struct tab *t, struct mem *mem);
void tab_fini(struct tab *t);

/* tab_hold: room for one more; ERR_NOMEM. tab_hold_n: for n more. tab_release: it is not needed after all. */
enum err tab_hold(struct tab *t) MUST_CHECK;
enum err tab_hold_n(struct tab *t, uint32_t n) MUST_CHECK;
void tab_release(struct tab *t);

/* tab_put: uses up one hold. val != 0. */
void tab_put(struct tab *t, uint64_t key, uint64_t val);

/* tab_find: the first slot with this key, or the first behind `after`, which has it; NULL: no more. */
struct tab_slot *tab_find(const struct tab *t, uint64_t key, const struct tab_slot *after);

/* tab_get: the val of the only slot with this key; 0: none. */
static inline uint64_t tab_get(const struct tab *t, uint64_t key)
{
    const struct tab_slot *s = tab_find(t, key, NULL);
    return s != NULL ? s->val : 0;
}

/* tab_del: removes a slot that tab_find found. */
void tab_del(struct tab *t, struct tab_slot *s);

/* tab_check: asserts all invariants; for tests. */
void tab_check(const struct tab *t);

#endif
