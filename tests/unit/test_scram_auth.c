/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_scram_auth.c: whole exchanges of SCRAM-SHA-256 through the seam, against a client written for itself.
 *
 * mbedTLS's two hashing calls are wrapped so that the Nth can be made to fail, as they do without memory.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <mbedtls/md.h>

#include "auth/scram_auth.h"
#include "core/base/log.h"
#include "tests/support/scram_peer.h"

static uint64_t hash_calls, hash_fail_at; /* 0: none fails */

static bool hash_fails(void)
{
    hash_calls++;
    return hash_calls == hash_fail_at;
}

int mbedtls_md_hmac(const mbedtls_md_info_t *md, const unsigned char *key, size_t key_n, const unsigned char *in,
                    size_t n, unsigned char *out)
{
    static int (*next)(const mbedtls_md_info_t *, const unsigned char *, size_t, const unsigned char *, size_t,
                       unsigned char *);
    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "mbedtls_md_hmac");
    return hash_fails() ? MBEDTLS_ERR_MD_ALLOC_FAILED : next(md, key, key_n, in, n, out);
}

int mbedtls_md(const mbedtls_md_info_t *md, const unsigned char *in, size_t n, unsigned char *out)
{
    static int (*next)(const mbedtls_md_info_t *, const unsigned char *, size_t, unsigned char *);
    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "mbedtls_md");
    return hash_fails() ? MBEDTLS_ERR_MD_ALLOC_FAILED : next(md, in, n, out);
}

struct bench {
    struct mem_heap heap;
    struct mem mem, mem_talk;
    struct verifiers verifiers;
    struct log log;
    struct scram_auth auth;
    struct scram_auth_config with;
    struct auth_talk *talk;
    struct buf in, out;
    char logged[512];
    uint64_t random_n;  /* calls */
    uint64_t random_at; /* the one that fails; 0: none */
};

static void on_log(void *ctx, enum log_level level, const char *line)
{
    struct bench *b = ctx;
    assert_int_equal(level, LOG_INFO);
    snprintf(b->logged, sizeof(b->logged), "%s", line);
}

static enum err numbers(void *ctx, uint8_t *p, size_t n)
{
    struct bench *b = ctx;
    b->random_n++;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i + 100 * b->random_n);
    return b->random_n == b->random_at ? ERR_IO : ERR_OK;
}

static void add_user(struct bench *b, const char *user, const char *password, uint32_t iterations, size_t salt_n)
{
    struct buf line;
    struct scram_verifier v;
    buf_init(&line, &b->mem);
    uint8_t salt[SCRAM_SALT_MAX];
    memset(salt, user[0], sizeof(salt));
    assert_int_equal(scram_verifier_make(slice_from_str(password), slice_make(salt, salt_n), iterations, &v), ERR_OK);
    buf_printf(&line, "%s:", user);
    scram_verifier_put(&v, &line);
    assert_int_equal(verifiers_parse(&b->verifiers, "f", buf_slice(&line), b->logged, sizeof(b->logged)), ERR_OK);
    buf_fini(&line);
}

static void begin(struct bench *b)
{
    *b = (struct bench){.logged = ""};
    mem_heap_init(&b->heap);
    mem_init(&b->mem, &b->heap, "test");
    mem_init(&b->mem_talk, &b->heap, "talk");
    verifiers_init(&b->verifiers, &b->mem, 1);
    log_init(&b->log);
    b->log.level = LOG_INFO;
    b->log.write = on_log;
    b->log.ctx = b;
    buf_init(&b->in, &b->mem);
    buf_init(&b->out, &b->mem);
    b->with = (struct scram_auth_config){.verifiers = &b->verifiers, .log = &b->log, .fill = numbers, .ctx = b};
    assert_int_equal(scram_auth_init(&b->auth, &b->with), ERR_OK);
}

