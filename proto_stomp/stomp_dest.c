/* SPDX-License-Identifier: Apache-2.0 */

/*
 * stomp_dest.c: the destination grammar, read and written.
 *
 *     /topic/sensors.eu-1.%2E.#     parse    kind TOPIC, key "sensors.eu-1.%2E.#"
 *                                   split    sensors | eu-1 | %2E | #          at the dialect's separators
 *                                   decode   LITERAL sensors, LITERAL eu-1, LITERAL ".", MANY
 *
 * The order is what makes it reversible: split first, then look for wildcards among whole raw tokens, then decode %XX.
 * So a byte written as %XX is never a separator nor a wildcard, and rendering only has to write that way what would be
 * taken for one: '.' in a level, a level that is '*', '**' or '>', and a '%' that has two hex digits behind it.
 *
 * Invariants
 *   1. A topic that comes out is a valid MQTT topic name: not empty, UTF-8, no NUL, '+' or '#'; and a literal of a
 * filter holds no '/', '+', '#' or NUL: core may spell both in MQTT.
 *   2. parse(render(x)) == x, see the round trip law in the header file.
 *   3. On failure d->why says what is wrong; the output is not touched or not to be used.
 *
 * Cost    O(bytes), no allocation.
 * Thread  any.
 * Spec    docs/mapping.md, "Destinations"; MQTT 5 §4.7 (topic names and filters), §4.8.2 (shared subscriptions).
 */

#include "proto_stomp/stomp_dest.h"

#include "core/base/utf8.h"
#include "proto_stomp/stomp_bytes.h"

static const struct prefix {
    struct slice text;
    enum stomp_dest_kind kind;
} prefixes[] = {
    {{(const uint8_t *)"/topic/", 7}, STOMP_DEST_TOPIC},
    {{(const uint8_t *)"/mqtt/", 6}, STOMP_DEST_MQTT},
    {{(const uint8_t *)"/queue/", 7}, STOMP_DEST_QUEUE},
    {{(const uint8_t *)"/exchange/", 10}, STOMP_DEST_EXCHANGE},
    {{(const uint8_t *)"/amq/queue/", 11}, STOMP_DEST_AMQ_QUEUE},
    {{(const uint8_t *)"/temp-queue/", 12}, STOMP_DEST_TEMP_QUEUE},
    {{(const uint8_t *)"/reply-queue/", 13}, STOMP_DEST_REPLY_QUEUE},
    {{(const uint8_t *)"/dsub/", 6}, STOMP_DEST_DSUB},
    {{(const uint8_t *)"/manage/", 8}, STOMP_DEST_MANAGE},
};

static enum err refuse(struct stomp_dest *d, enum stomp_dest_why why)
{
    d->why = why;
    return why == STOMP_WHY_TOO_BIG ? ERR_TOO_BIG : ERR_INVALID;
}

static enum err parts_split(struct stomp_dest *d, struct slice rest)
{
    if (rest.len == 0)
        return refuse(d, STOMP_WHY_EMPTY);
    if (d->kind == STOMP_DEST_TOPIC || d->kind == STOMP_DEST_MQTT) {
        d->key = rest;
        d->has_key = true;
        return ERR_OK;
    }
    d->name = rest;
    ptrdiff_t slash = d->kind == STOMP_DEST_EXCHANGE ? slice_find(rest, '/') : -1;
    if (slash >= 0) {
        d->name.len = (size_t)slash;
        d->key = slice_skip(rest, d->name.len + 1);
        d->has_key = true;
    }
    return d->name.len == 0 ? refuse(d, STOMP_WHY_EMPTY) : ERR_OK;
}

enum err stomp_dest_parse(struct slice text, struct stomp_dest *out)
{
    *out = (struct stomp_dest){.kind = STOMP_DEST_QUEUE};
    if (text.len == 0)
        return refuse(out, STOMP_WHY_EMPTY);
    if (text.p[0] != '/') {
        out->name = text; /* a bare name is a queue */
        return ERR_OK;
    }
    for (size_t i = 0; i < ARRAY_N(prefixes); i++) {
        if (!slice_starts_with(text, prefixes[i].text))
            continue;
        out->kind = prefixes[i].kind;
        return parts_split(out, slice_skip(text, prefixes[i].text.len));
    }
    return refuse(out, STOMP_WHY_UNKNOWN);
}

/* What ends a level, by dialect. */
static const bool separators[3][256] = {
    [STOMP_DIALECT_MERGED] = {['.'] = true, ['/'] = true},
    [STOMP_DIALECT_AMQP] = {['.'] = true},
    [STOMP_DIALECT_MQTT] = {['/'] = true},
};

/* What no level of an MQTT topic holds [MQTT-4.7.1-1, MQTT-4.7.3-2] */
static const bool no_level_bytes[256] = {['/'] = true, ['+'] = true, ['#'] = true, ['\0'] = true};

