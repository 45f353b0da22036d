/* SPDX-License-Identifier: Apache-2.0 */
/*
 * binding_log.c: bindings in the store: filters are kept in MQTT's spelling, whoever made them.
 *
 *     flags   bit 0 no local · bit 1 retain as published · bits 2, 3 retain handling · bit 4 its retained messages are
 *             still coming
 *     A literal level "+" or "#" (which nothing published can match) is written with a NUL in front.
 *
 * Invariants
 *   1. A record without a whole key is never appended.
 * Cost    the key is made anew each time: O(bytes of the filter), and one allocation.
 * Thread  own shard only.
 */
#include "core/binding_log.h"

#include "core/shard.h"

/* put_filter: in MQTT spelling, but so that a literal level is told from a wildcard. */
static void put_filter(struct buf *b, const struct filter *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        const struct token *t = &f->tok[i];
        if (i > 0)
            buf_put_u8(b, '/');
        bool is_like_wild = t->kind == TOKEN_LITERAL && t->bytes.len > 0 &&
                            (t->bytes.p[0] == 0 || slice_eq_str(t->bytes, "+") || slice_eq_str(t->bytes, "#"));
        if (is_like_wild)
            buf_put_u8(b, 0);
        if (t->kind == TOKEN_LITERAL)
            buf_put_slice(b, t->bytes);
        else
            buf_put_u8(b, t->kind == TOKEN_ONE ? '+' : '#');
    }
}

lsn_t binding_log(struct shard *s, struct store_rec rec, const struct filter *f, const struct binding_opts *o)
{
    if (!s->store)
        return 0;
    struct buf key;
    buf_init(&key, shard_mem(s, MEM_STORE));
    put_filter(&key, f);
    rec.key = buf_slice(&key);
    if (o) {
        rec.qos = o->qos;
        rec.sub_id = o->sub_id;
        rec.flags |= (uint8_t)(o->no_local | o->retain_as_published << 1 | o->retain_handling << 2);
    }
    lsn_t lsn = buf_is_bad(&key) ? LSN_FAILED : shard_append(s, &rec);
    buf_fini(&key);
    return lsn;
}

bool binding_is_replaying(const struct store_rec *rec)
{
    return (rec->flags & BINDING_REPLAYING) != 0;
}

struct binding_opts binding_opts_of(const struct store_rec *rec)
{
    return (struct binding_opts){.qos = rec->qos,
                                 .sub_id = rec->sub_id,
                                 .no_local = rec->flags & 1,
                                 .retain_as_published = rec->flags >> 1 & 1,
                                 .retain_handling = rec->flags >> 2 & 3};
}

enum err binding_filter_of(const struct store_rec *rec, enum exchange_kind kind, struct token *tok, struct filter *out)
{
    enum err e = ERR_OK;
    *out = (struct filter){.tok = tok, .n = 0};
    if (kind == EXCHANGE_FANOUT)
        return ERR_OK;
    if (kind == EXCHANGE_TOPIC) {
        e = filter_from_mqtt(rec->key, tok, out);
    } else {
        tok[0] = (struct token){.kind = TOKEN_LITERAL, .bytes = rec->key};
        out->n = 1;
    }
    for (uint32_t i = 0; e == ERR_OK && i < out->n; i++)
        if (tok[i].kind == TOKEN_LITERAL && tok[i].bytes.len > 0 && tok[i].bytes.p[0] == 0)
            tok[i].bytes = slice_skip(tok[i].bytes, 1);
    return e;
}
