/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_said.c: a reader of STOMP frames for tests, written from the specifications and as short as can be.
 *
 *     COMMAND LF (name ':' value LF)* LF body NUL          a server says content-length wherever there is a body
 *
 * Rules it insists on, beyond the grammar: only CONNECTED, MESSAGE, RECEIPT and ERROR come from a server; only MESSAGE
 * and ERROR have a body; what the version must escape is escaped; no header that a frame must have is missing; those
 * that mean something stand there once.
 *
 * Cost    O(bytes) per call.
 * Thread  one.
 * Spec    STOMP 1.2 §STOMP Frames, §Value Encoding, §Body, §Server Frames, §Augmented BNF; 1.1 and 1.0 where they
 *         differ.
 */
#include "tests/support/stomp_said.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/check.h"

static ptrdiff_t wrong(struct said *s, const char *why)
{
    s->why = why;
    return -1;
}

bool said_is(const struct said *s, const char *command)
{
    return slice_eq_str(s->command, command);
}

bool said_get(const struct said *s, const char *name, struct slice *out)
{
    for (size_t i = 0; i < s->header_n; i++) {
        if (!slice_eq_str(s->header[i].name, name))
            continue;
        *out = s->header[i].value;
        return true;
    }
    return false;
}

size_t said_n(const struct said *s, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < s->header_n; i++)
        n += slice_eq_str(s->header[i].name, name);
    return n;
}

void said_free(struct said *s)
{
    free(s->room);
    *s = (struct said){0};
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static int hex(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* unescape_one: the byte an escape of this version stands for; -1: none. */
static int unescape_one(unsigned version, unsigned char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'c':
        return ':';
    case '\\':
        return '\\';
    case 'r':
        return version == 2 ? '\r' : -1;
    default:
        return -1;
    }
}

/* decoded: raw as it was meant; false: it may not be said like this. The room never moves: it has what the whole frame
 * can need. */
static bool decoded(struct said *s, struct slice raw, unsigned version, bool is_raw, struct slice *out)
{
    unsigned char *to = s->room + s->room_n;
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        int c = raw.p[i];
        bool is_escaped = version != 0 && !is_raw && (c == '\\' || c == ':');
        if (c == '\r')
            return false; /* never bare: what reads lines by CR LF must not see one that is none */
        if (is_escaped) {
            if (c != '\\' || i + 1 == raw.len)
                return false;
            c = unescape_one(version, raw.p[++i]);
            if (c < 0)
                return false;
        }
        to[n++] = (unsigned char)c;
    }
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        int c = to[i];
        if (s->is_encoded && c == '%') {
            if (n - i < 3 || hex(to[i + 1]) < 0 || hex(to[i + 2]) < 0)
                return false; /* an x-encoded frame says every '%' as %25 */
            c = hex(to[i + 1]) << 4 | hex(to[i + 2]);
            i += 2;
        }
        to[m++] = (unsigned char)c;
    }
    *out = slice_make(to, m);
    s->room_n += m;
    return true;
}

bool said_escape(unsigned version, struct slice in, bool is_name, unsigned char *out, size_t *out_n)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        unsigned char c = in.p[i];
        const char *as = c == '\n' ? "\\n" : c == ':' ? "\\c" : c == '\\' ? "\\\\" : c == '\r' ? "\\r" : NULL;
        if (c == '\0' || (version == 0 && (c == '\n' || (c == ':' && is_name))))
            return false;
        if (as == NULL || version == 0 || (version == 1 && c == '\r')) {
            out[n++] = c;
            continue;
        }
        out[n++] = (unsigned char)as[0];
        out[n++] = (unsigned char)as[1];
    }
    *out_n = n;
    return true;
}

/* ---- the frame --------------------------------------------------------------------------------------------------- */

static bool command_is_known(const struct said *s)
{
    return said_is(s, "CONNECTED") || said_is(s, "MESSAGE") || said_is(s, "RECEIPT") || said_is(s, "ERROR");
}

/* find_encoded: x-encoded:1 stands at the end of the head, and says how the rest is to be read. */
static bool find_encoded(struct slice head)
{
    static const char mark[] = "\nx-encoded:1\n";
    for (size_t i = 0; i + sizeof mark - 1 <= head.len; i++)
        if (memcmp(head.p + i, mark, sizeof mark - 1) == 0)
            return true;
    return false;
}

/* read_headers: the lines of the head behind the command. */
static bool read_headers(struct said *s, struct slice head, unsigned version)
{
    bool is_raw = said_is(s, "CONNECTED");
    while (head.len != 0) {
        ptrdiff_t end = slice_find(head, '\n'), colon = slice_find(head, ':');
        if (end < 0 || colon <= 0 || colon > end || s->header_n == SAID_HEADERS_MAX)
            return false;
        struct said_header *h = &s->header[s->header_n++];
        struct slice name = slice_make(head.p, (size_t)colon);
        struct slice value = slice_make(head.p + colon + 1, (size_t)(end - colon) - 1);
        if (!decoded(s, name, version, is_raw, &h->name) || !decoded(s, value, version, is_raw, &h->value))
            return false;
        head = slice_skip(head, (size_t)end + 1);
    }
    return true;
}

