/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_BINDING_LOG_H
#define WEIR_CORE_BINDING_LOG_H

/*
 * binding_log.h: a binding as a record for the store.
 */

#include "core/router.h"
#include "core/store.h"

struct shard;

/* binding_log: appends rec, a STORE_BIND or STORE_UNBIND whose queue, session, name and to are the caller's, with its
 * key from f and what the options say (o NULL: nothing). Returns as shard_append; LSN_FAILED also when out of memory.
 */
lsn_t binding_log(struct shard *s, struct store_rec rec, const struct filter *f, const struct binding_opts *o);

#endif
