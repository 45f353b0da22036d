/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_WAL_INT_H
#define WEIR_PERSIST_WAL_INT_H

/*
 * wal_int.h: one segment through a window, for wal_read.c: its frames one by one, and where the next good one is; and
 * tables that grow, for check_log.c, too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist/wal_file.h"

/* owner: wal_read */
struct wal_scan {
    struct disk *disk;
    struct mem *mem;
    struct disk_file *file; /* NULL: none is open */
    uint64_t number, salt;
    uint64_t limit; /* frames end here at the latest: of the head's size and the file's the smaller, a multiple of 8 */
    uint64_t off;   /* of the window */
    size_t len, cap;
    uint8_t *buf;
};

/* wal_scan_open: the segment of this head becomes the one that is read; the one before is closed. */
enum err wal_scan_open(struct wal_scan *s, const struct wal_head *h, bool may_write) MUST_CHECK;

/* wal_scan_close: the file and the window's memory. */
void wal_scan_close(struct wal_scan *s);

/* wal_scan_bytes: *out = n bytes from off on, within the limit (BUG_ON), until the next call of any of these. */
enum err wal_scan_bytes(struct wal_scan *s, uint64_t off, size_t n, const uint8_t **out) MUST_CHECK;

/* wal_scan_frame: the frame at off; ERR_MALFORMED: there is no good one; ERR_IO, ERR_NOMEM. */
enum err wal_scan_frame(struct wal_scan *s, uint64_t off, struct wal_frame *out) MUST_CHECK;

/* wal_scan_next: *out_next: where the next good frame from off on begins, the limit if there is none; *out_dirty: the
 * end of what is not zero before that (in words of 8 bytes), off if all is. */
enum err wal_scan_next(struct wal_scan *s, uint64_t off, uint64_t *out_next, uint64_t *out_dirty) MUST_CHECK;

/* wal_scan_dirty: *out: the end of the last word that is not zero from off on; off if all are. */
enum err wal_scan_dirty(struct wal_scan *s, uint64_t off, uint64_t *out) MUST_CHECK;

/* wal_grow: room for one more behind the n items of *p, which has *cap. ERR_NOMEM: as before. */
enum err wal_grow(struct mem *mem, void **p, uint32_t *cap, uint32_t n, size_t item) MUST_CHECK;

#endif
