/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage_peer.c: a STOMP peer that says what it is told and keeps what it hears, with a codec of its own: a dozen lines,
 * because nothing here needs escaping.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/model.h"
#include "tests/sim/stage.h"

/* ---- saying ----------------------------------------------------------------------------------------------------- */

static void put(struct stage_peer *p, const void *bytes, size_t n)
{
    uint8_t *room = buf_room(&p->out, n);
    BUG_ON(room == NULL);
    if (n)
        memcpy(room, bytes, n);
    buf_wrote(&p->out, n);
}

void frame_begin(struct stage_peer *p, const char *command)
{
    p->frame_at = p->out.len;
    p->frame_dead = p->st->twin.dead_n;
    p->has_asked = false;
    put(p, command, strlen(command));
    put(p, "\n", 1);
    stage_trace(p->st, "peer %u: %s", p->number, command);
}

void frame_header(struct stage_peer *p, const char *name, const char *fmt, ...)
{
    char text[300];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    BUG_ON(n < 0 || n >= (int)sizeof(text));
    put(p, name, strlen(name));
    put(p, ":", 1);
    put(p, text, (size_t)n);
    put(p, "\n", 1);
    stage_trace(p->st, "        %s:%s", name, text);
}

void frame_end(struct stage_peer *p, const void *body, size_t len)
{
    put(p, "\n", 1);
    put(p, body, len);
    put(p, "", 1);
}

struct stage_expect *peer_expect(struct stage_peer *p, char kind)
{
    p->expect = model_grow(&p->st->mem, p->expect, &p->expect_cap, p->expect_n + 1, sizeof(*p->expect));
    struct stage_expect *e = &p->expect[p->expect_n++];
    *e = (struct stage_expect){.kind = kind, .messages = -1};
    return e;
}

struct stage_expect *frame_receipt(struct stage_peer *p)
{
    frame_header(p, "receipt", "%u", ++p->next_receipt);
    struct stage_expect *e = peer_expect(p, 'R');
    e->receipt = p->next_receipt;
    p->has_asked = true;
    return e;
}

static bool any_going(const struct twin *t)
{
    for (uint32_t i = 0; i < t->queue_n; i++)
        if (t->queue[i]->going_n)
            return true;
    return false;
}

/* say_before: what stands in front of the frame being written goes out first: it made deliveries, and this frame ends
 * those who get them. With a store it may make some yet: the ERROR waits for earlier receipts. */
static void say_before(struct stage_peer *p)
{
    struct twin *t = &p->st->twin;
    if (p->frame_at == 0 || (!any_going(t) && p->browse_n == 0 && !p->st->plan.has_store))
        return;
    enum { DEAD = 16 };
    uint8_t rest[16384]; /* a frame of the heaviest message */
    size_t n = p->out.len - p->frame_at;
    struct stage_expect asked = {0};
    struct twin_dead dead[DEAD]; /* that this frame, which is refused, left: one for each queue that refused it */
    uint32_t dead_n = t->dead_n - MIN(t->dead_n, p->frame_dead);
    BUG_ON(n > sizeof(rest) || dead_n > DEAD);
    t->dead_n -= dead_n;
    if (dead_n != 0)
        memcpy(dead, t->dead + t->dead_n, dead_n * sizeof dead[0]);
    memcpy(rest, p->out.p + p->frame_at, n);
    p->out.len = p->frame_at;
    if (p->has_asked)
        asked = p->expect[--p->expect_n];
    stage_settle(p->st);
    put(p, rest, n);
    if (p->has_asked)
        *peer_expect(p, 'R') = asked;
    if (dead_n != 0) /* there was room for them before */
        memcpy(t->dead + t->dead_n, dead, dead_n * sizeof dead[0]);
    t->dead_n += dead_n;
}

void peer_expect_error(struct stage_peer *p, const char *code)
{
    say_before(p);
    struct stage_expect *e = p->has_asked ? &p->expect[p->expect_n - 1] : peer_expect(p, 'E');
    e->kind = 'E';
    snprintf(e->code, sizeof(e->code), "%s", code);
    p->must_end = true;
    twin_session_close(p->session);
}

void peer_flush(struct stage_peer *p)
{
    while (p->t && p->out.len) {
        struct iovec iov = {.iov_base = p->out.p, .iov_len = p->out.len};
        ptrdiff_t n = p->t->ops->sendv(p->t, &iov, 1);
        if (n == -ERR_AGAIN) { /* the broker reads it first */
            BUG_ON(!loop_sim_settle(p->st->loop, 1000000));
            continue;
        }
        if (n <= 0)
            break;
        p->out.len -= (size_t)n;
        memmove(p->out.p, p->out.p + n, p->out.len);
    }
    p->out.len = 0;
}

/* ---- hearing ---------------------------------------------------------------------------------------------------- */

const char *frame_get(const struct stage_frame *f, const char *name)
{
    for (uint32_t i = 0; i < f->header_n; i++)
        if (strcmp(f->header[i].name, name) == 0)
            return f->header[i].value;
    return NULL;
}

/* take_line: cuts a line off *at; NULL: there is none yet. */
static const uint8_t *take_line(const uint8_t **at, const uint8_t *end, size_t *out_len)
{
    const uint8_t *line = *at, *stop = memchr(line, '\n', (size_t)(end - line));
    if (stop == NULL)
        return NULL;
    *out_len = (size_t)(stop - line);
    if (*out_len && line[*out_len - 1] == '\r')
        --*out_len;
    *at = stop + 1;
    return line;
}

