/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_ERROR_H
#define WEIR_STOMP_ERROR_H

/*
 * stomp_error.h: everything an ERROR frame can say, in one table. Where RabbitMQ has a text for the `message` header it
 * is used, because its clients look for it; `x-code` is ours and never changes.
 *
 *   X(NAME, "x-code", close reason, "message header", "body; a detail is put behind it in quotes")
 */

#include "core/base/slice.h"
#include "core/close.h"
#include "core/conn.h"
#include "proto_stomp/stomp_wire.h"

/* clang-format off */
#define STOMP_FAULT_LIST(X)                                                                                            \
    X(MALFORMED, "malformed", MALFORMED, "Malformed frame",                                                            \
      "A header line has no colon or no name, an escape or carriage return is not allowed in this version, a header "  \
      "holds a NUL, or content-length is not the length of the body")                                                  \
    X(TOO_BIG, "too-big", TOO_BIG, "Frame too large",                                                                  \
      "A command may have 32 bytes, a frame 100 headers of 8 KiB each and 64 KiB together, a body at most this many "  \
      "bytes")                                                                                                         \
    X(COMMAND, "unknown-command", PROTOCOL, "Bad command", "Could not interpret command")                              \
    X(SERVER_COMMAND, "unknown-command", PROTOCOL, "Bad command", "Only a server sends")                               \
    X(BODY, "body-not-allowed", PROTOCOL, "Body not allowed", "Only a SEND frame may have a body, not")                \
    X(LOGIN_FIRST, "not-connected", PROTOCOL, "Illegal command", "You must log in using CONNECT first, not")           \
    X(LOGIN_TWICE, "already-connected", PROTOCOL, "Illegal command", "This connection is logged in already")           \
    X(VERSION, "version", BAD_VERSION, "Version mismatch", "Supported versions are 1.0,1.1,1.2 and not")               \
    X(LOGIN, "denied", NOT_AUTHORIZED, "Bad CONNECT", "Access refused for user")                      \
    X(HOST, "unknown-host", NOT_AUTHORIZED, "Bad CONNECT", "Virtual host access denied, there is none that is called") \
    X(SESSION_LIMIT, "limit", LIMIT, "Bad CONNECT", "There are as many sessions as there may be")                      \
    X(ANONYMOUS, "denied", NOT_AUTHORIZED, "Bad CONNECT", "Access refused without login and passcode")                 \
    X(NO_HEADER, "missing-header", PROTOCOL, "Missing header", "The frame must include the header")                    \
    X(NO_DESTINATION, "missing-header", PROTOCOL, "Missing destination", "The frame must include a destination header") \
    X(NO_ID, "missing-header", PROTOCOL, "Missing destination or id",                                                  \
      "UNSUBSCRIBE must include an id header (in 1.0: an id or a destination)")                                        \
    X(HEADER, "bad-header", PROTOCOL, "Invalid header", "The value is not one of those this header may have")          \
    X(HEADER_TEXT, "bad-header", PROTOCOL, "Invalid header", "Name and value must be UTF-8 without NUL")               \
    X(BASE64, "bad-header", PROTOCOL, "Invalid header", "correlation-id-encoding says base64, which this is not")      \
    X(ACK_MODE, "bad-header", PROTOCOL, "Invalid header",                                                              \
      "ack may be auto, client or client-individual, and not")                                                         \
    X(DEST_UNKNOWN, "bad-destination", PROTOCOL, "Unknown destination",                                                \
      "A destination is a plain queue name or starts with /topic/, /mqtt/, /queue/, /exchange/ or /amq/queue/, unlike") \
    X(DEST_EMPTY, "bad-destination", PROTOCOL, "Invalid destination", "There is no name in the destination")           \
    X(DEST_WILDCARD, "bad-destination", PROTOCOL, "Invalid destination",                                               \
      "+ and # may only be whole levels of a subscription, in /mqtt/ # only the last one, unlike in")                  \
    X(DEST_LEVEL, "bad-destination", PROTOCOL, "Invalid destination",                                                  \
      "No level of a topic may hold / + # or NUL, unlike in")                                                          \
    X(DEST_UTF8, "bad-destination", PROTOCOL, "Invalid destination", "It must be UTF-8 without NUL, unlike")           \
    X(DEST_SHARE, "bad-destination", PROTOCOL, "Invalid destination",                                                  \
      "$share needs a group without wildcards and a filter, unlike in")                                                \
    X(DEST_KIND, "bad-destination", PROTOCOL, "Invalid destination", "A topic exchange needs a key, unlike in")        \
    X(DEST_TOO_BIG, "bad-destination", PROTOCOL, "Invalid destination", "It has too many levels or bytes")             \
    X(DEST_NOT_HERE, "bad-destination", PROTOCOL, "Invalid destination", "This frame cannot have the destination")      \
    X(NO_QUEUE, "not-found", PROTOCOL, "not_found", "There is no such queue")                                          \
    X(LOCKED, "locked", NOT_AUTHORIZED, "resource_locked",                                                             \
      "An exclusive queue may only be used by the connection that declared it, unlike")                                \
    X(QUEUE_ARGS, "bad-header", PROTOCOL, "Invalid header",                                                            \
      "The value does not go with the other arguments of the queue")                                                   \
    X(QUEUE_LIMIT, "limit", LIMIT, "Too many queues", "There are as many queues as there may be, so none was made for")  \
    X(NO_EXCHANGE, "not-found", PROTOCOL, "not_found", "There is no such exchange")                                    \
    X(INTERNAL, "denied", NOT_AUTHORIZED, "access_refused", "This exchange is internal, nobody may publish to it")      \
    X(DIFFERS, "precondition-failed", PROTOCOL, "precondition_failed", "It exists with other properties")               \
    X(IN_USE, "in-use", PROTOCOL, "precondition_failed", "It is still used or not empty")                               \
    X(NOT_FOUND, "not-found", PROTOCOL, "not_found", "There is no such queue, exchange or binding")                    \
    X(AT_LIMIT, "limit", LIMIT, "Limit reached", "There are as many as there may be")                                  \
    X(UNSUPPORTED, "unsupported", PROTOCOL, "Not supported", "Not supported")                                          \
    X(NO_TX, "missing-header", PROTOCOL, "Missing transaction", "The frame must include a transaction header")         \
    X(TX_UNKNOWN, "unknown-transaction", PROTOCOL, "Bad transaction", "There is no transaction that is identified by")  \
    X(TX_TWICE, "duplicate-transaction", PROTOCOL, "Bad transaction",                                                  \
      "There is a transaction already that is identified by")                                                          \
    X(TX_LIMIT, "limit", LIMIT, "Transaction limit exceeded",                                                          \
      "A connection may have at most this many transactions open")                                                     \
    X(TX_TOO_BIG, "limit", LIMIT, "Transaction too large",                                                             \
      "There are too many frames in the transaction, or too many bytes in those of this connection")                   \
    X(MANAGE_VERB, "bad-destination", PROTOCOL, "Unknown destination", "There is no such verb")                        \
    X(MANAGE_BODY, "body-not-allowed", PROTOCOL, "Body not allowed",                                                   \
      "What is sent to /manage/ has no body and belongs to no transaction")                                            \
    X(MANAGE_HEADER, "bad-header", PROTOCOL, "Invalid header", "This verb does not know the header")                   \
    X(NO_SUB_HERE, "no-subscription", PROTOCOL, "No subscription found",                                               \
      "There is no subscription on this connection that is identified by")                                             \
    X(NOT_PULL, "bad-header", PROTOCOL, "Invalid header",                                                              \
      "Only a subscription that was made with x-credit can ask for messages, unlike")                                  \
    X(NO_RETAIN, "unsupported", PROTOCOL, "Not supported", "Retained messages are switched off on this broker")        \
    X(SUB_ID, "bad-header", PROTOCOL, "Invalid id", "An id may not start with /temp-queue/, unlike")                   \
    X(SUB_TEMP, "bad-destination", PROTOCOL, "Invalid destination",                                                    \
      "A temporary queue is named in reply-to of a SEND, which subscribes to it, and not in SUBSCRIBE, unlike")        \
    X(DURABLE_ID, "missing-header", PROTOCOL, "Missing Header", "Header 'id' is required for durable subscriptions")   \
    X(NO_DSUB, "not-found", PROTOCOL, "Unknown destination",                                                           \
      "There is no such durable subscription of this user and client-id")                                              \
    X(SUB_TWICE, "duplicate-subscription", PROTOCOL, "Duplicated subscription identifier",                             \
      "There is a subscription already that is identified by")                                                         \
    X(NO_SUB, "no-subscription", PROTOCOL, "No subscription found",                                                    \
      "UNSUBSCRIBE must refer to an existing subscription, unlike")                                                    \
    X(SUB_LIMIT, "limit", LIMIT, "Too many subscriptions", "A connection may have at most this many")                  \
    X(SUB_GONE, "cancelled", LIMIT, "Server cancelled subscription",                                                   \
      "The queue was deleted, no more messages will be delivered for the subscription")                                \
    X(ACK_UNKNOWN, "unknown-ack", PROTOCOL, "Invalid header",                                                          \
      "Nothing waits for an ACK or NACK with this id: it was answered already, wants no answer, or belongs to another " \
      "connection or subscription")                                                                                    \
    X(DENIED, "denied", NOT_AUTHORIZED, "access_refused",                                                              \
      "This may not be written to, read, made or changed by this connection")                                          \
    X(REJECTED, "rejected", REFUSED, "Message rejected", "Not stored, because a queue or the store has no room for it") \
    X(STORE, "store", STORE, "Message rejected", "Not stored, because the broker's store has failed")                  \
    X(NOMEM, "no-memory", NOMEM, "Out of memory", "The broker has no memory left for this")                            \
    X(SILENT, "silent", SILENT, "Heart-beat missing",                                                                  \
      "Nothing was heard for twice the heart-beat interval agreed on, in ms")                                          \
    X(CLOSED, "closed", NONE, "Connection closed", "")                                                                 \
    X(LOGIN_TIMEOUT, "login-timeout", NONE, "Connection closed", "")                                                   \
    X(SHUTDOWN, "shutdown", NONE, "Connection closed", "")                                                             \
    X(TAKEN_OVER, "taken-over", NONE, "Connection closed", "")                                                         \
    X(SLOW, "slow", NONE, "Connection closed", "")                                                                     \
    X(ADMIN, "admin", NONE, "Connection closed", "")
