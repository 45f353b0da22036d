/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_CHAT_H
#define WEIR_TESTS_CHAT_H

/*
 * chat.h: one STOMP conversation made by C code, as talk.h is for MQTT: the lines a peer sends, one after the other,
 * and in words what the broker must have said when it is over.
 *
 *     struct chat t;
 *     chat_begin(&t, 2);                                   1.2; with its CONNECT
 *     chat_say(&t, "%s without %s", command, header);      what is tried
 *     chat_frame(&t, "SEND", "destination:/topic/a\nreceipt:r\n", "x");
 *     chat_probe(&t);                                      the last line is the one that is cut
 *     chat_expect(&t, "connected 1.2; receipt r or connected 1.2; error limit for r; closed");
 *     chat_hold(&all, &t);
 *
 * "@1" in a line is the id by which the first MESSAGE is answered (ack in 1.2, message-id before), "@2" the second's.
 *
 * Words of answers: `connected VERSION [beat=X,Y]` `receipt ID` `message SUB DEST [NAME=VALUE ...] [again] BODY`
 * `error X-CODE [for ID]` `beat` `closed`. Other headers of MESSAGE and RECEIPT are in brackets in their order; bytes
 * that are not letters, digits or simple punctuation are \xHH; what is empty is "". What said_read refuses, and
 * whatever follows an ERROR, is "broken". In what is expected: " or " between whole conversations, | between words, *
 * for any.
 *
 * Each conversation is held with whole lines, byte by byte, with everything in one piece (unless `reacts`), and once
 * for every place where the probe can be cut in two (CUTS_MAX of them when it is long). The broker must say the same
 * bytes each time, and all its memory must come back.
 *
 * Thread: one.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto_stomp/stomp_adapter.h"
#include "tests/support/rig.h"
#include "tests/wire/chat_read.h"

enum { CHAT_LINES_MAX = 12, CHAT_SHOWN_MAX = 12, CUTS_MAX = 120 };

struct chat {
    char what[240], expect[800];
    struct rig_bytes line[CHAT_LINES_MAX];
    unsigned line_n, probe, version;
    bool reacts;         /* a line answers what the broker says to the one before: never in one piece */
    bool is_one_of_many; /* few cuts are enough: its likes are cut elsewhere */
    struct rig_config config;
};

/* Of a whole matrix. */
struct chats {
    unsigned cases, failed;
    unsigned long runs;
};

enum chat_mode { CHAT_WHOLE, CHAT_BYTES, CHAT_ONE_PIECE, CHAT_CUT };

static const char *const CHAT_HELLO[] = {
    "CONNECT\n\n",
    "CONNECT\naccept-version:1.1\nhost:h\n\n",
    "CONNECT\naccept-version:1.2\nhost:h\n\n",
};

/* ---- making one -------------------------------------------------------------------------------------------------- */

static inline void chat_raw(struct chat *t, const void *bytes, size_t n)
{
    BUG_ON(t->line_n == CHAT_LINES_MAX);
    rig_put(&t->line[t->line_n++], bytes, n);
}

/* chat_new: without CONNECT. */
static inline void chat_new(struct chat *t, unsigned version)
{
    static const struct adapter_ops *const adapters[] = {&stomp_adapter, NULL};
    memset(t, 0, sizeof *t);
    t->version = version;
    rig_config_init(&t->config);
    t->config.adapters = adapters;
}

static inline void chat_begin(struct chat *t, unsigned version)
{
    chat_new(t, version);
    chat_raw(t, CHAT_HELLO[version], strlen(CHAT_HELLO[version]) + 1);
}