static bool add_header(struct stage_frame *f, const uint8_t *line, size_t len)
{
    const uint8_t *colon = memchr(line, ':', len);
    if (colon == NULL || f->header_n == STAGE_HEADERS)
        return false;
    struct stage_header *h = &f->header[f->header_n++];
    size_t n = (size_t)(colon - line);
    snprintf(h->name, sizeof(h->name), "%.*s", (int)n, (const char *)line);
    snprintf(h->value, sizeof(h->value), "%.*s", (int)(len - n - 1), (const char *)colon + 1);
    return true;
}

/* decode: one frame off in[len]; 0: more is needed. */
static size_t decode(struct stage_peer *p, const uint8_t *in, size_t len, struct stage_frame *f)
{
    const uint8_t *at = in, *end = in + len;
    size_t n;
    const uint8_t *line = take_line(&at, end, &n);
    if (line == NULL)
        return 0;
    if (n == 0)
        return (size_t)(at - in); /* a heart-beat */
    snprintf(f->command, sizeof(f->command), "%.*s", (int)n, (const char *)line);
    for (;;) {
        line = take_line(&at, end, &n);
        if (line == NULL)
            return 0;
        if (n == 0)
            break;
        if (!add_header(f, line, n))
            stage_fail(p->st, "peer %u heard a header line that is none", p->number);
    }
    const char *length = frame_get(f, "content-length");
    size_t body = length ? strtoul(length, NULL, 10) : 0;
    if ((size_t)(end - at) < body + 1)
        return 0;
    if (at[body] != 0)
        stage_fail(p->st, "peer %u heard a frame without its NUL", p->number);
    f->body = mem_alloc(&p->st->mem, body + 1);
    BUG_ON(f->body == NULL);
    memcpy(f->body, at, body);
    f->body[body] = 0;
    f->body_len = body;
    return (size_t)(at - in) + body + 1;
}

static void keep(struct stage_peer *p, struct stage_frame *f)
{
    p->heard = model_grow(&p->st->mem, p->heard, &p->heard_cap, p->heard_n + 1, sizeof(f));
    p->heard[p->heard_n++] = f;
}

static void eat(struct stage_peer *p)
{
    struct mem *mem = &p->st->mem;
    while (p->in.len) {
        struct stage_frame *f = mem_zalloc(mem, sizeof(*f));
        BUG_ON(f == NULL);
        size_t n = decode(p, p->in.p, p->in.len, f);
        if (n == 0 || f->command[0] == 0)
            mem_free(mem, f);
        else
            keep(p, f);
        if (n == 0)
            return;
        p->in.len -= n;
        memmove(p->in.p, p->in.p + n, p->in.len);
    }
}

void peer_free_heard(struct stage_peer *p)
{
    for (uint32_t i = 0; i < p->heard_n; i++) {
        mem_free(&p->st->mem, p->heard[i]->body);
        mem_free(&p->st->mem, p->heard[i]);
    }
    p->heard_n = 0;
}

static void on_ready(struct transport *t, unsigned events)
{
    struct stage_peer *p = t->up;
    UNUSED(events);
    while (p->t == t) {
        uint8_t *room = buf_room(&p->in, 4096);
        BUG_ON(room == NULL);
        ptrdiff_t n = t->ops->recv(t, room, 4096);
        if (n == -ERR_AGAIN)
            return;
        if (n < 0) {
            p->has_ended = true;
            t->ops->destroy(t);
            p->t = NULL;
            return;
        }
        buf_wrote(&p->in, (size_t)n);
        eat(p);
    }
}

/* ---- coming and going ------------------------------------------------------------------------------------------- */

void peer_connect(struct stage_peer *p)
{
    struct stage *st = p->st;
    struct transport *pair[2];
    net_sim_pair(&st->net, pair);
    BUG_ON(conn_new(st->shard, pair[1], &st->door) == NULL);
    p->t = pair[0];
    p->t->up = p;
    p->t->on_ready = on_ready;
    p->t->ops->want(p->t, LOOP_READ);
    p->is_v11 = stage_chance(st, 20);
    p->has_ended = p->must_end = false;
    p->session = twin_session_new(&st->twin, p->number);
    frame_begin(p, "CONNECT");
    frame_header(p, "accept-version", "%s", p->is_v11 ? "1.1" : "1.2");
    frame_header(p, "host", "/");
    frame_end(p, NULL, 0);
    peer_expect(p, 'C');
    peer_flush(p);
}

void peer_gone(struct stage_peer *p)
{
    if (p->t)
        p->t->ops->destroy(p->t);
    p->t = NULL;
    if (p->session)
        twin_session_end(&p->st->twin, p->session);
    p->session = NULL;
    buf_clear(&p->in);
    buf_clear(&p->out);
    p->expect_n = p->browse_n = 0;
}

void peer_leave(struct stage_peer *p, bool by_reset)
{
    stage_trace(p->st, "peer %u: leaves%s", p->number, by_reset ? " by reset" : "");
    if (p->t && by_reset)
        net_sim_reset(p->t, NET_KEEP);
    peer_gone(p);
}
