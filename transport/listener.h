/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TRANSPORT_LISTENER_H
#define WEIR_TRANSPORT_LISTENER_H

/*
 * listener.h: where connections come from: one port on one or several addresses, or one unix socket. A listener makes
 * pipes and hands them on; it knows neither connections nor protocols.
 *
 *     listener_open ─► on_accept(ctx, pipe) * ─► listener_close
 *
 * Thread: the shard's own. listener_open may block (it resolves names), so it belongs to the start of the program.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/transport.h"

struct listener;
struct log;
struct mem;
struct tcp_home;

#define LISTENER_BACKLOG     1024 /* connections the system keeps for us; it may cut this (net.core.somaxconn) */
#define LISTENER_ACCEPT_MAX  64u  /* taken per wake-up and socket, so that a storm leaves time for those inside */
#define LISTENER_PAUSE_MS    100u /* no accepting for this long when files or memory ran out */
#define LISTENER_SOCKETS_MAX 16u  /* addresses of one name */

enum listener_nagle { LISTENER_NAGLE_OFF, LISTENER_NAGLE_ON }; /* off: TCP_NODELAY is set */

struct listener_config {
    struct tcp_home *home; /* of the pipes it makes, and its loop is the listener's; borrowed until close, as are: */
    struct mem *mem;       /* pays for the listener */
    struct log *log;
    const char *address;   /* name or number, "::1" or "[::1]"; NULL or "": every address of both families */
    uint16_t port;         /* 0: any free one */
    const char *unix_path; /* not NULL: a unix socket there; address and port are not used */
    int backlog;           /* 0: LISTENER_BACKLOG */
    unsigned accept_max;   /* 0: LISTENER_ACCEPT_MAX */
    enum listener_nagle nagle;

    /* on_accept: takes the pipe over. Called while the loop reports readiness, so it only makes and notes; must not
     * close the listener. */
    void (*on_accept)(void *ctx, struct transport *t);
    void *ctx;
};

/* listener_open — binds, listens and watches.
 *
 *   config        read during the call only; the strings are copied
 *   out_why[cap]  written on failure: one line for people, e.g.
 *                 "cannot listen on 127.0.0.1:1883: address already in use"
 *
 * A name with several addresses is bound on all of them with the same port (port 0: the first picks, the others
 * follow); an address of it that this machine does not have (IPv6 switched off) is left out, as long as one remains.
 * IPv6 sockets serve IPv6 only, so both families can use one port. A unix socket file left by a dead program is
 * removed, one that somebody answers on is not. NULL on failure.
 */
struct listener *listener_open(const struct listener_config *config, char *out_why, size_t cap) MUST_CHECK;

/* listener_close: stops accepting, closes the sockets and removes the unix socket's file if it is still ours. Pipes
 * already handed on live on. NULL is fine. */
void listener_close(struct listener *l);

/* listener_port: the port bound, host byte order; 0 for a unix socket. */
uint16_t listener_port(const struct listener *l);

/* listener_text: where socket number i (0, 1 ...) listens, e.g. "[::1]:1883"; false when there is no such socket (out
 * is untouched then). */
bool listener_text(const struct listener *l, unsigned i, char *out, size_t cap);

#endif
