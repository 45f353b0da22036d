/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config.c: configuration files as tables: what is read, what is said about it (word for word), and what results.
 *
 * A row is a file and the lines it makes Weir say; "error" and "warning" stand before each. Files that include others
 * are made in a temporary directory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/options.h"
#include "core/base/rng.h"
#include "tests/support/config_bench.h"

/* ---- what is said ------------------------------------------------------------------------------------------- */

struct row {
    const char *text, *said;
};

#define OK_ROW(text)                                                                                                   \
    {                                                                                                                  \
        text, ""                                                                                                       \
    }
#define LOGIN                                                                                                          \
    "not supported yet: passwords cannot be checked yet, and nobody is let in unchecked instead; remove this line, "   \
    "and name a scram_file, or write allow_anonymous true only if everybody may log in\n"
#define NEEDS                                                                                                          \
    "false needs a scram_file, and there is none; passwords this version cannot check, so nobody could log in; name "  \
    "a scram_file, or remove this "
#define NOBODY                                                                                                         \
    NEEDS "line (then loopback is open, and what other lines open), or write allow_anonymous true only if everybody "  \
          "may log in\n"
#define NOBODY_HERE NEEDS "listener, or write listener_allow_anonymous true only if everybody may log in\n"
#define TWO_WORDS   "; keep one of the two lines, or write per_listener_settings true\n"
#define TLS                                                                                                            \
    "not supported yet: encrypted listeners are not built yet, and no listener speaks in the clear instead; remove "   \
    "this "                                                                                                            \
    "listener, or this line and put a TLS proxy in front of a loopback listener\n"
#define PLUGIN                                                                                                         \
    "not supported yet: there are no plugins, and their checks are not left out instead; remove this line to do "      \
    "without\n"
#define LATER(name) "warning: f:1: " name ": not supported yet, ignored\n"

