/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_acks.c: QoS 1 and 2 with the peer's packets in every order, by 3.1, 3.1.1 and 5: every sequence of a few
 * letters (PUBACK for something unknown, PUBREC twice, PUBREC that says no, PUBCOMP before PUBREC, PUBREL for nothing,
 * an id used again while it is open) against a model that knows one packet id at a time.
 *
 *     stage ─► letter ─► letter ─► letter ─► ping         the model says what each letter is answered
 *
 *     to the peer     QoS 1  SENT ─PUBACK─► FREE
 *                     QoS 2  SENT ─PUBREC─► RECEIVED (PUBREL) ─PUBCOMP─► FREE      SENT ─PUBREC >= 0x80─► FREE
 *     from the peer   QoS 2  FREE ─PUBLISH─► OPEN (passed on, PUBREC) ─PUBREL─► FREE (PUBCOMP)
 *
 * Where the specifications do not say what an answer that fits nothing is worth, the model says what this broker holds
 * to be right: an answer to the wrong QoS or before its turn is a Protocol Error; one to an unknown id is passed over,
 * but for PUBREC and PUBREL, whose sender waits for a word.
 *
 * Cost    some thousand conversations, a few seconds.
 * Thread  one.
 * Spec    MQTT 5 §3.4 to §3.7, §4.3, §4.4, §4.6; MQTT 3.1.1 §4.3, §4.4; MQTT 3.1 §4.1.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/wire/talk.h"

enum { LETTERS = 3 }; /* in one sequence */

static const struct slice NONE = {NULL, 0};

/* What the broker says in one conversation, as it grows. */
struct script {
    struct text says;
    unsigned version;
    bool is_over; /* the broker has closed it */
};

