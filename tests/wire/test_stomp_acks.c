/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_acks.c: who answers what, in every version and ack mode: three messages on their way to A, one answer to
 * one of them, and what becomes of each: A hears it again, or B gets it when A is gone, or nobody.
 *
 *     SEND 1 2 3 ─► A (auto | client | client-individual) ─► ACK or NACK of one ─► A is gone ─► what B gets
 *                                                            [once more] [after UNSUBSCRIBE] [in a transaction]
 *
 * What is right is written here by hand: client is cumulative, client-individual is not, auto wants no answers.
 *
 * Cost    some hundred conversations, well under a second.
 * Thread  one.
 * Spec    STOMP 1.2 §SUBSCRIBE ack Header, §ACK, §NACK, §BEGIN, §COMMIT, §ABORT, §UNSUBSCRIBE; STOMP 1.1 §ACK, §NACK;
 *         STOMP 1.0 §ACK.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/wire/chat.h"

enum mode { AUTO, CLIENT, INDIVIDUAL, MODE_N };
enum op { ACK, NACK, REQUEUE, REJECT, OP_N };

static const char *const MODE[] = {"auto", "client", "client-individual"};
static const char *const COMMAND[] = {"ACK", "NACK", "NACK", "NACK"};
static const char *const MORE[] = {"", "", "requeue:true\n", "requeue:false\n"};

enum { MESSAGES = 3 };

/* One peer. */
struct side {
    struct rig *r;
    struct rig_pipe *p;
    struct chat_ear ear;
    unsigned version;
};

/* hears: what it was told since the last time, in words; good until the next call. */
static const char *hears(struct side *s, struct text *out)
{
    rig_run(s->r);
    shard_check(s->r->shard);
    out->n = 0;
    out->p[0] = '\0';
    chat_listen(&s->ear, s->p, s->version, out);
    if (rig_is_closed(s->p))
        text_put(out, "%sclosed", out->n != 0 ? "; " : "");
    return out->p;
}

static void says(struct side *s, const char *command, const char *headers, const char *body)
{
    struct chat t = {0};
    chat_frame(&t, command, headers, body);
    struct rig_bytes line = chat_fill(&s->ear, &t.line[0]);
    rig_send(s->p, line.p, line.len);
    rig_run(s->r);
    free(line.p);
    free(t.line[0].p);
}

#define HEARS(side, ...)                                                                                               \
    do {                                                                                                               \
        struct text words_, want_ = {0};                                                                               \
        text_put(&want_, __VA_ARGS__);                                                                                 \
        if (!words_fit(want_.p, hears(side, &words_)))                                                                 \
            fail_msg("%s: expected '%s', got '%s'", what, want_.p, words_.p);                                          \
    } while (0)

static void comes(struct rig *r, struct side *s, unsigned version)
{
    struct text words;
    *s = (struct side){.r = r, .p = rig_connect(r), .version = version};
    rig_send(s->p, CHAT_HELLO[version], strlen(CHAT_HELLO[version]) + 1);
    assert_int_equal(strncmp(hears(s, &words), "connected", 9), 0);
}

static struct rig *start(void)
{
    static const struct adapter_ops *const adapters[] = {&stomp_adapter, NULL};
    struct rig_config config;
    rig_config_init(&config);
    config.adapters = adapters;
    struct rig *r = rig_new(&config);
    assert_non_null(r);
    return r;
}

static void subscribes(struct side *s, const char *id, const char *queue, enum mode mode)
{
    char headers[200];
    (void)snprintf(headers, sizeof headers, "id:%s\ndestination:/queue/%s\nack:%s\n", id, queue, MODE[mode]);
    says(s, "SUBSCRIBE", headers, "");
}

/* answers: the k-th MESSAGE that it heard. */
static void answers(struct side *s, enum op op, unsigned k, const char *sub, const char *transaction)
{
    char headers[300];
    (void)snprintf(headers, sizeof headers, "%s:@%u\n%s%s%s%s%s%s%sreceipt:r\n", s->version == 2 ? "id" : "message-id",
                   k, s->version == 1 ? "subscription:" : "", s->version == 1 ? sub : "", s->version == 1 ? "\n" : "",
                   MORE[op], transaction != NULL ? "transaction:" : "", transaction != NULL ? transaction : "",
                   transaction != NULL ? "\n" : "");
    says(s, COMMAND[op], headers, "");
}

/* One case, and what is left of it. */
struct acks {
    struct rig *r;
    struct side a, b;
    enum mode mode;
    bool is_gone[MESSAGES + 1]; /* by number */
    char what[200];
};

