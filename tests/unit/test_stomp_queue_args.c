/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_queue_args.c: queue arguments as headers, each alone and all together, in every version; and names of
 * durable subscriptions in keys. What the broker then does with them is in tests/wire/stomp.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto_stomp/stomp_durable.h"
#include "proto_stomp/stomp_queue_args.h"

enum { TEXT_MAX = 4096 };

/* frame_of: the headers as a SUBSCRIBE of version v. text must live as long as *f. */
static void frame_of(char text[TEXT_MAX], const char *headers, enum stomp_version v, struct stomp_frame *f)
{
    static const struct stomp_limits lim = {STOMP_COMMAND_BYTES_MAX, STOMP_HEADERS_MAX, STOMP_LINE_BYTES_MAX,
                                            STOMP_HEAD_BYTES_MAX, 1024};
    struct stomp_scan scan = {0};
    int n = snprintf(text, TEXT_MAX, "SUBSCRIBE\n%s\n", headers);
    assert_in_range(n, 1, TEXT_MAX - 1);
    assert_int_equal(stomp_frame_decode((const uint8_t *)text, (size_t)n + 1, &lim, v, &scan, f), n + 1);
}

static const struct queue_policy plain = {
    .durable = true, .overflow = OVERFLOW_REJECT, .len_max = 100, .keep_qos0 = true};

/* says: the argument as core reads it back. */
static void says(const struct queue_spec *s, enum queue_arg a, const char *text)
{
    char out[300];
    queue_policy_text(&s->policy, a, out, sizeof out);
    assert_string_equal(out, text);
    assert_true(queue_spec_gives(s, a));
}

