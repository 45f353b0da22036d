/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_OPTIONS_H
#define WEIR_APP_OPTIONS_H

/*
 * options.h: every word a configuration file may begin a line with, in one table: what Weir does, what mosquitto does
 * and Weir does not do yet, and what restricts access in a way Weir cannot keep yet. The parser, `weir --help` and
 * docs/configuration.md read this table and nothing else; the limits of core/limits.h are rows of it by themselves.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/slice.h"

enum option_class {
    OPTION_WORKS,   /* does what `help` says */
    OPTION_LATER,   /* known, harmless to leave out: one warning, then ignored */
    OPTION_MOOT,    /* what it asks for needs no option here: one note with `help`, then ignored */
    OPTION_REFUSED, /* leaving it out would open what the file closes: the start ends, `help` is the cure */
};

enum option_scope {
    SCOPE_GLOBAL,   /* anywhere; holds for the whole broker */
    SCOPE_LISTENER, /* below a `listener` line, or before the first one for the default listener */
};

enum option_type {
    OPTION_BOOL, /* true, false, 1, 0 */
    OPTION_UINT, /* a whole number in `unit`, min .. max, or one with a suffix of that unit */
    OPTION_AGE,  /* a whole number and one of h d w m y (m: 30 days, y: 365 days); kept in seconds */
    OPTION_ENUM, /* one of the words in `values`, "a|b|c"; kept as its place */
    OPTION_TEXT, /* the rest of the line, at most `max` bytes unless that is 0 */
    OPTION_VERB, /* config.c has a function of its own for it; `values` says how it is written */
};

enum option_verb {
    VERB_NONE,
    VERB_LISTENER,
    VERB_PORT,
    VERB_BIND_ADDRESS,
    VERB_PROTOCOL,
    VERB_ALLOW_ANONYMOUS,
    VERB_MAX_CONNECTIONS,
    VERB_PERSISTENCE,
    VERB_LOG_DEST,
    VERB_LOG_TYPE,
    VERB_INCLUDE_DIR,
    VERB_WS_ORIGIN,
    VERB_WS_HOST,
    VERB_WS_PATH,
    VERB_N
};

/* One row. Numbers, switches included, are kept as uint64_t and texts as char *, at `offset` in struct config or, for
 * SCOPE_LISTENER, in struct config_listener. */
struct option {
    const char *name;     /* ends in '*' for a family: "plugin_opt_*" */
    const char *help;     /* WORKS: what it does; LATER: what there is instead, or NULL; MOOT: why; REFUSED:
                             why, and the cure */
    const char *def_text; /* default for people */
    const char *unit;
    const char *policy;    /* limits: what happens when it is reached */
    const char *values;    /* OPTION_ENUM, OPTION_VERB */
    const char *unlimited; /* the word that stands for max, as mosquitto has it ("0", "-1"); NULL: none */
    const char *harmless;  /* LATER, MOOT, REFUSED: with this value nothing is asked for, so nothing is said */
    uint64_t def, min, max;
    uint32_t offset;
    enum option_class class;
    enum option_scope scope;
    enum option_type type;
    enum option_verb verb; /* not VERB_NONE: handled by config.c, whatever the type */
};

/* option_n, option_at: all rows, those of core/limits.h included; i < option_n(). */
unsigned option_n(void);
void option_at(unsigned i, struct option *out);

/* option_find: the row a line that begins with `name` belongs to; false: there is none. Knows the second names of
 * options ("global_max_connections") and families. */
bool option_find(struct slice name, struct option *out);

/* option_nearest: the option most alike to a mistyped name (at most a third of it, and at most 3 letters, differ), NULL
 * when none is. Static text. */
const char *option_nearest(struct slice name);

/* option_number: what a BOOL, UINT, AGE or ENUM row makes of text (no spaces around it). ERR_INVALID: it is none of
 * what option_allowed says. */
enum err option_number(const struct option *o, struct slice text, uint64_t *out) MUST_CHECK;

/* option_allowed: appends what may stand there, in words: "true or false", "1 to 65535 messages". */
void option_allowed(const struct option *o, struct buf *out);

/* option_default: appends the default in words, "" when there is none. */
void option_default(const struct option *o, struct buf *out);

#endif
