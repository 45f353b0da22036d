/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_DEAD_LETTER_H
#define WEIR_CORE_DEAD_LETTER_H

/*
 * dead_letter.h: what becomes of messages that a queue gives up: they are published again, to the queue's dead-letter
 * exchange, and carry their history.
 *
 *     x-first-death-reason:rejected   x-first-death-queue:jobs   x-first-death-exchange:
 *     x-death:queue=jobs;reason=rejected;count=2;exchange=;routing-key=jobs;time=1793000000
 *
 * One x-death per queue and reason, the latest first; '%', ';', '=' and what is below a blank are written as %XX. They
 * are attributes of kind ATTR_DEATH (core/attrs.h), which only the broker makes.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/list.h"
#include "core/base/pool.h"
#include "core/base/slice.h"
#include "core/msg.h"
#include "core/stats.h"

struct queue;
struct vhost;

enum death { DEATH_REJECTED, DEATH_EXPIRED, DEATH_MAXLEN, DEATH_DELIVERY_LIMIT, DEATH_N };

/* death_text: "rejected", "expired", "maxlen", "delivery_limit". death_stat: what a message is counted as that dies so
 * and is not published again. */
const char *death_text(enum death d);
enum stat_id death_stat(enum death d);

/* Those that died in this turn and are not published yet: never in the middle of another message's way. */
struct dead_letters {
    struct vhost *vhost;
    struct pool pool;
    struct list all;
};

void dead_letters_init(struct dead_letters *d, struct vhost *v);
/* dead_letters_fini: drops what is left. */
void dead_letters_fini(struct dead_letters *d);

/* dead_letter_add: m leaves q (or was refused by it) because of `why`. True: it will be published to q's dead-letter
 * exchange before this turn ends, and its record `lsn` (0: none) is settled by the record of that. False: q has no
 * dead-letter exchange, or no memory is left: the caller counts and settles. Holds m; q must live until the turn's end.
 */
bool dead_letter_add(struct queue *q, const struct msg *m, lsn_t lsn, enum death why) MUST_CHECK;

/* dead_letters_send: publishes them all, and those that die by that. Between two steps of the turn only. */
void dead_letters_send(struct dead_letters *d);

/* dead_letter_is_cycle: would a message with these attributes come back to `target`, where it died before, without a
 * rejection since? Then nobody wants it to go round for ever. */
bool dead_letter_is_cycle(struct slice attrs, const struct queue *target);

/* dead_letter_attrs: appends attrs to b with the death of a message with this routing key in q added. */
void dead_letter_attrs(struct buf *b, struct slice attrs, const struct queue *q, struct slice key,
                       struct slice exchange, enum death why, uint64_t time_s);

#endif
