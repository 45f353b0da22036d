/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_pack.c: a waiting message in a byte or a few.
 *
 *     ┌ tag ┬ [lsn ┬ seq ┬ how ┬ bytes ┬ expiry ┬ tries] ┐     each part only if its bit in the tag is set
 *
 *     lsn     the step from the item before, less 2       (not there: 1)
 *     seq     the same                                    (not there: 1)
 *     how     set * 8 + qos * 2 + retained                (not there: as before)
 *     bytes   of the message                              (not there: as before)
 *     expiry  the difference to the item before, zigzag   (not there: as before)
 *     tries   attempts, returns                           (not there: none)
 *
 * Numbers are little-endian base 128, seven bits a byte, the top bit says that one more follows. A queue that one
 * publisher fills with messages of one size needs a byte each; a step in the log that other queues' messages caused
 * costs one or two more.
 *
 * Invariants
 *   1. Items are never moved or rewritten: one that goes from the middle keeps its bytes, with VOID set in its tag.
 *   2. Attempts and returns are not taken over from the item before: what is new has none.
 * Cost    O(1) per item.
 * Thread  any; pure.
 */
#include "core/page_pack.h"

#include "core/base/check.h"

enum { VOID = 1, LSN = 2, SEQ = 4, HOW = 8, BYTES = 16, EXPIRY = 32, TRIES = 64 };

static uint8_t *put(uint8_t *at, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        *at++ = (uint8_t)(v | 128);
    *at++ = (uint8_t)v;
    return at;
}

struct in {
    const uint8_t *at, *end;
};

static uint64_t get(struct in *in)
{
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        BUG_ON(in->at == in->end || shift > 63);
        uint8_t b = *in->at++;
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128)
            return v;
    }
}

static uint64_t zigzag(uint64_t from, uint64_t to)
{
    uint64_t d = to - from;
    return d << 1 ^ (0 - (d >> 63));
}

static uint64_t zigzag_back(uint64_t from, uint64_t z)
{
    return from + (z >> 1 ^ (0 - (z & 1)));
}

static uint64_t how_of(const struct page_item *it)
{
    return (uint64_t)it->set * 8 + (uint64_t)it->qos * 2 + it->retained;
}

size_t page_pack_put(uint8_t *out, const struct page_item *before, const struct page_item *it)
{
    BUG_ON(it->lsn <= before->lsn || it->qos > 2);
    BUG_ON(before->lsn != 0 && it->seq <= before->seq);
    uint64_t lsn_step = it->lsn - before->lsn, seq_step = it->seq - before->seq;
    uint8_t *at = out + 1, tag = 0;
    if (lsn_step != 1) {
        tag |= LSN;
        at = put(at, lsn_step - 2);
    }
    if (seq_step != 1) { /* the first of all may stand at 0: then the step is 0, and goes round */
        tag |= SEQ;
        at = put(at, seq_step - 2);
    }
    if (how_of(it) != how_of(before)) {
        tag |= HOW;
        at = put(at, how_of(it));
    }
    if (it->bytes != before->bytes) {
        tag |= BYTES;
        at = put(at, it->bytes);
    }
    if (it->expires_at != before->expires_at) {
        tag |= EXPIRY;
        at = put(at, zigzag(before->expires_at, it->expires_at));
    }
    if (it->attempts != 0 || it->returns != 0) {
        tag |= TRIES;
        at = put(put(at, it->attempts), it->returns);
    }
    out[0] = tag;
    return (size_t)(at - out);
}

size_t page_pack_get(const uint8_t *bytes, size_t len, struct page_item *io, bool *out_void)
{
    BUG_ON(len == 0);
    struct in in = {.at = bytes + 1, .end = bytes + len};
    uint8_t tag = bytes[0];
    *out_void = (tag & VOID) != 0;
    io->lsn += tag & LSN ? get(&in) + 2 : 1;
    io->seq += tag & SEQ ? get(&in) + 2 : 1;
    if (tag & HOW) {
        uint64_t how = get(&in);
        io->set = (uint32_t)(how >> 3);
        io->qos = (uint8_t)(how >> 1 & 3);
        io->retained = how & 1;
    }
    if (tag & BYTES)
        io->bytes = get(&in);
    if (tag & EXPIRY)
        io->expires_at = zigzag_back(io->expires_at, get(&in));
    io->attempts = tag & TRIES ? (uint16_t)get(&in) : 0;
    io->returns = tag & TRIES ? (uint16_t)get(&in) : 0;
    return (size_t)(in.at - bytes);
}

void page_pack_void(uint8_t *in)
{
    in[0] |= VOID;
}
