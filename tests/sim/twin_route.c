/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twin_route.c: the twin's exchanges: where a message goes.
 *
 *     key ─► exchange ─► bindings that match ─┬─► queues, each once
 *                                             └─► exchanges, each once: the same again
 *                 nothing matched ─► alternate exchange
 *
 * Invariants
 *   1. All queues of a message take it or, if one of them refuses, none.
 *   2. A dead letter does not enter a queue in which it died without having been rejected since.
 */
#include <stdio.h>
#include <string.h>

#include "tests/sim/model.h"
#include "tests/sim/twin_in.h"

enum { TARGETS_MAX = 128 };

struct walk {
    struct twin_queue *queue[TARGETS_MAX];
    struct twin_exchange *seen[TARGETS_MAX];
    uint32_t queue_n, seen_n;
};

/* ---- topology -------------------------------------------------------------------------------------------------- */

struct twin_exchange *twin_exchange_get(struct twin *t, const char *name)
{
    for (uint32_t i = 0; i < t->exchange_n; i++)
        if (!t->exchange[i]->is_dead && strcmp(t->exchange[i]->name, name) == 0)
            return t->exchange[i];
    return NULL;
}

enum twin_result twin_exchange_declare(struct twin *t, const struct twin_exchange *spec)
{
    struct twin_exchange *x = twin_exchange_get(t, spec->name);
    if (x)
        return x->kind == spec->kind && x->durable == spec->durable && x->auto_delete == spec->auto_delete &&
                       x->internal == spec->internal && strcmp(x->alternate, spec->alternate) == 0
                   ? TWIN_OK
                   : TWIN_EXISTS;
    if (strncmp(spec->name, "amq.", 4) == 0 && !spec->is_builtin)
        return TWIN_DENIED;
    x = mem_zalloc(t->mem, sizeof(*x));
    BUG_ON(x == NULL);
    *x = *spec;
    t->exchange = model_grow(t->mem, t->exchange, &t->exchange_cap, t->exchange_n + 1, sizeof(x));
    t->exchange[t->exchange_n++] = x;
    return TWIN_OK;
}

static uint32_t bindings_from(const struct twin *t, const struct twin_exchange *x)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->binding_n; i++)
        n += t->binding[i].from == x;
    return n;
}

/* binding_del: an auto-delete exchange goes with its last binding. */
static void exchange_end(struct twin *t, struct twin_exchange *x);
static void binding_del(struct twin *t, uint32_t i)
{
    struct twin_exchange *from = t->binding[i].from;
    memmove(&t->binding[i], &t->binding[i + 1], (t->binding_n - i - 1) * sizeof(*t->binding));
    t->binding_n--;
    if (from->auto_delete && !from->is_dead && bindings_from(t, from) == 0)
        exchange_end(t, from);
}

/* exchange_end: with the bindings from it and to it. */
static void exchange_end(struct twin *t, struct twin_exchange *x)
{
    x->is_dead = true;
    for (uint32_t i = 0; i < t->binding_n;) {
        if (t->binding[i].from != x && t->binding[i].to_exchange != x) {
            i++;
            continue;
        }
        binding_del(t, i);
        i = 0;
    }
}

enum twin_result twin_exchange_delete(struct twin *t, const char *name, bool if_unused)
{
    struct twin_exchange *x = twin_exchange_get(t, name);
    if (x == NULL)
        return TWIN_NOT_FOUND;
    if (x->is_builtin)
        return TWIN_DENIED;
    if (if_unused && bindings_from(t, x))
        return TWIN_REFUSED;
    exchange_end(t, x);
    return TWIN_OK;
}

/* find: the binding's index, or binding_n. A fanout exchange looks at no key, but keeps it. */
static uint32_t find(const struct twin *t, const struct twin_binding *b)
{
    uint32_t i = 0;
    while (i < t->binding_n && (t->binding[i].from != b->from || t->binding[i].to_queue != b->to_queue ||
                                t->binding[i].to_exchange != b->to_exchange ||
                                (b->from->kind != 'f' && strcmp(t->binding[i].filter, b->filter) != 0)))
        i++;
    return i;
}

static enum twin_result name_binding(struct twin *t, const char *from, const char *filter, const char *queue,
                                     const char *to, struct twin_binding *out)
{
    *out = (struct twin_binding){.from = twin_exchange_get(t, from)};
    snprintf(out->filter, sizeof(out->filter), "%s", filter);
    twin_spell(out->from, out->filter);
    if (queue)
        out->to_queue = twin_queue_get(t, queue);
    else
        out->to_exchange = twin_exchange_get(t, to);
    return out->from && (out->to_queue || out->to_exchange) ? TWIN_OK : TWIN_NOT_FOUND;
}

static void add(struct twin *t, const struct twin_binding *b)
{
    if (find(t, b) < t->binding_n)
        return;
    t->binding = model_grow(t->mem, t->binding, &t->binding_cap, t->binding_n + 1, sizeof(*b));
    t->binding[t->binding_n++] = *b;
}

