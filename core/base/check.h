/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_CHECK_H
#define WEIR_BASE_CHECK_H

/*
 * check.h: assertions that stay on in release builds, and the few macros every file needs.
 *
 * BUG_ON(cond) is for our own mistakes only. What a peer or a disk can cause is an `enum err`, never a BUG_ON.
 */

#include <stddef.h>

#define MUST_CHECK                      __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt_i, arg_i)       __attribute__((format(printf, fmt_i, arg_i)))
#define NOINLINE                        __attribute__((noinline)) /* keeps a slow way out of a hot function's registers */
#define ALWAYS_INLINE                   inline __attribute__((always_inline)) /* one thought of a hot function */
#define LIKELY(x)                       __builtin_expect(!!(x), 1)
#define UNLIKELY(x)                     __builtin_expect(!!(x), 0)
#define ARRAY_N(a)                      (sizeof(a) / sizeof((a)[0]))
#define UNUSED(x)                       ((void)(x))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* bug_at: prints file, line and the violated condition on stderr, then aborts. Any thread. */
_Noreturn void bug_at(const char *file, int line, const char *what);

#define BUG_ON(cond)                                                                                                   \
    do {                                                                                                               \
        if (UNLIKELY(cond))                                                                                            \
            bug_at(__FILE__, __LINE__, #cond);                                                                         \
    } while (0)

#endif