static bool read_length(const struct said *s, size_t *out)
{
    struct slice text;
    size_t n = 0;
    if (!said_get(s, "content-length", &text) || text.len == 0 || text.len > 12)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        n = n * 10 + (size_t)(text.p[i] - '0');
    }
    *out = n;
    return true;
}

/* lacks: the header that this frame must have and has not, or has twice. */
static const char *lacks(const struct said *s, unsigned version)
{
    static const struct {
        const char *command, *name, *why;
        unsigned since;
    } must[] = {
        {"CONNECTED", "version", "CONNECTED without version", 1},       /* STOMP 1.2 §CONNECTED Frame */
        {"CONNECTED", "session", "CONNECTED without session", 0},       /* STOMP 1.0 §CONNECT */
        {"RECEIPT", "receipt-id", "RECEIPT without receipt-id", 0},     /* STOMP 1.2 §RECEIPT */
        {"MESSAGE", "destination", "MESSAGE without destination", 0},   /* STOMP 1.2 §MESSAGE */
        {"MESSAGE", "message-id", "MESSAGE without message-id", 0},     /* STOMP 1.2 §MESSAGE */
        {"MESSAGE", "subscription", "MESSAGE without subscription", 1}, /* STOMP 1.2 §MESSAGE */
        {"ERROR", "message", "ERROR without message", 0},               /* STOMP 1.2 §ERROR */
        {"ERROR", "content-type", "ERROR without content-type", 0},     /* STOMP 1.2 §ERROR */
        {"ERROR", "x-code", "ERROR without x-code", 0},
    };
    static const char *const once[] = {
        "content-length", "receipt-id", "destination", "message-id", "subscription", "ack",    "x-encoded",
        "redelivered",    "retained",   "message",     "version",    "heart-beat",   "x-code", "session"};
    const size_t once_n = said_is(s, "MESSAGE") ? 9 : ARRAY_N(once); /* the other names are free in MESSAGE */
    for (size_t i = 0; i < ARRAY_N(must); i++)
        if (said_is(s, must[i].command) && version >= must[i].since && said_n(s, must[i].name) == 0)
            return must[i].why;
    for (size_t i = 0; i < once_n; i++)
        if (said_n(s, once[i]) > 1)
            return "a header that counts stands there twice";
    return NULL;
}

static ptrdiff_t read_frame(struct said *s, const unsigned char *in, size_t len, size_t head_n, unsigned version)
{
    size_t command_n = s->command.len + 1;
    s->is_encoded = find_encoded(slice_make(in, head_n));
    if (!read_headers(s, slice_make(in + command_n, head_n - command_n), version))
        return wrong(s, "a header line that is none, or an escape that is none");
    bool has_body = said_is(s, "MESSAGE") || said_is(s, "ERROR");
    size_t body_n = 0, at = head_n + 1;
    if (!has_body && said_n(s, "content-length") != 0)
        return wrong(s, "a length where there is no body");
    if (has_body && !read_length(s, &body_n)) /* STOMP 1.2 §Header content-length: what the broker promises always */
        return wrong(s, "a frame with a body has no length");
    if (len - at < body_n + 1)
        return 0;
    if (in[at + body_n] != '\0')
        return wrong(s, "no NUL behind the body");
    s->body = slice_make(in + at, body_n);
    s->why = lacks(s, version);
    if (s->why == NULL && said_is(s, "ERROR") && body_n == 0)
        s->why = "an ERROR that explains nothing";
    return s->why != NULL ? -1 : (ptrdiff_t)(at + body_n + 1);
}

ptrdiff_t said_read(struct said *s, const void *bytes, size_t len, unsigned version)
{
    const unsigned char *in = bytes;
    size_t beats = 0, head_n = 0;
    s->is_beat = s->is_encoded = false;
    s->header_n = s->room_n = 0;
    s->why = NULL;
    while (beats < len && in[beats] == '\n')
        beats++;
    s->is_beat = beats != 0;
    if (beats != 0 || len == 0)
        return (ptrdiff_t)beats;
    for (size_t i = 0; i + 1 < len && head_n == 0; i++) {
        if (in[i] == '\0')
            return wrong(s, "a NUL among the headers");
        head_n = in[i] == '\n' && in[i + 1] == '\n' ? i + 1 : 0;
    }
    if (head_n == 0)
        return 0;
    s->command = slice_make(in, (size_t)slice_find(slice_make(in, head_n), '\n'));
    if (!command_is_known(s))
        return wrong(s, "a command that no server says");
    if (s->room_cap < head_n) {
        free(s->room);
        s->room_cap = 2 * head_n;
        s->room = malloc(s->room_cap);
        if (s->room == NULL)
            abort();
    }
    return read_frame(s, in, len, head_n, version);
}
