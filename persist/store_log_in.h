/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_STORE_LOG_IN_H
#define WEIR_PERSIST_STORE_LOG_IN_H

/*
 * store_log_in.h: what the files of the log share: its state. Nobody else includes it; what these files call of each
 * other is in store_log_calls.h.
 *
 * Thread: the shard's; a lane touches only what its job points to, while the job is under way.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/store.h"
#include "persist/codec.h"
#include "persist/living.h"
#include "persist/runner.h"
#include "persist/store_log.h"
#include "persist/wal_file.h"

#define LOG_FRONT_MAX   CODEC_BATCH_MAX
#define LOG_HELD        2u       /* spares held back for settles, ends and copies */
#define LOG_AHEAD       1u       /* spares beyond these */
#define LOG_SPARES_MAX  5u       /* old segments are kept as spares up to so many */
#define LOG_BUF_KEEP    4194304u /* a batch buffer that is larger is given back */
#define LOG_CHUNK       262144u  /* bytes read at once */
#define LOG_OPEN_MAX    256u     /* segment files open at once, for reading */
#define LOG_RETRY_MS    1000u    /* how often a full disk is asked again */
#define LOG_NO_LINGER_N 64u      /* batches that do not linger after one that did in vain */
#define LOG_SEGMENT_MIN 65536u
#define LOG_SEGMENT_MAX 134217728u

/* A file: a segment of the log, or a spare that waits to become one. owner: store_log; freed when its file is */
struct segment {
    struct wal_head head;   /* number 0: a spare */
    uint64_t end;           /* behind the last frame that was laid out */
    uint64_t landed;        /* behind the last one that was written */
    uint64_t record_n;      /* frames in it that may be living ones, copies included */
    struct disk_file *file; /* NULL: not open */
    uint32_t pins;          /* jobs that use it */
    bool is_free;           /* nothing in it lives; it goes when that is durable: */
    bool is_stuck;          /* something in it lives and cannot be read */
    lsn_t free_lsn;         /* ... up to here, ... */
    uint64_t free_batch;    /* ... and this batch (copies have old LSNs) */
    char spare_name[DISK_NAME_MAX];
};

enum { FRAME_DEAD = 1, FRAME_MAY_GO = 2, FRAME_COPY = 4, FRAME_NOTES = 8 };

/* A frame in a batch's bytes. */
struct frame {
    lsn_t lsn;
    uint64_t off; /* in the bytes */
    uint32_t bytes;
    uint32_t at;     /* mono_ms, low bits: the submit behind its append */
    uint32_t note_n; /* notes about it in this batch; of FRAME_NOTES: its LSN less the one that was told */
    uint8_t kind, flags;
};

/* Frames of a batch that go to one segment. */
struct extent {
    struct segment *seg;
    uint64_t off;         /* in the segment: where the WAL_BATCH frame goes */
    uint64_t from, bytes; /* frames, in the batch's bytes */
    uint32_t frame_from, frame_n;
    bool is_new;    /* the segment is a spare up to now */
    bool has_zeros; /* there is room for a frame's head of zeros behind */
    uint32_t front_bytes;
    uint8_t front[LOG_FRONT_MAX]; /* its WAL_BATCH frame */
};

struct store_log;

/* What gathers, or what is being written; two of them take turns. */
struct batch {
    struct store_log *log;
    struct buf bytes;    /* LOG_FRONT_MAX bytes of nothing, then frames */
    struct frame *frame; /* [head .. n): those before head are dead */
    uint32_t head, n, cap;
    uint32_t stamped; /* frames whose `at` is set */
    struct extent *extent;
    uint32_t extent_n, extent_cap;

    struct job job; /* under way: all below, and the bytes, are the lane's */
    uint64_t number;
    lsn_t upto;               /* durable when this batch is */
    struct segment *old_tail; /* to be synced, too; or NULL */
    bool do_sync, failed_in_sync;
    uint32_t syncs;
    enum err err;
};

/* One note of the open batch. */
struct log_note {
    uint64_t queue, session;
    lsn_t of;
    uint16_t ticket, returns;
    uint8_t kind;
};

struct make_job {
    struct job job;
    struct segment *seg; /* what it makes; NULL: not under way */
    enum err err;
    bool is_fatal; /* it was the directory that failed */
    uint64_t free_bytes;
    struct store_log *log;
};

