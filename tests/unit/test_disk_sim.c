/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_disk_sim.c: the simulated disk keeps what it must and loses what it may, and the simulated runner keeps its
 * order: a simulator that is too kind would find nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/mailbox.h"
#include "tests/sim/disk_sim.h"
#include "tests/sim/runner_sim.h"

enum { FILE_BYTES = 4096, SECTORS = FILE_BYTES / PLATTER_SECTOR };

struct bench {
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    struct platter *platter;
    struct disk *disk;
};

static void setup(struct bench *b, uint64_t seed)
{
    mem_heap_init(&b->heap);
    mem_init(&b->mem, &b->heap, "disk");
    rng_init(&b->rng, seed);
    b->platter = platter_new(&b->mem, &b->rng, UINT64_MAX);
    b->disk = disk_sim_new(b->platter);
    assert_int_equal(b->disk->ops->lock(b->disk), ERR_OK);
}

static void teardown(struct bench *b)
{
    b->disk->ops->unlock(b->disk);
    b->disk->ops->destroy(b->disk);
    platter_free(b->platter);
    assert_int_equal(b->heap.bytes, 0);
}

/* crash: and a new process. */
static void crash(struct bench *b, enum platter_crash how)
{
    platter_crash(b->platter, how);
    b->disk->ops->destroy(b->disk);
    b->disk = disk_sim_new(b->platter);
    assert_int_equal(b->disk->ops->lock(b->disk), ERR_OK);
}

static struct disk_file *make(struct bench *b, const char *name)
{
    struct disk_file *f = NULL;
    assert_int_equal(b->disk->ops->create(b->disk, name, FILE_BYTES, &f), ERR_OK);
    assert_int_equal(f->size, FILE_BYTES);
    return f;
}

static void fill(struct bench *b, struct disk_file *f, uint64_t off, size_t n, uint8_t c)
{
    uint8_t bytes[FILE_BYTES];
    memset(bytes, c, n);
    assert_int_equal(b->disk->ops->write(b->disk, f, off, bytes, n), ERR_OK);
}

static void sync_file(struct bench *b, struct disk_file *f)
{
    assert_int_equal(b->disk->ops->sync(b->disk, f), ERR_OK);
}

static void close_file(struct bench *b, struct disk_file *f)
{
    b->disk->ops->close(b->disk, f);
}

/* look: the file's bytes; false: it is not there. */
static bool look(struct bench *b, const char *name, uint8_t out[FILE_BYTES])
{
    struct disk_file *f = NULL;
    if (b->disk->ops->open(b->disk, name, false, &f) != ERR_OK)
        return false;
    assert_int_equal(f->size, FILE_BYTES);
    assert_int_equal(b->disk->ops->read(b->disk, f, 0, out, FILE_BYTES), ERR_OK);
    close_file(b, f);
    return true;
}

static bool is_there(struct bench *b, const char *name)
{
    uint8_t bytes[FILE_BYTES];
    return look(b, name, bytes);
}

static void test_synced_stays(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct bench b;
        uint8_t bytes[FILE_BYTES];
        setup(&b, seed);
        struct disk_file *f = make(&b, "a");
        assert_int_equal(b.disk->ops->sync_names(b.disk), ERR_OK);
        fill(&b, f, 0, FILE_BYTES, 'x');
        sync_file(&b, f);
        close_file(&b, f);
        crash(&b, PLATTER_POWER);
        assert_true(look(&b, "a", bytes));
        for (uint32_t i = 0; i < FILE_BYTES; i++)
            assert_int_equal(bytes[i], 'x');
        teardown(&b);
    }
}

/* Of two generations of unsynced writes every sector shows one of three, whole; over many seeds all combinations of
 * early and late occur: lost, torn, reordered. */
