/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_BINDING_LOG_H
#define WEIR_CORE_BINDING_LOG_H

/*
 * binding_log.h: a binding as a record for the store.
 */

#include "core/exchange.h"
#include "core/router.h"
#include "core/store.h"

struct shard;

/* BINDING_REPLAYING: in rec.flags of binding_log: retained messages are still coming for it. */
#define BINDING_REPLAYING 16u

/* binding_log: appends rec, a STORE_BIND or STORE_UNBIND whose queue, session, name, to and BINDING_REPLAYING are the
 * caller's, with its key from f and what the options say (o NULL: nothing). Returns as shard_append; LSN_FAILED also
 * when out of memory. */
lsn_t binding_log(struct shard *s, struct store_rec rec, const struct filter *f, const struct binding_opts *o);

/* binding_is_replaying, binding_opts_of: what a STORE_BIND says of its options. binding_filter_of: its filter, for an
 * exchange of this kind, into tok[TOPIC_LEVELS_MAX]; the tokens point into rec->key. ERR_TOO_BIG. */
bool binding_is_replaying(const struct store_rec *rec);
struct binding_opts binding_opts_of(const struct store_rec *rec);
enum err binding_filter_of(const struct store_rec *rec, enum exchange_kind kind, struct token *tok,
                           struct filter *out) MUST_CHECK;

#endif
