/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_table.c: runs the conversations of a table against a real shard, in every way their bytes can arrive.
 *
 *     for each test:  whole · byte by byte · output in small pieces · cut at position 1, 2, 3 ...
 *                     each a fresh rig: clock, pipes, store (tests/support/rig.h)
 *
 * Because every run is compared with the same table, "the output is identical" needs no second comparison.
 *
 * Invariants
 *   1. After each step everything the broker said is either expected or a failure: checked before the next step of that
 *      connection and at the end.
 *   2. A run that fails ends its test; the message names the table line and how the bytes were cut.
 * Cost    one shard per run; a table of 100 tests with 100 bytes each is 10,000 runs, about two seconds.
 * Thread  one.
 */
#include "tests/support/wire_table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/wire_parse.h"

enum { CONNS_MAX = 26, TRICKLE = 3, PIECE_BYTES = 1021 };

enum run_mode { RUN_WHOLE, RUN_BYTES, RUN_TRICKLE, RUN_CUT };

/* One conversation being held. */
struct run {
    const char *name;
    const struct wire_test *test;
    enum run_mode mode;
    size_t cut_step, cut_at; /* RUN_CUT: this step's bytes are cut here */
    struct rig *rig;
    struct rig_pipe *conn[CONNS_MAX];
    char *error;
    size_t error_cap;
};

static bool fail(struct run *r, uint32_t line, const char *fmt, ...) PRINTF_LIKE(3, 4);

static size_t describe(const struct run *r, uint32_t line, char *out, size_t cap)
{
    static const char *const modes[] = {"whole", "byte by byte", "output in pieces", "cut"};
    int n = snprintf(out, cap, "%s:%u: test %s (%s", r->name, line, r->test->name, modes[r->mode]);
    size_t at = (size_t)n;
    if (r->mode == RUN_CUT)
        n = snprintf(out + at, cap - at, " line %u at byte %zu", r->test->step[r->cut_step].line, r->cut_at);
    else
        n = 0;
    at += (size_t)n;
    n = snprintf(out + at, cap - at, "): ");
    return at + (size_t)n;
}

static bool fail(struct run *r, uint32_t line, const char *fmt, ...)
{
    va_list args;
    if (r->error[0] != '\0')
        return false;
    size_t at = describe(r, line, r->error, r->error_cap);
    va_start(args, fmt);
    (void)vsnprintf(r->error + at, r->error_cap - at, fmt, args);
    va_end(args);
    return false;
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

/* show: bytes as a table would write them, shortened. */
static void show(const uint8_t *p, size_t n, char *out, size_t cap)
{
    size_t at = 0;
    bool in_text = false;
    out[0] = '\0';
    for (size_t i = 0; i < n && at + 12 < cap; i++) {
        bool printable = p[i] >= ' ' && p[i] < 0x7f && p[i] != '"' && p[i] != '\\';
        if (printable != in_text || i == 0)
            at += (size_t)snprintf(out + at, cap - at, "%s%s",
                                   i != 0 && in_text ? "\" "
                                   : i != 0          ? " "
                                                     : "",
                                   printable ? "\"" : "");
        else if (!printable)
            out[at++] = ' ';
        at += (size_t)snprintf(out + at, cap - at, printable ? "%c" : "%02x", p[i]);
        in_text = printable;
    }
    (void)snprintf(out + at, cap - at, "%s%s", in_text ? "\"" : "", at + 12 >= cap ? " ..." : n == 0 ? "nothing" : "");
}

static void show_wanted(const struct wire_bytes *b, char *out, size_t cap)
{
    struct rig_bytes flat = {0};
    for (size_t i = 0; i < b->n; i++) {
        uint8_t byte = b->v[i].kind == WIRE_BYTE ? b->v[i].byte : '?';
        rig_put(&flat, &byte, 1);
    }
    show(flat.p, flat.len, out, cap);
    free(flat.p);
}

/* match: how many bytes of p[n] the pattern v[k] takes from the front; -1: it does not fit. */
static ptrdiff_t match(const struct wire_sym *v, size_t k, const uint8_t *p, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < k; i++) {
        if (v[i].kind == WIRE_RUN) {
            for (; at <= n; at++) {
                ptrdiff_t rest = i + 1 == k ? (ptrdiff_t)(n - at) : match(v + i + 1, k - i - 1, p + at, n - at);
                if (rest >= 0)
                    return (ptrdiff_t)at + rest;
            }
            return -1;
        }
        if (at == n || (v[i].kind == WIRE_BYTE && v[i].byte != p[at]))
            return -1;
        at++;
    }
    return (ptrdiff_t)at;
}

