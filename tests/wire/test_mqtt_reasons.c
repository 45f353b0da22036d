/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_reasons.c: every reason code in every packet of a client's that has one, and the turns an exchange of AUTH
 * packets can take. And first of all that the reader of answers (talk_read.h) can say no.
 *
 * What may be sent is copied by hand from the tables of MQTT 5 §3.4 to §3.15, not from the broker's own.
 *
 * Cost    some thousand conversations, a second or two.
 * Thread  one.
 * Spec    MQTT 5 §2.4, §3.4.2.1, §3.5.2.1, §3.6.2.1, §3.7.2.1, §3.14.2.1, §3.15.2.1, §4.12.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/wire/talk_stage.h"

/* ---- reason codes -------------------------------------------------------------------------------------------- */

/* By hand from the tables of §3.4.2.1, §3.5.2.1, §3.6.2.1, §3.7.2.1, §3.14.2.1 (MQTT 5 table 2-6). */
static const struct reasons {
    enum place at;
    const char *tag;
    struct slice codes;      /* that a client may send */
    struct slice of_servers; /* in the table, but "sent by: Server": taken or refused */
} REASONS[] = {
    {PUBACK, "[MQTT-3.4.2-1]", BYTES("\x00\x10\x80\x83\x87\x90\x91\x97\x99"), BYTES("")},
    {PUBREC, "[MQTT-3.5.2-1]", BYTES("\x00\x10\x80\x83\x87\x90\x91\x97\x99"), BYTES("")},
    {PUBREL, "[MQTT-3.6.2-1]", BYTES("\x00\x92"), BYTES("")},
    {PUBCOMP, "[MQTT-3.7.2-1]", BYTES("\x00\x92"), BYTES("")},
    {DISCONNECT, "[MQTT-3.14.2-1]", BYTES("\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99"),
     BYTES("\x87\x89\x8b\x8c\x8d\x8e\x8f\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2")},
    {AUTH, "[MQTT-3.15.2-1]", BYTES("\x18\x19"), BYTES("\x00")},
    {AUTH_LOGIN, "[MQTT-4.12.0-3]", BYTES("\x18"), BYTES("")}, /* 19 is for later, 00 for servers */
    {AUTH_AGAIN, "[MQTT-4.12.1-1]", BYTES("\x19"), BYTES("")},
};

static bool has_code(struct slice codes, unsigned code)
{
    return slice_find(codes, (uint8_t)code) >= 0;
}

/* want_reason: of a code that may be sent. */
static void want_reason(struct talk *t, enum place at, unsigned code)
{
    if (at == PUBREC && code >= 0x80) /* [MQTT-4.4.0-2] it is over, and the next one comes */
        talk_expect(t, "%s publish2 * t y; pingresp", BEFORE[at]);
    else
        want_taken(t, at, NONE);
}

static void each_reason_in_each_packet(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(REASONS); i++)
        for (unsigned code = 0; code < 256; code++)
            for (unsigned form = 0; form < 2; form++) {
                const struct reasons *r = &REASONS[i];
                struct probe probe = probe_make(r->at, NONE);
                probe.code = code;
                probe.is_short = form != 0;
                stage(&t, &probe);
                talk_say(&t, "%s reason 0x%02x in %s%s", r->tag, code, NAME[r->at], form != 0 ? ", short" : "");
                if (form != 0 && r->at >= AUTH)
                    want_end(&t, r->at, "81|82"); /* §3.15.2: a code, and then a method */
                else if (has_code(r->codes, code))
                    want_reason(&t, r->at, code);
                else if (has_code(r->of_servers, code))
                    talk_expect(&t, "%s closed or %s disconnect 82; closed", BEFORE[r->at], BEFORE[r->at]);
                else
                    want_end(&t, r->at, "82");
                talk_hold(&all, &t);
            }
    talks_end(&all);
}

/* ---- AUTH ---------------------------------------------------------------------------------------------------- */

/* Letters of the peer's in an exchange; upper-case method and data are those of talk_stage.h. */
struct turn {
    const char *what;
    const char *expect; /* behind "auth 18; " */
    struct slice line[3];
    bool is_in_login; /* the exchange of the login is still open; otherwise the login is done */
};

#define AUTH_FRIEND "\xf0\x12\x18\x10\x15\0\4FAKE\x16\0\6friend"
#define AUTH_FOE    "\xf0\x0f\x18\x0d\x15\0\4FAKE\x16\0\3foe"
#define AUTH_EMPTY  "\xf0\x09\x18\x07\x15\0\4FAKE"
#define AUTH_OTHER  "\xf0\x12\x18\x10\x15\0\4ONCE\x16\0\6friend"
#define AUTH_NONE   "\xf0\x0b\x18\x09\x16\0\6friend"
#define AGAIN       "\xf0\x0f\x19\x0d\x15\0\4FAKE\x16\0\3bob"
#define AGAIN_OTHER "\xf0\x12\x19\x10\x15\0\4ONCE\x16\0\6friend"
#define PING        "\xc0\0"
#define SUB         "\x82\7\0\1\0\0\1t\0"

