/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_WIRING_H
#define WEIR_APP_WIRING_H

/*
 * wiring.h: the parts of a broker, put together: heap, log, loop, store, shard, listeners, signals. A new protocol is
 * one row in wiring.c.
 *
 *     weir_init ─► weir_configure ─► weir_open ─► weir_run ─► weir_fini
 */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "app/config.h"
#include "app/disk_home.h"
#include "app/doors.h"
#include "app/logs.h"
#include "auth/scram_auth.h"
#include "auth/verifiers.h"
#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/loop.h"
#include "transport/tcp.h"
#include "transport/ws.h"

struct args;
struct shard;
struct store;

#define WEIR_STOP_MS 800u /* how long connections have for their last words: a stop takes less than a second */

/* owner: main */
struct weir {
    struct mem_heap heap;
    struct mem mem_config, mem_loop, mem_store, mem_doors, mem_auth;
    struct config config;
    struct logs logs;
    struct disk_home disk_home;
    struct loop *loop;
    struct tcp_home tcp;        /* of loop's pipes; to be closed if there is a loop */
    struct ws_home ws;          /* the same */
    struct verifiers verifiers; /* of the scram_file; empty without one */
    struct scram_auth auth;
    struct shard *shard;
    struct doors doors;
    struct loop_io signals; /* a signalfd; fd -1: not open */
    bool has_logs, has_doors, has_pid_file;
    bool stop_wanted, reopen_wanted; /* noted by the signal, done in the turn */
    bool is_stopping;
};

/* weir_init: nothing is open yet. */
void weir_init(struct weir *w);

/* weir_configure: reads what the command line names. Warnings and errors go to standard error, "weir: FILE:LINE: ...".
 * Any error was said. */
enum err weir_configure(struct weir *w, const struct args *a) MUST_CHECK;

/* weir_open: opens everything up to the listeners, and says where they are. Any error was said on standard error. */
enum err weir_open(struct weir *w, const struct args *a) MUST_CHECK;

/* weir_run: serves until SIGTERM or SIGINT. */
void weir_run(struct weir *w);

/* weir_fini: closes what is open, in the reverse order. Also after an error. After weir_run nothing may be left on the
 * heap (BUG_ON). */
void weir_fini(struct weir *w);

/* weir_say_error: "weir: ..." on standard error. */
void weir_say_error(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
