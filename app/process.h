/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_PROCESS_H
#define WEIR_APP_PROCESS_H

/* process.h: what the program is to the operating system: its files, its user, its id, its place in the background. */

#include <stddef.h>

#include "core/base/check.h"
#include "core/base/err.h"

/* process_raise_files: the limit of open files becomes as high as it may be. */
void process_raise_files(void);

/* process_background: forks. The parent waits for the child's verdict and never returns: it exits 0 once the child has
 * called process_is_ready, or with the child's own exit code if that ends before. The child returns in a session of its
 * own, with standard error still open for what goes wrong. Call before any thread, loop or signal fd exists.
 *
 *   out_fd   the child's: for process_is_ready
 *
 * ERR_IO: the system refused; nothing was forked. */
enum err process_background(int *out_fd) MUST_CHECK;

/* process_is_ready: standard input, output and error become /dev/null, and the parent may go. */
void process_is_ready(int fd);

/* process_make_dir: makes a directory (mode 0700, its parent must be there) that belongs to `user` if we are root;
 * durable when it returns. Without effect if there is something of that name. ERR_IO, ERR_NOT_FOUND as process_become.
 */
enum err process_make_dir(const char *path, const char *user, char *out_why, size_t cap) MUST_CHECK;

/* process_write_pid: our id and a line end into a new file at path. process_become: root becomes `user` with its
 * groups; without effect for other users and for "root". ERR_IO or ERR_NOT_FOUND: out_why[cap] says why, with the cure.
 */
enum err process_write_pid(const char *path, char *out_why, size_t cap) MUST_CHECK;
enum err process_become(const char *user, char *out_why, size_t cap) MUST_CHECK;

#endif
