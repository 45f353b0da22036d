/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_group.c: shared subscriptions: each message for one member, whoever dies meanwhile.
 *
 *     publish ─► group ─► handed (HELD) ─┬─► ACKED ─► SURE, once a later PINGRESP came
 *                  ▲                     ├─► AUTO: at QoS 0, nothing is expected
 *                  └─ QoS 1: its connection ended
 *
 * Invariants checked on every delivery
 *   1. The session may be a member, and the group may have existed without a gap since the message was taken in: what
 *      waited in a group that was emptied is not found in the next one of that name.
 *   2. QoS is the lower one of the message's and the member's; RETAIN only if it was published so and the member wants
 *      to know; DUP only to a session that was there before.
 *   3. A group that only ever had one member keeps the order of publisher, topic and QoS.
 * and at the end
 *   4. Handed out twice only if the first was at QoS 1, its connection had ended by then, and its acknowledgement was
 *      not surely read; QoS 2 stays with its session [MQTT-4.8.2-4] [MQTT-4.8.2-5].
 *   5. What was acknowledged to the publisher while the group surely existed, and ever since, was handed to somebody.
 * Which of two deliveries came first is not always seen: a connection that the broker ended before its peer knew may
 * give up old ones late. Such pairs are only judged where either order would be wrong.
 * Cost    O(handed) per group and message at the end.
 */
#include "tests/sim/model_group.h"

#include <stdio.h>
#include <string.h>

static struct group *group_at(struct model *m, uint32_t i)
{
    BUG_ON(m->groups == NULL || i >= m->groups->n);
    return &m->groups->group[i];
}

uint32_t model_group(struct model *m, const char *name)
{
    if (m->groups == NULL) {
        m->groups = mem_zalloc(m->mem, sizeof(*m->groups));
        BUG_ON(m->groups == NULL);
    }
    struct groups *all = m->groups;
    for (uint32_t i = 0; i < all->n; i++)
        if (strcmp(all->group[i].name, name) == 0)
            return i;
    const char *filter = strchr(name, '/'); /* behind $share, behind the group's name */
    filter = filter ? strchr(filter + 1, '/') : NULL;
    BUG_ON(filter == NULL);
    all->group = model_grow(m->mem, all->group, &all->cap, all->n + 1, sizeof(*all->group));
    struct group *g = &all->group[all->n];
    *g = (struct group){0};
    snprintf(g->name, sizeof(g->name), "%s", name);
    snprintf(g->filter, sizeof(g->filter), "%s", filter + 1);
    return all->n++;
}

void model_groups_fini(struct model *m)
{
    for (uint32_t i = 0; m->groups && i < m->groups->n; i++) {
        mem_free(m->mem, m->groups->group[i].member);
        mem_free(m->mem, m->groups->group[i].handed);
        mem_free(m->mem, m->groups->group[i].last);
    }
    if (m->groups)
        mem_free(m->mem, m->groups->group);
    mem_free(m->mem, m->groups);
    m->groups = NULL;
}

/* ---- members ------------------------------------------------------------------------------------------------------
 */

void model_member_ask(struct model *m, uint32_t group, struct box *b, uint8_t qos, bool retain_as_published)
{
    struct group *g = group_at(m, group);
    ++m->clock;
    struct member *k = NULL;
    for (uint32_t i = 0; i < g->member_n && k == NULL; i++)
        if (g->member[i].box == b && g->member[i].must_to == MODEL_NEVER)
            k = &g->member[i]; /* it stays one, under new options */
    if (k == NULL) {
        g->member = model_grow(m->mem, g->member, &g->member_cap, g->member_n + 1, sizeof(*g->member));
        k = &g->member[g->member_n++];
        *k = (struct member){
            .box = b, .may_from = m->clock, .must_from = MODEL_NEVER, .must_to = MODEL_NEVER, .may_to = MODEL_NEVER};
    }
    k->qos_mask |= (uint8_t)(1u << qos);
    k->retain_as_published |= retain_as_published;
}

void model_member_granted(struct model *m, uint32_t group, const struct box *b)
{
    struct group *g = group_at(m, group);
    ++m->clock;
    for (uint32_t i = 0; i < g->member_n; i++)
        if (g->member[i].box == b && g->member[i].must_to == MODEL_NEVER && g->member[i].must_from == MODEL_NEVER)
            g->member[i].must_from = m->clock;
}

uint64_t model_member_drop(struct model *m, uint32_t group, const struct box *b)
{
    struct group *g = group_at(m, group);
    ++m->clock;
    for (uint32_t i = 0; i < g->member_n; i++)
        if (g->member[i].box == b && g->member[i].must_to == MODEL_NEVER)
            g->member[i].must_to = m->clock;
    return m->clock;
}

void model_member_gone(struct model *m, uint32_t group, const struct box *b, uint64_t dropped_at)
{
    struct group *g = group_at(m, group);
    ++m->clock;
    for (uint32_t i = 0; i < g->member_n; i++) {
        struct member *k = &g->member[i];
        if (k->box == b && k->may_to == MODEL_NEVER && k->must_to <= dropped_at)
            k->may_to = m->clock;
    }
}

