/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_wire.c: STOMP frames in and out.
 *
 * The tables below are the document: bytes on the wire, and what a reader makes of them. Each row is fed in one piece,
 * byte by byte and cut in two at every position, always from memory that ends at a forbidden page, and the log must be
 * the same each time. In a log
 *
 *     SEND [destination=/queue/a] "body"      a frame; names and values with escapes undone; other bytes as <hex>
 *     eol 2                                   bytes of line ends between frames
 *     more / more 40                          an incomplete frame is left (with its whole length, once known)
 *     MALFORMED                               the error that ended the connection
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "proto_stomp/stomp_wire.h"
#include "tests/support/guard.h"

#define NONE STOMP_LENGTH_NONE

static const struct stomp_limits limits = {.command_bytes = STOMP_COMMAND_BYTES_MAX,
                                           .headers_n = STOMP_HEADERS_MAX,
                                           .line_bytes = STOMP_LINE_BYTES_MAX,
                                           .head_bytes = STOMP_HEAD_BYTES_MAX,
                                           .body_bytes = 1u << 20};

/* Small ones, so that a table row can reach them. */
static const struct stomp_limits small = {
    .command_bytes = 11, .headers_n = 3, .line_bytes = 16, .head_bytes = 40, .body_bytes = 5};

struct log {
    char text[4096];
    size_t n;
};

static void log_put(struct log *log, const char *s)
{
    size_t n = strlen(s);
    assert_true(sizeof(log->text) - log->n > n);
    memcpy(log->text + log->n, s, n + 1);
    log->n += n;
}

static void log_bytes(struct log *log, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char one[8];
        uint8_t c = s.p[i];
        (void)snprintf(one, sizeof(one), c < ' ' || c > '~' ? "<%02x>" : "%c", c);
        log_put(log, one);
    }
}

static void log_number(struct log *log, const char *word, uint64_t n)
{
    char text[40];
    (void)snprintf(text, sizeof(text), "%s %llu\n", word, (unsigned long long)n);
    log_put(log, text);
}

static void log_frame(struct log *log, const struct stomp_frame *f)
{
    log_bytes(log, stomp_command_text(f->command));
    for (uint32_t i = 0; i < f->header_n; i++) {
        uint8_t buf[STOMP_LINE_BYTES_MAX];
        struct slice text;
        log_put(log, " [");
        assert_int_equal(stomp_header_name(f, i, buf, sizeof(buf), &text), ERR_OK);
        log_bytes(log, text);
        log_put(log, "=");
        assert_int_equal(stomp_header_value(f, i, buf, sizeof(buf), &text), ERR_OK);
        log_bytes(log, text);
        log_put(log, "]");
    }
    if (f->body.len != 0) {
        log_put(log, " \"");
        log_bytes(log, f->body);
        log_put(log, "\"");
    }
    log_put(log, "\n");
}

/* A reader: holds what is not eaten yet, decodes after each piece. */
struct reader {
    struct stomp_scan scan;
    uint8_t held[4096];
    size_t n;
    uint64_t total;
    size_t eols;
    bool failed;
};

static void flush_eols(struct reader *r, struct log *log)
{
    if (r->eols != 0)
        log_number(log, "eol", r->eols);
    r->eols = 0;
}

static void feed(struct reader *r, const struct stomp_limits *lim, enum stomp_version v, const uint8_t *p, size_t n,
                 struct log *log)
{
    assert_true(sizeof(r->held) - r->n >= n);
    if (n != 0)
        memcpy(r->held + r->n, p, n);
    r->n += n;
    while (!r->failed) {
        struct stomp_frame f;
        uint8_t *g = guard_bytes(r->held, r->n);
        ptrdiff_t got = stomp_frame_decode(g, r->n, lim, v, &r->scan, &f);
        r->total = f.total;
        if (got > 0 && f.command == STOMP_CMD_EOL) {
            assert_int_equal(f.total, got);
            r->eols += (size_t)got;
        } else if (got != 0) {
            flush_eols(r, log);
        }
        if (got > 0 && f.command != STOMP_CMD_EOL) {
            assert_int_equal(f.total, got);
            log_frame(log, &f);
        }
        if (got < 0) {
            log_put(log, err_name((enum err) - got));
            r->failed = true;
        }
        guard_free(g);
        if (got <= 0)
            return;
        r->n -= (size_t)got;
        memmove(r->held, r->held + got, r->n);
    }
}

static void log_end(struct reader *r, struct log *log)
{
    flush_eols(r, log);
    if (r->failed || r->n == 0)
        return;
    if (r->total != 0)
        log_number(log, "more", r->total);
    else
        log_put(log, "more\n");
}

/* Feeds wire[n] in two pieces, the first of `cut` bytes; cut > n: byte by byte. */
static void run_cut(const struct stomp_limits *lim, enum stomp_version v, struct slice wire, size_t cut,
                    struct log *log)
{
    struct reader r = {.n = 0};
    log->n = 0;
    log->text[0] = '\0';
    if (cut <= wire.len) {
        feed(&r, lim, v, wire.p, cut, log);
        feed(&r, lim, v, wire.p + cut, wire.len - cut, log);
    } else {
        for (size_t i = 0; i < wire.len; i++)
            feed(&r, lim, v, wire.p + i, 1, log);
    }
    log_end(&r, log);
}

struct row {
    const char *tag;
    unsigned versions; /* bit per version */
    struct slice wire;
    const char *log;
};

