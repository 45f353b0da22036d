/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_order.c: when things may be said: every command before CONNECT, after DISCONNECT and behind an ERROR;
 * which version two sides agree on; heart-beats, from what is offered to what is kept, by a clock that only moves when
 * told.
 *
 * What is right is written here by hand from the specifications.
 *
 * Cost    some hundred small conversations, a second.
 * Thread  one.
 * Spec    STOMP 1.2 §Connecting, §CONNECT or STOMP Frame, §CONNECTED Frame, §Protocol Negotiation, §Heart-beating,
 *         §DISCONNECT, §ERROR; STOMP 1.1 the same, STOMP 1.0 §CONNECT, §DISCONNECT.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/wire/chat.h"

#define PING "SEND\ndestination:/topic/none\nreceipt:p\n\n"

/* Every command there is, with all headers that any version wants. */
static const char *const COMMANDS[] = {"SEND",  "SUBSCRIBE",  "UNSUBSCRIBE", "ACK",     "NACK",  "BEGIN",    "COMMIT",
                                       "ABORT", "DISCONNECT", "MESSAGE",     "RECEIPT", "ERROR", "CONNECTED"};

#define ALL_HEADERS                                                                                                    \
    "id:0\nmessage-id:0\nsubscription:0\ndestination:/topic/a\ntransaction:t\nreceipt-id:r\nversion:1.2\nmessage:m\n"

/* STOMP 1.2 §Connecting: CONNECT comes first. STOMP 1.2 §ERROR: with the receipt-id of what was refused. */
static void before_connect(void **state)
{
    (void)state;
    struct chats all = {0};
    for (unsigned i = 0; i < ARRAY_N(COMMANDS); i++)
        for (unsigned asks = 0; asks < 2; asks++) {
            struct chat t;
            chat_new(&t, 0);
            chat_frame(&t, COMMANDS[i], asks != 0 ? ALL_HEADERS "receipt:r\n" : ALL_HEADERS, "");
            chat_probe(&t);
            chat_raw(&t, CHAT_HELLO[2], strlen(CHAT_HELLO[2]) + 1); /* too late */
            chat_say(&t, "%s before CONNECT", COMMANDS[i]);
            chat_expect(&t, asks != 0 ? "error not-connected for r; closed" : "error not-connected; closed");
            chat_hold(&all, &t);
        }
    chats_end(&all);
}

/* STOMP 1.2 §DISCONNECT: a client sends nothing behind it, and whoever does is not listened to; the RECEIPT is the last
 * frame. */
static void after_disconnect(void **state)
{
    (void)state;
    static const char *const more[] = {"CONNECT", "STOMP", "NONSENSE", "send"};
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(COMMANDS) + ARRAY_N(more) + 1; i++)
            for (unsigned asks = 0; asks < 2; asks++) {
                struct chat t;
                chat_begin(&t, v);
                chat_frame(&t, "SUBSCRIBE", "id:0\ndestination:/topic/a\nreceipt:s\n", "");
                chat_frame(&t, "DISCONNECT", asks != 0 ? "receipt:d\n" : "", "");
                if (i < ARRAY_N(COMMANDS))
                    chat_frame(&t, COMMANDS[i], ALL_HEADERS "receipt:r\n", "");
                else if (i < ARRAY_N(COMMANDS) + ARRAY_N(more))
                    chat_frame(&t, more[i - ARRAY_N(COMMANDS)], "accept-version:1.2\nhost:h\n", "");
                else
                    chat_raw(&t, "\0\0:\\\xff", 5);
                chat_probe(&t);
                chat_say(&t, "%u of the list after DISCONNECT", i);
                chat_expect(&t, "connected *; receipt s; %sclosed", asks != 0 ? "receipt d; " : "");
                chat_hold(&all, &t);
            }
    chats_end(&all);
}

/* STOMP 1.2 §ERROR: the server MUST then close; nothing that comes behind the offending frame is carried out. */
static void after_an_error(void **state)
{
    (void)state;
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(COMMANDS); i++) {
            struct chat t;
            chat_begin(&t, v);
            chat_frame(&t, "SUBSCRIBE", "id:0\ndestination:/topic/a\nreceipt:s\n", "");
            chat_frame(&t, "SEND", "destination:/nowhere/a\nreceipt:bad\n", "");
            chat_frame(&t, COMMANDS[i], ALL_HEADERS "receipt:r\n", "");
            chat_probe(&t);
            chat_raw(&t, PING, sizeof PING);
            chat_say(&t, "%s behind what failed", COMMANDS[i]);
            chat_expect(&t, "connected *; receipt s; error bad-destination for bad; closed");
            chat_hold(&all, &t);
        }
    chats_end(&all);
}

