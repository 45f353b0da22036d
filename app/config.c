/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c: what one line of a configuration file means.
 *
 *     config_line(key, value) ─► option_find ─┬─ OPTION_LATER    one warning per option, then ignored
 *                                             ├─ OPTION_MOOT     one note per option, then ignored
 *                                             ├─ OPTION_REFUSED  an error with the cure
 *                                             ├─ a verb          its function below: listener, port, protocol, log_dest
 * ... └─ the rest        option_number or text ─► put at the row's offset
 *
 * Everything that is put goes through put_number or put_text, which remember where: putting something else at the same
 * place again is a contradiction, and an error that names both lines. mosquitto lets the last line win; a broker whose
 * files disagree should not guess.
 *
 * Invariants
 *   1. After an error nothing more is read: one mistake, one line.
 *   2. What lines decide together (who may be anonymous, which listeners there are) is left to config_finish.c, so the
 *      order of lines matters only below which listener they stand.
 * Cost    one walk over the option table and one over what was set before, per line.
 * Thread  one.
 */
#include "app/config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "app/config_int.h"
#include "app/options.h"
#include "core/base/buf.h"

#define SAY_MAX 1024u

struct seen {
    const void *target;
    struct place place;
};

typedef enum err (*verb_fn)(struct config *c, struct config_at *at, const struct option *o, const char *key,
                            struct slice value);

/* ---- saying ------------------------------------------------------------------------------------------------- */

void config_place(const struct place *p, char *out, size_t cap)
{
    if (p->file == NULL)
        snprintf(out, cap, "%s", "");
    else if (p->line == 0)
        snprintf(out, cap, "%s: ", p->file);
    else
        snprintf(out, cap, "%s:%u: ", p->file, p->line);
}

static void PRINTF_LIKE(5, 0)
    say(struct config *c, enum log_level level, const struct place *p, const char *key, const char *fmt, va_list args)
{
    char where[512], what[SAY_MAX], line[SAY_MAX];
    config_place(p, where, sizeof(where));
    vsnprintf(what, sizeof(what), fmt, args);
    int n = snprintf(line, sizeof(line), "%s%s%s%s", where, key, *key != 0 ? ": " : "", what);
    for (int i = 0; i < n && (size_t)i < sizeof(line) - 1; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) /* what a file holds does not reach a terminal raw */
            line[i] = '?';
    }
    c->say(c->say_ctx, level, line);
}

enum err config_complain(struct config *c, const struct place *p, const char *key, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(c, LOG_ERROR, p, key, fmt, args);
    va_end(args);
    return ERR_INVALID;
}

void config_warn(struct config *c, const struct place *p, const char *key, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(c, LOG_WARN, p, key, fmt, args);
    va_end(args);
}

void config_note(struct config *c, const struct place *p, const char *key, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(c, LOG_NOTICE, p, key, fmt, args);
    va_end(args);
}

enum err config_nomem(struct config *c)
{
    c->say(c->say_ctx, LOG_ERROR, "out of memory while the configuration was read");
    return ERR_NOMEM;
}

/* not_allowed: the complaint about a value. */
static enum err not_allowed(struct config *c, const struct place *p, const char *key, const struct option *o,
                            struct slice value)
{
    struct buf allowed;
    buf_init(&allowed, c->mem);
    option_allowed(o, &allowed);
    enum err e = ERR_NOMEM;
    if (buf_is_bad(&allowed))
        e = config_nomem(c);
    else if (value.len == 0)
        e = config_complain(c, p, key, "a value is missing; allowed: " SLICE_FMT, SLICE_ARG(buf_slice(&allowed)));
    else
        e = config_complain(c, p, key, "\"" SLICE_FMT "\" is not allowed; allowed: " SLICE_FMT, SLICE_ARG(value),
                            SLICE_ARG(buf_slice(&allowed)));
    buf_fini(&allowed);
    return e;
}

/* ---- putting ------------------------------------------------------------------------------------------------ */

const struct place *config_seen(const struct config *c, const void *target)
{
    for (unsigned i = 0; i < c->seen_n; i++) {
        if (c->seen[i].target == target)
            return &c->seen[i].place;
    }
    return NULL;
}

static enum err remember(struct config *c, const struct place *p, const void *target)
{
    if (c->seen_n == c->seen_cap) {
        unsigned cap = c->seen_cap ? c->seen_cap * 2 : 16;
        struct seen *grown = mem_realloc(c->mem, c->seen, cap * sizeof(*grown));
        if (grown == NULL)
            return config_nomem(c);
        c->seen = grown;
        c->seen_cap = cap;
    }
    c->seen[c->seen_n++] = (struct seen){target, *p};
    return ERR_OK;
}

