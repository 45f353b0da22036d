/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.c: the table of limits as data.
 *
 *     LIMIT_LIST ─┬─► struct limits        what the broker reads while it runs
 *                 ├─► limit_table[]        what the option parser sets by offset and docs/limits.md is made of
 *                 └─► limits_default()
 *
 * Invariants, all checked by the compiler
 *   1. struct limits is nothing but uint64_t, one per row, in the order of the rows.
 *   2. A default lies between its row's minimum and maximum.
 * Cost    nothing: the table is constant.
 * Thread  any.
 */
#include "core/limits.h"

#include <stddef.h>

#include "core/base/check.h"

#define X(field, option, def, min, max, unit, policy, why)                                                             \
    {#field, option, unit, policy, why, def, min, max, (uint32_t)offsetof(struct limits, field)},
const struct limit_desc limit_table[] = {LIMIT_LIST(X)};
#undef X

const unsigned limit_table_n = ARRAY_N(limit_table);

/* The place of each field among the fields: what its offset has to agree with. */
enum {
#define X(field, option, def, min, max, unit, policy, why) AT_##field,
    LIMIT_LIST(X)
#undef X
        AT_END
};

#define X(field, option, def, min, max, unit, policy, why)                                                             \
    _Static_assert(offsetof(struct limits, field) == AT_##field * sizeof(uint64_t),                                    \
                   #field " is not a plain uint64_t");                                                                 \
    _Static_assert((def) >= (min) && (def) <= (max), #field ": the default is not allowed");
LIMIT_LIST(X)
#undef X

_Static_assert(sizeof(struct limits) == AT_END * sizeof(uint64_t), "struct limits has a field without a row");
_Static_assert(ARRAY_N(limit_table) == AT_END, "a row without a field");

void limits_default(struct limits *out)
{
#define X(field, option, def, min, max, unit, policy, why) out->field = (def);
    LIMIT_LIST(X)
#undef X
}
