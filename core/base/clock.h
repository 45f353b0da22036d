/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

/*
 * clock.h: scalars that must not mix. Everything relative (TTL, keep-alive, expiry) runs on mono_ms; wall_ms is for
 * what people read and for absolute dates.
 */

#include <stdint.h>

typedef uint64_t mono_ms; /* milliseconds on the monotonic clock; 0 = unset */
typedef uint64_t wall_ms; /* milliseconds since 1970-01-01 UTC */
typedef uint64_t lsn_t;   /* log sequence number; 0 = nothing was logged */

#define MONO_NEVER UINT64_MAX

#endif