static enum err contradiction(struct config *c, const struct place *p, const char *key, const struct place *former)
{
    char where[512];
    config_place(former, where, sizeof(where));
    where[strlen(where) - 2] = 0; /* without ": " */
    return config_complain(c, p, key, "was set to something else at %s; keep one of the two lines", where);
}

static enum err put_number(struct config *c, const struct place *p, const char *key, uint64_t *target, uint64_t n)
{
    const struct place *former = config_seen(c, target);
    if (former != NULL)
        return *target == n ? ERR_OK : contradiction(c, p, key, former);
    *target = n;
    return remember(c, p, target);
}

static enum err put_text(struct config *c, const struct place *p, const char *key, char **target, struct slice text)
{
    const struct place *former = config_seen(c, target);
    if (former != NULL)
        return slice_eq_str(text, *target) ? ERR_OK : contradiction(c, p, key, former);
    *target = mem_dup(c->mem, text.p, text.len);
    return *target == NULL ? config_nomem(c) : remember(c, p, target);
}

/* ---- values ------------------------------------------------------------------------------------------------- */

static bool is_space(uint8_t b)
{
    return b == ' ' || b == '\t';
}

/* next_word: takes the first word off; empty when there is none left, or when a comment begins. */
static struct slice next_word(struct slice *rest)
{
    size_t from = 0;
    while (from < rest->len && is_space(rest->p[from]))
        from++;
    size_t to = from;
    while (to < rest->len && !is_space(rest->p[to]))
        to++;
    struct slice word = slice_make(rest->p + from, to - from);
    if (word.len != 0 && word.p[0] == '#') {
        *rest = slice_make(rest->p, 0);
        return *rest;
    }
    *rest = slice_skip(*rest, to);
    return word;
}

/* one_word: the value when it is a single word (a comment may follow, as mosquitto has it). */
static bool one_word(struct slice value, struct slice *out)
{
    *out = next_word(&value);
    return out->len != 0 && next_word(&value).len == 0;
}

static enum err number_of(struct config *c, const struct place *p, const char *key, const struct option *o,
                          struct slice value, uint64_t *out)
{
    struct slice word;
    if (!one_word(value, &word))
        return not_allowed(c, p, key, o, value);
    if (option_number(o, word, out) != ERR_OK)
        return not_allowed(c, p, key, o, word);
    return ERR_OK;
}

static enum err put_plain(struct config *c, struct config_at *at, const struct option *o, const char *key,
                          struct slice value)
{
    char *into = (char *)c;
    if (o->scope == SCOPE_LISTENER)
        into = (char *)(at->listener != NULL ? at->listener : &c->base);
    void *target = into + o->offset;
    if (o->type == OPTION_TEXT && o->max != 0 && value.len > o->max)
        return config_complain(c, &at->place, key, "longer than %" PRIu64 " bytes", o->max);
    if (o->type == OPTION_TEXT)
        return value.len == 0 ? not_allowed(c, &at->place, key, o, value) : put_text(c, &at->place, key, target, value);
    uint64_t n = 0;
    enum err e = number_of(c, &at->place, key, o, value, &n);
    return e == ERR_OK ? put_number(c, &at->place, key, target, n) : e;
}

/* ---- verbs -------------------------------------------------------------------------------------------------- */

static const struct option port_row = {.name = "port", .type = OPTION_UINT, .min = 0, .max = 65535};
static const struct option interval_row = {
    .name = "interval", .type = OPTION_UINT, .unit = "ms", .min = 1, .max = 3600000};
static const struct option switch_row = {.name = "allow_anonymous", .type = OPTION_BOOL, .max = 1};

struct config_listener *config_listener_new(struct config *c, struct place at)
{
    struct config_listener *l = mem_zalloc(c->mem, sizeof(*l));
    if (l != NULL) {
        l->place = at;
        l->qos_max = 2;
        list_push(&c->listeners, &l->node);
    }
    return l;
}

