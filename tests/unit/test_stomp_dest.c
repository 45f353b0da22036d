/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_dest.c: what a destination means, in each dialect, and the law that what was rendered is read back.
 * The tables are the document (docs/mapping.md, "Destinations"). Filters are written as their tokens: `a`, ONE, MANY.
 * Every destination is read from memory that ends at a forbidden page, into a buffer that does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/base/utf8.h"
#include "proto_stomp/stomp_dest.h"
#include "tests/support/guard.h"

#define ROW_N(rows) (sizeof(rows) / sizeof((rows)[0]))
#define W(literal)                                                                                                     \
    {                                                                                                                  \
        (const uint8_t *)(literal), sizeof(literal) - 1                                                                \
    }

#define MERGED 1u
#define AMQP   2u
#define MQTT   4u
#define ALL    7u

static const char *const why_names[] = {"NONE", "EMPTY", "UNKNOWN", "WILDCARD", "LEVEL",
                                        "UTF8", "SHARE", "KIND",    "TOO_BIG"};

static void guard_drop(struct slice s)
{
    guard_free((void *)(uintptr_t)s.p);
}

static void test_kinds(void **state)
{
    static const struct {
        struct slice text;
        enum stomp_dest_kind kind;
        enum stomp_dest_why why;
        struct slice name, key; /* decoded as opaque strings */
        bool has_key;
    } rows[] = {
        {W("/topic/a.b"), STOMP_DEST_TOPIC, STOMP_WHY_NONE, W(""), W("a.b"), true},
        {W("/topic//"), STOMP_DEST_TOPIC, STOMP_WHY_NONE, W(""), W("/"), true},
        {W("/mqtt/a/b"), STOMP_DEST_MQTT, STOMP_WHY_NONE, W(""), W("a/b"), true},
        {W("/queue/a.b/c%2Fd"), STOMP_DEST_QUEUE, STOMP_WHY_NONE, W("a.b/c/d"), W(""), false},
        {W("/queue/100%"), STOMP_DEST_QUEUE, STOMP_WHY_NONE, W("100%"), W(""), false},
        {W("/queue/%25%2525%zz"), STOMP_DEST_QUEUE, STOMP_WHY_NONE, W("%%25%zz"), W(""), false},
        {W("orders"), STOMP_DEST_QUEUE, STOMP_WHY_NONE, W("orders"), W(""), false},
        {W("topic/a"), STOMP_DEST_QUEUE, STOMP_WHY_NONE, W("topic/a"), W(""), false},
        {W("/exchange/logs"), STOMP_DEST_EXCHANGE, STOMP_WHY_NONE, W("logs"), W(""), false},
        {W("/exchange/logs/"), STOMP_DEST_EXCHANGE, STOMP_WHY_NONE, W("logs"), W(""), true},
        {W("/exchange/a%2Fb/k.1/k.2%41"), STOMP_DEST_EXCHANGE, STOMP_WHY_NONE, W("a/b"), W("k.1/k.2A"), true},
        {W("/amq/queue/amq.gen-1"), STOMP_DEST_AMQ_QUEUE, STOMP_WHY_NONE, W("amq.gen-1"), W(""), false},
        {W("/temp-queue/x"), STOMP_DEST_TEMP_QUEUE, STOMP_WHY_NONE, W("x"), W(""), false},
        {W("/reply-queue/amq.gen-1"), STOMP_DEST_REPLY_QUEUE, STOMP_WHY_NONE, W("amq.gen-1"), W(""), false},
        {W("/dsub/7"), STOMP_DEST_DSUB, STOMP_WHY_NONE, W("7"), W(""), false},
        {W("/dsub/a%2Fb/c"), STOMP_DEST_DSUB, STOMP_WHY_NONE, W("a/b/c"), W(""), false},
        {W("/manage/purge"), STOMP_DEST_MANAGE, STOMP_WHY_NONE, W("purge"), W(""), false},
        {W("/manage/"), 0, STOMP_WHY_EMPTY, W(""), W(""), false},
        {W("/manage"), 0, STOMP_WHY_UNKNOWN, W(""), W(""), false},
        {W("/temp-queue/"), 0, STOMP_WHY_EMPTY, W(""), W(""), false},
        {W("/dsub/"), 0, STOMP_WHY_EMPTY, W(""), W(""), false},
        {W(""), 0, STOMP_WHY_EMPTY, W(""), W(""), false},
        {W("/topic/"), 0, STOMP_WHY_EMPTY, W(""), W(""), false},
        {W("/mqtt/"), 0, STOMP_WHY_EMPTY, W(""), W(""), false},
        {W("/queue/"), 0, STOMP_WHY_EMPTY, W(""), W(""), false},
        {W("/exchange/"), 0, STOMP_WHY_EMPTY, W(""), W(""), false},
        {W("/exchange//key"), 0, STOMP_WHY_EMPTY, W(""), W(""), false},
        {W("/topic"), 0, STOMP_WHY_UNKNOWN, W(""), W(""), false},
        {W("/Topic/a"), 0, STOMP_WHY_UNKNOWN, W(""), W(""), false},
        {W("/amq/a"), 0, STOMP_WHY_UNKNOWN, W(""), W(""), false},
        {W("/"), 0, STOMP_WHY_UNKNOWN, W(""), W(""), false},
        {W("//queue/a"), 0, STOMP_WHY_UNKNOWN, W(""), W(""), false},
        {W("/queue/a%00"), STOMP_DEST_QUEUE, STOMP_WHY_UTF8, W(""), W(""), false},
        {W("/queue/a\xff"), STOMP_DEST_QUEUE, STOMP_WHY_UTF8, W(""), W(""), false},
        {W("/queue/a%c3"), STOMP_DEST_QUEUE, STOMP_WHY_UTF8, W(""), W(""), false},
    };
    (void)state;
    for (size_t i = 0; i < ROW_N(rows); i++) {
        struct slice text = guard_slice(rows[i].text), name = SLICE(""), key = SLICE("");
        uint8_t *buf = guard_room(text.len), *key_buf = guard_room(text.len);
        struct stomp_dest d;
        enum err e = stomp_dest_parse(text, &d);
        if (e == ERR_OK && d.name.len != 0)
            e = stomp_dest_name(&d, buf, d.name.len, &name);
        if (e == ERR_OK)
            e = stomp_dest_key(&d, key_buf, d.key.len, &key);
        if (d.why != rows[i].why || e != (rows[i].why == STOMP_WHY_NONE ? ERR_OK : ERR_INVALID))
            fail_msg("%s: %s, %s", (const char *)rows[i].text.p, err_name(e), why_names[d.why]);
        if (e == ERR_OK) {
            assert_int_equal(d.kind, rows[i].kind);
            assert_int_equal(d.has_key, rows[i].has_key);
            assert_true(slice_eq(name, rows[i].name));
            assert_true(slice_eq(key, rows[i].key));
        }
        guard_drop(text);
        guard_free(buf);
        guard_free(key_buf);
    }
}

