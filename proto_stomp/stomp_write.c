/* SPDX-License-Identifier: Apache-2.0 */

/*
 * stomp_write.c: STOMP frames to bytes, into memory the caller reserved.
 *
 * The plain case is one span scan and one copy per name and value. Where a byte must change, its way out depends on
 * version:
 *
 *                 LF     ':'             '\'     CR     NUL    '%'
 *     1.2         \n     \c              \\      \r     %00    %  (%25 in an encoded frame)
 *     1.1         \n     \c              \\      %0D    %00    %  (%25)
 *     1.0, raw    %0A    name %3A, else : \      %0D    %00    %  (%25)
 *
 * The first %XX makes the frame an encoded one: it gets x-encoded:1, and so that the reader can undo every %XX of it,
 * each '%' that is already in its headers becomes %25, in place. That is rare, so it may walk the head once more.
 *
 * Invariants
 *   1. n <= bound <= cap while !full: `bound` counts three bytes for each byte of text, so growing in place cannot
 * overflow.
 *   2. In [headers, n) an unencoded frame has '%' only as itself, an encoded one only as %XX.
 *   3. Nothing from a peer can end a header line or a frame: LF, CR and NUL never go out as themselves inside a header
 *      (a 1.1 or 1.0 reader that takes CR LF included).
 *
 * Cost    O(bytes); ~8 ns per header that needs no change.
 * Thread  any.
 * Spec    STOMP 1.1 and 1.2 §Value Encoding; docs/mapping.md, "STOMP rules".
 */

#include "proto_stomp/stomp_bytes.h"
#include "proto_stomp/stomp_wire.h"

static inline void put(struct stomp_writer *w, struct slice s)
{
    if (s.len != 0)
        memcpy(w->p + w->n, s.p, s.len);
    w->n += s.len;
}

static inline void put_u8(struct stomp_writer *w, uint8_t c)
{
    w->p[w->n++] = c;
}

/* Claims `more` bytes of the reservation; false once it was too small. */
static inline bool reserve(struct stomp_writer *w, size_t more)
{
    if (UNLIKELY(w->full || w->cap - w->bound < more)) {
        w->full = true;
        return false;
    }
    w->bound += more;
    return true;
}

/* Every '%' already in the headers becomes %25, from the end backwards so that it works in place. */
static void expand_percents(struct stomp_writer *w)
{
    size_t percents = 0;
    for (size_t i = w->headers; i < w->n; i++)
        percents += w->p[i] == '%';
    size_t to = w->n + 2 * percents;
    BUG_ON(to > w->cap);
    size_t from = w->n;
    w->n = to;
    while (to != from) {
        uint8_t c = w->p[--from];
        if (c != '%') {
            w->p[--to] = c;
            continue;
        }
        to -= 3;
        stomp_put_percent(w->p + to, '%');
    }
}

static void put_percent(struct stomp_writer *w, uint8_t c)
{
    if (!w->encoded) {
        expand_percents(w);
        w->encoded = true;
    }
    stomp_put_percent(w->p + w->n, c);
    w->n += 3;
}

/* The letter behind the backslash for c, 0 if this frame has no escape for it. STOMP 1.2 §Value Encoding */
static uint8_t escape_letter(const struct stomp_writer *w, uint8_t c)
{
    if (w->raw || w->v == STOMP_1_0)
        return 0;
    switch (c) {
    case '\n':
        return 'n';
    case ':':
        return 'c';
    case '\\':
        return '\\';
    case '\r':
        return w->v >= STOMP_1_2 ? 'r' : 0;
    default:
        return 0;
    }
}

static bool is_inexpressible(uint8_t c, bool in_name)
{
    return c == '\n' || c == '\r' || c == '\0' || (c == ':' && in_name);
}

static void put_text_slow(struct stomp_writer *w, struct slice s, bool in_name)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        uint8_t letter = escape_letter(w, c);
        if (letter != 0) {
            put_u8(w, '\\');
            put_u8(w, letter);
        } else if (is_inexpressible(c, in_name) || (c == '%' && w->encoded)) {
            put_percent(w, c);
        } else {
            put_u8(w, c);
        }
    }
}

