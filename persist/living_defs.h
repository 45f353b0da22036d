/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_LIVING_DEFS_H
#define WEIR_PERSIST_LIVING_DEFS_H

/*
 * living_defs.h: what lives under a name of its own, as its newest record, and what goes with what: definitions, wills,
 * retained messages, open QoS 2 ids. No name is kept, only its hash.
 *
 *     SESSION ◄─┬─ QUEUE ◄─┬─ BIND ─► EXCHANGE, SESSION       ◄─ : goes with
 *               ├─ WILL    └─ MEMBER ─► SESSION
 *               └─ id                                         a retained message goes with nothing
 *
 * A binding goes with its queue's owner itself, too: when a session has ended, the record of its queue may go with an
 * old segment while bindings are left in later ones; then nothing else says that they ended.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/list.h"
#include "core/base/pool.h"
#include "core/store.h"
#include "persist/living_table.h"

#define DEF_OWNERS_MAX 3u

/* What identifies it, hashed: 128 bits with a seed nobody knows, so that two never meet. */
struct def_key {
    uint64_t h[2];
    uint64_t number; /* of a queue */
    uint8_t kind;    /* enum store_kind; STORE_RX_RELEASE: an open QoS 2 id; 0: none */
};

struct def;

struct def_link {
    struct list_node node; /* in owner->deps */
    struct def *owner;     /* NULL: not linked */
    struct def *of;
};

/* owner: struct defs; freed when nothing lives here, nothing depends on it and nobody holds it */
struct def {
    struct def_key key;
    uint8_t owner_n;
    uint32_t holds;
    lsn_t lsn; /* of its newest record; 0: it is not known, only what depends on it */
    struct list deps;
    struct def_link link[]; /* [owner_n] */
};

/* owner: the index */
struct defs {
    uint64_t seed[2];
    struct tab by_key; /* h[0] ─► struct def */
    struct pool pool[DEF_OWNERS_MAX + 1];
};

void defs_init(struct defs *d, struct mem *mem, uint64_t seed);
void defs_fini(struct defs *d);

/* def_key_of: what rec is about: a definition, or what an END, an UNBIND or a WILL names. kind 0: none of these.
 * def_key_queue ...: keys by their parts. */
struct def_key def_key_of(const struct defs *d, const struct store_rec *rec);
struct def_key def_key_session(const struct defs *d, uint64_t session);
struct def_key def_key_queue(const struct defs *d, uint64_t queue);
struct def_key def_key_exchange(const struct defs *d, struct slice name);
struct def_key def_key_retained(const struct defs *d, struct slice topic);
struct def_key def_key_id(const struct defs *d, uint64_t session, uint16_t rx_id);

/* def_get: NULL: nothing lives there and nothing depends on it. */
struct def *def_get(const struct defs *d, const struct def_key *key);

/* def_hold: as def_get, made if it was not there. NULL: out of memory. def_drop: may free it. */
struct def *def_hold(struct defs *d, const struct def_key *key) MUST_CHECK;
void def_drop(struct defs *d, struct def *x);

/* def_link, def_unlink: x goes with `owner` as its i-th; def_unlink: with nothing any more. */
void def_link(struct defs *d, struct def *x, uint32_t i, struct def *owner);
void def_unlink(struct defs *d, struct def *x);

/* def_by_lsn: the one of this kind whose newest record this is. O(all): for what cannot be in a log that we wrote. */
struct def *def_by_lsn(const struct defs *d, uint8_t kind, lsn_t lsn);

/* defs_check: asserts all invariants; for tests. */
void defs_check(const struct defs *d);

#endif
