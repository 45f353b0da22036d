/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_model.c: promises, and whether they were kept.
 *
 * What is checked
 *   1. A promised message arrives in every box that had a confirmed matching subscription from the moment it was first
 *      said until it was promised (routed, if it is delayed), and in the queue it was sent to. A refused one arrives
 *      nowhere.
 *   2. A receiver that knows repetitions (QoS 2) gets a message at most as often as it was published: once, unless its
 *      publisher had to repeat at QoS 1.
 *   3. What was settled in a queue, receipt and all, never comes back, there or as a dead letter.
 *   4. Of a transaction everything happened or nothing: its messages and the acknowledgements in it.
 *   5. First deliveries of one publisher reach a box in the order of publishing, where only one takes from it.
 *   6. A retained topic shows the last promised message or a later one.
 *   7. Nothing arrives where nobody asked for it, before its time, or with other bytes than were sent.
 * Cost    linear in messages.
 * Thread  one.
 */
#include "tests/sim/crash_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const crash_topics[TOPIC_N] = {"t/a", "t/b", "t/c", "d/x", "w/x", "g/a", "g/b"};
const char *const crash_filters[CRASH_FILTERS] = {"t/a", "t/b", "t/+", "t/c", "d/#", "w/+"};
const char *const crash_groups[CRASH_GROUPS] = {"$share/one/g/a", "$share/two/g/+"};
const char *const crash_queues[CRASH_QUEUES] = {"work", "shared", "later", "dead"};

#define BIT(i) (UINT32_C(1) << (i))

/* By filter and by group: bit per topic. */
static const uint32_t filter_mask[CRASH_FILTERS] = {
    BIT(TOPIC_A), BIT(TOPIC_B),       BIT(TOPIC_A) | BIT(TOPIC_B) | BIT(TOPIC_C),
    BIT(TOPIC_C), BIT(TOPIC_DELAYED), BIT(TOPIC_WILL)};
static const uint32_t group_mask[CRASH_GROUPS] = {BIT(TOPIC_GROUP), BIT(TOPIC_GROUP) | BIT(TOPIC_GROUP2)};

void crash_fail(struct crash_model *m, const char *fmt, ...)
{
    if (m->why[0] != 0)
        return; /* the first one is the cause */
    va_list args;
    va_start(args, fmt);
    vsnprintf(m->why, sizeof(m->why), fmt, args);
    va_end(args);
}

void *crash_grow(struct mem *mem, void *v, uint32_t *cap, uint32_t n, size_t item)
{
    if (n <= *cap)
        return v;
    *cap = MAX(n, *cap ? 2 * *cap : 16);
    void *bigger = mem_realloc(mem, v, *cap * item);
    BUG_ON(bigger == NULL);
    return bigger;
}

void crash_model_init(struct crash_model *m, struct mem *mem, const mono_ms *now)
{
    *m = (struct crash_model){.mem = mem, .now = now};
    for (uint32_t d = 0; d < CRASH_DEVS; d++)
        for (uint32_t k = 0; k < CRASH_KEEPS; k++)
            m->keep[d][k] = (struct crash_keep){.floor = CRASH_NONE, .last = CRASH_NONE};
}

void crash_model_fini(struct crash_model *m)
{
    mem_free(m->mem, m->msg);
    mem_free(m->mem, m->tx);
}

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

uint32_t crash_msg_new(struct crash_model *m, const struct crash_msg *spec)
{
    m->msg = crash_grow(m->mem, m->msg, &m->msg_cap, m->msg_n + 1, sizeof(*m->msg));
    struct crash_msg *c = &m->msg[m->msg_n];
    *c = *spec;
    c->order = m->msg_n; /* numbers are given in the order of saying */
    c->fate = MAYBE;     /* until it is said */
    c->bytes = MAX(c->bytes, CRASH_PAYLOAD_MIN);
    return m->msg_n++;
}