static inline void chat_say(struct chat *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void chat_say(struct chat *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(t->what, sizeof t->what, fmt, args);
    va_end(args);
    for (char *c = t->what; *c != '\0'; c++)
        *c = *c == '\n' ? ' ' : *c;
}

static inline void chat_expect(struct chat *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void chat_expect(struct chat *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(t->expect, sizeof t->expect, fmt, args);
    va_end(args);
}

/* chat_more: appends to the last line. */
static inline void chat_more(struct chat *t, const void *bytes, size_t n)
{
    rig_put(&t->line[t->line_n - 1], bytes, n);
}

static inline void chat_text(struct chat *t, const char *text)
{
    chat_more(t, text, strlen(text));
}

/* chat_frame: a new line: a whole frame; each header ends in \n. */
static inline void chat_frame(struct chat *t, const char *command, const char *headers, const char *body)
{
    chat_raw(t, command, strlen(command));
    chat_text(t, "\n");
    chat_text(t, headers);
    chat_text(t, "\n");
    chat_more(t, body, strlen(body) + 1);
}

/* chat_probe: the last line is the one this is about. */
static inline void chat_probe(struct chat *t)
{
    t->probe = t->line_n - 1;
}

/* ---- holding ----------------------------------------------------------------------------------------------------- */

/* chat_fill: a line with the ids that stand for "@1" in it. */
static inline struct rig_bytes chat_fill(const struct chat_ear *e, const struct rig_bytes *line)
{
    struct rig_bytes out = {0};
    for (size_t i = 0; i < line->len; i++) {
        bool is_id = line->p[i] == '@' && i + 1 < line->len && line->p[i + 1] > '0' && line->p[i + 1] <= '8';
        unsigned k = is_id ? (unsigned)(line->p[++i] - '1') : 0;
        if (!is_id)
            rig_put(&out, line->p + i, 1);
        else if (k < e->id_n)
            rig_put(&out, e->id[k].p, e->id[k].len);
    }
    return out;
}

static inline void chat_send(struct rig *r, struct rig_pipe *p, const struct rig_bytes *b, enum chat_mode mode,
                             size_t cut)
{
    for (size_t at = 0; at < b->len;) {
        size_t step = b->len > 2000 ? 701 : 1;
        size_t to = mode == CHAT_BYTES             ? MIN(at + step, b->len)
                    : mode == CHAT_CUT && at < cut ? MIN(cut, b->len)
                                                   : b->len;
        rig_send(p, b->p + at, to - at);
        if (mode != CHAT_ONE_PIECE)
            rig_run(r);
        at = to;
    }
}

/* chat_once: false when the broker lost memory, never came to rest, or says something else than in `first` (NULL: there
 * is none yet, and what was said becomes it). */
static inline bool chat_once(const struct chat *t, enum chat_mode mode, size_t cut, struct rig_bytes *first,
                             struct text *words)
{
    struct chat_ear ear = {0};
    struct rig *r = rig_new(&t->config);
    BUG_ON(r == NULL);
    struct rig_pipe *p = rig_connect(r);
    words->n = 0;
    words->p[0] = '\0';
    for (unsigned i = 0; i < t->line_n; i++) {
        struct rig_bytes line = chat_fill(&ear, &t->line[i]);
        chat_send(r, p, &line, mode == CHAT_CUT && i != t->probe ? CHAT_WHOLE : mode, cut);
        free(line.p);
        chat_listen(&ear, p, t->version, words);
    }
    rig_run(r);
    chat_listen(&ear, p, t->version, words);
    shard_check(r->shard);
    if (ear.at < p->out.len && !ear.is_broken)
        text_put(words, "; broken (half a frame)");
    if (rig_is_closed(p))
        text_put(words, "%sclosed", words->n != 0 ? "; " : "");
    bool ok =
        !r->is_stuck && (first->p == NULL || (first->len == p->out.len && memcmp(first->p, p->out.p, first->len) == 0));
    if (first->p == NULL && p->out.len != 0)
        rig_put(first, p->out.p, p->out.len);
    chat_ear_free(&ear);
    return rig_free(r) && ok;
}

static inline void chat_show(const struct chat *t, const char *how, const char *got)
{
    fprintf(stderr, "  STOMP 1.%u: %s (%s)\n    expected  %s\n    got       %s\n", t->version, t->what, how, t->expect,
            got);
    for (unsigned i = 0; i < t->line_n; i++) {
        fprintf(stderr, "    %s ", i == t->probe ? "probe" : "line ");
        for (size_t k = 0; k < t->line[i].len && k < 160; k++) {
            unsigned char c = t->line[i].p[k];
            fprintf(stderr, c >= ' ' && c < 0x7f ? "%c" : "\\x%02x", c);
        }
        fprintf(stderr, "%s\n", t->line[i].len > 160 ? " ..." : "");
    }
}

/* chat_hold: in every mode, then its lines are freed. A failure is printed, counted, and found again by chats_end. */
static inline void chat_hold(struct chats *all, struct chat *t)
{
    static const char *const how[] = {"whole lines", "byte by byte", "in one piece", "cut in two"};
    struct rig_bytes first = {0};
    struct text words;
    enum chat_mode mode = CHAT_WHOLE;
    bool ok = chat_once(t, mode, 0, &first, &words) && words_fit(t->expect, words.p);
    all->cases++;
    all->runs++;
    for (; ok && mode < CHAT_ONE_PIECE; all->runs++) {
        mode++;
        if (mode != CHAT_ONE_PIECE || !t->reacts)
            ok = chat_once(t, mode, 0, &first, &words);
    }
    size_t n = t->line[t->probe].len, step = n / (t->is_one_of_many ? 3 : CUTS_MAX) + 1;
    for (size_t cut = 1; ok && cut < n; cut += step, all->runs++) {
        mode = CHAT_CUT;
        ok = chat_once(t, mode, cut, &first, &words);
    }
    free(first.p);
    if (!ok && all->failed++ < CHAT_SHOWN_MAX)
        chat_show(t, how[mode], words.p);
    for (unsigned i = 0; i < t->line_n; i++)
        free(t->line[i].p);
}

/* chats_end: the end of a cmocka test. */
#define chats_end(all)                                                                                                 \
    do {                                                                                                               \
        print_message("           %u conversations, %lu runs\n", (all)->cases, (all)->runs);                           \
        if ((all)->failed != 0)                                                                                        \
            fail_msg("%u of %u conversations went wrong", (all)->failed, (all)->cases);                                \
    } while (0)

#endif
