/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_torture.c: conversations of the MQTT adapter in which the broker's Nth allocation fails, for every N.
 *
 *     run k:  allocation k fails (or: k and all behind it) ─► the peers go on ─► nothing crashes, the broker comes to
 *             rest, and all memory comes back; what was said are whole packets
 *
 * The conversations pass by every allocation the adapter makes: alias tables both ways, the exchange of proofs and the
 * CONNECT that waits for it, answers to SUBSCRIBE, Response Information, large properties, named queues and delays.
 *
 * Cost    a second.
 * Thread  one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "proto_mqtt/mqtt_adapter.h"
#include "proto_mqtt/mqtt_wire.h"
#include "tests/support/rig.h"
#include "tests/support/wire_parse.h"

enum { PEERS = 2, RUNS_MAX = 2000 };

/* The peers' lines, in the grammar of the wire tables; what the broker says is not laid down. */
static const char TALKS[] =
    "let a = 10 [ 'MQTT' 05 02 u16:60 [ 19 01 22 u16:4 ] 'a' ]\n"
    "let b = 10 [ 'MQTT' 05 02 u16:60 [] 'b' ]\n"
    "test aliases\n"
    "A> $a 82 [ u16:1 [] '#' 01 ]\n"
    "B> $b 30 [ 'long/topic' [ 23 u16:1 ] \"1\" ] 32 [ '' u16:5 [ 23 u16:1 ] \"2\" ]\n"
    "B> 30 [ 'other/topic' [ 23 u16:32 ] \"3\" ] 30 [ '' [ 23 u16:32 ] \"4\" ]\n"
    "B> 31 [ 'a/much/longer/topic' [ 23 u16:32 26 'k' \"\\x04\\x00\" \"v\"*1024 ] \"5\" ] 30 [ '' [ 23 u16:1 ] \"6\" "
    "]\n"
    "B> 30 [ '' [ 23 u16:9 ] \"never set\" ]\n"
    "test proof\n"
    "A> 10 [ 'MQTT' 05 06 u16:60 [ 15 'FAKE' 16 'ann' 11 u32:9 ] 'a' [ 26 'k' 'v' ] 'will' 'gone' ]\n"
    "A> f0 [ 18 [ 15 'FAKE' 16 'friend' ] ]\n"
    "A> f0 [ 19 [ 15 'FAKE' 16 'ann' ] ]\n"
    "A> f0 [ 18 [ 15 'FAKE' 16 'friend' ] ] 82 [ u16:1 [] 't' 00 ]\n"
    "B> 10 [ 'MQTT' 05 02 u16:60 [ 15 'ONCE' 16 'friend' ] 'b' ] f0 [ 19 [ 15 'ONCE' 16 'foe' ] ]\n"
    "test places\n"
    "A> $a 82 [ u16:1 [] '$share/g/t' 01 '$queue/q' 01 'a#' 00 ]\n"
    "B> $b 32 [ '$queue/q' u16:1 [] \"1\" ] 32 [ '$delayed/1' u16:2 [] \"2\" ]\n"
    "B> 32 [ '$delayed/1/t' u16:3 [] \"3\" ] 32 [ 't' u16:4 [] \"4\" ] 34 [ '$exchange/amq.topic/t' u16:5 [] \"5\" ]\n"
    "A> a2 [ u16:2 [] '$share/g/t' '$queue/q' '$share/g' ]\n";

/* whole_packets: all that was said, but for a last piece where the connection broke off. */
static void whole_packets(const struct rig_pipe *p)
{
    size_t at = 0;
    while (at < p->out.len) {
        struct mqtt_frame f;
        ptrdiff_t n = mqtt_frame_peek(p->out.p + at, p->out.len - at, MQTT_PACKET_BYTES_MAX, &f);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

/* hold: the conversation with this allocation failing (0: none). The number of allocations there were. */
static uint64_t hold(const struct wire_test *t, uint64_t fail_at, bool fail_after, uint64_t *out_said)
{
    static const struct adapter_ops *const adapters[] = {&mqtt_adapter, NULL};
    struct rig_config config;
    struct rig_pipe *pipe[PEERS] = {NULL};
    rig_config_init(&config);
    config.adapters = adapters;
    config.has_auth = true;
    config.response_information = "reply/%c/";
    struct rig *r = rig_new(&config);
    assert_non_null(r);
    uint64_t before = r->heap.calls;
    r->heap.fail_at = fail_at != 0 ? before + fail_at : 0;
    r->heap.fail_after = fail_after;
    for (size_t i = 0; i < t->step_n; i++) {
        struct rig_pipe **p = &pipe[t->step[i].who - 'A'];
        if (*p == NULL)
            *p = rig_connect(r);
        for (size_t k = 0; k < t->step[i].bytes.n && !rig_is_closed(*p); k++)
            rig_send(*p, &t->step[i].bytes.v[k].byte, 1);
        rig_run(r);
    }
    rig_wait(r, 2000);
    uint64_t calls = r->heap.calls - before;
    r->heap.fail_at = 0;
    assert_false(r->is_stuck);
    *out_said = 0;
    for (size_t i = 0; i < PEERS; i++)
        if (pipe[i] != NULL) {
            whole_packets(pipe[i]);
            *out_said += pipe[i]->out.len;
        }
    if (!rig_free(r))
        fail_msg("%s: not all memory came back after allocation %llu failed", t->name, (unsigned long long)fail_at);
    return calls;
}

/* Whatever fails: whole packets, no memory lost, nothing stuck. */
static void every_allocation_fails_once(void **state)
{
    (void)state;
    struct wire_file f;
    if (!wire_parse(TALKS, strlen(TALKS), &f))
        fail_msg("line %u: %s", f.line, f.error);
    assert_int_equal(f.test_n, 3);
    for (size_t i = 0; i < f.test_n; i++) {
        uint64_t said, less, least = UINT64_MAX;
        uint64_t calls = hold(&f.test[i], 0, false, &said);
        assert_in_range(calls, 10, RUNS_MAX);
        for (uint64_t k = 1; k <= calls; k++)
            for (unsigned after = 0; after < 2; after++) {
                (void)hold(&f.test[i], k, after != 0, &less);
                least = MIN(least, less);
            }
        print_message("           %s: %llu allocations; %llu bytes said, %llu at least\n", f.test[i].name,
                      (unsigned long long)calls, (unsigned long long)said, (unsigned long long)least);
        assert_true(least < said); /* the failures were felt */
    }
    wire_parse_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_fails_once)};
    return cmocka_run_group_tests_name("mqtt_torture", tests, NULL, NULL);
}
