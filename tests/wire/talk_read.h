/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_TALK_READ_H
#define WEIR_TESTS_TALK_READ_H

/* talk_read.h: what a broker says, in words (see talk.h), by a decoder of the tests' own. What it cannot read it calls
 * "broken", which no test expects. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/check.h"

struct text {
    size_t n;
    char p[2048];
};

static inline void text_put(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void text_put(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->p + t->n, sizeof t->p - t->n, fmt, args);
    va_end(args);
    t->n = MIN(t->n + (size_t)MAX(n, 0), sizeof t->p - 1);
}

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

static inline unsigned read_u8(struct reader *r)
{
    if (r->p == r->end) {
        r->bad = true;
        return 0;
    }
    return *r->p++;
}

static inline unsigned read_u16(struct reader *r)
{
    unsigned high = read_u8(r);
    return high << 8 | read_u8(r);
}

static inline size_t read_varint(struct reader *r)
{
    size_t v = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
        unsigned byte = read_u8(r);
        v |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    r->bad = true;
    return 0;
}

static inline const uint8_t *read_bytes(struct reader *r, size_t n)
{
    const uint8_t *at = r->p;
    if ((size_t)(r->end - r->p) < n) {
        r->bad = true;
        n = (size_t)(r->end - r->p);
    }
    r->p += n;
    return at;
}

/* read_props: measured, and in hex if there are any and `out` is not NULL. */
static inline void read_props(struct reader *r, struct text *out)
{
    size_t n = read_varint(r);
    const uint8_t *block = read_bytes(r, n);
    if (out == NULL || n == 0 || r->bad)
        return;
    text_put(out, " [");
    for (size_t i = 0; i < n; i++)
        text_put(out, "%02x", block[i]);
    text_put(out, "]");
}

static inline void read_publish(struct text *out, unsigned version, unsigned flags, struct reader *r)
{
    unsigned qos = flags >> 1 & 3;
    size_t topic_n = read_u16(r);
    const uint8_t *topic = read_bytes(r, topic_n);
    text_put(out, "publish%u", qos);
    if (qos != 0)
        text_put(out, " #%u", read_u16(r));
    if (!r->bad)
        text_put(out, " %.*s", (int)topic_n, (const char *)topic);
    if (version == 5)
        read_props(r, out);
    text_put(out, " %.*s%s%s", (int)(r->end - r->p), (const char *)r->p, (flags & 8) != 0 ? " dup" : "",
             (flags & 1) != 0 ? " retain" : "");
    r->p = r->end;
}

static inline void read_connack(struct text *out, struct reader *r)
{
    bool is_5 = r->end - r->p > 2; /* the broker decides which shape a refusal of an unknown version has */
    unsigned flags = read_u8(r);
    text_put(out, "connack %02x%s", read_u8(r), flags == 1 ? " present" : flags == 0 ? "" : " ?");
    if (is_5)
        read_props(r, NULL);
}

static inline void read_ack(struct text *out, const char *name, unsigned version, struct reader *r)
{
    text_put(out, "%s %u", name, read_u16(r));
    if (version == 5 && r->p != r->end) {
        unsigned code = read_u8(r);
        if (code != 0)
            text_put(out, " %02x", code);
        if (r->p != r->end)
            read_props(r, NULL);
    }
}

static inline void read_codes(struct text *out, const char *name, unsigned version, struct reader *r)
{
    text_put(out, "%s %u", name, read_u16(r));
    if (version == 5)
        read_props(r, NULL);
    while (!r->bad && r->p != r->end)
        text_put(out, " %02x", read_u8(r));
}

static inline void read_closing(struct text *out, const char *name, struct reader *r)
{
    text_put(out, "%s %02x", name, r->p != r->end ? read_u8(r) : 0);
    if (r->p != r->end)
        read_props(r, NULL);
}

/* read_packet: the body of one packet with the fixed header `first`. */
static inline void read_packet(struct text *out, unsigned version, unsigned first, struct reader *r)
{
    static const char *const acks[] = {"puback", "pubrec", "pubrel", "pubcomp"};
    if (first >> 4 == 3)
        read_publish(out, version, first & 0x0f, r);
    else if (first == 0x20)
        read_connack(out, r);
    else if (first == 0x40 || first == 0x50 || first == 0x62 || first == 0x70)
        read_ack(out, acks[(first >> 4) - 4], version, r);
    else if (first == 0x90)
        read_codes(out, "suback", version, r);
    else if (first == 0xb0)
        read_codes(out, "unsuback", version, r);
    else if (first == 0xd0)
        text_put(out, "pingresp");
    else if (first == 0xe0 && version == 5)
        read_closing(out, "disconnect", r);
    else if (first == 0xf0 && version == 5)
        read_closing(out, "auth", r);
    else
        r->bad = true;
    if (r->bad || r->p != r->end)
        text_put(out, " broken");
}

/* read_words: all of p[len], and whether the connection was closed. */
static inline void read_words(struct text *out, unsigned version, const uint8_t *p, size_t len, bool closed)
{
    struct reader r = {p, p + len, false};
    const char *between = "";
    out->p[out->n] = '\0';
    for (; r.p != r.end; between = "; ") {
        unsigned first = read_u8(&r);
        size_t n = read_varint(&r);
        struct reader body = {.p = read_bytes(&r, n)};
        body.end = r.p;
        text_put(out, "%s", between);
        if (r.bad) {
            text_put(out, "broken");
            between = "; ";
            break;
        }
        read_packet(out, version, first, &body);
    }
    if (closed)
        text_put(out, "%sclosed", between);
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

/* next_word: of *s, up to *end; a semicolon is a word. Empty at the end. */
static inline size_t next_word(const char **s, const char *end)
{
    while (*s < end && **s == ' ')
        (*s)++;
    size_t n = 0;
    if (*s < end && **s == ';')
        return 1;
    while (*s + n < end && (*s)[n] != ' ' && (*s)[n] != ';')
        n++;
    return n;
}

static inline bool word_fits(const char *want, size_t want_n, const char *got, size_t got_n)
{
    if (want_n == 1 && *want == '*')
        return got_n != 0;
    for (size_t at = 0; at <= want_n;) {
        const char *bar = at < want_n ? memchr(want + at, '|', want_n - at) : NULL;
        size_t n = bar != NULL ? (size_t)(bar - want) - at : want_n - at;
        if (n == got_n && memcmp(want + at, got, n) == 0)
            return true;
        at += n + 1;
    }
    return false;
}

static inline bool words_fit_one(const char *want, const char *want_end, const char *got)
{
    const char *got_end = got + strlen(got);
    for (;;) {
        size_t w = next_word(&want, want_end), g = next_word(&got, got_end);
        if (w == 0 || g == 0)
            return w == g;
        if (!word_fits(want, w, got, g))
            return false;
        want += w;
        got += g;
    }
}

/* words_fit: does `got` fit one of the conversations in `want`? */
static inline bool words_fit(const char *want, const char *got)
{
    for (;;) {
        const char *next = strstr(want, " or ");
        if (words_fit_one(want, next != NULL ? next : want + strlen(want), got))
            return true;
        if (next == NULL)
            return false;
        want = next + 4;
    }
}

#endif
