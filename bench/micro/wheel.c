/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wheel.c: timers, among 100,000 others that are armed, up to a minute ahead.
 */
#include <stdlib.h>

#include "bench/micro/micro.h"
#include "core/base/rng.h"
#include "core/base/wheel.h"

enum { TIMERS = 100000, AHEAD_MAX_MS = 60000, RANDOM_N = 1u << 16 };

struct timers {
    struct wheel wheel;
    uint32_t ahead[RANDOM_N]; /* 1 .. AHEAD_MAX_MS, at random */
    struct wtimer timer[TIMERS];
    mono_ms now;
};

static mono_ms due_at(const struct timers *t, uint64_t i)
{
    return t->now + t->ahead[i & (RANDOM_N - 1)];
}

static void *open_timers(const struct micro *m)
{
    UNUSED(m);
    struct timers *t = micro_take(1, sizeof *t);
    struct rng rng;
    rng_init(&rng, 1);
    t->now = 1000;
    wheel_init(&t->wheel, t->now);
    for (uint32_t i = 0; i < RANDOM_N; i++)
        t->ahead[i] = 1 + rng_below(&rng, AHEAD_MAX_MS);
    for (uint32_t i = 0; i < TIMERS; i++)
        wheel_arm(&t->wheel, &t->timer[i], due_at(t, i));
    return t;
}

static void lap_cancel(void *ctx, uint64_t n, struct lap *out)
{
    struct timers *t = ctx;
    struct wtimer one = {0};
    for (uint64_t i = 0; i < n; i++) {
        wheel_arm(&t->wheel, &one, due_at(t, i));
        out->done += wheel_is_armed(&one) && t->wheel.armed_n == TIMERS + 1;
        wheel_disarm(&t->wheel, &one);
        micro_seen(&one);
    }
    if (t->wheel.armed_n != TIMERS)
        out->done = 0;
}

static void lap_rearm(void *ctx, uint64_t n, struct lap *out)
{
    struct timers *t = ctx;
    for (uint64_t i = 0; i < n; i++) {
        struct wtimer *one = &t->timer[(i * 7919) % TIMERS];
        wheel_arm(&t->wheel, one, due_at(t, i));
        out->done += one->due == due_at(t, i);
    }
    if (t->wheel.armed_n != TIMERS)
        out->done = 0;
}

static void lap_fire(void *ctx, uint64_t n, struct lap *out)
{
    struct timers *t = ctx;
    while (out->done < n) {
        struct wtimer *fired = wheel_pop(&t->wheel, t->now);
        if (fired == NULL) {
            t->now++;
            continue;
        }
        if (fired->due > t->now)
            return; /* early */
        wheel_arm(&t->wheel, fired, due_at(t, out->done));
        out->done++;
    }
}

static const struct micro cases[] = {
    {"wheel/arm-cancel", "arm and disarm one timer", 0, open_timers, lap_cancel, free, 0},
    {"wheel/rearm", "move a timer that is armed", 0, open_timers, lap_rearm, free, 0},
    {"wheel/arm-fire", "arm a timer and be told when it is due, time included", 0, open_timers, lap_fire, free, 0},
};

struct micro_table micro_wheel(void)
{
    return (struct micro_table){cases, ARRAY_N(cases)};
}
