/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_SLICE_H
#define WEIR_BASE_SLICE_H

/*
 * slice.h: a borrowed view of bytes. Owns nothing; says nothing about encoding; may hold NUL.
 * p may be NULL only when len is 0.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *p;
    size_t len;
};

/* SLICE: of a string literal, without its NUL. */
#define SLICE(literal) ((struct slice){(const uint8_t *)(literal), sizeof(literal) - 1})
#define SLICE_FMT      "%.*s" /* use with SLICE_ARG, for text only */
#define SLICE_ARG(s)   (int)(s).len, (const char *)(s).p

static inline struct slice slice_make(const void *p, size_t len)
{
    return (struct slice){(const uint8_t *)p, len};
}

static inline struct slice slice_from_str(const char *s)
{
    return (struct slice){(const uint8_t *)s, strlen(s)};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *s)
{
    return slice_eq(a, slice_from_str(s));
}

static inline bool slice_starts_with(struct slice a, struct slice prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.p, prefix.p, prefix.len) == 0);
}

/* slice_skip: a without its first n bytes; n <= a.len. */
static inline struct slice slice_skip(struct slice a, size_t n)
{
    return (struct slice){n ? a.p + n : a.p, a.len - n}; /* NULL + 0 is undefined in C */
}

/* slice_find: index of the first byte c, or -1. */
static inline ptrdiff_t slice_find(struct slice a, uint8_t c)
{
    const uint8_t *hit = a.len ? memchr(a.p, c, a.len) : NULL;
    return hit ? hit - a.p : -1;
}

#endif
