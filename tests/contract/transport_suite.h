/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_TRANSPORT_SUITE_H
#define WEIR_TESTS_TRANSPORT_SUITE_H

/*
 * transport_suite.h: every promise of core/transport.h as a test, for any kind of pipe. A new transport describes here
 * how a connected pair of it is made and how time passes, and runs the same suite as all others.
 */

#include <stdbool.h>
#include <stddef.h>

#include "core/transport.h"

struct transport_fixture {
    const char *name;     /* of the test group */
    const char *ops_name; /* what transport_ops.name must say */
    const char *peer;     /* how the peer text of end 0 begins */
    size_t bulk_bytes;    /* for the long test, each way */
    bool ends_whole;      /* the end of one direction is the end of both: who reads EOF cannot send any more */

    /* setup: a world without pipes; ends the program when it cannot. `param` is this fixture's. */
    void *(*setup)(const void *param);
    /* teardown: asserts that everything in it was given back. */
    void (*teardown)(void *world);

    /* make_pair: two connected ends, owned by the caller. */
    void (*make_pair)(void *world, struct transport *out_end[2]);

    /* pump: lets the next thing happen (readiness is reported from here), or a little time pass if nothing does. */
    void (*pump)(void *world);

    /* reset: ends the connection so that the other end sees a RESET, without destroying t. NULL: the suite destroys an
     * end that has unread input, which is how sockets do it. */
    void (*reset)(struct transport *t);

    const void *param;
};

/* transport_suite_run: all tests; the number that failed, as cmocka counts. */
int transport_suite_run(const struct transport_fixture *f);

#endif