/* listener PORT [ADDRESS], listener 0 /PATH */
static enum err do_listener(struct config *c, struct config_at *at, const struct option *o, const char *key,
                            struct slice value)
{
    struct slice rest = value;
    struct slice port = next_word(&rest), address = next_word(&rest);
    uint64_t n = 0;
    if (port.len == 0 || next_word(&rest).len != 0)
        return not_allowed(c, &at->place, key, o, value);
    if (option_number(&port_row, port, &n) != ERR_OK)
        return not_allowed(c, &at->place, key, &port_row, port);
    bool is_unix = address.len != 0 && address.p[0] == '/';
    if (is_unix && n != 0)
        return config_complain(c, &at->place, key, "a unix socket has no port; write: listener 0 " SLICE_FMT,
                               SLICE_ARG(address));
    struct config_listener *l = config_listener_new(c, at->place);
    if (l == NULL)
        return config_nomem(c);
    l->port = n;
    at->listener = l;
    char **text = is_unix ? &l->unix_path : &l->address;
    return address.len == 0 ? ERR_OK : put_text(c, &at->place, key, text, address);
}

static void write_base(struct config *c, struct config_at *at)
{
    if (!c->base_is_written)
        c->base.place = at->place;
    c->base_is_written = true;
    at->listener = &c->base;
}

static enum err do_port(struct config *c, struct config_at *at, const struct option *o, const char *key,
                        struct slice value)
{
    UNUSED(o);
    uint64_t n = 0;
    enum err e = number_of(c, &at->place, key, &port_row, value, &n);
    if (e != ERR_OK)
        return e;
    write_base(c, at);
    return put_number(c, &at->place, key, &c->base.port, n);
}

static enum err do_bind_address(struct config *c, struct config_at *at, const struct option *o, const char *key,
                                struct slice value)
{
    struct slice word;
    if (!one_word(value, &word))
        return not_allowed(c, &at->place, key, o, value);
    write_base(c, at);
    return put_text(c, &at->place, key, &c->base.address, word);
}

static enum err do_protocol(struct config *c, struct config_at *at, const struct option *o, const char *key,
                            struct slice value)
{
    struct slice word;
    if (!one_word(value, &word))
        return not_allowed(c, &at->place, key, o, value);
    if (slice_eq_str(word, "http_api"))
        return config_complain(c, &at->place, key,
                               "not supported yet: " SLICE_FMT
                               " is not built, and nothing else is spoken here instead; "
                               "remove this listener",
                               SLICE_ARG(word));
    struct config_listener *l = at->listener != NULL ? at->listener : &c->base;
    if (slice_eq_str(word, "all"))
        return put_number(c, &at->place, key, &l->protocol, PROTOCOL_ALL);
    for (unsigned i = 0; c->protocols[i] != NULL; i++) {
        if (slice_eq_str(word, c->protocols[i]))
            return put_number(c, &at->place, key, &l->protocol, i + 1);
    }
    return not_allowed(c, &at->place, key, o, word);
}

static enum err do_allow_anonymous(struct config *c, struct config_at *at, const struct option *o, const char *key,
                                   struct slice value)
{
    uint64_t n = 0;
    struct slice word;
    if (!one_word(value, &word) || option_number(&switch_row, word, &n) != ERR_OK)
        return not_allowed(c, &at->place, key, o, value);
    struct config_listener *l = at->listener != NULL ? at->listener : &c->base;
    uint64_t *target = &l->listener_allow_anonymous;
    if (o->scope == SCOPE_GLOBAL)
        target = at->listener != NULL ? &l->allow_anonymous : &c->allow_anonymous;
    return put_number(c, &at->place, key, target, n != 0 ? ANYONE_YES : ANYONE_NO);
}

/* Below a listener, max_connections is that listener's; elsewhere, and as global_max_connections, the broker's. */
static enum err do_max_connections(struct config *c, struct config_at *at, const struct option *o, const char *key,
                                   struct slice value)
{
    uint64_t n = 0;
    enum err e = number_of(c, &at->place, key, o, value, &n);
    if (e != ERR_OK)
        return e;
    bool is_own = at->listener != NULL && strcmp(key, o->name) == 0;
    return put_number(c, &at->place, key, is_own ? &at->listener->connections_max : &c->limits.connections_max, n);
}

/* persistence off | interval MS | always, and mosquitto's true and false. */
static enum err do_persistence(struct config *c, struct config_at *at, const struct option *o, const char *key,
                               struct slice value)
{
    static const struct {
        const char *word;
        uint64_t how;
    } words[] = {{"off", PERSIST_OFF},       {"false", PERSIST_OFF},   {"0", PERSIST_OFF},
                 {"always", PERSIST_ALWAYS}, {"true", PERSIST_ALWAYS}, {"1", PERSIST_ALWAYS}};
    struct slice rest = value, word = next_word(&rest);
    if (slice_eq_str(word, "interval")) {
        uint64_t ms = 0;
        enum err e = number_of(c, &at->place, key, &interval_row, rest, &ms);
        if (e == ERR_OK)
            e = put_number(c, &at->place, key, &c->persistence, PERSIST_INTERVAL);
        return e == ERR_OK ? put_number(c, &at->place, key, &c->sync_interval_ms, ms) : e;
    }
    bool is_alone = next_word(&rest).len == 0;
    for (size_t i = 0; i < ARRAY_N(words) && is_alone; i++) {
        if (slice_eq_str(word, words[i].word))
            return put_number(c, &at->place, key, &c->persistence, words[i].how);
    }
    return not_allowed(c, &at->place, key, o, value);
}

