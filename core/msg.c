/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msg.c: the lasting form of a message: one block, made once per publish, shared by everything that keeps it.
 *
 *     ┌ header (refs, lengths, qos, flags) ┬ topic ┬ attrs ┬ payload ┐     one allocation
 *
 * Invariants
 *   1. Nothing writes to a msg after msg_new returned; only the reference count moves.
 *   2. The last reference is dropped on the shard's thread (ref.h), so the free lists need no lock.
 * Cost    64 bytes of header; blocks up to 2 KiB come from size classes with a free list each (HOTPATH: pooled copies
 * cost a third of malloc's), larger ones straight from the allocator. Thread  own shard; the store's writer may hold
 * and read.
 */
#include "core/msg.h"

static const uint16_t class_bytes[MSG_CLASSES] = {128, 192, 256, 384, 512, 768, 1024, 2048};

void msg_pool_init(struct msg_pool *p, struct mem *mem)
{
    *p = (struct msg_pool){.mem = mem};
}

void msg_pool_fini(struct msg_pool *p)
{
    BUG_ON(p->living != 0);
    for (unsigned i = 0; i < MSG_CLASSES; i++) {
        while (p->free[i]) {
            struct msg_free *f = p->free[i];
            p->free[i] = f->next;
            mem_free(p->mem, f);
        }
        p->free_n[i] = 0;
    }
}

static unsigned class_of(size_t bytes)
{
    for (unsigned i = 0; i < MSG_CLASSES; i++)
        if (bytes <= class_bytes[i])
            return i;
    return MSG_CLASSES;
}

static void *block_take(struct msg_pool *p, unsigned size_class, size_t bytes)
{
    if (size_class == MSG_CLASSES)
        return mem_alloc(p->mem, bytes);
    struct msg_free *f = p->free[size_class];
    if (!f)
        return mem_alloc(p->mem, class_bytes[size_class]);
    p->free[size_class] = f->next;
    p->free_n[size_class]--;
    return f;
}

void msg_die(struct ref *r)
{
    struct msg *m = CONTAINER_OF(r, struct msg, ref);
    struct msg_pool *p = m->pool;
    unsigned size_class = m->size_class;
    p->living--;
    if (size_class == MSG_CLASSES || p->free_n[size_class] >= MSG_FREE_BYTES_MAX / class_bytes[size_class]) {
        mem_free(p->mem, m);
        return;
    }
    struct msg_free *f = (struct msg_free *)(void *)m;
    f->next = p->free[size_class];
    p->free[size_class] = f;
    p->free_n[size_class]++;
}

static size_t bytes_of(const struct msgview *v)
{
    return sizeof(struct msg) + v->topic.len + v->attrs.len + v->payload.len;
}

bool msg_reserve(struct msg_pool *p, const struct msgview *v)
{
    unsigned size_class = class_of(bytes_of(v));
    if (size_class == MSG_CLASSES)
        return false;
    if (LIKELY(p->free[size_class] != NULL))
        return true;
    struct msg_free *f = mem_alloc(p->mem, class_bytes[size_class]);
    if (!f)
        return false;
    f->next = NULL;
    p->free[size_class] = f;
    p->free_n[size_class] = 1;
    return true;
}

struct msg *msg_new(struct msg_pool *p, const struct msgview *v)
{
    BUG_ON(v->topic.len > UINT16_MAX || v->payload.len > UINT32_MAX || v->attrs.len > UINT32_MAX);
    size_t bytes = bytes_of(v);
    unsigned size_class = class_of(bytes);
    struct msg *m = block_take(p, size_class, bytes);
    if (!m)
        return NULL;
    ref_init(&m->ref, msg_die);
    m->pool = p;
    m->expires_at = v->expires_at;
    m->publisher = v->publisher;
    m->payload_len = (uint32_t)v->payload.len;
    m->attrs_len = (uint32_t)v->attrs.len;
    m->topic_len = (uint16_t)v->topic.len;
    m->qos = v->qos;
    m->flags = v->flags;
    m->size_class = (uint8_t)size_class;
    uint8_t *at = m->bytes;
    if (v->topic.len)
        memcpy(at, v->topic.p, v->topic.len);
    at += v->topic.len;
    if (v->attrs.len)
        memcpy(at, v->attrs.p, v->attrs.len);
    at += v->attrs.len;
    if (v->payload.len)
        memcpy(at, v->payload.p, v->payload.len);
    p->living++;
    return m;
}
