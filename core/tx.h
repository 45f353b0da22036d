/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_TX_H
#define WEIR_CORE_TX_H

/*
 * tx.h: publishes and settles that happen together or not at all.
 *
 *     struct tx *t = tx_new(c);
 *     tx_publish(c, t, &p);  tx_settle(c, t, ticket, OUTCOME_ACK, false);  ...
 *     tx_commit(c, t, receipt);   or   tx_abort(c, t);      both end t
 *
 * Nobody sees anything of it before the commit. A commit that is refused (a queue with reject-publish is full, a limit,
 * the store) changes nothing: deliveries named in it can be answered again. In the store it is one unit: STORE_TX,
 * records, STORE_TX_END. Thread: own shard only.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/broker.h"

struct tx;

/* tx_new: an empty one of this connection; NULL: out of memory. owner: the caller, until tx_commit or tx_abort, at the
 * latest before the connection parts from its session (adapter->on_close). */
struct tx *tx_new(struct conn *c) MUST_CHECK;

/* tx_publish: keeps a copy of the message. Refused at once: ERR_NOT_FOUND (the exchange was deleted), ERR_DENIED,
 * ERR_TOO_BIG (topic, levels or delay), ERR_FULL (max actions or bytes of a transaction), ERR_NOMEM. p->receipt and
 * p->rx_id are ignored; p->delay_ms counts from the commit. What only the commit can tell waits for it. */
enum err tx_publish(struct conn *c, struct tx *t, struct publish *p) MUST_CHECK;

/* tx_settle: notes an answer (ACK, REQUEUE or REJECT; until: cumulative, as broker_settle_until: what is in flight to
 * that consumer now). The deliveries cannot be answered otherwise meanwhile. ERR_NOT_FOUND, ERR_FULL, ERR_NOMEM. */
enum err tx_settle(struct conn *c, struct tx *t, uint32_t ticket, enum outcome o, bool until) MUST_CHECK;

/* tx_commit: all of it, in the order it was said; ERR_OK, or as broker_publish, of the first that is refused;
 * broker_refused tells the queue. Behind ERR_STORE the store may have failed for good. tx_abort: nothing of it; noted
 * deliveries wait for an answer again. */
void tx_commit(struct conn *c, struct tx *t, uint64_t receipt);
void tx_abort(struct conn *c, struct tx *t);

/* tx_bytes, tx_actions: what it holds: for the limits of a connection. */
uint64_t tx_bytes(const struct tx *t);
uint32_t tx_actions(const struct tx *t);

#endif
