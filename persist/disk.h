/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_DISK_H
#define WEIR_PERSIST_DISK_H

/*
 * disk.h: what the log needs of a file system, so that the simulator can be one: files of a fixed size in one
 * directory, written in place. docs/decisions/0015 says why this is a seam.
 *
 *     disk_posix.c   a directory on a real file system
 *     tests/sim/disk_sim.c   one that loses, tears and reorders what was not synced
 *
 * Thread: lock, unlock and list on the shard's thread; the others on any, but one file by one thread at a time, except
 * that read may run beside anything. All may block. Errors: ERR_FULL is "no space left" (ENOSPC, EDQUOT),
 * ERR_NOT_FOUND, ERR_EXISTS, ERR_NOMEM, ERR_IO for everything else; disk->why has the system's words for a log line.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"

#define DISK_NAME_MAX 64u /* bytes of a file name, NUL included */

struct disk;

/* An open file. owner: whoever opened it; freed by close */
struct disk_file {
    uint64_t size; /* bytes; never changes while it is open */
};

struct disk_ops {
    const char *name;

    /* lock: makes the directory if it is not there, and this process its only user. ERR_EXISTS: somebody else is.
     * unlock: undoes it. */
    enum err (*lock)(struct disk *);
    void (*unlock)(struct disk *);

    /* list: calls fn with the name and size of every regular file, in no order, until it returns an error. */
    enum err (*list)(struct disk *, enum err (*fn)(void *ctx, const char *name, uint64_t size), void *ctx);

    /* create: a new file of `size` zero bytes whose blocks are allocated and written, so that writing to it later needs
     * no space; durable but for its name. A partial one is removed again. ERR_EXISTS. */
    enum err (*create)(struct disk *, const char *name, uint64_t size, struct disk_file **out);

    /* open: an existing file, for reading, or for both. close: no sync. */
    enum err (*open)(struct disk *, const char *name, bool may_write, struct disk_file **out);
    void (*close)(struct disk *, struct disk_file *);

    /* read: n bytes from off into buf; behind the end of the file is an error (ERR_IO). */
    enum err (*read)(struct disk *, struct disk_file *, uint64_t off, void *buf, size_t n);

    /* write: n bytes at off, within the size (BUG_ON); all of them or an error, after which nobody knows what is
     * there. sync: everything written to this file so far is durable when it returns ERR_OK. After an error of either
     * the file must not be written again. */
    enum err (*write)(struct disk *, struct disk_file *, uint64_t off, const void *buf, size_t n);
    enum err (*sync)(struct disk *, struct disk_file *);

    /* rename (replaces), remove: durable after sync_names. */
    enum err (*rename)(struct disk *, const char *from, const char *to);
    enum err (*remove)(struct disk *, const char *name);
    enum err (*sync_names)(struct disk *);

    /* free_bytes: what the file system could still take; UINT64_MAX: unknown. */
    uint64_t (*free_bytes)(struct disk *);

    /* destroy: frees the disk; every file is closed, and it is unlocked. */
    void (*destroy)(struct disk *);
};

struct disk {
    const struct disk_ops *ops;
    char why[256]; /* of the last error; written by the thread that got it, so only a hint when two fail at once */
};

struct mem;

/* disk_posix_new: the directory at path (made, with its parents' last level, by lock; mode 0700). read_only: lock only
 * checks that it is there, and nothing is ever written (weir check-log). NULL: out of memory. The account is used on
 * the thread of this call and of open, create and close, which therefore take their memory elsewhere: a fixed table of
 * files (1,024 open at once; ERR_FULL beyond). */
struct disk *disk_posix_new(struct mem *mem, const char *path, bool read_only) MUST_CHECK;

#endif
