/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_adapter_stomp.c: the adapter contract, kept by STOMP 1.1 and 1.2. A 1.0 peer may be silent for ever, so the
 * fixture has no words for it; its conversations are in tests/wire/stomp.
 */
#include "proto_stomp/stomp_adapter.h"
#include "tests/contract/adapter_suite.c" /* a program of this folder is one file */

static const struct slice first[] = {
    WORDS("CONNECT\naccept-version:1.2\n"), WORDS("CONNECT\r\naccept-version:1.2\r\n"),
    WORDS("STOMP\naccept-version:1.2\n"),   WORDS("STOMP\r\naccept-version:1.2\n"),
    WORDS("UNSUBSCRIBE\r\nid:0\n"), /* wrong as the first one, but nobody else's */
    WORDS("SEND\ndestination:/topic/a\n"),
};

static const struct slice foreign[] = {
    WORDS("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"),
    WORDS("CONNECT localhost:80 HTTP/1.1\r\n"),
    WORDS("GET /stomp HTTP/1.1\r\n"),
    WORDS("CONNECTS\naccept-version:1.2\n"),
    WORDS("connect\naccept-version:1.2\n"),
    WORDS("CONNECT\r\r\nhost"),
    WORDS("STOMP\0\naccept-version"),
    WORDS("SENDER\nwhatever it is"),
    WORDS("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), /* TLS */
};

#define SUBSCRIBE "SUBSCRIBE\nid:0\ndestination:/queue/t\nack:client\nprefetch-count:5\nreceipt:s\n\n\0"
#define PUBLISH                                                                                                        \
    "SEND\ndestination:/queue/t\npersistent:true\nreceipt:p\nk:v\ncontent-type:text/plain\nreply-to:/topic/a\n"        \
    "correlation-id:c\n\nhello\0"

#define BEGUN(ack)                                                                                                     \
    "BEGIN\ntransaction:t\n\n\0"                                                                                       \
    "SEND\ndestination:/queue/t\ntransaction:t\n\nin it\0"                                                             \
    "SEND\ndestination:/topic/t/1\ntransaction:t\nreceipt:in\n\nin it\0" ack "BEGIN\ntransaction:another\n\n\0"        \
    "SUBSCRIBE\nid:pull\ndestination:/queue/pull\nack:client-individual\nx-credit:3\n\n\0"                             \
    "SUBSCRIBE\nid:browse\ndestination:/queue/pull\nbrowser:true\n\n\0"                                                \
    "SEND\ndestination:/queue/pull\nreply-to:/temp-queue/answers\nx-delay:60000\n\nx\0"                                \
    "SEND\ndestination:/queue/pull\nreply-to:/temp-queue/answers\n\nx\0"
#define CONSUME "SUBSCRIBE\nid:c\ndestination:/queue/gone\nack:client-individual\nprefetch-count:5\nreceipt:c\n\n\0"
#define PRODUCE "SEND\ndestination:/queue/gone\nreceipt:g\n\nhello\0"

static const struct adapter_fixture v12 = {
    .name = "stomp 1.2",
    .ops = &stomp_adapter,
    .first = first,
    .first_n = ARRAY_N(first),
    .foreign = foreign,
    .foreign_n = ARRAY_N(foreign),
    .login = WORDS("CONNECT\naccept-version:1.2\nhost:h\nheart-beat:5000,0\n\n\0"),
    .login_b = WORDS("STOMP\naccept-version:1.2\nhost:h\nheart-beat:5000,300\n\n\0"),
    .subscribe = WORDS(SUBSCRIBE),
    .publish = WORDS(PUBLISH),
    .goodbye = WORDS("DISCONNECT\nreceipt:d\n\n\0"),
    .unfinished = WORDS(BEGUN("ACK\nid:1-1.1\ntransaction:t\nreceipt:a\n\n\0")),
    .consume = WORDS(CONSUME),
    .produce = WORDS(PRODUCE),
    .queue = "gone",
    .gone_ends = true,
    .bad = WORDS("SEND\ndestination:/topic/a\nk:\\q\n\nx\0"),
    .silence_ms = 10000,
    .lasts = true, /* the queue does */
    .is_named = false,
    .greets = true,
};

static const struct adapter_fixture v11 = {
    .name = "stomp 1.1",
    .ops = &stomp_adapter,
    .first = first,
    .first_n = ARRAY_N(first),
    .foreign = foreign,
    .foreign_n = ARRAY_N(foreign),
    .login = WORDS("CONNECT\naccept-version:1.1\nhost:h\nheart-beat:5000,1000\n\n\0"),
    .login_b = WORDS("CONNECT\naccept-version:1.0,1.1\nhost:h\n\n\0"),
    .subscribe = WORDS("SUBSCRIBE\nid:0\ndestination:/topic/t.*\nack:client-individual\nreceipt:s\n\n\0"),
    .publish = WORDS("SEND\ndestination:/mqtt/t/1\nreceipt:p\nretain:true\nexpiration:60000\n\nhello\0"),
    .goodbye = WORDS("DISCONNECT\n\n\0"),
    .unfinished = WORDS(BEGUN("ACK\nmessage-id:1-1.1\nsubscription:0\ntransaction:t\n\n\0")),
    .consume = WORDS(CONSUME),
    .produce = WORDS(PRODUCE),
    .queue = "gone",
    .gone_ends = true,
    .bad = WORDS("ACK\nmessage-id:1\nsubscription:0\n\n\0"),
    .silence_ms = 10000,
    .lasts = true, /* a retained message does */
    .is_named = false,
    .greets = true,
};

int main(void)
{
    return adapter_suite_run(&v12) + adapter_suite_run(&v11);
}
