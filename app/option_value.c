/* SPDX-License-Identifier: Apache-2.0 */
/*
 * option_value.c: from the text behind an option's name to a number, and the words that say what is allowed there.
 *
 *     "64M"  ─► digits 64, suffix "M" of the unit "bytes" ─► 67108864 ─► min .. max?
 *     "14d"  ─► OPTION_AGE: digits 14, letter d            ─► 1209600 s
 *     "-1"   ─► the row's word for "no limit"              ─► max
 *
 * Invariants
 *   1. A number that does not fit 64 bits is an error, never another number.
 *   2. What option_allowed says is what option_number takes, and nothing else is taken.
 * Cost    one pass over the text; no allocation but in the caller's buf.
 * Thread  any.
 */
#include "app/options.h"

#include <inttypes.h>
#include <string.h>

struct suffix {
    const char *unit, *text;
    uint64_t factor;
};

/* Suffixes a plain number may have, by unit. "m" is left out: it is a month in mosquitto's files. */
static const struct suffix suffixes[] = {
    {"bytes", "k", 1024},   {"bytes", "K", 1024},   {"bytes", "M", 1048576},   {"bytes", "G", 1073741824},
    {"bytes/s", "k", 1024}, {"bytes/s", "K", 1024}, {"bytes/s", "M", 1048576}, {"bytes/s", "G", 1073741824},
    {"ms", "ms", 1},        {"ms", "s", 1000},      {"ms", "min", 60000},      {"s", "s", 1},
    {"s", "min", 60},       {"s", "h", 3600},       {"s", "d", 86400},
};

/* Letters of an OPTION_AGE, as mosquitto counts them. */
static const struct suffix ages[] = {
    {"s", "h", 3600}, {"s", "d", 86400}, {"s", "w", 604800}, {"s", "m", 2592000}, {"s", "y", 31536000},
};

/* digits: the number at the front of text; moves text behind it. ERR_INVALID: no digit there, or it does not fit. */
static enum err digits(struct slice *text, uint64_t *out)
{
    uint64_t n = 0;
    size_t i = 0;
    for (; i < text->len && text->p[i] >= '0' && text->p[i] <= '9'; i++) {
        if (__builtin_mul_overflow(n, (uint64_t)10, &n) || __builtin_add_overflow(n, (uint64_t)(text->p[i] - '0'), &n))
            return ERR_INVALID;
    }
    if (i == 0)
        return ERR_INVALID;
    *text = slice_skip(*text, i);
    *out = n;
    return ERR_OK;
}

static enum err scaled(struct slice text, const char *unit, const struct suffix *v, size_t n, uint64_t *out)
{
    uint64_t number = 0;
    enum err e = digits(&text, &number);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(v[i].unit, unit) == 0 && slice_eq_str(text, v[i].text))
            return __builtin_mul_overflow(number, v[i].factor, out) ? ERR_INVALID : ERR_OK;
    }
    *out = number;
    return text.len == 0 && v == suffixes ? ERR_OK : ERR_INVALID; /* an age needs its letter */
}

static enum err uint_value(const struct option *o, struct slice text, uint64_t *out)
{
    if (o->unlimited != NULL && slice_eq_str(text, o->unlimited)) {
        *out = o->max;
        return ERR_OK;
    }
    return scaled(text, o->unit != NULL ? o->unit : "", suffixes, ARRAY_N(suffixes), out);
}

static enum err bool_value(struct slice text, uint64_t *out)
{
    bool yes = slice_eq_str(text, "true") || slice_eq_str(text, "1");
    if (!yes && !slice_eq_str(text, "false") && !slice_eq_str(text, "0"))
        return ERR_INVALID;
    *out = yes;
    return ERR_OK;
}

/* enum_value: the place of text among "a|b|c". */
static enum err enum_value(const char *values, struct slice text, uint64_t *out)
{
    struct slice rest = slice_from_str(values);
    for (uint64_t i = 0;; i++) {
        ptrdiff_t bar = slice_find(rest, '|');
        size_t n = bar < 0 ? rest.len : (size_t)bar;
        if (slice_eq(text, slice_make(rest.p, n))) {
            *out = i;
            return ERR_OK;
        }
        if (bar < 0)
            return ERR_INVALID;
        rest = slice_skip(rest, n + 1);
    }
}

enum err option_number(const struct option *o, struct slice text, uint64_t *out)
{
    uint64_t n = 0;
    enum err e = ERR_INVALID;
    switch (o->type) {
    case OPTION_BOOL:
        e = bool_value(text, &n);
        break;
    case OPTION_UINT:
        e = uint_value(o, text, &n);
        break;
    case OPTION_AGE:
        e = scaled(text, "s", ages, ARRAY_N(ages), &n);
        break;
    case OPTION_ENUM:
        e = enum_value(o->values, text, &n);
        break;
    case OPTION_TEXT:
    case OPTION_VERB:
        BUG_ON(true); /* no number */
    }
    bool has_range = o->type == OPTION_UINT || o->type == OPTION_AGE;
    if (e == ERR_OK && has_range && (n < o->min || n > o->max))
        e = ERR_INVALID;
    if (e == ERR_OK)
        *out = n;
    return e;
}

/* words: "a|b|c" as "a, b or c". */
static void words(const char *values, struct buf *out)
{
    const char *last = strrchr(values, '|');
    for (const char *c = values; *c != 0; c++) {
        if (*c != '|')
            buf_put_u8(out, (uint8_t)*c);
        else
            buf_put_str(out, c == last ? " or " : ", ");
    }
}

static void suffix_words(const char *unit, struct buf *out)
{
    const char *before = "; also with ";
    for (size_t i = 0; i < ARRAY_N(suffixes); i++) {
        if (strcmp(suffixes[i].unit, unit) != 0)
            continue;
        buf_put_str(out, before);
        buf_put_str(out, suffixes[i].text);
        before = ", ";
    }
}

void option_allowed(const struct option *o, struct buf *out)
{
    switch (o->type) {
    case OPTION_BOOL:
        buf_put_str(out, "true or false");
        return;
    case OPTION_UINT:
        buf_printf(out, "%" PRIu64 " to %" PRIu64, o->min, o->max);
        if (o->unit != NULL)
            buf_printf(out, " %s", o->unit);
        if (o->unit != NULL)
            suffix_words(o->unit, out);
        if (o->unlimited != NULL)
            buf_printf(out, "; %s: no limit", o->unlimited);
        return;
    case OPTION_AGE:
        buf_put_str(out, "a number and one of h d w m y, like 14d");
        return;
    case OPTION_ENUM:
        words(o->values, out);
        return;
    case OPTION_VERB:
        buf_put_str(out, o->values);
        return;
    case OPTION_TEXT:
        buf_put_str(out, "any text");
        if (o->max != 0)
            buf_printf(out, " of at most %" PRIu64 " bytes", o->max);
        return;
    }
}

void option_default(const struct option *o, struct buf *out)
{
    if (o->def_text != NULL)
        buf_put_str(out, o->def_text);
    else if (o->type == OPTION_BOOL)
        buf_put_str(out, o->def ? "true" : "false");
    else
        buf_printf(out, "%" PRIu64, o->def);
}
