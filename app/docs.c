/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs.c: the tables of options, flags and limits as text: weir --help, docs/configuration.md, docs/limits.md.
 *
 * What is not in a table (the grammar, who may be anonymous) stands here as plain text, once, so that the pages have
 * one source; tests/unit/test_options.c fails when a page in docs/ is not what this file makes.
 *
 * Invariants
 *   1. No option and no limit is named in the prose that is not in its table.
 *   2. Output depends on the tables alone: no clock, no environment.
 * Cost    nothing that counts.
 * Thread  any.
 */
#include "app/docs.h"

#include <inttypes.h>
#include <string.h>

#include "app/args.h"
#include "app/options.h"
#include "core/limits.h"

#define LINE_WIDTH 116u

/* wrapped: text as lines of at most LINE_WIDTH, each after `indent` spaces. */
static void wrapped(struct buf *out, const char *text, unsigned indent)
{
    size_t column = 0;
    while (*text != 0) {
        size_t n = strcspn(text, " ");
        if (column != 0 && column + 1 + n > LINE_WIDTH) {
            buf_put_str(out, "\n");
            column = 0;
        }
        if (column == 0) {
            buf_printf(out, "%*s", (int)indent, "");
            column = indent;
        } else {
            buf_put_str(out, " ");
            column++;
        }
        buf_put(out, text, n);
        column += n;
        text += n + strspn(text + n, " ");
    }
    buf_put_str(out, "\n");
}

/* names: all options of a class, as "a, b, c" with `quote` around each. */
static void names(struct buf *out, enum option_class class, const char *quote)
{
    const char *before = "";
    for (unsigned i = 0; i < option_n(); i++) {
        struct option o;
        option_at(i, &o);
        if (o.class != class)
            continue;
        buf_printf(out, "%s%s%s%s", before, quote, o.name, quote);
        before = ", ";
    }
}

static void wrapped_names(struct buf *out, enum option_class class, const char *quote, unsigned indent)
{
    struct buf all;
    buf_init(&all, out->mem);
    names(&all, class, quote);
    buf_put_u8(&all, 0);
    if (buf_is_bad(&all))
        out->bad = true;
    else
        wrapped(out, (const char *)all.p, indent);
    buf_fini(&all);
}

/* ---- weir --help -------------------------------------------------------------------------------------------- */

static void help_option(struct buf *out, const struct option *o)
{
    buf_printf(out, "  %s  (", o->name);
    option_allowed(o, out);
    struct buf def;
    buf_init(&def, out->mem);
    option_default(o, &def);
    if (def.len != 0)
        buf_printf(out, "; default " SLICE_FMT, SLICE_ARG(buf_slice(&def)));
    out->bad = out->bad || buf_is_bad(&def);
    buf_fini(&def);
    buf_put_str(out, ")\n");
    wrapped(out, o->help, 6);
}

void docs_help(struct buf *out)
{
    buf_printf(out,
               "weir %s: a message broker for MQTT and STOMP\n\n"
               "usage: weir [-c FILE] [-p PORT] [--data DIR] [-v] [-d] [--test-config]\n"
               "       weir check-log [--json] DIR\n"
               "       weir --scram-user NAME [--scram-iterations N] >> SCRAM_FILE\n\n",
               WEIR_VERSION);
    args_usage(out);
    buf_put_str(
        out, "\nWithout a configuration weir listens on loopback, ports 1883 and 61613, each for every protocol, and "
             "keeps\neverything in memory; with --data DIR it acknowledges what is on the disk.\n"
             "\nweir check-log DIR prints what is in a log and what is damaged, and changes nothing; --json for "
             "programs.\nExit codes: 0 nothing is damaged, 1 something is, 2 it cannot be read. What a broker is just "
             "writing\nthere looks torn.\n"
             "\nA configuration has lines `OPTION VALUE`, and # before comments. Options:\n\n");
    for (unsigned i = 0; i < option_n(); i++) {
        struct option o;
        option_at(i, &o);
        if (o.class == OPTION_WORKS)
            help_option(out, &o);
    }
    buf_put_str(out, "\nOptions of mosquitto that are ignored with a note, because nothing is missing without them:\n");
    wrapped_names(out, OPTION_MOOT, "", 2);
    buf_put_str(out, "Options of mosquitto that are ignored with a warning, because they are not supported yet:\n");
    wrapped_names(out, OPTION_LATER, "", 2);
    buf_put_str(out,
                "Options of mosquitto that end the start, because ignoring them would let in whom they keep out:\n");
    wrapped_names(out, OPTION_REFUSED, "", 2);
}

