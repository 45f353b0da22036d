/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_LOGS_H
#define WEIR_APP_LOGS_H

/*
 * logs.h: where log lines go: standard error or output, a file that SIGHUP opens anew, or nowhere. What is handed down
 * to the rest of the program is &logs.log.
 */

#include <stdbool.h>
#include <stddef.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/log.h"

struct config;

/* owner: app */
struct logs {
    struct log log;
    unsigned types;   /* bit per enum log_level */
    unsigned dests;   /* LOG_TO_ of app/config.h */
    const char *path; /* borrowed from the config; NULL: no file */
    int fd;           /* of the file, -1: none */
    bool has_stamp;
    mono_ms flush_due; /* when to say what was held back; 0: nothing can be */
};

/* logs_open: by the configuration, everything with `is_verbose`. ERR_IO: the file cannot be opened; out_why[cap] says
 * why in one line. The config must outlive the logs. */
enum err logs_open(struct logs *l, const struct config *c, bool is_verbose, char *out_why, size_t cap) MUST_CHECK;

/* logs_reopen: closes the file and opens its path again; keeps the old file when that fails (and says so). */
void logs_reopen(struct logs *l);

/* logs_tick: says what was held back once its window is over; called every turn. */
void logs_tick(struct logs *l);

/* logs_close: what was held back is said, the file is closed. */
void logs_close(struct logs *l);

/* logs_announce: a line on standard output at once, and into the log file if there is one. For the few lines of a
 * start, which programs may wait for. */
void logs_announce(struct logs *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
