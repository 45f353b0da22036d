/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_disk_posix.c: persist/disk.h on a real directory: what was written is there, names move, errors are told by
 * name, and a directory has one user.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "persist/disk.h"
#include "tests/support/guard.h"

struct bench {
    struct mem_heap heap;
    struct mem mem;
    char base[64], path[96];
    struct disk *disk;
};

static int setup(void **state)
{
    static struct bench b;
    memset(&b, 0, sizeof(b));
    mem_heap_init(&b.heap);
    mem_init(&b.mem, &b.heap, "test");
    snprintf(b.base, sizeof(b.base), "/tmp/weir-disk-XXXXXX");
    assert_non_null(mkdtemp(b.base));
    snprintf(b.path, sizeof(b.path), "%s/lib/data", b.base); /* neither lib nor data are there */
    b.disk = disk_posix_new(&b.mem, b.path, false);
    assert_non_null(b.disk);
    assert_int_equal(b.disk->ops->lock(b.disk), ERR_OK);
    *state = &b;
    return 0;
}

static enum err remove_one(void *ctx, const char *name, uint64_t size)
{
    struct bench *b = ctx;
    char path[256];
    (void)size;
    snprintf(path, sizeof(path), "%s/%s", b->path, name);
    unlink(path);
    return ERR_OK;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    char lib[80];
    b->disk->ops->list(b->disk, remove_one, b);
    b->disk->ops->unlock(b->disk);
    b->disk->ops->destroy(b->disk);
    assert_int_equal(b->mem.bytes, 0);
    snprintf(lib, sizeof(lib), "%s/lib", b->base);
    assert_int_equal(rmdir(b->path), 0);
    assert_int_equal(rmdir(lib), 0);
    assert_int_equal(rmdir(b->base), 0);
    return 0;
}

