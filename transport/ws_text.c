/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws_text.c: UTF-8 over the cuts.
 *
 *     piece  "sch\xc3"          │ "\xb6n"
 *            "sch" is judged,   │ c3 b6 is judged as one character,
 *            c3 is kept         │ "n" is judged; nothing is kept
 *
 * Invariants
 *   1. What is kept is a lead byte and continuation bytes of its character, fewer than that has.
 *   2. A text is refused at most two bytes later than it could be: the narrower ranges of some second bytes are judged
 *      with the whole character.
 * Cost    O(bytes), as utf8_is_valid; 4 bytes per text.
 * Thread  any.
 * Spec    RFC 6455 §8.1, RFC 3629.
 */
#include "transport/ws_text.h"

#include <string.h>

#include "core/base/utf8.h"

static bool is_continuation(uint8_t b)
{
    return (b & 0xc0) == 0x80;
}

/* char_bytes: of the character with this lead byte; 1 for what is none. */
static size_t char_bytes(uint8_t lead)
{
    return lead < 0xc2 || lead > 0xf4 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* begun_n: how many bytes at the end of p[n] are the begin of a character. */
static size_t begun_n(const uint8_t *p, size_t n)
{
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        if (!is_continuation(p[n - k]))
            return char_bytes(p[n - k]) > k ? k : 0;
    }
    return 0;
}

bool ws_text_add(struct ws_text *t, const uint8_t *p, size_t n)
{
    if (t->n != 0) {
        uint8_t whole[4];
        size_t need = char_bytes(t->cut[0]), have = t->n;
        memcpy(whole, t->cut, have);
        for (; have < need && n > 0; p++, n--) {
            if (!is_continuation(*p))
                return false;
            whole[have++] = *p;
        }
        if (have < need) {
            memcpy(t->cut, whole, have);
            t->n = (uint8_t)have;
            return true;
        }
        t->n = 0;
        if (!utf8_is_valid(whole, need))
            return false;
    }
    size_t keep = begun_n(p, n);
    if (keep != 0)
        memcpy(t->cut, p + n - keep, keep);
    t->n = (uint8_t)keep;
    return utf8_is_valid(p, n - keep);
}
