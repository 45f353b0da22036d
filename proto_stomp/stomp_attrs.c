/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_attrs.c: what a message says about itself, between STOMP headers and core's words.
 *
 *     SEND headers ─► attributes of the message ─► MESSAGE headers, or MQTT 5 properties (proto_mqtt)
 *
 *     content-type                 CONTENT_TYPE   (text/... or charset=utf-8, and a UTF-8 body: also IS_TEXT)
 *     reply-to:/topic/a.b          REPLY_TO "a/b", and REPLY_DEST as it was spelled, for STOMP receivers
 *     reply-to:/queue/q            REPLY_DEST
 *     reply-to:/temp-queue/x       REPLY_DEST "/reply-queue/G" and REPLY_TO "$reply/G" (stomp_temp.h)
 *     correlation-id               CORRELATION    (base64 if correlation-id-encoding says so)
 *     anything else                USER           in order, repetitions kept, one "user." taken off
 *     x-death ...                  DEATH          to MESSAGE only: nobody else can say it
 *
 * Invariants
 *   1. Every name with a meaning in SEND or MESSAGE is reserved, so that a property MQTT → STOMP → MQTT comes back
 * under the name it had, and none can pass as the broker's word.
 *   2. What becomes an attribute is UTF-8 without NUL (correlation: any bytes), so that MQTT can carry it
 * [MQTT-1.5.4-1].
 *   3. Of repeated headers with a meaning the first counts (STOMP 1.2 §Repeated Header Entries); user headers all
 * travel.
 * Cost    O(bytes); no allocation but the buf's.
 * Thread  any; pure.
 * Spec    docs/mapping.md, "Properties"; STOMP 1.2 §SEND, §MESSAGE; MQTT 5 §3.3.2.3.
 */
#include "proto_stomp/stomp_attrs.h"

#include "core/attrs.h"
#include "core/base/utf8.h"

enum { RECORD_HEAD_BYTES = 7 }; /* core/attrs.h */

static const struct slice NO_KEY = {0};

#define PREFIX SLICE("user.")

/* ---- names ----------------------------------------------------------------------------------------------------- */

static const uint8_t classes[STOMP_H_N] = {
    [STOMP_H_DESTINATION] = STOMP_SEND_FRAME,
    [STOMP_H_CONTENT_LENGTH] = STOMP_SEND_FRAME,
    [STOMP_H_RECEIPT] = STOMP_SEND_FRAME,
    [STOMP_H_X_ENCODED] = STOMP_SEND_FRAME,
    [STOMP_H_PERSISTENT] = STOMP_SEND_OPTION,
    [STOMP_H_RETAIN] = STOMP_SEND_OPTION,
    [STOMP_H_AMQ_RETAIN] = STOMP_SEND_OPTION,
    [STOMP_H_QOS] = STOMP_SEND_OPTION,
    [STOMP_H_EXPIRATION] = STOMP_SEND_OPTION,
    [STOMP_H_TTL] = STOMP_SEND_OPTION,
    [STOMP_H_EXPIRES] = STOMP_SEND_OPTION,
    [STOMP_H_REJECT] = STOMP_SEND_OPTION,
    [STOMP_H_PRIORITY] = STOMP_SEND_OPTION,
    [STOMP_H_TRANSACTION] = STOMP_SEND_OPTION,
    [STOMP_H_X_DELAY] = STOMP_SEND_OPTION,
    [STOMP_H_AMQ_SCHEDULED_DELAY] = STOMP_SEND_OPTION,
    [STOMP_H_CONTENT_TYPE] = STOMP_SEND_ATTR,
    [STOMP_H_REPLY_TO] = STOMP_SEND_ATTR,
    [STOMP_H_CORRELATION_ID] = STOMP_SEND_ATTR,
    [STOMP_H_CORRELATION_ID_ENCODING] = STOMP_SEND_ATTR,
    [STOMP_H_MESSAGE_ID] = STOMP_SEND_OURS,
    [STOMP_H_SUBSCRIPTION] = STOMP_SEND_OURS,
    [STOMP_H_ACK] = STOMP_SEND_OURS,
    [STOMP_H_RECEIPT_ID] = STOMP_SEND_OURS,
    [STOMP_H_REDELIVERED] = STOMP_SEND_OURS,
    [STOMP_H_RETAINED] = STOMP_SEND_OURS,
    [STOMP_H_X_DELIVERY_COUNT] = STOMP_SEND_OURS,
    [STOMP_H_MQTT_QOS] = STOMP_SEND_OURS,
    [STOMP_H_DURABLE] = STOMP_SEND_QUEUE,
    [STOMP_H_AUTO_DELETE] = STOMP_SEND_QUEUE,
    [STOMP_H_EXCLUSIVE] = STOMP_SEND_QUEUE,
    [STOMP_H_X_QUEUE_NAME] = STOMP_SEND_QUEUE,
    [STOMP_H_X_MESSAGE_TTL] = STOMP_SEND_QUEUE,
    [STOMP_H_X_EXPIRES] = STOMP_SEND_QUEUE,
    [STOMP_H_X_MAX_LENGTH] = STOMP_SEND_QUEUE,
    [STOMP_H_X_MAX_LENGTH_BYTES] = STOMP_SEND_QUEUE,
    [STOMP_H_X_OVERFLOW] = STOMP_SEND_QUEUE,
    [STOMP_H_X_DEAD_LETTER_EXCHANGE] = STOMP_SEND_QUEUE,
    [STOMP_H_X_DEAD_LETTER_ROUTING_KEY] = STOMP_SEND_QUEUE,
    [STOMP_H_X_DELIVERY_LIMIT] = STOMP_SEND_QUEUE,
    [STOMP_H_X_RETRY_DELAY_MIN] = STOMP_SEND_QUEUE,
    [STOMP_H_X_RETRY_DELAY_MAX] = STOMP_SEND_QUEUE,
    [STOMP_H_X_MAX_PRIORITY] = STOMP_SEND_QUEUE,
    [STOMP_H_X_SINGLE_ACTIVE_CONSUMER] = STOMP_SEND_QUEUE,
    [STOMP_H_X_CONSUMER_TIMEOUT] = STOMP_SEND_QUEUE,
};

