/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_queue_policy.c: every argument: what it can say and what it cannot, what a policy says of itself, which
 * combinations are refused, in what two policies differ, and how long a retry waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/queue_policy.h"

static const struct queue_policy named = {.bytes_max = 1000,
                                          .len_max = 100,
                                          .ack_ms = 1800000,
                                          .overflow = OVERFLOW_REJECT,
                                          .durable = true,
                                          .keep_qos0 = true};

static enum err take(struct queue_spec *s, enum queue_arg a, const char *value)
{
    return queue_spec_take(s, a, slice_from_str(value));
}

static void names(void **state)
{
    (void)state;
    assert_int_equal(queue_arg_from_text(SLICE("x-message-ttl")), QUEUE_ARG_TTL);
    assert_int_equal(queue_arg_from_text(SLICE("durable")), QUEUE_ARG_DURABLE);
    assert_int_equal(queue_arg_from_text(SLICE("x-single-active-consumer")), QUEUE_ARG_SINGLE_ACTIVE);
    for (unsigned a = 0; a < QUEUE_ARG_N; a++) {
        struct slice text = queue_arg_text((enum queue_arg)a);
        assert_int_equal(queue_arg_from_text(text), a);
        assert_int_equal(queue_arg_from_text(slice_make(text.p, text.len - 1)), QUEUE_ARG_N);
    }
    assert_int_equal(queue_arg_from_text(SLICE("")), QUEUE_ARG_N);
    assert_int_equal(queue_arg_from_text(SLICE("x-priority")), QUEUE_ARG_N); /* of a consumer */
    assert_int_equal(queue_arg_from_text(SLICE("X-Message-TTL")), QUEUE_ARG_N);
}

/* what is good, what is not; a refused value changes nothing. */
static void values(void **state)
{
    (void)state;
    static const struct {
        enum queue_arg a;
        const char *good[4], *bad[8];
    } row[] = {
        {QUEUE_ARG_DURABLE, {"true", "false"}, {"", "True", "1", "yes", "true "}},
        {QUEUE_ARG_AUTO_DELETE, {"false", "true"}, {"", "0", "falsey", "tru"}},
        {QUEUE_ARG_EXCLUSIVE, {"true", "false"}, {"", "no"}},
        {QUEUE_ARG_SINGLE_ACTIVE, {"true", "false"}, {"", "0"}},
        {QUEUE_ARG_TTL, {"0", "1", "60000", "3155760000000"}, {"", "-1", "+1", "1.5", "1e3", " 1", "3155760000001"}},
        {QUEUE_ARG_EXPIRES, {"1", "1800000"}, {"", "-1", "1 ", "99999999999999999999999"}},
        {QUEUE_ARG_LEN, {"1", "18446744073709551615"}, {"", "0", "-1", "18446744073709551616", "x", "1x"}},
        {QUEUE_ARG_BYTES, {"1", "4294967296"}, {"", "0", "-5", "28446744073709551615"}},
        {QUEUE_ARG_OVERFLOW,
         {"drop-head", "reject-publish", "reject-publish-dlx", "drop-new"},
         {"", "drop-tail", "reject", "Drop-Head", "drop-head,reject-publish"}},
        {QUEUE_ARG_DEAD_EXCHANGE, {"", "dlx", "a b/c"}, {NULL}},
        {QUEUE_ARG_DEAD_KEY, {"", "dead", "a.b.c"}, {NULL}},
        {QUEUE_ARG_DELIVERY_LIMIT, {"0", "5", "65535"}, {"", "-1", "65536", "five"}},
        {QUEUE_ARG_RETRY_MIN, {"1", "100"}, {"", "-1", "1s"}},
        {QUEUE_ARG_RETRY_MAX, {"1", "100"}, {"", "-1", "3155760000001"}},
        {QUEUE_ARG_ACK_TIMEOUT, {"1", "1800000"}, {"", "-1", "never"}},
        {QUEUE_ARG_PRIORITY_MAX, {"1", "10", "255"}, {"", "-1", "256", "1000"}},
    };
    assert_int_equal(ARRAY_N(row), QUEUE_ARG_N);
    for (size_t i = 0; i < ARRAY_N(row); i++) {
        struct queue_spec s;
        char text[64];
        queue_spec_init(&s, &named);
        assert_int_equal(s.given, 0);
        for (unsigned k = 0; k < 8 && row[i].bad[k]; k++) {
            assert_int_equal(take(&s, row[i].a, row[i].bad[k]), ERR_INVALID);
            assert_int_equal(s.given, 0);
            assert_int_equal(queue_policy_diff(&s.policy, &named), QUEUE_ARG_N);
        }
        for (unsigned k = 0; k < 4 && row[i].good[k]; k++) {
            assert_int_equal(take(&s, row[i].a, row[i].good[k]), ERR_OK);
            assert_int_equal(s.given, 1u << row[i].a);
            queue_policy_text(&s.policy, row[i].a, text, sizeof(text));
            assert_string_equal(text, row[i].good[k]); /* said again as it came */
        }
    }
    struct queue_spec s;
    queue_spec_init(&s, &named);
    assert_int_equal(take(&s, QUEUE_ARG_N, "1"), ERR_INVALID);
}

