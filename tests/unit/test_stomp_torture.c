/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_torture.c: conversations of the STOMP adapter in which the broker's Nth allocation fails, for every N.
 *
 *     run k:  allocation k fails (or: k and all behind it) ─► the peers go on ─► nothing crashes, the broker comes to
 *             rest, and all memory comes back; what was said are whole frames
 *     then    a third peer, with memory again, empties the queues: of a transaction it finds all or nothing, and all of
 *             it if COMMIT was answered
 *
 * The conversations pass by every allocation the adapter makes: transactions and what they hold, receipts and refusals
 * that wait for the store, /manage/, places, subscriptions of every kind, large attributes, queues for answers.
 *
 * Cost    some seconds.
 * Thread  one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "proto_stomp/stomp_adapter.h"
#include "tests/support/rig.h"
#include "tests/support/stomp_said.h"
#include "tests/support/wire_parse.h"

enum { PEERS = 2, RUNS_MAX = 3000, HELD_SECONDS = 2000 };

/* The peers' lines, in the grammar of the wire tables; what the broker says is not laid down. In the ones whose name
 * begins with tx, the queues first, second and third belong to the transaction: one message each, or none; and then
 * what was in the queue work is answered. */
static const char TALKS[] =
    "let v12 = \"CONNECT\\naccept-version:1.2\\nhost:h\\n\\n\\0\"\n"
    "let v11 = \"CONNECT\\naccept-version:1.1\\nhost:h\\n\\n\\0\"\n"
    "test tx_sends\n"
    "A> $v12 \"BEGIN\\ntransaction:t\\nreceipt:b\\n\\n\\0\"\n"
    "A> \"SEND\\ndestination:/queue/first\\ntransaction:t\\npersistent:true\\nfoo:bar\\nreceipt:1\\n\\n1\\0\"\n"
    "A> \"SEND\\ndestination:/queue/second\\ntransaction:t\\npersistent:true\\n\\n\" \"2\"*3000 \"\\0\"\n"
    "A> \"SEND\\ndestination:/queue/third\\ntransaction:t\\npriority:3\\nreceipt:3\\n\\n3\\0\"\n"
    "A> \"COMMIT\\ntransaction:t\\nreceipt:commit\\n\\n\\0\"\n"
    "test tx_answers\n"
    "A> $v12 \"SUBSCRIBE\\nid:0\\ndestination:/queue/work\\nack:client\\n\\n\\0\"\n"
    "B> $v12 \"SEND\\ndestination:/queue/work\\n\\n1\\0SEND\\ndestination:/queue/work\\npersistent:true\\n\\n2\\0\"\n"
    "A> \"BEGIN\\ntransaction:t\\n\\n\\0BEGIN\\ntransaction:u\\n\\n\\0ACK\\nid:1-2.2\\ntransaction:t\\n\\n\\0\"\n"
    "A> "
    "\"SEND\\ndestination:/queue/first\\ntransaction:t\\n\\n1\\0SEND\\ndestination:/queue/"
    "first\\ntransaction:u\\n\\n9\\0\"\n"
    "A> "
    "\"SEND\\ndestination:/queue/second\\ntransaction:t\\n\\n1\\0SEND\\ndestination:/queue/"
    "third\\ntransaction:t\\n\\n1\\0\"\n"
    "A> "
    "\"ABORT\\ntransaction:u\\nreceipt:a\\n\\n\\0COMMIT\\ntransaction:t\\nreject:receipt\\nreceipt:commit\\n\\n\\0\"\n"
    "A> \"DISCONNECT\\nreceipt:d\\n\\n\\0\"\n"
    "test refused\n"
    "A> $v12 \"SEND\\ndestination:/queue/full\\nx-max-length:1\\nx-overflow:reject-publish\\nreceipt:1\\n\\n1\\0\"\n"
    "A> \"SEND\\ndestination:/queue/q\\npersistent:true\\nreceipt:2\\n\\n1\\0\"\n"
    "A> \"SEND\\ndestination:/queue/full\\nreject:receipt\\nreceipt:3\\n\\n2\\0\"\n"
    "A> \"SEND\\ndestination:/queue/full\\nreject:receipt\\nreceipt:\" \"r\"*600 \"\\n\\n2\\0\"\n"
    "B> $v11 \"BEGIN\\ntransaction:t\\n\\n\\0SEND\\ndestination:/queue/full\\ntransaction:t\\n\\n9\\0\"\n"
    "B> \"COMMIT\\ntransaction:t\\nreceipt:c\\n\\n\\0\"\n"
    "test manage\n"
    "A> $v12 "
    "\"SEND\\ndestination:/manage/"
    "declare-exchange\\nexchange:x\\ntype:topic\\nalternate-exchange:amq.fanout\\n\\n\\0\"\n"
    "A> \"SEND\\ndestination:/manage/declare-queue\\nqueue:q\\nx-max-priority:3\\nreceipt:q\\n\\n\\0\"\n"
    "A> \"SEND\\ndestination:/manage/bind\\nexchange:x\\nkey:a.*\\nqueue:q\\nreceipt:b\\n\\n\\0\"\n"
    "A> \"SEND\\ndestination:/manage/bind\\nexchange:amq.topic\\nkey:#\\nto-exchange:x\\nreceipt:b\\n\\n\\0\"\n"
    "A> \"SUBSCRIBE\\nid:0\\ndestination:/queue/q\\nx-credit:1\\n\\n\\0SEND\\ndestination:/exchange/x/a.b\\n\\n1\\0\"\n"
    "B> $v12 \"SEND\\ndestination:/topic/a.c\\nreply-to:/temp-queue/t\\nx:\" \"y\"*1500 \"\\n\\n2\\0\"\n"
    "A> \"SEND\\ndestination:/manage/credit\\nsubscription:0\\ncredit:1\\ndrain:true\\nreceipt:c\\n\\n\\0\"\n"
    "A> \"SEND\\ndestination:/manage/pause\\nqueue:q\\n\\n\\0SEND\\ndestination:/topic/a.d\\n\\n3\\0\"\n"
    "A> \"SEND\\ndestination:/manage/purge\\nqueue:q\\nreceipt:p\\n\\n\\0\"\n"
    "B> \"SEND\\ndestination:/manage/delete-exchange\\nexchange:x\\nreceipt:x\\n\\n\\0\"\n"
    "A> \"SEND\\ndestination:/manage/delete-queue\\nqueue:q\\nreceipt:p\\n\\n\\0\"\n";