static void connect_again(void **state)
{
    (void)state;
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned again = 0; again <= 2; again++)
            for (unsigned other_word = 0; other_word < 2; other_word++) {
                struct chat t;
                chat_begin(&t, v);
                chat_raw(&t, other_word != 0 ? "STOMP" : "CONNECT", other_word != 0 ? 5 : 7);
                chat_more(&t, CHAT_HELLO[again] + 7, strlen(CHAT_HELLO[again]) - 6);
                chat_probe(&t);
                chat_say(&t, "CONNECT twice, the second asks for 1.%u", again);
                chat_expect(&t, "connected *; error already-connected; closed");
                chat_hold(&all, &t);
            }
    chats_end(&all);
}

/* STOMP 1.2 §Protocol Negotiation: the highest version both know; none given means 1.0; none in common ends it. STOMP
 * 1.2 §CONNECT or STOMP Frame: both words do the same. */
static void versions(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        int v; /* -1: none in common */
    } lists[] = {
        {"1.0", 0},     {"1.1", 1},          {"1.2", 2},         {"1.0,1.1", 1},       {"1.1,1.0", 1},
        {"1.2,1.0", 2}, {"1.0,1.1,1.2", 2},  {"1.2,1.1,1.0", 2}, {"1.2,1.3", 2},       {"1.1,2.0", 1},
        {"2.0,1.0", 0}, {"0.9,1.0,3.14", 0}, {"1.3", -1},        {"2.0", -1},          {"", -1},
        {"1", -1},      {"1.", -1},          {"1.20", -1},       {"1.2.0", -1},        {"v1.2", -1},
        {",", -1},      {"1.3,1.4,2.0", -1}, {"12", -1},         {"1,2", -1},          {"1.1,1.1", 1},
        {"one", -1},    {"1.2,,1.1", 2},     {",1.2", 2},        {"1.0, 1.1, 1.2", 2},
    };
    struct chats all = {0};
    for (unsigned i = 0; i < ARRAY_N(lists); i++)
        for (unsigned other_word = 0; other_word < 2; other_word++) {
            char headers[200];
            struct chat t;
            chat_new(&t, lists[i].v < 0 ? 0 : (unsigned)lists[i].v);
            (void)snprintf(headers, sizeof headers, "accept-version:%s\nhost:h\n", lists[i].list);
            chat_frame(&t, other_word != 0 ? "STOMP" : "CONNECT", headers, "");
            chat_probe(&t);
            chat_raw(&t, PING, sizeof PING);
            chat_say(&t, "accept-version:%s", lists[i].list);
            if (lists[i].v < 0)
                chat_expect(&t, "error version; closed");
            else
                chat_expect(&t, "connected 1.%d; receipt p", lists[i].v);
            chat_hold(&all, &t);
        }
    chats_end(&all);
}

/* STOMP 1.2 §Value Encoding: nothing is escaped in CONNECT, whichever version it asks for; of two headers the first. */
static void connect_is_never_escaped(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "login:a\\b\n",
        "passcode:\\\n",
        "passcode:a:b:c\n",
        "host:\\t\n",
        "host:\n",
        "foo:bar\n",
        "login:x\nlogin:y\n",
        "accept-version:3.0\n",
        "heart-beat:0,0\nheart-beat:nonsense\n",
        "content-length:0\n",
        "receipt:r\n",
        "client-id:\xc3\xa4\n",
    };
    struct chats all = {0};
    for (unsigned v = 1; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(lines); i++) {
            struct chat t;
            char headers[200];
            chat_new(&t, v);
            (void)snprintf(headers, sizeof headers, "accept-version:1.%u\n%s", v, lines[i]);
            chat_frame(&t, "CONNECT", headers, "");
            chat_probe(&t);
            chat_raw(&t, PING, sizeof PING);
            chat_say(&t, "CONNECT with %s", lines[i]);
            chat_expect(&t, "connected 1.%u; receipt p", v); /* STOMP 1.2 §Header receipt: not for CONNECT */
            chat_hold(&all, &t);
        }
    chats_end(&all);
}

