/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_close.c: every reason has a name and a sentence of its own, values out of range are harmless to print, and the
 * rule of which endings publish a will is the specification's (MQTT 5 §3.1.2.5).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/close.h"
#include "tests/support/guard.h"

static void names_and_texts(void **state)
{
    (void)state;
    for (int i = 0; i < CLOSE_N; i++) {
        assert_true(strlen(close_name((enum close_reason)i)) > 0);
        assert_true(strlen(close_text((enum close_reason)i)) > 0);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(close_name((enum close_reason)i), close_name((enum close_reason)j));
            assert_string_not_equal(close_text((enum close_reason)i), close_text((enum close_reason)j));
        }
    }
    assert_string_equal(close_name(CLOSE_TAKEN_OVER), "TAKEN_OVER");
    assert_non_null(close_name((enum close_reason)CLOSE_N));
    assert_non_null(close_text((enum close_reason)99));
}

static void wills(void **state)
{
    (void)state;
    /* [MQTT-3.1.2-8] an I/O error, silence beyond the keep-alive, no DISCONNECT, a protocol error */
    static const enum close_reason with[] = {CLOSE_EOF,        CLOSE_RESET,   CLOSE_SILENT, CLOSE_MALFORMED,
                                             CLOSE_PROTOCOL,   CLOSE_TOO_BIG, CLOSE_QUOTA,  CLOSE_GOODBYE_WILL,
                                             CLOSE_TAKEN_OVER, CLOSE_SLOW};
    static const enum close_reason without[] = {CLOSE_GOODBYE, CLOSE_LOGIN_TIMEOUT, CLOSE_UNKNOWN_PROTOCOL,
                                                CLOSE_BAD_VERSION, CLOSE_BAD_ID};
    for (size_t i = 0; i < sizeof(with) / sizeof(with[0]); i++)
        assert_int_equal(close_has_will(with[i]), 1);
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
        assert_int_equal(close_has_will(without[i]), 0);
}

static void out_of_range(void *ctx)
{
    (void)ctx;
    (void)close_has_will((enum close_reason)CLOSE_N);
}

static void a_wrong_reason_is_our_bug(void **state)
{
    (void)state;
    assert_true(guard_dies(out_of_range, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_texts),
        cmocka_unit_test(wills),
        cmocka_unit_test(a_wrong_reason_is_our_bug),
    };
    return cmocka_run_group_tests_name("close", tests, NULL, NULL);
}
