/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_MEM_H
#define WEIR_BASE_MEM_H

/*
 * mem.h: the only way to the allocator. Every subsystem has an account (`struct mem`), all accounts of a thread hang
 * off one `struct mem_heap`, and the heap can be told to fail its Nth allocation, which is how tests visit every
 * out-of-memory path. The bytes counted are what the allocator really set aside (malloc_usable_size).
 *
 * Thread: an account belongs to one thread; a block must be freed through the account it came from.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"

struct mem_heap {
    uint64_t calls;     /* allocations attempted so far */
    uint64_t fail_at;   /* the call with this number (1-based) fails; 0: none fails */
    bool fail_after;    /* also every call after fail_at fails */
    size_t bytes;       /* living bytes over all accounts */
    size_t bytes_max;   /* refuse to ask for more than this in all (rounding may overshoot); 0: no limit */
    size_t bytes_high;  /* the most that mem_heap_trim saw since it last gave memory back */
    size_t bytes_peak;  /* the most that mem_heap_trim ever saw: at the end of a turn */
    uint64_t trim_next; /* not before this time */
};

struct mem {
    struct mem_heap *heap;
    const char *name; /* static text, for statistics */
    size_t bytes;     /* living bytes */
    size_t blocks;    /* living blocks */
};

/* mem_heap_init: all zero. No destructor: a heap owns nothing. */
void mem_heap_init(struct mem_heap *h);

/* mem_heap_trim: gives free memory back to the system after a peak: when less than half of what mem_heap_trim saw at
 * most is alive, and MEM_TRIM_BYTES less, and at most once in MEM_TRIM_MS (now: ms). May take some milliseconds then;
 * else it costs two comparisons. True when it did. */
#define MEM_TRIM_BYTES 1048576u
#define MEM_TRIM_MS    100u
bool mem_heap_trim(struct mem_heap *h, uint64_t now);

/* mem_init: an empty account; `name` must outlive it. */
void mem_init(struct mem *m, struct mem_heap *h, const char *name);

/* mem_alloc: n > 0 bytes, uninitialised, aligned for anything. NULL when out of memory. */
void *mem_alloc(struct mem *m, size_t n) MUST_CHECK;

/* mem_zalloc: like mem_alloc, zeroed. */
void *mem_zalloc(struct mem *m, size_t n) MUST_CHECK;

/* mem_alloc_aligned: like mem_alloc, at a multiple of `align`, a power of two >= sizeof(void *). Freed by mem_free;
 * must not go through mem_realloc, which forgets the alignment. */
void *mem_alloc_aligned(struct mem *m, size_t align, size_t n) MUST_CHECK;

/* mem_realloc: grows or shrinks p (NULL: allocates) to n > 0 bytes. On NULL, p is untouched and still owned. */
void *mem_realloc(struct mem *m, void *p, size_t n) MUST_CHECK;

/* mem_dup: a copy of p[n] with one NUL byte behind it (also when n is 0). NULL when out of memory. */
void *mem_dup(struct mem *m, const void *p, size_t n) MUST_CHECK;

/* mem_free: gives p back; NULL is fine. */
void mem_free(struct mem *m, void *p);

#endif
