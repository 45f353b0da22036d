/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_options.c: the table of options and what is made of it: values, likely names, the command line, and the pages in
 * docs/, which have to be what `weir --print-docs` makes.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "app/args.h"
#include "app/config.h"
#include "app/docs.h"
#include "app/options.h"
#include "core/base/buf.h"
#include "core/limits.h"

/* ---- the table ---------------------------------------------------------------------------------------------- */

static void test_names_are_unique(void **state)
{
    (void)state;
    for (unsigned i = 0; i < option_n(); i++) {
        struct option a, b;
        option_at(i, &a);
        assert_true(option_find(slice_from_str(a.name), &b));
        assert_string_equal(a.name, b.name); /* no row hides behind a family or another row */
        for (unsigned k = i + 1; k < option_n(); k++) {
            option_at(k, &b);
            assert_string_not_equal(a.name, b.name);
        }
    }
}

static void test_rows_are_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < option_n(); i++) {
        struct option o;
        option_at(i, &o);
        assert_true(o.class != OPTION_WORKS || o.help != NULL);
        assert_true((o.class != OPTION_REFUSED && o.class != OPTION_MOOT) || o.help != NULL);
        assert_true((o.type == OPTION_ENUM || o.type == OPTION_VERB) == (o.values != NULL));
        assert_true(o.verb < VERB_N);
        if (o.class != OPTION_WORKS || (o.type != OPTION_UINT && o.type != OPTION_BOOL))
            continue;
        assert_true(o.def_text != NULL || (o.def >= o.min && o.def <= o.max));
        size_t room = o.scope == SCOPE_GLOBAL ? sizeof(struct config) : sizeof(struct config_listener);
        assert_true(o.offset % sizeof(uint64_t) == 0 && o.offset + sizeof(uint64_t) <= room);
    }
}

/* Every limit is an option, and writes to its own field of struct limits. */
static void test_limits_are_options(void **state)
{
    (void)state;
    struct limits l;
    limits_default(&l);
    assert_int_equal(sizeof(l), limit_table_n * sizeof(uint64_t));
    for (unsigned i = 0; i < limit_table_n; i++) {
        const struct limit_desc *d = &limit_table[i];
        struct option o;
        assert_true(option_find(slice_from_str(d->option), &o));
        assert_int_equal(o.offset, offsetof(struct config, limits) + d->offset);
        assert_int_equal(*(uint64_t *)(void *)((char *)&l + d->offset), d->def);
    }
}

/* The words of mosquitto.conf(5) of mosquitto 2.0, bridges included. */
static const char *const mosquitto_words[] = {
    "acl_file",
    "allow_anonymous",
    "allow_duplicate_messages",
    "allow_zero_length_clientid",
    "auth_opt_x",
    "auth_plugin",
    "auth_plugin_deny_special_chars",
    "auto_id_prefix",
    "autosave_interval",
    "autosave_on_changes",
    "check_retain_source",
    "clientid_prefixes",
    "connection_messages",
    "include_dir",
    "log_dest",
    "log_facility",
    "log_timestamp",
    "log_timestamp_format",
    "log_type",
    "max_inflight_bytes",
    "max_inflight_messages",
    "max_keepalive",
    "max_packet_size",
    "max_queued_bytes",
    "max_queued_messages",
    "memory_limit",
    "message_size_limit",
    "password_file",
    "per_listener_settings",
    "persistence",
    "persistence_file",
    "persistence_location",
    "persistent_client_expiration",
    "pid_file",
    "plugin",
    "plugin_opt_x",
    "psk_file",
    "queue_qos0_messages",
    "retain_available",
    "set_tcp_nodelay",
    "sys_interval",
    "upgrade_outgoing_qos",
    "user",
    "bind_address",
    "bind_interface",
    "http_dir",
    "listener",
    "max_connections",
    "max_qos",
    "max_topic_alias",
    "mount_point",
    "port",
    "protocol",
    "socket_domain",
    "use_username_as_clientid",
    "websockets_log_level",
    "websockets_headers_size",
    "cafile",
    "capath",
    "certfile",
    "ciphers",
    "ciphers_tls1.3",
    "crlfile",
    "dhparamfile",
    "keyfile",
    "require_certificate",
    "tls_engine",
    "tls_engine_kpass_sha1",
    "tls_keyform",
    "tls_version",
    "use_identity_as_username",
    "use_subject_as_username",
    "psk_hint",
    "address",
    "addresses",
    "bridge_attempt_unsubscribe",
    "bridge_bind_address",
    "bridge_max_packet_size",
    "bridge_outgoing_retain",
    "bridge_protocol_version",
    "cleansession",
    "local_cleansession",
    "connection",
    "keepalive_interval",
    "idle_timeout",
    "local_clientid",
    "local_password",
    "local_username",
    "notifications",
    "notifications_local_only",
    "notification_topic",
    "remote_clientid",
    "remote_password",
    "remote_username",
    "restart_timeout",
    "round_robin",
    "start_type",
    "threshold",
    "topic",
    "try_private",
    "bridge_alpn",
    "bridge_cafile",
    "bridge_capath",
    "bridge_certfile",
    "bridge_identity",
    "bridge_insecure",
    "bridge_keyfile",
    "bridge_psk",
    "bridge_require_ocsp",
    "bridge_tls_version",
    "clientid",
    "username",
    "password",
    "retained_persistence",
    "retry_interval",
    "store_clean_interval",
};