#define V10         1u
#define V11         2u
#define V12         4u
#define VALL        7u
#define ROW_N(rows) (sizeof(rows) / sizeof((rows)[0]))
#define W(literal)                                                                                                     \
    {                                                                                                                  \
        (const uint8_t *)(literal), sizeof(literal) - 1                                                                \
    }

static void run_rows(const struct stomp_limits *lim, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (unsigned v = STOMP_1_0; v <= STOMP_1_2; v++) {
            if ((rows[i].versions & 1u << v) == 0)
                continue;
            for (size_t cut = 0; cut <= rows[i].wire.len + 1; cut++) {
                struct log log;
                run_cut(lim, (enum stomp_version)v, rows[i].wire, cut, &log);
                if (strcmp(log.text, rows[i].log) != 0)
                    fail_msg("%s, version 1.%u, cut at %zu:\n%s\nnot\n%s", rows[i].tag, v, cut, log.text, rows[i].log);
            }
        }
    }
}

static void test_frames(void **state)
{
    static const struct row rows[] = {
        {"STOMP 1.2 §STOMP Frames: command, headers, blank line, body, NUL", VALL,
         W("SEND\ndestination:/queue/a\ncontent-type:text/plain\n\nhello\0"),
         "SEND [destination=/queue/a] [content-type=text/plain] \"hello\"\n"},
        {"STOMP 1.2 §STOMP Frames: no headers, no body", VALL, W("DISCONNECT\n\n\0"), "DISCONNECT\n"},
        {"STOMP 1.2 §STOMP Frames: line ends after the NUL", VALL, W("BEGIN\ntransaction:1\n\n\0\n\n\r\nABORT\n\n\0"),
         "BEGIN [transaction=1]\neol 4\nABORT\n"},
        {"STOMP 1.2 §Heart-beating: nothing but line ends", VALL, W("\n\n\n"), "eol 3\n"},
        {"STOMP 1.2 §STOMP Frames: half a CR LF waits", VALL, W("\n\r"), "eol 1\nmore\n"},
        {"STOMP 1.2 §STOMP Frames: two frames in one read", VALL, W("ACK\nid:1\n\n\0NACK\nid:2\n\n\0"),
         "ACK [id=1]\nNACK [id=2]\n"},
        {"STOMP 1.2 §STOMP Frames: frames of a server", VALL,
         W("CONNECTED\nversion:1.2\n\n\0MESSAGE\nsubscription:0\n\nhi\0RECEIPT\nreceipt-id:7\n\n\0"
           "ERROR\nmessage:no\n\nwhy\0"),
         "CONNECTED [version=1.2]\nMESSAGE [subscription=0] \"hi\"\nRECEIPT [receipt-id=7]\n"
         "ERROR [message=no] \"why\"\n"},
        {"STOMP 1.2 §CONNECT or STOMP Frame", VALL, W("STOMP\naccept-version:1.2\nhost:h\n\n\0"),
         "STOMP [accept-version=1.2] [host=h]\n"},
        {"STOMP 1.2 §Repeated Header Entries: all are kept, in order", VALL, W("MESSAGE\nfoo:World\nfoo:Hello\n\n\0"),
         "MESSAGE [foo=World] [foo=Hello]\n"},
        {"STOMP 1.2 §Augmented BNF: a value may be empty", VALL, W("SEND\na:\n\n\0"), "SEND [a=]\n"},
        {"a colon in a value is part of it", VALL, W("SEND\ndestination:/exchange/x/a:b:\n\n\0"),
         "SEND [destination=/exchange/x/a:b:]\n"},
        {"STOMP 1.2 §Value Encoding: headers are UTF-8", VALL, W("SEND\nk\xc3\xa4:\xe2\x82\xac\t\x01\n\n\0"),
         "SEND [k<c3><a4>=<e2><82><ac><09><01>]\n"},
        {"STOMP 1.2 §Value Encoding: never trimmed", V11 | V12, W("SEND\n a : b \ndestination: /x\n\n\0"),
         "SEND [ a = b ] [destination= /x]\n"},
        {"STOMP 1.0: its own examples pad known headers; own headers and passcode keep spaces", V10,
         W("SUBSCRIBE\ndestination:  /queue/foo\nack: client\nmine: x \npasscode: p\n\n\0"),
         "SUBSCRIBE [destination=/queue/foo] [ack=client] [mine= x ] [passcode= p]\n"},
        {"STOMP 1.2 §Protocol Negotiation: CONNECT without accept-version is a 1.0 frame", VALL,
         W("CONNECT\nlogin: joe\npasscode: p\n\n\0"), "CONNECT [login=joe] [passcode= p]\n"},
        {"STOMP 1.1 §CONNECT: with accept-version it is not", V11 | V12,
         W("CONNECT\nlogin: joe\naccept-version:1.1\n\n\0"), "CONNECT [login= joe] [accept-version=1.1]\n"},
        {"incomplete: the command", VALL, W("SEN"), "more\n"},
        {"incomplete: a header", VALL, W("SEND\ndesti"), "more\n"},
        {"incomplete: the blank line", VALL, W("SEND\ndestination:a\n"), "more\n"},
        {"incomplete: the body, length unknown", VALL, W("SEND\na:b\n\nhel"), "more\n"},
        {"incomplete: the body, length known", VALL, W("SEND\ncontent-length:10\n\nhel"), "more 35\n"},
        {"incomplete: only the NUL is missing", VALL, W("SEND\ncontent-length:3\n\nhel"), "more 27\n"},
    };
    (void)state;
    run_rows(&limits, rows, ROW_N(rows));
}

