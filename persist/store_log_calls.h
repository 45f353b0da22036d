/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_STORE_LOG_CALLS_H
#define WEIR_PERSIST_STORE_LOG_CALLS_H

/*
 * store_log_calls.h: what the files of the log call of each other; nobody else includes it.
 *
 *     store_log.c          the slots, opening, closing, failing
 *     store_log_batch.c    append, gather, linger
 *     store_log_seal.c     lay out, write, land
 *     store_log_space.c    segments and spares, room, a full disk
 *     store_log_compact.c  copying what lives out of the oldest segment
 *     store_log_read.c     fetch and read
 *     store_log_replay.c   reading a log at the start
 *
 * Thread: the shard's.
 */

#include "persist/store_log_in.h"

/* ---- store_log.c --------------------------------------------------------------------------------------------- */

/* log_fail: fail-stop: nothing is written any more. The first call says so. */
void log_fail(struct store_log *s, const char *what, enum err e);

/* log_durable: everything up to lsn is; told if it is news. */
void log_durable(struct store_log *s, lsn_t lsn);

/* ---- store_log_batch.c --------------------------------------------------------------------------------------- */

bool batch_init(struct store_log *s) MUST_CHECK;
void batch_fini(struct store_log *s);
lsn_t batch_append(struct store_log *s, const struct store_rec *rec);

/* batch_turn: writes what is due. batch_due: when it wants to be called again. batch_mark: all appended is submitted.
 */
void batch_mark(struct store_log *s);
void batch_turn(struct store_log *s, mono_ms now);
mono_ms batch_due(const struct store_log *s);

/* batch_cut: forgets what was appended after the last submit. batch_is_empty: nothing has to be written. */
void batch_cut(struct store_log *s);
bool batch_is_empty(const struct store_log *s);

/* batch_gathered: bytes that the open batch will take up. */
uint64_t batch_gathered(const struct store_log *s);

/* batch_grow: there will be room for one more frame. batch_add_frame: the bytes behind `from` are one. batch_truncate:
 * bytes behind len are forgotten. batch_reset: an empty one. */
bool batch_grow(struct batch *b) MUST_CHECK;
struct frame *batch_add_frame(struct batch *b, lsn_t lsn, uint64_t from, uint8_t kind, uint8_t flags);
void batch_truncate(struct batch *b, uint64_t len);
void batch_reset(struct batch *b);

/* batch_filter_notes: forgets notes that need not be written. batch_put_notes: all of them as one frame; they are not
 * forgotten. batch_lingers: it waits for its messages to be settled. */
void batch_filter_notes(struct store_log *s);
bool batch_put_notes(struct store_log *s, struct batch *b, lsn_t lsn) MUST_CHECK;
bool batch_lingers(const struct store_log *s);

/* batch_bytes_of: the frame of a record of the open batch, without its checksum; NULL: there is none. */
const uint8_t *batch_bytes_of(const struct store_log *s, lsn_t lsn, uint32_t *out_bytes);

/* ---- store_log_seal.c ---------------------------------------------------------------------------------------- */

/* seal: lays out as much of the open batch as there is room for, and sends it to the disk. */
void seal(struct store_log *s, mono_ms now);

/* ---- store_log_space.c --------------------------------------------------------------------------------------- */

void space_init(struct store_log *s);
void space_fini(struct store_log *s);
bool space_add(struct store_log *s, struct segment *seg) MUST_CHECK;
bool space_add_spare(struct store_log *s, struct segment *seg) MUST_CHECK;
struct segment *space_find(const struct store_log *s, uint64_t number);

/* space_turn: makes spares, frees segments, begins to compact. space_due: when it wants to be called again. */
void space_turn(struct store_log *s);
mono_ms space_due(const struct store_log *s);
void space_count(struct store_log *s);
enum err space_reserve(struct store_log *s, uint64_t bytes);

/* space_pin, space_unpin: while a job reads seg. unpin takes the file that the job has opened, if any. */
void space_pin(struct segment *seg);
void space_unpin(struct store_log *s, struct segment *seg, struct disk_file *file);

/* space_reserve_slots: n segments can be added without memory. space_begin: a spare becomes the last segment. */
bool space_reserve_slots(struct store_log *s, uint32_t n) MUST_CHECK;
void space_begin(struct store_log *s, struct segment *spare);

/* space_usable: bytes of frames in a segment of this size. */
uint64_t space_usable(uint64_t size);

/* ---- store_log_compact.c ------------------------------------------------------------------------------------- */

void compact_init(struct store_log *s);
void compact_fini(struct store_log *s);
void compact_start(struct store_log *s, struct segment *seg);

/* compact_next: the next copy, appended to the open batch as one frame. False: none now. compact_undo: the last copy
 * found no room, and will come again. compact_landed: no batch is under way. */
bool compact_next(struct store_log *s);
void compact_undo(struct store_log *s);
void compact_landed(struct store_log *s);

/* ---- store_log_read.c ---------------------------------------------------------------------------------------- */

void read_init(struct store_log *s);
void read_fini(struct store_log *s);
void read_fetch(struct store_log *s, struct store_fetch *f);
const struct msg *read_one(struct store_log *s, lsn_t lsn);
void read_wake(struct store_log *s);

/* read_post: posts j for n bytes at off of seg. j->bytes has room. */
void read_post(struct store_log *s, struct read_job *j, struct segment *seg, uint64_t off, uint64_t n,
               void (*done)(struct job *));
/* read_done: what every done does first. */
void read_done(struct store_log *s, struct read_job *j);

/* ---- store_log_replay.c -------------------------------------------------------------------------------------- */

enum err log_open_replay(struct store_log *s);
enum err replay_visit(struct store_log *s, store_visit_fn visit, void *ctx);

#endif
