/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_retained.c: the retained set against an array of topics, retained_match against filter_matches, and replays that
 * are stretched over many small feeds while topics come and go: what stays retained arrives exactly once, whatever the
 * queue's limits, the position of the cursor and the filter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/replay.h"
#include "tests/support/fake.h"

enum { TOPICS = 220, TEXT_MAX = 64 };

struct topic {
    char text[TEXT_MAX];
    bool is_set;
    bool stayed;    /* retained during the whole replay */
    uint32_t value; /* payload of the retained message */
    mono_ms expires_at;
    uint32_t got;
};

struct env {
    struct fake *f;
    struct retained *r;
    struct rng rng;
    struct topic topic[TOPICS];
    uint32_t value_next;
};

static struct env the_env;

static void env_init(struct env *v, uint64_t seed, const struct fake_config *config)
{
    memset(v, 0, sizeof(*v));
    v->f = fake_new(config);
    v->r = &v->f->shard->vhost->retained;
    rng_init(&v->rng, seed);
    static const char *const level[] = {"a", "b", "", "$s", "c-longer-than-inline"};
    for (unsigned i = 0; i < TOPICS; i++) {
        struct topic *t = &v->topic[i];
        bool is_new;
        do {
            size_t at = 0;
            uint32_t n = 1 + rng_below(&v->rng, 5);
            for (uint32_t k = 0; k < n; k++)
                at += (size_t)snprintf(t->text + at, TEXT_MAX - at, "%s%s", k ? "/" : "",
                                       level[rng_below(&v->rng, rng_chance(&v->rng, 70) ? 2 : 4)]);
            is_new = true;
            for (unsigned k = 0; k < i; k++)
                is_new &= strcmp(v->topic[k].text, t->text) != 0;
        } while (!is_new);
    }
}

static void any_filter(struct env *v, struct fake_filter *out, char *text)
{
    static const char *const level[] = {"a", "b", "+", "#", "+", "$s", ""};
    size_t at = 0;
    uint32_t n = 1 + rng_below(&v->rng, 4);
    for (uint32_t k = 0; k < n; k++)
        at += (size_t)snprintf(text + at, TEXT_MAX - at, "%s%s", k ? "/" : "", level[rng_below(&v->rng, 7)]);
    fake_filter(out, text);
}

static enum err put(struct env *v, struct topic *t, mono_ms expires_at)
{
    uint32_t value = v->value_next++;
    const struct msg *m = msg_new(&v->f->shard->msgs, &(struct msgview){.topic = slice_from_str(t->text),
                                                                        .payload = slice_make(&value, sizeof(value)),
                                                                        .flags = MSG_RETAIN,
                                                                        .qos = (uint8_t)(value % 3),
                                                                        .expires_at = expires_at});
    assert_non_null(m);
    enum err e = retained_put(v->r, m);
    msg_drop(m);
    if (e == ERR_OK) {
        t->is_set = true;
        t->value = value;
        t->expires_at = expires_at;
    }
    return e;
}

static void del(struct env *v, struct topic *t)
{
    retained_del(v->r, slice_from_str(t->text));
    t->is_set = false;
}

static bool lives(const struct env *v, const struct topic *t)
{
    return t->is_set && (t->expires_at == 0 || t->expires_at > v->f->shard->now);
}

static struct topic *by_text(struct env *v, struct slice text)
{
    for (unsigned i = 0; i < TOPICS; i++)
        if (slice_eq_str(text, v->topic[i].text))
            return &v->topic[i];
    fail_msg("a topic nobody retained");
    return NULL;
}

static uint32_t value_of(const struct msg *m)
{
    struct msgview w;
    uint32_t value;
    msg_view(m, &w);
    assert_int_equal(w.payload.len, sizeof(value));
    memcpy(&value, w.payload.p, sizeof(value));
    return value;
}

static void count_match(const struct msg *m, void *ctx)
{
    struct env *v = ctx;
    struct topic *t = by_text(v, slice_make(m->bytes, m->topic_len));
    assert_int_equal(value_of(m), t->value);
    t->got++;
}

