/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msg.c: the lasting form of a message: one block, made once per publish, shared by everything that keeps it.
 *
 *     ┌ header (refs, lengths, qos, flags) ┬ topic ┬ attrs ┬ payload ┐     one block
 *
 *     up to 2 KiB   from the pool of its size class: no header in front, and the slab knows the pool
 *     larger        from the allocator, behind a pointer to the msg_pool
 *
 * Invariants
 *   1. Nothing writes to a msg after msg_new returned; only the reference count moves.
 *   2. The last reference is dropped on the shard's thread (ref.h), so the pools need no lock.
 * Cost    45 bytes of header; a block is at most 12.5 % larger than its message needs (15 bytes, below 128). O(1): no
 *         allocation but a slab for many messages (HOTPATH: pooled copies cost a third of malloc's).
 * Thread  own shard; the store's writer may hold and read.
 */
#include "core/msg.h"

#include "core/base/poison.h"

enum { STEPS = 8 /* classes between two powers of two */, HEAD_BYTES = offsetof(struct msg, bytes) };

/* class_bytes: the block size of a class: k / 8 of a power of two, k = 8 to 15; only from 4 / 8 of 128 on. */
static size_t class_bytes(unsigned size_class)
{
    unsigned i = size_class + MSG_POOLED_MIN / 16;
    return i < STEPS ? (size_t)i * 16 : (size_t)(STEPS + i % STEPS) << (3 + i / STEPS);
}

/* class_of: the smallest class that holds `bytes`; MSG_CLASSES: none does. */
static inline unsigned class_of(size_t bytes)
{
    if (bytes <= 128)
        return bytes <= MSG_POOLED_MIN ? 0 : (unsigned)((bytes + 15) / 16 - MSG_POOLED_MIN / 16);
    if (UNLIKELY(bytes > MSG_POOLED_MAX))
        return MSG_CLASSES;
    unsigned last = (unsigned)bytes - 1;
    unsigned shift = 28 - (unsigned)__builtin_clz(last); /* leaves four bits: 8 to 15 */
    return (shift - 4) * STEPS + (last >> shift) + 1 - MSG_POOLED_MIN / 16;
}

void msg_pool_init(struct msg_pool *p, struct mem *mem)
{
    p->mem = mem;
    p->large_n = 0;
    for (unsigned i = 0; i < MSG_CLASSES; i++)
        pool_init(&p->pool[i], mem, class_bytes(i));
}

void msg_pool_fini(struct msg_pool *p)
{
    BUG_ON(p->large_n != 0);
    for (unsigned i = 0; i < MSG_CLASSES; i++)
        pool_fini(&p->pool[i]);
}

uint64_t msg_pool_living(const struct msg_pool *p)
{
    uint64_t n = p->large_n;
    for (unsigned i = 0; i < MSG_CLASSES; i++)
        n += p->pool[i].used_n;
    return n;
}

static struct msg *large_new(struct msg_pool *p, size_t bytes)
{
    struct msg_pool **head = mem_alloc(p->mem, sizeof(*head) + bytes);
    if (!head)
        return NULL;
    *head = p;
    p->large_n++;
    return (struct msg *)(void *)(head + 1);
}

static void large_free(struct msg *m)
{
    struct msg_pool **head = (struct msg_pool **)(void *)m - 1, *p = *head;
    p->large_n--;
    mem_free(p->mem, head);
}

void msg_die(struct ref *r)
{
    struct msg *m = CONTAINER_OF(r, struct msg, ref);
    if (UNLIKELY(m->is_large))
        large_free(m);
    else
        pool_give(pool_from_item(m), m);
}

static size_t bytes_of(const struct msgview *v)
{
    return HEAD_BYTES + v->topic.len + v->attrs.len + v->payload.len;
}

bool msg_reserve(struct msg_pool *p, const struct msgview *v)
{
    unsigned size_class = class_of(bytes_of(v));
    if (UNLIKELY(size_class == MSG_CLASSES))
        return false;
    return pool_reserve(&p->pool[size_class]);
}

/* block_take: memory for a message of `bytes`. What its block has beyond them is nobody's. */
static struct msg *block_take(struct msg_pool *p, size_t bytes)
{
    unsigned size_class = class_of(bytes);
    struct msg *m = LIKELY(size_class < MSG_CLASSES) ? pool_take(&p->pool[size_class]) : large_new(p, bytes);
    if (UNLIKELY(!m))
        return NULL;
    m->is_large = size_class == MSG_CLASSES;
    if (!m->is_large)
        poison((uint8_t *)m + bytes, p->pool[size_class].item_bytes - bytes);
    return m;
}

struct msg *msg_new(struct msg_pool *p, const struct msgview *v)
{
    BUG_ON(v->topic.len > UINT16_MAX || v->payload.len > UINT32_MAX || v->attrs.len > UINT32_MAX);
    struct msg *m = block_take(p, bytes_of(v));
    if (!m)
        return NULL;
    ref_init(&m->ref, msg_die);
    m->expires_at = v->expires_at;
    m->publisher = v->publisher;
    m->payload_len = (uint32_t)v->payload.len;
    m->attrs_len = (uint32_t)v->attrs.len;
    m->topic_len = (uint16_t)v->topic.len;
    m->exchange = v->exchange;
    m->qos = v->qos;
    m->flags = v->flags;
    m->priority = v->priority;
    uint8_t *at = m->bytes;
    if (v->topic.len)
        memcpy(at, v->topic.p, v->topic.len);
    at += v->topic.len;
    if (v->attrs.len)
        memcpy(at, v->attrs.p, v->attrs.len);
    at += v->attrs.len;
    if (v->payload.len)
        memcpy(at, v->payload.p, v->payload.len);
    return m;
}
