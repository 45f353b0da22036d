/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue_policy.c: arguments as peers write them, and the policy they make.
 *
 *     x-message-ttl:60000 ─► queue_spec_take ─┐
 *     x-max-length:10     ─► queue_spec_take ─┴─► queue_spec_finish ─► struct queue_policy, what was given
 *                                                                         │ queue_policy_diff with the one that is
 * there
 *
 * Invariants
 *   1. Whatever queue_spec_take accepts, queue_policy_text says again so that queue_spec_take reads the same.
 *   2. A policy that queue_spec_finish accepted can be served: no time or sum of times overflows.
 * Cost    a declaration looks at each argument a few times; a retry takes one shift.
 * Thread  any: no state.
 * Spec    RabbitMQ's queue arguments; docs/queues.md says where ours differ.
 */
#include "core/queue_policy.h"

#include <inttypes.h>
#include <stdio.h>

#define MS_MAX       UINT64_C(3155760000000) /* 100 years: a sum of a few of them and any clock stays far from its end */
#define DAY_MS       UINT64_C(86400000)
#define NAME_LEN_MAX 255u
#define KEY_LEN_MAX  65535u /* as a topic */

enum shape { SHAPE_FLAG, SHAPE_U64, SHAPE_U16, SHAPE_U8, SHAPE_BYTES, SHAPE_OVERFLOW };

/* What one argument is: where it stands in the policy, and what it can be. */
struct arg {
    enum shape shape;
    uint16_t at, has;  /* offsets; has: of the flag that says whether it is set, 0: one that is not 0 is set */
    uint64_t min, max; /* of a number; max also of the length of bytes */
};

#define AT(field) offsetof(struct queue_policy, field)

/* A limit of 0 is "no limit" in a policy, and nobody who asks for a limit can mean that. */
/* clang-format off */
static const struct arg arg_of[] = {
    [QUEUE_ARG_DURABLE]        = {SHAPE_FLAG,     AT(durable),        0, 0, 0},
    [QUEUE_ARG_AUTO_DELETE]    = {SHAPE_FLAG,     AT(auto_delete),    0, 0, 0},
    [QUEUE_ARG_EXCLUSIVE]      = {SHAPE_FLAG,     AT(exclusive),      0, 0, 0},
    [QUEUE_ARG_TTL]            = {SHAPE_U64,      AT(ttl_ms),         AT(has_ttl), 0, MS_MAX},
    [QUEUE_ARG_EXPIRES]        = {SHAPE_U64,      AT(expires_ms),     0, 0, MS_MAX},
    [QUEUE_ARG_LEN]            = {SHAPE_U64,      AT(len_max),        0, 1, UINT64_MAX},
    [QUEUE_ARG_BYTES]          = {SHAPE_U64,      AT(bytes_max),      0, 1, UINT64_MAX},
    [QUEUE_ARG_OVERFLOW]       = {SHAPE_OVERFLOW, AT(overflow),       0, 0, 0},
    [QUEUE_ARG_DEAD_EXCHANGE]  = {SHAPE_BYTES,    AT(dead_exchange),  AT(has_dead_exchange), 0, NAME_LEN_MAX},
    [QUEUE_ARG_DEAD_KEY]       = {SHAPE_BYTES,    AT(dead_key),       AT(has_dead_key), 0, KEY_LEN_MAX},
    [QUEUE_ARG_DELIVERY_LIMIT] = {SHAPE_U16,      AT(delivery_limit), AT(has_delivery_limit), 0, UINT16_MAX},
    [QUEUE_ARG_RETRY_MIN]      = {SHAPE_U64,      AT(retry_min_ms),   0, 0, MS_MAX},
    [QUEUE_ARG_RETRY_MAX]      = {SHAPE_U64,      AT(retry_max_ms),   0, 0, MS_MAX},
    [QUEUE_ARG_ACK_TIMEOUT]    = {SHAPE_U64,      AT(ack_ms),         0, 0, MS_MAX},
    [QUEUE_ARG_PRIORITY_MAX]   = {SHAPE_U8,       AT(priority_max),   0, 0, UINT8_MAX},
    [QUEUE_ARG_SINGLE_ACTIVE]  = {SHAPE_FLAG,     AT(single_active),  0, 0, 0},
};
/* clang-format on */
_Static_assert(ARRAY_N(arg_of) == QUEUE_ARG_N && QUEUE_ARG_N <= 32, "a bit of `given` for each");

