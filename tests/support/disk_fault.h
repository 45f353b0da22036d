/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_DISK_FAULT_H
#define WEIR_TESTS_DISK_FAULT_H

/*
 * disk_fault.h: a disk in front of another, which counts calls and makes one of them fail: how tests visit every error
 * path of the log.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/mem.h"
#include "persist/disk.h"

/* Any thread. */
struct disk_faults {
    atomic_ullong calls;     /* of anything that can fail, so far */
    atomic_ullong fail_at;   /* the call with this number (1-based) fails; 0: none */
    atomic_int fail_with;    /* enum err */
    atomic_bool fail_after;  /* and all later ones */
    atomic_bool only_writes; /* only what changes something is counted and fails, but for create */
    atomic_bool has_failed;  /* it did */
    atomic_bool was_write;   /* a write, a sync, or a change of names */
    atomic_ullong reads, writes, syncs, creates, renames, removes;
};

/* disk_fault_new: in front of d, which becomes its own; destroyed with d. f: borrowed. NULL: out of memory. */
struct disk *disk_fault_new(struct mem *mem, struct disk *d, struct disk_faults *f) MUST_CHECK;

#endif
