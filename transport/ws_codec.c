/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws_codec.c: WebSocket frames.
 *
 *      byte 0            byte 1            2 .. 3 or 2 .. 9        4 bytes     payload
 *     ┌───┬─────┬──────┐┌──────┬────────┐┌───────────────────────┐┌──────────┐┌─────────── ─ ─
 *     │FIN│ RSV │  op  ││masked│ length ││ if length is 126, 127 ││ the mask ││ each byte ^ mask[i % 4]
 *     └───┴─────┴──────┘└──────┴────────┘└───────────────────────┘└──────────┘└─────────── ─ ─
 *
 * A header is judged twice: its first two bytes as soon as they are there, its length when that is there. Until it is
 * whole it waits in the decoder; its place is then taken by what is left of the payload and the mask, turned so that
 * mask[0] belongs to the next byte. Payload is unmasked eight bytes at a time while it moves to where the caller wants
 * it, which is never behind where it stands: each eight are read before they are written.
 *
 * Invariants
 *   1. The pieces do not depend on how the input was cut (but for where pieces of one frame are cut).
 *   2. Of a message, no more payload is let through than d->max: what a header announces is taken from d->room at once.
 *      Text that is not UTF-8 is not let through either, but for what came in pieces before the fault.
 *   3. Nothing is read behind in[len], nothing written behind to[len].
 * Cost    O(bytes); 40 bytes per connection. SHA-1 is here because a handshake needs it; it protects nothing.
 * Thread  any.
 * Spec    RFC 6455 §4.2.2, §5.2-5.5, §7.4; MQTT 5 §6, 3.1.1 §6.
 */
#include "transport/ws_codec.h"

#include <string.h>

#include "core/base/utf8.h"

enum { BIT_FIN = 0x80, BITS_RESERVED = 0x70, BITS_OP = 0x0f, BIT_MASKED = 0x80, BITS_LENGTH = 0x7f };
enum { LENGTH_16 = 126, LENGTH_64 = 127 };

/* ---- in ------------------------------------------------------------------------------------------------------ */

void ws_decoder_init(struct ws_decoder *d, uint64_t message_bytes_max)
{
    memset(d, 0, sizeof(*d));
    d->max = message_bytes_max;
}

static bool is_control(unsigned op)
{
    return op >= WS_OP_CLOSE;
}

/* judge_start: the first two bytes. Returns what to close with, WS_CLOSE_NONE if all is well. */
static uint16_t judge_start(const struct ws_decoder *d, unsigned first, unsigned second)
{
    unsigned op = first & BITS_OP;
    if ((first & BITS_RESERVED) != 0 || (second & BIT_MASKED) == 0)
        return WS_CLOSE_PROTOCOL;
    switch (op) {
    case WS_OP_CLOSE:
    case WS_OP_PING:
    case WS_OP_PONG:
        return (first & BIT_FIN) != 0 && (second & BITS_LENGTH) <= WS_CONTROL_MAX ? WS_CLOSE_NONE : WS_CLOSE_PROTOCOL;
    case WS_OP_MORE:
        return d->is_in_message ? WS_CLOSE_NONE : WS_CLOSE_PROTOCOL;
    case WS_OP_BINARY:
        return d->is_in_message ? WS_CLOSE_PROTOCOL : WS_CLOSE_NONE;
    case WS_OP_TEXT:
        if (d->is_in_message)
            return WS_CLOSE_PROTOCOL;
        return d->takes_text ? WS_CLOSE_NONE : WS_CLOSE_UNACCEPTABLE; /* [MQTT-6.0.0-1] 3.1.1: [MQTT-6.0.0-1] */
    default:
        return WS_CLOSE_PROTOCOL;
    }
}

static size_t length_bytes(unsigned second)
{
    unsigned length = second & BITS_LENGTH;
    return length == LENGTH_64 ? 8 : length == LENGTH_16 ? 2 : 0;
}

/* judge_length: of a whole header. Returns what to close with; *out is the payload's length. */
static uint16_t judge_length(const struct ws_decoder *d, uint64_t *out)
{
    const uint8_t *h = d->at.head;
    size_t n = length_bytes(h[1]);
    uint64_t length = n == 0 ? h[1] & BITS_LENGTH : 0;
    for (size_t i = 0; i < n; i++)
        length = length << 8 | h[2 + i];
    *out = length;
    if ((n == 2 && length < LENGTH_16) || (n == 8 && (length < 65536 || length >> 63 != 0)))
        return WS_CLOSE_PROTOCOL; /* not the shortest form, or negative */
    if (is_control(h[0] & BITS_OP))
        return WS_CLOSE_NONE;
    return length > (d->is_in_message ? d->room : d->max) ? WS_CLOSE_TOO_BIG : WS_CLOSE_NONE;
}

