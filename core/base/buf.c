/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.c: a growable run of bytes.
 *
 *     p ─► [ written: len ][ room: cap - len ]
 *
 * Invariants
 *   1. len <= cap; p is NULL exactly when cap is 0.
 *   2. Once bad, nothing is written until buf_clear: what is in p is then a prefix that lacks its end.
 * Cost    amortised O(bytes): the capacity doubles.
 * Thread  the owner's.
 */
#include "core/base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#define BUF_CAP_MIN 64u

void buf_init(struct buf *b, struct mem *mem)
{
    *b = (struct buf){.mem = mem};
}

void buf_fini(struct buf *b)
{
    mem_free(b->mem, b->p);
    buf_init(b, b->mem);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->bad = false;
}

static uint8_t *buf_grow(struct buf *b, size_t n)
{
    if (b->bad)
        return NULL;
    size_t cap = MAX(b->cap, BUF_CAP_MIN);
    if (n > SIZE_MAX / 2 - b->len) {
        b->bad = true;
        return NULL;
    }
    while (cap - b->len < n)
        cap *= 2;
    uint8_t *p = mem_realloc(b->mem, b->p, cap);
    if (p == NULL) {
        b->bad = true;
        return NULL;
    }
    b->p = p;
    b->cap = cap;
    return b->p + b->len;
}

uint8_t *buf_room(struct buf *b, size_t n)
{
    if (LIKELY(!b->bad && b->p != NULL && b->cap - b->len >= n))
        return b->p + b->len;
    return buf_grow(b, n);
}

void buf_wrote(struct buf *b, size_t n)
{
    BUG_ON(n > b->cap - b->len);
    b->len += n;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    uint8_t *room = buf_room(b, n);
    if (room == NULL)
        return;
    memcpy(room, p, n);
    b->len += n;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

void buf_put_u16be(struct buf *b, uint16_t v)
{
    uint8_t be[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_put(b, be, sizeof(be));
}

void buf_put_u32be(struct buf *b, uint32_t v)
{
    uint8_t be[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_put(b, be, sizeof(be));
}

void buf_put_slice(struct buf *b, struct slice s)
{
    buf_put(b, s.p, s.len);
}

void buf_put_str(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    uint8_t *room = n < 0 ? NULL : buf_room(b, (size_t)n + 1); /* vsnprintf writes a NUL behind */
    if (room != NULL) {
        vsnprintf((char *)room, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    if (n < 0)
        b->bad = true;
    va_end(again);
    va_end(args);
}

uint8_t *buf_take(struct buf *b, size_t *out_len)
{
    uint8_t *room = buf_room(b, 1);
    if (room == NULL)
        return NULL;
    *room = 0;
    uint8_t *p = b->p;
    *out_len = b->len;
    buf_init(b, b->mem);
    return p;
}
