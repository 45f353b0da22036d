/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_WIRE_H
#define WEIR_STOMP_WIRE_H

/*
 * stomp_wire.h: STOMP 1.0, 1.1 and 1.2 frames to and from bytes, in both directions. Pure: no allocation, no clock, no
 * state but `struct stomp_scan`, which the caller keeps per connection. Decoded slices point into the input.
 *
 *     struct stomp_scan scan = {0};                              per connection
 *     n = stomp_frame_decode(in, len, &lim, v, &scan, &frame);   n > 0: n bytes are done, frame is set (or heart-beats)
 *                                                                n == 0: call again with the SAME bytes and more behind
 *                                                                n < 0: the connection ends
 *     stomp_frame_get(&frame, STOMP_H_DESTINATION, tmp, sizeof(tmp), &destination);
 *
 * Choices where the specifications leave room
 *   - A NUL inside command or headers is ERR_MALFORMED: peers find the end of a frame by it, so letting one through
 *     would let a header forge frames at a receiver.
 *   - ':' inside a header value is accepted unescaped in every version. A CR that is not part of CR LF is ERR_MALFORMED
 * in 1.2; in 1.0 and 1.1 only LF ends a line and CR is data. Between frames CR LF is taken in every version.
 *   - CONNECT, STOMP and CONNECTED carry no escapes. A CONNECT without accept-version is a 1.0 frame; decode the first
 *     frame of a connection as 1.2, which takes both line ends.
 *   - 1.0 only: spaces in front of the value of a known header (but passcode) are dropped, because the examples of that
 *     specification have them; own headers keep them. 1.1 and 1.2 never trim.
 *   - x-encoded:1 (our own): every %XX in names and values of this frame is one byte that the version cannot express.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/slice.h"

enum stomp_version { STOMP_1_0, STOMP_1_1, STOMP_1_2 };

#define STOMP_COMMAND_BYTES_MAX 32u
#define STOMP_HEADERS_MAX       100u /* per frame; below 127: indices are int8_t */
#define STOMP_LINE_BYTES_MAX    8192u
#define STOMP_HEAD_BYTES_MAX    65536u /* command and headers of one frame */
#define STOMP_VERSION_BEST      STOMP_1_2

/* What a peer may send; larger is ERR_TOO_BIG. A smaller set is used before login. */
struct stomp_limits {
    uint32_t command_bytes; /* without the line end */
    uint32_t headers_n;     /* <= STOMP_HEADERS_MAX */
    uint32_t line_bytes;    /* one header line without its end */
    uint32_t head_bytes;    /* everything in front of the body */
    uint64_t body_bytes;
};

/* clang-format off */
#define STOMP_COMMAND_LIST(X)                                                                                          \
    X(CONNECT) X(STOMP) X(CONNECTED) X(SEND) X(MESSAGE) X(SUBSCRIBE) X(UNSUBSCRIBE) X(ACK) X(NACK) X(BEGIN) X(COMMIT)  \
    X(ABORT) X(DISCONNECT) X(RECEIPT) X(ERROR)
/* clang-format on */

enum stomp_command {
    STOMP_CMD_EOL, /* no frame: a run of line ends between frames, which is what a heart-beat is */
#define X(name) STOMP_CMD_##name,
    STOMP_COMMAND_LIST(X)
#undef X
        STOMP_CMD_N
};