/* mosquitto's words that ask for more than there is: said, and ignored. */
static bool is_one_of(struct slice word, const char *const *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_eq_str(word, v[i]))
            return true;
    }
    return false;
}

static enum err warn_word(struct config *c, const struct place *p, const char *key, struct slice word)
{
    config_warn(c, p, key, "\"" SLICE_FMT "\" is not supported yet, ignored", SLICE_ARG(word));
    return ERR_OK;
}

static enum err do_log_dest(struct config *c, struct config_at *at, const struct option *o, const char *key,
                            struct slice value)
{
    static const char *const later[] = {"syslog", "topic", "dlt", "android"};
    static const char *const dests[] = {"stderr", "stdout", "file", "none"};
    struct slice rest = value;
    struct slice word = next_word(&rest);
    if (is_one_of(word, later, ARRAY_N(later)))
        return warn_word(c, &at->place, key, word);
    for (size_t i = 0; i < ARRAY_N(dests); i++) {
        if (!slice_eq_str(word, dests[i]))
            continue;
        bool is_first = config_seen(c, &c->log_dests) == NULL;
        c->log_dests = (is_first ? 0 : c->log_dests) | 1u << i;
        enum err e = is_first ? remember(c, &at->place, &c->log_dests) : ERR_OK;
        if (e != ERR_OK || 1u << i != LOG_TO_FILE)
            return e;
        while (rest.len != 0 && is_space(rest.p[0]))
            rest = slice_skip(rest, 1);
        if (rest.len == 0)
            return config_complain(c, &at->place, key, "the path is missing; write: log_dest file PATH");
        return put_text(c, &at->place, key, &c->log_file, rest);
    }
    return not_allowed(c, &at->place, key, o, value);
}

static enum err do_log_type(struct config *c, struct config_at *at, const struct option *o, const char *key,
                            struct slice value)
{
    static const char *const later[] = {"subscribe", "unsubscribe", "websockets", "internal"};
    static const struct {
        const char *name;
        unsigned bits;
    } types[] = {
        {"error", 1u << LOG_ERROR},      {"warning", 1u << LOG_WARN}, {"notice", 1u << LOG_NOTICE},
        {"information", 1u << LOG_INFO}, {"debug", 1u << LOG_DEBUG},  {"none", 0},
        {"all", (2u << LOG_DEBUG) - 1},
    };
    struct slice word;
    if (!one_word(value, &word))
        return not_allowed(c, &at->place, key, o, value);
    if (is_one_of(word, later, ARRAY_N(later)))
        return warn_word(c, &at->place, key, word);
    for (size_t i = 0; i < ARRAY_N(types); i++) {
        if (!slice_eq_str(word, types[i].name))
            continue;
        bool is_first = config_seen(c, &c->log_types) == NULL;
        c->log_types = (is_first ? 0 : c->log_types) | types[i].bits;
        return is_first ? remember(c, &at->place, &c->log_types) : ERR_OK;
    }
    return not_allowed(c, &at->place, key, o, word);
}

static enum err do_include_dir(struct config *c, struct config_at *at, const struct option *o, const char *key,
                               struct slice value)
{
    if (value.len == 0)
        return not_allowed(c, &at->place, key, o, value);
    if (at->is_included)
        return config_complain(c, &at->place, key, "works in the main file only; move it there");
    return config_include(c, at, value);
}

/* ---- options that stand several times ------------------------------------------------------------------------ */

static enum err add_word(struct config *c, const struct place *p, struct config_words *words, struct slice word)
{
    char **grown = mem_realloc(c->mem, words->v, (words->n + 2) * sizeof(char *));
    if (grown == NULL)
        return config_nomem(c);
    words->v = grown;
    words->v[words->n] = mem_dup(c->mem, word.p, word.len);
    if (words->v[words->n] == NULL)
        return config_nomem(c);
    words->v[++words->n] = NULL;
    return config_seen(c, words) == NULL ? remember(c, p, words) : ERR_OK;
}