static void test_unsynced(void **state)
{
    (void)state;
    uint32_t none = 0, all = 0, reordered = 0, mixed = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct bench b;
        uint8_t bytes[FILE_BYTES];
        setup(&b, seed);
        struct disk_file *f = make(&b, "a");
        assert_int_equal(b.disk->ops->sync_names(b.disk), ERR_OK);
        fill(&b, f, 0, FILE_BYTES, 'x');
        sync_file(&b, f);
        fill(&b, f, 0, FILE_BYTES, 'y');
        fill(&b, f, 0, FILE_BYTES, 'z');
        close_file(&b, f);
        assert_true(look(&b, "a", bytes));
        assert_int_equal(bytes[0], 'z'); /* readers see what was written */
        crash(&b, PLATTER_POWER);
        assert_true(look(&b, "a", bytes));
        uint32_t n[3] = {0};
        bool is_late = false, is_back = false;
        for (uint32_t s = 0; s < SECTORS; s++) {
            uint8_t c = bytes[s * PLATTER_SECTOR];
            assert_true(c >= 'x' && c <= 'z');
            for (uint32_t i = 0; i < PLATTER_SECTOR; i++)
                assert_int_equal(bytes[s * PLATTER_SECTOR + i], c);
            n[c - 'x']++;
            is_back |= is_late && c != 'x';
            is_late |= c == 'x';
        }
        none += n[0] == SECTORS;
        all += n[2] == SECTORS;
        reordered += is_back;
        mixed += n[0] && n[1] && n[2];
        teardown(&b);
    }
    assert_true(none > 10 && all > 10 && reordered > 10 && mixed > 10);
}

/* A write of part of a sector brings what stood around it, as it was then. */
static void test_sector_is_whole(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct bench b;
        uint8_t bytes[FILE_BYTES];
        setup(&b, seed);
        struct disk_file *f = make(&b, "a");
        assert_int_equal(b.disk->ops->sync_names(b.disk), ERR_OK);
        fill(&b, f, 10, 10, 'y');
        fill(&b, f, 20, 10, 'z');
        close_file(&b, f);
        crash(&b, PLATTER_POWER);
        assert_true(look(&b, "a", bytes));
        assert_true(bytes[20] != 'z' || bytes[10] == 'y');
        teardown(&b);
    }
}

static void test_process_crash(void **state)
{
    (void)state;
    struct bench b;
    uint8_t bytes[FILE_BYTES];
    setup(&b, 1);
    struct disk_file *f = make(&b, "a");
    fill(&b, f, 100, 50, 'x');
    assert_int_equal(b.disk->ops->rename(b.disk, "a", "b"), ERR_OK);
    close_file(&b, f);
    crash(&b, PLATTER_PROCESS);
    assert_false(is_there(&b, "a"));
    assert_true(look(&b, "b", bytes));
    assert_int_equal(bytes[100], 'x');
    crash(&b, PLATTER_POWER); /* and it is as good as synced by then */
    assert_true(look(&b, "b", bytes));
    assert_int_equal(bytes[149], 'x');
    teardown(&b);
}

static void test_names(void **state)
{
    (void)state;
    uint32_t lost = 0, kept = 0, removed = 0, renamed = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct bench b;
        setup(&b, seed);
        close_file(&b, make(&b, "old"));
        close_file(&b, make(&b, "victim"));
        assert_int_equal(b.disk->ops->sync_names(b.disk), ERR_OK);
        assert_int_equal(b.disk->ops->rename(b.disk, "old", "new"), ERR_OK);
        close_file(&b, make(&b, "fresh"));
        assert_int_equal(b.disk->ops->remove(b.disk, "victim"), ERR_OK);
        assert_int_equal(b.disk->ops->remove(b.disk, "victim"), ERR_NOT_FOUND);
        crash(&b, PLATTER_POWER);
        assert_true(is_there(&b, "old") != is_there(&b, "new")); /* never both, never none */
        renamed += is_there(&b, "new");
        lost += !is_there(&b, "fresh");
        kept += is_there(&b, "fresh");
        removed += !is_there(&b, "victim");
        teardown(&b);
    }
    assert_true(lost > 20 && kept > 20 && removed > 20 && removed < 180 && renamed > 20 && renamed < 180);
}

static void test_rename_replaces(void **state)
{
    (void)state;
    struct bench b;
    uint8_t bytes[FILE_BYTES];
    setup(&b, 1);
    struct disk_file *f = make(&b, "a");
    fill(&b, f, 0, 1, 'a');
    sync_file(&b, f);
    close_file(&b, f);
    close_file(&b, make(&b, "b"));
    assert_int_equal(platter_used(b.platter), 2 * FILE_BYTES);
    assert_int_equal(b.disk->ops->rename(b.disk, "a", "b"), ERR_OK);
    assert_int_equal(b.disk->ops->sync_names(b.disk), ERR_OK);
    assert_int_equal(platter_used(b.platter), FILE_BYTES);
    crash(&b, PLATTER_POWER);
    assert_false(is_there(&b, "a"));
    assert_true(look(&b, "b", bytes));
    assert_int_equal(bytes[0], 'a');
    teardown(&b);
}

