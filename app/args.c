/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.c: the command line.
 *
 *     flags[] ─┬─► getopt_long's tables ─► args_parse ─► struct args
 *              └─► --help, docs/configuration.md
 *
 * weir check-log [--json] DIR is a command: a first word without a dash.
 *
 * Invariants
 *   1. A flag is one row and one case in `take`.
 *   2. Nothing is printed here: what is wrong goes to the caller in one line.
 * Cost    nothing that counts.
 * Thread  one: getopt keeps its state in globals of the C library.
 */
#include "app/args.h"

#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "auth/scram_verifier.h"

/* Beyond the letters: flags without one. */
enum { FLAG_VERSION = 256, FLAG_TEST_CONFIG, FLAG_DATA, FLAG_SCRAM_USER, FLAG_SCRAM_ITERATIONS, FLAG_PRINT_DOCS };

struct flag {
    int id;                          /* its letter, or FLAG_ */
    const char *name, *value, *help; /* help NULL: not shown */
};

static const struct flag flags[] = {
    {'c', "config", "FILE", "read the configuration FILE (mosquitto's grammar)"},
    {'p', "port", "PORT", "listen on loopback, port PORT only, for every protocol; 0: any free port"},
    {'v', "verbose", NULL, "log everything (log_type all)"},
    {'d', "daemon", NULL, "go into the background once everything is open"},
    {FLAG_TEST_CONFIG, "test-config", NULL, "read the configuration, print OK or what is wrong, open nothing"},
    {FLAG_DATA, "data", "DIR", "keep a log in DIR, so that what is acknowledged survives (persistence_location DIR)"},
    {FLAG_SCRAM_USER, "scram-user", "NAME", "read a password from standard input, print NAME's line of a scram_file"},
    {FLAG_SCRAM_ITERATIONS, "scram-iterations", "N",
     "hashes each login costs NAME (4096 to 10000000; default 15000: for small devices; more is safer)"},
    {'h', "help", NULL, "print this text"},
    {FLAG_VERSION, "version", NULL, "print the version"},
    {FLAG_PRINT_DOCS, "print-docs", "PAGE", NULL},
};

/* number_of: -1 when text is no number from 0 to most. */
static int number_of(const char *text, int most)
{
    int64_t number = 0;
    for (const char *c = text; *c != 0; c++) {
        number = number * 10 + (*c - '0');
        if (*c < '0' || *c > '9' || number > most)
            return -1;
    }
    return *text != 0 ? (int)number : -1;
}

static enum err take_port(struct args *a, const char *text, char *out_why, size_t cap)
{
    int port = number_of(text, 65535);
    if (port == -1) {
        snprintf(out_why, cap, "-p: \"%s\" is not a port; allowed: 0 to 65535", text);
        return ERR_INVALID;
    }
    if (a->port != -1 && a->port != port) {
        snprintf(out_why, cap, "-p: given twice; for more than one port write listener lines into a file (-c FILE)");
        return ERR_INVALID;
    }
    a->port = port;
    return ERR_OK;
}

static enum err take_iterations(struct args *a, const char *text, char *out_why, size_t cap)
{
    int n = number_of(text, SCRAM_ITERATIONS_MAX);
    if (n < SCRAM_ITERATIONS_MIN) {
        snprintf(out_why, cap, "--scram-iterations: \"%s\" is not allowed; allowed: %d to %d", text,
                 SCRAM_ITERATIONS_MIN, SCRAM_ITERATIONS_MAX);
        return ERR_INVALID;
    }
    a->iterations = (uint32_t)n;
    return ERR_OK;
}

static enum err take(struct args *a, int id, char *value, char *out_why, size_t cap)
{
    switch (id) {
    case 'c':
        a->config_file = value;
        return ERR_OK;
    case 'p':
        return take_port(a, value, out_why, cap);
    case 'v':
        a->is_verbose = true;
        return ERR_OK;
    case 'd':
        a->in_background = true;
        return ERR_OK;
    case 'h':
        a->wants_help = true;
        return ERR_OK;
    case FLAG_VERSION:
        a->wants_version = true;
        return ERR_OK;
    case FLAG_TEST_CONFIG:
        a->tests_config = true;
        return ERR_OK;
    case FLAG_DATA:
        a->data = value;
        return ERR_OK;
    case FLAG_SCRAM_USER:
        a->scram_user = value;
        return ERR_OK;
    case FLAG_SCRAM_ITERATIONS:
        return take_iterations(a, value, out_why, cap);
    case FLAG_PRINT_DOCS:
        a->print_docs = value;
        return ERR_OK;
    }
    BUG_ON(true); /* a row without a case */
    return ERR_INVALID;
}

