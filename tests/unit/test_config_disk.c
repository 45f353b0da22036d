/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config_disk.c: what is kept on disk, and where: lines of a file and --data together, as a table of all cases.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/check.h"
#include "tests/support/config_bench.h"

#define NOWHERE                                                                                                        \
    "needs a directory for the log, and none is named; add a line persistence_location DIR, or start with --data "     \
    "DIR\n"
#define HOW   "; allowed: off | interval MS | always | true | false\n"
#define TWICE ": was set to something else at f:1; keep one of the two lines\n"
#define NEVER_SAVES                                                                                                    \
    "ignored: nothing is saved now and then: what weir acknowledges, it has written (persistence interval MS gives "   \
    "that up)\n"
#define TOO_SMALL                                                                                                      \
    " is too small: at least 8 segments must fit, 134217728 bytes; raise it, or make persistence_segment_size "        \
    "smaller\n"

static const struct {
    const char *text, *asked; /* the file, and --data */
    const char *said;         /* "": nothing */
    const char *dir;          /* NULL: in memory, or an error */
    unsigned how;
} rows[] = {
    /* nothing said, one said, both said */
    {"", NULL, "", NULL, PERSIST_OFF},
    {"", "/d", "", "/d", PERSIST_ALWAYS},
    {"persistence_location /d\n", NULL, "", "/d", PERSIST_ALWAYS},
    {"persistence_location /d/\n", "/d", "", "/d", PERSIST_ALWAYS},
    {"persistence_location /\n", "//", "", "//", PERSIST_ALWAYS},
    {"persistence_location /d e\n", NULL, "", "/d e", PERSIST_ALWAYS},
    {"persistence off\n", NULL, "", NULL, PERSIST_OFF},
    {"persistence false\npersistence_location /d\n", NULL, "", NULL, PERSIST_OFF},
    {"persistence 0 # a comment\n", NULL, "", NULL, PERSIST_OFF},
    {"persistence true\npersistence_location /d\n", NULL, "", "/d", PERSIST_ALWAYS},
    {"persistence_location /d\npersistence always\n", NULL, "", "/d", PERSIST_ALWAYS},
    {"persistence 1\npersistence true\npersistence always\n", "/d", "", "/d", PERSIST_ALWAYS},
    {"persistence interval 5s\n", "/d", "", "/d", PERSIST_INTERVAL},
    {"persistence interval 5000 # ms\npersistence interval 5s\n", "/d", "", "/d", PERSIST_INTERVAL},
    {"retained_persistence true\npersistence_location /d\n", NULL, "", "/d", PERSIST_ALWAYS},

    /* what asks for the disk never ends in memory */
    {"\npersistence true\n", NULL, "error: f:2: persistence: " NOWHERE, NULL, 0},
    {"persistence always\n", NULL, "error: f:1: persistence: " NOWHERE, NULL, 0},
    {"persistence interval 100\n", NULL, "error: f:1: persistence: " NOWHERE, NULL, 0},
    {"persistence off\n", "/d", "error: --data: f:1: persistence: keeps everything in memory; remove one of the two\n",
     NULL, 0},
    {"\npersistence_location /e\n", "/d",
     "error: --data: f:2: persistence_location: names another directory; remove one of the two\n", NULL, 0},
    {"", "", "error: --data: the directory is missing\n", NULL, 0},
    {"persistence_location\n", NULL,
     "error: f:1: persistence_location: a value is missing; allowed: any text of at most 4000 bytes\n", NULL, 0},

    /* values */
    {"persistence\n", NULL, "error: f:1: persistence: a value is missing" HOW, NULL, 0},
    {"persistence yes\n", NULL, "error: f:1: persistence: \"yes\" is not allowed" HOW, NULL, 0},
    {"persistence true false\n", NULL, "error: f:1: persistence: \"true false\" is not allowed" HOW, NULL, 0},
    {"persistence interval\n", NULL,
     "error: f:1: persistence: a value is missing; allowed: 1 to 3600000 ms; also with ms, s, min\n", NULL, 0},
    {"persistence interval 0\n", NULL,
     "error: f:1: persistence: \"0\" is not allowed; allowed: 1 to 3600000 ms; also with ms, s, min\n", NULL, 0},
    {"persistence true\npersistence off\n", NULL, "error: f:2: persistence" TWICE, NULL, 0},
    {"persistence interval 1\npersistence interval 2\n", NULL, "error: f:2: persistence" TWICE, NULL, 0},
    {"persistence_max_size 134217727\n", NULL, "error: f:1: persistence_max_size: 134217727" TOO_SMALL, NULL, 0},
    {"persistence_max_size 128M\n", NULL, "", NULL, PERSIST_OFF},
    {"persistence_max_size 512K\npersistence_segment_size 64K\n", "/d", "", "/d", PERSIST_ALWAYS},

    /* mosquitto's: nothing is missing without them, and that is said once */
    {"autosave_interval 1800\nautosave_interval 60\n", "/d", "note: f:1: autosave_interval: " NEVER_SAVES, "/d",
     PERSIST_ALWAYS},
    {"autosave_on_changes false\n", NULL, "", NULL, PERSIST_OFF},
    {"autosave_on_changes true\n", NULL, "note: f:1: autosave_on_changes: " NEVER_SAVES, NULL, PERSIST_OFF},
    {"persistence_file mosquitto.db\n", NULL,
     "note: f:1: persistence_file: ignored: the log is several files, in persistence_location, whose names are given\n",
     NULL, PERSIST_OFF},
};

