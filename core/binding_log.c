/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binding_log.c: bindings in the store: filters are kept in MQTT's spelling, whoever made them.
 *
 *     flags   bit 0 no local · bit 1 retain as published · bits 2, 3 retain handling
 *
 * Invariants
 *   1. A record without a whole key is never appended.
 * Cost    the key is made anew each time: O(bytes of the filter), and one allocation.
 * Thread  own shard only.
 */
#include "core/binding_log.h"

#include "core/shard.h"

lsn_t binding_log(struct shard *s, struct store_rec rec, const struct filter *f, const struct binding_opts *o)
{
    if (!s->store)
        return 0;
    struct buf key;
    buf_init(&key, shard_mem(s, MEM_STORE));
    filter_put_mqtt(&key, f);
    rec.key = buf_slice(&key);
    if (o) {
        rec.qos = o->qos;
        rec.sub_id = o->sub_id;
        rec.flags = (uint8_t)(o->no_local | o->retain_as_published << 1 | o->retain_handling << 2);
    }
    lsn_t lsn = buf_is_bad(&key) ? LSN_FAILED : shard_append(s, &rec);
    buf_fini(&key);
    return lsn;
}
