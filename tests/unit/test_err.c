/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_err.c: every error has a name and a phrase of its own, and values out of range are answered too.
 *
 * The order of the enum is checked where others rely on it: ERR_OK is 0, so that `if (e)` and -(enum err) work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/err.h"

static void test_names_are_the_enumerators(void **state)
{
    (void)state;
    assert_int_equal(ERR_OK, 0);
    assert_string_equal(err_name(ERR_OK), "OK");
    assert_string_equal(err_name(ERR_TOO_BIG), "TOO_BIG");
    assert_string_equal(err_name(ERR_IO), "IO");
    assert_string_equal(err_text(ERR_NOMEM), "out of memory");
}

static void test_all_differ(void **state)
{
    (void)state;
    for (int a = 0; a < ERR_N; a++) {
        assert_true(strlen(err_text((enum err)a)) > 0);
        for (int b = 0; b < a; b++) {
            assert_string_not_equal(err_name((enum err)a), err_name((enum err)b));
            assert_string_not_equal(err_text((enum err)a), err_text((enum err)b));
        }
    }
}

static void test_out_of_range_is_answered(void **state)
{
    (void)state;
    static const int bad[] = {ERR_N, ERR_N + 1, 100000, INT32_MAX, -1};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_string_equal(err_name((enum err)bad[i]), "UNKNOWN");
        assert_non_null(err_text((enum err)bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_the_enumerators),
        cmocka_unit_test(test_all_differ),
        cmocka_unit_test(test_out_of_range_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
