/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_alias.c: topic aliases: a number of two bytes instead of a topic, agreed on as the messages go, both ways.
 *
 *     in     alias ──► topic      as the peer says; the table grows with the highest alias used
 *     out    topic ──hash──► slot ─┬─ the topic is in it ──► alias slot + 1, no topic
 *                                  └─ it is not ───────────► topic and alias slot + 1; the slot is the topic's now
 *
 * Which topics get an alias is decided by one look: a topic has one slot it can be in, so finding it costs a hash and a
 * comparison, and there is nothing to keep in order. Two topics that share a slot put each other out, at three bytes
 * and one copy per message; a peer that publishes or hears few topics (which is who gains from aliases) has few of
 * those. Topics of ALIAS_TOPIC_BYTES or less are sent as they are: an alias takes three bytes itself.
 *
 * Invariants
 *   1. A table never has more slots than the two sides agreed on [MQTT-3.3.2-11]; no alias is 0 [MQTT-3.3.2-8].
 *   2. alias_out says what the peer knows: it is changed when a packet was written, never before, and a slot whose
 *      topic could not be remembered is empty.
 *   3. Tables end with the connection [MQTT-3.3.2-7].
 * Cost    O(topic); 8 bytes per slot, and per topic its bytes and 4.
 * Thread  the shard's own.
 * Spec    MQTT 5 §3.3.2.3.4, §3.3.4.
 */
#include "core/base/hash.h"
#include "core/shard.h"
#include "proto_mqtt/mqtt_conn.h"

enum { ALIAS_TOPIC_BYTES = 6 };

struct name {
    uint16_t len, cap;
    uint8_t bytes[];
};

/* owner: the connection's mqtt_more */
struct mqtt_names {
    uint32_t n;
    struct name *at[]; /* [n] alias 1, 2, ...; NULL: stands for nothing */
};

void mqtt_names_free(struct conn *c, struct mqtt_names *t)
{
    for (uint32_t i = 0; t != NULL && i < t->n; i++)
        mem_free(conn_mem(c), t->at[i]);
    mem_free(conn_mem(c), t);
}

/* names_grow: *t has at least n slots. */
static bool names_grow(struct conn *c, struct mqtt_names **t, uint32_t n)
{
    uint32_t had = *t != NULL ? (*t)->n : 0;
    if (n <= had)
        return true;
    struct mqtt_names *grown = mem_realloc(conn_mem(c), *t, sizeof *grown + n * sizeof grown->at[0]);
    if (grown == NULL)
        return false;
    memset(grown->at + had, 0, (n - had) * sizeof grown->at[0]);
    grown->n = n;
    *t = grown;
    return true;
}

/* name_set: the slot stands for this topic; on false, for nothing. */
static bool name_set(struct conn *c, struct name **slot, struct slice topic)
{
    struct name *name = *slot;
    if (name == NULL || name->cap < topic.len || name->cap > topic.len + 64) {
        mem_free(conn_mem(c), name);
        name = mem_alloc(conn_mem(c), sizeof *name + topic.len);
        *slot = name;
        if (name == NULL)
            return false;
        name->cap = (uint16_t)topic.len;
    }
    name->len = (uint16_t)topic.len;
    memcpy(name->bytes, topic.p, topic.len);
    return true;
}

/* ---- from the peer ------------------------------------------------------------------------------------------- */

/* slots_for: how many slots to have for this alias: half as many again, within the maximum. */
static uint32_t slots_for(const struct conn *c, uint16_t alias)
{
    return (uint32_t)MIN(alias + alias / 2u, conn_limits(c)->alias_in_max);
}

bool mqtt_alias_in(struct conn *c, uint16_t alias, struct slice *topic)
{
    struct mqtt_conn *m = conn_state(c);
    if (alias == 0 || alias > conn_limits(c)->alias_in_max) { /* [MQTT-3.3.2-8], [MQTT-3.3.2-9], [MQTT-3.2.2-17, -18] */
        mqtt_close(c, CLOSE_PROTOCOL, MQTT_CAUSE_ALIAS_RANGE);
        return false;
    }
    struct mqtt_names *t = m->more != NULL ? m->more->alias_in : NULL;
    if (topic->len == 0) {
        const struct name *name = t != NULL && alias <= t->n ? t->at[alias - 1] : NULL;
        if (name == NULL) { /* §3.3.4 */
            mqtt_close(c, CLOSE_PROTOCOL, MQTT_CAUSE_ALIAS_UNKNOWN);
            return false;
        }
        *topic = slice_make(name->bytes, name->len);
        return true;
    }
    struct mqtt_more *more = mqtt_more(c); /* [MQTT-3.3.2-12] */
    bool ok = more != NULL && names_grow(c, &more->alias_in, slots_for(c, alias)) &&
              name_set(c, &more->alias_in->at[alias - 1], *topic);
    if (!ok)
        mqtt_fault(c, MQTT_PUBLISH, ERR_NOMEM);
    return ok;
}

/* ---- to the peer --------------------------------------------------------------------------------------------- */

uint16_t mqtt_alias_find(const struct conn *c, struct slice topic, bool *out_is_known)
{
    const struct mqtt_conn *m = conn_state(c);
    *out_is_known = false;
    if (topic.len <= ALIAS_TOPIC_BYTES)
        return 0;
    uint64_t h = hash_bytes(c->shard->seed, topic.p, topic.len);
    uint32_t i = (uint32_t)((h >> 32) * m->alias_max >> 32); /* 0 .. alias_max - 1 [MQTT-3.3.2-11] */
    const struct mqtt_names *t = m->more != NULL ? m->more->alias_out : NULL;
    const struct name *name = t != NULL ? t->at[i] : NULL;
    *out_is_known = name != NULL && slice_eq(slice_make(name->bytes, name->len), topic);
    return (uint16_t)(i + 1);
}

void mqtt_alias_note(struct conn *c, uint16_t alias, struct slice topic)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_more *more = mqtt_more(c);
    if (more != NULL && names_grow(c, &more->alias_out, m->alias_max))
        (void)name_set(c, &more->alias_out->at[alias - 1], topic); /* false: the next one says the topic again */
}