enum stomp_send_class stomp_send_class(enum stomp_known h)
{
    return (enum stomp_send_class)classes[h];
}

/* is_death: the dead-letter history that comes with dead-lettering: reserved from the start. */
static bool is_death(struct slice name)
{
    return slice_starts_with(name, SLICE("x-death")) || slice_starts_with(name, SLICE("x-first-death"));
}

/* is_schedule: ActiveMQ's other ways to deliver later (again and again): overlooked, they would deliver at once. */
static bool is_schedule(struct slice name)
{
    return slice_starts_with(name, SLICE("AMQ_SCHEDULED_"));
}

bool stomp_name_is_reserved(struct slice name)
{
    return name.len == 0 || classes[stomp_known_from_name(name)] != STOMP_SEND_USER ||
           slice_starts_with(name, PREFIX) || is_death(name) || is_schedule(name);
}

/* ---- small languages ------------------------------------------------------------------------------------------- */

static bool eq_any_case(struct slice a, const char *lower)
{
    if (a.len != strlen(lower))
        return false;
    for (size_t i = 0; i < a.len; i++) {
        uint8_t b = a.p[i] >= 'A' && a.p[i] <= 'Z' ? a.p[i] | 0x20 : a.p[i];
        if (b != (uint8_t)lower[i])
            return false;
    }
    return true;
}

bool stomp_bool_parse(struct slice text, bool *out)
{
    *out = eq_any_case(text, "true");
    return *out || eq_any_case(text, "false");
}

bool stomp_u64_parse(struct slice text, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        n = n > UINT64_MAX / 16 ? UINT64_MAX / 16 : n * 10 + (uint64_t)(text.p[i] - '0');
    }
    *out = n;
    return text.len != 0;
}

