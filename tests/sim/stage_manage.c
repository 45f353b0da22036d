/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage_manage.c: frames to /manage/: exchanges, bindings and queues come and go, are purged, paused and granted credit
 * for.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/stage.h"

static const char *const filters[] = {"a", "b", "a.*", "a.#", "#", "*.b", "a.b.c", "q0"};

static void begin(struct stage_peer *p, const char *verb)
{
    frame_begin(p, "SEND");
    frame_header(p, "destination", "/manage/%s", verb);
}

static struct stage_expect *finish(struct stage_peer *p)
{
    struct stage_expect *e = frame_receipt(p);
    frame_end(p, NULL, 0);
    return e;
}

static void result(struct stage_peer *p, enum twin_result r)
{
    if (r != TWIN_OK)
        peer_expect_error(p, r == TWIN_NOT_FOUND ? "not-found" : "");
}

static void own_exchange(struct stage *st, char *out)
{
    snprintf(out, TWIN_TEXT, "x%u", stage_roll(st, st->plan.exchanges));
}

static void any_exchange(struct stage *st, char *out)
{
    static const char *const builtin[] = {"amq.topic", "amq.direct", "amq.fanout"};
    if (stage_chance(st, 70))
        own_exchange(st, out);
    else
        snprintf(out, TWIN_TEXT, "%s", builtin[stage_roll(st, ARRAY_N(builtin))]);
}

static void declare_exchange(struct stage_peer *p)
{
    static const char *const kind[] = {"topic", "direct", "fanout"};
    struct stage *st = p->st;
    struct twin_exchange x = {.durable = true};
    own_exchange(st, x.name);
    const struct twin_exchange *is = twin_exchange_get(&st->twin, x.name);
    uint32_t k = stage_roll(st, 3);
    x.kind = kind[k][0];
    x.durable = stage_chance(st, 50);
    x.auto_delete = stage_chance(st, 20);
    x.internal = stage_chance(st, 15);
    if (stage_chance(st, 30))
        any_exchange(st, x.alternate);
    if (is && stage_chance(st, 90)) {
        x = *is;
        k = x.kind == 't' ? 0 : x.kind == 'd' ? 1 : 2;
    }
    begin(p, "declare-exchange");
    frame_header(p, "exchange", "%s", x.name);
    frame_header(p, "type", "%s", kind[k]);
    if (!x.durable)
        frame_header(p, "durable", "false");
    if (x.auto_delete)
        frame_header(p, "auto-delete", "true");
    if (x.internal)
        frame_header(p, "internal", "true");
    if (x.alternate[0])
        frame_header(p, "alternate-exchange", "%s", x.alternate);
    finish(p);
    result(p, twin_exchange_declare(&st->twin, &x));
}

static void delete_exchange(struct stage_peer *p)
{
    struct stage *st = p->st;
    char name[TWIN_TEXT];
    own_exchange(st, name);
    if (twin_exchange_get(&st->twin, name) == NULL && stage_chance(st, 90))
        return;
    bool if_unused = stage_chance(st, 10);
    begin(p, "delete-exchange");
    frame_header(p, "exchange", "%s", name);
    if (if_unused)
        frame_header(p, "if-unused", "true");
    finish(p);
    result(p, twin_exchange_delete(&st->twin, name, if_unused));
}

static void bind(struct stage_peer *p)
{
    struct stage *st = p->st;
    char from[TWIN_TEXT], to[TWIN_TEXT], queue[TWIN_TEXT];
    bool is_on = stage_chance(st, 75), to_queue = stage_chance(st, 60);
    const char *filter = filters[stage_roll(st, sizeof(filters) / sizeof(filters[0]))];
    any_exchange(st, from);
    any_exchange(st, to);
    stage_queue_name(st, queue);
    const struct twin_queue *q = twin_queue_get(&st->twin, queue);
    bool is_there =
        twin_exchange_get(&st->twin, from) && (to_queue ? q != NULL : twin_exchange_get(&st->twin, to) != NULL);
    if ((!is_there && stage_chance(st, 95)) || (to_queue && q && q->owner && q->owner != p->session))
        return;
    begin(p, is_on ? "bind" : "unbind");
    frame_header(p, "exchange", "%s", from);
    frame_header(p, "key", "%s", filter);
    if (to_queue)
        frame_header(p, "queue", "%s", queue);
    else
        frame_header(p, "to-exchange", "%s", to);
    finish(p);
    const char *a = to_queue ? queue : NULL, *b = to_queue ? NULL : to;
    result(p, is_on ? twin_bind(&st->twin, from, filter, a, b) : twin_unbind(&st->twin, from, filter, a, b));
}

static void declare_queue(struct stage_peer *p)
{
    struct stage *st = p->st;
    char name[TWIN_TEXT];
    struct twin_policy policy;
    struct twin_queue *q;
    stage_queue_name(st, name);
    q = twin_queue_get(&st->twin, name);
    if (q && stage_chance(st, 80))
        policy = q->policy;
    else
        stage_draw_policy(st, &policy);
    begin(p, "declare-queue");
    frame_header(p, "queue", "%s", name);
    stage_write_policy(p, &policy);
    finish(p);
    result(p, twin_declare(&st->twin, name, &policy, true, p->session, &q));
}

