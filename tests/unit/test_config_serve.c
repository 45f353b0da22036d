/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config_serve.c: configuration files that say what a listener serves and to whom: WebSockets, QoS, conformance,
 * where else to go; and the broker's options that belong with them. As test_config.c: what is said, and what results.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/config_bench.h"

/* ---- what is said ------------------------------------------------------------------------------------------- */

#define OK_ROW(text)                                                                                                   \
    {                                                                                                                  \
        text, ""                                                                                                       \
    }

static const struct {
    const char *text, *said;
} rows[] = {
    /* what a listener serves */
    OK_ROW(
        "listener 1\nmax_qos 1\nconformance lenient\nserver_reference a:1\nserver_moved true\nlistener 2\nmax_qos 0\n"),
    OK_ROW("max_qos 1\nconformance strict\nserver_reference a b\nwebsockets_path /mqtt\n"), /* of the built-in ones */
    {"listener 1\nmax_qos 3", "error: f:2: max_qos: \"3\" is not allowed; allowed: 0 to 2\n"},
    {"listener 1\nmax_qos", "error: f:2: max_qos: a value is missing; allowed: 0 to 2\n"},
    {"listener 1\nmax_qos 1\nmax_qos 2",
     "error: f:3: max_qos: was set to something else at f:2; keep one of the two lines\n"},
    {"max_qos 1\nlistener 1", "error: f:1: max_qos: belongs to a listener; move it below a listener line\n"},
    {"listener 1\nconformance loose",
     "error: f:2: conformance: \"loose\" is not allowed; allowed: strict or lenient\n"},
    {"conformance lenient\nlistener 1",
     "error: f:1: conformance: belongs to a listener; move it below a listener line\n"},
    {"listener 1\nserver_moved true",
     "error: f:2: server_moved: true needs a server_reference for the same listener, to say where to\n"},
    {"listener 1\nserver_reference a\nlistener 2\nserver_moved true",
     "error: f:4: server_moved: true needs a server_reference for the same listener, to say where to\n"},
    {"server_moved 1",
     "error: f:1: server_moved: true needs a server_reference for the same listener, to say where to\n"},
    OK_ROW("listener 1\nserver_moved false\n"),
    {"listener 1\nserver_moved soon", "error: f:2: server_moved: \"soon\" is not allowed; allowed: true or false\n"},
    {"listener 1\nserver_reference",
     "error: f:2: server_reference: a value is missing; allowed: any text of at most 1024 bytes\n"},

    /* WebSockets */
    OK_ROW(
        "listener 1\nprotocol websockets\nwebsockets_origin https://a.example\nwebsockets_origin "
        "http://b:8080\nwebsockets_origin *\nwebsockets_host hub # mine\nwebsockets_path /mqtt\nwebsockets_path /\n"),
    OK_ROW("listener 1\nwebsockets_origin http://[::1]:80\nwebsockets_origin http://[::1]:80\n"),
    {"listener 1\nwebsockets_origin a.example",
     "error: f:2: websockets_origin: \"a.example\" is not allowed; allowed: SCHEME://HOST[:PORT] | *\n"},
    {"listener 1\nwebsockets_origin https://a.example/",
     "error: f:2: websockets_origin: \"https://a.example/\" is not allowed; allowed: SCHEME://HOST[:PORT] | *\n"},
    {"listener 1\nwebsockets_origin https://",
     "error: f:2: websockets_origin: \"https://\" is not allowed; allowed: SCHEME://HOST[:PORT] | *\n"},
    {"listener 1\nwebsockets_origin https://*.example",
     "error: f:2: websockets_origin: \"https://*.example\" is not allowed; allowed: SCHEME://HOST[:PORT] | *\n"},
    {"listener 1\nwebsockets_origin ://a",
     "error: f:2: websockets_origin: \"://a\" is not allowed; allowed: SCHEME://HOST[:PORT] | *\n"},
    {"listener 1\nwebsockets_origin",
     "error: f:2: websockets_origin: a value is missing; allowed: SCHEME://HOST[:PORT] | *\n"},
    {"listener 1\nwebsockets_host https://hub",
     "error: f:2: websockets_host: \"https://hub\" is not allowed; allowed: NAME\n"},
    {"listener 1\nwebsockets_host a b", "error: f:2: websockets_host: \"a b\" is not allowed; allowed: NAME\n"},
    {"listener 1\nwebsockets_path mqtt", "error: f:2: websockets_path: \"mqtt\" is not allowed; allowed: /PATH\n"},
    {"listener 1\nwebsockets_path /a?b", "error: f:2: websockets_path: \"/a?b\" is not allowed; allowed: /PATH\n"},
    {"listener 1\nprotocol mqtt\nwebsockets_origin *",
     "error: f:3: websockets_origin: is for WebSockets, and this listener has protocol mqtt; remove one of the two "
     "lines\n"},
    {"websockets_path /a\nprotocol stomp",
     "error: f:1: websockets_path: is for WebSockets, and this listener has protocol stomp; remove one of the two "
     "lines\n"},
    {"websockets_host hub\nlistener 1",
     "error: f:1: websockets_host: belongs to a listener; move it below a listener line\n"},

    /* the broker */
    OK_ROW("sys_interval 0\nqueued_overflow drop-head\ncheck_payload_format true\nresponse_information a/%c b\n"),
    OK_ROW("sys_interval 1min\nqueued_overflow drop-new\nmax_topic_alias 0\nmax_topic_alias_broker 10\n"
           "max_topic_length 200\nmax_retained_bytes 1M\nmax_delayed_messages 1\nmax_delayed_bytes 1G\nmax_delay 1d\n"
           "websockets_headers_size 4096\nwebsockets_max_message 1M\n"),
    {"sys_interval 65536",
     "error: f:1: sys_interval: \"65536\" is not allowed; allowed: 0 to 65535 s; also with s, min, h, d\n"},
    {"sys_interval 1\nsys_interval 2",
     "error: f:2: sys_interval: was set to something else at f:1; keep one of the two lines\n"},
    {"queued_overflow reject",
     "error: f:1: queued_overflow: \"reject\" is not allowed; allowed: drop-new or drop-head\n"},
    OK_ROW("topic_dialect merged\nstomp_persistent false\nstomp_strict_host false\n"),
    OK_ROW("topic_dialect amqp\nstomp_persistent true\nstomp_strict_host 1\n"),
    OK_ROW("max_publish_rate 100\nmax_publish_bytes_rate 2M\nqueue_ack_timeout 5min\nmax_exchanges 100\n"
           "stomp_max_transactions 1\nstomp_max_transaction_actions 10\nstomp_max_transaction_bytes 1M\n"),
    {"topic_dialect rabbit", "error: f:1: topic_dialect: \"rabbit\" is not allowed; allowed: merged, amqp or mqtt\n"},
    {"topic_dialect mqtt\ntopic_dialect amqp",
     "error: f:2: topic_dialect: was set to something else at f:1; keep one of the two lines\n"},
    {"stomp_persistent maybe", "error: f:1: stomp_persistent: \"maybe\" is not allowed; allowed: true or false\n"},
    {"stomp_strict_host", "error: f:1: stomp_strict_host: a value is missing; allowed: true or false\n"},
    {"max_publish_bytes_rate -1", "error: f:1: max_publish_bytes_rate: \"-1\" is not allowed; allowed: 0 to "
                                  "1099511627776 bytes/s; also with k, K, M, G\n"},
    {"check_payload_format 2", "error: f:1: check_payload_format: \"2\" is not allowed; allowed: true or false\n"},
    {"response_information", "error: f:1: response_information: a value is missing; allowed: any text of at most 1024 "
                             "bytes\n"},
    {"max_topic_alias 65536", "error: f:1: max_topic_alias: \"65536\" is not allowed; allowed: 0 to 65535 aliases\n"},
    {"websockets_headers_size 100",
     "error: f:1: websockets_headers_size: \"100\" is not allowed; allowed: 1024 to 65536 "
     "bytes; also with k, K, M, G\n"},
};

