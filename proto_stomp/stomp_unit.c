/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_unit.c: the size of an outgoing frame, from its own first lines.
 *
 *     MESSAGE\n subscription:0\n ... content-length:5\n \n   hello \0
 *     └──────────────── head ──────────────────────────┘    └ 5 ┘ └ 1
 *
 * It relies on what stomp_write.c does, and only on that: lines end with LF; every frame with a body has its
 * content-length; no name or value holds a bare line end, so a line that begins with "content-length:" is that header.
 *
 * Invariants
 *   1. Nothing behind head[n] is read.
 * Cost    O(head), by memchr.
 * Thread  any.
 * Spec    STOMP 1.2 §STOMP Frames, §Header content-length, §Heart-beating.
 */
#include "proto_stomp/stomp_unit.h"

#include <stdbool.h>
#include <string.h>

#include "core/base/slice.h"

enum { DIGITS_MAX = 9 }; /* a body of a gigabyte is none of ours */

/* length_of: the number behind "content-length:"; false: it is none. */
static bool length_of(struct slice digits, size_t *out)
{
    *out = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9' || i == DIGITS_MAX)
            return false;
        *out = *out * 10 + (size_t)(digits.p[i] - '0');
    }
    return digits.len > 0;
}

size_t stomp_unit_bytes(const uint8_t *head, size_t n)
{
    static const char name[] = "content-length:";
    static const size_t name_len = sizeof(name) - 1;
    if (n > 0 && head[0] == '\n')
        return 1;
    size_t body = 0;
    for (size_t at = 0; at < n;) {
        const uint8_t *end = memchr(head + at, '\n', n - at);
        if (end == NULL)
            return 0;
        size_t len = (size_t)(end - head) - at;
        if (len == 0)
            return at + 1 + body + 1;
        if (len >= name_len && memcmp(head + at, name, name_len) == 0 &&
            !length_of(slice_make(head + at + name_len, len - name_len), &body))
            return 0;
        at += len + 1;
    }
    return 0;
}
