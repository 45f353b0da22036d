/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verbs.c: see verbs.h.
 *
 * A verb is called, turns run until nothing is left to do, and the one answer to its receipt is looked up among the
 * fake adapter's events. Invariant: exactly one answer.
 */
#include "tests/support/verbs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "persist/store_image.h"

struct fake *verb_fake_new(void)
{
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    struct fake *f = fake_new(&config);
    assert_non_null(f);
    return f;
}

enum err verb_answer(struct fake *f, uint64_t receipt)
{
    fake_run(f);
    uint32_t n = 0;
    enum err e = ERR_AGAIN;
    for (uint32_t i = 0; i < f->event_n; i++) {
        if (f->event[i].what == FAKE_SETTLED && f->event[i].receipt == receipt) {
            e = f->event[i].result;
            n++;
        }
    }
    assert_int_equal(n, 1);
    return e;
}

uint64_t verb_next(struct conn *c)
{
    return fake_pipe_of(c)->fake->receipt_next++;
}

struct fake *verb_fake(struct conn *c)
{
    return fake_pipe_of(c)->fake;
}

static enum err visit_text(const struct store_rec *r, void *ctx)
{
    struct buf *b = ctx;
    if (r->kind == STORE_QUEUE)
        buf_printf(b, "queue " SLICE_FMT " %u %s\n", SLICE_ARG(r->name), r->flags, r->policy ? "own" : "default");
    else if (r->kind == STORE_EXCHANGE)
        buf_printf(b, "exchange " SLICE_FMT " %u\n", SLICE_ARG(r->name), r->exchange->kind);
    else if (r->kind == STORE_BIND && r->queue)
        buf_printf(b, "bind " SLICE_FMT " " SLICE_FMT "\n", SLICE_ARG(r->name), SLICE_ARG(r->key));
    else if (r->kind == STORE_BIND)
        buf_printf(b, "bind " SLICE_FMT " " SLICE_FMT " to " SLICE_FMT "\n", SLICE_ARG(r->name), SLICE_ARG(r->key),
                   SLICE_ARG(r->to));
    else if (r->kind == STORE_PUBLISH)
        buf_printf(b, "publish %u\n", r->target_n);
    return ERR_OK;
}

void verb_stored(struct fake *f, const char *expected)
{
    struct buf b;
    buf_init(&b, &f->store_mem);
    fake_run(f);
    assert_int_equal(store_image_visit(f->image, visit_text, &b), ERR_OK);
    buf_put_u8(&b, 0);
    assert_string_equal((const char *)b.p, expected);
    buf_fini(&b);
}

struct exchange *verb_exchange(struct conn *c, const char *name, enum exchange_kind kind, bool durable)
{
    struct declared d;
    const struct exchange_spec spec = {.name = slice_from_str(name), .kind = kind, .durable = durable};
    struct exchange *x = broker_declare_exchange(c, &spec, &d);
    assert_int_equal(d.err, ERR_OK);
    assert_non_null(x);
    return x;
}

void verb_spec(struct conn *c, struct queue_spec *s, const char *text)
{
    enum queue_arg bad;
    queue_spec_init(s, &c->session->vhost->policy_named);
    for (const char *at = text; *at;) {
        size_t name = strcspn(at, "="), value = strcspn(at + name + 1, ";");
        assert_int_equal(
            queue_spec_take(s, queue_arg_from_text(slice_make(at, name)), slice_make(at + name + 1, value)), ERR_OK);
        at += name + 1 + value;
        at += *at == ';';
    }
    assert_int_equal(queue_spec_finish(s, &bad), ERR_OK);
}

struct queue *verb_declare(struct conn *c, const char *name, const char *args, struct declared *d)
{
    struct queue_spec s;
    verb_spec(c, &s, args);
    struct queue *q = broker_declare_queue_as(c, slice_from_str(name), &s, d);
    assert_int_equal(q == NULL, d->err != ERR_OK);
    return q;
}

struct queue *verb_queue(struct conn *c, const char *name, const char *args)
{
    struct declared d;
    struct queue *q = verb_declare(c, name, args, &d);
    assert_int_equal(d.err, ERR_OK);
    return q;
}

enum err verb_delete_exchange(struct conn *c, const char *name, bool if_unused)
{
    uint64_t receipt = verb_next(c);
    broker_delete_exchange(c, slice_from_str(name), if_unused, receipt);
    return verb_answer(verb_fake(c), receipt);
}

enum err verb_delete_queue(struct conn *c, const char *name, struct queue_end how)
{
    uint64_t receipt = verb_next(c);
    broker_delete_queue(c, slice_from_str(name), how, receipt);
    return verb_answer(verb_fake(c), receipt);
}

const struct filter *verb_filter(struct fake_filter *out, const struct exchange *x, const char *text)
{
    if (x->kind == EXCHANGE_TOPIC)
        return fake_filter(out, text);
    out->tok[0] = (struct token){.kind = TOKEN_LITERAL, .bytes = slice_from_str(text)};
    out->f = (struct filter){.tok = out->tok, .n = x->kind == EXCHANGE_FANOUT ? 0 : 1};
    return &out->f;
}

enum err verb_bind(struct conn *c, struct exchange *x, const char *filter, struct queue *q)
{
    struct fake_filter ff;
    uint64_t receipt = verb_next(c);
    broker_bind(c, x, verb_filter(&ff, x, filter), q, receipt);
    return verb_answer(verb_fake(c), receipt);
}

enum err verb_unbind(struct conn *c, struct exchange *x, const char *filter, struct queue *q)
{
    struct fake_filter ff;
    uint64_t receipt = verb_next(c);
    broker_unbind(c, x, verb_filter(&ff, x, filter), q, receipt);
    return verb_answer(verb_fake(c), receipt);
}

enum err verb_bind_exchange(struct conn *c, struct exchange *x, const char *filter, struct exchange *to)
{
    struct fake_filter ff;
    uint64_t receipt = verb_next(c);
    broker_bind_exchange(c, x, verb_filter(&ff, x, filter), to, receipt);
    return verb_answer(verb_fake(c), receipt);
}

enum err verb_unbind_exchange(struct conn *c, struct exchange *x, const char *filter, struct exchange *to)
{
    struct fake_filter ff;
    uint64_t receipt = verb_next(c);
    broker_unbind_exchange(c, x, verb_filter(&ff, x, filter), to, receipt);
    return verb_answer(verb_fake(c), receipt);
}

enum err verb_send(struct conn *c, struct exchange *x, const char *key, const char *payload)
{
    struct msgview v = {
        .topic = slice_from_str(key), .payload = slice_from_str(payload), .qos = 1, .flags = MSG_DURABLE};
    struct publish p = {.msg = v, .exchange = x, .receipt = verb_next(c)};
    broker_publish(c, &p);
    return verb_answer(verb_fake(c), p.receipt);
}

struct consumer *verb_consume(struct conn *c, struct queue *q, enum ack_mode mode)
{
    const struct consume how = {.mode = mode, .qos = 2, .receipt = verb_next(c)};
    struct consumer *k = broker_consume_queue(c, q, &how);
    assert_int_equal(verb_answer(verb_fake(c), how.receipt), ERR_OK);
    assert_non_null(k);
    return k;
}

void verb_hang_up(struct conn *c)
{
    struct fake *f = verb_fake(c);
    conn_close(c, CLOSE_EOF);
    fake_run(f);
}
