/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_ADAPTER_H
#define WEIR_MQTT_ADAPTER_H

/* mqtt_adapter.h: MQTT 3.1, 3.1.1 and 5.0 on the adapter seam. All there is to know is in core/adapter.h; what a peer
 * may expect, version by version, stands in the tables of tests/wire/mqtt. */

#include "core/adapter.h"

extern const struct adapter_ops mqtt_adapter;

/* mqtt_unit_bytes: how many bytes the packet has that begins with head[n], n <= 5 suffices; 0: these do not tell. Pure.
 */
size_t mqtt_unit_bytes(const uint8_t *head, size_t n);

#endif