/* The same about subscriptions. */
static const char SUB_TALKS[] =
    "let v12 = \"CONNECT\\naccept-version:1.2\\nhost:h\\n\\n\\0\"\n"
    "test subscriptions\n"
    "A> \"CONNECT\\naccept-version:1.2\\nhost:h\\nlogin:ann\\nclient-id:\" \"c\"*300 \"\\n\\n\\0\"\n"
    "B> $v12 \"SEND\\ndestination:/topic/a\\nretain:true\\n\\n1\\0\"\n"
    "A> \"SUBSCRIBE\\nid:0\\ndestination:/topic/a\\nx-queue-name:jobs\\nx-max-length:5\\nreceipt:0\\n\\n\\0\"\n"
    "B> \"SUBSCRIBE\\nid:0\\ndestination:/topic/b.*\\nx-queue-name:jobs\\nreceipt:0\\n\\n\\0\"\n"
    "A> \"SUBSCRIBE\\nid:1\\ndestination:/topic/#\\nx-message-ttl:1000\\nreceipt:1\\n\\n\\0\"\n"
    "A> "
    "\"SUBSCRIBE\\nid:2\\ndestination:/queue/"
    "x\\nexclusive:true\\nx-dead-letter-exchange:\\nx-dead-letter-routing-key:dead\\nreceipt:2\\n\\n\\0\"\n"
    "B> \"SEND\\ndestination:/topic/b.c\\n\\n\" \"2\"*800 \"\\0\"\n"
    "B> \"SEND\\ndestination:/queue/w\\n\\n3\\0SEND\\ndestination:/queue/w\\nreceipt:w\\n\\n4\\0\"\n"
    "A> \"SUBSCRIBE\\nid:3\\ndestination:/queue/w\\nbrowser:true\\nreceipt:3\\n\\n\\0\"\n"
    "A> \"UNSUBSCRIBE\\nid:0\\ndurable:true\\nreceipt:u\\n\\n\\0\"\n"
    "A> \"UNSUBSCRIBE\\nid:3\\nreceipt:u\\n\\n\\0\"\n"
    "test durable\n"
    "A> \"CONNECT\\naccept-version:1.2\\nhost:h\\nlogin:ann\\nclient-id:c\\n\\n\\0\"\n"
    "A> \"SEND\\ndestination:/topic/a\\nretain:true\\n\\n1\\0\"\n"
    "A> \"SUBSCRIBE\\nid:d\\ndestination:/topic/a\\ndurable:true\\nack:client\\nreceipt:0\\n\\n\\0\"\n"
    "A> \"UNSUBSCRIBE\\nid:d\\n\\n\\0SEND\\ndestination:/topic/a\\npersistent:true\\nreceipt:1\\n\\n2\\0\"\n"
    "A> \"SUBSCRIBE\\nid:e\\ndestination:/dsub/d\\nreceipt:2\\n\\n\\0\"\n"
    "B> \"CONNECT\\naccept-version:1.2\\nhost:h\\nlogin:ann\\nclient-id:c\\n\\n\\0\"\n"
    "B> "
    "\"SUBSCRIBE\\nid:f\\ndestination:/topic/b\\nactivemq.subscriptionName:d\\nx-max-length:5\\nreceipt:3\\n\\n\\0\"\n"
    "B> "
    "\"SUBSCRIBE\\nid:g\\ndestination:/topic/b\\nactivemq.subscriptionName:d\\nx-max-length:6\\nreceipt:4\\n\\n\\0\"\n"
    "A> \"UNSUBSCRIBE\\nactivemq.subscriptionName:d\\nreceipt:u\\n\\n\\0\"\n"
    "A> \"UNSUBSCRIBE\\nid:d\\ndurable:true\\nreceipt:u\\n\\n\\0\"\n";

