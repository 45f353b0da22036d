/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_MSG_H
#define WEIR_CORE_MSG_H

/*
 * msg.h: a message, in its two forms.
 *
 *   struct msgview  while it is routed: slices into the read chunk (or a msg), on the stack, gone when the verb
 * returns. struct msg      what lasts: immutable, reference counted, one allocation, made at most once per publish by
 *                   the first that keeps it (queue, retained set, log) and shared by all.
 *
 * What differs per receiver (packet id, DUP, effective QoS) lives in the queue entry, never here.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/pool.h"
#include "core/base/ref.h"
#include "core/base/slice.h"

enum {
    MSG_DURABLE = 1, /* survives a restart in durable queues; the receipt waits for the disk */
    MSG_RETAIN = 2,  /* published with the retain flag */
    MSG_STOMP = 4,   /* born over STOMP */
    MSG_WILL = 8,    /* a will */
    MSG_END = 32,    /* no message: what a browser gets behind the last one */
    MSG_OWN = 16,    /* the broker's own, made anew at every start ($SYS): never logged */
};

struct msgview {
    struct slice topic;    /* the key, MQTT spelling for topic exchanges */
    struct slice payload;  /* opaque */
    struct slice attrs;    /* core/attrs.h */
    struct ref *owner;     /* what payload and wire point into, so that output may refer to it; NULL: copy */
    struct slice wire;     /* the packet as it came, where its bytes may do for a receiver, too; else empty */
    const void *wire_form; /* what these bytes are: only the adapter that set it knows; NULL: no wire */
    bool in_bulk;          /* it came with so many others that it is better referred to than copied */
    mono_ms expires_at;    /* 0: never */
    uint64_t publisher;    /* session_publisher() of who published it; 0: nobody. For no-local */
    uint32_t exchange;     /* number of the exchange it was published to; the verbs fill it in */
    uint8_t qos;           /* delivery QoS offered, 0..2 */
    uint8_t flags;         /* MSG_... */
    uint8_t priority;      /* for queues with priorities; 0: none, the lowest */
};

struct msg_pool;

struct msg {
    struct ref ref; /* first: outv refers to it */
    mono_ms expires_at;
    uint64_t publisher;
    uint32_t payload_len;
    uint32_t attrs_len;
    uint32_t exchange;
    uint16_t topic_len;
    uint8_t qos;
    uint8_t flags;
    uint8_t priority;
    uint8_t is_large; /* not from a pool */
    uint8_t bytes[];  /* topic · attrs · payload */
};

/* Blocks of 64, 80, 96, 112 and 128 bytes, header included; then eight sizes between each power of two and the next,
 * up to 2,048. Larger messages go to the allocator. */
#define MSG_CLASSES    37u
#define MSG_POOLED_MAX 2048u
#define MSG_POOLED_MIN 64u

struct msg_pool {
    struct mem *mem;
    struct pool pool[MSG_CLASSES];
    uint32_t large_n; /* living messages that are larger */
};

void msg_pool_init(struct msg_pool *p, struct mem *mem);
/* msg_pool_fini: every message must be gone (BUG_ON). */
void msg_pool_fini(struct msg_pool *p);

/* msg_pool_living: how many messages there are; for tests. */
uint64_t msg_pool_living(const struct msg_pool *p);

/* msg_new: a lasting copy of v with one reference, the caller's. NULL when out of memory.
 * v->topic.len <= 65535, v->payload.len and v->attrs.len < 4 GiB (BUG_ON). */
struct msg *msg_new(struct msg_pool *p, const struct msgview *v) MUST_CHECK;

/* msg_reserve: the next msg_new of v will find its memory, if no other msg_new comes before. False: no memory, or it is
 * larger than what is pooled. */
bool msg_reserve(struct msg_pool *p, const struct msgview *v) MUST_CHECK;

/* msg_view: m as a view; the slices live as long as the caller holds m. */
static inline void msg_view(const struct msg *m, struct msgview *out)
{
    out->topic = slice_make(m->bytes, m->topic_len);
    out->attrs = slice_make(m->bytes + m->topic_len, m->attrs_len);
    out->payload = slice_make(m->bytes + m->topic_len + m->attrs_len, m->payload_len);
    out->owner = (struct ref *)(uintptr_t)&m->ref;
    out->wire = (struct slice){0};
    out->wire_form = NULL;
    out->in_bulk = false;
    out->expires_at = m->expires_at;
    out->publisher = m->publisher;
    out->exchange = m->exchange;
    out->qos = m->qos;
    out->flags = m->flags;
    out->priority = m->priority;
}

static inline const struct msg *msg_hold(const struct msg *m)
{
    ref_hold((struct ref *)(uintptr_t)&m->ref);
    return m;
}

static inline void msg_drop(const struct msg *m)
{
    ref_drop((struct ref *)(uintptr_t)&m->ref);
}

/* msg_bytes: what a message counts for in queue byte limits: topic, attributes and payload. */
static inline uint64_t msg_bytes(const struct msg *m)
{
    return (uint64_t)m->topic_len + m->attrs_len + m->payload_len;
}

/* msg_die: the `die` of messages, to tell their references apart from read chunks'. */
void msg_die(struct ref *r);

#endif
