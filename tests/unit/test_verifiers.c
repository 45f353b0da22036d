/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_verifiers.c: files of verifiers: what is read, and every mistake with its line.
 */
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

#include "auth/verifiers.h"
#include "core/base/buf.h"

#define SALT   "W22ZaJ0SNY7soEsUEjb6gQ=="
#define STORED "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SERVER "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define KEYS   "$" STORED ":" SERVER
#define V      "SCRAM-SHA-256$4096:" SALT KEYS
#define A51    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A255   A51 A51 A51 A51 A51

struct bench {
    struct mem_heap heap;
    struct mem mem;
    struct verifiers v;
    char why[512];
};

static void begin(struct bench *b)
{
    *b = (struct bench){.why = ""};
    mem_heap_init(&b->heap);
    mem_init(&b->mem, &b->heap, "test");
    verifiers_init(&b->v, &b->mem, 1);
}

static void end(struct bench *b)
{
    verifiers_fini(&b->v);
    assert_int_equal(b->heap.bytes, 0);
}

/* ---- what is read ------------------------------------------------------------------------------------------- */

static void several(void **state)
{
    (void)state;
    struct bench b;
    begin(&b);
    static const char text[] =
        "# users\n\nanna:" V "\r\n#bert:" V "\na b, c=d:SCRAM-SHA-256$15000:AAECAwQFBgc=" KEYS "\n\xc3\xa4:" V;
    assert_int_equal(verifiers_parse(&b.v, "f", SLICE(text), b.why, sizeof(b.why)), ERR_OK);
    assert_int_equal(verifiers_n(&b.v), 3);
    const struct verifier *anna = verifiers_get(&b.v, SLICE("anna"));
    assert_non_null(anna);
    assert_int_equal(anna->scram.iterations, 4096);
    assert_int_equal(anna->scram.salt_n, 16);
    assert_int_equal(anna->line, 3);
    const struct verifier *other = verifiers_get(&b.v, SLICE("a b, c=d"));
    assert_non_null(other);
    assert_int_equal(other->scram.iterations, 15000);
    assert_int_equal(other->scram.salt_n, 8);
    assert_memory_equal(other->scram.salt, "\0\1\2\3\4\5\6\7", 8);
    assert_memory_equal(other->scram.stored_key, anna->scram.stored_key, SCRAM_KEY_BYTES);
    assert_memory_not_equal(anna->scram.stored_key, anna->scram.server_key, SCRAM_KEY_BYTES);
    assert_non_null(verifiers_get(&b.v, SLICE("\xc3\xa4")));
    assert_null(verifiers_get(&b.v, SLICE("bert")));
    assert_null(verifiers_get(&b.v, SLICE("")));
    assert_null(verifiers_get(&b.v, SLICE("Anna")));
    assert_ptr_equal(b.v.all[1], other);
    map_check(&b.v.by_user);
    end(&b);
}

static void many(void **state)
{
    (void)state;
    struct bench b;
    struct buf text;
    char name[32];
    begin(&b);
    buf_init(&text, &b.mem);
    for (unsigned i = 0; i < 1000; i++)
        buf_printf(&text, "user%u:" V "\n", i);
    assert_int_equal(verifiers_parse(&b.v, "f", buf_slice(&text), b.why, sizeof(b.why)), ERR_OK);
    assert_int_equal(verifiers_n(&b.v), 1000);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "user%u", i);
        assert_ptr_equal(verifiers_get(&b.v, slice_from_str(name)), b.v.all[i]);
    }
    buf_fini(&text);
    end(&b);
}

/* ---- mistakes ----------------------------------------------------------------------------------------------- */

#define FORM  "the verifier is not SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>"
#define ITER  "the iterations are not a number from 4096 to 10000000"
#define SALTY "the salt is not 8 to 64 bytes in Base64"

