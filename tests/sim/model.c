/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c: messages and boxes: who may have got what, and who must.
 *
 * A promise is an interval. The broker took a message in somewhere between sent_at and last_at; a subscription began
 * somewhere between may_from and must_from and ended somewhere between must_to and may_to:
 *
 *     sub     may_from ···· must_from ════════════ must_to ···· may_to
 *     must             sent_at ──── acked_at        lies within the double line
 *     may        sent_at ──── last_at               touches any of it
 *
 * Invariants checked on every delivery
 *   1. The bytes and the topic are those that were sent; some subscription may have matched; QoS is at most what was
 *      published and granted; RETAIN only on what was published so; never after a refusal.
 *   2. QoS 0 at most once per sending, QoS 2 once per session, QoS 1 without DUP at most once per sending; DUP only
 * after a new connection. Retained replays are allowed once per SUBSCRIBE on top.
 *   3. First deliveries of one publisher, topic and QoS come in the order of publishing.
 * and at the end: acknowledged at QoS 1 or 2 and subscribed all the time means delivered.
 * Cost    O(subs of the box) per delivery; O(pubs · boxes · subs) at the end.
 */
#include "tests/sim/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/model_group.h"

struct tally { /* deliveries of one message to one box */
    uint32_t n, fresh /* not DUP, not RETAIN */, retained, at_qos0, at_qos2;
};

void model_fail(struct model *m, const char *fmt, ...)
{
    if (m->why[0])
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(m->why, sizeof(m->why), fmt, args);
    va_end(args);
}

void *model_grow(struct mem *mem, void *v, uint32_t *cap, uint32_t n, size_t size)
{
    if (n <= *cap)
        return v;
    uint32_t bigger_cap = MAX(n, *cap ? 2 * *cap : 16);
    uint8_t *bigger = mem_realloc(mem, v, bigger_cap * size);
    BUG_ON(bigger == NULL);
    memset(bigger + *cap * size, 0, (bigger_cap - *cap) * size);
    *cap = bigger_cap;
    return bigger;
}

void model_init(struct model *m, struct mem *mem)
{
    *m = (struct model){.mem = mem, .clock = 1};
}

void model_fini(struct model *m)
{
    for (uint32_t i = 0; i < m->box_n; i++) {
        mem_free(m->mem, m->box[i]->sub);
        mem_free(m->mem, m->box[i]->tally);
        mem_free(m->mem, m->box[i]->last);
        mem_free(m->mem, m->box[i]);
    }
    model_groups_fini(m);
    mem_free(m->mem, m->box);
    mem_free(m->mem, m->pub);
    mem_free(m->mem, m->take);
    mem_free(m->mem, m->link);
    mem_free(m->mem, m->tx);
}

/* ---- matching -----------------------------------------------------------------------------------------------------
 */

static size_t level_len(const char *s)
{
    return strcspn(s, "/");
}

/* matches_levels: f and t point to the start of a level, or are NULL behind the last one. */
static bool matches_levels(const char *f, const char *t)
{
    if (f == NULL)
        return t == NULL;
    size_t fn = level_len(f), tn = t ? level_len(t) : 0;
    const char *f_next = f[fn] ? f + fn + 1 : NULL, *t_next = t && t[tn] ? t + tn + 1 : NULL;
    if (fn == 1 && f[0] == '#')
        return matches_levels(f_next, t) || (t && matches_levels(f, t_next));
    if (t == NULL)
        return false;
    bool same = (fn == 1 && f[0] == '+') || (fn == tn && memcmp(f, t, fn) == 0);
    return same && matches_levels(f_next, t_next);
}

bool model_matches(const char *filter, const char *topic)
{
    if (topic[0] == '$' && level_len(filter) == 1 && (filter[0] == '+' || filter[0] == '#'))
        return false; /* [MQTT-4.7.2-1] */
    return matches_levels(filter, topic);
}

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

static uint32_t stream_of(struct model *m, const struct pub *p)
{
    for (uint32_t i = m->pub_n; i-- > 0;) {
        const struct pub *q = &m->pub[i];
        if (q->from == p->from && q->qos == p->qos && q->queue == p->queue && strcmp(q->to, p->to) == 0)
            return q->stream;
    }
    return m->stream_n++;
}

