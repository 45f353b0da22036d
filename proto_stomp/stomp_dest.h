/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_DEST_H
#define WEIR_STOMP_DEST_H

/*
 * stomp_dest.h: STOMP destinations to topics, filters and names, and back. Pure: no allocation, no state; results point
 * into the destination or into the caller's buffer. A destination is what stomp_frame_get gave: escapes already undone.
 *
 *     stomp_dest_parse(text, &d);                                      which kind, where are the parts
 *     SEND       stomp_dest_topic(&d, dialect, buf, cap, &topic);      /topic/a.b, /mqtt/a/b  →  a/b
 *     SUBSCRIBE  stomp_dest_filter(&d, dialect, tok, buf, cap, &f);    /topic/a.*.#           →  a ONE MANY
 *     queues     stomp_dest_name(&d, buf, cap, &name);                 /queue/a.b%2Fc         →  a.b/c
 *
 * Grammar (docs/mapping.md)
 *   /topic/<key>              levels end at '.' and '/' (merged), only '.' (amqp) or only '/' (mqtt). After splitting,
 * '%' and two hex digits are one literal byte; any other '%' is a '%'. No level may then hold '/', '+',
 *                             '#' or NUL: no MQTT topic could. As whole tokens, in SUBSCRIBE: '*' and '+' one level,
 * '#' and
 *                             '**' any number, '>' any number when last, else a literal; in SEND '*', '**' and '>' are
 * literals. /mqtt/<topic or filter>   MQTT's own syntax, byte for byte; $share/<group>/<filter> in SUBSCRIBE.
 *   /exchange/<name>[/<key>]  the key as in /topic on a topic exchange, one opaque string on the others.
 *   /queue/ /amq/queue/ /temp-queue/ /reply-queue/ /dsub/ /manage/ <name>, or a bare <name> (= /queue/): never split,
 * %XX decoded.
 *
 * Round trip law: for every valid MQTT topic t and each style, parsing stomp_dest_render_topic(t) as SEND gives t, and
 * as SUBSCRIBE gives the filter that matches t alone. SLASH needs the dialect merged or mqtt, DOT merged or amqp:
 * stomp_dest_style picks one that fits. Likewise for names and exchanges.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/topic.h"

/* What separates the levels of /topic and of topic exchange keys; configured per virtual host. */
enum stomp_dialect { STOMP_DIALECT_MERGED, STOMP_DIALECT_AMQP, STOMP_DIALECT_MQTT };

enum stomp_dest_kind {
    STOMP_DEST_TOPIC,       /* key */
    STOMP_DEST_MQTT,        /* key */
    STOMP_DEST_QUEUE,       /* name */
    STOMP_DEST_EXCHANGE,    /* name, key */
    STOMP_DEST_AMQ_QUEUE,   /* name */
    STOMP_DEST_TEMP_QUEUE,  /* name */
    STOMP_DEST_REPLY_QUEUE, /* name */
    STOMP_DEST_DSUB,        /* name */
    STOMP_DEST_MANAGE,      /* name: what to do */
    STOMP_DEST_N
};

/* Why a destination was refused, so that the ERROR frame can say it. */
enum stomp_dest_why {
    STOMP_WHY_NONE,
    STOMP_WHY_EMPTY,    /* no destination, no name or no key */
    STOMP_WHY_UNKNOWN,  /* starts with '/' but with no prefix of the grammar */
    STOMP_WHY_WILDCARD, /* '+' or '#' where no wildcard may stand: in SEND, or '#' of /mqtt not last */
    STOMP_WHY_LEVEL,    /* a level holds '/', '+', '#' or NUL, which no MQTT topic has */
    STOMP_WHY_UTF8,     /* not UTF-8, or NUL */
    STOMP_WHY_SHARE,    /* $share without a group or filter, or a wildcard in the group */
    STOMP_WHY_KIND,     /* this kind has no topic, filter or name */
    STOMP_WHY_TOO_BIG   /* TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX or the caller's buffer */
};

/* A destination cut into its parts, still raw (percent signs not decoded); borrows from the text. */
struct stomp_dest {
    enum stomp_dest_kind kind;
    enum stomp_dest_why why; /* after any function below failed */
    struct slice name;       /* empty for TOPIC and MQTT */
    struct slice key;        /* TOPIC, MQTT, EXCHANGE; empty otherwise */
    bool has_key;            /* false: "/exchange/<name>" and the kinds without a key */
};

