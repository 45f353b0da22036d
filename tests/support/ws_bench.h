/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_WS_BENCH_H
#define WEIR_TESTS_WS_BENCH_H

/*
 * ws_bench.h: a WebSocket pipe over a pipe that does what it is told: reads of one byte, writes that stop anywhere, no
 * memory. Cmocka's assertions inside.
 *
 *     struct ws_bench *b = ws_bench_ready();
 *     ws_bench_arrive(b, SLICE("\x82\x81" M0 "a"));    from the peer
 *     ws_bench_recv(b, "a");                           what the pipe makes of it
 *     ws_bench_out(b, SLICE("\x82\x01" "b"));          what it sent
 *     ws_bench_free(b);                                every byte is back
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/mem.h"
#include "core/base/slice.h"
#include "core/transport.h"
#include "transport/ws.h"

#define WS_BENCH_MESSAGE_MAX 5000u
#define M0                   "\0\0\0\0" /* a mask that changes nothing */

struct ws_bench_lower {
    struct transport base;
    uint8_t in[4096], out[16384];
    size_t in_at, in_n, out_n;
    size_t recv_max; /* bytes one recv gives; 0: all */
    size_t room;     /* bytes taken before ERR_AGAIN */
    unsigned wanted, recv_calls, shut_calls;
    bool is_eof, is_broken, is_gone, is_holding; /* holding: what is unread is pending */
};

struct ws_bench {
    struct mem_heap heap;
    struct mem mem;
    struct ws_home home;
    struct ws_bench_lower low;
    struct transport *ws;
    unsigned events; /* reported above */
};

/* ws_bench_new: nothing but the pipe below; ws_bench_open: the WebSocket on it, NULL in b->ws when out of memory;
 * ws_bench_ready: both, nothing said yet. */
struct ws_bench *ws_bench_new(void);
void ws_bench_open(struct ws_bench *b, struct slice hello, struct slice first);
struct ws_bench *ws_bench_ready(void);
void ws_bench_free(struct ws_bench *b);

/* ws_bench_idle: asserts that nothing is allocated but the pipe itself. */
void ws_bench_idle(const struct ws_bench *b);

/* ws_bench_arrive: the peer has sent these bytes. */
void ws_bench_arrive(struct ws_bench *b, struct slice bytes);

/* ws_bench_recv: asserts that one recv gives this. ws_bench_recv_end: what one recv returns. */
void ws_bench_recv(struct ws_bench *b, const char *expected);
ptrdiff_t ws_bench_recv_end(struct ws_bench *b);

/* ws_bench_send: offers text in two pieces; what sendv returns. */
ptrdiff_t ws_bench_send(struct ws_bench *b, const char *text);

/* ws_bench_out: asserts what went out since the last look. */
void ws_bench_out(struct ws_bench *b, struct slice expected);

/* ws_bench_room: the peer has read; WRITE is reported as far as it is wanted. */
void ws_bench_room(struct ws_bench *b, size_t room);

#endif