/* ---- Markdown ----------------------------------------------------------------------------------------------- */

/* cell: text in a table, where '|' would end it. */
static void cell(struct buf *out, struct slice text)
{
    buf_put_str(out, " ");
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] == '|')
            buf_put_str(out, "\\");
        buf_put_u8(out, text.p[i]);
    }
    buf_put_str(out, " |");
}

static void made_cell(struct buf *out, const struct option *o, void (*make)(const struct option *, struct buf *))
{
    struct buf text;
    buf_init(&text, out->mem);
    make(o, &text);
    out->bad = out->bad || buf_is_bad(&text);
    cell(out, buf_slice(&text));
    buf_fini(&text);
}

static const char *where(const struct option *o)
{
    if (o->verb == VERB_MAX_CONNECTIONS)
        return "broker or listener";
    return o->scope == SCOPE_LISTENER ? "listener" : "broker";
}

static void option_row(struct buf *out, const struct option *o)
{
    buf_printf(out, "| `%s` |", o->name);
    cell(out, slice_from_str(where(o)));
    made_cell(out, o, option_allowed);
    made_cell(out, o, option_default);
    cell(out, slice_from_str(o->help));
    buf_put_str(out, "\n");
}

static void option_rows(struct buf *out, bool limits)
{
    buf_put_str(out, "| option | for | value | default | what it does |\n|---|---|---|---|---|\n");
    for (unsigned i = 0; i < option_n(); i++) {
        struct option o;
        option_at(i, &o);
        if (o.class == OPTION_WORKS && (o.policy != NULL) == limits)
            option_row(out, &o);
    }
}

static void other_rows(struct buf *out, enum option_class class, const char *head)
{
    buf_printf(out, "| option | passes with | %s |\n|---|---|---|\n", head);
    for (unsigned i = 0; i < option_n(); i++) {
        struct option o;
        option_at(i, &o);
        if (o.class == class)
            buf_printf(out, "| `%s` | %s | %s |\n", o.name, o.harmless ? o.harmless : "", o.help ? o.help : "");
    }
}

static const char intro[] = "# Configuration\n\n"
                            "<!-- made by: weir --print-docs configuration > docs/configuration.md -->\n\n"
                            "Weir needs no configuration: without one it listens on loopback (127.0.0.1 and, where "
                            "there is one, [::1]), on ports\n"
                            "1883 and 61613, and each port serves every protocol: the first bytes of a connection "
                            "decide. `-p PORT` makes that one\n"
                            "port; listeners in a file win over it.\n\n"
                            "Everything is in memory unless a directory is named: `--data DIR`, or "
                            "`persistence_location DIR` in a file. Then an\n"
                            "acknowledgement means that the disk has it: [durability.md](durability.md).\n\n"
                            "A file given with `-c FILE` has the grammar of mosquitto.conf, and mosquitto's option "
                            "names where the meaning is the\n"
                            "same, so that a simple mosquitto.conf runs unchanged. `weir -c FILE --test-config` reads "
                            "it, says `OK` or what is\n"
                            "wrong, and opens nothing.\n\n"
                            "## Command line\n\n"
                            "| flag | what it does |\n|---|---|\n";

