/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_STORE_LOG_H
#define WEIR_PERSIST_STORE_LOG_H

/*
 * store_log.h: core/store.h on a disk: a log with group commit. docs/durability.md says what it promises.
 *
 *     struct disk *disk = disk_posix_new(mem, "/var/lib/weir", false);
 *     struct runner *threads = runner_threads_new(mem);
 *     struct store *s = store_log_new(mem, &(struct store_log_config){.disk = disk, .runner = threads, ...});
 *     ... as core/store.h says; close destroys runner and disk, too.
 *
 * Thread: the shard's own; what blocks is done by the runner's lanes.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/store.h"
#include "persist/disk.h"
#include "persist/runner.h"

enum store_log_sync {
    STORE_LOG_ALWAYS,   /* durable: synced */
    STORE_LOG_INTERVAL, /* "durable": written to the operating system; synced every interval_ms */
};

struct store_log_config {
    struct disk *disk;     /* becomes the store's */
    struct runner *runner; /* becomes the store's */
    struct log *log;       /* borrowed */
    enum store_log_sync sync;
    uint32_t interval_ms;   /* STORE_LOG_INTERVAL */
    uint32_t commit_ms_min; /* two batches begin at least so long apart; 0: as fast as the disk is */
    uint32_t linger_ms;     /* commit or consumed: how long a batch may wait for its messages to be settled; 0: not */
    uint64_t segment_bytes; /* size of a segment, 64 KiB .. 128 MiB; a record that is larger gets one of its own */
    uint64_t bytes_max;     /* of all files together; 0: what the disk has */
    uint64_t seed;          /* of salts and tables */
};

/* store_log_new: a store, not opened yet (core/store.h). NULL: out of memory; disk and runner are destroyed then. */
struct store *store_log_new(struct mem *mem, const struct store_log_config *config) MUST_CHECK;

#endif