enum twin_result twin_bind(struct twin *t, const char *from, const char *filter, const char *queue, const char *to)
{
    struct twin_binding b;
    enum twin_result r = name_binding(t, from, filter, queue, to, &b);
    if (r == TWIN_OK)
        add(t, &b);
    return r;
}

enum twin_result twin_unbind(struct twin *t, const char *from, const char *filter, const char *queue, const char *to)
{
    struct twin_binding b;
    enum twin_result r = name_binding(t, from, filter, queue, to, &b);
    if (r != TWIN_OK)
        return r;
    uint32_t i = find(t, &b);
    if (i == t->binding_n)
        return TWIN_NOT_FOUND;
    binding_del(t, i);
    return TWIN_OK;
}

void twin_bind_own(struct twin *t, struct twin_exchange *x, const char *filter, struct twin_queue *q)
{
    struct twin_binding b = {.from = x, .to_queue = q};
    snprintf(b.filter, sizeof(b.filter), "%s", filter);
    twin_spell(x, b.filter);
    add(t, &b);
}

void twin_unbind_queue(struct twin *t, const struct twin_queue *q)
{
    for (uint32_t i = 0; i < t->binding_n;) {
        if (t->binding[i].to_queue != q) {
            i++;
            continue;
        }
        binding_del(t, i);
        i = 0;
    }
}

/* ---- matching -------------------------------------------------------------------------------------------------- */

/* matches: levels between slashes, as core keeps the keys of topic exchanges; '*' is one level, '#' any number of them.
 */
static bool matches(const char *filter, const char *key)
{
    const char *end = strchr(filter, '/');
    size_t n = end ? (size_t)(end - filter) : strlen(filter);
    const char *rest = end ? end + 1 : NULL;
    if (n == 1 && filter[0] == '#') {
        if (rest == NULL)
            return true;
        for (const char *k = key; k; k = strchr(k, '/') ? strchr(k, '/') + 1 : NULL)
            if (matches(rest, k))
                return true;
        return false;
    }
    const char *stop = strchr(key, '/');
    size_t len = stop ? (size_t)(stop - key) : strlen(key);
    bool is_equal = (n == 1 && filter[0] == '*') || (n == len && memcmp(filter, key, n) == 0);
    if (!is_equal)
        return false;
    if (rest == NULL)
        return stop == NULL;
    if (stop == NULL)
        return strcmp(rest, "#") == 0;
    return matches(rest, stop + 1);
}

void twin_spell(const struct twin_exchange *x, char *key)
{
    for (; x && x->kind == 't' && *key; key++)
        if (*key == '.')
            *key = '/';
}

static bool fits(const struct twin_binding *b, const char *key)
{
    return b->from->kind == 'f' || (b->from->kind == 'd' ? strcmp(b->filter, key) == 0 : matches(b->filter, key));
}

static void visit(struct twin *t, struct twin_exchange *x, const char *key, struct walk *w);

static void add_queue(struct walk *w, struct twin_queue *q)
{
    for (uint32_t i = 0; i < w->queue_n; i++)
        if (w->queue[i] == q)
            return;
    BUG_ON(w->queue_n == TARGETS_MAX);
    w->queue[w->queue_n++] = q;
}

static void visit(struct twin *t, struct twin_exchange *x, const char *key, struct walk *w)
{
    for (uint32_t i = 0; i < w->seen_n; i++)
        if (w->seen[i] == x)
            return;
    BUG_ON(w->seen_n == TARGETS_MAX);
    w->seen[w->seen_n++] = x;
    bool any = false;
    for (uint32_t i = 0; i < t->binding_n; i++) {
        const struct twin_binding *b = &t->binding[i];
        if (b->from != x || !fits(b, key))
            continue;
        any = true;
        if (b->to_queue)
            add_queue(w, b->to_queue);
        else
            visit(t, b->to_exchange, key, w);
    }
    struct twin_exchange *other = any || x->alternate[0] == 0 ? NULL : twin_exchange_get(t, x->alternate);
    if (other)
        visit(t, other, key, w);
}

/* route: false: there is no such exchange. */
static bool route(struct twin *t, const struct twin_msg *m, struct walk *w)
{
    w->queue_n = w->seen_n = 0;
    if (m->exchange[0] == 0) {
        struct twin_queue *q = twin_queue_get(t, m->key);
        if (q)
            add_queue(w, q);
        return true;
    }
    struct twin_exchange *x = twin_exchange_get(t, m->exchange);
    if (x)
        visit(t, x, m->key, w);
    return x != NULL;
}

/* ---- publishing ------------------------------------------------------------------------------------------------ */