/* A subscription's filter: `filter.tok` is the caller's array. */
struct stomp_filter {
    struct filter filter;
    struct slice share; /* group of "/mqtt/$share/<group>/<filter>", else empty */
};

/* stomp_dest_parse: finds kind and parts of text. ERR_INVALID with out->why: EMPTY, UNKNOWN. */
enum err stomp_dest_parse(struct slice text, struct stomp_dest *out) MUST_CHECK;

/* stomp_dest_topic — the MQTT spelling of the topic a SEND goes to.
 *
 *   d        kind TOPIC, MQTT, or EXCHANGE with a key (a topic exchange: the caller knows)
 *   buf[cap] room for the result: never more than d->key.len bytes; unused when *out can point into the destination
 *
 * ERR_INVALID with d->why: EMPTY, WILDCARD, LEVEL, UTF8, KIND; ERR_TOO_BIG: result beyond TOPIC_BYTES_MAX or cap.
 */
enum err stomp_dest_topic(struct stomp_dest *d, enum stomp_dialect dialect, uint8_t *buf, size_t cap,
                          struct slice *out) MUST_CHECK;

/* stomp_dest_filter — the filter a SUBSCRIBE asks for, as tokens.
 *
 *   tok[TOPIC_LEVELS_MAX]  filled; out->filter refers to it
 *   buf[cap]               decoded literals, never more than d->key.len bytes
 *
 * Errors as stomp_dest_topic, and SHARE; ERR_TOO_BIG also beyond TOPIC_LEVELS_MAX levels.
 */
enum err stomp_dest_filter(struct stomp_dest *d, enum stomp_dialect dialect, struct token *tok, uint8_t *buf,
                           size_t cap, struct stomp_filter *out) MUST_CHECK;

/* stomp_dest_name, stomp_dest_key: name, or key as one opaque string, with %XX decoded; *out points into the
 * destination or buf[cap] (raw length suffices). A missing key is an empty one. ERR_INVALID (why: UTF8, and KIND if the
 * kind has no name), ERR_TOO_BIG. */
enum err stomp_dest_name(struct stomp_dest *d, uint8_t *buf, size_t cap, struct slice *out) MUST_CHECK;
enum err stomp_dest_key(struct stomp_dest *d, uint8_t *buf, size_t cap, struct slice *out) MUST_CHECK;

/* How a topic that was not born as a STOMP destination is shown to a subscriber. */
enum stomp_dest_style {
    STOMP_STYLE_SLASH, /* /topic/a/b */
    STOMP_STYLE_DOT,   /* /topic/a.b */
    STOMP_STYLE_MQTT,  /* /mqtt/a/b */
    STOMP_STYLE_OPAQUE /* keys of exchanges that are not topic exchanges: one string */
};

/* stomp_dest_style: the style of messages for a subscription to d: /mqtt → MQTT; else the dialect's only separator;
 * merged: SLASH if the subscription's key holds '/', else DOT. */
enum stomp_dest_style stomp_dest_style(const struct stomp_dest *d, enum stomp_dialect dialect);

/* Room that always suffices for the functions below: prefix and every byte as %XX. */
#define STOMP_DEST_RENDER_MAX(bytes) (16u + 3u * (size_t)(bytes))

/* stomp_dest_render_topic: a valid MQTT topic as destination into out[cap]; not OPAQUE (BUG_ON).
 * Returns the bytes written or -ERR_TOO_BIG. */
ptrdiff_t stomp_dest_render_topic(enum stomp_dest_style style, struct slice topic, uint8_t *out, size_t cap) MUST_CHECK;

/* stomp_dest_render_name: a queue or subscription name as destination; kind is one that has a name, EXCHANGE included
 * (it then has no key), else BUG_ON. Returns the bytes written or -ERR_TOO_BIG. */
ptrdiff_t stomp_dest_render_name(enum stomp_dest_kind kind, struct slice name, uint8_t *out, size_t cap) MUST_CHECK;

/* stomp_dest_render_exchange: "/exchange/<name>/<key>". style SLASH or DOT: key is a topic in MQTT spelling; OPAQUE:
 * any string (MQTT: BUG_ON). Returns the bytes written or -ERR_TOO_BIG. */
ptrdiff_t stomp_dest_render_exchange(struct slice name, enum stomp_dest_style style, struct slice key, uint8_t *out,
                                     size_t cap) MUST_CHECK;

#endif
