/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_listener.c: listening on every kind of address, what is said when that fails, the accept budget, and running out
 * of files and memory. Real sockets on the loopback, port 0, files in a temporary folder.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/loop.h"
#include "transport/listener.h"
#include "transport/tcp.h"

#define PIPES_MAX 64

struct world {
    struct mem_heap heap;
    struct mem loop_mem, mem;
    struct loop *loop;
    struct tcp_home home;
    struct log log;
    char said[4096]; /* all log lines */
    unsigned lines, turns, stop_at;
    struct transport *pipe[PIPES_MAX];
    unsigned pipe_n;
    char why[256];
    char folder[64], path[96];
};

static void on_accept(void *ctx, struct transport *t)
{
    struct world *w = ctx;
    assert_true(w->pipe_n < PIPES_MAX);
    w->pipe[w->pipe_n++] = t;
}

static void on_line(void *ctx, enum log_level level, const char *line)
{
    struct world *w = ctx;
    UNUSED(level);
    size_t n = strlen(w->said);
    snprintf(w->said + n, sizeof(w->said) - n, "%s\n", line);
    w->lines++;
}

static bool on_turn(void *ctx)
{
    struct world *w = ctx;
    if (++w->turns >= w->stop_at)
        w->loop->ops->stop(w->loop);
    return false;
}

static int setup(void **state)
{
    struct world *w = test_calloc(1, sizeof(*w));
    mem_heap_init(&w->heap);
    mem_init(&w->loop_mem, &w->heap, "loop");
    mem_init(&w->mem, &w->heap, "transports");
    w->loop = loop_ev_new(&w->loop_mem);
    assert_non_null(w->loop);
    w->loop->on_turn = on_turn;
    w->loop->ctx = w;
    tcp_home_init(&w->home, w->loop, &w->mem);
    log_init(&w->log);
    w->log.write = on_line;
    w->log.ctx = w;
    snprintf(w->folder, sizeof(w->folder), "/tmp/weir_listener_XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->path, sizeof(w->path), "%s/sock", w->folder);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < w->pipe_n; i++)
        w->pipe[i]->ops->destroy(w->pipe[i]);
    tcp_home_fini(&w->home);
    assert_int_equal(w->mem.blocks, 0);
    w->loop->ops->destroy(w->loop);
    assert_int_equal(w->heap.bytes, 0);
    unlink(w->path);
    assert_int_equal(rmdir(w->folder), 0);
    test_free(w);
    return 0;
}

/* turns: runs n turns of the loop; each waits 20 ms at most. */
static void turns(struct world *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        w->stop_at = w->turns + 2; /* the first only polls */
        w->loop->ops->timer(w->loop, loop_now(w->loop) + 20);
        w->loop->ops->run(w->loop);
    }
}

static void await_pipes(struct world *w, unsigned n)
{
    time_t until = time(NULL) + 20;
    while (w->pipe_n < n) {
        assert_true(time(NULL) < until);
        turns(w, 1);
    }
}

static struct listener_config config_for(struct world *w, const char *address, uint16_t port)
{
    return (struct listener_config){.home = &w->home,
                                    .mem = &w->mem,
                                    .log = &w->log,
                                    .address = address,
                                    .port = port,
                                    .on_accept = on_accept,
                                    .ctx = w};
}

static struct listener *open_on(struct world *w, const char *address, uint16_t port)
{
    struct listener_config c = config_for(w, address, port);
    return listener_open(&c, w->why, sizeof(w->why));
}

static struct listener *open_path(struct world *w, const char *path)
{
    struct listener_config c = config_for(w, NULL, 0);
    c.unix_path = path;
    return listener_open(&c, w->why, sizeof(w->why));
}

/* call: a connected client; -1 when refused. */
static int call(int family, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_not_equal(fd, -1);
    int rc = family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
                               : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
    if (rc == 0)
        return fd;
    close(fd);
    return -1;
}