static const struct row rows[] = {
    /* grammar */
    OK_ROW(""),
    OK_ROW("\n\n  \n\t\n"),
    OK_ROW("# comment\n  # and another\n\t#\n"),
    OK_ROW("max_keepalive 60\r\nretain_available false\r\n"),
    OK_ROW("\xef\xbb\xbfmax_keepalive 60"),
    OK_ROW("  max_keepalive \t 60   # a comment\n"),
    OK_ROW("allow_anonymous true # for the lab\n"),
    {"max_keepalive 6\x01", "error: f:1: control bytes or broken UTF-8; this is no line of a configuration\n"},
    {"\n\npid_file /tmp/\xff", "error: f:3: control bytes or broken UTF-8; this is no line of a configuration\n"},

    /* unknown */
    {"max_keepaliv 60", "error: f:1: max_keepaliv: unknown option; did you mean max_keepalive?\n"},
    {"\nlistner 1883", "error: f:2: listner: unknown option; did you mean listener?\n"},
    {"wurst 1", "error: f:1: wurst: unknown option; `weir --help` lists them all\n"},
    {"Max_Keepalive 60", "error: f:1: Max_Keepalive: unknown option; did you mean max_keepalive?\n"},
    {"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz 1",
     "error: f:1: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz: unknown option; `weir --help` lists "
     "them all\n"},

    /* values */
    {"max_keepalive", "error: f:1: max_keepalive: a value is missing; allowed: 0 to 65535 s; also with s, min, h, d\n"},
    {"max_keepalive ten",
     "error: f:1: max_keepalive: \"ten\" is not allowed; allowed: 0 to 65535 s; also with s, min, h, "
     "d\n"},
    {"max_keepalive 65536",
     "error: f:1: max_keepalive: \"65536\" is not allowed; allowed: 0 to 65535 s; also with s, min, "
     "h, d\n"},
    {"max_keepalive -1",
     "error: f:1: max_keepalive: \"-1\" is not allowed; allowed: 0 to 65535 s; also with s, min, h, "
     "d\n"},
    {"max_keepalive 60 70",
     "error: f:1: max_keepalive: \"60 70\" is not allowed; allowed: 0 to 65535 s; also with s, min, "
     "h, d\n"},
    {"max_subscriptions 18446744073709551617",
     "error: f:1: max_subscriptions: \"18446744073709551617\" is not allowed; allowed: 1 to 10000000 subscriptions\n"},
    {"retain_available yes", "error: f:1: retain_available: \"yes\" is not allowed; allowed: true or false\n"},
    {"listener 1\nsocket_domain ipv5",
     "error: f:2: socket_domain: \"ipv5\" is not allowed; allowed: any, ipv4 or ipv6\n"},
    {"persistent_client_expiration 14",
     "error: f:1: persistent_client_expiration: \"14\" is not allowed; allowed: a number "
     "and one of h d w m y, like 14d\n"},
    {"persistent_client_expiration 0d",
     "error: f:1: persistent_client_expiration: \"0d\" is not allowed; allowed: a number "
     "and one of h d w m y, like 14d\n"},
    {"pid_file", "error: f:1: pid_file: a value is missing; allowed: any text\n"},
    {"log_type loud",
     "error: f:1: log_type: \"loud\" is not allowed; allowed: error | warning | notice | information | "
     "debug | all | none\n"},
    {"log_dest file", "error: f:1: log_dest: the path is missing; write: log_dest file PATH\n"},
    {"log_dest printer",
     "error: f:1: log_dest: \"printer\" is not allowed; allowed: stderr | stdout | file PATH | none\n"},

    /* listeners */
    OK_ROW("listener 1883\nlistener 1884 127.0.0.1\nlistener 0 /tmp/x.sock\nlistener 0 ::1\nlistener 0 ::1\n"),
    {"listener", "error: f:1: listener: a value is missing; allowed: PORT [ADDRESS] | 0 /PATH\n"},
    {"listener localhost", "error: f:1: listener: \"localhost\" is not allowed; allowed: 0 to 65535\n"},
    {"listener 65536", "error: f:1: listener: \"65536\" is not allowed; allowed: 0 to 65535\n"},
    {"listener 1883 a b", "error: f:1: listener: \"1883 a b\" is not allowed; allowed: PORT [ADDRESS] | 0 /PATH\n"},
    {"listener 1883 /tmp/x", "error: f:1: listener: a unix socket has no port; write: listener 0 /tmp/x\n"},
    {"listener 1883\n\nlistener 1883", "error: f:3: listener: the same as at f:1; remove one of the two\n"},
    {"port 1883\nlistener 1883", "error: f:2: listener: the same as at f:1; remove one of the two\n"},
    OK_ROW("listener 1883\nsocket_domain ipv4\nlistener 1883\nsocket_domain ipv6\n"),
    {"listener 0 /tmp/x\nlistener 0 /tmp/x", "error: f:2: listener: the same as at f:1; remove one of the two\n"},
    {"port 70000", "error: f:1: port: \"70000\" is not allowed; allowed: 0 to 65535\n"},
    {"bind_address", "error: f:1: bind_address: a value is missing; allowed: ADDRESS\n"},
    {"protocol mqtt\nlistener 1883", "error: f:1: protocol: belongs to a listener; move it below a listener line\n"},
    OK_ROW("protocol mqtt\nport 1883\n"),
    OK_ROW("protocol mqtt\n"),
    {"listener 1883\nprotocol amqp",
     "error: f:2: protocol: \"amqp\" is not allowed; allowed: mqtt | stomp | websockets | all\n"},
    {"listener 1883\nprotocol http_api", "error: f:2: protocol: not supported yet: http_api is not built, and nothing "
                                         "else is spoken here instead; remove this listener\n"},

    /* contradictions */
    OK_ROW("max_keepalive 60\nmax_keepalive 60\nretain_available true\nretain_available 1\npid_file /a\npid_file /a\n"),
    {"max_keepalive 60\nmax_keepalive 61",
     "error: f:2: max_keepalive: was set to something else at f:1; keep one of the two lines\n"},
    {"pid_file /a\npid_file /b", "error: f:2: pid_file: was set to something else at f:1; keep one of the two lines\n"},
    {"persistent_client_expiration 1d\nmax_session_expiry 1h",
     "error: f:2: max_session_expiry: was set to something else at f:1; keep one of the two lines\n"},
    OK_ROW("persistent_client_expiration 1d\nmax_session_expiry 86400\n"),
    {"listener 1\nprotocol mqtt\nprotocol stomp",
     "error: f:3: protocol: was set to something else at f:2; keep one of the two lines\n"},
    OK_ROW("listener 1\nprotocol mqtt\nlistener 2\nprotocol stomp\n"),
    {"log_dest file /a\nlog_dest file /b",
     "error: f:2: log_dest: was set to something else at f:1; keep one of the two "
     "lines\n"},
    {"max_connections 5\nglobal_max_connections 6",
     "error: f:2: global_max_connections: was set to something else at f:1; keep one of the two lines\n"},

    /* who may be anonymous */
    OK_ROW("listener 1\nallow_anonymous true\nlistener 2\nallow_anonymous true\n"),
    OK_ROW("per_listener_settings true\nlistener 1\nallow_anonymous true\nlistener 2\nlistener_allow_anonymous 1\n"),
    {"allow_anonymous maybe", "error: f:1: allow_anonymous: \"maybe\" is not allowed; allowed: true | false\n"},
    {"listener 1\nlistener_allow_anonymous",
     "error: f:2: listener_allow_anonymous: a value is missing; allowed: true | false\n"},
    {"allow_anonymous true false",
     "error: f:1: allow_anonymous: \"true false\" is not allowed; allowed: true | false\n"},
    {"per_listener_settings true\nallow_anonymous true\nlistener 1",
     "error: f:2: allow_anonymous: belongs to no listener, and per_listener_settings is true; move it below a listener "
     "line\n"},

    /* not yet: one line, the first time */
    {"upgrade_outgoing_qos true\nupgrade_outgoing_qos true", LATER("upgrade_outgoing_qos")},
    {"connection there\naddress a:1\ntopic # both\ntopic x in\nbridge_cafile /x",
     LATER("connection") "warning: f:2: address: not supported yet, ignored\n"
                         "warning: f:3: topic: not supported yet, ignored\n"
                         "warning: f:5: bridge_cafile: not supported yet, ignored\n"},
    {"log_dest syslog", "warning: f:1: log_dest: \"syslog\" is not supported yet, ignored\n"},
    {"log_type subscribe", "warning: f:1: log_type: \"subscribe\" is not supported yet, ignored\n"},

    /* not yet, but asking for nothing */
    OK_ROW("persistence false\nupgrade_outgoing_qos false\nmax_inflight_bytes 0\n"),
    OK_ROW("persistence 0\nallow_zero_length_clientid true\nallow_zero_length_clientid 1\nrequire_certificate false\n"),

    /* restricting: the start ends, and nothing after it is read */
    {"password_file /x\nwurst 1", "error: f:1: password_file: " LOGIN},
    {"allow_anonymous false", "error: f:1: allow_anonymous: " NOBODY},
    {"allow_anonymous 0 # a comment", "error: f:1: allow_anonymous: " NOBODY},
    {"listener 1 127.0.0.1\n\nallow_anonymous false", "error: f:3: allow_anonymous: " NOBODY},
    {"port 1\nallow_anonymous false", "error: f:2: allow_anonymous: " NOBODY},
    {"per_listener_settings true\nlistener 1\nallow_anonymous false", "error: f:3: allow_anonymous: " NOBODY},
    {"listener 1\nallow_anonymous true\nlistener 2\nallow_anonymous false", "error: f:4: allow_anonymous: " NOBODY},
    {"listener_allow_anonymous false", "error: f:1: listener_allow_anonymous: " NOBODY_HERE},
    {"allow_anonymous true\nlistener 1\nlistener_allow_anonymous 0",
     "error: f:3: listener_allow_anonymous: " NOBODY_HERE},
    OK_ROW("allow_anonymous false\nscram_file /s\n"), /* wherever it stands */
    OK_ROW("listener 1\nlistener_allow_anonymous false\nscram_file /s\nallow_anonymous true\n"),
    OK_ROW("scram_file /s\nper_listener_settings 1\nlistener 1\nallow_anonymous 0\nlistener 2\nallow_anonymous 1\n"),
    {"scram_file /s\nlistener 1\nallow_anonymous true\nlistener 2\nallow_anonymous false",
     "error: f:5: allow_anonymous: holds for all listeners, and was set to something else at f:3" TWO_WORDS},
    {"scram_file /s\nallow_anonymous false\nlistener 2\nallow_anonymous true",
     "error: f:4: allow_anonymous: holds for all listeners, and was set to something else at f:2" TWO_WORDS},
    {"scram_file", "error: f:1: scram_file: a value is missing; allowed: any text\n"},
    {"scram_file /s\nscram_file /t",
     "error: f:2: scram_file: was set to something else at f:1; keep one of the two lines\n"},

    {"allow_zero_length_clientid false", "error: f:1: allow_zero_length_clientid: not supported yet: which client "
                                         "identifiers may log in cannot be restricted "
                                         "yet; remove this line only if every identifier may\n"},
    {"listener 8883\ncertfile /x", "error: f:2: certfile: " TLS},
    {"listener 8883\nciphers_tls1.3 x", "error: f:2: ciphers_tls1.3: " TLS},
    {"listener 8883\nrequire_certificate true", "error: f:2: require_certificate: " TLS},
    {"psk_hint x", "error: f:1: psk_hint: " TLS},
    {"plugin /x.so", "error: f:1: plugin: " PLUGIN},
    {"plugin_opt_file /x", "error: f:1: plugin_opt_file: " PLUGIN},
    {"auth_opt_host x", "error: f:1: auth_opt_host: " PLUGIN},
    {"listener 1\nbind_interface eth0", "error: f:2: bind_interface: not supported yet: listeners cannot be tied to an "
                                        "interface yet; name its address in the "
                                        "listener line instead\n"},
    {"acl_file",
     "error: f:1: acl_file: not supported yet: access rules cannot be kept yet, and topics are not left open "
     "instead; remove this line only if everybody who logs in may use every topic\n"},
    {"include_dir", "error: f:1: include_dir: a value is missing; allowed: DIRECTORY\n"},
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
        bool is_error = strstr(rows[i].said, "error: ") == rows[i].said;
        assert_int_equal(e, is_error ? ERR_INVALID : ERR_OK);
        end(&b);
    }
}

