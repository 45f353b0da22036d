/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_STORE_IMAGE_H
#define WEIR_PERSIST_STORE_IMAGE_H

/*
 * store_image.h: what a log amounts to: the records that still mean something after all before them were applied. It is
 * the "disk" behind the in-memory store, and the yardstick for what replay must give back (core/store.h: "living").
 *
 *     apply(record 1), apply(record 2), ...  ─►  visit(each living record, in the order core/store.h promises)
 *
 * Living means
 *   PUBLISH   some target is not settled and its queue not ended: visited with those targets only; or its inbound
 *             QoS 2 id is not released and its session not ended: visited with rx_id, and with msg NULL once no
 *             target is left. What a dead letter settles is settled: it is visited without `of`
 *   RETAIN    the last of its topic, unless that one cleared it. A PUBLISH with STORE_PUBLISH_RETAINED counts as
 *             one, which is visited behind it, with the same LSN
 *   SESSION   until its end. A change takes the place of what it changes: it is visited with the newest one's LSN, so
 *             that a session may stand behind a queue of its own; that sessions are visited first does not depend on it
 *   QUEUE     until its end or its owner's; changes as for SESSION
 *   EXCHANGE  until its end; changes as for SESSION
 *   BIND      until unbound, or its queue's end, or that of either exchange; changes as for SESSION
 *   MEMBER    until its end, its queue's or its session's; changes as for SESSION
 *   WILL      until one without a message, or its session's end; changes as for SESSION
 *   SENT, RECEIVED, RETURNED   as long as the target they speak of, which then shows progress, ticket and returns:
 * SENT: STORE_WAS_SENT with its ticket; RECEIVED: STORE_WAS_RECEIVED; RETURNED: STORE_WAITS and returns the rest never:
 * they are what ends the others, or say which records are one unit
 *
 * Thread: one at a time.
 */

#include <stdint.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/store.h"

struct store_image;

/* store_image_new: an empty one; NULL when out of memory. `mem` must outlive it. */
struct store_image *store_image_new(struct mem *mem) MUST_CHECK;

/* store_image_free: nobody may hold a message that visit showed (BUG_ON). NULL is fine. */
void store_image_free(struct store_image *img);

/* store_image_apply: the next record of the log, rec->lsn greater than all before; that of a SETTLE, SENT, RECEIVED or
 * RETURNED may be any. Everything is copied, the message included. Of a unit (STORE_TX) nothing is visited before its
 * end. ERR_NOMEM: nothing has changed, but if rec ended a unit: then all of it is done before anything else is. Not
 * from within visit (BUG_ON). */
enum err store_image_apply(struct store_image *img, const struct store_rec *rec) MUST_CHECK;

/* store_image_set_clock: wall - mono (core/store.h) of the records to come: what their messages say of times is kept
 * as wall-clock time, and visited so. 0 at first. */
void store_image_set_clock(struct store_image *img, int64_t clock);

/* store_image_cut: the log ends here, and another life begins: a unit without its end is forgotten. */
void store_image_cut(struct store_image *img);

/* store_image_visit: every living record, until visit returns an error, which is then returned; in the order of
 * core/store.h: EXCHANGEs, SESSIONs, QUEUEs, BINDs, MEMBERs, WILLs, then PUBLISHes and RETAINs, by LSN within each.
 * What the record points to lives until visit returns; a message may be held longer, but not beyond the image.
 * ERR_NOMEM. */
enum err store_image_visit(struct store_image *img, store_visit_fn visit, void *ctx) MUST_CHECK;

/* store_image_get: the message of a living PUBLISH, borrowed until the next apply. NULL: it is settled. */
const struct msg *store_image_get(struct store_image *img, lsn_t lsn);

/* store_image_lsn: the greatest of the records applied, 0: none. store_image_stamp: the newest `at` of them. */
lsn_t store_image_lsn(const struct store_image *img);
wall_ms store_image_stamp(const struct store_image *img);

/* store_image_n: living records; a PUBLISH that is a RETAIN, too, counts twice. */
uint64_t store_image_n(const struct store_image *img);

/* store_image_bytes: size of all living records, messages included. */
uint64_t store_image_bytes(const struct store_image *img);

/* store_image_check: asserts all invariants; for tests. */
void store_image_check(const struct store_image *img);

#endif
