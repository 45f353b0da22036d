/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c: the names behind the counters.
 *
 * The table is generated from STAT_LIST, so a counter cannot exist without a name and a sentence; admin pages, $SYS
 * topics and docs read it and never list counters themselves.
 *
 * Thread  const data.
 */
#include "core/stats.h"

const struct stat_desc stat_table[STAT_N] = {
#define X(name, kind, text) {#name, #kind, text},
    STAT_LIST(X)
#undef X
};