/* names_text: may a body of this type be text: text/..., or UTF-8 named as charset? */
static bool names_text(struct slice type)
{
    if (type.len >= 5 && eq_any_case(slice_make(type.p, 5), "text/"))
        return true;
    static const char charset[] = "charset=utf-8";
    size_t n = sizeof charset - 1;
    for (size_t i = 0; i + n <= type.len; i++)
        if (eq_any_case(slice_make(type.p + i, n), charset))
            return true;
    return false;
}

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t stomp_base64_put(struct slice in, uint8_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i += 3) {
        size_t left = in.len - i;
        uint32_t v = (uint32_t)in.p[i] << 16;
        if (left > 1)
            v |= (uint32_t)in.p[i + 1] << 8;
        if (left > 2)
            v |= in.p[i + 2];
        out[n++] = (uint8_t)digits64[v >> 18];
        out[n++] = (uint8_t)digits64[v >> 12 & 63];
        out[n++] = left > 1 ? (uint8_t)digits64[v >> 6 & 63] : '=';
        out[n++] = left > 2 ? (uint8_t)digits64[v & 63] : '=';
    }
    return n;
}

static int value64(uint8_t c)
{
    const char *hit = c != '\0' ? strchr(digits64, c) : NULL;
    return hit != NULL ? (int)(hit - digits64) : -1;
}

ptrdiff_t stomp_base64_get(struct slice in, uint8_t *out)
{
    size_t n = 0, pad = 0;
    if (in.len % 4 != 0)
        return -ERR_MALFORMED;
    while (pad < 2 && pad < in.len && in.p[in.len - pad - 1] == '=')
        pad++;
    for (size_t i = 0; i < in.len; i += 4) {
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            bool is_pad = i + k >= in.len - pad;
            int digit = is_pad ? 0 : value64(in.p[i + k]);
            if (digit < 0)
                return -ERR_MALFORMED;
            v = v << 6 | (uint32_t)digit;
        }
        out[n++] = (uint8_t)(v >> 16);
        out[n++] = (uint8_t)(v >> 8);
        out[n++] = (uint8_t)v;
    }
    for (size_t k = 0; k < pad; k++)
        if (out[--n] != 0) /* bits that mean nothing must be zero, or two texts would mean the same */
            return -ERR_MALFORMED;
    return (ptrdiff_t)n;
}

/* ---- SEND to attributes ---------------------------------------------------------------------------------------- */

static size_t record_bytes(size_t key_len, size_t value_len)
{
    return RECORD_HEAD_BYTES + key_len + value_len;
}

size_t stomp_attrs_bytes(const struct stomp_frame *f, const struct stomp_reply *r)
{
    size_t n = record_bytes(0, 0) + /* IS_TEXT */ 2 * record_bytes(0, 0) + r->dest.len + r->topic.len;
    for (uint32_t i = 0; i < f->header_n; i++) {
        const struct stomp_header *h = &f->header[i];
        enum stomp_send_class k = stomp_send_class((enum stomp_known)h->known);
        if (k == STOMP_SEND_USER)
            n += record_bytes(h->name.len, h->value.len);
        else if (k == STOMP_SEND_ATTR)
            n += 2 * record_bytes(0, h->value.len) + 3; /* reply-to: two records; base64: a little more in between */
    }
    return n;
}

static enum stomp_fault put_user(struct buf *b, const struct stomp_frame *f, uint32_t i)
{
    uint8_t name_buf[STOMP_LINE_BYTES_MAX], value_buf[STOMP_LINE_BYTES_MAX];
    struct slice name, value;
    BUG_ON(stomp_header_name(f, i, name_buf, sizeof name_buf, &name) != ERR_OK);
    BUG_ON(stomp_header_value(f, i, value_buf, sizeof value_buf, &value) != ERR_OK);
    if (!utf8_is_mqtt(name.p, name.len) || !utf8_is_mqtt(value.p, value.len))
        return STOMP_FAULT_HEADER_TEXT;
    if (is_death(name))
        return STOMP_FAULT_NONE; /* as with all that only the broker says */
    if (is_schedule(name))
        return STOMP_FAULT_UNSUPPORTED;
    if (slice_starts_with(name, PREFIX))
        name = slice_skip(name, PREFIX.len);
    attr_put(b, ATTR_USER, name, value);
    return STOMP_FAULT_NONE;
}

/* put_type: STOMP 1.2 §Header content-type: text is UTF-8 unless it says otherwise. */
static void put_type(struct buf *b, const struct stomp_frame *f, struct slice type)
{
    attr_put(b, ATTR_CONTENT_TYPE, NO_KEY, type);
    if (names_text(type) && utf8_is_valid(f->body.p, f->body.len))
        attr_put(b, ATTR_IS_TEXT, NO_KEY, NO_KEY);
}