static void test_what_is_said(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        struct bench b;
        enum err e = load(&b, rows[i].text);
        const char *got = said(&b);
        if (strcmp(got, rows[i].said) != 0)
            fail_msg("row %zu:\n%s\nsays\n%s\nnot\n%s", i, rows[i].text, got, rows[i].said);
        assert_int_equal(e, rows[i].said[0] == 0 ? ERR_OK : ERR_INVALID);
        end(&b);
    }
}

/* ---- what results ------------------------------------------------------------------------------------------- */

static void assert_words(const struct config_words *w, const char *first, const char *second)
{
    assert_int_equal(w->n, (first != NULL) + (second != NULL));
    if (w->n == 0) {
        assert_null(w->v);
        return;
    }
    assert_string_equal(w->v[0], first);
    if (second != NULL)
        assert_string_equal(w->v[1], second);
    assert_null(w->v[w->n]);
}

static void test_what_a_listener_serves(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, "websockets_path /base\nport 1\nmax_qos 0\nserver_reference there\n"
                              "listener 2\nprotocol websockets\nwebsockets_origin https://a\nwebsockets_origin *\n"
                              "websockets_host hub\nconformance lenient\nserver_reference x y\nserver_moved true\n"
                              "listener 3\n"),
                     ERR_OK);
    struct config_listener *l = listener(&b, 0);
    assert_int_equal(l->qos_max, 0);
    assert_string_equal(l->server_reference, "there");
    assert_words(&l->ws_paths, "/base", NULL);
    assert_words(&l->ws_origins, NULL, NULL);
    l = listener(&b, 1);
    assert_string_equal(config_protocol(&b.config, l), "websockets");
    assert_int_equal(l->qos_max, 2);
    assert_true(l->is_lenient && l->has_moved);
    assert_string_equal(l->server_reference, "x y");
    assert_words(&l->ws_origins, "https://a", "*");
    assert_words(&l->ws_hosts, "hub", NULL);
    assert_words(&l->ws_paths, NULL, NULL);
    l = listener(&b, 2);
    assert_true(l->qos_max == 2 && !l->is_lenient && !l->has_moved && l->server_reference == NULL);
    end(&b);
}