static void match_is_right(struct env *v)
{
    struct fake_filter ff;
    char text[TEXT_MAX];
    any_filter(v, &ff, text);
    for (unsigned i = 0; i < TOPICS; i++)
        v->topic[i].got = 0;
    retained_match(v->r, &ff.f, count_match, v);
    for (unsigned i = 0; i < TOPICS; i++) {
        bool want = lives(v, &v->topic[i]) && filter_matches(&ff.f, slice_from_str(v->topic[i].text));
        assert_int_equal(v->topic[i].got, want);
    }
}

/* [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-4.7.2-1] */
static void against_an_array(void **state)
{
    (void)state;
    struct env *v = &the_env;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        env_init(v, seed, NULL);
        for (unsigned i = 0; i < 20000; i++) {
            struct topic *t = &v->topic[rng_below(&v->rng, TOPICS)];
            const struct msg *m = retained_get(v->r, slice_from_str(t->text));
            assert_int_equal(m != NULL, lives(v, t));
            if (m)
                assert_int_equal(value_of(m), t->value);
            if (rng_chance(&v->rng, 55))
                assert_int_equal(put(v, t, rng_chance(&v->rng, 20) ? v->f->shard->now + 1 + rng_below(&v->rng, 50) : 0),
                                 ERR_OK);
            else
                del(v, t);
            if (i % 20 == 0)
                match_is_right(v);
            if (i % 50 == 0)
                fake_wait(v->f, rng_below(&v->rng, 20));
        }
        uint64_t n = 0, bytes = 0;
        for (unsigned i = 0; i < TOPICS; i++) {
            (void)!retained_get(v->r, slice_from_str(v->topic[i].text)); /* sight removes what has expired */
            n += lives(v, &v->topic[i]);
            bytes += lives(v, &v->topic[i]) ? strlen(v->topic[i].text) + 4 : 0;
        }
        assert_int_equal(v->r->n, n);
        assert_int_equal(v->r->bytes, bytes);
        assert_int_equal(fake_stat(v->f, STAT_RETAINED), n);
        for (unsigned i = 0; i < TOPICS; i++)
            del(v, &v->topic[i]);
        assert_int_equal(v->r->n, 0);
        assert_int_equal(v->r->trie.node_n, 1);
        fake_free(v->f);
    }
}

static void the_limit(void **state)
{
    (void)state;
    struct env *v = &the_env;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.retained_max = 3;
    env_init(v, 5, &config);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(retained_has_room(v->r, slice_from_str(v->topic[i].text), 1));
        assert_int_equal(put(v, &v->topic[i], 0), ERR_OK);
    }
    assert_false(retained_has_room(v->r, slice_from_str(v->topic[3].text), 1));
    assert_int_equal(put(v, &v->topic[3], 0), ERR_FULL);
    assert_true(retained_has_room(v->r, slice_from_str(v->topic[1].text), 1));
    assert_int_equal(put(v, &v->topic[1], 0), ERR_OK); /* a new value for an old topic */
    del(v, &v->topic[0]);
    assert_int_equal(put(v, &v->topic[3], 0), ERR_OK);
    fake_free(v->f);
}

