/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_SCRAM_USER_H
#define WEIR_APP_SCRAM_USER_H

/* scram_user.h: weir --scram-user NAME: from a password to a line of the scram_file. Blocks on whoever types. */

#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/slice.h"

#define SCRAM_PASSWORD_MAX 1024u /* bytes */

/* scram_user_read: a password from descriptor `fd` into out[SCRAM_PASSWORD_MAX]: what stands before the first line end.
 * From a terminal it is asked for on standard error, without echo, twice. Returns its bytes; -ERR_INVALID,
 * -ERR_TOO_BIG, -ERR_IO: why[cap] is one line. The caller wipes `out`. */
ptrdiff_t scram_user_read(int fd, char *out, char *why, size_t cap) MUST_CHECK;

/* scram_user_line: appends "NAME:SCRAM-SHA-256$...", without line end, with a salt of its own. ERR_INVALID: the name or
 * the password cannot be; ERR_IO, ERR_NOMEM; why[cap] is one line. */
enum err scram_user_line(struct slice name, struct slice password, uint32_t iterations, struct buf *out, char *why,
                         size_t cap) MUST_CHECK;

/* scram_user_run: all of it, from standard input to standard output. The exit code. */
int scram_user_run(const char *name, uint32_t iterations);

#endif