static const char *const tx_queues[] = {"first", "second", "third"};

/* What became of a run. */
struct found {
    uint64_t calls, said; /* allocations; bytes */
    bool committed;       /* COMMIT was answered with yes */
};

/* read_all: whole frames, but for a last piece where the connection broke off. committed: see struct found. */
static void read_all(const struct rig_pipe *p, bool *committed)
{
    struct said s = {0};
    for (size_t at = 0; at < p->out.len;) {
        ptrdiff_t n = said_read(&s, p->out.p + at, p->out.len - at, at == 0 ? 0 : 2);
        struct slice id, result;
        if (n == 0 && rig_is_closed(p))
            break;
        if (n <= 0)
            fail_msg("%s: %.*s", n < 0 ? s.why : "half a frame", (int)(p->out.len - at), (const char *)p->out.p + at);
        if (said_is(&s, "RECEIPT") && said_get(&s, "receipt-id", &id) && slice_eq_str(id, "commit"))
            *committed = !said_get(&s, "x-result", &result);
        at += (size_t)n;
    }
    said_free(&s);
}

/* messages_in: how many messages a new peer gets from this queue. */
static unsigned messages_in(struct rig *r, const char *queue)
{
    static const char hello[] = "CONNECT\naccept-version:1.2\nhost:h\n\n";
    char subscribe[128];
    struct said s = {0};
    unsigned n = 0;
    struct rig_pipe *p = rig_connect(r);
    int len = snprintf(subscribe, sizeof subscribe, "SUBSCRIBE\nid:0\ndestination:/queue/%s\n\n", queue);
    rig_send(p, hello, sizeof hello);
    rig_run(r);
    rig_send(p, subscribe, (size_t)len + 1);
    rig_run(r);
    assert_false(rig_is_closed(p));
    for (size_t at = 0; at < p->out.len;) {
        ptrdiff_t got = said_read(&s, p->out.p + at, p->out.len - at, 2);
        assert_true(got > 0);
        n += said_is(&s, "MESSAGE");
        at += (size_t)got;
    }
    said_free(&s);
    return n;
}

