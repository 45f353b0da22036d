/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_WS_PEER_H
#define WEIR_TESTS_WS_PEER_H

/*
 * ws_peer.h: the other side of a WebSocket, for tests: frames as a client writes them, and a pipe that makes a
 * server's frames look like a client's, so that two of our own (server) pipes can talk to each other.
 */

#include <stddef.h>
#include <stdint.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/transport.h"

#define WS_PEER_HEAD_MAX 14u

/* ws_peer_frame: a masked frame with the length in its shortest form, into out[WS_PEER_HEAD_MAX + n].
 *
 *   first   the first byte: 0x80 (the last fragment) | the operation, or what a test of bad ones wants
 *   key     the mask, its first byte the most significant
 *
 * Returns its size.
 */
size_t ws_peer_frame(uint8_t *out, uint8_t first, const void *payload, size_t n, uint32_t key);

/* ws_peer_link: a pipe over `next` (which it takes over) that passes output on as it is and turns input from unmasked
 * frames into masked ones: cut into fragments, with Pings, Pongs and empty fragments between, handed out in random
 * pieces. Input that is no frame ends the program. It keeps bytes (pending). Both pointers must outlive it. */
struct transport *ws_peer_link(struct transport *next, struct mem *mem, struct rng *rng);

#endif
