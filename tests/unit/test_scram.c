/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_scram.c: SCRAM's messages and arithmetic: the example of RFC 7677, every malformed message, Base64.
 *
 * Messages are fed from a buffer that ends at a forbidden page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "auth/b64.h"
#include "auth/scram.h"
#include "auth/scram_verifier.h"
#include "core/base/rng.h"
#include "tests/support/guard.h"

/* RFC 7677 §3: user "user", password "pencil". */
#define FIRST        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
#define OUR_NONCE    "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define BOTH         "rOprNGfwEbeRWgbNEkqO" OUR_NONCE
#define SALT         "W22ZaJ0SNY7soEsUEjb6gQ=="
#define FIRST_ANSWER "r=" BOTH ",s=" SALT ",i=4096"
#define UNSIGNED     "c=biws,r=" BOTH
#define PROOF        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define FINAL        UNSIGNED ",p=" PROOF
#define FINAL_ANSWER "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
#define MESSAGE      "n=user,r=rOprNGfwEbeRWgbNEkqO," FIRST_ANSWER "," UNSIGNED

struct bench {
    struct mem_heap heap;
    struct mem mem;
    struct buf out;
};

static void begin(struct bench *b)
{
    mem_heap_init(&b->heap);
    mem_init(&b->mem, &b->heap, "test");
    buf_init(&b->out, &b->mem);
}

static void end(struct bench *b)
{
    buf_fini(&b->out);
    assert_int_equal(b->heap.bytes, 0);
}

static void said(struct bench *b, const char *expected)
{
    assert_false(buf_is_bad(&b->out));
    if (!slice_eq_str(buf_slice(&b->out), expected))
        fail_msg("'" SLICE_FMT "' instead of '%s'", SLICE_ARG(buf_slice(&b->out)), expected);
    buf_clear(&b->out);
}

static void pencil(struct scram_verifier *out)
{
    uint8_t salt[16];
    assert_int_equal(b64_get(SLICE(SALT), salt, sizeof(salt)), 16);
    assert_int_equal(scram_verifier_make(SLICE("pencil"), slice_make(salt, 16), 4096, out), ERR_OK);
}

/* ---- the example -------------------------------------------------------------------------------------------- */

static void example_first(void **state)
{
    (void)state;
    struct bench b;
    struct scram_first f;
    struct scram_verifier v;
    begin(&b);
    pencil(&v);
    assert_int_equal(scram_first_parse(SLICE(FIRST), &f), ERR_OK);
    assert_true(slice_eq_str(f.gs2, "n,,"));
    assert_true(slice_eq_str(f.bare, "n=user,r=rOprNGfwEbeRWgbNEkqO"));
    assert_true(slice_eq_str(f.user, "user"));
    scram_first_answer(f.nonce, SLICE(OUR_NONCE), &v, &b.out);
    said(&b, FIRST_ANSWER);
    end(&b);
}

static void example_final(void **state)
{
    (void)state;
    struct bench b;
    struct scram_final f;
    struct scram_verifier v;
    uint8_t signature[SCRAM_KEY_BYTES];
    begin(&b);
    pencil(&v);
    assert_int_equal(scram_final_parse(SLICE(FINAL), &f), ERR_OK);
    assert_true(slice_eq_str(f.unsigned_part, UNSIGNED));
    assert_int_equal(scram_final_check(&f, SLICE("n,,"), SLICE(BOTH)), ERR_OK);
    assert_int_equal(scram_verifier_check(&v, SLICE(MESSAGE), f.proof), ERR_OK);
    assert_int_equal(scram_verifier_sign(&v, SLICE(MESSAGE), signature), ERR_OK);
    scram_final_answer(signature, &b.out);
    said(&b, FINAL_ANSWER);
    end(&b);
}

