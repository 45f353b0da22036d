/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp.c: the conversations of tests/wire/stomp against the real broker core, one test per file. The connection may
 * speak MQTT as well, so some of them are between the two protocols. That the runner can fail is proved in test_mqtt.c.
 *
 * Cost    some seconds: every conversation is held once per byte of it.
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
#include "proto_stomp/stomp_adapter.h"
#include "tests/support/wire_table.h"

enum { FILES_MAX = 64, PATH_MAX_BYTES = 512 };

static const struct adapter_ops *const adapters[] = {&mqtt_adapter, &stomp_adapter, NULL};
static const struct wire_setup setup = {.adapters = adapters};

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
    static struct CMUnitTest test[FILES_MAX];
    size_t n = 0;
    const char *dir = TEST_SOURCE_DIR "/wire/stomp", *only = getenv("WIRE_ONLY");
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
    for (size_t i = 0; i < n; i++)
        test[i] = (struct CMUnitTest){
            .name = strrchr(path[i], '/') + 1, .test_func = test_table, .initial_state = path[i]};
    return _cmocka_run_group_tests("stomp", test, n, NULL, NULL);
}
