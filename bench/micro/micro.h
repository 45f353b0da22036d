/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_MICRO_H
#define WEIR_BENCH_MICRO_H

/*
 * micro.h: what is measured, as tables of cases, and the little that all of them need. A case is opened once, runs laps
 * of n operations, and is closed. Every lap counts what it really did: a lap that did less than it was asked for fails
 * the run, so nothing measured can be nothing.
 *
 * Thread: one.
 */

#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"

struct lap {
    uint64_t done; /* operations whose result was seen to be right */
    uint64_t ns;   /* 0: the runner takes the time around the lap; else what the case says it took */
};

struct micro {
    const char *name; /* "part/what" */
    const char *what; /* one line for --list */
    uint64_t arg;     /* the case's own */
    void *(*open)(const struct micro *m);
    void (*lap)(void *ctx, uint64_t n, struct lap *out);
    void (*close)(void *ctx);
    uint32_t multiple; /* n is a multiple of this; 0: of 1 */
};

struct micro_table {
    const struct micro *v;
    size_t n;
};

/* The parts, each with its cases. */
struct micro_table micro_codec(void);
struct micro_table micro_router(void);
struct micro_table micro_queue(void);
struct micro_table micro_wheel(void);
struct micro_table micro_outv(void);
struct micro_table micro_journeys(void);

/* micro_die: prints "weir-micro: ..." and exits with 1. */
_Noreturn void micro_die(const char *format, ...) PRINTF_LIKE(1, 2);

/* micro_take: zeroed memory for n items of size bytes, never NULL; given back with free(). */
void *micro_take(size_t n, size_t size);

/* micro_now_ns: monotonic clock. */
uint64_t micro_now_ns(void);

/* micro_must: p, which is not NULL, or the run ends: for what the code under test allocates. */
static inline void *micro_must(void *p)
{
    if (p == NULL)
        micro_die("out of memory");
    return p;
}

/* micro_seen: the compiler has to assume that the bytes p points to are read and changed here. */
static inline void micro_seen(const void *p)
{
    __asm__ volatile("" : : "r"(p) : "memory");
}

/* Keeps its name and its calls, so that a profiler can be told to start and stop there. */
#if defined(__clang__)
#define MICRO_LANDMARK __attribute__((noinline, used))
#else
#define MICRO_LANDMARK __attribute__((noipa, used))
#endif

#endif