static void test_every_word_of_mosquitto_is_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_N(mosquitto_words); i++) {
        struct option o;
        if (!option_find(slice_from_str(mosquitto_words[i]), &o))
            fail_msg("%s is not in the table", mosquitto_words[i]);
    }
}

static void test_families_need_a_member(void **state)
{
    (void)state;
    struct option o;
    assert_true(option_find(SLICE("auth_opt_a"), &o));
    assert_false(option_find(SLICE("auth_opt_"), &o));
    assert_false(option_find(SLICE("auth_opt"), &o));
    assert_false(option_find(SLICE(""), &o));
    assert_true(option_find(SLICE("global_max_connections"), &o));
    assert_string_equal(o.name, "max_connections");
}

static void test_nearest(void **state)
{
    (void)state;
    static const struct {
        const char *written, *nearest;
    } rows[] = {
        {"max_keepaliv", "max_keepalive"},
        {"max_keeepalive", "max_keepalive"},
        {"pidfile", "pid_file"},
        {"prt", "port"},
        {"xyz", NULL},
        {"", NULL},
        {"Listener", "listener"},
        {"m", NULL},
        {"passwort_file", "password_file"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL},
    };
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        const char *got = option_nearest(slice_from_str(rows[i].written));
        if (rows[i].nearest == NULL)
            assert_null(got);
        else
            assert_string_equal(got ? got : "(nothing)", rows[i].nearest);
    }
}

/* ---- values ------------------------------------------------------------------------------------------------- */

#define BAD UINT64_MAX

