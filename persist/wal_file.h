/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_WAL_FILE_H
#define WEIR_PERSIST_WAL_FILE_H

/*
 * wal_file.h: the log's files: segments of frames. The format is an essay at the top of wal_file.c; this is how to
 * write and to read it. What is inside a frame is persist/codec.h's business.
 *
 *     segment   head (64 bytes) · frame · frame · ... · zeros
 *     frame     crc u32 · bytes u32 · lsn u64 · body u32 · kind u8 · flags u8 · sum u16 · body · raw · zeros up to 8
 *
 * All numbers are little-endian. Frames stand on multiples of 8 and never cross segments. Every batch begins, in each
 * segment it touches, with a WAL_BATCH frame that says how long this part of it is, and is followed by WAL_FRAME_HEAD
 * zero bytes where there is room (the next batch overwrites them): so a clean end can be told from a torn one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/slice.h"
#include "persist/disk.h"

#define WAL_VERSION    1u
#define WAL_HEAD       64u
#define WAL_FRAME_HEAD 24u
#define WAL_ALIGN      8u

enum {
    /* 1 .. 63: enum store_kind, one record per frame */
    WAL_BATCH =
        64, /* lsn = number of the batch (1, 2, ... over all segments); body: Batch; raw: bytes of this part u64 */
    WAL_NOTES = 65, /* SETTLE, SENT, RECEIVED and RETURNED of a batch together; body: Notes */
    WAL_VOID = 66,  /* nothing any more: what stood here did not read and was set aside or cut off */
};

enum {
    WAL_COPY = 1, /* written again by compaction: same lsn, and it counts instead of all before */
};

/* What a segment begins with. */
struct wal_head {
    uint32_t version;
    uint64_t number; /* 1, 2, ...: the order of segments; never used twice */
    uint64_t salt;   /* of this life of the file: frames of a former one fail their checksum */
    uint64_t size;   /* bytes, the head included */
    wall_ms made;
};

/* A frame as it was read. The slices lie in the reader's window: until the next call. */
struct wal_frame {
    uint64_t segment, off; /* where its head begins */
    uint32_t bytes;        /* head, body, raw and padding: what it takes up */
    lsn_t lsn;
    uint8_t kind, flags;
    struct slice body, raw;
};

/* wal_name: "wal-" 16 hex digits ".log", of a segment; wal_spare_name: "spare-" ... ".log", one that waits for its
 * number. out[DISK_NAME_MAX]. wal_number: of a segment's name; 0: it is none. */
void wal_name(uint64_t number, char *out);
void wal_spare_name(uint64_t number, char *out);
uint64_t wal_number(const char *name);

/* wal_put_head: the head of a segment into out[WAL_HEAD]. wal_get_head: ERR_MALFORMED: none, or damaged;
 * ERR_UNSUPPORTED: of another version (only out->version is good). */
void wal_put_head(uint8_t *out, const struct wal_head *h);
enum err wal_get_head(const uint8_t *in, struct wal_head *out) MUST_CHECK;

/* wal_frame_bytes: what a frame with so many bytes of body and raw takes up. */
static inline uint64_t wal_frame_bytes(uint64_t body, uint64_t raw)
{
    return (WAL_FRAME_HEAD + body + raw + WAL_ALIGN - 1) / WAL_ALIGN * WAL_ALIGN;
}

/* wal_put_frame: writes the frame's head, without its checksums, to at[WAL_FRAME_HEAD], and zeroes the padding; body
 * and raw are there already, behind it, and WAL_FRAME_HEAD + body + raw < 4 GiB (BUG_ON). */
void wal_put_frame(uint8_t *at, uint8_t kind, uint8_t flags, lsn_t lsn, uint32_t body, uint32_t raw);

/* wal_seal: bytes[n] is one batch's part in one segment: frames one behind the other, the first a WAL_BATCH (else no
 * part is measured: for tests). Writes the part's size into that, and computes all checksums. Any thread. */
void wal_seal(uint8_t *bytes, size_t n, uint64_t salt);

/* wal_frame_size: what the frame takes up, padding included, whose head is head[WAL_FRAME_HEAD]; 0: it is none of this
 * life. Any thread. */
uint64_t wal_frame_size(const uint8_t *head, uint64_t salt);

/* wal_put_void: the sealed head of a WAL_VOID that takes up `bytes` (a multiple of 8, at least WAL_FRAME_HEAD), all
 * zeros behind it, into out[WAL_FRAME_HEAD]. */
void wal_put_void(uint8_t *out, uint64_t bytes, uint64_t salt);

/* wal_check_frame: one frame read from the disk, in bytes[n]. ERR_MALFORMED: not a whole frame of this life. out's
 * slices point into bytes; segment and off are the caller's to fill. Any thread. */
enum err wal_check_frame(const uint8_t *bytes, size_t n, uint64_t salt, struct wal_frame *out) MUST_CHECK;

/* ---- a directory of segments: opening a log ------------------------------------------------------------------ */

/* What became of a stretch of a segment that does not read. bytes 0: what should be here is missing. */
struct wal_damage {
    uint64_t segment, off, bytes;
    bool is_torn;                  /* the end of what was being written when the power went: normal */
    char set_aside[DISK_NAME_MAX]; /* where its bytes are now; empty: nowhere (torn, or read only) */
};

struct wal_segment {
    struct wal_head head;
    uint64_t end;     /* offset behind its last good frame */
    uint32_t frame_n; /* good frames, WAL_BATCH and WAL_VOID not counted */
};

struct wal_visitor {
    void *ctx;
    /* Each may be NULL. frame: every good frame but WAL_VOID, in file order; an error ends wal_read with it. */
    enum err (*segment)(void *ctx, const struct wal_head *h, uint64_t file_bytes);
    enum err (*frame)(void *ctx, const struct wal_frame *f);
    void (*damage)(void *ctx, const struct wal_damage *d);
    /* spare: a file that waits to become a segment, or any file that is left over from one that was being made. */
    enum err (*spare)(void *ctx, const char *name, uint64_t file_bytes);
};

struct wal_found {
    struct wal_segment *segment; /* [segment_n], by number; freed by wal_found_fini */
    uint32_t segment_n;
    uint64_t batch;  /* number of the last batch */
    wall_ms stamp;   /* newest time in a WAL_BATCH */
    uint64_t frames; /* all good ones, WAL_BATCH and WAL_VOID not counted */
    uint64_t damaged_bytes, torn_bytes;
    uint32_t damaged_n;  /* stretches */
    uint64_t void_bytes; /* of WAL_VOID: set aside by an earlier open */
};

/* wal_read: all segments of a directory in order, every frame checked. What does not read and is followed by a later
 * batch is damage: with `repair` it is copied to a file "damaged-NUMBER-OFFSET.bin", a WAL_VOID takes its place, and
 * reading goes on behind it; at the end of what was written it is a torn tail: with `repair` it is zeroed, for good, so
 * that it can never be read as part of something later. The log (may be NULL) is told of both. Before anything is
 * changed, all heads are read: ERR_UNSUPPORTED: one is of a later version (nothing was touched). A segment whose head
 * is damaged is damage as a whole, and its file is renamed with `repair`. Gaps in the numbers are told. ERR_IO: a file
 * cannot be read, opened or mended: nothing is guessed then; ERR_NOMEM. Blocks. */
enum err wal_read(struct disk *d, struct mem *mem, struct log *log, bool repair, const struct wal_visitor *v,
                  struct wal_found *out) MUST_CHECK;
void wal_found_fini(struct wal_found *f, struct mem *mem);

#endif
