/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_CHECK_LOG_H
#define WEIR_PERSIST_CHECK_LOG_H

/*
 * check_log.h: says what is in a log and what is damaged, changing nothing; for `weir check-log DIR`. May run while a
 * broker uses the log: what that is just writing then looks torn.
 *
 *     struct disk *d = disk_posix_new(mem, dir, true);
 *     e = check_log(d, mem, CHECK_LOG_TEXT, &out, &damaged);
 *     d->ops->destroy(d);
 */

#include <stdbool.h>

#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "persist/disk.h"

enum check_log_form { CHECK_LOG_TEXT, CHECK_LOG_JSON };

/* check_log: puts the report into out, which is empty: text ends in a line end, JSON is one object on one line.
 * *out_is_damaged: something that was durable does not read (a torn tail is no damage). d is locked and unlocked again
 * (read only: opened and closed). On an error out has one line that says why, without its end: ERR_NOT_FOUND: no such
 * directory; ERR_UNSUPPORTED: written by a newer weir; ERR_IO; ERR_NOMEM (out may be empty). Blocks for as long as it
 * takes to read the log twice at most; memory: persist/living.h, as a broker that opens it. */
enum err check_log(struct disk *d, struct mem *mem, enum check_log_form form, struct buf *out,
                   bool *out_is_damaged) MUST_CHECK;

#endif
