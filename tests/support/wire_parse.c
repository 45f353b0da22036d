/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_parse.c: the text of a wire table, line by line, into tests and steps.
 *
 *     text ─► logical lines (comments cut, continued lines joined) ─► let | test | limit | set | step
 *     bytes ─► items: hex "text" 'text' u16:N [ length ] ( group ) $name ? ?*   each may be followed by *N
 *
 * Invariants
 *   1. Anything that is not understood is an error with its line; nothing is skipped.
 *   2. A run (?*) has no length and so stands in no [ ].
 * Cost    O(text).
 * Thread  any; tests only.
 */
#include "tests/support/wire_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BYTES_MAX = 64 * 1024 * 1024, DEPTH_MAX = 16 };

struct cursor {
    struct wire_file *f;
    const char *p; /* NUL-terminated logical line */
    int depth;
};

static bool fail(struct wire_file *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

static bool fail(struct wire_file *f, const char *fmt, ...)
{
    va_list args;
    if (f->error[0] != '\0')
        return false;
    va_start(args, fmt);
    (void)vsnprintf(f->error, sizeof f->error, fmt, args);
    va_end(args);
    return false;
}

/* grow: room for one more item of `size` bytes in v; v may move. */
static void *grow(void *v, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return v;
    *cap = *cap != 0 ? *cap * 2 : 16;
    v = realloc(v, *cap * size);
    BUG_ON(v == NULL);
    return v;
}

static void put_sym(struct wire_bytes *b, enum wire_sym_kind kind, uint8_t byte)
{
    b->v = grow(b->v, b->n, &b->cap, sizeof *b->v);
    b->v[b->n++] = (struct wire_sym){.kind = (uint8_t)kind, .byte = byte};
}

static void put_all(struct wire_bytes *b, const struct wire_bytes *more)
{
    for (size_t i = 0; i < more->n; i++)
        put_sym(b, (enum wire_sym_kind)more->v[i].kind, more->v[i].byte);
}

static void put_number(struct wire_bytes *b, unsigned bytes, uint64_t v)
{
    for (unsigned i = bytes; i-- > 0;)
        put_sym(b, WIRE_BYTE, (uint8_t)(v >> (8 * i)));
}

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static void skip_blanks(struct cursor *c)
{
    while (*c->p == ' ' || *c->p == '\t')
        c->p++;
}

static bool number(struct cursor *c, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (*c->p < '0' || *c->p > '9')
        return fail(c->f, "a number is missing at '%.20s'", c->p);
    for (; *c->p >= '0' && *c->p <= '9'; c->p++) {
        v = v * 10 + (uint64_t)(*c->p - '0');
        if (v > max)
            return fail(c->f, "number above %llu", (unsigned long long)max);
    }
    *out = v;
    return true;
}

/* ---- items --------------------------------------------------------------------------------------------------- */

static bool items(struct cursor *c, char end, struct wire_bytes *out);

static bool escape(struct cursor *c, uint8_t *out)
{
    static const char from[] = "nrt0\\\"'", to[] = "\n\r\t\0\\\"'";
    const char *at = *c->p != '\0' ? strchr(from, *c->p) : NULL;
    if (at != NULL) {
        *out = (uint8_t)to[at - from];
        c->p++;
        return true;
    }
    if (c->p[0] != 'x' || hex_of(c->p[1]) < 0 || hex_of(c->p[2]) < 0)
        return fail(c->f, "no such escape: \\%.3s", c->p);
    *out = (uint8_t)(hex_of(c->p[1]) * 16 + hex_of(c->p[2]));
    c->p += 3;
    return true;
}

static bool text(struct cursor *c, char quote, struct wire_bytes *out)
{
    struct wire_bytes body = {0};
    for (c->p++; *c->p != quote;) {
        uint8_t byte = (uint8_t)*c->p;
        if (byte == '\0') {
            free(body.v);
            return fail(c->f, "a text does not end");
        }
        c->p++;
        if (byte == '\\' && !escape(c, &byte)) {
            free(body.v);
            return false;
        }
        put_sym(&body, WIRE_BYTE, byte);
    }
    c->p++;
    if (quote == '\'')
        put_number(out, 2, body.n);
    put_all(out, &body);
    free(body.v);
    return true;
}

static bool hex(struct cursor *c, struct wire_bytes *out)
{
    while (hex_of(*c->p) >= 0) {
        if (hex_of(c->p[1]) < 0)
            return fail(c->f, "half a byte at '%.20s'", c->p);
        put_sym(out, WIRE_BYTE, (uint8_t)(hex_of(c->p[0]) * 16 + hex_of(c->p[1])));
        c->p += 2;
    }
    return true;
}

static bool sized_number(struct cursor *c, struct wire_bytes *out)
{
    static const struct {
        const char *word;
        unsigned bytes;
    } kinds[] = {{"u8:", 1}, {"u16:", 2}, {"u32:", 4}};
    for (size_t i = 0; i < ARRAY_N(kinds); i++) {
        size_t n = strlen(kinds[i].word);
        uint64_t v;
        if (strncmp(c->p, kinds[i].word, n) != 0)
            continue;
        c->p += n;
        if (!number(c, (UINT64_C(1) << (8 * kinds[i].bytes)) - 1, &v))
            return false;
        put_number(out, kinds[i].bytes, v);
        return true;
    }
    return fail(c->f, "not understood: '%.20s'", c->p);
}

/* counted: [ ... ] a Variable Byte Integer, then that many bytes. */
static bool counted(struct cursor *c, struct wire_bytes *out)
{
    struct wire_bytes body = {0};
    c->p++;
    bool ok = items(c, ']', &body);
    for (size_t i = 0; ok && i < body.n; i++)
        if (body.v[i].kind == WIRE_RUN)
            ok = fail(c->f, "?* has no length, so it cannot stand in [ ]");
    size_t left = body.n;
    do {
        put_sym(out, WIRE_BYTE, (uint8_t)(left % 128 + (left >= 128 ? 128 : 0)));
        left /= 128;
    } while (left != 0);
    put_all(out, &body);
    free(body.v);
    return ok;
}

static bool named(struct cursor *c, struct wire_bytes *out)
{
    const char *name = ++c->p;
    while ((*c->p >= 'a' && *c->p <= 'z') || (*c->p >= '0' && *c->p <= '9') || *c->p == '_')
        c->p++;
    size_t n = (size_t)(c->p - name);
    for (size_t i = 0; i < c->f->let_n; i++) {
        const struct wire_let *l = &c->f->let[i];
        if (strlen(l->name) == n && memcmp(l->name, name, n) == 0) {
            put_all(out, &l->bytes);
            return true;
        }
    }
    return fail(c->f, "nothing is called $%.*s", (int)n, name);
}

static bool item(struct cursor *c, struct wire_bytes *out)
{
    switch (*c->p) {
    case '"':
    case '\'':
        return text(c, *c->p, out);
    case '[':
        return counted(c, out);
    case '(':
        c->p++;
        return items(c, ')', out);
    case '$':
        return named(c, out);
    case '?':
        c->p++;
        if (c->p[0] == '*' && (c->p[1] < '0' || c->p[1] > '9')) {
            c->p++;
            put_sym(out, WIRE_RUN, 0);
        } else {
            put_sym(out, WIRE_ANY, 0);
        }
        return true;
    default:
        return hex_of(*c->p) >= 0 ? hex(c, out) : sized_number(c, out);
    }
}

/* items: up to `end`, which is eaten ('\0': the end of the line). */
static bool items(struct cursor *c, char end, struct wire_bytes *out)
{
    bool ok = ++c->depth <= DEPTH_MAX || fail(c->f, "nested too deeply");
    for (skip_blanks(c); ok && *c->p != end; skip_blanks(c)) {
        struct wire_bytes one = {0};
        uint64_t times = 1;
        if (*c->p == '\0')
            return fail(c->f, "'%c' is missing", end);
        ok = item(c, &one);
        if (ok && *c->p == '*') {
            c->p++;
            ok = number(c, BYTES_MAX, &times);
        }
        if (ok && one.n * times > BYTES_MAX)
            ok = fail(c->f, "too many bytes");
        for (uint64_t i = 0; ok && i < times; i++)
            put_all(out, &one);
        free(one.v);
    }
    if (ok && end != '\0')
        c->p++;
    c->depth--;
    return ok;
}

static bool bytes_of(struct wire_file *f, const char *line, struct wire_bytes *out)
{
    struct cursor c = {.f = f, .p = line};
    return items(&c, '\0', out);
}

/* ---- lines --------------------------------------------------------------------------------------------------- */

static bool is_word(const char **line, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*line, word, n) != 0 || ((*line)[n] != ' ' && (*line)[n] != '\0'))
        return false;
    *line += n;
    while (**line == ' ')
        (*line)++;
    return true;
}