/* ---- heart-beats ------------------------------------------------------------------------------------------------- */

enum { BEAT_FLOOR_MS = 250 };

/* kept: what comes of one side's "can" and the other's wish, when Weir can and wants anything down to its floor. */
static uint64_t kept(uint64_t theirs)
{
    return theirs == 0 ? 0 : MAX(MIN(theirs, (uint64_t)UINT32_MAX), (uint64_t)BEAT_FLOOR_MS);
}

/* STOMP 1.2 §Heart-beating: CONNECTED says what the server can do and what it wants. 1.0 has none. */
static void beats_that_are_agreed_on(void **state)
{
    (void)state;
    static const uint64_t ms[] = {0, 1, 249, 250, 251, 10000, UINT32_MAX, (uint64_t)UINT32_MAX + 1, UINT64_C(1) << 62};
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(ms); i++)
            for (unsigned k = 0; k < ARRAY_N(ms); k++) {
                struct chat t;
                char headers[200];
                chat_new(&t, v);
                t.is_one_of_many = true;
                (void)snprintf(headers, sizeof headers, "accept-version:1.%u\nhost:h\nheart-beat:%llu,%llu\n", v,
                               (unsigned long long)ms[i], (unsigned long long)ms[k]);
                chat_frame(&t, "CONNECT", headers, "");
                chat_probe(&t);
                chat_say(&t, "%s", headers);
                if (v == 0 || (ms[i] == 0 && ms[k] == 0))
                    chat_expect(&t, "connected 1.%u", v);
                else
                    chat_expect(&t, "connected 1.%u beat=%llu,%llu", v, (unsigned long long)kept(ms[k]),
                                (unsigned long long)kept(ms[i]));
                chat_hold(&all, &t);
            }
    chats_end(&all);
}

/* Two numbers, not signed, and a comma. In 1.0 the header means nothing. */
static void beats_that_are_none(void **state)
{
    (void)state;
    static const char *const texts[] = {"",     "1",     "1,",   ",1",    "1,2,3", "a,b", "-1,0",
                                        "0,-1", "1.5,0", "+1,0", "0x1,0", "1;2",   "1 2", ","};
    struct chats all = {0};
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(texts); i++) {
            struct chat t;
            char headers[200];
            chat_new(&t, v);
            (void)snprintf(headers, sizeof headers, "accept-version:1.%u\nhost:h\nheart-beat:%s\n", v, texts[i]);
            chat_frame(&t, "CONNECT", headers, "");
            chat_probe(&t);
            chat_say(&t, "heart-beat:%s", texts[i]);
            chat_expect(&t, v == 0 ? "connected 1.0" : "error bad-header; closed");
            chat_hold(&all, &t);
        }
    chats_end(&all);
}

/* One connection with these heart-beats, read as it goes. */
struct beating {
    struct rig *r;
    struct rig_pipe *p;
    struct chat_ear ear;
    struct text words;
    unsigned version;
};

static void beating_begin(struct beating *b, unsigned version, uint64_t can, uint64_t wants)
{
    static const struct adapter_ops *const adapters[] = {&stomp_adapter, NULL};
    struct rig_config config;
    char hello[200];
    rig_config_init(&config);
    config.adapters = adapters;
    *b = (struct beating){.version = version};
    b->r = rig_new(&config);
    assert_non_null(b->r);
    b->p = rig_connect(b->r);
    int n = snprintf(hello, sizeof hello, "CONNECT\naccept-version:1.%u\nhost:h\nheart-beat:%llu,%llu\n\n", version,
                     (unsigned long long)can, (unsigned long long)wants);
    rig_send(b->p, hello, (size_t)n + 1);
    rig_run(b->r);
    chat_listen(&b->ear, b->p, version, &b->words);
    assert_int_equal(strncmp(b->words.p, "connected", 9), 0);
}

/* beating_wait: time passes; what was said meanwhile. */
static const char *beating_wait(struct beating *b, uint64_t ms)
{
    rig_wait(b->r, ms);
    b->words.n = 0;
    b->words.p[0] = '\0';
    chat_listen(&b->ear, b->p, b->version, &b->words);
    if (rig_is_closed(b->p))
        text_put(&b->words, "; closed");
    return b->words.p;
}

