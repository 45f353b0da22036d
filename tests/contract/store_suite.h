/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_STORE_SUITE_H
#define WEIR_TESTS_STORE_SUITE_H

/*
 * store_suite.h: every promise of core/store.h as a test, for any store that keeps what it is given. A new store
 * describes here how it is made on a medium that outlives it, and runs the same suite as all others.
 *
 *     static const struct store_fixture mine = {.name = "mine", .setup = ..., .make = ..., .crash = ..., ...};
 *     int main(void) { return store_suite_run(&mine); }          with #include "tests/contract/store_suite.c" above
 *
 * The suite sets on_durable, on_failed, ctx, msgs, now and clock of a store; the rest is the fixture's.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/mem.h"
#include "core/store.h"

struct store_fixture {
    const char *name; /* of the test group */

    /* setup: an empty medium. `heap` is for all memory of stores on it, so that tests can make it run out. */
    void *(*setup)(struct mem_heap *heap, const void *param);
    /* teardown: asserts that everything was given back. */
    void (*teardown)(void *world);

    /* make: a store on the medium, with its mailbox if it needs one, not opened; NULL when out of memory. The former
     * one is gone. */
    struct store *(*make)(void *world);

    /* wait: lets time pass until everything submitted was answered, and everything asked for by fetch: opens letters,
     * and submits when the store wanted to be called again, with *now, which grows. NULL: submit answers itself. */
    void (*wait)(void *world, struct store *s, mono_ms *now);

    /* crash: the power fails: what was not reported durable may be lost or not (`luck` decides). Nothing is called back
     * any more. Frees the store. */
    void (*crash)(void *world, struct store *s, uint64_t luck);

    /* break_medium: the next batch cannot be written; the one after a new start can. */
    void (*break_medium)(void *world, struct store *s);

    /* fill_medium: there is no room for another publish, but for what must go on: reserve says ERR_FULL; make_room: now
     * there is again. NULL: see bytes_max. */
    void (*fill_medium)(void *world, struct store *s);
    void (*make_room)(void *world, struct store *s);

    uint64_t bytes_max; /* reserve refuses this much; 0: the medium has no end */
    bool notes_last; /* SETTLE, SENT, RECEIVED and RETURNED, but those of a unit, are written behind all else of their
                        batch, and a publish that lost its last reason to live within its batch need not be written */
    const void *param;
};

/* store_suite_run: all tests; the number that failed, as cmocka counts. */
int store_suite_run(const struct store_fixture *f);

#endif