/* Every option of each class behaves as its class says, whatever the table grows to. */
static void test_every_option_of_a_class(void **state)
{
    (void)state;
    for (unsigned i = 0; i < option_n(); i++) {
        struct option o;
        option_at(i, &o);
        char text[256], name[64];
        snprintf(name, sizeof(name), "%s", o.name);
        if (name[strlen(name) - 1] == '*')
            name[strlen(name) - 1] = 'x';
        struct bench b;
        snprintf(text, sizeof(text), "listener 5\n%s something", name);
        if (o.class == OPTION_LATER) {
            assert_int_equal(load(&b, text), ERR_OK);
            snprintf(text, sizeof(text), "warning: f:2: %s: not supported yet, ignored\n", name);
            assert_string_equal(said(&b), text);
            end(&b);
        } else if (o.class == OPTION_MOOT) {
            assert_int_equal(load(&b, text), ERR_OK);
            snprintf(text, sizeof(text), "note: f:2: %s: ignored: ", name);
            assert_memory_equal(said(&b), text, strlen(text));
            end(&b);
        } else if (o.class == OPTION_REFUSED) {
            assert_int_equal(load(&b, text), ERR_INVALID);
            snprintf(text, sizeof(text), "error: f:2: %s: not supported yet: ", name);
            assert_memory_equal(said(&b), text, strlen(text));
            end(&b);
        } else if (o.verb == VERB_NONE && o.type != OPTION_TEXT) {
            assert_int_equal(load(&b, text), ERR_INVALID);
            snprintf(text, sizeof(text), "error: f:2: %s: \"something\" is not allowed; allowed: ", name);
            assert_memory_equal(said(&b), text, strlen(text));
            end(&b);
        }
    }
}

