/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.c: named roots of the router.
 *
 *     ""          default   key = name of a queue; nothing binds to it
 *     amq.topic   topic     MQTT topics and STOMP /topic/: one namespace
 *     amq.direct  direct    the key is one opaque string
 *     amq.fanout  fanout    the key is ignored
 *     others      topic, direct or fanout: declared by peers, and gone when they are deleted, or when they are
 *                 auto-delete and the last binding from them goes
 *
 * Invariants
 *   1. An exchange's root node lives as long as its name is known (it is pinned), so bindings may come and go; its
 * value is the exchange.
 *   2. Names are unique per vhost; what an exchange was declared with never changes.
 *   3. A deleted exchange has no name, no root and no bindings; its memory waits for the last exchange_drop.
 *   4. A route that was made before an exchange came or went is not valid afterwards: it may have been somebody's
 *      alternate.
 * Cost    one trie node and 160 bytes plus the names; deleting is O(its bindings).
 * Thread  own shard only.
 */
#include "core/exchange.h"

#include "core/shard.h"

enum { EXCHANGE_NAME_MAX = 255 };

struct exchange *exchange_get(struct vhost *v, struct slice name)
{
    return map_get(&v->exchanges, name);
}

struct exchange *exchange_by_number(struct vhost *v, uint32_t number)
{
    uint32_t pos = 0;
    struct exchange *x = map_next(&v->exchanges, &pos);
    while (x && x->number != number)
        x = map_next(&v->exchanges, &pos);
    return x;
}

static bool is_builtin_name(struct slice name)
{
    return name.len == 0 || slice_eq_str(name, "amq.topic") || slice_eq_str(name, "amq.direct") ||
           slice_eq_str(name, "amq.fanout");
}

/* difference: the first property in which x is not what spec asks for; NULL: none. */
static const char *difference(const struct exchange *x, const struct exchange_spec *spec)
{
    if (x->kind != spec->kind)
        return "type";
    if (x->durable != spec->durable)
        return "durable";
    if (x->auto_delete != spec->auto_delete)
        return "auto-delete";
    if (x->internal != spec->internal)
        return "internal";
    if (!slice_eq(exchange_alternate(x), spec->alternate))
        return "alternate-exchange";
    bool is_braked_so = x->is_builtin || (x->has_brake ? x->brake.rate : 0) == spec->rate; /* those: by the limits */
    return is_braked_so ? NULL : "x-rate-limit";
}

/* exchange_new: as spec says, but nobody knows its name yet. NULL: out of memory. */
static struct exchange *exchange_new(struct vhost *v, const struct exchange_spec *spec)
{
    struct exchange *x = mem_zalloc(v->router.mem, sizeof *x + spec->name.len + spec->alternate.len);
    if (!x)
        return NULL;
    x->vhost = v;
    x->kind = spec->kind;
    x->durable = spec->durable;
    x->auto_delete = spec->auto_delete;
    x->internal = spec->internal;
    x->is_builtin = is_builtin_name(spec->name);
    x->has_brake = spec->rate != 0;
    if (x->has_brake)
        brake_init(&x->brake, spec->rate, v->shard->now);
    list_init(&x->bindings);
    list_init(&x->outgoing);
    list_node_init(&x->ending);
    x->name_len = (uint16_t)spec->name.len;
    x->alternate_len = (uint16_t)spec->alternate.len;
    if (spec->name.len)
        memcpy(x->name, spec->name.p, spec->name.len);
    if (spec->alternate.len)
        memcpy(x->name + spec->name.len, spec->alternate.p, spec->alternate.len);
    x->root = trie_root(&v->router.trie);
    if (!x->root) {
        mem_free(v->router.mem, x);
        return NULL;
    }
    trie_node(&v->router.trie, x->root)->value = x;
    return x;
}

/* uproot: the root node goes; nothing hangs on it any more. */
static void uproot(struct exchange *x)
{
    struct trie *t = &x->vhost->router.trie;
    trie_node(t, x->root)->value = NULL;
    trie_unpin(t, x->root);
    x->root = 0;
}

enum err exchange_declare_as(struct vhost *v, const struct exchange_spec *spec, struct exchange **out,
                             const char **out_differs)
{
    *out_differs = NULL;
    if (spec->name.len > EXCHANGE_NAME_MAX || spec->alternate.len > EXCHANGE_NAME_MAX)
        return ERR_TOO_BIG;
    struct exchange *x = exchange_get(v, spec->name);
    if (x) {
        *out = x;
        *out_differs = difference(x, spec);
        return *out_differs ? ERR_EXISTS : ERR_OK;
    }
    if (v->exchanges.n >= v->shard->limits.exchanges_max)
        return ERR_FULL;
    x = exchange_new(v, spec);
    if (!x)
        return ERR_NOMEM;
    if (map_put(&v->exchanges, x) != ERR_OK) {
        uproot(x);
        mem_free(v->router.mem, x);
        return ERR_NOMEM;
    }
    x->number = v->exchange_next++;
    stat_add(&v->shard->stats, STAT_EXCHANGES, 1);
    router_touch(&v->router);
    *out = x;
    return ERR_OK;
}

enum err exchange_declare(struct vhost *v, struct slice name, enum exchange_kind kind, bool durable,
                          struct exchange **out)
{
    const char *differs;
    return exchange_declare_as(v, &(struct exchange_spec){.name = name, .kind = kind, .durable = durable}, out,
                               &differs);
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static void free_if_forgotten(struct exchange *x)
{
    if (x->is_dead && x->hold_n == 0)
        mem_free(x->vhost->router.mem, x);
}

struct exchange *exchange_hold(struct exchange *x)
{
    x->hold_n++;
    return x;
}

void exchange_drop(struct exchange *x)
{
    BUG_ON(x->hold_n == 0);
    x->hold_n--;
    free_if_forgotten(x);
}

void exchange_delete(struct exchange *x)
{
    struct vhost *v = x->vhost;
    struct router *r = &v->router;
    if (x->is_dead)
        return;
    x->is_dead = 1;
    list_del(&x->ending);
    BUG_ON(map_del(&v->exchanges, exchange_name(x)) != x);
    router_unbind_from(r, x);
    LIST_EACH(&x->bindings, it)
    router_unbind(r, LIST_ITEM(it, struct binding, in_queue));
    BUG_ON(x->binding_n != 0);
    uproot(x);
    router_touch(r);
    stat_sub(&v->shard->stats, STAT_EXCHANGES, 1);
    free_if_forgotten(x);
}

void exchange_free(struct exchange *x)
{
    exchange_delete(x);
}
