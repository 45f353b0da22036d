/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp.c: the conversations of tests/wire/stomp against the real broker core, one test per file. The connection
 * may speak MQTT as well, so some of them are between the two protocols. That the runner can fail is proved in
 * test_mqtt.c. One conversation has no words for what starts it, and is held by hand: a queue that goes away under its
 * consumer.
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
#include "core/queue.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_stomp/stomp_adapter.h"
#include "tests/support/rig.h"
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

#define SAY(pipe, text) rig_send(pipe, text, sizeof(text)), rig_run((pipe)->rig)

/* told: the broker's words since the last call are `text`. */
static void told(struct rig_pipe *p, const char *text, size_t n)
{
    assert_int_equal(p->out.len - p->out_at, n);
    assert_memory_equal(p->out.p + p->out_at, text, n);
    p->out_at = p->out.len;
}

#define TOLD(pipe, text) told(pipe, text, sizeof(text))

static void test_queue_deleted(void **state)
{
    (void)state;
    struct rig_config config;
    rig_config_init(&config);
    config.adapters = adapters;
    struct rig *r = rig_new(&config);
    assert_non_null(r);
    struct rig_pipe *p = rig_connect(r);
    SAY(p, "CONNECT\naccept-version:1.2\nhost:h\n\n");
    p->out_at = p->out.len;
    SAY(p, "SUBSCRIBE\nid:mine\ndestination:/queue/q\nack:client\nreceipt:s\n\n");
    TOLD(p, "RECEIPT\nreceipt-id:s\n\n");
    SAY(p, "SEND\ndestination:/queue/q\n\nx");
    TOLD(p, "MESSAGE\nsubscription:mine\ndestination:/queue/q\nmessage-id:1-1.1\nack:1-1.1\ncontent-length:1\n\nx");
    queue_delete(map_get(&r->shard->vhost->queues, SLICE("q")));
    rig_run(r);
    TOLD(p, "ERROR\nmessage:Server cancelled subscription\nx-code:cancelled\ncontent-type:text/plain\ncontent-length:88"
            "\n\nThe queue was deleted, no more messages will be delivered for the subscription: 'mine'.\n");
    assert_true(rig_is_closed(p));
    assert_true(rig_free(r));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int main(void)
{
    static char path[FILES_MAX][PATH_MAX_BYTES];
    static struct CMUnitTest test[FILES_MAX + 1];
    size_t n = 0, test_n = 0;
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
    test[test_n++] = (struct CMUnitTest)cmocka_unit_test(test_queue_deleted);
    for (size_t i = 0; i < n; i++)
        test[test_n++] =
            (struct CMUnitTest){.name = strrchr(path[i], '/') + 1, .test_func = test_table, .initial_state = path[i]};
    return _cmocka_run_group_tests("stomp", test, test_n, NULL, NULL);
}