static void test_line_ends(void **state)
{
    static const struct row rows[] = {
        {"STOMP 1.2 §STOMP Frames: CR LF ends lines", V12, W("SEND\r\na:b\r\nc:d\n\r\nx\r\n\0\r\n"),
         "SEND [a=b] [c=d] \"x<0d><0a>\"\neol 2\n"},
        {"STOMP 1.2 §Augmented BNF: no CR inside a value", V12, W("SEND\na:b\rc\n\n\0"), "MALFORMED"},
        {"STOMP 1.2 §Augmented BNF: no CR inside a name", V12, W("SEND\na\rb:c\n\n\0"), "MALFORMED"},
        {"STOMP 1.2: no CR inside a command", V12, W("SE\rND\na:b\n\n\0"), "MALFORMED"},
        {"STOMP 1.2: CR alone between frames", V12, W("\rSEND\n\n\0"), "MALFORMED"},
        {"STOMP 1.2: the CR may be cut from its LF", V12, W("SEND\r\na:b\r"), "more\n"},
        {"STOMP 1.1 §Augmented BNF: CR is data in a value", V10 | V11, W("SEND\na:b\r\nc\rd:e\n\n\0"),
         "SEND [a=b<0d>] [c<0d>d=e]\n"},
        {"STOMP 1.1: CR LF does not end the command", V10 | V11, W("SEND\r\na:b\n\n\0"), "PROTOCOL"},
        {"STOMP 1.1: CR LF is no blank line", V10 | V11, W("SEND\na:b\n\r\n\0"), "MALFORMED"},
        {"STOMP 1.1: but between frames it is taken", V10 | V11, W("\r\n\nACK\n\n\0"), "eol 3\nACK\n"},
    };
    (void)state;
    run_rows(&limits, rows, ROW_N(rows));
}

static void test_escapes(void **state)
{
    static const struct row rows[] = {
        {"STOMP 1.2 §Value Encoding: \\r \\n \\c \\\\", V12, W("SEND\na\\cb:\\n1\\r2\\c3\\\\\\\\n\n\n\0"),
         "SEND [a:b=<0a>1<0d>2:3\\\\n]\n"},
        {"STOMP 1.1 §Value Encoding: \\n \\c \\\\", V11, W("SEND\na\\cb:\\n1\\c3\\\\\\\\n\n\n\0"),
         "SEND [a:b=<0a>1:3\\\\n]\n"},
        {"STOMP 1.1 §Value Encoding: \\r is undefined", V11, W("SEND\na:\\r\n\n\0"), "MALFORMED"},
        {"STOMP 1.2 §Value Encoding: \\t is undefined", V11 | V12, W("SEND\na:\\t\n\n\0"), "MALFORMED"},
        {"STOMP 1.2 §Value Encoding: undefined in a name", V11 | V12, W("SEND\na\\x:b\n\n\0"), "MALFORMED"},
        {"STOMP 1.2 §Value Encoding: half an escape", V11 | V12, W("SEND\na:b\\\n\n\0"), "MALFORMED"},
        {"STOMP 1.2 §Value Encoding: half an escape in a name", V11 | V12, W("SEND\na\\:b\n\n\0"), "MALFORMED"},
        {"STOMP 1.0: no escapes", V10, W("SEND\na\\c:\\n\\t\\\n\n\0"), "SEND [a\\c=\\n\\t\\]\n"},
        {"STOMP 1.2 §Value Encoding: CONNECT is not escaped", VALL,
         W("CONNECT\naccept-version:1.2\npasscode:\\t\\n\\\n\n\0"),
         "CONNECT [accept-version=1.2] [passcode=\\t\\n\\]\n"},
        {"STOMP 1.2 §CONNECT or STOMP Frame: nor is STOMP", VALL, W("STOMP\naccept-version:1.2\npasscode:\\q\n\n\0"),
         "STOMP [accept-version=1.2] [passcode=\\q]\n"},
        {"STOMP 1.2 §Value Encoding: nor is CONNECTED", VALL, W("CONNECTED\nserver:a\\q\n\n\0"),
         "CONNECTED [server=a\\q]\n"},
        {"x-encoded:1: every %XX is a byte", VALL, W("MESSAGE\na%3ab:1%0D2%252%\nx-encoded:1\n\n%41\0"),
         "MESSAGE [a:b=1<0d>2%2%] [x-encoded=1] \"%41\"\n"},
        {"without it no percent sign means anything", VALL, W("MESSAGE\na%3Ab:%0D\nx-encoded:0\n\n\0"),
         "MESSAGE [a%3Ab=%0D] [x-encoded=0]\n"},
        {"x-encoded:1 after escapes", V11 | V12, W("MESSAGE\na:\\c%0D\\n\nx-encoded:1\n\n\0"),
         "MESSAGE [a=:<0d><0a>] [x-encoded=1]\n"},
    };
    (void)state;
    run_rows(&limits, rows, ROW_N(rows));
}

