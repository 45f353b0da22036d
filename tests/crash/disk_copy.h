/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_DISK_COPY_H
#define WEIR_TESTS_DISK_COPY_H

/*
 * disk_copy.h: persist/disk.h in plain memory, filled from a real directory: to damage a log ten thousand times without
 * touching a disk. It keeps no account of what was synced (tests/sim/disk_sim.h does); everything done is done.
 *
 *     struct disk_copy *origin = disk_copy_load("/tmp/log");
 *     struct disk_copy *c = disk_copy_of(origin);  ... damage c->file[i] ... store gets &c->disk, and destroys it
 */

#include <stdint.h>

#include "core/base/check.h"
#include "persist/disk.h"

#define COPY_FILE_N 256u

struct copy_file {
    char name[DISK_NAME_MAX]; /* "": there is none */
    uint8_t *bytes;           /* [size] */
    uint64_t size;
};

struct disk_copy {
    struct disk disk; /* destroy frees the disk_copy */
    struct copy_file file[COPY_FILE_N];
    uint32_t open_n;
};

/* disk_copy_load: all regular files of a directory; exits with a message when it cannot be read. */
struct disk_copy *disk_copy_load(const char *path) MUST_CHECK;

/* disk_copy_of: another one with the same content. */
struct disk_copy *disk_copy_of(const struct disk_copy *origin) MUST_CHECK;

/* disk_copy_find: NULL: no such file. */
struct copy_file *disk_copy_find(struct disk_copy *c, const char *name);

#endif
