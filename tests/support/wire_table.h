/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_WIRE_TABLE_H
#define WEIR_TESTS_WIRE_TABLE_H

/*
 * wire_table.h: conversations as tables, for any protocol. A file holds tests, a test is a list of steps:
 *
 *     let hello = 10 [ 'MQTT' 04 02 u16:60 'a' ]      # a name for bytes, used as $hello
 *
 *     test ping  [MQTT-3.12.4-1] PINGREQ is answered
 *     A> $hello                # the peer on connection A sends; A is opened by its first line
 *     A< 20 02 00 00           # the broker must send exactly this on A, now
 *     A> c0 00
 *     A< d0 00
 *     + 91s                    # time passes: ms, s, m, h, d
 *     A|                       # the broker has closed A (and said nothing more)
 *
 * Further steps
 *     A$      the peer closes          A!  the peer's connection breaks
 *     A#      the peer stops reading   A=  reads again
 *     A*      A is open and silent (what every later step on A and the end of the test demand anyway)
 *     hold    the store keeps back "durable" (needs `set store`), until: release
 *     full    the store has no room for messages; fail: it breaks (both need `set store`)
 *     stop    the broker is told to stop (shard_stop)
 * Before the first step
 *     limit FIELD N     a limit of core/limits.h
 *     set anonymous no, retain no, queue_qos0, store, lenient, moved, auth, check_payload_format, qos_cap N,
 *         server_reference WORD, response_information WORD, door WORD, stomp_strict_host, stomp_persistent,
 *         topic_dialect N: a field of struct rig_config
 *
 * Bytes: hex digits in pairs · "text" · 'text' with two bytes of length in front · u8:N u16:N u32:N big-endian · [ ...
 * ] with a Variable Byte Integer length in front · ( ... ) grouped · X*N the item X, N times · $name · in what is
 * expected also ? for any byte and ?* for any run of bytes up to what follows. In texts: \n \r \t \0 \\ \" \' \xHH. A
 * line that starts with blanks continues the one before; # outside of texts starts a comment.
 *
 * Every test is run whole; with the peer's lines arriving byte by byte; with the peer reading in small pieces; and once
 * for every position at which one of its lines can be cut in two. The broker must say the same each time, and all its
 * memory must come back. (Lines above WIRE_LONG_BYTES are cut near their ends and at WIRE_LONG_CUTS places between.)
 */

#include <stddef.h>
#include <stdint.h>

struct adapter_ops;

#define WIRE_LONG_BYTES 512u
#define WIRE_LONG_CUTS  16u

struct wire_setup {
    const struct adapter_ops *const *adapters; /* NULL-terminated: protocols the connection may speak */
};

struct wire_result {
    uint32_t tests, failed;
    uint64_t runs;    /* conversations held */
    char first[4096]; /* the first failure in words, "" if there was none */
};

/* wire_table_text: runs all tests of a table text[len]; `name` stands in messages. A table that cannot be read counts
 * as one failed test. Failures are also printed to stderr unless `quiet`. */
void wire_table_text(const char *name, const char *text, size_t len, const struct wire_setup *setup, int quiet,
                     struct wire_result *out);

/* wire_table_file: the same from a file. */
void wire_table_file(const char *path, const struct wire_setup *setup, struct wire_result *out);

#endif