static void end_talk(struct bench *b)
{
    if (b->talk != NULL)
        b->auth.base.ops->end(b->talk);
    b->talk = NULL;
    assert_int_equal(b->mem_talk.bytes, 0);
}

static void end(struct bench *b)
{
    end_talk(b);
    buf_fini(&b->in);
    buf_fini(&b->out);
    verifiers_fini(&b->verifiers);
    assert_int_equal(b->heap.bytes, 0);
}

static void begin_talk(struct bench *b)
{
    end_talk(b);
    b->talk = b->auth.base.ops->begin(&b->auth.base, SLICE("SCRAM-SHA-256"), &b->mem_talk);
}

static enum auth_step step(struct bench *b, struct slice in)
{
    buf_clear(&b->out);
    enum auth_step s = b->auth.base.ops->step(b->talk, in, &b->out);
    assert_true(s == AUTH_GO_ON || s == AUTH_PROVEN || b->out.len == 0);
    return s;
}

static enum auth_step step_text(struct bench *b, const char *in)
{
    return step(b, slice_from_str(in));
}

/* login: a whole exchange; AUTH_GO_ON is never the answer. */
static enum auth_step login(struct bench *b, const char *user, const char *password)
{
    struct scram_peer p;
    scram_peer_init(&p, &b->mem, user, password, "fyko+d2lbbFgONRv9qkxdawL");
    begin_talk(b);
    buf_clear(&b->in);
    scram_peer_first(&p, &b->in);
    enum auth_step s = b->talk == NULL ? AUTH_NOMEM : step(b, buf_slice(&b->in));
    if (s == AUTH_GO_ON) {
        buf_clear(&b->in);
        assert_true(scram_peer_final(&p, buf_slice(&b->out), &b->in));
        s = step(b, buf_slice(&b->in));
        assert_int_not_equal(s, AUTH_GO_ON);
    }
    if (s == AUTH_PROVEN)
        assert_true(scram_peer_accepts(&p, buf_slice(&b->out)));
    scram_peer_fini(&p);
    return s;
}

/* ---- exchanges ---------------------------------------------------------------------------------------------- */

static void proven(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    add_user(&b, "anna", "sesame", 4096, 16);
    add_user(&b, "bert", "pencil", 5000, 9);
    assert_int_equal(login(&b, "anna", "sesame"), AUTH_PROVEN);
    assert_true(slice_eq_str(b.auth.base.ops->who(b.talk), "anna"));
    assert_int_equal(login(&b, "bert", "pencil"), AUTH_PROVEN);
    assert_true(slice_eq_str(b.auth.base.ops->who(b.talk), "bert"));
    assert_string_equal(b.logged, "");
    end(&b);
}

static void wrong_password(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    add_user(&b, "anna", "sesame", 4096, 16);
    assert_int_equal(login(&b, "anna", "Sesame"), AUTH_FAILED);
    assert_non_null(strstr(b.logged, "user 'anna' refused: the proof is wrong"));
    assert_int_equal(login(&b, "anna", ""), AUTH_FAILED);
    end(&b);
}

static void methods(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    const struct auth_ops *ops = b.auth.base.ops;
    assert_true(ops->knows(&b.auth.base, SLICE("SCRAM-SHA-256")));
    assert_false(ops->knows(&b.auth.base, SLICE("SCRAM-SHA-256-PLUS")));
    assert_false(ops->knows(&b.auth.base, SLICE("SCRAM-SHA-25")));
    assert_false(ops->knows(&b.auth.base, SLICE("scram-sha-256")));
    assert_false(ops->knows(&b.auth.base, SLICE("SCRAM-SHA-1")));
    assert_false(ops->knows(&b.auth.base, SLICE("PLAIN")));
    assert_false(ops->knows(&b.auth.base, SLICE("")));
    end(&b);
}

