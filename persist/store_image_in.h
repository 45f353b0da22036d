/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_STORE_IMAGE_IN_H
#define WEIR_PERSIST_STORE_IMAGE_IN_H

/*
 * store_image_in.h: an image from within: store_image.c keeps the items, store_image_apply.c knows what each kind of
 * record does to them.
 */

#include <stdint.h>

#include "core/base/list.h"
#include "core/base/map.h"
#include "persist/rec_copy.h"
#include "persist/store_image.h"

/* In the order of visits (core/store.h, replay). */
enum sort { SORT_EXCHANGE, SORT_SESSION, SORT_QUEUE, SORT_BIND, SORT_MEMBER, SORT_WILL, SORT_MESSAGE, SORT_N };

struct item {
    struct list_node all, open;
    struct rec_copy *copy;
    uint32_t key_len;
    uint8_t key[]; /* see key_head */
};

enum unit_state {
    UNIT_NONE,
    UNIT_OPEN,  /* its records gather */
    UNIT_ENDED, /* they are being applied; left only by what ran out of memory */
};

/* owner: who made it (a test, or the store) */
struct store_image {
    struct mem *mem;
    struct msg_pool msgs;
    struct map index;
    struct list all[SORT_N], open;
    struct list unit; /* struct rec_copy, each with a message of its own: records behind a STORE_TX */
    enum unit_state unit_state;
    lsn_t lsn, own_lsn; /* the greatest; the greatest that is nobody else's */
    wall_ms stamp;
    int64_t clock;
    uint64_t bytes;
    unsigned visiting;
};

static inline struct item *image_item(struct list_node *n)
{
    return LIST_ITEM(n, struct item, all);
}

/* image_apply: one record, its own unit. ERR_NOMEM: nothing has changed. */
enum err image_apply(struct store_image *img, const struct store_rec *rec) MUST_CHECK;

/* image_put: makes rec living under its key, in the place of what was there. ERR_NOMEM. */
enum err image_put(struct store_image *img, const struct store_rec *rec) MUST_CHECK;

/* image_find: the living item that rec is about; NULL if there is none or memory for the key is lacking (then *out_err
 * says so). */
struct item *image_find(struct store_image *img, const struct store_rec *rec, enum err *out_err);

/* image_end: it lives no more. image_remove_target, image_release: one of its reasons to live is gone; it may have
 * ended. */
void image_end(struct store_image *img, struct item *it);
void image_remove_target(struct store_image *img, struct item *it, uint64_t queue);
void image_release(struct store_image *img, struct item *it);

#endif
