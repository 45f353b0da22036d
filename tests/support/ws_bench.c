/* SPDX-License-Identifier: Apache-2.0 */
/* ws_bench.c: see ws_bench.h. */
#include "tests/support/ws_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/loop.h"

/* ---- the pipe below ------------------------------------------------------------------------------------------ */

static struct ws_bench_lower *lower_of(struct transport *t)
{
    return CONTAINER_OF(t, struct ws_bench_lower, base);
}

static ptrdiff_t lower_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct ws_bench_lower *l = lower_of(t);
    size_t n = MIN(cap, l->in_n - l->in_at);
    l->recv_calls++;
    assert_true(cap > 0);
    if (l->is_broken)
        return -ERR_RESET;
    if (l->recv_max != 0)
        n = MIN(n, l->recv_max);
    if (n == 0)
        return l->is_eof ? -ERR_EOF : -ERR_AGAIN;
    memcpy(out, l->in + l->in_at, n);
    l->in_at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t lower_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct ws_bench_lower *l = lower_of(t);
    size_t taken = 0;
    assert_true(n > 0 && l->shut_calls == 0);
    if (l->is_broken)
        return -ERR_RESET;
    for (int i = 0; i < n; i++) {
        size_t part = MIN(iov[i].iov_len, l->room);
        memcpy(l->out + l->out_n, iov[i].iov_base, part);
        l->out_n += part;
        l->room -= part;
        taken += part;
    }
    return taken > 0 ? (ptrdiff_t)taken : -ERR_AGAIN;
}

static void lower_want(struct transport *t, unsigned interest)
{
    lower_of(t)->wanted = interest;
}

static bool lower_pending(struct transport *t)
{
    const struct ws_bench_lower *l = lower_of(t);
    return l->is_holding && l->in_at < l->in_n;
}

static void lower_shut(struct transport *t)
{
    lower_of(t)->shut_calls++;
}

static void lower_destroy(struct transport *t)
{
    assert_false(lower_of(t)->is_gone);
    lower_of(t)->is_gone = true;
}

static void lower_peer(struct transport *t, char *out, size_t cap)
{
    UNUSED(t);
    (void)snprintf(out, cap, "below");
}

static const struct transport_ops lower_ops = {.name = "lower",
                                               .recv = lower_recv,
                                               .sendv = lower_sendv,
                                               .want = lower_want,
                                               .pending = lower_pending,
                                               .shut = lower_shut,
                                               .destroy = lower_destroy,
                                               .peer = lower_peer};

/* ---- a pipe between ------------------------------------------------------------------------------------------ */

static void note(struct transport *t, unsigned events)
{
    struct ws_bench *b = t->up;
    b->events |= events;
}

void ws_bench_open(struct ws_bench *b, struct slice hello, struct slice first)
{
    b->ws = transport_ws_new(&b->home, &b->low.base, hello, first);
    if (b->ws == NULL)
        return;
    b->ws->up = b;
    b->ws->on_ready = note;
    transport_want(b->ws, LOOP_READ);
}

struct ws_bench *ws_bench_new(void)
{
    struct ws_bench *b = test_calloc(1, sizeof(*b));
    mem_heap_init(&b->heap);
    mem_init(&b->mem, &b->heap, "ws");
    ws_home_init(&b->home, &b->mem, WS_BENCH_MESSAGE_MAX);
    b->low.base.ops = &lower_ops;
    b->low.room = sizeof(b->low.out);
    return b;
}

struct ws_bench *ws_bench_ready(void)
{
    struct ws_bench *b = ws_bench_new();
    ws_bench_open(b, SLICE(""), SLICE(""));
    assert_non_null(b->ws);
    return b;
}

void ws_bench_free(struct ws_bench *b)
{
    if (b->ws != NULL) {
        transport_destroy(b->ws);
        assert_true(b->low.is_gone);
    }
    ws_home_fini(&b->home);
    assert_int_equal(b->heap.bytes, 0);
    test_free(b);
}

void ws_bench_idle(const struct ws_bench *b)
{
    assert_int_equal(b->mem.blocks, 1); /* the pool's slab */
}

void ws_bench_arrive(struct ws_bench *b, struct slice bytes)
{
    memcpy(b->low.in + b->low.in_n, bytes.p, bytes.len);
    b->low.in_n += bytes.len;
}

void ws_bench_recv(struct ws_bench *b, const char *expected)
{
    uint8_t buf[4096];
    ptrdiff_t n = transport_recv(b->ws, buf, sizeof(buf));
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(buf, expected, strlen(expected));
}

ptrdiff_t ws_bench_recv_end(struct ws_bench *b)
{
    uint8_t buf[4096];
    return transport_recv(b->ws, buf, sizeof(buf));
}

ptrdiff_t ws_bench_send(struct ws_bench *b, const char *text)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)text, 1}, {(void *)(uintptr_t)(text + 1), strlen(text) - 1}};
    return transport_sendv(b->ws, iov, text[1] != 0 ? 2 : 1);
}

void ws_bench_out(struct ws_bench *b, struct slice expected)
{
    assert_int_equal(b->low.out_n, expected.len);
    assert_memory_equal(b->low.out, expected.p, expected.len);
    b->low.out_n = 0;
}

void ws_bench_room(struct ws_bench *b, size_t room)
{
    b->low.room = room;
    if ((b->low.wanted & LOOP_WRITE) != 0)
        b->low.base.on_ready(&b->low.base, LOOP_WRITE);
}