static inline bool is_token(struct slice s, const char *text)
{
    return UNLIKELY(s.len <= 2) && slice_eq_str(s, text); /* every wildcard is one or two bytes */
}

/* Cuts the first raw token off *rest; *at_end: it was the last. */
static struct slice token_cut(struct slice *rest, enum stomp_dialect dialect, bool *at_end)
{
    size_t n = 0;
    while (n < rest->len && !separators[dialect][rest->p[n]])
        n++;
    struct slice token = {rest->p, n};
    *at_end = n == rest->len;
    *rest = *at_end ? slice_skip(*rest, n) : slice_skip(*rest, n + 1);
    return token;
}

/* Decodes one raw token into out, which has room for raw.len bytes. Returns its length, or -why. */
static ptrdiff_t level_decode(struct slice raw, uint8_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        uint8_t c = raw.p[i];
        int decoded = UNLIKELY(c == '%') ? stomp_percent(raw, i) : -1;
        if (decoded >= 0) {
            c = (uint8_t)decoded;
            i += 2;
        }
        if (UNLIKELY(no_level_bytes[c]))
            return -(ptrdiff_t)STOMP_WHY_LEVEL;
        out[n++] = c;
    }
    return (ptrdiff_t)n;
}

static bool has_key_syntax(const struct stomp_dest *d)
{
    return d->kind == STOMP_DEST_TOPIC || d->kind == STOMP_DEST_MQTT || (d->kind == STOMP_DEST_EXCHANGE && d->has_key);
}

/* /mqtt/ in SEND: the bytes themselves, if they are a topic name. */
static enum err mqtt_topic(struct stomp_dest *d, struct slice *out)
{
    if (d->key.len > TOPIC_BYTES_MAX)
        return refuse(d, STOMP_WHY_TOO_BIG);
    if (slice_find(d->key, '+') >= 0 || slice_find(d->key, '#') >= 0) /* [MQTT-4.7.1-1] */
        return refuse(d, STOMP_WHY_WILDCARD);
    if (!utf8_is_mqtt(d->key.p, d->key.len)) /* [MQTT-1.5.4-1] [MQTT-1.5.4-2] */
        return refuse(d, STOMP_WHY_UTF8);
    *out = d->key;
    return ERR_OK;
}

enum err stomp_dest_topic(struct stomp_dest *d, enum stomp_dialect dialect, uint8_t *buf, size_t cap, struct slice *out)
{
    if (!has_key_syntax(d))
        return refuse(d, STOMP_WHY_KIND);
    if (d->key.len == 0)
        return refuse(d, STOMP_WHY_EMPTY);
    if (d->kind == STOMP_DEST_MQTT)
        return mqtt_topic(d, out);
    if (d->key.len > cap)
        return refuse(d, STOMP_WHY_TOO_BIG);
    struct slice rest = d->key;
    size_t n = 0;
    for (bool at_end = false; !at_end;) {
        struct slice token = token_cut(&rest, dialect, &at_end);
        if (is_token(token, "+") || is_token(token, "#"))
            return refuse(d, STOMP_WHY_WILDCARD);
        ptrdiff_t got = level_decode(token, buf + n);
        if (got < 0)
            return refuse(d, (enum stomp_dest_why) - got);
        n += (size_t)got;
        if (!at_end)
            buf[n++] = '/';
    }
    if (n > TOPIC_BYTES_MAX)
        return refuse(d, STOMP_WHY_TOO_BIG);
    if (!utf8_is_mqtt(buf, n))
        return refuse(d, STOMP_WHY_UTF8);
    *out = slice_make(buf, n);
    return ERR_OK;
}

static enum token_kind wildcard_of(struct slice token, bool is_last)
{
    if (is_token(token, "*") || is_token(token, "+"))
        return TOKEN_ONE;
    if (is_token(token, "#") || is_token(token, "**") || (is_last && is_token(token, ">")))
        return TOKEN_MANY;
    return TOKEN_LITERAL;
}

static enum err topic_filter(struct stomp_dest *d, enum stomp_dialect dialect, struct token *tok, uint8_t *buf,
                             struct stomp_filter *out)
{
    struct slice rest = d->key;
    uint32_t n = 0;
    size_t used = 0;
    for (bool at_end = false; !at_end; n++) {
        struct slice raw = token_cut(&rest, dialect, &at_end);
        if (n == TOPIC_LEVELS_MAX)
            return refuse(d, STOMP_WHY_TOO_BIG);
        tok[n] = (struct token){.kind = wildcard_of(raw, at_end)};
        if (tok[n].kind != TOKEN_LITERAL)
            continue;
        ptrdiff_t got = level_decode(raw, buf + used);
        if (got < 0)
            return refuse(d, (enum stomp_dest_why) - got);
        tok[n].bytes = slice_make(buf + used, (size_t)got);
        /* Separators are ASCII, so each level is UTF-8 exactly if the whole is. */
        if (!utf8_is_mqtt(tok[n].bytes.p, tok[n].bytes.len))
            return refuse(d, STOMP_WHY_UTF8);
        used += (size_t)got;
    }
    out->filter = (struct filter){.tok = tok, .n = n};
    return ERR_OK;
}