/* ---- what results ------------------------------------------------------------------------------------------- */

static void test_defaults(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, ""), ERR_OK);
    struct config *c = &b.config;
    struct limits d;
    limits_default(&d);
    assert_memory_equal(&c->limits, &d, sizeof(d));
    assert_int_equal(c->log_dests, LOG_TO_STDERR);
    assert_int_equal(c->log_types, 1u << LOG_ERROR | 1u << LOG_WARN | 1u << LOG_NOTICE);
    assert_true(c->retain_available && c->set_tcp_nodelay && c->log_timestamp);
    assert_false(c->queue_qos0_messages || c->session_drop_head || c->check_payload_format);
    assert_true(c->topic_dialect == 0 && !c->stomp_persistent && !c->stomp_strict_host);
    assert_int_equal(c->sys_interval_s, 10);
    assert_true(c->scram_file == NULL && c->response_information == NULL);
    for (unsigned i = 0; i < 2; i++) {
        struct config_listener *l = listener(&b, i);
        assert_non_null(l);
        assert_true(l->is_builtin);
        assert_int_equal(l->port, i == 0 ? 1883 : 61613);
        assert_int_equal(l->protocol, PROTOCOL_ALL);
        assert_false(l->allow_anonymous);
        assert_null(config_protocol(c, l));
        assert_int_equal(l->qos_max, 2);
        assert_true(!l->is_lenient && !l->has_moved && l->server_reference == NULL);
        assert_true(l->ws_origins.v == NULL && l->ws_hosts.v == NULL && l->ws_paths.v == NULL);
    }
    assert_null(listener(&b, 2));
    end(&b);
}

