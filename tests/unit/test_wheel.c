/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_wheel.c: random arming, re-arming, disarming and budgeted firing against a table that is searched for the
 * earliest entry; distances from 1 ms to centuries, and the very ends of time.
 *
 * The order promised: by due time, within one ms by arming. A timer armed for the past counts as armed for the
 * wheel's own `now`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/base/wheel.h"

#define TIMERS 120u

struct entry {
    struct wtimer t;
    bool armed;
    mono_ms key; /* when it counts as due */
    uint64_t seq;
};

struct env {
    struct wheel w;
    struct rng rng;
    struct entry e[TIMERS];
    uint64_t seq;
    uint64_t armed_n;
    mono_ms now;
};

static struct env the_env;

static void env_init(struct env *v, uint64_t seed, mono_ms now)
{
    memset(v, 0xa5, sizeof(*v)); /* the wheel must not rely on zeroed memory */
    memset(v->e, 0, sizeof(v->e));
    for (size_t i = 0; i < TIMERS; i++)
        v->e[i].t.kind = i & 0xff;
    rng_init(&v->rng, seed);
    v->now = now;
    v->seq = v->armed_n = 0;
    wheel_init(&v->w, now);
}

/* distance: any magnitude up to 2^bits is as likely as any other. */
static mono_ms distance(struct env *v, unsigned bits)
{
    unsigned b = rng_below(&v->rng, bits + 1);
    return b == 0 ? 0 : rng_u64(&v->rng) >> (64 - b);
}

static mono_ms later(mono_ms now, mono_ms by)
{
    return by > WHEEL_DUE_MAX - now ? WHEEL_DUE_MAX : now + by;
}

static void arm(struct env *v, struct entry *e, mono_ms due)
{
    wheel_arm(&v->w, &e->t, due);
    assert_true(wheel_is_armed(&e->t));
    assert_int_equal(e->t.due, due);
    assert_int_equal(e->t.kind, (e - v->e) & 0xff);
    v->armed_n += !e->armed;
    e->armed = true;
    e->key = due > v->w.now ? due : v->w.now;
    e->seq = v->seq++;
}

static void disarm(struct env *v, struct entry *e)
{
    wheel_disarm(&v->w, &e->t);
    assert_false(wheel_is_armed(&e->t));
    v->armed_n -= e->armed;
    e->armed = false;
}

static struct entry *earliest(struct env *v)
{
    struct entry *best = NULL;
    for (size_t i = 0; i < TIMERS; i++) {
        struct entry *e = &v->e[i];
        if (e->armed && (best == NULL || e->key < best->key || (e->key == best->key && e->seq < best->seq)))
            best = e;
    }
    return best;
}

/* pop: one wheel_pop, compared; returns whether something fired. */
static bool pop(struct env *v, mono_ms now)
{
    struct entry *want = earliest(v);
    if (want != NULL && want->key > now)
        want = NULL;
    struct wtimer *t = wheel_pop(&v->w, now);
    assert_ptr_equal(t, want ? &want->t : NULL);
    if (t == NULL) {
        assert_int_equal(v->w.now, now);
        return false;
    }
    assert_true(t->due <= now);
    assert_false(wheel_is_armed(t));
    want->armed = false;
    v->armed_n--;
    return true;
}

static void look(struct env *v)
{
    wheel_check(&v->w);
    assert_int_equal(v->w.armed_n, v->armed_n);
    struct entry *e = earliest(v);
    if (e == NULL) {
        assert_true(wheel_next(&v->w) == MONO_NEVER);
        return;
    }
    mono_ms next = wheel_next(&v->w);
    assert_true(next <= e->key);
    assert_true(next >= v->w.now);
    if (e->key >> WHEEL_BITS == v->w.now >> WHEEL_BITS)
        assert_true(next == e->key); /* within the first level it is exact */
}

static void step(struct env *v, unsigned arm_bits, unsigned move_bits)
{
    struct entry *e = &v->e[rng_below(&v->rng, TIMERS)];
    uint32_t dice = rng_below(&v->rng, 100);
    if (dice < 45) {
        arm(v, e, later(v->now, distance(v, arm_bits)));
    } else if (dice < 50) { /* in the past, or between the wheel's time and the clock */
        mono_ms back = distance(v, 8);
        arm(v, e, back > v->now ? 0 : v->now - back);
    } else if (dice < 55) { /* the same ms as another: order of arming */
        arm(v, e, v->e[rng_below(&v->rng, TIMERS)].t.due);
    } else if (dice < 70) {
        disarm(v, e);
    } else {
        if (rng_chance(&v->rng, 70)) {
            struct entry *next = earliest(v);
            mono_ms to = later(v->now, distance(v, move_bits));
            if (next != NULL && rng_chance(&v->rng, 30)) /* straight to the edge */
                to = next->key - (next->key != 0 && rng_chance(&v->rng, 30));
            v->now = to > v->now ? to : v->now;
        }
        uint32_t budget = rng_chance(&v->rng, 50) ? TIMERS + 1 : rng_below(&v->rng, 4);
        while (budget-- != 0 && pop(v, v->now)) {
            if (rng_chance(&v->rng, 20)) /* a timer's owner arms and disarms others */
                arm(v, &v->e[rng_below(&v->rng, TIMERS)], later(v->now, 1 + distance(v, arm_bits)));
            if (rng_chance(&v->rng, 20))
                disarm(v, &v->e[rng_below(&v->rng, TIMERS)]);
        }
    }
    look(v);
}

