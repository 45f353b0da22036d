/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.c: listening sockets, and what to do when the world is not as it should be.
 *
 *     name:port ─► getaddrinfo ─► socket · bind · listen (for each address) ─► io watched
 *     on_ready  ─► how many wait? ─► accept4 * up to the budget ─► transport_tcp_new ─► on_accept(pipe)
 *
 * How many wait is asked first. To accept until that fails would be simpler, but the system makes a socket and a file
 * before it looks whether somebody is there: an accept in vain costs eight times the question, a tenth of all that a
 * short connection costs. Whoever comes after the question is reported again.
 *
 * Running out of files. A listening socket stays readable while somebody waits on it, so a failing accept would spin.
 * The listener then looks away for LISTENER_PAUSE_MS and tries again: nobody is turned away, who waits is served as
 * soon as a file is free, and those inside get the processor. The alternative, a spare fd given up to accept and close
 * at once, refuses people who could be served a moment later and makes a storm of reconnects worse. The pause needs a
 * clock, and the loop's one timer belongs to the shard: so there is a timerfd, made at the start, when files are still
 * to be had.
 *
 * Stale unix sockets. Binding fails when the path exists. A connect tells a dead program's leftover (refused) from a
 * living one; only the former is removed. Between the two looks another program could take the path; then our second
 * bind fails, and that is said.
 *
 * Invariants
 *   1. All sockets of one listener have the same port.
 *   2. A socket that met the limit is not watched until the timer fires; the timer is watched exactly while one is not.
 *   3. An accepted socket does not block, is closed on exec, and has the listening socket's TCP_NODELAY (Linux inherits
 *      it).
 *   4. What is removed at close is the file we made: device and inode are compared first.
 * Cost    one accept4 per connection, one question per wake-up; 1 + sockets fds per listener.
 * Thread  the shard's own; listener_open may block.
 */
#include "transport/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/loop.h"
#include "transport/addr.h"
#include "transport/tcp.h"

#define PORT_TRIES 16 /* port 0 and several addresses: the first one's pick may be taken on the next */

struct listen_socket {
    struct listener *listener;
    struct loop_io io; /* fd -1: not open */
};

/* owner: app; freed: listener_close */
struct listener {
    struct tcp_home *home;
    struct mem *mem;
    struct log *log;
    void (*on_accept)(void *ctx, struct transport *t);
    void *ctx;
    char *unix_path; /* NULL: TCP */
    dev_t unix_dev;  /* of the file we made */
    ino_t unix_ino;  /* 0: none made */
    unsigned accept_max;
    uint16_t port;
    struct loop_io timer; /* a timerfd */
    unsigned socket_n;
    struct listen_socket socket[LISTENER_SOCKETS_MAX];
};

/* ---- accepting ----------------------------------------------------------------------------------------------- */

static void watch(struct listener *l, struct loop_io *io, unsigned interest)
{
    enum err e = loop_io_set(l->home->loop, io, interest);
    BUG_ON(e != ERR_OK); /* the fds are ours and open */
}

static void watch_sockets(struct listener *l, unsigned interest)
{
    for (unsigned i = 0; i < l->socket_n; i++)
        watch(l, &l->socket[i].io, interest);
}

static void pause_accepting(struct listener *l, struct listen_socket *s, int error_number)
{
    char name[ADDR_TEXT_MAX];
    listener_text(l, (unsigned)(s - l->socket), name, sizeof(name));
    log_line(l->log, LOG_WARN, "%s: no connections are accepted for %u ms: %s", name, LISTENER_PAUSE_MS,
             addr_cause(error_number));
    struct itimerspec in = {
        .it_value = {.tv_sec = LISTENER_PAUSE_MS / 1000, .tv_nsec = (long)(LISTENER_PAUSE_MS % 1000) * 1000000}};
    int rc = timerfd_settime(l->timer.fd, 0, &in, NULL);
    BUG_ON(rc == -1);
    watch(l, &s->io, 0);
    watch(l, &l->timer, LOOP_READ);
}

