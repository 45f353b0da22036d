/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topic.c: topics as levels, filters as tokens.
 *
 *     "site/+/temp"  ─►  LITERAL site · ONE · LITERAL temp
 *     "/a//b"        ─►  LITERAL "" · LITERAL a · LITERAL "" · LITERAL b
 *
 * Only the MQTT spelling is known here, because that is how core keeps topics. What a STOMP destination means is
 * decided in proto_stomp, which makes tokens itself.
 *
 * Cost    linear in the bytes; no allocation. filter_matches is exponential in the number of MANYs and meant for tests.
 * Thread  pure functions.
 * Spec    MQTT 5 §4.7; RabbitMQ topic exchanges ('#' anywhere).
 */
#include "core/topic.h"

#include "core/base/utf8.h"

uint32_t topic_levels(struct slice topic)
{
    uint32_t n = 1;
    for (size_t i = 0; i < topic.len; i++)
        n += topic.p[i] == '/';
    return n;
}

bool topic_next_level(struct slice *rest, bool *at_end, struct slice *out_level)
{
    if (*at_end)
        return false;
    ptrdiff_t slash = slice_find(*rest, '/');
    if (slash < 0) {
        *out_level = *rest;
        *at_end = true;
        return true;
    }
    *out_level = slice_make(rest->p, (size_t)slash);
    *rest = slice_skip(*rest, (size_t)slash + 1);
    return true;
}

enum err filter_from_mqtt(struct slice text, struct token *tok, struct filter *out)
{
    uint32_t n = 0;
    bool at_end = false;
    struct slice level;
    while (topic_next_level(&text, &at_end, &level)) {
        if (n == TOPIC_LEVELS_MAX)
            return ERR_TOO_BIG;
        enum token_kind kind = TOKEN_LITERAL;
        if (level.len == 1 && level.p[0] == '+')
            kind = TOKEN_ONE;
        else if (level.len == 1 && level.p[0] == '#')
            kind = TOKEN_MANY;
        tok[n++] = (struct token){.kind = kind, .bytes = level};
    }
    *out = (struct filter){.tok = tok, .n = n};
    return ERR_OK;
}

void filter_put_mqtt(struct buf *b, const struct filter *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        if (i > 0)
            buf_put_u8(b, '/');
        if (f->tok[i].kind == TOKEN_ONE)
            buf_put_u8(b, '+');
        else if (f->tok[i].kind == TOKEN_MANY)
            buf_put_u8(b, '#');
        else
            buf_put_slice(b, f->tok[i].bytes);
    }
}

bool filter_is_equal(const struct filter *a, const struct filter *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->tok[i].kind != b->tok[i].kind)
            return false;
        if (a->tok[i].kind == TOKEN_LITERAL && !slice_eq(a->tok[i].bytes, b->tok[i].bytes))
            return false;
    }
    return true;
}

bool topic_is_name(struct slice topic)
{
    return topic.len > 0 && topic.len <= TOPIC_BYTES_MAX && slice_find(topic, '+') < 0 && slice_find(topic, '#') < 0 &&
           utf8_is_mqtt(topic.p, topic.len); /* both: [MQTT-3.3.2-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2] */
}

bool topic_is_sys(struct slice topic)
{
    static const struct slice sys = {(const uint8_t *)"$SYS", 4};
    return slice_starts_with(topic, sys) && (topic.len == sys.len || topic.p[sys.len] == '/');
}

bool filter_is_modest(const struct filter *f, uint64_t levels_max)
{
    uint32_t manys = 0;
    for (uint32_t i = 0; i < f->n; i++)
        manys += f->tok[i].kind == TOKEN_MANY;
    return f->n <= levels_max && manys <= FILTER_MANYS_MAX;
}

static bool matches_from(const struct token *tok, uint32_t n, struct slice rest, bool at_end)
{
    if (n == 0)
        return at_end;
    struct slice level = {0};
    if (tok->kind == TOKEN_MANY) {
        if (matches_from(tok + 1, n - 1, rest, at_end))
            return true;
        return topic_next_level(&rest, &at_end, &level) && matches_from(tok, n, rest, at_end);
    }
    if (!topic_next_level(&rest, &at_end, &level))
        return false;
    if (tok->kind == TOKEN_LITERAL && !slice_eq(tok->bytes, level))
        return false;
    return matches_from(tok + 1, n - 1, rest, at_end);
}

bool filter_matches(const struct filter *f, struct slice topic)
{
    /* both: [MQTT-4.7.2-1] a leading wildcard does not match a topic that begins with '$' */
    if (f->n > 0 && f->tok[0].kind != TOKEN_LITERAL && topic.len > 0 && topic.p[0] == '$')
        return false;
    return matches_from(f->tok, f->n, topic, false);
}
