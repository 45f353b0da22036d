/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_PROBE_H
#define WEIR_TESTS_PROBE_H

/*
 * probe.h: at the end of a run, a stranger with a clean session subscribes to everything and is sent what is retained:
 * for every topic the last message that was kept, and nothing else.
 */

#include "tests/sim/world.h"

struct probe;

/* probe_new: connects and subscribes; let the world run until it is quiet. */
struct probe *probe_new(struct world *w) MUST_CHECK;

/* probe_judge: compares what came with what the model allows; fails the world. */
void probe_judge(struct probe *p);
void probe_free(struct probe *p);

#endif
