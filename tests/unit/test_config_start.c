/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config_start.c: from a configuration to a broker that serves and stops: what it says, whom it lets in, how it
 * ends.
 *
 * Each test runs the wiring in a child process, as main.c does, with its output in pipes; ports are free ones (0), and
 * the lines of the start say which. Nothing sleeps: every wait is a read with a deadline.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/args.h"
#include "app/wiring.h"

#define DEADLINE_MS 20000
#define TEXT_MAX    4096

/* One broker in a child process. */
struct child {
    pid_t pid;
    int out, err;
    char dir[64], conf[96];
    char said[TEXT_MAX]; /* standard output so far */
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* read_some: what comes next, appended to text; false at the end of the stream. */
static bool read_some(int fd, char *text)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready = poll(&p, 1, DEADLINE_MS);
    if (ready != 1)
        fail_msg("nothing more was said within the deadline: %s", text);
    size_t len = strlen(text);
    ssize_t n = read(fd, text + len, TEXT_MAX - 1 - len);
    assert_true(n >= 0);
    text[len + (size_t)n] = 0;
    return n > 0;
}

_Noreturn static void serve(const struct child *c, const struct args *a, int out, int err)
{
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    struct args with = *a;
    with.config_file = c->conf;
    struct weir w;
    weir_init(&w);
    enum err e = weir_configure(&w, &with);
    if (e == ERR_OK)
        e = weir_open(&w, &with);
    if (e == ERR_OK)
        weir_run(&w);
    weir_fini(&w);
    _exit(e == ERR_OK ? 0 : 2);
}

