/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake.c: a real shard between fakes that do what they are told.
 *
 *     fake_feed ─► pipe.in ─ recv_max, again_every ─► conn ─► fake_adapter ─► fake.event[]
 *     test ─► verbs of core/broker.h ─► shard ─► fake_adapter.on_deliver ─► conn_out ─ send_max, send_room ─► pipe.out
 *
 * Invariants
 *   1. Nothing here uses the shard's heap, so that failing its Nth allocation fails nothing of the test's own.
 *   2. Time moves in fake_wait only.
 *   3. A pipe outlives its connection, so that a test can look at what was said.
 */
#include "tests/support/fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "persist/store_image.h"
#include "persist/store_mem.h"

enum { TURNS_MAX = 20000 };

static struct fake *fake_of(const struct conn *c)
{
    return CONTAINER_OF(c->shard->loop, struct fake, loop);
}

static void put(struct fake_bytes *b, const void *p, size_t n)
{
    if (b->len + n > b->cap) {
        b->cap = (b->len + n) * 2;
        b->p = realloc(b->p, b->cap);
        assert_non_null(b->p);
    }
    if (n)
        memcpy(b->p + b->len, p, n);
    b->len += n;
}

/* ---- the recording adapter ----------------------------------------------------------------------------------- */

static struct fake_event *note(struct conn *c, enum fake_what what)
{
    struct fake *f = fake_of(c);
    if (f->event_n == f->event_cap) {
        f->event_cap = f->event_cap ? f->event_cap * 2 : 64;
        f->event = realloc(f->event, f->event_cap * sizeof(*f->event));
        assert_non_null(f->event);
    }
    struct fake_event *e = &f->event[f->event_n++];
    *e = (struct fake_event){.what = what, .conn = fake_number(c), .at = f->now};
    return e;
}

static void cut(char *out, size_t cap, struct slice s)
{
    size_t n = MIN(s.len, cap - 1);
    if (n)
        memcpy(out, s.p, n);
    out[n] = 0;
}

static enum claim fake_claims(const uint8_t *first, size_t len)
{
    if (memcmp(first, "HELLO", MIN(len, (size_t)5)) != 0)
        return CLAIM_NO;
    return len < 5 ? CLAIM_MORE : CLAIM_YES;
}

struct fake_state {
    bool greeted;
    uint32_t canary;
};

static enum err fake_open(struct conn *c)
{
    struct fake_state *st = conn_state(c);
    assert_int_equal(st->canary, 0); /* zeroed */
    st->canary = 0x5afe;
    note(c, FAKE_OPEN);
    return fake_pipe_of(c)->open_fails ? ERR_NOMEM : ERR_OK;
}

static size_t fake_on_bytes(struct conn *c, const uint8_t *in, size_t len)
{
    struct fake_state *st = conn_state(c);
    struct fake_pipe *p = fake_pipe_of(c);
    size_t at = 0;
    if (p->refuses_bytes)
        return 0;
    if (!st->greeted) {
        assert_memory_equal(in, "HELLO", 5);
        st->greeted = true;
        at = 5;
    }
    while (!conn_is_closing(c) && !c->attach_wait && len - at >= 4) {
        uint32_t n = (uint32_t)in[at] << 24 | (uint32_t)in[at + 1] << 16 | (uint32_t)in[at + 2] << 8 | in[at + 3];
        if (len - at - 4 < n) {
            conn_need(c, (size_t)n + 4);
            break;
        }
        struct fake_event *e = note(c, FAKE_FRAME);
        e->len = n;
        cut(e->payload, sizeof(e->payload), slice_make(in + at + 4, n));
        if (p->on_frame)
            p->on_frame(c, in + at + 4, n);
        at += 4 + n;
    }
    return conn_is_closing(c) ? len : at;
}