/* enter_frame: the header is whole and good. */
static void enter_frame(struct ws_decoder *d, uint64_t length)
{
    uint8_t first = d->at.head[0], mask[4];
    memcpy(mask, d->at.head + d->head_len - 4, 4);
    d->op = first & BITS_OP;
    if (!is_control(d->op)) {
        d->room = (d->is_in_message ? d->room : d->max) - length;
        d->is_in_message = (first & BIT_FIN) == 0;
    }
    if (d->op == WS_OP_TEXT || d->op == WS_OP_BINARY) {
        d->is_text = d->op == WS_OP_TEXT;
        d->has_text |= d->is_text;
        d->has_binary |= !d->is_text;
    }
    d->head_len = 0;
    d->is_in_frame = true;
    d->at.body.left = length;
    memcpy(d->at.body.mask, mask, 4);
}

/* gather: header bytes until there are `want` of them. True when there are. */
static bool gather(struct ws_decoder *d, size_t want, const uint8_t *in, size_t len, size_t *eaten)
{
    size_t n = MIN(want - d->head_len, len - *eaten);
    memcpy(d->at.head + d->head_len, in + *eaten, n);
    d->head_len = (uint8_t)(d->head_len + n);
    *eaten += n;
    return d->head_len == want;
}

/* eat_head: goes on with the header, adding to *eaten. Returns what to close with; d->is_in_frame once it is whole. */
static uint16_t eat_head(struct ws_decoder *d, const uint8_t *in, size_t len, size_t *eaten)
{
    if (d->head_len < 2) {
        if (!gather(d, 2, in, len, eaten))
            return WS_CLOSE_NONE;
        uint16_t code = judge_start(d, d->at.head[0], d->at.head[1]);
        if (code != WS_CLOSE_NONE)
            return code;
    }
    if (!gather(d, 2 + length_bytes(d->at.head[1]) + 4, in, len, eaten))
        return WS_CLOSE_NONE;
    uint64_t length;
    uint16_t code = judge_length(d, &length);
    if (code == WS_CLOSE_NONE)
        enter_frame(d, length);
    return code;
}

/* unmask: n bytes; `to` is not behind `in`. Turns the mask. */
static void unmask(uint8_t *to, const uint8_t *in, size_t n, uint8_t mask[4])
{
    uint64_t wide, eight;
    memcpy(&wide, mask, 4);
    memcpy((uint8_t *)&wide + 4, mask, 4);
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        memcpy(&eight, in + i, 8);
        eight ^= wide;
        memcpy(to + i, &eight, 8);
    }
    for (; i < n; i++)
        to[i] = in[i] ^ mask[i & 3];
    uint8_t turned[4];
    for (size_t k = 0; k < 4; k++)
        turned[k] = mask[(n + k) & 3];
    memcpy(mask, turned, 4);
}

/* text_is_fine: n more bytes of a data frame. Each message ends with a whole character (RFC 6455 §8.1). */
static bool text_is_fine(struct ws_decoder *d, const uint8_t *p, size_t n)
{
    if (!d->is_text)
        return true;
    bool is_end = !d->is_in_frame && !d->is_in_message;
    return ws_text_add(&d->text, p, n) && (!is_end || ws_text_is_whole(&d->text));
}

static enum ws_kind kind_of(unsigned op)
{
    switch (op) {
    case WS_OP_CLOSE:
        return WS_CLOSE;
    case WS_OP_PING:
        return WS_PING;
    case WS_OP_PONG:
        return WS_PONG;
    default:
        return WS_DATA;
    }
}

ptrdiff_t ws_decode(struct ws_decoder *d, const uint8_t *in, size_t len, uint8_t *to, struct ws_piece *out)
{
    *out = (struct ws_piece){.kind = WS_NOTHING};
    size_t eaten = 0;
    while (eaten < len) {
        if (!d->is_in_frame) {
            out->close_code = eat_head(d, in, len, &eaten);
            if (out->close_code != WS_CLOSE_NONE)
                return out->close_code == WS_CLOSE_TOO_BIG ? -ERR_TOO_BIG : -ERR_PROTOCOL;
            if (!d->is_in_frame)
                break;
        }
        size_t n = (size_t)MIN(d->at.body.left, (uint64_t)(len - eaten));
        if (n == 0 && d->at.body.left > 0)
            break;
        unmask(to, in + eaten, n, d->at.body.mask);
        eaten += n;
        d->at.body.left -= n;
        d->is_in_frame = d->at.body.left > 0;
        if (!is_control(d->op) && !text_is_fine(d, to, n)) {
            out->close_code = WS_CLOSE_BAD_TEXT;
            return -ERR_PROTOCOL;
        }
        if (n == 0 && !is_control(d->op))
            continue; /* an empty fragment says nothing */
        out->kind = kind_of(d->op);
        out->n = n;
        out->is_last = !d->is_in_frame;
        break;
    }
    return (ptrdiff_t)eaten;
}