static void test_port_of_command_line(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    assert_int_equal(config_text(&b.config, "f", SLICE("allow_anonymous true\nprotocol stomp")), ERR_OK);
    assert_int_equal(config_finish(&b.config, 0), ERR_OK);
    assert_true(listener(&b, 0)->is_builtin);
    assert_int_equal(listener(&b, 0)->port, 0);
    assert_true(listener(&b, 0)->allow_anonymous);
    assert_string_equal(config_protocol(&b.config, listener(&b, 0)), "stomp");
    assert_null(listener(&b, 1));
    end(&b);

    begin(&b);
    assert_int_equal(config_text(&b.config, "f", SLICE("listener 5")), ERR_OK);
    assert_int_equal(config_finish(&b.config, 6), ERR_OK);
    assert_int_equal(listener(&b, 0)->port, 5);
    assert_null(listener(&b, 1));
    assert_string_equal(said(&b), "warning: -p: ignored: the configuration has listeners of its own\n");
    end(&b);
}

static void test_blocks(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, "max_connections 77\n"
                              "listener 1884 192.0.2.1\n"
                              "protocol mqtt\n"
                              "max_connections 5\n"
                              "allow_anonymous true\n"
                              "max_packet_size 64k\n" /* the broker's, wherever it stands */
                              "listener 0 /run/weir.sock\n"
                              "listener_allow_anonymous true\n"
                              "port 1999\n"
                              "bind_address localhost\n"
                              "socket_domain ipv6\n"
                              "max_connections -1\n"),
                     ERR_OK);
    assert_string_equal(said(&b), "");
    struct config_listener *base = listener(&b, 0), *tcp = listener(&b, 1), *unix_ = listener(&b, 2);
    assert_null(listener(&b, 3));
    assert_int_equal(b.config.limits.connections_max, 77);
    assert_int_equal(b.config.limits.packet_bytes_max, 65536);

    assert_int_equal(base->port, 1999);
    assert_int_equal(base->place.line, 9);
    assert_string_equal(base->address, "localhost");
    assert_int_equal(base->domain, DOMAIN_IPV6);
    assert_int_equal(base->connections_max, 10000000);
    assert_true(base->allow_anonymous);

    assert_int_equal(tcp->port, 1884);
    assert_string_equal(tcp->address, "192.0.2.1");
    assert_string_equal(config_protocol(&b.config, tcp), "mqtt");
    assert_int_equal(tcp->connections_max, 5);
    assert_true(tcp->allow_anonymous);
    assert_int_equal(tcp->place.line, 2);

    assert_string_equal(unix_->unix_path, "/run/weir.sock");
    assert_null(unix_->address);
    assert_true(unix_->allow_anonymous);
    assert_false(base->is_builtin || tcp->is_builtin || unix_->is_builtin);
    end(&b);
}

static void test_default_listener(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, "bind_address 127.0.0.1\n"), ERR_OK);
    assert_int_equal(listener(&b, 0)->port, 1883);
    assert_string_equal(listener(&b, 0)->address, "127.0.0.1");
    assert_null(listener(&b, 1));
    end(&b);

    assert_int_equal(load(&b, "socket_domain ipv4\nallow_anonymous true\n"), ERR_OK); /* no port: the built-in ones */
    assert_int_equal(listener(&b, 1)->domain, DOMAIN_IPV4);
    assert_true(listener(&b, 1)->allow_anonymous);
    end(&b);
}

static void test_anonymous_is_one_setting(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, "listener 1 127.0.0.1\nlistener 2\nallow_anonymous true\n"), ERR_OK);
    assert_true(listener(&b, 0)->allow_anonymous);
    assert_true(listener(&b, 1)->allow_anonymous);
    end(&b);

    assert_int_equal(load(&b, "allow_anonymous true\nlistener 1\nlistener 2\n"), ERR_OK);
    assert_true(listener(&b, 0)->allow_anonymous);
    assert_true(listener(&b, 1)->allow_anonymous);
    end(&b);

    assert_int_equal(load(&b, "listener 1\nlistener 2\nlistener_allow_anonymous true\n"), ERR_OK);
    assert_false(listener(&b, 0)->allow_anonymous);
    assert_true(listener(&b, 1)->allow_anonymous);
    end(&b);

    assert_int_equal(load(&b, "listener 1\nlistener 2\nallow_anonymous true\nper_listener_settings true\n"), ERR_OK);
    assert_false(listener(&b, 0)->allow_anonymous);
    assert_true(listener(&b, 1)->allow_anonymous);
    end(&b);

    assert_int_equal(load(&b, "per_listener_settings true\nallow_anonymous true\n"), ERR_OK);
    assert_true(listener(&b, 0)->allow_anonymous);
    end(&b);
}

