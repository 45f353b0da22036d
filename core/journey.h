/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_JOURNEY_H
#define WEIR_CORE_JOURNEY_H

/*
 * journey.h: one publish on its way: what broker_publish.c does with one message at once, and tx.c with several in two
 * passes. Private to these two. Everything that can fail is done before anything changes:
 *
 *     journey_may ─► journey_check ─► journey_prepare ─► journey_bytes, journey_append ─┬─► journey_go, or
 *     (a peer)       (limits)         (memory)           (the record)                   └─► journey_wait
 *
 * An error of one ends the journey; journey_undo gives back what journey_prepare took.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/adapter.h"
#include "core/msg.h"
#include "core/retained.h"

struct shard;
struct vhost;
struct exchange;
struct session;
struct route;
struct delayed_msg;

struct journey {
    struct shard *s;
    struct vhost *v;
    struct exchange *x;
    const struct msgview *view;
    struct session *publisher;   /* NULL: the broker itself, a will, a dead letter */
    const struct route *route;   /* where it goes; NULL: it waits for its delay first */
    const struct msg *msg;       /* held; NULL until somebody keeps it */
    struct retained_place place; /* .at 0: none was needed */
    struct delayed_msg *later;   /* its place among those that wait */
    mono_ms delay_ms;
    lsn_t lsn;              /* of its record; 0: not logged */
    lsn_t of;               /* a dead letter: its former record, settled by this one; 0: none */
    uint64_t from;          /* that of queue number `from` */
    uint16_t rx_id;         /* inbound QoS 2 packet id; 0: none */
    bool is_accepted;       /* checked, prepared and logged: journey_go need not */
    struct delivery direct; /* for one receiver after the other */
};

/* journey_may: may this publisher, a peer, send this there? ERR_NOT_FOUND (the exchange was deleted), ERR_DENIED,
 * ERR_TOO_BIG (topic, levels, delay). */
enum err journey_may(const struct journey *j);

/* journey_check_retain: ERR_UNSUPPORTED, ERR_FULL. */
enum err journey_check_retain(const struct journey *j);

/* journey_prepare: all memory that is needed to keep it, but for msg, which is there. ERR_NOMEM; ERR_FULL (the retained
 * limit). */
enum err journey_prepare(struct journey *j);
void journey_undo(struct journey *j);

/* journey_bytes: room its record needs in the store; *out 0: there is none. ERR_NOMEM, ERR_STORE. journey_append: makes
 * it, right behind journey_bytes of the same journey; ERR_STORE, ERR_NOMEM. */
enum err journey_bytes(const struct journey *j, uint64_t *out);
enum err journey_append(struct journey *j);

/* journey_go: into the retained set and to everybody in route, if is_accepted; else all that in one go, as for any
 * publish. ERR_OK, ERR_NO_MATCH; else as the steps. journey_wait: it waits for its delay. */
enum err journey_go(struct journey *j);
void journey_wait(struct journey *j);

#endif