/* "$share/<group>/<filter>": moves the group out of *text. MQTT 5 §4.8.2 */
static enum err share_cut(struct stomp_dest *d, struct slice *text, struct slice *out_share)
{
    *out_share = SLICE("");
    if (!slice_starts_with(*text, SLICE("$share/")))
        return ERR_OK;
    struct slice rest = slice_skip(*text, 7);
    ptrdiff_t slash = slice_find(rest, '/');
    if (slash <= 0 || (size_t)slash + 1 == rest.len) /* [MQTT-4.8.2-1] [MQTT-4.8.2-2] */
        return refuse(d, STOMP_WHY_SHARE);
    struct slice group = {rest.p, (size_t)slash};
    if (slice_find(group, '+') >= 0 || slice_find(group, '#') >= 0) /* [MQTT-4.8.2-2] */
        return refuse(d, STOMP_WHY_SHARE);
    *out_share = group;
    *text = slice_skip(rest, group.len + 1);
    return ERR_OK;
}

static enum err mqtt_filter(struct stomp_dest *d, struct token *tok, struct stomp_filter *out)
{
    struct slice rest = d->key;
    if (!utf8_is_mqtt(rest.p, rest.len))
        return refuse(d, STOMP_WHY_UTF8);
    enum err e = share_cut(d, &rest, &out->share);
    if (e != ERR_OK)
        return e;
    uint32_t n = 0;
    for (bool at_end = false; !at_end; n++) {
        struct slice level = token_cut(&rest, STOMP_DIALECT_MQTT, &at_end);
        if (n == TOPIC_LEVELS_MAX)
            return refuse(d, STOMP_WHY_TOO_BIG);
        if (is_token(level, "+"))
            tok[n] = (struct token){.kind = TOKEN_ONE};
        else if (is_token(level, "#") && at_end) /* [MQTT-4.7.1-1] '#' must be last */
            tok[n] = (struct token){.kind = TOKEN_MANY};
        else if (slice_find(level, '+') >= 0 || slice_find(level, '#') >= 0) /* [MQTT-4.7.1-2] whole levels only */
            return refuse(d, STOMP_WHY_WILDCARD);
        else
            tok[n] = (struct token){.kind = TOKEN_LITERAL, .bytes = level};
    }
    out->filter = (struct filter){.tok = tok, .n = n};
    return ERR_OK;
}

enum err stomp_dest_filter(struct stomp_dest *d, enum stomp_dialect dialect, struct token *tok, uint8_t *buf,
                           size_t cap, struct stomp_filter *out)
{
    *out = (struct stomp_filter){.share = SLICE("")};
    if (!has_key_syntax(d))
        return refuse(d, STOMP_WHY_KIND);
    if (d->key.len == 0)
        return refuse(d, STOMP_WHY_EMPTY);
    if (d->key.len > TOPIC_BYTES_MAX)
        return refuse(d, STOMP_WHY_TOO_BIG);
    if (d->kind == STOMP_DEST_MQTT)
        return mqtt_filter(d, tok, out);
    if (d->key.len > cap)
        return refuse(d, STOMP_WHY_TOO_BIG);
    return topic_filter(d, dialect, tok, buf, out);
}

/* A name or opaque key: %XX decoded, any byte but NUL, UTF-8. */
static enum err text_decode(struct stomp_dest *d, struct slice raw, uint8_t *buf, size_t cap, struct slice *out)
{
    *out = raw;
    if (slice_find(raw, '%') >= 0) {
        size_t n = 0;
        if (raw.len > cap)
            return refuse(d, STOMP_WHY_TOO_BIG);
        for (size_t i = 0; i < raw.len; i++) {
            int decoded = stomp_percent(raw, i);
            buf[n++] = decoded < 0 ? raw.p[i] : (uint8_t)decoded;
            i += decoded < 0 ? 0 : 2;
        }
        *out = slice_make(buf, n);
    }
    return utf8_is_mqtt(out->p, out->len) ? ERR_OK : refuse(d, STOMP_WHY_UTF8);
}

enum err stomp_dest_name(struct stomp_dest *d, uint8_t *buf, size_t cap, struct slice *out)
{
    if (d->name.len == 0)
        return refuse(d, STOMP_WHY_KIND);
    return text_decode(d, d->name, buf, cap, out);
}

