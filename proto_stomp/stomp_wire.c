/* SPDX-License-Identifier: Apache-2.0 */

/*
 * stomp_wire.c: bytes to STOMP frames.
 *
 *     SEND\n                        command   ≤ 32 bytes
 *     destination:/topic/a\n        header    name ':' value, ≤ 8 KiB a line, ≤ 100 lines
 *     content-length:5\n
 *     \n                            head      everything up to here, ≤ 64 KiB
 *     hello\0                       body      content-length bytes, or up to the first NUL
 *     \n \n                         line ends between frames: heart-beats
 *
 * One pass: the span scanner stops at what can matter (LF, CR, NUL, backslash, the first colon) and the header goes
 * into the frame's array as two slices of the input. When a frame is complete in the first call, which is nearly
 * always, that is all. When it is not, `struct stomp_scan` remembers the first incomplete line, or that the head is
 * complete and how far the body was searched, and the head is parsed a second time when the end is there: slices cannot
 * be kept because the input may move.
 *
 * Invariants
 *   1. A verdict depends only on the bytes up to the one that causes it: all limits are compared with the offset
 *      of the stopping byte, so a frame cut anywhere gives the result of the frame in one piece.
 *   2. No byte at or behind in[len] is read.
 *   3. scan->line is 0 or the start of a header line; all lines in front of it were accepted.
 *   4. scan->head != 0 means that head_parse(…, 0) succeeds on these bytes again (BUG_ON).
 *
 * Cost    O(bytes), ~10 ns per header line plus the body's memchr if it has no content-length; for a frame in pieces
 *         the head twice, and an incomplete line (≤ 8 KiB) once per call.
 * Thread  any; no state but what the caller passes.
 * Spec    STOMP 1.0, 1.1, 1.2: §STOMP Frames, §Value Encoding, §Body, §Repeated Header Entries, §Augmented BNF.
 */

#include "proto_stomp/stomp_wire.h"

#include "proto_stomp/stomp_bytes.h"

_Static_assert(STOMP_HEADERS_MAX < 127, "header indices are int8_t");

#define NO_COLON    SIZE_MAX
#define LENGTH_NONE UINT64_MAX

/* A head being read. */
struct head {
    const uint8_t *in;
    size_t len;
    const struct stomp_limits *lim;
    struct stomp_frame *f;
    size_t at;    /* start of the current line */
    bool crlf;    /* 1.2: CR LF ends a line as well */
    bool escapes; /* backslash escapes are in force; known once the command is */
    enum stomp_version v;
};

/* One line: in[at .. end) without its line end. */
struct line {
    size_t colon; /* NO_COLON: none */
    size_t end, next;
    bool name_escape, value_escape; /* a backslash in front of the colon, behind it */
};

/* STOMP 1.2 §Value Encoding: CONNECT and CONNECTED are never escaped; STOMP is CONNECT by another name */
static bool is_raw(enum stomp_command c)
{
    return c == STOMP_CMD_CONNECT || c == STOMP_CMD_STOMP || c == STOMP_CMD_CONNECTED;
}

/* Returns 1 and the line at h->at, 0 if it is not complete, or -err. */
static inline ptrdiff_t line_find(const struct head *h, size_t line_bytes, struct line *out)
{
    const uint8_t *in = h->in;
    bool escape = false;
    size_t i = h->at;
    out->colon = NO_COLON;
    out->name_escape = false;
    for (;; i++) {
        i = stomp_span(in, i, h->len, out->colon == NO_COLON);
        if (UNLIKELY(i - h->at > line_bytes || i >= h->lim->head_bytes))
            return -ERR_TOO_BIG;
        if (i == h->len)
            return 0;
        uint8_t c = in[i];
        if (LIKELY(c == '\n'))
            break;
        if (c == ':') {
            out->colon = i;
            out->name_escape = escape;
            escape = false;
        } else if (c == '\\') {
            escape = true;
        } else if (c == '\0') {
            return -ERR_MALFORMED; /* a header cannot hold what ends frames: see the choices in the header file */
        } else if (c == '\r' && h->crlf) { /* STOMP 1.1 §Augmented BNF: before 1.2 it is data */
            if (i + 1 == h->len)
                return 0;
            if (in[i + 1] != '\n') /* STOMP 1.2 §Augmented BNF: no CR in names and values */
                return -ERR_MALFORMED;
            break;
        }
    }
    out->end = i;
    out->next = in[i] == '\r' ? i + 2 : i + 1;
    out->value_escape = escape;
    return LIKELY(out->next <= h->lim->head_bytes) ? 1 : -ERR_TOO_BIG;
}