static void fake_on_attached(struct conn *c, const struct attached *a)
{
    struct fake_event *e = note(c, FAKE_ATTACHED);
    e->result = a->result;
    e->session_present = a->session_present;
    cut(e->topic, sizeof(e->topic), a->assigned_id);
    if (a->result != ERR_OK)
        conn_close(c, a->result == ERR_NOMEM ? CLOSE_NOMEM : CLOSE_NOT_AUTHORIZED);
}

static void note_delivery(struct fake_event *e, const struct delivery *d)
{
    e->ticket = d->ticket;
    e->qos = d->qos;
    e->attempts = d->attempts;
    e->retain = d->retain;
    e->is_retained = d->is_retained;
    e->redelivered = d->redelivered;
    e->is_resent = d->is_resent;
    e->consumer = d->consumer;
    e->up = d->consumer->up;
    e->len = (uint32_t)d->msg->payload.len;
    e->sub_id_n = d->set->sub_id_n;
    for (uint32_t i = 0; i < MIN(e->sub_id_n, (uint32_t)ARRAY_N(e->sub_id)); i++)
        e->sub_id[i] = d->set->sub_id[i];
    cut(e->topic, sizeof(e->topic), d->msg->topic);
    cut(e->payload, sizeof(e->payload), d->msg->payload);
}

static enum err fake_on_deliver(struct conn *c, const struct delivery *d)
{
    struct fake_pipe *p = fake_pipe_of(c);
    enum err result = p->deliver_result;
    if (result == ERR_OK) {
        struct outv *o = conn_out(c);
        if (!o)
            result = ERR_NOMEM;
        else if (p->deliver_bytes) {
            uint8_t *room = outv_room(o, p->deliver_bytes);
            if (room) {
                memset(room, '.', p->deliver_bytes);
                outv_wrote(o, p->deliver_bytes);
            }
        } else if (d->msg->owner && d->msg->payload.len > 512) {
            outv_ref(o, d->msg->owner, d->msg->payload.p, d->msg->payload.len);
        } else {
            outv_put(o, d->msg->payload.p, d->msg->payload.len);
        }
    }
    struct fake_event *e = note(c, FAKE_DELIVER);
    note_delivery(e, d);
    e->result = result;
    return result;
}

static void fake_on_release(struct conn *c, uint32_t ticket)
{
    note(c, FAKE_RELEASE)->ticket = ticket;
    struct outv *o = conn_out(c);
    if (o)
        outv_put(o, "R", 1);
}

static void fake_on_settled(struct conn *c, uint64_t receipt, enum err result)
{
    struct fake_event *e = note(c, FAKE_SETTLED);
    e->receipt = receipt;
    e->result = result;
}

static void fake_on_consumer_gone(struct conn *c, struct consumer *k)
{
    struct fake_event *e = note(c, FAKE_CONSUMER_GONE);
    e->consumer = k;
    e->up = k->up;
}

static mono_ms fake_on_tick(struct conn *c, mono_ms now)
{
    note(c, FAKE_TICK);
    mono_ms every = fake_pipe_of(c)->tick_every;
    return every ? now + every : MONO_NEVER;
}

static void fake_on_close(struct conn *c, enum close_reason why)
{
    struct fake_pipe *who = fake_pipe_of(c);
    if (who->on_leave)
        who->on_leave(c, who->ctx);
    struct fake_event *e = note(c, FAKE_CLOSE);
    e->why = why;
    e->can_say = conn_can_say(c);
    const char *words = fake_pipe_of(c)->last_words;
    if (!e->can_say || !words)
        return;
    struct outv *o = conn_out(c);
    if (o)
        outv_put(o, words, strlen(words));
}

static void fake_destroy(struct conn *c)
{
    struct fake_state *st = conn_state(c);
    assert_int_equal(st->canary, 0x5afe);
    assert_null(c->session);
    note(c, FAKE_DESTROY);
}

