/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_ADAPTER_SUITE_H
#define WEIR_TESTS_ADAPTER_SUITE_H

/*
 * adapter_suite.h: every promise of core/adapter.h as a test, for any protocol. A new protocol says here a few words of
 * its language and runs the same suite as all others:
 *
 *     static const struct adapter_fixture mqtt = {.name = "mqtt", .ops = &mqtt_adapter, .login = WORDS("\x10..."),
 * ...}; int main(void) { return adapter_suite_run(&mqtt); }
 *
 * The adapter runs in a real shard (tests/support/rig.h) behind a spy that watches both sides of the seam: what core
 * promises the adapter is checked as well. What the words mean is the wire tables' business (tests/wire).
 */

#include <stdbool.h>
#include <stddef.h>

#include "core/adapter.h"
#include "core/base/slice.h"

/* WORDS: a literal as a constant slice, for tables. */
#define WORDS(literal)                                                                                                 \
    {                                                                                                                  \
        (const uint8_t *)(literal), sizeof(literal) - 1                                                                \
    }

struct adapter_fixture {
    const char *name; /* of the test group */
    const struct adapter_ops *ops;

    const struct slice *first; /* [first_n] first bytes that are this protocol's, each long enough to be sure */
    size_t first_n;
    const struct slice *foreign; /* [foreign_n] first bytes of others, each long enough to be sure */
    size_t foreign_n;

    struct slice login;      /* a session; its connection is open afterwards for as long as it is not silent */
    struct slice login_b;    /* another session */
    struct slice subscribe;  /* to the topic of `publish`, answered, with acknowledgements */
    struct slice publish;    /* a message that asks for a receipt */
    struct slice goodbye;    /* ends the connection */
    struct slice unfinished; /* behind login, subscribe and publish of a first connection: things that the end of the
                              * connection leaves open: transactions, handshakes, ... May be empty */
    struct slice consume;    /* competes for the messages of the named queue `queue`, with acknowledgements; answered */
    struct slice produce;    /* a message for that queue */
    const char *queue;
    bool gone_ends;     /* the end of a queue ends the connections that consumed it */
    struct slice bad;   /* behind a login: bytes that end the connection */
    mono_ms silence_ms; /* so long after `login` a silent connection has ended */
    bool lasts;    /* the session of `login` survives a restart and `publish` is durable: receipts wait for the store */
    bool is_named; /* a second `login` takes the session over */
    bool greets;   /* `login` is answered at once (all protocols so far) */
};

/* adapter_suite_run: all tests; the number that failed, as cmocka counts. */
int adapter_suite_run(const struct adapter_fixture *f);

#endif