/* queue_for: one that is there, usually. *out_r: what a verb on it would say to p. */
static struct twin_queue *queue_for(struct stage_peer *p, char *name, enum twin_result *out_r)
{
    stage_queue_name(p->st, name);
    struct twin_queue *q = twin_queue_get(&p->st->twin, name);
    *out_r = q == NULL ? TWIN_NOT_FOUND : q->owner && q->owner != p->session ? TWIN_DENIED : TWIN_OK;
    return q;
}

/* delete_queue: those who consume it are told, and their connections end. */
static void delete_queue(struct stage_peer *p)
{
    struct stage *st = p->st;
    char name[TWIN_TEXT];
    enum twin_result r;
    struct twin_queue *q = queue_for(p, name, &r);
    bool if_unused = stage_chance(st, 40), if_empty = stage_chance(st, 20);
    if ((r != TWIN_OK && stage_chance(st, 90)) || (q && stage_chance(st, 50)) || p->out.len)
        return;
    begin(p, "delete-queue");
    frame_header(p, "queue", "%s", name);
    if (if_unused)
        frame_header(p, "if-unused", "true");
    if (if_empty)
        frame_header(p, "if-empty", "true");
    if (r == TWIN_OK && ((if_unused && q->consumer_n) || (if_empty && q->copy_n)))
        r = TWIN_REFUSED;
    finish(p);
    result(p, r);
    if (r != TWIN_OK)
        return;
    bool ends[STAGE_PEERS] = {false};
    for (uint32_t i = 0; i < q->consumer_n; i++)
        ends[q->consumer[i]->session->peer] = true;
    twin_queue_delete(&st->twin, q);
    for (uint32_t i = 0; i < STAGE_PEERS; i++) {
        if (!ends[i])
            continue;
        if (&st->peer[i] == p) /* its own receipt, or this error: the error is last */
            p->expect_n--;
        peer_expect(&st->peer[i], 'E');
        snprintf(st->peer[i].expect[st->peer[i].expect_n - 1].code, 32, "cancelled");
        st->peer[i].must_end = true;
        twin_session_close(st->peer[i].session);
    }
}

static void purge(struct stage_peer *p)
{
    struct stage *st = p->st;
    char name[TWIN_TEXT];
    enum twin_result r;
    struct twin_queue *q = queue_for(p, name, &r);
    if ((r != TWIN_OK && stage_chance(st, 90)) || p->out.len)
        return; /* what came before it in the same breath may be on its way, or may not */
    begin(p, "purge");
    frame_header(p, "queue", "%s", name);
    struct stage_expect *e = finish(p);
    if (r == TWIN_OK) {
        e->messages = twin_purge(&st->twin, q);
        st->twin.stat[STAT_DROP_PURGED] += (uint64_t)e->messages;
    }
    result(p, r);
}

static void pause_queue(struct stage_peer *p)
{
    struct stage *st = p->st;
    char name[TWIN_TEXT];
    enum twin_result r;
    struct twin_queue *q = queue_for(p, name, &r);
    if (r != TWIN_OK && stage_chance(st, 90))
        return;
    bool is_on = q && !q->is_paused;
    begin(p, is_on ? "pause" : "resume");
    frame_header(p, "queue", "%s", name);
    finish(p);
    if (r == TWIN_OK)
        q->is_paused = is_on;
    result(p, r);
}

static void grant(struct stage_peer *p)
{
    struct stage *st = p->st;
    struct twin_consumer *k = NULL;
    uint32_t n = stage_roll(st, 5);
    for (uint32_t i = 0; i < st->twin.consumer_n; i++)
        if (st->twin.consumer[i]->session == p->session && st->twin.consumer[i]->is_pull &&
            !st->twin.consumer[i]->is_over)
            k = st->twin.consumer[i];
    if (k == NULL)
        return;
    bool drains = p->out.len == 0 && stage_chance(st, 25);
    begin(p, "credit");
    frame_header(p, "subscription", "%u", k->sub);
    frame_header(p, "credit", "%u", n);
    if (drains)
        frame_header(p, "drain", "true");
    finish(p);
    twin_grant(&st->twin, k, n);
    k->drains = p->is_done = drains;
}

void stage_manage(struct stage_peer *p)
{
    struct stage *st = p->st;
    uint32_t what = stage_roll(st, 100);
    if (what < 15)
        declare_queue(p);
    else if (what < 55 && stage_has(st, FEATURE_PULL))
        grant(p);
    else if (what < 60)
        delete_queue(p);
    else if (what < 66)
        purge(p);
    else if (what < 75 && stage_has(st, FEATURE_PAUSE))
        pause_queue(p);
    else if (!stage_has(st, FEATURE_TOPOLOGY))
        return;
    else if (what < 84)
        declare_exchange(p);
    else if (what < 87)
        delete_exchange(p);
    else
        bind(p);
}