/* Every bit of the proof, and of what was signed, counts. */
static void wrong_proof(void **state)
{
    (void)state;
    struct scram_final f;
    struct scram_verifier v;
    char message[] = MESSAGE;
    pencil(&v);
    assert_int_equal(scram_final_parse(SLICE(FINAL), &f), ERR_OK);
    for (unsigned i = 0; i < 8 * SCRAM_KEY_BYTES; i++) {
        f.proof[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(scram_verifier_check(&v, SLICE(MESSAGE), f.proof), ERR_DENIED);
        f.proof[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t i = 0; i < sizeof(message) - 1; i++) {
        message[i] ^= 1;
        assert_int_equal(scram_verifier_check(&v, slice_from_str(message), f.proof), ERR_DENIED);
        message[i] ^= 1;
    }
    memset(f.proof, 0, sizeof(f.proof));
    assert_int_equal(scram_verifier_check(&v, SLICE(MESSAGE), f.proof), ERR_DENIED);
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

struct message {
    const char *text;
    enum err err;
};

static const struct message firsts[] = {
    {FIRST, ERR_OK},
    {"y,,n=user,r=x", ERR_OK},
    {"n,a=user,n=user,r=x", ERR_OK},
    {"y,a=u=2Cv,n=u=2Cv,r=x", ERR_OK},
    {"n,,n=user,r=x,z=more,Y=still more", ERR_OK},
    {"n,,n=\xc3\xa4,r=!~", ERR_OK},
    {"p=tls-unique,,n=user,r=x", ERR_UNSUPPORTED},
    {"p=,,n=user,r=x", ERR_UNSUPPORTED},
    {"n,,m=must,n=user,r=x", ERR_UNSUPPORTED},
    {"n,a=root,n=user,r=x", ERR_DENIED},
    {"n,a=user2,n=user,r=x", ERR_DENIED},
    {"n,a=use,n=user,r=x", ERR_DENIED},
    {"", ERR_MALFORMED},
    {"n", ERR_MALFORMED},
    {"n,", ERR_MALFORMED},
    {"n,,", ERR_MALFORMED},
    {"N,,n=user,r=x", ERR_MALFORMED},
    {"x,,n=user,r=x", ERR_MALFORMED},
    {"p,,n=user,r=x", ERR_MALFORMED},
    {"nn,,n=user,r=x", ERR_MALFORMED},
    {",,n=user,r=x", ERR_MALFORMED},
    {"n=user,r=x", ERR_MALFORMED},
    {"n,a=,n=user,r=x", ERR_MALFORMED},
    {"n,a=user", ERR_MALFORMED},
    {"n,a=u=,n=u=,r=x", ERR_MALFORMED},
    {"n,b=user,n=user,r=x", ERR_MALFORMED},
    {"n,user,n=user,r=x", ERR_MALFORMED},
    {"n,,n=user", ERR_MALFORMED},
    {"n,,n=user,", ERR_MALFORMED},
    {"n,,n=user,r=", ERR_MALFORMED},
    {"n,,n=,r=x", ERR_MALFORMED},
    {"n,,n,r=x", ERR_MALFORMED},
    {"n,,r=x,n=user", ERR_MALFORMED},
    {"n,,r=x", ERR_MALFORMED},
    {"n,,N=user,r=x", ERR_MALFORMED},
    {"n,,n=us=er,r=x", ERR_MALFORMED},
    {"n,,n=user=,r=x", ERR_MALFORMED},
    {"n,,n=user=2,r=x", ERR_MALFORMED},
    {"n,,n=user=2c,r=x", ERR_MALFORMED},
    {"n,,n=user=3d,r=x", ERR_MALFORMED},
    {"n,,n=user=41,r=x", ERR_MALFORMED},
    {"n,,n=user,r=a b", ERR_MALFORMED},
    {"n,,n=user,r=a\x7f", ERR_MALFORMED},
    {"n,,n=user,r=\xc3\xa4", ERR_MALFORMED},
    {"n,,n=user,r=x,", ERR_MALFORMED},
    {"n,,n=user,r=x,z", ERR_MALFORMED},
    {"n,,n=user,r=x,z=", ERR_MALFORMED},
    {"n,,n=user,r=x,1=z", ERR_MALFORMED},
    {"n,,n=user,r=x,z=a=b", ERR_MALFORMED},
    {"n,,n=user,r=x,m=must", ERR_MALFORMED},
    {"n,,n=user,r=x,,z=a", ERR_MALFORMED},
    {"n,,n=us\xffr,r=x", ERR_MALFORMED},
    {"n,,n=us\xc3,r=x", ERR_MALFORMED},
    {"n,,n=us\xed\xa0\x80,r=x", ERR_MALFORMED},
};

static const struct message finals[] = {
    {FINAL, ERR_OK},
    {"c=biws,r=x,z=more,y=more,p=" PROOF, ERR_OK},
    {"c=AA==,r=x,p=" PROOF, ERR_OK},
    {"", ERR_MALFORMED},
    {"c=biws", ERR_MALFORMED},
    {"c=biws,r=x", ERR_MALFORMED},
    {"c=biws,r=x,", ERR_MALFORMED},
    {"c=biws,r=x,p", ERR_MALFORMED},
    {"c=biws,r=x,p=", ERR_MALFORMED},
    {"c=biws,r=x,z=a", ERR_MALFORMED},
    {"c=biws,p=" PROOF, ERR_MALFORMED},
    {"r=x,c=biws,p=" PROOF, ERR_MALFORMED},
    {"c=,r=x,p=" PROOF, ERR_MALFORMED},
    {"c=biws,r=,p=" PROOF, ERR_MALFORMED},
    {"c=biws,r=a b,p=" PROOF, ERR_MALFORMED},
    {"c=biws,r=x,p=" PROOF ",", ERR_MALFORMED},
    {"c=biws,r=x,p=" PROOF ",z=a", ERR_MALFORMED},
    {"c=biws,r=x,m=a,p=" PROOF, ERR_MALFORMED},
    {"c=biws,r=x,z=a=b,p=" PROOF, ERR_MALFORMED},
    {"c=biws,r=x,p=biws", ERR_MALFORMED},
    {"c=biws,r=x,p=!!!!", ERR_MALFORMED},
    {"c=biws,r=x,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ", ERR_MALFORMED},
    {"c=biws,r=x,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVR=", ERR_MALFORMED},
    {"c=biws,r=x,p=AHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=AAAA", ERR_MALFORMED},
    {"c=biws,r=x,p=AAAAdHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", ERR_MALFORMED},
    {"c=biws,r=\xff,p=" PROOF, ERR_MALFORMED},
};

static void message_tables(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
        struct scram_first f;
        struct slice in = guard_slice(slice_from_str(firsts[i].text));
        enum err e = scram_first_parse(in, &f);
        if (e != firsts[i].err)
            fail_msg("client-first '%s': %s", firsts[i].text, err_text(e));
        if (e == ERR_OK)
            assert_int_equal(f.gs2.len + f.bare.len, in.len);
        guard_free((void *)(uintptr_t)in.p);
    }
    for (size_t i = 0; i < sizeof(finals) / sizeof(finals[0]); i++) {
        struct scram_final f;
        struct slice in = guard_slice(slice_from_str(finals[i].text));
        enum err e = scram_final_parse(in, &f);
        if (e != finals[i].err)
            fail_msg("client-final '%s': %s", finals[i].text, err_text(e));
        guard_free((void *)(uintptr_t)in.p);
    }
}

/* No message is right when it is cut short, and none with a NUL in it. */
static void cut_and_nul(void **state)
{
    (void)state;
    struct scram_first f;
    struct scram_final l;
    char text[sizeof(FINAL)];
    for (size_t n = 0; n < sizeof("n,,n=user,r=") - 1; n++)
        assert_int_equal(scram_first_parse(slice_make(FIRST, n), &f), ERR_MALFORMED);
    for (size_t n = 0; n < sizeof(FINAL) - 1; n++)
        assert_int_equal(scram_final_parse(slice_make(FINAL, n), &l), ERR_MALFORMED);
    for (size_t n = 0; n < sizeof(FIRST) - 1; n++) {
        memcpy(text, FIRST, sizeof(FIRST));
        text[n] = 0;
        assert_int_equal(scram_first_parse(slice_make(text, sizeof(FIRST) - 1), &f), ERR_MALFORMED);
    }
    for (size_t n = 0; n < sizeof(FINAL) - 1; n++) {
        memcpy(text, FINAL, sizeof(FINAL));
        text[n] = 0;
        assert_int_equal(scram_final_parse(slice_make(text, sizeof(FINAL) - 1), &l), ERR_MALFORMED);
    }
}

static void too_long(void **state)
{
    (void)state;
    struct bench b;
    struct scram_first f;
    struct scram_final l;
    begin(&b);
    buf_put_str(&b.out, "n,,n=u,r=");
    while (b.out.len < SCRAM_MESSAGE_MAX)
        buf_put_u8(&b.out, 'x');
    assert_int_equal(scram_first_parse(buf_slice(&b.out), &f), ERR_OK);
    buf_put_u8(&b.out, 'x');
    assert_int_equal(scram_first_parse(buf_slice(&b.out), &f), ERR_TOO_BIG);
    assert_int_equal(scram_final_parse(buf_slice(&b.out), &l), ERR_TOO_BIG);
    end(&b);
}

/* c= repeats the gs2 header, r= both nonces: what belongs to another exchange is refused. */
static void final_of_another(void **state)
{
    (void)state;
    struct scram_final f;
    assert_int_equal(scram_final_parse(SLICE(FINAL), &f), ERR_OK);
    assert_int_equal(scram_final_check(&f, SLICE("n,,"), SLICE(BOTH)), ERR_OK);
    assert_int_equal(scram_final_check(&f, SLICE("y,,"), SLICE(BOTH)), ERR_DENIED);
    assert_int_equal(scram_final_check(&f, SLICE("n,a=user,"), SLICE(BOTH)), ERR_DENIED);
    assert_int_equal(scram_final_check(&f, SLICE("n,"), SLICE(BOTH)), ERR_DENIED);
    assert_int_equal(scram_final_check(&f, SLICE("n,,"), SLICE(BOTH "x")), ERR_DENIED);
    assert_int_equal(scram_final_check(&f, SLICE("n,,"), SLICE("rOprNGfwEbeRWgbNEkqO")), ERR_DENIED);
    assert_int_equal(scram_final_check(&f, SLICE("n,,"), SLICE("")), ERR_DENIED);
    assert_int_equal(scram_final_parse(SLICE("c=biw,r=" BOTH ",p=" PROOF), &f), ERR_OK);
    assert_int_equal(scram_final_check(&f, SLICE("n,,"), SLICE(BOTH)), ERR_DENIED);
}

static void user_names(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"user", "user"},        {"=2C", ","},     {"=3D", "="},
                                           {"a=2Cb=3Dc", "a,b=c"},  {"=3D2C", "=2C"}, {"=3D=2C=3D", "=,="},
                                           {"\xc3\xa4", "\xc3\xa4"}};
    struct bench b;
    begin(&b);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        scram_user(slice_from_str(names[i][0]), &b.out);
        said(&b, names[i][1]);
    }
    end(&b);
}

