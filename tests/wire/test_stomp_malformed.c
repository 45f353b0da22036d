/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_malformed.c: what is a frame and what is none, byte by byte and version by version: every escape, every
 * control byte, line ends of both kinds, every way to say a length wrongly, bodies where none may be, words that are no
 * commands, and every limit at its last good value and one above.
 *
 *     CONNECT ─► SUBSCRIBE /topic/a ─► a frame, good or bad ─► SEND receipt:p
 *
 * What is right is written here by hand from the specifications; where they leave room, what Weir has chosen
 * (proto_stomp/stomp_wire.h says what).
 *
 * Cost    some thousand small conversations and a few large ones, two or three seconds.
 * Thread  one.
 * Spec    STOMP 1.2 §STOMP Frames, §Value Encoding, §Body, §Header content-length, §Size Limits, §Augmented BNF; STOMP
 *         1.1 §Value Encoding, §Body; STOMP 1.0 §Frames.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/wire/chat.h"

#define PING "SEND\ndestination:/topic/none\nreceipt:p\n\n"

/* hello: a receiver of /topic/a, that is the sender itself. */
static void hello(struct chat *t, unsigned version)
{
    chat_begin(t, version);
    chat_frame(t, "SUBSCRIBE", "id:0\ndestination:/topic/a\nreceipt:s\n", "");
}

/* hold_it: the last line is the probe; a ping behind it. */
static void hold_it(struct chats *all, struct chat *t)
{
    chat_probe(t);
    chat_raw(t, PING, sizeof PING);
    chat_hold(all, t);
}

/* hold: good, and answered with `says`, or bad: the code of the ERROR. */
static void hold(struct chats *all, struct chat *t, const char *says, const char *bad)
{
    if (bad != NULL)
        chat_expect(t, "connected *; receipt s; error %s; closed", bad);
    else
        chat_expect(t, "connected *; receipt s; %s%sreceipt p", says, says[0] != '\0' ? "; " : "");
    hold_it(all, t);
}

/* hold_named: the same for a frame with receipt:r in front of what is wrong: the ERROR names it. STOMP 1.2 §ERROR */
static void hold_named(struct chats *all, struct chat *t, const char *says, const char *bad)
{
    if (bad == NULL) {
        hold(all, t, says, NULL);
        return;
    }
    chat_expect(t, "connected *; receipt s; error %s for r; closed", bad);
    hold_it(all, t);
}

/* send_raw: SEND with these bytes as its last header line, in a line of its own. */
static void send_raw(struct chat *t, const void *line, size_t n)
{
    static const char head[] = "SEND\ndestination:/topic/a\n";
    chat_raw(t, head, sizeof head - 1);
    chat_more(t, line, n);
    chat_more(t, "\n\nx", 4);
}

/* shown: bytes as chat.h shows them. */
static const char *shown(char out[200], const void *bytes, size_t n)
{
    struct text text = {0};
    chat_put(&text, slice_make(bytes, n));
    (void)snprintf(out, 200, "%.199s", text.p);
    return out;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

/* one_escape: the byte behind a backslash: what comes out, -1: none of this version (then all is lost), -2: it ends the
 * line. STOMP 1.2 §Value Encoding; STOMP 1.1 §Value Encoding */
static int one_escape(unsigned version, unsigned c)
{
    if (version == 0)
        return -2;
    return c == 'n' ? '\n' : c == 'c' ? ':' : c == '\\' ? '\\' : c == 'r' && version == 2 ? '\r' : -1;
}

/* A backslash and each byte, in a value and in a name. */
static void each_escape(void **state)
{
    (void)state;
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned c = 0; c < 256; c++)
            for (unsigned in_name = 0; in_name < 2; in_name++) {
                struct chat t;
                unsigned char line[] = {'k', ':', 'a', '\\', (unsigned char)c, 'b'};
                unsigned char name[] = {'a', '\\', (unsigned char)c, 'b', ':', 'v'};
                unsigned char meant[3] = {'a', (unsigned char)one_escape(v, c), 'b'};
                char text[200], says[260];
                bool splits = c == '\n' || (in_name != 0 && c == ':'); /* the line is another one */
                if (splits || c == 0 || (v == 2 && c == '\r'))
                    continue; /* the other tests of this file */
                hello(&t, v);
                t.is_one_of_many = c != 'n' && c != 'r' && c != 't';
                send_raw(&t, in_name != 0 ? name : line, 6);
                chat_say(&t, "backslash and \\x%02x in a %s", c, in_name != 0 ? "name" : "value");
                if (v == 0 && c >= 0x80)
                    hold(&all, &t, "", "bad-header"); /* no UTF-8 */
                else if (v != 0 && one_escape(v, c) < 0)
                    hold(&all, &t, "", "malformed");
                else {
                    const char *as = v == 0 ? shown(text, in_name != 0 ? name : line + 2, 4) : shown(text, meant, 3);
                    (void)snprintf(says, sizeof says,
                                   in_name != 0 ? "message 0 /topic/a [%s=v] x" : "message 0 /topic/a [k=%s] x", as);
                    hold(&all, &t, says, NULL);
                }
            }
    chats_end(&all);
}

