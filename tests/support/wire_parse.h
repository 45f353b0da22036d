/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_WIRE_PARSE_H
#define WEIR_TESTS_WIRE_PARSE_H

/* wire_parse.h: private to wire_table.c: a table's text as structs. The grammar is in wire_table.h. */

#include <stdbool.h>

#include "tests/support/rig.h"

enum wire_sym_kind { WIRE_BYTE, WIRE_ANY, WIRE_RUN };

struct wire_sym {
    uint8_t kind; /* enum wire_sym_kind */
    uint8_t byte;
};

struct wire_bytes {
    struct wire_sym *v;
    size_t n, cap;
};

enum wire_step_kind {
    WIRE_SEND,
    WIRE_EXPECT,
    WIRE_CLOSED,
    WIRE_SILENT,
    WIRE_EOF,
    WIRE_RESET,
    WIRE_STALL,
    WIRE_RESUME,
    WIRE_WAIT,
    WIRE_HOLD,
    WIRE_RELEASE,
    WIRE_STOP,
    WIRE_FULL,
    WIRE_FAIL,
};

struct wire_step {
    enum wire_step_kind kind;
    char who; /* 'A' .. 'Z' */
    uint32_t line;
    mono_ms ms;
    struct wire_bytes bytes;
};

enum { WIRE_WORDS_MAX = 4 };

struct wire_test {
    char name[128];
    uint32_t line;
    struct rig_config config;
    char *word[WIRE_WORDS_MAX]; /* texts that config points to */
    size_t word_n;
    struct wire_step *step;
    size_t step_n, step_cap;
};

struct wire_let {
    char name[32];
    struct wire_bytes bytes;
};

struct wire_file {
    struct wire_test *test;
    size_t test_n, test_cap;
    struct wire_let *let;
    size_t let_n, let_cap;
    uint32_t line;   /* of the line being read; of the error */
    char error[160]; /* "": none */
};

/* wire_parse: text[len] into *out; false and out->error, out->line when it is no table. Free with wire_parse_free
 * either way. */
bool wire_parse(const char *text, size_t len, struct wire_file *out);
void wire_parse_free(struct wire_file *f);

#endif