/* boxes_on: whose subscription to the message's topic is sure (or, with `maybe`, possible) now. */
static uint32_t boxes_on(const struct crash_model *m, const struct crash_msg *c, bool maybe)
{
    uint32_t boxes = 0;
    if (c->kind == TO_QUEUE)
        return BIT(BOX_QUEUE + c->place);
    if (c->kind == TO_KEEP)
        return 0;
    for (uint32_t d = 0; d < CRASH_DEVS; d++)
        for (uint32_t f = 0; f < CRASH_FILTERS; f++) {
            uint8_t state = m->sub[d][f].state;
            bool is_on = maybe ? state != SUB_OFF : state == SUB_ON;
            if (is_on && (filter_mask[f] & BIT(c->place)))
                boxes |= BIT(BOX_DEV + d);
        }
    for (uint32_t g = 0; g < CRASH_GROUPS; g++)
        if ((maybe || m->group_on[g]) && (group_mask[g] & BIT(c->place)))
            boxes |= BIT(BOX_GROUP + g);
    return boxes;
}

void crash_msg_say(struct crash_model *m, uint32_t msg)
{
    struct crash_msg *c = &m->msg[msg];
    c->may |= boxes_on(m, c, true);
    if (c->attempts++ == 0) {
        c->fate = SAID;
        c->said_at = *m->now;
        c->due += c->due ? *m->now : 0;
        c->until += c->until ? *m->now : 0;
        c->needs = boxes_on(m, c, false);
        if (c->kind == TO_QUEUE && c->place == 0)
            c->may |= BIT(BOX_DEAD);
    }
    if (c->kind == TO_KEEP)
        m->keep[c->from][c->place].last = msg;
}

void crash_msg_yes(struct crash_model *m, uint32_t msg)
{
    struct crash_msg *c = &m->msg[msg];
    c->fate = YES;
    if (c->kind == TO_KEEP)
        m->keep[c->from][c->place].floor = msg;
}

void crash_msg_no(struct crash_model *m, uint32_t msg)
{
    struct crash_msg *c = &m->msg[msg];
    c->fate = c->attempts == 1 ? NO : MAYBE;
    if (!m->may_refuse)
        crash_fail(m, "#%u was refused without a reason", msg);
    for (uint32_t b = 0; b < CRASH_BOXES && c->fate == NO; b++)
        if (c->at[b].got)
            crash_fail(m, "#%u was refused, but it had been delivered", msg);
}

void crash_msg_maybe(struct crash_model *m, uint32_t msg)
{
    if (m->msg[msg].fate == SAID)
        m->msg[msg].fate = MAYBE;
}

void crash_payload(const struct crash_model *m, uint32_t msg, uint8_t *out)
{
    char number[CRASH_PAYLOAD_MIN + 1];
    snprintf(number, sizeof(number), "%08x", msg);
    memcpy(out, number, CRASH_PAYLOAD_MIN);
    for (uint32_t i = CRASH_PAYLOAD_MIN; i < m->msg[msg].bytes; i++)
        out[i] = (uint8_t)(msg * 31 + i * 7);
}

uint32_t crash_from_payload(struct crash_model *m, struct slice payload)
{
    uint32_t msg = 0;
    bool ok = payload.len >= CRASH_PAYLOAD_MIN;
    for (uint32_t i = 0; ok && i < CRASH_PAYLOAD_MIN; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *at = payload.p[i] ? strchr(digits, payload.p[i]) : NULL;
        ok = at != NULL;
        msg = ok ? msg << 4 | (uint32_t)(at - digits) : 0;
    }
    if (!ok || msg >= m->msg_n || payload.len != m->msg[msg].bytes) {
        crash_fail(m, "a payload of %zu bytes that nobody sent", payload.len);
        return CRASH_NONE;
    }
    for (uint32_t i = CRASH_PAYLOAD_MIN; i < payload.len; i++)
        if (payload.p[i] != (uint8_t)(msg * 31 + i * 7)) {
            crash_fail(m, "#%u came with other bytes than were sent, from the %uth on", msg, i);
            return CRASH_NONE;
        }
    return msg;
}

/* ---- deliveries ---------------------------------------------------------------------------------------------------
 */

/* copies: how often it may have been published. */
static uint32_t copies(const struct crash_msg *c)
{
    return c->repeats ? c->attempts : 1;
}