/* One header for each argument: accepted, read back as `text`. */
static void test_each(void **state)
{
    static const struct {
        enum queue_arg arg;
        const char *header, *text;
    } rows[] = {
        {QUEUE_ARG_DURABLE, "durable:FALSE\n", "false"},
        {QUEUE_ARG_AUTO_DELETE, "auto-delete: true \n", "true"},
        {QUEUE_ARG_EXCLUSIVE, "exclusive:True\n", "true"},
        {QUEUE_ARG_TTL, "x-message-ttl:0\n", "0"},
        {QUEUE_ARG_EXPIRES, "x-expires:70000\n", "70000"},
        {QUEUE_ARG_LEN, "x-max-length: 10\n", "10"},
        {QUEUE_ARG_BYTES, "x-max-length-bytes:20000 \n", "20000"},
        {QUEUE_ARG_OVERFLOW, "x-overflow:drop-head\n", "drop-head"},
        {QUEUE_ARG_DEAD_EXCHANGE, "x-dead-letter-exchange:dlx\n", "dlx"},
        {QUEUE_ARG_DELIVERY_LIMIT, "x-delivery-limit:5\n", "5"},
        {QUEUE_ARG_RETRY_MIN, "x-retry-delay-min:100\n", "100"},
        {QUEUE_ARG_ACK_TIMEOUT, "x-consumer-timeout:60000\n", "60000"},
        {QUEUE_ARG_PRIORITY_MAX, "x-max-priority:10\n", "10"},
        {QUEUE_ARG_SINGLE_ACTIVE, "x-single-active-consumer:true\n", "true"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_N(rows); i++)
        for (enum stomp_version v = STOMP_1_0; v <= STOMP_1_2; v++) {
            static struct stomp_frame f;
            static struct stomp_queue_text text;
            char bytes[TEXT_MAX];
            struct queue_spec s;
            struct slice bad = {0};
            frame_of(bytes, rows[i].header, v, &f);
            assert_int_equal(stomp_queue_spec(&f, &plain, &s, &text, &bad), STOMP_FAULT_NONE);
            says(&s, rows[i].arg, rows[i].text);
            assert_int_equal(s.given, 1u << rows[i].arg);
        }
}

/* Every argument of core has a header of its name. */
static void test_names(void **state)
{
    (void)state;
    for (unsigned a = 0; a < QUEUE_ARG_N; a++) {
        enum stomp_known h = stomp_queue_arg_header((enum queue_arg)a);
        assert_int_not_equal(h, STOMP_H_OTHER);
        assert_true(slice_eq(stomp_known_text(h), queue_arg_text((enum queue_arg)a)));
    }
}

static void test_all(void **state)
{
    static struct stomp_frame f;
    static struct stomp_queue_text text;
    char bytes[TEXT_MAX];
    struct queue_spec s;
    struct slice bad = {0};
    (void)state;
    frame_of(bytes,
             "durable:true\nauto-delete:false\nexclusive:false\nx-message-ttl:1\nx-expires:2\nx-max-length:3\n"
             "x-max-length-bytes:4\nx-overflow:reject-publish-dlx\nx-dead-letter-exchange:a\\cb\n"
             "x-dead-letter-routing-key:c\\\\d\nx-delivery-limit:5\nx-retry-delay-min:6\nx-retry-delay-max:7\n"
             "x-consumer-timeout:8\nx-max-priority:9\nx-single-active-consumer:true\nx-queue-type:quorum\n",
             STOMP_1_2, &f);
    assert_int_equal(stomp_queue_spec(&f, &plain, &s, &text, &bad), STOMP_FAULT_NONE);
    assert_int_equal(s.given, (1u << QUEUE_ARG_N) - 1);
    says(&s, QUEUE_ARG_DEAD_EXCHANGE, "a:b");
    says(&s, QUEUE_ARG_DEAD_KEY, "c\\d");
    says(&s, QUEUE_ARG_RETRY_MAX, "7");
    assert_true(s.policy.keep_qos0); /* no argument: as it was */
}

/* Nothing said: the default, nothing given. */
static void test_nothing(void **state)
{
    static struct stomp_frame f;
    static struct stomp_queue_text text;
    char bytes[TEXT_MAX];
    struct queue_spec s;
    struct slice bad = {0};
    (void)state;
    frame_of(bytes, "id:0\nx-max-in-memory-length:5\n", STOMP_1_2, &f);
    assert_int_equal(stomp_queue_spec(&f, &plain, &s, &text, &bad), STOMP_FAULT_NONE);
    assert_int_equal(s.given, 0);
    assert_int_equal(queue_policy_diff(&s.policy, &plain), QUEUE_ARG_N);
}

static void test_bad(void **state)
{
    static const struct {
        const char *headers, *bad;
        enum stomp_fault why;
    } rows[] = {
        {"durable:\n", "durable", STOMP_FAULT_HEADER},
        {"exclusive:1\n", "exclusive", STOMP_FAULT_HEADER},
        {"x-message-ttl:1 000\n", "x-message-ttl", STOMP_FAULT_HEADER},
        {"x-max-length:-5\n", "x-max-length", STOMP_FAULT_HEADER},
        {"x-max-length:0x10\n", "x-max-length", STOMP_FAULT_HEADER},
        {"x-overflow:DROP-HEAD\n", "x-overflow", STOMP_FAULT_HEADER},
        {"x-max-priority:300\n", "x-max-priority", STOMP_FAULT_HEADER},
        {"x-delivery-limit:70000\n", "x-delivery-limit", STOMP_FAULT_HEADER},
        {"x-message-ttl:bad\nx-max-length:bad\n", "x-message-ttl", STOMP_FAULT_HEADER},
        {"x-dead-letter-routing-key:k\n", "x-dead-letter-routing-key", STOMP_FAULT_QUEUE_ARGS},
        {"x-overflow:reject-publish-dlx\n", "x-overflow", STOMP_FAULT_QUEUE_ARGS},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        static struct stomp_frame f;
        static struct stomp_queue_text text;
        char bytes[TEXT_MAX];
        struct queue_spec s;
        struct slice bad = {0};
        frame_of(bytes, rows[i].headers, STOMP_1_2, &f);
        enum stomp_fault e = stomp_queue_spec(&f, &plain, &s, &text, &bad);
        if (e != rows[i].why || !slice_eq_str(bad, rows[i].bad))
            fail_msg("%s: fault %u about '%.*s'", rows[i].headers, (unsigned)e, (int)bad.len, (const char *)bad.p);
    }
}

/* ---- durable subscriptions ---- */

static void test_asks(void **state)
{
    static const struct {
        const char *headers;
        bool is_asked, has_name;
        const char *name;
    } rows[] = {
        {"id:0\n", false, false, ""},
        {"durable:false\npersistent:false\n", false, false, ""},
        {"durable:true\n", true, false, ""},
        {"durable:True\n", true, false, ""},
        {"durable:false\npersistent:true\n", true, false, ""},
        {"activemq.subscriptionName:a\n", true, true, "a"},
        {"durable-subscription-name:a\\cb\n", true, true, "a:b"},
        {"durable-subscriber-name:c\n", true, true, "c"},
        {"durable-subscriber-name:c\nactivemq.subscriptionName:a\n", true, true, "a"},
        {"durable:false\ndurable-subscriber-name:c\n", true, true, "c"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        static struct stomp_frame f;
        static struct stomp_durable_ask ask;
        char bytes[TEXT_MAX];
        struct slice bad = {0};
        frame_of(bytes, rows[i].headers, STOMP_1_2, &f);
        assert_int_equal(stomp_durable_asks(&f, &ask, &bad), STOMP_FAULT_NONE);
        assert_int_equal(ask.is_asked, rows[i].is_asked);
        assert_int_equal(ask.has_name, rows[i].has_name);
        if (ask.has_name)
            assert_true(slice_eq_str(ask.name, rows[i].name));
    }
}

static void test_asks_wrongly(void **state)
{
    static const struct {
        const char *headers, *bad;
        enum stomp_fault why;
    } rows[] = {
        {"durable:yes\n", "durable", STOMP_FAULT_HEADER},
        {"persistent:\n", "persistent", STOMP_FAULT_HEADER},
        {"x-encoded:1\nactivemq.subscriptionName:a%00b\n", "activemq.subscriptionName", STOMP_FAULT_HEADER_TEXT},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        static struct stomp_frame f;
        static struct stomp_durable_ask ask;
        char bytes[TEXT_MAX];
        struct slice bad = {0};
        frame_of(bytes, rows[i].headers, STOMP_1_2, &f);
        assert_int_equal(stomp_durable_asks(&f, &ask, &bad), rows[i].why);
        assert_true(slice_eq_str(bad, rows[i].bad));
    }
}

static void test_key(void **state)
{
#define KEY(literal) slice_make(literal, sizeof(literal) - 1)
    (void)state;
    assert_true(slice_eq_str(stomp_durable_dest(KEY("dann\0phone\0mail\0/topic/a")), "/topic/a"));
    assert_true(slice_eq_str(stomp_durable_dest(KEY("d\0\0\0/topic/a")), "/topic/a"));
    assert_true(slice_eq_str(stomp_durable_dest(KEY("d\0\0\0")), ""));
    assert_true(slice_eq_str(stomp_durable_dest(KEY("d\0phone")), "")); /* no key at all */
    assert_true(slice_eq_str(stomp_durable_dest(KEY("")), ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each),         cmocka_unit_test(test_names), cmocka_unit_test(test_all),
        cmocka_unit_test(test_nothing),      cmocka_unit_test(test_bad),   cmocka_unit_test(test_asks),
        cmocka_unit_test(test_asks_wrongly), cmocka_unit_test(test_key),
    };
    return cmocka_run_group_tests_name("stomp_queue_args", tests, NULL, NULL);
}
