/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch_stomp.c: the rules of a STOMP server, from a peer's side.
 *
 *     what the peer asked for ─► ask[] (receipts, in order) ─► RECEIPT ─► sub[] on, off ─► MESSAGE ─► open[] ─►
 * answered
 *
 * Because a broker carries frames out in order and says what it says in order, "its RECEIPT came" is the moment from
 * which a subscription is there, or is not any more, for whoever reads.
 *
 * Cost    O(open deliveries) per MESSAGE.
 * Thread  one.
 * Spec    STOMP 1.2 §MESSAGE, §RECEIPT, §ERROR, §SUBSCRIBE, §UNSUBSCRIBE, §Heart-beating.
 */
#include "tests/support/watch_stomp.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/check.h"

static void wrong(struct watch_stomp *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void wrong(struct watch_stomp *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (w->why[0] == '\0')
        (void)vsnprintf(w->why, sizeof w->why, fmt, args);
    va_end(args);
}

void watch_stomp_free(struct watch_stomp *w)
{
    void (*on_message)(void *ctx, struct slice body) = w->on_message;
    void *ctx = w->ctx;
    free(w->heard.p);
    said_free(&w->said);
    memset(w, 0, sizeof *w);
    w->on_message = on_message;
    w->ctx = ctx;
}

/* ---- what the peer says --------------------------------------------------------------------------------------------
 */

void watch_stomp_asked(struct watch_stomp *w, enum watch_kind kind, uint32_t id, uint8_t which,
                       const struct watch_sub *next)
{
    if (w->ask_n == WATCH_STOMP_ASKS) {
        w->is_blind = true;
        return;
    }
    w->ask[w->ask_n++] = (struct watch_receipt){.id = id, .kind = (uint8_t)kind, .which = which};
    if (next != NULL)
        w->ask[w->ask_n - 1].next = *next;
}

void watch_stomp_granted(struct watch_stomp *w, uint8_t which, unsigned n)
{
    w->sub[which].granted += n;
    for (uint32_t i = 0; i < w->ask_n; i++)
        if (w->ask[i].kind == WATCH_SUB && w->ask[i].which == which)
            w->ask[i].next.granted += n;
}

void watch_stomp_answered(struct watch_stomp *w, uint32_t i, int tx)
{
    const struct watch_delivery of = w->open[i];
    uint32_t n = 0;
    for (uint32_t k = 0; k < w->open_n; k++) {
        struct watch_delivery *d = &w->open[k];
        bool is_meant = k == i || (of.is_cumulative && k < i && d->sub == of.sub && d->gen == of.gen && d->tx < 0);
        if (is_meant && tx >= 0)
            d->tx = (int8_t)tx;
        if (is_meant && tx < 0)
            continue;
        w->open[n++] = *d;
    }
    w->open_n = n;
}

void watch_stomp_ended(struct watch_stomp *w, int tx, bool is_commit)
{
    for (uint32_t k = 0; k < w->open_n; k++) {
        if (w->open[k].tx != tx || w->open[k].is_answered)
            continue;
        w->open[k].is_answered = is_commit;
        w->open[k].tx = (int8_t)(is_commit ? tx : -1);
    }
}

/* ---- what the broker says ------------------------------------------------------------------------------------------
 */

/* committed: its RECEIPT came; not all of it happened: the deliveries wait again. */
static void committed(struct watch_stomp *w, uint8_t tx, bool is_refused)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < w->open_n; k++) {
        struct watch_delivery d = w->open[k];
        bool is_meant = d.is_answered && d.tx == (int8_t)tx;
        if (is_meant && !is_refused)
            continue;
        if (is_meant) {
            d.is_answered = false;
            d.tx = -1;
        }
        w->open[n++] = d;
    }
    w->open_n = n;
}

static void hear_receipt(struct watch_stomp *w)
{
    struct slice id, result;
    char want[16];
    BUG_ON(!said_get(&w->said, "receipt-id", &id));
    if (w->is_blind)
        return;
    if (w->ask_n == 0) {
        wrong(w, "a RECEIPT nobody asked for: '%.*s'", (int)id.len, (const char *)id.p);
        return;
    }
    struct watch_receipt a = w->ask[0];
    (void)snprintf(want, sizeof want, "r%u", a.id);
    if (!slice_eq_str(id, want))
        wrong(w, "RECEIPT '%.*s' instead of '%s'", (int)id.len, (const char *)id.p, want);
    memmove(w->ask, w->ask + 1, --w->ask_n * sizeof w->ask[0]);
    bool is_refused = said_get(&w->said, "x-result", &result);
    if (a.kind == WATCH_SUB) {
        uint32_t gen = w->sub[a.which].gen + 1;
        w->sub[a.which] = a.next;
        w->sub[a.which].gen = gen;
        w->sub[a.which].is_on = true;
    } else if (a.kind == WATCH_UNSUB) {
        w->sub[a.which].is_on = false;
    } else if (a.kind == WATCH_COMMIT) {
        committed(w, a.which, is_refused);
    }
}

static uint64_t hash_of(struct slice s)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ s.p[i]) * 1099511628211u;
    return h;
}

/* is_new: message-id, within this connection; old ones may be forgotten. STOMP 1.2 §MESSAGE */
static bool is_new(struct watch_stomp *w, struct slice id)
{
    uint64_t h = hash_of(id);
    uint64_t *at = &w->seen[h % WATCH_STOMP_IDS];
    bool is_it = *at != h;
    *at = h;
    return is_it;
}

