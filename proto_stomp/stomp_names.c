/* SPDX-License-Identifier: Apache-2.0 */

/*
 * stomp_names.c: the words of STOMP: commands, the headers Weir knows, versions, and the two values of CONNECT that are
 * small languages of their own (accept-version, heart-beat).
 *
 * A header name is looked up once per header line, so the way there is short: the length picks a row of at most
 * ROW_MAX candidates, the first byte nearly always leaves one, and one comparison decides. The rows put what is in
 * every message first. test_stomp_wire.c walks the whole list, so that a name without a row cannot go unnoticed.
 *
 * Cost    known_from_name: about 3 ns, no allocation, const tables only.
 * Thread  any.
 * Spec    STOMP 1.2 §Value Encoding (case-sensitive names), §Protocol Negotiation, §Heart-beating.
 */

#include "proto_stomp/stomp_wire.h"

#define ROW_MAX      10 /* candidates of one length, and the 0 that ends the row */
#define NAME_MAX_LEN 25

static const struct slice known_texts[STOMP_H_N] = {
#define X(name, text) [STOMP_H_##name] = {(const uint8_t *)(text), sizeof(text) - 1},
    STOMP_HEADER_LIST(X)
#undef X
};

static const struct slice command_texts[STOMP_CMD_N] = {
#define X(name) [STOMP_CMD_##name] = {(const uint8_t *)#name, sizeof(#name) - 1},
    STOMP_COMMAND_LIST(X)
#undef X
};

/* Rows by length, ended by 0 (STOMP_H_OTHER). */
static const uint8_t by_length[NAME_MAX_LEN + 1][ROW_MAX] = {
    [2] = {STOMP_H_ID},
    [3] = {STOMP_H_ACK, STOMP_H_QOS, STOMP_H_TTL},
    [4] = {STOMP_H_HOST},
    [5] = {STOMP_H_LOGIN},
    [6] = {STOMP_H_RETAIN, STOMP_H_SERVER, STOMP_H_CREDIT, STOMP_H_REJECT, STOMP_H_X_CODE},
    [7] = {STOMP_H_RECEIPT, STOMP_H_MESSAGE, STOMP_H_VERSION, STOMP_H_SESSION, STOMP_H_EXPIRES, STOMP_H_DURABLE,
           STOMP_H_REQUEUE, STOMP_H_X_QUEUE, STOMP_H_X_DELAY},
    [8] = {STOMP_H_REPLY_TO, STOMP_H_MQTT_QOS, STOMP_H_RETAINED, STOMP_H_PRIORITY, STOMP_H_PASSCODE, STOMP_H_SELECTOR,
           STOMP_H_X_RESULT, STOMP_H_X_REASON},
    [9] = {STOMP_H_CLIENT_ID, STOMP_H_TIMESTAMP, STOMP_H_EXCLUSIVE, STOMP_H_X_ENCODED, STOMP_H_X_EXPIRES},
    [10] = {STOMP_H_MESSAGE_ID, STOMP_H_PERSISTENT, STOMP_H_RECEIPT_ID, STOMP_H_EXPIRATION, STOMP_H_HEART_BEAT,
            STOMP_H_X_PRIORITY, STOMP_H_X_OVERFLOW},
    [11] = {STOMP_H_DESTINATION, STOMP_H_TRANSACTION, STOMP_H_REDELIVERED, STOMP_H_AUTO_DELETE},
    [12] = {STOMP_H_CONTENT_TYPE, STOMP_H_SUBSCRIPTION, STOMP_H_X_QUEUE_NAME, STOMP_H_X_MAX_LENGTH},
    [13] = {STOMP_H_X_MESSAGE_TTL},
    [14] = {STOMP_H_CONTENT_LENGTH, STOMP_H_CORRELATION_ID, STOMP_H_ACCEPT_VERSION, STOMP_H_PREFETCH_COUNT,
            STOMP_H_X_MAX_PRIORITY},
    [15] = {STOMP_H_AMQ_RETAIN, STOMP_H_RETAIN_HANDLING},
    [16] = {STOMP_H_X_DELIVERY_COUNT, STOMP_H_X_DELIVERY_LIMIT},
    [17] = {STOMP_H_X_RETRY_DELAY_MIN, STOMP_H_X_RETRY_DELAY_MAX},
    [18] = {STOMP_H_X_MAX_LENGTH_BYTES, STOMP_H_X_CONSUMER_TIMEOUT},
    [19] = {STOMP_H_AMQ_SCHEDULED_DELAY},
    [21] = {STOMP_H_AMQ_PREFETCH_SIZE},
    [22] = {STOMP_H_X_DEAD_LETTER_EXCHANGE},
    [23] = {STOMP_H_CORRELATION_ID_ENCODING},
    [24] = {STOMP_H_X_SINGLE_ACTIVE_CONSUMER},
    [25] = {STOMP_H_DURABLE_SUBSCRIPTION_NAME, STOMP_H_X_DEAD_LETTER_ROUTING_KEY},
};