static void test_bodies(void **state)
{
    static const struct row rows[] = {
        {"STOMP 1.2 §Header content-length: NULs are read", VALL, W("SEND\ncontent-length:3\n\na\0b\0"),
         "SEND [content-length=3] \"a<00>b\"\n"},
        {"STOMP 1.2 §Header content-length: 0", VALL, W("SEND\ncontent-length:0\n\n\0"), "SEND [content-length=0]\n"},
        {"STOMP 1.2 §Header content-length: leading zeros", VALL, W("SEND\ncontent-length:0001\n\nx\0"),
         "SEND [content-length=0001] \"x\"\n"},
        {"without content-length up to the first NUL", VALL, W("SEND\n\na\n\nb\0\n"), "SEND \"a<0a><0a>b\"\neol 1\n"},
        {"STOMP 1.2 §Header content-length: NUL must follow", VALL, W("SEND\ncontent-length:3\n\nabcd\0"), "MALFORMED"},
        {"content-length negative", VALL, W("SEND\ncontent-length:-1\n\n\0"), "MALFORMED"},
        {"content-length not a number", VALL, W("SEND\ncontent-length:1x\n\na\0"), "MALFORMED"},
        {"content-length empty", VALL, W("SEND\ncontent-length:\n\n\0"), "MALFORMED"},
        {"content-length with a sign", VALL, W("SEND\ncontent-length:+1\n\na\0"), "MALFORMED"},
        {"content-length padded: 1.1 and 1.2 never trim", V11 | V12, W("SEND\ncontent-length: 1\n\na\0"), "MALFORMED"},
        {"content-length padded: as in 1.0's examples", V10, W("SEND\ncontent-length: 1\n\na\0"),
         "SEND [content-length=1] \"a\"\n"},
        {"content-length above the limit", VALL, W("SEND\ncontent-length:1048577\n\n"), "TOO_BIG"},
        {"content-length near 2^64", VALL, W("SEND\ncontent-length:18446744073709551615\n\n"), "TOO_BIG"},
        {"content-length far beyond 2^64", VALL, W("SEND\ncontent-length:99999999999999999999999999999999\n\n"),
         "TOO_BIG"},
        {"content-length twice: the first wins", VALL, W("SEND\ncontent-length:1\ncontent-length:5\n\na\0"),
         "SEND [content-length=1] [content-length=5] \"a\"\n"},
        {"STOMP 1.2 §Body: only SEND, MESSAGE, ERROR", V11 | V12, W("SUBSCRIBE\nid:0\n\nx\0"), "PROTOCOL"},
        {"STOMP 1.2 §Body: with content-length", V11 | V12, W("ACK\nid:0\ncontent-length:1\n\nx\0"), "PROTOCOL"},
        {"STOMP 1.2 §Body: content-length:0 is fine", V11 | V12, W("ACK\nid:0\ncontent-length:0\n\n\0"),
         "ACK [id=0] [content-length=0]\n"},
        {"STOMP 1.0: the body of the SUBSCRIBE command is ignored", V10, W("SUBSCRIBE\nid:0\n\nx\0"),
         "SUBSCRIBE [id=0] \"x\"\n"},
        {"STOMP 1.0: a CONNECT may have one, too", VALL, W("CONNECT\nlogin:a\n\n\n\0"), "CONNECT [login=a] \"<0a>\"\n"},
        {"STOMP 1.1 §Body: but not with accept-version", V11 | V12, W("CONNECT\naccept-version:1.1\n\n\n\0"),
         "PROTOCOL"},
    };
    (void)state;
    run_rows(&limits, rows, ROW_N(rows));
}

static void test_refusals(void **state)
{
    static const struct row rows[] = {
        {"unknown command", VALL, W("GET / HTTP/1.1\n"), "PROTOCOL"},
        {"commands are case-sensitive", VALL, W("send\n\n\0"), "PROTOCOL"},
        {"command with a space behind", VALL, W("SEND \n\n\0"), "PROTOCOL"},
        {"command that starts like another", VALL, W("SENDS\n"), "PROTOCOL"},
        {"header without a colon", VALL, W("SEND\nabc\n"), "MALFORMED"},
        {"header without a name", VALL, W("SEND\n:abc\n"), "MALFORMED"},
        {"NUL in the command", VALL, W("SE\0ND\n"), "MALFORMED"},
        {"NUL in a name: the blank line was forgotten", VALL, W("SEND\nab\0"), "MALFORMED"},
        {"NUL in a value: the blank line was forgotten", VALL, W("SEND\nab:c\0"), "MALFORMED"},
        {"NUL between frames", VALL, W("ACK\n\n\0\0"), "ACK\nMALFORMED"},
        {"the frame in front of a bad one is still taken", VALL, W("ACK\nid:1\n\n\0\nNO\n"),
         "ACK [id=1]\neol 1\nPROTOCOL"},
    };
    (void)state;
    run_rows(&limits, rows, ROW_N(rows));
}

