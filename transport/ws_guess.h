/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TRANSPORT_WS_GUESS_H
#define WEIR_TRANSPORT_WS_GUESS_H

/*
 * ws_guess.h: who speaks in a WebSocket whose peer has asked for no subprotocol? The adapter whose `claims` likes the
 * first bytes, as on the bare port, of those in door.upgrade->way that may come unnamed: those without must_be_named,
 * and on a lenient door all.
 */

#include <stdbool.h>

#include "core/adapter.h"
#include "core/base/check.h"

struct door;

/* ws_guess_can: there is a way through this door, which has `upgrade` set, that may come unnamed. */
bool ws_guess_can(const struct door *d) MUST_CHECK;

/* ws_guess_adapter: for a connection whose pipe is a WebSocket that takes text, through a door that has `upgrade` set.
 * It makes the connection another adapter's, or closes it: with 1003 (text where only binary is spoken) or 1002. It
 * never logs in, and claims nothing itself. */
extern const struct adapter_ops ws_guess_adapter;

#endif
