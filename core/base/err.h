/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_ERR_H
#define WEIR_BASE_ERR_H

/*
 * err.h: the one error space inside Weir. MQTT reason codes live only in proto_mqtt/mqtt_reason.c, STOMP ERROR
 * texts only in proto_stomp, errno only in transport and persist; each is translated where it enters or leaves.
 *
 * Three return shapes exist: `enum err` (MUST_CHECK), `ptrdiff_t` = bytes or -(enum err), pointer or NULL.
 */

#define ERR_LIST(X)                                                                                                    \
    X(OK, "no error")                                                                                                  \
    X(AGAIN, "not now; try again when ready")                                                                          \
    X(EOF, "the peer ended its stream")                                                                                \
    X(RESET, "the connection broke")                                                                                   \
    X(MALFORMED, "the bytes cannot be parsed")                                                                         \
    X(PROTOCOL, "well formed, but not allowed by the protocol here")                                                   \
    X(TOO_BIG, "larger than a stated limit")                                                                           \
    X(FULL, "a queue, table or quota is at its limit")                                                                 \
    X(NOMEM, "out of memory")                                                                                          \
    X(DENIED, "not allowed for this identity")                                                                         \
    X(NOT_FOUND, "no such thing")                                                                                      \
    X(EXISTS, "already there, with other properties")                                                                  \
    X(INVALID, "an argument has no meaning")                                                                           \
    X(UNSUPPORTED, "known, but not supported")                                                                         \
    X(NO_MATCH, "accepted, but nobody wanted it")                                                                      \
    X(STORE, "the store has failed")                                                                                   \
    X(IO, "the operating system refused")

enum err {
#define X(name, text) ERR_##name,
    ERR_LIST(X)
#undef X
        ERR_N
};

/* err_text: a static English phrase; never NULL, also for values out of range. */
const char *err_text(enum err e);

/* err_name: the enumerator's name without ERR_, e.g. "TOO_BIG"; static. */
const char *err_name(enum err e);

#endif