/* small: command 11, headers 3, line 16, head 40, body 5 */
static void test_limits(void **state)
{
    static const struct row rows[] = {
        {"STOMP 1.2 §Size Limits: command at the limit", VALL, W("UNSUBSCRIBE\n\n\0"), "UNSUBSCRIBE\n"},
        {"command over the limit, no line end in sight", VALL, W("UNSUBSCRIBER"), "TOO_BIG"},
        {"headers at the limit", VALL, W("ACK\na:\nb:\nc:\n\n\0"), "ACK [a=] [b=] [c=]\n"},
        {"headers over the limit", VALL, W("ACK\na:\nb:\nc:\nd:\n\n\0"), "TOO_BIG"},
        {"headers over the limit, incomplete", VALL, W("ACK\na:\nb:\nc:\nd:\n"), "TOO_BIG"},
        {"line at the limit", VALL, W("ACK\na:23456789abcdef\n\n\0"), "ACK [a=23456789abcdef]\n"},
        {"line at the limit, CR LF", V12, W("ACK\r\na:23456789abcdef\r\n\r\n\0"), "ACK [a=23456789abcdef]\n"},
        {"line over the limit", VALL, W("ACK\na:23456789abcdefg"), "TOO_BIG"},
        {"line over the limit, NUL behind", VALL, W("ACK\na:23456789abcdefg\0"), "TOO_BIG"},
        {"head at the limit", VALL, W("ACK\na:23456789abcdef\nb:23456789abcd\nc:\n\n\0"),
         "ACK [a=23456789abcdef] [b=23456789abcd] [c=]\n"},
        {"head over the limit by its blank line", VALL, W("ACK\na:23456789abcdef\nb:23456789abcde\nc:\n\n"), "TOO_BIG"},
        {"head at the limit, CR LF", V12, W("ACK\r\na:23456789abcdef\r\nb:23456789abc\r\n\r\n\0"),
         "ACK [a=23456789abcdef] [b=23456789abc]\n"},
        {"head over the limit by the LF of its blank line", V12, W("ACK\r\na:23456789abcdef\r\nb:23456789abcd\r\n\r\n"),
         "TOO_BIG"},
        {"head below the limit, incomplete", VALL, W("ACK\na:23456789abcdef\nb:23456789abcdef\nc"), "more\n"},
        {"head that can only end over the limit", VALL, W("ACK\na:23456789abcdef\nb:23456789abcdef\nc:"), "TOO_BIG"},
        {"head over the limit in a line", VALL, W("ACK\na:23456789abcdef\nb:23456789abcdef\nc:234"), "TOO_BIG"},
        {"body at the limit, with length", VALL, W("SEND\ncontent-length:5\n\n12345\0"),
         "SEND [content-length=5] \"12345\"\n"},
        {"body over the limit, with length", VALL, W("SEND\ncontent-length:6\n\n"), "TOO_BIG"},
        {"body at the limit, without", VALL, W("SEND\n\n12345\0"), "SEND \"12345\"\n"},
        {"body over the limit, without", VALL, W("SEND\n\n123456"), "TOO_BIG"},
    };
    (void)state;
    run_rows(&small, rows, ROW_N(rows));
}

/* A body of 1 MiB without content-length, byte by byte, must not be searched again and again. */
static void test_no_rescan(void **state)
{
    static uint8_t wire[(1u << 20) + 64];
    (void)state;
    memset(wire, 'x', sizeof(wire));
    memcpy(wire, "SEND\na:b\n\n", 10);
    struct stomp_scan scan = {0};
    struct stomp_frame f;
    size_t total = 10 + (1u << 20);
    for (size_t n = 0; n < total; n++) {
        assert_int_equal(stomp_frame_decode(wire, n, &limits, STOMP_1_2, &scan, &f), 0);
        assert_true(n < 10 || scan.seen == n);
    }
    wire[total] = '\0';
    assert_int_equal(stomp_frame_decode(wire, total + 1, &limits, STOMP_1_2, &scan, &f), total + 1);
    assert_int_equal(f.body.len, 1u << 20);
    assert_int_equal(scan.head, 0);
    assert_int_equal(scan.seen, 0);
    wire[total] = 'x'; /* one more than the limit */
    assert_int_equal(stomp_frame_decode(wire, total + 1, &limits, STOMP_1_2, &scan, &f), -ERR_TOO_BIG);
}

/* Every name of the list is found, with its own number; what differs in one byte is not. */
static void test_known_names(void **state)
{
    (void)state;
    for (unsigned h = STOMP_H_OTHER + 1; h < STOMP_H_N; h++) {
        struct slice name = stomp_known_text((enum stomp_known)h);
        uint8_t other[64];
        assert_int_equal(stomp_known_from_name(name), h);
        for (size_t i = 0; i < name.len; i++) {
            memcpy(other, name.p, name.len);
            other[i] ^= 0x20; /* names are case-sensitive: STOMP 1.2 §STOMP Frames */
            assert_int_equal(stomp_known_from_name(slice_make(other, name.len)), STOMP_H_OTHER);
        }
        memcpy(other, name.p, name.len);
        other[name.len] = 'z';
        assert_int_equal(stomp_known_from_name(slice_make(other, name.len + 1)), STOMP_H_OTHER);
    }
    assert_int_equal(stomp_known_from_name(SLICE("")), STOMP_H_OTHER);
    for (unsigned c = STOMP_CMD_EOL + 1; c < STOMP_CMD_N; c++)
        assert_int_equal(stomp_command_from_text(stomp_command_text((enum stomp_command)c)), c);
    assert_int_equal(stomp_command_from_text(SLICE("")), STOMP_CMD_EOL);
}

