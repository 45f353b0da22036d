/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_transport.c: the contract of byte pipes, kept by tcp over IPv4 and IPv6, unix sockets, and the simulator's
 * network (calm and nasty), and by WebSockets over all of these. A new transport adds its fixture here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/loop.h"
#include "tests/contract/transport_suite.c" /* a program of this folder is one file */
#include "tests/sim/loop_sim.h"
#include "tests/sim/net_sim.h"
#include "tests/support/refuse.h"
#include "tests/support/ws_peer.h"
#include "transport/tcp.h"
#include "transport/ws.h"

#define PUMP_MS 2 /* how long a pump waits when nothing happens */

/* ---- sockets over libev -------------------------------------------------------------------------------------- */

struct sockets {
    struct mem_heap heap;
    struct mem loop_mem, mem;
    struct loop *loop;
    struct tcp_home home;
    unsigned turns;
    int family;
};

static bool sockets_on_turn(void *ctx)
{
    struct sockets *w = ctx;
    if (++w->turns == 2) /* the first only polls */
        w->loop->ops->stop(w->loop);
    return false;
}

static void *sockets_setup(const void *param)
{
    struct sockets *w = test_calloc(1, sizeof(*w));
    mem_heap_init(&w->heap);
    mem_init(&w->loop_mem, &w->heap, "loop");
    mem_init(&w->mem, &w->heap, "transports");
    w->loop = loop_ev_new(&w->loop_mem);
    assert_non_null(w->loop);
    w->loop->on_turn = sockets_on_turn;
    w->loop->ctx = w;
    tcp_home_init(&w->home, w->loop, &w->mem);
    w->family = *(const int *)param;
    return w;
}

static void sockets_teardown(void *world)
{
    struct sockets *w = world;
    tcp_home_fini(&w->home);
    assert_int_equal(w->mem.blocks, 0);
    w->loop->ops->destroy(w->loop);
    assert_int_equal(w->heap.bytes, 0);
    test_free(w);
}

static void set_nonblocking(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

/* inet_pair: two connected TCP sockets on the loopback address of the family. */
static void inet_pair(int family, int out_fd[2])
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } sa;
    memset(&sa, 0, sizeof(sa));
    socklen_t len = family == AF_INET ? sizeof(sa.v4) : sizeof(sa.v6);
    sa.any.sa_family = (sa_family_t)family;
    if (family == AF_INET)
        sa.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        sa.v6.sin6_addr = in6addr_loopback;
    int listening = socket(family, SOCK_STREAM, 0);
    assert_int_not_equal(listening, -1);
    assert_int_equal(bind(listening, &sa.any, len), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, &sa.any, &len), 0);
    out_fd[0] = socket(family, SOCK_STREAM, 0);
    assert_int_equal(connect(out_fd[0], &sa.any, len), 0);
    out_fd[1] = accept(listening, NULL, NULL);
    assert_int_not_equal(out_fd[1], -1);
    close(listening);
}

/* has_ipv6: some machines have switched it off. */
static bool has_ipv6(void)
{
    const struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd != -1 && bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0;
    if (fd != -1)
        close(fd);
    return has;
}

/* make_pipe: as who accepts or connects would. */
static struct transport *make_pipe(struct sockets *w, int fd)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(peer);
    assert_int_equal(getpeername(fd, (struct sockaddr *)&peer, &len), 0);
    return transport_tcp_new(&w->home, fd, &peer, len);
}

static void sockets_pair(void *world, struct transport *out_end[2])
{
    struct sockets *w = world;
    int fd[2];
    if (w->family == AF_UNIX)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    else
        inet_pair(w->family, fd);
    for (unsigned i = 0; i < 2; i++) {
        set_nonblocking(fd[i]);
        out_end[i] = make_pipe(w, fd[i]);
        assert_non_null(out_end[i]);
    }
}

static void sockets_pump(void *world)
{
    struct sockets *w = world;
    w->turns = 0;
    w->loop->ops->timer(w->loop, loop_now(w->loop) + PUMP_MS);
    w->loop->ops->run(w->loop);
}

/* ---- the simulator ------------------------------------------------------------------------------------------- */

struct simulated {
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    struct loop_sim *loop;
    struct net_sim net;
};

static void *sim_setup(const void *param)
{
    struct simulated *w = test_calloc(1, sizeof(*w));
    mem_heap_init(&w->heap);
    mem_init(&w->mem, &w->heap, "sim");
    rng_init(&w->rng, 42);
    w->loop = loop_sim_new(&w->mem, &w->rng);
    net_sim_init(&w->net, w->loop, &w->mem, &w->rng, param);
    return w;
}

static void sim_teardown(void *world)
{
    struct simulated *w = world;
    net_sim_fini(&w->net);
    w->loop->loop.ops->destroy(&w->loop->loop);
    assert_int_equal(w->heap.bytes, 0);
    test_free(w);
}

static void sim_pair(void *world, struct transport *out_end[2])
{
    struct simulated *w = world;
    net_sim_pair(&w->net, out_end);
}

static void sim_pump(void *world)
{
    struct simulated *w = world;
    loop_sim_step(w->loop);
}