static void put_reply(struct buf *b, struct slice to, enum stomp_dialect dialect)
{
    uint8_t topic_buf[STOMP_LINE_BYTES_MAX];
    struct stomp_dest d;
    struct slice topic;
    bool is_dest = stomp_dest_parse(to, &d) == ERR_OK;
    bool has_topic = is_dest && (d.kind == STOMP_DEST_TOPIC || d.kind == STOMP_DEST_MQTT) &&
                     stomp_dest_topic(&d, dialect, topic_buf, sizeof topic_buf, &topic) == ERR_OK;
    if (!has_topic || d.kind != STOMP_DEST_MQTT) /* STOMP receivers get what the sender wrote */
        attr_put(b, ATTR_REPLY_DEST, NO_KEY, to);
    if (has_topic)
        attr_put(b, ATTR_REPLY_TO, NO_KEY, topic);
}

static enum stomp_fault put_correlation(struct buf *b, const struct stomp_frame *f, struct slice id)
{
    uint8_t how_buf[STOMP_LINE_BYTES_MAX], bytes[STOMP_LINE_BYTES_MAX];
    struct slice how;
    if (stomp_frame_get(f, STOMP_H_CORRELATION_ID_ENCODING, how_buf, sizeof how_buf, &how) == ERR_OK) {
        ptrdiff_t n = slice_eq_str(how, "base64") ? stomp_base64_get(id, bytes) : -ERR_UNSUPPORTED;
        if (n < 0)
            return STOMP_FAULT_BASE64;
        id = slice_make(bytes, (size_t)n);
    }
    attr_put(b, ATTR_CORRELATION, NO_KEY, id);
    return STOMP_FAULT_NONE;
}

static enum stomp_fault put_known(struct buf *b, const struct stomp_frame *f, uint32_t i, const struct stomp_reply *r)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice value;
    enum stomp_known h = (enum stomp_known)f->header[i].known;
    if (f->known[h] != (int8_t)i)
        return STOMP_FAULT_NONE; /* STOMP 1.2 §Repeated Header Entries: the first counts */
    BUG_ON(stomp_header_value(f, i, buf, sizeof buf, &value) != ERR_OK);
    if (h == STOMP_H_CORRELATION_ID)
        return put_correlation(b, f, value);
    if (!utf8_is_mqtt(value.p, value.len))
        return STOMP_FAULT_HEADER_TEXT;
    if (h == STOMP_H_CONTENT_TYPE)
        put_type(b, f, value);
    if (h != STOMP_H_REPLY_TO)
        return STOMP_FAULT_NONE;
    if (r->dest.len == 0) {
        put_reply(b, value, r->dialect);
        return STOMP_FAULT_NONE;
    }
    attr_put(b, ATTR_REPLY_DEST, NO_KEY, r->dest);
    attr_put(b, ATTR_REPLY_TO, NO_KEY, r->topic);
    return STOMP_FAULT_NONE;
}

enum stomp_fault stomp_attrs_put(struct buf *b, const struct stomp_frame *f, const struct stomp_reply *r,
                                 struct slice *out_name)
{
    enum stomp_fault e = STOMP_FAULT_NONE;
    for (uint32_t i = 0; i < f->header_n && e == STOMP_FAULT_NONE; i++) {
        *out_name = f->header[i].name;
        enum stomp_send_class k = stomp_send_class((enum stomp_known)f->header[i].known);
        if (k == STOMP_SEND_USER)
            e = put_user(b, f, i);
        else if (k == STOMP_SEND_ATTR)
            e = put_known(b, f, i, r);
    }
    return e;
}

/* ---- attributes to MESSAGE ------------------------------------------------------------------------------------- */

enum { BASE64_NAME = 23, BASE64_TEXT = 6, REPLY_PREFIX = 6 }; /* "correlation-id-encoding", "base64", "/mqtt/" */

static size_t base64_bytes(size_t n)
{
    return 4 * ((n + 2) / 3);
}