uint32_t model_pub_new(struct model *m, const struct pub *p)
{
    m->pub = model_grow(m->mem, m->pub, &m->pub_cap, m->pub_n + 1, sizeof(*m->pub));
    struct pub *q = &m->pub[m->pub_n];
    *q = *p;
    q->stream = stream_of(m, p);
    q->sent_at = ++m->clock;
    q->acked_at = q->last_at = MODEL_NEVER;
    q->attempts = 1;
    q->fate = PUB_OPEN;
    return m->pub_n++;
}

void model_pub_again(struct model *m, uint32_t pub)
{
    m->pub[pub].attempts++;
    m->pub[pub].last_at = MODEL_NEVER;
}

void model_pub_acked(struct model *m, uint32_t pub)
{
    struct pub *p = &m->pub[pub];
    if (p->fate != PUB_OPEN)
        model_fail(m, "message %u was acknowledged twice", pub);
    p->fate = PUB_ACKED;
    p->acked_at = ++m->clock;
    if (p->due == 0)
        p->last_at = m->clock;
}

static uint32_t times_delivered(const struct model *m, uint32_t pub)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->box_n; i++)
        n += pub < m->box[i]->tally_cap ? m->box[i]->tally[pub].n : 0;
    return n;
}

void model_pub_refused(struct model *m, uint32_t pub)
{
    struct pub *p = &m->pub[pub];
    p->fate = PUB_REFUSED;
    p->last_at = ++m->clock;
    if (p->attempts == 1 && times_delivered(m, pub) != 0)
        model_fail(m, "message %u was refused after it had been delivered", pub);
}

void model_pub_never(struct model *m, uint32_t pub)
{
    m->pub[pub].fate = PUB_NEVER;
    if (times_delivered(m, pub) != 0)
        model_fail(m, "message %u was published, but should not have been", pub);
}

void model_pub_settled(struct model *m, uint32_t from)
{
    ++m->clock;
    for (uint32_t i = 0; i < m->pub_n; i++)
        if (m->pub[i].from == from && m->pub[i].last_at == MODEL_NEVER && !m->pub[i].is_will && m->pub[i].due == 0)
            m->pub[i].last_at = m->clock;
}

static uint8_t filler(uint32_t pub, uint32_t i)
{
    return (uint8_t)((pub * 2654435761u >> 8) + i * 7);
}

void model_payload(const struct model *m, uint32_t pub, uint8_t *out)
{
    char head[PAYLOAD_MIN + 1];
    BUG_ON(m->pub[pub].bytes < PAYLOAD_MIN);
    snprintf(head, sizeof(head), "weir%07x:", pub & 0xfffffff);
    memcpy(out, head, PAYLOAD_MIN);
    for (uint32_t i = PAYLOAD_MIN; i < m->pub[pub].bytes; i++)
        out[i] = filler(pub, i);
}

void model_tag(uint32_t pub, char out[MODEL_TAG])
{
    snprintf(out, MODEL_TAG, "tag:%u\\", pub & 0xffffff); /* with what STOMP has to escape */
}

void model_check_tag(struct model *m, uint32_t pub, struct slice tag)
{
    char sent[MODEL_TAG] = "";
    if (m->pub[pub].has_tag)
        model_tag(pub, sent);
    if (!slice_eq_str(tag, sent))
        model_fail(m, "message %u was sent with tag '%s', it came with '" SLICE_FMT "'", pub, sent, SLICE_ARG(tag));
}

uint32_t model_pub_from_payload(struct model *m, struct slice payload)
{
    unsigned pub;
    char head[PAYLOAD_MIN + 1] = {0};
    if (payload.len >= PAYLOAD_MIN)
        memcpy(head, payload.p, PAYLOAD_MIN);
    if (sscanf(head, "weir%7x:", &pub) != 1 || pub >= m->pub_n) {
        model_fail(m, "a payload of %zu bytes that nobody sent was delivered", payload.len);
        return MODEL_NONE;
    }
    bool same = payload.len == m->pub[pub].bytes;
    for (uint32_t i = PAYLOAD_MIN; same && i < payload.len; i++)
        same = payload.p[i] == filler(pub, i);
    if (same)
        return pub;
    model_fail(m, "the payload of message %u was delivered damaged", pub);
    return MODEL_NONE;
}

/* ---- boxes --------------------------------------------------------------------------------------------------------
 */

struct box *model_box_new(struct model *m, const char *name, uint32_t session, bool is_stomp)
{
    m->box = model_grow(m->mem, m->box, &m->box_cap, m->box_n + 1, sizeof(*m->box));
    struct box *b = mem_zalloc(m->mem, sizeof(*b));
    BUG_ON(b == NULL);
    snprintf(b->name, sizeof(b->name), "%s", name);
    b->session = session;
    b->is_stomp = is_stomp;
    m->box[m->box_n++] = b;
    return b;
}

