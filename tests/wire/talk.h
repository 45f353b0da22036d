/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_TALK_H
#define WEIR_TESTS_TALK_H

/*
 * talk.h: one MQTT conversation made by C code, for matrices that are too large to be written out in a wire table: the
 * lines a peer sends, one after the other, and in words what the broker must have said when it is over.
 *
 *     struct talk t;
 *     talk_begin(&t, 5);                              the version, for reading the answers
 *     talk_say(&t, "%s in PUBLISH", name);            what is tried
 *     put_...(talk_line(&t), ...);                    line by line
 *     talk_probe(&t);                                 the last line is the one that is cut
 *     talk_expect(&t, "connack 00; puback 5 10|00; closed or connack 82; closed");
 *     talk_hold(&all, &t);
 *
 * Answers are read by a small decoder of our own, nothing of proto_mqtt: `connack CODE [present]` `publishQOS #ID TOPIC
 * [PROPERTIES] PAYLOAD [dup] [retain]` `puback ID [CODE]` (pubrec, pubrel, pubcomp) `suback ID CODE ...` `unsuback ID
 * [CODE ...]` `pingresp` `disconnect CODE` `auth CODE` `closed`; codes in hex, ids decimal. Reason strings and other
 * properties of answers are measured and left out. In what is expected: " or " between whole conversations, | between
 * words, * for any word.
 *
 * Each conversation is held with whole lines, byte by byte, with everything in one piece (unless `reacts`), and once
 * for every place where the probe can be cut in two. The broker must say the same bytes each time, and all its memory
 * must come back.
 *
 * Thread: one.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto_mqtt/mqtt_adapter.h"
#include "tests/support/rig.h"
#include "tests/wire/talk_bytes.h"
#include "tests/wire/talk_read.h"

enum { TALK_LINES_MAX = 8 };

struct talk {
    char what[200], expect[400];
    struct bytes line[TALK_LINES_MAX];
    unsigned line_n, probe, version;
    bool reacts;   /* a line answers what the broker says to the one before: never in one piece */
    bool has_auth; /* the broker knows the methods of tests/support/fake_auth.h */
};

/* Of a whole matrix. */
struct talks {
    unsigned cases, failed;
    unsigned long runs;
};

enum talk_mode { TALK_WHOLE, TALK_BYTES, TALK_ONE_PIECE, TALK_CUT };

enum { TALK_SHOWN_MAX = 12 }; /* failures of one matrix that are printed */

static inline void talk_begin(struct talk *t, unsigned version)
{
    memset(t, 0, sizeof *t);
    t->version = version;
}

