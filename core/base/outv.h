/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_OUTV_H
#define WEIR_BASE_OUTV_H

/*
 * outv.h: what a connection has to say: one contiguous buffer of copied bytes, interleaved with segments that refer to
 * bytes elsewhere (a read chunk or a message). Neighbouring segments merge, so a turn of unchanged bytes is one iovec.
 *
 * Only connections with something to say own an outv: an empty one goes back to the shard's outv_pool with its
 * buffer, hot for the next. Cost: amortised O(bytes copied); 24 bytes per segment.
 *
 * Failed growth is sticky (`bad`): later puts do nothing, and the connection is closed at the flush.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "core/base/mem.h"
#include "core/base/ref.h"
#include "core/base/slice.h"

struct outseg {
    struct ref *ref; /* NULL: bytes of our own buffer, at offset `at.off` */
    union {
        const uint8_t *p;
        size_t off;
    } at;
    size_t len;
};

struct outv {
    uint8_t *buf; /* copied bytes; [buf_eaten, buf_len) still to send; never NULL */
    size_t buf_len, buf_cap, buf_eaten;
    struct outseg *seg; /* only used once a reference was put; [seg_first, seg_n) to send */
    uint32_t seg_n, seg_cap, seg_first;
    bool bad;
    size_t bytes;              /* still to send, copied and referred to */
    const uint8_t *passed_end; /* where the bytes of the last outv_pass ended; only ever compared */
    struct mem *mem;
    struct outv *next; /* pool's free list */
};

struct outv_pool {
    struct mem *mem;
    struct outv *free;
    uint32_t free_n;
    size_t free_bytes; /* of all of them */
};

#define OUTV_PASS_MIN     512u     /* outv_pass copies fewer bytes than these, unless they go on where it ended */
#define OUTV_FREE_MAX     128u     /* unused outvs are kept up to this many, */
#define OUTV_FREE_BYTES   1048576u /* and up to this many bytes in all */
#define OUTV_BUF_MIN      512u     /* a new outv has this much room */
#define OUTV_BUF_KEEP_MAX 65536u   /* an outv with a larger buffer is not kept */
#define OUTV_SEG_KEEP_MAX 1024u    /* nor one with more segments */

/* outv_pool_init: no allocation. outv_pool_fini: frees the free list; every outv must have been given back. */
void outv_pool_init(struct outv_pool *pool, struct mem *mem);
void outv_pool_fini(struct outv_pool *pool);

/* outv_new: an empty outv, NULL when out of memory. outv_free: drops what is left in it. */
struct outv *outv_new(struct outv_pool *pool) MUST_CHECK;
void outv_free(struct outv_pool *pool, struct outv *o);

/* outv_grow: slow path of outv_room. */
uint8_t *outv_grow(struct outv *o, size_t n) MUST_CHECK;

/* outv_room: n contiguous writable bytes at the end of the buffer, NULL when bad. Nothing is appended before
 * outv_wrote; the room is valid until the next call. */
static inline uint8_t *outv_room(struct outv *o, size_t n)
{
    if (LIKELY(o->buf_cap - o->buf_len >= n && !o->bad))
        return o->buf + o->buf_len;
    return outv_grow(o, n);
}

/* outv_wrote_seg: slow path of outv_wrote, when segments exist. */
void outv_wrote_seg(struct outv *o, size_t n);

/* outv_wrote: appends the first n bytes of the room just filled. Never fails. */
static inline void outv_wrote(struct outv *o, size_t n)
{
    if (UNLIKELY(o->seg_n != 0)) {
        outv_wrote_seg(o, n);
        return;
    }
    o->buf_len += n;
    o->bytes += n;
}

/* outv_put: appends a copy of p[n]. */
static inline void outv_put(struct outv *o, const void *p, size_t n)
{
    uint8_t *room = outv_room(o, n);
    if (LIKELY(room != NULL) && n != 0) {
        memcpy(room, p, n);
        outv_wrote(o, n);
    }
}

/* outv_ref: appends p[n], which lives inside *ref, without copying. Takes a reference of its own (one for neighbours
 * that merge). */
void outv_ref(struct outv *o, struct ref *ref, const uint8_t *p, size_t n);

/* outv_pass: appends p[n], which lives inside *ref, as outv_put or outv_ref: by reference when it is large, or goes on
 * where the last one ended (a run of packets passed on unchanged becomes one segment), else as a copy. */
void outv_pass_slow(struct outv *o, struct ref *ref, const uint8_t *p, size_t n);
static inline void outv_pass(struct outv *o, struct ref *ref, const uint8_t *p, size_t n)
{
    struct outseg *last = o->seg_n != 0 ? &o->seg[o->seg_n - 1] : NULL;
    if (UNLIKELY(last == NULL || last->ref != ref || last->at.p + last->len != p || o->bad)) {
        outv_pass_slow(o, ref, p, n);
        return;
    }
    last->len += n;
    o->bytes += n;
}

/* outv_iov: fills iov[max] from the front; returns how many were filled. */
int outv_iov(const struct outv *o, struct iovec *iov, int max);

/* outv_eat: the first n bytes were sent; n <= o->bytes. References to what is gone are dropped. */
void outv_eat(struct outv *o, size_t n);

/* outv_own: copies every segment whose ref->die is `die` into our own memory and drops the reference, so that a slow
 * peer does not pin shared read buffers. The order of bytes is unchanged. */
void outv_own(struct outv *o, void (*die)(struct ref *));

/* outv_truncate: takes back everything appended after the state had `bytes` pending bytes (a failed encode).
 * Only bytes put since outv->bytes was that value may be cut. */
void outv_truncate(struct outv *o, size_t bytes);

/* outv_check: asserts all invariants; for tests. */
void outv_check(const struct outv *o);

#endif
