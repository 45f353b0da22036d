/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_DOCS_H
#define WEIR_APP_DOCS_H

/*
 * docs.h: what the tables say, for people. docs/configuration.md and docs/limits.md are made by
 *
 *     weir --print-docs configuration > docs/configuration.md
 *     weir --print-docs limits > docs/limits.md
 *
 * and a test compares them.
 */

#include "core/base/buf.h"

/* docs_help: weir --help. docs_configuration, docs_limits: Markdown. They append to out. */
void docs_help(struct buf *out);
void docs_configuration(struct buf *out);
void docs_limits(struct buf *out);

#endif