/* Headers that Weir knows by name: recognised once while scanning. Names are case-sensitive. */
/* clang-format off */
#define STOMP_HEADER_LIST(X)                                                                                           \
    X(ACCEPT_VERSION, "accept-version") X(VERSION, "version") X(HOST, "host") X(LOGIN, "login")                        \
    X(PASSCODE, "passcode") X(HEART_BEAT, "heart-beat") X(SESSION, "session") X(SERVER, "server")                      \
    X(CLIENT_ID, "client-id") X(DESTINATION, "destination") X(CONTENT_LENGTH, "content-length")                        \
    X(CONTENT_TYPE, "content-type") X(RECEIPT, "receipt") X(RECEIPT_ID, "receipt-id") X(ID, "id") X(ACK, "ack")        \
    X(SUBSCRIPTION, "subscription") X(MESSAGE_ID, "message-id") X(TRANSACTION, "transaction") X(MESSAGE, "message")    \
    X(SELECTOR, "selector") X(PERSISTENT, "persistent") X(RETAIN, "retain") X(AMQ_RETAIN, "ActiveMQ.Retain")           \
    X(RETAINED, "retained") X(RETAIN_HANDLING, "retain-handling") X(QOS, "qos") X(MQTT_QOS, "mqtt-qos")                \
    X(REPLY_TO, "reply-to") X(CORRELATION_ID, "correlation-id") X(CORRELATION_ID_ENCODING, "correlation-id-encoding")  \
    X(EXPIRATION, "expiration") X(TTL, "ttl") X(EXPIRES, "expires") X(PRIORITY, "priority") X(TIMESTAMP, "timestamp")  \
    X(REDELIVERED, "redelivered") X(X_DELIVERY_COUNT, "x-delivery-count") X(PREFETCH_COUNT, "prefetch-count")          \
    X(CREDIT, "credit") X(AMQ_PREFETCH_SIZE, "activemq.prefetchSize") X(DURABLE, "durable")                            \
    X(AUTO_DELETE, "auto-delete") X(EXCLUSIVE, "exclusive") X(X_QUEUE_NAME, "x-queue-name")                            \
    X(DURABLE_SUBSCRIPTION_NAME, "durable-subscription-name") X(REJECT, "reject") X(REQUEUE, "requeue")                \
    X(X_ENCODED, "x-encoded") X(X_CODE, "x-code") X(X_RESULT, "x-result") X(X_QUEUE, "x-queue")                        \
    X(X_REASON, "x-reason") X(X_DELAY, "x-delay") X(AMQ_SCHEDULED_DELAY, "AMQ_SCHEDULED_DELAY")                        \
    X(X_PRIORITY, "x-priority") X(X_MESSAGE_TTL, "x-message-ttl") X(X_EXPIRES, "x-expires")                            \
    X(X_MAX_LENGTH, "x-max-length") X(X_MAX_LENGTH_BYTES, "x-max-length-bytes") X(X_OVERFLOW, "x-overflow")            \
    X(X_DEAD_LETTER_EXCHANGE, "x-dead-letter-exchange") X(X_DEAD_LETTER_ROUTING_KEY, "x-dead-letter-routing-key")      \
    X(X_DELIVERY_LIMIT, "x-delivery-limit") X(X_RETRY_DELAY_MIN, "x-retry-delay-min")                                  \
    X(X_RETRY_DELAY_MAX, "x-retry-delay-max") X(X_MAX_PRIORITY, "x-max-priority")                                      \
    X(X_SINGLE_ACTIVE_CONSUMER, "x-single-active-consumer") X(X_CONSUMER_TIMEOUT, "x-consumer-timeout")
/* clang-format on */

enum stomp_known {
    STOMP_H_OTHER, /* not one of ours: the application's own */
#define X(name, text) STOMP_H_##name,
    STOMP_HEADER_LIST(X)
#undef X
        STOMP_H_N
};

/* One header line, raw: escapes not undone, never empty in `name`. */
struct stomp_header {
    struct slice name, value;
    uint8_t known;    /* enum stomp_known */
    bool name_escape; /* holds a backslash escape of this version */
    bool value_escape;
};

/* A decoded frame. 5 KB, not zeroed: only header[0 .. header_n) is set. Slices live as long as the input. */
struct stomp_frame {
    enum stomp_command command;
    enum stomp_version version; /* whose rules were applied: 1.0 for a CONNECT without accept-version */
    bool encoded;               /* x-encoded:1 */
    uint32_t header_n;
    int8_t known[STOMP_H_N]; /* index of the first header of this name, or -1; STOMP 1.2 §Repeated Header Entries */
    struct slice body;
    uint64_t total; /* also when 0 is returned: bytes of the whole frame once known (from content-length), else 0 */
    struct stomp_header header[STOMP_HEADERS_MAX];
};

