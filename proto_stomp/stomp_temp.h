/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_TEMP_H
#define WEIR_STOMP_TEMP_H

/*
 * stomp_temp.h: queues for answers. A SEND with reply-to:/temp-queue/<name> makes one, once per name and connection,
 * and subscribes to it; it has a name of the broker's, G, that nobody can guess:
 *
 *     SEND      reply-to:/temp-queue/x                                 the requester
 *     MESSAGE   reply-to:/reply-queue/G     or Response Topic $reply/G the responder, STOMP or MQTT
 *     SEND      destination:/reply-queue/G  or PUBLISH     $reply/G
 *     MESSAGE   subscription:/temp-queue/x                             the requester
 */

#include "core/base/slice.h"
#include "core/conn.h"
#include "proto_stomp/stomp_error.h"

#define STOMP_TEMP_PREFIX SLICE("/temp-queue/")

/* stomp_temp_queue — the temporary queue that this connection calls `name`, made and consumed if it is new.
 *
 *   name         as stomp_dest_name gave it
 *   *out_dest    "/reply-queue/G": for ATTR_REPLY_DEST; lives as long as the connection
 *   *out_topic   "$reply/G": for ATTR_REPLY_TO; the same
 *
 * Returns STOMP_FAULT_NONE, or why not: SUB_LIMIT, QUEUE_LIMIT, NOMEM, STORE: nothing was made. Calls verbs.
 */
enum stomp_fault stomp_temp_queue(struct conn *c, struct slice name, struct slice *out_dest,
                                  struct slice *out_topic) MUST_CHECK;

#endif