static bool expect(struct run *r, const struct wire_step *s, struct rig_pipe *p)
{
    const uint8_t *got = p->out.p + p->out_at;
    size_t n = p->out.len - p->out_at;
    ptrdiff_t used = match(s->bytes.v, s->bytes.n, got, n);
    if (used >= 0) {
        p->out_at += (size_t)used;
        return true;
    }
    char want[1024], have[1024];
    show_wanted(&s->bytes, want, sizeof want);
    show(got, n, have, sizeof have);
    return fail(r, s->line, "%c is not told what it should be\n  wanted %s\n  said   %s%s", s->who, want, have,
                rig_is_closed(p) ? ", then closed" : "");
}

/* said_all: nothing is left that was not expected. */
static bool said_all(struct run *r, uint32_t line, char who)
{
    const struct rig_pipe *p = r->conn[who - 'A'];
    char have[1024];
    if (p == NULL || p->out_at == p->out.len)
        return true;
    show(p->out.p + p->out_at, p->out.len - p->out_at, have, sizeof have);
    return fail(r, line, "%c is told more than it should be\n  said   %s", who, have);
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static void send_piece(struct run *r, struct rig_pipe *p, const struct wire_bytes *b, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        rig_send(p, &b->v[i].byte, 1);
    rig_run(r->rig);
}

/* send: the bytes of one step, cut as the mode wants. */
static void send_step(struct run *r, size_t step, struct rig_pipe *p)
{
    const struct wire_bytes *b = &r->test->step[step].bytes;
    size_t at = 0;
    if (r->mode == RUN_CUT && r->cut_step == step)
        send_piece(r, p, b, at, r->cut_at), at = r->cut_at;
    while (r->mode == RUN_BYTES && at < b->n) {
        bool is_end = b->n <= WIRE_LONG_BYTES || at < WIRE_LONG_BYTES / 2 || at + WIRE_LONG_BYTES / 2 >= b->n;
        size_t to = is_end ? at + 1 : MIN(at + PIECE_BYTES, b->n - WIRE_LONG_BYTES / 2);
        send_piece(r, p, b, at, to);
        at = to;
    }
    if (at < b->n)
        send_piece(r, p, b, at, b->n);
}

static struct rig_pipe *open_conn(struct run *r, char who)
{
    struct rig_pipe **p = &r->conn[who - 'A'];
    if (*p == NULL) {
        *p = rig_connect(r->rig);
        (*p)->take_max = r->mode == RUN_TRICKLE ? TRICKLE : 0;
    }
    return *p;
}

static void stop(struct run *r)
{
    shard_stop(r->rig->shard, 1000, NULL, NULL);
    rig_run(r->rig);
}

/* conn_step: a step about one connection that is there. */
static bool conn_step(struct run *r, size_t i, struct rig_pipe *p)
{
    const struct wire_step *s = &r->test->step[i];
    if (s->kind != WIRE_EXPECT && !said_all(r, s->line, s->who))
        return false;
    switch (s->kind) {
    case WIRE_SEND:
        send_step(r, i, p);
        return true;
    case WIRE_EXPECT:
        return expect(r, s, p);
    case WIRE_CLOSED:
        if (!rig_is_closed(p))
            return fail(r, s->line, "%c should be closed and is open", s->who);
        p->is_eof = true; /* the peer goes too; its letter may be used for a new connection */
        r->conn[s->who - 'A'] = NULL;
        break;
    case WIRE_EOF:
        p->is_eof = true;
        r->conn[s->who - 'A'] = NULL;
        break;
    case WIRE_RESET:
        p->is_reset = true;
        r->conn[s->who - 'A'] = NULL;
        break;
    case WIRE_STALL:
        p->is_stalled = true;
        break;
    case WIRE_RESUME:
        p->is_stalled = false;
        break;
    default:
        BUG_ON(s->kind != WIRE_SILENT);
        if (rig_is_closed(p))
            return fail(r, s->line, "%c should be open and is closed", s->who);
        return true;
    }
    rig_run(r->rig);
    return true;
}

static bool one_step(struct run *r, size_t i)
{
    const struct wire_step *s = &r->test->step[i];
    struct rig_pipe *p;
    switch (s->kind) {
    case WIRE_WAIT:
        rig_wait(r->rig, s->ms);
        return true;
    case WIRE_HOLD:
        r->rig->is_holding = true;
        return true;
    case WIRE_RELEASE:
        r->rig->is_holding = false;
        rig_run(r->rig);
        return true;
    case WIRE_STOP:
        stop(r);
        return true;
    case WIRE_FULL:
        r->rig->is_full = true;
        return true;
    case WIRE_FAIL:
        if (r->rig->store == NULL)
            return fail(r, s->line, "there is no store that could fail");
        rig_fail_store(r->rig);
        return true;
    default:
        p = s->kind == WIRE_SEND ? open_conn(r, s->who) : r->conn[s->who - 'A'];
        return p != NULL ? conn_step(r, i, p) : fail(r, s->line, "%c is not open", s->who);
    }
}

static bool run_steps(struct run *r)
{
    const struct wire_test *t = r->test;
    uint32_t last = t->line;
    for (size_t i = 0; i < t->step_n; i++) {
        last = t->step[i].line;
        if (!one_step(r, i))
            return false;
        if (r->rig->is_stuck)
            return fail(r, last, "the broker never comes to rest");
        shard_check(r->rig->shard);
    }
    for (char who = 'A'; who <= 'Z'; who++) {
        const struct rig_pipe *p = r->conn[who - 'A'];
        if (!said_all(r, last, who))
            return false;
        if (p != NULL && rig_is_closed(p))
            return fail(r, last, "%c was closed", who);
    }
    return true;
}

static bool run_once(struct run *r, const struct wire_setup *setup, struct wire_result *result)
{
    struct rig_config config = r->test->config;
    config.adapters = setup->adapters;
    memset(r->conn, 0, sizeof r->conn);
    r->rig = rig_new(&config);
    BUG_ON(r->rig == NULL);
    result->runs++;
    bool ok = run_steps(r);
    r->rig->is_holding = false;
    if (!rig_free(r->rig))
        ok = fail(r, r->test->line, "not all of the broker's memory came back");
    return ok;
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

/* next_cut: the next place to cut a line of n bytes in two, after `at`; n when there is none. */
static size_t next_cut(size_t at, size_t n)
{
    if (n <= WIRE_LONG_BYTES || at < WIRE_LONG_BYTES / 4 || at + WIRE_LONG_BYTES / 4 >= n)
        return at + 1;
    return MIN(at + n / WIRE_LONG_CUTS, n - WIRE_LONG_BYTES / 4);
}

static bool run_test(struct run *r, const struct wire_setup *setup, struct wire_result *result)
{
    for (enum run_mode mode = RUN_WHOLE; mode < RUN_CUT; mode++) {
        r->mode = mode;
        if (!run_once(r, setup, result))
            return false;
    }
    r->mode = RUN_CUT;
    for (r->cut_step = 0; r->cut_step < r->test->step_n; r->cut_step++) {
        const struct wire_step *s = &r->test->step[r->cut_step];
        for (size_t at = 1; s->kind == WIRE_SEND && at < s->bytes.n; at = next_cut(at, s->bytes.n)) {
            r->cut_at = at;
            if (!run_once(r, setup, result))
                return false;
        }
    }
    return true;
}

static void note(struct wire_result *out, const char *what, int quiet)
{
    out->failed++;
    if (out->first[0] == '\0')
        (void)snprintf(out->first, sizeof out->first, "%s", what);
    if (!quiet)
        (void)fprintf(stderr, "%s\n", what);
}

void wire_table_text(const char *name, const char *text, size_t len, const struct wire_setup *setup, int quiet,
                     struct wire_result *out)
{
    struct wire_file f;
    char error[4096];
    *out = (struct wire_result){0};
    if (!wire_parse(text, len, &f)) {
        (void)snprintf(error, sizeof error, "%s:%u: %s", name, f.line, f.error);
        out->tests = 1;
        note(out, error, quiet);
    } else if (f.test_n == 0) {
        (void)snprintf(error, sizeof error, "%s: no test in it", name);
        out->tests = 1;
        note(out, error, quiet);
    }
    for (size_t i = 0; f.error[0] == '\0' && i < f.test_n; i++) {
        struct run r = {.name = name, .test = &f.test[i], .error = error, .error_cap = sizeof error};
        error[0] = '\0';
        out->tests++;
        if (!run_test(&r, setup, out))
            note(out, error, quiet);
    }
    wire_parse_free(&f);
}

void wire_table_file(const char *path, const struct wire_setup *setup, struct wire_result *out)
{
    struct rig_bytes text = {0};
    char part[4096];
    FILE *file = fopen(path, "rb");
    *out = (struct wire_result){0};
    if (file == NULL) {
        out->tests = 1;
        (void)snprintf(part, sizeof part, "%s: cannot be read", path);
        note(out, part, 0);
        return;
    }
    for (size_t n = fread(part, 1, sizeof part, file); n != 0; n = fread(part, 1, sizeof part, file))
        rig_put(&text, part, n);
    (void)fclose(file);
    wire_table_text(path, (const char *)text.p, text.len, setup, 0, out);
    free(text.p);
}