static bool let_line(struct wire_file *f, const char *line)
{
    struct wire_let l = {0};
    size_t n = strcspn(line, " =");
    const char *eq = strchr(line, '=');
    if (n == 0 || n >= sizeof l.name || eq == NULL)
        return fail(f, "let NAME = BYTES");
    memcpy(l.name, line, n);
    if (!bytes_of(f, eq + 1, &l.bytes)) {
        free(l.bytes.v);
        return false;
    }
    f->let = grow(f->let, f->let_n, &f->let_cap, sizeof *f->let);
    f->let[f->let_n++] = l;
    return true;
}

static bool test_line(struct wire_file *f, const char *line)
{
    size_t n = strcspn(line, " ");
    f->test = grow(f->test, f->test_n, &f->test_cap, sizeof *f->test);
    struct wire_test *t = &f->test[f->test_n];
    *t = (struct wire_test){.line = f->line};
    if (n == 0 || n >= sizeof t->name)
        return fail(f, "a test needs a short name");
    memcpy(t->name, line, n);
    for (size_t i = 0; i < f->test_n; i++)
        if (strcmp(f->test[i].name, t->name) == 0)
            return fail(f, "there is a test of this name at line %u", f->test[i].line);
    rig_config_init(&t->config);
    f->test_n++;
    return true;
}

