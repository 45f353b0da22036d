/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_TALK_STAGE_H
#define WEIR_TESTS_TALK_STAGE_H

/*
 * talk_stage.h: the packets of MQTT 5 that a client may send with properties or a reason code, each in a conversation
 * where it belongs: what comes before it, the packet (the probe), a ping.
 *
 *     struct probe probe = probe_make(PUBREC, block);
 *     stage(&t, &probe);
 *     want_taken(&t, PUBREC, NONE);            or want_end(&t, PUBREC, "81")
 */

#include "tests/wire/talk.h"
#include "tests/wire/talk_probe.h"

static inline void put_proof_stage(struct talk *t, enum place at)
{
    struct bytes props = {0};
    put_slice(&props, METHOD);
    put_slice(&props, WHO);
    t->has_auth = true;
    put_hello(talk_line(t), 5, slice_make(props.p, props.n));
    if (at == AUTH_AGAIN)
        put_auth(talk_line(t), 0x18, METHOD, FRIEND);
}

/* put_stage: what comes before the probe. The answers it must get are in BEFORE (a message for oneself comes before its
 * acknowledgement here; the specification does not say). */
static inline void put_stage(struct talk *t, enum place at)
{
    if (at == CONNECT || at == WILL)
        return;
    if (is_proof(at)) {
        put_proof_stage(t, at);
        return;
    }
    bool is_ack = at == PUBACK || at == PUBREC || at == PUBCOMP;
    put_hello(talk_line(t), 5, is_ack ? WINDOW_1 : at == DISCONNECT ? EXPIRY_10 : NONE);
    if (at == PUBLISH || at == UNSUBSCRIBE)
        put_subscribe(talk_line(t), 5, 1, NONE, "t", 0);
    if (at == PUBREL)
        put_publish(talk_line(t), 5, 4, "t", 5, NONE, "x");
    if (!is_ack)
        return;
    unsigned flags = at == PUBACK ? 2 : 4;
    put_subscribe(talk_line(t), 5, 1, NONE, "t", 2);
    put_publish(talk_line(t), 5, flags, "t", 5, NONE, "x");
    put_publish(talk_line(t), 5, flags, "t", 6, NONE, "y");
    if (at == PUBCOMP)
        put_ack(talk_line(t), 0x50, 1);
    t->reacts = true;
}

static const char *const BEFORE[PLACE_N] = {
    [CONNECT] = "",
    [WILL] = "",
    [PUBLISH] = "connack 00; suback 1 00;",
    [PUBACK] = "connack 00; suback 1 02; publish1 #1 t x; puback 5; puback 6;",
    [PUBREC] = "connack 00; suback 1 02; publish2 #1 t x; pubrec 5; pubrec 6;",
    [PUBREL] = "connack 00; pubrec 5 10;",
    [PUBCOMP] = "connack 00; suback 1 02; publish2 #1 t x; pubrec 5; pubrec 6; pubrel 1;",
    [SUBSCRIBE] = "connack 00;",
    [UNSUBSCRIBE] = "connack 00; suback 1 00;",
    [DISCONNECT] = "connack 00;",
    [AUTH] = "connack 00;",
    [AUTH_LOGIN] = "auth 18;",
    [AUTH_AGAIN] = "auth 18; connack 00;",
};

/* What the probe is answered if it is taken; of the acks one sees that the next message comes. */
static const char *const TAKEN[PLACE_N] = {
    [CONNECT] = "connack 00; pingresp",
    [WILL] = "connack 00; pingresp",
    [PUBLISH] = NULL, /* see want_taken */
    [PUBACK] = "publish1 * t y; pingresp",
    [PUBREC] = "pubrel 1; pingresp",
    [PUBREL] = "pubcomp 5; pingresp",
    [PUBCOMP] = "publish2 * t y; pingresp",
    [SUBSCRIBE] = "suback 2 00; pingresp",
    [UNSUBSCRIBE] = "unsuback 3 00; pingresp",
    [DISCONNECT] = "closed",
    [AUTH] = "disconnect 82; closed", /* [MQTT-4.12.0-7] no method in CONNECT, no AUTH */
    [AUTH_LOGIN] = "connack 00; pingresp",
    [AUTH_AGAIN] = "auth 18; pingresp",
};

/* stage: the whole conversation around a probe but for what is expected. */
static inline void stage(struct talk *t, const struct probe *p)
{
    talk_begin(t, 5);
    put_stage(t, p->at);
    if (p->at == CONNECT || p->at == WILL) {
        put_connect(talk_line(t), p);
    } else {
        struct bytes body = {0};
        unsigned first = put_body(&body, p);
        put_packet(talk_line(t), first, &body);
    }
    talk_probe(t);
    put_ping(talk_line(t));
}

/* want_end: the connection ends with one of `codes`, in CONNACK if it has not been said yes to ([MQTT-3.14.0-1] no
 * DISCONNECT then; in an exchange CONNACK may be left out). */
static inline void want_end(struct talk *t, enum place at, const char *codes)
{
    const char *with = at == CONNECT || at == WILL || at == AUTH_LOGIN ? "connack" : "disconnect";
    if (at == AUTH_LOGIN)
        talk_expect(t, "%s %s %s; closed or %s closed", BEFORE[at], with, codes, BEFORE[at]);
    else
        talk_expect(t, "%s %s %s; closed", BEFORE[at], with, at == AUTH ? "81|82" : codes);
}

/* want_taken: it goes on; `passed` are the properties a PUBLISH goes out with, NONE: none. */
static inline void want_taken(struct talk *t, enum place at, struct slice passed)
{
    char props[400] = "";
    size_t n = 0;
    for (size_t i = 0; at == PUBLISH && i < passed.len && n + 8 < sizeof props; i++)
        n += (size_t)snprintf(props + n, sizeof props - n, "%s%02x%s", i == 0 ? " [" : "", passed.p[i],
                              i + 1 == passed.len ? "]" : "");
    if (at == PUBLISH)
        talk_expect(t, "%s publish0 t%s x; puback 5; pingresp", BEFORE[at], props);
    else
        talk_expect(t, "%s %s", BEFORE[at], TAKEN[at]);
}

#endif