static bool may_be_in(const struct crash_model *m, const struct crash_msg *c, uint32_t box)
{
    if (c->may & BIT(box))
        return true;
    if (c->kind != TO_TOPIC || box >= BOX_DEV + CRASH_DEVS)
        return false;
    for (uint32_t f = 0; f < CRASH_FILTERS; f++) { /* subscribed after it was said: it may have been routed late */
        const struct crash_sub *s = &m->sub[box][f];
        if ((filter_mask[f] & BIT(c->place)) && s->asked_at != 0 && s->asked_at >= c->said_at)
            return true;
    }
    return false;
}

static void check_order(struct crash_model *m, uint32_t box, const struct crash_msg *c)
{
    uint32_t *newest = &m->newest[box][c->from];
    if (!m->is_ordered[box] || c->is_late || c->at[box].got != 0 || !(c->needs & BIT(box)))
        return; /* where a subscription began or ended meanwhile, a repetition may be the first that arrives */
    if (m->may_refuse && c->attempts > 1)
        return; /* or where the first attempt was refused, and the answer lost */
    if (c->order + 1 < *newest)
        crash_fail(m, "#%u of publisher %u came to box %u after #%u", c->order, c->from, box, *newest - 1);
    *newest = c->order + 1;
}

/* seen: what is common to all kinds of deliveries. */
static void seen(struct crash_model *m, uint32_t box, uint32_t msg)
{
    struct crash_msg *c = &m->msg[msg];
    m->gots++;
    if (c->attempts == 0)
        crash_fail(m, "#%u arrived before it was said", msg);
    if (c->fate == NO)
        crash_fail(m, "#%u was refused, and came to box %u", msg, box);
    if (!may_be_in(m, c, box))
        crash_fail(m, "#%u came to box %u, which never asked for it", msg, box);
    if (c->due && *m->now < c->due && !m->ignores_due)
        crash_fail(m, "#%u came %llu ms before its time", msg, (unsigned long long)(c->due - *m->now));
    if (c->until && *m->now > c->until + m->late_ms && !m->ignores_due && box != BOX_DEAD)
        crash_fail(m, "#%u came %llu ms after it had expired", msg, (unsigned long long)(*m->now - c->until));
    if (c->tx && m->tx[c->tx - 1].state == CRASH_TX_VOID)
        crash_fail(m, "#%u came to box %u, but its transaction %u did not happen", msg, box, c->tx - 1);
    if (c->tx)
        m->tx[c->tx - 1].state = CRASH_TX_DONE;
    check_order(m, box, c);
}

void crash_got(struct crash_model *m, uint32_t box, uint32_t msg, bool is_exact)
{
    struct crash_at *at = &m->msg[msg].at[box];
    seen(m, box, msg);
    at->got += at->got < UINT8_MAX;
    if (is_exact && at->got > copies(&m->msg[msg]))
        crash_fail(m, "#%u was delivered %u times at QoS 2 to box %u, published %u times", msg, at->got, box,
                   copies(&m->msg[msg]));
}

/* back_from_tx: it comes again, so the transaction in which it was acknowledged did not happen. */
static void back_from_tx(struct crash_model *m, uint32_t box, uint32_t msg)
{
    struct crash_at *at = &m->msg[msg].at[box];
    if (at->tx == 0)
        return;
    uint32_t tx = at->tx - 1;
    at->tx = 0;
    if (copies(&m->msg[msg]) > 1)
        return; /* perhaps another copy */
    if (m->tx[tx].state == CRASH_TX_DONE)
        crash_fail(m, "#%u came back to box %u, but transaction %u, which acknowledged it, happened", msg, box, tx);
    m->tx[tx].state = CRASH_TX_VOID;
}

