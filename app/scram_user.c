/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scram_user.c: weir --scram-user NAME.
 *
 *     standard input ─► password ─► checks ─► salt, stretching ─► "NAME:SCRAM-SHA-256$..." on standard output
 *
 * A terminal shows nothing while the password is typed. Signals that end or stop the program are blocked meanwhile and
 * noticed through a signalfd, so that the terminal has its echo back before they take effect: no handler, no global.
 *
 * SCRAM prepares passwords with SASLprep, which leaves printable ASCII as it is and for everything else needs Unicode's
 * normalisation tables. Two ways to write an ä would otherwise be two passwords, so anything but printable ASCII is
 * refused here, where somebody can choose another.
 *
 * Invariants
 *   1. The terminal is as it was when scram_user_read returns, and when the program ends by a signal.
 *   2. Nothing that holds the password outlives scram_user_run.
 * Cost    `iterations` hashes.
 * Thread  main, before any loop.
 * Spec    RFC 5802 §2.2, RFC 4013 §2.
 */
#include "app/scram_user.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "app/wiring.h"
#include "auth/scram_verifier.h"
#include "auth/verifiers.h"
#include "core/base/mem.h"

/* ---- reading ------------------------------------------------------------------------------------------------ */

/* A terminal without echo. */
struct quiet {
    int fd, signals; /* signals: a signalfd, -1: not a terminal */
    struct termios before;
    sigset_t mask;
};

static bool quiet_begin(struct quiet *q, int fd)
{
    *q = (struct quiet){.fd = fd, .signals = -1};
    static const int ends[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGTSTP};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_N(ends); i++)
        sigaddset(&set, ends[i]);
    if (tcgetattr(fd, &q->before) == -1 || sigprocmask(SIG_BLOCK, &set, &q->mask) == -1)
        return false;
    struct termios silent = q->before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    q->signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (q->signals != -1 && tcsetattr(fd, TCSAFLUSH, &silent) == 0)
        return true;
    sigprocmask(SIG_SETMASK, &q->mask, NULL);
    return false;
}

/* quiet_end: what was blocked takes effect here. */
static void quiet_end(struct quiet *q)
{
    tcsetattr(q->fd, TCSAFLUSH, &q->before);
    close(q->signals);
    fputc('\n', stderr);
    sigprocmask(SIG_SETMASK, &q->mask, NULL);
}

/* read_line: what stands before the line end or the end of the input. -1: errno says why, EINTR: a signal came. */
static ptrdiff_t read_line(int fd, int signals, char *out, size_t cap)
{
    for (size_t n = 0;; n++) {
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
        if (signals != -1 && poll(p, 2, -1) == -1)
            return -1;
        if (signals != -1 && p[1].revents != 0) {
            errno = EINTR;
            return -1;
        }
        char c = 0;
        ssize_t got = read(fd, &c, 1);
        if (got == -1 || n == cap)
            return got == -1 ? -1 : (ptrdiff_t)n;
        if (got == 0 || c == '\n')
            return (ptrdiff_t)(n != 0 && out[n - 1] == '\r' ? n - 1 : n);
        out[n] = c;
    }
}

static ptrdiff_t checked(ptrdiff_t n, char *why, size_t cap)
{
    if (n == -1) {
        snprintf(why, cap, "the password cannot be read: %s", strerror(errno));
        return -ERR_IO;
    }
    if (n == SCRAM_PASSWORD_MAX) {
        snprintf(why, cap, "the password is longer than %u bytes", SCRAM_PASSWORD_MAX - 1);
        return -ERR_TOO_BIG;
    }
    return n;
}

/* read_twice: from a terminal. */
static ptrdiff_t read_twice(const struct quiet *q, char *out, char *why, size_t cap)
{
    char again[SCRAM_PASSWORD_MAX];
    fputs("password: ", stderr);
    ptrdiff_t n = checked(read_line(q->fd, q->signals, out, SCRAM_PASSWORD_MAX), why, cap);
    if (n < 0)
        return n;
    fputs("\nthe same again: ", stderr);
    ptrdiff_t n2 = checked(read_line(q->fd, q->signals, again, sizeof(again)), why, cap);
    if (n2 >= 0 && (n != n2 || memcmp(out, again, (size_t)n) != 0)) {
        snprintf(why, cap, "these were two different passwords; try again");
        n2 = -ERR_INVALID;
    }
    explicit_bzero(again, sizeof(again));
    return n2;
}

ptrdiff_t scram_user_read(int fd, char *out, char *why, size_t cap)
{
    if (!isatty(fd))
        return checked(read_line(fd, -1, out, SCRAM_PASSWORD_MAX), why, cap);
    struct quiet q;
    if (!quiet_begin(&q, fd)) {
        snprintf(why, cap, "the terminal's echo cannot be switched off: %s", strerror(errno));
        return -ERR_IO;
    }
    ptrdiff_t n = read_twice(&q, out, why, cap);
    quiet_end(&q);
    return n;
}

/* ---- the line ----------------------------------------------------------------------------------------------- */

static const char *password_check(struct slice password)
{
    if (password.len == 0)
        return "the password is empty";
    for (size_t i = 0; i < password.len; i++) {
        if (password.p[i] < 0x20 || password.p[i] == 0x7f)
            return "the password has a control character";
        if (password.p[i] > 0x7f)
            return "the password has a letter beyond ASCII, which could be written in more than one way (SASLprep is "
                   "not built); use printable ASCII";
    }
    return NULL;
}

enum err scram_user_line(struct slice name, struct slice password, uint32_t iterations, struct buf *out, char *why,
                         size_t cap)
{
    struct scram_verifier v;
    uint8_t salt[SCRAM_SALT_BYTES];
    const char *wrong = verifiers_user_check(name);
    if (wrong == NULL)
        wrong = password_check(password);
    if (wrong != NULL) {
        snprintf(why, cap, "%s", wrong);
        return ERR_INVALID;
    }
    if (getrandom(salt, sizeof(salt), 0) != (ssize_t)sizeof(salt)) {
        snprintf(why, cap, "the system has no random numbers");
        return ERR_IO;
    }
    enum err e = scram_verifier_make(password, slice_make(salt, sizeof(salt)), iterations, &v);
    if (e == ERR_OK) {
        buf_put_slice(out, name);
        buf_put_str(out, ":");
        scram_verifier_put(&v, out);
        e = buf_is_bad(out) ? ERR_NOMEM : ERR_OK;
    }
    if (e != ERR_OK)
        snprintf(why, cap, "out of memory");
    explicit_bzero(&v, sizeof(v));
    return e;
}

int scram_user_run(const char *name, uint32_t iterations)
{
    struct mem_heap heap;
    struct mem mem;
    struct buf line;
    char password[SCRAM_PASSWORD_MAX], why[256];
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "line");
    buf_init(&line, &mem);
    bool is_out = false;
    ptrdiff_t n = scram_user_read(STDIN_FILENO, password, why, sizeof(why));
    enum err e = n < 0 ? (enum err) - n : ERR_OK;
    if (e == ERR_OK)
        e = scram_user_line(slice_from_str(name), slice_make(password, (size_t)n), iterations, &line, why, sizeof(why));
    if (e == ERR_OK) {
        buf_put_str(&line, "\n");
        is_out = !buf_is_bad(&line) && fwrite(line.p, 1, line.len, stdout) == line.len && fflush(stdout) == 0;
        snprintf(why, sizeof(why), "the line cannot be written");
    }
    if (!is_out)
        weir_say_error("--scram-user: %s", why);
    explicit_bzero(password, sizeof(password));
    buf_fini(&line);
    return is_out ? 0 : 2;
}