static void test_random_against_table(void **state)
{
    (void)state;
    static const unsigned arm_bits[] = {3, 7, 13, 20, 36, 46, 56}, move_bits[] = {2, 6, 10, 18, 34, 44, 50};
    static const mono_ms start[] = {0, 63, 1234567, 1ull << 36, (1ull << 48) - 70, 1ull << 55, WHEEL_DUE_MAX - 5000};
    for (size_t b = 0; b < ARRAY_N(arm_bits); b++) {
        for (size_t s = 0; s < ARRAY_N(start); s++) {
            env_init(&the_env, b * 100 + s, start[s]);
            for (int i = 0; i < 1500; i++)
                step(&the_env, arm_bits[b], move_bits[b]);
        }
    }
}

/* As the loop drives it: sleep until wheel_next, pop, and so on. Each timer fires at its very ms, with few wake-ups. */
static void test_driven_by_wheel_next(void **state)
{
    (void)state;
    struct env *v = &the_env;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        env_init(v, seed, 1000);
        for (size_t i = 0; i < TIMERS; i++)
            arm(v, &v->e[i], 1000 + distance(v, 45));
        uint32_t wakes = 0;
        while (v->armed_n != 0) {
            mono_ms next = wheel_next(&v->w), want = earliest(v)->key;
            assert_true(next <= want);
            v->now = next;
            while (pop(v, v->now))
                assert_int_equal(v->now, want);
            wakes++;
        }
        assert_true(wakes <= TIMERS * WHEEL_LEVELS);
        assert_true(wheel_next(&v->w) == MONO_NEVER);
    }
}

static void test_disarm_while_ripe(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 1, 500);
    for (size_t i = 0; i < 5; i++)
        arm(v, &v->e[i], 600);
    assert_true(pop(v, 600)); /* the other four are ripe */
    assert_int_equal(wheel_next(&v->w), 600);
    disarm(v, &v->e[2]);
    arm(v, &v->e[3], 700); /* re-armed while ripe: does not fire now */
    arm(v, &v->e[0], 100); /* past: behind what is ripe */
    look(v);
    assert_true(pop(v, 600)); /* 1 */
    assert_true(pop(v, 600)); /* 4 */
    assert_true(pop(v, 600)); /* 0 */
    assert_false(pop(v, 699));
    assert_true(pop(v, 700));
    assert_int_equal(v->armed_n, 0);
}

static void test_time_never_goes_back(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 1, 1000);
    arm(v, &v->e[0], 1500);
    assert_null(wheel_pop(&v->w, 1400));
    assert_null(wheel_pop(&v->w, 10));
    assert_int_equal(v->w.now, 1400);
    assert_null(wheel_pop(&v->w, 1499));
    assert_true(pop(v, 1500));
    disarm(v, &v->e[0]); /* harmless when not armed */
    disarm(v, &v->e[1]);
    look(v);
}

static void test_never_is_far(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 1, 1000);
    wheel_arm(&v->w, &v->e[0].t, MONO_NEVER);
    assert_int_equal(v->e[0].t.due, WHEEL_DUE_MAX);
    arm(v, &v->e[0], WHEEL_DUE_MAX);
    v->armed_n = 1;
    arm(v, &v->e[1], WHEEL_DUE_MAX - 1);
    arm(v, &v->e[2], 1001);
    look(v);
    assert_true(pop(v, 1ull << 50));
    assert_false(pop(v, 1ull << 50));
    assert_false(pop(v, WHEEL_DUE_MAX - 2));
    assert_true(pop(v, WHEEL_DUE_MAX - 1));
    assert_false(pop(v, WHEEL_DUE_MAX - 1));
    look(v);
    assert_ptr_equal(wheel_pop(&v->w, MONO_NEVER), &v->e[0].t);
    assert_null(wheel_pop(&v->w, MONO_NEVER));
    assert_int_equal(v->w.now, WHEEL_DUE_MAX);
    assert_true(wheel_next(&v->w) == MONO_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_table), cmocka_unit_test(test_driven_by_wheel_next),
        cmocka_unit_test(test_disarm_while_ripe),    cmocka_unit_test(test_time_never_goes_back),
        cmocka_unit_test(test_never_is_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
