/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_REF_H
#define WEIR_BASE_REF_H

/*
 * ref.h: a reference count with its own way to die. First member of what output segments may point into:
 * read chunks and messages. Counts are atomic because the store's writer thread holds messages too; the last
 * drop always happens on the shard's thread (letters bring references home), so `die` needs no lock.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"

struct ref {
    _Atomic uint32_t n;
    void (*die)(struct ref *); /* called when n reaches 0 */
};

/* ref_init: one reference, the caller's. */
static inline void ref_init(struct ref *r, void (*die)(struct ref *))
{
    atomic_init(&r->n, 1);
    r->die = die;
}

/* ref_hold_n: n more references; the caller must hold one. Any thread. */
static inline void ref_hold_n(struct ref *r, uint32_t n)
{
    atomic_fetch_add_explicit(&r->n, n, memory_order_relaxed);
}

static inline void ref_hold(struct ref *r)
{
    ref_hold_n(r, 1);
}

/* ref_drop: gives up one; the last one calls die. Any thread, but see above for the last. */
static inline void ref_drop(struct ref *r)
{
    uint32_t before = atomic_fetch_sub_explicit(&r->n, 1, memory_order_acq_rel);
    BUG_ON(before == 0);
    if (before == 1)
        r->die(r);
}

/* ref_is_shared: true when somebody besides the caller holds it. Meaningful on the shard's thread only. */
static inline bool ref_is_shared(const struct ref *r)
{
    return atomic_load_explicit(&r->n, memory_order_acquire) > 1;
}

#endif
