/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_RAM_H
#define WEIR_APP_RAM_H

/* ram.h: how much memory there is for us: what the marks of core/memory.h are shares of when nobody says otherwise. */

#include <stdint.h>

#include "core/base/check.h"

/* ram_bytes: the machine's memory, or the least of the limits on the control groups we are in, if that is less; 0: the
 * system does not say. `root` is "" but in tests: what stands before /proc and /sys. */
uint64_t ram_bytes(const char *root);

#endif
