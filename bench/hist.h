/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_HIST_H
#define WEIR_BENCH_HIST_H

/*
 * hist.h: latencies in buckets whose width grows with the value: 64 per power of two, so a percentile is off by at
 * most 1.6 %. The largest value is kept exactly.
 */

#include <stdint.h>

#define HIST_STEP_BITS 6
#define HIST_N         (59u << HIST_STEP_BITS)

struct hist {
    uint64_t count, max;
    uint32_t bucket[HIST_N];
};

static inline void hist_add(struct hist *h, uint64_t ns)
{
    unsigned top = 63u - (unsigned)__builtin_clzll(ns | 1u << HIST_STEP_BITS);
    unsigned shift = top - HIST_STEP_BITS;
    h->bucket[((shift << HIST_STEP_BITS) + (unsigned)(ns >> shift)) % HIST_N]++;
    h->count++;
    h->max = ns > h->max ? ns : h->max;
}

/* hist_at: the value below which `share` (0..1) of all lie; 0 when there are none. */
static inline uint64_t hist_at(const struct hist *h, double share)
{
    uint64_t wanted = (uint64_t)((double)h->count * share), seen = 0;
    for (unsigned i = 0; i < HIST_N; i++) {
        seen += h->bucket[i];
        if (seen > wanted) {
            unsigned shift = i >> HIST_STEP_BITS > 0 ? (i >> HIST_STEP_BITS) - 1 : 0;
            uint64_t value = ((uint64_t)(i - (shift << HIST_STEP_BITS)) << shift) + (1ull << shift >> 1);
            return value < h->max ? value : h->max;
        }
    }
    return h->max;
}

#endif