/* A backslash as the last byte of a name, of a value, of a receipt. */
static void half_an_escape(void **state)
{
    (void)state;
    static const char *const lines[] = {"k:v\\", "k\\:v", "k:\\", "\\:v", "receipt:r\\", "k:\\\\\\", "k:a\\nb\\"};
    struct chats all = {0};
    for (unsigned v = 1; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(lines); i++) {
            struct chat t;
            hello(&t, v);
            send_raw(&t, lines[i], strlen(lines[i]));
            chat_say(&t, "half an escape: %s", lines[i]);
            hold(&all, &t, "", "malformed");
        }
    chats_end(&all);
}

/* Each byte by itself inside a value and inside a name. NUL would end the frame for whoever finds frames by it; CR is a
 * line end in 1.2 or nothing. STOMP 1.2 §Augmented BNF */
static void each_byte(void **state)
{
    (void)state;
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned c = 0; c < 256; c++)
            for (unsigned in_name = 0; in_name < 2; in_name++) {
                struct chat t;
                unsigned char byte = (unsigned char)c;
                unsigned char line[] = {'k', ':', 'a', byte, 'b'}, name[] = {'a', byte, 'b', ':', 'v'};
                char text[200], says[260];
                if (c == '\n' || c == '\\' || c == ':')
                    continue;
                hello(&t, v);
                t.is_one_of_many = c > ' ' && c != 0xff;
                send_raw(&t, in_name != 0 ? name : line, 5);
                chat_say(&t, "byte \\x%02x in a %s", c, in_name != 0 ? "name" : "value");
                const char *as = shown(text, in_name != 0 ? name : line + 2, 3);
                (void)snprintf(says, sizeof says,
                               in_name != 0 ? "message 0 /topic/a [%s=v] x" : "message 0 /topic/a [k=%s] x", as);
                if (c == 0 || (c == '\r' && v == 2))
                    hold(&all, &t, "", "malformed");
                else
                    hold(&all, &t, says, c >= 0x80 ? "bad-header" : NULL);
            }
    chats_end(&all);
}

/* Lines that are no headers. */
static void no_headers(void **state)
{
    (void)state;
    static const char *const lines[] = {"destination", ":v", ":", "a b c", "::", " "};
    static const char *const commands[] = {"SEND",  "SUBSCRIBE", "UNSUBSCRIBE", "ACK",       "NACK",
                                           "BEGIN", "COMMIT",    "ABORT",       "DISCONNECT"};
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned k = 0; k < ARRAY_N(commands); k++)
            for (unsigned i = 0; i < ARRAY_N(lines); i++) {
                struct chat t;
                hello(&t, v);
                chat_frame(&t, commands[k], "receipt:r\n", "");
                t.line[t.line_n - 1].len -= 2; /* the blank line and NUL */
                chat_text(&t, lines[i]);
                chat_more(&t, "\n\n", 3);
                chat_say(&t, "%s with the line '%s'", commands[k], lines[i]);
                hold_named(&all, &t, "", "malformed");
            }
    chats_end(&all);
}

/* ---- line ends --------------------------------------------------------------------------------------------------- */