/* begin: three messages with A, which has a subscription of that mode. */
static void begin(struct acks *x, unsigned version, enum mode mode, const char *what)
{
    memset(x, 0, sizeof *x);
    (void)snprintf(x->what, sizeof x->what, "1.%u, %s: %s", version, MODE[mode], what);
    what = x->what;
    x->mode = mode;
    x->r = start();
    comes(x->r, &x->a, version);
    subscribes(&x->a, "0", "q", mode);
    for (unsigned i = 1; i <= MESSAGES; i++) {
        char body[] = {(char)('0' + i), '\0'};
        says(&x->a, "SEND", "destination:/queue/q\n", body);
        x->is_gone[i] = mode == AUTO;
    }
    HEARS(&x->a, "message 0 /queue/q 1; message 0 /queue/q 2; message 0 /queue/q 3");
}

/* is_meant: does an answer to message k speak of message i? */
static bool is_meant(const struct acks *x, unsigned k, unsigned i)
{
    return x->mode == CLIENT ? i <= k : i == k;
}

/* carried_out: the answer has taken effect: what A hears again, as words behind `says`. */
static void carried_out(struct acks *x, enum op op, unsigned k, bool is_subscribed, struct text *out)
{
    for (unsigned i = 1; i <= MESSAGES; i++) {
        if (!is_meant(x, k, i))
            continue;
        if (op == ACK || op == REJECT)
            x->is_gone[i] = true;
        else if (is_subscribed)
            text_put(out, "; message 0 /queue/q again %u", i);
    }
}

/* end: A is gone; B gets what is left, in order. */
static void end(struct acks *x)
{
    const char *what = x->what;
    struct text want = {0};
    x->a.p->is_reset = true;
    rig_run(x->r);
    comes(x->r, &x->b, 2);
    subscribes(&x->b, "0", "q", INDIVIDUAL);
    for (unsigned i = 1; i <= MESSAGES; i++)
        if (!x->is_gone[i])
            text_put(&want, "%smessage 0 /queue/q again %u", want.n != 0 ? "; " : "", i);
    HEARS(&x->b, "%s", want.p);
    chat_ear_free(&x->a.ear);
    chat_ear_free(&x->b.ear);
    assert_true(rig_free(x->r));
}

/* STOMP 1.0 has no NACK. */
#define EACH_ANSWER(v, mode, op, k)                                                                                    \
    for (unsigned v = 0; v <= 2; v++)                                                                                  \
        for (enum mode mode = CLIENT; mode < MODE_N; mode++)                                                           \
            for (enum op op = ACK; op < (v == 0 ? NACK : OP_N); op++)                                                  \
                for (unsigned k = 1; k <= MESSAGES; k++)

/* STOMP 1.2 §SUBSCRIBE ack Header, §ACK, §NACK; with and without the subscription being there still (§UNSUBSCRIBE). */
static void each_answer(void **state)
{
    (void)state;
    EACH_ANSWER(v, mode, op, k)
    {
        for (unsigned is_subscribed = 0; is_subscribed < 2; is_subscribed++) {
            struct acks x;
            struct text again = {0};
            char about[100];
            (void)snprintf(about, sizeof about, "%s %sof %u%s", COMMAND[op], MORE[op], k,
                           is_subscribed != 0 ? "" : " after UNSUBSCRIBE");
            begin(&x, v, mode, about);
            const char *what = x.what;
            if (is_subscribed == 0)
                says(&x.a, "UNSUBSCRIBE", "id:0\n", "");
            answers(&x.a, op, k, "0", NULL);
            carried_out(&x, op, k, is_subscribed != 0, &again);
            HEARS(&x.a, "receipt r%s", again.p);
            end(&x);
        }
    }
}

/* An answer counts once: what was answered, itself or cumulatively, waits for no other answer. */
static void each_answer_twice(void **state)
{
    (void)state;
    EACH_ANSWER(v, mode, op, k)
    {
        for (unsigned j = 1; j <= MESSAGES; j++) {
            struct acks x;
            struct text again = {0};
            char about[100];
            (void)snprintf(about, sizeof about, "%s %sof %u, then ACK of %u", COMMAND[op], MORE[op], k, j);
            begin(&x, v, mode, about);
            const char *what = x.what;
            answers(&x.a, op, k, "0", NULL);
            carried_out(&x, op, k, true, &again);
            HEARS(&x.a, "receipt r%s", again.p);
            answers(&x.a, ACK, j, "0", NULL);
            if (is_meant(&x, k, j)) {
                HEARS(&x.a, "error unknown-ack for r; closed");
            } else {
                /* cumulative: also what came again came after it, so it is not meant */
                for (unsigned i = k + 1; i <= MESSAGES; i++)
                    x.is_gone[i] = x.is_gone[i] || is_meant(&x, j, i);
                x.is_gone[j] = true;
                HEARS(&x.a, "receipt r");
            }
            end(&x);
        }
    }
}

