/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_stomp_dest.c: any bytes as a destination.
 *
 * Input: one byte for the dialect, then the destination. Checked for every input:
 *   1. a topic that comes out is a valid MQTT topic name, and rendered in each style that fits the dialect, by itself
 * and as the key of an exchange, it is read back as itself by SEND, and by SUBSCRIBE as the filter that matches it
 * alone (the round trip law); stomp_dest_style picks a style that fits;
 *   2. a filter that comes out has literals that core may spell in MQTT, and between 1 and TOPIC_LEVELS_MAX tokens;
 *   3. names and opaque keys are UTF-8 without NUL and survive rendering.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/utf8.h"
#include "proto_stomp/stomp_dest.h"

#define TEXT_MAX 1024u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_any(struct slice s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_find(s, (uint8_t)bytes[i]) >= 0)
            return true;
    }
    return false;
}

/* check_matches_alone: SUBSCRIBE to this text: one literal per level of topic. */
static void check_matches_alone(struct stomp_dest *d, enum stomp_dialect dialect, struct slice topic)
{
    uint8_t buf[STOMP_DEST_RENDER_MAX(TEXT_MAX)];
    struct token tok[TOPIC_LEVELS_MAX];
    struct stomp_filter f;
    enum err e = stomp_dest_filter(d, dialect, tok, buf, sizeof(buf), &f);
    if (e == ERR_TOO_BIG)
        return; /* more levels than a filter may have */
    if (slice_starts_with(topic, SLICE("$share/")) && d->kind == STOMP_DEST_MQTT)
        return; /* means a group, or nothing */
    BUG_ON(e != ERR_OK || f.share.len != 0);
    for (uint32_t i = 0; i < f.filter.n; i++) {
        ptrdiff_t end = slice_find(topic, '/');
        struct slice level = slice_make(topic.p, end < 0 ? topic.len : (size_t)end);
        BUG_ON(tok[i].kind != TOKEN_LITERAL || !slice_eq(tok[i].bytes, level));
        BUG_ON((end < 0) != (i + 1 == f.filter.n));
        topic = slice_skip(topic, MIN(level.len + 1, topic.len));
    }
}

static void check_reads_back(struct slice text, enum stomp_dialect dialect, struct slice topic)
{
    uint8_t buf[STOMP_DEST_RENDER_MAX(TEXT_MAX)];
    struct stomp_dest d;
    struct slice again;
    BUG_ON(stomp_dest_parse(text, &d) != ERR_OK);
    BUG_ON(stomp_dest_topic(&d, dialect, buf, sizeof(buf), &again) != ERR_OK);
    BUG_ON(!slice_eq(again, topic));
    check_matches_alone(&d, dialect, topic);
}

static void check_topic(struct stomp_dest *d, enum stomp_dialect dialect)
{
    uint8_t buf[TEXT_MAX], text[STOMP_DEST_RENDER_MAX(TEXT_MAX)];
    struct slice topic;
    if (stomp_dest_topic(d, dialect, buf, d->key.len, &topic) != ERR_OK) {
        BUG_ON(d->why == STOMP_WHY_NONE);
        return;
    }
    BUG_ON(topic.len == 0 || topic.len > d->key.len);
    BUG_ON(!utf8_is_mqtt(topic.p, topic.len) || has_any(topic, "+#", 2));
    for (unsigned style = STOMP_STYLE_SLASH; style <= STOMP_STYLE_MQTT; style++) {
        if ((style == STOMP_STYLE_SLASH && dialect == STOMP_DIALECT_AMQP) ||
            (style == STOMP_STYLE_DOT && dialect == STOMP_DIALECT_MQTT))
            continue;
        size_t cap = STOMP_DEST_RENDER_MAX(topic.len);
        ptrdiff_t n = stomp_dest_render_topic((enum stomp_dest_style)style, topic, text, cap);
        BUG_ON(n <= 0 ||
               stomp_dest_render_topic((enum stomp_dest_style)style, topic, text, (size_t)n - 1) != -ERR_TOO_BIG);
        check_reads_back(slice_make(text, (size_t)n), dialect, topic);
        if (style == STOMP_STYLE_MQTT)
            continue;
        n = stomp_dest_render_exchange(SLICE("x.%/y"), (enum stomp_dest_style)style, topic, text, sizeof(text));
        BUG_ON(n <= 0);
        check_reads_back(slice_make(text, (size_t)n), dialect, topic);
    }
    enum stomp_dest_style fits = stomp_dest_style(d, dialect);
    BUG_ON(fits == STOMP_STYLE_OPAQUE || (fits == STOMP_STYLE_SLASH && dialect == STOMP_DIALECT_AMQP) ||
           (fits == STOMP_STYLE_DOT && dialect == STOMP_DIALECT_MQTT));
}

