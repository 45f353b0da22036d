/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_STORE_MEM_H
#define WEIR_PERSIST_STORE_MEM_H

/*
 * store_mem.h: core/store.h without a disk. What a broker uses when it has no data directory (LSNs are counted, nothing
 * is kept, everything is "durable" at once), and what tests use as a disk: with records kept, with the answers late,
 * failing on request, and surviving the store in an image of its own.
 *
 *     struct store_image *disk = store_image_new(mem);
 *     struct store *s = store_mem_new(mem, &(struct store_mem_config){.keep = true, .late = true, .image = disk});
 *     ... s->on_durable = ..., s->msgs = ..., s->clock = ...; open, replay, append, submit; store_mem_tick(s) ...
 *     s->ops->close(s);        or first store_mem_crash(s, upto), to lose what was not durable
 *     s = store_mem_new(...)   the same image again: the next life
 *
 * Thread: the shard's own.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/store.h"

struct store_image;

struct store_mem_config {
    bool keep;                 /* records are kept and can be replayed; false: only LSNs are counted */
    bool late;                 /* on_durable, on_failed and on_fetched come from store_mem_tick only; false: from submit
                                  (on_fetched sooner, if there is a mailbox) */
    bool shares;               /* as a log does: SETTLE, SENT, RECEIVED and RETURNED of a batch share an LSN and are
                                  written behind all else of it, but for those of a unit; a batch has an LSN, too */
    struct store_image *image; /* keep: where durable records live, borrowed until close; NULL: in one of our own, which
                                  ends with the store */
    uint64_t bytes_max;        /* keep: reserve refuses what would make the living records larger; 0: no limit */
};

/* store_mem_new: a store, not opened yet; set on_durable, on_failed and ctx before open. `mem` must outlive it. Freed
 * by close. NULL when out of memory. */
struct store *store_mem_new(struct mem *mem, const struct store_mem_config *config) MUST_CHECK;

/* store_mem_tick: late: what is on its way to the disk has arrived (on_durable, or on_failed), what was submitted
 * meanwhile is sent on its way, and what was asked for is there (on_fetched). True when something is under way now, so
 * that another tick is due. */
bool store_mem_tick(struct store *s);

/* store_mem_fail_append: the append that would get this LSN returns 0 once, as if out of memory. 0: none. */
void store_mem_fail_append(struct store *s, lsn_t lsn);

/* store_mem_fail_batch: the batch with this LSN in it never becomes durable: on_failed is called instead. 0: none. */
void store_mem_fail_batch(struct store *s, lsn_t lsn);

/* store_mem_crash: the power fails now. Of what was submitted, records up to `upto` had reached the disk (never less
 * than what was reported durable); the rest is lost. Afterwards no callback comes, every slot behaves as after a
 * failure, and close only frees, but for fetches: they are answered, without messages. */
void store_mem_crash(struct store *s, lsn_t upto);

#endif