static void beating_end(struct beating *b)
{
    chat_ear_free(&b->ear);
    assert_true(rig_free(b->r));
}

static const uint64_t INTERVALS[] = {1, 250, 251, 1000, 59999, 3600000, UINT32_MAX};

/* STOMP 1.2 §Heart-beating: silence of more than the interval, and its error margin, is the end; within, it is not. */
static void silence(void **state)
{
    (void)state;
    for (unsigned v = 1; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(INTERVALS); i++) {
            struct beating b;
            uint64_t every = kept(INTERVALS[i]);
            beating_begin(&b, v, INTERVALS[i], 0);
            for (unsigned k = 0; k < 3; k++) { /* each kind of a sign of life, just before the end of patience */
                assert_string_equal(beating_wait(&b, 2 * every - 1), "");
                rig_send(b.p, k == 0 ? "\n" : k == 1 ? "\r\n" : "S", k == 1 ? 2 : 1);
                rig_run(b.r);
            }
            assert_string_equal(beating_wait(&b, every), "");
            assert_string_equal(beating_wait(&b, every + 1), "error silent; closed");
            beating_end(&b);
        }
}

/* STOMP 1.2 §Heart-beating: who cannot beat is never dead; who said nothing about it neither; 1.0 has no heart-beats.
 */
static void silence_that_is_allowed(void **state)
{
    (void)state;
    for (unsigned v = 0; v <= 2; v++) {
        struct beating b;
        beating_begin(&b, v, v == 0 ? 1000 : 0, v == 0 ? 1000 : 0);
        assert_string_equal(beating_wait(&b, UINT64_C(86400000) * 400), "");
        beating_end(&b);
    }
}

/* STOMP 1.2 §Heart-beating: we MUST send something at least every <interval>, and an EOL when there is nothing else. */
static void beats_come_in_time(void **state)
{
    (void)state;
    for (unsigned v = 1; v <= 2; v++)
        for (unsigned i = 0; i < ARRAY_N(INTERVALS); i++) {
            struct beating b;
            uint64_t every = kept(INTERVALS[i]);
            beating_begin(&b, v, 0, INTERVALS[i]);
            for (unsigned k = 0; k < 20; k++)
                assert_string_equal(beating_wait(&b, every), "beat"); /* in each window something, and only once */
            beating_end(&b);
        }
}

/* Something said is as good as a beat; a beat comes an interval later. STOMP 1.2 §Heart-beating */
static void words_are_beats(void **state)
{
    (void)state;
    for (unsigned v = 1; v <= 2; v++) {
        struct beating b;
        beating_begin(&b, v, 0, 1000);
        for (unsigned k = 0; k < 10; k++) {
            rig_send(b.p, PING, sizeof PING);
            assert_string_equal(beating_wait(&b, 700), "receipt p");
        }
        assert_string_equal(beating_wait(&b, 300), "beat");
        beating_end(&b);
    }
}

/* Who reads nothing for a while finds one line end when it reads on, not all that would have been due. */
static void beats_do_not_pile_up(void **state)
{
    (void)state;
    struct beating b;
    beating_begin(&b, 2, 1000, 1000);
    b.p->is_stalled = true;
    for (unsigned k = 0; k < 3; k++) {
        rig_wait(b.r, 900);
        rig_send(b.p, "\n", 1);
        rig_run(b.r);
    }
    b.p->is_stalled = false;
    rig_run(b.r);
    assert_int_equal(b.p->out.len - b.ear.at, 1);
    assert_string_equal(beating_wait(&b, 899), "beat");
    beating_end(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_connect),
        cmocka_unit_test(after_disconnect),
        cmocka_unit_test(after_an_error),
        cmocka_unit_test(connect_again),
        cmocka_unit_test(versions),
        cmocka_unit_test(connect_is_never_escaped),
        cmocka_unit_test(beats_that_are_agreed_on),
        cmocka_unit_test(beats_that_are_none),
        cmocka_unit_test(silence),
        cmocka_unit_test(silence_that_is_allowed),
        cmocka_unit_test(beats_come_in_time),
        cmocka_unit_test(words_are_beats),
        cmocka_unit_test(beats_do_not_pile_up),
    };
    return cmocka_run_group_tests_name("stomp order", tests, NULL, NULL);
}
