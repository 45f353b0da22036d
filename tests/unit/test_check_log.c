/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_check_log.c: the report says what is in a log, what lives, and where it is damaged; and changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/msg.h"
#include "persist/check_log.h"
#include "persist/codec.h"
#include "tests/sim/disk_sim.h"

enum { SIZE = 4096, SALT = 99 };

struct bench {
    struct mem_heap heap, platter_heap;
    struct mem mem, platter_mem;
    struct rng rng;
    struct platter *platter;
    struct disk *disk;
    struct msg_pool msgs;
    struct buf part, out;
    struct store clock;
    lsn_t lsn;
    bool is_damaged;
};

static int setup(void **state)
{
    static struct bench b;
    memset(&b, 0, sizeof(b));
    mem_heap_init(&b.heap);
    mem_init(&b.mem, &b.heap, "test");
    mem_heap_init(&b.platter_heap);
    mem_init(&b.platter_mem, &b.platter_heap, "platter");
    rng_init(&b.rng, 1);
    b.platter = platter_new(&b.platter_mem, &b.rng, UINT64_MAX);
    b.disk = disk_sim_new(b.platter);
    msg_pool_init(&b.msgs, &b.mem);
    buf_init(&b.part, &b.mem);
    buf_init(&b.out, &b.mem);
    b.clock.now = 1;
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    buf_fini(&b->part);
    buf_fini(&b->out);
    msg_pool_fini(&b->msgs);
    b->disk->ops->destroy(b->disk);
    platter_free(b->platter);
    assert_int_equal(b->mem.bytes, 0);
    return 0;
}

static void put(struct bench *b, struct store_rec rec)
{
    rec.lsn = ++b->lsn;
    assert_int_equal(codec_put(&b->part, &rec, 0, &b->clock), ERR_OK);
}

static void put_publish(struct bench *b, const char *topic, uint8_t flags)
{
    struct msgview v = {.topic = slice_from_str(topic), .payload = SLICE("hello")};
    struct store_target t = {.queue = 7};
    const struct msg *m = msg_new(&b->msgs, &v);
    put(b, (struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = &t, .target_n = 1, .flags = flags});
    msg_drop(m);
}

/* write_segment: what was put becomes one batch, segment and all. */
static void write_segment(struct bench *b, uint64_t number)
{
    uint8_t file[SIZE] = {0};
    char name[DISK_NAME_MAX];
    struct disk_file *f;
    struct buf all;
    buf_init(&all, &b->mem);
    assert_int_equal(codec_put_batch(&all, number, 1700000000000 + number, 0), ERR_OK);
    buf_put_slice(&all, buf_slice(&b->part));
    wal_put_head(file,
                 &(struct wal_head){
                     .version = WAL_VERSION, .number = number, .salt = SALT, .size = SIZE, .made = 1700000000000});
    wal_seal(all.p, all.len, SALT);
    assert_true(all.len <= SIZE - WAL_HEAD);
    memcpy(file + WAL_HEAD, all.p, all.len);
    assert_int_equal(b->disk->ops->lock(b->disk), ERR_OK);
    wal_name(number, name);
    assert_int_equal(b->disk->ops->create(b->disk, name, SIZE, &f), ERR_OK);
    assert_int_equal(b->disk->ops->write(b->disk, f, 0, file, SIZE), ERR_OK);
    assert_int_equal(b->disk->ops->sync(b->disk, f), ERR_OK);
    b->disk->ops->close(b->disk, f);
    b->disk->ops->unlock(b->disk);
    buf_fini(&all);
    buf_clear(&b->part);
}

/* write_log: two segments: a session with a queue, three publishes, one of them retained, one settled. */
static void write_log(struct bench *b)
{
    struct notes *notes = notes_new(&b->mem);
    put(b, (struct store_rec){.kind = STORE_SESSION, .session = 3, .name = SLICE("c1")});
    put(b, (struct store_rec){.kind = STORE_QUEUE, .queue = 7, .session = 3});
    put_publish(b, "a/b", 0);
    put_publish(b, "a/c", STORE_PUBLISH_RETAINED);
    write_segment(b, 1);
    put_publish(b, "a/d", 0);
    struct store_rec settle = {.kind = STORE_SETTLE, .queue = 7, .of = 3};
    assert_int_equal(notes_add(notes, &settle), ERR_OK);
    assert_int_equal(notes_put(notes, &b->part, ++b->lsn), ERR_OK);
    write_segment(b, 2);
    notes_free(notes);
}

static void check(struct bench *b, enum check_log_form form)
{
    buf_clear(&b->out);
    const struct platter_count before = *platter_count(b->platter);
    assert_int_equal(check_log(b->disk, &b->mem, form, &b->out, &b->is_damaged), ERR_OK);
    assert_int_equal(platter_count(b->platter)->writes, before.writes);
    assert_int_equal(platter_count(b->platter)->renames, before.renames);
    assert_int_equal(platter_count(b->platter)->creates, before.creates);
    buf_put_u8(&b->out, 0);
}

static void assert_says(const struct bench *b, const char *what)
{
    if (strstr((const char *)b->out.p, what) == NULL)
        fail_msg("\"%s\" is not in: %s", what, (const char *)b->out.p);
}