static int call_path(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_not_equal(fd, -1);
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool has_ipv6(void)
{
    const struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd != -1 && bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0;
    if (fd != -1)
        close(fd);
    return has;
}

/* fd_of: which fd of this process is the accepted end of the connection whose client is `client`. */
static int fd_of(int client)
{
    struct sockaddr_storage local, peer;
    socklen_t local_len = sizeof(local);
    assert_int_equal(getsockname(client, (struct sockaddr *)&local, &local_len), 0);
    for (int fd = 3; fd < 1000; fd++) {
        socklen_t len = sizeof(peer);
        if (fd != client && getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && len == local_len &&
            memcmp(&peer, &local, len) == 0)
            return fd;
    }
    fail_msg("the accepted socket was not found");
    return -1;
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

/* ---- addresses ----------------------------------------------------------------------------------------------- */

static void test_ipv4(void **state)
{
    struct world *w = *state;
    struct listener *l = open_on(w, "127.0.0.1", 0);
    assert_non_null(l);
    assert_int_not_equal(listener_port(l), 0);
    char text[64], expected[64];
    assert_true(listener_text(l, 0, text, sizeof(text)));
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", (unsigned)listener_port(l));
    assert_string_equal(text, expected);
    assert_false(listener_text(l, 1, text, sizeof(text)));

    int client = call(AF_INET, listener_port(l));
    assert_int_not_equal(client, -1);
    await_pipes(w, 1);
    assert_string_equal(w->pipe[0]->ops->name, "tcp");
    int fd = fd_of(client);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_not_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_equal(write(client, "hello", 5), 5);
    uint8_t in[16];
    ptrdiff_t n = -ERR_AGAIN;
    for (unsigned i = 0; i < 100 && n == -ERR_AGAIN; i++, turns(w, 1))
        n = w->pipe[0]->ops->recv(w->pipe[0], in, sizeof(in));
    assert_int_equal(n, 5);
    assert_memory_equal(in, "hello", 5);
    close(client);
    listener_close(l);
    assert_int_equal(w->lines, 0);
}

/* A peer that was gone before it was taken is handed on, with its address: the log wants to name it. */
static void test_reset_before_accept(void **state)
{
    struct world *w = *state;
    struct listener *l = open_on(w, "127.0.0.1", 0);
    assert_non_null(l);
    int client = call(AF_INET, listener_port(l));
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);
    assert_int_equal(getsockname(client, (struct sockaddr *)&sa, &len), 0);
    struct linger at_once = {.l_onoff = 1};
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(client);
    await_pipes(w, 1);
    char peer[64], expected[64];
    uint8_t in[4];
    w->pipe[0]->ops->peer(w->pipe[0], peer, sizeof(peer));
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", (unsigned)ntohs(sa.sin_port));
    assert_string_equal(peer, expected);
    assert_int_equal(w->pipe[0]->ops->recv(w->pipe[0], in, sizeof(in)), -ERR_RESET);
    listener_close(l);
}

static void test_nagle(void **state)
{
    struct world *w = *state;
    struct listener_config c = config_for(w, "127.0.0.1", 0);
    c.nagle = LISTENER_NAGLE_ON;
    struct listener *l = listener_open(&c, w->why, sizeof(w->why));
    assert_non_null(l);
    int client = call(AF_INET, listener_port(l));
    await_pipes(w, 1);
    assert_int_equal(option_of(fd_of(client), IPPROTO_TCP, TCP_NODELAY), 0);
    close(client);
    listener_close(l);
}

static void test_ipv6(void **state)
{
    struct world *w = *state;
    if (!has_ipv6())
        skip();
    const char *spellings[] = {"::1", "[::1]"};
    for (unsigned i = 0; i < ARRAY_N(spellings); i++) {
        struct listener *l = open_on(w, spellings[i], 0);
        assert_non_null(l);
        char text[64], expected[64];
        assert_true(listener_text(l, 0, text, sizeof(text)));
        snprintf(expected, sizeof(expected), "[::1]:%u", (unsigned)listener_port(l));
        assert_string_equal(text, expected);
        int client = call(AF_INET6, listener_port(l));
        assert_int_not_equal(client, -1);
        await_pipes(w, i + 1);
        assert_int_equal(call(AF_INET, listener_port(l)), -1);
        close(client);
        listener_close(l);
    }
}

/* Every address of both families on one port, from the first one's pick. */
static void test_all_addresses(void **state)
{
    struct world *w = *state;
    const char *everywhere[] = {NULL, ""};
    for (unsigned i = 0; i < ARRAY_N(everywhere); i++) {
        struct listener *l = open_on(w, everywhere[i], 0);
        assert_non_null(l);
        unsigned before = w->pipe_n, calls = 1;
        int v4 = call(AF_INET, listener_port(l)), v6 = -1;
        assert_int_not_equal(v4, -1);
        if (has_ipv6()) {
            v6 = call(AF_INET6, listener_port(l));
            assert_int_not_equal(v6, -1);
            calls++;
        }
        await_pipes(w, before + calls);
        turns(w, 2);
        assert_int_equal(w->pipe_n, before + calls);
        close(v4);
        if (v6 != -1)
            close(v6);
        listener_close(l);
    }
}

static void test_name(void **state)
{
    struct world *w = *state;
    struct listener *l = open_on(w, "localhost", 0);
    assert_non_null(l);
    uint16_t port = listener_port(l);
    char text[64], end[16];
    snprintf(end, sizeof(end), ":%u", (unsigned)port);
    unsigned n = 0;
    for (; listener_text(l, n, text, sizeof(text)); n++)
        assert_string_equal(strrchr(text, ':'), end);
    assert_true(n >= 1);
    int client = call(AF_INET, port);
    assert_int_not_equal(client, -1);
    await_pipes(w, 1);
    close(client);
    listener_close(l);
    assert_int_equal(call(AF_INET, port), -1);
}

/* ---- failures ------------------------------------------------------------------------------------------------ */

static void test_port_in_use(void **state)
{
    struct world *w = *state;
    struct listener *l = open_on(w, "127.0.0.1", 0);
    assert_non_null(l);
    assert_null(open_on(w, "127.0.0.1", listener_port(l)));
    char expected[128];
    snprintf(expected, sizeof(expected), "cannot listen on 127.0.0.1:%u: address already in use",
             (unsigned)listener_port(l));
    assert_string_equal(w->why, expected);
    assert_null(open_on(w, NULL, listener_port(l))); /* one address of several is enough */
    assert_non_null(strstr(w->why, "address already in use"));
    listener_close(l);
}

static void test_not_our_address(void **state)
{
    struct world *w = *state;
    assert_null(open_on(w, "192.0.2.1", 1883)); /* RFC 5737: nobody's */
    assert_string_equal(w->why, "cannot listen on 192.0.2.1:1883: this machine does not have that address");
    assert_null(open_on(w, "2001:db8::1", 1883));
    assert_non_null(strstr(w->why, "cannot listen on [2001:db8::1]:1883: this "));
}

static void test_bad_names(void **state)
{
    struct world *w = *state;
    char name[400];
    memset(name, 'x', sizeof(name));
    name[70] = '\0'; /* a label has 63 bytes at most, so nobody is asked */
    assert_null(open_on(w, name, 1883));
    assert_memory_equal(w->why, "cannot listen on xxx", 20);
    assert_non_null(strstr(w->why, ":1883: "));
    name[70] = 'x';
    name[sizeof(name) - 1] = '\0';
    assert_null(open_on(w, name, 1883));
    assert_memory_equal(w->why, "cannot listen on xxx", 20);
    struct listener_config c = config_for(w, name, 1883);
    char tiny[8];
    assert_null(listener_open(&c, tiny, sizeof(tiny)));
    assert_string_equal(tiny, "cannot ");
}

static void test_port_again_at_once(void **state)
{
    struct world *w = *state;
    struct listener *l = open_on(w, "127.0.0.1", 0);
    assert_non_null(l);
    uint16_t port = listener_port(l);
    int client = call(AF_INET, port);
    await_pipes(w, 1);
    w->pipe[0]->ops->destroy(w->pipe[0]); /* we close first: TIME_WAIT is ours */
    w->pipe_n = 0;
    char byte;
    assert_int_equal(read(client, &byte, 1), 0);
    close(client);
    listener_close(l);
    l = open_on(w, "127.0.0.1", port);
    assert_non_null(l);
    assert_int_equal(listener_port(l), port);
    listener_close(l);
}

/* ---- unix ---------------------------------------------------------------------------------------------------- */

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static void test_unix(void **state)
{
    struct world *w = *state;
    struct listener *l = open_path(w, w->path);
    assert_non_null(l);
    assert_int_equal(listener_port(l), 0);
    char text[128];
    assert_true(listener_text(l, 0, text, sizeof(text)));
    assert_string_equal(text, w->path);
    int client = call_path(w->path);
    assert_int_not_equal(client, -1);
    await_pipes(w, 1);
    assert_string_equal(w->pipe[0]->ops->name, "unix");
    char peer[64], expected[64];
    w->pipe[0]->ops->peer(w->pipe[0], peer, sizeof(peer));
    snprintf(expected, sizeof(expected), "unix:pid=%ld", (long)getpid());
    assert_string_equal(peer, expected);

    assert_null(open_path(w, w->path)); /* somebody answers: us */
    assert_non_null(strstr(w->why, w->path));
    assert_non_null(strstr(w->why, ": somebody listens there already"));
    int second = call_path(w->path);
    assert_int_not_equal(second, -1); /* and still does */
    close(second);
    close(client);
    listener_close(l);
    assert_false(exists(w->path));
}

static void test_unix_stale(void **state)
{
    struct world *w = *state;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", w->path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(dead);
    assert_true(exists(w->path));
    struct listener *l = open_path(w, w->path);
    assert_non_null(l);
    int client = call_path(w->path);
    assert_int_not_equal(client, -1);
    close(client);

    assert_int_equal(unlink(w->path), 0); /* somebody replaces our file: it is not ours to remove */
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(other, (struct sockaddr *)&sa, sizeof(sa)), 0);
    listener_close(l);
    assert_true(exists(w->path));
    close(other);
}