static void test_not_anonymous(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, "listener 1\nlistener 2\nallow_anonymous false\nscram_file /s\n"), ERR_OK);
    assert_int_equal(listener(&b, 0)->allow_anonymous, ANYONE_NO);
    assert_int_equal(listener(&b, 1)->allow_anonymous, ANYONE_NO);
    assert_string_equal(b.config.scram_file, "/s");
    assert_int_equal(config_scram_place(&b.config)->line, 4);
    end(&b);

    assert_int_equal(load(&b, "scram_file /s\nallow_anonymous true\nlistener 1\nlistener 2\n"
                              "listener_allow_anonymous false\n"),
                     ERR_OK);
    assert_int_equal(listener(&b, 0)->allow_anonymous, ANYONE_YES);
    assert_int_equal(listener(&b, 1)->allow_anonymous, ANYONE_NO);
    end(&b);

    assert_int_equal(load(&b, "scram_file /s\nper_listener_settings true\nlistener 1\nallow_anonymous true\n"
                              "listener 2\nallow_anonymous false\nlistener 3\nlistener 4\nallow_anonymous false\n"
                              "listener_allow_anonymous true\n"),
                     ERR_OK);
    assert_int_equal(listener(&b, 0)->allow_anonymous, ANYONE_YES);
    assert_int_equal(listener(&b, 1)->allow_anonymous, ANYONE_NO);
    assert_int_equal(listener(&b, 2)->allow_anonymous, ANYONE_UNSAID);
    assert_int_equal(listener(&b, 3)->allow_anonymous, ANYONE_YES);
    end(&b);

    assert_int_equal(load(&b, "scram_file /s\nallow_anonymous false\n"), ERR_OK); /* the built-in ones */
    assert_int_equal(listener(&b, 1)->allow_anonymous, ANYONE_NO);
    end(&b);
}

static void test_logs(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, "log_type error\nlog_type debug\nlog_dest stdout\nlog_dest file /var/log/a b.log\n"),
                     ERR_OK);
    assert_int_equal(b.config.log_types, 1u << LOG_ERROR | 1u << LOG_DEBUG);
    assert_int_equal(b.config.log_dests, LOG_TO_STDOUT | LOG_TO_FILE);
    assert_string_equal(b.config.log_file, "/var/log/a b.log");
    end(&b);

    assert_int_equal(load(&b, "connection_messages true\n"), ERR_OK);
    assert_true(b.config.log_types & 1u << LOG_INFO);
    end(&b);

    assert_int_equal(load(&b, "connection_messages true\nlog_type none\n"), ERR_OK);
    assert_int_equal(b.config.log_types, 0);
    end(&b);

    assert_int_equal(load(&b, "log_dest syslog\n"), ERR_OK); /* ignored: stderr stays */
    assert_int_equal(b.config.log_dests, LOG_TO_STDERR);
    end(&b);
}

/* What Debian's package installs, with the listener people add. */
static void test_a_simple_mosquitto_conf(void **state)
{
    (void)state;
    struct bench b;
    assert_int_equal(load(&b, "# Place your local configuration in /etc/mosquitto/conf.d/\n"
                              "#\n\n"
                              "pid_file /run/mosquitto/mosquitto.pid\n\n"
                              "persistence true\n"
                              "persistence_location /var/lib/mosquitto/\n\n"
                              "log_dest file /var/log/mosquitto/mosquitto.log\n\n"
                              "listener 1883\n"
                              "allow_anonymous true\n"
                              "max_inflight_messages 0\n"
                              "max_packet_size 0\n"
                              "max_queued_messages 0\n"
                              "persistent_client_expiration 2m\n"),
                     ERR_OK);
    assert_string_equal(said(&b), "");
    assert_int_equal(b.config.persistence, PERSIST_ALWAYS);
    assert_string_equal(b.config.disk_dir, "/var/lib/mosquitto/");
    assert_string_equal(b.config.pid_file, "/run/mosquitto/mosquitto.pid");
    assert_int_equal(b.config.limits.inflight_max, 65535);
    assert_int_equal(b.config.limits.packet_bytes_max, 268435460);
    assert_int_equal(b.config.limits.session_queue_max, 0);
    assert_int_equal(b.config.limits.session_expiry_s_max, 60 * 86400);
    assert_true(listener(&b, 0)->allow_anonymous);
    end(&b);
}

/* ---- files -------------------------------------------------------------------------------------------------- */

struct tree {
    char dir[64], main[96], sub[96];
};

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int make_tree(void **state)
{
    static struct tree t; /* the test's, one at a time */
    snprintf(t.dir, sizeof(t.dir), "/tmp/weir-config-XXXXXX");
    if (mkdtemp(t.dir) == NULL)
        return -1;
    snprintf(t.main, sizeof(t.main), "%s/main.conf", t.dir);
    snprintf(t.sub, sizeof(t.sub), "%s/conf.d", t.dir);
    *state = &t;
    return mkdir(t.sub, 0700);
}