const struct adapter_ops fake_adapter = {.name = "fake",
                                         .claims = fake_claims,
                                         .open = fake_open,
                                         .on_bytes = fake_on_bytes,
                                         .on_attached = fake_on_attached,
                                         .on_deliver = fake_on_deliver,
                                         .on_release = fake_on_release,
                                         .on_settled = fake_on_settled,
                                         .on_consumer_gone = fake_on_consumer_gone,
                                         .on_tick = fake_on_tick,
                                         .on_close = fake_on_close,
                                         .destroy = fake_destroy};

static const struct adapter_ops *const fake_adapters[] = {&fake_adapter, NULL};

/* ---- pipe ---------------------------------------------------------------------------------------------------- */

static struct fake_pipe *pipe_of(struct transport *t)
{
    return (struct fake_pipe *)(void *)t;
}

static bool has_input(const struct fake_pipe *p)
{
    return p->in_at < p->in.len || p->is_eof || p->is_reset;
}

static ptrdiff_t pipe_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct fake_pipe *p = pipe_of(t);
    assert_false(p->is_gone);
    assert_true(cap > 0);
    p->recv_calls++;
    if (p->is_reset)
        return -(ptrdiff_t)ERR_RESET;
    size_t n = p->in.len - p->in_at;
    if (n == 0)
        return -(ptrdiff_t)(p->is_eof ? ERR_EOF : ERR_AGAIN);
    if (p->again_every && p->recv_calls % p->again_every == 0)
        return -(ptrdiff_t)ERR_AGAIN;
    n = MIN(n, cap);
    if (p->recv_max)
        n = MIN(n, p->recv_max);
    memcpy(out, p->in.p + p->in_at, n);
    p->in_at += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t pipe_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct fake_pipe *p = pipe_of(t);
    assert_false(p->is_gone);
    assert_false(p->is_shut);
    assert_true(n > 0);
    p->send_calls++;
    if (p->send_resets)
        return -(ptrdiff_t)ERR_RESET;
    size_t room = p->send_max ? MIN(p->send_max, p->send_room) : p->send_room, taken = 0;
    for (int i = 0; i < n && room > 0; i++) {
        size_t some = MIN(iov[i].iov_len, room);
        put(&p->out, iov[i].iov_base, some);
        taken += some;
        room -= some;
    }
    if (p->send_room != SIZE_MAX)
        p->send_room -= taken;
    return taken ? (ptrdiff_t)taken : -(ptrdiff_t)ERR_AGAIN;
}

static void pipe_want(struct transport *t, unsigned interest)
{
    assert_false(pipe_of(t)->is_gone);
    pipe_of(t)->interest = interest;
}

static bool pipe_pending(struct transport *t)
{
    struct fake_pipe *p = pipe_of(t);
    return p->is_pending && p->in_at < p->in.len;
}

static void pipe_shut(struct transport *t)
{
    pipe_of(t)->is_shut = true;
}

static void pipe_destroy(struct transport *t)
{
    struct fake_pipe *p = pipe_of(t);
    assert_false(p->is_gone);
    p->is_gone = true;
    p->conn = NULL;
}

static void pipe_peer(struct transport *t, char *out, size_t cap)
{
    (void)t;
    cut(out, cap, SLICE("fake"));
}

static const struct transport_ops pipe_ops = {.name = "fake",
                                              .recv = pipe_recv,
                                              .sendv = pipe_sendv,
                                              .want = pipe_want,
                                              .pending = pipe_pending,
                                              .shut = pipe_shut,
                                              .destroy = pipe_destroy,
                                              .peer = pipe_peer};

struct fake_pipe *fake_pipe(struct fake *f)
{
    struct fake_pipe *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    p->transport.ops = &pipe_ops;
    p->fake = f;
    p->send_room = SIZE_MAX;
    p->next = f->pipes;
    p->number = f->pipes ? f->pipes->number + 1 : 1;
    f->pipes = p;
    p->conn = conn_new(f->shard, &p->transport, &f->door);
    assert_true(p->conn || p->is_gone);
    return p;
}

