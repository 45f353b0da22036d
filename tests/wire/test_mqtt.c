/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt.c: the conversations of tests/wire/mqtt against the real broker core, one test per file, and first of all
 * the proof that the runner can fail: each of the small tables below is wrong in one way, and must be found wrong.
 *
 * Cost    a few seconds: every conversation is held once per byte of it.
 * Thread  one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

#include "core/base/check.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "tests/support/wire_table.h"

enum { FILES_MAX = 64, PATH_MAX_BYTES = 512 };

static const struct adapter_ops *const adapters[] = {&mqtt_adapter, NULL};
static const struct wire_setup setup = {.adapters = adapters};

#define CONNECT "A> 10 [ 'MQTT' 04 02 u16:60 'a' ]\n"
#define CONNACK "A< 20 02 00 00\n"

static void run_text(const char *text, struct wire_result *out)
{
    wire_table_text("text", text, strlen(text), &setup, 1, out);
}

static void test_runner_passes_what_is_right(void **state)
{
    (void)state;
    struct wire_result r;
    run_text("test ok\n" CONNECT CONNACK "A> c0 00\nA< d0 00\nA> e0 00\nA|\n", &r);
    assert_string_equal(r.first, "");
    assert_int_equal(r.tests, 1);
    assert_int_equal(r.runs, 3 + 14 + 1 + 1); /* three ways, and a cut inside each line: 15, 2 and 2 bytes */
    run_text("let p = c0 00\n"
             "test items\n" CONNECT CONNACK "A> $p*2 ( c0 00 )*1 \"\\xc0\\0\"\nA< d0 00 ? 00 ?* 00 d0\n  00\n",
             &r);
    assert_string_equal(r.first, "");
}

static void test_runner_finds_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"test other_byte\n" CONNECT "A< 20 02 00 01\n", "not told what it should be"},
        {"test one_byte_too_few\n" CONNECT "A< 20 02 00\n", "more than it should be"},
        {"test one_byte_too_many\n" CONNECT "A< 20 02 00 00 00\n", "not told what it should be"},
        {"test silent\n" CONNECT, "more than it should be"},
        {"test open\n" CONNECT CONNACK "A|\n", "should be closed"},
        {"test closed\n" CONNECT CONNACK "A> 00 00\nA*\n", "should be open"},
        {"test closed_at_end\n" CONNECT CONNACK "A> 00 00\n", "was closed"},
        {"test too_early\n" CONNECT CONNACK "+ 89s\nA|\n", "should be closed"},
        {"test not_there\nB< 00\n", "is not open"},
        {"A> 00\n", "outside of a test"},
        {"test half\nA> 0\n", "half a byte"},
        {"test word\nA> xyz\n", "not understood"},
        {"test open_text\nA> \"abc\n", "does not end"},
        {"test open_group\nA> [ 00\n", "is missing"},
        {"test name\nA> $x\n", "nothing is called"},
        {"test guess\nA> ?\n", "must be known"},
        {"test unit\n+ 5\n", "units"},
        {"test limit\nlimit no_such 1\n", "no limit"},
        {"test twice\n+ 1s\ntest twice\n", "of this name"},
        {"# nothing\n", "no test"},
    };
    for (size_t i = 0; i < ARRAY_N(bad); i++) {
        struct wire_result r;
        run_text(bad[i].text, &r);
        assert_int_equal(r.failed, 1);
        if (strstr(r.first, bad[i].says) == NULL)
            fail_msg("table %zu: expected \"%s\", got \"%s\"", i, bad[i].says, r.first);
    }
}

static void test_table(void **state)
{
    const char *path = *state;
    struct wire_result r;
    wire_table_file(path, &setup, &r);
    print_message("           %u conversations, %llu runs\n", r.tests, (unsigned long long)r.runs);
    if (r.failed != 0)
        fail_msg("%u of %u conversations went wrong; the first: %s", r.failed, r.tests, r.first);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int main(void)
{
    static char path[FILES_MAX][PATH_MAX_BYTES];
    static struct CMUnitTest test[FILES_MAX + 2];
    size_t n = 0, test_n = 0;
    const char *dir = TEST_SOURCE_DIR "/wire/mqtt", *only = getenv("WIRE_ONLY");
    DIR *d = opendir(dir);
    if (d == NULL)
        return 1;
    for (struct dirent *e = readdir(d); e != NULL && n < FILES_MAX; e = readdir(d)) {
        size_t len = strlen(e->d_name);
        if (len > 4 && strcmp(e->d_name + len - 4, ".txt") == 0 && (only == NULL || strstr(e->d_name, only) != NULL))
            (void)snprintf(path[n++], PATH_MAX_BYTES, "%s/%s", dir, e->d_name);
    }
    (void)closedir(d);
    if (n == 0)
        return 1;
    qsort(path, n, sizeof path[0], by_name);
    test[test_n++] = (struct CMUnitTest)cmocka_unit_test(test_runner_passes_what_is_right);
    test[test_n++] = (struct CMUnitTest)cmocka_unit_test(test_runner_finds_what_is_wrong);
    for (size_t i = 0; i < n; i++)
        test[test_n++] =
            (struct CMUnitTest){.name = strrchr(path[i], '/') + 1, .test_func = test_table, .initial_state = path[i]};
    return _cmocka_run_group_tests("mqtt", test, test_n, NULL, NULL);
}
