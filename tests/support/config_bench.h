/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_CONFIG_BENCH_H
#define WEIR_TESTS_CONFIG_BENCH_H

/* config_bench.h: a configuration read from a text, and what was said about it. Include it behind cmocka. */

#include "app/config.h"
#include "core/base/buf.h"

static const char *const protocols[] = {"mqtt", "stomp", "websockets", NULL};

struct bench {
    struct mem_heap heap;
    struct mem mem;
    struct buf said;
    struct config config;
};

static inline void on_say(void *ctx, enum log_level level, const char *line)
{
    buf_printf(ctx, "%s: %s\n", level == LOG_WARN ? "warning" : level == LOG_ERROR ? "error" : "note", line);
}

static inline void begin(struct bench *b)
{
    mem_heap_init(&b->heap);
    mem_init(&b->mem, &b->heap, "test");
    buf_init(&b->said, &b->mem);
    config_init(&b->config, &b->mem, protocols, on_say, &b->said);
}

static inline void end(struct bench *b)
{
    config_fini(&b->config);
    buf_fini(&b->said);
    assert_int_equal(b->heap.bytes, 0);
}

static inline enum err load(struct bench *b, const char *text)
{
    begin(b);
    enum err e = config_text(&b->config, "f", slice_from_str(text));
    return e == ERR_OK ? config_finish(&b->config, -1) : e;
}

static inline const char *said(struct bench *b)
{
    buf_put_u8(&b->said, 0);
    assert_false(buf_is_bad(&b->said));
    return (const char *)b->said.p;
}

/* n'th listener. */
static inline struct config_listener *listener(struct bench *b, unsigned n)
{
    struct list_node *node = list_first(&b->config.listeners);
    while (n-- > 0 && node != NULL)
        node = list_next(&b->config.listeners, node);
    return node != NULL ? LIST_ITEM(node, struct config_listener, node) : NULL;
}

#endif
