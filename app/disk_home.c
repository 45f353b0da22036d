/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_home.c: which store, and what is said about it.
 *
 *     config.disk_dir NULL ─► no store: nothing survives
 *                     DIR  ─► disk_posix · runner_threads ─► store_log
 *
 * A store says why it cannot be opened in its log (core/store.h), and a start that fails says so in one line on
 * standard error, with the place in the configuration in front (app/main.c). So the store has a log of its own here,
 * which keeps the last error line back until it is clear which of the two it is.
 *
 * Who may write. A broker that is started as root and becomes `user` makes the directory as root, for that user, and
 * opens the store as that user (wiring.c has the order), so that its threads never were anybody else.
 *
 * Invariants
 *   1. No line of the store is lost: it goes to the log, to `said`, or from there to the log.
 * Cost    nothing that counts; opening the store blocks for as long as its log is long.
 * Thread  main; the store's threads are started by its open, and end in its close.
 */
#include "app/disk_home.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "app/config.h"
#include "app/logs.h"
#include "app/process.h"
#include "core/base/rng.h"
#include "core/store.h"
#include "persist/disk.h"
#include "persist/runner.h"
#include "persist/store_log.h"

static mono_ms monotonic(void)
{
    struct timespec ts = {0};
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (mono_ms)ts.tv_sec * 1000 + (mono_ms)ts.tv_nsec / 1000000;
}

/* ---- lines -------------------------------------------------------------------------------------------------- */

static void pass_on(struct disk_home *h, enum log_level level, const char *line)
{
    h->logs->log.write(h->logs->log.ctx, level, line);
}

static void on_line(void *ctx, enum log_level level, const char *line)
{
    struct disk_home *h = ctx;
    if (!h->is_opening || level != LOG_ERROR) {
        pass_on(h, level, line);
        return;
    }
    if (h->said[0] != 0)
        pass_on(h, LOG_ERROR, h->said);
    snprintf(h->said, sizeof(h->said), "%s", line);
}

/* place: "FILE:LINE: persistence_location: DIR: " */
static void place(const struct config *c, char *out, size_t cap)
{
    char where[512];
    config_disk_place(c, where, sizeof(where));
    snprintf(out, cap, "%s: %s: ", where, c->disk_dir);
}

/* ---- making it ---------------------------------------------------------------------------------------------- */

static struct store *log_store(struct disk_home *h, struct mem *mem)
{
    const struct config *c = h->config;
    struct rng r;
    rng_init_random(&r);
    struct disk *disk = disk_posix_new(mem, c->disk_dir, false);
    struct runner *threads = runner_threads_new(mem);
    if (disk != NULL && threads != NULL) {
        struct store_log_config with = {.disk = disk,
                                        .runner = threads,
                                        .log = &h->log,
                                        .sync =
                                            c->persistence == PERSIST_INTERVAL ? STORE_LOG_INTERVAL : STORE_LOG_ALWAYS,
                                        .interval_ms = (uint32_t)c->sync_interval_ms,
                                        .commit_ms_min = (uint32_t)c->commit_ms_min,
                                        .linger_ms = (uint32_t)c->linger_commit_ms,
                                        .segment_bytes = c->segment_bytes,
                                        .bytes_max = c->disk_bytes_max,
                                        .seed = rng_u64(&r)};
        return store_log_new(mem, &with);
    }
    if (threads != NULL)
        threads->ops->destroy(threads);
    if (disk != NULL)
        disk->ops->destroy(disk);
    return NULL;
}

enum err disk_home_make(const struct config *config, char *out_why, size_t cap)
{
    char why[512], where[4800];
    if (config->disk_dir == NULL)
        return ERR_OK;
    enum err e = process_make_dir(config->disk_dir, config->user, why, sizeof(why));
    if (e == ERR_OK)
        return ERR_OK;
    place(config, where, sizeof(where));
    snprintf(out_why, cap, "%s%s", e == ERR_NOT_FOUND ? "user: " : where, why);
    return e;
}

enum err disk_home_store(struct disk_home *h, const struct config *config, struct mem *mem, struct logs *logs,
                         struct store **out, char *out_why, size_t cap)
{
    *h = (struct disk_home){.config = config, .logs = logs, .began = monotonic()};
    log_init(&h->log);
    h->log.level = logs->log.level;
    h->log.write = on_line;
    h->log.ctx = h;
    *out = NULL;
    if (config->disk_dir == NULL)
        return ERR_OK;
    h->store = *out = log_store(h, mem);
    h->is_opening = *out != NULL;
    if (h->is_opening)
        return ERR_OK;
    snprintf(out_why, cap, "out of memory at the start; raise memory_limit if it is set");
    return ERR_NOMEM;
}

void disk_home_opened(struct disk_home *h)
{
    h->is_opening = false;
    h->took_ms = monotonic() - h->began;
    if (h->said[0] != 0)
        pass_on(h, LOG_ERROR, h->said);
    h->said[0] = 0;
}

void disk_home_why(struct disk_home *h, char *out_why, size_t cap)
{
    char where[4800];
    h->is_opening = false;
    h->store = NULL;
    out_why[0] = 0;
    if (h->said[0] == 0)
        return;
    place(h->config, where, sizeof(where));
    snprintf(out_why, cap, "%s%s", where, h->said);
}

/* ---- announcing --------------------------------------------------------------------------------------------- */

void disk_home_announce(const struct disk_home *h)
{
    const struct config *c = h->config;
    if (c->disk_dir == NULL) {
        logs_announce(h->logs, "weir " WEIR_VERSION ": in memory only, nothing survives a restart");
        return;
    }
    const struct store_stats *s = &h->store->stats;
    char how[96] = "what is acknowledged is on disk", damage[96] = "";
    if (c->persistence == PERSIST_INTERVAL)
        snprintf(how, sizeof(how), "synced every %" PRIu64 " ms, which a power cut may take", c->sync_interval_ms);
    if (s->damaged_bytes != 0)
        snprintf(damage, sizeof(damage), "; %" PRIu64 " bytes are damaged and were set aside", s->damaged_bytes);
    logs_announce(h->logs,
                  "weir " WEIR_VERSION ": %s, in %s: %" PRIu64 " records found, %" PRIu64 " still in use, in %u ms%s",
                  how, c->disk_dir, s->replayed, s->living_n, (unsigned)h->took_ms, damage);
}