struct topic_row {
    unsigned dialects;
    struct slice text;
    const char *topic; /* NULL: refused, because of */
    enum stomp_dest_why why;
};

/* SEND: the topic in MQTT spelling. */
static void test_topics(void **state)
{
    static const struct topic_row rows[] = {
        {ALL, W("/topic/a"), "a", 0},
        {MERGED, W("/topic/a.b/c"), "a/b/c", 0},
        {MQTT, W("/topic/a.b/c"), "a.b/c", 0},
        {AMQP, W("/topic/a.b"), "a/b", 0},
        {AMQP, W("/topic/a.b/c"), NULL, STOMP_WHY_LEVEL},
        /* empty levels, leading and trailing separators */
        {MERGED | MQTT, W("/topic//a//b"), "/a//b", 0},
        {MERGED | AMQP, W("/topic/.a..b"), "/a//b", 0},
        {MERGED | AMQP, W("/topic/a."), "a/", 0},
        {MERGED | MQTT, W("/topic//"), "/", 0},
        /* %XX: decoded after splitting, a byte like any other */
        {ALL, W("/topic/a%2Eb"), "a.b", 0},
        {ALL, W("/topic/a%2eb"), "a.b", 0},
        {ALL, W("/topic/%2A"), "*", 0},
        {ALL, W("/topic/%3E"), ">", 0},
        {ALL, W("/topic/%25"), "%", 0},
        {ALL, W("/topic/%2541"), "%41", 0},
        {ALL, W("/topic/50%"), "50%", 0},
        {ALL, W("/topic/50%4"), "50%4", 0},
        {ALL, W("/topic/%G1%1G"), "%G1%1G", 0},
        {MERGED | AMQP, W("/topic/%4.1"), "%4/1", 0},
        {ALL, W("/topic/a%2Fb"), NULL, STOMP_WHY_LEVEL},
        {ALL, W("/topic/a%2B"), NULL, STOMP_WHY_LEVEL},
        {ALL, W("/topic/%23"), NULL, STOMP_WHY_LEVEL},
        {ALL, W("/topic/a%00"), NULL, STOMP_WHY_LEVEL},
        {ALL, W("/topic/a\0b"), NULL, STOMP_WHY_LEVEL},
        /* wildcards are not for SEND: '*', '**' and '>' are literals, '+' and '#' no topic */
        {MERGED | AMQP, W("/topic/*.**.>"), "*/**/>", 0},
        {ALL, W("/topic/a*b>"), "a*b>", 0},
        {MERGED | AMQP, W("/topic/a.+"), NULL, STOMP_WHY_WILDCARD},
        {MERGED | AMQP, W("/topic/#.a"), NULL, STOMP_WHY_WILDCARD},
        {ALL, W("/topic/a+"), NULL, STOMP_WHY_LEVEL},
        {ALL, W("/topic/a#"), NULL, STOMP_WHY_LEVEL},
        /* other bytes survive */
        {ALL, W("/topic/$SYS"), "$SYS", 0},
        {ALL, W("/topic/ a:b\\ "), " a:b\\ ", 0},
        {ALL, W("/topic/\xc3\xa4%c3%a4"), "\xc3\xa4\xc3\xa4", 0},
        {ALL, W("/topic/\xc3"), NULL, STOMP_WHY_UTF8},
        {ALL, W("/topic/%ff"), NULL, STOMP_WHY_UTF8},
        /* MQTT's own syntax: nothing is decoded, nothing but MQTT's rules applies [MQTT-4.7.1-1] [MQTT-1.5.4-1] */
        {ALL, W("/mqtt//a//b.c%2F*/"), "/a//b.c%2F*/", 0},
        {ALL, W("/mqtt/a/+"), NULL, STOMP_WHY_WILDCARD},
        {ALL, W("/mqtt/#"), NULL, STOMP_WHY_WILDCARD},
        {ALL, W("/mqtt/a#"), NULL, STOMP_WHY_WILDCARD},
        {ALL, W("/mqtt/a\0b"), NULL, STOMP_WHY_UTF8},
        {ALL, W("/mqtt/\xed\xa0\x80"), NULL, STOMP_WHY_UTF8},
        /* keys of topic exchanges */
        {MERGED | AMQP, W("/exchange/amq.topic/a.b"), "a/b", 0},
        {MERGED | MQTT, W("/exchange/amq.topic/a/b"), "a/b", 0},
        {ALL, W("/exchange/amq.topic/"), NULL, STOMP_WHY_EMPTY},
        {ALL, W("/exchange/amq.topic"), NULL, STOMP_WHY_KIND},
        {ALL, W("/queue/a"), NULL, STOMP_WHY_KIND},
    };
    (void)state;
    for (size_t i = 0; i < ROW_N(rows); i++) {
        for (unsigned dialect = 0; dialect < 3; dialect++) {
            if ((rows[i].dialects & 1u << dialect) == 0)
                continue;
            struct slice text = guard_slice(rows[i].text), topic;
            struct stomp_dest d;
            assert_int_equal(stomp_dest_parse(text, &d), ERR_OK);
            uint8_t *buf = guard_room(d.key.len);
            enum err e = stomp_dest_topic(&d, (enum stomp_dialect)dialect, buf, d.key.len, &topic);
            bool right = rows[i].topic == NULL ? e == ERR_INVALID && d.why == rows[i].why
                                               : e == ERR_OK && slice_eq_str(topic, rows[i].topic);
            if (!right)
                fail_msg("%s, dialect %u: %s, %s", (const char *)rows[i].text.p, dialect, err_name(e),
                         why_names[d.why]);
            guard_drop(text);
            guard_free(buf);
        }
    }
}

