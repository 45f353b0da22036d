/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_matrix.c: every frame of a client, in every version it exists in, with every rule about headers: what must
 * be there and is not, what is there twice, what nobody knows, what is empty, what only a server says; receipts of any
 * text; transactions that are none.
 *
 *     CONNECT ─► what it needs ─► the frame ─► SEND receipt:p     good: RECEIPT, and p's RECEIPT
 *                                                                 bad: ERROR with its code and receipt-id, the end
 *
 * What is right is written here by hand from the specifications. Where they leave a choice, an expectation names all
 * they allow; where Weir has made one (docs/stomp.md), that one.
 *
 * Cost    some thousand small conversations, a second or two.
 * Thread  one.
 * Spec    STOMP 1.2 §Frames and Headers, §Repeated Header Entries, §Header receipt, §Client Frames, §RECEIPT, §ERROR;
 *         STOMP 1.1 and 1.0, the same chapters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/wire/chat.h"

enum { V10 = 1, V11 = 2, V12 = 4, V1112 = 6, ANY = 7 }; /* sets of versions */

static bool is_in(unsigned set, unsigned version)
{
    return (set >> version & 1) != 0;
}

/* What has to happen before a frame makes sense. */
enum stage { ALONE, SUBSCRIBED, DELIVERED, BEGUN };

static const char *const STAGE_SAYS[] = {
    [ALONE] = "connected *",
    [SUBSCRIBED] = "connected *; receipt s",
    [DELIVERED] = "connected *; receipt s; message 0 /queue/q m",
    [BEGUN] = "connected *; receipt s",
};

/* Every frame of a client after CONNECT. */
static const struct frame {
    const char *command;
    unsigned versions;
    enum stage stage;
    const char *headers; /* all it must have */
    struct {
        const char *line, *bad, *code; /* one of them, a value that is wrong, and what it is called */
        const char *empty;             /* what becomes of an empty value: a code, "" for good, NULL for either */
    } must[2];
    bool ends;
} FRAME[] = {
    {"SEND",
     ANY,
     ALONE,
     "destination:/topic/none\n",
     {{"destination:/topic/none\n", "destination:/nowhere/a\n", "bad-destination", "bad-destination"}},
     false},
    {"SUBSCRIBE",
     V1112,
     ALONE,
     "id:1\ndestination:/topic/b\n",
     {{"id:1\n", NULL, NULL, ""},
      {"destination:/topic/b\n", "destination:/nowhere/a\n", "bad-destination", "bad-destination"}},
     false},
    {"SUBSCRIBE", /* STOMP 1.0 §SUBSCRIBE: no id needed */
     V10,
     ALONE,
     "destination:/topic/b\n",
     {{"destination:/topic/b\n", "destination:/nowhere/a\n", "bad-destination", "bad-destination"}},
     false},
    {"UNSUBSCRIBE",
     V1112,
     SUBSCRIBED,
     "id:0\n",
     {{"id:0\n", "id:nope\n", "no-subscription", "no-subscription"}},
     false},
    {"UNSUBSCRIBE", /* STOMP 1.0 §UNSUBSCRIBE: by destination or id */
     V10,
     SUBSCRIBED,
     "id:0\n",
     {{"id:0\n", "id:nope\n", "no-subscription", "no-subscription"}},
     false},
    {"ACK", V12, DELIVERED, "id:@1\n", {{"id:@1\n", "id:nope\n", "unknown-ack", "unknown-ack"}}, false},
    {"NACK", V12, DELIVERED, "id:@1\nrequeue:false\n", {{"id:@1\n", "id:nope\n", "unknown-ack", "unknown-ack"}}, false},
    {"ACK",
     V11,
     DELIVERED,
     "message-id:@1\nsubscription:0\n",
     {{"message-id:@1\n", "message-id:nope\n", "unknown-ack", "unknown-ack"},
      {"subscription:0\n", "subscription:nope\n", "unknown-ack|no-subscription", "unknown-ack|no-subscription"}},
     false},
    {"NACK",
     V11,
     DELIVERED,
     "message-id:@1\nsubscription:0\nrequeue:false\n",
     {{"message-id:@1\n", "message-id:nope\n", "unknown-ack", "unknown-ack"},
      {"subscription:0\n", "subscription:nope\n", "unknown-ack|no-subscription", "unknown-ack|no-subscription"}},
     false},
    {"ACK",
     V10,
     DELIVERED,
     "message-id:@1\n",
     {{"message-id:@1\n", "message-id:nope\n", "unknown-ack", "unknown-ack"}},
     false},
    {"BEGIN", ANY, ALONE, "transaction:t\n", {{"transaction:t\n", NULL, NULL, NULL}}, false},
    {"COMMIT",
     ANY,
     BEGUN,
     "transaction:t\n",
     {{"transaction:t\n", "transaction:nope\n", "unknown-transaction", "unknown-transaction|bad-header"}},
     false},
    {"ABORT",
     ANY,
     BEGUN,
     "transaction:t\n",
     {{"transaction:t\n", "transaction:nope\n", "unknown-transaction", "unknown-transaction|bad-header"}},
     false},
    {"DISCONNECT", ANY, ALONE, "", {{NULL, NULL, NULL, NULL}}, true},
};

