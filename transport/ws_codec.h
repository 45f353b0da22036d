/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TRANSPORT_WS_CODEC_H
#define WEIR_TRANSPORT_WS_CODEC_H

/*
 * ws_codec.h: WebSocket frames (RFC 6455 §5) as a server sees them: masked ones in, unmasked ones out. Pure: no
 * buffer, no allocation, no clock. What comes in is decoded as it comes, so a frame or message of any size needs no
 * memory:
 *
 *     ws_decoder_init(&d, max);
 *     for (at = 0; at < n; at += r)  {
 *         r = ws_decode(&d, in + at, n - at, to, &piece);   r < 0: the peer broke a rule, piece.close_code says which
 *         if (piece.kind == WS_DATA) to += piece.n;
 *     }
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "transport/ws_text.h"

#define WS_CONTROL_MAX     125u /* payload of a control frame, RFC 6455 §5.5 */
#define WS_HEAD_MAX        10u  /* bytes before the payload of a frame that goes out */
#define WS_HEAD_IN_MAX     14u  /* and of one that comes in */
#define WS_CLOSE_FRAME_MAX 4u   /* what ws_close_frame writes */
#define WS_ACCEPT_BYTES    28u  /* of Sec-WebSocket-Accept */

enum ws_op { WS_OP_MORE = 0, WS_OP_TEXT = 1, WS_OP_BINARY = 2, WS_OP_CLOSE = 8, WS_OP_PING = 9, WS_OP_PONG = 10 };

/* Why a connection is closed, RFC 6455 §7.4.1. */
enum ws_close {
    WS_CLOSE_NONE = 0, /* a close frame without a code */
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_UNACCEPTABLE = 1003, /* a kind of data we do not take: text, where only binary is spoken */
    WS_CLOSE_BAD_TEXT = 1007,     /* text that is not UTF-8 */
    WS_CLOSE_TOO_BIG = 1009,
};

enum ws_kind { WS_NOTHING, WS_DATA, WS_PING, WS_PONG, WS_CLOSE };

/* What one call of ws_decode found. */
struct ws_piece {
    enum ws_kind kind; /* NOTHING: more input is needed */
    uint16_t close_code;
    bool is_last; /* the frame ends with this piece */
    size_t n;     /* payload bytes written; 0 is possible for control frames only */
};

/* owner: the pipe. 40 bytes. */
struct ws_decoder {
    union {
        uint8_t head[WS_HEAD_IN_MAX]; /* between frames: a header that came in part */
        struct {
            uint64_t left;   /* inside a frame: payload bytes to come */
            uint8_t mask[4]; /* from the next byte on */
        } body;
    } at;
    uint64_t room;    /* bytes the message may still have */
    uint64_t max;     /* bytes of a message, over all its fragments */
    uint8_t head_len; /* bytes in at.head */
    uint8_t op;       /* of the frame we are in */
    uint8_t is_in_frame : 1, is_in_message : 1 /* a fragment came, and not yet the last one */, is_text : 1 /* the
        message we are in */
        ,
        takes_text : 1 /* may be set at any time */, has_text : 1 /* a text came */,
        has_binary : 1 /* a binary message came */;
    struct ws_text text;
};

_Static_assert(sizeof(struct ws_decoder) <= 40, "an idle WebSocket has grown");

/* ws_decoder_init: before the first frame; text is not taken. message_bytes_max > 0: larger messages are refused by
 * their headers. */
void ws_decoder_init(struct ws_decoder *d, uint64_t message_bytes_max);

/* ws_decode — the next piece of payload.
 *
 *   in[len]   bytes from the wire, len > 0
 *   to        where the payload goes, unmasked: at most len bytes; may be `in` itself or anything before it in the same
 *             buffer, so that frames decode in place
 *   *out      what was found; written always
 *
 * Returns the bytes eaten: len unless a piece ended before. -ERR_PROTOCOL or -ERR_TOO_BIG when the peer broke a rule:
 * out->close_code then says what to close with, and the decoder must not be used any more. Rules (RFC 6455 §5.2-5.5): a
 * client masks; reserved bits are 0; the operation is known; lengths have their shortest form and less than 64 bits;
 * control frames are whole and at most 125 bytes; fragments follow a beginning, and nothing else does; text is UTF-8
 * over all its fragments (§8.1), and taken only if takes_text [MQTT-6.0.0-1] (3.1.1: [MQTT-6.0.0-1]).
 */
ptrdiff_t ws_decode(struct ws_decoder *d, const uint8_t *in, size_t len, uint8_t *to, struct ws_piece *out) MUST_CHECK;

/* ws_head: the header of an unmasked, whole frame with `len` bytes of payload, < 2^63. Returns its size, 2 .. 10. */
size_t ws_head(uint8_t out[WS_HEAD_MAX], enum ws_op op, uint64_t len);

/* ws_close_frame: a whole close frame; code WS_CLOSE_NONE: without one. Returns its size, 2 or 4. */
size_t ws_close_frame(uint8_t out[WS_CLOSE_FRAME_MAX], uint16_t code);

/* ws_close_answer: what to answer a close frame with the payload p[n], n <= 125: its own code, WS_CLOSE_NONE if it has
 * none, or WS_CLOSE_PROTOCOL if the code may not be sent or the reason is not UTF-8 (RFC 6455 §5.5.1, §7.4). */
uint16_t ws_close_answer(const uint8_t *p, size_t n);

/* ws_accept: the answer to Sec-WebSocket-Key, into out[WS_ACCEPT_BYTES], no NUL (RFC 6455 §4.2.2). False, and nothing
 * written, when key[len] is not 16 bytes in base64. */
bool ws_accept(const char *key, size_t len, char *out) MUST_CHECK;

#endif
