/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_world.c: the caller of a log. runner_now stands for the threads: what a lane has done is told in log_turn, so a
 * test sees a batch under way for as long as it likes. on_durable and on_failed check what core/store.h says of them.
 *
 * Thread: one.
 */
#include "tests/support/log_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "persist/runner.h"

enum { TURNS_MAX = 1000, TARGETS_MAX = 64 };

static void write_line(void *ctx, enum log_level level, const char *line)
{
    struct log_world *w = ctx;
    buf_printf(&w->lines, "%s: %s\n", log_level_name(level), line);
}

static void on_durable(void *ctx, lsn_t lsn)
{
    struct log_world *w = ctx;
    assert_false(w->in_append);
    assert_int_equal(w->failed, 0);
    assert_true(lsn > w->durable);
    w->durable = lsn;
    w->durable_calls++;
}

static void on_failed(void *ctx)
{
    struct log_world *w = ctx;
    assert_false(w->in_append);
    assert_int_equal(w->failed, 0);
    w->failed++;
}

void log_world_init(struct log_world *w, struct disk *(*disk)(void *ctx), void *ctx)
{
    *w = (struct log_world){.disk = disk, .ctx = ctx, .now = 1000};
    mem_heap_init(&w->heap);
    mem_heap_init(&w->own_heap);
    mem_init(&w->mem, &w->heap, "store");
    mem_init(&w->own, &w->own_heap, "test");
    msg_pool_init(&w->msgs, &w->mem);
    msg_pool_init(&w->own_msgs, &w->own);
    buf_init(&w->lines, &w->own);
    buf_init(&w->seen, &w->own);
    log_init(&w->log);
    w->log.level = LOG_INFO;
    w->log.write = write_line;
    w->log.ctx = w;
    w->config = (struct store_log_config){.segment_bytes = 65536, .seed = 1};
}

void log_world_fini(struct log_world *w)
{
    log_world_close(w);
    msg_pool_fini(&w->msgs);
    assert_int_equal(w->heap.bytes, 0);
    buf_fini(&w->lines);
    buf_fini(&w->seen);
    msg_pool_fini(&w->own_msgs);
    assert_int_equal(w->own_heap.bytes, 0);
}

/* ---- lives --------------------------------------------------------------------------------------------------- */

void log_show(struct buf *b, const struct store_rec *r)
{
    static const char *const name[] = {
        [STORE_PUBLISH] = "PUBLISH", [STORE_RETAIN] = "RETAIN", [STORE_SESSION] = "SESSION",   [STORE_QUEUE] = "QUEUE",
        [STORE_BIND] = "BIND",       [STORE_MEMBER] = "MEMBER", [STORE_EXCHANGE] = "EXCHANGE", [STORE_WILL] = "WILL"};
    assert_non_null(name[r->kind]);
    buf_printf(b, "%llu %s", (unsigned long long)r->lsn, name[r->kind]);
    if (r->msg != NULL) {
        struct msgview v;
        msg_view(r->msg, &v);
        if (v.payload.len <= 32)
            buf_printf(b, " " SLICE_FMT "=" SLICE_FMT, SLICE_ARG(v.topic), SLICE_ARG(v.payload));
        else
            buf_printf(b, " " SLICE_FMT "=%zu bytes", SLICE_ARG(v.topic), v.payload.len);
    }
    if (r->kind == STORE_SESSION)
        buf_printf(b, " %llu", (unsigned long long)r->session);
    if (r->kind == STORE_QUEUE)
        buf_printf(b, " %llu", (unsigned long long)r->queue);
    for (uint32_t i = 0; i < r->target_n; i++) {
        const struct store_target *t = &r->target[i];
        buf_printf(b, "%s%llu", i == 0 ? " -> " : " ", (unsigned long long)t->queue);
        if (t->progress != STORE_WAITS)
            buf_printf(b, "%s%u", t->progress == STORE_WAS_SENT ? "s" : "r", t->ticket);
        if (t->returns != 0)
            buf_printf(b, "+%u", t->returns);
    }
    if (r->rx_id != 0)
        buf_printf(b, " rx=%llu/%u", (unsigned long long)r->session, r->rx_id);
    buf_put_str(b, "\n");
}

static enum err visit(const struct store_rec *rec, void *ctx)
{
    struct log_world *w = ctx;
    log_show(&w->seen, rec);
    w->seen_n++;
    return ERR_OK;
}