/* stage: CONNECT and what the frame needs. */
static void stage(struct chat *t, unsigned version, enum stage at)
{
    chat_begin(t, version);
    if (at == SUBSCRIBED || at == DELIVERED)
        chat_frame(t, "SUBSCRIBE", "id:0\ndestination:/queue/q\nack:client\nreceipt:s\n", "");
    if (at == DELIVERED)
        chat_frame(t, "SEND", "destination:/queue/q\n", "m");
    if (at == BEGUN)
        chat_frame(t, "BEGIN", "transaction:t\nreceipt:s\n", "");
    t->reacts = at == DELIVERED;
}

/* hold: the frame with these headers, then a sign of life; good: `says` is what it is answered with. */
static void hold(struct chats *all, struct chat *t, const struct frame *f, const char *headers, const char *says)
{
    bool is_bad = strncmp(says, "error", 5) == 0;
    chat_frame(t, f->command, headers, "");
    chat_probe(t);
    chat_frame(t, "SEND", "destination:/topic/none\nreceipt:p\n", "");
    const char *sep = says[0] != '\0' ? "; " : "", *end = is_bad || f->ends ? "; closed" : "; receipt p";
    chat_expect(t, "%s%s%s%s", STAGE_SAYS[f->stage], sep, says, end);
    chat_hold(all, t);
}

/* without: the headers but this line; with: in its place another. */
static const char *instead(char out[400], const char *headers, const char *line, const char *other)
{
    const char *at = strstr(headers, line);
    BUG_ON(at == NULL);
    (void)snprintf(out, 400, "%.*s%s%s", (int)(at - headers), headers, other, at + strlen(line));
    return out;
}

#define EACH_FRAME(f, v)                                                                                               \
    for (const struct frame *f = FRAME; f < FRAME + ARRAY_N(FRAME); f++)                                               \
        for (unsigned v = 0; v <= 2; v++)                                                                              \
            if (is_in(f->versions, v))

#define EACH_MUST(f, i)                                                                                                \
    for (unsigned i = 0; i < ARRAY_N((f)->must); i++)                                                                  \
        if ((f)->must[i].line != NULL)

/* STOMP 1.2 §Frames and Headers, the table: what a frame must have. STOMP 1.2 §Header receipt: the ERROR names it. */
static void what_must_be_there_is_not(void **state)
{
    (void)state;
    struct chats all = {0};
    char headers[400];
    EACH_FRAME(f, v)
    {
        EACH_MUST(f, i)
        {
            for (unsigned asks = 0; asks < 2; asks++) {
                struct chat t;
                stage(&t, v, f->stage);
                instead(headers, f->headers, f->must[i].line, asks != 0 ? "receipt:r\n" : "");
                chat_say(&t, "%s without %s", f->command, f->must[i].line);
                hold(&all, &t, f, headers, asks != 0 ? "error missing-header for r" : "error missing-header");
            }
        }
    }
    chats_end(&all);
}

/* STOMP 1.2 §Frames and Headers: names are case-sensitive. */
static void another_case_is_another_name(void **state)
{
    (void)state;
    struct chats all = {0};
    char headers[400], line[100];
    EACH_FRAME(f, v)
    {
        EACH_MUST(f, i)
        {
            struct chat t;
            stage(&t, v, f->stage);
            (void)snprintf(line, sizeof line, "%c%s", f->must[i].line[0] - 32, f->must[i].line + 1);
            chat_say(&t, "%s with %s", f->command, line);
            hold(&all, &t, f, instead(headers, f->headers, f->must[i].line, line), "error missing-header");
        }
    }
    chats_end(&all);
}

/* STOMP 1.2 §Repeated Header Entries: only the first one counts. */
static void of_two_the_first_counts(void **state)
{
    (void)state;
    struct chats all = {0};
    char headers[400], lines[200], says[120];
    EACH_FRAME(f, v)
    {
        EACH_MUST(f, i)
        {
            if (f->must[i].bad == NULL)
                continue;
            for (unsigned good_first = 0; good_first < 2; good_first++) {
                struct chat t;
                const char *a = f->must[i].line, *b = f->must[i].bad;
                stage(&t, v, f->stage);
                (void)snprintf(lines, sizeof lines, "%s%sreceipt:r\nreceipt:second\n", good_first != 0 ? a : b,
                               good_first != 0 ? b : a);
                (void)snprintf(says, sizeof says, "error %s for r", f->must[i].code);
                chat_say(&t, "%s with %s", f->command, lines);
                hold(&all, &t, f, instead(headers, f->headers, a, lines), good_first != 0 ? "receipt r" : says);
            }
        }
    }
    chats_end(&all);
}

