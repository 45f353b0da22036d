/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_POOL_H
#define WEIR_BASE_POOL_H

/*
 * pool.h: objects of one size carved from slabs, for what comes and goes per message. A slab whose objects are all
 * free is given back once the pool holds more than POOL_SPARE_MAX free slabs' worth, so memory follows load down.
 * Objects are not zeroed. O(1).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/list.h"
#include "core/base/mem.h"

#define POOL_SLAB_BYTES 16384u
#define POOL_SPARE_MAX  4u

struct pool {
    struct mem *mem;
    size_t item_bytes;   /* rounded up to 8 */
    uint32_t per_slab;   /* objects in a slab of full size; the first slabs are smaller */
    uint32_t spare_n;    /* slabs that are wholly free */
    size_t used_n;       /* objects handed out */
    struct list partial; /* slabs with at least one free object, wholly free ones last */
    struct list full;
};

/* pool_init: item_bytes is 1 .. about 16,000. No allocation. */
void pool_init(struct pool *p, struct mem *mem, size_t item_bytes);
/* pool_fini: every object must have been put back (BUG_ON). */
void pool_fini(struct pool *p);

/* pool_take: an object aligned to 8, uninitialised; NULL when out of memory. */
void *pool_take(struct pool *p) MUST_CHECK;

/* pool_reserve: the next pool_take will find an object, if no other comes before. False: out of memory. */
bool pool_reserve(struct pool *p) MUST_CHECK;

/* pool_from_item: the pool that an object handed out came from. */
struct pool *pool_from_item(const void *item);

/* pool_give: takes an object of this pool back. Under AddressSanitizer touching it afterwards is reported. */
void pool_give(struct pool *p, void *item);

/* pool_check: asserts all invariants; for tests. */
void pool_check(const struct pool *p);

#endif
