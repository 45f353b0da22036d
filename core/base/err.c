/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.c: names and phrases of the one error space, from the list in err.h.
 *
 * Invariants
 *   1. Both functions answer for every int, so a log line never crashes on a value that is itself the mistake.
 * Cost    one table look-up. Pure, any thread.
 */
#include "core/base/err.h"

static const char *const err_texts[ERR_N] = {
#define X(name, text) text,
    ERR_LIST(X)
#undef X
};

static const char *const err_names[ERR_N] = {
#define X(name, text) #name,
    ERR_LIST(X)
#undef X
};

const char *err_text(enum err e)
{
    return (unsigned)e < ERR_N ? err_texts[(unsigned)e] : "an error without a number";
}

const char *err_name(enum err e)
{
    return (unsigned)e < ERR_N ? err_names[(unsigned)e] : "UNKNOWN";
}
