/* SPDX-License-Identifier: Apache-2.0 */
/*
 * living_defs.c: a table by hash, and lists of what depends on what.
 *
 *     by_key:  h ─► def { key, lsn, deps ─► link · link · ... }
 *                                            │ of
 *                                            ▼
 *                                          def { ..., link[0].owner, link[1].owner }
 *
 * A log is read in the order of its files, where a copy of a session may stand behind its queue: then the session is
 * there without a record of its own (lsn 0) as long as something depends on it.
 *
 * Invariants (defs_check)
 *   1. A def lives (lsn != 0), or has something that depends on it, or is held; else it does not exist.
 *   2. Links are set only while a def lives: what is not known depends on nothing.
 * Cost    O(1), but O(parts) for hashing; 72 bytes and a slot in the table, 32 for each thing it depends on.
 * Thread  the owner's.
 */
#include "persist/living_defs.h"

#include "core/base/hash.h"

/* ---- keys ---------------------------------------------------------------------------------------------------- */

static void mix_u64(const struct defs *d, struct def_key *k, uint64_t v)
{
    for (unsigned i = 0; i < 2; i++)
        k->h[i] = hash_mix(k->h[i] ^ d->seed[i], hash_u64(d->seed[i], v));
}

static void mix_slice(const struct defs *d, struct def_key *k, struct slice s)
{
    for (unsigned i = 0; i < 2; i++)
        k->h[i] = hash_mix(k->h[i] ^ d->seed[i], hash_bytes(d->seed[i] + 1, s.p, s.len));
}

static struct def_key key_begin(const struct defs *d, uint8_t kind)
{
    struct def_key k = {.h = {d->seed[1], d->seed[0]}, .kind = kind};
    mix_u64(d, &k, kind);
    return k;
}

static struct def_key key_u64(const struct defs *d, uint8_t kind, uint64_t v)
{
    struct def_key k = key_begin(d, kind);
    mix_u64(d, &k, v);
    return k;
}

static struct def_key key_slice(const struct defs *d, uint8_t kind, struct slice s)
{
    struct def_key k = key_begin(d, kind);
    mix_slice(d, &k, s);
    return k;
}

struct def_key def_key_session(const struct defs *d, uint64_t session)
{
    return key_u64(d, STORE_SESSION, session);
}

struct def_key def_key_queue(const struct defs *d, uint64_t queue)
{
    struct def_key k = key_u64(d, STORE_QUEUE, queue);
    k.number = queue;
    return k;
}

struct def_key def_key_exchange(const struct defs *d, struct slice name)
{
    return key_slice(d, STORE_EXCHANGE, name);
}

struct def_key def_key_retained(const struct defs *d, struct slice topic)
{
    return key_slice(d, STORE_RETAIN, topic);
}

struct def_key def_key_id(const struct defs *d, uint64_t session, uint16_t rx_id)
{
    struct def_key k = key_u64(d, STORE_RX_RELEASE, session);
    mix_u64(d, &k, rx_id);
    return k;
}

static struct def_key key_bind(const struct defs *d, const struct store_rec *rec)
{
    struct def_key k = key_u64(d, STORE_BIND, rec->queue);
    mix_slice(d, &k, rec->name);
    mix_slice(d, &k, rec->key);
    mix_slice(d, &k, rec->to);
    return k;
}

struct def_key def_key_of(const struct defs *d, const struct store_rec *rec)
{
    struct def_key k;
    switch (rec->kind) {
    case STORE_SESSION:
    case STORE_SESSION_END:
        return def_key_session(d, rec->session);
    case STORE_QUEUE:
    case STORE_QUEUE_END:
        return def_key_queue(d, rec->queue);
    case STORE_EXCHANGE:
    case STORE_EXCHANGE_END:
        return def_key_exchange(d, rec->name);
    case STORE_BIND:
    case STORE_UNBIND:
        return key_bind(d, rec);
    case STORE_MEMBER:
    case STORE_MEMBER_END:
        k = key_u64(d, STORE_MEMBER, rec->queue);
        mix_u64(d, &k, rec->session);
        return k;
    case STORE_WILL:
        return key_u64(d, STORE_WILL, rec->session);
    case STORE_RX_RELEASE:
        return def_key_id(d, rec->session, rec->rx_id);
    default:
        return (struct def_key){.kind = 0};
    }
}

/* ---- defs ---------------------------------------------------------------------------------------------------- */

static uint8_t owners_of(uint8_t kind)
{
    switch (kind) {
    case STORE_BIND: /* its queue and exchange, or its two exchanges; session */
        return 3;
    case STORE_MEMBER: /* queue and session */
        return 2;
    case STORE_QUEUE:
    case STORE_WILL:
    case STORE_RX_RELEASE:
        return 1;
    default:
        return 0;
    }
}

