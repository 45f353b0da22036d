/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_MQTT_CAUSE_H
#define WEIR_MQTT_CAUSE_H

/*
 * mqtt_cause.h: why the adapter says no, in one byte: a reason code and a sentence for the developer at the other end
 * (Reason String, 5.0) and for the log. Finer than reason codes: 0x90 alone has eight causes. Pure.
 */

#include "core/base/slice.h"
#include "proto_mqtt/mqtt_reason.h"

/* X(name, reason code, text) */
#define MQTT_CAUSE_LIST(X)                                                                                             \
    X(NONE, SUCCESS, "")                                                                                               \
    X(GRANTED_1, GRANTED_1, "")                                                                                        \
    X(GRANTED_2, GRANTED_2, "")                                                                                        \
    X(MALFORMED, MALFORMED, "the bytes could not be parsed")                                                           \
    X(PROTOCOL, PROTOCOL, "it says what it may not say here")                                                          \
    X(UNEXPECTED, PROTOCOL, "this packet may not come now")                                                            \
    X(PACKET, TOO_BIG, "the packet is larger than the broker's Maximum Packet Size")                                   \
    X(NOMEM, BUSY, "the broker is out of memory")                                                                      \
    X(VERSION, VERSION, "spoken here are MQTT 3.1, 3.1.1 and 5.0")                                                     \
    X(CLIENT_ID, CLIENT_ID, "a client identifier is needed")                                                           \
    X(LOGIN_NEEDED, DENIED, "a login is needed")                                                                       \
    X(LOGIN_BAD, BAD_LOGIN, "the user name or password is wrong")                                                      \
    X(LOGIN_DENIED, DENIED, "this user may not log in")                                                                \
    X(LOGIN_LIMIT, QUOTA, "a limit of the broker is reached")                                                          \
    X(LOGIN_STORE, UNAVAILABLE, "the broker cannot store anything now")                                                \
    X(WILL_TOPIC, TOPIC, "the will topic is no topic name, or too long or deep")                                       \
    X(WILL_PLACE, IMPLEMENTATION, "a will goes to a plain topic")                                                      \
    X(WILL_QOS, NO_QOS, "the will's QoS is above the Maximum QoS")                                                     \
    X(WILL_RETAIN, NO_RETAIN, "retained messages are switched off, so the will cannot be one")                         \
    X(WILL_PAYLOAD, PAYLOAD_FORMAT, "the will payload claims to be UTF-8 and is not")                                  \
    X(MOVED, MOVED, "nobody is served here any more")                                                                  \
    X(USE_OTHER, USE_OTHER, "a limit of the broker is reached: use another server")                                    \
    X(STOPPING, USE_OTHER, "the broker is stopping: use another server")                                               \
    X(AUTH_UNKNOWN, AUTH_METHOD, "this authentication method is not known here")                                       \
    X(AUTH_CHANGED, AUTH_METHOD, "the authentication method is not the one of CONNECT")                                \
    X(AUTH_FAILED, DENIED, "the authentication failed")                                                                \
    X(AUTH_OTHER, DENIED, "another user was proved than at the login")                                                 \
    X(TOPIC_WILD, TOPIC, "a topic name holds no '+' and no '#'")                                                       \
    X(TOPIC_EMPTY, PROTOCOL, "the topic is empty, and there is no topic alias")                                        \
    X(TOPIC_LONG, TOPIC, "the topic is too long")                                                                      \
    X(TOPIC_DEEP, TOPIC, "the topic has too many levels")                                                              \
    X(TOPIC_SYS, DENIED, "$SYS is the broker's own")                                                                   \
    X(TOPIC_SHARE, TOPIC, "$share is a way to subscribe and no topic")                                                 \
    X(ALIAS_RANGE, ALIAS, "the topic alias is 0 or above the Topic Alias Maximum")                                     \
    X(ALIAS_UNKNOWN, PROTOCOL, "the topic is empty, and the topic alias stands for none")                              \
    X(QUEUE_NAME, TOPIC, "behind $queue/ comes a name of 1 to 255 bytes")                                              \
    X(EXCHANGE_NAME, TOPIC, "behind $exchange/ comes the name of an exchange that exists")                             \
    X(EXCHANGE_KEY, TOPIC, "behind the name of a topic exchange comes a plain topic")                                  \
    X(DELAY_TIME, TOPIC, "behind $delayed/ come seconds in digits, up to the longest delay")                           \
    X(DELAY_TOPIC, TOPIC, "behind the delay comes a topic, $queue/ or $exchange/")                                     \
    X(RETAIN, NO_RETAIN, "retained messages are switched off")                                                         \
    X(QOS, NO_QOS, "the QoS is above the Maximum QoS")                                                                 \
    X(PAYLOAD, PAYLOAD_FORMAT, "the payload claims to be UTF-8 and is not")                                            \
    X(FILTER, FILTER, "a filter is not empty, '+' fills a level, and '#' the last one")                                \
    X(FILTER_LONG, FILTER, "the filter is too long or has too many levels")                                            \
    X(FILTER_SHARE, FILTER, "a shared filter is $share/group/filter, the group without wildcards")                     \
    X(FILTER_QUEUE, FILTER, "behind $queue/ comes a name of 1 to 255 bytes without wildcards")                         \
    X(FILTER_PLACE, FILTER, "nobody can subscribe to this, only publish")                                              \
    X(QUEUE_LOCAL, IMPLEMENTATION, "No Local means nothing for a queue")

enum mqtt_cause {
#define X(name, code, text) MQTT_CAUSE_##name,
    MQTT_CAUSE_LIST(X)
#undef X
        MQTT_CAUSE_ERR, /* from here on: what a verb answered: MQTT_CAUSE_ERR + enum err */
};

/* mqtt_cause_from_err: what the broker answered, as a cause; ERR_OK: MQTT_CAUSE_NONE. */
uint8_t mqtt_cause_from_err(enum err e);

/* mqtt_cause_code: the reason code that says it in a packet of type `at`; always one that is allowed there for causes
 * that are an error (mqtt_reason_from_err); the others are the caller's to use where they belong. */
uint8_t mqtt_cause_code(uint8_t cause, enum mqtt_type at);

/* mqtt_cause_text: a static English sentence without a full stop; "" where there is nothing to explain. */
const char *mqtt_cause_text(uint8_t cause);

#endif