static void sim_reset(struct transport *t)
{
    net_sim_reset(t, NET_LOSE);
}

/* ---- WebSockets over any of them ----------------------------------------------------------------------------- */

#define PAIRS_MAX 40

/* Both ends are our server's; a link below each makes the other's frames a client's. */
struct stacked {
    const struct transport_fixture *below;
    void *world;
    struct mem_heap heap;
    struct mem mem, link_mem;
    struct rng rng;
    struct ws_home home;
    struct transport *top[2 * PAIRS_MAX], *bottom[2 * PAIRS_MAX];
    unsigned n;
};

static void *ws_setup(const void *param)
{
    struct stacked *w = test_calloc(1, sizeof(*w));
    w->below = param;
    w->world = w->below->setup(w->below->param);
    mem_heap_init(&w->heap);
    mem_init(&w->mem, &w->heap, "ws");
    mem_init(&w->link_mem, &w->heap, "links");
    rng_init(&w->rng, 11);
    ws_home_init(&w->home, &w->mem, 1u << 30);
    return w;
}

static void ws_teardown(void *world)
{
    struct stacked *w = world;
    ws_home_fini(&w->home);
    assert_int_equal(w->heap.bytes, 0);
    w->below->teardown(w->world);
    test_free(w);
}

static void ws_pair(void *world, struct transport *out_end[2])
{
    struct stacked *w = world;
    struct transport *t[2];
    w->below->make_pair(w->world, t);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(w->n < ARRAY_N(w->top));
        struct transport *link = ws_peer_link(t[i], &w->link_mem, &w->rng);
        out_end[i] = transport_ws_new(&w->home, link, SLICE(""), SLICE(""));
        assert_non_null(out_end[i]);
        w->bottom[w->n] = t[i];
        w->top[w->n++] = out_end[i];
    }
}

static void ws_pump(void *world)
{
    struct stacked *w = world;
    w->below->pump(w->world);
}

static void ws_reset(struct transport *t)
{
    struct stacked *w = ((struct end *)t->up)->suite->world;
    unsigned i = 0;
    while (w->top[i] != t)
        i++;
    w->below->reset(w->bottom[i]);
}

/* run_ws: the suite for WebSockets over what f makes. */
static int run_ws(const char *name, const struct transport_fixture *f)
{
    struct transport_fixture ws = {.name = name,
                                   .ops_name = "ws",
                                   .peer = f->peer,
                                   .bulk_bytes = f->bulk_bytes / 2,
                                   .ends_whole = true,
                                   .setup = ws_setup,
                                   .teardown = ws_teardown,
                                   .make_pair = ws_pair,
                                   .pump = ws_pump,
                                   .reset = f->reset != NULL ? ws_reset : NULL,
                                   .param = f};
    return transport_suite_run(&ws);
}

/* ---- what is beyond the contract ----------------------------------------------------------------------------- */

static void test_size_of_a_pipe(void **state)
{
    UNUSED(state);
    const int families[] = {AF_INET, AF_INET6, AF_UNIX};
    const size_t most[] = {104, 120, 104};
    for (unsigned i = 0; i < ARRAY_N(families); i++) {
        if (families[i] == AF_INET6 && !has_ipv6())
            continue;
        struct sockets *w = sockets_setup(&families[i]);
        struct transport *t[2];
        sockets_pair(w, t);
        const struct pool *used = families[i] == AF_INET6 ? &w->home.large : &w->home.small;
        assert_int_equal(used->used_n, 2);
        assert_in_range(used->item_bytes, 1, most[i]);
        t[0]->ops->destroy(t[0]);
        t[1]->ops->destroy(t[1]);
        sockets_teardown(w);
    }
}

static void test_out_of_memory(void **state)
{
    UNUSED(state);
    const int family = AF_UNIX;
    struct sockets *w = sockets_setup(&family);
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    w->heap.fail_at = w->heap.calls + 1;
    assert_null(make_pipe(w, fd[0]));
    assert_int_equal(fcntl(fd[0], F_GETFD), -1); /* it was taken over, and closed */
    close(fd[1]);
    sockets_teardown(w);
}

static void test_mapped_address(void **state)
{
    UNUSED(state);
    const int family = AF_INET6;
    if (!has_ipv6())
        skip();
    struct sockets *w = sockets_setup(&family);
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6};
    sa.sin6_addr.s6_addr[10] = sa.sin6_addr.s6_addr[11] = 0xff;
    sa.sin6_addr.s6_addr[12] = 127;
    sa.sin6_addr.s6_addr[15] = 1;
    socklen_t len = sizeof(sa);
    int listening = socket(AF_INET6, SOCK_STREAM, 0), off = 0;
    assert_int_equal(setsockopt(listening, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(listening, 1), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&sa, &len), 0);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    struct transport *t = make_pipe(w, fd);
    assert_non_null(t);
    char peer[64], expected[64];
    t->ops->peer(t, peer, sizeof(peer));
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", (unsigned)ntohs(sa.sin6_port));
    assert_string_equal(peer, expected);
    t->ops->destroy(t);
    close(listening);
    sockets_teardown(w);
}

