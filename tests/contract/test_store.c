/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store.c: the contract of stores, kept by the in-memory store with answers at once and late; and what that store
 * has beyond the contract. A new store adds its fixture here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/mailbox.h"
#include "persist/store_image.h"
#include "persist/store_mem.h"
#include "tests/contract/store_suite.c" /* a program of this folder is one file */

#define DISK_BYTES (64u << 20)

struct memory {
    struct mem mem;
    struct store_mem_config config;
};

static void *memory_setup(struct mem_heap *heap, const void *param)
{
    struct memory *w = test_calloc(1, sizeof(*w));
    mem_init(&w->mem, heap, "store");
    w->config = *(const struct store_mem_config *)param;
    w->config.image = store_image_new(&w->mem);
    assert_non_null(w->config.image);
    return w;
}

static void memory_teardown(void *world)
{
    struct memory *w = world;
    store_image_check(w->config.image);
    store_image_free(w->config.image);
    test_free(w);
}

static struct store *memory_make(void *world)
{
    struct memory *w = world;
    store_image_check(w->config.image);
    return store_mem_new(&w->mem, &w->config);
}

static void memory_wait(void *world, struct store *s, mono_ms *now)
{
    UNUSED(world);
    UNUSED(now);
    while (store_mem_tick(s))
        ;
}

static void memory_crash(void *world, struct store *s, uint64_t luck)
{
    const struct memory *w = world;
    store_mem_crash(s, store_image_lsn(w->config.image) + luck % 8);
    s->ops->close(s);
}

static void memory_break(void *world, struct store *s)
{
    const struct memory *w = world;
    store_mem_fail_batch(s, store_image_lsn(w->config.image) + 1);
}

/* ---- beyond the contract ------------------------------------------------------------------------------------- */

struct counter {
    lsn_t durable;
    unsigned calls, failed;
};

static void count_durable(void *ctx, lsn_t lsn)
{
    struct counter *c = ctx;
    c->durable = lsn;
    c->calls++;
}

static void count_failed(void *ctx)
{
    ((struct counter *)ctx)->failed++;
}

static enum err visit_none(const struct store_rec *rec, void *ctx)
{
    UNUSED(rec);
    UNUSED(ctx);
    fail_msg("nothing was kept");
    return ERR_OK;
}

static struct store *open_plain(struct mem *mem, const struct store_mem_config *config, struct counter *c)
{
    struct store *s = store_mem_new(mem, config);
    assert_non_null(s);
    s->on_durable = count_durable;
    s->on_failed = count_failed;
    s->ctx = c;
    assert_int_equal(s->ops->open(s), ERR_OK);
    return s;
}

/* Without keep: LSNs are counted, the answer is immediate, and nothing is allocated. */
static void test_counts_only(void **state)
{
    UNUSED(state);
    struct mem_heap heap;
    struct mem mem;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "store");
    struct counter c = {0};
    struct store *s = open_plain(&mem, &(struct store_mem_config){.keep = false}, &c);
    assert_int_equal(s->ops->replay(s, visit_none, NULL), ERR_OK);
    uint64_t calls = heap.calls;
    for (lsn_t i = 1; i <= 10000; i++) {
        assert_int_equal(s->ops->reserve(s, UINT64_MAX), ERR_OK);
        assert_int_equal(s->ops->append(s, &(struct store_rec){.kind = STORE_SETTLE, .queue = 1, .of = i}), i);
        if (i % 100 == 0) {
            s->ops->submit(s, 1);
            assert_int_equal(c.durable, i);
        }
    }
    assert_int_equal(c.calls, 100);
    s->ops->submit(s, 1);
    assert_int_equal(c.calls, 100);
    assert_int_equal(heap.calls, calls);
    assert_int_equal(s->ops->replay(s, visit_none, NULL), ERR_OK);
    s->ops->close(s);
    assert_int_equal(heap.bytes, 0);
}