static const struct {
    const char *option, *text;
    uint64_t value;
} values[] = {
    {"retain_available", "true", 1},
    {"retain_available", "1", 1},
    {"retain_available", "false", 0},
    {"retain_available", "0", 0},
    {"retain_available", "True", BAD},
    {"retain_available", "", BAD},
    {"max_packet_size", "1024", 1024},
    {"max_packet_size", "1k", 1024},
    {"max_packet_size", "1K", 1024},
    {"max_packet_size", "255M", 267386880},
    {"max_packet_size", "0", 268435460},
    {"max_packet_size", "1m", BAD},
    {"max_packet_size", "1 k", BAD},
    {"max_packet_size", "k", BAD},
    {"max_packet_size", "256M1", BAD},
    {"max_packet_size", "1023", BAD},
    {"max_packet_size", "268435461", BAD},
    {"max_packet_size", "+1024", BAD},
    {"max_packet_size", "0x400", BAD},
    {"max_queued_bytes", "1024G", 1099511627776},
    {"max_queued_bytes", "17179869184G", BAD}, /* 2^64 */
    {"max_queued_bytes", "18446744073709551615", BAD},
    {"max_queued_bytes", "18446744073709551616", BAD},
    {"max_connections", "-1", 10000000},
    {"max_connections", "-2", BAD},
    {"max_connections", "0", BAD},
    {"max_inflight_messages", "0", 65535},
    {"login_timeout", "10s", 10000},
    {"login_timeout", "1min", 60000},
    {"login_timeout", "500ms", 500},
    {"login_timeout", "500", 500},
    {"login_timeout", "1h", BAD},
    {"max_keepalive", "1h", 3600},
    {"max_session_expiry", "1d", 86400},
    {"max_session_expiry", "4294967295", 4294967295},
    {"max_session_expiry", "1m", BAD}, /* a month in mosquitto's words: not two meanings for one letter */
    {"persistent_client_expiration", "1h", 3600},
    {"persistent_client_expiration", "14d", 14 * 86400},
    {"persistent_client_expiration", "2w", 14 * 86400},
    {"persistent_client_expiration", "2m", 60 * 86400},
    {"persistent_client_expiration", "1y", 365 * 86400},
    {"persistent_client_expiration", "137y", BAD},
    {"persistent_client_expiration", "1", BAD},
    {"persistent_client_expiration", "d", BAD},
    {"max_qos", "0", 0},
    {"max_qos", "2", 2},
    {"max_qos", "3", BAD},
    {"conformance", "strict", 0},
    {"conformance", "lenient", 1},
    {"conformance", "", BAD},
    {"persistence_segment_size", "64K", 65536},
    {"persistence_segment_size", "128M", 134217728},
    {"persistence_segment_size", "65535", BAD},
    {"persistence_segment_size", "129M", BAD},
    {"persistence_max_size", "0", 0},
    {"persistence_max_size", "4G", UINT64_C(4) << 30},
    {"persistence_commit_interval", "0", 0},
    {"persistence_commit_interval", "1s", 1000},
    {"persistence_commit_interval", "2min", BAD},
    {"persistence_commit_linger", "20", 20},
    {"persistence_commit_linger", "11s", BAD},
    {"topic_dialect", "merged", 0},
    {"topic_dialect", "amqp", 1},
    {"topic_dialect", "mqtt", 2},
    {"topic_dialect", "stomp", BAD},
    {"max_publish_bytes_rate", "1M", 1048576},
    {"max_publish_bytes_rate", "10k", 10240},
    {"queued_overflow", "drop-new", 0},
    {"queued_overflow", "drop-head", 1},
    {"queued_overflow", "drop", BAD},
    {"sys_interval", "0", 0},
    {"sys_interval", "10s", 10},
    {"sys_interval", "65536", BAD},
    {"websockets_headers_size", "8k", 8192},
    {"max_topic_alias", "65535", 65535},
    {"max_retained_bytes", "0", 0},
    {"max_delay", "1d", 86400},
    {"socket_domain", "any", DOMAIN_ANY},
    {"socket_domain", "ipv4", DOMAIN_IPV4},
    {"socket_domain", "ipv6", DOMAIN_IPV6},
    {"socket_domain", "ipv", BAD},
    {"socket_domain", "ipv4|ipv6", BAD},
    {"socket_domain", "", BAD},
};

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_N(values); i++) {
        struct option o;
        uint64_t got = 4711;
        assert_true(option_find(slice_from_str(values[i].option), &o));
        enum err e = option_number(&o, slice_from_str(values[i].text), &got);
        if ((e == ERR_OK) != (values[i].value != BAD) || got != (e == ERR_OK ? values[i].value : 4711))
            fail_msg("%s %s: %s, %" PRIu64, values[i].option, values[i].text, err_name(e), got);
    }
}

/* ---- the command line --------------------------------------------------------------------------------------- */

#define ARGV_MAX 6

static enum err parse(struct args *a, char *why, size_t cap, const char *const *words)
{
    char text[ARGV_MAX][64];
    char *argv[ARGV_MAX + 2] = {text[0]};
    int argc = 1;
    snprintf(text[0], sizeof(text[0]), "weir");
    for (; words[argc - 1] != NULL; argc++) {
        snprintf(text[argc], sizeof(text[argc]), "%s", words[argc - 1]);
        argv[argc] = text[argc];
    }
    *why = 0;
    return args_parse(a, argc, argv, why, cap);
}

