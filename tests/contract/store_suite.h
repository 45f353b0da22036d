/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_STORE_SUITE_H
#define WEIR_TESTS_STORE_SUITE_H

/*
 * store_suite.h: every promise of core/store.h as a test, for any store that keeps what it is given. A new store
 * describes here how it is made on a medium that outlives it, and runs the same suite as all others.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/mem.h"
#include "core/store.h"

struct store_fixture {
    const char *name; /* of the test group */

    /* setup: an empty medium. `heap` is for all its memory, so that tests can make it run out. */
    void *(*setup)(struct mem_heap *heap, const void *param);
    /* teardown: asserts that everything was given back. */
    void (*teardown)(void *world);

    /* make: a store on the medium, not opened; NULL when out of memory. The former one was closed. */
    struct store *(*make)(void *world);

    /* wait: lets time pass until everything submitted was answered. NULL: submit answers itself. */
    void (*wait)(void *world, struct store *s);

    /* crash: the power fails: what was submitted and not reported durable may be lost or not (`luck` decides). The
     * suite closes the store afterwards. */
    void (*crash)(void *world, struct store *s, uint64_t luck);

    /* break_medium: the next batch cannot be written. */
    void (*break_medium)(void *world, struct store *s);

    uint64_t bytes_max; /* reserve refuses this much; 0: the medium has no end */
    const void *param;
};

/* store_suite_run: all tests; the number that failed, as cmocka counts. */
int store_suite_run(const struct store_fixture *f);

#endif
