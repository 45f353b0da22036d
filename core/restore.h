/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_RESTORE_H
#define WEIR_CORE_RESTORE_H

/*
 * restore.h: the broker as it was, from what its store kept.
 *
 * Thread: own shard only, before the first turn.
 */

#include "core/base/check.h"
#include "core/base/err.h"

struct shard;

/* restore_shard: replays s->store, which is open and whose clock is set, into the empty vhost of s. The router is never
 * asked: records say what became of each message. Limits do not apply: what was accepted once is there again. What
 * makes no sense (a target without its queue) is left out, counted in one log line, and written down as settled.
 * ERR_NOMEM, or what replay says. */
enum err restore_shard(struct shard *s) MUST_CHECK;

#endif
