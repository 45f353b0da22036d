/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_FAKE_H
#define WEIR_TESTS_FAKE_H

/*
 * fake.h: a real shard between fakes that do what they are told: a clock that stands still, pipes whose every recv and
 * sendv is scripted, and a recording adapter that writes down each call it gets. For unit tests of core, which speak
 * the verbs of core/broker.h themselves:
 *
 *     struct fake *f = fake_new(NULL);
 *     struct conn *c = fake_login(f, "me", 0);
 *     fake_sub(c, "a/#", 1);
 *     fake_pub(c, "a/b", "hello", 1);
 *     fake_run(f);
 *     assert_string_equal(fake_last(f, FAKE_DELIVER)->payload, "hello");
 *     fake_free(f);                         asserts that every byte came back
 *
 * The fake protocol: "HELLO", then frames of a 32-bit length in network order and that many bytes. "HEL" is claimed as
 * CLAIM_MORE. Every turn ends in shard_check.
 *
 * Thread: one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/broker.h"
#include "core/shard.h"

enum fake_what {
    FAKE_OPEN,
    FAKE_FRAME,
    FAKE_ATTACHED,
    FAKE_DELIVER,
    FAKE_RELEASE,
    FAKE_SETTLED,
    FAKE_CONSUMER_GONE,
    FAKE_TICK,
    FAKE_CLOSE,
    FAKE_DESTROY,
};

/* One call of an adapter slot. Only the fields of its kind are set. */
struct fake_event {
    enum fake_what what;
    uint64_t conn;         /* its number */
    enum err result;       /* ATTACHED, SETTLED; DELIVER: what was answered */
    uint64_t receipt;      /* SETTLED */
    uint32_t ticket;       /* DELIVER, RELEASE */
    enum close_reason why; /* CLOSE */
    bool can_say;          /* CLOSE */
    bool session_present;  /* ATTACHED */
    uint32_t len;          /* FRAME: bytes of the body; DELIVER: of the payload */
    struct consumer *consumer;
    void *up;
    uint8_t qos, attempts;
    bool retain, is_retained, redelivered, is_resent;
    uint32_t sub_id_n, sub_id[8];
    char topic[128], payload[128]; /* cut; DELIVER, and FRAME's body in payload; ATTACHED: topic is the assigned id */
    mono_ms at;
};

struct fake_bytes {
    uint8_t *p;
    size_t len, cap;
};

struct fake;

/* One connection's pipe and how its adapter behaves. owner: fake, until fake_free. */
struct fake_pipe {
    struct transport transport; /* first */
    struct fake *fake;
    struct fake_pipe *next;
    uint64_t number;   /* 1 .. */
    struct conn *conn; /* NULL: refused, or gone */
    struct fake_bytes in, out;
    size_t in_at;
    size_t recv_max;                              /* bytes one recv gives; 0: all */
    size_t send_max;                              /* bytes one sendv takes; 0: all */
    size_t send_room;                             /* bytes taken before -ERR_AGAIN; SIZE_MAX: no end */
    uint32_t recv_calls, send_calls, again_every; /* again_every: each Nth recv says -ERR_AGAIN though there is input */
    bool is_eof, is_reset, send_resets, is_shut, is_gone;
    bool is_pending; /* transport->pending says so while there is input */
    unsigned interest;
    /* the adapter's script */
    enum err deliver_result; /* instead of encoding */
    uint32_t deliver_bytes;  /* a delivery writes this many bytes; 0: the payload */
    const char *last_words;  /* written by on_close if the peer can hear */
    bool refuses_bytes;      /* on_bytes eats nothing */
    bool open_fails;
    mono_ms tick_every;                                                /* on_tick answers now + this; 0: MONO_NEVER */
    void (*on_frame)(struct conn *c, const uint8_t *body, size_t len); /* may be NULL */
    void (*on_leave)(struct conn *c, void *ctx);                       /* from within on_close; may be NULL */
    void *ctx;
};

struct fake_config {
    struct limits limits;
    bool has_store, is_late; /* store_mem with an image; late: durable at fake_durable only */
    bool is_log_like;        /* and it numbers and orders records as a log does (store_mem_config.shares) */
    bool no_retain, queue_qos0, refuses_anonymous;
    uint64_t fail_at; /* the shard's Nth allocation fails; 0: none */
    uint64_t seed;
    uint32_t sys_interval_s; /* 0: no $SYS */
};

struct store_image;