static void on_pause_over(struct loop_io *io, unsigned events)
{
    UNUSED(events);
    struct listener *l = CONTAINER_OF(io, struct listener, timer);
    uint64_t times;
    if (read(io->fd, &times, sizeof(times)) == -1)
        return; /* not yet */
    watch(l, io, 0);
    watch_sockets(l, LOOP_READ);
}

/* is_passing: accept(2) hands on what happened to the connection before we took it; the next one may be well. */
static bool is_passing(int error_number)
{
    switch (error_number) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM: /* a firewall rule */
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
        return true;
    default:
        return false;
    }
}

/* waiting: how many connections to take now, at least 1. The system's count for a TCP socket; unix sockets have none,
 * and are asked until nobody is left. */
static unsigned waiting(const struct listener *l, int fd)
{
    struct tcp_info is = {.tcpi_unacked = 0}; /* of a listening socket: its queue */
    socklen_t len = offsetof(struct tcp_info, tcpi_unacked) + sizeof(is.tcpi_unacked);
    if (l->unix_path != NULL || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &is, &len) == -1)
        return l->accept_max;
    return MIN(MAX(is.tcpi_unacked, 1u), l->accept_max);
}

static void on_waiting(struct loop_io *io, unsigned events)
{
    UNUSED(events);
    struct listen_socket *s = CONTAINER_OF(io, struct listen_socket, io);
    struct listener *l = s->listener;
    for (unsigned n = waiting(l, io->fd); n > 0; n--) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        int fd = accept4(io->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd == -1) {
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                return;
            if (is_passing(errno))
                continue;
            pause_accepting(l, s, errno);
            return;
        }
        struct transport *t = transport_tcp_new(l->home, fd, &peer, len);
        if (t == NULL)
            log_line(l->log, LOG_WARN, "a connection was refused: out of memory");
        else
            l->on_accept(l->ctx, t);
    }
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static void say(char *out_why, size_t cap, const char *where, const char *why)
{
    snprintf(out_why, cap, "cannot listen on %s: %s", where, why);
}

static struct listener *listener_new(const struct listener_config *c)
{
    struct listener *l = mem_zalloc(c->mem, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->home = c->home;
    l->mem = c->mem;
    l->log = c->log;
    l->on_accept = c->on_accept;
    l->ctx = c->ctx;
    l->accept_max = c->accept_max ? c->accept_max : LISTENER_ACCEPT_MAX;
    for (unsigned i = 0; i < LISTENER_SOCKETS_MAX; i++) {
        l->socket[i].listener = l;
        l->socket[i].io.fd = -1;
        l->socket[i].io.on_ready = on_waiting;
    }
    l->timer.fd = -1;
    l->timer.on_ready = on_pause_over;
    return l;
}

/* add_socket: an opened fd becomes the listener's next socket. */
static void add_socket(struct listener *l, int fd)
{
    BUG_ON(l->socket_n == LISTENER_SOCKETS_MAX);
    l->socket[l->socket_n++].io.fd = fd;
}

static void close_sockets(struct listener *l)
{
    watch_sockets(l, 0);
    for (unsigned i = 0; i < l->socket_n; i++) {
        close(l->socket[i].io.fd);
        l->socket[i].io.fd = -1;
    }
    l->socket_n = 0;
}

static void set_on(int fd, int level, int option)
{
    int one = 1;
    int rc = setsockopt(fd, level, option, &one, sizeof(one));
    BUG_ON(rc == -1); /* a fresh socket of the right family knows these */
}

/* open_one: a socket that listens on sa[len]; -1 with errno. */
static int open_one(const struct listener_config *c, const struct sockaddr *sa, socklen_t len)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    if (sa->sa_family != AF_UNIX) {
        set_on(fd, SOL_SOCKET, SO_REUSEADDR); /* connections of our former life may still be closing */
        if (c->nagle == LISTENER_NAGLE_OFF)
            set_on(fd, IPPROTO_TCP, TCP_NODELAY);
    }
    if (sa->sa_family == AF_INET6)
        set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (bind(fd, sa, len) == -1 || listen(fd, c->backlog > 0 ? c->backlog : LISTENER_BACKLOG) == -1) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

static void set_port(struct sockaddr *sa, uint16_t port)
{
    if (sa->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)sa)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)(void *)sa)->sin6_port = htons(port);
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(sa);
    int rc = getsockname(fd, (struct sockaddr *)&sa, &len);
    BUG_ON(rc == -1);
    if (sa.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&sa)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)&sa)->sin6_port);
}

