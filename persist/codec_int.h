/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_CODEC_INT_H
#define WEIR_PERSIST_CODEC_INT_H

/*
 * codec_int.h: what codec.c, codec_get.c and notes.c share: protobuf-c's messages are unpacked into an arena, which is
 * emptied as a whole; nothing is freed one by one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "core/base/check.h"
#include "core/base/slice.h"
#include "core/store.h"
#include "persist/codec.h"

/* codec_is_publish: its body is a Publish; else a Record. */
static inline bool codec_is_publish(uint8_t kind)
{
    return kind == STORE_PUBLISH || kind == STORE_RETAIN || kind == STORE_WILL;
}

void codec_arena_init(struct codec_arena *a, struct mem *mem);
void codec_arena_fini(struct codec_arena *a);

/* codec_arena_take: n bytes, aligned for anything, until codec_arena_reset. NULL: out of memory (is_out_of_memory). */
void *codec_arena_take(struct codec_arena *a, size_t n) MUST_CHECK;
void codec_arena_reset(struct codec_arena *a);

/* codec_unpack: a message of this type from body, in the arena. NULL: it does not parse, or a->is_out_of_memory. */
void *codec_unpack(struct codec_arena *a, const ProtobufCMessageDescriptor *type, struct slice body) MUST_CHECK;

#endif
