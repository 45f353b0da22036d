/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_DISK_SIM_H
#define WEIR_TESTS_DISK_SIM_H

/*
 * disk_sim.h: persist/disk.h in memory, with everything a disk may do to what was not synced. A platter is the disk
 * itself and outlives the broker; a `struct disk` is one process's way to it.
 *
 *     struct platter *p = platter_new(mem, rng, capacity);
 *     store gets disk_sim_new(p) ... works ... platter_crash(p, PLATTER_POWER) ... is freed (all it does fails)
 *     store gets disk_sim_new(p) ... finds what survived
 *
 * Every file has two images: what readers see, and what is durable; between them stand the sectors that were written
 * since the last sync, each with its whole content at that time, as a page cache would send it. A power cut keeps any
 * of them, in any combination. Names (create, rename, remove) wait for sync_names in the same way.
 *
 * Broken rules are our bug and end the test (BUG_ON): writing without the lock, outside a file, through a handle for
 * reading, or to a file whose write or sync has failed; syncing again where a sync has failed.
 * Thread: one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "persist/disk.h"

struct platter;

#define PLATTER_SECTOR 512u

/* platter_new: empty. mem and rng must outlive it. capacity: bytes of all files, UINT64_MAX: unlimited. */
struct platter *platter_new(struct mem *mem, struct rng *rng, uint64_t capacity) MUST_CHECK;
/* platter_free: every disk of it was destroyed. NULL is fine. */
void platter_free(struct platter *p);

/* disk_sim_new: a way to p. Several may be there; one can have the lock. */
struct disk *disk_sim_new(struct platter *p) MUST_CHECK;

enum platter_crash {
    PLATTER_POWER,   /* what was not synced may be lost, torn and reordered */
    PLATTER_PROCESS, /* kill -9: the operating system has everything that was written */
};

/* platter_crash: now. All disks that are there are dead from here on: what they are asked fails with ERR_IO and changes
 * nothing; the lock is free. */
void platter_crash(struct platter *p, enum platter_crash how);

/* platter_dies_in: of the changes (write, sync, create, rename, remove, sync_names) asked for from now on, `n` still
 * happen; the one after that happens in part, and then the disks are dead, as in a crash, which must follow. */
void platter_dies_in(struct platter *p, uint32_t n);

/* What goes wrong, at will. n: the n-th of its kind from now, once; 0: none. A failed write leaves any part of itself;
 * a failed sync loses any part of what it should have made durable, and the rest will not be tried again. */
enum platter_fault { PLATTER_FAIL_WRITE, PLATTER_FAIL_SYNC, PLATTER_FAIL_CREATE, PLATTER_FAIL_READ, PLATTER_FAULT_N };
void platter_fail(struct platter *p, enum platter_fault f, uint32_t n);

/* platter_set_capacity: may be below what is used: then nothing can be created. */
void platter_set_capacity(struct platter *p, uint64_t capacity);
uint64_t platter_used(const struct platter *p);

/* What was done, for statistics and tests. */
struct platter_count {
    uint64_t writes, written_bytes, syncs, creates, renames, removes, reads, refused, crashes;
    uint64_t lost_sectors, kept_sectors; /* of what was unsynced at a crash */
};
const struct platter_count *platter_count(const struct platter *p);

/* platter_flip: changes one bit of a file, in both images: damage. False: there is no such byte. */
bool platter_flip(struct platter *p, const char *name, uint64_t bit);

#endif
