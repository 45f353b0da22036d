/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_ACROSS_H
#define WEIR_TESTS_ACROSS_H

/* across.h: a web app that speaks STOMP in any version, reads what it is shown and can send it back, for
 * test_across_random.c. */

#include "core/base/utf8.h"
#include "proto_stomp/stomp_adapter.h"
#include "tests/support/stomp_said.h"
#include "tests/wire/across_device.h"

struct web {
    struct rig_pipe *p;
    unsigned version;
    size_t at, from; /* read so far; where the last frame starts */
    struct said said;
    char words[300]; /* the last ERROR's body, if there was one */
};

static inline void web_says(struct web *w, const char *command, const char *headers)
{
    char frame[400];
    int n = snprintf(frame, sizeof frame, "%s\n%s\n", command, headers);
    rig_send(w->p, frame, (size_t)n + 1);
    rig_run(w->p->rig);
}

static inline void web_comes(struct rig *r, struct web *w, unsigned version)
{
    char headers[60] = "";
    *w = (struct web){.p = rig_connect(r), .version = version};
    if (version != 0)
        (void)snprintf(headers, sizeof headers, "accept-version:1.%u\nhost:h\n", version);
    web_says(w, "CONNECT", headers);
    w->at = w->p->out.len;
}

static inline void web_free(struct web *w)
{
    said_free(&w->said);
}

/* web_next: reads one frame; false: there is none, or it is none. */
static inline bool web_next(struct web *w)
{
    ptrdiff_t n = said_read(&w->said, w->p->out.p + w->at, w->p->out.len - w->at, w->version);
    if (n <= 0)
        return false;
    w->from = w->at;
    w->at += (size_t)n;
    if (said_is(&w->said, "ERROR"))
        (void)snprintf(w->words, sizeof w->words, "%.*s", (int)w->said.body.len, (const char *)w->said.body.p);
    return true;
}

/* web_with: one header more, as the first one. */
static inline void web_with(struct rig_bytes *line, const char *header)
{
    static const size_t command = sizeof("SEND\n") - 1;
    struct rig_bytes out = {0};
    rig_put(&out, line->p, command);
    rig_put(&out, header, strlen(header));
    rig_put(&out, line->p + command, line->len - command);
    free(line->p);
    *line = out;
}

static inline void web_with_qos(const struct web *w, struct rig_bytes *line)
{
    struct slice qos;
    char header[20];
    if (!said_get(&w->said, "mqtt-qos", &qos))
        return;
    (void)snprintf(header, sizeof header, "qos:%.*s\n", (int)qos.len, (const char *)qos.p);
    web_with(line, header);
}

/* web_raw_back: the last frame as SEND, line by line as it came. */
static inline void web_raw_back(const struct web *w, struct rig_bytes *out)
{
    static const size_t command = sizeof("MESSAGE\n") - 1;
    rig_put(out, "SEND\n", 5);
    rig_put(out, w->p->out.p + w->from + command, w->at - w->from - command);
    web_with_qos(w, out);
}

static inline bool put_header(struct rig_bytes *out, unsigned version, struct slice name, struct slice value)
{
    unsigned char text[2 * 4096];
    size_t n;
    if (!said_escape(version, name, true, text, &n))
        return false;
    rig_put(out, text, n);
    rig_put(out, ":", 1);
    if (!said_escape(version, value, false, text, &n))
        return false;
    rig_put(out, text, n);
    rig_put(out, "\n", 1);
    return true;
}

/* web_said_back: the last frame as SEND, as a program would that has the headers decoded. */
static inline void web_said_back(const struct web *w, unsigned version, struct rig_bytes *out)
{
    rig_put(out, "SEND\n", 5);
    for (size_t i = 0; i < w->said.header_n; i++)
        if (!slice_eq_str(w->said.header[i].name, "x-encoded"))
            BUG_ON(!put_header(out, version, w->said.header[i].name, w->said.header[i].value));
    rig_put(out, "\n", 1);
    rig_put(out, w->said.body.p, w->said.body.len);
    rig_put(out, "", 1);
    web_with_qos(w, out);
}

/* ---- notes over STOMP -------------------------------------------------------------------------------------------- */

static inline struct slice bit_slice(const struct bit *b)
{
    return slice_make(b->p, b->n);
}

static inline struct bit base64_of(const struct bit *in)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct bit out = {0};
    for (size_t i = 0; i < in->n; i += 3) {
        size_t left = in->n - i;
        unsigned v =
            (unsigned)in->p[i] << 16 | (left > 1 ? (unsigned)in->p[i + 1] << 8 : 0) | (left > 2 ? in->p[i + 2] : 0);
        char four[] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                       left > 2 ? digits[v & 63] : '=', '\0'};
        bit_add(&out, four);
    }
    return out;
}