/* is_repeated: /etc/hosts may name one address twice. */
static bool is_repeated(const struct addrinfo *all, const struct addrinfo *a)
{
    for (const struct addrinfo *b = all; b != a; b = b->ai_next) {
        if (b->ai_addrlen == a->ai_addrlen && memcmp(b->ai_addr, a->ai_addr, a->ai_addrlen) == 0)
            return true;
    }
    return false;
}

/* bind_all: every address of the list, all on one port. 0, or errno with *out_at at the address that failed. */
static int bind_all(struct listener *l, const struct listener_config *c, struct addrinfo *all, struct addrinfo **out_at)
{
    int absent = EADDRNOTAVAIL;
    l->port = c->port;
    *out_at = all;
    for (struct addrinfo *a = all; a != NULL; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        set_port(a->ai_addr, c->port);
        if (is_repeated(all, a) || l->socket_n == LISTENER_SOCKETS_MAX)
            continue;
        struct sockaddr_storage sa;
        memcpy(&sa, a->ai_addr, a->ai_addrlen);
        set_port((struct sockaddr *)&sa, l->port);
        int fd = open_one(c, (struct sockaddr *)&sa, a->ai_addrlen);
        if (fd == -1 && (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT)) {
            absent = errno; /* not an address of this machine: fine while another is */
            continue;
        }
        if (fd == -1) {
            *out_at = a;
            return errno;
        }
        add_socket(l, fd);
        l->port = bound_port(fd);
    }
    return l->socket_n != 0 ? 0 : absent;
}