enum err stomp_dest_key(struct stomp_dest *d, uint8_t *buf, size_t cap, struct slice *out)
{
    if (d->key.len == 0) {
        *out = SLICE("");
        return ERR_OK;
    }
    return text_decode(d, d->key, buf, cap, out);
}

enum stomp_dest_style stomp_dest_style(const struct stomp_dest *d, enum stomp_dialect dialect)
{
    if (d->kind == STOMP_DEST_MQTT)
        return STOMP_STYLE_MQTT;
    if (dialect == STOMP_DIALECT_MERGED)
        return slice_find(d->key, '/') >= 0 ? STOMP_STYLE_SLASH : STOMP_STYLE_DOT;
    return dialect == STOMP_DIALECT_MQTT ? STOMP_STYLE_SLASH : STOMP_STYLE_DOT;
}

/* Output that stops at cap. */
struct render {
    uint8_t *p;
    size_t cap, n;
    bool full;
};

static void put(struct render *r, struct slice s)
{
    if (r->cap - r->n < s.len) {
        r->full = true;
        return;
    }
    if (s.len != 0)
        memcpy(r->p + r->n, s.p, s.len);
    r->n += s.len;
}

static void put_percent(struct render *r, uint8_t c)
{
    uint8_t text[3];
    stomp_put_percent(text, c);
    put(r, slice_make(text, sizeof(text)));
}

static ptrdiff_t render_end(const struct render *r)
{
    return r->full ? -ERR_TOO_BIG : (ptrdiff_t)r->n;
}

/* Puts s so that decoding gives it back: a '%' that would start %XX and every `also` (NUL: none) as %XX. */
static void put_encoded(struct render *r, struct slice s, uint8_t also)
{
    size_t from = 0; /* [from, i) goes out as it is */
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (LIKELY(c != '%' && c != also) || c == '\0' || (c == '%' && stomp_percent(s, i) < 0))
            continue;
        put(r, slice_make(s.p + from, i - from));
        put_percent(r, c);
        from = i + 1;
    }
    put(r, slice_make(s.p + from, s.len - from));
}

static void put_level(struct render *r, struct slice level)
{
    /* Literal in SEND; written as %XX they are so in SUBSCRIBE too. */
    if (!is_token(level, "*") && !is_token(level, "**") && !is_token(level, ">")) {
        put_encoded(r, level, '.');
        return;
    }
    for (size_t i = 0; i < level.len; i++)
        put_percent(r, level.p[i]);
}

static void put_topic(struct render *r, struct slice topic, struct slice separator)
{
    for (bool at_end = false; !at_end;) {
        put_level(r, token_cut(&topic, STOMP_DIALECT_MQTT, &at_end));
        if (!at_end)
            put(r, separator);
    }
}

static void put_styled(struct render *r, enum stomp_dest_style style, struct slice topic)
{
    put_topic(r, topic, style == STOMP_STYLE_SLASH ? SLICE("/") : SLICE("."));
}

static struct slice prefix_of(enum stomp_dest_kind kind)
{
    for (size_t i = 0; i < ARRAY_N(prefixes); i++) {
        if (prefixes[i].kind == kind)
            return prefixes[i].text;
    }
    BUG_ON("a kind without a prefix");
    return SLICE("");
}

ptrdiff_t stomp_dest_render_topic(enum stomp_dest_style style, struct slice topic, uint8_t *out, size_t cap)
{
    BUG_ON(style == STOMP_STYLE_OPAQUE);
    struct render r = {.p = out, .cap = cap};
    if (style == STOMP_STYLE_MQTT) {
        put(&r, prefix_of(STOMP_DEST_MQTT));
        put(&r, topic);
        return render_end(&r);
    }
    put(&r, prefix_of(STOMP_DEST_TOPIC));
    put_styled(&r, style, topic);
    return render_end(&r);
}

ptrdiff_t stomp_dest_render_name(enum stomp_dest_kind kind, struct slice name, uint8_t *out, size_t cap)
{
    BUG_ON(kind == STOMP_DEST_TOPIC || kind == STOMP_DEST_MQTT || name.len == 0);
    struct render r = {.p = out, .cap = cap};
    put(&r, prefix_of(kind));
    put_encoded(&r, name, kind == STOMP_DEST_EXCHANGE ? '/' : '\0');
    return render_end(&r);
}

ptrdiff_t stomp_dest_render_exchange(struct slice name, enum stomp_dest_style style, struct slice key, uint8_t *out,
                                     size_t cap)
{
    BUG_ON(style == STOMP_STYLE_MQTT || name.len == 0);
    struct render r = {.p = out, .cap = cap};
    put(&r, prefix_of(STOMP_DEST_EXCHANGE));
    put_encoded(&r, name, '/');
    put(&r, SLICE("/"));
    if (style == STOMP_STYLE_OPAQUE)
        put_encoded(&r, key, '\0');
    else
        put_styled(&r, style, key);
    return render_end(&r);
}
