/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_HOLD_H
#define WEIR_CORE_HOLD_H

/*
 * hold.h: deliveries that wait for the disk. Before a QoS 2 PUBLISH leaves for a session that survives a restart, its
 * packet id has to be in the store, or the same message could be sent twice under two ids. What comes behind it waits,
 * too. Entries are in flight meanwhile, from session->resend on, and leave through session_resend.
 *
 * Thread: own shard only.
 */

#include <stdbool.h>

#include "core/base/clock.h"
#include "core/entry.h"

struct session;
struct shard;

/* hold_delivery: e has just been taken off its queue for c (take_off): notes its packet id, if it has to be known after
 * a restart. True: it is held: nothing is sent now. */
bool hold_delivery(struct entry *e, struct consumer *c) MUST_CHECK;

/* hold_again: a session that came back sends again what was in flight; what is not in the store yet waits. */
void hold_again(struct session *s);

/* hold_may_send: may the entry at session->resend leave? hold_sent: it did (it is not s->resend any more). hold_left: e
 * leaves the in-flight list for another reason. hold_end: the connection ends. */
bool hold_may_send(const struct session *s);
void hold_sent(struct session *s, const struct entry *e);
void hold_left(struct session *s, const struct entry *e);
void hold_end(struct session *s);

/* hold_durable: the store has everything up to lsn: sessions that waited for that go on. */
void hold_durable(struct shard *s, lsn_t lsn);

#endif
