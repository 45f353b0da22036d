/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_STOMP_FEED_H
#define WEIR_TESTS_STOMP_FEED_H

/* stomp_feed.h: the words of fuzz_stomp_state.c: bytes of the input become numbers, texts, headers, destinations. An
 * input that has ended reads as zeros. */

#include <stdarg.h>
#include <stdio.h>

#include "core/base/check.h"
#include "core/base/slice.h"

enum { FRAME_MAX = 4096, TXS = 3 };

struct feed {
    const uint8_t *p;
    size_t n, at;
};

/* A frame being made. */
struct frame {
    char p[FRAME_MAX];
    size_t n;
};

/* ---- the input ------------------------------------------------------------------------------------------------ */

static inline uint8_t u8(struct feed *f)
{
    return f->at < f->n ? f->p[f->at++] : 0;
}

static inline bool flag(struct feed *f, unsigned of_16)
{
    return (u8(f) & 15) < of_16;
}

#define ONE_OF(f, list) ((list)[u8(f) % ARRAY_N(list)])

static inline struct slice raw(struct feed *f, size_t max)
{
    size_t n = u8(f) % (max + 1);
    n = MIN(n, f->n - f->at);
    struct slice s = slice_make(f->p + f->at, n);
    f->at += n;
    return s;
}

static inline const char *number(struct feed *f)
{
    static const char *const some[] = {"0",    "1",     "2",     "3",          "10", "100",
                                       "1000", "60000", "86400", "4294967296", "-1", "x"};
    uint8_t c = u8(f);
    return some[c < 200 ? c % 9 : c % ARRAY_N(some)];
}

/* small: what most headers may be; now and then not. */
static inline const char *small(struct feed *f)
{
    static const char *const some[] = {"0", "1", "2", "1", "2", "0",   "1",   "2",
                                       "2", "1", "0", "1", "3", "255", "256", "-1"};
    return ONE_OF(f, some);
}

/* few: bits of which a quarter are set. */
static inline unsigned few(struct feed *f)
{
    unsigned a = u8(f);
    return a & u8(f);
}

static inline const char *yes_no(struct feed *f)
{
    uint8_t c = u8(f);
    return c > 250 ? "perhaps" : c & 1 ? "true" : "false";
}

/* ---- frames --------------------------------------------------------------------------------------------------- */

static inline void put(struct frame *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline void put(struct frame *f, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(f->p + f->n, sizeof f->p - f->n, fmt, args);
    va_end(args);
    f->n = MIN(f->n + (size_t)MAX(n, 0), sizeof f->p - 1);
}

/* header: now and then, by the input. */
static inline void maybe(struct feed *f, struct frame *out, unsigned of_16, const char *name, const char *value)
{
    if (flag(f, of_16))
        put(out, "%s:%s\n", name, value);
}

static inline void queue_arguments(struct feed *f, struct frame *out)
{
    static const char *const overflow[] = {"drop-head",      "reject-publish",     "reject-publish-dlx", "drop-head",
                                           "reject-publish", "reject-publish-dlx", "drop-tail"};
    static const char *const exchange[] = {"amq.topic", "amq.fanout", "", "x1", "nowhere"};
    static const char *const key[] = {"q", "dead", "a/b", "k"};
    unsigned has = few(f), more = few(f);
    if (has & 1)
        put(out, "x-max-length:%s\n", small(f));
    if (has & 2)
        put(out, "x-max-length-bytes:%s\n", number(f));
    if (has & 4)
        put(out, "x-overflow:%s\n", ONE_OF(f, overflow));
    if (has & 8)
        put(out, "x-dead-letter-exchange:%s\n", ONE_OF(f, exchange));
    if (has & 16)
        put(out, "x-dead-letter-routing-key:%s\n", ONE_OF(f, key));
    if (has & 32)
        put(out, "x-message-ttl:%s\n", number(f));
    if (has & 64)
        put(out, "x-expires:%s\n", number(f));
    if (has & 128)
        put(out, "x-delivery-limit:%s\n", small(f));
    if (more & 1)
        put(out, "x-max-priority:%s\n", small(f));
    if (more & 2)
        put(out, "x-single-active-consumer:%s\n", yes_no(f));
    if (more & 4)
        put(out, "x-retry-delay-min:%s\nx-retry-delay-max:%s\n", number(f), number(f));
    if (more & 8)
        put(out, "durable:%s\n", yes_no(f));
    if (more & 16)
        put(out, "auto-delete:%s\n", yes_no(f));
    if (more & 32)
        put(out, "exclusive:%s\n", yes_no(f));
    if (more & 64)
        put(out, "x-consumer-timeout:%s\n", number(f));
}

#define QUEUES "q", "q1", "q2", "dead", "p.%2F x"

static const char *const DESTS[] = {
    "/queue/q",
    "/topic/a",
    "/topic/a.b",
    "/queue/q1",
    "/mqtt/a/b",
    "/queue/q2",
    "/exchange/x1/k",
    "/exchange/amq.direct/k",
    "/exchange/amq.fanout",
    "/amq/queue/q",
    "/topic/*.b",
    "/topic/#",
    "/mqtt/#",
    "/mqtt/$share/g/a/+",
    "/topic/a.>",
    "/queue/dead",
    "bare",
    "/exchange/x2/a.b",
    "/topic/r",
    "/dsub/d",
    "/temp-queue/t",
    "/reply-queue/none",
    "/exchange/x1",
    "/mqtt/$SYS/broker/uptime",
    "/mqtt/$queue/q",
    "/topic/a%2Ab",
    "/queue/p.%2F x",
    "/topic/",
    "/nowhere/x",
    "",
};

#endif