void model_session_gone(struct model *m, uint32_t session)
{
    ++m->clock;
    for (uint32_t i = 0; m->groups && i < m->groups->n; i++) {
        struct group *g = &m->groups->group[i];
        for (uint32_t k = 0; k < g->member_n; k++)
            if (g->member[k].box->session == session && g->member[k].box->is_ended &&
                g->member[k].may_to == MODEL_NEVER)
                g->member[k].may_to = m->clock;
    }
}

/* may_have_lasted: could the group exist from some moment up to `from` until now, without a gap? */
static bool may_have_lasted(const struct model *m, const struct group *g, uint64_t from)
{
    uint64_t t = m->clock;
    bool moves = true;
    while (t > from && moves) {
        uint64_t earliest = t;
        for (uint32_t i = 0; i < g->member_n; i++)
            if (g->member[i].may_from < earliest && g->member[i].may_to >= t)
                earliest = g->member[i].may_from;
        moves = earliest < t;
        t = earliest;
    }
    return t <= from;
}

/* must_have_lasted: did the group surely exist from `from` to `to`? A session that ended proves nothing: nobody knows
 * when. */
static bool must_have_lasted(const struct group *g, uint64_t from, uint64_t to)
{
    uint64_t t = from;
    bool moves = true;
    while (t < to && moves) {
        uint64_t latest = t;
        for (uint32_t i = 0; i < g->member_n; i++) {
            const struct member *k = &g->member[i];
            if (!k->box->is_ended && k->must_from <= t && k->must_to > latest)
                latest = k->must_to;
        }
        moves = latest > t;
        t = latest;
    }
    return t >= to;
}

/* ---- deliveries ---------------------------------------------------------------------------------------------------
 */

/* check_member: invariants 1 and 2. */
static void check_member(struct model *m, const struct group *g, const struct box *b, const struct got *got)
{
    const struct pub *p = &m->pub[got->pub];
    unsigned mask = 0;
    bool wants_retain = false, is_member = false;
    for (uint32_t i = 0; i < g->member_n; i++) {
        const struct member *k = &g->member[i];
        if (k->box != b)
            continue;
        mask |= k->qos_mask;
        wants_retain |= k->retain_as_published;
        is_member |= k->may_to == MODEL_NEVER;
    }
    if (!is_member && !got->dup)
        model_fail(m, "%s: message %u came out of %.60s, of which it is no member", b->name, got->pub, g->name);
    if (!got->dup && !may_have_lasted(m, g, p->last_at))
        model_fail(m, "%s: message %u came out of %.60s, which did not exist when it was published", b->name, got->pub,
                   g->name);
    bool fits = false;
    for (unsigned qos = 0; qos <= 2; qos++)
        fits |= (mask & 1u << qos) && got->qos == MIN(qos, p->qos);
    if (!fits)
        model_fail(m, "%s: message %u of QoS %u came out of %.60s at QoS %u", b->name, got->pub, p->qos, g->name,
                   got->qos);
    if (got->retain && (!p->retain || !wants_retain))
        model_fail(m, "%s: message %u came out of %.60s with RETAIN", b->name, got->pub, g->name);
    if (got->dup && b->resumes == 0)
        model_fail(m, "%s: message %u came with DUP on the session's first connection", b->name, got->pub);
}

static bool had_one_member(const struct group *g)
{
    for (uint32_t i = 1; i < g->member_n; i++)
        if (g->member[i].box->session != g->member[0].box->session)
            return false;
    return true;
}

/* check_turn: invariant 3, for what is handed out for the first time. */
static void check_turn(struct model *m, struct group *g, const struct box *b, uint32_t pub)
{
    const struct pub *p = &m->pub[pub];
    if (!had_one_member(g) || p->attempts > 1 || p->due || p->is_will)
        return;
    g->last = model_grow(m->mem, g->last, &g->last_cap, p->stream + 1, sizeof(*g->last));
    if (g->last[p->stream] > pub + 1)
        model_fail(m, "%s: message %u came out of %.60s after message %u of the same publisher, topic and QoS", b->name,
                   pub, g->name, g->last[p->stream] - 1);
    g->last[p->stream] = MAX(g->last[p->stream], pub + 1);
}

static bool was_handed(const struct group *g, uint32_t pub)
{
    for (uint32_t i = g->handed_n; i-- > 0;)
        if (g->handed[i].pub == pub)
            return true;
    return false;
}