/* clang-format on */

enum stomp_fault {
    STOMP_FAULT_NONE,
#define X(name, code, close, message, body) STOMP_FAULT_##name,
    STOMP_FAULT_LIST(X)
#undef X
        STOMP_FAULT_N
};

/* stomp_error: says ERROR and ends the connection; nothing if it is ending already. f: the offending frame, whose
 * receipt header is repeated as receipt-id, or NULL. detail: what the body names, empty for nothing; any bytes. Always
 * followed by a return: no more frames are looked at. STOMP 1.2 §ERROR */
void stomp_error(struct conn *c, const struct stomp_frame *f, enum stomp_fault why, struct slice detail);

/* What is said about a refusal besides. */
struct stomp_refusal {
    struct slice queue;  /* x-queue: which one refused it; empty: none did, or it has no name */
    const char *reason;  /* x-reason, NULL: none */
    struct slice detail; /* as in stomp_error */
};

/* stomp_error_receipt: the same for a frame whose answer came later: receipt: its receipt header, NULL if it had none.
 */
void stomp_error_receipt(struct conn *c, const struct slice *receipt, enum stomp_fault why,
                         const struct stomp_refusal *more);

/* stomp_error_u64: the same with a number as detail. */
void stomp_error_u64(struct conn *c, const struct stomp_frame *f, enum stomp_fault why, uint64_t detail);

/* stomp_fault_from_err: what a broker verb's result is called when it refused. */
enum stomp_fault stomp_fault_from_err(enum err e);

/* stomp_fault_for_queue: why broker_declare_queue made none; ERR_OK: there was none, and none was to be made. */
enum stomp_fault stomp_fault_for_queue(enum err e);

/* stomp_error_declared: d says why the queue or exchange `name` was not declared; what differs is named, with the value
 * it has and the one that f wanted. */
enum stomp_declared { STOMP_A_QUEUE, STOMP_AN_EXCHANGE };
struct declared;
void stomp_error_declared(struct conn *c, const struct stomp_frame *f, enum stomp_declared what, struct slice name,
                          const struct declared *d);

/* stomp_error_close: the last words for a connection that core or the broker ends; adapter->on_close. */
void stomp_error_close(struct conn *c, enum close_reason why);

#endif