/* The byte an escape stands for, or 0 if it is undefined: STOMP 1.2 §Value Encoding; STOMP 1.1 §Value Encoding */
static uint8_t escape_byte(enum stomp_version v, uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'c':
        return ':';
    case '\\':
        return '\\';
    case 'r':
        return v >= STOMP_1_2 ? '\r' : 0;
    default:
        return 0;
    }
}

static bool escapes_are_defined(enum stomp_version v, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] != '\\')
            continue;
        i++;
        if (i == s.len || escape_byte(v, s.p[i]) == 0)
            return false;
    }
    return true;
}

/* Appends the header of line l to the frame. Returns 1 or -err. */
static inline ptrdiff_t header_add(struct head *h, const struct line *l)
{
    struct stomp_frame *f = h->f;
    if (l->colon == NO_COLON || l->colon == h->at) /* no colon; empty name */
        return -ERR_MALFORMED;
    if (f->header_n >= h->lim->headers_n)
        return -ERR_TOO_BIG;
    struct stomp_header *header = &f->header[f->header_n];
    header->name = slice_make(h->in + h->at, l->colon - h->at);
    header->value = slice_make(h->in + l->colon + 1, l->end - l->colon - 1);
    header->name_escape = l->name_escape && h->escapes;
    header->value_escape = l->value_escape && h->escapes;
    /* STOMP 1.2 §Value Encoding: undefined escapes are a fatal protocol error */
    if (UNLIKELY(header->name_escape) && !escapes_are_defined(h->v, header->name))
        return -ERR_MALFORMED;
    if (UNLIKELY(header->value_escape) && !escapes_are_defined(h->v, header->value))
        return -ERR_MALFORMED;
    enum stomp_known known = stomp_known_from_name(header->name);
    header->known = (uint8_t)known;
    if (f->known[known] < 0) /* STOMP 1.2 §Repeated Header Entries: the first one is the value */
        f->known[known] = (int8_t)f->header_n;
    f->header_n++;
    return 1;
}

/* STOMP 1.2 §STOMP Frames: case matters. */
static ptrdiff_t command_read(struct head *h)
{
    struct line l;
    ptrdiff_t r = line_find(h, h->lim->command_bytes, &l);
    if (r <= 0)
        return r;
    h->f->command = stomp_command_from_text(slice_make(h->in, l.end));
    if (h->f->command == STOMP_CMD_EOL)
        return -ERR_PROTOCOL;
    h->at = l.next;
    return 1;
}

/* Reads lines from h->at (0: the command) to the blank one. Returns the bytes of the head, 0 (h->at is then the first
 * incomplete line) or -err. */
static ptrdiff_t head_parse(struct head *h)
{
    if (h->at == 0) {
        ptrdiff_t r = command_read(h);
        if (r <= 0)
            return r;
    }
    h->escapes = h->v >= STOMP_1_1 && !is_raw(h->f->command);
    for (;;) {
        struct line l;
        ptrdiff_t r = line_find(h, h->lim->line_bytes, &l);
        if (r <= 0)
            return r;
        if (l.end == h->at)
            return (ptrdiff_t)l.next;
        r = header_add(h, &l);
        if (r < 0)
            return r;
        h->at = l.next;
    }
}

/* STOMP 1.2 §Header content-length: digits and nothing else. Returns ERR_OK and *out (LENGTH_NONE: no such header). */
static enum err length_get(const struct stomp_frame *f, const struct stomp_limits *lim, uint64_t *out)
{
    int i = f->known[STOMP_H_CONTENT_LENGTH];
    *out = LENGTH_NONE;
    if (i < 0)
        return ERR_OK;
    struct slice text = f->header[i].value;
    uint64_t n = 0;
    if (text.len == 0)
        return ERR_MALFORMED;
    for (size_t k = 0; k < text.len; k++) {
        if (text.p[k] < '0' || text.p[k] > '9')
            return ERR_MALFORMED;
        n = MIN(n * 10 + (uint64_t)(text.p[k] - '0'), UINT64_MAX / 16); /* saturates */
    }
    if (n > lim->body_bytes || n >= UINT64_MAX / 16)
        return ERR_TOO_BIG;
    *out = n;
    return ERR_OK;
}

/* STOMP 1.0: its examples write "destination: /queue/a". */
static void trim_known(struct stomp_frame *f)
{
    for (unsigned h = STOMP_H_OTHER + 1; h < STOMP_H_N; h++) {
        if (f->known[h] < 0 || h == STOMP_H_PASSCODE)
            continue;
        struct slice *value = &f->header[f->known[h]].value;
        while (value->len != 0 && value->p[0] == ' ')
            *value = slice_skip(*value, 1);
    }
}