/* "a ONE MANY"; a literal that is empty is written ''. */
static void filter_text(const struct filter *f, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < f->n; i++) {
        struct slice s = f->tok[i].bytes;
        if (f->tok[i].kind == TOKEN_ONE)
            s = SLICE("ONE");
        else if (f->tok[i].kind == TOKEN_MANY)
            s = SLICE("MANY");
        else if (s.len == 0)
            s = SLICE("''");
        n += (size_t)snprintf(out + n, cap - n, "%s" SLICE_FMT, i == 0 ? "" : " ", SLICE_ARG(s));
        assert_true(n < cap);
    }
}

static void test_filters(void **state)
{
    static const struct {
        unsigned dialects;
        struct slice text;
        const char *tokens, *share;
        enum stomp_dest_why why;
    } rows[] = {
        {ALL, W("/topic/a"), "a", "", 0},
        {MERGED, W("/topic/a.b/c"), "a b c", "", 0},
        {MQTT, W("/topic/a.b/c"), "a.b c", "", 0},
        {MERGED | AMQP, W("/topic/*.+.**.#"), "ONE ONE MANY MANY", "", 0},
        {MERGED | MQTT, W("/topic/*/+/**/#"), "ONE ONE MANY MANY", "", 0},
        {MERGED | AMQP, W("/topic/#.a.#"), "MANY a MANY", "", 0},
        {MERGED | AMQP, W("/topic/a.>"), "a MANY", "", 0},
        {MERGED | AMQP, W("/topic/>.a"), "> a", "", 0},
        {ALL, W("/topic/>"), "MANY", "", 0},
        /* whole tokens only */
        {ALL, W("/topic/a*"), "a*", "", 0},
        {ALL, W("/topic/***"), "***", "", 0},
        {ALL, W("/topic/>>"), ">>", "", 0},
        {ALL, W("/topic/a+"), NULL, "", STOMP_WHY_LEVEL},
        {ALL, W("/topic/##"), NULL, "", STOMP_WHY_LEVEL},
        /* %XX makes literals */
        {MERGED | AMQP, W("/topic/%2A.%2a%2A.%3E"), "* ** >", "", 0},
        {ALL, W("/topic/%2Ea%25"), ".a%", "", 0},
        {ALL, W("/topic/%2B"), NULL, "", STOMP_WHY_LEVEL},
        {ALL, W("/topic/%23"), NULL, "", STOMP_WHY_LEVEL},
        {ALL, W("/topic/a%2Fb"), NULL, "", STOMP_WHY_LEVEL},
        {AMQP, W("/topic/a/b"), NULL, "", STOMP_WHY_LEVEL},
        {MERGED | AMQP, W("/topic/.a..*."), "'' a '' ONE ''", "", 0},
        {MERGED | MQTT, W("/topic//"), "'' ''", "", 0},
        {ALL, W("/topic/$SYS"), "$SYS", "", 0},
        {ALL, W("/topic/\xff"), NULL, "", STOMP_WHY_UTF8},
        {MERGED | MQTT, W("/topic/$share/g/a"), "$share g a", "", 0},
        /* MQTT's own */
        {ALL, W("/mqtt/a/+/#"), "a ONE MANY", "", 0},
        {ALL, W("/mqtt/a.b/*/**/>/%2A"), "a.b * ** > %2A", "", 0},
        {ALL, W("/mqtt//"), "'' ''", "", 0},
        {ALL, W("/mqtt/$SYS/#"), "$SYS MANY", "", 0},
        {ALL, W("/mqtt/#/a"), NULL, "", STOMP_WHY_WILDCARD},  /* [MQTT-4.7.1-1] */
        {ALL, W("/mqtt/a+/b"), NULL, "", STOMP_WHY_WILDCARD}, /* [MQTT-4.7.1-2] */
        {ALL, W("/mqtt/a/b#"), NULL, "", STOMP_WHY_WILDCARD}, /* [MQTT-4.7.1-1] */
        {ALL, W("/mqtt/\xc0\x80"), NULL, "", STOMP_WHY_UTF8}, /* [MQTT-1.5.4-1] */
        {ALL, W("/mqtt/$share/g/a/#"), "a MANY", "g", 0},
        {ALL, W("/mqtt/$share/g//"), "'' ''", "g", 0},
        {ALL, W("/mqtt/$share"), "$share", "", 0},
        {ALL, W("/mqtt/$share/"), NULL, "", STOMP_WHY_SHARE},  /* [MQTT-4.8.2-1] */
        {ALL, W("/mqtt/$share/g"), NULL, "", STOMP_WHY_SHARE}, /* [MQTT-4.8.2-2] */
        {ALL, W("/mqtt/$share/g/"), NULL, "", STOMP_WHY_SHARE},
        {ALL, W("/mqtt/$share//a"), NULL, "", STOMP_WHY_SHARE},   /* [MQTT-4.8.2-1] */
        {ALL, W("/mqtt/$share/g+/a"), NULL, "", STOMP_WHY_SHARE}, /* [MQTT-4.8.2-2] */
        {ALL, W("/mqtt/$share/#/a"), NULL, "", STOMP_WHY_SHARE},  /* [MQTT-4.8.2-2] */
        {MERGED | AMQP, W("/exchange/amq.topic/a.*"), "a ONE", "", 0},
        {ALL, W("/exchange/amq.topic/"), NULL, "", STOMP_WHY_EMPTY},
        {ALL, W("/exchange/amq.topic"), NULL, "", STOMP_WHY_KIND},
        {ALL, W("/dsub/1"), NULL, "", STOMP_WHY_KIND},
    };
    (void)state;
    for (size_t i = 0; i < ROW_N(rows); i++) {
        for (unsigned dialect = 0; dialect < 3; dialect++) {
            if ((rows[i].dialects & 1u << dialect) == 0)
                continue;
            struct slice text = guard_slice(rows[i].text);
            struct stomp_dest d;
            struct stomp_filter f;
            struct token tok[TOPIC_LEVELS_MAX];
            char tokens[200];
            assert_int_equal(stomp_dest_parse(text, &d), ERR_OK);
            uint8_t *buf = guard_room(d.key.len);
            enum err e = stomp_dest_filter(&d, (enum stomp_dialect)dialect, tok, buf, d.key.len, &f);
            bool right = e == ERR_INVALID && rows[i].tokens == NULL && d.why == rows[i].why;
            if (e == ERR_OK && rows[i].tokens != NULL) {
                filter_text(&f.filter, tokens, sizeof(tokens));
                right = strcmp(tokens, rows[i].tokens) == 0 && slice_eq_str(f.share, rows[i].share);
            }
            if (!right)
                fail_msg("%s, dialect %u: %s, %s", (const char *)rows[i].text.p, dialect, err_name(e),
                         why_names[d.why]);
            guard_drop(text);
            guard_free(buf);
        }
    }
}

