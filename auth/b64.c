/* SPDX-License-Identifier: Apache-2.0 */
/*
 * b64.c: Base64, four letters for three bytes.
 *
 *     bytes  |aaaaaabb|bbbbcccc|ccdddddd|     letters  A-Z a-z 0-9 + /  for 0 .. 63, '=' fills up the last four
 *
 * Salts, keys and proofs are compared after decoding, but the channel binding of SCRAM is not a secret and the text of
 * it is signed; a decoder that takes two spellings for the same bytes would only add doubt. So this one takes one.
 *
 * Invariants
 *   1. b64_get(b64_put(x)) is x, and b64_put(b64_get(t)) is t for every t that b64_get takes.
 * Cost    one pass.
 * Thread  any: no state.
 * Spec    RFC 4648 §4, §3.5.
 */
#include "auth/b64.h"

#include "core/base/err.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void b64_put(struct buf *out, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = MIN(bytes.len - i, (size_t)3);
        uint32_t group = (uint32_t)bytes.p[i] << 16;
        group |= n > 1 ? (uint32_t)bytes.p[i + 1] << 8 : 0;
        group |= n > 2 ? (uint32_t)bytes.p[i + 2] : 0;
        char four[4];
        for (unsigned k = 0; k < 4; k++)
            four[k] = k <= n ? letters[group >> (18 - 6 * k) & 63] : '=';
        buf_put(out, four, sizeof(four));
    }
}

/* value_of: 0 .. 63, -1 for what is no letter of Base64. */
static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* four_of: the 24 bits of four letters, the last `pad` of which are '='; -1: malformed. */
static int32_t four_of(const uint8_t *p, size_t pad)
{
    int32_t group = 0;
    for (size_t k = 0; k < 4; k++) {
        int v = k < 4 - pad ? value_of(p[k]) : 0;
        if (v < 0)
            return -1;
        group = group << 6 | v;
    }
    int32_t unused = pad == 0 ? 0 : pad == 1 ? 0xff : 0xffff;
    return (group & unused) == 0 ? group : -1; /* RFC 4648 §3.5: bits that stand for nothing are 0 */
}

ptrdiff_t b64_get(struct slice text, uint8_t *out, size_t cap)
{
    size_t n = 0;
    if (text.len % 4 != 0)
        return -ERR_MALFORMED;
    for (size_t i = 0; i < text.len; i += 4) {
        size_t pad = 0;
        if (i + 4 == text.len && text.p[i + 3] == '=')
            pad = text.p[i + 2] == '=' ? 2 : 1;
        int32_t group = four_of(text.p + i, pad);
        if (group < 0)
            return -ERR_MALFORMED;
        for (size_t k = 0; k < 3 - pad; k++) {
            if (n == cap)
                return -ERR_TOO_BIG;
            out[n++] = (uint8_t)(group >> (16 - 8 * k));
        }
    }
    return (ptrdiff_t)n;
}
