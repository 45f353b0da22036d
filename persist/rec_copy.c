/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rec_copy.c: a record in one block.
 *
 *     rec_copy │ targets │ policy │ exchange │ subscription identifiers of all targets │ strings
 *
 * Invariants
 *   1. Every pointer of the copy but rec.msg points into the block, or is NULL, or has length 0.
 *   2. What needs alignment stands before what does not: sizes of the first parts are rounded up.
 * Cost    one allocation, and one pass over what the record points to.
 * Thread  the holder's.
 */
#include "persist/rec_copy.h"

#include <stdint.h>
#include <string.h>

#include "core/exchange.h"
#include "core/queue_policy.h"

/* put_slice: moves the string into a block at *at. */
static void put_slice(struct slice *s, uint8_t **at)
{
    if (s->len != 0)
        memcpy(*at, s->p, s->len);
    s->p = *at;
    *at += s->len;
}

/* round_up: so that anything may stand behind it. */
static size_t round_up(size_t n)
{
    const size_t unit = _Alignof(max_align_t);
    return (n + unit - 1) / unit * unit;
}

static size_t strings_bytes(const struct store_rec *rec)
{
    size_t n = rec->name.len + rec->key.len + rec->to.len;
    if (rec->policy != NULL)
        n += rec->policy->dead_exchange.len + rec->policy->dead_key.len;
    if (rec->exchange != NULL)
        n += rec->exchange->name.len + rec->exchange->alternate.len;
    return n;
}

static size_t sub_ids_bytes(const struct store_rec *rec)
{
    size_t n = 0;
    for (uint32_t i = 0; i < rec->target_n; i++)
        n += rec->target[i].sub_id_n;
    return n * sizeof(uint32_t);
}

/* copy_targets: with their subscription identifiers, which go to ids[]. Returns where those end. */
static uint8_t *copy_targets(struct rec_copy *c, const struct store_rec *rec, uint32_t *ids)
{
    for (uint32_t i = 0; i < rec->target_n; i++) {
        const struct store_target *t = &rec->target[i];
        c->target[i] = *t;
        c->target[i].sub_id = t->sub_id_n != 0 ? ids : NULL;
        if (t->sub_id_n != 0)
            memcpy(ids, t->sub_id, t->sub_id_n * sizeof(*ids));
        ids += t->sub_id_n;
    }
    c->rec.target = c->target;
    return (uint8_t *)ids;
}

struct rec_copy *rec_copy_new(struct mem *mem, const struct store_rec *rec)
{
    size_t targets = round_up(rec->target_n * sizeof(struct store_target));
    size_t policy = rec->policy != NULL ? round_up(sizeof(struct queue_policy)) : 0;
    size_t exchange = rec->exchange != NULL ? round_up(sizeof(struct exchange_spec)) : 0;
    size_t bytes = sizeof(struct rec_copy) + targets + policy + exchange + sub_ids_bytes(rec) + strings_bytes(rec);
    struct rec_copy *c = mem_alloc(mem, bytes);
    if (c == NULL)
        return NULL;
    list_node_init(&c->node);
    c->rec = *rec;
    c->bytes = bytes + (rec->msg != NULL ? msg_bytes(rec->msg) : 0);
    uint8_t *fixed = (uint8_t *)c->target + targets;
    uint8_t *at = copy_targets(c, rec, (uint32_t *)(void *)(fixed + policy + exchange));
    put_slice(&c->rec.name, &at);
    put_slice(&c->rec.key, &at);
    put_slice(&c->rec.to, &at);
    if (policy != 0) {
        struct queue_policy *p = (struct queue_policy *)(void *)fixed;
        *p = *rec->policy;
        put_slice(&p->dead_exchange, &at);
        put_slice(&p->dead_key, &at);
        c->rec.policy = p;
    }
    if (exchange != 0) {
        struct exchange_spec *x = (struct exchange_spec *)(void *)(fixed + policy);
        *x = *rec->exchange;
        put_slice(&x->name, &at);
        put_slice(&x->alternate, &at);
        c->rec.exchange = x;
    }
    return c;
}