/* a byte limit: counts what replaces and what is replaced; the broker's own topics are outside of it. */
static void the_byte_limit(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.retained_bytes_max = 100;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "p", 0);
    char big[64];
    memset(big, 'x', sizeof big);
    struct msgview v = {.topic = SLICE("t"), .payload = slice_make(big, 60), .flags = MSG_RETAIN, .qos = 1};
    assert_int_equal(fake_pub_view(c, &v, NULL, 0), ERR_NO_MATCH);
    v.topic = SLICE("u");
    assert_int_equal(fake_pub_view(c, &v, NULL, 0), ERR_FULL);
    v.topic = SLICE("t");
    assert_int_equal(fake_pub_view(c, &v, NULL, 0), ERR_NO_MATCH); /* 61 for 61 */
    v.topic = SLICE("u");
    v.payload.len = 38;
    assert_int_equal(fake_pub_view(c, &v, NULL, 0), ERR_NO_MATCH); /* 100 in all */
    v.payload.len = 39;
    assert_int_equal(fake_pub_view(c, &v, NULL, 0), ERR_FULL);
    v.topic = SLICE("$SYS/broker/x");
    v.payload.len = 60;
    assert_int_equal(broker_publish_shard(f->shard->vhost, NULL, &v), ERR_NO_MATCH);
    assert_int_equal(f->shard->vhost->retained.sys_n, 1);
    v.topic = SLICE("t");
    v.payload.len = 0;
    assert_int_equal(fake_pub_view(c, &v, NULL, 0), ERR_NO_MATCH);
    v.topic = SLICE("w");
    v.payload.len = 60;
    assert_int_equal(fake_pub_view(c, &v, NULL, 0), ERR_NO_MATCH);
    fake_free(f);
}

/* what has expired does not fill the set for ever: nobody may ever ask for those topics again. */
static void expired_messages_make_room(void **state)
{
    (void)state;
    struct env *v = &the_env;
    struct fake_config config;
    fake_config_init(&config);
    config.limits.retained_max = 3;
    env_init(v, 6, &config);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(put(v, &v->topic[i], v->f->now + 1000), ERR_OK);
    fake_wait(v->f, 2000);
    assert_true(retained_has_room(v->r, slice_from_str(v->topic[3].text), 1));
    assert_int_equal(put(v, &v->topic[3], 0), ERR_OK);
    fake_free(v->f);
}

/* ---- replay -------------------------------------------------------------------------------------------------- */

static struct queue *small_queue(struct env *v, uint64_t len_max, uint64_t bytes_max)
{
    struct queue_policy p = {
        .len_max = len_max, .bytes_max = bytes_max, .overflow = OVERFLOW_DROP_NEW, .keep_qos0 = true};
    struct queue *q = queue_new(v->f->shard->vhost, (struct slice){0}, &p, true, NULL);
    assert_non_null(q);
    return q;
}

/* drain: counts what the queue holds by topic, and empties it. */
static uint32_t drain(struct env *v, struct queue *q, uint8_t cap)
{
    uint32_t n = 0;
    LIST_EACH(&q->ready, it)
    {
        const struct entry *e = LIST_ITEM(it, struct entry, node);
        struct topic *t = by_text(v, slice_make(e->msg->bytes, e->msg->topic_len));
        assert_true(e->retained);
        assert_int_equal(e->qos, MIN(e->msg->qos, cap));
        t->got++;
        n++;
    }
    assert_int_equal(queue_purge(q, STAT_DROP_CLOSED), n);
    return n;
}

static void disturb(struct env *v)
{
    for (uint32_t n = rng_below(&v->rng, 12); n > 0; n--) {
        struct topic *t = &v->topic[rng_below(&v->rng, TOPICS)];
        if (t->stayed && rng_chance(&v->rng, 80))
            continue; /* leave most of them in peace */
        t->stayed = false;
        if (t->is_set)
            del(v, t);
        else
            assert_int_equal(put(v, t, 0), ERR_OK);
    }
    struct topic *t = &v->topic[rng_below(&v->rng, TOPICS)];
    if (t->is_set)
        assert_int_equal(put(v, t, 0), ERR_OK); /* a new value; still retained */
}

static void fill(struct env *v)
{
    for (unsigned i = 0; i < TOPICS; i++) {
        if (!v->topic[i].is_set && rng_chance(&v->rng, 60))
            assert_int_equal(put(v, &v->topic[i], 0), ERR_OK);
        v->topic[i].stayed = v->topic[i].is_set;
        v->topic[i].got = 0;
    }
}

