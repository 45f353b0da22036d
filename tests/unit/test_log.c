/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_log.c: levels, the rate limit under a fake clock, what is said about lines held back, and lines that a peer
 * would like to forge.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/base/utf8.h"

struct paper {
    struct log log;
    mono_ms now;
    uint32_t n;
    enum log_level level;
    char last[2000];
};

static mono_ms paper_now(void *ctx)
{
    return ((struct paper *)ctx)->now;
}

static void paper_write(void *ctx, enum log_level level, const char *line)
{
    struct paper *p = ctx;
    p->n++;
    p->level = level;
    assert_true(strlen(line) < sizeof(p->last));
    snprintf(p->last, sizeof(p->last), "%s", line);
    errno = EPIPE; /* writers do that */
}

static void paper_init(struct paper *p)
{
    *p = (struct paper){0};
    log_init(&p->log);
    p->log.write = paper_write;
    p->log.now = paper_now;
    p->log.ctx = p;
    p->now = 5000;
}

static void test_levels(void **state)
{
    (void)state;
    struct paper p;
    paper_init(&p);
    log_line(&p.log, LOG_INFO, "no");
    log_line(&p.log, LOG_DEBUG, "no");
    assert_int_equal(p.n, 0);
    assert_false(log_is_on(&p.log, LOG_INFO));
    assert_true(log_is_on(&p.log, LOG_NOTICE));
    assert_true(log_is_on(&p.log, LOG_ERROR));
    log_line(&p.log, LOG_NOTICE, "yes %d", 1);
    assert_string_equal(p.last, "yes 1");
    log_line(&p.log, LOG_ERROR, "bad");
    assert_int_equal(p.level, LOG_ERROR);
    assert_int_equal(p.n, 2);
    p.log.level = LOG_DEBUG;
    log_line(&p.log, LOG_DEBUG, "now");
    assert_string_equal(p.last, "now");
    assert_string_equal(log_level_name(LOG_ERROR), "error");
    assert_string_equal(log_level_name(LOG_DEBUG), "debug");
    assert_string_equal(log_level_name((enum log_level)77), "unknown");
}

static void talk(struct paper *p, int n)
{
    for (int i = 0; i < n; i++)
        log_line(&p->log, LOG_WARN, "refused %d", i);
}

static void test_burst_is_held_back_and_said(void **state)
{
    (void)state;
    struct paper p;
    paper_init(&p);
    talk(&p, 422);
    assert_int_equal(p.n, LOG_BURST_MAX);
    assert_string_equal(p.last, "refused 9");
    log_line(&p.log, LOG_WARN, "another place");
    assert_int_equal(p.n, LOG_BURST_MAX + 1);
    p.now += LOG_WINDOW_MS - 1;
    log_flush_held(&p.log, p.now); /* the window is still open */
    assert_int_equal(p.n, LOG_BURST_MAX + 1);
    p.now += 1;
    log_flush_held(&p.log, p.now);
    assert_int_equal(p.n, LOG_BURST_MAX + 2);
    assert_string_equal(p.last, "... 412 more like it: refused *");
    assert_int_equal(p.level, LOG_WARN);
    log_flush_held(&p.log, MONO_NEVER); /* said once */
    assert_int_equal(p.n, LOG_BURST_MAX + 2);
    talk(&p, 1);
    assert_string_equal(p.last, "refused 0");
}

static void test_next_window_says_it_first(void **state)
{
    (void)state;
    struct paper p;
    paper_init(&p);
    talk(&p, 13);
    p.now += LOG_WINDOW_MS;
    p.n = 0;
    talk(&p, 1);
    assert_int_equal(p.n, 2); /* "... 3 more", then the line */
    assert_string_equal(p.last, "refused 0");
    talk(&p, 15);
    assert_int_equal(p.n, 1 + LOG_BURST_MAX);
    log_flush_held(&p.log, MONO_NEVER); /* at exit, window or not */
    assert_string_equal(p.last, "... 6 more like it: refused *");
}

/* the summary is for people: no format string. */
static void test_outline(void **state)
{
    (void)state;
    struct paper p;
    paper_init(&p);
    for (unsigned i = 0; i < LOG_BURST_MAX + 2; i++)
        log_line(&p.log, LOG_WARN, "%s '%.*s' at 100%%, %5zu of %-3llu", "a", 1, "b", (size_t)3, 4ull);
    assert_string_equal(p.last, "a 'b' at 100%,     3 of 4  ");
    log_flush_held(&p.log, MONO_NEVER);
    assert_string_equal(p.last, "... 2 more like it: * '*' at 100%, * of *");
}

