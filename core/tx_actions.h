/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_TX_ACTIONS_H
#define WEIR_CORE_TX_ACTIONS_H

/*
 * tx_actions.h: what a transaction holds. Private to tx.c, which gathers it, and tx_commit.c, which makes it happen.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/retained.h"
#include "core/router.h"
#include "core/tx.h"

struct delayed_msg;

/* A block that will be an entry. */
struct spare {
    struct spare *next;
};

/* One thing to do: a publish, or an answer (msg is NULL). */
struct action {
    const struct msg *msg; /* held */
    struct exchange *x;    /* held */
    mono_ms delay_ms;
    lsn_t lsn; /* of its record; 0: not logged */
    /* of the commit that runs */
    struct retained_place place;
    struct delayed_msg *later;
    struct spare *spares;
    uint32_t target_at, target_n; /* in tx->target */
    /* of an answer */
    uint32_t ticket;
    uint8_t outcome;
    bool has_durable; /* of a publish: as in struct route */
};

/* owner: the adapter, until tx_commit or tx_abort */
struct tx {
    struct action *v;
    uint32_t n, cap;
    uint32_t frame_n; /* what was asked for: a cumulative answer is several actions */
    uint64_t bytes;
    struct target *target; /* of all publishes */
    uint32_t target_n, target_cap;
};

/* tx_entry: the delivery with this ticket, if it may be answered by ACK and NACK; else NULL. */
struct entry *tx_entry(const struct session *me, uint32_t ticket);

/* tx_unmark: nothing came of it: the deliveries it names wait for an answer again. */
void tx_unmark(struct conn *c, const struct tx *t);

/* tx_free: what it holds and itself; deliveries that are still marked stay so. */
void tx_free(struct conn *c, struct tx *t);

#endif