static void test_known_index(void **state)
{
    (void)state;
    struct slice wire = SLICE("SEND\nx:1\nreceipt:r1\ndestination:/a\nreceipt:r2\ncontent-length:0\n\n\0");
    struct stomp_scan scan = {0};
    struct stomp_frame f;
    struct slice value;
    uint8_t buf[1];
    assert_int_equal(stomp_frame_decode(wire.p, wire.len, &limits, STOMP_1_2, &scan, &f), wire.len);
    assert_int_equal(f.known[STOMP_H_RECEIPT], 1);
    assert_int_equal(f.known[STOMP_H_DESTINATION], 2);
    assert_int_equal(f.known[STOMP_H_CONTENT_LENGTH], 4);
    assert_int_equal(f.known[STOMP_H_ID], -1);
    assert_int_equal(f.header[0].known, STOMP_H_OTHER);
    assert_int_equal(f.header[3].known, STOMP_H_RECEIPT);
    /* STOMP 1.2 §Repeated Header Entries; nothing to unescape: points into the wire, needs no room */
    assert_int_equal(stomp_frame_get(&f, STOMP_H_RECEIPT, buf, 0, &value), ERR_OK);
    assert_true(slice_eq(value, SLICE("r1")) && value.p == wire.p + 17);
    assert_int_equal(stomp_frame_get(&f, STOMP_H_ID, buf, 0, &value), ERR_NOT_FOUND);
}

/* Any header by its name, known or not, however the name was spelled. STOMP 1.2 §Repeated Header Entries */
static void test_find(void **state)
{
    (void)state;
    struct slice wire = SLICE("SEND\ncredit:7\nx\\cy:a\\nb\ncredit:8\nempty:\n\n\0");
    struct slice percent = SLICE("SEND\nx-encoded:1\ncre%64it:%41\n\n\0");
    struct stomp_scan scan = {0};
    struct stomp_frame f;
    struct slice value;
    uint8_t buf[16];
    assert_int_equal(stomp_frame_decode(wire.p, wire.len, &limits, STOMP_1_2, &scan, &f), wire.len);
    assert_int_equal(stomp_frame_find(&f, SLICE("credit"), buf, 0, &value), ERR_OK); /* nothing to undo: no room */
    assert_true(slice_eq_str(value, "7"));
    assert_int_equal(stomp_frame_find(&f, SLICE("x:y"), buf, sizeof buf, &value), ERR_OK);
    assert_true(slice_eq_str(value, "a\nb"));
    assert_int_equal(stomp_frame_find(&f, SLICE("x:y"), buf, 1, &value), ERR_TOO_BIG);
    assert_int_equal(stomp_frame_find(&f, SLICE("empty"), buf, 0, &value), ERR_OK);
    assert_int_equal(value.len, 0);
    assert_int_equal(stomp_frame_find(&f, SLICE("x\\cy"), buf, sizeof buf, &value), ERR_NOT_FOUND);
    assert_int_equal(stomp_frame_find(&f, SLICE("Credit"), buf, sizeof buf, &value), ERR_NOT_FOUND);
    assert_int_equal(stomp_frame_decode(percent.p, percent.len, &limits, STOMP_1_2, &scan, &f), percent.len);
    assert_int_equal(stomp_frame_find(&f, SLICE("credit"), buf, sizeof buf, &value), ERR_OK);
    assert_true(slice_eq_str(value, "A"));
}

static void test_unescape(void **state)
{
    (void)state;
    uint8_t out[8];
    assert_int_equal(stomp_unescape(STOMP_1_2, SLICE("a\\r\\n"), out, 3), 3);
    assert_memory_equal(out, "a\r\n", 3);
    assert_int_equal(stomp_unescape(STOMP_1_2, SLICE("a\\r\\n"), out, 2), -ERR_TOO_BIG);
    assert_int_equal(stomp_unescape(STOMP_1_1, SLICE("\\r"), out, 8), -ERR_MALFORMED);
    assert_int_equal(stomp_unescape(STOMP_1_1, SLICE("\\"), out, 8), -ERR_MALFORMED);
    assert_int_equal(stomp_unescape(STOMP_1_0, SLICE("\\r"), out, 8), 2);
    memcpy(out, "\\c\\\\x", 5);
    assert_int_equal(stomp_unescape(STOMP_1_1, slice_make(out, 5), out, 8), 3); /* in place */
    assert_memory_equal(out, ":\\x", 3);
}

static void test_header_needs_room(void **state)
{
    (void)state;
    struct slice wire = SLICE("SEND\na:x\\cy\n\n\0");
    struct stomp_scan scan = {0};
    struct stomp_frame f;
    struct slice value;
    uint8_t buf[4];
    assert_int_equal(stomp_frame_decode(wire.p, wire.len, &limits, STOMP_1_2, &scan, &f), wire.len);
    assert_int_equal(stomp_header_value(&f, 0, buf, 3, &value), ERR_TOO_BIG);
    assert_int_equal(stomp_header_value(&f, 0, buf, 4, &value), ERR_OK);
    assert_true(slice_eq(value, SLICE("x:y")));
}

struct write_row {
    const char *tag;
    unsigned versions;
    enum stomp_command command;
    struct slice name, value;
    struct slice wire;
};