uint32_t model_sub_ask(struct model *m, struct box *b, const struct sub *s)
{
    ++m->clock;
    for (uint32_t i = 0; i < b->sub_n; i++)
        if (b->sub[i].must_to == MODEL_NEVER && strcmp(b->sub[i].filter, s->filter) == 0)
            b->sub[i].must_to = m->clock; /* its options may be replaced any time now */
    b->sub = model_grow(m->mem, b->sub, &b->sub_cap, b->sub_n + 1, sizeof(*b->sub));
    struct sub *t = &b->sub[b->sub_n];
    *t = *s;
    t->may_from = m->clock;
    t->must_from = t->must_to = t->may_to = MODEL_NEVER;
    b->sub_asks++;
    return b->sub_n++;
}

void model_sub_granted(struct model *m, struct box *b, uint32_t sub)
{
    b->sub[sub].must_from = ++m->clock;
    for (uint32_t i = 0; i < sub; i++) /* what it replaced is over */
        if (b->sub[i].may_to == MODEL_NEVER && strcmp(b->sub[i].filter, b->sub[sub].filter) == 0)
            b->sub[i].may_to = m->clock;
}

void model_sub_drop(struct model *m, struct box *b, const char *filter)
{
    ++m->clock;
    for (uint32_t i = 0; i < b->sub_n; i++)
        if (b->sub[i].must_to == MODEL_NEVER && strcmp(b->sub[i].filter, filter) == 0)
            b->sub[i].must_to = m->clock;
}

void model_sub_gone(struct model *m, struct box *b, const char *filter)
{
    ++m->clock;
    for (uint32_t i = 0; i < b->sub_n; i++) /* but not one that was asked for after the UNSUBSCRIBE */
        if (b->sub[i].may_to == MODEL_NEVER && b->sub[i].must_to != MODEL_NEVER &&
            strcmp(b->sub[i].filter, filter) == 0)
            b->sub[i].may_to = m->clock;
}

/* is_own: may No Local keep it away? is_surely_own: it must. Of wills and delayed messages, which the broker publishes
 * in the end, it is not said whose they are. */
static bool is_own(const struct box *b, const struct pub *p, const struct sub *s)
{
    return s->no_local && p->session != 0 && p->session == b->session;
}

static bool is_surely_own(const struct box *b, const struct pub *p, const struct sub *s)
{
    return is_own(b, p, s) && p->due == 0 && !p->is_will;
}

/* may_get: the best QoS at which some subscription can have matched; -1 if none can. */
static int may_get(const struct box *b, const struct pub *p, bool is_replay)
{
    int best = -1;
    for (uint32_t i = 0; i < b->sub_n; i++) {
        const struct sub *s = &b->sub[i];
        bool in_time = p->sent_at <= s->may_to && (is_replay || p->last_at >= s->may_from);
        if (in_time && (is_replay || !is_surely_own(b, p, s)) && model_matches(s->filter, p->to))
            best = MAX(best, (int)MIN(s->qos, p->qos));
    }
    return best;
}

static bool has_rap(const struct box *b)
{
    for (uint32_t i = 0; i < b->sub_n; i++)
        if (b->sub[i].retain_as_published)
            return true;
    return false;
}

static struct tally *tally_of(struct model *m, struct box *b, uint32_t pub)
{
    b->tally = model_grow(m->mem, b->tally, &b->tally_cap, pub + 1, sizeof(*b->tally));
    return &b->tally[pub];
}

static void check_count(struct model *m, const struct box *b, const struct got *g, const struct tally *t)
{
    const struct pub *p = &m->pub[g->pub];
    uint32_t sendings = p->qos == 1 ? p->attempts : 1; /* QoS 2 is published once, however often it is sent */
    uint32_t replays = p->retain ? b->sub_asks : 0;
    if (t->at_qos2 > 1 + replays)
        model_fail(m, "%s: message %u came at QoS 2 more than once", b->name, g->pub);
    if (t->at_qos0 > sendings + replays)
        model_fail(m, "%s: message %u came at QoS 0 more than once", b->name, g->pub);
    if (t->fresh > sendings)
        model_fail(m, "%s: message %u came %u times without DUP, it was sent %u times", b->name, g->pub, t->fresh,
                   sendings);
    if (t->retained > sendings + replays && b->resumes == 0)
        model_fail(m, "%s: message %u came %u times with RETAIN", b->name, g->pub, t->retained);
}

