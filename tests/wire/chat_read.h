/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_CHAT_READ_H
#define WEIR_TESTS_CHAT_READ_H

/* chat_read.h: what a STOMP server says, in words (see chat.h), on top of the reader of tests/support/stomp_said.h. */

#include <stdlib.h>

#include "tests/support/rig.h"
#include "tests/support/stomp_said.h"
#include "tests/wire/talk_read.h"

enum { CHAT_IDS_MAX = 8 };

static inline void chat_put(struct text *out, struct slice s)
{
    if (s.len == 0)
        text_put(out, "\"\"");
    for (size_t i = 0; i < s.len && i < 200; i++) {
        unsigned char c = s.p[i];
        bool is_plain = c > ' ' && c < 0x7f && c != ';' && c != '[' && c != ']' && c != '|' && c != '*';
        if (is_plain)
            text_put(out, "%c", c);
        else
            text_put(out, "\\x%02x", c);
    }
}

/* chat_put_rest: the headers that are not in names[]. */
static inline void chat_put_rest(struct text *out, const struct said *s, const char *const *names, size_t n)
{
    bool is_first = true;
    for (size_t i = 0; i < s->header_n; i++) {
        bool is_known = false;
        for (size_t k = 0; k < n; k++)
            is_known = is_known || slice_eq_str(s->header[i].name, names[k]);
        if (is_known)
            continue;
        text_put(out, is_first ? " [" : " ");
        is_first = false;
        chat_put(out, s->header[i].name);
        text_put(out, "=");
        chat_put(out, s->header[i].value);
    }
    text_put(out, is_first ? "" : "]");
}

static inline void chat_put_message(struct text *out, const struct said *s)
{
    static const char *const known[] = {"subscription",   "destination", "message-id",       "ack",
                                        "content-length", "redelivered", "x-delivery-count", "x-encoded"};
    struct slice v;
    text_put(out, "message ");
    chat_put(out, said_get(s, "subscription", &v) ? v : SLICE("-"));
    text_put(out, " ");
    chat_put(out, said_get(s, "destination", &v) ? v : SLICE("-"));
    chat_put_rest(out, s, known, ARRAY_N(known));
    text_put(out, said_n(s, "redelivered") != 0 ? " again " : " ");
    chat_put(out, s->body);
}

static inline void chat_put_frame(struct text *out, const struct said *s)
{
    static const char *const receipt_id[] = {"receipt-id", "x-encoded"};
    struct slice v;
    if (s->is_beat) {
        text_put(out, "beat");
    } else if (said_is(s, "CONNECTED")) {
        text_put(out, "connected ");
        chat_put(out, said_get(s, "version", &v) ? v : SLICE("1.0"));
        if (said_get(s, "heart-beat", &v) && !slice_eq_str(v, "0,0")) {
            text_put(out, " beat=");
            chat_put(out, v);
        }
    } else if (said_is(s, "RECEIPT")) {
        text_put(out, "receipt ");
        chat_put(out, said_get(s, "receipt-id", &v) ? v : SLICE("-"));
        chat_put_rest(out, s, receipt_id, 2);
    } else if (said_is(s, "ERROR")) {
        text_put(out, "error ");
        chat_put(out, said_get(s, "x-code", &v) ? v : SLICE("-"));
        if (said_get(s, "receipt-id", &v)) {
            text_put(out, " for ");
            chat_put(out, v);
        }
    } else {
        chat_put_message(out, s);
    }
}

/* What a peer has read so far. */
struct chat_ear {
    size_t at;
    bool has_erred, is_broken;
    struct rig_bytes id[CHAT_IDS_MAX]; /* by which the MESSAGEs are answered */
    unsigned id_n;
};

/* chat_listen: reads on in p->out, keeps ids, and puts words. */
static inline void chat_listen(struct chat_ear *e, const struct rig_pipe *p, unsigned version, struct text *words)
{
    struct said s = {0};
    struct slice id;
    while (!e->is_broken && e->at < p->out.len) {
        ptrdiff_t n = said_read(&s, p->out.p + e->at, p->out.len - e->at, version);
        if (n == 0)
            break;
        text_put(words, "%s", words->n != 0 ? "; " : "");
        e->is_broken = n < 0 || e->has_erred; /* STOMP 1.2 §ERROR: nothing but the end comes behind it */
        if (e->is_broken)
            text_put(words, "broken (%s)", s.why != NULL ? s.why : "something behind an ERROR");
        else
            chat_put_frame(words, &s);
        e->has_erred = !s.is_beat && said_is(&s, "ERROR");
        bool is_message = n > 0 && !s.is_beat && said_is(&s, "MESSAGE") && e->id_n < CHAT_IDS_MAX;
        if (is_message && said_get(&s, version == 2 && said_n(&s, "ack") != 0 ? "ack" : "message-id", &id))
            rig_put(&e->id[e->id_n++], id.p, id.len);
        e->at += (size_t)MAX(n, (ptrdiff_t)0);
    }
    said_free(&s);
}

static inline void chat_ear_free(struct chat_ear *e)
{
    for (unsigned i = 0; i < e->id_n; i++)
        free(e->id[i].p);
}

#endif