void fake_feed(struct fake_pipe *p, const void *bytes, size_t n)
{
    put(&p->in, bytes, n);
}

void fake_feed_frame(struct fake_pipe *p, const void *body, uint32_t n)
{
    uint8_t head[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    put(&p->in, head, 4);
    put(&p->in, body, n);
}

/* ---- loop ---------------------------------------------------------------------------------------------------- */

static struct fake *of_loop(struct loop *l)
{
    return (struct fake *)(void *)l;
}

static mono_ms loop_fake_now(struct loop *l)
{
    return of_loop(l)->now;
}

static wall_ms loop_fake_wall(struct loop *l)
{
    return of_loop(l)->wall_at_0 + of_loop(l)->now;
}

static enum err loop_fake_io_set(struct loop *l, struct loop_io *io, unsigned interest)
{
    (void)l;
    io->interest = interest;
    return ERR_OK;
}

static void loop_fake_timer(struct loop *l, mono_ms due)
{
    of_loop(l)->timer = due;
}

static void loop_fake_wake(struct loop *l)
{
    of_loop(l)->wakes++;
}

static void loop_fake_nothing(struct loop *l)
{
    (void)l;
}

static const struct loop_ops loop_fake_ops = {.name = "fake",
                                              .now = loop_fake_now,
                                              .wall = loop_fake_wall,
                                              .io_set = loop_fake_io_set,
                                              .timer = loop_fake_timer,
                                              .wake = loop_fake_wake,
                                              .run = loop_fake_nothing,
                                              .stop = loop_fake_nothing,
                                              .destroy = loop_fake_nothing};

static bool offer(struct fake *f)
{
    bool any = f->wakes > 0;
    f->wakes = 0;
    for (struct fake_pipe *p = f->pipes; p; p = p->next) {
        unsigned events = 0;
        if (p->is_gone || !p->conn)
            continue;
        if ((p->interest & LOOP_READ) && has_input(p))
            events |= LOOP_READ;
        if ((p->interest & LOOP_WRITE) && (p->send_room > 0 || p->send_resets))
            events |= LOOP_WRITE;
        if (events == 0)
            continue;
        p->transport.on_ready(&p->transport, events);
        any = true;
    }
    return any;
}

static bool turn(struct fake *f)
{
    bool more = f->loop.on_turn(f->loop.ctx);
    f->turns++;
    shard_check(f->shard);
    return more;
}

bool fake_turn(struct fake *f)
{
    (void)offer(f);
    return turn(f) || f->wakes > 0;
}

void fake_run(struct fake *f)
{
    bool more = true;
    for (unsigned n = 0; n < TURNS_MAX; n++) {
        bool any = offer(f);
        if (!any && !more)
            return;
        more = turn(f);
    }
    fail_msg("the shard never comes to rest");
}

void fake_wait(struct fake *f, mono_ms ms)
{
    mono_ms until = f->now + ms;
    fake_run(f);
    while (f->timer <= until) {
        f->now = MAX(f->now, f->timer);
        f->timer = MONO_NEVER;
        fake_run(f);
    }
    f->now = until;
    fake_run(f);
}

void fake_durable(struct fake *f)
{
    fake_run(f);
    (void)store_mem_tick(f->store);
    fake_run(f);
}

/* ---- the world ----------------------------------------------------------------------------------------------- */

static void log_keep(void *ctx, enum log_level level, const char *line)
{
    struct fake *f = ctx;
    (void)level;
    cut(f->log_last, sizeof(f->log_last), slice_from_str(line));
}

void fake_config_init(struct fake_config *config)
{
    *config = (struct fake_config){.seed = 42};
    limits_default(&config->limits);
}

static void world_free(struct fake *f)
{
    while (f->pipes) {
        struct fake_pipe *p = f->pipes;
        f->pipes = p->next;
        free(p->in.p);
        free(p->out.p);
        free(p);
    }
    store_image_free(f->image);
    assert_int_equal(f->store_heap.bytes, 0); /* the store was closed, too */
    free(f->event);
    free(f);
}

/* life_begin: a shard on what the image has. False: out of memory, and nothing is left of it. */
static bool life_begin(struct fake *f, uint64_t fail_at)
{
    const struct fake_config *config = &f->config;
    if (config->has_store) {
        f->store =
            store_mem_new(&f->store_mem,
                          &(struct store_mem_config){
                              .keep = true, .late = config->is_late, .shares = config->is_log_like, .image = f->image});
        assert_non_null(f->store);
    }
    f->heap.fail_at = fail_at ? f->heap.calls + fail_at : 0;
    f->shard = shard_new(&(struct shard_config){.loop = &f->loop,
                                                .log = &f->log,
                                                .heap = &f->heap,
                                                .store = f->store,
                                                .limits = config->limits,
                                                .seed = config->seed,
                                                .retain_available = !config->no_retain,
                                                .sys_interval_s = config->sys_interval_s,
                                                .queue_qos0 = config->queue_qos0});
    if (f->shard)
        return true;
    f->store = NULL; /* closed */
    assert_int_equal(f->heap.bytes, 0);
    return false;
}

struct fake *fake_new(const struct fake_config *config)
{
    struct fake_config plain;
    if (!config) {
        fake_config_init(&plain);
        config = &plain;
    }
    struct fake *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->loop.ops = &loop_fake_ops;
    f->now = FAKE_START;
    f->timer = MONO_NEVER;
    mem_heap_init(&f->heap);
    mem_heap_init(&f->store_heap);
    mem_init(&f->store_mem, &f->store_heap, "store");
    log_init(&f->log);
    f->log.level = LOG_DEBUG;
    f->log.write = log_keep;
    f->log.ctx = f;
    f->door = (struct door){.adapter = fake_adapters, .name = "fake:0", .allow_anonymous = !config->refuses_anonymous};
    f->config = *config;
    f->wall_at_0 = FAKE_START_WALL;
    if (config->has_store) {
        f->image = store_image_new(&f->store_mem);
        assert_non_null(f->image);
    }
    if (life_begin(f, config->fail_at))
        return f;
    if (config->fail_at == 0)
        fail_msg("no shard: %s", f->log_last);
    world_free(f);
    return NULL;
}

bool fake_restart(struct fake *f, enum fake_end how, mono_ms away_ms, uint64_t fail_at)
{
    if (f->shard && how == FAKE_CRASHES)
        store_mem_crash(f->store, 0);
    fake_end(f);
    wall_ms wall = f->wall_at_0 + f->now + away_ms;
    f->now = f->now % 977 + 1; /* the machine was switched off, too */
    f->wall_at_0 = wall - f->now;
    f->timer = MONO_NEVER;
    f->wakes = 0;
    fake_forget(f);
    return life_begin(f, fail_at);
}

void fake_end(struct fake *f)
{
    if (!f->shard)
        return;
    f->heap.fail_at = 0;
    shard_free(f->shard);
    f->shard = NULL;
    f->store = NULL;
    assert_int_equal(f->heap.bytes, 0);
    for (struct fake_pipe *p = f->pipes; p; p = p->next)
        assert_true(p->is_gone);
}

void fake_free(struct fake *f)
{
    if (!f)
        return;
    fake_end(f);
    world_free(f);
}

/* ---- connections and verbs ----------------------------------------------------------------------------------- */

struct conn *fake_conn(struct fake *f)
{
    struct fake_pipe *p = fake_pipe(f);
    fake_feed(p, "HELLO", 5);
    fake_run(f);
    bool is_open = p->conn && p->conn->adapter && !p->conn->is_closing;
    if (!is_open)
        assert_int_not_equal(f->heap.fail_at, 0);
    return is_open ? p->conn : NULL;
}

struct attach fake_attach(const char *id, uint32_t expiry_s)
{
    return (struct attach){
        .id = slice_from_str(id), .expiry_s = expiry_s, .quota = 100, .ticket_max = 65535, .is_anonymous = true};
}

struct conn *fake_login(struct fake *f, const char *id, uint32_t expiry_s)
{
    struct conn *c = fake_conn(f);
    if (!c)
        return NULL;
    struct attach a = fake_attach(id, expiry_s);
    broker_attach(c, &a);
    bool is_in = c->session && !c->is_closing;
    if (!is_in)
        assert_int_not_equal(f->heap.fail_at, 0);
    return is_in ? c : NULL;
}

const struct filter *fake_filter(struct fake_filter *out, const char *text)
{
    assert_int_equal(filter_from_mqtt(slice_from_str(text), out->tok, &out->f), ERR_OK);
    return &out->f;
}

/* answer: what on_settled said for this receipt; ERR_AGAIN: nothing yet. */
static enum err answer(struct fake *f, uint64_t receipt)
{
    for (uint32_t i = f->event_n; i-- > 0;)
        if (f->event[i].what == FAKE_SETTLED && f->event[i].receipt == receipt)
            return f->event[i].result;
    return ERR_AGAIN;
}

enum err fake_sub_opts(struct conn *c, const char *filter, const struct binding_opts *opts)
{
    struct fake_filter ff;
    struct fake *f = fake_of(c);
    uint64_t receipt = f->receipt_next++;
    broker_subscribe(c, fake_filter(&ff, filter), opts, receipt);
    return answer(f, receipt);
}

enum err fake_sub(struct conn *c, const char *filter, uint8_t qos)
{
    return fake_sub_opts(c, filter, &(struct binding_opts){.qos = qos});
}

enum err fake_unsub(struct conn *c, const char *filter)
{
    struct fake_filter ff;
    struct fake *f = fake_of(c);
    uint64_t receipt = f->receipt_next++;
    broker_unsubscribe(c, fake_filter(&ff, filter), receipt);
    return answer(f, receipt);
}

enum err fake_pub_view(struct conn *c, const struct msgview *v, struct exchange *x, uint16_t rx_id)
{
    struct fake *f = fake_of(c);
    uint64_t receipt = f->receipt_next++;
    broker_publish(c, &(struct publish){.msg = *v, .exchange = x, .receipt = receipt, .rx_id = rx_id});
    return answer(f, receipt);
}

enum err fake_pub(struct conn *c, const char *topic, const char *payload, uint8_t qos)
{
    struct msgview v = {
        .topic = slice_from_str(topic), .payload = slice_from_str(payload), .qos = qos, .flags = qos ? MSG_DURABLE : 0};
    return fake_pub_view(c, &v, NULL, 0);
}

/* ---- looking at events --------------------------------------------------------------------------------------- */

uint32_t fake_count(const struct fake *f, enum fake_what what)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->event_n; i++)
        n += f->event[i].what == what;
    return n;
}

uint32_t fake_count_of(const struct fake *f, enum fake_what what, const struct conn *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->event_n; i++)
        n += f->event[i].what == what && f->event[i].conn == fake_number(c);
    return n;
}

const struct fake_event *fake_nth(const struct fake *f, enum fake_what what, uint32_t i)
{
    for (uint32_t at = 0; at < f->event_n; at++)
        if (f->event[at].what == what && i-- == 0)
            return &f->event[at];
    return NULL;
}

const struct fake_event *fake_last(const struct fake *f, enum fake_what what)
{
    for (uint32_t i = f->event_n; i-- > 0;)
        if (f->event[i].what == what)
            return &f->event[i];
    return NULL;
}

void fake_forget(struct fake *f)
{
    f->event_n = 0;
}