static void test_a_good_log(void **state)
{
    struct bench *b = *state;
    write_log(b);
    check(b, CHECK_LOG_TEXT);
    assert_false(b->is_damaged);
    assert_says(b, "parts of batches: 2, the last batch is number 2, newest time 2023-11-14 22:13:20 UTC\n");
    assert_says(b, "segments: 2\n");
    assert_says(b, "  1  4096 bytes, ");
    assert_says(b, " 4 frames, 3 living, made 2023-11-14 22:13:20 UTC\n");
    assert_says(b, "  PUBLISH       3\n");
    assert_says(b, "  SETTLE        1\n");
    assert_says(b, "living: 4\n");
    assert_says(b, "  SESSION       1\n  QUEUE         1\n  messages      2\n");
    assert_says(b, "the log is not damaged\n");
    check(b, CHECK_LOG_JSON);
    assert_says(b, "{\"damaged\":false,\"version\":1,\"bytes\":8192,\"batch_parts\":2,\"last_batch\":2,"
                   "\"stamp_ms\":1700000000002,\"damaged_bytes\":0,\"torn_bytes\":0,\"void_bytes\":0,"
                   "\"segments\":[{\"number\":1,\"bytes\":4096,");
    assert_says(b, "\"living\":{\"all\":4,\"messages\":2,\"EXCHANGE\":0,\"SESSION\":1,\"QUEUE\":1,\"BIND\":0,");
    assert_says(b, "\"SETTLE\":1,");
    assert_says(b, ",\"stretches\":[]}\n");
}

static void test_damage(void **state)
{
    struct bench *b = *state;
    char name[DISK_NAME_MAX];
    write_log(b);
    wal_name(1, name);
    assert_true(
        platter_flip(b->platter, name, (WAL_HEAD + 24 + 40) * 8)); /* in the first record's frame, or its head */
    check(b, CHECK_LOG_TEXT);
    assert_true(b->is_damaged);
    assert_says(b, "damaged: segment 1, offset ");
    assert_says(b, "the log is damaged\n");
    check(b, CHECK_LOG_JSON);
    assert_says(b, "{\"damaged\":true,");
    assert_says(b, "\"stretches\":[{\"what\":\"damage\",\"segment\":1,\"offset\":");
    wal_name(2, name);
    assert_true(platter_flip(b->platter, name, (WAL_HEAD + 24 + 40) * 8));
    check(b, CHECK_LOG_JSON);
    assert_says(b, "\"what\":\"torn\",\"segment\":2,");
}

static void test_a_record_that_makes_no_sense(void **state)
{
    struct bench *b = *state;
    uint8_t at[WAL_FRAME_HEAD + 8] = {0};
    memcpy(at + WAL_FRAME_HEAD, "\x58\x03", 2); /* qos 3 */
    wal_put_frame(at, STORE_BIND, 0, 5, 2, 0);
    buf_put(&b->part, at, sizeof(at));
    wal_put_frame(at, 50, 0, 6, 2, 0); /* of a later broker */
    buf_put(&b->part, at, sizeof(at));
    write_segment(b, 1);
    check(b, CHECK_LOG_TEXT);
    assert_true(b->is_damaged);
    assert_says(b, "damaged: a record that makes no sense: segment 1, offset ");
    assert_says(b, "of kinds unknown to this version, skipped: 1\n");
}

static void test_other_files(void **state)
{
    struct bench *b = *state;
    struct disk_file *f;
    static const char *const names[] = {"damaged-\"x.bin", "spare-0000000000000001.log"};
    assert_int_equal(b->disk->ops->lock(b->disk), ERR_OK);
    for (size_t i = 0; i < ARRAY_N(names); i++) {
        assert_int_equal(b->disk->ops->create(b->disk, names[i], 100, &f), ERR_OK);
        b->disk->ops->close(b->disk, f);
    }
    b->disk->ops->unlock(b->disk);
    check(b, CHECK_LOG_TEXT);
    assert_false(b->is_damaged);
    assert_says(b, "spare spare-0000000000000001.log  100 bytes\n");
    check(b, CHECK_LOG_JSON);
    assert_says(b, "\"set_aside\":[{\"name\":\"damaged-?x.bin\",\"bytes\":100}]");
}

static void test_errors(void **state)
{
    struct bench *b = *state;
    uint8_t head[WAL_HEAD];
    char name[DISK_NAME_MAX];
    struct disk_file *f;
    struct disk *none = disk_posix_new(&b->mem, "/no/such/directory", true);
    assert_int_equal(check_log(none, &b->mem, CHECK_LOG_TEXT, &b->out, &b->is_damaged), ERR_NOT_FOUND);
    buf_put_u8(&b->out, 0);
    assert_says(b, "/no/such/directory: No such file or directory");
    none->ops->destroy(none);
    write_log(b);
    int failed = 0;
    for (uint64_t nth = 1;; nth++) {
        struct buf out;
        buf_init(&out, &b->mem);
        b->heap.fail_at = b->heap.calls + nth;
        enum err e = check_log(b->disk, &b->mem, CHECK_LOG_TEXT, &out, &b->is_damaged);
        b->heap.fail_at = 0;
        buf_fini(&out);
        assert_true(e == ERR_OK || e == ERR_NOMEM);
        if (e == ERR_OK)
            break;
        failed++;
    }
    assert_true(failed > 5);
    assert_int_equal(b->disk->ops->lock(b->disk), ERR_OK);
    wal_put_head(head, &(struct wal_head){.version = 2, .number = 3});
    wal_name(3, name);
    assert_int_equal(b->disk->ops->create(b->disk, name, WAL_HEAD, &f), ERR_OK);
    assert_int_equal(b->disk->ops->write(b->disk, f, 0, head, WAL_HEAD), ERR_OK);
    b->disk->ops->close(b->disk, f);
    b->disk->ops->unlock(b->disk);
    buf_clear(&b->out);
    assert_int_equal(check_log(b->disk, &b->mem, CHECK_LOG_TEXT, &b->out, &b->is_damaged), ERR_UNSUPPORTED);
    buf_put_u8(&b->out, 0);
    assert_says(b, "written by a newer weir");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_good_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_record_that_makes_no_sense, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