static void test_args(void **state)
{
    (void)state;
    struct args a;
    char why[256];
    assert_int_equal(parse(&a, why, sizeof(why), (const char *[]){NULL}), ERR_OK);
    assert_int_equal(a.port, -1);
    assert_true(a.config_file == NULL && a.data == NULL && !a.is_verbose && !a.in_background && !a.tests_config);

    assert_int_equal(parse(&a, why, sizeof(why), (const char *[]){"-vd", "-p", "0", "--test-config", NULL}), ERR_OK);
    assert_int_equal(a.port, 0);
    assert_true(a.is_verbose && a.in_background && a.tests_config && !a.wants_help);

    assert_int_equal(
        parse(&a, why, sizeof(why), (const char *[]){"--port=65535", "-p65535", "--help", "--version", NULL}), ERR_OK);
    assert_int_equal(a.port, 65535);
    assert_true(a.wants_help && a.wants_version);

    assert_int_equal(parse(&a, why, sizeof(why), (const char *[]){"-c", "/etc/x.conf", NULL}), ERR_OK);
    assert_true(a.scram_user == NULL && a.iterations == 0);

    assert_int_equal(
        parse(&a, why, sizeof(why), (const char *[]){"--scram-iterations", "4096", "--scram-user", "anna", NULL}),
        ERR_OK);
    assert_true(a.scram_user != NULL && a.iterations == 4096);

    assert_int_equal(parse(&a, why, sizeof(why), (const char *[]){"--data", "/d", NULL}), ERR_OK);
    assert_string_equal(a.data, "/d");
    assert_null(a.check_log);

    assert_int_equal(parse(&a, why, sizeof(why), (const char *[]){"check-log", "--json", "/d", NULL}), ERR_OK);
    assert_string_equal(a.check_log, "/d");
    assert_true(a.as_json && a.data == NULL);
    assert_int_equal(parse(&a, why, sizeof(why), (const char *[]){"check-log", "-h", NULL}), ERR_OK);
    assert_true(a.wants_help && !a.as_json);
}

static void test_args_errors(void **state)
{
    (void)state;
    static const struct {
        const char *words[5], *why;
    } rows[] = {
        {{"-x"}, "-x: unknown option; weir --help lists them"},
        {{"-vx"}, "-x: unknown option; weir --help lists them"},
        {{"--wurst"}, "--wurst: unknown option; weir --help lists them"},
        {{"-c"}, "-c: a value is missing; weir --help shows which"},
        {{"--data"}, "--data: a value is missing; weir --help shows which"},
        {{"-p", "x"}, "-p: \"x\" is not a port; allowed: 0 to 65535"},
        {{"-p", "65536"}, "-p: \"65536\" is not a port; allowed: 0 to 65535"},
        {{"-p", "-1"}, "-p: \"-1\" is not a port; allowed: 0 to 65535"},
        {{"-p", ""}, "-p: \"\" is not a port; allowed: 0 to 65535"},
        {{"-p1", "-p2"}, "-p: given twice; for more than one port write listener lines into a file (-c FILE)"},
        {{"--scram-user"}, "--scram-user: a value is missing; weir --help shows which"},
        {{"--scram-user", "a", "--scram-iterations", "4095"},
         "--scram-iterations: \"4095\" is not allowed; allowed: 4096 to 10000000"},
        {{"--scram-user", "a", "--scram-iterations", "10000001"},
         "--scram-iterations: \"10000001\" is not allowed; allowed: 4096 to 10000000"},
        {{"--scram-user", "a", "--scram-iterations", "99999999999999999999"},
         "--scram-iterations: \"99999999999999999999\" is not allowed; allowed: 4096 to 10000000"},
        {{"--scram-user", "a", "--scram-iterations", "5e3"},
         "--scram-iterations: \"5e3\" is not allowed; allowed: 4096 to 10000000"},
        {{"--scram-iterations", "5000"}, "--scram-iterations: is for --scram-user NAME, which is not there"},
        {{"check-log"}, "check-log: the directory is missing; write: weir check-log [--json] DIR"},
        {{"check-log", "--json"}, "check-log: the directory is missing; write: weir check-log [--json] DIR"},
        {{"check-log", "a", "b"}, "check-log: one directory at a time; write: weir check-log [--json] DIR"},
        {{"check-log", ""}, "check-log: one directory at a time; write: weir check-log [--json] DIR"},
        {{"check-log", "a", "--xml"}, "check-log: --xml: unknown option; write: weir check-log [--json] DIR"},
        {{"--json", "a"}, "--json: unknown option; weir --help lists them"},
        {{"weir.conf"}, "\"weir.conf\" is no option; a configuration file is named with -c"},
    };
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        struct args a;
        char why[256];
        assert_int_equal(parse(&a, why, sizeof(why), rows[i].words), ERR_INVALID);
        assert_string_equal(why, rows[i].why);
    }
}