static void one_replay(struct env *v, uint64_t len_max, bool disturbed)
{
    struct queue *q = small_queue(v, len_max, 0);
    struct fake_filter ff;
    char text[TEXT_MAX];
    uint8_t cap = (uint8_t)rng_below(&v->rng, 3);
    any_filter(v, &ff, text);
    fill(v);
    assert_int_equal(replay_open(v->r, q, &ff.f, 2, cap, REPLAY_OWN), ERR_OK);
    uint32_t rounds = 0;
    while (q->replay) {
        uint32_t budget = 1 + rng_below(&v->rng, 6), fed = replay_feed(q, budget);
        uint32_t drained = drain(v, q, cap);
        assert_true(drained <= (len_max + 1) / 2 && drained <= budget);
        assert_int_equal(fed, drained);
        if (disturbed)
            disturb(v);
        assert_true(++rounds < 10000);
    }
    for (unsigned i = 0; i < TOPICS; i++) {
        struct topic *t = &v->topic[i];
        bool matches = filter_matches(&ff.f, slice_from_str(t->text));
        if (t->stayed || !disturbed)
            assert_int_equal(t->got, t->is_set && matches);
        if (!matches)
            assert_int_equal(t->got, 0);
    }
    queue_delete(q);
    fake_run(v->f);
}

static void exactly_once_through_small_queues(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 7, NULL);
    for (unsigned i = 0; i < 400; i++)
        one_replay(v, 2 + rng_below(&v->rng, 9), i % 4 != 0);
    for (unsigned i = 0; i < TOPICS; i++)
        del(v, &v->topic[i]);
    assert_int_equal(v->r->trie.node_n, 1); /* no pin was left */
    fake_free(v->f);
}

static void several_cursors_in_one_queue(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 8, NULL);
    for (unsigned round = 0; round < 60; round++) {
        enum { CURSORS = 5 };
        struct fake_filter ff[CURSORS];
        char text[CURSORS][TEXT_MAX];
        struct queue *q = small_queue(v, 6, 0);
        fill(v);
        for (unsigned i = 0; i < CURSORS; i++) {
            any_filter(v, &ff[i], text[i]);
            assert_int_equal(replay_open(v->r, q, &ff[i].f, 2, 2, REPLAY_OWN), ERR_OK);
        }
        for (unsigned n = 0; q->replay; n++) {
            (void)replay_feed(q, 256);
            drain(v, q, 2);
            disturb(v);
            assert_true(n < 10000);
        }
        for (unsigned i = 0; i < TOPICS; i++) {
            uint32_t want = 0;
            for (unsigned k = 0; k < CURSORS; k++)
                want += filter_matches(&ff[k].f, slice_from_str(v->topic[i].text));
            if (v->topic[i].stayed)
                assert_int_equal(v->topic[i].got, want);
        }
        queue_delete(q);
        fake_run(v->f);
    }
    fake_free(v->f);
}

static void the_queue_dies_on_the_way(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 9, NULL);
    fill(v);
    for (unsigned n = 0; n < 40; n++) {
        struct queue *q = small_queue(v, 4, 0);
        struct fake_filter ff;
        assert_int_equal(replay_open(v->r, q, fake_filter(&ff, "#"), 2, 2, REPLAY_OWN), ERR_OK);
        assert_int_equal(replay_open(v->r, q, fake_filter(&ff, "a/#"), 2, 2, REPLAY_OWN), ERR_OK);
        for (unsigned i = 0; i < n; i++) {
            (void)replay_feed(q, 3);
            if (i % 2)
                drain(v, q, 2);
        }
        queue_delete(q);
        fake_run(v->f);
    }
    for (unsigned i = 0; i < TOPICS; i++)
        del(v, &v->topic[i]);
    assert_int_equal(v->r->trie.node_n, 1);
    fake_free(v->f);
}

