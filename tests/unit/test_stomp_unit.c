/* SPDX-License-Identifier: Apache-2.0 */
/* test_stomp_unit.c: where a frame of ours ends; the frames are made by stomp_wire.h's writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/base/slice.h"
#include "proto_stomp/stomp_unit.h"
#include "proto_stomp/stomp_wire.h"
#include "tests/support/guard.h"

static size_t unit_of(struct slice s)
{
    uint8_t *bytes = guard_bytes(s.p, s.len);
    size_t n = stomp_unit_bytes(bytes, s.len);
    guard_free(bytes);
    return n;
}

static void test_rows(void **state)
{
    UNUSED(state);
    const struct {
        struct slice head;
        size_t n;
    } rows[] = {
        {SLICE("\n"), 1},
        {SLICE("\nMESSAGE\n"), 1}, /* a heart-beat in front of a frame */
        {SLICE("RECEIPT\nreceipt-id:7\n\n"), 23},
        {SLICE("RECEIPT\nreceipt-id:7\n\n\0MESSAGE\n"), 23},
        {SLICE("MESSAGE\ncontent-length:0\n\n"), 27},
        {SLICE("MESSAGE\ncontent-length:5\n\nhel"), 32}, /* what is announced, whatever is there */
        {SLICE("MESSAGE\ncontent-length:268435456\na:b\n\n"), 33 + 4 + 1 + 268435456 + 1},
        {SLICE("MESSAGE\nuser.content-length:9\ncontent-lengths:8\n\n"), 50},
        {SLICE("MESSAGE\nx:content-length:9\n\n"), 29},
        {SLICE("MESSAGE\ncontent-length:5\n"), 0}, /* the blank line is not there */
        {SLICE("MESSAGE\ncontent-len"), 0},
        {SLICE("MESSAGE\ncontent-length:\n\n"), 0}, /* no frame of ours */
        {SLICE("MESSAGE\ncontent-length:-1\n\n"), 0},
        {SLICE("MESSAGE\ncontent-length:12345678901234567890\n\n"), 0},
        {SLICE(""), 0},
    };
    for (unsigned i = 0; i < ARRAY_N(rows); i++)
        assert_int_equal(unit_of(rows[i].head), rows[i].n);
}

/* Frames as they are written, whatever their headers and bodies hold, end where they end; the body is not looked at. */
static void test_written(void **state)
{
    UNUSED(state);
    static const char *const odd[] = {"",   "a",   "content-length:3",    "a\nb", "\n\n", "content-length", "\r\n",
                                      "\\", "c:d", "\ncontent-length:1\n"};
    struct rng rng;
    rng_init(&rng, 2);
    for (unsigned round = 0; round < 3000; round++) {
        uint8_t buf[4096], body[64];
        struct stomp_writer w;
        size_t body_n = rng_below(&rng, sizeof(body));
        for (size_t i = 0; i < body_n; i++)
            body[i] = (uint8_t) "\n\0:ab"[rng_below(&rng, 5)];
        stomp_write_begin(&w, buf, sizeof(buf), (enum stomp_version)rng_below(&rng, 3), STOMP_CMD_MESSAGE);
        for (unsigned i = rng_below(&rng, 6); i > 0; i--) {
            struct slice name = slice_from_str(odd[rng_below(&rng, ARRAY_N(odd))]);
            struct slice value = slice_from_str(odd[rng_below(&rng, ARRAY_N(odd))]);
            if (name.len != 0 && !slice_eq_str(name, "content-length")) /* which the adapter gives a prefix */
                stomp_write_header(&w, name, value);
        }
        ptrdiff_t n = stomp_write_body(&w, slice_make(body, body_n));
        assert_true(n > 0);
        assert_int_equal(unit_of(slice_make(buf, (size_t)n)), n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
