/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TRANSPORT_WS_TEXT_H
#define WEIR_TRANSPORT_WS_TEXT_H

/*
 * ws_text.h: is a text UTF-8 that comes, or goes, in pieces? A character may be cut anywhere, over fragments of a
 * message, too (RFC 6455 §5.6, §8.1). Pure.
 *
 *     struct ws_text t = {0};
 *     is_fine = ws_text_add(&t, p, n) && ws_text_add(&t, q, m) && ws_text_is_whole(&t);
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"

/* What a piece ended with: the begin of a character. All zero: nothing. */
struct ws_text {
    uint8_t n; /* bytes in cut, 0 .. 3 */
    uint8_t cut[3];
};

/* ws_text_add: p[n] comes next; n may be 0. False when the text cannot be UTF-8 any more, whatever follows; t must not
 * be used then. */
bool ws_text_add(struct ws_text *t, const uint8_t *p, size_t n) MUST_CHECK;

/* ws_text_is_whole: no character is begun and not ended. */
static inline bool ws_text_is_whole(const struct ws_text *t)
{
    return t->n == 0;
}

#endif