/* How far an incomplete frame was looked at. Zeroed at the start of a connection; decode zeroes it after a frame. */
struct stomp_scan {
    size_t line; /* start of the first line that is not complete */
    size_t head; /* bytes of command and headers, once the blank line was seen */
    size_t seen; /* body without content-length: no NUL in front of this offset */
    uint64_t total;
    uint32_t header_n;
    enum stomp_command command;
    bool body_ok; /* this frame may have a body */
};

/* stomp_frame_decode — take one frame, or a run of line ends, off the front of in[len].
 *
 *   v     the negotiated version; STOMP_1_2 for the first frame of a connection
 *   scan  see above; in, lim and v must stay the same for one frame, len may only grow (the buffer may move)
 *   out   command, headers and body when > 0 was returned; out->command is STOMP_CMD_EOL (and nothing else but total is
 *         set) for line ends. When 0 was returned only out->total means something.
 *
 * Returns the bytes eaten, 0 if more input is needed, -ERR_MALFORMED (no colon, empty name, undefined escape, NUL or
 * stray CR, content-length not a number, body not followed by NUL), -ERR_PROTOCOL (unknown command, body where none may
 * be), -ERR_TOO_BIG (a limit). Feeding byte by byte costs O(bytes) and gives the same results as feeding all at once.
 */
ptrdiff_t stomp_frame_decode(const uint8_t *in, size_t len, const struct stomp_limits *lim, enum stomp_version v,
                             struct stomp_scan *scan, struct stomp_frame *out) MUST_CHECK;

/* stomp_frame_front: what can be said about a frame that stomp_frame_decode refused: the headers in front of the fault
 * are in *out, without a body. Depends on nothing behind the fault. */
void stomp_frame_front(const uint8_t *in, size_t len, const struct stomp_limits *lim, enum stomp_version v,
                       struct stomp_frame *out);

/* stomp_header_name, stomp_header_value — header i of f with escapes (and %XX if f->encoded) undone.
 * *out points into the input when there was nothing to undo, else into buf[cap]; the raw length always suffices as cap.
 * A decoded name may spell a known header although header[i].known is STOMP_H_OTHER. ERR_TOO_BIG: cap too small. */
enum err stomp_header_name(const struct stomp_frame *f, uint32_t i, uint8_t *buf, size_t cap,
                           struct slice *out) MUST_CHECK;
enum err stomp_header_value(const struct stomp_frame *f, uint32_t i, uint8_t *buf, size_t cap,
                            struct slice *out) MUST_CHECK;

/* stomp_frame_get: stomp_header_value of the first header of this name; ERR_NOT_FOUND when there is none. */
enum err stomp_frame_get(const struct stomp_frame *f, enum stomp_known h, uint8_t *buf, size_t cap,
                         struct slice *out) MUST_CHECK;

/* stomp_frame_find: the same by its name on the wire (escapes undone), for headers that only some frames look at and
 * that are not in STOMP_HEADER_LIST. O(headers). */
enum err stomp_frame_find(const struct stomp_frame *f, struct slice name, uint8_t *buf, size_t cap,
                          struct slice *out) MUST_CHECK;

/* stomp_unescape — undo the escapes of version v (1.0: none; 1.1: \n \c \\; 1.2: also \r).
 * out[cap]; out may be in.p. Returns the bytes written, -ERR_MALFORMED for an undefined escape, -ERR_TOO_BIG. */
ptrdiff_t stomp_unescape(enum stomp_version v, struct slice in, uint8_t *out, size_t cap) MUST_CHECK;

/*
 * Writing a frame. The caller reserves STOMP_WRITE_FIXED_MAX plus stomp_header_bound() of every header (plus body and
 * NUL if stomp_write_body is used); with that nothing can fail.
 *
 *     stomp_write_begin(&w, buf, cap, v, STOMP_CMD_MESSAGE);
 *     stomp_write_known(&w, STOMP_H_DESTINATION, destination);
 *     stomp_write_header(&w, name, value);
 *     n = stomp_write_end(&w, body.len);        then the body and one NUL, copied or referred to
 *
 * Names and values are any bytes. What the version cannot express goes out as %XX, then every other '%' of the frame as
 * %25, and the frame gets x-encoded:1: NUL always; CR in 1.0 and 1.1; LF in 1.0; ':' in names in 1.0; in 1.0 also a
 * space at the start of a known header's value. CONNECT, STOMP and CONNECTED are written by the rules of 1.0.
 */