static struct store *make(struct log_world *w)
{
    w->runner = runner_now_new(&w->own);
    w->config.runner = w->runner;
    w->config.disk = disk_fault_new(&w->own, w->disk(w->ctx), &w->faults);
    w->config.log = &w->log;
    assert_non_null(w->config.disk);
    return store_log_new(&w->mem, &w->config);
}

enum err log_world_try(struct log_world *w)
{
    assert_null(w->store);
    w->durable = 0;
    w->durable_calls = w->failed = w->seen_n = 0;
    buf_clear(&w->seen);
    struct store *s = make(w);
    if (s == NULL)
        return ERR_NOMEM;
    s->on_durable = on_durable;
    s->on_failed = on_failed;
    s->ctx = w;
    s->msgs = &w->msgs;
    enum err e = s->ops->open(s);
    s->clock = 1000000;
    s->now = w->now;
    if (e == ERR_OK)
        e = s->ops->replay(s, visit, w);
    if (e != ERR_OK) {
        s->ops->close(s);
        return e;
    }
    buf_put_u8(&w->seen, 0);
    w->store = s;
    return ERR_OK;
}

void log_world_open(struct log_world *w)
{
    assert_int_equal(log_world_try(w), ERR_OK);
}

void log_world_close(struct log_world *w)
{
    struct store *s = w->store;
    w->store = NULL;
    if (s != NULL)
        s->ops->close(s);
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

void log_turn(struct log_world *w)
{
    w->store->now = w->now;
    w->due = w->store->ops->submit(w->store, w->now);
    assert_true(w->due > w->now || w->due == MONO_NEVER);
    runner_turn(w->runner);
}

void log_wait(struct log_world *w)
{
    unsigned n = 0;
    do {
        w->store->now = w->now;
        w->due = w->store->ops->submit(w->store, w->now);
        assert_true(++n < TURNS_MAX);
    } while (runner_turn(w->runner));
}

void log_pass(struct log_world *w, mono_ms ms)
{
    mono_ms end = w->now + ms;
    for (log_wait(w); w->due <= end; log_wait(w))
        w->now = w->due;
    w->now = end;
    log_wait(w);
}

/* ---- records ------------------------------------------------------------------------------------------------- */

lsn_t log_append(struct log_world *w, const struct store_rec *rec)
{
    w->in_append = true;
    lsn_t lsn = w->store->ops->append(w->store, rec);
    w->in_append = false;
    return lsn;
}

static lsn_t publish(struct log_world *w, const struct msgview *v, uint32_t n, uint64_t first, uint8_t flags)
{
    struct store_target to[TARGETS_MAX] = {0};
    assert_true(n <= TARGETS_MAX);
    for (uint32_t i = 0; i < n; i++)
        to[i].queue = first + i;
    struct msg *m = msg_new(&w->own_msgs, v);
    assert_non_null(m);
    lsn_t lsn = log_append(
        w, &(struct store_rec){.kind = STORE_PUBLISH, .msg = m, .target = to, .target_n = n, .flags = flags});
    msg_drop(m);
    return lsn;
}

lsn_t log_publish(struct log_world *w, const char *topic, const char *payload, uint64_t queue, uint8_t flags)
{
    struct msgview v = {.topic = slice_from_str(topic), .payload = slice_from_str(payload), .qos = 1};
    return publish(w, &v, 1, queue, flags);
}

lsn_t log_publish_to(struct log_world *w, const char *topic, uint32_t bytes, uint32_t n, uint8_t flags)
{
    uint8_t *payload = mem_alloc(&w->own, bytes + 1);
    assert_non_null(payload);
    memset(payload, 'x', bytes);
    struct msgview v = {.topic = slice_from_str(topic), .payload = slice_make(payload, bytes), .qos = 1};
    lsn_t lsn = publish(w, &v, n, 1, flags);
    mem_free(&w->own, payload);
    return lsn;
}

lsn_t log_settle(struct log_world *w, uint64_t queue, lsn_t of)
{
    return log_append(w, &(struct store_rec){.kind = STORE_SETTLE, .queue = queue, .of = of});
}

lsn_t log_sent(struct log_world *w, uint64_t queue, lsn_t of, uint16_t ticket)
{
    return log_append(w, &(struct store_rec){.kind = STORE_SENT, .queue = queue, .of = of, .ticket = ticket});
}

void log_expect(struct log_world *w, const char *lines)
{
    log_wait(w);
    log_world_close(w);
    log_world_open(w);
    assert_string_equal((const char *)w->seen.p, lines);
}
