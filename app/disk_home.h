/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_DISK_HOME_H
#define WEIR_APP_DISK_HOME_H

/*
 * disk_home.h: the store a configuration asks for: the log in its directory, or memory alone; and what people are told
 * about it.
 *
 *     disk_home_make ─► disk_home_store ─► shard_new opens it ─┬─ disk_home_opened ─► ... ─► disk_home_announce
 *                                                               └─ disk_home_why: what the store said before it gave up
 */

#include <stdbool.h>
#include <stddef.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/log.h"

struct config;
struct logs;
struct mem;
struct store;

/* owner: app. Lives as long as the store. */
struct disk_home {
    struct log log; /* the store's: what it says while it opens is kept back */
    struct logs *logs;
    const struct config *config;
    struct store *store; /* borrowed: the shard's once that was made */
    mono_ms began;
    mono_ms took_ms; /* opening it */
    bool is_opening;
    char said[1024]; /* the last error of the opening */
};

/* disk_home_make: makes the directory, if there is to be one, for the configured user; as who we were started. ERR_IO,
 * ERR_NOT_FOUND: out_why[cap] is one line with place and cure. */
enum err disk_home_make(const struct config *config, char *out_why, size_t cap) MUST_CHECK;

/* disk_home_store: makes the store, not opened yet, for shard_new; *out NULL: everything is in memory. config and logs
 * must outlive it, as must `mem`. ERR_NOMEM: the same. */
enum err disk_home_store(struct disk_home *h, const struct config *config, struct mem *mem, struct logs *logs,
                         struct store **out, char *out_why, size_t cap) MUST_CHECK;

/* disk_home_opened: the shard has it; its lines go to the log from now on. */
void disk_home_opened(struct disk_home *h);

/* disk_home_why: the shard could not be made: one line, "" when it was not for the store. */
void disk_home_why(struct disk_home *h, char *out_why, size_t cap);

/* disk_home_announce: one line: where the log is and how many records were found, or that nothing survives. */
void disk_home_announce(const struct disk_home *h);

#endif