struct stomp_writer {
    uint8_t *p;
    size_t cap, n;
    size_t bound;   /* worst case of what was written so far: what may not grow past cap */
    size_t headers; /* where the first header starts */
    enum stomp_version v;
    bool raw;     /* no escapes in this frame */
    bool encoded; /* %XX was needed */
    bool full;    /* sticky: the reservation was too small */
};

/* command line, content-length, x-encoded, blank line, NUL */
#define STOMP_WRITE_FIXED_MAX (STOMP_COMMAND_BYTES_MAX + 1u + 36u + 12u + 1u + 1u)
#define STOMP_LENGTH_NONE     UINT64_MAX /* no content-length header: frames that have no body */

static inline size_t stomp_header_bound(size_t name_len, size_t value_len)
{
    return 3 * (name_len + value_len) + 2;
}

void stomp_write_begin(struct stomp_writer *w, uint8_t *buf, size_t cap, enum stomp_version v, enum stomp_command c);

/* stomp_write_header: name must not be empty (BUG_ON). Not for content-length and x-encoded: stomp_write_end's. */
void stomp_write_header(struct stomp_writer *w, struct slice name, struct slice value);

/* stomp_write_raw: bytes as they are, among the headers: the front part of a name, or lines that a writer of the same
 * version made before. Reserve their length. What they cannot hold in this frame is the caller's to know. */
void stomp_write_raw(struct stomp_writer *w, struct slice bytes);

/* stomp_write_known, stomp_write_u64: a header that Weir knows; the u64 takes at most 20 digits. */
void stomp_write_known(struct stomp_writer *w, enum stomp_known h, struct slice value);
void stomp_write_u64(struct stomp_writer *w, enum stomp_known h, uint64_t value);

/* stomp_write_end: content-length (unless STOMP_LENGTH_NONE) and the blank line. Returns the bytes in buf; body and NUL
 * are still to follow. -ERR_TOO_BIG if the reservation was too small; buf then holds no frame. */
ptrdiff_t stomp_write_end(struct stomp_writer *w, uint64_t content_length) MUST_CHECK;

/* stomp_write_body: stomp_write_end(body.len), the body and the NUL; a whole frame. Same errors. */
ptrdiff_t stomp_write_body(struct stomp_writer *w, struct slice body) MUST_CHECK;

/* stomp_command_text, stomp_known_text: the name on the wire; static. EOL and OTHER give "". */
struct slice stomp_command_text(enum stomp_command c);
struct slice stomp_known_text(enum stomp_known h);

/* stomp_known_from_name: exact match, else STOMP_H_OTHER. stomp_command_from_text: else STOMP_CMD_EOL. */
enum stomp_known stomp_known_from_name(struct slice name);
enum stomp_command stomp_command_from_text(struct slice text);

/* stomp_version_text: "1.0", "1.1", "1.2". */
struct slice stomp_version_text(enum stomp_version v);

/* stomp_version_pick: the highest version Weir speaks in an accept-version list such as "1.0,1.1,2.0"; spaces around
 * the entries are ignored. ERR_UNSUPPORTED: none in common. No header at all means 1.0. STOMP 1.2 §Protocol Negotiation
 */
enum err stomp_version_pick(struct slice list, enum stomp_version *out) MUST_CHECK;

/* stomp_heart_beat_parse: "<can>,<wants>" in ms; larger than UINT32_MAX is cut to that. ERR_MALFORMED unless there are
 * exactly two decimal numbers (spaces around them are ignored). STOMP 1.2 §Heart-beating */
enum err stomp_heart_beat_parse(struct slice text, uint32_t *out_can_ms, uint32_t *out_wants_ms) MUST_CHECK;

#endif
