/* SPDX-License-Identifier: Apache-2.0 */
/*
 * addr.c: socket addresses as text, and errno as a cause.
 *
 *     sockaddr_in   127.0.0.1:1883
 *     sockaddr_in6  [::1]:1883, [fe80::1%2]:1883 (link-local: with the number of the interface)
 *     ::ffff:a.b.c.d, which only a socket that serves both families sees, is written as IPv4
 *     sockaddr_un   its path
 *
 * Invariants
 *   1. out is NUL-terminated whatever cap and the address are.
 *   2. No name is looked up: nothing here can block.
 * Thread  any.
 */
#include "transport/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static void text_v4(const struct in_addr *ip, uint16_t port, char *out, size_t cap)
{
    char host[INET_ADDRSTRLEN] = "?";
    inet_ntop(AF_INET, ip, host, sizeof(host));
    snprintf(out, cap, "%s:%u", host, (unsigned)ntohs(port));
}

static void text_v6(const struct sockaddr_in6 *sa, char *out, size_t cap)
{
    if (IN6_IS_ADDR_V4MAPPED(&sa->sin6_addr)) {
        struct in_addr ip;
        memcpy(&ip, sa->sin6_addr.s6_addr + 12, sizeof(ip));
        text_v4(&ip, sa->sin6_port, out, cap);
        return;
    }
    char host[INET6_ADDRSTRLEN] = "?", scope[16] = "";
    inet_ntop(AF_INET6, &sa->sin6_addr, host, sizeof(host));
    if (sa->sin6_scope_id != 0)
        snprintf(scope, sizeof(scope), "%%%u", (unsigned)sa->sin6_scope_id);
    snprintf(out, cap, "[%s%s]:%u", host, scope, (unsigned)ntohs(sa->sin6_port));
}

void addr_text(const void *sa, socklen_t len, char *out, size_t cap)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    } a;
    memset(&a, 0, sizeof(a));
    memcpy(&a, sa, len <= sizeof(a) ? len : 0);
    if (a.any.sa_family == AF_INET && len >= sizeof(a.v4)) {
        text_v4(&a.v4.sin_addr, a.v4.sin_port, out, cap);
    } else if (a.any.sa_family == AF_INET6 && len >= sizeof(a.v6)) {
        text_v6(&a.v6, out, cap);
    } else if (a.any.sa_family == AF_UNIX && len > offsetof(struct sockaddr_un, sun_path)) {
        size_t room = len - offsetof(struct sockaddr_un, sun_path); /* a full sun_path has no NUL */
        snprintf(out, cap, "%.*s", (int)room, a.un.sun_path);
    } else {
        snprintf(out, cap, "unknown");
    }
}

const char *addr_cause(int error_number)
{
    switch (error_number) {
    case EADDRINUSE:
        return "address already in use";
    case EADDRNOTAVAIL:
        return "this machine does not have that address";
    case EACCES:
    case EPERM:
        return "permission denied";
    case EAFNOSUPPORT:
        return "this system does not speak that address family";
    case EMFILE:
        return "this process has too many files open (raise the limit: ulimit -n, LimitNOFILE=)";
    case ENFILE:
        return "the system has too many files open";
    case ENOMEM:
    case ENOBUFS:
        return "out of memory";
    case ENOENT:
        return "the directory does not exist";
    case ENOTDIR:
        return "a part of the path is not a directory";
    case EROFS:
        return "the file system is read-only";
    default:
        return strerror(error_number);
    }
}
