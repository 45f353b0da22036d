/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TRANSPORT_ADDR_H
#define WEIR_TRANSPORT_ADDR_H

/* addr.h: socket addresses as text for people, and errno as a cause. Pure. */

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* ADDR_TEXT_MAX: enough for every text addr_text makes, NUL included ("[" + 45 + "%" + 10 + "]:65535", or a unix path).
 */
#define ADDR_TEXT_MAX 128u

/* addr_text: "127.0.0.1:1883", "[::1]:1883", "/run/weir.sock"; an IPv4 address in IPv6 clothes is written as IPv4;
 * "unknown" for other families and for len 0.
 *
 *   sa[len]   as the system filled it in; need not be aligned
 *   out[cap]  always NUL-terminated, cut if too small; cap > 0
 */
void addr_text(const void *sa, socklen_t len, char *out, size_t cap);

/* addr_cause: why a socket call failed, in words that fit behind a colon, with the cure where one is known. Static. */
const char *addr_cause(int error_number);

#endif