static void note_ready(struct transport *t, unsigned events)
{
    unsigned *seen = t->up;
    *seen |= events;
}

/* A pipe that cannot be watched must not wait for ever: it ends. */
static void test_watch_refused(void **state)
{
    UNUSED(state);
    const int family = AF_INET;
    struct sockets *w = sockets_setup(&family);
    struct transport *t[2];
    unsigned seen = 0;
    uint8_t in[4];
    sockets_pair(w, t);
    t[0]->on_ready = note_ready;
    t[0]->up = &seen;
    assert_int_equal(t[0]->ops->recv(t[0], in, sizeof(in)), -ERR_AGAIN);
    refuse_watches = ENOSPC; /* /proc/sys/fs/epoll/max_user_watches is reached */
    transport_want(t[0], LOOP_READ);
    sockets_pump(w);
    refuse_watches = 0;
    assert_int_equal(seen & LOOP_READ, LOOP_READ);
    assert_int_equal(t[0]->ops->recv(t[0], in, sizeof(in)), -ERR_EOF);
    t[0]->ops->destroy(t[0]);
    t[1]->ops->destroy(t[1]);
    sockets_teardown(w);
}

/* Addresses that are cut, or of a family not known here, are no address; nothing behind len is read. */
static void test_odd_addresses(void **state)
{
    UNUSED(state);
    const int family = AF_INET;
    struct sockets *w = sockets_setup(&family);
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr odd = {.sa_family = AF_APPLETALK};
    const struct {
        const void *p;
        socklen_t len;
    } address[] = {{NULL, 0}, {&v4, 1}, {&v4, 2}, {&v4, sizeof(v4) - 1}, {&odd, sizeof(odd)}};
    for (unsigned i = 0; i < ARRAY_N(address); i++) {
        int fd[2];
        char peer[32];
        uint8_t *exact = test_malloc(address[i].len + 1u); /* unaligned, and nothing behind it */
        if (address[i].len != 0)
            memcpy(exact + 1, address[i].p, address[i].len);
        inet_pair(AF_INET, fd);
        struct transport *t = transport_tcp_new(&w->home, fd[0], exact + 1, address[i].len);
        assert_non_null(t);
        t->ops->peer(t, peer, sizeof(peer));
        assert_string_equal(peer, "unknown");
        t->ops->destroy(t);
        test_free(exact);
        close(fd[1]);
    }
    sockets_teardown(w);
}

int main(void)
{
    static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
    static const struct net_faults calm = {.buffer_bytes = 65536, .delay_ms_max = 3};
    static const struct net_faults nasty = {.buffer_bytes = 3000,
                                            .delay_ms_max = 50,
                                            .piece_max = 700,
                                            .again_pct = 20,
                                            .spurious_pct = 20,
                                            .hold_pct = 30};
    const struct transport_fixture sockets = {.setup = sockets_setup,
                                              .teardown = sockets_teardown,
                                              .make_pair = sockets_pair,
                                              .pump = sockets_pump,
                                              .bulk_bytes = 10u << 20};
    const struct transport_fixture sim = {.name = "sim, calm",
                                          .ops_name = "sim",
                                          .peer = "sim:",
                                          .setup = sim_setup,
                                          .teardown = sim_teardown,
                                          .make_pair = sim_pair,
                                          .pump = sim_pump,
                                          .reset = sim_reset,
                                          .bulk_bytes = 10u << 20,
                                          .param = &calm};
    struct transport_fixture tcp4 = sockets, tcp6 = sockets, un = sockets, sim_nasty = sim;
    tcp4.name = "tcp, IPv4";
    tcp4.ops_name = "tcp";
    tcp4.peer = "127.0.0.1:";
    tcp4.param = &families[0];
    tcp6.name = "tcp, IPv6";
    tcp6.ops_name = "tcp";
    tcp6.peer = "[::1]:";
    tcp6.param = &families[1];
    un.name = "unix";
    un.ops_name = "unix";
    un.peer = "unix:pid=";
    un.param = &families[2];
    sim_nasty.name = "sim, nasty";
    sim_nasty.param = &nasty;
    sim_nasty.bulk_bytes = 1u << 20;

    const struct CMUnitTest own[] = {
        cmocka_unit_test(test_size_of_a_pipe), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_mapped_address), cmocka_unit_test(test_watch_refused),
        cmocka_unit_test(test_odd_addresses),
    };
    int failed = transport_suite_run(&tcp4);
    if (has_ipv6())
        failed += transport_suite_run(&tcp6);
    else
        puts("tcp, IPv6: left out, this machine has no ::1");
    failed += transport_suite_run(&un);
    failed += transport_suite_run(&sim);
    failed += transport_suite_run(&sim_nasty);
    failed += run_ws("ws over tcp, IPv4", &tcp4);
    failed += run_ws("ws over unix", &un);
    failed += run_ws("ws over sim, calm", &sim);
    failed += run_ws("ws over sim, nasty", &sim_nasty);
    failed += cmocka_run_group_tests_name("sockets only", own, NULL, NULL);
    return failed;
}