void crash_take(struct crash_model *m, uint32_t box, uint32_t msg)
{
    struct crash_msg *c = &m->msg[msg];
    struct crash_at *at = &c->at[box];
    seen(m, box, msg);
    uint32_t over = at->done + at->moved;
    if (box == BOX_DEAD) {
        over = at->done + c->at[BOX_QUEUE].done;
        if (!c->at[BOX_QUEUE].was_rejected && (c->until == 0 || (*m->now < c->until && !m->ignores_due)))
            crash_fail(m, "#%u is a dead letter, but nobody rejected it", msg);
    } else if (box == BOX_QUEUE) {
        over += c->at[BOX_DEAD].done > at->moved ? c->at[BOX_DEAD].done - at->moved : 0;
    }
    if (over >= copies(c))
        crash_fail(m, "#%u came back to box %u after it was settled", msg, box);
    back_from_tx(m, box, msg);
    if (box == BOX_QUEUE) { /* so it is no dead letter any more */
        back_from_tx(m, BOX_DEAD, msg);
        c->at[BOX_DEAD].answered = false;
    }
    m->returned += at->got != 0;
    at->answered = at->rejected = false;
    at->got += at->got < UINT8_MAX;
}

void crash_answer(struct crash_model *m, uint32_t box, uint32_t msg, bool accepts, uint32_t tx)
{
    struct crash_at *at = &m->msg[msg].at[box];
    at->answered |= accepts;
    at->rejected |= !accepts;
    at->was_rejected |= !accepts;
    at->was_answered |= accepts;
    at->tx = tx;
    if (tx)
        m->tx[tx - 1].acks++;
}

void crash_done(struct crash_model *m, uint32_t box, uint32_t msg, bool accepts)
{
    struct crash_at *at = &m->msg[msg].at[box];
    at->done += accepts;
    at->moved += !accepts;
}

/* ---- transactions -------------------------------------------------------------------------------------------------
 */

uint32_t crash_tx_new(struct crash_model *m)
{
    m->tx = crash_grow(m->mem, m->tx, &m->tx_cap, m->tx_n + 1, sizeof(*m->tx));
    m->tx[m->tx_n] = (struct crash_tx){0};
    return m->tx_n++;
}

void crash_tx_ended(struct crash_model *m, uint32_t tx, enum crash_tx_state s)
{
    if (m->tx[tx].state != CRASH_TX_OPEN && m->tx[tx].state != s)
        crash_fail(m, "transaction %u %s, but some of it was seen to be otherwise", tx,
                   s == CRASH_TX_DONE ? "was committed" : "was refused");
    m->tx[tx].state = (uint8_t)s;
    for (uint32_t i = 0; i < m->msg_n && s == CRASH_TX_DONE; i++) {
        struct crash_msg *c = &m->msg[i];
        if (c->tx == tx + 1)
            crash_msg_yes(m, i);
        for (uint32_t b = BOX_QUEUE; b < CRASH_BOXES; b++)
            if (c->at[b].tx == tx + 1) {
                c->at[b].tx = 0;
                c->at[b].done++;
            }
    }
}

/* ---- sessions -----------------------------------------------------------------------------------------------------
 */

/* is_open: it may still be routed, or already was, before its promise. */
static bool is_open(const struct crash_msg *c, uint32_t box)
{
    return c->fate == SAID || (c->is_late && c->at[box].got == 0);
}

void crash_sub_ask(struct crash_model *m, uint32_t dev, uint32_t filter, bool is_unsubscribe)
{
    struct crash_sub *s = &m->sub[dev][filter];
    if (!is_unsubscribe) {
        s->asked_at = *m->now;
        s->state = s->state == SUB_ON ? SUB_ON : SUB_ASKED;
        return;
    }
    s->state = SUB_LEAVING;
    for (uint32_t i = 0; i < m->msg_n; i++) {
        struct crash_msg *c = &m->msg[i];
        if (is_open(c, dev) && !(boxes_on(m, c, false) & BIT(dev)))
            c->needs &= ~BIT(dev);
    }
}

void crash_sub_answer(struct crash_model *m, uint32_t dev, uint32_t filter, bool is_unsubscribe)
{
    m->sub[dev][filter].state = is_unsubscribe ? SUB_OFF : SUB_ON;
}

void crash_session_over(struct crash_model *m, uint32_t dev)
{
    for (uint32_t f = 0; f < CRASH_FILTERS; f++)
        m->sub[dev][f].state = SUB_OFF;
    for (uint32_t i = 0; i < m->msg_n; i++)
        m->msg[i].needs &= ~BIT(dev);
}

