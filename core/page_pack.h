/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_PAGE_PACK_H
#define WEIR_CORE_PAGE_PACK_H

/*
 * page_pack.h: what a page (core/entry_page.h) notes of each waiting message, in one byte where it is like the one
 * before and the next in order, else in a few more. Items stand one behind the other; each is read with the help of the
 * one before:
 *
 *     struct page_item it = {0};
 *     for (size_t at = 0; at < len;) {
 *         bool is_void;
 *         at += page_pack_get(bytes + at, len - at, &it, &is_void);
 *     }
 *
 * Thread: any; pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/msg.h"

/* One waiting message, as its entry has it. */
struct page_item {
    lsn_t lsn;          /* rises from item to item */
    uint64_t seq;       /* rises */
    uint64_t bytes;     /* msg_bytes of its message */
    mono_ms expires_at; /* 0: never */
    uint32_t set;
    uint16_t attempts, returns;
    uint8_t qos; /* 0..2 */
    bool retained;
};

#define PAGE_ITEM_BYTES_MAX 54u

/* page_pack_put: appends *it to out[PAGE_ITEM_BYTES_MAX]; before: the item in front of it, all zero for the first.
 * it->lsn and it->seq must be greater than those of `before` (BUG_ON). Returns the bytes written, at least 1. */
size_t page_pack_put(uint8_t *out, const struct page_item *before, const struct page_item *it);

/* page_pack_get: the item at in[len]; *io is the one in front of it and becomes this one. out_void: it was made void.
 * Returns the bytes it takes; what page_pack_put did not write is our bug (BUG_ON). */
size_t page_pack_get(const uint8_t *in, size_t len, struct page_item *io, bool *out_void);

/* page_pack_void: the item that begins at `in` is no longer there; those behind it can still be read. */
void page_pack_void(uint8_t *in);

#endif