/* what is not set says so; 0 ends what 0 means "none" of; long texts are cut. */
static void texts(void **state)
{
    (void)state;
    static const struct queue_policy empty;
    static const enum queue_arg zero[] = {QUEUE_ARG_RETRY_MIN, QUEUE_ARG_RETRY_MAX, QUEUE_ARG_ACK_TIMEOUT,
                                          QUEUE_ARG_PRIORITY_MAX};
    char text[16];
    for (unsigned a = 0; a < QUEUE_ARG_N; a++) {
        queue_policy_text(&empty, (enum queue_arg)a, text, sizeof(text));
        bool is_flag = a <= QUEUE_ARG_EXCLUSIVE || a == QUEUE_ARG_SINGLE_ACTIVE;
        assert_string_equal(text, is_flag ? "false" : a == QUEUE_ARG_OVERFLOW ? "drop-new" : "none");
    }
    for (size_t i = 0; i < ARRAY_N(zero); i++) {
        struct queue_spec s;
        queue_spec_init(&s, &named);
        assert_int_equal(take(&s, zero[i], "7"), ERR_OK);
        assert_int_equal(take(&s, zero[i], "0"), ERR_OK);
        queue_policy_text(&s.policy, zero[i], text, sizeof(text));
        assert_string_equal(text, "none");
    }
    static char longest[300];
    struct queue_spec s;
    queue_spec_init(&s, &named);
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(queue_spec_take(&s, QUEUE_ARG_DEAD_EXCHANGE, slice_make(longest, 256)), ERR_INVALID);
    assert_false(s.policy.has_dead_exchange);
    assert_int_equal(queue_spec_take(&s, QUEUE_ARG_DEAD_EXCHANGE, slice_make(longest, 255)), ERR_OK);
    queue_policy_text(&s.policy, QUEUE_ARG_DEAD_EXCHANGE, text, sizeof(text));
    assert_string_equal(text, "xxxxxxxxxxxxxxx");
    queue_policy_text(&s.policy, QUEUE_ARG_LEN, text, 3);
    assert_string_equal(text, "10");
}