static void test_size_limits(void **state)
{
    static uint8_t text[7 + 3 * (TOPIC_BYTES_MAX + 1)], buf[sizeof(text)];
    struct stomp_dest d;
    struct slice topic;
    struct stomp_filter f;
    struct token tok[TOPIC_LEVELS_MAX];
    (void)state;
    memcpy(text, "/topic/", 7);
    memset(text + 7, 'a', sizeof(text) - 7);
    assert_int_equal(stomp_dest_parse(slice_make(text, 7 + TOPIC_BYTES_MAX), &d), ERR_OK);
    assert_int_equal(stomp_dest_topic(&d, 0, buf, sizeof(buf), &topic), ERR_OK);
    assert_int_equal(stomp_dest_topic(&d, 0, buf, TOPIC_BYTES_MAX - 1, &topic), ERR_TOO_BIG);
    assert_int_equal(stomp_dest_filter(&d, 0, tok, buf, sizeof(buf), &f), ERR_OK);
    assert_int_equal(stomp_dest_filter(&d, 0, tok, buf, TOPIC_BYTES_MAX - 1, &f), ERR_TOO_BIG);
    assert_int_equal(d.why, STOMP_WHY_TOO_BIG);
    assert_int_equal(stomp_dest_parse(slice_make(text, 8 + TOPIC_BYTES_MAX), &d), ERR_OK);
    assert_int_equal(stomp_dest_topic(&d, 0, buf, sizeof(buf), &topic), ERR_TOO_BIG);
    assert_int_equal(stomp_dest_filter(&d, 0, tok, buf, sizeof(buf), &f), ERR_TOO_BIG);
    /* %41 counts as one byte in a topic */
    for (size_t i = 7; i + 3 <= sizeof(text); i += 3)
        memcpy(text + i, "%41", 3);
    assert_int_equal(stomp_dest_parse(slice_make(text, 7 + 3 * TOPIC_BYTES_MAX), &d), ERR_OK);
    assert_int_equal(stomp_dest_topic(&d, 0, buf, sizeof(buf), &topic), ERR_OK);
    assert_int_equal(topic.len, TOPIC_BYTES_MAX);

    memset(text + 7, '/', TOPIC_LEVELS_MAX);
    for (unsigned mqtt = 0; mqtt < 2; mqtt++) {
        uint8_t *start = text + mqtt;
        memcpy(start, mqtt ? "/mqtt/" : "/topic/", 7 - mqtt);
        assert_int_equal(stomp_dest_parse(slice_make(start, 7 - mqtt + TOPIC_LEVELS_MAX - 1), &d), ERR_OK);
        assert_int_equal(stomp_dest_filter(&d, 0, tok, buf, sizeof(buf), &f), ERR_OK);
        assert_int_equal(f.filter.n, TOPIC_LEVELS_MAX);
        assert_int_equal(stomp_dest_parse(slice_make(start, 7 - mqtt + TOPIC_LEVELS_MAX), &d), ERR_OK);
        assert_int_equal(stomp_dest_filter(&d, 0, tok, buf, sizeof(buf), &f), ERR_TOO_BIG);
    }
}