/* RFC 4422: a peer may begin with nothing, to be asked; once. */
static void asked_first(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    add_user(&b, "anna", "sesame", 4096, 16);
    begin_talk(&b);
    assert_int_equal(step_text(&b, ""), AUTH_GO_ON);
    assert_int_equal(b.out.len, 0);
    assert_int_equal(step_text(&b, "n,,n=anna,r=x"), AUTH_GO_ON);
    assert_true(slice_starts_with(buf_slice(&b.out), SLICE("r=x")));
    begin_talk(&b);
    assert_int_equal(step_text(&b, ""), AUTH_GO_ON);
    assert_int_equal(step_text(&b, ""), AUTH_FAILED);
    end(&b);
}

static void bad_firsts(void **state)
{
    (void)state;
    static const struct {
        const char *in, *why;
    } rows[] = {
        {"n,,n=anna", "'' refused: the message is malformed"},
        {"p=tls-unique,,n=anna,r=x", "channel binding or an extension"},
        {"n,,m=x,n=anna,r=x", "channel binding or an extension"},
        {"n,a=root,n=anna,r=x", "it wants to act for another user"},
        {"garbage", "malformed"},
        {"\xff", "malformed"},
    };
    struct bench b;
    begin(&b);
    add_user(&b, "anna", "sesame", 4096, 16);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin_talk(&b);
        assert_int_equal(step_text(&b, rows[i].in), AUTH_FAILED);
        assert_non_null(strstr(b.logged, rows[i].why));
    }
    end(&b);
}

/* ---- what comes from another exchange ----------------------------------------------------------------------- */

static void replayed(void **state)
{
    (void)state;
    struct bench b;
    char first[256], final[256];
    begin(&b);
    add_user(&b, "anna", "sesame", 4096, 16);
    assert_int_equal(login(&b, "anna", "sesame"), AUTH_PROVEN);
    snprintf(final, sizeof(final), SLICE_FMT, SLICE_ARG(buf_slice(&b.in)));
    begin_talk(&b);
    snprintf(first, sizeof(first), "n,,n=anna,r=fyko+d2lbbFgONRv9qkxdawL"); /* the same nonce of the peer */
    assert_int_equal(step_text(&b, first), AUTH_GO_ON);
    assert_int_equal(step_text(&b, final), AUTH_FAILED);
    assert_non_null(strstr(b.logged, "nonce"));
    begin_talk(&b);
    assert_int_equal(step_text(&b, final), AUTH_FAILED); /* client-final first */
    begin_talk(&b);
    assert_int_equal(step_text(&b, first), AUTH_GO_ON);
    assert_int_equal(step_text(&b, first), AUTH_FAILED); /* client-first again */
    end(&b);
}

/* The gs2 header is signed: who turns "y" into "n" on the way is found out. */
static void changed_header(void **state)
{
    (void)state;
    struct bench b;
    struct scram_peer p;
    begin(&b);
    add_user(&b, "anna", "sesame", 4096, 16);
    scram_peer_init(&p, &b.mem, "anna", "sesame", "x");
    scram_peer_first(&p, &b.in);
    b.in.p[0] = 'y';
    begin_talk(&b);
    assert_int_equal(step(&b, buf_slice(&b.in)), AUTH_GO_ON);
    buf_clear(&b.in);
    assert_true(scram_peer_final(&p, buf_slice(&b.out), &b.in));
    assert_int_equal(step(&b, buf_slice(&b.in)), AUTH_FAILED);
    assert_non_null(strstr(b.logged, "channel binding"));
    scram_peer_fini(&p);
    end(&b);
}

