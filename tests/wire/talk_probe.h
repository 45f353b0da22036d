/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_TALK_PROBE_H
#define WEIR_TESTS_TALK_PROBE_H

/*
 * talk_probe.h: the packets of MQTT 5 that a client may send with properties or a reason code, with whatever block and
 * code a test wants in them. AUTH is there three times: where no method was named in CONNECT; as the answer that
 * completes a login; as the beginning of a re-authentication. The last two need the method of
 * tests/support/fake_auth.h.
 */

#include "tests/wire/talk_bytes.h"

/* In the order of the columns of test_mqtt_matrix.c. */
enum place {
    CONNECT,
    WILL,
    PUBLISH,
    PUBACK,
    PUBREC,
    PUBREL,
    PUBCOMP,
    SUBSCRIBE,
    UNSUBSCRIBE,
    DISCONNECT,
    AUTH,
    AUTH_LOGIN,
    AUTH_AGAIN,
    PLACE_N
};

static const char LETTER[PLACE_N + 1] = "CWPabcdSUDAAA";
static const char *const NAME[PLACE_N] = {"CONNECT",
                                          "Will",
                                          "PUBLISH",
                                          "PUBACK",
                                          "PUBREC",
                                          "PUBREL",
                                          "PUBCOMP",
                                          "SUBSCRIBE",
                                          "UNSUBSCRIBE",
                                          "DISCONNECT",
                                          "AUTH",
                                          "AUTH at login",
                                          "AUTH of a re-authentication"};

/* A packet under test: its property block and, for DISCONNECT, AUTH and the acks, its reason code. */
struct probe {
    enum place at;
    struct slice block;
    struct slice length; /* in place of the block's true length; empty: the true one */
    unsigned code;
    size_t keep;   /* only so many bytes of the block are there and nothing behind it; 0: all */
    bool is_short; /* ends with the code: no property length */
};

static const struct slice NONE = {NULL, 0};
static const struct slice WINDOW_1 = BYTES("\x21\x00\x01"); /* Receive Maximum 1: the second message waits */
static const struct slice EXPIRY_10 = BYTES("\x11\x00\x00\x00\x0a");
static const struct slice METHOD = BYTES("\x15\x00\x04"
                                         "FAKE");
static const struct slice WHO = BYTES("\x16\x00\x03"
                                      "bob");
static const struct slice FRIEND = BYTES("\x16\x00\x06"
                                         "friend");

static inline bool is_proof(enum place at)
{
    return at == AUTH_LOGIN || at == AUTH_AGAIN;
}

/* probe_make: with the reason code that is good there. */
static inline struct probe probe_make(enum place at, struct slice block)
{
    return (struct probe){.at = at, .block = block, .code = at == AUTH_LOGIN ? 0x18 : at == AUTH_AGAIN ? 0x19 : 0};
}

/* put_must: what AUTH must carry anyway (§3.15.2.2.2), unless the block itself speaks of it. */
static inline void put_must(struct bytes *b, const struct probe *p)
{
    unsigned id = p->block.len != 0 ? p->block.p[0] : 0;
    if (!is_proof(p->at))
        return;
    if (id != 0x15)
        put_slice(b, METHOD);
    if (id != 0x16)
        put_slice(b, p->at == AUTH_LOGIN ? FRIEND : WHO);
}

/* put_block: the length and the block; false: nothing may follow. */
static inline bool put_block(struct bytes *b, const struct probe *p)
{
    struct bytes must = {0};
    put_must(&must, p);
    if (p->length.len != 0) {
        put_slice(b, p->length);
        return true;
    }
    put_varint(b, must.n + p->block.len, 0);
    put_all(b, &must);
    put(b, p->block.p, p->keep != 0 ? p->keep : p->block.len);
    return p->keep == 0;
}

static inline void put_connect(struct bytes *b, const struct probe *p)
{
    struct bytes body = {0};
    put_str(&body, "MQTT");
    put(&body, p->at == WILL ? "\x05\x06\x00\x00" : "\x05\x02\x00\x00", 4);
    bool more = true;
    if (p->at == CONNECT)
        more = put_block(&body, p);
    else
        put_u8(&body, 0);
    if (more)
        put_str(&body, "a");
    if (p->at == WILL && put_block(&body, p)) {
        put_str(&body, "will");
        put_str(&body, "gone");
    }
    put_packet(b, 0x10, &body);
}

/* put_body: of the packets that are not CONNECT: the first byte of the packet. */
static inline unsigned put_body(struct bytes *body, const struct probe *p)
{
    static const uint8_t first[PLACE_N] = {
        [PUBLISH] = 0x32, [PUBACK] = 0x40,     [PUBREC] = 0x50,      [PUBREL] = 0x62,
        [PUBCOMP] = 0x70, [SUBSCRIBE] = 0x82,  [UNSUBSCRIBE] = 0xa2, [DISCONNECT] = 0xe0,
        [AUTH] = 0xf0,    [AUTH_LOGIN] = 0xf0, [AUTH_AGAIN] = 0xf0};
    if (p->at == PUBLISH)
        put_str(body, "t");
    if (p->at < DISCONNECT)
        put_u16(body, p->at == PUBLISH || p->at == PUBREL ? 5 : p->at == SUBSCRIBE ? 2 : p->at == UNSUBSCRIBE ? 3 : 1);
    if (p->at != PUBLISH && p->at != SUBSCRIBE && p->at != UNSUBSCRIBE)
        put_u8(body, p->code);
    if (p->is_short || !put_block(body, p))
        return first[p->at];
    if (p->at == PUBLISH)
        put(body, "x", 1);
    if (p->at == SUBSCRIBE || p->at == UNSUBSCRIBE)
        put_str(body, "t");
    if (p->at == SUBSCRIBE)
        put_u8(body, 0);
    return first[p->at];
}

/* put_auth: AUTH with method and data. */
static inline void put_auth(struct bytes *b, unsigned code, struct slice method, struct slice data)
{
    struct bytes body = {0};
    put_u8(&body, code);
    put_varint(&body, method.len + data.len, 0);
    put_slice(&body, method);
    put_slice(&body, data);
    put_packet(b, 0xf0, &body);
}

#endif
