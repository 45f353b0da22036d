/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_BRAKE_H
#define WEIR_CORE_BRAKE_H

/*
 * brake.h: a token bucket that may go into debt. Whoever publishes takes tokens; when there is a debt, its connection
 * is not read until that is paid, so a fast publisher is slowed down and nothing is ever dropped (conn_pause).
 *
 *     tokens  ▁▃▅▇▇▇▇ full: one second's worth ── take ──► below zero ── pause reading ──► zero again
 */

#include <stdint.h>

#include "core/base/clock.h"

struct brake {
    uint64_t rate;  /* tokens per second; 0: no brake */
    int64_t tokens; /* in thousandths */
    mono_ms filled_at;
};

/* brake_init: full at `now`. */
void brake_init(struct brake *b, uint64_t rate, mono_ms now);

/* brake_take: n tokens. Returns how many ms it takes until the debt is paid; 0: there is none. */
mono_ms brake_take(struct brake *b, uint64_t n, mono_ms now);

#endif