/* ---- out ----------------------------------------------------------------------------------------------------- */

size_t ws_head(uint8_t out[WS_HEAD_MAX], enum ws_op op, uint64_t len)
{
    BUG_ON(len >> 63 != 0);
    out[0] = (uint8_t)(BIT_FIN | (unsigned)op);
    if (len < LENGTH_16) {
        out[1] = (uint8_t)len;
        return 2;
    }
    size_t n = len < 65536 ? 2 : 8;
    out[1] = n == 2 ? LENGTH_16 : LENGTH_64;
    for (size_t i = 0; i < n; i++)
        out[2 + i] = (uint8_t)(len >> (8 * (n - 1 - i)));
    return 2 + n;
}

size_t ws_close_frame(uint8_t out[WS_CLOSE_FRAME_MAX], uint16_t code)
{
    out[0] = BIT_FIN | WS_OP_CLOSE;
    out[1] = code == WS_CLOSE_NONE ? 0 : 2;
    if (code == WS_CLOSE_NONE)
        return 2;
    out[2] = (uint8_t)(code >> 8);
    out[3] = (uint8_t)code;
    return 4;
}

uint16_t ws_close_answer(const uint8_t *p, size_t n)
{
    if (n == 0)
        return WS_CLOSE_NONE;
    if (n < 2)
        return WS_CLOSE_PROTOCOL;
    uint16_t code = (uint16_t)(p[0] << 8 | p[1]);
    bool is_known = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
                    (code >= 3000 && code <= 4999);
    return is_known && utf8_is_valid(p + 2, n - 2) ? code : WS_CLOSE_PROTOCOL;
}

/* ---- the handshake's proof ----------------------------------------------------------------------------------- */

enum { KEY_BYTES = 24, SHA_BLOCK = 64, SHA_WORDS = 5, SHA_BYTES = 20 };

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[SHA_WORDS], const uint8_t p[SHA_BLOCK])
{
    uint32_t w[80], v[SHA_WORDS];
    for (unsigned i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (unsigned i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(v, h, sizeof(v));
    for (unsigned i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) {
            f = (v[1] & v[2]) | (~v[1] & v[3]);
            k = 0x5a827999;
        } else if (i >= 40 && i < 60) {
            f = (v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3]);
            k = 0x8f1bbcdc;
        } else {
            f = v[1] ^ v[2] ^ v[3];
            k = i < 40 ? 0x6ed9eba1 : 0xca62c1d6;
        }
        uint32_t next = rotate(v[0], 5) + f + v[4] + k + w[i];
        v[4] = v[3];
        v[3] = v[2];
        v[2] = rotate(v[1], 30);
        v[1] = v[0];
        v[0] = next;
    }
    for (unsigned i = 0; i < SHA_WORDS; i++)
        h[i] += v[i];
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* base64: 20 bytes as 28 characters. */
static void base64(const uint8_t p[SHA_BYTES], char *out)
{
    for (unsigned i = 0; i < SHA_BYTES; i += 3, out += 4) {
        unsigned last = i + 2 < SHA_BYTES ? p[i + 2] : 0; /* 20 is 6 * 3 + 2 */
        unsigned bits = (unsigned)p[i] << 16 | (unsigned)p[i + 1] << 8 | last;
        out[0] = digits[bits >> 18];
        out[1] = digits[bits >> 12 & 63];
        out[2] = digits[bits >> 6 & 63];
        out[3] = digits[bits & 63];
    }
    out[-1] = '=';
}

static bool is_key(const char *key, size_t len)
{
    if (len != KEY_BYTES || key[22] != '=' || key[23] != '=')
        return false;
    for (unsigned i = 0; i < 22; i++) {
        if (memchr(digits, key[i], sizeof(digits) - 1) == NULL)
            return false;
    }
    return true;
}

bool ws_accept(const char *key, size_t len, char *out)
{
    static const char salt[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    enum { SALT_BYTES = sizeof(salt) - 1, TEXT_BYTES = KEY_BYTES + SALT_BYTES };
    if (!is_key(key, len))
        return false;
    uint8_t block[2 * SHA_BLOCK] = {0}; /* key, salt, the bit 1, zeros, the length in bits */
    memcpy(block, key, KEY_BYTES);
    memcpy(block + KEY_BYTES, salt, SALT_BYTES);
    block[TEXT_BYTES] = 0x80;
    block[sizeof(block) - 2] = (uint8_t)(TEXT_BYTES * 8 >> 8);
    block[sizeof(block) - 1] = (uint8_t)(TEXT_BYTES * 8);
    uint32_t h[SHA_WORDS] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    sha1_block(h, block);
    sha1_block(h, block + SHA_BLOCK);
    uint8_t sum[SHA_BYTES];
    for (unsigned i = 0; i < SHA_BYTES; i++)
        sum[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
    base64(sum, out);
    return true;
}
