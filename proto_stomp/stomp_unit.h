/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_UNIT_H
#define WEIR_STOMP_UNIT_H

/* stomp_unit.h: where a frame that Weir wrote ends, for a pipe that sends each frame by itself (a WebSocket: one
 * message per frame suits browsers best, and text can be cut nowhere else). */

#include <stddef.h>
#include <stdint.h>

/* stomp_unit_bytes — how many bytes the frame has that begins with head[n].
 *
 *   head[n]   output of this broker: command, headers, the blank line, and what stands behind them in one piece; or
 *             one line end, which is a heart-beat
 *
 * Returns its size, the body and the NUL behind it included (STOMP 1.2 §STOMP Frames), or 0 if the blank line is not
 * among head[n]. Pure.
 */
size_t stomp_unit_bytes(const uint8_t *head, size_t n);

#endif
