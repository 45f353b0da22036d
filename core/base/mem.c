/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.c: the only file that calls the C library's allocator.
 *
 *     struct mem "queue"  ─┐
 *     struct mem "router" ─┼─► struct mem_heap: total, limit, "fail the Nth"
 *     struct mem "conn"   ─┘
 *
 * A block carries no header of ours: its size is asked back from the allocator, so accounting costs no memory and the
 * sum is what was really set aside (16-byte rounding included).
 *
 * Invariants
 *   1. account.bytes is the sum of malloc_usable_size over its living blocks; heap.bytes the sum over its accounts.
 *   2. heap.calls counts every attempt, also those made to fail; a scenario without randomness makes the same calls
 *      again, so a test can fail call 1, 2, 3 ... until one run makes no more calls than the number asked for.
 *   3. A failed mem_realloc changes nothing.
 * Cost    the allocator's, plus four additions.
 * Thread  an account and its heap belong to one thread.
 */
#include "core/base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void mem_heap_init(struct mem_heap *h)
{
    *h = (struct mem_heap){0};
}

bool mem_heap_trim(struct mem_heap *h, uint64_t now)
{
    if (h->bytes >= h->bytes_high) {
        h->bytes_high = h->bytes;
        h->bytes_peak = MAX(h->bytes_peak, h->bytes);
        return false;
    }
    if (LIKELY(h->bytes_high - h->bytes < MEM_TRIM_BYTES || h->bytes > h->bytes_high / 2 || now < h->trim_next))
        return false;
    h->bytes_high = h->bytes;
    h->trim_next = now + MEM_TRIM_MS;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    return true;
}

void mem_init(struct mem *m, struct mem_heap *h, const char *name)
{
    *m = (struct mem){.heap = h, .name = name};
}

/* may_grow: counts the attempt and says whether `more` further bytes are allowed. */
static bool may_grow(struct mem_heap *h, size_t more)
{
    h->calls++;
    if (UNLIKELY(h->fail_at != 0) && (h->calls == h->fail_at || (h->fail_after && h->calls > h->fail_at)))
        return false;
    if (UNLIKELY(more > PTRDIFF_MAX)) /* such a block could not be walked with pointer differences */
        return false;
    return h->bytes_max == 0 || (h->bytes <= h->bytes_max && more <= h->bytes_max - h->bytes);
}

static void count_in(struct mem *m, size_t bytes)
{
    m->bytes += bytes;
    m->heap->bytes += bytes;
}

static void count_out(struct mem *m, size_t bytes)
{
    BUG_ON(m->bytes < bytes || m->heap->bytes < bytes); /* freed through an account it did not come from */
    m->bytes -= bytes;
    m->heap->bytes -= bytes;
}

static void *counted(struct mem *m, void *p)
{
    if (LIKELY(p != NULL)) {
        m->blocks++;
        count_in(m, malloc_usable_size(p));
    }
    return p;
}

void *mem_alloc(struct mem *m, size_t n)
{
    BUG_ON(n == 0);
    return LIKELY(may_grow(m->heap, n)) ? counted(m, malloc(n)) : NULL;
}

void *mem_zalloc(struct mem *m, size_t n)
{
    BUG_ON(n == 0);
    return LIKELY(may_grow(m->heap, n)) ? counted(m, calloc(1, n)) : NULL;
}

void *mem_alloc_aligned(struct mem *m, size_t align, size_t n)
{
    BUG_ON(n == 0 || align < sizeof(void *) || (align & (align - 1)) != 0);
    void *p = NULL;
    if (!may_grow(m->heap, n) || posix_memalign(&p, align, n) != 0)
        return NULL;
    return counted(m, p);
}

void *mem_realloc(struct mem *m, void *p, size_t n)
{
    BUG_ON(n == 0);
    if (p == NULL)
        return mem_alloc(m, n);
    size_t before = malloc_usable_size(p);
    if (!may_grow(m->heap, n > before ? n - before : 0))
        return NULL;
    void *moved = realloc(p, n);
    if (UNLIKELY(moved == NULL))
        return NULL;
    count_out(m, before);
    count_in(m, malloc_usable_size(moved));
    return moved;
}

void *mem_dup(struct mem *m, const void *p, size_t n)
{
    if (UNLIKELY(n == SIZE_MAX))
        return NULL;
    uint8_t *copy = mem_alloc(m, n + 1);
    if (copy == NULL)
        return NULL;
    if (n != 0)
        memcpy(copy, p, n);
    copy[n] = 0;
    return copy;
}

void mem_free(struct mem *m, void *p)
{
    if (p == NULL)
        return;
    BUG_ON(m->blocks == 0);
    m->blocks--;
    count_out(m, malloc_usable_size(p));
    free(p);
}
