/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

/*
 * hash.h: seeded 64-bit hash of bytes for tables. The seed is random per process, so a peer cannot choose
 * colliding names. Not for signatures. Pure.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* hash_mix_portable: both halves of the 128-bit product, folded, from four products of halves. */
static inline uint64_t hash_mix_portable(uint64_t a, uint64_t b)
{
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t low = a0 * b0, mid = a1 * b0 + (low >> 32), cross = a0 * b1 + (uint32_t)mid;
    return ((cross << 32) | (uint32_t)low) ^ (a1 * b1 + (mid >> 32) + (cross >> 32));
}

/* hash_mix: the same value by the shortest way this machine has. */
static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
#else
    return hash_mix_portable(a, b);
#endif
}

/* hash_u64: of a number; two rounds, since one leaves patterns in the low bits of hashes of numbers in sequence. */
static inline uint64_t hash_u64(uint64_t seed, uint64_t v)
{
    uint64_t h = hash_mix(v ^ seed ^ 0x9e3779b97f4a7c15ull, 0xd6e8feb86659fd93ull ^ seed);
    return hash_mix(h ^ seed, 0xa24baed4963ee407ull);
}

/* hash_bytes: of p[n], any length (p may be NULL when n is 0); reads 8 bytes at a time, never outside p[n]. */
uint64_t hash_bytes(uint64_t seed, const void *p, size_t n);

#endif
