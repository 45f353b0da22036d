/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_ACROSS_NOTE_H
#define WEIR_TESTS_ACROSS_NOTE_H

/* across_note.h: a message as test_across_random.c sees it, whichever protocol said it; random ones; in words. */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/base/check.h"
#include "core/base/rng.h"

enum { BIT_MAX = 120, USERS_MAX = 8 };

/* A short text, or bytes. */
struct bit {
    size_t n;
    unsigned char p[BIT_MAX];
};

struct note {
    struct bit topic, payload, type, reply, correlation;
    bool has_type, has_reply, has_correlation, retain;
    int format; /* Payload Format Indicator; -1: none */
    unsigned qos;
    uint32_t expiry; /* s; 0: none */
    unsigned user_n;
    struct {
        struct bit name, value;
        bool is_reserved; /* made so on purpose: over STOMP it has "user." in front */
    } user[USERS_MAX];
};

static inline struct bit bit_make(const void *p, size_t n)
{
    struct bit out = {.n = MIN(n, (size_t)BIT_MAX)};
    if (out.n != 0)
        memcpy(out.p, p, out.n);
    return out;
}

static inline struct bit bit_of(const char *text)
{
    return bit_make(text, strlen(text));
}

static inline void bit_add(struct bit *b, const char *text)
{
    size_t n = strlen(text);
    if (b->n + n > BIT_MAX)
        return;
    memcpy(b->p + b->n, text, n);
    b->n += n;
}

#define PICK(rng, list) ((list)[rng_below(rng, (uint32_t)ARRAY_N(list))])

/* bit_random: a text of up to max pieces, each of which has made trouble somewhere. */
static inline struct bit bit_random(struct rng *rng, unsigned max)
{
    static const char *const pieces[] = {"a",
                                         "B",
                                         "7",
                                         ".",
                                         "*",
                                         "**",
                                         "%",
                                         "%2A",
                                         "%41",
                                         "%zz",
                                         "%%",
                                         ">",
                                         "/",
                                         "+",
                                         "#",
                                         ":",
                                         ";",
                                         "=",
                                         "\\",
                                         "\\n",
                                         "\\c",
                                         "\\r",
                                         " ",
                                         "  ",
                                         "\n",
                                         "\r",
                                         "\t",
                                         "\"",
                                         "user.",
                                         "\x7f",
                                         "\xc3\xa4",
                                         "\xe2\x82\xac",
                                         "\xf0\x9f\x98\x80",
                                         "\xef\xbf\xbd",
                                         "\xc2\x80"};
    struct bit out = {0};
    for (unsigned n = rng_below(rng, max + 1); n > 0; n--)
        bit_add(&out, PICK(rng, pieces));
    return out;
}

/* topic_random: as MQTT allows it: no wildcards, not empty; the broker's own ($...) are left alone. */
static inline struct bit topic_random(struct rng *rng)
{
    static const char *const pieces[] = {"a",
                                         "b",
                                         "/",
                                         "/",
                                         "/",
                                         ".",
                                         "..",
                                         "*",
                                         "**",
                                         ">",
                                         "%",
                                         "%2E",
                                         "%2f",
                                         "%",
                                         " ",
                                         ":",
                                         "\\",
                                         "\\c",
                                         "\n",
                                         "\r",
                                         "\t",
                                         "$",
                                         "~",
                                         "\xc3\xa4",
                                         "\xe2\x82\xac",
                                         "\xf0\x9f\x98\x80",
                                         "topic",
                                         "queue",
                                         "mqtt",
                                         "a.b",
                                         "a.b/c"};
    struct bit out = {0};
    while (out.n == 0)
        for (unsigned n = 1 + rng_below(rng, 10); n > 0; n--)
            bit_add(&out, PICK(rng, pieces));
    if (out.p[0] == '$')
        out.p[0] = 'S';
    return out;
}

static inline void users_random(struct rng *rng, struct note *m)
{
    static const char *const reserved[] = {"destination",
                                           "message-id",
                                           "subscription",
                                           "ack",
                                           "receipt",
                                           "receipt-id",
                                           "content-length",
                                           "transaction",
                                           "redelivered",
                                           "retained",
                                           "x-death",
                                           "x-delivery-count",
                                           "persistent",
                                           "retain",
                                           "expiration",
                                           "expires",
                                           "ttl",
                                           "qos",
                                           "mqtt-qos",
                                           "reply-to",
                                           "content-type",
                                           "correlation-id",
                                           "correlation-id-encoding",
                                           "x-encoded",
                                           "user.",
                                           "user.x",
                                           "user.user.destination",
                                           "",
                                           "x-delay",
                                           "durable",
                                           "x-first-death-reason",
                                           "x-message-ttl"};
    static const char *const plain[] = {"name",   "Destination", "user", "x-mine",   "User.x", "id",  "message",
                                        "server", "a b",         "%41",  "exchange", "queue",  "key", "credit-card"};
    m->user_n = rng_below(rng, USERS_MAX);
    for (unsigned i = 0; i < m->user_n; i++) {
        unsigned kind = rng_below(rng, 4);
        m->user[i].is_reserved = kind == 0;
        m->user[i].name = kind == 0 ? bit_of(PICK(rng, reserved)) : bit_of(PICK(rng, plain));
        if (kind == 3) {
            m->user[i].name = bit_of("n");
            struct bit more = bit_random(rng, 4);
            memcpy(m->user[i].name.p + 1, more.p, MIN(more.n, (size_t)50));
            m->user[i].name.n += MIN(more.n, (size_t)50);
        }
        m->user[i].value = bit_random(rng, 6);
        if (i > 0 && rng_chance(rng, 25)) { /* twice the same name, or the same altogether */
            m->user[i].name = m->user[i - 1].name;
            m->user[i].is_reserved = m->user[i - 1].is_reserved;
        }
    }
}

static inline void note_random(struct rng *rng, struct note *m)
{
    static const char *const types[] = {"text/plain",      "application/json", "text/html; charset=utf-8", "",
                                        "image/png",       "TEXT/x",           "a;charset=UTF-8",          "tex",
                                        "application/x:y", " text/plain"};
    memset(m, 0, sizeof *m);
    m->topic = topic_random(rng);
    m->payload = bit_random(rng, 8);
    m->qos = rng_below(rng, 3);
    if (rng_chance(rng, 20)) { /* any bytes */
        for (m->payload.n = 0; m->payload.n < 20; m->payload.n++)
            m->payload.p[m->payload.n] = (unsigned char)rng_u64(rng);
    }
    m->has_type = rng_chance(rng, 50);
    if (m->has_type)
        m->type = rng_chance(rng, 70) ? bit_of(PICK(rng, types)) : bit_random(rng, 5);
    m->format = rng_chance(rng, 40) ? (int)rng_below(rng, 2) : -1;
    m->has_reply = rng_chance(rng, 40);
    if (m->has_reply)
        m->reply = topic_random(rng);
    m->has_correlation = rng_chance(rng, 40);
    if (m->has_correlation) {
        m->correlation = bit_random(rng, 5);
        if (rng_chance(rng, 50)) {
            m->correlation.n = rng_below(rng, 20);
            for (size_t i = 0; i < m->correlation.n; i++)
                m->correlation.p[i] = (unsigned char)rng_u64(rng);
        }
    }
    m->expiry = rng_chance(rng, 30) ? 1 + rng_below(rng, 100000) : 0;
    users_random(rng, m);
}

#endif