/* check_all_or_nothing: of the transaction t. */
static void check_all_or_nothing(struct rig *r, const struct found *out, uint64_t fail_at)
{
    unsigned n[ARRAY_N(tx_queues)];
    for (size_t i = 0; i < ARRAY_N(tx_queues); i++)
        n[i] = messages_in(r, tx_queues[i]);
    if (n[0] > 1 || n[0] != n[1] || n[0] != n[2])
        fail_msg("half a transaction after allocation %llu failed: %u %u %u", (unsigned long long)fail_at, n[0], n[1],
                 n[2]);
    if (n[0] == 1 && messages_in(r, "work") != 0)
        fail_msg("answers were lost after allocation %llu failed", (unsigned long long)fail_at);
    if (out->committed && n[0] != 1)
        fail_msg("lost what was committed after allocation %llu failed", (unsigned long long)fail_at);
}

/* hold: the conversation with this allocation failing (0: none). */
static void hold(const struct wire_test *t, uint64_t fail_at, bool fail_after, struct found *out)
{
    static const struct adapter_ops *const adapters[] = {&stomp_adapter, NULL};
    struct rig_config config;
    struct rig_pipe *pipe[PEERS] = {NULL};
    rig_config_init(&config);
    config.adapters = adapters;
    config.has_store = true;
    struct rig *r = rig_new(&config);
    assert_non_null(r);
    *out = (struct found){0};
    uint64_t before = r->heap.calls;
    r->heap.fail_at = fail_at != 0 ? before + fail_at : 0;
    r->heap.fail_after = fail_after;
    for (size_t i = 0; i < t->step_n; i++) {
        struct rig_pipe **p = &pipe[t->step[i].who - 'A'];
        if (*p == NULL)
            *p = rig_connect(r);
        r->is_holding = i % 3 == 1; /* now and then receipts wait */
        for (size_t k = 0; k < t->step[i].bytes.n && !rig_is_closed(*p); k++)
            rig_send(*p, &t->step[i].bytes.v[k].byte, 1);
        rig_run(r);
    }
    r->is_holding = false;
    rig_wait(r, HELD_SECONDS);
    out->calls = r->heap.calls - before;
    r->heap.fail_at = 0;
    r->heap.fail_after = false;
    assert_false(r->is_stuck);
    for (size_t i = 0; i < PEERS; i++)
        if (pipe[i] != NULL) {
            read_all(pipe[i], &out->committed);
            out->said += pipe[i]->out.len;
        }
    if (strncmp(t->name, "tx", 2) == 0)
        check_all_or_nothing(r, out, fail_at);
    if (!rig_free(r))
        fail_msg("%s: not all memory came back after allocation %llu failed", t->name, (unsigned long long)fail_at);
}

/* torture: all conversations of a text, with each of their allocations failing. */
static void torture(const char *text, size_t test_n)
{
    struct wire_file f;
    if (!wire_parse(text, strlen(text), &f))
        fail_msg("line %u: %s", f.line, f.error);
    assert_int_equal(f.test_n, test_n);
    for (size_t i = 0; i < f.test_n; i++) {
        struct found all, one;
        uint64_t least = UINT64_MAX;
        unsigned committed = 0;
        hold(&f.test[i], 0, false, &all);
        assert_in_range(all.calls, 10, RUNS_MAX);
        assert_int_equal(all.committed, strncmp(f.test[i].name, "tx", 2) == 0);
        for (uint64_t k = 1; k <= all.calls; k++)
            for (unsigned after = 0; after < 2; after++) {
                hold(&f.test[i], k, after != 0, &one);
                least = MIN(least, one.said);
                committed += one.committed;
            }
        print_message("           %s: %llu allocations; %llu bytes said, %llu at least; committed %u times\n",
                      f.test[i].name, (unsigned long long)all.calls, (unsigned long long)all.said,
                      (unsigned long long)least, committed);
        assert_true(least < all.said); /* the failures were felt */
    }
    wire_parse_free(&f);
}

/* Whatever fails: whole frames, no memory lost, nothing stuck, no half a transaction. */
static void every_allocation_fails_once(void **state)
{
    (void)state;
    torture(TALKS, 4);
}

static void every_allocation_of_subscriptions_fails_once(void **state)
{
    (void)state;
    torture(SUB_TALKS, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_fails_once),
                                       cmocka_unit_test(every_allocation_of_subscriptions_fails_once)};
    return cmocka_run_group_tests_name("stomp_torture", tests, NULL, NULL);
}
