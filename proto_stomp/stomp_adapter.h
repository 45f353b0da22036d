/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_ADAPTER_H
#define WEIR_STOMP_ADAPTER_H

/* stomp_adapter.h: STOMP 1.0, 1.1 and 1.2 on the adapter seam. All there is to know is in core/adapter.h; what a peer
 * may expect, version by version, stands in the tables of tests/wire/stomp. */

#include "core/adapter.h"

extern const struct adapter_ops stomp_adapter;

#endif