static int remove_tree(void **state)
{
    struct tree *t = *state;
    static const char *const names[] = {"b.conf", "A.conf", "01.conf", "a.conf", ".h.conf", "x.txt", ".conf"};
    char path[256];
    for (size_t i = 0; i < ARRAY_N(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", t->sub, names[i]);
        unlink(path);
    }
    unlink(t->main);
    return rmdir(t->sub) == 0 ? rmdir(t->dir) : -1;
}

static void test_include_dir(void **state)
{
    struct tree *t = *state;
    char text[512];
    write_file(t->sub, "b.conf", "listener 3\n");
    write_file(t->sub, "A.conf", "listener 2\nprotocol stomp\n");
    write_file(t->sub, "01.conf", "listener 1\nallow_anonymous true");
    write_file(t->sub, "a.conf", "max_keepalive 9\nmax_connections 8\n"); /* outside any listener again */
    write_file(t->sub, "x.txt", "wurst\n");
    write_file(t->sub, ".conf", "wurst\n");
    snprintf(text, sizeof(text), "listener 9\ninclude_dir %s\nprotocol mqtt\nlistener 10\n", t->sub);
    write_file(t->dir, "main.conf", text);

    struct bench b;
    begin(&b);
    assert_int_equal(config_file(&b.config, t->main), ERR_OK);
    assert_int_equal(config_finish(&b.config, -1), ERR_OK);
    assert_string_equal(said(&b), "");
    static const unsigned ports[] = {9, 1, 2, 3, 10};
    for (unsigned i = 0; i < ARRAY_N(ports); i++) {
        assert_int_equal(listener(&b, i)->port, ports[i]);
        assert_true(listener(&b, i)->allow_anonymous);
    }
    assert_string_equal(config_protocol(&b.config, listener(&b, 0)), "mqtt"); /* the block goes on behind include_dir */
    assert_int_equal(b.config.limits.keepalive_s_max, 9);
    assert_int_equal(b.config.limits.connections_max, 8);
    end(&b);
}

static void test_include_dir_errors(void **state)
{
    struct tree *t = *state;
    char text[512], want[512];
    struct bench b;

    write_file(t->sub, "b.conf", "\nmax_keepalive x\n");
    write_file(t->sub, "A.conf", "http_dir /x\n");
    snprintf(text, sizeof(text), "include_dir %s/\n", t->sub); /* a slash at the end is not doubled */
    write_file(t->dir, "main.conf", text);
    begin(&b);
    assert_int_equal(config_file(&b.config, t->main), ERR_INVALID);
    snprintf(want, sizeof(want),
             "warning: %s/A.conf:1: http_dir: not supported yet, ignored\n"
             "error: %s/b.conf:2: max_keepalive: \"x\" is not allowed; allowed: 0 to 65535 s; also with s, min, h, d\n",
             t->sub, t->sub);
    assert_string_equal(said(&b), want);
    end(&b);

    snprintf(text, sizeof(text), "include_dir %s\n", t->sub);
    write_file(t->sub, "A.conf", text);
    begin(&b);
    assert_int_equal(config_file(&b.config, t->main), ERR_INVALID);
    snprintf(want, sizeof(want), "error: %s/A.conf:1: include_dir: works in the main file only; move it there\n",
             t->sub);
    assert_string_equal(said(&b), want);
    end(&b);

    write_file(t->dir, "main.conf", "\ninclude_dir /does/not/exist\n");
    begin(&b);
    assert_int_equal(config_file(&b.config, t->main), ERR_IO);
    snprintf(want, sizeof(want), "error: %s:2: /does/not/exist: cannot be read: No such file or directory\n", t->main);
    assert_string_equal(said(&b), want);
    end(&b);
}

static void test_files_that_cannot_be_read(void **state)
{
    struct tree *t = *state;
    struct bench b;
    begin(&b);
    assert_int_equal(config_file(&b.config, "/does/not/exist.conf"), ERR_IO);
    assert_string_equal(said(&b), "error: /does/not/exist.conf: cannot be read: No such file or directory\n");
    end(&b);

    char want[256];
    begin(&b);
    assert_int_equal(config_file(&b.config, t->dir), ERR_INVALID);
    snprintf(want, sizeof(want), "error: %s: is a directory; name a file, or use include_dir\n", t->dir);
    assert_string_equal(said(&b), want);
    end(&b);

    begin(&b);
    assert_int_equal(config_file(&b.config, "/dev/zero"), ERR_INVALID);
    assert_string_equal(said(&b), "error: /dev/zero: larger than 4194304 bytes; this is no configuration file\n");
    end(&b);
}

/* ---- torture ------------------------------------------------------------------------------------------------ */

static const char rich[] =
    "max_keepalive 60\nlistener 1 127.0.0.1\nprotocol mqtt\nlistener 0 /tmp/x\npid_file /x\n"
    "persistence interval 5s\npersistence_location /d\nallow_anonymous true\nport 5\nbind_address ::1\nlog_dest file "
    "/y\nuser me\n"
    "max_queued_messages 1\nmax_queued_bytes 1M\nlogin_timeout 5s\nflush_bytes 65536\n"
    "max_subscriptions 1\nmax_topic_levels 3\nserver_reference a\nwebsockets_path /x\nwebsockets_path /y\n"
    "scram_file /s\nwurst 1\n";

/* Every allocation fails once: an error, nothing lost. */
static void test_out_of_memory(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct bench b;
        char line[128];
        begin(&b);
        struct mem_heap quiet;
        struct mem quiet_mem; /* what is said is kept elsewhere */
        mem_heap_init(&quiet);
        mem_init(&quiet_mem, &quiet, "said");
        buf_init(&b.said, &quiet_mem);
        b.heap.fail_at = nth;
        enum err e = config_text(&b.config, "f", SLICE(rich));
        snprintf(line, sizeof(line), "%.*s", (int)MIN(b.said.len, sizeof(line) - 1), (const char *)b.said.p);
        bool was_hit = b.heap.calls >= nth;
        assert_int_equal(e, was_hit ? ERR_NOMEM : ERR_INVALID); /* ERR_INVALID: the last line, on purpose */
        if (was_hit)
            assert_non_null(strstr((const char *)said(&b), "error: out of memory while the configuration was read\n"));
        end(&b);
        if (!was_hit)
            return;
    }
}

