/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_main.c: the simulator by hand.
 *
 *     sim --seed S             one run                    sim --seed S --verbose    with every event of it
 *     sim --seed S --seeds N   S, S+1 ... N runs          sim --seed S --steps N    N acts instead of what the seed
 * says;    --queues: another game, tests/sim/stage.h    --crash: another one, tests/sim/crash_world.h
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/seeds.h"

static int usage(void)
{
    fprintf(stderr, "usage: sim [--queues | --crash] --seed S [--seeds N] [--steps N] [--verbose]\n");
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t value[3] = {1, 1, 0};
    static const char *const name[3] = {"--seed", "--seeds", "--steps"};
    bool verbose = false;
    enum seed_game game = GAME_WORLD;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--queues") == 0 || strcmp(argv[i], "--crash") == 0) {
            game = argv[i][2] == 'q' ? GAME_STAGE : GAME_CRASH;
            continue;
        }
        int k = 0;
        while (k < 3 && strcmp(argv[i], name[k]) != 0)
            k++;
        char *end = NULL;
        if (k == 3 || i + 1 == argc)
            return usage();
        value[k] = strtoull(argv[++i], &end, 10);
        if (*argv[i] == 0 || *end != 0)
            return usage();
    }
    if (value[1] == 1)
        return seeds_run_one(game, value[0], (uint32_t)value[2], verbose) ? 0 : 1;
    uint32_t failed = seeds_run(game, value[0], value[1], (uint32_t)value[2]);
    printf("%u of %llu seeds failed%s\n", failed, (unsigned long long)value[1], failed == 10 ? " (stopped there)" : "");
    return failed != 0;
}
