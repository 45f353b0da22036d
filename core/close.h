/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_CLOSE_H
#define WEIR_CORE_CLOSE_H

/*
 * close.h: why a connection ended: one enum, in the log, in the statistics, and for adapters to turn into their
 * protocol's words (an MQTT reason code, a STOMP ERROR).
 *
 *   X(NAME, "text", will)   will: 1 if the session's will is published when a connection ends for this reason
 */

#include <stdint.h>

#define CLOSE_LIST(X)                                                                                                  \
    X(NONE, "still open", 0)                                                                                           \
    X(GOODBYE, "the peer said goodbye", 0)                                                                             \
    X(GOODBYE_WILL, "the peer said goodbye and asked for its will", 1)                                                 \
    X(EOF, "the peer closed without a goodbye", 1)                                                                     \
    X(RESET, "the connection broke", 1)                                                                                \
    X(SILENT, "nothing was heard within the keep-alive time", 1)                                                       \
    X(TAKEN_OVER, "the session was taken over by a new connection", 1)                                                 \
    X(SHUTDOWN, "the broker is stopping", 1)                                                                           \
    X(MALFORMED, "the bytes could not be parsed", 1)                                                                   \
    X(PROTOCOL, "the protocol was violated", 1)                                                                        \
    X(TOO_BIG, "a packet or frame was larger than allowed", 1)                                                         \
    X(QUOTA, "more messages in flight than agreed", 1)                                                                 \
    X(LOGIN_TIMEOUT, "no login within the time allowed", 0)                                                            \
    X(NOT_AUTHORIZED, "login or operation refused", 1)                                                                 \
    X(UNKNOWN_PROTOCOL, "the first bytes belong to no protocol served here", 0)                                        \
    X(BAD_VERSION, "the protocol version is not supported", 0)                                                         \
    X(BAD_ID, "the client identifier is not acceptable", 0)                                                            \
    X(REFUSED, "a message was refused and the protocol cannot say so", 1)                                              \
    X(LIMIT, "a limit of the broker was reached", 1)                                                                   \
    X(SLOW, "the peer did not read what it asked for", 1)                                                              \
    X(NOMEM, "out of memory", 1)                                                                                       \
    X(STORE, "the store has failed", 1)                                                                                \
    X(ADMIN, "closed by an operator", 1)

enum close_reason {
#define X(name, text, will) CLOSE_##name,
    CLOSE_LIST(X)
#undef X
        CLOSE_N
};

const char *close_text(enum close_reason r);
const char *close_name(enum close_reason r);
/* close_has_will: does ending for this reason publish the will? */
int close_has_will(enum close_reason r);

#endif
