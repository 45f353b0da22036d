/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_RNG_H
#define WEIR_BASE_RNG_H

/* rng.h: a small seedable generator for table seeds, generated names and the simulator. Not for secrets. */

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

/* rng_init: the same seed gives the same numbers, for ever: seeds of the simulator are kept in files. */
void rng_init(struct rng *r, uint64_t seed);
/* rng_init_random: seeds from the operating system. */
void rng_init_random(struct rng *r);

/* rng_u64: any 64-bit number. */
uint64_t rng_u64(struct rng *r);
/* rng_below: 0 .. n-1, n > 0, without bias worth speaking of. */
uint32_t rng_below(struct rng *r, uint32_t n);
/* rng_chance: true in `of_100` of 100 cases. */
int rng_chance(struct rng *r, unsigned of_100);

#endif