static bool limit_line(struct wire_file *f, const char *line)
{
    struct wire_test *t = &f->test[f->test_n - 1];
    size_t n = strcspn(line, " ");
    for (unsigned i = 0; i < limit_table_n; i++) {
        const struct limit_desc *d = &limit_table[i];
        if (strlen(d->field) != n || memcmp(d->field, line, n) != 0)
            continue;
        struct cursor c = {.f = f, .p = line + n};
        uint64_t v;
        skip_blanks(&c);
        if (!number(&c, d->max, &v))
            return false;
        memcpy((uint8_t *)&t->config.limits + d->offset, &v, sizeof v);
        return true;
    }
    return fail(f, "there is no limit of this name");
}

/* keep_word: what follows the directive, as a text of the file's own; it lives as long as the test. */
static bool keep_word(struct wire_file *f, const char *word, const char **out)
{
    struct wire_test *t = &f->test[f->test_n - 1];
    size_t n = strlen(word) + 1;
    if (n == 1 || t->word_n == WIRE_WORDS_MAX)
        return fail(f, "one word is missing, or too many were set");
    char *copy = malloc(n);
    BUG_ON(copy == NULL);
    memcpy(copy, word, n);
    t->word[t->word_n++] = copy;
    *out = copy;
    return true;
}

static bool set_line(struct wire_file *f, const char *line)
{
    struct rig_config *c = &f->test[f->test_n - 1].config;
    const struct {
        const char *word;
        bool *out;
    } flags[] = {{"anonymous no", &c->refuses_anonymous},
                 {"retain no", &c->no_retain},
                 {"queue_qos0", &c->queue_qos0},
                 {"store", &c->has_store},
                 {"lenient", &c->is_lenient},
                 {"moved", &c->has_moved},
                 {"auth", &c->has_auth},
                 {"check_payload_format", &c->check_payload_format},
                 {"stomp_strict_host", &c->stomp_strict_host},
                 {"stomp_persistent", &c->stomp_persistent}};
    for (size_t i = 0; i < ARRAY_N(flags); i++)
        if (strcmp(line, flags[i].word) == 0) {
            *flags[i].out = true;
            return true;
        }
    if (is_word(&line, "server_reference"))
        return keep_word(f, line, &c->server_reference);
    if (is_word(&line, "response_information"))
        return keep_word(f, line, &c->response_information);
    if (is_word(&line, "door"))
        return keep_word(f, line, &c->door_name);
    if (is_word(&line, "topic_dialect") && line[0] >= '0' && line[0] <= '2' && line[1] == '\0') {
        c->topic_dialect = (uint8_t)(line[0] - '0');
        return true;
    }
    if (is_word(&line, "qos_cap") && line[0] >= '0' && line[0] <= '2' && line[1] == '\0') {
        c->has_qos_cap = true;
        c->qos_cap = (uint8_t)(line[0] - '0');
        return true;
    }
    return fail(f, "there is nothing of this name to set");
}

static bool wait_line(struct wire_file *f, const char *line, struct wire_step *s)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    struct cursor c = {.f = f, .p = line};
    uint64_t v;
    skip_blanks(&c);
    if (!number(&c, 1000000, &v))
        return false;
    for (size_t i = 0; i < ARRAY_N(units); i++)
        if (strcmp(c.p, units[i].unit) == 0) {
            s->kind = WIRE_WAIT;
            s->ms = v * units[i].ms;
            return true;
        }
    return fail(f, "a time needs one of the units ms s m h d");
}