void crash_will_due(struct crash_model *m, uint32_t msg)
{
    if (!m->may_refuse)
        m->msg[msg].fate = YES;
}

void crash_check_keep(struct crash_model *m, uint32_t dev, uint32_t k, uint32_t floor, uint32_t msg)
{
    const struct crash_keep *keep = &m->keep[dev][k];
    if (msg == CRASH_NONE) {
        if (floor != CRASH_NONE)
            crash_fail(m, "retained topic r/%u/%u shows nothing, #%u was promised", dev, k, floor);
        return;
    }
    const struct crash_msg *c = &m->msg[msg];
    if (c->kind != TO_KEEP || c->from != dev || c->place != k || c->fate == NO)
        crash_fail(m, "retained topic r/%u/%u shows #%u, which was never put there", dev, k, msg);
    bool was_late = m->may_refuse && c->attempts > 1; /* refused first, and accepted when it was repeated */
    if (floor != CRASH_NONE && msg < floor && !was_late)
        crash_fail(m, "retained topic r/%u/%u shows #%u, #%u was promised", dev, k, msg, floor);
    if (keep->last == CRASH_NONE || msg > keep->last)
        crash_fail(m, "retained topic r/%u/%u shows #%u before it was said", dev, k, msg);
}

/* ---- judgement ----------------------------------------------------------------------------------------------------
 */

static bool is_promised(const struct crash_model *m, const struct crash_msg *c)
{
    return c->until == 0 && (c->fate == YES || (c->tx && m->tx[c->tx - 1].state == CRASH_TX_DONE));
}

/* judge_limbo: acknowledged in a transaction nobody heard of, and it never came back: then the transaction happened, or
 * the message itself was lost, as it may be without a promise. */
static void judge_limbo(struct crash_model *m)
{
    for (uint32_t i = 0; i < m->msg_n; i++)
        for (uint32_t b = BOX_QUEUE; b < CRASH_BOXES; b++) {
            struct crash_at *at = &m->msg[i].at[b];
            if (at->tx == 0 || copies(&m->msg[i]) > 1 || !is_promised(m, &m->msg[i]))
                continue;
            struct crash_tx *t = &m->tx[at->tx - 1];
            if (t->state == CRASH_TX_VOID)
                crash_fail(m, "#%u was acknowledged in transaction %u, which did not happen, and is gone from box %u",
                           i, at->tx - 1, b);
            t->state = CRASH_TX_DONE;
            at->done++;
        }
}

static void judge_queued(struct crash_model *m, uint32_t i)
{
    const struct crash_msg *c = &m->msg[i];
    const struct crash_at *at = &c->at[BOX_QUEUE + c->place], *dead = &c->at[BOX_DEAD];
    if (at->got == 0 && dead->got == 0)
        crash_fail(m, "#%u was promised to queue %s and never came", i, crash_queues[c->place]);
    bool is_settled = at->answered || at->done || (dead->got && (dead->answered || dead->done));
    /* Where brokers close connections of their own accord, one consumer's copy may arrive after the next one's answer.
     */
    if (!is_settled && !(m->may_refuse && (at->rejected || at->was_answered)))
        crash_fail(m, "#%u was taken from queue %s, given back, and is gone", i, crash_queues[c->place]);
}

void crash_judge(struct crash_model *m)
{
    judge_limbo(m);
    for (uint32_t i = 0; i < m->msg_n; i++) {
        struct crash_msg *c = &m->msg[i];
        if (!is_promised(m, c))
            continue;
        if (c->kind == TO_QUEUE)
            judge_queued(m, i);
        for (uint32_t b = 0; b < BOX_QUEUE; b++)
            if ((c->needs & BIT(b)) && c->at[b].got == 0)
                crash_fail(m, "#%u (%s, publisher %u) was promised to box %u and never came", i,
                           c->tx        ? "in a transaction"
                           : c->due     ? "delayed"
                           : c->is_late ? "a will"
                                        : crash_topics[c->place],
                           c->from, b);
    }
}