struct recycle_job {
    struct job job;
    struct segment *seg;    /* NULL: not under way */
    bool to_spare, is_lost; /* is_lost: it is a spare that cannot be opened */
    enum err err;
    uint64_t free_bytes;
    struct store_log *log;
};

struct sync_job {
    struct job job;
    struct segment *seg; /* NULL: not under way */
    lsn_t upto;
    uint64_t batch;
    enum err err;
    struct store_log *log;
};

/* Reads a stretch of a segment; opens its file if need be. */
struct read_job {
    struct job job;
    struct store_log *log;
    struct segment *seg; /* NULL: nothing to read */
    struct disk_file *file;
    uint64_t off;
    uint8_t *bytes;
    uint64_t n, cap;
    enum err err;
    bool is_under_way;
};

enum compact_state { COMPACT_IDLE, COMPACT_READING, COMPACT_READY, COMPACT_LANDING };

struct compact {
    enum compact_state state;
    struct segment *seg;
    struct read_job read;
    uint64_t pos, former; /* in the chunk; before the last copy */
    uint64_t copied;      /* records, of this segment */
};

/* owner: the shard; freed: close */
struct store_log {
    struct store base;
    struct mem *mem;
    struct store_log_config config;
    struct living *living;
    struct codec_rec scratch;  /* what was read last */
    struct store_rec note_rec; /* of the note that was appended last */
    bool is_open, is_locked, is_started, has_failed, is_closing;
    mono_ms now;

    /* LSNs: last given · submitted · all up to here are durable · and synced (the same but for STORE_LOG_INTERVAL) */
    lsn_t last, submitted, durable, synced;
    uint64_t batch_last, batch_landed, batch_synced; /* numbers */

    /* the open batch, and the one under way */
    struct batch batch[2];
    struct batch *open, *flying; /* flying: NULL: none */
    lsn_t base_lsn;              /* greater ones belong to the open batch */
    bool in_unit;
    bool is_urgent; /* it does not linger */
    bool keeps_all; /* nothing in it may be left out any more */
    struct log_note *note;
    uint32_t note_n, note_cap, note_submitted;
    uint32_t old_note_n, own_note_n; /* about former publishes; about living ones of this batch */
    lsn_t notes_lsn;                 /* 0: no note yet */
    lsn_t put_lsn;                   /* of notes that are a frame of the open batch already; 0: none */
    mono_ms note_since;              /* of the first old one */
    struct notes *notes, *unit_notes;
    struct buf front;
    mono_ms sealed_at;
    uint32_t no_linger_n;
    bool wants_retry; /* memory was short */

    /* files */
    struct segment **segment; /* [segment_n], by number; the last one is written to if has_tail */
    uint32_t segment_n, segment_cap;
    bool has_tail;
    struct segment **spare; /* [spare_n] */
    uint32_t spare_n, spare_cap;
    uint64_t segment_last, spare_last; /* numbers given */
    uint32_t open_files;
    uint64_t want_bytes; /* a spare so large is needed now; 0: none */
    uint64_t room;       /* reserve may give so much, what gathers included */
    uint64_t disk_free;  /* as it was asked last */
    bool is_blocked;     /* no file can be made; asked again at: */
    mono_ms retry_at;
    bool said_why;
    uint32_t since_estimate;          /* batches */
    uint64_t living_bytes, log_bytes; /* the estimate: of records that live; of segments */
    struct make_job make;
    struct recycle_job recycle;
    struct sync_job sync;
    mono_ms synced_at;
    bool lane_failed; /* LANE_WRITE's own: it writes nothing more, before the loop knows */
    struct compact compact;

    /* reading back */
    struct store_fetch *fetch_first, *fetch_last;
    uint32_t fetch_pos; /* in the first one */
    bool is_parked;     /* it waits for memory, or for what is not written yet */
    struct read_job fetch_read;
    bool gives_up; /* close: what cannot be read now is not */

    uint64_t began_us, torn_bytes; /* of open, for its line in the log */
};

static inline struct store_log *store_log_of(struct store *s)
{
    return CONTAINER_OF(s, struct store_log, base);
}

#endif
