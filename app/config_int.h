/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_CONFIG_INT_H
#define WEIR_APP_CONFIG_INT_H

/* config_int.h: what config.c (what lines mean), config_read.c (files into lines) and config_finish.c (the whole)
 * share. */

#include "app/config.h"

/* Where a reader stands: which file, which line, below which listener. */
struct config_at {
    struct place place;
    struct config_listener *listener; /* NULL: before the first one of this file */
    bool is_included;
};

/* config_line: one `key value` line, both trimmed; value may be empty. Errors were said. */
enum err config_line(struct config *c, struct config_at *at, struct slice key, struct slice value) MUST_CHECK;

/* config_include: every *.conf file of a directory. Errors were said. */
enum err config_include(struct config *c, const struct config_at *from, struct slice dir) MUST_CHECK;

/* config_complain: says one error line "FILE:LINE: KEY: ..." (without the parts that are empty). Returns ERR_INVALID.
 */
enum err config_complain(struct config *c, const struct place *p, const char *key, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* config_warn: the same as a warning. */
void config_warn(struct config *c, const struct place *p, const char *key, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* config_note: the same as a line that nobody has to act on. */
void config_note(struct config *c, const struct place *p, const char *key, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* config_nomem: says so; returns ERR_NOMEM. */
enum err config_nomem(struct config *c);

/* config_seen: where the number or text at `target` was set; NULL: it was not. */
const struct place *config_seen(const struct config *c, const void *target);

/* config_finish_disk: what is kept on disk, and where (config_disk.c). Errors were said. */
enum err config_finish_disk(struct config *c) MUST_CHECK;

/* config_listener_new: an empty block at the end of the list; NULL when out of memory. */
struct config_listener *config_listener_new(struct config *c, struct place at) MUST_CHECK;

#endif