static void expired_is_not_replayed(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 10, NULL);
    for (unsigned i = 0; i < TOPICS; i++)
        assert_int_equal(put(v, &v->topic[i], i % 2 ? v->f->now + 10 : 0), ERR_OK);
    fake_wait(v->f, 10);
    struct queue *q = small_queue(v, 1000, 0);
    struct fake_filter ff;
    assert_int_equal(replay_open(v->r, q, fake_filter(&ff, "#"), 2, 2, REPLAY_OWN), ERR_OK);
    while (q->replay)
        (void)replay_feed(q, 256);
    drain(v, q, 2);
    for (unsigned i = 0; i < TOPICS; i++)
        assert_int_equal(v->topic[i].got, i % 2 == 0 && v->topic[i].text[0] != '$');
    queue_delete(q);
    fake_free(v->f);
}

/* one filter twice in a row: one cursor, from the start; nothing piles up however often it is said. */
static void subscribing_again_starts_anew(void **state)
{
    (void)state;
    struct env *v = &the_env;
    env_init(v, 11, NULL);
    fill(v);
    struct conn *c = fake_login(v->f, "me", 0);
    size_t bytes = 0;
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(fake_sub(c, "#", 1), ERR_OK);
        if (i == 10)
            bytes = v->f->shard->mem[MEM_RETAINED].bytes;
        if (i > 10)
            assert_true(v->f->shard->mem[MEM_RETAINED].bytes <= bytes);
    }
    fake_run(v->f);
    uint32_t want = 0;
    for (unsigned i = 0; i < TOPICS; i++)
        want += v->topic[i].is_set && v->topic[i].text[0] != '$';
    assert_int_equal(fake_count(v->f, FAKE_DELIVER), want);
    fake_free(v->f);
}

/* ---- with a real subscriber ---------------------------------------------------------------------------------- */

static void limits_of(struct fake_config *config, uint64_t len, uint64_t bytes)
{
    fake_config_init(config);
    config->limits.session_queue_max = len;
    config->limits.session_queue_bytes_max = bytes;
}

static enum err retain(struct conn *c, const char *topic, size_t bytes, uint8_t qos)
{
    static uint8_t zeros[5000];
    struct msgview w = {
        .topic = slice_from_str(topic), .payload = slice_make(zeros, bytes), .qos = qos, .flags = MSG_RETAIN};
    return fake_pub_view(c, &w, NULL, 0);
}

/* messages of every size against byte limits: smaller, half, all, larger. A retained message is not lost to a limit. */
static void byte_limits_do_not_cut_a_replay_short(void **state)
{
    (void)state;
    for (uint64_t bytes_max = 200; bytes_max <= 3000; bytes_max += 200) {
        for (uint8_t qos = 0; qos <= 2; qos++) {
            struct fake_config config;
            limits_of(&config, 0, bytes_max);
            struct fake *f = fake_new(&config);
            struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 0);
            for (unsigned i = 0; i < 30; i++) {
                char topic[16];
                snprintf(topic, sizeof(topic), "r/%u", i);
                assert_int_equal(retain(p, topic, 1 + i * 83 % 1900, qos), ERR_NO_MATCH);
            }
            assert_int_equal(fake_sub(s, "r/#", qos), ERR_OK);
            for (unsigned i = 0; i < 31; i++) {
                fake_run(f);
                for (uint32_t n = fake_count(f, FAKE_DELIVER); qos && n-- > 0;) {
                    uint32_t ticket = fake_nth(f, FAKE_DELIVER, n)->ticket;
                    bool flies = tickets_get(s->session, ticket) != NULL;
                    if (flies && qos == 2)
                        assert_int_equal(broker_settle(s, ticket, OUTCOME_RECEIVED), ERR_OK);
                    if (flies)
                        assert_int_equal(broker_settle(s, ticket, qos == 2 ? OUTCOME_COMPLETE : OUTCOME_ACK), ERR_OK);
                }
            }
            assert_int_equal(fake_count(f, FAKE_DELIVER), 30);
            assert_null(s->session->queue->replay);
            fake_free(f);
        }
    }
}