static void start(struct child *c, const char *conf, struct args a)
{
    int out[2], err[2];
    *c = (struct child){0};
    snprintf(c->dir, sizeof(c->dir), "/tmp/weir-start-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    snprintf(c->conf, sizeof(c->conf), "%s/weir.conf", c->dir);
    FILE *f = fopen(c->conf, "w");
    assert_non_null(f);
    for (const char *p = conf; *p != 0; p++) { /* '@': the directory */
        if (*p == '@')
            fputs(c->dir, f);
        else
            fputc(*p, f);
    }
    assert_int_equal(fclose(f), 0);
    assert_int_equal(pipe(out), 0);
    assert_int_equal(pipe(err), 0);
    c->pid = fork();
    assert_int_not_equal(c->pid, -1);
    if (c->pid == 0) {
        close(out[0]);
        close(err[0]);
        serve(c, &a, out[1], err[1]);
    }
    close(out[1]);
    close(err[1]);
    c->out = out[0];
    c->err = err[0];
}

/* wait_ready: until the last line of a start. */
static void wait_ready(struct child *c)
{
    while (strstr(c->said, "nothing survives a restart\n") == NULL) {
        if (!read_some(c->out, c->said)) {
            char why[TEXT_MAX] = "";
            while (read_some(c->err, why))
                continue;
            fail_msg("it did not start: %s", why);
        }
    }
}

/* finish: waits for its end; what it said on standard error, and its exit code (-signal if it was killed). */
static int finish(struct child *c, char *why)
{
    why[0] = 0;
    while (read_some(c->err, why))
        continue;
    int status = 0;
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    close(c->out);
    close(c->err);
    unlink(c->conf);
    assert_int_equal(rmdir(c->dir), 0); /* nothing else is left there */
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* port_of: of the n'th "listening on" line. */
static unsigned port_of(const struct child *c, unsigned n)
{
    const char *line = c->said;
    for (;; n--) {
        line = strstr(line, "listening on ");
        assert_non_null(line);
        line += strlen("listening on ");
        if (n == 0)
            return (unsigned)strtoul(strchr(line, ':') + 1, NULL, 10);
    }
}

static int connect_to(unsigned port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_not_equal(fd, -1);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

/* An MQTT 5 CONNECT with an id and nothing else. */
static int login(unsigned port, char id)
{
    const uint8_t connect_[] = {0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 1, (uint8_t)id};
    int fd = connect_to(port);
    ssize_t sent = send(fd, connect_, sizeof(connect_), MSG_NOSIGNAL);
    assert_int_equal(sent, sizeof(connect_));
    return fd;
}

/* next_byte: what the broker sends next, -1 when it hangs up. */
static int next_byte(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
    uint8_t b = 0;
    return recv(fd, &b, 1, 0) == 1 ? b : -1;
}

/* connack: the reason code of the CONNACK, -1 when it hangs up instead. */
static int connack(int fd)
{
    int first = next_byte(fd);
    if (first == -1)
        return -1;
    assert_int_equal(first, 0x20);
    int left = next_byte(fd);
    assert_true(left >= 2 && left < 128);
    next_byte(fd);
    int reason = next_byte(fd);
    for (left -= 2; left > 0; left--)
        next_byte(fd);
    return reason;
}

static const struct args plain = {.port = -1};

/* ---- tests -------------------------------------------------------------------------------------------------- */

static void test_lines_of_a_start(void **state)
{
    (void)state;
    struct child c;
    char why[TEXT_MAX], want[TEXT_MAX];
    start(&c, "", (struct args){.port = 0});
    wait_ready(&c);
    unsigned port = port_of(&c, 0);
    snprintf(want, sizeof(want), "weir: listening on 127.0.0.1:%u", port);
    assert_memory_equal(c.said, want, strlen(want));
    const char *both = " and [::1]:", *rest = c.said + strlen(want);
    if (strncmp(rest, both, strlen(both)) == 0) { /* a machine with IPv6 */
        snprintf(want, sizeof(want), "%s%u", both, port);
        assert_memory_equal(rest, want, strlen(want));
        rest += strlen(want);
    }
    assert_string_equal(rest, " (mqtt, stomp, websockets)\nweir " WEIR_VERSION
                              ": in memory only, nothing survives a restart\n");
    kill(c.pid, SIGTERM);
    assert_int_equal(finish(&c, why), 0);
    assert_string_equal(why, "");
}

static void test_stop_says_goodbye_in_time(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < ARRAY_N(signals); i++) {
        struct child c;
        char why[TEXT_MAX];
        start(&c, "port 0\nbind_address 127.0.0.1\nprotocol mqtt\n", plain);
        wait_ready(&c);
        int fd = login(port_of(&c, 0), 'a'), silent = connect_to(port_of(&c, 0));
        assert_int_equal(connack(fd), 0);
        int64_t from = now_ms();
        kill(c.pid, signals[i]);
        assert_int_equal(next_byte(fd), 0xe0); /* MQTT 5 §3.14.2.1 DISCONNECT 0x8B: Server shutting down */
        assert_true(next_byte(fd) >= 1);       /* remaining length */
        assert_int_equal(next_byte(fd), 0x8b);
        assert_int_equal(finish(&c, why), 0);
        assert_true(now_ms() - from < 5000); /* 1 s, and room for a busy machine */
        close(fd);
        close(silent);
    }
}

static void test_second_signal_does_not_wait(void **state)
{
    (void)state;
    struct child c;
    char why[TEXT_MAX];
    start(&c, "port 0\nbind_address 127.0.0.1\nlinger_time 60000\npid_file @/pid\n", plain);
    wait_ready(&c);
    int fd = login(port_of(&c, 0), 'a');
    assert_int_equal(connack(fd), 0);
    int64_t from = now_ms();
    kill(c.pid, SIGTERM);
    assert_int_equal(next_byte(fd), 0xe0); /* it is stopping, and we do not hang up */
    kill(c.pid, SIGTERM);
    int code = finish(&c, why);                                               /* also: the pid file is gone */
    assert_true(code == 1 || (code == 0 && now_ms() - from >= WEIR_STOP_MS)); /* 0: our second one came too late */
    close(fd);
}

static void test_who_gets_in(void **state)
{
    (void)state;
    static const struct {
        const char *conf;
        bool gets_in;
        const char *where, *says;
    } rows[] = {
        {"listener 0 127.0.0.1\n", true, NULL, NULL},
        {"listener 0 127.0.0.1\nallow_anonymous true\n", true, NULL, NULL},
        {"listener 0 0.0.0.0\n", false, "0.0.0.0",
         "it is not on loopback; write allow_anonymous true to let everybody in"},
        {"listener 0\nsocket_domain ipv4\n", false, "0.0.0.0",
         "it is not on loopback; write allow_anonymous true to let everybody in"},
        {"listener 0 0.0.0.0\nallow_anonymous true\n", true, NULL, NULL},
        {"listener 0 0.0.0.0\nlistener_allow_anonymous true\n", true, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        struct child c;
        char why[TEXT_MAX], line[512];
        start(&c, rows[i].conf, plain);
        wait_ready(&c);
        int fd = login(port_of(&c, 0), 'a');
        int reason = connack(fd);
        if ((reason == 0) != rows[i].gets_in)
            fail_msg("%s: CONNACK %d", rows[i].conf, reason);
        if (rows[i].says != NULL) {
            snprintf(line, sizeof(line), "weir: nobody can log in on %s:%u: %s\n", rows[i].where, port_of(&c, 0),
                     rows[i].says);
            assert_non_null(strstr(c.said, line));
        } else {
            assert_null(strstr(c.said, "nobody can log in"));
        }
        close(fd);
        kill(c.pid, SIGTERM);
        finish(&c, why);
    }
}

static void test_a_full_listener(void **state)
{
    (void)state;
    struct child c;
    char why[TEXT_MAX];
    start(&c, "listener 0 127.0.0.1\nmax_connections 2\nlistener 0 127.0.0.1\nlog_timestamp false\n", plain);
    wait_ready(&c);
    unsigned port = port_of(&c, 0);
    int a = login(port, 'a'), b = login(port, 'b');
    assert_int_equal(connack(a), 0);
    assert_int_equal(connack(b), 0);
    int third = connect_to(port), elsewhere = login(port_of(&c, 1), 'c');
    assert_int_equal(next_byte(third), -1);
    assert_int_equal(connack(elsewhere), 0);
    close(a);
    int again = -1; /* the place is free again, once the broker has noticed */
    for (int64_t until = now_ms() + DEADLINE_MS; now_ms() < until; close(again)) {
        again = login(port, 'd');
        if (connack(again) == 0)
            break;
    }
    assert_true(again != -1);
    kill(c.pid, SIGTERM);
    close(again);
    close(b);
    close(third);
    close(elsewhere);
    assert_int_equal(finish(&c, why), 0);
    assert_non_null(strstr(why, "a connection was refused: this listener's max_connections is reached\n"));
}

static void test_unix_socket(void **state)
{
    (void)state;
    struct child c;
    char why[TEXT_MAX], want[256];
    start(&c, "listener 0 @/weir.sock\nprotocol stomp\n", plain);
    wait_ready(&c);
    snprintf(want, sizeof(want), "weir: listening on %s/weir.sock (stomp)\nweir %s: in memory", c.dir, WEIR_VERSION);
    assert_memory_equal(c.said, want, strlen(want));
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/weir.sock", c.dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(fd);
    kill(c.pid, SIGTERM);
    assert_int_equal(finish(&c, why), 0); /* also: the socket is gone */
}

static void test_starts_that_fail(void **state)
{
    (void)state;
    int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof(sa);
    assert_int_equal(bind(taken, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(taken, 1), 0);
    assert_int_equal(getsockname(taken, (struct sockaddr *)&sa, &len), 0);
    unsigned port = ntohs(sa.sin_port);
    char in_use[128], in_use_says[256];
    snprintf(in_use, sizeof(in_use), "\nlistener %u 127.0.0.1\n", port);
    snprintf(
        in_use_says, sizeof(in_use_says),
        "@/weir.conf:2: listener: cannot listen on 127.0.0.1:%u: address already in use; stop what listens there, or "
        "choose another port\n",
        port);
    const struct {
        const char *conf, *says; /* '@': the directory */
    } rows[] = {
        {in_use, in_use_says},
        {"listener 0 127.0.0.1\n\nallow_anonymous false\n",
         "@/weir.conf:3: allow_anonymous: false needs a scram_file, and there is none; passwords this version cannot "
         "check, so nobody could log in; name a scram_file, or remove this line (then loopback is open, and what other "
         "lines open), or write allow_anonymous true only if everybody may log in\n"},
        {"listener 0 127.0.0.1\nlistener 0 0.0.0.0\nlistener_allow_anonymous false\n",
         "@/weir.conf:3: listener_allow_anonymous: false needs a scram_file, and there is none; passwords this version "
         "cannot check, so nobody could log in; name a scram_file, or remove this listener, or write "
         "listener_allow_anonymous true only if everybody may log in\n"},
        {"port 0\nscram_file /does/not/exist/s\n",
         "@/weir.conf:2: scram_file: /does/not/exist/s: cannot be read: No such file or directory\n"},
        {"wurst 1\n", "@/weir.conf:1: wurst: unknown option; `weir --help` lists them all\n"},
        {"listener 0 192.0.2.1\n", "@/weir.conf:1: listener: cannot listen on 192.0.2.1:0: this machine does not have "
                                   "that address; name an address "
                                   "of this machine, or leave it out for all\n"},
        {"listener 0 127.0.0.1\nsocket_domain ipv6\n",
         "@/weir.conf:1: listener: 127.0.0.1 has no IPv6 address; name one that has, or remove socket_domain\n"},
        {"listener 0 /does/not/exist/x\n", "@/weir.conf:1: listener: cannot listen on /does/not/exist/x: the directory "
                                           "does not exist; make it, or choose "
                                           "another path\n"},
        {"port 0\nbind_address 127.0.0.1\npid_file /does/not/exist/pid\n",
         "pid_file: /does/not/exist/pid: cannot be written: No such file or directory; make its directory writable, or "
         "leave pid_file out\n"},
        {"port 0\nlog_dest file /does/not/exist/log\n",
         "log_dest: /does/not/exist/log: cannot be written: No such file or directory; choose another file, or let the "
         "user that starts weir write it\n"},
    };
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        struct child c;
        char why[TEXT_MAX], want[512] = "weir: ";
        start(&c, rows[i].conf, plain);
        const char *says = rows[i].says;
        if (*says == '@')
            snprintf(want, sizeof(want), "weir: %s%s", c.dir, says + 1);
        else
            snprintf(want, sizeof(want), "weir: %s", says);
        assert_int_equal(finish(&c, why), 2);
        assert_string_equal(why, want);
    }
    close(taken);
}

static void test_log_file_is_opened_anew(void **state)
{
    (void)state;
    struct child c;
    char why[TEXT_MAX], path[128], old[128];
    start(&c, "port 0\nbind_address 127.0.0.1\nlog_dest file @/log\nlog_type all\npid_file @/pid\n", plain);
    wait_ready(&c);
    snprintf(path, sizeof(path), "%s/log", c.dir);
    snprintf(old, sizeof(old), "%s/old", c.dir);
    assert_int_equal(rename(path, old), 0);
    kill(c.pid, SIGHUP);
    struct stat st;
    for (int64_t until = now_ms() + DEADLINE_MS; stat(path, &st) == -1 && now_ms() < until;)
        poll(NULL, 0, 5);
    assert_int_equal(stat(path, &st), 0);
    kill(c.pid, SIGTERM);
    while (read_some(c.out, c.said)) /* until it has ended */
        continue;
    char text[TEXT_MAX] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = 0;
    fclose(f);
    assert_non_null(strstr(text, "Z info: stopping\n"));
    unlink(path);
    unlink(old);
    assert_int_equal(finish(&c, why), 0);
    assert_string_equal(why, "");
}

/* -d: the parent is gone with 0 once the child serves, and with 2 when it cannot. */
static void test_background(void **state)
{
    (void)state;
    struct child c;
    char why[TEXT_MAX], path[128], text[32] = "";
    start(&c, "port 0\nbind_address 127.0.0.1\npid_file @/pid\n", (struct args){.port = -1, .in_background = true});
    wait_ready(&c);
    int status = 0;
    assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    snprintf(path, sizeof(path), "%s/pid", c.dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof(text), f));
    fclose(f);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    assert_true(pid > 1 && pid != c.pid);
    int fd = login(port_of(&c, 0), 'a');
    assert_int_equal(connack(fd), 0);
    close(fd);
    assert_false(read_some(c.err, c.said)); /* its standard error is /dev/null now */
    kill(pid, SIGTERM);
    struct stat st;
    for (int64_t until = now_ms() + DEADLINE_MS; stat(path, &st) == 0 && now_ms() < until;)
        poll(NULL, 0, 5);
    assert_int_equal(stat(path, &st), -1);
    close(c.out);
    close(c.err);
    unlink(c.conf);
    assert_int_equal(rmdir(c.dir), 0);

    start(&c, "port 0\npid_file /does/not/exist/pid\n", (struct args){.port = -1, .in_background = true});
    assert_int_equal(finish(&c, why), 2);
    assert_non_null(strstr(why, "weir: pid_file: /does/not/exist/pid: cannot be written"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_of_a_start),
        cmocka_unit_test(test_stop_says_goodbye_in_time),
        cmocka_unit_test(test_second_signal_does_not_wait),
        cmocka_unit_test(test_who_gets_in),
        cmocka_unit_test(test_a_full_listener),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_starts_that_fail),
        cmocka_unit_test(test_log_file_is_opened_anew),
        cmocka_unit_test(test_background),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
