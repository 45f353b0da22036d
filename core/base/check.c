/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c: the end of a program that found its own mistake.
 *
 * A broken invariant means that what would be done next, perhaps to the log on disk, cannot be trusted. So the process
 * stops at once, in release builds too; the supervisor starts it again and replay brings back what was promised.
 *
 * Invariants
 *   1. bug_at never returns and runs no exit handler: nothing is flushed from a state that is known to be wrong.
 * Thread  any.
 */
#include "core/base/check.h"

#include <stdio.h>
#include <stdlib.h>

void bug_at(const char *file, int line, const char *what)
{
    fprintf(stderr, "weir: BUG at %s:%d: %s\n", file, line, what);
    abort();
}