/* CR LF: in 1.2 as good as LF, everywhere; before, CR is a byte like any other. STOMP 1.2 §Augmented BNF */
static void carriage_returns(void **state)
{
    (void)state;
    static const struct {
        const char *frame, *old, *says_12; /* old: the code in 1.0 and 1.1, or what is said */
    } cases[] = {
        {"SEND\r\ndestination:/topic/a\n\nx", "unknown-command", "message 0 /topic/a x"},
        {"SEND\ndestination:/topic/a\nk:v\r\n\nx", "message 0 /topic/a [k=v\\x0d] x", "message 0 /topic/a [k=v] x"},
        {"SEND\ndestination:/topic/a\n\r\nx", "malformed", "message 0 /topic/a x"},
        {"SEND\r\ndestination:/topic/a\r\n\r\nx", "unknown-command", "message 0 /topic/a x"},
        {"SEND\ndestination:/topic/a\n\nx\r\n", "message 0 /topic/a x\\x0d\\x0a", "message 0 /topic/a x\\x0d\\x0a"},
        {"SEND\n\rdestination:/topic/a\n\nx", "missing-header", NULL},
        {"SEND\rdestination:/topic/a\n\nx", "too-big|unknown-command", NULL},
        {"SE\rND\ndestination:/topic/a\n\nx", "unknown-command", NULL},
        {"SEND\ndestination:/topic/a\nk:v\r\r\n\nx", "message 0 /topic/a [k=v\\x0d\\x0d] x", NULL},
        {"SEND\ndestination:/topic/a\nk\r:v\n\nx", "message 0 /topic/a [k\\x0d=v] x", NULL},
        {"SEND\ndestination:/topic/a\n\r\n\r\nx", "malformed", "message 0 /topic/a \\x0d\\x0ax"},
    };
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(cases); i++) {
            struct chat t;
            const char *says = v == 2 ? cases[i].says_12 : cases[i].old;
            bool is_bad = says == NULL || strncmp(says, "message", 7) != 0;
            hello(&t, v);
            chat_raw(&t, cases[i].frame, strlen(cases[i].frame) + 1);
            chat_say(&t, "carriage returns %u of the list", i);
            hold(&all, &t, says, is_bad && says == NULL ? "malformed" : is_bad ? says : NULL);
        }
    chats_end(&all);
}

/* Between frames there may be any number of line ends, of both kinds. STOMP 1.2 §Augmented BNF */
static void line_ends_between_frames(void **state)
{
    (void)state;
    static const char *const runs[] = {"\n", "\r\n", "\n\n\n\n", "\r\n\r\n", "\n\r\n", "\r\n\n\r\n\n"};
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(runs); i++)
            for (unsigned before_connect = 0; before_connect < 2; before_connect++) {
                struct chat t;
                hello(&t, v);
                if (before_connect != 0) {
                    struct rig_bytes first = {0};
                    rig_put(&first, runs[i], strlen(runs[i]));
                    rig_put(&first, t.line[0].p, t.line[0].len);
                    free(t.line[0].p);
                    t.line[0] = first;
                }
                chat_raw(&t, runs[i], strlen(runs[i]));
                chat_text(&t, "SEND\ndestination:/topic/a\n\nx");
                chat_more(&t, "", 1);
                chat_text(&t, runs[i]);
                chat_say(&t, "line ends %u of the list", i);
                hold(&all, &t, "message 0 /topic/a x", NULL);
            }
    chats_end(&all);
}

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

/* What content-length may say of the body "abc", which a NUL and another frame follow.
 * STOMP 1.2 §Header content-length: it counts, NUL or not, and a NUL must still follow. Header values are never
 * trimmed, but for 1.0's examples. */
static void each_length(void **state)
{
    (void)state;
    static const struct {
        const char *value, *code; /* code: NULL: good */
    } lengths[] = {
        {"3", NULL},
        {"03", NULL},
        {"0000000000000000000003", NULL},
        {"2", "malformed"},
        {"1", "malformed"},
        {"0", "malformed"},
        {"4", "malformed"}, /* takes the NUL, and the next frame's S is none */
        {"5", "malformed"},
        {"", "malformed"},
        {"-1", "malformed"},
        {"-3", "malformed"},
        {"+3", "malformed"},
        {"3.0", "malformed"},
        {"3 ", "malformed"},
        {"0x3", "malformed"},
        {"3,3", "malformed"},
        {"three", "malformed"},
        {"\xd9\xa3", "malformed"}, /* a three, but in Arabic */
        {"1048577", "too-big"},
        {"4294967299", "too-big"},           /* 3, in 32 bits */
        {"18446744073709551619", "too-big"}, /* 3, in 64 bits */
        {"99999999999999999999999999999999", "too-big"},
        {"3\ncontent-length:2", NULL}, /* STOMP 1.2 §Repeated Header Entries */
        {"2\ncontent-length:3", "malformed"},
        {"3\ncontent-length:-1", NULL},
    };
    struct chats all = {0};
    char headers[200];
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(lengths) + 1; i++) {
            struct chat t;
            bool is_space = i == ARRAY_N(lengths);
            const char *code = is_space ? (v == 0 ? NULL : "malformed") : lengths[i].code;
            hello(&t, v);
            (void)snprintf(headers, sizeof headers, "destination:/topic/a\nreceipt:r\ncontent-length:%s\n",
                           is_space ? " 3" : lengths[i].value);
            chat_frame(&t, "SEND", headers, "abc");
            chat_say(&t, "content-length:%s", is_space ? " 3" : lengths[i].value);
            hold_named(&all, &t,
                       "receipt r; message 0 /topic/a abc or connected *; receipt s; message 0 /topic/a abc; "
                       "receipt r; receipt p or connected *; receipt s; receipt r; message 0 /topic/a abc",
                       code);
        }
    chats_end(&all);
}

