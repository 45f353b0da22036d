/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seeds.c: many runs, and what to say when one fails.
 *
 * A run that violates the model returns and says why. One that crashes (BUG_ON aborts, a sanitizer ends the process) or
 * does not end (SIGALRM after SECONDS_MAX) cannot return: for those the seed is noted before the run, and a signal
 * handler and the sanitizer's last callback print the line.
 */
#include "tests/sim/seeds.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/check.h"
#include "tests/sim/crash_world.h"
#include "tests/sim/stage.h"
#include "tests/sim/world.h"

enum { SECONDS_MAX = 60 };

/* What a dying process says. The only state outside a world. */
static struct {
    char line[512];
    size_t len;
    volatile sig_atomic_t is_armed;
} last_words;

/* There when a sanitizer is linked in. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void say_last_words(void)
{
    if (!last_words.is_armed)
        return;
    last_words.is_armed = 0;
    ssize_t n = write(STDERR_FILENO, last_words.line, last_words.len);
    UNUSED(n);
}

static void on_signal(int number)
{
    say_last_words();
    signal(number, SIG_DFL);
    raise(number);
}

/* replay_command: "build/dev/tests/sim --seed 7": the program `sim` beside this one. */
static void replay_command(enum seed_game game, uint64_t seed, uint32_t steps, char *out, size_t cap)
{
    char self[256];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    static const char *const which[] = {[GAME_WORLD] = "", [GAME_STAGE] = " --queues", [GAME_CRASH] = " --crash"};
    size_t len = (size_t)snprintf(out, cap, "%s/sim%s --seed %llu", self, which[game], (unsigned long long)seed);
    if (steps)
        snprintf(out + len, cap - len, " --steps %u", steps);
}

static void arm(enum seed_game game, uint64_t seed, uint32_t steps)
{
    char command[320];
    replay_command(game, seed, steps, command, sizeof(command));
    last_words.len =
        (size_t)snprintf(last_words.line, sizeof(last_words.line), "SEED %llu DIED (crash, or no end): replay: %s\n",
                         (unsigned long long)seed, command);
    last_words.is_armed = 1;
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(say_last_words);
    alarm(SECONDS_MAX);
}

bool seeds_run_one(enum seed_game game, uint64_t seed, uint32_t steps, bool verbose)
{
    char why[256], command[320];
    arm(game, seed, steps);
    bool (*const play[])(uint64_t, uint32_t, bool, char *,
                         size_t) = {[GAME_WORLD] = world_run, [GAME_STAGE] = stage_run, [GAME_CRASH] = crash_run};
    bool ok = play[game](seed, steps, verbose, why, sizeof(why));
    alarm(0);
    last_words.is_armed = 0;
    if (!ok) {
        replay_command(game, seed, steps, command, sizeof(command));
        fprintf(stderr, "SEED %llu FAILED: %s: replay: %s --verbose\n", (unsigned long long)seed, why, command);
    }
    return ok;
}

uint32_t seeds_run(enum seed_game game, uint64_t first, uint64_t n, uint32_t steps)
{
    uint32_t failed = 0;
    for (uint64_t seed = first; seed < first + n && failed < 10; seed++)
        failed += !seeds_run_one(game, seed, steps, false);
    return failed;
}

static bool read_seed(const char *path, uint64_t *out)
{
    FILE *f = fopen(path, "r");
    unsigned long long seed;
    bool ok = f && fscanf(f, "%llu", &seed) == 1;
    if (f)
        fclose(f);
    if (ok)
        *out = seed;
    return ok;
}

uint32_t seeds_run_files(enum seed_game game, const char *dir, uint32_t *out_n)
{
    uint32_t failed = 0;
    *out_n = 0;
    DIR *d = opendir(dir);
    if (d == NULL)
        return 1;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        char path[512];
        uint64_t seed = 0;
        if (entry->d_name[0] == '.' || entry->d_type == DT_DIR)
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        ++*out_n;
        if (!read_seed(path, &seed)) {
            fprintf(stderr, "%s: no seed in it\n", path);
            failed++;
        } else {
            failed += !seeds_run_one(game, seed, 0, false);
        }
    }
    closedir(d);
    return failed;
}

uint64_t seeds_wanted(void)
{
    const char *text = getenv("WEIR_SIM_SEEDS");
    char *end;
    unsigned long long n = text ? strtoull(text, &end, 10) : 0;
    return text && n > 0 && *end == 0 ? n : 1000;
}