static const struct {
    const char *text, *why;
} mistakes[] = {
    {"anna", "f:1: there is no colon; a line is USER:VERIFIER, as weir --scram-user USER prints it"},
    {"# x\n\nan\x01na:" V, "f:3: the user name has a control character"},
    {":" V, "f:1: the user name is empty"},
    {" anna:" V, "f:1: the user name begins or ends with a space"},
    {"anna :" V, "f:1: the user name begins or ends with a space"},
    {"an\tna:" V, "f:1: the user name has a control character"},
    {"an\x7fna:" V, "f:1: the user name has a control character"},
    {"an\xffna:" V, "f:1: the user name is not UTF-8"},
    {"a" A255 ":" V, "f:1: the user name is longer than 255 bytes"},
    {A255 ":" V, ""},
    {"anna:" V "\nbert:" V "\nanna:" V, "f:3: the user stands in line 1 already; keep one of the two lines"},
    {"anna:", "f:1: the verifier does not begin with SCRAM-SHA-256$"},
    {"anna:secret", "f:1: the verifier does not begin with SCRAM-SHA-256$"},
    {"anna:$7$101$salt$hash", "f:1: the verifier does not begin with SCRAM-SHA-256$"},
    {"anna:SCRAM-SHA-1$4096:" SALT KEYS, "f:1: the verifier does not begin with SCRAM-SHA-256$"},
    {"anna: " V, "f:1: the verifier does not begin with SCRAM-SHA-256$"},
    {"anna:SCRAM-SHA-256$", "f:1: " FORM},
    {"anna:SCRAM-SHA-256$4096", "f:1: " FORM},
    {"anna:SCRAM-SHA-256$4096:" SALT, "f:1: " FORM},
    {"anna:SCRAM-SHA-256$4096:" SALT "$" STORED, "f:1: " FORM},
    {"anna:SCRAM-SHA-256$:" SALT KEYS, "f:1: " ITER},
    {"anna:SCRAM-SHA-256$4095:" SALT KEYS, "f:1: " ITER},
    {"anna:SCRAM-SHA-256$0:" SALT KEYS, "f:1: " ITER},
    {"anna:SCRAM-SHA-256$04096:" SALT KEYS, "f:1: " ITER},
    {"anna:SCRAM-SHA-256$-4096:" SALT KEYS, "f:1: " ITER},
    {"anna:SCRAM-SHA-256$4096x:" SALT KEYS, "f:1: " ITER},
    {"anna:SCRAM-SHA-256$10000001:" SALT KEYS, "f:1: " ITER},
    {"anna:SCRAM-SHA-256$4294971392:" SALT KEYS, "f:1: " ITER},
    {"anna:SCRAM-SHA-256$10000000:" SALT KEYS, ""},
    {"anna:SCRAM-SHA-256$4096:" KEYS, "f:1: " SALTY},
    {"anna:SCRAM-SHA-256$4096:AAECAwQFBg==" KEYS, "f:1: " SALTY},
    {"anna:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ" KEYS, "f:1: " SALTY},
    {"anna:SCRAM-SHA-256$4096:" SALT "$" STORED ":", "f:1: the ServerKey is not 32 bytes in Base64"},
    {"anna:SCRAM-SHA-256$4096:" SALT "$" SALT ":" SERVER, "f:1: the StoredKey is not 32 bytes in Base64"},
    {"anna:SCRAM-SHA-256$4096:" SALT "$" STORED ":" SALT, "f:1: the ServerKey is not 32 bytes in Base64"},
    {"anna:" V " ", "f:1: the ServerKey is not 32 bytes in Base64"},
    {"anna:" V ":x", "f:1: the ServerKey is not 32 bytes in Base64"},
    {"anna:" V "AAAA", "f:1: the ServerKey is not 32 bytes in Base64"},
};

static void every_mistake(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct bench b;
        begin(&b);
        enum err e = verifiers_parse(&b.v, "f", slice_from_str(mistakes[i].text), b.why, sizeof(b.why));
        assert_string_equal(b.why, mistakes[i].why);
        bool is_twice = strstr(mistakes[i].why, "already") != NULL;
        assert_int_equal(e, *mistakes[i].why == 0 ? ERR_OK : is_twice ? ERR_EXISTS : ERR_MALFORMED);
        end(&b);
    }
}

/* No line is right when it is cut short. */
static void cut_short(void **state)
{
    (void)state;
    static const char line[] = "anna:" V;
    for (size_t n = 1; n < sizeof(line) - 1; n++) {
        struct bench b;
        begin(&b);
        assert_int_equal(verifiers_parse(&b.v, "f", slice_make(line, n), b.why, sizeof(b.why)), ERR_MALFORMED);
        assert_int_equal(verifiers_n(&b.v), 0);
        end(&b);
    }
}

static void out_of_memory(void **state)
{
    (void)state;
    static const char text[] = "anna:" V "\nbert:" V "\n";
    for (uint64_t at = 1;; at++) {
        struct bench b;
        begin(&b);
        b.heap.fail_at = at;
        enum err e = verifiers_parse(&b.v, "f", SLICE(text), b.why, sizeof(b.why));
        end(&b);
        if (e == ERR_OK) {
            assert_in_range(at, 4, 20);
            break;
        }
        assert_int_equal(e, ERR_NOMEM);
        assert_string_equal(b.why, "f: out of memory");
    }
}

/* ---- files -------------------------------------------------------------------------------------------------- */

static void files(void **state)
{
    (void)state;
    struct bench b;
    char path[] = "/tmp/weir-verifiers-XXXXXX", expected[128];
    int fd = mkstemp(path);
    assert_int_not_equal(fd, -1);
    static const char text[] = "anna:" V "\nbert\n";
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    begin(&b);
    assert_int_equal(verifiers_load(&b.v, path, b.why, sizeof(b.why)), ERR_MALFORMED);
    snprintf(expected, sizeof(expected), "%s:2: there is no colon", path);
    assert_int_equal(strncmp(b.why, expected, strlen(expected)), 0);
    end(&b);
    assert_int_equal(truncate(path, sizeof(text) - 1 - 5), 0);
    begin(&b);
    assert_int_equal(verifiers_load(&b.v, path, b.why, sizeof(b.why)), ERR_OK);
    assert_int_equal(verifiers_n(&b.v), 1);
    end(&b);
    begin(&b);
    b.heap.fail_at = 1;
    assert_int_equal(verifiers_load(&b.v, path, b.why, sizeof(b.why)), ERR_NOMEM);
    end(&b);
    unlink(path);
    begin(&b);
    assert_int_equal(verifiers_load(&b.v, path, b.why, sizeof(b.why)), ERR_IO);
    snprintf(expected, sizeof(expected), "%s: cannot be read: No such file or directory", path);
    assert_string_equal(b.why, expected);
    assert_int_equal(verifiers_load(&b.v, "/tmp", b.why, sizeof(b.why)), ERR_IO);
    assert_string_equal(b.why, "/tmp: cannot be read: Is a directory");
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several),   cmocka_unit_test(many),  cmocka_unit_test(every_mistake),
        cmocka_unit_test(cut_short), cmocka_unit_test(files), cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