/* Late: what was submitted is on its way; what is submitted meanwhile waits for the next one. */
static void test_ticks(void **state)
{
    UNUSED(state);
    struct mem_heap heap;
    struct mem mem;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "store");
    for (unsigned keep = 0; keep < 2; keep++) {
        struct counter c = {0};
        const struct store_rec rec = {.kind = STORE_SESSION, .session = 1, .name = SLICE("dev")};
        struct store *s = open_plain(&mem, &(struct store_mem_config){.keep = keep, .late = true}, &c);
        assert_false(store_mem_tick(s));
        assert_int_equal(s->ops->append(s, &rec), 1);
        s->ops->submit(s, 1); /* 1 is on its way */
        assert_int_equal(s->ops->append(s, &rec), 2);
        s->ops->submit(s, 1);
        assert_int_equal(s->ops->append(s, &rec), 3);
        s->ops->submit(s, 1); /* 2 and 3 wait together */
        assert_int_equal(s->ops->append(s, &rec), 4);
        assert_int_equal(c.calls, 0);
        assert_true(store_mem_tick(s));
        assert_int_equal(c.durable, 1);
        assert_false(store_mem_tick(s));
        assert_int_equal(c.durable, 3);
        assert_false(store_mem_tick(s)); /* 4 was never submitted */
        assert_int_equal(c.durable, 3);
        s->ops->close(s);
        assert_int_equal(c.durable, 3);
        assert_int_equal(heap.bytes, 0);
    }
}

static void test_fail_append(void **state)
{
    UNUSED(state);
    struct mem_heap heap;
    struct mem mem;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "store");
    struct counter c = {0};
    const struct store_rec rec = {.kind = STORE_SESSION, .session = 1};
    struct store *s = open_plain(&mem, &(struct store_mem_config){.keep = false}, &c);
    store_mem_fail_append(s, 2);
    assert_int_equal(s->ops->append(s, &rec), 1);
    assert_int_equal(s->ops->append(s, &rec), 0);
    assert_int_equal(s->ops->append(s, &rec), 2); /* once */
    s->ops->submit(s, 1);
    assert_int_equal(c.durable, 2);
    store_mem_fail_batch(s, 4);
    assert_int_equal(s->ops->append(s, &rec), 3);
    s->ops->submit(s, 1);
    assert_int_equal(c.durable, 3);
    assert_int_equal(s->ops->append(s, &rec), 4);
    assert_int_equal(s->ops->append(s, &rec), 5);
    s->ops->submit(s, 1);
    assert_int_equal(c.durable, 3);
    assert_int_equal(c.failed, 1);
    assert_int_equal(s->ops->append(s, &rec), 0);
    s->ops->close(s);
    assert_int_equal(c.failed, 1);
    assert_int_equal(heap.bytes, 0);
}

/* A message is held, not copied, until it is durable. */
static void test_holds_messages(void **state)
{
    UNUSED(state);
    struct mem_heap heap;
    struct mem mem;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "store");
    struct msg_pool pool;
    msg_pool_init(&pool, &mem);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("p")};
    struct counter c = {0};
    struct store *s = open_plain(&mem, &(struct store_mem_config){.keep = true, .late = true}, &c);
    struct msg *m = msg_new(&pool, &v);
    assert_non_null(m);
    assert_int_equal(s->ops->append(s, &(struct store_rec){.kind = STORE_RETAIN, .msg = m}), 1);
    assert_true(ref_is_shared(&m->ref));
    s->ops->submit(s, 1);
    assert_true(ref_is_shared(&m->ref));
    store_mem_tick(s);
    assert_false(ref_is_shared(&m->ref));
    assert_int_equal(s->ops->append(s, &(struct store_rec){.kind = STORE_RETAIN, .msg = m}), 2);
    s->ops->close(s); /* never submitted: dropped */
    assert_false(ref_is_shared(&m->ref));
    msg_drop(m);
    msg_pool_fini(&pool);
    assert_int_equal(heap.bytes, 0);
}