/* ---- verifiers ---------------------------------------------------------------------------------------------- */

/* The text form of the example, with keys worked out by another implementation (Python's hashlib). */
#define PENCIL                                                                                                         \
    "SCRAM-SHA-256$4096:" SALT                                                                                         \
    "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void text_form(void **state)
{
    (void)state;
    struct bench b;
    struct scram_verifier v, again;
    const char *why = "";
    begin(&b);
    pencil(&v);
    scram_verifier_put(&v, &b.out);
    said(&b, PENCIL);
    assert_int_equal(scram_verifier_parse(SLICE(PENCIL), &again, &why), ERR_OK);
    assert_memory_equal(&v, &again, sizeof(v));
    end(&b);
}

static void decoys(void **state)
{
    (void)state;
    static const uint8_t secret[SCRAM_KEY_BYTES] = "a secret", other[SCRAM_KEY_BYTES] = "another";
    struct scram_verifier like = {.iterations = 5000, .salt_n = 24}, a, b;
    assert_int_equal(scram_verifier_decoy(secret, SLICE("anna"), &like, &a), ERR_OK);
    assert_int_equal(a.iterations, 5000);
    assert_int_equal(a.salt_n, 24);
    assert_int_equal(scram_verifier_decoy(secret, SLICE("anna"), &like, &b), ERR_OK);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(scram_verifier_decoy(secret, SLICE("annb"), &like, &b), ERR_OK);
    assert_memory_not_equal(a.salt, b.salt, 24);
    assert_int_equal(scram_verifier_decoy(other, SLICE("anna"), &like, &b), ERR_OK);
    assert_memory_not_equal(a.salt, b.salt, 24);
    assert_memory_not_equal(a.stored_key, b.stored_key, SCRAM_KEY_BYTES);
    assert_memory_not_equal(a.stored_key, a.server_key, SCRAM_KEY_BYTES);
}