struct slice stomp_command_text(enum stomp_command c)
{
    BUG_ON(c >= STOMP_CMD_N);
    return c == STOMP_CMD_EOL ? SLICE("") : command_texts[c];
}

struct slice stomp_known_text(enum stomp_known h)
{
    BUG_ON(h >= STOMP_H_N);
    return h == STOMP_H_OTHER ? SLICE("") : known_texts[h];
}

enum stomp_known stomp_known_from_name(struct slice name)
{
    if (name.len == 0 || name.len > NAME_MAX_LEN)
        return STOMP_H_OTHER;
    for (const uint8_t *row = by_length[name.len]; *row != STOMP_H_OTHER; row++) {
        const uint8_t *text = known_texts[*row].p;
        if (text[0] == name.p[0] && memcmp(text, name.p, name.len) == 0)
            return (enum stomp_known) * row;
    }
    return STOMP_H_OTHER;
}

enum stomp_command stomp_command_from_text(struct slice text)
{
    /* The two of the hot path first. */
    if (slice_eq(text, command_texts[STOMP_CMD_SEND]))
        return STOMP_CMD_SEND;
    if (slice_eq(text, command_texts[STOMP_CMD_MESSAGE]))
        return STOMP_CMD_MESSAGE;
    for (unsigned c = STOMP_CMD_EOL + 1; c < STOMP_CMD_N; c++) {
        if (slice_eq(text, command_texts[c]))
            return (enum stomp_command)c;
    }
    return STOMP_CMD_EOL;
}

struct slice stomp_version_text(enum stomp_version v)
{
    switch (v) {
    case STOMP_1_0:
        return SLICE("1.0");
    case STOMP_1_1:
        return SLICE("1.1");
    case STOMP_1_2:
        return SLICE("1.2");
    }
    BUG_ON("no such version");
    return SLICE("");
}

static struct slice trimmed(struct slice s)
{
    while (s.len != 0 && s.p[0] == ' ')
        s = slice_skip(s, 1);
    while (s.len != 0 && s.p[s.len - 1] == ' ')
        s.len--;
    return s;
}

/* Cuts the part in front of the first comma off *rest; *more says whether a comma was there. */
static struct slice cut_at_comma(struct slice *rest, bool *more)
{
    ptrdiff_t comma = slice_find(*rest, ',');
    struct slice part = *rest;
    *more = comma >= 0;
    if (*more) {
        part.len = (size_t)comma;
        *rest = slice_skip(*rest, part.len + 1);
    }
    return trimmed(part);
}

enum err stomp_version_pick(struct slice list, enum stomp_version *out)
{
    bool found = false;
    for (bool more = true; more;) {
        struct slice entry = cut_at_comma(&list, &more);
        for (unsigned v = STOMP_1_0; v <= STOMP_VERSION_BEST; v++) {
            if (!slice_eq(entry, stomp_version_text((enum stomp_version)v)))
                continue;
            if (!found || v > *out)
                *out = (enum stomp_version)v;
            found = true;
        }
    }
    return found ? ERR_OK : ERR_UNSUPPORTED;
}

static bool ms_parse(struct slice text, uint32_t *out)
{
    uint64_t ms = 0;
    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        ms = MIN(ms * 10 + (uint64_t)(text.p[i] - '0'), (uint64_t)UINT32_MAX);
    }
    *out = (uint32_t)ms;
    return true;
}

enum err stomp_heart_beat_parse(struct slice text, uint32_t *out_can_ms, uint32_t *out_wants_ms)
{
    bool more;
    struct slice can = cut_at_comma(&text, &more);
    uint32_t can_ms, wants_ms;
    if (!more || !ms_parse(can, &can_ms) || !ms_parse(trimmed(text), &wants_ms))
        return ERR_MALFORMED;
    *out_can_ms = can_ms;
    *out_wants_ms = wants_ms;
    return ERR_OK;
}