/* After a crash the store is dead: it takes nothing and says nothing. */
static void test_dead(void **state)
{
    UNUSED(state);
    struct mem_heap heap;
    struct mem mem;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "store");
    struct counter c = {0};
    const struct store_rec rec = {.kind = STORE_SESSION, .session = 1};
    struct store *s = open_plain(&mem, &(struct store_mem_config){.keep = true, .late = true}, &c);
    assert_int_equal(s->ops->append(s, &rec), 1);
    (void)s->ops->submit(s, 1);
    store_mem_crash(s, 1);
    assert_int_equal(s->ops->append(s, &rec), 0);
    assert_int_equal(s->ops->reserve(s, 1), ERR_STORE);
    assert_null(s->ops->read(s, 1));
    (void)s->ops->submit(s, 1);
    assert_false(store_mem_tick(s));
    s->ops->close(s);
    assert_int_equal(c.calls + c.failed, 0);
    assert_int_equal(heap.bytes, 0);
}

static void wake_nobody(void *ctx)
{
    UNUSED(ctx);
}

static void count_fetched(struct store_fetch *f)
{
    ((struct counter *)f->ctx)->calls++;
}

/* With a mailbox, what was asked for comes by letter, without another submit. */
static void test_fetch_by_letter(void **state)
{
    UNUSED(state);
    struct mem_heap heap;
    struct mem mem;
    struct mailbox box;
    struct msg_pool pool;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "store");
    mailbox_init(&box, wake_nobody, NULL);
    msg_pool_init(&pool, &mem);
    struct counter c = {0}, asked = {0};
    struct store *s = open_plain(&mem, &(struct store_mem_config){.keep = true}, &c);
    s->mailbox = &box;
    s->msgs = &pool;
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("p")};
    struct msg *m = msg_new(&pool, &v);
    assert_non_null(m);
    const struct store_target seven = {.queue = 7};
    const struct store_rec rec = {.kind = STORE_PUBLISH, .msg = m, .target = &seven, .target_n = 1};
    lsn_t lsn = s->ops->append(s, &rec);
    const struct msg *got = NULL;
    struct store_fetch f = {.lsn = &lsn, .msg = &got, .n = 1, .on_fetched = count_fetched, .ctx = &asked};
    (void)s->ops->submit(s, 1);
    msg_drop(m);
    s->ops->fetch(s, &f);
    assert_int_equal(asked.calls, 0);
    assert_int_equal(mailbox_drain(&box, NULL), 1);
    assert_int_equal(asked.calls, 1);
    assert_non_null(got);
    msg_drop(got);
    s->ops->close(s);
    msg_pool_fini(&pool);
    mailbox_fini(&box);
    assert_int_equal(heap.bytes, 0);
}

int main(void)
{
    static const struct store_mem_config at_once = {.keep = true, .bytes_max = DISK_BYTES};
    static const struct store_mem_config late = {.keep = true, .late = true, .bytes_max = DISK_BYTES};
    static const struct store_mem_config sharing = {
        .keep = true, .late = true, .shares = true, .bytes_max = DISK_BYTES};
    struct store_fixture memory = {.name = "memory, at once",
                                   .setup = memory_setup,
                                   .teardown = memory_teardown,
                                   .make = memory_make,
                                   .wait = memory_wait,
                                   .crash = memory_crash,
                                   .break_medium = memory_break,
                                   .bytes_max = DISK_BYTES,
                                   .param = &at_once};
    const struct CMUnitTest own[] = {
        cmocka_unit_test(test_counts_only),    cmocka_unit_test(test_ticks), cmocka_unit_test(test_fail_append),
        cmocka_unit_test(test_holds_messages), cmocka_unit_test(test_dead),  cmocka_unit_test(test_fetch_by_letter),
    };
    int failed = store_suite_run(&memory);
    memory.name = "memory, late";
    memory.param = &late;
    failed += store_suite_run(&memory);
    memory.name = "memory, as a log writes";
    memory.param = &sharing;
    memory.notes_last = true;
    failed += store_suite_run(&memory);
    failed += cmocka_run_group_tests_name("memory only", own, NULL, NULL);
    return failed;
}
