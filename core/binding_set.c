/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binding_set.c: through which bindings a message came, merged into one number per queue.
 *
 *     {qos, retain-as-published}             0..5: needs no memory
 *     {... and subscription ids 7, 12, 400}  6 + index in queue->set, interned
 *
 * Invariants
 *   1. A set that an entry refers to (refs), or a route of this router generation may (gen), is never reused.
 *   2. sub_id is sorted; two sets of one queue are never equal while both are in use.
 * Cost    24 bytes and 4 per id for each set; interning O(sets of the queue).
 * Thread  own shard only.
 * Spec    MQTT 5 §3.3.2.3.8 [MQTT-3.3.4-3] to [MQTT-3.3.4-5].
 */
#include "core/queue.h"
#include "core/shard.h"

enum { SETS_FRESH_MAX = 1024 }; /* binding sets of one router generation */

static bool set_is(const struct binding_set *b, uint8_t qos, bool rap, const uint32_t *sub_id, uint16_t n)
{
    return b->qos == qos && b->retain_as_published == rap && b->sub_id_n == n &&
           memcmp(b->sub_id, sub_id, n * sizeof *sub_id) == 0;
}

/* set_reusable: one that no entry and no valid route can refer to. */
static struct binding_set *set_reusable(struct queue *q, struct mem *mem)
{
    for (uint32_t i = 0; i < q->set_n; i++) {
        struct binding_set *b = &q->set[i];
        if (b->refs == 0 && b->gen != q->vhost->router.gen) {
            mem_free(mem, b->sub_id);
            *b = (struct binding_set){0};
            return b;
        }
    }
    return NULL;
}

/* set_slot: a place for one more set. When one router generation made many, a new generation makes those reusable that
 * no entry refers to; routes are then made anew. */
static struct binding_set *set_slot(struct queue *q, struct mem *mem)
{
    struct binding_set *b = set_reusable(q, mem);
    if (!b && q->set_n >= SETS_FRESH_MAX) {
        router_touch(&q->vhost->router);
        b = set_reusable(q, mem);
    }
    if (b)
        return b;
    if (q->set_n == 0 || (q->set_n >= 4 && (q->set_n & (q->set_n - 1)) == 0)) { /* full up to a power of two */
        struct binding_set *grown = mem_realloc(mem, q->set, MAX(4u, q->set_n * 2u) * sizeof *grown);
        if (!grown)
            return NULL;
        q->set = grown;
    }
    q->set[q->set_n] = (struct binding_set){0};
    return &q->set[q->set_n++];
}

uint32_t queue_set_intern(struct queue *q, uint8_t qos, bool retain_as_published, const uint32_t *sub_id, uint16_t n)
{
    if (n == 0)
        return qos + (retain_as_published ? 3u : 0u);
    for (uint32_t i = 0; i < q->set_n; i++) {
        if (set_is(&q->set[i], qos, retain_as_published, sub_id, n)) {
            q->set[i].gen = q->vhost->router.gen;
            return i + SET_PLAIN_N;
        }
    }
    if (q->set_n == UINT16_MAX)
        return qos + (retain_as_published ? 3u : 0u); /* 65,535 combinations wait in this queue: it loses the ids */
    struct mem *mem = shard_mem(q->vhost->shard, MEM_QUEUE);
    uint32_t *ids = mem_alloc(mem, n * sizeof *ids);
    struct binding_set *b = ids ? set_slot(q, mem) : NULL;
    if (!b) {
        mem_free(mem, ids);
        return UINT32_MAX;
    }
    memcpy(ids, sub_id, n * sizeof *ids);
    *b = (struct binding_set){.gen = q->vhost->router.gen,
                              .qos = qos,
                              .retain_as_published = retain_as_published,
                              .sub_id_n = n,
                              .sub_id = ids};
    return (uint32_t)(b - q->set) + SET_PLAIN_N;
}

const struct binding_set queue_plain_set[SET_PLAIN_N] = {
    {.qos = 0},
    {.qos = 1},
    {.qos = 2},
    {.qos = 0, .retain_as_published = 1},
    {.qos = 1, .retain_as_published = 1},
    {.qos = 2, .retain_as_published = 1},
};