static void check_filter(struct stomp_dest *d, enum stomp_dialect dialect)
{
    uint8_t buf[TEXT_MAX];
    struct token tok[TOPIC_LEVELS_MAX];
    struct stomp_filter f;
    if (stomp_dest_filter(d, dialect, tok, buf, d->key.len, &f) != ERR_OK) {
        BUG_ON(d->why == STOMP_WHY_NONE);
        return;
    }
    BUG_ON(f.filter.n == 0 || f.filter.n > TOPIC_LEVELS_MAX || has_any(f.share, "/+#", 3));
    for (uint32_t i = 0; i < f.filter.n; i++) {
        if (tok[i].kind != TOKEN_LITERAL)
            continue;
        BUG_ON(has_any(tok[i].bytes, "/+#\0", 4));
        BUG_ON(!utf8_is_mqtt(tok[i].bytes.p, tok[i].bytes.len));
    }
}

static void check_names(struct stomp_dest *d)
{
    uint8_t buf[TEXT_MAX], key_buf[TEXT_MAX], text[STOMP_DEST_RENDER_MAX(2 * TEXT_MAX)];
    uint8_t again_buf[STOMP_DEST_RENDER_MAX(TEXT_MAX)];
    struct slice name, key, again;
    struct stomp_dest read;
    if (stomp_dest_name(d, buf, sizeof(buf), &name) != ERR_OK)
        return;
    BUG_ON(name.len == 0 || !utf8_is_mqtt(name.p, name.len));
    ptrdiff_t n = stomp_dest_render_name(d->kind, name, text, STOMP_DEST_RENDER_MAX(name.len));
    BUG_ON(n <= 0 || stomp_dest_parse(slice_make(text, (size_t)n), &read) != ERR_OK || read.kind != d->kind);
    BUG_ON(stomp_dest_name(&read, again_buf, sizeof(again_buf), &again) != ERR_OK || !slice_eq(again, name));
    if (stomp_dest_key(d, key_buf, sizeof(key_buf), &key) != ERR_OK)
        return;
    n = stomp_dest_render_exchange(name, STOMP_STYLE_OPAQUE, key, text, sizeof(text));
    BUG_ON(n <= 0 || stomp_dest_parse(slice_make(text, (size_t)n), &read) != ERR_OK);
    BUG_ON(read.kind != STOMP_DEST_EXCHANGE || !read.has_key);
    BUG_ON(stomp_dest_key(&read, again_buf, sizeof(again_buf), &again) != ERR_OK || !slice_eq(again, key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > TEXT_MAX)
        return 0;
    enum stomp_dialect dialect = (enum stomp_dialect)(data[0] % 3);
    struct stomp_dest d;
    if (stomp_dest_parse(slice_make(data + 1, size - 1), &d) != ERR_OK) {
        BUG_ON(d.why == STOMP_WHY_NONE);
        return 0;
    }
    check_topic(&d, dialect);
    check_filter(&d, dialect);
    check_names(&d);
    return 0;
}