static inline void talk_say(struct talk *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void talk_say(struct talk *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(t->what, sizeof t->what, fmt, args);
    va_end(args);
}

static inline void talk_expect(struct talk *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void talk_expect(struct talk *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(t->expect, sizeof t->expect, fmt, args);
    va_end(args);
}

/* talk_line: a new line, to be filled. */
static inline struct bytes *talk_line(struct talk *t)
{
    BUG_ON(t->line_n == TALK_LINES_MAX);
    return &t->line[t->line_n++];
}

/* talk_probe: the last line is the one this is about. */
static inline void talk_probe(struct talk *t)
{
    t->probe = t->line_n - 1;
}

static inline void talk_send(struct rig *r, struct rig_pipe *p, const struct bytes *b, enum talk_mode mode, size_t cut)
{
    for (size_t at = 0; at < b->n;) {
        size_t to = mode == TALK_BYTES ? at + 1 : mode == TALK_CUT && at < cut ? MIN(cut, b->n) : b->n;
        rig_send(p, b->p + at, to - at);
        if (mode != TALK_ONE_PIECE)
            rig_run(r);
        at = to;
    }
    if (mode == TALK_WHOLE && b->n == 0)
        rig_run(r);
}

/* talk_once: false when the broker lost memory or never came to rest; what it said, and " closed" as a last byte. */
static inline bool talk_once(const struct talk *t, enum talk_mode mode, size_t cut, struct rig_bytes *out, bool *closed)
{
    static const struct adapter_ops *const adapters[] = {&mqtt_adapter, NULL};
    struct rig_config config;
    rig_config_init(&config);
    config.adapters = adapters;
    config.has_auth = t->has_auth;
    struct rig *r = rig_new(&config);
    BUG_ON(r == NULL);
    struct rig_pipe *p = rig_connect(r);
    for (unsigned i = 0; i < t->line_n; i++)
        talk_send(r, p, &t->line[i], mode == TALK_CUT && i != t->probe ? TALK_WHOLE : mode, cut);
    rig_run(r);
    shard_check(r->shard);
    bool ok = !r->is_stuck;
    *closed = rig_is_closed(p);
    out->len = 0;
    rig_put(out, p->out.p, p->out.len);
    return rig_free(r) && ok;
}

static inline void talk_show(const struct talk *t, const char *how, const char *got)
{
    fprintf(stderr, "  MQTT %s: %s\n    %s\n    expected  %s\n    got       %s\n", version_name(t->version), t->what,
            how, t->expect, got);
    for (unsigned i = 0; i < t->line_n; i++) {
        fprintf(stderr, "    %s", i == t->probe ? "probe" : "line ");
        for (size_t k = 0; k < t->line[i].n && k < 80; k++)
            fprintf(stderr, " %02x", t->line[i].p[k]);
        fprintf(stderr, "%s\n", t->line[i].n > 80 ? " ..." : "");
    }
}

/* talk_try: in one mode: the words of what was said, and that it is what was said in `first` (NULL: this is it). */
static inline bool talk_try(const struct talk *t, enum talk_mode mode, size_t cut, struct rig_bytes *first,
                            bool *first_closed, struct text *words)
{
    static const char *const how[] = {"whole lines", "byte by byte", "in one piece", "cut in two"};
    struct rig_bytes out = {0};
    bool closed = false, is_first = mode == TALK_WHOLE;
    bool ok = talk_once(t, mode, cut, &out, &closed);
    words->n = 0;
    read_words(words, t->version, out.p, out.len, closed);
    if (!ok)
        text_put(words, " (memory lost, or no rest)");
    if (is_first) {
        *first = out;
        *first_closed = closed;
        ok = ok && words_fit(t->expect, words->p);
    } else {
        ok = ok && out.len == first->len && (out.len == 0 || memcmp(out.p, first->p, out.len) == 0) &&
             closed == *first_closed;
        free(out.p);
    }
    if (!ok && mode == TALK_CUT)
        text_put(words, " (at %zu)", cut);
    if (!ok)
        text_put(words, " (%s)", how[mode]);
    return ok;
}

/* talk_hold: in every mode. A failure is printed, counted, and found again by talks_end. */
static inline void talk_hold(struct talks *all, const struct talk *t)
{
    struct rig_bytes first = {0};
    bool first_closed = false;
    struct text words;
    all->cases++;
    bool ok = true;
    for (enum talk_mode mode = TALK_WHOLE; ok && mode <= TALK_ONE_PIECE; mode++) {
        if (mode == TALK_ONE_PIECE && t->reacts)
            continue;
        ok = talk_try(t, mode, 0, &first, &first_closed, &words);
        all->runs++;
    }
    for (size_t cut = 1; ok && cut < t->line[t->probe].n; cut++, all->runs++)
        ok = talk_try(t, TALK_CUT, cut, &first, &first_closed, &words);
    free(first.p);
    if (!ok && all->failed++ < TALK_SHOWN_MAX)
        talk_show(t, "what the broker said:", words.p);
}

/* talks_end: the end of a cmocka test. */
#define talks_end(all)                                                                                                 \
    do {                                                                                                               \
        print_message("           %u conversations, %lu runs\n", (all)->cases, (all)->runs);                           \
        if ((all)->failed != 0)                                                                                        \
            fail_msg("%u of %u conversations went wrong", (all)->failed, (all)->cases);                                \
    } while (0)

#endif