static void test_unix_failures(void **state)
{
    struct world *w = *state;
    int fd = open(w->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_not_equal(fd, -1);
    close(fd);
    assert_null(open_path(w, w->path));
    assert_non_null(strstr(w->why, ": a file that is not a socket is in the way"));
    assert_true(exists(w->path));

    char path[200];
    snprintf(path, sizeof(path), "%s/none/sock", w->folder);
    assert_null(open_path(w, path));
    assert_non_null(strstr(w->why, ": the directory does not exist"));
    memset(path, 'x', sizeof(path));
    path[108] = '\0';
    assert_null(open_path(w, path));
    assert_non_null(strstr(w->why, "1 to 107 bytes"));
    assert_null(open_path(w, ""));
    assert_non_null(strstr(w->why, "1 to 107 bytes"));
}

/* ---- accepting ----------------------------------------------------------------------------------------------- */

/* accepts, in_vain: calls of accept4 by the listener (it finds this function before the system's), and those of them
 * that found nobody. */
static unsigned accepts, in_vain;

int accept4(int fd, __SOCKADDR_ARG peer, socklen_t *len, int flags)
{
    int got = (int)syscall(SYS_accept4, fd, peer.__sockaddr__, len, flags);
    accepts++;
    in_vain += got == -1 && errno == EAGAIN;
    return got;
}

/* An accept in vain is what costs most when connections come one by one. */
static void test_nobody_is_accepted_in_vain(void **state)
{
    struct world *w = *state;
    struct listener *l = open_on(w, "127.0.0.1", 0);
    assert_non_null(l);
    accepts = in_vain = 0;
    int client[5];
    for (unsigned i = 0; i < 5; i++) { /* 1, then 4 at once */
        client[i] = call(AF_INET, listener_port(l));
        if (i == 0 || i == 4)
            await_pipes(w, i + 1);
    }
    turns(w, 1);
    assert_int_equal(accepts, 5);
    assert_int_equal(in_vain, 0);
    for (unsigned i = 0; i < 5; i++)
        close(client[i]);
    listener_close(l);
}

static void test_budget(void **state)
{
    struct world *w = *state;
    struct listener_config c = config_for(w, "127.0.0.1", 0);
    c.accept_max = 3;
    struct listener *l = listener_open(&c, w->why, sizeof(w->why));
    assert_non_null(l);
    int client[10];
    for (unsigned i = 0; i < 10; i++) {
        client[i] = call(AF_INET, listener_port(l));
        assert_int_not_equal(client[i], -1);
    }
    for (unsigned i = 0; i < 20 && w->pipe_n < 10; i++) {
        unsigned before = w->pipe_n;
        w->stop_at = w->turns + 1;
        w->loop->ops->run(w->loop);
        assert_in_range(w->pipe_n - before, 0, 3);
    }
    await_pipes(w, 10);
    for (unsigned i = 0; i < 10; i++)
        close(client[i]);
    listener_close(l);
}

static void test_close_leaves_pipes(void **state)
{
    struct world *w = *state;
    struct listener *l = open_on(w, "127.0.0.1", 0);
    assert_non_null(l);
    int inside = call(AF_INET, listener_port(l));
    await_pipes(w, 1);
    int waiting = call(AF_INET, listener_port(l)); /* in the system's queue */
    listener_close(l);
    turns(w, 2);
    assert_int_equal(w->pipe_n, 1);
    assert_int_equal(w->pipe[0]->ops->sendv(w->pipe[0], &(struct iovec){(char[]){'x'}, 1}, 1), 1);
    char byte;
    assert_int_equal(read(inside, &byte, 1), 1);
    assert_true(read(waiting, &byte, 1) <= 0);
    close(inside);
    close(waiting);
    listener_close(NULL);
}

static void set_files_max(rlim_t n)
{
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    r.rlim_cur = MIN(n, r.rlim_max);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
}

/* No file left: everybody waits, nobody is lost, the loop does not spin, and it is said. Two sockets, both with guests.
 */
static void test_out_of_files(void **state)
{
    struct world *w = *state;
    struct rlimit former;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &former), 0);
    struct listener *l = open_on(w, NULL, 0);
    assert_non_null(l);
    int client[4];
    for (unsigned i = 0; i < 4; i++) {
        client[i] = call(has_ipv6() && i % 2 ? AF_INET6 : AF_INET, listener_port(l));
        assert_int_not_equal(client[i], -1);
    }
    set_files_max(3); /* every number is too high now */
    turns(w, 3);
    assert_int_equal(w->pipe_n, 0);
    assert_non_null(strstr(w->said, "too many files open"));
    assert_non_null(strstr(w->said, "no connections are accepted for 100 ms"));

    unsigned before = w->turns, said = w->lines; /* while paused: sleeps */
    turns(w, 15);                                /* about 300 ms of nothing but the pump's own timer */
    assert_in_range(w->turns - before, 15, 60);
    assert_in_range(w->lines - said, 1, 8);
    assert_int_equal(w->pipe_n, 0);

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &former), 0);
    await_pipes(w, 4);
    turns(w, 8);
    assert_int_equal(w->pipe_n, 4);
    for (unsigned i = 0; i < 4; i++)
        close(client[i]);
    listener_close(l);
}

