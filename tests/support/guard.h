/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_GUARD_H
#define WEIR_TESTS_GUARD_H

/*
 * guard.h: bytes that END at a forbidden page. A decoder that reads one byte past its input crashes at once, without
 * any sanitizer. Decoder tests feed every input from such a buffer:
 *
 *     uint8_t *g = guard_bytes(wire, n);
 *     assert_int_equal(thing_decode(g, n, &out), n);
 *     guard_free(g);
 *
 * Each buffer is its own mapping (about 10 us to make and free), so it is right for tests and wrong for anything else.
 * No function fails: a machine without memory ends the test program.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/slice.h"

/* guard_bytes: a writable copy of p[n]; touching result[n] crashes. n may be 0 (p may then be NULL): the result is not
 * NULL, and already result[0] is forbidden. The caller gives it back with guard_free. */
uint8_t *guard_bytes(const void *p, size_t n) MUST_CHECK;

/* guard_room: n writable bytes, all 0xa5, for what encoders write into; otherwise as guard_bytes. */
uint8_t *guard_room(size_t n) MUST_CHECK;

/* guard_free: gives back what guard_bytes or guard_room made, by the very pointer they returned; NULL is fine.
 * Afterwards the bytes are forbidden too. */
void guard_free(void *g);

/* guard_dies: runs fn(ctx) in a child process, its stderr silenced; true when the child was ended by a signal (BUG_ON,
 * a forbidden page) or by a sanitizer. For tests that a mistake is caught:
 *
 *     assert_true(guard_dies(read_past_end, g));
 */
bool guard_dies(void (*fn)(void *ctx), void *ctx);

/* guard_slice: guard_bytes as a slice of n bytes; free it with guard_free((void *)(uintptr_t)result.p). */
static inline struct slice guard_slice(struct slice s)
{
    return slice_make(guard_bytes(s.p, s.len), s.len);
}

#endif
