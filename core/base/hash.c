/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.c: one 64 x 64 -> 128 bit multiplication per 16 bytes, folded.
 *
 *     state ─► mix(word ^ secret, word ^ state) ─► ... ─► mix with the length
 *
 * A fold of a product is only weak where a factor is zero, so both factors of every product are hidden by something
 * that comes from the seed: the first by a secret made from it, the second by the running state.
 *
 * Invariants
 *   1. Every byte and the length reach the result; the last words may overlap the ones before, never the outside:
 *      nothing outside p[n] is read.
 *   2. The value is for this process only (seed, byte order): it is never stored and never sent.
 * Cost    about 1 ns plus 0.1 ns per byte. Pure.
 */
#include "core/base/hash.h"

#define HASH_A 0xa24baed4963ee407ull
#define HASH_B 0x9fb21c651e98df25ull

static inline uint64_t word8(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

static inline uint64_t word4(const uint8_t *p)
{
    uint32_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

uint64_t hash_bytes(uint64_t seed, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t secret = hash_mix(seed ^ HASH_A, HASH_B);
    uint64_t state = seed ^ HASH_B;
    size_t left = n;
    for (; left > 16; left -= 16, p += 16)
        state = hash_mix(word8(p) ^ secret, word8(p + 8) ^ state);

    uint64_t a = 0, b = 0;
    if (left >= 8) {
        a = word8(p);
        b = word8(p + left - 8);
    } else if (left >= 4) {
        a = word4(p);
        b = word4(p + left - 4);
    } else if (left > 0) {
        a = (uint64_t)p[0] << 16 | (uint64_t)p[left / 2] << 8 | p[left - 1];
    }
    state = hash_mix(a ^ secret, b ^ state);
    return hash_mix(state ^ secret, (uint64_t)n ^ HASH_A);
}