static void test_close_while_paused(void **state)
{
    struct world *w = *state;
    struct rlimit former;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &former), 0);
    struct listener *l = open_on(w, "127.0.0.1", 0);
    assert_non_null(l);
    int client = call(AF_INET, listener_port(l));
    assert_int_not_equal(client, -1);
    set_files_max(3); /* every number is too high now */
    turns(w, 3);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &former), 0);
    assert_non_null(strstr(w->said, "too many files open"));
    listener_close(l);
    turns(w, 10); /* the pause would be over: nothing may happen */
    assert_int_equal(w->pipe_n, 0);
    close(client);
}

static void test_no_file_to_open(void **state)
{
    struct world *w = *state;
    struct rlimit former;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &former), 0);
    int probe = dup(1);
    close(probe);
    for (rlim_t more = 0; more < 3; more++) { /* none, the socket's, the socket's and not the timer's */
        set_files_max((rlim_t)probe + more);
        struct listener *l = open_path(w, w->path);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &former), 0);
        if (more < 2) {
            assert_null(l);
            assert_non_null(strstr(w->why, "too many files open"));
            assert_false(exists(w->path));
        } else {
            assert_non_null(l);
            listener_close(l);
        }
    }
}

static void test_out_of_memory(void **state)
{
    struct world *w = *state;
    for (unsigned nth = 1; nth < 20; nth++) {
        w->heap.fail_at = w->heap.calls + nth;
        struct listener *l = open_path(w, w->path);
        bool asked_less = w->heap.calls < w->heap.fail_at;
        w->heap.fail_at = 0;
        if (asked_less) {
            assert_non_null(l);
            listener_close(l);
            break;
        }
        assert_null(l);
        assert_non_null(strstr(w->why, "out of memory"));
        assert_int_equal(w->mem.blocks, 0);
        assert_true(nth < 10);
    }
    struct listener *l = open_path(w, w->path);
    assert_non_null(l);
    int first = call_path(w->path), second = call_path(w->path);
    w->heap.fail_at = w->heap.calls + 1;
    await_pipes(w, 1); /* one was refused, the other is in */
    assert_non_null(strstr(w->said, "refused: out of memory"));
    char byte;
    assert_int_equal(read(first, &byte, 1), 0);
    close(first);
    close(second);
    listener_close(l);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_ipv4),
        T(test_nagle),
        T(test_reset_before_accept),
        T(test_ipv6),
        T(test_all_addresses),
        T(test_name),
        T(test_port_in_use),
        T(test_not_our_address),
        T(test_bad_names),
        T(test_port_again_at_once),
        T(test_unix),
        T(test_unix_stale),
        T(test_unix_failures),
        T(test_nobody_is_accepted_in_vain),
        T(test_budget),
        T(test_close_leaves_pipes),
        T(test_out_of_files),
        T(test_close_while_paused),
        T(test_no_file_to_open),
        T(test_out_of_memory),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
