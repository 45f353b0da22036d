/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_STOMP_SAID_H
#define WEIR_TESTS_STOMP_SAID_H

/*
 * stomp_said.h: what a STOMP server says, read by a small reader of the tests' own: nothing of proto_stomp is used. It
 * reads one frame at a time, strictly by the grammar of the version, and knows which headers each of a server's frames
 * must have.
 *
 *     struct said s = {0};
 *     n = said_read(&s, bytes, len, 2);        n > 0: bytes of a frame, or of a run of line ends (s.is_beat)
 *     said_get(&s, "receipt-id", &id)          the first header of this name, all escapes undone
 *     said_free(&s);
 */

#include <stdbool.h>
#include <stddef.h>

#include "core/base/slice.h"

enum { SAID_HEADERS_MAX = 400 };

struct said_header {
    struct slice name, value; /* escapes, and %XX of an x-encoded frame, undone */
};

/* One frame. Slices point into the bytes or into room, and live until the next read. */
struct said {
    struct slice command; /* "CONNECTED", "MESSAGE", "RECEIPT", "ERROR" */
    struct said_header header[SAID_HEADERS_MAX];
    size_t header_n;
    struct slice body;
    bool is_beat;
    bool is_encoded; /* x-encoded:1 */
    const char *why; /* after -1: the rule that was broken */
    unsigned char *room;
    size_t room_n, room_cap;
};

/* said_read: version 0, 1, 2 for 1.0, 1.1, 1.2. Returns the bytes of the first frame in in[len], 0 when it is not
 * complete, -1 when no server of this version may say it (s->why). */
ptrdiff_t said_read(struct said *s, const void *in, size_t len, unsigned version);

/* said_get: false: there is no such header. said_n: how many of this name there are. */
bool said_get(const struct said *s, const char *name, struct slice *out);
size_t said_n(const struct said *s, const char *name);

/* said_is: the command. */
bool said_is(const struct said *s, const char *command);

void said_free(struct said *s);

/* said_escape: how a peer of this version writes in[n] as a header's value (is_name: or name), into out; false: this
 * version has no way to. Returns through *out_n; out needs 2 * n bytes. */
bool said_escape(unsigned version, struct slice in, bool is_name, unsigned char *out, size_t *out_n);

#endif
