/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_AUTH_B64_H
#define WEIR_AUTH_B64_H

/*
 * b64.h: Base64 (RFC 4648 §4), strict: padding is required, nothing else may stand between, and unused bits are 0, so
 * that one run of bytes has one spelling. Pure.
 */

#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/slice.h"

/* b64_put: appends `bytes` as text; nothing for no bytes. */
void b64_put(struct buf *out, struct slice bytes);

/* b64_get: the bytes of `text` into out[cap]. Returns how many, 0 for no text; -ERR_MALFORMED: no Base64;
 * -ERR_TOO_BIG: more than cap bytes (out may hold the first ones). */
ptrdiff_t b64_get(struct slice text, uint8_t *out, size_t cap) MUST_CHECK;

#endif
