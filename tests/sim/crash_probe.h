/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_CRASH_PROBE_H
#define WEIR_TESTS_CRASH_PROBE_H

/*
 * crash_probe.h: a stranger who now and then looks at what is retained: for every topic the last promised message or a
 * later one.
 */

#include "tests/sim/crash_link.h"

struct crash_probe;

struct crash_probe *crash_probe_new(struct crash_world *w) MUST_CHECK;
void crash_probe_free(struct crash_probe *p);

/* crash_probe_look: unless it is looking already. False: it could not connect, or is looking. */
bool crash_probe_look(struct crash_probe *p);
/* crash_probe_looks: how often it has seen everything. */
uint32_t crash_probe_looks(const struct crash_probe *p);

#endif