static void check_order(struct model *m, struct box *b, uint32_t pub, uint32_t stream)
{
    b->last = model_grow(m->mem, b->last, &b->last_cap, stream + 1, sizeof(*b->last));
    if (b->last[stream] > pub + 1)
        model_fail(m, "%s: message %u came after message %u of the same publisher, topic and QoS", b->name, pub,
                   b->last[stream] - 1);
    b->last[stream] = pub + 1;
}

/* was_subscribed: from before the first sending until now. */
static bool was_subscribed(const struct box *b, const struct pub *p)
{
    for (uint32_t i = 0; i < b->sub_n; i++)
        if (b->sub[i].must_from <= p->sent_at && b->sub[i].must_to == MODEL_NEVER && b->sub[i].qos != 0 &&
            !is_own(b, p, &b->sub[i]) && model_matches(b->sub[i].filter, p->to))
            return true;
    return false;
}

static bool has_id(const struct got *g, uint32_t id)
{
    for (uint32_t i = 0; i < g->sub_id_n; i++)
        if (g->sub_id[i] == id)
            return true;
    return false;
}

/* check_sub_ids: every identifier is that of a subscription that may have matched; and one that certainly did is there
 * (MQTT 5 §3.3.4). A replay carries only that of the SUBSCRIBE it answers. */
static void check_sub_ids(struct model *m, const struct box *b, const struct got *g)
{
    const struct pub *p = &m->pub[g->pub];
    uint32_t known = 0;
    for (uint32_t i = 0; i < b->sub_n; i++) {
        const struct sub *s = &b->sub[i];
        if (s->id == 0 || (is_surely_own(b, p, s) && !g->retain) || !model_matches(s->filter, p->to))
            continue;
        if (p->sent_at <= s->may_to)
            known |= 1u << s->id;
        bool is_sure = !g->retain && !is_own(b, p, s) && s->must_from <= p->sent_at && s->must_to == MODEL_NEVER;
        if (is_sure && !has_id(g, s->id))
            model_fail(m, "%s: message %u came without Subscription Identifier %u of %s", b->name, g->pub, s->id,
                       s->filter);
    }
    for (uint32_t i = 0; i < g->sub_id_n; i++)
        if (g->sub_id[i] >= 32 || (known & 1u << g->sub_id[i]) == 0)
            model_fail(m, "%s: message %u came with Subscription Identifier %u, no matching subscription has it",
                       b->name, g->pub, g->sub_id[i]);
}

/* check_replay: what was retained before does not come after what replaced it. */
static void check_replay(struct model *m, const struct box *b, uint32_t pub)
{
    const struct pub *p = &m->pub[pub];
    uint32_t last = p->stream < b->last_cap ? b->last[p->stream] : 0;
    if (last > pub + 1 && m->pub[last - 1].retain && p->attempts == 1 && !m->may_drop)
        model_fail(m, "%s: retained message %u came after message %u, which replaced it", b->name, pub, last - 1);
}

void model_check_fate(struct model *m, const struct box *b, uint32_t pub)
{
    const struct pub *p = &m->pub[pub];
    if (p->fate == PUB_NEVER || (p->fate == PUB_REFUSED && p->attempts == 1))
        model_fail(m, "%s: message %u came although it was %s", b->name, pub,
                   p->fate == PUB_NEVER ? "never published" : "refused");
    if (m->now && *m->now < p->due)
        model_fail(m, "%s: message %u came %llu ms before its delay had passed", b->name, pub,
                   (unsigned long long)(p->due - *m->now));
}

