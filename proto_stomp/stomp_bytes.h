/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_BYTES_H
#define WEIR_STOMP_BYTES_H

/*
 * stomp_bytes.h: the two byte-level helpers that the codec and the destination parser share. Private to proto_stomp.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/check.h"
#include "core/base/slice.h"

#define STOMP_BYTE_ONES  0x0101010101010101ull
#define STOMP_BYTE_HIGHS 0x8080808080808080ull

static inline uint64_t stomp_word(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof(w));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

/* The classic "has a byte below n" tests on eight bytes at once: the lowest marked byte is exact, those above it may
 * be marked wrongly by a borrow, so only the lowest is ever used. */
static inline uint64_t stomp_word_below(uint64_t w, uint8_t n)
{
    return (w - STOMP_BYTE_ONES * n) & ~w & STOMP_BYTE_HIGHS;
}

static inline bool stomp_is_stop(uint8_t c, bool colon)
{
    return c < 0x10 || c == '\\' || (colon && c == ':');
}

/* stomp_span: the first index in [i, n) of p whose byte is below 0x10 (NUL, LF, CR and a few that mean nothing), a
 * backslash, or, if asked for, a colon; n if there is none. Reads p[i .. n) only. */
static inline size_t stomp_span(const uint8_t *p, size_t i, size_t n, bool colon)
{
    while (n - i >= 8) {
        uint64_t w = stomp_word(p + i);
        uint64_t hit = stomp_word_below(w, 0x10) | stomp_word_below(w ^ (STOMP_BYTE_ONES * '\\'), 1);
        if (colon)
            hit |= stomp_word_below(w ^ (STOMP_BYTE_ONES * ':'), 1);
        if (hit != 0)
            return i + (size_t)__builtin_ctzll(hit) / 8;
        i += 8;
    }
    while (i < n && !stomp_is_stop(p[i], colon))
        i++;
    return i;
}

static inline int stomp_hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* stomp_percent: the byte that "%XX" at s.p[i] stands for, or -1 if two hex digits do not follow the '%'. */
static inline int stomp_percent(struct slice s, size_t i)
{
    if (s.p[i] != '%' || s.len - i < 3)
        return -1;
    int high = stomp_hex(s.p[i + 1]);
    int low = stomp_hex(s.p[i + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* stomp_put_percent: writes "%XX" (upper case) for c. */
static inline void stomp_put_percent(uint8_t *out, uint8_t c)
{
    static const char digits[] = "0123456789ABCDEF";
    out[0] = '%';
    out[1] = (uint8_t)digits[c >> 4];
    out[2] = (uint8_t)digits[c & 15];
}

#endif