static struct tab_slot *find(const struct defs *d, const struct def_key *key)
{
    for (struct tab_slot *s = tab_find(&d->by_key, key->h[0], NULL); s != NULL;
         s = tab_find(&d->by_key, key->h[0], s)) {
        const struct def *x = (const struct def *)(uintptr_t)s->val;
        if (x->key.h[1] == key->h[1])
            return s;
    }
    return NULL;
}

struct def *def_get(const struct defs *d, const struct def_key *key)
{
    const struct tab_slot *s = find(d, key);
    return s != NULL ? (struct def *)(uintptr_t)s->val : NULL;
}

struct def *def_hold(struct defs *d, const struct def_key *key)
{
    struct def *x = def_get(d, key);
    if (x != NULL) {
        x->holds++;
        return x;
    }
    uint8_t n = owners_of(key->kind);
    if (tab_hold(&d->by_key) != ERR_OK)
        return NULL;
    x = pool_take(&d->pool[n]);
    if (x == NULL) {
        tab_release(&d->by_key);
        return NULL;
    }
    *x = (struct def){.key = *key, .owner_n = n, .holds = 1};
    list_init(&x->deps);
    for (uint32_t i = 0; i < n; i++) {
        x->link[i] = (struct def_link){.of = x};
        list_node_init(&x->link[i].node);
    }
    tab_put(&d->by_key, key->h[0], (uintptr_t)x);
    return x;
}

/* free_idle: invariant 1. */
static void free_idle(struct defs *d, struct def *x)
{
    if (x->lsn != 0 || x->holds != 0 || !list_is_empty(&x->deps))
        return;
    tab_del(&d->by_key, find(d, &x->key));
    pool_give(&d->pool[x->owner_n], x);
}

void def_drop(struct defs *d, struct def *x)
{
    x->holds--;
    free_idle(d, x);
}

void def_link(struct defs *d, struct def *x, uint32_t i, struct def *owner)
{
    struct def_link *l = &x->link[i];
    struct def *former = l->owner;
    if (former == owner)
        return;
    list_del(&l->node);
    l->owner = owner;
    if (owner != NULL)
        list_push(&owner->deps, &l->node);
    if (former != NULL)
        free_idle(d, former);
}

void def_unlink(struct defs *d, struct def *x)
{
    for (uint32_t i = 0; i < x->owner_n; i++)
        def_link(d, x, i, NULL);
}

struct def *def_by_lsn(const struct defs *d, uint8_t kind, lsn_t lsn)
{
    for (uint32_t i = 0; i < d->by_key.cap; i++) {
        struct def *x = (struct def *)(uintptr_t)d->by_key.slot[i].val;
        if (x != NULL && x->lsn == lsn && x->key.kind == kind)
            return x;
    }
    return NULL;
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

void defs_init(struct defs *d, struct mem *mem, uint64_t seed)
{
    *d = (struct defs){.seed = {hash_u64(seed, 1), hash_u64(seed, 2)}};
    tab_init(&d->by_key, mem);
    for (uint32_t n = 0; n <= DEF_OWNERS_MAX; n++)
        pool_init(&d->pool[n], mem, sizeof(struct def) + n * sizeof(struct def_link));
}

void defs_fini(struct defs *d)
{
    for (uint32_t i = 0; i < d->by_key.cap; i++) {
        struct def *x = (struct def *)(uintptr_t)d->by_key.slot[i].val;
        if (x != NULL)
            pool_give(&d->pool[x->owner_n], x);
    }
    tab_fini(&d->by_key);
    for (uint32_t n = 0; n <= DEF_OWNERS_MAX; n++)
        pool_fini(&d->pool[n]);
}

void defs_check(const struct defs *d)
{
    uint64_t links = 0, deps = 0;
    for (uint32_t i = 0; i < d->by_key.cap; i++) {
        const struct def *x = (const struct def *)(uintptr_t)d->by_key.slot[i].val;
        if (x == NULL)
            continue;
        BUG_ON(x->lsn == 0 && x->holds == 0 && list_is_empty(&x->deps));
        BUG_ON(def_get(d, &x->key) != x || x->owner_n != owners_of(x->key.kind));
        for (uint32_t k = 0; k < x->owner_n; k++) {
            BUG_ON(x->lsn == 0 && x->link[k].owner != NULL);
            links += x->link[k].owner != NULL;
        }
        LIST_EACH(&x->deps, n)
        {
            BUG_ON(LIST_ITEM(n, struct def_link, node)->owner != x);
            deps++;
        }
    }
    BUG_ON(links != deps);
    tab_check(&d->by_key);
}