/* refuses: n messages of that weight are too many, even when those who wait for them have been served. */
static bool refuses(struct twin *t, struct twin_queue *q, uint32_t n, uint32_t weight)
{
    if (q->policy.overflow != TWIN_REJECT && q->policy.overflow != TWIN_REJECT_DLX)
        return false;
    if (!twin_queue_is_full(t, q, n, weight))
        return false;
    twin_dispatch(t, q);
    return twin_queue_is_full(t, q, n, weight);
}

static enum twin_result publish(struct twin *t, const struct twin_msg *m, struct walk *w)
{
    for (uint32_t i = 0; i < w->queue_n; i++) {
        if (!refuses(t, w->queue[i], 1, m->weight))
            continue;
        t->refused_by = w->queue[i]->name;
        for (uint32_t k = i + 1; k < w->queue_n; k++)
            if (refuses(t, w->queue[k], 1, m->weight))
                t->refused_by = ""; /* one of them */
        const struct twin_policy *y = &w->queue[i]->policy;
        bool has_copy = y->overflow == TWIN_REJECT_DLX && (y->dlx[0] == 0 || twin_exchange_get(t, y->dlx));
        if (has_copy && !twin_note_dead(t, w->queue[i], m, TWIN_MAXLEN))
            twin_fail(t, "the twin's %s has no dead-letter exchange", w->queue[i]->name);
        return has_copy ? TWIN_REFUSED_DLX : TWIN_REFUSED;
    }
    for (uint32_t i = 0; i < w->queue_n; i++)
        twin_push(t, w->queue[i], m);
    return w->queue_n ? TWIN_OK : TWIN_NO_MATCH;
}

enum twin_result twin_publish(struct twin *t, const struct twin_msg *m)
{
    struct walk w;
    if (!route(t, m, &w))
        return TWIN_NOT_FOUND;
    return publish(t, m, &w);
}

enum twin_result twin_publish_to(struct twin *t, const struct twin_exchange *to, const struct twin_msg *m)
{
    return to && to->is_dead ? TWIN_NOT_FOUND : twin_publish(t, m);
}

void twin_publish_later(struct twin *t, const struct twin_msg *m, mono_ms delay)
{
    t->late = model_grow(t->mem, t->late, &t->late_cap, t->late_n + 1, sizeof(*t->late));
    t->late[t->late_n++] =
        (struct twin_late){.m = *m, .to = twin_exchange_get(t, m->exchange), .due = t->now + delay, .armed = ++t->tick};
}

static bool is_routed(struct twin *t, const struct twin_action *a, struct walk *w)
{
    return a->is_send && !(a->to && a->to->is_dead) && route(t, &a->m, w);
}

bool twin_would_refuse(struct twin *t, const struct twin_action *a, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        struct walk w;
        if (!is_routed(t, &a[k], &w))
            continue;
        for (uint32_t i = 0; i < w.queue_n; i++) {
            uint32_t copies = 0, weight = 0; /* that it would have got by then */
            for (uint32_t j = 0; j <= k; j++) {
                struct walk v;
                if (!is_routed(t, &a[j], &v))
                    continue;
                for (uint32_t l = 0; l < v.queue_n; l++) {
                    copies += v.queue[l] == w.queue[i];
                    weight += v.queue[l] == w.queue[i] ? a[j].m.weight : 0;
                }
            }
            if (refuses(t, w.queue[i], copies, weight)) {
                t->refused_by = w.queue_n == 1 ? w.queue[i]->name : "";
                return true;
            }
        }
    }
    return false;
}

/* is_cycle: did it die in q, and was not rejected since? */
static bool is_cycle(const struct twin_msg *m, const struct twin_queue *q)
{
    if (q->name[0] == 0)
        return false;
    for (uint32_t i = 0; i < m->death_n; i++) {
        if (m->death[i].why == TWIN_REJECTED)
            return false;
        if (strcmp(m->death[i].queue, q->name) == 0)
            return true;
    }
    return false;
}

static void send_one(struct twin *t, const struct twin_dead *d)
{
    struct walk w;
    uint32_t n = 0;
    if (!route(t, &d->m, &w)) {
        twin_count_drop(t, (enum twin_why)d->why);
        return;
    }
    for (uint32_t i = 0; i < w.queue_n; i++) {
        if (is_cycle(&d->m, w.queue[i]))
            t->stat[STAT_DROP_CYCLE]++;
        else
            w.queue[n++] = w.queue[i];
    }
    w.queue_n = n;
    if (publish(t, &d->m, &w) == TWIN_REFUSED)
        t->stat[STAT_DROP_FULL]++;
    else /* also when it was refused and goes on from there: reject-publish-dlx */
        t->stat[STAT_DEAD_LETTERED]++;
}

void twin_send_dead(struct twin *t)
{
    for (uint32_t i = 0; i < t->dead_n; i++) {
        struct twin_dead d = t->dead[i]; /* the array may move */
        send_one(t, &d);
        if (i > 100000)
            twin_fail(t, "the twin's dead letters go round for ever");
        if (t->why[0])
            break;
    }
    t->dead_n = 0;
}
