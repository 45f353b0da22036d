/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outv.c: output of a connection: put together, offered as a vector, eaten. Sending is left out: all is taken at once.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/micro/micro.h"
#include "core/base/chunk.h"
#include "core/base/outv.h"

enum { SMALL_BYTES = 64, LARGE_BYTES = 4096, HEAD_BYTES = 16, TURN_SMALL = 512, TURN_LARGE = 16, IOV_N = 64 };

struct output {
    struct mem_heap heap;
    struct mem mem;
    struct outv_pool outvs;
    struct chunk_pool chunks;
    struct chunk *chunk;
    struct outv *out;
    uint8_t small[SMALL_BYTES];
};

static void *open_output(const struct micro *m)
{
    UNUSED(m);
    struct output *o = micro_take(1, sizeof *o);
    mem_heap_init(&o->heap);
    mem_init(&o->mem, &o->heap, "output");
    outv_pool_init(&o->outvs, &o->mem);
    chunk_pool_init(&o->chunks, &o->mem);
    o->chunk = micro_must(chunk_new(&o->chunks, 0));
    memset(o->chunk->p, 'x', o->chunk->cap);
    o->out = micro_must(outv_new(&o->outvs));
    return o;
}

static void close_output(void *ctx)
{
    struct output *o = ctx;
    outv_free(&o->outvs, o->out);
    chunk_drop(o->chunk);
    outv_pool_fini(&o->outvs);
    chunk_pool_fini(&o->chunks);
    if (o->heap.bytes != 0)
        micro_die("outv kept %zu bytes", o->heap.bytes);
    free(o);
}

/* flush: offers everything, looks at it as a system call would (not into it), eats it. Returns the bytes. */
static uint64_t flush(struct outv *out)
{
    struct iovec iov[IOV_N];
    uint64_t all = 0;
    while (out->bytes > 0) {
        int n = outv_iov(out, iov, IOV_N);
        size_t bytes = 0;
        for (int i = 0; i < n; i++)
            bytes += iov[i].iov_len;
        micro_seen(iov);
        outv_eat(out, bytes);
        all += bytes;
    }
    return all;
}

static void lap_small(void *ctx, uint64_t n, struct lap *out)
{
    struct output *o = ctx;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < n; i += TURN_SMALL) {
        for (unsigned k = 0; k < TURN_SMALL; k++) {
            outv_put(o->out, o->small, SMALL_BYTES);
            micro_seen(o->out);
        }
        bytes += flush(o->out);
    }
    out->done = bytes / SMALL_BYTES;
}

static void lap_large(void *ctx, uint64_t n, struct lap *out)
{
    struct output *o = ctx;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < n; i += TURN_LARGE) {
        for (unsigned k = 0; k < TURN_LARGE; k++) {
            outv_put(o->out, o->small, HEAD_BYTES);
            outv_ref(o->out, &o->chunk->ref, o->chunk->p + (size_t)k * LARGE_BYTES, LARGE_BYTES);
            micro_seen(o->out);
        }
        bytes += flush(o->out);
    }
    out->done = bytes / (HEAD_BYTES + LARGE_BYTES);
}

/* lap_flush: a connection that had nothing to say, says one thing, and has nothing to say again. */
static void lap_flush(void *ctx, uint64_t n, struct lap *out)
{
    struct output *o = ctx;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct outv *one = micro_must(outv_new(&o->outvs));
        outv_put(one, o->small, SMALL_BYTES);
        bytes += flush(one);
        outv_free(&o->outvs, one);
    }
    out->done = bytes / SMALL_BYTES;
}

static const struct micro cases[] = {
    {"outv/put-64", "copy 64 B, sent with 511 others", 0, open_output, lap_small, close_output, TURN_SMALL},
    {"outv/ref-4k", "copy 16 B and refer to 4 KiB, sent with 15 others", 0, open_output, lap_large, close_output,
     TURN_LARGE},
    {"outv/flush-64", "take an outv, 64 B into it, sent, given back", 0, open_output, lap_flush, close_output, 0},
};

struct micro_table micro_outv(void)
{
    return (struct micro_table){cases, ARRAY_N(cases)};
}
