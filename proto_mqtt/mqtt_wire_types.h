/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_WIRE_TYPES_H
#define WEIR_MQTT_WIRE_TYPES_H

/* mqtt_wire_types.h: what every part of the MQTT codec shares: versions, packet types, the Variable Byte Integer. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/slice.h"

enum mqtt_version { /* the values are the protocol levels of CONNECT */
                    MQTT_V31 = 3,
                    MQTT_V311 = 4,
                    MQTT_V5 = 5,
};

enum mqtt_type { /* the values are the packet types on the wire (MQTT 5 §2.1.2) */
                 MQTT_WILL =
                     0, /* no packet: the place of the Will Properties, where a type says where a property stands */
                 MQTT_CONNECT = 1,
                 MQTT_CONNACK,
                 MQTT_PUBLISH,
                 MQTT_PUBACK,
                 MQTT_PUBREC,
                 MQTT_PUBREL,
                 MQTT_PUBCOMP,
                 MQTT_SUBSCRIBE,
                 MQTT_SUBACK,
                 MQTT_UNSUBSCRIBE,
                 MQTT_UNSUBACK,
                 MQTT_PINGREQ,
                 MQTT_PINGRESP,
                 MQTT_DISCONNECT,
                 MQTT_AUTH,
};

#define MQTT_STRING_BYTES_MAX 65535u     /* a string or binary field has a two byte length */
#define MQTT_VARINT_MAX       268435455u /* four bytes of seven bits */
#define MQTT_HEAD_BYTES_MAX   5u         /* fixed header: first byte and up to four of length */
#define MQTT_PACKET_BYTES_MAX 268435460u /* the longest packet the fixed header can announce */

/* mqtt_type_name: "PUBLISH"; "?" when no such type; static. */
const char *mqtt_type_name(unsigned type);

/* mqtt_version_name: "3.1", "3.1.1", "5.0", "?"; static. */
const char *mqtt_version_name(unsigned version);

/* mqtt_varint_get: read a Variable Byte Integer (MQTT 5 §1.5.5).
 *
 *   in[len]   wire bytes, starting at the integer
 *   *out      0 .. MQTT_VARINT_MAX, written only on success
 *
 * Returns the bytes eaten (1..4), 0 if more input is needed, or -ERR_MALFORMED if a fifth byte would be needed or the
 * encoding is not the shortest one [MQTT-1.5.5-1]. Pure.
 */
ptrdiff_t mqtt_varint_get(const uint8_t *in, size_t len, uint32_t *out) MUST_CHECK;

/* mqtt_varint_bytes: 1..4, what mqtt_varint_put writes for v <= MQTT_VARINT_MAX. */
static inline size_t mqtt_varint_bytes(uint32_t v)
{
    return v < 128u ? 1u : v < 16384u ? 2u : v < 2097152u ? 3u : 4u;
}

/* mqtt_varint_put: writes v <= MQTT_VARINT_MAX to out, which has room for 4 bytes; returns the bytes written, 1..4. */
static inline size_t mqtt_varint_put(uint8_t *out, uint32_t v)
{
    size_t n = 0;
    while (v >= 128u) {
        out[n++] = (uint8_t)(v | 128u);
        v >>= 7;
    }
    out[n++] = (uint8_t)v;
    return n;
}

#endif