/* What goes out: one header, and a body "b" where one may be. */
static void test_write(void **state)
{
    static const struct write_row rows[] = {
        {"plain", VALL, STOMP_CMD_MESSAGE, W("destination"), W("/a"),
         W("MESSAGE\ndestination:/a\ncontent-length:1\n\nb\0")},
        {"STOMP 1.2 §Value Encoding", V12, STOMP_CMD_MESSAGE, W("a:\n"), W("\r\n:\\%41"),
         W("MESSAGE\na\\c\\n:\\r\\n\\c\\\\%41\ncontent-length:1\n\nb\0")},
        {"STOMP 1.1 §Value Encoding: CR has no escape", V11, STOMP_CMD_MESSAGE, W("a:%"), W("\r\n:\\%"),
         W("MESSAGE\na\\c%25:%0D\\n\\c\\\\%25\ncontent-length:1\nx-encoded:1\n\nb\0")},
        {"STOMP 1.0: no escapes at all", V10, STOMP_CMD_MESSAGE, W("a:%"), W("\r\n:\\%"),
         W("MESSAGE\na%3A%25:%0D%0A:\\%25\ncontent-length:1\nx-encoded:1\n\nb\0")},
        {"STOMP 1.0: colon and backslash in a value are themselves", V10, STOMP_CMD_MESSAGE, W("a"), W("x:\\n%"),
         W("MESSAGE\na:x:\\n%\ncontent-length:1\n\nb\0")},
        {"NUL never goes out", VALL, STOMP_CMD_MESSAGE, W("a"),
         W("1\0"
           "2"),
         W("MESSAGE\na:1%002\ncontent-length:1\nx-encoded:1\n\nb\0")},
        {"STOMP 1.0: a space its readers would drop", V10, STOMP_CMD_MESSAGE, W("destination"), W(" /a"),
         W("MESSAGE\ndestination:%20/a\ncontent-length:1\nx-encoded:1\n\nb\0")},
        {"STOMP 1.0: nobody trims a passcode", V10, STOMP_CMD_CONNECT, W("passcode"), W(" p"),
         W("CONNECT\npasscode: p\n\n")},
        {"STOMP 1.1: no trimming, no need", V11 | V12, STOMP_CMD_MESSAGE, W("destination"), W(" /a"),
         W("MESSAGE\ndestination: /a\ncontent-length:1\n\nb\0")},
        {"STOMP 1.2 §Value Encoding: CONNECTED is not escaped", VALL, STOMP_CMD_CONNECTED, W("server"), W("a\\b:c"),
         W("CONNECTED\nserver:a\\b:c\n\n")},
        {"CONNECTED cannot be broken either", VALL, STOMP_CMD_CONNECTED, W("session"), W("a\nb:c"),
         W("CONNECTED\nsession:a%0Ab:c\nx-encoded:1\n\n")},
    };
    (void)state;
    for (size_t i = 0; i < ROW_N(rows); i++) {
        for (unsigned v = STOMP_1_0; v <= STOMP_1_2; v++) {
            const struct write_row *row = &rows[i];
            if ((row->versions & 1u << v) == 0)
                continue;
            size_t cap = STOMP_WRITE_FIXED_MAX + stomp_header_bound(row->name.len, row->value.len) + 1;
            uint8_t *buf = guard_room(cap);
            struct stomp_writer w;
            stomp_write_begin(&w, buf, cap, (enum stomp_version)v, row->command);
            stomp_write_header(&w, row->name, row->value);
            ptrdiff_t n =
                row->command == STOMP_CMD_MESSAGE ? stomp_write_body(&w, SLICE("b")) : stomp_write_end(&w, NONE);
            if (n < 0 || !slice_eq(slice_make(buf, (size_t)n), row->wire))
                fail_msg("%s, version 1.%u: wrote %td bytes\n%.*s", row->tag, v, n, (int)n, (const char *)buf);
            guard_free(buf);
        }
    }
}

/* The first %XX also rewrites what is already there, and nothing else. */
static void test_write_encodes_backwards(void **state)
{
    (void)state;
    uint8_t buf[400];
    struct stomp_writer w;
    stomp_write_begin(&w, buf, sizeof(buf), STOMP_1_1, STOMP_CMD_MESSAGE);
    stomp_write_known(&w, STOMP_H_DESTINATION, SLICE("/mqtt/100%/%41"));
    stomp_write_u64(&w, STOMP_H_SUBSCRIPTION, 18446744073709551615u);
    stomp_write_header(&w, SLICE("%k"), SLICE("\r"));
    stomp_write_header(&w, SLICE("l%"), SLICE("%"));
    ptrdiff_t n = stomp_write_end(&w, 0);
    struct slice expected = SLICE("MESSAGE\ndestination:/mqtt/100%25/%2541\nsubscription:18446744073709551615\n"
                                  "%25k:%0D\nl%25:%25\ncontent-length:0\nx-encoded:1\n\n");
    assert_int_equal(n, expected.len);
    assert_memory_equal(buf, expected.p, expected.len);
}

static void test_write_without_room(void **state)
{
    (void)state;
    struct slice name = SLICE("n"), value = SLICE("\r\r\r\r");
    size_t need = STOMP_WRITE_FIXED_MAX + stomp_header_bound(name.len, value.len) + 3;
    for (size_t cap = 0; cap <= need; cap++) {
        uint8_t *buf = guard_room(cap);
        struct stomp_writer w;
        stomp_write_begin(&w, buf, cap, STOMP_1_0, STOMP_CMD_SEND);
        stomp_write_header(&w, name, value);
        ptrdiff_t n = stomp_write_body(&w, SLICE("abc"));
        assert_true(cap < need ? n == -ERR_TOO_BIG : n > 0);
        guard_free(buf);
    }
}

struct random_header {
    uint8_t name[16], value[40];
    size_t name_len, value_len;
};

/* Bytes with a taste for those that mean something. */
static size_t random_text(struct rng *rng, uint8_t *p, size_t min, size_t max)
{
    static const char liked[] = "\n\r:\\% %41nrc";
    size_t n = min + rng_below(rng, (uint32_t)(max - min + 1));
    for (size_t i = 0; i < n; i++)
        p[i] = rng_chance(rng, 50) ? (uint8_t)liked[rng_below(rng, sizeof(liked))] : (uint8_t)rng_u64(rng);
    return n;
}