/* Values that are there and empty. */
static void what_is_empty(void **state)
{
    (void)state;
    struct chats all = {0};
    char headers[400], line[100], says[120];
    EACH_FRAME(f, v)
    {
        EACH_MUST(f, i)
        {
            struct chat t;
            const char *empty = f->must[i].empty, *colon = strchr(f->must[i].line, ':');
            if (empty == NULL)
                continue;
            stage(&t, v, f->stage);
            (void)snprintf(line, sizeof line, "%.*s:\nreceipt:r\n", (int)(colon - f->must[i].line), f->must[i].line);
            (void)snprintf(says, sizeof says, "error %s for r", empty);
            chat_say(&t, "%s with %s", f->command, line);
            hold(&all, &t, f, instead(headers, f->headers, f->must[i].line, line),
                 empty[0] == '\0' ? "receipt r" : says);
        }
    }
    chats_end(&all);
}

/* STOMP 1.2 §Client Frames: what nobody knows does not hurt, and neither does what only a server says. */
static void headers_that_mean_nothing(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "foo:bar\n",
        "foo:\n",
        "x-foo:bar\nx-foo:baz\n",
        "a b c:d\n",
        "receipt-id:x\n",
        "server:x\n",
        "version:1.2\n",
        "heart-beat:1,1\n",
        "accept-version:1.1\n",
        "host:elsewhere\n",
        "login:x\npasscode:y\n",
        "session:x\n",
        "content-length:0\n",
        "content-length:00\n",
        "content-type:text/plain\n",
        "\xc3\xa4:\xe2\x82\xac\n",
    };
    struct chats all = {0};
    char headers[400];
    EACH_FRAME(f, v)
    {
        for (unsigned i = 0; i < ARRAY_N(lines); i++) {
            struct chat t;
            stage(&t, v, f->stage);
            (void)snprintf(headers, sizeof headers, "%s%sreceipt:r\n", lines[i], f->headers);
            chat_say(&t, "%s with %s", f->command, lines[i]);
            hold(&all, &t, f, headers, "receipt r");
        }
    }
    chats_end(&all);
}

/* A SEND's words that only a broker says in MESSAGE are not passed on as the broker's. STOMP 1.2 §MESSAGE */
static void what_only_a_broker_says(void **state)
{
    (void)state;
    static const char *const names[] = {
        "message-id",       "subscription", "ack",      "receipt-id",      "redelivered",         "retained",
        "x-delivery-count", "x-death",      "mqtt-qos", "x-death-1-queue", "x-first-death-reason"};
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(names); i++) {
            struct chat t;
            char headers[200];
            chat_begin(&t, v);
            chat_frame(&t, "SUBSCRIBE", "id:0\ndestination:/topic/a\nreceipt:s\n", "");
            (void)snprintf(headers, sizeof headers, "destination:/topic/a\n%s:forged\nmine:1\n", names[i]);
            chat_frame(&t, "SEND", headers, "x");
            chat_probe(&t);
            chat_say(&t, "SEND with %s", names[i]);
            chat_expect(&t, "connected 1.%u; receipt s; message 0 /topic/a [mine=1] x", v);
            chat_hold(&all, &t);
        }
    chats_end(&all);
}

/* STOMP 1.2 §Header receipt, §RECEIPT: any text, given back as it was, on every frame. */
static void receipts_of_any_text(void **state)
{
    (void)state;
    static const struct {
        const char *wire, *says;
        unsigned versions;
    } texts[] = {
        {"", "\"\"", ANY},
        {"0", "0", ANY},
        {"message-12345", "message-12345", ANY},
        {"a b", "a\\x20b", ANY},
        {"a:b", "a:b", ANY}, /* unescaped: taken, as all brokers do */
        {"\\c\\n\\\\", ":\\x0a\\", V1112},
        {"\\r", "\\x0d", V12},
        {"\\c\\n\\\\\\t", "\\c\\n\\\\\\t", V10},
        {"%41%", "%41%", ANY},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\\xc3\\xa4\\xe2\\x82\\xac\\xf0\\x9f\\x98\\x80", ANY},
        {" x", "\\x20x", V1112}, /* STOMP 1.2 §Frames and Headers: never trimmed */
        {"x ", "x\\x20", ANY},
    };
    struct chats all = {0};
    char headers[400], says[200];
    EACH_FRAME(f, v)
    {
        for (unsigned i = 0; i < ARRAY_N(texts); i++) {
            struct chat t;
            if (!is_in(texts[i].versions, v))
                continue;
            stage(&t, v, f->stage);
            (void)snprintf(headers, sizeof headers, "%sreceipt:%s\n", f->headers, texts[i].wire);
            (void)snprintf(says, sizeof says, "receipt %s", texts[i].says);
            chat_say(&t, "%s with receipt %u of the list", f->command, i);
            hold(&all, &t, f, headers, says);
        }
    }
    chats_end(&all);
}