/* auto: nothing waits for an answer. STOMP 1.2 §SUBSCRIBE ack Header */
static void answers_nobody_wants(void **state)
{
    (void)state;
    for (unsigned v = 0; v <= 2; v++)
        for (enum op op = ACK; op < (v == 0 ? NACK : OP_N); op++) {
            struct acks x;
            begin(&x, v, AUTO, COMMAND[op]);
            const char *what = x.what;
            answers(&x.a, op, 1, "0", NULL);
            HEARS(&x.a, "error unknown-ack for r; closed");
            end(&x);
        }
}

/* The id of another connection's delivery means nothing here, and nothing is changed there. */
static void answers_of_others(void **state)
{
    (void)state;
    EACH_ANSWER(v, mode, op, k)
    {
        struct acks x;
        struct side c;
        begin(&x, v, mode, "another connection answers");
        const char *what = x.what;
        comes(x.r, &c, v);
        for (unsigned i = 0; i < MESSAGES; i++) {
            struct rig_bytes *id = &c.ear.id[c.ear.id_n++];
            rig_put(id, x.a.ear.id[i].p, x.a.ear.id[i].len);
        }
        answers(&c, op, k, "0", NULL);
        HEARS(&c, "error unknown-ack for r; closed");
        HEARS(&x.a, "%s", "");
        chat_ear_free(&c.ear);
        end(&x);
    }
}

/* Cumulative is for one subscription: what another one of this connection has stays open. In 1.1 the frame names the
 * subscription, and it must be the right one: STOMP 1.1 §ACK. */
static void answers_of_another_subscription(void **state)
{
    (void)state;
    for (unsigned v = 0; v <= 2; v++)
        for (unsigned is_wrong = 0; is_wrong <= (v == 1); is_wrong++) {
            struct acks x;
            begin(&x, v, CLIENT, "two subscriptions");
            const char *what = x.what;
            subscribes(&x.a, "1", "other", CLIENT);
            says(&x.a, "SEND", "destination:/queue/other\n", "o");
            HEARS(&x.a, "message 1 /queue/other o");
            answers(&x.a, ACK, MESSAGES + 1, is_wrong != 0 ? "0" : "1", NULL);
            HEARS(&x.a, is_wrong != 0 ? "error unknown-ack for r; closed" : "receipt r");
            end(&x);
        }
}

/* STOMP 1.2 §BEGIN, §COMMIT, §ABORT: an answer in a transaction counts when that is committed, or never; then the
 * delivery waits for an answer again. What is open when the connection ends is aborted. */
static void answers_in_transactions(void **state)
{
    (void)state;
    enum { COMMITTED, ABORTED, LEFT, ENDS };
    EACH_ANSWER(v, mode, op, k)
    {
        for (unsigned how = COMMITTED; how < ENDS; how++) {
            struct acks x;
            struct text again = {0};
            char about[100];
            (void)snprintf(about, sizeof about, "%s %sof %u in a transaction, end %u", COMMAND[op], MORE[op], k, how);
            begin(&x, v, mode, about);
            const char *what = x.what;
            says(&x.a, "BEGIN", "transaction:t\nreceipt:b\n", "");
            HEARS(&x.a, "receipt b");
            answers(&x.a, op, k, "0", "t");
            HEARS(&x.a, "receipt r");
            if (how == COMMITTED) {
                says(&x.a, "COMMIT", "transaction:t\nreceipt:c\n", "");
                carried_out(&x, op, k, true, &again);
                HEARS(&x.a, "receipt c%s", again.p);
            } else if (how == ABORTED) {
                says(&x.a, "ABORT", "transaction:t\nreceipt:c\n", "");
                HEARS(&x.a, "receipt c");
                answers(&x.a, ACK, k, "0", NULL);
                carried_out(&x, ACK, k, true, &again);
                HEARS(&x.a, "receipt r");
            }
            end(&x);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer),
        cmocka_unit_test(each_answer_twice),
        cmocka_unit_test(answers_nobody_wants),
        cmocka_unit_test(answers_of_others),
        cmocka_unit_test(answers_of_another_subscription),
        cmocka_unit_test(answers_in_transactions),
    };
    return cmocka_run_group_tests_name("stomp acks", tests, NULL, NULL);
}
