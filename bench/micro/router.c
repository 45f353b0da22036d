/* SPDX-License-Identifier: Apache-2.0 */
/*
 * router.c: who wants this topic, among 1,000, 100,000 and 1,000,000 subscriptions? Each topic has exactly one of them,
 * so that the answer can be checked and the figures of the sizes compared.
 *
 *     exact      site/<i / 1000>/dev/<i % 1000>         wildcard   site/<i / 1000>/+/<i % 1000>
 *
 * hot: router_route, 64 topics in turn, answered from the cache. cold: router_match, all topics in random order, always
 * through the trie.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/micro/stage.h"
#include "core/base/rng.h"
#include "core/exchange.h"
#include "core/queue.h"
#include "core/router.h"

enum { QUEUES = 1000, HOT_TOPICS = 64, ORDER_N = 1u << 16, TEXT_BYTES = 32 };

#define IS_WILDCARD (UINT64_C(1) << 32) /* in micro.arg, beside the number of subscriptions */

struct bound {
    struct stage *stage;
    struct router *router;
    struct exchange *exchange;
    struct queue *queue[QUEUES];
    uint32_t n;
    char *topic; /* ORDER_N texts of TEXT_BYTES, NUL included: the topics asked for, in that order */
    uint8_t *topic_len;
    uint32_t *wanted; /* ORDER_N: the queue of each */
};

static const struct adapter_ops *const no_adapters[] = {NULL};

static void bind(struct bound *b, uint32_t i, bool is_wildcard)
{
    char text[TEXT_BYTES];
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter f;
    struct binding *made;
    bool is_new;
    int n = snprintf(text, sizeof text, "site/%u/%s/%u", i / 1000, is_wildcard ? "+" : "dev", i % 1000);
    if (filter_from_mqtt(slice_make(text, (size_t)n), tok, &f) != ERR_OK ||
        router_bind(b->router, b->exchange, &f, b->queue[i % QUEUES], &(struct binding_opts){0}, &made, &is_new) !=
            ERR_OK ||
        !is_new)
        micro_die("subscription %u could not be made", i);
}

static void *open_bound(const struct micro *m)
{
    struct bound *b = micro_take(1, sizeof *b);
    b->stage = stage_new(no_adapters);
    struct vhost *v = b->stage->shard->vhost;
    b->router = &v->router;
    b->exchange = v->topic_exchange;
    b->n = (uint32_t)m->arg;
    for (uint32_t i = 0; i < QUEUES; i++)
        b->queue[i] = micro_must(queue_new(v, slice_make(NULL, 0), &v->policy_session, false, NULL));
    for (uint32_t i = 0; i < b->n; i++)
        bind(b, i, (m->arg & IS_WILDCARD) != 0);
    b->topic = micro_take(ORDER_N, TEXT_BYTES);
    b->topic_len = micro_take(ORDER_N, 1);
    b->wanted = micro_take(ORDER_N, sizeof *b->wanted);
    struct rng rng;
    rng_init(&rng, 1);
    for (uint32_t i = 0; i < ORDER_N; i++) {
        uint32_t at = rng_below(&rng, b->n);
        b->topic_len[i] =
            (uint8_t)snprintf(b->topic + i * TEXT_BYTES, TEXT_BYTES, "site/%u/dev/%u", at / 1000, at % 1000);
        b->wanted[i] = at % QUEUES;
    }
    return b;
}

static void close_bound(void *ctx)
{
    struct bound *b = ctx;
    stage_free(b->stage);
    free(b->topic);
    free(b->topic_len);
    free(b->wanted);
    free(b);
}

static struct slice topic_at(const struct bound *b, uint32_t i)
{
    return slice_make(b->topic + i * TEXT_BYTES, b->topic_len[i]);
}

static void route_hot(void *ctx, uint64_t n, struct lap *out)
{
    struct bound *b = ctx;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)i & (HOT_TOPICS - 1);
        const struct route *r = router_route(b->router, b->exchange, topic_at(b, at));
        out->done += r != NULL && r->target_n == 1 && r->target[0].queue == b->queue[b->wanted[at]];
    }
}

static void match_cold(void *ctx, uint64_t n, struct lap *out)
{
    struct bound *b = ctx;
    const struct match_set *found = &b->router->match;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)i & (ORDER_N - 1);
        enum err e = router_match(b->router, b->exchange, topic_at(b, at));
        out->done += e == ERR_OK && found->n == 1 && found->v[0]->queue == b->queue[b->wanted[at]];
    }
}

#define CASE(size, size_text, kind, kind_text, bits)                                                                   \
    {"router/" kind "-" size_text "-hot",                                                                              \
     "a topic among " size_text " " kind_text " subscriptions, from the cache",                                        \
     (size) | (bits),                                                                                                  \
     open_bound,                                                                                                       \
     route_hot,                                                                                                        \
     close_bound,                                                                                                      \
     0},                                                                                                               \
    {                                                                                                                  \
        "router/" kind "-" size_text "-cold", "the same through the trie, topics at random", (size) | (bits),          \
            open_bound, match_cold, close_bound, 0                                                                     \
    }

static const struct micro cases[] = {
    CASE(1000, "1k", "exact", "exact", 0),     CASE(1000, "1k", "wild", "wildcard", IS_WILDCARD),
    CASE(100000, "100k", "exact", "exact", 0), CASE(100000, "100k", "wild", "wildcard", IS_WILDCARD),
    CASE(1000000, "1m", "exact", "exact", 0),  CASE(1000000, "1m", "wild", "wildcard", IS_WILDCARD),
};

struct micro_table micro_router(void)
{
    return (struct micro_table){cases, ARRAY_N(cases)};
}