static void test_render(void **state)
{
    static const struct {
        const char *topic, *slash, *dot, *mqtt;
    } rows[] = {
        {"a/b", "/topic/a/b", "/topic/a.b", "/mqtt/a/b"},
        {"/a//b", "/topic//a//b", "/topic/.a..b", "/mqtt//a//b"},
        {"/", "/topic//", "/topic/.", "/mqtt//"},
        {"a.b/c", "/topic/a%2Eb/c", "/topic/a%2Eb.c", "/mqtt/a.b/c"},
        {"*/**/>/***/a*", "/topic/%2A/%2A%2A/%3E/***/a*", "/topic/%2A.%2A%2A.%3E.***.a*", "/mqtt/*/**/>/***/a*"},
        {"100%/%41/%4/%", "/topic/100%/%2541/%4/%", "/topic/100%.%2541.%4.%", "/mqtt/100%/%41/%4/%"},
        {"$SYS/x", "/topic/$SYS/x", "/topic/$SYS.x", "/mqtt/$SYS/x"},
        {"\xc3\xa4 :\\", "/topic/\xc3\xa4 :\\", "/topic/\xc3\xa4 :\\", "/mqtt/\xc3\xa4 :\\"},
    };
    (void)state;
    for (size_t i = 0; i < ROW_N(rows); i++) {
        const char *expected[] = {rows[i].slash, rows[i].dot, rows[i].mqtt};
        for (unsigned style = STOMP_STYLE_SLASH; style <= STOMP_STYLE_MQTT; style++) {
            size_t need = strlen(expected[style]);
            for (size_t cap = 0; cap <= need; cap++) {
                uint8_t *out = guard_room(cap);
                ptrdiff_t n =
                    stomp_dest_render_topic((enum stomp_dest_style)style, slice_from_str(rows[i].topic), out, cap);
                assert_int_equal(n, cap < need ? -ERR_TOO_BIG : (ptrdiff_t)need);
                if (n > 0)
                    assert_memory_equal(out, expected[style], need);
                guard_free(out);
            }
        }
    }
}