struct fake {
    struct loop loop; /* first */
    struct fake_config config;
    struct mem_heap heap, store_heap;
    struct mem store_mem;
    struct log log;
    struct door door;
    struct shard *shard;
    struct store *store;       /* borrowed; NULL: none */
    struct store_image *image; /* outlives the store */
    struct fake_pipe *pipes;
    struct fake_event *event;
    uint32_t event_n, event_cap;
    mono_ms now, timer;
    wall_ms wall_at_0; /* what the wall clock says when `now` is 0 */
    uint32_t wakes;
    uint64_t receipt_next;
    uint32_t turns;
    char log_last[256];
};

#define FAKE_START      5000u
#define FAKE_START_WALL UINT64_C(1700000000000) /* wall_at_0 at first */

extern const struct adapter_ops fake_adapter;

/* fake_config_init: defaults. fake_new: NULL config means that; NULL when the shard could not be made (fail_at). */
void fake_config_init(struct fake_config *config);
struct fake *fake_new(const struct fake_config *config) MUST_CHECK;

/* fake_free: ends everything; asserts that heap->bytes is 0 and every pipe was destroyed. NULL is fine. fake_end: the
 * first half: the shard only, so that a test can look at what is left in the image. */
void fake_free(struct fake *f);
void fake_end(struct fake *f);

/* fake_restart: the broker ends, by a crash or not, and after away_ms another one begins on what its store has; its
 * clock counts from somewhere else. Events are forgotten. False: it could not begin (fail_at, which is set only now).
 */
enum fake_end { FAKE_CLOSES, FAKE_CRASHES };
bool fake_restart(struct fake *f, enum fake_end how, mono_ms away_ms, uint64_t fail_at) MUST_CHECK;

/* fake_turn: offers what is ready, then one turn and shard_check; true when there is more to do. fake_run: turns until
 * there is not. fake_wait: lets time pass, timer by timer. fake_durable: one tick of a late store, and a turn. */
bool fake_turn(struct fake *f);
void fake_run(struct fake *f);
void fake_wait(struct fake *f, mono_ms ms);
void fake_durable(struct fake *f);

/* fake_pipe: a new connection; conn is NULL if it was refused. fake_feed: input for the next turn. */
struct fake_pipe *fake_pipe(struct fake *f);
void fake_feed(struct fake_pipe *p, const void *bytes, size_t n);
void fake_feed_frame(struct fake_pipe *p, const void *body, uint32_t n);

static inline struct fake_pipe *fake_pipe_of(const struct conn *c)
{
    return (struct fake_pipe *)(void *)c->transport;
}

/* fake_number: which connection it is; the first one is 1. */
static inline uint64_t fake_number(const struct conn *c)
{
    return fake_pipe_of(c)->number;
}

/* fake_conn: a connection that our adapter has claimed. fake_login: with a session (quota 100; empty id: unnamed). NULL
 * only when memory is made to fail. */
struct conn *fake_conn(struct fake *f);
struct conn *fake_login(struct fake *f, const char *id, uint32_t expiry_s);

/* fake_attach: what fake_login asks for, to be changed. */
struct attach fake_attach(const char *id, uint32_t expiry_s);

/* fake_filter: an MQTT filter as tokens that live in tok. */
struct fake_filter {
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter f;
};
const struct filter *fake_filter(struct fake_filter *out, const char *text);

/* The verbs, answered at once unless a store is late: the result, or ERR_AGAIN when the answer is owed. */
enum err fake_sub(struct conn *c, const char *filter, uint8_t qos);
enum err fake_sub_opts(struct conn *c, const char *filter, const struct binding_opts *opts);
enum err fake_unsub(struct conn *c, const char *filter);
enum err fake_pub(struct conn *c, const char *topic, const char *payload, uint8_t qos);
enum err fake_pub_view(struct conn *c, const struct msgview *v, struct exchange *x, uint16_t rx_id);

/* fake_count: events of a kind since the last fake_forget. fake_last: the newest, NULL if none. fake_nth: the i-th. */
uint32_t fake_count(const struct fake *f, enum fake_what what);
uint32_t fake_count_of(const struct fake *f, enum fake_what what, const struct conn *c);
const struct fake_event *fake_last(const struct fake *f, enum fake_what what);
const struct fake_event *fake_nth(const struct fake *f, enum fake_what what, uint32_t i);
void fake_forget(struct fake *f);

/* fake_stat: a counter of the shard. */
static inline uint64_t fake_stat(const struct fake *f, enum stat_id which)
{
    return f->shard->stats.v[which];
}

#endif
