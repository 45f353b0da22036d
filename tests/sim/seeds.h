/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_SEEDS_H
#define WEIR_TESTS_SEEDS_H

/*
 * seeds.h: running seeds and saying which one failed: whatever happens in a run (a violation, a BUG_ON, a sanitizer
 * report, no end), one line with the command that replays it goes to stderr.
 */

#include <stdbool.h>
#include <stdint.h>

/* What is played with a seed: world_run (everything goes wrong), stage_run (queues, compared exactly), or crash_run
 * (the broker dies again and again). */
enum seed_game { GAME_WORLD, GAME_STAGE, GAME_CRASH };

/* seeds_run_one: plays a seed. True when nothing was violated. */
bool seeds_run_one(enum seed_game game, uint64_t seed, uint32_t steps, bool verbose);

/* seeds_run: seeds first, first + 1 ... (n of them); goes on after violations, at most 10. Returns how many failed. */
uint32_t seeds_run(enum seed_game game, uint64_t first, uint64_t n, uint32_t steps);

/* seeds_run_files: every file in dir (not those below it): its first number is a seed; the rest says why it is kept.
 * Returns how many failed, *out_n how many there were. */
uint32_t seeds_run_files(enum seed_game game, const char *dir, uint32_t *out_n);

/* seeds_wanted: WEIR_SIM_SEEDS, or 1000. */
uint64_t seeds_wanted(void);

#endif