static void test_full(void **state)
{
    (void)state;
    struct bench b;
    struct disk_file *f = NULL;
    setup(&b, 1);
    platter_set_capacity(b.platter, FILE_BYTES + 100);
    f = make(&b, "a");
    fill(&b, f, 0, FILE_BYTES, 'x'); /* its blocks are its own */
    close_file(&b, f);
    assert_int_equal(b.disk->ops->create(b.disk, "a", 10, &f), ERR_EXISTS);
    assert_int_equal(b.disk->ops->create(b.disk, "b", 101, &f), ERR_FULL);
    assert_int_equal(b.disk->ops->free_bytes(b.disk), 100);
    assert_int_equal(b.disk->ops->remove(b.disk, "a"), ERR_OK);
    teardown(&b);
}

static void test_faults(void **state)
{
    (void)state;
    struct bench b;
    uint8_t byte = 'x';
    setup(&b, 3);
    struct disk_file *f = make(&b, "a"), *g = make(&b, "b"), *h = NULL;
    platter_fail(b.platter, PLATTER_FAIL_WRITE, 2);
    assert_int_equal(b.disk->ops->write(b.disk, f, 0, &byte, 1), ERR_OK);
    assert_int_equal(b.disk->ops->write(b.disk, f, 1, &byte, 1), ERR_IO);
    platter_fail(b.platter, PLATTER_FAIL_SYNC, 1);
    assert_int_equal(b.disk->ops->write(b.disk, g, 0, &byte, 1), ERR_OK);
    assert_int_equal(b.disk->ops->sync(b.disk, g), ERR_IO);
    platter_fail(b.platter, PLATTER_FAIL_CREATE, 1);
    assert_int_equal(b.disk->ops->create(b.disk, "c", 1, &h), ERR_FULL);
    platter_fail(b.platter, PLATTER_FAIL_READ, 1);
    assert_int_equal(b.disk->ops->read(b.disk, g, 0, &byte, 1), ERR_IO);
    assert_int_equal(b.disk->ops->read(b.disk, g, 0, &byte, 1), ERR_OK);
    assert_int_equal(b.disk->ops->read(b.disk, g, FILE_BYTES - 1, &byte, 2), ERR_IO);
    close_file(&b, f);
    close_file(&b, g);
    teardown(&b);
}

static void test_lock(void **state)
{
    (void)state;
    struct bench b;
    setup(&b, 1);
    struct disk *other = disk_sim_new(b.platter);
    assert_int_equal(other->ops->lock(other), ERR_EXISTS);
    platter_crash(b.platter, PLATTER_POWER);
    assert_int_equal(other->ops->lock(other), ERR_IO); /* it died with the rest */
    struct disk *next = disk_sim_new(b.platter);
    assert_int_equal(next->ops->lock(next), ERR_OK);
    next->ops->unlock(next);
    next->ops->destroy(next);
    other->ops->destroy(other);
    b.disk->ops->unlock(b.disk); /* harmless: it is dead */
    b.disk->ops->destroy(b.disk);
    platter_free(b.platter);
    assert_int_equal(b.heap.bytes, 0);
}

/* dies_in: two more changes happen, the third in part, and nothing after it. */
static void test_dies_in(void **state)
{
    (void)state;
    struct bench b;
    uint8_t bytes[FILE_BYTES];
    setup(&b, 5);
    struct disk_file *f = make(&b, "a");
    assert_int_equal(b.disk->ops->sync_names(b.disk), ERR_OK);
    platter_dies_in(b.platter, 2);
    fill(&b, f, 0, 1000, 'x');
    sync_file(&b, f);
    memset(bytes, 'y', sizeof(bytes));
    assert_int_equal(b.disk->ops->write(b.disk, f, 0, bytes, FILE_BYTES), ERR_IO);
    assert_int_equal(b.disk->ops->write(b.disk, f, 0, bytes, FILE_BYTES), ERR_IO);
    assert_int_equal(b.disk->ops->sync(b.disk, f), ERR_IO);
    assert_int_equal(b.disk->ops->remove(b.disk, "a"), ERR_IO);
    close_file(&b, f);
    crash(&b, PLATTER_POWER);
    assert_true(look(&b, "a", bytes));
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(bytes[i] == 'x' || bytes[i] == 'y');
    teardown(&b);
}

