/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_log_sim.c: the contract of stores, kept by the log on a simulated disk, whose lanes work in simulated time
 * and whose crashes lose, tear and reorder what was not synced.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/base/mailbox.h"
#include "persist/store_log.h"
#include "tests/contract/store_suite.c" /* a program of this folder is one file */
#include "tests/sim/disk_sim.h"
#include "tests/sim/runner_sim.h"

#define SEGMENT_BYTES 65536u
#define BYTES_MAX     (8u << 20)

enum { SETTLED_MS = 400 }; /* a store that wants to be called again no sooner is at rest */

struct simulated {
    struct mem_heap sim_heap;
    struct mem mem, sim_mem;
    struct rng rng;
    struct loop_sim *loop;
    struct platter *platter;
    struct runner *runner;
    struct mailbox box;
    struct log log;
    uint32_t junk_n;
    struct store_log_config config;
};

static void wake_nobody(void *ctx)
{
    UNUSED(ctx);
}

static void write_nothing(void *ctx, enum log_level level, const char *line)
{
    UNUSED(ctx);
    UNUSED(level);
    UNUSED(line);
}

static void *simulated_setup(struct mem_heap *heap, const void *param)
{
    struct simulated *w = test_calloc(1, sizeof(*w));
    mem_heap_init(&w->sim_heap);
    mem_init(&w->sim_mem, &w->sim_heap, "simulator");
    mem_init(&w->mem, heap, "store");
    rng_init(&w->rng, 7);
    w->loop = loop_sim_new(&w->sim_mem, &w->rng);
    w->platter = platter_new(&w->sim_mem, &w->rng, UINT64_MAX);
    mailbox_init(&w->box, wake_nobody, NULL);
    log_init(&w->log);
    w->log.write = write_nothing; /* it fails often here */
    w->config = *(const struct store_log_config *)param;
    w->config.log = &w->log;
    w->config.segment_bytes = SEGMENT_BYTES;
    w->config.bytes_max = BYTES_MAX;
    return w;
}

static void simulated_teardown(void *world)
{
    struct simulated *w = world;
    mailbox_fini(&w->box);
    platter_free(w->platter);
    w->loop->loop.ops->destroy(&w->loop->loop);
    assert_int_equal(w->sim_heap.bytes, 0);
    test_free(w);
}

static struct store *simulated_make(void *world)
{
    struct simulated *w = world;
    const struct runner_sim_pace pace = {5, 5, 2};
    w->runner = runner_sim_new(w->loop, &w->sim_mem, &w->rng, &pace);
    w->config.runner = w->runner;
    w->config.disk = disk_sim_new(w->platter);
    struct store *s = store_log_new(&w->mem, &w->config);
    if (s != NULL)
        s->mailbox = &w->box;
    return s;
}

/* simulated_wait: the two clocks go on together. */
static void simulated_wait(void *world, struct store *s, mono_ms *now)
{
    struct simulated *w = world;
    for (uint32_t i = 0; i < 10000; i++) {
        s->now = ++*now;
        mono_ms due = s->ops->submit(s, *now);
        loop_sim_run_to(w->loop, w->loop->now + 1);
        unsigned opened = mailbox_drain(&w->box, NULL);
        if (opened == 0 && runner_sim_is_idle(w->runner) && due > *now + SETTLED_MS)
            return;
    }
    fail_msg("the store does not come to rest");
}

static void ignore_durable(void *ctx, lsn_t lsn)
{
    UNUSED(ctx);
    UNUSED(lsn);
}

static void ignore_failed(void *ctx)
{
    UNUSED(ctx);
}

static void simulated_crash(void *world, struct store *s, uint64_t luck)
{
    struct simulated *w = world;
    rng_init(&w->rng, luck);
    s->on_durable = ignore_durable;
    s->on_failed = ignore_failed;
    if (luck % 3 == 1)
        platter_dies_in(w->platter, (uint32_t)luck % 4);
    runner_sim_die(w->runner, luck % 3 == 1 ? LANE_WRITE : LANE_N);
    platter_crash(w->platter, luck % 5 == 4 ? PLATTER_PROCESS : PLATTER_POWER);
    s->ops->close(s);
    mailbox_drain(&w->box, NULL);
}

static void simulated_break(void *world, struct store *s)
{
    UNUSED(s);
    struct simulated *w = world;
    platter_fail(w->platter, PLATTER_FAIL_SYNC, 1);
}

/* put_junk: something that lives, to fill the disk with; or its end. */
static void put_junk(struct store *s, uint32_t i, bool lives)
{
    char topic[32];
    snprintf(topic, sizeof(topic), "junk/%u", (unsigned)i);
    uint8_t payload[1000] = {1};
    struct store_rec rec = {.kind = STORE_RETAIN, .name = slice_from_str(topic)};
    struct msgview v = {.topic = rec.name, .payload = slice_make(payload, sizeof(payload)), .flags = MSG_RETAIN};
    const struct msg *m = lives ? msg_new(s->msgs, &v) : NULL;
    rec.msg = m;
    assert_true(s->ops->append(s, &rec) != 0);
    if (m != NULL)
        msg_drop(m);
}

static void simulated_fill(void *world, struct store *s)
{
    struct simulated *w = world;
    mono_ms now = s->now;
    platter_set_capacity(w->platter, platter_used(w->platter));
    while (s->ops->reserve(s, 1200) == ERR_OK) {
        put_junk(s, w->junk_n++, true);
        simulated_wait(w, s, &now);
    }
}

static void simulated_make_room(void *world, struct store *s)
{
    struct simulated *w = world;
    mono_ms now = s->now;
    platter_set_capacity(w->platter, UINT64_MAX);
    while (w->junk_n > 0)
        put_junk(s, --w->junk_n, false);
    simulated_wait(w, s, &now);
    for (uint32_t i = 0; i < 3000; i++) { /* it looks for room every second */
        s->now = ++now;
        (void)s->ops->submit(s, now);
        loop_sim_run_to(w->loop, w->loop->now + 1);
        mailbox_drain(&w->box, NULL);
    }
}

int main(void)
{
    static const struct store_log_config plain = {.sync = STORE_LOG_ALWAYS, .seed = 1};
    static const struct store_log_config lingering = {.sync = STORE_LOG_ALWAYS, .linger_ms = 20, .seed = 2};
    static const struct store_log_config slow = {.sync = STORE_LOG_ALWAYS, .commit_ms_min = 10, .seed = 3};
    struct store_fixture log = {.name = "log on a simulated disk",
                                .setup = simulated_setup,
                                .teardown = simulated_teardown,
                                .make = simulated_make,
                                .wait = simulated_wait,
                                .crash = simulated_crash,
                                .break_medium = simulated_break,
                                .fill_medium = simulated_fill,
                                .make_room = simulated_make_room,
                                .bytes_max = BYTES_MAX,
                                .notes_last = true,
                                .param = &plain};
    int failed = store_suite_run(&log);
    log.name = "log on a simulated disk, lingering";
    log.param = &lingering;
    failed += store_suite_run(&log);
    log.name = "log on a simulated disk, with pauses";
    log.param = &slow;
    log.fill_medium = NULL; /* which takes time that the suite knows nothing of, and pauses are measured in it */
    failed += store_suite_run(&log);
    return failed;
}
