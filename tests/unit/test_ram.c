/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ram.c: the memory there is for us, from files as control groups have them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/ram.h"
#include "core/base/check.h"

#define FILES_MAX 4

struct file {
    const char *path, *text;
};

static const struct {
    struct file files[FILES_MAX];
    uint64_t want; /* 0: the machine's */
} rows[] = {
    {.files = {{NULL, NULL}}, .want = 0},
    {.files = {{"/proc/self/cgroup", "0::/\n"}}, .want = 0},
    {.files = {{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/memory.max", "max\n"}}, .want = 0},
    {.files = {{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/memory.max", "67108864\n"}}, .want = 67108864},
    {.files = {{"/proc/self/cgroup", "0::/system.slice/weir.service\n"},
               {"/sys/fs/cgroup/system.slice/weir.service/memory.max", "1048576\n"},
               {"/sys/fs/cgroup/system.slice/memory.max", "2097152\n"}},
     .want = 1048576},
    {.files = {{"/proc/self/cgroup", "0::/system.slice/weir.service\n"},
               {"/sys/fs/cgroup/system.slice/weir.service/memory.max", "max\n"},
               {"/sys/fs/cgroup/system.slice/memory.max", "2097152\n"}},
     .want = 2097152}, /* whoever is above us */
    {.files = {{"/proc/self/cgroup", "0::/not/seen/from/here\n"}, {"/sys/fs/cgroup/memory.max", "4096\n"}},
     .want = 4096}, /* a container */
    {.files = {{"/proc/self/cgroup", "5:cpu:/x\n4:memory:/box\n0::/\n"},
               {"/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "8192\n"},
               {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"}},
     .want = 8192}, /* version 1 */
    {.files = {{"/proc/self/cgroup", "nonsense\n::\n:\n\n0:\n"}}, .want = 0},
    {.files = {{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/memory.max", "9223372036854771712\n"}}, .want = 0},
};

/* put: the file, and the directories above it. */
static void put(const char *root, const struct file *f)
{
    char path[512];
    snprintf(path, sizeof(path), "%s%s", root, f->path);
    for (char *c = path + strlen(root) + 1; *c != 0; c++) {
        if (*c != '/')
            continue;
        *c = 0;
        mkdir(path, 0700);
        *c = '/';
    }
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(f->text, out);
    assert_int_equal(fclose(out), 0);
}

/* drop: the file, and the directories above it that are empty then. */
static void drop(const char *root, const struct file *f)
{
    char path[512];
    snprintf(path, sizeof(path), "%s%s", root, f->path);
    assert_int_equal(unlink(path), 0);
    for (char *c = strrchr(path, '/'); c > path + strlen(root); c = strrchr(path, '/')) {
        *c = 0;
        rmdir(path);
    }
}

static void test_groups(void **state)
{
    (void)state;
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        char root[] = "/tmp/weir-ram-XXXXXX";
        assert_non_null(mkdtemp(root));
        for (size_t k = 0; k < FILES_MAX && rows[i].files[k].path != NULL; k++)
            put(root, &rows[i].files[k]);
        uint64_t got = ram_bytes(root);
        if (got != (rows[i].want ? rows[i].want : machine))
            fail_msg("row %zu: %llu", i, (unsigned long long)got);
        for (size_t k = 0; k < FILES_MAX && rows[i].files[k].path != NULL; k++)
            drop(root, &rows[i].files[k]);
        assert_int_equal(rmdir(root), 0);
    }
}

static void test_this_machine(void **state)
{
    (void)state;
    assert_true(ram_bytes("") >= 1024 * 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