static inline void put_text(struct stomp_writer *w, struct slice s, bool in_name)
{
    if (LIKELY(!w->encoded && stomp_span(s.p, 0, s.len, true) == s.len))
        put(w, s);
    else
        put_text_slow(w, s, in_name);
}

/* A 1.0 reader drops spaces in front of a known header's value. */
static bool space_would_be_lost(const struct stomp_writer *w, struct slice name, struct slice value)
{
    if (LIKELY(w->v != STOMP_1_0 || value.len == 0 || value.p[0] != ' '))
        return false;
    enum stomp_known h = stomp_known_from_name(name);
    return h != STOMP_H_OTHER && h != STOMP_H_PASSCODE;
}

static inline void put_value(struct stomp_writer *w, struct slice name, struct slice value)
{
    put_u8(w, ':');
    if (UNLIKELY(space_would_be_lost(w, name, value))) {
        put_percent(w, ' ');
        value = slice_skip(value, 1);
    }
    put_text(w, value, false);
    put_u8(w, '\n');
}

void stomp_write_begin(struct stomp_writer *w, uint8_t *buf, size_t cap, enum stomp_version v, enum stomp_command c)
{
    *w = (struct stomp_writer){.p = buf, .cap = cap, .v = v};
    /* STOMP 1.2 §Value Encoding: CONNECT and CONNECTED are not escaped */
    w->raw = c == STOMP_CMD_CONNECT || c == STOMP_CMD_STOMP || c == STOMP_CMD_CONNECTED;
    if (!reserve(w, STOMP_WRITE_FIXED_MAX))
        return;
    BUG_ON(c == STOMP_CMD_EOL);
    put(w, stomp_command_text(c));
    put_u8(w, '\n');
    w->headers = w->n;
}

void stomp_write_header(struct stomp_writer *w, struct slice name, struct slice value)
{
    BUG_ON(name.len == 0);
    if (!reserve(w, stomp_header_bound(name.len, value.len)))
        return;
    put_text(w, name, true);
    put_value(w, name, value);
}

void stomp_write_raw(struct stomp_writer *w, struct slice bytes)
{
    if (reserve(w, bytes.len))
        put(w, bytes);
}

void stomp_write_known(struct stomp_writer *w, enum stomp_known h, struct slice value)
{
    struct slice name = stomp_known_text(h);
    BUG_ON(name.len == 0);
    if (!reserve(w, stomp_header_bound(name.len, value.len)))
        return;
    put(w, name);
    put_value(w, name, value);
}

static struct slice decimal(uint64_t value, uint8_t digits[20])
{
    size_t at = 20;
    do {
        digits[--at] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return slice_make(digits + at, 20 - at);
}

void stomp_write_u64(struct stomp_writer *w, enum stomp_known h, uint64_t value)
{
    uint8_t digits[20];
    struct slice name = stomp_known_text(h);
    BUG_ON(name.len == 0);
    if (!reserve(w, stomp_header_bound(name.len, sizeof(digits))))
        return;
    put(w, name);
    put_u8(w, ':');
    put(w, decimal(value, digits));
    put_u8(w, '\n');
}

ptrdiff_t stomp_write_end(struct stomp_writer *w, uint64_t content_length)
{
    if (w->full)
        return -ERR_TOO_BIG;
    if (content_length != STOMP_LENGTH_NONE) {
        uint8_t digits[20];
        put(w, SLICE("content-length:"));
        put(w, decimal(content_length, digits));
        put_u8(w, '\n');
    }
    if (w->encoded)
        put(w, SLICE("x-encoded:1\n"));
    put_u8(w, '\n');
    BUG_ON(w->n > w->bound);
    return (ptrdiff_t)w->n;
}

ptrdiff_t stomp_write_body(struct stomp_writer *w, struct slice body)
{
    if (!reserve(w, body.len) || stomp_write_end(w, body.len) < 0)
        return -ERR_TOO_BIG;
    put(w, body);
    put_u8(w, '\0');
    return (ptrdiff_t)w->n;
}