static const char *const arg_name[] = {
#define X(id, text) text,
    QUEUE_ARG_LIST(X)
#undef X
};

static const char *const overflow_name[] = {[OVERFLOW_DROP_NEW] = "drop-new",
                                            [OVERFLOW_DROP_HEAD] = "drop-head",
                                            [OVERFLOW_REJECT] = "reject-publish",
                                            [OVERFLOW_REJECT_DLX] = "reject-publish-dlx"};

struct slice queue_arg_text(enum queue_arg a)
{
    return slice_from_str(arg_name[a]);
}

enum queue_arg queue_arg_from_text(struct slice name)
{
    unsigned a = 0;
    while (a < QUEUE_ARG_N && !slice_eq_str(name, arg_name[a]))
        a++;
    return (enum queue_arg)a;
}

void queue_spec_init(struct queue_spec *s, const struct queue_policy *def)
{
    s->policy = *def;
    s->given = 0;
}

/* ---- one argument ------------------------------------------------------------------------------------------- */

/* number_get, number_set: an argument of any shape but SHAPE_BYTES. */
static uint64_t number_get(const struct queue_policy *p, const struct arg *a)
{
    const void *at = (const char *)p + a->at;
    switch (a->shape) {
    case SHAPE_FLAG:
        return *(const bool *)at;
    case SHAPE_U64:
        return *(const uint64_t *)at;
    case SHAPE_U16:
        return *(const uint16_t *)at;
    case SHAPE_U8:
        return *(const uint8_t *)at;
    case SHAPE_OVERFLOW:
        return (uint64_t) * (const enum queue_overflow *)at;
    case SHAPE_BYTES:
        break;
    }
    return 0;
}

static void number_set(struct queue_policy *p, const struct arg *a, uint64_t n)
{
    void *at = (char *)p + a->at;
    switch (a->shape) {
    case SHAPE_FLAG:
        *(bool *)at = n != 0;
        return;
    case SHAPE_U64:
        *(uint64_t *)at = n;
        return;
    case SHAPE_U16:
        *(uint16_t *)at = (uint16_t)n;
        return;
    case SHAPE_U8:
        *(uint8_t *)at = (uint8_t)n;
        return;
    case SHAPE_OVERFLOW:
        *(enum queue_overflow *)at = (enum queue_overflow)n;
        return;
    case SHAPE_BYTES:
        break;
    }
}

static struct slice bytes_get(const struct queue_policy *p, const struct arg *a)
{
    return *(const struct slice *)(const void *)((const char *)p + a->at);
}

static bool is_set(const struct queue_policy *p, const struct arg *a)
{
    if (a->has)
        return *(const bool *)((const char *)p + a->has);
    return a->shape != SHAPE_U64 && a->shape != SHAPE_U8 ? true : number_get(p, a) != 0;
}

static enum err number_from_text(struct slice text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;
    if (text.len == 0)
        return ERR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return ERR_INVALID;
        unsigned digit = text.p[i] - '0';
        if (n > (max - digit) / 10) /* every max is above 9 */
            return ERR_INVALID;
        n = n * 10 + digit;
    }
    *out = n;
    return n < min ? ERR_INVALID : ERR_OK;
}

static enum err name_from_text(struct slice text, const char *const *name, unsigned n, uint64_t *out)
{
    for (unsigned i = 0; i < n; i++) {
        if (slice_eq_str(text, name[i])) {
            *out = i;
            return ERR_OK;
        }
    }
    return ERR_INVALID;
}

static const char *const flag_name[] = {"false", "true"};

enum err queue_spec_take(struct queue_spec *s, enum queue_arg which, struct slice value)
{
    if (which >= QUEUE_ARG_N)
        return ERR_INVALID;
    const struct arg *a = &arg_of[which];
    uint64_t n = 0;
    enum err e;
    if (a->shape == SHAPE_FLAG)
        e = name_from_text(value, flag_name, ARRAY_N(flag_name), &n);
    else if (a->shape == SHAPE_OVERFLOW)
        e = name_from_text(value, overflow_name, ARRAY_N(overflow_name), &n);
    else if (a->shape == SHAPE_BYTES)
        e = value.len <= a->max ? ERR_OK : ERR_INVALID;
    else
        e = number_from_text(value, a->min, a->max, &n);
    if (e != ERR_OK)
        return e;
    if (a->shape == SHAPE_BYTES)
        *(struct slice *)(void *)((char *)&s->policy + a->at) = value;
    else
        number_set(&s->policy, a, n);
    if (a->has)
        *((bool *)((char *)&s->policy + a->has)) = true;
    s->given |= 1u << which;
    return ERR_OK;
}