/* What stands before all listeners is for both built-in ones, each with a copy of its own. */
static void test_builtin_listeners_have_it_all(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, "max_qos 1\nconformance lenient\nserver_reference there\nserver_moved true\n"
                              "websockets_origin https://a\nwebsockets_origin https://b\nwebsockets_path /p\n"
                              "websockets_host hub\n"),
                     ERR_OK);
    for (unsigned i = 0; i < 2; i++) {
        struct config_listener *l = listener(&b, i);
        assert_true(l->is_builtin && l->qos_max == 1 && l->is_lenient && l->has_moved);
        assert_string_equal(l->server_reference, "there");
        assert_words(&l->ws_origins, "https://a", "https://b");
        assert_words(&l->ws_hosts, "hub", NULL);
        assert_words(&l->ws_paths, "/p", NULL);
    }
    assert_ptr_not_equal(listener(&b, 0)->server_reference, listener(&b, 1)->server_reference);
    end(&b);
}

static void test_broker_options(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, "listener 1\nsys_interval 1min\nqueued_overflow drop-head\ncheck_payload_format 1\n"
                              "response_information  replies/%c or so \nmax_topic_alias 7\nmax_delay 60\n"),
                     ERR_OK);
    assert_int_equal(b.config.sys_interval_s, 60);
    assert_true(b.config.session_drop_head && b.config.check_payload_format);
    assert_string_equal(b.config.response_information, "replies/%c or so");
    assert_int_equal(b.config.limits.alias_in_max, 7);
    assert_int_equal(b.config.limits.delay_s_max, 60);
    end(&b);
}

static void test_stomp_options(void **state)
{
    (void)state;
    static const char *const dialect[] = {"merged", "amqp", "mqtt"};
    for (unsigned i = 0; i < ARRAY_N(dialect); i++) {
        struct bench b;
        char text[100];
        (void)snprintf(text, sizeof(text), "topic_dialect %s\nstomp_persistent %u\nstomp_strict_host %u\n", dialect[i],
                       i % 2, i / 2);
        assert_int_equal(load(&b, text), ERR_OK);
        assert_int_equal(b.config.topic_dialect, i); /* the order of enum stomp_dialect */
        assert_int_equal(b.config.stomp_persistent, i % 2);
        assert_int_equal(b.config.stomp_strict_host, i / 2);
        end(&b);
    }
}

static void test_long_texts(void **state)
{
    (void)state;
    struct bench b;
    char text[1200];
    static const char key[] = "response_information ";
    memset(text, 'x', sizeof(text));
    memcpy(text, key, strlen(key));
    text[strlen(key) + 1024] = 0;
    assert_int_equal(load(&b, text), ERR_OK);
    end(&b);
    text[strlen(key) + 1024] = 'x';
    text[strlen(key) + 1025] = 0;
    assert_int_equal(load(&b, text), ERR_INVALID);
    assert_string_equal(said(&b), "error: f:1: response_information: longer than 1024 bytes\n");
    end(&b);
}

/* Every allocation fails once, also while the built-in listeners get their copies: an error, nothing lost. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const char text[] = "server_reference there\nwebsockets_origin https://a\nwebsockets_origin https://b\n"
                               "websockets_path /p\nwebsockets_host hub\nscram_file /s\nresponse_information x\n";
    for (uint64_t nth = 1;; nth++) {
        struct bench b;
        begin(&b);
        struct mem_heap quiet;
        struct mem quiet_mem; /* what is said is kept elsewhere */
        mem_heap_init(&quiet);
        mem_init(&quiet_mem, &quiet, "said");
        buf_init(&b.said, &quiet_mem);
        b.heap.fail_at = nth;
        enum err e = config_text(&b.config, "f", SLICE(text));
        if (e == ERR_OK)
            e = config_finish(&b.config, -1);
        bool was_hit = b.heap.calls >= nth;
        assert_int_equal(e, was_hit ? ERR_NOMEM : ERR_OK);
        assert_string_equal(said(&b), was_hit ? "error: out of memory while the configuration was read\n" : "");
        end(&b);
        if (!was_hit) {
            assert_true(nth > 20);
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_said),
        cmocka_unit_test(test_what_a_listener_serves),
        cmocka_unit_test(test_builtin_listeners_have_it_all),
        cmocka_unit_test(test_broker_options),
        cmocka_unit_test(test_stomp_options),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