static void test_style(void **state)
{
    static const struct {
        const char *text;
        enum stomp_dest_style merged, amqp, mqtt;
    } rows[] = {
        {"/topic/a.b", STOMP_STYLE_DOT, STOMP_STYLE_DOT, STOMP_STYLE_SLASH},
        {"/topic/a/b", STOMP_STYLE_SLASH, STOMP_STYLE_DOT, STOMP_STYLE_SLASH},
        {"/topic/a.b/*", STOMP_STYLE_SLASH, STOMP_STYLE_DOT, STOMP_STYLE_SLASH},
        {"/mqtt/a/b", STOMP_STYLE_MQTT, STOMP_STYLE_MQTT, STOMP_STYLE_MQTT},
        {"/exchange/amq.topic/a/b", STOMP_STYLE_SLASH, STOMP_STYLE_DOT, STOMP_STYLE_SLASH},
        {"/queue/a/b", STOMP_STYLE_DOT, STOMP_STYLE_DOT, STOMP_STYLE_SLASH},
    };
    (void)state;
    for (size_t i = 0; i < ROW_N(rows); i++) {
        struct stomp_dest d;
        assert_int_equal(stomp_dest_parse(slice_from_str(rows[i].text), &d), ERR_OK);
        assert_int_equal(stomp_dest_style(&d, STOMP_DIALECT_MERGED), rows[i].merged);
        assert_int_equal(stomp_dest_style(&d, STOMP_DIALECT_AMQP), rows[i].amqp);
        assert_int_equal(stomp_dest_style(&d, STOMP_DIALECT_MQTT), rows[i].mqtt);
    }
}