/* ---- Base64 ------------------------------------------------------------------------------------------------- */

static void base64_vectors(void **state)
{
    (void)state;
    /* RFC 4648 §10 */
    static const char *const v[][2] = {{"", ""},
                                       {"f", "Zg=="},
                                       {"fo", "Zm8="},
                                       {"foo", "Zm9v"},
                                       {"foob", "Zm9vYg=="},
                                       {"fooba", "Zm9vYmE="},
                                       {"foobar", "Zm9vYmFy"}};
    static const char *const bad[] = {
        "Z",    "Zg",   "Zg=",  "Z===",    "====",     "Zh==",    "Zm9=",      "Zg==Zg==", "Zm9v ", " Zm9v", "Zm9v\n",
        "Zm-v", "Zm_v", "Zg=A", "Zm9vZg=", "Zm9v====", "Zm\xc3v", "Zm9vYg==x", "Zm9vYg=x", "=m9v",  "Z=9v"};
    struct bench b;
    uint8_t out[8];
    begin(&b);
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        b64_put(&b.out, slice_from_str(v[i][0]));
        said(&b, v[i][1]);
        ptrdiff_t n = b64_get(slice_from_str(v[i][1]), out, sizeof(out));
        assert_int_equal(n, strlen(v[i][0]));
        assert_memory_equal(out, v[i][0], (size_t)n);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(b64_get(slice_from_str(bad[i]), out, sizeof(out)), -ERR_MALFORMED);
    assert_int_equal(b64_get(SLICE("Zm9vYmFy"), out, 5), -ERR_TOO_BIG);
    assert_int_equal(b64_get(SLICE("Zm9vYmFy"), out, 6), 6);
    end(&b);
}

static void base64_random(void **state)
{
    (void)state;
    struct rng r;
    struct bench b;
    uint8_t bytes[100], again[100];
    rng_init(&r, 7);
    begin(&b);
    for (unsigned round = 0; round < 2000; round++) {
        size_t n = rng_u64(&r) % sizeof(bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)rng_u64(&r);
        buf_clear(&b.out);
        b64_put(&b.out, slice_make(bytes, n));
        assert_int_equal(b64_get(buf_slice(&b.out), again, n), n);
        assert_memory_equal(bytes, again, n);
    }
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_first),    cmocka_unit_test(example_final),  cmocka_unit_test(wrong_proof),
        cmocka_unit_test(message_tables),   cmocka_unit_test(cut_and_nul),    cmocka_unit_test(too_long),
        cmocka_unit_test(final_of_another), cmocka_unit_test(user_names),     cmocka_unit_test(text_form),
        cmocka_unit_test(decoys),           cmocka_unit_test(base64_vectors), cmocka_unit_test(base64_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