static enum err load_asked(struct bench *b, const char *text, const char *asked)
{
    begin(b);
    enum err e = config_text(&b->config, "f", slice_from_str(text));
    b->config.disk_asked = asked;
    return e == ERR_OK ? config_finish(&b->config, -1) : e;
}

static void test_every_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        struct bench b;
        enum err e = load_asked(&b, rows[i].text, rows[i].asked);
        const char *got = said(&b);
        if (strcmp(got, rows[i].said) != 0)
            fail_msg("row %zu:\n%s\nsays\n%s\nnot\n%s", i, rows[i].text, got, rows[i].said);
        bool is_error = strstr(rows[i].said, "error: ") != NULL;
        assert_int_equal(e, is_error ? ERR_INVALID : ERR_OK);
        if (rows[i].dir == NULL)
            assert_null(b.config.disk_dir);
        else
            assert_string_equal(b.config.disk_dir ? b.config.disk_dir : "(none)", rows[i].dir);
        if (!is_error)
            assert_int_equal(b.config.persistence, rows[i].how);
        end(&b);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load_asked(&b, "", "/d"), ERR_OK);
    assert_int_equal(b.config.commit_ms_min, 0);
    assert_int_equal(b.config.linger_commit_ms, 20);
    assert_int_equal(b.config.segment_bytes, 16 * 1024 * 1024);
    assert_int_equal(b.config.disk_bytes_max, 0);
    end(&b);

    assert_int_equal(load_asked(&b,
                                "persistence interval 2s\npersistence_commit_interval 7\npersistence_commit_linger 0\n"
                                "persistence_segment_size 1M\npersistence_max_size 1G\n",
                                "/d"),
                     ERR_OK);
    assert_int_equal(b.config.sync_interval_ms, 2000);
    assert_int_equal(b.config.commit_ms_min, 7);
    assert_int_equal(b.config.linger_commit_ms, 0);
    assert_int_equal(b.config.segment_bytes, 1024 * 1024);
    assert_int_equal(b.config.disk_bytes_max, UINT64_C(1) << 30);
    end(&b);
}

static void test_where_it_was_said(void **state)
{
    (void)state;
    struct bench b;
    char place[256];
    assert_int_equal(load_asked(&b, "\npersistence_location /d\n", NULL), ERR_OK);
    config_disk_place(&b.config, place, sizeof(place));
    assert_string_equal(place, "f:2: persistence_location");
    end(&b);
    assert_int_equal(load_asked(&b, "\npersistence_location /d\n", "/d"), ERR_OK);
    config_disk_place(&b.config, place, sizeof(place));
    assert_string_equal(place, "--data");
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_case),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_where_it_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