/* Cut at every byte: no crash, no leak, and never more than one error. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof(rich); n++) {
        struct bench b;
        begin(&b);
        enum err e = config_text(&b.config, "f", slice_make(rich, n));
        if (e == ERR_OK)
            e = config_finish(&b.config, -1);
        const char *text = said(&b), *error = strstr(text, "error: ");
        assert_int_equal(e == ERR_OK, error == NULL);
        assert_null(error != NULL ? strstr(error + 1, "error: ") : NULL);
        end(&b);
    }
}

static void put_random_word(struct buf *out, struct rng *r)
{
    struct option o;
    switch (rng_below(r, 4)) {
    case 0:
        option_at(rng_below(r, option_n()), &o);
        buf_put_str(out, o.name);
        break;
    case 1:
        buf_printf(out, "%u", (unsigned)rng_below(r, 70000));
        break;
    case 2:
        buf_put_str(out, rng_chance(r, 50) ? "true" : "/tmp/x");
        break;
    default:
        for (uint32_t n = rng_below(r, 12); n > 0; n--)
            buf_put_u8(out, (uint8_t)rng_below(r, 256));
    }
}

/* Random bytes and random words of the grammar: no crash, no leak, and every error is one line. */
static void test_random_text(void **state)
{
    (void)state;
    struct rng r;
    rng_init(&r, 20261121);
    for (unsigned round = 0; round < 20000; round++) {
        struct bench b;
        begin(&b);
        struct buf text;
        buf_init(&text, &b.mem);
        for (uint32_t words = rng_below(&r, 12); words > 0; words--) {
            put_random_word(&text, &r);
            buf_put_str(&text, rng_chance(&r, 40) ? "\n" : " ");
        }
        buf_put_u8(&text, '\n');
        if (memmem(text.p, text.len, "include_dir", 11) == NULL) { /* it would read what is on this machine */
            enum err e = config_text(&b.config, "f", buf_slice(&text));
            if (e == ERR_OK)
                e = config_finish(&b.config, -1);
            const char *line = said(&b), *error = strstr(line, "error: f:");
            assert_int_equal(e == ERR_OK, error == NULL);
            if (e == ERR_OK)
                assert_non_null(listener(&b, 0));
        }
        buf_fini(&text);
        end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_said),
        cmocka_unit_test(test_every_option_of_a_class),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_port_of_command_line),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_default_listener),
        cmocka_unit_test(test_anonymous_is_one_setting),
        cmocka_unit_test(test_not_anonymous),
        cmocka_unit_test(test_logs),
        cmocka_unit_test(test_a_simple_mosquitto_conf),
        cmocka_unit_test_setup_teardown(test_include_dir, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(test_include_dir_errors, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(test_files_that_cannot_be_read, make_tree, remove_tree),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_random_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