/* dest_random: one of the spellings of a topic (docs/mapping.md, "Destinations"). */
static inline struct bit dest_random(struct rng *rng, const struct bit *topic)
{
    struct bit out = bit_of("/mqtt/");
    unsigned how = rng_below(rng, 3);
    if (how == 0 || 3 * topic->n + 16 > BIT_MAX) {
        memcpy(out.p + out.n, topic->p, topic->n);
        out.n += topic->n;
        return out;
    }
    out = bit_of("/topic/");
    for (size_t i = 0; i < topic->n; i++) {
        char text[4] = {(char)topic->p[i], '\0'};
        bool must = topic->p[i] == '.' || topic->p[i] == '%' || (topic->p[i] == '*' && rng_chance(rng, 50));
        if (topic->p[i] == '/')
            text[0] = how == 1 ? '.' : rng_chance(rng, 50) ? '/' : '.';
        else if (must || rng_chance(rng, 5))
            (void)snprintf(text, sizeof text, rng_chance(rng, 50) ? "%%%02X" : "%%%02x", topic->p[i]);
        bit_add(&out, text);
    }
    return out;
}

/* note_as_send: m as a SEND; false: this version has no way to say it. */
static inline bool note_as_send(struct rng *rng, const struct note *m, unsigned version, struct rig_bytes *out,
                                struct bit *out_dest)
{
    char number[60];
    struct bit reply = bit_of("/mqtt/"), correlation = m->correlation;
    *out_dest = dest_random(rng, &m->topic);
    memcpy(reply.p + reply.n, m->reply.p, MIN(m->reply.n, BIT_MAX - reply.n));
    reply.n += MIN(m->reply.n, BIT_MAX - reply.n);
    bool is_text = utf8_is_mqtt(correlation.p, correlation.n);
    if (!is_text)
        correlation = base64_of(&m->correlation);
    rig_put(out, "SEND\n", 5);
    bool ok = put_header(out, version, SLICE("destination"), bit_slice(out_dest));
    if (m->has_type)
        ok = ok && !(version == 0 && m->type.n != 0 && m->type.p[0] == ' ') && /* 1.0 drops leading blanks */
             put_header(out, version, SLICE("content-type"), bit_slice(&m->type));
    if (m->has_reply)
        ok = ok && put_header(out, version, SLICE("reply-to"), bit_slice(&reply));
    if (m->has_correlation)
        ok = ok && !(version == 0 && correlation.n != 0 && correlation.p[0] == ' ') &&
             put_header(out, version, SLICE("correlation-id"), bit_slice(&correlation));
    if (m->has_correlation && !is_text)
        ok = ok && put_header(out, version, SLICE("correlation-id-encoding"), SLICE("base64"));
    for (unsigned i = 0; i < m->user_n && ok; i++) {
        struct bit name = bit_of(m->user[i].is_reserved ? "user." : "");
        memcpy(name.p + name.n, m->user[i].name.p, MIN(m->user[i].name.n, BIT_MAX - name.n));
        name.n += MIN(m->user[i].name.n, BIT_MAX - name.n);
        /* 1.0: what is known somewhere loses blanks in front, whatever it is here */
        ok = !(version == 0 && m->user[i].value.n != 0 && m->user[i].value.p[0] == ' ') &&
             put_header(out, version, bit_slice(&name), bit_slice(&m->user[i].value));
    }
    (void)snprintf(number, sizeof number, "qos:%u\nexpiration:%u000\n", m->qos, m->expiry);
    rig_put(out, number, m->expiry != 0 ? strlen(number) : 6);
    (void)snprintf(number, sizeof number, "content-length:%zu\n\n", m->payload.n);
    rig_put(out, number, strlen(number));
    rig_put(out, m->payload.p, m->payload.n);
    rig_put(out, "", 1);
    return ok;
}

/* said_as_note: what a MESSAGE says; its topic only if it is spelled as /mqtt/; base64 is left as it is. */
static inline void said_as_note(const struct said *s, struct note *out)
{
    static const char *const others[] = {"destination", "message-id", "subscription", "content-length",
                                         "expiration",  "mqtt-qos",   "x-encoded",    "correlation-id-encoding"};
    struct slice v;
    memset(out, 0, sizeof *out);
    out->format = -1;
    out->payload = bit_make(s->body.p, s->body.len);
    if (said_get(s, "destination", &v) && slice_starts_with(v, SLICE("/mqtt/")))
        out->topic = bit_make(v.p + 6, v.len - 6);
    for (size_t i = 0; i < s->header_n; i++) {
        struct slice name = s->header[i].name, value = s->header[i].value;
        struct bit bit = bit_make(value.p, value.len);
        bool is_other = false;
        for (size_t k = 0; k < ARRAY_N(others); k++)
            is_other = is_other || slice_eq_str(name, others[k]);
        if (slice_eq_str(name, "content-type")) {
            out->has_type = true;
            out->type = bit;
        } else if (slice_eq_str(name, "reply-to")) {
            out->has_reply = true;
            out->reply = bit;
        } else if (slice_eq_str(name, "correlation-id")) {
            out->has_correlation = true;
            out->correlation = bit;
        } else if (!is_other) {
            BUG_ON(out->user_n == USERS_MAX);
            out->user[out->user_n].name = bit_make(name.p, name.len);
            out->user[out->user_n++].value = bit;
        }
    }
    if (said_get(s, "expiration", &v))
        for (size_t i = 0; i < v.len; i++)
            out->expiry = out->expiry * 10 + (uint32_t)(v.p[i] - '0');
}

#endif
