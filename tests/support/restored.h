/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_RESTORED_H
#define WEIR_TESTS_RESTORED_H

/*
 * restored.h: what peers see of a broker that ended and began anew, over tests/support/fake.h. Include it behind
 * cmocka.
 *
 *     struct fake *f = restored_new();
 *     ... verbs ...
 *     restart(f, FAKE_CRASHES, 5000);
 *     struct conn *c = back(f, "me", 60);       its session was there
 *     assert_string_equal(got(f, c), "t=x q1 #1 dup; release #2");
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/attrs.h"
#include "core/retained.h"
#include "tests/support/verbs.h"

/* restored_new: a broker whose store survives it, and behaves as a log does. */
static inline struct fake *restored_new(void)
{
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    config.is_log_like = true;
    struct fake *f = fake_new(&config);
    assert_non_null(f);
    return f;
}

/* restart: everything is durable; then it ends (if fake_end did not see to that), and begins anew. */
static inline void restart(struct fake *f, enum fake_end how, mono_ms away_ms)
{
    if (f->shard != NULL)
        fake_run(f);
    assert_true(fake_restart(f, how, away_ms, 0));
    fake_run(f);
}

static inline struct conn *login_as(struct fake *f, const char *id, uint32_t expiry_s, bool present)
{
    struct conn *c = fake_login(f, id, expiry_s);
    fake_run(f);
    assert_int_equal(fake_last(f, FAKE_ATTACHED)->session_present, present);
    return c;
}

/* back: logs in again; the session is there. fresh: it is not. */
static inline struct conn *back(struct fake *f, const char *id, uint32_t expiry_s)
{
    return login_as(f, id, expiry_s, true);
}

static inline struct conn *fresh(struct fake *f, const char *id, uint32_t expiry_s)
{
    return login_as(f, id, expiry_s, false);
}

/* got: what a connection was told since the last fake_forget: deliveries and releases, in order. Static. */
static inline const char *got(const struct fake *f, const struct conn *c)
{
    static char text[8192];
    size_t n = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < f->event_n; i++) {
        const struct fake_event *e = &f->event[i];
        bool is_ours = e->conn == fake_number(c) && (e->what == FAKE_DELIVER || e->what == FAKE_RELEASE);
        if (!is_ours || (e->what == FAKE_DELIVER && e->result != ERR_OK))
            continue;
        assert_true(n + 512 < sizeof(text));
        if (n > 0)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "; ");
        if (e->what == FAKE_RELEASE) {
            n += (size_t)snprintf(text + n, sizeof(text) - n, "release #%u", e->ticket);
            continue;
        }
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s=%s q%u", e->topic, e->payload, e->qos);
        if (e->ticket != 0)
            n += (size_t)snprintf(text + n, sizeof(text) - n, " #%u", e->ticket);
        for (uint32_t k = 0; k < e->sub_id_n; k++)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u", k == 0 ? " ids " : ",", e->sub_id[k]);
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s%s", e->retain ? " retain" : "",
                              e->is_resent ? " dup" : "", e->redelivered && !e->is_resent ? " redelivered" : "");
    }
    return text;
}

/* settle: an answer that is right at this time. */
static inline void settle(struct conn *c, uint32_t ticket, enum outcome o)
{
    assert_int_equal(broker_settle(c, ticket, o), ERR_OK);
    fake_run(verb_fake(c));
}

/* sub, pub: as fake_sub and fake_pub, answered once it is durable. */
static inline void sub_opts(struct conn *c, const char *filter, const struct binding_opts *o)
{
    struct fake *f = verb_fake(c);
    enum err e = fake_sub_opts(c, filter, o);
    fake_run(f);
    assert_true(e == ERR_OK || fake_last(f, FAKE_SETTLED)->result == ERR_OK);
}

static inline void sub(struct conn *c, const char *filter, uint8_t qos)
{
    sub_opts(c, filter, &(struct binding_opts){.qos = qos});
}

static inline void pub_view(struct conn *c, const struct msgview *v, struct exchange *x)
{
    struct publish p = {.msg = *v, .exchange = x, .receipt = verb_next(c)};
    broker_publish(c, &p);
    enum err e = verb_answer(verb_fake(c), p.receipt);
    assert_true(e == ERR_OK || e == ERR_NO_MATCH);
}

static inline void pub(struct conn *c, const char *topic, const char *payload, uint8_t qos)
{
    struct msgview v = {.topic = slice_from_str(topic),
                        .payload = slice_from_str(payload),
                        .qos = qos,
                        .flags = qos != 0 ? MSG_DURABLE : 0};
    pub_view(c, &v, NULL);
}

static inline void pub_retained(struct conn *c, const char *topic, const char *payload)
{
    struct msgview v = {.topic = slice_from_str(topic),
                        .payload = slice_from_str(payload),
                        .qos = 1,
                        .flags = MSG_DURABLE | MSG_RETAIN};
    pub_view(c, &v, NULL);
}

#endif
