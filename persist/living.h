/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_LIVING_H
#define WEIR_PERSIST_LIVING_H

/*
 * living.h: which records still mean something, and where they are on disk: the log's index in memory. It says the same
 * as persist/store_image.h ("living"), which is its yardstick in tests, without holding any record: about 8 bytes for a
 * publish that one queue waits for.
 *
 *     living_apply(record)            at append, and again when a log is read: what it begins, changes or ends
 *     living_set_place(lsn, where)    its frame got a place, or another one (compaction)
 *     living_where(lsn) ─► place      for reading back; none: it is dead
 *     living_next(lsn)                all that live, in LSN order: replay
 *
 * A record with several reasons to live (targets, an open QoS 2 id, being retained) lives until the last is gone. State
 * that changes (SESSION, QUEUE, EXCHANGE, BIND, MEMBER, WILL) lives as its newest record, and is visited at the LSN of
 * that one: core/restore.c does not need a definition to stand before its use, only that definitions are visited first,
 * which living_next sees to (see there).
 *
 * Thread: the shard's.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/store.h"

struct living;

/* Where a frame is. segment 0: nowhere yet (it is in a batch that was not laid out). */
struct living_place {
    uint64_t segment;
    uint32_t off; /* of its head in the segment; a multiple of 8 */
};

/* living_new: an empty index; seed: of its tables. NULL: out of memory. */
struct living *living_new(struct mem *mem, uint64_t seed) MUST_CHECK;
void living_free(struct living *l);

/* living_apply: the next record (rec->lsn is set; for notes that of their frame). rec->msg is looked at for the topic
 * of a RETAIN or a PUBLISH with STORE_PUBLISH_RETAINED and whether its payload is empty; where a record was read
 * without making the message (place.segment is set then), rec->name is the topic, and `cleared` tells that there is no
 * payload (of a WILL: no message). A unit (TX ... TX_END) takes effect at its end, or not at all; living_cut forgets
 * one that has no end: between two batches of a log that is read there is none. is_copy: a frame of compaction: what it
 * says of targets and ids replaces what is known of this lsn, for reading a log; a running store uses living_set_place
 * instead. ERR_NOMEM: nothing has changed; a unit whose TX_END said so is still there, and may be ended again, or as
 * void. ERR_TOO_BIG: place.off is LIVING_OFF_MAX or more (nothing has changed). Unknown `of` are ignored. */
#define LIVING_OFF_MAX (128u * 1024 * 1024)
struct living_how {
    struct living_place place;
    bool is_copy, cleared;
};
enum err living_apply(struct living *l, const struct store_rec *rec, const struct living_how *how) MUST_CHECK;
void living_cut(struct living *l);

/* living_reserve_segments: the next living_set_place calls may name n segments in which nothing lives yet. ERR_NOMEM,
 * also when something lives in more than 131,000. Eight are always reserved after living_apply. */
enum err living_reserve_segments(struct living *l, uint32_t n) MUST_CHECK;

/* living_set_place: the frame of lsn is there now; nothing if it is dead. at.off < LIVING_OFF_MAX, and room for the
 * segment was reserved (BUG_ON). */
void living_set_place(struct living *l, lsn_t lsn, struct living_place at);

/* living_where: false: it is dead or unknown. */
bool living_where(const struct living *l, lsn_t lsn, struct living_place *out);

/* living_trim: rec was read from the frame of a living publish or retain (lsn set): leaves out settled targets (in
 * place, so rec->target must be writable: `target`), fills in progress, session, ticket and returns of the others,
 * clears session and rx_id when the id is released, STORE_PUBLISH_RETAINED when another message is retained there, and
 * `of` with its `queue`. rec->msg stays (a publish that has no target left and is not retained is visited without). */
void living_trim(const struct living *l, struct store_rec *rec, struct store_target *target);

/* living_queues_of: queues that this session owns, at most n of them, into out[n]; returns how many. Those that come
 * with a unit that has not ended are not known. */
uint32_t living_queues_of(const struct living *l, uint64_t session, uint64_t *out, uint32_t n);

/* living_next: the first living lsn greater than `after` (0 at first) of one of two sorts: definitions (EXCHANGE,
 * SESSION, QUEUE, BIND, MEMBER, WILL, in this order of kinds, by lsn within each: *kind_io is where it stands, start
 * with 0), or messages (PUBLISH, RETAIN; kind_io NULL), by lsn. 0: no more. The index must not change meanwhile but by
 * living_set_place. */
lsn_t living_next(struct living *l, lsn_t after, uint8_t *kind_io);

/* living_n: living records, one that is PUBLISH and RETAIN once. living_n_in: those whose place is in this segment; 0
 * also for unknown segments. */
uint64_t living_n(const struct living *l);
uint64_t living_n_in(const struct living *l, uint64_t segment);

/* living_bytes: memory the index takes up now. living_check: asserts all invariants; for tests. */
uint64_t living_bytes(const struct living *l);
void living_check(const struct living *l);

#endif
