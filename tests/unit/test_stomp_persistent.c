/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_persistent.c: which SEND waits for the disk, by its persistent header and the broker's stomp_persistent.
 * The queue survives restarts, and the store keeps its "durable" to itself: so a RECEIPT that comes at once is one that
 * did not wait.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto_stomp/stomp_adapter.h"
#include "tests/support/rig.h"

static const struct adapter_ops *const adapters[] = {&stomp_adapter, NULL};

static bool has_receipt(const struct rig_pipe *p)
{
    return memmem(p->out.p + p->out_at, p->out.len - p->out_at, "receipt-id:r", 12) != NULL;
}

static void test_default_and_header(void **state)
{
    UNUSED(state);
    static const struct {
        bool persistent;
        const char *header;
        bool waits;
    } rows[] = {
        {false, "", false},
        {true, "", true},
        {false, "persistent:true\n", true},
        {true, "persistent:false\n", false},
        {true, "persistent:true\n", true},
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++) {
        static const char hello[] =
            "CONNECT\naccept-version:1.2\nhost:/\n\n\0"
            "SEND\ndestination:/queue/q\nreceipt:made\n\n\0"; /* the queue is there and logged */
        char send[200];
        struct rig_config config;
        rig_config_init(&config);
        config.adapters = adapters;
        config.has_store = true;
        config.stomp_persistent = rows[i].persistent;
        struct rig *r = rig_new(&config);
        assert_non_null(r);
        struct rig_pipe *p = rig_connect(r);
        rig_send(p, hello, sizeof(hello) - 1);
        rig_run(r);
        assert_non_null(memmem(p->out.p, p->out.len, "receipt-id:made", 15));
        p->out_at = p->out.len;
        r->is_holding = true;
        int n = snprintf(send, sizeof(send), "SEND\ndestination:/queue/q\nreceipt:r\n%s\nbody", rows[i].header);
        rig_send(p, send, (size_t)n + 1);
        rig_run(r);
        assert_int_equal(has_receipt(p), !rows[i].waits);
        r->is_holding = false;
        rig_wait(r, 1000);
        assert_true(has_receipt(p));
        bool all_back = rig_free(r);
        assert_true(all_back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_default_and_header)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
