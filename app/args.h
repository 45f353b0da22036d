/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_ARGS_H
#define WEIR_APP_ARGS_H

/* args.h: the command line, as mosquitto has it, from one table that `weir --help` is made of, too. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/err.h"

/* Texts point into argv. */
struct args {
    const char *config_file; /* NULL: none */
    const char *data;        /* --data: where the log is; NULL: not given */
    const char *check_log;   /* weir check-log DIR; NULL: not wanted */
    const char *print_docs;  /* "configuration", "limits": what docs/ is made with */
    const char *scram_user;  /* NULL: no line is wanted */
    uint32_t iterations;     /* for it; 0: not given */
    int port;                /* 0 .. 65535; -1: not given */
    bool is_verbose, in_background, wants_help, wants_version, tests_config, as_json;
};

/* args_parse: argv[argc] as main gets them (getopt may reorder them). ERR_INVALID: out_why[cap] says what is wrong,
 * with the cure, in one line. */
enum err args_parse(struct args *a, int argc, char **argv, char *out_why, size_t cap) MUST_CHECK;

/* args_usage: appends the lines of the flags, in the form of --help. args_markdown: as rows of a table. */
void args_usage(struct buf *out);
void args_markdown(struct buf *out);

#endif
