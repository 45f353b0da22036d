/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.c: xoshiro256** (Blackman and Vigna), its state filled by SplitMix64.
 *
 * The simulator replays a run from its seed, so the sequence of a seed is part of what tests rely on: changing the
 * generator changes the meaning of every seed in tests/sim/seeds.
 *
 * Invariants
 *   1. The state is never all zero (SplitMix64 gives zero at most once in its period).
 *   2. Predictable from its output: never for secrets.
 * Cost    about 1 ns per number; 32 bytes.
 * Thread  the owner's.
 */
#include "core/base/rng.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "core/base/check.h"

static inline uint64_t rotate(uint64_t v, unsigned n)
{
    return v << n | v >> (64 - n);
}

void rng_init(struct rng *r, uint64_t seed)
{
    for (unsigned i = 0; i < ARRAY_N(r->s); i++) {
        seed += 0x9e3779b97f4a7c15ull;
        uint64_t z = seed;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ z >> 27) * 0x94d049bb133111ebull;
        r->s[i] = z ^ z >> 31;
    }
}

void rng_init_random(struct rng *r)
{
    uint64_t seed;
    ssize_t got;
    do {
        got = getrandom(&seed, sizeof(seed), 0);
    } while (got == -1 && errno == EINTR);
    if (got != (ssize_t)sizeof(seed)) { /* a kernel before 3.17: something that differs from start to start */
        struct timespec ts = {0};
        clock_gettime(CLOCK_REALTIME, &ts);
        seed = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
        seed ^= (uint64_t)(uintptr_t)&seed << 20;
    }
    rng_init(r, seed);
}

uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t out = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return out;
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    BUG_ON(n == 0);
    return (uint32_t)((rng_u64(r) >> 32) * n >> 32);
}

int rng_chance(struct rng *r, unsigned of_100)
{
    return rng_below(r, 100) < of_100;
}