/* What can be said once all headers are there. */
static enum err head_finish(struct stomp_frame *f, const struct stomp_limits *lim, enum stomp_version v,
                            struct stomp_scan *scan)
{
    bool is_connect = f->command == STOMP_CMD_CONNECT || f->command == STOMP_CMD_STOMP;
    /* STOMP 1.2 §Protocol Negotiation: without accept-version it is a 1.0 peer */
    f->version = is_connect && f->known[STOMP_H_ACCEPT_VERSION] < 0 ? STOMP_1_0 : v;
    if (f->version == STOMP_1_0)
        trim_known(f);
    int encoded = f->known[STOMP_H_X_ENCODED];
    f->encoded = encoded >= 0 && slice_eq_str(f->header[encoded].value, "1");
    /* STOMP 1.2 §Body; STOMP 1.1 §Body; in 1.0 such bodies are ignored */
    scan->body_ok = f->version == STOMP_1_0 || f->command == STOMP_CMD_SEND || f->command == STOMP_CMD_MESSAGE ||
                    f->command == STOMP_CMD_ERROR;
    uint64_t length;
    enum err e = length_get(f, lim, &length);
    if (e != ERR_OK)
        return e;
    if (length != LENGTH_NONE && length != 0 && !scan->body_ok)
        return ERR_PROTOCOL;
    scan->total = length == LENGTH_NONE ? 0 : scan->head + length + 1;
    return ERR_OK;
}

static ptrdiff_t head_parse_from(struct head *h, size_t at, uint32_t header_n)
{
    h->at = at;
    h->f->header_n = header_n;
    memset(h->f->known, -1, sizeof(h->f->known));
    return head_parse(h);
}

/* Completes or continues the head. Returns 1 when it is complete and in h->f, 0 or -err. */
static ptrdiff_t head_find(struct head *h, struct stomp_scan *scan)
{
    h->f->command = scan->command;
    ptrdiff_t r = head_parse_from(h, scan->line, scan->header_n);
    if (r == 0) {
        scan->line = h->at;
        scan->header_n = h->f->header_n;
        scan->command = h->f->command;
        return 0;
    }
    if (r > 0 && scan->line != 0)
        r = head_parse_from(h, 0, 0);
    if (r < 0)
        return r;
    scan->head = (size_t)r;
    scan->seen = scan->head;
    enum err e = head_finish(h->f, h->lim, h->v, scan);
    return e == ERR_OK ? 1 : -(ptrdiff_t)e;
}

/* The body once the head is complete. Returns the bytes of the frame, 0 or -err. */
static ptrdiff_t body_find(const uint8_t *in, size_t len, const struct stomp_limits *lim, struct stomp_scan *scan)
{
    if (scan->total != 0) {
        if (len < scan->total)
            return 0;
        size_t total = (size_t)scan->total;
        return in[total - 1] == '\0' ? (ptrdiff_t)total : -ERR_MALFORMED;
    }
    if (len > scan->head && in[scan->head] != '\0' && !scan->body_ok)
        return -ERR_PROTOCOL;
    size_t body_len = len - scan->head;
    size_t window = body_len > lim->body_bytes ? (size_t)lim->body_bytes + 1 : body_len;
    size_t end = scan->head + window;
    const uint8_t *nul = end > scan->seen ? memchr(in + scan->seen, '\0', end - scan->seen) : NULL;
    if (nul != NULL)
        return nul - in + 1;
    scan->seen = end;
    return body_len > lim->body_bytes ? -ERR_TOO_BIG : 0;
}

/* Line ends between frames; a CR that may still become CR LF is left. */
static size_t eol_run(const uint8_t *in, size_t len)
{
    size_t i = 0;
    while (i < len) {
        if (in[i] == '\n')
            i++;
        else if (in[i] == '\r' && len - i >= 2 && in[i + 1] == '\n')
            i += 2;
        else
            break;
    }
    return i;
}