/* resolve: the addresses of c->address, to be given back with freeaddrinfo; NULL with *out_why_static. May block. */
static struct addrinfo *resolve(const struct listener_config *c, const char **out_why_static)
{
    char host[256];
    const char *name = c->address != NULL && c->address[0] != '\0' ? c->address : NULL;
    size_t len = name != NULL ? strlen(name) : 0;
    if (len >= sizeof(host)) {
        *out_why_static = "the name is too long";
        return NULL;
    }
    if (len > 2 && name[0] == '[' && name[len - 1] == ']') {
        memcpy(host, name + 1, len - 2);
        host[len - 2] = '\0';
        name = host;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *all = NULL;
    int rc = getaddrinfo(name, "0", &hints, &all);
    if (rc == 0)
        return all;
    *out_why_static = rc == EAI_SYSTEM   ? addr_cause(errno)
                      : rc == EAI_NONAME ? "there is no such name or address"
                                         : gai_strerror(rc);
    return NULL;
}

static bool open_tcp(struct listener *l, const struct listener_config *c, char *out_why, size_t cap)
{
    char where[300];
    const char *name = c->address != NULL && c->address[0] != '\0' ? c->address : "*";
    bool is_bare_v6 = name[0] != '[' && strchr(name, ':') != NULL;
    snprintf(where, sizeof(where), is_bare_v6 ? "[%s]:%u" : "%s:%u", name, (unsigned)c->port);

    const char *why = NULL;
    struct addrinfo *all = resolve(c, &why);
    if (all == NULL) {
        say(out_why, cap, where, why);
        return false;
    }
    struct addrinfo *at = all;
    int error_number = 0;
    for (unsigned tries = 0; tries < PORT_TRIES; tries++) {
        error_number = bind_all(l, c, all, &at);
        if (error_number == 0)
            break;
        close_sockets(l);
        if (c->port != 0 || error_number != EADDRINUSE)
            break; /* another try would meet the same */
    }
    if (error_number != 0) {
        addr_text(at->ai_addr, at->ai_addrlen, where, sizeof(where));
        say(out_why, cap, where, addr_cause(error_number));
    }
    freeaddrinfo(all);
    return error_number == 0;
}

/* is_stale: the file at sa is a socket that nobody answers on. */
static bool is_stale(const struct sockaddr_un *sa, const char **out_why)
{
    struct stat st;
    *out_why = "a file that is not a socket is in the way";
    if (lstat(sa->sun_path, &st) == -1 || !S_ISSOCK(st.st_mode))
        return false;
    *out_why = "somebody listens there already";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return false;
    bool refused = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == -1 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static bool open_unix(struct listener *l, const struct listener_config *c, char *out_why, size_t cap)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(c->unix_path);
    if (len == 0 || len >= sizeof(sa.sun_path)) {
        say(out_why, cap, len ? c->unix_path : "an empty path", "a unix socket's path has 1 to 107 bytes");
        return false;
    }
    memcpy(sa.sun_path, c->unix_path, len + 1);
    l->unix_path = mem_dup(l->mem, c->unix_path, len);
    if (l->unix_path == NULL) {
        say(out_why, cap, c->unix_path, addr_cause(ENOMEM));
        return false;
    }
    int fd = open_one(c, (const struct sockaddr *)&sa, sizeof(sa));
    const char *why = fd == -1 ? addr_cause(errno) : NULL;
    if (fd == -1 && errno == EADDRINUSE && is_stale(&sa, &why)) {
        unlink(sa.sun_path);
        fd = open_one(c, (const struct sockaddr *)&sa, sizeof(sa));
        why = fd == -1 ? addr_cause(errno) : NULL;
    }
    if (fd == -1) {
        say(out_why, cap, c->unix_path, why);
        return false;
    }
    add_socket(l, fd);
    struct stat st;
    if (lstat(sa.sun_path, &st) == 0) {
        l->unix_dev = st.st_dev;
        l->unix_ino = st.st_ino;
    }
    return true;
}

struct listener *listener_open(const struct listener_config *c, char *out_why, size_t cap)
{
    struct listener *l = listener_new(c);
    if (l == NULL) {
        say(out_why, cap, c->unix_path ? c->unix_path : "a port", addr_cause(ENOMEM));
        return NULL;
    }
    bool is_open = c->unix_path != NULL ? open_unix(l, c, out_why, cap) : open_tcp(l, c, out_why, cap);
    if (is_open) {
        l->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (l->timer.fd == -1) {
            char where[ADDR_TEXT_MAX];
            int why = errno;
            listener_text(l, 0, where, sizeof(where));
            say(out_why, cap, where, addr_cause(why));
            is_open = false;
        }
    }
    if (!is_open) {
        listener_close(l);
        return NULL;
    }
    watch_sockets(l, LOOP_READ);
    return l;
}

/* ---- the rest ------------------------------------------------------------------------------------------------ */

void listener_close(struct listener *l)
{
    if (l == NULL)
        return;
    struct stat st;
    if (l->unix_ino != 0 && lstat(l->unix_path, &st) == 0 && st.st_dev == l->unix_dev && st.st_ino == l->unix_ino)
        unlink(l->unix_path);
    close_sockets(l);
    if (l->timer.fd != -1) {
        watch(l, &l->timer, 0);
        close(l->timer.fd);
    }
    mem_free(l->mem, l->unix_path);
    mem_free(l->mem, l);
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}

bool listener_text(const struct listener *l, unsigned i, char *out, size_t cap)
{
    if (i >= l->socket_n)
        return false;
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(sa);
    int rc = getsockname(l->socket[i].io.fd, (struct sockaddr *)&sa, &len);
    BUG_ON(rc == -1);
    addr_text(&sa, len, out, cap);
    return true;
}