static void nonces_differ(void **state)
{
    (void)state;
    struct bench b;
    char one[256];
    begin(&b);
    b.with.fill = NULL; /* the system's */
    assert_int_equal(scram_auth_init(&b.auth, &b.with), ERR_OK);
    begin_talk(&b);
    assert_int_equal(step_text(&b, "n,,n=x,r=x"), AUTH_GO_ON);
    snprintf(one, sizeof(one), SLICE_FMT, SLICE_ARG(buf_slice(&b.out)));
    assert_int_equal(strcspn(one, ","), strlen("r=x") + 24);
    begin_talk(&b);
    assert_int_equal(step_text(&b, "n,,n=x,r=x"), AUTH_GO_ON);
    assert_int_equal(b.out.len, strlen(one));
    assert_memory_not_equal(b.out.p, one, strlen("r=x") + 24);
    size_t salt_at = strcspn(one, ",");
    assert_memory_equal(b.out.p + salt_at, one + salt_at, strlen(one) - salt_at);
    end(&b);
}

/* ---- names cannot be probed --------------------------------------------------------------------------------- */

/* ask: the answer to a login's first message, without the nonce: ",s=...,i=...". */
static void ask(struct bench *b, const char *user, char *out, size_t cap)
{
    char first[128];
    snprintf(first, sizeof(first), "n,,n=%s,r=x", user);
    begin_talk(b);
    assert_int_equal(step_text(b, first), AUTH_GO_ON);
    snprintf(out, cap, SLICE_FMT, SLICE_ARG(slice_skip(buf_slice(&b->out), strlen("r=x") + 24)));
}

static void unknown_user(void **state)
{
    (void)state;
    struct bench b;
    char known[256], unknown[256], again[256];
    begin(&b);
    add_user(&b, "anna", "sesame", 5000, 16);
    ask(&b, "anna", known, sizeof(known));
    ask(&b, "nobody", unknown, sizeof(unknown));
    ask(&b, "nobody", again, sizeof(again));
    assert_string_equal(unknown, again);
    assert_string_not_equal(unknown, known);
    assert_int_equal(strlen(unknown), strlen(known));
    assert_string_equal(strstr(unknown, ",i="), strstr(known, ",i="));
    ask(&b, "nobody2", again, sizeof(again));
    assert_string_not_equal(unknown, again);
    uint64_t before = hash_calls;
    assert_int_equal(login(&b, "anna", "wrong"), AUTH_FAILED);
    uint64_t known_n = hash_calls - before;
    assert_int_equal(login(&b, "nobody", "wrong"), AUTH_FAILED);
    assert_int_equal(hash_calls - before, 2 * known_n); /* the same work */
    assert_non_null(strstr(b.logged, "user 'nobody' refused: there is no such user"));
    end(&b);
}

/* Made-up users have the iterations and salts of real ones, in the same mixture. */
static void unknown_users_look_alike(void **state)
{
    (void)state;
    struct bench b;
    char name[32], answer[256];
    unsigned short_n = 0;
    begin(&b);
    add_user(&b, "anna", "a", 4096, 16);
    add_user(&b, "bert", "b", 6000, 24);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "nobody%u", i);
        ask(&b, name, answer, sizeof(answer));
        bool is_short = strstr(answer, ",i=4096") != NULL;
        assert_true(is_short || strstr(answer, ",i=6000") != NULL);
        assert_int_equal(strcspn(answer + 1, ","), 2 + (is_short ? 24 : 32));
        short_n += is_short;
    }
    assert_in_range(short_n, 60, 140);
    end(&b);
}

static void nobody_at_all(void **state)
{
    (void)state;
    struct bench b;
    char answer[256];
    begin(&b);
    ask(&b, "anna", answer, sizeof(answer));
    assert_non_null(strstr(answer, ",i=15000"));
    assert_int_equal(login(&b, "anna", "sesame"), AUTH_FAILED);
    end(&b);
}

/* ---- what fails --------------------------------------------------------------------------------------------- */