static const struct turn TURN[] = {
    {"the right answer", "connack 00; pingresp", {BYTES(AUTH_FRIEND), BYTES(PING)}, true},
    {"the wrong answer", "connack 86|87; closed", {BYTES(AUTH_FOE), BYTES(PING)}, true},
    {"no answer", "connack 86|87; closed", {BYTES(AUTH_EMPTY), BYTES(PING)}, true},
    {"another method [MQTT-4.12.0-5]", "connack 82|8c; closed or closed", {BYTES(AUTH_OTHER)}, true},
    {"no method", "connack 82; closed or closed", {BYTES(AUTH_NONE)}, true}, /* §3.15.2.2.2 */
    {"an empty AUTH says Success, as servers do", "connack 82; closed or closed", {BYTES("\xf0\0")}, true},
    {"a ping [MQTT-3.1.2-30]", "connack 82; closed or closed", {BYTES(PING)}, true},
    {"SUBSCRIBE [MQTT-3.1.2-30]", "connack 82; closed or closed", {BYTES(SUB)}, true},
    {"PUBLISH [MQTT-3.1.2-30]", "connack 82; closed or closed", {BYTES("\x30\4\0\1t\0")}, true},
    {"a second CONNECT [MQTT-3.1.0-2]",
     "connack 82; closed or closed",
     {BYTES("\x10\x0e\0\4MQTT\5\2\0\0\0\0\1a")},
     true},
    {"goodbye", "closed", {BYTES("\xe0\0"), BYTES(PING)}, true},
    {"again", "connack 00; auth 18; auth 00; pingresp", {BYTES(AGAIN), BYTES(AUTH_FRIEND), BYTES(PING)}, false},
    {"again, the wrong answer", "connack 00; auth 18; disconnect 87; closed", {BYTES(AGAIN), BYTES(AUTH_FOE)}, false},
    {"again, by another method", "connack 00; disconnect 82|8c; closed", {BYTES(AGAIN_OTHER), BYTES(PING)}, false},
    {"again, and life goes on",
     "connack 00; auth 18; suback 1 00; auth 00",
     {BYTES(AGAIN), BYTES(SUB), BYTES(AUTH_FRIEND)},
     false},
    {"again within again", "connack 00; auth 18; disconnect 82; closed", {BYTES(AGAIN), BYTES(AGAIN)}, false},
    {"an answer to nothing", "connack 00; disconnect 82; closed", {BYTES(AUTH_FRIEND), BYTES(PING)}, false},
    {"an empty AUTH", "connack 00; disconnect 82; closed", {BYTES("\xf0\0"), BYTES(PING)}, false},
    {"again, then goodbye", "connack 00; auth 18; closed", {BYTES(AGAIN), BYTES("\xe0\0")}, false},
};

static void turns_of_an_exchange(void **state)
{
    (void)state;
    struct talks all = {0};
    struct talk t;
    for (size_t i = 0; i < ARRAY_N(TURN); i++) {
        talk_begin(&t, 5);
        t.reacts = true;
        put_proof_stage(&t, TURN[i].is_in_login ? AUTH_LOGIN : AUTH_AGAIN);
        put_slice(talk_line(&t), TURN[i].line[0]);
        talk_probe(&t);
        for (size_t k = 1; k < ARRAY_N(TURN[i].line); k++)
            put_slice(talk_line(&t), TURN[i].line[k]);
        talk_say(&t, "%s", TURN[i].what);
        const char *other = strstr(TURN[i].expect, " or ");
        if (other != NULL)
            talk_expect(&t, "auth 18; %.*s or auth 18; %s", (int)(other - TURN[i].expect), TURN[i].expect, other + 4);
        else
            talk_expect(&t, "auth 18; %s", TURN[i].expect);
        talk_hold(&all, &t);
    }
    talks_end(&all);
}

/* ---- the reader itself --------------------------------------------------------------------------------------- */

/* What all these tests lean on: that answers are read as they are, and that what does not fit is found not to. */
static void the_reader_can_say_no(void **state)
{
    (void)state;
    static const struct {
        unsigned version;
        struct slice bytes;
        const char *words;
    } said[] = {
        {5, BYTES("\x20\3\1\0\0\xe0\0"), "connack 00 present; disconnect 00; closed"},
        {5, BYTES("\x20\2\0\x81\xe0\7\x82\5\x1f\0\2hi"), "connack 81; disconnect 82; closed"},
        {5, BYTES("\x3b\x0a\0\1t\0\7\2\1\1hi"), "publish1 #7 t [0101] hi dup retain; closed"},
        {4, BYTES("\x90\4\0\7\0\x80\xd0\0"), "suback 7 00 80; pingresp; closed"},
        {4, BYTES("\x40\3\0\7\0"), "puback 7 broken; closed"},
        {4, BYTES("\xe0\0"), " broken; closed"},
        {5, BYTES("\xd0\1"), "broken; closed"},
    };
    static const struct {
        const char *want, *got;
        bool fits;
    } pair[] = {
        {"a; b", "a; b", true},
        {"a; b", "a", false},
        {"a", "a; b", false},
        {"a|b c", "b c", true},
        {"a|b c", "c c", false},
        {"a * c", "a x c", true},
        {"a *", "a", false},
        {"a or b; c", "b; c", true},
        {"a or b; c", "b", false},
        {"", "", true},
        {"", "a", false},
        {"82|8c", "8", false},
        {"closed", " closed", true},
        {"a; closed", "a closed", false},
    };
    for (size_t i = 0; i < ARRAY_N(said); i++) {
        struct text words = {0};
        read_words(&words, said[i].version, said[i].bytes.p, said[i].bytes.len, true);
        assert_string_equal(words.p, said[i].words);
    }
    for (size_t i = 0; i < ARRAY_N(pair); i++)
        if (words_fit(pair[i].want, pair[i].got) != pair[i].fits)
            fail_msg("'%s' and '%s'", pair[i].want, pair[i].got);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reader_can_say_no),
        cmocka_unit_test(each_reason_in_each_packet),
        cmocka_unit_test(turns_of_an_exchange),
    };
    return cmocka_run_group_tests_name("mqtt reasons", tests, NULL, NULL);
}
