/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TRANSPORT_TCP_H
#define WEIR_TRANSPORT_TCP_H

/* tcp.h: a connected stream socket (TCP over IPv4 or IPv6, or unix) as a pipe; the bottom of every stack. */

#include "core/base/check.h"
#include "core/transport.h"

struct loop;
struct mem;

/* transport_tcp_new: the pipe over `fd`, a connected stream socket that does not block.
 *
 *   loop   what will watch it; must outlive the pipe
 *   mem    pays for it (about 120 bytes)
 *   fd     taken over: closed by destroy, and also when this fails
 *
 * Nothing is watched until want() is called. ops->name is "tcp" or "unix", by the socket's family. NULL when out of
 * memory.
 */
struct transport *transport_tcp_new(struct loop *loop, struct mem *mem, int fd) MUST_CHECK;

#endif