/* ---- the runner ---------------------------------------------------------------------------------------------------
 */

struct task {
    struct job job; /* first */
    uint32_t *clock, ran, done;
};

static void on_run(struct job *j)
{
    struct task *t = CONTAINER_OF(j, struct task, job);
    t->ran = ++*t->clock;
}

static void on_done(struct job *j)
{
    struct task *t = CONTAINER_OF(j, struct task, job);
    assert_true(t->ran != 0);
    t->done = ++*t->clock;
}

static void wake_nobody(void *ctx)
{
    (void)ctx;
}

struct office {
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    struct loop_sim *loop;
    struct mailbox box;
    struct runner *runner;
    struct task task[8];
    uint32_t clock;
};

static void open_office(struct office *o, uint64_t seed)
{
    *o = (struct office){0};
    mem_heap_init(&o->heap);
    mem_init(&o->mem, &o->heap, "runner");
    rng_init(&o->rng, seed);
    o->loop = loop_sim_new(&o->mem, &o->rng);
    mailbox_init(&o->box, wake_nobody, NULL);
    o->runner = runner_sim_new(o->loop, &o->mem, &o->rng, &(struct runner_sim_pace){10, 10, 5});
    assert_true(o->runner->ops->start(o->runner, &o->box));
    for (uint32_t i = 0; i < ARRAY_N(o->task); i++) {
        o->task[i] = (struct task){.job = {.run = on_run, .done = on_done}, .clock = &o->clock};
        o->runner->ops->post(o->runner, i % 2 ? LANE_READ : LANE_WRITE, &o->task[i].job);
    }
}

static void close_office(struct office *o)
{
    o->runner->ops->wait(o->runner);
    o->runner->ops->destroy(o->runner);
    mailbox_fini(&o->box);
    o->loop->loop.ops->destroy(&o->loop->loop);
    for (uint32_t i = 0; i < ARRAY_N(o->task); i++)
        assert_true(o->task[i].done > o->task[i].ran);
    for (uint32_t i = 2; i < ARRAY_N(o->task); i++) {
        assert_true(o->task[i].ran > o->task[i - 2].ran); /* each lane in its order */
        assert_true(o->task[i].done > o->task[i - 2].done);
    }
    assert_int_equal(o->heap.bytes, 0);
}

static void test_runner(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct office o;
        open_office(&o, seed);
        assert_int_equal(o.clock, 0); /* nothing happens within post */
        while (!runner_sim_is_idle(o.runner)) {
            assert_true(loop_sim_step(o.loop));
            mailbox_drain(&o.box, NULL);
        }
        assert_int_equal(o.clock, 16);
        close_office(&o);
        open_office(&o, seed); /* and wait does it all at once, at any time */
        for (uint64_t i = 0; i < seed % 20; i++)
            (void)loop_sim_step(o.loop);
        close_office(&o);
    }
}

static void test_runner_dies(void **state)
{
    (void)state;
    struct office o;
    open_office(&o, 1);
    runner_sim_die(o.runner, LANE_READ);
    assert_int_equal(o.clock, 1);
    assert_int_equal(o.task[1].ran, 1);
    while (loop_sim_step(o.loop))
        ;
    assert_int_equal(mailbox_drain(&o.box, NULL), 0);
    assert_int_equal(o.clock, 1);
    close_office(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synced_stays),  cmocka_unit_test(test_unsynced), cmocka_unit_test(test_sector_is_whole),
        cmocka_unit_test(test_process_crash), cmocka_unit_test(test_names),    cmocka_unit_test(test_rename_replaces),
        cmocka_unit_test(test_full),          cmocka_unit_test(test_faults),   cmocka_unit_test(test_lock),
        cmocka_unit_test(test_dies_in),       cmocka_unit_test(test_runner),   cmocka_unit_test(test_runner_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
