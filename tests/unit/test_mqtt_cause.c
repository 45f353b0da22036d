/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_cause.c: every cause is a sentence that fits a packet, and a reason code that the spec lists.
 *
 * Cost    none.
 * Thread  one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/check.h"
#include "core/base/utf8.h"
#include "core/close.h"
#include "proto_mqtt/mqtt_cause.h"
#include "proto_mqtt/mqtt_conn.h"

enum { FRONT_BYTES_MAX = 24 }; /* "UNSUBSCRIBE: ", "filter 4294967295: " */

static void check_text(const char *text)
{
    size_t n = strlen(text);
    assert_true(n + FRONT_BYTES_MAX < MQTT_TEXT_BYTES_MAX);
    assert_true(utf8_is_mqtt((const uint8_t *)text, n));
    if (n != 0 && (text[n - 1] == '.' || text[n - 1] == ' '))
        fail_msg("ends with '%c': %s", text[n - 1], text);
}

static void texts_fit(void **state)
{
    UNUSED(state);
    for (unsigned cause = 0; cause < MQTT_CAUSE_ERR + ERR_N; cause++)
        check_text(mqtt_cause_text((uint8_t)cause));
    for (unsigned why = 0; why < CLOSE_N; why++)
        check_text(close_text((enum close_reason)why));
}

static void only_successes_say_nothing(void **state)
{
    UNUSED(state);
    for (unsigned cause = 0; cause < MQTT_CAUSE_ERR; cause++)
        assert_int_equal(mqtt_cause_text((uint8_t)cause)[0] == '\0',
                         mqtt_cause_code((uint8_t)cause, MQTT_SUBACK) < MQTT_RC_UNSPECIFIED);
}

static void codes_are_listed_somewhere(void **state)
{
    UNUSED(state);
    static const enum mqtt_type places[] = {MQTT_CONNACK,  MQTT_PUBACK, MQTT_SUBACK,
                                            MQTT_UNSUBACK, MQTT_PUBREC, MQTT_DISCONNECT};
    for (unsigned cause = 0; cause < MQTT_CAUSE_ERR; cause++) {
        unsigned n = 0;
        for (size_t i = 0; i < ARRAY_N(places); i++)
            n += mqtt_reason_is_allowed(mqtt_cause_code((uint8_t)cause, places[i]), places[i]);
        if (n == 0)
            fail_msg("%s: its code stands nowhere", mqtt_cause_text((uint8_t)cause));
    }
}

static void errors_are_said_as_ever(void **state)
{
    UNUSED(state);
    assert_int_equal(mqtt_cause_from_err(ERR_OK), MQTT_CAUSE_NONE);
    for (unsigned e = 1; e < ERR_N; e++) {
        uint8_t cause = mqtt_cause_from_err((enum err)e);
        assert_true(cause > MQTT_CAUSE_QUEUE_LOCAL);
        assert_int_equal(mqtt_cause_code(cause, MQTT_PUBACK), mqtt_reason_from_err((enum err)e, MQTT_PUBACK));
        assert_int_equal(mqtt_cause_code(cause, MQTT_SUBACK), mqtt_reason_from_err((enum err)e, MQTT_SUBACK));
        assert_string_equal(mqtt_cause_text(cause), err_text((enum err)e));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_fit),
        cmocka_unit_test(only_successes_say_nothing),
        cmocka_unit_test(codes_are_listed_somewhere),
        cmocka_unit_test(errors_are_said_as_ever),
    };
    return cmocka_run_group_tests_name("mqtt_cause", tests, NULL, NULL);
}
