/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_MAP_H
#define WEIR_BASE_MAP_H

/*
 * map.h: open-addressing table from a byte string to an item that contains it. The table stores {hash, item};
 * the key is read from the item through `key`, so no key is stored twice. Linear probing, backward-shift
 * deletion (no tombstones), grows at 3/4 and shrinks at 1/8. 16 bytes per slot.
 */

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/base/slice.h"

typedef struct slice (*map_key_fn)(const void *item);

struct map_slot {
    uint64_t hash;
    void *item; /* NULL: free */
};

struct map {
    struct mem *mem;
    map_key_fn key;
    uint64_t seed;
    struct map_slot *slot; /* NULL exactly when cap is 0: an empty map owns nothing */
    uint32_t n, cap;       /* cap: a power of two or 0 */
};

/* map_init: an empty map, no allocation. key(item) must give the same bytes as long as the item is in the map. */
void map_init(struct map *m, struct mem *mem, map_key_fn key, uint64_t seed);
/* map_fini: frees the table, not the items. */
void map_fini(struct map *m);

/* map_get: the item with this key, or NULL. */
void *map_get(const struct map *m, struct slice key);

/* map_put: adds item under its own key, which must not be in the map yet. ERR_NOMEM. */
enum err map_put(struct map *m, void *item) MUST_CHECK;

/* map_del: removes and returns the item with this key, NULL if there is none. Never fails. */
void *map_del(struct map *m, struct slice key);

/* map_next: walks: start with *pos = 0; returns NULL at the end. The map must not change during a walk. */
void *map_next(const struct map *m, uint32_t *pos);

/* map_check: asserts all invariants; for tests. */
void map_check(const struct map *m);

#endif