/* Valid UTF-8 with a taste for the bytes that mean something; `topic`: without '+' and '#'. */
static size_t random_text(struct rng *rng, char *p, size_t max, bool topic)
{
    static const char *const pieces[] = {".",
                                         "/",
                                         "*",
                                         "**",
                                         ">",
                                         "%",
                                         "%2",
                                         "%2E",
                                         "%41",
                                         "%25",
                                         "$",
                                         "a",
                                         "4",
                                         "F",
                                         "\xc3\xa4",
                                         "\xe2\x82\xac",
                                         "\xf0\x9f\x98\x80",
                                         " ",
                                         ":",
                                         "\\",
                                         "\n",
                                         "\r",
                                         "\x7f",
                                         "+",
                                         "#"};
    size_t n = 0;
    for (size_t want = 1 + rng_below(rng, (uint32_t)max); n < want;) {
        const char *piece = pieces[rng_below(rng, ROW_N(pieces) - (topic ? 2 : 0))];
        memcpy(p + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return n;
}

/* Reads text back as SEND and SUBSCRIBE; both must mean exactly `topic`. */
static void check_reads_back(struct slice text, enum stomp_dialect dialect, struct slice topic)
{
    struct stomp_dest d;
    struct slice got;
    struct stomp_filter f;
    struct token tok[TOPIC_LEVELS_MAX];
    uint8_t buf[400];
    assert_int_equal(stomp_dest_parse(text, &d), ERR_OK);
    if (stomp_dest_topic(&d, dialect, buf, sizeof(buf), &got) != ERR_OK || !slice_eq(got, topic))
        fail_msg("\"" SLICE_FMT "\" became \"" SLICE_FMT "\"", SLICE_ARG(topic), SLICE_ARG(text));
    if (d.kind == STOMP_DEST_MQTT && slice_starts_with(topic, SLICE("$share/")))
        return; /* a group there, by MQTT's rules */
    assert_int_equal(stomp_dest_filter(&d, dialect, tok, buf, sizeof(buf), &f), ERR_OK);
    uint8_t joined[400];
    size_t n = 0;
    for (uint32_t i = 0; i < f.filter.n; i++) {
        assert_int_equal(tok[i].kind, TOKEN_LITERAL);
        if (i != 0)
            joined[n++] = '/';
        if (tok[i].bytes.len != 0)
            memcpy(joined + n, tok[i].bytes.p, tok[i].bytes.len);
        n += tok[i].bytes.len;
    }
    assert_true(slice_eq(slice_make(joined, n), topic));
}

/* parse(render(t)) == t for every style that fits a dialect. */
static void test_topic_law(void **state)
{
    static const struct {
        enum stomp_dialect dialect;
        enum stomp_dest_style style;
    } fits[] = {
        {STOMP_DIALECT_MERGED, STOMP_STYLE_SLASH}, {STOMP_DIALECT_MERGED, STOMP_STYLE_DOT},
        {STOMP_DIALECT_MERGED, STOMP_STYLE_MQTT},  {STOMP_DIALECT_AMQP, STOMP_STYLE_DOT},
        {STOMP_DIALECT_AMQP, STOMP_STYLE_MQTT},    {STOMP_DIALECT_MQTT, STOMP_STYLE_SLASH},
        {STOMP_DIALECT_MQTT, STOMP_STYLE_MQTT},
    };
    struct rng rng;
    (void)state;
    rng_init(&rng, 5);
    for (unsigned round = 0; round < 30000; round++) {
        char text[120];
        size_t len = random_text(&rng, text, 100, true);
        struct slice topic = slice_make(text, len);
        assert_true(utf8_is_mqtt(topic.p, topic.len));
        for (size_t i = 0; i < ROW_N(fits); i++) {
            uint8_t out[STOMP_DEST_RENDER_MAX(120)];
            ptrdiff_t n = stomp_dest_render_topic(fits[i].style, topic, out, STOMP_DEST_RENDER_MAX(len));
            assert_true(n > 0);
            check_reads_back(slice_make(out, (size_t)n), fits[i].dialect, topic);
            if (fits[i].style == STOMP_STYLE_MQTT)
                continue;
            n = stomp_dest_render_exchange(SLICE("x/.%41"), fits[i].style, topic, out, sizeof(out));
            assert_true(n > 0);
            check_reads_back(slice_make(out, (size_t)n), fits[i].dialect, topic);
        }
    }
}

static void test_name_law(void **state)
{
    static const enum stomp_dest_kind kinds[] = {STOMP_DEST_QUEUE,      STOMP_DEST_EXCHANGE,    STOMP_DEST_AMQ_QUEUE,
                                                 STOMP_DEST_TEMP_QUEUE, STOMP_DEST_REPLY_QUEUE, STOMP_DEST_DSUB};
    struct rng rng;
    (void)state;
    rng_init(&rng, 6);
    for (unsigned round = 0; round < 30000; round++) {
        char name[80], key[80];
        uint8_t out[STOMP_DEST_RENDER_MAX(160)], buf[200];
        struct stomp_dest d;
        struct slice got;
        size_t name_len = random_text(&rng, name, 60, false);
        size_t key_len = rng_chance(&rng, 10) ? 0 : random_text(&rng, key, 60, false);
        enum stomp_dest_kind kind = kinds[rng_below(&rng, ROW_N(kinds))];
        ptrdiff_t n = stomp_dest_render_name(kind, slice_make(name, name_len), out, STOMP_DEST_RENDER_MAX(name_len));
        assert_true(n > 0);
        assert_int_equal(stomp_dest_parse(slice_make(out, (size_t)n), &d), ERR_OK);
        assert_int_equal(d.kind, kind);
        assert_int_equal(stomp_dest_name(&d, buf, sizeof(buf), &got), ERR_OK);
        assert_true(slice_eq(got, slice_make(name, name_len)));
        assert_false(d.has_key);

        n = stomp_dest_render_exchange(slice_make(name, name_len), STOMP_STYLE_OPAQUE, slice_make(key, key_len), out,
                                       sizeof(out));
        assert_true(n > 0);
        assert_int_equal(stomp_dest_parse(slice_make(out, (size_t)n), &d), ERR_OK);
        assert_true(d.kind == STOMP_DEST_EXCHANGE && d.has_key);
        assert_int_equal(stomp_dest_name(&d, buf, sizeof(buf), &got), ERR_OK);
        assert_true(slice_eq(got, slice_make(name, name_len)));
        assert_int_equal(stomp_dest_key(&d, buf, sizeof(buf), &got), ERR_OK);
        assert_true(slice_eq(got, slice_make(key, key_len)));
    }
}

static void test_name_needs_room(void **state)
{
    (void)state;
    struct stomp_dest d;
    struct slice got;
    uint8_t buf[8];
    assert_int_equal(stomp_dest_parse(SLICE("/queue/plain-name"), &d), ERR_OK);
    assert_int_equal(stomp_dest_name(&d, buf, 0, &got), ERR_OK); /* nothing to decode: borrowed */
    assert_ptr_equal(got.p, d.name.p);
    assert_int_equal(stomp_dest_parse(SLICE("/queue/abcde%41"), &d), ERR_OK);
    assert_int_equal(stomp_dest_name(&d, buf, 7, &got), ERR_TOO_BIG);
    assert_int_equal(d.why, STOMP_WHY_TOO_BIG);
    assert_int_equal(stomp_dest_name(&d, buf, 8, &got), ERR_OK);
    assert_int_equal(stomp_dest_parse(SLICE("/topic/a"), &d), ERR_OK);
    assert_int_equal(stomp_dest_name(&d, buf, 8, &got), ERR_INVALID);
    assert_int_equal(d.why, STOMP_WHY_KIND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),       cmocka_unit_test(test_topics),   cmocka_unit_test(test_filters),
        cmocka_unit_test(test_size_limits), cmocka_unit_test(test_render),   cmocka_unit_test(test_style),
        cmocka_unit_test(test_topic_law),   cmocka_unit_test(test_name_law), cmocka_unit_test(test_name_needs_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
