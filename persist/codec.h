/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_CODEC_H
#define WEIR_PERSIST_CODEC_H

/*
 * codec.h: records to bytes and back: persist/record.proto (protobuf-c) for what a record says, with topic and payload
 * of its message raw behind it.
 *
 *     struct store_rec ──codec_put──► body · raw          notes: SETTLE, SENT, RECEIVED and RETURNED of one batch are
 *     struct store_rec ◄──codec_get── body · raw                 gathered by queue, and written as runs of numbers
 *
 * Times: msg->expires_at is written as wall-clock time (store_wall) and read back the same way.
 * Thread: one at a time per object; no function keeps state.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/exchange.h"
#include "core/queue_policy.h"
#include "core/store.h"
#include "persist/wal_file.h"

/* codec_kind_names: [enum store_kind], for people; NULL at 0. */
#define CODEC_KINDS (STORE_WILL + 1u)
extern const char *const codec_kind_names[CODEC_KINDS];

/* codec_put: appends a whole frame (wal_put_frame, checksums missing) for rec to out; any kind. rec->lsn is the
 * frame's; rec->at 0: now (clock->now). flags: WAL_COPY or 0. What core/store.h says of the kind comes back from
 * codec_get as it was, attributes in their order, but the message's publisher only where it may still matter: of a
 * retained or delayed message, a RETAIN or WILL. ERR_NOMEM, ERR_TOO_BIG (4 GiB): out is as before. */
enum err codec_put(struct buf *out, const struct store_rec *rec, uint8_t flags, const struct store *clock) MUST_CHECK;

/* codec_put_copy: the frame `f` once more, for compaction: flag WAL_COPY, its message's bytes as they are. Of a
 * PUBLISH, `now` says targets, session, rx_id, flags, of and queue, and the message is left out if it has no target and
 * is not STORE_PUBLISH_RETAINED; every other kind is copied as it is. ERR_NOMEM, ERR_MALFORMED (f does not parse): out
 * is as before. */
enum err codec_put_copy(struct buf *out, const struct wal_frame *f, const struct store_rec *now) MUST_CHECK;

/* Memory for one record at a time. owner: who embeds it */
struct codec_arena {
    struct mem *mem;
    uint8_t *chunk; /* kept; the record before last is gone when the next is read */
    size_t chunk_len;
    void *more; /* blocks, chained through their first word, for what does not fit into the chunk */
    bool is_out_of_memory;
};

/* A record read back: everything rec points to lies in the frame or in here, until the next one. owner: the caller */
struct codec_rec {
    struct store_rec rec;
    struct queue_policy policy;
    struct exchange_spec exchange;
    struct store_target *target; /* the same as rec.target, to be changed */
    uint64_t msg_bytes;          /* msg_bytes() of its message, also where that was not made; 0: none */
    bool has_msg;                /* there is a message in the frame */
    bool is_cleared;             /* RETAIN, STORE_PUBLISH_RETAINED: no message, or an empty payload; WILL: no message */
    struct buf attrs;
    struct codec_arena arena;
};

/* codec_rec_init: no allocation. codec_rec_fini: the slices of the last record are gone; its message is the caller's.
 */
void codec_rec_init(struct codec_rec *r, struct mem *mem);
void codec_rec_fini(struct codec_rec *r);

/* codec_get: what a frame (no notes, no batch) says. msgs NULL: the message is not made (rec.msg NULL; has_msg says
 * whether there is one; of a RETAIN and of a PUBLISH with STORE_PUBLISH_RETAINED rec.name is the topic then). Else the
 * caller drops rec.msg. ERR_UNSUPPORTED: of a kind that this version does not know: skip it. ERR_MALFORMED: it does not
 * parse, or what it says cannot be: the frame is damaged. ERR_NOMEM. */
enum err codec_get(const struct wal_frame *f, struct msg_pool *msgs, const struct store *clock,
                   struct codec_rec *out) MUST_CHECK;

/* codec_put_batch: the WAL_BATCH frame of part `part` (0 in the segment where the batch begins, 1 in the next, ...): at
 * most CODEC_BATCH_MAX bytes. codec_get_batch: part may be NULL; out_bytes (may be NULL): what the part takes up by its
 * own account, 0: it does not say. */
#define CODEC_BATCH_MAX 64u
enum err codec_put_batch(struct buf *out, uint64_t number, wall_ms at, uint32_t part) MUST_CHECK;
enum err codec_get_batch(const struct wal_frame *f, wall_ms *out_at, uint32_t *out_part,
                         uint64_t *out_bytes) MUST_CHECK;

/* ---- notes ---------------------------------------------------------------------------------------------------- */

struct notes;

/* notes_new: gathers what a batch notes about publishes. NULL: out of memory. */
struct notes *notes_new(struct mem *mem) MUST_CHECK;
void notes_free(struct notes *n);

/* notes_add: rec is SETTLE, SENT, RECEIVED or RETURNED. ERR_NOMEM: it was not taken. notes_is_empty. notes_bytes: the
 * frame will not take up more. */
enum err notes_add(struct notes *n, const struct store_rec *rec) MUST_CHECK;
bool notes_is_empty(const struct notes *n);
uint64_t notes_bytes(const struct notes *n);

/* notes_filter: drops every note about a publish for which keep says no: one that will never be written. O(notes). */
void notes_filter(struct notes *n, bool (*keep)(void *ctx, lsn_t of), void *ctx);

/* notes_put: the WAL_NOTES frame of all that was gathered, with this lsn; n is empty afterwards. ERR_NOMEM: nothing has
 * changed. */
enum err notes_put(struct notes *n, struct buf *out, lsn_t lsn) MUST_CHECK;

/* notes_get: calls visit for every note, as a store_rec with the frame's lsn and no `at`; notes of one queue about one
 * publish come in the order they were added (a SETTLE is the last of them). Memory: of mem, for as long as it runs.
 * ERR_MALFORMED (before the first visit), ERR_NOMEM, or visit's error. */
enum err notes_get(const struct wal_frame *f, struct mem *mem, store_visit_fn visit, void *ctx) MUST_CHECK;

#endif
