/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_TRANSPORT_H
#define WEIR_CORE_TRANSPORT_H

/*
 * transport.h: the seam to byte pipes. A pipe is duplex, ordered and reliable until it ends. Pipes stack: tls sits on
 * tcp, ws on either; each knows only "next". Implementations: transport/tcp.c (also unix sockets), later tls, ws;
 * tests/sim/net_sim.c.
 *
 * Life: made by a listener (or a stack step) → attached to a conn (up, on_ready set) → recv/sendv/want ... → shut →
 * destroy. No call blocks. Thread: the shard's own.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/base/err.h"

struct transport;

struct transport_ops {
    const char *name;  /* "tcp", "unix", "sim", ... */
    bool has_farewell; /* shut says goodbye in the pipe's own words, so it is called even if both sides said theirs */

    /* recv: up to cap > 0 bytes into out. Returns the bytes (> 0), or -ERR_AGAIN, -ERR_EOF (the peer will send no
     * more; sending may still work), -ERR_RESET; -ERR_PROTOCOL, -ERR_TOO_BIG: the peer broke the pipe's own rules (a
     * bad WebSocket frame), has been told, and the pipe is as good as closed. Fewer bytes than cap does not mean the
     * pipe is empty. */
    ptrdiff_t (*recv)(struct transport *, uint8_t *out, size_t cap);

    /* sendv: takes bytes from the front of iov[n]. Returns the bytes taken (> 0), -ERR_AGAIN or -ERR_RESET. Bytes
     * taken belong to the pipe: the caller forgets them, even if they are not on the wire yet. */
    ptrdiff_t (*sendv)(struct transport *, const struct iovec *iov, int n);

    /* want: which readiness to report: LOOP_READ | LOOP_WRITE. A pipe may poll for something else below (TLS). */
    void (*want)(struct transport *, unsigned interest);

    /* pending: true when recv would return bytes without the fd becoming ready (buffered in the pipe). */
    bool (*pending)(struct transport *);

    /* shut: no more bytes will be sent; what was taken still goes out if it can. Receiving goes on. Idempotent. */
    void (*shut)(struct transport *);

    /* destroy: closes and frees this pipe and everything below it. No callback afterwards. */
    void (*destroy)(struct transport *);

    /* peer: text for people and logs, e.g. "127.0.0.1:40312", always NUL-terminated within cap > 0. */
    void (*peer)(struct transport *, char *out, size_t cap);
};

/* First member of every pipe. */
struct transport {
    const struct transport_ops *ops;
    /* on_ready: set by the conn; called by the pipe with LOOP_READ | LOOP_WRITE; only takes note. */
    void (*on_ready)(struct transport *, unsigned events);
    void *up; /* the conn */
};

/* The slots, called by name. */
static inline ptrdiff_t transport_recv(struct transport *t, uint8_t *out, size_t cap)
{
    return t->ops->recv(t, out, cap);
}

static inline ptrdiff_t transport_sendv(struct transport *t, const struct iovec *iov, int n)
{
    return t->ops->sendv(t, iov, n);
}

static inline void transport_want(struct transport *t, unsigned interest)
{
    t->ops->want(t, interest);
}

static inline void transport_destroy(struct transport *t)
{
    t->ops->destroy(t);
}

#endif
