/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_UTF8_H
#define WEIR_BASE_UTF8_H

/* utf8.h: validation, ASCII eight bytes at a time. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* utf8_is_valid: p[n] is well-formed UTF-8 (Unicode 15 table 3-7: shortest form, no surrogates, at most U+10FFFF).
 * NUL is allowed; n may be 0. */
bool utf8_is_valid(const uint8_t *p, size_t n);

/* utf8_is_mqtt: utf8_is_valid and without U+0000 (MQTT 5 §1.5.4, [MQTT-1.5.4-1], [MQTT-1.5.4-2]). */
bool utf8_is_mqtt(const uint8_t *p, size_t n);

#endif