void model_got(struct model *m, struct box *b, const struct got *g, struct slice topic)
{
    ++m->clock;
    m->gots++;
    const struct pub *p = &m->pub[g->pub];
    if (!slice_eq_str(topic, p->to) || p->queue)
        model_fail(m, "%s: message %u was sent to %s, it came from " SLICE_FMT, b->name, g->pub, p->to,
                   SLICE_ARG(topic));
    model_check_fate(m, b, g->pub);
    int qos = may_get(b, p, g->retain && p->retain);
    if (qos < 0)
        model_fail(m, "%s: message %u to %s came, but no subscription asked for it", b->name, g->pub, p->to);
    else if (!b->is_stomp && g->qos > qos)
        model_fail(m, "%s: message %u came at QoS %u, %d is the most", b->name, g->pub, g->qos, qos);
    if (g->retain && !p->retain)
        model_fail(m, "%s: message %u came with RETAIN, it was sent without", b->name, g->pub);
    if (g->dup && b->resumes == 0 && !b->is_stomp)
        model_fail(m, "%s: message %u came with DUP on the session's first connection", b->name, g->pub);
    struct tally *t = tally_of(m, b, g->pub);
    bool is_first = t->n == 0;
    t->n++;
    t->fresh += !g->dup && !g->retain;
    t->retained += g->retain && !g->dup;
    t->at_qos0 += g->qos == 0 && !b->is_stomp;
    t->at_qos2 += g->qos == 2;
    check_count(m, b, g, t);
    check_sub_ids(m, b, g);
    if (g->retain && !g->dup && !has_rap(b))
        check_replay(m, b, g->pub);
    /* Sent again: the first copy may have been lost at QoS 0, dropped, expired, or come before the subscription. */
    bool may_be_late = p->attempts > 1 && (g->qos == 0 || m->may_drop || p->may_expire || !was_subscribed(b, p));
    if (is_first && !g->retain && !may_be_late && p->due == 0)
        check_order(m, b, g->pub, p->stream);
    else if (is_first && g->retain && !has_rap(b))
        tally_of(m, b, g->pub)->n = 0; /* a replay: its live copy may still come, and in order */
}

/* must_get: is this box owed the message? */
static bool must_get(const struct box *b, const struct pub *p)
{
    if (b->is_ended || p->fate != PUB_ACKED || p->qos == 0 || p->is_clear || p->may_expire || p->queue)
        return false;
    for (uint32_t i = 0; i < b->sub_n; i++) {
        const struct sub *s = &b->sub[i];
        if (s->qos != 0 && s->must_from <= p->sent_at && s->must_to >= (p->due ? MODEL_NEVER : p->acked_at) &&
            !is_own(b, p, s) && model_matches(s->filter, p->to))
            return true;
    }
    return false;
}

void model_pub_no_match(struct model *m, uint32_t pub)
{
    m->pub[pub].had_no_match = true;
}

void model_check_boxes(struct model *m)
{
    for (uint32_t i = 0; i < m->box_n; i++) {
        struct box *b = m->box[i];
        for (uint32_t pub = 0; !b->is_ended && pub < m->pub_n; pub++) {
            const struct tally *t = tally_of(m, b, pub);
            if (!must_get(b, &m->pub[pub]))
                continue;
            if (m->pub[pub].had_no_match)
                model_fail(m, "message %u to %s was answered \"no matching subscribers\", but %s was one", pub,
                           m->pub[pub].to, b->name);
            if (t->n != 0 || t->retained != 0)
                continue;
            if (m->missing++ == 0)
                snprintf(m->first_missing, sizeof(m->first_missing), "%.60s never got message %u to %.60s (QoS %u)",
                         b->name, pub, m->pub[pub].to, m->pub[pub].qos);
        }
    }
}

void model_check_retained(struct model *m, const char *topic, uint32_t pub)
{
    /* Refuted when some later one was certainly taken in behind all that it could be. */
    uint64_t last_at = pub == MODEL_NONE ? 0 : m->pub[pub].last_at;
    if (pub != MODEL_NONE && !m->pub[pub].retain)
        model_fail(m, "message %u is retained on %s, it was sent without RETAIN", pub, topic);
    for (uint32_t i = 0; pub == MODEL_NONE && i < m->pub_n; i++) {
        const struct pub *p = &m->pub[i]; /* nothing is there: the last clearing, or an expiry, can be the reason */
        if (p->retain && strcmp(p->to, topic) == 0 && p->fate != PUB_NEVER && (p->is_clear || p->may_expire))
            last_at = MAX(last_at, p->may_expire ? MODEL_NEVER : p->last_at);
    }
    for (uint32_t i = 0; i < m->pub_n; i++) {
        const struct pub *p = &m->pub[i];
        if (!p->retain || p->queue || p->fate != PUB_ACKED || strcmp(p->to, topic) != 0 || p->sent_at <= last_at)
            continue;
        if (pub == MODEL_NONE && !p->is_clear)
            model_fail(m, "%s has no retained message, message %u should be", topic, i);
        else if (pub != MODEL_NONE)
            model_fail(m, "message %u is retained on %s, but message %u was %s later", pub, topic, i,
                       p->is_clear ? "cleared" : "sent");
    }
}