void queue_policy_text(const struct queue_policy *p, enum queue_arg which, char *out, size_t cap)
{
    const struct arg *a = &arg_of[which];
    if (!is_set(p, a)) {
        (void)snprintf(out, cap, "none");
    } else if (a->shape == SHAPE_BYTES) {
        struct slice bytes = bytes_get(p, a);
        (void)snprintf(out, cap, SLICE_FMT, (int)MIN(bytes.len, cap), bytes.len ? (const char *)bytes.p : "");
    } else if (a->shape == SHAPE_FLAG || a->shape == SHAPE_OVERFLOW) {
        (void)snprintf(out, cap, "%s", (a->shape == SHAPE_FLAG ? flag_name : overflow_name)[number_get(p, a)]);
    } else {
        (void)snprintf(out, cap, "%" PRIu64, number_get(p, a));
    }
}

/* ---- all of them -------------------------------------------------------------------------------------------- */

static bool is_given(const struct queue_spec *s, enum queue_arg a)
{
    return (s->given >> a & 1) != 0;
}

/* bad_pair: an argument that does not go with the others; QUEUE_ARG_N: none. */
static enum queue_arg bad_pair(const struct queue_spec *s)
{
    const struct queue_policy *p = &s->policy;
    if (is_given(s, QUEUE_ARG_EXPIRES) && p->expires_ms == 0)
        return QUEUE_ARG_EXPIRES;
    if (p->has_dead_key && !p->has_dead_exchange)
        return QUEUE_ARG_DEAD_KEY;
    if (p->overflow == OVERFLOW_REJECT_DLX && !p->has_dead_exchange)
        return QUEUE_ARG_OVERFLOW;
    if (!is_given(s, QUEUE_ARG_RETRY_MAX))
        return QUEUE_ARG_N;
    bool is_of_nothing = p->retry_min_ms == 0 && p->retry_max_ms != 0;
    return is_of_nothing || p->retry_max_ms < p->retry_min_ms ? QUEUE_ARG_RETRY_MAX : QUEUE_ARG_N;
}

enum err queue_spec_finish(struct queue_spec *s, enum queue_arg *out_bad)
{
    struct queue_policy *p = &s->policy;
    *out_bad = bad_pair(s);
    if (*out_bad != QUEUE_ARG_N)
        return ERR_INVALID;
    bool has_limit = is_given(s, QUEUE_ARG_LEN) || is_given(s, QUEUE_ARG_BYTES);
    if (has_limit && !is_given(s, QUEUE_ARG_OVERFLOW))
        p->overflow = OVERFLOW_DROP_HEAD;
    if (is_given(s, QUEUE_ARG_RETRY_MIN) && !is_given(s, QUEUE_ARG_RETRY_MAX))
        p->retry_max_ms = p->retry_min_ms == 0 ? 0 : MAX(p->retry_min_ms, DAY_MS);
    return ERR_OK;
}

static bool is_same(const struct queue_policy *p, const struct queue_policy *o, const struct arg *a)
{
    if (is_set(p, a) != is_set(o, a))
        return false;
    if (!is_set(p, a))
        return true;
    if (a->shape == SHAPE_BYTES)
        return slice_eq(bytes_get(p, a), bytes_get(o, a));
    return number_get(p, a) == number_get(o, a);
}

enum queue_arg queue_policy_diff(const struct queue_policy *a, const struct queue_policy *b)
{
    unsigned which = 0;
    while (which < QUEUE_ARG_N && is_same(a, b, &arg_of[which]))
        which++;
    return (enum queue_arg)which;
}

mono_ms queue_policy_retry(const struct queue_policy *p, unsigned n)
{
    mono_ms wait = p->retry_min_ms;
    if (wait == 0 || n == 0)
        return 0;
    unsigned doublings = n - 1;
    if (doublings >= 63 || wait > p->retry_max_ms >> doublings)
        return p->retry_max_ms;
    return wait << doublings;
}