static void test_many_places_lose_nothing(void **state)
{
    (void)state;
    static char fmt[LOG_PLACES * 3][16];
    struct paper p;
    paper_init(&p);
    uint32_t said = 0;
    for (uint32_t i = 0; i < LOG_PLACES * 3; i++) {
        snprintf(fmt[i], sizeof(fmt[i]), "place %u", (unsigned)i);
        for (uint32_t k = 0; k < LOG_BURST_MAX + 5; k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
            log_line(&p.log, LOG_ERROR, fmt[i]);
#pragma GCC diagnostic pop
        }
        p.now++; /* all in one window: places must make room */
        said += LOG_BURST_MAX;
        if (i >= LOG_PLACES)
            said++; /* the displaced one's "... 5 more" */
        assert_int_equal(p.n, said);
    }
    log_flush_held(&p.log, MONO_NEVER);
    assert_int_equal(p.n, said + LOG_PLACES);
}

static void test_no_clock_no_limit(void **state)
{
    (void)state;
    struct paper p;
    paper_init(&p);
    p.log.now = NULL;
    talk(&p, 100);
    assert_int_equal(p.n, 100);
}

static void test_a_peer_cannot_forge_lines(void **state)
{
    (void)state;
    struct paper p;
    paper_init(&p);
    log_line(&p.log, LOG_ERROR, "name '%s'", "a\nb\r\x1b[2J\x7f\t\xc3\xa9");
    assert_string_equal(p.last, "name 'a?b??[2J??\xc3\xa9'");
    log_line(&p.log, LOG_ERROR, "two\nlines");
    assert_string_equal(p.last, "two?lines");
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    char text[3000];
    for (size_t shift = 0; shift < 4; shift++) {
        struct paper p;
        paper_init(&p);
        memset(text, 'x', sizeof(text));
        for (size_t i = shift; i + 3 < sizeof(text); i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3);
        text[sizeof(text) - 1] = 0;
        log_line(&p.log, LOG_ERROR, "%s", text);
        size_t n = strlen(p.last);
        assert_in_range(n, 1000, 1023);
        assert_string_equal(p.last + n - 3, "...");
        assert_true(utf8_is_valid((const uint8_t *)p.last, n)); /* not in the middle of a character */
    }
    struct paper p;
    paper_init(&p);
    memset(text, 'y', sizeof(text));
    text[1023] = 0; /* the longest that fits */
    log_line(&p.log, LOG_ERROR, "%s", text);
    assert_string_equal(p.last, text);
}

static void test_errno_survives(void **state)
{
    (void)state;
    struct paper p;
    paper_init(&p);
    errno = ENOENT;
    log_line(&p.log, LOG_ERROR, "gone");
    assert_int_equal(errno, ENOENT);
    talk(&p, 20);
    errno = EACCES;
    talk(&p, 1);
    log_flush_held(&p.log, MONO_NEVER);
    assert_int_equal(errno, EACCES);
}

/* The default writer: stamp, level, text and one line end, on stderr. */
static void test_default_goes_to_stderr(void **state)
{
    (void)state;
    int pipe_fd[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(pipe_fd), 0);
    dup2(pipe_fd[1], STDERR_FILENO);
    struct log l;
    log_init(&l);
    log_line(&l, LOG_WARN, "hello %s", "there");
    log_line(&l, LOG_INFO, "not shown");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipe_fd[1]);
    char line[200] = {0};
    ssize_t n = read(pipe_fd[0], line, sizeof(line) - 1);
    close(pipe_fd[0]);
    assert_true(n > 0);
    unsigned year, month, day, h, m, s, ms;
    int at = 0;
    assert_int_equal(sscanf(line, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ %n", &year, &month, &day, &h, &m, &s, &ms, &at), 7);
    assert_string_equal(line + at, "warning: hello there\n");
    assert_true(year >= 2020);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_burst_is_held_back_and_said),
        cmocka_unit_test(test_next_window_says_it_first),
        cmocka_unit_test(test_outline),
        cmocka_unit_test(test_many_places_lose_nothing),
        cmocka_unit_test(test_no_clock_no_limit),
        cmocka_unit_test(test_a_peer_cannot_forge_lines),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_errno_survives),
        cmocka_unit_test(test_default_goes_to_stderr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
