/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_POISON_H
#define WEIR_BASE_POISON_H

/*
 * poison.h: tells AddressSanitizer that bytes on a free list of ours must not be touched, as if they had been freed.
 * Without the sanitizer both functions are nothing.
 */

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define WEIR_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_POISON 1
#endif
#endif

#ifdef WEIR_POISON
#include <sanitizer/asan_interface.h>
#endif

/* poison: p[n] belongs to nobody until unpoison. p and p + n must be multiples of 8 for the bounds to be exact. */
static inline void poison(const void *p, size_t n)
{
#ifdef WEIR_POISON
    __asan_poison_memory_region(p, n);
#else
    (void)p;
    (void)n;
#endif
}

/* unpoison: p[n] may be used again. */
static inline void unpoison(const void *p, size_t n)
{
#ifdef WEIR_POISON
    __asan_unpoison_memory_region(p, n);
#else
    (void)p;
    (void)n;
#endif
}

#endif
