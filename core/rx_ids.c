/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rx_ids.c: inbound QoS 2: packet ids of a session whose PUBLISH came and whose PUBREL has not.
 *
 *     v:  . . . | 17 18 19 23 | . .        sorted; ids mostly come at the end and go from the front
 *               first          first + n
 *
 * Invariants
 *   1. v[first .. first + n) is strictly rising.
 *   2. A session without open ids has an empty set or none.
 * Cost    2 bytes per id; adding at the end and taking from the front O(1), else O(ids) and a binary search.
 * Thread  own shard only.
 * Spec    MQTT 5 §4.3.3 [MQTT-4.3.3-10], [MQTT-4.3.3-12].
 */
#include "core/session.h"
#include "core/shard.h"

/* rx_place: where in v the id is, or would be. */
static uint32_t rx_place(const struct rx_ids *rx, uint16_t id)
{
    uint32_t lo = rx->first, hi = rx->first + rx->n;
    if (rx->n && rx->v[hi - 1] < id)
        return hi;
    if (rx->n && rx->v[lo] >= id)
        return lo;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (rx->v[mid] < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool rx_is_at(const struct rx_ids *rx, uint32_t at, uint16_t id)
{
    return at < rx->first + rx->n && rx->v[at] == id;
}

bool rx_has(const struct session *s, uint16_t id)
{
    return s->rx && rx_is_at(s->rx, rx_place(s->rx, id), id);
}

/* rx_room: room for one more behind the last. */
static struct rx_ids *rx_room(struct session *s)
{
    struct rx_ids *rx = s->rx;
    if (rx && rx->first + rx->n < rx->cap)
        return rx;
    if (rx && rx->first >= rx->cap / 2) { /* half of it has gone from the front */
        memmove(rx->v, rx->v + rx->first, rx->n * sizeof *rx->v);
        rx->first = 0;
        return rx;
    }
    uint32_t cap = rx ? rx->cap * 2 : 8;
    rx = mem_realloc(shard_mem(s->vhost->shard, MEM_SESSION), rx, sizeof *rx + cap * sizeof rx->v[0]);
    if (!rx)
        return NULL;
    if (!s->rx)
        rx->first = rx->n = 0;
    rx->cap = cap;
    s->rx = rx;
    return rx;
}

enum err rx_add(struct session *s, uint16_t id, uint32_t max)
{
    if (rx_n(s) >= max)
        return ERR_FULL;
    struct rx_ids *rx = rx_room(s);
    if (!rx)
        return ERR_NOMEM;
    uint32_t at = rx_place(rx, id), end = rx->first + rx->n;
    memmove(rx->v + at + 1, rx->v + at, (end - at) * sizeof *rx->v);
    rx->v[at] = id;
    rx->n++;
    return ERR_OK;
}

bool rx_del(struct session *s, uint16_t id)
{
    struct rx_ids *rx = s->rx;
    if (!rx)
        return false;
    uint32_t at = rx_place(rx, id), end = rx->first + rx->n;
    if (!rx_is_at(rx, at, id))
        return false;
    if (at == rx->first)
        rx->first++;
    else
        memmove(rx->v + at, rx->v + at + 1, (end - at - 1) * sizeof *rx->v);
    rx->n--;
    if (rx->n == 0)
        rx->first = 0;
    return true;
}