static void finish(void **state)
{
    (void)state;
    static const struct {
        const char *text; /* argument=value;... */
        enum queue_arg bad;
        enum queue_overflow overflow;
        mono_ms retry_max;
    } row[] = {
        {"", QUEUE_ARG_N, OVERFLOW_REJECT, 0},
        {"x-max-length=5", QUEUE_ARG_N, OVERFLOW_DROP_HEAD, 0},
        {"x-max-length-bytes=5", QUEUE_ARG_N, OVERFLOW_DROP_HEAD, 0},
        {"x-max-length=5;x-overflow=reject-publish", QUEUE_ARG_N, OVERFLOW_REJECT, 0},
        {"x-overflow=drop-new;x-max-length=5", QUEUE_ARG_N, OVERFLOW_DROP_NEW, 0},
        {"x-message-ttl=5", QUEUE_ARG_N, OVERFLOW_REJECT, 0},
        {"x-expires=0", QUEUE_ARG_EXPIRES, 0, 0},
        {"x-dead-letter-routing-key=k", QUEUE_ARG_DEAD_KEY, 0, 0},
        {"x-dead-letter-routing-key=k;x-dead-letter-exchange=", QUEUE_ARG_N, OVERFLOW_REJECT, 0},
        {"x-overflow=reject-publish-dlx", QUEUE_ARG_OVERFLOW, 0, 0},
        {"x-overflow=reject-publish-dlx;x-dead-letter-exchange=d", QUEUE_ARG_N, OVERFLOW_REJECT_DLX, 0},
        {"x-retry-delay-min=10", QUEUE_ARG_N, OVERFLOW_REJECT, 86400000},
        {"x-retry-delay-min=100000000", QUEUE_ARG_N, OVERFLOW_REJECT, 100000000},
        {"x-retry-delay-min=0", QUEUE_ARG_N, OVERFLOW_REJECT, 0},
        {"x-retry-delay-min=10;x-retry-delay-max=10", QUEUE_ARG_N, OVERFLOW_REJECT, 10},
        {"x-retry-delay-min=10;x-retry-delay-max=9", QUEUE_ARG_RETRY_MAX, 0, 0},
        {"x-retry-delay-max=9", QUEUE_ARG_RETRY_MAX, 0, 0},
        {"x-retry-delay-max=0", QUEUE_ARG_N, OVERFLOW_REJECT, 0},
    };
    for (size_t i = 0; i < ARRAY_N(row); i++) {
        struct queue_spec s;
        enum queue_arg bad = QUEUE_ARG_DURABLE;
        queue_spec_init(&s, &named);
        for (const char *at = row[i].text; *at;) {
            size_t name = strcspn(at, "="), value = strcspn(at + name + 1, ";");
            enum queue_arg a = queue_arg_from_text(slice_make(at, name));
            assert_int_equal(queue_spec_take(&s, a, slice_make(at + name + 1, value)), ERR_OK);
            at += name + 1 + value;
            at += *at == ';';
        }
        enum err e = queue_spec_finish(&s, &bad);
        assert_int_equal(bad, row[i].bad);
        assert_int_equal(e, bad == QUEUE_ARG_N ? ERR_OK : ERR_INVALID);
        if (e != ERR_OK)
            continue;
        assert_int_equal(s.policy.overflow, row[i].overflow);
        assert_int_equal(s.policy.retry_max_ms, row[i].retry_max);
        assert_int_equal(s.policy.ack_ms, named.ack_ms); /* what was not given stays */
    }
}