static void out_of_memory(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    add_user(&b, "anna", "sesame", 4096, 16);
    uint64_t failed_n = 0;
    for (uint64_t at = 1;; at++) {
        struct scram_peer p;
        struct buf first, final;
        buf_init(&first, &b.mem);
        buf_init(&final, &b.mem);
        scram_peer_init(&p, &b.mem, "anna", "sesame", "x");
        scram_peer_first(&p, &first);
        b.heap.fail_at = b.heap.calls + at;
        begin_talk(&b);
        buf_fini(&b.out);
        enum auth_step s = b.talk == NULL ? AUTH_NOMEM : step(&b, buf_slice(&first));
        if (s == AUTH_GO_ON) {
            uint64_t left = b.heap.fail_at > b.heap.calls ? b.heap.fail_at - b.heap.calls : 0;
            b.heap.fail_at = 0;
            assert_true(scram_peer_final(&p, buf_slice(&b.out), &final));
            buf_fini(&b.out);
            b.heap.fail_at = left ? b.heap.calls + left : 0;
            s = step(&b, buf_slice(&final));
        }
        bool was_hit = b.heap.fail_at != 0 && b.heap.calls >= b.heap.fail_at;
        b.heap.fail_at = 0;
        scram_peer_fini(&p);
        buf_fini(&first);
        buf_fini(&final);
        end_talk(&b);
        if (s == AUTH_PROVEN) {
            assert_false(was_hit);
            break;
        }
        assert_int_equal(s, AUTH_NOMEM);
        failed_n++;
    }
    assert_in_range(failed_n, 5, 40);
    end(&b);
}

static void hash_out_of_memory(void **state)
{
    (void)state;
    struct bench b;
    struct scram_peer p;
    char final[256];
    begin(&b);
    add_user(&b, "anna", "sesame", 4096, 16);
    uint64_t failed_n = 0;
    for (uint64_t at = 1;; at++) {
        begin_talk(&b);
        scram_peer_init(&p, &b.mem, "anna", "sesame", "x");
        buf_clear(&b.in);
        scram_peer_first(&p, &b.in);
        hash_calls = 0;
        hash_fail_at = at;
        enum auth_step s = step(&b, buf_slice(&b.in));
        uint64_t done = hash_calls;
        hash_fail_at = 0;
        if (s == AUTH_GO_ON) {
            buf_clear(&b.in);
            assert_true(scram_peer_final(&p, buf_slice(&b.out), &b.in));
            snprintf(final, sizeof(final), SLICE_FMT, SLICE_ARG(buf_slice(&b.in)));
            hash_calls = done;
            hash_fail_at = at;
            s = step_text(&b, final);
            hash_fail_at = 0;
        }
        scram_peer_fini(&p);
        if (s == AUTH_PROVEN)
            break;
        assert_int_equal(s, AUTH_NOMEM);
        failed_n++;
    }
    assert_in_range(failed_n, 5, 40);
    end(&b);
}

static void no_random_bytes(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    add_user(&b, "anna", "sesame", 4096, 16);
    b.random_at = b.random_n + 1;
    assert_int_equal(login(&b, "anna", "sesame"), AUTH_FAILED);
    assert_non_null(strstr(b.logged, "no random bytes"));
    b.random_at = b.random_n + 1;
    assert_int_equal(scram_auth_init(&b.auth, &b.with), ERR_IO);
    end(&b);
}

/* end: at any time. */
static void ended_early(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    begin_talk(&b);
    end_talk(&b);
    begin_talk(&b);
    assert_int_equal(step_text(&b, "n,,n=anna,r=x"), AUTH_GO_ON);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proven),
        cmocka_unit_test(wrong_password),
        cmocka_unit_test(methods),
        cmocka_unit_test(asked_first),
        cmocka_unit_test(bad_firsts),
        cmocka_unit_test(replayed),
        cmocka_unit_test(changed_header),
        cmocka_unit_test(nonces_differ),
        cmocka_unit_test(unknown_user),
        cmocka_unit_test(unknown_users_look_alike),
        cmocka_unit_test(nobody_at_all),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(hash_out_of_memory),
        cmocka_unit_test(no_random_bytes),
        cmocka_unit_test(ended_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