static void keep_open(struct watch_stomp *w, uint8_t sub, struct slice id)
{
    const struct watch_sub *s = &w->sub[sub];
    uint32_t open_n = 0;
    for (uint32_t k = 0; k < w->open_n; k++)
        open_n += w->open[k].sub == sub && w->open[k].gen == s->gen && !w->open[k].is_answered;
    if (s->prefetch != 0 && open_n >= s->prefetch)
        wrong(w, "%u open deliveries of subscription %u, whose prefetch is %u", open_n + 1, sub, s->prefetch);
    if (w->open_n == WATCH_STOMP_OPEN || id.len >= WATCH_STOMP_ID) {
        w->is_blind = true;
        return;
    }
    struct watch_delivery *d = &w->open[w->open_n++];
    *d = (struct watch_delivery){.sub = sub, .tx = -1, .is_cumulative = s->is_cumulative, .gen = s->gen};
    memcpy(d->id, id.p, id.len);
}

/* hear_delivery: a MESSAGE of one of the peer's own subscriptions. */
static void hear_delivery(struct watch_stomp *w, uint8_t sub, struct slice id)
{
    struct watch_sub *s = &w->sub[sub];
    struct slice ack = id, text;
    bool has_ack = said_get(&w->said, "ack", &ack), is_end = said_get(&w->said, "browser", &text);
    if (!s->is_on)
        wrong(w, "a MESSAGE for subscription %u, which is not there", sub);
    if (s->is_over)
        wrong(w, "a MESSAGE behind the end of browser %u", sub);
    if (has_ack != (w->version == 2 && s->wants_acks))
        wrong(w, "a MESSAGE of subscription %u %s ack", sub, has_ack ? "has an" : "has no");
    if (is_end && (!s->is_browser || !slice_eq_str(text, "end") || w->said.body.len != 0))
        wrong(w, "browser:end that is none, in subscription %u", sub);
    s->is_over = is_end;
    s->got += !is_end;
    if (s->is_pull && s->got > s->granted)
        wrong(w, "subscription %u asked for %llu messages and got more", sub, (unsigned long long)s->granted);
    if (s->wants_acks)
        keep_open(w, sub, ack);
}

static void hear_message(struct watch_stomp *w)
{
    struct slice id, sub = {0}, to;
    BUG_ON(!said_get(&w->said, "message-id", &id));
    if (!is_new(w, id))
        wrong(w, "message-id '%.*s' twice", (int)id.len, (const char *)id.p);
    bool has_sub = said_get(&w->said, "subscription", &sub);
    bool is_temp = has_sub && slice_starts_with(sub, SLICE("/temp-queue/"));
    if (said_get(&w->said, "reply-to", &to) && slice_starts_with(to, SLICE("/reply-queue/")) &&
        to.len < WATCH_STOMP_ID) {
        memset(w->reply_to, 0, sizeof w->reply_to);
        memcpy(w->reply_to, to.p, to.len);
    }
    if (w->on_message != NULL)
        w->on_message(w->ctx, w->said.body);
    if (w->is_blind)
        return;
    if (is_temp && !w->has_temp)
        wrong(w, "a MESSAGE of a temporary queue nobody asked for");
    else if (!is_temp && has_sub && (sub.len != 1 || sub.p[0] < '0' || sub.p[0] >= '0' + WATCH_STOMP_SUBS))
        wrong(w, "a MESSAGE of no subscription: '%.*s'", (int)sub.len, (const char *)sub.p);
    else if (!is_temp && has_sub)
        hear_delivery(w, (uint8_t)(sub.p[0] - '0'), id);
}

static uint32_t first_number(struct slice s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.len && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        n = MIN(n * 10 + (uint64_t)(s.p[i] - '0'), (uint64_t)UINT32_MAX);
    return (uint32_t)n;
}

static void hear_connected(struct watch_stomp *w)
{
    struct slice v;
    if (w->has_connected)
        wrong(w, "CONNECTED twice");
    w->has_connected = true;
    if (said_get(&w->said, "heart-beat", &v))
        w->beat_ms = first_number(v);
    if (said_get(&w->said, "version", &v) && v.len == 3)
        w->version = (unsigned)(v.p[2] - '0');
}

static void hear(struct watch_stomp *w)
{
    if (w->has_erred)
        wrong(w, "something behind an ERROR");
    if (w->said.is_beat) {
        if (!w->has_connected || (w->beat_ms == 0))
            wrong(w, "a heart-beat that was not agreed on");
        return;
    }
    (void)snprintf(w->frame, sizeof w->frame, "%.*s", (int)w->said.command.len, (const char *)w->said.command.p);
    bool is_connected = said_is(&w->said, "CONNECTED"), is_error = said_is(&w->said, "ERROR");
    if (!w->has_connected && !is_connected && !is_error)
        wrong(w, "%s before CONNECTED", w->frame);
    if (is_connected)
        hear_connected(w);
    else if (is_error)
        w->has_erred = true;
    else if (said_is(&w->said, "RECEIPT"))
        hear_receipt(w);
    else
        hear_message(w);
}

void watch_stomp_heard(struct watch_stomp *w, const void *bytes, size_t n)
{
    rig_put(&w->heard, bytes, n);
    w->heard_n += n;
    while (w->heard_at < w->heard.len && w->why[0] == '\0') {
        /* before CONNECTED an ERROR is said by the rules of 1.0, or of the version CONNECT asked for */
        ptrdiff_t eaten = said_read(&w->said, w->heard.p + w->heard_at, w->heard.len - w->heard_at, w->version);
        if (eaten == 0)
            break;
        if (eaten < 0) {
            wrong(w, "%s", w->said.why);
            break;
        }
        hear(w);
        w->heard_at += (size_t)eaten;
    }
    if (w->heard_at == w->heard.len)
        w->heard_at = w->heard.len = 0;
}