/* two policies that differ in one argument differ in that one, both ways round. */
static void diff(void **state)
{
    (void)state;
    static const char *const two[QUEUE_ARG_N][2] = {
        [QUEUE_ARG_DURABLE] = {"true", "false"},   [QUEUE_ARG_AUTO_DELETE] = {"true", "false"},
        [QUEUE_ARG_EXCLUSIVE] = {"true", "false"}, [QUEUE_ARG_TTL] = {"0", "1"},
        [QUEUE_ARG_EXPIRES] = {"1", "2"},          [QUEUE_ARG_LEN] = {"10", "11"},
        [QUEUE_ARG_BYTES] = {"10", "4294967306"},  [QUEUE_ARG_OVERFLOW] = {"drop-head", "reject-publish"},
        [QUEUE_ARG_DEAD_EXCHANGE] = {"", "x"},     [QUEUE_ARG_DEAD_KEY] = {"k", "kk"},
        [QUEUE_ARG_DELIVERY_LIMIT] = {"0", "3"},   [QUEUE_ARG_RETRY_MIN] = {"1", "2"},
        [QUEUE_ARG_RETRY_MAX] = {"100", "200"},    [QUEUE_ARG_ACK_TIMEOUT] = {"0", "5"},
        [QUEUE_ARG_PRIORITY_MAX] = {"1", "255"},   [QUEUE_ARG_SINGLE_ACTIVE] = {"false", "true"}};
    struct queue_policy p = named, o = named;
    o.keep_qos0 = false;
    assert_int_equal(queue_policy_diff(&p, &o), QUEUE_ARG_N); /* no argument */
    for (unsigned a = 0; a < QUEUE_ARG_N; a++) {
        struct queue_spec one, other;
        queue_spec_init(&one, &named);
        queue_spec_init(&other, &named);
        assert_int_equal(take(&one, (enum queue_arg)a, two[a][0]), ERR_OK);
        assert_int_equal(take(&other, (enum queue_arg)a, two[a][1]), ERR_OK);
        assert_int_equal(queue_policy_diff(&one.policy, &other.policy), a);
        assert_int_equal(queue_policy_diff(&other.policy, &one.policy), a);
        char copy[8];
        snprintf(copy, sizeof(copy), "%.4s", two[a][0]);
        if (strlen(two[a][0]) <= 4) { /* the same bytes elsewhere are the same */
            assert_int_equal(take(&other, (enum queue_arg)a, copy), ERR_OK);
            assert_int_equal(queue_policy_diff(&one.policy, &other.policy), QUEUE_ARG_N);
        }
    }
    struct queue_spec none, zero; /* "0 ms" and "no TTL" are two things, and so are no key and an empty one */
    queue_spec_init(&none, &named);
    queue_spec_init(&zero, &named);
    assert_int_equal(take(&zero, QUEUE_ARG_TTL, "0"), ERR_OK);
    assert_int_equal(queue_policy_diff(&none.policy, &zero.policy), QUEUE_ARG_TTL);
    queue_spec_init(&zero, &named);
    assert_int_equal(take(&zero, QUEUE_ARG_DEAD_KEY, ""), ERR_OK);
    assert_int_equal(queue_policy_diff(&none.policy, &zero.policy), QUEUE_ARG_DEAD_KEY);
    queue_spec_init(&zero, &named);
    assert_int_equal(take(&zero, QUEUE_ARG_DELIVERY_LIMIT, "0"), ERR_OK);
    assert_int_equal(queue_policy_diff(&none.policy, &zero.policy), QUEUE_ARG_DELIVERY_LIMIT);
}

static void retries(void **state)
{
    (void)state;
    struct queue_policy p = {.retry_min_ms = 100, .retry_max_ms = 1000};
    static const mono_ms waits[] = {0, 100, 200, 400, 800, 1000, 1000};
    for (unsigned n = 0; n < ARRAY_N(waits); n++)
        assert_int_equal(queue_policy_retry(&p, n), waits[n]);
    assert_int_equal(queue_policy_retry(&p, 65535), 1000);
    p.retry_min_ms = 0;
    assert_int_equal(queue_policy_retry(&p, 5), 0);
    struct rng r;
    rng_init(&r, 5);
    for (unsigned i = 0; i < 2000; i++) { /* never less than before, never above the maximum, never 0 */
        p.retry_min_ms = 1 + rng_u64(&r) % (1u << rng_below(&r, 31));
        p.retry_max_ms = p.retry_min_ms + rng_u64(&r) % (UINT64_C(1) << rng_below(&r, 41));
        mono_ms before = p.retry_min_ms;
        assert_int_equal(queue_policy_retry(&p, 1), before);
        for (unsigned n = 2; n < 80; n++) {
            mono_ms now = queue_policy_retry(&p, n);
            assert_int_equal(now, MIN(before * 2, p.retry_max_ms));
            before = now;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),  cmocka_unit_test(values), cmocka_unit_test(texts),
        cmocka_unit_test(finish), cmocka_unit_test(diff),   cmocka_unit_test(retries),
    };
    return cmocka_run_group_tests_name("queue_policy", tests, NULL, NULL);
}
