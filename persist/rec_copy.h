/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_REC_COPY_H
#define WEIR_PERSIST_REC_COPY_H

/*
 * rec_copy.h: a record of core/store.h that outlives the call it came with.
 *
 * Thread: one at a time.
 */

#include <stddef.h>

#include "core/base/check.h"
#include "core/base/list.h"
#include "core/base/mem.h"
#include "core/store.h"

/* One record that owns what it points to, but for the message. Freed with mem_free. */
struct rec_copy {
    struct list_node node; /* for the holder */
    struct store_rec rec;  /* all it points to but the message lies in this block */
    size_t bytes;          /* of this block and of the message */
    struct store_target target[];
};

/* rec_copy_new: copies rec and what it points to; rec.msg is the same pointer and not held. NULL: out of memory. */
struct rec_copy *rec_copy_new(struct mem *mem, const struct store_rec *rec) MUST_CHECK;

#endif
