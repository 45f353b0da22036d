/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_scram_user.c: weir --scram-user: what is read as a password, and the line that is made of it. Terminals are in
 * tests/e2e/test_cli.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/scram_user.h"
#include "auth/verifiers.h"

/* read_from: what scram_user_read makes of the bytes; the rest of the pipe is thrown away. */
static ptrdiff_t read_from(const char *bytes, size_t n, char *out, char *why, size_t cap)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(write(fd[1], bytes, n), n);
    close(fd[1]);
    *why = 0;
    ptrdiff_t got = scram_user_read(fd[0], out, why, cap);
    close(fd[0]);
    return got;
}

static void test_reading(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *password;
    } rows[] = {{"pencil\n", "pencil"},
                {"pencil", "pencil"},
                {"pencil\r\n", "pencil"},
                {"pencil\nmore\n", "pencil"},
                {" a b \n", " a b "},
                {"\n", ""},
                {"\r\n", ""},
                {"", ""},
                {"a\rb\n", "a\rb"}};
    char out[SCRAM_PASSWORD_MAX], why[256], many[SCRAM_PASSWORD_MAX + 1];
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        ptrdiff_t n = read_from(rows[i].bytes, strlen(rows[i].bytes), out, why, sizeof(why));
        assert_int_equal(n, strlen(rows[i].password));
        assert_memory_equal(out, rows[i].password, (size_t)n);
    }
    memset(many, 'x', sizeof(many));
    assert_int_equal(read_from(many, SCRAM_PASSWORD_MAX - 1, out, why, sizeof(why)), SCRAM_PASSWORD_MAX - 1);
    assert_int_equal(read_from(many, SCRAM_PASSWORD_MAX, out, why, sizeof(why)), -ERR_TOO_BIG);
    assert_string_equal(why, "the password is longer than 1023 bytes");
    assert_int_equal(read_from(many, sizeof(many), out, why, sizeof(why)), -ERR_TOO_BIG);
    assert_int_equal(scram_user_read(-1, out, why, sizeof(why)), -ERR_IO);
    assert_string_equal(why, "the password cannot be read: Bad file descriptor");
}

static void test_line(void **state)
{
    (void)state;
    struct mem_heap heap;
    struct mem mem;
    struct buf out;
    struct verifiers v;
    char why[256] = "";
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "test");
    buf_init(&out, &mem);
    verifiers_init(&v, &mem, 1);
    for (unsigned i = 0; i < 2; i++) {
        buf_put_str(&out, "\n");
        struct slice name = i == 0 ? SLICE("anna") : SLICE("bert, =");
        assert_int_equal(scram_user_line(name, SLICE(" pass=, word~"), 4096, &out, why, sizeof(why)), ERR_OK);
    }
    assert_int_equal(verifiers_parse(&v, "f", buf_slice(&out), why, sizeof(why)), ERR_OK);
    const struct verifier *anna = verifiers_get(&v, SLICE("anna")), *bert = verifiers_get(&v, SLICE("bert, ="));
    assert_true(anna != NULL && bert != NULL && anna->scram.iterations == 4096 && anna->scram.salt_n == 16);
    assert_memory_not_equal(anna->scram.salt, bert->scram.salt, 16);
    struct scram_verifier again;
    struct slice salt = slice_make(anna->scram.salt, 16);
    assert_int_equal(scram_verifier_make(SLICE(" pass=, word~"), salt, 4096, &again), ERR_OK);
    assert_memory_equal(&again, &anna->scram, sizeof(again));
    verifiers_fini(&v);
    buf_fini(&out);
    assert_int_equal(heap.bytes, 0);
}

static void test_lines_that_cannot_be(void **state)
{
    (void)state;
    static const struct {
        const char *name, *password, *why;
    } rows[] = {
        {"", "x", "the user name is empty"},
        {"a:b", "x", "the user name has a colon"},
        {"a", "", "the password is empty"},
        {"a", "x\ty", "the password has a control character"},
        {"a", "x\x7f", "the password has a control character"},
        {"a", "x\x80",
         "the password has a letter beyond ASCII, which could be written in more than one way (SASLprep is not built); "
         "use printable ASCII"},
    };
    struct mem_heap heap;
    struct mem mem;
    struct buf out;
    char why[256];
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "test");
    buf_init(&out, &mem);
    for (size_t i = 0; i < ARRAY_N(rows); i++) {
        enum err e = scram_user_line(slice_from_str(rows[i].name), slice_from_str(rows[i].password), 4096, &out, why,
                                     sizeof(why));
        assert_int_equal(e, ERR_INVALID);
        assert_string_equal(why, rows[i].why);
        assert_int_equal(out.len, 0);
    }
    heap.fail_at = 1;
    assert_int_equal(scram_user_line(SLICE("a"), SLICE("x"), 4096, &out, why, sizeof(why)), ERR_NOMEM);
    assert_string_equal(why, "out of memory");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_lines_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