/* Every byte in a body with a length; all but NUL in one without. STOMP 1.2 §Body */
static void each_byte_in_a_body(void **state)
{
    (void)state;
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned c = 0; c < 256; c++)
            for (unsigned has_length = c == 0; has_length < 2; has_length++) {
                static const char head[] = "SEND\ndestination:/topic/a\n", length[] = "content-length:3\n\n";
                struct chat t;
                const unsigned char body[] = {'a', (unsigned char)c, 'b'};
                char text[200], says[260];
                hello(&t, v);
                t.is_one_of_many = c > ' ';
                chat_raw(&t, head, sizeof head - 1);
                chat_text(&t, has_length != 0 ? length : "\n");
                chat_more(&t, body, 3);
                chat_more(&t, "", 1);
                chat_say(&t, "body with \\x%02x", c);
                (void)snprintf(says, sizeof says, "message 0 /topic/a %s", shown(text, body, 3));
                hold(&all, &t, says, NULL);
            }
    chats_end(&all);
}

/* Only SEND may have a body. STOMP 1.2 §Body, STOMP 1.1 §Body. In 1.0 such a body says nothing. */
static void bodies_where_none_may_be(void **state)
{
    (void)state;
    static const struct {
        const char *command, *headers, *says;
    } frames[] = {
        {"SUBSCRIBE", "id:1\ndestination:/topic/b\nreceipt:r\n", "receipt r"},
        {"UNSUBSCRIBE", "id:0\nreceipt:r\n", "receipt r"},
        {"BEGIN", "transaction:t\nreceipt:r\n", "receipt r"},
        {"ACK", "id:1\nmessage-id:1\nsubscription:0\nreceipt:r\n", NULL},
        {"NACK", "id:1\nmessage-id:1\nsubscription:0\nreceipt:r\n", NULL},
        {"COMMIT", "transaction:t\nreceipt:r\n", NULL},
        {"ABORT", "transaction:t\nreceipt:r\n", NULL},
        {"DISCONNECT", "receipt:r\n", NULL},
    };
    struct chats all = {0};
    char headers[200];
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(frames); i++)
            for (unsigned has_length = 0; has_length < 2; has_length++) {
                struct chat t;
                if (v == 0 && frames[i].says == NULL)
                    continue;
                hello(&t, v);
                (void)snprintf(headers, sizeof headers, "%s%s", frames[i].headers,
                               has_length != 0 ? "content-length:1\n" : "");
                chat_frame(&t, frames[i].command, headers, "x");
                chat_say(&t, "%s with a body%s", frames[i].command, has_length != 0 ? " and its length" : "");
                hold_named(&all, &t, frames[i].says, v == 0 ? NULL : "body-not-allowed");
            }
    chats_end(&all);
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

/* Words that are nearly commands, and those that only servers say. STOMP 1.2 §STOMP Frames: case matters. */
static void no_commands(void **state)
{
    (void)state;
    static const char *const words[] = {
        "send",    "Send",     "SENDX",  "SEN",        " SEND",     "SEND ",  "SUBSCRIBED",
        "BEGINS",  "COMMIT\t", "ABORT:", "disconnect", "QUIT",      "HELLO",  "\xc3\xa4",
        "MESSAGE", "RECEIPT",  "ERROR",  "CONNECTED",  "TWELVE-IS", "A",      "0",
        "ACKNACK", "ACK NACK", "NOACK",  "SEND\\n",    "SEND\\c",   "S\\cND", "12345678901234567890123456789012",
    };
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(words); i++) {
            struct chat t;
            hello(&t, v);
            chat_frame(&t, words[i], "destination:/topic/a\nreceipt:r\nmessage-id:1\nsubscription:0\n", "");
            chat_say(&t, "the command '%s'", words[i]);
            bool is_servers = strcmp(words[i], "MESSAGE") == 0 || strcmp(words[i], "RECEIPT") == 0 ||
                              strcmp(words[i], "ERROR") == 0 || strcmp(words[i], "CONNECTED") == 0;
            if (is_servers)
                hold_named(&all, &t, "", "unknown-command");
            else
                hold(&all, &t, "", "unknown-command"); /* its headers are nobody's */
        }
    chats_end(&all);
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void put_times(struct chat *t, char c, size_t n)
{
    for (char block[256]; n != 0;) {
        size_t k = MIN(n, sizeof block);
        memset(block, c, k);
        chat_more(t, block, k);
        n -= k;
    }
}