static bool has_any(struct slice s, const char *bytes)
{
    for (const char *b = bytes; *b != 0; b++) {
        if (slice_find(s, (uint8_t)*b) >= 0)
            return true;
    }
    return false;
}

/* is_origin: as RFC 6454 §6.2 writes it, which has no path, not even "/". */
static bool is_origin(struct slice word)
{
    ptrdiff_t n = slice_find(word, ':');
    if (slice_eq_str(word, "*"))
        return true;
    if (n <= 0 || !slice_starts_with(slice_skip(word, (size_t)n), SLICE("://")))
        return false;
    struct slice host = slice_skip(word, (size_t)n + 3);
    return host.len != 0 && !has_any(host, "/?#@*");
}

static enum err do_ws_words(struct config *c, struct config_at *at, const struct option *o, const char *key,
                            struct slice value)
{
    struct slice word;
    if (!one_word(value, &word))
        return not_allowed(c, &at->place, key, o, value);
    bool fits = false;
    if (o->verb == VERB_WS_ORIGIN)
        fits = is_origin(word);
    else if (o->verb == VERB_WS_HOST)
        fits = !has_any(word, "/:?#@*");
    else
        fits = word.p[0] == '/' && !has_any(word, "?#");
    if (!fits)
        return not_allowed(c, &at->place, key, o, word);
    struct config_listener *l = at->listener != NULL ? at->listener : &c->base;
    return add_word(c, &at->place, (void *)((char *)l + o->offset), word);
}

static const verb_fn verbs[VERB_N] = {
    [VERB_LISTENER] = do_listener,
    [VERB_PORT] = do_port,
    [VERB_BIND_ADDRESS] = do_bind_address,
    [VERB_PROTOCOL] = do_protocol,
    [VERB_ALLOW_ANONYMOUS] = do_allow_anonymous,
    [VERB_MAX_CONNECTIONS] = do_max_connections,
    [VERB_PERSISTENCE] = do_persistence,
    [VERB_LOG_DEST] = do_log_dest,
    [VERB_LOG_TYPE] = do_log_type,
    [VERB_INCLUDE_DIR] = do_include_dir,
    [VERB_WS_ORIGIN] = do_ws_words,
    [VERB_WS_HOST] = do_ws_words,
    [VERB_WS_PATH] = do_ws_words,
};

/* ---- lines -------------------------------------------------------------------------------------------------- */

/* is_harmless: the value asks for nothing beyond what Weir does anyway. */
static bool is_harmless(const struct option *o, struct slice value)
{
    struct slice word;
    if (o->harmless == NULL || !one_word(value, &word))
        return false;
    if (slice_eq_str(word, o->harmless))
        return true;
    return (strcmp(o->harmless, "false") == 0 && slice_eq_str(word, "0")) ||
           (strcmp(o->harmless, "true") == 0 && slice_eq_str(word, "1"));
}

/* say_once: what is ignored, and for an OPTION_MOOT why. */
static void say_once(struct config *c, const struct place *p, const struct option *o, const char *key)
{
    for (unsigned i = 0; i < option_n(); i++) {
        struct option row;
        option_at(i, &row);
        if (row.name != o->name)
            continue;
        BUG_ON(i / 64 >= ARRAY_N(c->warned));
        bool was_said = c->warned[i / 64] & UINT64_C(1) << i % 64;
        if (!was_said && o->class == OPTION_MOOT)
            config_note(c, p, key, "ignored: %s", o->help);
        else if (!was_said)
            config_warn(c, p, key, "not supported yet, ignored");
        c->warned[i / 64] |= UINT64_C(1) << i % 64;
        return;
    }
}

enum err config_line(struct config *c, struct config_at *at, struct slice key, struct slice value)
{
    char name[64];
    snprintf(name, sizeof(name), SLICE_FMT, SLICE_ARG(key));
    struct option o;
    if (!option_find(key, &o)) {
        const char *nearest = option_nearest(key);
        return config_complain(c, &at->place, name, "unknown option; %s%s%s", nearest ? "did you mean " : "",
                               nearest ? nearest : "`weir --help` lists them all", nearest ? "?" : "");
    }
    if (o.class != OPTION_WORKS && is_harmless(&o, value))
        return ERR_OK;
    if (o.class == OPTION_REFUSED)
        return config_complain(c, &at->place, name, "not supported yet: %s", o.help);
    if (o.class == OPTION_LATER || o.class == OPTION_MOOT) {
        say_once(c, &at->place, &o, name);
        return ERR_OK;
    }
    return o.verb != VERB_NONE ? verbs[o.verb](c, at, &o, name, value) : put_plain(c, at, &o, name, value);
}