static void test_a_file(void **state)
{
    struct bench *b = *state;
    struct disk *d = b->disk;
    const struct disk_ops *ops = d->ops;
    struct disk_file *f, *again;
    uint8_t buf[100];
    struct stat st;
    char path[256];
    assert_int_equal(ops->create(d, "a", 100001, &f), ERR_OK);
    assert_int_equal(f->size, 100001);
    snprintf(path, sizeof(path), "%s/a", b->path);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size == 100001 && (st.st_mode & 0777) == 0600 && st.st_blocks * 512 >= 100001);
    assert_int_equal(stat(b->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    memset(buf, 0xff, sizeof(buf));
    assert_int_equal(ops->read(d, f, 99901, buf, 100), ERR_OK);
    for (size_t i = 0; i < sizeof(buf); i++)
        assert_int_equal(buf[i], 0);
    assert_int_equal(ops->read(d, f, 99902, buf, 100), ERR_IO); /* behind the end */
    assert_true(strlen(d->why) > 0);
    assert_int_equal(ops->write(d, f, 99997, "1234", 4), ERR_OK);
    assert_int_equal(ops->sync(d, f), ERR_OK);
    assert_int_equal(ops->open(d, "a", false, &again), ERR_OK);
    assert_int_equal(again->size, 100001);
    assert_int_equal(ops->read(d, again, 99997, buf, 4), ERR_OK);
    assert_memory_equal(buf, "1234", 4);
    assert_int_equal(ops->write(d, again, 0, "x", 1), ERR_IO); /* for reading only */
    ops->close(d, again);
    ops->close(d, f);
    assert_int_equal(ops->create(d, "a", 10, &f), ERR_EXISTS);
    assert_int_equal(ops->open(d, "b", true, &f), ERR_NOT_FOUND);
}

static void write_outside(void *ctx)
{
    struct bench *b = ctx;
    struct disk_file *f;
    if (b->disk->ops->open(b->disk, "a", true, &f) == ERR_OK)
        (void)!b->disk->ops->write(b->disk, f, 8, "123", 3);
}

static void test_writing_outside_is_our_bug(void **state)
{
    struct bench *b = *state;
    struct disk_file *f;
    assert_int_equal(b->disk->ops->create(b->disk, "a", 10, &f), ERR_OK);
    b->disk->ops->close(b->disk, f);
    assert_true(guard_dies(write_outside, b));
}

static enum err count_one(void *ctx, const char *name, uint64_t size)
{
    uint64_t *sum = ctx;
    if (strcmp(name, "lock") == 0)
        return ERR_OK;
    *sum += size;
    return *sum > 1000 ? ERR_FULL : ERR_OK;
}

static void test_names(void **state)
{
    struct bench *b = *state;
    struct disk *d = b->disk;
    struct disk_file *f;
    char path[256];
    for (uint64_t i = 1; i <= 3; i++) {
        char name[2] = {(char)('a' + i), 0};
        assert_int_equal(d->ops->create(d, name, i * 100, &f), ERR_OK);
        d->ops->close(d, f);
    }
    snprintf(path, sizeof(path), "%s/sub", b->path); /* no regular files: not listed */
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/link", b->path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    uint64_t sum = 0;
    assert_int_equal(d->ops->list(d, count_one, &sum), ERR_OK);
    assert_int_equal(sum, 600);
    assert_int_equal(d->ops->open(d, "link", false, &f), ERR_IO); /* links are not followed */
    unlink(path);
    snprintf(path, sizeof(path), "%s/sub", b->path);
    rmdir(path);
    assert_int_equal(d->ops->rename(d, "b", "c"), ERR_OK);
    assert_int_equal(d->ops->remove(d, "d"), ERR_OK);
    assert_int_equal(d->ops->sync_names(d), ERR_OK);
    assert_int_equal(d->ops->remove(d, "d"), ERR_NOT_FOUND);
    assert_int_equal(d->ops->rename(d, "d", "e"), ERR_NOT_FOUND);
    sum = 0;
    assert_int_equal(d->ops->list(d, count_one, &sum), ERR_OK);
    assert_int_equal(sum, 100);
    sum = 1000;
    assert_int_equal(d->ops->list(d, count_one, &sum), ERR_FULL); /* its own error comes back */
    assert_true(d->ops->free_bytes(d) > 0);
}

static void test_one_user(void **state)
{
    struct bench *b = *state;
    struct disk *other = disk_posix_new(&b->mem, b->path, false);
    char want[64];
    assert_int_equal(other->ops->lock(other), ERR_EXISTS);
    snprintf(want, sizeof(want), "used by process %ld", (long)getpid());
    assert_string_equal(other->why, want);
    struct disk *reader = disk_posix_new(&b->mem, b->path, true); /* may look all the same */
    assert_int_equal(reader->ops->lock(reader), ERR_OK);
    uint64_t sum = 0;
    assert_int_equal(reader->ops->list(reader, count_one, &sum), ERR_OK);
    reader->ops->unlock(reader);
    reader->ops->destroy(reader);
    b->disk->ops->unlock(b->disk);
    assert_int_equal(other->ops->lock(other), ERR_OK);
    other->ops->unlock(other);
    other->ops->destroy(other);
    assert_int_equal(b->disk->ops->lock(b->disk), ERR_OK);
    pid_t child = fork(); /* the lock goes with its process */
    if (child == 0)
        _exit(0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    other = disk_posix_new(&b->mem, b->path, false);
    assert_int_equal(other->ops->lock(other), ERR_EXISTS);
    other->ops->destroy(other);
}

static void test_where_nothing_can_be_made(void **state)
{
    struct bench *b = *state;
    struct disk *d = disk_posix_new(&b->mem, "/proc/no/such/place", false);
    assert_int_not_equal(d->ops->lock(d), ERR_OK);
    assert_true(strlen(d->why) > 0);
    d->ops->destroy(d);
    d = disk_posix_new(&b->mem, "", false);
    assert_int_not_equal(d->ops->lock(d), ERR_OK);
    d->ops->destroy(d);
    char path[128];
    snprintf(path, sizeof(path), "%s/none", b->path);
    d = disk_posix_new(&b->mem, path, true);
    assert_int_equal(d->ops->lock(d), ERR_NOT_FOUND); /* read only: not made */
    d->ops->destroy(d);
    b->heap.fail_at = b->heap.calls + 1;
    assert_null(disk_posix_new(&b->mem, path, true));
}

static void too_large(void *ctx)
{
    struct bench *b = ctx;
    struct disk_file *f;
    struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    enum err e = b->disk->ops->create(b->disk, "large", 8192, &f);
    char path[256];
    snprintf(path, sizeof(path), "%s/large", b->path);
    if (e == ERR_IO && access(path, F_OK) == -1)
        abort(); /* as it should be */
}

static void test_a_partial_file_is_removed(void **state)
{
    assert_true(guard_dies(too_large, *state));
}

static void test_many_files(void **state)
{
    struct bench *b = *state;
    struct disk *d = b->disk;
    static struct disk_file *f[1025];
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = MIN(limit.rlim_max, (rlim_t)2000);
    if (limit.rlim_cur < 1100)
        return;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(d->ops->create(d, "a", 8, &f[0]), ERR_OK);
    for (int i = 1; i < 1024; i++)
        assert_int_equal(d->ops->open(d, "a", true, &f[i]), ERR_OK);
    assert_int_equal(d->ops->open(d, "a", true, &f[1024]), ERR_FULL);
    assert_int_equal(d->ops->create(d, "b", 8, &f[1024]), ERR_FULL);
    assert_int_equal(d->ops->remove(d, "b"), ERR_NOT_FOUND);
    d->ops->close(d, f[500]);
    assert_int_equal(d->ops->open(d, "a", true, &f[500]), ERR_OK);
    for (int i = 0; i < 1024; i++)
        d->ops->close(d, f[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writing_outside_is_our_bug, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_user, setup, teardown),
        cmocka_unit_test_setup_teardown(test_where_nothing_can_be_made, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_partial_file_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