ptrdiff_t stomp_frame_decode(const uint8_t *in, size_t len, const struct stomp_limits *lim, enum stomp_version v,
                             struct stomp_scan *scan, struct stomp_frame *out)
{
    BUG_ON(lim->headers_n > STOMP_HEADERS_MAX || len < scan->line || len < scan->seen);
    struct head h = {.in = in, .len = len, .lim = lim, .f = out, .crlf = v >= STOMP_1_2, .v = v};
    bool parsed = false;
    out->total = scan->total;
    if (scan->head == 0) {
        if (scan->line == 0) {
            size_t eols = eol_run(in, len);
            if (eols != 0) {
                out->command = STOMP_CMD_EOL;
                out->total = eols;
                return (ptrdiff_t)eols;
            }
            if (len == 0)
                return 0;
        }
        ptrdiff_t r = head_find(&h, scan);
        out->total = scan->total;
        if (r <= 0)
            return r;
        parsed = true;
    }
    ptrdiff_t total = body_find(in, len, lim, scan);
    if (total <= 0)
        return total;
    if (!parsed) {
        BUG_ON(head_parse_from(&h, 0, 0) != (ptrdiff_t)scan->head); /* invariant 4 */
        BUG_ON(head_finish(out, lim, v, scan) != ERR_OK);
    }
    out->body = slice_make(in + scan->head, (size_t)total - 1 - scan->head);
    out->total = (uint64_t)total;
    *scan = (struct stomp_scan){0};
    return total;
}

void stomp_frame_front(const uint8_t *in, size_t len, const struct stomp_limits *lim, enum stomp_version v,
                       struct stomp_frame *out)
{
    struct head h = {.in = in, .len = len, .lim = lim, .f = out, .crlf = v >= STOMP_1_2, .v = v};
    out->command = STOMP_CMD_EOL;
    out->version = v;
    out->body = (struct slice){0};
    (void)head_parse_from(&h, 0, 0); /* stops where the frame was refused, or at the blank line */
    if (v == STOMP_1_0)
        trim_known(out);
    int encoded = out->known[STOMP_H_X_ENCODED];
    out->encoded = encoded >= 0 && slice_eq_str(out->header[encoded].value, "1");
}

ptrdiff_t stomp_unescape(enum stomp_version v, struct slice in, uint8_t *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.p[i];
        if (c == '\\' && v >= STOMP_1_1) {
            i++;
            c = i < in.len ? escape_byte(v, in.p[i]) : 0;
            if (c == 0)
                return -ERR_MALFORMED;
        }
        if (n == cap)
            return -ERR_TOO_BIG;
        out[n++] = c;
    }
    return (ptrdiff_t)n;
}

/* x-encoded:1: %XX is one byte, any other '%' stands for itself. out may be in.p; out has room for in.len. */
static size_t percent_decode(struct slice in, uint8_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        int c = stomp_percent(in, i);
        out[n++] = c < 0 ? in.p[i] : (uint8_t)c;
        i += c < 0 ? 0 : 2;
    }
    return n;
}

static enum err text_get(const struct stomp_frame *f, struct slice raw, bool escape, uint8_t *buf, size_t cap,
                         struct slice *out)
{
    bool percent = f->encoded && slice_find(raw, '%') >= 0;
    *out = raw;
    if (LIKELY(!escape && !percent))
        return ERR_OK;
    if (cap < raw.len)
        return ERR_TOO_BIG;
    if (escape) {
        ptrdiff_t n = stomp_unescape(f->version, raw, buf, cap);
        if (n < 0)
            return (enum err) - n;
        *out = slice_make(buf, (size_t)n);
    }
    if (percent)
        *out = slice_make(buf, percent_decode(*out, buf));
    return ERR_OK;
}

enum err stomp_header_name(const struct stomp_frame *f, uint32_t i, uint8_t *buf, size_t cap, struct slice *out)
{
    BUG_ON(i >= f->header_n);
    return text_get(f, f->header[i].name, f->header[i].name_escape, buf, cap, out);
}

enum err stomp_header_value(const struct stomp_frame *f, uint32_t i, uint8_t *buf, size_t cap, struct slice *out)
{
    BUG_ON(i >= f->header_n);
    return text_get(f, f->header[i].value, f->header[i].value_escape, buf, cap, out);
}

enum err stomp_frame_get(const struct stomp_frame *f, enum stomp_known h, uint8_t *buf, size_t cap, struct slice *out)
{
    int i = f->known[h];
    if (i < 0)
        return ERR_NOT_FOUND;
    return stomp_header_value(f, (uint32_t)i, buf, cap, out);
}

enum err stomp_frame_find(const struct stomp_frame *f, struct slice name, uint8_t *buf, size_t cap, struct slice *out)
{
    uint8_t name_buf[STOMP_LINE_BYTES_MAX];
    for (uint32_t i = 0; i < f->header_n; i++) {
        struct slice text = f->header[i].name;
        bool is_plain = !f->header[i].name_escape && !f->encoded;
        if (!is_plain && stomp_header_name(f, i, name_buf, sizeof name_buf, &text) != ERR_OK)
            return ERR_TOO_BIG;
        if (slice_eq(text, name))
            return stomp_header_value(f, i, buf, cap, out);
    }
    return ERR_NOT_FOUND;
}