/* letters: getopt's short form, ":c:p:vdh". */
static void letters(char *out)
{
    *out++ = ':';
    for (size_t i = 0; i < ARRAY_N(flags); i++) {
        if (flags[i].id >= FLAG_VERSION)
            continue;
        *out++ = (char)flags[i].id;
        if (flags[i].value != NULL)
            *out++ = ':';
    }
    *out = 0;
}

static enum err refuse(int got, char **argv, char *out_why, size_t cap)
{
    const char *word = argv[optind - 1];
    char letter[3] = {'-', (char)optopt, 0};
    if (optopt != 0 && optopt < FLAG_VERSION)
        word = letter; /* one of several letters in a word, perhaps */
    if (got == ':')
        snprintf(out_why, cap, "%s: a value is missing; weir --help shows which", word);
    else
        snprintf(out_why, cap, "%s: unknown option; weir --help lists them", word);
    return ERR_INVALID;
}

/* long_forms: getopt's table; the last row stays zero. */
static void long_forms(struct option *out)
{
    for (size_t i = 0; i < ARRAY_N(flags); i++)
        out[i] = (struct option){flags[i].name, flags[i].value ? required_argument : no_argument, NULL, flags[i].id};
}

/* check_log: weir check-log [--json] DIR; argv[1] is that word. */
static enum err check_log(struct args *a, int argc, char **argv, char *out_why, size_t cap)
{
    for (int i = 2; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--json") == 0) {
            a->as_json = true;
        } else if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
            a->wants_help = true;
        } else if (word[0] == '-' && word[1] != 0) {
            snprintf(out_why, cap, "check-log: %s: unknown option; write: weir check-log [--json] DIR", word);
            return ERR_INVALID;
        } else if (a->check_log != NULL || word[0] == 0) {
            snprintf(out_why, cap, "check-log: one directory at a time; write: weir check-log [--json] DIR");
            return ERR_INVALID;
        } else {
            a->check_log = word;
        }
    }
    if (a->check_log != NULL || a->wants_help)
        return ERR_OK;
    snprintf(out_why, cap, "check-log: the directory is missing; write: weir check-log [--json] DIR");
    return ERR_INVALID;
}

enum err args_parse(struct args *a, int argc, char **argv, char *out_why, size_t cap)
{
    *a = (struct args){.port = -1};
    if (argc > 1 && strcmp(argv[1], "check-log") == 0)
        return check_log(a, argc, argv, out_why, cap);
    char short_form[2 * ARRAY_N(flags) + 2];
    struct option long_form[ARRAY_N(flags) + 1] = {{0}};
    letters(short_form);
    long_forms(long_form);
    optind = 0; /* GNU: from the start, also when called again */
    opterr = 0;
    enum err e = ERR_OK;
    while (e == ERR_OK) {
        int got = getopt_long(argc, argv, short_form, long_form, NULL);
        if (got == -1)
            break;
        e = got == '?' || got == ':' ? refuse(got, argv, out_why, cap) : take(a, got, optarg, out_why, cap);
    }
    if (e == ERR_OK && optind < argc) {
        snprintf(out_why, cap, "\"%s\" is no option; a configuration file is named with -c", argv[optind]);
        e = ERR_INVALID;
    }
    if (e == ERR_OK && a->iterations != 0 && a->scram_user == NULL) {
        snprintf(out_why, cap, "--scram-iterations: is for --scram-user NAME, which is not there");
        e = ERR_INVALID;
    }
    return e;
}

/* ---- for people --------------------------------------------------------------------------------------------- */

static void spelling(const struct flag *f, struct buf *out)
{
    if (f->id < FLAG_VERSION)
        buf_printf(out, "-%c, ", f->id);
    buf_printf(out, "--%s", f->name);
    if (f->value != NULL)
        buf_printf(out, " %s", f->value);
}

void args_usage(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_N(flags); i++) {
        if (flags[i].help == NULL)
            continue;
        size_t from = out->len;
        buf_put_str(out, flags[i].id < FLAG_VERSION ? "  " : "      ");
        spelling(&flags[i], out);
        buf_printf(out, "%*s%s\n", (int)(from + 24 > out->len ? from + 24 - out->len : 1), "", flags[i].help);
    }
}

void args_markdown(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_N(flags); i++) {
        if (flags[i].help == NULL)
            continue;
        buf_put_str(out, "| `");
        spelling(&flags[i], out);
        buf_printf(out, "` | %s |\n", flags[i].help);
    }
}
