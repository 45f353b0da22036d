/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_LOG_WORLD_H
#define WEIR_TESTS_LOG_WORLD_H

/*
 * log_world.h: a log, all it needs, and a caller that looks at what it does: for the tests of persist/store_log*.c.
 *
 *     log_world_init(&w, disk, ctx);  w.config.linger_ms = 20;
 *     log_world_open(&w);  lsn = log_publish(&w, "a", "1", 7, 0);  log_turn(&w);  log_settle(&w, 7, lsn); log_wait(&w);
 *     log_world_close(&w); log_world_open(&w): w.seen is what replay showed, a line per record
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/msg.h"
#include "core/store.h"
#include "persist/store_log.h"
#include "tests/support/disk_fault.h"

struct log_world {
    struct mem_heap heap, own_heap; /* the store's; the test's, which never runs out */
    struct mem mem, own;
    struct msg_pool msgs;     /* the store's */
    struct msg_pool own_msgs; /* what is published */
    struct log log;
    struct buf lines; /* of the log, each with its end */
    struct disk *(*disk)(void *ctx);
    void *ctx;
    struct disk_faults faults;
    struct store_log_config config; /* disk, runner and log are filled in by open */
    struct runner *runner;
    struct store *store; /* NULL: between two lives */
    mono_ms now, due;
    lsn_t durable;
    unsigned durable_calls, failed;
    bool in_append;
    struct buf seen;
    uint32_t seen_n;
};

/* log_world_init: disk(ctx) is asked for the disk at each open. log_world_fini: closes; nothing may be left. */
void log_world_init(struct log_world *w, struct disk *(*disk)(void *ctx), void *ctx);
void log_world_fini(struct log_world *w);

/* log_world_try: makes, opens and replays; the store is closed again if that fails. log_world_open: must succeed. */
enum err log_world_try(struct log_world *w);
void log_world_open(struct log_world *w);
void log_world_close(struct log_world *w);

/* log_turn: submit, and what the lanes have done by now is told. log_wait: turns until nothing is left to do now.
 * log_pass: so many milliseconds pass, with a turn whenever the store wants one. */
void log_turn(struct log_world *w);
void log_wait(struct log_world *w);
void log_pass(struct log_world *w, mono_ms ms);

/* Records. flags: STORE_PUBLISH_...; 0: it was not taken. log_publish_to: to queues 1 .. n. */
lsn_t log_append(struct log_world *w, const struct store_rec *rec);
lsn_t log_publish(struct log_world *w, const char *topic, const char *payload, uint64_t queue, uint8_t flags);
lsn_t log_publish_to(struct log_world *w, const char *topic, uint32_t bytes, uint32_t n, uint8_t flags);
lsn_t log_settle(struct log_world *w, uint64_t queue, lsn_t of);
lsn_t log_sent(struct log_world *w, uint64_t queue, lsn_t of, uint16_t ticket);

/* log_show: one record as a line: "LSN KIND topic=payload -> queue ..."; every target with its progress. */
void log_show(struct buf *b, const struct store_rec *rec);

/* log_expect: after a clean end, replay shows exactly these lines: "LSN KIND topic=payload -> queue ...". */
void log_expect(struct log_world *w, const char *lines);

#endif