/* conn_line: "A> ..." and its kin. */
static bool conn_line(struct wire_file *f, const char *line, struct wire_step *s)
{
    static const char marks[] = "><|*$!#=";
    static const enum wire_step_kind kinds[] = {WIRE_SEND, WIRE_EXPECT, WIRE_CLOSED, WIRE_SILENT,
                                                WIRE_EOF,  WIRE_RESET,  WIRE_STALL,  WIRE_RESUME};
    const char *at = line[0] >= 'A' && line[0] <= 'Z' && line[1] != '\0' ? strchr(marks, line[1]) : NULL;
    if (at == NULL)
        return fail(f, "not understood: '%.20s'", line);
    s->who = line[0];
    s->kind = kinds[at - marks];
    if (!bytes_of(f, line + 2, &s->bytes))
        return false;
    bool wants_bytes = s->kind == WIRE_SEND || s->kind == WIRE_EXPECT;
    if ((s->bytes.n != 0) != wants_bytes)
        return fail(f, wants_bytes ? "bytes are missing" : "bytes make no sense here");
    for (size_t i = 0; s->kind == WIRE_SEND && i < s->bytes.n; i++)
        if (s->bytes.v[i].kind != WIRE_BYTE)
            return fail(f, "what is sent must be known");
    return true;
}

static bool step_line(struct wire_file *f, const char *line)
{
    struct wire_test *t = &f->test[f->test_n - 1];
    struct wire_step s = {.line = f->line};
    bool ok = true;
    if (strcmp(line, "hold") == 0)
        s.kind = WIRE_HOLD;
    else if (strcmp(line, "release") == 0)
        s.kind = WIRE_RELEASE;
    else if (strcmp(line, "stop") == 0)
        s.kind = WIRE_STOP;
    else if (strcmp(line, "full") == 0)
        s.kind = WIRE_FULL;
    else if (strcmp(line, "fail") == 0)
        s.kind = WIRE_FAIL;
    else if (line[0] == '+')
        ok = wait_line(f, line + 1, &s);
    else
        ok = conn_line(f, line, &s);
    t->step = grow(t->step, t->step_n, &t->step_cap, sizeof *t->step);
    t->step[t->step_n++] = s;
    return ok;
}

static bool one_line(struct wire_file *f, const char *line)
{
    if (is_word(&line, "let"))
        return let_line(f, line);
    if (is_word(&line, "test"))
        return test_line(f, line);
    if (f->test_n == 0)
        return fail(f, "outside of a test");
    if (is_word(&line, "limit"))
        return limit_line(f, line);
    if (is_word(&line, "set"))
        return set_line(f, line);
    return step_line(f, line);
}

/* strip: the length of a line without its comment and the blanks in front of that. */
static size_t strip(const char *p, size_t n)
{
    char quote = '\0';
    size_t end = 0;
    for (size_t i = 0; i < n; i++) {
        if (quote != '\0' && p[i] == '\\' && i + 1 < n) {
            end = ++i + 1;
            continue;
        }
        if (quote == '\0' && p[i] == '#' && (i == 0 || p[i - 1] == ' ' || p[i - 1] == '\t'))
            break;
        if (p[i] == quote)
            quote = '\0';
        else if (quote == '\0' && (p[i] == '"' || p[i] == '\''))
            quote = p[i];
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r')
            end = i + 1;
    }
    return end;
}

bool wire_parse(const char *src, size_t len, struct wire_file *out)
{
    struct rig_bytes logical = {0};
    uint32_t line = 0, first = 0;
    bool ok = true;
    *out = (struct wire_file){0};
    for (size_t at = 0; ok && at <= len;) {
        const char *p = src + at, *end = at < len ? memchr(p, '\n', len - at) : NULL;
        size_t n = end != NULL ? (size_t)(end - p) : len - at;
        bool is_last = at + n >= len;
        bool is_test = logical.len >= 5 && memcmp(logical.p, "test ", 5) == 0;
        bool continues = n != 0 && (p[0] == ' ' || p[0] == '\t') && logical.len != 0 && !is_test;
        line++;
        if (!continues && logical.len != 0) {
            rig_put(&logical, "", 1);
            out->line = first;
            ok = one_line(out, (const char *)logical.p);
            logical.len = 0;
        }
        size_t keep = n >= 5 && memcmp(p, "test ", 5) == 0 ? n : strip(p, n);
        if (!continues)
            first = line;
        rig_put(&logical, p, keep);
        at += n + 1;
        if (is_last && ok && logical.len != 0) {
            rig_put(&logical, "", 1);
            out->line = first;
            ok = one_line(out, (const char *)logical.p);
            logical.len = 0;
        }
    }
    free(logical.p);
    return ok;
}

void wire_parse_free(struct wire_file *f)
{
    for (size_t i = 0; i < f->test_n; i++) {
        for (size_t k = 0; k < f->test[i].word_n; k++)
            free(f->test[i].word[k]);
        for (size_t k = 0; k < f->test[i].step_n; k++)
            free(f->test[i].step[k].bytes.v);
        free(f->test[i].step);
    }
    for (size_t i = 0; i < f->let_n; i++)
        free(f->let[i].bytes.v);
    free(f->test);
    free(f->let);
    *f = (struct wire_file){0};
}