static void says(struct script *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void says(struct script *s, const char *fmt, ...)
{
    va_list args;
    char what[100];
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    text_put(&s->says, "%s%s", s->says.n != 0 ? "; " : "", what);
}

static void breaks(struct script *s)
{
    if (s->version == 5)
        says(s, "disconnect 82");
    says(s, "closed");
    s->is_over = true;
}

/* unknown: the answer to an id that is not known: 0x92 in version 5 (§3.6.2.1, §3.7.2.1). */
static void unknown(struct script *s, const char *packet, unsigned id)
{
    says(s, "%s %u%s", packet, id, s->version == 5 ? " 92" : "");
}

static void hold_script(struct talks *all, struct talk *t, struct script *s)
{
    put_ping(talk_line(t));
    if (!s->is_over)
        says(s, "pingresp");
    talk_expect(t, "%s", s->says.p);
    talk_hold(all, t);
}

/* ---- to the peer --------------------------------------------------------------------------------------------- */

enum out_state { SENT, RECEIVED, FREE };

enum out_letter {
    PUBACK_1,
    PUBREC_1,
    PUBCOMP_1,
    PUBACK_9,
    PUBREC_9,
    PUBCOMP_9,
    PUBREL_9,
    OUT_V3_N, /* version 5 has two more */
    PUBACK_NO = OUT_V3_N,
    PUBREC_NO,
    OUT_V5_N
};

static const struct {
    const char *name;
    struct slice wire;
} OUT[OUT_V5_N] = {
    [PUBACK_1] = {"PUBACK", BYTES("\x40\x02\0\1")},         [PUBREC_1] = {"PUBREC", BYTES("\x50\x02\0\1")},
    [PUBCOMP_1] = {"PUBCOMP", BYTES("\x70\x02\0\1")},       [PUBACK_9] = {"PUBACK-9", BYTES("\x40\x02\0\x09")},
    [PUBREC_9] = {"PUBREC-9", BYTES("\x50\x02\0\x09")},     [PUBCOMP_9] = {"PUBCOMP-9", BYTES("\x70\x02\0\x09")},
    [PUBREL_9] = {"PUBREL-9", BYTES("\x62\x02\0\x09")},     [PUBACK_NO] = {"PUBACK-no", BYTES("\x40\x03\0\1\x97")},
    [PUBREC_NO] = {"PUBREC-no", BYTES("\x50\x03\0\1\x80")},
};

/* out_rec: PUBREC for the id that was used. */
static enum out_state out_rec(struct script *s, enum out_state now, unsigned qos)
{
    if (now == FREE) {
        unknown(s, "pubrel", 1);
        return FREE;
    }
    if (qos == 1) {
        breaks(s);
        return FREE;
    }
    says(s, "pubrel 1"); /* [MQTT-4.3.3-4], and again for a PUBREC that comes again; 3.1.1: [MQTT-4.3.3-1] */
    return RECEIVED;
}

/* out_no: PUBREC with a reason from 0x80: over, if it was the first answer [MQTT-4.4.0-2]. */
static enum out_state out_no(struct script *s, enum out_state now, unsigned qos)
{
    if (now != FREE && (qos == 1 || now == RECEIVED))
        breaks(s);
    return FREE;
}

/* out_step: one letter of the peer's while the id of a delivery of `qos` is in state `now`. */
static enum out_state out_step(struct script *s, enum out_letter letter, enum out_state now, unsigned qos)
{
    switch (letter) {
    case PUBACK_1:
    case PUBACK_NO: /* an answer all the same */
        if (now != FREE && qos == 2)
            breaks(s);
        return FREE;
    case PUBREC_1:
        return out_rec(s, now, qos);
    case PUBREC_NO:
        return out_no(s, now, qos);
    case PUBCOMP_1:
        if (now == SENT)
            breaks(s);
        return FREE;
    case PUBREC_9:
        unknown(s, "pubrel", 9);
        return now;
    case PUBREL_9:
        unknown(s, "pubcomp", 9); /* [MQTT-4.3.3-11]; 3.1.1: [MQTT-4.3.3-2] */
        return now;
    default: /* PUBACK and PUBCOMP for nothing */
        return now;
    }
}

/* out_stage: a peer that gave itself a message at `qos`, id 1 on the way to it. */
static void out_stage(struct talk *t, struct script *s, unsigned version, unsigned qos)
{
    talk_begin(t, version);
    t->reacts = true;
    *s = (struct script){.version = version};
    put_hello(talk_line(t), version, NONE);
    put_subscribe(talk_line(t), version, 1, NONE, "t", qos);
    put_publish(talk_line(t), version, qos << 1, "t", 100, NONE, "x");
    says(s, "connack 00");
    says(s, "suback 1 %02x", qos);
    says(s, "publish%u #1 t x", qos);
    says(s, qos == 1 ? "puback 100" : "pubrec 100");
}

/* out_play: the sequence with the number n, in base `letters`. */
static void out_play(struct talks *all, unsigned version, unsigned qos, unsigned n)
{
    struct talk t;
    struct script s;
    unsigned letters = version == 5 ? OUT_V5_N : OUT_V3_N;
    enum out_state now = SENT;
    out_stage(&t, &s, version, qos);
    struct text name = {0};
    text_put(&name, "QoS %u:", qos);
    for (unsigned i = 0; i < LETTERS; i++, n /= letters) {
        put_slice(talk_line(&t), OUT[n % letters].wire);
        text_put(&name, " %s", OUT[n % letters].name);
        if (!s.is_over)
            now = out_step(&s, (enum out_letter)(n % letters), now, qos);
    }
    talk_probe(&t);
    talk_say(&t, "%s", name.p);
    hold_script(all, &t, &s);
}

/* [MQTT-4.3.2-1] to [MQTT-4.3.2-3], [MQTT-4.3.3-1] to [MQTT-4.3.3-7]; 3.1.1: [MQTT-4.3.2-1], [MQTT-4.3.3-1]. */
static void answers_in_every_order(void **state)
{
    (void)state;
    struct talks all = {0};
    for (unsigned version = 3; version <= 5; version++)
        for (unsigned qos = 1; qos <= 2; qos++) {
            unsigned letters = version == 5 ? OUT_V5_N : OUT_V3_N;
            for (unsigned n = 0; n < letters * letters * letters; n++)
                out_play(&all, version, qos, n);
        }
    talks_end(&all);
}

/* ---- from the peer ------------------------------------------------------------------------------------------- */

enum in_letter { PUB1_5, PUB1_5_DUP, PUB2_5, PUB2_5_DUP, PUB2_6, PUBREL_5, PUBREL_6, SUB_5, IN_N };

static const char *const IN_NAME[IN_N] = {"PUBLISH1-5", "PUBLISH1-5-dup", "PUBLISH2-5", "PUBLISH2-5-dup",
                                          "PUBLISH2-6", "PUBREL-5",       "PUBREL-6",   "SUBSCRIBE-5"};

static void put_in(struct bytes *b, unsigned version, enum in_letter letter, const char *payload)
{
    static const unsigned flags[] = {[PUB1_5] = 2, [PUB1_5_DUP] = 10, [PUB2_5] = 4, [PUB2_5_DUP] = 12, [PUB2_6] = 4};
    if (letter <= PUB2_6)
        put_publish(b, version, flags[letter], "t", letter == PUB2_6 ? 6 : 5, NONE, payload);
    else if (letter == SUB_5)
        put_subscribe(b, version, 5, NONE, "u", 1);
    else
        put_ack(b, 0x62, letter == PUBREL_5 ? 5 : 6);
}

/* in_pub2: QoS 2: passed on once, whatever its payload and DUP, until PUBREL [MQTT-4.3.3-10]; 3.1.1: [MQTT-4.3.3-2]. */
static void in_pub2(struct script *s, bool *is_open, unsigned id, const char *payload)
{
    if (!*is_open)
        says(s, "publish0 t %s", payload);
    says(s, "pubrec %u", id);
    *is_open = true;
}

static void in_rel(struct script *s, bool *is_open, unsigned id)
{
    if (*is_open)
        says(s, "pubcomp %u", id);
    else
        unknown(s, "pubcomp", id);
    *is_open = false;
}

/* in_step: the two ids. A QoS 1 PUBLISH or a SUBSCRIBE with the id of an open QoS 2 one breaks [MQTT-2.2.1-3] (3.1.1:
 * [MQTT-2.3.1-2]); no code is demanded, and what does not depend on the other is simply done. */
static void in_step(struct script *s, enum in_letter letter, bool is_open[2], const char *payload)
{
    switch (letter) {
    case PUB1_5:
    case PUB1_5_DUP: /* [MQTT-4.3.2-5] not to be recognized by its DUP */
        says(s, "publish0 t %s", payload);
        says(s, "puback 5");
        break;
    case PUB2_5:
    case PUB2_5_DUP:
        in_pub2(s, &is_open[0], 5, payload);
        break;
    case PUB2_6:
        in_pub2(s, &is_open[1], 6, payload);
        break;
    case PUBREL_5:
        in_rel(s, &is_open[0], 5);
        break;
    case PUBREL_6:
        in_rel(s, &is_open[1], 6);
        break;
    default:
        says(s, "suback 5 01");
        break;
    }
}

static void in_play(struct talks *all, unsigned version, unsigned letters, unsigned n)
{
    static const char *const payload[] = {"x", "y", "z", "v"};
    struct talk t;
    struct script s = {.version = version};
    bool is_open[2] = {false, false};
    struct text name = {0};
    talk_begin(&t, version);
    put_hello(talk_line(&t), version, NONE);
    put_subscribe(talk_line(&t), version, 1, NONE, "t", 0);
    says(&s, "connack 00");
    says(&s, "suback 1 00");
    for (unsigned i = 0; i < letters; i++, n /= IN_N) {
        put_in(talk_line(&t), version, (enum in_letter)(n % IN_N), payload[i]);
        in_step(&s, (enum in_letter)(n % IN_N), is_open, payload[i]);
        text_put(&name, " %s", IN_NAME[n % IN_N]);
    }
    t.reacts = true; /* acknowledgements and messages may stand in another order */
    talk_probe(&t);
    talk_say(&t, "%s", name.p);
    hold_script(all, &t, &s);
}

/* [MQTT-4.3.2-4], [MQTT-4.3.2-5], [MQTT-4.3.3-8] to [MQTT-4.3.3-13]; 3.1.1: [MQTT-4.3.2-2], [MQTT-4.3.3-2]. */
static void messages_in_every_order(void **state)
{
    (void)state;
    struct talks all = {0};
    for (unsigned version = 3; version <= 5; version++)
        for (unsigned n = 0; n < IN_N * IN_N * IN_N; n++)
            in_play(&all, version, 3, n);
    for (unsigned n = 0; n < IN_N * IN_N * IN_N * IN_N; n++)
        in_play(&all, 4, 4, n);
    talks_end(&all);
}

/* ---- both at once -------------------------------------------------------------------------------------------- */

/* The peer's packet id 1 and the broker's packet id 1 are two things (MQTT 5 §2.2.1, 3.1.1 §2.3.1). */
static void ids_of_both_sides(void **state)
{
    (void)state;
    static const char *const name[] = {"PUBREL", "PUBREC", "PUBCOMP", "PUBLISH-dup"};
    struct talks all = {0};
    for (unsigned version = 3; version <= 5; version++)
        for (unsigned n = 0; n < 256; n++) {
            struct talk t;
            struct script s = {.version = version};
            struct text words = {0};
            bool is_open = true;
            enum out_state now = SENT;
            talk_begin(&t, version);
            t.reacts = true;
            put_hello(talk_line(&t), version, NONE);
            put_subscribe(talk_line(&t), version, 1, NONE, "t", 2);
            put_publish(talk_line(&t), version, 4, "t", 1, NONE, "x");
            says(&s, "connack 00; suback 1 02; publish2 #1 t x; pubrec 1");
            for (unsigned i = 0, left = n; i < 4 && !s.is_over; i++, left /= 4) {
                static const unsigned first[] = {0x62, 0x50, 0x70};
                unsigned letter = left % 4;
                text_put(&words, " %s", name[letter]);
                if (letter == 3 && !is_open)
                    break; /* a new message: its delivery is another story */
                if (letter == 3)
                    put_publish(talk_line(&t), version, 12, "t", 1, NONE, "x");
                else
                    put_ack(talk_line(&t), first[letter], 1);
                if (letter == 0)
                    in_rel(&s, &is_open, 1);
                else if (letter == 3)
                    says(&s, "pubrec 1");
                else
                    now = out_step(&s, letter == 1 ? PUBREC_1 : PUBCOMP_1, now, 2);
            }
            talk_probe(&t);
            talk_say(&t, "%s", words.p);
            hold_script(&all, &t, &s);
        }
    talks_end(&all);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_in_every_order),
        cmocka_unit_test(messages_in_every_order),
        cmocka_unit_test(ids_of_both_sides),
    };
    return cmocka_run_group_tests_name("mqtt acks", tests, NULL, NULL);
}