static const char grammar[] =
    "\n`weir check-log [--json] DIR` prints what is in a log and what is damaged, and changes nothing; exit codes: 0 "
    "nothing is\n"
    "damaged, 1 something is, 2 it cannot be read.\n"
    "\nThe lines of a start (`weir: listening on 127.0.0.1:1883 and [::1]:1883 (mqtt, stomp, websockets)`) go to "
    "standard output, "
    "at\n"
    "once; errors, warnings and the log go to standard error unless `log_dest` says otherwise. The exit code is 0 "
    "after\n"
    "SIGTERM or SIGINT (a second one ends the program at once, with 1), 2 when the start failed. SIGHUP opens the log "
    "file\n"
    "anew.\n\n"
    "## Grammar\n\n"
    "    # a comment\n"
    "    max_keepalive 600\n"
    "    listener 1883\n"
    "    allow_anonymous true\n"
    "    listener 0 /run/weir.sock\n"
    "    protocol stomp\n"
    "    include_dir /etc/weir/conf.d\n\n"
    "- One option and its value per line. A text reaches to the end of its line; where only one word can stand, a "
    "comment\n"
    "  (` # like this`) may follow it.\n"
    "- Sizes, times and durations are plain numbers in the unit the table names, or have a suffix: `64M`, `10s`.\n"
    "- `listener` begins a block: options of a listener below it are that listener's. Before the first `listener`,\n"
    "  `port` and `bind_address` describe a default listener, as in mosquitto. Every file begins outside any "
    "listener.\n"
    "- Options of the broker may stand anywhere. If two lines set the same option to different values the start ends "
    "and\n"
    "  both are named: unlike in mosquitto the last line does not win in silence.\n"
    "- Whatever is wrong is said in one line, `FILE:LINE: OPTION: what, and the cure`, and the exit code is 2.\n\n"
    "### Who may log in\n\n"
    "Weir cannot check plain passwords yet. Peers can prove who they are by SCRAM-SHA-256, in MQTT 5's enhanced\n"
    "authentication, against the users of a `scram_file`; a user name with a plain password proves nothing, and is\n"
    "only accepted where anonymous logins are.\n\n"
    "- `allow_anonymous true` lets everybody in. As in mosquitto it is one setting for all listeners, wherever it is\n"
    "  written, unless `per_listener_settings true` stands in the file: then it is the setting of the listener it\n"
    "  stands below. `listener_allow_anonymous` is always the setting of its own listener alone.\n"
    "- `allow_anonymous false` and `listener_allow_anonymous false` ask for a proof. Without a `scram_file` they end\n"
    "  the start: nobody could log in, and leaving the line out unsaid would open what it closes.\n"
    "- Where neither is written, listeners on loopback addresses and unix sockets let everybody in, others only who\n"
    "  proves who they are, and the start says so. (mosquitto lets nobody in on a loopback listener that a file "
    "names,\n"
    "  either.)\n"
    "- STOMP has no SCRAM: where a proof is asked for, nobody logs in over STOMP.\n"
    "- A line of the `scram_file` is `NAME:SCRAM-SHA-256$...`, PostgreSQL's form of a verifier; `weir --scram-user "
    "NAME`\n"
    "  prints one for the password it reads. Passwords are printable ASCII. The file holds no passwords, but who "
    "reads\n"
    "  it can try passwords at leisure and pretend to be the broker: let nobody else read it.\n"
    "- An option that restricts and that Weir does not have yet ends the start: a broker never comes up more open "
    "than\n"
    "  its file says.\n\n"
    "## Options\n\n";

void docs_configuration(struct buf *out)
{
    buf_put_str(out, intro);
    args_markdown(out);
    buf_put_str(out, grammar);
    option_rows(out, false);
    buf_put_str(out,
                "\n## Limits\n\nEvery limit is an option. What happens when one is reached, and why it is there, is in "
                "[limits.md](limits.md).\n\n");
    option_rows(out, true);
    buf_put_str(out, "\n`max_connections` below a listener is that listener's own limit; elsewhere, and as "
                     "`global_max_connections`, it is the broker's.\n"
                     "\n## Options of mosquitto that need nothing here\n\n"
                     "They are ignored, and one note names the file and the line.\n\n");
    other_rows(out, OPTION_MOOT, "why");
    buf_put_str(out,
                "\n## Options of mosquitto that are not supported yet\n\n"
                "They are ignored, and one warning names the file and the line. With the value in the second column "
                "they ask for what Weir does anyway, and nothing is said.\n\n");
    other_rows(out, OPTION_LATER, "instead");
    buf_put_str(out, "\n## Options of mosquitto that end the start\n\n"
                     "They keep somebody out, and Weir cannot do that yet. Without a `scram_file`, `allow_anonymous "
                     "false` is one of them, "
                     "too.\n\n");
    other_rows(out, OPTION_REFUSED, "why, and what to do");
}

static const char limits_intro[] =
    "# Limits\n\n"
    "<!-- made by: weir --print-docs limits > docs/limits.md -->\n\n"
    "Every queue, buffer and table has a limit. Each is an option of the same name in the configuration\n"
    "([configuration.md](configuration.md)). What happens when one is reached:\n\n"
    "- refuse: the peer is told (an error, a negative acknowledgement)\n"
    "- close: the connection ends, with the reason in the log and in its last words\n"
    "- drop: the message is dropped, and counted\n"
    "- queue: it waits\n"
    "- cut: the value is cut to the limit, where the specification lets a server say so\n\n"
    "| limit | default | least | most | unit | reached | why |\n|---|---|---|---|---|---|---|\n";

void docs_limits(struct buf *out)
{
    buf_put_str(out, limits_intro);
    for (unsigned i = 0; i < limit_table_n; i++) {
        const struct limit_desc *d = &limit_table[i];
        buf_printf(out, "| `%s` | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %s | %s | %s |\n", d->option, d->def,
                   d->min, d->max, d->unit, d->policy, d->why);
    }
}