enum limit { COMMAND, HEADERS, LINE, NAME, HEAD, BODY, BODY_WITH_LENGTH, LIMIT_N };

enum { BODY_MAX = 1024, HEAD_MAX = 65536, HEAD_LINES = 8 };

/* put_limit: a SEND that is as large as may be in one respect, and `more` larger. */
static void put_limit(struct chat *t, enum limit which, size_t more)
{
    static const char head[] = "SEND\ndestination:/topic/a\nreceipt:r\n";
    char length[40];
    chat_raw(t, head, which == COMMAND ? 0 : sizeof head - 1);
    switch (which) {
    case COMMAND:
        put_times(t, 'X', 32 + more);
        chat_text(t, "\ndestination:/topic/a\nreceipt:r\n");
        break;
    case HEADERS:
        for (size_t i = 2; i < 100 + more; i++)
            chat_text(t, "a:b\n");
        break;
    case LINE:
    case NAME:
        chat_text(t, which == LINE ? "k:" : "");
        put_times(t, 'y', 8190 + more);
        chat_text(t, which == LINE ? "\n" : ":v\n");
        break;
    case HEAD: { /* the blank line counts: 65,536 bytes up to the body */
        size_t left = HEAD_MAX + more - (sizeof head - 1) - 1;
        for (size_t i = HEAD_LINES; i > 0; i--) {
            size_t n = left / i;
            chat_text(t, "k:");
            put_times(t, 'z', n - 3);
            chat_text(t, "\n");
            left -= n;
        }
        break;
    }
    default:
        (void)snprintf(length, sizeof length, "content-length:%zu\n", BODY_MAX + more);
        chat_text(t, which == BODY_WITH_LENGTH ? length : "");
    }
    chat_text(t, "\n");
    if (which == BODY || which == BODY_WITH_LENGTH)
        put_times(t, 'b', BODY_MAX + more);
    chat_more(t, "", 1);
}

/* STOMP 1.2 §Size Limits: an ERROR, and the end. */
static void each_limit(void **state)
{
    (void)state;
    static const char *const names[] = {"command", "headers", "line", "name", "head", "body", "body with length"};
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (enum limit which = COMMAND; which < LIMIT_N; which++)
            for (size_t more = 0; more < 2; more++) {
                struct chat t;
                chat_begin(&t, v);
                t.config.limits.stomp_body_bytes_max = BODY_MAX;
                chat_raw(&t, "\n", 1); /* instead of SUBSCRIBE: nobody has to read what is so large */
                put_limit(&t, which, more);
                chat_probe(&t);
                chat_raw(&t, PING, sizeof PING);
                chat_say(&t, "%s, %zu above the limit", names[which], more);
                const char *code = more != 0 ? "too-big" : "unknown-command";
                if (more != 0 || which == COMMAND)
                    chat_expect(&t, "connected *; error %s%s; closed", code, which == COMMAND ? "" : " for r");
                else
                    chat_expect(&t, "connected *; receipt r; receipt p");
                chat_hold(&all, &t);
            }
    chats_end(&all);
}

/* Before the login less is enough for all: login_bytes. */
static void limit_before_login(void **state)
{
    (void)state;
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (size_t more = 0; more < 2; more++) {
            struct chat t;
            chat_begin(&t, v);
            t.config.limits.login_bytes_max = 1024;
            t.line[0].len -= 2; /* the blank line and NUL */
            chat_text(&t, "k:");
            put_times(&t, 'x', 1024 + more - t.line[0].len - 2);
            chat_more(&t, "\n\n", 3);
            chat_probe(&t);
            chat_raw(&t, PING, sizeof PING);
            chat_say(&t, "CONNECT, %zu above the limit", more);
            chat_expect(&t, more != 0 ? "error too-big; closed" : "connected *; receipt p");
            chat_hold(&all, &t);
        }
    chats_end(&all);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_escape),
        cmocka_unit_test(half_an_escape),
        cmocka_unit_test(each_byte),
        cmocka_unit_test(no_headers),
        cmocka_unit_test(carriage_returns),
        cmocka_unit_test(line_ends_between_frames),
        cmocka_unit_test(each_length),
        cmocka_unit_test(each_byte_in_a_body),
        cmocka_unit_test(bodies_where_none_may_be),
        cmocka_unit_test(no_commands),
        cmocka_unit_test(each_limit),
        cmocka_unit_test(limit_before_login),
    };
    return cmocka_run_group_tests_name("stomp malformed", tests, NULL, NULL);
}