uint32_t model_handed(struct model *m, uint32_t group, struct box *b, uint32_t link, const struct got *got,
                      struct slice topic)
{
    struct group *g = group_at(m, group);
    const struct pub *p = &m->pub[got->pub];
    ++m->clock;
    m->gots++;
    if (!slice_eq_str(topic, p->to) || p->queue || !model_matches(g->filter, p->to))
        model_fail(m, "%s: message %u was sent to %s, it came from " SLICE_FMT " out of %.60s", b->name, got->pub,
                   p->to, SLICE_ARG(topic), g->name);
    model_check_fate(m, b, got->pub);
    check_member(m, g, b, got);
    if (!got->dup && !was_handed(g, got->pub))
        check_turn(m, g, b, got->pub);
    g->handed = model_grow(m->mem, g->handed, &g->handed_cap, g->handed_n + 1, sizeof(*g->handed));
    g->handed[g->handed_n] = (struct handed){.pub = got->pub,
                                             .link = link,
                                             .box = b,
                                             .at = m->clock,
                                             .answered_at = MODEL_NEVER,
                                             .qos = got->qos,
                                             .state = got->qos ? TAKE_HELD : TAKE_AUTO};
    return g->handed_n++;
}

void model_handed_answer(struct model *m, uint32_t group, uint32_t handed, enum take_state state)
{
    struct handed *h = &group_at(m, group)->handed[handed];
    h->state = (uint8_t)state;
    if (state == TAKE_ACKED)
        h->answered_at = ++m->clock;
}

/* ---- the end ------------------------------------------------------------------------------------------------------
 */

/* check_pair: `then` was seen after `first`. */
static void check_pair(struct model *m, const struct group *g, const struct handed *first, const struct handed *then)
{
    const struct link_life *l = &m->link[first->link], *lt = &m->link[then->link];
    bool is_order_unsure = lt->ended_at != MODEL_NEVER && !lt->by_peer;
    const char *twice = NULL;
    if (first->qos == 2 && then->qos == 2)
        twice = first->box == then->box ? "to one session at QoS 2" : "at QoS 2 to two sessions";
    else if (is_order_unsure)
        return;
    else if (first->qos == 2)
        twice = "and was first at QoS 2";
    else if (first->qos == 0)
        twice = "and was first at QoS 0";
    else if (first->state == TAKE_SURE && first->answered_at < then->at)
        twice = "after it had been acknowledged";
    else if (l->ended_at == MODEL_NEVER || (l->ended_at > then->at && l->by_peer))
        twice = "while the first member was still connected";
    if (twice)
        model_fail(m, "message %u was handed out twice by %.60s, %s (%.40s, %.40s)", first->pub, g->name, twice,
                   first->box->name, then->box->name);
}

/* is_excused: a member that took it at QoS 0, or took it at QoS 2 and then ended its session, may have lost it.
 * out_closed: the latter, which the broker counts. */
static bool is_excused(const struct group *g, const struct pub *p, bool *out_closed)
{
    for (uint32_t i = 0; i < g->member_n; i++) {
        const struct member *k = &g->member[i];
        if (k->may_to < p->sent_at)
            continue;
        if (k->qos_mask & 1) {
            *out_closed = false; /* it need not have been that */
            return true;
        }
        *out_closed |= p->qos == 2 && (k->qos_mask & 4) && k->box->is_ended;
    }
    return *out_closed;
}

static void check_missing(struct model *m, const struct group *g, uint32_t pub)
{
    const struct pub *p = &m->pub[pub];
    bool is_closed = false;
    if (!must_have_lasted(g, p->sent_at, p->acked_at))
        return;
    if (p->had_no_match && p->due == 0)
        model_fail(m, "message %u to %s was answered \"no matching subscribers\", but %.60s was one", pub, p->to,
                   g->name);
    if (was_handed(g, pub) || !must_have_lasted(g, p->sent_at, m->clock))
        return;
    if (is_excused(g, p, &is_closed)) {
        m->groups->missing_closed += is_closed;
        return;
    }
    if (m->missing++ == 0)
        snprintf(m->first_missing, sizeof(m->first_missing), "%.60s gave message %u to %.60s (QoS %u) to nobody",
                 g->name, pub, p->to, p->qos);
}

static void check_group(struct model *m, const struct group *g)
{
    for (uint32_t i = 0; i < g->handed_n; i++) {
        const struct pub *p = &m->pub[g->handed[i].pub];
        bool is_sent_twice = p->qos == 1 && p->attempts > 1; /* then it was published twice */
        for (uint32_t k = i + 1; k < g->handed_n && !is_sent_twice; k++)
            if (g->handed[k].pub == g->handed[i].pub)
                check_pair(m, g, &g->handed[i], &g->handed[k]);
    }
    for (uint32_t pub = 0; pub < m->pub_n; pub++) {
        const struct pub *p = &m->pub[pub];
        bool is_owed = p->fate == PUB_ACKED && p->qos != 0 && !p->is_clear && !p->may_expire && !p->queue;
        if (is_owed && model_matches(g->filter, p->to))
            check_missing(m, g, pub);
    }
}

void model_check_groups(struct model *m)
{
    ++m->clock;
    for (uint32_t i = 0; m->groups && i < m->groups->n; i++)
        check_group(m, &m->groups->group[i]);
}