/* ---- pages -------------------------------------------------------------------------------------------------- */

struct page {
    struct mem_heap heap;
    struct mem mem;
    struct buf made, stored;
};

static void make_page(struct page *p, void (*make)(struct buf *))
{
    mem_heap_init(&p->heap);
    mem_init(&p->mem, &p->heap, "page");
    buf_init(&p->made, &p->mem);
    buf_init(&p->stored, &p->mem);
    make(&p->made);
    assert_false(buf_is_bad(&p->made));
}

static void drop_page(struct page *p)
{
    buf_fini(&p->made);
    buf_fini(&p->stored);
    assert_int_equal(p->heap.bytes, 0);
}

static void assert_page(const char *name, void (*make)(struct buf *))
{
    struct page p;
    char path[512];
    make_page(&p, make);
    snprintf(path, sizeof(path), "%s/../docs/%s.md", TEST_SOURCE_DIR, name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        fail_msg("%s is missing; make it: weir --print-docs %s > docs/%s.md", path, name, name);
    for (size_t n = 1; n > 0;) {
        uint8_t *room = buf_room(&p.stored, 4096);
        assert_non_null(room);
        n = fread(room, 1, 4096, f);
        buf_wrote(&p.stored, n);
    }
    fclose(f);
    if (!slice_eq(buf_slice(&p.made), buf_slice(&p.stored)))
        fail_msg("docs/%s.md is not up to date; make it: weir --print-docs %s > docs/%s.md", name, name, name);
    drop_page(&p);
}

static void test_docs_are_up_to_date(void **state)
{
    (void)state;
    assert_page("configuration", docs_configuration);
    assert_page("limits", docs_limits);
}

/* Whatever is in the table is in the help and in the page. */
static void test_docs_name_every_option(void **state)
{
    (void)state;
    struct page help, page;
    make_page(&help, docs_help);
    make_page(&page, docs_configuration);
    for (unsigned i = 0; i < option_n(); i++) {
        struct option o;
        char cell[96];
        option_at(i, &o);
        snprintf(cell, sizeof(cell), "| `%s` |", o.name);
        assert_non_null(memmem(page.made.p, page.made.len, cell, strlen(cell)));
        assert_non_null(memmem(help.made.p, help.made.len, o.name, strlen(o.name)));
    }
    drop_page(&help);
    drop_page(&page);
}

static void test_help_fits_a_terminal(void **state)
{
    (void)state;
    struct page p;
    make_page(&p, docs_help);
    struct slice rest = buf_slice(&p.made);
    while (rest.len != 0) {
        ptrdiff_t end = slice_find(rest, '\n');
        assert_true(end >= 0 && end <= 200);
        rest = slice_skip(rest, (size_t)end + 1);
    }
    drop_page(&p);
}

/* A page that ran out of memory says so. */
static void test_docs_out_of_memory(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct mem_heap heap;
        struct mem mem;
        struct buf out;
        mem_heap_init(&heap);
        mem_init(&mem, &heap, "page");
        buf_init(&out, &mem);
        heap.fail_at = nth;
        docs_help(&out);
        bool was_hit = heap.calls >= nth;
        bool is_bad = buf_is_bad(&out);
        buf_fini(&out);
        assert_int_equal(heap.bytes, 0);
        assert_int_equal(is_bad, was_hit);
        if (!was_hit)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_rows_are_whole),
        cmocka_unit_test(test_limits_are_options),
        cmocka_unit_test(test_every_word_of_mosquitto_is_known),
        cmocka_unit_test(test_families_need_a_member),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_args),
        cmocka_unit_test(test_args_errors),
        cmocka_unit_test(test_docs_are_up_to_date),
        cmocka_unit_test(test_docs_name_every_option),
        cmocka_unit_test(test_help_fits_a_terminal),
        cmocka_unit_test(test_docs_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