/* a peer that takes one message at a time, and a queue of two. */
static void a_slow_peer_and_a_tiny_queue(void **state)
{
    (void)state;
    struct fake_config config;
    limits_of(&config, 2, 0);
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0), *s = fake_conn(f);
    struct attach a = fake_attach("s", 0);
    a.quota = 1;
    broker_attach(s, &a);
    for (unsigned i = 0; i < 50; i++) {
        char topic[16];
        snprintf(topic, sizeof(topic), "r/%u", i);
        assert_int_equal(retain(p, topic, 10, 1), ERR_NO_MATCH);
    }
    assert_int_equal(fake_sub(s, "r/+", 1), ERR_OK);
    for (unsigned i = 0; i < 50; i++) {
        fake_run(f);
        assert_int_equal(fake_count(f, FAKE_DELIVER), i + 1);
        const struct fake_event *e = fake_last(f, FAKE_DELIVER);
        assert_true(e->retain && e->is_retained);
        assert_int_equal(broker_settle(s, e->ticket, OUTCOME_ACK), ERR_OK);
    }
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 50);
    fake_free(f);
}

/* a cursor belongs to the session: it goes on after the connection broke. */
static void the_connection_breaks_on_the_way(void **state)
{
    (void)state;
    struct fake_config config;
    limits_of(&config, 4, 0);
    struct fake *f = fake_new(&config);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 1000);
    s->session->quota = 3;
    char topic[16];
    for (unsigned i = 0; i < 20; i++) {
        snprintf(topic, sizeof(topic), "r/%u", i);
        assert_int_equal(retain(p, topic, 10, 1), ERR_NO_MATCH);
    }
    assert_int_equal(fake_sub(s, "r/+", 1), ERR_OK);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 3);
    fake_pipe_of(s)->is_reset = true;
    fake_run(f);
    fake_forget(f);
    s = fake_login(f, "s", 1000);
    fake_run(f);
    for (unsigned i = 0; i < 20; i++) { /* the first three again */
        const struct fake_event *e = fake_nth(f, FAKE_DELIVER, i);
        assert_non_null(e);
        snprintf(topic, sizeof(topic), "r/%u", i);
        assert_string_equal(e->topic, topic);
        assert_int_equal(e->redelivered, i < 3);
        assert_int_equal(broker_settle(s, e->ticket, OUTCOME_ACK), ERR_OK);
        fake_run(f);
    }
    assert_int_equal(fake_count(f, FAKE_DELIVER), 20);
    fake_free(f);
}

/* more topics than one call looks at, none of which matches but the last: the shard does not spin for an offline queue.
 */
static void many_topics_few_matches(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *s = fake_login(f, "s", 1000);
    char topic[32];
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(topic, sizeof(topic), "r/%u/%s", i, i == 19999 ? "yes" : "no");
        assert_int_equal(retain(p, topic, 1, 1), ERR_NO_MATCH);
    }
    fake_forget(f);
    assert_int_equal(fake_sub(s, "r/+/yes", 1), ERR_OK);
    fake_pipe_of(s)->is_reset = true;
    fake_run(f); /* comes to rest */
    assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
    s = fake_login(f, "s", 1000);
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_DELIVER), 1);
    assert_string_equal(fake_last(f, FAKE_DELIVER)->topic, "r/19999/yes");
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_an_array),
        cmocka_unit_test(the_limit),
        cmocka_unit_test(the_byte_limit),
        cmocka_unit_test(expired_messages_make_room),
        cmocka_unit_test(exactly_once_through_small_queues),
        cmocka_unit_test(several_cursors_in_one_queue),
        cmocka_unit_test(the_queue_dies_on_the_way),
        cmocka_unit_test(expired_is_not_replayed),
        cmocka_unit_test(subscribing_again_starts_anew),
        cmocka_unit_test(byte_limits_do_not_cut_a_replay_short),
        cmocka_unit_test(a_slow_peer_and_a_tiny_queue),
        cmocka_unit_test(the_connection_breaks_on_the_way),
        cmocka_unit_test(many_topics_few_matches),
    };
    return cmocka_run_group_tests_name("retained", tests, NULL, NULL);
}
