/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_ADAPTER_H
#define WEIR_MQTT_ADAPTER_H

/* mqtt_adapter.h: MQTT 3.1, 3.1.1 and 5.0 on the adapter seam. All there is to know is in core/adapter.h; what a peer
 * may expect, version by version, stands in the tables of tests/wire/mqtt. */

#include "core/adapter.h"

extern const struct adapter_ops mqtt_adapter;

#endif
