/* SPDX-License-Identifier: Apache-2.0 */
/*
 * close.c: texts and will rules of the close reasons, generated from CLOSE_LIST.
 *
 * One enum serves the log, the statistics and the adapters; which protocol word a reason becomes is decided in the
 * adapter (proto_mqtt/mqtt_adapter.c, proto_stomp/stomp_error.c). A reason cannot be added without a sentence for
 * people and a decision about the will.
 *
 * Thread  pure functions over const tables.
 */
#include "core/close.h"

#include "core/base/check.h"

static const struct {
    const char *name, *text;
    int will;
} reasons[CLOSE_N] = {
#define X(name, text, will) {#name, text, will},
    CLOSE_LIST(X)
#undef X
};

const char *close_text(enum close_reason r)
{
    return (unsigned)r < CLOSE_N ? reasons[r].text : "unknown reason";
}

const char *close_name(enum close_reason r)
{
    return (unsigned)r < CLOSE_N ? reasons[r].name : "UNKNOWN";
}

int close_has_will(enum close_reason r)
{
    BUG_ON((unsigned)r >= CLOSE_N);
    return reasons[r].will;
}
