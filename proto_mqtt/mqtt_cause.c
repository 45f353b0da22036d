/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_cause.c: from a cause to what is said about it.
 *
 *     cause ─┬─ one of the adapter's own ─► the code and the text of its row
 *            └─ what a verb answered ─────► mqtt_reason_from_err, err_text
 *
 * One byte, so that it fits where only a reason code would: in a receipt, in the answer of a filter that waits, in the
 * state of a connection that is being closed.
 *
 * Invariants
 *   1. Every cause and every error together fit a byte.
 * Cost    O(1).
 * Thread  any; pure.
 * Spec    MQTT 5 §2.4, §3.2.2.3.9 and the Reason String of the other packets.
 */
#include "proto_mqtt/mqtt_cause.h"

#include "core/base/check.h"

_Static_assert(MQTT_CAUSE_ERR + ERR_N <= UINT8_MAX, "a cause is a byte");

static const struct {
    uint8_t code;
    const char *text;
} CAUSES[] = {
#define X(name, code, text) {MQTT_RC_##code, text},
    MQTT_CAUSE_LIST(X)
#undef X
};

uint8_t mqtt_cause_from_err(enum err e)
{
    return e == ERR_OK ? MQTT_CAUSE_NONE : (uint8_t)(MQTT_CAUSE_ERR + (unsigned)e);
}

/* What is sent: [MQTT-3.2.2-8], [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.7.2-1], [MQTT-3.9.3-2], [MQTT-3.11.3-2],
 * [MQTT-3.14.2-1] */
uint8_t mqtt_cause_code(uint8_t cause, enum mqtt_type at)
{
    if (cause < ARRAY_N(CAUSES))
        return CAUSES[cause].code;
    return mqtt_reason_from_err((enum err)(cause - MQTT_CAUSE_ERR), at);
}

const char *mqtt_cause_text(uint8_t cause)
{
    return cause < ARRAY_N(CAUSES) ? CAUSES[cause].text : err_text((enum err)(cause - MQTT_CAUSE_ERR));
}