size_t stomp_headers_bound(struct slice attrs)
{
    struct attr a;
    size_t n = 0;
    for (size_t pos = 0; attr_next(attrs, &pos, &a);) {
        switch (a.id) {
        case ATTR_USER:
        case ATTR_DEATH:
            n += stomp_header_bound(PREFIX.len + a.key.len, a.value.len);
            break;
        case ATTR_CORRELATION:
            n += stomp_header_bound(14, base64_bytes(a.value.len)) + stomp_header_bound(BASE64_NAME, BASE64_TEXT);
            break;
        case ATTR_CONTENT_TYPE:
        case ATTR_IS_TEXT:
            n += stomp_header_bound(12, MAX(a.value.len, (size_t)24));
            break;
        case ATTR_REPLY_TO:
        case ATTR_REPLY_DEST:
            n += stomp_header_bound(8, REPLY_PREFIX + a.value.len);
            break;
        case ATTR_DESTINATION:
        case ATTR_IS_BYTES:
            break;
        }
    }
    return n;
}

size_t stomp_headers_scratch(struct slice attrs)
{
    struct attr a;
    size_t n = 0;
    for (size_t pos = 0; attr_next(attrs, &pos, &a);) {
        if (a.id == ATTR_REPLY_TO)
            n = MAX(n, REPLY_PREFIX + a.value.len);
        else if (a.id == ATTR_CORRELATION)
            n = MAX(n, base64_bytes(a.value.len));
    }
    return n;
}

/* is_browsers_end: what a browser is told behind the last message; any other value of this header is nobody's word. */
static bool is_browsers_end(struct slice name, struct slice value)
{
    return value.len == 3 && slice_eq_str(name, "browser") && slice_eq_str(value, "end");
}

static void put_user_header(struct stomp_writer *w, struct slice name, struct slice value)
{
    if (UNLIKELY(stomp_name_is_reserved(name) || is_browsers_end(name, value))) {
        if (name.len == 0) {
            stomp_write_header(w, PREFIX, value);
            return;
        }
        stomp_write_raw(w, PREFIX);
    }
    stomp_write_header(w, name, value);
}

static void put_correlation_headers(struct stomp_writer *w, struct slice id, uint8_t *scratch)
{
    if (utf8_is_mqtt(id.p, id.len)) {
        stomp_write_known(w, STOMP_H_CORRELATION_ID, id);
        return;
    }
    stomp_write_known(w, STOMP_H_CORRELATION_ID, slice_make(scratch, stomp_base64_put(id, scratch)));
    stomp_write_known(w, STOMP_H_CORRELATION_ID_ENCODING, SLICE("base64"));
}

static void put_reply_topic(struct stomp_writer *w, struct slice topic, uint8_t *scratch)
{
    memcpy(scratch, "/mqtt/", REPLY_PREFIX);
    if (topic.len != 0)
        memcpy(scratch + REPLY_PREFIX, topic.p, topic.len);
    stomp_write_known(w, STOMP_H_REPLY_TO, slice_make(scratch, REPLY_PREFIX + topic.len));
}

void stomp_headers_put(struct stomp_writer *w, struct slice attrs, uint8_t *scratch)
{
    struct attr a;
    bool is_text = false, has_type = false, has_reply = false;
    for (size_t pos = 0; attr_next(attrs, &pos, &a);) {
        switch (a.id) {
        case ATTR_USER:
            put_user_header(w, a.key, a.value);
            break;
        case ATTR_DEATH: /* its name is reserved, so nobody else's can be taken for it */
            stomp_write_header(w, a.key, a.value);
            break;
        case ATTR_CONTENT_TYPE:
            has_type = true;
            stomp_write_known(w, STOMP_H_CONTENT_TYPE, a.value);
            break;
        case ATTR_IS_TEXT:
            is_text = true;
            break;
        case ATTR_REPLY_DEST:
            has_reply = true;
            stomp_write_known(w, STOMP_H_REPLY_TO, a.value);
            break;
        case ATTR_REPLY_TO:
            if (!has_reply) /* REPLY_DEST, if there, stands in front of it */
                put_reply_topic(w, a.value, scratch);
            break;
        case ATTR_CORRELATION:
            put_correlation_headers(w, a.value, scratch);
            break;
        case ATTR_DESTINATION:
        case ATTR_IS_BYTES: /* what no content-type says, too */
            break;
        }
    }
    if (is_text && !has_type)
        stomp_write_known(w, STOMP_H_CONTENT_TYPE, SLICE("text/plain;charset=utf-8"));
}
