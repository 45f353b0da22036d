/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

/*
 * buf.h: a growable run of bytes, owned. For what is built piece by piece off the hot path (topic strings, headers,
 * configuration). A failed growth is sticky: later writes do nothing and buf_is_bad() says so: a builder checks once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/mem.h"
#include "core/base/slice.h"

struct buf {
    struct mem *mem;
    uint8_t *p;
    size_t len, cap;
    bool bad;
};

/* buf_init: empty; no allocation until something is put. buf_fini: frees the bytes; the buf is empty and usable again.
 * buf_clear: len 0, memory kept, bad cleared. */
void buf_init(struct buf *b, struct mem *mem);
void buf_fini(struct buf *b);
void buf_clear(struct buf *b);

/* buf_put: appends a copy of p[n], which must not lie in the buf itself; p may be NULL when n is 0. The others append
 * a number in network order, a slice, or a string without its NUL. All or nothing: when memory is short, bad is set. */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16be(struct buf *b, uint16_t v);
void buf_put_u32be(struct buf *b, uint32_t v);
void buf_put_slice(struct buf *b, struct slice s);
void buf_put_str(struct buf *b, const char *s);

/* buf_printf: appends text formatted as printf does, without a NUL. */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* buf_room: n writable bytes behind len (len unchanged), NULL when bad. Follow with buf_wrote, which appends
 * the first n bytes of the room. */
uint8_t *buf_room(struct buf *b, size_t n) MUST_CHECK;
void buf_wrote(struct buf *b, size_t n);

/* buf_take: moves the bytes (followed by one NUL) to the caller, who frees them through b->mem; NULL if bad. The buf
 * is empty afterwards. */
uint8_t *buf_take(struct buf *b, size_t *out_len) MUST_CHECK;

/* buf_is_bad: something put since the last buf_clear is missing. */
static inline bool buf_is_bad(const struct buf *b)
{
    return b->bad;
}

/* buf_slice: a view of the bytes, valid until the next write. */
static inline struct slice buf_slice(const struct buf *b)
{
    return slice_make(b->p, b->len);
}

#endif