/* Encoding and decoding give back every name, value and body, in every version. */
static void test_round_trip(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 12);
    for (unsigned round = 0; round < 60000; round++) {
        struct random_header h[6];
        unsigned n = rng_below(&rng, ROW_N(h) + 1);
        enum stomp_version v = (enum stomp_version)rng_below(&rng, 3);
        enum stomp_command c = (enum stomp_command)(1 + rng_below(&rng, STOMP_CMD_N - 1));
        bool has_body = c == STOMP_CMD_SEND || c == STOMP_CMD_MESSAGE || c == STOMP_CMD_ERROR;
        uint8_t body[20], buf[2048], text[64];
        size_t body_len = has_body ? random_text(&rng, body, 0, sizeof(body)) : 0;
        struct stomp_writer w;
        stomp_write_begin(&w, buf, sizeof(buf), v, c);
        if (v != STOMP_1_0) /* or a CONNECT would be a 1.0 frame */
            stomp_write_known(&w, STOMP_H_ACCEPT_VERSION, SLICE("1.2"));
        for (unsigned i = 0; i < n; i++) {
            h[i].name_len = random_text(&rng, h[i].name, 1, sizeof(h[i].name));
            if (rng_chance(&rng, 30)) {
                memcpy(h[i].name, "message-id", 10);
                h[i].name_len = 10;
            }
            h[i].value_len = random_text(&rng, h[i].value, 0, sizeof(h[i].value));
            stomp_write_header(&w, slice_make(h[i].name, h[i].name_len), slice_make(h[i].value, h[i].value_len));
        }
        ptrdiff_t written = stomp_write_body(&w, slice_make(body, body_len));
        assert_true(written > 0);
        struct stomp_scan scan = {0};
        struct stomp_frame f;
        assert_int_equal(stomp_frame_decode(buf, (size_t)written, &limits, v, &scan, &f), written);
        assert_int_equal(f.command, c);
        assert_true(slice_eq(f.body, slice_make(body, body_len)));
        uint32_t first = v != STOMP_1_0;
        assert_int_equal(f.header_n, first + n + 1 + w.encoded);
        for (unsigned i = 0; i < n; i++) {
            struct slice got;
            assert_int_equal(stomp_header_name(&f, first + i, text, sizeof(text), &got), ERR_OK);
            assert_true(slice_eq(got, slice_make(h[i].name, h[i].name_len)));
            uint8_t room[160];
            assert_int_equal(stomp_header_value(&f, first + i, room, sizeof(room), &got), ERR_OK);
            assert_true(slice_eq(got, slice_make(h[i].value, h[i].value_len)));
        }
    }
}

static void test_version_pick(void **state)
{
    static const struct {
        struct slice list;
        int version; /* -1: none */
    } rows[] = {
        {W("1.2"), STOMP_1_2},
        {W("1.0,1.1,1.2"), STOMP_1_2},
        {W("1.0,1.1,2.0"), STOMP_1_1},
        {W("1.2,1.0"), STOMP_1_2},
        {W("1.0"), STOMP_1_0},
        {W(" 1.1 , 1.0"), STOMP_1_1},
        {W("2.0,1.3"), -1},
        {W(""), -1},
        {W(","), -1},
        {W("1.1,,"), STOMP_1_1},
        {W("1.20"), -1},
        {W("1.1;1.2"), -1},
    };
    (void)state;
    for (size_t i = 0; i < ROW_N(rows); i++) {
        enum stomp_version v;
        enum err e = stomp_version_pick(rows[i].list, &v);
        assert_int_equal(e, rows[i].version < 0 ? ERR_UNSUPPORTED : ERR_OK);
        if (e == ERR_OK)
            assert_int_equal(v, rows[i].version);
    }
}

static void test_heart_beat(void **state)
{
    static const struct {
        struct slice text;
        bool ok;
        uint32_t can, wants;
    } rows[] = {
        {W("0,0"), true, 0, 0},
        {W("10000,5000"), true, 10000, 5000},
        {W("1000, 2000"), true, 1000, 2000},
        {W("4294967295,4294967296"), true, UINT32_MAX, UINT32_MAX},
        {W("99999999999999999999999999,1"), true, UINT32_MAX, 1},
        {W(""), false, 0, 0},
        {W("1"), false, 0, 0},
        {W("1,"), false, 0, 0},
        {W(",1"), false, 0, 0},
        {W("1,2,3"), false, 0, 0},
        {W("-1,2"), false, 0, 0},
        {W("1,x"), false, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < ROW_N(rows); i++) {
        uint32_t can = 7, wants = 7;
        enum err e = stomp_heart_beat_parse(rows[i].text, &can, &wants);
        assert_int_equal(e, rows[i].ok ? ERR_OK : ERR_MALFORMED);
        assert_int_equal(can, rows[i].ok ? rows[i].can : 7);
        assert_int_equal(wants, rows[i].ok ? rows[i].wants : 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_rescan),
        cmocka_unit_test(test_known_names),
        cmocka_unit_test(test_known_index),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_header_needs_room),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_encodes_backwards),
        cmocka_unit_test(test_write_without_room),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_version_pick),
        cmocka_unit_test(test_heart_beat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