/* Without receipt: nothing is said. */
static void none_asked_none_given(void **state)
{
    (void)state;
    struct chats all = {0};
    EACH_FRAME(f, v)
    {
        struct chat t;
        stage(&t, v, f->stage);
        chat_say(&t, "%s alone", f->command);
        hold(&all, &t, f, f->headers, "");
    }
    chats_end(&all);
}

/* STOMP 1.2 §SEND, §ACK, §NACK: a transaction that was never begun. STOMP 1.2 §BEGIN: each its own name. */
static void transactions_that_are_none(void **state)
{
    (void)state;
    struct chats all = {0};
    char headers[400];
    EACH_FRAME(f, v)
    {
        bool may = strcmp(f->command, "SEND") == 0 || strstr(f->command, "ACK") != NULL;
        struct chat t;
        if (!may)
            continue;
        stage(&t, v, f->stage);
        (void)snprintf(headers, sizeof headers, "%stransaction:nope\nreceipt:r\n", f->headers);
        chat_say(&t, "%s in a transaction that is none", f->command);
        hold(&all, &t, f, headers, "error unknown-transaction for r");
    }
    static const struct frame begin = {"BEGIN", ANY, BEGUN, "transaction:t\n", {{0}}, false};
    for (unsigned v = 0; v <= 2; v++) {
        struct chat t;
        stage(&t, v, BEGUN);
        chat_say(&t, "BEGIN twice");
        hold(&all, &t, &begin, "transaction:t\nreceipt:r\n", "error duplicate-transaction for r");
    }
    chats_end(&all);
}

/* What may be there only so many times: the last one is one too many. STOMP 1.2 §SUBSCRIBE, §BEGIN, §SEND;
 * docs/limits.md.
 */
static void as_many_as_may_be(void **state)
{
    (void)state;
    static const struct {
        const char *command, *headers, *name; /* the header that says which of them it is */
        const char *begin;                    /* before all, or NULL */
        unsigned n;                           /* that are good */
        size_t body_n;
    } cases[] = {
        {"SUBSCRIBE", "destination:/topic/b\n", "id:", NULL, 3, 0},
        {"BEGIN", "", "transaction:t", NULL, 3, 0},
        {"SEND", "destination:/topic/none\ntransaction:t\n", "mine:", "t", 4, 0},
        {"SEND", "destination:/topic/none\ntransaction:t\n", "mine:", "t", 1, 600},
    };
    struct chats all = {0};
    char headers[200], body[700];
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(cases); i++) {
            struct text want = {0};
            struct chat t;
            chat_begin(&t, v);
            t.config.limits.stomp_subscriptions_max = 3;
            t.config.limits.tx_n_max = 3;
            t.config.limits.tx_actions_max = 4;
            t.config.limits.tx_bytes_max = 1024;
            memset(body, 'b', sizeof body);
            body[cases[i].body_n] = '\0';
            if (cases[i].begin != NULL)
                chat_frame(&t, "BEGIN", "transaction:t\n", "");
            text_put(&want, "connected *");
            for (unsigned k = 0; k <= cases[i].n; k++) {
                (void)snprintf(headers, sizeof headers, "%s%s%u\nreceipt:r%u\n", cases[i].headers, cases[i].name, k, k);
                chat_frame(&t, cases[i].command, headers, body);
                text_put(&want, k < cases[i].n ? "; receipt r%u" : "; error limit for r%u; closed", k);
            }
            chat_probe(&t);
            chat_say(&t, "%s, %u times", cases[i].command, cases[i].n + 1);
            chat_expect(&t, "%s", want.p);
            chat_hold(&all, &t);
        }
    chats_end(&all);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_must_be_there_is_not),  cmocka_unit_test(another_case_is_another_name),
        cmocka_unit_test(of_two_the_first_counts),    cmocka_unit_test(what_is_empty),
        cmocka_unit_test(headers_that_mean_nothing),  cmocka_unit_test(what_only_a_broker_says),
        cmocka_unit_test(receipts_of_any_text),       cmocka_unit_test(none_asked_none_given),
        cmocka_unit_test(transactions_that_are_none), cmocka_unit_test(as_many_as_may_be),
    };
    return cmocka_run_group_tests_name("stomp matrix", tests, NULL, NULL);
}
